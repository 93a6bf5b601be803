/* SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_number.h"
#include "saga/orchestrator/orchestrator_internal.h"
#include "saga/orchestrator/shard.h"
#include "saga/orchestrator/timers.h"
#include "tests/support/assert.h"

#include <stdlib.h>

enum { COUNT = 500 };

static sb_open_saga_t *new_saga(int64_t counter, int64_t wall_ms)
{
    int64_t no = sb_saga_number(3, counter);
    sb_open_saga_head_t head = {
        .no = no, .id = sb_saga_id(no, wall_ms), .key = SB_SLICE("k"), .input = SB_SLICE("{}")};
    sb_open_saga_t *saga = sb_open_saga_new(&head);
    assert_non_null(saga);
    return saga;
}

static void timers_come_out_in_order_of_time(void **state)
{
    (void)state;
    sb_timers_t timers = {.heap = NULL};
    sb_open_saga_t *saga[COUNT];
    unsigned seed = 5;
    for (int i = 0; i < COUNT; i++) {
        saga[i] = new_saga(i, 1);
        assert_true(sb_timers_reserve(&timers, (size_t)i + 1));
        sb_timers_set(&timers, saga[i], 1 + rand_r(&seed) % 1000);
    }
    for (int i = 0; i < COUNT; i += 3) /* moved, and every ninth taken out */
        sb_timers_set(&timers, saga[i], i % 9 == 0 ? 0 : 1 + rand_r(&seed) % 1000);
    int64_t last = 0;
    size_t left = timers.count;
    assert_int_equal(left, COUNT - (COUNT + 8) / 9);
    for (sb_open_saga_t *first; (first = sb_timers_first(&timers)); left--) {
        assert_true(first->wake_us >= last);
        last = first->wake_us;
        sb_timers_set(&timers, first, 0);
        assert_int_equal(first->timer_at, 0);
    }
    assert_int_equal(left, 0);
    for (int i = 0; i < COUNT; i++)
        sb_open_saga_free(saga[i]);
    sb_timers_fini(&timers);
}

static void the_table_finds_each_saga_until_it_is_removed(void **state)
{
    (void)state;
    sb_open_sagas_t sagas = {.bucket = NULL};
    assert_null(sb_open_sagas_find(&sagas, 1));
    for (int i = 0; i < COUNT; i++) {
        assert_true(sb_open_sagas_reserve(&sagas, 1));
        sb_open_sagas_add(&sagas, new_saga(i, 1));
    }
    for (int i = 0; i < COUNT; i++) {
        int64_t no = sb_saga_number(3, i);
        sb_open_saga_t *saga = sb_open_sagas_find(&sagas, no);
        assert_non_null(saga);
        assert_int_equal(saga->no, no);
        sb_open_sagas_remove(&sagas, saga);
        assert_null(sb_open_sagas_find(&sagas, no));
        sb_open_saga_free(saga);
    }
    sb_open_sagas_fini(&sagas);
}

static void the_low_water_mark_leaves_slow_sagas_behind(void **state)
{
    (void)state;
    sb_shard_t shard = {.number = 3, .next = 6};
    sb_open_saga_t *saga[6];
    const int64_t day_ms = 86400000;
    for (int i = 1; i <= 5; i++) {
        saga[i] = new_saga(i, i <= 2 ? day_ms : 2 * day_ms);
        sb_shard_add(&shard, saga[i]);
    }
    assert_int_equal(sb_shard_low(&shard), 1);
    sb_shard_mark_slow(&shard, 2 * day_ms * 1000 + 1);
    assert_true(shard.slow_changed);
    assert_int_equal(shard.slow_count, 2);
    assert_int_equal(sb_shard_low(&shard), 3);
    sb_buf_t detail = SB_BUF_INIT;
    sb_shard_write_detail(&shard, "c", &detail);
    assert_string_equal(sb_buf_text(&detail), "{\"cluster\":\"c\",\"slow\":[1,2]}");
    sb_shard_remove(&shard, saga[1]);
    sb_shard_remove(&shard, saga[3]);
    assert_int_equal(sb_shard_low(&shard), 4);
    assert_int_equal(shard.slow_count, 1);
    sb_shard_remove(&shard, saga[4]);
    sb_shard_remove(&shard, saga[5]);
    assert_int_equal(sb_shard_low(&shard), 6);
    sb_buf_reset(&detail);
    sb_shard_write_detail(&shard, "c", &detail);
    assert_string_equal(sb_buf_text(&detail), "{\"cluster\":\"c\",\"slow\":[2]}");
    sb_buf_fini(&detail);
    for (int i = 1; i <= 5; i++)
        sb_open_saga_free(saga[i]);
}

static void the_resend_list_keeps_order_and_takes_out_of_the_middle(void **state)
{
    (void)state;
    sb_resend_list_t list = {.first = NULL};
    sb_open_saga_t *saga[4];
    for (int i = 0; i < 4; i++) {
        saga[i] = new_saga(i, 1);
        sb_resend_add(&list, saga[i]);
        sb_resend_add(&list, saga[i]);
    }
    assert_int_equal(list.count, 4);
    sb_resend_remove(&list, saga[1]);
    sb_resend_remove(&list, saga[1]);
    sb_resend_remove(&list, saga[3]);
    assert_ptr_equal(list.first, saga[0]);
    assert_ptr_equal(saga[0]->resend_next, saga[2]);
    assert_ptr_equal(list.last, saga[2]);
    assert_int_equal(list.count, 2);
    for (int i = 0; i < 4; i++)
        sb_open_saga_free(saga[i]);
}

/* Two commits of one turn may see it set and set right again; then nothing has moved. */
static void a_clock_set_to_and_fro_moves_nothing(void **state)
{
    const int64_t hour_us = 3600000000LL;
    (void)state;
    sb_orchestrator_t *o = calloc(1, sizeof *o);
    assert_non_null(o);
    sb_open_saga_t *saga = new_saga(1, 1);
    assert_true(sb_timers_reserve(&o->timers, 1));
    sb_timers_set(&o->timers, saga, 100 * hour_us);
    sb_orchestrator_set_clock(o, 90 * hour_us, 1000);
    sb_orchestrator_set_clock(o, 95 * hour_us, 2000);
    sb_orchestrator_set_clock(o, 90 * hour_us + 2000, 3000);
    sb_orchestrator_follow_clock(o);
    assert_true(saga->wake_us == 100 * hour_us);
    assert_true(o->offset_us == 90 * hour_us - 1000);
    sb_orchestrator_set_clock(o, 85 * hour_us, 4000);
    sb_orchestrator_set_clock(o, 85 * hour_us + 1000, 5000);
    sb_orchestrator_follow_clock(o);
    sb_orchestrator_follow_clock(o);
    assert_true(saga->wake_us - 95 * hour_us <= 1000 && saga->wake_us - 95 * hour_us >= -5000);
    sb_timers_set(&o->timers, saga, 0);
    sb_timers_fini(&o->timers);
    sb_open_saga_free(saga);
    free(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_come_out_in_order_of_time),
        cmocka_unit_test(the_table_finds_each_saga_until_it_is_removed),
        cmocka_unit_test(the_low_water_mark_leaves_slow_sagas_behind),
        cmocka_unit_test(a_clock_set_to_and_fro_moves_nothing),
        cmocka_unit_test(the_resend_list_keeps_order_and_takes_out_of_the_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
