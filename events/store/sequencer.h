/* sequencer - publishes the safe sequence number, by rule V5; what is below it is on disk.
 *
 * Below safe_seq nothing appears any more: relay, views and subscriptions read up to it. The rule looks at
 * who holds the insert lock on the event table, never at holes, clocks or xmin; sequencer.c states it in
 * full. The keeper (seals, partitions, upkeep) runs beside it, on a thread that sb_sequencer_run starts and
 * ends.
 *
 * Thread: open, run and close from one thread; stop from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SEQUENCER_H
#define SB_EVENTS_SEQUENCER_H

#include "base/pg.h"
#include "events/progress.h"

typedef struct sb_sequencer sb_sequencer_t;

typedef struct sb_sequencer_config {
    const char *pg_uri;
    const char *owner;        /* this instance's name, for the lease row */
    sb_progress_t *progress;  /* borrowed; may be NULL */
    uint32_t tick_ms;         /* between ticks while events come, at most (4 while many do); 0: 1 */
    uint32_t idle_ms;         /* slowest pace when nothing comes; 0: 50 */
    uint32_t overdue_ms;      /* 0: 10000 */
    int64_t commands_kept_ms; /* the keeper's, as the next: events/store/keeper.h */
    int64_t seal_ms;
} sb_sequencer_config_t;

typedef struct sb_sequencer_stats { /* each read atomically */
    bool leader;
    int64_t safe_seq;
    int64_t lag_events;    /* last sequence number drawn, minus safe_seq */
    int64_t lag_ms;        /* how long safe_seq has been behind; 0 when it is not */
    int blocker_pid;       /* backend of the oldest transaction that holds safe_seq back; 0: none */
    char blocker_name[64]; /* its application_name */
    int64_t sealed_seq;    /* up to here history is sealed; 0: another instance knows */
    int64_t gap_ranges;    /* of seq, that the relay or a view took in otherwise than the store has them */
    int64_t complete_seq;  /* compared up to here; 0: another instance compares */
} sb_sequencer_stats_t;

SB_MUST_CHECK sb_code_t sb_sequencer_open(sb_sequencer_t **out, const sb_sequencer_config_t *config,
                                          sb_error_t *err);
/* Runs until stopped: waits while another instance leads, reconnects when PostgreSQL goes away. */
void sb_sequencer_run(sb_sequencer_t *sequencer);
void sb_sequencer_stop(sb_sequencer_t *sequencer);
void sb_sequencer_close(sb_sequencer_t **sequencer);
void sb_sequencer_stats(const sb_sequencer_t *sequencer, sb_sequencer_stats_t *out);

#endif
