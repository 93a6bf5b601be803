/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_sql.h"

#include "base/pg.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- interned texts ---- */

#define TEXTS_MAX 4096

typedef struct text {
    char *text; /* NULL: a free place */
    int holders;
} text_t;

static pthread_mutex_t texts_lock = PTHREAD_MUTEX_INITIALIZER;
static text_t
    texts[TEXTS_MAX];    /* guarded by texts_lock; looked through when a batch is made, not when it runs */
static size_t texts_end; /* places used so far */

static sb_code_t intern_locked(const char *text, const char **out, sb_error_t *err)
{
    size_t at = TEXTS_MAX;
    for (size_t i = 0; i < texts_end; i++) {
        if (texts[i].text && strcmp(texts[i].text, text) == 0) {
            texts[i].holders++;
            *out = texts[i].text;
            return SB_OK;
        }
        if (!texts[i].text && at == TEXTS_MAX)
            at = i;
    }
    if (at == TEXTS_MAX && texts_end == TEXTS_MAX)
        return sb_fail(err, SB_BUSY, "views: more than %d different statements", TEXTS_MAX);
    if (at == TEXTS_MAX)
        at = texts_end++;
    texts[at] = (text_t){strdup(text), 1};
    *out = texts[at].text;
    return *out ? SB_OK : sb_fail(err, SB_NO_MEMORY, "statement of a view: out of memory");
}

/* A text that the server could not be told to forget stays: its address must not become another one's. */
void sb_view_sql_release(const char **text, sb_pg_t *pg)
{
    if (!*text || !sb_pg_forget(pg, *text))
        return;
    (void)pthread_mutex_lock(&texts_lock);
    for (size_t i = 0; i < texts_end; i++) {
        if (texts[i].text != *text)
            continue;
        if (--texts[i].holders == 0) {
            free(texts[i].text);
            texts[i].text = NULL;
        }
        break;
    }
    (void)pthread_mutex_unlock(&texts_lock);
    *text = NULL;
}

sb_code_t sb_view_sql_intern(const sb_buf_t *text, const char **out, sb_error_t *err)
{
    *out = NULL;
    if (sb_buf_failed(text))
        return sb_fail(err, SB_NO_MEMORY, "statement of a view: out of memory");
    (void)pthread_mutex_lock(&texts_lock);
    sb_code_t code = intern_locked(sb_buf_text(text), out, err);
    (void)pthread_mutex_unlock(&texts_lock);
    return code;
}

/* ---- names ---- */

static void add_name(sb_buf_t *out, const char *name)
{
    sb_pg_quote_name(out, sb_slice(name));
}

static void add_view(sb_buf_t *out, const sb_view_table_t *table)
{
    sb_buf_add_text(out, SB_VIEW_SCHEMA ".");
    add_name(out, table->name);
}

static void add_generation(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_printf(out, SB_VIEW_SCHEMA ".\"%s_g%" PRId64 "\"", table->name, generation);
}

void sb_view_sql_generation(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_printf(out, "%s_g%" PRId64, table->name, generation);
}

/* Beside the columns of the definition. In the table it is the last one; people see it behind the key,
 * because a new version's columns must come last in the SQL view. */
#define DIRTY "dirty"

static void add_type(sb_buf_t *out, const sb_view_column_t *column)
{
    sb_buf_add_text(out, sb_view_types[column->type].name);
    if (column->type == SB_VIEW_NUMERIC)
        sb_buf_printf(out, "(%d,%d)", column->bounds.precision, column->bounds.scale);
}

static void add_columns(sb_buf_t *out, const sb_view_table_t *table, bool cast)
{
    for (int i = 0; i < table->column_count; i++) {
        sb_buf_add_text(out, i ? ", " : "");
        add_name(out, table->column[i].name);
        if (cast)
            sb_buf_add_text(out, sb_view_types[table->column[i].type].to);
    }
}

/* ---- definitions ---- */

/* Readers get new tables by default privileges; what is carried is not for them. */
static void hide(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "DO $hide$ DECLARE r name; BEGIN FOR r IN SELECT a.role FROM sagabus.access_role a "
                         "JOIN pg_roles p ON p.rolname = a.role WHERE a.kind = 'reader' LOOP EXECUTE "
                         "format('REVOKE ALL ON ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " FROM %I', r); END LOOP; END $hide$;\n");
}

void sb_view_sql_create(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "CREATE TABLE ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " (");
    for (int i = 0; i < table->column_count; i++) {
        const sb_view_column_t *column = &table->column[i];
        sb_buf_add_text(out, i ? ", " : "");
        add_name(out, column->name);
        sb_buf_add_char(out, ' ');
        add_type(out, column);
        if (i == 0) /* pages are cut by the key, so its order must not change with the operating system's */
            sb_buf_add_text(out, column->type == SB_VIEW_TEXT ? " COLLATE \"C\" NOT NULL" : " NOT NULL");
    }
    sb_buf_add_text(out, ", " DIRTY " bool NOT NULL DEFAULT false");
    sb_buf_add_text(out, ") WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05);\n");
    if (table->hidden)
        hide(out, table, generation);
}

void sb_view_sql_index(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "ALTER TABLE ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " ADD PRIMARY KEY (");
    add_name(out, table->column[0].name);
    sb_buf_add_text(out, ");\n");
    for (int i = 1; i < table->column_count; i++) {
        if (!table->column[i].indexed)
            continue;
        sb_buf_add_text(out, "CREATE INDEX ON ");
        add_generation(out, table, generation);
        sb_buf_add_text(out, " (");
        add_name(out, table->column[i].name);
        sb_buf_add_text(out, ", ");
        add_name(out, table->column[0].name);
        sb_buf_add_text(out, ");\n");
    }
}

void sb_view_sql_expose(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    if (table->hidden)
        return;
    sb_buf_add_text(out, "CREATE OR REPLACE VIEW ");
    add_view(out, table);
    sb_buf_add_text(out, " AS SELECT ");
    for (int i = 0; i < table->column_count; i++) {
        add_name(out, table->column[i].name);
        sb_buf_add_text(out, i == 0 ? ", " DIRTY : "");
        sb_buf_add_text(out, i + 1 < table->column_count ? ", " : "");
    }
    sb_buf_add_text(out, " FROM ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, ";\n");
}

void sb_view_sql_expose_as(sb_buf_t *out, const sb_view_table_t *table, int64_t generation,
                           const sb_view_table_t *shown)
{
    if (table->hidden)
        return;
    sb_buf_add_text(out, "CREATE OR REPLACE VIEW ");
    add_view(out, table);
    sb_buf_add_text(out, " AS SELECT ");
    for (int i = 0; i < shown->column_count; i++) {
        const sb_view_column_t *column = &shown->column[i];
        sb_buf_add_text(out, i ? ", " : "");
        if (sb_view_table_column(table, sb_slice(column->name)) < 0) {
            sb_buf_add_text(out, "NULL::");
            add_type(out, column);
            sb_buf_add_text(out, " AS ");
        }
        add_name(out, column->name);
        sb_buf_add_text(out, i == 0 ? ", " DIRTY : "");
    }
    for (int i = 0; i < table->column_count; i++) {
        if (sb_view_table_column(shown, sb_slice(table->column[i].name)) >= 0)
            continue;
        sb_buf_add_text(out, ", ");
        add_name(out, table->column[i].name);
    }
    sb_buf_add_text(out, " FROM ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, ";\n");
}

void sb_view_sql_drop(sb_buf_t *out, sb_slice_t table)
{
    sb_buf_add_text(out, "DROP TABLE IF EXISTS " SB_VIEW_SCHEMA ".");
    sb_pg_quote_name(out, table);
    sb_buf_add_text(out, ";\n");
}

/* ---- COPY ---- */

void sb_view_sql_copy_in(sb_buf_t *out, const sb_view_table_t *table, int64_t generation, bool frozen)
{
    sb_buf_add_text(out, "COPY ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " (");
    add_columns(out, table, false);
    sb_buf_add_text(out, ", " DIRTY ") FROM STDIN (FORMAT BINARY");
    sb_buf_add_text(out, frozen ? ", FREEZE)" : ")");
}

/* ---- rows ---- */

void sb_view_sql_fetch(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "SELECT ");
    add_columns(out, table, true);
    sb_buf_add_text(out, " FROM ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " WHERE ");
    add_name(out, table->column[0].name);
    sb_buf_printf(out, " = ANY ($1::%s[])", sb_view_types[table->column[0].type].name);
}

void sb_view_sql_walk(sb_buf_t *out, const sb_view_table_t *table, int64_t generation, bool first, int limit)
{
    sb_buf_add_text(out, "SELECT ");
    add_columns(out, table, true);
    sb_buf_add_text(out, ", " DIRTY " FROM ");
    add_generation(out, table, generation);
    if (!first) {
        sb_buf_add_text(out, " WHERE ");
        add_name(out, table->column[0].name);
        sb_buf_printf(out, " > $1::%s", sb_view_types[table->column[0].type].name);
    }
    sb_buf_add_text(out, " ORDER BY ");
    add_name(out, table->column[0].name);
    sb_buf_printf(out, " LIMIT %d", limit);
}

static const char *element_name(sb_view_type_t type)
{
    return sb_view_types[type].is_bytes ? "text" : sb_view_types[type].name;
}

static void add_unnest(sb_buf_t *out, const sb_view_table_t *table)
{
    for (int i = 0; i < table->column_count; i++)
        sb_buf_printf(out, "%su.v%d%s", i ? ", " : "", i, sb_view_types[table->column[i].type].from);
    sb_buf_add_text(out, ", u." DIRTY " FROM unnest(");
    for (int i = 0; i < table->column_count; i++)
        sb_buf_printf(out, "$%d::%s[], ", i + 1, element_name(table->column[i].type));
    sb_buf_printf(out, "$%d::bool[]) AS u (", table->column_count + 1);
    for (int i = 0; i < table->column_count; i++)
        sb_buf_printf(out, "v%d, ", i);
    sb_buf_add_text(out, DIRTY ")");
}

void sb_view_sql_upsert(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "INSERT INTO ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " (");
    add_columns(out, table, false);
    sb_buf_add_text(out, ", " DIRTY ") SELECT ");
    add_unnest(out, table);
    sb_buf_add_text(out, " ON CONFLICT (");
    add_name(out, table->column[0].name);
    sb_buf_add_text(out, ") DO UPDATE SET ");
    for (int i = 1; i < table->column_count; i++) {
        add_name(out, table->column[i].name);
        sb_buf_add_text(out, " = excluded.");
        add_name(out, table->column[i].name);
        sb_buf_add_text(out, ", ");
    }
    sb_buf_add_text(out, DIRTY " = excluded." DIRTY);
}

void sb_view_sql_remove(sb_buf_t *out, const sb_view_table_t *table, int64_t generation)
{
    sb_buf_add_text(out, "DELETE FROM ");
    add_generation(out, table, generation);
    sb_buf_add_text(out, " WHERE ");
    add_name(out, table->column[0].name);
    sb_buf_printf(out, " = ANY ($1::%s[])", sb_view_types[table->column[0].type].name);
}

/* ---- pages ---- */

typedef struct page_text {
    sb_buf_t *out;
    const sb_view_table_t *table;
    const sb_view_page_filter_t *filters;
    size_t filter_count;
    const sb_view_page_order_t *order;
    size_t limit; /* number of its parameter */
} page_text_t;

static void add_parameter(const page_text_t *p, int column, size_t number)
{
    sb_buf_printf(p->out, "$%zu%s", number, sb_view_types[p->table->column[column].type].given);
}

static void add_order(const page_text_t *p)
{
    const char *way = p->order->backwards ? " DESC" : "";
    sb_buf_add_text(p->out, " ORDER BY ");
    if (p->order->column > 0) {
        add_name(p->out, p->table->column[p->order->column].name);
        sb_buf_printf(p->out, "%s, ", way);
    }
    add_name(p->out, p->table->column[0].name);
    sb_buf_printf(p->out, "%s LIMIT $%zu::int", way, p->limit);
}

/* One walk along an index: rows under the filters and a condition on the place. */
static void add_walk(const page_text_t *p, const char *null, bool by_row, bool by_key)
{
    const char *column = p->table->column[p->order->column].name;
    const char *sign = p->order->backwards ? " < " : " > ";
    size_t number = p->filter_count;
    bool first = true;
    sb_buf_add_text(p->out, "SELECT ");
    add_columns(p->out, p->table, false);
    sb_buf_add_text(p->out, ", " DIRTY " FROM ");
    add_view(p->out, p->table);
    for (size_t i = 0; i < p->filter_count; i++, first = false) {
        sb_buf_add_text(p->out, first ? " WHERE " : " AND ");
        add_name(p->out, p->table->column[p->filters[i].column].name);
        sb_buf_printf(p->out, " %s ", p->filters[i].operator);
        add_parameter(p, p->filters[i].column, i + 1);
    }
    if (null) {
        sb_buf_add_text(p->out, first ? " WHERE " : " AND ");
        add_name(p->out, column);
        sb_buf_add_text(p->out, null);
        first = false;
    }
    if (by_row || by_key) {
        sb_buf_add_text(p->out, first ? " WHERE (" : " AND (");
        if (by_row) {
            add_name(p->out, column);
            sb_buf_add_text(p->out, ", ");
        }
        add_name(p->out, p->table->column[0].name);
        sb_buf_printf(p->out, ")%s(", sign);
        if (by_row) {
            add_parameter(p, p->order->column, ++number);
            sb_buf_add_text(p->out, ", ");
        }
        add_parameter(p, 0, ++number);
        sb_buf_add_char(p->out, ')');
    }
    add_order(p);
}

/* Behind a row lie, in the order of the index, first what shares its side of NULL, then the other side: a
 * walk each, because one condition for both would read the index from its beginning. */
static void add_walks(const page_text_t *p)
{
    const sb_view_page_order_t *order = p->order;
    bool two = order->column > 0 && order->after && order->after_null == order->backwards;
    if (two)
        sb_buf_add_char(p->out, '(');
    if (order->column == 0 || !order->after)
        add_walk(p, NULL, false, order->after);
    else
        add_walk(p, order->after_null ? " IS NULL" : NULL, !order->after_null, order->after_null);
    if (!two)
        return;
    sb_buf_add_text(p->out, ") UNION ALL (");
    add_walk(p, order->after_null ? " IS NOT NULL" : " IS NULL", false, false);
    sb_buf_add_char(p->out, ')');
}

void sb_view_sql_page(sb_buf_t *out, const sb_view_table_t *table, const sb_view_page_filter_t *filters,
                      size_t filter_count, const sb_view_page_order_t *order)
{
    size_t places = !order->after ? 0 : order->column > 0 && !order->after_null ? 2 : 1;
    page_text_t p = {out, table, filters, filter_count, order, filter_count + places + 1};
    sb_buf_add_text(out, "SELECT ");
    add_columns(out, table, true);
    sb_buf_add_text(out, ", " DIRTY " FROM (");
    add_walks(&p);
    sb_buf_add_text(out, ") page");
    add_order(&p);
}
