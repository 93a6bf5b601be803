/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/machine_play.h"

#include <stdio.h>
#include <string.h>

play_t play; /* large, and one at a time */

static const char *const names[] = {"a", "b", "c", "d"};

/* n steps that can be undone; tries last 10 ms, two of them 5 ms apart, undos again after 20 ms. */
void play_begin(int steps)
{
    memset(&play, 0, sizeof play);
    play.definition.name = "s";
    play.definition.step_count = steps;
    for (int i = 0; i < steps; i++)
        play.definition.step[i] = (sb_step_definition_t){.name = names[i],
                                                         .participant = "p",
                                                         .action = "do",
                                                         .compensation = "undo",
                                                         .group = -1,
                                                         .timeout_ms = 10,
                                                         .retry = {SB_RETRY_FIXED, 2, 5, 5, false},
                                                         .undo_retry = {SB_RETRY_FIXED, 0, 20, 20, false}};
    sb_saga_state_init(&play.state);
}

void play_make_pivot(int step)
{
    play.definition.step[step].pivot = true;
    for (int i = step + 1; i < play.definition.step_count; i++)
        play.definition.step[i].forward_only = true;
}

static const char *name_of(int step)
{
    return step < 0 ? "" : names[step];
}

static void tell_event(const sb_saga_event_t *event, sb_buf_t *out)
{
    sb_buf_printf(out, "%s%s", out->len > 0 ? ", " : "", sb_saga_event_type(event->kind) + strlen("saga."));
    if (event->step >= 0)
        sb_buf_printf(out, " %s", name_of(event->step));
    if (event->direction == SB_COMPENSATE && event->kind != SB_SAGA_EV_STEP_COMPENSATED)
        sb_buf_add_text(out, " undo");
    if (event->kind == SB_SAGA_EV_STEP_RETRIED)
        sb_buf_printf(out, " %d.%d at %d", event->round, event->attempt, (int)(event->wake_us / MS));
    if (event->kind == SB_SAGA_EV_STEP_FAILED && event->unknown)
        sb_buf_add_text(out, " unknown");
    if (event->fallback)
        sb_buf_add_text(out, " fallback");
    if (event->pause)
        sb_buf_add_text(out, " and waits");
}

static void tell(const sb_decision_t *decision, sb_buf_t *out)
{
    if (decision->refused)
        sb_buf_printf(out, "refused: %s", decision->refusal);
    for (int i = 0; i < decision->event_count; i++)
        tell_event(&decision->event[i], out);
    for (int i = 0; i < decision->order_count; i++) {
        const sb_saga_order_t *order = &decision->order[i];
        sb_buf_printf(out, " > %s %s %d.%d%s", order->direction == SB_FORWARD ? "do" : "undo",
                      name_of(order->step), order->round, order->attempt,
                      order->forward_unknown ? " unknown" : "");
        assert_true(order->deadline_us > 0);
    }
    if (decision->wake_us)
        sb_buf_printf(out, " > %d", (int)(decision->wake_us / MS));
}

void play_assert_told(const sb_decision_t *decision, const char *want)
{
    sb_buf_t told = SB_BUF_INIT;
    tell(decision, &told);
    assert_string_equal(sb_buf_text(&told), want);
    sb_buf_fini(&told);
}

void play_gives(int at_ms, sb_saga_input_t input, const char *want)
{
    sb_saga_state_t after, folded = play.state;
    input.skip_mask = play.skip_mask;
    sb_machine_decide(&play.definition, &play.state, &input, (int64_t)at_ms * MS, &play.decision, &after);
    play_assert_told(&play.decision, want);
    for (int i = 0; i < play.decision.event_count; i++)
        assert_int_equal(sb_machine_evolve(&play.definition, &folded, &play.decision.event[i], NULL), SB_OK);
    assert_true(sb_saga_state_equal(&folded, &after));
    play.state = after;
}

void play_start(int at_ms, const char *want)
{
    play_gives(at_ms, (sb_saga_input_t){.kind = SB_SAGA_IN_START}, want);
}

void play_timer(int at_ms, const char *want)
{
    play_gives(at_ms, (sb_saga_input_t){.kind = SB_SAGA_IN_TIMER}, want);
}

void play_verb(int at_ms, sb_saga_input_kind_t kind, int step, const char *want)
{
    play_gives(
        at_ms,
        (sb_saga_input_t){.kind = kind, .step = step, .by = SB_SLICE("ann"), .reason = SB_SLICE("because")},
        want);
}

sb_saga_input_t play_reply(sb_direction_t direction, int step, sb_outcome_t outcome)
{
    return (sb_saga_input_t){.kind = SB_SAGA_IN_REPLY,
                             .step = step,
                             .direction = direction,
                             .round = play.state.step[step].round,
                             .outcome = outcome,
                             .result = SB_SLICE("{}"),
                             .error = outcome == SB_OUTCOME_SUCCESS ? SB_SLICE_NONE : SB_SLICE("no")};
}

void play_done(int at_ms, int step, const char *want)
{
    play_gives(at_ms, play_reply(SB_FORWARD, step, SB_OUTCOME_SUCCESS), want);
}

void play_refused(int at_ms, int step, const char *want)
{
    play_gives(at_ms, play_reply(SB_FORWARD, step, SB_OUTCOME_FAILURE), want);
}

void play_error(int at_ms, int step, const char *want)
{
    play_gives(at_ms, play_reply(SB_FORWARD, step, SB_OUTCOME_ERROR), want);
}

void play_undone(int at_ms, int step, const char *want)
{
    play_gives(at_ms, play_reply(SB_COMPENSATE, step, SB_OUTCOME_SUCCESS), want);
}

void play_not_undone(int at_ms, int step, const char *want)
{
    play_gives(at_ms, play_reply(SB_COMPENSATE, step, SB_OUTCOME_ERROR), want);
}
