/* participants - stands between the orchestrator and its bus: commands of participants over HTTP become
 * calls, and no participant gets more than it may take.
 *
 * Each participant has places (bulkhead, a share of them for undos), a rate, a budget for repeats and, over
 * HTTP, a circuit breaker. A command that may not go yet waits here, and while it waits the machine is told
 * `pending`, so that the step's time does not run out; after wait_ms it counts as a try that failed. So a
 * breaker delays an undo and never fails it. A command that waits for a saga that does not want it any more
 * is dropped. What is out over Kafka holds its place until its reply comes or its time is over.
 *
 * An HTTP answer is a reply like any other. It is handed to the orchestrator when the shard is still held
 * here, else sent to the shard's partition of the reply topic: it reaches the owner, whoever sent the call.
 * Nothing here is durable, and nothing needs to be: whoever takes a shard over sends its open commands again
 * under the same ids.
 *
 * A participant of which nothing is configured is on Kafka and has no limits: its commands pass through.
 *
 * Thread: the orchestrator's, but for sb_participants_list; the HTTP client has a thread of its own.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_PARTICIPANTS_H
#define SB_SAGA_PARTICIPANTS_H

#include "saga/dispatch/command_bus.h"
#include "saga/dispatch/participant_state.h"

typedef struct sb_participants sb_participants_t;

/* Whether the saga still waits for this command. */
typedef enum sb_wanted { SB_WANTED, SB_WANTED_LATER /* it is paused */, SB_UNWANTED } sb_wanted_t;
typedef sb_wanted_t (*sb_wanted_fn)(void *context, uint64_t tag, sb_slice_t step, bool undo, uint16_t round);

/* All is borrowed. SB_INVALID: a setting of a participant. */
SB_MUST_CHECK sb_code_t sb_participants_new(sb_participants_t **out, const sb_config_t *config,
                                            const sb_command_bus_t *operations, void *bus,
                                            sb_wanted_fn wanted, void *context, sb_error_t *err);
void sb_participants_free(sb_participants_t **participants);

/* The bus over the bus; its context is an sb_participants_t. */
extern const sb_command_bus_t sb_participants_operations;

/* Any thread: the participants that are configured or were met, in that order; returns how many. */
size_t sb_participants_list(sb_participants_t *participants, sb_participant_state_t *out, size_t max);

#endif
