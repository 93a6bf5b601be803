/* SPDX-License-Identifier: Apache-2.0 */
#include "base/retry.h"

static uint64_t plain_delay(const sb_retry_policy_t *policy, uint32_t attempt)
{
    uint64_t delay = policy->delay_ms;
    if (delay == 0)
        return 0;
    switch (policy->shape) {
    case SB_RETRY_FIXED:
        return delay;
    case SB_RETRY_LINEAR:
        return delay * attempt;
    case SB_RETRY_EXPONENTIAL:
        return attempt > 32 ? UINT32_MAX : delay << (attempt - 1);
    }
    return delay;
}

uint32_t sb_retry_delay_ms(const sb_retry_policy_t *policy, uint32_t attempt, uint64_t random)
{
    uint64_t delay = plain_delay(policy, attempt ? attempt : 1);
    uint64_t cap = policy->delay_max_ms ? policy->delay_max_ms : UINT32_MAX;
    if (delay > cap)
        delay = cap;
    if (policy->jitter)
        delay = delay / 2 + random % (delay - delay / 2 + 1);
    return (uint32_t)delay;
}

bool sb_retry_allowed(const sb_retry_policy_t *policy, uint32_t attempt)
{
    return policy->attempts_max == 0 || attempt < policy->attempts_max;
}
