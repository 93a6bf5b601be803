/* event - a domain event: the CloudEvents 1.0 attributes and a JSON body, kept as given.
 *
 * `type` is "category.name" (order.created): its first label is the category, which names the stream's
 * category and the Kafka topic (`<prefix>order.events`). `subject` is the key of the stream (o-1) and the
 * record key. The schema version travels in `dataschema` (`order.created.v1`, written `<type>.v<version>`).
 *
 * All slices are borrowed; whoever fills the struct says for how long.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_EVENT_H
#define SAGABUS_EVENT_H

#include "sagabus/id.h"
#include "sagabus/slice.h"

/* Limits. The size is of the whole event as sent: body and attributes. */
#define SB_EVENT_BYTES_MAX 900000u
#define SB_TYPE_MAX        128u
#define SB_KEY_MAX         255u

typedef enum sb_event_class { SB_CLASS_DOMAIN = 1, SB_CLASS_SAGA = 2 } sb_event_class_t;

typedef struct sb_event {
    sb_uuid_t id;       /* nil in an append: a version 7 id is given */
    sb_slice_t type;    /* order.created */
    int schema_version; /* 0 in an append: the newest registered */
    sb_slice_t source;  /* absent: the store's own, "/sagabus" */
    sb_slice_t subject; /* the stream's key; of a saga's event the saga's id */
    int64_t time_us;    /* wall microseconds; 0 in an append: now */
    sb_slice_t correlation_id;
    sb_slice_t causation_id;
    sb_slice_t traceparent;   /* W3C: sb_traceparent_ok */
    sb_slice_t partition_key; /* absent: the subject */
    sb_slice_t data;          /* JSON text */

    /* Set on events that were read from the store, else 0. */
    int written_version; /* the schema version it was appended in; schema_version is the newest one, which
                            data was brought to (sagabus/upcast.h) */
    int64_t seq;         /* position in the store: rises, holes are normal */
    int64_t stream_no;
    int stream_version; /* position in the stream: 1, 2, 3 … */
    sb_event_class_t event_class;
} sb_event_t;

/* The category of a type: its first label; empty when the type is malformed. Borrowed from type. */
SB_API sb_slice_t sb_event_category(sb_slice_t type);

/* Whether text is a type we accept: two or more labels of [a-z0-9_-] joined by dots, at most SB_TYPE_MAX. */
SB_API bool sb_event_type_ok(sb_slice_t type);

/* Whether a type is the one that the pattern names; * stands for any run of characters, dots too: "order.*",
 * "*.created", "*". */
SB_API bool sb_event_type_matches(sb_slice_t pattern, sb_slice_t type);

/* Whether text is a `traceparent` as W3C Trace Context has it: "00-<32 hex>-<16 hex>-<2 hex>" in lower case,
 * neither id all zeros. Of a later version, which may have more behind that, the part that is known. An
 * append by the library does not ask; HTTP and the command line do. */
SB_API bool sb_traceparent_ok(sb_slice_t text);

#endif
