/* SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_types.h"
#include "saga/event_body.h"
#include "tests/support/assert.h"

static const sb_definition_t definition = {
    .name = "s", .step_count = 2, .step = {{.name = "first"}, {.name = "second"}}};

static sb_saga_head_t head_of(void)
{
    sb_saga_head_t head = {.type = SB_SLICE("order"), .key = SB_SLICE("o \"1\"")};
    memset(head.id.byte, 0x11, sizeof head.id.byte);
    memset(head.definition_hash.byte, 0xab, sizeof head.definition_hash.byte);
    return head;
}

static void assert_same(const sb_saga_event_t *a, const sb_saga_event_t *b)
{
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->at_us, b->at_us);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->direction, b->direction);
    assert_int_equal(a->round, b->round);
    assert_int_equal(a->attempt, b->attempt);
    assert_int_equal(a->unknown, b->unknown);
    assert_int_equal(a->wake_us, b->wake_us);
    assert_int_equal(a->fallback, b->fallback);
    assert_int_equal(a->pause, b->pause);
    assert_int_equal(a->error_class, b->error_class);
    assert_true(sb_slice_equal(a->input, b->input));
    assert_true(sb_slice_equal(a->result, b->result));
    assert_true(sb_slice_equal(a->error, b->error));
    assert_true(sb_slice_equal(a->by, b->by));
    assert_true(sb_slice_equal(a->reason, b->reason));
}

static void round_trip(const sb_saga_event_t *event, const char *want)
{
    sb_buf_t body = SB_BUF_INIT, scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_saga_head_t head = head_of();
    sb_saga_event_write(&definition, event, &head, &body);
    assert_string_equal(sb_buf_text(&body), want);
    assert_true(sb_scan_valid(sb_buf_slice(&body), NULL));
    sb_saga_event_t back;
    assert_ok(sb_saga_event_read(&definition, sb_slice(sb_saga_event_type(event->kind)), event->at_us,
                                 sb_buf_slice(&body), &scratch, &back, &err),
              &err);
    assert_same(event, &back);
    sb_buf_fini(&scratch);
    sb_buf_fini(&body);
}

static void bodies_are_lean_and_come_back(void **state)
{
    (void)state;
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_STARTED, .at_us = 7, .step = -1},
               "{\"saga_id\":\"11111111-1111-1111-1111-111111111111\",\"saga_type\":\"order\","
               "\"key\":\"o \\\"1\\\"\",\"definition\":"
               "\"abababababababababababababababababababababababababababababababab\",\"machine\":1}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_STEP_COMPLETED,
                                  .step = 1,
                                  .round = 1,
                                  .attempt = 1,
                                  .result = SB_SLICE("{\"a\": [1]}")},
               "{\"step\":\"second\",\"result\":{\"a\": [1]}}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_COMPLETED, .step = -1},
               "{\"saga_id\":\"11111111-1111-1111-1111-111111111111\",\"saga_type\":\"order\","
               "\"key\":\"o \\\"1\\\"\"}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_PAUSED, .step = -1}, "{}");
}

static void every_member_comes_back(void **state)
{
    (void)state;
    round_trip(
        &(sb_saga_event_t){.kind = SB_SAGA_EV_STEP_RETRIED,
                           .at_us = INT64_MAX,
                           .step = 0,
                           .direction = SB_COMPENSATE,
                           .round = UINT16_MAX,
                           .attempt = 0,
                           .wake_us = 1795238375123456,
                           .error = SB_SLICE("a\n\"b\"\x01 ü"),
                           .by = SB_SLICE(""),
                           .reason = SB_SLICE("\\")},
        "{\"step\":\"first\",\"direction\":\"compensate\",\"round\":65535,\"attempt\":0,"
        "\"wake_us\":1795238375123456,\"error\":\"a\\n\\\"b\\\"\\u0001 ü\",\"by\":\"\",\"reason\":\"\\\\\"}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_STEP_FAILED,
                                  .step = 0,
                                  .round = 1,
                                  .attempt = 3,
                                  .unknown = true,
                                  .error = SB_SLICE("no answer in time")},
               "{\"step\":\"first\",\"attempt\":3,\"unknown\":true,\"error\":\"no answer in time\"}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_REWINDING,
                                  .step = 0,
                                  .round = 1,
                                  .attempt = 1,
                                  .pause = true,
                                  .input = SB_SLICE("{\"x\": 1}")},
               "{\"step\":\"first\",\"pause\":true,\"input\":{\"x\": 1}}");
    round_trip(
        &(sb_saga_event_t){.kind = SB_SAGA_EV_STEP_SKIPPED,
                           .step = 0,
                           .round = 1,
                           .attempt = 1,
                           .fallback = true,
                           .result = SB_SLICE("{}"),
                           .error = SB_SLICE("down"),
                           .error_class = SB_CLASS_EXTERNAL},
        "{\"step\":\"first\",\"fallback\":true,\"class\":\"external\",\"result\":{},\"error\":\"down\"}");
    round_trip(&(sb_saga_event_t){.kind = SB_SAGA_EV_ANOMALY,
                                  .step = 0,
                                  .round = 1,
                                  .attempt = 1,
                                  .reason = SB_SLICE("refusal after success")},
               "{\"saga_id\":\"11111111-1111-1111-1111-111111111111\",\"saga_type\":\"order\","
               "\"key\":\"o \\\"1\\\"\",\"step\":\"first\",\"reason\":\"refusal after success\"}");
    round_trip(
        &(sb_saga_event_t){.kind = SB_SAGA_EV_ATTENTION, .step = 1, .round = 1, .attempt = 1, .wake_us = -5},
        "{\"step\":\"second\",\"wake_us\":-5}");
}

static sb_code_t read(const char *type, const char *data, sb_saga_event_t *out)
{
    sb_buf_t scratch = SB_BUF_INIT;
    sb_code_t code = sb_saga_event_read(&definition, sb_slice(type), 1, sb_slice(data), &scratch, out, NULL);
    sb_buf_fini(&scratch);
    return code;
}

static void other_bodies_are_refused(void **state)
{
    (void)state;
    sb_saga_event_t out;
    assert_int_equal(read("order.created", "{}", &out), SB_CORRUPT);
    assert_int_equal(read("saga.paused", "", &out), SB_CORRUPT);
    assert_int_equal(read("saga.paused", "{\"by\":1}", &out), SB_CORRUPT);
    assert_int_equal(read("saga.paused", "{\"by\":\"x\"", &out), SB_CORRUPT);
    assert_int_equal(read("saga.step.completed", "{\"step\":\"third\"}", &out), SB_CORRUPT);
    assert_int_equal(read("saga.step.completed", "{\"step\":\"first\",\"round\":65536}", &out), SB_CORRUPT);
    assert_int_equal(read("saga.step.completed", "{\"step\":\"first\",\"attempt\":1.0}", &out), SB_CORRUPT);
    assert_int_equal(read("saga.step.completed", "{\"step\":\"first\",\"direction\":\"up\"}", &out),
                     SB_CORRUPT);
    assert_int_equal(read("saga.step.completed", "{\"later\":[{}],\"step\":\"f\\u0069rst\"}", &out), SB_OK);
    assert_int_equal(out.step, 0);
}

static void types_are_told_apart(void **state)
{
    (void)state;
    for (int i = 0; i < SB_SAGA_EV_COUNT; i++) {
        sb_saga_event_kind_t kind;
        assert_true(sb_saga_event_kind_of(sb_slice(sb_saga_event_type((sb_saga_event_kind_t)i)), &kind));
        assert_int_equal(kind, i);
    }
    assert_true(sb_saga_type_is_public(SB_SLICE("saga.started")));
    assert_true(sb_saga_type_is_public(sb_slice(sb_saga_public_type(4))));
    assert_null(sb_saga_public_type(5));
    assert_false(sb_saga_type_is_public(SB_SLICE("saga.step.retried")));
}

static void what_a_later_machine_started_is_left_to_it(void **state)
{
    (void)state;
    sb_saga_event_t out;
    assert_int_equal(read("saga.started", "{\"machine\":1}", &out), SB_OK);
    assert_int_equal(read("saga.started", "{\"machine\":2}", &out), SB_UNSUPPORTED);
    assert_int_equal(read("saga.migrated", "{\"machine\":2}", &out), SB_UNSUPPORTED);
    assert_int_equal(read("saga.started", "{\"machine\":\"1\"}", &out), SB_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies_are_lean_and_come_back),
        cmocka_unit_test(every_member_comes_back),
        cmocka_unit_test(other_bodies_are_refused),
        cmocka_unit_test(types_are_told_apart),
        cmocka_unit_test(what_a_later_machine_started_is_left_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
