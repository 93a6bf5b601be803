/* call - what other threads ask of the orchestrator (start, verb, watch), and the bounded queue it waits in.
 *
 * A call is one allocation that owns copies of all its text. Whoever holds a call answers it exactly once,
 * with sb_call_answer, which frees it.
 *
 * Thread: the queue's functions from any; a call belongs to whoever took it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_CALL_H
#define SB_SAGA_CALL_H

#include "base/json.h"
#include "base/signal.h"
#include "saga/orchestrator/orchestrator.h"

#include <pthread.h>
#include <stdatomic.h>

/* A start whose commit may or may not have happened is tried again; a row under one of these numbers is
 * its own. */
#define SB_CALL_TRIES_MAX 4

typedef enum sb_call_kind { SB_CALL_START, SB_CALL_VERB, SB_CALL_LOOK } sb_call_kind_t;

typedef struct sb_call {
    struct sb_call *next;
    sb_call_kind_t kind;
    sb_saga_answer_fn on_answer;
    void *context;
    int64_t queued_us; /* monotonic */
    size_t bytes;
    sb_saga_start_t start; /* START: slices into this allocation */
    bool voided;           /* START: it is to do nothing, but to take its key */
    sb_hash_t request_hash;
    int64_t tried[SB_CALL_TRIES_MAX]; /* numbers it was given in transactions that may have committed */
    int tried_count;
    char own_key[SB_UUID_TEXT]; /* START without a key: the id of its first try */
    sb_saga_verb_t verb;        /* VERB */
    sb_uuid_t id;               /* VERB and LOOK */
} sb_call_t;

/* NULL: no memory. */
sb_call_t *sb_call_new_start(const sb_saga_start_t *start, sb_saga_answer_fn on_answer, void *context);
sb_call_t *sb_call_new_verb(const sb_saga_verb_t *verb, sb_saga_answer_fn on_answer, void *context);
sb_call_t *sb_call_new_look(const sb_uuid_t *id);

/* Calls back and frees the call. */
void sb_call_answer(sb_call_t *call, const sb_saga_answer_t *answer);
void sb_call_fail(sb_call_t *call, sb_code_t code, const sb_error_t *err);

/* Whether number is one that this start was given. */
bool sb_call_tried(const sb_call_t *call, int64_t number);

typedef struct sb_call_queue {
    pthread_mutex_t lock; /* guards all but the signal */
    sb_call_t *head;
    sb_call_t *tail;
    size_t count;
    size_t bytes;
    bool closed;
    /* Raised when a call is put into an empty queue, but for a start with more; borrowed. */
    sb_signal_t *signal;
} sb_call_queue_t;

#define SB_CALL_QUEUE_MAX       65536u
#define SB_CALL_QUEUE_BYTES_MAX (64u << 20)

void sb_call_queue_init(sb_call_queue_t *queue, sb_signal_t *signal);
void sb_call_queue_fini(sb_call_queue_t *queue);

/* Takes the call over on success. SB_BUSY: full; SB_STOPPED: closed. */
SB_MUST_CHECK sb_code_t sb_call_push(sb_call_queue_t *queue, sb_call_t *call, sb_error_t *err);

/* The oldest call, or NULL. */
sb_call_t *sb_call_take(sb_call_queue_t *queue);

/* Puts a call back in front, also when the queue is full or closed. */
void sb_call_put_back(sb_call_queue_t *queue, sb_call_t *call);

/* Refuses new calls from now on. */
void sb_call_queue_close(sb_call_queue_t *queue);

#endif
