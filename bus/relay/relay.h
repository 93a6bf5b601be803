/* relay - moves committed events from the store to Kafka, in order of seq.
 *
 * The event table is the outbox and the relay's lease row holds the cursor: it moves, in a transaction that
 * holds the lease, only after the broker has acknowledged everything up to it, so a crash sends twice, never
 * zero times. Each record carries `sb-pos` = incarnation.epoch.seq.prev (prev = the seq before it on that
 * partition), by which consumers drop repeats and notice gaps. On the first failed delivery report everything
 * in flight is purged, a new producer is made, and sending starts again at the lowest unacknowledged event.
 *
 * Sent: class 1 events and the public saga events (events/saga_types.h).
 *
 * Thread: open, run and close from one thread; stop and stats from any. It listens to progress until its
 * close: close it when nothing publishes there any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_H
#define SB_BUS_RELAY_H

#include "base/config.h"
#include "events/catalog.h"
#include "events/progress.h"

typedef struct sb_relay sb_relay_t;

typedef struct sb_relay_config {
    const sb_config_t *config;
    const char *pg_uri;
    const char *owner;
    sb_catalog_t *catalog;   /* borrowed; may be NULL: types come from the store as they are */
    sb_progress_t *progress; /* borrowed; may be NULL */
} sb_relay_config_t;

typedef struct sb_relay_stats {
    bool leader;
    int64_t cursor; /* everything up to here is in Kafka */
    int64_t lag_events;
    int64_t oldest_age_ms; /* age of the oldest event not yet in Kafka */
    int64_t sent;          /* since start */
    int64_t resends;
    int64_t withheld;
    char error[256]; /* why it stands still; "" when it does not */
} sb_relay_stats_t;

SB_MUST_CHECK sb_code_t sb_relay_open(sb_relay_t **out, const sb_relay_config_t *config, sb_error_t *err);
void sb_relay_run(sb_relay_t *relay); /* until stopped; waits for PostgreSQL and Kafka by itself */
void sb_relay_stop(sb_relay_t *relay);
void sb_relay_close(sb_relay_t **relay);
void sb_relay_stats(const sb_relay_t *relay, sb_relay_stats_t *out);

#endif
