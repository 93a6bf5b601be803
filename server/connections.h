/* connections - how many clients may be connected at once (http.connections_max).
 *
 * Each costs a descriptor and its buffers, whether it asks for anything or not. One that comes when there are
 * so many is told 503 and closed (over TLS only closed); those that are there are left alone.
 *
 * evhttp tells nobody when it closes a connection, so the kernel is asked for the number: when as many have
 * come since the last time as there was room for then.
 *
 * Thread: the HTTP loop's; sb_connections_count and the number of those refused from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_CONNECTIONS_H
#define SB_SERVER_CONNECTIONS_H

#include "base/config.h"

#include <stdatomic.h>

struct event_base;
struct evhttp;
struct bufferevent;

typedef struct sb_connections {
    /* Makes the bufferevent of a client; NULL: evhttp's own. */
    struct bufferevent *(*make)(struct event_base *base, void *context);
    void *make_context;
    int port; /* the server's, in host order; 0: none is refused yet */
    int max;
    int room;           /* as many more may come before they are counted again */
    int64_t full_until; /* monotonic microseconds: until then all are refused without counting */
    _Atomic uint64_t refused;
} sb_connections_t;

/* Sees to it that the process may have so many open files. Borrowed by server, which is freed first; make may
 * be set before, port as soon as it is known. SB_INVALID: the setting. */
SB_MUST_CHECK sb_code_t sb_connections_open(sb_connections_t *connections, struct evhttp *server,
                                            const sb_config_t *config, sb_error_t *err);

/* How many there are now: looks through the process's descriptors, about a tenth of a millisecond. */
int sb_connections_count(const sb_connections_t *connections);

#endif
