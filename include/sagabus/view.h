/* view - read models that a C function folds, and the projector and the replay of a service's own process.
 *
 * What a view's rules and SQL cannot say, a function can. The view is declared in a file as the others are
 * (schemas/views/<name>.json, docs/views.md): tables, columns, and which events concern which row. In place
 * of what they change it names a function:
 *
 *     {"view": "loyalty", "version": 1, "fold": "c:loyalty",
 *      "tables": [{"name": "loyalty", "key": {"column": "customer_id", "type": "text", "from":
 * "/customer_id"}, "columns": [{"name": "points", "type": "int8"}, {"name": "tier", "type": "text"}], "on":
 * ["order.created"]}]}
 *
 * The file is registered with `sagabus schema apply`. A service registers the function under that name and
 * runs the projector of its views itself; `sagabus serve` has no functions, leaves such a view and its tables
 * alone, and `sagabus view list` says whose turn it is. Several instances of the service may run: each view
 * is a lease, so one of them moves it. Everything else is as with other views: rows, parked keys, checkpoint
 * and generation are one transaction; replay folds the history by the same function and switches; reading
 * over HTTP and SQL knows no difference.
 *
 * The function is a part of the view's version by its name. One that folds differently is another function:
 * give it a new name in a new version of the file, keep both registered until the replay has switched, and
 * while `view rollback` may go back.
 *
 * Thread: said per part.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_VIEW_H
#define SAGABUS_VIEW_H

#include "sagabus/event.h"
#include "sagabus/upcast.h"

#include <stdint.h>

/* ---- the function ---- */

/* A row at work: as it was before the event, and what is to change in it. Borrowed for the call. */
typedef struct sb_fold_row sb_fold_row_t;

#define SB_FOLD_VALUE_BYTES_MAX (1u << 20) /* of a text, a jsonb */

/* Says what one event changes in one row: called for each event that concerns a row by the file (`on`, `key`,
 * `when`), in the order of the store. event has type, schema_version (the newest, which data is brought to),
 * subject, time_us, stream_no, seq and data; nothing else. The data of an event that was erased is `null`.
 *
 * It must be pure: the row it leaves follows from the row it was given and the event, and from nothing else
 * (no clock, no chance, no I/O, no memory of other calls), because an event is folded again by every replay,
 * by `view verify` and after a crash, and must then leave the same bytes. It keeps no pointers: event, row
 * and every text of it end with the call. It may be called from several threads at once, for different rows.
 *
 * SB_OK: the row changes by what was set; when nothing was set it stays as it is, or is not made.
 * SB_NO_MEMORY: the view stands still, and it is tried again. Anything else parks the key: the row stays as
 * it was, later events of it are passed over, and `sagabus view parked` shows the error's message. */
typedef sb_code_t (*sb_fold_fn)(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err);

/* The table, for a function that folds several. Borrowed for the call. */
SB_API const char *sb_fold_table(const sb_fold_row_t *row);
/* Whether there is such a row; if not, its columns have their defaults. */
SB_API bool sb_fold_exists(const sb_fold_row_t *row);

/* A column as it was before the event; the key is one of them. An int: of int4, int8, bool (0, 1),
 * timestamptz (wall microseconds) and date (days since 1970), 0 for NULL. A text: of text and numeric (as
 * PostgreSQL prints it, "12.50"), absent for NULL, borrowed for the call. A jsonb is not read, because
 * PostgreSQL writes it in other bytes; keep in other columns what the fold needs. A column that the table
 * does not have, or that is of the other kind, is a bug of the function's: the view stands still and says so.
 */
SB_API bool sb_fold_is_null(sb_fold_row_t *row, const char *column);
SB_API int64_t sb_fold_int(sb_fold_row_t *row, const char *column);
SB_API sb_slice_t sb_fold_text(sb_fold_row_t *row, const char *column);

/* What a column becomes, if the function returns SB_OK; the last call counts. The text is copied: UTF-8 for
 * text, a number for numeric (nothing is rounded), JSON for jsonb. What the column cannot keep parks the key:
 * an int4 past 32 bits, more decimals than it has, a time outside the years 1 to 9999, a NUL. The key does
 * not change. */
SB_API void sb_fold_set_int(sb_fold_row_t *row, const char *column, int64_t value);
SB_API void sb_fold_set_text(sb_fold_row_t *row, const char *column, sb_slice_t value);
SB_API void sb_fold_set_null(sb_fold_row_t *row, const char *column);
/* The row goes, whatever was set; a later event begins a new one. */
SB_API void sb_fold_delete(sb_fold_row_t *row);

/* ---- replay: progress, differences, reports ---- */

typedef enum sb_replay_phase {
    SB_REPLAY_READ,     /* history out of the store, folded in memory */
    SB_REPLAY_LOAD,     /* rows into the tables of the next generation */
    SB_REPLAY_CATCH_UP, /* what was appended meanwhile */
    SB_REPLAY_SWITCH,   /* everything is ready; one transaction is left */
    SB_REPLAY_DONE
} sb_replay_phase_t;

SB_API const char *sb_replay_phase_name(sb_replay_phase_t phase); /* "read", "load", … */

typedef struct sb_replay_progress {
    const char *view; /* NULL in the READ phase of several */
    sb_replay_phase_t phase;
    int64_t events;       /* folded so far: events, not sequence numbers; of this pass */
    int64_t events_total; /* estimate by the share of the history that is read; exact from LOAD on */
    int pass, passes;     /* over the history; passes grows when the rows do not fit into memory */
    int64_t rows;         /* written so far */
    int64_t seq;          /* how far the fold is */
    int64_t seq_end;      /* where it is going */
    double events_per_s;  /* over the whole READ phase so far */
    double eta_s;         /* to the end of the phase; 0 when unknown */
    int64_t lag_ms;       /* age of the event at seq */
} sb_replay_progress_t;

/* Called several times a second, and once at the start of each phase, from the replay's thread; not SB_OK
 * stops the replay, which then leaves nothing behind but a table that the next one drops. */
typedef sb_code_t (*sb_replay_fn)(void *context, const sb_replay_progress_t *progress, sb_error_t *err);

/* One place where the live view and the fold of the history are not the same. */
typedef struct sb_view_difference {
    const char *view;
    const char *table;
    const char *key;
    const char *column; /* the first that differs; NULL: one of them has no such row */
    const char *live;   /* its value; NULL: there is no row */
    const char *folded;
} sb_view_difference_t;

typedef sb_code_t (*sb_view_difference_fn)(void *context, const sb_view_difference_t *difference,
                                           sb_error_t *err);

typedef struct sb_view_comparison {
    bool done;
    int64_t seq; /* both as of this event; of several passes the last one's */
    int64_t live_rows, folded_rows;
    int64_t missing;   /* rows that the live view should have and has not */
    int64_t extra;     /* that it has and should not */
    int64_t differing; /* in some column that both have */
    uint64_t live_checksum, folded_checksum;
    int tables_left_out; /* the other has none of the name, or another key */
    int told;            /* calls of on_difference */
} sb_view_comparison_t;

typedef struct sb_replay_report {
    int version;        /* of the view's definition */
    int64_t generation; /* that was built; 0: none was */
    bool live;          /* readers have it */
    int64_t seq;        /* folded up to here at the switch */
    int64_t events;
    int64_t rows;
    int64_t parked; /* keys */
    int passes;
    double seconds;
    double read_seconds; /* read and fold */
    double events_per_s; /* of the whole rebuild */
    sb_view_comparison_t comparison;
} sb_replay_report_t;

typedef enum sb_replay_mode {
    SB_REPLAY_BUILD,  /* and switch */
    SB_REPLAY_DRY,    /* fold only: nothing is written */
    SB_REPLAY_VERIFY, /* as DRY, by the definition that is live, and compare */
} sb_replay_mode_t;

/* ---- a service's views ---- */

typedef struct sb_views sb_views_t;

typedef struct sb_views_config {
    const char *pg_uri;    /* of the store; copied */
    const char *owner;     /* this instance's name in `sagabus view list`; copied. NULL: "service" */
    bool all;              /* views by rules and by SQL too; else only those that a function folds */
    uint32_t batch_events; /* most events a transaction folds; 0: 1000 */
    uint32_t idle_ms;      /* how often the store is asked for more when nothing comes; 0: 200 */
} sb_views_config_t;

/* Opens no connection yet. The caller owns *out. Thread: open, the registrations and close from one thread,
 * before and after all other calls. */
SB_API SB_MUST_CHECK sb_code_t sb_views_open(sb_views_t **out, const sb_views_config_t *config,
                                             sb_error_t *err);
SB_API void sb_views_close(sb_views_t **views); /* NULL is fine; sets NULL */

#define SB_FOLDS_MAX     256
#define SB_FOLD_NAME_MAX 50

/* Registers the function that files name as "c:NAME"; context outlives the handle. SB_INVALID: the name is
 * not 1 to SB_FOLD_NAME_MAX of a-z, 0-9 and _, beginning with a letter. SB_CONFLICT: it has its function.
 * SB_TOO_LARGE: more than SB_FOLDS_MAX. */
SB_API SB_MUST_CHECK sb_code_t sb_views_fold(sb_views_t *views, const char *name, sb_fold_fn fn,
                                             void *context, sb_error_t *err);
/* As sb_store_upcast, for what the views of this handle are given; a step that the schema file declares
 * itself goes by the file. */
SB_API SB_MUST_CHECK sb_code_t sb_views_upcast(sb_views_t *views, const char *type, int version,
                                               sb_upcast_fn fn, void *context, sb_error_t *err);

/* Keeps the views up to date until stopped: takes the leases that are free, waits for those that are not,
 * reconnects when PostgreSQL goes away. Blocks. Thread: one at a time. */
SB_API void sb_views_run(sb_views_t *views);
/* Ends a run, also one that has not begun. Thread: any, or a signal handler. */
SB_API void sb_views_stop(sb_views_t *views);

typedef struct sb_views_stats { /* each read atomically */
    int views;                  /* known to this handle */
    int owned;                  /* whose lease this instance holds */
    int stuck;                  /* owned and not moving: an unknown event version, or an error */
    int64_t events;             /* folded since open */
    int64_t rows;               /* written since open */
    int64_t parked;             /* keys parked since open */
    int64_t lag_events;         /* of the owned view that is furthest behind, in sequence numbers */
    int64_t lag_ms;             /* since when an owned view has not had all that is safe; 0: none is behind */
} sb_views_stats_t;

SB_API void sb_views_stats(const sb_views_t *views, sb_views_stats_t *out);

typedef struct sb_views_replay {
    const char *view; /* NULL: all that this handle can fold, in one pass over the history */
    sb_replay_mode_t mode;
    bool diff;            /* compare with the live view, in one snapshot at the same event */
    int differences_max;  /* that are told a view; 0: 10 */
    bool keep_old;        /* drop no older generations */
    int64_t until_seq;    /* fold up to there, build the tables and leave them beside the live ones; 0: all */
    int jobs;             /* connections that read; 0: 2 */
    int64_t memory_bytes; /* cap of the rows in memory; 0: 192 MiB. Above it: several passes */
    sb_replay_fn on_progress; /* may be NULL, as the next */
    sb_view_difference_fn on_difference;
    void *context;
} sb_views_replay_t;

/* What `sagabus replay` and `sagabus view verify` do, in this process: rebuilds a view with its newest
 * definition and switches readers over, or only folds and compares. *report: of the (last) view. Runs beside
 * sb_views_run, which goes on with the new generation. Blocks. SB_NOT_FOUND: no such view. SB_UNSUPPORTED:
 * its function is not registered here. SB_BUSY: another replay of it is running. SB_CONFLICT: the new
 * version's columns do not extend the old ones. SB_GONE: the beginning of the history is no longer there.
 * Thread: any, several at once. */
SB_API SB_MUST_CHECK sb_code_t sb_views_replay(sb_views_t *views, const sb_views_replay_t *replay,
                                               sb_replay_report_t *report, sb_error_t *err);

/* What `sagabus view rollback` does: the generation that was live before (generation 0), or a given one that
 * is still kept, is live again, after folding what came since, by its own version's function. SB_NOT_FOUND:
 * there is none. SB_UNSUPPORTED, SB_BUSY: as above. Thread: any. */
SB_API SB_MUST_CHECK sb_code_t sb_views_rollback(sb_views_t *views, const char *view, int64_t generation,
                                                 sb_replay_report_t *report, sb_error_t *err);

#endif
