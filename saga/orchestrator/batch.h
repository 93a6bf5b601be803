/* batch - decides all that waits for a shard and commits it as one transaction.
 *
 * Items are what came in: starts, replies, verbs, timers. A run decides them in order on copies of the sagas'
 * states (touches), writes guard, events and rows in one pipeline, and only after the commit moves the sagas
 * in memory, answers the callers and sends the commands. When the database refuses the content of a batch it
 * is run again by halves until the bad item stands alone.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_BATCH_H
#define SB_SAGA_BATCH_H

#include "saga/orchestrator/arena.h"
#include "saga/orchestrator/call.h"
#include "saga/orchestrator/open_saga.h"

struct sb_shard;

typedef enum sb_item_kind { SB_ITEM_START, SB_ITEM_REPLY, SB_ITEM_TIMER, SB_ITEM_VERB } sb_item_kind_t;

/* Slices of input live in the arena of the turn. */
typedef struct sb_item {
    sb_item_kind_t kind;
    bool done;
    int64_t no;            /* the saga; START: given when decided */
    sb_call_t *call;       /* START, VERB: owned until done; a VERB from saga_command has none */
    int64_t command_no;    /* VERB from saga_command, else 0 */
    int64_t offset;        /* REPLY, else -1 */
    const sb_plan_t *plan; /* START */
    sb_saga_input_t input;
    sb_slice_t step_name; /* VERB */
    bool unknown_verb;    /* VERB from saga_command: not one of ours */
    int version;          /* VERB migrate: of the definition */

    /* What the run in work made of it. */
    sb_code_t code;
    const char *refusal; /* static, or in the batch's arena */
    struct sb_touch *touch;
} sb_item_t;

typedef struct sb_item_list {
    sb_item_t *item;
    size_t count;
    size_t cap;
} sb_item_list_t;

/* Room for one more, zeroed; NULL: no memory. */
sb_item_t *sb_item_list_add(sb_item_list_t *list);
void sb_item_list_fini(sb_item_list_t *list);

typedef struct sb_order_head sb_order_head_t;

/* A command that goes out after the commit; its body and head are in the batch's arena. */
typedef struct sb_touch_order {
    struct sb_touch_order *next;
    sb_saga_order_t order;
    sb_order_head_t *head; /* made while the commit is under way; NULL: not yet */
    sb_slice_t body;
} sb_touch_order_t;

/* What the run in work decided about one saga. */
typedef struct sb_touch {
    struct sb_touch *next;
    sb_open_saga_t *saga; /* NULL once it is over */
    sb_uuid_t id;
    sb_saga_state_t state;
    sb_slice_t result[SB_STEPS_MAX];
    uint32_t result_changed; /* bit i: result[i] is new */
    sb_given_t *given;       /* what an operator gave in this run, over what is given; NULL: nothing */
    sb_slice_t error;
    int64_t wake_us;
    const sb_call_t *call;     /* of a fresh one: what started it */
    const sb_plan_t *old_plan; /* it is moved to another, which the saga has already; NULL: it is not */
    bool fresh;                /* started in this run: owned, not in the table yet */
    bool lost;                 /* fresh, but its key was there already */
    sb_touch_order_t *order;
    sb_touch_order_t *last_order;
} sb_touch_t;

typedef struct sb_columns sb_columns_t;

/* An input, and what follows from it at once. */
typedef struct sb_inputs {
    sb_saga_input_t item[SB_STEPS_MAX + 1];
    int count;
} sb_inputs_t;

typedef struct sb_batch {
    sb_arena_t arena;
    sb_columns_t *columns; /* parameters under construction */
    sb_touch_t *touch;     /* in order of first touch */
    sb_touch_t *last_touch;
    int64_t next; /* the shard's counter as the run moves it */
    int64_t now_us;
    size_t fresh_count;
    int64_t anomalies;
    int64_t retries;
    sb_buf_t scratch;
    sb_inputs_t inputs;     /* of the decision in work, as is the next: too large to be made anew, and */
    sb_decision_t decision; /* zeroed, for each */
} sb_batch_t;

SB_MUST_CHECK sb_code_t sb_batch_init(sb_batch_t *batch, sb_error_t *err);
void sb_batch_fini(sb_batch_t *batch);

/* Runs all items of the shard; with none it renews the lease and writes its counters. SB_OK: every item is
 * done. Otherwise the shard's memory cannot be counted on any more: SB_FENCED (another instance took over),
 * SB_UNKNOWN_OUTCOME (the connection broke), or a passing trouble; items that are not done were not decided,
 * as far as is known. */
SB_MUST_CHECK sb_code_t sb_batch_run(sb_orchestrator_t *o, struct sb_shard *shard, sb_error_t *err);

#endif
