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
                sb_buf_printf(out, "/tables/%d/on", t);
                sb_json_pointer_add(out, sb_slice(view->event[event].name));
                return;
            }
}

static sb_code_t check_event(const sb_view_definition_t *view, int event, const sb_catalog_t *catalog,
                             sb_error_t *err)
{
    const sb_view_event_type_t *type = &view->event[event];
    const sb_event_type_t *newest = sb_catalog_type(catalog, sb_slice(type->name), 0);
    sb_buf_t at = SB_BUF_INIT;
    sb_code_t code = SB_OK;
    event_pointer(view, event, &at);
    if (!newest)
        code = sb_fail_at(err, SB_INVALID, sb_buf_text(&at), "no event type %s is registered", type->name);
    for (int i = 0; newest && code == SB_OK && i < type->field_count; i++)
        if (!sb_schema_has(newest->schema, type->field[i].pointer)) /* which events are brought to */
            code =
                sb_fail_at(err, SB_INVALID, sb_buf_text(&at), "%s version %d, its newest, has no field %.*s",
                           type->name, newest->version, SB_SLICE_ARG(type->field[i].pointer));
    sb_buf_fini(&at);
    return code;
}

/* Another view that declares a table of the same name. */
static sb_code_t check_claim(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    const sb_view_definition_t *view = context;
    if (strcmp(artifact->name, view->name) == 0)
        return SB_OK;
    const json_t *tables = json_object_get(artifact->body, "tables");
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
