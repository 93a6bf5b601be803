/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/participant/barrier.h"

#include "saga_sql.h"

#include <stdlib.h>
#include <string.h>

/* A row entered ahead. When several commands of a batch are about one row, it is of the first of them, as it
 * would be had they come one by one; the others find it there at their turn. */
struct sb_barrier_row {
    sb_uuid_t id;
    const sb_command_t *command; /* whose turn decides on it */
    int turn;
    bool voided; /* the forward command's, entered by its undo */
    bool is_new;
    bool looked_up; /* voided, but not new: what the forward command came to is in succeeded */
    bool succeeded;
};

enum { COLUMN_ID, COLUMN_SAGA, COLUMN_STEP, COLUMN_DIRECTION, COLUMN_OUTCOME, COLUMNS };
enum { KEPT_ID, KEPT_OUTCOME, KEPT_REPLY, KEPT_ERROR, KEPT };

static const char begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED";
static const char commit[] = "COMMIT";

/* What the handler writes is between these, so that a refusal leaves nothing of it. */
static const char savepoint[] = "SAVEPOINT handler";
static const char release[] = "RELEASE SAVEPOINT handler";
static const char take_back[] = "ROLLBACK TO SAVEPOINT handler; RELEASE SAVEPOINT handler";

void sb_barrier_answer_init(sb_barrier_answer_t *answer)
{
    *answer = (sb_barrier_answer_t){.outcome = SB_REPLY_SUCCESS, .result = SB_BUF_INIT, .error = SB_BUF_INIT};
}

void sb_barrier_answer_fini(sb_barrier_answer_t *answer)
{
    sb_buf_fini(&answer->result);
    sb_buf_fini(&answer->error);
}

static void set_answer(sb_barrier_answer_t *answer, sb_reply_outcome_t outcome, sb_slice_t result,
                       sb_slice_t error)
{
    answer->outcome = outcome;
    sb_buf_reset(&answer->result);
    sb_buf_reset(&answer->error);
    sb_buf_add_slice(&answer->result, result);
    sb_buf_add_slice(&answer->error, error);
}

void sb_barrier_init(sb_barrier_t *barrier)
{
    static const uint32_t column[COLUMNS] = {SB_PG_UUID, SB_PG_UUID, SB_PG_TEXT, SB_PG_TEXT, SB_PG_TEXT};
    static const uint32_t kept[KEPT] = {SB_PG_UUID, SB_PG_TEXT, SB_PG_BYTEA, SB_PG_TEXT};
    *barrier = (sb_barrier_t){.savepoints = true};
    for (int i = 0; i < COLUMNS; i++)
        sb_pg_array_init(&barrier->column[i], column[i]);
    for (int i = 0; i < KEPT; i++)
        sb_pg_array_init(&barrier->kept[i], kept[i]);
    sb_pg_array_init(&barrier->undone, SB_PG_UUID);
}

static void reset_arrays(sb_pg_array_t *arrays, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_reset(&arrays[i]);
}

static void reset(sb_barrier_t *barrier)
{
    reset_arrays(barrier->column, COLUMNS);
    reset_arrays(barrier->kept, KEPT);
    sb_pg_array_reset(&barrier->undone);
    barrier->row_count = 0;
    barrier->release = false; /* a savepoint ends with its transaction */
}

void sb_barrier_fini(sb_barrier_t *barrier)
{
    for (int i = 0; i < COLUMNS; i++)
        sb_pg_array_fini(&barrier->column[i]);
    for (int i = 0; i < KEPT; i++)
        sb_pg_array_fini(&barrier->kept[i]);
    sb_pg_array_fini(&barrier->undone);
    free(barrier->row);
    barrier->row = NULL;
}

/* ---- rows entered ahead ---- */

static int compare_rows(const void *a, const void *b)
{
    const sb_barrier_row_t *x = a, *y = b;
    int order = memcmp(&x->id, &y->id, sizeof x->id);
    return order ? order : x->turn - y->turn;
}

static int compare_to_row(const void *id, const void *row)
{
    return memcmp(id, &((const sb_barrier_row_t *)row)->id, sizeof(sb_uuid_t));
}

static sb_barrier_row_t *find_ahead(const sb_barrier_t *barrier, const sb_uuid_t *id)
{
    size_t count = (size_t)barrier->row_count;
    return count == 0 ? NULL : bsearch(id, barrier->row, count, sizeof *barrier->row, compare_to_row);
}

/* The row that was entered ahead for this very command: its own, or the one that voids its forward command.
 */
static const sb_barrier_row_t *ahead_of(const sb_barrier_t *barrier, const sb_command_t *command, bool voided)
{
    const sb_barrier_row_t *row = find_ahead(barrier, voided ? &command->forward_id : &command->id);
    return row && row->command == command && row->voided == voided ? row : NULL;
}

/* One row a command, and for an undo a second one, which voids its forward command. */
static sb_code_t list_rows(sb_barrier_t *barrier, const sb_command_t *const *commands, int count,
                           sb_error_t *err)
{
    if (barrier->row_cap < 2 * count) {
        sb_barrier_row_t *grown = realloc(barrier->row, 2 * (size_t)count * sizeof *grown);
        if (!grown)
            return sb_fail(err, SB_NO_MEMORY, "barrier: out of memory");
        barrier->row = grown;
        barrier->row_cap = 2 * count;
    }
    for (int i = 0; i < count; i++) {
        const sb_command_t *command = commands[i];
        barrier->row[barrier->row_count++] =
            (sb_barrier_row_t){.id = command->id, .command = command, .turn = 2 * i};
        if (command->compensate)
            barrier->row[barrier->row_count++] = (sb_barrier_row_t){
                .id = command->forward_id, .command = command, .turn = 2 * i + 1, .voided = true};
    }
    if (barrier->row_count > 1) /* of no command there are no rows, not even an array */
        qsort(barrier->row, (size_t)barrier->row_count, sizeof *barrier->row, compare_rows);
    int kept = 0;
    for (int i = 0; i < barrier->row_count; i++)
        if (kept == 0 || memcmp(&barrier->row[kept - 1].id, &barrier->row[i].id, sizeof(sb_uuid_t)) != 0)
            barrier->row[kept++] = barrier->row[i];
    barrier->row_count = kept;
    return SB_OK;
}

static sb_slice_t direction_of(const sb_command_t *command, bool voided)
{
    return command->compensate && !voided ? SB_SLICE("compensate") : SB_SLICE("forward");
}

static sb_code_t fill_columns(sb_barrier_t *barrier, sb_error_t *err)
{
    sb_pg_array_t *column = barrier->column;
    for (int i = 0; i < barrier->row_count; i++) {
        const sb_barrier_row_t *row = &barrier->row[i];
        sb_pg_array_add_uuid(&column[COLUMN_ID], &row->id);
        sb_pg_array_add_uuid(&column[COLUMN_SAGA], &row->command->saga_id);
        sb_pg_array_add_slice(&column[COLUMN_STEP], row->command->step);
        sb_pg_array_add_slice(&column[COLUMN_DIRECTION], direction_of(row->command, row->voided));
        sb_pg_array_add_slice(&column[COLUMN_OUTCOME],
                              row->voided ? SB_SLICE("voided") : SB_SLICE("success"));
        if (row->voided)
            sb_pg_array_add_uuid(&barrier->undone, &row->id);
    }
    bool failed = sb_pg_array_failed(&barrier->undone);
    for (int i = 0; i < COLUMNS; i++)
        failed = failed || sb_pg_array_failed(&column[i]);
    return failed ? sb_fail(err, SB_NO_MEMORY, "barrier: enter a batch: out of memory") : SB_OK;
}

static void take_new(sb_barrier_t *barrier, const sb_pg_result_t *result)
{
    for (int i = 0; i < sb_pg_rows(result); i++) {
        sb_uuid_t id = sb_pg_get_uuid(result, i, 0);
        sb_barrier_row_t *row = find_ahead(barrier, &id);
        if (row)
            row->is_new = true;
    }
}

static void take_outcomes(sb_barrier_t *barrier, const sb_pg_result_t *result)
{
    for (int i = 0; i < sb_pg_rows(result); i++) {
        sb_uuid_t id = sb_pg_get_uuid(result, i, 0);
        sb_barrier_row_t *row = find_ahead(barrier, &id);
        if (!row || sb_pg_is_null(result, i, 1))
            continue;
        row->looked_up = true;
        row->succeeded = sb_slice_is(sb_pg_get_slice(result, i, 1), "success");
    }
}

sb_code_t sb_barrier_begin(sb_barrier_t *barrier, sb_pg_t *pg, bool savepoints,
                           const sb_command_t *const *commands, int count, sb_error_t *err)
{
    sb_pg_params_t rows = SB_PG_PARAMS_INIT, undone = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[3];
    barrier->pg = pg;
    barrier->savepoints = savepoints;
    reset(barrier);
    sb_code_t code = list_rows(barrier, commands, count, err);
    if (code == SB_OK)
        code = fill_columns(barrier, err);
    if (code != SB_OK)
        return code;
    for (int i = 0; i < COLUMNS; i++)
        sb_pg_add_array(&rows, &barrier->column[i]);
    sb_pg_add_array(&undone, &barrier->undone);
    sb_pg_batch_add(&batch, begin, NULL);
    if (barrier->row_count > 0)
        sb_pg_batch_add(&batch, sb_sql_barrier_insert_all, &rows);
    if (barrier->undone.count > 0)
        sb_pg_batch_add(&batch, sb_sql_barrier_outcomes, &undone);
    code = sb_pg_batch_run(pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return code;
    if (batch.count > 1)
        take_new(barrier, result[1]);
    if (batch.count > 2)
        take_outcomes(barrier, result[2]);
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

/* ---- statements of one command ---- */

/* The release that was put off goes first, as what follows is not the last handler's. */
static void add_release(sb_barrier_t *barrier, sb_pg_batch_t *batch)
{
    if (barrier->release)
        sb_pg_batch_add(batch, release, NULL);
    barrier->release = false;
}

static sb_code_t insert_row(sb_barrier_t *barrier, const sb_uuid_t *id, const sb_command_t *command,
                            bool voided, bool *inserted, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[2];
    sb_pg_add_uuid(&params, id);
    sb_pg_add_uuid(&params, &command->saga_id);
    sb_pg_add_slice(&params, command->step);
    sb_pg_add_slice(&params, direction_of(command, voided));
    sb_pg_add_text(&params, voided ? "voided" : "success");
    add_release(barrier, &batch);
    sb_pg_batch_add(&batch, sb_sql_barrier_insert, &params);
    sb_code_t code = sb_pg_batch_run(barrier->pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return code;
    *inserted = sb_pg_affected(result[batch.count - 1]) == 1;
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

static sb_code_t delete_row(sb_barrier_t *barrier, const sb_uuid_t *id, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, id);
    return sb_pg_query(barrier->pg, sb_sql_barrier_forget, &params, NULL, err);
}

static void add_keep(const sb_barrier_t *barrier, sb_pg_batch_t *batch, sb_pg_params_t *params)
{
    for (int i = 0; i < KEPT; i++)
        sb_pg_add_array(params, &barrier->kept[i]);
    sb_pg_batch_add(batch, sb_sql_barrier_keep_all, params);
}

/* The row of a command that was here before, this transaction's included. */
static sb_code_t find_row(sb_barrier_t *barrier, const sb_uuid_t *id, sb_pg_result_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT, kept = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[2];
    sb_pg_add_uuid(&params, id);
    if (barrier->kept[KEPT_ID].count > 0)
        add_keep(barrier, &batch, &kept);
    sb_pg_batch_add(&batch, sb_sql_barrier_find, &params);
    sb_code_t code = sb_pg_batch_run(barrier->pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return code;
    if (batch.count > 1)
        sb_pg_result_free(result[0]);
    reset_arrays(barrier->kept, KEPT);
    *out = result[batch.count - 1];
    if (sb_pg_rows(*out) > 0)
        return SB_OK;
    sb_pg_result_free(*out); /* purged between the two statements */
    *out = NULL;
    return sb_fail(err, SB_CONFLICT, "barrier: the row of a command went away while it was read");
}

/* Writes the answer with those of the others. A row says success already. */
static sb_code_t keep_later(sb_barrier_t *barrier, const sb_command_t *command,
                            const sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_slice_t result = sb_buf_slice(&answer->result);
    bool success = answer->outcome == SB_REPLY_SUCCESS, failed = false;
    if (success && (result.len == 0 || sb_slice_is(result, "{}")))
        return SB_OK;
    sb_pg_array_t *kept = barrier->kept;
    sb_pg_array_add_uuid(&kept[KEPT_ID], &command->id);
    sb_pg_array_add_slice(&kept[KEPT_OUTCOME], success ? SB_SLICE("success") : SB_SLICE("failure"));
    sb_pg_array_add_slice(&kept[KEPT_REPLY], result);
    sb_pg_array_add_slice(&kept[KEPT_ERROR],
                          answer->error.len ? sb_buf_slice(&answer->error) : SB_SLICE_NONE);
    for (int i = 0; i < KEPT; i++)
        failed = failed || sb_pg_array_failed(&kept[i]);
    return failed ? sb_fail(err, SB_NO_MEMORY, "barrier: keep an answer: out of memory") : SB_OK;
}

/* ---- a command's turn ---- */

/* The command was here before: the same answer again. It may have been in this very transaction. */
static sb_code_t repeat_answer(sb_barrier_t *barrier, const sb_command_t *command,
                               sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_pg_result_t *row = NULL;
    sb_code_t code = find_row(barrier, &command->id, &row, err);
    if (code != SB_OK)
        return code;
    if (sb_slice_is(sb_pg_get_slice(row, 0, 0), "success"))
        set_answer(answer, SB_REPLY_SUCCESS, sb_pg_get_slice(row, 0, 1), SB_SLICE(""));
    else if (sb_slice_is(sb_pg_get_slice(row, 0, 0), "failure"))
        set_answer(answer, SB_REPLY_FAILURE, sb_pg_get_slice(row, 0, 1), sb_pg_get_slice(row, 0, 2));
    else
        set_answer(answer, SB_REPLY_FAILURE, SB_SLICE(""), SB_SLICE("voided: its undo came first"));
    sb_pg_result_free(row);
    return SB_OK;
}

/* What the forward command of an undo came to, which has no row when it never ran; then it has one now, that
 * voids it. */
static sb_code_t look_at_forward(sb_barrier_t *barrier, const sb_command_t *undo, bool *never_ran,
                                 bool *succeeded, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    const sb_barrier_row_t *ahead = ahead_of(barrier, undo, true);
    if (ahead)
        *never_ran = ahead->is_new;
    else
        code = insert_row(barrier, &undo->forward_id, undo, true, never_ran, err);
    *succeeded = ahead && ahead->succeeded;
    if (code != SB_OK || *never_ran || (ahead && ahead->looked_up))
        return code;
    sb_pg_result_t *row = NULL;
    code = find_row(barrier, &undo->forward_id, &row, err);
    if (code == SB_OK)
        *succeeded = sb_slice_is(sb_pg_get_slice(row, 0, 0), "success");
    sb_pg_result_free(row);
    return code;
}

/* Runs the handler only when the forward command had its effect. */
static sb_code_t judge_undo(sb_barrier_t *barrier, const sb_command_t *undo, bool forward_completed,
                            sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer, sb_error_t *err)
{
    bool never_ran = false, succeeded = false;
    sb_code_t code = look_at_forward(barrier, undo, &never_ran, &succeeded, err);
    *verdict = !never_ran && succeeded ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (code != SB_OK || *verdict == SB_BARRIER_RUN)
        return code;
    if (never_ran && forward_completed) {
        set_answer(
            answer, SB_REPLY_ERROR, SB_SLICE(""),
            SB_SLICE("barrier: the forward command was answered with success, but there is no row of it"));
        code = delete_row(barrier, &undo->forward_id, err);
        return code == SB_OK ? delete_row(barrier, &undo->id, err) : code;
    }
    set_answer(answer, SB_REPLY_SUCCESS,
               never_ran ? SB_SLICE("{\"voided\":true}") : SB_SLICE("{\"nothing_to_undo\":true}"),
               SB_SLICE(""));
    return keep_later(barrier, undo, answer, err);
}

static sb_code_t set_savepoint(sb_barrier_t *barrier, sb_error_t *err)
{
    sb_pg_batch_t batch = {.count = 0};
    if (!barrier->savepoints)
        return SB_OK;
    add_release(barrier, &batch);
    sb_pg_batch_add(&batch, savepoint, NULL);
    return sb_pg_batch_run(barrier->pg, &batch, NULL, NULL, err);
}

sb_code_t sb_barrier_enter(sb_barrier_t *barrier, const sb_command_t *command, bool forward_completed,
                           sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    bool is_new = false;
    const sb_barrier_row_t *ahead = ahead_of(barrier, command, false);
    if (ahead)
        is_new = ahead->is_new;
    else
        code = insert_row(barrier, &command->id, command, false, &is_new, err);
    if (code != SB_OK)
        return code;
    *verdict = is_new ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (!is_new)
        return repeat_answer(barrier, command, answer, err);
    if (command->compensate)
        code = judge_undo(barrier, command, forward_completed, verdict, answer, err);
    return code == SB_OK && *verdict == SB_BARRIER_RUN ? set_savepoint(barrier, err) : code;
}

sb_code_t sb_barrier_keep(sb_barrier_t *barrier, const sb_command_t *command,
                          const sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (answer->outcome == SB_REPLY_SUCCESS)
        barrier->release = barrier->savepoints;
    else if (barrier->savepoints)
        code = sb_pg_script(barrier->pg, take_back, err);
    return code == SB_OK ? keep_later(barrier, command, answer, err) : code;
}

sb_code_t sb_barrier_forget(sb_barrier_t *barrier, const sb_command_t *command, sb_error_t *err)
{
    sb_code_t code = barrier->savepoints ? sb_pg_script(barrier->pg, take_back, err) : SB_OK;
    return code == SB_OK ? delete_row(barrier, &command->id, err) : code;
}

sb_code_t sb_barrier_commit(sb_barrier_t *barrier, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    if (barrier->kept[KEPT_ID].count == 0) {
        reset(barrier);
        return sb_pg_commit(barrier->pg, err);
    }
    add_keep(barrier, &batch, &params);
    sb_pg_batch_add(&batch, commit, NULL);
    sb_code_t code = sb_pg_batch_run(barrier->pg, &batch, NULL, NULL, err);
    reset(barrier);
    return code;
}

void sb_barrier_rollback(sb_barrier_t *barrier)
{
    if (barrier->pg)
        sb_pg_rollback(barrier->pg);
    reset(barrier);
}
