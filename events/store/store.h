/* store (inner side) - how our own rooms get at the store of include/sagabus/store.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_STORE_H
#define SB_EVENTS_STORE_H

#include "events/catalog.h"
#include "sagabus/store.h"

/* Of the streams that the orchestrator alone writes; their key is the saga's id. */
#define SB_SAGA_CATEGORY "saga"

/* A store over a connection and a catalog that outlive it; both borrowed. */
SB_MUST_CHECK sb_code_t sb_store_new(sb_store_t **out, sb_pg_t *pg, sb_catalog_t *catalog, sb_error_t *err);
/* As sb_store_config_t's event_bytes_max. */
void sb_store_limit(sb_store_t *store, size_t event_bytes_max);

/* Fills *event from one row of the columns seq, stream_no, at, version, type_no, class, id, meta, data, key
 * (key NULL where the reader has no use for it), as every reading statement of this room has them, in the
 * version it was written in. *chain is the way to the newest (sb_upcaster_run). scratch keeps unescaped text;
 * it is reset by the call. */
SB_MUST_CHECK sb_code_t sb_event_from_row(const sb_catalog_t *catalog, const sb_slice_t fields[10],
                                          sb_buf_t *scratch, sb_event_t *event,
                                          const sb_upcast_chain_t **chain, sb_error_t *err);

/* "order/o-1" to its parts, which borrow from text; a key may have slashes. False: no stream is called so. */
bool sb_stream_parse(const char *text, sb_slice_t *category, sb_slice_t *key);

#define SB_READ_TYPES_MAX 32
/* "order.*,payment.charged" (NULL: none) to what sb_read_all_t's types are, which borrow from text.
 * SB_INVALID: they are more than SB_READ_TYPES_MAX. */
SB_MUST_CHECK sb_code_t sb_read_types_parse(const char *text, sb_slice_t types[SB_READ_TYPES_MAX],
                                            size_t *count, sb_error_t *err);

/* The JSON object kept in event.meta: source, correlationid, causationid, traceparent, partitionkey; what is
 * absent (or the default source) is left out, and nothing is written when nothing is left: store NULL. */
void sb_event_meta(const sb_event_t *event, sb_buf_t *out);

#endif
