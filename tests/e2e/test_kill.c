/* The orchestrator is killed again and again over open sagas, then its participants; the broker loses
 * everything once. Every saga ends, no effect happens twice, none after its undo, stock and money are
 * conserved.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAGAS 200
#define KILLS 10

static sb_stack_t stack;
static unsigned seed;

static int set_up(void **state)
{
    (void)sb_test_pg_start(state);
    const char *given = getenv("SB_TEST_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
    print_message("seed %u (SB_TEST_SEED repeats it)\n", seed);
    sb_stack_start(&stack);
    return 0;
}

static int tear_down(void **state)
{
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

/* Three of four succeed; the others are refused at the payment or at the last step. */
static const char *customer_of(int i)
{
    static const char *const names[] = {"ada", "ada", "edsger", "grace", "ada", "edsger", "ada", "alan"};
    return names[i % 8];
}

/* Starts order i, again and again while nobody answers: the key makes that safe. Returns false when the
 * server is away. */
static bool try_start(const char *run, int i)
{
    char order[48];
    (void)snprintf(order, sizeof order, "%s-%d", run, i);
    sb_http_answer_t answer =
        sb_order_start(&stack, order, customer_of(i), i % 2 ? "book" : "lamp", 1000 + i, NULL);
    bool accepted = answer.status == 200 || answer.status == 201;
    if (!accepted && answer.status != 0 && answer.status != 503 && answer.status != 429)
        fail_msg("start %s: %d %s", order, answer.status, answer.text ? answer.text : "");
    sb_http_free(&answer);
    return accepted;
}

static void kill_and_restart(void)
{
    sb_test_signal(&stack.serve, SIGKILL);
    assert_true(sb_test_wait(&stack.serve, 60000));
    sb_test_process_end(&stack.serve);
    sb_stack_start_serve(&stack);
}

static void run(const char *name, void (*accident)(void), int accidents)
{
    int started = 0;
    int64_t expected = sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga") + SAGAS;
    for (int k = 0; k < accidents; k++) {
        int upto = SAGAS * (k + 1) / accidents;
        sb_stack_await_ready(&stack, 30000);
        while (started < upto) {
            if (try_start(name, started))
                started++;
            else
                sb_test_sleep_ms(20);
        }
        sb_test_sleep_ms(rand_r(&seed) % 150);
        accident();
    }
    sb_stack_await_ready(&stack, 30000);
    sb_stack_await_ended(&stack, 90000);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga"), expected);
    sb_stack_check_conserved(&stack);
}

static void killed_ten_times_every_saga_ends(void **state)
{
    (void)state;
    run("kill", kill_and_restart, KILLS);
}

/* Between its commit and its reply, or between its replies and its offsets, as it happens. */
static void kill_a_participant(void)
{
    sb_stack_kill_participant(&stack, rand_r(&seed) % SB_STACK_PARTICIPANTS);
}

static void participants_are_killed_and_every_saga_ends(void **state)
{
    (void)state;
    run("member", kill_a_participant, KILLS);
}

static void wipe_broker(void)
{
    sb_test_kafka_control("wipe");
}

static void the_broker_loses_everything_and_every_saga_ends(void **state)
{
    (void)state;
    if (!sb_test_kafka_has_control()) {
        print_message("no control over the broker\n");
        skip();
    }
    run("wipe", wipe_broker, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_ten_times_every_saga_ends),
        cmocka_unit_test(participants_are_killed_and_every_saga_ends),
        cmocka_unit_test(the_broker_loses_everything_and_every_saga_ends),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("kill", tests, set_up, tear_down);
}
