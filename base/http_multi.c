/* A call lives in a slot. Slots that are free keep their libcurl handle for the next call, last used first,
 * so there are as many handles as calls were ever under way at once. The lock guards the lists of slots and
 * what ids need; the rest of a slot belongs to the caller until it is in the inbox, and to the thread from
 * then on.
 *
 * libcurl says which sockets it waits for and when it wants to be called (curl_multi_socket_action), and
 * epoll waits for them: a round costs what is ready, not what is under way.
 *
 * libcurl's own time limit begins when a transfer gets a connection; the sweep ends those that never got one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/http_multi.h"

#include "base/clock.h"
#include "base/signal.h"
#include "base/thread.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define HEAD_BYTES_MAX     16384u
#define KEPT_BYTES_MAX     65536u /* a larger buffer of an ended call is freed */
#define RETRY_AFTER_MAX_S  21600
#define TIMEOUT_DEFAULT_MS 30000u
#define URL_SHOWN          160
#define IDLE_MS            1000
#define SWEEP_MS           100
#define READY_MAX          64 /* sockets a round */

typedef struct call {
    struct sb_http_multi *multi;
    struct call *next; /* lock: free list, inbox */
    uint32_t number;   /* of the slot */
    uint32_t use;      /* lock: rises with each call; the upper half of the id */
    bool taken;        /* lock */
    bool cancelled;    /* lock */
    sb_buf_t text;     /* url, method, header lines, each ended by NUL; then the body */
    size_t lines_at;   /* where the header lines begin */
    size_t body_at;
    bool has_body;
    int64_t taken_us;
    int64_t until_us;
    sb_http_done_fn done;
    void *context;

    /* The thread's. */
    CURL *curl;
    struct curl_slist *line; /* of the header, into text: libcurl only reads them */
    size_t line_cap;
    bool under_way; /* in libcurl's hands */
    bool too_large;
    sb_buf_t head; /* "name\0value\0" … of the answer */
    sb_buf_t body;
    char message[CURL_ERROR_SIZE];
} call_t;

struct sb_http_multi {
    CURLM *curl;
    pthread_t thread;
    bool running;
    char *ca_file;
    sb_http_multi_config_t config;
    sb_signal_t wake; /* raised by whoever puts something into the inbox, cancels or stops */
    int epoll;
    int64_t call_us; /* monotonic: when libcurl wants to be called; 0: not by time */
    int64_t sweep_us;
    uint32_t under_way;

    pthread_mutex_t lock; /* guards all that follows */
    call_t **slot;        /* made at their first use */
    uint32_t slot_count;
    call_t *free;
    call_t *inbox;
    call_t *inbox_last;
    bool some_cancelled;
    bool stopping;
    sb_http_multi_stats_t stats;
};

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void start_library(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- the answer, as libcurl hands it over ---- */

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    call_t *call = context;
    size_t length = size * count;
    if (length > call->multi->config.answer_bytes_max - call->body.len) {
        call->too_large = true;
        return 0;
    }
    sb_buf_add(&call->body, data, length);
    return sb_buf_failed(&call->body) ? 0 : length;
}

static sb_slice_t trimmed(sb_slice_t text)
{
    while (text.len && isspace((unsigned char)text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len && isspace((unsigned char)text.ptr[text.len - 1]))
        text.len--;
    return text;
}

/* A head may come several times (100 Continue before the answer): the last one counts. */
static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    call_t *call = context;
    sb_slice_t line = {data, size * count};
    if (sb_slice_starts(line, "HTTP/"))
        sb_buf_reset(&call->head);
    const char *colon = memchr(line.ptr, ':', line.len);
    if (!colon || call->head.len + line.len > HEAD_BYTES_MAX || memchr(line.ptr, '\0', line.len))
        return line.len;
    for (const char *c = line.ptr; c < colon; c++)
        sb_buf_add_char(&call->head, (char)tolower((unsigned char)*c));
    sb_buf_add_char(&call->head, '\0');
    sb_slice_t value = {colon + 1, line.len - (size_t)(colon + 1 - line.ptr)};
    sb_buf_add_slice(&call->head, trimmed(value));
    sb_buf_add_char(&call->head, '\0');
    return sb_buf_failed(&call->head) ? 0 : line.len;
}

sb_slice_t sb_http_result_header(const sb_http_result_t *result, const char *name)
{
    sb_slice_t found = SB_SLICE_NONE;
    const char *end = result->head.ptr + result->head.len;
    for (const char *at = result->head.ptr; at && at < end;) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            found = sb_slice(value);
        at = value + strlen(value) + 1;
    }
    return found;
}

/* ---- slots ---- */

static call_t *new_slot(sb_http_multi_t *multi)
{
    if (multi->slot_count == multi->config.calls_max)
        return NULL;
    call_t *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->multi = multi;
    call->number = multi->slot_count;
    multi->slot[multi->slot_count++] = call;
    return call;
}

static call_t *take_slot(sb_http_multi_t *multi, sb_code_t *why)
{
    (void)pthread_mutex_lock(&multi->lock);
    call_t *call = multi->stopping ? NULL : multi->free;
    if (call)
        multi->free = call->next;
    else if (!multi->stopping)
        call = new_slot(multi);
    *why = multi->stopping                                 ? SB_STOPPED
           : multi->stats.calls >= multi->config.calls_max ? SB_BUSY
                                                           : SB_NO_MEMORY;
    if (call) {
        call->use++;
        call->taken = true;
        call->cancelled = false;
        multi->stats.calls++;
    }
    (void)pthread_mutex_unlock(&multi->lock);
    return call;
}

static void shrink(sb_buf_t *buf)
{
    if (buf->cap > KEPT_BYTES_MAX)
        sb_buf_fini(buf);
    else
        sb_buf_reset(buf);
}

static void give_slot(sb_http_multi_t *multi, call_t *call, bool answered)
{
    shrink(&call->text);
    shrink(&call->head);
    shrink(&call->body);
    (void)pthread_mutex_lock(&multi->lock);
    call->taken = false;
    call->next = multi->free;
    multi->free = call;
    multi->stats.calls--;
    multi->stats.answered += answered;
    multi->stats.broken += !answered;
    (void)pthread_mutex_unlock(&multi->lock);
}

static void free_slot(call_t *call)
{
    if (!call)
        return;
    if (call->curl)
        curl_easy_cleanup(call->curl);
    free(call->line);
    sb_buf_fini(&call->text);
    sb_buf_fini(&call->head);
    sb_buf_fini(&call->body);
    free(call);
}

/* ---- taking calls, any thread ---- */

/* A line break in a header would begin another one. */
static bool is_line(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

static sb_code_t check_call(const sb_http_call_t *call, sb_error_t *err)
{
    bool fine =
        is_line(call->url) && is_line(call->method) && (!call->content_type || is_line(call->content_type));
    for (int i = 0; fine && call->headers && call->headers[i]; i++)
        fine = is_line(call->headers[i]);
    return fine ? SB_OK : sb_fail(err, SB_INVALID, "HTTP call: a control character in URL or header");
}

static void add_line(sb_buf_t *text, const char *line)
{
    sb_buf_add(text, line, strlen(line) + 1);
}

static bool fill(call_t *call, const sb_http_call_t *from)
{
    sb_buf_t *text = &call->text;
    sb_buf_reset(text);
    add_line(text, from->url);
    add_line(text, from->method);
    call->lines_at = text->len;
    add_line(text, "Expect:"); /* no pause before a larger body */
    if (from->body.ptr) {
        sb_buf_printf(text, "Content-Type: %s", from->content_type ? from->content_type : "application/json");
        sb_buf_add_char(text, '\0');
    }
    for (int i = 0; from->headers && from->headers[i]; i++)
        add_line(text, from->headers[i]);
    call->body_at = text->len;
    call->has_body = from->body.ptr != NULL || strcmp(from->method, "POST") == 0;
    sb_buf_add_slice(text, from->body);
    call->taken_us = sb_mono_us();
    call->until_us = call->taken_us + 1000LL * (from->timeout_ms ? from->timeout_ms : TIMEOUT_DEFAULT_MS);
    return !sb_buf_failed(text);
}

/* The first one in wakes the thread, which takes all of them. */
static void post(sb_http_multi_t *multi, call_t *call)
{
    call->next = NULL;
    (void)pthread_mutex_lock(&multi->lock);
    bool first = multi->inbox == NULL;
    if (first)
        multi->inbox = call;
    else
        multi->inbox_last->next = call;
    multi->inbox_last = call;
    multi->stats.sent++;
    (void)pthread_mutex_unlock(&multi->lock);
    if (first)
        sb_signal_raise(&multi->wake);
}

sb_code_t sb_http_multi_send(sb_http_multi_t *multi, const sb_http_call_t *from, sb_http_done_fn done,
                             void *context, uint64_t *id, sb_error_t *err)
{
    sb_code_t code = check_call(from, err);
    if (code != SB_OK)
        return code;
    char url[URL_SHOWN];
    sb_http_show_url(from->url, url, sizeof url);
    call_t *call = take_slot(multi, &code);
    if (!call)
        return sb_fail(err, code, "%s %s: %s", from->method, url,
                       code == SB_BUSY ? "too many calls are under way" : sb_code_text(code));
    if (!fill(call, from)) {
        give_slot(multi, call, false);
        return sb_fail(err, SB_NO_MEMORY, "%s %s: out of memory", from->method, url);
    }
    call->done = done;
    call->context = context;
    if (id)
        *id = (uint64_t)call->use << 32 | call->number;
    post(multi, call);
    return SB_OK;
}

void sb_http_multi_cancel(sb_http_multi_t *multi, uint64_t id)
{
    uint32_t number = (uint32_t)id;
    (void)pthread_mutex_lock(&multi->lock);
    call_t *call = number < multi->slot_count ? multi->slot[number] : NULL;
    bool found = call && call->taken && call->use == (uint32_t)(id >> 32);
    if (found)
        call->cancelled = multi->some_cancelled = true;
    (void)pthread_mutex_unlock(&multi->lock);
    if (found)
        sb_signal_raise(&multi->wake);
}

void sb_http_multi_stats(sb_http_multi_t *multi, sb_http_multi_stats_t *out)
{
    (void)pthread_mutex_lock(&multi->lock);
    *out = multi->stats;
    (void)pthread_mutex_unlock(&multi->lock);
}

/* ---- the end of a call ---- */

/* Whether the request may have left: before it there is nothing the server could have done. */
static bool was_sent(const call_t *call)
{
    curl_off_t us = 0;
    return call->curl && curl_easy_getinfo(call->curl, CURLINFO_PRETRANSFER_TIME_T, &us) == CURLE_OK &&
           us > 0;
}

static sb_code_t code_of(const call_t *call, CURLcode outcome)
{
    switch (outcome) {
    case CURLE_OK:
        return SB_OK;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return SB_INVALID;
    case CURLE_OUT_OF_MEMORY:
        return SB_NO_MEMORY;
    case CURLE_OPERATION_TIMEDOUT:
        return was_sent(call) ? SB_TIMEOUT : SB_UNAVAILABLE;
    default:
        if (call->too_large)
            return SB_TOO_LARGE;
        return was_sent(call) ? SB_UNKNOWN_OUTCOME : SB_UNAVAILABLE;
    }
}

static sb_code_t judge(const call_t *call, CURLcode outcome, sb_error_t *err)
{
    char url[URL_SHOWN];
    sb_code_t code = code_of(call, outcome);
    if (code == SB_OK)
        return SB_OK;
    sb_http_show_url(sb_buf_text(&call->text), url, sizeof url);
    if (code == SB_TOO_LARGE)
        return sb_fail(err, code, "%s: the answer is larger than %zu bytes", url,
                       call->multi->config.answer_bytes_max);
    return sb_fail(err, code, "%s: %s", url, call->message[0] ? call->message : curl_easy_strerror(outcome));
}

static int retry_after(const call_t *call, const sb_http_result_t *result)
{
    curl_off_t seconds = 0;
    if (!sb_http_result_header(result, "retry-after").ptr ||
        curl_easy_getinfo(call->curl, CURLINFO_RETRY_AFTER, &seconds) != CURLE_OK)
        return -1;
    return seconds > RETRY_AFTER_MAX_S ? RETRY_AFTER_MAX_S : (int)seconds;
}

static void finish(sb_http_multi_t *multi, call_t *call, sb_code_t code, const sb_error_t *err)
{
    sb_http_result_t result = {.code = code,
                               .err = err,
                               .body = sb_buf_slice(&call->body),
                               .head = sb_buf_slice(&call->head),
                               .retry_after_s = -1,
                               .elapsed_us = sb_mono_us() - call->taken_us};
    long status = 0;
    if (call->under_way && curl_easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK)
        result.status = (int)status;
    if (code == SB_OK)
        result.retry_after_s = retry_after(call, &result);
    call->done(call->context, &result);
    if (call->under_way) {
        (void)curl_multi_remove_handle(multi->curl, call->curl);
        call->under_way = false;
        multi->under_way--;
    }
    give_slot(multi, call, code == SB_OK);
}

static void end_with(sb_http_multi_t *multi, call_t *call, sb_code_t code, const char *why)
{
    sb_error_t err = SB_ERROR_INIT;
    char url[URL_SHOWN];
    sb_http_show_url(sb_buf_text(&call->text), url, sizeof url);
    (void)sb_fail(&err, code, "%s: %s", url, why);
    finish(multi, call, code, &err);
}

/* ---- the thread ---- */

/* What is the same for every call of a slot. */
static bool make_handle(sb_http_multi_t *multi, call_t *call)
{
    CURL *curl = curl_easy_init();
    if (!curl)
        return false;
    call->curl = curl;
    (void)curl_easy_setopt(curl, CURLOPT_PRIVATE, call);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, call->message);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "sagabus");
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)multi->config.connect_ms);
    (void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, call);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, call);
    if (multi->ca_file)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, multi->ca_file);
    return true;
}

static bool make_headers(call_t *call)
{
    const char *end = call->text.ptr + call->body_at;
    size_t count = 0;
    for (const char *at = call->text.ptr + call->lines_at; at < end; at += strlen(at) + 1) {
        if (count == call->line_cap) {
            size_t cap = call->line_cap ? 2 * call->line_cap : 32;
            struct curl_slist *grown = realloc(call->line, cap * sizeof *grown);
            if (!grown)
                return false;
            call->line = grown;
            call->line_cap = cap;
        }
        call->line[count++].data = (char *)(uintptr_t)at;
    }
    for (size_t i = 0; i < count; i++) /* of all, now that none of them moves any more */
        call->line[i].next = i + 1 < count ? &call->line[i + 1] : NULL;
    return true; /* one there is always: Expect */
}

static bool begin(sb_http_multi_t *multi, call_t *call, int64_t now_us)
{
    call->too_large = false;
    call->message[0] = '\0';
    if ((!call->curl && !make_handle(multi, call)) || !make_headers(call))
        return false;
    CURL *curl = call->curl;
    int64_t left_ms = (call->until_us - now_us) / 1000;
    const char *method = call->text.ptr + strlen(call->text.ptr) + 1;
    (void)curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L); /* forgets the last call's body */
    if (call->has_body) {
        (void)curl_easy_setopt(curl, CURLOPT_POST, 1L);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->text.ptr + call->body_at);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                               (curl_off_t)(call->text.len - call->body_at));
    }
    bool fits = curl_easy_setopt(curl, CURLOPT_URL, call->text.ptr) == CURLE_OK &&
                curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK;
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, call->line);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(left_ms > 0 ? left_ms : 1));
    if (!fits || curl_multi_add_handle(multi->curl, curl) != CURLM_OK)
        return false;
    call->under_way = true;
    multi->under_way++;
    return true;
}

static bool is_cancelled(sb_http_multi_t *multi, const call_t *call)
{
    (void)pthread_mutex_lock(&multi->lock);
    bool cancelled = call->cancelled;
    (void)pthread_mutex_unlock(&multi->lock);
    return cancelled;
}

/* False: the client stops. */
static bool take_calls(sb_http_multi_t *multi)
{
    (void)pthread_mutex_lock(&multi->lock);
    bool stopping = multi->stopping;
    call_t *call = stopping ? NULL : multi->inbox;
    if (!stopping)
        multi->inbox = multi->inbox_last = NULL;
    (void)pthread_mutex_unlock(&multi->lock);
    int64_t now_us = sb_mono_us();
    for (call_t *next; call; call = next) {
        next = call->next;
        if (is_cancelled(multi, call))
            end_with(multi, call, SB_STOPPED, "cancelled");
        else if (!begin(multi, call, now_us))
            end_with(multi, call, SB_NO_MEMORY, "out of memory");
    }
    return !stopping;
}

static void collect(sb_http_multi_t *multi)
{
    int more;
    for (CURLMsg *message; (message = curl_multi_info_read(multi->curl, &more));) {
        sb_error_t err = SB_ERROR_INIT;
        call_t *call = NULL;
        if (message->msg != CURLMSG_DONE ||
            curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&call) != CURLE_OK || !call)
            continue;
        sb_code_t code = judge(call, message->data.result, &err);
        finish(multi, call, code, &err);
    }
}

/* The number of slots now, and whether calls are to be cancelled. */
static uint32_t look(sb_http_multi_t *multi, bool *some_cancelled)
{
    (void)pthread_mutex_lock(&multi->lock);
    uint32_t count = multi->slot_count;
    *some_cancelled = multi->some_cancelled;
    multi->some_cancelled = false;
    (void)pthread_mutex_unlock(&multi->lock);
    return count;
}

/* Ends what was cancelled, and what is late without libcurl having noticed. What is cancelled in the inbox is
 * left for take_calls. */
static void sweep(sb_http_multi_t *multi)
{
    int64_t now_us = sb_mono_us();
    bool some_cancelled;
    uint32_t count = look(multi, &some_cancelled);
    if (!some_cancelled && (multi->under_way == 0 || now_us < multi->sweep_us))
        return;
    multi->sweep_us = now_us + 1000LL * SWEEP_MS;
    for (uint32_t i = 0; i < count; i++) {
        call_t *call = multi->slot[i];
        if (!call->under_way)
            continue;
        if (some_cancelled && is_cancelled(multi, call))
            end_with(multi, call, SB_STOPPED, "cancelled");
        else if (now_us > call->until_us + 1000LL * SWEEP_MS)
            end_with(multi, call, was_sent(call) ? SB_TIMEOUT : SB_UNAVAILABLE, "no connection in time");
    }
}

static void end_all(sb_http_multi_t *multi)
{
    (void)pthread_mutex_lock(&multi->lock);
    call_t *call = multi->inbox;
    multi->inbox = multi->inbox_last = NULL;
    uint32_t count = multi->slot_count;
    (void)pthread_mutex_unlock(&multi->lock);
    for (call_t *next; call; call = next) {
        next = call->next;
        end_with(multi, call, SB_STOPPED, "the client stops");
    }
    for (uint32_t i = 0; i < count; i++)
        if (multi->slot[i]->under_way)
            end_with(multi, multi->slot[i], SB_STOPPED, "the client stops");
}

/* ---- sockets and time, as libcurl wants them ---- */

static char is_watched; /* its address marks a socket that epoll has */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *context, void *mark)
{
    sb_http_multi_t *multi = context;
    struct epoll_event event = {.data.fd = fd};
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        (void)epoll_ctl(multi->epoll, EPOLL_CTL_DEL, fd, NULL);
        (void)curl_multi_assign(multi->curl, fd, NULL);
        return 0;
    }
    event.events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u);
    if (epoll_ctl(multi->epoll, mark ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event) != 0)
        return 0; /* this transfer ends by its time limit; an error here would abort all that are under way */
    if (!mark)
        (void)curl_multi_assign(multi->curl, fd, &is_watched);
    return 0;
}

static int on_time(CURLM *curl, long timeout_ms, void *context)
{
    sb_http_multi_t *multi = context;
    (void)curl;
    multi->call_us = timeout_ms < 0 ? 0 : sb_mono_us() + 1000LL * timeout_ms;
    return 0;
}

static void call_by_time(sb_http_multi_t *multi)
{
    int still;
    if (multi->call_us == 0 || sb_mono_us() < multi->call_us)
        return;
    multi->call_us = sb_mono_us() + 1000LL * SWEEP_MS; /* should libcurl not say when next */
    (void)curl_multi_socket_action(multi->curl, CURL_SOCKET_TIMEOUT, 0, &still);
}

static int wait_ms(const sb_http_multi_t *multi)
{
    int64_t wait = multi->under_way ? SWEEP_MS : IDLE_MS;
    int64_t left_us = multi->call_us ? multi->call_us - sb_mono_us() : INT64_MAX;
    if (left_us <= 0)
        return 0;
    return (int)(left_us < wait * 1000 ? (left_us + 999) / 1000 : wait);
}

static void serve_sockets(sb_http_multi_t *multi)
{
    struct epoll_event ready[READY_MAX];
    int count = epoll_wait(multi->epoll, ready, READY_MAX, wait_ms(multi));
    for (int i = 0; i < count; i++) {
        int still, fd = ready[i].data.fd;
        unsigned events = ready[i].events;
        int what = (events & EPOLLIN ? CURL_CSELECT_IN : 0) | (events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                   (events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        if (fd == multi->wake.fd)
            sb_signal_clear(&multi->wake);
        else
            (void)curl_multi_socket_action(multi->curl, fd, what, &still);
    }
}

static void *run(void *context)
{
    sb_http_multi_t *multi = context;
    while (take_calls(multi)) {
        call_by_time(multi);
        collect(multi);
        sweep(multi);
        serve_sockets(multi);
    }
    end_all(multi);
    return NULL;
}

/* ---- opening ---- */

static bool copy_config(sb_http_multi_t *multi, const sb_http_multi_config_t *config)
{
    sb_http_multi_config_t *own = &multi->config;
    if (config)
        *own = *config;
    own->connect_ms = own->connect_ms ? own->connect_ms : 5000;
    own->calls_max = own->calls_max ? own->calls_max : 1024;
    own->connections_max = own->connections_max ? own->connections_max : 256;
    own->host_connections_max = own->host_connections_max ? own->host_connections_max : 64;
    own->answer_bytes_max = own->answer_bytes_max ? own->answer_bytes_max : 1u << 20;
    bool has_ca = own->ca_file && own->ca_file[0];
    if (has_ca)
        multi->ca_file = strdup(own->ca_file);
    own->ca_file = NULL;
    multi->slot = calloc(own->calls_max, sizeof(call_t *));
    return multi->slot && (!has_ca || multi->ca_file);
}

/* False: no descriptor is to be had. */
static bool open_waiting(sb_http_multi_t *multi)
{
    struct epoll_event event = {.events = EPOLLIN};
    multi->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (multi->epoll < 0 || sb_signal_init(&multi->wake, NULL) != SB_OK)
        return false;
    event.data.fd = multi->wake.fd;
    return epoll_ctl(multi->epoll, EPOLL_CTL_ADD, multi->wake.fd, &event) == 0;
}

static void set_options(sb_http_multi_t *multi)
{
    CURLM *curl = multi->curl;
    (void)curl_multi_setopt(curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)multi->config.connections_max);
    (void)curl_multi_setopt(curl, CURLMOPT_MAX_HOST_CONNECTIONS, (long)multi->config.host_connections_max);
    (void)curl_multi_setopt(curl, CURLMOPT_MAXCONNECTS, (long)multi->config.connections_max);
    (void)curl_multi_setopt(curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    (void)curl_multi_setopt(curl, CURLMOPT_SOCKETDATA, multi);
    (void)curl_multi_setopt(curl, CURLMOPT_TIMERFUNCTION, on_time);
    (void)curl_multi_setopt(curl, CURLMOPT_TIMERDATA, multi);
}

sb_code_t sb_http_multi_start(sb_http_multi_t **out, const sb_http_multi_config_t *config, sb_error_t *err)
{
    *out = NULL;
    (void)pthread_once(&library_once, start_library);
    sb_http_multi_t *multi = calloc(1, sizeof *multi);
    if (!multi)
        return sb_fail(err, SB_NO_MEMORY, "HTTP client: out of memory");
    (void)pthread_mutex_init(&multi->lock, NULL);
    multi->curl = curl_multi_init();
    multi->wake.fd = -1;
    bool waits = open_waiting(multi);
    bool fits = copy_config(multi, config) && multi->curl && waits;
    if (fits) {
        set_options(multi);
        multi->running = sb_thread_start(&multi->thread, "http client", run, multi);
    }
    if (!multi->running) {
        sb_http_multi_stop(&multi);
        return waits
                   ? sb_fail(err, SB_NO_MEMORY, "HTTP client: out of memory")
                   : sb_fail(err, SB_UNAVAILABLE, "HTTP client: no descriptor is free: %s", strerror(errno));
    }
    *out = multi;
    return SB_OK;
}

void sb_http_multi_stop(sb_http_multi_t **multi)
{
    sb_http_multi_t *own = *multi;
    if (!own)
        return;
    if (own->running) {
        (void)pthread_mutex_lock(&own->lock);
        own->stopping = true;
        (void)pthread_mutex_unlock(&own->lock);
        sb_signal_raise(&own->wake);
        (void)pthread_join(own->thread, NULL);
    }
    for (uint32_t i = 0; own->slot && i < own->slot_count; i++)
        free_slot(own->slot[i]);
    free((void *)own->slot);
    if (own->curl)
        (void)curl_multi_cleanup(own->curl); /* it still takes its sockets out of epoll */
    if (own->epoll >= 0)
        (void)close(own->epoll);
    sb_signal_fini(&own->wake);
    free(own->ca_file);
    (void)pthread_mutex_destroy(&own->lock);
    free(own);
    *multi = NULL;
}
