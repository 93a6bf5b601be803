/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_batch.h"

#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events/view/view_statement.h"
#include "events_sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define RANGE_MAX  100000       /* sequence numbers a page looks through, so that no read is long */
#define BODIES_MAX (16u << 20)  /* bytes of bodies a page holds */
#define ROWS_MAX   (256u << 20) /* bytes of rows a batch holds */
#define KEPT_PAGES 8            /* batches that follow each other at once whose rows are kept, and not more */
#define KEPT_MAX   (ROWS_MAX / 16) /* bytes of them */

typedef struct table_io {
    const char *fetch;
    const char *upsert;
    const char *remove;
    sb_pg_array_t keys; /* of rows to fetch, then of rows to remove */
    sb_pg_array_t column[SB_VIEW_COLUMNS_MAX];
    sb_pg_array_t dirty;
    sb_pg_params_t upsert_params;
    sb_pg_params_t remove_params;
} table_io_t;

typedef struct page {
    sb_pg_result_t *result;
    int count;     /* of events to fold */
    int64_t reach; /* how far the view is once they are folded */
    bool cut;      /* there is more behind it */
    char waits_for[160];
} page_t;

struct sb_view_batch {
    sb_view_batch_config_t config;
    sb_pg_t *reader; /* of what is ahead; NULL: nobody reads ahead */
    page_t ahead;    /* result NULL: nothing was read ahead */
    int64_t ahead_after;
    bool ahead_loaded; /* with its rows, beside those of the batch before it */
    int kept;          /* batches whose rows are in the fold */
    int64_t to;        /* of the batch at work */
    sb_view_fold_t *fold;
    sb_view_statements_t *statements; /* of a view by SQL */
    sb_view_type_map_t types;
    sb_pg_array_t names; /* of the view's event types */
    sb_view_parked_rows_t parked;
    sb_tally_write_t counted;
    char role[SB_LEASE_ROLE_MAX]; /* of the view, whatever the lease */
    table_io_t table[SB_VIEW_TABLES_MAX];
};

/* ---- type numbers ---- */

void sb_view_type_map_fini(sb_view_type_map_t *map)
{
    free(map->at);
    sb_upcaster_free(&map->upcaster);
    *map = (sb_view_type_map_t){.count = 0};
}

void sb_view_type_map_refresh(sb_view_type_map_t *map, const sb_catalog_t *catalog)
{
    uint64_t revision = sb_catalog_revision(catalog);
    if (revision == map->revision)
        return;
    if (map->count > 0)
        memset(map->at, 0, map->count * sizeof *map->at);
    map->revision = revision;
}

static sb_code_t look_up(sb_view_type_map_t *map, const sb_view_definition_t *definition,
                         const sb_catalog_t *catalog, int type_no, sb_error_t *err)
{
    const sb_upcast_chain_t *chain = NULL;
    const sb_event_type_t *type = sb_catalog_chain_no(catalog, type_no, &chain);
    sb_code_t code = SB_OK;
    if (!type)
        return sb_catalog_explain(catalog, type_no, err);
    int event = sb_view_definition_event(definition, sb_slice(type->name));
    if (!map->upcaster)
        code = sb_upcaster_new(&map->upcaster, err);
    if (code == SB_OK)
        sb_upcaster_lean(map->upcaster, sb_catalog_upcasts(catalog));
    if (code == SB_OK && event >= 0)
        code = sb_upcaster_ready(map->upcaster, chain, err);
    if (code == SB_OK)
        map->at[type_no] = (sb_view_type_entry_t){event + 2, type->version, chain};
    return code;
}

sb_code_t sb_view_type_map_find(sb_view_type_map_t *map, const sb_view_definition_t *definition,
                                const sb_catalog_t *catalog, int type_no, int *event, sb_error_t *err)
{
    size_t at = (size_t)type_no;
    if (at >= map->count) {
        size_t grown = (at + 64) / 64 * 64;
        sb_view_type_entry_t *moved = realloc(map->at, grown * sizeof *moved);
        if (!moved)
            return sb_fail(err, SB_NO_MEMORY, "event types of a view: out of memory");
        memset(moved + map->count, 0, (grown - map->count) * sizeof *moved);
        map->at = moved;
        map->count = grown;
    }
    if (map->at[at].event == 0) {
        sb_code_t code = look_up(map, definition, catalog, type_no, err);
        if (code != SB_OK)
            return code;
    }
    *event = map->at[at].event - 2;
    return SB_OK;
}

sb_code_t sb_view_type_map_upcast(sb_view_type_map_t *map, const sb_view_definition_t *definition,
                                  int type_no, sb_view_input_t *input, sb_error_t *err)
{
    const sb_view_type_entry_t *type = &map->at[type_no];
    input->version = type->chain ? type->chain->to : type->version;
    if (!type->chain)
        return SB_OK;
    sb_event_t event = {.type = sb_slice(definition->event[input->event].name),
                        .schema_version = type->version,
                        .subject = input->subject,
                        .time_us = input->time_us,
                        .data = input->data,
                        .seq = input->seq};
    sb_code_t code = sb_upcaster_run(map->upcaster, type->chain, &event, err);
    if (code == SB_INVALID)
        return SB_OK;
    input->data = event.data;
    return code;
}

/* ---- life ---- */

static sb_code_t intern(sb_buf_t *text, const char **out, sb_error_t *err)
{
    sb_code_t code = sb_view_sql_intern(text, out, err);
    sb_buf_reset(text);
    return code;
}

static sb_code_t prepare_table(table_io_t *io, const sb_view_table_t *table, int64_t generation,
                               sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_view_sql_fetch(&text, table, generation);
    sb_code_t code = intern(&text, &io->fetch, err);
    sb_view_sql_upsert(&text, table, generation);
    if (code == SB_OK)
        code = intern(&text, &io->upsert, err);
    sb_view_sql_remove(&text, table, generation);
    if (code == SB_OK)
        code = intern(&text, &io->remove, err);
    sb_buf_fini(&text);
    return code;
}

sb_code_t sb_view_batch_new(sb_view_batch_t **out, const sb_view_batch_config_t *config, sb_error_t *err)
{
    const sb_view_definition_t *definition = config->definition;
    *out = NULL;
    sb_view_batch_t *batch = calloc(1, sizeof *batch);
    if (!batch)
        return sb_fail(err, SB_NO_MEMORY, "batch of view %s: out of memory", definition->name);
    batch->config = *config;
    sb_pg_array_init(&batch->names, SB_PG_TEXT);
    sb_view_parked_rows_init(&batch->parked);
    sb_tally_write_init(&batch->counted);
    sb_view_role(batch->role, definition->name);
    for (int i = 0; i < definition->event_count; i++)
        sb_pg_array_add_slice(&batch->names, sb_slice(definition->event[i].name));
    for (int t = 0; t < definition->table_count; t++) {
        const sb_view_table_t *table = &definition->table[t];
        sb_pg_array_init(&batch->table[t].dirty, SB_PG_BOOL);
        sb_pg_array_init(&batch->table[t].keys, sb_view_types[table->column[0].type].parameter);
        for (int i = 0; i < table->column_count; i++)
            sb_pg_array_init(&batch->table[t].column[i], sb_view_types[table->column[i].type].parameter);
    }
    sb_code_t code = sb_view_fold_new(&batch->fold, definition, ROWS_MAX, err);
    bool by_sql = sb_view_is_by_sql(definition);
    for (int t = 0; t < definition->table_count && code == SB_OK && !by_sql; t++)
        code = prepare_table(&batch->table[t], &definition->table[t], config->generation, err);
    if (code == SB_OK && by_sql)
        code = sb_view_statements_new(&batch->statements, config->pg, definition, config->generation, err);
    else if (code == SB_OK)
        code = sb_view_parked_load(config->pg, definition, config->generation, batch->fold, err);
    if (code != SB_OK) {
        sb_view_batch_free(&batch);
        return code;
    }
    *out = batch;
    return SB_OK;
}

void sb_view_batch_read_ahead(sb_view_batch_t *batch, sb_pg_t *reader)
{
    batch->reader = reader;
}

static void drop_ahead(sb_view_batch_t *batch)
{
    sb_pg_result_free(batch->ahead.result);
    batch->ahead = (page_t){.count = 0};
    batch->ahead_loaded = false;
}

void sb_view_batch_free(sb_view_batch_t **batch)
{
    sb_view_batch_t *b = *batch;
    if (!b)
        return;
    drop_ahead(b);
    for (int t = 0; t < b->config.definition->table_count; t++) {
        if (!b->reader || !b->table[t].fetch || sb_pg_forget(b->reader, b->table[t].fetch))
            sb_view_sql_release(&b->table[t].fetch, b->config.pg);
        sb_view_sql_release(&b->table[t].upsert, b->config.pg);
        sb_view_sql_release(&b->table[t].remove, b->config.pg);
        sb_pg_array_fini(&b->table[t].dirty);
        sb_pg_array_fini(&b->table[t].keys);
        for (int i = 0; i < b->config.definition->table[t].column_count; i++)
            sb_pg_array_fini(&b->table[t].column[i]);
    }
    sb_view_statements_free(&b->statements);
    sb_pg_array_fini(&b->names);
    sb_view_parked_rows_fini(&b->parked);
    sb_tally_write_fini(&b->counted);
    sb_view_type_map_fini(&b->types);
    sb_view_fold_free(&b->fold);
    free(b);
    *batch = NULL;
}

/* ---- values to and from PostgreSQL ---- */

static sb_code_t out_of_memory(const sb_view_batch_t *batch, sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "batch of view %s: out of memory", batch->config.definition->name);
}

/* ---- rows in ---- */

static sb_code_t load_row(sb_view_rows_t *rows, const sb_pg_result_t *result, int at, sb_error_t *err)
{
    sb_view_value_t key = sb_view_value_get(rows->table->column[0].type, result, at, 0);
    sb_view_row_t *row = NULL;
    sb_code_t code = sb_view_rows_get(rows, &key, &row, err);
    for (int i = 1; i < rows->table->column_count && code == SB_OK; i++) {
        sb_view_value_t value = sb_view_value_get(rows->table->column[i].type, result, at, i);
        code = sb_view_rows_put(rows, row, i, &value, err);
    }
    if (code == SB_OK)
        row->present = row->stored = true;
    return code;
}

static sb_code_t fetch_table(sb_view_batch_t *batch, int t, sb_pg_t *pg, sb_error_t *err)
{
    table_io_t *io = &batch->table[t];
    sb_view_rows_t *rows = sb_view_fold_rows(batch->fold, t);
    sb_pg_array_reset(&io->keys);
    for (size_t i = 0; i < rows->count; i++) {
        sb_view_row_t *row = sb_view_rows_at(rows, i);
        sb_view_value_t key = sb_view_rows_value(rows, row, 0);
        if (!row->loaded)
            sb_view_value_put(rows->table->column[0].type, &key, &io->keys);
        row->loaded = true;
    }
    if (sb_pg_array_failed(&io->keys))
        return out_of_memory(batch, err);
    if (io->keys.count == 0)
        return SB_OK;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_array(&params, &io->keys);
    sb_code_t code = sb_pg_query(pg, io->fetch, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++)
        code = load_row(rows, result, i, err);
    sb_pg_result_free(result);
    return code;
}

/* ---- events ---- */

static sb_code_t read_page(sb_view_batch_t *batch, sb_pg_t *pg, int64_t after, page_t *page, sb_error_t *err)
{
    const sb_view_batch_config_t *config = &batch->config;
    const char *sql = config->definition->reads_subject ? sb_sql_view_page_subject : sb_sql_view_page;
    if (batch->statements)
        sql = sb_sql_view_page_whole;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (sb_pg_array_failed(&batch->names))
        return out_of_memory(batch, err);
    page->reach = batch->to - after > RANGE_MAX ? after + RANGE_MAX : batch->to;
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, page->reach);
    sb_pg_add_array(&params, &batch->names);
    sb_pg_add_int4(&params, config->events_max);
    sb_pg_add_int8(&params, BODIES_MAX);
    sb_code_t code = sb_pg_query(pg, sql, &params, &page->result, err);
    if (code != SB_OK)
        return code;
    page->count = sb_pg_rows(page->result);
    if (page->count == 0)
        return SB_OK;
    page->cut = page->count == config->events_max || page->count < sb_pg_get_int(page->result, 0, 5);
    if (page->cut)
        page->reach = sb_pg_get_int(page->result, page->count - 1, 0);
    return SB_OK;
}

/* Cuts the page before an event whose type the catalog does not know, or cannot bring to the newest version,
 * even after loading it again. What is looked up here holds for the page. */
static sb_code_t know_types(sb_view_batch_t *batch, sb_pg_t *pg, page_t *page, sb_error_t *err)
{
    const sb_view_batch_config_t *config = &batch->config;
    bool loaded = false;
    sb_view_type_map_refresh(&batch->types, config->catalog);
    for (int i = 0; i < page->count; i++) {
        int event;
        int type_no = (int)sb_pg_get_int(page->result, i, 2);
        sb_error_t why = SB_ERROR_INIT;
        sb_code_t code =
            sb_view_type_map_find(&batch->types, config->definition, config->catalog, type_no, &event, &why);
        if (code == SB_OK)
            continue;
        if (code != SB_NOT_FOUND && code != SB_UNSUPPORTED)
            return out_of_memory(batch, err);
        if (!loaded) {
            loaded = true;
            code = sb_catalog_load(config->catalog, pg, err);
            if (code != SB_OK)
                return code;
            sb_view_type_map_refresh(&batch->types, config->catalog);
            i = -1; /* what was looked up before may lead to an older version */
            continue;
        }
        (void)snprintf(page->waits_for, sizeof page->waits_for, "%s", why.message);
        page->reach = sb_pg_get_int(page->result, i, 0) - 1;
        page->count = i;
        page->cut = false;
    }
    return SB_OK;
}

/* An event of the page, but for its type. */
static sb_view_input_t input_at(const page_t *page, int i)
{
    return (sb_view_input_t){.seq = sb_pg_get_int(page->result, i, 0),
                             .time_us = sb_pg_get_time(page->result, i, 1),
                             .subject = sb_pg_get_slice(page->result, i, 3),
                             .data = sb_pg_get_slice(page->result, i, 4),
                             .stream = sb_pg_get_int(page->result, i, 6)};
}

typedef sb_code_t (*pass_fn)(sb_view_fold_t *fold, const sb_view_input_t *input, sb_error_t *err);

/* Gives every event of the page, in the version that the view is given, to one of the fold's passes. */
static sb_code_t fold_page(sb_view_batch_t *batch, const page_t *page, pass_fn pass, sb_error_t *err)
{
    const sb_view_definition_t *definition = batch->config.definition;
    sb_code_t code = SB_OK;
    for (int i = 0; i < page->count && code == SB_OK; i++) {
        int type_no = (int)sb_pg_get_int(page->result, i, 2);
        sb_view_input_t input = input_at(page, i);
        code = sb_view_type_map_find(&batch->types, definition, batch->config.catalog, type_no, &input.event,
                                     err);
        if (code != SB_OK || input.event < 0)
            continue;
        code = sb_view_type_map_upcast(&batch->types, definition, type_no, &input, err);
        if (code == SB_OK)
            code = pass(batch->fold, &input, err);
    }
    return code;
}

/* Loads the rows that the page may change. Where keys come from the carry, that is loaded first. */
static sb_code_t load_rows(sb_view_batch_t *batch, sb_pg_t *pg, const page_t *page, sb_error_t *err)
{
    const sb_view_definition_t *definition = batch->config.definition;
    sb_code_t code = SB_OK;
    if (definition->carries_keys)
        code = fold_page(batch, page, sb_view_fold_touch_carry, err);
    if (definition->carries_keys && code == SB_OK)
        code = fetch_table(batch, definition->carry, pg, err);
    if (code == SB_OK)
        code = fold_page(batch, page, sb_view_fold_touch, err);
    for (int t = 0; t < definition->table_count && code == SB_OK; t++)
        code = fetch_table(batch, t, pg, err);
    return code;
}

/* ---- reading ahead ---- */

/* Whether the rows of the next page may lie beside those of this one. */
static bool keeps_rows(const sb_view_batch_t *batch)
{
    const sb_view_definition_t *definition = batch->config.definition;
    size_t bytes = 0;
    for (int t = 0; t < definition->table_count; t++)
        bytes += sb_view_fold_rows(batch->fold, t)->bytes;
    return batch->kept < KEPT_PAGES && bytes < KEPT_MAX;
}

/* Runs while the rows of a page are being written. The rows that the page behind it shares with it are in the
 * fold as they will be; the others are not touched by what is being written. */
static void read_ahead(void *context)
{
    sb_view_batch_t *batch = context;
    sb_error_t ignored = SB_ERROR_INIT;
    page_t *page = &batch->ahead;
    sb_code_t code = read_page(batch, batch->reader, batch->ahead_after, page, &ignored);
    if (code == SB_OK)
        code = know_types(batch, batch->reader, page, &ignored);
    if (code == SB_OK && keeps_rows(batch)) {
        sb_view_fold_written(batch->fold);
        code = load_rows(batch, batch->reader, page, &ignored);
        batch->ahead_loaded = true;
    }
    if (code != SB_OK)
        drop_ahead(batch); /* and the rows with it, before the next page */
}

/* The next page: the one that was read ahead, with its rows, or one read now. */
static sb_code_t take_page(sb_view_batch_t *batch, int64_t after, page_t *page, bool *loaded, sb_error_t *err)
{
    bool here = batch->ahead.result && batch->ahead_after == after;
    *loaded = here && batch->ahead_loaded;
    if (here) {
        *page = batch->ahead;
        batch->ahead.result = NULL;
    }
    drop_ahead(batch);
    batch->kept = *loaded ? batch->kept + 1 : 1;
    if (!*loaded)
        sb_view_fold_reset(batch->fold);
    if (here)
        return SB_OK;
    sb_code_t code = read_page(batch, batch->config.pg, after, page, err);
    return code == SB_OK ? know_types(batch, batch->config.pg, page, err) : code;
}

/* ---- rows out ---- */

static sb_code_t collect_table(sb_view_batch_t *batch, int t, sb_pg_batch_t *out, int64_t *count,
                               sb_error_t *err)
{
    table_io_t *io = &batch->table[t];
    const sb_view_rows_t *rows = sb_view_fold_rows(batch->fold, t);
    const sb_view_table_t *table = rows->table;
    sb_pg_array_reset(&io->keys);
    sb_pg_array_reset(&io->dirty);
    for (int i = 0; i < table->column_count; i++)
        sb_pg_array_reset(&io->column[i]);
    for (size_t k = 0; k < rows->count; k++) {
        const sb_view_row_t *row = sb_view_rows_at(rows, k);
        for (int i = 0; row->changed && row->present && i < table->column_count; i++) {
            sb_view_value_t value = sb_view_rows_value(rows, row, i);
            sb_view_value_put(table->column[i].type, &value, &io->column[i]);
        }
        if (row->changed && row->present)
            sb_pg_array_add_bool(&io->dirty, row->dirty);
        sb_view_value_t key = sb_view_rows_value(rows, row, 0);
        if (row->changed && !row->present && row->stored)
            sb_view_value_put(table->column[0].type, &key, &io->keys);
    }
    io->upsert_params = io->remove_params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    bool failed = sb_pg_array_failed(&io->keys) || sb_pg_array_failed(&io->dirty);
    for (int i = 0; i < table->column_count; i++) {
        failed |= sb_pg_array_failed(&io->column[i]);
        sb_pg_add_array(&io->upsert_params, &io->column[i]);
    }
    sb_pg_add_array(&io->upsert_params, &io->dirty);
    sb_pg_add_array(&io->remove_params, &io->keys);
    *count += io->column[0].count + io->keys.count;
    if (io->column[0].count > 0)
        sb_pg_batch_add(out, io->upsert, &io->upsert_params);
    if (io->keys.count > 0)
        sb_pg_batch_add(out, io->remove, &io->remove_params);
    return failed ? out_of_memory(batch, err) : SB_OK;
}

/* Adds the events of a page to the count, or takes them back. A page has room: it is of RANGE_MAX numbers. */
static void count_page(const sb_view_batch_t *batch, const page_t *page, int times)
{
    for (int i = 0; i < page->count && !batch->config.loose; i++) {
        bool fits = sb_tally_add(batch->config.tally, sb_pg_get_int(page->result, i, 0), times);
        assert(fits);
        (void)fits;
    }
}

static sb_code_t write_page(sb_view_batch_t *batch, const sb_lease_t *lease, const page_t *page,
                            sb_view_batch_result_t *result, sb_error_t *err)
{
    sb_pg_batch_t out = {.count = 0};
    sb_pg_params_t guard_params;
    sb_code_t code = SB_OK;
    sb_lease_guard(lease, &(sb_lease_move_t){.cursor = &page->reach}, &guard_params);
    sb_pg_batch_add(&out, sb_sql_lease_advance, &guard_params);
    for (int t = 0; t < batch->config.definition->table_count && code == SB_OK; t++)
        code = collect_table(batch, t, &out, &result->rows, err);
    result->parked = (int64_t)sb_view_fold_parked_count(batch->fold);
    if (code == SB_OK && result->parked > 0) {
        code = sb_view_parked_rows_fill(&batch->parked, batch->config.definition, batch->config.generation,
                                        batch->fold, err);
        sb_pg_batch_add(&out, sb_sql_view_parked_add, &batch->parked.params);
    }
    if (code != SB_OK || (out.count == 1 && !sb_tally_is_long(batch->config.tally)))
        return code; /* nothing but the checkpoint, which can wait */
    code = sb_tally_write_add(&batch->counted, batch->config.tally, batch->role, batch->config.generation,
                              &out, err);
    bool ahead = batch->reader && page->cut;
    batch->ahead_after = page->reach;
    if (code == SB_OK)
        code =
            sb_pg_batch_run_beside(batch->config.pg, &out, ahead ? read_ahead : NULL, batch, NULL, NULL, err);
    if (code != SB_OK)
        return code;
    result->saved = true;
    batch->config.tally->count = 0;
    return SB_OK;
}

/* ---- a view by SQL ---- */

static sb_code_t hand_over(sb_view_batch_t *batch, const page_t *page, sb_error_t *err)
{
    const sb_view_definition_t *definition = batch->config.definition;
    sb_code_t code = SB_OK;
    sb_view_statements_reset(batch->statements);
    for (int i = 0; i < page->count && code == SB_OK; i++) {
        int type_no = (int)sb_pg_get_int(page->result, i, 2);
        sb_uuid_t id = sb_pg_get_uuid(page->result, i, 8);
        sb_view_input_t input = input_at(page, i);
        code = sb_view_type_map_find(&batch->types, definition, batch->config.catalog, type_no, &input.event,
                                     err);
        if (code != SB_OK || input.event < 0)
            continue;
        code = sb_view_type_map_upcast(&batch->types, definition, type_no, &input, err);
        if (code == SB_OK)
            code = sb_view_statements_add(batch->statements, &input, (int)sb_pg_get_int(page->result, i, 7),
                                          &id, err);
    }
    return code;
}

/* In the open transaction: guard and checkpoint first, then the rows, then the count. */
static sb_code_t run_open(sb_view_batch_t *batch, const sb_lease_t *lease, int64_t reach,
                          sb_view_batch_result_t *result, sb_error_t *err)
{
    const sb_view_batch_config_t *config = &batch->config;
    sb_pg_batch_t counts = {.count = 0};
    sb_pg_params_t guard;
    sb_code_t code = SB_OK;
    if (!config->loose) {
        sb_lease_guard(lease, &(sb_lease_move_t){.cursor = &reach}, &guard);
        code = sb_pg_query(config->pg, sb_sql_lease_advance, &guard, NULL, err);
    }
    if (code == SB_OK)
        code = sb_view_statements_run(batch->statements, &result->rows, &result->parked, err);
    if (code == SB_OK && !config->loose)
        code =
            sb_tally_write_add(&batch->counted, config->tally, batch->role, config->generation, &counts, err);
    return code == SB_OK && counts.count > 0 ? sb_pg_batch_run(config->pg, &counts, NULL, NULL, err) : code;
}

static sb_code_t run_statements(sb_view_batch_t *batch, const sb_lease_t *lease, const page_t *page,
                                sb_view_batch_result_t *result, sb_error_t *err)
{
    sb_pg_t *pg = batch->config.pg;
    bool own = !sb_pg_is_in_transaction(pg);
    bool loose = batch->config.loose;
    if (page->count == 0 && (loose || !sb_tally_is_long(batch->config.tally)))
        return SB_OK; /* nothing but the checkpoint, which can wait */
    sb_code_t code = hand_over(batch, page, err);
    if (code == SB_OK && own)
        code = sb_pg_begin(pg, err);
    if (code == SB_OK)
        code = run_open(batch, lease, page->reach, result, err);
    if (code == SB_OK && own)
        code = sb_pg_commit(pg, err);
    if (code != SB_OK && own && sb_pg_is_open(pg))
        sb_pg_rollback(pg);
    if (code != SB_OK || loose)
        return code;
    result->saved = true;
    batch->config.tally->count = 0;
    return SB_OK;
}

/* What a page changes by rules, folded. */
static sb_code_t run_rules(sb_view_batch_t *batch, const sb_lease_t *lease, const page_t *page, bool loaded,
                           sb_view_batch_result_t *result, sb_error_t *err)
{
    sb_code_t code = loaded ? SB_OK : load_rows(batch, batch->config.pg, page, err);
    if (code == SB_OK)
        code = fold_page(batch, page, sb_view_fold_apply, err);
    return code == SB_OK ? write_page(batch, lease, page, result, err) : code;
}

sb_code_t sb_view_batch_run(sb_view_batch_t *batch, sb_lease_t *lease, int64_t to_seq,
                            sb_view_batch_result_t *result, sb_error_t *err)
{
    page_t page = {.count = 0};
    bool loaded = false;
    *result = (sb_view_batch_result_t){.events = 0};
    batch->to = to_seq;
    sb_code_t code = take_page(batch, lease->cursor, &page, &loaded, err);
    if (code == SB_OK) {
        count_page(batch, &page, 1);
        code = batch->statements ? run_statements(batch, lease, &page, result, err)
                                 : run_rules(batch, lease, &page, loaded, result, err);
        if (code != SB_OK)
            count_page(batch, &page, -1);
    }
    sb_pg_result_free(page.result);
    if (code != SB_OK)
        return code;
    lease->cursor = page.reach;
    result->events = page.count;
    memcpy(result->waits_for, page.waits_for, sizeof result->waits_for);
    return SB_OK;
}

sb_code_t sb_view_batch_save(sb_pg_t *pg, const sb_lease_t *lease, sb_tally_t *tally, const char *detail,
                             sb_error_t *err)
{
    sb_pg_params_t params;
    sb_tally_write_t write;
    sb_pg_batch_t out = {.count = 0};
    sb_tally_write_init(&write);
    sb_lease_guard(lease, &(sb_lease_move_t){.cursor = &lease->cursor, .detail = sb_slice(detail)}, &params);
    sb_pg_batch_add(&out, sb_sql_lease_advance, &params);
    sb_code_t code = sb_tally_write_add(&write, tally, lease->role, lease->next, &out, err);
    if (code == SB_OK)
        code = sb_pg_batch_run(pg, &out, NULL, NULL, err);
    if (code == SB_OK)
        tally->count = 0;
    sb_tally_write_fini(&write);
    return code;
}

sb_code_t sb_view_batch_count(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t generation,
                              int64_t begun_seq, sb_error_t *err)
{
    char role[SB_LEASE_ROLE_MAX];
    sb_pg_array_t names, none;
    sb_pg_array_init(&names, SB_PG_TEXT);
    sb_pg_array_init(&none, SB_PG_TEXT);
    sb_view_role(role, definition->name);
    for (int i = 0; i < definition->event_count; i++)
        sb_pg_array_add_slice(&names, sb_slice(definition->event[i].name));
    sb_code_t code = SB_OK;
    if (sb_pg_array_failed(&names))
        code = sb_fail(err, SB_NO_MEMORY, "view %s: out of memory", definition->name);
    if (code == SB_OK)
        code = sb_tally_begin(pg, role, generation, &names, &none, begun_seq, err);
    sb_pg_array_fini(&names);
    sb_pg_array_fini(&none);
    return code;
}
