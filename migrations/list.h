/* list - the migrations this binary carries, oldest first, each list ended by a NULL name.
 *
 * sb_migrations is the engine's schema (sagabus); sb_client_migrations goes into a service's own schema, for
 * the barrier, positions and dead letters. Their texts are the files of this directory, embedded.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_MIGRATIONS_LIST_H
#define SB_MIGRATIONS_LIST_H

#include "base/migrate.h"

#define SB_SCHEMA "sagabus"

extern const sb_migration_t sb_migrations[];
extern const sb_migration_t sb_client_migrations[];

#endif
