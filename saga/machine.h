/* machine - the saga's state machine: two pure functions and one transition table.
 *
 *   decide(definition, state, input, now) -> events + commands + the next deadline
 *   evolve(definition, state, event)      -> state
 *
 * decide never changes the state: the orchestrator commits the events first, evolves by them, and sends the
 * commands after the commit. A fold of a saga's events gives its state again, so a crash loses nothing: the
 * open commands of a folded state are sent again under the same ids (sb_machine_open).
 *
 * Rules. Steps run in order, those of one group side by side. A definitive refusal (failure) by a participant
 * starts the compensation; a timeout or error is retried by the step's policy and, when that is used up,
 * leaves the outcome UNKNOWN, which starts the compensation and is compensated like a success. Every step
 * whose outcome is success or unknown is compensated, newest first, once no forward command is out any more:
 * what is out when the saga turns back is waited for until its try ends, and not tried again. An undo has no
 * failure outcome: it is retried without end and raises `attention` after SB_UNDO_ATTENTION tries. The class
 * of an error chooses the policy; one that will not pass by itself (the command is wrong, or forbidden) is
 * not tried again, or, where tries have no end, raises `attention` at once.
 *
 * A step with a fallback whose tries are used up is skipped with the declared result instead: the saga goes
 * on, and what may have happened is undone like a success should it turn back later.
 *
 * The pivot is the point of no return. It is tried until its outcome is known; once it is done nothing is
 * compensated, and what follows is retried without end too. A refusal after the pivot closes its round (a
 * participant keeps its answer) and waits, with `attention`, for an operator: retry opens the next round.
 *
 * A saga that is a step of another (its child) may be undone from there: whatever it has come to, it turns
 * back to where nothing is done. Also one that is completed, which has no other way out of its end; not one
 * past its pivot. One that was never started is started void: it ends as compensated at once and does
 * nothing, so that a start that comes late finds its key taken.
 *
 * An operator may let it go back to a step (rewind), before the pivot only: what was done from there on is
 * undone as in a compensation, and then it goes on from that step, each command as a new round, under a new
 * id. It may be done while the saga is being compensated, as long as nothing before that step was undone.
 *
 * The first definitive answer of a round wins: a later one that says otherwise is an anomaly, recorded once a
 * step, never obeyed. One that says the same is a repeat and leaves no trace.
 *
 * Dispatch is implied by the event before it: a fold of saga.started dispatches the first step, and so on.
 * Only a step with a `when` is dispatched (or skipped) by an event of its own, as the fold cannot know.
 *
 * No clock, no I/O, no allocation. Times are wall microseconds that the caller got from PostgreSQL.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_MACHINE_H
#define SB_SAGA_MACHINE_H

#include "events/saga_types.h"
#include "saga/definition.h"
#include "sagabus/id.h"

#define SB_MACHINE_VERSION 1 /* recorded in saga.started; rises when a fold of old events would differ */
#define SB_UNDO_ATTENTION  5

typedef enum sb_saga_status { /* the numbers are stored */
                              SB_SAGA_NONE = 0,
                              SB_SAGA_STARTED = 1,
                              SB_SAGA_COMPLETED = 2,
                              SB_SAGA_COMPENSATING = 3,
                              SB_SAGA_COMPENSATED = 4,
                              SB_SAGA_FAILED = 5 /* by an operator's act only */
} sb_saga_status_t;

typedef enum sb_step_status {
    SB_STEP_PENDING,
    SB_STEP_DISPATCHED,
    SB_STEP_COMPLETED,
    SB_STEP_FAILED,  /* refused: did nothing */
    SB_STEP_UNKNOWN, /* gave up waiting: may have happened */
    SB_STEP_COMPENSATING,
    SB_STEP_COMPENSATED,
    SB_STEP_SKIPPED
} sb_step_status_t;

typedef enum sb_direction { SB_FORWARD, SB_COMPENSATE } sb_direction_t;

typedef struct sb_step_state {
    sb_step_status_t status;
    uint16_t round;   /* 0: no command went out; an operator's act on a closed round opens the next. An undo
                         has the round of what it undoes. */
    uint16_t attempt; /* tries of the round and direction, the open one counted */
    bool was_unknown; /* the outcome is (or was, before its undo) unknown; skipped: it was out by then */
    bool attention;   /* an operator must act on this step */
    bool anomaly;     /* one was recorded */
    uint16_t
        unsure; /* bit i: round i + 1 was closed and is not known to have happened: refused, or given up */
    int64_t since_us; /* when the step entered its status */

    /* The step's clock. Decisions may set it without an event (a try goes out when its time has come, a
     * participant says that it still works): a crash forgets that, which costs a repeated command, never an
     * outcome. */
    bool waiting;    /* between tries: wake_us is when the next goes out; else the open try's deadline */
    int64_t wake_us; /* 0: none */
} sb_step_state_t;

typedef struct sb_saga_state {
    sb_saga_status_t status;
    bool paused;        /* answers are taken, nothing is sent, no time runs out */
    bool attention;     /* one of its steps wants an operator */
    bool past_pivot;    /* no way back */
    int version;        /* of the stream: events folded */
    int64_t started_us; /* or when it was last gone back: the deadline counts from here */
    int rewind_to;      /* compensating: the step it goes back to, the first of its group; -1: to the end */
    bool rewind_pause;  /* … and waits there, paused */
    int failed_step;    /* the one that turned it round; -1: none */
    sb_step_state_t step[SB_STEPS_MAX];
} sb_saga_state_t;

/* ---- what happened to a saga: its events (events/saga_types.h) ---- */

typedef enum sb_saga_event_kind {
#define SB_ROW(kind, type, is_public) SB_SAGA_EV_##kind,
    SB_SAGA_EVENT_MAP(SB_ROW)
#undef SB_ROW
        SB_SAGA_EV_COUNT
} sb_saga_event_kind_t;

const char *sb_saga_event_type(sb_saga_event_kind_t kind);
bool sb_saga_event_kind_of(sb_slice_t type, sb_saga_event_kind_t *out);

typedef struct sb_saga_event {
    sb_saga_event_kind_t kind;
    int64_t at_us;
    int step; /* -1: of the whole saga */
    sb_direction_t direction;
    uint16_t round;
    uint16_t attempt;
    bool unknown;      /* STEP_FAILED: the outcome is not known, it may have happened */
    int64_t wake_us;   /* STEP_RETRIED: when the next try goes out */
    bool voided;       /* STARTED: it is to do nothing */
    bool pause;        /* REWINDING: it waits when it is back */
    sb_slice_t input;  /* STEP_RETRIED, REWINDING: JSON, in place of the step's own input; borrowed */
    sb_slice_t result; /* STEP_COMPLETED, STEP_SKIPPED: JSON; borrowed from the input */
    bool fallback;     /* STEP_SKIPPED: its tries ended without an outcome, the declared result stands in: for
                          the caller to fill in */
    sb_slice_t error;  /* text; borrowed from the input or static */
    sb_error_class_t error_class; /* STEP_FAILED, STEP_RETRIED, and a fallback's STEP_SKIPPED */
    sb_slice_t by;                /* operator; borrowed */
    sb_slice_t reason;
} sb_saga_event_t;

/* ---- what comes in ---- */

typedef enum sb_saga_input_kind {
    SB_SAGA_IN_START,
    SB_SAGA_IN_REPLY,
    SB_SAGA_IN_TIMER, /* now is what counts */
    SB_SAGA_IN_CANCEL,
    SB_SAGA_IN_PAUSE,
    SB_SAGA_IN_RESUME,
    SB_SAGA_IN_RETRY,   /* step (-1: all it fits): next try at once; a refused one's next round */
    SB_SAGA_IN_REWIND,  /* step, pause: back to it, or to the beginning of its group, and on from there */
    SB_SAGA_IN_SKIP,    /* step, result; of an undo: taken as done */
    SB_SAGA_IN_RESOLVE, /* operator closes it as failed */
    SB_SAGA_IN_UNDO,    /* by the saga it is a step of; nothing happens when it is on its way back already */
    SB_SAGA_IN_MIGRATE  /* to another definition, which the caller has held against the state (migrate.h) */
} sb_saga_input_kind_t;

typedef enum sb_outcome {
    SB_OUTCOME_SUCCESS,
    SB_OUTCOME_FAILURE,
    SB_OUTCOME_ERROR,
    SB_OUTCOME_PENDING
} sb_outcome_t;

typedef struct sb_saga_input {
    sb_saga_input_kind_t kind;
    int step;
    sb_direction_t direction;
    uint16_t round;
    uint16_t attempt;     /* of a reply: as echoed; 0: not said. Only the last try sent may fail a step. */
    sb_outcome_t outcome; /* of a reply */
    sb_slice_t result;    /* JSON */
    sb_slice_t
        input;   /* of RETRY and REWIND with a step: JSON, in place of the step's own; absent: as it was */
    bool voided; /* of START */
    bool pause;  /* of REWIND */
    sb_slice_t error;
    sb_error_class_t error_class; /* of a reply */
    bool attention; /* of a reply, an error: an operator must look at it; until then it is tried on */
    sb_slice_t by;
    sb_slice_t reason;
    uint64_t random;    /* for jitter; the caller's */
    uint32_t skip_mask; /* bit i set: step i's `when` does not hold, skip it. Worked out by the caller, for
                           every kind of input, with a reply's result among the results. */
} sb_saga_input_t;

/* ---- what is to be done ---- */

typedef struct sb_saga_order {
    int step;
    sb_direction_t direction;
    uint16_t round; /* an undo's is that of the forward command it undoes */
    uint16_t attempt;
    bool forward_unknown; /* an undo whose forward outcome is unknown */
    int64_t deadline_us;  /* when this try's answer is no longer waited for */
} sb_saga_order_t;

#define SB_DECISION_EVENTS_MAX (2 * SB_STEPS_MAX + 8)

typedef struct sb_decision {
    int event_count;
    sb_saga_event_t event[SB_DECISION_EVENTS_MAX];
    int order_count;
    sb_saga_order_t order[SB_STEPS_MAX]; /* commands to send after the commit */
    int64_t wake_us;                     /* earliest deadline of the state after the events; 0: none */
    bool refused; /* an operator's verb that does not fit the state: nothing was decided; say why: */
    const char *refusal;
} sb_decision_t;

void sb_saga_state_init(sb_saga_state_t *state);

/* Pure. out is filled anew. `after` (may be NULL, must not be state) gets the state after the events: it is
 * their fold over the state, but for the steps' clocks. It counts even when there is no event. */
void sb_machine_decide(const sb_definition_t *definition, const sb_saga_state_t *state,
                       const sb_saga_input_t *input, int64_t now_us, sb_decision_t *out,
                       sb_saga_state_t *after);

/* Folds one event into the state. SB_CORRUPT: the transition table does not know the move. */
SB_MUST_CHECK sb_code_t sb_machine_evolve(const sb_definition_t *definition, sb_saga_state_t *state,
                                          const sb_saga_event_t *event, sb_error_t *err);

/* After a takeover: the commands that are out or due in this state, to be sent again, and the next deadline.
 * `after` (may be NULL, must not be state) gets the state with the clocks of these commands started anew, so
 * that time in which nobody could answer ends no try. */
void sb_machine_open(const sb_definition_t *definition, const sb_saga_state_t *state, int64_t now_us,
                     sb_decision_t *out, sb_saga_state_t *after);

/* The clock that all its times are of was set by so much: what is left of them stays. */
void sb_saga_state_shift(sb_saga_state_t *state, int64_t by_us);

/* Whether two states are the same but for the clocks of their steps. */
bool sb_saga_state_equal(const sb_saga_state_t *a, const sb_saga_state_t *b);

bool sb_saga_is_over(const sb_saga_state_t *state); /* completed, compensated or failed */
/* When its deadline turns it back, as things stand; 0: that does not. */
int64_t sb_saga_turns_back_us(const sb_definition_t *definition, const sb_saga_state_t *state);
/* An operator's verb by its name: "cancel", "pause", … and back. False: there is no such verb. */
bool sb_saga_verb_of(sb_slice_t name, sb_saga_input_kind_t *out);
const char *sb_saga_verb_name(sb_saga_input_kind_t verb); /* NULL: it is no verb */
const char *sb_saga_status_name(sb_saga_status_t status);
const char *sb_step_status_name(sb_step_status_t status);

/* UUIDv5 of (saga, step, direction, round): the same over all attempts of a round. */
sb_uuid_t sb_saga_command_id(const sb_uuid_t *saga_id, const char *step, sb_direction_t direction,
                             uint16_t round);

#endif
