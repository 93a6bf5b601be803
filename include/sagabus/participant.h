/* participant - takes part in sagas over Kafka, with effects that happen once and never after their undo.
 *
 * A participant handles the commands of its topic in its own database, at READ COMMITTED. The barrier's row
 * of a command, with its answer, is committed in one transaction with what its handler wrote; only after the
 * commit is the reply sent. Commands that wait together share one transaction, so a busy participant pays one
 * commit for many: their rows are looked up before their handlers and written after them, and when somebody
 * else has written one of these meanwhile, all of it is rolled back and done again one by one. What a handler
 * wrote that did not succeed is taken back alone: by a savepoint, which each has while handlers fail after
 * they have used the connection now and then; else by a rollback of all that were together, whose handlers
 * then run once more. A repeated command gives the same reply without running the handler; an undo that
 * arrives before (or without) its forward command is voided, and the forward command that comes late becomes
 * a no-op.
 *
 * A service that is several participants over one schema can be so in one (`also`): what waits for any of
 * them shares its batches and commits, where a participant each would pay a commit each. A command's type
 * says whose it is. All of them are read by the group of `name`, which knows nothing of how far another group
 * came: see docs/contract.md before a participant moves there from a group of its own.
 *
 * The handler uses the libpq connection it is given; it must not begin, commit or roll back. It is called
 * again for a command whose transaction did not come to be, and may be called while another member of the
 * group has the same command in hand (then one of the two transactions is rolled back), so what it touches
 * outside that transaction must be idempotent by the command's id.
 *
 * Thread: open, run and close from one thread; stop from any thread or a signal handler.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_PARTICIPANT_H
#define SAGABUS_PARTICIPANT_H

#include "sagabus/store.h"

#include <stdint.h>

struct pg_conn; /* libpq's PGconn */

typedef struct sb_command {
    sb_uuid_t id; /* the same over all attempts: use it as the key of outside effects */
    sb_uuid_t saga_id;
    sb_slice_t type;   /* "payment.charge" */
    sb_slice_t action; /* "charge" */
    sb_slice_t step;
    bool compensate;
    sb_uuid_t forward_id; /* an undo: the command it undoes */
    int attempt;
    sb_slice_t input; /* JSON */
    sb_slice_t correlation_id;
    sb_slice_t
        traceparent; /* W3C trace context the saga was started with: give it to the events you append */
} sb_command_t;

typedef enum sb_reply_outcome {
    SB_REPLY_SUCCESS = 1,
    SB_REPLY_FAILURE, /* a business refusal: what the handler wrote is rolled back, the refusal is kept */
    SB_REPLY_ERROR    /* could not say: rolled back, nothing kept, the orchestrator tries again */
} sb_reply_outcome_t;

typedef struct sb_reply {
    sb_reply_outcome_t outcome;
    char *result;    /* JSON text, malloc'd by the handler, freed by the participant; NULL: {} */
    char error[256]; /* for failure and error */
} sb_reply_t;

typedef void (*sb_command_fn)(void *context, struct pg_conn *conn, const sb_command_t *command,
                              sb_reply_t *reply);

#define SB_PARTICIPANT_ALSO_MAX 31

typedef struct sb_participant_config {
    const char *name; /* "payment": the topic is <prefix>cmd.payment, the group <prefix>payment */
    const char *pg_uri;
    const char *schema; /* where the barrier lives (`sagabus migrate --only client --schema …`); also the
                           search_path */
    const char *kafka_bootstrap;
    const char *kafka_prefix; /* NULL: "" */
    sb_command_fn on_command;
    void *context;
    const char *const *also; /* names of other participants that this one is, too, SB_PARTICIPANT_ALSO_MAX at
                                most, and NULL behind the last; NULL: none */
} sb_participant_config_t;

typedef struct sb_participant sb_participant_t;

SB_API SB_MUST_CHECK sb_code_t sb_participant_open(sb_participant_t **out,
                                                   const sb_participant_config_t *config, sb_error_t *err);
/* Handles commands until stopped; waits for PostgreSQL and Kafka by itself. */
SB_API void sb_participant_run(sb_participant_t *participant);
SB_API void sb_participant_stop(sb_participant_t *participant);

/* Appends events to the event store in the command's own transaction: they are there exactly when its effect
 * is (a transactional outbox). Only from on_command, and only where the participant's database is the
 * store's. */
SB_API SB_MUST_CHECK sb_code_t sb_participant_append(sb_participant_t *participant, const sb_append_t *append,
                                                     sb_append_result_t *result, sb_error_t *err);
SB_API void sb_participant_close(sb_participant_t **participant);

#endif
