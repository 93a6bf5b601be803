/* libFuzzer target: fuzz_message tests/fuzz/corpus/message
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/message_oracle.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *fault = sb_message_fault((sb_slice_t){(const char *)data, size}, NULL);
    if (fault) {
        (void)fprintf(stderr, "a record read as an event: %s\n", fault);
        abort();
    }
    return 0;
}
