/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_definition.h"

#include "base/duration.h"
#include "base/json.h"
#include "base/near.h"
#include "events/saga_types.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS_MAX INT64_C(86400000)

static const sb_retry_policy_t default_retry = {SB_RETRY_EXPONENTIAL, 5, 1000, 60000, true};

/* Reading stops at the first fault: err is filled then. */
typedef struct reader {
    const json_t *object;
    const char *below; /* pointer of the object */
    sb_code_t code;
    sb_error_t *err;
} reader_t;

static void fault(reader_t *r, const char *member, const char *format, ...) SB_PRINTF(3, 4);

static void fault(reader_t *r, const char *member, const char *format, ...)
{
    char pointer[96];
    char text[300];
    va_list args;
    if (r->code != SB_OK)
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(pointer, sizeof pointer, "%s%s%s", r->below, member ? "/" : "", member ? member : "");
    r->code = sb_fail_at(r->err, SB_INVALID, pointer, "%s", text);
}

static void only_members(reader_t *r, const char *const *known)
{
    const char *name;
    json_t *value;
    if (!json_is_object(r->object)) {
        fault(r, NULL, "must be an object");
        return;
    }
    json_object_foreach((json_t *)(uintptr_t)r->object, name, value)
    {
        sb_near_t near_name = {NULL, 4};
        size_t i = 0;
        for (; known[i] && strcmp(known[i], name) != 0; i++)
            sb_near_offer(&near_name, name, known[i]);
        if (!known[i] && near_name.word)
            fault(r, name, "is not known here; did you mean %s?", near_name.word);
        else if (!known[i])
            fault(r, name, "is not known here");
    }
}

static const char *text_of(reader_t *r, const char *member, bool required)
{
    const json_t *value = json_object_get(r->object, member);
    if (!value && required)
        fault(r, NULL, "\"%s\" is missing", member);
    else if (value && !json_is_string(value))
        fault(r, member, "must be a text");
    return json_string_value(value);
}

static const char *name_of(reader_t *r, const char *member)
{
    const char *name = text_of(r, member, true);
    if (name && (name[0] < 'a' || name[0] > 'z' || strlen(name) > SB_PUSH_NAME_MAX ||
                 name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")]))
        fault(r, member, "must be 1 to %d of a-z, 0-9 and _, beginning with a letter", SB_PUSH_NAME_MAX);
    return name;
}

static uint32_t count_of(reader_t *r, const char *member, uint32_t high, uint32_t absent)
{
    const json_t *value = json_object_get(r->object, member);
    json_int_t number = json_integer_value(value);
    if (!value)
        return absent;
    if (!json_is_integer(value) || number < 1 || number > high)
        fault(r, member, "must be a whole number from 1 to %" PRIu32, high);
    return (uint32_t)number;
}

static uint32_t duration_of(reader_t *r, const char *member, int64_t high_ms, uint32_t absent)
{
    const json_t *value = json_object_get(r->object, member);
    if (!value)
        return absent;
    int64_t ms = json_is_integer(value)  ? json_integer_value(value)
                 : json_is_string(value) ? sb_duration_ms(json_string_value(value), high_ms)
                                         : -1;
    if (ms < 1 || ms > high_ms)
        fault(r, member, "must be a time like \"200ms\", \"10s\", \"5m\", or milliseconds; 1 to %" PRId64,
              high_ms);
    return (uint32_t)ms;
}

static bool bool_of(reader_t *r, const char *member, bool absent)
{
    const json_t *value = json_object_get(r->object, member);
    if (value && !json_is_boolean(value))
        fault(r, member, "must be true or false");
    return value ? json_is_true(value) : absent;
}

/* The place of the text in words (ended by NULL); absent: 0. */
static int choice_of(reader_t *r, const char *member, const char *const *words)
{
    const char *text = text_of(r, member, false);
    int i = 0;
    while (text && words[i] && strcmp(words[i], text) != 0)
        i++;
    if (!text || words[i])
        return i;
    sb_buf_t all = SB_BUF_INIT;
    for (i = 0; words[i]; i++)
        sb_buf_printf(&all, "%s%s", i ? ", " : "", words[i]);
    fault(r, member, "must be one of %s", sb_buf_text(&all));
    sb_buf_fini(&all);
    return 0;
}

/* ---- parts ---- */

static void read_types(reader_t *r, sb_push_definition_t *d)
{
    const json_t *types = json_object_get(r->object, "types");
    size_t count = json_array_size(types);
    char at[24];
    if (!json_is_array(types) || count < 1 || count > SB_PUSH_TYPES_MAX) {
        fault(r, "types", "must be an array of 1 to %d event types, * stands for any run of characters",
              SB_PUSH_TYPES_MAX);
        return;
    }
    for (size_t i = 0; i < count; i++) {
        const json_t *type = json_array_get(types, i);
        d->type[i] = (sb_slice_t){json_string_value(type), json_string_length(type)};
        (void)snprintf(at, sizeof at, "types/%zu", i);
        if (!d->type[i].len || d->type[i].len > SB_TYPE_MAX)
            fault(r, at, "must be an event type, * stands for any run of characters");
    }
    d->type_count = count;
}

static void read_path(reader_t *r, sb_push_definition_t *d)
{
    const char *path = text_of(r, "path", false);
    d->path = path ? path : "";
    if (!d->path[0])
        return;
    if (d->path[0] != '/' || strlen(d->path) > 500)
        fault(r, "path", "must begin with a slash and have at most 500 characters");
    for (const char *c = d->path; *c; c++)
        if (*c <= ' ' || *c >= 127 || *c == '#' || *c == '\\')
            fault(r, "path", "must be as it stands in a URL, without a fragment");
}

static void read_retry(const reader_t *file, reader_t *r, sb_push_definition_t *d)
{
    static const char *const known[] = {"shape", "attempts", "delay", "max", "jitter", NULL};
    static const char *const shapes[] = {"exponential", "linear", "fixed", NULL};
    d->retry = default_retry;
    if (!r->object || file->code != SB_OK)
        return;
    only_members(r, known);
    d->retry.shape = (sb_retry_shape_t)choice_of(r, "shape", shapes);
    d->retry.attempts_max = count_of(r, "attempts", 1000, default_retry.attempts_max);
    d->retry.delay_ms = duration_of(r, "delay", WAIT_MS_MAX, default_retry.delay_ms);
    uint32_t least =
        d->retry.delay_ms > default_retry.delay_max_ms ? d->retry.delay_ms : default_retry.delay_max_ms;
    d->retry.delay_max_ms = duration_of(r, "max", WAIT_MS_MAX, least);
    d->retry.jitter = bool_of(r, "jitter", true);
    if (d->retry.delay_max_ms < d->retry.delay_ms)
        fault(r, "max", "is shorter than delay");
}

static void read_breaker(const reader_t *file, reader_t *r, sb_push_definition_t *d)
{
    static const char *const known[] = {"failures", "successes", "open", NULL};
    if (!r->object || file->code != SB_OK)
        return;
    only_members(r, known);
    d->breaker.failure_threshold = count_of(r, "failures", 1000, 0);
    d->breaker.success_threshold = count_of(r, "successes", 1000, 0);
    d->breaker.recovery_ms = duration_of(r, "open", WAIT_MS_MAX, 0);
}

static void read_all(reader_t *r, sb_push_definition_t *d)
{
    static const char *const known[] = {"$schema", "subscription", "version", "title",   "description",
                                        "types",   "endpoint",     "path",    "mode",    "order",
                                        "from",    "at_once",      "rate",    "timeout", "retry",
                                        "breaker", "signature",    NULL};
    static const char *const orders[] = {"key", "none", "partition", NULL};
    static const char *const modes[] = {"binary", "structured", NULL};
    static const char *const froms[] = {"now", "start", NULL};
    static const char *const signatures[] = {"hmac-sha256", "none", NULL};
    reader_t retry = {json_object_get(r->object, "retry"), "/retry", SB_OK, r->err};
    reader_t breaker = {json_object_get(r->object, "breaker"), "/breaker", SB_OK, r->err};
    only_members(r, known);
    d->name = name_of(r, "subscription");
    d->title = text_of(r, "title", false);
    (void)text_of(r, "description", false);
    d->version = (int)count_of(r, "version", 10000, 1);
    read_types(r, d);
    d->endpoint = name_of(r, "endpoint");
    read_path(r, d);
    d->structured = choice_of(r, "mode", modes) == 1;
    d->order = (sb_push_order_t)choice_of(r, "order", orders);
    d->from_start = choice_of(r, "from", froms) == 1;
    d->sign = choice_of(r, "signature", signatures) == 0;
    d->at_once = count_of(r, "at_once", SB_PUSH_AT_ONCE_MAX, d->order == SB_PUSH_ONE_BY_ONE ? 1 : 8);
    if (d->order == SB_PUSH_ONE_BY_ONE && d->at_once != 1)
        fault(r, "at_once", "must be 1 where each event waits for the one before it");
    d->rate = count_of(r, "rate", SB_PUSH_RATE_MAX, 0);
    d->timeout_ms = duration_of(r, "timeout", SB_PUSH_TIMEOUT_MS_MAX, 10000);
    read_retry(r, &retry, d);
    if (r->code == SB_OK)
        r->code = retry.code;
    read_breaker(r, &breaker, d);
    if (r->code == SB_OK)
        r->code = breaker.code;
}

sb_code_t sb_push_definition_new(sb_push_definition_t **out, const json_t *body, sb_error_t *err)
{
    reader_t r = {body, "", SB_OK, err};
    *out = NULL;
    if (!json_is_object(body))
        return sb_fail_at(err, SB_INVALID, "", "must be an object");
    sb_push_definition_t *d = calloc(1, sizeof *d);
    if (!d)
        return sb_fail(err, SB_NO_MEMORY, "compile a push subscription: out of memory");
    d->body = json_incref((json_t *)(uintptr_t)body);
    read_all(&r, d);
    if (r.code != SB_OK)
        sb_push_definition_free(&d);
    *out = d;
    return r.code;
}

void sb_push_definition_free(sb_push_definition_t **definition)
{
    if (!*definition)
        return;
    json_decref((*definition)->body);
    free(*definition);
    *definition = NULL;
}

/* ---- beside the registered types ---- */

static bool leaves_the_store(sb_slice_t type)
{
    return !sb_slice_is(sb_event_category(type), "saga") || sb_saga_type_is_public(type);
}

bool sb_push_wants(const sb_push_definition_t *definition, sb_slice_t type)
{
    for (size_t i = 0; i < definition->type_count; i++)
        if (sb_event_type_matches(definition->type[i], type))
            return leaves_the_store(type);
    return false;
}

typedef struct search {
    sb_slice_t pattern;
    bool found;
} search_t;

static sb_code_t look(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    search_t *search = context;
    sb_slice_t type = sb_slice(artifact->name);
    (void)err;
    search->found |= sb_event_type_matches(search->pattern, type) && leaves_the_store(type);
    return SB_OK;
}

sb_code_t sb_push_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err)
{
    sb_push_definition_t *d = NULL;
    sb_code_t code = sb_push_definition_new(&d, body, err);
    for (size_t i = 0; d && code == SB_OK && i < d->type_count; i++) {
        search_t search = {d->type[i], false};
        char pointer[24];
        (void)snprintf(pointer, sizeof pointer, "/types/%zu", i);
        code = sb_catalog_each(catalog, SB_ARTIFACT_EVENT, look, &search, err);
        if (code == SB_OK && !search.found)
            code = sb_fail_at(err, SB_INVALID, pointer, "no event type that leaves the store fits %.*s",
                              SB_SLICE_ARG(d->type[i]));
    }
    sb_push_definition_free(&d);
    return code;
}
