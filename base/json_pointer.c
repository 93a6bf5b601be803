/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json_pointer.h"

bool sb_json_pointer_ok(sb_slice_t text)
{
    if (text.len > 0 && text.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '~' && (i + 1 == text.len || (text.ptr[i + 1] != '0' && text.ptr[i + 1] != '1')))
            return false;
    return true;
}

void sb_json_pointer_add(sb_buf_t *pointer, sb_slice_t token)
{
    sb_buf_add_char(pointer, '/');
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] == '~')
            sb_buf_add(pointer, "~0", 2);
        else if (token.ptr[i] == '/')
            sb_buf_add(pointer, "~1", 2);
        else
            sb_buf_add_char(pointer, token.ptr[i]);
    }
}

void sb_json_pointer_add_index(sb_buf_t *pointer, size_t index)
{
    sb_buf_printf(pointer, "/%zu", index);
}

bool sb_json_pointer_index(sb_slice_t token, size_t *out)
{
    if (token.len == 0 || token.len > 9 || (token.len > 1 && token.ptr[0] == '0'))
        return false;
    size_t index = 0;
    for (size_t i = 0; i < token.len; i++) {
        if (token.ptr[i] < '0' || token.ptr[i] > '9')
            return false;
        index = index * 10 + (size_t)(token.ptr[i] - '0');
    }
    *out = index;
    return true;
}

size_t sb_json_pointer_enter(sb_buf_t *pointer, sb_slice_t token)
{
    size_t mark = pointer->len;
    sb_json_pointer_add(pointer, token);
    return mark;
}

size_t sb_json_pointer_enter_index(sb_buf_t *pointer, size_t index)
{
    size_t mark = pointer->len;
    sb_json_pointer_add_index(pointer, index);
    return mark;
}

void sb_json_pointer_leave(sb_buf_t *pointer, size_t mark)
{
    if (sb_buf_failed(pointer) || !pointer->ptr)
        return;
    pointer->len = mark;
    pointer->ptr[mark] = '\0';
}
