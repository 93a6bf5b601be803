/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/contract.h"
#include "saga/dispatch/http_exchange.h"
#include "tests/support/assert.h"

static void a_record_becomes_header_lines(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_http_request_t request = {.count = 0};
    const sb_header_t headers[] = {{SB_H_ID, SB_SLICE("c-1")},
                                   {SB_H_CONTENT, SB_SLICE("application/json")},
                                   {SB_H_CORRELATION, SB_SLICE("a b\r\nX: \"1%\" \xc3\xa9")},
                                   {SB_H_TRACEPARENT, SB_SLICE("00-ab-cd-01")},
                                   {SB_H_EXPIRY, SB_SLICE("2026-01-01T00:00:00Z")},
                                   {SB_H_SAGA_STEP, SB_SLICE("charge")}};
    sb_http_request_source_t source = {
        .headers = headers, .header_count = 6, .expiry = SB_SLICE("2027-01-01T00:00:00Z"), .token = "t0k"};
    assert_ok(sb_http_request_make(&request, &source, &err), &err);
    static const char *const want[] = {"ce-id: c-1",
                                       "ce-correlationid: a%20b%0D%0AX:%20%221%25%22%20%C3%A9",
                                       "traceparent: 00-ab-cd-01",
                                       "ce-expirytime: 2027-01-01T00:00:00Z",
                                       "ce-sagastep: charge",
                                       "Accept: application/json",
                                       "Authorization: Bearer t0k"};
    assert_int_equal(request.count, 7);
    for (int i = 0; i < 7; i++)
        assert_string_equal(request.line[i], want[i]);
    assert_null(request.line[7]);
    /* A trace header that would break the head is left out; no token, no header. */
    const sb_header_t bad[] = {{SB_H_TRACEPARENT, SB_SLICE("a\r\nX: b")}, {SB_H_EXPIRY, SB_SLICE("e")}};
    source = (sb_http_request_source_t){.headers = bad, .header_count = 2, .token = ""};
    assert_ok(sb_http_request_make(&request, &source, &err), &err);
    assert_int_equal(request.count, 2);
    assert_string_equal(request.line[0], "ce-expirytime: e");
    sb_http_request_fini(&request);
}

/* The example of the Standard Webhooks specification. */
static void a_command_is_signed(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_http_request_t request = {.count = 0};
    sb_webhook_secret_t secret;
    assert_ok(sb_webhook_secret_read(&secret, SB_SLICE("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "s", &err),
              &err);
    const sb_header_t headers[] = {{SB_H_ID, SB_SLICE("msg_p5jXN8AQM9LWM0D4loKWxJek")}};
    sb_http_request_source_t source = {.headers = headers,
                                       .header_count = 1,
                                       .body = SB_SLICE("{\"test\": 2432232314}"),
                                       .token = "",
                                       .secret = &secret,
                                       .wall_s = 1614265330};
    assert_ok(sb_http_request_make(&request, &source, &err), &err);
    assert_int_equal(request.count, 5);
    assert_string_equal(request.line[2], "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_string_equal(request.line[3], "webhook-timestamp: 1614265330");
    assert_string_equal(request.line[4],
                        "webhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    sb_http_request_fini(&request);
}

/* head: "name\0value\0"; the literal's own NUL ends the last value. */
#define HEAD(text) ((sb_slice_t){text, sizeof(text)})

#define FAILURE   HEAD("ce-sagaoutcome\0failure")
#define SUCCESS   HEAD("ce-sagaoutcome\0success")
#define VALIDATES HEAD("ce-sagaoutcome\0failure\0ce-sagaerrorclass\0validation")
#define EXTERNAL  HEAD("ce-sagaerrorclass\0external")

static void every_answer_has_its_meaning(void **state)
{
    (void)state;
    static const struct {
        int status;
        sb_slice_t head;
        int retry_after_s;
        sb_http_means_t means;
        sb_outcome_t outcome;
        sb_error_class_t error_class;
        bool attention;
        sb_http_health_t health;
    } rows[] = {
        {200, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_SUCCESS, SB_CLASS_NONE, false, SB_HTTP_WELL},
        {201, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_SUCCESS, SB_CLASS_NONE, false, SB_HTTP_WELL},
        {204, SUCCESS, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_SUCCESS, SB_CLASS_NONE, false, SB_HTTP_WELL},
        {200, FAILURE, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, false, SB_HTTP_WELL},
        {202, {0}, -1, SB_HTTP_MEANS_WORKING, 0, 0, false, SB_HTTP_WELL},
        {425, {0}, 3, SB_HTTP_MEANS_WORKING, 0, 0, false, SB_HTTP_WELL},
        {409, FAILURE, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_FAILURE, SB_CLASS_BUSINESS, false, SB_HTTP_WELL},
        {422, VALIDATES, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_FAILURE, SB_CLASS_VALIDATION, false,
         SB_HTTP_WELL},
        {409, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_NONE, false, SB_HTTP_WELL},
        {422, SUCCESS, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_NONE, false, SB_HTTP_WELL},
        {429, {0}, -1, SB_HTTP_MEANS_WAIT, 0, 0, false, SB_HTTP_NOT_SAID},
        {429, {0}, 7, SB_HTTP_MEANS_WAIT, 0, 0, false, SB_HTTP_NOT_SAID},
        {503, {0}, 0, SB_HTTP_MEANS_WAIT, 0, 0, false, SB_HTTP_NOT_SAID},
        {503, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_INFRASTRUCTURE, false, SB_HTTP_ILL},
        {500, EXTERNAL, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, false, SB_HTTP_ILL},
        {504, FAILURE, 5, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_INFRASTRUCTURE, false,
         SB_HTTP_ILL},
        {408, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_INFRASTRUCTURE, false, SB_HTTP_WELL},
        {301, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, true, SB_HTTP_WELL},
        {400, FAILURE, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, true, SB_HTTP_WELL},
        {401, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, true, SB_HTTP_WELL},
        {404, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, true, SB_HTTP_WELL},
        {206, {0}, -1, SB_HTTP_MEANS_OUTCOME, SB_OUTCOME_ERROR, SB_CLASS_EXTERNAL, true, SB_HTTP_WELL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sb_http_result_t result = {.code = SB_OK,
                                   .status = rows[i].status,
                                   .body = SB_SLICE(""),
                                   .head = rows[i].head,
                                   .retry_after_s = rows[i].retry_after_s};
        sb_http_verdict_t v;
        sb_http_judge(&result, &v);
        assert_int_equal(v.means, rows[i].means);
        assert_int_equal(v.health, rows[i].health);
        assert_int_equal(v.retry_after_s, rows[i].retry_after_s);
        if (v.means != SB_HTTP_MEANS_OUTCOME)
            continue;
        assert_int_equal(v.outcome, rows[i].outcome);
        assert_int_equal(v.error_class, rows[i].error_class);
        assert_int_equal(v.attention, rows[i].attention);
        assert_true((v.outcome == SB_OUTCOME_SUCCESS) == (v.error[0] == '\0'));
    }
}

/* Every status there is means something, and none but the named ones ends a step for good. */
static void no_other_status_is_an_end(void **state)
{
    (void)state;
    for (int status = 100; status < 1000; status++) {
        sb_http_result_t result = {
            .code = SB_OK, .status = status, .body = SB_SLICE("{}"), .head = FAILURE, .retry_after_s = -1};
        sb_http_verdict_t v;
        sb_http_judge(&result, &v);
        bool refusal = status == 409 || status == 422;
        if (v.means == SB_HTTP_MEANS_OUTCOME)
            assert_int_equal(v.outcome, refusal ? SB_OUTCOME_FAILURE : SB_OUTCOME_ERROR);
        result.head = SB_SLICE_NONE;
        sb_http_judge(&result, &v);
        if (v.means == SB_HTTP_MEANS_OUTCOME)
            assert_true((v.outcome == SB_OUTCOME_SUCCESS) ==
                        (status == 200 || status == 201 || status == 204));
    }
}

static void no_answer_is_an_unknown_outcome(void **state)
{
    (void)state;
    static const sb_code_t codes[] = {SB_UNAVAILABLE, SB_TIMEOUT,   SB_UNKNOWN_OUTCOME, SB_TOO_LARGE,
                                      SB_STOPPED,     SB_NO_MEMORY, SB_INVALID};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        sb_error_t err = SB_ERROR_INIT;
        (void)sb_fail(&err, codes[i], "what happened");
        sb_http_result_t result = {
            .code = codes[i], .err = &err, .status = i % 2 ? 200 : 0, .retry_after_s = -1};
        sb_http_verdict_t v;
        sb_http_judge(&result, &v);
        assert_int_equal(v.means, SB_HTTP_MEANS_OUTCOME);
        assert_int_equal(v.outcome, SB_OUTCOME_ERROR);
        assert_int_equal(v.health, i < 3 ? SB_HTTP_ILL : SB_HTTP_NOT_SAID);
        assert_string_equal(v.error, "what happened");
    }
}

static void the_reason_is_told(void **state)
{
    (void)state;
    static const struct {
        sb_slice_t head, body;
        const char *want;
    } rows[] = {
        {HEAD("ce-sagaoutcome\0failure\0ce-sagaerror\0card expired"), SB_SLICE("{\"detail\":\"x\"}"),
         "HTTP 409: card expired"},
        {FAILURE, SB_SLICE("{\"title\":\"Conflict\",\"detail\":\"no \\u0041\"}"), "HTTP 409: no A"},
        {FAILURE, SB_SLICE("plain words"), "HTTP 409: plain words"},
        {FAILURE, SB_SLICE("{\"other\":1}"), "HTTP 409"},
        {FAILURE, SB_SLICE(""), "HTTP 409"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sb_http_result_t result = {
            .code = SB_OK, .status = 409, .body = rows[i].body, .head = rows[i].head, .retry_after_s = -1};
        sb_http_verdict_t v;
        sb_http_judge(&result, &v);
        assert_string_equal(v.error, rows[i].want);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_becomes_header_lines),   cmocka_unit_test(a_command_is_signed),
        cmocka_unit_test(every_answer_has_its_meaning),    cmocka_unit_test(no_other_status_is_an_end),
        cmocka_unit_test(no_answer_is_an_unknown_outcome), cmocka_unit_test(the_reason_is_told),
    };
    return cmocka_run_group_tests_name("http_exchange", tests, NULL, NULL);
}
