/* push_endpoint - where the events of a push subscription go and what they are signed with: the settings
 * push.<endpoint>.url, .secret or .secret_file.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_ENDPOINT_H
#define SB_BUS_PUSH_ENDPOINT_H

#include "base/config.h"
#include "base/webhook.h"

#define SB_PUSH_SECRETS_MAX 4

typedef struct sb_push_endpoint {
    sb_buf_t url; /* with the subscription's path */
    sb_webhook_secret_t secret[SB_PUSH_SECRETS_MAX];
    size_t secret_count;
} sb_push_endpoint_t;

/* Reads the settings of an endpoint, the secret's file too. SB_INVALID, SB_NOT_FOUND, SB_DENIED: the message
 * names the setting. *out is filled anew; sb_push_endpoint_fini frees it, also after a failure. */
SB_MUST_CHECK sb_code_t sb_push_endpoint_read(sb_push_endpoint_t *out, const sb_config_t *config,
                                              const char *name, const char *path, bool sign, sb_error_t *err);
/* The same of a URL, and of a file with secrets (NULL: none), that no setting names. */
SB_MUST_CHECK sb_code_t sb_push_endpoint_of(sb_push_endpoint_t *out, const char *url, const char *secret_file,
                                            sb_error_t *err);
void sb_push_endpoint_fini(sb_push_endpoint_t *endpoint);

#endif
