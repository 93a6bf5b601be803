/* record - what a run left behind, as its checker sees it: what clients were told, what PostgreSQL holds, and
 * what the services' effect logs say. Nothing of the engine is asked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_RECORD_H
#define SB_TESTS_CHAOS_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CHAOS_KEY_MAX  40
#define CHAOS_ID_MAX   37
#define CHAOS_NAME_MAX 24
#define CHAOS_STEPS    5
#define CHAOS_SERVICES 4

extern const char *const chaos_service[CHAOS_SERVICES]; /* wallet_a, wallet_b, stock, ship */

/* ---- the sagas, as their definitions in tests/chaos/sagas say. The steps of a saga that is a step of
 * another count as that one's, in its place. ---- */

typedef struct chaos_step {
    const char *name;
    int service;    /* index in chaos_service */
    int order;      /* steps of one group have the same */
    bool no_effect; /* leaves nothing, has no undo */
    bool pivot, forward_only;
} chaos_step_t;

typedef struct chaos_type {
    const char *name;
    int step_count;
    chaos_step_t step[CHAOS_STEPS];
    bool takes_stock; /* a completed one has taken one piece */
} chaos_type_t;

#define CHAOS_TYPES       4
#define CHAOS_PLAIN_TYPES 3                        /* the first ones: no step of theirs is a saga */
extern const chaos_type_t chaos_type[CHAOS_TYPES]; /* transfer, purchase, bundle, combo */
const chaos_type_t *chaos_type_named(const char *name);
int chaos_step_named(const chaos_type_t *type, const char *name); /* -1: none */

/* ---- what clients asked and were told ---- */

typedef enum chaos_op { CHAOS_START, CHAOS_OTHER_INPUT, CHAOS_LOOK, CHAOS_CANCEL, CHAOS_OPS } chaos_op_t;

typedef enum chaos_verdict {
    CHAOS_INVOKED, /* it was sent: what becomes of it is not known yet */
    CHAOS_OK,
    CHAOS_REFUSED, /* for good: another input under a known key, … */
    CHAOS_UNKNOWN  /* no answer, or "come again": may be done, or not */
} chaos_verdict_t;

typedef struct chaos_call {
    int64_t at_ms;
    chaos_op_t op;
    chaos_verdict_t verdict;
    int http;
    char key[CHAOS_KEY_MAX];
    char id[CHAOS_ID_MAX];
    char status[CHAOS_NAME_MAX]; /* of the saga, as it was answered */
} chaos_call_t;

/* ---- what PostgreSQL holds ---- */

typedef struct chaos_saga {
    char id[CHAOS_ID_MAX];
    char key[CHAOS_KEY_MAX];
    char type[CHAOS_NAME_MAX];
    char parent[CHAOS_ID_MAX]; /* that it is a step of, its only one; "": a client started it */
    int status;                /* as sb_saga_status_t */
    bool attention;
    int64_t no;
} chaos_saga_t;

typedef struct chaos_event {
    int64_t no; /* of the saga */
    int version;
    int64_t epoch; /* of the shard's owner whose transaction wrote it; 0: no owner's transaction */
    int64_t seq; /* among the events of all sagas: one that was decided after another's commit is behind it */
    char type[32];
} chaos_event_t;

typedef struct chaos_effect {
    char id[CHAOS_ID_MAX]; /* of the saga, or of the one that it is a step of */
    char step[CHAOS_NAME_MAX];
    int service;
    bool compensate;
    int64_t at_us;
    int64_t delta; /* of the service's books */
} chaos_effect_t;

/* A service's books in one snapshot, at some moment of the run. */
typedef struct chaos_books {
    int service;
    int64_t opening, held, logged; /* logged: sum of the deltas of its effect log */
} chaos_books_t;

typedef struct chaos_record {
    chaos_call_t *call;
    size_t calls;
    chaos_saga_t *saga;
    size_t sagas;
    chaos_event_t *event; /* by saga and version */
    size_t events;
    chaos_effect_t *effect;
    size_t effects;
    chaos_books_t *books; /* the last one of each service is of the end */
    size_t books_count;
    bool settled; /* nothing is under way any more: what must end has ended, or never will */
} chaos_record_t;

void chaos_record_free(chaos_record_t *record);

/* Adds a copy; aborts without memory. */
void chaos_add_call(chaos_record_t *record, const chaos_call_t *call);
void chaos_add_saga(chaos_record_t *record, const chaos_saga_t *saga);
void chaos_add_event(chaos_record_t *record, const chaos_event_t *event);
void chaos_add_effect(chaos_record_t *record, const chaos_effect_t *effect);
void chaos_add_books(chaos_record_t *record, const chaos_books_t *books);

/* What a saga did that is a step of another is that one's. Sorts the sagas. */
void chaos_give_effects_to_parents(chaos_record_t *record);

#endif
