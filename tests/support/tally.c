/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/tally.h"

#include "events/tally.h"
#include "tests/support/assert.h"

int64_t sb_test_tally_ranges(sb_pg_t *pg)
{
    sb_lease_t lease;
    sb_error_t err = SB_ERROR_INIT;
    sb_tally_found_t found = {.more = true};
    sb_lease_init(&lease, "keeper");
    assert_ok(sb_lease_acquire(&lease, pg, "test", 10000, &err), &err);
    while (found.more)
        assert_ok(sb_tally_check(pg, &lease, &found, &err), &err);
    sb_lease_release(&lease, pg);
    sb_lease_fini(&lease);
    return found.ranges;
}
