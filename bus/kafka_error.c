/* What librdkafka's codes mean to us. The only place that decides which of them may pass by waiting.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/kafka.h"
#include "bus/topics.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

sb_code_t sb_kafka_code(rd_kafka_resp_err_t code)
{
    switch ((int)code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return SB_OK;

    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return SB_TIMEOUT;

    case RD_KAFKA_RESP_ERR__QUEUE_FULL:
    case RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED:
        return SB_BUSY;

    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return SB_TOO_LARGE;

    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return SB_NOT_FOUND;

    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return SB_DENIED;

    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR_PRODUCER_FENCED:
    case RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH:
        return SB_FENCED;

    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        return SB_GONE;

    case RD_KAFKA_RESP_ERR__INVALID_ARG:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_INVALID_PARTITIONS:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
        return SB_INVALID;

    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS:
    case RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL:
        return SB_CONFLICT;

    case RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT:
        return SB_UNSUPPORTED;

    case RD_KAFKA_RESP_ERR__PURGE_QUEUE:
    case RD_KAFKA_RESP_ERR__PURGE_INFLIGHT:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return SB_STOPPED;

    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__WAIT_COORD:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__FATAL: /* of a producer: a new handle may do it */
    case RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION:
    case RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_COORDINATOR:
    case RD_KAFKA_RESP_ERR_NOT_CONTROLLER:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS:
    case RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND:
    case RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR:
    case RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER:
    case RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID:
        return SB_UNAVAILABLE;

    default:
        return SB_INTERNAL;
    }
}

sb_code_t sb_kafka_fail(sb_error_t *err, rd_kafka_resp_err_t code, const char *doing, ...)
{
    char what[256];
    va_list args;
    va_start(args, doing);
    (void)vsnprintf(what, sizeof what, doing, args);
    va_end(args);
    sb_code_t ours = sb_kafka_code(code);
    if (ours == SB_OK) /* a call that failed without saying why */
        ours = SB_INTERNAL;
    ours = sb_fail(err, ours, "%s: %s", what, rd_kafka_err2str(code));
    if (err)
        (void)snprintf(err->origin, sizeof err->origin, "kafka:%d", (int)code);
    return ours;
}

rd_kafka_resp_err_t sb_kafka_report(const rd_kafka_message_t *report)
{
    bool unseen = report->err == RD_KAFKA_RESP_ERR_NO_ERROR && report->offset < 0;
    return unseen ? RD_KAFKA_RESP_ERR__MSG_TIMED_OUT : report->err;
}

bool sb_kafka_keeps_out(int code, const char *reason)
{
    return sb_kafka_code((rd_kafka_resp_err_t)code) == SB_DENIED &&
           (code != RD_KAFKA_RESP_ERR__SSL || strstr(reason, "certificate"));
}

bool sb_kafka_is_fenced(rd_kafka_resp_err_t code, const char *says)
{
    return code == RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR && says &&
           strstr(says, "All brokers are currently fenced");
}

/* Older ones send the client's nonce twice, which Kafka before 4 let pass and 4 takes for a wrong password.
 */
#define VERSION_SCRAM 0x020601ff

const char *sb_kafka_library(void)
{
    return rd_kafka_version_str();
}

const char *sb_kafka_library_advice(const sb_config_t *config)
{
    static const char *const names[] = {"kafka.sasl.mechanism", "kafka.sasl.mechanisms"};
    bool scram = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        scram = scram || strncasecmp(sb_config_get(config, names[i]), "SCRAM", 5) == 0;
    return scram && rd_kafka_version() < VERSION_SCRAM ? "Kafka 4 refuses SCRAM of librdkafka before 2.6.1, "
                                                         "whatever the password: take a newer one, or PLAIN "
                                                         "over TLS"
                                                       : NULL;
}

static const char *advice_for(const char *reason)
{
    return strstr(reason, "SCRAM") && rd_kafka_version() < VERSION_SCRAM
               ? " (Kafka 4 refuses SCRAM of librdkafka before 2.6.1, whatever the password: take a newer "
                 "one, or PLAIN)"
               : "";
}

void sb_kafka_kept_out(sb_error_t *err, int code, const char *reason)
{
    sb_code_t ignored =
        sb_fail(err, SB_DENIED, "the brokers do not let us in%s: %s", advice_for(reason), reason);
    (void)ignored;
    if (err)
        (void)snprintf(err->origin, sizeof err->origin, "kafka:%d", code);
}
