/* timers - which open saga is due next: a binary heap by wake_us.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_TIMERS_H
#define SB_SAGA_TIMERS_H

#include "saga/orchestrator/open_saga.h"

typedef struct sb_timers {
    sb_open_saga_t **heap;
    size_t count;
    size_t cap;
} sb_timers_t;

void sb_timers_fini(sb_timers_t *timers);

/* Makes room for one more, so that the next sb_timers_set of a new saga cannot fail. */
SB_MUST_CHECK bool sb_timers_reserve(sb_timers_t *timers, size_t count);

/* (Re)sets the saga's timer; 0 takes it out. */
void sb_timers_set(sb_timers_t *timers, sb_open_saga_t *saga, int64_t wake_us);

/* Moves all of them alike. */
void sb_timers_shift(sb_timers_t *timers, int64_t by_us);

/* The saga that is due first, NULL when there is none. */
sb_open_saga_t *sb_timers_first(const sb_timers_t *timers);

#endif
