/* Sagas with a participant over HTTP: the real orchestrator and machine over a real PostgreSQL, the car of
 * the trip behind a real HTTP server with a barrier, the hotel and the flight played behind the bus.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/saga_stage.h"
#include "tests/support/http_peer.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LEDGER_MAX 512

/* The car's service: what it did, by command id. */
typedef struct service {
    pthread_mutex_t lock;
    struct {
        char id[SB_UUID_TEXT];
        char saga[SB_UUID_TEXT];
        bool undo, voided, refused;
    } row[LEDGER_MAX];
    int rows;
    int effects, undone;
    int requests;
    /* How it behaves. */
    _Atomic int status;      /* of every answer, nothing done; 0: by the ledger */
    _Atomic int undo_status; /* the same, of undos */
    _Atomic int delay_ms;    /* between the effect and the answer */
    _Atomic bool refuses;
    _Atomic int unclear; /* so many answers more are 409 without an outcome, after the effect */
    _Atomic int working; /* so many answers more are 202 */
} service_t;

static service_t service = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int find_row(const char *id)
{
    int i = 0;
    while (i < service.rows && strcmp(service.row[i].id, id) != 0)
        i++;
    return i < service.rows ? i : -1;
}

static int add_row(const char *id, const char *saga, bool undo)
{
    assert_true(service.rows < LEDGER_MAX);
    int i = service.rows++;
    (void)snprintf(service.row[i].id, SB_UUID_TEXT, "%s", id);
    (void)snprintf(service.row[i].saga, SB_UUID_TEXT, "%s", saga);
    service.row[i].undo = undo;
    return i;
}

/* The barrier of docs/contract.md; false: a business refusal. */
static bool carry_out(const sb_peer_request_t *request)
{
    char id[SB_UUID_TEXT], saga[SB_UUID_TEXT], forward[SB_UUID_TEXT];
    (void)snprintf(id, sizeof id, "%.*s", SB_SLICE_ARG(sb_peer_header(request, "ce-id")));
    (void)snprintf(saga, sizeof saga, "%.*s", SB_SLICE_ARG(sb_peer_header(request, "ce-sagaid")));
    (void)snprintf(forward, sizeof forward, "%.*s",
                   SB_SLICE_ARG(sb_peer_header(request, "ce-sagaforwardid")));
    bool undo = sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "compensate");
    int row = find_row(id);
    if (row >= 0)
        return !service.row[row].voided && !service.row[row].refused;
    row = add_row(id, saga, undo);
    if (!undo) {
        service.row[row].refused = service.refuses;
        service.effects += !service.refuses;
        return !service.refuses;
    }
    int done = find_row(forward);
    if (done < 0)
        service.row[add_row(forward, saga, false)].voided = true;
    else if (!service.row[done].voided && !service.row[done].refused)
        service.undone++;
    return true;
}

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    (void)context;
    (void)pthread_mutex_lock(&service.lock);
    service.requests++;
    bool undo = sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "compensate");
    answer->status = undo && service.undo_status ? service.undo_status : service.status;
    if (answer->status == 0 && service.working > 0) {
        service.working--;
        answer->status = 202;
        (void)strcpy(answer->headers, "Retry-After: 0\r\n");
    } else if (answer->status == 0) {
        bool done = carry_out(request);
        answer->status = done ? 200 : 409;
        answer->delay_ms = service.delay_ms;
        if (done && service.unclear > 0) {
            service.unclear--;
            answer->status = 409;
        } else if (!done) {
            (void)strcpy(answer->headers, "ce-sagaoutcome: failure\r\nce-sagaerrorclass: business\r\n");
        }
        sb_buf_add_text(&answer->body, done ? "{\"by\":\"car\"}" : "{\"detail\":\"no car is left\"}");
    }
    (void)pthread_mutex_unlock(&service.lock);
}

/* What the service has of a saga: 1 done, -1 done and undone or never done, 0 … and more is an error. */
static int stands(const sb_uuid_t *id)
{
    char text[SB_UUID_TEXT];
    int forward = 0, undo = 0;
    (void)sb_uuid_format(id, text);
    (void)pthread_mutex_lock(&service.lock);
    for (int i = 0; i < service.rows; i++) {
        if (strcmp(service.row[i].saga, text) != 0)
            continue;
        forward += !service.row[i].undo && !service.row[i].voided && !service.row[i].refused;
        undo += service.row[i].undo;
    }
    (void)pthread_mutex_unlock(&service.lock);
    assert_in_range(forward, 0, 1);
    return forward && !undo ? 1 : -1;
}

typedef struct fixture {
    stage_t *stage;
    sb_peer_t *peer;
} fixture_t;

static void set(const fixture_t *f, const char *name, const char *value)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_config_set(f->stage->config, name, value, &err), &err);
}

static int set_up(void **state)
{
    fixture_t *f = calloc(1, sizeof *f);
    char url[64];
    assert_non_null(f);
    memset(&service, 0, sizeof service);
    service.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
    assert_int_equal(stage_set_up((void **)&f->stage), 0);
    f->peer = sb_peer_start(0, play, NULL);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/car", sb_peer_port(f->peer));
    set(f, "participant.c.url", url);
    set(f, "participant.c.breaker.recovery_ms", "400");
    set(f, "participant.c.retry_percent", "1000");
    f->stage->play->outcome = play_all_well;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture_t *f = *state;
    sb_peer_stop(&f->peer);
    int code = stage_tear_down((void **)&f->stage);
    free(f);
    return code;
}

static sb_outcome_t flight_is_full(const sb_play_command_t *command)
{
    return strcmp(command->type, "f.do") == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

static sb_participant_state_t car_of(const engine_t *engine)
{
    sb_participant_state_t all[SB_PARTICIPANTS_MAX];
    size_t count = sb_orchestrator_participants(engine->orchestrator, all, SB_PARTICIPANTS_MAX);
    for (size_t i = 0; i < count; i++)
        if (strcmp(all[i].name, "c") == 0)
            return all[i];
    return (sb_participant_state_t){.sent = 0};
}

static void expect_end(const engine_t *engine, const sb_uuid_t *id, sb_saga_status_t status)
{
    assert_int_equal(engine_await_end(engine, id), status);
    assert_int_equal(stands(id), status == SB_SAGA_COMPLETED ? 1 : -1);
}

/* ---- */

static void a_step_over_http_is_done_and_undone(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "well");
    expect_end(&engine, &id, SB_SAGA_COMPLETED);
    f->stage->play->outcome = flight_is_full;
    id = engine_start_saga(&engine, "full");
    expect_end(&engine, &id, SB_SAGA_COMPENSATED);
    f->stage->play->outcome = play_all_well;
    service.refuses = true;
    id = engine_start_saga(&engine, "refused");
    expect_end(&engine, &id, SB_SAGA_COMPENSATED);
    assert_int_equal(
        sb_test_pg_int(
            f->stage->pg,
            "SELECT count(*) FROM sagabus.event WHERE convert_from(data, 'UTF8') LIKE '%no car is left%'"),
        1);
    assert_int_equal(service.effects, 2);
    assert_int_equal(service.undone, 1);
    engine_stop(&engine);
}

/* 202 costs no try; 409 of a proxy is no refusal: it is asked again, and the first answer stands. */
static void what_is_not_clear_is_asked_again(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    service.working = 2;
    service.unclear = 2;
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "k");
    expect_end(&engine, &id, SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 1);
    engine_stop(&engine);
}

/* The effect happened, the answer came after the try had ended. */
static void an_answer_after_the_time_is_not_lost(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    service.delay_ms = 900; /* a try has 400 ms */
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "late");
    assert_soon(service.requests >= 2, 20000);
    service.delay_ms = 0;
    expect_end(&engine, &id, SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 1);
    engine_stop(&engine);
}

static void a_service_killed_in_mid_call_costs_nothing(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    sb_uuid_t id[10];
    int port = sb_peer_port(f->peer);
    service.delay_ms = 300;
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k-%d", i);
        id[i] = engine_start_saga(&engine, key);
    }
    assert_soon(service.requests >= 5, 20000);
    sb_peer_stop(&f->peer); /* effects are there, answers are not */
    assert_soon(strcmp(car_of(&engine).breaker, "open") == 0, 20000);
    service.delay_ms = 0;
    f->peer = sb_peer_start(port, play, NULL);
    for (int i = 0; i < 10; i++)
        expect_end(&engine, &id[i], SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 10);
    engine_stop(&engine);
}

/* The service is ill, sagas wait and lose none of their tries; well again, they all end. */
static void sagas_wait_for_an_open_breaker_and_end(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    sb_uuid_t id[30];
    service.status = 500;
    set(f, "participant.c.breaker.failures", "3");
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 30; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k-%d", i);
        id[i] = engine_start_saga(&engine, key);
    }
    assert_soon(car_of(&engine).breaker_opened >= 2, 20000);
    assert_soon(car_of(&engine).waiting >= 20, 20000); /* the step before takes its time */
    assert_in_range(service.requests, 4, 64 + 10);     /* those that were out at first, then probes */
    assert_int_equal(stage_count_open(f->stage), 30);
    service.status = 0;
    for (int i = 0; i < 30; i++)
        expect_end(&engine, &id[i], SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 30);
    engine_stop(&engine);
}

/* The breaker delays an undo and never fails it, and no operator is called for the wait. */
static void an_undo_waits_for_an_open_breaker_and_is_done(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    set(f, "participant.c.breaker.failures", "1");
    set(f, "participant.c.breaker.recovery_ms", "1500");
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    f->stage->play->outcome = flight_is_full;
    service.undo_status = 503;
    sb_uuid_t id = engine_start_saga(&engine, "undone");
    /* Twice 1.5 s: seven times the time of a try, and nobody is called before the fifth. */
    assert_soon(car_of(&engine).breaker_opened >= 3, 30000);
    assert_int_equal(service.undone, 0);
    assert_int_equal(engine_stats(&engine).attention, 0);
    assert_int_equal(stage_count_open(f->stage), 1);
    service.undo_status = 0;
    expect_end(&engine, &id, SB_SAGA_COMPENSATED);
    assert_int_equal(service.undone, 1);
    engine_stop(&engine);
}

/* Something is set up wrong: the saga does not turn back for it, an operator is called, and it goes on by
 * itself when that is mended. */
static void a_wrong_address_calls_an_operator(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    service.status = 404;
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "lost");
    assert_soon(engine_stats(&engine).attention == 1, 20000);
    assert_soon(strstr(car_of(&engine).error, "HTTP 404"), 20000);
    service.status = 0;
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_RETRY, NULL, NULL), SB_OK);
    expect_end(&engine, &id, SB_SAGA_COMPLETED);
    engine_stop(&engine);
}

/* The instance that sent the calls stops; another one takes the shard while the service works on them. */
static void another_instance_takes_over_while_calls_are_out(void **state)
{
    fixture_t *f = *state;
    engine_t one, two;
    sb_uuid_t id[10];
    service.delay_ms = 350;
    engine_start(f->stage, &one, "one");
    engine_await_shard(&one);
    for (int i = 0; i < 10; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k-%d", i);
        id[i] = engine_start_saga(&one, key);
    }
    assert_soon(service.effects >= 5, 20000);
    engine_stop(&one);
    service.delay_ms = 0;
    engine_start(f->stage, &two, "two");
    engine_await_shard(&two);
    for (int i = 0; i < 10; i++)
        expect_end(&two, &id[i], SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 10);
    engine_stop(&two);
}

/* An answer that comes while the database is away waits for it, and does not keep the loop awake. */
static void an_answer_waits_for_the_database_without_a_stir(void **state)
{
    fixture_t *f = *state;
    engine_t engine;
    clockid_t clock;
    struct timespec before, after;
    service.delay_ms = 300;
    engine_start(f->stage, &engine, "one");
    engine_await_shard(&engine);
    assert_int_equal(pthread_getcpuclockid(engine.thread, &clock), 0);
    sb_uuid_t id = engine_start_saga(&engine, "k");
    assert_soon(service.requests == 1, 20000);
    sb_test_pg_stop_immediate();
    assert_soon(!engine_stats(&engine).pg_ok, 20000);
    sb_test_sleep_ms(600);
    assert_int_equal(clock_gettime(clock, &before), 0);
    sb_test_sleep_ms(1000);
    assert_int_equal(clock_gettime(clock, &after), 0);
    int64_t us = (after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000;
    sb_test_pg_restart();
    assert_int_equal(sb_pg_reopen(f->stage->pg, NULL), SB_OK);
    expect_end(&engine, &id, SB_SAGA_COMPLETED);
    assert_int_equal(service.effects, 1);
    engine_stop(&engine);
    print_message("without a database: %lld us of CPU in 1 s\n", (long long)us);
    assert_true(us < 100000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_step_over_http_is_done_and_undone),
        CASE(what_is_not_clear_is_asked_again),
        CASE(an_answer_after_the_time_is_not_lost),
        CASE(a_service_killed_in_mid_call_costs_nothing),
        CASE(sagas_wait_for_an_open_breaker_and_end),
        CASE(an_undo_waits_for_an_open_breaker_and_is_done),
        CASE(a_wrong_address_calls_an_operator),
        CASE(another_instance_takes_over_while_calls_are_out),
        CASE(an_answer_waits_for_the_database_without_a_stir),
    };
    return cmocka_run_group_tests_name("saga_http", tests, NULL, NULL);
}
