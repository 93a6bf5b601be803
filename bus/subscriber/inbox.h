/* inbox - where a subscription stands and what it has handled above that, in the service's own database.
 *
 * The statements of tables position and inbox, and how a member holds its partitions: sb_inbox_claim raises
 * the epoch, every transaction begins with sb_inbox_begin, which locks the rows of its partitions under the
 * epochs it knows, and positions move in the same transaction.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_INBOX_H
#define SB_BUS_INBOX_H

#include "base/pg.h"

/* Everything up to it is handled. */
typedef struct sb_inbox_mark {
    int64_t incarnation; /* 0: no record with a position of the store yet */
    int64_t seq;
    int64_t next_offset; /* -1: unknown */
} sb_inbox_mark_t;

/* The highest event with a row of its own: rows above the mark may be there up to it. */
typedef struct sb_inbox_top {
    int64_t incarnation;
    int64_t seq; /* 0: none */
} sb_inbox_top_t;

static inline bool sb_inbox_above(int64_t incarnation, int64_t seq, const sb_inbox_top_t *top)
{
    return incarnation != top->incarnation ? incarnation > top->incarnation : seq > top->seq;
}

typedef struct sb_inbox_claim {
    int64_t epoch;
    sb_inbox_mark_t mark;
    bool other_cluster; /* the offset was of other brokers, and is forgotten */
    sb_inbox_top_t top; /* the highest one handled above the mark */
    bool holds_keys;    /* there is a key in quarantine */
} sb_inbox_claim_t;

/* Takes a partition over, waiting for transactions of the member before. */
SB_MUST_CHECK sb_code_t sb_inbox_claim(sb_pg_t *pg, const char *subscription, const char *topic,
                                       int32_t partition, const char *owner, const char *cluster_id,
                                       sb_inbox_claim_t *out, sb_error_t *err);

/* Ends transactions that hold the partition, of another member of the same database user, in which nothing
 * has happened for idle_ms: one that stands still would keep it from everybody. */
SB_MUST_CHECK sb_code_t sb_inbox_end_idle(sb_pg_t *pg, const char *subscription, const char *topic,
                                          int32_t partition, const char *owner, int64_t idle_ms,
                                          int64_t *ended, sb_error_t *err);

/* Forgets the offset of a partition held by this epoch, whose records have no positions. */
SB_MUST_CHECK sb_code_t sb_inbox_begin_again(sb_pg_t *pg, const char *subscription, const char *topic,
                                             int32_t partition, int64_t epoch, sb_error_t *err);

/* A partition of a batch. */
typedef struct sb_inbox_part {
    const char *topic;
    int32_t partition;
    int64_t epoch;
    bool held;              /* out: the row is ours */
    sb_inbox_mark_t stored; /* out */
} sb_inbox_part_t;

/* An event of a batch that needs a row, because no position covers it in this transaction. */
typedef struct sb_inbox_item {
    sb_slice_t source;
    sb_slice_t id;
    const char *topic;
    int32_t partition;
    int64_t incarnation;
    int64_t seq; /* 0: it has no position */
    bool is_new; /* out */
} sb_inbox_item_t;

typedef struct sb_inbox_key {
    const char *topic;
    sb_slice_t key;
    bool held; /* out: in quarantine, and locked */
} sb_inbox_key_t;

typedef struct sb_inbox_batch {
    sb_inbox_part_t *parts;
    size_t part_count;
    sb_inbox_item_t *items;
    size_t item_count;
    sb_inbox_key_t *keys;
    size_t key_count;
} sb_inbox_batch_t;

/* Begins a transaction that holds the partitions and has the items' rows; one round trip. */
SB_MUST_CHECK sb_code_t sb_inbox_begin(sb_pg_t *pg, const char *subscription, const sb_inbox_batch_t *batch,
                                       sb_error_t *err);

typedef struct sb_inbox_save {
    const char *topic;
    int32_t partition;
    int64_t epoch;
    sb_inbox_mark_t mark;
    bool pass; /* rows up to mark.seq may be there: they go */
} sb_inbox_save_t;

/* Moves positions and commits; one round trip. The rows are held since sb_inbox_begin, so none can
 * have gone. */
SB_MUST_CHECK sb_code_t sb_inbox_commit(sb_pg_t *pg, const char *subscription, const sb_inbox_save_t *saves,
                                        size_t count, sb_error_t *err);
/* Moves positions in a transaction of its own; rows that are not ours any more stay as they are. */
SB_MUST_CHECK sb_code_t sb_inbox_save(sb_pg_t *pg, const char *subscription, const sb_inbox_save_t *saves,
                                      size_t count, sb_error_t *err);

/* Deletes some of what is too old to matter. */
SB_MUST_CHECK sb_code_t sb_inbox_purge(sb_pg_t *pg, sb_error_t *err);

#endif
