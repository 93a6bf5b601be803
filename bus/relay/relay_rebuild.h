/* relay_rebuild - fills an events topic again from the store, when Kafka has lost it.
 *
 * The relay does it between two live events, in the same order and with positions as before: first everything
 * of the category up to where the relay is, from the start of the chain; then the relay goes on. So the topic
 * is whole and in order for whoever reads it from its beginning, and consumers drop what they have handled.
 * The live events of all topics wait meanwhile. How far it is is kept with the marks, in transactions of the
 * lease: a relay that dies is succeeded by one that goes on there.
 *
 * Inner to the relay. Thread: the relay's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_REBUILD_H
#define SB_BUS_RELAY_REBUILD_H

#include "base/lease.h"
#include "bus/relay/relay_out.h"

#include <stdatomic.h>

typedef struct sb_relay_rebuild {
    const sb_config_t *config;
    sb_pg_t *pg;
    const sb_lease_t *lease;
    sb_relay_marks_t *marks;
    sb_relay_out_t *out; /* with nothing under way */
    int64_t incarnation;
    int64_t upto; /* the relay goes on after it */
    const atomic_bool *stopping;
} sb_relay_rebuild_t;

/* Works on a request until it has ended, which its row then says, also when it was refused. SB_STOPPED: a
 * stop was asked for; others are PostgreSQL's, the lease's and Kafka's: the request stays, for a later try.
 * Nothing is under way when it returns. */
SB_MUST_CHECK sb_code_t sb_relay_rebuild_run(const sb_relay_rebuild_t *rebuild, int64_t rebuild_no,
                                             sb_error_t *err);

#endif
