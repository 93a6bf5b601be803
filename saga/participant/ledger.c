/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/participant/ledger.h"

#include <stdlib.h>
#include <string.h>

enum { AT_ID, AT_SAGA, AT_STEP, AT_DIRECTION, AT_OUTCOME, AT_REPLY, AT_ERROR };

void sb_ledger_init(sb_ledger_t *ledger)
{
    static const uint32_t type[SB_LEDGER_COLUMNS] = {SB_PG_UUID, SB_PG_UUID,  SB_PG_TEXT, SB_PG_TEXT,
                                                     SB_PG_TEXT, SB_PG_BYTEA, SB_PG_TEXT};
    *ledger = (sb_ledger_t){.bytes = SB_BUF_INIT};
    for (int i = 0; i < SB_LEDGER_COLUMNS; i++)
        sb_pg_array_init(&ledger->column[i], type[i]);
}

void sb_ledger_fini(sb_ledger_t *ledger)
{
    for (int i = 0; i < SB_LEDGER_COLUMNS; i++)
        sb_pg_array_fini(&ledger->column[i]);
    sb_buf_fini(&ledger->bytes);
    free(ledger->row);
    ledger->row = NULL;
}

static void reset_columns(sb_ledger_t *ledger)
{
    for (int i = 0; i < SB_LEDGER_COLUMNS; i++)
        sb_pg_array_reset(&ledger->column[i]);
}

void sb_ledger_reset(sb_ledger_t *ledger)
{
    reset_columns(ledger);
    sb_buf_reset(&ledger->bytes);
    ledger->count = 0;
}

/* ---- rows ---- */

static int compare_rows(const void *a, const void *b)
{
    return memcmp(&((const sb_ledger_row_t *)a)->id, &((const sb_ledger_row_t *)b)->id, sizeof(sb_uuid_t));
}

static int compare_to_row(const void *id, const void *row)
{
    return memcmp(id, &((const sb_ledger_row_t *)row)->id, sizeof(sb_uuid_t));
}

sb_ledger_row_t *sb_ledger_find(const sb_ledger_t *ledger, const sb_uuid_t *id)
{
    size_t count = (size_t)ledger->count;
    return count == 0 ? NULL : bsearch(id, ledger->row, count, sizeof *ledger->row, compare_to_row);
}

static void drop_doubles(sb_ledger_t *ledger)
{
    int kept = 0;
    for (int i = 0; i < ledger->count; i++)
        if (kept == 0 || compare_rows(&ledger->row[kept - 1], &ledger->row[i]) != 0)
            ledger->row[kept++] = ledger->row[i];
    ledger->count = kept;
}

sb_code_t sb_ledger_list(sb_ledger_t *ledger, const sb_command_t *const *commands, int count, sb_error_t *err)
{
    sb_ledger_reset(ledger);
    if (ledger->cap < 2 * count) {
        sb_ledger_row_t *grown = realloc(ledger->row, 2 * (size_t)count * sizeof *grown);
        if (!grown)
            return sb_fail(err, SB_NO_MEMORY, "barrier: out of memory");
        ledger->row = grown;
        ledger->cap = 2 * count;
    }
    for (int i = 0; i < count; i++) {
        const sb_command_t *command = commands[i];
        ledger->row[ledger->count++] =
            (sb_ledger_row_t){.id = command->id, .command = command, .undo = command->compensate};
        if (command->compensate)
            ledger->row[ledger->count++] = (sb_ledger_row_t){.id = command->forward_id, .command = command};
    }
    if (ledger->count > 1) /* of no command there are no rows, not even an array */
        qsort(ledger->row, (size_t)ledger->count, sizeof *ledger->row, compare_rows);
    drop_doubles(ledger);
    return SB_OK;
}

static sb_slice_t at(const sb_ledger_t *ledger, size_t from, size_t length)
{
    return length == 0 ? SB_SLICE("") : (sb_slice_t){ledger->bytes.ptr + from, length};
}

sb_slice_t sb_ledger_reply(const sb_ledger_t *ledger, const sb_ledger_row_t *row)
{
    return at(ledger, row->reply_at, row->reply_len);
}

sb_slice_t sb_ledger_error(const sb_ledger_t *ledger, const sb_ledger_row_t *row)
{
    return at(ledger, row->error_at, row->error_len);
}

static void set_row(sb_ledger_t *ledger, sb_ledger_row_t *row, sb_known_t known, sb_slice_t reply,
                    sb_slice_t error)
{
    row->known = known;
    row->reply_at = ledger->bytes.len;
    row->reply_len = reply.len;
    sb_buf_add_slice(&ledger->bytes, reply);
    row->error_at = ledger->bytes.len;
    row->error_len = error.len;
    sb_buf_add_slice(&ledger->bytes, error);
    if (sb_buf_failed(&ledger->bytes)) /* they are not there; the fill says so */
        row->reply_len = row->error_len = 0;
}

void sb_ledger_learn(sb_ledger_t *ledger, sb_ledger_row_t *row, sb_known_t known, sb_slice_t reply,
                     sb_slice_t error)
{
    set_row(ledger, row, known, reply, error);
    row->is_new = true;
}

/* ---- the look and the write ---- */

void sb_ledger_ask(sb_ledger_t *ledger, sb_pg_params_t *params)
{
    for (int i = 0; i < ledger->count; i++)
        sb_pg_array_add_uuid(&ledger->column[AT_ID], &ledger->row[i].id);
    sb_pg_add_array(params, &ledger->column[AT_ID]);
}

sb_known_t sb_known_of(sb_slice_t outcome)
{
    return sb_slice_is(outcome, "success")   ? SB_KNOWN_SUCCESS
           : sb_slice_is(outcome, "failure") ? SB_KNOWN_FAILURE
                                             : SB_KNOWN_VOIDED;
}

void sb_ledger_take(sb_ledger_t *ledger, const sb_pg_result_t *result)
{
    for (int i = 0; i < sb_pg_rows(result); i++) {
        int64_t place = sb_pg_get_int(result, i, 0);
        if (place >= 1 && place <= ledger->count)
            set_row(ledger, &ledger->row[place - 1], sb_known_of(sb_pg_get_slice(result, i, 1)),
                    sb_pg_get_slice(result, i, 2), sb_pg_get_slice(result, i, 3));
    }
}

static sb_slice_t outcome_of(sb_known_t known)
{
    return known == SB_KNOWN_SUCCESS   ? SB_SLICE("success")
           : known == SB_KNOWN_FAILURE ? SB_SLICE("failure")
                                       : SB_SLICE("voided");
}

/* Nothing kept is no bytes: a repeat is answered with {}. */
static sb_slice_t or_none(sb_slice_t text)
{
    return text.len == 0 || sb_slice_is(text, "{}") ? SB_SLICE_NONE : text;
}

static void fill_row(sb_ledger_t *ledger, const sb_ledger_row_t *row)
{
    sb_pg_array_t *column = ledger->column;
    sb_pg_array_add_uuid(&column[AT_ID], &row->id);
    sb_pg_array_add_uuid(&column[AT_SAGA], &row->command->saga_id);
    sb_pg_array_add_slice(&column[AT_STEP], row->command->step);
    sb_pg_array_add_slice(&column[AT_DIRECTION], row->undo ? SB_SLICE("compensate") : SB_SLICE("forward"));
    sb_pg_array_add_slice(&column[AT_OUTCOME], outcome_of(row->known));
    sb_pg_array_add_slice(&column[AT_REPLY], or_none(sb_ledger_reply(ledger, row)));
    sb_pg_array_add_slice(&column[AT_ERROR], or_none(sb_ledger_error(ledger, row)));
}

sb_code_t sb_ledger_fill(sb_ledger_t *ledger, sb_pg_params_t *params, int *rows, sb_error_t *err)
{
    bool failed = sb_buf_failed(&ledger->bytes);
    reset_columns(ledger);
    for (int i = 0; i < ledger->count && !failed; i++)
        if (ledger->row[i].is_new)
            fill_row(ledger, &ledger->row[i]);
    for (int i = 0; i < SB_LEDGER_COLUMNS; i++)
        failed = failed || sb_pg_array_failed(&ledger->column[i]);
    if (failed)
        return sb_fail(err, SB_NO_MEMORY, "barrier: keep the answers of a batch: out of memory");
    *rows = ledger->column[AT_ID].count;
    for (int i = 0; i < SB_LEDGER_COLUMNS; i++)
        sb_pg_add_array(params, &ledger->column[i]);
    return SB_OK;
}
