/* machine_play - plays of the saga's machine: what comes in, when, and the line that must come of it:
 *   events (type without "saga.", step, details) > orders > the next wake, in ms
 *
 * Each decision's fold is held against the state that came with it. Steps are 0, 1 … and are told as a, b, c,
 * d; times are in milliseconds. A line that differs fails the test.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_MACHINE_PLAY_H
#define SB_TESTS_UNIT_MACHINE_PLAY_H

#include "saga/machine.h"
#include "tests/support/assert.h"

#define MS 1000

typedef struct play {
    sb_definition_t definition;
    sb_saga_state_t state;
    sb_decision_t decision;
    uint32_t skip_mask;
} play_t;

extern play_t play;

/* n steps that can be undone; tries last 10 ms, two of them 5 ms apart, undos again after 20 ms. */
void play_begin(int steps);
void play_make_pivot(int step);

/* Whatever comes in. */
void play_gives(int at_ms, sb_saga_input_t input, const char *want);
void play_assert_told(const sb_decision_t *decision, const char *want);

void play_start(int at_ms, const char *want);
void play_timer(int at_ms, const char *want);
void play_verb(int at_ms, sb_saga_input_kind_t kind, int step, const char *want);

/* An answer to the step's round as it is. */
sb_saga_input_t play_reply(sb_direction_t direction, int step, sb_outcome_t outcome);
void play_done(int at_ms, int step, const char *want);
void play_refused(int at_ms, int step, const char *want);
void play_error(int at_ms, int step, const char *want);
void play_undone(int at_ms, int step, const char *want);
void play_not_undone(int at_ms, int step, const char *want);

#endif
