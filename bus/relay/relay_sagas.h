/* relay_sagas - which id a saga's number belongs to: the key under which its events go out.
 *
 * An id never changes, and a saga's first event says it, so while the relay keeps up the store is not asked
 * at all. Bounded: sagas whose counters are far apart take one another's place.
 *
 * Inner to the relay. Thread: the relay's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_SAGAS_H
#define SB_BUS_RELAY_SAGAS_H

#include "base/pg.h"
#include "sagabus/id.h"

typedef struct sb_relay_sagas {
    struct sb_relay_saga *slot; /* NULL: nothing yet */
    sb_pg_array_t missing;
} sb_relay_sagas_t;

void sb_relay_sagas_fini(sb_relay_sagas_t *sagas);

/* Before a page. */
SB_MUST_CHECK sb_code_t sb_relay_sagas_begin(sb_relay_sagas_t *sagas, sb_error_t *err);
/* The saga's first event is in the page, with this body. One that does not say the id says nothing. */
void sb_relay_sagas_note(sb_relay_sagas_t *sagas, int64_t no, sb_slice_t body);
/* The page has an event of that saga. */
void sb_relay_sagas_need(sb_relay_sagas_t *sagas, int64_t no);
/* Asks the store for those that are needed and not known, in one round trip; none when all are. */
SB_MUST_CHECK sb_code_t sb_relay_sagas_load(sb_relay_sagas_t *sagas, sb_pg_t *pg, sb_error_t *err);

/* The id as text; the number where the store has the saga no more. Asks the store for one whose place was
 * taken. */
SB_MUST_CHECK sb_code_t sb_relay_sagas_get(sb_relay_sagas_t *sagas, sb_pg_t *pg, int64_t no,
                                           char out[SB_UUID_TEXT], sb_error_t *err);

#endif
