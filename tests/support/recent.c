/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/recent.h"

#include "tests/support/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void read_events(sb_pg_t *pg, int64_t first, int64_t last, sb_pg_copy_row_fn on_row, void *context)
{
    char sql[256];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(sql, sizeof sql,
                   "COPY (SELECT seq, stream_no, at, version, type_no, class, id, meta, data FROM "
                   "sagabus.event WHERE seq BETWEEN %" PRId64 " AND %" PRId64
                   " ORDER BY seq) TO STDOUT (FORMAT BINARY)",
                   first, last);
    assert_ok(sb_pg_copy_out(pg, sql, on_row, context, &err), &err);
}

static sb_code_t pack(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    (void)err;
    assert_int_equal(count, SB_PACKED_FIELDS);
    sb_packed_row_t row = {.stream_no = sb_pg_read_int(fields[SB_PACKED_STREAM_NO]),
                           .at_us = sb_pg_read_time(fields[SB_PACKED_AT]),
                           .version = (int)sb_pg_read_int(fields[SB_PACKED_VERSION]),
                           .type_no = (int)sb_pg_read_int(fields[SB_PACKED_TYPE_NO]),
                           .event_class = (sb_event_class_t)sb_pg_read_int(fields[SB_PACKED_CLASS]),
                           .meta = fields[SB_PACKED_META],
                           .data = fields[SB_PACKED_DATA]};
    memcpy(row.id.byte, fields[SB_PACKED_ID].ptr, sizeof row.id.byte);
    sb_packed_row_write(context, &row);
    return SB_OK;
}

void sb_test_recent_keep(sb_pg_t *pg, sb_progress_t *progress, int64_t first, int64_t last)
{
    sb_buf_t rows = SB_BUF_INIT;
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = first, .last_seq = last};
    read_events(pg, first, last, pack, &rows);
    sb_progress_keep(progress, sb_progress_era(progress), &result, (size_t)(last - first) + 1,
                     sb_buf_slice(&rows));
    sb_buf_fini(&rows);
}

static sb_code_t compare(void *context, const sb_slice_t *fields, int count, sb_error_t *err)
{
    sb_slice_t kept[SB_PACKED_FIELDS];
    (void)err;
    assert_int_equal(count, SB_PACKED_FIELDS);
    assert_true(sb_packed_row_next(context, kept));
    for (int i = 0; i < SB_PACKED_FIELDS; i++)
        if (!sb_slice_equal(kept[i], fields[i]) || !kept[i].ptr != !fields[i].ptr)
            fail_msg("event %" PRId64 ": column %d is not as the store has it",
                     sb_pg_read_int(fields[SB_PACKED_SEQ]), i);
    return SB_OK;
}

void sb_test_recent_check(sb_pg_t *pg, sb_progress_t *progress, int64_t first, int64_t last)
{
    sb_buf_t rows = SB_BUF_INIT;
    assert_int_equal(sb_progress_recent(progress, first - 1, last, SIZE_MAX, &rows), last);
    sb_slice_t left = sb_buf_slice(&rows);
    read_events(pg, first, last, compare, &left);
    assert_int_equal(left.len, 0);
    sb_buf_fini(&rows);
}
