/* webhook - what a request to somebody's HTTP endpoint needs, whoever sends it: the check of its URL, the
 * values of CloudEvents' headers, and the signature of Standard Webhooks.
 *
 * A request is signed by `webhook-id`, `webhook-timestamp` (seconds) and `webhook-signature` = "v1," and the
 * base64 of HMAC-SHA256 over "<id>.<timestamp>.<body>", one for each secret, separated by a space.
 *
 * Thread: any; pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_WEBHOOK_H
#define SB_BASE_WEBHOOK_H

#include "base/buf.h"
#include "sagabus/error.h"

#include <stdint.h>

#define SB_WEBHOOK_SECRET_MIN 24 /* bytes, as the convention has it */
#define SB_WEBHOOK_SECRET_MAX 64

typedef struct sb_webhook_secret {
    unsigned char byte[SB_WEBHOOK_SECRET_MAX];
    size_t length;
} sb_webhook_secret_t;

/* Reads base64, with or without `whsec_` in front. SB_INVALID names the setting that it was given by, never
 * the text. */
SB_MUST_CHECK sb_code_t sb_webhook_secret_read(sb_webhook_secret_t *out, sb_slice_t text, const char *setting,
                                               sb_error_t *err);

/* Appends the header lines of a signed request, each ended by NUL; without a secret no signature. id is
 * printable ASCII. SB_NO_MEMORY only. */
SB_MUST_CHECK sb_code_t sb_webhook_sign(sb_buf_t *out, sb_slice_t id, int64_t wall_s, sb_slice_t body,
                                        const sb_webhook_secret_t *secrets, size_t count, sb_error_t *err);

/* Appends the value of an attribute as CloudEvents' HTTP binding has it in a header: percent-encoded where it
 * is a space, a double quote, a percent sign or anything beyond printable ASCII. */
void sb_webhook_add_value(sb_buf_t *out, sb_slice_t value);

/* Why nothing is sent to this URL, to stand behind the setting's name; NULL: it is fine. It is to be shown
 * without the URL, which may hold a password or token. with_secrets: user, password and a query may be part
 * of it. */
const char *sb_webhook_url_fault(const char *url, bool with_secrets);

/* Whether requests to this URL can be read on their way: http to a host that is not this machine. */
bool sb_webhook_url_is_open(const char *url);

#endif
