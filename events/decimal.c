/* SPDX-License-Identifier: Apache-2.0 */
#include "events/decimal.h"

#include <inttypes.h>

/* Far beyond what any text of ours can shift the exponent by, far below overflow. */
#define EXPONENT_LIMIT INT64_C(1000000000000000)

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int64_t read_exponent(const char *at, const char *end)
{
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    int64_t value = 0;
    for (; at < end && is_digit(*at); at++)
        if (value < EXPONENT_LIMIT)
            value = value * 10 + (*at - '0');
    return negative ? -value : value;
}

sb_decimal_t sb_decimal(sb_slice_t text)
{
    sb_decimal_t value = {NULL, 0, 0, false};
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    if (at < end && *at == '-') {
        value.negative = true;
        at++;
    }
    int64_t zeros = 0; /* since the last digit that is not 0 */
    int64_t fraction = 0;
    bool after_point = false;
    for (; at < end && (is_digit(*at) || *at == '.'); at++) {
        if (*at == '.') {
            after_point = true;
            continue;
        }
        fraction += after_point;
        if (*at != '0') {
            if (!value.first)
                value.first = at;
            else
                value.count += zeros;
            value.count++;
            zeros = 0;
        } else if (value.first) {
            zeros++;
        }
    }
    if (!value.first)
        return (sb_decimal_t){NULL, 0, 0, false};
    value.exponent = zeros - fraction;
    if (at < end)
        value.exponent += read_exponent(at + 1, end);
    return value;
}

static int next_digit(const char **at)
{
    while (**at == '.')
        (*at)++;
    return *(*at)++ - '0';
}

static int compare_magnitude(const sb_decimal_t *a, const sb_decimal_t *b)
{
    int64_t size_a = a->count + a->exponent;
    int64_t size_b = b->count + b->exponent;
    if (size_a != size_b)
        return size_a < size_b ? -1 : 1;
    const char *at_a = a->first;
    const char *at_b = b->first;
    for (int64_t i = 0; i < a->count && i < b->count; i++) {
        int difference = next_digit(&at_a) - next_digit(&at_b);
        if (difference)
            return difference < 0 ? -1 : 1;
    }
    return a->count == b->count ? 0 : a->count < b->count ? -1 : 1;
}

int sb_decimal_compare(const sb_decimal_t *a, const sb_decimal_t *b)
{
    if (a->count == 0 || b->count == 0) {
        int sign_a = a->count == 0 ? 0 : a->negative ? -1 : 1;
        int sign_b = b->count == 0 ? 0 : b->negative ? -1 : 1;
        return (sign_a > sign_b) - (sign_a < sign_b);
    }
    if (a->negative != b->negative)
        return a->negative ? -1 : 1;
    int order = compare_magnitude(a, b);
    return a->negative ? -order : order;
}

bool sb_decimal_is_integer(const sb_decimal_t *value)
{
    return value->exponent >= 0;
}

__extension__ typedef unsigned __int128 wide_t;

static uint64_t digits_modulo(const sb_decimal_t *value, uint64_t divisor)
{
    uint64_t rest = 0;
    const char *at = value->first;
    for (int64_t i = 0; i < value->count; i++)
        rest = (uint64_t)(((wide_t)rest * 10 + (unsigned)next_digit(&at)) % divisor);
    return rest;
}

static uint64_t power_of_ten_modulo(int64_t exponent, uint64_t divisor)
{
    uint64_t result = 1 % divisor;
    uint64_t base = 10 % divisor;
    for (; exponent > 0; exponent >>= 1) {
        if (exponent & 1)
            result = (uint64_t)((wide_t)result * base % divisor);
        base = (uint64_t)((wide_t)base * base % divisor);
    }
    return result;
}

bool sb_decimal_is_multiple(const sb_decimal_t *value, const sb_decimal_t *divisor)
{
    if (value->count == 0)
        return true;
    /* The digits end with one that is not 0, so a finer value than the divisor's last place cannot divide. */
    int64_t shift = value->exponent - divisor->exponent;
    if (shift < 0)
        return false;
    uint64_t by = 0;
    const char *at = divisor->first;
    for (int64_t i = 0; i < divisor->count; i++)
        by = by * 10 + (unsigned)next_digit(&at);
    if (by == 0) /* not a divisor */
        return false;
    uint64_t rest = digits_modulo(value, by);
    return (wide_t)rest * power_of_ten_modulo(shift, by) % by == 0;
}

void sb_decimal_write(const sb_decimal_t *value, sb_buf_t *out)
{
    if (value->count == 0) {
        sb_buf_add_char(out, '0');
        return;
    }
    if (value->negative)
        sb_buf_add_char(out, '-');
    const char *at = value->first;
    for (int64_t i = 0; i < value->count; i++)
        sb_buf_add_char(out, (char)('0' + next_digit(&at)));
    sb_buf_printf(out, "e%" PRId64, value->exponent);
}
