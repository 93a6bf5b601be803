/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include <stdlib.h>

static const PGresult *raw(const sb_pg_result_t *result)
{
    return (const PGresult *)result;
}

void sb_pg_result_free(sb_pg_result_t *result)
{
    PQclear((PGresult *)result);
}

int sb_pg_rows(const sb_pg_result_t *result)
{
    return PQntuples(raw(result));
}

int64_t sb_pg_affected(const sb_pg_result_t *result)
{
    const char *text = PQcmdTuples((PGresult *)(uintptr_t)result);
    return text[0] ? strtoll(text, NULL, 10) : 0;
}

bool sb_pg_is_null(const sb_pg_result_t *result, int row, int column)
{
    return PQgetisnull(raw(result), row, column);
}

sb_slice_t sb_pg_get_slice(const sb_pg_result_t *result, int row, int column)
{
    if (sb_pg_is_null(result, row, column))
        return SB_SLICE_NONE;
    sb_slice_t s = {PQgetvalue(raw(result), row, column), (size_t)PQgetlength(raw(result), row, column)};
    return s;
}

const char *sb_pg_get_text(const sb_pg_result_t *result, int row, int column)
{
    return sb_pg_get_slice(result, row, column).ptr;
}

bool sb_pg_get_bool(const sb_pg_result_t *result, int row, int column)
{
    sb_slice_t s = sb_pg_get_slice(result, row, column);
    return s.len == 1 && s.ptr[0] != 0;
}

int64_t sb_pg_read_int(sb_slice_t field)
{
    if (field.len == 0)
        return 0;
    int64_t value = (int8_t)field.ptr[0]; /* the sign travels with the first byte */
    for (size_t i = 1; i < field.len; i++)
        value = (int64_t)((uint64_t)value << 8 | (uint8_t)field.ptr[i]);
    return value;
}

int64_t sb_pg_read_time(sb_slice_t field)
{
    return field.ptr ? sb_pg_read_int(field) + SB_PG_EPOCH_US : 0;
}

int64_t sb_pg_get_int(const sb_pg_result_t *result, int row, int column)
{
    return sb_pg_read_int(sb_pg_get_slice(result, row, column));
}

int64_t sb_pg_get_time(const sb_pg_result_t *result, int row, int column)
{
    return sb_pg_read_time(sb_pg_get_slice(result, row, column));
}

sb_uuid_t sb_pg_get_uuid(const sb_pg_result_t *result, int row, int column)
{
    sb_uuid_t id = SB_UUID_NIL;
    sb_slice_t s = sb_pg_get_slice(result, row, column);
    if (s.len == sizeof id.byte)
        memcpy(id.byte, s.ptr, sizeof id.byte);
    return id;
}

void sb_pg_quote_name(sb_buf_t *buf, sb_slice_t name)
{
    sb_buf_add_char(buf, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"')
            sb_buf_add_char(buf, '"');
        sb_buf_add_char(buf, name.ptr[i]);
    }
    sb_buf_add_char(buf, '"');
}
