/* query - reading sagas: one with its steps and history, or a page of them. For the API and the CLI.
 *
 * Answers come from the saga's events, which are committed with its state: a list is never behind the engine.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_QUERY_H
#define SB_SAGA_QUERY_H

#include "base/pg.h"
#include "events/catalog.h"
#include "saga/machine.h"

/* Writes the saga as the API's JSON object: id, type, key, status, paused, attention, definition {name,
 * version, hash}, started_at, ended_at, input, result, error, steps [{name, participant, status, attempts,
 * started_at, ended_at, result, error, compensation {status, attempts, started_at, ended_at}}], history [{at,
 * version, type, step, attempt, error, …}], links. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_saga_show(sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id, bool history,
                                     sb_buf_t *out, sb_error_t *err);

/* Writes what an operator asks of a saga, as JSON: waits_for [{what: answer, next_try, operator or resume,
 * step, participant, command, direction, attempt, attempts_max, since, until}], last_error {error, step, at}
 * or null, if_all_goes_well and if_it_failed_now {ends, commands [{step, participant, command, direction}]},
 * and acts: the verbs that would be taken now. Both ifs are played by the machine itself (forecast.h).
 * SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_saga_explain(sb_pg_t *pg, sb_catalog_t *catalog, const sb_uuid_t *id,
                                        int64_t now_us, sb_buf_t *out, sb_error_t *err);

/* The id of a saga by type and business key. SB_NOT_FOUND. */
SB_MUST_CHECK sb_code_t sb_saga_find(sb_pg_t *pg, sb_slice_t type, sb_slice_t key, sb_uuid_t *out,
                                     sb_error_t *err);

typedef struct sb_saga_page {
    sb_slice_t type; /* absent: all */
    int status;      /* 0: all */
    bool attention_only;
    bool oldest_first;
    int limit;         /* 1 to 500 */
    sb_slice_t cursor; /* of the page before; absent: the first */
} sb_saga_page_t;

/* Writes {"items": […], "next_cursor": …}. SB_INVALID: not a cursor of ours. */
SB_MUST_CHECK sb_code_t sb_saga_list(sb_pg_t *pg, const sb_saga_page_t *page, sb_buf_t *out, sb_error_t *err);

#endif
