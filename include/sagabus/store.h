/* store - the event store: append with an expected version, and read back in order.
 *
 * An append is one round trip and one transaction; when it returns SB_OK with SB_APPENDED, the events are
 * committed (synchronous_commit=on). `seq` is the order of the store: drawn while the stream's row is locked,
 * so it rises with the version of each stream; numbers may be missing, events never are. Readers of many
 * streams read up to the safe sequence number only, below which nothing will appear any more.
 *
 * Thread: a store handle belongs to one thread at a time; open one a thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_STORE_H
#define SAGABUS_STORE_H

#include "sagabus/event.h"

typedef struct sb_store sb_store_t;

typedef struct sb_store_config {
    const char *pg_uri;           /* borrowed */
    const char *application_name; /* NULL: "sagabus-client" */
    const char *source;           /* CloudEvents source of events that name none; NULL: "/sagabus" */
    size_t event_bytes_max;       /* largest event, where its topic takes less; 0: SB_EVENT_BYTES_MAX */
} sb_store_config_t;

SB_API SB_MUST_CHECK sb_code_t sb_store_open(sb_store_t **out, const sb_store_config_t *config,
                                             sb_error_t *err);
SB_API void sb_store_close(sb_store_t **store); /* NULL is fine; sets NULL */

/* What the stream's version must be for the append to happen. */
typedef enum sb_expect { SB_EXPECT_ANY, SB_EXPECT_NONE, SB_EXPECT_EXISTS, SB_EXPECT_EXACT } sb_expect_t;

#define SB_APPEND_EVENTS_MAX 10000
#define SB_APPEND_BYTES_MAX  (64u << 20) /* of all bodies together */

typedef struct sb_append {
    sb_slice_t category; /* must be the first label of every event's type */
    sb_slice_t key;      /* 1 to SB_KEY_MAX bytes of UTF-8 */
    sb_expect_t expect;
    int expected_version; /* with SB_EXPECT_EXACT */
    sb_uuid_t command_id; /* nil: none. The same id again gives the first answer, for 7 days
                             (store.retention_command_ms) */
    const sb_event_t *events;
    size_t count;
} sb_append_t;

typedef enum sb_append_outcome {
    SB_APPENDED,
    SB_APPEND_CONFLICT,
    SB_APPEND_REPEATED, /* the command was carried out before: its first answer */
    SB_APPEND_NOT_DONE  /* sb_store_append_many: because of the conflict of another */
} sb_append_outcome_t;

typedef struct sb_append_result {
    sb_append_outcome_t outcome;
    int version;       /* of the stream now; with a conflict the actual one */
    int64_t first_seq; /* 0 with a conflict */
    int64_t last_seq;
} sb_append_result_t;

/* Validates every event against its schema, then appends all or none. A version conflict is an outcome, not
 * an error. SB_INVALID: err->pointer names the fault ("/events/3/data/amount"). SB_TOO_LARGE: over
 * SB_EVENT_BYTES_MAX, SB_APPEND_EVENTS_MAX or SB_APPEND_BYTES_MAX. SB_MISMATCH: command_id came with other
 * content before. SB_UNKNOWN_OUTCOME: the connection broke during the commit; ask again with the same
 * command_id. */
SB_API SB_MUST_CHECK sb_code_t sb_store_append(sb_store_t *store, const sb_append_t *append,
                                               sb_append_result_t *result, sb_error_t *err);

/* Several appends in one round trip and one transaction, to the same or to different streams: all or none.
 * results has room for count. With a conflict nothing is appended and the result is still SB_OK: those in
 * conflict say SB_APPEND_CONFLICT with the actual version, the others SB_APPEND_NOT_DONE. Appends to the same
 * stream happen in their order, each meeting the version that the one before it left. command_id (NULL or
 * nil: none) is that of the whole call: repeated, every result is SB_APPEND_REPEATED; other appends, or the
 * same ones in another order, are SB_MISMATCH. The appends have none of their own (SB_INVALID). The limits
 * are those of one append, over all of them; err->pointer begins with "/appends/<n>". */
SB_API SB_MUST_CHECK sb_code_t sb_store_append_many(sb_store_t *store, const sb_append_t *appends,
                                                    size_t count, const sb_uuid_t *command_id,
                                                    sb_append_result_t *results, sb_error_t *err);

/* Called for each event read; the event is borrowed for the call, which must leave the store alone. Not SB_OK
 * stops the read and is returned. */
typedef sb_code_t (*sb_event_fn)(void *context, const sb_event_t *event, sb_error_t *err);

/* Events of one stream from a version on (from 1), at most limit; backward: from that version down (0: the
 * newest). Memory is bounded by one page of 8 MiB and an event, however large limit is. A saga's stream has
 * category "saga" and the saga's id as key. SB_NOT_FOUND: no such stream;
 * SB_GONE: from is below the first version still kept (sb_store_stream says which); SB_CORRUPT: a version is
 * missing. */
SB_API SB_MUST_CHECK sb_code_t sb_store_read_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key,
                                                    int from, bool backward, int limit, sb_event_fn on_event,
                                                    void *context, sb_error_t *err);

typedef struct sb_stream_info {
    int version;       /* of its newest event */
    int first_version; /* older ones are no longer kept; 1: all are */
} sb_stream_info_t;

/* SB_NOT_FOUND: no such stream. */
SB_API SB_MUST_CHECK sb_code_t sb_store_stream(sb_store_t *store, sb_slice_t category, sb_slice_t key,
                                               sb_stream_info_t *out, sb_error_t *err);

typedef struct sb_read_all {
    int64_t after_seq;
    int64_t to_seq; /* 0: the safe sequence number */
    bool backward;  /* from to_seq down to the event after after_seq */
    int limit;
    sb_slice_t category;     /* absent: all */
    const sb_slice_t *types; /* NULL: all; else patterns, see sb_event_type_matches */
    size_t type_count;
    bool domain_only;   /* leave out the inner saga events */
    uint32_t budget_ms; /* give back what was found after about so long; 0: however long it takes */
} sb_read_all_t;

/* Events of the store in order of seq. *last_seq (may be NULL) is how far the read got, also past events that
 * the filter left out: the next page starts there (backward: it is the lowest that was looked at, so the next
 * one's to_seq is one less, and there is none from 1 on). Memory is bounded by one page of some MiB, however
 * large limit is; no statement and no snapshot is open while on_event runs. SB_GONE: after_seq lies in what
 * was detached (backward: all that was asked for; else it ends where the store begins); the message says
 * where the store begins. */
SB_API SB_MUST_CHECK sb_code_t sb_store_read_all(sb_store_t *store, const sb_read_all_t *read,
                                                 sb_event_fn on_event, void *context, int64_t *last_seq,
                                                 sb_error_t *err);

/* The first seq, up to the safe one, whose event's time is not before time_us (wall microseconds); the safe
 * one plus 1 when there is none. So a read from there on leaves no event of that time or a later one out. The
 * time is the event's own: the server's clock at the append unless the client gave one, so older ones may
 * follow. */
SB_API SB_MUST_CHECK sb_code_t sb_store_seq_since(sb_store_t *store, int64_t time_us, int64_t *seq,
                                                  sb_error_t *err);

/* The sequence number up to which everything is committed, durable and visible. */
SB_API SB_MUST_CHECK sb_code_t sb_store_safe_seq(sb_store_t *store, int64_t *out, sb_error_t *err);

#endif
