/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_op.h"

#include "base/clock.h"

#include <inttypes.h>

const sb_view_type_row_t sb_view_types[SB_VIEW_TYPES] = {
    [SB_VIEW_TEXT] = {"text", SB_PG_TEXT, "", "", true, true},
    [SB_VIEW_INT4] = {"int4", SB_PG_INT4, "", "", false, false},
    [SB_VIEW_INT8] = {"int8", SB_PG_INT8, "", "", false, true},
    [SB_VIEW_BOOL] = {"bool", SB_PG_BOOL, "", "", false, false},
    [SB_VIEW_TIMESTAMPTZ] = {"timestamptz", SB_PG_TIMESTAMPTZ, "", "", false, false},
    [SB_VIEW_JSONB] = {"jsonb", SB_PG_TEXT, "::jsonb", "::text", true, false},
};

sb_view_type_t sb_view_type_of(sb_slice_t name)
{
    int type = 0;
    while (type < SB_VIEW_TYPES && !sb_slice_is(name, sb_view_types[type].name))
        type++;
    return (sb_view_type_t)type;
}

/* ---- values ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The code unit of "\uXXXX" at the start of text, or -1. */
static int unicode_escape(sb_slice_t text)
{
    if (text.len < 6 || text.ptr[0] != '\\' || text.ptr[1] != 'u')
        return -1;
    int unit = 0;
    for (int i = 2; i < 6; i++)
        unit = unit << 4 | (hex_digit(text.ptr[i]) & 15);
    return unit;
}

static sb_slice_t rest(sb_slice_t text, size_t from)
{
    return (sb_slice_t){text.ptr + from, text.len - from};
}

/* Whether the escapes of a JSON text name characters that PostgreSQL can keep: not NUL, no half of a
 * surrogate pair. What it would refuse is refused here, key by key, because its refusal would fail the whole
 * batch. */
static bool escapes_ok(sb_slice_t text, const char **problem)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '\\')
            continue;
        int unit = unicode_escape(rest(text, i));
        if (unit == 0) {
            *problem = "holds \\u0000, which PostgreSQL cannot keep";
            return false;
        }
        if (unit >= 0xD800 && unit <= 0xDFFF) {
            int low = unit <= 0xDBFF ? unicode_escape(rest(text, i + 6)) : -1;
            if (low < 0xDC00 || low > 0xDFFF) {
                *problem = "holds half of a surrogate pair, which PostgreSQL cannot keep";
                return false;
            }
            i += 6;
        }
        i += unit >= 0 ? 5 : 1;
    }
    return true;
}

/* Whether every number of a JSON text is within what numeric, and so jsonb, takes; runs of digits in strings
 * are judged by the same measure. */
static bool numbers_ok(sb_slice_t text, const char **problem)
{
    size_t digits = 0;
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.ptr[i] >= '0' && text.ptr[i] <= '9';
        bool exponent = !digit && digits > 0 && (text.ptr[i] | 0x20) == 'e';
        size_t sign = exponent && i + 1 < text.len && (text.ptr[i + 1] == '-' || text.ptr[i + 1] == '+');
        size_t width = 0;
        while (exponent && i + 1 + sign + width < text.len && text.ptr[i + 1 + sign + width] >= '0' &&
               text.ptr[i + 1 + sign + width] <= '9')
            width++;
        digits = digit ? digits + 1 : 0;
        if (digits > 1000 || width > 3) {
            *problem = "holds a number beyond what a view keeps";
            return false;
        }
    }
    return true;
}

static bool scan_text(const sb_scan_value_t *json, sb_buf_t *scratch, sb_view_value_t *value,
                      const char **problem)
{
    if (json->escaped && !escapes_ok(json->text, problem))
        return false;
    value->bytes = sb_scan_string(json, scratch);
    *problem = "is not a string that can be read";
    return value->bytes.ptr && !sb_buf_failed(scratch);
}

static bool fits(sb_view_type_t type, int64_t integer)
{
    return type != SB_VIEW_INT4 || (integer >= INT32_MIN && integer <= INT32_MAX);
}

bool sb_view_value_scan(sb_view_type_t type, const sb_scan_value_t *json, sb_buf_t *scratch,
                        sb_view_value_t *value, const char **problem)
{
    *value = SB_VIEW_NULL;
    if (json->kind == SB_SCAN_NULL)
        return true;
    value->is_null = false;
    switch (type) {
    case SB_VIEW_TEXT:
        *problem = "is not a string";
        sb_buf_reset(scratch);
        return json->kind == SB_SCAN_STRING && scan_text(json, scratch, value, problem);
    case SB_VIEW_INT4:
    case SB_VIEW_INT8:
        *problem = type == SB_VIEW_INT4 ? "is not an integer of 32 bits" : "is not an integer of 64 bits";
        return json->kind == SB_SCAN_NUMBER && sb_scan_int64(json, &value->integer) &&
               fits(type, value->integer);
    case SB_VIEW_BOOL:
        *problem = "is not true or false";
        value->integer = json->kind == SB_SCAN_TRUE;
        return json->kind == SB_SCAN_TRUE || json->kind == SB_SCAN_FALSE;
    case SB_VIEW_TIMESTAMPTZ:
        *problem = "is not a date-time of RFC 3339";
        sb_buf_reset(scratch);
        return json->kind == SB_SCAN_STRING && scan_text(json, scratch, value, problem) &&
               sb_time_parse(value->bytes, &value->integer);
    case SB_VIEW_JSONB:
        value->bytes = json->text;
        return escapes_ok(json->text, problem) && numbers_ok(json->text, problem);
    case SB_VIEW_TYPES:
        break;
    }
    *problem = "has no type";
    return false;
}

static bool parse_integer(sb_slice_t text, int64_t *out)
{
    sb_scan_value_t number = {SB_SCAN_NUMBER, text, false};
    return text.len > 0 && sb_scan_valid(text, NULL) && (text.ptr[0] == '-' || text.ptr[0] >= '0') &&
           text.ptr[0] <= '9' && sb_scan_int64(&number, out);
}

bool sb_view_value_parse(sb_view_type_t type, sb_slice_t text, sb_view_value_t *value)
{
    *value = (sb_view_value_t){false, 0, text};
    switch (type) {
    case SB_VIEW_TEXT:
        return text.ptr && !memchr(text.ptr, '\0', text.len);
    case SB_VIEW_INT4:
    case SB_VIEW_INT8:
        return parse_integer(text, &value->integer) && fits(type, value->integer);
    case SB_VIEW_BOOL:
        value->integer = sb_slice_is(text, "true");
        return value->integer || sb_slice_is(text, "false");
    case SB_VIEW_TIMESTAMPTZ:
        return sb_time_parse(text, &value->integer);
    case SB_VIEW_JSONB:
    case SB_VIEW_TYPES:
        break;
    }
    return false;
}

void sb_view_value_json(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out)
{
    char time[SB_TIME_TEXT];
    if (value->is_null)
        sb_buf_add_text(out, "null");
    else if (type == SB_VIEW_TEXT)
        sb_buf_add_json(out, value->bytes);
    else if (type == SB_VIEW_JSONB)
        sb_buf_add_slice(out, value->bytes);
    else if (type == SB_VIEW_BOOL)
        sb_buf_add_text(out, value->integer ? "true" : "false");
    else if (type == SB_VIEW_TIMESTAMPTZ)
        sb_buf_printf(out, "\"%s\"", sb_time_format(value->integer, time));
    else
        sb_buf_printf(out, "%" PRId64, value->integer);
}

sb_view_value_t sb_view_value_get(sb_view_type_t type, const sb_pg_result_t *result, int row, int column)
{
    sb_view_value_t value = {sb_pg_is_null(result, row, column), 0, {NULL, 0}};
    if (value.is_null)
        return value;
    if (sb_view_types[type].is_bytes)
        value.bytes = sb_pg_get_slice(result, row, column);
    else if (type == SB_VIEW_TIMESTAMPTZ)
        value.integer = sb_pg_get_time(result, row, column);
    else
        value.integer = sb_pg_get_int(result, row, column);
    return value;
}

int sb_view_value_compare(sb_view_type_t type, const sb_view_value_t *a, const sb_view_value_t *b)
{
    if (!sb_view_types[type].is_bytes)
        return (a->integer > b->integer) - (a->integer < b->integer);
    size_t common = a->bytes.len < b->bytes.len ? a->bytes.len : b->bytes.len;
    int order = common ? memcmp(a->bytes.ptr, b->bytes.ptr, common) : 0;
    if (order == 0)
        order = (a->bytes.len > b->bytes.len) - (a->bytes.len < b->bytes.len);
    return (order > 0) - (order < 0);
}

/* ---- operations ---- */

static bool op_set(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)type;
    (void)present;
    (void)problem;
    *next = *operand;
    return true;
}

/* A sum with NULL on one side is the other side: nothing was added yet, or there is nothing to add. */
static bool add_signed(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                       int sign, sb_view_value_t *next, const char **problem)
{
    int64_t base = present->is_null ? 0 : present->integer;
    *next = *present;
    if (operand->is_null)
        return true;
    next->is_null = false;
    bool over = sign > 0 ? __builtin_add_overflow(base, operand->integer, &next->integer)
                         : __builtin_sub_overflow(base, operand->integer, &next->integer);
    *problem = "overflows its column";
    return !over && fits(type, next->integer);
}

static bool op_add(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    return add_signed(type, present, operand, 1, next, problem);
}

static bool op_sub(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    return add_signed(type, present, operand, -1, next, problem);
}

static bool op_count(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                     sb_view_value_t *next, const char **problem)
{
    (void)operand;
    const sb_view_value_t one = {false, 1, {NULL, 0}};
    return add_signed(type, present, &one, 1, next, problem);
}

static bool keep_extreme(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                         int sign, sb_view_value_t *next)
{
    bool takes =
        !operand->is_null && (present->is_null || sb_view_value_compare(type, operand, present) * sign > 0);
    *next = takes ? *operand : *present;
    return true;
}

static bool op_min(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)problem;
    return keep_extreme(type, present, operand, -1, next);
}

static bool op_max(sb_view_type_t type, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)problem;
    return keep_extreme(type, present, operand, 1, next);
}

#define ANY_TYPE ((1u << SB_VIEW_TYPES) - 1)
#define INTEGERS (1u << SB_VIEW_INT4 | 1u << SB_VIEW_INT8)
#define ORDERED  (INTEGERS | 1u << SB_VIEW_TEXT | 1u << SB_VIEW_TIMESTAMPTZ)

const sb_view_op_t sb_view_ops[] = {
    {"set", true, ANY_TYPE, op_set}, {"add", true, INTEGERS, op_add},
    {"sub", true, INTEGERS, op_sub}, {"count", false, INTEGERS, op_count},
    {"min", true, ORDERED, op_min},  {"max", true, ORDERED, op_max},
    {NULL, false, 0, NULL},
};

const sb_view_op_t *sb_view_op_named(sb_slice_t name)
{
    for (const sb_view_op_t *op = sb_view_ops; op->name; op++)
        if (sb_slice_is(name, op->name))
            return op;
    return NULL;
}
