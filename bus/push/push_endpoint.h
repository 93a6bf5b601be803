/* push_endpoint - where the events of a push subscription go and what they are signed with: the settings
 * push.<endpoint>.url, .secret or .secret_file.
 *
 * A request is signed by the convention of Standard Webhooks: `webhook-id` (the event's id: the same in every
 * repeat), `webhook-timestamp` (seconds), `webhook-signature` = "v1," and the base64 of HMAC-SHA256 over
 * "<id>.<timestamp>.<body>", one for each secret, separated by a space.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_ENDPOINT_H
#define SB_BUS_PUSH_ENDPOINT_H

#include "base/config.h"

#define SB_PUSH_SECRETS_MAX 4

typedef struct sb_push_endpoint {
    sb_buf_t url;                         /* with the subscription's path */
    sb_buf_t secret[SB_PUSH_SECRETS_MAX]; /* bytes */
    int secret_count;
} sb_push_endpoint_t;

/* Reads the settings of an endpoint, the secret's file too. SB_INVALID, SB_NOT_FOUND, SB_DENIED: the message
 * names the setting. *out is filled anew; sb_push_endpoint_fini frees it, also after a failure. */
SB_MUST_CHECK sb_code_t sb_push_endpoint_read(sb_push_endpoint_t *out, const sb_config_t *config,
                                              const char *name, const char *path, bool sign, sb_error_t *err);
/* The same of a URL, and of a file with secrets (NULL: none), that no setting names. */
SB_MUST_CHECK sb_code_t sb_push_endpoint_of(sb_push_endpoint_t *out, const char *url, const char *secret_file,
                                            sb_error_t *err);
void sb_push_endpoint_fini(sb_push_endpoint_t *endpoint);

/* Whether requests to this URL can be read on their way: http to a host that is not this machine. */
bool sb_push_endpoint_is_open(const sb_push_endpoint_t *endpoint);

/* Appends the value of webhook-signature. SB_NO_MEMORY only. */
SB_MUST_CHECK sb_code_t sb_push_sign(const sb_push_endpoint_t *endpoint, sb_slice_t id, int64_t wall_s,
                                     sb_slice_t body, sb_buf_t *out, sb_error_t *err);

#endif
