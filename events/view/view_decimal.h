/* view_decimal - exact decimals of a numeric(P,S) column: whole numbers of 10^-S, at most 38 digits.
 *
 * A column's value is kept as the text PostgreSQL prints for it (S decimals, always), so that a row that was
 * read back has the same bytes as one that was folded in memory. Nothing is rounded: what has more decimals
 * than the column is a fault.
 *
 * Thread: any; everything here is pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_DECIMAL_H
#define SB_EVENTS_VIEW_DECIMAL_H

#include "base/buf.h"

#define SB_VIEW_DECIMAL_DIGITS 38

__extension__ typedef __int128 sb_view_wide_t;

/* A JSON number's text (any spelling) as a whole number of 10^-scale. False: *problem says what is wrong. */
bool sb_view_decimal_read(sb_slice_t text, int precision, int scale, sb_view_wide_t *out,
                          const char **problem);

/* a + sign * b, when it has no more than precision digits. */
bool sb_view_decimal_add(sb_view_wide_t a, sb_view_wide_t b, int sign, int precision, sb_view_wide_t *out);

/* Appends the text of a column. */
void sb_view_decimal_write(sb_view_wide_t value, int scale, sb_buf_t *out);

/* Appends PostgreSQL's binary image of a column's text, with its length: a field of COPY. */
void sb_view_decimal_copy(sb_slice_t text, sb_buf_t *rows);

#endif
