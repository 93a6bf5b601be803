/* participant_settings - what is configured of one participant: `participant.<name>.…`, checked.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_PARTICIPANT_SETTINGS_H
#define SB_SAGA_PARTICIPANT_SETTINGS_H

#include "base/breaker.h"
#include "base/config.h"
#include "base/webhook.h"
#include "saga/dispatch/participant_state.h"

typedef struct sb_participant_settings {
    const char *url;            /* "": it is on Kafka. Borrowed from the config, as all text here */
    const char *token;          /* "": none */
    sb_webhook_secret_t secret; /* that commands are signed with; length 0: they are not */
    uint32_t timeout_ms;
    uint32_t concurrency; /* 0: no limit */
    uint32_t critical_percent;
    uint32_t rate; /* 0: no limit */
    uint32_t burst;
    uint32_t retry_percent; /* 0: no limit */
    sb_breaker_config_t breaker;
    int64_t wait_us;
    int64_t working_us;
} sb_participant_settings_t;

/* SB_INVALID names the setting and where it came from. */
SB_MUST_CHECK sb_code_t sb_participant_settings_read(const sb_config_t *config, const char *name,
                                                     sb_participant_settings_t *out, sb_error_t *err);

/* Calls visit once for each participant that anything is configured of. */
typedef sb_code_t (*sb_participant_name_fn)(void *context, const char *name, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_participant_settings_each(const sb_config_t *config, sb_participant_name_fn visit,
                                                     void *context, sb_error_t *err);

#endif
