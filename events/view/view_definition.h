/* view_definition - a view's file, compiled: tables, keys, columns, and what each event type changes.
 *
 * Everything the fold needs is resolved here: column names to numbers, pointers to fields that are read once
 * an event, constants to typed values, operations to rows of the table in view_op.c.
 *
 * Thread: a compiled definition is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_DEFINITION_H
#define SB_EVENTS_VIEW_DEFINITION_H

#include "events/view/view_op.h"

#include <jansson.h>

#define SB_VIEW_NAME_MAX    50 /* a table "<name>_g<generation>" must fit PostgreSQL's 63 bytes */
#define SB_VIEW_TABLES_MAX  6
#define SB_VIEW_COLUMNS_MAX 31 /* with the key */
#define SB_VIEW_EVENTS_MAX  64
#define SB_VIEW_FIELDS_MAX  64 /* per event type */
#define SB_VIEW_STEPS_MAX   64 /* per rule */

typedef enum sb_view_origin {
    SB_VIEW_FIELD, /* a JSON Pointer into the event's data */
    SB_VIEW_CONST,
    SB_VIEW_SUBJECT, /* $subject: the stream's key */
    SB_VIEW_TIME,    /* $time */
    SB_VIEW_EVENT,   /* $type */
    SB_VIEW_SEQ      /* $seq */
} sb_view_origin_t;

typedef struct sb_view_source {
    sb_view_origin_t origin;
    int field;                /* SB_VIEW_FIELD: index into the event's fields */
    sb_view_value_t constant; /* SB_VIEW_CONST; bytes are the definition's */
} sb_view_source_t;

typedef struct sb_view_column {
    const char *name;
    sb_view_type_t type;
    bool indexed;
    sb_view_value_t initial; /* of a new row; NULL unless a default is given */
} sb_view_column_t;

typedef struct sb_view_step {
    const sb_view_op_t *op;
    int column;
    sb_view_source_t source; /* of ops that take one */
} sb_view_step_t;

typedef enum sb_view_compare {
    SB_VIEW_EQ,
    SB_VIEW_NE,
    SB_VIEW_LT,
    SB_VIEW_LE,
    SB_VIEW_GT,
    SB_VIEW_GE,
    SB_VIEW_EXISTS,
    SB_VIEW_ABSENT
} sb_view_compare_t;

/* When a rule applies: a field compared with a text, an integer or a bool. A null field is absent; an absent
 * one, or one of another kind, differs from everything and is neither below nor above. */
typedef struct sb_view_when {
    bool given;
    int field;
    sb_view_compare_t compare;
    json_type kind; /* of value */
    sb_view_value_t value;
} sb_view_when_t;

typedef struct sb_view_rule {
    sb_view_source_t key;
    sb_view_when_t when;
    bool removes;
    int step_count;
    sb_view_step_t *step;
} sb_view_rule_t;

/* What one event type changes in one table. */
typedef struct sb_view_on {
    int event; /* index into the definition's events */
    int rule_count;
    sb_view_rule_t *rule;
} sb_view_on_t;

typedef struct sb_view_table {
    const char *name;
    int column_count; /* column 0 is the key */
    sb_view_column_t column[SB_VIEW_COLUMNS_MAX];
    int on_count;
    sb_view_on_t *on;
} sb_view_table_t;

/* A field of an event type that some rule reads. */
typedef struct sb_view_field {
    sb_slice_t pointer;
    sb_slice_t name; /* of the member, when the pointer is one plain step into the data; else absent */
} sb_view_field_t;

typedef struct sb_view_event_type {
    const char *name;
    int field_count;
    sb_view_field_t field[SB_VIEW_FIELDS_MAX];
} sb_view_event_type_t;

typedef struct sb_view_definition {
    const char *name;
    const char *title;
    int version;
    bool reads_subject; /* some key or column comes from $subject */
    int table_count;
    sb_view_table_t table[SB_VIEW_TABLES_MAX];
    int event_count;
    sb_view_event_type_t *event;
    json_t *body; /* a reference of its own; names, pointers and constants point into it */
} sb_view_definition_t;

/* Compiles and checks. The caller owns *out. SB_INVALID with err->pointer at the fault and the reason. */
SB_MUST_CHECK sb_code_t sb_view_definition_new(sb_view_definition_t **out, const json_t *body,
                                               sb_error_t *err);
void sb_view_definition_free(sb_view_definition_t **definition);

/* Index of an event type, a table, a column by name; -1: none. */
int sb_view_definition_event(const sb_view_definition_t *definition, sb_slice_t name);
int sb_view_definition_table(const sb_view_definition_t *definition, sb_slice_t name);
int sb_view_table_column(const sb_view_table_t *table, sb_slice_t name);

#endif
