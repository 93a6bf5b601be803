/* tally - what the keeper would find: ranges that a reader took in otherwise than the store has them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_TALLY_H
#define SB_TESTS_SUPPORT_TALLY_H

#include "base/pg.h"

/* Compares all there is, as the keeper, over a connection that no server's keeper is in the way of. */
int64_t sb_test_tally_ranges(sb_pg_t *pg);

#endif
