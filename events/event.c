/* SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/event.h"

#include <stdint.h>

sb_slice_t sb_event_category(sb_slice_t type)
{
    const char *dot = type.len ? memchr(type.ptr, '.', type.len) : NULL;
    sb_slice_t category = {type.ptr, dot ? (size_t)(dot - type.ptr) : 0};
    return category;
}

static bool is_label_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

bool sb_event_type_ok(sb_slice_t type)
{
    if (type.len == 0 || type.len > SB_TYPE_MAX)
        return false;
    size_t labels = 1;
    size_t in_label = 0;
    for (size_t i = 0; i < type.len; i++) {
        if (type.ptr[i] == '.') {
            if (in_label == 0)
                return false;
            labels++;
            in_label = 0;
        } else if (is_label_char(type.ptr[i])) {
            in_label++;
        } else {
            return false;
        }
    }
    return labels >= 2 && in_label > 0;
}

/* Goes back to the last * only: what an earlier one could take, the last one can take as well. */
bool sb_event_type_matches(sb_slice_t pattern, sb_slice_t type)
{
    size_t p = 0, t = 0;
    size_t star = SIZE_MAX, taken = 0; /* place of the last *, and of the type's byte that it ends before */
    while (t < type.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            taken = t;
        } else if (p < pattern.len && pattern.ptr[p] == type.ptr[t]) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++taken;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
