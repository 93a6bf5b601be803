/* SPDX-License-Identifier: Apache-2.0 */
#include "base/base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void sb_base64_encode(sb_buf_t *out, sb_slice_t bytes)
{
    const uint8_t *at = (const uint8_t *)bytes.ptr;
    for (size_t i = 0; i < bytes.len; i += 3) {
        size_t n = bytes.len - i < 3 ? bytes.len - i : 3;
        unsigned bits = (unsigned)at[i] << 16;
        if (n > 1)
            bits |= (unsigned)at[i + 1] << 8;
        if (n > 2)
            bits |= at[i + 2];
        for (size_t k = 0; k < 4; k++)
            sb_buf_add_char(out, k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=');
    }
}

static int digit_of(char c)
{
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

bool sb_base64_decode(sb_buf_t *out, sb_slice_t text)
{
    size_t n = text.len;
    unsigned bits = 0;
    while (n > 0 && text.len - n < 2 && text.ptr[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        int digit = digit_of(text.ptr[i]);
        if (digit < 0)
            return false;
        bits = (bits << 6 | (unsigned)digit) & 0xFFFFFF;
        if (i % 4 > 0)
            sb_buf_add_char(out, (char)(uint8_t)(bits >> (6 - 2 * (i % 4))));
    }
    return text.len % 4 == 0 && !sb_buf_failed(out);
}
