/* reader - reads one partition from an offset that the caller keeps (in PostgreSQL), without a group.
 *
 * Used for the reply partitions of saga shards: assign(), never subscribe(). When the stored offset is not in
 * the topic any more, or the cluster's id has changed (a wiped or replaced broker), reading starts at the
 * beginning of what is there and `reset` is set, so that the owner sends its open commands again.
 *
 * Thread: one; the wake-up signal may be polled beside others.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_READER_H
#define SB_BUS_READER_H

#include "base/signal.h"
#include "bus/producer.h"

typedef struct sb_message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    int64_t time_ms; /* the record's timestamp, 0: none */
    sb_slice_t key;
    sb_slice_t value; /* absent: tombstone */
    sb_header_t headers[SB_HEADERS_MAX];
    size_t header_count;
} sb_message_t;

/* Value of a header, absent when it is not there; the last one counts. */
sb_slice_t sb_message_header(const sb_message_t *message, const char *name);

typedef struct sb_reader sb_reader_t;

SB_MUST_CHECK sb_code_t sb_reader_open(sb_reader_t **out, const sb_config_t *config, const char *client_id,
                                       sb_error_t *err);
/* offset: the next one to read; -1: the beginning. cluster_id: the one the offset belongs to; "" or unequal:
 * read from the beginning. Does not block: reading starts in sb_reader_poll once the brokers have answered.
 */
SB_MUST_CHECK sb_code_t sb_reader_assign(sb_reader_t *reader, const char *topic, int32_t partition,
                                         int64_t offset, const char *cluster_id, sb_error_t *err);
void sb_reader_unassign(sb_reader_t *reader, const char *topic, int32_t partition);

/* Raised when messages may be waiting; poll() its fd. */
sb_signal_t *sb_reader_signal(sb_reader_t *reader);

/* Hands over what is there, at most max messages, waiting up to timeout_ms for the first. on_message gets
 * each in order, borrowed for the call; when it fails that is returned, and the message comes again with the
 * next poll. *count is how many were taken. *reset is set when an offset was not to be had. Nothing is handed
 * over while the brokers are away; that is SB_OK with 0. Clears the signal and raises it again when more is
 * waiting. */
typedef sb_code_t (*sb_message_fn)(void *context, const sb_message_t *message, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_reader_poll(sb_reader_t *reader, int max, int timeout_ms, sb_message_fn on_message,
                                       void *context, int *count, bool *reset, sb_error_t *err);

/* Whether the brokers have answered since the last error. */
bool sb_reader_connected(const sb_reader_t *reader);

/* The cluster's id as the brokers say it; "" while unknown. */
const char *sb_reader_cluster_id(sb_reader_t *reader);
void sb_reader_close(sb_reader_t **reader);

#endif
