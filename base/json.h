/* json - the edge where text becomes a jansson tree: definitions, API bodies, results.
 *
 * Caps and strictness are here, once: size, depth, duplicate keys refused, trailing bytes refused. Hot paths
 * do not come here (jansson parses some 85k events/s a core): they pass bytes through or use base/scan.h.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_JSON_H
#define SB_BASE_JSON_H

#include "base/hash.h"
#include "base/json_pointer.h"

#include <jansson.h>
#include <stdint.h>

#define SB_JSON_DEPTH_MAX 32
#define SB_JSON_BYTES_MAX (1u << 20)

/* Parses text strictly; *out is a new reference. SB_INVALID names line and column. what ("the request body",
 * "schemas/sagas/order.json") starts the message. */
SB_MUST_CHECK sb_code_t sb_json_parse(json_t **out, sb_slice_t text, const char *what, sb_error_t *err);

/* Reads and parses a file; *bytes (may be NULL) gets its content, owned by the caller. */
SB_MUST_CHECK sb_code_t sb_json_read_file(json_t **out, const char *path, sb_buf_t *bytes, sb_error_t *err);

/* Compact text with sorted keys: the same value gives the same bytes. */
void sb_json_dump(const json_t *value, sb_buf_t *out);

/* SHA-256 of the canonical text: the identity of a schema, a definition, a view. */
SB_MUST_CHECK sb_code_t sb_json_hash(const json_t *value, sb_hash_t *out, sb_error_t *err);

/* RFC 6901. The value at pointer, borrowed; NULL when there is none. "" is the whole value. */
json_t *sb_json_at(const json_t *value, sb_slice_t pointer);

#endif
