/* kafka - settings and error codes of librdkafka, in one place for the whole room.
 *
 * Inner header of bus/: the only one that shows librdkafka's types. Errors are translated in kafka_error.c,
 * with librdkafka's own word on retriable and fatal; err->origin keeps "kafka:-185".
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_KAFKA_H
#define SB_BUS_KAFKA_H

#include "base/config.h"

#include <librdkafka/rdkafka.h>

/* What a Kafka handle is for; each has its own defaults (docs/kafka-settings.md), the user's `kafka.*` win
 * over them but for those that hold a guarantee (idempotence, acks, auto commit), which are refused. */
typedef enum sb_kafka_use {
    SB_KAFKA_RELAY,
    SB_KAFKA_PRODUCER,
    SB_KAFKA_READER,
    SB_KAFKA_GROUP,
    SB_KAFKA_ADMIN
} sb_kafka_use_t;

/* *out is owned by the caller until rd_kafka_new consumes it. */
SB_MUST_CHECK sb_code_t sb_kafka_conf(rd_kafka_conf_t **out, const sb_config_t *config, sb_kafka_use_t use,
                                      sb_error_t *err);

SB_MUST_CHECK sb_code_t sb_kafka_fail(sb_error_t *err, rd_kafka_resp_err_t code, const char *doing, ...)
    SB_PRINTF(3, 4);

/* Whether the brokers behind this configuration are the dev broker (librdkafka's mock cluster). */
bool sb_kafka_is_dev_broker(rd_kafka_t *handle);

#endif
