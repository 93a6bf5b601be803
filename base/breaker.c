/* SPDX-License-Identifier: Apache-2.0 */
#include "base/breaker.h"

void sb_breaker_init(sb_breaker_t *breaker, const sb_breaker_config_t *config)
{
    *breaker = (sb_breaker_t){.state = SB_BREAKER_CLOSED, .period = 1};
    if (config)
        breaker->config = *config;
    sb_breaker_config_t *own = &breaker->config;
    own->failure_threshold = own->failure_threshold ? own->failure_threshold : 5;
    own->success_threshold = own->success_threshold ? own->success_threshold : 3;
    own->recovery_ms = own->recovery_ms ? own->recovery_ms : 60000;
    own->probes_max = own->probes_max ? own->probes_max : 1;
}

static void move(sb_breaker_t *breaker, sb_breaker_state_t state)
{
    breaker->state = state;
    breaker->period++;
    breaker->in_a_row = 0;
    breaker->probes = 0;
}

static void open_now(sb_breaker_t *breaker, int64_t now_us)
{
    move(breaker, SB_BREAKER_OPEN);
    breaker->opened_us = now_us;
    breaker->opened_count++;
}

static int64_t open_for_us(const sb_breaker_t *breaker, int64_t now_us)
{
    int64_t passed = now_us > breaker->opened_us ? now_us - breaker->opened_us : 0;
    int64_t left = (int64_t)breaker->config.recovery_ms * 1000 - passed;
    return left > 0 ? left : 0;
}

bool sb_breaker_enter(sb_breaker_t *breaker, int64_t now_us, sb_breaker_ticket_t *ticket)
{
    if (breaker->state == SB_BREAKER_OPEN && open_for_us(breaker, now_us) == 0)
        move(breaker, SB_BREAKER_HALF_OPEN);
    if (breaker->state == SB_BREAKER_OPEN ||
        (breaker->state == SB_BREAKER_HALF_OPEN && breaker->probes >= breaker->config.probes_max))
        return false;
    if (breaker->state == SB_BREAKER_HALF_OPEN)
        breaker->probes++;
    ticket->period = breaker->period;
    return true;
}

/* Takes the ticket back. False: it is of an earlier state. */
static bool take_back(sb_breaker_t *breaker, sb_breaker_ticket_t ticket)
{
    if (ticket.period != breaker->period)
        return false;
    if (breaker->state == SB_BREAKER_HALF_OPEN)
        breaker->probes--;
    return true;
}

void sb_breaker_succeeded(sb_breaker_t *breaker, sb_breaker_ticket_t ticket)
{
    if (!take_back(breaker, ticket))
        return;
    if (breaker->state == SB_BREAKER_CLOSED)
        breaker->in_a_row = 0;
    else if (++breaker->in_a_row >= breaker->config.success_threshold)
        move(breaker, SB_BREAKER_CLOSED);
}

void sb_breaker_failed(sb_breaker_t *breaker, sb_breaker_ticket_t ticket, int64_t now_us)
{
    if (!take_back(breaker, ticket))
        return;
    if (breaker->state == SB_BREAKER_HALF_OPEN || ++breaker->in_a_row >= breaker->config.failure_threshold)
        open_now(breaker, now_us);
}

void sb_breaker_dropped(sb_breaker_t *breaker, sb_breaker_ticket_t ticket)
{
    (void)take_back(breaker, ticket);
}

int64_t sb_breaker_wait_us(const sb_breaker_t *breaker, int64_t now_us)
{
    if (breaker->state == SB_BREAKER_OPEN)
        return open_for_us(breaker, now_us);
    bool full = breaker->state == SB_BREAKER_HALF_OPEN && breaker->probes >= breaker->config.probes_max;
    return full ? INT64_MAX : 0;
}

sb_breaker_state_t sb_breaker_state(const sb_breaker_t *breaker, int64_t now_us)
{
    if (breaker->state == SB_BREAKER_OPEN && open_for_us(breaker, now_us) == 0)
        return SB_BREAKER_HALF_OPEN;
    return breaker->state;
}

const char *sb_breaker_state_name(sb_breaker_state_t state)
{
    static const char *const names[] = {"closed", "open", "half-open"};
    return names[state];
}
