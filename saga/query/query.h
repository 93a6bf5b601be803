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

/* Which sagas; what is absent, 0 or false asks nothing. */
typedef struct sb_saga_filter {
    sb_slice_t type;
    sb_slice_t key;
    sb_slice_t step; /* that wants an operator, or turned the saga back; its participant: */
    sb_slice_t participant;
    sb_slice_t error; /* part of its text, in small or large letters */
    int64_t fingerprint;
    int status;
    bool attention_only;
    bool paused_only;
    bool open_only;
    int64_t from_us; /* started at or after */
    int64_t to_us;   /* … and before */
} sb_saga_filter_t;

/* Members of a filter as text: status by name, fingerprint in hex as a list shows it, attention and paused as
 * true or false, started_after and started_before in RFC 3339. The texts are borrowed. SB_INVALID names the
 * member; SB_NOT_FOUND: there is no such member. */
SB_MUST_CHECK sb_code_t sb_saga_filter_set(sb_saga_filter_t *filter, const char *name, sb_slice_t value,
                                           sb_error_t *err);
/* The members that sb_saga_filter_set knows, ended by NULL. */
extern const char *const sb_saga_filter_names[];

/* Whether it asks anything at all. */
bool sb_saga_filter_asks(const sb_saga_filter_t *filter);

typedef struct sb_saga_page {
    sb_saga_filter_t filter;
    bool oldest_first;
    int limit;         /* 1 to 500 */
    sb_slice_t cursor; /* of the page before; absent: the first */
} sb_saga_page_t;

/* Writes {"items": [{id, type, key, status, paused, attention, started_at, ended_at, step, participant,
 * error, fingerprint}], "next_cursor": …}; step, participant and error are those of trouble. SB_INVALID: not
 * a cursor of ours. */
SB_MUST_CHECK sb_code_t sb_saga_list(sb_pg_t *pg, const sb_saga_page_t *page, sb_buf_t *out, sb_error_t *err);

/* The rows of a page: no, id, type, key, status, paused, attention, started_at, ended_at, step, participant,
 * error, fingerprint; one more than the limit when there are more. The caller owns *rows. */
SB_MUST_CHECK sb_code_t sb_saga_select(sb_pg_t *pg, const sb_saga_page_t *page, sb_pg_result_t **rows,
                                       sb_error_t *err);
/* The members of one of these rows, into an object that is open. */
void sb_saga_write_row(sb_buf_t *out, const sb_pg_result_t *rows, int row);
/* The member next_cursor: null when these rows are the last. */
void sb_saga_write_next(sb_buf_t *out, const sb_saga_page_t *page, const sb_pg_result_t *rows);

#endif
