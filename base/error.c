/* SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/error.h"

#include <stdio.h>
#include <string.h>

typedef struct code_row {
    const char *name;
    bool retryable;
    const char *text;
    int http;
} code_row_t;

static const code_row_t codes[] = {
#define SB_ROW(name, text, retry, long_text, http) [SB_##name] = {text, retry, long_text, http},
    SB_CODE_MAP(SB_ROW)
#undef SB_ROW
};

_Static_assert(sizeof codes / sizeof codes[0] == SB_CODE_COUNT, "one row per code");

static const code_row_t *row_of(sb_code_t code)
{
    return &codes[(unsigned)code < SB_CODE_COUNT ? code : SB_INTERNAL];
}

const char *sb_code_name(sb_code_t code)
{
    return row_of(code)->name;
}

const char *sb_code_text(sb_code_t code)
{
    return row_of(code)->text;
}

int sb_code_http(sb_code_t code)
{
    return row_of(code)->http;
}

/* A text that was cut ends with a whole character: it is stored and sent as UTF-8. */
static void end_whole(char *text, size_t cap)
{
    size_t lead = strlen(text), length = lead;
    if (length + 1 < cap)
        return;
    while (lead > 0 && ((unsigned char)text[lead - 1] & 0xC0) == 0x80)
        lead--;
    unsigned char first = lead > 0 ? (unsigned char)text[lead - 1] : 0;
    size_t wanted = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : first >= 0xC0 ? 2 : 1;
    if (lead > 0 && length - (lead - 1) < wanted)
        text[lead - 1] = '\0';
}

sb_code_t sb_vfail(sb_error_t *err, sb_code_t code, const char *format, va_list args)
{
    if (err) {
        err->code = code;
        err->retryable = row_of(code)->retryable;
        err->origin[0] = '\0';
        err->pointer[0] = '\0';
        (void)vsnprintf(err->message, sizeof err->message, format, args);
        end_whole(err->message, sizeof err->message);
    }
    return code;
}

sb_code_t sb_fail(sb_error_t *err, sb_code_t code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)sb_vfail(err, code, format, args);
    va_end(args);
    return code;
}

sb_code_t sb_fail_at(sb_error_t *err, sb_code_t code, const char *pointer, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)sb_vfail(err, code, format, args);
    va_end(args);
    if (err)
        (void)snprintf(err->pointer, sizeof err->pointer, "%s", pointer);
    return code;
}

sb_code_t sb_context(sb_error_t *err, sb_code_t code, const char *format, ...)
{
    if (!err)
        return code;
    char first[sizeof err->message];
    (void)snprintf(first, sizeof first, "%s", err->message);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    if (used >= 0 && (size_t)used < sizeof err->message)
        (void)snprintf(err->message + used, sizeof err->message - (size_t)used, ": %s", first);
    end_whole(err->message, sizeof err->message);
    return code;
}

void sb_error_clear(sb_error_t *err)
{
    if (err)
        memset(err, 0, sizeof *err);
}
