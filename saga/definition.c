/* The compiler notes the first fault and goes on with harmless values, so that each reader below is one line
 * where it is used; whoever finishes a part asks once whether there was a fault.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/definition.h"

#include "base/duration.h"
#include "base/near.h"
#include "saga/nesting.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRY_MS_MAX      ((int64_t)30 * 24 * 3600 * 1000)
#define TRIES_MAX       1000
#define VERSION_MAX     1000000
#define DEFAULT_TIMEOUT 10000
#define CHILD_TRY_MS    30000 /* of a child: while it runs it says so, more often than this */

static const sb_retry_policy_t default_retry = {SB_RETRY_EXPONENTIAL, 5, 200, 5000, true};
static const sb_retry_policy_t default_undo_retry = {SB_RETRY_EXPONENTIAL, 0, 500, 60000, true};

typedef struct compiler {
    sb_definition_t *out;
    sb_code_t code;
    sb_error_t *err;
} compiler_t;

/* An object of the file and where it stands. */
typedef struct place {
    const json_t *object;
    char pointer[96];
} place_t;

static void fault(compiler_t *c, const place_t *place, const char *member, const char *format, ...)
    SB_PRINTF(4, 5);

static void fault(compiler_t *c, const place_t *place, const char *member, const char *format, ...)
{
    if (c->code != SB_OK)
        return;
    va_list args;
    va_start(args, format);
    c->code = sb_vfail(c->err, SB_INVALID, format, args);
    va_end(args);
    if (c->err)
        (void)snprintf(c->err->pointer, sizeof c->err->pointer, "%s%s%s", place->pointer, member ? "/" : "",
                       member ? member : "");
}

/* ---- members ---- */

static void check_members(compiler_t *c, const place_t *place, const char *const *known)
{
    const char *name;
    json_t *member;
    if (!json_is_object(place->object)) {
        fault(c, place, NULL, "this must be an object");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)place->object, name, member)
    {
        sb_near_t near_name = {NULL, 4};
        for (size_t i = 0; known[i]; i++)
            sb_near_offer(&near_name, name, known[i]);
        if (near_name.word && near_name.distance == 0)
            continue;
        if (near_name.word)
            fault(c, place, name, "there is no member %s here; did you mean %s?", name, near_name.word);
        else
            fault(c, place, name, "there is no member %s here", name);
    }
}

static const char *read_text(compiler_t *c, const place_t *place, const char *member)
{
    const json_t *value = json_object_get(place->object, member);
    if (value && !json_is_string(value))
        fault(c, place, member, "%s must be a text", member);
    return json_string_value(value);
}

static bool is_name(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > SB_STEP_NAME_MAX || text[0] < 'a' || text[0] > 'z')
        return false;
    return strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789_-") == length;
}

static const char *read_name(compiler_t *c, const place_t *place, const char *member, bool required)
{
    const char *text = read_text(c, place, member);
    if (!text && required)
        fault(c, place, NULL, "%s is missing", member);
    else if (text && !is_name(text))
        fault(c, place, member, "%s must begin with a-z and be 1 to %d of a-z 0-9 _ -", member,
              SB_STEP_NAME_MAX);
    return text;
}

static bool read_bool(compiler_t *c, const place_t *place, const char *member)
{
    const json_t *value = json_object_get(place->object, member);
    if (value && !json_is_boolean(value))
        fault(c, place, member, "%s must be true or false", member);
    return json_is_true(value);
}

static uint32_t read_count(compiler_t *c, const place_t *place, const char *member, uint32_t high,
                           uint32_t absent)
{
    const json_t *value = json_object_get(place->object, member);
    if (!value)
        return absent;
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 1 || number > high) {
        fault(c, place, member, "%s must be a whole number from 1 to %" PRIu32, member, high);
        return absent;
    }
    return (uint32_t)number;
}

static uint32_t read_duration(compiler_t *c, const place_t *place, const char *member, uint32_t absent)
{
    const json_t *value = json_object_get(place->object, member);
    if (!value)
        return absent;
    int64_t ms = json_is_integer(value)  ? json_integer_value(value)
                 : json_is_string(value) ? sb_duration_ms(json_string_value(value), TRY_MS_MAX)
                                         : -1;
    if (ms >= 1 && ms <= TRY_MS_MAX)
        return (uint32_t)ms;
    fault(c, place, member,
          "%s must be a time like \"200ms\", \"10s\", \"5m\", \"1h\", or milliseconds; 1ms to 30d", member);
    return absent;
}

/* ---- parts of a step ---- */

static sb_retry_shape_t read_shape(compiler_t *c, const place_t *place, sb_retry_shape_t absent)
{
    static const char *const shapes[] = {"exponential", "linear", "fixed"};
    const char *text = read_text(c, place, "shape");
    if (!text)
        return absent;
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, shapes[i]) == 0)
            return (sb_retry_shape_t)i;
    }
    fault(c, place, "shape", "shape must be exponential, linear or fixed");
    return absent;
}

static place_t place_below(const place_t *place, const char *member)
{
    place_t below = {json_object_get(place->object, member), ""};
    (void)snprintf(below.pointer, sizeof below.pointer, "%s/%s", place->pointer, member);
    return below;
}

/* Over what *policy has already: what is absent stays. */
static void read_policy(compiler_t *c, const place_t *place, bool endless, sb_retry_policy_t *policy)
{
    if (endless && json_object_get(place->object, "attempts"))
        fault(c, place, "attempts", "this is tried until it is known how it ended, so tries are not counted");
    policy->shape = read_shape(c, place, policy->shape);
    policy->attempts_max = read_count(c, place, "attempts", TRIES_MAX, policy->attempts_max);
    policy->delay_ms = read_duration(c, place, "delay", policy->delay_ms);
    policy->delay_max_ms = read_duration(c, place, "max", policy->delay_max_ms);
    if (policy->delay_max_ms < policy->delay_ms && !json_object_get(place->object, "max"))
        policy->delay_max_ms = policy->delay_ms;
    if (policy->delay_max_ms < policy->delay_ms)
        fault(c, place, "max", "max is shorter than delay");
    if (json_object_get(place->object, "jitter"))
        policy->jitter = read_bool(c, place, "jitter");
}

static void read_class(compiler_t *c, const place_t *classes, sb_error_class_t error_class, bool endless,
                       const sb_retry_policy_t *general, sb_class_retry_t *out)
{
    static const char *const members[] = {"shape", "attempts", "delay", "max", "jitter", NULL};
    place_t place = place_below(classes, sb_error_class_name(error_class));
    out->declared = place.object != NULL;
    out->policy = *general;
    if (!place.object)
        return;
    check_members(c, &place, members);
    read_policy(c, &place, endless, &out->policy);
}

static sb_retry_policy_t read_retry(compiler_t *c, const place_t *step, const char *member, bool endless,
                                    const sb_retry_policy_t *absent, sb_class_retry_t *by_class)
{
    static const char *const members[] = {"shape", "attempts", "delay", "max", "jitter", "by_class", NULL};
    const char *classes[SB_CLASS_COUNT] = {NULL};
    sb_retry_policy_t policy = *absent;
    place_t place = place_below(step, member);
    if (!place.object)
        return policy;
    check_members(c, &place, members);
    read_policy(c, &place, endless, &policy);
    place_t list = place_below(&place, "by_class");
    for (int i = SB_CLASS_NONE + 1; i < SB_CLASS_COUNT; i++)
        classes[i - 1] = sb_error_class_name((sb_error_class_t)i);
    if (list.object)
        check_members(c, &list, classes);
    for (int i = SB_CLASS_NONE + 1; list.object && i < SB_CLASS_COUNT; i++)
        read_class(c, &list, (sb_error_class_t)i, endless, &policy, &by_class[i]);
    return policy;
}

/* Steps one after another with the same `parallel` are a group. */
static int read_group(compiler_t *c, const place_t *place, int step)
{
    const json_t *steps = json_object_get(c->out->body, "steps");
    const char *name = read_name(c, place, "parallel", false);
    if (!name)
        return -1;
    for (int i = step - 1; i >= 0; i--) {
        const char *other = json_string_value(json_object_get(json_array_get(steps, (size_t)i), "parallel"));
        if (!other || strcmp(name, other) != 0)
            continue;
        if (i == step - 1)
            return c->out->step[i].group;
        fault(c, place, "parallel", "the steps of group %s must follow one another", name);
    }
    return step;
}

static void check_undo(compiler_t *c, const place_t *place, const sb_step_definition_t *step)
{
    if (step->no_effect && step->compensation)
        fault(c, place, "no_effect", "a step with a compensation has an effect");
    if (step->pivot && step->group >= 0)
        fault(c, place, "pivot", "the pivot cannot be one of a group");
    if (!step->compensation && json_object_get(place->object, "undo_input"))
        fault(c, place, "undo_input", "there is no compensation to give it to");
    if (!step->compensation && json_object_get(place->object, "undo_retry"))
        fault(c, place, "undo_retry", "there is no compensation to try again");
    if ((step->pivot || step->forward_only) && json_object_get(place->object, "fallback"))
        fault(c, place, "fallback", "this is tried until it is known how it ended: nothing stands in for it");
    if (step->compensation || step->no_effect || step->pivot || step->forward_only)
        return;
    fault(c, place, NULL,
          "step %s cannot be undone when it or a later step fails: give it a compensation, or \"no_effect\": "
          "true "
          "when it changes nothing, or make it the pivot",
          step->name);
}

/* Who does it. */
static void read_doer(compiler_t *c, const place_t *place, sb_step_definition_t *step)
{
    static const char *const not_of_child[] = {"participant", "action",  "compensation", "undo_input",
                                               "no_effect",   "timeout", "retry",        "undo_retry",
                                               "fallback",    NULL};
    step->child = read_name(c, place, "saga", false);
    if (!step->child) {
        step->participant = read_name(c, place, "participant", true);
        step->action = read_name(c, place, "action", true);
        step->compensation = read_name(c, place, "compensation", false);
        return;
    }
    for (int i = 0; not_of_child[i]; i++)
        if (json_object_get(place->object, not_of_child[i]))
            fault(c, place, not_of_child[i],
                  "a step that is a saga has no %s: saga %s has participants, times and undos of its own",
                  not_of_child[i], step->child);
    step->participant = SB_CHILD_PARTICIPANT;
    step->action = step->child;
}

static void read_step(compiler_t *c, const place_t *place, int index, bool *past_pivot)
{
    static const char *const members[] = {
        "name",         "title",      "description", "saga",     "participant", "action",       "input",
        "compensation", "undo_input", "when",        "parallel", "pivot",       "forward_only", "no_effect",
        "timeout",      "retry",      "undo_retry",  "fallback", NULL};
    sb_step_definition_t *step = &c->out->step[index];
    check_members(c, place, members);
    step->name = read_name(c, place, "name", true);
    step->title = read_text(c, place, "title");
    (void)read_text(c, place, "description");
    read_doer(c, place, step);
    step->group = read_group(c, place, index);
    step->no_effect = read_bool(c, place, "no_effect");
    step->pivot = read_bool(c, place, "pivot");
    step->forward_only = *past_pivot;
    if (read_bool(c, place, "forward_only") && !*past_pivot)
        fault(c, place, "forward_only", "only what comes after the pivot is forward only");
    if (step->pivot && *past_pivot)
        fault(c, place, "pivot", "there is a pivot before this step already");
    *past_pivot = *past_pivot || step->pivot;
    bool endless = step->pivot || step->forward_only;
    if (step->child && !endless)
        step->compensation = SB_CHILD_UNDO;
    step->timeout_ms = read_duration(c, place, "timeout", step->child ? CHILD_TRY_MS : DEFAULT_TIMEOUT);
    step->retry = read_retry(c, place, "retry", endless, &default_retry, step->retry_class);
    step->undo_retry = read_retry(c, place, "undo_retry", true, &default_undo_retry, step->undo_retry_class);
    if (c->code == SB_OK)
        check_undo(c, place, step);
}

/* ---- templates ---- */

static void compile_template(compiler_t *c, sb_template_t **out, const place_t *place, const char *member,
                             const sb_scope_t *scope)
{
    const json_t *body = json_object_get(place->object, member);
    char at[128];
    if (!body || c->code != SB_OK)
        return;
    (void)snprintf(at, sizeof at, "%s/%s", place->pointer, member);
    if (!json_is_object(body))
        fault(c, place, member, "%s must be an object", member);
    else
        c->code = sb_template_compile(out, body, scope, at, c->err);
}

/* Forward, a step sees what ended before its group began; an undo sees its own result too. */
static void compile_templates(compiler_t *c, const place_t *place, int index, sb_scope_t *scope)
{
    sb_step_definition_t *step = &c->out->step[index];
    const json_t *when = json_object_get(place->object, "when");
    char at[128];
    (void)snprintf(at, sizeof at, "%s/when", place->pointer);
    scope->visible = step->group >= 0 ? step->group : index; /* a group is named by its first step */
    compile_template(c, &step->input, place, "input", scope);
    compile_template(c, &step->fallback, place, "fallback", scope);
    if (when && c->code == SB_OK)
        c->code = sb_condition_compile(&step->when, when, scope, at, c->err);
    scope->visible = index + 1;
    sb_scope_t undo = *scope;
    undo.uncertain = 0;
    compile_template(c, &step->undo_input, place, "undo_input", &undo);
    if (step->when)
        scope->uncertain |= UINT32_C(1) << index;
}

/* ---- the whole ---- */

static place_t place_of_step(const compiler_t *c, int index)
{
    const json_t *steps = json_object_get(c->out->body, "steps");
    place_t place = {json_array_get(steps, (size_t)index), ""};
    (void)snprintf(place.pointer, sizeof place.pointer, "/steps/%d", index);
    return place;
}

static void check_unique(compiler_t *c, const place_t *place, int index)
{
    for (int i = 0; i < index && c->code == SB_OK; i++) {
        if (strcmp(c->out->step[i].name, c->out->step[index].name) == 0)
            fault(c, place, "name", "step %d is called %s too", i + 1, c->out->step[i].name);
    }
}

static void read_steps(compiler_t *c)
{
    const char *names[SB_STEPS_MAX];
    sb_scope_t scope = {names, c->out->step_count, 0, 0};
    bool past_pivot = false;
    for (int i = 0; i < c->out->step_count; i++) {
        place_t place = place_of_step(c, i);
        read_step(c, &place, i, &past_pivot);
        check_unique(c, &place, i);
        names[i] = c->out->step[i].name;
    }
    for (int i = 0; i < c->out->step_count && c->code == SB_OK; i++) {
        place_t place = place_of_step(c, i);
        compile_templates(c, &place, i, &scope);
    }
    place_t whole = {c->out->body, ""};
    compile_template(c, &c->out->result, &whole, "result", &scope);
}

static void read_definition(compiler_t *c)
{
    static const char *const members[] = {"$schema",  "saga",  "version", "title", "description",
                                          "deadline", "steps", "result",  NULL};
    sb_definition_t *out = c->out;
    place_t place = {out->body, ""};
    check_members(c, &place, members);
    out->name = read_name(c, &place, "saga", true);
    if (!json_object_get(out->body, "version"))
        fault(c, &place, NULL, "version is missing");
    out->version = (int)read_count(c, &place, "version", VERSION_MAX, 1);
    out->title = read_text(c, &place, "title");
    (void)read_text(c, &place, "description");
    (void)read_text(c, &place, "$schema");
    out->deadline_ms = read_duration(c, &place, "deadline", 0);
    const json_t *steps = json_object_get(out->body, "steps");
    size_t count = json_array_size(steps);
    if (!steps)
        fault(c, &place, NULL, "steps are missing");
    else if (count < 1 || count > SB_STEPS_MAX)
        fault(c, &place, "steps", "steps must be a list of 1 to %d", SB_STEPS_MAX);
    if (c->code == SB_OK) {
        out->step_count = (int)count;
        read_steps(c);
    }
}

sb_code_t sb_definition_compile(sb_definition_t **out, const json_t *body, sb_error_t *err)
{
    *out = NULL;
    compiler_t c = {calloc(1, sizeof(sb_definition_t)), SB_OK, err};
    if (c.out)
        c.out->body = json_deep_copy(body);
    if (!c.out || !c.out->body) {
        sb_definition_free(&c.out);
        return sb_fail(err, SB_NO_MEMORY, "compile a saga definition: out of memory");
    }
    read_definition(&c);
    if (c.code == SB_OK)
        c.code = sb_json_hash(c.out->body, &c.out->hash, err);
    if (c.code == SB_OK)
        *out = c.out;
    else
        sb_definition_free(&c.out);
    return c.code;
}

void sb_definition_free(sb_definition_t **definition)
{
    sb_definition_t *old = *definition;
    if (!old)
        return;
    for (int i = 0; i < old->step_count; i++) {
        sb_template_free(&old->step[i].input);
        sb_template_free(&old->step[i].undo_input);
        sb_template_free(&old->step[i].fallback);
        sb_condition_free(&old->step[i].when);
    }
    sb_template_free(&old->result);
    json_decref(old->body);
    free(old);
    *definition = NULL;
}

static sb_code_t check_compared(const json_t *when, int step, sb_error_t *err)
{
    const json_t *value = json_object_get(when, "value");
    const bool list = json_is_array(value);
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < (list ? json_array_size(value) : 1); i++) {
        const json_t *one = list ? json_array_get(value, i) : value;
        sb_slice_t text = {json_string_value(one), json_string_length(one)};
        char at[48];
        (void)snprintf(at, sizeof at, "/steps/%d/when/value", step);
        if (text.ptr)
            code = sb_reference_none(text, at, err);
    }
    return code;
}

static sb_code_t check_texts(const json_t *body, sb_error_t *err)
{
    static const char *const members[] = {"input", "undo_input", "fallback"};
    const json_t *steps = json_object_get(body, "steps");
    char at[48];
    sb_code_t code = sb_template_check(json_object_get(body, "result"), "/result", err);
    for (int i = 0; i < (int)json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, (size_t)i);
        for (size_t m = 0; code == SB_OK && m < sizeof members / sizeof *members; m++) {
            (void)snprintf(at, sizeof at, "/steps/%d/%s", i, members[m]);
            code = sb_template_check(json_object_get(step, members[m]), at, err);
        }
        if (code == SB_OK)
            code = check_compared(json_object_get(step, "when"), i, err);
    }
    return code;
}

sb_code_t sb_definition_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err)
{
    sb_definition_t *definition = NULL;
    sb_code_t code = sb_definition_compile(&definition, body, err);
    if (code == SB_OK)
        code = catalog ? sb_nesting_check(definition, catalog, err) : check_texts(body, err);
    sb_definition_free(&definition);
    return code;
}

/* ---- use ---- */

int sb_definition_step(const sb_definition_t *definition, sb_slice_t name)
{
    for (int i = 0; i < definition->step_count; i++) {
        if (sb_slice_is(name, definition->step[i].name))
            return i;
    }
    return -1;
}

const char *sb_definition_no_step(const sb_definition_t *definition, char text[SB_NO_STEP_TEXT])
{
    size_t at = (size_t)snprintf(text, SB_NO_STEP_TEXT, "the saga has no step of that name; it has: ");
    for (int i = 0; i < definition->step_count; i++) {
        const char *name = definition->step[i].name;
        if (at + strlen(name) + sizeof ", …" >= SB_NO_STEP_TEXT) {
            (void)snprintf(text + at, SB_NO_STEP_TEXT - at, "%s…", i ? ", " : "");
            break;
        }
        at += (size_t)snprintf(text + at, SB_NO_STEP_TEXT - at, "%s%s", i ? ", " : "", name);
    }
    return text;
}

sb_code_t sb_definition_accepts(const sb_definition_t *definition, sb_slice_t input, sb_error_t *err)
{
    sb_scan_value_t whole;
    if (!sb_scan_at(input, SB_SLICE(""), &whole) || whole.kind != SB_SCAN_OBJECT)
        return sb_fail_at(err, SB_INVALID, "", "the input of a saga must be an object");
    sb_code_t code = SB_OK;
    for (int i = 0; i < definition->step_count && code == SB_OK; i++) {
        const sb_step_definition_t *step = &definition->step[i];
        if (step->input && !step->when) /* a conditional one may be skipped */
            code = sb_template_accepts(step->input, input, err);
    }
    return code;
}

sb_code_t sb_definition_render(const sb_definition_t *definition, int step, bool undo, sb_slice_t input,
                               const sb_slice_t *results, sb_buf_t *out, sb_error_t *err)
{
    const sb_step_definition_t *plan = &definition->step[step];
    const sb_template_t *template = undo && plan->undo_input ? plan->undo_input : plan->input;
    if (!template) {
        sb_buf_add_slice(out, input);
        return SB_OK;
    }
    sb_code_t code = sb_template_render(template, undo, input, results, out, err);
    return code == SB_OK ? SB_OK : sb_context(err, code, "step %s", plan->name);
}

sb_retry_policy_t sb_definition_retry(const sb_step_definition_t *step, bool undo,
                                      sb_error_class_t error_class)
{
    const sb_class_retry_t *own =
        undo ? &step->undo_retry_class[error_class] : &step->retry_class[error_class];
    if (own->declared)
        return own->policy;
    sb_retry_policy_t policy = undo ? step->undo_retry : step->retry;
    if (!undo && !sb_error_class_passes(error_class))
        policy.attempts_max = 1;
    return policy;
}

sb_code_t sb_definition_fallback(const sb_definition_t *definition, int step, sb_slice_t input,
                                 const sb_slice_t *results, sb_buf_t *out, sb_error_t *err)
{
    return sb_template_render(definition->step[step].fallback, true, input, results, out, err);
}

sb_code_t sb_definition_when(const sb_definition_t *definition, int step, sb_slice_t input,
                             const sb_slice_t *results, bool *holds, sb_error_t *err)
{
    const sb_condition_t *when = definition->step[step].when;
    *holds = true;
    return when ? sb_condition_holds(when, input, results, holds, err) : SB_OK;
}
