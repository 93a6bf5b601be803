/* assert - cmocka with its prerequisites, and asserts that print the message of an sb_error_t.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_ASSERT_H
#define SB_TESTS_SUPPORT_ASSERT_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* The call must give SB_OK, or the wanted code; err may be NULL. */
#define assert_ok(call, err)         sb_assert_code(SB_OK, (call), (err), #call, __FILE__, __LINE__)
#define assert_code(want, call, err) sb_assert_code((want), (call), (err), #call, __FILE__, __LINE__)

/* The slice must hold exactly this text. */
#define assert_slice(slice, text) sb_assert_slice((slice), (text), __FILE__, __LINE__)

/* The text must contain the other; both are printed if not. */
#define assert_contains(text, part) sb_assert_contains((text), (part), __FILE__, __LINE__)

/* What must come is waited for so many times longer than a quiet machine takes at worst, and for a minute at
 * least: a slower one with other tests beside it is no fault of the code, and who fails only fails later. */
#define SB_TEST_PATIENCE 4
#define SB_TEST_LEAST_MS 60000

/* Polls the condition every 10 ms until it holds; fails after sb_test_patience(expected_ms). */
#define assert_soon(condition, expected_ms) sb_assert_until((condition), sb_test_patience(expected_ms))
/* The same where how soon it comes is what is tested: fails after timeout_ms. */
#define assert_within(condition, timeout_ms) sb_assert_until((condition), (timeout_ms))

#define sb_assert_until(condition, timeout_ms)                                                               \
    do {                                                                                                     \
        int64_t sb_until_ = sb_test_mono_ms() + (timeout_ms);                                                \
        bool sb_met_ = false;                                                                                \
        while (!(sb_met_ = (condition)) && sb_test_mono_ms() < sb_until_)                                    \
            sb_test_sleep_ms(10);                                                                            \
        if (!sb_met_)                                                                                        \
            fail_msg("not within %d ms: %s", (int)(timeout_ms), #condition);                                 \
    } while (0)

void sb_assert_code(sb_code_t want, sb_code_t have, const sb_error_t *err, const char *call, const char *file,
                    int line);
void sb_assert_slice(sb_slice_t have, const char *want, const char *file, int line);
void sb_assert_contains(const char *text, const char *part, const char *file, int line);
int64_t sb_test_mono_ms(void);
/* What this process has computed: for what must be quick, however much others compute beside it. */
int64_t sb_test_cpu_ms(void);
/* How long to wait for what takes so long at worst on a quiet machine. */
int64_t sb_test_patience(int64_t expected_ms);
void sb_test_sleep_ms(int64_t ms);

#endif
