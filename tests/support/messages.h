/* messages - what a test got from Kafka: copies of messages, in the order they came.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_MESSAGES_H
#define SB_TESTS_SUPPORT_MESSAGES_H

#include "bus/consumer.h"

#define SB_TEST_MESSAGE_TEXT 512

typedef struct sb_test_message {
    char topic[SB_TEST_MESSAGE_TEXT];
    int32_t partition;
    int64_t offset;
    char key[SB_TEST_MESSAGE_TEXT];
    char value[SB_TEST_MESSAGE_TEXT];
    bool tombstone;
    char position[64]; /* header sb-pos */
    char type[128];    /* header ce_type */
    char schema[128];  /* header ce_dataschema */
} sb_test_message_t;

typedef struct sb_test_messages {
    sb_test_message_t *item;
    size_t count;
    size_t cap;
    size_t refuse_at; /* the message that would get this index is refused once; 0: none */
    bool reset;       /* a reader said so since the last clear */
} sb_test_messages_t;

/* An sb_message_fn whose context is an sb_test_messages_t. */
sb_code_t sb_test_collect(void *context, const sb_message_t *message, sb_error_t *err);
void sb_test_messages_clear(sb_test_messages_t *messages);
void sb_test_messages_free(sb_test_messages_t *messages);

/* Polls until there are count messages, or fails the test after sb_test_patience(expected_ms). */
void sb_test_read(sb_reader_t *reader, sb_test_messages_t *messages, size_t count, int expected_ms);
void sb_test_consume(sb_consumer_t *consumer, sb_test_messages_t *messages, size_t count, int expected_ms);

/* Fails unless, with repeats dropped by position, the partition's chain of positions is whole and seq rises.
 */
void sb_test_check_chain(const sb_test_messages_t *got, int partition);

/* Sends count records "<from>", "<from + 1>" … with that text as key and value and waits until they are out.
 * partition -1: by key. */
void sb_test_produce(const sb_config_t *config, const char *topic, int32_t partition, int from, int count);

#endif
