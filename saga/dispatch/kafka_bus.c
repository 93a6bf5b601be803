/* The orchestrator's bus over Kafka: commands by a producer, replies by a reader that is assigned the
 * partitions of the shards held.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/command_bus.h"

#include "bus/topic.h"

#include <stdlib.h>

typedef struct kafka_bus {
    const sb_config_t *config;
    char *owner;
    sb_topic_t reply_topic;
    sb_producer_t *producer;
    sb_reader_t *reader;
} kafka_bus_t;

sb_code_t sb_kafka_bus_new(void **out, const sb_config_t *config, const char *owner, sb_error_t *err)
{
    *out = NULL;
    kafka_bus_t *bus = calloc(1, sizeof *bus);
    if (!bus || !(bus->owner = strdup(owner))) {
        free(bus);
        return sb_fail(err, SB_NO_MEMORY, "orchestrator: out of memory");
    }
    bus->config = config;
    sb_code_t code = sb_topic_replies(bus->reply_topic, sb_config_get(config, "kafka.prefix"), err);
    *out = bus;
    if (code != SB_OK)
        sb_kafka_bus_free(out);
    return code;
}

static void stop(void *context)
{
    kafka_bus_t *bus = context;
    sb_producer_close(&bus->producer); /* it wakes the reader's owner */
    sb_reader_close(&bus->reader);
}

void sb_kafka_bus_free(void **out)
{
    kafka_bus_t *bus = *out;
    if (!bus)
        return;
    stop(bus);
    free(bus->owner);
    free(bus);
    *out = NULL;
}

static sb_code_t start(void *context, sb_producer_failed_fn on_failed, void *argument, sb_error_t *err)
{
    kafka_bus_t *bus = context;
    sb_code_t code = sb_producer_open(&bus->producer, bus->config, bus->owner, on_failed, argument, err);
    if (code == SB_OK)
        code = sb_reader_open(&bus->reader, bus->config, bus->owner, err);
    if (code == SB_OK)
        sb_producer_wake(bus->producer, sb_reader_signal(bus->reader)->fd);
    return code;
}

static sb_code_t assign(void *context, int shard, int64_t offset, const char *cluster, sb_error_t *err)
{
    kafka_bus_t *bus = context;
    return sb_reader_assign(bus->reader, bus->reply_topic, shard, offset, cluster, err);
}

static void unassign(void *context, int shard)
{
    kafka_bus_t *bus = context;
    sb_reader_unassign(bus->reader, bus->reply_topic, shard);
}

static sb_code_t poll_replies(void *context, int max, sb_message_fn on_message, void *argument, int *count,
                              bool *reset, sb_error_t *err)
{
    kafka_bus_t *bus = context;
    return sb_reader_poll(bus->reader, max, 0, on_message, argument, count, reset, err);
}

static int wake_fd(void *context)
{
    kafka_bus_t *bus = context;
    return bus->reader ? sb_reader_signal(bus->reader)->fd : -1;
}

static const char *cluster(void *context)
{
    kafka_bus_t *bus = context;
    return bus->reader ? sb_reader_cluster_id(bus->reader) : "";
}

static bool connected(void *context)
{
    kafka_bus_t *bus = context;
    return bus->reader && sb_reader_connected(bus->reader);
}

static sb_code_t send_record(void *context, const sb_record_t *record, sb_error_t *err)
{
    kafka_bus_t *bus = context;
    return sb_producer_send(bus->producer, record, err);
}

static void serve(void *context)
{
    kafka_bus_t *bus = context;
    sb_producer_poll(bus->producer, 0);
}

static sb_code_t flush(void *context, int timeout_ms, sb_error_t *err)
{
    kafka_bus_t *bus = context;
    return bus->producer ? sb_producer_flush(bus->producer, timeout_ms, err) : SB_OK;
}

const sb_command_bus_t sb_kafka_bus_operations = {
    .start = start,
    .stop = stop,
    .assign = assign,
    .unassign = unassign,
    .poll = poll_replies,
    .wake_fd = wake_fd,
    .cluster = cluster,
    .connected = connected,
    .send = send_record,
    .serve = serve,
    .flush = flush,
};
