/* schema - a JSON Schema (2020-12, our subset) compiled once and run on bytes.
 *
 * The list of keywords is docs/json-schema.md; a keyword outside it is refused when the schema is compiled,
 * never ignored (annotations such as title and description are allowed). Validation runs on the field scanner
 * and builds no tree.
 *
 * Thread: a compiled schema is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SCHEMA_H
#define SB_EVENTS_SCHEMA_H

#include "base/json.h"

typedef struct sb_schema sb_schema_t;

/* Compiles. The caller owns *out. SB_INVALID or SB_UNSUPPORTED with err->pointer at the fault. */
SB_MUST_CHECK sb_code_t sb_schema_compile(sb_schema_t **out, const json_t *schema, sb_error_t *err);
void sb_schema_free(sb_schema_t **schema);

/* SB_INVALID: err->pointer is the JSON Pointer of the first fault in the instance. */
SB_MUST_CHECK sb_code_t sb_schema_validate(const sb_schema_t *schema, sb_slice_t instance, sb_error_t *err);

/* Whether the schema describes a member at pointer (properties only): what a view's field must have. */
bool sb_schema_has(const sb_schema_t *schema, sb_slice_t pointer);

/* The types a member may have as "type" says it, of these bits; 0: it says nothing, or there is no member. */
enum {
    SB_SCHEMA_NULL = 1,
    SB_SCHEMA_BOOLEAN = 2,
    SB_SCHEMA_INTEGER = 4,
    SB_SCHEMA_NUMBER = 8,
    SB_SCHEMA_STRING = 16,
    SB_SCHEMA_ARRAY = 32,
    SB_SCHEMA_OBJECT = 64
};
unsigned sb_schema_types(const sb_schema_t *schema, sb_slice_t pointer);

#endif
