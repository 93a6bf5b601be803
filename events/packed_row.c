/* SPDX-License-Identifier: Apache-2.0 */
#include "events/packed_row.h"

#include "base/pg.h"

#include <string.h>

#define NO_META UINT32_MAX

static const uint8_t fixed[SB_PACKED_META] = {8, 8, 8, 4, 4, 2, 16};
#define FIXED_BYTES 50 /* of the columns before meta */

/* In front of the images. */
typedef struct head {
    uint32_t meta, data; /* bytes of either */
} head_t;

static void write_head(sb_buf_t *rows, sb_slice_t meta, sb_slice_t data)
{
    head_t head = {meta.ptr ? (uint32_t)meta.len : NO_META, (uint32_t)data.len};
    sb_buf_add(rows, &head, sizeof head);
}

static void write_bodies(sb_buf_t *rows, sb_slice_t meta, sb_slice_t data)
{
    if (meta.ptr)
        sb_buf_add_slice(rows, meta);
    sb_buf_add_slice(rows, data);
}

void sb_packed_row_write(sb_buf_t *rows, const sb_packed_row_t *row)
{
    write_head(rows, row->meta, row->data);
    sb_buf_add_be64(rows, 0);
    sb_buf_add_be64(rows, (uint64_t)row->stream_no);
    sb_buf_add_be64(rows, (uint64_t)(row->at_us - SB_PG_EPOCH_US));
    sb_buf_add_be32(rows, (uint32_t)row->version);
    sb_buf_add_be32(rows, (uint32_t)row->type_no);
    sb_buf_add_be16(rows, (uint16_t)row->event_class);
    sb_buf_add(rows, row->id.byte, sizeof row->id.byte);
    write_bodies(rows, row->meta, row->data);
}

bool sb_packed_row_add(sb_buf_t *rows, const sb_slice_t *fields, int count)
{
    bool fits = count == SB_PACKED_FIELDS && fields[SB_PACKED_DATA].ptr;
    for (int i = 0; fits && i < SB_PACKED_META; i++)
        fits = fields[i].len == fixed[i];
    if (!fits)
        return false;
    write_head(rows, fields[SB_PACKED_META], fields[SB_PACKED_DATA]);
    for (int i = 0; i < SB_PACKED_META; i++)
        sb_buf_add_slice(rows, fields[i]);
    write_bodies(rows, fields[SB_PACKED_META], fields[SB_PACKED_DATA]);
    return true;
}

static head_t head_of(const char *row)
{
    head_t head;
    memcpy(&head, row, sizeof head);
    return head;
}

bool sb_packed_row_next(sb_slice_t *rows, sb_slice_t fields[SB_PACKED_FIELDS])
{
    if (rows->len == 0)
        return false;
    head_t head = head_of(rows->ptr);
    const char *at = rows->ptr + sizeof head;
    for (int i = 0; i < SB_PACKED_META; at += fixed[i], i++)
        fields[i] = (sb_slice_t){at, fixed[i]};
    fields[SB_PACKED_META] = head.meta == NO_META ? SB_SLICE_NONE : (sb_slice_t){at, head.meta};
    at += fields[SB_PACKED_META].len;
    fields[SB_PACKED_DATA] = (sb_slice_t){at, head.data};
    at += head.data;
    *rows = (sb_slice_t){at, (size_t)(rows->ptr + rows->len - at)};
    return true;
}

size_t sb_packed_row_read(const sb_buf_t *rows, size_t at, sb_slice_t fields[SB_PACKED_FIELDS])
{
    sb_slice_t left = {rows->ptr + at, rows->len - at};
    (void)sb_packed_row_next(&left, fields);
    return rows->len - left.len;
}

size_t sb_packed_row_size(const char *row)
{
    head_t head = head_of(row);
    return sizeof head + FIXED_BYTES + (head.meta == NO_META ? 0 : head.meta) + head.data;
}

void sb_packed_row_number(char *row, int64_t seq)
{
    uint8_t *image = (uint8_t *)row + sizeof(head_t);
    for (int i = 0; i < 8; i++)
        image[i] = (uint8_t)((uint64_t)seq >> (56 - 8 * i));
}
