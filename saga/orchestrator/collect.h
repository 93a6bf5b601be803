/* collect - what waits for the orchestrator becomes items of its shards: calls, replies, timers, and verbs
 * from table saga_command.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_COLLECT_H
#define SB_SAGA_COLLECT_H

#include "saga/orchestrator/orchestrator_internal.h"

/* Items of one turn, over all shards; the rest waits for the next. */
#define SB_TURN_ITEMS_MAX 2000
#define SB_TURN_BYTES_MAX (16u << 20)

void sb_collect_calls(sb_orchestrator_t *o);
/* Not SB_OK: late replies of *failed could not be looked at, for a reason that passes. Its turn must not be
 * run, or its offset would move past them. */
SB_MUST_CHECK sb_code_t sb_collect_replies(sb_orchestrator_t *o, sb_shard_t **failed, sb_error_t *err);
void sb_collect_timers(sb_orchestrator_t *o);
/* The replies of a shard are decided: what was brought into memory for those that came late leaves it. */
void sb_collect_forget_late(sb_orchestrator_t *o, sb_shard_t *shard);
SB_MUST_CHECK sb_code_t sb_collect_commands(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err);

/* Answers the calls that have waited too long for a database or a shard. */
void sb_collect_expire(sb_orchestrator_t *o);
/* Answers a call that was not carried out. */
void sb_collect_fail(sb_orchestrator_t *o, sb_call_t *call, sb_code_t code, const sb_error_t *err);

/* Answers those who wait for sagas that are not in memory here. */
SB_MUST_CHECK sb_code_t sb_collect_watches(sb_orchestrator_t *o, sb_error_t *err);

#endif
