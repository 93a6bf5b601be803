/* erase - takes the bodies of events away for good, as a person may ask for; their place in history stays.
 *
 * Of an erased event the body becomes `null` and the attributes source, correlationid, causationid,
 * traceparent and partitionkey go, too; seq, stream, version, type, time and id stay. The hashes of what went
 * are kept, so that the seals still prove the history. Who erased what and why is in the audit.
 *
 * In the same transaction go the other copies in the store's schema: events in detached tables that are still
 * there, snapshots of the stream, dead letters of push subscriptions; and whoever had read the events before
 * (a loaded aggregate, a subscription that is sending) writes no new copy afterwards.
 *
 * Not reached are: the key (keep personal data out of it), records that are in Kafka already and what their
 * consumers have, rows of views, services' own dead letters, archives, backups. docs/guarantees.md says what
 * to do about each.
 *
 * Thread: the connection's; for the owner of the tables.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_ERASE_H
#define SB_EVENTS_ERASE_H

#include "base/pg.h"

typedef struct sb_erase {
    int64_t seq;              /* one event; 0: all that the stream has now */
    sb_slice_t category, key; /* with seq 0 */
    const char *who;          /* NULL: db: and the connection's role */
    const char *reason;       /* not empty */
    bool dry_run;             /* counts, and changes nothing */
} sb_erase_t;

typedef struct sb_erase_report {
    char stream[320];  /* "order/o-1" */
    int64_t erased;    /* by this call, or with dry_run: there are to be */
    int64_t before;    /* were erased already */
    int first_version; /* older ones of the stream were detached; what was archived has its body; 1: none */
    int64_t snapshots; /* that went, or with dry_run: that will */
    int64_t dead_letters; /* likewise, of push subscriptions */
    char views[1024]; /* a JSON array: the names of those that fold such events, which are to be replayed */
} sb_erase_report_t;

/* "17" or "order/o-1" to seq, or category and key, which borrow from text. SB_INVALID: neither. */
SB_MUST_CHECK sb_code_t sb_erase_parse(const char *text, sb_erase_t *erase, sb_error_t *err);

/* All or nothing; again is fine. SB_NOT_FOUND: no such event or stream. SB_UNSUPPORTED: it is a saga's, whose
 * events are its state. SB_DENIED: pg is not the owner. SB_INVALID: no reason. */
SB_MUST_CHECK sb_code_t sb_erase_run(sb_pg_t *pg, const sb_erase_t *erase, sb_erase_report_t *report,
                                     sb_error_t *err);

#endif
