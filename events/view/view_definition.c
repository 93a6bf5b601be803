/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_definition.h"

#include "events/view/view_compiler.h"
#include "sagabus/event.h"

#include <stdio.h>
#include <stdlib.h>

#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789_"

/* ---- tables ---- */

/* The key's source is compiled per rule, where its event type is known; here only its shape. */
static sb_code_t compile_key(sb_view_compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"column", "type", "description", "from", NULL};
    static const char *const members_by_sql[] = {"column", "type", "description", NULL};
    bool by_sql = c->view->statement_count > 0;
    sb_view_column_t *key = &table->column[0];
    key->initial = SB_VIEW_NULL;
    sb_code_t code = body ? sb_view_only_members(c, body, by_sql ? members_by_sql : members)
                          : sb_view_refuse(c, "is missing");
    if (code == SB_OK)
        code = sb_view_name_member(c, body, "column", &key->name);
    if (code == SB_OK && sb_view_is_system_column(key->name))
        code = sb_view_refuse_at(c, "column", "is PostgreSQL's own, or sagabus's");
    if (code == SB_OK)
        code = sb_view_type_member(c, body, key);
    if (code == SB_OK && !sb_view_types[key->type].key)
        code = sb_view_refuse_at(c, "type", "must be text, int8 or date");
    const json_t *from = json_object_get(body, "from");
    if (code == SB_OK && !by_sql &&
        (!(json_is_string(from) || json_is_object(from)) || json_object_get(from, "const")))
        code = sb_view_refuse_at(
            c, "from",
            "must be a pointer (\"/customer_id\"), an attribute (\"$subject\"), or an object "
            "with carry, date or join");
    table->column_count = 1;
    return code;
}

static sb_code_t compile_table(sb_view_compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"name", "key", "columns", "description", "on", NULL};
    static const char *const members_by_sql[] = {"name", "key", "columns", "description", NULL};
    bool by_sql = c->view->statement_count > 0;
    sb_code_t code = sb_view_only_members(c, body, by_sql ? members_by_sql : members);
    if (code == SB_OK)
        code = sb_view_name_member(c, body, "name", &table->name);
    if (code == SB_OK &&
        sb_view_definition_table(c->view, sb_slice(table->name)) != (int)(table - c->view->table))
        code = sb_view_refuse_at(c, "name", "is another table's too");
    if (code == SB_OK && c->view->carry >= 0 && strcmp(table->name, c->view->carry_name) == 0)
        code = sb_view_refuse_at(c, "name", "is the carry's");
    const json_t *key = json_object_get(body, "key");
    if (code == SB_OK) {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("key"));
        code = compile_key(c, key, table);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    if (code == SB_OK)
        code = sb_view_compile_columns(c, json_object_get(body, "columns"), table);
    if (code == SB_OK && !by_sql) {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("on"));
        code = sb_view_compile_ons(c, json_object_get(body, "on"), json_object_get(key, "from"), table);
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return code;
}

/* A table of the view's own, keyed by the stream: compiled before the others, which refer to its columns. */
static sb_code_t compile_carry(sb_view_compiler_t *c, const json_t *body)
{
    static const char *const members[] = {"columns", "on", "description", NULL};
    sb_view_definition_t *view = c->view;
    sb_view_table_t *table = &view->table[view->carry];
    *table = (sb_view_table_t){.name = view->carry_name, .hidden = true, .column_count = 1};
    table->column[0] = (sb_view_column_t){.name = "stream_no", .type = SB_VIEW_INT8, .initial = SB_VIEW_NULL};
    int length = snprintf(view->carry_name, sizeof view->carry_name, "%s_carry", view->name);
    if (length >= (int)sizeof view->carry_name)
        return sb_view_refuse(c, "makes a table \"%s_carry\", whose name is too long", view->name);
    sb_code_t code = sb_view_only_members(c, body, members);
    if (code == SB_OK)
        code = sb_view_compile_columns(c, json_object_get(body, "columns"), table);
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("on"));
    if (code == SB_OK)
        code = sb_view_compile_ons(c, json_object_get(body, "on"), NULL, table);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_tables(sb_view_compiler_t *c, const json_t *body)
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

/* A C function: what concerns a row is declared, what becomes of it is not. */
static sb_code_t compile_fold(sb_view_compiler_t *c, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "fold"));
    size_t length = name ? strspn(name + (strncmp(name, "c:", 2) == 0 ? 2 : 0), NAME_LETTERS) : 0;
    if (!name || strncmp(name, "c:", 2) != 0 || length < 1 || length > SB_FOLD_NAME_MAX ||
        name[length + 2] != '\0' || name[2] < 'a')
        return sb_view_refuse_at(c, "fold",
                                 "must be \"c:NAME\", the name of a C function: 1 to 50 of a-z, 0-9 and _, "
                                 "beginning with a letter");
    if (json_object_get(body, "sql"))
        return sb_view_refuse_at(c, "sql", "is for a view without \"fold\"");
    if (json_object_get(body, "events"))
        return sb_view_refuse_at(c, "events", "is for a view by \"sql\"; tables name theirs in \"on\"");
    c->view->fold = name + 2;
    c->view->reads_subject = true;
    return SB_OK;
}

/* Rules, statements or a C function; in both cases the tables' columns are declared. */
static sb_code_t compile_kind(sb_view_compiler_t *c, const json_t *body)
{
    const json_t *events = json_object_get(body, "events");
    if (json_object_get(body, "fold"))
        return compile_fold(c, body);
    c->view->statement_count = json_object_get(body, "sql") != NULL; /* counted when they are compiled */
    if (c->view->statement_count == 0)
        return events
                   ? sb_view_refuse_at(c, "events", "is for a view by \"sql\"; rules name theirs in \"on\"")
                   : SB_OK;
    if (json_object_get(body, "carry"))
        return sb_view_refuse_at(c, "carry", "is for rules; a view by SQL keeps it in a table of its own");
    return sb_view_compile_events(c, events);
}

static sb_code_t compile_view(sb_view_compiler_t *c, const json_t *body)
{
    static const char *const members[] = {"$schema", "view",   "version", "title", "description", "tables",
                                          "carry",   "events", "sql",     "fold",  NULL};
    sb_code_t code = sb_view_only_members(c, body, members);
    if (code == SB_OK)
        code = sb_view_name_member(c, body, "view", &c->view->name);
    if (code == SB_OK)
        code = sb_view_text_member(c, body, "title", false, &c->view->title);
    const json_t *version = json_object_get(body, "version");
    c->view->version = (int)json_integer_value(version);
    if (code == SB_OK && (!json_is_integer(version) || json_integer_value(version) < 1 ||
                          json_integer_value(version) > INT32_MAX))
        code = sb_view_refuse_at(c, "version", "must be an integer from 1");
    if (code == SB_OK)
        code = compile_kind(c, body);
    if (code != SB_OK)
        return code;
    const json_t *tables = json_object_get(body, "tables");
    const json_t *carry = json_object_get(body, "carry");
    size_t count = json_array_size(tables);
    if (!json_is_array(tables) || count < 1 || count > SB_VIEW_SHOWN_MAX)
        return sb_view_refuse_at(c, "tables", "must be an array of 1 to 6 tables");
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
    if (code == SB_OK && c->view->statement_count > 0)
        code = sb_view_compile_statements(c, json_object_get(body, "sql"));
    return code;
}

sb_code_t sb_view_definition_new(sb_view_definition_t **out, const json_t *body, sb_error_t *err)
{
    *out = NULL;
    sb_view_definition_t *view = calloc(1, sizeof *view);
    sb_view_compiler_t c = {view, SB_BUF_INIT, err};
    if (!view)
        return sb_view_no_memory(&c);
    view->body = json_incref((json_t *)(uintptr_t)body);
    view->texts = json_array();
    view->event = calloc(SB_VIEW_EVENTS_MAX, sizeof *view->event);
    view->part = calloc(SB_VIEW_PARTS_MAX, sizeof *view->part);
    sb_code_t code =
        view->event && view->part && view->texts ? compile_view(&c, body) : sb_view_no_memory(&c);
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
