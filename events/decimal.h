/* decimal - a JSON number as it is written, compared exactly and without a double.
 *
 * A decimal is a view of the number's text: nothing is copied, any number of digits is exact.
 *
 * Thread: any; a decimal is a value of its user.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_DECIMAL_H
#define SB_EVENTS_DECIMAL_H

#include "base/buf.h"

/* Value = ± digits × 10^exponent. The digits begin and end with one that is not 0; zero has none. */
typedef struct sb_decimal {
    const char *first; /* borrowed from the text; a '.' may lie among the digits */
    int64_t count;
    int64_t exponent;
    bool negative;
} sb_decimal_t;

/* text is a well-formed JSON number; it outlives the result. */
sb_decimal_t sb_decimal(sb_slice_t text);

/* -1, 0, 1. */
int sb_decimal_compare(const sb_decimal_t *a, const sb_decimal_t *b);

bool sb_decimal_is_integer(const sb_decimal_t *value); /* 1.0 and 1e2 are */

/* Up to 18 digits in the divisor, which is not 0. */
#define SB_DECIMAL_DIVISOR_DIGITS 18
bool sb_decimal_is_multiple(const sb_decimal_t *value, const sb_decimal_t *divisor);

/* Appends a text that is the same for equal values. */
void sb_decimal_write(const sb_decimal_t *value, sb_buf_t *out);

#endif
