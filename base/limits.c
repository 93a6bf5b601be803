/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"

#define TOKEN 1000000 /* micro-tokens; one a second gains one each microsecond */

/* ---- rate ---- */

void sb_rate_init(sb_rate_t *rate, uint32_t per_second, uint32_t burst, int64_t now_us)
{
    *rate = (sb_rate_t){.per_second = per_second, .burst = burst ? burst : per_second, .at_us = now_us};
    rate->micro_tokens = (int64_t)rate->burst * TOKEN;
}

/* What the bucket holds at a time; nothing overflows: a longer pause than it takes to fill up fills it up. */
static int64_t filled(const sb_rate_t *rate, int64_t now_us)
{
    int64_t room = (int64_t)rate->burst * TOKEN - rate->micro_tokens;
    int64_t passed = now_us > rate->at_us ? now_us - rate->at_us : 0;
    bool full = passed > room / (int64_t)rate->per_second;
    return rate->micro_tokens + (full ? room : passed * (int64_t)rate->per_second);
}

bool sb_rate_take(sb_rate_t *rate, int64_t now_us)
{
    if (rate->per_second == 0)
        return true;
    rate->micro_tokens = filled(rate, now_us);
    if (now_us > rate->at_us)
        rate->at_us = now_us;
    if (rate->micro_tokens < TOKEN)
        return false;
    rate->micro_tokens -= TOKEN;
    return true;
}

void sb_rate_give_back(sb_rate_t *rate)
{
    int64_t most = (int64_t)rate->burst * TOKEN;
    if (rate->per_second == 0)
        return;
    rate->micro_tokens += TOKEN;
    if (rate->micro_tokens > most)
        rate->micro_tokens = most;
}

int64_t sb_rate_wait_us(const sb_rate_t *rate, int64_t now_us)
{
    if (rate->per_second == 0)
        return 0;
    int64_t missing = TOKEN - filled(rate, now_us);
    return missing > 0 ? (missing + rate->per_second - 1) / rate->per_second : 0;
}

/* ---- bulkhead ---- */

void sb_bulkhead_init(sb_bulkhead_t *bulkhead, uint32_t places, uint32_t reserved_percent)
{
    uint32_t percent = reserved_percent > 100 ? 100 : reserved_percent;
    *bulkhead = (sb_bulkhead_t){.places = places};
    bulkhead->reserved = (uint32_t)(((uint64_t)places * percent + 99) / 100);
    if (bulkhead->reserved >= places)
        bulkhead->reserved = places > 0 ? places - 1 : 0;
}

bool sb_bulkhead_enter(sb_bulkhead_t *bulkhead, bool critical)
{
    uint32_t open = critical ? bulkhead->places : bulkhead->places - bulkhead->reserved;
    if (bulkhead->places > 0 && bulkhead->used >= open)
        return false;
    bulkhead->used++;
    return true;
}

void sb_bulkhead_leave(sb_bulkhead_t *bulkhead)
{
    if (bulkhead->used > 0)
        bulkhead->used--;
}

/* ---- retry budget ---- */

void sb_retry_budget_init(sb_retry_budget_t *budget, uint32_t percent, uint32_t floor_per_second,
                          uint32_t saved_max, int64_t now_us)
{
    *budget = (sb_retry_budget_t){.percent = percent};
    budget->micro_tokens_max = (int64_t)(saved_max ? saved_max : 1000) * percent * (TOKEN / 100);
    sb_rate_init(&budget->floor, floor_per_second ? floor_per_second : 1, 0, now_us);
}

void sb_retry_budget_earn(sb_retry_budget_t *budget)
{
    budget->micro_tokens += (int64_t)budget->percent * (TOKEN / 100);
    if (budget->micro_tokens > budget->micro_tokens_max)
        budget->micro_tokens = budget->micro_tokens_max;
}

bool sb_retry_budget_spend(sb_retry_budget_t *budget, int64_t now_us)
{
    if (budget->percent == 0)
        return true;
    if (budget->micro_tokens >= TOKEN) {
        budget->micro_tokens -= TOKEN;
        return true;
    }
    return sb_rate_take(&budget->floor, now_us);
}

int64_t sb_retry_budget_wait_us(const sb_retry_budget_t *budget, int64_t now_us)
{
    if (budget->percent == 0 || budget->micro_tokens >= TOKEN)
        return 0;
    return sb_rate_wait_us(&budget->floor, now_us);
}
