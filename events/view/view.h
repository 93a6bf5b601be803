/* view - read models: what a JSON file declares, kept up to date live and rebuilt by replay.
 *
 * A view (schemas/views/<name>.json, described by schemas/view.schema.json and docs/views.md) names tables,
 * their keys and columns, and per event type a small closed algebra of changes. One fold carries it out, live
 * and on replay, so both give the same bytes. A view has generations: generation N of table T is
 * sagabus_view."T_gN", and people read the SQL view sagabus_view."T", which a replay switches over for all
 * tables of the view in one transaction.
 *
 * Whose turn it is to write is the lease `view:NAME`; its cursor is the last sequence number folded and its
 * `next` the live generation, so rows, checkpoint and generation move together or not at all.
 *
 * Thread: said per part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_H
#define SB_EVENTS_VIEW_H

#include "events/catalog.h"
#include "events/progress.h"
#include "sagabus/view.h"

/* The check of the catalog's kind SB_ARTIFACT_VIEW: the definition itself, and that every field it reads
 * exists in a registered schema of the event type. err->pointer at the fault. Thread: any. */
sb_code_t sb_view_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err);

/* The proof of the catalog's kind SB_ARTIFACT_VIEW, in the transaction that registers it: PostgreSQL plans
 * the statements of a view by SQL, over its empty tables, which are undone. SB_INVALID with what it says. */
sb_code_t sb_view_prove(const json_t *body, sb_pg_t *pg, sb_error_t *err);

/* ---- projector: keeps all live views up to date ---- */

typedef struct sb_projector sb_projector_t;

typedef struct sb_projector_config {
    const char *pg_uri;
    const char *owner;       /* this instance's name, for the lease rows */
    sb_catalog_t *catalog;   /* borrowed; loaded again now and then for new views and types */
    sb_progress_t *progress; /* borrowed; may be NULL: then the safe sequence number is only polled */
    uint32_t batch_events;   /* most events a transaction folds; 0: 1000 */
    uint32_t idle_ms;        /* poll pace of another process's sequencer when nothing comes; 0: 200 */
    uint32_t refresh_ms;     /* how often registry and leases are looked at; 0: 2000 */
    uint32_t overdue_ms;     /* 0: 10000 */
    bool calls_only;         /* only views that a C function of the catalog's folds */
} sb_projector_config_t;

/* Opens no connection yet. Registers as a listener of progress: before the threads start. Thread: open, run
 * and close from one thread; stop and stats from any. */
SB_MUST_CHECK sb_code_t sb_projector_open(sb_projector_t **out, const sb_projector_config_t *config,
                                          sb_error_t *err);
/* Runs until stopped: takes the leases that are free, waits for those that are not, reconnects when
 * PostgreSQL goes away. */
void sb_projector_run(sb_projector_t *projector);
void sb_projector_stop(sb_projector_t *projector);
void sb_projector_close(sb_projector_t **projector); /* NULL is fine; sets NULL */
void sb_projector_stats(const sb_projector_t *projector, sb_views_stats_t *out);

/* ---- replay: builds the next generation beside the live one, then switches ---- */

/* Phases, progress, differences and the report are in sagabus/view.h. */

typedef struct sb_replay_config {
    const char *pg_uri;
    const char *owner;
    sb_catalog_t *catalog; /* borrowed; loaded by the replay */
    const char *view;      /* NULL: all, in one pass over the history */
    sb_replay_mode_t mode;
    bool diff;            /* compare with the live view, in one snapshot at the same event */
    int differences_max;  /* that are told a view; 0: 10 */
    bool keep_old;        /* drop no older generations */
    int64_t until_seq;    /* fold up to there, build the tables and leave them beside the live ones; 0: all */
    int jobs;             /* connections that read; 0: 2 */
    int64_t range_seqs;   /* sequence numbers a COPY reads; 0: 16,384 */
    int64_t memory_bytes; /* cap of the rows in memory; 0: 192 MiB. Above it: several passes */
    bool calls_only;      /* of all: only those that a C function of the catalog's folds */
    sb_replay_fn on_progress; /* may be NULL, as the next two */
    sb_view_difference_fn on_difference;
    void (*on_report)(void *context, const char *view, const sb_replay_report_t *report); /* of each view */
    void *context;
} sb_replay_config_t;

/* Rebuilds a view from the store with its newest registered definition and switches readers over. The live
 * view serves until the switch and stays as it is if anything fails before. *report: of the (last) view.
 * SB_NOT_FOUND: no such view (the message names those there are). SB_BUSY: another replay of it is running.
 * SB_CONFLICT: the new version's columns do not extend the old ones, so that the SQL view cannot be replaced.
 * SB_GONE: the beginning of the history is no longer there. Blocks. */
SB_MUST_CHECK sb_code_t sb_replay_run(const sb_replay_config_t *config, sb_replay_report_t *report,
                                      sb_error_t *err);

/* Makes the generation that was live before (generation 0), or a given one that is still kept, the live one,
 * after folding what came since. Columns that only the present version has stay in the SQL view, as NULL.
 * SB_NOT_FOUND: there is none. SB_BUSY: a replay is running. */
SB_MUST_CHECK sb_code_t sb_view_rollback(const sb_replay_config_t *config, int64_t generation,
                                         sb_replay_report_t *report, sb_error_t *err);

/* ---- reading; a reader belongs to the thread of its connection ---- */

typedef struct sb_view_reader sb_view_reader_t;

/* Over a connection and a catalog that outlive it; both borrowed. */
SB_MUST_CHECK sb_code_t sb_view_reader_new(sb_view_reader_t **out, sb_pg_t *pg, sb_catalog_t *catalog,
                                           sb_error_t *err);
void sb_view_reader_free(sb_view_reader_t **reader);

#define SB_VIEW_PAGE_MAX    500
#define SB_VIEW_FILTERS_MAX 8

typedef enum sb_view_relation {
    SB_VIEW_IS, /* equals */
    SB_VIEW_BELOW,
    SB_VIEW_UP_TO,
    SB_VIEW_ABOVE,
    SB_VIEW_FROM
} sb_view_relation_t;

typedef struct sb_view_filter {
    sb_slice_t column; /* the key, or a column with "index": true */
    sb_view_relation_t relation;
    sb_slice_t value; /* as text: "1500", "true", "2026-11-21", "2026-11-21T05:19:35Z" */
} sb_view_filter_t;

typedef struct sb_view_query {
    sb_slice_t view;
    sb_slice_t table; /* absent: the view's first */
    const sb_view_filter_t *filters;
    size_t filter_count;
    sb_slice_t sort; /* the key or an indexed column, "-" before it for backwards; absent: the key. NULLs come
                        last, backwards first */
    sb_slice_t fields; /* names of columns, separated by commas; absent: all */
    int limit;         /* 1 to SB_VIEW_PAGE_MAX */
    sb_slice_t cursor; /* of the page before, under the same sort; absent: the first */
    int64_t after_seq; /* rows that have this event in them, or SB_TIMEOUT; 0: as they are */
    sb_slice_t link; /* absent: none. Else the address of the page without its cursor: the page gets links */
} sb_view_query_t;

/* Writes {"items": [{column: value, …}, …], "next_cursor": text|null, "view", "table", "generation", "seq",
 * "links": {"self", "next"}}. "seq" is the event up to which the rows are right, or an older one. A row whose
 * key is parked has "dirty": true besides: later events are not in it. Columns come in the order of the
 * definition; int8 as a number, numeric as a string, timestamptz as RFC 3339 in UTC. *hash (may be NULL) is
 * the same for the same rows. SB_NOT_FOUND: no such view or table, or it was never projected. SB_INVALID: a
 * bad filter, sort, field, limit or cursor. SB_TIMEOUT: it is not at after_seq yet; nothing is waited for
 * here. */
SB_MUST_CHECK sb_code_t sb_view_read(sb_view_reader_t *reader, const sb_view_query_t *query, sb_buf_t *out,
                                     sb_hash_t *hash, sb_error_t *err);

/* Writes the row of one key as a JSON object; of the query view, table, fields, after_seq and link count:
 * with one the object has "links": {"self", "view"} behind the columns, which are not in the hash.
 * SB_NOT_FOUND: there is none. */
SB_MUST_CHECK sb_code_t sb_view_read_key(sb_view_reader_t *reader, const sb_view_query_t *query,
                                         sb_slice_t key, sb_buf_t *out, sb_hash_t *hash, sb_error_t *err);

typedef struct sb_view_parked_info {
    const char *table;
    const char *key; /* NULL: it could not be read, and only that event was passed over */
    const char *event_type;
    int64_t seq; /* of the event that could not be folded */
    const char *error;
    int64_t at_us;
} sb_view_parked_info_t;

/* Calls visit for what is parked in the live generation after a place (0: the first), limit of them; *next is
 * the place behind the last one, 0 when there are no more. SB_NOT_FOUND: no such view. */
typedef sb_code_t (*sb_view_parked_fn)(void *context, const sb_view_parked_info_t *parked, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_view_parked(sb_view_reader_t *reader, sb_slice_t view, int64_t after, int limit,
                                       sb_view_parked_fn visit, void *context, int64_t *next,
                                       sb_error_t *err);

typedef struct sb_view_info {
    const char *name;
    const char *title;   /* "" when it has none */
    int version;         /* of the live generation; 0: never projected */
    int newest_version;  /* registered; above version: a replay would bring it */
    int64_t generation;  /* live */
    int64_t seq;         /* folded */
    int64_t lag_events;  /* safe sequence number minus seq, counted in sequence numbers */
    int64_t lag_ms;      /* age of the oldest event not folded; 0 when there is none */
    int64_t parked;      /* keys of the live generation */
    const char *state;   /* "live", "waiting" (for a schema version), "failed", "ownerless", "new" */
    const char *owner;   /* "" for none */
    const char *problem; /* what it waits for or why it failed, "" for nothing */
    bool outdated;       /* rows follow other rules than a replay would: newer versions of events, or zones */
    bool replaying;      /* the next generation is being built */
} sb_view_info_t;

/* Calls visit for each registered view in order of name; info is borrowed for the call. name absent: all;
 * SB_NOT_FOUND when a name was given and there is none. */
typedef sb_code_t (*sb_view_info_fn)(void *context, const sb_view_info_t *info, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_view_list(sb_view_reader_t *reader, sb_slice_t name, sb_view_info_fn visit,
                                     void *context, sb_error_t *err);

#endif
