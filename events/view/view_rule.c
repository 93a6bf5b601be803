/* What an event does to a row: conditions and steps, by event type.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compiler.h"

#include "sagabus/event.h"

#include <stdlib.h>

/* ---- rules ---- */

/* The left side: a field of the event, or a column of the carry of a type that the value can equal. */
static sb_code_t compile_when_of(sb_view_compiler_t *c, int event, const json_t *body, sb_view_when_t *when)
{
    const char *pointer = NULL;
    const json_t *carry = json_object_get(body, "carry");
    sb_view_type_t type = sb_view_type_of_value(json_object_get(body, "value"));
    if (!carry) {
        sb_code_t code = sb_view_text_member(c, body, "pointer", true, &pointer);
        return code == SB_OK ? sb_view_field_at(c, event, pointer, type, &when->field) : code;
    }
    if (json_object_get(body, "pointer"))
        return sb_view_refuse(c, "has a pointer and a carry");
    when->field = -1;
    sb_code_t code = sb_view_carry_column(c, event, carry, &when->column);
    if (code != SB_OK)
        return code;
    sb_view_type_t have = c->view->table[c->view->carry].column[when->column].type;
    if (type != SB_VIEW_JSONB && type != (have == SB_VIEW_INT4 ? SB_VIEW_INT8 : have))
        return sb_view_refuse_at(c, "value", "is of another type than the column of the carry");
    return SB_OK;
}

static sb_code_t compile_when(sb_view_compiler_t *c, int event, const json_t *body, sb_view_when_t *when)
{
    static const char *const members[] = {"pointer", "carry", "operator", "value", NULL};
    static const char *const operators[] = {"==", "!=", "<", "<=", ">", ">=", "exists", "absent", NULL};
    const char *operator= NULL;
    sb_code_t code = sb_view_only_members(c, body, members);
    if (code == SB_OK)
        code = sb_view_text_member(c, body, "operator", true, &operator);
    if (code == SB_OK)
        code = compile_when_of(c, event, body, when);
    if (code != SB_OK)
        return code;
    int at = 0;
    while (operators[at] && strcmp(operators[at], operator) != 0)
        at++;
    if (!operators[at])
        return sb_view_refuse_at(c, "operator", "is none of ==, !=, <, <=, >, >=, exists, absent");
    when->compare = (sb_view_compare_t)at;
    const json_t *value = json_object_get(body, "value");
    if (when->compare >= SB_VIEW_EXISTS)
        return value ? sb_view_refuse_at(c, "value", "has no use with exists and absent") : SB_OK;
    if (!json_is_string(value) && !json_is_integer(value) && !json_is_boolean(value))
        return value ? sb_view_refuse_at(c, "value", "must be a string, an integer, true or false")
                     : sb_view_refuse(c, "\"value\" is missing");
    if (json_is_boolean(value) && when->compare > SB_VIEW_NE)
        return sb_view_refuse_at(c, "operator", "does not order true and false");
    when->kind = json_typeof(value);
    when->value.is_null = false;
    when->value.integer = json_is_integer(value) ? json_integer_value(value) : json_is_true(value);
    when->value.bytes = (sb_slice_t){json_string_value(value), json_string_length(value)};
    return SB_OK;
}

static sb_code_t compile_whens(sb_view_compiler_t *c, int event, const json_t *body, sb_view_rule_t *rule)
{
    size_t count = json_is_array(body) ? json_array_size(body) : 1;
    if (count < 1 || count > SB_VIEW_WHENS_MAX)
        return sb_view_refuse(c, "must be a condition or an array of 1 to %d", SB_VIEW_WHENS_MAX);
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

static sb_code_t add_step(sb_view_compiler_t *c, const sb_view_table_t *table, sb_view_rule_t *rule,
                          const sb_view_op_t *op, const char *column, sb_view_step_t **out)
{
    int at = sb_view_table_column(table, sb_slice(column));
    if (at < 0)
        return sb_view_refuse(c, "table %s has no column \"%s\"", table->name, column);
    if (at == 0)
        return sb_view_refuse(c, "\"%s\" is the key, which does not change", column);
    if (!(op->types >> table->column[at].type & 1u))
        return sb_view_refuse(c, "%s is not for a column of type %s", op->name,
                              sb_view_types[table->column[at].type].name);
    if (op->takes_json && table->column[at].bounds.items == 0)
        return sb_view_refuse(c, "%s is for a column that says how many \"items\" it keeps", op->name);
    for (int i = 0; i < rule->step_count; i++)
        if (rule->step[i].column == at)
            return sb_view_refuse(c, "\"%s\" is changed twice", column);
    if (rule->step_count == SB_VIEW_STEPS_MAX)
        return sb_view_refuse(c, "is one change too many, the most is %d", SB_VIEW_STEPS_MAX);
    *out = &rule->step[rule->step_count++];
    **out = (sb_view_step_t){.op = op, .column = at};
    return SB_OK;
}

static sb_code_t compile_steps(sb_view_compiler_t *c, int event, const sb_view_table_t *table,
                               const sb_view_op_t *op, const json_t *body, sb_view_rule_t *rule)
{
    sb_code_t code = SB_OK;
    sb_view_step_t *step = NULL;
    if (op->takes_source ? !json_is_object(body) : !json_is_array(body))
        return sb_view_refuse(c, op->takes_source ? "must be an object of columns"
                                                  : "must be an array of columns");
    for (size_t i = 0; i < json_array_size(body) && code == SB_OK; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        const char *column = json_string_value(json_array_get(body, i));
        code = column ? add_step(c, table, rule, op, column, &step)
                      : sb_view_refuse(c, "must be a column's name");
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
            code = sb_view_compile_source(c, &(sb_view_aim_t){event, to}, source, &step->source);
            rule->reads_carry |= sb_view_reads_carry(c->view, &step->source);
            /* its text is not the same live and on replay, so that its length cannot be judged */
            if (code == SB_OK && op->takes_json && step->source.origin == SB_VIEW_CARRY &&
                step->source.type == SB_VIEW_JSONB)
                code = sb_view_refuse(c, "%s does not take jsonb from the carry", op->name);
        }
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

static sb_code_t compile_rule_member(sb_view_compiler_t *c, int event, const sb_view_table_t *table,
                                     const char *name, const json_t *body, sb_view_rule_t *rule)
{
    if (strcmp(name, "key") == 0)
        return table->hidden
                   ? sb_view_refuse(c, "has no use in the carry, whose key is the stream")
                   : sb_view_compile_source(c, &(sb_view_aim_t){event, &table->column[0]}, body, &rule->key);
    if (strcmp(name, "when") == 0)
        return compile_whens(c, event, body, rule);
    if (strcmp(name, "delete") == 0 && (!c->view->fold || table->hidden)) {
        rule->removes = true;
        return json_is_true(body) ? SB_OK : sb_view_refuse(c, "must be true");
    }
    if (c->view->fold && !table->hidden)
        return sb_view_refuse(c, "is none of key and when; what changes is the function's to say");
    const sb_view_op_t *op = sb_view_op_named(sb_slice(name));
    if (!op)
        return sb_view_refuse(c, "is none of key, when, delete, set, add, sub, count, min, max, append");
    return compile_steps(c, event, table, op, body, rule);
}

static sb_code_t compile_rule(sb_view_compiler_t *c, int event, const sb_view_table_t *table,
                              const json_t *default_key, const json_t *body, sb_view_rule_t *rule)
{
    if (!json_is_object(body))
        return sb_view_refuse(c, "must be an object of operations");
    rule->step = calloc(SB_VIEW_STEPS_MAX, sizeof *rule->step);
    if (!rule->step)
        return sb_view_no_memory(c);
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
    rule->calls = c->view->fold && !table->hidden;
    if (code == SB_OK && table->hidden)
        rule->key = (sb_view_source_t){.origin = SB_VIEW_STREAM, .type = SB_VIEW_INT8};
    else if (code == SB_OK && !json_object_get(body, "key"))
        code = sb_view_compile_source(c, &(sb_view_aim_t){event, &table->column[0]}, default_key, &rule->key);
    for (int i = 0; i < rule->when_count; i++)
        rule->reads_carry |= rule->when[i].field < 0;
    if (code == SB_OK && sb_view_reads_carry(c->view, &rule->key))
        rule->reads_carry = c->view->carries_keys = true;
    if (code == SB_OK && rule->key.origin == SB_VIEW_CONST && rule->key.constant.is_null)
        code = sb_view_refuse(c, "the key must not be null");
    if (code == SB_OK && rule->removes && rule->step_count > 0)
        code = sb_view_refuse(c, "deletes the row and changes it too");
    return code;
}

/* ---- events ---- */

sb_code_t sb_view_event_named(sb_view_compiler_t *c, const char *name, int *out)
{
    *out = sb_view_definition_event(c->view, sb_slice(name));
    if (*out >= 0)
        return SB_OK;
    if (!sb_event_type_ok(sb_slice(name)))
        return sb_view_refuse(c, "is not an event type (order.created)");
    if (strncmp(name, "saga.", 5) == 0)
        return sb_view_refuse(c, "is a saga's event; views fold domain events");
    if (c->view->event_count == SB_VIEW_EVENTS_MAX)
        return sb_view_refuse(c, "is one event type too many, the most is %d", SB_VIEW_EVENTS_MAX);
    *out = c->view->event_count++;
    c->view->event[*out].name = name;
    return SB_OK;
}

static sb_code_t compile_on(sb_view_compiler_t *c, const char *name, const sb_view_table_t *table,
                            const json_t *default_key, const json_t *body, sb_view_on_t *on)
{
    sb_code_t code = sb_view_event_named(c, name, &on->event);
    if (code != SB_OK)
        return code;
    c->view->event[on->event].carries |= table->hidden;
    size_t count = json_is_array(body) ? json_array_size(body) : 1;
    if (count < 1 || count > 16)
        return sb_view_refuse(c, "must be a rule or an array of 1 to 16 rules");
    on->rule = calloc(count, sizeof *on->rule);
    if (!on->rule)
        return sb_view_no_memory(c);
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

/* Where a C function folds, a list of event types says all there is to say of most tables. */
static sb_code_t compile_names(sb_view_compiler_t *c, const json_t *body, const json_t *default_key,
                               sb_view_table_t *table)
{
    sb_code_t code = SB_OK;
    table->listed = true;
    table->on = calloc(json_array_size(body), sizeof *table->on);
    json_t *plain = table->on ? json_object() : NULL;
    if (!plain)
        return sb_view_no_memory(c);
    for (size_t i = 0; i < json_array_size(body) && code == SB_OK; i++) {
        const char *name = json_string_value(json_array_get(body, i));
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        for (int k = 0; name && k < table->on_count && code == SB_OK; k++)
            if (strcmp(c->view->event[table->on[k].event].name, name) == 0)
                code = sb_view_refuse(c, "is in the list twice");
        if (code == SB_OK)
            code = compile_on(c, name ? name : "", table, default_key, plain, &table->on[table->on_count++]);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    json_decref(plain);
    return code;
}

sb_code_t sb_view_compile_ons(sb_view_compiler_t *c, const json_t *body, const json_t *default_key,
                              sb_view_table_t *table)
{
    if (c->view->fold && !table->hidden && json_array_size(body) > 0)
        return compile_names(c, body, default_key, table);
    if (!json_is_object(body) || json_object_size(body) == 0)
        return sb_view_refuse(c, c->view->fold && !table->hidden
                                     ? "must be an array of event types, or an object of them"
                                     : "must be an object of event types");
    table->on = calloc(json_object_size(body), sizeof *table->on);
    if (!table->on)
        return sb_view_no_memory(c);
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
