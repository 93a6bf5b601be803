/* What the files of pg.h share: pg.c (connection, statements), pg_params.c, pg_batch.c, pg_result.c,
 * pg_copy.c, pg_error.c.
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
    bool counts_uses;
    bool standby_will_do;
    uint64_t uses;
    const char **prepared; /* texts prepared on this connection, open-addressed by address */
    size_t prepared_cap;
    size_t prepared_count;
};

/* Translates the error of a result (or of the connection, result NULL), and marks the connection dead when
 * the error is not a statement's. committing: no answer leaves the outcome unknown. */
sb_code_t sb_pg_result_error(sb_pg_t *pg, const PGresult *result, bool committing, sb_error_t *err);

/* A statement is prepared at its first use on a connection. SB_NO_MEMORY also when a parameter failed. */
sb_code_t sb_pg_prepare(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params, sb_error_t *err);
void sb_pg_statement_name(const char *sql, char name[24]);

/* Parameters as libpq takes them; borrowed from params. */
typedef struct sb_pg_bound {
    const char *value[SB_PG_PARAMS_MAX];
    int format[SB_PG_PARAMS_MAX];
} sb_pg_bound_t;
void sb_pg_bind(const sb_pg_params_t *params, sb_pg_bound_t *bound);

bool sb_pg_is_success(const PGresult *result);

/* What is said of a connection that is not open. */
sb_code_t sb_pg_broken(sb_error_t *err);

#endif
