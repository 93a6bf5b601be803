/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- connection ---- */

static void quiet_notice(void *context, const PGresult *result)
{
    (void)context;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
    if (severity && strcmp(severity, "WARNING") == 0)
        sb_log(SB_LOG_WARN, "PG-NOTICE", "%s", text ? text : "");
}

static sb_code_t connect_now(sb_pg_t *pg, sb_error_t *err)
{
    const char *keys[] = {"dbname",           "fallback_application_name", "application_name",
                          "options",          "connect_timeout",           "keepalives_idle",
                          "tcp_user_timeout", "client_encoding",           NULL};
    const char *values[] = {
        pg->uri, "sagabus", pg->application_name, pg->options, pg->connect_timeout, "10", "15000",
        "UTF8",  NULL};
    pg->conn = PQconnectdbParams(keys, values, 1);
    if (!pg->conn)
        return sb_fail(err, SB_NO_MEMORY, "connect to PostgreSQL: out of memory");
    if (PQstatus(pg->conn) != CONNECTION_OK) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s", PQerrorMessage(pg->conn));
        text[strcspn(text, "\n")] = '\0';
        PQfinish(pg->conn);
        pg->conn = NULL;
        return sb_fail(err, SB_UNAVAILABLE, "connect to PostgreSQL: %s", text);
    }
    (void)PQsetNoticeReceiver(pg->conn, quiet_notice, NULL);
    pg->dead = false;
    pg->prepared_count = 0;
    if (pg->prepared)
        memset(pg->prepared, 0, pg->prepared_cap * sizeof *pg->prepared);
    return SB_OK;
}

/* In `options` a space ends a setting unless a backslash is before it. */
static void add_escaped(sb_buf_t *buf, const char *text)
{
    for (; *text; text++) {
        if (*text == ' ' || *text == '\\')
            sb_buf_add_char(buf, '\\');
        sb_buf_add_char(buf, *text);
    }
}

/* What the URI asks for stays in force: our own `options` would replace it as a whole. */
static void add_options_of_uri(sb_buf_t *buf, const char *uri)
{
    PQconninfoOption *list = PQconninfoParse(uri, NULL); /* NULL when malformed: connecting will say so */
    for (PQconninfoOption *at = list; at && at->keyword; at++)
        if (strcmp(at->keyword, "options") == 0 && at->val)
            sb_buf_printf(buf, " %s", at->val);
    PQconninfoFree(list);
}

static sb_code_t make_options(sb_pg_t *pg, const sb_pg_config_t *config, sb_error_t *err)
{
    sb_buf_t buf = SB_BUF_INIT;
    uint32_t idle = config->idle_in_transaction_ms ? config->idle_in_transaction_ms : 5000;
    uint32_t statement = config->statement_timeout_ms ? config->statement_timeout_ms : 30000;
    sb_buf_printf(&buf, "-c client_min_messages=warning -c idle_in_transaction_session_timeout=%u", idle);
    if (statement != UINT32_MAX)
        sb_buf_printf(&buf, " -c statement_timeout=%u", statement);
    if (config->search_path) {
        sb_buf_add_text(&buf, " -c search_path=");
        add_escaped(&buf, config->search_path);
    }
    if (config->generic_plans)
        sb_buf_add_text(&buf, " -c plan_cache_mode=force_generic_plan");
    add_options_of_uri(&buf, pg->uri);
    if (sb_buf_failed(&buf)) {
        sb_buf_fini(&buf);
        return sb_fail(err, SB_NO_MEMORY, "connect to PostgreSQL: out of memory");
    }
    pg->options = buf.ptr; /* the buffer's memory is the string's from here on */
    return SB_OK;
}

sb_code_t sb_pg_open(sb_pg_t **out, const sb_pg_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_pg_t *pg = calloc(1, sizeof *pg);
    if (!pg)
        return sb_fail(err, SB_NO_MEMORY, "connect to PostgreSQL: out of memory");
    sb_code_t code = SB_NO_MEMORY;
    pg->uri = strdup(config->uri ? config->uri : "");
    pg->application_name = strdup(config->application_name ? config->application_name : "sagabus");
    (void)snprintf(pg->connect_timeout, sizeof pg->connect_timeout, "%u",
                   config->connect_timeout_s ? config->connect_timeout_s : 5);
    if (!pg->uri || !pg->application_name) {
        code = sb_fail(err, SB_NO_MEMORY, "connect to PostgreSQL: out of memory");
        goto cleanup;
    }
    code = make_options(pg, config, err);
    if (code == SB_OK)
        code = connect_now(pg, err);
cleanup:
    if (code != SB_OK) {
        sb_pg_close(&pg);
        return code;
    }
    *out = pg;
    return SB_OK;
}

void sb_pg_close(sb_pg_t **pg)
{
    sb_pg_t *p = *pg;
    if (!p)
        return;
    if (p->conn)
        PQfinish(p->conn);
    free(p->prepared);
    free(p->options);
    free(p->application_name);
    free(p->uri);
    free(p);
    *pg = NULL;
}

sb_code_t sb_pg_reopen(sb_pg_t *pg, sb_error_t *err)
{
    if (pg->conn)
        PQfinish(pg->conn);
    pg->conn = NULL;
    return connect_now(pg, err);
}

bool sb_pg_is_open(const sb_pg_t *pg)
{
    return pg && pg->conn && !pg->dead && PQstatus(pg->conn) == CONNECTION_OK;
}

int sb_pg_socket(const sb_pg_t *pg)
{
    return sb_pg_is_open(pg) ? PQsocket(pg->conn) : -1;
}

struct pg_conn *sb_pg_raw(sb_pg_t *pg)
{
    return pg->conn;
}

bool sb_pg_is_aborted(const sb_pg_t *pg)
{
    return sb_pg_is_open(pg) && PQtransactionStatus(pg->conn) == PQTRANS_INERROR;
}

int sb_pg_backend_pid(const sb_pg_t *pg)
{
    return sb_pg_is_open(pg) ? PQbackendPID(pg->conn) : 0;
}

/* ---- parameters ---- */

static int add_param(sb_pg_params_t *params, uint32_t type, const void *value, size_t length)
{
    assert(params->count < SB_PG_PARAMS_MAX);
    int i = params->count++;
    params->type[i] = type;
    params->value[i] = value;
    params->length[i] = (int)length;
    params->is_small[i] = false;
    return i;
}

static void add_small(sb_pg_params_t *params, uint32_t type, const void *value, size_t length)
{
    int i = add_param(params, type, "", length);
    memcpy(params->small[i], value, length);
    params->is_small[i] = true;
}

static void put_be(uint8_t *out, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> (8 * (bytes - 1 - i)));
}

static void add_integer(sb_pg_params_t *params, uint32_t type, int64_t value, int bytes)
{
    uint8_t image[8];
    put_be(image, (uint64_t)value, bytes);
    add_small(params, type, image, (size_t)bytes);
}

void sb_pg_add_bool(sb_pg_params_t *params, bool value)
{
    add_integer(params, SB_PG_BOOL, value, 1);
}

void sb_pg_add_int2(sb_pg_params_t *params, int16_t value)
{
    add_integer(params, SB_PG_INT2, value, 2);
}

void sb_pg_add_int4(sb_pg_params_t *params, int32_t value)
{
    add_integer(params, SB_PG_INT4, value, 4);
}

void sb_pg_add_int8(sb_pg_params_t *params, int64_t value)
{
    add_integer(params, SB_PG_INT8, value, 8);
}

void sb_pg_add_time(sb_pg_params_t *params, int64_t wall_us)
{
    add_integer(params, SB_PG_TIMESTAMPTZ, wall_us - SB_PG_EPOCH_US, 8);
}

void sb_pg_add_slice(sb_pg_params_t *params, sb_slice_t text)
{
    (void)add_param(params, SB_PG_TEXT, text.ptr, text.len);
}

void sb_pg_add_text(sb_pg_params_t *params, const char *text)
{
    sb_pg_add_slice(params, sb_slice(text));
}

void sb_pg_add_bytea(sb_pg_params_t *params, sb_slice_t bytes)
{
    (void)add_param(params, SB_PG_BYTEA, bytes.ptr, bytes.len);
}

void sb_pg_add_uuid(sb_pg_params_t *params, const sb_uuid_t *id)
{
    if (id)
        add_small(params, SB_PG_UUID, id->byte, sizeof id->byte);
    else
        sb_pg_add_null(params, SB_PG_UUID);
}

void sb_pg_add_null(sb_pg_params_t *params, uint32_t type)
{
    (void)add_param(params, type, NULL, 0);
}

static uint32_t array_type(uint32_t element)
{
    switch (element) {
    case SB_PG_BOOL:
        return 1000;
    case SB_PG_BYTEA:
        return 1001;
    case SB_PG_INT2:
        return 1005;
    case SB_PG_INT4:
        return 1007;
    case SB_PG_TEXT:
        return 1009;
    case SB_PG_INT8:
        return 1016;
    case SB_PG_TIMESTAMPTZ:
        return 1185;
    case SB_PG_UUID:
        return 2951;
    default:
        assert(!"no array of that type");
        return 0;
    }
}

/* The image's head (dimensions, null flag, element type, length, lower bound) is written here, because the
 * count is known only now; the array's buffer keeps room for it. */
#define ARRAY_HEAD 20

void sb_pg_add_array(sb_pg_params_t *params, const sb_pg_array_t *array)
{
    uint8_t *head = (uint8_t *)array->buf.ptr;
    if (sb_pg_array_failed(array)) { /* as a NULL, unnest() would take it for no rows and succeed */
        params->failed = true;
        sb_pg_add_null(params, array_type(array->element));
        return;
    }
    put_be(head, array->count ? 1 : 0, 4);
    put_be(head + 4, array->has_null, 4);
    put_be(head + 8, array->element, 4);
    put_be(head + 12, (uint64_t)array->count, 4);
    put_be(head + 16, 1, 4);
    (void)add_param(params, array_type(array->element), head, array->count ? array->buf.len : 12);
}

/* ---- arrays ---- */

static const char array_head[ARRAY_HEAD];

void sb_pg_array_init(sb_pg_array_t *array, uint32_t element_type)
{
    *array = (sb_pg_array_t){.element = element_type, .buf = SB_BUF_INIT};
    sb_pg_array_reset(array);
}

void sb_pg_array_reset(sb_pg_array_t *array)
{
    array->count = 0;
    array->has_null = false;
    sb_buf_reset(&array->buf);
    sb_buf_add(&array->buf, array_head, ARRAY_HEAD);
}

void sb_pg_array_fini(sb_pg_array_t *array)
{
    sb_buf_fini(&array->buf);
}

bool sb_pg_array_failed(const sb_pg_array_t *array)
{
    return sb_buf_failed(&array->buf);
}

static void add_element(sb_pg_array_t *array, const void *image, size_t length)
{
    sb_buf_add_be32(&array->buf, (uint32_t)length);
    sb_buf_add(&array->buf, image, length);
    array->count++;
}

static void add_integer_element(sb_pg_array_t *array, int64_t value, int bytes)
{
    uint8_t image[8];
    put_be(image, (uint64_t)value, bytes);
    add_element(array, image, (size_t)bytes);
}

void sb_pg_array_add_bool(sb_pg_array_t *array, bool value)
{
    add_integer_element(array, value, 1);
}

void sb_pg_array_add_int2(sb_pg_array_t *array, int16_t value)
{
    add_integer_element(array, value, 2);
}

void sb_pg_array_add_int4(sb_pg_array_t *array, int32_t value)
{
    add_integer_element(array, value, 4);
}

void sb_pg_array_add_int8(sb_pg_array_t *array, int64_t value)
{
    add_integer_element(array, value, 8);
}

void sb_pg_array_add_time(sb_pg_array_t *array, int64_t wall_us)
{
    add_integer_element(array, wall_us - SB_PG_EPOCH_US, 8);
}

void sb_pg_array_add_slice(sb_pg_array_t *array, sb_slice_t bytes)
{
    if (bytes.ptr)
        add_element(array, bytes.ptr, bytes.len);
    else
        sb_pg_array_add_null(array);
}

void sb_pg_array_add_uuid(sb_pg_array_t *array, const sb_uuid_t *id)
{
    if (id)
        add_element(array, id->byte, sizeof id->byte);
    else
        sb_pg_array_add_null(array);
}

void sb_pg_array_add_null(sb_pg_array_t *array)
{
    sb_buf_add_be32(&array->buf, UINT32_MAX);
    array->has_null = true;
    array->count++;
}

/* ---- statements ---- */

static size_t slot_of(const sb_pg_t *pg, const char *sql)
{
    size_t i = ((uintptr_t)sql >> 4) * 2654435761u % pg->prepared_cap;
    while (pg->prepared[i] && pg->prepared[i] != sql)
        i = (i + 1) % pg->prepared_cap;
    return i;
}

static bool is_prepared(const sb_pg_t *pg, const char *sql)
{
    return pg->prepared_cap > 0 && pg->prepared[slot_of(pg, sql)] == sql;
}

/* Makes room for one more, before the server knows of it: else the statement would be prepared twice. */
static bool reserve_prepared(sb_pg_t *pg)
{
    if ((pg->prepared_count + 1) * 2 > pg->prepared_cap) {
        sb_pg_t grown = *pg;
        grown.prepared_cap = pg->prepared_cap ? pg->prepared_cap * 2 : 64;
        grown.prepared = calloc(grown.prepared_cap, sizeof *grown.prepared);
        if (!grown.prepared)
            return false;
        for (size_t i = 0; i < pg->prepared_cap; i++)
            if (pg->prepared[i])
                grown.prepared[slot_of(&grown, pg->prepared[i])] = pg->prepared[i];
        free(pg->prepared);
        pg->prepared = grown.prepared;
        pg->prepared_cap = grown.prepared_cap;
    }
    return true;
}

static void statement_name(const char *sql, char name[24])
{
    (void)snprintf(name, 24, "s%zx", (size_t)(uintptr_t)sql);
}

static sb_code_t broken(sb_error_t *err)
{
    return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection is broken");
}

static sb_code_t ensure_prepared(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_error_t *err)
{
    if (params && params->failed)
        return sb_fail(err, SB_NO_MEMORY, "PostgreSQL: out of memory for a parameter");
    if (is_prepared(pg, sql))
        return SB_OK;
    if (!reserve_prepared(pg))
        return sb_fail(err, SB_NO_MEMORY, "prepare a statement: out of memory");
    char name[24];
    statement_name(sql, name);
    PGresult *result =
        PQprepare(pg->conn, name, sql, params ? params->count : 0, params ? params->type : NULL);
    sb_code_t code = SB_OK;
    if (PQresultStatus(result) != PGRES_COMMAND_OK) {
        code = sb_pg_result_error(pg, result, false, err);
    } else {
        pg->prepared[slot_of(pg, sql)] = sql;
        pg->prepared_count++;
    }
    PQclear(result);
    return code;
}

typedef struct bound {
    const char *value[SB_PG_PARAMS_MAX];
    int format[SB_PG_PARAMS_MAX];
} bound_t;

static void bind_params(const sb_pg_params_t *params, bound_t *bound)
{
    for (int i = 0; params && i < params->count; i++) {
        bound->value[i] = params->is_small[i] ? params->small[i] : params->value[i];
        bound->format[i] = 1;
    }
}

static bool is_success(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

sb_code_t sb_pg_query(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_pg_result_t **out,
                      sb_error_t *err)
{
    if (out)
        *out = NULL;
    if (!sb_pg_is_open(pg))
        return broken(err);
    sb_code_t code = ensure_prepared(pg, sql, params, err);
    if (code != SB_OK)
        return code;
    char name[24];
    bound_t bound;
    statement_name(sql, name);
    bind_params(params, &bound);
    bool autocommit = PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
    PGresult *result = PQexecPrepared(pg->conn, name, params ? params->count : 0, bound.value,
                                      params ? params->length : NULL, bound.format, 1);
    if (!is_success(result))
        code = sb_pg_result_error(pg, result, autocommit, err);
    if (code == SB_OK && out)
        *out = (sb_pg_result_t *)result;
    else
        PQclear(result);
    return code;
}

static sb_code_t run_text(sb_pg_t *pg, const char *sql, bool may_commit, sb_error_t *err)
{
    if (!sb_pg_is_open(pg))
        return broken(err);
    PGresult *result = PQexec(pg->conn, sql);
    sb_code_t code = SB_OK;
    if (!is_success(result) && PQresultStatus(result) != PGRES_EMPTY_QUERY)
        code = sb_pg_result_error(pg, result, may_commit, err);
    PQclear(result);
    return code;
}

sb_code_t sb_pg_script(sb_pg_t *pg, const char *sql, sb_error_t *err)
{
    return run_text(pg, sql, PQtransactionStatus(pg->conn) == PQTRANS_IDLE, err);
}

sb_code_t sb_pg_begin(sb_pg_t *pg, sb_error_t *err)
{
    return run_text(pg, "BEGIN", false, err);
}

sb_code_t sb_pg_commit(sb_pg_t *pg, sb_error_t *err)
{
    if (!sb_pg_is_open(pg))
        return broken(err);
    PGresult *result = PQexec(pg->conn, "COMMIT");
    sb_code_t code = SB_OK;
    if (!is_success(result))
        code = sb_pg_result_error(pg, result, true, err);
    else if (strcmp(PQcmdStatus(result), "ROLLBACK") == 0) /* the transaction had already failed */
        code = sb_fail(err, SB_INTERNAL, "PostgreSQL: commit of a failed transaction was rolled back");
    PQclear(result);
    return code;
}

void sb_pg_rollback(sb_pg_t *pg)
{
    if (!sb_pg_is_open(pg) || PQtransactionStatus(pg->conn) == PQTRANS_IDLE)
        return;
    PQclear(PQexec(pg->conn, "ROLLBACK"));
}

/* ---- batches ---- */

void sb_pg_batch_add(sb_pg_batch_t *batch, const char *sql, const sb_pg_params_t *params)
{
    assert(batch->count < SB_PG_BATCH_MAX);
    batch->sql[batch->count] = sql;
    batch->params[batch->count] = params;
    batch->count++;
}

static bool send_batch(sb_pg_t *pg, const sb_pg_batch_t *batch)
{
    for (int i = 0; i < batch->count; i++) {
        const sb_pg_params_t *params = batch->params[i];
        char name[24];
        bound_t bound;
        statement_name(batch->sql[i], name);
        bind_params(params, &bound);
        if (!PQsendQueryPrepared(pg->conn, name, params ? params->count : 0, bound.value,
                                 params ? params->length : NULL, bound.format, 1))
            return false;
    }
    return PQpipelineSync(pg->conn) == 1;
}

/* Reads the results up to the sync point. Returns the index of the first failure in *failed_at. */
static sb_code_t read_batch(sb_pg_t *pg, const sb_pg_batch_t *batch, sb_pg_result_t **results, int *failed_at,
                            sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < batch->count; i++) {
        PGresult *result = PQgetResult(pg->conn);
        ExecStatusType status = PQresultStatus(result);
        if (!result || (!is_success(result) && status != PGRES_PIPELINE_ABORTED)) {
            if (code == SB_OK) {
                code = sb_pg_result_error(pg, result, true, err);
                *failed_at = sb_pg_is_open(pg) ? i : -1;
            }
        }
        if (code == SB_OK && results)
            results[i] = (sb_pg_result_t *)result;
        else
            PQclear(result);
        if (result)
            PQclear(PQgetResult(pg->conn)); /* the NULL after each statement */
        if (!sb_pg_is_open(pg))
            break;
    }
    return code;
}

/* The sync's own answer says that the implicit transaction committed. A COMMIT that fails (a deferred
 * constraint, a lost connection) arrives here: as an error, a NULL, and then the sync, which must be read
 * too, or the connection stays in the pipeline. */
static sb_code_t read_sync(sb_pg_t *pg, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    int nulls = 0;
    while (!pg->dead) {
        PGresult *result = PQgetResult(pg->conn);
        ExecStatusType status = PQresultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            PQclear(result);
            return code;
        }
        if (!result && ++nulls > 1)
            pg->dead = true; /* out of step with libpq */
        if (code == SB_OK && (result || pg->dead))
            code = sb_pg_result_error(pg, result, true, err);
        PQclear(result);
    }
    return code;
}

sb_code_t sb_pg_batch_run(sb_pg_t *pg, const sb_pg_batch_t *batch, sb_pg_result_t **results, int *failed_at,
                          sb_error_t *err)
{
    int ignored;
    if (!failed_at)
        failed_at = &ignored;
    *failed_at = -1;
    for (int i = 0; results && i < batch->count; i++)
        results[i] = NULL;
    if (!sb_pg_is_open(pg))
        return broken(err);
    for (int i = 0; i < batch->count; i++) {
        sb_code_t code = ensure_prepared(pg, batch->sql[i], batch->params[i], err);
        if (code != SB_OK) {
            *failed_at = i;
            return code;
        }
    }
    if (!PQenterPipelineMode(pg->conn))
        return sb_pg_result_error(pg, NULL, false, err);
    sb_code_t code = SB_OK;
    if (!send_batch(pg, batch))
        code = sb_pg_result_error(pg, NULL, true, err);
    if (code == SB_OK) {
        code = read_batch(pg, batch, results, failed_at, err);
        if (sb_pg_is_open(pg)) {
            sb_code_t sync = read_sync(pg, code == SB_OK ? err : NULL);
            if (code == SB_OK)
                code = sync;
        }
    }
    if (sb_pg_is_open(pg) && !PQexitPipelineMode(pg->conn))
        pg->dead = true;
    if (code != SB_OK && results) {
        for (int i = 0; i < batch->count; i++) {
            sb_pg_result_free(results[i]);
            results[i] = NULL;
        }
    }
    return code;
}

/* ---- results ---- */

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
