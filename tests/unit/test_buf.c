/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"
#include "tests/support/assert.h"

static void grows_and_stays_terminated(void **state)
{
    (void)state;
    sb_buf_t buf = SB_BUF_INIT;
    assert_string_equal(sb_buf_text(&buf), "");
    for (int i = 0; i < 1000; i++) {
        sb_buf_printf(&buf, "%d,", i % 10);
        assert_int_equal(buf.ptr[buf.len], '\0');
    }
    assert_int_equal(buf.len, 2000);
    sb_buf_add(&buf, NULL, 0);
    sb_buf_reset(&buf);
    assert_string_equal(sb_buf_text(&buf), "");
    assert_true(buf.cap >= 2000);
    sb_buf_fini(&buf);
    sb_buf_fini(&buf);
}

static void reserve_leaves_room_for_the_end(void **state)
{
    (void)state;
    for (size_t length = 120; length < 140; length++) {
        sb_buf_t buf = SB_BUF_INIT;
        char *at = sb_buf_reserve(&buf, length);
        assert_non_null(at);
        memset(at, 'x', length);
        buf.len += length;
        sb_buf_add(&buf, "", 0);
        assert_true(buf.len < buf.cap);
        sb_buf_fini(&buf);
    }
}

static void a_failure_sticks_until_reset(void **state)
{
    (void)state;
    sb_buf_t buf = SB_BUF_INIT;
    sb_buf_add_text(&buf, "a");
    assert_null(sb_buf_reserve(&buf, SIZE_MAX - 2));
    assert_true(sb_buf_failed(&buf));
    sb_buf_add_text(&buf, "b");
    sb_buf_printf(&buf, "%d", 1);
    assert_string_equal(sb_buf_text(&buf), "a");
    sb_buf_reset(&buf);
    assert_false(sb_buf_failed(&buf));
    sb_buf_add_text(&buf, "c");
    assert_string_equal(sb_buf_text(&buf), "c");
    sb_buf_fini(&buf);
}

static void writes_json_strings(void **state)
{
    (void)state;
    sb_buf_t buf = SB_BUF_INIT;
    sb_buf_add_json(&buf, SB_SLICE("a\"b\\c\n\t\x01\0\x1f/\xc3\xa9"));
    assert_string_equal(sb_buf_text(&buf), "\"a\\\"b\\\\c\\n\\t\\u0001\\u0000\\u001f/\xc3\xa9\"");
    sb_buf_reset(&buf);
    sb_buf_add_json(&buf, SB_SLICE_NONE);
    assert_string_equal(sb_buf_text(&buf), "\"\"");
    sb_buf_fini(&buf);
}

static void writes_big_endian(void **state)
{
    (void)state;
    sb_buf_t buf = SB_BUF_INIT;
    sb_buf_add_be16(&buf, 0x0102);
    sb_buf_add_be32(&buf, 0x03040506);
    sb_buf_add_be64(&buf, 0x0708090a0b0c0d0eu);
    for (size_t i = 0; i < buf.len; i++)
        assert_int_equal(buf.ptr[i], (char)(i + 1));
    assert_int_equal(buf.len, 14);
    sb_buf_fini(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_stays_terminated),
        cmocka_unit_test(reserve_leaves_room_for_the_end),
        cmocka_unit_test(a_failure_sticks_until_reset),
        cmocka_unit_test(writes_json_strings),
        cmocka_unit_test(writes_big_endian),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
