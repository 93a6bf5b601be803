/* The row that a C function is given. What it does wrong is remembered: a value that the column cannot keep
 * is the event's fault and parks the key, a column that is not there is the function's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_call.h"

#include "base/scan.h"

struct sb_fold_row {
    sb_view_call_t *call;
    bool sets;
    bool removes;
    sb_error_t problem; /* the first value that does not fit */
    sb_error_t bug;     /* the first misuse */
};

/* ---- columns ---- */

static const char *table_name(const sb_fold_row_t *row)
{
    return row->call->rows->table->name;
}

static void misused(sb_fold_row_t *row, const char *column, const char *what)
{
    if (row->bug.code == SB_OK)
        (void)sb_fail(&row->bug, SB_UNSUPPORTED,
                      "view %s: its C function \"%s\" takes column \"%s\" of table %s, which %s",
                      row->call->definition->name, row->call->definition->fold, column, table_name(row),
                      what);
}

static void does_not_fit(sb_fold_row_t *row, int column, const char *what)
{
    if (row->problem.code == SB_OK)
        (void)sb_fail(&row->problem, SB_INVALID, "%s %s", row->call->rows->table->column[column].name, what);
}

/* -1: there is none, or it is not of the kind. */
static int column_of(sb_fold_row_t *row, const char *column, bool bytes)
{
    const sb_view_table_t *table = row->call->rows->table;
    int at = sb_view_table_column(table, sb_slice(column));
    if (at < 0)
        misused(row, column, "it does not have");
    else if (sb_view_types[table->column[at].type].is_bytes != bytes)
        misused(row, column,
                bytes ? "is of an integer, bool, time or date" : "is of a text, numeric or jsonb");
    else
        return at;
    return -1;
}

static sb_view_value_t value_of(const sb_fold_row_t *row, int column)
{
    const sb_view_call_t *call = row->call;
    return column == 0 || call->row->present ? sb_view_rows_value(call->rows, call->row, column)
                                             : call->rows->table->column[column].initial;
}

/* ---- reading ---- */

const char *sb_fold_table(const sb_fold_row_t *row)
{
    return table_name(row);
}

bool sb_fold_exists(const sb_fold_row_t *row)
{
    return row->call->row->present;
}

bool sb_fold_is_null(sb_fold_row_t *row, const char *column)
{
    int at = sb_view_table_column(row->call->rows->table, sb_slice(column));
    if (at < 0)
        misused(row, column, "it does not have");
    return at < 0 || value_of(row, at).is_null;
}

int64_t sb_fold_int(sb_fold_row_t *row, const char *column)
{
    int at = column_of(row, column, false);
    sb_view_value_t value = at < 0 ? SB_VIEW_NULL : value_of(row, at);
    return value.is_null ? 0 : value.integer;
}

sb_slice_t sb_fold_text(sb_fold_row_t *row, const char *column)
{
    int at = column_of(row, column, true);
    if (at >= 0 && row->call->rows->table->column[at].type == SB_VIEW_JSONB) {
        misused(row, column, "is jsonb, which is not read: PostgreSQL keeps it in other bytes");
        at = -1;
    }
    sb_view_value_t value = at < 0 ? SB_VIEW_NULL : value_of(row, at);
    return value.is_null ? SB_SLICE_NONE : value.bytes;
}

/* ---- writing ---- */

static int to_set(sb_fold_row_t *row, const char *column, bool bytes)
{
    int at = column_of(row, column, bytes);
    if (at == 0)
        misused(row, column, "is the key and does not change");
    return at > 0 ? at : -1;
}

static void set(sb_fold_row_t *row, int column, const sb_view_value_t *value)
{
    row->call->next[column] = *value;
    row->call->writes[column] = row->sets = true;
}

void sb_fold_set_int(sb_fold_row_t *row, const char *column, int64_t value)
{
    const char *what = NULL;
    int at = to_set(row, column, false);
    if (at < 0)
        return;
    sb_view_type_t type = row->call->rows->table->column[at].type;
    if (type == SB_VIEW_BOOL)
        value = value != 0;
    sb_view_value_t made = {false, value, {NULL, 0}};
    if (!sb_view_value_fits(type, &made, &what))
        does_not_fit(row, at, what);
    else
        set(row, at, &made);
}

/* Of a text as it is; else as JSON writes such a value: a number, any value. */
static bool read_text(const sb_view_column_t *column, sb_slice_t text, sb_buf_t *scratch,
                      sb_view_value_t *out, const char **what)
{
    sb_scan_value_t json = {.kind = SB_SCAN_NUMBER, .text = text};
    *out = (sb_view_value_t){false, 0, text};
    *what = "is longer than a column keeps";
    if (text.len > SB_FOLD_VALUE_BYTES_MAX)
        return false;
    *what = "is not UTF-8, or has a NUL";
    if (!sb_utf8_ok(text) || memchr(text.ptr, '\0', text.len))
        return false;
    *what = "is not JSON";
    if (column->type == SB_VIEW_JSONB &&
        (!sb_scan_valid(text, NULL) || !sb_scan_at(text, SB_SLICE(""), &json)))
        return false;
    if (column->type != SB_VIEW_TEXT &&
        !sb_view_value_scan(column->type, column->bounds, &json, scratch, out, what))
        return false;
    out->is_null = false; /* the JSON null is a value of jsonb; sb_fold_set_null makes NULL */
    if (column->type == SB_VIEW_JSONB)
        out->bytes = json.text;
    return true;
}

void sb_fold_set_text(sb_fold_row_t *row, const char *column, sb_slice_t value)
{
    const char *what = NULL;
    sb_view_value_t made;
    int at = value.ptr ? to_set(row, column, true) : -1;
    if (!value.ptr)
        sb_fold_set_null(row, column);
    if (at < 0)
        return;
    sb_buf_t *scratch = &row->call->scratch[at];
    sb_buf_reset(scratch);
    if (!read_text(&row->call->rows->table->column[at], value, scratch, &made, &what)) {
        does_not_fit(row, at, what);
        return;
    }
    if (made.bytes.ptr != scratch->ptr) { /* the function's own bytes */
        sb_buf_reset(scratch);
        sb_buf_add_slice(scratch, made.bytes);
        made.bytes = sb_buf_slice(scratch);
    }
    if (sb_buf_failed(scratch) && row->bug.code == SB_OK)
        (void)sb_fail(&row->bug, SB_NO_MEMORY, "view %s: out of memory", row->call->definition->name);
    set(row, at, &made);
}

void sb_fold_set_null(sb_fold_row_t *row, const char *column)
{
    int at = sb_view_table_column(row->call->rows->table, sb_slice(column));
    if (at < 1)
        misused(row, column, at < 0 ? "it does not have" : "is the key and does not change");
    else
        set(row, at, &SB_VIEW_NULL);
}

void sb_fold_delete(sb_fold_row_t *row)
{
    row->removes = true;
}

/* ---- the call ---- */

/* What the function calls an error may be any bytes, a quoted value cut in the midst of a character; it is
 * stored as text. */
static void clean(char *message, size_t cap)
{
    message[cap - 1] = '\0';
    size_t left = strlen(message);
    for (size_t n; left > 0; message += n, left -= n)
        if ((n = sb_utf8_length(message, left)) == 0) {
            *message = '?';
            n = 1;
        }
}

sb_code_t sb_view_call_run(sb_view_call_t *call, const sb_event_t *event, sb_view_called_t *called,
                           sb_error_t *problem, sb_error_t *err)
{
    sb_fold_row_t row = {.call = call, .problem = SB_ERROR_INIT, .bug = SB_ERROR_INIT};
    const sb_view_definition_t *view = call->definition;
    sb_error_clear(problem);
    *called = SB_VIEW_CALL_NOTHING;
    if (!view->call)
        return sb_fail(err, SB_UNSUPPORTED, "view %s: its C function \"%s\" is not registered here",
                       view->name, view->fold);
    memset(call->writes, 0, (size_t)call->rows->table->column_count * sizeof *call->writes);
    sb_code_t code = view->call(view->call_context, event, &row, problem);
    if (row.bug.code != SB_OK || code == SB_NO_MEMORY) {
        if (row.bug.code == SB_OK)
            return sb_fail(err, SB_NO_MEMORY, "view %s: its C function \"%s\" is out of memory", view->name,
                           view->fold);
        if (err)
            *err = row.bug;
        return row.bug.code;
    }
    if (code == SB_OK)
        *problem = row.problem;
    else if (!problem->message[0])
        (void)sb_fail(problem, code, "%s", sb_code_text(code));
    clean(problem->message, sizeof problem->message);
    if (code != SB_OK || problem->code != SB_OK)
        *called = SB_VIEW_CALL_PARKS;
    else if (row.removes)
        *called = SB_VIEW_CALL_REMOVES;
    else if (row.sets)
        *called = SB_VIEW_CALL_WRITES;
    return SB_OK;
}
