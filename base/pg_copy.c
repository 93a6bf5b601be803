/* COPY in PostgreSQL's binary format, both ways.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include <stdlib.h>

#define COPY_FIELDS_MAX 64

static const char signature[11] = "PGCOPY\n\377\r\n";

static uint32_t read_be32(const char *at)
{
    const uint8_t *b = (const uint8_t *)at;
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Splits one row; libpq hands over exactly one row a call (the file header travels with the first). Returns
 * the field count, -1 at the trailer, -2 when the bytes are not a row. */
static int split_row(const char *at, size_t length, sb_slice_t *fields)
{
    if (length < 2)
        return -2;
    int count = (int16_t)((uint16_t)((uint8_t)at[0] << 8) | (uint8_t)at[1]);
    if (count == -1)
        return -1;
    if (count < 0 || count > COPY_FIELDS_MAX)
        return -2;
    const char *end = at + length;
    at += 2;
    for (int i = 0; i < count; i++) {
        if (end - at < 4)
            return -2;
        int32_t size = (int32_t)read_be32(at);
        at += 4;
        if (size < 0) {
            fields[i] = SB_SLICE_NONE;
            continue;
        }
        if (end - at < size)
            return -2;
        fields[i] = (sb_slice_t){at, (size_t)size};
        at += size;
    }
    return count;
}

static sb_code_t copy_rows(sb_pg_t *pg, sb_pg_copy_row_fn on_row, void *context, sb_error_t *err)
{
    sb_slice_t fields[COPY_FIELDS_MAX];
    bool first = true;
    char *chunk = NULL;
    int length;
    sb_code_t code = SB_OK;
    while (code == SB_OK && (length = PQgetCopyData(pg->conn, &chunk, 0)) > 0) {
        const char *at = chunk;
        size_t left = (size_t)length;
        if (first) {
            size_t head = sizeof signature + 8;
            if (left < head) {
                PQfreemem(chunk);
                return sb_fail(err, SB_CORRUPT, "COPY: the binary header is missing");
            }
            at += head;
            left -= head;
            first = false;
        }
        if (left > 0) {
            int count = split_row(at, left, fields);
            if (count == -2)
                code = sb_fail(err, SB_CORRUPT, "COPY: a row is malformed");
            else if (count >= 0)
                code = on_row(context, fields, count, err);
        }
        PQfreemem(chunk);
    }
    return code;
}

sb_code_t sb_pg_copy_out(sb_pg_t *pg, const char *sql, sb_pg_copy_row_fn on_row, void *context,
                         sb_error_t *err)
{
    if (!sb_pg_is_open(pg))
        return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection is broken");
    PGresult *result = PQexec(pg->conn, sql);
    if (PQresultStatus(result) != PGRES_COPY_OUT) {
        sb_code_t code = sb_pg_result_error(pg, result, false, err);
        PQclear(result);
        return code;
    }
    PQclear(result);
    sb_code_t code = copy_rows(pg, on_row, context, err);
    if (code != SB_OK) { /* stopped half-way: cancel, then drain what is still coming */
        char text[64];
        PGcancel *cancel = PQgetCancel(pg->conn);
        if (cancel)
            (void)PQcancel(cancel, text, sizeof text);
        PQfreeCancel(cancel);
        char *chunk = NULL;
        while (PQgetCopyData(pg->conn, &chunk, 0) > 0)
            PQfreemem(chunk);
    }
    while ((result = PQgetResult(pg->conn)) != NULL) {
        if (code == SB_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
            code = sb_pg_result_error(pg, result, false, err);
        PQclear(result);
    }
    return code;
}

sb_code_t sb_pg_copy_in_start(sb_pg_t *pg, const char *sql, sb_error_t *err)
{
    static const char flags_and_extension[8];
    if (!sb_pg_is_open(pg))
        return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection is broken");
    PGresult *result = PQexec(pg->conn, sql);
    sb_code_t code = SB_OK;
    if (PQresultStatus(result) != PGRES_COPY_IN)
        code = sb_pg_result_error(pg, result, false, err);
    PQclear(result);
    if (code == SB_OK && (PQputCopyData(pg->conn, signature, sizeof signature) != 1 ||
                          PQputCopyData(pg->conn, flags_and_extension, sizeof flags_and_extension) != 1))
        code = sb_pg_result_error(pg, NULL, false, err);
    return code;
}

void sb_pg_copy_row(sb_buf_t *rows, int field_count)
{
    sb_buf_add_be16(rows, (uint16_t)field_count);
}

void sb_pg_copy_null(sb_buf_t *rows)
{
    sb_buf_add_be32(rows, UINT32_MAX);
}

void sb_pg_copy_int4(sb_buf_t *rows, int32_t value)
{
    sb_buf_add_be32(rows, 4);
    sb_buf_add_be32(rows, (uint32_t)value);
}

void sb_pg_copy_int8(sb_buf_t *rows, int64_t value)
{
    sb_buf_add_be32(rows, 8);
    sb_buf_add_be64(rows, (uint64_t)value);
}

void sb_pg_copy_bool(sb_buf_t *rows, bool value)
{
    sb_buf_add_be32(rows, 1);
    sb_buf_add_char(rows, value ? 1 : 0);
}

void sb_pg_copy_bytes(sb_buf_t *rows, sb_slice_t value)
{
    if (!value.ptr) {
        sb_pg_copy_null(rows);
        return;
    }
    sb_buf_add_be32(rows, (uint32_t)value.len);
    sb_buf_add(rows, value.ptr, value.len);
}

void sb_pg_copy_time(sb_buf_t *rows, int64_t wall_us)
{
    sb_pg_copy_int8(rows, wall_us - SB_PG_EPOCH_US);
}

sb_code_t sb_pg_copy_in_send(sb_pg_t *pg, sb_buf_t *rows, sb_error_t *err)
{
    if (sb_buf_failed(rows))
        return sb_fail(err, SB_NO_MEMORY, "COPY: out of memory");
    sb_code_t code = SB_OK;
    if (rows->len > 0 && PQputCopyData(pg->conn, rows->ptr, (int)rows->len) != 1)
        code = sb_pg_result_error(pg, NULL, false, err);
    sb_buf_reset(rows);
    return code;
}

sb_code_t sb_pg_copy_in_end(sb_pg_t *pg, int64_t *row_count, sb_error_t *err)
{
    static const char trailer[2] = {'\377', '\377'};
    sb_code_t code = SB_OK;
    if (PQputCopyData(pg->conn, trailer, sizeof trailer) != 1 || PQputCopyEnd(pg->conn, NULL) != 1)
        code = sb_pg_result_error(pg, NULL, false, err);
    PGresult *result;
    while ((result = PQgetResult(pg->conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK) {
            if (code == SB_OK)
                code = sb_pg_result_error(pg, result, false, err);
        } else if (row_count) {
            *row_count = strtoll(PQcmdTuples(result), NULL, 10);
        }
        PQclear(result);
    }
    return code;
}
