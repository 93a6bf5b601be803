/* sagabus-chaos-service NAME: one service of the chaos test, over the public participant library. Its books
 * are one table of accounts; what a command asks for is taken, given, held, settled or noted there.
 *
 * It misbehaves by chance (SB_CHAOS_SEED): says "error" now and then, is slow now and then; after SIGUSR1 it
 * dies within some milliseconds of its next effect, before or after the commit as it happens.
 *
 * Settings: SAGABUS_PG, SAGABUS_KAFKA_BOOTSTRAP, SAGABUS_KAFKA_PREFIX.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <sagabus/participant.h>

#include <jansson.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
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

static sb_participant_t *running;
static volatile sig_atomic_t must_die;
static unsigned seed;

static void on_stop(int number)
{
    (void)number;
    sb_participant_stop(running);
}

static void on_die(int number)
{
    (void)number;
    must_die = 1;
}

/* SIGALRM without a handler ends the process on the spot. */
static void die_soon(void)
{
    struct itimerval timer = {.it_value.tv_usec = 1 + rand_r(&seed) % 8000};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static bool chance(int per_mille)
{
    return rand_r(&seed) % 1000 < per_mille;
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
    if (reply->outcome == SB_REPLY_SUCCESS && chance(ERROR_PER_MILLE)) /* done, and then taken back */
        (void)say(reply, SB_REPLY_ERROR, "by chance");
}

static void on_command(void *context, PGconn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    (void)context;
    json_t *input = json_loadb(command->input.ptr, command->input.len, 0, NULL);
    reply->outcome = SB_REPLY_ERROR;
    handle(conn, command, input, reply);
    json_decref(input);
    if (must_die)
        die_soon();
    else if (chance(SLOW_PER_MILLE)) {
        struct timespec slow = {SLOW_MS / 1000, SLOW_MS % 1000 * 1000000L};
        (void)nanosleep(&slow, NULL);
    }
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    const char *given = getenv("SB_CHAOS_SEED");
    seed = (given ? (unsigned)strtoul(given, NULL, 10) : 1) + (unsigned)getpid();
    sb_participant_config_t config = {.name = argv[1],
                                      .pg_uri = getenv("SAGABUS_PG"),
                                      .schema = "service",
                                      .kafka_bootstrap = getenv("SAGABUS_KAFKA_BOOTSTRAP"),
                                      .kafka_prefix = getenv("SAGABUS_KAFKA_PREFIX"),
                                      .on_command = on_command};
    sb_error_t err = SB_ERROR_INIT;
    if (sb_participant_open(&running, &config, &err) != SB_OK) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
    }
    struct sigaction stop = {.sa_handler = on_stop}, die = {.sa_handler = on_die, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGUSR1, &die, NULL);
    sb_participant_run(running);
    sb_participant_close(&running);
    return 0;
}
