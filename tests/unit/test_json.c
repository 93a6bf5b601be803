/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, sb_slice(text), "text", &err), &err);
    return value;
}

static void assert_refused(sb_code_t want, sb_slice_t text, const char *part)
{
    json_t *value = (json_t *)1;
    sb_error_t err = SB_ERROR_INIT;
    assert_code(want, sb_json_parse(&value, text, "the body", &err), &err);
    assert_null(value);
    assert_contains(err.message, "the body");
    assert_contains(err.message, part);
}

static void is_strict(void **state)
{
    (void)state;
    assert_refused(SB_INVALID, SB_SLICE("{\"a\":1,\"a\":2}"), "duplicate");
    assert_refused(SB_INVALID, SB_SLICE("{} x"), "column");
    assert_refused(SB_INVALID, SB_SLICE("{\"a\":\n  01}"), "line 2");
    assert_refused(SB_INVALID, SB_SLICE(""), "the body");
    assert_refused(SB_INVALID, SB_SLICE_NONE, "the body");
    assert_refused(SB_INVALID, SB_SLICE("\"\xff\""), "the body");
    json_t *value = parse("3");
    assert_int_equal(json_integer_value(value), 3);
    json_decref(value);
}

static void is_capped(void **state)
{
    (void)state;
    char deep[200];
    memset(deep, '[', 33);
    memset(deep + 33, ']', 33);
    assert_refused(SB_INVALID, (sb_slice_t){deep, 66}, "deeper than 32");
    json_t *value = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&value, (sb_slice_t){deep + 1, 64}, "text", &err), &err);
    json_decref(value);
    value = parse("\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[\"");
    json_decref(value);
    char *large = malloc(SB_JSON_BYTES_MAX + 1);
    assert_non_null(large);
    memset(large, ' ', SB_JSON_BYTES_MAX + 1);
    assert_refused(SB_TOO_LARGE, (sb_slice_t){large, SB_JSON_BYTES_MAX + 1}, "limit");
    free(large);
}

static void equal_values_have_equal_hashes(void **state)
{
    (void)state;
    json_t *a = parse("{\"b\":[1,2.5],\"a\":{\"y\":null,\"x\":\"\\u00e9\"}}");
    json_t *b = parse(" { \"a\" : {\"x\":\"\xc3\xa9\", \"y\":null}, \"b\":[1,2.5] }");
    json_t *c = parse("{\"a\":{\"x\":\"e\",\"y\":null},\"b\":[1,2.5]}");
    sb_hash_t ha, hb, hc;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_hash(a, &ha, &err), &err);
    assert_ok(sb_json_hash(b, &hb, &err), &err);
    assert_ok(sb_json_hash(c, &hc, &err), &err);
    assert_memory_equal(&ha, &hb, sizeof ha);
    assert_memory_not_equal(&ha, &hc, sizeof ha);
    sb_buf_t text = SB_BUF_INIT;
    sb_json_dump(a, &text);
    assert_string_equal(sb_buf_text(&text), "{\"a\":{\"x\":\"\xc3\xa9\",\"y\":null},\"b\":[1,2.5]}");
    sb_buf_fini(&text);
    json_decref(a);
    json_decref(b);
    json_decref(c);
}

static void hashes_are_sha256(void **state)
{
    (void)state;
    sb_hash_t hash;
    char text[SB_HASH_TEXT];
    sb_hash_bytes(SB_SLICE("abc"), &hash);
    assert_string_equal(sb_hash_format(&hash, text),
                        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

/* The examples of RFC 6901, and what is not there. */
static void pointers_follow_rfc_6901(void **state)
{
    (void)state;
    json_t *doc =
        parse("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\"e^f\":3,\"g|h\":4,\"i\\\\j\":5,"
              "\"k\\\"l\":6,\" \":7,\"m~n\":8}");
    static const struct {
        const char *pointer;
        int value;
    } cases[] = {{"/", 0},     {"/a~1b", 1}, {"/c%d", 2}, {"/e^f", 3}, {"/g|h", 4},
                 {"/i\\j", 5}, {"/k\"l", 6}, {"/ ", 7},   {"/m~0n", 8}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        json_t *value = sb_json_at(doc, sb_slice(cases[i].pointer));
        assert_true(json_is_integer(value));
        assert_int_equal(json_integer_value(value), cases[i].value);
    }
    assert_ptr_equal(sb_json_at(doc, SB_SLICE("")), doc);
    assert_ptr_equal(sb_json_at(doc, SB_SLICE_NONE), doc);
    assert_string_equal(json_string_value(sb_json_at(doc, SB_SLICE("/foo/1"))), "baz");
    static const char *const absent[] = {"/foo/2", "/foo/-", "/foo/01", "/foo/", "/foo/1/x",
                                         "/nope",  "foo",    "/m~n",    "/m~",   "/foo/99999999999999999999"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_null(sb_json_at(doc, sb_slice(absent[i])));
    assert_null(sb_json_at(doc, SB_SLICE("/foo\0x")));
    json_decref(doc);
}

static void pointers_are_built_escaped(void **state)
{
    (void)state;
    sb_buf_t pointer = SB_BUF_INIT;
    sb_json_pointer_add(&pointer, SB_SLICE("a/b~c"));
    sb_json_pointer_add_index(&pointer, 12);
    assert_string_equal(sb_buf_text(&pointer), "/a~1b~0c/12");
    assert_true(sb_json_pointer_ok(sb_buf_slice(&pointer)));
    assert_false(sb_json_pointer_ok(SB_SLICE("a")));
    assert_false(sb_json_pointer_ok(SB_SLICE("/~")));
    assert_false(sb_json_pointer_ok(SB_SLICE("/~2")));
    sb_buf_fini(&pointer);
}

static void files_are_read_with_their_bytes(void **state)
{
    (void)state;
    char path[] = "/tmp/sagabus-json-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"a\": 1}\n", 9), 9);
    (void)close(fd);
    json_t *value = NULL;
    sb_buf_t bytes = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_read_file(&value, path, &bytes, &err), &err);
    assert_string_equal(sb_buf_text(&bytes), "{\"a\": 1}\n");
    json_decref(value);
    assert_ok(sb_json_read_file(&value, path, NULL, &err), &err);
    json_decref(value);
    (void)unlink(path);
    assert_code(SB_NOT_FOUND, sb_json_read_file(&value, path, &bytes, &err), &err);
    assert_contains(err.message, path);
    sb_buf_fini(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_strict),
        cmocka_unit_test(is_capped),
        cmocka_unit_test(equal_values_have_equal_hashes),
        cmocka_unit_test(hashes_are_sha256),
        cmocka_unit_test(pointers_follow_rfc_6901),
        cmocka_unit_test(pointers_are_built_escaped),
        cmocka_unit_test(files_are_read_with_their_bytes),
    };
    return cmocka_run_group_tests_name("json", tests, NULL, NULL);
}
