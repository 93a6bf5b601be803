/* SPDX-License-Identifier: Apache-2.0 */
#include "base/limits.h"
#include "tests/support/assert.h"

#define S 1000000

/* ---- rate ---- */

static void a_rate_lets_pass_what_it_says(void **state)
{
    (void)state;
    static const uint32_t rates[] = {1, 3, 7, 100, 999, 20000};
    for (size_t i = 0; i < sizeof rates / sizeof rates[0]; i++) {
        sb_rate_t rate;
        sb_rate_init(&rate, rates[i], 2, 0);
        uint32_t passed = 0;
        for (int64_t now = 0; now < 10 * S; now += 13)
            passed += sb_rate_take(&rate, now);
        /* The burst, then its rate, exactly: no share of a token is lost between two calls. */
        assert_in_range(passed, 10 * rates[i], 10 * rates[i] + 2);
    }
}

static void a_burst_is_bounded(void **state)
{
    (void)state;
    sb_rate_t rate;
    sb_rate_init(&rate, 10, 5, 0);
    for (int i = 0; i < 5; i++)
        assert_true(sb_rate_take(&rate, 1000 * (int64_t)S)); /* a long pause saves up no more than a burst */
    assert_false(sb_rate_take(&rate, 1000 * (int64_t)S));
    assert_true(sb_rate_wait_us(&rate, 1000 * (int64_t)S) == S / 10);
    sb_rate_give_back(&rate);
    assert_true(sb_rate_take(&rate, 1000 * (int64_t)S));
    for (int i = 0; i < 20; i++)
        sb_rate_give_back(&rate);
    for (int i = 0; i < 5; i++)
        assert_true(sb_rate_take(&rate, 1000 * (int64_t)S));
    assert_false(sb_rate_take(&rate, 1000 * (int64_t)S));
}

static void waiting_as_long_as_told_is_enough_and_needed(void **state)
{
    (void)state;
    for (uint32_t per_second = 1; per_second < 3000; per_second += 37) {
        sb_rate_t rate;
        int64_t now = 5;
        sb_rate_init(&rate, per_second, 1, now);
        for (int i = 0; i < 20; i++) {
            int64_t wait = sb_rate_wait_us(&rate, now);
            if (wait > 1) {
                sb_rate_t copy = rate;
                assert_false(sb_rate_take(&copy, now + wait - 1));
            }
            now += wait;
            assert_true(sb_rate_take(&rate, now));
        }
    }
}

static void extremes_do_not_overflow(void **state)
{
    (void)state;
    sb_rate_t rate;
    sb_rate_init(&rate, UINT32_MAX, UINT32_MAX, 0);
    assert_true(sb_rate_take(&rate, INT64_MAX));
    assert_true(sb_rate_take(&rate, INT64_MAX));
    sb_rate_init(&rate, 1, UINT32_MAX, INT64_MIN / 2);
    assert_true(sb_rate_take(&rate, INT64_MAX / 2));
    sb_rate_init(&rate, 1, 1, 100);
    assert_true(sb_rate_take(&rate, 100));
    assert_false(sb_rate_take(&rate, 0)); /* back in time: no time */
    assert_true(sb_rate_wait_us(&rate, 0) == S);
    assert_true(sb_rate_take(&rate, 100 + S));
}

static void no_rate_is_no_limit(void **state)
{
    (void)state;
    sb_rate_t rate;
    sb_rate_init(&rate, 0, 0, 0);
    for (int i = 0; i < 1000; i++)
        assert_true(sb_rate_take(&rate, 0));
    sb_rate_give_back(&rate);
    assert_true(sb_rate_wait_us(&rate, 0) == 0);
}

/* ---- bulkhead ---- */

static void places_are_kept_for_the_critical(void **state)
{
    (void)state;
    sb_bulkhead_t bulkhead;
    sb_bulkhead_init(&bulkhead, 10, 20);
    for (int i = 0; i < 8; i++)
        assert_true(sb_bulkhead_enter(&bulkhead, false));
    assert_false(sb_bulkhead_enter(&bulkhead, false));
    assert_true(sb_bulkhead_enter(&bulkhead, true));
    assert_true(sb_bulkhead_enter(&bulkhead, true));
    assert_false(sb_bulkhead_enter(&bulkhead, true));
    sb_bulkhead_leave(&bulkhead);
    assert_false(sb_bulkhead_enter(&bulkhead, false)); /* nine are used, eight are for everyone */
    assert_true(sb_bulkhead_enter(&bulkhead, true));
}

static void every_size_leaves_a_way_for_both(void **state)
{
    (void)state;
    for (uint32_t places = 1; places <= 40; places++) {
        for (uint32_t percent = 0; percent <= 130; percent += 5) {
            sb_bulkhead_t bulkhead;
            sb_bulkhead_init(&bulkhead, places, percent);
            uint32_t common = 0;
            while (sb_bulkhead_enter(&bulkhead, false))
                common++;
            assert_in_range(common, 1, places);
            if (percent > 0 && places > 1)
                assert_true(common < places);
            uint32_t critical = 0;
            while (sb_bulkhead_enter(&bulkhead, true))
                critical++;
            assert_int_equal(common + critical, places);
            for (uint32_t i = 0; i < places; i++)
                sb_bulkhead_leave(&bulkhead);
            assert_int_equal(bulkhead.used, 0);
            sb_bulkhead_leave(&bulkhead); /* once too often: no wrap */
            assert_int_equal(bulkhead.used, 0);
        }
    }
}

static void no_places_is_no_limit_and_is_still_counted(void **state)
{
    (void)state;
    sb_bulkhead_t bulkhead;
    sb_bulkhead_init(&bulkhead, 0, 20);
    for (int i = 0; i < 1000; i++)
        assert_true(sb_bulkhead_enter(&bulkhead, i % 2 == 0));
    assert_int_equal(bulkhead.used, 1000);
}

/* ---- retry budget ---- */

static void repeats_follow_first_tries(void **state)
{
    (void)state;
    sb_retry_budget_t budget;
    sb_retry_budget_init(&budget, 20, 1, 0, 0);
    for (int i = 0; i < 100; i++)
        sb_retry_budget_earn(&budget);
    int repeats = 0;
    while (sb_retry_budget_spend(&budget, 0))
        repeats++;
    assert_int_equal(repeats, 21); /* a fifth, and one by the floor */
    assert_true(sb_retry_budget_wait_us(&budget, 0) == S);
    assert_false(sb_retry_budget_spend(&budget, S - 1));
    assert_true(sb_retry_budget_spend(&budget, S));
}

/* A storm after an outage: everything fails, and is repeated. What goes out stays near what comes in. */
static void a_storm_stays_bounded(void **state)
{
    (void)state;
    sb_retry_budget_t budget;
    sb_retry_budget_init(&budget, 10, 2, 100, 0);
    int first = 0, repeats = 0;
    for (int64_t now = 0; now < 100 * S; now += S / 100) {
        sb_retry_budget_earn(&budget);
        first++;
        for (int i = 0; i < 10; i++)
            repeats += sb_retry_budget_spend(&budget, now);
    }
    assert_in_range(repeats, first / 10, first / 10 + 2 * 100 + 2);
}

static void what_is_saved_is_bounded(void **state)
{
    (void)state;
    sb_retry_budget_t budget;
    sb_retry_budget_init(&budget, 50, 1, 10, 0);
    for (int i = 0; i < 100000; i++)
        sb_retry_budget_earn(&budget);
    int repeats = 0;
    while (sb_retry_budget_spend(&budget, 0))
        repeats++;
    assert_int_equal(repeats, 5 + 1);
}

static void no_percentage_is_no_limit(void **state)
{
    (void)state;
    sb_retry_budget_t budget;
    sb_retry_budget_init(&budget, 0, 0, 0, 0);
    for (int i = 0; i < 1000; i++)
        assert_true(sb_retry_budget_spend(&budget, 0));
    assert_true(sb_retry_budget_wait_us(&budget, 0) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_lets_pass_what_it_says),
        cmocka_unit_test(a_burst_is_bounded),
        cmocka_unit_test(waiting_as_long_as_told_is_enough_and_needed),
        cmocka_unit_test(extremes_do_not_overflow),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(places_are_kept_for_the_critical),
        cmocka_unit_test(every_size_leaves_a_way_for_both),
        cmocka_unit_test(no_places_is_no_limit_and_is_still_counted),
        cmocka_unit_test(repeats_follow_first_tries),
        cmocka_unit_test(a_storm_stays_bounded),
        cmocka_unit_test(what_is_saved_is_bounded),
        cmocka_unit_test(no_percentage_is_no_limit),
    };
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
