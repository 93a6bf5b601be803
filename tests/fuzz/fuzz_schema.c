/* libFuzzer target: fuzz_upcast tests/fuzz/corpus/upcast. The first line is the declaration, the rest the
 * body.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/schema_oracle.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, '\n', size);
    if (!end)
        return 0;
    size_t first = (size_t)(end - data);
    size_t rest = size - first - 1;
    char *body =
        malloc(rest ? rest : 1); /* an exact copy, so that one byte too many is seen by AddressSanitizer */
    if (!body)
        return 0;
    memcpy(body, end + 1, rest);
    const char *fault =
        sb_schema_differs((sb_slice_t){(const char *)data, first}, (sb_slice_t){body, rest}, NULL);
    if (fault) {
        (void)fprintf(stderr, "differs: %s\n", fault);
        abort();
    }
    free(body);
    return 0;
}
