/* SPDX-License-Identifier: Apache-2.0 */
#include "base/http_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

struct sb_http_client {
    CURL *curl;
    char *ca_file;
    char *authorization; /* "Authorization: Bearer …"; NULL: none */
    uint32_t connect_ms;
    size_t answer_bytes_max;
};

/* One transfer, as libcurl's callbacks see it. */
typedef struct transfer {
    sb_http_answer_t *answer;
    size_t bytes_max;
    bool too_large;
} transfer_t;

static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static void start_library(void)
{
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool copy_settings(sb_http_client_t *client, const sb_http_client_config_t *config)
{
    client->connect_ms = config->connect_ms ? config->connect_ms : 5000;
    client->answer_bytes_max = config->answer_bytes_max ? config->answer_bytes_max : SB_HTTP_ANSWER_BYTES_MAX;
    if (config->ca_file && config->ca_file[0]) {
        client->ca_file = strdup(config->ca_file);
        if (!client->ca_file)
            return false;
    }
    if (config->bearer_token && config->bearer_token[0] &&
        asprintf(&client->authorization, "Authorization: Bearer %s", config->bearer_token) < 0) {
        client->authorization = NULL;
        return false;
    }
    return true;
}

sb_code_t sb_http_client_new(sb_http_client_t **out, const sb_http_client_config_t *config, sb_error_t *err)
{
    *out = NULL;
    (void)pthread_once(&library_once, start_library);
    sb_http_client_t *client = calloc(1, sizeof *client);
    if (client)
        client->curl = curl_easy_init();
    if (!client || !client->curl || !copy_settings(client, config)) {
        sb_http_client_free(&client);
        return sb_fail(err, SB_NO_MEMORY, "HTTP client: out of memory");
    }
    *out = client;
    return SB_OK;
}

void sb_http_client_free(sb_http_client_t **client)
{
    if (!*client)
        return;
    if ((*client)->curl)
        curl_easy_cleanup((*client)->curl);
    free((*client)->ca_file);
    free((*client)->authorization);
    free(*client);
    *client = NULL;
}

void sb_http_answer_fini(sb_http_answer_t *answer)
{
    sb_buf_fini(&answer->body);
}

static size_t on_body(char *data, size_t size, size_t count, void *context)
{
    transfer_t *transfer = context;
    size_t length = size * count;
    sb_buf_t *body = &transfer->answer->body;
    if (length > transfer->bytes_max - body->len) {
        transfer->too_large = true;
        return 0;
    }
    sb_buf_add(body, data, length);
    return sb_buf_failed(body) ? 0 : length;
}

/* The value when the line is the named header, trimmed; absent when it is another. */
static sb_slice_t header_value(sb_slice_t line, const char *name)
{
    size_t n = strlen(name);
    if (line.len <= n || strncasecmp(line.ptr, name, n) != 0 || line.ptr[n] != ':')
        return SB_SLICE_NONE;
    sb_slice_t value = {line.ptr + n + 1, line.len - n - 1};
    while (value.len && isspace((unsigned char)value.ptr[0])) {
        value.ptr++;
        value.len--;
    }
    while (value.len && isspace((unsigned char)value.ptr[value.len - 1]))
        value.len--;
    return value;
}

static void keep_text(char *out, size_t cap, sb_slice_t text)
{
    (void)snprintf(out, cap, "%.*s", SB_SLICE_ARG(text));
}

static size_t on_header(char *data, size_t size, size_t count, void *context)
{
    transfer_t *transfer = context;
    sb_http_answer_t *answer = transfer->answer;
    sb_slice_t line = {data, size * count};
    sb_slice_t value = header_value(line, "Content-Type");
    if (value.ptr) {
        keep_text(answer->content_type, sizeof answer->content_type, value);
        answer->content_type[strcspn(answer->content_type, "; ")] = '\0';
        for (char *c = answer->content_type; *c; c++)
            *c = (char)tolower((unsigned char)*c);
    }
    value = header_value(line, "Location");
    if (value.ptr)
        keep_text(answer->location, sizeof answer->location, value);
    value = header_value(line, "Retry-After");
    if (value.ptr) {
        char text[16];
        keep_text(text, sizeof text, value);
        char *end;
        long seconds = strtol(text, &end, 10);
        if (end != text && *end == '\0' && seconds >= 0 && seconds < 86400)
            answer->retry_after_s = (int)seconds;
    }
    return line.len;
}

static sb_code_t add_header(struct curl_slist **list, const char *line, sb_error_t *err)
{
    struct curl_slist *grown = curl_slist_append(*list, line);
    if (!grown)
        return sb_fail(err, SB_NO_MEMORY, "HTTP call: out of memory");
    *list = grown;
    return SB_OK;
}

static sb_code_t build_headers(const sb_http_client_t *client, const sb_http_call_t *call,
                               struct curl_slist **list, sb_error_t *err)
{
    char type[160];
    sb_code_t code = add_header(list, "Expect:", err); /* no pause before a larger body */
    if (code == SB_OK && client->authorization)
        code = add_header(list, client->authorization, err);
    if (code == SB_OK && call->body.ptr) {
        (void)snprintf(type, sizeof type, "Content-Type: %s",
                       call->content_type ? call->content_type : "application/json");
        code = add_header(list, type, err);
    }
    for (int i = 0; code == SB_OK && call->headers && call->headers[i]; i++)
        code = add_header(list, call->headers[i], err);
    return code;
}

/* The handle keeps its connections over a reset. */
static void set_up(sb_http_client_t *client, const sb_http_call_t *call, struct curl_slist *headers,
                   transfer_t *transfer, char *message)
{
    CURL *curl = client->curl;
    curl_easy_reset(curl);
    (void)curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, message);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(curl, CURLOPT_PROXY, "");
    (void)curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
    (void)curl_easy_setopt(curl, CURLOPT_USERAGENT, "sagabus");
    (void)curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(call->timeout_ms ? call->timeout_ms : 30000));
    (void)curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L);
    if (client->ca_file)
        (void)curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
    (void)curl_easy_setopt(curl, CURLOPT_URL, call->url);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
    (void)curl_easy_setopt(curl, CURLOPT_HEADERDATA, transfer);
    if (call->body.ptr) {
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call->body.ptr);
    }
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
}

static sb_code_t judge(CURLcode outcome, const transfer_t *transfer, const sb_http_call_t *call,
                       const char *message, sb_error_t *err)
{
    const char *why = message[0] ? message : curl_easy_strerror(outcome);
    switch (outcome) {
    case CURLE_OK:
        return SB_OK;
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
        return sb_fail(err, SB_INVALID, "%s: %s", call->url, why);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
        return sb_fail(err, SB_UNAVAILABLE, "%s %s: %s", call->method, call->url, why);
    case CURLE_OPERATION_TIMEDOUT:
        return sb_fail(err, SB_TIMEOUT, "%s %s: %s", call->method, call->url, why);
    case CURLE_OUT_OF_MEMORY:
        return sb_fail(err, SB_NO_MEMORY, "%s %s: out of memory", call->method, call->url);
    default:
        if (transfer->too_large)
            return sb_fail(err, SB_TOO_LARGE, "%s %s: the answer is larger than %zu bytes", call->method,
                           call->url, transfer->bytes_max);
        return sb_fail(err, SB_UNKNOWN_OUTCOME, "%s %s: %s", call->method, call->url, why);
    }
}

sb_code_t sb_http_client_send(sb_http_client_t *client, const sb_http_call_t *call, sb_http_answer_t *answer,
                              sb_error_t *err)
{
    char message[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = NULL;
    transfer_t transfer = {.answer = answer, .bytes_max = client->answer_bytes_max};
    answer->status = 0;
    answer->content_type[0] = '\0';
    answer->location[0] = '\0';
    answer->retry_after_s = -1;
    sb_buf_reset(&answer->body);

    sb_code_t code = build_headers(client, call, &headers, err);
    if (code == SB_OK) {
        set_up(client, call, headers, &transfer, message);
        CURLcode outcome = curl_easy_perform(client->curl);
        long status = 0;
        (void)curl_easy_getinfo(client->curl, CURLINFO_RESPONSE_CODE, &status);
        answer->status = (int)status;
        code = judge(outcome, &transfer, call, message, err);
    }
    curl_slist_free_all(headers);
    return code;
}

void sb_http_encode(sb_buf_t *out, sb_slice_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.ptr[i];
        if (isalnum(c) || c == '-' || c == '_' || c == '.' || c == '~')
            sb_buf_add_char(out, (char)c);
        else
            sb_buf_printf(out, "%%%02X", c);
    }
}

void sb_http_show_url(const char *url, char *out, size_t cap)
{
    const char *host = strstr(url, "://");
    host = host ? host + 3 : url;
    size_t scheme = (size_t)(host - url);
    size_t length = strcspn(host, "?#");
    const char *slash = memchr(host, '/', length);
    const char *at = memrchr(host, '@', slash ? (size_t)(slash - host) : length);
    if (at) {
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    (void)snprintf(out, cap, "%.*s%.*s", (int)scheme, url, (int)length, host);
}
