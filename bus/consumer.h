/* consumer - a member of a consumer group: batches of messages, offsets committed by the caller's word.
 *
 * The thin form under participants and `sagabus subscribe`: at-least-once, one thread that polls and handles.
 * Nothing is committed before sb_consumer_commit.
 *
 * Thread: one; stop from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_CONSUMER_H
#define SB_BUS_CONSUMER_H

#include "bus/reader.h"

typedef struct sb_consumer sb_consumer_t;

/* group: its name, without kafka.prefix. topics: names, with the prefix, or regular expressions that begin
 * with '^'. */
SB_MUST_CHECK sb_code_t sb_consumer_open(sb_consumer_t **out, const sb_config_t *config, const char *group,
                                         const char *const *topics, size_t topic_count, sb_error_t *err);
/* Hands over at most max messages, waiting up to timeout_ms for the first. When on_message fails that is
 * returned, and the message comes again first with the next poll, unless a rewind takes it back. Waits for
 * the brokers by itself; SB_DENIED: they do not let us in. */
SB_MUST_CHECK sb_code_t sb_consumer_poll(sb_consumer_t *consumer, int max, int timeout_ms,
                                         sb_message_fn on_message, void *context, int *count,
                                         sb_error_t *err);
/* The same as an array: messages has room for max, and they are borrowed until the next poll, take, rewind or
 * close. *count is set on failure, too. */
SB_MUST_CHECK sb_code_t sb_consumer_take(sb_consumer_t *consumer, int max, int timeout_ms,
                                         sb_message_t *messages, int *count, sb_error_t *err);
/* Commits everything handed over so far, for the partitions still assigned. SB_UNAVAILABLE: not now, as in
 * the midst of a rebalance; go on polling and commit later, some messages may come again. */
SB_MUST_CHECK sb_code_t sb_consumer_commit(sb_consumer_t *consumer, sb_error_t *err);
/* The same without waiting, of what was handed over up to the mark. SB_BUSY: another one is under way. The
 * brokers' word comes with a later poll. */
void sb_consumer_mark(sb_consumer_t *consumer);
SB_MUST_CHECK sb_code_t sb_consumer_commit_mark(sb_consumer_t *consumer, sb_error_t *err);
bool sb_consumer_is_committing(const sb_consumer_t *consumer);
/* What became of the last one, as sb_consumer_commit says it. */
SB_MUST_CHECK sb_code_t sb_consumer_committed(const sb_consumer_t *consumer, sb_error_t *err);
/* Whether partitions come or go with the next poll: commit before it, or what is not committed of those that
 * go is handed over elsewhere once more. */
bool sb_consumer_has_rebalance(const sb_consumer_t *consumer);
/* Whether a poll is to look for partitions that nobody reads, which it does once all is committed. */
bool sb_consumer_must_look(const sb_consumer_t *consumer);
/* Hands over again from the last commit on (after a failed transaction). */
SB_MUST_CHECK sb_code_t sb_consumer_rewind(sb_consumer_t *consumer, sb_error_t *err);
void sb_consumer_close(sb_consumer_t **consumer, int timeout_ms); /* bounded, whatever the broker does */

#endif
