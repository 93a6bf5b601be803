/* explorer - walks every state that one saga, its participants and their messages can reach, by the real
 * machine code, and holds the machine's promises against each.
 *
 * The world: the saga's state, what each participant truly did, and the messages under way. A message once
 * sent may arrive at any later time, any number of times, or never: so loss, delay, repeats and any order are
 * all there. Tries run out, the orchestrator crashes and comes back, an operator acts, at any moment. What
 * only counts up (versions, times, tries beyond those that matter) is folded together, so the walk ends.
 *
 * A mutant is a machine with a fault put in by the test; the walk must find it, by the promise it breaks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SIM_EXPLORER_H
#define SB_TESTS_SIM_EXPLORER_H

#include "saga/machine.h"

/* Called around the real functions; each may be NULL. */
typedef struct mutant {
    const char *name;
    const char *breaks; /* the promise that finds it */
    /* Once: may change the definition that the machine is given, but not what the promises are held against.
     */
    void (*defined)(sb_definition_t *definition);
    /* Before a decision: may change what comes in. */
    void (*before)(sb_saga_state_t *state, sb_saga_input_t *input);
    /* After a decision: may change what came of it. */
    void (*decided)(const sb_saga_state_t *before, const sb_saga_input_t *input, sb_decision_t *decision,
                    sb_saga_state_t *after);
    /* After the fold of one event. */
    void (*folded)(const sb_saga_state_t *before, const sb_saga_event_t *event, sb_saga_state_t *after);
} mutant_t;

typedef struct model {
    const char *definition; /* JSON */
    bool no_barrier;        /* participants know a repeat, but not that an undo came first */
    bool cancels;
    bool pauses;
    bool retries, skips, resolves, rewinds; /* by an operator, once each */
    bool
        undoes; /* it is a step of another: started void, or undone once, at any time and after its end too */
    bool late;  /* a timer may fire long after its time, past the saga's deadline too */
} model_t;

typedef struct walk_result {
    size_t states, moves;
    size_t completed, compensated, failed; /* states in which the saga ended so */
    size_t anomalies;                      /* states in which one was recorded */
    const char *broken;                    /* a promise; NULL: all were kept */
    char trace[4096];                      /* how it came to that */
} walk_result_t;

/* Whether a walk of the machine as it is went from one status to another, of a saga or of a step. */
bool explorer_went(bool of_saga, int from, int to);

/* mutant NULL: the machine as it is. */
walk_result_t explore(const model_t *model, const mutant_t *mutant);

#endif
