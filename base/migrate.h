/* migrate - brings a schema to the newest version: forward only, one transaction a file, under an advisory
 * lock, each recorded with the hash of its text.
 *
 * The releases before and after an upgrade run side by side on one schema, and one may go back to the
 * earlier: a binary takes a schema with later migrations than its own. A migration that takes away or changes
 * what some release uses says in its name which binaries fit: 0020_drop_hint_needs_0015 is for those that
 * know 0015.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_MIGRATE_H
#define SB_BASE_MIGRATE_H

#include "base/pg.h"

typedef struct sb_migration {
    const char *name; /* "0001_core": the number orders, the whole name is recorded */
    const char *text;
} sb_migration_t;

typedef struct sb_migrate_report {
    int applied; /* by this call */
    int version; /* number of the newest one in force */
} sb_migrate_report_t;

/* Which migration a binary must know to run on a schema with the one of that name; 0: any. */
int sb_migration_needs(const char *name);

/* Applies what is missing of list (ended by a NULL name) in schema, which is created when absent; statements
 * run with search_path = schema. SB_MISMATCH: a recorded migration's text differs from ours; SB_UNSUPPORTED:
 * the database has a later one that this binary does not fit. Nothing half-done: each file is all or nothing.
 */
SB_MUST_CHECK sb_code_t sb_migrate(sb_pg_t *pg, const char *schema, const sb_migration_t *list,
                                   sb_migrate_report_t *report, sb_error_t *err);

/* Compares only: SB_OK when all of list is in force, SB_UNAVAILABLE when behind (run `sagabus migrate`),
 * SB_UNSUPPORTED when ahead by one that this binary does not fit. */
SB_MUST_CHECK sb_code_t sb_migrate_check(sb_pg_t *pg, const char *schema, const sb_migration_t *list,
                                         sb_error_t *err);

#endif
