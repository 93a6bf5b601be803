/* decide - one item of a batch through the pure machine: events and rows into the batch's columns, commands
 * onto the touch, nothing changed in memory yet.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_DECIDE_H
#define SB_SAGA_DECIDE_H

#include "saga/orchestrator/orchestrator_internal.h"

/* A refusal is no failure: item->code and item->refusal say it. SB_NO_MEMORY. */
SB_MUST_CHECK sb_code_t sb_decide(sb_orchestrator_t *o, sb_shard_t *shard, sb_item_t *item, sb_error_t *err);

/* Adds the rows of all that was touched. */
void sb_decide_rows(sb_orchestrator_t *o);

#endif
