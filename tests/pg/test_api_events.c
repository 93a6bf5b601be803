/* Events over HTTP: appended, read, followed, waited for and erased, and what is refused in which words.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "tests/pg/api_world.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- events ---- */

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

static void all_events_are_read_backward_in_parts(void **state)
{
    (void)state;
    int64_t newest_seq = newest(&shared), seen = INT64_MAX, count = 0;
    char path[96] = "/v1/events?backward=true&limit=3";
    for (bool more = true; more;) {
        answer_t answer = ask(&shared, "GET", path, NULL, NULL);
        assert_int_equal(answer.status, 200);
        json_t *page = json_of(&answer);
        const json_t *items = json_object_get(page, "items");
        for (size_t i = 0; i < json_array_size(items); i++, count++) {
            int64_t seq = int_at(json_array_get(items, i), "/seq");
            assert_true(seq < seen);
            assert_true(count > 0 || seq >= newest_seq);
            seen = seq;
        }
        more = !json_is_null(json_object_get(page, "next_before"));
        (void)snprintf(path, sizeof path, "/v1/events?backward=true&limit=3&before=%lld",
                       (long long)int_at(page, "/next_before"));
        json_decref(page);
        drop(&answer);
    }
    assert_true(count >= 3);
    assert_count(ask(&shared, "GET", "/v1/events?backward=true&limit=1&types=order.cr*", NULL, NULL), 1);
    assert_problem(ask(&shared, "GET", "/v1/events?backward=true&after=1", NULL, NULL), 400, "invalid", "");
    assert_problem(ask(&shared, "GET", "/v1/events?backward=true&wait=1s", NULL, NULL), 400, "invalid", "");
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
    int waiter = send_get(&d, "/v1/streams/order/x?from=2&wait=60s");
    int follower = open_stream(&d, "/v1/events/stream", -1);
    sb_buf_t seen = SB_BUF_INIT;
    read_until(follower, &seen, "retry: 1000\n\n", 1);
    assert_true(answers(&d, "/v1/streams/order/x", NULL, 200));
    sb_test_sleep_ms(100); /* or it is refused as one that came too late, which is fine as well */
    int64_t before = sb_test_mono_ms();
    sb_test_signal(&d.process, SIGTERM);
    answer_t answer = receive(waiter);
    assert_true(answer.status == 200 || answer.status == 503);
    assert_true(sb_test_mono_ms() - before < 30000); /* as long as it was to wait */
    drop(&answer);
    read_until(follower, &seen, "0\r\n\r\n", 1); /* ended as it should be, not cut off */
    (void)close(follower);
    sb_buf_fini(&seen);
    assert_true(sb_test_wait(&d.process, 60000));
    assert_int_equal(d.process.exit_code, 0);
    print_message("stopped within %d ms\n", (int)(sb_test_mono_ms() - before));
    assert_true(sb_test_mono_ms() - before < 30000); /* also while no broker answers the relay */
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

static long resident_kb(pid_t pid)
{
    char path[64], line[256];
    long kb = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *status = fopen(path, "r");
    assert_non_null(status);
    while (fgets(line, sizeof line, status))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    (void)fclose(status);
    assert_true(kb > 0);
    return kb;
}

/* Who has left is let go of when there is news. */
static void come_and_go(int followers)
{
    for (int i = 0; i < followers; i++) {
        sb_buf_t seen = SB_BUF_INIT;
        int fd = open_stream(&shared, "/v1/events/stream", -1);
        read_until(fd, &seen, "retry: 1000\n\n", 1);
        (void)close(fd);
        sb_buf_fini(&seen);
    }
    append_order(&shared, "news");
}

#ifdef __SANITIZE_ADDRESS__
#define GROWS_AS_IT_IS true /* what is freed stays for a while, so that a use of it is seen */
#else
#define GROWS_AS_IT_IS false
#endif

/* The library takes its request off the connection, and leaves it to us. */
static void a_follower_that_leaves_leaves_nothing_behind(void **state)
{
    enum { FOLLOWERS = 400, TIMES = 5 };
    (void)state;
    come_and_go(FOLLOWERS);
    come_and_go(FOLLOWERS);
    long before = resident_kb(shared.process.pid);
    for (int i = 0; i < TIMES; i++)
        come_and_go(FOLLOWERS);
    long grown = resident_kb(shared.process.pid) - before;
    assert_true(GROWS_AS_IT_IS || grown < FOLLOWERS * TIMES / 2);
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
    assert_contains(answer.body, "\"erased\":2,\"erased_before\":0,\"first_version\":1,\"snapshots\":0,"
                                 "\"dead_letters\":0,\"views\":[");
    assert_contains(answer.body, "\"dry_run\":true");
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

#define TRACE "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define HEAD  "ce-specversion: 1.0\r\nCE-Type: order.created\r\nce-source: /shop\r\n"

/* Attributes in headers, percent-encoded where they must be; the same event in structured mode is a repeat.
 */
static void binary_cloudevents_are_taken(void **state)
{
    (void)state;
    answer_t answer =
        ask(&shared, "POST", "/v1/events",
            HEAD "ce-id: bin-1\r\nce-subject: M%C3%BCller%20%25\r\nce-time: 2026-11-21T05:19:35Z\r\n"
                 "ce-partitionkey: \"a \\\"b\\\" 5%\"\r\nce-dataschema: order.created.v1\r\n"
                 "traceparent: " TRACE "\r\n",
            " " ORDER("h-1") "\n");
    assert_int_equal(answer.status, 201);
    assert_contains(answer.text, "Location: /v1/streams/order/M%C3%BCller%20%25\r\n");
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/M%C3%BCller%20%25", NULL, NULL);
    assert_contains(answer.body, ORDER("h-1"));
    json_t *stream = json_of(&answer);
    assert_string_equal(text_at(stream, "/items/0/subject"), "M\xc3\xbcller %");
    assert_string_equal(text_at(stream, "/items/0/source"), "/shop");
    assert_string_equal(text_at(stream, "/items/0/time"), "2026-11-21T05:19:35.000000Z");
    assert_string_equal(text_at(stream, "/items/0/partitionkey"), "a \"b\" 5%");
    assert_string_equal(text_at(stream, "/items/0/traceparent"), TRACE);
    json_decref(stream);
    drop(&answer);
    answer = ask(
        &shared, "POST", "/v1/events", "Content-Type: application/cloudevents+json\r\nce-type: not.this\r\n",
        "{\"specversion\":\"1.0\",\"type\":\"order.created\",\"source\":\"/shop\",\"id\":\"bin-1\","
        "\"subject\":\"M\xc3\xbcller %\",\"time\":\"2026-11-21T05:19:35Z\","
        "\"dataschema\":\"order.created.v1\",\"partitionkey\":\"a \\\"b\\\" 5%\",\"traceparent\":\"" TRACE
        "\",\"data\":" ORDER("h-1") "}");
    assert_int_equal(answer.status, 200);
    drop(&answer);
}

static void a_bad_binary_cloudevent_is_refused_and_says_how_it_was_read(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *body, *pointer, *says;
    } cases[] = {
        {HEAD "ce-subject: h-2\r\nce-sequence: 7\r\n", ORDER("h-2"), "/sequence", "ce- headers"},
        {HEAD "ce-subject: h-2\r\nce-subject: h-3\r\n", ORDER("h-2"), "/subject", "twice"},
        {HEAD "ce-subject: h-%ff\r\n", ORDER("h-2"), "", "UTF-8"},
        {HEAD "ce-subject: h-2\r\nce-data: 1\r\n", ORDER("h-2"), "", "the body is the data"},
        {HEAD "ce-subject: h-2\r\nce-expected_version: none\r\n", ORDER("h-2"), "", "JSON form"},
        {HEAD "ce-subject: h-2\r\nce-traceparent: 00-1-2-01\r\n", ORDER("h-2"), "/traceparent", "W3C"},
        {HEAD "ce-subject: h-2\r\n", "nonsense", "", "the event's data"},
        {HEAD "ce-subject: h-2\r\n", "", "/data", "data"},
        {HEAD, ORDER("h-2"), "/subject", "subject"},
        {"ce-id: 1\r\nce-subject: h-2\r\n",
         "{\"type\":\"order.created\",\"subject\":\"h-2\",\"data\":" ORDER("h-2") "}", "/type", "type"},
        {HEAD "ce-subject: h-2\r\n", "{\"order_id\":7}", "/data/order_id", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        answer_t answer = ask(&shared, "POST", "/v1/events", cases[i].headers, cases[i].body);
        assert_contains(answer.body, cases[i].says);
        assert_problem(answer, 400, "invalid", cases[i].pointer);
    }
}

/* One that the client means is refused; one that came with the request is as if it had not. */
static void a_trace_context_that_is_none_is_not_kept(void **state)
{
    (void)state;
    assert_problem(ask(&shared, "POST", "/v1/events", NULL,
                       "{\"type\":\"order.created\",\"subject\":\"t-1\",\"traceparent\":\"mine\","
                       "\"data\":" ORDER("t-1") "}"),
                   400, "invalid", "/traceparent");
    answer_t answer = ask(&shared, "POST", "/v1/events", "traceparent: 00-ABC-1-01\r\n",
                          "{\"type\":\"order.created\",\"subject\":\"t-1\",\"data\":" ORDER("t-1") "}");
    assert_int_equal(answer.status, 201);
    drop(&answer);
    answer = ask(&shared, "GET", "/v1/streams/order/t-1", NULL, NULL);
    json_t *stream = json_of(&answer);
    assert_null(sb_json_at(stream, SB_SLICE("/items/0/traceparent")));
    json_decref(stream);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_event_is_appended_and_read_back_as_it_was),
        cmocka_unit_test(an_old_version_is_read_as_the_newest),
        cmocka_unit_test(a_batch_goes_in_whole_or_not_at_all),
        cmocka_unit_test(an_event_that_kafka_cannot_take_is_refused_in_a_batch_too),
        cmocka_unit_test(all_events_come_in_order_up_to_the_safe_one),
        cmocka_unit_test(all_events_are_read_backward_in_parts),
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
        cmocka_unit_test(binary_cloudevents_are_taken),
        cmocka_unit_test(a_bad_binary_cloudevent_is_refused_and_says_how_it_was_read),
        cmocka_unit_test(a_trace_context_that_is_none_is_not_kept),
        cmocka_unit_test(bad_events_are_refused_with_a_pointer),
        cmocka_unit_test(bodies_that_are_not_an_object_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(a_follower_that_leaves_leaves_nothing_behind),
        cmocka_unit_test(a_slow_follower_gets_all_of_it_later),
    };
    return cmocka_run_group_tests_name("api_events", tests, start_shared, stop_shared);
}
