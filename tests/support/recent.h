/* recent - events of a store as a process would have left them for its own readers (events/recent.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_RECENT_H
#define SB_TESTS_SUPPORT_RECENT_H

#include "base/pg.h"
#include "events/progress.h"

/* Keeps the events from first to last, of which none is missing, as if this process had written them in one
 * transaction. progress is in an era. */
void sb_test_recent_keep(sb_pg_t *pg, sb_progress_t *progress, int64_t first, int64_t last);

/* Fails unless progress has the events from first to last, each column as the store has it. */
void sb_test_recent_check(sb_pg_t *pg, sb_progress_t *progress, int64_t first, int64_t last);

#endif
