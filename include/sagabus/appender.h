/* appender - appends of many callers share transactions.
 *
 * Whatever waits while a transaction is under way makes up the next one: nobody waits for company, and the
 * more callers there are, the more events go in with one commit. Each append has an answer of its own, after
 * the commit: a conflict of one does not touch the others, nor does an event that the database refuses, which
 * is found by sending halves. Appends of one stream go in the order they were submitted, each meeting the
 * version that the one before it left, also within a transaction; a command id that comes again waits for the
 * first.
 *
 * When the connection breaks during a commit, the appender asks the database what became of it before it
 * answers anyone, and sends again what did not happen: nobody is told wrong, nothing is appended twice, with
 * or without a command id. SB_UNKNOWN_OUTCOME is left for a database that does not come back in time.
 *
 * Thread: append and submit from any; open and close from the owner. Callbacks run on the appender's threads,
 * one for each connection; they must be quick, and may submit.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_APPENDER_H
#define SAGABUS_APPENDER_H

#include "sagabus/store.h"

#include <stdint.h>

typedef struct sb_appender sb_appender_t;

typedef struct sb_appender_config {
    const char *pg_uri;           /* borrowed */
    const char *application_name; /* NULL: "sagabus-appender" */
    const char *source;           /* as sb_store_config_t's; borrowed */
    size_t event_bytes_max;       /* as sb_store_config_t's */
    int connections;              /* 0: 1; a stream always goes by the same one */
    size_t queue_max;             /* appends that wait for a connection; 0: 4096 */
    size_t batch_max;             /* appends a transaction; 0: 128 */
    size_t batch_bytes_max;       /* bytes a transaction, unless one append alone has more; 0: 1 MiB */
    uint32_t resolve_ms;          /* how long to ask for the outcome of a commit; 0: 30000 */
} sb_appender_config_t;

/* Connects, loads the registered types and starts the threads. The caller owns *out. */
SB_API SB_MUST_CHECK sb_code_t sb_appender_open(sb_appender_t **out, const sb_appender_config_t *config,
                                                sb_error_t *err);
/* Takes nothing more, answers what it has, ends the threads. NULL is fine; sets NULL. */
SB_API void sb_appender_close(sb_appender_t **appender);

/* Called once for each append that was submitted. err is NULL with SB_OK; result and err are borrowed for the
 * call. */
typedef void (*sb_append_fn)(void *context, sb_code_t code, const sb_append_result_t *result,
                             const sb_error_t *err);

/* Checks and validates the append on the caller's thread and queues a copy of it. On SB_OK on_done will be
 * called; else it will not. SB_BUSY: the queue is full; SB_STOPPED: closed; others as sb_store_append, but
 * the outcome of the append itself, which on_done gets: with it SB_MISMATCH, SB_UNAVAILABLE, SB_BUSY (the
 * stream stays locked by others), SB_TIMEOUT, SB_UNKNOWN_OUTCOME. Blocks only to look a type up that is not
 * known yet. */
SB_API SB_MUST_CHECK sb_code_t sb_appender_submit(sb_appender_t *appender, const sb_append_t *append,
                                                  sb_append_fn on_done, void *context, sb_error_t *err);

/* The same, and waits for the answer. Not from a callback. */
SB_API SB_MUST_CHECK sb_code_t sb_appender_append(sb_appender_t *appender, const sb_append_t *append,
                                                  sb_append_result_t *result, sb_error_t *err);

typedef struct sb_appender_stats {
    uint64_t appends; /* answered */
    uint64_t batches; /* transactions that committed */
    uint64_t splits;  /* batches that were sent again in halves */
    uint64_t asked;   /* commits whose outcome had to be asked for */
    uint64_t unknown; /* appends that were told SB_UNKNOWN_OUTCOME */
    uint64_t waiting; /* in the queues now */
} sb_appender_stats_t;

SB_API void sb_appender_stats(const sb_appender_t *appender, sb_appender_stats_t *out);

#endif
