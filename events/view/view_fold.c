/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_fold.h"

#include "events/view/view_call.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct parked_list {
    sb_view_parked_t *item;
    size_t count;
    size_t cap;
} parked_list_t;

struct sb_view_fold {
    const sb_view_definition_t *definition;
    sb_view_budget_t own_budget;
    sb_view_part_t part;
    sb_view_rows_t rows[SB_VIEW_TABLES_MAX];
    sb_view_rows_t stopped[SB_VIEW_TABLES_MAX]; /* keys that are parked */
    size_t stopped_count;
    size_t parked_before; /* but for those in the list: by other parts, or in the database */
    parked_list_t parked;
    sb_scan_value_t field[SB_VIEW_FIELDS_MAX]; /* of the event at hand; SB_SCAN_INVALID: absent */
    sb_buf_t name_scratch;
    sb_buf_t key_scratch;
    sb_buf_t when_scratch;
    sb_buf_t part_scratch;
    sb_buf_t step_scratch[SB_VIEW_STEPS_MAX]; /* operands */
    sb_buf_t next_scratch[SB_VIEW_STEPS_MAX];
    sb_view_rows_t ahead; /* the carry as the events of a batch will leave it, for keys while touching */
    sb_view_value_t next[SB_VIEW_STEPS_MAX]; /* what a rule is about to write */
    bool writes[SB_VIEW_STEPS_MAX];
};

sb_code_t sb_view_fold_new(sb_view_fold_t **out, const sb_view_definition_t *definition, size_t bytes_max,
                           sb_error_t *err)
{
    sb_view_fold_t *fold = *out = calloc(1, sizeof *fold);
    if (!fold)
        return sb_fail(err, SB_NO_MEMORY, "fold of view %s: out of memory", definition->name);
    fold->definition = definition;
    fold->own_budget.max = bytes_max;
    for (int i = 0; i < definition->table_count; i++) {
        sb_view_rows_init(&fold->rows[i], &definition->table[i], definition->table[i].column_count,
                          &fold->own_budget);
        sb_view_rows_init(&fold->stopped[i], &definition->table[i], 1, &fold->own_budget);
    }
    if (definition->carries_keys)
        sb_view_rows_init(&fold->ahead, &definition->table[definition->carry],
                          definition->table[definition->carry].column_count, &fold->own_budget);
    return SB_OK;
}

void sb_view_fold_share(sb_view_fold_t *fold, sb_view_budget_t *budget)
{
    for (int i = 0; i < fold->definition->table_count; i++)
        fold->rows[i].budget = fold->stopped[i].budget = budget;
    fold->ahead.budget = budget;
}

static void free_parked(const sb_view_parked_t *parked)
{
    free(parked->key);
    free(parked->error);
}

/* They are in the database by then, or are another part's. */
static void forget_parked(sb_view_fold_t *fold)
{
    fold->parked_before += fold->parked.count;
    for (size_t i = 0; i < fold->parked.count; i++)
        free_parked(&fold->parked.item[i]);
    fold->parked.count = 0;
}

void sb_view_fold_free(sb_view_fold_t **fold)
{
    sb_view_fold_t *f = *fold;
    if (!f)
        return;
    for (int i = 0; i < f->definition->table_count; i++) {
        sb_view_rows_fini(&f->rows[i]);
        sb_view_rows_fini(&f->stopped[i]);
    }
    forget_parked(f);
    free(f->parked.item);
    sb_buf_fini(&f->name_scratch);
    sb_buf_fini(&f->key_scratch);
    sb_buf_fini(&f->when_scratch);
    sb_buf_fini(&f->part_scratch);
    for (int i = 0; i < SB_VIEW_STEPS_MAX; i++) {
        sb_buf_fini(&f->step_scratch[i]);
        sb_buf_fini(&f->next_scratch[i]);
    }
    sb_view_rows_fini(&f->ahead);
    free(f);
    *fold = NULL;
}

void sb_view_fold_reset(sb_view_fold_t *fold)
{
    for (int i = 0; i < fold->definition->table_count; i++)
        sb_view_rows_reset(&fold->rows[i]);
    if (fold->definition->carries_keys)
        sb_view_rows_reset(&fold->ahead);
    forget_parked(fold);
}

void sb_view_fold_written(sb_view_fold_t *fold)
{
    for (int i = 0; i < fold->definition->table_count; i++)
        for (size_t k = 0; k < fold->rows[i].count; k++) {
            sb_view_row_t *row = sb_view_rows_at(&fold->rows[i], k);
            row->stored = row->present;
            row->changed = false;
        }
    if (fold->definition->carries_keys)
        sb_view_rows_reset(&fold->ahead);
    forget_parked(fold);
}

void sb_view_fold_begin(sb_view_fold_t *fold, const sb_view_part_t *part, size_t parked_before)
{
    sb_view_fold_reset(fold);
    for (int i = 0; i < fold->definition->table_count; i++)
        sb_view_rows_reset(&fold->stopped[i]);
    fold->stopped_count = 0;
    fold->parked_before = parked_before;
    fold->part = *part;
}

void sb_view_fold_narrow(sb_view_fold_t *fold, const sb_view_part_t *part)
{
    parked_list_t *list = &fold->parked;
    size_t kept = 0;
    fold->part = *part;
    fold->stopped_count = 0;
    for (int i = 0; i < fold->definition->table_count; i++) {
        if (i != fold->definition->carry) {
            sb_view_rows_keep(&fold->rows[i], part);
            sb_view_rows_keep(&fold->stopped[i], part);
        }
        fold->stopped_count += fold->stopped[i].used;
    }
    for (size_t i = 0; i < list->count; i++) {
        const sb_view_parked_t *parked = &list->item[i];
        bool by_key = parked->key && parked->table != fold->definition->carry;
        if (by_key ? sb_view_part_has(part, parked->hash) : part->value == 0)
            list->item[kept++] = *parked;
        else
            free_parked(parked);
    }
    list->count = kept;
}

sb_view_rows_t *sb_view_fold_rows(sb_view_fold_t *fold, int table)
{
    return &fold->rows[table];
}

/* ---- parking ---- */

static bool is_stopped(const sb_view_fold_t *fold, int table, const sb_view_value_t *key)
{
    return fold->stopped_count > 0 && sb_view_rows_find(&fold->stopped[table], key) != NULL;
}

static sb_code_t stop_key(sb_view_fold_t *fold, int table, const sb_view_value_t *key, sb_error_t *err)
{
    sb_view_row_t *row = NULL;
    fold->stopped_count++;
    return sb_view_rows_get(&fold->stopped[table], key, &row, err);
}

static void mark_dirty(sb_view_fold_t *fold, int table, const sb_view_value_t *key)
{
    sb_view_row_t *row = sb_view_rows_find(&fold->rows[table], key);
    if (row && row->present)
        row->dirty = row->changed = true;
}

sb_code_t sb_view_fold_park_key(sb_view_fold_t *fold, int table, sb_slice_t key, sb_error_t *err)
{
    sb_view_value_t value;
    sb_view_type_t type = fold->definition->table[table].column[0].type;
    fold->parked_before++;
    if (!key.ptr)
        return SB_OK;
    if (!sb_view_value_parse(type, key, &value))
        return sb_fail(err, SB_CORRUPT, "view %s: parked key %.*s is not of the key's type",
                       fold->definition->name, SB_SLICE_ARG(key));
    return stop_key(fold, table, &value, err);
}

/* Takes the texts over; false: out of memory, and they are freed. */
static bool remember(parked_list_t *list, const sb_view_parked_t *parked)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        sb_view_parked_t *moved = realloc(list->item, cap * sizeof *moved);
        if (!moved) {
            free(parked->key);
            free(parked->error);
            return false;
        }
        list->item = moved;
        list->cap = cap;
    }
    list->item[list->count++] = *parked;
    return true;
}

/* key NULL: it could not be read. what names the column or the field, problem what is wrong with it. */
static sb_code_t park(sb_view_fold_t *fold, int table, const sb_view_value_t *key,
                      const sb_view_input_t *input, sb_slice_t what, const char *problem, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (key) {
        mark_dirty(fold, table, key);
        code = stop_key(fold, table, key, err);
    }
    bool told = table == fold->definition->carry && fold->part.value != 0; /* by the pass of the value 0 */
    if (code != SB_OK || told)
        return code;
    if (fold->parked_before + fold->parked.count >= SB_VIEW_PARKED_MAX)
        return sb_fail(err, SB_TOO_LARGE,
                       "view %s: more than %d keys and events are parked; mend the view or the events",
                       fold->definition->name, SB_VIEW_PARKED_MAX);
    sb_view_parked_t parked = {.table = table,
                               .event = input->event,
                               .seq = input->seq,
                               .hash = key ? sb_view_rows_hash(&fold->rows[table], key) : 0};
    sb_buf_t text = SB_BUF_INIT;
    if (key)
        sb_view_value_text(fold->definition->table[table].column[0].type, key, &text);
    bool failed = sb_buf_failed(&text);
    parked.key = key ? strdup(sb_buf_text(&text)) : NULL;
    sb_buf_reset(&text);
    sb_buf_printf(&text, "%.*s %s", SB_SLICE_ARG(what), problem);
    failed |= sb_buf_failed(&text);
    parked.error = strdup(sb_buf_text(&text));
    sb_buf_fini(&text);
    failed |= !parked.error || (key && !parked.key);
    if (!remember(&fold->parked, &parked) || failed)
        return sb_fail(err, SB_NO_MEMORY, "parked keys: out of memory");
    return SB_OK;
}

size_t sb_view_fold_parked_count(const sb_view_fold_t *fold)
{
    return fold->parked.count;
}

const sb_view_parked_t *sb_view_fold_parked(const sb_view_fold_t *fold, size_t i)
{
    return &fold->parked.item[i];
}

/* ---- fields ---- */

static bool is_field(const sb_view_field_t *field, sb_slice_t name)
{
    return field->name.len == name.len && memcmp(field->name.ptr, name.ptr, name.len) == 0;
}

/* Members of the body in one walk; of duplicates the first counts. */
static bool read_members(sb_view_fold_t *fold, const sb_view_event_type_t *type, sb_slice_t data, int wanted)
{
    size_t at = 0;
    sb_scan_value_t name;
    sb_scan_value_t value;
    while (wanted > 0 && sb_scan_next(data, &at, &name, &value)) {
        sb_slice_t text = {name.text.ptr + 1, name.text.len - 2};
        if (name.escaped)
            text = sb_scan_string(&name, &fold->name_scratch);
        for (int i = 0; i < type->field_count; i++)
            if (type->field[i].name.ptr && fold->field[i].kind == SB_SCAN_INVALID &&
                is_field(&type->field[i], text)) {
                fold->field[i] = value;
                wanted--;
            }
        if (name.escaped)
            sb_buf_reset(&fold->name_scratch);
    }
    return wanted == 0 || at != SIZE_MAX;
}

/* Reads every field that some rule of this event type uses. False: the body is not JSON. */
static bool read_fields(sb_view_fold_t *fold, const sb_view_input_t *input)
{
    const sb_view_event_type_t *type = &fold->definition->event[input->event];
    size_t start = 0;
    while (start < input->data.len && strchr(" \t\r\n", input->data.ptr[start]) != NULL)
        start++;
    bool is_object = start < input->data.len && input->data.ptr[start] == '{';
    int members = 0;
    for (int i = 0; i < type->field_count; i++) {
        fold->field[i] = (sb_scan_value_t){.kind = SB_SCAN_INVALID};
        if (is_object && type->field[i].name.ptr)
            members++;
        else if (!sb_scan_at(input->data, type->field[i].pointer, &fold->field[i]))
            fold->field[i].kind = SB_SCAN_INVALID;
    }
    return !is_object || read_members(fold, type, input->data, members);
}

/* ---- what a rule takes its values from ---- */

/* An event at work on a table. */
typedef struct reading {
    sb_view_fold_t *fold;
    const sb_view_input_t *input;
    sb_view_rows_t *carry; /* rows, or those ahead */
    const char *problem;   /* when a value cannot be read */
    bool absent;           /* the event, or the carry, does not have it */
} reading_t;

static const char carry_is_parked[] = "comes from the carry, which is parked for this stream";

static bool carry_stopped(const reading_t *r)
{
    sb_view_value_t stream = {false, r->input->stream, {NULL, 0}};
    return is_stopped(r->fold, r->fold->definition->carry, &stream);
}

/* Copied, because the row that it lies in may be changed by the same rule. */
static bool read_carried(reading_t *r, int column, sb_buf_t *scratch, sb_view_value_t *value)
{
    sb_view_value_t stream = {false, r->input->stream, {NULL, 0}};
    const sb_view_row_t *row = sb_view_rows_find(r->carry, &stream);
    *value = SB_VIEW_NULL;
    r->problem = carry_is_parked;
    if (carry_stopped(r))
        return false;
    if (row && row->present)
        *value = sb_view_rows_value(r->carry, row, column);
    r->absent = value->is_null;
    if (!value->is_null && value->bytes.ptr) {
        sb_buf_reset(scratch);
        sb_buf_add_slice(scratch, value->bytes);
        value->bytes = sb_buf_slice(scratch);
    }
    r->problem = "does not fit in memory";
    return !sb_buf_failed(scratch);
}

static bool read_source(reading_t *r, const sb_view_source_t *source, sb_view_bounds_t bounds,
                        sb_buf_t *scratch, sb_view_value_t *value);

static bool read_day(reading_t *r, const sb_view_source_t *source, sb_buf_t *scratch, sb_view_value_t *value)
{
    const sb_view_definition_t *definition = r->fold->definition;
    sb_view_bounds_t none = {0};
    if (!read_source(r, &definition->part[source->part], none, scratch, value))
        return false;
    if (r->absent || value->is_null)
        return true;
    *value = (sb_view_value_t){
        false, sb_view_zone_day(&definition->zone[source->zone], value->integer), {NULL, 0}};
    return sb_view_value_fits(SB_VIEW_DATE, value, &r->problem);
}

/* As a token of a JSON Pointer, so that two different lists of parts never make the same text. */
static void add_escaped(sb_buf_t *out, sb_slice_t text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '/' || text.ptr[i] == '~')
            sb_buf_add_text(out, text.ptr[i] == '/' ? "~1" : "~0");
        else
            sb_buf_add_char(out, text.ptr[i]);
}

/* A part as text: of a field a string, an integer, true or false. */
static bool read_part_text(reading_t *r, const sb_view_source_t *part, sb_buf_t *out)
{
    sb_view_bounds_t none = {0};
    sb_view_value_t value;
    sb_view_type_t type = part->type;
    sb_buf_t *scratch = &r->fold->part_scratch;
    if (part->origin == SB_VIEW_FIELD) {
        const sb_scan_value_t *field = &r->fold->field[part->field];
        r->absent = field->kind == SB_SCAN_INVALID || field->kind == SB_SCAN_NULL;
        type = field->kind == SB_SCAN_STRING   ? SB_VIEW_TEXT
               : field->kind == SB_SCAN_NUMBER ? SB_VIEW_INT8
                                               : SB_VIEW_BOOL;
        r->problem = "is no text, integer, true or false";
        const char *why;
        if (r->absent)
            return true;
        if (!sb_view_value_scan(type, none, field, scratch, &value, &why))
            return false;
    } else if (!read_source(r, part, none, scratch, &value)) {
        return false;
    }
    r->absent |= value.is_null;
    if (r->absent)
        return true;
    if (type == SB_VIEW_TEXT)
        add_escaped(out, value.bytes);
    else
        sb_view_value_text(type, &value, out);
    return true;
}

static bool read_join(reading_t *r, const sb_view_source_t *source, sb_buf_t *scratch, sb_view_value_t *value)
{
    sb_buf_reset(scratch);
    for (int i = 0; i < source->part_count; i++) {
        if (i > 0)
            sb_buf_add_char(scratch, '/');
        if (!read_part_text(r, &r->fold->definition->part[source->part + i], scratch))
            return false;
        if (r->absent)
            return true;
    }
    *value = (sb_view_value_t){false, 0, sb_buf_slice(scratch)};
    r->problem = "does not fit in memory";
    return !sb_buf_failed(scratch);
}

/* The value a source gives, as source->type. False: r->problem says what is wrong with it; true and
 * r->absent: there is none. */
static bool read_source(reading_t *r, const sb_view_source_t *source, sb_view_bounds_t bounds,
                        sb_buf_t *scratch, sb_view_value_t *value)
{
    const sb_view_input_t *input = r->input;
    const sb_scan_value_t *field = &r->fold->field[source->field];
    r->absent = false;
    r->problem = NULL;
    *value = (sb_view_value_t){false, 0, {NULL, 0}};
    switch (source->origin) {
    case SB_VIEW_FIELD:
        r->absent = field->kind == SB_SCAN_INVALID;
        return r->absent || sb_view_value_scan(source->type, bounds, field, scratch, value, &r->problem);
    case SB_VIEW_CONST:
        *value = source->constant;
        break;
    case SB_VIEW_SUBJECT:
        value->bytes = input->subject;
        break;
    case SB_VIEW_TIME:
        value->integer = input->time_us;
        return sb_view_value_fits(SB_VIEW_TIMESTAMPTZ, value, &r->problem);
    case SB_VIEW_EVENT:
        value->bytes = sb_slice(r->fold->definition->event[input->event].name);
        break;
    case SB_VIEW_SEQ:
        value->integer = input->seq;
        break;
    case SB_VIEW_STREAM:
        value->integer = input->stream;
        break;
    case SB_VIEW_CARRY:
        return read_carried(r, source->column, scratch, value);
    case SB_VIEW_DAY:
        return read_day(r, source, scratch, value);
    case SB_VIEW_JOIN:
        return read_join(r, source, scratch, value);
    }
    return true;
}

/* As read_source, in JSON. */
static bool read_json(reading_t *r, const sb_view_source_t *source, sb_buf_t *scratch, sb_view_value_t *value)
{
    sb_view_bounds_t none = {0};
    if (source->type == SB_VIEW_JSONB || source->type == SB_VIEW_TYPES)
        return read_source(r, source, none, scratch, value);
    if (!read_source(r, source, none, &r->fold->part_scratch, value))
        return false;
    sb_buf_reset(scratch);
    sb_view_value_json(source->type, value, scratch);
    value->bytes = sb_buf_slice(scratch);
    r->problem = "does not fit in memory";
    return !sb_buf_failed(scratch);
}

static sb_slice_t source_name(const reading_t *r, const sb_view_source_t *source)
{
    const sb_view_definition_t *definition = r->fold->definition;
    if (source->origin == SB_VIEW_FIELD)
        return definition->event[r->input->event].field[source->field].pointer;
    if (source->origin == SB_VIEW_CARRY)
        return sb_slice(definition->table[definition->carry].column[source->column].name);
    return source->origin == SB_VIEW_SUBJECT ? SB_SLICE("$subject")
           : source->origin == SB_VIEW_TIME  ? SB_SLICE("$time")
                                             : SB_SLICE("the value");
}

/* ---- rules ---- */

static sb_view_type_t kind_type(json_type kind)
{
    return kind == JSON_STRING ? SB_VIEW_TEXT : kind == JSON_INTEGER ? SB_VIEW_INT8 : SB_VIEW_BOOL;
}

/* The left side of a condition, as its right side is. False: it is absent, null or of another kind. */
static bool condition_value(reading_t *r, const sb_view_when_t *when, sb_view_value_t *value)
{
    sb_view_fold_t *fold = r->fold;
    const char *problem = NULL;
    sb_view_bounds_t none = {0};
    if (when->field < 0)
        return read_carried(r, when->column, &fold->when_scratch, value) && !value->is_null;
    return fold->field[when->field].kind != SB_SCAN_INVALID &&
           sb_view_value_scan(kind_type(when->kind), none, &fold->field[when->field], &fold->when_scratch,
                              value, &problem) &&
           !value->is_null;
}

static bool exists(reading_t *r, const sb_view_when_t *when)
{
    sb_view_value_t value;
    if (when->field < 0)
        return read_carried(r, when->column, &r->fold->when_scratch, &value) && !value.is_null;
    sb_scan_kind_t kind = r->fold->field[when->field].kind;
    return kind != SB_SCAN_INVALID && kind != SB_SCAN_NULL;
}

static bool holds(reading_t *r, const sb_view_when_t *when)
{
    sb_view_value_t value;
    if (when->compare >= SB_VIEW_EXISTS)
        return exists(r, when) == (when->compare == SB_VIEW_EXISTS);
    if (!condition_value(r, when, &value))
        return when->compare == SB_VIEW_NE;
    int order = sb_view_value_compare(kind_type(when->kind), &value, &when->value);
    switch (when->compare) {
    case SB_VIEW_EQ:
        return order == 0;
    case SB_VIEW_NE:
        return order != 0;
    case SB_VIEW_LT:
        return order < 0;
    case SB_VIEW_LE:
        return order <= 0;
    case SB_VIEW_GT:
        return order > 0;
    case SB_VIEW_GE:
        return order >= 0;
    case SB_VIEW_EXISTS:
    case SB_VIEW_ABSENT:
        break;
    }
    return false;
}

/* Conditions on a carry that is not known (it is parked, or, while touching, not loaded) are taken to hold.
 */
static bool all_hold(reading_t *r, const sb_view_rule_t *rule, bool carry_known)
{
    for (int i = 0; i < rule->when_count; i++)
        if ((carry_known || rule->when[i].field >= 0) && !holds(r, &rule->when[i]))
            return false;
    return true;
}

/* A rule at work on an event, and the row it is about. */
typedef struct target {
    int table;
    const sb_view_rule_t *rule;
    const sb_view_input_t *input;
    bool touching;
    reading_t reading;
    sb_view_value_t key;
} target_t;

static sb_code_t park_at(sb_view_fold_t *fold, const target_t *target, bool key_known, sb_slice_t what,
                         const char *problem, sb_error_t *err)
{
    return park(fold, target->table, key_known ? &target->key : NULL, target->input, what, problem, err);
}

/* The carry is needed whole, whatever part of the keys is folded. */
static bool is_ours(const sb_view_fold_t *fold, const target_t *target)
{
    return fold->part.bits == 0 || target->table == fold->definition->carry ||
           sb_view_part_has(&fold->part, sb_view_rows_hash(&fold->rows[target->table], &target->key));
}

/* Finds out which row the rule is about. *concerns: none (its condition does not hold, it has no key here,
 * the key is parked) unless set. While touching, what is wrong is left for apply to say. */
static sb_code_t aim(sb_view_fold_t *fold, target_t *target, bool *concerns, sb_error_t *err)
{
    const sb_view_rule_t *rule = target->rule;
    reading_t *r = &target->reading;
    bool broken = rule->reads_carry && carry_stopped(r);
    *concerns = false;
    /* Touching looks ahead for the carry alone; of other tables it touches what might be changed, or marked.
     */
    bool known = !broken && (!target->touching || r->carry == &fold->ahead) &&
                 (!target->touching || target->table == fold->definition->carry);
    if (!all_hold(r, rule, known))
        return SB_OK;
    sb_view_bounds_t none = {0};
    bool readable = read_source(r, &rule->key, none, &fold->key_scratch, &target->key);
    if (readable && (r->absent || target->key.is_null))
        return SB_OK;
    bool fits = readable && target->key.bytes.len <= SB_VIEW_KEY_BYTES_MAX;
    if (!fits)
        return target->touching || fold->part.value != 0
                   ? SB_OK
                   : park_at(fold, target, false, source_name(r, &rule->key),
                             readable ? "is too long for a key" : r->problem, err);
    *concerns = is_ours(fold, target) && !is_stopped(fold, target->table, &target->key);
    if (!*concerns || !broken || target->touching)
        return SB_OK;
    *concerns = false;
    return park_at(fold, target, true, SB_SLICE("the value"), carry_is_parked, err);
}

static const char no_index_entry[] = "is too long for a column with an index";

/* A B-tree has its limit, and an entry is the value and the key; what it refused would fail the batch. */
static bool fits_index(const sb_view_column_t *column, const sb_view_value_t *value)
{
    return !column->indexed || value->is_null || value->bytes.len <= SB_VIEW_KEY_BYTES_MAX;
}

/* The next value of each column the rule changes, into fold->next. False: *step cannot be carried out. */
static bool compute(sb_view_fold_t *fold, target_t *target, const sb_view_rows_t *rows,
                    const sb_view_row_t *row, int *step)
{
    const sb_view_rule_t *rule = target->rule;
    reading_t *r = &target->reading;
    for (int i = 0; i < rule->step_count; i++) {
        const sb_view_step_t *s = &rule->step[i];
        const sb_view_column_t *column = &rows->table->column[s->column];
        sb_view_value_t present = row->present ? sb_view_rows_value(rows, row, s->column) : column->initial;
        sb_view_value_t operand = SB_VIEW_NULL;
        sb_view_work_t work = {column->type, column->bounds, &fold->next_scratch[i]};
        bool readable = true;
        *step = i;
        r->absent = false;
        if (s->op->takes_json)
            readable = read_json(r, &s->source, &fold->step_scratch[i], &operand);
        else if (s->op->takes_source)
            readable = read_source(r, &s->source, column->bounds, &fold->step_scratch[i], &operand);
        fold->writes[i] = readable && !r->absent;
        if (!readable ||
            (!r->absent && !s->op->apply(&work, &present, &operand, &fold->next[i], &r->problem)))
            return false;
        r->problem = no_index_entry;
        if (fold->writes[i] && !fits_index(column, &fold->next[i]))
            return false;
    }
    return true;
}

static sb_code_t make_present(sb_view_rows_t *rows, sb_view_row_t *row, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 1; i < rows->table->column_count && code == SB_OK; i++)
        code = sb_view_rows_put(rows, row, i, &rows->table->column[i].initial, err);
    row->present = true;
    return code;
}

static sb_code_t remove_row(sb_view_fold_t *fold, sb_view_rows_t *rows, sb_view_row_t *row)
{
    row->changed |= row->present;
    row->present = false;
    if (!row->stored && !row->loaded && rows != &fold->ahead)
        sb_view_rows_drop(rows, row); /* a replay: nothing is to be deleted */
    return SB_OK;
}

/* The same for a rule whose changes are the C function's to say. */
static sb_code_t call_out(sb_view_fold_t *fold, const target_t *target, sb_view_rows_t *rows,
                          sb_view_row_t *row, sb_error_t *err)
{
    const sb_view_input_t *input = target->input;
    const sb_view_definition_t *definition = fold->definition;
    sb_view_call_t call = {definition, rows, row, fold->next, fold->writes, fold->next_scratch};
    sb_event_t event = {.type = sb_slice(definition->event[input->event].name),
                        .schema_version = input->version,
                        .subject = input->subject,
                        .time_us = input->time_us,
                        .data = input->data,
                        .seq = input->seq,
                        .stream_no = input->stream,
                        .event_class = SB_CLASS_DOMAIN};
    sb_view_called_t called = SB_VIEW_CALL_NOTHING;
    sb_error_t problem = SB_ERROR_INIT;
    sb_code_t code = sb_view_call_run(&call, &event, &called, &problem, err);
    if (code != SB_OK || called == SB_VIEW_CALL_NOTHING)
        return code;
    if (called == SB_VIEW_CALL_PARKS)
        return park_at(fold, target, true, SB_SLICE("the C function says:"), problem.message, err);
    if (called == SB_VIEW_CALL_REMOVES)
        return remove_row(fold, rows, row);
    for (int i = 1; i < rows->table->column_count; i++)
        if (fold->writes[i] && !fits_index(&rows->table->column[i], &fold->next[i]))
            return park_at(fold, target, true, sb_slice(rows->table->column[i].name), no_index_entry, err);
    if (!row->present)
        code = make_present(rows, row, err);
    for (int i = 1; i < rows->table->column_count && code == SB_OK; i++)
        if (fold->writes[i])
            code = sb_view_rows_put(rows, row, i, &fold->next[i], err);
    row->changed = true;
    return code;
}

/* Values are computed before the first is written, so a rule changes its row as a whole or not at all. */
static sb_code_t carry_out(sb_view_fold_t *fold, target_t *target, sb_view_rows_t *rows, sb_error_t *err)
{
    const sb_view_rule_t *rule = target->rule;
    sb_view_row_t *row = NULL;
    int step = 0;
    sb_code_t code = sb_view_rows_get(rows, &target->key, &row, err);
    if (code != SB_OK)
        return code;
    if (rule->calls)
        return call_out(fold, target, rows, row, err);
    if (!compute(fold, target, rows, row, &step)) {
        const char *column = rows->table->column[rule->step[step].column].name;
        return target->touching ? SB_OK
                                : park_at(fold, target, true, sb_slice(column), target->reading.problem, err);
    }
    if (rule->removes)
        return remove_row(fold, rows, row);
    if (!row->present)
        code = make_present(rows, row, err);
    for (int i = 0; i < rule->step_count && code == SB_OK; i++)
        if (fold->writes[i])
            code = sb_view_rows_put(rows, row, rule->step[i].column, &fold->next[i], err);
    row->changed = true;
    return code;
}

/* The row of the carry ahead begins as the one that was loaded. */
static sb_code_t copy_ahead(sb_view_fold_t *fold, const sb_view_value_t *stream, sb_error_t *err)
{
    const sb_view_rows_t *from = &fold->rows[fold->definition->carry];
    const sb_view_row_t *loaded = sb_view_rows_find(from, stream);
    sb_view_row_t *row = NULL;
    if (sb_view_rows_find(&fold->ahead, stream))
        return SB_OK;
    sb_code_t code = sb_view_rows_get(&fold->ahead, stream, &row, err);
    if (code != SB_OK || !loaded || !loaded->present)
        return code;
    row->present = true;
    for (int i = 1; i < from->table->column_count && code == SB_OK; i++) {
        sb_view_value_t value = sb_view_rows_value(from, loaded, i);
        code = sb_view_rows_put(&fold->ahead, row, i, &value, err);
    }
    return code;
}

static sb_code_t run_rule(sb_view_fold_t *fold, target_t *target, sb_error_t *err)
{
    bool concerns = false;
    sb_view_row_t *row = NULL;
    sb_view_rows_t *rows = &fold->rows[target->table];
    sb_code_t code = aim(fold, target, &concerns, err);
    if (code != SB_OK || !concerns)
        return code;
    if (!target->touching)
        return carry_out(fold, target, rows, err);
    if (target->table == fold->definition->carry && fold->definition->carries_keys)
        return carry_out(fold, target, &fold->ahead, err);
    return sb_view_rows_get(rows, &target->key, &row, err);
}

static sb_code_t run_table(sb_view_fold_t *fold, int table, const sb_view_input_t *input, bool readable,
                           bool touching, sb_error_t *err)
{
    const sb_view_table_t *t = &fold->definition->table[table];
    int carry = fold->definition->carry;
    bool ahead = touching && fold->definition->carries_keys;
    sb_code_t code = SB_OK;
    for (int i = 0; i < t->on_count && code == SB_OK; i++) {
        if (t->on[i].event != input->event)
            continue;
        target_t target = {.table = table, .input = input, .touching = touching};
        target.reading = (reading_t){.fold = fold, .input = input};
        if (carry >= 0)
            target.reading.carry = ahead ? &fold->ahead : &fold->rows[carry];
        if (!readable && (touching || fold->part.value != 0))
            return SB_OK;
        if (!readable)
            return park_at(fold, &target, false, SB_SLICE("the body"), "is not JSON", err);
        for (int k = 0; k < t->on[i].rule_count && code == SB_OK; k++) {
            target.rule = &t->on[i].rule[k];
            code = run_rule(fold, &target, err);
        }
    }
    return code;
}

static sb_code_t run_event(sb_view_fold_t *fold, const sb_view_input_t *input, bool touching, sb_error_t *err)
{
    bool readable = read_fields(fold, input);
    sb_code_t code = SB_OK;
    for (int i = 0; i < fold->definition->table_count && code == SB_OK; i++)
        code = run_table(fold, i, input, readable, touching, err);
    return code;
}

sb_code_t sb_view_fold_touch_carry(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err)
{
    sb_view_value_t stream = {false, input->stream, {NULL, 0}};
    sb_view_row_t *row = NULL;
    if (!fold->definition->event[input->event].carries)
        return SB_OK;
    return sb_view_rows_get(&fold->rows[fold->definition->carry], &stream, &row, err);
}

sb_code_t sb_view_fold_touch(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err)
{
    sb_view_value_t stream = {false, input->stream, {NULL, 0}};
    sb_code_t code = sb_view_fold_touch_carry(fold, input, err);
    if (code == SB_OK && fold->definition->carries_keys && fold->definition->event[input->event].carries)
        code = copy_ahead(fold, &stream, err);
    return code == SB_OK ? run_event(fold, input, true, err) : code;
}

sb_code_t sb_view_fold_apply(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err)
{
    return run_event(fold, input, false, err);
}
