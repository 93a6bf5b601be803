/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/json.h"
#include "events/view/view_generation.h"
#include "events/view/view_sql.h"
#include "events/view/view_statement.h"
#include "events_sql.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
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
    const char *carry; /* the table whose parked keys are numbers of streams; NULL: none is */
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
        code = sb_fail(
            err, SB_NOT_FOUND,
            "no view %.*s, or it was never projected: view list (GET /v1/views) shows those there are",
            SB_SLICE_ARG(view));
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
    place->carry = definition->carry >= 0          ? definition->carry_name
                   : sb_view_is_by_sql(definition) ? definition->table[0].name
                                                   : NULL;
    return SB_OK;
}

/* ---- rows ---- */

typedef struct page {
    place_t place;
    bool shows[SB_VIEW_COLUMNS_MAX]; /* which columns are written */
    sb_view_page_filter_t filter[SB_VIEW_FILTERS_MAX];
    sb_view_page_order_t order;
    sb_pg_params_t params;
    json_t *cursor; /* what its values point into */
    sb_pg_result_t *result;
} page_t;

static void page_fini(page_t *page)
{
    json_decref(page->cursor);
    sb_pg_result_free(page->result);
}

static void add_row(const page_t *page, int row, sb_buf_t *out)
{
    const sb_view_table_t *table = page->place.table;
    const char *mark = "{";
    for (int i = 0; i < table->column_count; i++) {
        if (!page->shows[i])
            continue;
        sb_view_value_t value = sb_view_value_get(table->column[i].type, page->result, row, i);
        sb_buf_add_text(out, mark);
        sb_buf_add_json(out, sb_slice(table->column[i].name));
        sb_buf_add_char(out, ':');
        sb_view_value_json(table->column[i].type, &value, out);
        mark = ",";
    }
    if (sb_pg_get_bool(page->result, row, table->column_count))
        sb_buf_printf(out, "%s\"dirty\":true", mark);
    sb_buf_add_char(out, '}');
}

/* The column by its name, or an error that says which there are. */
static sb_code_t find_column(const sb_view_table_t *table, const char *what, sb_slice_t name, bool indexed,
                             int *out, sb_error_t *err)
{
    char names[400] = "";
    size_t used = 0;
    *out = sb_view_table_column(table, name);
    if (*out >= 0 && (!indexed || *out == 0 || table->column[*out].indexed))
        return SB_OK;
    for (int i = 0; i < table->column_count && used < sizeof names; i++)
        if (!indexed || i == 0 || table->column[i].indexed)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", used ? ", " : "",
                                     table->column[i].name);
    if (*out < 0)
        return sb_fail(err, SB_INVALID, "%s: table %s has no column \"%.*s\"; it has %s", what, table->name,
                       SB_SLICE_ARG(name), names);
    return sb_fail(err, SB_INVALID,
                   "%s: column %.*s has no index (\"index\": true in its view); those with one: %s", what,
                   SB_SLICE_ARG(name), names);
}

static sb_code_t choose_fields(page_t *page, sb_slice_t fields, sb_error_t *err)
{
    const sb_view_table_t *table = page->place.table;
    for (int i = 0; i < table->column_count; i++)
        page->shows[i] = !fields.ptr;
    for (size_t at = 0; fields.ptr && at <= fields.len;) {
        const char *comma = memchr(fields.ptr + at, ',', fields.len - at);
        size_t length = comma ? (size_t)(comma - fields.ptr) - at : fields.len - at;
        sb_slice_t name = {fields.ptr + at, length};
        int column = -1;
        sb_code_t code = find_column(table, "fields", name, false, &column, err);
        if (code != SB_OK)
            return code;
        page->shows[column] = true;
        at += length + 1;
    }
    return SB_OK;
}

static sb_code_t add_filter(page_t *page, size_t i, const sb_view_filter_t *filter, sb_error_t *err)
{
    static const char *const operators[] = {"=", "<", "<=", ">", ">="};
    const sb_view_table_t *table = page->place.table;
    sb_view_value_t value;
    sb_code_t code = find_column(table, "filter", filter->column, true, &page->filter[i].column, err);
    if (code != SB_OK)
        return code;
    const sb_view_column_t *column = &table->column[page->filter[i].column];
    page->filter[i].operator= operators[filter->relation];
    if (!sb_view_value_parse(column->type, filter->value, &value))
        return sb_fail(err, SB_INVALID, "filter %s: \"%.*s\" is not of type %s", column->name,
                       SB_SLICE_ARG(filter->value), sb_view_types[column->type].name);
    sb_view_value_add(column->type, &value, &page->params);
    return SB_OK;
}

static sb_code_t choose_order(page_t *page, sb_slice_t sort, sb_error_t *err)
{
    if (!sort.ptr)
        return SB_OK;
    page->order.backwards = sort.len > 0 && sort.ptr[0] == '-';
    sb_slice_t name = {sort.ptr + page->order.backwards, sort.len - page->order.backwards};
    return find_column(page->place.table, "sort", name, true, &page->order.column, err);
}

/* A part of a cursor becomes a parameter. */
static bool add_place(page_t *page, int column, const json_t *text)
{
    sb_view_type_t type = page->place.table->column[column].type;
    sb_view_value_t value;
    sb_slice_t slice = {json_string_value(text), json_string_length(text)};
    if (!slice.ptr || !sb_view_value_parse(type, slice, &value))
        return false;
    sb_view_value_add(type, &value, &page->params);
    return true;
}

/* The key as text; under a sort [value or null, key]. */
static sb_code_t go_on_after(page_t *page, sb_slice_t cursor, sb_error_t *err)
{
    sb_error_t ignored = SB_ERROR_INIT;
    if (!cursor.ptr)
        return SB_OK;
    page->order.after = true;
    bool fits = false;
    if (page->order.column == 0) {
        page->cursor = json_stringn(cursor.ptr, cursor.len);
        fits = add_place(page, 0, page->cursor);
    } else if (sb_json_parse(&page->cursor, cursor, "the cursor", &ignored) == SB_OK &&
               json_array_size(page->cursor) == 2) {
        const json_t *value = json_array_get(page->cursor, 0);
        page->order.after_null = json_is_null(value);
        fits = (json_is_null(value) || add_place(page, page->order.column, value)) &&
               add_place(page, 0, json_array_get(page->cursor, 1));
    }
    return fits ? SB_OK : sb_fail(err, SB_INVALID, "the cursor is not one of this view in this order");
}

/* Filters, then the place, then limit + 1 rows, so that the one too many says whether there is a next page.
 */
static sb_code_t run_page(sb_view_reader_t *reader, page_t *page, const sb_view_query_t *query, int limit,
                          sb_error_t *err)
{
    sb_code_t code = choose_fields(page, query->fields, err);
    if (code == SB_OK && query->filter_count > SB_VIEW_FILTERS_MAX)
        return sb_fail(err, SB_INVALID, "more than %d filters", SB_VIEW_FILTERS_MAX);
    for (size_t i = 0; i < query->filter_count && code == SB_OK; i++)
        code = add_filter(page, i, &query->filters[i], err);
    if (code == SB_OK)
        code = choose_order(page, query->sort, err);
    if (code == SB_OK)
        code = go_on_after(page, query->cursor, err);
    if (code != SB_OK)
        return code;
    sb_pg_add_int4(&page->params, limit);
    sb_buf_t text = SB_BUF_INIT;
    sb_view_sql_page(&text, page->place.table, page->filter, query->filter_count, &page->order);
    code = sb_buf_failed(&text)
               ? sb_fail(err, SB_NO_MEMORY, "page of a view: out of memory")
               : sb_pg_query_once(reader->pg, sb_buf_text(&text), &page->params, &page->result, err);
    sb_buf_fini(&text);
    return code;
}

static void add_text_of(const page_t *page, int row, int column, sb_buf_t *out)
{
    sb_view_type_t type = page->place.table->column[column].type;
    sb_view_value_t value = sb_view_value_get(type, page->result, row, column);
    sb_view_value_text(type, &value, out);
}

/* The place of a row, as go_on_after takes it. */
static void make_cursor(const page_t *page, int row, sb_buf_t *out)
{
    sb_buf_t part = SB_BUF_INIT;
    if (page->order.column == 0) {
        add_text_of(page, row, 0, out);
        return;
    }
    sb_buf_add_char(out, '[');
    if (sb_pg_is_null(page->result, row, page->order.column)) {
        sb_buf_add_text(out, "null");
    } else {
        add_text_of(page, row, page->order.column, &part);
        sb_buf_add_json(out, sb_buf_slice(&part));
        sb_buf_reset(&part);
    }
    sb_buf_add_char(out, ',');
    add_text_of(page, row, 0, &part);
    sb_buf_add_json(out, sb_buf_slice(&part));
    sb_buf_add_char(out, ']');
    sb_buf_fini(&part);
}

static void add_link(const char *name, sb_slice_t link, sb_slice_t cursor, sb_buf_t *out)
{
    sb_buf_t address = SB_BUF_INIT;
    sb_buf_add_slice(&address, link);
    if (cursor.ptr) {
        sb_buf_add_text(&address, memchr(link.ptr, '?', link.len) ? "&cursor=" : "?cursor=");
        sb_http_encode(&address, cursor);
    }
    sb_buf_printf(out, "\"%s\":", name);
    sb_buf_add_json(out, sb_buf_slice(&address));
    sb_buf_fini(&address);
}

/* Into the object that out ends with. */
static void add_row_links(const page_t *page, sb_slice_t self, sb_buf_t *out)
{
    sb_buf_t view = SB_BUF_INIT;
    sb_buf_printf(&view, "/v1/views/%s", page->place.view);
    out->len--;
    sb_buf_add_text(out, out->ptr[out->len - 1] == '{' ? "\"links\":{" : ",\"links\":{");
    add_link("self", self, SB_SLICE_NONE, out);
    sb_buf_add_char(out, ',');
    add_link("view", sb_buf_slice(&view), SB_SLICE_NONE, out);
    sb_buf_add_text(out, "}}");
    sb_buf_fini(&view);
}

static sb_code_t check_place(const place_t *place, int64_t after_seq, sb_error_t *err)
{
    if (place->seq >= after_seq)
        return SB_OK;
    return sb_fail(err, SB_TIMEOUT, "view %s is at event %" PRId64 ", not yet at %" PRId64, place->view,
                   place->seq, after_seq);
}

static void write_page(const page_t *page, const sb_view_query_t *query, sb_buf_t *out, sb_hash_t *hash)
{
    bool more = sb_pg_rows(page->result) > query->limit;
    int count = more ? query->limit : sb_pg_rows(page->result);
    sb_buf_t next = SB_BUF_INIT;
    size_t from = out->len;
    sb_buf_add_text(out, "{\"items\":[");
    for (int i = 0; i < count; i++) {
        sb_buf_add_text(out, i ? "," : "");
        add_row(page, i, out);
    }
    sb_buf_add_text(out, "],\"next_cursor\":");
    if (more) {
        make_cursor(page, count - 1, &next);
        sb_buf_add_json(out, sb_buf_slice(&next));
    } else {
        sb_buf_add_text(out, "null");
    }
    if (hash && !sb_buf_failed(out))
        sb_hash_bytes((sb_slice_t){out->ptr + from, out->len - from}, hash);
    sb_buf_printf(out, ",\"view\":\"%s\",\"table\":\"%s\",\"generation\":%" PRId64 ",\"seq\":%" PRId64,
                  page->place.view, page->place.table->name, page->place.generation, page->place.seq);
    if (query->link.ptr) {
        sb_buf_add_text(out, ",\"links\":{");
        add_link("self", query->link, query->cursor, out);
        if (more) {
            sb_buf_add_char(out, ',');
            add_link("next", query->link, sb_buf_slice(&next), out);
        }
        sb_buf_add_char(out, '}');
    }
    sb_buf_add_text(out, "}");
    sb_buf_fini(&next);
}

sb_code_t sb_view_read(sb_view_reader_t *reader, const sb_view_query_t *query, sb_buf_t *out, sb_hash_t *hash,
                       sb_error_t *err)
{
    page_t page = {.params = SB_PG_PARAMS_INIT};
    if (query->limit < 1 || query->limit > SB_VIEW_PAGE_MAX)
        return sb_fail(err, SB_INVALID, "limit must be 1 to %d", SB_VIEW_PAGE_MAX);
    sb_code_t code = find_place(reader, query->view, query->table, &page.place, err);
    if (code == SB_OK)
        code = check_place(&page.place, query->after_seq, err);
    if (code == SB_OK)
        code = run_page(reader, &page, query, query->limit + 1, err);
    if (code == SB_OK)
        write_page(&page, query, out, hash);
    page_fini(&page);
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "page of a view: out of memory");
    return code;
}

sb_code_t sb_view_read_key(sb_view_reader_t *reader, const sb_view_query_t *query, sb_slice_t key,
                           sb_buf_t *out, sb_hash_t *hash, sb_error_t *err)
{
    page_t page = {.params = SB_PG_PARAMS_INIT};
    sb_code_t code = find_place(reader, query->view, query->table, &page.place, err);
    if (code == SB_OK)
        code = check_place(&page.place, query->after_seq, err);
    if (code != SB_OK)
        return code;
    assert(page.place.table);
    sb_view_filter_t filter = {sb_slice(page.place.table->column[0].name), SB_VIEW_IS, key};
    sb_view_query_t one = {.filters = &filter, .filter_count = 1, .fields = query->fields};
    code = run_page(reader, &page, &one, 1, err);
    if (code == SB_OK && sb_pg_rows(page.result) == 0)
        code = sb_fail(err, SB_NOT_FOUND, "view %s has no row %.*s", page.place.view, SB_SLICE_ARG(key));
    if (code == SB_OK) {
        size_t from = out->len;
        add_row(&page, 0, out);
        if (hash && !sb_buf_failed(out))
            sb_hash_bytes((sb_slice_t){out->ptr + from, out->len - from}, hash);
        if (query->link.ptr && !sb_buf_failed(out))
            add_row_links(&page, query->link, out);
    }
    page_fini(&page);
    if (code == SB_OK && sb_buf_failed(out))
        code = sb_fail(err, SB_NO_MEMORY, "row of a view: out of memory");
    return code;
}

/* ---- parked ---- */

sb_code_t sb_view_parked(sb_view_reader_t *reader, sb_slice_t view, int64_t after, int limit,
                         sb_view_parked_fn visit, void *context, int64_t *next, sb_error_t *err)
{
    place_t place = {.table = NULL};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    *next = 0;
    sb_code_t code = find_place(reader, view, SB_SLICE_NONE, &place, err);
    if (code != SB_OK)
        return code;
    sb_pg_add_slice(&params, view);
    sb_pg_add_int8(&params, place.generation);
    sb_pg_add_int8(&params, after);
    sb_pg_add_int4(&params, limit + 1);
    sb_pg_add_slice(&params, sb_slice(place.carry));
    code = sb_pg_query(reader->pg, sb_sql_view_parked_page, &params, &result, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(result) && i < limit; i++) {
        sb_view_parked_info_t info = {.table = sb_pg_get_text(result, i, 1),
                                      .key = sb_pg_get_text(result, i, 2),
                                      .seq = sb_pg_get_int(result, i, 3),
                                      .event_type = sb_pg_get_text(result, i, 4),
                                      .error = sb_pg_get_text(result, i, 5),
                                      .at_us = sb_pg_get_time(result, i, 6)};
        code = visit(context, &info, err);
    }
    if (code == SB_OK && sb_pg_rows(result) > limit)
        *next = sb_pg_get_int(result, limit - 1, 0);
    sb_pg_result_free(result);
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
    char whose[SB_VIEW_NAME_MAX + 160];
} lister_t;

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* Whether the definition of the live generation, with the versions of events and the zones of now, is what
 * its rows were folded by. One that cannot be told here is not called outdated. */
static bool is_outdated(sb_view_reader_t *reader, const sb_view_info_t *info, sb_slice_t fingerprint)
{
    const sb_view_definition_t *definition = NULL;
    sb_hash_t now;
    sb_error_t ignored = SB_ERROR_INIT;
    if (definition_of(reader, sb_slice(info->name), info->version, &definition, &ignored) != SB_OK ||
        sb_view_fingerprint(reader->catalog, definition, &now, &ignored) != SB_OK)
        return false;
    return fingerprint.len != sizeof now.byte || memcmp(fingerprint.ptr, now.byte, sizeof now.byte) != 0;
}

static void fill_info(sb_view_reader_t *reader, const sb_pg_result_t *result, sb_view_info_t *info)
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
    info->outdated = info->generation > 0 && is_outdated(reader, info, sb_pg_get_slice(result, 0, 11));
    if (info->generation == 0)
        info->state = "new";
    else if (!held)
        info->state = "ownerless";
}

/* Nobody moves it; of a view by a C function that is no fault of the daemon's. */
static void say_whose(lister_t *lister, const sb_artifact_t *newest, sb_view_info_t *info)
{
    const sb_artifact_t *live = info->version ? sb_catalog_artifact(lister->reader->catalog, SB_ARTIFACT_VIEW,
                                                                    sb_slice(info->name), info->version)
                                              : newest;
    const char *fold = live ? json_string_value(json_object_get(live->body, "fold")) : NULL;
    if (!fold || *info->owner)
        return;
    (void)snprintf(lister->whose, sizeof lister->whose,
                   "a service that has its C function \"%s\" moves it (sb_views_run), and none does now",
                   fold + strcspn(fold, ":") + 1);
    info->problem = lister->whose;
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
        fill_info(lister->reader, result, &info);
        say_whose(lister, artifact, &info);
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
