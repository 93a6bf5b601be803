/* scan - a validating JSON scanner that builds nothing: it walks bytes and hands out slices of them.
 *
 * For hot paths: fields of a body, headers kept as JSON, schema validation. It accepts exactly RFC 8259
 * (UTF-8 checked, depth capped at SB_SCAN_DEPTH_MAX) but for half of a surrogate pair, which has no UTF-8,
 * and is fuzzed against jansson. Numbers have no limit here; duplicate members pass, and the first one
 * counts.
 *
 * Thread: any; a scanner is a value of its user.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_SCAN_H
#define SB_BASE_SCAN_H

#include "base/buf.h"

#include <stdint.h>

#define SB_SCAN_DEPTH_MAX 32

/* Length of the UTF-8 character at text; 0 when it is malformed, or cut by left. */
size_t sb_utf8_length(const char *text, size_t left);

/* Whether PostgreSQL's text can hold it: UTF-8 without NUL. */
bool sb_utf8_ok(sb_slice_t text);

typedef enum sb_scan_kind {
    SB_SCAN_INVALID,
    SB_SCAN_NULL,
    SB_SCAN_FALSE,
    SB_SCAN_TRUE,
    SB_SCAN_NUMBER,
    SB_SCAN_STRING,
    SB_SCAN_ARRAY,
    SB_SCAN_OBJECT
} sb_scan_kind_t;

/* A value inside the scanned bytes: its kind and its exact text (a string with its quotes). */
typedef struct sb_scan_value {
    sb_scan_kind_t kind;
    sb_slice_t text;
    bool escaped; /* strings: has a backslash, so the text is not the value */
} sb_scan_value_t;

/* Checks that text is one JSON value with nothing but white space around it. *bad_at (may be NULL) gets the
 * offset of the first fault. */
bool sb_scan_valid(sb_slice_t text, size_t *bad_at);

/* Finds the value at an RFC 6901 pointer. False: absent, or text is not valid as a whole. */
bool sb_scan_at(sb_slice_t text, sb_slice_t pointer, sb_scan_value_t *out);

/* Member name of an object, first level only: the common case of sb_scan_at. What follows the member is not
 * looked at. */
bool sb_scan_field(sb_slice_t object, const char *name, sb_scan_value_t *out);

/* Iterates the members of an object or the items of an array: start with *at = 0; name is set for objects
 * (quoted text). False at the end or at a fault (then *at is SIZE_MAX). */
bool sb_scan_next(sb_slice_t container, size_t *at, sb_scan_value_t *name, sb_scan_value_t *value);
/* The same for a value that sb_scan_valid accepted: what lies deeper is passed, not checked again. Of other
 * text nothing beyond its end is read. */
bool sb_scan_next_valid(sb_slice_t container, size_t *at, sb_scan_value_t *name, sb_scan_value_t *value);

/* The value of a string, unescaped into scratch (its content is replaced) when it must be, else borrowed from
 * the text. Absent when it is not a string or memory ran out. It may hold NUL (\u0000). */
sb_slice_t sb_scan_string(const sb_scan_value_t *value, sb_buf_t *scratch);

/* True when the number is an integer that fits: no fraction, no exponent. */
bool sb_scan_int64(const sb_scan_value_t *value, int64_t *out);
bool sb_scan_double(const sb_scan_value_t *value, double *out);

#endif
