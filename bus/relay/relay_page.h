/* relay_page - the events of a range that are to be sent: a page of rows, read one by one.
 *
 * What this process has just written is at hand (events/recent.h). Of the rest a few come from a prepared
 * statement, in one round trip; many by COPY, and the keys of their streams are looked up once and kept: by
 * the statement they cost the server three times as much. Either way the page is in memory before the first
 * event is sent, and bounded.
 *
 * Names of event types are read here and not taken from the catalog: in a rolling deploy the relay must carry
 * types whose schema this release cannot read.
 *
 * Inner to the relay. Thread: the relay's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_PAGE_H
#define SB_BUS_RELAY_PAGE_H

#include "base/pg.h"
#include "bus/relay/relay_sagas.h"
#include "events/progress.h"
#include "events/store/store_keys.h"
#include "sagabus/event.h"

#define SB_RELAY_META_FIELDS 5

typedef struct sb_relay_type {
    char *name; /* NULL: a number that is not given */
    int version;
    bool is_public; /* of the saga events, those that are sent */
} sb_relay_type_t;

typedef struct sb_relay_page {
    bool loaded;
    int64_t end;         /* the page covers everything up to here */
    int64_t reach;       /* of the next one by COPY, in seqs: less where bodies are large */
    sb_pg_result_t *few; /* by the statement; NULL: by COPY */
    int row;
    sb_buf_t recent; /* of this process, packed */
    sb_buf_t many;   /* packed rows */
    size_t at;
    size_t next;
    int count;
    int64_t last_seq;
    bool cut;             /* there was more than fits: COPY was ended */
    sb_store_keys_t keys; /* by COPY */
    sb_relay_sagas_t sagas;
    char saga[SB_UUID_TEXT]; /* the key of the row at hand, when it is a saga's */
    sb_buf_t meta[SB_RELAY_META_FIELDS];
    sb_relay_type_t *type; /* by number */
    size_t type_count;
} sb_relay_page_t;

void sb_relay_page_init(sb_relay_page_t *page);
void sb_relay_page_fini(sb_relay_page_t *page);

/* Reads what is to be sent after one seq up to another, or as much of it as makes a page. progress: has the
 * events of this process; NULL: all are read from PostgreSQL. */
SB_MUST_CHECK sb_code_t sb_relay_page_load(sb_relay_page_t *page, sb_pg_t *pg, sb_progress_t *progress,
                                           int64_t after, int64_t to, sb_error_t *err);
void sb_relay_page_drop(sb_relay_page_t *page);

bool sb_relay_page_is_loaded(const sb_relay_page_t *page);
/* Whether a page is loaded and has a row left. */
bool sb_relay_page_has_row(const sb_relay_page_t *page);
/* The row at hand; its slices are borrowed until the next call. pg: to look up a type that is new. */
SB_MUST_CHECK sb_code_t sb_relay_page_event(sb_relay_page_t *page, sb_pg_t *pg, sb_event_t *event,
                                            sb_error_t *err);
void sb_relay_page_next(sb_relay_page_t *page);

#endif
