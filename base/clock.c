/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

static int64_t read_us(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t sb_wall_us(void)
{
    return read_us(CLOCK_REALTIME);
}

int64_t sb_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

static int64_t system_wall(void *context)
{
    (void)context;
    return sb_wall_us();
}

static int64_t system_mono(void *context)
{
    (void)context;
    return sb_mono_us();
}

const sb_clock_t sb_clock_system = {system_wall, system_mono, NULL};

void sb_sleep_us(int64_t us)
{
    struct timespec left = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000L};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

void sb_sleep_ms(int64_t ms)
{
    sb_sleep_us(ms * 1000);
}

/* Exactly count digits, and what comes behind them. */
static char *put_digits(char *at, int value, int count, char end)
{
    for (int i = count - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    at[count] = end;
    return at + count + 1;
}

char *sb_time_format(int64_t wall_us, char text[SB_TIME_TEXT])
{
    int64_t seconds = wall_us / 1000000;
    int64_t us = wall_us % 1000000;
    if (us < 0) {
        us += 1000000;
        seconds--;
    }
    time_t t = (time_t)seconds;
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    if (tm.tm_year + 1900 < 0 || tm.tm_year + 1900 > 9999) {
        (void)snprintf(text, SB_TIME_TEXT, "%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", tm.tm_year + 1900,
                       tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (int)us);
        return text;
    }
    char *at =
        put_digits(text, tm.tm_year + 1900, 4, '-'); /* once an event: printf takes five times as long */
    at = put_digits(at, tm.tm_mon + 1, 2, '-');
    at = put_digits(at, tm.tm_mday, 2, 'T');
    at = put_digits(at, tm.tm_hour, 2, ':');
    at = put_digits(at, tm.tm_min, 2, ':');
    at = put_digits(at, tm.tm_sec, 2, '.');
    at = put_digits(at, (int)us, 6, 'Z');
    *at = '\0';
    return text;
}

static bool take_digits(sb_slice_t *at, int count, int *out)
{
    if (at->len < (size_t)count)
        return false;
    int value = 0;
    for (int i = 0; i < count; i++) {
        char c = at->ptr[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    at->ptr += count;
    at->len -= (size_t)count;
    *out = value;
    return true;
}

static bool take_char(sb_slice_t *at, const char *any_of)
{
    if (at->len == 0 || at->ptr[0] == '\0' || !strchr(any_of, at->ptr[0]))
        return false;
    at->ptr++;
    at->len--;
    return true;
}

static bool take_fraction(sb_slice_t *at, int *us)
{
    *us = 0;
    if (!take_char(at, "."))
        return true;
    int digits = 0;
    int digit;
    while (digits < 9 && take_digits(at, 1, &digit)) {
        if (digits < 6)
            *us = *us * 10 + digit;
        digits++;
    }
    if (digits == 0)
        return false;
    for (; digits < 6; digits++)
        *us *= 10;
    return true;
}

static int days_of(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return days[month - 1] + (month == 2 && leap);
}

bool sb_time_parse(sb_slice_t text, int64_t *out_us)
{
    struct tm tm = {0};
    int year, month, us, offset_h = 0, offset_m = 0, sign = 0;
    if (!take_digits(&text, 4, &year) || !take_char(&text, "-") || !take_digits(&text, 2, &month) ||
        !take_char(&text, "-") || !take_digits(&text, 2, &tm.tm_mday) || !take_char(&text, "Tt ") ||
        !take_digits(&text, 2, &tm.tm_hour) || !take_char(&text, ":") || !take_digits(&text, 2, &tm.tm_min) ||
        !take_char(&text, ":") || !take_digits(&text, 2, &tm.tm_sec) || !take_fraction(&text, &us) ||
        text.len == 0)
        return false;
    if (month < 1 || month > 12 || tm.tm_mday < 1 || tm.tm_mday > days_of(year, month) || tm.tm_hour > 23 ||
        tm.tm_min > 59 || tm.tm_sec > 60)
        return false;
    if (!take_char(&text, "Zz")) {
        sign = text.ptr[0] == '-' ? -1 : 1;
        if (!take_char(&text, "+-") || !take_digits(&text, 2, &offset_h) || !take_char(&text, ":") ||
            !take_digits(&text, 2, &offset_m) || offset_h > 23 || offset_m > 59)
            return false;
    }
    if (text.len != 0)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    int64_t seconds = (int64_t)timegm(&tm) - sign * (offset_h * 3600 + offset_m * 60);
    *out_us = seconds * 1000000 + us;
    return true;
}
