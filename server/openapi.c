/* SPDX-License-Identifier: Apache-2.0 */
#include "server/openapi.h"

#include "sagabus/version.h"
#include "server/route.h"
#include "server_text.h"

#include <ctype.h>

static void text(sb_buf_t *out, const char *name, const char *value)
{
    sb_buf_printf(out, "\"%s\":", name);
    sb_buf_add_json(out, sb_slice(value));
}

/* "{key+}" is "{key}" to OpenAPI. */
static void write_path(sb_buf_t *out, const char *pattern)
{
    sb_buf_add_char(out, '"');
    for (const char *c = pattern; *c; c++)
        if (*c != '+')
            sb_buf_add_char(out, *c);
    sb_buf_add_char(out, '"');
}

static void write_parameter(sb_buf_t *out, sb_slice_t name, const char *in, sb_slice_t meaning, bool *first)
{
    sb_buf_printf(out, "%s{\"in\":\"%s\",\"name\":", *first ? "" : ",", in);
    sb_buf_add_json(out, name);
    if (strcmp(in, "path") == 0)
        sb_buf_add_text(out, ",\"required\":true");
    if (meaning.len > 0) {
        sb_buf_add_text(out, ",\"description\":");
        sb_buf_add_json(out, meaning);
    }
    sb_buf_add_text(out, ",\"schema\":{\"type\":\"string\"}}");
    *first = false;
}

static void write_parameters(sb_buf_t *out, const sb_route_t *route)
{
    bool first = true;
    sb_buf_add_text(out, ",\"parameters\":[");
    for (const char *at = strchr(route->pattern, '{'); at; at = strchr(at + 1, '{'))
        write_parameter(out, (sb_slice_t){at + 1, strcspn(at + 1, "+}")}, "path", SB_SLICE(""), &first);
    for (const char *at = route->query; *at;) { /* name:meaning;name:meaning */
        size_t name = strcspn(at, ":");
        const char *meaning = at + name + (at[name] == ':');
        size_t length = strcspn(meaning, ";");
        write_parameter(out, (sb_slice_t){at, name}, "query", (sb_slice_t){meaning, length}, &first);
        at = meaning + length + (meaning[length] == ';');
    }
    sb_buf_add_char(out, ']');
}

static void write_content(sb_buf_t *out, const char *type, const char *schema)
{
    sb_buf_printf(out, "\"content\":{\"%s\":{\"schema\":", type);
    if (schema)
        sb_buf_printf(out, "{\"$ref\":\"#/components/schemas/%s\"}}}", schema);
    else
        sb_buf_add_text(out, "{\"type\":\"string\"}}}");
}

/* "Schema;type:Schema": the first is application/json. */
static void write_request(sb_buf_t *out, const char *schemas)
{
    const char *at = schemas;
    sb_buf_add_text(out, ",\"requestBody\":{\"required\":true,\"content\":{");
    for (bool first = true; *at; first = false) {
        size_t length = strcspn(at, ";");
        size_t type = first ? 0 : strcspn(at, ":") + 1;
        sb_buf_printf(out, "%s\"%.*s\":{\"schema\":{\"$ref\":\"#/components/schemas/%.*s\"}}",
                      first ? "" : ",", first ? 16 : (int)type - 1, first ? "application/json" : at,
                      (int)(length - type), at + type);
        at += length + (at[length] == ';');
    }
    sb_buf_add_text(out, "}}");
}

static void write_operation(sb_buf_t *out, const sb_route_t *route)
{
    for (const char *c = route->method; *c; c++)
        sb_buf_add_char(out, (char)tolower((unsigned char)*c));
    sb_buf_add_text(out, "\":{");
    text(out, "summary", route->summary);
    sb_buf_printf(out, ",\"tags\":[\"%s\"]", route->tag);
    if (route->scope == SB_SCOPE_NONE)
        sb_buf_add_text(out, ",\"security\":[]");
    else
        sb_buf_printf(out, ",\"security\":[{\"key\":[]}],\"x-scope\":\"%s\"", sb_scope_name(route->scope));
    write_parameters(out, route);
    if (route->request)
        write_request(out, route->request);
    sb_buf_printf(out, ",\"responses\":{\"%d\":{\"description\":\"done\",", route->status);
    size_t length = strlen(route->pattern);
    bool stream = length > 7 && strcmp(route->pattern + length - 7, "/stream") == 0;
    write_content(out,
                  route->response ? "application/json"
                  : stream        ? "text/event-stream"
                                  : "text/plain",
                  route->response);
    sb_buf_add_text(out, "},\"default\":{\"description\":\"what went wrong\",");
    write_content(out, "application/problem+json", "Problem");
    sb_buf_add_text(out, "}}}");
}

/* Routes of one path stand together in the table. */
void sb_openapi_write(sb_buf_t *out)
{
    sb_buf_add_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"sagabus\",");
    text(out, "version", SB_VERSION);
    sb_buf_add_text(
        out, ",\"license\":{\"name\":\"Apache-2.0\",\"identifier\":\"Apache-2.0\"}},\"servers\":[{\"url\":"
             "\"http://127.0.0.1:8088\"}],\"paths\":{");
    const char *last = "";
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        if (strcmp(last, route->pattern) == 0) {
            sb_buf_add_text(out, ",\"");
        } else {
            sb_buf_add_text(out, last[0] ? "}," : "");
            write_path(out, route->pattern);
            sb_buf_add_text(out, ":{\"");
        }
        write_operation(out, route);
        last = route->pattern;
    }
    sb_buf_printf(out, "}},\"components\":%s}\n", sb_text_components);
}
