/* wire - a request as it comes from the HTTP library, and its answer as it goes out: heads, query, bodies.
 *
 * Thread: the loop's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_WIRE_H
#define SB_SERVER_WIRE_H

#include "server/request.h"

struct evhttp_request;

/* Requests that are over and serve again, with the memory of their bodies. */
typedef struct sb_wire_pool {
    sb_request_t *spare;
    size_t spares;
} sb_wire_pool_t;

void sb_wire_pool_fini(sb_wire_pool_t *pool);

/* Copies what came: head, query, body. *Owned*; its connection is raw. NULL: out of memory. */
sb_request_t *sb_wire_read(sb_wire_pool_t *pool, struct evhttp_request *raw);
void sb_wire_free(sb_wire_pool_t *pool, sb_request_t *request);

/* Sends status, headers and body; the connection is the library's again. plain: it is not encrypted. */
void sb_wire_send(sb_request_t *request, bool plain);

/* Sends the head of an answer whose body comes in pieces. */
void sb_wire_send_head(sb_request_t *request);

#endif
