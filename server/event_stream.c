/* GET /v1/events/stream: events as they come, as server-sent events.
 *
 * A worker fills a piece of bounded size and is free; the next one is made when the client has taken it. With
 * nothing new the request waits in the tail. The id of each event is its seq, so a client that comes back
 * with Last-Event-ID goes on behind it; a sign of life carries the place that was reached as well, so that it
 * need not search again what its filter left out. When the place of a client that was away for long is no
 * longer kept, it is told so by an event "error" with the problem's document, and the stream ends: to come
 * back to it is answered 410.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "server/event_json.h"
#include "server/event_query.h"
#include "server/handlers.h"
#include "server/tail.h"

#include <stdlib.h>

#define PIECE_EVENTS    500
#define PIECE_BYTES     (256u << 10)
#define SEARCH_MS       1000
#define SIGN_OF_LIFE_MS 15000

typedef struct piece {
    sb_buf_t *out;
    sb_buf_t json;
    int count;
    bool full;
} piece_t;

/* Bodies are kept as given, and may have line ends between their tokens: each line is a line of data. */
static void add_lines(sb_buf_t *out, sb_slice_t text)
{
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\n' && text.ptr[i] != '\r')
            continue;
        sb_buf_add(out, text.ptr + from, i - from);
        sb_buf_add_text(out, "\ndata: ");
        from = i + 1;
    }
    sb_buf_add(out, text.ptr + from, text.len - from);
}

static sb_code_t write_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    piece_t *piece = context;
    if (piece->count > 0 && piece->out->len + event->data.len > PIECE_BYTES) {
        piece->full = true;
        return sb_fail(err, SB_STOPPED, "the piece is full");
    }
    piece->count++;
    sb_buf_reset(&piece->json);
    sb_event_json(event, &piece->json);
    sb_buf_printf(piece->out, "id: %lld\ndata: ", (long long)event->seq);
    add_lines(piece->out, sb_buf_slice(&piece->json));
    sb_buf_add_text(piece->out, "\n\n");
    piece->out->failed |= piece->json.failed;
    return SB_OK;
}

/* The client has taken a piece: what there is more of comes as soon as a worker is free. */
static void resume(sb_request_t *request)
{
    request->wait.seen = -1;
    request->wait.until_us = sb_mono_us() + SIGN_OF_LIFE_MS * INT64_C(1000);
    sb_tail_park(request->state, request);
}

/* Where it begins: behind what the client has, where it says, or with what is new. */
static sb_code_t begin(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    static const char *const query[] = {"types", "category", "after", "since", NULL};
    const char *last = request->last_event_id;
    char *end = NULL;
    int64_t safe = 0;
    sb_code_t code = sb_request_query_only(request, query, err);
    if (code == SB_OK)
        code = sb_store_safe_seq(worker->store, &safe, err);
    if (code == SB_OK && !last[0])
        code = sb_event_query_place(worker, request, safe, &request->wait.at, err);
    if (code == SB_OK && last[0]) {
        request->wait.at = strtoll(last, &end, 10);
        if (*end || request->wait.at < 0)
            code =
                sb_fail(err, SB_INVALID, "Last-Event-ID: %s is not the id of an event of this stream", last);
    }
    if (code == SB_OK) { /* a place that is no longer kept is refused now, not after the head */
        sb_read_all_t read = {.after_seq = request->wait.at, .limit = 0};
        code = sb_store_read_all(worker->store, &read, NULL, NULL, NULL, err);
    }
    if (code != SB_OK)
        return code;
    request->answer_type = "text/event-stream";
    request->state = worker->engine->tail;
    request->stream.resume = resume;
    request->stream.on = !request->head_only;
    sb_buf_add_text(&request->out, "retry: 1000\n\n");
    return SB_OK;
}

static sb_code_t fill(sb_worker_t *worker, sb_request_t *request, piece_t *piece, sb_error_t *err)
{
    sb_slice_t types[SB_READ_TYPES_MAX];
    sb_read_all_t read = {.after_seq = request->wait.at, .limit = PIECE_EVENTS, .budget_ms = SEARCH_MS};
    int64_t at = 0;
    sb_code_t code = sb_event_query_filter(request, &read, types, err);
    if (code == SB_OK)
        code = sb_store_read_all(worker->store, &read, write_event, piece, &at, err);
    if (code == SB_STOPPED && piece->full) {
        sb_error_clear(err);
        code = SB_OK;
    }
    if (code == SB_OK) /* else the piece is not sent, and its events come again */
        request->wait.at = at;
    return code;
}

sb_code_t sb_get_event_stream(sb_worker_t *worker, sb_request_t *request, sb_error_t *err)
{
    int64_t seen = sb_tail_seen(worker->engine->tail); /* before the store is asked */
    if (!request->stream.started) { /* checks the filter, too; the first piece is the head */
        sb_slice_t types[SB_READ_TYPES_MAX];
        sb_read_all_t read = {.type_count = 0};
        sb_code_t code = sb_event_query_filter(request, &read, types, err);
        return code == SB_OK ? begin(worker, request, err) : code;
    }
    piece_t piece = {.out = &request->out, .json = SB_BUF_INIT};
    sb_code_t code = fill(worker, request, &piece, err);
    sb_buf_fini(&piece.json);
    if (code == SB_OK && piece.count == 0) {
        request->wait.park = true;
        request->wait.seen =
            request->wait.at < seen ? -1 : seen; /* a search that is not at its end goes on */
        if (request->wait.until_us <= sb_mono_us())
            request->wait.until_us = sb_mono_us() + SIGN_OF_LIFE_MS * INT64_C(1000);
    }
    return code;
}
