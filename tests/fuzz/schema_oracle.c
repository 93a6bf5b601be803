/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/schema_oracle.h"

#include "events/schema/schema.h"

#include <stdlib.h>

/* A fraction goes through a double in jansson and comes back with other digits. */
static bool has_fraction(const json_t *value)
{
    const char *name;
    size_t index;
    json_t *child;
    bool found = json_is_real(value);
    json_object_foreach((json_t *)(uintptr_t)value, name, child)
    {
        found = found || has_fraction(child);
    }
    json_array_foreach(value, index, child)
    {
        found = found || has_fraction(child);
    }
    return found;
}

static const char *compare_dumped(const sb_schema_t *schema, sb_slice_t instance, sb_code_t want)
{
    json_t *value = json_loadb(instance.ptr, instance.len,
                               JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    const char *fault = NULL;
    if (value && !has_fraction(value)) {
        sb_buf_t text = SB_BUF_INIT;
        sb_json_dump(value, &text);
        if (sb_schema_validate(schema, sb_buf_slice(&text), NULL) != want)
            fault = "the value written anew has another verdict";
        sb_buf_fini(&text);
    }
    json_decref(value);
    return fault;
}

typedef json_t *(*wrap_fn)(json_t *schema);

static json_t *in_all_of(json_t *schema)
{
    return json_pack("{s:[O,b]}", "allOf", schema, 1);
}

static json_t *negated_twice(json_t *schema)
{
    return json_pack("{s:{s:O}}", "not", "not", schema);
}

static json_t *behind_a_reference(json_t *schema)
{
    return json_pack("{s:s,s:{s:O}}", "$ref", "#/$defs/it", "$defs", "it", schema);
}

/* With what makes no difference around the schema. */
static const char *compare_wrapped(json_t *source, sb_slice_t instance, sb_code_t want, wrap_fn wrap)
{
    json_t *outer = wrap(source);
    sb_schema_t *schema = NULL;
    const char *fault = NULL;
    if (sb_schema_compile(&schema, outer, NULL) != SB_OK)
        fault = "it does not compile in another schema";
    else if (sb_schema_validate(schema, instance, NULL) != want)
        fault = "it has another verdict in another schema";
    sb_schema_free(&schema);
    json_decref(outer);
    return fault;
}

/* References are from the root, so that the schema cannot be moved; and its name is the root's only. */
static bool refers(const json_t *schema)
{
    char *text = json_dumps(schema, JSON_ENCODE_ANY);
    bool found = !text || strstr(text, "$ref") || strstr(text, "$id") || strstr(text, "$anchor");
    free(text);
    return found;
}

const char *sb_schema_differs(sb_slice_t schema_text, sb_slice_t instance, int *verdict)
{
    json_t *source =
        json_loadb(schema_text.ptr, schema_text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
    sb_schema_t *schema = NULL;
    sb_error_t err = SB_ERROR_INIT;
    const char *fault = NULL;
    int said = -1;
    if (source && sb_schema_compile(&schema, source, &err) == SB_OK) {
        sb_code_t code = sb_schema_validate(schema, instance, &err);
        said = code == SB_OK;
        if (code != SB_OK && code != SB_INVALID)
            fault = "neither valid nor invalid";
        if (!fault && code != SB_OK && !sb_json_pointer_ok(sb_slice(err.pointer)))
            fault = strlen(err.pointer) + 1 < sizeof err.pointer ? "the pointer of the error is none" : NULL;
        if (!fault)
            fault = compare_dumped(schema, instance, code);
        static const wrap_fn wraps[] = {in_all_of, negated_twice, behind_a_reference};
        for (size_t i = 0; !fault && !refers(source) && i < sizeof wraps / sizeof *wraps; i++)
            fault = compare_wrapped(source, instance, code, wraps[i]);
    }
    if (verdict)
        *verdict = said;
    sb_schema_free(&schema);
    json_decref(source);
    return fault;
}
