/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/plans.h"

#include <stdio.h>
#include <stdlib.h>

void sb_plans_init(sb_plans_t *plans, const sb_catalog_t *catalog, const char *prefix)
{
    *plans = (sb_plans_t){.catalog = catalog, .prefix = prefix};
}

static void free_plan(sb_plan_t *plan)
{
    for (int i = 0; i < plan->definition->step_count; i++) {
        free(plan->step[i].command_type[SB_FORWARD]);
        free(plan->step[i].command_type[SB_COMPENSATE]);
    }
    sb_definition_free(&plan->definition);
    free(plan);
}

void sb_plans_fini(sb_plans_t *plans)
{
    while (plans->first) {
        sb_plan_t *plan = plans->first;
        plans->first = plan->next;
        free_plan(plan);
    }
}

static char *command_type(const char *participant, const char *action)
{
    char *type = NULL;
    if (!action || asprintf(&type, "%s.%s", participant, action) < 0)
        return NULL;
    return type;
}

static sb_code_t fill_step(const sb_plans_t *plans, sb_plan_step_t *out, const sb_step_definition_t *step,
                           sb_error_t *err)
{
    out->command_type[SB_FORWARD] = command_type(step->participant, step->action);
    out->command_type[SB_COMPENSATE] = command_type(step->participant, step->compensation);
    return sb_topic_commands(out->topic, plans->prefix, sb_slice(step->participant), err);
}

static sb_code_t compile(sb_plans_t *plans, const sb_artifact_t *artifact, const sb_plan_t **out,
                         sb_error_t *err)
{
    sb_definition_t *definition = NULL;
    sb_code_t code = sb_definition_compile(&definition, artifact->body, err);
    if (code != SB_OK)
        return sb_context(err, code, "saga definition %s version %d", artifact->name, artifact->version);
    sb_plan_t *plan = calloc(1, sizeof *plan + (size_t)definition->step_count * sizeof(sb_plan_step_t));
    if (!plan) {
        sb_definition_free(&definition);
        return sb_fail(err, SB_NO_MEMORY, "saga definition %s: out of memory", artifact->name);
    }
    plan->definition = definition;
    for (int i = 0; i < definition->step_count && code == SB_OK; i++) {
        plan->has_when |= definition->step[i].when != NULL;
        code = fill_step(plans, &plan->step[i], &definition->step[i], err);
    }
    if (code != SB_OK) {
        free_plan(plan);
        return code;
    }
    plan->next = plans->first;
    plans->first = plan;
    *out = plan;
    return SB_OK;
}

static const sb_plan_t *find(const sb_plans_t *plans, const sb_hash_t *hash)
{
    const sb_plan_t *plan = plans->first;
    while (plan && memcmp(&plan->definition->hash, hash, sizeof *hash) != 0)
        plan = plan->next;
    return plan;
}

sb_code_t sb_plans_by_hash(sb_plans_t *plans, const sb_hash_t *hash, const sb_plan_t **out, sb_error_t *err)
{
    *out = find(plans, hash);
    if (*out)
        return SB_OK;
    const sb_artifact_t *artifact = sb_catalog_by_hash(plans->catalog, SB_ARTIFACT_SAGA, hash);
    if (artifact)
        return compile(plans, artifact, out, err);
    char text[SB_HASH_TEXT];
    return sb_fail(err, SB_NOT_FOUND, "no saga definition is registered under hash %.12s",
                   sb_hash_format(hash, text));
}

static sb_code_t list_name(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    (void)err;
    sb_buf_t *names = context;
    size_t n = strlen(artifact->name);
    if (names->len >= n && memcmp(names->ptr + names->len - n, artifact->name, n) == 0)
        return SB_OK; /* an older version of the one just named */
    if (names->len > 0)
        sb_buf_add_text(names, ", ");
    sb_buf_add_text(names, artifact->name);
    return SB_OK;
}

sb_code_t sb_plans_version(sb_plans_t *plans, sb_slice_t type, int version, const sb_plan_t **out,
                           sb_error_t *err)
{
    const sb_artifact_t *artifact = sb_catalog_artifact(plans->catalog, SB_ARTIFACT_SAGA, type, version);
    if (artifact)
        return sb_plans_by_hash(plans, &artifact->hash, out, err);
    return sb_fail(err, SB_NOT_FOUND, "no version %d of saga %.*s is registered", version,
                   SB_SLICE_ARG(type));
}

sb_code_t sb_plans_newest(sb_plans_t *plans, sb_slice_t type, const sb_plan_t **out, sb_error_t *err)
{
    const sb_artifact_t *artifact = sb_catalog_artifact(plans->catalog, SB_ARTIFACT_SAGA, type, 0);
    if (artifact)
        return sb_plans_by_hash(plans, &artifact->hash, out, err);
    sb_buf_t names = SB_BUF_INIT;
    sb_code_t ignored = sb_catalog_each(plans->catalog, SB_ARTIFACT_SAGA, list_name, &names, NULL);
    (void)ignored;
    sb_code_t code = sb_fail(err, SB_NOT_FOUND, "no saga type %.*s; registered are: %.300s",
                             SB_SLICE_ARG(type), names.len > 0 ? sb_buf_text(&names) : "none");
    sb_buf_fini(&names);
    return code;
}
