/* SPDX-License-Identifier: Apache-2.0 */
#include "base/retry.h"
#include "tests/support/assert.h"

static void shapes_grow_as_named(void **state)
{
    (void)state;
    sb_retry_policy_t policy = {.shape = SB_RETRY_EXPONENTIAL, .delay_ms = 100, .delay_max_ms = 1000};
    static const uint32_t exponential[] = {100, 200, 400, 800, 1000, 1000};
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(sb_retry_delay_ms(&policy, i + 1, 0), exponential[i]);
    policy.shape = SB_RETRY_LINEAR;
    assert_int_equal(sb_retry_delay_ms(&policy, 3, 0), 300);
    assert_int_equal(sb_retry_delay_ms(&policy, UINT32_MAX, 0), 1000);
    policy.shape = SB_RETRY_FIXED;
    assert_int_equal(sb_retry_delay_ms(&policy, 9, 0), 100);
}

static void never_overflows(void **state)
{
    (void)state;
    sb_retry_policy_t policy = {.shape = SB_RETRY_EXPONENTIAL, .delay_ms = UINT32_MAX};
    for (uint32_t attempt = 0; attempt < 200; attempt++)
        assert_true(sb_retry_delay_ms(&policy, attempt, 0) == UINT32_MAX);
    policy.delay_ms = 1;
    assert_true(sb_retry_delay_ms(&policy, 1000000, 0) == UINT32_MAX);
    policy.delay_ms = 0;
    for (uint32_t attempt = 0; attempt < 200; attempt++)
        assert_int_equal(sb_retry_delay_ms(&policy, attempt, 7), 0);
}

static void jitter_stays_in_the_upper_half(void **state)
{
    (void)state;
    sb_retry_policy_t policy = {.shape = SB_RETRY_FIXED, .delay_ms = 101, .jitter = true};
    uint32_t low = UINT32_MAX;
    uint32_t high = 0;
    for (uint64_t random = 0; random < 1000; random++) {
        uint32_t delay = sb_retry_delay_ms(&policy, 1, random);
        low = delay < low ? delay : low;
        high = delay > high ? delay : high;
    }
    assert_int_equal(low, 50);
    assert_int_equal(high, 101);
}

static void attempts_are_counted_from_one(void **state)
{
    (void)state;
    sb_retry_policy_t policy = {.attempts_max = 3};
    assert_true(sb_retry_allowed(&policy, 2));
    assert_false(sb_retry_allowed(&policy, 3));
    policy.attempts_max = 0;
    assert_true(sb_retry_allowed(&policy, UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_grow_as_named),
        cmocka_unit_test(never_overflows),
        cmocka_unit_test(jitter_stays_in_the_upper_half),
        cmocka_unit_test(attempts_are_counted_from_one),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
