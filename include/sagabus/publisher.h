/* publisher - publishes events: through the store (durable, in order), or straight to Kafka (direct).
 *
 * Durable (sb_publish): the event is committed to the event store before the call returns, and the relay
 * sends it to `<prefix><category>.events` in the order of the store, however often anything dies. It needs
 * the store's database. This is the one to take for what must not be lost, or must come with a change in that
 * database.
 *
 * Direct (sb_publisher_*): the event goes to Kafka only, to a topic of its own (`<prefix><category>.direct`,
 * or one you name), for measurements, clicks and the like: what is cheap to lose and too much for a database.
 * The producer is idempotent and waits for all in-sync replicas; what was acknowledged is on the brokers,
 * once, in the order it was sent a key, until a report says failure: then later events of that key may be
 * there already. The store does not know these events: no view, no replay, no position header, no rebuilding
 * of a wiped broker. The schema registry is not asked; the body must be JSON.
 *
 * A direct publisher is bounded: kafka.queue.buffering.max.messages events (100,000) or
 * kafka.queue.buffering.max.kbytes (256 MiB) may wait for their acknowledgement; then SB_BUSY.
 *
 * Thread: a publisher belongs to one thread at a time; callbacks run on it, inside poll, flush and close.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_PUBLISHER_H
#define SAGABUS_PUBLISHER_H

#include "sagabus/store.h"

/* ---- durable ---- */

/* Appends one event to the stream of its subject, at any version. With an id, the same event again is not
 * appended again for 7 days: result->outcome is SB_APPEND_REPEATED. Errors as of sb_store_append; blocks for
 * one round trip. */
SB_API SB_MUST_CHECK sb_code_t sb_publish(sb_store_t *store, const sb_event_t *event,
                                          sb_append_result_t *result, sb_error_t *err);

/* ---- direct ---- */

typedef struct sb_publisher sb_publisher_t;

/* What became of one event. Borrowed for the call. */
typedef struct sb_published {
    uint64_t tag;          /* as given to sb_publisher_send */
    const sb_error_t *err; /* NULL: acknowledged by all in-sync replicas */
    const char *topic;
    int32_t partition; /* -1: unknown, as may be of what failed */
    int64_t offset;    /* below 0: it failed */
} sb_published_t;

/* Called once for each event that was taken. err->code: SB_TIMEOUT (not acknowledged within
 * kafka.message.timeout.ms, 2 minutes, or only a later event of its partition was: it may be there),
 * SB_NOT_FOUND (no such topic), SB_TOO_LARGE, SB_DENIED, SB_STOPPED (taken back by close: it may be there).
 * It must not call the publisher. */
typedef void (*sb_published_fn)(void *context, const sb_published_t *published);

typedef struct sb_publisher_config {
    const char *kafka_bootstrap;  /* NULL: SAGABUS_KAFKA_BOOTSTRAP, else 127.0.0.1:9092 */
    const char *kafka_prefix;     /* NULL: SAGABUS_KAFKA_PREFIX, else none */
    const char *client_id;        /* what the brokers call us; NULL: "sagabus-publisher" */
    const char *source;           /* CloudEvents source of events that name none; NULL: "/sagabus" */
    bool structured;              /* write CloudEvents structured mode instead of binary */
    sb_published_fn on_published; /* NULL: failures are only told by sb_publisher_flush */
    void *context;
} sb_publisher_config_t;

/* Other Kafka settings (security.protocol, linger.ms …) come from the environment:
 * SAGABUS_KAFKA_SECURITY_PROTOCOL and so on. Connects in the background. SB_INVALID: a setting is wrong, or
 * would break a guarantee. */
SB_API SB_MUST_CHECK sb_code_t sb_publisher_open(sb_publisher_t **out, const sb_publisher_config_t *config,
                                                 sb_error_t *err);

/* Takes a copy of the event and returns at once. A nil id becomes a version 7 id, a time of 0 now. The
 * record's key is the partition key, else the subject; neither: any partition. topic NULL:
 * `<prefix><category>.direct`, else a name, with the prefix put in front; the relay's and the sagas' own
 * topics are refused. tag comes back with the report.
 *
 * SB_BUSY: the queue is full; poll and send again. SB_INVALID: no event type, body not JSON, or a topic that
 * is refused. SB_TOO_LARGE: over SB_EVENT_BYTES_MAX. SB_NOT_FOUND: the topic is known not to be there. */
SB_API SB_MUST_CHECK sb_code_t sb_publisher_send(sb_publisher_t *publisher, const sb_event_t *event,
                                                 const char *topic, uint64_t tag, sb_error_t *err);

/* Hands over reports, waiting up to timeout_ms for the first. Call it often: reports wait in memory. */
SB_API void sb_publisher_poll(sb_publisher_t *publisher, int timeout_ms);

/* Events taken and not reported yet. */
SB_API size_t sb_publisher_pending(const sb_publisher_t *publisher);

/* Waits until every event is acknowledged or has failed. SB_TIMEOUT: not in that time; the rest stays under
 * way. SB_DENIED, at once: the brokers do not let us in (credentials, certificate), and the message says what
 * they said. Any other code: the first failure since the last flush. */
SB_API SB_MUST_CHECK sb_code_t sb_publisher_flush(sb_publisher_t *publisher, int timeout_ms, sb_error_t *err);

/* Takes back what is not acknowledged, reporting it as SB_STOPPED, and frees. Flush before it. */
SB_API void sb_publisher_close(sb_publisher_t **publisher); /* NULL is fine; sets NULL */

#endif
