/* direct - events straight to Kafka: by the public publisher, and the same records by raw librdkafka.
 *
 * Each round has a topic of its own. The clock runs from the opening of the handle until every record is
 * acknowledged and reported one by one. The reference has its headers written out in memory; the publisher
 * makes an id and a time for each event, checks its body, and writes them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_DIRECT_H
#define SB_TESTS_BENCH_DIRECT_H

#include "tests/bench/place.h"

typedef struct direct_record direct_record_t;

typedef struct direct {
    place_t *place;
    int64_t count;
    direct_record_t *record;
    int topics; /* made so far */
} direct_t;

void direct_open(direct_t *direct, place_t *place, int64_t count);
void direct_close(direct_t *direct);

/* Rounds: events a second; processor time of this process for one. */
void direct_publisher(void *context, int round, double *values);
void direct_raw(void *context, int round, double *values);

#endif
