/* SPDX-License-Identifier: Apache-2.0 */
#include "events/saga_number.h"
#include "tests/support/assert.h"

#define COUNTER_MAX ((INT64_C(1) << 48) - 1)

static void a_number_is_shard_and_counter(void **state)
{
    (void)state;
    static const int shards[] = {0, 1, 17, SB_SHARDS_MAX - 1};
    static const int64_t counters[] = {0, 1, 65535, 65536, INT64_C(0x123456789abc), COUNTER_MAX};
    for (size_t i = 0; i < sizeof shards / sizeof shards[0]; i++) {
        for (size_t j = 0; j < sizeof counters / sizeof counters[0]; j++) {
            int64_t number = sb_saga_number(shards[i], counters[j]);
            assert_true(number >= 0);
            assert_int_equal(sb_saga_shard(number), shards[i]);
            assert_int_equal(sb_saga_counter(number), counters[j]);
        }
    }
    assert_true(sb_saga_number(3, 8) > sb_saga_number(3, 7));
    assert_true(sb_saga_number(4, 0) > sb_saga_number(3, COUNTER_MAX));
}

static void an_id_leads_to_its_number(void **state)
{
    (void)state;
    static const int64_t counters[] = {0, 1, INT64_C(0xaaaaaaaaaaaa), INT64_C(0x555555555555), COUNTER_MAX};
    for (size_t i = 0; i < sizeof counters / sizeof counters[0]; i++) {
        for (int shard = 0; shard < SB_SHARDS_MAX; shard += 273) {
            int64_t number = sb_saga_number(shard, counters[i]), found = -1;
            sb_uuid_t id = sb_saga_id(number, INT64_C(1795238375123));
            assert_int_equal(id.byte[6] >> 4, 8);
            assert_int_equal(id.byte[8] >> 6, 2);
            assert_true(sb_saga_number_of(&id, &found));
            assert_int_equal(found, number);
        }
    }
}

static void ids_rise_with_time(void **state)
{
    (void)state;
    sb_uuid_t early = sb_saga_id(sb_saga_number(9, COUNTER_MAX), 1000),
              late = sb_saga_id(sb_saga_number(0, 0), 1001);
    assert_true(memcmp(early.byte, late.byte, sizeof early.byte) < 0);
}

static void other_ids_are_not_ours(void **state)
{
    (void)state;
    int64_t number = 5;
    sb_uuid_t nil = SB_UUID_NIL, seven = sb_uuid_v7();
    assert_false(sb_saga_number_of(&nil, &number));
    assert_false(sb_saga_number_of(&seven, &number));
    sb_uuid_t ours = sb_saga_id(1, 1);
    ours.byte[8] = (uint8_t)(ours.byte[8] ^ 0xc0);
    assert_false(sb_saga_number_of(&ours, &number));
    assert_int_equal(number, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_shard_and_counter),
        cmocka_unit_test(an_id_leads_to_its_number),
        cmocka_unit_test(ids_rise_with_time),
        cmocka_unit_test(other_ids_are_not_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
