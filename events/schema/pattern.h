/* pattern - the regular expressions of JSON Schema, matched in time linear in the text.
 *
 * The syntax is ECMA-262's in Unicode mode, on code points: alternatives, groups, classes, \d \w \s and their
 * opposites, counted and lazy quantifiers, ^ $ \b \B, \xHH \uHHHH \u{H}. Look-around, back references and
 * \p{…} are refused: they are what makes matching slow or ambiguous. A match may lie anywhere in the text.
 *
 * Thread: a compiled pattern is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_PATTERN_H
#define SB_EVENTS_PATTERN_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

typedef struct sb_pattern sb_pattern_t;

/* SB_INVALID: not a regular expression; SB_UNSUPPORTED: one we refuse, or too large. The caller owns *out. */
SB_MUST_CHECK sb_code_t sb_pattern_compile(sb_pattern_t **out, sb_slice_t text, sb_error_t *err);
void sb_pattern_free(sb_pattern_t **pattern);

/* text is UTF-8. */
bool sb_pattern_matches(const sb_pattern_t *pattern, sb_slice_t text);

#endif
