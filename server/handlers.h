/* handlers - what the route table points at; one file a noun.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_HANDLERS_H
#define SB_SERVER_HANDLERS_H

#include "server/engine.h"
#include "server/route.h"
#include "server/worker.h"

/* system.c */
void sb_get_livez(sb_engine_t *engine, sb_request_t *request);
void sb_get_readyz(sb_engine_t *engine, sb_request_t *request);
void sb_get_metrics(sb_engine_t *engine, sb_request_t *request);
void sb_get_openapi(sb_engine_t *engine, sb_request_t *request);
void sb_get_version(sb_engine_t *engine, sb_request_t *request);

/* sagas.c */
void sb_post_saga(sb_engine_t *engine, sb_request_t *request);
sb_code_t sb_get_sagas(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_saga(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_saga_explanation(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
/* The id in the path. SB_NOT_FOUND: it cannot be a saga's. */
SB_MUST_CHECK sb_code_t sb_request_saga(const sb_request_t *request, sb_uuid_t *id, sb_error_t *err);

/* saga_acts.c */
sb_code_t sb_post_saga_verb(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_post_saga_bulk(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_audit(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* participant_api.c */
void sb_get_participants(sb_engine_t *engine, sb_request_t *request);

/* event_post.c */
void sb_post_event(sb_engine_t *engine, sb_request_t *request);
sb_code_t sb_post_event_of_unknown_type(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* event_batch.c */
sb_code_t sb_post_event_batch(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* event_api.c */
sb_code_t sb_get_events(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_stream(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* event_erase.c */
sb_code_t sb_post_event_erase(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* event_stream.c */
sb_code_t sb_get_event_stream(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* view_api.c */
sb_code_t sb_get_views(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_view(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_view_parked(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);
sb_code_t sb_get_view_row(sb_worker_t *worker, sb_request_t *request, sb_error_t *err);

/* metrics.c */
void sb_metrics_write(sb_engine_t *engine, sb_buf_t *out);

#endif
