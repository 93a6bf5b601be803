/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/prefetch.h"

#include <stdlib.h>

#define SHARES 4 /* of the queue: one of them is read between two questions, so it never runs empty */

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

/* All that is assigned: a leader's thread that found the queue full may have put nothing into it. */
static void wake(rd_kafka_t *handle)
{
    rd_kafka_topic_partition_list_t *all = NULL;
    if (rd_kafka_assignment(handle, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (int i = 0; i < all->cnt; i++)
        all->elems[i].offset = RD_KAFKA_OFFSET_END;
    if (all->cnt > 0) {
        rd_kafka_resp_err_t ignored = rd_kafka_offsets_for_times(handle, all, 0);
        (void)ignored;
    }
    rd_kafka_topic_partition_list_destroy(all);
}

void sb_prefetch_read(sb_prefetch_t *prefetch, rd_kafka_t *handle, const rd_kafka_message_t *message)
{
    prefetch->bytes += message->len; /* as librdkafka counts: values alone */
    prefetch->records++;
    if (prefetch->bytes_max == 0 ||
        (prefetch->bytes < prefetch->bytes_max && prefetch->records < prefetch->records_max))
        return;
    prefetch->bytes = prefetch->records = 0;
    wake(handle);
}
