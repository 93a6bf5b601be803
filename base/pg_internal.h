/* What pg.c, pg_copy.c and pg_error.c share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_PG_INTERNAL_H
#define SB_BASE_PG_INTERNAL_H

#include "base/pg.h"

#include <libpq-fe.h>

struct sb_pg {
    PGconn *conn;
    bool dead; /* the server ended it or libpq lost the thread of it, though its status may still say OK */
    char *uri;
    char *application_name;
    char *options; /* the -c settings every connection starts with */
    char connect_timeout[12];
    const char **prepared; /* texts prepared on this connection, open-addressed by address */
    size_t prepared_cap;
    size_t prepared_count;
};

/* Microseconds between 1970 and PostgreSQL's epoch, 2000-01-01. */
#define SB_PG_EPOCH_US 946684800000000LL

/* Translates the error of a result (or of the connection, result NULL), and marks the connection dead when
 * the error is not a statement's. committing: no answer leaves the outcome unknown. */
sb_code_t sb_pg_result_error(sb_pg_t *pg, const PGresult *result, bool committing, sb_error_t *err);

#endif
