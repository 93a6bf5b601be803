/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_endpoint.h"

#include "base/base64.h"
#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>

#define SECRET_BYTES_MIN  24 /* as the convention has it */
#define SECRET_BYTES_MAX  64
#define SECRET_TEXT_MAX   4096
#define SECRET_PREFIX     "whsec_"
#define SECRET_SEPARATORS " \t\r\n,"

static const char *setting(const sb_config_t *config, const char *name, const char *what, char full[128])
{
    (void)snprintf(full, 128, "push.%s.%s", name, what);
    return sb_config_get(config, full);
}

/* ---- the URL ---- */

static sb_slice_t host_of(const char *url)
{
    const char *at = strstr(url, "://");
    at = at ? at + 3 : url;
    return (sb_slice_t){at, strcspn(at, "/?#")};
}

static const char *fault_of_url(const char *url)
{
    if (strncasecmp(url, "https://", 8) != 0 && strncasecmp(url, "http://", 7) != 0)
        return "must begin with https:// or http://";
    sb_slice_t host = host_of(url);
    if (host.len == 0 || host.ptr[0] == ':')
        return "names no host";
    if (memchr(host.ptr, '@', host.len))
        return "must hold no user or password";
    for (const char *c = url; *c; c++)
        if (*c <= ' ' || *c >= 127 || *c == '?' || *c == '#' || *c == '\\')
            return "must be a URL without query and fragment";
    return NULL;
}

static sb_code_t read_url(sb_push_endpoint_t *out, const sb_config_t *config, const char *name,
                          const char *path, sb_error_t *err)
{
    char full[128];
    const char *url = setting(config, name, "url", full);
    if (!url[0])
        return sb_fail(err, SB_NOT_FOUND, "the setting %s is not given: it says where the endpoint %s is",
                       full, name);
    const char *fault = fault_of_url(url);
    if (fault) /* without the value: it may hold the password, or the token, that it is refused for */
        return sb_fail(err, SB_INVALID, "%s (%s): %s", full, sb_config_source(config, full), fault);
    size_t length = strlen(url);
    while (path[0] && length > 0 && url[length - 1] == '/')
        length--;
    sb_buf_add(&out->url, url, length);
    sb_buf_add_text(&out->url, path);
    return sb_buf_failed(&out->url) ? sb_fail(err, SB_NO_MEMORY, "push: out of memory") : SB_OK;
}

static bool is_loopback(sb_slice_t host)
{
    static const char *const names[] = {"127.", "localhost", "[::1]"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = strlen(names[i]);
        if (host.len >= n && strncasecmp(host.ptr, names[i], n) == 0 &&
            (i == 0 || host.len == n || host.ptr[n] == ':'))
            return true;
    }
    return false;
}

bool sb_push_endpoint_is_open(const sb_push_endpoint_t *endpoint)
{
    const char *url = sb_buf_text(&endpoint->url);
    return strncasecmp(url, "http://", 7) == 0 && !is_loopback(host_of(url));
}

/* ---- the secrets ---- */

static sb_code_t add_secret(sb_push_endpoint_t *out, const char *where, sb_slice_t text, sb_error_t *err)
{
    if (out->secret_count == SB_PUSH_SECRETS_MAX)
        return sb_fail(err, SB_INVALID, "%s: at most %d secrets at once", where, SB_PUSH_SECRETS_MAX);
    sb_buf_t *secret = &out->secret[out->secret_count++];
    size_t prefix = sizeof SECRET_PREFIX - 1;
    if (sb_slice_starts(text, SECRET_PREFIX))
        text = (sb_slice_t){text.ptr + prefix, text.len - prefix};
    if (!sb_base64_decode(secret, text) || secret->len < SECRET_BYTES_MIN || secret->len > SECRET_BYTES_MAX)
        return sb_fail(err, SB_INVALID,
                       "%s: a secret is %d to %d bytes in base64, with or without whsec_ in front: "
                       "echo whsec_$(openssl rand -base64 32)",
                       where, SECRET_BYTES_MIN, SECRET_BYTES_MAX);
    return SB_OK;
}

static sb_code_t add_secrets(sb_push_endpoint_t *out, const char *where, const char *text, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && *(text += strspn(text, SECRET_SEPARATORS))) {
        size_t n = strcspn(text, SECRET_SEPARATORS);
        code = add_secret(out, where, (sb_slice_t){text, n}, err);
        text += n;
    }
    if (code == SB_OK && out->secret_count == 0)
        return sb_fail(err, SB_INVALID, "%s holds no secret", where);
    return code;
}

static sb_code_t read_secret_file(sb_push_endpoint_t *out, const char *where, const char *path,
                                  sb_error_t *err)
{
    char text[SECRET_TEXT_MAX];
    struct stat status;
    FILE *file = fopen(path, "re");
    if (!file)
        return sb_fail(err, errno == ENOENT ? SB_NOT_FOUND : SB_DENIED, "%s: open %s: %s", where, path,
                       strerror(errno));
    size_t n = fread(text, 1, sizeof text - 1, file);
    text[n] = '\0';
    bool open_to_all = fstat(fileno(file), &status) == 0 && (status.st_mode & S_IROTH);
    (void)fclose(file);
    sb_code_t code =
        open_to_all ? sb_fail(err, SB_DENIED, "%s: every user can read %s: chmod o-r %s", where, path, path)
                    : add_secrets(out, where, text, err);
    explicit_bzero(text, sizeof text);
    return code;
}

static sb_code_t read_secrets(sb_push_endpoint_t *out, const sb_config_t *config, const char *name,
                              sb_error_t *err)
{
    char inline_name[128], file_name[128];
    const char *text = setting(config, name, "secret", inline_name);
    const char *file = setting(config, name, "secret_file", file_name);
    if (text[0] && file[0])
        return sb_fail(err, SB_INVALID, "%s and %s are both given: one of them", inline_name, file_name);
    if (text[0])
        return add_secrets(out, inline_name, text, err);
    if (file[0])
        return read_secret_file(out, file_name, file, err);
    return sb_fail(err, SB_NOT_FOUND,
                   "neither %s nor %s is given: the subscription signs its requests (\"signature\": \"none\" "
                   "does not)",
                   file_name, inline_name);
}

sb_code_t sb_push_endpoint_read(sb_push_endpoint_t *out, const sb_config_t *config, const char *name,
                                const char *path, bool sign, sb_error_t *err)
{
    *out = (sb_push_endpoint_t){.secret_count = 0};
    sb_code_t code = read_url(out, config, name, path, err);
    return code == SB_OK && sign ? read_secrets(out, config, name, err) : code;
}

sb_code_t sb_push_endpoint_of(sb_push_endpoint_t *out, const char *url, const char *secret_file,
                              sb_error_t *err)
{
    *out = (sb_push_endpoint_t){.secret_count = 0};
    const char *fault = fault_of_url(url);
    if (fault)
        return sb_fail(err, SB_INVALID, "the URL %s", fault);
    sb_buf_add_text(&out->url, url);
    if (sb_buf_failed(&out->url))
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    return secret_file ? read_secret_file(out, "the secret", secret_file, err) : SB_OK;
}

void sb_push_endpoint_fini(sb_push_endpoint_t *endpoint)
{
    sb_buf_fini(&endpoint->url);
    for (int i = 0; i < SB_PUSH_SECRETS_MAX; i++) {
        if (endpoint->secret[i].ptr)
            explicit_bzero(endpoint->secret[i].ptr, endpoint->secret[i].cap);
        sb_buf_fini(&endpoint->secret[i]);
    }
    *endpoint = (sb_push_endpoint_t){.secret_count = 0};
}

/* ---- signing ---- */

sb_code_t sb_push_sign(const sb_push_endpoint_t *endpoint, sb_slice_t id, int64_t wall_s, sb_slice_t body,
                       sb_buf_t *out, sb_error_t *err)
{
    char time[24];
    (void)snprintf(time, sizeof time, "%" PRId64, wall_s);
    sb_slice_t parts[] = {id, SB_SLICE("."), sb_slice(time), SB_SLICE("."), body};
    bool ok = true;
    for (int i = 0; ok && i < endpoint->secret_count; i++) {
        sb_hash_t hash;
        ok = sb_hash_hmac(sb_buf_slice(&endpoint->secret[i]), parts, sizeof parts / sizeof parts[0], &hash);
        sb_buf_add_text(out, i ? " v1," : "v1,");
        if (ok)
            sb_base64_encode(out, (sb_slice_t){(const char *)hash.byte, sizeof hash.byte});
    }
    return ok && !sb_buf_failed(out) ? SB_OK : sb_fail(err, SB_NO_MEMORY, "push: out of memory");
}
