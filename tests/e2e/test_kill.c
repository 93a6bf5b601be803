/* The orchestrator is killed again and again over open sagas, by chance and at chosen points, then its
 * participants; the broker loses everything once. Every saga ends, no effect happens twice, none after its
 * undo, stock and money are conserved.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/load.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAGAS   200
#define KILLS   10
#define PAYMENT 2 /* of the stack's participants */

static sb_stack_t stack;
static sb_load_t *load;
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
    sb_load_free(&load);
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

/* ---- at chosen points of its way: serve_crash.c has them ---- */

typedef struct point {
    const char *name;
    int upto;      /* at one of its first so many passages */
    bool handover; /* it passes there when it is told to end */
} point_t;

static const point_t points[] = {
    {"batch:before", 40, false},   /* replies and calls in hand, nothing decided */
    {"persist:before", 40, false}, /* decided, not written */
    {"persist:after", 40, false},  /* committed: nobody was answered, nothing was sent */
    {"send:before", 60, false},    /* some commands of a commit are sent */
    {"send:after", 60, false},     /* sent, and PostgreSQL does not know */
    {"batch:after", 40, false},    /* all sent, the next turn not begun */
    {"lease:before", 1, false},    /* about to take over what the one before left open */
    {"lease:after", 1, false},     /* the lease is taken, nothing is known of its sagas */
    {"recover:after", 1, false},   /* its sagas are folded, none of its commands was sent again */
    {"resend:after", 1, false},    /* some were */
    {"release:before", 1, true},   /* in a handover: the lease is still held */
    {"release:after", 1, true},    /* and given back */
};

/* Starts a serve that dies there, and waits until it did. */
static void die_at(const point_t *point)
{
    static char crash[64];
    const char *environment[sizeof stack.environment / sizeof stack.environment[0]];
    const char *const argv[] = {SB_SERVE_CRASH, "serve", NULL};
    size_t count = 0;
    for (; stack.environment[count]; count++)
        environment[count] = stack.environment[count];
    (void)snprintf(crash, sizeof crash, "SERVE_CRASH=%s:%d", point->name, 1 + rand_r(&seed) % point->upto);
    environment[count] = crash;
    environment[count + 1] = NULL;
    sb_test_spawn(&stack.serve, argv, environment, NULL);
    if (point->handover) {
        sb_load_await(load, 5, 30000);
        sb_test_signal(&stack.serve, SIGTERM);
    }
    if (!sb_test_wait(&stack.serve, 120000) || stack.serve.exit_code != 128 + SIGKILL)
        fail_msg("%s: it did not die there (exit code %d)", crash, stack.serve.exit_code);
    sb_test_process_end(&stack.serve);
}

/* Nobody is paid for a moment: the next one has sagas to take over. */
static void kill_with_sagas_open(void)
{
    sb_test_signal(&stack.participant[PAYMENT], SIGSTOP);
    sb_load_await(load, 8, 30000);
    sb_stack_kill_serve(&stack);
    sb_test_signal(&stack.participant[PAYMENT], SIGCONT);
}

/* Each takes over what the one before left in the middle, with sagas coming all the time. */
static void killed_at_each_point_of_its_way_every_saga_ends(void **state)
{
    (void)state;
    load = sb_load_start("points", stack.url, NULL, 20);
    sb_load_await(load, 20, 30000);
    kill_and_restart();
    int rounds = getenv("SB_TEST_LONG") ? 10 : 1;
    for (int round = 0; round < rounds; round++)
        for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
            kill_with_sagas_open();
            die_at(&points[i]);
            sb_stack_start_serve(&stack);
            sb_load_await(load, 5, 30000);
        }
    sb_load_stop(load, 20000);
    sb_load_check(load, &stack, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_ten_times_every_saga_ends),
        cmocka_unit_test(participants_are_killed_and_every_saga_ends),
        cmocka_unit_test(killed_at_each_point_of_its_way_every_saga_ends),
        cmocka_unit_test(the_broker_loses_everything_and_every_saga_ends),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("kill", tests, set_up, tear_down);
}
