/* pg - one PostgreSQL connection: prepared statements with binary parameters and results, pipelines, COPY.
 *
 * The only door to libpq (with the other pg_*.c). Statements are prepared at their first use on a
 * connection, under a name made from their text's address, so SQL must be static text (the embedded files).
 * SQLSTATEs are translated in pg_error.c alone: classes 08, 40, 53, 55P03, 57P0x are retryable, 23505 is
 * SB_CONFLICT; err->origin keeps "pg:SQLSTATE".
 *
 * A connection that broke answers SB_UNAVAILABLE, or SB_UNKNOWN_OUTCOME when a commit may have happened;
 * sb_pg_reopen makes it usable again. Nothing is retried in here.
 *
 * Thread: a connection belongs to one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_PG_H
#define SB_BASE_PG_H

#include "base/buf.h"
#include "sagabus/id.h"

#include <stdint.h>

typedef struct sb_pg sb_pg_t;
typedef struct sb_pg_result sb_pg_result_t; /* owned by whoever got it; sb_pg_result_free */

typedef struct sb_pg_config {
    const char *uri; /* borrowed; libpq URI or keyword string. Of several hosts the primary is taken, unless
                        it says target_session_attrs itself */
    bool standby_will_do;         /* of several hosts any is taken: for who reads what may be a little old */
    const char *application_name; /* shown in pg_stat_activity and by doctor; NULL: "sagabus" */
    const char *search_path;      /* NULL: the role's */
    uint32_t connect_timeout_s;   /* 0: 5 */
    uint32_t idle_in_transaction_ms; /* server frees a stopped client's locks; 0: 5000 */
    uint32_t statement_timeout_ms;   /* 0: 30000; UINT32_MAX: none */
    bool generic_plans; /* plan_cache_mode=force_generic_plan, for hot paths whose plan must not flip; nor
                           is it compiled (jit=off) */
    bool counts_uses;   /* for sb_pg_uses */
} sb_pg_config_t;

/* Connects; blocks up to the connect timeout. The caller owns *out. */
SB_MUST_CHECK sb_code_t sb_pg_open(sb_pg_t **out, const sb_pg_config_t *config, sb_error_t *err);
void sb_pg_close(sb_pg_t **pg); /* NULL is fine; sets NULL */

/* From here on a commit of this connection is answered when it is on disk, whatever the role's default is
 * (synchronous_commit); to be said again after sb_pg_reopen. */
SB_MUST_CHECK sb_code_t sb_pg_commit_durably(sb_pg_t *pg, sb_error_t *err);

/* Drops the old connection and connects again with the same settings. */
SB_MUST_CHECK sb_code_t sb_pg_reopen(sb_pg_t *pg, sb_error_t *err);
bool sb_pg_is_open(const sb_pg_t *pg);
int sb_pg_socket(const sb_pg_t *pg); /* for poll(); -1 when broken */
int sb_pg_backend_pid(const sb_pg_t *pg);

/* Whether anything was notified (NOTIFY) since the last call, on channels that this connection LISTENs to.
 * look: reads what waits on the socket first, which poll() said is readable; what it reads may also be the
 * end of the connection (sb_pg_is_open). Does not block. */
bool sb_pg_notified(sb_pg_t *pg, bool look);

/* libpq's own handle, borrowed until the next reopen: for handlers of the public library, which run their own
 * statements on it. Nobody else needs it. */
struct pg_conn *sb_pg_raw(sb_pg_t *pg);

/* How many results this connection has had, whoever asked for them: whether somebody that sb_pg_raw was given
 * to did anything with it. Only with counts_uses; grows. */
uint64_t sb_pg_uses(const sb_pg_t *pg);

/* Whether a statement of the open transaction failed, so that only a rollback will do. */
bool sb_pg_is_aborted(const sb_pg_t *pg);
bool sb_pg_is_in_transaction(const sb_pg_t *pg); /* a failed one, too */

/* ---- parameters ---- */

/* Types of parameters and array elements: PostgreSQL's OIDs. */
enum {
    SB_PG_BOOL = 16,
    SB_PG_BYTEA = 17,
    SB_PG_INT8 = 20,
    SB_PG_INT2 = 21,
    SB_PG_INT4 = 23,
    SB_PG_TEXT = 25,
    SB_PG_DATE = 1082, /* as int4: days since 2000-01-01 */
    SB_PG_JSONB = 3802,
    SB_PG_TIMESTAMPTZ = 1184,
    SB_PG_UUID = 2950
};

#define SB_PG_PARAMS_MAX 32

/* A list of binary parameters, filled in order: $1, $2, … It copies what it is given, except the content of
 * arrays, bytea and text, which it borrows until the call that uses it returns. */
typedef struct sb_pg_params {
    int count;
    uint32_t type[SB_PG_PARAMS_MAX];
    const char *value[SB_PG_PARAMS_MAX];
    int length[SB_PG_PARAMS_MAX];
    char small[SB_PG_PARAMS_MAX][16];
    bool is_small[SB_PG_PARAMS_MAX];
    bool failed; /* an array that ran out of memory: every use of the list is SB_NO_MEMORY */
} sb_pg_params_t;

#define SB_PG_PARAMS_INIT                                                                                    \
    {                                                                                                        \
        .count = 0                                                                                           \
    }

typedef struct sb_pg_array sb_pg_array_t;

void sb_pg_add_bool(sb_pg_params_t *params, bool value);
void sb_pg_add_int2(sb_pg_params_t *params, int16_t value);
void sb_pg_add_int4(sb_pg_params_t *params, int32_t value);
void sb_pg_add_int8(sb_pg_params_t *params, int64_t value);
void sb_pg_add_date(sb_pg_params_t *params, int32_t days);     /* since 2000-01-01 */
void sb_pg_add_text(sb_pg_params_t *params, const char *text); /* NULL: SQL NULL */
void sb_pg_add_slice(sb_pg_params_t *params, sb_slice_t text); /* as text; absent: SQL NULL */
void sb_pg_add_bytea(sb_pg_params_t *params, sb_slice_t bytes);
void sb_pg_add_uuid(sb_pg_params_t *params, const sb_uuid_t *id); /* NULL: SQL NULL */
void sb_pg_add_time(sb_pg_params_t *params, int64_t wall_us);
void sb_pg_add_null(sb_pg_params_t *params, uint32_t type);
void sb_pg_add_array(sb_pg_params_t *params, const sb_pg_array_t *array);
/* The same, but without elements when all are NULL: for unnest() beside longer arrays, which fills up with
 * NULL. */
void sb_pg_add_sparse_array(sb_pg_params_t *params, const sb_pg_array_t *array);

/* One-dimensional binary array under construction, for unnest(). Reused between batches by reset. */
struct sb_pg_array {
    uint32_t element;
    int32_t count, null_count;
    sb_buf_t buf;
};

void sb_pg_array_init(sb_pg_array_t *array, uint32_t element_type);
void sb_pg_array_reset(sb_pg_array_t *array);
void sb_pg_array_fini(sb_pg_array_t *array);
bool sb_pg_array_failed(const sb_pg_array_t *array);
void sb_pg_array_add_bool(sb_pg_array_t *array, bool value);
void sb_pg_array_add_int2(sb_pg_array_t *array, int16_t value);
void sb_pg_array_add_int4(sb_pg_array_t *array, int32_t value);
void sb_pg_array_add_int8(sb_pg_array_t *array, int64_t value);
void sb_pg_array_add_slice(sb_pg_array_t *array, sb_slice_t bytes);   /* text or bytea; absent: NULL */
void sb_pg_array_add_uuid(sb_pg_array_t *array, const sb_uuid_t *id); /* NULL: NULL */
void sb_pg_array_add_time(sb_pg_array_t *array, int64_t wall_us);
void sb_pg_array_add_null(sb_pg_array_t *array);

/* ---- statements ---- */

/* Runs one statement in its own transaction, or in the open one. params NULL: none. out NULL: result dropped.
 * *out is owned by the caller. */
SB_MUST_CHECK sb_code_t sb_pg_query(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params,
                                    sb_pg_result_t **out, sb_error_t *err);

/* The same, and calls on_sent once the statement is on its way, while the server is at work; not when it
 * could not be sent. on_sent does not use the connection. */
SB_MUST_CHECK sb_code_t sb_pg_query_beside(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params,
                                           void (*on_sent)(void *context), void *context,
                                           sb_pg_result_t **out, sb_error_t *err);

/* The same without preparing it: for statements that are made for one use (sql need not be static), so that
 * however many different ones there are, neither side keeps them. */
SB_MUST_CHECK sb_code_t sb_pg_query_once(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params,
                                         sb_pg_result_t **out, sb_error_t *err);

/* Several statements as text in one go (migrations, BEGIN, test fixtures); results are dropped. */
SB_MUST_CHECK sb_code_t sb_pg_script(sb_pg_t *pg, const char *sql, sb_error_t *err);

/* Forgets a statement that was prepared here, so that its text may be freed. False: the server could not be
 * told, and the text must stay as long as the connection. */
bool sb_pg_forget(sb_pg_t *pg, const char *sql);

SB_MUST_CHECK sb_code_t sb_pg_begin(sb_pg_t *pg, sb_error_t *err);
/* SB_UNKNOWN_OUTCOME when the connection broke after COMMIT was sent. */
SB_MUST_CHECK sb_code_t sb_pg_commit(sb_pg_t *pg, sb_error_t *err);
void sb_pg_rollback(sb_pg_t *pg); /* best effort */

/* ---- a batch: several prepared statements, one round trip, one implicit transaction ---- */

#define SB_PG_BATCH_MAX 20

typedef struct sb_pg_batch {
    int count;
    const char *sql[SB_PG_BATCH_MAX];
    const sb_pg_params_t *params[SB_PG_BATCH_MAX]; /* borrowed until the run returns */
} sb_pg_batch_t;

void sb_pg_batch_add(sb_pg_batch_t *batch, const char *sql, const sb_pg_params_t *params);

/* All or nothing. results: room for batch->count owned pointers, or NULL. On failure none is set and
 * *failed_at (may be NULL) is the index of the statement that failed, -1 when the connection broke, which is
 * SB_UNKNOWN_OUTCOME unless the server could still say that it ended the session before the commit. */
SB_MUST_CHECK sb_code_t sb_pg_batch_run(sb_pg_t *pg, const sb_pg_batch_t *batch, sb_pg_result_t **results,
                                        int *failed_at, sb_error_t *err);

/* The same, and calls on_sent once all of it is on its way, while the server is at work; not when it could
 * not be sent. on_sent does not use the connection; it may change what the parameters are made of. */
SB_MUST_CHECK sb_code_t sb_pg_batch_run_beside(sb_pg_t *pg, const sb_pg_batch_t *batch,
                                               void (*on_sent)(void *context), void *context,
                                               sb_pg_result_t **results, int *failed_at, sb_error_t *err);

/* ---- results (binary) ---- */

void sb_pg_result_free(sb_pg_result_t *result); /* NULL is fine */
int sb_pg_rows(const sb_pg_result_t *result);
int64_t sb_pg_affected(const sb_pg_result_t *result); /* rows touched by INSERT, UPDATE, DELETE */
bool sb_pg_is_null(const sb_pg_result_t *result, int row, int column);
bool sb_pg_get_bool(const sb_pg_result_t *result, int row, int column);
int64_t sb_pg_get_int(const sb_pg_result_t *result, int row, int column);      /* int2, int4, int8 */
sb_slice_t sb_pg_get_slice(const sb_pg_result_t *result, int row, int column); /* borrowed from result */
const char *sb_pg_get_text(const sb_pg_result_t *result, int row, int column); /* NUL-ended; NULL for NULL */
sb_uuid_t sb_pg_get_uuid(const sb_pg_result_t *result, int row, int column);
int64_t sb_pg_get_time(const sb_pg_result_t *result, int row, int column); /* wall microseconds; NULL: 0 */

/* ---- COPY (pg_copy.c) ---- */

/* One row of COPY … TO STDOUT BINARY; fields are borrowed for the call. Return not SB_OK to stop. */
typedef sb_code_t (*sb_pg_copy_row_fn)(void *context, const sb_slice_t *fields, int count, sb_error_t *err);

/* Runs `COPY … TO STDOUT (FORMAT BINARY)` and calls on_row for each row. sql may be built text. */
SB_MUST_CHECK sb_code_t sb_pg_copy_out(sb_pg_t *pg, const char *sql, sb_pg_copy_row_fn on_row, void *context,
                                       sb_error_t *err);

/* COPY … FROM STDIN (FORMAT BINARY): start, then any number of rows appended by sb_pg_copy_row + field
 * writers to a buffer and flushed, then end. */
SB_MUST_CHECK sb_code_t sb_pg_copy_in_start(sb_pg_t *pg, const char *sql, sb_error_t *err);
void sb_pg_copy_row(sb_buf_t *rows, int field_count);
void sb_pg_copy_null(sb_buf_t *rows);
void sb_pg_copy_int4(sb_buf_t *rows, int32_t value);
void sb_pg_copy_int8(sb_buf_t *rows, int64_t value);
void sb_pg_copy_bool(sb_buf_t *rows, bool value);
void sb_pg_copy_bytes(sb_buf_t *rows, sb_slice_t value); /* text, bytea, any binary image */
void sb_pg_copy_time(sb_buf_t *rows, int64_t wall_us);
SB_MUST_CHECK sb_code_t sb_pg_copy_in_send(sb_pg_t *pg, sb_buf_t *rows, sb_error_t *err); /* resets rows */
SB_MUST_CHECK sb_code_t sb_pg_copy_in_end(sb_pg_t *pg, int64_t *row_count, sb_error_t *err);

/* Microseconds between 1970 and PostgreSQL's epoch, 2000-01-01: of what its image of a time counts. */
#define SB_PG_EPOCH_US 946684800000000LL

/* Readers of binary field images, big-endian; for copy_out rows. */
int64_t sb_pg_read_int(sb_slice_t field); /* 2, 4 or 8 bytes */
int64_t sb_pg_read_time(sb_slice_t field);

/* Quotes an identifier into buf, for the few statements whose table names are data (views). */
void sb_pg_quote_name(sb_buf_t *buf, sb_slice_t name);

#endif
