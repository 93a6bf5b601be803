/* view_op - the values a view keeps and the closed algebra over them: one row a type, one row an operation.
 *
 * An operation computes a column's next value from its present one and an operand. It never fails half-way:
 * what cannot be computed (overflow) is a problem named in words, and the key is parked.
 *
 * Thread: any; everything here is pure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_OP_H
#define SB_EVENTS_VIEW_OP_H

#include "base/pg.h"
#include "base/scan.h"

typedef enum sb_view_type {
    SB_VIEW_TEXT,
    SB_VIEW_INT4,
    SB_VIEW_INT8,
    SB_VIEW_BOOL,
    SB_VIEW_TIMESTAMPTZ,
    SB_VIEW_JSONB,
    SB_VIEW_TYPES
} sb_view_type_t;

/* One value of a column: bytes for text and jsonb, integer for the others (bool 0 and 1, timestamptz wall
 * microseconds). Bytes are borrowed. */
typedef struct sb_view_value {
    bool is_null;
    int64_t integer;
    sb_slice_t bytes;
} sb_view_value_t;

#define SB_VIEW_NULL ((sb_view_value_t){true, 0, {NULL, 0}})

typedef struct sb_view_type_row {
    const char *name;   /* as written in the file, which is PostgreSQL's name */
    uint32_t parameter; /* the type of its values in arrays */
    const char *from;   /* cast from the array's element to the column, "" for none */
    const char *to;     /* cast of the column for reading, "" for none */
    bool is_bytes;
    bool key; /* may be a key */
} sb_view_type_row_t;

extern const sb_view_type_row_t sb_view_types[SB_VIEW_TYPES];

/* The type of a name; SB_VIEW_TYPES: unknown. */
sb_view_type_t sb_view_type_of(sb_slice_t name);

/* The value of a JSON text as a type; null is NULL. False: *problem says why not. scratch is reset, and may
 * be what value->bytes points into. */
bool sb_view_value_scan(sb_view_type_t type, const sb_scan_value_t *json, sb_buf_t *scratch,
                        sb_view_value_t *value, const char **problem);

/* The value of what a person typed (a key in an address, a filter): text as it is, numbers, true, false,
 * RFC 3339. */
bool sb_view_value_parse(sb_view_type_t type, sb_slice_t text, sb_view_value_t *value);

/* Appends the value as JSON. */
void sb_view_value_json(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out);

/* A column of a result, as view_sql's statements select it; bytes are borrowed from the result. */
sb_view_value_t sb_view_value_get(sb_view_type_t type, const sb_pg_result_t *result, int row, int column);

/* -1, 0, 1; bytes by memcmp. Neither is NULL. */
int sb_view_value_compare(sb_view_type_t type, const sb_view_value_t *a, const sb_view_value_t *b);

typedef struct sb_view_op {
    const char *name;
    bool takes_source; /* false: the file lists bare columns */
    uint32_t types;    /* bit 1 << type: where it may be used */
    bool (*apply)(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                  sb_view_value_t *next, const char **problem);
} sb_view_op_t;

/* Ended by a row with name NULL. */
extern const sb_view_op_t sb_view_ops[];

const sb_view_op_t *sb_view_op_named(sb_slice_t name);

#endif
