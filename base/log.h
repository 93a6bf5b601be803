/* log - one line an entry, logfmt: `ts=… level=… id=… msg="…" key=value …`.
 *
 * `id` is stable and greppable (`RELAY-RESEND`); a decision is logged where it is taken (retry, give up,
 * step down), not at each return. Payloads and secrets stay out. Lines go to stderr by one write(2) each.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_LOG_H
#define SB_BASE_LOG_H

#include "sagabus/error.h"

typedef enum sb_log_level { SB_LOG_DEBUG, SB_LOG_INFO, SB_LOG_WARN, SB_LOG_ERROR, SB_LOG_OFF } sb_log_level_t;

void sb_log_set_level(sb_log_level_t level);
bool sb_log_parse_level(const char *text, sb_log_level_t *out);
bool sb_log_enabled(sb_log_level_t level);

/* format gives the message and then, after a "|", ready logfmt pairs:
 *   sb_log(SB_LOG_WARN, "PG-RETRY", "connection lost|role=%s wait_ms=%d", role, wait); */
void sb_log(sb_log_level_t level, const char *id, const char *format, ...) SB_PRINTF(3, 4);

/* Logs err with its code, origin and message after the given text. */
void sb_log_error(sb_log_level_t level, const char *id, const sb_error_t *err, const char *format, ...)
    SB_PRINTF(4, 5);

#endif
