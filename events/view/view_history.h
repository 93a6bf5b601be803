/* view_history - reads a range of the history in order of seq, as fast as PostgreSQL gives it out.
 *
 * Some connections, each with a thread, take turns at small ranges of sequence numbers and read them by COPY;
 * whoever called gets the events in order, on its own thread, and works while the next ranges are on their
 * way. What waits is bounded by bytes. No snapshot lives longer than the COPY of a range. Keys of streams are
 * looked up once and kept, because a join costs more than the rest together.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_HISTORY_H
#define SB_EVENTS_VIEW_HISTORY_H

#include "base/pg.h"

#define SB_VIEW_JOBS_MAX 16

typedef struct sb_view_history sb_view_history_t;

typedef struct sb_view_history_config {
    const char *pg_uri;
    int jobs;             /* connections; 0: 2 */
    int64_t range_seqs;   /* of one COPY; 0: 16,384 */
    const char *type_nos; /* of the events that are read, as PostgreSQL writes an array; borrowed */
    bool reads_subject;
} sb_view_history_config_t;

typedef struct sb_view_record {
    int64_t seq;
    int64_t time_us;
    int64_t stream_no;
    int type_no;
    sb_slice_t subject; /* absent unless it is read */
    sb_slice_t data;
} sb_view_record_t;

/* A record is borrowed for the call. Not SB_OK stops the read. */
typedef sb_code_t (*sb_view_record_fn)(void *context, const sb_view_record_t *record, sb_error_t *err);

/* Connects. */
SB_MUST_CHECK sb_code_t sb_view_history_open(sb_view_history_t **out, const sb_view_history_config_t *config,
                                             sb_error_t *err);
void sb_view_history_close(sb_view_history_t **history); /* NULL is fine; sets NULL */

/* Events with seq in (after, to]. Any number of times, one after the other. Blocks. */
SB_MUST_CHECK sb_code_t sb_view_history_read(sb_view_history_t *history, int64_t after, int64_t to,
                                             sb_view_record_fn on_record, void *context, sb_error_t *err);

#endif
