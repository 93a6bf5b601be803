/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <openssl/sha.h>

void sb_hash_bytes(sb_slice_t bytes, sb_hash_t *out)
{
    (void)SHA256((const unsigned char *)(bytes.ptr ? bytes.ptr : ""), bytes.len, out->byte);
}

char *sb_hash_format(const sb_hash_t *hash, char text[SB_HASH_TEXT])
{
    static const char digit[] = "0123456789abcdef";
    for (int i = 0; i < SB_HASH_BYTES; i++) {
        text[2 * i] = digit[hash->byte[i] >> 4];
        text[2 * i + 1] = digit[hash->byte[i] & 0xf];
    }
    text[SB_HASH_TEXT - 1] = '\0';
    return text;
}
