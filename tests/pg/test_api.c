/* The HTTP API beside events (test_api_events.c): what is refused and in which words, who is let in, and that
 * neither a slow client nor a lost database stops it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/http_client.h"
#include "base/json.h"
#include "server/keys.h"
#include "server/route.h"
#include "tests/pg/api_world.h"
#include "tests/support/assert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static void paths_methods_types_and_parameters_that_are_not_known(void **state)
{
    (void)state;
    assert_problem(ask(&shared, "GET", "/v1/nothing", NULL, NULL), 404, "not_found", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas/", NULL, NULL), 404, "not_found", "");
    answer_t answer = ask(&shared, "DELETE", "/v1/events", NULL, NULL);
    assert_contains(answer.text, "Allow: ");
    assert_contains(answer.text, "POST");
    assert_problem(answer, 405, "method_not_allowed", "");
    assert_problem(ask(&shared, "POST", "/v1/events", "Content-Type: text/plain\r\n", "{}"), 415,
                   "unsupported_media_type", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas?limt=5", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas?limit=0", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas?status=odd", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas?cursor=odd", NULL, NULL), 400, "invalid", "/cursor");
    assert_problem(ask(&shared, "GET", "/v1/sagas?key=k", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas/not-an-id", NULL, NULL), 404, "not_found", "");
    answer = ask(&shared, "GET", "/v1/sagas?type=order&key=nobody-has-it", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_contains(answer.body, "\"items\":[]");
    drop(&answer);
}

static void a_filter_beside_the_key_counts(void **state)
{
    (void)state;
    sb_pg_t *pg = sb_test_pg_open(shared.uri);
    sb_test_pg_script(pg,
                      "INSERT INTO sagabus.saga (no, id, started_at, ended_at, type, key, definition_hash, "
                      "request_hash, version, shard, status, input) VALUES (1 << 30, gen_random_uuid(), "
                      "now(), now(), 'order', 'filtered', '', '', 1, 0, 5, '{}')");
    answer_t none =
        ask(&shared, "GET",
            "/v1/sagas?type=order&key=filtered&participant=nobody&started_after=2999-01-01T00:00:00Z", NULL,
            NULL);
    sb_test_pg_script(pg, "DELETE FROM sagabus.saga WHERE no = 1 << 30");
    sb_pg_close(&pg);
    assert_int_equal(none.status, 200);
    assert_contains(none.body, "\"items\":[]");
    drop(&none);
}

static void a_harmful_request_id_is_replaced(void **state)
{
    (void)state;
    answer_t answer = ask(&shared, "GET", "/version", "X-Request-Id: a b\"<script>\r\n", NULL);
    assert_int_equal(answer.status, 200);
    assert_contains(answer.text, "X-Request-Id: ");
    assert_null(strstr(answer.text, "script"));
    drop(&answer);
}

/* Nothing of this is HTTP as we speak it; each is refused or dropped, and the next client is served. */
static void bytes_that_are_not_http_do_no_harm(void **state)
{
    (void)state;
    static const char *const odd[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "BREW /pot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET /%zz%f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET http://[::1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "CONNECT a:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        "POST /v1/events HTTP/1.1\r\nContent-Length: 99999999999999999999\r\nConnection: close\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        int fd = connect_to(shared.port);
        struct pollfd wait = {.events = POLLIN};
        char ignored[4096];
        assert_true(fd >= 0);
        (void)send(fd, odd[i], strlen(odd[i]), MSG_NOSIGNAL);
        wait.fd = fd;
        if (poll(&wait, 1, 200) > 0)
            (void)recv(fd, ignored, sizeof ignored, 0);
        (void)close(fd);
        assert_true(answers(&shared, "/livez", NULL, 200));
    }
}

static void a_slow_client_holds_up_nobody(void **state)
{
    (void)state;
    int slow[200];
    append_order(&shared, "slow");
    for (int i = 0; i < 200; i++) {
        slow[i] = connect_to(shared.port);
        assert_true(slow[i] >= 0);
        (void)send(slow[i], "POST /v1/events HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{", 50, MSG_NOSIGNAL);
    }
    int64_t begin_ms = sb_test_mono_ms();
    for (int i = 0; i < 50; i++)
        assert_true(answers(&shared, "/v1/streams/order/slow", NULL, 200));
    assert_true(sb_test_mono_ms() - begin_ms < 30000);
    for (int i = 0; i < 200; i++)
        (void)close(slow[i]);
}

/* The next answer in text, which must have this status; returns what follows it. */
static const char *walk_answer(const char *text, const char *end, int status)
{
    int code = 0, length = -1;
    assert_int_equal(sscanf(text, "HTTP/1.1 %d", &code), 1);
    assert_int_equal(code, status);
    const char *said = strstr(text, "Content-Length: ");
    const char *gap = strstr(text, "\r\n\r\n");
    assert_true(gap && said && said < gap);
    assert_int_equal(sscanf(said, "Content-Length: %d", &length), 1);
    assert_true(length >= 0 && end - (gap + 4) >= length);
    return gap + 4 + length;
}

/* More than any socket takes at once: what is left over comes later, and nothing of it twice. */
static void a_client_that_reads_late_gets_all_its_answers_in_order(void **state)
{
    (void)state;
    enum { PAIRS = 250 }; /* 9 MB */
    static const char both[] =
        "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\nGET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char last[] = "GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    sb_buf_t requests = SB_BUF_INIT;
    for (int i = 0; i < PAIRS; i++)
        sb_buf_add_text(&requests, both);
    sb_buf_add_text(&requests, last);
    int fd = send_bytes(shared.port, requests.ptr, requests.len);
    assert_true(fd >= 0);
    (void)usleep(500000);
    assert_true(answers(&shared, "/livez", NULL, 200));
    answer_t all = receive(fd);
    const char *at = all.text, *end = at + strlen(at);
    for (int i = 0; i < PAIRS; i++)
        at = walk_answer(walk_answer(at, end, 200), end, 404);
    assert_ptr_equal(walk_answer(at, end, 200), end);
    drop(&all);
    sb_buf_fini(&requests);
}

/* ---- sagas, views, the system ---- */

/* As many idle ones as there may be: the next one is turned away, those that are there are served, and when
 * one goes there is room again. */
static void connections_have_a_ceiling(void **state)
{
    (void)state;
    enum { MAX = 6 };
    static const char request[] = "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n";
    daemon_under_test_t d = {.port = 0};
    int fd[MAX];
    char byte;
    (void)snprintf(d.uri, sizeof d.uri, "%s", shared.uri);
    prepare(&d);
    set(&d, "http.connections_max", "6");
    start(&d);
    assert_soon(answers(&d, "/livez", NULL, 200), 20000);
    assert_soon(answers(&d, "/livez", NULL, 200), 20000); /* what came before is closed by now */
    for (int i = 0; i < MAX; i++) {
        fd[i] = connect_to(d.port);
        assert_int_equal(send(fd[i], request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
        assert_int_equal(recv(fd[i], &byte, 1, 0), 1); /* it is served, and kept */
    }
    for (int i = 0; i < 5; i++) {
        answer_t refused = receive(connect_to(d.port));
        assert_int_equal(refused.status, 503);
        assert_contains(refused.body, "\"code\":\"busy\"");
        drop(&refused);
    }
    assert_int_equal(send(fd[0], request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    (void)close(fd[1]);
    (void)close(fd[2]);
    assert_soon(answers(&d, "/livez", NULL, 200), 10000);
    answer_t page = ask(&d, "GET", "/metrics", NULL, NULL);
    assert_contains(page.body, "\nsagabus_http_connections_max 6\n");
    assert_contains(page.body,
                    "\nsagabus_http_connections 5\n"); /* four that stayed, and the one that asks */
    assert_null(strstr(page.body, "\nsagabus_http_connections_refused_total 0\n"));
    drop(&page);
    sb_buf_t both = SB_BUF_INIT;
    read_until(fd[0], &both, "200 OK", 2 - 1); /* of the first answer a byte was taken: this is the second */
    sb_buf_fini(&both);
    for (int i = 0; i < MAX; i++)
        if (i != 1 && i != 2)
            (void)close(fd[i]);
    stop(&d);
}

static void a_saga_that_cannot_be_is_refused(void **state)
{
    (void)state;
    assert_problem(ask(&shared, "POST", "/v1/sagas", NULL, "{\"input\":{}}"), 400, "invalid", "/type");
    assert_problem(ask(&shared, "POST", "/v1/sagas", NULL, "{\"type\":\"order\",\"inptu\":{}}"), 400,
                   "invalid", "/inptu");
    assert_problem(ask(&shared, "POST", "/v1/sagas", NULL, "{\"type\":\"order\",\"input\":[]}"), 400,
                   "invalid", "/input");
    assert_problem(ask(&shared, "POST", "/v1/sagas?wait=soon", NULL, "{\"type\":\"order\",\"input\":{}}"),
                   400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/sagas/0193aaaa-0000-8000-8000-000000000001", NULL, NULL), 404,
                   "not_found", "");
}

/* Cut to what fits, two of them could become one, and the second caller would be told of the first one's
 * saga.
 */
static void a_key_that_does_not_fit_is_refused_and_not_cut(void **state)
{
    (void)state;
    char header[400];
    static const char saga[] = "{\"type\":\"order\",\"input\":{}}";
    static const char event[] =
        "{\"type\":\"order.created\",\"subject\":\"k 1/\\u00e9?\",\"data\":" ORDER("k-1") "}";
    (void)snprintf(header, sizeof header, "Idempotency-Key: %0300d\r\n", 1);
    assert_problem(ask(&shared, "POST", "/v1/sagas", header, saga), 413, "too_large", "/key");
    assert_problem(ask(&shared, "POST", "/v1/events", header, event), 413, "too_large", "");
    (void)snprintf(header, sizeof header, "Idempotency-Key: \"%0256d\"\r\n", 1);
    assert_problem(ask(&shared, "POST", "/v1/events", header, event), 413, "too_large", "");
    assert_problem(
        ask(&shared, "POST", "/v1/sagas", NULL, "{\"type\":\"order\",\"key\":\"a\\u0000b\",\"input\":{}}"),
        400, "invalid", "/key");
    (void)snprintf(header, sizeof header, "Idempotency-Key: \"%0255d\"\r\n", 1);
    answer_t answer = ask(&shared, "POST", "/v1/events", header, event);
    assert_int_equal(answer.status, 201);
    assert_contains(answer.text, "Location: /v1/streams/order/k%201%2F%C3%A9%3F\r\n");
    drop(&answer);
    assert_true(answers(&shared, "/v1/streams/order/k%201%2F%C3%A9%3F", NULL, 200));
}

static bool summary_is_there(void)
{
    return answers(&shared, "/v1/views/order_summary/v-1", NULL, 200);
}

static void a_view_follows_what_was_appended(void **state)
{
    (void)state;
    answer_t answer = ask(&shared, "POST", "/v1/events", NULL,
                          "{\"type\":\"order.created\",\"subject\":\"v-1\",\"data\":" ORDER("v-1") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    assert_soon(summary_is_there(), 20000);
    answer = ask(&shared, "GET", "/v1/views", NULL, NULL);
    assert_contains(answer.body, "\"name\":\"order_summary\"");
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/views/order_summary?limit=1", NULL, NULL);
    json_t *page = json_of(&answer);
    assert_int_equal(json_array_size(json_object_get(page, "items")), 1);
    json_decref(page);
    drop(&answer);
    assert_problem(ask(&shared, "GET", "/v1/views/nothing", NULL, NULL), 404, "not_found", "");
    assert_problem(ask(&shared, "GET", "/v1/views/order_summary/nobody", NULL, NULL), 404, "not_found", "");
}

/* Those of the definitions are there before anybody has called them. */
static void participants_are_listed(void **state)
{
    (void)state;
    answer_t answer = ask(&shared, "GET", "/v1/participants", NULL, NULL);
    assert_int_equal(answer.status, 200);
    json_t *page = json_of(&answer);
    size_t i, found = 0;
    json_t *item;
    assert_non_null(json_string_value(json_object_get(page, "instance")));
    json_array_foreach(json_object_get(page, "items"), i, item)
    {
        bool is_payment = strcmp(json_string_value(json_object_get(item, "name")), "payment") == 0;
        if (!is_payment)
            continue;
        found++;
        assert_string_equal(json_string_value(json_object_get(item, "transport")), "kafka");
        assert_true(json_is_null(json_object_get(item, "breaker")));
    }
    assert_int_equal(found, 1);
    json_decref(page);
    drop(&answer);
}

static void a_view_answers_what_its_reader_wrote(void **state)
{
    (void)state;
    char path[160];
    char header[120];
    char etag[80] = "";
    for (int i = 0; i < 5; i++) {
        char body[400];
        (void)snprintf(body, sizeof body,
                       "{\"type\":\"order.created\",\"subject\":\"w-%d\",\"data\":{\"order_id\":\"w-%d\","
                       "\"customer_id\":\"w\",\"amount\":%d,\"currency\":\"EUR\",\"items\":[{\"sku\":\"s\","
                       "\"quantity\":1,\"price\":1}]}}",
                       i, i, i);
        answer_t answer = ask(&shared, "POST", "/v1/events", NULL, body);
        assert_int_equal(answer.status, 201);
        json_t *posted = json_of(&answer);
        json_int_t seq = json_integer_value(json_object_get(posted, "seq"));
        assert_true(seq > 0);
        (void)snprintf(path, sizeof path,
                       "/v1/views/order_summary/w-%d?after_seq=%lld&wait=20s&fields=amount", i, seq);
        json_decref(posted);
        drop(&answer);
        answer = ask(&shared, "GET", path, NULL, NULL);
        assert_int_equal(answer.status, 200);
        (void)snprintf(body, sizeof body,
                       "{\"amount\":%d,\"links\":{\"self\":\"/v1/views/order_summary/w-%d?fields=amount\","
                       "\"view\":\"/v1/views/order_summary\"}}",
                       i, i);
        assert_string_equal(answer.body, body);
        const char *at = strstr(answer.text, "ETag: ");
        assert_non_null(at);
        assert_int_equal(sscanf(at, "ETag: %79[^\r]", etag), 1);
        drop(&answer);
    }
    (void)snprintf(header, sizeof header, "If-None-Match: %s\r\n", etag);
    assert_true(answers(&shared, path, header, 304));
    assert_true(answers(&shared, "/v1/views/order_summary/w-1?fields=amount", header, 200));
    /* what has not happened yet is not waited for longer than was asked */
    assert_problem(ask(&shared, "GET", "/v1/views/order_summary?after_seq=999999999&wait=200ms", NULL, NULL),
                   504, "timeout", "");
    assert_problem(ask(&shared, "GET", "/v1/views/order_summary?wait=1s", NULL, NULL), 400, "invalid", "");
    answer_t answer =
        ask(&shared, "GET",
            "/v1/views/order_summary?customer_id=w&order_id.gte=w-1&order_id.lt=w-4&sort=-order_id&limit=2",
            NULL, NULL);
    assert_int_equal(answer.status, 200);
    json_t *page = json_of(&answer);
    const char *next = json_string_value(json_object_get(json_object_get(page, "links"), "next"));
    assert_non_null(next);
    drop(&answer);
    answer = ask(&shared, "GET", next, NULL, NULL);
    assert_contains(answer.body, "\"order_id\":\"w-1\"");
    assert_contains(answer.body, "\"next_cursor\":null");
    drop(&answer);
    json_decref(page);
    assert_true(answers(&shared, "/v1/parked?view=order_summary", NULL, 200));
    assert_problem(ask(&shared, "GET", "/v1/parked?view=nothing", NULL, NULL), 404, "not_found", "");
    assert_problem(ask(&shared, "GET", "/v1/parked", NULL, NULL), 400, "invalid", "");
}

static void the_system_pages(void **state)
{
    (void)state;
    assert_true(answers(&shared, "/livez", NULL, 200));
    assert_soon(readyz_has(&shared, "HTTP/1.1 503"), 20000);
    assert_soon(readyz_has(&shared, "[-] kafka: "), 20000); /* nobody is at 127.0.0.1:1 */
    assert_true(readyz_has(&shared, "[+] postgres ok"));
    answer_t answer =
        ask(&shared, "POST", "/v1/events", NULL,
            "{\"type\":\"order.created\",\"subject\":\"counted-1\",\"data\":" ORDER("counted-1") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    answer = ask(&shared, "GET", "/metrics", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_contains(answer.text, "Content-Type: text/plain; version=0.0.4");
    assert_contains(answer.body, "# TYPE sagabus_");
    assert_contains(answer.body, "\nsagabus_append_batches_total ");
    assert_null(strstr(answer.body, "\nsagabus_append_batches_total 0\n"));
    drop(&answer);
    answer = ask(&shared, "GET", "/openapi.json", NULL, NULL);
    json_t *document = json_of(&answer);
    assert_string_equal(text_at(document, "/openapi"), "3.1.0");
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        sb_buf_t pointer = SB_BUF_INIT;
        char plain[128];
        size_t n = 0;
        for (const char *c = route->pattern; *c && n + 1 < sizeof plain; c++)
            if (*c != '+')
                plain[n++] = *c;
        plain[n] = '\0';
        sb_buf_add_text(&pointer, "/paths");
        sb_json_pointer_add(&pointer, sb_slice(plain));
        sb_buf_add_text(&pointer, strcmp(route->method, "GET") == 0 ? "/get" : "/post");
        if (!sb_json_at(document, sb_buf_slice(&pointer)))
            print_error("not in the document: %s\n", sb_buf_text(&pointer));
        assert_non_null(sb_json_at(document, sb_buf_slice(&pointer)));
        sb_buf_fini(&pointer);
    }
    json_decref(document);
    drop(&answer);
}

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* Every sagabus_ name in a text that is not in the other; histogram suffixes are left off. */
static void assert_names_are_in(const char *text, const char *other, const char *what)
{
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    for (const char *at = strstr(text, "sagabus_"); at; at = strstr(at + 1, "sagabus_")) {
        char name[128];
        size_t n = 0;
        while (is_name_char(at[n]) && n + 1 < sizeof name)
            n++;
        (void)snprintf(name, sizeof name, "%.*s", (int)n, at);
        for (size_t i = 0; i < 3; i++) {
            size_t m = strlen(suffixes[i]);
            if (n > m && strcmp(name + n - m, suffixes[i]) == 0 && !strstr(other, name))
                name[n - m] = '\0';
        }
        if (!strstr(other, name))
            print_error("%s is not in %s\n", name, what);
        assert_non_null(strstr(other, name));
    }
}

static void every_metric_is_documented_and_every_documented_one_is_there(void **state)
{
    (void)state;
    sb_buf_t page = SB_BUF_INIT;
    FILE *file = fopen(SB_TEST_DOCS "/metrics.md", "re");
    assert_non_null(file);
    char *room = sb_buf_reserve(&page, 1 << 20);
    room[fread(room, 1, (1 << 20) - 1, file)] = '\0';
    (void)fclose(file);
    answer_t answer = ask(&shared, "GET", "/metrics", NULL, NULL);
    assert_names_are_in(answer.body, room, "docs/metrics.md");
    assert_names_are_in(room, answer.body, "/metrics");
    int alerts = 0;
    for (const char *at = strstr(room, "alert: "); at; at = strstr(at + 1, "alert: "))
        alerts++;
    assert_true(alerts >= 12);
    drop(&answer);
    sb_buf_fini(&page);
}

static void acts_on_many_sagas_are_checked_and_tried(void **state)
{
    (void)state;
    static const char path[] = "/v1/sagas/bulk";
    assert_problem(ask(&shared, "POST", path, NULL, "{\"verb\":\"pause\",\"filter\":{\"type\":\"order\"}}"),
                   400, "invalid", "/reason");
    assert_problem(ask(&shared, "POST", path, NULL, "{\"verb\":\"stop\",\"reason\":\"r\",\"filter\":{}}"),
                   400, "invalid", "/verb");
    assert_problem(ask(&shared, "POST", path, NULL, "{\"verb\":\"pause\",\"reason\":\"r\"}"), 400, "invalid",
                   "/filter");
    assert_problem(ask(&shared, "POST", path, NULL, "{\"verb\":\"pause\",\"reason\":\"r\",\"filter\":{}}"),
                   400, "invalid", "/filter");
    assert_problem(ask(&shared, "POST", path, NULL,
                       "{\"verb\":\"pause\",\"reason\":\"r\",\"filter\":{\"colour\":\"red\"}}"),
                   400, "invalid", "/filter");
    assert_problem(ask(&shared, "POST", path, NULL,
                       "{\"verb\":\"pause\",\"reason\":\"r\",\"filter\":{\"status\":\"odd\"}}"),
                   400, "invalid", "/filter/status");
    assert_problem(ask(&shared, "POST", path, NULL,
                       "{\"verb\":\"skip\",\"reason\":\"r\",\"filter\":{\"type\":\"order\"}}"),
                   400, "invalid", "/step");
    assert_problem(ask(&shared, "POST", path, NULL,
                       "{\"verb\":\"pause\",\"reason\":\"r\",\"limit\":0,\"filter\":{\"type\":\"order\"}}"),
                   400, "invalid", "/limit");
    answer_t answer = ask(&shared, "POST", path, NULL,
                          "{\"verb\":\"pause\",\"reason\":\"r\",\"dry_run\":true,\"filter\":{\"type\":"
                          "\"n\\u006fne\",\"attention\":true}}");
    assert_int_equal(answer.status, 200);
    assert_contains(answer.body, "\"matched\":0");
    drop(&answer);
    assert_problem(ask(&shared, "POST", "/v1/sagas/0193aaaa-0000-8000-8000-000000000001/rewind", NULL,
                       "{\"reason\":\"r\",\"step\":\"a\"}"),
                   404, "not_found", "");
    assert_problem(ask(&shared, "GET", "/v1/audit?saga=x", NULL, NULL), 400, "invalid", "");
}

/* ---- who is let in ---- */

static void make_key(const char *name, int scopes, char header[160])
{
    char key[SB_KEY_TEXT];
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = sb_test_pg_open(shared.uri);
    assert_ok(sb_key_create(pg, name, scopes, key, &err), &err);
    sb_pg_close(&pg);
    (void)snprintf(header, 160, "Authorization: Bearer %s\r\n", key);
}

/* A path of the route's pattern, with something in place of each parameter. */
static void path_of(const char *pattern, char *out, size_t cap)
{
    size_t n = 0;
    for (const char *c = pattern; *c && n + 1 < cap; c++) {
        if (*c == '{') {
            c = strchr(c, '}');
            out[n++] = 'x';
        } else {
            out[n++] = *c;
        }
    }
    out[n] = '\0';
}

/* Each route with no key, a wrong one, and one of each scope: from the table, so that a new route is in it.
 */
static void every_route_asks_for_its_scope(void **state)
{
    (void)state;
    enum { NOBODY, WRONG, READER, WRITER, ADMIN, CALLERS };
    static const int scope_of[CALLERS] = {0, 0, SB_SCOPE_READ, SB_SCOPE_WRITE, SB_SCOPE_ADMIN};
    char header[CALLERS][160] = {""};
    (void)snprintf(header[WRONG], sizeof header[WRONG], "Authorization: Bearer sb_00000000_%043d\r\n", 0);
    make_key("reader", SB_SCOPE_READ, header[READER]);
    make_key("writer", SB_SCOPE_WRITE, header[WRITER]);
    make_key("admin", SB_SCOPE_ADMIN, header[ADMIN]);
    assert_soon(answers(&shared, "/v1/views", NULL, 401), 10000);          /* keys are known now, */
    assert_soon(answers(&shared, "/v1/views", header[ADMIN], 200), 10000); /* and the last one, so all are */
    int tried = 0;
    for (const sb_route_t *route = sb_routes; route->method; route++) {
        char path[160];
        path_of(route->pattern, path, sizeof path);
        for (int who = 0; who < CALLERS; who++) {
            bool open = route->scope == SB_SCOPE_NONE;
            bool fits = open || who == ADMIN || (scope_of[who] & (int)route->scope);
            bool endless = strcmp(route->pattern, "/v1/events/stream") == 0;
            answer_t answer = ask(&shared, endless ? "HEAD" : route->method, path, header[who],
                                  strcmp(route->method, "POST") == 0 ? "{}" : NULL);
            int want = fits ? 0 : (who == NOBODY || who == WRONG ? 401 : 403);
            bool right = want ? answer.status == want : answer.status != 401 && answer.status != 403;
            if (!right)
                print_error("%s %s as caller %d: %d\n", route->method, path, who, answer.status);
            assert_true(right);
            if (want == 401)
                assert_contains(answer.text, "WWW-Authenticate: Bearer");
            drop(&answer);
            tried++;
        }
    }
    assert_true(tried >= 20 * CALLERS);

    /* revoked: within seconds */
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = sb_test_pg_open(shared.uri);
    assert_true(answers(&shared, "/v1/views", header[READER], 200));
    assert_ok(sb_key_revoke(pg, "reader", &err), &err);
    assert_soon(answers(&shared, "/v1/views", header[READER], 401), 6000);
    assert_true(answers(&shared, "/v1/views", header[ADMIN], 200));
    assert_int_equal(sb_test_pg_int(pg,
                                    "SELECT count(*) FROM sagabus.audit WHERE who LIKE 'db:%' AND target = "
                                    "'reader' AND act IN ('key.create', 'key.revoke')"),
                     2);
    answer_t record = ask(&shared, "GET", "/v1/audit?limit=1", header[ADMIN], NULL);
    assert_contains(record.body, "\"act\":\"key.revoke\",\"target\":\"reader\"");
    drop(&record);
    sb_test_pg_script(pg, "DELETE FROM sagabus.api_key");
    sb_pg_close(&pg);
    assert_soon(answers(&shared, "/v1/views", NULL, 200), 10000);
}

/* ---- TLS ---- */

static void write_certificate(const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    assert_non_null(key);
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -60);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"127.0.0.1", -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    (void)X509_add_ext(cert, extension, -1);
    X509_EXTENSION_free(extension);
    assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
    FILE *file = fopen(cert_path, "we");
    assert_int_equal(PEM_write_X509(file, cert), 1);
    (void)fclose(file);
    file = fopen(key_path, "we");
    assert_int_equal(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL), 1);
    (void)fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int call(const char *url, const char *ca_file, sb_error_t *err)
{
    sb_http_client_t *client = NULL;
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    sb_http_client_config_t config = {.ca_file = ca_file};
    sb_http_call_t get = {.method = "GET", .url = url, .timeout_ms = 60000};
    assert_ok(sb_http_client_new(&client, &config, err), err);
    int status = sb_http_client_send(client, &get, &answer, err) == SB_OK ? answer.status : -1;
    sb_http_answer_fini(&answer);
    sb_http_client_free(&client);
    return status;
}

static void tls_is_spoken_and_checked(void **state)
{
    (void)state;
    daemon_under_test_t d = {0};
    char dir[] = "/tmp/sagabus-tls-XXXXXX";
    char cert[64], key[64], url[64];
    sb_error_t err = SB_ERROR_INIT;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    (void)snprintf(key, sizeof key, "%s/key.pem", dir);
    write_certificate(cert, key);
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    set(&d, "http.tls_cert", cert);
    set(&d, "http.tls_key", key);
    start(&d);
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d/livez", d.port);
    assert_soon(call(url, cert, &err) == 200, 10000);
    sb_error_clear(&err);                        /* of a call that came too early */
    assert_int_equal(call(url, NULL, &err), -1); /* a certificate that nobody vouches for */
    assert_int_equal(err.code, SB_UNAVAILABLE);
    assert_false(answers(&d, "/livez", NULL, 200)); /* plain HTTP gets nothing */
    assert_int_equal(call(url, cert, &err), 200);
    stop(&d);
    sb_test_remove_tree(dir);
}

static void assert_serve_refuses(daemon_under_test_t *d, const char *text)
{
    char path[] = "/tmp/sagabus-test-XXXXXX";
    char said[4096] = "";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    d->output = path;
    start(d);
    assert_true(sb_test_wait(&d->process, 60000));
    assert_int_equal(d->process.exit_code, 1);
    assert_true(read(fd, said, sizeof said - 1) > 0);
    assert_contains(said, text);
    (void)close(fd);
    (void)unlink(path);
    sb_test_process_end(&d->process);
    sb_config_free(&d->config);
}

static void an_open_address_without_tls_is_refused(void **state)
{
    (void)state;
    daemon_under_test_t d = {0};
    char listen[32];
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    (void)snprintf(listen, sizeof listen, "0.0.0.0:%d", d.port);
    set(&d, "http.listen", listen);
    assert_serve_refuses(&d, "is not loopback");
}

static void half_of_what_tls_needs_is_refused(void **state)
{
    (void)state;
    daemon_under_test_t d = {0};
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    set(&d, "http.tls_cert", "/nowhere/cert.pem");
    assert_serve_refuses(&d, "http.tls_cert is set without http.tls_key");
}

/* ---- the database ---- */

static void a_schema_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    daemon_under_test_t d = {0};
    (void)sb_test_pg_empty(d.uri);
    prepare(&d);
    assert_serve_refuses(&d, "sagabus migrate");

    (void)sb_test_pg_fresh(d.uri);
    sb_pg_t *pg = sb_test_pg_open(d.uri);
    sb_test_pg_script(
        pg, "INSERT INTO sagabus.migration (name, hash) VALUES ('9999_future_needs_9998', '\\x00')");
    sb_pg_close(&pg);
    prepare(&d);
    assert_serve_refuses(&d, "9999_future");
}

/* Another release registers a version with a rule that this one does not know: it shows, and the rest goes
 * on. */
static void a_version_this_release_cannot_read_is_in_sight(void **state)
{
    (void)state;
    daemon_under_test_t d = {0};
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    start(&d);
    assert_soon(readyz_has(&d, "[+] registry ok"), 20000);
    sb_pg_t *pg = sb_test_pg_open(d.uri);
    sb_test_pg_script(pg, "INSERT INTO sagabus.event_type (name, version) VALUES ('order.shipped', 3);"
                          "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', "
                          "'order.shipped', 3, sha256('3'), '{\"type\":\"order.shipped\",\"version\":3,"
                          "\"schema\":{\"magic\":1}}')");
    assert_soon(readyz_has(&d, "[-] registry: event type order.shipped version 3 is registered, but this "
                               "release cannot read it"),
                20000);
    answer_t answer = ask(&d, "POST", "/v1/events", NULL,
                          "{\"type\":\"order.shipped\",\"subject\":\"r-1\",\"data\":{\"order_id\":\"r-1\"}}");
    assert_int_equal(answer.status, 201); /* as the version it knows */
    drop(&answer);
    sb_test_pg_script(pg,
                      "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT "
                      "s.stream_no, 2, t.type_no, 1, gen_random_uuid(), '{}' FROM sagabus.stream s, "
                      "sagabus.event_type t WHERE s.key = 'r-1' AND t.name = 'order.shipped' AND t.version "
                      "= 3; UPDATE sagabus.stream SET version = 2, last_seq = (SELECT max(seq) FROM "
                      "sagabus.event WHERE class = 1) WHERE key = 'r-1'");
    answer = ask(&d, "GET", "/v1/streams/order/r-1", NULL, NULL);
    assert_true(answer.status >= 400);
    assert_contains(answer.body, "order.shipped version 3");
    drop(&answer);
    sb_pg_close(&pg);
    stop(&d);
}

static void a_lost_database_is_waited_for(void **state)
{
    (void)state;
    append_order(&shared, "a-1");
    assert_true(answers(&shared, "/v1/streams/order/a-1", NULL, 200));
    sb_test_pg_stop_immediate();
    assert_soon(readyz_has(&shared, "[-] postgres: "), 20000);
    assert_true(answers(&shared, "/livez", NULL, 200));
    answer_t answer = ask(&shared, "GET", "/v1/streams/order/a-1", NULL, NULL);
    assert_contains(answer.text, "Retry-After: ");
    assert_problem(answer, 503, "unavailable", "");
    sb_test_pg_restart();
    assert_soon(answers(&shared, "/v1/streams/order/a-1", NULL, 200), 30000);
    assert_soon(readyz_has(&shared, "[+] postgres ok"), 20000);
    answer = ask(&shared, "POST", "/v1/events", NULL,
                 "{\"type\":\"order.created\",\"subject\":\"after\",\"data\":" ORDER("after") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_methods_types_and_parameters_that_are_not_known),
        cmocka_unit_test(a_filter_beside_the_key_counts),
        cmocka_unit_test(a_harmful_request_id_is_replaced),
        cmocka_unit_test(bytes_that_are_not_http_do_no_harm),
        cmocka_unit_test(a_slow_client_holds_up_nobody),
        cmocka_unit_test(a_client_that_reads_late_gets_all_its_answers_in_order),
        cmocka_unit_test(connections_have_a_ceiling),
        cmocka_unit_test(a_saga_that_cannot_be_is_refused),
        cmocka_unit_test(acts_on_many_sagas_are_checked_and_tried),
        cmocka_unit_test(a_key_that_does_not_fit_is_refused_and_not_cut),
        cmocka_unit_test(a_view_follows_what_was_appended),
        cmocka_unit_test(participants_are_listed),
        cmocka_unit_test(a_view_answers_what_its_reader_wrote),
        cmocka_unit_test(the_system_pages),
        cmocka_unit_test(every_metric_is_documented_and_every_documented_one_is_there),
        cmocka_unit_test(every_route_asks_for_its_scope),
        cmocka_unit_test(tls_is_spoken_and_checked),
        cmocka_unit_test(an_open_address_without_tls_is_refused),
        cmocka_unit_test(half_of_what_tls_needs_is_refused),
        cmocka_unit_test(a_schema_that_is_not_ours_is_refused),
        cmocka_unit_test(a_version_this_release_cannot_read_is_in_sight),
        cmocka_unit_test(a_lost_database_is_waited_for),
    };
    return cmocka_run_group_tests_name("api", tests, start_shared, stop_shared);
}
