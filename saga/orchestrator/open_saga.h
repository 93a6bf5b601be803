/* open_saga - the sagas of this instance that are not over, in memory: state, definition, input, results.
 *
 * It holds what is committed, never what is being decided. The table finds a saga by its number; a shard's
 * list has its sagas in order of number, so that its head is the shard's low-water mark.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_OPEN_SAGA_H
#define SB_SAGA_OPEN_SAGA_H

#include "saga/event_body.h"
#include "saga/orchestrator/plans.h"

struct sb_touch;
struct sb_child;

/* Inputs that an operator gave in place of a definition's, by step and direction; JSON, absent: none. */
typedef struct sb_given {
    sb_slice_t input[SB_STEPS_MAX][2];
    sb_slice_t next; /* of the step that it goes back to, from when it is there: until then its undo has that
                        of the round it undoes; empty: none */
} sb_given_t;

typedef struct sb_open_saga {
    int64_t no;
    sb_uuid_t id;
    const sb_plan_t *plan; /* NULL: unknown */

    /* Slices into one allocation. */
    sb_slice_t key;
    sb_slice_t correlation_id;
    sb_slice_t traceparent;
    sb_slice_t input;
    sb_slice_t meta; /* event.meta of its events; absent: none */
    char *text;

    int steps;          /* that there is room for below: those of the plan it was made or moved with */
    sb_slice_t *result; /* by step: JSON text, each malloc'd */
    sb_given_t *given;  /* NULL: nothing was; its slices are malloc'd */
    char *error;        /* of the last step that went wrong; malloc'd, NULL: none */
    int64_t wake_us;    /* of its timer; 0: none */
    size_t timer_at;

    struct sb_touch *touch;     /* what the batch in work decided about it */
    struct sb_child *child;     /* its steps that are sagas and out (children.h) */
    struct sb_open_saga *newer; /* the shard's list */
    struct sb_open_saga *older;
    struct sb_open_saga *resend_next; /* commands to be sent again */
    struct sb_open_saga *resend_prev;
    bool resend;
    bool slow;  /* open for long: named in the lease row, so that it does not hold the low-water mark */
    bool stuck; /* it cannot be driven: unknown definition, or events that do not fold */
    bool row_doubtful; /* somebody who could not drive it may have said so in its row: it is written anew */
    struct sb_open_saga *hash_next;
    unsigned char *state; /* the committed sb_saga_state_t, cut behind the last step; behind the results */
} sb_open_saga_t;

typedef struct sb_open_saga_head {
    int64_t no;
    sb_uuid_t id;
    const sb_plan_t *plan;
    sb_slice_t key;
    sb_slice_t correlation_id;
    sb_slice_t traceparent;
    sb_slice_t input;
} sb_open_saga_head_t;

/* Copies what head has; the state is that of sb_saga_state_init. NULL: no memory. */
sb_open_saga_t *sb_open_saga_new(const sb_open_saga_head_t *head);
void sb_open_saga_free(sb_open_saga_t *saga);

/* Goes on by another plan, whose steps begin with those that were executed. False: no memory, nothing
 * changed. */
bool sb_open_saga_set_plan(sb_open_saga_t *saga, const sb_plan_t *plan);

void sb_open_saga_get_state(const sb_open_saga_t *saga, sb_saga_state_t *out);
void sb_open_saga_set_state(sb_open_saga_t *saga, const sb_saga_state_t *state);

/* Replace; false: no memory, nothing changed. */
bool sb_open_saga_set_result(sb_open_saga_t *saga, int step, sb_slice_t json);
bool sb_open_saga_set_given(sb_open_saga_t *saga, int step, sb_direction_t direction, sb_slice_t json);
bool sb_open_saga_set_given_next(sb_open_saga_t *saga, sb_slice_t json);
bool sb_open_saga_set_error(sb_open_saga_t *saga, sb_slice_t text);

/* Its state's times move with the clock that they are of. */
void sb_open_saga_shift(sb_open_saga_t *saga, int64_t by_us);

/* ---- table ---- */

typedef struct sb_open_sagas {
    sb_open_saga_t **bucket;
    size_t bucket_count; /* a power of two */
    size_t count;
} sb_open_sagas_t;

void sb_open_sagas_fini(sb_open_sagas_t *sagas); /* must be empty */
/* Makes room, so that the next count additions cannot fail. */
SB_MUST_CHECK bool sb_open_sagas_reserve(sb_open_sagas_t *sagas, size_t count);
void sb_open_sagas_add(sb_open_sagas_t *sagas, sb_open_saga_t *saga);
void sb_open_sagas_remove(sb_open_sagas_t *sagas, sb_open_saga_t *saga);
void sb_open_sagas_shift(const sb_open_sagas_t *sagas, int64_t by_us); /* all of them */
sb_open_saga_t *sb_open_sagas_find(const sb_open_sagas_t *sagas, int64_t no);

/* ---- lists ---- */

typedef struct sb_saga_list {
    sb_open_saga_t *oldest;
    sb_open_saga_t *newest;
} sb_saga_list_t;

/* In order of number: they rise, so a new saga goes to the end (a recovered one too). */
void sb_saga_list_add(sb_saga_list_t *list, sb_open_saga_t *saga);
void sb_saga_list_remove(sb_saga_list_t *list, sb_open_saga_t *saga);

typedef struct sb_resend_list {
    sb_open_saga_t *first;
    sb_open_saga_t *last;
    size_t count;
} sb_resend_list_t;

void sb_resend_add(sb_resend_list_t *list, sb_open_saga_t *saga); /* nothing when it is there */
void sb_resend_remove(sb_resend_list_t *list, sb_open_saga_t *saga);

#endif
