/* The columns of a table, and values that stand in the file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compiler.h"

#include "events/view/view_decimal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

bool sb_view_is_system_column(const char *name)
{
    static const char *const taken[] = {"tableoid", "xmin",  "cmin",  "xmax", "cmax",
                                        "ctid",     "dirty", "links", NULL};
    return sb_view_is_one_of(name, taken);
}

/* A text that lives as long as the definition. */
const char *sb_view_keep_text(sb_view_compiler_t *c, sb_slice_t text)
{
    json_t *kept = json_stringn(text.ptr, text.len);
    return kept && json_array_append_new(c->view->texts, kept) == 0 ? json_string_value(kept) : NULL;
}

static sb_code_t numeric_constant(sb_view_compiler_t *c, sb_view_bounds_t bounds, const json_t *json,
                                  sb_view_value_t *out)
{
    char digits[24];
    sb_view_wide_t number;
    const char *problem = "is not a decimal number";
    sb_slice_t text = {json_string_value(json), json_string_length(json)};
    (void)snprintf(digits, sizeof digits, "%" JSON_INTEGER_FORMAT, json_integer_value(json));
    if (json_is_integer(json))
        text = sb_slice(digits);
    if (!text.ptr || !sb_view_decimal_read(text, bounds.precision, bounds.scale, &number, &problem))
        return sb_view_refuse(c, "%s; write it as a string (\"12.50\") or as an integer", problem);
    sb_buf_t canonical = SB_BUF_INIT;
    sb_view_decimal_write(number, bounds.scale, &canonical);
    const char *kept = sb_buf_failed(&canonical) ? NULL : sb_view_keep_text(c, sb_buf_slice(&canonical));
    sb_buf_fini(&canonical);
    out->bytes = sb_slice(kept);
    return kept ? SB_OK : sb_view_no_memory(c);
}

sb_code_t sb_view_constant_of(sb_view_compiler_t *c, sb_view_type_t type, sb_view_bounds_t bounds,
                              const json_t *json, sb_view_value_t *out)
{
    *out = SB_VIEW_NULL;
    if (json_is_null(json))
        return SB_OK;
    out->is_null = false;
    bool fits = false;
    switch (type) {
    case SB_VIEW_TEXT:
        out->bytes = (sb_slice_t){json_string_value(json), json_string_length(json)};
        fits = json_is_string(json) && !memchr(out->bytes.ptr, '\0', out->bytes.len);
        break;
    case SB_VIEW_INT4:
    case SB_VIEW_INT8:
        out->integer = json_integer_value(json);
        fits = json_is_integer(json) &&
               (type == SB_VIEW_INT8 || (out->integer >= INT32_MIN && out->integer <= INT32_MAX));
        break;
    case SB_VIEW_BOOL:
        out->integer = json_is_true(json);
        fits = json_is_boolean(json);
        break;
    case SB_VIEW_NUMERIC:
        return numeric_constant(c, bounds, json, out);
    case SB_VIEW_DATE:
    case SB_VIEW_TIMESTAMPTZ:
        fits = json_is_string(json) && sb_view_value_parse(type, sb_slice(json_string_value(json)), out);
        break;
    case SB_VIEW_JSONB:
        return sb_view_refuse(c, "a constant of type jsonb is not supported");
    case SB_VIEW_TYPES:
        break;
    }
    return fits ? SB_OK : sb_view_refuse(c, "is not a value of type %s", sb_view_types[type].name);
}

/* numeric(12,2). False: not of that form. */
static bool numeric_bounds(const char *name, sb_view_bounds_t *out)
{
    int precision = 0;
    int scale = 0;
    int length = 0;
    if (sscanf(name, "numeric(%2d,%2d)%n", &precision, &scale, &length) != 2 || name[length] != '\0' ||
        length == 0 || name[8] < '1' || name[8] > '9' || !strchr("0123456789", strchr(name, ',')[1]))
        return false;
    *out = (sb_view_bounds_t){.precision = (uint8_t)precision, .scale = (uint8_t)scale};
    return precision <= SB_VIEW_DECIMAL_DIGITS && scale <= precision;
}

sb_code_t sb_view_type_member(sb_view_compiler_t *c, const json_t *object, sb_view_column_t *out)
{
    const char *name = NULL;
    sb_code_t code = sb_view_text_member(c, object, "type", true, &name);
    if (code != SB_OK)
        return code;
    assert(name);
    out->bounds = (sb_view_bounds_t){0};
    out->type = sb_view_type_of(sb_slice(name));
    if (out->type == SB_VIEW_NUMERIC)
        out->type = SB_VIEW_TYPES; /* without its bounds it is none */
    if (numeric_bounds(name, &out->bounds))
        out->type = SB_VIEW_NUMERIC;
    if (strncmp(name, "float", 5) == 0 || strncmp(name, "double", 6) == 0 || strcmp(name, "real") == 0)
        return sb_view_refuse_at(c, "type",
                                 "is floating point, which does not add up; take int8 or numeric(P,S)");
    if (strncmp(name, "numeric", 7) == 0 && out->type != SB_VIEW_NUMERIC)
        return sb_view_refuse_at(c, "type", "must be numeric(P,S) with P from 1 to 38 and S from 0 to P");
    if (out->type == SB_VIEW_TYPES)
        return sb_view_refuse_at(c, "type",
                                 "is none of text, int4, int8, numeric(P,S), bool, timestamptz, date, jsonb");
    return SB_OK;
}

static sb_code_t compile_initial(sb_view_compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *initial = json_object_get(body, "default");
    column->initial = SB_VIEW_NULL;
    if (!initial)
        return SB_OK;
    if (c->view->statement_count > 0)
        return sb_view_refuse_at(c, "default", "is for rules; a view by SQL writes it in the statement");
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("default"));
    sb_code_t code = sb_view_constant_of(c, column->type, column->bounds, initial, &column->initial);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

static sb_code_t compile_index(sb_view_compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *index = json_object_get(body, "index");
    column->indexed = json_is_true(index);
    if (index && !json_is_boolean(index))
        return sb_view_refuse_at(c, "index", "must be true or false");
    if (column->indexed && column->type == SB_VIEW_JSONB)
        return sb_view_refuse_at(c, "index", "is not for jsonb");
    return SB_OK;
}

/* How many items an array that is appended to keeps. */
static sb_code_t compile_items(sb_view_compiler_t *c, const json_t *body, sb_view_column_t *column)
{
    const json_t *items = json_object_get(body, "items");
    if (!items)
        return SB_OK;
    if (column->type != SB_VIEW_JSONB)
        return sb_view_refuse_at(c, "items", "is for jsonb");
    if (!json_is_integer(items) || json_integer_value(items) < 1 ||
        json_integer_value(items) > SB_VIEW_ITEMS_MAX)
        return sb_view_refuse_at(c, "items", "must be an integer from 1 to 1000");
    column->bounds.items = (uint16_t)json_integer_value(items);
    return SB_OK;
}

static sb_code_t compile_column(sb_view_compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    static const char *const members[] = {"name", "type", "default", "index", "items", "description", NULL};
    if (table->column_count == SB_VIEW_COLUMNS_MAX)
        return sb_view_refuse(c, "is one column too many, the most is %d with the key", SB_VIEW_COLUMNS_MAX);
    sb_view_column_t *column = &table->column[table->column_count];
    sb_code_t code = sb_view_only_members(c, body, members);
    if (code == SB_OK)
        code = sb_view_name_member(c, body, "name", &column->name);
    if (code == SB_OK && sb_view_is_system_column(column->name))
        code = sb_view_refuse_at(c, "name", "is PostgreSQL's own, or sagabus's");
    if (code == SB_OK && sb_view_table_column(table, sb_slice(column->name)) >= 0)
        code = sb_view_refuse_at(c, "name", "is another column's too");
    if (code == SB_OK)
        code = sb_view_type_member(c, body, column);
    if (code == SB_OK)
        code = compile_initial(c, body, column);
    if (code == SB_OK)
        code = compile_index(c, body, column);
    if (code == SB_OK)
        code = compile_items(c, body, column);
    if (code == SB_OK)
        table->column_count++;
    return code;
}

/* An array, not an object: the order of columns is the order people see, and what a new version adds must
 * come last, while the registry's canonical JSON sorts the members of objects. */
sb_code_t sb_view_compile_columns(sb_view_compiler_t *c, const json_t *body, sb_view_table_t *table)
{
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice("columns"));
    sb_code_t code = json_is_array(body) ? SB_OK : sb_view_refuse(c, "must be an array of columns");
    for (size_t i = 0; i < json_array_size(body) && code == SB_OK; i++) {
        size_t inner = sb_json_pointer_enter_index(&c->pointer, i);
        code = compile_column(c, json_array_get(body, i), table);
        sb_json_pointer_leave(&c->pointer, inner);
    }
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}
