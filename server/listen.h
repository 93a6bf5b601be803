/* listen - where the HTTP server can be reached, and that what is said there cannot be overheard.
 *
 * Guarantees that an address beyond this machine is served with TLS, or that the settings ask for it without
 * by name.
 *
 * Thread: the owner's, before the loop runs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_LISTEN_H
#define SB_SERVER_LISTEN_H

#include "server/connections.h"

struct ssl_ctx_st;

typedef struct sb_listen {
    struct ssl_ctx_st *tls; /* owned; NULL: none */
    char address[96];       /* "http://127.0.0.1:8088", with the port that was given for 0 */
    bool loopback;
    sb_connections_t connections;
} sb_listen_t;

/* Binds by the settings http.listen, http.tls_cert, http.tls_key, http.insecure_listen and
 * http.connections_max. SB_INVALID: one of them; SB_DENIED: not loopback without TLS; SB_UNAVAILABLE: the
 * address is taken. sb_listen_fini after sb_listen_open in any case, once server is freed. */
SB_MUST_CHECK sb_code_t sb_listen_open(sb_listen_t *listen, struct evhttp *server, const sb_config_t *config,
                                       sb_error_t *err);
void sb_listen_fini(sb_listen_t *listen);

#endif
