/* Three members of a group, as processes, one killed every so often, and the broker killed twice meanwhile:
 * every event has its effect exactly once, in order by key, and nothing is left in flight. The same with the
 * handler's writes beside the position instead of in its transaction must be found wrong, or the test sees
 * nothing.
 *
 * The program is its own member. SB_TEST_LONG: a million events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bus/topics.h"
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
                                      .on_events = guarded ? sb_test_handle : handle_unguarded,
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
} plan_t;

static char prefix[SB_TEST_PREFIX];
static sb_test_world_t world;
static sb_test_process_t members[MEMBERS];

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
    for (int i = 0; i < MEMBERS; i++)
        sb_test_process_end(&members[i]);
    sb_test_world_close(&world);
    return 0;
}

static void line(char out[SB_TEST_URI + 32], const char *name, const char *value)
{
    (void)snprintf(out, SB_TEST_URI + 32, "%s=%s", name, value);
}

/* Members differ: one takes large batches, the others have lanes; they keep their names over their deaths, so
 * that a killed one is not missed for a whole session. */
static void spawn(int index, const plan_t *plan)
{
    static const char *const names[MEMBERS] = {"m-0", "m-1", "m-2"};
    static char lines[7][SB_TEST_URI + 32];
    char self[512] = "";
    assert_true(readlink("/proc/self/exe", self, sizeof self - 1) > 0);
    const char *argv[] = {self, "member", NULL};
    line(lines[0], "MEMBER_URI", world.uri);
    line(lines[1], "MEMBER_KAFKA", world.bootstrap);
    line(lines[2], "MEMBER_PREFIX", prefix);
    line(lines[3], "MEMBER_LANES", index == 0 ? "1" : "4");
    line(lines[4], "MEMBER_BATCH", index == 0 ? "100" : "5");
    line(lines[5], "MEMBER_NAME", names[index]);
    line(lines[6], "MEMBER_GUARDED", "1");
    const char *environment[] = {
        lines[0], lines[1], lines[2], lines[3], lines[4], lines[5], plan->guarded ? lines[6] : NULL, NULL};
    sb_test_spawn(&members[index], argv, environment, NULL);
}

static int stopped = -1; /* a member that stands still */

/* One after the other, in changing ways: killed, told to leave, stopped until the next but one is killed. */
static void kill_one(const plan_t *plan, int round)
{
    int index = round % MEMBERS;
    if (round % 4 == 1 && stopped < 0) {
        sb_test_signal(&members[index], SIGSTOP);
        stopped = index;
        return;
    }
    if (stopped >= 0 && round % 4 == 3) {
        sb_test_signal(&members[stopped], SIGCONT);
        stopped = -1;
    }
    if (index == stopped)
        return;
    if (round % 4 == 2) {
        sb_test_signal(&members[index], SIGTERM);
        (void)sb_test_wait(&members[index], 15000);
    }
    sb_test_process_end(&members[index]);
    spawn(index, plan);
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
        if (sb_test_mono_ms() > from_ms + 10 * plan->send_ms + 60000)
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
    if (stopped >= 0)
        sb_test_signal(&members[stopped], SIGCONT);
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
    plan_t plan = {.events = is_long() ? 1000000 : 20000,
                   .send_ms = is_long() ? 120000 : 8000,
                   .kill_every_ms = is_long() ? 5000 : 1500,
                   .broker_kills = 2,
                   .guarded = true};
    assert_true(play(&plan) >= 3);
    sb_test_check_effects(&world, "mail", plan.events);
    nothing_is_left_in_flight();
    sb_test_check_effects(&world, "mail", plan.events);
}

static void effects_beside_the_position_are_found_wrong(void **state)
{
    (void)state;
    plan_t plan = {.events = 8000, .send_ms = 6000, .kill_every_ms = 1000, .guarded = false};
    assert_true(play(&plan) >= 3);
    assert_true(sb_test_wrong_effects(&world, "mail", plan.events) > 0);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "member") == 0)
        return run_member();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_effect_happens_exactly_once, setup, teardown),
        cmocka_unit_test_setup_teardown(effects_beside_the_position_are_found_wrong, setup, teardown),
    };
    return cmocka_run_group_tests_name("subscriber_kill", tests, sb_test_pg_start, sb_test_pg_stop);
}
