/* prefetch - keeps librdkafka fetching after its queue was full.
 *
 * librdkafka reads ahead into a bounded queue. Before 2.2 its thread that finds the queue full looks again
 * only a second later, or when it has something else to do, and who reads emptied the queue in a fraction of
 * that: a backlog then comes in bursts, one a second. So for each quarter of the queue that was read the
 * leaders of what is assigned are asked for the ends of their partitions, which wakes the thread; nobody
 * waits for the answer, for it may lie behind a fetch that waits for news. From 2.2 on there is nothing to
 * do: sb_kafka_conf sets fetch.queue.backoff.ms.
 *
 * Thread: the one that polls.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PREFETCH_H
#define SB_BUS_PREFETCH_H

#include "bus/kafka.h"

typedef struct sb_prefetch {
    size_t bytes, records;         /* read since the last question */
    size_t bytes_max, records_max; /* to be read until the next; 0: never asks */
} sb_prefetch_t;

/* For a handle that subscribes or assigns, with the bounds it was opened with. */
void sb_prefetch_init(sb_prefetch_t *prefetch, rd_kafka_t *handle);
/* A message was read from the handle. */
void sb_prefetch_read(sb_prefetch_t *prefetch, rd_kafka_t *handle, const rd_kafka_message_t *message);

#endif
