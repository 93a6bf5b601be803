/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
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

/* The Gregorian calendar by arithmetic: gmtime and timegm look at the time zone first, under a lock, and were
 * most of what a time cost. Years begin in March here, so that a leap day is their last. */
#define DAYS_OF_400_YEARS 146097
#define EPOCH_DAY         719468 /* 1970-01-01, from 0000-03-01 */

sb_date_t sb_date_of(int64_t day)
{
    day += EPOCH_DAY;
    int64_t era = (day >= 0 ? day : day - DAYS_OF_400_YEARS + 1) / DAYS_OF_400_YEARS;
    int of_era = (int)(day - era * DAYS_OF_400_YEARS);
    int year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int of_year = of_era - (365 * year + year / 4 - year / 100);
    int month = (5 * of_year + 2) / 153; /* 0: March */
    sb_date_t date = {.day = of_year - (153 * month + 2) / 5 + 1};
    date.month = month < 10 ? month + 3 : month - 9;
    date.year = year + era * 400 + (date.month <= 2);
    return date;
}

int64_t sb_date_day(sb_date_t date)
{
    int month = date.month;
    int64_t of = date.year + 400 - (month <= 2); /* never below 0 */
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + date.day - 1;
    return of * 365 + of / 4 - of / 100 + of / 400 + of_year - EPOCH_DAY - DAYS_OF_400_YEARS;
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
    int64_t day = seconds / 86400 - (seconds % 86400 < 0);
    int of_day = (int)(seconds - day * 86400);
    sb_date_t date = sb_date_of(day);
    if (date.year < 0 || date.year > 9999) {
        (void)snprintf(text, SB_TIME_TEXT, "%04" PRId64 "-%02d-%02dT%02d:%02d:%02d.%06dZ", date.year,
                       date.month, date.day, of_day / 3600, of_day / 60 % 60, of_day % 60, (int)us);
        return text;
    }
    char *at = put_digits(text, (int)date.year, 4, '-'); /* once an event: printf takes five times as long */
    at = put_digits(at, date.month, 2, '-');
    at = put_digits(at, date.day, 2, 'T');
    at = put_digits(at, of_day / 3600, 2, ':');
    at = put_digits(at, of_day / 60 % 60, 2, ':');
    at = put_digits(at, of_day % 60, 2, '.');
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
    for (; at->len > 0 && *any_of; any_of++) {
        if (at->ptr[0] != *any_of)
            continue;
        at->ptr++;
        at->len--;
        return true;
    }
    return false;
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
    int year, month, day, hour, minute, second, us, offset_h = 0, offset_m = 0, sign = 0;
    if (!take_digits(&text, 4, &year) || !take_char(&text, "-") || !take_digits(&text, 2, &month) ||
        !take_char(&text, "-") || !take_digits(&text, 2, &day) || !take_char(&text, "Tt ") ||
        !take_digits(&text, 2, &hour) || !take_char(&text, ":") || !take_digits(&text, 2, &minute) ||
        !take_char(&text, ":") || !take_digits(&text, 2, &second) || !take_fraction(&text, &us) ||
        text.len == 0)
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_of(year, month) || hour > 23 || minute > 59 ||
        second > 60)
        return false;
    if (!take_char(&text, "Zz")) {
        sign = text.ptr[0] == '-' ? -1 : 1;
        if (!take_char(&text, "+-") || !take_digits(&text, 2, &offset_h) || !take_char(&text, ":") ||
            !take_digits(&text, 2, &offset_m) || offset_h > 23 || offset_m > 59)
            return false;
    }
    if (text.len != 0)
        return false;
    int64_t seconds = sb_date_day((sb_date_t){year, month, day}) * 86400 + hour * 3600 + minute * 60 +
                      second - sign * (offset_h * 3600 + offset_m * 60);
    *out_us = seconds * 1000000 + us;
    return true;
}
