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

/* ---- traceparent ---- */

enum { VERSION_END = 2, TRACE_END = 35, PARENT_END = 52, FLAGS_END = 55 };

/* Hexadecimal digits in lower case from..to, not all of them the one given ('\0': that does not matter). */
static bool is_hex(sb_slice_t text, size_t from, size_t to, char not_all)
{
    bool other = false;
    for (size_t i = from; i < to; i++) {
        char c = text.ptr[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        other = other || c != not_all;
    }
    return other;
}

bool sb_traceparent_ok(sb_slice_t text)
{
    if (text.len < FLAGS_END || text.ptr[VERSION_END] != '-' || text.ptr[TRACE_END] != '-' ||
        text.ptr[PARENT_END] != '-')
        return false;
    bool first = text.ptr[0] == '0' && text.ptr[1] == '0';
    bool end = text.len == FLAGS_END || (!first && text.ptr[FLAGS_END] == '-');
    return end && is_hex(text, 0, VERSION_END, 'f') && is_hex(text, VERSION_END + 1, TRACE_END, '0') &&
           is_hex(text, TRACE_END + 1, PARENT_END, '0') && is_hex(text, PARENT_END + 1, FLAGS_END, '\0');
}
