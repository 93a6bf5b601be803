/* SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_number.h"

#define COUNTER_BITS 48

int64_t sb_saga_number(int shard, int64_t counter)
{
    return (int64_t)shard << COUNTER_BITS | counter;
}

int sb_saga_shard(int64_t number)
{
    return (int)(number >> COUNTER_BITS);
}

int64_t sb_saga_counter(int64_t number)
{
    return number & (((int64_t)1 << COUNTER_BITS) - 1);
}

/* Bytes 0-5 time; 6-7 version and the shard's 12 bits; 8-15 variant, 14 zero bits, the counter's 48 bits. */
sb_uuid_t sb_saga_id(int64_t number, int64_t wall_ms)
{
    sb_uuid_t id;
    int shard = sb_saga_shard(number);
    int64_t counter = sb_saga_counter(number);
    for (int i = 0; i < 6; i++) {
        id.byte[i] = (uint8_t)(wall_ms >> (40 - 8 * i));
        id.byte[10 + i] = (uint8_t)(counter >> (40 - 8 * i));
    }
    id.byte[6] = (uint8_t)(0x80 | (shard >> 8 & 0x0f));
    id.byte[7] = (uint8_t)shard;
    id.byte[8] = 0x80;
    id.byte[9] = 0;
    return id;
}

int64_t sb_saga_started_ms(const sb_uuid_t *id)
{
    int64_t wall_ms = 0;
    for (int i = 0; i < 6; i++)
        wall_ms = wall_ms << 8 | id->byte[i];
    return wall_ms;
}

bool sb_saga_number_of(const sb_uuid_t *id, int64_t *number)
{
    if ((id->byte[6] & 0xf0) != 0x80 || id->byte[8] != 0x80 || id->byte[9] != 0)
        return false;
    int shard = (id->byte[6] & 0x0f) << 8 | id->byte[7];
    int64_t counter = 0;
    for (int i = 0; i < 6; i++)
        counter = counter << 8 | id->byte[10 + i];
    *number = sb_saga_number(shard, counter);
    return true;
}
