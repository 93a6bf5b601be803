/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdio.h>
#include <stdlib.h>

void sb_buf_fini(sb_buf_t *buf)
{
    free(buf->ptr);
    *buf = (sb_buf_t)SB_BUF_INIT;
}

void sb_buf_reset(sb_buf_t *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->ptr)
        buf->ptr[0] = '\0';
}

bool sb_buf_failed(const sb_buf_t *buf)
{
    return buf->failed;
}

char *sb_buf_reserve(sb_buf_t *buf, size_t length)
{
    if (buf->failed)
        return NULL;
    if (length > SIZE_MAX / 4 - buf->len) { /* no memory is that large, and doubling would overflow */
        buf->failed = true;
        return NULL;
    }
    if (buf->cap - buf->len <= length) { /* one byte stays for the NUL */
        size_t want = buf->cap ? buf->cap * 2 : 128;
        while (want - buf->len <= length)
            want *= 2;
        char *grown = realloc(buf->ptr, want);
        if (!grown) {
            buf->failed = true;
            return NULL;
        }
        buf->ptr = grown;
        buf->cap = want;
    }
    return buf->ptr + buf->len;
}

void sb_buf_add(sb_buf_t *buf, const void *data, size_t length)
{
    char *at = sb_buf_reserve(buf, length);
    if (!at)
        return;
    if (length > 0)
        memcpy(at, data, length);
    buf->len += length;
    buf->ptr[buf->len] = '\0';
}

void sb_buf_add_char(sb_buf_t *buf, char c)
{
    sb_buf_add(buf, &c, 1);
}

void sb_buf_add_text(sb_buf_t *buf, const char *text)
{
    sb_buf_add(buf, text, strlen(text));
}

void sb_buf_add_slice(sb_buf_t *buf, sb_slice_t slice)
{
    sb_buf_add(buf, slice.ptr, slice.len);
}

void sb_buf_printf(sb_buf_t *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (need < 0)
        buf->failed = true;
    char *at = sb_buf_reserve(buf, need < 0 ? 0 : (size_t)need);
    if (at) {
        (void)vsnprintf(at, (size_t)need + 1, format, again);
        buf->len += (size_t)need;
    }
    va_end(again);
}

void sb_buf_add_json(sb_buf_t *buf, sb_slice_t text)
{
    sb_buf_add_char(buf, '"');
    if (!text.ptr)
        text = SB_SLICE("");
    size_t from = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        sb_buf_add(buf, text.ptr + from, i - from);
        from = i + 1;
        switch (c) {
        case '"':
            sb_buf_add(buf, "\\\"", 2);
            break;
        case '\\':
            sb_buf_add(buf, "\\\\", 2);
            break;
        case '\n':
            sb_buf_add(buf, "\\n", 2);
            break;
        case '\t':
            sb_buf_add(buf, "\\t", 2);
            break;
        default:
            sb_buf_printf(buf, "\\u%04x", c);
        }
    }
    sb_buf_add(buf, text.ptr + from, text.len - from);
    sb_buf_add_char(buf, '"');
}

void sb_buf_add_be16(sb_buf_t *buf, uint16_t value)
{
    uint8_t b[2] = {(uint8_t)(value >> 8), (uint8_t)value};
    sb_buf_add(buf, b, sizeof b);
}

void sb_buf_add_be32(sb_buf_t *buf, uint32_t value)
{
    sb_buf_add_be16(buf, (uint16_t)(value >> 16));
    sb_buf_add_be16(buf, (uint16_t)value);
}

void sb_buf_add_be64(sb_buf_t *buf, uint64_t value)
{
    sb_buf_add_be32(buf, (uint32_t)(value >> 32));
    sb_buf_add_be32(buf, (uint32_t)value);
}
