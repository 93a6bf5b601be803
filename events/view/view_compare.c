/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compare.h"

#include "events/view/view_sql.h"
#include "events_sql.h"

#include <stdlib.h>

#define PAGE 5000

/* A JSON value that is written in two ways may still be the same: PostgreSQL says, page by page. */
typedef struct doubt {
    int row; /* of the page */
    int column;
} doubt_t;

typedef struct pairs {
    sb_pg_array_t live;
    sb_pg_array_t folded;
    doubt_t at[PAGE * SB_VIEW_COLUMNS_MAX]; /* any column of a row may be the one that differs */
    int count;
} pairs_t;

typedef struct matching {
    const sb_view_comparing_t *compare;
    const sb_view_table_t *live;
    sb_view_rows_t *rows;
    int column[SB_VIEW_COLUMNS_MAX]; /* of the fold, by that of the table; -1: it has none */
    bool unequal[PAGE];
    pairs_t pairs;
} matching_t;

/* ---- telling ---- */

static void add_text(sb_buf_t *out, sb_view_type_t type, const sb_view_value_t *value)
{
    if (sb_view_types[type].is_bytes && !value->is_null)
        sb_buf_add_slice(out, value->bytes);
    else
        sb_view_value_json(type, value, out);
}

#define DIRTY (-2) /* the column of that name */

/* column -1: the whole row. live, folded NULL: there is no row. */
static sb_code_t tell(const matching_t *m, const sb_view_value_t *key, int column,
                      const sb_view_value_t *live, const sb_view_value_t *folded, sb_error_t *err)
{
    const sb_view_comparing_t *c = m->compare;
    sb_buf_t text[3] = {SB_BUF_INIT, SB_BUF_INIT, SB_BUF_INIT};
    if (!c->on_difference || c->result->told >= c->differences_max)
        return SB_OK;
    c->result->told++;
    add_text(&text[0], m->live->column[0].type, key);
    sb_view_type_t type = column >= 0 ? m->live->column[column].type : SB_VIEW_BOOL;
    if (column != -1 && live)
        add_text(&text[1], type, live);
    if (column != -1 && folded)
        add_text(&text[2], type, folded);
    sb_view_difference_t difference = {.view = c->live->name,
                                       .table = m->live->name,
                                       .key = sb_buf_text(&text[0]),
                                       .column = column >= 0       ? m->live->column[column].name
                                                 : column == DIRTY ? "dirty"
                                                                   : NULL,
                                       .live = live ? sb_buf_text(&text[1]) : NULL,
                                       .folded = folded ? sb_buf_text(&text[2]) : NULL};
    sb_code_t code = c->on_difference(c->context, &difference, err);
    for (int i = 0; i < 3; i++)
        sb_buf_fini(&text[i]);
    return code;
}

/* ---- checksums: sums of the rows' hashes, so the order does not matter ---- */

static uint64_t mix(uint64_t hash, const void *data, size_t length)
{
    const unsigned char *at = data;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ at[i]) * 1099511628211u;
    return hash;
}

static uint64_t mix_value(uint64_t hash, sb_view_type_t type, const sb_view_value_t *value)
{
    char null = (char)value->is_null;
    hash = mix(hash, &null, 1);
    if (value->is_null)
        return hash;
    return sb_view_types[type].is_bytes ? mix(hash, value->bytes.ptr, value->bytes.len)
                                        : mix(hash, &value->integer, sizeof value->integer);
}

static bool is_dirty(const matching_t *m, const sb_pg_result_t *page, int row)
{
    return sb_pg_get_bool(page, row, m->live->column_count);
}

/* Rows that are not parked have the checksum of their columns. */
static uint64_t mix_dirty(uint64_t hash, bool dirty)
{
    return dirty ? mix(hash, "dirty", 5) : hash;
}

static uint64_t hash_live(const matching_t *m, const sb_pg_result_t *page, int row)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < m->live->column_count; i++) {
        sb_view_value_t value = sb_view_value_get(m->live->column[i].type, page, row, i);
        if (m->column[i] >= 0)
            hash = mix_value(hash, m->live->column[i].type, &value);
    }
    return mix_dirty(hash, is_dirty(m, page, row));
}

static uint64_t hash_folded(const matching_t *m, const sb_view_row_t *row)
{
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < m->live->column_count; i++) {
        if (m->column[i] < 0)
            continue;
        sb_view_value_t value = sb_view_rows_value(m->rows, row, m->column[i]);
        hash = mix_value(hash, m->live->column[i].type, &value);
    }
    return mix_dirty(hash, row->dirty);
}

/* ---- rows ---- */

static bool same(sb_view_type_t type, const sb_view_value_t *a, const sb_view_value_t *b)
{
    if (a->is_null || b->is_null)
        return a->is_null == b->is_null;
    if (!sb_view_types[type].is_bytes)
        return a->integer == b->integer;
    return a->bytes.len == b->bytes.len &&
           (a->bytes.len == 0 || memcmp(a->bytes.ptr, b->bytes.ptr, a->bytes.len) == 0);
}

static sb_code_t compare_row(matching_t *m, const sb_pg_result_t *page, int at, const sb_view_row_t *row,
                             sb_error_t *err)
{
    for (int i = 1; i < m->live->column_count; i++) {
        sb_view_type_t type = m->live->column[i].type;
        if (m->column[i] < 0)
            continue;
        sb_view_value_t live = sb_view_value_get(type, page, at, i);
        sb_view_value_t folded = sb_view_rows_value(m->rows, row, m->column[i]);
        if (same(type, &live, &folded))
            continue;
        if (type == SB_VIEW_JSONB && !live.is_null && !folded.is_null) {
            sb_pg_array_add_slice(&m->pairs.live, live.bytes);
            sb_pg_array_add_slice(&m->pairs.folded, folded.bytes);
            m->pairs.at[m->pairs.count++] = (doubt_t){at, i};
            continue;
        }
        sb_view_value_t key = sb_view_rows_value(m->rows, row, 0);
        m->unequal[at] = true;
        return tell(m, &key, i, &live, &folded, err);
    }
    if (is_dirty(m, page, at) == row->dirty)
        return SB_OK;
    sb_view_value_t key = sb_view_rows_value(m->rows, row, 0);
    m->unequal[at] = true;
    return tell(m, &key, DIRTY, &(sb_view_value_t){.integer = is_dirty(m, page, at)},
                &(sb_view_value_t){.integer = row->dirty}, err);
}

static sb_code_t settle_doubts(matching_t *m, const sb_pg_result_t *page, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    if (m->pairs.count == 0)
        return SB_OK;
    if (sb_pg_array_failed(&m->pairs.live) || sb_pg_array_failed(&m->pairs.folded))
        return sb_fail(err, SB_NO_MEMORY, "comparison of a view: out of memory");
    sb_pg_add_array(&params, &m->pairs.live);
    sb_pg_add_array(&params, &m->pairs.folded);
    sb_code_t code = sb_pg_query(m->compare->pg, sb_sql_view_json_differ, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++) {
        doubt_t at = m->pairs.at[sb_pg_get_int(result, i, 0) - 1];
        if (m->unequal[at.row])
            continue;
        m->unequal[at.row] = true;
        sb_view_value_t key = sb_view_value_get(m->live->column[0].type, page, at.row, 0);
        sb_view_value_t live = sb_view_value_get(SB_VIEW_JSONB, page, at.row, at.column);
        const sb_view_row_t *row = sb_view_rows_find(m->rows, &key);
        sb_view_value_t folded = sb_view_rows_value(m->rows, row, m->column[at.column]);
        code = tell(m, &key, at.column, &live, &folded, err);
    }
    sb_pg_result_free(result);
    sb_pg_array_reset(&m->pairs.live);
    sb_pg_array_reset(&m->pairs.folded);
    m->pairs.count = 0;
    return code;
}

/* A row that both have is loaded from here on, which is how those that only the fold has are known. */
static sb_code_t meet_row(matching_t *m, const sb_pg_result_t *page, int at, sb_error_t *err)
{
    sb_view_comparison_t *result = m->compare->result;
    sb_view_value_t key = sb_view_value_get(m->live->column[0].type, page, at, 0);
    m->unequal[at] = false;
    if (!sb_view_part_has(m->compare->part, sb_view_rows_hash(m->rows, &key)))
        return SB_OK;
    sb_view_row_t *row = sb_view_rows_find(m->rows, &key);
    result->live_rows++;
    result->live_checksum += hash_live(m, page, at);
    if (row && row->present) {
        row->loaded = true;
        return compare_row(m, page, at, row, err);
    }
    result->extra++;
    return tell(m, &key, -1, &key, NULL, err);
}

static void count_page(matching_t *m, const sb_pg_result_t *page)
{
    sb_view_comparison_t *result = m->compare->result;
    for (int at = 0; at < sb_pg_rows(page); at++) {
        sb_view_value_t key = sb_view_value_get(m->live->column[0].type, page, at, 0);
        const sb_view_row_t *row = sb_view_rows_find(m->rows, &key);
        if (!row || !row->present || !sb_view_part_has(m->compare->part, row->hash))
            continue;
        result->differing += m->unequal[at];
        result->folded_rows++;
        result->folded_checksum += m->unequal[at] ? hash_folded(m, row) : hash_live(m, page, at);
    }
}

static sb_code_t count_missing(matching_t *m, sb_error_t *err)
{
    sb_view_comparison_t *result = m->compare->result;
    sb_code_t code = SB_OK;
    for (size_t k = 0; k < m->rows->count && code == SB_OK; k++) {
        const sb_view_row_t *row = sb_view_rows_at(m->rows, k);
        if (!row->present || row->loaded || !sb_view_part_has(m->compare->part, row->hash))
            continue;
        sb_view_value_t key = sb_view_rows_value(m->rows, row, 0);
        result->missing++;
        result->folded_rows++;
        result->folded_checksum += hash_folded(m, row);
        code = tell(m, &key, -1, NULL, &key, err);
    }
    return code;
}

/* ---- pages ---- */

static sb_code_t page_text(const matching_t *m, bool first, const char **sql, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_view_sql_walk(&text, m->live, m->compare->generation, first, PAGE);
    sb_code_t code = sb_view_sql_intern(&text, sql, err);
    sb_buf_fini(&text);
    return code;
}

static sb_code_t walk(matching_t *m, sb_error_t *err)
{
    const char *first = NULL, *sql = NULL;
    sb_pg_result_t *page = NULL;
    sb_code_t code = page_text(m, true, &first, err);
    if (code == SB_OK)
        code = sb_pg_query(m->compare->pg, first, NULL, &page, err);
    if (code == SB_OK)
        code = page_text(m, false, &sql, err);
    while (code == SB_OK && sb_pg_rows(page) > 0) {
        int count = sb_pg_rows(page);
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_result_t *next = NULL;
        for (int at = 0; at < count && code == SB_OK; at++)
            code = meet_row(m, page, at, err);
        if (code == SB_OK)
            code = settle_doubts(m, page, err);
        if (code == SB_OK)
            count_page(m, page);
        sb_view_value_t last = sb_view_value_get(m->live->column[0].type, page, count - 1, 0);
        sb_view_value_add(m->live->column[0].type, &last, &params);
        if (code == SB_OK)
            code = sb_pg_query(m->compare->pg, sql, &params, &next, err);
        sb_pg_result_free(page);
        page = next;
    }
    sb_pg_result_free(page);
    sb_view_sql_release(&first, m->compare->pg);
    sb_view_sql_release(&sql, m->compare->pg);
    return code == SB_OK ? count_missing(m, err) : code;
}

/* Which column is which. False: the tables are not kept by the same key. */
static bool match_columns(matching_t *m)
{
    const sb_view_table_t *other = m->rows->table;
    for (int i = 0; i < m->live->column_count; i++) {
        int at = sb_view_table_column(other, sb_slice(m->live->column[i].name));
        m->column[i] = at >= 0 && other->column[at].type == m->live->column[i].type ? at : -1;
    }
    return m->column[0] == 0;
}

sb_code_t sb_view_compare_run(const sb_view_comparing_t *compare, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    matching_t *m = calloc(1, sizeof *m);
    if (!m)
        return sb_fail(err, SB_NO_MEMORY, "comparison of a view: out of memory");
    m->compare = compare;
    sb_pg_array_init(&m->pairs.live, SB_PG_TEXT);
    sb_pg_array_init(&m->pairs.folded, SB_PG_TEXT);
    for (int t = 0; t < compare->live->table_count && code == SB_OK; t++) {
        m->live = &compare->live->table[t];
        int other = sb_view_definition_table(compare->other, sb_slice(m->live->name));
        m->rows = other < 0 ? NULL : sb_view_fold_rows(compare->fold, other);
        if (m->rows && match_columns(m))
            code = walk(m, err);
        else
            compare->result->tables_left_out++;
    }
    sb_pg_array_fini(&m->pairs.live);
    sb_pg_array_fini(&m->pairs.folded);
    free(m);
    return code;
}
