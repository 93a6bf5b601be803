/* subscriber - handles events of Kafka: in order, with effects that happen once, forgetting none.
 *
 * A subscriber is one member of a consumer group. It fetches once and hands each event to every subscription
 * whose type patterns fit. Each subscription has its own position, lanes and failures: one that is slow or
 * failing holds up no other (the fetch goes back for it when it has room again).
 *
 * With a database (`sagabus migrate --only client --schema NAME` in the service's own) position, inbox, the
 * handler's writes and dead letters are one transaction on the connection the handler is given:
 *   - an event's effect is committed exactly once, over crashes, rebalances and repeated records;
 *   - a member that lost a partition and does not know it (stopped, cut off) commits nothing: each assignment
 *     raises an epoch which every transaction holds.
 * Without one, events are handled at least once, and what cannot be handled is logged and counted.
 *
 * Where it stands is a position of the store (header sb-pos), not a Kafka offset: repeats are dropped, a gap
 * is filled from the store when store_uri leads there, else reported and counted, and brokers that were wiped
 * or replaced (another cluster id) are read from their beginning. Topics that are not the store's go by
 * offset, with an inbox by source and id. Offsets committed to Kafka are for those who watch the lag.
 * SB_FROM_NOW takes its position from the last record of each partition, so brokers that are wiped or a topic
 * that is made anew and filled again bring nothing from before. A partition that holds no record then has no
 * position: if its topic is made anew, all of it is handed over, for nothing would tell an old event from one
 * that was missed.
 *
 * One lane (the default) is batch mode: up to batch_max events a transaction, split by halves when it fails.
 * Several lanes are lane mode: events are spread by key, one transaction each unless batch_max says more, and
 * the position follows the lowest one not done. Order per key holds in both.
 *
 * An event that fails is tried again in place, with back-off, while its key waits and other keys flow. When
 * attempts_max is reached, or the handler says SB_INVALID, it becomes a dead letter (a row of the database),
 * and by `order`:
 *   key        its key is held back: successors become dead letters behind it, in order, until it is released
 *              (`sagabus dlq redrive`), which hands them all over in one transaction;
 *   none       nothing waits, not even for the tries in place: it is tried again from its row, later;
 *   partition  it never becomes one: its partition waits, and it is tried again for ever; see stats.stopped.
 * What is no event at all is a dead letter at once, with its bytes.
 *
 * With store_uri events are handed over in the newest schema version that the store's catalog knows; what
 * cannot be brought there is a dead letter. Without it they come in the version they were written in
 * (event.schema_version).
 *
 * Thread: open, run and close from one thread; stop from any or a signal handler; stats from any. Handlers
 * run on a subscription's own lanes, each with its own connection, one call at a time per lane; the thread in
 * run never waits for them, so the group never takes a slow handler for a dead member.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_SUBSCRIBER_H
#define SAGABUS_SUBSCRIBER_H

#include "sagabus/store.h"

#include <stdint.h>

struct pg_conn; /* libpq's PGconn */

typedef struct sb_header {
    const char *name; /* static or borrowed for the call */
    sb_slice_t value;
} sb_header_t;

/* An event as it is handed over; all of it is borrowed for the call. */
typedef struct sb_delivery {
    sb_event_t event;
    sb_slice_t id; /* as given; event.id is its UUID, or one made of source and id */
    const char *topic;
    int32_t partition;
    int64_t offset;   /* -1: it came from the store, not from Kafka */
    sb_slice_t key;   /* of the record */
    sb_slice_t value; /* of the record, as it came; event.data is what is in it */
    const sb_header_t *headers;
    size_t header_count;
    int attempt;   /* 1: the first try */
    bool redriven; /* it was a dead letter */
} sb_delivery_t;

/* Handles count events, at least one, in order. conn is inside a transaction (NULL without a database): do
 * not begin, commit or roll back; after a failure all that was written is rolled back. SB_INVALID: the event
 * will never be handled, do not try again; SB_STOPPED: not now, as the program ends, which is no failure of
 * the event; any other failure is tried again. A batch that fails is handed
 * over again in halves, so what is touched outside the transaction must be idempotent by the event's id. */
typedef sb_code_t (*sb_handler_fn)(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries,
                                   size_t count, sb_error_t *err);

typedef enum sb_order { SB_ORDER_KEY, SB_ORDER_NONE, SB_ORDER_PARTITION } sb_order_t;

/* Where a subscription without a position begins. */
typedef enum sb_from {
    SB_FROM_BEGINNING, /* what Kafka still has */
    SB_FROM_NOW,  /* the end; a topic made anew and other brokers change nothing of what came before it */
    SB_FROM_SEQ,  /* the event after from_seq; what Kafka has no more is a gap: filled or reported */
    SB_FROM_STORE /* the store's events after from_seq, then Kafka; needs store_uri */
} sb_from_t;

#define SB_SUBSCRIPTIONS_MAX 32
#define SB_PATTERNS_MAX      16
#define SB_LANES_MAX         64

typedef struct sb_subscription {
    const char *name;         /* its state is kept under it: unique in its database, never changed */
    const char *const *types; /* "order.created", "order.*", "*.created" (glob patterns) */
    size_t type_count;
    sb_handler_fn on_events;
    void *context;
    sb_order_t order;
    sb_from_t from;
    int64_t from_seq;
    unsigned lanes;                /* 0: 1 */
    unsigned batch_max;            /* events a transaction; 0: 500 with one lane, 1 with several */
    unsigned attempts_max;         /* tries in all; 0: 5 */
    unsigned retry_delay_ms;       /* before the second try, doubled each time, with jitter; 0: 100 */
    unsigned retry_delay_max_ms;   /* 0: 30000 */
    unsigned stuck_after_ms;       /* a call that takes longer is reported; 0: 60000 */
    const char *dead_letter_topic; /* a copy of each dead letter goes there too (without its value where it
                                      is too large for that); it must be there. NULL: no copy */
} sb_subscription_t;

typedef struct sb_subscriber_config {
    const char *group;           /* the consumer group is <prefix><group> */
    const char *kafka_bootstrap; /* NULL: by SAGABUS_KAFKA_BOOTSTRAP, as all of kafka.* */
    const char *kafka_prefix;    /* NULL: by SAGABUS_KAFKA_PREFIX */
    const char *const *topics;   /* full names or regular expressions that begin with '^'; NULL: those of the
                                    types,   <prefix><category>.events */
    size_t topic_count;
    const char *pg_uri;    /* the service's database; NULL: none */
    const char *schema;    /* where the client tables are; also the search_path of handlers */
    const char *store_uri; /* the store's database, to fill gaps; NULL: not reachable */
    const char
        *instance_id; /* static membership: a restart within the session time-out moves no partition; NULL */
    unsigned queue_max; /* events a subscription holds at once; 0: 10000 */
    unsigned drain_ms;  /* how long partitions that are taken away wait for handlers at work; 0: 10000 */
    const sb_subscription_t *subscriptions;
    size_t subscription_count;
} sb_subscriber_config_t;

typedef struct sb_subscriber sb_subscriber_t;

/* Copies the configuration. SB_INVALID says what is wrong with it. Talks to nobody yet. */
SB_API SB_MUST_CHECK sb_code_t sb_subscriber_open(sb_subscriber_t **out, const sb_subscriber_config_t *config,
                                                  sb_error_t *err);
/* Handles events until stopped: SB_OK. Waits for PostgreSQL and Kafka by itself. SB_DENIED: the brokers or
 * the database do not let us in; SB_UNSUPPORTED or SB_MISMATCH: the client tables are not of this version
 * (run `sagabus migrate --only client`); SB_FENCED: another member has our instance_id. */
SB_API SB_MUST_CHECK sb_code_t sb_subscriber_run(sb_subscriber_t *subscriber, sb_error_t *err);
/* Ends run: what handlers have in hand is finished, the group is left in order. */
SB_API void sb_subscriber_stop(sb_subscriber_t *subscriber);
SB_API void sb_subscriber_close(sb_subscriber_t **subscriber); /* NULL is fine; sets NULL */

typedef struct sb_subscription_stats {
    int64_t handled;      /* events, each once */
    int64_t repeats;      /* dropped by position, offset or inbox */
    int64_t failures;     /* calls of the handler that failed */
    int64_t dead_letters; /* made by this member, successors of held keys counted */
    int64_t redriven;     /* dead letters handled */
    int64_t gaps;         /* found */
    int64_t gaps_filled;  /* of these, from the store */
    int64_t waiting;      /* events fetched and not done, those that are tried again counted */
    int64_t fenced;       /* transactions given up because a newer member has the partition */
    int64_t stuck;        /* lanes whose handler takes longer than stuck_after_ms, now */
    int64_t stopped;      /* partitions that wait for an event with SB_ORDER_PARTITION, now */
    int64_t clusters;     /* times other brokers were found than the position knew */
} sb_subscription_stats_t;

/* Appends events to the event store in the handler's own transaction: they are there exactly when what it
 * wrote is. Only from a handler, on its thread, and only where its database is the store's. A conflict is an
 * outcome; any error means that the handler must fail, for the transaction is lost. */
SB_API SB_MUST_CHECK sb_code_t sb_subscriber_append(const sb_append_t *append, sb_append_result_t *result,
                                                    sb_error_t *err);

/* index: of the subscription in the configuration. */
SB_API void sb_subscriber_stats(const sb_subscriber_t *subscriber, size_t index,
                                sb_subscription_stats_t *out);

/* Value of a header, absent when it is not there; the last one counts. */
SB_API sb_slice_t sb_delivery_header(const sb_delivery_t *delivery, const char *name);

#endif
