/* dead_letter_headers - what the copy of a dead letter on Kafka says beside the record that failed.
 *
 * Key, value and headers of the record stay as they were; these headers are added, in our own form (text, for
 * people and any language), in the form that Spring for Apache Kafka writes and reads, or in both. The list
 * is in docs/contract.md. Headers of the same names that the record had (it failed before) are replaced.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_DEAD_LETTER_HEADERS_H
#define SB_BUS_DEAD_LETTER_HEADERS_H

#include "base/clock.h"
#include "bus/reader.h"

/* Ours: text. */
#define SB_DLQ_TOPIC           "dlq-topic"
#define SB_DLQ_PARTITION       "dlq-partition"
#define SB_DLQ_OFFSET          "dlq-offset"
#define SB_DLQ_TIMESTAMP       "dlq-timestamp"
#define SB_DLQ_GROUP           "dlq-group"
#define SB_DLQ_ATTEMPTS        "dlq-attempts"
#define SB_DLQ_ERROR           "dlq-error"
#define SB_DLQ_REASON          "dlq-reason"
#define SB_DLQ_FIRST_FAILED_AT "dlq-first-failed-at"

/* Spring's: partition is a big-endian int of 4 bytes, offset and timestamp of 8, the rest is text. */
#define SB_SPRING_DLT_TOPIC          "kafka_dlt-original-topic"
#define SB_SPRING_DLT_PARTITION      "kafka_dlt-original-partition"
#define SB_SPRING_DLT_OFFSET         "kafka_dlt-original-offset"
#define SB_SPRING_DLT_TIMESTAMP      "kafka_dlt-original-timestamp"
#define SB_SPRING_DLT_TIMESTAMP_TYPE "kafka_dlt-original-timestamp-type"
#define SB_SPRING_DLT_GROUP          "kafka_dlt-original-consumer-group"
#define SB_SPRING_DLT_ERROR          "kafka_dlt-exception-fqcn"
#define SB_SPRING_DLT_REASON         "kafka_dlt-exception-message"

typedef enum sb_dead_letter_style {
    SB_DEAD_LETTER_OWN = 1,
    SB_DEAD_LETTER_SPRING = 2,
    SB_DEAD_LETTER_BOTH = 3
} sb_dead_letter_style_t;

/* Why a record is one. All borrowed. */
typedef struct sb_dead_letter {
    sb_slice_t group;  /* subscription or consumer group */
    int attempts;      /* how often it was tried */
    sb_slice_t error;  /* stable name of the kind of error: "invalid" */
    sb_slice_t reason; /* what went wrong, text for people; cut at SB_DEAD_LETTER_REASON_MAX bytes */
    int64_t first_failed_us;
} sb_dead_letter_t;

#define SB_DEAD_LETTER_REASON_MAX  1024
#define SB_DEAD_LETTER_HEADERS_MAX (SB_HEADERS_MAX + 17) /* a record's own, ours, Spring's */

typedef struct sb_dead_letter_headers {
    sb_header_t header[SB_DEAD_LETTER_HEADERS_MAX];
    size_t count;
    char partition[12];
    char offset[24];
    char attempts[12];
    char time[SB_TIME_TEXT];
    char first_failed[SB_TIME_TEXT];
    char partition_be[4];
    char offset_be[8];
    char time_be[8];
} sb_dead_letter_headers_t;

/* Fills *out: the message's own headers, then those of the style. They borrow from message, letter and *out,
 * which must not be copied. */
void sb_dead_letter_headers(const sb_message_t *message, const sb_dead_letter_t *letter,
                            sb_dead_letter_style_t style, sb_dead_letter_headers_t *out);

/* "sagabus", "spring" or "both" as a setting has it. False: none of them. */
bool sb_dead_letter_style_parse(const char *text, sb_dead_letter_style_t *out);

#endif
