/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"

#include <string.h>

static void every_code_has_its_row(void **state)
{
    (void)state;
    for (int i = 0; i < SB_CODE_COUNT; i++) {
        assert_true(sb_code_name((sb_code_t)i)[0] != '\0');
        assert_true(sb_code_text((sb_code_t)i)[0] != '\0');
        assert_in_range(sb_code_http((sb_code_t)i), 200, 599);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(sb_code_name((sb_code_t)i), sb_code_name((sb_code_t)j));
    }
    assert_string_equal(sb_code_name((sb_code_t)999), "internal");
}

static void fail_fills_all(void **state)
{
    (void)state;
    sb_error_t err = {SB_OK, true, "pg:40001", "/x", "old"};
    assert_int_equal(sb_fail(&err, SB_BUSY, "append %s", "o-1"), SB_BUSY);
    assert_int_equal(err.code, SB_BUSY);
    assert_true(err.retryable);
    assert_string_equal(err.origin, "");
    assert_string_equal(err.pointer, "");
    assert_string_equal(err.message, "append o-1");
    assert_int_equal(sb_fail_at(&err, SB_INVALID, "/a/b", "no"), SB_INVALID);
    assert_false(err.retryable);
    assert_string_equal(err.pointer, "/a/b");
    assert_int_equal(sb_fail(NULL, SB_BUSY, "x"), SB_BUSY);
    assert_int_equal(sb_fail_at(NULL, SB_BUSY, "/", "x"), SB_BUSY);
}

static void context_goes_in_front(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    (void)sb_fail(&err, SB_CONFLICT, "first");
    assert_int_equal(sb_context(&err, SB_CONFLICT, "while %d", 1), SB_CONFLICT);
    assert_string_equal(err.message, "while 1: first");
    assert_int_equal(err.code, SB_CONFLICT);
    assert_int_equal(sb_context(NULL, SB_CONFLICT, "x"), SB_CONFLICT);
    char large[1000];
    memset(large, 'y', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    (void)sb_context(&err, SB_CONFLICT, "%s", large);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    sb_error_clear(&err);
    assert_int_equal(err.code, SB_OK);
    sb_error_clear(NULL);
}

/* What is cut off in the midst of a character could be neither stored nor sent. */
static void a_text_that_is_cut_ends_with_a_whole_character(void **state)
{
    (void)state;
    static const char *const one[] = {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t k = 0; k < sizeof one / sizeof one[0]; k++) {
        for (int ahead = 0; ahead < 4; ahead++) {
            sb_error_t err = SB_ERROR_INIT;
            char text[1000] = "xxxx";
            for (size_t at = (size_t)ahead; at < 900; at += strlen(one[k]))
                memcpy(text + at, one[k], strlen(one[k]));
            (void)sb_fail(&err, SB_INVALID, "%s", text);
            size_t length = strlen(err.message);
            assert_true(length > sizeof err.message - 1 - strlen(one[k]));
            assert_int_equal((length - (size_t)ahead) % strlen(one[k]), 0);
            (void)sb_context(&err, SB_INVALID, "step b");
            assert_int_equal((strlen(err.message) - (size_t)ahead - 8) % strlen(one[k]), 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_its_row),
        cmocka_unit_test(fail_fills_all),
        cmocka_unit_test(context_goes_in_front),
        cmocka_unit_test(a_text_that_is_cut_ends_with_a_whole_character),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
