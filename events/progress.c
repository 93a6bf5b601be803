/* SPDX-License-Identifier: Apache-2.0 */
#include "events/progress.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

void sb_progress_init(sb_progress_t *progress)
{
    atomic_init(&progress->safe_seq, 0);
    atomic_init(&progress->relay_seq, 0);
    progress->poke = NULL;
    progress->listener_count = 0;
    progress->span_count = 0;
    progress->era = 0;
    progress->leading = false;
    sb_recent_init(&progress->recent);
    (void)pthread_mutex_init(&progress->lock, NULL);
}

void sb_progress_fini(sb_progress_t *progress)
{
    sb_recent_fini(&progress->recent);
    (void)pthread_mutex_destroy(&progress->lock);
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

/* ---- what is on disk ---- */

static void drop_spans(sb_progress_t *progress, int at, int count)
{
    memmove(progress->span + at, progress->span + at + count,
            (size_t)(progress->span_count - at - count) * sizeof progress->span[0]);
    progress->span_count -= count;
}

/* Joins those that it touches; most come at the end. */
static void add_span(sb_progress_t *progress, sb_progress_span_t span)
{
    int at = progress->span_count;
    while (at > 0 && progress->span[at - 1].last >= span.first - 1)
        at--;
    int joined = 0;
    for (; at + joined < progress->span_count && progress->span[at + joined].first <= span.last + 1;
         joined++) {
        const sb_progress_span_t *other = &progress->span[at + joined];
        span.first = other->first < span.first ? other->first : span.first;
        span.last = other->last > span.last ? other->last : span.last;
    }
    drop_spans(progress, at, joined);
    if (progress->span_count == SB_PROGRESS_SPANS) { /* the lowest ones wait for a number that nobody names */
        drop_spans(progress, 0, 1);
        at = at > 0 ? at - 1 : 0;
    }
    memmove(progress->span + at + 1, progress->span + at,
            (size_t)(progress->span_count - at) * sizeof progress->span[0]);
    progress->span[at] = span;
    progress->span_count++;
}

uint64_t sb_progress_era(sb_progress_t *progress)
{
    if (!progress)
        return 0;
    (void)pthread_mutex_lock(&progress->lock);
    uint64_t era = progress->era;
    (void)pthread_mutex_unlock(&progress->lock);
    return era;
}

/* Between numbers that do not follow one another lie those of others, of which nothing is known. */
static bool takes(const sb_progress_t *progress, uint64_t era, const sb_append_result_t *result, size_t count)
{
    return progress->leading && era == progress->era && result->outcome == SB_APPENDED &&
           result->first_seq > 0 && (size_t)(result->last_seq - result->first_seq) + 1 == count;
}

void sb_progress_appended(sb_progress_t *progress, uint64_t era, const sb_append_result_t *result,
                          size_t count)
{
    if (!progress)
        return;
    (void)pthread_mutex_lock(&progress->lock);
    if (takes(progress, era, result, count))
        add_span(progress, (sb_progress_span_t){result->first_seq, result->last_seq});
    (void)pthread_mutex_unlock(&progress->lock);
    sb_progress_poke(progress);
}

void sb_progress_keep(sb_progress_t *progress, uint64_t era, const sb_append_result_t *result, size_t count,
                      sb_slice_t rows)
{
    if (!progress)
        return;
    (void)pthread_mutex_lock(&progress->lock);
    if (takes(progress, era, result, count))
        sb_recent_push(&progress->recent, result->first_seq, result->last_seq, rows);
    (void)pthread_mutex_unlock(&progress->lock);
}

int64_t sb_progress_recent(sb_progress_t *progress, int64_t after, int64_t to, size_t bytes_max,
                           sb_buf_t *out)
{
    if (!progress)
        return after;
    (void)pthread_mutex_lock(&progress->lock);
    int64_t end = sb_recent_copy(&progress->recent, after, to, bytes_max, out);
    (void)pthread_mutex_unlock(&progress->lock);
    return end;
}

int64_t sb_progress_disk_seq(sb_progress_t *progress, int64_t safe)
{
    int64_t seq = safe;
    int below = 0;
    (void)pthread_mutex_lock(&progress->lock);
    while (below < progress->span_count && progress->span[below].last <= safe)
        below++;
    drop_spans(progress, 0, below);
    if (progress->span_count > 0 && progress->span[0].first <= safe + 1)
        seq = progress->span[0].last;
    (void)pthread_mutex_unlock(&progress->lock);
    return seq;
}

static void turn_era(sb_progress_t *progress, bool leading)
{
    (void)pthread_mutex_lock(&progress->lock);
    progress->span_count = 0;
    sb_recent_clear(&progress->recent);
    progress->era++;
    progress->leading = leading;
    (void)pthread_mutex_unlock(&progress->lock);
}

void sb_progress_era_begin(sb_progress_t *progress)
{
    turn_era(progress, true);
}

void sb_progress_era_end(sb_progress_t *progress)
{
    turn_era(progress, false);
}
