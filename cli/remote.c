/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/remote.h"

#include <stdlib.h>

struct sb_remote {
    sb_http_client_t *client;
    sb_http_answer_t answer;
    sb_buf_t url;
    const char *base; /* borrowed from the settings */
};

static sb_code_t read_token(const sb_config_t *config, sb_buf_t *token, sb_error_t *err)
{
    const char *file = sb_config_get(config, "server.token_file");
    if (!file[0]) {
        sb_buf_add_text(token, sb_config_get(config, "server.token"));
        return SB_OK;
    }
    char at[512];
    (void)snprintf(at, sizeof at, "@%s", file);
    sb_code_t code = sb_cli_content(at, token, err);
    if (code != SB_OK)
        return sb_context(err, code, "server.token_file");
    while (token->len && strchr(" \t\r\n", token->ptr[token->len - 1]))
        token->len--;
    token->ptr[token->len] = '\0';
    return SB_OK;
}

sb_code_t sb_remote_open(sb_remote_t **out, const sb_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_buf_t token = SB_BUF_INIT;
    sb_remote_t *remote = calloc(1, sizeof *remote);
    if (!remote)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_code_t code = read_token(config, &token, err);
    if (code == SB_OK) {
        remote->base = sb_config_get(config, "server.url");
        sb_http_client_config_t settings = {.ca_file = sb_config_get(config, "server.ca_file"),
                                            .bearer_token = sb_buf_text(&token)};
        code = sb_http_client_new(&remote->client, &settings, err);
    }
    sb_buf_fini(&token);
    if (code != SB_OK) {
        sb_remote_close(&remote);
        return code;
    }
    *out = remote;
    return SB_OK;
}

void sb_remote_close(sb_remote_t **remote)
{
    if (!*remote)
        return;
    sb_http_client_free(&(*remote)->client);
    sb_http_answer_fini(&(*remote)->answer);
    sb_buf_fini(&(*remote)->url);
    free(*remote);
    *remote = NULL;
}

/* ---- problems ---- */

static sb_code_t code_named(const char *name, int status)
{
    for (int code = 0; name && code < SB_CODE_COUNT; code++)
        if (code != SB_OK && strcmp(sb_code_name((sb_code_t)code), name) == 0)
            return (sb_code_t)code;
    if (status == 401)
        return SB_DENIED;
    for (int code = 1; code < SB_CODE_COUNT; code++)
        if (sb_code_http((sb_code_t)code) == status)
            return (sb_code_t)code;
    return status >= 500 ? SB_UNAVAILABLE : SB_INVALID;
}

/* The lines of a text side by side, cut to what fits. */
static void one_line(sb_slice_t lines, char *out, size_t cap)
{
    size_t at = 0;
    for (size_t i = 0; i < lines.len && at + 3 < cap; i++) {
        if (lines.ptr[i] != '\n')
            out[at++] = lines.ptr[i];
        else if (i + 1 < lines.len)
            at += (size_t)snprintf(out + at, cap - at, ", ");
    }
    out[at] = '\0';
}

static sb_code_t problem(const sb_remote_t *remote, const json_t *body, sb_error_t *err)
{
    int status = remote->answer.status;
    const char *detail = json_string_value(json_object_get(body, "detail"));
    const char *title = json_string_value(json_object_get(body, "title"));
    const char *pointer = json_string_value(sb_json_at(body, SB_SLICE("/details/0/pointer")));
    const char *why = json_string_value(sb_json_at(body, SB_SLICE("/details/0/detail")));
    sb_code_t code = code_named(json_string_value(json_object_get(body, "code")), status);
    char text[256] = "";
    if (why && detail && strcmp(why, detail) == 0)
        why = NULL;
    if (!body && strcmp(remote->answer.content_type, "text/plain") == 0)
        one_line(sb_buf_slice(&remote->answer.body), text, sizeof text);
    if (!detail)
        detail = title ? title : text[0] ? text : "the server gave no reason";
    (void)sb_fail_at(err, code, pointer ? pointer : "", "%s%s%s", detail, why ? ": " : "", why ? why : "");
    if (!body)
        return sb_context(err, code, "%s answered %d", sb_buf_text(&remote->url), status);
    return code;
}

/* Answers may be larger than what sb_json_parse takes from strangers; the client has bounded them. */
static json_t *parse(const sb_http_answer_t *answer)
{
    if (strcmp(answer->content_type, "application/json") != 0 &&
        strcmp(answer->content_type, "application/problem+json") != 0)
        return NULL;
    return json_loadb(sb_buf_text(&answer->body), answer->body.len, JSON_DECODE_ANY, NULL);
}

sb_code_t sb_remote_send(sb_remote_t *remote, const sb_remote_call_t *call, int *status, json_t **body,
                         sb_error_t *err)
{
    if (body)
        *body = NULL;
    sb_buf_reset(&remote->url);
    sb_buf_add_text(&remote->url, remote->base);
    while (remote->url.len && remote->url.ptr[remote->url.len - 1] == '/')
        remote->url.len--;
    sb_buf_add_text(&remote->url, call->path);
    if (sb_buf_failed(&remote->url))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_http_call_t http = {.method = call->method,
                           .url = sb_buf_text(&remote->url),
                           .body = call->body,
                           .headers = call->headers,
                           .timeout_ms = call->timeout_ms};
    sb_code_t code = sb_http_client_send(remote->client, &http, &remote->answer, err);
    if (code == SB_UNAVAILABLE)
        return sb_context(err, code, "no server there (start one with: sagabus serve)");
    if (code != SB_OK)
        return code;
    json_t *parsed = parse(&remote->answer);
    if (remote->answer.status >= 400)
        code = problem(remote, parsed, err);
    else if (!parsed && remote->answer.body.len)
        code = sb_fail(err, SB_CORRUPT, "%s answered what is not JSON", http.url);
    if (status)
        *status = remote->answer.status;
    if (code == SB_OK && body)
        *body = parsed;
    else
        json_decref(parsed);
    return code;
}

sb_code_t sb_remote_get(sb_remote_t *remote, const char *path, json_t **body, sb_error_t *err)
{
    sb_remote_call_t call = {.method = "GET", .path = path};
    return sb_remote_send(remote, &call, NULL, body, err);
}
