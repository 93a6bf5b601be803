/* reference - where a value of a template comes from: "$.input/order_id" or "$.steps/<step>/result/id".
 *
 * What follows `input` or `result` is a JSON Pointer. "$?.input/note" is optional: absent gives null. A text
 * that really begins with "$." is written with one "$" more.
 *
 * Thread: any; a reference is a value that borrows the text it was parsed from.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_REFERENCE_H
#define SB_SAGA_REFERENCE_H

#include "base/scan.h"

#define SB_FROM_INPUT (-1)

typedef struct sb_reference {
    int source; /* SB_FROM_INPUT or the index of a step */
    bool optional;
    sb_slice_t pointer;
} sb_reference_t;

/* What a reference may lead to: the saga's input, and the results of the first `visible` of the steps. */
typedef struct sb_scope {
    const char *const *step; /* names of all */
    int step_count;
    int visible;
    uint32_t uncertain; /* bit i: step i may be skipped and have no result, so it must be read as optional */
} sb_scope_t;

/* Whether the text is meant as a reference. */
bool sb_reference_is(sb_slice_t text);

/* SB_INVALID with err->pointer = at when the text only looks like a reference, so that it would be taken as
 * it stands: "$input/id", "order $.input/id". One that begins with "$$" is meant as it stands. */
SB_MUST_CHECK sb_code_t sb_reference_near_miss(sb_slice_t text, const char *at, sb_error_t *err);

/* The same of a text that is no template, where a reference is never filled in: the value of a condition. */
SB_MUST_CHECK sb_code_t sb_reference_none(sb_slice_t text, const char *at, sb_error_t *err);

/* SB_INVALID with err->pointer = at, and what would be right. */
SB_MUST_CHECK sb_code_t sb_reference_parse(sb_reference_t *out, sb_slice_t text, const sb_scope_t *scope,
                                           const char *at, sb_error_t *err);

/* results[i] is the JSON text of step i's result, absent when it has none. False: there is no such value. */
bool sb_reference_find(const sb_reference_t *reference, sb_slice_t input, const sb_slice_t *results,
                       sb_scan_value_t *out);

#endif
