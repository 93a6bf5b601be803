/* SPDX-License-Identifier: Apache-2.0 */
#include "base/webhook.h"

#include "base/base64.h"
#include "tests/support/assert.h"

/* The example of the Standard Webhooks specification and its libraries. */
#define SECRET    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
#define ID        "msg_p5jXN8AQM9LWM0D4loKWxJek"
#define TIME_S    1614265330
#define BODY      "{\"test\": 2432232314}"
#define LINES     "webhook-id: " ID "\nwebhook-timestamp: 1614265330\n"
#define SIGNATURE "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

/* The lines, each ended by a newline instead of NUL. */
static void assert_signed(const sb_webhook_secret_t *secrets, size_t count, const char *want)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_webhook_sign(&out, SB_SLICE(ID), TIME_S, SB_SLICE(BODY), secrets, count, &err), &err);
    for (size_t i = 0; i < out.len; i++)
        out.ptr[i] = out.ptr[i] ? out.ptr[i] : '\n';
    assert_slice(sb_buf_slice(&out), want);
    sb_buf_fini(&out);
}

static void a_signature_is_the_conventions(void **state)
{
    (void)state;
    sb_webhook_secret_t secret[2];
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_webhook_secret_read(&secret[0], SB_SLICE(SECRET), "s", &err), &err);
    assert_ok(sb_webhook_secret_read(&secret[1], SB_SLICE(SECRET), "s", &err), &err);
    assert_signed(secret, 0, LINES);
    assert_signed(secret, 1, LINES "webhook-signature: " SIGNATURE "\n");
    assert_signed(secret, 2, LINES "webhook-signature: " SIGNATURE " " SIGNATURE "\n");
}

static void a_secret_is_24_to_64_bytes_in_base64(void **state)
{
    (void)state;
    for (size_t length = 0; length <= SB_WEBHOOK_SECRET_MAX + 2; length++) {
        char bytes[SB_WEBHOOK_SECRET_MAX + 2];
        sb_buf_t text = SB_BUF_INIT;
        sb_webhook_secret_t secret;
        sb_error_t err = SB_ERROR_INIT;
        memset(bytes, 'k', sizeof bytes);
        if (length % 2)
            sb_buf_add_text(&text, "whsec_");
        sb_base64_encode(&text, (sb_slice_t){bytes, length});
        bool fits = length >= SB_WEBHOOK_SECRET_MIN && length <= SB_WEBHOOK_SECRET_MAX;
        assert_code(fits ? SB_OK : SB_INVALID,
                    sb_webhook_secret_read(&secret, sb_buf_slice(&text), "shop.secret", &err), &err);
        assert_int_equal(secret.length, fits ? length : 0);
        assert_true(!fits || memcmp(secret.byte, bytes, length) == 0);
        if (!fits)
            assert_contains(err.message, "shop.secret");
        if (!fits && length > 3)
            assert_null(strstr(err.message, "a2tr")); /* the text itself */
        sb_buf_fini(&text);
    }
    sb_webhook_secret_t secret;
    sb_error_t err = SB_ERROR_INIT;
    assert_code(SB_INVALID, sb_webhook_secret_read(&secret, SB_SLICE("whsec_no base64"), "s", &err), &err);
    assert_code(SB_INVALID, sb_webhook_secret_read(&secret, SB_SLICE("whsec_"), "s", &err), &err);
}

static void a_header_is_encoded_where_http_wants_it(void **state)
{
    (void)state;
    sb_buf_t out = SB_BUF_INIT;
    sb_webhook_add_value(&out, SB_SLICE("\xc3\xa9 \"50%\"\r\nx: y~!\x7f"));
    assert_string_equal(sb_buf_text(&out), "%C3%A9%20%2250%25%22%0D%0Ax:%20y~!%7F");
    sb_buf_reset(&out);
    sb_webhook_add_value(&out, (sb_slice_t){"a\0b", 3});
    assert_string_equal(sb_buf_text(&out), "a%00b");
    sb_buf_fini(&out);
}

static void a_url_is_checked(void **state)
{
    (void)state;
    static const struct {
        const char *url, *fault, *fault_with_secrets;
    } cases[] = {
        {"https://shop.example/api", NULL, NULL},
        {"HTTP://[::1]:8080", NULL, NULL},
        {"https://shop.example/a?b=@", "query", NULL},
        {"https://shop.example/#a", "fragment", "fragment"},
        {"https://shop.example/a b", "must be a URL", "must be a URL"},
        {"https://shop.example\\@evil.example/", "user or password", "must be a URL"},
        {"https://shop.example/\\a", "must be a URL", "must be a URL"},
        {"https://u:p@shop.example", "user or password", NULL},
        {"https://u:p@/x", "no host", "no host"},
        {"https://u:p@:80", "no host", "no host"},
        {"https:///x", "no host", "no host"},
        {"https://:80/x", "no host", "no host"},
        {"ftp://shop.example", "https://", "https://"},
        {"shop:80", "https://", "https://"},
        {"", "https://", "https://"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *const fault[] = {sb_webhook_url_fault(cases[i].url, false),
                                     sb_webhook_url_fault(cases[i].url, true)};
        const char *const want[] = {cases[i].fault, cases[i].fault_with_secrets};
        for (int q = 0; q < 2; q++) {
            assert_int_equal(fault[q] != NULL, want[q] != NULL);
            if (want[q])
                assert_contains(fault[q], want[q]);
        }
    }
}

static void what_others_can_read_is_open(void **state)
{
    (void)state;
    static const char *const closed[] = {
        "https://shop.example",   "http://127.0.0.1", "http://127.9.0.1:80/x",  "http://localhost:80",
        "HTTP://LOCALHOST/a?b#c", "http://[::1]",     "http://[::1]:8080/hooks"};
    static const char *const open[] = {"http://shop.example",      "http://127.shop.example/",
                                       "http://127.0.0.1.example", "http://localhost.example",
                                       "http://[::1:2]",           "http://127.0.0.1@shop.example",
                                       "http://10.0.0.1"};
    for (size_t i = 0; i < sizeof closed / sizeof closed[0]; i++)
        assert_false(sb_webhook_url_is_open(closed[i]));
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        assert_true(sb_webhook_url_is_open(open[i]));
}

static void base64_is_the_standards(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        sb_buf_t out = SB_BUF_INIT;
        sb_base64_encode(&out, sb_slice(pairs[i][0]));
        assert_string_equal(sb_buf_text(&out), pairs[i][1]);
        sb_buf_reset(&out);
        assert_true(sb_base64_decode(&out, sb_slice(pairs[i][1])));
        assert_string_equal(sb_buf_text(&out), pairs[i][0]);
        sb_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_signature_is_the_conventions),
        cmocka_unit_test(a_secret_is_24_to_64_bytes_in_base64),
        cmocka_unit_test(a_header_is_encoded_where_http_wants_it),
        cmocka_unit_test(a_url_is_checked),
        cmocka_unit_test(what_others_can_read_is_open),
        cmocka_unit_test(base64_is_the_standards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
