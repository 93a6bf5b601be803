/* Sending appends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/append.h"
#include "events_sql.h"

/* The outcomes of sagabus.event_append and event_append_many. */
enum { OTHER_REQUEST = 3, NOT_DONE = 4 };
_Static_assert(SB_APPENDED == 0 && SB_APPEND_CONFLICT == 1 && SB_APPEND_REPEATED == 2, "as in 0001_core.sql");
_Static_assert(SB_EXPECT_ANY == 0 && SB_EXPECT_NONE == 1 && SB_EXPECT_EXISTS == 2 && SB_EXPECT_EXACT == 3,
               "as in 0001_core.sql");

typedef struct column {
    size_t offset; /* in sb_append_batch_t */
    uint32_t type;
} column_t;

#define COLUMN(name, type)                                                                                   \
    {                                                                                                        \
        offsetof(sb_append_batch_t, name), type                                                              \
    }

/* In the order of event_append_many's parameters. */
static const column_t columns[] = {
    COLUMN(categories, SB_PG_TEXT),   COLUMN(keys, SB_PG_TEXT),     COLUMN(expects, SB_PG_INT4),
    COLUMN(versions, SB_PG_INT4),     COLUMN(commands, SB_PG_UUID), COLUMN(hashes, SB_PG_BYTEA),
    COLUMN(counts, SB_PG_INT4),       COLUMN(ends, SB_PG_INT4),     COLUMN(of, SB_PG_INT4),
    COLUMN(nths, SB_PG_INT4),         COLUMN(ids, SB_PG_UUID),      COLUMN(types, SB_PG_INT4),
    COLUMN(times, SB_PG_TIMESTAMPTZ), COLUMN(metas, SB_PG_BYTEA),   COLUMN(datas, SB_PG_BYTEA),
};

#define COLUMNS (sizeof columns / sizeof columns[0])

static sb_pg_array_t *array_of(const sb_append_batch_t *batch, size_t i)
{
    return (sb_pg_array_t *)((uintptr_t)batch + columns[i].offset);
}

void sb_append_batch_init(sb_append_batch_t *batch)
{
    *batch = (sb_append_batch_t){.first = NULL};
    for (size_t i = 0; i < COLUMNS; i++)
        sb_pg_array_init(array_of(batch, i), columns[i].type);
}

void sb_append_batch_fini(sb_append_batch_t *batch)
{
    for (size_t i = 0; i < COLUMNS; i++)
        sb_pg_array_fini(array_of(batch, i));
}

void sb_append_batch_reset(sb_append_batch_t *batch)
{
    batch->first = NULL;
    batch->count = 0;
    batch->events = 0;
    for (size_t i = 0; i < COLUMNS; i++)
        sb_pg_array_reset(array_of(batch, i));
}

/* ---- filling ---- */

static uint64_t read_be(const char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | (uint8_t)at[i];
    return value;
}

/* Reads what sb_append_encode wrote; returns where the next event begins. */
static const char *add_event(sb_append_batch_t *batch, const char *at, size_t nth)
{
    sb_uuid_t id;
    memcpy(id.byte, at, sizeof id.byte);
    int32_t type_no = (int32_t)read_be(at + 16, 4);
    int64_t time_us = (int64_t)read_be(at + 20, 8);
    sb_slice_t meta = {at + 32, (size_t)read_be(at + 28, 4)};
    at = meta.ptr + meta.len;
    sb_slice_t data = {at + 4, (size_t)read_be(at, 4)};
    sb_pg_array_add_int4(&batch->of, batch->count);
    sb_pg_array_add_int4(&batch->nths, (int32_t)nth);
    sb_pg_array_add_uuid(&batch->ids, &id);
    sb_pg_array_add_int4(&batch->types, type_no);
    if (time_us)
        sb_pg_array_add_time(&batch->times, time_us);
    else
        sb_pg_array_add_null(&batch->times);
    sb_pg_array_add_slice(&batch->metas, meta.len ? meta : SB_SLICE_NONE);
    sb_pg_array_add_slice(&batch->datas, data);
    return data.ptr + data.len;
}

void sb_append_batch_add(sb_append_batch_t *batch, const sb_encoded_t *encoded)
{
    bool has_command = !sb_uuid_is_nil(&encoded->command_id);
    sb_slice_t hash = {(const char *)encoded->hash.byte, sizeof encoded->hash.byte};
    if (batch->count++ == 0)
        batch->first = encoded;
    batch->events += encoded->count;
    sb_pg_array_add_slice(&batch->categories, sb_encoded_category(encoded));
    sb_pg_array_add_slice(&batch->keys, sb_encoded_key(encoded));
    sb_pg_array_add_int4(&batch->expects, (int32_t)encoded->expect);
    sb_pg_array_add_int4(&batch->versions, encoded->expected_version);
    sb_pg_array_add_uuid(&batch->commands, has_command ? &encoded->command_id : NULL);
    sb_pg_array_add_slice(&batch->hashes, has_command ? hash : SB_SLICE_NONE);
    sb_pg_array_add_int4(&batch->counts, (int32_t)encoded->count);
    sb_pg_array_add_int4(&batch->ends, (int32_t)batch->events);
    const char *at = encoded->bytes.ptr + encoded->category_len + encoded->key_len;
    for (size_t nth = 1; nth <= encoded->count; nth++)
        at = add_event(batch, at, nth);
}

/* ---- sending ---- */

static void fill_one(const sb_append_batch_t *batch, sb_pg_params_t *params)
{
    const sb_encoded_t *one = batch->first;
    bool has_command = !sb_uuid_is_nil(&one->command_id);
    sb_slice_t hash = {(const char *)one->hash.byte, sizeof one->hash.byte};
    sb_pg_add_slice(params, sb_encoded_category(one));
    sb_pg_add_slice(params, sb_encoded_key(one));
    sb_pg_add_int4(params, (int32_t)one->expect);
    sb_pg_add_int4(params, one->expected_version);
    sb_pg_add_uuid(params, has_command ? &one->command_id : NULL);
    sb_pg_add_bytea(params, has_command ? hash : SB_SLICE_NONE);
    sb_pg_add_array(params, &batch->ids);
    sb_pg_add_array(params, &batch->types);
    sb_pg_add_sparse_array(params, &batch->times);
    sb_pg_add_sparse_array(params, &batch->metas);
    sb_pg_add_array(params, &batch->datas);
}

static void fill_many(const sb_append_batch_t *batch, bool atomic, const sb_append_lane_t *lane,
                      sb_pg_params_t *params)
{
    sb_pg_add_uuid(params, lane ? &lane->id : NULL);
    sb_pg_add_int8(params, lane ? lane->number : 0);
    sb_pg_add_bool(params, atomic);
    for (size_t i = 0; i < COLUMNS; i++)
        sb_pg_add_sparse_array(params, array_of(batch, i));
}

sb_code_t sb_append_read_answers(const sb_pg_result_t *rows, int count, sb_append_answer_t *answers,
                                 sb_error_t *err)
{
    if (sb_pg_rows(rows) != count)
        return sb_fail(err, SB_CORRUPT, "append: %d answers to %d appends", sb_pg_rows(rows), count);
    for (int i = 0; i < count; i++) {
        int64_t outcome = sb_pg_get_int(rows, i, 0);
        answers[i] = (sb_append_answer_t){.code = outcome == OTHER_REQUEST ? SB_MISMATCH : SB_OK};
        answers[i].result = (sb_append_result_t){
            outcome == NOT_DONE ? SB_APPEND_NOT_DONE : (sb_append_outcome_t)outcome,
            (int)sb_pg_get_int(rows, i, 1), sb_pg_get_int(rows, i, 2), sb_pg_get_int(rows, i, 3)};
    }
    return SB_OK;
}

sb_code_t sb_append_batch_run(sb_pg_t *pg, const sb_append_batch_t *batch, bool atomic,
                              const sb_append_lane_t *lane, sb_append_answer_t *answers, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    bool one = batch->count == 1 && !lane; /* by the statement that is quicker for one */
    if (one)
        fill_one(batch, &params);
    else
        fill_many(batch, atomic, lane, &params);
    sb_code_t code = sb_pg_query_beside(pg, one ? sb_sql_event_append : sb_sql_event_append_many, &params,
                                        lane ? lane->on_sent : NULL, lane ? lane->context : NULL, &rows, err);
    if (code == SB_OK)
        code = sb_append_read_answers(rows, batch->count, answers, err);
    sb_pg_result_free(rows);
    return code;
}
