/* What the API and the CLI read about sagas: one with its story, one by its key, pages of many.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "saga/query/act.h"
#include "saga/query/audit.h"
#include "saga/query/query.h"
#include "saga_sql.h"
#include "tests/pg/saga_stage.h"

#include <stdio.h>
#include <string.h>

static sb_catalog_t *load_catalog(stage_t *stage)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(sb_catalog_load(catalog, stage->pg, &err), &err);
    return catalog;
}

/* The caller owns the tree. */
static json_t *show(stage_t *stage, sb_catalog_t *catalog, const sb_uuid_t *id, bool history)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    assert_ok(sb_saga_show(stage->pg, catalog, id, history, &text, &err), &err);
    assert_ok(sb_json_parse(&tree, sb_buf_slice(&text), "the saga", &err), &err);
    sb_buf_fini(&text);
    return tree;
}

static const char *text_at(const json_t *tree, const char *pointer)
{
    const char *text = json_string_value(sb_json_at(tree, sb_slice(pointer)));
    return text ? text : "";
}

static json_int_t int_at(const json_t *tree, const char *pointer)
{
    json_t *value = sb_json_at(tree, sb_slice(pointer));
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

static bool is_null_at(const json_t *tree, const char *pointer)
{
    return json_is_null(sb_json_at(tree, sb_slice(pointer)));
}

static sb_outcome_t refuse_flight_after_an_error(const sb_play_command_t *command)
{
    if (strcmp(command->type, "f.do") == 0)
        return command->attempt == 1 ? SB_OUTCOME_ERROR : SB_OUTCOME_FAILURE;
    return SB_OUTCOME_SUCCESS;
}

static void a_failed_saga_tells_its_whole_story(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = refuse_flight_after_an_error;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "story");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
    engine_stop(&engine);

    sb_catalog_t *catalog = load_catalog(stage);
    json_t *saga = show(stage, catalog, &id, true);
    char text[SB_UUID_TEXT];
    assert_string_equal(text_at(saga, "/id"), sb_uuid_format(&id, text));
    assert_string_equal(text_at(saga, "/type"), "trip");
    assert_string_equal(text_at(saga, "/key"), "story");
    assert_string_equal(text_at(saga, "/status"), "compensated");
    assert_string_equal(text_at(saga, "/input/city"), "Oslo");
    assert_string_equal(text_at(saga, "/error"), "played refusal 42");
    assert_true(is_null_at(saga, "/result"));
    assert_int_equal(int_at(saga, "/definition/version"), 1);
    assert_int_equal(strlen(text_at(saga, "/definition/hash")), 64);
    assert_true(strlen(text_at(saga, "/ended_at")) > 20);
    assert_true(int_at(saga, "/duration_ms") >= 0);
    assert_int_equal(json_array_size(sb_json_at(saga, SB_SLICE("/steps"))), 3);
    assert_string_equal(text_at(saga, "/steps/0/name"), "hotel");
    assert_string_equal(text_at(saga, "/steps/0/participant"), "h");
    assert_string_equal(text_at(saga, "/steps/0/status"), "compensated");
    assert_int_equal(int_at(saga, "/steps/0/attempts"), 1);
    assert_string_equal(text_at(saga, "/steps/0/result/by"), "hotel");
    assert_string_equal(text_at(saga, "/steps/0/compensation/status"), "compensated");
    assert_int_equal(int_at(saga, "/steps/0/compensation/attempts"), 1);
    assert_true(strcmp(text_at(saga, "/steps/1/compensation/ended_at"),
                       text_at(saga, "/steps/0/compensation/ended_at")) <= 0);
    assert_string_equal(text_at(saga, "/steps/2/status"), "failed");
    assert_int_equal(int_at(saga, "/steps/2/attempts"), 2);
    assert_string_equal(text_at(saga, "/steps/2/error"), "played refusal 42");
    assert_true(is_null_at(saga, "/steps/2/compensation"));
    assert_string_equal(text_at(saga, "/history/0/type"), "saga.started");
    size_t events = json_array_size(sb_json_at(saga, SB_SLICE("/history")));
    assert_true(events >= 7);
    for (size_t i = 0; i < events; i++) {
        char pointer[32];
        (void)snprintf(pointer, sizeof pointer, "/history/%zu/version", i);
        assert_int_equal(int_at(saga, pointer), (json_int_t)i + 1);
    }
    json_decref(saga);
    saga = show(stage, catalog, &id, false);
    assert_null(sb_json_at(saga, SB_SLICE("/history")));
    json_decref(saga);
    sb_catalog_free(&catalog);
}

static void an_open_saga_says_what_it_waits_for(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    sb_catalog_t *catalog = load_catalog(stage);
    json_t *saga = show(stage, catalog, &id, true);
    assert_string_equal(text_at(saga, "/status"), "started");
    assert_string_equal(text_at(saga, "/key"), text_at(saga, "/id")); /* no key was given */
    assert_true(is_null_at(saga, "/ended_at"));
    assert_string_equal(text_at(saga, "/steps/0/status"), "dispatched");
    assert_true(strlen(text_at(saga, "/steps/0/deadline_at")) > 20);
    assert_string_equal(text_at(saga, "/steps/1/status"), "pending");
    assert_true(is_null_at(saga, "/steps/1/started_at"));
    json_decref(saga);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

static json_t *explain_at(stage_t *stage, sb_catalog_t *catalog, const sb_uuid_t *id, int64_t now_us)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    assert_ok(sb_saga_explain(stage->pg, catalog, id, now_us, &text, &err), &err);
    assert_ok(sb_json_parse(&tree, sb_buf_slice(&text), "the explanation", &err), &err);
    sb_buf_fini(&text);
    return tree;
}

static json_t *explain(stage_t *stage, sb_catalog_t *catalog, const sb_uuid_t *id)
{
    return explain_at(stage, catalog, id, sb_wall_us());
}

static void an_open_saga_is_explained(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, "why");
    sb_catalog_t *catalog = load_catalog(stage);
    json_t *saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/waits_for/0/what"), "answer");
    assert_string_equal(text_at(saga, "/waits_for/0/command"), "h.do");
    assert_int_equal(int_at(saga, "/waits_for/0/attempt"), 1);
    assert_true(strlen(text_at(saga, "/waits_for/0/since")) > 20);
    assert_true(strlen(text_at(saga, "/waits_for/0/until")) > 20);
    assert_true(is_null_at(saga, "/last_error"));
    assert_string_equal(text_at(saga, "/if_all_goes_well/ends"), "completed");
    assert_int_equal(json_array_size(sb_json_at(saga, SB_SLICE("/if_all_goes_well/commands"))), 3);
    assert_string_equal(text_at(saga, "/if_it_failed_now/ends"), "compensated");
    assert_string_equal(text_at(saga, "/acts/0"), "cancel");
    json_decref(saga);

    /* A try that is due has gone out, though no event says so: it waits for an answer, not for a time in the
     * past. */
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t ON "
                                          "t.type_no = e.type_no WHERE t.name = 'saga.step.retried'") > 0,
                10000);
    saga = explain_at(stage, catalog, &id, sb_wall_us() + 60000000);
    assert_string_equal(text_at(saga, "/waits_for/0/what"), "answer");
    assert_true(is_null_at(saga, "/waits_for/0/until"));
    json_decref(saga);

    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_OK);
    saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/waits_for/0/what"), "resume");
    assert_true(is_null_at(saga, "/waits_for/1/until")); /* its clock stands still */
    json_decref(saga);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

#define QUICK                                                                                                \
    "{\"saga\": \"quick\", \"version\": 1, \"deadline\": \"1h\", \"steps\": ["                               \
    "{\"name\": \"hotel\", \"participant\": \"h\", \"action\": \"do\", \"compensation\": \"undo\"},"         \
    "{\"name\": \"car\", \"participant\": \"c\", \"action\": \"do\", \"compensation\": \"undo\","            \
    " \"retry\": {\"attempts\": 1}}]}"

static sb_outcome_t car_cannot_say(const sb_play_command_t *command)
{
    return strcmp(command->type, "c.do") == 0 ? SB_OUTCOME_ERROR : SB_OUTCOME_SUCCESS;
}

/* What a participant said after the end, and against it, is in sight where an operator looks. */
static void an_unknown_step_and_what_contradicts_it_are_shown(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage_register(stage, "quick", QUICK);
    engine_start_deaf(stage, &engine);
    stage->play->outcome = car_cannot_say;
    sb_uuid_t id = engine_start_type(&engine, "quick", "q", "{}");
    sb_catalog_t *catalog = load_catalog(stage);
    json_t *saga = explain(stage, catalog, &id);
    assert_true(strlen(text_at(saga, "/turns_back_at")) > 20);
    json_decref(saga);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_OK);
    saga = explain(stage, catalog, &id);
    assert_null(sb_json_at(saga, SB_SLICE("/turns_back_at"))); /* no time runs out */
    json_decref(saga);
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_RESUME, NULL, NULL), SB_OK);
    stage->play->deaf = false;
    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_RETRY, NULL, NULL), SB_OK);
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPENSATED);
    saga = show(stage, catalog, &id, false);
    assert_null(sb_json_at(saga, SB_SLICE("/steps/0/unknown")));
    assert_true(json_is_true(sb_json_at(saga, SB_SLICE("/steps/1/unknown"))));
    assert_true(strlen(text_at(saga, "/steps/1/ended_at")) > 20); /* it is undone from there on */
    assert_null(sb_json_at(saga, SB_SLICE("/steps/1/anomaly")));
    json_decref(saga);
    stage_say(stage, &id, "car", SB_OUTCOME_SUCCESS);
    stage_await_replies(stage);
    saga = show(stage, catalog, &id, false);
    assert_string_equal(text_at(saga, "/steps/1/anomaly/reason"),
                        "success after the step was given up, refused or closed");
    json_decref(saga);
    saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/anomalies/0/command"), "c.do");
    assert_true(strlen(text_at(saga, "/anomalies/0/at")) > 20);
    assert_null(sb_json_at(saga, SB_SLICE("/turned_back"))); /* an error did it */
    json_decref(saga);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

static void who_held_turned_or_closed_a_saga_is_told(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, NULL);
    sb_catalog_t *catalog = load_catalog(stage);
    sb_saga_verb_t verb = {
        .id = id, .kind = SB_SAGA_IN_PAUSE, .by = SB_SLICE("ann"), .reason = SB_SLICE("a \"look\" at it")};
    assert_int_equal(engine_command(&engine, &verb), SB_OK);
    json_t *saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/waits_for/0/by"), "ann");
    assert_string_equal(text_at(saga, "/waits_for/0/reason"), "a \"look\" at it");
    assert_true(strlen(text_at(saga, "/waits_for/0/since")) > 20);
    json_decref(saga);
    verb.kind = SB_SAGA_IN_CANCEL;
    verb.reason = SB_SLICE("they called");
    assert_int_equal(engine_command(&engine, &verb), SB_OK);
    saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/turned_back/by"), "ann");
    assert_string_equal(text_at(saga, "/turned_back/reason"), "they called");
    json_decref(saga);
    verb.kind = SB_SAGA_IN_RESOLVE;
    verb.by = SB_SLICE("bob");
    verb.reason = SB_SLICE("by hand");
    assert_int_equal(engine_command(&engine, &verb), SB_OK);
    saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/closed/by"), "bob");
    assert_string_equal(text_at(saga, "/closed/reason"), "by hand");
    assert_null(sb_json_at(saga, SB_SLICE("/turned_back")));
    json_decref(saga);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

static void what_is_not_there_is_not_found(void **state)
{
    stage_t *stage = *state;
    sb_uuid_t id = sb_saga_id(sb_saga_number(0, 1), 1);
    sb_buf_t out = SB_BUF_INIT;
    sb_catalog_t *catalog = load_catalog(stage);
    assert_int_equal(sb_saga_show(stage->pg, catalog, &id, true, &out, NULL), SB_NOT_FOUND);
    id = sb_uuid_v7();
    assert_int_equal(sb_saga_show(stage->pg, catalog, &id, true, &out, NULL), SB_NOT_FOUND);
    assert_int_equal(sb_saga_find(stage->pg, SB_SLICE("trip"), SB_SLICE("none"), &id, NULL), SB_NOT_FOUND);
    sb_catalog_free(&catalog);
    sb_buf_fini(&out);
}

/* Reads all pages; the keys in order, each with a comma behind it. */
static int walk(stage_t *stage, sb_saga_page_t page, sb_buf_t *keys)
{
    sb_error_t err = SB_ERROR_INIT;
    int pages = 0;
    char cursor[64];
    sb_buf_reset(keys);
    for (bool more = true; more; pages++) {
        sb_buf_t out = SB_BUF_INIT;
        json_t *tree = NULL;
        size_t i;
        json_t *item;
        assert_ok(sb_saga_list(stage->pg, &page, &out, &err), &err);
        assert_ok(sb_json_parse(&tree, sb_buf_slice(&out), "the page", &err), &err);
        json_array_foreach(json_object_get(tree, "items"), i, item)
        {
            sb_buf_printf(keys, "%s,", text_at(item, "/key"));
        }
        more = !is_null_at(tree, "/next_cursor");
        (void)snprintf(cursor, sizeof cursor, "%s", text_at(tree, "/next_cursor"));
        page.cursor = sb_slice(cursor);
        json_decref(tree);
        sb_buf_fini(&out);
    }
    return pages;
}

static sb_outcome_t refuse_c(const sb_play_command_t *command)
{
    return strstr(command->value, "refuse") ? SB_OUTCOME_FAILURE : SB_OUTCOME_SUCCESS;
}

static void pages_follow_one_another_without_gap_or_repeat(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    sb_error_t err = SB_ERROR_INIT;
    sb_uuid_t id, found;
    sb_buf_t keys = SB_BUF_INIT;
    stage->play->outcome = refuse_c;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 7; i++) {
        char key[8];
        call_t call = CALL_INIT;
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_int_equal(engine_push_start(&engine, key,
                                           i % 3 == 1 ? "{\"city\": \"refuse\"}" : "{\"city\": \"Oslo\"}",
                                           &call),
                         SB_OK);
        call_await(&call);
        id = call.id;
        (void)engine_await_end(&engine, &id);
    }
    engine_stop(&engine);
    assert_int_equal(walk(stage, (sb_saga_page_t){.limit = 3}, &keys), 3);
    assert_string_equal(sb_buf_text(&keys), "k6,k5,k4,k3,k2,k1,k0,");
    assert_int_equal(walk(stage, (sb_saga_page_t){.limit = 7, .oldest_first = true}, &keys), 1);
    assert_string_equal(sb_buf_text(&keys), "k0,k1,k2,k3,k4,k5,k6,");
    assert_int_equal(walk(stage, (sb_saga_page_t){.limit = 2, .oldest_first = true}, &keys), 4);
    assert_string_equal(sb_buf_text(&keys), "k0,k1,k2,k3,k4,k5,k6,");
    (void)walk(stage, (sb_saga_page_t){.limit = 1, .filter = {.status = SB_SAGA_COMPENSATED}}, &keys);
    assert_string_equal(sb_buf_text(&keys), "k4,k1,");
    (void)walk(stage, (sb_saga_page_t){.limit = 5, .filter = {.attention_only = true}}, &keys);
    assert_string_equal(sb_buf_text(&keys), "");
    (void)walk(stage, (sb_saga_page_t){.limit = 5, .filter = {.type = SB_SLICE("other")}}, &keys);
    assert_string_equal(sb_buf_text(&keys), "");
    assert_ok(sb_saga_find(stage->pg, SB_SLICE("trip"), SB_SLICE("k6"), &found, &err), &err);
    assert_true(sb_uuid_equal(&found, &id));
    sb_buf_fini(&keys);
}

/* The keys of the sagas that a filter finds, oldest first. */
static void assert_found(stage_t *stage, sb_saga_filter_t filter, const char *want)
{
    sb_buf_t keys = SB_BUF_INIT;
    (void)walk(stage, (sb_saga_page_t){.limit = 2, .oldest_first = true, .filter = filter}, &keys);
    assert_string_equal(sb_buf_text(&keys), want);
    sb_buf_fini(&keys);
}

static sb_outcome_t refuse_or_hang(const sb_play_command_t *command)
{
    if (strcmp(command->type, "c.undo") == 0)
        return SB_OUTCOME_FAILURE;
    return strcmp(command->type, "f.do") == 0 && strstr(command->value, "refuse") ? SB_OUTCOME_FAILURE
                                                                                  : SB_OUTCOME_SUCCESS;
}

static void troubles_are_found_by_step_participant_error_and_time(void **state)
{
    static const char *const inputs[] = {"{\"city\": \"Oslo\"}", "{\"city\": \"refuse\"}"};
    stage_t *stage = *state;
    engine_t engine;
    char print[32];
    stage->play->outcome = refuse_or_hang;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 5; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        sb_uuid_t id = engine_start_type(&engine, "trip", key, inputs[i % 2]);
        if (i % 2 == 0)
            (void)engine_await_end(&engine, &id);
    }
    assert_soon(engine_stats(&engine).attention == 2, 10000);
    assert_found(stage, (sb_saga_filter_t){.step = SB_SLICE("car")}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.participant = SB_SLICE("c")}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.participant = SB_SLICE("f")}, "");
    assert_found(stage, (sb_saga_filter_t){.error = SB_SLICE("PLAYED refusal")}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.error = SB_SLICE("%")}, "");
    assert_found(stage, (sb_saga_filter_t){.attention_only = true}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.open_only = true}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.status = SB_SAGA_COMPENSATING}, "k1,k3,");
    assert_found(stage, (sb_saga_filter_t){.status = SB_SAGA_STARTED}, "");
    assert_found(stage, (sb_saga_filter_t){.status = SB_SAGA_COMPLETED}, "k0,k2,k4,");
    assert_found(stage, (sb_saga_filter_t){.type = SB_SLICE("trip"), .key = SB_SLICE("k2")}, "k2,");
    int64_t now_us = sb_wall_us();
    assert_found(stage, (sb_saga_filter_t){.from_us = now_us + 3600000000}, "");
    assert_found(stage, (sb_saga_filter_t){.from_us = now_us - 3600000000, .to_us = now_us + 3600000000},
                 "k0,k1,k2,k3,k4,");
    (void)snprintf(print, sizeof print, "%016llx",
                   (unsigned long long)sb_test_pg_int(
                       stage->pg, "SELECT DISTINCT fingerprint FROM sagabus.saga WHERE attention"));
    sb_saga_filter_t filter = {0};
    assert_int_equal(sb_saga_filter_set(&filter, "fingerprint", sb_slice(print), NULL), SB_OK);
    assert_found(stage, filter, "k1,k3,");
    engine_stop(&engine);
}

static void filters_are_checked(void **state)
{
    static const struct {
        const char *name, *value;
        sb_code_t code;
    } cases[] = {{"status", "odd", SB_INVALID},
                 {"status", "failed", SB_OK},
                 {"fingerprint", "12", SB_INVALID},
                 {"fingerprint", "00000000000000zz", SB_INVALID},
                 {"attention", "perhaps", SB_INVALID},
                 {"started_after", "yesterday", SB_INVALID},
                 {"step", "", SB_INVALID},
                 {"error", "\xff", SB_INVALID},
                 {"colour", "red", SB_NOT_FOUND},
                 {"paused", "true", SB_OK},
                 {"started_before", "2026-11-20T10:00:00Z", SB_OK}};
    stage_t *stage = *state;
    sb_buf_t out = SB_BUF_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sb_saga_filter_t filter = {0};
        assert_int_equal(sb_saga_filter_set(&filter, cases[i].name, sb_slice(cases[i].value), NULL),
                         cases[i].code);
        assert_int_equal(sb_saga_filter_asks(&filter), cases[i].code == SB_OK);
    }
    sb_saga_page_t page = {.limit = 10, .filter = {.key = SB_SLICE("k")}};
    assert_int_equal(sb_saga_list(stage->pg, &page, &out, NULL), SB_INVALID);
    sb_buf_fini(&out);
}

/* A saga without trouble is written twice, and the second time no index hears of it. */
static void updates_of_sagas_without_trouble_are_hot(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 20; i++) {
        sb_uuid_t id = engine_start_saga(&engine, NULL);
        assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    }
    engine_stop(&engine);
    static const char updates[] = "SELECT n_tup_upd FROM pg_stat_user_tables WHERE relname = 'saga'";
    assert_soon(sb_test_pg_int(stage->pg, updates) == 20, 10000);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'saga'"),
        20);
}

/* ---- what operators do ---- */

static json_t *act_on_page(stage_t *stage, sb_catalog_t *catalog, const sb_saga_act_t *act,
                           sb_saga_many_t many, bool dry_run)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    assert_ok(sb_saga_act_check(act, &err), &err);
    assert_ok(sb_saga_act_many(stage->pg, catalog, act, &many, dry_run, &text, &err), &err);
    assert_ok(sb_json_parse(&tree, sb_buf_slice(&text), "the answer", &err), &err);
    sb_buf_fini(&text);
    return tree;
}

static json_t *audit(stage_t *stage, sb_audit_page_t page)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    assert_ok(sb_audit_list(stage->pg, &page, &text, &err), &err);
    assert_ok(sb_json_parse(&tree, sb_buf_slice(&text), "the record", &err), &err);
    sb_buf_fini(&text);
    return tree;
}

static json_t *act_on_many(stage_t *stage, sb_catalog_t *catalog, const sb_saga_act_t *act,
                           sb_saga_filter_t filter, bool dry_run)
{
    return act_on_page(stage, catalog, act, (sb_saga_many_t){.filter = filter, .limit = 10}, dry_run);
}

static const sb_saga_act_t pause_act = {
    .verb = SB_SAGA_IN_PAUSE, .by = {"ann", 3}, .reason = {"the bank is away", 16}};

static void an_act_on_many_is_tried_done_and_recorded(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->outcome = refuse_or_hang;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    for (int i = 0; i < 3; i++)
        (void)engine_start_type(&engine, "trip",
                                i == 0   ? "k0"
                                : i == 1 ? "k1"
                                         : "k2",
                                "{\"city\": \"refuse\"}");
    assert_soon(engine_stats(&engine).attention == 3, 10000);
    sb_catalog_t *catalog = load_catalog(stage);
    sb_saga_filter_t hanging = {.step = SB_SLICE("car")};

    json_t *answer = act_on_many(stage, catalog, &pause_act, hanging, true);
    assert_int_equal(int_at(answer, "/matched"), 3);
    assert_true(is_null_at(answer, "/act"));
    assert_true(is_null_at(answer, "/items/0/refusal"));
    json_decref(answer);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command"), 0);

    answer = act_on_many(stage, catalog, &pause_act, hanging, false);
    json_int_t act = int_at(answer, "/act");
    json_decref(answer);
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE paused") == 3, 10000);
    answer = act_on_many(stage, catalog, &pause_act, hanging, true);
    assert_string_equal(text_at(answer, "/items/2/refusal"), "it is paused already");
    json_decref(answer);

    sb_test_pg_script(stage->pg, "UPDATE sagabus.saga SET definition_hash = '\\x00' WHERE key = 'k1'");
    answer = act_on_many(stage, catalog, &pause_act, hanging, true); /* one that is stuck hides no other */
    assert_string_equal(text_at(answer, "/items/1/refusal"), "the saga cannot be driven; see the log");
    assert_string_equal(text_at(answer, "/items/2/refusal"), "it is paused already");
    json_decref(answer);

    json_t *page = audit(stage, (sb_audit_page_t){.act = act, .limit = 2});
    assert_string_equal(text_at(page, "/items/0/outcome"), "ok");
    assert_string_equal(text_at(page, "/items/0/act"), "saga.pause");
    assert_int_equal(int_at(page, "/items/0/part_of"), act);
    char cursor[64];
    (void)snprintf(cursor, sizeof cursor, "%s", text_at(page, "/next_cursor"));
    json_decref(page);
    page = audit(stage, (sb_audit_page_t){.act = act, .limit = 2, .cursor = sb_slice(cursor)});
    assert_int_equal(json_array_size(sb_json_at(page, SB_SLICE("/items"))), 2);
    assert_string_equal(text_at(page, "/items/1/who"), "ann");
    assert_string_equal(text_at(page, "/items/1/reason"), "the bank is away");
    assert_string_equal(text_at(page, "/items/1/detail/filter/step"), "car");
    assert_int_equal(int_at(page, "/items/1/detail/matched"), 3);
    assert_true(is_null_at(page, "/next_cursor"));
    json_decref(page);

    sb_buf_t out = SB_BUF_INIT;
    sb_saga_many_t nothing = {.limit = 10};
    assert_int_equal(sb_saga_act_many(stage->pg, catalog, &pause_act, &nothing, true, &out, NULL),
                     SB_INVALID);
    nothing.filter.status = SB_SAGA_COMPLETED; /* that would find none, and be told as done */
    assert_int_equal(sb_saga_act_many(stage->pg, catalog, &pause_act, &nothing, true, &out, NULL),
                     SB_INVALID);
    sb_audit_page_t bad = {.limit = 5, .cursor = SB_SLICE("1.x")};
    assert_int_equal(sb_audit_list(stage->pg, &bad, &out, NULL), SB_INVALID);
    sb_buf_fini(&out);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

/* What is acted on stays what the filter finds: without a cursor the second call would be about the first
 * ones. */
static void an_act_on_many_goes_on_where_the_call_before_ended(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    for (int i = 0; i < 5; i++)
        (void)engine_start_saga(&engine, NULL);
    sb_catalog_t *catalog = load_catalog(stage);
    char cursor[64] = "";
    for (int call = 0; call < 3; call++) {
        sb_saga_many_t many = {.filter = {.type = SB_SLICE("trip")},
                               .limit = 2,
                               .cursor = cursor[0] ? sb_slice(cursor) : SB_SLICE_NONE};
        json_t *answer = act_on_page(stage, catalog, &pause_act, many, false);
        assert_int_equal(int_at(answer, "/matched"), call < 2 ? 2 : 1);
        assert_int_equal(is_null_at(answer, "/next_cursor"), call == 2);
        if (call < 2)
            (void)snprintf(cursor, sizeof cursor, "%s", text_at(answer, "/next_cursor"));
        json_decref(answer);
    }
    assert_soon(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga WHERE paused") == 5, 10000);
    assert_int_equal(sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.saga_command"), 5);
    assert_int_equal(
        sb_test_pg_int(stage->pg, "SELECT count(*) FROM sagabus.audit WHERE detail ->> 'cursor' IS NOT NULL"),
        2);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

/* Not at the next look of its owner, which is a second away at most: ten in turn would take five. */
static void a_written_act_is_carried_out_at_once(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, "quick");
    int64_t spent_us = INT64_MAX;
    for (int round = 0; round < 5 && spent_us > 2500000; round++) { /* others may have the machine */
        int64_t begin_us = sb_mono_us();
        for (int i = 0; i < 10; i++) {
            sb_saga_act_t act = pause_act;
            int64_t command = 0;
            char sql[128];
            act.verb = i % 2 ? SB_SAGA_IN_RESUME : SB_SAGA_IN_PAUSE;
            assert_int_equal(sb_saga_act_one(stage->pg, &act, &id, &command, NULL), SB_OK);
            (void)snprintf(
                sql, sizeof sql,
                "SELECT count(*) FROM sagabus.saga_command WHERE outcome = 'ok' AND command_no = %lld",
                (long long)command);
            assert_soon(sb_test_pg_int(stage->pg, sql) == 1, 10000);
        }
        spent_us = sb_mono_us() - begin_us;
    }
    assert_true(spent_us <= 2500000);
    engine_stop(&engine);
}

/* The row of the record of an act on one saga, once it has an outcome. */
static json_t *carry_out(stage_t *stage, const sb_saga_act_t *act, const sb_uuid_t *id)
{
    int64_t command = 0;
    char sql[128];
    assert_int_equal(sb_saga_act_one(stage->pg, act, id, &command, NULL), SB_OK);
    (void)snprintf(
        sql, sizeof sql,
        "SELECT count(*) FROM sagabus.saga_command WHERE outcome IS NOT NULL AND command_no = %lld",
        (long long)command);
    assert_soon(sb_test_pg_int(stage->pg, sql) == 1, 10000);
    return audit(stage, (sb_audit_page_t){.command = command, .limit = 1});
}

static void the_record_has_what_an_act_was_given_and_what_came_of_it(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, "given");
    sb_saga_act_t act = {
        .verb = SB_SAGA_IN_SKIP, .by = SB_SLICE("ann"), .reason = SB_SLICE("r"), .step = SB_SLICE("hotle")};
    json_t *page = carry_out(stage, &act, &id);
    assert_string_equal(text_at(page, "/items/0/outcome"),
                        "invalid: the saga has no step of that name; it has: hotel, car, flight");
    assert_string_equal(text_at(page, "/items/0/detail/step"), "hotle");
    json_decref(page);
    act.step = SB_SLICE("hotel");
    act.result = SB_SLICE("{\"room\": 7}");
    page = carry_out(stage, &act, &id);
    assert_int_equal(int_at(page, "/items/0/detail/result/room"), 7);
    json_decref(page);
    page = carry_out(stage, &pause_act, &id);
    assert_string_equal(text_at(page, "/items/0/outcome"), "ok");
    assert_int_equal(json_object_size(sb_json_at(page, SB_SLICE("/items/0/detail"))), 0);
    json_decref(page);
    engine_stop(&engine);
}

static void acts_are_checked(void **state)
{
    (void)state;
    static const struct {
        sb_saga_act_t act;
        const char *pointer;
    } cases[] = {
        {{.verb = SB_SAGA_IN_CANCEL}, "/reason"},
        {{.verb = SB_SAGA_IN_SKIP, .reason = {"r", 1}}, "/step"},
        {{.verb = SB_SAGA_IN_REWIND, .reason = {"r", 1}}, "/step"},
        {{.verb = SB_SAGA_IN_RETRY, .reason = {"r", 1}, .input = {"{}", 2}}, "/step"},
        {{.verb = SB_SAGA_IN_RETRY, .reason = {"r", 1}, .pause = true}, "/pause"},
        {{.verb = SB_SAGA_IN_CANCEL, .reason = {"r", 1}, .step = {"a", 1}}, "/step"},
        {{.verb = SB_SAGA_IN_REWIND, .reason = {"r", 1}, .step = {"a", 1}, .result = {"{}", 2}}, "/result"},
        {{.verb = SB_SAGA_IN_MIGRATE, .reason = {"r", 1}}, "/version"},
        {{.verb = SB_SAGA_IN_PAUSE, .reason = {"r", 1}, .version = 2}, "/version"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sb_error_t err = SB_ERROR_INIT;
        assert_int_equal(sb_saga_act_check(&cases[i].act, &err), SB_INVALID);
        assert_string_equal(err.pointer, cases[i].pointer);
    }
}

/* The second version looks for a train first when the flight is not begun, and answers more. */
static const char trip_2[] =
    "{\"saga\": \"trip\", \"version\": 2, \"result\": {\"train\": \"$.steps/train/result/by\"}, \"steps\": ["
    "{\"name\": \"hotel\", \"participant\": \"h\", \"action\": \"do\", \"compensation\": \"undo\"},"
    "{\"name\": \"car\", \"participant\": \"c\", \"action\": \"do\", \"compensation\": \"undo\"},"
    "{\"name\": \"train\", \"participant\": \"t\", \"action\": \"do\", \"compensation\": \"undo\"},"
    "{\"name\": \"bus\", \"participant\": \"b\", \"action\": \"do\", \"compensation\": \"undo\"}]}";

static sb_code_t try_migration(stage_t *stage, sb_catalog_t *catalog, const sb_uuid_t *id, char refusal[256])
{
    sb_saga_act_t act = {
        .verb = SB_SAGA_IN_MIGRATE, .version = 2, .by = SB_SLICE("ann"), .reason = SB_SLICE("trains")};
    return sb_saga_act_try(stage->pg, catalog, &act, id, refusal, 256, NULL);
}

static void sagas_go_on_by_another_version_also_after_a_restart(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    char refusal[256];
    engine_start_deaf(stage, &engine);
    sb_uuid_t id = engine_start_saga(&engine, "moved");
    sb_uuid_t other = engine_start_saga(&engine, "restarted");
    sb_saga_verb_t verb = {.id = id,
                           .kind = SB_SAGA_IN_MIGRATE,
                           .version = 2,
                           .by = SB_SLICE("ann"),
                           .reason = SB_SLICE("trains")};
    assert_int_equal(engine_command(&engine, &verb), SB_NOT_FOUND);
    stage_register(stage, "trip", trip_2); /* while it runs */
    assert_soon(engine_command(&engine, &verb) == SB_OK, 10000);
    assert_int_equal(engine_command(&engine, &verb), SB_CONFLICT); /* it is moved already */
    verb.id = other;
    assert_int_equal(engine_command(&engine, &verb), SB_OK);
    sb_catalog_t *catalog = load_catalog(stage);
    assert_int_equal(try_migration(stage, catalog, &other, refusal), SB_OK);
    assert_string_equal(refusal, "it has this definition already");
    sb_saga_act_t skip = {.verb = SB_SAGA_IN_SKIP, .step = SB_SLICE("trian"), .reason = SB_SLICE("trains")};
    assert_int_equal(sb_saga_act_try(stage->pg, catalog, &skip, &other, refusal, sizeof refusal, NULL),
                     SB_OK);
    assert_string_equal(refusal, "the saga has no step of that name; it has: hotel, car, train, bus");
    engine_stop(&engine);
    stage->play->deaf = false;
    engine_start(stage, &engine, "two");
    assert_int_equal(engine_await_end(&engine, &id), SB_SAGA_COMPLETED);
    assert_int_equal(engine_await_end(&engine, &other), SB_SAGA_COMPLETED);
    json_t *saga = show(stage, catalog, &id, true);
    assert_int_equal(int_at(saga, "/definition/version"), 2);
    assert_string_equal(text_at(saga, "/steps/3/status"), "completed");
    assert_string_equal(text_at(saga, "/result/train"), "train");
    json_decref(saga);
    sb_catalog_free(&catalog);
    engine_stop(&engine);
}

static bool plan_has(stage_t *stage, const char *sql, const char *arguments, const char *index)
{
    sb_buf_t text = SB_BUF_INIT;
    char plan[8192] = "";
    sb_buf_printf(
        &text,
        "CREATE OR REPLACE FUNCTION public.plan() RETURNS text LANGUAGE plpgsql AS $$ DECLARE line "
        "text; lines text := ''; BEGIN FOR line IN EXECUTE 'EXPLAIN EXECUTE s (%s)' LOOP lines := "
        "lines || line || chr(10); END LOOP; RETURN lines; END $$; DEALLOCATE ALL; SET plan_cache_mode "
        "= force_custom_plan; PREPARE s AS %s",
        arguments, sql);
    sb_pg_t *pg = sb_test_pg_open(stage->uri);
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    sb_test_pg_script(pg, sb_buf_text(&text));
    assert_ok(sb_pg_query(pg, "SELECT public.plan()", NULL, &rows, &err), &err);
    (void)snprintf(plan, sizeof plan, "%s", sb_pg_get_text(rows, 0, 0));
    sb_pg_result_free(rows);
    sb_pg_close(&pg);
    sb_buf_fini(&text);
    if (strstr(plan, index) && !strstr(plan, "Seq Scan on saga"))
        return true;
    print_message("%s\n", plan);
    return false;
}

/* Among many sagas, of which few met trouble or are open. */
static void searches_read_what_they_ask_for(void **state)
{
    stage_t *stage = *state;
    sb_test_pg_script(
        stage->pg,
        "INSERT INTO sagabus.saga (no, id, started_at, ended_at, type, key, definition_hash, request_hash, "
        "version, shard, status, step, participant, error, fingerprint, input) "
        "SELECT n, gen_random_uuid(), now() - n * interval '1 second', CASE WHEN n < 9990 THEN now() END, "
        "'trip', "
        "'k' || n, '', '', 5, 0, 2, CASE WHEN n % 200 = 0 THEN 'car' END, CASE WHEN n % 200 = 0 THEN 'c' "
        "END, "
        "CASE WHEN n % 200 = 0 THEN 'no ' || n END, CASE WHEN n % 200 = 0 THEN n % 400 + 1 END, '{}' "
        "FROM generate_series(1, 10000) n; INSERT INTO sagabus.lease (role, low) VALUES ('saga:0', 9990); "
        "ANALYZE sagabus.saga; ANALYZE sagabus.lease");
#define ARGUMENTS(key, step, participant, print, error)                                                      \
    "NULL, 0::smallint, false, NULL, NULL, 51, " key ", " step ", " participant ", " print ", " error        \
    ", false, NULL, NULL"
    static const struct {
        const char *arguments, *index;
    } cases[] = {
        {ARGUMENTS("NULL", "NULL", "NULL", "0", "NULL"), "saga_started"},
        {ARGUMENTS("NULL", "''car''", "NULL", "0", "NULL"), "saga_trouble"},
        {ARGUMENTS("NULL", "NULL", "''c''", "0", "NULL"), "saga_trouble"},
        {ARGUMENTS("NULL", "NULL", "NULL", "0", "''No 4''"), "saga_trouble"},
        {ARGUMENTS("NULL", "NULL", "NULL", "201", "NULL"), "saga_fingerprint"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_true(plan_has(stage, sb_sql_saga_page_newest, cases[i].arguments, cases[i].index));
        assert_true(plan_has(stage, sb_sql_saga_page_oldest, cases[i].arguments, cases[i].index));
    }
    char open[256];
    (void)snprintf(open, sizeof open, "%s, false", cases[0].arguments);
    assert_true(plan_has(stage, sb_sql_saga_page_open, open, "saga_pkey"));
}

static void foreign_cursors_are_refused(void **state)
{
    stage_t *stage = *state;
    sb_buf_t out = SB_BUF_INIT;
    sb_saga_page_t page = {.limit = 10};
    static const char *const bad[] = {"", "x", "AAAAAAAAAAAAAAAAAAAAAAA", "bgAAAAAAAAAAAAAAAAAAAA!",
                                      "bgAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        page.cursor = sb_slice(bad[i]);
        assert_int_equal(sb_saga_list(stage->pg, &page, &out, NULL), SB_INVALID);
    }
    page = (sb_saga_page_t){.limit = 501};
    assert_int_equal(sb_saga_list(stage->pg, &page, &out, NULL), SB_INVALID);
    sb_buf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_failed_saga_tells_its_whole_story, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(an_open_saga_says_what_it_waits_for, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(an_unknown_step_and_what_contradicts_it_are_shown, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(who_held_turned_or_closed_a_saga_is_told, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_open_saga_is_explained, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_not_found, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(pages_follow_one_another_without_gap_or_repeat, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(troubles_are_found_by_step_participant_error_and_time, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(filters_are_checked, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(updates_of_sagas_without_trouble_are_hot, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(searches_read_what_they_ask_for, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(an_act_on_many_is_tried_done_and_recorded, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(an_act_on_many_goes_on_where_the_call_before_ended, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(a_written_act_is_carried_out_at_once, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(the_record_has_what_an_act_was_given_and_what_came_of_it,
                                        stage_set_up, stage_tear_down),
        cmocka_unit_test(acts_are_checked),
        cmocka_unit_test_setup_teardown(sagas_go_on_by_another_version_also_after_a_restart, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(foreign_cursors_are_refused, stage_set_up, stage_tear_down),
    };
    sb_log_set_level(SB_LOG_OFF);
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
