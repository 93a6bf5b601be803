/* sagabus-chaos-http-service NAME: one service of the chaos test, over HTTP. It has nothing of the library:
 * the barrier is that of docs/contract.md, statement by statement, by libpq alone, so that calls which
 * overlap (a command that was given up and its undo, the same command twice) meet in its rows.
 *
 * By chance a call is broken off after its commit, in the middle of its answer, or not taken ("come again").
 * After SIGUSR1 the process dies in its next call: before the transaction, before the commit, or after it and
 * before the answer.
 *
 * Settings: SAGABUS_PG, SB_CHAOS_PORT, SB_CHAOS_CALLS (a file: calls.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/books.h"
#include "tests/chaos/calls.h"
#include "tests/support/http_peer.h"

#include <libpq-fe.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANG_UP_PER_MILLE 15
#define HALF_PER_MILLE    10
#define BUSY_PER_MILLE    10
#define POOL_MAX          64

static volatile sig_atomic_t stopping, must_die;
static chaos_calls_t *calls;

static void on_stop(int number)
{
    (void)number;
    stopping = 1;
}

static void on_die(int number)
{
    (void)number;
    must_die = 1;
}

/* ---- dying ---- */

typedef enum place { BEFORE_ALL, BEFORE_COMMIT, AFTER_COMMIT } place_t;

/* SIGALRM without a handler ends the process on the spot; the test knows by it who died of its own accord. */
static void die_here(place_t here, place_t chosen)
{
    if (must_die && here >= chosen)
        (void)raise(SIGALRM);
}

/* ---- connections ---- */

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static PGconn *pool[POOL_MAX];
static int pooled;

static PGconn *take_connection(void)
{
    PGconn *conn = NULL;
    (void)pthread_mutex_lock(&pool_lock);
    if (pooled > 0)
        conn = pool[--pooled];
    (void)pthread_mutex_unlock(&pool_lock);
    if (conn)
        return conn;
    conn = PQconnectdb(getenv("SAGABUS_PG"));
    PGresult *path = PQexec(conn, "SET search_path = service");
    PQclear(path);
    return conn;
}

/* One that is broken, or stands in a transaction, is not used again. */
static void put_connection(PGconn *conn)
{
    bool well = PQstatus(conn) == CONNECTION_OK && PQtransactionStatus(conn) == PQTRANS_IDLE;
    (void)pthread_mutex_lock(&pool_lock);
    if (well && pooled < POOL_MAX) {
        pool[pooled++] = conn;
        conn = NULL;
    }
    (void)pthread_mutex_unlock(&pool_lock);
    PQfinish(conn);
}

/* ---- the barrier of docs/contract.md ---- */

static const char insert_sql[] = "INSERT INTO barrier (command_id, saga_id, step, direction, outcome) VALUES "
                                 "($1, $2, $3, $4, $5) ON CONFLICT (command_id) DO NOTHING";
static const char find_sql[] = "SELECT outcome, error FROM barrier WHERE command_id = $1";
static const char keep_sql[] =
    "UPDATE barrier SET outcome = $2, reply = '{}', error = $3 WHERE command_id = $1";

typedef struct call {
    PGconn *conn;
    sb_command_t command;
    char id[SB_UUID_TEXT], saga_id[SB_UUID_TEXT], forward_id[SB_UUID_TEXT], step[64];
    bool forward_completed;
    place_t dies;
    sb_reply_t reply;
} call_t;

static bool simple(call_t *call, const char *sql)
{
    PGresult *result = PQexec(call->conn, sql);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    PQclear(result);
    return ok;
}

static bool change(call_t *call, const char *sql, int count, const char *const *values, int *rows)
{
    PGresult *result = PQexecParams(call->conn, sql, count, NULL, values, NULL, NULL, 0);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    *rows = ok ? atoi(PQcmdTuples(result)) : 0;
    PQclear(result);
    return ok;
}

static bool insert(call_t *call, const char *id, const char *direction, const char *outcome, int *rows)
{
    const char *values[] = {id, call->saga_id, call->step, direction, outcome};
    return change(call, insert_sql, 5, values, rows);
}

static bool find(call_t *call, const char *id, char outcome[16], char *error, size_t size)
{
    const char *values[] = {id};
    PGresult *result = PQexecParams(call->conn, find_sql, 1, NULL, values, NULL, NULL, 0);
    bool ok = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1;
    (void)snprintf(outcome, 16, "%s", ok ? PQgetvalue(result, 0, 0) : "");
    if (error)
        (void)snprintf(error, size, "%s", ok ? PQgetvalue(result, 0, 1) : "");
    PQclear(result);
    return ok;
}

static bool keep_and_commit(call_t *call, sb_reply_outcome_t outcome, const char *error)
{
    int rows = 0;
    const char *values[] = {call->id, outcome == SB_REPLY_SUCCESS ? "success" : "failure", error};
    if (!change(call, keep_sql, 3, values, &rows) || rows != 1)
        return false;
    die_here(BEFORE_COMMIT, call->dies);
    if (!simple(call, "COMMIT"))
        return false;
    call->reply.outcome = outcome;
    return true;
}

static bool answer_known(call_t *call)
{
    char outcome[16];
    if (!find(call, call->id, outcome, call->reply.error, sizeof call->reply.error) ||
        !simple(call, "COMMIT"))
        return false;
    bool success = strcmp(outcome, "success") == 0;
    call->reply.outcome = success ? SB_REPLY_SUCCESS : SB_REPLY_FAILURE;
    if (strcmp(outcome, "voided") == 0)
        (void)snprintf(call->reply.error, sizeof call->reply.error, "voided by its undo");
    atomic_fetch_add(&calls->known, 1);
    return true;
}

static bool do_the_work(call_t *call)
{
    sb_reply_t said = {.outcome = SB_REPLY_ERROR};
    if (!simple(call, "SAVEPOINT work"))
        return false;
    chaos_books_handle(call->conn, &call->command, &said);
    if (said.outcome == SB_REPLY_SUCCESS)
        return keep_and_commit(call, SB_REPLY_SUCCESS, NULL);
    (void)snprintf(call->reply.error, sizeof call->reply.error, "%s", said.error);
    if (said.outcome == SB_REPLY_ERROR || call->command.compensate)
        return false;
    return simple(call, "ROLLBACK TO SAVEPOINT work") && keep_and_commit(call, SB_REPLY_FAILURE, said.error);
}

static bool carry_out(call_t *call)
{
    int rows = 0;
    char forward[16] = "success";
    bool undo = call->command.compensate;
    if (!simple(call, "BEGIN") || !insert(call, call->id, undo ? "compensate" : "forward", "success", &rows))
        return false;
    if (rows == 0)
        return answer_known(call);
    if (undo && !insert(call, call->forward_id, "forward", "voided", &rows))
        return false;
    if (undo && rows == 1) { /* the command was never here */
        if (call->forward_completed)
            (void)snprintf(call->reply.error, sizeof call->reply.error,
                           "it is said to be done and is not known");
        return !call->forward_completed && keep_and_commit(call, SB_REPLY_SUCCESS, NULL);
    }
    if (undo && !find(call, call->forward_id, forward, NULL, 0))
        return false;
    if (strcmp(forward, "success") != 0) /* nothing to undo */
        return keep_and_commit(call, SB_REPLY_SUCCESS, NULL);
    return do_the_work(call);
}

/* ---- HTTP ---- */

static bool read_id(const sb_peer_request_t *request, const char *name, char text[SB_UUID_TEXT],
                    sb_uuid_t *id)
{
    sb_slice_t value = sb_peer_header(request, name);
    (void)snprintf(text, SB_UUID_TEXT, "%.*s", value.ptr ? (int)value.len : 0, value.ptr ? value.ptr : "");
    return value.ptr && sb_uuid_parse(value.ptr, value.len, id);
}

static bool read_call(const sb_peer_request_t *request, call_t *call)
{
    sb_command_t *command = &call->command;
    sb_slice_t type = sb_peer_header(request, "ce-type"), step = sb_peer_header(request, "ce-sagastep");
    const char *dot = type.ptr ? memchr(type.ptr, '.', type.len) : NULL;
    if (!dot || !step.ptr || !read_id(request, "ce-id", call->id, &command->id) ||
        !read_id(request, "ce-sagaid", call->saga_id, &command->saga_id))
        return false;
    command->type = type;
    command->action = (sb_slice_t){dot + 1, type.len - (size_t)(dot + 1 - type.ptr)};
    command->step = step;
    command->input = request->body;
    command->compensate = sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "compensate");
    call->forward_completed = sb_slice_is(sb_peer_header(request, "ce-sagaforward"), "completed");
    (void)snprintf(call->step, sizeof call->step, "%.*s", SB_SLICE_ARG(step));
    return !command->compensate ||
           read_id(request, "ce-sagaforwardid", call->forward_id, &command->forward_id);
}

static void write_error(sb_peer_answer_t *out, const char *outcome, const char *error)
{
    size_t used = (size_t)snprintf(out->headers, sizeof out->headers, "%sce-sagaerror: ", outcome);
    for (; *error && used < sizeof out->headers - 16; error++) {
        bool plain = (*error >= '0' && *error <= '9') || (*error >= 'A' && *error <= 'z');
        used += (size_t)snprintf(out->headers + used, sizeof out->headers - used, plain ? "%c" : "%%%02X",
                                 (unsigned char)*error);
    }
    (void)snprintf(out->headers + used, sizeof out->headers - used, "\r\n");
}

static void write_answer(const call_t *call, sb_peer_answer_t *out)
{
    if (call->reply.outcome == SB_REPLY_SUCCESS) {
        (void)snprintf(out->headers, sizeof out->headers, "Content-Type: application/json\r\n");
        sb_buf_add_text(&out->body, "{\"ok\":true}");
    } else if (call->reply.outcome == SB_REPLY_FAILURE) {
        out->status = 409;
        write_error(out, "ce-sagaoutcome: failure\r\n", call->reply.error);
    } else {
        out->status = 500;
        write_error(out, "", call->reply.error[0] ? call->reply.error : "not now");
    }
}

/* True: the call is over as far as its caller is concerned. */
static bool break_off(sb_peer_answer_t *out)
{
    if (chaos_books_chance(HANG_UP_PER_MILLE))
        out->how = SB_PEER_HANG_UP;
    else if (out->body.len > 0 && chaos_books_chance(HALF_PER_MILLE))
        out->how = SB_PEER_HALF;
    return out->how != SB_PEER_ANSWER;
}

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *out)
{
    call_t call = {.dies = (place_t)chaos_books_below(AFTER_COMMIT + 1), .reply.outcome = SB_REPLY_ERROR};
    (void)context;
    atomic_fetch_add(&calls->taken, 1);
    die_here(BEFORE_ALL, call.dies);
    if (!must_die && chaos_books_chance(BUSY_PER_MILLE)) {
        out->status = 503;
        (void)snprintf(out->headers, sizeof out->headers, "Retry-After: 1\r\n");
        atomic_fetch_add(&calls->refused, 1);
        atomic_fetch_add(&calls->answered, 1);
        return;
    }
    call.conn = take_connection();
    if (!read_call(request, &call))
        out->status = 400;
    else if (!carry_out(&call))
        (void)simple(&call, "ROLLBACK");
    put_connection(call.conn);
    die_here(AFTER_COMMIT, call.dies);
    chaos_books_dawdle();
    if (out->status == 0)
        write_answer(&call, out);
    if (!break_off(out))
        atomic_fetch_add(&calls->answered, 1);
}

int main(int argc, char **argv)
{
    const char *port = getenv("SB_CHAOS_PORT"), *file = getenv("SB_CHAOS_CALLS");
    if (argc != 2 || !port || !file)
        return 2;
    chaos_books_seed();
    calls = chaos_calls_map(file);
    if (!calls) {
        (void)fprintf(stderr, "%s: %s cannot be mapped\n", argv[1], file);
        return 1;
    }
    struct sigaction stop = {.sa_handler = on_stop}, die = {.sa_handler = on_die, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGUSR1, &die, NULL);
    sb_peer_t *peer = sb_peer_start(atoi(port), play, NULL);
    while (!stopping)
        (void)usleep(20000);
    sb_peer_stop(&peer);
    return 0;
}
