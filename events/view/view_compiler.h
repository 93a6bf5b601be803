/* view_compiler - how the parts of a view's file are compiled: what view_definition.c, view_column.c,
 * view_source.c and view_rule.c share.
 *
 * Each function compiles one part of the file into the definition. The first thing that is wrong ends it:
 * SB_INVALID, with the JSON Pointer of the place and what is wanted there.
 *
 * Inner to the view. Thread: the compiler's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_COMPILER_H
#define SB_EVENTS_VIEW_COMPILER_H

#include "base/json.h"
#include "events/view/view_definition.h"

/* The compiler's place in the file: where it is, and the first thing found wrong there. */
typedef struct sb_view_compiler {
    sb_view_definition_t *view;
    sb_buf_t pointer;
    sb_error_t *err;
} sb_view_compiler_t;

/* ---- what is wrong (view_compiler.c) ---- */

sb_code_t sb_view_refuse(sb_view_compiler_t *c, const char *format, ...) SB_PRINTF(2, 3);
sb_code_t sb_view_refuse_at(sb_view_compiler_t *c, const char *token, const char *text);
sb_code_t sb_view_no_memory(sb_view_compiler_t *c);

/* ---- members of an object (view_compiler.c) ---- */

bool sb_view_is_one_of(const char *name, const char *const *allowed);
SB_MUST_CHECK sb_code_t sb_view_only_members(sb_view_compiler_t *c, const json_t *object,
                                             const char *const *allowed);
SB_MUST_CHECK sb_code_t sb_view_text_member(sb_view_compiler_t *c, const json_t *object, const char *name,
                                            bool required, const char **out);
SB_MUST_CHECK sb_code_t sb_view_name_member(sb_view_compiler_t *c, const json_t *object, const char *member,
                                            const char **out);

/* ---- columns and constants (view_column.c) ---- */

bool sb_view_is_system_column(const char *name);
/* A copy that lives as long as the definition; NULL: out of memory. */
const char *sb_view_keep_text(sb_view_compiler_t *c, sb_slice_t text);
SB_MUST_CHECK sb_code_t sb_view_constant_of(sb_view_compiler_t *c, sb_view_type_t type,
                                            sb_view_bounds_t bounds, const json_t *json,
                                            sb_view_value_t *out);
SB_MUST_CHECK sb_code_t sb_view_type_member(sb_view_compiler_t *c, const json_t *object,
                                            sb_view_column_t *out);
SB_MUST_CHECK sb_code_t sb_view_compile_columns(sb_view_compiler_t *c, const json_t *body,
                                                sb_view_table_t *table);

/* ---- sources (view_source.c) ---- */

/* Where a source is written: the event it reads, and the column it is for (NULL: any type will do). */
typedef struct sb_view_aim {
    int event;
    const sb_view_column_t *column;
} sb_view_aim_t;

SB_MUST_CHECK sb_code_t sb_view_field_at(sb_view_compiler_t *c, int event, const char *pointer,
                                         sb_view_type_t type, int *out);
SB_MUST_CHECK sb_code_t sb_view_carry_column(sb_view_compiler_t *c, int event, const json_t *name, int *out);
sb_view_type_t sb_view_type_of_value(const json_t *value);
SB_MUST_CHECK sb_code_t sb_view_compile_source(sb_view_compiler_t *c, const sb_view_aim_t *aim,
                                               const json_t *body, sb_view_source_t *out);
bool sb_view_reads_carry(const sb_view_definition_t *view, const sb_view_source_t *source);

/* ---- rules (view_rule.c) ---- */

SB_MUST_CHECK sb_code_t sb_view_compile_ons(sb_view_compiler_t *c, const json_t *body,
                                            const json_t *default_key, sb_view_table_t *table);
/* Index of an event type, which is a new one of the view's unless it has it. */
SB_MUST_CHECK sb_code_t sb_view_event_named(sb_view_compiler_t *c, const char *name, int *out);

/* ---- views by SQL (view_by_sql.c) ---- */

SB_MUST_CHECK sb_code_t sb_view_compile_events(sb_view_compiler_t *c, const json_t *body);
/* After the tables. */
SB_MUST_CHECK sb_code_t sb_view_compile_statements(sb_view_compiler_t *c, const json_t *body);

#endif
