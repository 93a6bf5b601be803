/* view_statement - the fold of a view that is declared by SQL: its statements, run over a batch of events.
 *
 * A statement sees the batch as a rowset events(seq, stream, version, type, time, id, data), in the newest
 * version of each type, and names the tables of the generation under way as {table}. It runs in the
 * transaction of the batch, in UTC and with search_path = pg_catalog, so that it means the same everywhere.
 *
 * What PostgreSQL refuses because of the values in it (a cast, an overflow, a constraint, a RAISE) is found
 * by halving the batch; the event's stream is parked: it changes nothing, nor does any later event of its
 * stream. Everything else that fails (a lock, the connection, a column that is not there) is the batch's own
 * failure.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_VIEW_STATEMENT_H
#define SB_EVENTS_VIEW_STATEMENT_H

#include "base/pg.h"
#include "events/view/view_fold.h"
#include "sagabus/id.h"

/* Whether a view is declared by SQL. */
static inline bool sb_view_is_by_sql(const sb_view_definition_t *definition)
{
    return definition->statement_count > 0;
}

/* A statement's text for a generation: the events before it, the tables' names in it. */
void sb_view_statement_text(const sb_view_definition_t *definition, int statement, int64_t generation,
                            sb_buf_t *out);

typedef struct sb_view_statements sb_view_statements_t;

/* Borrows connection and definition. Reads which streams are parked. */
SB_MUST_CHECK sb_code_t sb_view_statements_new(sb_view_statements_t **out, sb_pg_t *pg,
                                               const sb_view_definition_t *definition, int64_t generation,
                                               sb_error_t *err);
void sb_view_statements_free(sb_view_statements_t **statements); /* NULL is fine; sets NULL */

/* Forgets the events of the batch before. */
void sb_view_statements_reset(sb_view_statements_t *statements);
/* Takes a copy of an event, in order of seq; input->subject is the name of its stream. Passed over when its
 * stream is parked. */
SB_MUST_CHECK sb_code_t sb_view_statements_add(sb_view_statements_t *statements, const sb_view_input_t *input,
                                               int version, const sb_uuid_t *id, sb_error_t *err);
/* Runs the statements in the open transaction, and writes what they parked. After an error the whole
 * transaction is to be rolled back, and the statements are of no more use. */
SB_MUST_CHECK sb_code_t sb_view_statements_run(sb_view_statements_t *statements, int64_t *rows,
                                               int64_t *parked, sb_error_t *err);

/* Makes the tables of a generation in the open transaction, with their keys, for a fold that is rolled
 * back. */
SB_MUST_CHECK sb_code_t sb_view_statements_make(sb_pg_t *pg, const sb_view_definition_t *definition,
                                                int64_t generation, sb_error_t *err);
/* Reads the rows of a generation into an empty fold. SB_TOO_LARGE: they take more than bytes_max. */
SB_MUST_CHECK sb_code_t sb_view_statements_read(sb_pg_t *pg, const sb_view_definition_t *definition,
                                                int64_t generation, size_t bytes_max, sb_view_fold_t *fold,
                                                sb_error_t *err);

#endif
