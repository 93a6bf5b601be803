/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"

#include "base/clock.h"

#include <string.h>
#include <time.h>

void sb_assert_code(sb_code_t want, sb_code_t have, const sb_error_t *err, const char *call, const char *file,
                    int line)
{
    if (have == want)
        return;
    print_error("%s\n  gave %s, expected %s\n", call, sb_code_name(have), sb_code_name(want));
    if (err && have != SB_OK)
        print_error("  %s%s%s%s%s\n", err->message, err->origin[0] ? " origin=" : "", err->origin,
                    err->pointer[0] ? " pointer=" : "", err->pointer);
    _fail(file, line);
}

void sb_assert_slice(sb_slice_t have, const char *want, const char *file, int line)
{
    if (sb_slice_is(have, want))
        return;
    print_error("\"%.*s\" != \"%s\"\n", SB_SLICE_ARG(have), want);
    _fail(file, line);
}

void sb_assert_contains(const char *text, const char *part, const char *file, int line)
{
    if (strstr(text, part))
        return;
    print_error("\"%s\" is not in \"%s\"\n", part, text);
    _fail(file, line);
}

int64_t sb_test_patience(int64_t expected_ms)
{
    int64_t ms = expected_ms * SB_TEST_PATIENCE;
    return ms > SB_TEST_LEAST_MS ? ms : SB_TEST_LEAST_MS;
}

int64_t sb_test_cpu_ms(void)
{
    struct timespec at;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

int64_t sb_test_mono_ms(void)
{
    return sb_mono_us() / 1000;
}

void sb_test_sleep_ms(int64_t ms)
{
    sb_sleep_ms(ms);
}
