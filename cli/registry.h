/* registry - the catalog as the commands use it: loaded from PostgreSQL, filled from files.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_REGISTRY_H
#define SB_CLI_REGISTRY_H

#include "cli/commands.h"
#include "events/catalog.h"

/* A connection and the catalog it holds; close both with sb_registry_close. */
typedef struct sb_registry {
    sb_pg_t *pg;
    sb_catalog_t *catalog;
} sb_registry_t;

/* SB_UNAVAILABLE and SB_UNSUPPORTED when the schema is behind or ahead. */
SB_MUST_CHECK sb_code_t sb_registry_open(sb_registry_t *registry, const sb_cli_t *cli, sb_error_t *err);
void sb_registry_close(sb_registry_t *registry);

/* The option --until, a sequence number or a time (events before it, by their own time), as the last sequence
 * number that it takes in; 0 when it was not given. SB_NOT_FOUND: no event is older. */
SB_MUST_CHECK sb_code_t sb_registry_until(sb_registry_t *registry, const sb_cli_t *cli, int64_t *seq,
                                          sb_error_t *err);

#endif
