/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/prefetch.h"

#include "base/clock.h"

#include <stdlib.h>

#define SHARES 4 /* of the queue: one of them is read between two questions, so it never runs empty */
#define ASK_US 1000

static size_t setting(const rd_kafka_conf_t *conf, const char *name)
{
    char text[32] = "";
    size_t size = sizeof text;
    if (rd_kafka_conf_get(conf, name, text, &size) != RD_KAFKA_CONF_OK)
        return 0;
    return (size_t)strtoul(text, NULL, 10);
}

void sb_prefetch_init(sb_prefetch_t *prefetch, rd_kafka_t *handle)
{
    const rd_kafka_conf_t *conf = rd_kafka_conf(handle);
    *prefetch = (sb_prefetch_t){.bytes = 0};
    if (rd_kafka_version() >= SB_KAFKA_VERSION_BACKOFF)
        return;
    prefetch->bytes_max = setting(conf, "queued.max.messages.kbytes") * 1024 / SHARES;
    prefetch->records_max = setting(conf, "queued.min.messages") / SHARES;
}

bool sb_prefetch_is_due(sb_prefetch_t *prefetch, bool empty)
{
    if (prefetch->bytes_max == 0 || prefetch->records == 0 ||
        (prefetch->bytes < prefetch->bytes_max && prefetch->records < prefetch->records_max))
        return false;
    int64_t now_us = sb_mono_us();
    if (!empty && now_us - prefetch->asked_us < ASK_US)
        return false;
    prefetch->bytes = prefetch->records = 0;
    prefetch->asked_us = now_us;
    return true;
}

void sb_prefetch_ask(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *partitions)
{
    for (int i = 0; i < partitions->cnt; i++)
        partitions->elems[i].offset = RD_KAFKA_OFFSET_END;
    if (partitions->cnt == 0)
        return;
    rd_kafka_resp_err_t ignored = rd_kafka_offsets_for_times(handle, partitions, 0);
    (void)ignored;
}
