/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "tests/support/assert.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char text[8192];
static int saved = -1;
static int ends[2];

static void catch_stderr(void)
{
    (void)fflush(stderr);
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    saved = dup(STDERR_FILENO);
    (void)dup2(ends[1], STDERR_FILENO);
}

static const char *caught(void)
{
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    text[got > 0 ? got : 0] = '\0';
    (void)close(ends[0]);
    (void)close(ends[1]);
    return text;
}

static void assert_one_line(void)
{
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void writes_logfmt(void **state)
{
    (void)state;
    catch_stderr();
    sb_log(SB_LOG_WARN, "RELAY-RESEND", "sending again|seq=%d topic=%s", 7, "order.events");
    assert_contains(caught(), " level=warn id=RELAY-RESEND msg=\"sending again\" seq=7 topic=order.events\n");
    assert_true(strncmp(text, "ts=20", 5) == 0);
}

static void what_comes_from_outside_stays_on_its_line(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    (void)sb_fail(&err, SB_BUSY, "quote \" and\nnewline");
    catch_stderr();
    sb_log_error(SB_LOG_ERROR, "X", &err, "a\nb|key=c\r\nlevel=error");
    (void)caught();
    assert_one_line();
    assert_contains(text, "msg=\"a b\" key=c  level=error code=busy error=\"quote ' and newline\"");
}

static void long_entries_are_cut_to_one_line(void **state)
{
    (void)state;
    char large[4000];
    sb_error_t err = SB_ERROR_INIT;
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    (void)sb_fail(&err, SB_BUSY, "%s", large);
    for (size_t at = 0; at < 1100; at += 50) { /* the bar at many places */
        large[at] = '|';
        catch_stderr();
        sb_log_error(SB_LOG_ERROR, "LONG", &err, "%s", large);
        (void)caught();
        assert_one_line();
        large[at] = 'x';
    }
}

static void levels_are_kept(void **state)
{
    (void)state;
    sb_log_level_t level;
    assert_true(sb_log_parse_level("WARN", &level));
    assert_int_equal(level, SB_LOG_WARN);
    assert_false(sb_log_parse_level("loud", &level));
    sb_log_set_level(SB_LOG_WARN);
    catch_stderr();
    sb_log(SB_LOG_INFO, "X", "not seen");
    assert_string_equal(caught(), "");
    sb_log_set_level(SB_LOG_INFO);
    assert_true(sb_log_enabled(SB_LOG_INFO));
    assert_false(sb_log_enabled(SB_LOG_DEBUG));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_logfmt),
        cmocka_unit_test(what_comes_from_outside_stays_on_its_line),
        cmocka_unit_test(long_entries_are_cut_to_one_line),
        cmocka_unit_test(levels_are_kept),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
