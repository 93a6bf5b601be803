/* SPDX-License-Identifier: Apache-2.0 */
#include "base/webhook.h"

#include "base/base64.h"
#include "base/hash.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define SECRET_PREFIX "whsec_"

/* ---- secrets and signatures ---- */

sb_code_t sb_webhook_secret_read(sb_webhook_secret_t *out, sb_slice_t text, const char *setting,
                                 sb_error_t *err)
{
    sb_buf_t bytes = SB_BUF_INIT;
    size_t prefix = sizeof SECRET_PREFIX - 1;
    *out = (sb_webhook_secret_t){.length = 0};
    if (sb_slice_starts(text, SECRET_PREFIX))
        text = (sb_slice_t){text.ptr + prefix, text.len - prefix};
    bool fits = sb_base64_decode(&bytes, text) && bytes.len >= SB_WEBHOOK_SECRET_MIN &&
                bytes.len <= SB_WEBHOOK_SECRET_MAX;
    if (fits) {
        memcpy(out->byte, bytes.ptr, bytes.len);
        out->length = bytes.len;
    }
    if (bytes.ptr)
        explicit_bzero(bytes.ptr, bytes.cap);
    sb_buf_fini(&bytes);
    return fits ? SB_OK
                : sb_fail(err, SB_INVALID,
                          "%s: a secret is %d to %d bytes in base64, with or without whsec_ in front: "
                          "echo whsec_$(openssl rand -base64 32)",
                          setting, SB_WEBHOOK_SECRET_MIN, SB_WEBHOOK_SECRET_MAX);
}

sb_code_t sb_webhook_sign(sb_buf_t *out, sb_slice_t id, int64_t wall_s, sb_slice_t body,
                          const sb_webhook_secret_t *secrets, size_t count, sb_error_t *err)
{
    char time[24];
    bool ok = true;
    (void)snprintf(time, sizeof time, "%" PRId64, wall_s);
    const sb_slice_t parts[] = {id, SB_SLICE("."), sb_slice(time), SB_SLICE("."), body};
    sb_buf_printf(out, "webhook-id: %.*s%c", SB_SLICE_ARG(id), '\0');
    sb_buf_printf(out, "webhook-timestamp: %s%c", time, '\0');
    for (size_t i = 0; ok && i < count; i++) {
        sb_hash_t hash;
        sb_slice_t key = {(const char *)secrets[i].byte, secrets[i].length};
        ok = sb_hash_hmac(key, parts, sizeof parts / sizeof parts[0], &hash);
        sb_buf_add_text(out, i ? " v1," : "webhook-signature: v1,");
        if (ok)
            sb_base64_encode(out, (sb_slice_t){(const char *)hash.byte, sizeof hash.byte});
    }
    if (count > 0)
        sb_buf_add_char(out, '\0');
    return ok && !sb_buf_failed(out) ? SB_OK : sb_fail(err, SB_NO_MEMORY, "sign a request: out of memory");
}

/* ---- headers ---- */

void sb_webhook_add_value(sb_buf_t *out, sb_slice_t value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c <= ' ' || c >= 127 || c == '"' || c == '%')
            sb_buf_printf(out, "%%%02X", c);
        else
            sb_buf_add_char(out, (char)c);
    }
}

/* ---- URLs ---- */

/* With user and password, when it has them. */
static sb_slice_t authority_of(const char *url)
{
    const char *at = strstr(url, "://");
    at = at ? at + 3 : url;
    return (sb_slice_t){at, strcspn(at, "/?#")};
}

static sb_slice_t host_of(const char *url)
{
    sb_slice_t host = authority_of(url);
    for (const char *at; (at = memchr(host.ptr, '@', host.len));)
        host = (sb_slice_t){at + 1, (size_t)(host.ptr + host.len - at - 1)};
    return host;
}

const char *sb_webhook_url_fault(const char *url, bool with_secrets)
{
    if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
        return "must begin with https:// or http://";
    sb_slice_t host = host_of(url);
    if (host.len == 0 || host.ptr[0] == ':')
        return "names no host";
    if (!with_secrets && host.len != authority_of(url).len)
        return "must hold no user or password";
    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c >= 127 || (*c == '?' && !with_secrets) || *c == '#' || *c == '\\')
            return with_secrets ? "must be a URL without a fragment"
                                : "must be a URL without query and fragment";
    return NULL;
}

/* 127.0.0.1, not 127.shop.example. */
static bool is_loopback(sb_slice_t host)
{
    static const char *const names[] = {"localhost", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i]);
        if (host.len >= n && strncasecmp(host.ptr, names[i], n) == 0 && (host.len == n || host.ptr[n] == ':'))
            return true;
    }
    size_t n = 0;
    while (n < host.len && strchr("0123456789.", host.ptr[n]))
        n++;
    return sb_slice_starts(host, "127.") && (n == host.len || host.ptr[n] == ':');
}

bool sb_webhook_url_is_open(const char *url)
{
    return strncasecmp(url, "http://", 7) == 0 && !is_loopback(host_of(url));
}
