/* SPDX-License-Identifier: Apache-2.0 */
#include "server/listen.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/bufferevent_ssl.h>
#include <event2/http.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static sb_code_t split_address(const char *listen, char host[64], int *port, sb_error_t *err)
{
    const char *colon = strrchr(listen, ':');
    char *end;
    if (!colon || colon == listen || (size_t)(colon - listen) >= 64)
        return sb_fail(err, SB_INVALID, "http.listen=%s: address:port is wanted, as 127.0.0.1:8088", listen);
    (void)snprintf(host, 64, "%.*s", (int)(colon - listen), listen);
    long value = strtol(colon + 1, &end, 10);
    if (*end || end == colon + 1 || value < 0 || value > 65535)
        return sb_fail(err, SB_INVALID, "http.listen=%s: %s is not a port", listen, colon + 1);
    *port = (int)value;
    return SB_OK;
}

static bool is_loopback(const char *host)
{
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

static struct bufferevent *tls_bufferevent(struct event_base *base, void *context)
{
    SSL *ssl = SSL_new(context);
    return bufferevent_openssl_socket_new(base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                          BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
}

static sb_code_t open_tls(sb_listen_t *listen, const char *cert, const char *key, sb_error_t *err)
{
    listen->tls = SSL_CTX_new(TLS_server_method());
    if (!listen->tls)
        return sb_fail(err, SB_NO_MEMORY, "TLS: out of memory");
    (void)SSL_CTX_set_min_proto_version(listen->tls, TLS1_2_VERSION);
    if (SSL_CTX_use_certificate_chain_file(listen->tls, cert) != 1)
        return sb_fail(err, SB_INVALID, "http.tls_cert=%s: %s", cert,
                       ERR_reason_error_string(ERR_get_error()));
    if (SSL_CTX_use_PrivateKey_file(listen->tls, key, SSL_FILETYPE_PEM) != 1)
        return sb_fail(err, SB_INVALID, "http.tls_key=%s: %s", key, ERR_reason_error_string(ERR_get_error()));
    listen->connections.make = tls_bufferevent;
    listen->connections.make_context = listen->tls;
    return SB_OK;
}

/* What listens beyond this machine must be encrypted, or be asked for by name. */
static sb_code_t check_exposure(const sb_config_t *config, const char *listen, bool loopback, bool tls,
                                sb_error_t *err)
{
    bool insecure = false;
    sb_code_t code = sb_config_get_bool(config, "http.insecure_listen", &insecure, err);
    if (code != SB_OK || loopback || tls)
        return code;
    if (!insecure)
        return sb_fail(err, SB_DENIED,
                       "http.listen=%s is not loopback: set http.tls_cert and http.tls_key (and make a key "
                       "with `sagabus "
                       "key create`), or say http.insecure_listen=true",
                       listen);
    sb_log(SB_LOG_WARN, "HTTP-INSECURE", "listening beyond this machine without TLS|address=%s", listen);
    return SB_OK;
}

static sb_code_t bind_server(sb_listen_t *listen, struct evhttp *server, const char *host, int port,
                             sb_error_t *err)
{
    struct evhttp_bound_socket *bound = evhttp_bind_socket_with_handle(server, host, (uint16_t)port);
    if (!bound)
        return sb_fail(err, SB_UNAVAILABLE, "cannot listen on %s:%d: %s", host, port, strerror(errno));
    struct sockaddr_in6 address = {0}; /* its port lies where that of sockaddr_in does */
    socklen_t length = sizeof address;
    int fd = evhttp_bound_socket_get_fd(bound);
    if (port == 0 && getsockname(fd, (struct sockaddr *)&address, &length) == 0)
        port = ntohs(address.sin6_port);
    listen->connections.port = port;
    (void)snprintf(listen->address, sizeof listen->address, "%s://%s:%d", listen->tls ? "https" : "http",
                   host, port);
    return SB_OK;
}

sb_code_t sb_listen_open(sb_listen_t *listen, struct evhttp *server, const sb_config_t *config,
                         sb_error_t *err)
{
    *listen = (sb_listen_t){0};
    char host[64];
    int port = 0;
    const char *where = sb_config_get(config, "http.listen");
    const char *cert = sb_config_get(config, "http.tls_cert");
    const char *key = sb_config_get(config, "http.tls_key");
    sb_code_t code = split_address(where, host, &port, err);
    if (code != SB_OK)
        return code;
    if (!cert[0] != !key[0])
        return sb_fail(err, SB_INVALID, "%s is set without %s: TLS needs the certificate and its key",
                       cert[0] ? "http.tls_cert" : "http.tls_key",
                       cert[0] ? "http.tls_key" : "http.tls_cert");
    listen->loopback = is_loopback(host);
    code = check_exposure(config, where, listen->loopback, cert[0], err);
    if (code == SB_OK && cert[0])
        code = open_tls(listen, cert, key, err);
    if (code == SB_OK)
        code = sb_connections_open(&listen->connections, server, config, err);
    return code == SB_OK ? bind_server(listen, server, host, port, err) : code;
}

void sb_listen_fini(sb_listen_t *listen)
{
    SSL_CTX_free(listen->tls);
    listen->tls = NULL;
}
