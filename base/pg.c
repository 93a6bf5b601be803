/* SPDX-License-Identifier: Apache-2.0 */
#include "base/pg_internal.h"

#include "base/log.h"
#include "base_sql.h"

#include <libpq-events.h>
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

static int on_event(PGEventId event, void *info, void *context)
{
    (void)info;
    if (event == PGEVT_RESULTCREATE)
        ((sb_pg_t *)context)->uses++;
    return 1;
}

/* The first of several hosts may be a standby: it takes no writes, and what it reads is behind what others
 * were told. With one host nothing is asked for: who names a standby wants that one. */
static const char *wanted_session(const sb_pg_t *pg)
{
    const char *environment = getenv("PGHOST"), *said = getenv("PGTARGETSESSIONATTRS");
    bool several = environment && strchr(environment, ',');
    PQconninfoOption *list = PQconninfoParse(pg->uri, NULL); /* NULL when malformed, or only a name */
    for (PQconninfoOption *at = list; at && at->keyword; at++)
        if (at->val && (strcmp(at->keyword, "host") == 0 || strcmp(at->keyword, "hostaddr") == 0))
            several = strchr(at->val, ',') != NULL;
    PQconninfoFree(list);
    if (pg->standby_will_do || !several || (said && said[0]))
        return NULL;
    return PQlibVersion() >= 140000 ? "primary" : "read-write";
}

static sb_code_t connect_now(sb_pg_t *pg, sb_error_t *err)
{
    /* What comes before dbname is overridden by what the URI says, what comes after it overrides that. */
    const char *keys[] = {
        "target_session_attrs", "dbname",          "fallback_application_name", "application_name", "options",
        "connect_timeout",      "keepalives_idle", "tcp_user_timeout",          "client_encoding",  NULL};
    const char *values[] = {wanted_session(pg),
                            pg->uri,
                            "sagabus",
                            pg->application_name,
                            pg->options,
                            pg->connect_timeout,
                            "10",
                            "15000",
                            "UTF8",
                            NULL};
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
    if (pg->counts_uses && !PQregisterEventProc(pg->conn, on_event, "uses", pg)) {
        PQfinish(pg->conn);
        pg->conn = NULL;
        return sb_fail(err, SB_NO_MEMORY, "connect to PostgreSQL: out of memory");
    }
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
    /* none is said too: the role may have one */
    sb_buf_printf(&buf, " -c statement_timeout=%u", statement == UINT32_MAX ? 0 : statement);
    if (config->search_path) {
        sb_buf_add_text(&buf, " -c search_path=");
        add_escaped(&buf, config->search_path);
    }
    if (config->generic_plans)
        sb_buf_add_text(&buf, " -c plan_cache_mode=force_generic_plan -c jit=off");
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
    pg->counts_uses = config->counts_uses;
    pg->standby_will_do = config->standby_will_do;
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

sb_code_t sb_pg_commit_durably(sb_pg_t *pg, sb_error_t *err)
{
    return sb_pg_query(pg, sb_sql_commit_durably, NULL, NULL, err);
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

bool sb_pg_notified(sb_pg_t *pg, bool look)
{
    bool any = false;
    if (!sb_pg_is_open(pg))
        return false;
    if (look && PQconsumeInput(pg->conn) == 0)
        pg->dead = true;
    for (PGnotify *notice; (notice = PQnotifies(pg->conn)); any = true)
        PQfreemem(notice);
    return any;
}

struct pg_conn *sb_pg_raw(sb_pg_t *pg)
{
    return pg->conn;
}

uint64_t sb_pg_uses(const sb_pg_t *pg)
{
    return pg->uses;
}

bool sb_pg_is_in_transaction(const sb_pg_t *pg)
{
    PGTransactionStatusType status = sb_pg_is_open(pg) ? PQtransactionStatus(pg->conn) : PQTRANS_UNKNOWN;
    return status == PQTRANS_ACTIVE || status == PQTRANS_INTRANS || status == PQTRANS_INERROR;
}

bool sb_pg_is_aborted(const sb_pg_t *pg)
{
    return sb_pg_is_open(pg) && PQtransactionStatus(pg->conn) == PQTRANS_INERROR;
}

int sb_pg_backend_pid(const sb_pg_t *pg)
{
    return sb_pg_is_open(pg) ? PQbackendPID(pg->conn) : 0;
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

void sb_pg_statement_name(const char *sql, char name[24])
{
    (void)snprintf(name, 24, "s%zx", (size_t)(uintptr_t)sql);
}

sb_code_t sb_pg_broken(sb_error_t *err)
{
    return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection is broken");
}

sb_code_t sb_pg_prepare(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_error_t *err)
{
    if (params && params->failed)
        return sb_fail(err, SB_NO_MEMORY, "PostgreSQL: out of memory for a parameter");
    if (is_prepared(pg, sql))
        return SB_OK;
    if (!reserve_prepared(pg))
        return sb_fail(err, SB_NO_MEMORY, "prepare a statement: out of memory");
    char name[24];
    sb_pg_statement_name(sql, name);
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

bool sb_pg_forget(sb_pg_t *pg, const char *sql)
{
    char text[48], name[24];
    if (!is_prepared(pg, sql))
        return true;
    sb_pg_statement_name(sql, name);
    (void)snprintf(text, sizeof text, "DEALLOCATE \"%s\"", name);
    bool told = !sb_pg_is_open(pg); /* its statements went with the session */
    if (!told) {
        PGresult *result = PQexec(pg->conn, text);
        told = PQresultStatus(result) == PGRES_COMMAND_OK;
        PQclear(result);
    }
    if (!told)
        return false;
    size_t hole = slot_of(pg, sql);
    pg->prepared[hole] = NULL;
    pg->prepared_count--;
    for (size_t i = (hole + 1) % pg->prepared_cap; pg->prepared[i]; i = (i + 1) % pg->prepared_cap) {
        const char *moved = pg->prepared[i]; /* those behind it may stand where its place was taken */
        pg->prepared[i] = NULL;
        pg->prepared[slot_of(pg, moved)] = moved;
    }
    return true;
}

void sb_pg_bind(const sb_pg_params_t *params, sb_pg_bound_t *bound)
{
    for (int i = 0; params && i < params->count; i++) {
        bound->value[i] = params->is_small[i] ? params->small[i] : params->value[i];
        bound->format[i] = 1;
    }
}

bool sb_pg_is_success(const PGresult *result)
{
    ExecStatusType status = PQresultStatus(result);
    return status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
}

/* The last result of what was sent, as PQexec has it: a lost connection and a COPY would go on for ever. */
static PGresult *await_result(PGconn *conn)
{
    PGresult *last = NULL;
    PGresult *next;
    while ((next = PQgetResult(conn)) != NULL) {
        PQclear(last);
        last = next;
        ExecStatusType status = PQresultStatus(last);
        if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || PQstatus(conn) == CONNECTION_BAD)
            break;
    }
    return last;
}

sb_code_t sb_pg_query_beside(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params,
                             void (*on_sent)(void *context), void *context, sb_pg_result_t **out,
                             sb_error_t *err)
{
    if (out)
        *out = NULL;
    if (!sb_pg_is_open(pg))
        return sb_pg_broken(err);
    sb_code_t code = sb_pg_prepare(pg, sql, params, err);
    if (code != SB_OK)
        return code;
    char name[24];
    sb_pg_bound_t bound;
    sb_pg_statement_name(sql, name);
    sb_pg_bind(params, &bound);
    bool autocommit = PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
    PGresult *result = NULL;
    if (PQsendQueryPrepared(pg->conn, name, params ? params->count : 0, bound.value,
                            params ? params->length : NULL, bound.format, 1)) {
        if (on_sent)
            on_sent(context);
        result = await_result(pg->conn);
    }
    if (!sb_pg_is_success(result))
        code = sb_pg_result_error(pg, result, autocommit, err);
    if (code == SB_OK && out)
        *out = (sb_pg_result_t *)result;
    else
        PQclear(result);
    return code;
}

sb_code_t sb_pg_query(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_pg_result_t **out,
                      sb_error_t *err)
{
    return sb_pg_query_beside(pg, sql, params, NULL, NULL, out, err);
}

sb_code_t sb_pg_query_once(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_pg_result_t **out,
                           sb_error_t *err)
{
    *out = NULL;
    if (!sb_pg_is_open(pg))
        return sb_pg_broken(err);
    if (params->failed)
        return sb_fail(err, SB_NO_MEMORY, "PostgreSQL: out of memory for a parameter");
    sb_pg_bound_t bound;
    sb_pg_bind(params, &bound);
    bool autocommit = PQtransactionStatus(pg->conn) == PQTRANS_IDLE;
    PGresult *result = PQexecParams(pg->conn, sql, params->count, params->type, bound.value, params->length,
                                    bound.format, 1);
    if (sb_pg_is_success(result)) {
        *out = (sb_pg_result_t *)result;
        return SB_OK;
    }
    sb_code_t code = sb_pg_result_error(pg, result, autocommit, err);
    PQclear(result);
    return code;
}

static sb_code_t run_text(sb_pg_t *pg, const char *sql, bool may_commit, sb_error_t *err)
{
    if (!sb_pg_is_open(pg))
        return sb_pg_broken(err);
    PGresult *result = PQexec(pg->conn, sql);
    sb_code_t code = SB_OK;
    if (!sb_pg_is_success(result) && PQresultStatus(result) != PGRES_EMPTY_QUERY)
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
        return sb_pg_broken(err);
    PGresult *result = PQexec(pg->conn, "COMMIT");
    sb_code_t code = SB_OK;
    if (!sb_pg_is_success(result))
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
