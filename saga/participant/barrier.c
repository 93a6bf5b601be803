/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/participant/barrier.h"

#include "saga_sql.h"

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

/* What is known of a command, as its answer. */
static void set_known(sb_barrier_answer_t *answer, sb_known_t known, sb_slice_t reply, sb_slice_t error)
{
    if (known == SB_KNOWN_SUCCESS)
        set_answer(answer, SB_REPLY_SUCCESS, reply, SB_SLICE(""));
    else if (known == SB_KNOWN_FAILURE)
        set_answer(answer, SB_REPLY_FAILURE, reply, error);
    else
        set_answer(answer, SB_REPLY_FAILURE, SB_SLICE(""), SB_SLICE("voided: its undo came first"));
}

/* An undo's handler runs only when the forward command had its effect. Answered with success, it is to be
 * kept, and a forward command that never came to be voided; with an error nothing is to be kept. */
static sb_barrier_verdict_t judge(sb_known_t forward, bool forward_completed, sb_barrier_answer_t *answer)
{
    if (forward == SB_KNOWN_SUCCESS)
        return SB_BARRIER_RUN;
    if (forward == SB_KNOWN_NOTHING && forward_completed)
        set_answer(
            answer, SB_REPLY_ERROR, SB_SLICE(""),
            SB_SLICE("barrier: the forward command was answered with success, but there is no row of it"));
    else
        set_answer(answer, SB_REPLY_SUCCESS,
                   forward == SB_KNOWN_NOTHING ? SB_SLICE("{\"voided\":true}")
                                               : SB_SLICE("{\"nothing_to_undo\":true}"),
                   SB_SLICE(""));
    return SB_BARRIER_ANSWERED;
}

void sb_barrier_init(sb_barrier_t *barrier)
{
    *barrier = (sb_barrier_t){.savepoints = true};
    sb_ledger_init(&barrier->ledger);
}

static void reset(sb_barrier_t *barrier)
{
    sb_ledger_reset(&barrier->ledger);
    barrier->release = false; /* a savepoint ends with its transaction */
}

void sb_barrier_fini(sb_barrier_t *barrier)
{
    sb_ledger_fini(&barrier->ledger);
}

sb_code_t sb_barrier_begin(sb_barrier_t *barrier, sb_pg_t *pg, bool savepoints,
                           const sb_command_t *const *commands, int count, sb_error_t *err)
{
    sb_pg_params_t ids = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[2];
    reset(barrier);
    barrier->pg = pg;
    barrier->savepoints = savepoints;
    barrier->at_once = count > 0;
    sb_code_t code = sb_ledger_list(&barrier->ledger, commands, count, err);
    if (code != SB_OK)
        return code;
    sb_pg_batch_add(&batch, begin, NULL);
    if (barrier->at_once) {
        sb_ledger_ask(&barrier->ledger, &ids);
        sb_pg_batch_add(&batch, sb_sql_barrier_look, &ids);
    }
    code = sb_pg_batch_run(pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return code;
    if (barrier->at_once)
        sb_ledger_take(&barrier->ledger, result[1]);
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

/* ---- one by one: a command's row first ---- */

/* The release that was put off goes first, as what follows is not the last handler's. */
static void add_release(sb_barrier_t *barrier, sb_pg_batch_t *batch)
{
    if (barrier->release)
        sb_pg_batch_add(batch, release, NULL);
    barrier->release = false;
}

static sb_slice_t direction_of(const sb_command_t *command, bool voided)
{
    return command->compensate && !voided ? SB_SLICE("compensate") : SB_SLICE("forward");
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

/* The row of a command that was here before, this transaction's included. */
static sb_code_t find_row(sb_barrier_t *barrier, const sb_uuid_t *id, sb_pg_result_t **out, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, id);
    sb_code_t code = sb_pg_query(barrier->pg, sb_sql_barrier_find, &params, out, err);
    if (code != SB_OK || sb_pg_rows(*out) > 0)
        return code;
    sb_pg_result_free(*out); /* purged between the two statements */
    *out = NULL;
    return sb_fail(err, SB_CONFLICT, "barrier: the row of a command went away while it was read");
}

/* A row says success without a result already. */
static sb_code_t keep_row(sb_barrier_t *barrier, const sb_command_t *command,
                          const sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_slice_t result = sb_buf_slice(&answer->result);
    bool success = answer->outcome == SB_REPLY_SUCCESS;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    if (success && (result.len == 0 || sb_slice_is(result, "{}")))
        return SB_OK;
    sb_pg_add_uuid(&params, &command->id);
    sb_pg_add_text(&params, success ? "success" : "failure");
    sb_pg_add_bytea(&params, result);
    sb_pg_add_slice(&params, answer->error.len ? sb_buf_slice(&answer->error) : SB_SLICE_NONE);
    add_release(barrier, &batch);
    sb_pg_batch_add(&batch, sb_sql_barrier_keep, &params);
    return sb_pg_batch_run(barrier->pg, &batch, NULL, NULL, err);
}

/* The command was here before: the same answer again. It may have been in this very transaction. */
static sb_code_t repeat_answer(sb_barrier_t *barrier, const sb_command_t *command,
                               sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_pg_result_t *row = NULL;
    sb_code_t code = find_row(barrier, &command->id, &row, err);
    if (code != SB_OK)
        return code;
    set_known(answer, sb_known_of(sb_pg_get_slice(row, 0, 0)), sb_pg_get_slice(row, 0, 1),
              sb_pg_get_slice(row, 0, 2));
    sb_pg_result_free(row);
    return SB_OK;
}

/* What the forward command of an undo came to. When it never ran, it has a row now that voids it. */
static sb_code_t look_at_forward(sb_barrier_t *barrier, const sb_command_t *undo, sb_known_t *known,
                                 sb_error_t *err)
{
    bool never_ran = false;
    sb_pg_result_t *row = NULL;
    sb_code_t code = insert_row(barrier, &undo->forward_id, undo, true, &never_ran, err);
    *known = SB_KNOWN_NOTHING;
    if (code != SB_OK || never_ran)
        return code;
    code = find_row(barrier, &undo->forward_id, &row, err);
    if (code == SB_OK)
        *known = sb_known_of(sb_pg_get_slice(row, 0, 0));
    sb_pg_result_free(row);
    return code;
}

static sb_code_t judge_undo(sb_barrier_t *barrier, const sb_command_t *undo, bool forward_completed,
                            sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_known_t forward;
    sb_code_t code = look_at_forward(barrier, undo, &forward, err);
    if (code != SB_OK)
        return code;
    *verdict = judge(forward, forward_completed, answer);
    if (*verdict == SB_BARRIER_RUN)
        return SB_OK;
    if (answer->outcome == SB_REPLY_SUCCESS)
        return keep_row(barrier, undo, answer, err);
    code = delete_row(barrier, &undo->forward_id, err);
    return code == SB_OK ? delete_row(barrier, &undo->id, err) : code;
}

static sb_code_t enter_row(sb_barrier_t *barrier, const sb_command_t *command, bool forward_completed,
                           sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer, sb_error_t *err)
{
    bool is_new = false;
    sb_code_t code = insert_row(barrier, &command->id, command, false, &is_new, err);
    if (code != SB_OK)
        return code;
    *verdict = is_new ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (!is_new)
        return repeat_answer(barrier, command, answer, err);
    return command->compensate ? judge_undo(barrier, command, forward_completed, verdict, answer, err)
                               : SB_OK;
}

/* ---- at once: by the ledger ---- */

static sb_code_t enter_ledger(sb_barrier_t *barrier, const sb_command_t *command, bool forward_completed,
                              sb_barrier_verdict_t *verdict, sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_ledger_t *ledger = &barrier->ledger;
    sb_ledger_row_t *row = sb_ledger_find(ledger, &command->id);
    sb_ledger_row_t *forward = command->compensate ? sb_ledger_find(ledger, &command->forward_id) : NULL;
    if (!row || (command->compensate && !forward))
        return sb_fail(err, SB_INTERNAL, "barrier: a command that the batch did not begin with");
    *verdict = row->known == SB_KNOWN_NOTHING ? SB_BARRIER_RUN : SB_BARRIER_ANSWERED;
    if (row->known != SB_KNOWN_NOTHING)
        set_known(answer, row->known, sb_ledger_reply(ledger, row), sb_ledger_error(ledger, row));
    if (row->known != SB_KNOWN_NOTHING || !forward)
        return SB_OK;
    *verdict = judge(forward->known, forward_completed, answer);
    if (*verdict == SB_BARRIER_RUN || answer->outcome != SB_REPLY_SUCCESS)
        return SB_OK;
    if (forward->known == SB_KNOWN_NOTHING)
        sb_ledger_learn(ledger, forward, SB_KNOWN_VOIDED, SB_SLICE(""), SB_SLICE(""));
    sb_ledger_learn(ledger, row, SB_KNOWN_SUCCESS, sb_buf_slice(&answer->result), SB_SLICE(""));
    return SB_OK;
}

static sb_code_t keep_in_ledger(sb_barrier_t *barrier, const sb_command_t *command,
                                const sb_barrier_answer_t *answer, sb_error_t *err)
{
    sb_ledger_row_t *row = sb_ledger_find(&barrier->ledger, &command->id);
    if (!row)
        return sb_fail(err, SB_INTERNAL, "barrier: a command that the batch did not begin with");
    sb_ledger_learn(&barrier->ledger, row,
                    answer->outcome == SB_REPLY_SUCCESS ? SB_KNOWN_SUCCESS : SB_KNOWN_FAILURE,
                    sb_buf_slice(&answer->result), sb_buf_slice(&answer->error));
    return SB_OK;
}

/* ---- a command's turn ---- */

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
    sb_code_t code = barrier->at_once
                         ? enter_ledger(barrier, command, forward_completed, verdict, answer, err)
                         : enter_row(barrier, command, forward_completed, verdict, answer, err);
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
    if (code != SB_OK)
        return code;
    return barrier->at_once ? keep_in_ledger(barrier, command, answer, err)
                            : keep_row(barrier, command, answer, err);
}

sb_code_t sb_barrier_forget(sb_barrier_t *barrier, const sb_command_t *command, sb_error_t *err)
{
    sb_code_t code = barrier->savepoints ? sb_pg_script(barrier->pg, take_back, err) : SB_OK;
    return code == SB_OK && !barrier->at_once ? delete_row(barrier, &command->id, err) : code;
}

sb_code_t sb_barrier_commit(sb_barrier_t *barrier, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    int rows = 0;
    sb_code_t code = sb_ledger_fill(&barrier->ledger, &params, &rows, err);
    if (code == SB_OK && rows == 0) {
        code = sb_pg_commit(barrier->pg, err);
    } else if (code == SB_OK) {
        sb_pg_batch_add(&batch, sb_sql_barrier_write, &params);
        sb_pg_batch_add(&batch, commit, NULL);
        code = sb_pg_batch_run(barrier->pg, &batch, NULL, NULL, err);
    }
    reset(barrier);
    return code;
}

void sb_barrier_rollback(sb_barrier_t *barrier)
{
    if (barrier->pg)
        sb_pg_rollback(barrier->pg);
    reset(barrier);
}
