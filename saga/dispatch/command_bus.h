/* orchestrator_bus - the seam between the orchestrator and what carries its commands and replies.
 *
 * The real one (saga/dispatch/kafka_bus.c) is a producer and a reader of bus/; tests put one in that
 * plays the participants in memory.
 *
 * Thread: every operation is called from the orchestrator's thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_COMMAND_BUS_H
#define SB_SAGA_COMMAND_BUS_H

#include "base/config.h"
#include "bus/producer.h"
#include "bus/reader.h"

typedef struct sb_orchestrator_bus {
    /* Connects. on_failed gets the tag of a record that could not be delivered. Called again after an error.
     */
    sb_code_t (*start)(void *bus, sb_producer_failed_fn on_failed, void *context, sb_error_t *err);
    void (*stop)(void *bus); /* also after a failed start */

    /* Reads a shard's replies from offset on; cluster is the id of the brokers that offset belongs to. */
    sb_code_t (*assign)(void *bus, int shard, int64_t offset, const char *cluster, sb_error_t *err);
    void (*unassign)(void *bus, int shard);

    /* Hands over replies that are there, without waiting; reset: an offset was not to be had. The message's
     * partition is its shard. */
    sb_code_t (*poll)(void *bus, int max, sb_message_fn on_message, void *context, int *count, bool *reset,
                      sb_error_t *err);
    int (*wake_fd)(void *bus);         /* readable when replies may be there */
    const char *(*cluster)(void *bus); /* "" while unknown */
    bool (*connected)(void *bus);      /* whether the brokers answer, as far as was heard */

    sb_code_t (*send)(void *bus, const sb_record_t *record, sb_error_t *err); /* copies; SB_BUSY: full */
    void (*serve)(void *bus);                                                 /* reports of failed records */
    sb_code_t (*flush)(void *bus, int timeout_ms, sb_error_t *err);
} sb_command_bus_t;

/* The real one. */
extern const sb_command_bus_t sb_kafka_bus_operations;
SB_MUST_CHECK sb_code_t sb_kafka_bus_new(void **out, const sb_config_t *config, const char *owner,
                                         sb_error_t *err);
void sb_kafka_bus_free(void **out); /* NULL is fine; sets NULL */

#endif
