/* producer - sends records to topics; idempotent, acks=all, bounded.
 *
 * For commands and replies (events go through the relay). What failed for good is handed to on_failed from
 * sb_producer_poll, sb_producer_flush and, seldom, sb_producer_send; delivered records are not reported one
 * by one.
 *
 * A poll ends a burst: what is sent to a topic after it waits here for the brokers' word on the burst before,
 * and goes out together with the poll after that. So whoever polls must poll soon while
 * sb_producer_is_holding, or have itself woken for it by sb_producer_wake and poll once a second all the
 * same: what the brokers leave without a word (a partition has no leader) is waited for two seconds only.
 *
 * Thread: send and poll from one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PRODUCER_H
#define SB_BUS_PRODUCER_H

#include "base/config.h"
#include "sagabus/subscriber.h" /* sb_header_t */

#define SB_HEADERS_MAX     24 /* of a message as we read it */
#define SB_HEADERS_OUT_MAX 48 /* of a record: a dead letter has its own and more */

typedef struct sb_record {
    const char *topic;
    int32_t partition; /* -1: by key, murmur2 */
    sb_slice_t key;
    sb_slice_t value; /* absent: a tombstone */
    const sb_header_t *headers;
    size_t header_count;
    uint64_t tag;        /* handed back to on_failed; below 2^63 */
    int64_t patience_us; /* not sent: how long the sender waits for what it asks for; 0: not said */
} sb_record_t;

typedef struct sb_producer sb_producer_t;
typedef void (*sb_producer_failed_fn)(void *context, uint64_t tag, const sb_error_t *err);

SB_MUST_CHECK sb_code_t sb_producer_open(sb_producer_t **out, const sb_config_t *config,
                                         const char *client_id, sb_producer_failed_fn on_failed,
                                         void *context, sb_error_t *err);
/* Copies the record. SB_BUSY: the queue is full; poll and try again. */
SB_MUST_CHECK sb_code_t sb_producer_send(sb_producer_t *producer, const sb_record_t *record, sb_error_t *err);
/* Serves reports; waits up to timeout_ms for one. Makes a new handle after a fatal error. */
void sb_producer_poll(sb_producer_t *producer, int timeout_ms);
/* Waits until everything is out or the time is over; SB_TIMEOUT: not all. */
SB_MUST_CHECK sb_code_t sb_producer_flush(sb_producer_t *producer, int timeout_ms, sb_error_t *err);
bool sb_producer_is_holding(const sb_producer_t *producer);
/* Has 8 bytes written to the eventfd fd when a poll may let records go that are held. */
void sb_producer_wake(sb_producer_t *producer, int fd);
/* Parts what was sent so far from what is sent from now on. False: some of those before the last cut are
 * still on their way. */
bool sb_producer_cut(sb_producer_t *producer);
/* How many of those before the cut are neither with the brokers nor told as failed. */
size_t sb_producer_before_cut(const sb_producer_t *producer);
void sb_producer_close(sb_producer_t **producer); /* purges what is not out */

#endif
