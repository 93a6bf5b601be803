/* progress - how far the parts of this process are, and who wants to be woken when one moves.
 *
 * The sequencer publishes the safe sequence number here; relay, projectors and followers wait for it.
 * Appenders poke the sequencer, and say which events are on disk already: those need not wait for the disk
 * once more (docs/adr/0008). With the parts in different processes nothing is published and everyone polls
 * the lease rows at their idle pace: this object saves latency, never correctness.
 *
 * What an appender has had written it can leave here, too, for readers of this process (events/recent.h).
 *
 * Thread: any. Listeners register before the threads start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_PROGRESS_H
#define SB_EVENTS_PROGRESS_H

#include "base/signal.h"
#include "events/recent.h"
#include "sagabus/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define SB_PROGRESS_LISTENERS 16
#define SB_PROGRESS_SPANS     128 /* of events on disk; past that the lowest are forgotten, and wait */

typedef struct sb_progress_span {
    int64_t first, last;
} sb_progress_span_t;

typedef struct sb_progress {
    _Atomic int64_t safe_seq;  /* published by the sequencer of this process; 0: not yet */
    _Atomic int64_t relay_seq; /* acknowledged by Kafka */
    sb_signal_t *poke; /* raised by appenders: there may be something to sequence; NULL: no sequencer here */
    sb_signal_t *listener[SB_PROGRESS_LISTENERS];
    int listener_count;
    pthread_mutex_t lock;                       /* of what follows */
    sb_progress_span_t span[SB_PROGRESS_SPANS]; /* on disk and perhaps not safe yet: rising, none touching */
    int span_count;
    sb_recent_t recent; /* the newest of those on disk */
    uint64_t era;       /* of the three above */
    bool leading;       /* the era lasts: the sequencer of this process has the lease */
} sb_progress_t;

void sb_progress_init(sb_progress_t *progress);
void sb_progress_fini(sb_progress_t *progress);
void sb_progress_listen(sb_progress_t *progress, sb_signal_t *signal); /* borrowed */
void sb_progress_poke(sb_progress_t *progress);                        /* NULL is fine */
void sb_progress_publish_safe(sb_progress_t *progress, int64_t safe_seq);

/* Says that what was appended is on disk, and pokes. Only for an append whose transaction was the call's own:
 * sb_store_append and its like outside a transaction, sb_appender_t, a batch of the orchestrator. They answer
 * when PostgreSQL has written the commit to its log. A caller's own transaction may have been told not to
 * wait for that: after it, and after any doubt, poke. count: events of the append. NULL is fine. era:
 * sb_progress_era before the append began. Word of an append that began before the sequencer last took its
 * lease is not taken: the answer may be that of a server that another, or a backup, has replaced since, where
 * its numbers are other events. */
uint64_t sb_progress_era(sb_progress_t *progress);
void sb_progress_appended(sb_progress_t *progress, uint64_t era, const sb_append_result_t *result,
                          size_t count);

/* Before that, for readers: the packed rows of these events, in the order of their numbers. NULL is fine. */
void sb_progress_keep(sb_progress_t *progress, uint64_t era, const sb_append_result_t *result, size_t count,
                      sb_slice_t rows);

/* Events above a number as they were written, up to one that is safe, without a hole, and until bytes_max of
 * packed rows are there. Appends them to out; returns the number of the last one; after: there is none. NULL
 * is fine. They are what PostgreSQL was given and has on disk; what was erased since is here as it was. */
int64_t sb_progress_recent(sb_progress_t *progress, int64_t after, int64_t to, size_t bytes_max,
                           sb_buf_t *out);

/* The sequencer's: up to where all events above safe are known to be on disk (safe: none is); forgets those
 * up to safe. */
int64_t sb_progress_disk_seq(sb_progress_t *progress, int64_t safe);
/* The sequencer's, when it has its lease and when that ends: forgets all events, and appends under way. */
void sb_progress_era_begin(sb_progress_t *progress);
void sb_progress_era_end(sb_progress_t *progress);

#endif
