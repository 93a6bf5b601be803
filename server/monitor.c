/* SPDX-License-Identifier: Apache-2.0 */
#include "server/monitor.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/push/push_definition.h"
#include "bus/topic.h"
#include "events/store/durable.h"
#include "migrations/list.h"
#include "saga/topology.h"
#include "server_sql.h"

#define ROUND_MS        1000
#define TOPICS_MS       3000  /* patience with the brokers */
#define TOPICS_EVERY_MS 5000  /* a broker that was replaced has none of them */
#define SIZES_EVERY_MS  60000 /* what topics take is changed by hand */
#define SIZES_AGAIN_MS  15000

sb_code_t sb_monitor_init(sb_monitor_t *monitor, sb_engine_t *engine, sb_error_t *err)
{
    *monitor = (sb_monitor_t){.engine = engine};
    atomic_init(&monitor->stopping, false);
    return sb_signal_init(&monitor->signal, err);
}

void sb_monitor_fini(sb_monitor_t *monitor)
{
    sb_pg_close(&monitor->pg);
    sb_signal_fini(&monitor->signal);
}

/* ---- what is looked at ---- */

static sb_code_t check_postgres(sb_monitor_t *m, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (!m->pg) {
        sb_pg_config_t config = {.uri = m->engine->pg_uri, .application_name = "sagabus monitor"};
        code = sb_pg_open(&m->pg, &config, err);
        if (code == SB_UNAVAILABLE && strcmp(sb_config_source(m->engine->config, "pg.uri"), "default") == 0)
            code = sb_context(err, code, "no PostgreSQL there (say where it is: --pg URI or SAGABUS_PG)");
    } else if (!sb_pg_is_open(m->pg)) {
        code = sb_pg_reopen(m->pg, err);
    }
    if (code == SB_OK)
        code = sb_pg_query(m->pg, sb_sql_monitor_ping, NULL, NULL, err);
    sb_engine_set_check(m->engine, "postgres", code == SB_OK ? NULL : err->message);
    return code;
}

/* An event that its topic would not take is refused when it is appended. Who may not ask the cluster
 * (DescribeConfigs) gets a stand-in on Kafka instead. */
static void take_sizes(sb_monitor_t *m, sb_topic_list_t *list)
{
    const char *prefix = sb_config_get(m->engine->config, "kafka.prefix");
    sb_error_t ignored = SB_ERROR_INIT;
    if (sb_mono_us() < m->sizes_next_us)
        return;
    bool ok = sb_topics_sizes(m->engine->config, list, TOPICS_MS, &ignored) == SB_OK;
    m->sizes_next_us = sb_mono_us() + (ok ? SIZES_EVERY_MS : SIZES_AGAIN_MS) * INT64_C(1000);
    for (size_t i = 0; i < list->count; i++) {
        const sb_topic_want_t *topic = &list->item[i];
        sb_slice_t category;
        if (topic->bytes_max < 2 * SB_RECORD_HEAD || !sb_topic_is_events(topic->name, prefix, &category))
            continue;
        if (sb_catalog_limit(m->engine->catalog, category, (size_t)topic->bytes_max - SB_RECORD_HEAD,
                             &ignored) != SB_OK)
            m->sizes_next_us = 0;
    }
}

static sb_code_t check_topics(sb_monitor_t *m, sb_error_t *err)
{
    bool manage = true;
    int created = 0;
    sb_topic_list_t list = {0};
    sb_code_t code = sb_config_get_bool(m->engine->config, "topics.manage", &manage, err);
    if (code == SB_OK)
        code = sb_topology(m->engine->config, m->pg, m->engine->catalog, &list, err);
    if (code == SB_OK)
        code = manage ? sb_topics_apply(m->engine->config, &list, TOPICS_MS, &created, err)
                      : sb_topics_inspect(m->engine->config, &list, TOPICS_MS, err);
    for (size_t i = 0; i < list.count && code == SB_OK; i++)
        if (!manage && list.item[i].found == 0)
            code =
                sb_fail(err, SB_NOT_FOUND, "topic %s is missing; `sagabus topics plan` lists what is needed",
                        list.item[i].name);
    if (code == SB_OK)
        take_sizes(m, &list);
    if (created > 0)
        sb_log(SB_LOG_INFO, "TOPICS-CREATED", "created what was missing|topics=%d", created);
    sb_topic_list_fini(&list);
    return code;
}

static void check_kafka(sb_monitor_t *m)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_orchestrator_stats_t saga;
    if (sb_mono_us() >= m->topics_next_us) {
        bool ok = check_topics(m, &err) == SB_OK;
        sb_engine_set_check(m->engine, "topics", ok ? NULL : err.message);
        m->topics_next_us = sb_mono_us() + (ok ? TOPICS_EVERY_MS * 1000 : 500000);
    }
    sb_orchestrator_stats(m->engine->orchestrator, &saga);
    sb_engine_set_check(m->engine, "kafka",
                        saga.kafka_ok ? NULL : (saga.error[0] ? saga.error : "the brokers do not answer"));
}

/* Someone drives every role: this instance, or another. */
static void check_parts(sb_monitor_t *m)
{
    sb_relay_stats_t relay;
    sb_orchestrator_stats_t saga;
    sb_relay_stats(m->engine->relay, &relay);
    sb_orchestrator_stats(m->engine->orchestrator, &saga);
    sb_engine_set_check(m->engine, "relay", relay.error[0] ? relay.error : NULL);
    const char *why =
        saga.shards > 0 ? NULL : "no shard yet: another instance drives them all, or they are being taken";
    sb_engine_set_check(m->engine, "sagas", why);
}

static void load_keys(sb_monitor_t *m)
{
    sb_error_t err = SB_ERROR_INIT;
    if (sb_keys_load(m->engine->keys, m->pg, &err) != SB_OK)
        sb_log_error(SB_LOG_WARN, "KEYS-LOAD", &err, "the API keys could not be read");
    else if (!sb_http_is_loopback(m->engine->http) && sb_keys_count(m->engine->keys) == 0 &&
             !m->warned_open) {
        m->warned_open = true;
        sb_log(SB_LOG_WARN, "KEYS-NONE",
               "listening beyond this machine without a key: every request is refused until "
               "`sagabus key create` has made one");
    }
}

/* ---- coming up ---- */

static sb_code_t apply_schemas(sb_monitor_t *m, sb_error_t *err)
{
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_SAGA] = sb_definition_check,
                                                                   [SB_ARTIFACT_VIEW] = sb_view_check,
                                                                   [SB_ARTIFACT_SUBSCRIPTION] =
                                                                       sb_push_check};
    bool apply = true;
    sb_apply_report_t report;
    sb_code_t code = sb_config_get_bool(m->engine->config, "schemas.apply", &apply, err);
    if (code != SB_OK || !apply)
        return code;
    sb_catalog_prove(m->engine->catalog, SB_ARTIFACT_VIEW, sb_view_prove);
    code = sb_catalog_apply(m->engine->catalog, m->pg, sb_config_get(m->engine->config, "schemas.dir"),
                            checks, &report, err);
    if (code == SB_OK && report.added > 0)
        sb_log(SB_LOG_INFO, "SCHEMAS-APPLIED",
               "registered new schemas, sagas, views or subscriptions|added=%d", report.added);
    return code;
}

/* A step that only a C function can do is out of the server's reach: its old events cannot be read here. */
static sb_code_t warn_of_step(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    const sb_upcast_chain_t *chain = NULL;
    sb_error_t why = SB_ERROR_INIT;
    (void)err;
    (void)sb_catalog_chain(context, sb_slice(artifact->name), artifact->version, &chain);
    if (chain && chain->missing == 0 && sb_upcaster_ready(NULL, chain, &why) != SB_OK)
        sb_log_error(SB_LOG_WARN, "UPCAST-FUNCTION", &why,
                     "events of %s version %d cannot be read by the server", artifact->name,
                     artifact->version);
    return SB_OK;
}

static void warn_of_steps(sb_monitor_t *m)
{
    uint64_t revision = sb_catalog_revision(m->engine->catalog);
    if (revision == m->catalog_revision)
        return;
    m->catalog_revision = revision;
    sb_code_t ignored =
        sb_catalog_each(m->engine->catalog, SB_ARTIFACT_EVENT, warn_of_step, m->engine->catalog, NULL);
    (void)ignored;
}

/* What a newer release registered and this one cannot read waits, in sight, and holds up nothing else. */
static sb_code_t load_catalog(sb_monitor_t *m, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = sb_catalog_load(m->engine->catalog, m->pg, err);
    if (code == SB_OK)
        sb_engine_set_check(m->engine, "registry",
                            sb_catalog_complain(m->engine->catalog, &why) == SB_OK ? NULL : why.message);
    if (code == SB_OK)
        warn_of_steps(m);
    return code;
}

/* Not ready before the first look at each, however soon the parts run. */
static void expect_checks(sb_monitor_t *m)
{
    static const char *const later[] = {"topics", "kafka", "relay", "sagas"};
    for (size_t i = 0; i < sizeof later / sizeof later[0]; i++)
        sb_engine_expect_check(m->engine, later[i]);
}

static sb_code_t check_durable(sb_monitor_t *m, sb_error_t *err)
{
    bool allow = false;
    sb_code_t code = sb_config_get_bool(m->engine->config, "store.allow_unsafe", &allow, err);
    return code == SB_OK ? sb_durable_check(m->pg, allow, err) : code;
}

static sb_code_t bring_up(sb_monitor_t *m, sb_error_t *err)
{
    expect_checks(m);
    sb_code_t code = check_durable(m, err);
    if (code != SB_OK) {
        sb_engine_set_check(m->engine, "postgres", err->message);
        return code;
    }
    code = sb_migrate_check(m->pg, SB_SCHEMA, sb_migrations, err);
    sb_engine_set_check(m->engine, "schema", code == SB_OK ? NULL : err->message);
    if (code == SB_OK)
        code = load_catalog(m, err);
    if (code == SB_OK)
        code = apply_schemas(m, err);
    if (code == SB_OK)
        load_keys(m);
    return code == SB_OK ? sb_engine_start(m->engine, err) : code;
}

/* Whether waiting may mend it: the connection broke, or the server is at a limit. Everything else ends serve.
 */
static bool may_pass(const sb_monitor_t *m, const sb_error_t *err)
{
    return !sb_pg_is_open(m->pg) || (err->retryable && err->origin[0]) || err->code == SB_UNKNOWN_OUTCOME;
}

static void one_round(sb_monitor_t *m)
{
    sb_error_t err = SB_ERROR_INIT;
    if (check_postgres(m, &err) != SB_OK)
        return;
    if (!atomic_load(&m->engine->running)) {
        sb_code_t code = bring_up(m, &err);
        if (code != SB_OK && !may_pass(m, &err)) {
            m->code = code;
            m->err = err;
            atomic_store(&m->stopping, true);
        }
        if (code != SB_OK)
            return;
    }
    load_keys(m);
    if (load_catalog(m, &err) != SB_OK)
        sb_log_error(SB_LOG_WARN, "CATALOG-LOAD", &err, "the registry could not be read");
    check_kafka(m);
    check_parts(m);
}

void sb_monitor_run(sb_monitor_t *m)
{
    while (!atomic_load(&m->stopping)) {
        one_round(m);
        sb_check_t ignored[SB_CHECKS_MAX];
        int count;
        bool ready = sb_engine_is_ready(m->engine, ignored, &count);
        if (!atomic_load(&m->stopping))
            (void)sb_signal_wait(&m->signal, ready ? ROUND_MS : 100);
    }
    if (m->code != SB_OK && m->on_fatal)
        m->on_fatal(m->context);
}

void sb_monitor_stop(sb_monitor_t *m)
{
    atomic_store(&m->stopping, true);
    sb_signal_raise(&m->signal);
}
