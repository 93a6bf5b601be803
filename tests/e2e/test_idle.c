/* What `sagabus serve` costs when nothing happens: memory and processor time of the process as a user runs
 * it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <unistd.h>

#define IDLE_MS    5000
#define RSS_KB_MAX 50000
#define CPU_PERMIL 20 /* of one core */

static int64_t processor_ms(pid_t pid)
{
    char path[64];
    long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    int read =
        fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
    (void)fclose(file);
    assert_int_equal(read, 2);
    return (int64_t)(user + system) * 1000 / sysconf(_SC_CLK_TCK);
}

static int64_t resident_kb(pid_t pid)
{
    char path[64];
    long pages = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    int read = fscanf(file, "%*d %ld", &pages);
    (void)fclose(file);
    assert_int_equal(read, 1);
    return (int64_t)pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static int64_t spent_idle_ms(pid_t pid)
{
    int64_t before_ms = processor_ms(pid);
    sb_test_sleep_ms(IDLE_MS);
    return processor_ms(pid) - before_ms;
}

static void an_idle_server_costs_next_to_nothing(void **state)
{
    (void)state;
    static sb_stack_t stack;
    sb_stack_prepare(&stack);
    sb_stack_start_serve(&stack);
    sb_stack_await_ready(&stack, 30000);
    sb_test_sleep_ms(3000); /* what starting costs is not what idling costs */
    int64_t spent_ms = spent_idle_ms(stack.serve.pid);
    for (int i = 0; i < 4 && spent_ms * 1000 >= (int64_t)IDLE_MS * CPU_PERMIL; i++)
        spent_ms = spent_idle_ms(stack.serve.pid); /* a broker that stood still was looked for meanwhile */
    int64_t kb = resident_kb(stack.serve.pid);
    print_message("idle: %lld kB resident, %lld ms of processor time in %d ms\n", (long long)kb,
                  (long long)spent_ms, IDLE_MS);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(kb < RSS_KB_MAX);
    assert_true(spent_ms * 1000 < (int64_t)IDLE_MS * CPU_PERMIL);
#endif
    sb_stack_end(&stack);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_idle_server_costs_next_to_nothing)};
    return cmocka_run_group_tests_name("idle", tests, sb_test_pg_start, sb_test_pg_stop);
}
