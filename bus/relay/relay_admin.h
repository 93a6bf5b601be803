/* relay_admin - what an operator sees of the relay and asks of it, by the database alone: no relay need run.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_ADMIN_H
#define SB_BUS_RELAY_ADMIN_H

#include "base/pg.h"

/* This store goes on although Kafka has events it has not (it was restored): its incarnation rises, by which
 * consumers tell the new events from those that are lost. *incarnation is the new one. */
SB_MUST_CHECK sb_code_t sb_relay_fork(sb_pg_t *pg, int64_t *incarnation, sb_error_t *err);

/* The newest events that were too large for their topic, at most limit: rows of seq, event_id, type, topic,
 * partition, bytes, at. *out is owned. */
SB_MUST_CHECK sb_code_t sb_relay_withheld(sb_pg_t *pg, int64_t limit, sb_pg_result_t **out, sb_error_t *err);

/* Asks that the events topic of a category be filled again from the store; the relay does it
 * (relay_rebuild.h). recreate: delete the topic first when it has records. *rebuild_no names the request. */
SB_MUST_CHECK sb_code_t sb_relay_rebuild_request(sb_pg_t *pg, const char *category, bool recreate,
                                                 const char *by, int64_t *rebuild_no, sb_error_t *err);

typedef struct sb_relay_rebuild_state {
    int64_t done_seq; /* read up to here */
    int64_t upto_seq; /* to be read up to here; 0: not begun */
    int64_t sent;     /* records in Kafka */
    bool ended;
    bool relay_runs;
    char error[256]; /* why it was not done; "" */
} sb_relay_rebuild_state_t;

SB_MUST_CHECK sb_code_t sb_relay_rebuild_look(sb_pg_t *pg, int64_t rebuild_no, sb_relay_rebuild_state_t *out,
                                              sb_error_t *err);

#endif
