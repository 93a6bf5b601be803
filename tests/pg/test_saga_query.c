/* What the API and the CLI read about sagas: one with its story, one by its key, pages of many.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "saga/query/query.h"
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
    stage->play->deaf = true;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
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

static json_t *explain(stage_t *stage, sb_catalog_t *catalog, const sb_uuid_t *id)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    json_t *tree = NULL;
    assert_ok(sb_saga_explain(stage->pg, catalog, id, sb_wall_us(), &text, &err), &err);
    assert_ok(sb_json_parse(&tree, sb_buf_slice(&text), "the explanation", &err), &err);
    sb_buf_fini(&text);
    return tree;
}

static void an_open_saga_is_explained(void **state)
{
    stage_t *stage = *state;
    engine_t engine;
    stage->play->deaf = true;
    stage->play->outcome = play_all_well;
    engine_start(stage, &engine, "one");
    engine_await_shard(&engine);
    sb_uuid_t id = engine_start_saga(&engine, "why");
    sb_catalog_t *catalog = load_catalog(stage);
    json_t *saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/waits_for/0/what"), "answer");
    assert_string_equal(text_at(saga, "/waits_for/0/command"), "h.do");
    assert_int_equal(int_at(saga, "/waits_for/0/attempt"), 1);
    assert_true(strlen(text_at(saga, "/waits_for/0/since")) > 20);
    assert_true(is_null_at(saga, "/last_error"));
    assert_string_equal(text_at(saga, "/if_all_goes_well/ends"), "completed");
    assert_int_equal(json_array_size(sb_json_at(saga, SB_SLICE("/if_all_goes_well/commands"))), 3);
    assert_string_equal(text_at(saga, "/if_it_failed_now/ends"), "compensated");
    assert_string_equal(text_at(saga, "/acts/0"), "cancel");
    json_decref(saga);

    assert_int_equal(engine_act(&engine, &id, SB_SAGA_IN_PAUSE, NULL, NULL), SB_OK);
    saga = explain(stage, catalog, &id);
    assert_string_equal(text_at(saga, "/waits_for/0/what"), "resume");
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
    (void)walk(stage, (sb_saga_page_t){.limit = 1, .status = SB_SAGA_COMPENSATED}, &keys);
    assert_string_equal(sb_buf_text(&keys), "k4,k1,");
    (void)walk(stage, (sb_saga_page_t){.limit = 5, .attention_only = true}, &keys);
    assert_string_equal(sb_buf_text(&keys), "");
    (void)walk(stage, (sb_saga_page_t){.limit = 5, .type = SB_SLICE("other")}, &keys);
    assert_string_equal(sb_buf_text(&keys), "");
    assert_ok(sb_saga_find(stage->pg, SB_SLICE("trip"), SB_SLICE("k6"), &found, &err), &err);
    assert_true(sb_uuid_equal(&found, &id));
    sb_buf_fini(&keys);
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
        cmocka_unit_test_setup_teardown(an_open_saga_is_explained, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_there_is_not_found, stage_set_up, stage_tear_down),
        cmocka_unit_test_setup_teardown(pages_follow_one_another_without_gap_or_repeat, stage_set_up,
                                        stage_tear_down),
        cmocka_unit_test_setup_teardown(foreign_cursors_are_refused, stage_set_up, stage_tear_down),
    };
    sb_log_set_level(SB_LOG_OFF);
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
