/* SPDX-License-Identifier: Apache-2.0 */
#include "events/progress.h"

#include <assert.h>
#include <stddef.h>

void sb_progress_init(sb_progress_t *progress)
{
    atomic_init(&progress->safe_seq, 0);
    atomic_init(&progress->relay_seq, 0);
    progress->poke = NULL;
    progress->listener_count = 0;
}

void sb_progress_listen(sb_progress_t *progress, sb_signal_t *signal)
{
    assert(progress->listener_count < SB_PROGRESS_LISTENERS);
    progress->listener[progress->listener_count++] = signal;
}

void sb_progress_poke(sb_progress_t *progress)
{
    if (progress)
        sb_signal_raise(progress->poke);
}

void sb_progress_publish_safe(sb_progress_t *progress, int64_t safe_seq)
{
    atomic_store(&progress->safe_seq, safe_seq);
    for (int i = 0; i < progress->listener_count; i++)
        sb_signal_raise(progress->listener[i]);
}
