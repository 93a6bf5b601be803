/* lease - who may write: one elected owner a role, fenced by an epoch in PostgreSQL.
 *
 * A role (`sequencer`, `relay`, `view:NAME`, `saga:SHARD`) has one row in sagabus.lease. Whoever holds it
 * calls sagabus.lease_advance as the FIRST statement of every transaction of the role: it updates the row
 * `WHERE epoch = mine` and raises SB001 (SB_FENCED) when there is none, so a transaction of an owner that was
 * replaced can never commit, and a takeover waits for the one that is open.
 *
 * Two things say when to take over, neither decides whether: the owner's session advisory lock is free (its
 * connection died: at once), or its beat is overdue (the process is stopped: its backend is ended first): old
 * by the database's clock, or unchanged for as long by the monotonic clock of who waits, whatever the
 * database's clock has done in between. The epoch alone decides.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_LEASE_H
#define SB_BASE_LEASE_H

#include "base/pg.h"

#define SB_LEASE_ROLE_MAX 64

typedef struct sb_lease {
    char role[SB_LEASE_ROLE_MAX];
    int64_t epoch;  /* 0: not held */
    int64_t cursor; /* as read at the takeover; the meaning is the role's */
    int64_t low;
    int64_t next;
    sb_buf_t detail; /* JSON text the role keeps beside its cursor */
    struct {         /* the beat of the owner that is waited for, and since when it has been that one */
        int64_t epoch;
        int64_t beat_us;
        int64_t since_us; /* by this process's monotonic clock; 0: none was seen */
    } seen;
} sb_lease_t;

void sb_lease_init(sb_lease_t *lease, const char *role);
void sb_lease_fini(sb_lease_t *lease);

/* Tries once to become the owner over pg, which must be a direct connection (no transaction pooling) and is
 * the one whose transactions the lease guards. SB_OK: held, epoch and state are filled. SB_BUSY: someone else
 * holds it and its beat is younger than overdue_ms. An overdue owner's backend is ended; the next try gets
 * it. Who tries again does so with the same lease: it keeps what was seen of the owner. Blocks while the old
 * owner's open transaction ends. */
SB_MUST_CHECK sb_code_t sb_lease_acquire(sb_lease_t *lease, sb_pg_t *pg, const char *owner,
                                         int64_t overdue_ms, sb_error_t *err);

/* Gives the role back, so that another instance takes it at once. Best effort. */
void sb_lease_release(sb_lease_t *lease, sb_pg_t *pg);

/* One transaction of nothing but the guard: renews the beat of an idle owner. SB_FENCED: step down. */
SB_MUST_CHECK sb_code_t sb_lease_beat(sb_lease_t *lease, sb_pg_t *pg, sb_error_t *err);

/* What a transaction of the role moves in its row; NULL and an absent slice leave that column as it is. */
typedef struct sb_lease_move {
    const int64_t *cursor;
    const int64_t *low;
    const int64_t *next;
    sb_slice_t detail; /* JSON text, borrowed like any parameter */
} sb_lease_move_t;

/* The guard as a statement for batches and transactions, `SELECT sagabus.lease_advance(…)`, and its six
 * parameters. move NULL: nothing moves, the beat is renewed. The lease itself keeps what it read. */
extern const char sb_sql_lease_advance[];
void sb_lease_guard(const sb_lease_t *lease, const sb_lease_move_t *move, sb_pg_params_t *params);

#endif
