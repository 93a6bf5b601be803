/* Goes down from one definition, over the files as they are: what is below was compiled when it was read.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/nesting.h"

#include <stdio.h>

typedef struct descent {
    const sb_catalog_t *catalog;
    const char *path[SB_NESTING_MAX + 1]; /* names, from the definition that is checked downwards */
    int depth;
    bool circles_only;
    char at[32]; /* the step of that definition which leads down here */
    sb_error_t *err;
} descent_t;

/* Fails with the way down to the saga of that name. */
static sb_code_t fail_on_the_way(const descent_t *d, const char *name, const char *what)
{
    char way[400] = "";
    size_t used = 0;
    for (int i = 0; i < d->depth && used < sizeof way; i++)
        used += (size_t)snprintf(way + used, sizeof way - used, "%s -> ", d->path[i]);
    return sb_fail_at(d->err, SB_INVALID, d->at, "%s: %s%s", what, way, name);
}

static sb_code_t go_down(descent_t *d, const char *name);

/* Every step that is a saga, of all that is known to be well-formed. */
static sb_code_t check_below(descent_t *d, const json_t *body)
{
    size_t i;
    json_t *step;
    sb_code_t code = SB_OK;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        const char *child = json_string_value(json_object_get(step, "saga"));
        if (d->depth == 1)
            (void)snprintf(d->at, sizeof d->at, "/steps/%zu/saga", i);
        if (child && code == SB_OK)
            code = go_down(d, child);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

static sb_code_t go_down(descent_t *d, const char *name)
{
    for (int i = 0; i < d->depth; i++)
        if (strcmp(d->path[i], name) == 0)
            return fail_on_the_way(d, name, "a saga cannot be a step of itself");
    const sb_artifact_t *artifact = sb_catalog_artifact(d->catalog, SB_ARTIFACT_SAGA, sb_slice(name), 0);
    if (d->circles_only && (!artifact || d->depth > SB_NESTING_MAX))
        return SB_OK;
    if (!artifact)
        return sb_fail_at(d->err, SB_INVALID, d->at, "no saga %s is registered, or among the files", name);
    if (d->depth > SB_NESTING_MAX)
        return fail_on_the_way(d, name, "sagas can be nested 5 deep at most");
    d->path[d->depth++] = name;
    sb_code_t code = check_below(d, artifact->body);
    d->depth--;
    return code;
}

_Static_assert(SB_NESTING_MAX == 5, "it is named in the text of an error");

/* Name of its pivot; NULL: it has none. */
static const char *pivot_of(const json_t *body)
{
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(body, "steps"), i, step)
    {
        if (json_is_true(json_object_get(step, "pivot")))
            return json_string_value(json_object_get(step, "name"));
    }
    return NULL;
}

static sb_code_t check_undo(const descent_t *d, int index, const sb_step_definition_t *step)
{
    char at[32];
    const sb_artifact_t *child = sb_catalog_artifact(d->catalog, SB_ARTIFACT_SAGA, sb_slice(step->child), 0);
    const char *pivot = child && step->compensation ? pivot_of(child->body) : NULL;
    (void)snprintf(at, sizeof at, "/steps/%d/saga", index);
    if (!pivot)
        return SB_OK;
    return sb_fail_at(d->err, SB_INVALID, at,
                      "saga %s cannot be undone once its pivot %s is done, so step %s could not: make the "
                      "step the pivot, or put it after the pivot",
                      step->child, pivot, step->name);
}

sb_code_t sb_nesting_check(const sb_definition_t *definition, const sb_catalog_t *catalog, sb_error_t *err)
{
    descent_t d = {.catalog = catalog, .path = {definition->name}, .depth = 1, .err = err};
    sb_code_t code = check_below(&d, definition->body);
    for (int i = 0; code == SB_OK && i < definition->step_count; i++)
        if (definition->step[i].child)
            code = check_undo(&d, i, &definition->step[i]);
    return code;
}

sb_code_t sb_nesting_circle(const sb_definition_t *definition, const sb_catalog_t *catalog, sb_error_t *err)
{
    descent_t d = {
        .catalog = catalog, .path = {definition->name}, .depth = 1, .circles_only = true, .err = err};
    return check_below(&d, definition->body);
}
