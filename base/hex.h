/* hex - hexadecimal digits.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_HEX_H
#define SB_BASE_HEX_H

/* 0 to 15, or -1 for what is no digit. */
static inline int sb_hex_value(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

#endif
