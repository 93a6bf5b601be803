/* oom - fails the n-th allocation of our own code, for every n, until a run is clean.
 *
 * Link sb_test_oom: it wraps malloc, calloc, realloc and strdup of what is linked statically, and hands the
 * same to jansson.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_OOM_H
#define SB_TESTS_SUPPORT_OOM_H

#include "sagabus/error.h"

/* Runs body with the first, second, … allocation failing, until one run needs fewer. Each run must give SB_OK
 * or SB_NO_MEMORY, the last one SB_OK; leaks are AddressSanitizer's to find. body asserts its own result when
 * it gets SB_OK. Returns how many allocations a clean run makes. */
int sb_test_oom_sweep(sb_code_t (*body)(void *context, sb_error_t *err), void *context);

#endif
