/* Sagas that are steps of others, over a real PostgreSQL with participants played in memory: what the parent
 * hears of its child, what the child hears of its parent, and that no crash in between does anything twice or
 * half.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "saga/child_key.h"
#include "saga/query/query.h"
#include "tests/pg/saga_stage.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUICK                                                                                                \
    "\"timeout\": \"400ms\", \"retry\": {\"shape\": \"fixed\", \"attempts\": 200, \"delay\": \"20ms\"}, "    \
    "\"undo_retry\": {\"shape\": \"fixed\", \"delay\": \"20ms\"}"
#define STEP(name, who)                                                                                      \
    "{\"name\": \"" name "\", \"participant\": \"" who                                                       \
    "\", \"action\": \"do\", \"compensation\": \"undo\", " QUICK "}"

static const char payment[] =
    "{\"saga\": \"payment\", \"version\": 1, \"result\": {\"by\": "
    "\"$.steps/charge/result/by\"}, \"steps\": [" STEP("hold", "h") ", " STEP("charge", "c") "]}";
static const char order[] = "{\"saga\": \"order\", \"version\": 1, \"deadline\": \"1h\", \"steps\": [" STEP(
    "reserve",
    "r") ", {\"name\": \"pay\", \"saga\": \"payment\", \"input\": {\"amount\": \"$.input/amount\"}}, "
         "{\"name\": \"ship\", \"participant\": \"s\", \"action\": \"do\", \"compensation\": \"undo\", " QUICK
         ", \"input\": {\"paid\": \"$.steps/pay/result/by\"}}]}";
static const char hasty[] =
    "{\"saga\": \"hasty\", \"version\": 1, \"deadline\": \"600ms\", \"steps\": [" STEP(
        "reserve", "r") ", {\"name\": \"pay\", \"saga\": \"payment\"}]}";
static const char payment_2[] =
    "{\"saga\": \"payment\", \"version\": 2, \"result\": {\"by\": "
    "\"$.steps/charge/result/by\"}, \"steps\": [" STEP(
        "hold",
        "h") ", {\"name\": \"charge\", \"participant\": \"c\", \"action\": \"do\", \"pivot\": true}]}";
#define PAY_IS_PIVOT(name)                                                                                   \
    "{\"saga\": \"" name                                                                                     \
    "\", \"version\": 2, \"steps\": [" STEP("reserve", "r") ", {\"name\": \"pay\", \"saga\": "               \
                                                            "\"payment\", \"pivot\": true}]}"

/* ---- outcomes ---- */

static sb_outcome_t refuse(const sb_play_command_t *command, const char *type)
{
    return strcmp(command->type, type) == 0 ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

static sb_outcome_t refuse_charge(const sb_play_command_t *command)
{
    return refuse(command, "c.do");
}

static sb_outcome_t refuse_ship(const sb_play_command_t *command)
{
    return refuse(command, "s.do");
}

static sb_outcome_t no_charge_yet(const sb_play_command_t *command)
{
    return strcmp(command->type, "c.do") == 0 ? SB_OUTCOME_PENDING : SB_OUTCOME_SUCCESS;
}

static atomic_bool let_ship;
static atomic_int undone_blindly;

/* The shipping is refused when it may be; what undoes the child must get what did it. */
static sb_outcome_t refuse_ship_then(const sb_play_command_t *command)
{
    bool of_child = command->undo && (command->type[0] == 'h' || command->type[0] == 'c');
    if (of_child && !strstr(command->value, "\"amount\":5"))
        (void)atomic_fetch_add(&undone_blindly, 1);
    if (strcmp(command->type, "s.do") != 0)
        return SB_OUTCOME_SUCCESS;
    return let_ship ? SB_OUTCOME_FAILURE : SB_OUTCOME_PENDING;
}

/* One saga in four, parent or child, fails at a step that its id chooses; errors come and go by attempt. */
static sb_outcome_t mixed(const sb_play_command_t *command)
{
    static const char *const types[] = {"r.do", "h.do", "c.do", "s.do"};
    int n = command->saga_id.byte[15];
    if (command->attempt == 1 && n % 7 == 0)
        return SB_OUTCOME_ERROR;
    return n % 4 == 0 ? refuse(command, types[n / 4 % 4]) : SB_OUTCOME_SUCCESS;
}

/* ---- the stage ---- */

static int set_up(void **state)
{
    int code = stage_set_up(state);
    stage_register(*state, "payment", payment); /* before those that name it */
    stage_register(*state, "order", order);
    stage_register(*state, "hasty", hasty);
    return code;
}

static sb_uuid_t start_of(const engine_t *engine, const char *type)
{
    return engine_start_type(engine, type, NULL, "{\"amount\": 5}");
}

/* The child of a step's round; false: there is none. */
static bool find_child(stage_t *stage, const sb_uuid_t *parent, uint16_t round, sb_uuid_t *id,
                       sb_saga_status_t *status)
{
    char key[SB_CHILD_KEY_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_add_text(&params, sb_child_key_write(parent, "pay", round, key));
    assert_ok(sb_pg_query(stage->pg,
                          "SELECT id, status FROM sagabus.saga WHERE type = 'payment' AND key = $1", &params,
                          &rows, &err),
              &err);
    bool there = sb_pg_rows(rows) == 1;
    if (there) {
        *id = sb_pg_get_uuid(rows, 0, 0);
        *status = (sb_saga_status_t)sb_pg_get_int(rows, 0, 1);
    }
    sb_pg_result_free(rows);
    return there;
}

static sb_uuid_t child_in(stage_t *stage, const sb_uuid_t *parent, sb_saga_status_t wanted)
{
    sb_uuid_t id = SB_UUID_NIL;
    sb_saga_status_t status = SB_SAGA_NONE;
    assert_soon(find_child(stage, parent, 1, &id, &status) && status == wanted, 20000);
    return id;
}

static void assert_stands(stage_t *stage, const sb_uuid_t *parent, const sb_uuid_t *child, bool stands)
{
    assert_int_equal(sb_play_stands(stage->play, parent, "reserve"), stands);
    assert_int_equal(sb_play_stands(stage->play, child, "hold"), stands);
    assert_int_equal(sb_play_stands(stage->play, child, "charge"), stands);
}

static int64_t count_text(stage_t *stage, const char *sql, const char *text)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_add_text(&params, text);
    assert_ok(sb_pg_query(stage->pg, sql, &params, &rows, &err), &err);
    int64_t count = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return count;
}

static void assert_told(stage_t *stage, const sb_uuid_t *id, bool explain, const char *part)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    sb_buf_t text = SB_BUF_INIT;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(explain ? sb_saga_explain(stage->pg, catalog, id, sb_wall_us(), &text, &err)
                      : sb_saga_show(stage->pg, catalog, id, false, &text, &err),
              &err);
    assert_contains(sb_buf_text(&text), part);
    sb_buf_fini(&text);
    sb_catalog_free(&catalog);
}

/* Each names the other. */
static void assert_linked(stage_t *stage, const sb_uuid_t *parent, const sb_uuid_t *child)
{
    char id[SB_UUID_TEXT], part[200];
    (void)snprintf(part, sizeof part,
                   "\"saga\":{\"type\":\"payment\",\"id\":\"%s\",\"href\":\"/v1/sagas/%s\"}",
                   sb_uuid_format(child, id), id);
    assert_told(stage, parent, false, part);
    (void)snprintf(part, sizeof part, "\"parent\":{\"id\":\"%s\",\"href\":\"/v1/sagas/%s\",\"step\":\"pay\"}",
                   sb_uuid_format(parent, id), id);
    assert_told(stage, child, false, part);
}

/* An order on a new engine that comes to nothing, and its child with it. */
static void start_and_see_undone(stage_t *stage, engine_t *engine, sb_uuid_t *parent, sb_uuid_t *child)
{
    engine_start(stage, engine, "one");
    engine_await_shard(engine);
    *parent = start_of(engine, "order");
    assert_int_equal(engine_await_end(engine, parent), SB_SAGA_COMPENSATED);
    *child = child_in(stage, parent, SB_SAGA_COMPENSATED);
    assert_stands(stage, parent, child, false);
}

/* ---- in quiet ---- */

static void a_child_completes_and_its_result_goes_on(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    int64_t from = sb_mono_us();
    sb_uuid_t parent = start_of(&engine, "order");
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPLETED);
    assert_true(sb_mono_us() - from < 10000000);
    sb_uuid_t child = child_in(stage, &parent, SB_SAGA_COMPLETED);
    assert_stands(stage, &parent, &child, true);
    assert_linked(stage, &parent, &child);
    /* the step's result is the child's, and the child bears the parent's id */
    assert_int_equal(
        count_text(stage,
                   "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) "
                   "WHERE e.class = 2 AND t.name = 'saga.step.completed' AND convert_from(e.data, "
                   "'UTF8')::jsonb @> $1::jsonb",
                   "{\"step\": \"pay\", \"result\": {\"by\": \"charge\"}}"),
        1);
    char text[SB_UUID_TEXT];
    assert_int_equal(count_text(stage, "SELECT count(*) FROM sagabus.saga WHERE correlation = $1",
                                sb_uuid_format(&parent, text)),
                     1);
    /* nobody else may take such a key */
    call_t call = CALL_INIT;
    char key[SB_CHILD_KEY_MAX];
    assert_int_equal(
        engine_push_start(&engine, sb_child_key_write(&parent, "pay", 2, key), "{\"city\": 1}", &call),
        SB_INVALID);
    engine_stop(&engine);
}

static void a_child_that_comes_to_nothing_fails_its_step(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = refuse_charge;
    sb_uuid_t parent, child;
    start_and_see_undone(stage, &engine, &parent, &child);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga WHERE error = 'played refusal "
                                    "42' AND (type = 'payment' OR step = 'pay')"),
                     2);
    engine_stop(&engine);
}

static void a_completed_child_is_undone_in_reverse(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = refuse_ship;
    sb_uuid_t parent, child;
    start_and_see_undone(stage, &engine, &parent, &child);
    int64_t charge = sb_play_undone_at(stage->play, &child, "charge");
    int64_t hold = sb_play_undone_at(stage->play, &child, "hold");
    int64_t reserve = sb_play_undone_at(stage->play, &parent, "reserve");
    assert_true(charge > 0 && charge < hold && hold < reserve);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NULL"),
                     0);
    assert_int_equal(sb_test_pg_int(stage->pg,
                                    "SELECT count(*) FROM sagabus.saga_command WHERE verb = 'undo' "
                                    "AND done_at IS NOT NULL AND outcome = 'ok'"),
                     1);
    assert_int_equal(stage->play->breaches, 0);
    engine_stop(&engine);
}

static void a_cancel_and_a_deadline_reach_the_child(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = no_charge_yet;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t parent = start_of(&engine, "order");
    sb_uuid_t child = child_in(stage, &parent, SB_SAGA_STARTED);
    assert_soon(sb_play_stands(stage->play, &child, "hold"), 10000);
    char id[SB_UUID_TEXT], part[200];
    (void)snprintf(part, sizeof part,
                   "{\"what\":\"saga\",\"step\":\"pay\",\"participant\":\"saga\",\"command\":\"run saga "
                   "payment\",\"direction\":\"forward\",\"saga\":\"%s\"",
                   sb_uuid_format(&child, id));
    assert_told(stage, &parent, true, part);
    assert_int_equal(engine_act(&engine, &parent, SB_SAGA_IN_CANCEL, NULL, NULL), SB_OK);
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPENSATED);
    sb_uuid_t again = child_in(stage, &parent, SB_SAGA_COMPENSATED);
    assert_true(sb_uuid_equal(&child, &again));
    assert_stands(stage, &parent, &child, false);
    parent = start_of(&engine, "hasty");
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPENSATED);
    child = child_in(stage, &parent, SB_SAGA_COMPENSATED);
    assert_stands(stage, &parent, &child, false);
    assert_int_equal(stage->play->breaches, 0);
    engine_stop(&engine);
}

/* The versions that came while the parent was under way may be undone no more. */
static void a_child_that_cannot_be_undone_calls_an_operator(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = refuse_ship;
    stage->play->deaf = true;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t parent = start_of(&engine, "order");
    engine_stop(&engine);
    stage_register(stage, "order", PAY_IS_PIVOT("order"));
    stage_register(stage, "hasty", PAY_IS_PIVOT("hasty"));
    stage_register(stage, "payment", payment_2);
    stage->play->deaf = false;
    engine_start(stage, &engine, "two");
    (void)child_in(stage, &parent, SB_SAGA_COMPLETED);
    assert_soon(engine_stats(&engine).attention == 1, 20000);
    assert_told(stage, &parent, true,
                "saga payment cannot be undone: conflict: its pivot is done or under way");
    assert_int_equal(engine_act(&engine, &parent, SB_SAGA_IN_SKIP, "pay", "{}"), SB_OK);
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPENSATED);
    assert_int_equal(sb_play_stands(stage->play, &parent, "reserve"), false);
    engine_stop(&engine);
}

/* Gone back to with another input, the step has another child. */
static void going_back_makes_another_child(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_uuid_t second = SB_UUID_NIL;
    sb_saga_status_t status = SB_SAGA_NONE;
    stage->play->outcome = no_charge_yet;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t parent = start_of(&engine, "order");
    (void)child_in(stage, &parent, SB_SAGA_STARTED);
    assert_int_equal(engine_act(&engine, &parent, SB_SAGA_IN_REWIND, "pay", NULL), SB_OK);
    sb_uuid_t first = child_in(stage, &parent, SB_SAGA_COMPENSATED);
    stage->play->outcome = play_all_well;
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPLETED);
    assert_true(find_child(stage, &parent, 2, &second, &status));
    assert_int_equal(status, SB_SAGA_COMPLETED);
    assert_int_equal(sb_play_stands(stage->play, &first, "hold"), false);
    assert_stands(stage, &parent, &second, true);
    engine_stop(&engine);
}

/* ---- when things die ---- */

static int64_t anomalies_of(stage_t *stage, const sb_uuid_t *id)
{
    char text[SB_UUID_TEXT];
    return count_text(stage,
                      "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) "
                      "WHERE e.class = 2 AND t.name = 'saga.anomaly' AND "
                      "convert_from(e.data, 'UTF8')::jsonb ->> 'saga_id' = $1",
                      sb_uuid_format(id, text));
}

/* The child is over, its parent is not: what contradicts the child's end is the child's, and is in the way of
 * nothing when the parent takes the child back. */
static void a_contradiction_is_the_childs_and_keeps_no_undo_away(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    let_ship = false;
    undone_blindly = 0;
    stage->play->outcome = refuse_ship_then;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t parent = start_of(&engine, "order");
    sb_uuid_t child = child_in(stage, &parent, SB_SAGA_COMPLETED);
    stage_say(stage, &child, "charge", SB_OUTCOME_FAILURE);
    assert_soon(anomalies_of(stage, &child) == 1, 5000);
    assert_soon(engine_stats(&engine).open == 1, 5000);
    assert_told(stage, &child, false, "\"anomaly\"");
    let_ship = true;
    int64_t until = sb_test_mono_ms() + sb_test_patience(20000);
    while (stage_count_open(stage) > 0 && sb_test_mono_ms() < until) {
        stage_say(stage, &child, "hold", SB_OUTCOME_FAILURE);
        sb_test_sleep_ms(1);
    }
    assert_int_equal(engine_await_end(&engine, &parent), SB_SAGA_COMPENSATED);
    (void)child_in(stage, &parent, SB_SAGA_COMPENSATED);
    assert_stands(stage, &parent, &child, false);
    assert_int_equal(undone_blindly, 0);
    assert_int_equal(anomalies_of(stage, &child), 2);
    assert_int_equal(anomalies_of(stage, &parent), 0);
    stage_say(stage, &parent, "ship", SB_OUTCOME_SUCCESS); /* it was refused */
    stage_say(stage, &child, "hold", SB_OUTCOME_FAILURE);
    stage_await_replies(stage);
    assert_int_equal(anomalies_of(stage, &parent), 1);
    assert_int_equal(anomalies_of(stage, &child), 2);
    assert_soon(engine_stats(&engine).open == 0, 5000);
    assert_int_equal(stage->play->breaches, 0);
    engine_stop(&engine);
}

/* The parent's shard moves to another instance than the child's while the child runs. */
static void a_child_may_be_another_instances(void **state)
{
    stage_t *stage = *state;
    engine_t engine[3];
    stage->play->outcome = no_charge_yet;
    engine_start_two(stage, engine);
    stage->play->deaf = true;
    sb_uuid_t parent = start_of(&engine[1], "order");
    engine_stop(&engine[1]);
    assert_soon(engine_stats(&engine[0]).shards == 2, 5000);
    stage->play->deaf = false;
    sb_uuid_t child = child_in(stage, &parent, SB_SAGA_STARTED); /* in the first one's home */
    engine_start(stage, &engine[2], "three");
    assert_soon(engine_stats(&engine[2]).shards == 1, 8000);
    int64_t of_parent = 0, of_child = 0;
    assert_true(sb_saga_number_of(&parent, &of_parent) && sb_saga_number_of(&child, &of_child));
    assert_int_not_equal(sb_saga_shard(of_parent), sb_saga_shard(of_child));
    stage->play->outcome = refuse_ship;
    assert_int_equal(engine_await_end(&engine[2], &parent), SB_SAGA_COMPENSATED);
    child = child_in(stage, &parent, SB_SAGA_COMPENSATED);
    assert_stands(stage, &parent, &child, false);
    assert_int_equal(stage->play->breaches, 0);
    engine_stop(&engine[0]);
    engine_stop(&engine[2]);
}

#define ORDERS 200

typedef struct flood {
    stage_t *stage;
    int first;
} flood_t;

/* The body of a child process: starts all orders (again), and drives until killed, or until all is over. */
static int drive(void *context)
{
    const flood_t *flood = context;
    engine_t engine;
    engine_start(flood->stage, &engine, "child");
    engine_await_shard(&engine);
    for (int i = 0; i < ORDERS; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "order-%d", (i + flood->first) % ORDERS);
        sb_saga_start_t start = {
            .type = SB_SLICE("order"), .key = sb_slice(key), .input = SB_SLICE("{\"amount\": 5}")};
        while (sb_orchestrator_start(engine.orchestrator, &start, NULL, NULL, NULL) != SB_OK)
            sb_sleep_ms(5);
    }
    while (engine_stats(&engine).open > 0 || engine_stats(&engine).started < 1)
        sb_sleep_ms(10);
    engine_stop(&engine);
    return 0;
}

static void check_order(stage_t *stage, const sb_uuid_t *parent, sb_saga_status_t status)
{
    sb_uuid_t child = SB_UUID_NIL;
    sb_saga_status_t of_child = status;
    bool there = find_child(stage, parent, 1, &child, &of_child);
    assert_int_equal(of_child, status);
    assert_true(there || status == SB_SAGA_COMPENSATED);
    assert_int_equal(sb_play_stands(stage->play, parent, "ship"), status == SB_SAGA_COMPLETED);
    assert_stands(stage, parent, &child, status == SB_SAGA_COMPLETED);
}

static void check_orders(stage_t *stage)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    int completed = 0;
    assert_int_equal(stage_count_open(stage), 0);
    assert_ok(
        sb_pg_query(stage->pg, "SELECT id, status FROM sagabus.saga WHERE type = 'order'", NULL, &rows, &err),
        &err);
    assert_int_equal(sb_pg_rows(rows), ORDERS);
    for (int row = 0; row < sb_pg_rows(rows); row++) {
        sb_uuid_t id = sb_pg_get_uuid(rows, row, 0);
        check_order(stage, &id, (sb_saga_status_t)sb_pg_get_int(rows, row, 1));
        completed += sb_pg_get_int(rows, row, 1) == SB_SAGA_COMPLETED;
    }
    sb_pg_result_free(rows);
    assert_true(completed > ORDERS / 4 && completed < ORDERS);
    assert_int_equal(stage->play->breaches, 0);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga c WHERE type = 'payment' AND NOT EXISTS "
                                  "(SELECT FROM sagabus.saga p WHERE p.type = 'order' AND c.key = 'saga:' || "
                                  "p.id || '/pay/1')"),
        0);
}

/* Between the child's start and what the parent knows of it, and anywhere else. */
static void killed_orchestrators_leave_no_child_half_done(void **state)
{
    stage_t *stage = *state;
    flood_t flood = {.stage = stage};
    stage->play->outcome = mixed;
    stage->play->delay_us = 20000;
    stage->play->drop_per_mille = 20;
    stage->play->twice_per_mille = 50;
    unsigned seed = 11;
    for (int kills = 0; kills < 12; kills++) {
        sb_test_process_t child = {.pid = 0};
        flood.first = kills * ORDERS / 12;
        sb_test_fork(&child, drive, &flood);
        sb_test_sleep_ms(40 + rand_r(&seed) % 200);
        sb_test_signal(&child, SIGKILL);
        sb_test_process_end(&child);
        sb_test_pg_script(stage->pg,
                          "INSERT INTO sagabus.saga_command (saga_no, shard, verb, requested_by, reason) "
                          "SELECT no, shard, 'cancel', 'ann', 'a test' FROM sagabus.saga "
                          "WHERE ended_at IS NULL AND no % 11 = 0"); /* parents and children */
    }
    engine_t engine;
    engine_start(stage, &engine, "last");
    engine_await_shard(&engine);
    for (int i = 0; i < ORDERS; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "order-%d", i);
        (void)engine_start_type(&engine, "order", key, "{\"amount\": 5}");
    }
    assert_soon(stage_count_open(stage) == 0, 60000);
    engine_stop(&engine);
    check_orders(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_child_completes_and_its_result_goes_on, set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_child_that_comes_to_nothing_fails_its_step, set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_completed_child_is_undone_in_reverse, set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_cancel_and_a_deadline_reach_the_child, set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_child_that_cannot_be_undone_calls_an_operator, set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(going_back_makes_another_child, set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_child_may_be_another_instances, set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(a_contradiction_is_the_childs_and_keeps_no_undo_away, set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(killed_orchestrators_leave_no_child_half_done, set_up,
                                        stage_tear_down),
    };
    sb_log_set_level(getenv("SB_TEST_LOG") ? SB_LOG_INFO : SB_LOG_OFF);
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
