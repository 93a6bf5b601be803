/* skip - a test program that cannot run says why and is counted as skipped, not as passed.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_SKIP_H
#define SB_TESTS_SUPPORT_SKIP_H

#include "sagabus/error.h"

/* Prints `SKIP: reason` and exits with 77. When the environment's SAGABUS_REQUIRE (comma-separated) names the
 * thing ("pg", "kafka"), prints `FAIL: reason` and exits with 1 instead. */
_Noreturn void sb_test_skip(const char *thing, const char *format, ...) SB_PRINTF(2, 3);

/* Whether SAGABUS_REQUIRE names the thing. */
bool sb_test_required(const char *thing);

#endif
