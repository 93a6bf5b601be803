/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "bus/push/push_definition.h"
#include "bus/push/push_endpoint.h"
#include "bus/push/push_request.h"
#include "bus/push/push_window.h"
#include "events/schema/schema.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, sb_slice(text), "text", &err), &err);
    return value;
}

/* ---- the file ---- */

#define FILE_OF(more) "{\"subscription\":\"s\",\"types\":[\"a.b\"],\"endpoint\":\"e\"" more "}"

static sb_push_definition_t *define(const char *text)
{
    sb_push_definition_t *d = NULL;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_ok(sb_push_definition_new(&d, body, &err), &err);
    json_decref(body);
    return d;
}

static void a_short_file_has_the_defaults(void **state)
{
    (void)state;
    sb_push_definition_t *d = define(FILE_OF(""));
    assert_string_equal(d->name, "s");
    assert_int_equal(d->version, 1);
    assert_string_equal(d->path, "");
    assert_int_equal(d->order, SB_PUSH_BY_KEY);
    assert_int_equal(d->at_once, 8);
    assert_int_equal(d->timeout_ms, 10000);
    assert_int_equal(d->retry.attempts_max, 5);
    assert_true(d->sign && !d->structured && !d->from_start);
    assert_true(sb_push_wants(d, SB_SLICE("a.b")));
    assert_false(sb_push_wants(d, SB_SLICE("a.c")));
    sb_push_definition_free(&d);
    d = define(FILE_OF(",\"order\":\"partition\",\"from\":\"start\",\"timeout\":\"2m\",\"retry\":{\"delay\":"
                       "\"5m\"},\"breaker\":{\"open\":\"1s\"},\"signature\":\"none\""));
    assert_int_equal(d->at_once, 1);
    assert_int_equal(d->timeout_ms, 120000);
    assert_int_equal(d->retry.delay_max_ms, 300000); /* never below the first delay */
    assert_int_equal(d->breaker.recovery_ms, 1000);
    assert_false(d->sign);
    sb_push_definition_free(&d);
}

static void what_stays_in_the_store_is_not_pushed(void **state)
{
    (void)state;
    sb_push_definition_t *d = define("{\"subscription\":\"s\",\"types\":[\"*\"],\"endpoint\":\"e\"}");
    assert_true(sb_push_wants(d, SB_SLICE("saga.completed")));
    assert_false(sb_push_wants(d, SB_SLICE("saga.step.dispatched")));
    sb_push_definition_free(&d);
}

/* Both readers refuse: ours, and the schema that editors use, but for what a schema cannot say. */
static void a_fault_is_named_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *pointer, *part;
        bool schema_cannot;
    } cases[] = {
        {"[]", "", "object", false},
        {"{\"types\":[\"a.b\"],\"endpoint\":\"e\"}", "", "\"subscription\" is missing", false},
        {"{\"subscription\":\"S\",\"types\":[\"a.b\"],\"endpoint\":\"e\"}", "/subscription", "a-z", false},
        {"{\"subscription\":\"s\",\"types\":[],\"endpoint\":\"e\"}", "/types", "1 to 64", false},
        {"{\"subscription\":\"s\",\"types\":[\"a.b\",7],\"endpoint\":\"e\"}", "/types/1", "event type",
         false},
        {"{\"subscription\":\"s\",\"types\":[\"a.b\"]}", "", "\"endpoint\" is missing", false},
        {FILE_OF(",\"url\":\"http://elsewhere\""), "/url", "not known", false},
        {FILE_OF(",\"secret\":\"whsec_x\""), "/secret", "not known", false},
        {FILE_OF(",\"retries\":{}"), "/retries", "did you mean retry", false},
        {FILE_OF(",\"version\":0"), "/version", "whole number", false},
        {FILE_OF(",\"path\":\"hook\""), "/path", "slash", false},
        {FILE_OF(",\"path\":\"/a#b\""), "/path", "fragment", false},
        {FILE_OF(",\"path\":\"/a b\""), "/path", "URL", false},
        {FILE_OF(",\"mode\":\"batch\""), "/mode", "binary, structured", false},
        {FILE_OF(",\"order\":\"any\""), "/order", "key, none, partition", false},
        {FILE_OF(",\"from\":\"then\""), "/from", "now, start", false},
        {FILE_OF(",\"at_once\":257"), "/at_once", "1 to 256", false},
        {FILE_OF(",\"order\":\"partition\",\"at_once\":2"), "/at_once", "must be 1", true},
        {FILE_OF(",\"timeout\":\"6m\""), "/timeout", "300000", true},
        {FILE_OF(",\"timeout\":\"soon\""), "/timeout", "10s", false},
        {FILE_OF(",\"retry\":{\"tries\":5}"), "/retry/tries", "not known", false},
        {FILE_OF(",\"retry\":{\"delay\":\"5s\",\"max\":\"1s\"}"), "/retry/max", "shorter", true},
        {FILE_OF(",\"breaker\":{\"failures\":0}"), "/breaker/failures", "1 to 1000", false},
        {FILE_OF(",\"signature\":\"rsa\""), "/signature", "hmac-sha256, none", false},
    };
    json_t *schema_body = NULL;
    sb_schema_t *schema = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_read_file(&schema_body, SB_TEST_SCHEMA, NULL, &err), &err);
    assert_ok(sb_schema_compile(&schema, schema_body, &err), &err);
    assert_ok(sb_schema_validate(schema, SB_SLICE(FILE_OF(",\"path\":\"/a\",\"timeout\":500")), &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sb_push_definition_t *d = (sb_push_definition_t *)1;
        sb_error_clear(&err);
        json_t *body = parse(cases[i].text);
        assert_code(SB_INVALID, sb_push_definition_new(&d, body, &err), &err);
        assert_null(d);
        assert_contains(err.message, cases[i].part);
        assert_string_equal(err.pointer, cases[i].pointer);
        assert_int_equal(sb_schema_validate(schema, sb_slice(cases[i].text), NULL),
                         cases[i].schema_cannot ? SB_OK : SB_INVALID);
        json_decref(body);
    }
    sb_schema_free(&schema);
    json_decref(schema_body);
}

/* ---- the settings ---- */

static void settings_say_where_and_with_what(void **state)
{
    (void)state;
    static const struct {
        const char *url, *secret, *path, *want; /* want begins with http: the URL; else a part of the error */
        sb_code_t code;
    } cases[] = {
        {"https://shop.example/api/", "QUJDREVGR0hJSktMTU5PUFFSU1RVVldY", "/hook",
         "https://shop.example/api/hook", SB_OK},
        {"http://[::1]:8080", "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY", "", "http://[::1]:8080", SB_OK},
        {"", "x", "", "push.e.url is not given", SB_NOT_FOUND},
        {"ftp://shop.example", "x", "", "https://", SB_INVALID},
        {"https://u:p@shop.example", "x", "", "no user", SB_INVALID},
        {"https://shop.example/?a=1", "x", "", "query", SB_INVALID},
        {"https:///x", "x", "", "no host", SB_INVALID},
        {"https://shop.example", "", "", "push.e.secret_file nor push.e.secret", SB_NOT_FOUND},
        {"https://shop.example", "whsec_tooshort", "", "base64", SB_INVALID},
        {"https://shop.example", " , ", "", "holds no secret", SB_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sb_config_t *config = NULL;
        sb_push_endpoint_t endpoint;
        sb_error_t err = SB_ERROR_INIT;
        assert_ok(sb_config_new(&config, &err), &err);
        assert_ok(sb_config_set(config, "push.e.url", cases[i].url, &err), &err);
        assert_ok(sb_config_set(config, "push.e.secret", cases[i].secret, &err), &err);
        assert_code(cases[i].code, sb_push_endpoint_read(&endpoint, config, "e", cases[i].path, true, &err),
                    &err);
        if (cases[i].code == SB_OK)
            assert_string_equal(sb_buf_text(&endpoint.url), cases[i].want);
        else
            assert_contains(err.message, cases[i].want);
        assert_null(strstr(err.message, "u:p")); /* it goes to the log and to whoever lists subscriptions */
        assert_null(strstr(err.message, "a=1"));
        assert_false(sb_webhook_url_is_open(sb_buf_text(&endpoint.url)));
        sb_push_endpoint_fini(&endpoint);
        sb_config_free(&config);
    }
}

static void a_secret_comes_from_a_file_that_not_everyone_reads(void **state)
{
    (void)state;
    char path[] = "/tmp/sb_secret_XXXXXX";
    sb_config_t *config = NULL;
    sb_push_endpoint_t endpoint;
    sb_error_t err = SB_ERROR_INIT;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    static const char text[] = "whsec_QUJDREVGR0hJSktMTU5PUFFSU1RVVldY\n";
    assert_int_equal(write(fd, text, sizeof text - 1), (ssize_t)sizeof text - 1);
    (void)setenv("SAGABUS_PUSH_MY_SHOP_URL", "http://shop.example", 1);
    (void)setenv("SAGABUS_PUSH_MY_SHOP_SECRET_FILE", path, 1);
    assert_ok(sb_config_new(&config, &err), &err);
    assert_ok(sb_config_load_environment(config, &err), &err);
    assert_ok(sb_push_endpoint_read(&endpoint, config, "my_shop", "", true, &err), &err);
    assert_int_equal(endpoint.secret_count, 1);
    assert_true(sb_webhook_url_is_open(sb_buf_text(&endpoint.url)));
    sb_push_endpoint_fini(&endpoint);
    assert_int_equal(fchmod(fd, 0644), 0);
    assert_code(SB_DENIED, sb_push_endpoint_read(&endpoint, config, "my_shop", "", true, &err), &err);
    sb_push_endpoint_fini(&endpoint);
    sb_config_free(&config);
    (void)unsetenv("SAGABUS_PUSH_MY_SHOP_URL");
    (void)unsetenv("SAGABUS_PUSH_MY_SHOP_SECRET_FILE");
    (void)close(fd);
    (void)unlink(path);
}

static void a_verdict_is_by_the_status(void **state)
{
    (void)state;
    static const struct {
        int status, retry_after_s;
        sb_push_verdict_t verdict;
    } cases[] = {{200, -1, SB_PUSH_DONE},   {204, -1, SB_PUSH_DONE},     {299, -1, SB_PUSH_DONE},
                 {301, -1, SB_PUSH_FAILED}, {400, -1, SB_PUSH_REJECTED}, {422, -1, SB_PUSH_REJECTED},
                 {401, -1, SB_PUSH_FAILED}, {404, -1, SB_PUSH_FAILED},   {410, -1, SB_PUSH_GONE},
                 {429, -1, SB_PUSH_WAIT},   {503, 3, SB_PUSH_WAIT},      {503, -1, SB_PUSH_SILENT},
                 {502, -1, SB_PUSH_SILENT}, {500, -1, SB_PUSH_FAILED},   {0, -1, SB_PUSH_SILENT}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(sb_push_verdict(cases[i].status, cases[i].retry_after_s), cases[i].verdict);
}

/* ---- the window ---- */

static sb_push_entry_t *put(sb_push_window_t *w, int64_t seq, const char *key)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_event_t event = {
        .type = SB_SLICE("a.b"), .subject = sb_slice(key), .seq = seq, .data = SB_SLICE("{\"n\":1}")};
    assert_ok(sb_push_window_add(w, &event, &err), &err);
    return sb_push_window_entry(w, w->next - 1);
}

static int64_t ready_seq(sb_push_window_t *w)
{
    int64_t due_us;
    const sb_push_entry_t *entry = sb_push_window_ready(w, 1000, &due_us);
    return entry ? entry->event.seq : 0;
}

static void a_window_keeps_the_order_of_keys(void **state)
{
    (void)state;
    sb_push_window_t w;
    sb_error_t err = SB_ERROR_INIT;
    int dead = 0;
    assert_ok(sb_push_window_init(&w, SB_PUSH_BY_KEY, &err), &err);
    sb_push_entry_t *a1 = put(&w, 11, "a");
    sb_push_entry_t *a2 = put(&w, 12, "a");
    sb_push_entry_t *b1 = put(&w, 13, "b");
    sb_push_entry_t *a3 = put(&w, 14, "a");
    assert_int_equal(ready_seq(&w), 11);
    a1->state = SB_PUSH_FLYING;
    assert_int_equal(ready_seq(&w), 13);
    b1->state = SB_PUSH_DELIVERED;
    assert_int_equal(ready_seq(&w), 0);
    assert_int_equal(sb_push_window_decided(&w, &dead), 0); /* the first one is not */
    sb_push_window_bury(&w, a1, "failed");
    assert_int_equal(a2->state, SB_PUSH_DEAD);
    assert_int_equal(a3->state, SB_PUSH_DEAD);
    assert_string_equal(a3->reason, "blocked");
    assert_true(sb_push_window_holds(&w, SB_SLICE("a"), SB_SLICE("a")));
    assert_int_equal(put(&w, 15, "a")->state, SB_PUSH_DEAD);
    assert_int_equal(put(&w, 16, "c")->state, SB_PUSH_WAITING);
    assert_int_equal(sb_push_window_decided(&w, &dead), 5);
    assert_int_equal(dead, 4);
    sb_push_window_drop(&w, 5);
    assert_int_equal(sb_push_window_head_seq(&w), 16);
    assert_int_equal(put(&w, 17, "a")->state, SB_PUSH_WAITING); /* what is held now the database knows */
    sb_push_window_fini(&w);
}

static void a_window_is_bounded(void **state)
{
    (void)state;
    sb_push_window_t w;
    sb_error_t err = SB_ERROR_INIT;
    static char large[900000];
    memset(large, 'x', sizeof large);
    assert_ok(sb_push_window_init(&w, SB_PUSH_ANY_ORDER, &err), &err);
    for (int i = 0; sb_push_window_room(&w) > 0; i++) {
        sb_event_t event = {.type = SB_SLICE("a.b"), .seq = i + 1, .data = {large, sizeof large}};
        assert_ok(sb_push_window_add(&w, &event, &err), &err);
        assert_true(i < 12);
    }
    for (int i = 0; i < 10; i++)
        sb_push_window_entry(&w, w.head + i)->state = SB_PUSH_DELIVERED;
    sb_push_window_drop(&w, 10);
    assert_int_equal(w.bytes, 0);
    for (int i = 0; i < SB_PUSH_WINDOW_EVENTS; i++)
        (void)put(&w, 100 + i, "k");
    assert_int_equal(sb_push_window_room(&w), 0);
    sb_push_window_fini(&w);
}

static void one_by_one_each_waits_for_the_last(void **state)
{
    (void)state;
    sb_push_window_t w;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_push_window_init(&w, SB_PUSH_ONE_BY_ONE, &err), &err);
    sb_push_entry_t *first = put(&w, 1, "a");
    (void)put(&w, 2, "b");
    first->due_us = 5000;
    assert_int_equal(ready_seq(&w), 0);
    first->due_us = 0;
    first->state = SB_PUSH_DELIVERED;
    assert_int_equal(ready_seq(&w), 2);
    sb_push_window_fini(&w);
}

/* ---- the request ---- */

static void a_header_is_encoded_where_http_wants_it(void **state)
{
    (void)state;
    sb_push_request_t request = {.header = {NULL}};
    sb_push_endpoint_t endpoint = {.secret_count = 0};
    sb_error_t err = SB_ERROR_INIT;
    bool found = false;
    sb_event_t event = {.type = SB_SLICE("a.b"),
                        .subject = SB_SLICE("\xc3\xa9 \"50%\"\r\nx: y"),
                        .seq = 7,
                        .data = SB_SLICE("{}")};
    assert_ok(sb_push_request_make(&request, &event, &endpoint, false, 100, 1, &err), &err);
    for (size_t i = 0; request.header[i]; i++) {
        assert_null(strpbrk(request.header[i], "\r\n"));
        found |= strcmp(request.header[i], "ce-subject: %C3%A9%20%2250%25%22%0D%0Ax:%20y") == 0;
    }
    assert_true(found);
    assert_slice(request.call.body, "{}");
    sb_push_request_fini(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_short_file_has_the_defaults),
        cmocka_unit_test(what_stays_in_the_store_is_not_pushed),
        cmocka_unit_test(a_fault_is_named_with_its_place),
        cmocka_unit_test(settings_say_where_and_with_what),
        cmocka_unit_test(a_secret_comes_from_a_file_that_not_everyone_reads),
        cmocka_unit_test(a_verdict_is_by_the_status),
        cmocka_unit_test(a_window_keeps_the_order_of_keys),
        cmocka_unit_test(a_window_is_bounded),
        cmocka_unit_test(one_by_one_each_waits_for_the_last),
        cmocka_unit_test(a_header_is_encoded_where_http_wants_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
