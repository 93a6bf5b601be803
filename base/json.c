/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"

#include "base/scan.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- reading ---- */

/* jansson's own cap is 2048 levels of recursion; ours is checked before it starts. */
static bool is_too_deep(sb_slice_t text)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (quoted) {
            if (c == '\\')
                i++;
            else if (c == '"')
                quoted = false;
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            if (++depth > SB_JSON_DEPTH_MAX)
                return true;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    }
    return false;
}

/* Without memory jansson gives no text, or calls a good text wrong: a client would be told never to send it
 * again. */
static bool ran_out_of_memory(sb_slice_t text, const json_error_t *fault)
{
    enum json_error_code code = json_error_code(fault);
    bool blames_syntax = code == json_error_invalid_syntax || code == json_error_premature_end_of_input ||
                         code == json_error_end_of_input_expected || code == json_error_invalid_utf8;
    return code == json_error_out_of_memory || (fault->text[0] == '\0' && text.len > 0) ||
           (blames_syntax && sb_scan_valid(text, NULL));
}

sb_code_t sb_json_parse(json_t **out, sb_slice_t text, const char *what, sb_error_t *err)
{
    *out = NULL;
    if (text.len > SB_JSON_BYTES_MAX)
        return sb_fail(err, SB_TOO_LARGE, "%s: %zu bytes, the limit is %u", what, text.len,
                       SB_JSON_BYTES_MAX);
    if (is_too_deep(text))
        return sb_fail(err, SB_INVALID, "%s: nested deeper than %d", what, SB_JSON_DEPTH_MAX);
    json_error_t fault;
    json_t *value =
        json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &fault);
    if (!value) {
        if (ran_out_of_memory(text, &fault))
            return sb_fail(err, SB_NO_MEMORY, "%s: out of memory", what);
        return sb_fail(err, SB_INVALID, "%s, line %d, column %d: %s", what, fault.line, fault.column,
                       fault.text);
    }
    *out = value;
    return SB_OK;
}

/* Reads at most one byte more than the limit, so that a longer file is told from a full one. */
static sb_code_t read_all(const char *path, sb_buf_t *buf, sb_error_t *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sb_fail(err,
                       errno == ENOENT   ? SB_NOT_FOUND
                       : errno == EACCES ? SB_DENIED
                                         : SB_UNAVAILABLE,
                       "open %s: %s", path, strerror(errno));
    sb_code_t code = SB_OK;
    while (buf->len <= SB_JSON_BYTES_MAX) {
        char *at = sb_buf_reserve(buf, 16384);
        if (!at) {
            code = sb_fail(err, SB_NO_MEMORY, "read %s: out of memory", path);
            break;
        }
        ssize_t got = read(fd, at, 16384);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            code = sb_fail(err, errno == EISDIR ? SB_INVALID : SB_UNAVAILABLE, "read %s: %s", path,
                           strerror(errno));
        if (got <= 0)
            break;
        buf->len += (size_t)got;
    }
    (void)close(fd);
    if (buf->ptr)
        buf->ptr[buf->len] = '\0';
    return code;
}

sb_code_t sb_json_read_file(json_t **out, const char *path, sb_buf_t *bytes, sb_error_t *err)
{
    *out = NULL;
    sb_buf_t own = SB_BUF_INIT;
    sb_buf_t *buf = bytes ? bytes : &own;
    sb_buf_reset(buf);
    sb_code_t code = read_all(path, buf, err);
    if (code == SB_OK)
        code = sb_json_parse(out, sb_buf_slice(buf), path, err);
    sb_buf_fini(&own);
    return code;
}

/* ---- writing ---- */

static int add_chunk(const char *chunk, size_t length, void *context)
{
    sb_buf_t *out = context;
    sb_buf_add(out, chunk, length);
    return sb_buf_failed(out) ? -1 : 0;
}

void sb_json_dump(const json_t *value, sb_buf_t *out)
{
    if (json_dump_callback(value, add_chunk, out, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) != 0)
        out->failed = true;
}

sb_code_t sb_json_hash(const json_t *value, sb_hash_t *out, sb_error_t *err)
{
    sb_buf_t text = SB_BUF_INIT;
    sb_json_dump(value, &text);
    sb_code_t code = SB_OK;
    if (sb_buf_failed(&text))
        code = sb_fail(err, SB_NO_MEMORY, "hash a JSON value: out of memory");
    else
        sb_hash_bytes(sb_buf_slice(&text), out);
    sb_buf_fini(&text);
    return code;
}

/* ---- pointers ---- */

static json_t *child_of(const json_t *value, sb_slice_t token, sb_buf_t *key)
{
    size_t index;
    if (json_is_array(value))
        return sb_json_pointer_index(token, &index) ? json_array_get(value, index) : NULL;
    if (!json_is_object(value))
        return NULL;
    sb_buf_reset(key);
    for (size_t i = 0; i < token.len; i++) {
        char c = token.ptr[i];
        if (c == '~')
            c = token.ptr[++i] == '1' ? '/' : '~';
        sb_buf_add_char(key, c);
    }
    /* jansson's keys hold no NUL, so a token with one names nothing */
    if (sb_buf_failed(key) || strlen(sb_buf_text(key)) != key->len)
        return NULL;
    return json_object_get(value, sb_buf_text(key));
}

json_t *sb_json_at(const json_t *value, sb_slice_t pointer)
{
    if (!sb_json_pointer_ok(pointer))
        return NULL;
    json_t *at = (json_t *)(uintptr_t)value; /* borrowed either way: jansson's getters give it back so */
    sb_buf_t key = SB_BUF_INIT;
    size_t from = 0;
    while (at && from < pointer.len) {
        size_t end = ++from;
        while (end < pointer.len && pointer.ptr[end] != '/')
            end++;
        at = child_of(at, (sb_slice_t){pointer.ptr + from, end - from}, &key);
        from = end;
    }
    sb_buf_fini(&key);
    return at;
}
