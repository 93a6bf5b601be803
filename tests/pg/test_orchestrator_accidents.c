/* The orchestrator when processes, connections, the server and the brokers die under it. After each accident
 * the same must hold as in quiet: every accepted saga ends, once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "tests/pg/saga_stage.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* ---- an orchestrator in a process of its own, that starts sagas as fast as they are taken ---- */

#define KEYS_MAX 4000

typedef struct load {
    stage_t *stage;
    _Atomic int next_key;         /* across all processes */
    _Atomic char acked[KEYS_MAX]; /* the caller was told that it is started */
    int keys;
    int in_flight; /* of one process */
} load_t;

typedef struct load_call {
    load_t *load;
    int key;
    _Atomic int *waiting;
} load_call_t;

static load_t *new_load(stage_t *stage, int keys)
{
    load_t *load = mmap(NULL, sizeof *load, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(load != MAP_FAILED);
    load->stage = stage;
    load->keys = keys;
    load->in_flight = 50;
    return load;
}

static void on_load_answer(void *context, const sb_saga_answer_t *answer)
{
    load_call_t *call = context;
    if (answer->code == SB_OK)
        call->load->acked[call->key] = 1;
    --*call->waiting;
    free(call);
}

/* The body of a child: drives until killed, or until all keys are started and nothing is open. */
static int drive(void *context)
{
    load_t *load = context;
    engine_t engine;
    static _Atomic int waiting;
    engine_start(load->stage, &engine, "child");
    while (engine_stats(&engine).shards == 0)
        sb_sleep_ms(5);
    while (load->next_key < load->keys) {
        if (waiting >= load->in_flight) {
            sb_sleep_ms(1);
            continue;
        }
        char key[32];
        load_call_t *call = malloc(sizeof *call);
        if (!call)
            return 2;
        *call = (load_call_t){load, load->next_key++, &waiting};
        (void)snprintf(key, sizeof key, "load-%d", call->key);
        sb_saga_start_t start = {
            .type = SB_SLICE("trip"), .key = sb_slice(key), .input = SB_SLICE("{\"city\": \"Oslo\"}")};
        waiting++;
        while (sb_orchestrator_start(engine.orchestrator, &start, on_load_answer, call, NULL) != SB_OK)
            sb_sleep_ms(5);
    }
    while (waiting > 0 || engine_stats(&engine).open > 0 || engine_stats(&engine).shards == 0)
        sb_sleep_ms(10);
    engine_stop(&engine);
    return 0;
}

static int64_t count_acked(const load_t *load)
{
    int64_t n = 0;
    for (int i = 0; i < load->keys; i++)
        n += load->acked[i];
    return n;
}

static void check_load(stage_t *stage, const load_t *load)
{
    int64_t rows = sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga");
    stage_check(stage, rows);
    assert_true(rows <= load->keys);
    assert_true(count_acked(load) <= rows);
    for (int i = 0; i < load->keys; i++) {
        if (!load->acked[i])
            continue;
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_result_t *found = NULL;
        sb_pg_add_int4(&params, i);
        assert_int_equal(sb_pg_query(stage->pg,
                                     "SELECT 1 FROM sagabus.saga WHERE type = 'trip' AND key = 'load-' || $1",
                                     &params, &found, NULL),
                         SB_OK);
        assert_int_equal(sb_pg_rows(found), 1);
        sb_pg_result_free(found);
    }
}

static void killed_orchestrators_lose_nothing(void **state)
{
    stage_t *stage = *state;
    load_t *load = new_load(stage, 2000);
    stage->play->outcome = play_mixed;
    stage->play->delay_us = 20000;
    int kills = 0;
    for (unsigned seed = 7; load->next_key < load->keys && kills < 40; kills++) {
        sb_test_process_t child = {.pid = 0};
        int64_t before = count_acked(load);
        sb_test_fork(&child, drive, load);
        if (kills % 2) /* a slow machine must get somewhere; the others die at any moment of their start */
            assert_soon(count_acked(load) > before || load->next_key >= load->keys, 60000);
        sb_test_sleep_ms(30 + rand_r(&seed) % 100); /* short: a quick machine must not be done first */
        sb_test_signal(&child, SIGKILL);
        sb_test_process_end(&child);
    }
    load->next_key = load->keys; /* the last one only finishes what is there */
    sb_test_process_t last = {.pid = 0};
    sb_test_fork(&last, drive, load);
    assert_true(sb_test_wait(&last, 240000));
    assert_int_equal(last.exit_code, 0);
    sb_test_process_end(&last);
    assert_true(kills >= 4);
    assert_true(count_acked(load) > 100);
    check_load(stage, load);
    (void)munmap(load, sizeof *load);
}

/* ---- a zombie ---- */

/* The child is stopped while its transaction is open and blocked; another takes over; the child goes on. */
static void a_stopped_orchestrator_writes_nothing_after_the_takeover(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    load_t *load = new_load(stage, 600);
    sb_test_process_t child = {.pid = 0};
    stage->play->outcome = play_mixed;
    stage->play->delay_us = 20000;
    load->in_flight = 20;
    sb_test_fork(&child, drive, load);
    assert_soon(count_acked(load) > 50, 20000);

    sb_pg_t *blocker = sb_test_pg_open(stage->uri);
    sb_test_pg_script(
        blocker, "SET idle_in_transaction_session_timeout = 0; BEGIN; LOCK TABLE sagabus.saga IN SHARE MODE");
    assert_soon(sb_test_pg_int(stage->pg,
                               "SELECT count(*) FROM pg_locks WHERE relation = 'sagabus.saga'::regclass "
                               "AND NOT granted") > 0,
                10000);
    sb_test_signal(&child, SIGSTOP);
    int64_t epoch = sb_test_pg_int(stage->pg, "SELECT epoch FROM sagabus.lease WHERE role = 'saga:0'");

    engine_start(stage, &engine, "second"); /* recovery only reads, so the lock does not hold it up */
    engine_await_shard(&engine);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT epoch FROM sagabus.lease WHERE role = 'saga:0'"),
                     epoch + 1);
    sb_test_pg_script(blocker, "ROLLBACK");
    sb_pg_close(&blocker);
    assert_soon(stage_count_open(stage) == 0, 30000);
    int64_t sagas = sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga");
    int64_t events = sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event WHERE class = 2");

    sb_test_signal(&child, SIGCONT);
    sb_test_sleep_ms(1500);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga"), sagas);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event WHERE class = 2"), events);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT epoch FROM sagabus.lease WHERE role = 'saga:0'"),
                     epoch + 1);
    check_load(stage, load);

    /* When the second one leaves, the first is welcome again: it finishes its load. */
    engine_stop(&engine);
    assert_true(sb_test_wait(&child, 240000));
    assert_int_equal(child.exit_code, 0);
    sb_test_process_end(&child);
    check_load(stage, load);
    (void)munmap(load, sizeof *load);
}

/* ---- connections and the server ---- */

typedef struct starts {
    const engine_t *engine;
    int count;
    call_t *call;
    const char *prefix;
} starts_t;

static void *start_slowly(void *context)
{
    starts_t *starts = context;
    for (int i = 0; i < starts->count; i++) {
        char key[48];
        (void)snprintf(key, sizeof key, "%s-%d", starts->prefix, i);
        starts->call[i] = (call_t)CALL_INIT;
        while (engine_push_start(starts->engine, i % 2 ? key : NULL, "{\"city\": \"Oslo\"}",
                                 &starts->call[i]) != SB_OK)
            sb_sleep_ms(2);
        if (i % 5 == 0)
            sb_sleep_ms(4);
    }
    return NULL;
}

/* How many were answered as unknown, which they may be only when the database was away for longer than a
 * caller waits.
 */
static int check_starts(const starts_t *starts, bool away_for_long)
{
    int unknown = 0;
    for (int i = 0; i < starts->count; i++) {
        call_await(&starts->call[i]);
        assert_int_equal(starts->call[i].answers, 1);
        assert_false(starts->call[i].repeated); /* a commit of unknown outcome was its own, not somebody's */
        if (away_for_long && starts->call[i].code == SB_UNKNOWN_OUTCOME)
            unknown++;
        else if (starts->call[i].code != SB_OK)
            fail_msg("start %d: %s", i, starts->call[i].message);
    }
    return unknown;
}

static void commits_of_unknown_outcome_are_resolved_for_each_caller(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    enum { COUNT = 400 };
    static call_t call[COUNT];
    pthread_t thread;
    starts_t starts = {&engine, COUNT, call, "cut"};
    stage->play->outcome = play_mixed;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    assert_int_equal(pthread_create(&thread, NULL, start_slowly, &starts), 0);
    for (int i = 0; i < 15; i++) {
        sb_test_sleep_ms(60);
        sb_test_pg_script(
            stage->pg,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'sagabus-saga'");
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(check_starts(&starts, false), 0);
    assert_soon(engine_stats(&engine).shards == 1 && engine_stats(&engine).open == 0, 30000);
    engine_stop(&engine);
    stage_check(stage, COUNT);
}

static void a_server_that_comes_back_is_taken_up_again(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    enum { COUNT = 200 };
    static call_t call[COUNT];
    pthread_t thread;
    starts_t starts = {&engine, COUNT, call, "restart"};
    stage->play->outcome = play_mixed;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    assert_int_equal(pthread_create(&thread, NULL, start_slowly, &starts), 0);
    sb_test_sleep_ms(80);
    int64_t away_ms = sb_test_mono_ms();
    sb_test_pg_stop_immediate();
    sb_test_sleep_ms(500);
    assert_soon(!engine_stats(&engine).pg_ok, 5000);
    assert_true(engine_stats(&engine).error[0] != '\0');
    sb_test_pg_restart();
    assert_int_equal(sb_pg_reopen(stage->pg, NULL), SB_OK);
    assert_soon(engine_stats(&engine).pg_ok, 30000);
    away_ms = sb_test_mono_ms() - away_ms;
    assert_int_equal(pthread_join(thread, NULL), 0);
    int unknown = check_starts(&starts, away_ms > 8000);
    assert_soon(engine_stats(&engine).shards == 1 && engine_stats(&engine).open == 0, 30000);
    assert_soon(engine_stats(&engine).error[0] == '\0', 5000);
    engine_stop(&engine);
    int64_t there = sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga");
    assert_true(there >= COUNT - unknown && there <= COUNT);
    stage_check(stage, (int)there);
}

/* ---- brokers ---- */

static void wiped_brokers_get_the_open_commands_again(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    stage->play->deaf = true;
    id = engine_start_saga(&engine, NULL);
    int64_t commands = stage->play->commands;
    stage->play->deaf = false;
    sb_play_wipe(stage->play, "other");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_true(stage->play->commands >= commands + 3);
    engine_stop(&engine);
    stage_check(stage, 2);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.lease WHERE role = 'saga:0' AND "
                                               "detail->>'cluster' = 'other'"),
                     1);
}

/* A crash between the wipe and the first reply must not make its successor begin behind replies of the new
 * brokers. */
static void an_offset_of_wiped_brokers_is_not_kept_for_the_new_ones(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_true(sb_test_pg_int(stage->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'saga:0'") > 0);
    stage->play->deaf = true;
    sb_play_wipe(stage->play, "other");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.lease WHERE role = 'saga:0' AND "
                                          "detail->>'cluster' = 'other'") == 1,
                10000);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'saga:0'"), 0);
    engine_stop(&engine);
    stage_check(stage, 1);
}

/* Nobody can answer then, so no try may end by it. */
static void time_without_brokers_ends_no_try(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    assert_soon(engine_stats(&engine).kafka_ok, 2000);
    stage->play->away = true;
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    sb_test_sleep_ms(1500); /* the step's time-out is 400 ms */
    assert_false(engine_stats(&engine).kafka_ok);
    assert_int_equal(engine_stats(&engine).retries, 0);
    stage->play->away = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_true(engine_stats(&engine).retries >= 1); /* what was sent then is lost in this world */
    engine_stop(&engine);
    stage_check(stage, 1);
}

/* ---- PostgreSQL's clock is set ---- */

/* The clock that this database's connections read from now on, by a function that hides PostgreSQL's own. */
static void make_clock(stage_t *stage)
{
    sb_test_pg_script(stage->pg,
                      "CREATE SCHEMA fake; CREATE TABLE fake.clock (by interval NOT NULL);"
                      "INSERT INTO fake.clock VALUES ('0');"
                      "CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS "
                      "'SELECT pg_catalog.clock_timestamp() + by FROM fake.clock';"
                      "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = fake, pg_catalog', "
                      "current_database()); END $$");
}

static void set_clock(stage_t *stage, const char *by)
{
    char sql[80];
    (void)snprintf(sql, sizeof sql, "UPDATE fake.clock SET by = '%s'", by);
    sb_test_pg_script(stage->pg, sql);
}

static int64_t count_tries_repeated(stage_t *stage)
{
    return sb_test_pg_int(stage->pg,
                          "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) "
                          "WHERE t.name = 'saga.step.retried'");
}

static const char patient[] =
    "{\"saga\": \"patient\", \"version\": 1, \"deadline\": \"2h\", \"steps\": [{\"name\": \"wait\", "
    "\"participant\": \"p\", \"action\": \"do\", \"no_effect\": true, \"timeout\": \"1h\"}]}";
static const char brief[] =
    "{\"saga\": \"brief\", \"version\": 1, \"deadline\": \"4s\", \"steps\": [{\"name\": \"wait\", "
    "\"participant\": \"p\", \"action\": \"do\", \"no_effect\": true, \"timeout\": \"2s\", "
    "\"retry\": {\"shape\": \"fixed\", \"attempts\": 1000, \"delay\": \"200ms\"}}]}";
static const char impatient[] =
    "{\"saga\": \"impatient\", \"version\": 1, \"deadline\": \"2h\", \"steps\": [{\"name\": \"wait\", "
    "\"participant\": \"p\", \"action\": \"do\", \"no_effect\": true, \"timeout\": \"2s\", "
    "\"retry\": {\"shape\": \"fixed\", \"attempts\": 9, \"delay\": \"2s\"}}]}";

/* A try that would end in two seconds ends then, and not five hours later. */
static void a_clock_set_back_makes_no_timer_late(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    make_clock(stage);
    stage_register(stage, "impatient", impatient);
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_type(&engine, "impatient", NULL, "{}");
    set_clock(stage, "-5 hours");
    int64_t before = engine_stats(&engine).retries;
    assert_soon(engine_stats(&engine).retries > before, 60000);
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
}

static sb_outcome_t play_second_time_well(const sb_play_command_t *command)
{
    return command->attempt > 1 ? SB_OUTCOME_SUCCESS : SB_OUTCOME_ERROR;
}

/* The same when nobody was there to see it: the next try was put down for a time that is hours away now. */
static void a_clock_set_back_while_nobody_ran_makes_no_timer_late(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    make_clock(stage);
    stage_register(stage, "impatient", impatient);
    stage->play->outcome = play_second_time_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_type(&engine, "impatient", NULL, "{}");
    assert_soon(count_tries_repeated(stage) == 1, 60000);
    engine_stop(&engine);
    set_clock(stage, "-5 hours");
    engine_start(stage, &engine, "two");
    engine_await_shard(&engine);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    assert_int_equal(count_tries_repeated(stage), 1);
}

static sb_outcome_t play_never_well(const sb_play_command_t *command)
{
    (void)command;
    return SB_OUTCOME_ERROR;
}

/* Nor when some of its events are of before and others of after: the deadline counts from the start. */
static void a_clock_set_back_amid_a_saga_makes_no_deadline_late(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    make_clock(stage);
    stage_register(stage, "brief", brief);
    stage->play->outcome = play_never_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_type(&engine, "brief", NULL, "{}");
    assert_soon(count_tries_repeated(stage) > 0, 60000);
    set_clock(stage, "-5 hours");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event "
                                          "WHERE at < pg_catalog.clock_timestamp() - interval '4 hours'") > 0,
                60000);
    engine_stop(&engine);
    engine_start(stage, &engine, "two");
    engine_await_shard(&engine);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
    engine_stop(&engine);
}

/* Neither a try of an hour nor a deadline of two is over because the clock says that five have passed. */
static void a_clock_set_forward_fires_no_timer(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    make_clock(stage);
    stage_register(stage, "patient", patient);
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_type(&engine, "patient", NULL, "{}");
    set_clock(stage, "5 hours");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.lease WHERE beat > "
                                          "pg_catalog.clock_timestamp() + interval '4 hours'") == 1,
                60000);
    sb_test_sleep_ms(2500); /* a lease and more: it may well fire by then */
    assert_int_equal(count_tries_repeated(stage), 0);
    stage->play->deaf = false;
    sb_play_wipe(stage->play, "another");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    assert_int_equal(count_tries_repeated(stage), 0);
}

/* ---- a saga that has been open for long ---- */

/* As if the owner had let the low-water mark pass it. */
static void a_slow_saga_is_found_below_the_low_water_mark(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t slow = engine_start_saga(&engine, NULL);
    sb_uuid_t other = engine_start_saga(&engine, NULL);
    engine_stop(&engine);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT low FROM sagabus.lease WHERE role = 'saga:0'"), 1);
    sb_test_pg_script(
        stage->pg,
        "UPDATE sagabus.lease SET low = 2, detail = detail || '{\"slow\": [1]}' WHERE role = 'saga:0'");
    stage->play->deaf = false;
    engine_start(stage, &engine, "two");
    assert_int_equal(engine_await_end(&engine, &slow), SB_SAGA_COMPLETED);
    assert_int_equal(engine_await_end(&engine, &other), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    stage_check(stage, 2);
}

/* ---- content that the database refuses ---- */

static void a_bad_start_is_split_out_of_its_batch(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    enum { COUNT = 64 };
    static call_t call[COUNT];
    stage->play->outcome = play_all_well;
    sb_test_pg_script(
        stage->pg,
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.key LIKE 'poison%' "
        "THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER poison BEFORE INSERT ON sagabus.saga FOR EACH ROW EXECUTE FUNCTION poison()");
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < COUNT; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "%s-%d", i % 20 == 7 ? "poison" : "fine", i);
        call[i] = (call_t)CALL_INIT;
        assert_int_equal(engine_push_start(&engine, key, "{\"city\": \"Oslo\"}", &call[i]), SB_OK);
    }
    int refused = 0;
    for (int i = 0; i < COUNT; i++) {
        call_await(&call[i]);
        assert_int_equal(call[i].code == SB_OK, i % 20 != 7);
        refused += call[i].code != SB_OK;
    }
    assert_int_equal(refused, 3);
    assert_soon(engine_stats(&engine).open == 0, 20000);
    engine_stop(&engine);
    stage_check(stage, COUNT - 3);
}

/* ---- several ---- */

static void a_dead_owners_shard_is_taken_over_by_another(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    load_t *load = new_load(stage, KEYS_MAX);
    sb_test_process_t child = {.pid = 0};
    stage->play->outcome = play_mixed;
    stage->play->delay_us = 20000;
    sb_test_pg_script(stage->pg, "UPDATE sagabus.store SET shard_count = 4");
    sb_test_fork(&child, drive, load);
    assert_soon(count_acked(load) > 50, 20000);
    engine_start(stage, &engine, "second");
    engine_await_shard(&engine);
    assert_int_equal(engine_stats(&engine).shards, 1);
    sb_uuid_t mine = engine_start_saga(&engine, "mine");
    assert_int_equal(engine_await_end(&engine, &mine), engine_await_end(&engine, &mine));
    sb_test_signal(&child, SIGKILL);
    sb_test_process_end(&child);
    assert_soon(engine_stats(&engine).shards == 2, 5000);
    assert_soon(stage_count_open(stage) == 0, 30000);
    engine_stop(&engine);
    stage_check(stage, sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga"));
    (void)munmap(load, sizeof *load);
}

static void an_instance_without_a_shard_is_given_one(void **state)
{
    stage_t *stage = *state;
    engine_t engine[3];
    stage->play->outcome = play_all_well;
    engine_start_two(stage, engine);
    stage->play->deaf = true;
    sb_uuid_t id = engine_start_saga(&engine[1], NULL);
    engine_stop(&engine[1]);
    assert_soon(engine_stats(&engine[0]).shards == 2, 5000);
    engine_start(stage, &engine[2], "three");
    assert_soon(engine_stats(&engine[2]).shards == 1, 8000);
    assert_soon(engine_stats(&engine[0]).shards == 1, 8000); /* it gives it back, then says so */
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine[0], &id), SB_SAGA_COMPLETED); /* seen from either */
    sb_test_sleep_ms(3500);
    assert_int_equal(engine_stats(&engine[0]).shards, 1); /* and it stays so */
    assert_int_equal(engine_stats(&engine[2]).shards, 1);
    engine_stop(&engine[0]);
    engine_stop(&engine[2]);
    stage_check(stage, 1);
}

/* ---- at rest ---- */

static void an_idle_orchestrator_costs_next_to_nothing(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    clockid_t clock;
    struct timespec before, after;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_test_sleep_ms(300);
    assert_int_equal(pthread_getcpuclockid(engine.thread, &clock), 0);
    assert_int_equal(clock_gettime(clock, &before), 0);
    sb_test_sleep_ms(3000);
    assert_int_equal(clock_gettime(clock, &after), 0);
    int64_t us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    print_message("idle: %lld us of CPU in 3 s\n", (long long)us);
    assert_true(us < 30000); /* 1 % of a core */
    engine_stop(&engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_orchestrators_lose_nothing, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_stopped_orchestrator_writes_nothing_after_the_takeover,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(commits_of_unknown_outcome_are_resolved_for_each_caller, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_comes_back_is_taken_up_again, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(wiped_brokers_get_the_open_commands_again, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_offset_of_wiped_brokers_is_not_kept_for_the_new_ones, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(time_without_brokers_ends_no_try, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_back_makes_no_timer_late, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_back_while_nobody_ran_makes_no_timer_late, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_back_amid_a_saga_makes_no_deadline_late, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_clock_set_forward_fires_no_timer, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_slow_saga_is_found_below_the_low_water_mark, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_bad_start_is_split_out_of_its_batch, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_dead_owners_shard_is_taken_over_by_another, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_instance_without_a_shard_is_given_one, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_idle_orchestrator_costs_next_to_nothing, stage_set_up,
                                        stage_tear_down),
    };
    sb_log_set_level(getenv("SB_TEST_LOG") ? SB_LOG_INFO : SB_LOG_OFF);
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
