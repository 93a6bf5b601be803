/* The identity of a JSON value, for enum, const and uniqueItems: SHA-256 over a spelling that equal values
 * share. Members are summed, so that their order does not count and nothing needs sorting.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/schema_internal.h"

sb_scan_value_t schema_scan_value(sb_slice_t text)
{
    sb_scan_value_t value = {SB_SCAN_NUMBER, text, false};
    switch (text.len ? text.ptr[0] : '\0') {
    case '"':
        value.kind = SB_SCAN_STRING;
        value.escaped = memchr(text.ptr, '\\', text.len) != NULL;
        break;
    case '{':
        value.kind = SB_SCAN_OBJECT;
        break;
    case '[':
        value.kind = SB_SCAN_ARRAY;
        break;
    case 't':
        value.kind = SB_SCAN_TRUE;
        break;
    case 'f':
        value.kind = SB_SCAN_FALSE;
        break;
    case 'n':
        value.kind = SB_SCAN_NULL;
        break;
    default:
        break;
    }
    return value;
}

static bool digest_of(const sb_buf_t *spelling, sb_hash_t *out)
{
    sb_hash_bytes(sb_buf_slice(spelling), out);
    return !sb_buf_failed(spelling);
}

static void spell_string(const sb_scan_value_t *value, sb_buf_t *spelling)
{
    sb_buf_t scratch = SB_BUF_INIT;
    sb_buf_add_char(spelling, 's');
    sb_buf_add_slice(spelling, sb_scan_string(value, &scratch));
    spelling->failed |= sb_buf_failed(&scratch);
    sb_buf_fini(&scratch);
}

static void add_to_sum(sb_hash_t *sum, const sb_hash_t *more)
{
    unsigned carry = 0;
    for (int i = SB_HASH_BYTES - 1; i >= 0; i--) {
        carry += (unsigned)sum->byte[i] + more->byte[i];
        sum->byte[i] = (uint8_t)carry;
        carry >>= 8;
    }
}

static bool digest_member(const sb_scan_value_t *name, const sb_scan_value_t *value, sb_hash_t *out)
{
    sb_buf_t spelling = SB_BUF_INIT;
    sb_hash_t of_value;
    bool ok = schema_digest(value, &of_value);
    sb_buf_add(&spelling, of_value.byte, sizeof of_value.byte);
    spell_string(name, &spelling);
    ok = digest_of(&spelling, out) && ok;
    sb_buf_fini(&spelling);
    return ok;
}

static bool spell_container(const sb_scan_value_t *value, sb_buf_t *spelling)
{
    bool is_object = value->kind == SB_SCAN_OBJECT;
    sb_hash_t sum = {{0}};
    sb_scan_value_t name, item;
    bool ok = true;
    sb_buf_add_char(spelling, is_object ? 'o' : 'a');
    for (size_t at = 0; ok && sb_scan_next(value->text, &at, &name, &item);) {
        sb_hash_t one;
        ok = is_object ? digest_member(&name, &item, &one) : schema_digest(&item, &one);
        if (is_object)
            add_to_sum(&sum, &one);
        else
            sb_buf_add(spelling, one.byte, sizeof one.byte);
    }
    if (is_object)
        sb_buf_add(spelling, sum.byte, sizeof sum.byte);
    return ok;
}

bool schema_digest(const sb_scan_value_t *value, sb_hash_t *out)
{
    sb_buf_t spelling = SB_BUF_INIT;
    bool ok = true;
    if (value->kind == SB_SCAN_STRING) {
        spell_string(value, &spelling);
    } else if (value->kind == SB_SCAN_NUMBER) {
        sb_decimal_t number = sb_decimal(value->text);
        sb_decimal_write(&number, &spelling);
    } else if (value->kind == SB_SCAN_ARRAY || value->kind == SB_SCAN_OBJECT) {
        ok = spell_container(value, &spelling);
    } else {
        sb_buf_add_slice(&spelling, value->text);
    }
    ok = digest_of(&spelling, out) && ok;
    sb_buf_fini(&spelling);
    return ok;
}
