/* progress - how far the parts of this process are, and who wants to be woken when one moves.
 *
 * The sequencer publishes the safe sequence number here; relay, projectors and followers wait for it.
 * Appenders poke the sequencer. With the parts in different processes nothing is published and everyone polls
 * the lease rows at their idle pace: this object saves latency, never correctness.
 *
 * Thread: any. Listeners register before the threads start.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_PROGRESS_H
#define SB_EVENTS_PROGRESS_H

#include "base/signal.h"

#include <stdatomic.h>

#define SB_PROGRESS_LISTENERS 16

typedef struct sb_progress {
    _Atomic int64_t safe_seq;  /* published by the sequencer of this process; 0: not yet */
    _Atomic int64_t relay_seq; /* acknowledged by Kafka */
    sb_signal_t *poke; /* raised by appenders: there may be something to sequence; NULL: no sequencer here */
    sb_signal_t *listener[SB_PROGRESS_LISTENERS];
    int listener_count;
} sb_progress_t;

void sb_progress_init(sb_progress_t *progress);
void sb_progress_listen(sb_progress_t *progress, sb_signal_t *signal); /* borrowed */
void sb_progress_poke(sb_progress_t *progress);                        /* NULL is fine */
void sb_progress_publish_safe(sb_progress_t *progress, int64_t safe_seq);

#endif
