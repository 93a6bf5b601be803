/* A TZif file is a list of transitions and, behind it, a rule for all the years after the last one, as POSIX
 * writes TZ. The rule is spelled out for a cycle of the calendar (400 years), so that looking up is one
 * search; later times are brought back by whole cycles.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_zone.h"

#include "base/buf.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DAY         INT64_C(86400)
#define CYCLE_YEARS 400
#define CYCLE       (INT64_C(146097) * DAY)
#define FILE_MAX    (1 << 20)
#define LIST_MAX    4096

/* ---- the calendar ---- */

static int64_t days_before_year(int64_t year)
{
    int64_t y = year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t year_of(int64_t seconds)
{
    int64_t year = 1970 + seconds / (366 * DAY) - (seconds < 0);
    while (days_before_year(year + 1) * DAY <= seconds)
        year++;
    return year;
}

/* ---- the rule behind the list ---- */

typedef struct change {
    char form; /* M: week and weekday of a month; J: day 1 to 365 without 29 February; D: day 0 to 365 */
    int month, week, day;
    int time; /* seconds after midnight */
} change_t;

typedef struct rule {
    int32_t standard;
    int32_t summer;
    bool has_summer;
    change_t to_summer, to_standard;
} rule_t;

static bool read_digits(const char **at, int *out)
{
    const char *from = *at;
    for (*out = 0; **at >= '0' && **at <= '9' && *at - from < 4; (*at)++)
        *out = *out * 10 + (**at - '0');
    return *at > from;
}

/* [+-]hh[:mm[:ss]] */
static bool read_time(const char **at, int *out)
{
    int part[3] = {0, 0, 0};
    int sign = **at == '-' ? -1 : 1;
    *at += **at == '-' || **at == '+';
    if (!read_digits(at, &part[0]))
        return false;
    for (int i = 1; i < 3 && **at == ':'; i++) {
        ++*at;
        if (!read_digits(at, &part[i]))
            return false;
    }
    *out = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
    return part[0] <= 167 && part[1] < 60 && part[2] < 60;
}

static bool skip_name(const char **at)
{
    const char *from = *at;
    if (**at == '<')
        *at += strcspn(*at, ">");
    else
        *at += strspn(*at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz");
    if (**at == '>')
        ++*at;
    return *at - from >= 3;
}

static bool read_change(const char **at, change_t *out)
{
    *out = (change_t){.form = 'D', .time = 2 * 3600};
    if (*(*at)++ != ',')
        return false;
    if (**at == 'M' || **at == 'J')
        out->form = *(*at)++;
    if (!read_digits(at, out->form == 'M' ? &out->month : &out->day))
        return false;
    if (out->form == 'M') {
        if (*(*at)++ != '.' || !read_digits(at, &out->week) || *(*at)++ != '.' || !read_digits(at, &out->day))
            return false;
        if (out->month < 1 || out->month > 12 || out->week < 1 || out->week > 5 || out->day > 6)
            return false;
    }
    if (**at != '/')
        return out->day <= 365;
    ++*at;
    return out->day <= 365 && read_time(at, &out->time);
}

static bool read_rule(const char *text, rule_t *out)
{
    int offset = 0;
    *out = (rule_t){0};
    if (!skip_name(&text) || !read_time(&text, &offset))
        return false;
    out->standard = -offset;
    if (*text == '\0')
        return true;
    out->has_summer = true;
    if (!skip_name(&text))
        return false;
    offset -= 3600;
    if (*text != ',' && !read_time(&text, &offset))
        return false;
    out->summer = -offset;
    return read_change(&text, &out->to_summer) && read_change(&text, &out->to_standard) && *text == '\0';
}

/* The day of a change in a year, since 1970. */
static int64_t day_of_change(const change_t *change, int64_t year)
{
    static const int before_month[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365};
    int64_t first = days_before_year(year);
    bool leap = is_leap(year);
    if (change->form == 'D')
        return first + change->day;
    if (change->form == 'J')
        return first + change->day - 1 + (leap && change->day >= 60);
    int64_t month = first + before_month[change->month - 1] + (leap && change->month > 2);
    int length = before_month[change->month] - before_month[change->month - 1] + (leap && change->month == 2);
    int weekday = (int)(((month + 4) % 7 + 7) % 7); /* 1970-01-01 was a Thursday */
    int day = (change->day - weekday + 7) % 7 + 7 * (change->week - 1);
    return month + (day < length ? day : day - 7); /* the fifth week is the last one */
}

/* ---- the list ---- */

static void add(sb_view_zone_t *zone, int64_t at, int32_t offset)
{
    assert(zone->at && zone->offset);
    if (zone->count > 0 && zone->offset[zone->count - 1] == offset)
        return; /* only the name changed, or whether it is called summer */
    if (zone->count == LIST_MAX)
        return;
    zone->at[zone->count] = at;
    zone->offset[zone->count++] = offset;
}

static void spell_out(sb_view_zone_t *zone, const rule_t *rule, int64_t after)
{
    if (!rule->has_summer) {
        add(zone, after + 1, rule->standard);
        return;
    }
    int64_t from = after == INT64_MIN ? 1970 : year_of(after);
    for (int64_t year = from; year <= from + CYCLE_YEARS + 1; year++) {
        int64_t summer = day_of_change(&rule->to_summer, year) * DAY + rule->to_summer.time - rule->standard;
        int64_t winter =
            day_of_change(&rule->to_standard, year) * DAY + rule->to_standard.time - rule->summer;
        bool north = summer < winter;
        int64_t at[2] = {north ? summer : winter, north ? winter : summer};
        int32_t offset[2] = {north ? rule->summer : rule->standard, north ? rule->standard : rule->summer};
        for (int i = 0; i < 2; i++)
            if (at[i] > after)
                add(zone, at[i], offset[i]);
    }
}

/* ---- the file ---- */

typedef struct block {
    const uint8_t *at; /* of its data */
    uint32_t utc, standard, leap, times, types, chars;
    size_t bytes;
} block_t;

static uint64_t be(const uint8_t *at, int width)
{
    uint64_t value = 0;
    for (int i = 0; i < width; i++)
        value = value << 8 | at[i];
    return value;
}

static bool read_head(const uint8_t *at, size_t left, int width, block_t *out)
{
    if (left < 44 || memcmp(at, "TZif", 4) != 0 || at[4] < '2')
        return false;
    out->utc = (uint32_t)be(at + 20, 4);
    out->standard = (uint32_t)be(at + 24, 4);
    out->leap = (uint32_t)be(at + 28, 4);
    out->times = (uint32_t)be(at + 32, 4);
    out->types = (uint32_t)be(at + 36, 4);
    out->chars = (uint32_t)be(at + 40, 4);
    if ((out->utc | out->standard | out->leap | out->times | out->types | out->chars) > FILE_MAX)
        return false;
    out->at = at + 44;
    out->bytes = (size_t)out->times * (size_t)(width + 1) + (size_t)out->types * 6 + out->chars +
                 (size_t)out->leap * (size_t)(width + 4) + out->standard + out->utc;
    return out->bytes <= left - 44;
}

static bool read_list(const block_t *block, sb_view_zone_t *zone, int64_t *last)
{
    const uint8_t *type_of = block->at + (size_t)block->times * 8;
    const uint8_t *types = type_of + block->times;
    if (block->types == 0 || block->leap > 0 || block->times > LIST_MAX / 2)
        return false;
    *last = INT64_MIN;
    add(zone, INT64_MIN, (int32_t)be(types, 4));
    for (uint32_t i = 0; i < block->times; i++) {
        int64_t at = (int64_t)be(block->at + (size_t)i * 8, 8);
        if (type_of[i] >= block->types || at < *last)
            return false;
        *last = at;
        add(zone, at, (int32_t)be(types + (size_t)type_of[i] * 6, 4));
    }
    return true;
}

/* Version 1 of the data, with 4-byte times, comes first and is passed over. */
static bool read_zone(const uint8_t *bytes, size_t length, sb_view_zone_t *zone)
{
    block_t old;
    block_t block;
    rule_t rule;
    int64_t last;
    char text[128];
    if (!read_head(bytes, length, 4, &old))
        return false;
    size_t at = 44 + old.bytes;
    if (!read_head(bytes + at, length - at, 8, &block) || !read_list(&block, zone, &last))
        return false;
    const uint8_t *foot = block.at + block.bytes;
    size_t left = length - (size_t)(foot - bytes);
    const uint8_t *end = left > 1 && *foot == '\n' ? memchr(foot + 1, '\n', left - 1) : NULL;
    if (!end || (size_t)(end - foot) > sizeof text)
        return false;
    size_t size = (size_t)(end - foot - 1);
    memcpy(text, foot + 1, size);
    text[size] = '\0';
    if (size == 0) /* nothing is known of the years after */
        return true;
    if (!read_rule(text, &rule))
        return false;
    spell_out(zone, &rule, last);
    return zone->count < LIST_MAX;
}

static bool is_zone_name(const char *name)
{
    size_t length = strlen(name);
    return length > 0 && length < 64 && name[0] != '/' && !strstr(name, "..") &&
           strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+-/") == length;
}

static FILE *open_file(const char *name)
{
    const char *directory = getenv("TZDIR");
    char path[512];
    int length = snprintf(path, sizeof path, "%s/%s",
                          directory && *directory ? directory : "/usr/share/zoneinfo", name);
    return length > 0 && length < (int)sizeof path ? fopen(path, "rbe") : NULL;
}

static sb_code_t read_file(const char *name, uint8_t *bytes, size_t *length, sb_error_t *err)
{
    FILE *file = is_zone_name(name) ? open_file(name) : NULL;
    if (!file)
        return sb_fail(err, SB_NOT_FOUND,
                       "time zone %s: not in the tz database of this machine (/usr/share/zoneinfo, package "
                       "tzdata)",
                       name);
    *length = fread(bytes, 1, FILE_MAX, file);
    (void)fclose(file);
    return SB_OK;
}

sb_code_t sb_view_zone_load(sb_view_zone_t *out, const char *name, sb_error_t *err)
{
    *out = (sb_view_zone_t){.count = 0};
    size_t length = 0;
    uint8_t *bytes = malloc(FILE_MAX);
    out->at = calloc(LIST_MAX, sizeof *out->at);
    out->offset = calloc(LIST_MAX, sizeof *out->offset);
    sb_code_t code =
        bytes && out->at && out->offset ? SB_OK : sb_fail(err, SB_NO_MEMORY, "time zone: out of memory");
    if (code == SB_OK)
        code = read_file(name, bytes, &length, err);
    if (code == SB_OK && !read_zone(bytes, length, out))
        code = sb_fail(err, SB_NOT_FOUND, "time zone %s: its file is not one of the tz database", name);
    free(bytes);
    if (code != SB_OK)
        sb_view_zone_fini(out);
    else
        (void)snprintf(out->name, sizeof out->name, "%s", name);
    return code;
}

void sb_view_zone_fini(sb_view_zone_t *zone)
{
    free(zone->at);
    free(zone->offset);
    *zone = (sb_view_zone_t){.count = 0};
}

/* ---- looking up ---- */

int32_t sb_view_zone_offset(const sb_view_zone_t *zone, int64_t seconds)
{
    int64_t last = zone->at[zone->count - 1];
    if (zone->count > CYCLE_YEARS && seconds > last) /* the rule goes on for ever */
        seconds -= ((seconds - last) / CYCLE + 1) * CYCLE;
    int low = 0;
    for (int high = zone->count; high - low > 1;) {
        int middle = (low + high) / 2;
        if (zone->at[middle] <= seconds)
            low = middle;
        else
            high = middle;
    }
    return zone->offset[low];
}

int64_t sb_view_zone_day(const sb_view_zone_t *zone, int64_t wall_us)
{
    int64_t seconds = wall_us / 1000000 - (wall_us % 1000000 < 0);
    seconds += sb_view_zone_offset(zone, seconds);
    return seconds / DAY - (seconds % DAY < 0);
}

sb_code_t sb_view_zone_hash(const sb_view_zone_t *zone, sb_hash_t *out, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_buf_add_text(&text, zone->name);
    for (int i = 0; i < zone->count; i++) {
        sb_buf_add_be64(&text, (uint64_t)zone->at[i]);
        sb_buf_add_be32(&text, (uint32_t)zone->offset[i]);
    }
    bool failed = sb_buf_failed(&text);
    sb_hash_bytes(sb_buf_slice(&text), out);
    sb_buf_fini(&text);
    return failed ? sb_fail(err, SB_NO_MEMORY, "time zone: out of memory") : SB_OK;
}
