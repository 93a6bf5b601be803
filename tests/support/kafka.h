/* kafka - a real broker for tests, given from outside.
 *
 * SB_TEST_KAFKA is its bootstrap address; SB_TEST_KAFKA_CTL a script that takes `kill`, `stop`, `start` or
 * `wipe` as its argument and returns when that is done.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_KAFKA_H
#define SB_TESTS_SUPPORT_KAFKA_H

#include "sagabus/error.h"

#include <stddef.h>

/* The bootstrap address; skips the program when there is none. */
const char *sb_test_kafka(void);

/* Whether the broker can be controlled. */
bool sb_test_kafka_has_control(void);

/* Runs the control script; fails the test when it fails. Skips the program when there is none. */
void sb_test_kafka_control(const char *verb);

/* A topic prefix that no other test has, ended by a dot: "t3f2a9c-1.". */
#define SB_TEST_PREFIX 32
char *sb_test_kafka_prefix(char prefix[SB_TEST_PREFIX]);

/* Prints where the topics and groups of the prefix stand, for the message of a test that fails. */
void sb_test_kafka_report(const char *prefix);

/* How many partitions the members of the group have together; -1 while it has no members or is not stable. */
int sb_test_kafka_group_partitions(const char *group);

/* A setting of a topic as the broker has it; "" when it is not to be had. */
void sb_test_kafka_topic_setting(const char *topic, const char *name, char *value, size_t size);
/* Gives a topic this one setting, and the broker's defaults for all others; fails the test when it cannot be.
 */
void sb_test_kafka_set_topic(const char *topic, const char *name, const char *value);

#endif
