/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/condition.h"

#include <stdlib.h>

typedef enum operator_kind {
    OP_EQUAL,
    OP_DIFFERENT,
    OP_BELOW,
    OP_AT_MOST,
    OP_ABOVE,
    OP_AT_LEAST,
    OP_IN,
    OP_EXISTS,
    OP_ABSENT,
    OP_COUNT
} operator_kind_t;

static const char *const operator_text[OP_COUNT] = {"==", "!=", "<",      "<=",    ">",
                                                    ">=", "in", "exists", "absent"};

struct sb_condition {
    sb_reference_t reference;
    operator_kind_t op;
    const json_t *value; /* borrowed; an array for `in` */
};

/* ---- compiling ---- */

static bool is_scalar(const json_t *value)
{
    return value && !json_is_object(value) && !json_is_array(value);
}

static bool is_scalar_list(const json_t *value)
{
    bool all = json_is_array(value) && json_array_size(value) > 0;
    for (size_t i = 0; all && i < json_array_size(value); i++)
        all = is_scalar(json_array_get(value, i));
    return all;
}

static bool find_operator(const char *text, operator_kind_t *out)
{
    for (int i = 0; text && i < OP_COUNT; i++) {
        if (strcmp(text, operator_text[i]) == 0) {
            *out = (operator_kind_t)i;
            return true;
        }
    }
    return false;
}

static sb_code_t check_value(const sb_condition_t *condition, const char *at, sb_error_t *err)
{
    const char *op = operator_text[condition->op];
    if (condition->op == OP_EXISTS || condition->op == OP_ABSENT)
        return condition->value ? sb_fail_at(err, SB_INVALID, at, "%s takes no value", op) : SB_OK;
    if (condition->op == OP_IN)
        return is_scalar_list(condition->value)
                   ? SB_OK
                   : sb_fail_at(err, SB_INVALID, at,
                                "in needs a list of values: numbers, texts, true, false");
    return is_scalar(condition->value)
               ? SB_OK
               : sb_fail_at(err, SB_INVALID, at, "%s needs a value: a number, a text, true, false or null",
                            op);
}

static sb_code_t check_members(const json_t *body, const char *at, sb_error_t *err)
{
    const char *name;
    json_t *member;
    if (!json_is_object(body))
        return sb_fail_at(err, SB_INVALID, at, "a condition is an object: pointer, operator, value");
    json_object_foreach((json_t *)(uintptr_t)body, name, member)
    {
        if (strcmp(name, "pointer") != 0 && strcmp(name, "operator") != 0 && strcmp(name, "value") != 0)
            return sb_fail_at(err, SB_INVALID, at, "a condition has pointer, operator and value, not %s",
                              name);
    }
    return SB_OK;
}

static sb_code_t read_condition(sb_condition_t *out, const json_t *body, const sb_scope_t *scope,
                                const char *at, sb_error_t *err)
{
    sb_code_t code = check_members(body, at, err);
    if (code != SB_OK)
        return code;
    const json_t *pointer = json_object_get(body, "pointer");
    sb_slice_t text = {json_string_value(pointer), json_string_length(pointer)};
    if (!text.ptr || !sb_reference_is(text))
        return sb_fail_at(err, SB_INVALID, at, "pointer must be $.input/… or $.steps/<step>/result/…");
    code = sb_reference_parse(&out->reference, text, scope, at, err);
    if (code != SB_OK)
        return code;
    if (!find_operator(json_string_value(json_object_get(body, "operator")), &out->op))
        return sb_fail_at(err, SB_INVALID, at,
                          "operator must be one of ==, !=, <, <=, >, >=, in, exists, absent");
    out->value = json_object_get(body, "value");
    return check_value(out, at, err);
}

sb_code_t sb_condition_compile(sb_condition_t **out, const json_t *body, const sb_scope_t *scope,
                               const char *at, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return sb_fail(err, SB_NO_MEMORY, "compile a condition: out of memory");
    sb_scope_t lenient = *scope; /* an absent value is an answer here */
    lenient.uncertain = 0;
    sb_code_t code = read_condition(*out, body, &lenient, at, err);
    if (code != SB_OK)
        sb_condition_free(out);
    return code;
}

void sb_condition_free(sb_condition_t **condition)
{
    free(*condition);
    *condition = NULL;
}

/* ---- judging ---- */

typedef enum order { ORDER_LESS, ORDER_SAME, ORDER_MORE, ORDER_NONE } order_t;

static order_t order_of(int sign)
{
    return sign < 0 ? ORDER_LESS : sign > 0 ? ORDER_MORE : ORDER_SAME;
}

static order_t compare_numbers(const sb_scan_value_t *found, const json_t *value)
{
    int64_t whole;
    if (json_is_integer(value) && sb_scan_int64(found, &whole)) {
        int64_t other = json_integer_value(value);
        return order_of((whole > other) - (whole < other));
    }
    double number, other = json_number_value(value);
    if (!sb_scan_double(found, &number))
        return ORDER_NONE;
    return order_of((number > other) - (number < other));
}

static order_t compare_texts(sb_slice_t a, sb_slice_t b)
{
    size_t shorter = a.len < b.len ? a.len : b.len;
    int sign = shorter > 0 ? memcmp(a.ptr, b.ptr, shorter) : 0;
    return order_of(sign != 0 ? sign : (a.len > b.len) - (a.len < b.len));
}

static order_t compare(const sb_scan_value_t *found, const json_t *value, sb_buf_t *scratch)
{
    switch (json_typeof(value)) {
    case JSON_INTEGER:
    case JSON_REAL:
        return found->kind == SB_SCAN_NUMBER ? compare_numbers(found, value) : ORDER_NONE;
    case JSON_STRING:
        if (found->kind != SB_SCAN_STRING)
            return ORDER_NONE;
        return compare_texts(sb_scan_string(found, scratch),
                             (sb_slice_t){json_string_value(value), json_string_length(value)});
    case JSON_TRUE:
        return found->kind == SB_SCAN_TRUE ? ORDER_SAME : ORDER_NONE;
    case JSON_FALSE:
        return found->kind == SB_SCAN_FALSE ? ORDER_SAME : ORDER_NONE;
    case JSON_NULL:
        return found->kind == SB_SCAN_NULL ? ORDER_SAME : ORDER_NONE;
    default:
        return ORDER_NONE;
    }
}

static bool is_among(const sb_scan_value_t *found, const json_t *list, sb_buf_t *scratch)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        sb_buf_reset(scratch);
        if (compare(found, json_array_get(list, i), scratch) == ORDER_SAME)
            return true;
    }
    return false;
}

static bool judge(operator_kind_t op, order_t order)
{
    switch (op) {
    case OP_EQUAL:
        return order == ORDER_SAME;
    case OP_DIFFERENT:
        return order != ORDER_SAME;
    case OP_BELOW:
        return order == ORDER_LESS;
    case OP_AT_MOST:
        return order == ORDER_LESS || order == ORDER_SAME;
    case OP_ABOVE:
        return order == ORDER_MORE;
    case OP_AT_LEAST:
        return order == ORDER_MORE || order == ORDER_SAME;
    default:
        return false;
    }
}

sb_code_t sb_condition_holds(const sb_condition_t *condition, sb_slice_t input, const sb_slice_t *results,
                             bool *holds, sb_error_t *err)
{
    sb_scan_value_t found;
    bool there = sb_reference_find(&condition->reference, input, results, &found);
    sb_buf_t scratch = SB_BUF_INIT;
    if (condition->op == OP_EXISTS || condition->op == OP_ABSENT)
        *holds = there == (condition->op == OP_EXISTS);
    else if (condition->op == OP_IN)
        *holds = there && is_among(&found, condition->value, &scratch);
    else
        *holds = judge(condition->op, there ? compare(&found, condition->value, &scratch) : ORDER_NONE);
    bool failed = sb_buf_failed(&scratch);
    sb_buf_fini(&scratch);
    return failed ? sb_fail(err, SB_NO_MEMORY, "judge a condition: out of memory") : SB_OK;
}
