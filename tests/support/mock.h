/* mock - librdkafka's mock cluster inside the test, for errors on request; and settings that lead to a
 * broker.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_MOCK_H
#define SB_TESTS_SUPPORT_MOCK_H

#include "base/config.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

typedef struct sb_test_mock {
    rd_kafka_t *handle;
    rd_kafka_mock_cluster_t *cluster;
    const char *bootstrap; /* borrowed from the cluster */
} sb_test_mock_t;

/* Fail the test when it cannot be had. */
void sb_test_mock_open(sb_test_mock_t *mock, int brokers);
void sb_test_mock_close(sb_test_mock_t *mock); /* fine on a zeroed struct */
void sb_test_mock_topic(const sb_test_mock_t *mock, const char *topic, int partitions);

/* Settings for a broker; NULL prefix: none. Closed by sb_config_free. */
sb_config_t *sb_test_bus_config(const char *bootstrap, const char *prefix);
void sb_test_bus_set(sb_config_t *config, const char *name, const char *value);

/* For who has the mock refuse requests to produce: a broker refuses what comes behind a batch that it has
 * refused, where it knows the producer; the mock, which looks at no sequence numbers, takes it when it is
 * under way already. */
void sb_test_bus_one_at_a_time(sb_config_t *config);
#define SB_TEST_PRODUCE 0 /* Kafka's number of such a request */

#endif
