/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/consumer_internal.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS 4

typedef struct fixture {
    char prefix[SB_TEST_PREFIX];
    sb_topic_t topic;
    sb_config_t *config;
    sb_consumer_t *consumer;
    sb_test_messages_t got;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void make_topic(fixture_t *f, const char *name)
{
    int created = 0;
    sb_topic_list_t list = {NULL, 0, 0};
    assert_ok(sb_topic_list_add(&list, name, PARTITIONS, &f->err), &f->err);
    assert_ok(sb_topics_apply(f->config, &list, 20000, &created, &f->err), &f->err);
    sb_topic_list_fini(&list);
}

static int setup(void **state)
{
    fixture = (fixture_t){.config = NULL};
    fixture.config = sb_test_bus_config(sb_test_kafka(), sb_test_kafka_prefix(fixture.prefix));
    sb_test_bus_set(fixture.config, "kafka.session.timeout.ms", "6000");
    sb_test_bus_set(fixture.config, "kafka.heartbeat.interval.ms", "500");
    (void)snprintf(fixture.topic, sizeof fixture.topic, "%scmd.payment", fixture.prefix);
    make_topic(&fixture, fixture.topic);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_consumer_close(&f->consumer, 5000);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    return 0;
}

static void open_consumer(fixture_t *f, sb_consumer_t **out)
{
    const char *const topics[] = {f->topic};
    assert_ok(sb_consumer_open(out, f->config, "payment", topics, 1, &f->err), &f->err);
}

static void hands_over_again_what_was_not_committed_and_nothing_else(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, f->topic, -1, 0, 100);
    open_consumer(f, &f->consumer);
    sb_test_consume(f->consumer, &f->got, 100, 30000);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
    sb_test_messages_clear(&f->got);
    sb_test_produce(f->config, f->topic, 0, 100, 5);
    sb_test_consume(f->consumer, &f->got, 5, 10000);
    assert_ok(sb_consumer_rewind(f->consumer, &f->err), &f->err);
    sb_test_consume(f->consumer, &f->got, 10, 10000);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(f->got.item[5 + i].offset, f->got.item[i].offset);
    sb_consumer_close(&f->consumer, 5000);
    sb_test_messages_clear(&f->got);
    open_consumer(f, &f->consumer);
    sb_test_consume(f->consumer, &f->got, 5, 30000);
    assert_int_equal(f->got.count, 5);
    assert_string_equal(f->got.item[0].value, "100");
}

/* Members come and go in order while messages flow: none is lost, and none is handled twice unless a commit
 * was refused, because a member commits before it gives its partitions away. */
static void a_rebalance_repeats_only_what_could_not_be_committed(void **state)
{
    fixture_t *f = *state;
    enum { COUNT = 600, MEMBERS = 3 };
    sb_consumer_t *member[MEMBERS] = {NULL, NULL, NULL};
    static int handled[COUNT];
    memset(handled, 0, sizeof handled);
    int sent = 0;
    int64_t until = sb_test_mono_ms() + 240000;
    int done = 0;
    int refused = 0;
    for (int round = 0; done < COUNT && sb_test_mono_ms() < until; round++) {
        if (round % 40 == 0 && round / 40 < MEMBERS)
            open_consumer(f, &member[round / 40]);
        if (round == 180)
            sb_consumer_close(&member[1], 5000);
        if (sent < COUNT && round >= 40) {
            sb_test_produce(f->config, f->topic, -1, sent, 10);
            sent += 10;
        }
        for (int m = 0; m < MEMBERS; m++) {
            int n = 0;
            if (!member[m])
                continue;
            sb_test_messages_clear(&f->got);
            assert_ok(sb_consumer_poll(member[m], 50, 20, sb_test_collect, &f->got, &n, &f->err), &f->err);
            for (size_t i = 0; i < f->got.count; i++)
                done += handled[atoi(f->got.item[i].value)]++ == 0;
            sb_code_t code = sb_consumer_commit(member[m], &f->err);
            if (code != SB_OK)
                assert_code(SB_UNAVAILABLE, code, &f->err);
            refused += code != SB_OK;
        }
    }
    for (int m = 0; m < MEMBERS; m++)
        sb_consumer_close(&member[m], 5000);
    int repeats = 0;
    for (int i = 0; i < COUNT; i++)
        repeats += handled[i] - 1;
    assert_int_equal(done, COUNT);
    assert_true(refused > 0 || repeats == 0);
}

static void a_member_without_partitions_closes_in_time(void **state)
{
    fixture_t *f = *state;
    sb_consumer_t *member[PARTITIONS + 1];
    int n = 0;
    for (int m = 0; m <= PARTITIONS; m++)
        open_consumer(f, &member[m]);
    int64_t until = sb_test_mono_ms() + 8000;
    while (sb_test_mono_ms() < until)
        for (int m = 0; m <= PARTITIONS; m++)
            assert_ok(sb_consumer_poll(member[m], 10, 10, sb_test_collect, &f->got, &n, &f->err), &f->err);
    for (int m = 0; m <= PARTITIONS; m++) {
        int64_t before = sb_test_mono_ms();
        sb_consumer_close(&member[m], 60000);
        assert_true(sb_test_mono_ms() - before < 30000);
    }
}

/* A member whose session ran out while the broker was away is told so by its next poll; until then its
 * commits are refused. */
static bool commits_between_polls(fixture_t *f)
{
    int n = 0;
    assert_ok(sb_consumer_poll(f->consumer, 100, 100, sb_test_collect, &f->got, &n, &f->err), &f->err);
    return sb_consumer_commit(f->consumer, &f->err) == SB_OK;
}

static void goes_on_after_the_broker_was_killed(void **state)
{
    fixture_t *f = *state;
    sb_test_produce(f->config, f->topic, -1, 0, 20);
    open_consumer(f, &f->consumer);
    sb_test_consume(f->consumer, &f->got, 20, 30000);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
    sb_test_kafka_control("kill");
    int n = 0;
    for (int i = 0; i < 5; i++)
        assert_ok(sb_consumer_poll(f->consumer, 10, 100, sb_test_collect, &f->got, &n, &f->err), &f->err);
    sb_test_kafka_control("start");
    sb_test_produce(f->config, f->topic, -1, 20, 20);
    sb_test_consume(f->consumer, &f->got, 40, 60000);
    assert_soon(commits_between_polls(f), 30000);

    sb_test_kafka_control("kill");
    int64_t before = sb_test_mono_ms();
    sb_consumer_close(&f->consumer, 1000);
    assert_true(sb_test_mono_ms() - before < 30000);
    sb_test_kafka_control("start");
}

/* When its leader handed out the partitions the topic was not there, and librdkafka does not look again
 * within this test. (After a broker lost everything it looks, and still sees no change.) */
static void a_topic_that_was_away_at_the_assignment_is_read_when_it_comes(void **state)
{
    fixture_t *f = *state;
    char group[SB_TEST_PREFIX + 16];
    sb_topic_t later;
    int n = 0;
    (void)snprintf(group, sizeof group, "%spayment", f->prefix);
    (void)snprintf(later, sizeof later, "%scmd.later", f->prefix);
    const char *const topics[] = {f->topic, later};
    sb_test_bus_set(f->config, "kafka.topic.metadata.refresh.interval.ms", "300000");
    assert_ok(sb_consumer_open(&f->consumer, f->config, "payment", topics, 2, &f->err), &f->err);
    int64_t until = sb_test_mono_ms() + 30000;
    while (sb_test_kafka_group_partitions(group) != PARTITIONS) {
        assert_ok(sb_consumer_poll(f->consumer, 10, 100, sb_test_collect, &f->got, &n, &f->err), &f->err);
        assert_true(sb_test_mono_ms() < until);
    }
    make_topic(f, later);
    sb_test_produce(f->config, later, -1, 0, 20);
    sb_test_consume(f->consumer, &f->got, 20, 30000);
    for (size_t i = 0; i < 20; i++)
        assert_string_equal(f->got.item[i].topic, later);
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
    assert_soon(sb_test_kafka_group_partitions(group) == 2 * PARTITIONS, 20000);
}

static int partitions_of(sb_consumer_t *consumer)
{
    rd_kafka_topic_partition_list_t *own = NULL;
    assert_int_equal(rd_kafka_assignment(sb_consumer_handle(consumer), &own), 0);
    int count = own->cnt;
    rd_kafka_topic_partition_list_destroy(own);
    return count;
}

static bool polled_until_they_have(fixture_t *f, int first, sb_consumer_t *second, int others)
{
    int n = 0;
    assert_ok(sb_consumer_poll(f->consumer, 10, 20, sb_test_collect, &f->got, &n, &f->err), &f->err);
    if (second)
        assert_ok(sb_consumer_poll(second, 10, 20, sb_test_collect, &f->got, &n, &f->err), &f->err);
    return partitions_of(f->consumer) == first && (!second || partitions_of(second) == others);
}

/* As those of a subscriber do whose queues are full while another member comes, and goes again later. */
static void partitions_that_go_while_they_are_held_are_read_when_they_come_back(void **state)
{
    fixture_t *f = *state;
    sb_consumer_t *second = NULL;
    open_consumer(f, &f->consumer);
    assert_soon(polled_until_they_have(f, PARTITIONS, NULL, 0), 30000);
    sb_consumer_hold(f->consumer, true);
    open_consumer(f, &second);
    assert_soon(polled_until_they_have(f, PARTITIONS / 2, second, PARTITIONS / 2), 30000);
    sb_consumer_hold(f->consumer, false);
    sb_consumer_close(&second, 5000);
    assert_soon(polled_until_they_have(f, PARTITIONS, NULL, 0), 30000);
    for (int32_t p = 0; p < PARTITIONS; p++)
        sb_test_produce(f->config, f->topic, p, p * 10, 10);
    sb_test_consume(f->consumer, &f->got, PARTITIONS * 10, 30000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(hands_over_again_what_was_not_committed_and_nothing_else, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_rebalance_repeats_only_what_could_not_be_committed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_member_without_partitions_closes_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(partitions_that_go_while_they_are_held_are_read_when_they_come_back,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(goes_on_after_the_broker_was_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_that_was_away_at_the_assignment_is_read_when_it_comes, setup,
                                        teardown),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
