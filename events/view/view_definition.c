/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_definition.h"

#include "base/json.h"
#include "sagabus/event.h"

#include <stdarg.h>
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
    static const char *const taken[] = {"tableoid", "xmin", "cmin", "xmax", "cmax", "ctid", NULL};
    return is_one_of(name, taken);
}

static sb_code_t constant_of(compiler_t *c, sb_view_type_t type, const json_t *json, sb_view_value_t *out)
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

static sb_code_t type_member(compiler_t *c, const json_t *object, sb_view_type_t *out)
{
    const char *name = NULL;
    sb_code_t code = text_member(c, object, "type", true, &name);
    if (code != SB_OK)
        return code;
    *out = sb_view_type_of(sb_slice(name));
    if (*out == SB_VIEW_TYPES)
        return refuse_at(c, "type", "is none of text, int4, int8, bool, timestamptz, jsonb");
    return SB_OK;
}

static sb_code_t compile_initial(compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *initial = json_object_get(body, "default");
    column->initial = SB_VIEW_NULL;
    if (!initial)
        return SB_OK;
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("default"));
    sb_code_t code = constant_of(c, column->type, initial, &column->initial);
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

static sb_code_t compile_column(compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"name", "type", "default", "index", "description", NULL};
    if (table->column_count == SB_VIEW_COLUMNS_MAX)
        return refuse(c, "is one column too many, the most is %d with the key", SB_VIEW_COLUMNS_MAX);
    sb_view_column_t *column = &table->column[table->column_count];
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = name_member(c, body, "name", &column->name);
    if (code == SB_OK && is_system_column(column->name))
        code = refuse_at(c, "name", "is PostgreSQL's own");
    if (code == SB_OK && sb_view_table_column(table, sb_slice(column->name)) >= 0)
        code = refuse_at(c, "name", "is another column's too");
    if (code == SB_OK)
        code = type_member(c, body, &column->type);
    if (code == SB_OK)
        code = compile_initial(c, body, column);
    if (code == SB_OK)
        code = compile_index(c, body, column);
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

/* The field of an event type at a pointer; the same pointer is read once. */
static sb_code_t field_at(compiler_t *c, int event, const char *pointer, int *out)
{
    sb_view_event_type_t *type = &c->view->event[event];
    sb_slice_t text = sb_slice(pointer);
    if (!sb_json_pointer_ok(text) || text.len == 0)
        return refuse(c, "\"%s\" is not a JSON Pointer to a field of the event's data", pointer);
    for (*out = 0; *out < type->field_count; ++*out)
        if (sb_slice_equal(type->field[*out].pointer, text))
            return SB_OK;
    if (type->field_count == SB_VIEW_FIELDS_MAX)
        return refuse(c, "is one field of %s too many, the most is %d", type->name, SB_VIEW_FIELDS_MAX);
    sb_view_field_t *field = &type->field[type->field_count++];
    *field = (sb_view_field_t){.pointer = text, .name = SB_SLICE_NONE};
    if (!strchr(pointer + 1, '/') && !strchr(pointer, '~') && text.len > 1)
        field->name = (sb_slice_t){pointer + 1, text.len - 1};
    return SB_OK;
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

static sb_code_t compile_attribute(compiler_t *c, const char *name, sb_view_type_t type,
                                   sb_view_source_t *out)
{
    const attribute_t *attribute = attributes;
    while (attribute->name && strcmp(attribute->name, name) != 0)
        attribute++;
    if (!attribute->name)
        return refuse(c, "\"%s\" is none of $subject, $time, $type, $seq", name);
    if (attribute->type != type)
        return refuse(c, "%s is %s, the column is %s", name, sb_view_types[attribute->type].name,
                      sb_view_types[type].name);
    out->origin = attribute->origin;
    c->view->reads_subject |= attribute->origin == SB_VIEW_SUBJECT;
    return SB_OK;
}

static sb_code_t compile_source(compiler_t *c, int event, sb_view_type_t type, const json_t *body,
                                sb_view_source_t *out)
{
    static const char *const members[] = {"const", NULL};
    *out = (sb_view_source_t){.origin = SB_VIEW_FIELD};
    const char *text = json_string_value(body);
    if (text && text[0] == '$')
        return compile_attribute(c, text, type, out);
    if (text)
        return field_at(c, event, text, &out->field);
    if (!json_is_object(body))
        return refuse(c, "must be a pointer (\"/amount\"), an attribute (\"$time\") or {\"const\": value}");
    sb_code_t code = only_members(c, body, members);
    if (code != SB_OK)
        return code;
    const json_t *constant = json_object_get(body, "const");
    if (!constant)
        return refuse(c, "\"const\" is missing");
    out->origin = SB_VIEW_CONST;
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("const"));
    code = constant_of(c, type, constant, &out->constant);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

/* ---- rules ---- */

static sb_code_t compile_when(compiler_t *c, int event, const json_t *body, sb_view_when_t *when)
{
    static const char *const members[] = {"pointer", "operator", "value", NULL};
    static const char *const operators[] = {"==", "!=", "<", "<=", ">", ">=", "exists", "absent", NULL};
    const char *pointer = NULL;
    const char *operator= NULL;
    sb_code_t code = only_members(c, body, members);
    if (code == SB_OK)
        code = text_member(c, body, "pointer", true, &pointer);
    if (code == SB_OK)
        code = text_member(c, body, "operator", true, &operator);
    if (code == SB_OK)
        code = field_at(c, event, pointer, &when->field);
    if (code != SB_OK)
        return code;
    int at = 0;
    while (operators[at] && strcmp(operators[at], operator) != 0)
        at++;
    if (!operators[at])
        return refuse_at(c, "operator", "is none of ==, !=, <, <=, >, >=, exists, absent");
    when->given = true;
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
        if (code == SB_OK && step)
            code = compile_source(c, event, table->column[step->column].type, source, &step->source);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_rule_member(compiler_t *c, int event, const sb_view_table_t *table, const char *name,
                                     const json_t *body, sb_view_rule_t *rule)
{
    if (strcmp(name, "key") == 0)
        return compile_source(c, event, table->column[0].type, body, &rule->key);
    if (strcmp(name, "when") == 0)
        return compile_when(c, event, body, &rule->when);
    if (strcmp(name, "delete") == 0) {
        rule->removes = true;
        return json_is_true(body) ? SB_OK : refuse(c, "must be true");
    }
    const sb_view_op_t *op = sb_view_op_named(sb_slice(name));
    if (!op)
        return refuse(c, "is none of key, when, delete, set, add, sub, count, min, max");
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
    if (code == SB_OK && !json_object_get(body, "key"))
        code = compile_source(c, event, table->column[0].type, default_key, &rule->key);
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
        code = refuse_at(c, "column", "is PostgreSQL's own");
    if (code == SB_OK)
        code = type_member(c, body, &key->type);
    if (code == SB_OK && !sb_view_types[key->type].key)
        code = refuse_at(c, "type", "must be text or int8");
    const json_t *from = json_object_get(body, "from");
    if (code == SB_OK && !json_is_string(from))
        code = refuse_at(c, "from", "must be a pointer (\"/customer_id\") or an attribute (\"$subject\")");
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

static sb_code_t compile_tables(compiler_t *c, const json_t *body)
{
    size_t count = json_array_size(body);
    if (!json_is_array(body) || count < 1 || count > SB_VIEW_TABLES_MAX)
        return refuse(c, "must be an array of 1 to %d tables", SB_VIEW_TABLES_MAX);
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
                                          "description", "tables", NULL};
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
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("tables"));
    code = compile_tables(c, json_object_get(body, "tables"));
    sb_json_pointer_leave(&c->pointer, mark);
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
    view->event = calloc(SB_VIEW_EVENTS_MAX, sizeof *view->event);
    sb_code_t code = view->event ? compile_view(&c, body) : no_memory(&c);
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
    for (int i = 0; i < view->table_count; i++)
        free_table(&view->table[i]);
    free(view->event);
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
