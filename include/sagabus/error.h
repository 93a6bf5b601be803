/* error - what every fallible function of sagabus returns, and the detail beside it.
 *
 * A fallible function returns sb_code_t; SB_OK is 0. Detail goes to an optional sb_error_t that the
 * caller owns (NULL is allowed and means "no detail"). The first cause wins: a function that passes an
 * error on adds context in front of it, it never replaces it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_ERROR_H
#define SAGABUS_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#if defined(__GNUC__)
#define SB_API          __attribute__((visibility("default")))
#define SB_MUST_CHECK   __attribute__((warn_unused_result))
#define SB_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define SB_API
#define SB_MUST_CHECK
#define SB_PRINTF(f, a)
#endif

/* One table: enum, name, whether the same call may succeed later, text, HTTP status. */
#define SB_CODE_MAP(ROW)                                                                                     \
    ROW(OK, "ok", false, "ok", 200)                                                                          \
    ROW(INVALID, "invalid", false, "the input is not valid", 400)                                            \
    ROW(DENIED, "denied", false, "not allowed", 403)                                                         \
    ROW(NOT_FOUND, "not_found", false, "not found", 404)                                                     \
    ROW(CONFLICT, "conflict", false, "someone else wrote first", 409)                                        \
    ROW(GONE, "gone", false, "no longer kept", 410)                                                          \
    ROW(TOO_LARGE, "too_large", false, "larger than the limit", 413)                                         \
    ROW(MISMATCH, "mismatch", false, "the same key or version came with other content", 422)                 \
    ROW(BUSY, "busy", true, "at its limit, try later", 429)                                                  \
    ROW(UNAVAILABLE, "unavailable", true, "not reachable", 503)                                              \
    ROW(TIMEOUT, "timeout", true, "took too long", 504)                                                      \
    ROW(UNKNOWN_OUTCOME, "unknown_outcome", false, "the connection broke before the answer", 503)            \
    ROW(FENCED, "fenced", false, "a newer instance took over", 503)                                          \
    ROW(STOPPED, "stopped", false, "stopping", 503)                                                          \
    ROW(UNSUPPORTED, "unsupported", false, "not supported", 501)                                             \
    ROW(CORRUPT, "corrupt", false, "stored data is not what was written", 500)                               \
    ROW(NO_MEMORY, "no_memory", true, "out of memory", 503)                                                  \
    ROW(INTERNAL, "internal", false, "internal error", 500)

typedef enum sb_code {
#define SB_ROW(name, text, retry, long_text, http) SB_##name,
    SB_CODE_MAP(SB_ROW)
#undef SB_ROW
        SB_CODE_COUNT
} sb_code_t;

typedef struct sb_error {
    sb_code_t code;
    bool retryable;    /* the same call may succeed later */
    char origin[24];   /* "pg:40001", "kafka:-185", "" when our own */
    char pointer[128]; /* JSON Pointer to the fault in the input, "" when there is none */
    char message[512]; /* says what was being done, to which id, and how to mend it */
} sb_error_t;

#define SB_ERROR_INIT                                                                                        \
    {                                                                                                        \
        SB_OK, false, "", "", ""                                                                             \
    }

/* Stable short name ("conflict"), one sentence, and the HTTP status of a code. Static strings. */
SB_API const char *sb_code_name(sb_code_t code);
SB_API const char *sb_code_text(sb_code_t code);
SB_API int sb_code_http(sb_code_t code);

/* Fills *err (NULL is fine) and returns code, so that `return sb_fail(err, SB_INVALID, "...")` reads well. */
SB_API sb_code_t sb_fail(sb_error_t *err, sb_code_t code, const char *format, ...) SB_PRINTF(3, 4);
SB_API sb_code_t sb_vfail(sb_error_t *err, sb_code_t code, const char *format, va_list args) SB_PRINTF(3, 0);

/* As sb_fail, with the JSON Pointer of the fault. */
SB_API sb_code_t sb_fail_at(sb_error_t *err, sb_code_t code, const char *pointer, const char *format, ...)
    SB_PRINTF(4, 5);

/* Puts "context: " in front of err's message and returns its code. */
SB_API sb_code_t sb_context(sb_error_t *err, sb_code_t code, const char *format, ...) SB_PRINTF(3, 4);

/* Forgets the error, so that the struct can be used again. */
SB_API void sb_error_clear(sb_error_t *err);

#endif
