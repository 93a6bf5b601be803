/* aggregate - decide and evolve: a state folded from one stream's events, and commands decided on that state.
 *
 * Two functions of yours hold the whole of the business rules. evolve(state, event) folds one event into the
 * state; decide(state, command) says which events follow from a command, or refuses it. Both are pure: no
 * I/O, no clock, no random numbers; what they need comes with the command. sb_aggregate_execute loads the
 * state, decides, and appends with exactly the version that the decision rests on. When another writer was
 * first it folds what came in between and decides again, so no decision ever rests on a state that was no
 * longer true.
 *
 * Events come through the store's reading path: checked by their schemas when they were written and brought
 * up to the newest version by the declared upcasts, so evolve knows one version of each type. An event type
 * that evolve does not know is not an error to us; return SB_OK for what does not concern the state. The data
 * of an event that was erased is `null`.
 *
 * A snapshot is the state's bytes at one version, so that a long stream need not be read whole. It is written
 * after the append, in a transaction of its own, and only over an older one; losing it costs time, never
 * truth. It carries the version of your bytes (form): a snapshot of another form is ignored, so raise the
 * form whenever the state's struct or evolve changes. It rests on the events it was folded from: where old
 * ranges of events are detached, what cannot be folded again from the first event is SB_GONE.
 *
 * Thread: the store's: one at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_AGGREGATE_H
#define SAGABUS_AGGREGATE_H

#include "sagabus/store.h"

#include <stdint.h>

/* The events that one decide has decided on. */
typedef struct sb_decision sb_decision_t;

/* Adds an event: its type and data, schema_version 0 for the newest, the rest as for an append. Everything is
 * copied. Running out of memory is remembered and told by the call that decided. */
SB_API void sb_decision_add(sb_decision_t *decision, const sb_event_t *event);

#define SB_SNAPSHOT_BYTES_MAX (16u << 20)

/* What an aggregate is: static and constant, shared by all threads. */
typedef struct sb_aggregate_type {
    const char *category; /* of its streams: "order" */
    const char *name;     /* of this fold, for its snapshots; NULL: the category */
    size_t state_size;    /* bytes of the state */

    /* Makes the state of a stream without events; the memory comes zeroed. NULL: zeroed it stays. */
    sb_code_t (*init)(void *state, sb_error_t *err);
    /* Frees what the state owns, not the state; also what a failed init, evolve or restore has left. NULL:
     * nothing. */
    void (*fini)(void *state);
    /* The event is borrowed for the call. Not SB_OK ends the load with that code. */
    sb_code_t (*evolve)(void *state, const sb_event_t *event, sb_error_t *err);
    /* Adds what follows from the command. Nothing added: there is nothing to do. Not SB_OK: a refusal (or
     * what kept you from deciding), returned as it is and nothing appended; SB_DENIED is a good code for "not
     * in this state". May be called several times for one command, each time on a newer state. */
    sb_code_t (*decide)(const void *state, const void *command, sb_decision_t *decision, sb_error_t *err);

    /* Snapshots; form 0: none. */
    int form;                /* version of the bytes, from 1: other bytes or another evolve, another number */
    uint32_t snapshot_every; /* events since the last one; 0: 100 */
    /* Writes the state's bytes: *bytes is malloc'd by you and freed by us, at most SB_SNAPSHOT_BYTES_MAX. */
    sb_code_t (*save)(const void *state, char **bytes, size_t *length, sb_error_t *err);
    /* Fills a state that init has made from bytes of the same form. Not SB_OK: the snapshot is ignored (and
     * the log says so). */
    sb_code_t (*restore)(void *state, sb_slice_t bytes, sb_error_t *err);
} sb_aggregate_type_t;

/* ---- one aggregate in memory ---- */

typedef struct sb_aggregate sb_aggregate_t;

/* The state of stream (type->category, key) as it was at version (0: now): from the newest snapshot that
 * serves, and the events after it. A stream that is not there gives the initial state and version 0. The
 * caller owns *out. Blocks: two or three round trips. SB_GONE: its first events are no longer kept. */
SB_API SB_MUST_CHECK sb_code_t sb_aggregate_load(sb_aggregate_t **out, sb_store_t *store,
                                                 const sb_aggregate_type_t *type, sb_slice_t key, int version,
                                                 sb_error_t *err);
/* The state, borrowed, and the version of the stream it was folded up to. */
SB_API const void *sb_aggregate_state(const sb_aggregate_t *aggregate);
SB_API int sb_aggregate_version(const sb_aggregate_t *aggregate);
/* Keeps a snapshot of it now, whatever the policy says; an older one than is kept already changes nothing.
 * SB_UNSUPPORTED: the type has none. */
SB_API SB_MUST_CHECK sb_code_t sb_aggregate_snapshot(const sb_aggregate_t *aggregate, sb_store_t *store,
                                                     sb_error_t *err);
SB_API void sb_aggregate_free(sb_aggregate_t **aggregate); /* NULL is fine; sets NULL */

/* ---- commands ---- */

typedef struct sb_execute {
    sb_slice_t key;       /* of the stream */
    const void *command;  /* handed to decide */
    sb_uuid_t command_id; /* nil: none. The same id again gives the first answer, for 7 days
                             (store.retention_command_ms), without deciding again */
    sb_slice_t request;   /* the command as bytes: the same id with other bytes is SB_MISMATCH; absent: only
                             the stream is compared */
    sb_slice_t correlation_id, causation_id, traceparent; /* of events that name none */
    uint32_t tries_max;                                   /* 0: 10 */
} sb_execute_t;

typedef enum sb_execute_outcome {
    SB_EXECUTED,
    SB_EXECUTED_NOTHING, /* decide added no event */
    SB_EXECUTED_BEFORE   /* the command id was carried out before: this is its first answer */
} sb_execute_outcome_t;

typedef struct sb_execute_result {
    sb_execute_outcome_t outcome;
    int version;       /* of the stream after the command */
    int64_t first_seq; /* of its events; 0 when there are none */
    int64_t last_seq;
    uint32_t tries; /* how often it was decided */
} sb_execute_result_t;

/* Loads, decides and appends; SB_OK means committed. Blocks, and waits a little between tries. SB_CONFLICT:
 * as often as tries_max another writer was first. What else it returns comes from decide or evolve, or from
 * sb_store_append: after SB_UNKNOWN_OUTCOME ask again with the same command id. A refusal is not remembered
 * under the id: asked again it is decided again. */
SB_API SB_MUST_CHECK sb_code_t sb_aggregate_execute(sb_store_t *store, const sb_aggregate_type_t *type,
                                                    const sb_execute_t *execute, sb_execute_result_t *result,
                                                    sb_error_t *err);

#endif
