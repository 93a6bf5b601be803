/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/topic.h"
#include "tests/support/assert.h"

#include <string.h>

/* With this many partitions the partition is the hash without its sign, all but one value of it. */
#define COUNT INT32_MAX

static void hashes_like_the_java_client(void **state)
{
    (void)state;
    /* The vectors of Apache Kafka's UtilsTest.testMurmur2, and lengths 0 to 5 as librdkafka's own tests have
     * them from the Java client. */
    static const struct {
        const char *key;
        int32_t hash;
    } cases[] = {{"21", -973932308},
                 {"foobar", -790332482},
                 {"a-little-bit-long-string", -985981536},
                 {"a-little-bit-longer-string", -1486304829},
                 {"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
                 {"abc", 479470107},
                 {"", 0x106e08d9},
                 {"4", 0x5a4b5ca1},
                 {"34", (int32_t)0x873930da},
                 {"1234", (int32_t)0x9fc97b14},
                 {"kafka", (int32_t)0xd067cf64}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_int_equal(sb_topic_partition(sb_slice(cases[i].key), COUNT), cases[i].hash & 0x7fffffff);
}

static void a_partition_is_within_the_count(void **state)
{
    (void)state;
    bool seen[7] = {false};
    char key[2] = "a";
    for (; key[0] <= 'z'; key[0]++) {
        int32_t partition = sb_topic_partition(sb_slice(key), 7);
        assert_in_range(partition, 0, 6);
        seen[partition] = true;
        assert_int_equal(sb_topic_partition(sb_slice(key), 1), 0);
    }
    for (int i = 0; i < 7; i++)
        assert_true(seen[i]);
}

static void names_are_under_the_prefix(void **state)
{
    (void)state;
    sb_topic_t topic;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_topic_events(topic, "shop.", SB_SLICE("order"), &err), &err);
    assert_string_equal(topic, "shop.order.events");
    assert_ok(sb_topic_commands(topic, "shop.", SB_SLICE("payment"), &err), &err);
    assert_string_equal(topic, "shop.cmd.payment");
    assert_ok(sb_topic_replies(topic, "", &err), &err);
    assert_string_equal(topic, "saga.replies");
}

static void refuses_what_kafka_would(void **state)
{
    (void)state;
    sb_topic_t topic;
    sb_error_t err = SB_ERROR_INIT;
    char long_name[SB_TOPIC_MAX];
    memset(long_name, 'a', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    assert_code(SB_INVALID, sb_topic_events(topic, "", sb_slice(long_name), &err), &err);
    assert_code(SB_INVALID, sb_topic_events(topic, "a/", SB_SLICE("order"), &err), &err);
    assert_contains(err.message, "a/order.events");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hashes_like_the_java_client),
        cmocka_unit_test(a_partition_is_within_the_count),
        cmocka_unit_test(names_are_under_the_prefix),
        cmocka_unit_test(refuses_what_kafka_would),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
