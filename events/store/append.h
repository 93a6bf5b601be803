/* append - an append made ready on its way to the database: checked, encoded, sent with others.
 *
 * sb_encoded_t holds one append with nothing borrowed: any thread may check and encode, another may send.
 * sb_append_batch_t collects such appends as the binary arrays of one statement and reads its answers.
 *
 * Thread: an object's owner; the catalog is any thread's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_APPEND_H
#define SB_EVENTS_APPEND_H

#include "base/hash.h"
#include "events/catalog.h"
#include "sagabus/store.h"

/* An append, checked. All zero is empty. */
typedef struct sb_encoded {
    sb_expect_t expect;
    int expected_version;
    sb_uuid_t command_id; /* nil: none */
    sb_hash_t hash;       /* of the request, with a command id */
    size_t count;
    size_t category_len, key_len;
    sb_buf_t bytes; /* category, key, then the events */
} sb_encoded_t;

/* What checking needs. */
typedef struct sb_append_rules {
    sb_catalog_t *catalog;
    sb_pg_t *pg;        /* loads the catalog once more for a type that is not known; NULL: it is refused */
    const char *source; /* of events that name none; NULL: the default */
    size_t event_bytes_max; /* 0: SB_EVENT_BYTES_MAX */
} sb_append_rules_t;

/* Checks an append and every event of it, and keeps it in *out, whose memory is used again. Errors as
 * sb_store_append's. *unknown (may be NULL): it failed for a type that the catalog does not have. */
SB_MUST_CHECK sb_code_t sb_append_encode(sb_encoded_t *out, const sb_append_rules_t *rules,
                                         const sb_append_t *append, bool *unknown, sb_error_t *err);
/* The hash of what was asked for. */
SB_MUST_CHECK sb_code_t sb_append_hash(const sb_append_t *append, sb_hash_t *out, sb_error_t *err);
void sb_encoded_fini(sb_encoded_t *encoded);
static inline sb_slice_t sb_encoded_category(const sb_encoded_t *encoded)
{
    return (sb_slice_t){encoded->bytes.ptr, encoded->category_len};
}
static inline sb_slice_t sb_encoded_key(const sb_encoded_t *encoded)
{
    return (sb_slice_t){encoded->bytes.ptr + encoded->category_len, encoded->key_len};
}

/* The answer to one append of a batch. */
typedef struct sb_append_answer {
    sb_code_t code; /* SB_OK: result holds; SB_MISMATCH: the command was another request */
    sb_append_result_t result;
} sb_append_answer_t;

typedef struct sb_append_batch {
    const sb_encoded_t *first; /* borrowed; of a batch of one */
    int count;
    size_t events;
    sb_pg_array_t categories, keys, expects, versions, commands, hashes, counts, ends; /* of each append */
    sb_pg_array_t of, nths, ids, types, times, metas, datas;                           /* of each event */
} sb_append_batch_t;

/* Where a batch leaves its answers for whoever loses the connection (append_lane in 0001_core.sql). */
typedef struct sb_append_lane {
    sb_uuid_t id;
    int64_t number;                 /* of the batch */
    void (*on_sent)(void *context); /* called while PostgreSQL is at work on it; NULL: nothing */
    void *context;
} sb_append_lane_t;

void sb_append_batch_init(sb_append_batch_t *batch);
void sb_append_batch_fini(sb_append_batch_t *batch);
void sb_append_batch_reset(sb_append_batch_t *batch);
/* Adds an append; it is borrowed until the batch is reset. */
void sb_append_batch_add(sb_append_batch_t *batch, const sb_encoded_t *encoded);

/* Sends the batch: one round trip, one transaction. answers has room for batch->count. lane NULL: none, and
 * atomic has its say. */
SB_MUST_CHECK sb_code_t sb_append_batch_run(sb_pg_t *pg, const sb_append_batch_t *batch, bool atomic,
                                            const sb_append_lane_t *lane, sb_append_answer_t *answers,
                                            sb_error_t *err);

/* The answers of a result with the columns outcome, version, first_seq, last_seq; SB_CORRUPT unless it has
 * count rows. */
SB_MUST_CHECK sb_code_t sb_append_read_answers(const sb_pg_result_t *rows, int count,
                                               sb_append_answer_t *answers, sb_error_t *err);

#endif
