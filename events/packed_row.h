/* packed_row - events of the store in a buffer, as COPY gives them: the binary images of their columns, in
 * the order below, one row behind the other.
 *
 * What pages of readers are kept in, and what this process has written last (recent.h).
 *
 * Thread: that of the buffer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_PACKED_ROW_H
#define SB_EVENTS_PACKED_ROW_H

#include "base/buf.h"
#include "sagabus/event.h"
#include "sagabus/id.h"

enum {
    SB_PACKED_SEQ,
    SB_PACKED_STREAM_NO,
    SB_PACKED_AT,
    SB_PACKED_VERSION,
    SB_PACKED_TYPE_NO,
    SB_PACKED_CLASS,
    SB_PACKED_ID,
    SB_PACKED_META, /* absent for NULL */
    SB_PACKED_DATA,
    SB_PACKED_FIELDS
};

/* A row whose number is not known yet. */
typedef struct sb_packed_row {
    int64_t stream_no, at_us;
    int version, type_no;
    sb_event_class_t event_class;
    sb_uuid_t id;
    sb_slice_t meta, data; /* meta: absent for NULL */
} sb_packed_row_t;

/* Append a row; rows remembers a failure. add: of the fields that COPY gave; false: they are no event. */
void sb_packed_row_write(sb_buf_t *rows, const sb_packed_row_t *row);
SB_MUST_CHECK bool sb_packed_row_add(sb_buf_t *rows, const sb_slice_t *fields, int count);

/* The first row, and *rows is what follows; false at the end. Fields are borrowed from the rows. */
bool sb_packed_row_next(sb_slice_t *rows, sb_slice_t fields[SB_PACKED_FIELDS]);

/* The row at this offset; returns that of the next one. */
size_t sb_packed_row_read(const sb_buf_t *rows, size_t at, sb_slice_t fields[SB_PACKED_FIELDS]);

/* Of the row that begins here: its bytes, and its number. */
size_t sb_packed_row_size(const char *row);
void sb_packed_row_number(char *row, int64_t seq);

#endif
