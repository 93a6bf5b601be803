/* The orchestrator over a real PostgreSQL, with participants and brokers played in memory: what it promises
 * in quiet. What happens when things die is in test_orchestrator_accidents.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "tests/pg/saga_stage.h"
#include "tests/support/recent.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* ---- outcomes ---- */

static sb_outcome_t refuse_hotel(const sb_play_command_t *command)
{
    return strcmp(command->type, "h.do") == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

static sb_outcome_t refuse_car(const sb_play_command_t *command)
{
    return strcmp(command->type, "c.do") == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

static sb_outcome_t refuse_flight(const sb_play_command_t *command)
{
    return strcmp(command->type, "f.do") == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

/* ---- in quiet ---- */

static void a_saga_completes(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "trip-1");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED); /* also when it is over already */
    engine_stop(&engine);
    stage_check(stage, 1);
    assert_int_equal(stage->play->commands, 3);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event WHERE class = 2"), 5);
    assert_int_equal(
        sb_test_pg_int(stage->pg,
                       "SELECT count(*) FROM sagabus.saga WHERE key = 'trip-1' AND type = 'trip' "
                       "AND result = convert_to('{\"by\": \"flight\"}', 'UTF8') AND error IS NULL"),
        1);
}

/* Whatever the database's default is; and only so may the sequencer hear that its events are on disk. */
static void its_commits_wait_for_the_disk_and_are_told_of(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_progress_t progress;
    sb_signal_t poke;
    sb_error_t err = SB_ERROR_INIT;
    sb_progress_init(&progress);
    assert_ok(sb_signal_init(&poke, &err), &err);
    progress.poke = &poke;
    sb_progress_era_begin(&progress); /* as its sequencer would */
    stage->progress = &progress;
    stage->play->outcome = refuse_hotel;
    sb_test_pg_script(
        stage->pg, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', "
                   "current_database()); END $$; CREATE TABLE public.seen (waits text); "
                   "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                   "INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END "
                   "$$; CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON sagabus.saga DEFERRABLE "
                   "INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.see()");
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 3; i++) {
        sb_uuid_t id = engine_start_saga(&engine, NULL);
        assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
    }
    engine_stop(&engine);
    assert_true(sb_test_pg_int(stage->pg, "SELECT count(*) FROM public.seen WHERE waits = 'on'") >= 6);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM public.seen WHERE waits <> 'on'"), 0);
    int64_t last = sb_test_pg_int(stage->pg, "SELECT max(seq) FROM sagabus.event");
    assert_true(last >= 9);
    assert_int_equal(sb_progress_disk_seq(&progress, 0), last);
    sb_test_recent_check(stage->pg, &progress, 1, last);
    sb_progress_fini(&progress);
    sb_signal_fini(&poke);
}

static void a_refusal_undoes_what_was_done_in_reverse(void **state)
{
    static const struct {
        sb_play_fn outcome;
        int undone;
        const char *step;
    } cases[] = {{refuse_hotel, 0, "hotel"}, {refuse_car, 1, "car"}, {refuse_flight, 2, "flight"}};
    stage_t *stage = *state;
    engine_t engine;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 3; i++) {
        stage->play->outcome = cases[i].outcome;
        int64_t undone = stage->play->undone;
        sb_uuid_t id = engine_start_saga(&engine, NULL);
        assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
        assert_int_equal(stage->play->undone - undone, cases[i].undone);
        int64_t hotel = sb_play_undone_at(stage->play, &id, "hotel");
        int64_t car = sb_play_undone_at(stage->play, &id, "car");
        assert_int_equal(hotel > 0, cases[i].undone >= 1);
        assert_int_equal(car > 0, cases[i].undone >= 2);
        assert_true(cases[i].undone < 2 || car < hotel);
    }
    engine_stop(&engine);
    stage_check(stage, 3);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga WHERE error = 'played refusal 42' AND "
                                    "step IN ('hotel', 'car', 'flight') AND participant = left(step, 1)"),
                     3);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(DISTINCT fingerprint) FROM sagabus.saga"), 1);
}

/* The price is asked for once; without an answer the one that was asked for stands in, and says whether
 * somebody must approve it. */
static const char quote[] =
    "{\"saga\": \"quote\", \"version\": 1, \"result\": {\"price\": \"$.steps/ask/result/price\", "
    "\"approved\": \"$?.steps/approve/result/by\"}, \"steps\": ["
    "{\"name\": \"ask\", \"participant\": \"q\", \"action\": \"do\", \"no_effect\": true, "
    "\"retry\": {\"attempts\": 1}, \"fallback\": {\"price\": \"$.input/price\"}},"
    "{\"name\": \"approve\", \"participant\": \"b\", \"action\": \"do\", \"no_effect\": true, "
    "\"when\": {\"pointer\": \"$.steps/ask/result/price\", \"operator\": \">\", \"value\": 100}}]}";

static sb_outcome_t no_quote(const sb_play_command_t *command)
{
    return strcmp(command->type, "q.do") == 0 ? SB_OUTCOME_ERROR : SB_OUTCOME_SUCCESS;
}

static void a_fallback_is_a_result_that_conditions_and_the_answer_read(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = no_quote;
    stage_register(stage, "quote", quote);
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t cheap = engine_start_type(&engine, "quote", "cheap", "{\"price\": 5}");
    sb_uuid_t dear = engine_start_type(&engine, "quote", "dear", "{\"price\": 500}");
    assert_int_equal(engine_await_end(&engine, &cheap), SB_SAGA_COMPLETED);
    assert_int_equal(engine_await_end(&engine, &dear), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    assert_int_equal(
        sb_test_pg_int(
            stage->pg,
            "SELECT count(*) FROM sagabus.saga WHERE error IS NULL AND convert_from(result, 'UTF8') = "
            "CASE key WHEN 'cheap' THEN '{\"approved\":null,\"price\":5}' "
            "ELSE '{\"approved\":\"approve\",\"price\":500}' END"),
        2);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event WHERE class = 2 AND convert_from(data, "
                                  "'UTF8')::jsonb @> '{\"step\": \"ask\", \"fallback\": true}'"),
        2);
}

static void bad_starts_are_refused_with_a_reason(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_error_t err = SB_ERROR_INIT;
    stage->play->outcome = play_all_well;
    engine_open(stage, &engine, "one");
    call_t call = CALL_INIT;
    assert_int_equal(engine_push_start(&engine, NULL, "{\"city\": \"Oslo\"}", &call),
                     SB_UNAVAILABLE); /* does not run yet */
    assert_int_equal(pthread_create(&engine.thread, NULL, engine_run, engine.orchestrator), 0);
    engine_await_shard(&engine);
    assert_int_equal(engine_push_start(&engine, NULL, "[1]", &call), SB_INVALID);
    assert_int_equal(engine_push_start(&engine, NULL, "{\"city\": ", &call), SB_INVALID);
    assert_int_equal(engine_push_start(&engine, "", "{\"city\": 1}", &call), SB_INVALID);
    assert_int_equal(engine_push_start(&engine, "a\xff", "{\"city\": 1}", &call), SB_INVALID);
    assert_int_equal(call.answers, 0);
    sb_saga_start_t start = {.type = SB_SLICE("tripp"), .input = SB_SLICE("{}")};
    assert_ok(sb_orchestrator_start(engine.orchestrator, &start, call_on_answer, &call, &err), &err);
    call_await(&call);
    assert_int_equal(call.code, SB_NOT_FOUND);
    assert_contains(call.message, "trip");
    call_t lacking = CALL_INIT;
    assert_int_equal(engine_push_start(&engine, NULL, "{\"town\": 1}", &lacking), SB_OK);
    call_await(&lacking);
    assert_int_equal(lacking.code, SB_INVALID);
    engine_stop(&engine);
    assert_int_equal(stage_count_open(stage), 0);
}

static void a_repeated_key_answers_the_first_saga(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "k");
    call_t again = CALL_INIT;
    assert_int_equal(engine_push_start(&engine, "k", "{\"city\": \"Oslo\"}", &again), SB_OK);
    call_await(&again);
    assert_int_equal(again.code, SB_OK);
    assert_true(again.repeated);
    assert_true(sb_uuid_equal(&again.id, &id));
    call_t spaced = CALL_INIT; /* the same value in other bytes */
    assert_int_equal(engine_push_start(&engine, "k", "{ \"city\":\"\\u004fslo\" }", &spaced), SB_OK);
    call_await(&spaced);
    assert_int_equal(spaced.code, SB_OK);
    assert_true(spaced.repeated);
    call_t other = CALL_INIT;
    assert_int_equal(engine_push_start(&engine, "k", "{\"city\": \"Bergen\"}", &other), SB_OK);
    call_await(&other);
    assert_int_equal(other.code, SB_MISMATCH);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    stage_check(stage, 1);
}

typedef struct racer {
    const engine_t *engine;
    call_t call[20];
} racer_t;

static void *race(void *context)
{
    racer_t *racer = context;
    for (int i = 0; i < 20; i++) {
        char key[16];
        call_t *call = &racer->call[i];
        (void)pthread_mutex_init(&call->lock, NULL);
        (void)pthread_cond_init(&call->answered, NULL);
        (void)snprintf(key, sizeof key, "race-%d", i);
        if (engine_push_start(racer->engine, key, "{\"city\": \"Oslo\"}", call) != SB_OK)
            call->answers = 1;
    }
    for (int i = 0; i < 20; i++)
        call_await(&racer->call[i]);
    return NULL;
}

static void racing_starts_of_one_key_make_one_saga(void **state)
{
    stage_t *stage = *state;
    engine_t engine[2];
    static racer_t racer[8];
    pthread_t thread[8];
    stage->play->outcome = play_all_well;
    sb_test_pg_script(stage->pg, "UPDATE sagabus.store SET shard_count = 2");
    engine_start(stage, &engine[0], "one");
    engine_start(stage, &engine[1], "two");
    engine_await_shard(&engine[0]);
    engine_await_shard(&engine[1]);
    for (int i = 0; i < 8; i++) {
        racer[i] = (racer_t){.engine = &engine[i % 2]};
        assert_int_equal(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
    }
    for (int i = 0; i < 8; i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    for (int k = 0; k < 20; k++) {
        int firsts = 0;
        for (int i = 0; i < 8; i++) {
            assert_int_equal(racer[i].call[k].code, SB_OK);
            assert_int_equal(racer[i].call[k].answers, 1);
            assert_true(sb_uuid_equal(&racer[i].call[k].id, &racer[0].call[k].id));
            firsts += !racer[i].call[k].repeated;
        }
        assert_int_equal(firsts, 1);
        assert_int_equal(engine_await_end(&engine[k % 2], &racer[0].call[k].id), SB_SAGA_COMPLETED);
    }
    engine_stop(&engine[0]);
    engine_stop(&engine[1]);
    stage_check(stage, 20);
}

static void too_many_open_sagas_are_refused(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_error_t err = SB_ERROR_INIT;
    call_t call = CALL_INIT;
    stage->play->deaf = true;
    stage->play->outcome = play_all_well;
    assert_ok(sb_config_set(stage->config, "saga.open_max", "3", &err), &err);
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 3; i++)
        (void)engine_start_saga(&engine, NULL);
    assert_int_equal(engine_push_start(&engine, NULL, "{\"city\": 1}", &call), SB_BUSY);
    assert_int_equal(call.answers, 0);
    stage->play->deaf = false;
    assert_soon(engine_stats(&engine).open == 0, 10000);
    (void)engine_start_saga(&engine, NULL);
    assert_soon(engine_stats(&engine).open == 0, 10000);
    engine_stop(&engine);
    stage_check(stage, 4);
}

static void many_sagas_with_lost_and_repeated_messages_all_end(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    enum { COUNT = 1000 };
    static call_t call[COUNT];
    stage->play->outcome = play_mixed;
    stage->play->drop_per_mille = 20;
    stage->play->twice_per_mille = 50;
    stage->play->delay_us = 5000;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < COUNT; i++) {
        call[i] = (call_t)CALL_INIT;
        assert_int_equal(engine_push_start(&engine, NULL, "{\"city\": \"Oslo\"}", &call[i]), SB_OK);
    }
    for (int i = 0; i < COUNT; i++) {
        call_await(&call[i]);
        assert_int_equal(call[i].code, SB_OK);
    }
    assert_soon(stage_count_open(stage) == 0, 60000);
    sb_orchestrator_stats_t stats = engine_stats(&engine);
    assert_int_equal(stats.started, COUNT);
    assert_soon(engine_stats(&engine).completed + engine_stats(&engine).compensated == COUNT, 1000);
    assert_true(stats.retries > 0);
    assert_int_equal(engine_stats(&engine).open, 0);
    engine_stop(&engine);
    stage_check(stage, COUNT);
    assert_true(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE status = 4") > COUNT / 8);
    /* nothing open: the low-water mark stands at the end */
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT next FROM sagabus.lease WHERE role = 'saga:0'"),
                     COUNT + 1);
}

/* ---- late replies ---- */

static atomic_bool let_undo;

/* The flight is refused, and the hotel, whose undo is the last, cannot be given back before it may. */
static sb_outcome_t hold_the_last_undo(const sb_play_command_t *command)
{
    if (strcmp(command->type, "h.undo") == 0 && !let_undo)
        return SB_OUTCOME_ERROR;
    return strcmp(command->type, "f.do") == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

#define ANOMALIES                                                                                            \
    "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) "                        \
    "WHERE t.name = 'saga.anomaly'"

/* Without a barrier a forward effect may come when all was undone: then nobody undoes it, and nobody knows.
 */
static void an_answer_that_contradicts_the_end_is_recorded_after_it(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = hold_the_last_undo;
    let_undo = true;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t undone = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_await_end(&engine, &undone), SB_SAGA_COMPENSATED);
    stage->play->outcome = play_all_well;
    sb_uuid_t done = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_await_end(&engine, &done), SB_SAGA_COMPLETED);
    sb_uuid_t nobody = sb_saga_id(sb_saga_number(0, 12345), 1);
    stage_say(stage, &done, "hotel", SB_OUTCOME_SUCCESS); /* repeats say nothing new */
    stage_say(stage, &undone, "flight", SB_OUTCOME_FAILURE);
    stage_say(stage, &nobody, "hotel", SB_OUTCOME_SUCCESS);
    stage_say(stage, &done, "nothing", SB_OUTCOME_FAILURE); /* no step of it */
    stage_await_replies(stage);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 0);
    stage_say(stage, &undone, "flight", SB_OUTCOME_SUCCESS);
    stage_say(stage, &done, "hotel", SB_OUTCOME_FAILURE);
    stage_say(stage, &undone, "flight", SB_OUTCOME_SUCCESS);
    stage_await_replies(stage);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 2);
    assert_int_equal(engine_stats(&engine).anomalies, 2);
    assert_int_equal(engine_stats(&engine).ignored, 2);
    engine_stop(&engine);
    engine_start(stage, &engine, "two");
    engine_await_shard(&engine);
    stage_say(stage, &done, "car", SB_OUTCOME_FAILURE);
    stage_say(stage, &done, "hotel", SB_OUTCOME_FAILURE);
    stage_await_replies(stage);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 3);
    assert_soon(engine_stats(&engine).open == 0, 5000); /* it left memory again, as did what it left alone */
    engine_stop(&engine);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NULL"),
                     0);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT next FROM sagabus.lease WHERE role = 'saga:0'"), 3);
}

/* Nor is it passed over when the look at its saga comes to nothing for a moment. */
static void a_contradiction_that_cannot_be_looked_at_is_read_again(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t done = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_await_end(&engine, &done), SB_SAGA_COMPLETED);
    sb_test_pg_script(stage->pg, "BEGIN; LOCK TABLE sagabus.saga IN ACCESS EXCLUSIVE MODE");
    stage_say(stage, &done, "hotel", SB_OUTCOME_FAILURE);
    assert_soon(sb_test_pg_int(stage->pg,
                               "SELECT count(pg_cancel_backend(pid)) FROM pg_locks WHERE NOT granted "
                               "AND relation = 'sagabus.saga'::regclass") == 1,
                10000);
    sb_test_pg_script(stage->pg, "COMMIT");
    stage_await_replies(stage);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 1);
    engine_stop(&engine);
}

/* All in one batch: a start that the database refuses, the answer that ends the saga, and one that says
 * otherwise than an earlier step's end. The batch is split between the two. */
static void a_contradiction_is_recorded_when_its_batch_is_split(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    call_t other = CALL_INIT, poison = CALL_INIT;
    sb_test_pg_script(
        stage->pg,
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.key = 'poison' "
        "THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER poison BEFORE INSERT ON sagabus.saga FOR EACH ROW EXECUTE FUNCTION poison()");
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    stage_say(stage, &id, "hotel", SB_OUTCOME_SUCCESS);
    stage_await_replies(stage);
    stage_say(stage, &id, "car", SB_OUTCOME_SUCCESS);
    stage_await_replies(stage);
    sb_test_pg_script(stage->pg, "BEGIN; SELECT FROM sagabus.lease WHERE role = 'saga:0' FOR UPDATE");
    assert_int_equal(engine_push_start(&engine, "another", "{\"city\": \"Oslo\"}", &other), SB_OK);
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1, 5000);
    assert_int_equal(engine_push_start(&engine, "poison", "{\"city\": \"Oslo\"}", &poison), SB_OK);
    stage_say(stage, &id, "flight", SB_OUTCOME_SUCCESS);
    stage_say(stage, &id, "hotel", SB_OUTCOME_FAILURE);
    stage_say(stage, &id, "car", SB_OUTCOME_SUCCESS);
    sb_test_pg_script(stage->pg, "COMMIT");
    call_await(&other);
    call_await(&poison);
    assert_int_equal(other.code, SB_OK);
    assert_int_not_equal(poison.code, SB_OK);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    stage_await_replies(stage);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 1);
    assert_soon(engine_stats(&engine).open == 1, 5000); /* the other one: what was read again has left */
    engine_stop(&engine);
}

/* The answers come to the partition of a shard that is not the saga's. */
static void a_contradiction_finds_the_shard_of_its_saga(void **state)
{
    stage_t *stage = *state;
    engine_t engine[2];
    stage->play->outcome = play_all_well;
    engine_start_two(stage, engine);
    sb_uuid_t of[2];
    for (int i = 0; i < 2; i++) {
        of[i] = engine_start_saga(&engine[i], NULL);
        assert_int_equal(engine_await_end(&engine[i], &of[i]), SB_SAGA_COMPLETED);
    }
    stage_say(stage, &of[1], "hotel", SB_OUTCOME_FAILURE);
    stage_await_replies(stage);
    assert_soon(engine_stats(&engine[1]).anomalies == 1, 5000);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 1);
    assert_int_equal(engine_stats(&engine[0]).anomalies, 0);
    assert_int_equal(engine_stats(&engine[0]).ignored, 0);
    engine_stop(&engine[1]);
    assert_soon(engine_stats(&engine[0]).shards == 2, 5000);
    stage_say(stage, &of[1], "hotel", SB_OUTCOME_FAILURE); /* known, also to who took the shard over */
    stage_say(stage, &of[1], "car", SB_OUTCOME_FAILURE);
    stage_say(stage, &of[0], "car", SB_OUTCOME_FAILURE);
    stage_await_replies(stage);
    assert_soon(engine_stats(&engine[0]).anomalies == 2, 5000);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES), 3);
    assert_int_equal(sb_test_pg_int(stage->pg, ANOMALIES " AND e.stream_no >> 48 = 1"), 2);
    assert_soon(engine_stats(&engine[0]).open == 0, 5000);
    engine_stop(&engine[0]);
}

/* ---- operators ---- */

static void operators_pause_resume_skip_and_cancel(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_OK);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE paused"), 1);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_SKIP, "nothing", "{}"), SB_INVALID);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_RESUME, NULL, NULL), SB_OK);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_SKIP, "hotel", "{\"by\": \"hand\"}"), SB_OK);
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_CONFLICT);
    stage->play->deaf = true;
    id = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_CANCEL, NULL, NULL), SB_OK);
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
    id = sb_saga_id(sb_saga_number(0, 12345), 1);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_NOT_FOUND);
    engine_stop(&engine);
}

/* Its command is lost when the verb is refused: only the saga's own clock sends it again. */
static void a_refused_verb_stops_no_clock(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_RESUME, NULL, NULL), SB_CONFLICT);
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    stage->play->deaf = true;
    id = engine_start_saga(&engine, NULL);
    sb_saga_verb_t verb = {.id = id, .kind = SB_SAGA_IN_MIGRATE, .version = 9, .reason = SB_SLICE("a test")};
    assert_int_equal(engine_command(&engine, &verb), SB_NOT_FOUND);
    stage->play->deaf = false;
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
}

static atomic_bool saw_other;
static atomic_int undone_as_done, undone_as_other;

/* The flight is refused once, and the car cannot be given back before it may. */
static sb_outcome_t refuse_flight_once(const sb_play_command_t *command)
{
    if (strcmp(command->type, "c.do") == 0 && command->round == 2)
        saw_other = strcmp(command->value, "{\"hotel\": \"other\"}") == 0;
    if (strcmp(command->type, "c.undo") == 0) {
        bool other = strcmp(command->value, "{\"hotel\": \"other\"}") == 0;
        (void)atomic_fetch_add(other ? &undone_as_other : &undone_as_done, 1);
        if (!let_undo)
            return SB_OUTCOME_ERROR;
    }
    return strcmp(command->type, "f.do") == 0 && command->round == 1 ? SB_OUTCOME_FAILURE
                                                                     : SB_OUTCOME_SUCCESS;
}

static void a_saga_goes_back_to_a_step_with_another_input_over_a_restart(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    let_undo = saw_other = false;
    undone_as_done = undone_as_other = 0;
    stage->play->outcome = refuse_flight_once;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "back");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE status = 3") == 1, 10000);
    sb_saga_verb_t verb = {.id = id,
                           .kind = SB_SAGA_IN_REWIND,
                           .step = SB_SLICE("flight"),
                           .by = SB_SLICE("ann"),
                           .reason = SB_SLICE("a seat was found")};
    assert_int_equal(engine_command(&engine, &verb), SB_CONFLICT); /* the car is being given back already */
    verb.step = SB_SLICE("car");
    verb.input = SB_SLICE("{\"hotel\": \"other\"}");
    assert_int_equal(engine_command(&engine, &verb), SB_OK);
    int before = undone_as_done;
    assert_soon(undone_as_done + undone_as_other > before, 10000);
    engine_stop(&engine);
    let_undo = true;
    engine_start(stage, &engine, "two");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    engine_stop(&engine);
    assert_true(saw_other);
    assert_int_equal(undone_as_other, 0); /* what is undone was done with the first input */
    assert_int_equal(stage->play->breaches, 0);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga WHERE status = 2 AND step IS "
                                    "NULL AND error IS NULL AND NOT attention"),
                     1);
}

/* The alert for operators rests on this figure. A saga whose end is what it wanted somebody for took itself
 * off twice, and then hid the next one. */
static void who_wanted_an_operator_is_counted_until_it_is_over_and_once(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = hold_the_last_undo;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int64_t trip = 1; trip <= 2; trip++) {
        let_undo = false;
        sb_uuid_t id = engine_start_saga(&engine, NULL);
        assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE attention") == 1,
                    20000);
        assert_soon(engine_stats(&engine).attention == 1, 5000);
        let_undo = true;
        assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
        assert_soon(engine_stats(&engine).compensated == trip, 5000);
        assert_int_equal(engine_stats(&engine).attention, 0);
    }
    engine_stop(&engine);
}

static void verbs_from_the_table_are_done_and_closed(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    (void)engine_start_saga(&engine, NULL);
    sb_test_pg_script(
        stage->pg,
        "INSERT INTO sagabus.saga_command (saga_no, shard, verb, requested_by, reason, body) "
        "SELECT no, 0, v, 'ann', 'a test', '{}'::jsonb FROM sagabus.saga, unnest(array['pause', 'dance']) v "
        "UNION ALL SELECT 99, 0, 'pause', 'ann', NULL, '{}'::jsonb "
        "UNION ALL SELECT no, 0, 'skip', 'ann', NULL, '{\"step\": \"train\"}'::jsonb FROM sagabus.saga");
    assert_soon(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE done_at IS NULL") == 0,
        5000);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE outcome = 'ok'"), 1);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE paused"), 1);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE outcome = "
                                               "'invalid: the saga has no step of that name; it has: "
                                               "hotel, car, flight'"),
                     1);
    engine_stop(&engine);
}

/* A verb whose event the database will not have is closed with what the database said; the others are done.
 */
static void a_verb_that_always_fails_is_closed_with_the_error(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->deaf = true;
    stage->play->outcome = play_all_well;
    sb_test_pg_script(
        stage->pg,
        "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF convert_from(NEW.data, "
        "'UTF8') LIKE '%poison%' THEN RAISE EXCEPTION 'poisoned'; END IF; RETURN NEW; END $$;"
        "CREATE TRIGGER poison BEFORE INSERT ON sagabus.event FOR EACH ROW EXECUTE FUNCTION poison()");
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    (void)engine_start_saga(&engine, NULL);
    sb_test_pg_script(stage->pg,
                      "INSERT INTO sagabus.saga_command (saga_no, shard, verb, requested_by, reason) "
                      "SELECT no, 0, v, 'ann', r FROM sagabus.saga, (VALUES (1, 'pause', 'a test'), "
                      "(2, 'resume', 'poison'), (3, 'resume', 'a test')) AS verbs (n, v, r) ORDER BY n");
    assert_soon(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE done_at IS NULL") == 0,
        10000);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE outcome = 'ok'"), 2);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga_command WHERE reason = "
                                    "'poison' AND outcome LIKE '%the database refused it: %poisoned%'"),
                     1);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE paused"), 0);
    engine_stop(&engine);
}

/* A thousand verbs are not a second's wait for each two hundred. */
static void many_verbs_from_the_table_are_done_without_a_pause(void **state)
{
    enum { COUNT = 1600 };
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    (void)engine_start_saga(&engine, NULL);
    sb_test_pg_script(stage->pg,
                      "INSERT INTO sagabus.saga_command (saga_no, shard, verb, requested_by, reason) "
                      "SELECT no, 0, CASE n % 2 WHEN 0 THEN 'resume' ELSE 'pause' END, 'ann', 'a test' "
                      "FROM sagabus.saga, generate_series(1, 1600) n ORDER BY n");
    assert_soon(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE done_at IS NULL") == 0,
        20000);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command WHERE outcome = 'ok'"), COUNT);
    /* PostgreSQL's clock says when. With a wait there would be seven; a slow machine has one now and then. */
    assert_true(sb_test_pg_int(stage->pg,
                               "SELECT count(*) FROM (SELECT done_at - lag(done_at) OVER (ORDER BY done_at) "
                               "AS pause FROM sagabus.saga_command) p WHERE pause > interval '950ms'") < 6);
    engine_stop(&engine);
}

/* ---- shards ---- */

extern const char sb_sql_shard_free[];

static int64_t count_free(stage_t *stage)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_add_int4(&params, 2);
    sb_pg_add_int8(&params, 60000);
    assert_ok(sb_pg_query(stage->pg, sb_sql_shard_free, &params, &rows, &err), &err);
    int64_t count = sb_pg_rows(rows);
    sb_pg_result_free(rows);
    return count;
}

/* Others would ask for it every second, and end its owner's backend were its beat late by a little. */
static void a_shard_that_is_held_is_not_listed_as_free(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_test_pg_script(stage->pg, "UPDATE sagabus.store SET shard_count = 2");
    assert_int_equal(count_free(stage), 2);
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    assert_int_equal(count_free(stage), 1);
    engine_stop(&engine);
    assert_int_equal(count_free(stage), 2);
}

/* As one is that a later release has started, under an instance of the release before. */
static void a_saga_that_could_not_be_driven_says_so_no_longer_once_it_is(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    (void)engine_start_saga(&engine, NULL);
    engine_stop(&engine);
    sb_test_pg_script(stage->pg, "CREATE TABLE kept AS SELECT no, definition_hash FROM sagabus.saga;"
                                 "UPDATE sagabus.saga SET definition_hash = sha256('another')");
    engine_start(stage, &engine, "two");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE attention") == 1, 30000);
    engine_stop(&engine);
    sb_test_pg_script(stage->pg, "UPDATE sagabus.saga s SET definition_hash = k.definition_hash FROM kept k "
                                 "WHERE k.no = s.no");
    engine_start(stage, &engine, "three");
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE NOT attention") == 1,
                30000);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga WHERE error IS NOT NULL AND "
                                    "error LIKE '%cannot be driven%'"),
                     0);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT status FROM sagabus.saga"), SB_SAGA_STARTED);
    engine_stop(&engine);
}

/* ---- stopping ---- */

static void stopping_answers_everyone_and_gives_the_shard_back_at_once(void **state)
{
    stage_t *stage = *state;
    engine_t engine[2];
    call_t watch = CALL_INIT;
    engine_start_deaf(stage, &engine[0]);
    sb_uuid_t id = engine_start_saga(&engine[0], NULL);
    assert_int_equal(sb_orchestrator_watch(engine[0].orchestrator, &id, call_on_answer, &watch, NULL), SB_OK);
    engine_stop(&engine[0]);
    assert_int_equal(watch.answers, 1);
    assert_int_equal(watch.code, SB_STOPPED);
    assert_int_equal(
        sb_test_pg_int(stage->pg,
                       "SELECT count(*) FROM sagabus.lease WHERE role = 'saga:0' AND owner IS NULL"),
        1);
    stage->play->deaf = false;
    engine_start(stage, &engine[1], "two");
    assert_soon(engine_stats(&engine[1]).shards == 1, 5000);
    assert_int_equal(engine_await_end(&engine[1], &id), SB_SAGA_COMPLETED);
    engine_stop(&engine[1]);
    stage_check(stage, 1);
}

static atomic_bool untold,
    left_waiting; /* an answer that on_told has not followed; one that waited for the brokers */

static void on_last_answer(void *context, const sb_saga_answer_t *answer)
{
    atomic_store(&untold, true);
    call_on_answer(context, answer);
}

static void on_told(void *context)
{
    (void)context;
    atomic_store(&untold, false);
}

static sb_code_t flush_to_slow_brokers(void *bus, int timeout_ms, sb_error_t *err)
{
    if (atomic_load(&untold))
        atomic_store(&left_waiting, true);
    return sb_play_operations.flush(bus, timeout_ms, err);
}

static void who_waits_is_told_of_the_stop_before_the_brokers_are_waited_for(void **state)
{
    stage_t *stage = *state;
    engine_t engine = {.stage = stage};
    call_t watch = CALL_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_command_bus_t slow = sb_play_operations;
    slow.flush = flush_to_slow_brokers;
    stage->play->deaf = true;
    assert_ok(sb_catalog_new(&engine.catalog, &err), &err);
    engine.bus = sb_play_bus_new(stage->play);
    sb_orchestrator_config_t config = {.config = stage->config,
                                       .pg_uri = stage->uri,
                                       .owner = "one",
                                       .catalog = engine.catalog,
                                       .on_told = on_told};
    assert_ok(sb_orchestrator_open_over(&engine.orchestrator, &config, &slow, engine.bus, &err), &err);
    assert_int_equal(pthread_create(&engine.thread, NULL, engine_run, engine.orchestrator), 0);
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    assert_int_equal(sb_orchestrator_watch(engine.orchestrator, &id, on_last_answer, &watch, NULL), SB_OK);
    engine_stop(&engine);
    assert_int_equal(watch.answers, 1);
    assert_false(atomic_load(&untold));
    assert_false(atomic_load(&left_waiting));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_saga_completes, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(its_commits_wait_for_the_disk_and_are_told_of, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_undoes_what_was_done_in_reverse, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_fallback_is_a_result_that_conditions_and_the_answer_read,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(bad_starts_are_refused_with_a_reason, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_repeated_key_answers_the_first_saga, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(racing_starts_of_one_key_make_one_saga, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(too_many_open_sagas_are_refused, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(many_sagas_with_lost_and_repeated_messages_all_end, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_contradiction_that_cannot_be_looked_at_is_read_again, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_contradiction_is_recorded_when_its_batch_is_split, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_contradiction_finds_the_shard_of_its_saga, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_answer_that_contradicts_the_end_is_recorded_after_it, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_refused_verb_stops_no_clock, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(operators_pause_resume_skip_and_cancel, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_saga_goes_back_to_a_step_with_another_input_over_a_restart,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(who_wanted_an_operator_is_counted_until_it_is_over_and_once,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(verbs_from_the_table_are_done_and_closed, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_verb_that_always_fails_is_closed_with_the_error, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(many_verbs_from_the_table_are_done_without_a_pause, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_shard_that_is_held_is_not_listed_as_free, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_saga_that_could_not_be_driven_says_so_no_longer_once_it_is,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(stopping_answers_everyone_and_gives_the_shard_back_at_once,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(who_waits_is_told_of_the_stop_before_the_brokers_are_waited_for,
                                        stage_set_up, stage_tear_down),
    };
    sb_log_set_level(SB_LOG_OFF);
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
