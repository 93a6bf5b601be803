/* store_keys - which key a stream number has: what a reader of many streams has looked up already.
 *
 * A saga's number may be a stream's, too: it is given as -number, and the key is the saga's id (the number
 * where the store has the saga no more, as on Kafka).
 *
 * A stream's key never changes, so nothing here gets old. Bounded: it is emptied when it has grown full.
 *
 * Thread: the store's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_STORE_KEYS_H
#define SB_EVENTS_STORE_KEYS_H

#include "base/pg.h"

typedef struct sb_store_keys {
    struct sb_store_key *slot; /* open addressing; NULL: nothing yet */
    size_t slot_count;
    size_t count;
    sb_buf_t text; /* the keys, one after the other */
    sb_pg_array_t missing;
} sb_store_keys_t;

void sb_store_keys_fini(sb_store_keys_t *keys);

/* Before a page: makes room for new_max more streams, at the price of the old ones when it is full. */
SB_MUST_CHECK sb_code_t sb_store_keys_begin(sb_store_keys_t *keys, size_t new_max, sb_error_t *err);
/* Notes that the page needs this stream's key. */
void sb_store_keys_need(sb_store_keys_t *keys, int64_t stream_no);
/* Fetches what was noted and is not there, in one round trip; none when all is. */
SB_MUST_CHECK sb_code_t sb_store_keys_load(sb_store_keys_t *keys, sb_pg_t *pg, sb_error_t *err);
/* Borrowed until the next begin; absent when there is no such stream. */
sb_slice_t sb_store_keys_get(const sb_store_keys_t *keys, int64_t stream_no);

#endif
