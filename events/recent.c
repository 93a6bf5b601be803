/* SPDX-License-Identifier: Apache-2.0 */
#include "events/recent.h"

#include <stdlib.h>
#include <string.h>

void sb_recent_init(sb_recent_t *recent)
{
    *recent = (sb_recent_t){.ring = NULL};
}

void sb_recent_fini(sb_recent_t *recent)
{
    free(recent->ring);
    sb_recent_init(recent);
}

void sb_recent_clear(sb_recent_t *recent)
{
    recent->first = recent->count = 0;
}

static const sb_recent_span_t *span_at(const sb_recent_t *recent, int place)
{
    return &recent->span[(recent->first + place) % SB_RECENT_SPANS];
}

static bool overlaps(const sb_recent_span_t *span, size_t at, size_t len)
{
    return span->at < at + len && at < span->at + span->len;
}

/* Where len bytes go: behind the newest, or to the beginning. The oldest give way until nothing lies there.
 */
static size_t make_room(sb_recent_t *recent, size_t len)
{
    size_t at = 0;
    if (recent->count > 0) {
        const sb_recent_span_t *newest = span_at(recent, recent->count - 1);
        at = newest->at + newest->len;
        at = at + len <= SB_RECENT_BYTES ? at : 0;
    }
    int drop = recent->count == SB_RECENT_SPANS;
    for (int i = 0; i < recent->count; i++)
        if (overlaps(span_at(recent, i), at, len))
            drop = i + 1;
    recent->first = (recent->first + drop) % SB_RECENT_SPANS;
    recent->count -= drop;
    return at;
}

void sb_recent_push(sb_recent_t *recent, int64_t first, int64_t last, sb_slice_t rows)
{
    if (recent->count > 0 && first <= span_at(recent, recent->count - 1)->last)
        sb_recent_clear(recent);
    if (!recent->ring)
        recent->ring = malloc(SB_RECENT_BYTES);
    if (!recent->ring || rows.len == 0 || rows.len > SB_RECENT_BYTES)
        return;
    size_t at = make_room(recent, rows.len);
    memcpy(recent->ring + at, rows.ptr, rows.len);
    int64_t seq = first;
    for (size_t done = 0; done < rows.len; done += sb_packed_row_size(recent->ring + at + done))
        sb_packed_row_number(recent->ring + at + done, seq++);
    if (seq != last + 1) /* not a row for each number */
        return;
    recent->span[(recent->first + recent->count++) % SB_RECENT_SPANS] =
        (sb_recent_span_t){first, last, at, rows.len};
}

/* The oldest span that ends above a number; count: none does. */
static int find(const sb_recent_t *recent, int64_t after)
{
    int low = 0, high = recent->count;
    while (low < high) {
        int middle = (low + high) / 2;
        if (span_at(recent, middle)->last > after)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

/* The rows of a span above after, up to `to`, in so many bytes at least one. */
static int64_t copy_span(const sb_recent_t *recent, const sb_recent_span_t *span, int64_t after, int64_t to,
                         size_t bytes_max, sb_buf_t *out)
{
    const char *row = recent->ring + span->at;
    int64_t seq = span->first;
    for (; seq <= after; seq++)
        row += sb_packed_row_size(row);
    const char *from = row;
    for (; seq <= span->last && seq <= to && (size_t)(row - from) < bytes_max; seq++)
        row += sb_packed_row_size(row);
    sb_buf_add(out, from, (size_t)(row - from));
    return seq - 1;
}

int64_t sb_recent_copy(const sb_recent_t *recent, int64_t after, int64_t to, size_t bytes_max, sb_buf_t *out)
{
    int64_t end = after;
    size_t before = out->len;
    for (int i = find(recent, after); i < recent->count && end < to && out->len - before < bytes_max; i++) {
        const sb_recent_span_t *span = span_at(recent, i);
        if (span->first > end + 1)
            break;
        int64_t reached = copy_span(recent, span, end, to, bytes_max - (out->len - before), out);
        if (sb_buf_failed(out))
            return after;
        end = reached;
    }
    return end;
}
