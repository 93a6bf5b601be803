/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_op.h"

#include "base/clock.h"
#include "events/view/view_decimal.h"

#include <inttypes.h>
#include <stdio.h>

/* PostgreSQL counts days from 2000-01-01. */
#define POSTGRES_DAYS 10957

const sb_view_type_row_t sb_view_types[SB_VIEW_TYPES] = {
    [SB_VIEW_TEXT] = {"text", SB_PG_TEXT, "", "", "", true, true},
    [SB_VIEW_INT4] = {"int4", SB_PG_INT4, "", "", "", false, false},
    [SB_VIEW_INT8] = {"int8", SB_PG_INT8, "", "", "", false, true},
    [SB_VIEW_BOOL] = {"bool", SB_PG_BOOL, "", "", "", false, false},
    [SB_VIEW_TIMESTAMPTZ] = {"timestamptz", SB_PG_TIMESTAMPTZ, "", "", "", false, false},
    [SB_VIEW_JSONB] = {"jsonb", SB_PG_TEXT, "::jsonb", "::text", "::jsonb", true, false},
    [SB_VIEW_NUMERIC] = {"numeric", SB_PG_TEXT, "::numeric", "::text", "::numeric", true, false},
    [SB_VIEW_DATE] = {"date", SB_PG_DATE, "", "", "", false, true},
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

#define FIRST_DAY (-719162) /* 0001-01-01 */
#define LAST_DAY  2932896   /* 9999-12-31 */
#define DAY_US    INT64_C(86400000000)

bool sb_view_value_fits(sb_view_type_t type, const sb_view_value_t *value, const char **problem)
{
    int64_t integer = value->integer;
    bool in_years = true;
    if (type == SB_VIEW_DATE)
        in_years = integer >= FIRST_DAY && integer <= LAST_DAY;
    else if (type == SB_VIEW_TIMESTAMPTZ)
        in_years = integer >= FIRST_DAY * DAY_US && integer < (LAST_DAY + 1) * DAY_US;
    *problem = in_years ? "is not an integer of 32 bits" : "is outside the years 1 to 9999";
    return value->is_null || (in_years && fits(type, integer));
}

/* A number as it is written, or a string that holds one: what lies between the event's bytes and the column
 * is never a double. */
static bool scan_numeric(sb_view_bounds_t bounds, const sb_scan_value_t *json, sb_buf_t *scratch,
                         sb_view_value_t *value, const char **problem)
{
    sb_view_wide_t number;
    sb_slice_t text = json->text;
    *problem = "is not a decimal number";
    if (json->kind == SB_SCAN_STRING)
        text = (sb_slice_t){text.ptr + 1, text.len - 2};
    else if (json->kind != SB_SCAN_NUMBER)
        return false;
    if (!sb_view_decimal_read(text, bounds.precision, bounds.scale, &number, problem))
        return false;
    sb_view_decimal_write(number, bounds.scale, scratch);
    value->bytes = sb_buf_slice(scratch);
    *problem = "does not fit in memory";
    return !sb_buf_failed(scratch);
}

bool sb_view_value_scan(sb_view_type_t type, sb_view_bounds_t bounds, const sb_scan_value_t *json,
                        sb_buf_t *scratch, sb_view_value_t *value, const char **problem)
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
               sb_time_parse(value->bytes, &value->integer) && sb_view_value_fits(type, value, problem);
    case SB_VIEW_JSONB:
        value->bytes = json->text;
        return escapes_ok(json->text, problem) && numbers_ok(json->text, problem);
    case SB_VIEW_NUMERIC:
        sb_buf_reset(scratch);
        return scan_numeric(bounds, json, scratch, value, problem);
    case SB_VIEW_DATE:
        *problem = "is not a date (2026-11-21)";
        sb_buf_reset(scratch);
        return json->kind == SB_SCAN_STRING && scan_text(json, scratch, value, problem) &&
               sb_view_date_parse(value->bytes, &value->integer);
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

/* What some column of 38 digits can hold, wherever its point is: a cursor is such a value. */
static bool parse_numeric(sb_slice_t text)
{
    sb_view_wide_t number;
    const char *problem;
    bool fits = false;
    for (int scale = 0; scale <= SB_VIEW_DECIMAL_DIGITS && !fits; scale++)
        fits = sb_view_decimal_read(text, SB_VIEW_DECIMAL_DIGITS, scale, &number, &problem);
    return fits;
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
    case SB_VIEW_NUMERIC:
        return parse_numeric(text);
    case SB_VIEW_DATE:
        return sb_view_date_parse(text, &value->integer);
    case SB_VIEW_JSONB:
    case SB_VIEW_TYPES:
        break;
    }
    return false;
}

/* ---- dates ---- */

static int digits_at(sb_slice_t text, size_t from, size_t count)
{
    int value = 0;
    for (size_t i = from; i < from + count; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        value = value * 10 + (text.ptr[i] - '0');
    }
    return value;
}

bool sb_view_date_parse(sb_slice_t text, int64_t *days)
{
    if (text.len != 10 || text.ptr[4] != '-' || text.ptr[7] != '-')
        return false;
    int year = digits_at(text, 0, 4);
    int month = digits_at(text, 5, 2);
    int day = digits_at(text, 8, 2);
    if (year < 1 || month < 1 || month > 12 || day < 1)
        return false;
    int64_t made = sb_date_day((sb_date_t){year, month, day});
    sb_date_t same = sb_date_of(made);
    *days = made;
    return same.month == month && same.day == day; /* there is no 30th of February */
}

char *sb_view_date_format(int64_t days, char text[SB_VIEW_DATE_TEXT])
{
    sb_date_t date = sb_date_of(days);
    (void)snprintf(text, SB_VIEW_DATE_TEXT, "%04d-%02d-%02d", (int)(date.year % 10000), date.month, date.day);
    return text;
}

/* ---- out ---- */

void sb_view_value_text(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out)
{
    char text[SB_TIME_TEXT];
    if (sb_view_types[type].is_bytes)
        sb_buf_add_slice(out, value->bytes);
    else if (type == SB_VIEW_BOOL)
        sb_buf_add_text(out, value->integer ? "true" : "false");
    else if (type == SB_VIEW_TIMESTAMPTZ)
        sb_buf_add_text(out, sb_time_format(value->integer, text));
    else if (type == SB_VIEW_DATE)
        sb_buf_add_text(out, sb_view_date_format(value->integer, text));
    else
        sb_buf_printf(out, "%" PRId64, value->integer);
}

/* A numeric is a string in JSON, because what reads JSON mostly makes a double of a number. */
void sb_view_value_json(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *out)
{
    bool quoted = type == SB_VIEW_TIMESTAMPTZ || type == SB_VIEW_DATE || type == SB_VIEW_NUMERIC;
    if (value->is_null) {
        sb_buf_add_text(out, "null");
    } else if (type == SB_VIEW_TEXT) {
        sb_buf_add_json(out, value->bytes);
    } else {
        if (quoted)
            sb_buf_add_char(out, '"');
        sb_view_value_text(type, value, out);
        if (quoted)
            sb_buf_add_char(out, '"');
    }
}

void sb_view_value_put(sb_view_type_t type, const sb_view_value_t *value, sb_pg_array_t *array)
{
    if (value->is_null)
        sb_pg_array_add_null(array);
    else if (sb_view_types[type].is_bytes)
        sb_pg_array_add_slice(array, value->bytes);
    else if (type == SB_VIEW_INT8)
        sb_pg_array_add_int8(array, value->integer);
    else if (type == SB_VIEW_INT4)
        sb_pg_array_add_int4(array, (int32_t)value->integer);
    else if (type == SB_VIEW_DATE)
        sb_pg_array_add_int4(array, (int32_t)(value->integer - POSTGRES_DAYS));
    else if (type == SB_VIEW_BOOL)
        sb_pg_array_add_bool(array, value->integer != 0);
    else
        sb_pg_array_add_time(array, value->integer);
}

void sb_view_value_add(sb_view_type_t type, const sb_view_value_t *value, sb_pg_params_t *params)
{
    if (sb_view_types[type].is_bytes)
        sb_pg_add_slice(params, value->bytes);
    else if (type == SB_VIEW_INT8)
        sb_pg_add_int8(params, value->integer);
    else if (type == SB_VIEW_INT4)
        sb_pg_add_int4(params, (int32_t)value->integer);
    else if (type == SB_VIEW_DATE)
        sb_pg_add_date(params, (int32_t)(value->integer - POSTGRES_DAYS));
    else if (type == SB_VIEW_BOOL)
        sb_pg_add_bool(params, value->integer != 0);
    else
        sb_pg_add_time(params, value->integer);
}

void sb_view_value_copy(sb_view_type_t type, const sb_view_value_t *value, sb_buf_t *rows)
{
    static const char jsonb_version = 1;
    if (value->is_null) {
        sb_pg_copy_null(rows);
    } else if (type == SB_VIEW_JSONB) {
        sb_buf_add_be32(rows, (uint32_t)value->bytes.len + 1);
        sb_buf_add(rows, &jsonb_version, 1);
        sb_buf_add_slice(rows, value->bytes);
    } else if (type == SB_VIEW_NUMERIC) {
        sb_view_decimal_copy(value->bytes, rows);
    } else if (sb_view_types[type].is_bytes) {
        sb_pg_copy_bytes(rows, value->bytes);
    } else if (type == SB_VIEW_INT8) {
        sb_pg_copy_int8(rows, value->integer);
    } else if (type == SB_VIEW_INT4) {
        sb_pg_copy_int4(rows, (int32_t)value->integer);
    } else if (type == SB_VIEW_DATE) {
        sb_pg_copy_int4(rows, (int32_t)(value->integer - POSTGRES_DAYS));
    } else if (type == SB_VIEW_BOOL) {
        sb_pg_copy_bool(rows, value->integer != 0);
    } else {
        sb_pg_copy_time(rows, value->integer);
    }
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
    else if (type == SB_VIEW_DATE)
        value.integer = sb_pg_read_int(sb_pg_get_slice(result, row, column)) + POSTGRES_DAYS;
    else
        value.integer = sb_pg_get_int(result, row, column);
    return value;
}

static sb_view_wide_t wide_of(sb_slice_t text, sb_view_bounds_t bounds)
{
    sb_view_wide_t number = 0;
    const char *problem;
    (void)sb_view_decimal_read(text, SB_VIEW_DECIMAL_DIGITS, bounds.scale, &number, &problem);
    return number;
}

/* Of two texts with the same number of decimals the longer one is further from zero. */
static int compare_numeric(sb_slice_t a, sb_slice_t b)
{
    bool negative = a.ptr[0] == '-';
    if (negative != (b.ptr[0] == '-'))
        return negative ? -1 : 1;
    int order = a.len != b.len ? (a.len < b.len ? -1 : 1) : memcmp(a.ptr, b.ptr, a.len);
    order = (order > 0) - (order < 0);
    return negative ? -order : order;
}

int sb_view_value_compare(sb_view_type_t type, const sb_view_value_t *a, const sb_view_value_t *b)
{
    if (!sb_view_types[type].is_bytes)
        return (a->integer > b->integer) - (a->integer < b->integer);
    if (type == SB_VIEW_NUMERIC)
        return compare_numeric(a->bytes, b->bytes);
    size_t common = a->bytes.len < b->bytes.len ? a->bytes.len : b->bytes.len;
    int order = common ? memcmp(a->bytes.ptr, b->bytes.ptr, common) : 0;
    if (order == 0)
        order = (a->bytes.len > b->bytes.len) - (a->bytes.len < b->bytes.len);
    return (order > 0) - (order < 0);
}

/* ---- operations ---- */

static bool op_set(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)work;
    (void)present;
    (void)problem;
    *next = *operand;
    return true;
}

static bool add_numeric(const sb_view_work_t *work, const sb_view_value_t *present,
                        const sb_view_value_t *operand, int sign, sb_view_value_t *next, const char **problem)
{
    sb_view_wide_t sum;
    sb_view_wide_t base = present->is_null ? 0 : wide_of(present->bytes, work->bounds);
    *problem = "overflows its column";
    if (!sb_view_decimal_add(base, wide_of(operand->bytes, work->bounds), sign, work->bounds.precision, &sum))
        return false;
    sb_buf_reset(work->scratch);
    sb_view_decimal_write(sum, work->bounds.scale, work->scratch);
    *next = (sb_view_value_t){false, 0, sb_buf_slice(work->scratch)};
    return !sb_buf_failed(work->scratch);
}

/* A sum with NULL on one side is the other side: nothing was added yet, or there is nothing to add. */
static bool add_signed(const sb_view_work_t *work, const sb_view_value_t *present,
                       const sb_view_value_t *operand, int sign, sb_view_value_t *next, const char **problem)
{
    int64_t base = present->is_null ? 0 : present->integer;
    *next = *present;
    if (operand->is_null)
        return true;
    if (work->type == SB_VIEW_NUMERIC)
        return add_numeric(work, present, operand, sign, next, problem);
    next->is_null = false;
    bool over = sign > 0 ? __builtin_add_overflow(base, operand->integer, &next->integer)
                         : __builtin_sub_overflow(base, operand->integer, &next->integer);
    *problem = "overflows its column";
    return !over && fits(work->type, next->integer);
}

static bool op_add(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    return add_signed(work, present, operand, 1, next, problem);
}

static bool op_sub(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    return add_signed(work, present, operand, -1, next, problem);
}

static bool op_count(const sb_view_work_t *work, const sb_view_value_t *present,
                     const sb_view_value_t *operand, sb_view_value_t *next, const char **problem)
{
    (void)operand;
    const sb_view_value_t one = {false, 1, {NULL, 0}};
    return add_signed(work, present, &one, 1, next, problem);
}

static bool keep_extreme(const sb_view_work_t *work, const sb_view_value_t *present,
                         const sb_view_value_t *operand, int sign, sb_view_value_t *next)
{
    bool takes = !operand->is_null &&
                 (present->is_null || sb_view_value_compare(work->type, operand, present) * sign > 0);
    *next = takes ? *operand : *present;
    return true;
}

static bool op_min(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)problem;
    return keep_extreme(work, present, operand, -1, next);
}

static bool op_max(const sb_view_work_t *work, const sb_view_value_t *present, const sb_view_value_t *operand,
                   sb_view_value_t *next, const char **problem)
{
    (void)problem;
    return keep_extreme(work, present, operand, 1, next);
}

/* Counts the items of an array, and finds where the ones behind the first `passed` begin. */
static int count_items(sb_slice_t array, int passed, const char **from)
{
    size_t at = 0;
    sb_scan_value_t name;
    sb_scan_value_t item;
    int count = 0;
    *from = NULL;
    while (sb_scan_next(array, &at, &name, &item))
        if (count++ == passed)
            *from = item.text.ptr;
    return count;
}

/* Adds to the end of an array; the oldest items make room. The bounds are of what events say, not of the
 * array's own bytes: these differ between what was folded in memory and what PostgreSQL prints. */
static bool op_append(const sb_view_work_t *work, const sb_view_value_t *present,
                      const sb_view_value_t *operand, sb_view_value_t *next, const char **problem)
{
    static const sb_view_value_t none = {false, 0, {"[]", 2}};
    sb_slice_t array = present->is_null ? none.bytes : present->bytes;
    const char *from = NULL;
    *problem = "is not an array";
    if (array.len < 2 || array.ptr[0] != '[')
        return false;
    *problem = "takes a longer text than an item may have";
    if (operand->bytes.len > SB_VIEW_ITEM_BYTES_MAX)
        return false;
    int count = count_items(array, 0, &from);
    if (count >= work->bounds.items)
        (void)count_items(array, count - work->bounds.items + 1, &from);
    sb_buf_reset(work->scratch);
    sb_buf_add_char(work->scratch, '[');
    if (from) {
        sb_buf_add(work->scratch, from, (size_t)(array.ptr + array.len - 1 - from));
        sb_buf_add_text(work->scratch, ", ");
    }
    sb_buf_add_slice(work->scratch, operand->is_null ? SB_SLICE("null") : operand->bytes);
    sb_buf_add_char(work->scratch, ']');
    *next = (sb_view_value_t){false, 0, sb_buf_slice(work->scratch)};
    *problem = "does not fit in memory";
    return !sb_buf_failed(work->scratch);
}

#define BIT(type) (1u << (type))
#define ANY_TYPE  (BIT(SB_VIEW_TYPES) - 1)
#define INTEGERS  (BIT(SB_VIEW_INT4) | BIT(SB_VIEW_INT8))
#define NUMBERS   (INTEGERS | BIT(SB_VIEW_NUMERIC))
#define ORDERED   (NUMBERS | BIT(SB_VIEW_TEXT) | BIT(SB_VIEW_TIMESTAMPTZ) | BIT(SB_VIEW_DATE))

const sb_view_op_t sb_view_ops[] = {
    {"set", true, false, ANY_TYPE, op_set},
    {"add", true, false, NUMBERS, op_add},
    {"sub", true, false, NUMBERS, op_sub},
    {"count", false, false, INTEGERS, op_count},
    {"min", true, false, ORDERED, op_min},
    {"max", true, false, ORDERED, op_max},
    {"append", true, true, BIT(SB_VIEW_JSONB), op_append},
    {NULL, false, false, 0, NULL},
};

const sb_view_op_t *sb_view_op_named(sb_slice_t name)
{
    for (const sb_view_op_t *op = sb_view_ops; op->name; op++)
        if (sb_slice_is(name, op->name))
            return op;
    return NULL;
}
