/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/saga_stage.h"

#include "saga/event_body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Three steps of three participants, each undone by "undo"; short times, so that a lost message costs little,
 * and tries for minutes: a step waits for its participant for as long as a test takes. */
static const char trip[] =
    "{\"saga\": \"trip\", \"version\": 1, \"steps\": ["
    "{\"name\": \"hotel\", \"participant\": \"h\", \"action\": \"do\", \"compensation\": \"undo\", "
    "\"timeout\": \"400ms\","
    " \"retry\": {\"shape\": \"fixed\", \"attempts\": 500, \"delay\": \"20ms\"},"
    " \"undo_retry\": {\"shape\": \"fixed\", \"delay\": \"20ms\"}, \"input\": {\"city\": \"$.input/city\"}},"
    "{\"name\": \"car\", \"participant\": \"c\", \"action\": \"do\", \"compensation\": \"undo\", "
    "\"timeout\": \"400ms\","
    " \"retry\": {\"shape\": \"fixed\", \"attempts\": 500, \"delay\": \"20ms\"},"
    " \"undo_retry\": {\"shape\": \"fixed\", \"delay\": \"20ms\"}, \"input\": {\"hotel\": "
    "\"$.steps/hotel/result/by\"}},"
    "{\"name\": \"flight\", \"participant\": \"f\", \"action\": \"do\", \"compensation\": \"undo\", "
    "\"timeout\": \"400ms\","
    " \"retry\": {\"shape\": \"fixed\", \"attempts\": 500, \"delay\": \"20ms\"},"
    " \"undo_retry\": {\"shape\": \"fixed\", \"delay\": \"20ms\"}}]}";

/* ---- the stage: a database, a played world, one or more orchestrators ---- */

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

void stage_register(stage_t *stage, const char *name, const char *definition)
{
    char path[128];
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    const sb_artifact_check_fn check[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_SAGA] = sb_definition_check};
    (void)snprintf(path, sizeof path, "%s/sagas/%s.json", stage->dir, name);
    write_file(path, definition);
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(sb_catalog_apply(catalog, stage->pg, stage->dir, check, &report, &err), &err);
    sb_catalog_free(&catalog);
}

static void apply_definitions(stage_t *stage)
{
    char path[96];
    (void)snprintf(stage->dir, sizeof stage->dir, "/tmp/sagabus-trip-XXXXXX");
    assert_non_null(mkdtemp(stage->dir));
    (void)snprintf(path, sizeof path, "%s/sagas", stage->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    stage_register(stage, "trip", trip);
}

int stage_set_up(void **state)
{
    sb_error_t err = SB_ERROR_INIT;
    stage_t *stage = calloc(1, sizeof *stage);
    assert_non_null(stage);
    (void)sb_test_pg_fresh(stage->uri);
    stage->pg = sb_test_pg_open(stage->uri);
    stage->play = sb_play_new(NULL);
    assert_ok(sb_config_new(&stage->config, &err), &err);
    assert_ok(sb_config_set(stage->config, "lease.overdue_ms", "4000", &err), &err);
    apply_definitions(stage);
    *state = stage;
    return 0;
}

/* What a case that failed left running would go on with what is freed here, crash in the next case, and end
 * the server as the whole program does: that case, and all after it, would say that PostgreSQL was shut down.
 */
int stage_tear_down(void **state)
{
    stage_t *stage = *state;
    for (int i = 0; i < STAGE_ENGINES_MAX; i++)
        if (stage->running[i].orchestrator)
            engine_stop(&stage->running[i]);
    sb_test_remove_tree(stage->dir);
    sb_pg_close(&stage->pg);
    sb_play_free(&stage->play);
    sb_config_free(&stage->config);
    free(stage);
    return 0;
}

void *engine_run(void *context)
{
    sb_orchestrator_run(context);
    return NULL;
}

void engine_open(stage_t *stage, engine_t *engine, const char *owner)
{
    sb_error_t err = SB_ERROR_INIT;
    engine->stage = stage;
    assert_ok(sb_catalog_new(&engine->catalog, &err), &err);
    engine->bus = sb_play_bus_new(stage->play);
    sb_orchestrator_config_t config = {.config = stage->config,
                                       .pg_uri = stage->uri,
                                       .owner = owner,
                                       .catalog = engine->catalog,
                                       .progress = stage->progress};
    assert_ok(
        sb_orchestrator_open_over(&engine->orchestrator, &config, &sb_play_operations, engine->bus, &err),
        &err);
}

void engine_close(engine_t *engine)
{
    sb_orchestrator_close(&engine->orchestrator);
    sb_play_bus_free(&engine->bus);
    sb_catalog_free(&engine->catalog);
}

void engine_start(stage_t *stage, engine_t *engine, const char *owner)
{
    engine_open(stage, engine, owner);
    assert_int_equal(pthread_create(&engine->thread, NULL, engine_run, engine->orchestrator), 0);
    for (int i = 0; i < STAGE_ENGINES_MAX; i++)
        if (!stage->running[i].orchestrator) {
            stage->running[i] = *engine;
            return;
        }
    fail_msg("more than %d engines run at once", STAGE_ENGINES_MAX);
}

static void forget(stage_t *stage, const sb_orchestrator_t *orchestrator)
{
    for (int i = 0; i < STAGE_ENGINES_MAX; i++)
        if (stage->running[i].orchestrator == orchestrator)
            stage->running[i] = (engine_t){.orchestrator = NULL};
}

void engine_stop(engine_t *engine)
{
    engine_t stopped = *engine; /* it may be the one that is forgotten */
    sb_orchestrator_stop(stopped.orchestrator);
    assert_int_equal(pthread_join(stopped.thread, NULL), 0);
    forget(stopped.stage, stopped.orchestrator);
    engine_close(&stopped);
    *engine = stopped;
}

sb_orchestrator_stats_t engine_stats(const engine_t *engine)
{
    sb_orchestrator_stats_t stats;
    sb_orchestrator_stats(engine->orchestrator, &stats);
    return stats;
}

void engine_await_shard(const engine_t *engine)
{
    assert_soon(engine_stats(engine).shards > 0, 10000);
}

void engine_start_deaf(stage_t *stage, engine_t *engine)
{
    stage->play->deaf = true;
    stage->play->outcome = play_all_well;
    engine_start(stage, engine, "one");
    engine_await_shard(engine);
}

void engine_start_two(stage_t *stage, engine_t engine[2])
{
    sb_test_pg_script(stage->pg, "UPDATE sagabus.store SET shard_count = 2");
    engine_start(stage, &engine[0], "one");
    engine_await_shard(&engine[0]);
    engine_start(stage, &engine[1], "two");
    engine_await_shard(&engine[1]);
}

/* ---- calls that wait for their answer ---- */

void call_on_answer(void *context, const sb_saga_answer_t *answer)
{
    call_t *call = context;
    (void)pthread_mutex_lock(&call->lock);
    call->answers++;
    call->code = answer->code;
    call->id = answer->id;
    call->status = answer->status;
    call->repeated = answer->repeated;
    (void)snprintf(call->message, sizeof call->message, "%s", answer->err ? answer->err->message : "");
    (void)pthread_cond_signal(&call->answered);
    (void)pthread_mutex_unlock(&call->lock);
}

void call_await(call_t *call)
{
    (void)pthread_mutex_lock(&call->lock);
    while (call->answers == 0)
        (void)pthread_cond_wait(&call->answered, &call->lock);
    (void)pthread_mutex_unlock(&call->lock);
}

sb_uuid_t engine_start_type(const engine_t *engine, const char *type, const char *key, const char *input)
{
    call_t call = CALL_INIT;
    sb_saga_start_t start = {.type = sb_slice(type), .key = sb_slice(key), .input = sb_slice(input)};
    assert_int_equal(sb_orchestrator_start(engine->orchestrator, &start, call_on_answer, &call, NULL), SB_OK);
    call_await(&call);
    if (call.code != SB_OK)
        fail_msg("start %s %s: %s", type, key ? key : "", call.message);
    return call.id;
}

sb_code_t engine_push_start(const engine_t *engine, const char *key, const char *input, call_t *call)
{
    sb_saga_start_t start = {.type = SB_SLICE("trip"), .key = sb_slice(key), .input = sb_slice(input)};
    return sb_orchestrator_start(engine->orchestrator, &start, call_on_answer, call, NULL);
}

/* Starts and waits for the commit; the id is the saga's. */
sb_uuid_t engine_start_saga(const engine_t *engine, const char *key)
{
    call_t call = CALL_INIT;
    assert_int_equal(engine_push_start(engine, key, "{\"city\": \"Oslo\"}", &call), SB_OK);
    call_await(&call);
    if (call.code != SB_OK)
        fail_msg("start %s: %s", key ? key : "", call.message);
    return call.id;
}

sb_saga_status_t engine_await_end(const engine_t *engine, const sb_uuid_t *id)
{
    call_t call = CALL_INIT;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_orchestrator_watch(engine->orchestrator, id, call_on_answer, &call, &err), &err);
    call_await(&call);
    assert_int_equal(call.code, SB_OK);
    return call.status;
}

sb_code_t engine_command(const engine_t *engine, const sb_saga_verb_t *verb)
{
    call_t call = CALL_INIT;
    sb_code_t code = sb_orchestrator_command(engine->orchestrator, verb, call_on_answer, &call, NULL);
    if (code != SB_OK)
        return code;
    call_await(&call);
    return call.code;
}

sb_code_t engine_act(const engine_t *engine, const sb_uuid_t *id, sb_saga_input_kind_t kind, const char *step,
                     const char *result)
{
    sb_saga_verb_t verb = {.id = *id,
                           .kind = kind,
                           .step = sb_slice(step),
                           .result = sb_slice(result),
                           .by = SB_SLICE("ann"),
                           .reason = SB_SLICE("a test")};
    return engine_command(engine, &verb);
}

/* ---- what must hold whatever happened ---- */

int64_t stage_count_open(stage_t *stage)
{
    return sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NULL");
}

static sb_definition_t *compile_trip(void)
{
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = NULL;
    sb_definition_t *definition = NULL;
    assert_ok(sb_json_parse(&body, sb_slice(trip), "trip", &err), &err);
    assert_ok(sb_definition_compile(&definition, body, &err), &err);
    json_decref(body);
    return definition;
}

/* Folds the events of every saga and compares with its row; and the effects with the end it came to. */
static void check_saga(stage_t *stage, const sb_definition_t *definition, const sb_pg_result_t *saga, int row)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *events = NULL;
    sb_saga_state_t state;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_pg_add_int8(&params, sb_pg_get_int(saga, row, 0));
    assert_ok(
        sb_pg_query(stage->pg,
                    "SELECT e.version, t.name, e.at, e.data FROM sagabus.event e JOIN sagabus.event_type t "
                    "USING (type_no) WHERE e.class = 2 AND e.stream_no = $1 ORDER BY e.seq",
                    &params, &events, &err),
        &err);
    sb_saga_state_init(&state);
    for (int i = 0; i < sb_pg_rows(events); i++) {
        sb_saga_event_t event;
        assert_int_equal(sb_pg_get_int(events, i, 0), i + 1);
        assert_ok(sb_saga_event_read(definition, sb_pg_get_slice(events, i, 1), sb_pg_get_time(events, i, 2),
                                     sb_pg_get_slice(events, i, 3), &scratch, &event, &err),
                  &err);
        assert_ok(sb_machine_evolve(definition, &state, &event, &err), &err);
    }
    assert_int_equal(state.status, sb_pg_get_int(saga, row, 2));
    assert_int_equal(state.version, sb_pg_get_int(saga, row, 3));
    assert_true(sb_saga_is_over(&state));
    sb_uuid_t id = sb_pg_get_uuid(saga, row, 1);
    for (int i = 0; i < definition->step_count; i++)
        assert_int_equal(sb_play_stands(stage->play, &id, definition->step[i].name),
                         state.status == SB_SAGA_COMPLETED);
    sb_buf_fini(&scratch);
    sb_pg_result_free(events);
}

void stage_check(stage_t *stage, int64_t count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *sagas = NULL;
    sb_definition_t *definition = compile_trip();
    assert_ok(sb_pg_query(stage->pg, "SELECT no, id, status, version FROM sagabus.saga ORDER BY no", NULL,
                          &sagas, &err),
              &err);
    assert_int_equal(sb_pg_rows(sagas), count);
    for (int row = 0; row < sb_pg_rows(sagas); row++)
        check_saga(stage, definition, sagas, row);
    assert_int_equal(stage->play->breaches, 0);
    /* no event without a row */
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.event e WHERE class = 2 AND NOT EXISTS "
                                    "(SELECT FROM sagabus.saga s WHERE s.no = e.stream_no)"),
                     0);
    sb_pg_result_free(sagas);
    sb_definition_free(&definition);
}

/* ---- answers out of turn ---- */

void stage_say(stage_t *stage, const sb_uuid_t *saga_id, const char *step, sb_outcome_t outcome)
{
    sb_play_reply_t reply = {.outcome = outcome};
    sb_play_command_t *command = &reply.command;
    command->saga_id = *saga_id;
    command->id = sb_saga_command_id(saga_id, step, SB_FORWARD, 1);
    command->round = command->attempt = 1;
    (void)snprintf(command->step, sizeof command->step, "%s", step);
    (void)snprintf(command->type, sizeof command->type, "%c.do", step[0]);
    assert_int_equal(pthread_mutex_lock(&stage->play->lock), 0);
    stage->play->reply[0][stage->play->count[0]++] = reply;
    assert_int_equal(pthread_mutex_unlock(&stage->play->lock), 0);
}

void stage_await_replies(stage_t *stage)
{
    for (int shard = 0; shard < SB_PLAY_SHARDS; shard++) { /* what is forwarded goes upwards */
        char sql[80];
        (void)snprintf(sql, sizeof sql, "SELECT cursor FROM sagabus.lease WHERE role = 'saga:%d'", shard);
        if (stage->play->count[shard] > 0)
            assert_soon(sb_test_pg_int(stage->pg, sql) == stage->play->count[shard], 10000);
    }
}

/* ---- outcomes ---- */

sb_outcome_t play_all_well(const sb_play_command_t *command)
{
    (void)command;
    return SB_OUTCOME_SUCCESS;
}

sb_outcome_t play_mixed(const sb_play_command_t *command)
{
    static const char *const types[] = {"h.do", "c.do", "f.do", ""};
    int n = command->saga_id.byte[15];
    if (command->attempt == 1 && n % 7 == 0)
        return SB_OUTCOME_ERROR;
    return n % 4 == 0 && strcmp(command->type, types[n / 4 % 3]) == 0 ? SB_OUTCOME_FAILURE
                                                                      : SB_OUTCOME_SUCCESS;
}
