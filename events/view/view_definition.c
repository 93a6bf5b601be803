/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_definition.h"

#include "base/json.h"
#include "events/view/view_decimal.h"
#include "sagabus/event.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* The compiler's place in the file: where it is, and the first thing found wrong there. */
typedef struct compiler {
    sb_view_definition_t *view;
    sb_buf_t pointer;
    sb_error_t *err;
} compiler_t;

static sb_code_t refuse(compiler_t *c, const char *format, ...) SB_PRINTF(2, 3);

static sb_code_t refuse(compiler_t *c, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sb_fail_at(c->err, SB_INVALID, sb_buf_text(&c->pointer), "%s", text);
}

static sb_code_t refuse_at(compiler_t *c, const char *token, const char *text)
{
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(token));
    sb_code_t code = refuse(c, "%s", text);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t no_memory(compiler_t *c)
{
    return sb_fail(c->err, SB_NO_MEMORY, "compile a view: out of memory");
}

/* ---- parts of JSON ---- */

static bool is_one_of(const char *name, const char *const *allowed)
{
    while (*allowed && strcmp(*allowed, name) != 0)
        allowed++;
    return *allowed != NULL;
}

static sb_code_t only_members(compiler_t *c, const json_t *object, const char *const *allowed)
{
    if (!json_is_object(object))
        return refuse(c, "must be an object");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name,
                        value) if (!is_one_of(name, allowed)) return refuse_at(c, name, "is not known here");
    return SB_OK;
}

static sb_code_t text_member(compiler_t *c, const json_t *object, const char *name, bool required,
                             const char **out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_string_value(value);
    if (!value && required)
        return refuse(c, "\"%s\" is missing", name);
    if (value && !*out)
        return refuse_at(c, name, "must be a string");
    return SB_OK;
}

static bool ends_like_a_generation(const char *name)
{
    size_t end = strlen(name);
    size_t at = end;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    return at < end && at >= 2 && name[at - 1] == 'g' && name[at - 2] == '_';
}

static bool is_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && name[length] == '\0' && length <= SB_VIEW_NAME_MAX && name[0] >= 'a';
}

static sb_code_t name_member(compiler_t *c, const json_t *object, const char *member, const char **out)
{
    sb_code_t code = text_member(c, object, member, true, out);
    if (code != SB_OK)
        return code;
    if (!*out || !is_name(*out))
        return refuse_at(c, member, "must be 1 to 50 of a-z, 0-9 and _, beginning with a letter");
    if (ends_like_a_generation(*out))
        return refuse_at(c, member, "must not end like a generation (_g1)");
    return SB_OK;
}

/* ---- columns ---- */

static bool is_system_column(const char *name)
{
    static const char *const taken[] = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", "dirty", NULL};
    return is_one_of(name, taken);
}

/* A text that lives as long as the definition. */
static const char *keep_text(compiler_t *c, sb_slice_t text)
{
    json_t *kept = json_stringn(text.ptr, text.len);
    return kept && json_array_append_new(c->view->texts, kept) == 0 ? json_string_value(kept) : NULL;
}

static sb_code_t numeric_constant(compiler_t *c, sb_view_bounds_t bounds, const json_t *json,
                                  sb_view_value_t *out)
{
    char digits[24];
    sb_view_wide_t number;
    const char *problem = "is not a decimal number";
    sb_slice_t text = {json_string_value(json), json_string_length(json)};
    (void)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    if (json_is_integer(json))
        text = sb_slice(digits);
    if (!text.ptr || !sb_view_decimal_read(text, bounds.precision, bounds.scale, &number, &problem))
        return refuse(c, "%s; write it as a string (\"12.50\") or as an integer", problem);
    sb_buf_t canonical = SB_BUF_INIT;
    sb_view_decimal_write(number, bounds.scale, &canonical);
    const char *kept = sb_buf_failed(&canonical) ? NULL : keep_text(c, sb_buf_slice(&canonical));
    sb_buf_fini(&canonical);
    out->bytes = sb_slice(kept);
    return kept ? SB_OK : no_memory(c);
}

static sb_code_t constant_of(compiler_t *c, sb_view_type_t type, sb_view_bounds_t bounds, const json_t *json,
                             sb_view_value_t *out)
{
    *out = SB_VIEW_NULL;
    if (json_is_null(json))
        return SB_OK;
    out->is_null = false;
    bool fits = false;
    switch (type) {
    case SB_VIEW_TEXT:
        out->bytes = (sb_slice_t){json_string_value(json), json_string_length(json)};
        fits = json_is_string(json) && !memchr(out->bytes.ptr, '\0', out->bytes.len);
        break;
    case SB_VIEW_INT4:
    case SB_VIEW_INT8:
        out->integer = json_integer_value(json);
        fits = json_is_integer(json) &&
               (type == SB_VIEW_INT8 || (out->integer >= INT32_MIN && out->integer <= INT32_MAX));
        break;
    case SB_VIEW_BOOL:
        out->integer = json_is_true(json);
        fits = json_is_boolean(json);
        break;
    case SB_VIEW_NUMERIC:
        return numeric_constant(c, bounds, json, out);
    case SB_VIEW_DATE:
    case SB_VIEW_TIMESTAMPTZ:
        fits = json_is_string(json) && sb_view_value_parse(type, sb_slice(json_string_value(json)), out);
        break;
    case SB_VIEW_JSONB:
        return refuse(c, "a constant of type jsonb is not supported");
    case SB_VIEW_TYPES:
        break;
    }
    return fits ? SB_OK : refuse(c, "is not a value of type %s", sb_view_types[type].name);
}

/* numeric(12,2). False: not of that form. */
static bool numeric_bounds(const char *name, sb_view_bounds_t *out)
{
    int precision = 0;
    int scale = 0;
    int length = 0;
    if (sscanf(name, "numeric(%2d,%2d)%n", &precision, &scale, &length) != 2 || name[length] != '\0' ||
        length == 0 || name[8] < '1' || name[8] > '9' || !strchr("0123456789", strchr(name, ',')[1]))
        return false;
    *out = (sb_view_bounds_t){.precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return precision <= SB_VIEW_DECIMAL_DIGITS && scale <= precision;
}

static sb_code_t type_member(compiler_t *c, const json_t *object, sb_view_column_t *out)
{
    const char *name = NULL;
    sb_code_t code = text_member(c, object, "type", true, &name);
    if (code != SB_OK)
        return code;
    assert(name);
    out->bounds = (sb_view_bounds_t){0};
    out->type = sb_view_type_of(sb_slice(name));
    if (out->type == SB_VIEW_NUMERIC)
        out->type = SB_VIEW_TYPES; /* without its bounds it is none */
    if (numeric_bounds(name, &out->bounds))
        out->type = SB_VIEW_NUMERIC;
    if (strncmp(name, "float", 5) == 0 || strncmp(name, "double", 6) == 0 || strcmp(name, "real") == 0)
        return refuse_at(c, "type", "is floating point, which does not add up; take int8 or numeric(P,S)");
    if (strncmp(name, "numeric", 7) == 0 && out->type != SB_VIEW_NUMERIC)
        return refuse_at(c, "type", "must be numeric(P,S) with P from 1 to 38 and S from 0 to P");
    if (out->type == SB_VIEW_TYPES)
        return refuse_at(c, "type",
                         "is none of text, int4, int8, numeric(P,S), bool, timestamptz, date, jsonb");
    return SB_OK;
}

static sb_code_t compile_initial(compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *initial = json_object_get(body, "default");
    column->initial = SB_VIEW_NULL;
    if (!initial)
        return SB_OK;
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("default"));
    sb_code_t code = constant_of(c, column->type, column->bounds, initial, &column->initial);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_index(compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *index = json_object_get(body, "index");
    column->indexed = json_is_true(index);
    if (index && !json_is_boolean(index))
        return refuse_at(c, "index", "must be true or false");
    if (column->indexed && column->type == SB_VIEW_JSONB)
        return refuse_at(c, "index", "is not for jsonb");
    return SB_OK;
}

/* How many items an array that is appended to keeps. */
static sb_code_t compile_items(compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *items = json_object_get(body, "items");
    if (!items)
        return SB_OK;
    if (column->type != SB_VIEW_JSONB)
        return refuse_at(c, "items", "is for jsonb");
    if (!json_is_integer(items) || json_integer_value(items) < 1 ||
        json_integer_value(items) > SB_VIEW_ITEMS_MAX)
        return refuse_at(c, "items", "must be an integer from 1 to 1000");
    column->bounds.items = (uint16_t)json_integer_value(items);
    return SB_OK;
}

static sb_code_t compile_column(compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"name", "type", "default", "index", "items", "description", NULL};
    if (table->column_count == SB_VIEW_COLUMNS_MAX)
        return refuse(c, "is one column too many, the most is %d with the key", SB_VIEW_COLUMNS_MAX);
    sb_view_column_t *column = &table->column[table->column_count];
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = name_member(c, body, "name", &column->name);
    if (code == SB_OK && is_system_column(column->name))
        code = refuse_at(c, "name", "is PostgreSQL's own, or sagabus's");
    if (code == SB_OK && sb_view_table_column(table, sb_slice(column->name)) >= 0)
        code = refuse_at(c, "name", "is another column's too");
    if (code == SB_OK)
        code = type_member(c, body, column);
    if (code == SB_OK)
        code = compile_initial(c, body, column);
    if (code == SB_OK)
        code = compile_index(c, body, column);
    if (code == SB_OK)
        code = compile_items(c, body, column);
    if (code == SB_OK)
        table->column_count++;
    return code;
}

/* An array, not an object: the order of columns is the order people see, and what a new version adds must
 * come last, while the registry's canonical JSON sorts the members of objects. */
static sb_code_t compile_columns(compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("columns"));
    sb_code_t code = json_is_array(body) ? SB_OK : refuse(c, "must be an array of columns");
    for (size_t i = 0; i < json_array_size(body) && code == SB_OK; i++) {
        size_t inner = sb_json_pointer_enter_index(&c->pointer, i);
        code = compile_column(c, json_array_get(body, i), table);
        sb_json_pointer_leave(&c->pointer, inner);
    }
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

/* ---- sources ---- */

/* Notes what a field is read as, so that it can be held against the event's schema. */
static sb_code_t note_use(compiler_t *c, int event, int field, sb_view_type_t type)
{
    sb_view_definition_t *view = c->view;
    sb_view_use_t *moved = realloc(view->use, (view->use_count + 1) * sizeof *moved);
    if (!moved)
        return no_memory(c);
    view->use = moved;
    const char *place = keep_text(c, sb_buf_slice(&c->pointer));
    view->use[view->use_count++] = (sb_view_use_t){event, field, type, place};
    return place ? SB_OK : no_memory(c);
}

/* The field of an event type at a pointer; the same pointer is read once. */
static sb_code_t field_at(compiler_t *c, int event, const char *pointer, sb_view_type_t type, int *out)
{
    sb_view_event_type_t *event_type = &c->view->event[event];
    sb_slice_t text = sb_slice(pointer);
    if (!sb_json_pointer_ok(text) || text.len == 0)
        return refuse(c, "\"%s\" is not a JSON Pointer to a field of the event's data", pointer);
    for (*out = 0; *out < event_type->field_count; ++*out)
        if (sb_slice_equal(event_type->field[*out].pointer, text))
            return note_use(c, event, *out, type);
    if (event_type->field_count == SB_VIEW_FIELDS_MAX)
        return refuse(c, "is one field of %s too many, the most is %d", event_type->name, SB_VIEW_FIELDS_MAX);
    sb_view_field_t *field = &event_type->field[event_type->field_count++];
    *field = (sb_view_field_t){.pointer = text, .name = SB_SLICE_NONE};
    if (!strchr(pointer + 1, '/') && !strchr(pointer, '~') && text.len > 1)
        field->name = (sb_slice_t){pointer + 1, text.len - 1};
    return note_use(c, event, *out, type);
}

/* Where a source is written: the event it reads, and the column it is for (NULL: any type will do). */
typedef struct aim {
    int event;
    const sb_view_column_t *column;
} aim_t;

static sb_code_t must_be(compiler_t *c, const aim_t *aim, const char *what, sb_view_type_t type)
{
    if (!aim->column || aim->column->type == type)
        return SB_OK;
    return refuse(c, "%s is %s, the column is %s", what, sb_view_types[type].name,
                  sb_view_types[aim->column->type].name);
}

typedef struct attribute {
    const char *name;
    sb_view_origin_t origin;
    sb_view_type_t type;
} attribute_t;

static const attribute_t attributes[] = {
    {"$subject", SB_VIEW_SUBJECT, SB_VIEW_TEXT}, {"$time", SB_VIEW_TIME, SB_VIEW_TIMESTAMPTZ},
    {"$type", SB_VIEW_EVENT, SB_VIEW_TEXT},      {"$seq", SB_VIEW_SEQ, SB_VIEW_INT8},
    {NULL, SB_VIEW_CONST, SB_VIEW_TYPES},
};

static sb_code_t compile_attribute(compiler_t *c, const aim_t *aim, const char *name, sb_view_source_t *out)
{
    const attribute_t *attribute = attributes;
    while (attribute->name && strcmp(attribute->name, name) != 0)
        attribute++;
    if (!attribute->name)
        return refuse(c, "\"%s\" is none of $subject, $time, $type, $seq", name);
    out->origin = attribute->origin;
    out->type = attribute->type;
    c->view->reads_subject |= attribute->origin == SB_VIEW_SUBJECT;
    return must_be(c, aim, name, attribute->type);
}

/* A column of the carry by name. */
static sb_code_t carry_column(compiler_t *c, int event, const json_t *name, int *out)
{
    sb_view_definition_t *view = c->view;
    if (!json_is_string(name))
        return refuse(c, "must be the name of a column of the carry");
    if (view->carry < 0)
        return refuse(c, "reads the carry, and the view has none");
    *out = sb_view_table_column(&view->table[view->carry], sb_slice(json_string_value(name)));
    view->event[event].carries = true;
    return *out > 0 ? SB_OK : refuse(c, "the carry has no column \"%s\"", json_string_value(name));
}

static sb_code_t compile_carried(compiler_t *c, const aim_t *aim, const json_t *name, sb_view_source_t *out)
{
    sb_code_t code = carry_column(c, aim->event, name, &out->column);
    if (code != SB_OK)
        return code;
    const sb_view_column_t *from = &c->view->table[c->view->carry].column[out->column];
    out->origin = SB_VIEW_CARRY;
    out->type = from->type;
    code = must_be(c, aim, json_string_value(name), from->type);
    bool narrower = aim->column && from->type == SB_VIEW_NUMERIC &&
                    (aim->column->bounds.scale != from->bounds.scale ||
                     aim->column->bounds.precision < from->bounds.precision);
    if (code == SB_OK && narrower)
        code = refuse(c, "%s is numeric(%d,%d), which the column does not hold", from->name,
                      from->bounds.precision, from->bounds.scale);
    return code;
}

static sb_view_type_t type_of_value(const json_t *value)
{
    return json_is_string(value)    ? SB_VIEW_TEXT
           : json_is_integer(value) ? SB_VIEW_INT8
           : json_is_boolean(value) ? SB_VIEW_BOOL
                                    : SB_VIEW_JSONB;
}

static sb_code_t compile_const(compiler_t *c, const aim_t *aim, const json_t *constant, sb_view_source_t *out)
{
    out->origin = SB_VIEW_CONST;
    out->type = aim->column ? aim->column->type : type_of_value(constant);
    sb_view_bounds_t none = {0};
    return constant_of(c, out->type, aim->column ? aim->column->bounds : none, constant, &out->constant);
}

static sb_code_t compile_source(compiler_t *c, const aim_t *aim, const json_t *body, sb_view_source_t *out);

static sb_code_t take_parts(compiler_t *c, int count, sb_view_source_t *out)
{
    if (c->view->part_count + count > SB_VIEW_PARTS_MAX)
        return refuse(c, "is one part of a value too many, the most is %d a view", SB_VIEW_PARTS_MAX);
    out->part = c->view->part_count;
    out->part_count = count;
    c->view->part_count += count;
    return SB_OK;
}

static sb_code_t zone_named(compiler_t *c, const json_t *name, int *out)
{
    sb_view_definition_t *view = c->view;
    const char *text = json_string_value(name);
    sb_error_t cause = SB_ERROR_INIT;
    if (!text)
        return name ? refuse(c, "must be the name of a time zone (\"Europe/Berlin\")")
                    : refuse(c, "\"zone\" is missing");
    for (*out = 0; *out < view->zone_count; ++*out)
        if (strcmp(view->zone[*out].name, text) == 0)
            return SB_OK;
    if (view->zone_count == SB_VIEW_ZONES_MAX)
        return refuse(c, "is one time zone too many, the most is %d", SB_VIEW_ZONES_MAX);
    if (sb_view_zone_load(&view->zone[view->zone_count], text, &cause) != SB_OK)
        return refuse(c, "%s", cause.message);
    view->zone_count++;
    return SB_OK;
}

static sb_code_t compile_day(compiler_t *c, const aim_t *aim, const json_t *body, sb_view_source_t *out)
{
    static const char *const members[] = {"date", "zone", NULL};
    static const sb_view_column_t time = {.name = "the time", .type = SB_VIEW_TIMESTAMPTZ};
    out->origin = SB_VIEW_DAY;
    out->type = SB_VIEW_DATE;
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = must_be(c, aim, "date", SB_VIEW_DATE);
    if (code == SB_OK)
        code = take_parts(c, 1, out);
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("date"));
    if (code == SB_OK)
        code = compile_source(c, &(aim_t){aim->event, &time}, json_object_get(body, "date"),
                              &c->view->part[out->part]);
    sb_json_pointer_leave(&c->pointer, mark);
    mark = sb_json_pointer_enter(&c->pointer, sb_slice("zone"));
    if (code == SB_OK)
        code = zone_named(c, json_object_get(body, "zone"), &out->zone);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_join(compiler_t *c, const aim_t *aim, const json_t *parts, sb_view_source_t *out)
{
    size_t count = json_array_size(parts);
    out->origin = SB_VIEW_JOIN;
    out->type = SB_VIEW_TEXT;
    if (!json_is_array(parts) || count < 2 || count > SB_VIEW_JOIN_MAX)
        return refuse(c, "must be an array of 2 to %d values", SB_VIEW_JOIN_MAX);
    sb_code_t code = must_be(c, aim, "join", SB_VIEW_TEXT);
    if (code == SB_OK)
        code = take_parts(c, (int)count, out);
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        sb_view_source_t *part = &c->view->part[out->part + (int)i];
        code = compile_source(c, &(aim_t){aim->event, NULL}, json_array_get(parts, i), part);
        if (code == SB_OK &&
            (part->origin == SB_VIEW_JOIN || (part->origin != SB_VIEW_FIELD && part->type == SB_VIEW_JSONB)))
            code = refuse(c, "is no text, number, bool, time or date");
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_field(compiler_t *c, const aim_t *aim, const char *pointer, sb_view_source_t *out)
{
    out->type = aim->column ? aim->column->type : SB_VIEW_JSONB;
    return field_at(c, aim->event, pointer, out->type, &out->field);
}

/* {"carry": …}, {"const": …}, {"join": …}, {"date": …, "zone": …}. */
static sb_code_t compile_made(compiler_t *c, const aim_t *aim, const json_t *body, sb_view_source_t *out)
{
    static const struct {
        const char *name;
        sb_code_t (*compile)(compiler_t *c, const aim_t *aim, const json_t *value, sb_view_source_t *out);
    } kinds[] = {{"const", compile_const}, {"carry", compile_carried}, {"join", compile_join}};
    if (json_object_get(body, "date"))
        return compile_day(c, aim, body, out);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const json_t *value = json_object_get(body, kinds[i].name);
        const char *const members[] = {kinds[i].name, NULL};
        if (!value)
            continue;
        sb_code_t code = only_members(c, body, members);
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(kinds[i].name));
        if (code == SB_OK)
            code = kinds[i].compile(c, aim, value, out);
        sb_json_pointer_leave(&c->pointer, mark);
        return code;
    }
    return refuse(c, "has none of \"const\", \"carry\", \"date\", \"join\"");
}

static sb_code_t compile_source(compiler_t *c, const aim_t *aim, const json_t *body, sb_view_source_t *out)
{
    *out = (sb_view_source_t){.origin = SB_VIEW_FIELD};
    const char *text = json_string_value(body);
    if (text && text[0] == '$')
        return compile_attribute(c, aim, text, out);
    if (text)
        return compile_field(c, aim, text, out);
    if (json_is_object(body))
        return compile_made(c, aim, body, out);
    return refuse(c, "must be a pointer (\"/amount\"), an attribute (\"$time\"), or an object with const, "
                     "carry, date or join");
}

/* Whether a source reads the carry, itself or by a part. */
static bool reads_carry(const sb_view_definition_t *view, const sb_view_source_t *source)
{
    bool reads = source->origin == SB_VIEW_CARRY;
    for (int i = 0; i < source->part_count; i++)
        reads |= reads_carry(view, &view->part[source->part + i]);
    return reads;
}

/* ---- rules ---- */

/* The left side: a field of the event, or a column of the carry of a type that the value can equal. */
static sb_code_t compile_when_of(compiler_t *c, int event, const json_t *body, sb_view_when_t *when)
{
    const char *pointer = NULL;
    const json_t *carry = json_object_get(body, "carry");
    sb_view_type_t type = type_of_value(json_object_get(body, "value"));
    if (!carry) {
        sb_code_t code = text_member(c, body, "pointer", true, &pointer);
        return code == SB_OK ? field_at(c, event, pointer, type, &when->field) : code;
    }
    if (json_object_get(body, "pointer"))
        return refuse(c, "has a pointer and a carry");
    when->field = -1;
    sb_code_t code = carry_column(c, event, carry, &when->column);
    if (code != SB_OK)
        return code;
    sb_view_type_t have = c->view->table[c->view->carry].column[when->column].type;
    if (type != SB_VIEW_JSONB && type != (have == SB_VIEW_INT4 ? SB_VIEW_INT8 : have))
        return refuse_at(c, "value", "is of another type than the column of the carry");
    return SB_OK;
}

static sb_code_t compile_when(compiler_t *c, int event, const json_t *body, sb_view_when_t *when)
{
    static const char *const members[] = {"pointer", "carry", "operator", "value", NULL};
    static const char *const operators[] = {"==", "!=", "<", "<=", ">", ">=", "exists", "absent", NULL};
    const char *operator= NULL;
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = text_member(c, body, "operator", true, &operator);
    if (code == SB_OK)
        code = compile_when_of(c, event, body, when);
    if (code != SB_OK)
        return code;
    int at = 0;
    while (operators[at] && strcmp(operators[at], operator) != 0)
        at++;
    if (!operators[at])
        return refuse_at(c, "operator", "is none of ==, !=, <, <=, >, >=, exists, absent");
    when->compare = (sb_view_compare_t)at;
    const json_t *value = json_object_get(body, "value");
    if (when->compare >= SB_VIEW_EXISTS)
        return value ? refuse_at(c, "value", "has no use with exists and absent") : SB_OK;
    if (!json_is_string(value) && !json_is_integer(value) && !json_is_boolean(value))
        return value ? refuse_at(c, "value", "must be a string, an integer, true or false")
                     : refuse(c, "\"value\" is missing");
    if (json_is_boolean(value) && when->compare > SB_VIEW_NE)
        return refuse_at(c, "operator", "does not order true and false");
    when->kind = json_typeof(value);
    when->value.is_null = false;
    when->value.integer = json_is_integer(value) ? json_integer_value(value) : json_is_true(value);
    when->value.bytes = (sb_slice_t){json_string_value(value), json_string_length(value)};
    return SB_OK;
}

static sb_code_t compile_whens(compiler_t *c, int event, const json_t *body, sb_view_rule_t *rule)
{
    size_t count = json_is_array(body) ? json_array_size(body) : 1;
    if (count < 1 || count > SB_VIEW_WHENS_MAX)
        return refuse(c, "must be a condition or an array of 1 to %d", SB_VIEW_WHENS_MAX);
    rule->when_count = (int)count;
    if (!json_is_array(body))
        return compile_when(c, event, body, &rule->when[0]);
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        code = compile_when(c, event, json_array_get(body, i), &rule->when[i]);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t add_step(compiler_t *c, const sb_view_table_t *table, sb_view_rule_t *rule,
                          const sb_view_op_t *op, const char *column, sb_view_step_t **out)
{
    int at = sb_view_table_column(table, sb_slice(column));
    if (at < 0)
        return refuse(c, "table %s has no column \"%s\"", table->name, column);
    if (at == 0)
        return refuse(c, "\"%s\" is the key, which does not change", column);
    if (!(op->types >> table->column[at].type & 1u))
        return refuse(c, "%s is not for a column of type %s", op->name,
                      sb_view_types[table->column[at].type].name);
    if (op->takes_json && table->column[at].bounds.items == 0)
        return refuse(c, "%s is for a column that says how many \"items\" it keeps", op->name);
    for (int i = 0; i < rule->step_count; i++)
        if (rule->step[i].column == at)
            return refuse(c, "\"%s\" is changed twice", column);
    if (rule->step_count == SB_VIEW_STEPS_MAX)
        return refuse(c, "is one change too many, the most is %d", SB_VIEW_STEPS_MAX);
    *out = &rule->step[rule->step_count++];
    **out = (sb_view_step_t){.op = op, .column = at};
    return SB_OK;
}

static sb_code_t compile_steps(compiler_t *c, int event, const sb_view_table_t *table, const sb_view_op_t *op,
                               const json_t *body, sb_view_rule_t *rule)
{
    sb_code_t code = SB_OK;
    sb_view_step_t *step = NULL;
    if (op->takes_source ? !json_is_object(body) : !json_is_array(body))
        return refuse(c, op->takes_source ? "must be an object of columns" : "must be an array of columns");
    for (size_t i = 0; i < json_array_size(body) && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        const char *column = json_string_value(json_array_get(body, i));
        code = column ? add_step(c, table, rule, op, column, &step) : refuse(c, "must be a column's name");
        sb_json_pointer_leave(&c->pointer, mark);
    }
    const char *column;
    json_t *source;
    json_object_foreach((json_t *)(uintptr_t)body, column, source)
    {
        if (code != SB_OK)
            break;
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(column));
        code = add_step(c, table, rule, op, column, &step);
        if (code == SB_OK && step) {
            const sb_view_column_t *to = op->takes_json ? NULL : &table->column[step->column];
            code = compile_source(c, &(aim_t){event, to}, source, &step->source);
            rule->reads_carry |= reads_carry(c->view, &step->source);
            /* its text is not the same live and on replay, so that its length cannot be judged */
            if (code == SB_OK && op->takes_json && step->source.origin == SB_VIEW_CARRY &&
                step->source.type == SB_VIEW_JSONB)
                code = refuse(c, "%s does not take jsonb from the carry", op->name);
        }
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_rule_member(compiler_t *c, int event, const sb_view_table_t *table, const char *name,
                                     const json_t *body, sb_view_rule_t *rule)
{
    if (strcmp(name, "key") == 0)
        return table->hidden ? refuse(c, "has no use in the carry, whose key is the stream")
                             : compile_source(c, &(aim_t){event, &table->column[0]}, body, &rule->key);
    if (strcmp(name, "when") == 0)
        return compile_whens(c, event, body, rule);
    if (strcmp(name, "delete") == 0) {
        rule->removes = true;
        return json_is_true(body) ? SB_OK : refuse(c, "must be true");
    }
    const sb_view_op_t *op = sb_view_op_named(sb_slice(name));
    if (!op)
        return refuse(c, "is none of key, when, delete, set, add, sub, count, min, max, append");
    return compile_steps(c, event, table, op, body, rule);
}

static sb_code_t compile_rule(compiler_t *c, int event, const sb_view_table_t *table,
                              const json_t *default_key, const json_t *body, sb_view_rule_t *rule)
{
    if (!json_is_object(body))
        return refuse(c, "must be an object of operations");
    rule->step = calloc(SB_VIEW_STEPS_MAX, sizeof *rule->step);
    if (!rule->step)
        return no_memory(c);
    sb_code_t code = SB_OK;
    const char *name;
    json_t *member;
    json_object_foreach((json_t *)(uintptr_t)body, name, member)
    {
        if (code != SB_OK)
            break;
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(name));
        code = compile_rule_member(c, event, table, name, member, rule);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    if (code == SB_OK && table->hidden)
        rule->key = (sb_view_source_t){.origin = SB_VIEW_STREAM, .type = SB_VIEW_INT8};
    else if (code == SB_OK && !json_object_get(body, "key"))
        code = compile_source(c, &(aim_t){event, &table->column[0]}, default_key, &rule->key);
    for (int i = 0; i < rule->when_count; i++)
        rule->reads_carry |= rule->when[i].field < 0;
    if (code == SB_OK && reads_carry(c->view, &rule->key))
        rule->reads_carry = c->view->carries_keys = true;
    if (code == SB_OK && rule->key.origin == SB_VIEW_CONST && rule->key.constant.is_null)
        code = refuse(c, "the key must not be null");
    if (code == SB_OK && rule->removes && rule->step_count > 0)
        code = refuse(c, "deletes the row and changes it too");
    return code;
}

/* ---- events ---- */

static sb_code_t event_named(compiler_t *c, const char *name, int *out)
{
    *out = sb_view_definition_event(c->view, sb_slice(name));
    if (*out >= 0)
        return SB_OK;
    if (!sb_event_type_ok(sb_slice(name)))
        return refuse(c, "is not an event type (order.created)");
    if (strncmp(name, "saga.", 5) == 0)
        return refuse(c, "is a saga's event; views fold domain events");
    if (c->view->event_count == SB_VIEW_EVENTS_MAX)
        return refuse(c, "is one event type too many, the most is %d", SB_VIEW_EVENTS_MAX);
    *out = c->view->event_count++;
    c->view->event[*out].name = name;
    return SB_OK;
}

static sb_code_t compile_on(compiler_t *c, const char *name, const sb_view_table_t *table,
                            const json_t *default_key, const json_t *body, sb_view_on_t *on)
{
    sb_code_t code = event_named(c, name, &on->event);
    if (code != SB_OK)
        return code;
    c->view->event[on->event].carries |= table->hidden;
    size_t count = json_is_array(body) ? json_array_size(body) : 1;
    if (count < 1 || count > 16)
        return refuse(c, "must be a rule or an array of 1 to 16 rules");
    on->rule = calloc(count, sizeof *on->rule);
    if (!on->rule)
        return no_memory(c);
    on->rule_count = (int)count;
    if (!json_is_array(body))
        return compile_rule(c, on->event, table, default_key, body, &on->rule[0]);
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        code = compile_rule(c, on->event, table, default_key, json_array_get(body, i), &on->rule[i]);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_ons(compiler_t *c, const json_t *body, const json_t *default_key,
                             sb_view_table_t *table)
{
    if (!json_is_object(body) || json_object_size(body) == 0)
        return refuse(c, "must be an object of event types");
    table->on = calloc(json_object_size(body), sizeof *table->on);
    if (!table->on)
        return no_memory(c);
    sb_code_t code = SB_OK;
    const char *name;
    json_t *rules;
    json_object_foreach((json_t *)(uintptr_t)body, name, rules)
    {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(name));
        code = compile_on(c, name, table, default_key, rules, &table->on[table->on_count++]);
        sb_json_pointer_leave(&c->pointer, mark);
        if (code != SB_OK)
            break;
    }
    return code;
}

/* ---- tables ---- */

/* The key's source is compiled per rule, where its event type is known; here only its shape. */
static sb_code_t compile_key(compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"column", "type", "from", "description", NULL};
    sb_view_column_t *key = &table->column[0];
    key->initial = SB_VIEW_NULL;
    sb_code_t code = body ? only_members(c, body, members) : refuse(c, "is missing");
    if (code == SB_OK)
        code = name_member(c, body, "column", &key->name);
    if (code == SB_OK && is_system_column(key->name))
        code = refuse_at(c, "column", "is PostgreSQL's own, or sagabus's");
    if (code == SB_OK)
        code = type_member(c, body, key);
    if (code == SB_OK && !sb_view_types[key->type].key)
        code = refuse_at(c, "type", "must be text, int8 or date");
    const json_t *from = json_object_get(body, "from");
    if (code == SB_OK && (!(json_is_string(from) || json_is_object(from)) || json_object_get(from, "const")))
        code = refuse_at(c, "from",
                         "must be a pointer (\"/customer_id\"), an attribute (\"$subject\"), or an object "
                         "with carry, date or join");
    table->column_count = 1;
    return code;
}

static sb_code_t compile_table(compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"name", "key", "columns", "on", "description", NULL};
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = name_member(c, body, "name", &table->name);
    if (code == SB_OK &&
        sb_view_definition_table(c->view, sb_slice(table->name)) != (int)(table - c->view->table))
        code = refuse_at(c, "name", "is another table's too");
    if (code == SB_OK && c->view->carry >= 0 && strcmp(table->name, c->view->carry_name) == 0)
        code = refuse_at(c, "name", "is the carry's");
    const json_t *key = json_object_get(body, "key");
    if (code == SB_OK) {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("key"));
        code = compile_key(c, key, table);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    if (code == SB_OK)
        code = compile_columns(c, json_object_get(body, "columns"), table);
    if (code == SB_OK) {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("on"));
        code = compile_ons(c, json_object_get(body, "on"), json_object_get(key, "from"), table);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

/* A table of the view's own, keyed by the stream: compiled before the others, which refer to its columns. */
static sb_code_t compile_carry(compiler_t *c, const json_t *body)
{
    static const char *const members[] = {"columns", "on", "description", NULL};
    sb_view_definition_t *view = c->view;
    sb_view_table_t *table = &view->table[view->carry];
    *table = (sb_view_table_t){.name = view->carry_name, .hidden = true, .column_count = 1};
    table->column[0] = (sb_view_column_t){.name = "stream_no", .type = SB_VIEW_INT8, .initial = SB_VIEW_NULL};
    int length = snprintf(view->carry_name, sizeof view->carry_name, "%s_carry", view->name);
    if (length >= (int)sizeof view->carry_name)
        return refuse(c, "makes a table \"%s_carry\", whose name is too long", view->name);
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = compile_columns(c, json_object_get(body, "columns"), table);
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("on"));
    if (code == SB_OK)
        code = compile_ons(c, json_object_get(body, "on"), NULL, table);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_tables(compiler_t *c, const json_t *body)
{
    size_t count = json_array_size(body);
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        c->view->table_count++;
        code = compile_table(c, json_array_get(body, i), &c->view->table[i]);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_view(compiler_t *c, const json_t *body)
{
    static const char *const members[] = {"$schema",     "view",   "version", "title",
                                          "description", "tables", "carry",   NULL};
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = name_member(c, body, "view", &c->view->name);
    if (code == SB_OK)
        code = text_member(c, body, "title", false, &c->view->title);
    const json_t *version = json_object_get(body, "version");
    c->view->version = (int)json_integer_value(version);
    if (code == SB_OK && (!json_is_integer(version) || json_integer_value(version) < 1 ||
                          json_integer_value(version) > INT32_MAX))
        code = refuse_at(c, "version", "must be an integer from 1");
    if (code != SB_OK)
        return code;
    const json_t *tables = json_object_get(body, "tables");
    const json_t *carry = json_object_get(body, "carry");
    size_t count = json_array_size(tables);
    if (!json_is_array(tables) || count < 1 || count > SB_VIEW_SHOWN_MAX)
        return refuse_at(c, "tables", "must be an array of 1 to 6 tables");
    c->view->carry = carry ? (int)count : -1;
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("carry"));
    code = carry ? compile_carry(c, carry) : SB_OK;
    sb_json_pointer_leave(&c->pointer, mark);
    mark = sb_json_pointer_enter(&c->pointer, sb_slice("tables"));
    if (code == SB_OK)
        code = compile_tables(c, tables);
    sb_json_pointer_leave(&c->pointer, mark);
    if (carry)
        c->view->table_count++;
    return code;
}

sb_code_t sb_view_definition_new(sb_view_definition_t **out, const json_t *body, sb_error_t *err)
{
    *out = NULL;
    sb_view_definition_t *view = calloc(1, sizeof *view);
    compiler_t c = {view, SB_BUF_INIT, err};
    if (!view)
        return no_memory(&c);
    view->body = json_incref((json_t *)(uintptr_t)body);
    view->texts = json_array();
    view->event = calloc(SB_VIEW_EVENTS_MAX, sizeof *view->event);
    view->part = calloc(SB_VIEW_PARTS_MAX, sizeof *view->part);
    sb_code_t code = view->event && view->part && view->texts ? compile_view(&c, body) : no_memory(&c);
    if (!view->title)
        view->title = "";
    sb_buf_fini(&c.pointer);
    if (code != SB_OK) {
        sb_view_definition_free(&view);
        return code;
    }
    *out = view;
    return SB_OK;
}

static void free_table(sb_view_table_t *table)
{
    for (int i = 0; i < table->on_count; i++) {
        for (int k = 0; k < table->on[i].rule_count; k++)
            free(table->on[i].rule[k].step);
        free(table->on[i].rule);
    }
    free(table->on);
}

void sb_view_definition_free(sb_view_definition_t **definition)
{
    sb_view_definition_t *view = *definition;
    if (!view)
        return;
    for (int i = 0; i < SB_VIEW_TABLES_MAX; i++)
        free_table(&view->table[i]);
    for (int i = 0; i < view->zone_count; i++)
        sb_view_zone_fini(&view->zone[i]);
    free(view->event);
    free(view->part);
    free(view->use);
    json_decref(view->texts);
    json_decref(view->body);
    free(view);
    *definition = NULL;
}

int sb_view_definition_event(const sb_view_definition_t *definition, sb_slice_t name)
{
    int at = definition->event_count - 1;
    while (at >= 0 && !sb_slice_is(name, definition->event[at].name))
        at--;
    return at;
}

int sb_view_definition_table(const sb_view_definition_t *definition, sb_slice_t name)
{
    for (int at = 0; at < definition->table_count; at++)
        if (definition->table[at].name && sb_slice_is(name, definition->table[at].name))
            return at;
    return -1;
}

int sb_view_table_column(const sb_view_table_t *table, sb_slice_t name)
{
    int at = table->column_count - 1;
    while (at >= 0 && !sb_slice_is(name, table->column[at].name))
        at--;
    return at;
}
