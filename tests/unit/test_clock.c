/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <time.h>

static void formats_rfc_3339(void **state)
{
    (void)state;
    char text[SB_TIME_TEXT];
    assert_string_equal(sb_time_format(0, text), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(sb_time_format(-1, text), "1969-12-31T23:59:59.999999Z");
    assert_string_equal(sb_time_format(1732165175123456, text), "2024-11-21T04:59:35.123456Z");
    assert_true(strlen(sb_time_format(INT64_MAX, text)) < SB_TIME_TEXT);
    assert_true(strlen(sb_time_format(INT64_MIN, text)) < SB_TIME_TEXT);
}

static void parses_rfc_3339(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"2024-11-21T04:59:35.123456Z", 1732165175123456},
        {"2024-11-21t04:59:35.123456789z", 1732165175123456},
        {"2024-11-21T06:29:35.1+01:30", 1732165175100000},
        {"2024-11-20 23:59:35.12-05:00", 1732165175120000},
        {"2024-02-29T00:00:00Z", 1709164800000000},
        {"1969-12-31T23:59:59.5Z", -500000},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t us = 7;
        if (!sb_time_parse(sb_slice(cases[i].text), &us) || us != cases[i].us)
            fail_msg("%s gave %lld", cases[i].text, (long long)us);
    }
}

static void refuses_what_is_no_time(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2024",
        "2024-11-21",
        "2024-11-21T04:59:35",
        "2024-11-21T04:59:35.Z",
        "2024-13-01T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-11-31T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2024-11-21T24:00:00Z",
        "2024-11-21T04:60:00Z",
        "2024-11-21T04:59:35+1:00",
        "2024-11-21T04:59:35Zx",
        "2024-11-21T04:59:35.1234567890Z",
        "2024-11-21T04:59:35+24:00",
        "24-11-21T04:59:35Z",
    };
    int64_t us = 7;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (sb_time_parse(sb_slice(bad[i]), &us))
            fail_msg("taken for a time: %s", bad[i]);
    assert_false(sb_time_parse(SB_SLICE("2024\0"
                                        "11-21T04:59:35Z"),
                               &us));
    assert_false(sb_time_parse(SB_SLICE("2024-11-21T04:59:35\0"), &us));
    assert_int_equal(us, 7);
}

static void there_and_back(void **state)
{
    (void)state;
    for (int64_t us = -100000000000000000; us < 200000000000000000; us += 987654321987) {
        char text[SB_TIME_TEXT];
        int64_t back = 0;
        (void)sb_time_format(us, text);
        if (text[4] != '-' || text[0] == '-')
            continue; /* years that RFC 3339 does not know */
        assert_true(sb_time_parse(sb_slice(text), &back));
        assert_true(back == us);
    }
}

static void has_the_calendar_of_the_c_library(void **state)
{
    (void)state;
    for (int64_t seconds = -62167219200; seconds < 253402300800; seconds += 86399 * 41) {
        char text[SB_TIME_TEXT], expected[SB_TIME_TEXT];
        struct tm tm;
        time_t t = (time_t)seconds;
        int64_t us = 0;
        assert_non_null(gmtime_r(&t, &tm));
        (void)snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d.000000Z", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        assert_string_equal(sb_time_format(seconds * 1000000, text), expected);
        assert_true(sb_time_parse(sb_slice(text), &us));
        assert_true(us == seconds * 1000000);
    }
}

static void the_monotonic_clock_rises(void **state)
{
    (void)state;
    int64_t from = sb_clock_system.mono_us(sb_clock_system.context);
    sb_sleep_ms(5);
    sb_sleep_ms(-5);
    assert_true(sb_mono_us() - from >= 5000);
    assert_true(sb_clock_system.wall_us(NULL) > 1600000000000000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_rfc_3339),          cmocka_unit_test(parses_rfc_3339),
        cmocka_unit_test(refuses_what_is_no_time),   cmocka_unit_test(there_and_back),
        cmocka_unit_test(the_monotonic_clock_rises), cmocka_unit_test(has_the_calendar_of_the_c_library),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
