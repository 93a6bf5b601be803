/* definition - a saga's plan: its steps, compiled from one JSON file (schemas/sagas/<name>.json).
 *
 * A step names a participant, an action and a compensation; its input is a template (saga/template.h) over
 * the saga's input and the results of the steps before it. A running saga stays with its definition, by hash.
 * schemas/definition.schema.json describes the file.
 *
 * What a definition promises, because it is checked: whatever may have to be undone can be. A step has a
 * compensation, or declares `no_effect` (it only looks), or is the `pivot` (the point of no return: tried
 * until its outcome is known) or comes after it (`forward_only`: tried until it succeeds).
 *
 * In place of a participant a step may name another saga, its child: the orchestrator starts it with the
 * step's input and waits for its end (saga/orchestrator/children.h). What must hold between definitions
 * (saga/nesting.h) is checked when they are registered.
 *
 * Thread: a compiled definition is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_DEFINITION_H
#define SB_SAGA_DEFINITION_H

#include "base/retry.h"
#include "events/catalog.h"
#include "saga/condition.h"
#include "saga/error_class.h"
#include "saga/template.h"

#define SB_STEPS_MAX     32
#define SB_STEP_NAME_MAX 64

/* Who does a step that is a saga, as far as people see; and what undoes it. */
#define SB_CHILD_PARTICIPANT "saga"
#define SB_CHILD_UNDO        "undo"

/* A policy of its own for tries that ended with errors of one class. */
typedef struct sb_class_retry {
    bool declared;
    sb_retry_policy_t policy;
} sb_class_retry_t;

typedef struct sb_step_definition {
    const char *name;
    const char *title;         /* for people; NULL: none */
    const char *child;         /* the saga that does it; NULL: a participant does */
    const char *participant;   /* of a child: SB_CHILD_PARTICIPANT */
    const char *action;        /* "reserve": the command's type is "<participant>.<action>"; a child's name */
    const char *compensation;  /* "release"; NULL: nothing to undo, or no way to */
    sb_template_t *input;      /* NULL: the saga's whole input */
    sb_template_t *undo_input; /* of the compensation; NULL: the forward input */
    sb_condition_t *when;      /* NULL: always */
    int group;                 /* steps of one group run side by side; -1: alone */
    bool no_effect;            /* it changes nothing */
    bool pivot;                /* once it is done there is no way back */
    bool forward_only;         /* after the pivot */
    uint32_t timeout_ms;       /* of one try */
    sb_retry_policy_t retry;   /* its attempts_max does not bind the pivot and what follows */
    sb_retry_policy_t undo_retry; /* attempts_max is always 0: an undo has no failure outcome */
    sb_class_retry_t retry_class[SB_CLASS_COUNT];
    sb_class_retry_t undo_retry_class[SB_CLASS_COUNT];
    sb_template_t *fallback; /* its result when the tries end without an outcome; NULL: the saga turns back */
} sb_step_definition_t;

typedef struct sb_definition {
    const char *name;
    int version;
    const char *title; /* NULL: none */
    sb_hash_t hash;
    uint32_t deadline_ms; /* of the whole saga, until the pivot; 0: none */
    int step_count;
    sb_step_definition_t step[SB_STEPS_MAX];
    sb_template_t *result; /* of the saga; NULL: that of its last step */
    json_t *body;          /* owned; all names and templates point into it */
} sb_definition_t;

/* Compiles and checks; body is copied. The caller owns *out. SB_INVALID with err->pointer and the reason: an
 * unknown member, a template that points at a later step, a step that cannot be undone, … */
SB_MUST_CHECK sb_code_t sb_definition_compile(sb_definition_t **out, const json_t *body, sb_error_t *err);
void sb_definition_free(sb_definition_t **definition);

/* The check of the catalog's kind SB_ARTIFACT_SAGA; catalog NULL: of the definition by itself, and then also
 * of texts that only look like references (sb_template_check). */
sb_code_t sb_definition_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err);

/* Index of a step by name; -1: none. */
int sb_definition_step(const sb_definition_t *definition, sb_slice_t name);

/* What to say when there is none of that name: the names there are, as many as fit. */
#define SB_NO_STEP_TEXT 200
const char *sb_definition_no_step(const sb_definition_t *definition, char text[SB_NO_STEP_TEXT]);

/* Whether a saga can be started with this input: it must be an object with every value that a command must
 * have. SB_INVALID with err->pointer into the input. */
SB_MUST_CHECK sb_code_t sb_definition_accepts(const sb_definition_t *definition, sb_slice_t input,
                                              sb_error_t *err);

/* Renders the input of a step's command into out: the template with its references resolved. results[i] is
 * the JSON text of step i's result, absent when it has none; a reference to an absent value gives null in an
 * undo (the participant finds its effect by the forward command's id) and SB_INVALID in a forward command:
 * such a command was never sent, so its step may be taken as refused. */
SB_MUST_CHECK sb_code_t sb_definition_render(const sb_definition_t *definition, int step, bool undo,
                                             sb_slice_t input, const sb_slice_t *results, sb_buf_t *out,
                                             sb_error_t *err);

/* The policy that says whether and when there is another try, after one that ended with such an error. An
 * error that does not pass (sb_error_class_passes) and has no policy of its own ends the tries of a step that
 * has an end. Tries of all classes are counted together. */
sb_retry_policy_t sb_definition_retry(const sb_step_definition_t *step, bool undo,
                                      sb_error_class_t error_class);

/* Renders the result that is declared for a step whose tries ended without an outcome; what is absent gives
 * null. */
SB_MUST_CHECK sb_code_t sb_definition_fallback(const sb_definition_t *definition, int step, sb_slice_t input,
                                               const sb_slice_t *results, sb_buf_t *out, sb_error_t *err);

/* Whether the step's `when` holds; true without one. */
SB_MUST_CHECK sb_code_t sb_definition_when(const sb_definition_t *definition, int step, sb_slice_t input,
                                           const sb_slice_t *results, bool *holds, sb_error_t *err);

#endif
