/* dead_letter - what could not be handled, as rows of the service's database: added, read back, ended.
 *
 * A row keeps the record as it came (key, headers, value), so that it can be handled again later. Its
 * fingerprint is the error without what differs from event to event, by which rows are grouped.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_DEAD_LETTER_H
#define SB_BUS_DEAD_LETTER_H

#include "base/pg.h"
#include "bus/producer.h"
#include "bus/reader.h"

/* What waits for its rate holds up nothing that has none. All that waits is looked through for that, so no
 * more often than this. */
#define SB_REDRIVE_BESIDE_US 1000000

typedef struct sb_dead_record {
    const char *subscription;
    const char *group;
    const sb_message_t *record;
    int64_t incarnation;
    int64_t seq;                 /* 0: it has no position */
    sb_slice_t id, source, type; /* absent when it is no event */
    const char *reason;          /* failed, rejected, undecodable, blocked */
    const char *error;
    int attempts;
    int64_t first_failed_us;
    bool held;      /* its key is held back with it */
    int64_t due_us; /* 0: when an operator says so */
} sb_dead_record_t;

/* Adds it, and with `held` its key to the quarantine, in the open transaction. */
SB_MUST_CHECK sb_code_t sb_dead_letter_add(sb_pg_t *pg, const sb_dead_record_t *letter, sb_error_t *err);

/* Sends a copy with the headers of bus/dead_letter_headers.h, ours and Spring's. */
SB_MUST_CHECK sb_code_t sb_dead_letter_copy(sb_producer_t *producer, const char *topic,
                                            const sb_dead_record_t *letter, sb_error_t *err);

#define SB_FINGERPRINT_MAX 160
void sb_dead_letter_fingerprint(const char *error, char out[SB_FINGERPRINT_MAX]);

/* One read back: the record borrows from the row. */
typedef struct sb_dead_letter_row {
    int64_t no;
    sb_message_t record;
    int attempts;
    char topic[256];
    char names[4096];
} sb_dead_letter_row_t;

#define SB_DEAD_LETTER_PACE 14 /* the column of sub_dead_due */

/* Row number `row` of sub_release_page or sub_dead_due. */
void sb_dead_letter_read(const sb_pg_result_t *rows, int row, sb_dead_letter_row_t *out);

SB_MUST_CHECK sb_code_t sb_dead_letter_handled(sb_pg_t *pg, int64_t no, sb_error_t *err);
/* Tried again in vain. due_us 0: not again until an operator says so. */
SB_MUST_CHECK sb_code_t sb_dead_letter_failed(sb_pg_t *pg, int64_t no, const char *error, int64_t due_us,
                                              sb_error_t *err);

#endif
