/* verify - recomputes the seals and names the first event that is not as it was sealed.
 *
 * Range by range, a seal at a time: memory is bounded by one seal (SB_SEAL_EVENTS_MAX events), whatever the
 * store holds. It checks that the seals follow each other without a hole, that each is what it says (its own
 * hash and the hash of the one before), and that the events under it give its root. What it cannot see: a
 * history that was rewritten as a whole together with all its seals. For that keep a seal's hash elsewhere,
 * and give it back as root.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VERIFY_H
#define SB_EVENTS_VERIFY_H

#include "events/store/seal.h"

typedef enum sb_fault {
    SB_FAULT_NONE,
    SB_FAULT_ALTERED, /* an event differs from what was sealed */
    SB_FAULT_MISSING, /* an event is gone */
    SB_FAULT_ADDED,   /* an event lies in a sealed range and was not there */
    SB_FAULT_SEAL,    /* a seal is missing, was altered, or does not follow the one before */
    SB_FAULT_ROOT     /* the hash that was kept elsewhere is none of a seal's */
} sb_fault_t;

const char *sb_fault_name(sb_fault_t fault); /* "none", "altered", … */

typedef struct sb_verify_progress {
    int64_t seq, seq_end;
    int64_t events;
} sb_verify_progress_t;

/* Called after each page of seals; not SB_OK stops and is returned. */
typedef sb_code_t (*sb_verify_fn)(void *context, const sb_verify_progress_t *progress, sb_error_t *err);

typedef struct sb_verify_config {
    sb_pg_t *pg;           /* borrowed; without a statement timeout */
    int64_t from, to;      /* of seq; the seals that touch it. 0: from the first, to the last */
    const sb_hash_t *root; /* borrowed; a seal's hash that was kept elsewhere; NULL: none */
    sb_verify_fn on_progress;
    void *context;
} sb_verify_config_t;

typedef struct sb_verify_report {
    sb_fault_t fault;
    int64_t fault_seq; /* of the event; of a seal its end */
    int64_t fault_stream_no;
    int fault_version;
    char fault_stream[320]; /* "order/o-1" or "saga 12"; "" when it cannot be told */
    char fault_text[512];   /* one sentence: which, and what differs */
    int64_t seals, events;  /* checked */
    int64_t erased;         /* of these, events whose body is erased: verified by the hashes that were kept */
    int64_t detached_seals; /* some of whose events are no longer in the event table, or all: their chain was
                               checked, and what is left of the other class by its marks */
    int64_t detached_to;    /* the last of them ends here */
    int64_t sealed_to;      /* end of the last seal there is */
    int64_t safe_seq;       /* events between are not sealed yet */
    sb_hash_t head;         /* hash of the last seal checked: keep it elsewhere */
    int64_t head_seq;       /* where that one ends */
    int64_t root_seq;       /* where the seal with the given root ends; 0: none */
} sb_verify_report_t;

/* SB_OK whenever it could be checked, also when a fault was found. */
SB_MUST_CHECK sb_code_t sb_verify_run(const sb_verify_config_t *config, sb_verify_report_t *report,
                                      sb_error_t *err);

#endif
