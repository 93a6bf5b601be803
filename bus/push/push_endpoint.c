/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_endpoint.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#define SECRET_TEXT_MAX   4096
#define SECRET_SEPARATORS " \t\r\n,"

static const char *setting(const sb_config_t *config, const char *name, const char *what, char full[128])
{
    (void)snprintf(full, 128, "push.%s.%s", name, what);
    return sb_config_get(config, full);
}

/* ---- the URL ---- */

static sb_code_t read_url(sb_push_endpoint_t *out, const sb_config_t *config, const char *name,
                          const char *path, sb_error_t *err)
{
    char full[128];
    const char *url = setting(config, name, "url", full);
    if (!url[0])
        return sb_fail(err, SB_NOT_FOUND, "the setting %s is not given: it says where the endpoint %s is",
                       full, name);
    const char *fault = sb_webhook_url_fault(url, false);
    if (fault) /* without the value: it may hold the password, or the token, that it is refused for */
        return sb_fail(err, SB_INVALID, "%s (%s): %s", full, sb_config_source(config, full), fault);
    size_t length = strlen(url);
    while (path[0] && length > 0 && url[length - 1] == '/')
        length--;
    sb_buf_add(&out->url, url, length);
    sb_buf_add_text(&out->url, path);
    return sb_buf_failed(&out->url) ? sb_fail(err, SB_NO_MEMORY, "push: out of memory") : SB_OK;
}

/* ---- the secrets ---- */

static sb_code_t add_secret(sb_push_endpoint_t *out, const char *where, sb_slice_t text, sb_error_t *err)
{
    if (out->secret_count == SB_PUSH_SECRETS_MAX)
        return sb_fail(err, SB_INVALID, "%s: at most %d secrets at once", where, SB_PUSH_SECRETS_MAX);
    return sb_webhook_secret_read(&out->secret[out->secret_count++], text, where, err);
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
    const char *fault = sb_webhook_url_fault(url, false);
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
    explicit_bzero(endpoint->secret, sizeof endpoint->secret);
    endpoint->secret_count = 0;
}
