/* recover - brings the open sagas of a shard that was just taken over into memory, by folding their events.
 *
 * Runs after the takeover of the lease, on the same connection: whatever the old owner committed is seen, and
 * nothing of it can come later.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_RECOVER_H
#define SB_SAGA_RECOVER_H

#include "saga/orchestrator/orchestrator_internal.h"

/* A saga that does not fold, or whose definition nobody registered, is kept in memory without being driven
 * (it holds the low-water mark), logged, and its row raises attention. */
SB_MUST_CHECK sb_code_t sb_recover(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err);

/* Brings a saga that is completed into memory, to be undone by the one it is a step of. Nothing when there is
 * no such saga, or it cannot be read; it leaves memory again with the decision, or with
 * sb_recover_forget_ended.
 */
SB_MUST_CHECK sb_code_t sb_recover_ended(sb_orchestrator_t *o, sb_shard_t *shard, int64_t no,
                                         sb_error_t *err);
void sb_recover_forget_ended(sb_orchestrator_t *o, sb_shard_t *shard, int64_t no);

/* Brings those of these sagas that are over into memory, without their inputs and results, to judge replies
 * that came after their end. Those that cannot be read stay out. They leave memory again with the decision,
 * or with sb_recover_forget_ended. */
SB_MUST_CHECK sb_code_t sb_recover_over(sb_orchestrator_t *o, sb_shard_t *shard, const int64_t *numbers,
                                        size_t count, sb_error_t *err);

#endif
