/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/scan_oracle.h"

#include "base/scan.h"

#include <jansson.h>
#include <stdlib.h>

static const char *compare(const json_t *want, const sb_scan_value_t *have);

static bool is_same(const sb_scan_value_t *a, const sb_scan_value_t *b)
{
    return a->kind == b->kind && a->escaped == b->escaped && a->text.ptr == b->text.ptr &&
           a->text.len == b->text.len;
}

/* What is known to be valid is passed as it is checked. */
static bool passes_alike(sb_slice_t text, bool object)
{
    sb_scan_value_t name[2], value[2];
    size_t at[2] = {0, 0};
    bool more = true, alike = true;
    while (more && alike) {
        more = sb_scan_next(text, &at[0], &name[0], &value[0]);
        alike = sb_scan_next_valid(text, &at[1], &name[1], &value[1]) == more && at[0] == at[1] &&
                (!more || (is_same(&value[0], &value[1]) && (!object || is_same(&name[0], &name[1]))));
    }
    return alike;
}

static const char *compare_object(const json_t *want, const sb_scan_value_t *have)
{
    sb_scan_value_t name, value;
    sb_buf_t key = SB_BUF_INIT;
    size_t at = 0;
    size_t count = 0;
    while (sb_scan_next(have->text, &at, &name, &value))
        count++;
    if (at == SIZE_MAX)
        return "an object's members";
    if (!passes_alike(have->text, true))
        return "members, passed unchecked";
    if (count != json_object_size(want)) /* duplicates: the last one counts for jansson, the first for us */
        return count < json_object_size(want) ? "the number of members" : NULL;
    const char *fault = NULL;
    at = 0;
    while (!fault && sb_scan_next(have->text, &at, &name, &value)) {
        sb_slice_t text = sb_scan_string(&name, &key);
        sb_scan_value_t found;
        sb_buf_t terminated = SB_BUF_INIT;
        sb_buf_add_slice(&terminated, text);
        const json_t *member = json_object_get(want, sb_buf_text(&terminated));
        if (!member)
            fault = "a member's name";
        else if (!sb_scan_field(have->text, sb_buf_text(&terminated), &found) ||
                 found.text.ptr != value.text.ptr)
            fault = "a field by name";
        else
            fault = compare(member, &value);
        sb_buf_fini(&terminated);
    }
    sb_buf_fini(&key);
    return fault;
}

static const char *compare_array(const json_t *want, const sb_scan_value_t *have)
{
    sb_scan_value_t name, value;
    size_t at = 0;
    size_t index = 0;
    const char *fault = NULL;
    while (!fault && sb_scan_next(have->text, &at, &name, &value))
        fault = index < json_array_size(want) ? compare(json_array_get(want, index++), &value)
                                              : "the number of items";
    if (!fault && (at == SIZE_MAX || index != json_array_size(want)))
        fault = "the items of an array";
    if (!fault && !passes_alike(have->text, false))
        fault = "items, passed unchecked";
    return fault;
}

static const char *compare_string(const json_t *want, const sb_scan_value_t *have)
{
    sb_buf_t scratch = SB_BUF_INIT;
    sb_slice_t text = sb_scan_string(have, &scratch);
    sb_slice_t expected = {json_string_value(want), json_string_length(want)};
    bool same = text.ptr && sb_slice_equal(text, expected);
    sb_buf_fini(&scratch);
    return same ? NULL : "a string's value";
}

static const char *compare_number(const json_t *want, const sb_scan_value_t *have)
{
    int64_t integer;
    double real;
    bool is_integer = sb_scan_int64(have, &integer);
    if (is_integer != json_is_integer(want) || (is_integer && integer != json_integer_value(want)))
        return "an integer";
    if (!sb_scan_double(have, &real) || memcmp(&real, &(double){json_number_value(want)}, sizeof real) != 0)
        return is_integer ? NULL : "a real number"; /* -0 and integers beyond 2^53 */
    return NULL;
}

static const char *compare(const json_t *want, const sb_scan_value_t *have)
{
    switch (have->kind) {
    case SB_SCAN_OBJECT:
        return json_is_object(want) ? compare_object(want, have) : "kind: object";
    case SB_SCAN_ARRAY:
        return json_is_array(want) ? compare_array(want, have) : "kind: array";
    case SB_SCAN_STRING:
        return json_is_string(want) ? compare_string(want, have) : "kind: string";
    case SB_SCAN_NUMBER:
        return json_is_number(want) ? compare_number(want, have) : "kind: number";
    case SB_SCAN_TRUE:
        return json_is_true(want) ? NULL : "kind: true";
    case SB_SCAN_FALSE:
        return json_is_false(want) ? NULL : "kind: false";
    case SB_SCAN_NULL:
        return json_is_null(want) ? NULL : "kind: null";
    case SB_SCAN_INVALID:
        break;
    }
    return "kind: invalid";
}

static int depth_of(const json_t *value)
{
    int deepest = 0;
    const char *key;
    size_t index;
    json_t *child;
    json_object_foreach((json_t *)(uintptr_t)value, key, child)
    {
        int depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    json_array_foreach(value, index, child)
    {
        int depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + (json_is_object(value) || json_is_array(value));
}

const char *sb_scan_differs(sb_slice_t text, bool *valid)
{
    json_error_t err;
    size_t bad_at = SIZE_MAX;
    bool scanned = sb_scan_valid(text, &bad_at);
    if (valid)
        *valid = scanned;
    if (!scanned && bad_at > text.len)
        return "the offset of the fault";
    if (text.len > 0 && memchr(text.ptr, '\0', text.len)) /* jansson swallows one after a number */
        return scanned ? "the scanner takes a NUL" : NULL;
    json_t *tree = json_loadb(text.ptr, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &err);
    sb_scan_value_t root;
    const char *fault = NULL;
    if (!tree) {
        enum json_error_code code = json_error_code(&err);
        bool own_limit = code == json_error_numeric_overflow || code == json_error_null_byte_in_key ||
                         code == json_error_stack_overflow;
        return scanned && !own_limit ? "the scanner takes what jansson refuses" : NULL;
    }
    if (!scanned)
        fault = depth_of(tree) > SB_SCAN_DEPTH_MAX ? NULL : "the scanner refuses what jansson takes";
    else if (!sb_scan_at(text, SB_SLICE_NONE, &root))
        fault = "the whole value";
    else
        fault = compare(tree, &root);
    json_decref(tree);
    return fault;
}
