/* prefetch - keeps librdkafka fetching after its queue was full.
 *
 * librdkafka reads ahead into a bounded queue. Before 2.2 its thread that finds the queue full looks again
 * only a second later, or when it has something else to do, and who reads emptied the queue in a fraction of
 * that: a backlog then comes in bursts, one a second. So for each quarter of the queue that was read the
 * leaders of what is read are asked for the ends of their partitions, which wakes the thread; nobody waits
 * for the answer, for it may lie behind a fetch that waits for news. Of a queue that is short a quarter is
 * read in no time: then they are asked once a millisecond, and when it was read empty. From 2.2 on there is
 * nothing to do: sb_kafka_conf sets fetch.queue.backoff.ms.
 *
 * Thread: the one that polls.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PREFETCH_H
#define SB_BUS_PREFETCH_H

#include "bus/kafka.h"

typedef struct sb_prefetch {
    size_t bytes, records;         /* read since the last question */
    size_t bytes_max, records_max; /* to be read until the next; 0 bytes: never asks */
    int64_t asked_us;
} sb_prefetch_t;

/* For a handle that reads, with the bounds it was opened with. */
void sb_prefetch_init(sb_prefetch_t *prefetch, rd_kafka_t *handle);
/* A message was read from the handle. */
static inline void sb_prefetch_read(sb_prefetch_t *prefetch, const rd_kafka_message_t *message)
{
    prefetch->bytes += message->len; /* as librdkafka counts: values alone */
    prefetch->records++;
}
/* Whether to ask now; empty: there was nothing more to read. */
bool sb_prefetch_is_due(sb_prefetch_t *prefetch, bool empty);
/* Asks the leaders of these partitions, whose offsets are overwritten: a leader's thread that found the queue
 * full may have put nothing into it, so all that are read are asked. */
void sb_prefetch_ask(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *partitions);

#endif
