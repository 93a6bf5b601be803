/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_load.h"

#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events_sql.h"

#define SEND_BYTES 262144u /* of rows in one piece of COPY */

static sb_code_t send_rows(const sb_view_load_t *load, const sb_view_rows_t *rows, sb_error_t *err)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_code_t code = SB_OK;
    int64_t sent = 0;
    for (size_t k = 0; k < rows->count && code == SB_OK; k++) {
        const sb_view_row_t *row = sb_view_rows_at(rows, k);
        if (!row->present)
            continue;
        sb_pg_copy_row(&out, rows->table->column_count + 1);
        for (int i = 0; i < rows->table->column_count; i++) {
            sb_view_value_t value = sb_view_rows_value(rows, row, i);
            sb_view_value_copy(rows->table->column[i].type, &value, &out);
        }
        sb_pg_copy_bool(&out, row->dirty);
        sent++;
        if (out.len < SEND_BYTES)
            continue;
        code = sb_pg_copy_in_send(load->pg, &out, err);
        if (code == SB_OK)
            code = load->on_rows(load->context, sent, err);
        sent = 0;
    }
    if (code == SB_OK)
        code = sb_pg_copy_in_send(load->pg, &out, err);
    sb_buf_fini(&out);
    return code == SB_OK ? load->on_rows(load->context, sent, err) : code;
}

static sb_code_t run_built(sb_pg_t *pg, sb_buf_t *text, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (sb_buf_failed(text))
        code = sb_fail(err, SB_NO_MEMORY, "load of a view: out of memory");
    else if (text->len > 0)
        code = sb_pg_script(pg, sb_buf_text(text), err);
    sb_buf_reset(text);
    return code;
}

static sb_code_t load_table(const sb_view_load_t *load, int t, sb_error_t *err)
{
    const sb_view_table_t *table = &load->definition->table[t];
    sb_buf_t text = SB_BUF_INIT;
    if (load->first)
        sb_view_sql_create(&text, table, load->generation);
    sb_code_t code = run_built(load->pg, &text, err);
    if (code == SB_OK) {
        sb_view_sql_copy_in(&text, table, load->generation, load->first);
        code = sb_pg_copy_in_start(load->pg, sb_buf_text(&text), err);
        sb_buf_reset(&text);
    }
    if (code == SB_OK && (t != load->definition->carry || load->first)) /* each pass has all of the carry */
        code = send_rows(load, sb_view_fold_rows(load->fold, t), err);
    if (code == SB_OK)
        code = sb_pg_copy_in_end(load->pg, NULL, err);
    if (load->last)
        sb_view_sql_index(&text, table, load->generation);
    if (code == SB_OK)
        code = run_built(load->pg, &text, err);
    sb_buf_fini(&text);
    return code;
}

static sb_code_t load_parked(const sb_view_load_t *load, sb_error_t *err)
{
    sb_view_parked_rows_t parked;
    if (sb_view_fold_parked_count(load->fold) == 0)
        return SB_OK;
    sb_view_parked_rows_init(&parked);
    sb_code_t code = sb_view_parked_rows_fill(&parked, load->definition, load->generation, load->fold, err);
    if (code == SB_OK)
        code = sb_pg_query(load->pg, sb_sql_view_parked_add, &parked.params, NULL, err);
    sb_view_parked_rows_fini(&parked);
    return code;
}

static sb_code_t load_all(const sb_view_load_t *load, sb_error_t *err)
{
    sb_lease_t guard = *load->lease; /* its beat is the guard: the first statement of the transaction */
    sb_code_t code = sb_lease_beat(&guard, load->pg, err);
    for (int t = 0; t < load->definition->table_count && code == SB_OK; t++)
        code = load_table(load, t, err);
    return code == SB_OK ? load_parked(load, err) : code;
}

sb_code_t sb_view_load_run(const sb_view_load_t *load, sb_error_t *err)
{
    sb_code_t code = sb_pg_begin(load->pg, err);
    if (code == SB_OK)
        code = load_all(load, err);
    if (code == SB_OK)
        code = sb_pg_commit(load->pg, err);
    if (code != SB_OK)
        sb_pg_rollback(load->pg);
    return code;
}

sb_code_t sb_view_load_analyze(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t generation,
                               sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int t = 0; t < definition->table_count; t++) {
        sb_buf_add_text(&text, "ANALYZE " SB_VIEW_SCHEMA ".\"");
        sb_view_sql_generation(&text, &definition->table[t], generation);
        sb_buf_add_text(&text, "\";");
    }
    sb_code_t code = run_built(pg, &text, err);
    sb_buf_fini(&text);
    return code;
}
