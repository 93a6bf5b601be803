/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/api_world.h"

#include "base/json.h"
#include "base/log.h"
#include "server/daemon.h"
#include "tests/support/assert.h"
#include "tests/support/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define ANSWER_MAX (16u << 20)

/* ---- a daemon ---- */

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

void set(daemon_under_test_t *d, const char *name, const char *value)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_config_set(d->config, name, value, &err), &err);
}

/* Settings of a daemon over the database of d->uri; start begins it. */
void prepare(daemon_under_test_t *d)
{
    char listen[32];
    assert_ok(sb_config_new(&d->config, NULL), NULL);
    d->port = sb_test_port();
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", d->port);
    set(d, "pg.uri", d->uri);
    set(d, "http.listen", listen);
    set(d, "http.body_max_bytes", "64k");
    set(d, "kafka.bootstrap", "127.0.0.1:1"); /* nobody is there */
    set(d, "schemas.dir", SB_TEST_SCHEMAS);
}

int connect_to(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {120, 0};
    assert_true(fd >= 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

/* ---- talking to it, byte for byte ---- */

void drop(answer_t *answer)
{
    free(answer->text);
    *answer = (answer_t){0};
}

int send_bytes(int port, const char *bytes, size_t length)
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

/* A test that is stopped and goes on is interrupted there, for the socket has a time limit. */
static ssize_t receive_some(int fd, char *to, size_t size)
{
    ssize_t n = recv(fd, to, size, 0);
    while (n < 0 && errno == EINTR)
        n = recv(fd, to, size, 0);
    return n;
}

answer_t receive(int fd)
{
    answer_t answer = {0};
    size_t got = 0;
    if (fd < 0)
        return answer;
    answer.text = malloc(ANSWER_MAX + 1);
    assert_non_null(answer.text);
    for (ssize_t n = 1; n > 0 && got<ANSWER_MAX; got += n> 0 ? (size_t)n : 0)
        n = receive_some(fd, answer.text + got, ANSWER_MAX - got);
    (void)close(fd);
    answer.text[got] = '\0';
    if (sscanf(answer.text, "HTTP/1.%*d %d", &answer.status) != 1)
        answer.status = 0;
    const char *gap = strstr(answer.text, "\r\n\r\n");
    answer.body = gap ? gap + 4 : "";
    return answer;
}

answer_t exchange(int port, const char *bytes, size_t length)
{
    return receive(send_bytes(port, bytes, length));
}

/* A GET whose answer is for later. */
int send_get(const daemon_under_test_t *d, const char *path)
{
    char request[512];
    int length =
        snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path);
    return send_bytes(d->port, request, (size_t)length);
}

/* headers: lines that end in CRLF, NULL for none. */
answer_t ask(const daemon_under_test_t *d, const char *method, const char *path, const char *headers,
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

json_t *json_of(const answer_t *answer)
{
    json_t *value = json_loads(answer->body, JSON_DECODE_ANY, NULL);
    if (!value)
        print_error("not JSON: %s\n", answer->text);
    assert_non_null(value);
    return value;
}

const char *text_at(const json_t *value, const char *pointer)
{
    const char *text = json_string_value(sb_json_at(value, sb_slice(pointer)));
    return text ? text : "";
}

int64_t int_at(const json_t *value, const char *pointer)
{
    return json_integer_value(sb_json_at(value, sb_slice(pointer)));
}

/* Whether a GET answers with the status. */
bool answers(const daemon_under_test_t *d, const char *path, const char *headers, int status)
{
    answer_t answer = ask(d, "GET", path, headers, NULL);
    bool same = answer.status == status;
    drop(&answer);
    return same;
}

bool readyz_has(const daemon_under_test_t *d, const char *text)
{
    answer_t answer = ask(d, "GET", "/readyz?verbose", NULL, NULL);
    bool has = answer.text && strstr(answer.text, text);
    drop(&answer);
    return has;
}

/* The request must be refused with a whole RFC 9457 document of this status, code and pointer. */
void assert_problem(answer_t answer, int status, const char *code, const char *pointer)
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

void start(daemon_under_test_t *d)
{
    sb_test_fork(&d->process, daemon_body, d);
}

void stop(daemon_under_test_t *d)
{
    if (d->process.pid) {
        sb_test_signal(&d->process, SIGTERM);
        assert_true(sb_test_wait(&d->process, 60000));
        assert_int_equal(d->process.exit_code, 0);
    }
    sb_test_process_end(&d->process);
    sb_config_free(&d->config);
}

daemon_under_test_t shared;

int start_shared(void **state)
{
    if (sb_test_pg_start(state) != 0)
        return -1;
    (void)sb_test_pg_fresh(shared.uri);
    prepare(&shared);
    start(&shared);
    assert_soon(answers(&shared, "/v1/views", NULL, 200), 20000);
    return 0;
}

int stop_shared(void **state)
{
    stop(&shared);
    return sb_test_pg_stop(state);
}

/* ---- events ---- */

bool all_events_have(const char *text)
{
    answer_t answer = ask(&shared, "GET", "/v1/events?limit=1000&types=order.created", NULL, NULL);
    bool has = answer.text && strstr(answer.text, text);
    drop(&answer);
    return has;
}

void append_order(const daemon_under_test_t *d, const char *key)
{
    char body[512];
    (void)snprintf(body, sizeof body, "{\"type\":\"order.created\",\"subject\":\"%s\",\"data\":%s}", key,
                   ORDER("w"));
    answer_t answer = ask(d, "POST", "/v1/events", NULL, body);
    assert_int_equal(answer.status, 201);
    drop(&answer);
}

int64_t newest(const daemon_under_test_t *d)
{
    answer_t answer = ask(d, "GET", "/v1/events?types=none.such", NULL, NULL);
    json_t *page = json_of(&answer);
    int64_t seq = int_at(page, "/next_after");
    json_decref(page);
    drop(&answer);
    return seq;
}

void assert_count(answer_t answer, size_t items)
{
    assert_int_equal(answer.status, 200);
    json_t *page = json_of(&answer);
    if (json_array_size(json_object_get(page, "items")) != items)
        print_error("wanted %zu items, have:\n%s\n", items, answer.text);
    assert_int_equal(json_array_size(json_object_get(page, "items")), items);
    json_decref(page);
    drop(&answer);
}

int open_stream(const daemon_under_test_t *d, const char *path, int64_t behind)
{
    char request[512], last[64] = "";
    if (behind >= 0)
        (void)snprintf(last, sizeof last, "Last-Event-ID: %lld\r\n", (long long)behind);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, last);
    return send_bytes(d->port, request, (size_t)length);
}

/* Reads on until the text has come that often; the stream stays open. */
void read_until(int fd, sb_buf_t *seen, const char *text, int times)
{
    for (;;) {
        int count = 0;
        for (const char *at = sb_buf_text(seen); (at = strstr(at, text)) != NULL; at++)
            count++;
        if (count >= times)
            return;
        char *room = sb_buf_reserve(seen, 65536);
        assert_non_null(room);
        ssize_t n = receive_some(fd, room, 65536);
        if (n <= 0)
            fail_msg("%d times %s, then: %s", count, text, n == 0 ? "the end" : strerror(errno));
        seen->len += (size_t)n;
        seen->ptr[seen->len] = '\0';
    }
}
