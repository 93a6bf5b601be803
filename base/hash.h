/* hash - SHA-256 and its HMAC: the identity of schemas, definitions, views, requests and keys, and what
 * webhooks are signed with.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_HASH_H
#define SB_BASE_HASH_H

#include "sagabus/slice.h"

#include <stdint.h>

#define SB_HASH_BYTES 32
#define SB_HASH_TEXT  (SB_HASH_BYTES * 2 + 1)

typedef struct sb_hash {
    uint8_t byte[SB_HASH_BYTES];
} sb_hash_t;

void sb_hash_bytes(sb_slice_t bytes, sb_hash_t *out);

/* HMAC-SHA256 of the parts one after another. False: out of memory. */
bool sb_hash_hmac(sb_slice_t key, const sb_slice_t *parts, size_t count, sb_hash_t *out);

/* Writes lower-case hexadecimal digits and a NUL; returns text. */
char *sb_hash_format(const sb_hash_t *hash, char text[SB_HASH_TEXT]);

#endif
