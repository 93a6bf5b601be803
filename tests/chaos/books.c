/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/books.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ERROR_PER_MILLE 20
#define SLOW_PER_MILLE  1
#define SLOW_MS         1800 /* longer than a step's timeout */

typedef struct action {
    const char *name;
    bool compensate;
    int delta;       /* of the books, in amounts */
    const char *sql; /* $1 account, $2 amount; touches one row, or the books do not allow it */
} action_t;

#define OF_ACCOUNT " WHERE name = $1"
static const action_t actions[] = {
    {"look", false, 0, NULL},
    {"take", false, -1,
     "UPDATE account SET balance = balance - $2::bigint" OF_ACCOUNT " AND balance >= $2::bigint"},
    {"give_back", true, 1, "UPDATE account SET balance = balance + $2::bigint" OF_ACCOUNT},
    {"give", false, 1, "UPDATE account SET balance = balance + $2::bigint" OF_ACCOUNT},
    {"take_back", true, -1, "UPDATE account SET balance = balance - $2::bigint" OF_ACCOUNT},
    {"hold", false, 0,
     "UPDATE account SET balance = balance - $2::bigint, hold = hold + $2::bigint" OF_ACCOUNT
     " AND balance >= $2::bigint"},
    {"release", true, 0,
     "UPDATE account SET balance = balance + $2::bigint, hold = hold - $2::bigint" OF_ACCOUNT
     " AND hold >= $2::bigint"},
    {"settle", false, -1, "UPDATE account SET hold = hold - $2::bigint" OF_ACCOUNT " AND hold >= $2::bigint"},
    {"note", false, 0, "UPDATE account SET balance = balance" OF_ACCOUNT " AND $2::bigint > 0"},
    {"unnote", true, 0, "UPDATE account SET balance = balance" OF_ACCOUNT " AND $2::bigint > 0"},
};

static atomic_uint next_seed;

void chaos_books_seed(void)
{
    const char *given = getenv("SB_CHAOS_SEED");
    atomic_store(&next_seed, (given ? (unsigned)strtoul(given, NULL, 10) : 1) + (unsigned)getpid());
}

int chaos_books_below(int count)
{
    static _Thread_local unsigned seed;
    if (seed == 0)
        seed = atomic_fetch_add(&next_seed, 7919) | 1u;
    return rand_r(&seed) % count;
}

bool chaos_books_chance(int per_mille)
{
    return chaos_books_below(1000) < per_mille;
}

static bool say(sb_reply_t *reply, sb_reply_outcome_t outcome, const char *text)
{
    reply->outcome = outcome;
    (void)snprintf(reply->error, sizeof reply->error, "%s", text);
    return false;
}

static bool run(PGconn *conn, const char *sql, int count, const char *const *values, sb_reply_t *reply,
                int *rows)
{
    PGresult *result = PQexecParams(conn, sql, count, NULL, values, NULL, NULL, 0);
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    *rows = ok ? atoi(PQcmdTuples(result)) : 0;
    if (!ok)
        (void)say(reply, SB_REPLY_ERROR, PQresultErrorMessage(result));
    PQclear(result);
    return ok;
}

static bool note_effect(PGconn *conn, const sb_command_t *command, int64_t delta, sb_reply_t *reply)
{
    char id[SB_UUID_TEXT], step[64], text[24];
    int rows = 0;
    (void)snprintf(step, sizeof step, "%.*s", (int)command->step.len, command->step.ptr);
    (void)snprintf(text, sizeof text, "%lld", (long long)delta);
    const char *values[] = {sb_uuid_format(&command->saga_id, id), step,
                            command->compensate ? "true" : "false", text};
    return run(conn,
               "INSERT INTO effect (saga_id, step, compensate, delta) VALUES ($1::uuid, $2, $3::boolean, "
               "$4::bigint)",
               4, values, reply, &rows) &&
           rows == 1;
}

static bool act(PGconn *conn, const sb_command_t *command, const action_t *action, json_t *input,
                sb_reply_t *reply)
{
    char amount[24];
    int rows = 0;
    const char *account = json_string_value(json_object_get(input, "account"));
    long long value = json_integer_value(json_object_get(input, "amount"));
    if (!account || value <= 0)
        return say(reply, SB_REPLY_ERROR, "account and amount are missing");
    (void)snprintf(amount, sizeof amount, "%lld", value);
    const char *values[] = {account, amount};
    if (!action->sql)
        return true;
    if (!run(conn, action->sql, 2, values, reply, &rows))
        return false;
    if (rows != 1)
        return say(reply, action->compensate ? SB_REPLY_ERROR : SB_REPLY_FAILURE,
                   "the books do not allow it");
    return note_effect(conn, command, action->delta * value, reply);
}

static void handle(PGconn *conn, const sb_command_t *command, json_t *input, sb_reply_t *reply)
{
    const char *refuse = json_string_value(json_object_get(input, "refuse"));
    const action_t *action = NULL;
    for (size_t i = 0; i < sizeof actions / sizeof actions[0]; i++)
        if (strlen(actions[i].name) == command->action.len &&
            memcmp(actions[i].name, command->action.ptr, command->action.len) == 0)
            action = &actions[i];
    bool refused = refuse && strlen(refuse) == command->step.len && !command->compensate &&
                   memcmp(refuse, command->step.ptr, command->step.len) == 0;
    if (!action || action->compensate != command->compensate)
        (void)say(reply, SB_REPLY_ERROR, "no such action");
    else if (refused)
        (void)say(reply, SB_REPLY_FAILURE, "refused, as asked for");
    else if (act(conn, command, action, input, reply))
        reply->outcome = SB_REPLY_SUCCESS;
    if (reply->outcome == SB_REPLY_SUCCESS &&
        chaos_books_chance(ERROR_PER_MILLE)) /* done, and then taken back */
        (void)say(reply, SB_REPLY_ERROR, "by chance");
}

void chaos_books_handle(struct pg_conn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    json_t *input = json_loadb(command->input.ptr, command->input.len, 0, NULL);
    reply->outcome = SB_REPLY_ERROR;
    handle(conn, command, input, reply);
    json_decref(input);
}

void chaos_books_dawdle(void)
{
    struct timespec slow = {SLOW_MS / 1000, SLOW_MS % 1000 * 1000000L};
    if (chaos_books_chance(SLOW_PER_MILLE))
        (void)nanosleep(&slow, NULL);
}
