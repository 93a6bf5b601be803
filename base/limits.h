/* limits - how much work may go to one other side: so many calls a second (rate), so many at once (bulkhead),
 * and so many repeats for what goes for the first time (retry budget).
 *
 * All three are plain structs and pure functions in whole numbers; time is handed in, monotonic microseconds,
 * and a time that goes back counts as no time. A limit of 0 means "no limit".
 *
 * Thread: the owner's; nothing is locked and nothing allocated.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_LIMITS_H
#define SB_BASE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* ---- rate: a token bucket ---- */

typedef struct sb_rate {
    uint32_t per_second; /* 0: no limit */
    uint32_t burst;
    int64_t micro_tokens; /* a token is a million of them */
    int64_t at_us;        /* when they were last filled up */
} sb_rate_t;

/* burst: how many may go at once after a pause; 0: a second's worth. The bucket begins full. */
void sb_rate_init(sb_rate_t *rate, uint32_t per_second, uint32_t burst, int64_t now_us);
bool sb_rate_take(sb_rate_t *rate, int64_t now_us);
void sb_rate_give_back(sb_rate_t *rate); /* a token that was taken and not used */
/* How long until a token is there; 0: now. */
int64_t sb_rate_wait_us(const sb_rate_t *rate, int64_t now_us);

/* ---- bulkhead: places, some of them kept for what is critical ---- */

typedef struct sb_bulkhead {
    uint32_t places;   /* 0: no limit */
    uint32_t reserved; /* of these, for critical work only */
    uint32_t used;
} sb_bulkhead_t;

/* reserved_percent of the places (rounded up, and at least one is left to the others when there are two)
 * take critical work only. With a single place, whoever comes first has it. */
void sb_bulkhead_init(sb_bulkhead_t *bulkhead, uint32_t places, uint32_t reserved_percent);
bool sb_bulkhead_enter(sb_bulkhead_t *bulkhead, bool critical);
void sb_bulkhead_leave(sb_bulkhead_t *bulkhead);

/* ---- retry budget: repeats in proportion to first tries ---- */

typedef struct sb_retry_budget {
    uint32_t percent; /* of first tries that may be repeated; 0: no limit at all */
    sb_rate_t floor;  /* repeats a second that are always allowed, so that a quiet side can be tried again */
    int64_t micro_tokens;
    int64_t micro_tokens_max;
} sb_retry_budget_t;

/* What is saved up is at most what saved_max first tries earn; 0: 1000. floor_per_second 0: 1. */
void sb_retry_budget_init(sb_retry_budget_t *budget, uint32_t percent, uint32_t floor_per_second,
                          uint32_t saved_max, int64_t now_us);
void sb_retry_budget_earn(sb_retry_budget_t *budget); /* a first try went out */
/* Whether a repeat may go; it is paid for then. */
bool sb_retry_budget_spend(sb_retry_budget_t *budget, int64_t now_us);
/* How long until a repeat may go by the floor alone; 0: now. */
int64_t sb_retry_budget_wait_us(const sb_retry_budget_t *budget, int64_t now_us);

#endif
