/* subscribe_exec - gives a command an event: on standard input, with its attributes in the environment.
 *
 * The command runs by `sh -c` in a process group of its own, which is killed when it takes too long.
 * Variables: CE_ID, CE_TYPE, CE_SOURCE, CE_SUBJECT, CE_TIME and so on, one for each attribute, TRACEPARENT,
 * and KAFKA_TOPIC, KAFKA_PARTITION, KAFKA_OFFSET, KAFKA_KEY, SB_ATTEMPT.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_SUBSCRIBE_EXEC_H
#define SB_CLI_SUBSCRIBE_EXEC_H

#include "base/buf.h"
#include "sagabus/subscriber.h"

#define SB_EXEC_RETRY  75 /* EX_TEMPFAIL */
#define SB_EXEC_REJECT 65 /* EX_DATAERR */

/* SB_OK: it ended with 0. SB_INVALID: with SB_EXEC_REJECT. SB_TIMEOUT: killed after timeout_ms. Everything
 * else is SB_UNAVAILABLE. */
SB_MUST_CHECK sb_code_t sb_subscribe_exec(const char *command, sb_slice_t line, const sb_delivery_t *delivery,
                                          int64_t timeout_ms, sb_error_t *err);

#endif
