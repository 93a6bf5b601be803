/* message - an event as a Kafka record and back, by the CloudEvents Kafka binding.
 *
 * Written in binary mode: the value is the body, the attributes are headers ce_<name>, `content-type` is
 * application/json, `traceparent` goes under its own name, and `sb-pos` (bus/position.h) says where the
 * record stands; or, for who wants it, in structured mode. Read in binary and structured mode (content-type
 * application/cloudevents+json), and as Debezium's outbox writes it (headers `id` and `eventType`).
 * docs/contract.md is the reader's side of this.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_MESSAGE_H
#define SB_BUS_MESSAGE_H

#include "base/buf.h"
#include "base/clock.h"
#include "bus/position.h"
#include "bus/reader.h"
#include "sagabus/event.h"

/* The headers of one record, with room for those that must be written out. */
typedef struct sb_message_headers {
    sb_header_t header[SB_HEADERS_MAX];
    size_t count;
    char id[SB_UUID_TEXT];
    char time[SB_TIME_TEXT];
    char schema[SB_TYPE_MAX + 16];
    char position[SB_POSITION_TEXT];
} sb_message_headers_t;

/* Fills *out for event; the headers borrow from both, so *out must not be copied. position NULL: no sb-pos.
 */
void sb_message_encode(const sb_event_t *event, const sb_position_t *position, sb_message_headers_t *out);

/* The same in structured mode: the whole event is the value, written to *value (reset first); the headers are
 * its content-type, `traceparent` and `sb-pos`. Data must be JSON. SB_NO_MEMORY only. */
SB_MUST_CHECK sb_code_t sb_message_encode_structured(const sb_event_t *event, const sb_position_t *position,
                                                     sb_buf_t *value, sb_message_headers_t *out,
                                                     sb_error_t *err);

/* The record key of an event: its partition key, else its subject. */
sb_slice_t sb_message_key(const sb_event_t *event);

/* Names of headers that are read have one static copy, which is not searched for again: sb_message_decode is
 * quick with it, and it need not be copied. */
#define SB_MESSAGE_NAMES 16
typedef struct sb_message_name {
    char text[30];
    uint8_t length;
    uint8_t field; /* bus/message.c's own */
} sb_message_name_t;
extern const sb_message_name_t sb_message_names[SB_MESSAGE_NAMES];

/* Replaces each name that is one of them by that copy. */
void sb_message_know_names(sb_header_t *headers, size_t count);
/* It is that copy itself. */
static inline bool sb_message_is_known_name(const char *name)
{
    return (uintptr_t)name - (uintptr_t)sb_message_names < sizeof sb_message_names;
}

typedef struct sb_message_info {
    sb_slice_t id;           /* as given; event.id is its UUID, or one made from source and id (version 5) */
    sb_slice_t data_schema;  /* as given; event.schema_version is 0 when it is not <type>.v<n> */
    sb_slice_t content_type; /* of the data, as given; absent: not said */
    bool has_position;
    sb_position_t position;
    bool structured;       /* the whole event was in the value */
    bool framed;           /* the value began with Confluent's magic byte and schema id, left out of data */
    uint32_t frame_schema; /* that id */
} sb_message_info_t;

/* What must be known of a record to hand it on, without reading it: what sb_message_decode will say of its
 * type (absent: none) and position, when it can read it. False: it is in structured mode, where that is not
 * to be had for less. */
bool sb_message_glance(const sb_message_t *message, sb_slice_t *type, sb_message_info_t *info);

/* Reads a record. The slices of *event and *info borrow from the message and from scratch, which is reset. A
 * tombstone has absent data. SB_INVALID: it is no event, and the message says what is missing or wrong.
 * SB_UNSUPPORTED: it is one that we do not read (another specversion, event format or, behind Confluent's
 * frame, encoding than JSON), and the message names it. Neither becomes readable by trying again. */
SB_MUST_CHECK sb_code_t sb_message_decode(const sb_message_t *message, sb_buf_t *scratch, sb_event_t *event,
                                          sb_message_info_t *info, sb_error_t *err);

#endif
