/* kafka - settings, error codes and messages of librdkafka, in one place for the whole room.
 *
 * Inner header of bus/: the only one that shows librdkafka's types. Errors are translated in kafka_error.c,
 * which also says what may be tried again; err->origin keeps "kafka:-185".
 *
 * Thread: any; nothing is shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_KAFKA_H
#define SB_BUS_KAFKA_H

#include "base/config.h"
#include "bus/reader.h"

#include <librdkafka/rdkafka.h>

#define SB_KAFKA_VERSION_BACKOFF 0x02020000 /* the first with fetch.queue.backoff.ms */

/* What a Kafka handle is for; each has its own defaults (docs/kafka-settings.md), the user's `kafka.*` win
 * over them but for those that hold a guarantee (idempotence, acks, auto commit), which are refused. */
typedef enum sb_kafka_use {
    SB_KAFKA_RELAY,
    SB_KAFKA_PRODUCER,
    SB_KAFKA_READER,
    SB_KAFKA_GROUP,
    SB_KAFKA_ADMIN
} sb_kafka_use_t;

/* *out is owned by the caller until rd_kafka_new consumes it. client_id NULL: "sagabus". For consumers
 * it asks a loopback broker, for up to a second, whether it is the dev broker; `kafka.dev_broker` saves that.
 */
SB_MUST_CHECK sb_code_t sb_kafka_conf(rd_kafka_conf_t **out, const sb_config_t *config, sb_kafka_use_t use,
                                      const char *client_id, sb_error_t *err);

/* Makes a handle of conf, which is consumed, on failure too. */
SB_MUST_CHECK sb_code_t sb_kafka_open(rd_kafka_t **out, rd_kafka_type_t type, rd_kafka_conf_t *conf,
                                      sb_error_t *err);

/* Fills err from librdkafka's code: "doing: what it says". */
SB_MUST_CHECK sb_code_t sb_kafka_fail(sb_error_t *err, rd_kafka_resp_err_t code, const char *doing, ...)
    SB_PRINTF(3, 4);
/* What a delivery report says of its record. Of one that was never acknowledged itself, only another one
 * behind it, librdkafka says that it is delivered, but knows no offset: that is no delivery, for the brokers
 * refuse the one behind only while they know the producer. It may be there: RD_KAFKA_RESP_ERR__MSG_TIMED_OUT.
 */
rd_kafka_resp_err_t sb_kafka_report(const rd_kafka_message_t *report);
/* Our code for one of librdkafka's. */
sb_code_t sb_kafka_code(rd_kafka_resp_err_t code);

/* Whether an error of the error callback means that the brokers do not let us in, or we not them: credentials
 * or a certificate. librdkafka tries again for ever; waiting does not mend it. (A handshake that merely
 * broke, as when a broker restarts, is none.) */
bool sb_kafka_keeps_out(int code, const char *reason);
/* Fills err with SB_DENIED and what was said. */
void sb_kafka_kept_out(sb_error_t *err, int code, const char *reason);

/* Whether the refusal of a new topic passes by itself: brokers that stood still are no place for partitions
 * until their controller has heard from one of them again, and it has no code of its own for that. */
bool sb_kafka_is_fenced(rd_kafka_resp_err_t code, const char *says);

/* What an error callback of a handle does when it has nothing better: a line in the log. */
void sb_kafka_log_error(rd_kafka_t *handle, int code, const char *reason);

/* The first offset of a partition, and the one behind its last. It takes timeout_ms at most:
 * rd_kafka_query_watermark_offsets waits without an end once it has asked, on a handle's own time-outs. */
SB_MUST_CHECK rd_kafka_resp_err_t sb_kafka_ends(rd_kafka_t *handle, const char *topic, int32_t partition,
                                                int timeout_ms, int64_t *low, int64_t *high);

/* The same for each partition of a list, which is not empty, in one question, for one of both ends
 * (RD_KAFKA_OFFSET_BEGINNING or _END): it takes a slow cluster as long as one of them would. *failed: where
 * in the list the error is. */
SB_MUST_CHECK rd_kafka_resp_err_t sb_kafka_offsets(rd_kafka_t *handle, rd_kafka_topic_partition_list_t *list,
                                                   int64_t which, int timeout_ms, int *failed);

/* Whether the brokers behind this handle are the dev broker (librdkafka's mock cluster), by the form of the
 * cluster's id. Waits up to timeout_ms for it to be known; false when it is not. */
bool sb_kafka_is_dev_broker(rd_kafka_t *handle, int timeout_ms);

/* Whether the configuration leads to the dev broker: by `kafka.dev_broker`, else by asking, when every
 * address is a loopback one (the mock listens nowhere else). False when it does not answer. */
bool sb_kafka_leads_to_dev_broker(const sb_config_t *config);

/* Our view of a message that librdkafka owns: borrowed from it. Headers beyond SB_HEADERS_MAX are left out.
 */
void sb_kafka_message(const rd_kafka_message_t *from, sb_message_t *out);

/* Headers for rd_kafka_producev, which owns them when it succeeds. *out is NULL when count is 0. */
SB_MUST_CHECK sb_code_t sb_kafka_headers(rd_kafka_headers_t **out, const sb_header_t *headers, size_t count,
                                         sb_error_t *err);

#endif
