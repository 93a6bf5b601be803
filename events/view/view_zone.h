/* view_zone - the offsets of a time zone from UTC, for the dates of a view.
 *
 * From the system's tz database (TZif files, RFC 9636; $TZDIR, else /usr/share/zoneinfo), which is what
 * PostgreSQL uses where it was built to. The C library is not asked, because its zone is the process's. Rules
 * are part of a view's fingerprint: docs/adr/0006-time-zones.md says what an update of them does.
 *
 * Thread: a loaded zone is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_ZONE_H
#define SB_EVENTS_VIEW_ZONE_H

#include "base/hash.h"
#include "sagabus/error.h"

#include <stdint.h>

typedef struct sb_view_zone {
    char name[64];
    int count;
    int64_t *at;     /* seconds since 1970 from which an offset counts; the first is INT64_MIN */
    int32_t *offset; /* seconds east of UTC */
} sb_view_zone_t;

/* SB_NOT_FOUND: the tz database has no such zone, or there is none on this machine. */
SB_MUST_CHECK sb_code_t sb_view_zone_load(sb_view_zone_t *out, const char *name, sb_error_t *err);
void sb_view_zone_fini(sb_view_zone_t *zone);

/* Seconds east of UTC at a time (seconds since 1970). */
int32_t sb_view_zone_offset(const sb_view_zone_t *zone, int64_t seconds);

/* Days since 1970 of the date that is written there at a time. */
int64_t sb_view_zone_day(const sb_view_zone_t *zone, int64_t wall_us);

/* The same for the same rules, however their file spells them. */
SB_MUST_CHECK sb_code_t sb_view_zone_hash(const sb_view_zone_t *zone, sb_hash_t *out, sb_error_t *err);

#endif
