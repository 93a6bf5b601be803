/* keeper - what the store needs beside its write path: seals, partitions ahead, old commands forgotten, and a
 * look whether every event reached the relay and the views (events/tally.h).
 *
 * A thread and a connection of its own, so that nothing here holds up safe_seq; an elected role (lease
 * `keeper`), so that two instances never seal the same range. It seals what is safe, a bounded number of
 * events at a time, some milliseconds at a stretch, and rests four times as long: a fifth of a core at most.
 * What cannot be done is logged and tried again.
 *
 * Thread: open, run and close from one thread; stop and sealed from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_KEEPER_H
#define SB_EVENTS_KEEPER_H

#include "base/pg.h"
#include "events/progress.h"

typedef struct sb_keeper sb_keeper_t;

typedef struct sb_keeper_config {
    const char *pg_uri;
    const char *owner;        /* this instance's name, for the lease row */
    uint32_t overdue_ms;      /* 0: 10000 */
    int64_t commands_kept_ms; /* how long an append is idempotent by its command id; 0: 7 days */
    int64_t tally_ms;         /* how often counts of readers are compared; 0: 5000 */
    int64_t seal_ms;          /* how long an event may wait for its seal; 0: 10000; negative: none is made */
    sb_progress_t *progress; /* borrowed; has events of this process that need not be read back; NULL: none */
} sb_keeper_config_t;

SB_MUST_CHECK sb_code_t sb_keeper_open(sb_keeper_t **out, const sb_keeper_config_t *config, sb_error_t *err);
/* Runs until stopped: waits while another instance keeps, reconnects when PostgreSQL goes away. */
void sb_keeper_run(sb_keeper_t *keeper);
void sb_keeper_stop(sb_keeper_t *keeper);
void sb_keeper_close(sb_keeper_t **keeper); /* NULL is fine; sets NULL */

/* Up to here history is sealed, as far as this instance knows; 0 while it is not the one that seals. */
int64_t sb_keeper_sealed(const sb_keeper_t *keeper);

/* Ranges of seq that a reader took in otherwise than the store has them, and up to where all were compared; 0
 * while it is not the one that compares. */
void sb_keeper_tally(const sb_keeper_t *keeper, int64_t *ranges, int64_t *complete);

#endif
