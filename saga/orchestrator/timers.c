/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/timers.h"

#include <assert.h>
#include <stdlib.h>

void sb_timers_fini(sb_timers_t *timers)
{
    free(timers->heap);
    *timers = (sb_timers_t){.heap = NULL};
}

bool sb_timers_reserve(sb_timers_t *timers, size_t count)
{
    if (timers->cap >= count)
        return true;
    size_t cap = timers->cap ? timers->cap : 256;
    while (cap < count)
        cap *= 2;
    sb_open_saga_t **heap = realloc(timers->heap, cap * sizeof(sb_open_saga_t *));
    if (!heap)
        return false;
    timers->heap = heap;
    timers->cap = cap;
    return true;
}

/* A saga remembers its place, counted from 1; 0 is "not in the heap". */
static void place(sb_timers_t *timers, size_t at, sb_open_saga_t *saga)
{
    timers->heap[at] = saga;
    saga->timer_at = at + 1;
}

static void sift_up(sb_timers_t *timers, size_t at, sb_open_saga_t *saga)
{
    while (at > 0 && timers->heap[(at - 1) / 2]->wake_us > saga->wake_us) {
        place(timers, at, timers->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    place(timers, at, saga);
}

static void sift_down(sb_timers_t *timers, size_t at, sb_open_saga_t *saga)
{
    for (size_t child; (child = 2 * at + 1) < timers->count; at = child) {
        if (child + 1 < timers->count && timers->heap[child + 1]->wake_us < timers->heap[child]->wake_us)
            child++;
        if (timers->heap[child]->wake_us >= saga->wake_us)
            break;
        place(timers, at, timers->heap[child]);
    }
    place(timers, at, saga);
}

static void take_out(sb_timers_t *timers, sb_open_saga_t *saga)
{
    size_t at = saga->timer_at - 1;
    saga->timer_at = 0;
    sb_open_saga_t *last = timers->heap[--timers->count];
    if (last == saga)
        return;
    sift_up(timers, at, last);
    sift_down(timers, last->timer_at - 1, last);
}

void sb_timers_set(sb_timers_t *timers, sb_open_saga_t *saga, int64_t wake_us)
{
    if (saga->timer_at && saga->wake_us == wake_us)
        return;
    if (saga->timer_at)
        take_out(timers, saga);
    saga->wake_us = wake_us;
    if (wake_us == 0)
        return;
    assert(timers->count < timers->cap);
    sift_up(timers, timers->count++, saga);
}

void sb_timers_shift(sb_timers_t *timers, int64_t by_us)
{
    for (size_t i = 0; i < timers->count; i++)
        timers->heap[i]->wake_us += by_us;
}

sb_open_saga_t *sb_timers_first(const sb_timers_t *timers)
{
    return timers->count ? timers->heap[0] : NULL;
}
