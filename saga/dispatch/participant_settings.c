/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/participant_settings.h"

#include <stdio.h>

#define NAME_MAX_BYTES (SB_PARTICIPANT_NAME_MAX + 48)

typedef struct reading {
    const sb_config_t *config;
    const char *participant;
    sb_error_t *err;
    sb_code_t code; /* the first fault */
} reading_t;

static const char *name_of(const reading_t *reading, const char *row, char name[NAME_MAX_BYTES])
{
    (void)snprintf(name, NAME_MAX_BYTES, "participant.%s.%s", reading->participant, row);
    return name;
}

static const char *text(const reading_t *reading, const char *row)
{
    char name[NAME_MAX_BYTES];
    return sb_config_get(reading->config, name_of(reading, row, name));
}

static uint32_t number(reading_t *reading, const char *row, int64_t low, int64_t high)
{
    char name[NAME_MAX_BYTES];
    int64_t value = low;
    if (reading->code == SB_OK)
        reading->code =
            sb_config_get_int(reading->config, name_of(reading, row, name), low, high, &value, reading->err);
    return (uint32_t)value;
}

/* A number whose default depends on the kind of participant. */
static uint32_t number_or(reading_t *reading, const char *row, int64_t high, uint32_t otherwise)
{
    return text(reading, row)[0] ? number(reading, row, 0, high) : otherwise;
}

static sb_code_t read_url(const reading_t *reading, sb_participant_settings_t *out)
{
    char name[NAME_MAX_BYTES];
    const char *fault = out->url[0] ? sb_webhook_url_fault(out->url, true) : NULL;
    (void)name_of(reading, "url", name);
    return fault ? sb_fail(reading->err, SB_INVALID, "%s (%s): %s", name,
                           sb_config_source(reading->config, name), fault)
                 : SB_OK;
}

static sb_code_t read_secret(const reading_t *reading, sb_participant_settings_t *out)
{
    char name[NAME_MAX_BYTES];
    const char *said = text(reading, "secret");
    return said[0] ? sb_webhook_secret_read(&out->secret, sb_slice(said), name_of(reading, "secret", name),
                                            reading->err)
                   : SB_OK;
}

sb_code_t sb_participant_settings_read(const sb_config_t *config, const char *participant,
                                       sb_participant_settings_t *out, sb_error_t *err)
{
    reading_t r = {.config = config, .participant = participant, .err = err};
    *out = (sb_participant_settings_t){.url = text(&r, "url"), .token = text(&r, "token")};
    bool http = out->url[0] != '\0';
    r.code = read_url(&r, out);
    if (r.code == SB_OK)
        r.code = read_secret(&r, out);
    out->timeout_ms = number(&r, "timeout_ms", 10, 3600000);
    out->concurrency = number_or(&r, "concurrency", 10000, http ? 64 : 0);
    if (http && out->concurrency == 0)
        out->concurrency = 64; /* every call is a connection: never without limit */
    out->critical_percent = number(&r, "critical_percent", 0, 90);
    out->rate = number(&r, "rate", 0, 1000000);
    out->burst = number(&r, "burst", 0, 1000000);
    out->retry_percent = number_or(&r, "retry_percent", 10000, http ? 20 : 0);
    out->breaker = (sb_breaker_config_t){.failure_threshold = number(&r, "breaker.failures", 1, 1000000),
                                         .success_threshold = number(&r, "breaker.successes", 1, 1000000),
                                         .recovery_ms = number(&r, "breaker.recovery_ms", 10, 86400000),
                                         .probes_max = number(&r, "breaker.probes", 1, 10000)};
    out->wait_us = 1000LL * number(&r, "wait_ms", 100, 86400000);
    out->working_us = 1000LL * number(&r, "working_ms", 1000, 604800000);
    return r.code;
}

typedef struct naming {
    sb_participant_name_fn visit;
    void *context;
    char last[SB_PARTICIPANTS_MAX][SB_PARTICIPANT_NAME_MAX + 1];
    int count;
} naming_t;

static sb_code_t on_setting(void *context, const char *name, const char *value, sb_error_t *err)
{
    naming_t *naming = context;
    size_t n = strcspn(name, ".");
    (void)value;
    if (n > SB_PARTICIPANT_NAME_MAX)
        return sb_fail(err, SB_INVALID, "participant.%s: a participant's name has at most %d bytes", name,
                       SB_PARTICIPANT_NAME_MAX);
    for (int i = 0; i < naming->count; i++)
        if (strlen(naming->last[i]) == n && memcmp(naming->last[i], name, n) == 0)
            return SB_OK;
    if (naming->count == SB_PARTICIPANTS_MAX)
        return sb_fail(err, SB_INVALID, "more than %d participants are configured", SB_PARTICIPANTS_MAX);
    char *own = naming->last[naming->count++];
    memcpy(own, name, n);
    own[n] = '\0';
    return naming->visit(naming->context, own, err);
}

sb_code_t sb_participant_settings_each(const sb_config_t *config, sb_participant_name_fn visit, void *context,
                                       sb_error_t *err)
{
    naming_t naming = {.visit = visit, .context = context};
    return sb_config_each(config, "participant.", on_setting, &naming, err);
}
