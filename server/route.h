/* route - the one table of what the API answers: dispatch, scopes and the OpenAPI document all come from it.
 *
 * A route runs on the loop's thread (on_loop: quick, never blocks, answers now or later) or in a worker
 * (in_worker: has a PostgreSQL connection, may block; what it returns is the answer). With both it runs on
 * the loop, which may hand the request on by sb_workers_push.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_ROUTE_H
#define SB_SERVER_ROUTE_H

#include "server/keys.h"
#include "server/request.h"

struct sb_engine;
struct sb_worker;

typedef void (*sb_loop_fn)(struct sb_engine *engine, sb_request_t *request);
typedef sb_code_t (*sb_work_fn)(struct sb_worker *worker, sb_request_t *request, sb_error_t *err);

struct sb_route {
    const char *method;
    const char *pattern; /* "/v1/sagas/{id}" */
    sb_key_scope_t scope;
    sb_loop_fn on_loop;
    sb_work_fn in_worker;
    const char *summary;
    const char *tag;
    const char *query;    /* "name:meaning;name:meaning", "" for none */
    const char *request;  /* name of the body's schema in the OpenAPI components, then ";type:schema" for
                             another  content type; NULL: no body */
    const char *response; /* likewise; NULL: text */
    int status;           /* of success */
};

extern const sb_route_t sb_routes[]; /* ended by a NULL method */

/* Finds the route of method and path and sets request->route and params; false when the path is not known, or
 * known with other methods, which request->allow then lists. */
bool sb_route_find(sb_request_t *request);

#endif
