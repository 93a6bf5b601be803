/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/mock.h"

#include "tests/support/assert.h"

static void quiet(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    (void)level;
    (void)facility;
    (void)text;
}

void sb_test_mock_open(sb_test_mock_t *mock, int brokers)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    mock->handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(mock->handle);
    mock->cluster = rd_kafka_mock_cluster_new(mock->handle, brokers);
    assert_non_null(mock->cluster);
    mock->bootstrap = rd_kafka_mock_cluster_bootstraps(mock->cluster);
}

void sb_test_mock_close(sb_test_mock_t *mock)
{
    if (mock->cluster)
        rd_kafka_mock_cluster_destroy(mock->cluster);
    if (mock->handle)
        rd_kafka_destroy(mock->handle);
    *mock = (sb_test_mock_t){NULL, NULL, NULL};
}

void sb_test_mock_topic(const sb_test_mock_t *mock, const char *topic, int partitions)
{
    assert_int_equal(rd_kafka_mock_topic_create(mock->cluster, topic, partitions, 1), 0);
}

sb_config_t *sb_test_bus_config(const char *bootstrap, const char *prefix)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_config_t *config = NULL;
    assert_ok(sb_config_new(&config, &err), &err);
    sb_test_bus_set(config, "kafka.bootstrap", bootstrap);
    if (prefix)
        sb_test_bus_set(config, "kafka.prefix", prefix);
    return config;
}

void sb_test_bus_set(sb_config_t *config, const char *name, const char *value)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_config_set(config, name, value, &err), &err);
}

void sb_test_bus_one_at_a_time(sb_config_t *config)
{
    sb_test_bus_set(config, "kafka.max.in.flight.requests.per.connection", "1");
}
