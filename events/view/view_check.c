/* A view's file against what is registered: event types, their fields, and other views' tables.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "events/view/view_definition.h"

#include <stdio.h>

/* Where the file names the event type first, for the error. */
static void event_pointer(const sb_view_definition_t *view, int event, sb_buf_t *out)
{
    for (int t = 0; t < view->table_count; t++)
        for (int i = 0; i < view->table[t].on_count; i++)
            if (view->table[t].on[i].event == event) {
                if (view->table[t].hidden)
                    sb_buf_add_text(out, "/carry/on");
                else
                    sb_buf_printf(out, "/tables/%d/on", t);
                if (view->table[t].listed)
                    sb_buf_printf(out, "/%d", i);
                else
                    sb_json_pointer_add(out, sb_slice(view->event[event].name));
                return;
            }
    sb_buf_printf(out, "/events/%d", event); /* of a view by SQL */
}

/* The JSON types that can become a value of a column. */
static unsigned takes(sb_view_type_t type)
{
    static const unsigned types[SB_VIEW_TYPES] = {
        [SB_VIEW_TEXT] = SB_SCHEMA_STRING,
        [SB_VIEW_INT4] = SB_SCHEMA_INTEGER,
        [SB_VIEW_INT8] = SB_SCHEMA_INTEGER,
        [SB_VIEW_BOOL] = SB_SCHEMA_BOOLEAN,
        [SB_VIEW_TIMESTAMPTZ] = SB_SCHEMA_STRING,
        [SB_VIEW_JSONB] = ~0u,
        [SB_VIEW_NUMERIC] = SB_SCHEMA_STRING | SB_SCHEMA_INTEGER | SB_SCHEMA_NUMBER,
        [SB_VIEW_DATE] = SB_SCHEMA_STRING,
    };
    return types[type];
}

static void add_types(unsigned types, sb_buf_t *out)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
        if (types >> i & 1)
            sb_buf_printf(out, "%s%s", out->len ? " or " : "", names[i]);
}

/* A field as some rule reads it, against the newest schema of its event type, which events are brought to. */
static sb_code_t check_use(const sb_view_definition_t *view, const sb_view_use_t *use,
                           const sb_event_type_t *newest, sb_error_t *err)
{
    sb_slice_t pointer = view->event[use->event].field[use->field].pointer;
    if (!sb_schema_has(newest->schema, pointer))
        return sb_fail_at(err, SB_INVALID, use->place, "%s version %d, its newest, has no field %.*s",
                          newest->name, newest->version, SB_SLICE_ARG(pointer));
    unsigned types = sb_schema_types(newest->schema, pointer);
    if (types == 0 || types & takes(use->type))
        return SB_OK;
    sb_buf_t says = SB_BUF_INIT;
    add_types(types, &says);
    bool fraction = types & SB_SCHEMA_NUMBER && takes(use->type) & SB_SCHEMA_INTEGER;
    sb_code_t code = sb_fail_at(
        err, SB_INVALID, use->place, "%.*s of %s version %d is %s, here it is read as %s%s",
        SB_SLICE_ARG(pointer), newest->name, newest->version, sb_buf_text(&says),
        sb_view_types[use->type].name, fraction ? "; for numbers with a fraction take numeric(P,S)" : "");
    sb_buf_fini(&says);
    return code;
}

static sb_code_t check_event(const sb_view_definition_t *view, int event, const sb_catalog_t *catalog,
                             sb_error_t *err)
{
    const sb_view_event_type_t *type = &view->event[event];
    const sb_event_type_t *newest = sb_catalog_type(catalog, sb_slice(type->name), 0);
    sb_code_t code = SB_OK;
    if (!newest) {
        sb_buf_t at = SB_BUF_INIT;
        event_pointer(view, event, &at);
        code = sb_fail_at(err, SB_INVALID, sb_buf_text(&at), "no event type %s is registered", type->name);
        sb_buf_fini(&at);
        return code;
    }
    for (size_t i = 0; code == SB_OK && i < view->use_count; i++)
        if (view->use[i].event == event)
            code = check_use(view, &view->use[i], newest, err);
    return code;
}

/* Another view that declares a table of the same name. */
static sb_code_t check_claim(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    const sb_view_definition_t *view = context;
    if (strcmp(artifact->name, view->name) == 0)
        return SB_OK;
    const json_t *tables = json_object_get(artifact->body, "tables");
    char carry[SB_VIEW_NAME_MAX + 8];
    (void)snprintf(carry, sizeof carry, "%s_carry", artifact->name);
    int claimed = sb_view_definition_table(view, sb_slice(carry));
    if (json_object_get(artifact->body, "carry") && claimed >= 0)
        return sb_fail_at(err, SB_INVALID, "/tables", "table %s is the carry of view %s", carry,
                          artifact->name);
    for (size_t i = 0; i < json_array_size(tables); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(tables, i), "name"));
        int at = name ? sb_view_definition_table(view, sb_slice(name)) : -1;
        char pointer[64];
        (void)snprintf(pointer, sizeof pointer, "/tables/%d/name", at);
        if (at >= 0)
            return sb_fail_at(err, SB_INVALID, pointer, "table %s is view %s's", name, artifact->name);
    }
    return SB_OK;
}

sb_code_t sb_view_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err)
{
    sb_view_definition_t *view = NULL;
    sb_code_t code = sb_view_definition_new(&view, body, err);
    for (int i = 0; code == SB_OK && i < view->event_count; i++)
        code = check_event(view, i, catalog, err);
    if (code == SB_OK)
        code = sb_catalog_each(catalog, SB_ARTIFACT_VIEW, check_claim, view, err);
    sb_view_definition_free(&view);
    return code;
}
