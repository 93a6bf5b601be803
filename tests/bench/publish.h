/* publish - a backlog in the store to Kafka: by the relay, and the same records by raw librdkafka.
 *
 * The backlog is appended once. Each round has a topic of its own and, for the relay, a cursor at the start.
 * The clock runs from the opening of the handle until Kafka has acknowledged every record. The reference has
 * its records, with all headers written out, in memory: it reads nothing and keeps no cursor.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_PUBLISH_H
#define SB_TESTS_BENCH_PUBLISH_H

#include "tests/bench/place.h"

typedef struct publish_record publish_record_t;

typedef struct publish {
    place_t *place;
    int64_t count;
    int64_t last_seq;
    publish_record_t *record;
    int topics; /* made so far */
} publish_t;

/* Appends count events of 200 bytes (APPEND_BODY), and waits until they are safe to read. */
void publish_open(publish_t *publish, place_t *place, int64_t count);
void publish_close(publish_t *publish);

/* Rounds: events a second; the relay's also ms from its opening until it sends. */
void publish_relay(void *context, int round, double *values);
void publish_raw(void *context, int round, double *values);

#endif
