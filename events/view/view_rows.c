/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_rows.h"

#include "sagabus/id.h"

#include <pthread.h>
#include <stdlib.h>

#define ROWS_PER_BLOCK 256
#define HEAP_BLOCK     65536
#define ROOM_UNIT      16

/* Keys come from outside, so the hash is seeded per process: nobody can prepare keys that collide. */
static uint64_t seed;
static pthread_once_t seeded = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    sb_uuid_t random = sb_uuid_v7();
    memcpy(&seed, random.byte + 8, sizeof seed);
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ typedef unsigned __int128 wide_t;
    wide_t product = (wide_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint32_t hash_of(const void *data, size_t length)
{
    const char *at = data;
    uint64_t hash = seed ^ length;
    for (; length >= 8; length -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, 8);
        hash = mix(hash ^ word, 0x9E3779B97F4A7C15u);
    }
    uint64_t word = 0;
    if (length > 0)
        memcpy(&word, at, length);
    return (uint32_t)mix(hash ^ word, 0xD6E8FEB86659FD93u);
}

static bool has_bytes(const sb_view_rows_t *rows, int column)
{
    return sb_view_types[rows->table->column[column].type].is_bytes;
}

void sb_view_rows_init(sb_view_rows_t *rows, const sb_view_table_t *table, int column_count, size_t bytes_max)
{
    (void)pthread_once(&seeded, make_seed);
    *rows =
        (sb_view_rows_t){.table = table,
                         .row_bytes = sizeof(sb_view_row_t) + (size_t)column_count * sizeof(sb_view_cell_t),
                         .bytes_max = bytes_max};
}

static void free_blocks(char **block, size_t from, size_t count)
{
    for (size_t i = from; i < count; i++)
        free(block[i]);
}

void sb_view_rows_fini(sb_view_rows_t *rows)
{
    free_blocks(rows->block, 0, rows->block_count);
    free_blocks(rows->heap, 0, rows->heap_count);
    free(rows->block);
    free(rows->heap);
    free(rows->slot);
    rows->block = rows->heap = NULL;
    rows->slot = NULL;
    rows->count = rows->block_count = rows->heap_count = rows->slot_count = 0;
}

void sb_view_rows_reset(sb_view_rows_t *rows)
{
    int column_count = (int)((rows->row_bytes - sizeof(sb_view_row_t)) / sizeof(sb_view_cell_t));
    sb_view_rows_fini(rows);
    sb_view_rows_init(rows, rows->table, column_count, rows->bytes_max);
}

/* ---- memory ---- */

static sb_code_t out_of_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "rows of a view: out of memory");
}

static sb_code_t account(sb_view_rows_t *rows, size_t bytes, sb_error_t *err)
{
    if (rows->bytes + bytes > rows->bytes_max)
        return sb_fail(err, SB_TOO_LARGE,
                       "table %s: its rows need more than the %zu MiB of memory that are allowed",
                       rows->table->name, rows->bytes_max >> 20);
    rows->bytes += bytes;
    return SB_OK;
}

static sb_code_t add_block(sb_view_rows_t *rows, char ***block, size_t *count, size_t *cap, size_t bytes,
                           sb_error_t *err)
{
    if (*count == *cap) {
        size_t grown = *cap ? *cap * 2 : 16;
        char **moved = realloc(*block, grown * sizeof **block);
        if (!moved)
            return out_of_memory(err);
        *block = moved;
        *cap = grown;
    }
    sb_code_t code = account(rows, bytes, err);
    if (code != SB_OK)
        return code;
    char *made = malloc(bytes);
    if (!made)
        return out_of_memory(err);
    (*block)[(*count)++] = made;
    return SB_OK;
}

/* Room for length bytes, of whole units; NULL with *code set when there is none. */
static char *heap_take(sb_view_rows_t *rows, size_t length, sb_code_t *code, sb_error_t *err)
{
    size_t need = (length + ROOM_UNIT - 1) / ROOM_UNIT * ROOM_UNIT;
    *code = SB_OK;
    if (need > HEAP_BLOCK / 4) { /* a block of its own, put before the newest so that this stays in use */
        *code = add_block(rows, &rows->heap, &rows->heap_count, &rows->heap_cap, need, err);
        if (*code != SB_OK)
            return NULL;
        size_t last = rows->heap_count - 1;
        char *own = rows->heap[last];
        if (last > 0) {
            rows->heap[last] = rows->heap[last - 1];
            rows->heap[last - 1] = own;
        }
        return own;
    }
    if (need > rows->heap_left || rows->heap_count == 0) {
        *code = add_block(rows, &rows->heap, &rows->heap_count, &rows->heap_cap, HEAP_BLOCK, err);
        if (*code != SB_OK)
            return NULL;
        rows->heap_left = HEAP_BLOCK;
    }
    char *taken = rows->heap[rows->heap_count - 1] + (HEAP_BLOCK - rows->heap_left);
    rows->heap_left -= need;
    return taken;
}

/* ---- index ---- */

sb_view_row_t *sb_view_rows_at(const sb_view_rows_t *rows, size_t i)
{
    return (sb_view_row_t *)(void *)(rows->block[i / ROWS_PER_BLOCK] + i % ROWS_PER_BLOCK * rows->row_bytes);
}

static uint32_t key_hash(const sb_view_rows_t *rows, const sb_view_value_t *key)
{
    return has_bytes(rows, 0) ? hash_of(key->bytes.ptr, key->bytes.len)
                              : hash_of(&key->integer, sizeof key->integer);
}

static bool has_key(const sb_view_rows_t *rows, const sb_view_row_t *row, const sb_view_value_t *key)
{
    if (!has_bytes(rows, 0))
        return row->cell[0].as.integer == key->integer;
    return row->cell[0].length == key->bytes.len &&
           (key->bytes.len == 0 || memcmp(row->cell[0].as.bytes, key->bytes.ptr, key->bytes.len) == 0);
}

/* The slot of a key, or the free one where it would go. slot_count is a power of two and never full. */
static size_t slot_of(const sb_view_rows_t *rows, uint32_t hash, const sb_view_value_t *key)
{
    size_t i = hash & (rows->slot_count - 1);
    while (rows->slot[i]) {
        const sb_view_row_t *row = sb_view_rows_at(rows, rows->slot[i] - 1);
        if (row->hash == hash && has_key(rows, row, key))
            break;
        i = (i + 1) & (rows->slot_count - 1);
    }
    return i;
}

sb_view_row_t *sb_view_rows_find(const sb_view_rows_t *rows, const sb_view_value_t *key)
{
    if (rows->count == 0)
        return NULL;
    size_t i = slot_of(rows, key_hash(rows, key), key);
    return rows->slot[i] ? sb_view_rows_at(rows, rows->slot[i] - 1) : NULL;
}

static sb_code_t grow_index(sb_view_rows_t *rows, sb_error_t *err)
{
    size_t grown = rows->slot_count ? rows->slot_count * 2 : 1024;
    sb_code_t code = account(rows, (grown - rows->slot_count) * sizeof *rows->slot, err);
    if (code != SB_OK)
        return code;
    uint32_t *slot = calloc(grown, sizeof *slot);
    if (!slot)
        return out_of_memory(err);
    for (size_t k = 0; k < rows->count; k++) {
        size_t i = sb_view_rows_at(rows, k)->hash & (grown - 1);
        while (slot[i])
            i = (i + 1) & (grown - 1);
        slot[i] = (uint32_t)k + 1;
    }
    free(rows->slot);
    rows->slot = slot;
    rows->slot_count = grown;
    return SB_OK;
}

sb_code_t sb_view_rows_get(sb_view_rows_t *rows, const sb_view_value_t *key, sb_view_row_t **out,
                           sb_error_t *err)
{
    uint32_t hash = key_hash(rows, key);
    sb_code_t code = SB_OK;
    if ((rows->count + 1) * 4 > rows->slot_count * 3)
        code = grow_index(rows, err);
    if (code != SB_OK)
        return code;
    size_t i = slot_of(rows, hash, key);
    if (rows->slot[i]) {
        *out = sb_view_rows_at(rows, rows->slot[i] - 1);
        return SB_OK;
    }
    if (rows->count == UINT32_MAX - 1)
        return sb_fail(err, SB_TOO_LARGE, "table %s: too many rows", rows->table->name);
    if (rows->count == rows->block_count * ROWS_PER_BLOCK)
        code = add_block(rows, &rows->block, &rows->block_count, &rows->block_cap,
                         ROWS_PER_BLOCK * rows->row_bytes, err);
    if (code != SB_OK)
        return code;
    sb_view_row_t *row = sb_view_rows_at(rows, rows->count);
    memset(row, 0, rows->row_bytes);
    row->hash = hash;
    size_t columns = (rows->row_bytes - sizeof *row) / sizeof *row->cell;
    for (size_t column = 0; column < columns; column++)
        row->cell[column].is_null = true;
    code = sb_view_rows_put(rows, row, 0, key, err);
    if (code != SB_OK)
        return code;
    rows->slot[i] = (uint32_t)++rows->count;
    *out = row;
    return SB_OK;
}

/* ---- cells ---- */

sb_code_t sb_view_rows_put(sb_view_rows_t *rows, sb_view_row_t *row, int column, const sb_view_value_t *value,
                           sb_error_t *err)
{
    sb_view_cell_t *cell = &row->cell[column];
    cell->is_null = value->is_null;
    if (value->is_null)
        return SB_OK;
    if (!has_bytes(rows, column)) {
        cell->as.integer = value->integer;
        return SB_OK;
    }
    size_t length = value->bytes.len;
    if (length > UINT32_MAX)
        return sb_fail(err, SB_TOO_LARGE, "table %s: a value of %zu bytes", rows->table->name, length);
    if (length > cell->room * (size_t)ROOM_UNIT) {
        sb_code_t code;
        char *taken = heap_take(rows, length, &code, err);
        if (!taken)
            return code;
        cell->as.bytes = taken;
        size_t units = (length + ROOM_UNIT - 1) / ROOM_UNIT;
        cell->room = (uint16_t)(units < UINT16_MAX ? units : UINT16_MAX);
    }
    if (length > 0)
        memmove(cell->as.bytes, value->bytes.ptr, length);
    cell->length = (uint32_t)length;
    return SB_OK;
}

sb_view_value_t sb_view_rows_value(const sb_view_rows_t *rows, const sb_view_row_t *row, int column)
{
    const sb_view_cell_t *cell = &row->cell[column];
    sb_view_value_t value = {cell->is_null, 0, {NULL, 0}};
    if (cell->is_null)
        return value;
    if (has_bytes(rows, column))
        value.bytes = (sb_slice_t){cell->length ? cell->as.bytes : "", cell->length};
    else
        value.integer = cell->as.integer;
    return value;
}
