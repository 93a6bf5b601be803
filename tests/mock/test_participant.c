/* A participant's batch: handlers that fail in each way beside handlers that do not, and each only takes back
 * what it wrote itself.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/mock.h"
#include "tests/support/pg_server.h"

#include "base/clock.h"
#include "bus/consumer.h"
#include "saga/contract.h"
#include "sagabus/participant.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define COMMANDS   24
#define DELIVER_MS 60000

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_producer_t *producer;
    sb_consumer_t *replies;
    sb_participant_t *participant;
    pthread_t thread;
    atomic_int calls;
    int replied[3]; /* success, failure, error */
    int told_by_another;
    sb_uuid_t id[COMMANDS];
} fixture_t;

static fixture_t fixture;

/* ---- the handler ---- */

static bool run(PGconn *conn, const char *sql)
{
    PGresult *result = PQexec(conn, sql);
    ExecStatusType status = PQresultStatus(result);
    PQclear(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

static void on_command(void *context, struct pg_conn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    fixture_t *f = context;
    char sql[96];
    sb_slice_t action = command->action;
    atomic_fetch_add(&f->calls, 1);
    reply->outcome = SB_REPLY_SUCCESS;
    if (sb_slice_is(action, "decline")) { /* without a look at the database */
        reply->outcome = SB_REPLY_FAILURE;
        return;
    }
    (void)snprintf(sql, sizeof sql, "INSERT INTO done VALUES ('%.*s')", SB_SLICE_ARG(action));
    (void)run(conn, sql);
    if (sb_slice_is(action, "refuse"))
        reply->outcome = SB_REPLY_FAILURE;
    else if (sb_slice_is(action, "stumble"))
        reply->outcome = SB_REPLY_ERROR;
    else if (sb_slice_is(action, "poison"))
        (void)run(conn, "SELECT 1 / 0"); /* and says success all the same */
}

/* ---- what is around it ---- */

static int set_up(void **state)
{
    fixture_t *f = &fixture;
    const char *const topics[] = {"replies"};
    sb_error_t err = SB_ERROR_INIT;
    memset(f, 0, sizeof *f);
    (void)sb_test_pg_fresh(f->uri);
    f->pg = sb_test_pg_open(f->uri);
    sb_test_pg_script(f->pg, "CREATE TABLE " SB_TEST_CLIENT_SCHEMA ".done (what text)");
    sb_test_mock_open(&f->mock, 1);
    sb_test_mock_topic(&f->mock, "cmd.till", 1);
    sb_test_mock_topic(&f->mock, "cmd.drawer", 1);
    sb_test_mock_topic(&f->mock, "replies", 1);
    f->config = sb_test_bus_config(f->mock.bootstrap, NULL);
    assert_ok(sb_producer_open(&f->producer, f->config, "test", NULL, NULL, &err), &err);
    assert_ok(sb_consumer_open(&f->replies, f->config, "test", topics, 1, &err), &err);
    *state = f;
    return 0;
}

static void *run_participant(void *context)
{
    sb_participant_run(context);
    return NULL;
}

static sb_participant_config_t till(fixture_t *f)
{
    return (sb_participant_config_t){.name = "till",
                                     .pg_uri = f->uri,
                                     .schema = SB_TEST_CLIENT_SCHEMA,
                                     .kafka_bootstrap = f->mock.bootstrap,
                                     .on_command = on_command,
                                     .context = f};
}

static void start_as(fixture_t *f, const sb_participant_config_t *config)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_participant_open(&f->participant, config, &err), &err);
    assert_int_equal(pthread_create(&f->thread, NULL, run_participant, f->participant), 0);
}

static void start(fixture_t *f)
{
    sb_participant_config_t config = till(f);
    start_as(f, &config);
}

static int tear_down(void **state)
{
    fixture_t *f = *state;
    if (f->participant) {
        sb_participant_stop(f->participant);
        (void)pthread_join(f->thread, NULL);
    }
    sb_participant_close(&f->participant);
    sb_consumer_close(&f->replies, 5000);
    sb_producer_close(&f->producer);
    sb_config_free(&f->config);
    sb_test_mock_close(&f->mock);
    sb_pg_close(&f->pg);
    return 0;
}

/* expiry: as in the header; NULL: somebody waits. */
static void send_to(fixture_t *f, const char *participant, const sb_uuid_t *id, const char *action,
                    const char *expiry)
{
    char text[SB_UUID_TEXT], type[64], topic[64];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(type, sizeof type, "%s.%s", participant, action);
    (void)snprintf(topic, sizeof topic, "cmd.%s", participant);
    sb_slice_t own = sb_slice(sb_uuid_format(id, text));
    const sb_header_t headers[] = {{SB_H_ID, own},
                                   {SB_H_TYPE, sb_slice(type)},
                                   {SB_H_SAGA_ID, own},
                                   {SB_H_SAGA_STEP, sb_slice(participant)},
                                   {SB_H_DIRECTION, SB_SLICE("forward")},
                                   {SB_H_REPLY_TO, SB_SLICE("replies")},
                                   {SB_H_REPLY_PART, SB_SLICE("0")},
                                   {SB_H_EXPIRY, sb_slice(expiry)}};
    sb_record_t record = {.topic = topic,
                          .key = own,
                          .value = SB_SLICE("{}"),
                          .headers = headers,
                          .header_count = sizeof headers / sizeof headers[0] - !expiry};
    assert_ok(sb_producer_send(f->producer, &record, &err), &err);
}

static void send_command(fixture_t *f, const sb_uuid_t *id, const char *action)
{
    send_to(f, "till", id, action, NULL);
}

static sb_code_t on_reply(void *context, const sb_message_t *message, sb_error_t *err)
{
    fixture_t *f = context;
    sb_slice_t outcome = sb_message_header(message, SB_H_OUTCOME);
    (void)err;
    f->told_by_another += sb_slice_is(message->value, "{\"by\":\"another\"}");
    f->replied[sb_slice_is(outcome, "success") ? 0 : sb_slice_is(outcome, "failure") ? 1 : 2]++;
    return SB_OK;
}

static void await_replies(fixture_t *f, int wanted)
{
    int64_t until = sb_test_mono_ms() + DELIVER_MS;
    sb_error_t err = SB_ERROR_INIT;
    while (f->replied[0] + f->replied[1] + f->replied[2] < wanted) {
        int count = 0;
        assert_ok(sb_consumer_poll(f->replies, 100, 100, on_reply, f, &count, &err), &err);
        assert_true(sb_test_mono_ms() < until);
    }
}

/* All of them wait before the participant comes, so that they share their batches. */
static void send_all(fixture_t *f, const char *const *action, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    for (int i = 0; i < count; i++) {
        f->id[i] = sb_uuid_v7();
        send_command(f, &f->id[i], action[i]);
    }
    assert_ok(sb_producer_flush(f->producer, DELIVER_MS, &err), &err);
}

#define IN_DONE(what) "SELECT count(*) FROM " SB_TEST_CLIENT_SCHEMA ".done WHERE what = '" what "'"
#define IN_BARRIER(outcome)                                                                                  \
    "SELECT count(*) FROM " SB_TEST_CLIENT_SCHEMA ".barrier WHERE outcome = '" outcome "'"

/* ---- cases ---- */

static void a_handler_that_fails_takes_nobody_with_it(void **state)
{
    static const char *const action[COMMANDS] = {"pay",    "pay",     "refuse",  "pay",     "pay", "decline",
                                                 "poison", "pay",     "pay",     "stumble", "pay", "pay",
                                                 "pay",    "decline", "pay",     "pay",     "pay", "refuse",
                                                 "pay",    "pay",     "stumble", "pay",     "pay", "poison"};
    fixture_t *f = *state;
    send_all(f, action, COMMANDS);
    start(f);
    await_replies(f, COMMANDS);
    assert_int_equal(f->replied[0], 16);
    assert_int_equal(f->replied[1], 4);
    assert_int_equal(f->replied[2], 4); /* stumbled, or poisoned: to be tried again */
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), 16);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM " SB_TEST_CLIENT_SCHEMA ".done"), 16);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("success")), 16);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("failure")), 4);
    /* The first batch went back at its first refusal; from then on each had its savepoint. */
    assert_true(atomic_load(&f->calls) <= COMMANDS + 3);

    /* The same commands again: told what they were told, or tried again. */
    for (int i = 0; i < COMMANDS; i++)
        send_command(f, &f->id[i], strcmp(action[i], "stumble") == 0 ? "pay" : action[i]);
    await_replies(f, 2 * COMMANDS);
    assert_int_equal(f->replied[0], 34); /* the two that stumbled did not again */
    assert_int_equal(f->replied[1], 8);
    assert_int_equal(f->replied[2], 6);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), 18);
}

/* Who only says no has nothing to take back: no command of its batch runs twice for it. */
static void a_refusal_without_a_write_costs_nobody_a_second_run(void **state)
{
    fixture_t *f = *state;
    const char *action[COMMANDS];
    for (int i = 0; i < COMMANDS; i++)
        action[i] = i % 5 == 3 ? "decline" : "pay";
    send_all(f, action, COMMANDS);
    start(f);
    await_replies(f, COMMANDS);
    assert_int_equal(f->replied[1], 5);
    assert_int_equal(atomic_load(&f->calls), COMMANDS);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), COMMANDS - 5);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("failure")), 5);
}

/* A member that has lost its partition and does not know it yet has one of them in hand: its answer counts,
 * and nobody else's command suffers. */
static void a_command_that_another_has_in_hand_waits_for_its_answer(void **state)
{
    fixture_t *f = *state;
    const char *action[COMMANDS];
    char sql[384], text[SB_UUID_TEXT];
    for (int i = 0; i < COMMANDS; i++)
        action[i] = "pay";
    send_all(f, action, COMMANDS);
    (void)snprintf(
        sql, sizeof sql,
        "BEGIN; INSERT INTO " SB_TEST_CLIENT_SCHEMA
        ".barrier (command_id, saga_id, step, direction, outcome, reply) VALUES ('%s', '%s', 'pay', "
        "'forward', 'success', '{\"by\":\"another\"}')",
        sb_uuid_format(&f->id[3], text), text);
    sb_test_pg_script(f->pg, sql);
    start(f);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, DELIVER_MS);
    sb_test_pg_script(f->pg, "COMMIT");
    await_replies(f, COMMANDS);
    assert_int_equal(f->replied[0], COMMANDS);
    assert_int_equal(f->told_by_another, 1);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), COMMANDS - 1);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("success")), COMMANDS);
}

#define SLOW_COMMANDS 400 /* fifty chances for one batch that a busy machine leaves alone */

/* A commit that takes as long for many commands as for few is shared by many: were it counted as theirs, each
 * batch would have the fewest there may be (8). */
static void a_slow_commit_is_shared_by_more_commands(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_test_pg_script(
        f->pg, "CREATE FUNCTION slow_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               "IF current_setting('test.slept', true) IS DISTINCT FROM pg_current_xact_id()::text THEN "
               "PERFORM set_config('test.slept', pg_current_xact_id()::text, true), pg_sleep(0.05); "
               "END IF; RETURN NULL; END $$; "
               "CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON " SB_TEST_CLIENT_SCHEMA ".barrier "
               "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow_commit()");
    for (int i = 0; i < SLOW_COMMANDS; i++) {
        sb_uuid_t id = sb_uuid_v7();
        send_command(f, &id, "decline");
    }
    assert_ok(sb_producer_flush(f->producer, DELIVER_MS, &err), &err);
    start(f);
    await_replies(f, SLOW_COMMANDS);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("failure")), SLOW_COMMANDS);
    assert_true(sb_test_pg_int(f->pg, "SELECT max(n) FROM (SELECT count(*) AS n FROM " SB_TEST_CLIENT_SCHEMA
                                      ".barrier GROUP BY xmin::text) AS batch") > 8);
}

/* What the group will begin at; -1: nothing is committed. */
static int64_t committed_offset(fixture_t *f)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    assert_int_equal(rd_kafka_conf_set(conf, "bootstrap.servers", f->mock.bootstrap, text, sizeof text), 0);
    assert_int_equal(rd_kafka_conf_set(conf, "group.id", "till", text, sizeof text), 0);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof text);
    assert_non_null(handle);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, "cmd.till", 0);
    rd_kafka_resp_err_t error = rd_kafka_committed(handle, list, DELIVER_MS);
    int64_t offset =
        error == RD_KAFKA_RESP_ERR_NO_ERROR && list->elems[0].offset >= 0 ? list->elems[0].offset : -1;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(handle);
    return offset;
}

static void await_offset(fixture_t *f, int64_t wanted)
{
    int64_t until = sb_test_mono_ms() + DELIVER_MS;
    while (committed_offset(f) < wanted) {
        assert_true(sb_test_mono_ms() < until);
        sb_sleep_ms(50);
    }
}

/* Nobody waits for them, and they come all the same: while commands flow, and behind the last one. */
static void offsets_follow_the_replies(void **state)
{
    fixture_t *f = *state;
    const char *const action[] = {"pay", "decline"};
    sb_error_t err = SB_ERROR_INIT;
    sb_uuid_t id;
    start(f);
    for (int i = 0; i < 100; i++) {
        id = sb_uuid_v7();
        send_command(f, &id, action[i % 2]);
        sb_producer_poll(f->producer, 5);
        if (i == 50)
            await_offset(f, 1);
    }
    assert_ok(sb_producer_flush(f->producer, DELIVER_MS, &err), &err);
    await_replies(f, 100);
    await_offset(f, 100);
    assert_int_equal(committed_offset(f), 100);
    assert_int_equal(atomic_load(&f->calls), 100);
}

/* One service that is two participants: what waits for either is carried out in one transaction. */
static void one_that_is_two_shares_its_batches(void **state)
{
    static const char *const also[] = {"drawer", NULL};
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    for (int i = 0; i < COMMANDS; i++) {
        f->id[i] = sb_uuid_v7();
        send_to(f, i % 2 ? "till" : "drawer", &f->id[i], i % 5 == 3 ? "decline" : "pay", NULL);
    }
    assert_ok(sb_producer_flush(f->producer, DELIVER_MS, &err), &err);
    sb_participant_config_t config = till(f);
    config.also = also;
    start_as(f, &config);
    await_replies(f, COMMANDS);
    assert_int_equal(f->replied[1], 5);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), COMMANDS - 5);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM " SB_TEST_CLIENT_SCHEMA ".barrier WHERE step = 'drawer'"),
        COMMANDS / 2);
    /* Which commands a fetch brings first is the broker's affair; batches of both follow the first answers.
     */
    for (int i = 0; i < SLOW_COMMANDS; i++) {
        sb_uuid_t id = sb_uuid_v7();
        send_to(f, i % 2 ? "till" : "drawer", &id, "decline", NULL);
    }
    await_replies(f, COMMANDS + SLOW_COMMANDS);
    assert_true(sb_test_pg_int(f->pg,
                               "SELECT count(*) FROM (SELECT 1 FROM " SB_TEST_CLIENT_SCHEMA
                               ".barrier GROUP BY xmin::text HAVING count(DISTINCT step) = 2) AS b") > 0);
}

static void names_that_cannot_be_are_refused(void **state)
{
    static const char *const twice[] = {"drawer", "till", NULL};
    const char *many[SB_PARTICIPANT_ALSO_MAX + 2] = {NULL};
    char name[SB_PARTICIPANT_ALSO_MAX + 1][16];
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_participant_config_t config = till(f);
    config.also = twice;
    assert_int_equal(sb_participant_open(&f->participant, &config, &err), SB_INVALID);
    assert_string_equal(err.message, "participant till: it is till twice");
    for (int i = 0; i <= SB_PARTICIPANT_ALSO_MAX; i++) {
        (void)snprintf(name[i], sizeof name[i], "other%d", i);
        many[i] = name[i];
    }
    config.also = many;
    assert_int_equal(sb_participant_open(&f->participant, &config, &err), SB_TOO_LARGE);
    many[SB_PARTICIPANT_ALSO_MAX] = NULL;
    assert_ok(sb_participant_open(&f->participant, &config, &err), &err);
    sb_participant_close(&f->participant);
}

/* As they come again to a group that has lost its offsets: not carried out, whatever the barrier has
 * forgotten; what it knows is answered as ever, and clocks may differ by some seconds. */
static void a_command_that_nobody_waits_for_any_more_is_not_started(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    char moment[SB_TIME_TEXT];
    for (int i = 0; i < 3; i++)
        f->id[i] = sb_uuid_v7();
    send_to(f, "till", &f->id[0], "pay", "2024-11-22T00:00:00Z");
    send_to(f, "till", &f->id[1], "pay", sb_time_format(sb_wall_us() - 5000000, moment));
    send_to(f, "till", &f->id[2], "pay", sb_time_format(sb_wall_us() + 600000000, moment));
    assert_ok(sb_producer_flush(f->producer, DELIVER_MS, &err), &err);
    start(f);
    await_replies(f, 2);
    send_to(f, "till", &f->id[1], "pay", "2024-11-22T00:00:00Z");
    await_replies(f, 3);
    assert_int_equal(f->replied[0], 3);
    assert_int_equal(atomic_load(&f->calls), 2);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), 2);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("success")), 2);
    await_offset(f, 4);

    /* One by one and in savepoints, as it goes on after a handler that could not say. */
    sb_uuid_t stumbled = sb_uuid_v7(), late = sb_uuid_v7();
    send_to(f, "till", &stumbled, "stumble", NULL);
    await_replies(f, 4);
    int calls = atomic_load(&f->calls);
    send_to(f, "till", &late, "pay", "2024-11-22T00:00:00Z");
    send_to(f, "till", &late, "pay", sb_time_format(sb_wall_us() + 600000000, moment));
    await_replies(f, 5);
    assert_int_equal(atomic_load(&f->calls), calls + 1);
    assert_int_equal(sb_test_pg_int(f->pg, IN_DONE("pay")), 3);
    assert_int_equal(sb_test_pg_int(f->pg, IN_BARRIER("success")), 3);
    await_offset(f, 7);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {CASE(a_handler_that_fails_takes_nobody_with_it),
                                       CASE(a_refusal_without_a_write_costs_nobody_a_second_run),
                                       CASE(a_command_that_another_has_in_hand_waits_for_its_answer),
                                       CASE(a_slow_commit_is_shared_by_more_commands),
                                       CASE(offsets_follow_the_replies),
                                       CASE(one_that_is_two_shares_its_batches),
                                       CASE(names_that_cannot_be_are_refused),
                                       CASE(a_command_that_nobody_waits_for_any_more_is_not_started)};
    return cmocka_run_group_tests_name("participant", tests, sb_test_pg_start, sb_test_pg_stop);
}
