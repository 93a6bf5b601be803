/* SPDX-License-Identifier: Apache-2.0 */
#include "events/view/view_compiler.h"

#include "events/view/view_definition.h"

#include <stdarg.h>
#include <stdio.h>

sb_code_t sb_view_refuse(sb_view_compiler_t *c, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return sb_fail_at(c->err, SB_INVALID, sb_buf_text(&c->pointer), "%s", text);
}

sb_code_t sb_view_refuse_at(sb_view_compiler_t *c, const char *token, const char *text)
{
    size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(token));
    sb_code_t code = sb_view_refuse(c, "%s", text);
    sb_json_pointer_leave(&c->pointer, mark);
    return code;
}

sb_code_t sb_view_no_memory(sb_view_compiler_t *c)
{
    return sb_fail(c->err, SB_NO_MEMORY, "compile a view: out of memory");
}

/* ---- parts of JSON ---- */

bool sb_view_is_one_of(const char *name, const char *const *allowed)
{
    while (*allowed && strcmp(*allowed, name) != 0)
        allowed++;
    return *allowed != NULL;
}

sb_code_t sb_view_only_members(sb_view_compiler_t *c, const json_t *object, const char *const *allowed)
{
    if (!json_is_object(object))
        return sb_view_refuse(c, "must be an object");
    const char *name;
    json_t *value;
    json_object_foreach(
        (json_t *)(uintptr_t)object, name,
        value) if (!sb_view_is_one_of(name, allowed)) return sb_view_refuse_at(c, name, "is not known here");
    return SB_OK;
}

sb_code_t sb_view_text_member(sb_view_compiler_t *c, const json_t *object, const char *name, bool required,
                              const char **out)
{
    const json_t *value = json_object_get(object, name);
    *out = json_string_value(value);
    if (!value && required)
        return sb_view_refuse(c, "\"%s\" is missing", name);
    if (value && !*out)
        return sb_view_refuse_at(c, name, "must be a string");
    return SB_OK;
}

static bool ends_like_a_generation(const char *name)
{
    size_t end = strlen(name);
    size_t at = end;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9')
        at--;
    return at < end && at >= 2 && name[at - 1] == 'g' && name[at - 2] == '_';
}

static bool is_name(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
    return length > 0 && name[length] == '\0' && length <= SB_VIEW_NAME_MAX && name[0] >= 'a';
}

sb_code_t sb_view_name_member(sb_view_compiler_t *c, const json_t *object, const char *member,
                              const char **out)
{
    sb_code_t code = sb_view_text_member(c, object, member, true, out);
    if (code != SB_OK)
        return code;
    if (!*out || !is_name(*out))
        return sb_view_refuse_at(c, member, "must be 1 to 50 of a-z, 0-9 and _, beginning with a letter");
    if (ends_like_a_generation(*out))
        return sb_view_refuse_at(c, member, "must not end like a generation (_g1)");
    return SB_OK;
}
