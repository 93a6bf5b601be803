/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "events/view/view_definition.h"
#include "tests/support/assert.h"

#include <stdlib.h>

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, sb_slice(text), "text", &err), &err);
    return value;
}

static void assert_refused(const char *text, const char *pointer, const char *part)
{
    sb_view_definition_t *view = (sb_view_definition_t *)1;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_code(SB_INVALID, sb_view_definition_new(&view, body, &err), &err);
    assert_null(view);
    assert_contains(err.message, part);
    assert_string_equal(err.pointer, pointer);
    assert_int_equal(sb_view_definition_new(&view, body, NULL), SB_INVALID);
    json_decref(body);
}

/* A view that is right, but for what is given of it. */
#define VIEW(tables)       "{\"view\":\"v\",\"version\":1,\"tables\":" tables "}"
#define KEY                "{\"column\":\"id\",\"type\":\"text\",\"from\":\"$subject\"}"
#define TABLE(columns, on) "{\"name\":\"t\",\"key\":" KEY ",\"columns\":" columns ",\"on\":" on "}"
#define COLUMNS                                                                                              \
    "[{\"name\":\"n\",\"type\":\"int8\"},{\"name\":\"s\",\"type\":\"text\"},{\"name\":\"at\",\"type\":"      \
    "\"timestamptz\"},{\"name\":\"j\",\"type\":\"jsonb\"},{\"name\":\"b\",\"type\":\"bool\"}]"
#define RULE(rule) VIEW("[" TABLE(COLUMNS, "{\"a.b\":" rule "}") "]")

static void the_seed_views_compile(void **state)
{
    (void)state;
    static const char *const files[] = {SB_TEST_VIEWS "/order_summary.json",
                                        SB_TEST_VIEWS "/customer_orders.json"};
    for (size_t i = 0; i < 2; i++) {
        json_t *body = NULL;
        sb_view_definition_t *view = NULL;
        sb_error_t err = SB_ERROR_INIT;
        assert_ok(sb_json_read_file(&body, files[i], NULL, &err), &err);
        assert_ok(sb_view_definition_new(&view, body, &err), &err);
        assert_int_equal(view->reads_subject, i == 0);
        assert_int_equal(view->table_count, 1);
        assert_int_equal(view->event_count, i == 0 ? 5 : 3);
        json_decref(body);
        sb_view_definition_free(&view);
    }
}

static void a_definition_knows_what_it_reads(void **state)
{
    (void)state;
    sb_view_definition_t *view = NULL;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(RULE("[{\"when\":{\"pointer\":\"/kind\",\"operator\":\"==\",\"value\":\"x\"},"
                              "\"add\":{\"n\":\"/deep/n\"},\"set\":{\"s\":\"/kind\",\"b\":{\"const\":true}}},"
                              "{\"key\":\"/other\",\"count\":[\"n\"]}]"));
    assert_ok(sb_view_definition_new(&view, body, &err), &err);
    json_decref(body);
    const sb_view_event_type_t *type = &view->event[0];
    assert_string_equal(type->name, "a.b");
    assert_int_equal(type->field_count, 3); /* /kind is read once */
    assert_slice(type->field[0].name, "kind");
    assert_slice(type->field[1].pointer, "/deep/n");
    assert_null(type->field[1].name.ptr);
    const sb_view_on_t *on = &view->table[0].on[0];
    assert_int_equal(on->rule_count, 2);
    assert_true(on->rule[0].when.given);
    assert_int_equal(on->rule[0].key.origin, SB_VIEW_SUBJECT);
    assert_int_equal(on->rule[1].key.origin, SB_VIEW_FIELD);
    assert_int_equal(sb_view_table_column(&view->table[0], SB_SLICE("at")), 3);
    assert_int_equal(sb_view_table_column(&view->table[0], SB_SLICE("nope")), -1);
    sb_view_definition_free(&view);
}

static void a_fault_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pointer, *part;
    } cases[] = {
        {"[]", "", "must be an object"},
        {"{\"view\":\"v\",\"version\":1,\"tables\":[],\"x\":1}", "/x", "not known"},
        {"{\"version\":1,\"tables\":[]}", "", "\"view\" is missing"},
        {"{\"view\":\"V\",\"version\":1,\"tables\":[]}", "/view", "a-z"},
        {"{\"view\":\"v_g2\",\"version\":1,\"tables\":[]}", "/view", "generation"},
        {"{\"view\":\"v\",\"version\":0,\"tables\":[]}", "/version", "from 1"},
        {VIEW("[]"), "/tables", "1 to 6"},
        {VIEW("[" TABLE("[]", "{\"a.b\":{}}") "," TABLE("[]", "{\"a.b\":{}}") "]"), "/tables/1/name",
         "another"},
        {VIEW("[{\"name\":\"t\",\"columns\":[],\"on\":{}}]"), "/tables/0/key", "missing"},
        {VIEW("[{\"name\":\"t\",\"key\":{\"column\":\"k\",\"type\":\"bool\",\"from\":\"/"
              "k\"},\"columns\":[],\"on\":{}}]"),
         "/tables/0/key/type", "text or int8"},
        {VIEW("[" TABLE("{}", "{\"a.b\":{}}") "]"), "/tables/0/columns", "array"},
        {VIEW("[" TABLE("[{\"name\":\"id\",\"type\":\"text\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/name", "another column"},
        {VIEW("[" TABLE("[{\"name\":\"xmin\",\"type\":\"text\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/name", "PostgreSQL's own"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"float8\"}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/type", "none of"},
        {VIEW("[" TABLE("[{\"name\":\"c\",\"type\":\"int4\",\"default\":2147483648}]", "{\"a.b\":{}}") "]"),
         "/tables/0/columns/0/default", "int4"},
        {VIEW("[" TABLE("[]", "{}") "]"), "/tables/0/on", "event types"},
        {VIEW("[" TABLE("[]", "{\"nodot\":{}}") "]"), "/tables/0/on/nodot", "not an event type"},
        {VIEW("[" TABLE("[]", "{\"saga.started\":{}}") "]"), "/tables/0/on/saga.started", "domain events"},
        {RULE("[]"), "/tables/0/on/a.b", "1 to 16"},
        {RULE("{\"multiply\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/multiply", "none of key, when"},
        {RULE("{\"set\":{\"nope\":\"/n\"}}"), "/tables/0/on/a.b/set/nope", "no column"},
        {RULE("{\"set\":{\"id\":\"/n\"}}"), "/tables/0/on/a.b/set/id", "the key"},
        {RULE("{\"set\":{\"n\":\"n\"}}"), "/tables/0/on/a.b/set/n", "JSON Pointer"},
        {RULE("{\"set\":{\"n\":\"\"}}"), "/tables/0/on/a.b/set/n", "JSON Pointer"},
        {RULE("{\"set\":{\"n\":5}}"), "/tables/0/on/a.b/set/n", "must be a pointer"},
        {RULE("{\"set\":{\"n\":{\"const\":1.5}}}"), "/tables/0/on/a.b/set/n/const", "int8"},
        {RULE("{\"set\":{\"at\":{\"const\":\"noon\"}}}"), "/tables/0/on/a.b/set/at/const", "timestamptz"},
        {RULE("{\"set\":{\"n\":\"$time\"}}"), "/tables/0/on/a.b/set/n", "$time is timestamptz"},
        {RULE("{\"set\":{\"s\":\"$who\"}}"), "/tables/0/on/a.b/set/s", "none of $subject"},
        {RULE("{\"add\":{\"s\":\"/n\"}}"), "/tables/0/on/a.b/add/s", "add is not for"},
        {RULE("{\"max\":{\"j\":\"/n\"}}"), "/tables/0/on/a.b/max/j", "max is not for"},
        {RULE("{\"count\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/count", "array of columns"},
        {RULE("{\"count\":[\"n\",\"n\"]}"), "/tables/0/on/a.b/count/1", "twice"},
        {RULE("{\"set\":{\"n\":\"/n\"},\"add\":{\"n\":\"/n\"}}"), "/tables/0/on/a.b/add/n", "twice"},
        {RULE("{\"delete\":true,\"count\":[\"n\"]}"), "/tables/0/on/a.b", "deletes the row and changes"},
        {RULE("{\"delete\":false}"), "/tables/0/on/a.b/delete", "must be true"},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\"~\",\"value\":1}}"),
         "/tables/0/on/a.b/when/operator", "none of =="},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\"==\"}}"), "/tables/0/on/a.b/when",
         "\"value\" is missing"},
        {RULE("{\"when\":{\"pointer\":\"/x\",\"operator\":\">\",\"value\":true}}"),
         "/tables/0/on/a.b/when/operator", "does not order"},
        {RULE("[{\"count\":[\"n\"]},{\"key\":\"$time\"}]"), "/tables/0/on/a.b/1/key", "the column is text"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].text, cases[i].pointer, cases[i].part);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_seed_views_compile),
        cmocka_unit_test(a_definition_knows_what_it_reads),
        cmocka_unit_test(a_fault_is_named_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
