/* id - UUIDs: version 7 for what is new (time-ordered), version 5 for what must come out the same again.
 *
 * Version 7 follows RFC 9562 section 5.7: 48 bits of Unix milliseconds, then a counter that makes ids of
 * one process strictly increasing within a millisecond, then random bits. Version 5 (SHA-1 of namespace
 * and name) is libuuid's.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_ID_H
#define SAGABUS_ID_H

#include "sagabus/error.h"

#include <stddef.h>
#include <stdint.h>

#define SB_UUID_TEXT 37 /* 36 characters and the end */

typedef struct sb_uuid {
    uint8_t byte[16];
} sb_uuid_t;

#define SB_UUID_NIL                                                                                          \
    {                                                                                                        \
        {                                                                                                    \
            0                                                                                                \
        }                                                                                                    \
    }

SB_API sb_uuid_t sb_uuid_v7(void);
SB_API sb_uuid_t sb_uuid_v5(const sb_uuid_t *space, const void *name, size_t length);

SB_API bool sb_uuid_is_nil(const sb_uuid_t *id);
SB_API bool sb_uuid_equal(const sb_uuid_t *a, const sb_uuid_t *b);

/* Writes 36 lower-case characters and a NUL; returns text. */
SB_API char *sb_uuid_format(const sb_uuid_t *id, char text[SB_UUID_TEXT]);

/* Parses exactly length characters of 8-4-4-4-12 form. False leaves *out alone. */
SB_API bool sb_uuid_parse(const char *text, size_t length, sb_uuid_t *out);

#endif
