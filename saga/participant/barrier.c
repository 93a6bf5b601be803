/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/participant/barrier.h"

#include "saga_sql.h"

void sb_barrier_answer_init(sb_barrier_answer_t *answer)
{
    *answer = (sb_barrier_answer_t){.outcome = SB_REPLY_SUCCESS, .result = SB_BUF_INIT, .error = SB_BUF_INIT};
}

void sb_barrier_answer_fini(sb_barrier_answer_t *answer)
{
    sb_buf_fini(&answer->result);
    sb_buf_fini(&answer->error);
}

void sb_barrier_later_init(sb_barrier_later_t *later)
{
    later->release = false;
    sb_pg_array_init(&later->id, SB_PG_UUID);
    sb_pg_array_init(&later->reply, SB_PG_BYTEA);
}

void sb_barrier_later_reset(sb_barrier_later_t *later)
{
    later->release = false;
    sb_pg_array_reset(&later->id);
    sb_pg_array_reset(&later->reply);
}

void sb_barrier_later_fini(sb_barrier_later_t *later)
{
    sb_pg_array_fini(&later->id);
    sb_pg_array_fini(&later->reply);
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

/* What the handler writes is between these, so that a refusal leaves nothing of it. They share the round
 * trips of the barrier's own statements, and what can wait goes with the next command: a busy participant's
 * time is round trips. */
static const char savepoint[] = "SAVEPOINT handler";
static const char release[] = "RELEASE SAVEPOINT handler";
static const char take_back[] = "ROLLBACK TO SAVEPOINT handler; RELEASE SAVEPOINT handler";

static void fill_row(sb_pg_params_t *params, const sb_uuid_t *id, const sb_command_t *command,
                     const char *direction, const char *outcome)
{
    sb_pg_add_uuid(params, id);
    sb_pg_add_uuid(params, &command->saga_id);
    sb_pg_add_slice(params, command->step);
    sb_pg_add_text(params, direction);
    sb_pg_add_text(params, outcome);
}

/* Inserts a row, behind the release that was put off and, if wanted, before a savepoint: one round trip. */
static sb_code_t insert_row(sb_pg_t *pg, sb_barrier_later_t *later, const sb_uuid_t *id,
                            const sb_command_t *command, const char *direction, const char *outcome,
                            bool with_savepoint, bool *inserted, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[3];
    fill_row(&params, id, command, direction, outcome);
    if (later->release)
        sb_pg_batch_add(&batch, release, NULL);
    int at = batch.count;
    sb_pg_batch_add(&batch, sb_sql_barrier_insert, &params);
    if (with_savepoint)
        sb_pg_batch_add(&batch, savepoint, NULL);
    sb_code_t code = sb_pg_batch_run(pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return code;
    later->release = false;
    *inserted = sb_pg_affected(result[at]) == 1;
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

/* The row of a forward command, with the savepoint behind it. */
static sb_code_t insert_forward(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                                bool *inserted, sb_error_t *err)
{
    sb_code_t code = insert_row(pg, later, &command->id, command, "forward", "success", true, inserted, err);
    later->release = later->release || (code == SB_OK && !*inserted); /* nothing will be written in it */
    return code;
}

static void fill_answer(sb_pg_params_t *params, const sb_command_t *command,
                        const sb_barrier_answer_t *answer)
{
    sb_pg_add_uuid(params, &command->id);
    sb_pg_add_text(params, answer->outcome == SB_REPLY_SUCCESS ? "success" : "failure");
    sb_pg_add_bytea(params, sb_buf_slice(&answer->result));
    sb_pg_add_slice(params, answer->error.len ? sb_buf_slice(&answer->error) : SB_SLICE_NONE);
}

static sb_code_t update_row(sb_pg_t *pg, const sb_command_t *command, const sb_barrier_answer_t *answer,
                            sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    fill_answer(&params, command, answer);
    return sb_pg_query(pg, sb_sql_barrier_keep, &params, NULL, err);
}

static sb_code_t delete_row(sb_pg_t *pg, const sb_uuid_t *id, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, id);
    return sb_pg_query(pg, sb_sql_barrier_forget, &params, NULL, err);
}

static sb_code_t find_row(sb_pg_t *pg, const sb_uuid_t *id, sb_pg_result_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, id);
    sb_code_t code = sb_pg_query(pg, sb_sql_barrier_find, &params, out, err);
    if (code == SB_OK && sb_pg_rows(*out) == 0) { /* purged between the two statements */
        sb_pg_result_free(*out);
        *out = NULL;
        code = sb_fail(err, SB_CONFLICT, "barrier: the row of a command went away while it was read");
    }
    return code;
}

/* The command was here before: the same answer again. It may have been in this very transaction. */
static sb_code_t repeat_answer(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                               sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_pg_result_t *row = NULL;
    sb_code_t code = sb_barrier_flush(pg, later, err);
    if (code == SB_OK)
        code = find_row(pg, &command->id, &row, err);
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

/* What an undo finds of its forward command; runs the handler only when that command had its effect. */
static sb_code_t judge_undo(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *undo,
                            bool forward_completed, sb_barrier_verdict_t *verdict,
                            sb_barrier_answer_t *answer, sb_error_t *err)
{
    bool never_ran = false;
    sb_code_t code =
        insert_row(pg, later, &undo->forward_id, undo, "forward", "voided", false, &never_ran, err);
    if (code != SB_OK)
        return code;
    if (never_ran && forward_completed) {
        set_answer(
            answer, SB_REPLY_ERROR, SB_SLICE(""),
            SB_SLICE("barrier: the forward command was answered with success, but there is no row of it"));
        *verdict = SB_BARRIER_ANSWERED;
        return delete_row(pg, &undo->forward_id, err);
    }
    if (never_ran) {
        set_answer(answer, SB_REPLY_SUCCESS, SB_SLICE("{\"voided\":true}"), SB_SLICE(""));
        *verdict = SB_BARRIER_ANSWERED;
        return SB_OK;
    }
    sb_pg_result_t *row = NULL;
    code = find_row(pg, &undo->forward_id, &row, err);
    if (code != SB_OK)
        return code;
    *verdict = sb_slice_is(sb_pg_get_slice(row, 0, 0), "success") ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (*verdict == SB_BARRIER_ANSWERED)
        set_answer(answer, SB_REPLY_SUCCESS, SB_SLICE("{\"nothing_to_undo\":true}"), SB_SLICE(""));
    sb_pg_result_free(row);
    return SB_OK;
}

static sb_code_t enter_undo(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *undo,
                            bool forward_completed, sb_barrier_verdict_t *verdict,
                            sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_code_t code = judge_undo(pg, later, undo, forward_completed, verdict, answer, err);
    if (code != SB_OK)
        return code;
    if (*verdict == SB_BARRIER_RUN)
        return sb_pg_script(pg, savepoint, err);
    return answer->outcome == SB_REPLY_ERROR ? delete_row(pg, &undo->id, err)
                                             : update_row(pg, undo, answer, err);
}

sb_code_t sb_barrier_enter(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                           bool forward_completed, sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer,
                           sb_error_t *err)
{
    bool inserted = false;
    sb_code_t code = command->compensate ? insert_row(pg, later, &command->id, command, "compensate",
                                                      "success", false, &inserted, err)
                                         : insert_forward(pg, later, command, &inserted, err);
    if (code != SB_OK)
        return code;
    *verdict = inserted ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (!inserted)
        return repeat_answer(pg, later, command, answer, err);
    return command->compensate ? enter_undo(pg, later, command, forward_completed, verdict, answer, err)
                               : SB_OK;
}

/* The row says success already: only an answer that says more is written, with those of the others. */
static sb_code_t keep_later(sb_barrier_later_t *later, const sb_command_t *command,
                            const sb_barrier_answer_t *answer, sb_error_t *err)
{
    later->release = true;
    if (answer->result.len == 0 || sb_slice_is(sb_buf_slice(&answer->result), "{}"))
        return SB_OK;
    sb_pg_array_add_uuid(&later->id, &command->id);
    sb_pg_array_add_slice(&later->reply, sb_buf_slice(&answer->result));
    return sb_pg_array_failed(&later->id) || sb_pg_array_failed(&later->reply)
               ? sb_fail(err, SB_NO_MEMORY, "barrier: keep an answer: out of memory")
               : SB_OK;
}

sb_code_t sb_barrier_keep(sb_pg_t *pg, sb_barrier_later_t *later, const sb_command_t *command,
                          const sb_barrier_answer_t *answer, sb_error_t *err)
{
    if (answer->outcome == SB_REPLY_SUCCESS)
        return keep_later(later, command, answer, err);
    sb_code_t code = sb_pg_script(pg, take_back, err);
    return code == SB_OK ? update_row(pg, command, answer, err) : code;
}

sb_code_t sb_barrier_flush(sb_pg_t *pg, sb_barrier_later_t *later, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    if (later->release)
        sb_pg_batch_add(&batch, release, NULL);
    if (later->id.count > 0) {
        sb_pg_add_array(&params, &later->id);
        sb_pg_add_array(&params, &later->reply);
        sb_pg_batch_add(&batch, sb_sql_barrier_keep_all, &params);
    }
    sb_code_t code = batch.count > 0 ? sb_pg_batch_run(pg, &batch, NULL, NULL, err) : SB_OK;
    if (code == SB_OK)
        sb_barrier_later_reset(later);
    return code;
}

sb_code_t sb_barrier_forget(sb_pg_t *pg, const sb_command_t *command, sb_error_t *err)
{
    sb_code_t code = sb_pg_script(pg, take_back, err);
    return code == SB_OK ? delete_row(pg, &command->id, err) : code;
}
