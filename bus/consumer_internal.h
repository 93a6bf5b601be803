/* consumer (inner side) - a member of a group whose owner says where each partition begins.
 *
 * The subscriber's form of bus/consumer.h: it keeps positions of its own, takes messages one by one and keeps
 * them, seeks, and commits what it says. Not to be mixed with sb_consumer_poll on the same consumer.
 *
 * Thread: the consumer's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_CONSUMER_INTERNAL_H
#define SB_BUS_CONSUMER_INTERNAL_H

#include "bus/consumer.h"
#include "bus/kafka.h"

typedef struct sb_consumer_place {
    const char *topic; /* borrowed */
    int32_t partition;
    int64_t offset; /* the next one to read; RD_KAFKA_OFFSET_BEGINNING, _END; _INVALID: as the group has it */
} sb_consumer_place_t;

typedef struct sb_consumer_hooks {
    /* Fills in the offsets. When it fails the assignment waits, and it is asked again with the next poll. */
    sb_code_t (*on_assigned)(void *context, sb_consumer_place_t *places, size_t count, sb_error_t *err);
    /* Before they go; lost: they are gone already, so nothing can be committed for them. */
    void (*on_revoked)(void *context, const sb_consumer_place_t *places, size_t count, bool lost);
    void *context;
    const char *instance_id; /* static membership; NULL */
} sb_consumer_hooks_t;

/* As sb_consumer_open. */
SB_MUST_CHECK sb_code_t sb_consumer_open_hooked(sb_consumer_t **out, const sb_config_t *config,
                                                const char *group, const char *const *topics,
                                                size_t topic_count, const sb_consumer_hooks_t *hooks,
                                                sb_error_t *err);
/* The next message, owned by the caller (rd_kafka_message_destroy before the consumer is closed), or NULL
 * after timeout_ms. Fails with what on_assigned said, too. */
SB_MUST_CHECK sb_code_t sb_consumer_next(sb_consumer_t *consumer, int timeout_ms, rd_kafka_message_t **out,
                                         sb_error_t *err);
rd_kafka_t *sb_consumer_handle(sb_consumer_t *consumer); /* borrowed */
SB_MUST_CHECK sb_code_t sb_consumer_seek(sb_consumer_t *consumer, const char *topic, int32_t partition,
                                         int64_t offset, sb_error_t *err);
/* Pauses or resumes all that is assigned now and later; polling goes on. */
void sb_consumer_hold(sb_consumer_t *consumer, bool held);
/* Commits these offsets (negative ones are left out); wait: until the coordinator has them. */
SB_MUST_CHECK sb_code_t sb_consumer_commit_at(sb_consumer_t *consumer, const sb_consumer_place_t *places,
                                              size_t count, bool wait, sb_error_t *err);

#endif
