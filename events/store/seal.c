/* Rows come by COPY, one at a time: a range of large bodies is never in memory at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/seal.h"

#include "events/packed_row.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdlib.h>

#define KNOWN_MAX 64 /* types; the names of more are looked up event by event */

/* An event type that has been looked up: its name and version never change. */
typedef struct known_type {
    int type_no, schema_version;
    sb_slice_t name;
} known_type_t;

struct sb_hasher {
    EVP_MD *kind;
    EVP_MD_CTX *context;
    bool failed; /* since the last end */
    known_type_t known[KNOWN_MAX];
    int known_count;
};

sb_code_t sb_hasher_new(sb_hasher_t **out, sb_error_t *err)
{
    sb_hasher_t *hasher = calloc(1, sizeof *hasher);
    *out = hasher;
    if (hasher) {
        hasher->kind = EVP_MD_fetch(NULL, "SHA256", NULL);
        hasher->context = EVP_MD_CTX_new();
    }
    if (hasher && hasher->kind && hasher->context)
        return SB_OK;
    sb_hasher_free(out);
    return sb_fail(err, SB_NO_MEMORY, "SHA-256 is not to be had");
}

void sb_hasher_free(sb_hasher_t **hasher)
{
    if (!*hasher)
        return;
    sb_hasher_forget_types(*hasher);
    EVP_MD_CTX_free((*hasher)->context);
    EVP_MD_free((*hasher)->kind);
    free(*hasher);
    *hasher = NULL;
}

void sb_hasher_forget_types(sb_hasher_t *hasher)
{
    for (int i = 0; i < hasher->known_count; i++)
        free((void *)(uintptr_t)hasher->known[i].name.ptr);
    hasher->known_count = 0;
}

/* ---- feeding ---- */

static void begin(sb_hasher_t *hasher)
{
    hasher->failed = EVP_DigestInit_ex2(hasher->context, hasher->kind, NULL) != 1;
}

static void feed(sb_hasher_t *hasher, const void *bytes, size_t length)
{
    hasher->failed |= EVP_DigestUpdate(hasher->context, bytes, length) != 1;
}

static void put_number(uint8_t *out, int64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)((uint64_t)value >> (8 * (bytes - 1 - i)));
}

static int64_t get_number(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | at[i];
    return (int64_t)value;
}

static void feed_number(sb_hasher_t *hasher, int64_t value, int bytes)
{
    uint8_t image[8];
    put_number(image, value, bytes);
    feed(hasher, image, (size_t)bytes);
}

static void feed_text(sb_hasher_t *hasher, sb_slice_t text)
{
    feed_number(hasher, (int64_t)text.len, 4);
    feed(hasher, text.ptr ? text.ptr : "", text.len);
}

static sb_code_t end(sb_hasher_t *hasher, sb_hash_t *out, sb_error_t *err)
{
    unsigned length = 0;
    hasher->failed |= EVP_DigestFinal_ex(hasher->context, out->byte, &length) != 1;
    return hasher->failed ? sb_fail(err, SB_INTERNAL, "OpenSSL refused to hash") : SB_OK;
}

static sb_code_t hash_slice(sb_hasher_t *hasher, sb_slice_t bytes, sb_hash_t *out, sb_error_t *err)
{
    begin(hasher);
    feed(hasher, bytes.ptr ? bytes.ptr : "", bytes.len);
    return end(hasher, out, err);
}

/* ---- leaf and mark ---- */

static void feed_rest(sb_hasher_t *hasher, const sb_seal_row_t *row)
{
    feed_number(hasher, row->time_us, 8);
    feed(hasher, row->id, sizeof row->id);
}

sb_code_t sb_seal_leaf(sb_hasher_t *hasher, const sb_seal_row_t *row, int64_t from, sb_hash_t *leaf,
                       uint8_t *out_mark, sb_error_t *err)
{
    sb_hash_t rest;
    begin(hasher);
    feed_number(hasher, 0, 1);
    feed_number(hasher, row->seq, 8);
    feed_number(hasher, row->event_class, 1);
    feed_number(hasher, row->stream_no, 8);
    feed_text(hasher, row->stream);
    feed_number(hasher, row->version, 4);
    feed_text(hasher, row->type);
    feed_number(hasher, row->schema_version, 4);
    feed_rest(hasher, row);
    feed(hasher, row->meta.byte, sizeof row->meta.byte);
    feed(hasher, row->data.byte, sizeof row->data.byte);
    sb_code_t code = end(hasher, leaf, err);
    if (code != SB_OK)
        return code;
    begin(hasher);
    feed_text(hasher, row->stream);
    feed_text(hasher, row->type);
    feed_number(hasher, row->schema_version, 4);
    feed_rest(hasher, row);
    code = end(hasher, &rest, err);
    put_number(out_mark, row->seq - from, 4);
    put_number(out_mark + 4, row->version, 4);
    put_number(out_mark + 8, row->stream_no, 8);
    put_number(out_mark + 16, row->event_class, 1);
    put_number(out_mark + 17, row->type_no, 3);
    memcpy(out_mark + 20, rest.byte, 4);
    memcpy(out_mark + 24, row->meta.byte, 4);
    memcpy(out_mark + 28, row->data.byte, 4);
    return code;
}

sb_seal_mark_t sb_seal_mark_read(const uint8_t *mark, int64_t from)
{
    int32_t place = (int32_t)(uint32_t)get_number(mark, 4); /* before from: what was added as number 0 */
    sb_seal_mark_t out = {.seq = from + place,
                          .version = (int)get_number(mark + 4, 4),
                          .stream_no = get_number(mark + 8, 8),
                          .event_class = mark[16],
                          .type_no = (int)get_number(mark + 17, 3)};
    memcpy(out.rest, mark + 20, 4);
    memcpy(out.meta, mark + 24, 4);
    memcpy(out.data, mark + 28, 4);
    return out;
}

/* ---- root and chain ---- */

static sb_code_t join(sb_hasher_t *hasher, const sb_hash_t *left, const sb_hash_t *right, sb_hash_t *out,
                      sb_error_t *err)
{
    begin(hasher);
    feed_number(hasher, 1, 1);
    feed(hasher, left->byte, sizeof left->byte);
    feed(hasher, right->byte, sizeof right->byte);
    return end(hasher, out, err);
}

/* node[i] is the root of a full tree of 2^i leaves wherever the count has that bit: a binary counter. */
sb_code_t sb_seal_tree_add(sb_hasher_t *hasher, sb_seal_tree_t *tree, const sb_hash_t *leaf, sb_error_t *err)
{
    sb_hash_t carry = *leaf;
    sb_code_t code = SB_OK;
    int level = 0;
    for (uint32_t bits = tree->leaves; code == SB_OK && bits & 1; bits >>= 1, level++)
        code = join(hasher, &tree->node[level], &carry, &carry, err);
    tree->node[level] = carry;
    tree->leaves++;
    return code;
}

sb_code_t sb_seal_tree_root(sb_hasher_t *hasher, const sb_seal_tree_t *tree, sb_hash_t *root, sb_error_t *err)
{
    bool any = false;
    sb_code_t code = SB_OK;
    memset(root, 0, sizeof *root);
    for (int level = 0; level < 32 && code == SB_OK; level++) {
        if (!(tree->leaves >> level & 1))
            continue;
        if (any)
            code = join(hasher, &tree->node[level], root, root, err);
        else
            *root = tree->node[level];
        any = true;
    }
    return code;
}

sb_code_t sb_seal_hash(sb_hasher_t *hasher, sb_seal_t *seal, sb_slice_t marks, sb_error_t *err)
{
    sb_hash_t of_marks;
    sb_code_t code = hash_slice(hasher, marks, &of_marks, err);
    if (code != SB_OK)
        return code;
    begin(hasher);
    feed_number(hasher, 2, 1);
    feed_number(hasher, seal->from, 8);
    feed_number(hasher, seal->to, 8);
    feed_number(hasher, seal->leaves, 4);
    feed(hasher, seal->root.byte, sizeof seal->root.byte);
    feed(hasher, seal->prev.byte, sizeof seal->prev.byte);
    feed(hasher, of_marks.byte, sizeof of_marks.byte);
    return end(hasher, &seal->hash, err);
}

/* ---- rows ---- */

typedef struct reading {
    sb_hasher_t *hasher;
    sb_seal_row_fn on_row;
    void *context;
} reading_t;

/* Names are looked up row by row: a join's plan would flip with the statistics. That of a type costs more
 * than all the rest of a row, so it comes once, with the type's first event. */
#define ROWS                                                                                                 \
    "COPY (SELECT e.seq, e.class, e.stream_no, e.version, e.type_no, e.at, e.id, e.meta, e.data, "           \
    "CASE WHEN e.class = 1 THEN (SELECT s.category || '/' || s.key FROM sagabus.stream s "                   \
    "WHERE s.stream_no = e.stream_no) END, "                                                                 \
    "CASE WHEN e.type_no = ANY ('{%s}'::int[]) THEN NULL ELSE (SELECT t.version || ' ' || t.name "           \
    "FROM sagabus.event_type t WHERE t.type_no = e.type_no) END, "                                           \
    "CASE WHEN e.meta IS NULL AND e.data = '\\x6e756c6c' " /* null, which is what erasing leaves */          \
    "THEN (SELECT x.data_hash || x.meta_hash FROM sagabus.event_erased x WHERE x.seq = e.seq) END "          \
    "FROM (SELECT * FROM sagabus.event WHERE seq > %" PRId64 " AND seq <= %" PRId64                          \
    " ORDER BY seq, class LIMIT %d) e ORDER BY e.seq, e.class) TO STDOUT (FORMAT BINARY)"
#define FIELDS 12

static sb_code_t hash_bodies(reading_t *reading, const sb_slice_t *fields, sb_seal_row_t *row,
                             sb_error_t *err)
{
    sb_slice_t kept = fields[11];
    if (kept.len == 2 * sizeof row->data.byte && sb_slice_is(fields[8], "null") && !fields[7].ptr) {
        memcpy(row->data.byte, kept.ptr, sizeof row->data.byte);
        memcpy(row->meta.byte, kept.ptr + sizeof row->data.byte, sizeof row->meta.byte);
        row->erased = true;
        return SB_OK;
    }
    sb_code_t code = hash_slice(reading->hasher, fields[7], &row->meta, err);
    return code == SB_OK ? hash_slice(reading->hasher, fields[8], &row->data, err) : code;
}

static bool find_type(const sb_hasher_t *hasher, sb_seal_row_t *row)
{
    for (int i = 0; i < hasher->known_count; i++) {
        const known_type_t *known = &hasher->known[i];
        if (known->type_no != row->type_no)
            continue;
        row->schema_version = known->schema_version;
        row->type = known->name;
        return true;
    }
    return false;
}

/* Without memory it is looked up again. */
static void remember_type(sb_hasher_t *hasher, const sb_seal_row_t *row)
{
    char *name = hasher->known_count < KNOWN_MAX ? malloc(row->type.len + 1) : NULL;
    if (!name)
        return;
    memcpy(name, row->type.ptr, row->type.len);
    hasher->known[hasher->known_count++] =
        (known_type_t){row->type_no, row->schema_version, {name, row->type.len}};
}

/* "1 order.created"; nothing: a type that was looked up before, or one that is not there. */
static void read_type(sb_hasher_t *hasher, sb_slice_t text, sb_seal_row_t *row)
{
    if (find_type(hasher, row))
        return;
    const char *space = text.ptr ? memchr(text.ptr, ' ', text.len) : NULL;
    if (!space)
        return;
    for (const char *digit = text.ptr; digit < space; digit++)
        row->schema_version = row->schema_version * 10 + (*digit - '0');
    row->type = (sb_slice_t){space + 1, (size_t)(text.ptr + text.len - space - 1)};
    remember_type(hasher, row);
}

static sb_code_t take_row(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    reading_t *reading = context;
    if (count != FIELDS || fields[6].len != 16)
        return sb_fail(err, SB_CORRUPT, "seal: a row of %d fields", count);
    sb_seal_row_t row = {.seq = sb_pg_read_int(fields[0]),
                         .event_class = (int)sb_pg_read_int(fields[1]),
                         .stream_no = sb_pg_read_int(fields[2]),
                         .version = (int)sb_pg_read_int(fields[3]),
                         .type_no = (int)sb_pg_read_int(fields[4]),
                         .time_us = sb_pg_read_time(fields[5]),
                         .stream = fields[9]};
    read_type(reading->hasher, fields[10], &row);
    memcpy(row.id, fields[6].ptr, sizeof row.id);
    sb_code_t code = hash_bodies(reading, fields, &row, err);
    return code == SB_OK ? reading->on_row(reading->context, &row, err) : code;
}

sb_code_t sb_seal_rows(sb_pg_t *pg, sb_hasher_t *hasher, int64_t after, int64_t to, int limit,
                       sb_seal_row_fn on_row, void *context, sb_error_t *err)
{
    char sql[sizeof ROWS + 64 + KNOWN_MAX * 12], known[KNOWN_MAX * 12] = "";
    reading_t reading = {.hasher = hasher, .on_row = on_row, .context = context};
    for (int i = 0, n = 0; i < hasher->known_count; i++)
        n += snprintf(known + n, sizeof known - (size_t)n, i ? ",%d" : "%d", hasher->known[i].type_no);
    (void)snprintf(sql, sizeof sql, ROWS, known, after, to, limit);
    return sb_pg_copy_out(pg, sql, take_row, &reading, err);
}

/* ---- packed rows ---- */

bool sb_hasher_knows(const sb_hasher_t *hasher, sb_slice_t rows)
{
    sb_slice_t packed[SB_PACKED_FIELDS];
    bool knows = true;
    while (knows && sb_packed_row_next(&rows, packed)) {
        sb_seal_row_t row = {.type_no = (int)sb_pg_read_int(packed[SB_PACKED_TYPE_NO])};
        knows = sb_pg_read_int(packed[SB_PACKED_CLASS]) == SB_CLASS_SAGA && find_type(hasher, &row);
    }
    return knows;
}

sb_code_t sb_seal_packed(sb_hasher_t *hasher, sb_slice_t rows, sb_seal_row_fn on_row, void *context,
                         sb_error_t *err)
{
    reading_t reading = {.hasher = hasher, .on_row = on_row, .context = context};
    sb_slice_t packed[SB_PACKED_FIELDS];
    sb_code_t code = SB_OK;
    while (code == SB_OK && sb_packed_row_next(&rows, packed)) {
        const sb_slice_t fields[FIELDS] = {
            packed[SB_PACKED_SEQ],     packed[SB_PACKED_CLASS],   packed[SB_PACKED_STREAM_NO],
            packed[SB_PACKED_VERSION], packed[SB_PACKED_TYPE_NO], packed[SB_PACKED_AT],
            packed[SB_PACKED_ID],      packed[SB_PACKED_META],    packed[SB_PACKED_DATA]};
        code = take_row(&reading, fields, FIELDS, err);
    }
    return code;
}
