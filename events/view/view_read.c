/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "base/clock.h"
#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events_sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

typedef struct kept {
    sb_view_definition_t *definition;
} kept_t;

struct sb_view_reader {
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    kept_t *kept; /* compiled so far; few, and never more than are registered */
    size_t count;
    size_t cap;
};

sb_code_t sb_view_reader_new(sb_view_reader_t **out, sb_pg_t *pg, sb_catalog_t *catalog, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return sb_fail(err, SB_NO_MEMORY, "reader of views: out of memory");
    (*out)->pg = pg;
    (*out)->catalog = catalog;
    return SB_OK;
}

void sb_view_reader_free(sb_view_reader_t **reader)
{
    sb_view_reader_t *r = *reader;
    if (!r)
        return;
    for (size_t i = 0; i < r->count; i++)
        sb_view_definition_free(&r->kept[i].definition);
    free(r->kept);
    free(r);
    *reader = NULL;
}

/* ---- which definition, which table ---- */

static sb_code_t keep_definition(sb_view_reader_t *reader, sb_view_definition_t *definition, sb_error_t *err)
{
    if (reader->count == reader->cap) {
        size_t cap = reader->cap ? reader->cap * 2 : 8;
        kept_t *moved = realloc(reader->kept, cap * sizeof *moved);
        if (!moved)
            return sb_fail(err, SB_NO_MEMORY, "reader of views: out of memory");
        reader->kept = moved;
        reader->cap = cap;
    }
    reader->kept[reader->count++].definition = definition;
    return SB_OK;
}

static sb_code_t definition_of(sb_view_reader_t *reader, sb_slice_t view, int version,
                               const sb_view_definition_t **out, sb_error_t *err)
{
    for (size_t i = 0; i < reader->count; i++)
        if (reader->kept[i].definition->version == version &&
            sb_slice_is(view, reader->kept[i].definition->name)) {
            *out = reader->kept[i].definition;
            return SB_OK;
        }
    sb_view_definition_t *made = NULL;
    sb_code_t code = SB_OK;
    if (!sb_catalog_artifact(reader->catalog, SB_ARTIFACT_VIEW, view, version))
        code = sb_catalog_load(reader->catalog, reader->pg, err);
    if (code == SB_OK)
        code = sb_view_registered(reader->catalog, view, version, &made, NULL, err);
    if (code == SB_OK)
        code = keep_definition(reader, made, err);
    if (code != SB_OK)
        sb_view_definition_free(&made);
    *out = made;
    return code;
}

typedef struct place {
    const sb_view_table_t *table;
    const char *view;
    int64_t generation;
    int64_t seq;
} place_t;

/* The state is read before the rows, so the rows are at least as new as the position we give with them. */
static sb_code_t find_place(sb_view_reader_t *reader, sb_slice_t view, sb_slice_t table, place_t *place,
                            sb_error_t *err)
{
    const sb_view_definition_t *definition = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_pg_add_slice(&params, view);
    sb_code_t code = sb_pg_query(reader->pg, sb_sql_view_state, &params, &result, err);
    if (code == SB_OK && sb_pg_rows(result) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no view %.*s, or it was never projected", SB_SLICE_ARG(view));
    if (code == SB_OK) {
        place->generation = sb_pg_get_int(result, 0, 0);
        place->seq = sb_pg_get_int(result, 0, 2);
        code = definition_of(reader, view, (int)sb_pg_get_int(result, 0, 1), &definition, err);
    }
    sb_pg_result_free(result);
    if (code != SB_OK)
        return code;
    int at = table.ptr ? sb_view_definition_table(definition, table) : 0;
    if (at < 0 || definition->table[at].hidden)
        return sb_fail(err, SB_NOT_FOUND, "view %s has no table %.*s", definition->name, SB_SLICE_ARG(table));
    place->table = &definition->table[at];
    place->view = definition->name;
    return SB_OK;
}

/* ---- rows ---- */

static void add_row(const sb_view_table_t *table, const sb_pg_result_t *result, int row, sb_buf_t *out)
{
    for (int i = 0; i < table->column_count; i++) {
        sb_view_value_t value = sb_view_value_get(table->column[i].type, result, row, i);
        sb_buf_add_char(out, i ? ',' : '{');
        sb_buf_add_json(out, sb_slice(table->column[i].name));
        sb_buf_add_char(out, ':');
        sb_view_value_json(table->column[i].type, &value, out);
    }
    sb_buf_add_char(out, '}');
}

static sb_code_t add_filter(const sb_view_table_t *table, const sb_view_filter_t *filter, int *column,
                            sb_pg_params_t *params, sb_error_t *err)
{
    sb_view_value_t value;
    *column = sb_view_table_column(table, filter->column);
    if (*column < 0)
        return sb_fail(err, SB_INVALID, "table %s has no column %.*s", table->name,
                       SB_SLICE_ARG(filter->column));
    const sb_view_column_t *found = &table->column[*column];
    if (*column > 0 && !found->indexed)
        return sb_fail(err, SB_INVALID, "column %s has no index, so it cannot be filtered by", found->name);
    if (!sb_view_value_parse(found->type, filter->value, &value))
        return sb_fail(err, SB_INVALID, "filter %s: \"%.*s\" is not of type %s", found->name,
                       SB_SLICE_ARG(filter->value), sb_view_types[found->type].name);
    sb_view_value_add(found->type, &value, params);
    return SB_OK;
}

/* Runs the page's statement: filters, then the cursor, then limit + 1 rows, so that the one too many says
 * whether there is a next page. */
static sb_code_t run_page(sb_view_reader_t *reader, const sb_view_table_t *table,
                          const sb_view_query_t *query, int limit, sb_pg_result_t **result, sb_error_t *err)
{
    int column[SB_VIEW_FILTERS_MAX] = {0};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_view_value_t after = SB_VIEW_NULL;
    sb_code_t code = SB_OK;
    *result = NULL;
    if (query->filter_count > SB_VIEW_FILTERS_MAX)
        return sb_fail(err, SB_INVALID, "more than %d filters", SB_VIEW_FILTERS_MAX);
    for (size_t i = 0; i < query->filter_count && code == SB_OK; i++)
        code = add_filter(table, &query->filters[i], &column[i], &params, err);
    if (code != SB_OK)
        return code;
    if (query->cursor.ptr && !sb_view_value_parse(table->column[0].type, query->cursor, &after))
        return sb_fail(err, SB_INVALID, "the cursor is not one of this view");
    if (query->cursor.ptr)
        sb_view_value_add(table->column[0].type, &after, &params);
    sb_pg_add_int4(&params, limit);
    const char *sql = NULL;
    sb_buf_t text = SB_BUF_INIT;
    sb_view_sql_page(&text, table, column, query->filter_count, query->cursor.ptr != NULL);
    code = sb_view_sql_intern(&text, &sql, err);
    sb_buf_fini(&text);
    return code == SB_OK ? sb_pg_query(reader->pg, sql, &params, result, err) : code;
}

/* The cursor of a page is the key of its last row. */
static void add_cursor(const sb_view_table_t *table, const sb_pg_result_t *result, int row, sb_buf_t *out)
{
    sb_view_value_t key = sb_view_value_get(table->column[0].type, result, row, 0);
    sb_buf_t text = SB_BUF_INIT;
    sb_view_value_text(table->column[0].type, &key, &text);
    sb_buf_add_json(out, sb_buf_slice(&text));
    sb_buf_fini(&text);
}

sb_code_t sb_view_read(sb_view_reader_t *reader, const sb_view_query_t *query, sb_buf_t *out, sb_error_t *err)
{
    place_t place = {.table = NULL};
    sb_pg_result_t *result = NULL;
    if (query->limit < 1 || query->limit > SB_VIEW_PAGE_MAX)
        return sb_fail(err, SB_INVALID, "limit must be 1 to %d", SB_VIEW_PAGE_MAX);
    sb_code_t code = find_place(reader, query->view, query->table, &place, err);
    if (code != SB_OK)
        return code;
    assert(place.table);
    code = run_page(reader, place.table, query, query->limit + 1, &result, err);
    if (code != SB_OK)
        return code;
    bool more = sb_pg_rows(result) > query->limit;
    int count = more ? query->limit : sb_pg_rows(result);
    sb_buf_add_text(out, "{\"items\":[");
    for (int i = 0; i < count; i++) {
        sb_buf_add_text(out, i ? "," : "");
        add_row(place.table, result, i, out);
    }
    sb_buf_add_text(out, "],\"next_cursor\":");
    if (more)
        add_cursor(place.table, result, count - 1, out);
    else
        sb_buf_add_text(out, "null");
    sb_buf_printf(out, ",\"view\":\"%s\",\"table\":\"%s\",\"generation\":%" PRId64 ",\"seq\":%" PRId64 "}",
                  place.view, place.table->name, place.generation, place.seq);
    sb_pg_result_free(result);
    return sb_buf_failed(out) ? sb_fail(err, SB_NO_MEMORY, "page of a view: out of memory") : SB_OK;
}

sb_code_t sb_view_read_key(sb_view_reader_t *reader, sb_slice_t view, sb_slice_t table, sb_slice_t key,
                           sb_buf_t *out, sb_error_t *err)
{
    place_t place = {.table = NULL};
    sb_pg_result_t *result = NULL;
    sb_code_t code = find_place(reader, view, table, &place, err);
    if (code != SB_OK)
        return code;
    assert(place.table);
    sb_view_filter_t filter = {sb_slice(place.table->column[0].name), key};
    sb_view_query_t query = {.filters = &filter, .filter_count = 1};
    code = run_page(reader, place.table, &query, 1, &result, err);
    if (code == SB_OK && sb_pg_rows(result) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "view %s has no row %.*s", place.view, SB_SLICE_ARG(key));
    if (code == SB_OK)
        add_row(place.table, result, 0, out);
    sb_pg_result_free(result);
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "row of a view: out of memory");
    return code;
}

/* ---- list ---- */

typedef struct lister {
    sb_view_reader_t *reader;
    sb_slice_t name; /* absent: all */
    sb_view_info_fn visit;
    void *context;
    const sb_artifact_t *newest; /* of the name at hand: versions come in order */
    int visited;
} lister_t;

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

static void fill_info(const sb_pg_result_t *result, sb_view_info_t *info)
{
    bool held = sb_pg_get_bool(result, 0, 9);
    info->generation = sb_pg_get_int(result, 0, 0);
    info->version = (int)sb_pg_get_int(result, 0, 1);
    info->seq = sb_pg_get_int(result, 0, 2);
    info->lag_events = sb_pg_get_int(result, 0, 3);
    if (!sb_pg_is_null(result, 0, 4))
        info->lag_ms = (sb_wall_us() - sb_pg_get_time(result, 0, 4)) / 1000;
    info->lag_ms = info->lag_ms < 0 ? 0 : info->lag_ms;
    info->parked = sb_pg_get_int(result, 0, 5);
    info->owner = held ? text_or_empty(sb_pg_get_text(result, 0, 6)) : "";
    info->state = text_or_empty(sb_pg_get_text(result, 0, 7));
    info->problem = text_or_empty(sb_pg_get_text(result, 0, 8));
    info->replaying = sb_pg_get_bool(result, 0, 10);
    if (info->generation == 0)
        info->state = "new";
    else if (!held)
        info->state = "ownerless";
}

static sb_code_t show_one(lister_t *lister, sb_error_t *err)
{
    const sb_artifact_t *artifact = lister->newest;
    lister->newest = NULL;
    if (!artifact || (lister->name.ptr && !sb_slice_is(lister->name, artifact->name)))
        return SB_OK;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_view_info_t info = {.name = artifact->name,
                           .title =
                               text_or_empty(json_string_value(json_object_get(artifact->body, "title"))),
                           .newest_version = artifact->version};
    sb_pg_add_text(&params, artifact->name);
    sb_code_t code = sb_pg_query(lister->reader->pg, sb_sql_view_status, &params, &result, err);
    if (code == SB_OK) {
        fill_info(result, &info);
        lister->visited++;
        code = lister->visit(lister->context, &info, err);
    }
    sb_pg_result_free(result);
    return code;
}

static sb_code_t on_artifact(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    lister_t *lister = context;
    sb_code_t code = SB_OK;
    if (lister->newest && strcmp(lister->newest->name, artifact->name) != 0)
        code = show_one(lister, err);
    lister->newest = artifact;
    return code;
}

sb_code_t sb_view_list(sb_view_reader_t *reader, sb_slice_t name, sb_view_info_fn visit, void *context,
                       sb_error_t *err)
{
    lister_t lister = {.reader = reader, .name = name, .visit = visit, .context = context};
    sb_code_t code = sb_catalog_load(reader->catalog, reader->pg, err);
    if (code == SB_OK)
        code = sb_catalog_each(reader->catalog, SB_ARTIFACT_VIEW, on_artifact, &lister, err);
    if (code == SB_OK)
        code = show_one(&lister, err);
    if (code == SB_OK && name.ptr && lister.visited == 0)
        code = sb_fail(err, SB_NOT_FOUND, "no view %.*s is registered", SB_SLICE_ARG(name));
    return code;
}
