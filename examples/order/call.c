/* The helpers of order.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "order.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

static bool say(order_call_t *call, sb_reply_outcome_t outcome, const char *format, va_list args)
{
    call->reply->outcome = outcome;
    (void)vsnprintf(call->reply->error, sizeof call->reply->error, format, args);
    return false;
}

bool refuse(order_call_t *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool no = say(call, SB_REPLY_FAILURE, format, args);
    va_end(args);
    return no;
}

bool trouble(order_call_t *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool no = say(call, SB_REPLY_ERROR, format, args);
    va_end(args);
    return no;
}

bool answer(order_call_t *call, json_t *result)
{
    free(call->reply->result);
    call->reply->result = json_dumps(result, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(result);
    return call->reply->result ? true : trouble(call, "out of memory");
}

/* The statements that this participant's connection has prepared, by the address of their text. The library
 * may have connected anew: another server process knows none of them. */
#define PREPARED_MAX 32
static const char *prepared[PREPARED_MAX];
static int prepared_count, prepared_pid;

static bool is_prepared(PGconn *conn, const char *sql)
{
    if (PQbackendPID(conn) != prepared_pid) {
        prepared_pid = PQbackendPID(conn);
        prepared_count = 0;
    }
    for (int i = 0; i < prepared_count; i++)
        if (prepared[i] == sql)
            return true;
    return false;
}

/* Parsed and planned once, not for each command. */
static PGresult *execute(PGconn *conn, const char *sql, int count, const char *const *values)
{
    char name[24];
    (void)snprintf(name, sizeof name, "p%zx", (size_t)(uintptr_t)sql);
    if (!is_prepared(conn, sql)) {
        if (prepared_count == PREPARED_MAX)
            return PQexecParams(conn, sql, count, NULL, values, NULL, NULL, 0);
        PGresult *result = PQprepare(conn, name, sql, count, NULL);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            return result;
        PQclear(result);
        prepared[prepared_count++] = sql;
    }
    return PQexecPrepared(conn, name, count, values, NULL, NULL, 0);
}

PGresult *run(order_call_t *call, const char *sql, int count, const char *const *values)
{
    PGresult *result = execute(call->conn, sql, count, values);
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK)
        return result;
    (void)trouble(call, "%s", PQresultErrorMessage(result));
    PQclear(result);
    return NULL;
}

int touch(order_call_t *call, const char *sql, int count, const char *const *values)
{
    PGresult *result = run(call, sql, count, values);
    if (!result)
        return -1;
    int rows = atoi(PQcmdTuples(result));
    PQclear(result);
    return rows;
}

bool publish(order_call_t *call, const char *type, json_t *body)
{
    return publish_at(call, type, body, -1);
}

bool publish_at(order_call_t *call, const char *type, json_t *body, int version)
{
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(body);
    if (!text)
        return trouble(call, "out of memory");
    sb_event_t event = {
        .type = sb_slice(type),
        .subject = sb_slice(call->order_id),
        .correlation_id = call->command->correlation_id,
        .traceparent = call->command->traceparent,
        .data = sb_slice(text),
    };
    sb_append_t append = {
        .category = sb_event_category(event.type),
        .key = event.subject,
        .expect = version < 0 ? SB_EXPECT_ANY : SB_EXPECT_EXACT,
        .expected_version = version < 0 ? 0 : version,
        .events = &event,
        .count = 1,
    };
    sb_append_result_t result;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = sb_participant_append(call->participant, &append, &result, &err);
    free(text);
    if (code == SB_OK && result.outcome == SB_APPEND_CONFLICT)
        return trouble(call, "append %s: the order is at version %d by now", type, result.version);
    return code == SB_OK ? true : trouble(call, "append %s: %s", type, err.message);
}
