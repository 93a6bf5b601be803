/* SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/pattern.h"
#include "tests/support/assert.h"

#include <stdlib.h>

typedef struct row {
    const char *pattern;
    const char *text;
    bool matches;
} row_t;

static const row_t rows[] = {
    {"^[A-Z]{3}$", "EUR", true},
    {"^[A-Z]{3}$", "EURO", false},
    {"^[A-Z]{3}$", "EUr", false},
    {"b+", "aabbcc", true},
    {"b+", "aacc", false},
    {"", "", true},
    {"^$", "x", false},
    {"a|b|cd", "xcdx", true},
    {"^(a|b|cd)$", "c", false},
    {"^(?:ab)*$", "ababab", true},
    {"^(?:ab)*$", "ababa", false},
    {"^(a*)*$", "aaaa", true},
    {"^a{2,3}$", "a", false},
    {"^a{2,3}$", "aa", true},
    {"^a{2,3}$", "aaaa", false},
    {"^a{2,}$", "aaaaaa", true},
    {"^a{0}b$", "b", true},
    {"^a{0}b$", "ab", false},
    {"^(a|bc){2}$", "abc", true},
    {"^(a|bc){2}$", "bca", true},
    {"^(a|bc){2}$", "bc", false},
    {"^a+?b??$", "aab", true},
    {"^.$", "\n", false},
    {"^.$", "\xc3\xa9", true}, /* one character of two bytes */
    {"^[^a]$", "\xf0\x9f\x90\xb2", true},
    {"^[\\u{1F432}]$", "\xf0\x9f\x90\xb2", true},
    {"^\\ud83d\\udc32$", "\xf0\x9f\x90\xb2", true},
    {"^\\d+\\.\\d{2}$", "12.50", true},
    {"^\\d+$", "\xd9\xa1", false}, /* digits are ASCII's */
    {"^[\\w-]+$", "ab_c-9", true},
    {"^\\W$", "-", true},
    {"^\\S+$", "a b", false},
    {"^[^\\s]+$", "ab", true},
    {"\\bcat\\b", "a cat.", true},
    {"\\bcat\\b", "concat", false},
    {"\\Bcat", "concat", true},
    {"^[]$", "", false},
    {"^[^]$", "x", true},
    {"^a\\/b\\-?$", "x", false},
    {"[a\\-z]", "-", true},
    {"^\\x41\\cA$", "A\x01", true},
};

static void matches_as_ecma_does(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sb_pattern_t *pattern = NULL;
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = sb_pattern_compile(&pattern, sb_slice(rows[i].pattern), &err);
        if (strcmp(rows[i].pattern, "^a\\/b\\-?$") == 0) { /* \- stands in classes only */
            assert_code(SB_UNSUPPORTED, code, &err);
            continue;
        }
        assert_ok(code, &err);
        if (sb_pattern_matches(pattern, sb_slice(rows[i].text)) != rows[i].matches)
            fail_msg("%s on %s: not %d", rows[i].pattern, rows[i].text, rows[i].matches);
        sb_pattern_free(&pattern);
    }
}

static void refuses_what_it_does_not_do(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "(?=a)", "(?<!a)b", "(a)\\1",      "\\p{L}",         "(",       ")",  "[a",     "*a", "a{", "a{2,1}",
        "a**",   "[z-a]",   "\\u{110000}", "\\ud83d\\u0041", "(?<n>a)", "\\", "a{2000}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sb_pattern_t *pattern = NULL;
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = sb_pattern_compile(&pattern, sb_slice(bad[i]), &err);
        if (code != SB_INVALID && code != SB_UNSUPPORTED)
            fail_msg("%s was taken", bad[i]);
        assert_null(pattern);
        assert_contains(err.message, bad[i]);
    }
}

/* (a+)+$ takes engines that try one way after the other more than the age of the universe here. */
static void hostile_texts_take_linear_time(void **state)
{
    (void)state;
    sb_pattern_t *pattern = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_pattern_compile(&pattern, SB_SLICE("^(([a-z]+)*|a*)*$"), &err), &err);
    size_t length = 100000;
    char *text = malloc(length);
    assert_non_null(text);
    memset(text, 'a', length);
    text[length - 1] = '!';
    int64_t start = sb_test_cpu_ms();
    assert_false(sb_pattern_matches(pattern, (sb_slice_t){text, length}));
    assert_true(sb_test_cpu_ms() - start < 5000);
    free(text);
    sb_pattern_free(&pattern);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(matches_as_ecma_does),
                                       cmocka_unit_test(refuses_what_it_does_not_do),
                                       cmocka_unit_test(hostile_texts_take_linear_time)};
    return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
