/* worker - threads that may block: each has a PostgreSQL connection, a store and a view reader of its own.
 *
 * Jobs wait in one bounded queue; full is SB_BUSY, which the client sees as 429.
 *
 * Thread: push from the HTTP loop; open and close from the daemon.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_WORKER_H
#define SB_SERVER_WORKER_H

#include "events/store/store.h"
#include "server/engine.h"
#include "server/route.h"

typedef struct sb_worker {
    sb_engine_t *engine;
    struct sb_workers *pool;
    pthread_t thread;
    sb_pg_t *pg;
    sb_store_t *store;
    sb_view_reader_t *views;
} sb_worker_t;

typedef struct sb_workers sb_workers_t;

/* queue_max: jobs that may wait. */
SB_MUST_CHECK sb_code_t sb_workers_open(sb_workers_t **out, sb_engine_t *engine, int count, int queue_max,
                                        sb_error_t *err);
/* Finishes what is queued, then ends the threads. */
void sb_workers_close(sb_workers_t **workers);

/* Takes the request on SB_OK: the worker runs its route's in_worker and hands it back. */
SB_MUST_CHECK sb_code_t sb_workers_push(sb_workers_t *workers, sb_request_t *request, sb_error_t *err);

#endif
