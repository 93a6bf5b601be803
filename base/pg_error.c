/* The one place where SQLSTATEs become our codes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include <stdio.h>

typedef struct state_row {
    const char *prefix; /* a whole SQLSTATE or the first two characters */
    sb_code_t code;
    bool retryable;
} state_row_t;

static const state_row_t states[] = {
    {"SB001", SB_FENCED, false},     /* raised by our own SQL: the lease is not ours any more */
    {"SB002", SB_CONFLICT, false},   /* raised by our own SQL: lost a race, decide again */
    {"SB003", SB_MISMATCH, false},   /* raised by our own SQL: same key, other content */
    {"23505", SB_CONFLICT, false},   /* unique_violation */
    {"08", SB_UNAVAILABLE, true},    /* connection exception */
    {"40001", SB_BUSY, true},        /* serialization_failure */
    {"40P01", SB_BUSY, true},        /* deadlock_detected */
    {"53", SB_UNAVAILABLE, true},    /* insufficient resources: disk full, too many connections */
    {"55P03", SB_BUSY, true},        /* lock_not_available */
    {"57P01", SB_UNAVAILABLE, true}, /* admin_shutdown */
    {"57P02", SB_UNAVAILABLE, true}, /* crash_shutdown */
    {"57P03", SB_UNAVAILABLE, true}, /* cannot_connect_now */
    {"57P05", SB_UNAVAILABLE, true}, /* idle_session_timeout */
    {"57014", SB_TIMEOUT, true},     /* query_canceled: statement_timeout */
    {"25P03", SB_UNAVAILABLE, true}, /* idle_in_transaction_session_timeout */
    {"25006", SB_UNAVAILABLE, true}, /* read_only_sql_transaction: a standby, for now */
    {"42501", SB_DENIED, false},     /* insufficient_privilege */
    {"28", SB_DENIED, false},        /* invalid authorization */
    {"3D000", SB_NOT_FOUND, false},  /* database does not exist */
    {"42P01", SB_NOT_FOUND, false},  /* table does not exist: not migrated */
    {"22", SB_INVALID, false},       /* data exception */
    {"23", SB_CONFLICT, false},      /* other integrity constraints */
};

static const state_row_t *find_state(const char *sqlstate)
{
    for (size_t i = 0; i < sizeof states / sizeof states[0]; i++)
        if (strncmp(states[i].prefix, sqlstate, strlen(states[i].prefix)) == 0)
            return &states[i];
    return NULL;
}

static void set_message(sb_error_t *err, const char *text)
{
    size_t n = strcspn(text, "\n");
    if (strncmp(text, "ERROR:  ", 8) == 0 || strncmp(text, "FATAL:  ", 8) == 0) {
        text += 8;
        n -= 8;
    }
    (void)snprintf(err->message, sizeof err->message, "PostgreSQL: %.*s", (int)n, text);
}

sb_code_t sb_pg_result_error(sb_pg_t *pg, const PGresult *result, bool committing, sb_error_t *err)
{
    const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
    const char *severity = result ? PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED) : NULL;
    sb_error_t local;
    if (!err)
        err = &local;
    sb_error_clear(err);

    /* After a FATAL the server closes; an error of libpq's own (a failed write, no memory for the result)
     * leaves the two ends out of step. Neither need show in PQstatus yet. */
    bool fatal = !severity || strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0;
    if (fatal)
        pg->dead = true;
    if (!sqlstate || (fatal && strncmp(sqlstate, "08", 2) == 0)) { /* 08: a pooler that lost its server */
        err->code = committing ? SB_UNKNOWN_OUTCOME : SB_UNAVAILABLE;
        err->retryable = err->code == SB_UNAVAILABLE;
        (void)snprintf(err->origin, sizeof err->origin, "pg:%.5s", sqlstate ? sqlstate : "08006");
        set_message(err, result ? PQresultErrorMessage(result) : PQerrorMessage(pg->conn));
        return err->code;
    }
    const state_row_t *row = find_state(sqlstate);
    err->code = row ? row->code : SB_INTERNAL;
    err->retryable = row ? row->retryable : false;
    (void)snprintf(err->origin, sizeof err->origin, "pg:%.5s", sqlstate);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char *detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
    (void)snprintf(err->message, sizeof err->message, "PostgreSQL: %s%s%s", primary ? primary : sqlstate,
                   detail ? ": " : "", detail ? detail : "");
    return err->code;
}
