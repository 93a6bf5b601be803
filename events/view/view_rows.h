/* view_rows - rows of a view's table in memory, found by key.
 *
 * An open-addressed index over rows that lie in blocks; bytes lie in blocks too, and a value that fits where
 * the old one lay takes its place. Everything is given back at once by reset. The memory is bounded by a
 * budget, which several tables may share: past it an insert answers SB_TOO_LARGE.
 *
 * Keys fall into parts by the first bits of their hash. When not all rows of a table fit into memory, one
 * part after the other is folded: keep drops what is not of a part and gives its room to the rows to come.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_ROWS_H
#define SB_EVENTS_VIEW_ROWS_H

#include "events/view/view_definition.h"

/* What tables may hold together. */
typedef struct sb_view_budget {
    size_t used;
    size_t max;
} sb_view_budget_t;

/* The keys whose hash begins with these bits. */
typedef struct sb_view_part {
    int bits; /* 0: all keys */
    uint32_t value;
} sb_view_part_t;

#define SB_VIEW_PART_BITS_MAX 24

/* Whether a hash is of the part. */
static inline bool sb_view_part_has(const sb_view_part_t *part, uint32_t hash)
{
    return part->bits == 0 || hash >> (32 - part->bits) == part->value;
}

/* 16 bytes: a replay keeps one for each column of each row. */
typedef struct sb_view_cell {
    union {
        int64_t integer;
        char *bytes;
    } as;
    uint32_t length;
    uint16_t room; /* of bytes, in units of 16 */
    bool is_null;
} sb_view_cell_t;

typedef struct sb_view_row {
    uint32_t hash;
    bool present; /* false: no row in the view, or deleted */
    bool stored;  /* the view's table has it */
    bool changed; /* since it was loaded */
    bool dirty;   /* its key is parked: events that came later are not in it */
    bool loaded;  /* what the table has was read, or there is nothing to read */
    sb_view_cell_t cell[];
} sb_view_row_t;

typedef struct sb_view_rows {
    const sb_view_table_t *table;
    size_t row_bytes;
    size_t count;      /* of rows that were made; those that keep dropped are among them, not present */
    size_t used;       /* of them in the index */
    uint32_t free_row; /* row number + 1 of one that was dropped, which holds the next in its hash; 0: none */
    uint32_t *slot;    /* row number + 1; 0: free */
    size_t slot_count;
    char **block; /* of rows */
    size_t block_count;
    size_t block_cap;
    char **heap; /* blocks of bytes */
    size_t heap_count;
    size_t heap_cap;
    size_t heap_left; /* in the newest */
    char **free_heap; /* room that is free again, by its size in units; NULL until there is some */
    size_t own_count; /* values too large for blocks, each with memory of its own */
    size_t bytes;     /* of all memory */
    sb_view_budget_t *budget;
} sb_view_rows_t;

/* column_count: how many of the table's columns are kept (1: a set of keys). Borrows the budget. */
void sb_view_rows_init(sb_view_rows_t *rows, const sb_view_table_t *table, int column_count,
                       sb_view_budget_t *budget);
void sb_view_rows_fini(sb_view_rows_t *rows);
void sb_view_rows_reset(sb_view_rows_t *rows);

/* Of a key, in this process. */
uint32_t sb_view_rows_hash(const sb_view_rows_t *rows, const sb_view_value_t *key);

/* Drops the rows that are not of the part. */
void sb_view_rows_keep(sb_view_rows_t *rows, const sb_view_part_t *part);

/* Drops a row that the table does not have: its room is given to others. */
void sb_view_rows_drop(sb_view_rows_t *rows, sb_view_row_t *row);

/* NULL when there is none. */
sb_view_row_t *sb_view_rows_find(const sb_view_rows_t *rows, const sb_view_value_t *key);

/* The row of a key; a new one is neither present nor loaded, its key is set and its other cells are NULL. */
SB_MUST_CHECK sb_code_t sb_view_rows_get(sb_view_rows_t *rows, const sb_view_value_t *key,
                                         sb_view_row_t **out, sb_error_t *err);

/* In order of insertion until keep dropped some; i below rows->count. */
sb_view_row_t *sb_view_rows_at(const sb_view_rows_t *rows, size_t i);

/* Copies value into a cell; bytes of value must not be the cell's own unless they are all of it. */
SB_MUST_CHECK sb_code_t sb_view_rows_put(sb_view_rows_t *rows, sb_view_row_t *row, int column,
                                         const sb_view_value_t *value, sb_error_t *err);

/* Borrowed until the cell is written or the rows are reset. */
sb_view_value_t sb_view_rows_value(const sb_view_rows_t *rows, const sb_view_row_t *row, int column);

#endif
