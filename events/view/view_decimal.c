/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_decimal.h"

#include "base/scan.h"
#include "events/decimal.h"

static sb_view_wide_t power_of_ten(int64_t exponent)
{
    sb_view_wide_t power = 1;
    for (; exponent > 0; exponent--)
        power *= 10;
    return power;
}

static bool is_number(sb_slice_t text)
{
    return text.len > 0 && (text.ptr[0] == '-' || (text.ptr[0] >= '0' && text.ptr[0] <= '9')) &&
           text.ptr[text.len - 1] >= '0' && text.ptr[text.len - 1] <= '9' && sb_scan_valid(text, NULL);
}

bool sb_view_decimal_read(sb_slice_t text, int precision, int scale, sb_view_wide_t *out,
                          const char **problem)
{
    *out = 0;
    *problem = "is not a decimal number";
    if (!is_number(text))
        return false;
    sb_decimal_t number = sb_decimal(text);
    if (number.count == 0)
        return true;
    *problem = "has more decimals than its column";
    int64_t shift = number.exponent + scale;
    if (shift < 0)
        return false;
    *problem = "has more digits than its column";
    if (number.count + shift > precision) /* the first digit is not 0 */
        return false;
    sb_view_wide_t value = 0;
    const char *at = number.first;
    for (int64_t i = 0; i < number.count; at++)
        if (*at != '.') {
            value = value * 10 + (*at - '0');
            i++;
        }
    value *= power_of_ten(shift);
    *out = number.negative ? -value : value;
    return true;
}

bool sb_view_decimal_add(sb_view_wide_t a, sb_view_wide_t b, int sign, int precision, sb_view_wide_t *out)
{
    sb_view_wide_t end = power_of_ten(precision); /* two values below 10^38 add up within 127 bits */
    if (a >= end || a <= -end || b >= end || b <= -end || __builtin_add_overflow(a, sign < 0 ? -b : b, out))
        return false;
    return *out<end && * out> - end;
}

void sb_view_decimal_write(sb_view_wide_t value, int scale, sb_buf_t *out)
{
    char text[2 * SB_VIEW_DECIMAL_DIGITS + 4];
    char *at = text + sizeof text;
    bool negative = value < 0;
    int digits = 0;
    for (; value != 0 || digits <= scale; digits++) {
        if (digits == scale && scale > 0)
            *--at = '.';
        int digit = (int)(value % 10);
        *--at = (char)('0' + (digit < 0 ? -digit : digit));
        value /= 10;
    }
    if (negative)
        *--at = '-';
    sb_buf_add(out, at, (size_t)(text + sizeof text - at));
}

/* ---- PostgreSQL's image: groups of four digits, the first worth 10000^weight ---- */

#define GROUPS_MAX 24

/* The value of four digits that begin at place `from` of digits (before and after it there are zeros). */
static uint16_t group_at(const char *digits, int count, int from)
{
    int group = 0;
    for (int i = from; i < from + 4; i++)
        group = group * 10 + (i >= 0 && i < count ? digits[i] - '0' : 0);
    return (uint16_t)group;
}

void sb_view_decimal_copy(sb_slice_t text, sb_buf_t *rows)
{
    char digits[2 * SB_VIEW_DECIMAL_DIGITS];
    int count = 0;
    int whole = -1; /* digits before the point */
    bool negative = text.len > 0 && text.ptr[0] == '-';
    for (size_t i = negative; i < text.len && count < (int)sizeof digits; i++) {
        if (text.ptr[i] == '.')
            whole = count;
        else
            digits[count++] = text.ptr[i];
    }
    int scale = whole < 0 ? 0 : count - whole;
    whole = count - scale;
    uint16_t group[GROUPS_MAX];
    int groups = 0;
    int weight = (whole + 3) / 4 - 1;
    for (int from = whole - 4 * (weight + 1); from < count && groups < GROUPS_MAX; from += 4)
        group[groups++] = group_at(digits, count, from);
    sb_buf_add_be32(rows, (uint32_t)(8 + 2 * groups));
    sb_buf_add_be16(rows, (uint16_t)groups);
    sb_buf_add_be16(rows, (uint16_t)weight);
    sb_buf_add_be16(rows, negative ? 0x4000 : 0);
    sb_buf_add_be16(rows, (uint16_t)scale);
    for (int i = 0; i < groups; i++)
        sb_buf_add_be16(rows, group[i]);
}
