/* doctor: looks at everything an installation leans on, and says what is wrong and how to mend it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bus/push/push_admin.h"
#include "bus/push/push_definition.h"
#include "bus/push/push_endpoint.h"
#include "bus/relay/relay_lost.h"
#include "cli/registry.h"
#include "cli/remote.h"
#include "events/store/durable.h"
#include "events/tally.h"
#include "migrations/list.h"
#include "saga/topology.h"

#include <stdlib.h>

#define KAFKA_MS 10000

typedef enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_FAIL } verdict_t;

typedef struct report {
    sb_cli_t *cli;
    json_t *items;
    int failed;
} report_t;

static void say(report_t *r, verdict_t verdict, const char *check, const char *format, ...) SB_PRINTF(4, 5);

static void say(report_t *r, verdict_t verdict, const char *check, const char *format, ...)
{
    static const char *const names[] = {"ok", "warn", "FAIL"};
    char detail[640];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    r->failed += verdict == VERDICT_FAIL;
    (void)json_array_append_new(
        r->items, json_pack("{s:s, s:s, s:s}", "check", check, "state", names[verdict], "detail", detail));
}

/* ---- PostgreSQL ---- */

static void check_durable(report_t *r, sb_pg_t *pg)
{
    bool allow = false;
    sb_error_t err = SB_ERROR_INIT;
    sb_error_t unsafe = SB_ERROR_INIT;
    if (sb_config_get_bool(r->cli->config, "store.allow_unsafe", &allow, &err) != SB_OK)
        say(r, VERDICT_FAIL, "durable", "%s", err.message);
    else if (sb_durable_check(pg, false, &unsafe) == SB_OK)
        say(r, VERDICT_OK, "durable", "fsync and full_page_writes are on");
    else
        say(r, allow ? VERDICT_WARN : VERDICT_FAIL, "durable", "%s", unsafe.message);
}

static void check_clock(report_t *r, sb_pg_t *pg)
{
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_pg_query(pg, "SELECT clock_timestamp()", NULL, &result, &err) == SB_OK) {
        int64_t apart_ms = llabs(sb_pg_get_time(result, 0, 0) - sb_wall_us()) / 1000;
        say(r, apart_ms > 1000 ? VERDICT_WARN : VERDICT_OK, "clock",
            "PostgreSQL's and ours are %lld ms apart", (long long)apart_ms);
    }
    sb_pg_result_free(result);
}

static void check_role(report_t *r, sb_pg_t *pg)
{
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_pg_query(pg, "SELECT current_user::text, rolsuper FROM pg_roles WHERE rolname = current_user",
                    NULL, &result, &err) == SB_OK &&
        sb_pg_rows(result) == 1) {
        bool super = sb_pg_get_bool(result, 0, 1);
        say(r, super ? VERDICT_WARN : VERDICT_OK, "role", "%s%s", sb_pg_get_text(result, 0, 0),
            super ? " is a superuser: give the engine a role of its own" : "");
    }
    sb_pg_result_free(result);
}

/* The oldest holder of the event table's insert lock: transaction, pid, name, seconds (NULL: another role's,
 * which only pg_read_all_stats shows). A prepared transaction has no pid. */
#define HOLDER                                                                                               \
    "SELECT l.virtualtransaction, l.pid, coalesce(a.application_name, 'a prepared transaction'), "           \
    "extract(epoch FROM clock_timestamp() - a.xact_start)::int8, coalesce(a.usename::text, '?') "            \
    "FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'relation' AND l.granted "  \
    "AND l.relation = 'sagabus.event'::regclass AND l.mode = 'RowExclusiveLock' "                            \
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "                     \
    "AND (a.xact_start IS NULL OR a.xact_start < clock_timestamp() - interval '1 s') "                       \
    "ORDER BY a.xact_start NULLS LAST LIMIT 1"

static sb_code_t find_holder(sb_pg_t *pg, sb_pg_result_t **out, sb_error_t *err)
{
    char first[64];
    sb_code_t code = sb_pg_query(pg, HOLDER, NULL, out, err);
    if (code != SB_OK || sb_pg_rows(*out) == 0 || !sb_pg_is_null(*out, 0, 3))
        return code;
    (void)snprintf(first, sizeof first, "%s", sb_pg_get_text(*out, 0, 0));
    sb_pg_result_free(*out);
    sb_sleep_ms(1100); /* its age is not for us to see: is it there still? */
    code = sb_pg_query(pg, HOLDER, NULL, out, err);
    if (code == SB_OK && sb_pg_rows(*out) > 0 && strcmp(first, sb_pg_get_text(*out, 0, 0)) == 0)
        return SB_OK;
    sb_pg_result_free(*out);
    *out = NULL;
    return code;
}

/* Whoever holds the event table's insert lock holds safe_seq back, and with it the relay and every view. */
static void check_appenders(report_t *r, sb_pg_t *pg)
{
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (find_holder(pg, &result, &err) != SB_OK) {
        say(r, VERDICT_WARN, "appenders", "%s", err.message);
    } else if (!result || sb_pg_rows(result) == 0) {
        say(r, VERDICT_OK, "appenders", "none holds readers back");
    } else if (sb_pg_is_null(result, 0, 1)) {
        say(r, VERDICT_FAIL, "appenders",
            "a prepared transaction has appended and holds all readers back: COMMIT PREPARED or ROLLBACK "
            "PREPARED what "
            "pg_prepared_xacts shows");
    } else {
        char since[48] = "for more than a second";
        if (!sb_pg_is_null(result, 0, 3))
            (void)snprintf(since, sizeof since, "for %lld s", (long long)sb_pg_get_int(result, 0, 3));
        say(r, VERDICT_FAIL, "appenders",
            "a transaction of %s (role %s) has been open %s and holds all readers back: end it, or SELECT "
            "pg_terminate_backend(%lld)",
            sb_pg_get_text(result, 0, 2), sb_pg_get_text(result, 0, 4), since,
            (long long)sb_pg_get_int(result, 0, 1));
    }
    sb_pg_result_free(result);
}

static void check_withheld(report_t *r, sb_pg_t *pg)
{
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_pg_query(pg, "SELECT count(*) FROM sagabus.relay_withheld", NULL, &result, &err) != SB_OK)
        say(r, VERDICT_WARN, "withheld", "%s", err.message);
    else if (sb_pg_get_int(result, 0, 0) == 0)
        say(r, VERDICT_OK, "withheld", "every event went out whole");
    else
        say(r, VERDICT_WARN, "withheld",
            "%lld events were too large for their topic: sagabus topics withheld, and raise the topic's "
            "max.message.bytes",
            (long long)sb_pg_get_int(result, 0, 0));
    sb_pg_result_free(result);
}

/* Whether the relay and each view took in what the store has, as the keeper compared it last. */
static void check_complete(report_t *r, sb_pg_t *pg)
{
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_tally_state(pg, &rows, &err) != SB_OK)
        say(r, VERDICT_WARN, "complete", "%s", err.message);
    for (int i = 0; i < sb_pg_rows(rows); i++) {
        long long ranges = sb_pg_get_int(rows, i, 4);
        if (ranges > 0)
            say(r, VERDICT_FAIL, "complete",
                "%s took in %lld events of seq %lld to %lld, the store has %lld (%lld such ranges): sagabus "
                "store gaps",
                sb_pg_get_text(rows, i, 0), (long long)sb_pg_get_int(rows, i, 8),
                (long long)sb_pg_get_int(rows, i, 5), (long long)sb_pg_get_int(rows, i, 6),
                (long long)sb_pg_get_int(rows, i, 7), ranges);
        else
            say(r, VERDICT_OK, "complete", "%s took in every event up to seq %lld; it is at %lld",
                sb_pg_get_text(rows, i, 0), (long long)sb_pg_get_int(rows, i, 3),
                (long long)sb_pg_get_int(rows, i, 2));
    }
    sb_pg_result_free(rows);
}

/* Settings of each endpoint as this machine has them, and what the database says of each subscription. */
static void check_push_one(report_t *r, const json_t *item)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_push_definition_t *d = NULL;
    sb_push_endpoint_t endpoint = {.secret_count = 0};
    const char *name = json_string_value(json_object_get(item, "name"));
    const char *state = json_string_value(json_object_get(item, "state"));
    const char *problem = json_string_value(json_object_get(item, "problem"));
    long long dead = json_integer_value(json_object_get(item, "dead_letters"));
    sb_code_t code = sb_push_definition_new(&d, json_object_get(item, "definition"), &err);
    if (code == SB_OK)
        code = sb_push_endpoint_read(&endpoint, r->cli->config, d->endpoint, d->path, d->sign, &err);
    if (code != SB_OK)
        say(r, VERDICT_WARN, "push", "%s: %s", name, err.message);
    else if (sb_webhook_url_is_open(sb_buf_text(&endpoint.url)))
        say(r, VERDICT_WARN, "push",
            "%s: push.%s.url is http beyond this machine: anyone on the way can read it", name, d->endpoint);
    else if (strcmp(state, "stuck") == 0)
        say(r, VERDICT_FAIL, "push", "%s: %s", name, problem);
    else if (strcmp(state, "paused") == 0 || dead > 0)
        say(r, VERDICT_WARN, "push", "%s is %s, %lld dead letters: sagabus push list, sagabus dlq list %s",
            name, state, dead, name);
    else
        say(r, VERDICT_OK, "push", "%s is %s", name, state);
    sb_push_endpoint_fini(&endpoint);
    sb_push_definition_free(&d);
}

static void check_push(report_t *r, sb_pg_t *pg)
{
    sb_error_t err = SB_ERROR_INIT;
    json_t *items = NULL;
    if (sb_push_list(pg, NULL, &items, &err) != SB_OK)
        say(r, VERDICT_WARN, "push", "%s", err.message);
    for (size_t i = 0; i < json_array_size(items); i++)
        check_push_one(r, json_array_get(items, i));
    json_decref(items);
}

static void check_postgres(report_t *r)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_t *pg = NULL;
    if (sb_cli_pg(r->cli, false, &pg, &err) != SB_OK) {
        say(r, VERDICT_FAIL, "postgres", "%s", err.message);
        return;
    }
    sb_pg_result_t *result = NULL;
    if (sb_pg_query(pg, "SELECT current_setting('server_version')", NULL, &result, &err) == SB_OK)
        say(r, VERDICT_OK, "postgres", "version %s", sb_pg_get_text(result, 0, 0));
    sb_pg_result_free(result);
    check_durable(r, pg);
    check_role(r, pg);
    check_clock(r, pg);
    if (sb_migrate_check(pg, SB_SCHEMA, sb_migrations, &err) == SB_OK) {
        say(r, VERDICT_OK, "schema", "%s is what this binary needs", SB_SCHEMA);
        check_appenders(r, pg);
        check_withheld(r, pg);
        check_complete(r, pg);
        check_push(r, pg);
    } else {
        say(r, VERDICT_FAIL, "schema", "%s", err.message);
    }
    sb_pg_close(&pg);
}

/* ---- Kafka ---- */

static void check_topics(report_t *r, const sb_topic_list_t *list)
{
    int missing = 0;
    int other = 0;
    for (size_t i = 0; i < list->count; i++) {
        missing += list->item[i].found == 0;
        other += list->item[i].found != 0 && list->item[i].found != list->item[i].partitions;
    }
    if (other)
        say(r, VERDICT_WARN, "topics",
            "%d have another partition count than topics.partitions: sagabus topics plan", other);
    else if (missing)
        say(r, VERDICT_WARN, "topics", "%d of %zu are missing: sagabus topics apply", missing, list->count);
    else
        say(r, VERDICT_OK, "topics", "all %zu are there", list->count);
}

typedef struct lost {
    report_t *report;
    const sb_relay_cluster_t *cluster;
    int topics; /* that were looked at */
    int odd;    /* of them, that were spoken of */
} lost_t;

/* The dev broker loses everything whenever it ends: that is no fault of an installation. */
static verdict_t lost_verdict(const lost_t *lost, const sb_relay_topic_t *topic)
{
    return topic->filling || lost->cluster->dev_broker ? VERDICT_WARN : VERDICT_FAIL;
}

static void say_lost(void *context, const sb_relay_topic_t *t)
{
    lost_t *lost = context;
    lost->topics++;
    lost->odd += t->state != SB_RELAY_TOPIC_WHOLE;
    if (t->state == SB_RELAY_TOPIC_UNREAD)
        say(lost->report, VERDICT_WARN, "contents", "%s: Kafka did not say in time where it begins",
            t->topic);
    else if (t->filling && t->state != SB_RELAY_TOPIC_WHOLE)
        say(lost->report, lost_verdict(lost, t), "contents",
            "%s was lost, and is to be filled again: `sagabus serve` does it while it runs", t->topic);
    else if (t->state == SB_RELAY_TOPIC_GONE || t->state == SB_RELAY_TOPIC_EMPTY)
        say(lost->report, lost_verdict(lost, t), "contents",
            "%s %s, though events up to seq %lld were sent to it: it was deleted or wiped; sagabus replay "
            "--to-topic %.*s",
            t->topic, t->state == SB_RELAY_TOPIC_GONE ? "is not there" : "never had a record",
            (long long)t->sent, SB_SLICE_ARG(t->category));
    else if (t->state == SB_RELAY_TOPIC_ANEW)
        say(lost->report, lost_verdict(lost, t), "contents",
            "%s begins with seq %lld, and seq %lld that came before it is gone: it was lost and has only "
            "what was sent since; sagabus replay --to-topic %.*s --recreate",
            t->topic, (long long)t->first, (long long)t->prev, SB_SLICE_ARG(t->category));
}

/* Whether Kafka has what the relay sent: another cluster, a topic that was wiped or made anew. */
static void check_contents(report_t *r, sb_pg_t *pg)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_cluster_t cluster;
    lost_t lost = {.report = r, .cluster = &cluster};
    if (sb_relay_lost_each(pg, r->cli->config, KAFKA_MS, &cluster, say_lost, &lost, &err) != SB_OK) {
        say(r, VERDICT_WARN, "contents", "%s", err.message);
        return;
    }
    if (lost.topics > 0 && lost.odd == 0)
        say(r, VERDICT_OK, "contents",
            "what was sent is in the events topics (%d), but for what retention took", lost.topics);
    if (cluster.was[0] && cluster.is[0] && strcmp(cluster.was, cluster.is) != 0)
        say(r, VERDICT_WARN, "cluster",
            "Kafka is cluster %s, and events were sent to %s: mend kafka.bootstrap if it leads to the wrong "
            "one; if this one takes its place, sagabus replay --to-topic CATEGORY for each topic it has not",
            cluster.is, cluster.was);
    else if (cluster.was[0] && cluster.is[0])
        say(r, VERDICT_OK, "cluster", "%s, which events were sent to", cluster.is);
}

static void check_library(report_t *r)
{
    const char *advice = sb_kafka_library_advice(r->cli->config);
    say(r, advice ? VERDICT_WARN : VERDICT_OK, "librdkafka", "%s%s%s", sb_kafka_library(), advice ? ": " : "",
        advice ? advice : "");
}

static void check_kafka(report_t *r)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_registry_t registry = {NULL, NULL};
    sb_topic_list_t list = {NULL, 0, 0};
    const char *brokers = sb_config_get(r->cli->config, "kafka.bootstrap");
    bool known = sb_registry_open(&registry, r->cli, &err) == SB_OK &&
                 sb_topology(r->cli->config, registry.pg, registry.catalog, &list, &err) == SB_OK;
    sb_error_clear(&err);
    check_library(r);
    if (sb_topics_inspect(r->cli->config, &list, KAFKA_MS, &err) != SB_OK) {
        say(r, VERDICT_FAIL, "kafka", "%s", err.message);
    } else {
        say(r, VERDICT_OK, "kafka", "%s", brokers);
        if (known)
            check_topics(r, &list);
        if (known)
            check_contents(r, registry.pg);
    }
    sb_registry_close(&registry);
    sb_topic_list_fini(&list);
}

/* ---- the server ---- */

static void check_server(report_t *r)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_remote_t *remote = NULL;
    json_t *version = NULL;
    sb_code_t code = sb_remote_open(&remote, r->cli->config, &err);
    if (code == SB_OK)
        code = sb_remote_get(remote, "/version", &version, &err);
    if (code != SB_OK) {
        say(r, VERDICT_FAIL, "server", "%s", err.message);
    } else {
        const char *text = json_string_value(json_object_get(version, "version"));
        say(r, VERDICT_OK, "server", "%s, version %s", sb_config_get(r->cli->config, "server.url"),
            text ? text : "unknown");
        sb_remote_call_t call = {.method = "GET", .path = "/readyz"};
        if (sb_remote_send(remote, &call, NULL, NULL, &err) == SB_OK || err.code == SB_CORRUPT)
            say(r, VERDICT_OK, "ready", "the server says it is ready");
        else
            say(r, VERDICT_FAIL, "ready", "%s", err.message);
    }
    json_decref(version);
    sb_remote_close(&remote);
}

sb_code_t sb_cmd_doctor(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {
        {"STATE", "/state"}, {"CHECK", "/check"}, {"DETAIL", "/detail"}, {NULL, NULL}};
    static const struct {
        const char *name;
        void (*check)(report_t *report);
    } parts[] = {{"postgres", check_postgres}, {"kafka", check_kafka}, {"server", check_server}};
    const char *only = sb_cli_option(cli, "only");
    report_t r = {.cli = cli, .items = json_array()};
    bool found = !only;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (only && strcmp(only, parts[i].name) != 0)
            continue;
        found = true;
        parts[i].check(&r);
    }
    if (found)
        sb_output_items(&cli->out, r.items, columns);
    json_decref(r.items);
    if (!found)
        return sb_fail(err, SB_INVALID, "--only %s: expected postgres, kafka or server", only);
    if (r.failed)
        cli->exit_code = SB_EXIT_ERROR;
    return SB_OK;
}
