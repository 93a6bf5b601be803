/* access - the roles of the database that work under its owner: migrations/0007_roles.sql says what each may
 * do.
 *
 * For the owner, after a migration: what it made has to be granted, and functions it replaced have to be made
 * safe.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_ACCESS_H
#define SB_EVENTS_ACCESS_H

#include "base/pg.h"

/* Records that role is an "engine", a "client" or a "reader"; sb_access_grant does the rest. The role must
 * exist. */
SB_MUST_CHECK sb_code_t sb_access_add(sb_pg_t *pg, const char *role, const char *kind, sb_error_t *err);

/* Takes all that a role was given, the views and those to come among it, and takes it off the record. Its
 * time limits stay. An error: it was given nothing. */
SB_MUST_CHECK sb_code_t sb_access_remove(sb_pg_t *pg, const char *role, sb_error_t *err);

/* Gives every recorded role its rights and time limits. *count (may be NULL): how many roles. todo (may be
 * NULL) gets the statements that a superuser still has to run, one a line, where pg may not set time limits.
 * SB_DENIED: pg is not the owner. */
SB_MUST_CHECK sb_code_t sb_access_grant(sb_pg_t *pg, int *count, sb_buf_t *todo, sb_error_t *err);

#endif
