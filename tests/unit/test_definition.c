/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/child_key.h"
#include "saga/definition.h"
#include "saga/migrate.h"
#include "saga/result.h"
#include "tests/support/assert.h"
#include "tests/support/oom.h"

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, sb_slice(text), "text", &err), &err);
    return value;
}

static sb_definition_t *compile(const char *text)
{
    sb_definition_t *out = NULL;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_ok(sb_definition_compile(&out, body, &err), &err);
    json_decref(body);
    return out;
}

static void assert_refused(const char *text, const char *pointer, const char *part)
{
    sb_definition_t *out = (sb_definition_t *)1;
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_code(SB_INVALID, sb_definition_compile(&out, body, &err), &err);
    assert_null(out);
    assert_contains(err.message, part);
    assert_string_equal(err.pointer, pointer);
    assert_int_equal(sb_definition_compile(&out, body, NULL), SB_INVALID);
    json_decref(body);
}

/* Steps a, b, … with what is given of each, in a definition that is right otherwise. */
#define SAGA(steps) "{\"saga\":\"s\",\"version\":1,\"steps\":[" steps "]}"
#define STEP(name, more)                                                                                     \
    "{\"name\":\"" name "\",\"participant\":\"p\",\"action\":\"do\",\"compensation\":\"undo\"" more "}"
#define STEP_PLAIN(name, more) "{\"name\":\"" name "\",\"participant\":\"p\",\"action\":\"do\"" more "}"

static void the_order_saga_compiles(void **state)
{
    (void)state;
    json_t *body = NULL;
    sb_definition_t *order = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_read_file(&body, SB_TEST_ORDER, NULL, &err), &err);
    assert_ok(sb_definition_check(body, NULL, &err), &err);
    assert_ok(sb_definition_compile(&order, body, &err), &err);
    json_decref(body);
    assert_string_equal(order->name, "order");
    assert_int_equal(order->deadline_ms, 600000);
    assert_int_equal(order->step_count, 5);
    assert_true(order->step[0].no_effect);
    assert_null(order->step[0].compensation);
    assert_string_equal(order->step[1].compensation, "release");
    assert_int_equal(order->step[2].timeout_ms, 15000);
    assert_int_equal(order->step[2].retry.delay_max_ms, 10000);
    assert_int_equal(order->step[2].undo_retry.attempts_max, 0);
    assert_int_equal(sb_definition_step(order, SB_SLICE("create_order")), 3);
    assert_int_equal(sb_definition_step(order, SB_SLICE("create")), -1);
    assert_ok(sb_definition_accepts(order,
                                    SB_SLICE("{\"order_id\":\"o\",\"customer_id\":\"c\",\"amount\":5,"
                                             "\"currency\":\"EUR\",\"items\":[]}"),
                                    &err),
              &err);
    assert_code(SB_INVALID,
                sb_definition_accepts(order, SB_SLICE("{\"order_id\":\"o\",\"customer_id\":\"c\"}"), &err),
                &err);
    assert_string_equal(err.pointer, "/amount");
    assert_code(SB_INVALID, sb_definition_accepts(order, SB_SLICE("[1]"), &err), &err);
    sb_definition_free(&order);
    assert_null(order);
}

static void has_defaults(void **state)
{
    (void)state;
    sb_definition_t *d = compile(SAGA(STEP("a", "")));
    assert_int_equal(d->deadline_ms, 0);
    assert_int_equal(d->step[0].timeout_ms, 10000);
    assert_int_equal(d->step[0].group, -1);
    assert_int_equal(d->step[0].retry.attempts_max, 5);
    assert_true(d->step[0].undo_retry.delay_max_ms > 0);
    sb_definition_free(&d);
}

#define STEP_SAGA(more) "{\"name\":\"x\",\"saga\":\"other\"" more "}"

static void a_step_may_be_a_saga(void **state)
{
    (void)state;
    sb_definition_t *d =
        compile(SAGA(STEP_SAGA(",\"input\":{\"a\":\"$.input/a\"},\"when\":{\"pointer\":\"$.input/a\","
                               "\"operator\":\"exists\"}")));
    assert_string_equal(d->step[0].child, "other");
    assert_string_equal(d->step[0].participant, SB_CHILD_PARTICIPANT);
    assert_string_equal(d->step[0].compensation, SB_CHILD_UNDO); /* nothing need be said of it */
    sb_definition_free(&d);
    d = compile(SAGA(STEP_SAGA(",\"pivot\":true") ",{\"name\":\"y\",\"saga\":\"third\"}"));
    assert_null(d->step[0].compensation);
    assert_null(d->step[1].compensation);
    sb_definition_free(&d);
    static const char *const others[] = {
        ",\"participant\":\"p\"", ",\"action\":\"a\"",   ",\"compensation\":\"c\"",
        ",\"no_effect\":true",    ",\"timeout\":\"1s\"", ",\"undo_input\":{}",
        ",\"retry\":{}",          ",\"undo_retry\":{}",  ",\"fallback\":{}"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        char text[200], pointer[40] = "/steps/0/";
        (void)snprintf(text, sizeof text,
                       "{\"saga\":\"s\",\"version\":1,\"steps\":[{\"name\":\"x\",\"saga\":\"other\"%s}]}",
                       others[i]);
        strncat(pointer, others[i] + 2, strcspn(others[i] + 2, "\""));
        assert_refused(text, pointer, "a step that is a saga has no ");
    }
    assert_refused(SAGA("{\"name\":\"x\",\"saga\":\"A b\"}"), "/steps/0/saga", "must begin with a-z");
}

static void the_key_of_a_child_names_its_parent(void **state)
{
    (void)state;
    static const char *const others[] = {"",
                                         "saga:",
                                         "order-1",
                                         "saga:0190a1b2-0000-8000-8000-000000000001",
                                         "saga:0190a1b2-0000-8000-8000-000000000001/",
                                         "saga:0190a1b2-0000-8000-8000-000000000001/pay",
                                         "saga:0190a1b2-0000-8000-8000-000000000001/pay/",
                                         "saga:0190a1b2-0000-8000-8000-000000000001/pay/70000",
                                         "saga:0190a1b2-0000-8000-8000-000000000001//1",
                                         "saga:0190a1b2-0000-8000-8000-00000000000x/pay/1"};
    char key[SB_CHILD_KEY_MAX];
    sb_uuid_t id = sb_uuid_v7(), back;
    sb_slice_t step;
    uint16_t round;
    char name[SB_STEP_NAME_MAX + 1];
    memset(name, 'n', SB_STEP_NAME_MAX);
    name[SB_STEP_NAME_MAX] = '\0';
    assert_true(
        sb_child_key_read(sb_slice(sb_child_key_write(&id, name, UINT16_MAX, key)), &back, &step, &round));
    assert_true(sb_uuid_equal(&id, &back));
    assert_true(sb_slice_is(step, name));
    assert_int_equal(round, UINT16_MAX);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(sb_child_key_read(sb_slice(others[i]), &back, &step, &round));
}

static void refuses_what_it_does_not_know(void **state)
{
    (void)state;
    assert_refused("{\"saga\":\"s\",\"version\":1,\"step\":[]}", "/step", "did you mean steps?");
    assert_refused(SAGA(STEP("a", ",\"timeuot\":\"1s\"")), "/steps/0/timeuot", "did you mean timeout?");
    assert_refused(SAGA(STEP("a", ",\"colour\":\"red\"")), "/steps/0/colour", "no member colour");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"atempts\":3}")), "/steps/0/retry/atempts",
                   "did you mean attempts?");
}

static void refuses_wrong_values(void **state)
{
    (void)state;
    assert_refused("[]", "", "must be an object");
    assert_refused("{\"version\":1,\"steps\":[]}", "", "saga is missing");
    assert_refused("{\"saga\":\"S p\",\"version\":1,\"steps\":[]}", "/saga", "must begin with a-z");
    assert_refused("{\"saga\":\"s\",\"steps\":[]}", "", "version is missing");
    assert_refused("{\"saga\":\"s\",\"version\":0,\"steps\":[]}", "/version", "from 1");
    assert_refused("{\"saga\":\"s\",\"version\":1}", "", "steps are missing");
    assert_refused(SAGA(""), "/steps", "1 to 32");
    assert_refused(SAGA("3"), "/steps/0", "must be an object");
    assert_refused(SAGA("{\"name\":\"a\"}"), "/steps/0", "participant is missing");
    assert_refused(SAGA(STEP("a", "") "," STEP("a", "")), "/steps/1/name", "step 1 is called a too");
    assert_refused(SAGA(STEP("a", ",\"timeout\":\"10 s\"")), "/steps/0/timeout", "must be a time");
    assert_refused(SAGA(STEP("a", ",\"timeout\":\"-1s\"")), "/steps/0/timeout", "must be a time");
    assert_refused(SAGA(STEP("a", ",\"timeout\":0")), "/steps/0/timeout", "must be a time");
    assert_refused(SAGA(STEP("a", ",\"timeout\":\"31d\"")), "/steps/0/timeout", "30d");
    assert_refused(SAGA(STEP("a", ",\"timeout\":\"99999999999999999999h\"")), "/steps/0/timeout", "30d");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"shape\":\"cubic\"}")), "/steps/0/retry/shape", "linear");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"attempts\":0}")), "/steps/0/retry/attempts", "from 1");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"delay\":\"2s\",\"max\":\"1s\"}")), "/steps/0/retry/max",
                   "shorter");
    assert_refused(SAGA(STEP("a", ",\"undo_retry\":{\"attempts\":3}")), "/steps/0/undo_retry/attempts",
                   "not counted");
    assert_refused(SAGA(STEP("a", ",\"input\":\"$.input\"")), "/steps/0/input", "must be an object");
    assert_refused(SAGA(STEP("a", ",\"pivot\":1")), "/steps/0/pivot", "true or false");
}

static void classes_of_errors_have_policies_of_their_own(void **state)
{
    (void)state;
    sb_definition_t *d = compile(SAGA(
        STEP("a", ",\"retry\":{\"attempts\":4,\"delay\":\"1s\",\"max\":\"2s\",\"by_class\":{\"external\":"
                  "{\"attempts\":9,\"shape\":\"linear\"},\"business\":{\"delay\":\"3s\"}}}"
                  ",\"undo_retry\":{\"by_class\":{\"infrastructure\":{\"delay\":\"5s\"}}}")));
    const sb_step_definition_t *a = &d->step[0];
    assert_int_equal(sb_definition_retry(a, false, SB_CLASS_NONE).attempts_max, 4);
    assert_int_equal(sb_definition_retry(a, false, SB_CLASS_INFRASTRUCTURE).attempts_max, 4);
    assert_int_equal(sb_definition_retry(a, false, SB_CLASS_VALIDATION).attempts_max, 1);
    sb_retry_policy_t policy = sb_definition_retry(a, false, SB_CLASS_EXTERNAL);
    assert_int_equal(policy.attempts_max, 9);
    assert_int_equal(policy.shape, SB_RETRY_LINEAR);
    assert_int_equal(policy.delay_ms, 1000);
    policy = sb_definition_retry(a, false, SB_CLASS_BUSINESS);
    assert_int_equal(policy.attempts_max, 4);
    assert_int_equal(policy.delay_max_ms, 3000);
    assert_int_equal(sb_definition_retry(a, true, SB_CLASS_INFRASTRUCTURE).delay_ms, 5000);
    assert_int_equal(sb_definition_retry(a, true, SB_CLASS_VALIDATION).attempts_max, 0);
    sb_definition_free(&d);
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"by_class\":{\"extern\":{}}}")),
                   "/steps/0/retry/by_class/extern", "did you mean external?");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"by_class\":{\"external\":{\"attempts\":0}}}")),
                   "/steps/0/retry/by_class/external/attempts", "from 1");
    assert_refused(SAGA(STEP("a", ",\"retry\":{\"by_class\":3}")), "/steps/0/retry/by_class", "an object");
    assert_refused(SAGA(STEP("a", ",\"undo_retry\":{\"by_class\":{\"external\":{\"attempts\":2}}}")),
                   "/steps/0/undo_retry/by_class/external/attempts", "not counted");
}

static void fallbacks_and_results_are_templates(void **state)
{
    (void)state;
    sb_buf_t out = SB_BUF_INIT;
    const sb_slice_t results[2] = {SB_SLICE("{\"r\":[1]}"), SB_SLICE_NONE};
    sb_definition_t *d = compile("{\"saga\":\"s\",\"version\":1,\"steps\":[" STEP("a", "") "," STEP(
        "b", ",\"fallback\":{\"from\":\"$.steps/a/result/r\",\"none\":\"$.input/"
             "none\"}") "],"
                        "\"result\":{\"a\":\"$.steps/a/result\",\"b\":\"$.steps/b/"
                        "result/x\",\"i\":\"$.input/i\"}}");
    assert_int_equal(sb_definition_fallback(d, 1, SB_SLICE("{}"), results, &out, NULL), SB_OK);
    assert_string_equal(sb_buf_text(&out), "{\"from\":[1],\"none\":null}");
    sb_saga_state_t done = {.status = SB_SAGA_COMPLETED};
    sb_slice_t result = sb_saga_result(d, &done, SB_SLICE("{\"i\":7}"), results, &out);
    assert_int_equal(result.len, strlen("{\"a\":{\"r\":[1]},\"b\":null,\"i\":7}"));
    assert_string_equal(sb_buf_text(&out), "{\"a\":{\"r\":[1]},\"b\":null,\"i\":7}");
    done.status = SB_SAGA_COMPENSATED;
    assert_null(sb_saga_result(d, &done, SB_SLICE("{}"), results, &out).ptr);
    sb_definition_free(&d);
    d = compile(SAGA(STEP("a", "") "," STEP("b", ""))); /* without one it is the last there is */
    done = (sb_saga_state_t){.status = SB_SAGA_COMPLETED};
    done.step[0].status = done.step[1].status = SB_STEP_COMPLETED;
    assert_true(sb_saga_result(d, &done, SB_SLICE("{}"), results, &out).ptr == results[0].ptr);
    sb_definition_free(&d);
    sb_buf_fini(&out);
    assert_refused(SAGA(STEP("a", ",\"fallback\":{\"x\":\"$.steps/a/result\"}")), "/steps/0/fallback/x",
                   "no result yet");
    assert_refused(SAGA(STEP("a", ",\"fallback\":1")), "/steps/0/fallback", "must be an object");
    assert_refused(SAGA(STEP_PLAIN("a", ",\"pivot\":true,\"fallback\":{}")), "/steps/0/fallback",
                   "nothing stands in");
    assert_refused("{\"saga\":\"s\",\"version\":1,\"steps\":[" STEP("a", "") "],\"result\":{\"x\":"
                                                                             "\"$.steps/c/result\"}}",
                   "/result/x", "no step c");
}

#define SAGA_2(steps) "{\"saga\":\"s\",\"version\":2,\"steps\":[" steps "]}"
#define CITY          "{\"city\":\"Oslo\"}"

/* Whether a saga whose first steps have begun may go from one definition to the other; "": it may. */
static void assert_migrates(const char *from_text, const char *to_text, int begun, const char *want)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_saga_state_t state;
    sb_definition_t *from = compile(from_text), *to = compile(to_text);
    sb_saga_state_init(&state);
    state.status = SB_SAGA_STARTED;
    for (int i = 0; i < begun; i++)
        state.step[i] =
            (sb_step_state_t){.status = i + 1 < begun ? SB_STEP_COMPLETED : SB_STEP_DISPATCHED, .round = 1};
    sb_code_t code = sb_saga_may_migrate(from, to, &state, SB_SLICE(CITY), &err);
    assert_int_equal(code, want[0] ? SB_CONFLICT : SB_OK);
    if (want[0])
        assert_contains(err.message, want);
    sb_definition_free(&from);
    sb_definition_free(&to);
}

/* A reply to a step that never went out is in the events, by the step's name: the fold must find it. */
static void a_step_that_an_anomaly_names_stays_where_it_is(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_saga_state_t saga;
    sb_definition_t *from = compile(SAGA(STEP("a", "") "," STEP("b", "")));
    sb_definition_t *to = compile(SAGA_2(STEP("a", "") "," STEP("x", "")));
    sb_saga_state_init(&saga);
    saga.status = SB_SAGA_STARTED;
    saga.step[0] = (sb_step_state_t){.status = SB_STEP_DISPATCHED, .round = 1};
    assert_int_equal(sb_saga_may_migrate(from, to, &saga, SB_SLICE(CITY), &err), SB_OK);
    saga.step[1].anomaly = true;
    assert_int_equal(sb_saga_may_migrate(from, to, &saga, SB_SLICE(CITY), &err), SB_CONFLICT);
    assert_contains(err.message, "its name is another in version 2");
    sb_definition_free(&from);
    sb_definition_free(&to);
}

static void sagas_migrate_where_the_executed_prefix_is_equal(void **state)
{
    (void)state;
    static const char ab[] = SAGA(STEP("a", "") "," STEP("b", ""));
    assert_migrates(ab, SAGA_2(STEP("a", "") "," STEP("x", "") "," STEP("b", "")), 1, "");
    assert_migrates(ab, SAGA_2(STEP("a", ",\"timeout\":\"9s\",\"input\":{}") "," STEP("b", "")), 2, "");
    assert_migrates(ab, SAGA_2(STEP("a", "")), 1, "");
    assert_migrates(ab, ab, 1, "has this definition already");
    assert_migrates(ab, SAGA_2(STEP("a", "") "," STEP("x", "") "," STEP("b", "")), 2,
                    "step b has begun, and its name is another in version 2");
    assert_migrates(ab, SAGA_2(STEP("a", "")), 2, "step b has begun, and its place is another");
    assert_migrates(ab,
                    SAGA_2("{\"name\":\"a\",\"participant\":\"q\",\"action\":\"do\",\"compensation\":"
                           "\"undo\"}"),
                    1, "its participant");
    assert_migrates(ab, SAGA_2("{\"name\":\"a\",\"participant\":\"p\",\"action\":\"do\",\"no_effect\":true}"),
                    1, "its compensation");
    assert_migrates(ab, SAGA_2(STEP("a", ",\"pivot\":true")), 1, "its pivot");
    assert_migrates(ab, SAGA_2(STEP("a", ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"exists\"}")), 1,
                    "its condition");
    assert_migrates(ab, SAGA_2(STEP("a", ",\"parallel\":\"g\"") "," STEP("b", ",\"parallel\":\"g\"")), 1,
                    "its parallel group");
    assert_migrates(SAGA(STEP("a", ",\"parallel\":\"g\"")),
                    SAGA_2(STEP("a", ",\"parallel\":\"g\"") "," STEP("b", ",\"parallel\":\"g\"")), 1,
                    "step b joins a group that has begun");
    assert_migrates(ab, "{\"saga\":\"t\",\"version\":1,\"steps\":[" STEP("a", "") "]}", 0, "another saga");
}

/* What would be missing is said when it is asked for, not by a step that fails days later. */
static void a_saga_migrates_only_with_the_input_that_is_wanted(void **state)
{
    (void)state;
    static const char ab[] = SAGA(STEP("a", "") "," STEP("b", ""));
    static const char city[] = SAGA_2(STEP("a", "") "," STEP("b", ",\"input\":{\"to\":\"$.input/city\"}"));
    static const char late[] = SAGA_2(STEP("a", "") "," STEP("b", ",\"input\":{\"on\":\"$.input/day\"}"));
    static const char early[] = SAGA_2(STEP("a", ",\"input\":{\"on\":\"$.input/day\"}") "," STEP("b", ""));
    static const char maybe[] =
        SAGA_2(STEP("a", "") "," STEP("b", ",\"input\":{\"on\":\"$.input/day\"},\"when\":{\"pointer\":"
                                           "\"$.input/day\",\"operator\":\"exists\"}"));
    assert_migrates(ab, city, 1, "");
    assert_migrates(ab, late, 1, "step b of version 2: the saga's input must have a value at /day");
    assert_migrates(ab, late, 2, "must have a value at /day"); /* it may have to be sent again */
    assert_migrates(ab, early, 1, "step a of version 2");
    assert_migrates(ab, early, 2, ""); /* done */
    assert_migrates(ab, maybe, 1, "");
}

static void what_may_have_to_be_undone_can_be(void **state)
{
    (void)state;
    assert_refused(SAGA(STEP_PLAIN("a", "") "," STEP("b", "")), "/steps/0", "cannot be undone");
    assert_refused(SAGA(STEP("a", "") "," STEP_PLAIN("b", "")), "/steps/1", "cannot be undone");
    assert_refused(SAGA(STEP("a", ",\"no_effect\":true")), "/steps/0/no_effect", "has an effect");
    assert_refused(SAGA(STEP_PLAIN("a", ",\"no_effect\":true,\"undo_input\":{}")), "/steps/0/undo_input",
                   "no compensation");
    sb_definition_t *d = compile(SAGA(STEP_PLAIN("a", ",\"no_effect\":true") "," STEP("b", "") "," STEP_PLAIN(
        "c", ",\"pivot\":true") "," STEP_PLAIN("d", "")));
    assert_true(d->step[2].pivot);
    assert_false(d->step[2].forward_only);
    assert_true(d->step[3].forward_only);
    sb_definition_free(&d);
}

static void a_pivot_is_one_and_alone(void **state)
{
    (void)state;
    assert_refused(SAGA(STEP("a", ",\"pivot\":true") "," STEP("b", ",\"pivot\":true")), "/steps/1/pivot",
                   "already");
    assert_refused(SAGA(STEP("a", ",\"pivot\":true,\"parallel\":\"g\"")), "/steps/0/pivot", "group");
    assert_refused(SAGA(STEP("a", ",\"forward_only\":true")), "/steps/0/forward_only", "after the pivot");
    assert_refused(SAGA(STEP("a", ",\"pivot\":true,\"retry\":{\"attempts\":2}")), "/steps/0/retry/attempts",
                   "not counted");
}

static void groups_are_neighbours(void **state)
{
    (void)state;
    sb_definition_t *d = compile(SAGA(STEP("a", "") "," STEP("b", ",\"parallel\":\"g\"") "," STEP(
        "c", ",\"parallel\":\"g\"") "," STEP("d", ",\"parallel\":\"h\"")));
    assert_int_equal(d->step[0].group, -1);
    assert_int_equal(d->step[1].group, 1);
    assert_int_equal(d->step[2].group, 1);
    assert_int_equal(d->step[3].group, 3);
    sb_definition_free(&d);
    assert_refused(
        SAGA(STEP("a", ",\"parallel\":\"g\"") "," STEP("b", "") "," STEP("c", ",\"parallel\":\"g\"")),
        "/steps/2/parallel", "follow one another");
}

#define INPUT(text) ",\"input\":{\"x\":{\"y\":[1,\"" text "\"]}}"

static void references_lead_to_what_is_known(void **state)
{
    (void)state;
    assert_refused(SAGA(STEP("a", INPUT("$.inptu/x"))), "/steps/0/input/x/y/1", "leads nowhere");
    assert_refused(SAGA(STEP("a", INPUT("$.input/~2"))), "/steps/0/input/x/y/1", "leads nowhere");
    assert_refused(SAGA(STEP("a", INPUT("$.inputs"))), "/steps/0/input/x/y/1", "leads nowhere");
    assert_refused(SAGA(STEP("a", INPUT("$.steps/a/result/id"))), "/steps/0/input/x/y/1", "not come before");
    assert_refused(SAGA(STEP("a", INPUT("$.steps/b/result/id")) "," STEP("b", "")), "/steps/0/input/x/y/1",
                   "not come before");
    assert_refused(SAGA(STEP("first", "") "," STEP("b", INPUT("$.steps/frist/result"))),
                   "/steps/1/input/x/y/1", "did you mean first?");
    assert_refused(SAGA(STEP("a", "") "," STEP("b", INPUT("$.steps/a/error"))), "/steps/1/input/x/y/1",
                   "only a step's result");
    assert_refused(
        SAGA(STEP("a", ",\"parallel\":\"g\"") "," STEP("b", ",\"parallel\":\"g\"" INPUT("$.steps/a/result"))),
        "/steps/1/input/x/y/1", "not come before");
    assert_refused(SAGA(STEP("a", ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"exists\"}") "," STEP(
                       "b", INPUT("$.steps/a/result"))),
                   "/steps/1/input/x/y/1", "may be skipped");
    sb_definition_t *d = compile(SAGA(STEP(
        "a", ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"exists\"}"
             ",\"undo_input\":{\"id\":\"$.steps/a/result/id\"}") "," STEP("b", INPUT("$?.steps/a/result"))));
    sb_definition_free(&d);
}

static void assert_no_reference(const char *text, const char *pointer, const char *part)
{
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = parse(text);
    assert_code(SB_INVALID, sb_definition_check(body, NULL, &err), &err);
    assert_string_equal(err.pointer, pointer);
    assert_contains(err.message, part);
    sb_definition_t *d = NULL; /* one that is registered goes on */
    assert_ok(sb_definition_compile(&d, body, &err), &err);
    sb_definition_free(&d);
    json_decref(body);
}

static void what_only_looks_like_a_reference_is_refused(void **state)
{
    (void)state;
    static const char at[] = "/steps/0/input/x/y/1";
    assert_no_reference(SAGA(STEP("a", INPUT("$input/x"))), at, "$input/x is no reference: write $.input/…");
    assert_no_reference(SAGA(STEP("a", INPUT("$input"))), at, "or $$ for a plain $");
    assert_no_reference(SAGA(STEP("a", INPUT("$?input.x"))), at, "is no reference");
    assert_no_reference(SAGA(STEP("a", INPUT("$/input/x"))), at, "is no reference");
    assert_no_reference(SAGA(STEP("a", INPUT("${input.x}"))), at, "is no reference");
    assert_no_reference(SAGA(STEP("a", INPUT("$steps/b/result/x"))), at, "is no reference");
    assert_no_reference(SAGA(STEP("a", INPUT("order $.input/x"))), at, "a reference is a whole text");
    assert_no_reference(SAGA(STEP("a", INPUT(" $?.steps/a/result"))), at, "a reference is a whole text");
    assert_no_reference(SAGA(STEP("a", ",\"undo_input\":{\"x\":\"$input/x\"}")), "/steps/0/undo_input/x",
                        "is no reference");
    assert_no_reference(SAGA(STEP("a", "") "," STEP("b", ",\"fallback\":{\"x\":\"$input/x\"}")),
                        "/steps/1/fallback/x", "is no reference");
    assert_no_reference(
        "{\"saga\":\"s\",\"version\":1,\"result\":{\"x\":\"$input/x\"},\"steps\":[" STEP("a", "") "]}",
        "/result/x", "is no reference");
    assert_no_reference(SAGA(STEP("a", ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"==\",\"value\":"
                                       "\"$.input/y\"}")),
                        "/steps/0/when/value", "$.input/y is compared as it stands");
    assert_no_reference(SAGA(STEP("a", ",\"when\":{\"pointer\":\"$.input/x\",\"operator\":\"in\",\"value\":"
                                       "[1,\"$input/y\"]}")),
                        "/steps/0/when/value", "is compared as it stands");
}

static void a_text_with_a_dollar_may_stay_a_text(void **state)
{
    (void)state;
    static const char *const plain[] = {"$",        "$5",    "$$",          "$$input/x", "$$.input/x", "5 $",
                                        "$inputs5", "$USD.", "input/order", "a$.b",      "${name}",    ""};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        sb_error_t err = SB_ERROR_INIT;
        sb_buf_t text = SB_BUF_INIT;
        sb_buf_printf(&text, SAGA(STEP("a", INPUT("%s"))), plain[i]);
        json_t *body = parse(sb_buf_text(&text));
        assert_ok(sb_definition_check(body, NULL, &err), &err);
        json_decref(body);
        sb_buf_fini(&text);
    }
}

static sb_code_t render(const sb_definition_t *d, int step, bool undo, const char *input, const char *first,
                        const char *want)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_slice_t results[SB_STEPS_MAX] = {sb_slice(first)};
    sb_code_t code = sb_definition_render(d, step, undo, sb_slice(input), results, &out, &err);
    if (code == SB_OK)
        assert_string_equal(sb_buf_text(&out), want);
    else
        assert_contains(err.message, want);
    sb_buf_fini(&out);
    return code;
}

static void renders_templates(void **state)
{
    (void)state;
    sb_definition_t *d = compile(SAGA(STEP("a", ",\"undo_input\":{\"id\":\"$.steps/a/result/id\"}") "," STEP(
        "b",
        ",\"input\":{\"id\":\"$.input/o\",\"all\":\"$.input\",\"n\":[1,2.5,true,null,{},[]],"
        "\"r\":{\"s\":\"$.steps/a/result/s\"},\"opt\":\"$?.input/none\",\"plain\":\"$$.x \\\"q\\\"\"}")));
    assert_int_equal(render(d, 0, false, "{\"o\":1}", NULL, "{\"o\":1}"), SB_OK);
    assert_int_equal(render(d, 1, false, "{\"o\": \"1\\n\"}", "{\"s\":[ 1 ]}",
                            "{\"id\":\"1\\n\",\"all\":{\"o\": \"1\\n\"},\"n\":[1,2.5,true,null,{},[]],"
                            "\"r\":{\"s\":[ 1 ]},\"opt\":null,\"plain\":\"$.x \\\"q\\\"\"}"),
                     SB_OK);
    assert_int_equal(render(d, 1, false, "{\"o\":1}", "{}", "step b: the result of step 1 has no /s"),
                     SB_INVALID);
    assert_int_equal(render(d, 1, false, "{}", "{\"s\":1}", "the saga's input has no /o"), SB_INVALID);
    assert_int_equal(render(d, 0, true, "{}", "{\"id\":7}", "{\"id\":7}"), SB_OK);
    assert_int_equal(render(d, 0, true, "{}", NULL, "{\"id\":null}"), SB_OK);
    assert_int_equal(render(d, 1, true, "{}", NULL,
                            "{\"id\":null,\"all\":{},\"n\":[1,2.5,true,null,{},[]],\"r\":{\"s\":null},"
                            "\"opt\":null,\"plain\":\"$.x \\\"q\\\"\"}"),
                     SB_OK);
    sb_definition_free(&d);
}

static bool holds(const char *op, const char *value, const char *found)
{
    char text[400];
    (void)snprintf(text, sizeof text,
                   SAGA(STEP("a", ",\"when\":{\"pointer\":\"$.input/v\",\"operator\":\"%s\"%s%s}")), op,
                   value ? ",\"value\":" : "", value ? value : "");
    sb_definition_t *d = compile(text);
    char input[100];
    (void)snprintf(input, sizeof input, found ? "{\"v\":%s}" : "{}", found);
    bool answer = false;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_definition_when(d, 0, sb_slice(input), NULL, &answer, &err), &err);
    sb_definition_free(&d);
    return answer;
}

static void conditions_always_have_an_answer(void **state)
{
    (void)state;
    assert_true(holds("==", "5", "5"));
    assert_false(holds("==", "5", "\"5\""));
    assert_true(holds("!=", "5", "\"5\""));
    assert_true(holds("!=", "5", NULL));
    assert_false(holds("==", "null", NULL));
    assert_true(holds("==", "null", "null"));
    assert_true(holds("==", "true", "true"));
    assert_false(holds("==", "true", "false"));
    assert_true(holds(">", "9007199254740992", "9007199254740993"));
    assert_true(holds(">=", "1.5", "2"));
    assert_false(holds("<", "1.5", "2"));
    assert_false(holds("<", "5", "\"a\""));
    assert_false(holds(">=", "5", NULL));
    assert_true(holds("<=", "\"2026-02\"", "\"2026-01-31\""));
    assert_true(holds("<", "\"ab\"", "\"a\""));
    assert_true(holds("==", "\"a\\nb\"", "\"a\\u000ab\""));
    assert_true(holds("in", "[1,\"x\",null]", "\"x\""));
    assert_false(holds("in", "[1,\"x\"]", NULL));
    assert_true(holds("exists", NULL, "null"));
    assert_true(holds("absent", NULL, NULL));
}

#define WHEN(text) SAGA(STEP("a", ",\"when\":" text))

static void conditions_are_checked(void **state)
{
    (void)state;
    assert_refused(WHEN("true"), "/steps/0/when", "is an object");
    assert_refused(WHEN("{\"pointer\":\"/v\",\"operator\":\"==\",\"value\":1}"), "/steps/0/when",
                   "pointer must be");
    assert_refused(WHEN("{\"pointer\":\"$.steps/a/result\",\"operator\":\"exists\"}"), "/steps/0/when",
                   "not come before");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"operator\":\"=\",\"value\":1}"), "/steps/0/when",
                   "one of");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"operator\":\"==\"}"), "/steps/0/when", "needs a value");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"operator\":\"==\",\"value\":{}}"), "/steps/0/when",
                   "needs a value");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"operator\":\"in\",\"value\":[]}"), "/steps/0/when",
                   "list");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"operator\":\"exists\",\"value\":1}"), "/steps/0/when",
                   "no value");
    assert_refused(WHEN("{\"pointer\":\"$.input\",\"op\":\"exists\"}"), "/steps/0/when", "not op");
}

static sb_code_t compile_and_render(void *context, sb_error_t *err)
{
    sb_definition_t *out = NULL;
    sb_buf_t text = SB_BUF_INIT;
    bool runs = false;
    sb_code_t code = sb_definition_compile(&out, context, err);
    if (code == SB_OK)
        code = sb_definition_when(out, 0, SB_SLICE("{\"v\":\"a\\nb\"}"), NULL, &runs, err);
    if (code == SB_OK)
        code = sb_definition_render(out, 0, false, SB_SLICE("{\"o\":1}"), NULL, &text, err);
    if (code == SB_OK && sb_buf_failed(&text))
        code = sb_fail(err, SB_NO_MEMORY, "render");
    if (code == SB_OK) {
        assert_true(runs);
        assert_string_equal(sb_buf_text(&text), "{\"x\":[1,{}]}");
    } else {
        sb_definition_free(&out);
    }
    sb_definition_free(&out);
    sb_buf_fini(&text);
    return code;
}

static void survives_without_memory(void **state)
{
    (void)state;
    json_t *body = parse(
        SAGA(STEP("a", ",\"input\":{\"x\":[\"$.input/o\",{}]}"
                       ",\"when\":{\"pointer\":\"$.input/v\",\"operator\":\"==\",\"value\":\"a\\nb\"}")));
    assert_true(sb_test_oom_sweep(compile_and_render, body) > 10);
    json_decref(body);
}

/* The JSON Schema that people and editors read knows the same members. */
static void the_schema_knows_the_same_members(void **state)
{
    (void)state;
    json_t *schema = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_read_file(&schema, SB_TEST_SCHEMA, NULL, &err), &err);
    const json_t *known = sb_json_at(schema, SB_SLICE("/$defs/step/properties"));
    const char *name;
    json_t *member;
    assert_int_equal(json_object_size(known), 18);
    json_object_foreach((json_t *)(uintptr_t)known, name, member)
    {
        sb_error_clear(&err);
        json_t *body = parse(SAGA(STEP_PLAIN("a", "")));
        sb_definition_t *out = NULL;
        assert_int_equal(
            json_object_set_new(json_array_get(json_object_get(body, "steps"), 0), name, json_integer(0)), 0);
        assert_code(SB_INVALID, sb_definition_compile(&out, body, &err), &err);
        assert_null(strstr(err.message, "no member"));
        json_decref(body);
    }
    json_decref(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_saga_compiles),
        cmocka_unit_test(has_defaults),
        cmocka_unit_test(a_step_may_be_a_saga),
        cmocka_unit_test(the_key_of_a_child_names_its_parent),
        cmocka_unit_test(refuses_what_it_does_not_know),
        cmocka_unit_test(refuses_wrong_values),
        cmocka_unit_test(classes_of_errors_have_policies_of_their_own),
        cmocka_unit_test(fallbacks_and_results_are_templates),
        cmocka_unit_test(a_saga_migrates_only_with_the_input_that_is_wanted),
        cmocka_unit_test(sagas_migrate_where_the_executed_prefix_is_equal),
        cmocka_unit_test(a_step_that_an_anomaly_names_stays_where_it_is),
        cmocka_unit_test(what_may_have_to_be_undone_can_be),
        cmocka_unit_test(a_pivot_is_one_and_alone),
        cmocka_unit_test(groups_are_neighbours),
        cmocka_unit_test(references_lead_to_what_is_known),
        cmocka_unit_test(what_only_looks_like_a_reference_is_refused),
        cmocka_unit_test(a_text_with_a_dollar_may_stay_a_text),
        cmocka_unit_test(renders_templates),
        cmocka_unit_test(conditions_always_have_an_answer),
        cmocka_unit_test(conditions_are_checked),
        cmocka_unit_test(survives_without_memory),
        cmocka_unit_test(the_schema_knows_the_same_members),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
