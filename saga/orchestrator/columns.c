/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/columns.h"

#include "events/saga_number.h"
#include "saga/result.h"
#include "saga_sql.h"

#include <ctype.h>
#include <stdlib.h>

typedef enum event_column {
    E_STREAM,
    E_AT,
    E_VERSION,
    E_TYPE,
    E_ID,
    E_META,
    E_DATA,
    E_FRESH,
    E_COLUMNS
} event_column_t;

static const uint32_t event_types[E_COLUMNS] = {SB_PG_INT8, SB_PG_TIMESTAMPTZ, SB_PG_INT4,  SB_PG_INT4,
                                                SB_PG_UUID, SB_PG_BYTEA,       SB_PG_BYTEA, SB_PG_BOOL};

typedef enum saga_column {
    S_NO,
    S_ID,
    S_STARTED,
    S_TYPE,
    S_KEY,
    S_DEFINITION,
    S_REQUEST,
    S_VERSION,
    S_SHARD,
    S_STATUS,
    S_CORRELATION,
    S_TRACEPARENT,
    S_INPUT,
    S_COLUMNS
} saga_column_t;

static const uint32_t saga_types[S_COLUMNS] = {
    SB_PG_INT8, SB_PG_UUID, SB_PG_TIMESTAMPTZ, SB_PG_TEXT, SB_PG_TEXT, SB_PG_BYTEA, SB_PG_BYTEA,
    SB_PG_INT4, SB_PG_INT2, SB_PG_INT2,        SB_PG_TEXT, SB_PG_TEXT, SB_PG_BYTEA};

typedef enum update_column {
    U_NO,
    U_ENDED,
    U_WAKE,
    U_VERSION,
    U_STATUS,
    U_PAUSED,
    U_ATTENTION,
    U_STEP,
    U_PARTICIPANT,
    U_ERROR,
    U_FINGERPRINT,
    U_RESULT,
    U_DEFINITION,
    U_COLUMNS
} update_column_t;

static const uint32_t update_types[U_COLUMNS] = {
    SB_PG_INT8, SB_PG_TIMESTAMPTZ, SB_PG_TIMESTAMPTZ, SB_PG_INT4, SB_PG_INT2,  SB_PG_BOOL, SB_PG_BOOL,
    SB_PG_TEXT, SB_PG_TEXT,        SB_PG_TEXT,        SB_PG_INT8, SB_PG_BYTEA, SB_PG_BYTEA};

typedef enum close_column { C_NO, C_OUTCOME, C_COLUMNS } close_column_t;

static const uint32_t close_types[C_COLUMNS] = {SB_PG_INT8, SB_PG_TEXT};

struct sb_columns {
    sb_pg_array_t event[E_COLUMNS];
    sb_pg_array_t saga[S_COLUMNS];
    sb_pg_array_t update[U_COLUMNS];
    sb_pg_array_t close[C_COLUMNS];
    sb_buf_t packed; /* the events once more, for readers of this process */
    sb_buf_t scratch;
    sb_pg_params_t guard_params, event_params, saga_params, update_params, close_params;
};

static void init_set(sb_pg_array_t *column, const uint32_t *types, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_init(&column[i], types[i]);
}

static void fini_set(sb_pg_array_t *column, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_fini(&column[i]);
}

static void reset_set(sb_pg_array_t *column, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_reset(&column[i]);
}

sb_code_t sb_columns_new(sb_columns_t **out, sb_error_t *err)
{
    sb_columns_t *columns = calloc(1, sizeof *columns);
    *out = columns;
    if (!columns)
        return sb_fail(err, SB_NO_MEMORY, "orchestrator: out of memory");
    init_set(columns->event, event_types, E_COLUMNS);
    init_set(columns->saga, saga_types, S_COLUMNS);
    init_set(columns->update, update_types, U_COLUMNS);
    init_set(columns->close, close_types, C_COLUMNS);
    return SB_OK;
}

void sb_columns_free(sb_columns_t **columns)
{
    if (!*columns)
        return;
    fini_set((*columns)->event, E_COLUMNS);
    fini_set((*columns)->saga, S_COLUMNS);
    fini_set((*columns)->update, U_COLUMNS);
    fini_set((*columns)->close, C_COLUMNS);
    sb_buf_fini(&(*columns)->packed);
    sb_buf_fini(&(*columns)->scratch);
    free(*columns);
    *columns = NULL;
}

void sb_columns_reset(sb_columns_t *columns)
{
    reset_set(columns->event, E_COLUMNS);
    reset_set(columns->saga, S_COLUMNS);
    reset_set(columns->update, U_COLUMNS);
    reset_set(columns->close, C_COLUMNS);
    sb_buf_reset(&columns->packed);
}

/* ---- rows ---- */

void sb_columns_add_event(sb_columns_t *columns, const sb_touch_t *touch, int version, int64_t at_us,
                          int type_no, sb_slice_t data)
{
    sb_pg_array_t *column = columns->event;
    sb_uuid_t id = sb_uuid_v7();
    sb_pg_array_add_int8(&column[E_STREAM], touch->saga->no);
    sb_pg_array_add_time(&column[E_AT], at_us);
    sb_pg_array_add_int4(&column[E_VERSION], version);
    sb_pg_array_add_int4(&column[E_TYPE], type_no);
    sb_pg_array_add_uuid(&column[E_ID], &id);
    sb_pg_array_add_slice(&column[E_META], touch->saga->meta);
    sb_pg_array_add_slice(&column[E_DATA], data);
    sb_pg_array_add_bool(&column[E_FRESH], touch->fresh);
    sb_packed_row_t row = {.stream_no = touch->saga->no,
                           .at_us = at_us,
                           .version = version,
                           .type_no = type_no,
                           .event_class = SB_CLASS_SAGA,
                           .id = id,
                           .meta = touch->saga->meta,
                           .data = data};
    sb_packed_row_write(&columns->packed, &row);
}

void sb_columns_add_saga(sb_columns_t *columns, const sb_touch_t *touch, const sb_call_t *call,
                         int64_t now_us)
{
    sb_pg_array_t *column = columns->saga;
    const sb_open_saga_t *saga = touch->saga;
    const sb_definition_t *definition = saga->plan->definition;
    sb_slice_t hash = {(const char *)definition->hash.byte, sizeof definition->hash.byte};
    sb_slice_t request = {(const char *)call->request_hash.byte, sizeof call->request_hash.byte};
    sb_pg_array_add_int8(&column[S_NO], saga->no);
    sb_pg_array_add_uuid(&column[S_ID], &saga->id);
    sb_pg_array_add_time(&column[S_STARTED], now_us);
    sb_pg_array_add_slice(&column[S_TYPE], sb_slice(definition->name));
    sb_pg_array_add_slice(&column[S_KEY], saga->key);
    sb_pg_array_add_slice(&column[S_DEFINITION], hash);
    sb_pg_array_add_slice(&column[S_REQUEST], request);
    sb_pg_array_add_int4(&column[S_VERSION], touch->state.version);
    sb_pg_array_add_int2(&column[S_SHARD], (int16_t)sb_saga_shard(saga->no));
    sb_pg_array_add_int2(&column[S_STATUS], (int16_t)touch->state.status);
    sb_pg_array_add_slice(&column[S_CORRELATION], saga->correlation_id);
    sb_pg_array_add_slice(&column[S_TRACEPARENT], saga->traceparent);
    sb_pg_array_add_slice(&column[S_INPUT], saga->input);
}

/* The same for errors that differ in numbers only (ids, amounts), so that an operator sees one group: FNV-1a
 * over the text with each run of digits as one '#'. */
static int64_t fingerprint(sb_slice_t text)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (isdigit(c)) {
            if (i > 0 && isdigit((unsigned char)text.ptr[i - 1]))
                continue;
            c = '#';
        }
        hash = (hash ^ c) * 0x100000001b3u;
    }
    return (int64_t)hash;
}

/* The step that an operator looks for: what wants him, else what turned the saga back. */
static int step_in_trouble(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    for (int i = definition->step_count - 1; i >= 0 && state->attention; i--)
        if (state->step[i].attention)
            return i;
    return state->failed_step;
}

static void add_time_or_null(sb_pg_array_t *column, bool there, int64_t at_us)
{
    if (there)
        sb_pg_array_add_time(column, at_us);
    else
        sb_pg_array_add_null(column);
}

void sb_columns_add_update(sb_columns_t *columns, const sb_touch_t *touch, int64_t now_us)
{
    sb_pg_array_t *column = columns->update;
    const sb_definition_t *definition = touch->saga->plan->definition;
    const sb_saga_state_t *state = &touch->state;
    bool over = sb_saga_is_over(state);
    int step = step_in_trouble(definition, state);
    sb_slice_t error = state->status == SB_SAGA_COMPLETED ? SB_SLICE_NONE : touch->error;
    sb_pg_array_add_int8(&column[U_NO], touch->saga->no);
    add_time_or_null(&column[U_ENDED], over, now_us);
    add_time_or_null(&column[U_WAKE], !over && touch->wake_us, touch->wake_us);
    sb_pg_array_add_int4(&column[U_VERSION], state->version);
    sb_pg_array_add_int2(&column[U_STATUS], (int16_t)state->status);
    sb_pg_array_add_bool(&column[U_PAUSED], state->paused);
    sb_pg_array_add_bool(&column[U_ATTENTION], state->attention && !over);
    sb_pg_array_add_slice(&column[U_STEP], step < 0 ? SB_SLICE_NONE : sb_slice(definition->step[step].name));
    sb_pg_array_add_slice(&column[U_PARTICIPANT],
                          step < 0 ? SB_SLICE_NONE : sb_slice(definition->step[step].participant));
    sb_pg_array_add_slice(&column[U_ERROR], error);
    if (error.ptr)
        sb_pg_array_add_int8(&column[U_FINGERPRINT], fingerprint(error));
    else
        sb_pg_array_add_null(&column[U_FINGERPRINT]);
    sb_pg_array_add_slice(&column[U_RESULT], sb_saga_result(definition, state, touch->saga->input,
                                                            touch->result, &columns->scratch));
    sb_slice_t hash = {(const char *)definition->hash.byte, sizeof definition->hash.byte};
    sb_pg_array_add_slice(&column[U_DEFINITION], touch->old_plan ? hash : SB_SLICE_NONE);
}

void sb_columns_add_close(sb_columns_t *columns, int64_t command_no, const char *outcome)
{
    sb_pg_array_add_int8(&columns->close[C_NO], command_no);
    sb_pg_array_add_slice(&columns->close[C_OUTCOME], sb_slice(outcome));
}

/* ---- the transaction ---- */

static bool add_set(sb_pg_batch_t *batch, const char *sql, sb_pg_params_t *params,
                    const sb_pg_array_t *column, int count)
{
    params->count = 0;
    if (column[0].count == 0)
        return true;
    for (int i = 0; i < count; i++) {
        if (sb_pg_array_failed(&column[i]))
            return false;
        sb_pg_add_sparse_array(params, &column[i]);
    }
    sb_pg_batch_add(batch, sql, params);
    return true;
}

static void read_events(const sb_columns_t *columns, sb_columns_written_t *written, const sb_pg_result_t *row)
{
    written->events = (size_t)sb_pg_get_int(row, 0, 2);
    if (written->events == 0) /* all were of starts that lost the race for their key */
        return;
    written->first_seq = sb_pg_get_int(row, 0, 0);
    written->last_seq = sb_pg_get_int(row, 0, 1);
    if (written->events == (size_t)columns->event[E_STREAM].count && !sb_buf_failed(&columns->packed))
        written->packed = sb_buf_slice(&columns->packed);
}

sb_code_t sb_columns_run(sb_columns_t *columns, sb_pg_t *pg, const sb_lease_t *lease,
                         const sb_lease_move_t *move, void (*on_sent)(void *context), void *context,
                         sb_columns_written_t *written, sb_error_t *err)
{
    *written = (sb_columns_written_t){.inserted = NULL};
    sb_pg_batch_t batch = {.count = 0};
    sb_lease_guard(lease, move, &columns->guard_params);
    sb_pg_batch_add(&batch, sb_sql_shard_guard, &columns->guard_params);
    bool fits = add_set(&batch, sb_sql_saga_insert, &columns->saga_params, columns->saga, S_COLUMNS);
    fits = fits &&
           add_set(&batch, sb_sql_saga_event_insert, &columns->event_params, columns->event, E_COLUMNS) &&
           add_set(&batch, sb_sql_saga_update, &columns->update_params, columns->update, U_COLUMNS) &&
           add_set(&batch, sb_sql_saga_command_close, &columns->close_params, columns->close, C_COLUMNS);
    if (!fits)
        return sb_fail(err, SB_NO_MEMORY, "write a batch of sagas: out of memory");
    sb_pg_result_t *results[SB_PG_BATCH_MAX] = {NULL};
    sb_code_t code = sb_pg_batch_run_beside(pg, &batch, on_sent, context, results, NULL, err);
    if (code != SB_OK)
        return code;
    written->pg_us = sb_pg_get_time(results[0], 0, 1);
    int next = 1; /* behind the guard, in the order above, what there was */
    if (columns->saga[S_NO].count > 0) {
        written->inserted = results[next];
        results[next++] = NULL;
    }
    if (columns->event[E_STREAM].count > 0)
        read_events(columns, written, results[next]);
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(results[i]);
    return SB_OK;
}
