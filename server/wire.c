/* SPDX-License-Identifier: Apache-2.0 */
#include "server/wire.h"

#include "base/clock.h"
#include "sagabus/id.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#ifdef __SANITIZE_ADDRESS__
#define SPARES_MAX 0 /* or a use after free would not be seen */
#else
#define SPARES_MAX 256
#endif
#define KEEP_MAX 4096 /* bytes of a body that a spare request keeps */

/* ---- requests and their memory ---- */

static void destroy(sb_request_t *request)
{
    sb_buf_fini(&request->body);
    sb_buf_fini(&request->attributes);
    sb_buf_fini(&request->out);
    free(request);
}

void sb_wire_pool_fini(sb_wire_pool_t *pool)
{
    while (pool->spare) {
        sb_request_t *request = pool->spare;
        pool->spare = request->next;
        destroy(request);
    }
    pool->spares = 0;
}

static sb_request_t *take_spare(sb_wire_pool_t *pool)
{
    sb_request_t *request = pool->spare;
    if (!request)
        return calloc(1, sizeof *request);
    pool->spare = request->next;
    pool->spares--;
    request->next = NULL;
    return request;
}

/* All but the buffers is as if it were new. */
static void keep(sb_wire_pool_t *pool, sb_request_t *request)
{
    sb_buf_t body = request->body, attributes = request->attributes, out = request->out;
    sb_buf_reset(&body);
    sb_buf_reset(&attributes);
    sb_buf_reset(&out);
    *request = (sb_request_t){.next = pool->spare, .body = body, .attributes = attributes, .out = out};
    pool->spare = request;
    pool->spares++;
}

void sb_wire_free(sb_wire_pool_t *pool, sb_request_t *request)
{
    free(request->path);
    free(request->query_text);
    size_t kept = request->body.cap + request->attributes.cap + request->out.cap;
    if (pool->spares + 1 <= SPARES_MAX && kept <= KEEP_MAX)
        keep(pool, request);
    else
        destroy(request);
}

/* ---- in ---- */

static void copy_header(char *out, size_t cap, struct evkeyvalq *headers, const char *name)
{
    const char *value = evhttp_find_header(headers, name);
    (void)snprintf(out, cap, "%s", value ? value : "");
}

/* What is no trace context is as if it were not there: the standard has it so. */
static void copy_traceparent(char *out, size_t cap, struct evkeyvalq *headers)
{
    const char *value = evhttp_find_header(headers, "traceparent");
    size_t length = value ? strlen(value) : 0;
    if (length > 0 && length < cap && sb_traceparent_ok(sb_slice(value)))
        memcpy(out, value, length + 1);
}

/* Keeps the attributes of a CloudEvent in binary mode: names in lower case, values as they came. */
static void copy_attributes(sb_buf_t *out, struct evkeyvalq *headers)
{
    struct evkeyval *header;
    TAILQ_FOREACH(header, headers, next)
    {
        if (strncasecmp(header->key, "ce-", 3) != 0)
            continue;
        for (const char *c = header->key + 3; *c; c++)
            sb_buf_add_char(out, *c >= 'A' && *c <= 'Z' ? (char)(*c - 'A' + 'a') : *c);
        sb_buf_add_char(out, '\0');
        sb_buf_add(out, header->value, strlen(header->value) + 1);
    }
}

/* A request id of ours unless the client's is harmless: it goes into logs and answers. */
static void set_request_id(sb_request_t *request, struct evkeyvalq *headers)
{
    const char *given = evhttp_find_header(headers, "X-Request-Id");
    size_t length = given ? strlen(given) : 0;
    static const char fine[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";
    if (length > 0 && length <= 64 && strspn(given, fine) == length) {
        (void)snprintf(request->request_id, sizeof request->request_id, "%s", given);
        return;
    }
    sb_uuid_t id = sb_uuid_v7();
    (void)sb_uuid_format(&id, request->request_id);
}

static void split_query(sb_request_t *request, const char *query)
{
    request->query_text = query ? strdup(query) : NULL;
    char *at = request->query_text;
    char *save = NULL;
    for (char *pair = at ? strtok_r(at, "&", &save) : NULL; pair && request->query_count < SB_QUERY_MAX;
         pair = strtok_r(NULL, "&", &save)) {
        char *equals = strchr(pair, '=');
        if (equals)
            *equals++ = '\0';
        char *parts[2] = {pair, equals};
        for (int i = 0; i < 2 && parts[i]; i++) { /* decoded in place: it only gets shorter */
            char *decoded = evhttp_uridecode(parts[i], 1, NULL);
            if (decoded)
                memcpy(parts[i], decoded, strlen(decoded) + 1);
            free(decoded);
        }
        request->query[request->query_count++] = (sb_query_pair_t){pair, equals ? equals : ""};
    }
}

static const char *method_name(enum evhttp_cmd_type type)
{
    switch (type) {
    case EVHTTP_REQ_GET:
    case EVHTTP_REQ_HEAD:
        return "GET";
    case EVHTTP_REQ_POST:
        return "POST";
    case EVHTTP_REQ_PUT:
        return "PUT";
    case EVHTTP_REQ_DELETE:
        return "DELETE";
    case EVHTTP_REQ_PATCH:
        return "PATCH";
    default:
        return "OTHER";
    }
}

sb_request_t *sb_wire_read(sb_wire_pool_t *pool, struct evhttp_request *raw)
{
    sb_request_t *request = take_spare(pool);
    if (!request)
        return NULL;
    struct evkeyvalq *headers = evhttp_request_get_input_headers(raw);
    const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(raw);
    const char *path = evhttp_uri_get_path(uri);
    request->connection = raw;
    request->started_us = sb_mono_us();
    request->status = 200;
    request->head_only = evhttp_request_get_command(raw) == EVHTTP_REQ_HEAD;
    (void)snprintf(request->method, sizeof request->method, "%s",
                   method_name(evhttp_request_get_command(raw)));
    request->path = evhttp_uridecode(path && path[0] ? path : "/", 0, NULL);
    split_query(request, evhttp_uri_get_query(uri));
    set_request_id(request, headers);
    copy_traceparent(request->traceparent, sizeof request->traceparent, headers);
    copy_attributes(&request->attributes, headers);
    copy_header(request->last_event_id, sizeof request->last_event_id, headers, "Last-Event-ID");
    copy_header(request->if_none_match, sizeof request->if_none_match, headers, "If-None-Match");
    copy_header(request->idempotency_key, sizeof request->idempotency_key, headers, "Idempotency-Key");
    copy_header(request->authorization, sizeof request->authorization, headers, "Authorization");
    copy_header(request->content_type, sizeof request->content_type, headers, "Content-Type");
    struct evbuffer *input = evhttp_request_get_input_buffer(raw);
    size_t length = evbuffer_get_length(input);
    char *room = sb_buf_reserve(&request->body, length);
    if (!room || !request->path || sb_buf_failed(&request->attributes)) {
        sb_wire_free(pool, request);
        return NULL;
    }
    (void)evbuffer_remove(input, room, length);
    request->body.len = length;
    room[length] = '\0';
    return request;
}

/* ---- out ---- */

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 202:
        return "Accepted";
    case 204:
        return "No Content";
    case 304:
        return "Not Modified";
    default:
        return status < 400 ? "OK" : "Problem";
    }
}

static void add_common(struct evkeyvalq *headers, const sb_request_t *request)
{
    (void)evhttp_add_header(headers, "Content-Type",
                            request->answer_type ? request->answer_type : "application/json");
    (void)evhttp_add_header(headers, "X-Request-Id", request->request_id);
    (void)evhttp_add_header(headers, "X-Content-Type-Options", "nosniff");
    (void)evhttp_add_header(headers, "Cache-Control", request->etag[0] ? "private, no-cache" : "no-store");
}

/* The library asks epoll first whether the socket has room, which it nearly always has: two calls of the
 * kernel and a round of the loop more. What finds no room goes out by that way. */
static void write_now(struct bufferevent *client)
{
    struct evbuffer *out = bufferevent_get_output(client);
    (void)evbuffer_unfreeze(out, 1);
    (void)evbuffer_write(out, bufferevent_getfd(client));
    (void)evbuffer_freeze(out, 1);
    if (evbuffer_get_length(out) > 0)
        return;
    (void)bufferevent_disable(client, EV_WRITE);
    bufferevent_trigger(client, EV_WRITE, 0);
}

void sb_wire_send(sb_request_t *request, bool plain)
{
    struct evhttp_request *raw = request->connection;
    struct bufferevent *client = evhttp_connection_get_bufferevent(evhttp_request_get_connection(raw));
    struct evkeyvalq *headers = evhttp_request_get_output_headers(raw);
    char number[24];
    add_common(headers, request);
    if (request->etag[0])
        (void)evhttp_add_header(headers, "ETag", request->etag);
    if (request->location[0])
        (void)evhttp_add_header(headers, "Location", request->location);
    if (request->status == 405)
        (void)evhttp_add_header(headers, "Allow", request->allow);
    if (request->status == 401)
        (void)evhttp_add_header(headers, "WWW-Authenticate", "Bearer");
    if (request->retry_after_s > 0) {
        (void)snprintf(number, sizeof number, "%d", request->retry_after_s);
        (void)evhttp_add_header(headers, "Retry-After", number);
    }
    struct evbuffer *body = evhttp_request_get_output_buffer(raw);
    if (!request->head_only)
        (void)evbuffer_add(body, sb_buf_text(&request->out), request->out.len);
    evhttp_send_reply(raw, request->status, reason(request->status), NULL);
    if (plain)
        write_now(client);
}

void sb_wire_send_head(sb_request_t *request)
{
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request->connection);
    add_common(headers, request);
    (void)evhttp_add_header(headers, "X-Accel-Buffering", "no"); /* a proxy must pass on what comes */
    (void)evhttp_add_header(headers, "Connection", "close");
    evhttp_send_reply_start(request->connection, 200, "OK");
}
