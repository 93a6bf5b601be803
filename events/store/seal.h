/* seal - how history is hashed: leaf, root, chain. What the keeper writes and the verifier checks.
 *
 * All hashes are SHA-256; numbers are big-endian; a text is its length in 4 bytes and its bytes.
 *
 * - leaf = H(00 seq(8) class(1) stream_no(8) stream version(4) type schema_version(4) time(8) id(16) H(meta)
 *   H(data))
 * - node = H(01 left right): the tree of RFC 6962 over the leaves in order of seq
 * - seal = H(02 from(8) to(8) leaves(4) root prev H(marks)); prev is the seal before, zeros for the first
 *
 * stream is "category/key" of a domain stream and empty for a saga's; time is in microseconds since 1970.
 * meta and data enter as hashes, so that an erased body still verifies by the hashes kept in event_erased
 * (erase.h).
 *
 * A mark is 32 bytes an event beside the seal: place, stream, version and type as they are, and 4 bytes each
 * of the hashes of the rest. It lets the verifier name a row that is gone, and say what differs. The proof is
 * the root.
 *
 * Thread: a hasher belongs to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SEAL_H
#define SB_EVENTS_SEAL_H

#include "base/json.h"
#include "base/pg.h"

#define SB_SEAL_EVENTS_MAX 4096
#define SB_SEAL_MARK       32
#define SB_SEAL_BLOCK      INT64_C(1000000) /* the events of a seal lie in one block of seq, as partitions do */

typedef struct sb_hasher sb_hasher_t;

SB_MUST_CHECK sb_code_t sb_hasher_new(sb_hasher_t **out, sb_error_t *err);
void sb_hasher_free(sb_hasher_t **hasher); /* NULL is fine; sets NULL */
/* It keeps the names of event types that sb_seal_rows has read, for they never change in a store. Whoever may
 * have another store before him (a new connection) has them forgotten, so that they are read anew. */
void sb_hasher_forget_types(sb_hasher_t *hasher);

/* One event as it is hashed; slices are borrowed. */
typedef struct sb_seal_row {
    int64_t seq, stream_no, time_us;
    int event_class, version, type_no, schema_version;
    sb_slice_t stream, type; /* absent: not there (any more) */
    uint8_t id[16];
    sb_hash_t meta, data;
    bool erased;
} sb_seal_row_t;

typedef struct sb_seal_mark { /* as read back */
    int64_t seq, stream_no;
    int event_class, version, type_no;
    uint8_t rest[4], meta[4], data[4]; /* rest: class, time, id, names of stream and type */
} sb_seal_mark_t;

/* The root under construction: 32 levels are enough for 2^32 leaves. */
typedef struct sb_seal_tree {
    sb_hash_t node[32];
    uint32_t leaves;
} sb_seal_tree_t;

typedef struct sb_seal {
    int64_t from, to;
    int leaves;
    sb_hash_t root, prev, hash;
} sb_seal_t;

/* SB_INTERNAL when OpenSSL refuses. out_mark: SB_SEAL_MARK bytes. from: of the seal. */
SB_MUST_CHECK sb_code_t sb_seal_leaf(sb_hasher_t *hasher, const sb_seal_row_t *row, int64_t from,
                                     sb_hash_t *leaf, uint8_t *out_mark, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_seal_tree_add(sb_hasher_t *hasher, sb_seal_tree_t *tree, const sb_hash_t *leaf,
                                         sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_seal_tree_root(sb_hasher_t *hasher, const sb_seal_tree_t *tree, sb_hash_t *root,
                                          sb_error_t *err);
/* Fills seal->hash from the rest of it and the marks. */
SB_MUST_CHECK sb_code_t sb_seal_hash(sb_hasher_t *hasher, sb_seal_t *seal, sb_slice_t marks, sb_error_t *err);

sb_seal_mark_t sb_seal_mark_read(const uint8_t *mark, int64_t from);

/* Calls on_row for the events in (after, to] in order of seq, at most limit. Not SB_OK stops it and is
 * returned. The row is borrowed for the call. */
typedef sb_code_t (*sb_seal_row_fn)(void *context, const sb_seal_row_t *row, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_seal_rows(sb_pg_t *pg, sb_hasher_t *hasher, int64_t after, int64_t to, int limit,
                                     sb_seal_row_fn on_row, void *context, sb_error_t *err);
/* The same for packed rows (events/packed_row.h). Only what sb_hasher_knows: saga events of types that
 * sb_seal_rows has read. */
SB_MUST_CHECK sb_code_t sb_seal_packed(sb_hasher_t *hasher, sb_slice_t rows, sb_seal_row_fn on_row,
                                       void *context, sb_error_t *err);
bool sb_hasher_knows(const sb_hasher_t *hasher, sb_slice_t rows);

#endif
