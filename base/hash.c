/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/sha.h>
#include <pthread.h>

/* Looked up once: OpenSSL's own short form looks the algorithm up by its name each time, which costs more
 * than to hash a request. */
static EVP_MD *sha256;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

void sb_hash_bytes(sb_slice_t bytes, sb_hash_t *out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    const void *from = bytes.ptr ? bytes.ptr : "";
    (void)pthread_once(&once, fetch);
    if (!sha256 || EVP_Digest(from, bytes.len, out->byte, NULL, sha256, NULL) != 1)
        (void)SHA256(from, bytes.len, out->byte);
}

bool sb_hash_hmac(sb_slice_t key, const sb_slice_t *parts, size_t count, sb_hash_t *out)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *context = mac ? EVP_MAC_CTX_new(mac) : NULL;
    bool ok = context && EVP_MAC_init(context, (const unsigned char *)key.ptr, key.len, params) == 1;
    for (size_t i = 0; ok && i < count; i++)
        ok = EVP_MAC_update(context, (const unsigned char *)parts[i].ptr, parts[i].len) == 1;
    size_t length = 0;
    ok = ok && EVP_MAC_final(context, out->byte, &length, sizeof out->byte) == 1;
    EVP_MAC_CTX_free(context);
    EVP_MAC_free(mac);
    return ok;
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
