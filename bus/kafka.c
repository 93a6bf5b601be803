/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/message.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BIT(use)  (1u << (unsigned)(use))
#define ALL       (BIT(SB_KAFKA_RELAY) | PRODUCER | CONSUMER | BIT(SB_KAFKA_ADMIN))
#define PRODUCER  (BIT(SB_KAFKA_RELAY) | BIT(SB_KAFKA_PRODUCER))
#define CONSUMER  (BIT(SB_KAFKA_READER) | BIT(SB_KAFKA_GROUP))
#define PROBE_MS  1000
#define MOCK_NAME "mockCluster" /* librdkafka's mock cluster calls itself mockCluster<hex> */

/* ---- what we set ---- */

typedef struct setting {
    unsigned uses;
    const char *name;
    const char *value;
} setting_t;

/* Reasons and measurements: docs/kafka-settings.md. */
static const setting_t defaults[] = {
    {ALL, "client.id", "sagabus"},
    {ALL, "socket.nagle.disable", "true"},
    {ALL, "socket.keepalive.enable", "true"},
    {ALL, "log.connection.close", "false"},
    {ALL, "reconnect.backoff.max.ms", "1000"},
    {ALL, "allow.auto.create.topics", "false"},
    {ALL, "topic.metadata.refresh.interval.ms", "5000"},
    {PRODUCER, "enable.idempotence", "true"},
    {PRODUCER, "partitioner", "murmur2_random"},
    {PRODUCER, "queue.buffering.max.kbytes", "262144"},
    {BIT(SB_KAFKA_RELAY), "queue.buffering.max.ms", "0.5"},
    {BIT(SB_KAFKA_RELAY), "message.timeout.ms", "0"},
    {BIT(SB_KAFKA_RELAY), "enable.gapless.guarantee", "true"}, /* or it goes on behind a refused event */
    {BIT(SB_KAFKA_PRODUCER), "queue.buffering.max.ms", "0.5"},
    {BIT(SB_KAFKA_PRODUCER), "message.timeout.ms", "120000"},
    {CONSUMER, "enable.auto.commit", "false"},
    {CONSUMER, "enable.auto.offset.store", "false"},
    {CONSUMER, "queued.max.messages.kbytes", "16384"},
    {CONSUMER, "fetch.error.backoff.ms", "100"},
    {CONSUMER, "fetch.wait.max.ms", "500"},
    {BIT(SB_KAFKA_READER), "auto.offset.reset", "error"},
    {BIT(SB_KAFKA_GROUP), "auto.offset.reset", "earliest"},
    {BIT(SB_KAFKA_GROUP), "partition.assignment.strategy", "cooperative-sticky"},
    {BIT(SB_KAFKA_GROUP), "session.timeout.ms", "10000"},
    {BIT(SB_KAFKA_GROUP), "heartbeat.interval.ms", "3000"},
};

/* The mock holds an empty fetch for the whole wait, and a rebalance takes the session time-out. */
static const setting_t dev_broker_defaults[] = {
    {CONSUMER, "fetch.wait.max.ms", "5"},
    {BIT(SB_KAFKA_GROUP), "session.timeout.ms", "4000"},
    {BIT(SB_KAFKA_GROUP), "heartbeat.interval.ms", "500"},
};

/* What a user may not set: a guarantee rests on it. allowed NULL: nothing is. */
typedef struct guarded {
    const char *name;
    const char *allowed;
    const char *why;
} guarded_t;

static const guarded_t guards[] = {
    {"bootstrap.servers", NULL, "set kafka.bootstrap"},
    {"metadata.broker.list", NULL, "set kafka.bootstrap"},
    {"enable.idempotence", "true", "without it a retry may duplicate and reorder events"},
    {"acks", "all", "an event counts as sent only when every in-sync replica has it"},
    {"request.required.acks", "all", "an event counts as sent only when every in-sync replica has it"},
    {"enable.gapless.guarantee", NULL, "the relay has it, and sends again from the first failed event"},
    {"partitioner", "murmur2_random", "keys must go where other clients and the relay put them"},
    {"transactional.id", NULL, "sagabus does not use Kafka transactions"},
    {"enable.auto.commit", "false", "offsets are committed after the work, never before"},
    {"auto.commit.enable", "false", "offsets are committed after the work, never before"},
    {"enable.auto.offset.store", "false", "offsets are committed after the work, never before"},
    {"group.id", NULL, "groups are named by subscription, under kafka.prefix"},
    {"enable.partition.eof", "false", "sagabus does not expect end-of-partition marks"},
    {"delivery.report.only.error", NULL, "the relay moves on by delivery reports"},
    {"test.mock.num.brokers", NULL, "every part would get a cluster of its own; use sagabus-devbroker"},
};

static bool same_value(const char *name, const char *value, const char *allowed)
{
    if (strcasecmp(value, allowed) == 0)
        return true;
    return strstr(name, "acks") && strcmp(value, "-1") == 0; /* Kafka's number for "all" */
}

static sb_code_t guard(sb_kafka_use_t use, const char *name, const char *value, sb_error_t *err)
{
    for (size_t i = 0; i < sizeof guards / sizeof guards[0]; i++) {
        const guarded_t *g = &guards[i];
        if (strcmp(name, g->name) != 0 || (g->allowed && same_value(name, value, g->allowed)))
            continue;
        return sb_fail(err, SB_INVALID, "kafka.%s=%s is refused: %s", name, value, g->why);
    }
    if (use == SB_KAFKA_RELAY && strcmp(value, "0") != 0 &&
        (strcmp(name, "message.timeout.ms") == 0 || strcmp(name, "delivery.timeout.ms") == 0))
        return SB_STOPPED; /* meant for the producer; the relay never gives up on an event */
    if (use == SB_KAFKA_READER && strcmp(name, "auto.offset.reset") == 0)
        return SB_STOPPED; /* meant for groups; a reader's owner must learn of a reset */
    return SB_OK;
}

/* ---- building a configuration ---- */

typedef struct build {
    rd_kafka_conf_t *conf;
    sb_kafka_use_t use;
} build_t;

static sb_code_t set(build_t *build, const char *name, const char *value, sb_error_t *err)
{
    char text[256];
    if (rd_kafka_conf_set(build->conf, name, value, text, sizeof text) == RD_KAFKA_CONF_OK)
        return SB_OK;
    return sb_fail(err, SB_INVALID, "kafka.%s: %s", name, text);
}

static sb_code_t set_table(build_t *build, const setting_t *table, size_t count, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++)
        if (table[i].uses & BIT(build->use))
            code = set(build, table[i].name, table[i].value, err);
    return code;
}

/* The environment's SAGABUS_KAFKA_DEV_BROKER comes as dev.broker: librdkafka's names have dots only. */
static bool is_ours(const char *name)
{
    return strcmp(name, "dev_broker") == 0 || strcmp(name, "dev.broker") == 0 ||
           strcmp(name, "bootstrap") == 0 || strcmp(name, "prefix") == 0;
}

static sb_code_t set_by_user(void *context, const char *name, const char *value, sb_error_t *err)
{
    build_t *build = context;
    if (is_ours(name))
        return SB_OK;
    sb_code_t code = guard(build->use, name, value, err);
    if (code == SB_STOPPED)
        return SB_OK;
    return code == SB_OK ? set(build, name, value, err) : code;
}

static sb_log_level_t level_of(int syslog_level)
{
    return syslog_level <= 3 ? SB_LOG_ERROR : syslog_level == 4 ? SB_LOG_WARN : SB_LOG_DEBUG;
}

static void on_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    sb_log_level_t ours = level_of(level);
    /* Errors come to on_error as well; CONFWARN says that a consumer's setting means nothing to a producer,
     * which is so for every user who sets both; AUTOCREATE is the dev broker's. */
    static const char *const quiet[] = {"FAIL", "ERROR", "FATAL", "CONFWARN", "AUTOCREATE"};
    for (size_t i = 0; i < sizeof quiet / sizeof quiet[0]; i++)
        if (strcmp(facility, quiet[i]) == 0)
            ours = SB_LOG_DEBUG;
    sb_log(ours, "KAFKA-LOG", "%s|facility=%s handle=%s", text, facility,
           handle ? rd_kafka_name(handle) : "");
}

void sb_kafka_log_error(rd_kafka_t *handle, int code, const char *reason)
{
    /* librdkafka mends all but a fatal error by itself, and the relay what a broker refused, so they are
     * news, not failures. */
    bool ours = code != RD_KAFKA_RESP_ERR__FATAL ||
                rd_kafka_fatal_error(handle, NULL, 0) == RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE;
    sb_log(ours ? SB_LOG_WARN : SB_LOG_ERROR, "KAFKA-ERROR", "%s|code=%d handle=%s", reason, code,
           rd_kafka_name(handle));
}

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    (void)opaque;
    sb_kafka_log_error(handle, code, reason);
}

static sb_code_t build_conf(build_t *build, const sb_config_t *config, bool dev_broker, const char *client_id,
                            sb_error_t *err)
{
    rd_kafka_conf_set_log_cb(build->conf, on_log);
    rd_kafka_conf_set_error_cb(build->conf, on_error);
    sb_code_t code = set(build, "bootstrap.servers", sb_config_get(config, "kafka.bootstrap"), err);
    if (code == SB_OK)
        code = set_table(build, defaults, sizeof defaults / sizeof defaults[0], err);
    if (code == SB_OK && (BIT(build->use) & CONSUMER) && rd_kafka_version() >= SB_KAFKA_VERSION_BACKOFF)
        code = set(build, "fetch.queue.backoff.ms", "10", err);
    if (code == SB_OK && dev_broker)
        code = set_table(build, dev_broker_defaults,
                         sizeof dev_broker_defaults / sizeof dev_broker_defaults[0], err);
    if (code == SB_OK && client_id)
        code = set(build, "client.id", client_id, err);
    return code == SB_OK ? sb_config_each_kafka(config, set_by_user, build, err) : code;
}

static sb_code_t new_conf(rd_kafka_conf_t **out, const sb_config_t *config, sb_kafka_use_t use,
                          bool dev_broker, const char *client_id, sb_error_t *err)
{
    build_t build = {rd_kafka_conf_new(), use};
    *out = NULL;
    sb_code_t code = build_conf(&build, config, dev_broker, client_id, err);
    if (code == SB_OK)
        *out = build.conf;
    else
        rd_kafka_conf_destroy(build.conf);
    return code;
}

sb_code_t sb_kafka_conf(rd_kafka_conf_t **out, const sb_config_t *config, sb_kafka_use_t use,
                        const char *client_id, sb_error_t *err)
{
    bool dev_broker = (BIT(use) & CONSUMER) && sb_kafka_leads_to_dev_broker(config);
    return new_conf(out, config, use, dev_broker, client_id, err);
}

sb_code_t sb_kafka_open(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *conf, sb_error_t *err)
{
    char text[256];
    *out = rd_kafka_new(type, conf, text, sizeof text);
    if (*out)
        return SB_OK;
    rd_kafka_conf_destroy(conf);
    return sb_fail(err, SB_INVALID, "Kafka settings: %s", text);
}

/* ---- where a partition begins and ends ---- */

rd_kafka_resp_err_t sb_kafka_offsets(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list, int64_t which,
                                     int timeout_ms, int *failed)
{
    for (int i = 0; i < list->cnt; i++)
        list->elems[i].offset = which;
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle, list, timeout_ms);
    for (int i = 0; i < list->cnt; i++) {
        const rd_kafka_topic_partition_t *one = &list->elems[i];
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            error = one->err;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR &&
            one->offset < 0) /* no answer came, and 2.0.2 calls that fine */
            error = RD_KAFKA_RESP_ERR__TIMED_OUT;
        *failed = i;
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
            return error;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t ask_offset(rd_kafka_t *handle, const char *topic, int32_t partition, int64_t which,
                                      int64_t until_us, int64_t *out)
{
    int failed = 0;
    int64_t left_ms = (until_us - sb_mono_us()) / 1000;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    (void)rd_kafka_topic_partition_list_add(list, topic, partition);
    rd_kafka_resp_err_t error =
        sb_kafka_offsets(handle, list, which, left_ms < 1 ? 1 : (int)left_ms, &failed);
    *out = list->elems[0].offset;
    rd_kafka_topic_partition_list_destroy(list);
    return error;
}

rd_kafka_resp_err_t sb_kafka_ends(rd_kafka_t *handle, const char *topic, int32_t partition, int timeout_ms,
                                  int64_t *low, int64_t *high)
{
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    rd_kafka_resp_err_t error =
        ask_offset(handle, topic, partition, RD_KAFKA_OFFSET_BEGINNING, until_us, low);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR
               ? ask_offset(handle, topic, partition, RD_KAFKA_OFFSET_END, until_us, high)
               : error;
}

/* ---- the dev broker ---- */

bool sb_kafka_is_dev_broker(rd_kafka_t *handle, int timeout_ms)
{
    char *id = rd_kafka_clusterid(handle, timeout_ms);
    bool mock = id && strncmp(id, MOCK_NAME, strlen(MOCK_NAME)) == 0;
    if (id)
        rd_kafka_mem_free(handle, id);
    return mock;
}

static bool all_loopback(const char *bootstrap)
{
    const char *at = bootstrap;
    do {
        at += strspn(at, " ,");
        if (strncmp(at, "127.", 4) != 0 && strncasecmp(at, "localhost", 9) != 0)
            return false;
        at = strchr(at, ',');
    } while (at);
    return true;
}

bool sb_kafka_leads_to_dev_broker(const sb_config_t *config)
{
    const char *said = sb_config_get(config, "kafka.dev_broker");
    if (!said[0])
        said = sb_config_get(config, "kafka.dev.broker");
    if (said[0])
        return strcasecmp(said, "true") == 0;
    if (!all_loopback(sb_config_get(config, "kafka.bootstrap")) ||
        sb_config_get(config, "kafka.security.protocol")[0])
        return false;
    rd_kafka_conf_t *conf = NULL;
    rd_kafka_t *handle = NULL;
    if (new_conf(&conf, config, SB_KAFKA_ADMIN, false, "sagabus-probe", NULL) != SB_OK ||
        sb_kafka_open(&handle, RD_KAFKA_PRODUCER, conf, NULL) != SB_OK)
        return false; /* the real handle will say what is wrong */
    bool mock = sb_kafka_is_dev_broker(handle, PROBE_MS);
    rd_kafka_destroy(handle);
    return mock;
}

/* ---- messages and headers ---- */

void sb_kafka_message(const rd_kafka_message_t *from, sb_message_t *out)
{
    rd_kafka_timestamp_type_t kind;
    int64_t at = rd_kafka_message_timestamp(from, &kind);
    out->topic = rd_kafka_topic_name(from->rkt);
    out->partition = from->partition;
    out->offset = from->offset;
    out->time_ms = kind == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE ? 0 : at;
    out->key = from->key ? (sb_slice_t){from->key, from->key_len} : SB_SLICE_NONE;
    out->value = from->payload ? (sb_slice_t){from->payload, from->len} : SB_SLICE_NONE;
    out->header_count = 0;

    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(from, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0; out->header_count < SB_HEADERS_MAX; i++) {
        const char *name = NULL;
        const void *value = NULL;
        size_t size = 0;
        if (rd_kafka_header_get_all(headers, i, &name, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR)
            break;
        out->headers[out->header_count++] =
            (sb_header_t){name, value ? (sb_slice_t){value, size} : SB_SLICE_NONE};
    }
    sb_message_know_names(out->headers, out->header_count);
}

sb_code_t sb_kafka_headers(rd_kafka_headers_t **out, const sb_header_t *headers, size_t count,
                           sb_error_t *err)
{
    *out = NULL;
    if (count == 0)
        return SB_OK;
    assert(count <= SB_HEADERS_OUT_MAX);
    rd_kafka_headers_t *list = rd_kafka_headers_new(count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t code = rd_kafka_header_add(list, headers[i].name, -1, headers[i].value.ptr,
                                                       (ssize_t)headers[i].value.len);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            rd_kafka_headers_destroy(list);
            return sb_kafka_fail(err, code, "header %s", headers[i].name);
        }
    }
    *out = list;
    return SB_OK;
}
