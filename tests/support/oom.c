/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/oom.h"

#include "tests/support/assert.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static _Atomic int count;   /* threads of the code under test allocate too */
static _Atomic int fail_at; /* 0: never */

void *__real_malloc(size_t size);
void *__real_calloc(size_t number, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t number, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);

static bool fails(void)
{
    return ++count == fail_at;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t number, size_t size)
{
    return fails() ? NULL : __real_calloc(number, size);
}

void *__wrap_realloc(void *old, size_t size)
{
    return fails() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    char *copy = fails() ? NULL : __real_malloc(size);
    return copy ? memcpy(copy, text, size) : NULL;
}

int sb_test_oom_sweep(sb_code_t (*body)(void *context, sb_error_t *err), void *context)
{
    json_set_alloc_funcs(__wrap_malloc, free);
    for (int n = 1; n < 100000; n++) {
        sb_error_t err = SB_ERROR_INIT;
        count = 0;
        fail_at = n;
        sb_code_t code = body(context, &err);
        bool clean = count < n;
        fail_at = 0;
        if (code != SB_OK && (clean || code != SB_NO_MEMORY))
            fail_msg("allocation %d of %d failed: %s: %s", n, count, sb_code_name(code), err.message);
        if (clean)
            return count;
    }
    fail_msg("no clean run");
    return 0;
}
