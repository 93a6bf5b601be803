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
#include "events/view/view_zone.h"
#include "sagabus/view.h"

#include <jansson.h>

#define SB_VIEW_NAME_MAX       50 /* a table "<name>_g<generation>" must fit PostgreSQL's 63 bytes */
#define SB_VIEW_SHOWN_MAX      6  /* tables that people read */
#define SB_VIEW_TABLES_MAX     7  /* with the carry */
#define SB_VIEW_COLUMNS_MAX    31 /* with the key */
#define SB_VIEW_EVENTS_MAX     64
#define SB_VIEW_FIELDS_MAX     64 /* per event type */
#define SB_VIEW_STEPS_MAX      64 /* per rule */
#define SB_VIEW_PARTS_MAX      256
#define SB_VIEW_JOIN_MAX       8
#define SB_VIEW_WHENS_MAX      8 /* per rule */
#define SB_VIEW_ZONES_MAX      8
#define SB_VIEW_STATEMENTS_MAX 8

typedef enum sb_view_origin {
    SB_VIEW_FIELD, /* a JSON Pointer into the event's data */
    SB_VIEW_CONST,
    SB_VIEW_SUBJECT, /* $subject: the stream's key */
    SB_VIEW_TIME,    /* $time */
    SB_VIEW_EVENT,   /* $type */
    SB_VIEW_SEQ,     /* $seq */
    SB_VIEW_STREAM,  /* the number of the stream: the key of the carry */
    SB_VIEW_CARRY,   /* what earlier events of the stream left in the carry */
    SB_VIEW_DAY,     /* the date of its one part in a time zone */
    SB_VIEW_JOIN     /* its parts as text, joined by / */
} sb_view_origin_t;

typedef struct sb_view_source {
    sb_view_origin_t origin;
    sb_view_type_t type;      /* of what it gives; a field's is what it is read as */
    int field;                /* SB_VIEW_FIELD: index into the event's fields */
    int column;               /* SB_VIEW_CARRY: of the carry */
    int zone;                 /* SB_VIEW_DAY */
    int part, part_count;     /* of the definition's parts */
    sb_view_value_t constant; /* SB_VIEW_CONST; bytes are the definition's */
} sb_view_source_t;

typedef struct sb_view_column {
    const char *name;
    sb_view_type_t type;
    sb_view_bounds_t bounds;
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

/* When a rule applies: a field, or a column of the carry, compared with a text, an integer or a bool. A null
 * field is absent; an absent one, or one of another kind, differs from everything and is neither below nor
 * above. */
typedef struct sb_view_when {
    int field;  /* -1: the carry's */
    int column; /* of the carry */
    sb_view_compare_t compare;
    json_type kind; /* of value */
    sb_view_value_t value;
} sb_view_when_t;

typedef struct sb_view_rule {
    sb_view_source_t key;
    int when_count;
    sb_view_when_t when[SB_VIEW_WHENS_MAX]; /* all must hold */
    bool reads_carry;                       /* some condition or step does, or the key */
    bool removes;
    bool calls; /* the view's C function says what changes; no steps */
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
    bool hidden;      /* the carry: no SQL view shows it */
    int column_count; /* column 0 is the key */
    sb_view_column_t column[SB_VIEW_COLUMNS_MAX];
    int on_count;
    sb_view_on_t *on;
    bool listed; /* the file lists the event types, in this order */
} sb_view_table_t;

/* A field of an event type that some rule reads. */
typedef struct sb_view_field {
    sb_slice_t pointer;
    sb_slice_t name; /* of the member, when the pointer is one plain step into the data; else absent */
} sb_view_field_t;

/* What a field is read as, and where the file says so. */
typedef struct sb_view_use {
    int event;
    int field;
    sb_view_type_t type; /* SB_VIEW_JSONB: anything will do */
    const char *place;   /* JSON Pointer into the file */
} sb_view_use_t;

typedef struct sb_view_event_type {
    const char *name;
    bool carries; /* some rule of it reads or changes the carry */
    int field_count;
    sb_view_field_t field[SB_VIEW_FIELDS_MAX];
} sb_view_event_type_t;

typedef struct sb_view_definition {
    const char *name;
    const char *title;
    int version;
    bool reads_subject; /* some key or column comes from $subject */
    bool carries_keys;  /* some key comes from the carry */
    int carry;          /* the table that keeps it, the last one; -1: none */
    char carry_name[SB_VIEW_NAME_MAX + 1];
    int table_count; /* with the carry */
    sb_view_table_t table[SB_VIEW_TABLES_MAX];
    int event_count;
    sb_view_event_type_t *event;
    int part_count;
    sb_view_source_t *part;
    int statement_count; /* of a view that is declared by SQL; else 0 */
    const char *statement[SB_VIEW_STATEMENTS_MAX];
    const char *fold; /* of a view that a C function folds: its name; else NULL */
    sb_fold_fn call;  /* that function; NULL: this process has it not */
    void *call_context;
    int zone_count;
    sb_view_zone_t zone[SB_VIEW_ZONES_MAX];
    size_t use_count;
    sb_view_use_t *use;
    json_t *body;  /* a reference of its own; names, pointers and constants point into it */
    json_t *texts; /* made while compiling: canonical constants, places */
} sb_view_definition_t;

/* The carry is a table like the others, keyed by the number of the stream, of a generation of its own and
 * loaded and written with it. It comes last, so that a rule reads what earlier events left, never its own.
 * Who folds a part of the keys only (a replay by passes, by several threads) folds all of the carry each
 * time. */

/* Compiles and checks. The caller owns *out. SB_INVALID with err->pointer at the fault and the reason. */
SB_MUST_CHECK sb_code_t sb_view_definition_new(sb_view_definition_t **out, const json_t *body,
                                               sb_error_t *err);
void sb_view_definition_free(sb_view_definition_t **definition);

/* Index of an event type, a table (the carry too), a column by name; -1: none. */
int sb_view_definition_event(const sb_view_definition_t *definition, sb_slice_t name);
int sb_view_definition_table(const sb_view_definition_t *definition, sb_slice_t name);
int sb_view_table_column(const sb_view_table_t *table, sb_slice_t name);

#endif
