/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signal.h"
#include "tests/support/assert.h"

#include <pthread.h>

static void *raise_soon(void *context)
{
    sb_test_sleep_ms(30);
    sb_signal_raise(context);
    return NULL;
}

static void raises_are_remembered_as_one(void **state)
{
    (void)state;
    sb_signal_t signal;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_signal_init(&signal, &err), &err);
    sb_signal_raise(&signal);
    sb_signal_raise(&signal);
    sb_signal_raise(NULL);
    assert_true(sb_signal_wait(&signal, 0));
    assert_false(sb_signal_wait(&signal, 1));
    sb_signal_raise(&signal);
    sb_signal_clear(&signal);
    sb_signal_clear(&signal);
    assert_false(sb_signal_wait(&signal, 0));
    sb_signal_fini(&signal);
    sb_signal_fini(&signal);
}

static void waits_for_another_thread(void **state)
{
    (void)state;
    sb_signal_t signal;
    pthread_t thread;
    sb_error_t err = SB_ERROR_INIT;
    static const int64_t limits[] = {10000, -1, INT64_MAX};
    assert_ok(sb_signal_init(&signal, &err), &err);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&thread, NULL, raise_soon, &signal), 0);
        assert_true(sb_signal_wait(&signal, limits[i]));
        (void)pthread_join(thread, NULL);
    }
    /* a limit whose low 32 bits are 0 must not be taken for "do not wait" */
    assert_int_equal(pthread_create(&thread, NULL, raise_soon, &signal), 0);
    assert_true(sb_signal_wait(&signal, INT64_C(1) << 32));
    (void)pthread_join(thread, NULL);
    sb_signal_fini(&signal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(raises_are_remembered_as_one),
                                       cmocka_unit_test(waits_for_another_thread)};
    return cmocka_run_group_tests_name("signal", tests, NULL, NULL);
}
