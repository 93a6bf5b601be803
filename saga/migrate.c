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

sb_code_t sb_saga_may_migrate(const sb_definition_t *from, const sb_definition_t *to,
                              const sb_saga_state_t *state, sb_error_t *err)
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
    return SB_OK;
}
