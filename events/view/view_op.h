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
    SB_VIEW_NUMERIC,
    SB_VIEW_DATE,
    SB_VIEW_TYPES
} sb_view_type_t;

/* What a column's type leaves open. */
typedef struct sb_view_bounds {
    uint8_t precision; /* numeric(precision,scale) */
    uint8_t scale;
    uint16_t items; /* jsonb: most items of an array that is appended to; 0: none is */
} sb_view_bounds_t;

#define SB_VIEW_ITEMS_MAX      1000
#define SB_VIEW_ITEM_BYTES_MAX 4096 /* of the event's text of one item */

/* One value of a column: bytes for text, jsonb and numeric (its text, as PostgreSQL prints it), integer for
 * the others (bool 0 and 1, timestamptz wall microseconds, date days since 1970). Bytes are borrowed. */
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
    const char *given;  /* cast of a single parameter to the column, "" for none */
    bool is_bytes;
    bool key; /* may be a key */
} sb_view_type_row_t;

extern const sb_view_type_row_t sb_view_types[SB_VIEW_TYPES];

/* The type of a name; SB_VIEW_TYPES: unknown. */
sb_view_type_t sb_view_type_of(sb_slice_t name);

/* The value of a JSON text as a type; null is NULL. False: *problem says why not. scratch is reset, and may
 * be what value->bytes points into. */
bool sb_view_value_scan(sb_view_type_t type, sb_view_bounds_t bounds, const sb_scan_value_t *json,
                        sb_buf_t *scratch, sb_view_value_t *value, const char **problem);

/* Whether an integer is one that a column of the type keeps: of 32 bits, a time or a date in the years 1 to
 * 9999 (PostgreSQL knows more, what reads JSON does not). False: *problem says why not. */
bool sb_view_value_fits(sb_view_type_t type, const sb_view_value_t *value, const char **problem);

/* The value of what a person typed (a key in an address, a filter): text as it is, numbers, true, false,
 * RFC 3339. A numeric is as it was typed, which PostgreSQL compares right. */
bool sb_view_value_parse(sb_view_type_t type, sb_slice_t text, sb_view_value_t *value);

/* Appends the value as JSON. */
void sb_view_value_json(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out);

/* Appends the value in words: as it is told in an address, in a list of keys. No jsonb. */
void sb_view_value_text(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out);

/* To PostgreSQL: a parameter, of which bytes are borrowed (not NULL); an element of an array of
 * sb_view_types[type].parameter; a field of a binary COPY. */
void sb_view_value_add(sb_view_type_t type, const sb_view_value_t *value, sb_pg_params_t *params);
void sb_view_value_put(sb_view_type_t type, const sb_view_value_t *value, sb_pg_array_t *array);
void sb_view_value_copy(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *rows);

/* A column of a result, as view_sql's statements select it; bytes are borrowed from the result. */
sb_view_value_t sb_view_value_get(sb_view_type_t type, const sb_pg_result_t *result, int row, int column);

/* -1, 0, 1; numerics by value, other bytes by memcmp. Neither is NULL. */
int sb_view_value_compare(sb_view_type_t type, const sb_view_value_t *a, const sb_view_value_t *b);

/* What an operation works with beside its operands. */
typedef struct sb_view_work {
    sb_view_type_t type; /* of the column */
    sb_view_bounds_t bounds;
    sb_buf_t *scratch; /* where bytes of the next value may be made */
} sb_view_work_t;

typedef struct sb_view_op {
    const char *name;
    bool takes_source; /* false: the file lists bare columns */
    bool takes_json;   /* the operand is jsonb, whatever the source is */
    uint32_t types;    /* bit 1 << type: where it may be used */
    bool (*apply)(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                  sb_view_value_t *next, const char **problem);
} sb_view_op_t;

/* Ended by a row with name NULL. */
extern const sb_view_op_t sb_view_ops[];

const sb_view_op_t *sb_view_op_named(sb_slice_t name);

/* Days since 1970 of a civil date and back, proleptic Gregorian. */
bool sb_view_date_parse(sb_slice_t text, int64_t *days); /* 2026-11-21 */
#define SB_VIEW_DATE_TEXT 16
char *sb_view_date_format(int64_t days, char text[SB_VIEW_DATE_TEXT]);

#endif
