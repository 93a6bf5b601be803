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

#endif
