/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/raw.h"

#include "tests/bench/bench.h"

#include <stdio.h>
#include <string.h>

/* ---- PostgreSQL ---- */

static void must(PGconn *conn, PGresult *result, const char *doing)
{
    ExecStatusType status = PQresultStatus(result);
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_PIPELINE_SYNC)
        bench_die("raw libpq, %s: %s", doing, PQerrorMessage(conn));
    PQclear(result);
}

PGconn *raw_connect(const char *uri, const char *search_path)
{
    /* A plan must not flip to a scan of everything as the tables grow, as in sagabus's own connections. */
    static const char steady[] =
        "SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_seqscan = off";
    char sql[256];
    PGconn *conn = PQconnectdb(uri);
    if (PQstatus(conn) != CONNECTION_OK)
        bench_die("raw libpq: %s", PQerrorMessage(conn));
    must(conn, PQexec(conn, steady), steady);
    if (search_path) {
        (void)snprintf(sql, sizeof sql, "SET search_path = %s", search_path);
        must(conn, PQexec(conn, sql), sql);
    }
    return conn;
}

void raw_prepare(PGconn *conn, const char *name, const char *sql)
{
    must(conn, PQprepare(conn, name, sql, 0, NULL), name);
}

void raw_start_pipeline(PGconn *conn)
{
    if (!PQenterPipelineMode(conn))
        bench_die("raw libpq: no pipeline: %s", PQerrorMessage(conn));
}

void raw_send(PGconn *conn, const char *name, const sb_pg_params_t *params)
{
    static const int binary[SB_PG_PARAMS_MAX] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const char *value[SB_PG_PARAMS_MAX];
    for (int i = 0; i < params->count; i++)
        value[i] = params->is_small[i] ? params->small[i] : params->value[i];
    if (!PQsendQueryPrepared(conn, name, params->count, value, params->length, binary, 1))
        bench_die("raw libpq, %s: %s", name, PQerrorMessage(conn));
}

void raw_sync(PGconn *conn, int count)
{
    if (!PQpipelineSync(conn))
        bench_die("raw libpq, sync: %s", PQerrorMessage(conn));
    for (int i = 0; i < count; i++) {
        must(conn, PQgetResult(conn), "statement");
        PQclear(PQgetResult(conn)); /* the NULL that ends each */
    }
    must(conn, PQgetResult(conn), "sync");
}

/* ---- Kafka ---- */

typedef struct setting {
    const char *name;
    const char *value;
} setting_t;

static rd_kafka_conf_t *make_conf(const char *bootstrap, const setting_t *settings)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (rd_kafka_conf_set(conf, "bootstrap.servers", bootstrap, text, sizeof text) != RD_KAFKA_CONF_OK)
        bench_die("raw librdkafka: %s", text);
    for (; settings->name; settings++)
        if (rd_kafka_conf_set(conf, settings->name, settings->value, text, sizeof text) != RD_KAFKA_CONF_OK)
            bench_die("raw librdkafka: %s", text);
    return conf;
}

static rd_kafka_t *open_handle(rd_kafka_type_t type, rd_kafka_conf_t *conf)
{
    char text[256];
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof text);
    if (!handle)
        bench_die("raw librdkafka: %s", text);
    return handle;
}

static void on_report(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    (void)opaque;
    if (message->err)
        bench_die("raw librdkafka: not delivered: %s", rd_kafka_err2str(message->err));
}

static rd_kafka_t *producer(const char *bootstrap, const char *linger_ms, const char *only_errors)
{
    const setting_t settings[] = {{"socket.nagle.disable", "true"},
                                  {"enable.idempotence", "true"},
                                  {"partitioner", "murmur2_random"},
                                  {"queue.buffering.max.ms", linger_ms},
                                  {"queue.buffering.max.kbytes", "262144"},
                                  {"delivery.report.only.error", only_errors},
                                  {NULL, NULL}};
    rd_kafka_conf_t *conf = make_conf(bootstrap, settings);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    return open_handle(RD_KAFKA_PRODUCER, conf);
}

rd_kafka_t *raw_producer(const char *bootstrap, const char *linger_ms)
{
    return producer(bootstrap, linger_ms, "true");
}

rd_kafka_t *raw_reporting_producer(const char *bootstrap, const char *linger_ms)
{
    return producer(bootstrap, linger_ms, "false");
}

rd_kafka_t *raw_consumer(const char *bootstrap, const char *topic)
{
    static const setting_t settings[] = {{"group.id", "bench"},
                                         {"socket.nagle.disable", "true"},
                                         {"enable.auto.commit", "false"},
                                         {"enable.auto.offset.store", "false"},
                                         {"queued.max.messages.kbytes", "16384"},
                                         {"fetch.error.backoff.ms", "100"},
                                         {"auto.offset.reset", "error"},
                                         {NULL, NULL}};
    rd_kafka_t *handle = open_handle(RD_KAFKA_CONSUMER, make_conf(bootstrap, settings));
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_resp_err_t error = rd_kafka_assign(handle, list);
    rd_kafka_topic_partition_list_destroy(list);
    if (error)
        bench_die("raw librdkafka: assign %s: %s", topic, rd_kafka_err2str(error));
    return handle;
}
