/* SPDX-License-Identifier: Apache-2.0 */
#include "server/openapi.h"

#include "sagabus/version.h"
#include "server/route.h"

#include <ctype.h>

/* The bodies. Kept by hand: they change with the handlers that read and write them. */
static const char components[] =
    "{\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\"}},\"schemas\":{"
    "\"Any\":{\"type\":\"object\"},"
    "\"Page\":{\"type\":\"object\",\"required\":[\"items\",\"next_cursor\"],\"properties\":{\"items\":{"
    "\"type\":\"array\","
    "\"items\":{\"type\":\"object\"}},\"next_cursor\":{\"type\":[\"string\",\"null\"]}}},"
    "\"Problem\":{\"type\":\"object\",\"description\":\"RFC "
    "9457\",\"required\":[\"type\",\"title\",\"status\",\"code\","
    "\"request_id\",\"timestamp\"],\"properties\":{\"type\":{\"type\":\"string\"},\"title\":{\"type\":"
    "\"string\"},"
    "\"status\":{\"type\":\"integer\"},\"detail\":{\"type\":\"string\"},\"instance\":{\"type\":\"string\"},"
    "\"code\":{\"type\":\"string\"},\"request_id\":{\"type\":\"string\"},\"timestamp\":{\"type\":\"string\","
    "\"format\":\"date-time\"},\"details\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":"
    "{"
    "\"pointer\":{\"type\":\"string\"},\"detail\":{\"type\":\"string\"}}}}}},"
    "\"SagaStart\":{\"type\":\"object\",\"required\":[\"type\",\"input\"],\"additionalProperties\":false,"
    "\"properties\":{"
    "\"type\":{\"type\":\"string\"},\"key\":{\"type\":\"string\",\"description\":\"business key, unique for "
    "ever per type; "
    "the same as the header "
    "Idempotency-Key\"},\"input\":{\"type\":\"object\"},\"correlation_id\":{\"type\":\"string\"}}},"
    "\"SagaBrief\":{\"type\":\"object\",\"required\":[\"id\",\"status\"],\"properties\":{\"id\":{\"type\":"
    "\"string\","
    "\"format\":\"uuid\"},\"type\":{\"type\":\"string\"},\"key\":{\"type\":\"string\"},\"status\":{\"type\":"
    "\"string\"},"
    "\"repeated\":{\"type\":\"boolean\"},\"links\":{\"type\":\"object\"}}},"
    "\"Saga\":{\"type\":\"object\",\"required\":[\"id\",\"type\",\"key\",\"status\",\"steps\"],"
    "\"properties\":{"
    "\"id\":{\"type\":\"string\",\"format\":\"uuid\"},\"type\":{\"type\":\"string\"},\"key\":{\"type\":"
    "\"string\"},"
    "\"status\":{\"enum\":[\"started\",\"completed\",\"compensating\",\"compensated\",\"failed\"]},"
    "\"paused\":{\"type\":\"boolean\"},\"attention\":{\"type\":\"boolean\"},\"steps\":{\"type\":\"array\","
    "\"items\":{"
    "\"type\":\"object\"}},\"history\":{\"type\":\"array\",\"items\":{\"type\":\"object\"}}}},"
    "\"SagaExplanation\":{\"type\":\"object\",\"required\":[\"id\",\"status\",\"waits_for\",\"acts\"],"
    "\"properties\":{"
    "\"waits_for\":{\"type\":\"array\",\"items\":{\"type\":\"object\",\"properties\":{"
    "\"what\":{\"enum\":[\"answer\",\"next_try\",\"operator\",\"resume\"]},\"step\":{\"type\":\"string\"},"
    "\"command\":{\"type\":\"string\"},\"since\":{\"type\":\"string\",\"format\":\"date-time\"}}}},"
    "\"last_error\":{\"type\":[\"object\",\"null\"]},\"if_all_goes_well\":{\"type\":\"object\"},"
    "\"if_it_failed_now\":{\"type\":\"object\"},\"acts\":{\"type\":\"array\",\"items\":{\"type\":\"string\"}}"
    "}},"
    "\"SagaPage\":{\"$ref\":\"#/components/schemas/Page\"},"
    "\"Verb\":{\"type\":\"object\",\"required\":[\"reason\"],\"additionalProperties\":false,\"properties\":{"
    "\"reason\":{"
    "\"type\":\"string\",\"minLength\":1}}},"
    "\"VerbSkip\":{\"type\":\"object\",\"required\":[\"reason\",\"step\"],\"additionalProperties\":false,"
    "\"properties\":{"
    "\"reason\":{\"type\":\"string\",\"minLength\":1},\"step\":{\"type\":\"string\"},\"result\":{\"type\":"
    "\"object\"}}},"
    "\"Accepted\":{\"type\":\"object\",\"required\":[\"command\"],\"properties\":{\"command\":{\"type\":"
    "\"integer\"}}},"
    "\"EventAppend\":{\"type\":\"object\",\"required\":[\"type\",\"data\"],\"additionalProperties\":false,"
    "\"properties\":{"
    "\"specversion\":{\"const\":\"1.0\"},\"type\":{\"type\":\"string\"},\"subject\":{\"type\":\"string\","
    "\"description\":"
    "\"key of the "
    "stream\"},\"data\":{},\"id\":{\"type\":\"string\"},\"source\":{\"type\":\"string\"},\"time\":{\"type\":"
    "\"string\",\"format\":\"date-time\"},\"dataschema\":{\"type\":\"string\"},\"datacontenttype\":{\"type\":"
    "\"string\"},"
    "\"correlationid\":{\"type\":\"string\"},\"causationid\":{\"type\":\"string\"},\"traceparent\":{\"type\":"
    "\"string\"},"
    "\"partitionkey\":{\"type\":\"string\"},\"expected_version\":{\"oneOf\":[{\"type\":\"integer\","
    "\"minimum\":0},"
    "{\"enum\":[\"any\",\"none\",\"exists\"]}]}}},"
    "\"Appended\":{\"type\":\"object\",\"required\":[\"seq\",\"version\"],\"properties\":{\"id\":{\"type\":"
    "\"string\"},"
    "\"seq\":{\"type\":\"integer\"},\"version\":{\"type\":\"integer\"},\"repeated\":{\"type\":\"boolean\"}}},"
    "\"EventPage\":{\"type\":\"object\",\"required\":[\"items\"],\"properties\":{\"items\":{\"type\":"
    "\"array\",\"items\":{"
    "\"type\":\"object\",\"description\":\"CloudEvents 1.0 structured form, with seq and "
    "version\"}},\"next_after\":{\"type\":\"integer\",\"description\":\"of all events: after for the next "
    "page\"},"
    "\"next_from\":{\"type\":[\"integer\",\"null\"],\"description\":\"of a stream: from for the next "
    "page\"}}}}}";

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
    if (route->request) {
        sb_buf_add_text(out, ",\"requestBody\":{\"required\":true,");
        write_content(out, "application/json", route->request);
        sb_buf_add_char(out, '}');
    }
    sb_buf_printf(out, ",\"responses\":{\"%d\":{\"description\":\"done\",", route->status);
    write_content(out, route->response ? "application/json" : "text/plain", route->response);
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
    sb_buf_printf(out, "}},\"components\":%s}\n", components);
}
