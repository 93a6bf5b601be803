/* libFuzzer target: fuzz_post tests/fuzz/corpus/post
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/post_oracle.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *fault = sb_post_fault((sb_slice_t){(const char *)data, size}, NULL);
    if (fault) {
        (void)fprintf(stderr, "the body of a posted event: %s\n", fault);
        abort();
    }
    return 0;
}
