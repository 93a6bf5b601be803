/* SPDX-License-Identifier: Apache-2.0 */
#include "server/keys.h"

#include "base/clock.h"
#include "base/json.h"
#include "server_sql.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_ID_TEXT  9  /* 8 hex digits and the end */
#define SECRET_CHARS 43 /* 256 bits in base64url */
#define KEY_CHARS    (3 + 8 + 1 + SECRET_CHARS)

typedef struct stored_key {
    char id[KEY_ID_TEXT];
    char name[64];
    sb_hash_t hash;
    int scopes;
} stored_key_t;

struct sb_keys {
    pthread_mutex_t lock;
    stored_key_t *key;
    int count;
};

/* ---- scopes ---- */

static const struct {
    const char *name;
    sb_key_scope_t scope;
} scopes[] = {{"read", SB_SCOPE_READ}, {"write", SB_SCOPE_WRITE}, {"admin", SB_SCOPE_ADMIN}};

#define SCOPES (sizeof scopes / sizeof scopes[0])

const char *sb_scope_name(sb_key_scope_t scope)
{
    for (size_t i = 0; i < SCOPES; i++)
        if (scopes[i].scope == scope)
            return scopes[i].name;
    return "none";
}

sb_code_t sb_scope_parse(const char *text, int *mask, sb_error_t *err)
{
    *mask = 0;
    while (*text) {
        size_t length = strcspn(text, ",");
        size_t i = 0;
        while (i < SCOPES && (strlen(scopes[i].name) != length || strncmp(scopes[i].name, text, length) != 0))
            i++;
        if (i == SCOPES)
            return sb_fail(err, SB_INVALID, "'%.*s' is not a scope; there are read, write and admin",
                           (int)length, text);
        *mask |= (int)scopes[i].scope;
        text += length + (text[length] == ',');
    }
    return *mask ? SB_OK : sb_fail(err, SB_INVALID, "a key needs at least one scope: read, write or admin");
}

/* ---- making, listing, revoking ---- */

static void base64url(const uint8_t *bytes, size_t count, char *out)
{
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    int held = 0;
    for (size_t i = 0; i < count; i++) {
        bits = bits << 8 | bytes[i];
        held += 8;
        while (held >= 6) {
            held -= 6;
            *out++ = digit[bits >> held & 63];
        }
    }
    if (held > 0)
        *out++ = digit[bits << (6 - held) & 63];
    *out = '\0';
}

sb_code_t sb_key_create(sb_pg_t *pg, const char *name, int mask, char text[SB_KEY_TEXT], sb_error_t *err)
{
    uint8_t random[36];
    char id[KEY_ID_TEXT], secret[SECRET_CHARS + 1];
    if (!name[0] || strlen(name) >= 64)
        return sb_fail(err, SB_INVALID, "a key's name has 1 to 63 characters");
    if (RAND_bytes(random, sizeof random) != 1)
        return sb_fail(err, SB_UNAVAILABLE, "no random bytes to be had");
    (void)snprintf(id, sizeof id, "%02x%02x%02x%02x", random[0], random[1], random[2], random[3]);
    base64url(random + 4, 32, secret);
    (void)snprintf(text, SB_KEY_TEXT, "sb_%s_%s", id, secret);
    sb_hash_t hash;
    sb_hash_bytes(sb_slice(text), &hash);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, id);
    sb_pg_add_text(&params, name);
    sb_pg_add_bytea(&params, (sb_slice_t){(const char *)hash.byte, sizeof hash.byte});
    sb_pg_add_int4(&params, mask);
    sb_code_t code = sb_pg_query(pg, sb_sql_key_create, &params, NULL, err);
    if (code == SB_CONFLICT)
        return sb_fail(err, SB_CONFLICT, "a key named %s is there already; revoked names are not used again",
                       name);
    return code;
}

sb_code_t sb_key_revoke(sb_pg_t *pg, const char *name, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, name);
    sb_code_t code = sb_pg_query(pg, sb_sql_key_revoke, &params, &result, err);
    if (code == SB_OK && sb_pg_affected(result) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no key in force has the name or id %s", name);
    sb_pg_result_free(result);
    return code;
}

static void write_scopes(sb_buf_t *out, int mask)
{
    sb_buf_add_char(out, '[');
    for (size_t i = 0, n = 0; i < SCOPES; i++)
        if (mask & (int)scopes[i].scope)
            sb_buf_printf(out, "%s\"%s\"", n++ ? "," : "", scopes[i].name);
    sb_buf_add_char(out, ']');
}

sb_code_t sb_key_list(sb_pg_t *pg, sb_buf_t *out, sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    char time_text[SB_TIME_TEXT];
    sb_code_t code = sb_pg_query(pg, sb_sql_key_list, NULL, &result, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_char(out, '[');
    for (int i = 0; i < sb_pg_rows(result); i++) {
        sb_buf_printf(out, "%s{\"id\":\"%s\",\"name\":", i ? "," : "", sb_pg_get_text(result, i, 0));
        sb_buf_add_json(out, sb_pg_get_slice(result, i, 1));
        sb_buf_add_text(out, ",\"scopes\":");
        write_scopes(out, (int)sb_pg_get_int(result, i, 2));
        sb_buf_printf(out, ",\"created_at\":\"%s\"", sb_time_format(sb_pg_get_time(result, i, 3), time_text));
        if (sb_pg_is_null(result, i, 4))
            sb_buf_add_text(out, ",\"revoked_at\":null}");
        else
            sb_buf_printf(out, ",\"revoked_at\":\"%s\"}",
                          sb_time_format(sb_pg_get_time(result, i, 4), time_text));
    }
    sb_buf_add_char(out, ']');
    sb_pg_result_free(result);
    return SB_OK;
}

/* ---- checking ---- */

sb_code_t sb_keys_new(sb_keys_t **out, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return sb_fail(err, SB_NO_MEMORY, "keys: out of memory");
    (void)pthread_mutex_init(&(*out)->lock, NULL);
    return SB_OK;
}

void sb_keys_free(sb_keys_t **keys)
{
    if (!*keys)
        return;
    free((*keys)->key);
    (void)pthread_mutex_destroy(&(*keys)->lock);
    free(*keys);
    *keys = NULL;
}

sb_code_t sb_keys_load(sb_keys_t *keys, sb_pg_t *pg, sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_key_load, NULL, &result, err);
    if (code != SB_OK)
        return code;
    int rows = sb_pg_rows(result);
    stored_key_t *loaded = calloc((size_t)rows + 1, sizeof *loaded);
    if (!loaded) {
        sb_pg_result_free(result);
        return sb_fail(err, SB_NO_MEMORY, "keys: out of memory");
    }
    for (int i = 0; i < rows; i++) {
        sb_slice_t hash = sb_pg_get_slice(result, i, 2);
        (void)snprintf(loaded[i].id, sizeof loaded[i].id, "%s", sb_pg_get_text(result, i, 0));
        (void)snprintf(loaded[i].name, sizeof loaded[i].name, "%s", sb_pg_get_text(result, i, 1));
        memcpy(loaded[i].hash.byte, hash.ptr, hash.len < SB_HASH_BYTES ? hash.len : SB_HASH_BYTES);
        loaded[i].scopes = (int)sb_pg_get_int(result, i, 3);
    }
    sb_pg_result_free(result);
    (void)pthread_mutex_lock(&keys->lock);
    stored_key_t *old = keys->key;
    keys->key = loaded;
    keys->count = rows;
    (void)pthread_mutex_unlock(&keys->lock);
    free(old);
    return SB_OK;
}

int sb_keys_count(sb_keys_t *keys)
{
    (void)pthread_mutex_lock(&keys->lock);
    int count = keys->count;
    (void)pthread_mutex_unlock(&keys->lock);
    return count;
}

sb_code_t sb_keys_check(sb_keys_t *keys, sb_slice_t authorization, sb_key_scope_t scope, char name[64],
                        sb_error_t *err)
{
    static const char bearer[] = "Bearer ";
    name[0] = '\0';
    sb_slice_t text = authorization;
    if (!sb_slice_starts(text, bearer))
        return sb_fail(err, SB_DENIED, "a key is needed: Authorization: Bearer sb_…");
    text.ptr += sizeof bearer - 1;
    text.len -= sizeof bearer - 1;
    sb_hash_t hash;
    sb_hash_bytes(text, &hash);
    bool shaped = text.len == KEY_CHARS && sb_slice_starts(text, "sb_");
    int found_scopes = 0;
    (void)pthread_mutex_lock(&keys->lock);
    for (int i = 0; i < keys->count; i++) { /* every key is compared, so the time tells nothing */
        bool same = CRYPTO_memcmp(keys->key[i].hash.byte, hash.byte, SB_HASH_BYTES) == 0;
        if (same && shaped && keys->key[i].scopes != 0) {
            (void)snprintf(name, 64, "%s", keys->key[i].name);
            found_scopes = keys->key[i].scopes;
        }
    }
    (void)pthread_mutex_unlock(&keys->lock);
    if (!name[0])
        return sb_fail(err, SB_DENIED, "the key is not known, or was revoked");
    if (!(found_scopes & ((int)scope | SB_SCOPE_ADMIN)))
        return sb_fail(err, SB_DENIED, "key %s lacks the scope %s", name, sb_scope_name(scope));
    return SB_OK;
}
