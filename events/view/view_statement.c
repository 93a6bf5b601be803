/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_statement.h"

#include "events/view/view.h"
#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events_sql.h"

#include <stdlib.h>

#define PAGE_ROWS 1000

/* The fields of the rowset, as the parameters of a statement. */
enum { SEQ, STREAM, VERSION, TYPE, TIME, ID, DATA, FIELDS };
static const uint32_t field_types[FIELDS] = {SB_PG_INT8,        SB_PG_TEXT, SB_PG_INT4, SB_PG_TEXT,
                                             SB_PG_TIMESTAMPTZ, SB_PG_UUID, SB_PG_TEXT};

typedef struct fields {
    sb_pg_array_t array[FIELDS];
} fields_t;

typedef struct item {
    int event;
    int version;
    int64_t seq;
    int64_t time_us;
    int64_t stream;
    sb_uuid_t id;
    size_t name_at, name_len; /* of the stream, in text */
    size_t data_at, data_len;
} item_t;

struct sb_view_statements {
    sb_pg_t *pg;
    const sb_view_definition_t *definition;
    int64_t generation;
    const char *sql[SB_VIEW_STATEMENTS_MAX];
    item_t *item;
    size_t item_count, item_cap;
    sb_buf_t text;
    int64_t *stopped; /* parked streams, in order */
    size_t stopped_count, stopped_cap;
    sb_view_parked_rows_t parked; /* since the last reset */
    fields_t fields;
};

static sb_code_t out_of_memory(const sb_view_definition_t *definition, sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "statements of view %s: out of memory", definition->name);
}

/* ---- the rowset ---- */

static void fields_init(fields_t *fields)
{
    for (int i = 0; i < FIELDS; i++)
        sb_pg_array_init(&fields->array[i], field_types[i]);
}

static void fields_fini(fields_t *fields)
{
    for (int i = 0; i < FIELDS; i++)
        sb_pg_array_fini(&fields->array[i]);
}

static void fields_add(const fields_t *fields, sb_pg_params_t *params)
{
    for (int i = 0; i < FIELDS; i++)
        sb_pg_add_array(params, &fields->array[i]);
}

/* ---- parked streams ---- */

static size_t place_of(const sb_view_statements_t *s, int64_t stream)
{
    size_t low = 0;
    size_t high = s->stopped_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (s->stopped[middle] < stream)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool is_stopped(const sb_view_statements_t *s, int64_t stream)
{
    size_t at = place_of(s, stream);
    return at < s->stopped_count && s->stopped[at] == stream;
}

static sb_code_t stop(sb_view_statements_t *s, int64_t stream, sb_error_t *err)
{
    if (s->stopped_count >= SB_VIEW_PARKED_MAX)
        return sb_fail(err, SB_TOO_LARGE,
                       "view %s: more than %d streams are parked; mend the view or the events",
                       s->definition->name, SB_VIEW_PARKED_MAX);
    if (s->stopped_count == s->stopped_cap) {
        size_t cap = s->stopped_cap ? s->stopped_cap * 2 : 64;
        int64_t *moved = realloc(s->stopped, cap * sizeof *moved);
        if (!moved)
            return out_of_memory(s->definition, err);
        s->stopped = moved;
        s->stopped_cap = cap;
    }
    size_t at = place_of(s, stream);
    memmove(s->stopped + at + 1, s->stopped + at, (s->stopped_count - at) * sizeof *s->stopped);
    s->stopped[at] = stream;
    s->stopped_count++;
    return SB_OK;
}

/* The key of what is parked is the number of the stream, under the view's first table. */
static sb_code_t load_stopped(sb_view_statements_t *s, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_text(&params, s->definition->name);
    sb_pg_add_int8(&params, s->generation);
    sb_code_t code = sb_pg_query(s->pg, sb_sql_view_parked_list, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result); i++)
        code = stop(s, strtoll(sb_pg_get_text(result, i, 1), NULL, 10), err);
    sb_pg_result_free(result);
    return code;
}

static sb_code_t park(sb_view_statements_t *s, const item_t *item, const sb_error_t *cause, sb_error_t *err)
{
    sb_buf_t key = SB_BUF_INIT;
    sb_buf_printf(&key, "%lld", (long long)item->stream);
    sb_pg_array_add_slice(&s->parked.table, sb_slice(s->definition->table[0].name));
    sb_pg_array_add_slice(&s->parked.key, sb_buf_slice(&key));
    sb_pg_array_add_int8(&s->parked.seq, item->seq);
    sb_pg_array_add_slice(&s->parked.event, sb_slice(s->definition->event[item->event].name));
    sb_pg_array_add_slice(&s->parked.error, sb_slice(cause->message));
    sb_code_t code = sb_buf_failed(&key) ? out_of_memory(s->definition, err) : stop(s, item->stream, err);
    sb_buf_fini(&key);
    return code;
}

/* ---- life ---- */

sb_code_t sb_view_statements_new(sb_view_statements_t **out, sb_pg_t *pg,
                                 const sb_view_definition_t *definition, int64_t generation, sb_error_t *err)
{
    sb_view_statements_t *s = *out = calloc(1, sizeof *s);
    sb_code_t code = SB_OK;
    sb_buf_t text = SB_BUF_INIT;
    if (!s)
        return out_of_memory(definition, err);
    s->pg = pg;
    s->definition = definition;
    s->generation = generation;
    sb_view_parked_rows_init(&s->parked);
    fields_init(&s->fields);
    for (int i = 0; i < definition->statement_count && code == SB_OK; i++) {
        sb_view_statement_text(definition, i, generation, &text);
        code = sb_view_sql_intern(&text, &s->sql[i], err);
        sb_buf_reset(&text);
    }
    sb_buf_fini(&text);
    if (code == SB_OK)
        code = load_stopped(s, err);
    if (code != SB_OK)
        sb_view_statements_free(out);
    return code;
}

void sb_view_statements_free(sb_view_statements_t **statements)
{
    sb_view_statements_t *s = *statements;
    if (!s)
        return;
    for (int i = 0; i < s->definition->statement_count; i++)
        sb_view_sql_release(&s->sql[i], s->pg);
    sb_view_parked_rows_fini(&s->parked);
    fields_fini(&s->fields);
    sb_buf_fini(&s->text);
    free(s->item);
    free(s->stopped);
    free(s);
    *statements = NULL;
}

/* ---- events ---- */

void sb_view_statements_reset(sb_view_statements_t *s)
{
    s->item_count = 0;
    sb_buf_reset(&s->text);
    sb_view_parked_rows_fini(&s->parked);
    sb_view_parked_rows_init(&s->parked);
}

sb_code_t sb_view_statements_add(sb_view_statements_t *s, const sb_view_input_t *input, int version,
                                 const sb_uuid_t *id, sb_error_t *err)
{
    if (is_stopped(s, input->stream))
        return SB_OK;
    if (s->item_count == s->item_cap) {
        size_t cap = s->item_cap ? s->item_cap * 2 : 256;
        item_t *moved = realloc(s->item, cap * sizeof *moved);
        if (!moved)
            return out_of_memory(s->definition, err);
        s->item = moved;
        s->item_cap = cap;
    }
    item_t *item = &s->item[s->item_count++];
    *item = (item_t){.event = input->event,
                     .version = version,
                     .seq = input->seq,
                     .time_us = input->time_us,
                     .stream = input->stream,
                     .id = *id,
                     .name_at = s->text.len,
                     .name_len = input->subject.len,
                     .data_at = s->text.len + input->subject.len,
                     .data_len = input->data.len};
    sb_buf_add_slice(&s->text, input->subject);
    sb_buf_add_slice(&s->text, input->data);
    return sb_buf_failed(&s->text) ? out_of_memory(s->definition, err) : SB_OK;
}

/* ---- running ---- */

static void fill(sb_view_statements_t *s, size_t first, size_t count)
{
    sb_pg_array_t *array = s->fields.array;
    for (int i = 0; i < FIELDS; i++)
        sb_pg_array_reset(&array[i]);
    for (size_t i = first; i < first + count; i++) {
        const item_t *item = &s->item[i];
        if (is_stopped(s, item->stream))
            continue;
        sb_pg_array_add_int8(&array[SEQ], item->seq);
        sb_pg_array_add_slice(&array[STREAM], (sb_slice_t){s->text.ptr + item->name_at, item->name_len});
        sb_pg_array_add_int4(&array[VERSION], item->version);
        sb_pg_array_add_slice(&array[TYPE], sb_slice(s->definition->event[item->event].name));
        sb_pg_array_add_time(&array[TIME], item->time_us);
        sb_pg_array_add_uuid(&array[ID], &item->id);
        sb_pg_array_add_slice(&array[DATA], (sb_slice_t){s->text.ptr + item->data_at, item->data_len});
    }
}

static sb_code_t execute(sb_view_statements_t *s, int64_t *rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_code_t code = SB_OK;
    fields_add(&s->fields, &params);
    for (int i = 0; i < s->definition->statement_count && code == SB_OK; i++) {
        sb_pg_result_t *result = NULL;
        code = sb_pg_query(s->pg, s->sql[i], &params, &result, err);
        if (code == SB_OK)
            *rows += sb_pg_affected(result);
        sb_pg_result_free(result);
    }
    return code;
}

/* What an event's values do: cardinality, data, integrity, program limits, RAISE. */
static bool is_poison(const sb_error_t *cause)
{
    static const char *const classes[] = {"pg:21", "pg:22", "pg:23", "pg:54", "pg:P0"};
    for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
        if (strncmp(cause->origin, classes[i], 5) == 0)
            return true;
    return false;
}

/* A half that fails is halved again, until the event is alone that is at fault. */
static sb_code_t run_range(sb_view_statements_t *s, size_t first, size_t count, int64_t *rows,
                           sb_error_t *err)
{
    sb_error_t cause = SB_ERROR_INIT;
    int64_t touched = 0;
    fill(s, first, count);
    if (s->fields.array[SEQ].count == 0)
        return SB_OK;
    sb_code_t code = sb_pg_script(s->pg, "SAVEPOINT events", &cause);
    if (code == SB_OK)
        code = execute(s, &touched, &cause);
    if (code == SB_OK) {
        *rows += touched;
        return sb_pg_script(s->pg, "RELEASE SAVEPOINT events", err);
    }
    if (!sb_pg_is_open(s->pg) || !is_poison(&cause)) {
        if (err)
            *err = cause;
        return code;
    }
    code = sb_pg_script(s->pg, "ROLLBACK TO SAVEPOINT events; RELEASE SAVEPOINT events", err);
    if (code == SB_OK && count == 1)
        return park(s, &s->item[first], &cause, err);
    if (code == SB_OK)
        code = run_range(s, first, count / 2, rows, err);
    return code == SB_OK ? run_range(s, first + count / 2, count - count / 2, rows, err) : code;
}

static sb_code_t write_parked(sb_view_statements_t *s, sb_error_t *err)
{
    if (s->parked.seq.count == 0)
        return SB_OK;
    sb_code_t code = sb_view_parked_rows_done(&s->parked, s->definition, s->generation, err);
    return code == SB_OK ? sb_pg_query(s->pg, sb_sql_view_parked_add, &s->parked.params, NULL, err) : code;
}

/* Settings that a statement's meaning depends on; to the end of the transaction. */
static sb_code_t settle(sb_pg_t *pg, sb_error_t *err)
{
    return sb_pg_script(pg,
                        "SET LOCAL timezone = 'UTC'; SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL "
                        "intervalstyle = 'postgres'; SET LOCAL extra_float_digits = 1; SET LOCAL search_path "
                        "= pg_catalog",
                        err);
}

sb_code_t sb_view_statements_run(sb_view_statements_t *s, int64_t *rows, int64_t *parked, sb_error_t *err)
{
    *rows = *parked = 0;
    if (s->item_count == 0)
        return SB_OK;
    sb_code_t code = settle(s->pg, err);
    if (code == SB_OK)
        code = run_range(s, 0, s->item_count, rows, err);
    if (code == SB_OK)
        code = write_parked(s, err);
    *parked = s->parked.seq.count;
    return code;
}

/* ---- a generation that does not stay ---- */

sb_code_t sb_view_statements_make(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t generation,
                                  sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    for (int t = 0; t < definition->table_count; t++) {
        sb_view_sql_create(&text, &definition->table[t], generation);
        sb_view_sql_index(&text, &definition->table[t], generation);
    }
    sb_code_t code =
        sb_buf_failed(&text) ? out_of_memory(definition, err) : sb_pg_script(pg, sb_buf_text(&text), err);
    sb_buf_fini(&text);
    return code;
}

static sb_code_t take_row(sb_view_rows_t *rows, const sb_pg_result_t *page, int at, sb_error_t *err)
{
    const sb_view_table_t *table = rows->table;
    sb_view_value_t key = sb_view_value_get(table->column[0].type, page, at, 0);
    sb_view_row_t *row = NULL;
    sb_code_t code = sb_view_rows_get(rows, &key, &row, err);
    for (int i = 1; i < table->column_count && code == SB_OK; i++) {
        sb_view_value_t value = sb_view_value_get(table->column[i].type, page, at, i);
        code = sb_view_rows_put(rows, row, i, &value, err);
    }
    if (code == SB_OK) {
        row->present = true;
        row->dirty = sb_pg_get_bool(page, at, table->column_count);
    }
    return code;
}

/* One page after the row read last; *count: of its rows. */
static sb_code_t read_page(sb_pg_t *pg, int64_t generation, sb_view_rows_t *rows, int *count, sb_error_t *err)
{
    const sb_view_table_t *table = rows->table;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *page = NULL;
    sb_buf_t sql = SB_BUF_INIT;
    sb_view_sql_walk(&sql, table, generation, rows->count == 0, PAGE_ROWS);
    if (rows->count > 0) {
        sb_view_value_t last = sb_view_rows_value(rows, sb_view_rows_at(rows, rows->count - 1), 0);
        sb_view_value_add(table->column[0].type, &last, &params);
    }
    sb_code_t code = sb_buf_failed(&sql) ? sb_fail(err, SB_NO_MEMORY, "rows of a view: out of memory")
                                         : sb_pg_query_once(pg, sb_buf_text(&sql), &params, &page, err);
    *count = code == SB_OK ? sb_pg_rows(page) : 0;
    for (int i = 0; code == SB_OK && i < *count; i++)
        code = take_row(rows, page, i, err);
    sb_pg_result_free(page);
    sb_buf_fini(&sql);
    return code;
}

sb_code_t sb_view_statements_read(sb_pg_t *pg, const sb_view_definition_t *definition, int64_t generation,
                                  size_t bytes_max, sb_view_fold_t *fold, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    size_t bytes = 0;
    for (int t = 0; t < definition->table_count && code == SB_OK; t++) {
        sb_view_rows_t *rows = sb_view_fold_rows(fold, t);
        int count = PAGE_ROWS;
        while (code == SB_OK && count == PAGE_ROWS) {
            code = read_page(pg, generation, rows, &count, err);
            if (code == SB_OK && bytes + rows->bytes > bytes_max)
                code = sb_fail(err, SB_TOO_LARGE,
                               "view %s: its rows need more than the %zu MiB of memory that are allowed; "
                               "give --memory more",
                               definition->name, bytes_max >> 20);
        }
        bytes += rows->bytes;
    }
    return code;
}

/* ---- proof ---- */

/* Over no events, not prepared: planned with its tables there, so that types, columns and what ON CONFLICT
 * needs are seen to. */
static sb_code_t prove_statement(sb_pg_t *pg, const sb_view_definition_t *definition, int statement,
                                 sb_error_t *err)
{
    fields_t fields;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_buf_t text = SB_BUF_INIT;
    sb_pg_result_t *result = NULL;
    sb_error_t cause = SB_ERROR_INIT;
    fields_init(&fields);
    fields_add(&fields, &params);
    sb_view_statement_text(definition, statement, 0, &text);
    sb_code_t code = sb_buf_failed(&text)
                         ? out_of_memory(definition, err)
                         : sb_pg_query_once(pg, sb_buf_text(&text), &params, &result, &cause);
    if (code != SB_OK && code != SB_NO_MEMORY)
        code = sb_pg_is_open(pg) ? sb_fail_at(err, SB_INVALID, "/sql", "PostgreSQL refuses statement %d: %s",
                                              statement + 1, cause.message)
                                 : sb_fail(err, code, "%s", cause.message);
    sb_pg_result_free(result);
    fields_fini(&fields);
    sb_buf_fini(&text);
    return code;
}

static sb_code_t prove_all(sb_pg_t *pg, const sb_view_definition_t *definition, sb_error_t *err)
{
    sb_code_t code = sb_view_statements_make(pg, definition, 0, err);
    if (code == SB_OK)
        code = settle(pg, err);
    for (int i = 0; i < definition->statement_count && code == SB_OK; i++)
        code = prove_statement(pg, definition, i, err);
    return code;
}

sb_code_t sb_view_prove(const json_t *body, sb_pg_t *pg, sb_error_t *err)
{
    sb_view_definition_t *definition = NULL;
    if (!json_object_get(body, "sql"))
        return SB_OK;
    sb_code_t code = sb_view_definition_new(&definition, body, err);
    if (code == SB_OK)
        code = sb_pg_script(pg, "SAVEPOINT proof", err);
    if (code == SB_OK) {
        code = prove_all(pg, definition, err);
        sb_error_t ignored = SB_ERROR_INIT;
        sb_code_t undone = sb_pg_script(pg, "ROLLBACK TO SAVEPOINT proof; RELEASE SAVEPOINT proof", &ignored);
        code = code == SB_OK ? undone : code;
    }
    sb_view_definition_free(&definition);
    return code;
}
