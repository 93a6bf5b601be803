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

#endif
