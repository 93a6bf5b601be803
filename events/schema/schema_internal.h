/* What schema.c (compiles) and schema_validate.c (runs) share: the compiled tree.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SCHEMA_INTERNAL_H
#define SB_EVENTS_SCHEMA_INTERNAL_H

#include "base/scan.h"
#include "events/decimal.h"
#include "events/schema/pattern.h"
#include "events/schema/schema.h"

#define SB_SCHEMA_NAMES_MAX 512 /* member names one object schema may mention */

/* Bits of schema_node_t.types. An integer is a number too, so it has no kind of its own in the instance. */
enum {
    SCHEMA_NULL = SB_SCHEMA_NULL,
    SCHEMA_BOOLEAN = SB_SCHEMA_BOOLEAN,
    SCHEMA_INTEGER = SB_SCHEMA_INTEGER,
    SCHEMA_NUMBER = SB_SCHEMA_NUMBER,
    SCHEMA_STRING = SB_SCHEMA_STRING,
    SCHEMA_ARRAY = SB_SCHEMA_ARRAY,
    SCHEMA_OBJECT = SB_SCHEMA_OBJECT
};

typedef enum schema_format { FORMAT_NONE, FORMAT_DATE_TIME, FORMAT_DATE, FORMAT_UUID } schema_format_t;

typedef struct schema_node schema_node_t;

typedef struct schema_nodes {
    schema_node_t **at;
    int count;
} schema_nodes_t;

/* A limit of numbers; text NULL: none. */
typedef struct schema_limit {
    char *text;
    sb_decimal_t value;
} schema_limit_t;

/* A value to be equal to. Strings without escapes compare as they are written, the rest by digest. */
typedef struct schema_value {
    char *text;
    size_t length;
    sb_hash_t digest;
} schema_value_t;

typedef struct schema_values {
    schema_value_t *at;
    int count;
    bool set;
} schema_values_t;

/* A member name that the schema mentions. Its place in the sorted list is its bit in the set of those seen.
 */
typedef struct schema_name {
    char *text;
    size_t length;
    bool required;
    schema_node_t *node;      /* properties; NULL: none */
    schema_node_t *dependent; /* dependentSchemas; NULL: none */
    char **needs;             /* dependentRequired, ended by NULL; NULL: none */
} schema_name_t;

typedef struct schema_pattern_member {
    sb_pattern_t *pattern;
    schema_node_t *node;
} schema_pattern_member_t;

struct schema_node {
    const json_t *source; /* borrowed while compiling, so that a schema referred to twice is compiled once */
    bool never;           /* the schema `false` */
    int mark;             /* of the search for loops */
    unsigned types;       /* 0: any */
    schema_values_t enumeration;
    schema_values_t constant;
    schema_limit_t minimum, maximum, exclusive_minimum, exclusive_maximum, multiple_of;
    /* Counts: -1 is none. */
    int64_t min_length, max_length;
    int64_t min_items, max_items, min_contains, max_contains;
    int64_t min_properties, max_properties;
    bool unique_items;
    sb_pattern_t *pattern;
    schema_format_t format;
    schema_name_t *names; /* sorted by length, then bytes */
    int name_count;
    schema_pattern_member_t *patterns;
    int pattern_count;
    schema_node_t *additional, *property_names;
    schema_nodes_t prefix_items;
    schema_node_t *items, *contains;
    schema_nodes_t all_of, any_of, one_of;
    schema_node_t *not_, *if_, *then, *else_, *ref;
    schema_node_t *unevaluated_properties, *unevaluated_items;
};

struct sb_schema {
    schema_node_t *root;
    schema_nodes_t nodes; /* all of them, owned */
};

/* The name's place in node->names, -1 when the schema does not mention it. */
int schema_find_name(const schema_node_t *node, sb_slice_t name);

/* What "#", "#/a/pointer", "#anchor" or one of them behind the root's own $id leads to; borrowed from root.
 * NULL: nothing there. */
const json_t *schema_refers_to(const json_t *root, const char *reference);

/* A digest that is the same for equal JSON values, whatever their spelling: 1 and 1.0, "a" and "\u0061", the
 * members in any order. False: out of memory. */
bool schema_digest(const sb_scan_value_t *value, sb_hash_t *out);

/* The shortest text that gives the same value again: jansson keeps a fraction as a double, and 17 digits of
 * 0.1 are not 0.1. *exact (may be NULL): it took no more digits than a double keeps of any number (15). Owned
 * by the caller; NULL: out of memory. */
char *schema_text_of(const json_t *value, bool *exact);

/* A value that is known to be whole: its kind from its first character. */
sb_scan_value_t schema_scan_value(sb_slice_t text);

#endif
