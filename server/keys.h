/* keys - who may call the API: bearer keys, stored as hashes, with scopes.
 *
 * A key reads `sb_<8 hex>_<43 base64url>`: the first part finds it, the second is 256 random bits; the table
 * keeps the SHA-256 of the whole. It is shown once, when it is made.
 *
 * Thread: sb_keys_check from one thread (the HTTP loop), sb_keys_load from another; create, list and revoke
 * use only their connection.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_KEYS_H
#define SB_SERVER_KEYS_H

#include "base/pg.h"

typedef enum sb_key_scope {
    SB_SCOPE_NONE = 0, /* open to all: /livez */
    SB_SCOPE_READ = 1,
    SB_SCOPE_WRITE = 2,
    SB_SCOPE_ADMIN = 4
} sb_key_scope_t;

/* "read,write,admin" to a mask; SB_INVALID names the part that is no scope. */
SB_MUST_CHECK sb_code_t sb_scope_parse(const char *text, int *mask, sb_error_t *err);
const char *sb_scope_name(sb_key_scope_t scope);

#define SB_KEY_TEXT 64

SB_MUST_CHECK sb_code_t sb_key_create(sb_pg_t *pg, const char *name, int scopes, char text[SB_KEY_TEXT],
                                      sb_error_t *err);
/* name or id. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_key_revoke(sb_pg_t *pg, const char *name, sb_error_t *err);
/* Writes a JSON array of {id, name, scopes, created_at, revoked_at}. */
SB_MUST_CHECK sb_code_t sb_key_list(sb_pg_t *pg, sb_buf_t *out, sb_error_t *err);

typedef struct sb_keys sb_keys_t;

SB_MUST_CHECK sb_code_t sb_keys_new(sb_keys_t **out, sb_error_t *err);
void sb_keys_free(sb_keys_t **keys);
/* Reads the keys. A revoked one stops working with the next load (every few seconds). */
SB_MUST_CHECK sb_code_t sb_keys_load(sb_keys_t *keys, sb_pg_t *pg, sb_error_t *err);
/* Keys ever made: as soon as there is one, the API asks for keys, and revoking it does not change that. */
int sb_keys_count(sb_keys_t *keys);

/* authorization: the header's value, absent when there is none. *name gets the key's name. SB_DENIED with
 * `retryable` false: no or an unknown key (401) when *name is empty, a key without the scope (403) else.
 * Takes the same time whether the key is unknown or wrong. */
SB_MUST_CHECK sb_code_t sb_keys_check(sb_keys_t *keys, sb_slice_t authorization, sb_key_scope_t scope,
                                      char name[64], sb_error_t *err);

#endif
