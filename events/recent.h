/* recent - the events that this process wrote last, so that its own readers need not read them back.
 *
 * Rows are packed (packed_row.h) while the transaction is made, when their numbers are not known yet, and
 * pushed when it has committed. A bounded ring: what comes makes the oldest give way.
 *
 * Thread: whoever holds the lock of its owner (events/progress.h).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_RECENT_H
#define SB_EVENTS_RECENT_H

#include "events/packed_row.h"

#define SB_RECENT_BYTES (8u << 20)
#define SB_RECENT_SPANS 1024

typedef struct sb_recent_span {
    int64_t first, last; /* numbers, one event each */
    size_t at, len;
} sb_recent_span_t;

typedef struct sb_recent {
    char *ring; /* SB_RECENT_BYTES; NULL until something is pushed */
    sb_recent_span_t span[SB_RECENT_SPANS];
    int first, count; /* of span, oldest first, around */
} sb_recent_t;

void sb_recent_init(sb_recent_t *recent);
void sb_recent_fini(sb_recent_t *recent);
void sb_recent_clear(sb_recent_t *recent); /* keeps the memory */

/* Takes the packed rows of the numbers from first to last, and writes these into the copies. Without room or
 * memory it takes none. Numbers that do not lie above all that are there are of another history: only they
 * stay. */
void sb_recent_push(sb_recent_t *recent, int64_t first, int64_t last, sb_slice_t rows);

/* Appends to out the rows above after, up to `to`, as long as none is missing and until bytes_max are there.
 * Returns the number of the last one; after: there is none, or no memory. */
int64_t sb_recent_copy(const sb_recent_t *recent, int64_t after, int64_t to, size_t bytes_max, sb_buf_t *out);

#endif
