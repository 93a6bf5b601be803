/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_rows.h"

#include "sagabus/id.h"

#include <pthread.h>
#include <stdlib.h>

#define ROWS_PER_BLOCK 256
#define HEAP_BLOCK     65536
#define ROOM_UNIT      16
#define OWN_BYTES      ((size_t)HEAP_BLOCK / 4) /* a larger value has memory of its own */
#define OWN_ROOM       UINT16_MAX
#define ROOMS          (OWN_BYTES / ROOM_UNIT + 1)

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

void sb_view_rows_init(sb_view_rows_t *rows, const sb_view_table_t *table, int column_count,
                       sb_view_budget_t *budget)
{
    (void)pthread_once(&seeded, make_seed);
    *rows =
        (sb_view_rows_t){.table = table,
                         .row_bytes = sizeof(sb_view_row_t) + (size_t)column_count * sizeof(sb_view_cell_t),
                         .budget = budget};
}

static int columns_kept(const sb_view_rows_t *rows)
{
    return (int)((rows->row_bytes - sizeof(sb_view_row_t)) / sizeof(sb_view_cell_t));
}

/* Before memory of its own its size is kept, which may be more than room can say. */
static size_t room_of(const sb_view_cell_t *cell)
{
    size_t own;
    if (cell->room != OWN_ROOM)
        return cell->room * (size_t)ROOM_UNIT;
    memcpy(&own, cell->as.bytes - ROOM_UNIT, sizeof own);
    return own;
}

/* ---- memory ---- */

static sb_code_t out_of_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "rows of a view: out of memory");
}

static sb_code_t account(sb_view_rows_t *rows, size_t bytes, sb_error_t *err)
{
    if (bytes > rows->budget->max || rows->budget->used > rows->budget->max - bytes)
        return sb_fail(err, SB_TOO_LARGE,
                       "table %s: its rows need more than the %zu MiB of memory that are allowed",
                       rows->table->name, rows->budget->max >> 20);
    rows->budget->used += bytes;
    rows->bytes += bytes;
    return SB_OK;
}

static void give_back(sb_view_rows_t *rows, size_t bytes)
{
    rows->budget->used -= bytes;
    rows->bytes -= bytes;
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
    if (!made) {
        give_back(rows, bytes);
        return out_of_memory(err);
    }
    (*block)[(*count)++] = made;
    return SB_OK;
}

static sb_code_t take_own(sb_view_rows_t *rows, size_t need, char **out, sb_error_t *err)
{
    sb_code_t code = account(rows, need, err);
    if (code != SB_OK)
        return code;
    char *made = malloc(need + ROOM_UNIT);
    if (!made) {
        give_back(rows, need);
        return out_of_memory(err);
    }
    memcpy(made, &need, sizeof need);
    *out = made + ROOM_UNIT;
    rows->own_count++;
    return SB_OK;
}

/* Room for need bytes, of whole units. */
static sb_code_t heap_take(sb_view_rows_t *rows, size_t need, char **out, sb_error_t *err)
{
    if (need > OWN_BYTES)
        return take_own(rows, need, out, err);
    char **again = rows->free_heap ? &rows->free_heap[need / ROOM_UNIT] : NULL;
    if (again && *again) {
        *out = *again;
        memcpy(again, *out, sizeof *again);
        return SB_OK;
    }
    if (need > rows->heap_left || rows->heap_count == 0) {
        sb_code_t code = add_block(rows, &rows->heap, &rows->heap_count, &rows->heap_cap, HEAP_BLOCK, err);
        if (code != SB_OK)
            return code;
        rows->heap_left = HEAP_BLOCK;
    }
    *out = rows->heap[rows->heap_count - 1] + (HEAP_BLOCK - rows->heap_left);
    rows->heap_left -= need;
    return SB_OK;
}

/* A cell gives its room to others; without memory to remember it, it stays unused until the reset. */
static void heap_free(sb_view_rows_t *rows, sb_view_cell_t *cell)
{
    size_t room = room_of(cell);
    bool own = cell->room == OWN_ROOM;
    cell->room = 0;
    if (own) {
        free(cell->as.bytes - ROOM_UNIT);
        give_back(rows, room);
        rows->own_count--;
        return;
    }
    if (room > 0 && !rows->free_heap)
        rows->free_heap = calloc(ROOMS, sizeof *rows->free_heap);
    if (room > 0 && rows->free_heap) {
        memcpy(cell->as.bytes, &rows->free_heap[room / ROOM_UNIT], sizeof *rows->free_heap);
        rows->free_heap[room / ROOM_UNIT] = cell->as.bytes;
    }
}

static void free_own(sb_view_rows_t *rows)
{
    int columns = columns_kept(rows);
    for (size_t k = 0; rows->own_count > 0 && k < rows->count; k++) {
        sb_view_row_t *row = sb_view_rows_at(rows, k);
        for (int i = 0; i < columns; i++)
            if (has_bytes(rows, i) && row->cell[i].room == OWN_ROOM)
                heap_free(rows, &row->cell[i]);
    }
}

static void free_blocks(char **block, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(block[i]);
}

void sb_view_rows_fini(sb_view_rows_t *rows)
{
    free_own(rows);
    free_blocks(rows->block, rows->block_count);
    free_blocks(rows->heap, rows->heap_count);
    free(rows->block);
    free(rows->heap);
    free(rows->free_heap);
    free(rows->slot);
    if (rows->budget)
        give_back(rows, rows->bytes);
    *rows = (sb_view_rows_t){.table = rows->table, .row_bytes = rows->row_bytes, .budget = rows->budget};
}

void sb_view_rows_reset(sb_view_rows_t *rows)
{
    sb_view_rows_fini(rows);
}

/* ---- index ---- */

sb_view_row_t *sb_view_rows_at(const sb_view_rows_t *rows, size_t i)
{
    return (sb_view_row_t *)(void *)(rows->block[i / ROWS_PER_BLOCK] + i % ROWS_PER_BLOCK * rows->row_bytes);
}

uint32_t sb_view_rows_hash(const sb_view_rows_t *rows, const sb_view_value_t *key)
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
    if (rows->slot_count == 0)
        return NULL;
    size_t i = slot_of(rows, sb_view_rows_hash(rows, key), key);
    return rows->slot[i] ? sb_view_rows_at(rows, rows->slot[i] - 1) : NULL;
}

static void put_slot(const sb_view_rows_t *rows, uint32_t *slot, size_t slot_count, size_t k)
{
    size_t i = sb_view_rows_at(rows, k)->hash & (slot_count - 1);
    while (slot[i])
        i = (i + 1) & (slot_count - 1);
    slot[i] = (uint32_t)k + 1;
}

static sb_code_t grow_index(sb_view_rows_t *rows, sb_error_t *err)
{
    size_t grown = rows->slot_count ? rows->slot_count * 2 : 1024;
    sb_code_t code = account(rows, grown * sizeof *rows->slot, err);
    if (code != SB_OK)
        return code;
    uint32_t *slot = calloc(grown, sizeof *slot);
    if (!slot) {
        give_back(rows, grown * sizeof *slot);
        return out_of_memory(err);
    }
    for (size_t i = 0; i < rows->slot_count; i++)
        if (rows->slot[i])
            put_slot(rows, slot, grown, rows->slot[i] - 1);
    give_back(rows, rows->slot_count * sizeof *slot);
    free(rows->slot);
    rows->slot = slot;
    rows->slot_count = grown;
    return SB_OK;
}

/* A dropped row is known by its key, which is NULL. */
static void drop_row(sb_view_rows_t *rows, uint32_t number)
{
    sb_view_row_t *row = sb_view_rows_at(rows, number);
    row->present = row->stored = row->changed = row->loaded = false;
    row->cell[0].is_null = true;
    row->hash = rows->free_row;
    rows->free_row = number + 1;
}

void sb_view_rows_keep(sb_view_rows_t *rows, const sb_view_part_t *part)
{
    int columns = columns_kept(rows);
    if (rows->slot_count == 0)
        return;
    for (size_t i = 0; i < rows->slot_count; i++) {
        uint32_t k = rows->slot[i];
        sb_view_row_t *row = k ? sb_view_rows_at(rows, k - 1) : NULL;
        if (!row || sb_view_part_has(part, row->hash))
            continue;
        for (int column = 0; column < columns; column++)
            if (has_bytes(rows, column))
                heap_free(rows, &row->cell[column]);
        drop_row(rows, k - 1);
        rows->used--;
    }
    memset(rows->slot, 0, rows->slot_count * sizeof *rows->slot);
    for (size_t k = 0; k < rows->count; k++)
        if (!sb_view_rows_at(rows, k)->cell[0].is_null)
            put_slot(rows, rows->slot, rows->slot_count, k);
}

/* What comes behind a slot in a run moves into it when its own place is not behind it, so that no search ends
 * early. */
static void close_gap(sb_view_rows_t *rows, size_t gap)
{
    size_t mask = rows->slot_count - 1;
    for (size_t i = (gap + 1) & mask; rows->slot[i]; i = (i + 1) & mask) {
        size_t home = sb_view_rows_at(rows, rows->slot[i] - 1)->hash & mask;
        if (((i - home) & mask) < ((i - gap) & mask))
            continue;
        rows->slot[gap] = rows->slot[i];
        gap = i;
    }
    rows->slot[gap] = 0;
}

void sb_view_rows_drop(sb_view_rows_t *rows, sb_view_row_t *row)
{
    sb_view_value_t key = sb_view_rows_value(rows, row, 0);
    size_t slot = slot_of(rows, row->hash, &key);
    uint32_t number = rows->slot[slot] - 1;
    int columns = columns_kept(rows);
    close_gap(rows, slot);
    for (int column = 0; column < columns; column++)
        if (has_bytes(rows, column))
            heap_free(rows, &row->cell[column]);
    drop_row(rows, number);
    rows->used--;
}

/* A row that was dropped, or a new one at the end. */
static sb_code_t take_row(sb_view_rows_t *rows, uint32_t *number, sb_error_t *err)
{
    if (rows->free_row) {
        *number = rows->free_row - 1;
        rows->free_row = sb_view_rows_at(rows, *number)->hash;
        return SB_OK;
    }
    if (rows->count == UINT32_MAX - 2)
        return sb_fail(err, SB_TOO_LARGE, "table %s: too many rows", rows->table->name);
    if (rows->count == rows->block_count * ROWS_PER_BLOCK) {
        sb_code_t code = add_block(rows, &rows->block, &rows->block_count, &rows->block_cap,
                                   ROWS_PER_BLOCK * rows->row_bytes, err);
        if (code != SB_OK)
            return code;
    }
    *number = (uint32_t)rows->count++;
    return SB_OK;
}

static sb_code_t add_row(sb_view_rows_t *rows, const sb_view_value_t *key, uint32_t hash, size_t slot,
                         sb_view_row_t **out, sb_error_t *err)
{
    uint32_t number = 0;
    sb_code_t code = take_row(rows, &number, err);
    if (code != SB_OK)
        return code;
    sb_view_row_t *row = sb_view_rows_at(rows, number);
    memset(row, 0, rows->row_bytes);
    int columns = columns_kept(rows);
    for (int column = 0; column < columns; column++)
        row->cell[column].is_null = true;
    code = sb_view_rows_put(rows, row, 0, key, err);
    if (code != SB_OK) {
        drop_row(rows, number);
        return code;
    }
    row->hash = hash;
    rows->slot[slot] = number + 1;
    rows->used++;
    *out = row;
    return SB_OK;
}

sb_code_t sb_view_rows_get(sb_view_rows_t *rows, const sb_view_value_t *key, sb_view_row_t **out,
                           sb_error_t *err)
{
    uint32_t hash = sb_view_rows_hash(rows, key);
    sb_code_t code = SB_OK;
    if ((rows->used + 1) * 4 > rows->slot_count * 3)
        code = grow_index(rows, err);
    if (code != SB_OK)
        return code;
    size_t i = slot_of(rows, hash, key);
    if (!rows->slot[i])
        return add_row(rows, key, hash, i, out, err);
    *out = sb_view_rows_at(rows, rows->slot[i] - 1);
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
    if (length > room_of(cell)) {
        size_t need = (length + ROOM_UNIT - 1) / ROOM_UNIT * ROOM_UNIT;
        char *taken = NULL;
        sb_code_t code = heap_take(rows, need, &taken, err);
        if (code != SB_OK)
            return code;
        memcpy(taken, value->bytes.ptr, length); /* which may be in the cell's old room */
        heap_free(rows, cell);
        cell->as.bytes = taken;
        cell->room = need > OWN_BYTES ? OWN_ROOM : (uint16_t)(need / ROOM_UNIT);
        cell->length = (uint32_t)length;
        return SB_OK;
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
