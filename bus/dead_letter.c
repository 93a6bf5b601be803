/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/dead_letter.h"

#include "base/clock.h"
#include "base/scan.h"
#include "bus/dead_letter_headers.h"
#include "bus_sql.h"

#include <ctype.h>
#include <stdio.h>

#define ERROR_MAX     500
#define YEAR_10000_MS 253402300800000

/* ---- adding ---- */

/* Text of others that PostgreSQL would refuse is left out: the record itself is kept as bytes. */
static sb_slice_t text_or_none(sb_slice_t text)
{
    return text.ptr && sb_utf8_ok(text) ? text : SB_SLICE_NONE;
}

/* A message cut to its buffer may end in the midst of a character. */
static sb_slice_t whole_text(const char *text)
{
    size_t at = 0;
    size_t left = strlen(text);
    if (left > ERROR_MAX)
        left = ERROR_MAX;
    for (size_t n; left > 0 && (n = sb_utf8_length(text + at, left)) > 0; left -= n)
        at += n;
    return (sb_slice_t){text, at};
}

/* Every token with a digit in it becomes '#': ids, numbers, addresses. */
void sb_dead_letter_fingerprint(const char *error, char out[SB_FINGERPRINT_MAX])
{
    size_t n = 0;
    sb_slice_t text = whole_text(error);
    for (size_t i = 0; i < text.len && n < SB_FINGERPRINT_MAX - 1;) {
        size_t length = 0;
        bool digit = false;
        for (; i + length < text.len && (isalnum((unsigned char)text.ptr[i + length]) ||
                                         text.ptr[i + length] == '-' || text.ptr[i + length] == '_');
             length++)
            digit = digit || isdigit((unsigned char)text.ptr[i + length]);
        if (digit) {
            out[n++] = '#';
        } else {
            size_t take = length ? length : sb_utf8_length(text.ptr + i, text.len - i);
            if (n + take > SB_FINGERPRINT_MAX - 1)
                break;
            memcpy(out + n, text.ptr + i, take);
            n += take;
            length = take;
        }
        i += length;
    }
    out[n] = '\0';
}

static void add_headers(const sb_message_t *record, sb_pg_array_t *names, sb_pg_array_t *values)
{
    for (size_t i = 0; i < record->header_count; i++) {
        sb_slice_t name = sb_slice(record->headers[i].name);
        if (!sb_utf8_ok(name))
            continue;
        sb_pg_array_add_slice(names, name);
        sb_pg_array_add_slice(values, record->headers[i].value);
    }
}

static void add_record(sb_pg_params_t *params, const sb_dead_record_t *letter, const sb_pg_array_t *names,
                       const sb_pg_array_t *values)
{
    const sb_message_t *record = letter->record;
    sb_pg_add_text(params, letter->subscription);
    sb_pg_add_text(params, record->topic);
    sb_pg_add_int4(params, record->partition);
    sb_pg_add_int8(params, record->offset);
    sb_pg_add_int8(params, letter->incarnation);
    sb_pg_add_int8(params, letter->seq);
    sb_pg_add_slice(params, text_or_none(letter->id));
    sb_pg_add_slice(params, text_or_none(letter->source));
    sb_pg_add_slice(params, text_or_none(letter->type));
    sb_pg_add_bytea(params, record->key);
    sb_pg_add_array(params, names);
    sb_pg_add_array(params, values);
    sb_pg_add_bytea(params, record->value);
    if (record->time_ms > 0 && record->time_ms < YEAR_10000_MS) /* it may be any 64 bits */
        sb_pg_add_time(params, record->time_ms * 1000);
    else
        sb_pg_add_null(params, SB_PG_TIMESTAMPTZ);
}

static void add_time(sb_pg_params_t *params, int64_t wall_us)
{
    if (wall_us)
        sb_pg_add_time(params, wall_us);
    else
        sb_pg_add_null(params, SB_PG_TIMESTAMPTZ);
}

static sb_code_t hold_key(sb_pg_t *pg, const sb_dead_record_t *letter, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, letter->subscription);
    sb_pg_add_text(&params, letter->record->topic);
    sb_pg_add_bytea(&params, letter->record->key);
    return sb_pg_query(pg, sb_sql_sub_dead_hold, &params, NULL, err);
}

sb_code_t sb_dead_letter_add(sb_pg_t *pg, const sb_dead_record_t *letter, sb_error_t *err)
{
    char fingerprint[SB_FINGERPRINT_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_array_t names;
    sb_pg_array_t values;
    sb_pg_array_init(&names, SB_PG_TEXT);
    sb_pg_array_init(&values, SB_PG_BYTEA);
    add_headers(letter->record, &names, &values);
    add_record(&params, letter, &names, &values);
    sb_dead_letter_fingerprint(letter->error, fingerprint);
    sb_pg_add_text(&params, letter->reason);
    sb_pg_add_slice(&params, whole_text(letter->error));
    sb_pg_add_text(&params, fingerprint);
    sb_pg_add_int4(&params, letter->attempts);
    sb_pg_add_time(&params, letter->first_failed_us ? letter->first_failed_us : sb_wall_us());
    sb_pg_add_bool(&params, letter->held);
    add_time(&params, letter->due_us);
    sb_code_t code = letter->held ? hold_key(pg, letter, err) : SB_OK;
    if (code == SB_OK)
        code = sb_pg_query(pg, sb_sql_sub_dead_add, &params, NULL, err);
    sb_pg_array_fini(&names);
    sb_pg_array_fini(&values);
    return code;
}

/* ---- the copy on Kafka ---- */

sb_code_t sb_dead_letter_copy(sb_producer_t *producer, const char *topic, const sb_dead_record_t *letter,
                              sb_error_t *err)
{
    sb_dead_letter_headers_t headers;
    sb_dead_letter_t why = {.group = sb_slice(letter->group),
                            .attempts = letter->attempts,
                            .error = sb_slice(letter->reason),
                            .reason = whole_text(letter->error),
                            .first_failed_us =
                                letter->first_failed_us ? letter->first_failed_us : sb_wall_us()};
    sb_dead_letter_headers(letter->record, &why, SB_DEAD_LETTER_BOTH, &headers);
    sb_record_t record = {.topic = topic,
                          .partition = -1,
                          .key = letter->record->key,
                          .value = letter->record->value,
                          .headers = headers.header,
                          .header_count = headers.count};
    return sb_producer_send(producer, &record, err);
}

/* ---- reading back ---- */

/* Walks the elements of a one-dimensional array in PostgreSQL's binary form. */
static bool next_element(sb_slice_t array, size_t *at, sb_slice_t *out)
{
    if (*at == 0)
        *at = 20; /* dimensions, null flag, type, length, lower bound */
    if (*at + 4 > array.len)
        return false;
    int64_t length = sb_pg_read_int((sb_slice_t){array.ptr + *at, 4});
    *at += 4;
    *out = length < 0 ? SB_SLICE_NONE : (sb_slice_t){array.ptr + *at, (size_t)length};
    *at += length < 0 ? 0 : (size_t)length;
    return *at <= array.len;
}

static void read_headers(sb_slice_t names, sb_slice_t values, sb_dead_letter_row_t *out)
{
    size_t name_at = 0;
    size_t value_at = 0;
    size_t used = 0;
    sb_slice_t name;
    sb_slice_t value;
    while (out->record.header_count < SB_HEADERS_MAX && next_element(names, &name_at, &name) &&
           next_element(values, &value_at, &value) && used + name.len + 1 <= sizeof out->names) {
        if (!name.ptr)
            continue;
        char *text = out->names + used;
        memcpy(text, name.ptr, name.len);
        text[name.len] = '\0';
        used += name.len + 1;
        out->record.headers[out->record.header_count++] = (sb_header_t){text, value};
    }
}

void sb_dead_letter_read(const sb_pg_result_t *rows, int row, sb_dead_letter_row_t *out)
{
    out->no = sb_pg_get_int(rows, row, 0);
    (void)snprintf(out->topic, sizeof out->topic, "%s", sb_pg_get_text(rows, row, 1));
    out->record = (sb_message_t){.topic = out->topic,
                                 .partition = (int32_t)sb_pg_get_int(rows, row, 2),
                                 .offset = sb_pg_get_int(rows, row, 3),
                                 .time_ms = sb_pg_get_time(rows, row, 8) / 1000,
                                 .key = sb_pg_get_slice(rows, row, 4),
                                 .value = sb_pg_get_slice(rows, row, 7)};
    out->attempts = (int)sb_pg_get_int(rows, row, 9);
    read_headers(sb_pg_get_slice(rows, row, 5), sb_pg_get_slice(rows, row, 6), out);
}

sb_code_t sb_dead_letter_handled(sb_pg_t *pg, int64_t no, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, no);
    return sb_pg_query(pg, sb_sql_sub_dead_handled, &params, NULL, err);
}

sb_code_t sb_dead_letter_failed(sb_pg_t *pg, int64_t no, const char *error, int64_t due_us, sb_error_t *err)
{
    char fingerprint[SB_FINGERPRINT_MAX];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_dead_letter_fingerprint(error, fingerprint);
    sb_pg_add_int8(&params, no);
    sb_pg_add_slice(&params, whole_text(error));
    sb_pg_add_text(&params, fingerprint);
    add_time(&params, due_us);
    return sb_pg_query(pg, sb_sql_sub_dead_failed, &params, NULL, err);
}
