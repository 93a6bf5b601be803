/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/scan.h"
#include "tests/fuzz/scan_oracle.h"
#include "tests/support/assert.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void assert_agrees(sb_slice_t text)
{
    char *copy = malloc(text.len ? text.len : 1); /* exact, for AddressSanitizer */
    assert_non_null(copy);
    memcpy(copy, text.ptr, text.len);
    const char *fault = sb_scan_differs((sb_slice_t){copy, text.len}, NULL);
    free(copy);
    if (fault)
        fail_msg("%s: %.*s", fault, SB_SLICE_ARG(text));
}

static void verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int bad_at; /* -1: valid */
    } cases[] = {
        {"null", -1},
        {" {} ", -1},
        {"[]", -1},
        {"\"\"", -1},
        {"-0.0e+1", -1},
        {"", 0},
        {" ", 1},
        {"nul", 3},
        {"nulL", 3},
        {"{} {}", 3},
        {"[1,]", 3},
        {"[,1]", 1},
        {"[1 2]", 3},
        {"{\"a\"}", 4},
        {"{\"a\":}", 5},
        {"{\"a\":1,}", 7},
        {"{a:1}", 1},
        {"[1}", 2},
        {"{\"a\":1]", 6},
        {"01", 1},
        {"-", 1},
        {"1.", 2},
        {"1e", 2},
        {"+1", 0},
        {".5", 0},
        {"\"\\x\"", 1},
        {"\"\\u12g4\"", 1},
        {"\"\\ud800\"", 1},
        {"\"a", 2},
        {"\"\t\"", 1},
        {"'a'", 0},
        {"[\"\\udc00\"]", 2},
        {"\"\xc3\x28\"", 1},
        {"]", 0},
        {"\xef\xbb\xbf{}", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t bad_at = 999;
        bool valid = sb_scan_valid(sb_slice(cases[i].text), &bad_at);
        if (valid != (cases[i].bad_at < 0) || (!valid && bad_at != (size_t)cases[i].bad_at))
            fail_msg("%s: valid=%d bad_at=%zu, expected %d", cases[i].text, valid, bad_at, cases[i].bad_at);
        assert_agrees(sb_slice(cases[i].text));
    }
    assert_false(sb_scan_valid(SB_SLICE_NONE, NULL));
}

static void depth_is_capped_without_recursion(void **state)
{
    (void)state;
    size_t length = 1000000;
    char *deep = malloc(length);
    assert_non_null(deep);
    memset(deep, '[', length);
    size_t bad_at = 0;
    assert_false(sb_scan_valid((sb_slice_t){deep, length}, &bad_at));
    assert_int_equal(bad_at, SB_SCAN_DEPTH_MAX);
    memset(deep + 32, ']', 32);
    assert_true(sb_scan_valid((sb_slice_t){deep, 64}, NULL));
    free(deep);
}

static void finds_values_by_pointer(void **state)
{
    (void)state;
    sb_slice_t text = SB_SLICE(" {\"a\":{\"x/y\":[1,{\"m~n\":\"v\"}]},\"\\u00e9\":2,\"a\":3,\"\":{\"\":4}} ");
    sb_scan_value_t value;
    assert_true(sb_scan_at(text, SB_SLICE("/a/x~1y/1/m~0n"), &value));
    assert_slice(value.text, "\"v\"");
    assert_true(sb_scan_at(text, SB_SLICE("/\xc3\xa9"), &value));
    assert_slice(value.text, "2");
    assert_true(sb_scan_at(text, SB_SLICE("//"), &value));
    assert_slice(value.text, "4");
    assert_true(sb_scan_at(text, SB_SLICE(""), &value));
    assert_int_equal(value.kind, SB_SCAN_OBJECT);
    static const char *const absent[] = {"/b",        "/a/x", "/a/x~1y/2", "/a/x~1y/01",
                                         "/a/x~1y/-", "a",    "/~",        "/a/x~1y/0/0"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++)
        assert_false(sb_scan_at(text, sb_slice(absent[i]), &value));
    assert_false(sb_scan_at(SB_SLICE("{\"a\":1} x"), SB_SLICE("/a"), &value));
}

static void finds_fields_of_the_first_level(void **state)
{
    (void)state;
    sb_slice_t text = SB_SLICE("{\"o\":{\"a\":1},\"\\u0061\":2,\"b\":\"x\\ny\"}");
    sb_scan_value_t value;
    sb_buf_t scratch = SB_BUF_INIT;
    assert_true(sb_scan_field(text, "a", &value));
    assert_slice(value.text, "2");
    assert_true(sb_scan_field(text, "b", &value));
    assert_true(value.escaped);
    assert_slice(sb_scan_string(&value, &scratch), "x\ny");
    assert_false(sb_scan_field(text, "c", &value));
    assert_false(sb_scan_field(SB_SLICE("[\"a\"]"), "a", &value));
    assert_false(sb_scan_field(SB_SLICE(""), "a", &value));
    sb_buf_fini(&scratch);
}

static void iterates(void **state)
{
    (void)state;
    sb_scan_value_t name, value;
    size_t at = 0;
    sb_slice_t items = SB_SLICE("[ 1 , [2] ,\"3\"]");
    static const char *const want[] = {"1", "[2]", "\"3\""};
    for (int i = 0; i < 3; i++) {
        assert_true(sb_scan_next(items, &at, &name, &value));
        assert_slice(value.text, want[i]);
    }
    assert_false(sb_scan_next(items, &at, &name, &value));
    assert_true(at != SIZE_MAX);
    assert_false(sb_scan_next(items, &at, &name, &value));
    assert_true(at != SIZE_MAX);
    static const char *const faulty[] = {"[1,]",  "[1 2]", "[", "{\"a\"}", "{\"a\":1,}",
                                         "{1:2}", "3",     "",  "[1",      "{\"a\":1 \"b\":2}"};
    for (size_t i = 0; i < sizeof faulty / sizeof faulty[0]; i++) {
        at = 0;
        while (sb_scan_next(sb_slice(faulty[i]), &at, &name, &value)) {
        }
        if (at != SIZE_MAX)
            fail_msg("no fault seen in %s", faulty[i]);
    }
}

static bool int_of(const char *text, int64_t *out)
{
    sb_scan_value_t value;
    return sb_scan_at(sb_slice(text), SB_SLICE_NONE, &value) && sb_scan_int64(&value, out);
}

static void integers_are_exact(void **state)
{
    (void)state;
    int64_t n = 7;
    assert_true(int_of("9223372036854775807", &n) && n == INT64_MAX);
    assert_true(int_of("-9223372036854775808", &n) && n == INT64_MIN);
    assert_true(int_of("-0", &n) && n == 0);
    assert_false(int_of("9223372036854775808", &n));
    assert_false(int_of("-9223372036854775809", &n));
    assert_false(int_of("1.0", &n));
    assert_false(int_of("1e3", &n));
    assert_false(int_of("\"1\"", &n));
}

static void doubles_are_finite(void **state)
{
    (void)state;
    sb_scan_value_t value;
    double real = 0;
    assert_true(sb_scan_at(SB_SLICE("-1.5e3"), SB_SLICE_NONE, &value));
    assert_true(sb_scan_double(&value, &real));
    assert_true(real > -1500.1 && real < -1499.9);
    assert_true(sb_scan_at(SB_SLICE("1e999"), SB_SLICE_NONE, &value));
    assert_false(sb_scan_double(&value, &real));
    char text[201] = "0.";
    memset(text + 2, '3', 198);
    assert_true(sb_scan_at((sb_slice_t){text, 200}, SB_SLICE_NONE, &value));
    assert_true(sb_scan_double(&value, &real));
    assert_true(real > 0.33 && real < 0.34);
}

/* ---- against jansson ---- */

static uint64_t random_state = 88172645463325252u;

static uint32_t draw(uint32_t below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % below;
}

static void add_space(sb_buf_t *out)
{
    for (uint32_t n = draw(8); n > 5; n--)
        sb_buf_add_char(out, " \t\r\n"[draw(4)]);
}

static void add_string(sb_buf_t *out)
{
    static const char *const pieces[] = {"a",        "order",
                                         "\\n",      "\\u00e9",
                                         "\xc3\xa9", "\xf0\x9f\x98\x80",
                                         "\\\"",     "\\\\",
                                         "\\/",      "\\ud83d\\ude00",
                                         "\\u0041",  "plain text that is longer than eight",
                                         "\x7f",     "\xe2\x82\xac",
                                         "~",        "/"};
    sb_buf_add_char(out, '"');
    for (uint32_t n = draw(5); n > 0; n--)
        sb_buf_add_text(out, pieces[draw(sizeof pieces / sizeof pieces[0])]);
    sb_buf_add_char(out, '"');
}

static void add_value(sb_buf_t *out, int depth)
{
    static const char *const scalars[] = {
        "null", "true", "false", "0", "-1", "12.5", "1e-3", "-0", "9223372036854775807", "1E+2", "3.0"};
    uint32_t kind = draw(depth > 5 ? 2 : 4);
    add_space(out);
    if (kind == 0) {
        add_string(out);
    } else if (kind == 1) {
        sb_buf_add_text(out, scalars[draw(sizeof scalars / sizeof scalars[0])]);
    } else {
        sb_buf_add_char(out, kind == 2 ? '[' : '{');
        add_space(out);
        for (uint32_t i = 0, n = draw(4); i < n; i++) {
            if (i > 0)
                sb_buf_add_char(out, ',');
            add_space(out);
            if (kind == 3) {
                add_string(out);
                add_space(out);
                sb_buf_add_char(out, ':');
            }
            add_value(out, depth + 1);
        }
        sb_buf_add_char(out, kind == 2 ? ']' : '}');
    }
    add_space(out);
}

static void mutate(sb_buf_t *text)
{
    static const char bytes[] = "{}[]\",:\\u0d1eE+-.tfn \x01\x7f\x80\xc3\xed\xf4\xff";
    for (uint32_t n = 1 + draw(3); n > 0 && text->len > 0; n--) {
        size_t at = draw((uint32_t)text->len);
        switch (draw(3)) {
        case 0:
            text->ptr[at] = bytes[draw(sizeof bytes)];
            break;
        case 1:
            memmove(text->ptr + at, text->ptr + at + 1, text->len - at - 1);
            text->len--;
            break;
        default:
            text->len = at;
        }
    }
}

static void agrees_with_jansson_on_generated_texts(void **state)
{
    (void)state;
    sb_buf_t text = SB_BUF_INIT;
    int valid = 0;
    int invalid = 0;
    for (int i = 0; i < 20000; i++) {
        bool ok = false;
        sb_buf_reset(&text);
        add_value(&text, 0);
        assert_null(sb_scan_differs(sb_buf_slice(&text), &ok));
        assert_true(ok);
        for (int j = 0; j < 4; j++) {
            mutate(&text);
            assert_agrees(sb_buf_slice(&text));
            (void)(sb_scan_valid(sb_buf_slice(&text), NULL) ? valid++ : invalid++);
        }
    }
    sb_buf_fini(&text);
    assert_true(valid > 500 && invalid > 5000); /* both sides were really tried */
}

static void finds_what_jansson_finds(void **state)
{
    (void)state;
    static const char *const pointers[] = {"/a",  "/0",  "/order/a", "/0/0",   "/a/0", "/1",
                                           "/~0", "/~1", "",         "/order", "/A"};
    sb_buf_t text = SB_BUF_INIT;
    int found = 0;
    for (int i = 0; i < 5000; i++) {
        sb_buf_reset(&text);
        add_value(&text, 0);
        json_t *tree = NULL;
        if (sb_json_parse(&tree, sb_buf_slice(&text), "generated", NULL) != SB_OK)
            continue; /* a duplicate */
        for (size_t p = 0; p < sizeof pointers / sizeof pointers[0]; p++) {
            sb_scan_value_t value;
            json_t *want = sb_json_at(tree, sb_slice(pointers[p]));
            bool have = sb_scan_at(sb_buf_slice(&text), sb_slice(pointers[p]), &value);
            assert_int_equal(have, want != NULL);
            found += have && p != 8;
        }
        json_decref(tree);
    }
    sb_buf_fini(&text);
    assert_true(found > 500);
}

static void agrees_with_jansson_on_the_kept_corpus(void **state)
{
    (void)state;
    DIR *directory = opendir(SB_TEST_CORPUS);
    assert_non_null(directory);
    struct dirent *entry;
    int count = 0;
    while ((entry = readdir(directory)) != NULL) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", SB_TEST_CORPUS, entry->d_name);
        char bytes[8192];
        FILE *file = fopen(path, "re");
        assert_non_null(file);
        size_t length = fread(bytes, 1, sizeof bytes, file);
        (void)fclose(file);
        assert_agrees((sb_slice_t){bytes, length});
        count++;
    }
    (void)closedir(directory);
    assert_true(count > 10);
}

static void text_that_postgresql_can_hold(void **state)
{
    static const char *const good[] = {
        "", "a", "\xc3\xa9", "\xe2\x82\xac x", "\xf0\x9f\x98\x80", "\xed\x9f\xbf", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80",
                                      "a\xc3",
                                      "\xc0\xaf",
                                      "\xe0\x80\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\xf8\x88\x80\x80\x80",
                                      "\xe2\x82"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(sb_utf8_ok(sb_slice(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sb_utf8_ok(sb_slice(bad[i])));
    assert_false(sb_utf8_ok((sb_slice_t){"a\0b", 3}));
    assert_true(sb_utf8_ok(SB_SLICE_NONE));
    for (size_t at = 0; at < 20; at++) { /* wherever it stands */
        static const char spoiling[] = {'\0', '\x80', '\xff', '\xc3'};
        char text[] = "aaaaaaaaaaaaaaaaaaaa";
        for (size_t i = 0; i < sizeof spoiling; i++) {
            text[at] = spoiling[i];
            assert_false(sb_utf8_ok((sb_slice_t){text, 20}));
        }
        text[at] = '\x01';
        assert_true(sb_utf8_ok((sb_slice_t){text, 20}));
        text[at] = '\x7f';
        assert_true(sb_utf8_ok((sb_slice_t){text, 20}));
        memcpy(&text[at < 19 ? at : 18], "\xc3\xa9", 2);
        assert_true(sb_utf8_ok((sb_slice_t){text, 20}));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts),
        cmocka_unit_test(text_that_postgresql_can_hold),
        cmocka_unit_test(depth_is_capped_without_recursion),
        cmocka_unit_test(finds_values_by_pointer),
        cmocka_unit_test(finds_fields_of_the_first_level),
        cmocka_unit_test(iterates),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(doubles_are_finite),
        cmocka_unit_test(agrees_with_jansson_on_generated_texts),
        cmocka_unit_test(finds_what_jansson_finds),
        cmocka_unit_test(agrees_with_jansson_on_the_kept_corpus),
    };
    return cmocka_run_group_tests_name("scan", tests, NULL, NULL);
}
