/* relay_out - what the relay has under way to Kafka: a bounded ring of events sent and not yet acknowledged.
 *
 * Events go in by rising seq; the ring's head is the lowest that Kafka has not acknowledged. A failed report
 * stops the sending: the owner calls restart, which takes everything back, and sends again from the head.
 * Knows nothing of PostgreSQL.
 *
 * Inner to the relay. Thread: the relay's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_RELAY_OUT_H
#define SB_BUS_RELAY_OUT_H

#include "base/config.h"
#include "base/signal.h"
#include "bus/position.h"
#include "bus/relay/relay_marks.h"
#include "events/tally.h"
#include "sagabus/event.h"

typedef struct sb_relay_out sb_relay_out_t;

/* Borrows all; signal is raised when reports wait to be served. Makes no connection yet. */
SB_MUST_CHECK sb_code_t sb_relay_out_open(sb_relay_out_t **out, const sb_config_t *config,
                                          sb_relay_marks_t *marks, sb_signal_t *signal, sb_error_t *err);
void sb_relay_out_close(sb_relay_out_t **out); /* takes back what is under way */

/* Makes the producer ahead of the first event, so that it connects meanwhile. Best effort. */
void sb_relay_out_warm(sb_relay_out_t *out);

/* Sends one event; seq and prev of the position are filled in here. SB_BUSY: full, serve and try again.
 * SB_MISMATCH: the topic's partition count changed. Others say why Kafka is not to be had; all but SB_BUSY
 * want a restart. */
SB_MUST_CHECK sb_code_t sb_relay_out_send(sb_relay_out_t *out, const sb_event_t *event, int64_t incarnation,
                                          int64_t epoch, sb_error_t *err);

/* Serves reports, waiting up to timeout_ms for one. SB_OK, or the first failure since the last restart. */
SB_MUST_CHECK sb_code_t sb_relay_out_serve(sb_relay_out_t *out, int timeout_ms, sb_error_t *err);

/* Takes back what is under way and forgets the producer. Returns the lowest event that is not acknowledged,
 * where sending must go on; 0: all are. */
int64_t sb_relay_out_restart(sb_relay_out_t *out);

/* Counts events acknowledged above this seq; what is at or below it is sent once more, to fill a topic. */
void sb_relay_out_count_from(sb_relay_out_t *out, int64_t seq);
/* The count up to the lowest event under way, to be written with the cursor and emptied by the owner. While
 * it is full, acknowledgements wait. */
sb_tally_t *sb_relay_out_tally(sb_relay_out_t *out);

/* seq and time of the lowest event under way; 0 when there is none. */
int64_t sb_relay_out_oldest(const sb_relay_out_t *out);
int64_t sb_relay_out_oldest_time(const sb_relay_out_t *out);
/* As many are under way as librdkafka sends of a partition without an answer. */
bool sb_relay_out_has_enough(const sb_relay_out_t *out);
int64_t sb_relay_out_acked(const sb_relay_out_t *out);    /* records, since it was opened */
int64_t sb_relay_out_withheld(const sb_relay_out_t *out); /* events whose stand-in is in Kafka */

/* An event whose stand-in Kafka has, to be written down by the owner. */
typedef struct sb_relay_withheld {
    int64_t seq;
    sb_uuid_t id;
    char type[SB_TYPE_MAX + 1];
    const char *topic; /* borrowed from the marks */
    int32_t partition;
    int64_t bytes; /* of its body */
} sb_relay_withheld_t;

/* The one at this place of those that are to be written down; NULL: there are no more. */
const sb_relay_withheld_t *sb_relay_out_to_note(const sb_relay_out_t *out, size_t at);
/* They are written down: forgets them. */
void sb_relay_out_noted(sb_relay_out_t *out);

#endif
