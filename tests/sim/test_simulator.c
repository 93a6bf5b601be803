/* Seeds of the simulator: no promise is broken in any, the same seed gives the same run, and each bug put in
 * is found by the breach it should be found by.
 *
 * Some seconds; SB_TEST_LONG=1: some minutes. SB_TEST_SEED=N runs that seed alone and says what it met.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/simulator.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_MS      1500
#define RUN_LONG_MS 120000
#define SEEDS_MAX   400      /* to find a bug in */
#define REST_US     60000000 /* after the faults everything ends within a minute */

static uint64_t first_seed = 1;

static int64_t run_ms(void)
{
    const char *wanted = getenv("SB_TEST_LONG");
    return wanted && wanted[0] && strcmp(wanted, "0") != 0 ? RUN_LONG_MS : RUN_MS;
}

static void fail_with(uint64_t seed, const chaos_findings_t *findings)
{
    for (int i = 0; i < CHAOS_BREACHES; i++)
        if (findings->count[i])
            print_message("  %s: %s\n", chaos_breach_name((chaos_breach_t)i), findings->first[i]);
    fail_msg("seed %llu: %d breaches (SB_TEST_SEED=%llu repeats it)", (unsigned long long)seed,
             findings->total, (unsigned long long)seed);
}

static void run_seed(uint64_t seed, sim_result_t *total)
{
    sim_result_t result;
    chaos_findings_t findings;
    simulate(seed, SIM_NONE, &result);
    chaos_check(&result.record, &findings);
    if (findings.total > 0)
        fail_with(seed, &findings);
    if (result.ended_us < 0 || result.ended_us > REST_US)
        fail_msg("seed %llu: sagas were open %lld ms after the last fault", (unsigned long long)seed,
                 (long long)result.ended_us / 1000);
    for (int i = 0; i < SIM_COUNTS; i++)
        total->count[i] += result.count[i];
    total->events += result.events;
    total->record.sagas += result.record.sagas;
    chaos_record_free(&result.record);
}

static void no_seed_breaks_a_promise(void **state)
{
    (void)state;
    sim_result_t total = {.trace = 0};
    const char *given = getenv("SB_TEST_SEED");
    int64_t from = sb_test_mono_ms(), seeds = 0;
    if (given)
        first_seed = strtoull(given, NULL, 10);
    do {
        run_seed(first_seed + (uint64_t)seeds, &total);
        seeds++;
    } while (!given && (sb_test_mono_ms() - from < run_ms() || seeds < 50));
    print_message("           seeds %llu to %llu, %lld a second; %zu sagas, %llu happenings\n",
                  (unsigned long long)first_seed, (unsigned long long)first_seed + (uint64_t)seeds - 1,
                  (long long)(seeds * 1000 / (sb_test_mono_ms() - from + 1)), total.record.sagas,
                  (unsigned long long)total.events);
    for (int i = 0; i < SIM_COUNTS; i++) {
        print_message("           %-50s %lld\n", sim_count_text((sim_count_t)i), (long long)total.count[i]);
        if (!given && total.count[i] == 0)
            fail_msg("it never came to: %s", sim_count_text((sim_count_t)i));
    }
}

static void the_same_seed_is_the_same_run(void **state)
{
    (void)state;
    uint64_t before = 0;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        sim_result_t once, again;
        simulate(seed, SIM_NONE, &once);
        simulate(seed, SIM_NONE, &again);
        assert_true(once.trace == again.trace && once.events == again.events);
        assert_true(once.trace != before);
        before = once.trace;
        chaos_record_free(&once.record);
        chaos_record_free(&again.record);
    }
}

static void each_bug_is_found_by_name(void **state)
{
    (void)state;
    for (int bug = SIM_NONE + 1; bug < SIM_BUGS; bug++) {
        uint64_t seed = 1;
        bool found = false;
        for (; seed <= SEEDS_MAX && !found; seed++) {
            sim_result_t result;
            chaos_findings_t findings;
            simulate(seed, (sim_bug_t)bug, &result);
            chaos_check(&result.record, &findings);
            found = findings.count[sim_bug_breach((sim_bug_t)bug)] > 0;
            chaos_record_free(&result.record);
        }
        if (!found)
            fail_msg("%s: no breach of %s in %d seeds", sim_bug_text((sim_bug_t)bug),
                     chaos_breach_name(sim_bug_breach((sim_bug_t)bug)), SEEDS_MAX);
        print_message("           %-60s %-12s seed %llu\n", sim_bug_text((sim_bug_t)bug),
                      chaos_breach_name(sim_bug_breach((sim_bug_t)bug)), (unsigned long long)seed - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_seed_breaks_a_promise),
        cmocka_unit_test(the_same_seed_is_the_same_run),
        cmocka_unit_test(each_bug_is_found_by_name),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("simulator", tests, NULL, NULL);
}
