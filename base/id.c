/* SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/id.h"

#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <uuid/uuid.h>

/* The 12 bits after the version hold a counter that starts at a random point below half of its range in
 * each millisecond; when it overflows, the stored millisecond moves ahead of the clock by one. */
#define COUNTER_MAX 0xfffu

static pthread_mutex_t v7_lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t v7_ms;
static uint32_t v7_counter;

static void fill_random(void *out, size_t length)
{
    uint8_t *at = out;
    while (length > 0) {
        ssize_t got = getrandom(at, length, 0);
        if (got > 0) {
            at += got;
            length -= (size_t)got;
        }
    }
}

/* Random bytes in stock, under v7_lock: a system call for each id costs more than all else about it. A forked
 * child must not hand out its parent's. */
static uint8_t stock[512];
static size_t stock_left;
static pthread_once_t stock_once = PTHREAD_ONCE_INIT;

static void empty_stock(void)
{
    stock_left = 0;
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, empty_stock);
}

static void take_random(void *out, size_t length)
{
    if (stock_left < length) {
        fill_random(stock, sizeof stock);
        stock_left = sizeof stock;
    }
    stock_left -= length;
    memcpy(out, &stock[stock_left], length);
}

sb_uuid_t sb_uuid_v7(void)
{
    sb_uuid_t id;
    uint16_t seed;
    (void)pthread_once(&stock_once, watch_forks);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;

    (void)pthread_mutex_lock(&v7_lock);
    take_random(&id.byte[8], 8);
    memcpy(&seed, &id.byte[14], sizeof seed);
    if (ms > v7_ms) {
        v7_ms = ms;
        v7_counter = seed & (COUNTER_MAX >> 1);
    } else if (++v7_counter > COUNTER_MAX) {
        v7_ms++;
        v7_counter = 0;
    }
    ms = v7_ms;
    uint32_t counter = v7_counter;
    (void)pthread_mutex_unlock(&v7_lock);

    for (int i = 0; i < 6; i++)
        id.byte[i] = (uint8_t)(ms >> (40 - 8 * i));
    id.byte[6] = (uint8_t)(0x70u | (counter >> 8));
    id.byte[7] = (uint8_t)(counter & 0xffu);
    id.byte[8] = (uint8_t)(0x80u | (id.byte[8] & 0x3fu));
    return id;
}

sb_uuid_t sb_uuid_v5(const sb_uuid_t *space, const void *name, size_t length)
{
    sb_uuid_t id;
    uuid_generate_sha1(id.byte, space->byte, name, length);
    return id;
}

bool sb_uuid_is_nil(const sb_uuid_t *id)
{
    static const sb_uuid_t nil = SB_UUID_NIL;
    return memcmp(id, &nil, sizeof nil) == 0;
}

bool sb_uuid_equal(const sb_uuid_t *a, const sb_uuid_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

char *sb_uuid_format(const sb_uuid_t *id, char text[SB_UUID_TEXT])
{
    static const char digit[] = "0123456789abcdef";
    char *at = text;
    for (int i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digit[id->byte[i] >> 4];
        *at++ = digit[id->byte[i] & 0xf];
    }
    *at = '\0';
    return text;
}

/* Without a branch a digit: every record that is read has one. */
bool sb_uuid_parse(const char *text, size_t length, sb_uuid_t *out)
{
    enum { DIGIT = 0x80 };
    static const uint8_t digit[256] = {
        ['0'] = DIGIT,      ['1'] = DIGIT + 1,  ['2'] = DIGIT + 2,  ['3'] = DIGIT + 3,  ['4'] = DIGIT + 4,
        ['5'] = DIGIT + 5,  ['6'] = DIGIT + 6,  ['7'] = DIGIT + 7,  ['8'] = DIGIT + 8,  ['9'] = DIGIT + 9,
        ['a'] = DIGIT + 10, ['b'] = DIGIT + 11, ['c'] = DIGIT + 12, ['d'] = DIGIT + 13, ['e'] = DIGIT + 14,
        ['f'] = DIGIT + 15, ['A'] = DIGIT + 10, ['B'] = DIGIT + 11, ['C'] = DIGIT + 12, ['D'] = DIGIT + 13,
        ['E'] = DIGIT + 14, ['F'] = DIGIT + 15};
    static const uint8_t place[16] = {0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34};
    if (length != SB_UUID_TEXT - 1 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-')
        return false;
    sb_uuid_t id;
    uint8_t all = DIGIT;
    for (int i = 0; i < 16; i++) {
        uint8_t high = digit[(uint8_t)text[place[i]]];
        uint8_t low = digit[(uint8_t)text[place[i] + 1]];
        all &= high & low;
        id.byte[i] = (uint8_t)((high & 0xf) << 4 | (low & 0xf));
    }
    if (all != DIGIT)
        return false;
    *out = id;
    return true;
}
