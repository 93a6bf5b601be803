/* SPDX-License-Identifier: Apache-2.0 */
#include "server/body.h"

#include <stdio.h>
#include <strings.h>

static char kind_letter(sb_scan_kind_t kind)
{
    switch (kind) {
    case SB_SCAN_STRING:
        return 's';
    case SB_SCAN_NUMBER:
        return 'n';
    case SB_SCAN_TRUE:
    case SB_SCAN_FALSE:
        return 'b';
    case SB_SCAN_OBJECT:
        return 'o';
    case SB_SCAN_ARRAY:
        return 'a';
    default:
        return '0';
    }
}

static bool type_is(const sb_request_t *request, const char *type)
{
    size_t length = strcspn(request->content_type, "; ");
    return strlen(type) == length && strncasecmp(type, request->content_type, length) == 0;
}

bool sb_body_is_batch(const sb_request_t *request)
{
    return type_is(request, SB_BODY_BATCH);
}

bool sb_body_is_binary(const sb_request_t *request)
{
    return request->attributes.len > 0 && type_is(request, "application/json");
}

bool sb_body_type_ok(const sb_request_t *request)
{
    static const char *const fine[] = {"application/json", "application/cloudevents+json", SB_BODY_BATCH,
                                       NULL};
    for (int i = 0; fine[i]; i++)
        if (type_is(request, fine[i]))
            return true;
    return false;
}

static sb_code_t refuse_unknown(const sb_member_t *list, const char *pointer, sb_slice_t name,
                                sb_error_t *err)
{
    char known[256] = "";
    size_t at = 0;
    for (int i = 0; list[i].name && at < sizeof known; i++)
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", list[i].name);
    return sb_fail_at(err, SB_INVALID, pointer, "member %.*s is not known; there are: %s", SB_SLICE_ARG(name),
                      known);
}

static sb_code_t refuse_kind(const sb_member_t *member, const char *pointer, sb_error_t *err)
{
    static const struct {
        char letter;
        const char *name;
    } kinds[] = {
        {'s', "a string"}, {'n', "a number"}, {'b', "true or false"}, {'o', "an object"}, {'a', "an array"}};
    char wanted[64] = "";
    for (size_t i = 0, at = 0; i < sizeof kinds / sizeof kinds[0] && at < sizeof wanted; i++)
        if (strchr(member->kinds, kinds[i].letter))
            at += (size_t)snprintf(wanted + at, sizeof wanted - at, "%s%s", at ? " or " : "", kinds[i].name);
    return sb_fail_at(err, SB_INVALID, pointer, "member %s has the wrong JSON type: it must be %s",
                      member->name, wanted);
}

static sb_code_t take_member(sb_member_t *list, sb_slice_t name, const sb_scan_value_t *value,
                             sb_error_t *err)
{
    char pointer[80];
    (void)snprintf(pointer, sizeof pointer, "/%.*s", SB_SLICE_ARG(name));
    int i = 0;
    while (list[i].name && !sb_slice_is(name, list[i].name))
        i++;
    if (!list[i].name)
        return refuse_unknown(list, pointer, name, err);
    if (sb_member_is_there(&list[i]))
        return sb_fail_at(err, SB_INVALID, pointer, "member %s comes twice", list[i].name);
    if (value->kind == SB_SCAN_NULL && list[i].kinds[0] != '*')
        return SB_OK; /* as if it were not there */
    if (list[i].kinds[0] != '*' && !strchr(list[i].kinds, kind_letter(value->kind)))
        return refuse_kind(&list[i], pointer, err);
    list[i].value = *value;
    return SB_OK;
}

sb_code_t sb_body_value(const sb_request_t *request, sb_scan_kind_t kind, sb_slice_t *out, sb_error_t *err)
{
    sb_slice_t body = sb_buf_slice(&request->body);
    size_t bad_at = 0;
    sb_scan_value_t whole;
    if (!sb_scan_valid(body, &bad_at))
        return sb_fail(err, SB_INVALID, "the body is not valid JSON at byte %zu", bad_at);
    if (!sb_scan_at(body, SB_SLICE(""), &whole) || whole.kind != kind)
        return sb_fail(err, SB_INVALID, "the body is not a JSON %s",
                       kind == SB_SCAN_OBJECT ? "object" : "array");
    *out = whole.text;
    return SB_OK;
}

sb_code_t sb_body_read(const sb_request_t *request, sb_member_t *list, sb_error_t *err)
{
    sb_slice_t object = SB_SLICE("");
    sb_code_t code = sb_body_value(request, SB_SCAN_OBJECT, &object, err);
    return code == SB_OK ? sb_body_members(object, list, err) : code;
}

sb_code_t sb_body_members(sb_slice_t object, sb_member_t *list, sb_error_t *err)
{
    size_t at = 0;
    sb_code_t code = SB_OK;
    sb_scan_value_t name, value;
    while (code == SB_OK && sb_scan_next(object, &at, &name, &value)) {
        sb_slice_t bare = {name.text.ptr + 1, name.text.len - 2};
        code = take_member(list, bare, &value, err);
    }
    return code;
}

bool sb_member_is_there(const sb_member_t *member)
{
    return member->value.kind != SB_SCAN_INVALID;
}

sb_slice_t sb_member_text(const sb_member_t *member, sb_buf_t *scratch)
{
    return sb_member_is_there(member) ? sb_scan_string(&member->value, scratch) : SB_SLICE_NONE;
}
