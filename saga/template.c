/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/template.h"

#include "base/json.h"

#include <stdlib.h>

/* Bytes to copy, then a value to look up. */
typedef struct piece {
    size_t literal_at, literal_len;
    bool looks_up;
    sb_reference_t reference;
} piece_t;

struct sb_template {
    sb_buf_t text; /* all literals */
    piece_t *piece;
    size_t count;
};

typedef struct compiler {
    sb_template_t *out;
    const sb_scope_t *scope;
    size_t literal_from;
    sb_buf_t at; /* where we are in the file */
    sb_error_t *err;
} compiler_t;

/* ---- compiling ---- */

static sb_code_t end_piece(compiler_t *c, const sb_reference_t *reference)
{
    sb_template_t *out = c->out;
    piece_t *grown = realloc(out->piece, (out->count + 1) * sizeof *grown);
    if (!grown)
        return sb_fail(c->err, SB_NO_MEMORY, "compile a template: out of memory");
    out->piece = grown;
    grown[out->count++] = (piece_t){c->literal_from, out->text.len - c->literal_from, reference != NULL,
                                    reference ? *reference : (sb_reference_t){0}};
    c->literal_from = out->text.len;
    return SB_OK;
}

static sb_code_t add_string(compiler_t *c, const json_t *value)
{
    sb_slice_t text = {json_string_value(value), json_string_length(value)};
    if (sb_reference_is(text)) {
        sb_reference_t reference;
        sb_code_t code = sb_reference_parse(&reference, text, c->scope, sb_buf_text(&c->at), c->err);
        return code == SB_OK ? end_piece(c, &reference) : code;
    }
    if (sb_slice_starts(text, "$$")) {
        text.ptr++;
        text.len--;
    }
    sb_buf_add_json(&c->out->text, text);
    return SB_OK;
}

static sb_code_t add_value(compiler_t *c, const json_t *value);

static sb_code_t add_object(compiler_t *c, const json_t *object)
{
    const size_t at = c->at.len;
    const char *name, *comma = "{";
    json_t *member;
    sb_code_t code = SB_OK;
    json_object_foreach((json_t *)(uintptr_t)object, name, member)
    {
        sb_buf_add_text(&c->out->text, comma);
        sb_buf_add_json(&c->out->text, sb_slice(name));
        sb_buf_add_char(&c->out->text, ':');
        comma = ",";
        sb_json_pointer_add(&c->at, sb_slice(name));
        code = add_value(c, member);
        if (code != SB_OK)
            return code;
        c->at.len = at;
    }
    sb_buf_add_text(&c->out->text, *comma == '{' ? "{}" : "}");
    return SB_OK;
}

static sb_code_t add_array(compiler_t *c, const json_t *array)
{
    const size_t at = c->at.len;
    sb_buf_add_char(&c->out->text, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            sb_buf_add_char(&c->out->text, ',');
        sb_json_pointer_add_index(&c->at, i);
        sb_code_t code = add_value(c, json_array_get(array, i));
        if (code != SB_OK)
            return code;
        c->at.len = at;
    }
    sb_buf_add_char(&c->out->text, ']');
    return SB_OK;
}

/* Depth is the file's, which sb_json_parse capped. */
static sb_code_t add_value(compiler_t *c, const json_t *value)
{
    if (json_is_object(value))
        return add_object(c, value);
    if (json_is_array(value))
        return add_array(c, value);
    if (json_is_string(value))
        return add_string(c, value);
    sb_json_dump(value, &c->out->text);
    return SB_OK;
}

sb_code_t sb_template_compile(sb_template_t **out, const json_t *body, const sb_scope_t *scope,
                              const char *at, sb_error_t *err)
{
    *out = NULL;
    compiler_t c = {calloc(1, sizeof(sb_template_t)), scope, 0, SB_BUF_INIT, err};
    if (!c.out)
        return sb_fail(err, SB_NO_MEMORY, "compile a template: out of memory");
    sb_buf_add_text(&c.at, at);
    sb_code_t code = add_value(&c, body);
    if (code == SB_OK)
        code = end_piece(&c, NULL);
    if (code == SB_OK && (sb_buf_failed(&c.out->text) || sb_buf_failed(&c.at)))
        code = sb_fail(err, SB_NO_MEMORY, "compile a template: out of memory");
    sb_buf_fini(&c.at);
    if (code == SB_OK)
        *out = c.out;
    else
        sb_template_free(&c.out);
    return code;
}

void sb_template_free(sb_template_t **template)
{
    if (!*template)
        return;
    sb_buf_fini(&(*template)->text);
    free((*template)->piece);
    free(*template);
    *template = NULL;
}

/* ---- checking ---- */

static sb_code_t check_value(const json_t *value, sb_buf_t *at, sb_error_t *err)
{
    const size_t whole = at->len;
    const char *name;
    json_t *member;
    size_t i;
    sb_code_t code = SB_OK;
    if (json_is_string(value)) {
        sb_slice_t text = {json_string_value(value), json_string_length(value)};
        return sb_reference_near_miss(text, sb_buf_text(at), err);
    }
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        sb_json_pointer_add(at, sb_slice(name));
        code = check_value(member, at, err);
        if (code != SB_OK)
            return code;
        at->len = whole;
    }
    json_array_foreach(value, i, member)
    {
        sb_json_pointer_add_index(at, i);
        code = check_value(member, at, err);
        if (code != SB_OK)
            return code;
        at->len = whole;
    }
    return SB_OK;
}

sb_code_t sb_template_check(const json_t *body, const char *at, sb_error_t *err)
{
    sb_buf_t pointer = SB_BUF_INIT;
    sb_buf_add_text(&pointer, at);
    sb_code_t code = check_value(body, &pointer, err);
    if (code == SB_OK && sb_buf_failed(&pointer))
        code = sb_fail(err, SB_NO_MEMORY, "check a template: out of memory");
    sb_buf_fini(&pointer);
    return code;
}

/* ---- filling in ---- */

static sb_code_t absent(const sb_reference_t *reference, sb_error_t *err)
{
    if (reference->source == SB_FROM_INPUT)
        return sb_fail(err, SB_INVALID, "the saga's input has no %.*s", SB_SLICE_ARG(reference->pointer));
    return sb_fail(err, SB_INVALID, "the result of step %d has no %.*s", reference->source + 1,
                   SB_SLICE_ARG(reference->pointer));
}

sb_code_t sb_template_render(const sb_template_t *template, bool lenient, sb_slice_t input,
                             const sb_slice_t *results, sb_buf_t *out, sb_error_t *err)
{
    for (size_t i = 0; i < template->count; i++) {
        const piece_t *piece = &template->piece[i];
        sb_buf_add(out, template->text.ptr + piece->literal_at, piece->literal_len);
        sb_scan_value_t value;
        if (!piece->looks_up)
            continue;
        if (sb_reference_find(&piece->reference, input, results, &value))
            sb_buf_add_slice(out, value.text);
        else if (lenient || piece->reference.optional)
            sb_buf_add(out, "null", 4);
        else
            return absent(&piece->reference, err);
    }
    return SB_OK;
}

sb_code_t sb_template_accepts(const sb_template_t *template, sb_slice_t input, sb_error_t *err)
{
    for (size_t i = 0; i < template->count; i++) {
        const piece_t *piece = &template->piece[i];
        sb_scan_value_t value;
        if (!piece->looks_up || piece->reference.optional || piece->reference.source != SB_FROM_INPUT ||
            sb_reference_find(&piece->reference, input, NULL, &value))
            continue;
        char at[128];
        (void)snprintf(at, sizeof at, "%.*s", SB_SLICE_ARG(piece->reference.pointer));
        return sb_fail_at(err, SB_INVALID, at, "the saga's input must have a value at %s", at);
    }
    return SB_OK;
}
