/* How it stands with the participants of sagas, as this instance sees it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "server/handlers.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct listing {
    size_t count;
    sb_participant_state_t item[SB_PARTICIPANTS_MAX];
} listing_t;

static bool is_listed(const listing_t *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->item[i].name, name) == 0)
            return true;
    return false;
}

/* Those that a definition names and nobody has called yet. */
static sb_code_t add_of_saga(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    listing_t *l = context;
    size_t i;
    json_t *step;
    (void)err;
    json_array_foreach(json_object_get(artifact->body, "steps"), i, step)
    {
        const char *name = json_string_value(json_object_get(step, "participant"));
        if (!name || l->count == SB_PARTICIPANTS_MAX || is_listed(l, name))
            continue;
        l->item[l->count] = (sb_participant_state_t){.sent = 0};
        (void)snprintf(l->item[l->count].name, sizeof l->item[0].name, "%s", name);
        l->count++;
    }
    return SB_OK;
}

static void number(sb_buf_t *out, const char *name, uint64_t value)
{
    sb_buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)value);
}

/* One that is only known for what has limits. */
static void count(sb_buf_t *out, const char *name, const sb_participant_state_t *s, uint64_t value)
{
    if (s->counted)
        number(out, name, value);
    else
        sb_buf_printf(out, ",\"%s\":null", name);
}

static void text(sb_buf_t *out, const char *name, const char *value)
{
    sb_buf_printf(out, ",\"%s\":", name);
    if (value && value[0])
        sb_buf_add_json(out, sb_slice(value));
    else
        sb_buf_add_text(out, "null");
}

static void write_one(sb_buf_t *out, const sb_participant_state_t *s)
{
    char at[SB_TIME_TEXT] = "", until[SB_TIME_TEXT] = "";
    bool held = s->held_until_us > sb_wall_us(); /* what is told may be some time old */
    sb_buf_add_text(out, "{\"name\":");
    sb_buf_add_json(out, sb_slice(s->name));
    text(out, "transport", s->http ? "http" : "kafka");
    text(out, "url", s->url);
    text(out, "breaker", s->breaker);
    number(out, "breaker_opened", s->breaker_opened);
    number(out, "retry_in_ms", (uint64_t)s->retry_in_ms);
    text(out, "held_by", held ? s->held_by : NULL);
    text(out, "held_until", held ? sb_time_format(s->held_until_us, until) : NULL);
    count(out, "waiting", s, s->waiting);
    count(out, "out", s, s->out);
    number(out, "concurrency", s->concurrency);
    number(out, "rate", s->rate);
    number(out, "sent", s->sent);
    count(out, "repeats", s, s->repeats);
    number(out, "succeeded", s->succeeded);
    number(out, "refused", s->refused);
    number(out, "errors", s->errors);
    number(out, "pending", s->pending);
    number(out, "gave_up", s->gave_up);
    number(out, "answer_us", (uint64_t)s->answer_us);
    text(out, "error", s->error);
    text(out, "error_at", s->error_us ? sb_time_format(s->error_us, at) : NULL);
    sb_buf_add_char(out, '}');
}

void sb_get_participants(sb_engine_t *engine, sb_request_t *request)
{
    listing_t *l = calloc(1, sizeof *l);
    if (l) {
        l->count = sb_orchestrator_participants(engine->orchestrator, l->item, SB_PARTICIPANTS_MAX);
        sb_code_t all = sb_catalog_each(engine->catalog, SB_ARTIFACT_SAGA, add_of_saga, l, NULL);
        (void)all;
    }
    sb_buf_add_text(&request->out, "{\"instance\":");
    sb_buf_add_json(&request->out, sb_slice(engine->owner));
    sb_buf_add_text(&request->out, ",\"items\":[");
    for (size_t i = 0; l && i < l->count; i++) {
        if (i > 0)
            sb_buf_add_char(&request->out, ',');
        write_one(&request->out, &l->item[i]);
    }
    sb_buf_add_text(&request->out, "]}\n");
    free(l);
    sb_http_done(request);
}
