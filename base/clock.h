/* clock - time as 64-bit microseconds: wall time since 1970, and a monotonic one that never jumps.
 *
 * Code that must be testable takes an sb_clock_t; sb_clock_system is the real one. Safety never rests on
 * a clock: clocks decide when, epochs decide whether.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_CLOCK_H
#define SB_BASE_CLOCK_H

#include "sagabus/slice.h"

#include <stdint.h>

typedef struct sb_clock {
    int64_t (*wall_us)(void *context);
    int64_t (*mono_us)(void *context);
    void *context;
} sb_clock_t;

extern const sb_clock_t sb_clock_system;

int64_t sb_wall_us(void);
int64_t sb_mono_us(void);
void sb_sleep_ms(int64_t ms);
void sb_sleep_us(int64_t us);

/* A date of the Gregorian calendar, also before there was one. */
typedef struct sb_date {
    int64_t year;
    int month, day; /* from 1 */
} sb_date_t;

/* Days since 1970-01-01, of a year from 0 on; and back, whatever the day. */
int64_t sb_date_day(sb_date_t date);
sb_date_t sb_date_of(int64_t day);

#define SB_TIME_TEXT 32
/* RFC 3339 in UTC with microseconds: 2026-11-21T05:19:35.123456Z; returns text. */
char *sb_time_format(int64_t wall_us, char text[SB_TIME_TEXT]);

/* Parses RFC 3339 (any offset, up to 9 digits of fraction). False leaves *out alone. */
bool sb_time_parse(sb_slice_t text, int64_t *out_us);

#endif
