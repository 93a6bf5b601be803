/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool sb_test_required(const char *thing)
{
    const char *at = getenv("SAGABUS_REQUIRE");
    size_t n = strlen(thing);
    while (at && *at) {
        size_t length = strcspn(at, ",");
        if (length == n && strncmp(at, thing, n) == 0)
            return true;
        at += length;
        at += *at == ',';
    }
    return false;
}

void sb_test_skip(const char *thing, const char *format, ...)
{
    bool required = sb_test_required(thing);
    va_list args;
    va_start(args, format);
    (void)fputs(required ? "FAIL: " : "SKIP: ", stdout);
    (void)vprintf(format, args);
    (void)putchar('\n');
    va_end(args);
    exit(required ? 1 : 77);
}
