/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/child_key.h"

#include <stdio.h>
#include <string.h>

#define ID_LEN (SB_UUID_TEXT - 1)

const char *sb_child_key_write(const sb_uuid_t *parent, const char *step, uint16_t round,
                               char out[SB_CHILD_KEY_MAX])
{
    char id[SB_UUID_TEXT];
    (void)snprintf(out, SB_CHILD_KEY_MAX, SB_CHILD_KEY_PREFIX "%s/%s/%u", sb_uuid_format(parent, id), step,
                   (unsigned)round);
    return out;
}

bool sb_child_key_read(sb_slice_t key, sb_uuid_t *parent, sb_slice_t *step, uint16_t *round)
{
    const size_t prefix = sizeof SB_CHILD_KEY_PREFIX - 1;
    unsigned number = 0;
    if (!sb_slice_starts(key, SB_CHILD_KEY_PREFIX) || key.len < prefix + ID_LEN + 4 ||
        !sb_uuid_parse(key.ptr + prefix, ID_LEN, parent) || key.ptr[prefix + ID_LEN] != '/')
        return false;
    const char *from = key.ptr + prefix + ID_LEN + 1, *end = key.ptr + key.len, *digit = end;
    while (digit > from && digit[-1] >= '0' && digit[-1] <= '9' && end - digit < 5)
        digit--;
    if (digit == end || digit - from < 2 || digit[-1] != '/')
        return false;
    for (const char *at = digit; at < end; at++)
        number = number * 10 + (unsigned)(*at - '0');
    *step = (sb_slice_t){from, (size_t)(digit - 1 - from)};
    *round = (uint16_t)number;
    return number <= UINT16_MAX;
}
