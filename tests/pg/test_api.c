/* The HTTP API of a whole daemon over loopback, against a real PostgreSQL and no Kafka at all: what is
 * accepted, what is refused and in which words, who is let in, and that neither a slow client nor a lost
 * database stops it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/http_client.h"
#include "base/json.h"
#include "base/log.h"
#include "server/daemon.h"
#include "server/keys.h"
#include "server/route.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

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

#define ANSWER_MAX (4u << 20)

typedef struct daemon_under_test {
    sb_test_process_t process;
    sb_config_t *config;
    const char *output; /* file of its standard error; NULL: ours */
    char uri[SB_TEST_URI];
    int port;
} daemon_under_test_t;

/* ---- a daemon ---- */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)close(fd);
    return ntohs(address.sin_port);
}

static int daemon_body(void *context)
{
    const daemon_under_test_t *d = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_log_set_level(SB_LOG_WARN);
    if (d->output && !freopen(d->output, "we", stderr))
        return 2;
    if (sb_daemon_run(d->config, &err) == SB_OK)
        return 0;
    (void)fprintf(stderr, "serve: %s: %s\n", sb_code_name(err.code), err.message);
    (void)fflush(stderr);
    return 1;
}

static void set(daemon_under_test_t *d, const char *name, const char *value)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_config_set(d->config, name, value, &err), &err);
}

/* Settings of a daemon over the database of d->uri; start begins it. */
static void prepare(daemon_under_test_t *d)
{
    char listen[32];
    assert_ok(sb_config_new(&d->config, NULL), NULL);
    d->port = free_port();
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", d->port);
    set(d, "pg.uri", d->uri);
    set(d, "http.listen", listen);
    set(d, "http.body_max_bytes", "64k");
    set(d, "kafka.bootstrap", "127.0.0.1:1"); /* nobody is there */
    set(d, "schemas.dir", SB_TEST_SCHEMAS);
}

static int connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {20, 0};
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* ---- talking to it, byte for byte ---- */

typedef struct answer {
    int status;
    char *text; /* head and body */
    const char *body;
} answer_t;

static void drop(answer_t *answer)
{
    free(answer->text);
    *answer = (answer_t){0};
}

static int send_bytes(int port, const char *bytes, size_t length)
{
    int fd = connect_to(port);
    for (size_t sent = 0; fd >= 0 && sent < length;) { /* a refused body may be cut short by the other side */
        ssize_t n = send(fd, bytes + sent, length - sent, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return fd;
}

static answer_t receive(int fd)
{
    answer_t answer = {0};
    size_t got = 0;
    if (fd < 0)
        return answer;
    answer.text = malloc(ANSWER_MAX + 1);
    assert_non_null(answer.text);
    for (ssize_t n = 1; n > 0 && got<ANSWER_MAX; got += n> 0 ? (size_t)n : 0)
        n = recv(fd, answer.text + got, ANSWER_MAX - got, 0);
    (void)close(fd);
    answer.text[got] = '\0';
    if (sscanf(answer.text, "HTTP/1.%*d %d", &answer.status) != 1)
        answer.status = 0;
    const char *gap = strstr(answer.text, "\r\n\r\n");
    answer.body = gap ? gap + 4 : "";
    return answer;
}

static answer_t exchange(int port, const char *bytes, size_t length)
{
    return receive(send_bytes(port, bytes, length));
}

/* A GET whose answer is for later. */
static int send_get(const daemon_under_test_t *d, const char *path)
{
    char request[512];
    int length =
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    return send_bytes(d->port, request, (size_t)length);
}

/* headers: lines that end in CRLF, NULL for none. */
static answer_t ask(const daemon_under_test_t *d, const char *method, const char *path, const char *headers,
                    const char *body)
{
    sb_buf_t request = SB_BUF_INIT;
    sb_buf_printf(&request, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s", method, path,
                  headers ? headers : "");
    if (body)
        sb_buf_printf(&request, "%sContent-Length: %zu\r\n",
                      headers && strstr(headers, "Content-Type") ? "" : "Content-Type: application/json\r\n",
                      strlen(body));
    sb_buf_add_text(&request, "\r\n");
    sb_buf_add_text(&request, body ? body : "");
    answer_t answer = exchange(d->port, request.ptr, request.len);
    sb_buf_fini(&request);
    return answer;
}

static json_t *json_of(const answer_t *answer)
{
    json_t *value = json_loads(answer->body, JSON_DECODE_ANY, NULL);
    if (!value)
        print_error("not JSON: %s\n", answer->text);
    assert_non_null(value);
    return value;
}

static const char *text_at(const json_t *value, const char *pointer)
{
    const char *text = json_string_value(sb_json_at(value, sb_slice(pointer)));
    return text ? text : "";
}

static int64_t int_at(const json_t *value, const char *pointer)
{
    return json_integer_value(sb_json_at(value, sb_slice(pointer)));
}

/* Whether a GET answers with the status. */
static bool answers(const daemon_under_test_t *d, const char *path, const char *headers, int status)
{
    answer_t answer = ask(d, "GET", path, headers, NULL);
    bool same = answer.status == status;
    drop(&answer);
    return same;
}

static bool readyz_has(const daemon_under_test_t *d, const char *text)
{
    answer_t answer = ask(d, "GET", "/readyz?verbose", NULL, NULL);
    bool has = answer.text && strstr(answer.text, text);
    drop(&answer);
    return has;
}

/* The request must be refused with a whole RFC 9457 document of this status, code and pointer. */
static void assert_problem(answer_t answer, int status, const char *code, const char *pointer)
{
    if (answer.status != status)
        print_error("wanted %d %s, have:\n%s\n", status, code, answer.text);
    assert_int_equal(answer.status, status);
    assert_contains(answer.text, "Content-Type: application/problem+json");
    json_t *problem = json_of(&answer);
    assert_string_equal(text_at(problem, "/code"), code);
    assert_int_equal(int_at(problem, "/status"), status);
    static const char *const members[] = {"/type",     "/title",      "/detail",
                                          "/instance", "/request_id", "/timestamp"};
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
        assert_true(text_at(problem, members[i])[0] != '\0');
    assert_string_equal(text_at(problem, "/details/0/pointer"), pointer);
    assert_null(strstr(answer.body, "SELECT")); /* never a word of SQL */
    json_decref(problem);
    drop(&answer);
}

static void start(daemon_under_test_t *d)
{
    sb_test_fork(&d->process, daemon_body, d);
}

static void stop(daemon_under_test_t *d)
{
    if (d->process.pid) {
        sb_test_signal(&d->process, SIGTERM);
        assert_true(sb_test_wait(&d->process, 20000));
        assert_int_equal(d->process.exit_code, 0);
    }
    sb_test_process_end(&d->process);
    sb_config_free(&d->config);
}

static daemon_under_test_t shared;

static int start_shared(void **state)
{
    if (sb_test_pg_start(state) != 0)
        return -1;
    (void)sb_test_pg_fresh(shared.uri);
    prepare(&shared);
    start(&shared);
    assert_soon(answers(&shared, "/v1/views", NULL, 200), 20000);
    return 0;
}

static int stop_shared(void **state)
{
    stop(&shared);
    return sb_test_pg_stop(state);
}

/* ---- events ---- */

#define ORDER(id)                                                                                            \
    "{\"order_id\":\"" id "\",\"customer_id\":\"c-1\",\"amount\":1500,\"currency\":\"EUR\","                 \
    "\"items\":[{\"sku\":\"s-1\",\"quantity\":1,\"price\":1500}]}"

static void an_event_is_appended_and_read_back_as_it_was(void **state)
{
    (void)state;
    answer_t answer = ask(&shared, "POST", "/v1/events", "X-Request-Id: my-own_1\r\n",
                          "{\"type\":\"order.created\",\"subject\":\"a-1\",\"data\":" ORDER("a-1") "}");
    assert_int_equal(answer.status, 201);
    assert_contains(answer.text, "X-Request-Id: my-own_1\r\n");
    assert_contains(answer.text, "Location: /v1/streams/order/a-1\r\n");
    json_t *appended = json_of(&answer);
    assert_int_equal(int_at(appended, "/version"), 1);
    assert_true(int_at(appended, "/seq") > 0);
    drop(&answer);

    answer = ask(&shared, "GET", "/v1/streams/order/a-1", NULL, NULL);
    assert_int_equal(answer.status, 200);
    assert_contains(answer.body, ORDER("a-1")); /* byte for byte */
    json_t *stream = json_of(&answer);
    assert_int_equal(json_array_size(json_object_get(stream, "items")), 1);
    assert_string_equal(text_at(stream, "/items/0/type"), "order.created");
    assert_string_equal(text_at(stream, "/items/0/subject"), "a-1");
    assert_string_equal(text_at(stream, "/items/0/correlationid"), "my-own_1");
    assert_string_equal(text_at(stream, "/items/0/dataschema"), "order.created.v1");
    assert_int_equal(int_at(stream, "/items/0/seq"), int_at(appended, "/seq"));
    assert_string_equal(text_at(stream, "/items/0/id"), text_at(appended, "/id")); /* made for it */
    assert_string_equal(text_at(appended, "/stream/category"), "order");
    assert_string_equal(text_at(appended, "/stream/key"), "a-1");
    json_decref(stream);
    json_decref(appended);
    drop(&answer);
}

/* Appended in two versions, read in the newest. */
static void an_old_version_is_read_as_the_newest(void **state)
{
    (void)state;
    answer_t answer =
        ask(&shared, "POST", "/v1/events", NULL,
            "{\"type\":\"order.shipped\",\"dataschema\":\"order.shipped.v1\",\"subject\":\"u-1\","
            "\"data\":{\"order_id\": \"u-1\",\"carrier\":\"dhl\",\"weight\":1.50}}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    answer = ask(&shared, "POST", "/v1/events", NULL,
                 "{\"type\":\"order.shipped\",\"subject\":\"u-1\",\"data\":{\"order_id\":\"u-1\","
                 "\"parcel\":{\"carrier\":\"ups\"}}}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/u-1", NULL, NULL);
    assert_contains(answer.body, "{\"order_id\": \"u-1\",\"weight\":1.50,\"parcel\":{\"carrier\":\"dhl\"}}");
    json_t *stream = json_of(&answer);
    assert_string_equal(text_at(stream, "/items/0/dataschema"), "order.shipped.v2");
    assert_string_equal(text_at(stream, "/items/0/writtenschema"), "order.shipped.v1");
    assert_string_equal(text_at(stream, "/items/1/dataschema"), "order.shipped.v2");
    assert_null(sb_json_at(stream, SB_SLICE("/items/1/writtenschema")));
    json_decref(stream);
    drop(&answer);
}

static bool all_events_have(const char *text)
{
    answer_t answer = ask(&shared, "GET", "/v1/events?limit=1000&types=order.created", NULL, NULL);
    bool has = answer.text && strstr(answer.text, text);
    drop(&answer);
    return has;
}

#define BATCH "Content-Type: application/cloudevents-batch+json; charset=utf-8\r\n"

static int64_t version_of(const char *stream)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/v1/streams/order/%s?limit=1000", stream);
    answer_t answer = ask(&shared, "GET", path, NULL, NULL);
    json_t *page = answer.status == 200 ? json_of(&answer) : NULL;
    int64_t count = (int64_t)json_array_size(json_object_get(page, "items"));
    json_decref(page);
    drop(&answer);
    return count;
}

static void a_batch_goes_in_whole_or_not_at_all(void **state)
{
    (void)state;
    static const char whole[] =
        "[{\"type\":\"order.created\",\"subject\":\"y-1\",\"id\":\"one\",\"source\":\"/s\","
        "\"expected_version\":\"none\",\"data\":" ORDER(
            "y-1") "},{\"type\":\"order.cancelled\",\"subject\":\"y-1\",\"id\":\"two\","
                   "\"source\":\"/"
                   "s\",\"data\":{\"order_id\":\"y-1\",\"customer_id\":\"c-1\",\"reason\":\"r\"}},"
                   "{\"type\":\"order.created\",\"subject\":\"y-2\",\"id\":\"one\","
                   "\"source\":\"/t\",\"data\":" ORDER("y-2") "}]";
    char ids[2][3][64];
    for (int i = 0; i < 2; i++) { /* the second time it is a repeat */
        answer_t answer = ask(&shared, "POST", "/v1/events", BATCH, whole);
        assert_int_equal(answer.status, i ? 200 : 201);
        json_t *items = json_of(&answer);
        assert_int_equal(json_array_size(json_object_get(items, "items")), 3);
        assert_int_equal(int_at(items, "/items/0/version"), 1);
        assert_int_equal(int_at(items, "/items/1/version"), 2);
        assert_string_equal(text_at(items, "/items/2/stream/key"), "y-2");
        assert_true(int_at(items, "/items/0/seq") < int_at(items, "/items/1/seq"));
        assert_int_equal(json_is_true(sb_json_at(items, SB_SLICE("/items/2/repeated"))), i);
        for (int k = 0; k < 3; k++) {
            char pointer[24];
            (void)snprintf(pointer, sizeof pointer, "/items/%d/id", k);
            (void)snprintf(ids[i][k], sizeof ids[i][k], "%s", text_at(items, pointer));
            assert_string_equal(ids[i][k], ids[0][k]);
        }
        json_decref(items);
        drop(&answer);
    }
    assert_string_not_equal(ids[0][0], ids[0][2]);
    assert_int_equal(version_of("y-1"), 2);

    /* Nothing of these. */
    static const char first[] =
        "{\"type\":\"order.cancelled\",\"subject\":\"y-1\",\"data\":{\"order_id\":\"y-1\","
        "\"customer_id\":\"c-1\",\"reason\":\"r\"}}";
    static const struct {
        const char *second;
        int status;
        const char *code, *pointer;
    } bad[] = {
        {"{\"type\":\"order.created\",\"subject\":\"y-3\",\"data\":{\"order_id\":7}}", 400, "invalid",
         "/1/data/order_id"},
        {"{\"type\":\"order.created\",\"subject\":\"y-2\",\"expected_version\":7,\"data\":" ORDER("y-2") "}",
         409, "conflict", "/1/expected_version"},
        {"{\"type\":\"order.created\",\"subjekt\":\"y-2\"}", 400, "invalid", "/1/subjekt"},
        {"7", 400, "invalid", "/1"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[1024];
        (void)snprintf(body, sizeof body, "[%s,%s]", first, bad[i].second);
        assert_problem(ask(&shared, "POST", "/v1/events", BATCH, body), bad[i].status, bad[i].code,
                       bad[i].pointer);
    }
    assert_problem(ask(&shared, "POST", "/v1/events", BATCH, "[]"), 400, "invalid", "");
    assert_problem(ask(&shared, "POST", "/v1/events", BATCH, first), 400, "invalid", "");
    assert_problem(ask(&shared, "POST", "/v1/events", BATCH,
                       "[{\"type\":\"order.created\",\"subject\":\"y-2\",\"id\":\"z\",\"data\":" ORDER(
                           "y-2") "},{\"type\":\"order.created\",\"subject\":\"y-2\",\"id\":\"z\","
                                  "\"data\":" ORDER("y-2") "}]"),
                   400, "invalid", "/1/id");
    assert_int_equal(version_of("y-1"), 2);
    assert_int_equal(version_of("y-2"), 1);

    /* By the header: other content under it is refused, and events without ids get the same ones. */
    char body[1024];
    (void)snprintf(body, sizeof body, "[%s,%s]", first, first);
    for (int i = 0; i < 2; i++) {
        answer_t answer = ask(&shared, "POST", "/v1/events", BATCH "Idempotency-Key: batch-7\r\n", body);
        assert_int_equal(answer.status, i ? 200 : 201);
        json_t *items = json_of(&answer);
        assert_int_equal(int_at(items, "/items/1/version"), 4);
        (void)snprintf(ids[i][0], sizeof ids[i][0], "%s", text_at(items, "/items/1/id"));
        json_decref(items);
        drop(&answer);
    }
    assert_string_equal(ids[0][0], ids[1][0]);
    (void)snprintf(body, sizeof body, "[%s]", first);
    assert_problem(ask(&shared, "POST", "/v1/events", BATCH "Idempotency-Key: batch-7\r\n", body), 422,
                   "mismatch", "");
}

/* What no Kafka record can hold is refused, whichever way it comes. */
static void an_event_that_kafka_cannot_take_is_refused_in_a_batch_too(void **state)
{
    (void)state;
    daemon_under_test_t d = {.port = 0};
    sb_buf_t event = SB_BUF_INIT, batch = SB_BUF_INIT;
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    set(&d, "kafka.message.max.bytes", "5120");
    start(&d);
    assert_soon(answers(&d, "/v1/views", NULL, 200), 20000);
    sb_buf_printf(&event,
                  "{\"type\":\"order.cancelled\",\"subject\":\"l-1\",\"data\":{\"order_id\":\"l-1\","
                  "\"customer_id\":\"c-1\",\"reason\":\"%01000d\"}}",
                  7);
    sb_buf_printf(&batch, "[%s]", sb_buf_text(&event));
    assert_problem(ask(&d, "POST", "/v1/events", NULL, sb_buf_text(&event)), 413, "too_large", "");
    assert_problem(ask(&d, "POST", "/v1/events", BATCH, sb_buf_text(&batch)), 413, "too_large", "/0");
    sb_buf_fini(&event);
    sb_buf_fini(&batch);
    stop(&d);
}

static void all_events_come_in_order_up_to_the_safe_one(void **state)
{
    (void)state;
    for (int i = 0; i < 5; i++) {
        char body[512];
        (void)snprintf(body, sizeof body, "{\"type\":\"order.created\",\"subject\":\"b-%d\",\"data\":%s}", i,
                       ORDER("b"));
        answer_t answer = ask(&shared, "POST", "/v1/events", NULL, body);
        assert_int_equal(answer.status, 201);
        drop(&answer);
    }
    assert_soon(all_events_have("\"b-4\""), 10000);
    int64_t after = 0;
    int64_t before = 0;
    int seen = 0;
    for (int page = 0; page < 1000; page++) {
        char path[96];
        (void)snprintf(path, sizeof path, "/v1/events?limit=2&after=%lld", (long long)after);
        answer_t answer = ask(&shared, "GET", path, NULL, NULL);
        assert_int_equal(answer.status, 200);
        json_t *events = json_of(&answer);
        size_t i;
        json_t *event;
        json_array_foreach(json_object_get(events, "items"), i, event)
        {
            assert_true(int_at(event, "/seq") > before);
            before = int_at(event, "/seq");
            seen++;
        }
        int64_t next = int_at(events, "/next_after");
        json_decref(events);
        drop(&answer);
        if (next <= after)
            break;
        after = next;
    }
    assert_true(seen >= 5);
}

static void a_stream_is_read_both_ways_and_in_parts(void **state)
{
    (void)state;
    static const char *const types[] = {"order.created", "order.created", "order.created"};
    for (int i = 0; i < 3; i++) {
        char body[512];
        (void)snprintf(body, sizeof body, "{\"type\":\"%s\",\"subject\":\"d/1\",\"data\":%s}", types[i],
                       ORDER("d"));
        answer_t answer = ask(&shared, "POST", "/v1/events", NULL, body);
        assert_int_equal(answer.status, 201);
        drop(&answer);
    }
    answer_t answer = ask(&shared, "GET", "/v1/streams/order/d%2F1?from=2&limit=1", NULL, NULL);
    json_t *page = json_of(&answer);
    assert_int_equal(json_array_size(json_object_get(page, "items")), 1);
    assert_int_equal(int_at(page, "/items/0/version"), 2);
    json_decref(page);
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/d%2F1?backward=true&limit=2", NULL, NULL);
    page = json_of(&answer);
    assert_int_equal(int_at(page, "/items/0/version"), 3);
    assert_int_equal(int_at(page, "/items/1/version"), 2);
    json_decref(page);
    drop(&answer);
    assert_problem(ask(&shared, "GET", "/v1/streams/order/none", NULL, NULL), 404, "not_found", "");
}

static void append_order(const daemon_under_test_t *d, const char *key)
{
    char body[512];
    (void)snprintf(body, sizeof body, "{\"type\":\"order.created\",\"subject\":\"%s\",\"data\":%s}", key,
                   ORDER("w"));
    answer_t answer = ask(d, "POST", "/v1/events", NULL, body);
    assert_int_equal(answer.status, 201);
    drop(&answer);
}

static int64_t newest(const daemon_under_test_t *d)
{
    answer_t answer = ask(d, "GET", "/v1/events?types=none.such", NULL, NULL);
    json_t *page = json_of(&answer);
    int64_t seq = int_at(page, "/next_after");
    json_decref(page);
    drop(&answer);
    return seq;
}

static void assert_count(answer_t answer, size_t items)
{
    assert_int_equal(answer.status, 200);
    json_t *page = json_of(&answer);
    if (json_array_size(json_object_get(page, "items")) != items)
        print_error("wanted %zu items, have:\n%s\n", items, answer.text);
    assert_int_equal(json_array_size(json_object_get(page, "items")), items);
    json_decref(page);
    drop(&answer);
}

#define WAITERS 40 /* ten times the workers */

static void many_wait_for_news_and_hold_up_nobody(void **state)
{
    (void)state;
    char path[128];
    int all[WAITERS], stream, other;
    append_order(&shared, "w-1");
    assert_soon(all_events_have("\"w-1\""), 10000);
    (void)snprintf(path, sizeof path, "/v1/events?wait=20s&types=*.created&after=%lld",
                   (long long)newest(&shared));
    for (int i = 0; i < WAITERS; i++)
        all[i] = send_get(&shared, path);
    stream = send_get(&shared, "/v1/streams/order/w-1?from=2&wait=20s");
    other = send_get(&shared, "/v1/streams/order/w-1?from=9&wait=1500ms");
    assert_true(answers(&shared, "/v1/streams/order/w-1", NULL, 200));
    append_order(&shared, "w-1");
    for (int i = 0; i < WAITERS; i++)
        assert_count(receive(all[i]), 1);
    assert_count(receive(stream), 1);
    assert_count(receive(other), 0); /* that version did not come in time */
    assert_problem(ask(&shared, "GET", "/v1/events?wait=1d", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/streams/order/w-1?backward=true&wait=1s", NULL, NULL), 400,
                   "invalid", "");
}

/* ---- streams ---- */

static int open_stream(const daemon_under_test_t *d, const char *path, int64_t behind)
{
    char request[512], last[64] = "";
    if (behind >= 0)
        (void)snprintf(last, sizeof last, "Last-Event-ID: %lld\r\n", (long long)behind);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, last);
    return send_bytes(d->port, request, (size_t)length);
}

/* Reads on until the text has come that often; the stream stays open. */
static void read_until(int fd, sb_buf_t *seen, const char *text, int times)
{
    for (;;) {
        int count = 0;
        for (const char *at = sb_buf_text(seen); (at = strstr(at, text)) != NULL; at++)
            count++;
        if (count >= times)
            return;
        char *room = sb_buf_reserve(seen, 65536);
        assert_non_null(room);
        ssize_t n = recv(fd, room, 65536, 0);
        if (n <= 0)
            fail_msg("%d times %s, then: %s", count, text, n == 0 ? "the end" : strerror(errno));
        seen->len += (size_t)n;
        seen->ptr[seen->len] = '\0';
    }
}

static int64_t last_id(const sb_buf_t *seen)
{
    int64_t id = -1;
    for (const char *at = sb_buf_text(seen); (at = strstr(at, "id: ")) != NULL; at++)
        id = strtoll(at + 4, NULL, 10);
    return id;
}

static void who_waits_is_answered_when_the_server_stops(void **state)
{
    (void)state;
    daemon_under_test_t d = {.port = 0};
    (void)sb_test_pg_fresh(d.uri);
    prepare(&d);
    start(&d);
    assert_soon(answers(&d, "/v1/views", NULL, 200), 20000);
    append_order(&d, "x");
    int waiter = send_get(&d, "/v1/streams/order/x?from=2&wait=30s");
    int follower = open_stream(&d, "/v1/events/stream", -1);
    sb_buf_t seen = SB_BUF_INIT;
    read_until(follower, &seen, "retry: 1000\n\n", 1);
    assert_true(answers(&d, "/v1/streams/order/x", NULL, 200));
    sb_test_sleep_ms(100); /* or it is refused as one that came too late, which is fine as well */
    int64_t before = sb_test_mono_ms();
    sb_test_signal(&d.process, SIGTERM);
    answer_t answer = receive(waiter);
    assert_true(answer.status == 200 || answer.status == 503);
    assert_true(sb_test_mono_ms() - before < 15000);
    drop(&answer);
    read_until(follower, &seen, "0\r\n\r\n", 1); /* ended as it should be, not cut off */
    (void)close(follower);
    sb_buf_fini(&seen);
    assert_true(sb_test_wait(&d.process, 20000));
    assert_int_equal(d.process.exit_code, 0);
    assert_true(sb_test_mono_ms() - before < 9000); /* also while no broker answers the relay */
    stop(&d);
}

#define STREAMS 30

static void events_come_as_a_stream(void **state)
{
    (void)state;
    int fd[STREAMS];
    sb_buf_t seen = SB_BUF_INIT;
    assert_soon(answers(&shared, "/v1/events", NULL, 200), 10000);
    for (int i = 0; i < STREAMS; i++)
        fd[i] = open_stream(&shared, "/v1/events/stream?types=order.cr*", -1);
    for (int i = 0; i < STREAMS; i++) {
        read_until(fd[i], &seen, "retry: 1000\n\n", i + 1); /* it follows from here on */
    }
    assert_contains(sb_buf_text(&seen), "Content-Type: text/event-stream");
    answer_t answer =
        ask(&shared, "POST", "/v1/events", NULL,
            "{\"type\":\"order.created\",\"subject\":\"sse-1\",\"data\":{\"order_id\":\"o\",\n"
            "\"customer_id\":\"c-1\",\r\n\"amount\":1500,\"currency\":\"EUR\",\"items\":[{\"sku\":\"s\","
            "\"quantity\":1,\"price\":1500}]}}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    for (int i = 0; i < STREAMS; i++) {
        sb_buf_reset(&seen);
        read_until(fd[i], &seen, "\"sse-1\"", 1);
        read_until(fd[i], &seen, "\n\n", 1);
        (void)close(fd[i]);
    }
    assert_contains(sb_buf_text(&seen), "\ndata: \"customer_id\"");
    int64_t behind = last_id(&seen);
    append_order(&shared, "sse-2");
    append_order(&shared, "sse-3");
    sb_buf_reset(&seen);
    int again = open_stream(&shared, "/v1/events/stream?category=order", behind);
    read_until(again, &seen, "\"sse-3\"", 1);
    assert_null(strstr(sb_buf_text(&seen), "\"sse-1\""));
    assert_contains(sb_buf_text(&seen), "\"sse-2\"");
    assert_true(last_id(&seen) > behind);
    (void)close(again);
    assert_problem(ask(&shared, "GET", "/v1/events/stream?wait=3s", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/events/stream", "Last-Event-ID: x\r\n", NULL), 400, "invalid",
                   "");
    sb_buf_fini(&seen);
}

/* It takes nothing for a while: the server neither keeps all of it nor leaves any of it out. */
static void a_slow_follower_gets_all_of_it_later(void **state)
{
    (void)state;
    enum { EVENTS = 150, NOTE = 50000 };
    char *body = malloc(NOTE + 512);
    assert_non_null(body);
    int head =
        snprintf(body, 512,
                 "{\"type\":\"order.created\",\"subject\":\"slow\",\"data\":{\"order_id\":\"o\","
                 "\"customer_id\":\"c-1\",\"amount\":1500,\"currency\":\"EUR\",\"items\":[{\"sku\":\"s\","
                 "\"quantity\":1,\"price\":1500}],\"note\":\"");
    memset(body + head, 'x', NOTE);
    (void)snprintf(body + head + NOTE, 16, "\"}}");
    int slow = open_stream(&shared, "/v1/events/stream", -1);
    sb_buf_t seen = SB_BUF_INIT;
    read_until(slow, &seen, "retry: 1000\n\n", 1);
    for (int i = 0; i < EVENTS; i++) {
        answer_t answer = ask(&shared, "POST", "/v1/events", NULL, body);
        assert_int_equal(answer.status, 201);
        drop(&answer);
    }
    assert_true(answers(&shared, "/v1/streams/order/slow?limit=1", NULL, 200));
    read_until(slow, &seen, "\"subject\":\"slow\"", EVENTS);
    int64_t before = 0;
    for (const char *at = sb_buf_text(&seen); (at = strstr(at, "id: ")) != NULL; at++) {
        char *end;
        int64_t id = strtoll(at + 4, &end, 10);
        bool sign_of_life = strncmp(end, "\n\n", 2) == 0; /* says where we are, once more */
        assert_true(sign_of_life ? id >= before : id > before);
        before = id;
    }
    (void)close(slow);
    sb_buf_fini(&seen);
    free(body);
}

/* Waiting brings nothing back: who follows from a place that is no longer kept is told, and not for ever put
 * off. */
static void a_follower_whose_place_is_gone_is_told_and_ended(void **state)
{
    (void)state;
    sb_pg_t *pg = sb_test_pg_open(shared.uri);
    sb_buf_t seen = SB_BUF_INIT;
    int follower = open_stream(&shared, "/v1/events/stream", -1);
    read_until(follower, &seen, "retry: 1000\n\n", 1);
    sb_test_pg_script(pg, "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) VALUES (1, 0, "
                          "1000000000, 'x')");
    append_order(&shared, "sse-gone");
    read_until(follower, &seen, "0\r\n\r\n", 1);
    assert_contains(sb_buf_text(&seen),
                    "event: error\ndata: {\"type\":\"https://sagabus.dev/problems/gone\"");
    assert_contains(sb_buf_text(&seen), "\"status\":410");
    assert_contains(sb_buf_text(&seen), "events up to 1000000000 are no longer kept");
    assert_null(strstr(sb_buf_text(&seen), "\"sse-gone\""));
    (void)close(follower);
    assert_problem(ask(&shared, "GET", "/v1/events/stream", "Last-Event-ID: 1\r\n", NULL), 410, "gone", "");
    sb_test_pg_script(
        pg, "SET session_replication_role = replica; DELETE FROM sagabus.event_detached WHERE leaf = 'x'");
    sb_buf_fini(&seen);
    sb_pg_close(&pg);
}

static void a_time_and_patterns_choose_events(void **state)
{
    (void)state;
    append_order(&shared, "t-1");
    assert_soon(all_events_have("\"t-1\""), 10000);
    assert_count(ask(&shared, "GET", "/v1/events?since=2999-01-01T00:00:00Z", NULL, NULL), 0);
    assert_count(ask(&shared, "GET", "/v1/events?since=2020-01-01T00:00:00%2B02:00&limit=1", NULL, NULL), 1);
    assert_count(ask(&shared, "GET", "/v1/events?types=no.*,*.such", NULL, NULL), 0);
    assert_count(ask(&shared, "GET", "/v1/events?types=no.*,order.cr*&limit=1", NULL, NULL), 1);
    assert_problem(ask(&shared, "GET", "/v1/events?since=yesterday", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/events?since=2020-01-01T00:00:00Z&after=1", NULL, NULL), 400,
                   "invalid", "");
    char many[512];
    int length = snprintf(many, sizeof many, "/v1/events?types=a.b");
    for (int i = 0; i < 32; i++)
        length += snprintf(many + length, sizeof many - (size_t)length, ",a.b");
    assert_problem(ask(&shared, "GET", many, NULL, NULL), 400, "invalid", "");
}

static void what_is_no_longer_kept_is_gone(void **state)
{
    (void)state;
    sb_pg_t *pg = sb_test_pg_open(shared.uri);
    for (int i = 0; i < 5; i++)
        append_order(&shared, "old");
    sb_test_pg_script(pg,
                      "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM sagabus.event WHERE "
                      "version < 4 AND stream_no = (SELECT stream_no FROM sagabus.stream WHERE key = 'old');"
                      "UPDATE sagabus.stream SET first_version = 4 WHERE key = 'old'; COMMIT");
    answer_t answer = ask(&shared, "GET", "/v1/streams/order/old", NULL, NULL);
    json_t *problem = json_of(&answer);
    assert_int_equal(int_at(problem, "/first_version"), 4);
    json_decref(problem);
    assert_problem(answer, 410, "gone", "");
    assert_count(ask(&shared, "GET", "/v1/streams/order/old?from=4", NULL, NULL), 2);
    assert_count(ask(&shared, "GET", "/v1/streams/order/old?backward=true", NULL, NULL), 2);
    sb_pg_close(&pg);
}

#define ERASE(body) ask(&shared, "POST", "/v1/events/erase", NULL, body)

/* The body goes, also for a reader of a newer version; the place stays, and who asked for it is on record. */
static void a_body_is_erased_on_request(void **state)
{
    (void)state;
    append_order(&shared, "gdpr");
    append_order(&shared, "gdpr");
    answer_t answer =
        ERASE("{\"stream\":\"order/gdpr\",\"reason\":\"asked for by the person\",\"dry_run\":true}");
    assert_int_equal(answer.status, 200);
    assert_contains(answer.body, "\"erased\":2,\"erased_before\":0,\"first_version\":1,\"dry_run\":true");
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/gdpr", NULL, NULL);
    json_t *page = json_of(&answer);
    char one[128];
    (void)snprintf(one, sizeof one, "{\"seq\":%lld,\"reason\":\"a password\"}",
                   (long long)int_at(page, "/items/0/seq"));
    assert_string_equal(text_at(page, "/items/1/data/order_id"), "w");
    json_decref(page);
    drop(&answer);
    answer = ERASE(one);
    assert_contains(answer.body, "{\"stream\":\"order/gdpr\",\"erased\":1,\"erased_before\":0,");
    drop(&answer);
    answer = ERASE("{\"stream\":\"order/gdpr\",\"reason\":\"asked for by the person\"}");
    assert_contains(answer.body, "\"erased\":1,\"erased_before\":1,");
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/gdpr", NULL, NULL);
    page = json_of(&answer);
    assert_int_equal(json_array_size(json_object_get(page, "items")), 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(json_is_null(json_object_get(json_array_get(json_object_get(page, "items"), i), "data")));
    json_decref(page);
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/audit", NULL, NULL);
    assert_contains(answer.body, "\"event.erase\"");
    assert_contains(answer.body, "asked for by the person");
    drop(&answer);
    assert_problem(ERASE("{\"stream\":\"order/gdpr\"}"), 400, "invalid", "/reason");
    assert_problem(ERASE("{\"reason\":\"x\"}"), 400, "invalid", "");
    assert_problem(ERASE("{\"stream\":\"gdpr\",\"reason\":\"x\"}"), 400, "invalid", "/stream");
    assert_problem(ERASE("{\"seq\":0,\"reason\":\"x\"}"), 400, "invalid", "/seq");
    assert_problem(ERASE("{\"seq\":999999999,\"reason\":\"x\"}"), 404, "not_found", "");
    assert_problem(ERASE("{\"stream\":\"order/nobody\",\"reason\":\"x\"}"), 404, "not_found", "");
    assert_problem(ERASE("{\"stream\":\"saga/1\",\"reason\":\"x\"}"), 501, "unsupported", "");
}

static void the_same_id_is_appended_once(void **state)
{
    (void)state;
    static const char body[] = "{\"type\":\"order.created\",\"subject\":\"e-1\",\"id\":\"mine-1\","
                               "\"source\":\"/shop\",\"data\":" ORDER("e-1") "}";
    answer_t first = ask(&shared, "POST", "/v1/events", NULL, body);
    answer_t again = ask(&shared, "POST", "/v1/events", NULL, body);
    assert_int_equal(first.status, 201);
    assert_int_equal(again.status, 200);
    json_t *a = json_of(&first);
    json_t *b = json_of(&again);
    assert_int_equal(int_at(a, "/seq"), int_at(b, "/seq"));
    json_decref(a);
    json_decref(b);
    drop(&first);
    drop(&again);
    assert_problem(
        ask(&shared, "POST", "/v1/events", NULL,
            "{\"type\":\"order.created\",\"subject\":\"e-1\",\"id\":\"mine-1\",\"source\":\"/shop\","
            "\"data\":" ORDER("other") "}"),
        422, "mismatch", "/id");
}

static void a_version_that_is_not_the_stream_s_is_a_conflict(void **state)
{
    (void)state;
    answer_t answer = ask(&shared, "POST", "/v1/events", NULL,
                          "{\"type\":\"order.created\",\"subject\":\"f-1\",\"expected_version\":\"none\","
                          "\"data\":" ORDER("f-1") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    assert_problem(ask(&shared, "POST", "/v1/events", NULL,
                       "{\"type\":\"order.created\",\"subject\":\"f-1\",\"expected_version\":7,"
                       "\"data\":" ORDER("f-1") "}"),
                   409, "conflict", "/expected_version");
}

static void structured_cloudevents_are_taken(void **state)
{
    (void)state;
    answer_t answer =
        ask(&shared, "POST", "/v1/events", "Content-Type: application/cloudevents+json\r\n",
            "{\"specversion\":\"1.0\",\"type\":\"order.created\",\"source\":\"/shop\",\"id\":\"ce-1\","
            "\"subject\":\"g-1\",\"time\":\"2026-11-21T05:19:35Z\","
            "\"datacontenttype\":\"application/json\",\"data\":" ORDER("g-1") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
}

/* ---- what is refused ---- */

static void bad_events_are_refused_with_a_pointer(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *pointer;
    } cases[] = {
        {"{\"subject\":\"x\",\"data\":{}}", "/type"},
        {"{\"type\":\"order.created\",\"subject\":\"x\"}", "/data"},
        {"{\"type\":\"order.created\",\"data\":" ORDER("x") "}", "/subject"},
        {"{\"type\":\"order.created\",\"subject\":\"x\",\"dta\":1,\"data\":" ORDER("x") "}", "/dta"},
        {"{\"type\":5,\"subject\":\"x\",\"data\":{}}", "/type"},
        {"{\"type\":\"order.created\",\"subject\":\"x\",\"expected_version\":-1,\"data\":" ORDER("x") "}",
         "/expected_version"},
        {"{\"type\":\"order.created\",\"subject\":\"x\",\"time\":\"today\",\"data\":" ORDER("x") "}",
         "/time"},
        {"{\"type\":\"order.created\",\"subject\":\"x\",\"data\":{\"order_id\":\"x\",\"customer_id\":\"c\","
         "\"amount\":\"1500\",\"currency\":\"EUR\",\"items\":[{\"sku\":\"s\",\"quantity\":1,\"price\":1}]}}",
         "/data/amount"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_problem(ask(&shared, "POST", "/v1/events", NULL, cases[i].body), 400, "invalid",
                       cases[i].pointer);
}

static void bodies_that_are_not_an_object_are_refused(void **state)
{
    (void)state;
    static const char *const bodies[] = {"",
                                         "nonsense",
                                         "[]",
                                         "5",
                                         "{\"type\":",
                                         "{\"a\":1}trailing",
                                         "{\"type\":\"a.b\",\"type\":\"a.b\",\"subject\":\"x\",\"data\":{}}"};
    for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
        answer_t answer = ask(&shared, "POST", "/v1/events", NULL, bodies[i]);
        if (answer.status != 400)
            print_error("body %s: %s\n", bodies[i], answer.text);
        assert_int_equal(answer.status, 400);
        drop(&answer);
    }
}

static void limits_hold(void **state)
{
    (void)state;
    /* depth */
    sb_buf_t body = SB_BUF_INIT;
    sb_buf_add_text(&body, "{\"type\":\"order.created\",\"subject\":\"x\",\"data\":");
    for (int i = 0; i < 5000; i++)
        sb_buf_add_char(&body, '[');
    for (int i = 0; i < 5000; i++)
        sb_buf_add_char(&body, ']');
    sb_buf_add_char(&body, '}');
    answer_t answer = ask(&shared, "POST", "/v1/events", NULL, sb_buf_text(&body));
    assert_int_equal(answer.status, 400);
    drop(&answer);
    /* size */
    sb_buf_reset(&body);
    sb_buf_add_text(&body, "{\"type\":\"");
    for (int i = 0; i < 100000; i++)
        sb_buf_add_char(&body, 'a');
    sb_buf_add_text(&body, "\"}");
    assert_problem(ask(&shared, "POST", "/v1/events", NULL, sb_buf_text(&body)), 413, "too_large", "");
    for (int i = 0; i < 1000000; i++) /* far over the limit it does not even come in */
        sb_buf_add_char(&body, ' ');
    answer = ask(&shared, "POST", "/v1/events", NULL, sb_buf_text(&body));
    assert_true(answer.status == 0 || answer.status == 413);
    drop(&answer);
    /* head */
    sb_buf_reset(&body);
    sb_buf_add_text(&body, "X-Long: ");
    for (int i = 0; i < 100000; i++)
        sb_buf_add_char(&body, 'a');
    sb_buf_add_text(&body, "\r\n");
    answer = ask(&shared, "GET", "/version", sb_buf_text(&body), NULL);
    assert_true(answer.status == 0 || answer.status >= 400);
    drop(&answer);
    sb_buf_fini(&body);
    assert_true(answers(&shared, "/livez", NULL, 200));
}

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
    for (int i = 0; i < 200; i++) {
        slow[i] = connect_to(shared.port);
        assert_true(slow[i] >= 0);
        (void)send(slow[i], "POST /v1/events HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{", 50, MSG_NOSIGNAL);
    }
    int64_t begin_ms = sb_test_mono_ms();
    for (int i = 0; i < 50; i++)
        assert_true(answers(&shared, "/v1/streams/order/a-1", NULL, 200));
    assert_true(sb_test_mono_ms() - begin_ms < 5000);
    for (int i = 0; i < 200; i++)
        (void)close(slow[i]);
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
        (void)snprintf(body, sizeof body, "{\"amount\":%d}", i);
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
    assert_soon(answers(&shared, "/v1/views", NULL, 401), 10000); /* the keys are known now */
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
    sb_http_call_t get = {.method = "GET", .url = url, .timeout_ms = 5000};
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
    assert_true(sb_test_wait(&d->process, 20000));
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
    sb_test_pg_script(pg, "INSERT INTO sagabus.migration (name, hash) VALUES ('9999_future', '\\x00')");
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
        cmocka_unit_test(an_event_is_appended_and_read_back_as_it_was),
        cmocka_unit_test(an_old_version_is_read_as_the_newest),
        cmocka_unit_test(a_batch_goes_in_whole_or_not_at_all),
        cmocka_unit_test(an_event_that_kafka_cannot_take_is_refused_in_a_batch_too),
        cmocka_unit_test(all_events_come_in_order_up_to_the_safe_one),
        cmocka_unit_test(a_stream_is_read_both_ways_and_in_parts),
        cmocka_unit_test(many_wait_for_news_and_hold_up_nobody),
        cmocka_unit_test(who_waits_is_answered_when_the_server_stops),
        cmocka_unit_test(events_come_as_a_stream),
        cmocka_unit_test(a_follower_whose_place_is_gone_is_told_and_ended),
        cmocka_unit_test(a_time_and_patterns_choose_events),
        cmocka_unit_test(what_is_no_longer_kept_is_gone),
        cmocka_unit_test(a_body_is_erased_on_request),
        cmocka_unit_test(the_same_id_is_appended_once),
        cmocka_unit_test(a_version_that_is_not_the_stream_s_is_a_conflict),
        cmocka_unit_test(structured_cloudevents_are_taken),
        cmocka_unit_test(bad_events_are_refused_with_a_pointer),
        cmocka_unit_test(bodies_that_are_not_an_object_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(paths_methods_types_and_parameters_that_are_not_known),
        cmocka_unit_test(a_filter_beside_the_key_counts),
        cmocka_unit_test(a_harmful_request_id_is_replaced),
        cmocka_unit_test(bytes_that_are_not_http_do_no_harm),
        cmocka_unit_test(a_slow_client_holds_up_nobody),
        cmocka_unit_test(connections_have_a_ceiling),
        cmocka_unit_test(a_saga_that_cannot_be_is_refused),
        cmocka_unit_test(acts_on_many_sagas_are_checked_and_tried),
        cmocka_unit_test(a_key_that_does_not_fit_is_refused_and_not_cut),
        cmocka_unit_test(a_view_follows_what_was_appended),
        cmocka_unit_test(participants_are_listed),
        cmocka_unit_test(a_view_answers_what_its_reader_wrote),
        cmocka_unit_test(the_system_pages),
        cmocka_unit_test(every_metric_is_documented_and_every_documented_one_is_there),
        cmocka_unit_test(a_slow_follower_gets_all_of_it_later),
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
