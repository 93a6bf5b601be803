/* view_sql - the few statements whose table and column names are data: built from a definition, names quoted.
 *
 * A connection knows its prepared statements by the address of their text, so texts that are executed are
 * interned: the same text is at the same address for as long as somebody holds it. Whoever lets go of one has
 * its connection forget it first. Their number is bounded.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_SQL_H
#define SB_EVENTS_VIEW_SQL_H

#include "base/pg.h"
#include "events/view/view_definition.h"

#define SB_VIEW_SCHEMA "sagabus_view"

/* The one copy of a text, held until it is let go as often. SB_BUSY: too many different ones. */
SB_MUST_CHECK sb_code_t sb_view_sql_intern(const sb_buf_t *text, const char **out, sb_error_t *err);
/* Lets go of one that was executed on this connection alone; NULL is fine, sets NULL. */
void sb_view_sql_release(const char **text, sb_pg_t *pg);

/* Definitions of tables, to be run as scripts. */
void sb_view_sql_create(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);
void sb_view_sql_index(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);
void sb_view_sql_expose(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);
/* As expose, with the columns of shown first; those that table has not are NULL. */
void sb_view_sql_expose_as(sb_buf_t *out, const sb_view_table_t *table, int64_t generation,
                           const sb_view_table_t *shown);
void sb_view_sql_drop(sb_buf_t *out, sb_slice_t table);
void sb_view_sql_generation(sb_buf_t *out, const sb_view_table_t *table, int64_t generation); /* T_gN */

/* COPY into a generation's table: all columns, then whether the row is dirty; frozen when the transaction has
 * made the table. */
void sb_view_sql_copy_in(sb_buf_t *out, const sb_view_table_t *table, int64_t generation, bool frozen);

/* Rows of some keys: $1 is their array. */
void sb_view_sql_fetch(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);
/* A page of rows, dirty behind the columns, in order of the key; $1 is the key before it, unless it is the
 * first. */
void sb_view_sql_walk(sb_buf_t *out, const sb_view_table_t *table, int64_t generation, bool first, int limit);
/* Rows in place of those there are: one array a column, and one that says which are dirty. */
void sb_view_sql_upsert(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);
void sb_view_sql_remove(sb_buf_t *out, const sb_view_table_t *table, int64_t generation);

/* A page through the stable SQL view: all columns, then dirty; rows in order of a column and the key, NULLs
 * last (backwards: first). Parameters in their order: one a filter, then what it goes on after, then the
 * limit. */
typedef struct sb_view_page_filter {
    int column;
    const char *operator; /* =, <, <=, >, >= */
} sb_view_page_filter_t;

typedef struct sb_view_page_order {
    int column; /* 0: the key alone */
    bool backwards;
    bool after; /* a row; parameters: its value of the column (unless that is NULL, or the key's), its key */
    bool after_null;
} sb_view_page_order_t;

void sb_view_sql_page(sb_buf_t *out, const sb_view_table_t *table, const sb_view_page_filter_t *filters,
                      size_t filter_count, const sb_view_page_order_t *order);

#endif
