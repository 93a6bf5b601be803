/* The route table: what matches, what is refused, and that the OpenAPI document says the same.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"

#include "server/openapi.h"
#include "server/problem.h"
#include "server/route.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool find(sb_request_t *request, const char *method, const char *path)
{
    memset(request, 0, sizeof *request);
    (void)snprintf(request->method, sizeof request->method, "%s", method);
    request->path = strdup(path);
    bool found = sb_route_find(request);
    return found;
}

static void done(sb_request_t *request)
{
    free(request->path);
    sb_buf_fini(&request->out);
}

static void a_path_finds_its_route_and_parameters(void **state)
{
    (void)state;
    sb_request_t r;
    assert_true(find(&r, "GET", "/v1/sagas/abc"));
    assert_string_equal(r.route->pattern, "/v1/sagas/{id}");
    assert_slice(r.param[0], "abc");
    done(&r);
    assert_true(find(&r, "GET", "/v1/streams/order/o-1/with/slashes"));
    assert_slice(r.param[0], "order");
    assert_slice(r.param[1], "o-1/with/slashes");
    done(&r);
}

static void an_empty_segment_matches_nothing(void **state)
{
    (void)state;
    sb_request_t r;
    assert_false(find(&r, "GET", "/v1/sagas/"));
    assert_string_equal(r.allow, "");
    done(&r);
    assert_false(find(&r, "GET", "/v1/streams//x"));
    done(&r);
}

static void another_method_is_told_which_there_are(void **state)
{
    (void)state;
    sb_request_t r;
    assert_false(find(&r, "DELETE", "/v1/sagas"));
    assert_string_equal(r.allow, "POST, GET");
    done(&r);
}

static void every_changing_route_has_a_scope(void **state)
{
    (void)state;
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        if (strncmp(route->pattern, "/v1/", 4) == 0)
            assert_int_not_equal(route->scope, SB_SCOPE_NONE);
        if (strcmp(route->method, "GET") != 0)
            assert_true(route->scope & (SB_SCOPE_WRITE | SB_SCOPE_ADMIN));
        assert_true(route->on_loop || route->in_worker); /* with both, the loop hands on what it must */
    }
}

static void assert_parameters_are_names(const json_t *operation, const char *pattern)
{
    size_t i;
    json_t *parameter;
    json_array_foreach(json_object_get(operation, "parameters"), i, parameter)
    {
        const char *name = json_string_value(json_object_get(parameter, "name"));
        if (!name || !*name || strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name))
            fail_msg("%s: parameter \"%s\"", pattern, name ? name : "");
    }
}

static void openapi_names_every_route_and_only_schemas_that_are_there(void **state)
{
    (void)state;
    sb_buf_t out = SB_BUF_INIT;
    sb_openapi_write(&out);
    json_error_t fault;
    json_t *document = json_loads(sb_buf_text(&out), JSON_REJECT_DUPLICATES, &fault);
    if (!document)
        fail_msg("%d:%d %s", fault.line, fault.column, fault.text);
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        char path[128], method[8];
        size_t at = 0;
        for (const char *c = route->pattern; *c; c++)
            if (*c != '+')
                path[at++] = *c;
        path[at] = '\0';
        for (at = 0; route->method[at]; at++)
            method[at] = (char)(route->method[at] | 0x20);
        method[at] = '\0';
        json_t *operation =
            json_object_get(json_object_get(json_object_get(document, "paths"), path), method);
        if (!operation)
            fail_msg("%s %s is missing", route->method, route->pattern);
        assert_parameters_are_names(operation, route->pattern);
        for (const char *name = route->request; name && *name;) { /* "One;content/type:Other" */
            char schema[64];
            size_t length = strcspn(name, ";");
            (void)snprintf(schema, sizeof schema, "%.*s", (int)length, name);
            const char *colon = strchr(schema, ':');
            assert_non_null(json_object_get(schemas, colon ? colon + 1 : schema));
            name += length + (name[length] == ';');
        }
        if (route->response)
            assert_non_null(json_object_get(schemas, route->response));
    }
    json_decref(document);
    sb_buf_fini(&out);
}

static void a_problem_carries_code_pointer_and_request_id(void **state)
{
    (void)state;
    sb_request_t r;
    sb_error_t err;
    (void)find(&r, "POST", "/v1/events");
    (void)snprintf(r.request_id, sizeof r.request_id, "req-1");
    (void)sb_fail_at(&err, SB_INVALID, "/data/amount", "amount is \"minus\"");
    sb_problem(&r, &err);
    json_t *problem = json_loads(sb_buf_text(&r.out), 0, NULL);
    assert_non_null(problem);
    assert_int_equal(r.status, 400);
    assert_string_equal(r.answer_type, "application/problem+json");
    assert_string_equal(json_string_value(json_object_get(problem, "code")), "invalid");
    assert_string_equal(json_string_value(json_object_get(problem, "request_id")), "req-1");
    assert_string_equal(json_string_value(json_object_get(problem, "detail")), "amount is \"minus\"");
    const json_t *detail = json_array_get(json_object_get(problem, "details"), 0);
    assert_string_equal(json_string_value(json_object_get(detail, "pointer")), "/data/amount");
    json_decref(problem);
    done(&r);
}

static void what_may_succeed_later_says_when_to_try(void **state)
{
    (void)state;
    sb_request_t r;
    sb_error_t err;
    (void)find(&r, "POST", "/v1/sagas");
    (void)sb_fail(&err, SB_BUSY, "4000 sagas are open");
    sb_problem(&r, &err);
    assert_int_equal(r.status, 429);
    assert_true(r.retry_after_s > 0);
    done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_finds_its_route_and_parameters),
        cmocka_unit_test(an_empty_segment_matches_nothing),
        cmocka_unit_test(another_method_is_told_which_there_are),
        cmocka_unit_test(every_changing_route_has_a_scope),
        cmocka_unit_test(openapi_names_every_route_and_only_schemas_that_are_there),
        cmocka_unit_test(a_problem_carries_code_pointer_and_request_id),
        cmocka_unit_test(what_may_succeed_later_says_when_to_try),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
