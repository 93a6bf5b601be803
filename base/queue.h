/* queue - a bounded queue of pointers from many threads to one, with a wake-up.
 *
 * It never grows: full is SB_BUSY, and the pusher decides (wait, refuse, pause its source). The signal
 * belongs to the consumer, which may wait for several queues and sockets with it.
 *
 * Thread: push, close and count from any; pop from the consumer only. Lock: one of its own, held for a few
 * instructions.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_QUEUE_H
#define SB_BASE_QUEUE_H

#include "base/signal.h"

#include <stddef.h>

typedef struct sb_queue sb_queue_t;

/* capacity: items at most, at least 1. signal is borrowed and outlives the queue; NULL: the consumer polls.
 */
SB_MUST_CHECK sb_code_t sb_queue_new(sb_queue_t **out, size_t capacity, sb_signal_t *signal, sb_error_t *err);
/* What is still in it stays the caller's: pop it first. NULL is fine; sets NULL. */
void sb_queue_free(sb_queue_t **queue);

/* On SB_OK the item is the queue's; on SB_BUSY (full) and SB_STOPPED (closed) it stays the caller's. */
SB_MUST_CHECK sb_code_t sb_queue_push(sb_queue_t *queue, void *item);

/* The oldest item, NULL when there is none. */
void *sb_queue_pop(sb_queue_t *queue);
/* The oldest items, at most max; returns how many. When some are left behind the signal is raised again, so a
 * consumer that takes a batch and then waits never sleeps over the rest. */
size_t sb_queue_pop_many(sb_queue_t *queue, void **items, size_t max);

/* No more pushes; what is in it can still be popped. Wakes the consumer. */
void sb_queue_close(sb_queue_t *queue);
bool sb_queue_is_closed(sb_queue_t *queue);
size_t sb_queue_count(sb_queue_t *queue);

#endif
