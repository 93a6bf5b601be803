/* position - where a record of the store stands on Kafka: the value of its header `sb-pos`.
 *
 * `incarnation.epoch.seq.prev`, four decimal numbers: incarnation rises when a restored store goes live,
 * epoch with each owner of the relay, seq is the event's place in the store and prev the seq before it on
 * this partition (0: none). A consumer keeps (incarnation, seq) a partition: a lower or equal seq is a
 * repeat, a prev above its own is a gap.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_POSITION_H
#define SB_BUS_POSITION_H

#include "sagabus/slice.h"

#include <stdint.h>

#define SB_POSITION_HEADER "sb-pos"
#define SB_POSITION_TEXT   84 /* four numbers of 20 characters, dots, the end */

typedef struct sb_position {
    int64_t incarnation;
    int64_t epoch;
    int64_t seq;
    int64_t prev;
} sb_position_t;

/* Writes the text and its NUL; returns its length. */
size_t sb_position_format(const sb_position_t *position, char text[SB_POSITION_TEXT]);

/* False, and *out alone, for anything but four non-negative numbers that fit. */
bool sb_position_parse(sb_slice_t text, sb_position_t *out);

typedef enum sb_position_order { SB_POSITION_NEXT, SB_POSITION_REPEAT, SB_POSITION_GAP } sb_position_order_t;

/* What a record at `record` is to a consumer that has handled everything up to (incarnation, seq) of the
 * partition. A record of a higher incarnation is the next one, of a lower one a repeat. */
sb_position_order_t sb_position_compare(const sb_position_t *record, int64_t incarnation, int64_t seq);

#endif
