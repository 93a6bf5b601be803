/* check - holds what a run left behind against what sagabus promises (docs/chaos.md).
 *
 * It is a function of the record alone, so that it can be shown false records and must name what is false in
 * each (test_check.c).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_CHECK_H
#define SB_TESTS_CHAOS_CHECK_H

#include "tests/chaos/record.h"

#define CHAOS_BREACH_MAP(ROW) /* enum, name, what was promised */                                            \
    ROW(MONEY, "I1 money", "a service's books are its opening and the sum of its effects, at any moment")    \
    ROW(LOST, "I2 lost", "what was accepted is there")                                                       \
    ROW(PHANTOM, "I3 phantom", "what is there was asked for")                                                \
    ROW(TWICE, "I4 twice", "an effect happens at most once a step and direction")                            \
    ROW(HALF, "I5 half", "completed is all of it, compensated is none of it")                                \
    ROW(HANGING, "I6 hanging", "no effect comes after its undo, and no undo without its effect")             \
    ROW(PIVOT, "I7 pivot", "after the pivot nothing is undone, and it completes")                            \
    ROW(ORDER, "I8 order", "what came last is undone first")                                                 \
    ROW(KEY, "I12 key", "a key is one saga, and another input under it is refused")                          \
    ROW(END, "I13 end", "a saga ends once, and stays as it ended")                                           \
    ROW(FENCE, "I14 fence", "who was replaced writes nothing more")                                          \
    ROW(OPEN, "I15 open", "what was started ends when all is back")                                          \
    ROW(CHILD, "I16 child", "a saga that is a step is started once, and ends before the one it is a step of")

typedef enum chaos_breach {
#define CHAOS_ROW(name, text, promise) CHAOS_##name,
    CHAOS_BREACH_MAP(CHAOS_ROW)
#undef CHAOS_ROW
        CHAOS_BREACHES
} chaos_breach_t;

typedef struct chaos_findings {
    int count[CHAOS_BREACHES];
    char first[CHAOS_BREACHES][160]; /* an example of each */
    int total;
    /* What the run met, for the gates against an empty one. */
    int completed, compensated, cancelled_calls, refused_other;
} chaos_findings_t;

/* Sorts the record's lists. */
void chaos_check(chaos_record_t *record, chaos_findings_t *out);

const char *chaos_breach_name(chaos_breach_t breach);
const char *chaos_breach_promise(chaos_breach_t breach);

#endif
