/* retry - how long to wait before the next try: a policy (shape, limits, jitter) and a pure function.
 *
 * Full jitter: the wait is drawn evenly from [delay/2, delay], so that clients that failed together do not
 * come back together.
 *
 * Thread: any; nothing is shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_RETRY_H
#define SB_BASE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sb_retry_shape { SB_RETRY_EXPONENTIAL, SB_RETRY_LINEAR, SB_RETRY_FIXED } sb_retry_shape_t;

typedef struct sb_retry_policy {
    sb_retry_shape_t shape;
    uint32_t attempts_max; /* tries in all, the first counted; 0: without end */
    uint32_t delay_ms;     /* before the second try */
    uint32_t delay_max_ms; /* cap; 0: none */
    bool jitter;
} sb_retry_policy_t;

/* Milliseconds to wait after try number attempt (1 = the first) failed; random is any 64 random bits, so that
 * tests own it. */
uint32_t sb_retry_delay_ms(const sb_retry_policy_t *policy, uint32_t attempt, uint64_t random);

/* Whether another try is allowed after attempt tries. */
bool sb_retry_allowed(const sb_retry_policy_t *policy, uint32_t attempt);

#endif
