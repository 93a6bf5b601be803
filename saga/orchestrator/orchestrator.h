/* orchestrator - drives sagas: one loop an instance around the pure machine.
 *
 * Collect all that waits (starts, verbs, replies, timers) -> decide all -> ONE transaction (lease row with
 * the reply offset, saga events, saga rows) -> after the commit answer the callers and send the commands. No
 * gather delay, one batch in flight: the waiting work is the batch. A bad member is split out of a batch,
 * never the batch's end. A crash means another instance takes the shard, folds the open sagas and sends their
 * commands again under the same ids, at a capped rate.
 *
 * Thread: run belongs to one thread; start, command, watch, stop and stats may be called from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ORCHESTRATOR_H
#define SB_SAGA_ORCHESTRATOR_H

#include "base/config.h"
#include "events/catalog.h"
#include "events/progress.h"
#include "saga/dispatch/command_bus.h"
#include "saga/dispatch/participant_state.h"
#include "saga/machine.h"

typedef struct sb_orchestrator sb_orchestrator_t;

/* NOTIFY on it says that there is something in saga_command. It is looked at every second all the same. */
#define SB_SAGA_CHANNEL "sagabus_saga_command"

typedef struct sb_orchestrator_config {
    const sb_config_t *config;
    const char *pg_uri;
    const char *owner;
    sb_catalog_t *catalog;   /* borrowed */
    sb_progress_t *progress; /* borrowed; hears of each commit's events; may be NULL */
    /* After some callbacks of calls and watches, on the same thread, so that whoever was told is woken once
     * for all of them; may be NULL. */
    void (*on_told)(void *context);
    void *told_context;
} sb_orchestrator_config_t;

/* How a call ended; handed to its callback exactly once, on the orchestrator's thread: be quick, do not
 * block. */
typedef struct sb_saga_answer {
    sb_code_t
        code; /* OK, INVALID, NOT_FOUND, CONFLICT, MISMATCH, BUSY, UNAVAILABLE, UNKNOWN_OUTCOME, STOPPED */
    const sb_error_t *err; /* borrowed for the call */
    sb_uuid_t id;
    sb_saga_status_t status;
    bool repeated; /* the business key was there already: this is the first saga */
} sb_saga_answer_t;

typedef void (*sb_saga_answer_fn)(void *context, const sb_saga_answer_t *answer);

typedef struct sb_saga_start {
    sb_slice_t type;  /* copied, as all slices here */
    sb_slice_t key;   /* unique for ever per type; absent: the new saga's id */
    sb_slice_t input; /* JSON object */
    sb_slice_t correlation_id;
    sb_slice_t traceparent;
    bool more; /* others come at once: it is not looked at before sb_orchestrator_wake */
} sb_saga_start_t;

/* Queues a start; the answer comes after the commit. SB_BUSY: saga.open_max sagas are open (nothing was
 * queued, the callback is not called). SB_UNAVAILABLE: this instance has no shard now. */
SB_MUST_CHECK sb_code_t sb_orchestrator_start(sb_orchestrator_t *orchestrator, const sb_saga_start_t *start,
                                              sb_saga_answer_fn on_answer, void *context, sb_error_t *err);

/* After starts with `more`: they are one batch, where each by itself would be a commit. */
void sb_orchestrator_wake(sb_orchestrator_t *orchestrator);

/* Calls on_answer once when the saga is over (at once when it is already, with SB_STOPPED when the
 * orchestrator stops); the caller must sb_orchestrator_unwatch before context dies, unless it was called. Not
 * SB_OK: it was not and will not be called. */
SB_MUST_CHECK sb_code_t sb_orchestrator_watch(sb_orchestrator_t *orchestrator, const sb_uuid_t *id,
                                              sb_saga_answer_fn on_answer, void *context, sb_error_t *err);
/* The same from inside a callback of a start, on the orchestrator's thread: a saga that is in its memory is
 * watched without a look at the database. */
SB_MUST_CHECK sb_code_t sb_orchestrator_watch_here(sb_orchestrator_t *orchestrator, const sb_uuid_t *id,
                                                   sb_saga_answer_fn on_answer, void *context,
                                                   sb_error_t *err);
/* After it the callback does not run any more: one that runs now is waited for (not from inside of it). */
void sb_orchestrator_unwatch(sb_orchestrator_t *orchestrator, const sb_uuid_t *id, void *context);

typedef struct sb_saga_verb {
    sb_uuid_t id;
    sb_saga_input_kind_t kind; /* CANCEL, PAUSE, RESUME, RETRY, REWIND, SKIP, RESOLVE, MIGRATE */
    sb_slice_t step;
    sb_slice_t result;
    sb_slice_t input; /* RETRY, REWIND */
    bool pause;       /* REWIND */
    int version;      /* MIGRATE: of the definition; 0: the newest */
    sb_slice_t by;
    sb_slice_t reason;
} sb_saga_verb_t;

/* An operator's act on a saga of this instance's shards; for others SB_FENCED (write it to table
 * saga_command). */
SB_MUST_CHECK sb_code_t sb_orchestrator_command(sb_orchestrator_t *orchestrator, const sb_saga_verb_t *verb,
                                                sb_saga_answer_fn on_answer, void *context, sb_error_t *err);

typedef struct sb_orchestrator_stats {
    int shards;
    int64_t open;
    int64_t started, completed, compensated; /* since start */
    int64_t attention;                       /* open sagas that wait for an operator */
    int64_t batches, batch_items;
    int64_t resent, anomalies, retries;
    int64_t ignored; /* replies that answer no command of a saga that is there */
    bool kafka_ok, pg_ok;
    char error[160]; /* why it stands still; "" when it does not */
} sb_orchestrator_stats_t;

/* Any thread. Returns how many there are, at most max. */
size_t sb_orchestrator_participants(const sb_orchestrator_t *orchestrator, sb_participant_state_t *out,
                                    size_t max);

SB_MUST_CHECK sb_code_t sb_orchestrator_open(sb_orchestrator_t **out, const sb_orchestrator_config_t *config,
                                             sb_error_t *err);
/* As sb_orchestrator_open, with a bus of the caller's in place of Kafka; both borrowed. */
SB_MUST_CHECK sb_code_t sb_orchestrator_open_over(sb_orchestrator_t **out,
                                                  const sb_orchestrator_config_t *config,
                                                  const sb_command_bus_t *operations, void *bus,
                                                  sb_error_t *err);
void sb_orchestrator_run(
    sb_orchestrator_t *orchestrator); /* until stopped; waits for PostgreSQL and Kafka by itself */
void sb_orchestrator_stop(
    sb_orchestrator_t *orchestrator); /* answers what waits with SB_STOPPED, gives its shards back */
void sb_orchestrator_close(sb_orchestrator_t **orchestrator);
void sb_orchestrator_stats(const sb_orchestrator_t *orchestrator, sb_orchestrator_stats_t *out);

#endif
