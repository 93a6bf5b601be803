/* shard - one partition of sagas that this instance owns by a lease: its counters, its open sagas, its place
 * in the reply topic, and what waits to be decided.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_SHARD_H
#define SB_SAGA_SHARD_H

#include "base/lease.h"
#include "saga/orchestrator/batch.h"
#include "saga/orchestrator/open_saga.h"

#define SB_CLUSTER_MAX 64

typedef struct sb_shard {
    int number;
    sb_lease_t lease;
    int64_t next; /* counter of the next saga */
    int64_t low;  /* low-water mark as it stands in the lease row */

    int64_t cursor;               /* next reply to read, as it stands in the lease row */
    int64_t read_to;              /* next reply to read, as read */
    char cluster[SB_CLUSTER_MAX]; /* the brokers that cursor belongs to, as in the lease row */

    int64_t guard_us;   /* monotonic: when the last guard that held was sent */
    bool more_commands; /* the last look at saga_command found as many as it takes: look again at once */
    sb_saga_list_t sagas;
    sb_open_saga_t *first_fast; /* oldest saga that is not slow: it holds the low-water mark */
    int slow_count;
    bool slow_changed; /* the lease row does not name them yet */
    sb_item_list_t items;
    struct sb_late_reply *late; /* of the items, replies to sagas that may be over; in the turn's arena */
} sb_shard_t;

/* Tries to take a shard over: lease, fold of its open sagas, place in the reply topic. On success it is in
 * o->shard. SB_BUSY: someone else has it. */
SB_MUST_CHECK sb_code_t sb_shard_take(sb_orchestrator_t *o, int number, sb_error_t *err);

/* Forgets a shard and all that was in memory of it; release: gives the lease back too. */
void sb_shard_drop(sb_orchestrator_t *o, sb_shard_t *shard, bool release);

sb_shard_t *sb_shard_find(const sb_orchestrator_t *o, int number);

/* Whether the lease can be counted on for a while yet, by the monotonic clock: nothing is sent otherwise. */
bool sb_shard_is_fresh(const sb_orchestrator_t *o, const sb_shard_t *shard);

/* The first number the low-water mark must not pass. */
int64_t sb_shard_low(const sb_shard_t *shard);

/* Names the oldest sagas that have been open for more than SB_SLOW_US, at most SB_SLOW_MAX, as slow: one saga
 * that waits for an operator for a week must not make a takeover read a week of ended ones. */
#define SB_SLOW_US  60000000
#define SB_SLOW_MAX 1000
void sb_shard_mark_slow(sb_shard_t *shard, int64_t now_us);

/* A saga comes into the shard's list, or leaves it. */
void sb_shard_add(sb_shard_t *shard, sb_open_saga_t *saga);
void sb_shard_remove(sb_shard_t *shard, sb_open_saga_t *saga);

/* What the lease row keeps beside its numbers: {"cluster": …, "slow": [counters]}. */
void sb_shard_write_detail(const sb_shard_t *shard, const char *cluster, sb_buf_t *out);

#endif
