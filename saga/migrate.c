/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/migrate.h"

#include <string.h>

static bool same_text(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* What the fold reads of a step, and what its commands are called; NULL: it is the same in both. */
static const char *difference(const sb_step_definition_t *a, const sb_step_definition_t *b)
{
    if (!same_text(a->name, b->name))
        return "name";
    if (!same_text(a->participant, b->participant))
        return "participant";
    if ((a->child != NULL) != (b->child != NULL)) /* a participant may be called as a child's step is */
        return "participant";
    if (!same_text(a->action, b->action))
        return "action";
    if (!same_text(a->compensation, b->compensation))
        return "compensation";
    if (a->pivot != b->pivot)
        return "pivot";
    if (a->group != b->group)
        return "parallel group";
    if ((a->when != NULL) != (b->when != NULL))
        return "condition";
    return NULL;
}

/* One that an anomaly was noted about counts: its events name it. */
static int executed_count(const sb_definition_t *definition, const sb_saga_state_t *state)
{
    int count = 0;
    for (int i = 0; i < definition->step_count; i++)
        if (state->step[i].status != SB_STEP_PENDING || state->step[i].round > 0 || state->step[i].anomaly)
            count = i + 1;
    return count;
}

/* Whether its command may go out yet, by what the other definition says it needs. */
static bool is_to_run(const sb_saga_state_t *state, int step)
{
    if (state->status == SB_SAGA_COMPENSATING)
        return state->rewind_to >= 0 && step >= state->rewind_to;
    sb_step_status_t status = state->step[step].status;
    return status != SB_STEP_COMPLETED && status != SB_STEP_SKIPPED;
}

/* The saga was let in by what its old definition asks of the input; the new one may ask for more. What a
 * conditional step needs is not asked for at the start either. */
static sb_code_t check_input(const sb_definition_t *to, const sb_saga_state_t *state, sb_slice_t input,
                             sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < to->step_count && code == SB_OK; i++) {
        const sb_step_definition_t *step = &to->step[i];
        if (!step->input || step->when || !is_to_run(state, i))
            continue;
        code = sb_template_accepts(step->input, input, err);
        if (code == SB_INVALID)
            code = sb_context(err, SB_CONFLICT, "step %s of version %d", step->name, to->version);
    }
    return code;
}

sb_code_t sb_saga_may_migrate(const sb_definition_t *from, const sb_definition_t *to,
                              const sb_saga_state_t *state, sb_slice_t input, sb_error_t *err)
{
    int executed = executed_count(from, state);
    if (strcmp(from->name, to->name) != 0)
        return sb_fail(err, SB_CONFLICT, "%s is another saga than %s", to->name, from->name);
    if (memcmp(&from->hash, &to->hash, sizeof from->hash) == 0)
        return sb_fail(err, SB_CONFLICT, "it has this definition already");
    for (int i = 0; i < executed; i++) {
        const char *what = i < to->step_count ? difference(&from->step[i], &to->step[i]) : "place";
        if (what)
            return sb_fail(err, SB_CONFLICT, "step %s has begun, and its %s is another in version %d",
                           from->step[i].name, what, to->version);
    }
    if (executed > 0 && executed < to->step_count && to->step[executed].group >= 0 &&
        to->step[executed].group < executed)
        return sb_fail(err, SB_CONFLICT, "step %s joins a group that has begun, in version %d",
                       to->step[executed].name, to->version);
    return check_input(to, state, input, err);
}
