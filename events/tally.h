/* tally - how many events each reader of the store has taken in, by blocks of seq, held against the store.
 *
 * A reader that must get every event (the relay, each view) counts what it takes in, and writes the counts in
 * the transaction that moves its cursor: both or none. The keeper compares them with the event table, block
 * by block up to the reader's cursor, and notes where they differ: an event that was passed over, or taken in
 * twice, whatever the reason: a fault of ours, or a cursor that somebody moved by hand. What a reader makes
 * of an event is not seen here (`view verify` does that), nor what Kafka loses after its acknowledgement.
 *
 * Thread: a tally is its owner's; the rest is the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_TALLY_H
#define SB_EVENTS_TALLY_H

#include "base/lease.h"

#define SB_TALLY_BLOCK  INT64_C(10000) /* in tally_check.sql, too */
#define SB_TALLY_BLOCKS 32

/* What was taken in and is not written. A plain value: a copy of it is a place to go back to. */
typedef struct sb_tally {
    int count;
    struct {
        int64_t block, events, seqs;
    } at[SB_TALLY_BLOCKS];
} sb_tally_t;

/* times: 1, or -1 to take one back. False: it is full, write it first. */
bool sb_tally_add(sb_tally_t *tally, int64_t seq, int times);
/* Whether the next batch might not fit. */
static inline bool sb_tally_is_long(const sb_tally_t *tally)
{
    return tally->count > SB_TALLY_BLOCKS / 2;
}

/* What writes a tally: the statement's parameters, for as long as its batch runs. */
typedef struct sb_tally_write {
    sb_pg_array_t block, events, seqs;
    sb_pg_params_t params;
} sb_tally_write_t;

void sb_tally_write_init(sb_tally_write_t *write);
void sb_tally_write_fini(sb_tally_write_t *write);
/* Adds the statement to the batch, when there is something to write. role and tally are borrowed for the
 * call; the tally is to be emptied when the batch has run. SB_NO_MEMORY only. */
SB_MUST_CHECK sb_code_t sb_tally_write_add(sb_tally_write_t *write, const sb_tally_t *tally, const char *role,
                                           int64_t generation, sb_pg_batch_t *batch, sb_error_t *err);
/* The same alone, in the open transaction or in one of its own, behind the guard of the lease. */
SB_MUST_CHECK sb_code_t sb_tally_flush(sb_tally_t *tally, sb_pg_t *pg, const sb_lease_t *guard,
                                       const char *role, int64_t generation, sb_error_t *err);

/* Makes a reader known that takes in these types of the domain class (NULL: all) and of the saga class,
 * beginning after a seq; one that is known stays as it is, unless its types are others. Arrays of text,
 * borrowed. */
SB_MUST_CHECK sb_code_t sb_tally_begin(sb_pg_t *pg, const char *role, int64_t generation,
                                       const sb_pg_array_t *domain, const sb_pg_array_t *saga,
                                       int64_t begun_seq, sb_error_t *err);

/* Forgets what generations of a view counted that do not stand any more. */
SB_MUST_CHECK sb_code_t sb_tally_forget(sb_pg_t *pg, const char *view, sb_error_t *err);

typedef struct sb_tally_found {
    bool more;        /* a reader is further than was compared */
    int64_t ranges;   /* that differ and that nobody has accepted, of all readers */
    int64_t complete; /* compared up to here, whoever is least far; -1: there is no reader */
} sb_tally_found_t;

/* Compares a part of what there is to compare, of each reader, each in a transaction behind the guard. */
SB_MUST_CHECK sb_code_t sb_tally_check(sb_pg_t *pg, const sb_lease_t *guard, sb_tally_found_t *found,
                                       sb_error_t *err);

/* Rows of role, generation, cursor, compared up to, ranges that differ, from, to, events, taken (of the
 * first range; NULL: there is none). *out is owned. */
SB_MUST_CHECK sb_code_t sb_tally_state(sb_pg_t *pg, sb_pg_result_t **out, sb_error_t *err);
/* Rows of role, from, to, events, taken, found_at, accepted_at, accepted_by, reason; newest first. */
SB_MUST_CHECK sb_code_t sb_tally_gaps(sb_pg_t *pg, int64_t limit, sb_pg_result_t **out, sb_error_t *err);
/* Says that the ranges known by now were seen to: of one reader, or of all (NULL). */
SB_MUST_CHECK sb_code_t sb_tally_accept(sb_pg_t *pg, const char *role, const char *by, const char *reason,
                                        int64_t *count, sb_error_t *err);

#endif
