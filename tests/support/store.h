/* store - what the tests of the store begin with, and what they ask of its statements.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_STORE_H
#define SB_TESTS_SUPPORT_STORE_H

#include "events/catalog.h"
#include "tests/support/pg_server.h"

/* A fresh database with the project's own schemas registered. The caller closes pg and frees the catalog. */
void sb_test_catalog_fresh(char uri[SB_TEST_URI], sb_pg_t **pg, sb_catalog_t **catalog);

/* What EXPLAIN says of a statement of ours, run as a generic plan with these arguments; a line a row. Opens
 * the connection anew: nothing is prepared or set on it before. */
void sb_test_explain(sb_pg_t *pg, const char *sql, const char *arguments, char *plan, size_t size);

#endif
