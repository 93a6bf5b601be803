/* Range r is lane r % jobs's, so the order is known beforehand: the caller empties the lanes' queues in turn.
 * A lane packs its rows into chunks, which go round between its thread and the caller's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_history.h"

#include "base/thread.h"
#include "events_sql.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define JOBS        2
#define RANGE_SEQS  16384
#define CHUNK_BYTES 262144u
#define LANE_BYTES  (6u << 20) /* that wait in a lane: more than a usual range, so that lanes do not wait */
#define KEYS_MAX    (8u << 20) /* bytes of streams' keys that a lane keeps */

/* A row in a chunk: this, then the bytes of the body. */
typedef struct packed {
    int64_t seq;
    int64_t time_us;
    int64_t stream_no;
    uint32_t key_at; /* of the stream's key, in the chunk's keys */
    uint32_t key_len;
    int32_t type_no;
    uint32_t data_len;
} packed_t;

typedef struct chunk {
    struct chunk *next;
    sb_buf_t rows;
    sb_buf_t keys;
    bool last; /* of its range */
} chunk_t;

/* The streams that a lane knows: an open-addressed table, emptied when it is full. */
typedef struct known {
    int64_t stream_no; /* 0: free */
    uint32_t at;
    uint32_t len;
} known_t;

typedef struct lane {
    struct sb_view_history *history;
    int number;
    pthread_t thread;
    sb_pg_t *pg;     /* COPY */
    sb_pg_t *finder; /* of streams' keys, while a COPY is on */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    chunk_t *first, *newest; /* that wait; guarded by lock, as are the next four */
    chunk_t *spare;
    size_t waiting; /* bytes of those that wait */
    sb_code_t code; /* why it ended early */
    sb_error_t err;
    chunk_t *filling; /* the rest is the thread's own */
    known_t *known;
    size_t known_count, known_cap;
    sb_buf_t key_text;
    sb_pg_array_t wanted;
} lane_t;

struct sb_view_history {
    sb_view_history_config_t config;
    int64_t after, to, width;
    int64_t ranges;
    atomic_bool stop;
    int jobs;
    lane_t lane[SB_VIEW_JOBS_MAX];
};

static sb_code_t out_of_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "history of a view: out of memory");
}

/* ---- chunks ---- */

static void free_chunks(chunk_t *chunk)
{
    while (chunk) {
        chunk_t *next = chunk->next;
        sb_buf_fini(&chunk->rows);
        sb_buf_fini(&chunk->keys);
        free(chunk);
        chunk = next;
    }
}

static chunk_t *take_spare(lane_t *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    chunk_t *chunk = lane->spare;
    if (chunk)
        lane->spare = chunk->next;
    (void)pthread_mutex_unlock(&lane->lock);
    if (!chunk)
        chunk = calloc(1, sizeof *chunk);
    if (chunk)
        chunk->next = NULL;
    return chunk;
}

/* An emptied chunk goes back; one that a large event has blown up does not keep its memory. */
static void give_back(lane_t *lane, chunk_t *chunk)
{
    bool large = chunk->rows.len > 2 * (size_t)CHUNK_BYTES;
    if (large)
        sb_buf_fini(&chunk->rows);
    sb_buf_reset(&chunk->rows);
    sb_buf_reset(&chunk->keys);
    chunk->last = false;
    (void)pthread_mutex_lock(&lane->lock);
    chunk->next = lane->spare;
    lane->spare = chunk;
    (void)pthread_mutex_unlock(&lane->lock);
}

/* Waits for room. False: it is to stop. */
static bool push(lane_t *lane, chunk_t *chunk)
{
    size_t bytes = chunk->rows.len + chunk->keys.len;
    (void)pthread_mutex_lock(&lane->lock);
    while (lane->waiting > 0 && lane->waiting + bytes > LANE_BYTES && !atomic_load(&lane->history->stop))
        (void)pthread_cond_wait(&lane->changed, &lane->lock);
    chunk->next = NULL;
    if (lane->first)
        lane->newest->next = chunk;
    else
        lane->first = chunk;
    lane->newest = chunk;
    lane->waiting += bytes;
    (void)pthread_cond_signal(&lane->changed);
    (void)pthread_mutex_unlock(&lane->lock);
    return !atomic_load(&lane->history->stop);
}

/* NULL: the lane ended early. */
static chunk_t *pop(lane_t *lane)
{
    (void)pthread_mutex_lock(&lane->lock);
    while (!lane->first && lane->code == SB_OK)
        (void)pthread_cond_wait(&lane->changed, &lane->lock);
    chunk_t *chunk = lane->first;
    if (chunk) {
        lane->first = chunk->next;
        lane->waiting -= chunk->rows.len + chunk->keys.len;
    }
    (void)pthread_cond_signal(&lane->changed);
    (void)pthread_mutex_unlock(&lane->lock);
    return chunk;
}

/* ---- keys of streams ---- */

static known_t *slot_of(const lane_t *lane, int64_t stream_no)
{
    size_t mask = lane->known_cap - 1;
    size_t i = (size_t)((uint64_t)stream_no * 0x9E3779B97F4A7C15u >> 20) & mask;
    while (lane->known[i].stream_no && lane->known[i].stream_no != stream_no)
        i = (i + 1) & mask;
    return &lane->known[i];
}

static void forget(lane_t *lane)
{
    memset(lane->known, 0, lane->known_cap * sizeof *lane->known);
    lane->known_count = 0;
    sb_buf_reset(&lane->key_text);
}

static sb_code_t grow_known(lane_t *lane, sb_error_t *err)
{
    size_t old_cap = lane->known_cap;
    known_t *old = lane->known;
    size_t cap = old_cap ? old_cap * 2 : 4096;
    lane->known = calloc(cap, sizeof *lane->known);
    if (!lane->known) {
        lane->known = old;
        return out_of_memory(err);
    }
    lane->known_cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].stream_no)
            *slot_of(lane, old[i].stream_no) = old[i];
    free(old);
    return SB_OK;
}

static sb_code_t learn(lane_t *lane, int64_t stream_no, sb_slice_t key, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if ((lane->known_count + 1) * 3 > lane->known_cap * 2)
        code = grow_known(lane, err);
    if (code != SB_OK)
        return code;
    known_t *slot = slot_of(lane, stream_no);
    if (slot->stream_no)
        return SB_OK;
    *slot = (known_t){stream_no, (uint32_t)lane->key_text.len, (uint32_t)key.len};
    sb_buf_add_slice(&lane->key_text, key);
    lane->known_count++;
    return sb_buf_failed(&lane->key_text) ? out_of_memory(err) : SB_OK;
}

/* Asks for the streams of lane->wanted. */
static sb_code_t find_keys(lane_t *lane, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_array(&params, &lane->wanted);
    sb_code_t code = sb_pg_query(lane->finder, sb_sql_view_stream_keys, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++)
        code = learn(lane, sb_pg_get_int(result, i, 0), sb_pg_get_slice(result, i, 1), err);
    sb_pg_result_free(result);
    return code;
}

static size_t row_bytes(const packed_t *row)
{
    return (sizeof *row + row->data_len + 7) / 8 * 8;
}

static packed_t *row_at(const chunk_t *chunk, size_t at)
{
    return (packed_t *)(void *)(chunk->rows.ptr + at);
}

static sb_code_t fill_keys(lane_t *lane, chunk_t *chunk, sb_error_t *err)
{
    for (size_t at = 0; at < chunk->rows.len; at += row_bytes(row_at(chunk, at))) {
        packed_t *row = row_at(chunk, at);
        const known_t *known = slot_of(lane, row->stream_no);
        if (!known->stream_no)
            return sb_fail(err, SB_CORRUPT, "event %" PRId64 " is of stream %" PRId64 ", which is not there",
                           row->seq, row->stream_no);
        row->key_at = (uint32_t)chunk->keys.len;
        row->key_len = known->len;
        sb_buf_add(&chunk->keys, lane->key_text.ptr + known->at, known->len);
    }
    return sb_buf_failed(&chunk->keys) ? out_of_memory(err) : SB_OK;
}

static sb_code_t add_keys(lane_t *lane, chunk_t *chunk, sb_error_t *err)
{
    int64_t before = 0;
    if (lane->key_text.len + lane->known_count * sizeof *lane->known > KEYS_MAX)
        forget(lane);
    sb_code_t code = lane->known_cap == 0 ? grow_known(lane, err) : SB_OK;
    sb_pg_array_reset(&lane->wanted);
    for (size_t at = 0; code == SB_OK && at < chunk->rows.len; at += row_bytes(row_at(chunk, at))) {
        int64_t stream_no = row_at(chunk, at)->stream_no;
        if (stream_no != before && !slot_of(lane, stream_no)->stream_no)
            sb_pg_array_add_int8(&lane->wanted, stream_no);
        before = stream_no;
    }
    if (code == SB_OK && sb_pg_array_failed(&lane->wanted))
        code = out_of_memory(err);
    if (code == SB_OK && lane->wanted.count > 0)
        code = find_keys(lane, err);
    return code == SB_OK ? fill_keys(lane, chunk, err) : code;
}

/* ---- a lane's thread ---- */

static sb_code_t send_chunk(lane_t *lane, bool last, sb_error_t *err)
{
    chunk_t *chunk = lane->filling;
    sb_code_t code = SB_OK;
    if (!chunk && last)
        chunk = lane->filling = take_spare(lane);
    if (!chunk || sb_buf_failed(&chunk->rows))
        return out_of_memory(err);
    chunk->last = last;
    if (lane->history->config.reads_subject)
        code = add_keys(lane, chunk, err);
    if (code != SB_OK)
        return code;
    lane->filling = NULL;
    return push(lane, chunk) ? SB_OK : sb_fail(err, SB_STOPPED, "the read was stopped");
}

static sb_code_t on_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    static const char zeros[8];
    lane_t *lane = context;
    if (count != 5)
        return sb_fail(err, SB_CORRUPT, "history of a view: a row of %d fields", count);
    if (!lane->filling)
        lane->filling = take_spare(lane);
    if (!lane->filling)
        return out_of_memory(err);
    packed_t row = {.seq = sb_pg_read_int(fields[0]),
                    .time_us = sb_pg_read_time(fields[1]),
                    .type_no = (int32_t)sb_pg_read_int(fields[2]),
                    .stream_no = sb_pg_read_int(fields[3]),
                    .data_len = (uint32_t)fields[4].len};
    sb_buf_t *rows = &lane->filling->rows;
    sb_buf_add(rows, &row, sizeof row);
    sb_buf_add_slice(rows, fields[4]);
    sb_buf_add(rows, zeros, row_bytes(&row) - sizeof row - row.data_len);
    return rows->len >= CHUNK_BYTES ? send_chunk(lane, false, err) : SB_OK;
}

static sb_code_t read_range(lane_t *lane, int64_t range, sb_error_t *err)
{
    const sb_view_history_t *history = lane->history;
    int64_t after = history->after + range * history->width;
    int64_t to = after + history->width < history->to ? after + history->width : history->to;
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_printf(&sql,
                  "COPY (SELECT seq, at, type_no, stream_no, data FROM sagabus.event WHERE class = 1 AND "
                  "type_no = ANY ('%s') AND seq > %" PRId64 " AND seq <= %" PRId64
                  " ORDER BY seq) TO STDOUT (FORMAT BINARY)",
                  history->config.type_nos, after, to);
    sb_code_t code = sb_buf_failed(&sql) ? out_of_memory(err)
                                         : sb_pg_copy_out(lane->pg, sb_buf_text(&sql), on_row, lane, err);
    sb_buf_fini(&sql);
    return code == SB_OK ? send_chunk(lane, true, err) : code;
}

static void *run_lane(void *context)
{
    lane_t *lane = context;
    sb_view_history_t *history = lane->history;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = SB_OK;
    for (int64_t r = lane->number; r < history->ranges && code == SB_OK; r += history->jobs)
        code = read_range(lane, r, &err);
    (void)pthread_mutex_lock(&lane->lock);
    lane->code = code;
    lane->err = err;
    (void)pthread_cond_signal(&lane->changed);
    (void)pthread_mutex_unlock(&lane->lock);
    return NULL;
}

/* ---- the caller's side ---- */

static sb_code_t hand_out(const chunk_t *chunk, bool subject, sb_view_record_fn on_record, void *context,
                          sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t at = 0; code == SB_OK && at < chunk->rows.len; at += row_bytes(row_at(chunk, at))) {
        const packed_t *row = row_at(chunk, at);
        sb_view_record_t record = {.seq = row->seq,
                                   .time_us = row->time_us,
                                   .stream_no = row->stream_no,
                                   .type_no = row->type_no,
                                   .data = {(const char *)(row + 1), row->data_len}};
        if (subject)
            record.subject = (sb_slice_t){chunk->keys.ptr + row->key_at, row->key_len};
        code = on_record(context, &record, err);
    }
    return code;
}

static sb_code_t take_range(lane_t *lane, sb_view_record_fn on_record, void *context, sb_error_t *err)
{
    for (bool last = false; !last;) {
        chunk_t *chunk = pop(lane);
        if (!chunk) {
            if (err)
                *err = lane->err;
            return lane->code;
        }
        last = chunk->last;
        sb_code_t code = hand_out(chunk, lane->history->config.reads_subject, on_record, context, err);
        give_back(lane, chunk);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

static void join(sb_view_history_t *history, int started)
{
    atomic_store(&history->stop, true);
    for (int i = 0; i < started; i++) {
        lane_t *lane = &history->lane[i];
        (void)pthread_mutex_lock(&lane->lock);
        (void)pthread_cond_broadcast(&lane->changed);
        (void)pthread_mutex_unlock(&lane->lock);
        (void)pthread_join(lane->thread, NULL);
        free_chunks(lane->first);
        free_chunks(lane->filling);
        lane->first = lane->filling = NULL;
        lane->waiting = 0;
    }
}

sb_code_t sb_view_history_read(sb_view_history_t *history, int64_t after, int64_t to,
                               sb_view_record_fn on_record, void *context, sb_error_t *err)
{
    int started = 0;
    sb_code_t code = SB_OK;
    if (to <= after)
        return SB_OK;
    history->after = after;
    history->to = to;
    history->ranges = (to - after + history->width - 1) / history->width;
    atomic_store(&history->stop, false);
    for (; started < history->jobs && code == SB_OK; started += code == SB_OK) {
        history->lane[started].code = SB_OK;
        if (!sb_thread_start(&history->lane[started].thread, "history", run_lane, &history->lane[started]))
            code = sb_fail(err, SB_NO_MEMORY, "history of a view: no thread");
    }
    for (int64_t r = 0; r < history->ranges && code == SB_OK; r++)
        code = take_range(&history->lane[r % history->jobs], on_record, context, err);
    join(history, started);
    return code;
}

/* ---- life ---- */

static sb_code_t open_lane(sb_view_history_t *history, int number, sb_error_t *err)
{
    lane_t *lane = &history->lane[number];
    sb_pg_config_t config = {.uri = history->config.pg_uri,
                             .application_name = "sagabus-replay",
                             .statement_timeout_ms = UINT32_MAX};
    lane->history = history;
    lane->number = number;
    (void)pthread_mutex_init(&lane->lock, NULL);
    (void)pthread_cond_init(&lane->changed, NULL);
    sb_pg_array_init(&lane->wanted, SB_PG_INT8);
    history->jobs = number + 1;
    sb_code_t code = sb_pg_open(&lane->pg, &config, err);
    return code == SB_OK && history->config.reads_subject ? sb_pg_open(&lane->finder, &config, err) : code;
}

sb_code_t sb_view_history_open(sb_view_history_t **out, const sb_view_history_config_t *config,
                               sb_error_t *err)
{
    int jobs = config->jobs ? config->jobs : JOBS;
    sb_view_history_t *history = *out = calloc(1, sizeof *history);
    if (!history)
        return out_of_memory(err);
    history->config = *config;
    history->width = config->range_seqs ? config->range_seqs : RANGE_SEQS;
    sb_code_t code = SB_OK;
    for (int i = 0; i < jobs && i < SB_VIEW_JOBS_MAX && code == SB_OK; i++)
        code = open_lane(history, i, err);
    if (code != SB_OK)
        sb_view_history_close(out);
    return code;
}

void sb_view_history_close(sb_view_history_t **history)
{
    sb_view_history_t *h = *history;
    if (!h)
        return;
    for (int i = 0; i < h->jobs; i++) {
        lane_t *lane = &h->lane[i];
        free_chunks(lane->spare);
        free(lane->known);
        sb_buf_fini(&lane->key_text);
        sb_pg_array_fini(&lane->wanted);
        sb_pg_close(&lane->finder);
        sb_pg_close(&lane->pg);
        (void)pthread_cond_destroy(&lane->changed);
        (void)pthread_mutex_destroy(&lane->lock);
    }
    free(h);
    *history = NULL;
}
