/* SPDX-License-Identifier: Apache-2.0 */
#include "server/request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

sb_slice_t sb_request_key(const sb_request_t *request)
{
    sb_slice_t text = sb_slice(request->idempotency_key);
    if (text.len >= 2 && text.ptr[0] == '"' && text.ptr[text.len - 1] == '"') {
        text.ptr++;
        text.len -= 2;
    }
    return text;
}

const char *sb_request_query(const sb_request_t *request, const char *name)
{
    for (int i = 0; i < request->query_count; i++)
        if (strcmp(request->query[i].name, name) == 0)
            return request->query[i].value;
    return NULL;
}

sb_code_t sb_request_query_int(const sb_request_t *request, const char *name, int64_t low, int64_t high,
                               int64_t fallback, int64_t *out, sb_error_t *err)
{
    const char *text = sb_request_query(request, name);
    *out = fallback;
    if (!text)
        return SB_OK;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end || value < low || value > high)
        return sb_fail(err, SB_INVALID, "query parameter %s=%s: a whole number from %lld to %lld is wanted",
                       name, text, (long long)low, (long long)high);
    *out = value;
    return SB_OK;
}

sb_code_t sb_request_query_bool(const sb_request_t *request, const char *name, bool *out, sb_error_t *err)
{
    const char *text = sb_request_query(request, name);
    *out = text && strcmp(text, "true") == 0;
    if (text && !*out && strcmp(text, "false") != 0)
        return sb_fail(err, SB_INVALID, "query parameter %s=%s: true or false is wanted", name, text);
    return SB_OK;
}

sb_code_t sb_request_query_wait(const sb_request_t *request, int64_t wait_max_ms, int64_t *out,
                                sb_error_t *err)
{
    const char *text = sb_request_query(request, "wait");
    *out = 0;
    if (!text)
        return SB_OK;
    char *end;
    long long value = strtoll(text, &end, 10);
    int64_t unit = 1000;
    if (strcmp(end, "ms") == 0)
        unit = 1;
    else if (strcmp(end, "m") == 0)
        unit = 60000;
    else if (strcmp(end, "s") != 0 && *end)
        unit = 0;
    if (end == text || unit == 0 || value < 0 || value > wait_max_ms / unit)
        return sb_fail(err, SB_INVALID,
                       "query parameter wait=%s: a time up to %llds is wanted, as 30s or 1500ms", text,
                       (long long)wait_max_ms / 1000);
    *out = value * unit;
    return SB_OK;
}

sb_code_t sb_request_query_only(const sb_request_t *request, const char *const *known, sb_error_t *err)
{
    for (int i = 0; i < request->query_count; i++) {
        bool found = false;
        for (int k = 0; known[k] && !found; k++)
            found = strcmp(known[k], request->query[i].name) == 0;
        if (found)
            continue;
        char list[200] = "";
        size_t at = 0;
        for (int k = 0; known[k] && at < sizeof list; k++)
            at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", k ? ", " : "", known[k]);
        return sb_fail(err, SB_INVALID, "query parameter %s is not known; there are: %s",
                       request->query[i].name, list[0] ? list : "none");
    }
    return SB_OK;
}
