/* Compiles what a version declares under x-upcast. Each operation is an object with one member, its name.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/schema_internal.h"
#include "events/schema/upcast_internal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct reader {
    int op; /* index in the declaration */
    const char *name;
    sb_error_t *err;
} reader_t;

static sb_code_t refuse(const reader_t *reader, const char *member, const char *why)
{
    char pointer[96];
    (void)snprintf(pointer, sizeof pointer, "/%d/%.40s%s%s", reader->op, reader->name, member[0] ? "/" : "",
                   member);
    return sb_fail_at(reader->err, SB_INVALID, pointer, "%s", why);
}

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "compile an upcast: out of memory");
}

/* ---- pointers ---- */

/* The token from *at on, which is moved past it, unescaped. */
static void add_token(sb_buf_t *name, const char **at, const char *end)
{
    for (; *at < end && **at != '/'; (*at)++) {
        bool escape = **at == '~' && *at + 1 < end;
        *at += escape;
        sb_buf_add_char(name, !escape ? **at : **at == '1' ? '/' : '~');
    }
}

static sb_code_t split(upcast_path_t *path, sb_slice_t pointer, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_buf_t name = SB_BUF_INIT;
    for (size_t i = 0; i < pointer.len; i++)
        path->count += pointer.ptr[i] == '/';
    path->token = calloc((size_t)path->count, sizeof *path->token);
    const char *at = pointer.ptr;
    for (int i = 0; path->token && i < path->count; i++) {
        upcast_token_t *token = &path->token[i];
        at++;
        sb_buf_reset(&name);
        add_token(&name, &at, pointer.ptr + pointer.len);
        text.failed |= sb_buf_failed(&name); /* which the next token forgets */
        sb_buf_add_slice(&text, sb_buf_slice(&name));
        token->name.len = name.len;
        sb_buf_add_json(&text, sb_buf_slice(&name));
        token->quoted.len = text.len;
    }
    bool failed = !path->token || sb_buf_failed(&text);
    sb_buf_fini(&name);
    path->text = text.ptr;
    size_t from = 0;
    for (int i = 0; !failed && i < path->count; i++) { /* now the text has its place */
        upcast_token_t *token = &path->token[i];
        size_t end = token->quoted.len;
        token->name.ptr = text.ptr + from;
        token->quoted = (sb_slice_t){token->name.ptr + token->name.len, end - from - token->name.len};
        from = end;
    }
    return failed ? no_memory(err) : SB_OK;
}

static sb_code_t read_path(const reader_t *reader, const json_t *body, const char *member,
                           upcast_path_t *path)
{
    const char *text = json_string_value(json_object_get(body, member));
    if (!text)
        return refuse(reader, member, "a JSON Pointer is wanted here, as \"/amount\"");
    if (text[0] == '\0' || !sb_json_pointer_ok(sb_slice(text)))
        return refuse(reader, member, "is not a JSON Pointer to a member");
    sb_code_t code = split(path, sb_slice(text), reader->err);
    if (code == SB_OK && path->count >= SB_SCAN_DEPTH_MAX)
        return refuse(reader, member, "goes deeper than a body may be nested");
    return code;
}

/* Whether a begins with the first count tokens of b. */
static bool same_way(const upcast_path_t *a, const upcast_path_t *b, int count)
{
    if (a->count < count || b->count < count)
        return false;
    for (int i = 0; i < count; i++)
        if (!sb_slice_equal(a->token[i].name, b->token[i].name))
            return false;
    return true;
}

/* ---- operations ---- */

static sb_code_t read_rename(const reader_t *reader, const json_t *body, upcast_op_t *op)
{
    sb_code_t code = read_path(reader, body, "from", &op->at);
    if (code == SB_OK)
        code = read_path(reader, body, "to", &op->to);
    if (code != SB_OK)
        return code;
    if (op->kind == UPCAST_RENAME &&
        (op->at.count != op->to.count || !same_way(&op->at, &op->to, op->at.count - 1)))
        return refuse(reader, "to", "is in another object than from: that is a move");
    if (same_way(&op->to, &op->at, op->at.count))
        return refuse(reader, "to",
                      op->at.count == op->to.count ? "is the same as from" : "is inside of from");
    return SB_OK;
}

static sb_code_t read_drop(const reader_t *reader, const json_t *body, upcast_op_t *op)
{
    return read_path(reader, body, "at", &op->at);
}

static int depth_of(const json_t *value)
{
    int deepest = 0;
    const char *name;
    size_t index;
    json_t *child;
    if (!json_is_object(value) && !json_is_array(value))
        return 0;
    json_object_foreach((json_t *)(uintptr_t)value, name, child)
    {
        int depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    json_array_foreach(value, index, child)
    {
        int depth = depth_of(child);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static sb_code_t read_set(const reader_t *reader, const json_t *body, upcast_op_t *op)
{
    const json_t *value = json_object_get(body, "value");
    bool exact = false;
    sb_code_t code = read_path(reader, body, "at", &op->at);
    if (code != SB_OK)
        return code;
    if (!value)
        return refuse(reader, "value", "is missing");
    if (depth_of(value) + op->at.count > SB_SCAN_DEPTH_MAX)
        return refuse(reader, "value", "is nested deeper than a body may be");
    op->value = schema_text_of(value, &exact);
    if (!op->value)
        return no_memory(reader->err);
    return exact ? SB_OK
                 : refuse(reader, "value", "has more digits than are kept exactly: write it as a string");
}

typedef struct op_row {
    const char *name;
    const char *members[3]; /* that it may have, all of them needed */
    sb_code_t (*read)(const reader_t *reader, const json_t *body, upcast_op_t *op);
} op_row_t;

static const op_row_t rows[] = {
    [UPCAST_RENAME] = {"rename", {"from", "to"}, read_rename},
    [UPCAST_MOVE] = {"move", {"from", "to"}, read_rename},
    [UPCAST_DROP] = {"drop", {"at"}, read_drop},
    [UPCAST_DEFAULT] = {"default", {"at", "value"}, read_set},
    [UPCAST_CONST] = {"const", {"at", "value"}, read_set},
};

#define ROWS (sizeof rows / sizeof *rows)

static sb_code_t read_op(int index, const json_t *source, upcast_op_t *op, sb_error_t *err)
{
    reader_t reader = {index, json_object_iter_key(json_object_iter((json_t *)(uintptr_t)source)), err};
    char pointer[24];
    (void)snprintf(pointer, sizeof pointer, "/%d", index);
    if (json_object_size(source) != 1)
        return sb_fail_at(err, SB_INVALID, pointer, "an operation is an object with one member, its name");
    size_t kind = 0;
    while (kind < ROWS && strcmp(rows[kind].name, reader.name) != 0)
        kind++;
    if (kind == ROWS)
        return sb_fail_at(err, SB_UNSUPPORTED, pointer,
                          "there is no operation %.40s; there are rename, move, drop, default and const",
                          reader.name);
    const json_t *body = json_object_get(source, reader.name);
    const char *member;
    json_t *value;
    if (!json_is_object(body))
        return refuse(&reader, "", "must be an object");
    json_object_foreach((json_t *)(uintptr_t)body, member, value)
    {
        int known = 0;
        while (known < 3 && rows[kind].members[known] && strcmp(rows[kind].members[known], member) != 0)
            known++;
        if (known == 3 || !rows[kind].members[known])
            return refuse(&reader, member, "this member is not known");
    }
    op->kind = (upcast_kind_t)kind;
    return rows[kind].read(&reader, body, op);
}

static sb_code_t read_all(sb_upcast_t *upcast, const json_t *declaration, sb_error_t *err)
{
    if (json_is_string(declaration) && strcmp(json_string_value(declaration), "hook") == 0) {
        upcast->hook = true;
        return SB_OK;
    }
    if (!json_is_array(declaration))
        return sb_fail_at(err, SB_INVALID, "", "must be an array of operations, or \"hook\"");
    size_t count = json_array_size(declaration);
    if (count > SB_UPCAST_OPS_MAX)
        return sb_fail_at(err, SB_INVALID, "", "has more than %d operations", SB_UPCAST_OPS_MAX);
    upcast->op = calloc(count ? count : 1, sizeof *upcast->op);
    if (!upcast->op)
        return no_memory(err);
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        upcast->count++;
        code = read_op((int)i, json_array_get(declaration, i), &upcast->op[i], err);
    }
    return code;
}

sb_code_t sb_upcast_compile(sb_upcast_t **out, const json_t *declaration, sb_error_t *err)
{
    *out = NULL;
    sb_upcast_t *upcast = calloc(1, sizeof *upcast);
    if (!upcast)
        return no_memory(err);
    sb_code_t code = read_all(upcast, declaration, err);
    if (code != SB_OK) {
        sb_upcast_free(&upcast);
        return code;
    }
    *out = upcast;
    return SB_OK;
}

void sb_upcast_free(sb_upcast_t **upcast)
{
    sb_upcast_t *u = *upcast;
    if (!u)
        return;
    for (int i = 0; i < u->count; i++) {
        free(u->op[i].at.token);
        free(u->op[i].at.text);
        free(u->op[i].to.token);
        free(u->op[i].to.text);
        free(u->op[i].value);
    }
    free(u->op);
    free(u);
    *upcast = NULL;
}

bool sb_upcast_is_hook(const sb_upcast_t *upcast)
{
    return upcast->hook;
}
