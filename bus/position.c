/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/position.h"

#define DIGITS_MAX 19

static char *put_number(char *at, int64_t value)
{
    char digits[DIGITS_MAX + 1];
    int n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    while (n > 0)
        *at++ = digits[--n];
    return at;
}

size_t sb_position_format(const sb_position_t *position, char text[SB_POSITION_TEXT])
{
    const int64_t numbers[] = {position->incarnation, position->epoch, position->seq, position->prev};
    char *at = text;
    for (int i = 0; i < 4; i++) {
        if (i > 0)
            *at++ = '.';
        at = put_number(at, numbers[i]);
    }
    *at = '\0';
    return (size_t)(at - text);
}

static bool take_number(sb_slice_t *text, int64_t *out)
{
    int64_t value = 0;
    size_t n = 0;
    for (; n < text->len && text->ptr[n] >= '0' && text->ptr[n] <= '9'; n++)
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, text->ptr[n] - '0', &value))
            return false;
    *text = (sb_slice_t){text->ptr + n, text->len - n};
    *out = value;
    return n > 0;
}

bool sb_position_parse(sb_slice_t text, sb_position_t *out)
{
    int64_t numbers[4];
    for (int i = 0; i < 4; i++) {
        if (i > 0) {
            if (text.len == 0 || text.ptr[0] != '.')
                return false;
            text = (sb_slice_t){text.ptr + 1, text.len - 1};
        }
        if (!take_number(&text, &numbers[i]))
            return false;
    }
    if (text.len > 0)
        return false;
    *out = (sb_position_t){numbers[0], numbers[1], numbers[2], numbers[3]};
    return true;
}

sb_position_order_t sb_position_compare(const sb_position_t *record, int64_t incarnation, int64_t seq)
{
    if (record->incarnation != incarnation)
        return record->incarnation > incarnation ? SB_POSITION_NEXT : SB_POSITION_REPEAT;
    if (record->seq <= seq)
        return SB_POSITION_REPEAT;
    return record->prev > seq ? SB_POSITION_GAP : SB_POSITION_NEXT;
}
