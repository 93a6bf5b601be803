/* Against a real server on the loopback that answers, breaks off and keeps silent.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/http_multi.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RESULTS_MAX 4096

/* What came back, in order. */
typedef struct got {
    pthread_mutex_t lock;
    int count;
    struct {
        sb_code_t code;
        int status;
        int retry_after_s;
        char body[64];
        char outcome[32];
        char error[256];
    } one[RESULTS_MAX];
    int by_code[SB_CODE_COUNT];
    int64_t bytes;
} got_t;

static got_t got;

static void note(void *context, const sb_http_result_t *result)
{
    (void)pthread_mutex_lock(&got.lock);
    if (got.count < RESULTS_MAX) {
        (void)context;
        got.one[got.count].code = result->code;
        got.one[got.count].status = result->status;
        got.one[got.count].retry_after_s = result->retry_after_s;
        (void)snprintf(got.one[got.count].body, 64, "%.*s",
                       (int)(result->body.len > 63 ? 63 : result->body.len), result->body.ptr);
        sb_slice_t outcome = sb_http_result_header(result, "ce-sagaoutcome");
        (void)snprintf(got.one[got.count].outcome, 32, "%.*s", SB_SLICE_ARG(outcome));
        (void)snprintf(got.one[got.count].error, 256, "%s", result->err ? result->err->message : "");
    }
    got.count++;
    got.by_code[result->code]++;
    got.bytes += (int64_t)result->body.len;
    (void)pthread_mutex_unlock(&got.lock);
}

static int count(void)
{
    (void)pthread_mutex_lock(&got.lock);
    int n = got.count;
    (void)pthread_mutex_unlock(&got.lock);
    return n;
}

static void forget(void)
{
    pthread_mutex_t lock = got.lock;
    memset(&got, 0, sizeof got);
    got.lock = lock;
}

/* The path says what to do: /200, /echo, /hang-up, /half, /silent, /slow, /big, /close. */
static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    (void)context;
    const char *what = request->path + 1;
    answer->status = atoi(what);
    if (strcmp(what, "echo") == 0) {
        sb_slice_t type = sb_peer_header(request, "Content-Type");
        sb_slice_t token = sb_peer_header(request, "X-Token");
        sb_buf_printf(&answer->body, "%s %.*s %.*s %.*s", request->method, SB_SLICE_ARG(type),
                      SB_SLICE_ARG(token), SB_SLICE_ARG(request->body));
    } else if (strcmp(what, "hang-up") == 0) {
        answer->how = SB_PEER_HANG_UP;
    } else if (strcmp(what, "half") == 0) {
        answer->how = SB_PEER_HALF;
        sb_buf_add_text(&answer->body, "0123456789");
    } else if (strcmp(what, "silent") == 0) {
        answer->how = SB_PEER_SILENT;
    } else if (strcmp(what, "slow") == 0) {
        answer->delay_ms = 30;
    } else if (strcmp(what, "big") == 0) {
        for (int i = 0; i < 3000; i++)
            sb_buf_add_text(&answer->body, "0123456789");
    } else if (strcmp(what, "close") == 0) {
        answer->close = true;
    } else if (strcmp(what, "retry-seconds") == 0) {
        answer->status = 503;
        (void)strcpy(answer->headers, "Retry-After: 7\r\n");
    } else if (strcmp(what, "retry-date") == 0) {
        answer->status = 429;
        (void)strcpy(answer->headers, "retry-after: Fri, 01 Jan 2100 00:00:00 GMT\r\n");
    } else if (strcmp(what, "failure") == 0) {
        answer->status = 409;
        (void)strcpy(answer->headers, "CE-SagaOutcome:   failure  \r\nLocation: http://127.0.0.1:1/\r\n");
    } else if (strcmp(what, "moved") == 0) {
        answer->status = 302;
        (void)strcpy(answer->headers, "Location: /200\r\n");
    }
}

typedef struct fixture {
    sb_peer_t *peer;
    sb_http_multi_t *multi;
    sb_error_t err;
} fixture_t;

static void start(fixture_t *f, const sb_http_multi_config_t *config)
{
    *f = (fixture_t){.err = SB_ERROR_INIT};
    forget();
    f->peer = sb_peer_start(0, play, NULL);
    assert_ok(sb_http_multi_start(&f->multi, config, &f->err), &f->err);
}

static void stop(fixture_t *f)
{
    sb_http_multi_stop(&f->multi);
    sb_peer_stop(&f->peer);
}

static sb_code_t call(fixture_t *f, const char *path, uint32_t timeout_ms, uint64_t *id)
{
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", sb_peer_port(f->peer), path);
    sb_http_call_t one = {.method = "POST", .url = url, .body = SB_SLICE("{}"), .timeout_ms = timeout_ms};
    return sb_http_multi_send(f->multi, &one, note, NULL, id, &f->err);
}

static void one(fixture_t *f, const char *path, uint32_t timeout_ms)
{
    int before = count();
    assert_ok(call(f, path, timeout_ms, NULL), &f->err);
    assert_soon(count() == before + 1, 20000);
}

static void what_is_sent_arrives_and_comes_back(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, NULL);
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/echo", sb_peer_port(f.peer));
    const char *headers[] = {"X-Token: t", NULL};
    sb_http_call_t post = {
        .method = "POST", .url = url, .body = SB_SLICE("{\"a\":1}"), .headers = headers, .timeout_ms = 20000};
    assert_ok(sb_http_multi_send(f.multi, &post, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 1, 20000);
    assert_string_equal(got.one[0].body, "POST application/json t {\"a\":1}");
    /* The same slot for another method: nothing of the last call is left. */
    sb_http_call_t get = {.method = "GET", .url = url, .timeout_ms = 20000};
    assert_ok(sb_http_multi_send(f.multi, &get, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 2, 20000);
    assert_string_equal(got.one[1].body, "GET   ");
    assert_int_equal(sb_peer_connections(f.peer), 1);
    stop(&f);
}

static void every_end_has_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        sb_code_t code;
        int status;
    } ends[] = {{"200", SB_OK, 200},
                {"204", SB_OK, 204},
                {"404", SB_OK, 404},
                {"500", SB_OK, 500},
                {"moved", SB_OK, 302},
                {"hang-up", SB_UNKNOWN_OUTCOME, 0},
                {"half", SB_UNKNOWN_OUTCOME, 200},
                {"silent", SB_TIMEOUT, 0},
                {"big", SB_TOO_LARGE, 200}};
    fixture_t f;
    start(&f, &(sb_http_multi_config_t){.answer_bytes_max = 20000});
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        one(&f, ends[i].path, ends[i].code == SB_TIMEOUT ? 2000 : 20000);
        assert_int_equal(got.one[i].code, ends[i].code);
        assert_int_equal(got.one[i].status, ends[i].status);
    }
    /* 302 was not followed. A kept connection that closes without a byte is replaced: hang-up came twice. */
    assert_int_equal(sb_peer_requests(f.peer), (int)(sizeof ends / sizeof ends[0]) + 1);
    stop(&f);
}

static void headers_of_the_answer_can_be_read(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, NULL);
    one(&f, "failure", 20000);
    assert_int_equal(got.one[0].status, 409);
    assert_string_equal(got.one[0].outcome, "failure");
    assert_int_equal(got.one[0].retry_after_s, -1);
    one(&f, "retry-seconds", 20000);
    assert_int_equal(got.one[1].retry_after_s, 7);
    one(&f, "retry-date", 20000);
    assert_int_equal(got.one[2].retry_after_s, 21600);
    stop(&f);
}

/* The difference decides whether a step may count as never tried. */
static void nothing_was_sent_when_there_is_no_connection(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, &(sb_http_multi_config_t){.host_connections_max = 1});
    int port = sb_peer_port(f.peer);
    sb_http_call_t refused = {.method = "POST", .url = "http://127.0.0.1:1/", .body = SB_SLICE("{}")};
    assert_ok(sb_http_multi_send(f.multi, &refused, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 1, 20000);
    assert_int_equal(got.one[0].code, SB_UNAVAILABLE);
    sb_http_call_t secret = {
        .method = "POST", .url = "http://user:hidden@127.0.0.1:1/path?key=hidden", .body = SB_SLICE("{}")};
    assert_ok(sb_http_multi_send(f.multi, &secret, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 2, 20000);
    assert_contains(got.one[1].error, "http://127.0.0.1:1/path: ");
    assert_null(strstr(got.one[1].error, "hidden"));
    forget();
    assert_ok(sb_http_multi_send(f.multi, &refused, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 1, 20000);
    sb_http_call_t scheme = {.method = "POST", .url = "file:///etc/passwd", .body = SB_SLICE("{}")};
    assert_ok(sb_http_multi_send(f.multi, &scheme, note, NULL, NULL, &f.err), &f.err);
    assert_soon(count() == 2, 20000);
    assert_int_equal(got.one[1].code, SB_INVALID);
    /* A call that waits for the only connection until its time is over. */
    assert_ok(call(&f, "silent", 20000, NULL), &f.err);
    assert_soon(sb_peer_requests(f.peer) == 1, 20000);
    assert_ok(call(&f, "200", 200, NULL), &f.err);
    assert_soon(count() == 3, 20000);
    assert_int_equal(got.one[2].code, SB_UNAVAILABLE);
    assert_int_equal(sb_peer_requests(f.peer), 1);
    sb_peer_stop(&f.peer); /* killed with a call in hand */
    assert_soon(count() == 4, 20000);
    assert_int_equal(got.one[3].code, SB_UNKNOWN_OUTCOME);
    f.peer = sb_peer_start(port, play, NULL);
    one(&f, "200", 20000);
    assert_int_equal(got.one[4].code, SB_OK);
    stop(&f);
}

/* A server closes kept connections as it likes: the call goes out again on a new one. */
static void a_kept_connection_that_was_closed_is_replaced(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, NULL);
    for (int i = 0; i < 20; i++) {
        one(&f, "close", 20000);
        assert_int_equal(got.one[i].code, SB_OK);
    }
    stop(&f);
}

static void calls_share_kept_connections_within_the_bound(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, &(sb_http_multi_config_t){.host_connections_max = 8, .calls_max = 400});
    for (int i = 0; i < 400; i++)
        assert_ok(call(&f, i % 8 ? "200" : "slow", 30000, NULL), &f.err);
    assert_soon(count() == 400, 30000);
    assert_int_equal(got.by_code[SB_OK], 400);
    assert_in_range(sb_peer_most_at_once(f.peer), 2, 8);
    assert_in_range(sb_peer_connections(f.peer), 2, 8);
    stop(&f);
}

static void calls_are_bounded(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, &(sb_http_multi_config_t){.calls_max = 3});
    for (int i = 0; i < 3; i++)
        assert_ok(call(&f, "silent", 20000, NULL), &f.err);
    assert_code(SB_BUSY, call(&f, "200", 20000, NULL), &f.err);
    sb_http_multi_stop(&f.multi);
    assert_int_equal(got.by_code[SB_STOPPED], 3); /* each exactly once */
    assert_int_equal(got.count, 3);
    stop(&f);
}

static void a_cancelled_call_ends_once(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, &(sb_http_multi_config_t){.host_connections_max = 4});
    uint64_t id[200], stale = 0;
    for (int i = 0; i < 200; i++) {
        assert_ok(call(&f, i % 2 ? "silent" : "200", 30000, &id[i]), &f.err);
        if (i % 3 == 0)
            sb_http_multi_cancel(f.multi, id[i]); /* often still in the inbox */
    }
    for (int i = 0; i < 200; i++)
        sb_http_multi_cancel(f.multi, id[i]);
    assert_soon(count() == 200, 30000);
    assert_int_equal(got.by_code[SB_OK] + got.by_code[SB_STOPPED], 200);
    assert_true(got.by_code[SB_STOPPED] >= 100);
    /* An old id does not hit the call that has its slot now. */
    assert_ok(call(&f, "slow", 30000, &stale), &f.err);
    for (int i = 0; i < 200; i++)
        sb_http_multi_cancel(f.multi, id[i]);
    assert_soon(count() == 201, 30000);
    assert_int_equal(got.one[200].code, SB_OK);
    sb_http_multi_cancel(f.multi, UINT64_MAX);
    stop(&f);
}

static void control_characters_are_refused(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, NULL);
    const char *headers[] = {"X: a\r\nInjected: b", NULL};
    sb_http_call_t bad = {.method = "POST", .url = "http://127.0.0.1:1/", .headers = headers};
    assert_code(SB_INVALID, sb_http_multi_send(f.multi, &bad, note, NULL, NULL, &f.err), &f.err);
    bad = (sb_http_call_t){.method = "POST", .url = "http://127.0.0.1:1/\n"};
    assert_code(SB_INVALID, sb_http_multi_send(f.multi, &bad, note, NULL, NULL, &f.err), &f.err);
    assert_int_equal(count(), 0);
    stop(&f);
}

/* ---- a socket that cannot be watched ---- */

static _Atomic int refusals;

/* Instead of the C library's: refuses to add so many sockets. */
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event) // NOLINT(readability-inconsistent-*)
{
    if (op == EPOLL_CTL_ADD && atomic_load(&refusals) > 0) {
        (void)atomic_fetch_sub(&refusals, 1);
        errno = ENOSPC; /* fs.epoll.max_user_watches */
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

static void a_socket_that_cannot_be_watched_hurts_no_other_call(void **state)
{
    (void)state;
    fixture_t f;
    start(&f, NULL);
    assert_ok(call(&f, "silent", 60000, NULL), &f.err);
    assert_soon(sb_peer_connections(f.peer) == 1, 20000);
    atomic_store(&refusals, 1);
    one(&f, "200", 500); /* comes late, or ends by its time limit */
    assert_int_equal(atomic_load(&refusals), 0);
    one(&f, "200", 20000);
    assert_int_equal(got.one[1].code, SB_OK);
    assert_int_equal(count(), 2); /* the first is under way */
    stop(&f);
    assert_int_equal(got.by_code[SB_STOPPED], 1);
}

/* ---- many threads ---- */

#define SENDERS 4
#define EACH    300

static void *send_many(void *context)
{
    fixture_t *f = context;
    for (int i = 0; i < EACH; i++) {
        uint64_t id = 0;
        char url[128];
        sb_error_t err = SB_ERROR_INIT;
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/%s", sb_peer_port(f->peer),
                       i % 50 ? "200" : "hang-up");
        sb_http_call_t one = {.method = "POST", .url = url, .body = SB_SLICE("{}"), .timeout_ms = 30000};
        while (sb_http_multi_send(f->multi, &one, note, NULL, &id, &err) == SB_BUSY)
            (void)usleep(200);
        if (i % 7 == 0)
            sb_http_multi_cancel(f->multi, id);
    }
    return NULL;
}

static void calls_of_many_threads_end_once_each(void **state)
{
    (void)state;
    fixture_t f;
    pthread_t thread[SENDERS];
    start(&f, &(sb_http_multi_config_t){.calls_max = 32, .host_connections_max = 8});
    for (int i = 0; i < SENDERS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, send_many, &f), 0);
    for (int i = 0; i < SENDERS; i++)
        (void)pthread_join(thread[i], NULL);
    assert_soon(count() == SENDERS * EACH, 60000);
    sb_http_multi_stats_t stats;
    assert_soon((sb_http_multi_stats(f.multi, &stats), stats.calls == 0), 20000);
    assert_int_equal(stats.sent, SENDERS * EACH);
    assert_int_equal(stats.answered + stats.broken, SENDERS * EACH);
    stop(&f);
    assert_int_equal(count(), SENDERS * EACH);
}

int main(void)
{
    (void)pthread_mutex_init(&got.lock, NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_sent_arrives_and_comes_back),
        cmocka_unit_test(every_end_has_its_name),
        cmocka_unit_test(headers_of_the_answer_can_be_read),
        cmocka_unit_test(nothing_was_sent_when_there_is_no_connection),
        cmocka_unit_test(a_kept_connection_that_was_closed_is_replaced),
        cmocka_unit_test(calls_share_kept_connections_within_the_bound),
        cmocka_unit_test(calls_are_bounded),
        cmocka_unit_test(a_cancelled_call_ends_once),
        cmocka_unit_test(control_characters_are_refused),
        cmocka_unit_test(a_socket_that_cannot_be_watched_hurts_no_other_call),
        cmocka_unit_test(calls_of_many_threads_end_once_each),
    };
    return cmocka_run_group_tests_name("http_multi", tests, NULL, NULL);
}
