/* SPDX-License-Identifier: Apache-2.0 */
#include "base/queue.h"
#include "tests/support/assert.h"

#include <pthread.h>

static sb_queue_t *make(size_t capacity, sb_signal_t *signal)
{
    sb_queue_t *queue = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_queue_new(&queue, capacity, signal, &err), &err);
    return queue;
}

static void is_bounded_and_in_order(void **state)
{
    (void)state;
    int v[4];
    sb_queue_t *queue = make(3, NULL);
    for (int round = 0; round < 5; round++) { /* around the ring */
        assert_null(sb_queue_pop(queue));
        for (int i = 0; i < 3; i++)
            assert_int_equal(sb_queue_push(queue, &v[i]), SB_OK);
        assert_int_equal(sb_queue_push(queue, &v[3]), SB_BUSY);
        assert_int_equal(sb_queue_count(queue), 3);
        assert_ptr_equal(sb_queue_pop(queue), &v[0]);
        void *rest[4];
        assert_int_equal(sb_queue_pop_many(queue, rest, 4), 2);
        assert_ptr_equal(rest[0], &v[1]);
        assert_ptr_equal(rest[1], &v[2]);
    }
    sb_queue_free(&queue);
    assert_null(queue);
    sb_queue_free(&queue);
}

static void wakes_its_consumer(void **state)
{
    (void)state;
    int v;
    void *items[2];
    sb_error_t err = SB_ERROR_INIT;
    sb_signal_t signal;
    assert_ok(sb_signal_init(&signal, &err), &err);
    sb_queue_t *queue = make(8, &signal);
    assert_false(sb_signal_wait(&signal, 0));
    for (int i = 0; i < 3; i++)
        assert_int_equal(sb_queue_push(queue, &v), SB_OK);
    assert_true(sb_signal_wait(&signal, 0));
    assert_int_equal(sb_queue_pop_many(queue, items, 2), 2);
    assert_true(sb_signal_wait(&signal, 0)); /* one is left */
    assert_int_equal(sb_queue_pop_many(queue, items, 2), 1);
    assert_false(sb_signal_wait(&signal, 0));
    sb_queue_close(queue);
    assert_true(sb_signal_wait(&signal, 0));
    sb_queue_free(&queue);
    sb_signal_fini(&signal);
}

static void closed_refuses_but_gives_what_it_has(void **state)
{
    (void)state;
    int v;
    sb_queue_t *queue = make(2, NULL);
    assert_int_equal(sb_queue_push(queue, &v), SB_OK);
    sb_queue_close(queue);
    assert_true(sb_queue_is_closed(queue));
    assert_int_equal(sb_queue_push(queue, &v), SB_STOPPED);
    assert_ptr_equal(sb_queue_pop(queue), &v);
    assert_null(sb_queue_pop(queue));
    sb_queue_free(&queue);
}

#define PUSHERS 4
#define EACH    20000

typedef struct pusher {
    sb_queue_t *queue;
    int number;
    int values[EACH];
} pusher_t;

static void *push_all(void *context)
{
    pusher_t *pusher = context;
    for (int i = 0; i < EACH; i++) {
        pusher->values[i] = pusher->number * EACH + i;
        while (sb_queue_push(pusher->queue, &pusher->values[i]) == SB_BUSY)
            sb_test_sleep_ms(0);
    }
    return NULL;
}

static void loses_nothing_between_threads(void **state)
{
    (void)state;
    static pusher_t pushers[PUSHERS];
    pthread_t threads[PUSHERS];
    sb_error_t err = SB_ERROR_INIT;
    sb_signal_t signal;
    assert_ok(sb_signal_init(&signal, &err), &err);
    sb_queue_t *queue = make(64, &signal);
    for (int i = 0; i < PUSHERS; i++) {
        pushers[i].queue = queue;
        pushers[i].number = i;
        assert_int_equal(pthread_create(&threads[i], NULL, push_all, &pushers[i]), 0);
    }
    int next[PUSHERS] = {0};
    int total = 0;
    while (total < PUSHERS * EACH) {
        void *items[16];
        assert_true(sb_signal_wait(&signal, 60000));
        size_t count = sb_queue_pop_many(queue, items, 16);
        for (size_t i = 0; i < count; i++) {
            int value = *(int *)items[i];
            assert_int_equal(value % EACH, next[value / EACH]++); /* in order of each pusher */
            total++;
        }
    }
    for (int i = 0; i < PUSHERS; i++)
        (void)pthread_join(threads[i], NULL);
    assert_int_equal(sb_queue_count(queue), 0);
    sb_queue_free(&queue);
    sb_signal_fini(&signal);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(is_bounded_and_in_order),
        cmocka_unit_test(wakes_its_consumer),
        cmocka_unit_test(closed_refuses_but_gives_what_it_has),
        cmocka_unit_test(loses_nothing_between_threads),
    };
    return cmocka_run_group_tests_name("queue", tests, NULL, NULL);
}
