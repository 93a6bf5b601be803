/* SPDX-License-Identifier: Apache-2.0 */
#include "events/decimal.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>

static int compare(const char *a, const char *b)
{
    sb_decimal_t left = sb_decimal(sb_slice(a));
    sb_decimal_t right = sb_decimal(sb_slice(b));
    assert_int_equal(sb_decimal_compare(&left, &right), -sb_decimal_compare(&right, &left));
    return sb_decimal_compare(&left, &right);
}

static void compares_exactly(void **state)
{
    (void)state;
    assert_int_equal(compare("1", "1.0"), 0);
    assert_int_equal(compare("1e2", "100"), 0);
    assert_int_equal(compare("0.001e3", "1"), 0);
    assert_int_equal(compare("-0", "0.0e5"), 0);
    assert_int_equal(compare("-1", "1"), -1);
    assert_int_equal(compare("-2", "-1"), -1);
    assert_int_equal(compare("9", "10"), -1);
    assert_int_equal(compare("0.1", "0.09"), 1);
    assert_int_equal(compare("1.23", "1.2"), 1);
    assert_int_equal(compare("9007199254740993", "9007199254740992"), 1); /* one double for both */
    assert_int_equal(compare("1e999999999", "9e999999998"), 1);
    assert_int_equal(compare("1e-99999999999999999999", "0"), 1);
    assert_int_equal(compare("123.45", "12345e-2"), 0);
}

/* The same numbers in each run. */
static unsigned random_state;

static int random_number(void)
{
    return rand_r(&random_state);
}

static void agrees_with_doubles(void **state)
{
    (void)state;
    random_state = 7;
    for (int i = 0; i < 20000; i++) {
        char text[2][32];
        double value[2];
        for (int k = 0; k < 2; k++) {
            (void)snprintf(text[k], sizeof text[k], "%d.%02de%d", random_number() % 200 - 100,
                           random_number() % 100, random_number() % 5 - 2);
            value[k] = strtod(text[k], NULL);
        }
        int want = (value[0] > value[1]) - (value[0] < value[1]);
        assert_int_equal(compare(text[0], text[1]), want);
    }
}

static bool multiple(const char *value, const char *divisor)
{
    sb_decimal_t a = sb_decimal(sb_slice(value));
    sb_decimal_t b = sb_decimal(sb_slice(divisor));
    return sb_decimal_is_multiple(&a, &b);
}

static void divides_exactly(void **state)
{
    (void)state;
    assert_true(multiple("0.3", "0.1")); /* not so with doubles */
    assert_true(multiple("4.5", "1.5"));
    assert_false(multiple("35", "1.5"));
    assert_true(multiple("0", "7"));
    assert_true(multiple("-21", "7"));
    assert_true(multiple("1e308", "0.5"));
    assert_false(multiple("0.00751", "0.0001"));
    assert_true(multiple("0.0075", "0.0001"));
    assert_false(multiple("1e20", "3"));
    assert_true(multiple("999999999999999999999999999999", "3"));
    for (int i = 1; i < 3000; i++) {
        char a[16], b[16];
        (void)snprintf(a, sizeof a, "%d", i * 7 % 1000);
        (void)snprintf(b, sizeof b, "%d", i % 30 + 1);
        assert_int_equal(multiple(a, b), i * 7 % 1000 % (i % 30 + 1) == 0);
    }
}

static void knows_integers(void **state)
{
    (void)state;
    static const char *const yes[] = {"0", "1", "-5", "1.0", "1e3", "1.50e1", "100e-2"};
    static const char *const no[] = {"0.5", "1e-1", "1.05e1", "15e-1"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        sb_decimal_t value = sb_decimal(sb_slice(yes[i]));
        assert_true(sb_decimal_is_integer(&value));
    }
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        sb_decimal_t value = sb_decimal(sb_slice(no[i]));
        assert_false(sb_decimal_is_integer(&value));
    }
}

static void equal_values_are_written_alike(void **state)
{
    (void)state;
    static const char *const same[] = {"1200", "1.2e3", "12e2", "1200.000", "0.0012E+6"};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        sb_buf_t out = SB_BUF_INIT;
        sb_decimal_t value = sb_decimal(sb_slice(same[i]));
        sb_decimal_write(&value, &out);
        assert_string_equal(sb_buf_text(&out), "12e2");
        sb_buf_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_exactly),
        cmocka_unit_test(agrees_with_doubles),
        cmocka_unit_test(divides_exactly),
        cmocka_unit_test(knows_integers),
        cmocka_unit_test(equal_values_are_written_alike),
    };
    return cmocka_run_group_tests_name("decimal", tests, NULL, NULL);
}
