/* push - sends events of the store to HTTP endpoints, as subscriptions say (bus/push/push_definition.h).
 *
 * It reads the store up to the safe sequence number, so it needs no Kafka. A subscription has one owner among
 * all instances, elected by its lease `push:NAME`, whose cursor is its position: everything up to there is
 * delivered, or written down as a dead letter in the transaction that passed it. A crash delivers again what
 * was under way, under the same id; nothing is left out. Requests of an instance that lost its lease cannot
 * be called back, so a repeat may come beside or after later events of its key. What comes for the first time
 * is in order even then: whoever sends an event has had the answer to the one before it of the key, or begins
 * at a position above it, which was saved after that answer.
 *
 * An answer 2xx is delivered. 400, 409, 413, 415 and 422 are about the event: a dead letter at once. 410
 * pauses the subscription. 429, and 503 with Retry-After, make the whole subscription wait. Everything else,
 * and no answer, is tried again by the retry policy, and then a dead letter too. By key, a dead letter holds
 * its key back: later events of the key wait behind it as dead letters, other keys flow; `sagabus dlq
 * redrive` has them sent again, in order, and frees the key. One by one, the event that fails is tried
 * without end.
 *
 * Tries count while the breaker is closed. Of the probes of an open one only those count that the endpoint
 * itself answered, so an endpoint that is away makes no dead letters.
 *
 * Thread: open, run and close from one thread; stop and stats from any. It listens to progress until its
 * close: close it when nothing publishes there any more.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_H
#define SB_BUS_PUSH_H

#include "base/config.h"
#include "events/catalog.h"
#include "events/progress.h"

typedef struct sb_push sb_push_t;

typedef struct sb_push_config {
    const sb_config_t *config;
    const char *pg_uri;
    const char *owner;
    sb_catalog_t *catalog;   /* borrowed */
    sb_progress_t *progress; /* borrowed; may be NULL */
    uint32_t idle_ms;        /* how often PostgreSQL is asked when nobody tells; 0: 200 */
    uint32_t refresh_ms;     /* between two looks at registry, leases and what operators did; 0: 1000 */
    uint32_t drain_ms;       /* at a stop, for requests under way; 0: 3000 */
} sb_push_config_t;

typedef struct sb_push_stats {
    int subscriptions; /* registered */
    int owned;         /* by this instance */
    int paused;        /* of them */
    int stuck;         /* of them: they do not move, and are not paused */
    int in_flight;
    int breakers_open;
    int64_t lag_events; /* numbers between the furthest behind and the safe one */
    int64_t delivered;  /* since start */
    int64_t failures;   /* tries */
    int64_t dead_letters;
    int64_t redriven;
} sb_push_stats_t;

SB_MUST_CHECK sb_code_t sb_push_open(sb_push_t **out, const sb_push_config_t *config, sb_error_t *err);
void sb_push_run(sb_push_t *push); /* until stopped; waits for PostgreSQL by itself */
void sb_push_stop(sb_push_t *push);
void sb_push_close(sb_push_t **push);
void sb_push_stats(const sb_push_t *push, sb_push_stats_t *out);

#endif
