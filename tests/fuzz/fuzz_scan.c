/* libFuzzer target: fuzz_scan tests/fuzz/corpus/scan
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "tests/fuzz/scan_oracle.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* an exact copy, so that one byte too many is seen by AddressSanitizer */
    char *copy = malloc(size ? size : 1);
    if (!copy)
        return 0;
    memcpy(copy, data, size);
    const char *fault = sb_scan_differs((sb_slice_t){copy, size}, NULL);
    if (fault) {
        (void)fprintf(stderr, "differs from jansson: %s\n", fault);
        abort();
    }
    /* the first byte splits pointer from text */
    if (size > 1) {
        sb_scan_value_t value;
        size_t split = 1 + (size_t)(unsigned char)copy[0] % size;
        if (split < size)
            (void)sb_scan_at((sb_slice_t){copy + split, size - split}, (sb_slice_t){copy + 1, split - 1},
                             &value);
    }
    free(copy);
    return 0;
}
