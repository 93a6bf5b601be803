/* simulator - one seed, one run: orchestrators, a store, a bus, participants and clients in one thread, on a
 * clock of their own, with every fault that the seed brings.
 *
 * Real is the machine (decide, evolve, open), the bodies of its events and the definitions of the chaos test.
 * Modelled is what does I/O around it, after saga/orchestrator and saga/participant: batches with one
 * transaction under a lease's epoch, orders sent after the commit, replies read from an offset that commits
 * with their decisions, takeover by a fold of what is committed, sagas that are steps of others (started
 * under their key, looked at in the store, undone by a verb), a barrier at each participant. Faults: a commit
 * whose answer is lost (done, not done, or done later), crashes, pauses past the lease, messages lost,
 * doubled, late, out of order; participants that die before or after their commit. Then all faults end and
 * everything must.
 *
 * The record of a run is judged by the checker of the chaos test. The same seed gives the same run: trace is
 * a hash over every event of it.
 *
 * A bug is a fault of ours, put into the model on purpose; the checker must find it, by name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SIM_SIMULATOR_H
#define SB_TESTS_SIM_SIMULATOR_H

#include "tests/chaos/check.h"

#define SIM_BUG_MAP(ROW) /* enum, what is wrong, the breach that names it */                                 \
    ROW(NONE, "nothing", OPEN)                                                                               \
    ROW(ANSWER_BEFORE_COMMIT, "a start is answered before its commit", LOST)                                 \
    ROW(SEND_BEFORE_COMMIT, "commands go out before the commit", PHANTOM)                                    \
    ROW(NO_FENCE, "a commit does not look at the epoch", FENCE)                                              \
    ROW(UNKNOWN_IS_DONE, "a commit without an answer is taken for done", LOST)                               \
    ROW(FORGETFUL_TAKEOVER, "a takeover sends nothing again and sets no timer", OPEN)                        \
    ROW(NO_BARRIER, "a participant does not know a repeat", TWICE)                                           \
    ROW(KEY_OF_ATTEMPT, "each try has a command id of its own", TWICE)                                       \
    ROW(EMPTY_UNDO_LEAVES_NOTHING, "an undo that comes first leaves no row behind", HALF)                    \
    ROW(EMPTY_UNDO_ACTS, "an undo that comes first takes back what never was", HANGING)                      \
    ROW(REPLY_BEFORE_COMMIT, "a participant answers before its commit", HALF)                                \
    ROW(SILENCE_IS_REFUSAL, "a step that did not answer in time is taken for refused", HALF)                 \
    ROW(ALL_UNDOS_AT_ONCE, "undos do not wait for each other", ORDER)                                        \
    ROW(NO_PIVOT, "the pivot is a step like others", PIVOT)                                                  \
    ROW(CANCEL_REOPENS, "a cancel changes a saga that has ended", END)                                       \
    ROW(KEY_NOT_COMPARED, "another input under a known key is taken for a repeat", KEY)                      \
    ROW(CHILD_TWICE, "a saga that is a step is started without a look for its key", CHILD)                   \
    ROW(CHILD_NOT_AWAITED, "a saga that is a step is taken for done when it has started", CHILD)             \
    ROW(CHILD_KEPT, "a completed saga that is a step is not undone", HALF)

typedef enum sim_bug {
#define SIM_ROW(name, text, breach) SIM_##name,
    SIM_BUG_MAP(SIM_ROW)
#undef SIM_ROW
        SIM_BUGS
} sim_bug_t;

#define SIM_COUNT_MAP(ROW) /* what must have happened in a set of runs */                                    \
    ROW(COMMIT_LOST_DONE, "commits done without an answer")                                                  \
    ROW(COMMIT_LOST_UNDONE, "commits lost")                                                                  \
    ROW(COMMIT_LATE, "commits done after their client had given up")                                         \
    ROW(FENCED, "commits refused by the epoch")                                                              \
    ROW(CRASH, "crashes")                                                                                    \
    ROW(PAUSE, "pauses")                                                                                     \
    ROW(TAKEOVER, "takeovers")                                                                               \
    ROW(MESSAGE_LOST, "messages lost")                                                                       \
    ROW(MESSAGE_TWICE, "messages doubled")                                                                   \
    ROW(MESSAGE_LATE, "messages late")                                                                       \
    ROW(DIED_BEFORE, "participants that died before their commit")                                           \
    ROW(DIED_AFTER, "participants that died after it")                                                       \
    ROW(REPEAT, "commands answered again")                                                                   \
    ROW(VOIDED, "undos that came first")                                                                     \
    ROW(HANGING_BLOCKED, "commands that came after their undo")                                              \
    ROW(UNKNOWN, "steps whose outcome stayed unknown")                                                       \
    ROW(ANOMALY, "anomalies recorded")                                                                       \
    ROW(CANCEL, "cancels decided")                                                                           \
    ROW(KEY_LOST, "starts that found their key taken")                                                       \
    ROW(LATE_REPLY, "replies to sagas that were over")                                                       \
    ROW(CHILD_STARTED, "starts of sagas that are steps")                                                     \
    ROW(CHILD_AGAIN, "… that found their key taken")                                                         \
    ROW(CHILD_VOID, "… that were to do nothing")                                                             \
    ROW(CHILD_UNDONE, "completed ones that were undone")

typedef enum sim_count {
#define SIM_ROW(name, text) SIM_N_##name,
    SIM_COUNT_MAP(SIM_ROW)
#undef SIM_ROW
        SIM_COUNTS
} sim_count_t;

typedef struct sim_result {
    uint64_t trace;
    uint64_t events;
    int64_t ended_us; /* after the faults ended, until nothing was open; -1: never */
    int64_t count[SIM_COUNTS];
    chaos_record_t record; /* free with chaos_record_free */
} sim_result_t;

void simulate(uint64_t seed, sim_bug_t bug, sim_result_t *out);

const char *sim_bug_text(sim_bug_t bug);
chaos_breach_t sim_bug_breach(sim_bug_t bug);
const char *sim_count_text(sim_count_t count);

#endif
