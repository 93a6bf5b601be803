/* What the store's files share: store.c opens and appends, store_read.c reads a stream, store_read_all.c all.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_STORE_INTERNAL_H
#define SB_EVENTS_STORE_INTERNAL_H

#include "events/store/append.h"
#include "events/store/store.h"
#include "events/store/store_keys.h"

struct sb_store {
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    bool owned; /* pg and catalog are the store's own */
    char *source;
    size_t event_bytes_max; /* 0: SB_EVENT_BYTES_MAX */
    sb_encoded_t encoded;   /* the append in hand */
    sb_append_batch_t batch;
    sb_buf_t request; /* what is hashed under a command id */
    sb_buf_t scratch;
    sb_store_keys_t keys;    /* of streams that were read */
    sb_upcaster_t *upcaster; /* of events read */
};

/* A store that owns its connection opens it again after it broke; one that borrows it leaves that to the
 * connection's owner. */
SB_MUST_CHECK sb_code_t sb_store_ready(sb_store_t *store, sb_error_t *err);

/* sb_store_append under the name of another request: what makes a repeated command the same one is request,
 * not the events. For whoever decides anew what to append when it is asked again. NULL: the append itself. */
SB_MUST_CHECK sb_code_t sb_store_append_as(sb_store_t *store, const sb_append_t *append,
                                           const sb_hash_t *request, sb_append_result_t *result,
                                           sb_error_t *err);

/* Makes an event of the columns of sb_event_from_row and hands it to the reader, however they were read. */
SB_MUST_CHECK sb_code_t sb_store_deliver(sb_store_t *store, const sb_slice_t fields[10], sb_event_fn on_event,
                                         void *context, sb_error_t *err);
/* The same for a row of a result. */
SB_MUST_CHECK sb_code_t sb_store_deliver_row(sb_store_t *store, const sb_pg_result_t *rows, int row,
                                             sb_event_fn on_event, void *context, sb_error_t *err);

#endif
