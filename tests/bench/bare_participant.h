/* bare_participant - a participant of order_bare: a thread that turns commands into rows and replies.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_BARE_PARTICIPANT_H
#define SB_TESTS_BENCH_BARE_PARTICIPANT_H

#include "tests/bench/order.h"
#include "tests/bench/raw.h"

#define BARE_BATCH_MAX 64

typedef struct bare_participant bare_participant_t;

/* index: of order_participant. Starts its thread. */
bare_participant_t *bare_participant_start(place_t *place, int index);
void bare_participant_stop(bare_participant_t **participant);

/* Takes what is there, at most max, waiting up to timeout_ms for the first; each is owned by the caller. */
int bare_take(rd_kafka_t *consumer, rd_kafka_message_t **messages, int max, int timeout_ms);

/* Headers under construction. */
void bare_header(rd_kafka_headers_t *headers, const char *name, const char *value);
/* A copied header's value, "" when it is not there. */
void bare_find_header(const rd_kafka_message_t *message, const char *name, char *out, size_t size);

/* Sends; takes headers. Waits when the queue is full. */
void bare_send(rd_kafka_t *producer, rd_kafka_topic_t *topic, const char *key, const char *body,
               rd_kafka_headers_t *headers);

#endif
