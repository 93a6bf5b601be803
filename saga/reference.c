/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/reference.h"

#include "base/json.h"
#include "base/near.h"

bool sb_reference_is(sb_slice_t text)
{
    return sb_slice_starts(text, "$.") || sb_slice_starts(text, "$?.");
}

static bool skip(sb_slice_t *text, const char *word)
{
    if (!sb_slice_starts(*text, word))
        return false;
    size_t length = strlen(word);
    text->ptr += length;
    text->len -= length;
    return true;
}

/* "$input/id", "$/input/id", "${input.id}". */
static bool is_misspelt(sb_slice_t text)
{
    static const char *const roots[] = {"input", "steps", "step"};
    if (!skip(&text, "$"))
        return false;
    while (text.len > 0 && strchr("?./{", text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    for (size_t i = 0; i < sizeof roots / sizeof *roots; i++)
        if (skip(&text, roots[i]))
            return text.len == 0 || strchr("/.[}", text.ptr[0]);
    return false;
}

static bool holds_one(sb_slice_t text)
{
    static const char *const parts[] = {"$.input/", "$?.input/", "$.steps/", "$?.steps/"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (memmem(text.ptr, text.len, parts[i], strlen(parts[i])))
            return true;
    return false;
}

sb_code_t sb_reference_near_miss(sb_slice_t text, const char *at, sb_error_t *err)
{
    if (sb_reference_is(text) || sb_slice_starts(text, "$$"))
        return SB_OK;
    if (is_misspelt(text))
        return sb_fail_at(
            err, SB_INVALID, at,
            "%.*s is no reference: write $.input/… or $.steps/<step>/result/…, or $$ for a plain $",
            SB_SLICE_ARG(text));
    if (holds_one(text))
        return sb_fail_at(err, SB_INVALID, at,
                          "%.*s: a reference is a whole text, it is not filled in within another; give it a "
                          "member of its own",
                          SB_SLICE_ARG(text));
    return SB_OK;
}

sb_code_t sb_reference_none(sb_slice_t text, const char *at, sb_error_t *err)
{
    if (!is_misspelt(text) && !holds_one(text))
        return SB_OK;
    return sb_fail_at(err, SB_INVALID, at, "%.*s is compared as it stands: a reference cannot be given here",
                      SB_SLICE_ARG(text));
}

static int find_step(const sb_scope_t *scope, sb_slice_t name)
{
    for (int i = 0; i < scope->step_count; i++) {
        if (sb_slice_is(name, scope->step[i]))
            return i;
    }
    return -1;
}

static sb_code_t unknown_step(sb_slice_t name, const sb_scope_t *scope, const char *at, sb_error_t *err)
{
    char meant[49];
    sb_near_t near_name = {NULL, 4};
    (void)snprintf(meant, sizeof meant, "%.*s", SB_SLICE_ARG(name));
    for (int i = 0; i < scope->visible; i++)
        sb_near_offer(&near_name, meant, scope->step[i]);
    if (near_name.word)
        return sb_fail_at(err, SB_INVALID, at, "there is no step %s; did you mean %s?", meant,
                          near_name.word);
    return sb_fail_at(err, SB_INVALID, at, "there is no step %s", meant);
}

/* "<step>/result…" after "steps/". */
static sb_code_t parse_step(sb_reference_t *out, sb_slice_t text, sb_slice_t rest, const sb_scope_t *scope,
                            const char *at, sb_error_t *err)
{
    const char *slash = memchr(rest.ptr, '/', rest.len);
    sb_slice_t name = {rest.ptr, slash ? (size_t)(slash - rest.ptr) : rest.len};
    rest.ptr += name.len;
    rest.len -= name.len;
    out->source = find_step(scope, name);
    if (out->source < 0)
        return unknown_step(name, scope, at, err);
    if (out->source >= scope->visible)
        return sb_fail_at(err, SB_INVALID, at, "%.*s: step %.*s has no result yet, it does not come before",
                          SB_SLICE_ARG(text), SB_SLICE_ARG(name));
    if (!skip(&rest, "/result"))
        return sb_fail_at(err, SB_INVALID, at, "%.*s: only a step's result can be read: $.steps/%.*s/result",
                          SB_SLICE_ARG(text), SB_SLICE_ARG(name));
    if ((scope->uncertain >> out->source & 1u) != 0 && !out->optional)
        return sb_fail_at(err, SB_INVALID, at,
                          "%.*s: step %.*s may be skipped and have no result; read it as optional, with $?.",
                          SB_SLICE_ARG(text), SB_SLICE_ARG(name));
    out->pointer = rest;
    return SB_OK;
}

sb_code_t sb_reference_parse(sb_reference_t *out, sb_slice_t text, const sb_scope_t *scope, const char *at,
                             sb_error_t *err)
{
    sb_slice_t rest = text;
    sb_code_t code = SB_OK;
    *out = (sb_reference_t){SB_FROM_INPUT, skip(&rest, "$?."), SB_SLICE_NONE};
    (void)skip(&rest, "$.");
    if (skip(&rest, "input"))
        out->pointer = rest;
    else if (skip(&rest, "steps/"))
        code = parse_step(out, text, rest, scope, at, err);
    if (code != SB_OK)
        return code;
    if (!out->pointer.ptr || !sb_json_pointer_ok(out->pointer))
        return sb_fail_at(
            err, SB_INVALID, at,
            "%.*s leads nowhere: write $.input/… or $.steps/<step>/result/…, or $$ for a plain $",
            SB_SLICE_ARG(text));
    return SB_OK;
}

bool sb_reference_find(const sb_reference_t *reference, sb_slice_t input, const sb_slice_t *results,
                       sb_scan_value_t *out)
{
    sb_slice_t text = reference->source == SB_FROM_INPUT ? input : results[reference->source];
    return text.ptr && sb_scan_at(text, reference->pointer, out);
}
