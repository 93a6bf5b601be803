/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signal.h"
#include "tests/support/assert.h"

#include <pthread.h>
#include <stdatomic.h>

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
    static const int64_t limits[] = {60000, -1, INT64_MAX};
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

/* ---- raises beside a clear ---- */

#define RAISES  20000
#define HANG_MS 60000
#define RAISERS 2

typedef struct raiser {
    pthread_t thread;
    sb_signal_t *owner; /* raised for each number */
    sb_signal_t taken;  /* raised when the owner has seen it */
    _Atomic int number;
    bool hung;
} raiser_t;

static void *raise_often(void *context)
{
    raiser_t *raiser = context;
    for (int i = 1; i <= RAISES && !raiser->hung; i++) {
        raiser->number = i;
        sb_signal_raise(raiser->owner);
        raiser->hung = !sb_signal_wait(&raiser->taken, HANG_MS);
    }
    return NULL;
}

/* Each of two waits for the owner's word on each of its raises, so one that is lost stops both. */
static void no_raise_is_lost_beside_a_clear(void **state)
{
    (void)state;
    sb_signal_t signal;
    sb_error_t err = SB_ERROR_INIT;
    raiser_t raiser[RAISERS] = {{.owner = &signal}, {.owner = &signal}};
    int seen[RAISERS] = {0};
    assert_ok(sb_signal_init(&signal, &err), &err);
    for (int i = 0; i < RAISERS; i++)
        assert_ok(sb_signal_init(&raiser[i].taken, &err), &err);
    for (int i = 0; i < RAISERS; i++)
        assert_int_equal(pthread_create(&raiser[i].thread, NULL, raise_often, &raiser[i]), 0);
    while (seen[0] < RAISES || seen[1] < RAISES) {
        if (!sb_signal_wait(&signal, HANG_MS))
            break;
        for (int i = 0; i < RAISERS; i++) {
            int number = raiser[i].number;
            if (number == seen[i])
                continue;
            seen[i] = number;
            sb_signal_raise(&raiser[i].taken);
        }
    }
    for (int i = 0; i < RAISERS; i++) {
        (void)pthread_join(raiser[i].thread, NULL);
        assert_false(raiser[i].hung);
        assert_int_equal(seen[i], RAISES);
        sb_signal_fini(&raiser[i].taken);
    }
    sb_signal_fini(&signal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(raises_are_remembered_as_one),
                                       cmocka_unit_test(waits_for_another_thread),
                                       cmocka_unit_test(no_raise_is_lost_beside_a_clear)};
    return cmocka_run_group_tests_name("signal", tests, NULL, NULL);
}
