/* breaker - a circuit breaker: stops calling what keeps failing, and lets a few probes find out when it is
 * well again.
 *
 *   closed     calls pass; failure_threshold failures in a row open it
 *   open       nothing passes for recovery_ms
 *   half-open  at most probes_max calls are out at once; success_threshold successes in a row close it, one
 *              failure opens it again
 *
 * A call that may go gets a ticket and must give it back exactly once: succeeded, failed, or dropped (it said
 * nothing about the other side's health). A result that belongs to an earlier state (a slow call from before
 * it opened, say) changes nothing. Pure: time is handed in, monotonic microseconds; a time that goes back
 * counts as no time.
 *
 * A breaker delays. What a delay means for the work (wait, refuse, try another way) is its owner's to decide.
 *
 * Thread: the owner's; nothing is locked and nothing allocated.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_BREAKER_H
#define SB_BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

typedef enum sb_breaker_state { SB_BREAKER_CLOSED, SB_BREAKER_OPEN, SB_BREAKER_HALF_OPEN } sb_breaker_state_t;

typedef struct sb_breaker_config {
    uint32_t failure_threshold; /* 0: 5 */
    uint32_t success_threshold; /* 0: 3 */
    uint32_t recovery_ms;       /* 0: 60000 */
    uint32_t probes_max;        /* 0: 1 */
} sb_breaker_config_t;

typedef struct sb_breaker {
    sb_breaker_config_t config; /* with the defaults filled in */
    sb_breaker_state_t state;   /* as of the last call: open may be due for a probe */
    uint64_t period;            /* rises with each change of state */
    uint32_t in_a_row;          /* failures while closed, successes while half-open */
    uint32_t probes;            /* out now, half-open */
    int64_t opened_us;
    uint64_t opened_count; /* how often it opened */
} sb_breaker_t;

typedef struct sb_breaker_ticket {
    uint64_t period; /* 0: not from a breaker */
} sb_breaker_ticket_t;

void sb_breaker_init(sb_breaker_t *breaker, const sb_breaker_config_t *config);

/* Whether a call may go now. True: *ticket is the call's until it is given back. */
bool sb_breaker_enter(sb_breaker_t *breaker, int64_t now_us, sb_breaker_ticket_t *ticket);
void sb_breaker_succeeded(sb_breaker_t *breaker, sb_breaker_ticket_t ticket);
void sb_breaker_failed(sb_breaker_t *breaker, sb_breaker_ticket_t ticket, int64_t now_us);
void sb_breaker_dropped(sb_breaker_t *breaker, sb_breaker_ticket_t ticket);

/* How long nothing can go for reasons of time: 0 while closed, or when a probe may go; INT64_MAX when the
 * probes that are out must report first. */
int64_t sb_breaker_wait_us(const sb_breaker_t *breaker, int64_t now_us);

/* The state now: an open one whose time is over is half-open. */
sb_breaker_state_t sb_breaker_state(const sb_breaker_t *breaker, int64_t now_us);
const char *sb_breaker_state_name(sb_breaker_state_t state); /* "closed", "open", "half-open" */

#endif
