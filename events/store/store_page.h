/* store_page - many events of the store at once, by COPY, into memory that is bounded.
 *
 * COPY spares the server and us the overhead of a result, and the join with the streams is done here, by
 * their keys (store_keys.h): with it, PostgreSQL takes twice the time. The page is in memory before the first
 * event is delivered, so a slow reader holds neither a snapshot nor a statement open, and may stop at any
 * event.
 *
 * Thread: the store's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_STORE_PAGE_H
#define SB_EVENTS_STORE_PAGE_H

#include "events/store/store_internal.h"

typedef struct sb_store_page {
    sb_buf_t rows; /* packed (packed_row.h) */
    size_t at;     /* of the next one to deliver */
    int count;
    int64_t last_seq; /* of the newest row; 0 without */
    bool cut;         /* there was more than fits: the statement was ended */
} sb_store_page_t;

typedef struct sb_store_range {
    int64_t after, to; /* seq in (after, to] */
    int limit;
    bool domain_only;
    const char *type_nos; /* "1,2,3"; NULL: all types */
} sb_store_range_t;

void sb_store_page_fini(sb_store_page_t *page);

/* Replaces the page's content. */
SB_MUST_CHECK sb_code_t sb_store_page_fetch(sb_store_page_t *page, sb_store_t *store,
                                            const sb_store_range_t *range, sb_error_t *err);
/* Hands over the next event; *seq is its number. */
SB_MUST_CHECK sb_code_t sb_store_page_deliver(sb_store_page_t *page, sb_store_t *store, sb_event_fn on_event,
                                              void *context, int64_t *seq, sb_error_t *err);

#endif
