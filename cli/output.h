/* output - what a command prints: tables for people, JSON for programs.
 *
 * table: columns as wide as they need to be, values as people read them. json: one indented document. jsonl:
 * one line an item. Colour only where it was asked for or where a person looks on.
 *
 * Thread: main.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_OUTPUT_H
#define SB_CLI_OUTPUT_H

#include "base/json.h"

#include <stdio.h>

typedef enum sb_output_format { SB_OUTPUT_TABLE, SB_OUTPUT_JSON, SB_OUTPUT_JSONL } sb_output_format_t;

typedef struct sb_output {
    FILE *to; /* borrowed */
    sb_output_format_t format;
    bool color;
    bool utf8; /* the terminal's character set, by the locale */
    int width; /* of the terminal; 80 when there is none */
} sb_output_t;

/* Looks at the stream, the locale and the environment (NO_COLOR, TERM, COLUMNS). */
void sb_output_init(sb_output_t *out, FILE *to);
SB_MUST_CHECK sb_code_t sb_output_set_format(sb_output_t *out, const char *text, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_output_set_color(sb_output_t *out, const char *text, sb_error_t *err);

/* Places on the screen that a text takes: its characters. */
int sb_output_columns(sb_slice_t text);

typedef struct sb_column {
    const char *title;   /* NULL ends the list */
    const char *pointer; /* JSON Pointer of the value in an item */
} sb_column_t;

/* The items of an array, in the format. */
void sb_output_items(sb_output_t *out, const json_t *items, const sb_column_t *columns);
/* The items with a column for each member of the first. */
void sb_output_rows(sb_output_t *out, const json_t *items);
/* One object: name and value a line as a table; nested values as JSON. */
void sb_output_object(sb_output_t *out, const json_t *object);
/* A document as JSON whatever the format: indented for table and json, one line for jsonl. */
void sb_output_json(sb_output_t *out, const json_t *value);
void sb_output_text(sb_output_t *out, sb_slice_t text);

/* A value as a person reads it: strings as they are, null as nothing, the rest as JSON. */
void sb_output_value(const json_t *value, sb_buf_t *out);

#endif
