/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_fold.h"

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
    sb_view_rows_t rows[SB_VIEW_TABLES_MAX];
    sb_view_rows_t stopped[SB_VIEW_TABLES_MAX]; /* keys that are parked */
    size_t stopped_count;
    parked_list_t parked;
    sb_scan_value_t field[SB_VIEW_FIELDS_MAX]; /* of the event at hand; SB_SCAN_INVALID: absent */
    sb_buf_t name_scratch;
    sb_buf_t key_scratch;
    sb_buf_t when_scratch;
    sb_buf_t step_scratch[SB_VIEW_STEPS_MAX];
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
    for (int i = 0; i < definition->table_count; i++) {
        sb_view_rows_init(&fold->rows[i], &definition->table[i], definition->table[i].column_count,
                          bytes_max);
        sb_view_rows_init(&fold->stopped[i], &definition->table[i], 1, bytes_max);
    }
    return SB_OK;
}

static void forget_parked(sb_view_fold_t *fold)
{
    for (size_t i = 0; i < fold->parked.count; i++) {
        free(fold->parked.item[i].key);
        free(fold->parked.item[i].error);
    }
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
    for (int i = 0; i < SB_VIEW_STEPS_MAX; i++)
        sb_buf_fini(&f->step_scratch[i]);
    free(f);
    *fold = NULL;
}

void sb_view_fold_reset(sb_view_fold_t *fold)
{
    for (int i = 0; i < fold->definition->table_count; i++)
        sb_view_rows_reset(&fold->rows[i]);
    forget_parked(fold);
}

sb_view_rows_t *sb_view_fold_rows(sb_view_fold_t *fold, int table)
{
    return &fold->rows[table];
}

/* A rule at work on an event, and the row it is about. */
typedef struct target {
    int table;
    const sb_view_rule_t *rule;
    const sb_view_input_t *input;
    sb_view_value_t key;
} target_t;

/* ---- parking ---- */

static bool is_stopped(const sb_view_fold_t *fold, int table, const sb_view_value_t *key)
{
    return fold->stopped_count > 0 && sb_view_rows_find(&fold->stopped[table], key) != NULL;
}

static sb_code_t stop_key(sb_view_fold_t *fold, int table, const sb_view_value_t *key, sb_error_t *err)
{
    if (fold->stopped_count >= SB_VIEW_PARKED_MAX)
        return sb_fail(err, SB_TOO_LARGE,
                       "view %s: more than %d keys are parked; mend the view or the events",
                       fold->definition->name, SB_VIEW_PARKED_MAX);
    sb_view_row_t *row = NULL;
    fold->stopped_count++;
    return sb_view_rows_get(&fold->stopped[table], key, &row, err);
}

sb_code_t sb_view_fold_park_key(sb_view_fold_t *fold, int table, sb_slice_t key, sb_error_t *err)
{
    sb_view_value_t value;
    sb_view_type_t type = fold->definition->table[table].column[0].type;
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
static sb_code_t park(sb_view_fold_t *fold, const target_t *target, const sb_view_value_t *key,
                      sb_slice_t what, const char *problem, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (key)
        code = stop_key(fold, target->table, key, err);
    else if (fold->parked.count >= SB_VIEW_PARKED_MAX)
        code = sb_fail(err, SB_TOO_LARGE, "view %s: more than %d events are parked", fold->definition->name,
                       SB_VIEW_PARKED_MAX);
    if (code != SB_OK)
        return code;
    sb_view_parked_t parked = {
        .table = target->table, .event = target->input->event, .seq = target->input->seq};
    sb_buf_t text = SB_BUF_INIT;
    if (key && sb_view_types[fold->definition->table[target->table].column[0].type].is_bytes)
        sb_buf_add_slice(&text, key->bytes);
    else if (key)
        sb_buf_printf(&text, "%" PRId64, key->integer);
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

/* The value a source gives a column. False: *problem says what is wrong with it. *absent: the event does not
 * have the field. */
static bool source_value(sb_view_fold_t *fold, const sb_view_input_t *input, const sb_view_source_t *source,
                         sb_view_type_t type, sb_buf_t *scratch, sb_view_value_t *value, bool *absent,
                         const char **problem)
{
    *absent = false;
    *value = (sb_view_value_t){false, 0, {NULL, 0}};
    switch (source->origin) {
    case SB_VIEW_FIELD:
        *absent = fold->field[source->field].kind == SB_SCAN_INVALID;
        return *absent || sb_view_value_scan(type, &fold->field[source->field], scratch, value, problem);
    case SB_VIEW_CONST:
        *value = source->constant;
        break;
    case SB_VIEW_SUBJECT:
        value->bytes = input->subject;
        break;
    case SB_VIEW_TIME:
        value->integer = input->time_us;
        break;
    case SB_VIEW_EVENT:
        value->bytes = sb_slice(fold->definition->event[input->event].name);
        break;
    case SB_VIEW_SEQ:
        value->integer = input->seq;
        break;
    }
    return true;
}

static sb_slice_t source_name(const sb_view_fold_t *fold, const sb_view_input_t *input,
                              const sb_view_source_t *source)
{
    if (source->origin == SB_VIEW_FIELD)
        return fold->definition->event[input->event].field[source->field].pointer;
    return source->origin == SB_VIEW_SUBJECT ? SB_SLICE("$subject") : SB_SLICE("the value");
}

/* ---- rules ---- */

/* Compares as when->kind asks. False: the field is absent, null or of another kind. */
static bool compare_field(sb_view_fold_t *fold, const sb_view_when_t *when, int *order)
{
    const sb_scan_value_t *field = &fold->field[when->field];
    sb_view_value_t value;
    const char *problem = NULL;
    sb_view_type_t type = when->kind == JSON_STRING    ? SB_VIEW_TEXT
                          : when->kind == JSON_INTEGER ? SB_VIEW_INT8
                                                       : SB_VIEW_BOOL;
    if (field->kind == SB_SCAN_INVALID ||
        !sb_view_value_scan(type, field, &fold->when_scratch, &value, &problem) || value.is_null)
        return false;
    *order = sb_view_value_compare(type, &value, &when->value);
    return true;
}

static bool holds(sb_view_fold_t *fold, const sb_view_when_t *when)
{
    if (!when->given)
        return true;
    sb_scan_kind_t kind = fold->field[when->field].kind;
    if (when->compare >= SB_VIEW_EXISTS)
        return (kind != SB_SCAN_INVALID && kind != SB_SCAN_NULL) == (when->compare == SB_VIEW_EXISTS);
    int order = 0;
    if (!compare_field(fold, when, &order))
        return when->compare == SB_VIEW_NE;
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

/* Finds out which row the rule is about. *concerns: none (its condition does not hold, it has no key here,
 * the key is parked) unless set. With touching, what is wrong with the key is left for apply to say. */
static sb_code_t aim(sb_view_fold_t *fold, target_t *target, bool touching, bool *concerns, sb_error_t *err)
{
    const sb_view_rule_t *rule = target->rule;
    sb_view_type_t type = fold->definition->table[target->table].column[0].type;
    const char *problem = "";
    bool absent = false;
    *concerns = false;
    if (!holds(fold, &rule->when))
        return SB_OK;
    bool readable = source_value(fold, target->input, &rule->key, type, &fold->key_scratch, &target->key,
                                 &absent, &problem);
    if (readable && (absent || target->key.is_null))
        return SB_OK;
    bool fits = readable && target->key.bytes.len <= SB_VIEW_KEY_BYTES_MAX;
    if (!fits && !touching) {
        sb_slice_t name = source_name(fold, target->input, &rule->key);
        return park(fold, target, NULL, name, readable ? "is too long for a key" : problem, err);
    }
    *concerns = fits && !is_stopped(fold, target->table, &target->key);
    return SB_OK;
}

/* The next value of each column the rule changes, into fold->next. False: *step cannot be carried out. */
static bool compute(sb_view_fold_t *fold, const target_t *target, const sb_view_row_t *row, int *step,
                    const char **problem)
{
    const sb_view_rule_t *rule = target->rule;
    const sb_view_rows_t *rows = &fold->rows[target->table];
    for (int i = 0; i < rule->step_count; i++) {
        const sb_view_step_t *s = &rule->step[i];
        const sb_view_column_t *column = &rows->table->column[s->column];
        sb_view_value_t present = row->present ? sb_view_rows_value(rows, row, s->column) : column->initial;
        sb_view_value_t operand = SB_VIEW_NULL;
        bool absent = false;
        *step = i;
        if (s->op->takes_source && !source_value(fold, target->input, &s->source, column->type,
                                                 &fold->step_scratch[i], &operand, &absent, problem))
            return false;
        fold->writes[i] = !absent;
        if (!absent && !s->op->apply(column->type, &present, &operand, &fold->next[i], problem))
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

/* Values are computed before the first is written, so a rule changes its row as a whole or not at all. */
static sb_code_t carry_out(sb_view_fold_t *fold, const target_t *target, sb_error_t *err)
{
    sb_view_rows_t *rows = &fold->rows[target->table];
    const sb_view_rule_t *rule = target->rule;
    sb_view_row_t *row = NULL;
    const char *problem = "";
    int step = 0;
    sb_code_t code = sb_view_rows_get(rows, &target->key, &row, err);
    if (code != SB_OK)
        return code;
    if (!compute(fold, target, row, &step, &problem)) {
        const char *column = rows->table->column[rule->step[step].column].name;
        return park(fold, target, &target->key, sb_slice(column), problem, err);
    }
    if (rule->removes) {
        row->changed |= row->present;
        row->present = false;
        return SB_OK;
    }
    if (!row->present)
        code = make_present(rows, row, err);
    for (int i = 0; i < rule->step_count && code == SB_OK; i++)
        if (fold->writes[i])
            code = sb_view_rows_put(rows, row, rule->step[i].column, &fold->next[i], err);
    row->changed = true;
    return code;
}

static sb_code_t run_rule(sb_view_fold_t *fold, target_t *target, bool touching, sb_error_t *err)
{
    bool concerns = false;
    sb_view_row_t *row = NULL;
    sb_code_t code = aim(fold, target, touching, &concerns, err);
    if (code != SB_OK || !concerns)
        return code;
    return touching ? sb_view_rows_get(&fold->rows[target->table], &target->key, &row, err)
                    : carry_out(fold, target, err);
}

static sb_code_t run_table(sb_view_fold_t *fold, int table, const sb_view_input_t *input, bool readable,
                           bool touching, sb_error_t *err)
{
    const sb_view_table_t *t = &fold->definition->table[table];
    sb_code_t code = SB_OK;
    for (int i = 0; i < t->on_count && code == SB_OK; i++) {
        if (t->on[i].event != input->event)
            continue;
        target_t target = {.table = table, .input = input};
        if (!readable)
            return touching ? SB_OK : park(fold, &target, NULL, SB_SLICE("the body"), "is not JSON", err);
        for (int k = 0; k < t->on[i].rule_count && code == SB_OK; k++) {
            target.rule = &t->on[i].rule[k];
            code = run_rule(fold, &target, touching, err);
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

sb_code_t sb_view_fold_touch(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err)
{
    return run_event(fold, input, true, err);
}

sb_code_t sb_view_fold_apply(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err)
{
    return run_event(fold, input, false, err);
}
