/* Three members of a group, as processes, one killed every so often while others stand still, leave and join,
 * and the broker killed twice meanwhile: every event has its effect exactly once, in order by key, and
 * nothing is left in flight. The same with the handler's writes beside the position instead of in its
 * transaction must be found wrong, or the test sees nothing. And a member that is killed at each point
 * between fetch and commit.
 *
 * The program is its own member. SB_TEST_LONG: a million events, one killed every five seconds.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bus/topics.h"
#include "tests/kafka/crash_points.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"
#include "tests/support/subscriber.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS 6
#define MEMBERS    3
#define GUEST      MEMBERS /* joins and leaves, without a name */
#define TICK_MS    50

static const char *const created[] = {"order.created"};

/* ---- a member ---- */

/* Writes beside the subscriber: at least once. */
static sb_code_t handle_unguarded(void *context, struct pg_conn *ignored, const sb_delivery_t *deliveries,
                                  size_t count, sb_error_t *err)
{
    static _Thread_local PGconn *conn;
    (void)ignored;
    if (!conn)
        conn = PQconnectdb(getenv("MEMBER_URI"));
    return sb_test_handle(context, conn, deliveries, count, err);
}

/* In the subscriber's transaction. */
static sb_code_t handle_guarded(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries,
                                size_t count, sb_error_t *err)
{
    sb_test_crash_point("handler", "before");
    sb_code_t code = sb_test_handle(context, conn, deliveries, count, err);
    sb_test_crash_point("handler", "after");
    return code;
}

static sb_subscriber_t *member;

static void on_term(int signal)
{
    (void)signal;
    sb_subscriber_stop(member); // NOLINT(bugprone-signal-handler): it sets a flag
}

static unsigned number_of(const char *name)
{
    const char *text = getenv(name);
    return text ? (unsigned)atoi(text) : 0;
}

static int run_member(void)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_test_handler_t handler = {.name = "mail"};
    bool guarded = getenv("MEMBER_GUARDED") != NULL;
    sb_config_t *settings = sb_test_bus_config(getenv("MEMBER_KAFKA"), getenv("MEMBER_PREFIX"));
    sb_test_bus_set(settings, "kafka.session.timeout.ms", "6000");
    sb_test_bus_set(settings, "kafka.heartbeat.interval.ms", "500");
    sb_subscription_t subscription = {.name = "mail",
                                      .types = created,
                                      .type_count = 1,
                                      .on_events = guarded ? handle_guarded : handle_unguarded,
                                      .context = &handler,
                                      .lanes = number_of("MEMBER_LANES"),
                                      .batch_max = number_of("MEMBER_BATCH"),
                                      .stuck_after_ms = 3000};
    sb_subscriber_config_t config = {.group = "shop",
                                     .pg_uri = guarded ? getenv("MEMBER_URI") : NULL,
                                     .schema = SB_TEST_CLIENT_SCHEMA,
                                     .instance_id = getenv("MEMBER_NAME"),
                                     .subscriptions = &subscription,
                                     .subscription_count = 1};
    if (sb_subscriber_new(&member, settings, &config, &err) != SB_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    (void)signal(SIGTERM, on_term);
    sb_code_t code = sb_subscriber_run(member, &err);
    if (code != SB_OK)
        (void)fprintf(stderr, "member: %s\n", err.message);
    sb_subscriber_close(&member);
    sb_config_free(&settings);
    return code == SB_OK ? 0 : 1;
}

/* ---- the group ---- */

typedef struct plan {
    int events;
    int send_ms; /* over so much time at least, without that of the broker */
    int kill_every_ms;
    int broker_kills;
    bool guarded;
    const char *crash; /* the point where a member kills itself; NULL: none */
    int lanes;         /* of that member; 0: as its number has them */
} plan_t;

static char prefix[SB_TEST_PREFIX];
static sb_test_world_t world;
static sb_test_process_t members[MEMBERS + 1];

static int setup(void **state)
{
    int count = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    (void)state;
    memset(members, 0, sizeof members);
    sb_test_world_open(&world, sb_test_kafka(), sb_test_kafka_prefix(prefix), PARTITIONS);
    world.keys = 100;
    assert_ok(sb_topic_list_add(&list, world.topic, PARTITIONS, &err), &err);
    assert_ok(sb_topics_apply(world.config, &list, 20000, &count, &err), &err);
    sb_topic_list_fini(&list);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i <= GUEST; i++)
        sb_test_process_end(&members[i]);
    sb_test_world_close(&world);
    return 0;
}

static void line(char out[SB_TEST_URI + 32], const char *name, const char *value)
{
    (void)snprintf(out, SB_TEST_URI + 32, "%s=%s", name, value);
}

/* Members differ: one takes large batches, the others have lanes; they keep their names over their deaths, so
 * that a killed one is not missed for a whole session; the guest has none. */
static void spawn(int index, const plan_t *plan)
{
    static const char *const names[MEMBERS] = {"m-0", "m-1", "m-2"};
    static char lines[8][SB_TEST_URI + 32];
    const char *environment[10] = {NULL};
    int n = 0;
    bool by_batches = plan->lanes ? plan->lanes == 1 : index == 0;
    char self[512] = "";
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    const char *argv[] = {self, "member", NULL};
    line(lines[0], "MEMBER_URI", world.uri);
    line(lines[1], "MEMBER_KAFKA", world.bootstrap);
    line(lines[2], "MEMBER_PREFIX", prefix);
    line(lines[3], "MEMBER_LANES", by_batches ? "1" : "4");
    line(lines[4], "MEMBER_BATCH", by_batches ? "100" : "5");
    line(lines[5], "MEMBER_NAME", index == GUEST ? "" : names[index]);
    line(lines[6], "MEMBER_GUARDED", "1");
    line(lines[7], "MEMBER_CRASH", plan->crash ? plan->crash : "");
    for (; n < 5; n++)
        environment[n] = lines[n];
    if (index != GUEST)
        environment[n++] = lines[5];
    if (plan->guarded)
        environment[n++] = lines[6];
    if (plan->crash)
        environment[n++] = lines[7];
    sb_test_spawn(&members[index], argv, environment, NULL);
}

static int stopped = -1; /* a member that stands still */

static void end_stop(void)
{
    if (stopped >= 0)
        sb_test_signal(&members[stopped], SIGCONT);
    stopped = -1;
}

/* Besides: one stands still for two rounds, one leaves in order, a guest joins for two rounds and is killed
 * or leaves. */
static void disturb(const plan_t *plan, int round)
{
    int other = (round + 1) % MEMBERS;
    if (round % 4 == 1) {
        sb_test_signal(&members[other], SIGSTOP);
        stopped = other;
    } else if (round % 4 == 3) {
        end_stop();
        sb_test_signal(&members[other], SIGTERM);
        (void)sb_test_wait(&members[other], 60000);
        sb_test_process_end(&members[other]);
        spawn(other, plan);
    } else if (round % 4 == 2) {
        spawn(GUEST, plan);
    } else {
        sb_test_signal(&members[GUEST], round % 8 == 0 ? SIGTERM : SIGKILL);
        (void)sb_test_wait(&members[GUEST], 60000);
        sb_test_process_end(&members[GUEST]);
    }
}

/* One after the other, each time; the one that stands still as well. */
static void kill_one(const plan_t *plan, int round)
{
    int index = round % MEMBERS;
    if (index == stopped)
        stopped = -1;
    sb_test_process_end(&members[index]);
    spawn(index, plan);
    disturb(plan, round);
}

static void send_some(const plan_t *plan)
{
    int64_t left = plan->events - world.next;
    int64_t step = (int64_t)plan->events * TICK_MS / plan->send_ms + 1;
    if (left > 0)
        sb_test_world_send(&world, (int)(left < step ? left : step));
}

/* Runs the plan until every event had an effect; returns how many members died. */
static int play(const plan_t *plan)
{
    int64_t from_ms = sb_test_mono_ms();
    int64_t kill_at = from_ms + plan->kill_every_ms;
    int round = 0;
    int broken = 0;
    stopped = -1;
    for (int i = 0; i < MEMBERS; i++)
        spawn(i, plan);
    while (world.next < plan->events || sb_test_effects(&world, "mail") < plan->events) {
        if (sb_test_mono_ms() > from_ms + 10 * plan->send_ms + 300000)
            fail_msg("%lld of %d effects after all that time", (long long)sb_test_effects(&world, "mail"),
                     plan->events);
        send_some(plan);
        if (world.next < plan->events && sb_test_mono_ms() >= kill_at) {
            kill_one(plan, round++);
            kill_at = sb_test_mono_ms() + plan->kill_every_ms;
        }
        if (broken < plan->broker_kills &&
            world.next > plan->events * (broken + 1) / (plan->broker_kills + 1)) {
            sb_test_kafka_control("kill");
            sb_test_kafka_control("start");
            broken++;
        }
        sb_test_sleep_ms(TICK_MS);
    }
    end_stop();
    return round;
}

static void nothing_is_left_in_flight(void)
{
    assert_soon(sb_test_pg_int(world.pg, "SELECT coalesce(sum(next_offset), 0) FROM position") >= world.next,
                40000);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM inbox") == 0, 20000);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter"), 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine"), 0);
}

static bool is_long(void)
{
    const char *value = getenv("SB_TEST_LONG");
    return value && value[0] == '1';
}

static void every_effect_happens_exactly_once(void **state)
{
    (void)state;
    plan_t plan = {.events = is_long() ? 1000000 : 100000,
                   .send_ms = is_long() ? 120000 : 8000,
                   .kill_every_ms = is_long() ? 5000 : 1500,
                   .broker_kills = 2,
                   .guarded = true};
    assert_true(play(&plan) >= 3);
    sb_test_check_effects(&world, "mail", plan.events);
    nothing_is_left_in_flight();
    sb_test_check_effects(&world, "mail", plan.events);
}

/* ---- one member, point by point ---- */

typedef struct point {
    const char *crash;
    int lanes;
} point_t;

static void killed_at_each_point_between_fetch_and_commit_it_loses_and_repeats_nothing(void **state)
{
    (void)state;
    static const point_t points[] = {
        {"claim:before:2", 1},  {"claim:after:3", 4},    {"fetch:after:1", 1},   {"fetch:after:20", 4},
        {"deal:before:1", 4},   {"deal:after:1", 1},     {"begin:before:1", 1},  {"begin:after:2", 4},
        {"begin:after:1", 1},   {"handler:before:1", 4}, {"handler:after:1", 1}, {"handler:after:3", 4},
        {"commit:before:1", 1}, {"commit:before:2", 4},  {"commit:after:1", 1},  {"commit:after:2", 4},
        {"done:before:2", 4},   {"done:after:1", 1},     {"done:after:3", 4},    {"save:before:1", 4},
        {"save:after:1", 4},    {"offsets:before:1", 1}, {"offsets:after:1", 4}, {"bury:before:1", 4},
        {"bury:after:1", 1},
    };
    int64_t bad = 0;
    plan_t plan = {.guarded = true};
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        plan.crash = points[i].crash;
        plan.lanes = points[i].lanes;
        sb_test_world_send(&world, 60);
        if (strncmp(plan.crash, "bury", 4) == 0 && bad++ == 0)
            sb_test_world_send_bytes(&world, "k-1", "no event");
        sb_test_world_flush(&world);
        spawn(0, &plan);
        if (!sb_test_wait(&members[0], 60000))
            fail_msg("the member does not pass %s", plan.crash);
        assert_int_equal(members[0].exit_code, 128 + SIGKILL);
        sb_test_process_end(&members[0]);
        assert_int_equal(sb_test_wrong_effects(&world, "mail", 0), 0); /* none twice or out of order */
    }
    plan = (plan_t){.guarded = true};
    spawn(0, &plan);
    assert_soon(sb_test_effects(&world, "mail") >= world.next, 60000);
    sb_test_check_effects(&world, "mail", world.next);
    assert_soon(sb_test_pg_int(world.pg, "SELECT coalesce(sum(next_offset), 0) FROM position") ==
                    world.next + 1,
                40000);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM inbox WHERE seq > 0") == 0, 20000);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter"), 1);
}

static void effects_beside_the_position_are_found_wrong(void **state)
{
    (void)state;
    plan_t plan = {.events = 8000, .send_ms = 4500, .kill_every_ms = 750, .guarded = false};
    assert_true(play(&plan) >= 3);
    assert_true(sb_test_wrong_effects(&world, "mail", plan.events) > 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "member") == 0)
        return run_member();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_effect_happens_exactly_once, setup, teardown),
        cmocka_unit_test_setup_teardown(
            killed_at_each_point_between_fetch_and_commit_it_loses_and_repeats_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(effects_beside_the_position_are_found_wrong, setup, teardown),
    };
    return cmocka_run_group_tests_name("subscriber_kill", tests, sb_test_pg_start, sb_test_pg_stop);
}
