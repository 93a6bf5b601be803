/* slice - a borrowed run of bytes, not ended by NUL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_SLICE_H
#define SAGABUS_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct sb_slice {
    const char *ptr; /* NULL: absent; an empty value has a pointer and length 0 */
    size_t len;
} sb_slice_t;

#define SB_SLICE_NONE   ((sb_slice_t){NULL, 0})
#define SB_SLICE(text)  ((sb_slice_t){(text), sizeof(text) - 1}) /* of a literal */
#define SB_SLICE_ARG(s) (int)(s).len, (s).ptr                    /* for "%.*s" */

static inline sb_slice_t sb_slice(const char *text)
{
    sb_slice_t s = {text, text ? strlen(text) : 0};
    return s;
}

static inline bool sb_slice_equal(sb_slice_t a, sb_slice_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool sb_slice_is(sb_slice_t a, const char *text)
{
    return sb_slice_equal(a, sb_slice(text));
}

static inline bool sb_slice_starts(sb_slice_t a, const char *prefix)
{
    size_t n = strlen(prefix);
    return a.len >= n && memcmp(a.ptr, prefix, n) == 0;
}

#endif
