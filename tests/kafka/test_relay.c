/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/relay.h"

#include "bus/relay/relay_admin.h"
#include "bus/relay/relay_lost.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"

#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct fixture {
    char prefix[SB_TEST_PREFIX];
    sb_topic_t topic;
    sb_test_relay_t relay;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    sb_error_t err = SB_ERROR_INIT;
    memset(&fixture, 0, sizeof fixture);
    sb_test_relay_setup(&fixture.relay, sb_test_kafka(), sb_test_kafka_prefix(fixture.prefix));
    sb_test_bus_set(fixture.relay.config, "topics.partitions", "3");
    assert_ok(sb_topic_events(fixture.topic, fixture.prefix, SB_SLICE("order"), &err), &err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_teardown(&f->relay);
    return 0;
}

static void sends_every_event_once_and_makes_its_topic(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 5000);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    assert_int_equal(sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 5000), 5000);
}

static void loses_nothing_when_the_broker_is_killed(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_wait(&f->relay, 30000);
    for (int i = 0; i < 2; i++) {
        sb_test_relay_append(&f->relay, "order.created", 20000);
        sb_test_kafka_control("kill");
        sb_test_relay_append(&f->relay, "order.created", 1000);
        sb_test_kafka_control("start");
    }
    sb_test_relay_wait(&f->relay, 90000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 43000);
    print_message("%zu records for 43000 events\n", records);
}

static void refuse_topic(void *context, const sb_relay_topic_t *topic)
{
    (void)context;
    fail_msg("%s was looked at", topic->topic);
}

/* What Kafka lost is not to be had from one that stands still; it is said in time. */
static void assert_look_ends(fixture_t *f)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_cluster_t cluster;
    int64_t since = sb_test_mono_ms();
    sb_code_t code =
        sb_relay_lost_each(f->relay.pg, f->relay.config, 2000, &cluster, refuse_topic, NULL, &err);
    assert_int_not_equal(code, SB_OK);
    assert_true(sb_test_mono_ms() - since < 30000);
}

static void loses_nothing_when_the_broker_stands_still(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 5000);
    assert_look_ends(f);
    sb_test_sleep_ms(1000);
    sb_test_kafka_control("resume");
    sb_test_relay_wait(&f->relay, 60000);
    (void)sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 6000);
}

static int64_t cursor_of(fixture_t *f)
{
    return sb_test_pg_int(f->relay.pg, "SELECT cursor FROM sagabus.lease WHERE role = 'relay'");
}

static int relay_until_killed(void *context)
{
    fixture_t *f = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_t *relay = NULL;
    sb_relay_config_t config = {.config = f->relay.config, .pg_uri = f->relay.uri, .owner = "child"};
    if (sb_relay_open(&relay, &config, &err) != SB_OK)
        return 1;
    sb_relay_run(relay);
    return 0;
}

static void repeats_at_most_when_it_is_killed_itself(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 1000);
    for (int i = 0; i < 6; i++) {
        sb_test_process_t child = {.pid = 0};
        sb_test_fork(&child, relay_until_killed, f);
        sb_test_relay_append(&f->relay, "order.created", 4000);
        sb_test_sleep_ms(20 + 45 * i); /* amid its start, its sending, or after it */
        sb_test_signal(&child, SIGKILL);
        (void)sb_test_wait(&child, 60000);
        sb_test_process_end(&child);
    }
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 60000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 25000);
    print_message("%zu records for 25000 events\n", records);
}

/* It ends while the broker stands still and everything that fits is under way; its successor sends the rest.
 */
static void a_full_queue_is_handed_over_when_it_is_stopped(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 20000); /* more than the ring holds */
    sb_test_sleep_ms(1000);
    sb_test_relay_stop(&f->relay);
    sb_test_relay_start(&f->relay);
    sb_test_sleep_ms(500);
    sb_test_kafka_control("resume");
    sb_test_relay_wait(&f->relay, 60000);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 21000);
    print_message("%zu records for 21000 events\n", records);
}

/* It stands still itself, with everything that fits under way, and is replaced; when it wakes up its queue
 * goes out late, beside what its successor has sent since. */
static void a_full_queue_that_comes_after_a_takeover_is_dropped_as_repeats(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t child = {.pid = 0};
    sb_test_bus_set(f->relay.config, "lease.overdue_ms", "1000");
    sb_test_relay_append(&f->relay, "order.created", 1000);
    sb_test_fork(&child, relay_until_killed, f);
    assert_soon(cursor_of(f) == f->relay.last, 60000);
    sb_test_kafka_control("pause");
    sb_test_relay_append(&f->relay, "order.created", 20000); /* more than the ring holds */
    sb_test_sleep_ms(500);
    sb_test_signal(&child, SIGSTOP);
    sb_test_kafka_control("resume");
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 90000);
    sb_test_signal(&child, SIGCONT);
    sb_test_relay_append(&f->relay, "order.created", 2000);
    sb_test_relay_wait(&f->relay, 90000);
    sb_test_sleep_ms(300); /* what the old one still has */
    sb_test_process_end(&child);
    size_t records = sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 23000);
    print_message("%zu records for 23000 events\n", records);
}

static sb_relay_rebuild_state_t fill_again(fixture_t *f, bool recreate)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    sb_relay_rebuild_state_t state = {.ended = false};
    assert_ok(sb_relay_rebuild_request(f->relay.pg, "order", recreate, "test", &no, &err), &err);
    int64_t until = sb_test_mono_ms() + 240000;
    while (!state.ended) {
        assert_true(sb_test_mono_ms() < until);
        assert_ok(sb_relay_rebuild_look(f->relay.pg, no, &state, &err), &err);
        sb_test_sleep_ms(20);
    }
    return state;
}

/* Everything is in Kafka, and PostgreSQL says so. */
static void await_saved(fixture_t *f)
{
    sb_test_relay_wait(&f->relay, 90000);
    assert_soon(cursor_of(f) == f->relay.last, 60000);
}

/* Runs the doctor on Kafka: its exit code, and each of the texts must be in what it says; "!text": must not.
 */
static void assert_doctor(fixture_t *f, int code, const char *const *texts)
{
    char lines[3][SB_TEST_URI + 64];
    const char *const argv[] = {SB_SAGABUS, "doctor", "--only", "kafka", "-o", "jsonl", NULL};
    const char *const environment[] = {lines[0], lines[1], lines[2], NULL};
    sb_test_process_t process = {.pid = 0};
    (void)snprintf(lines[0], sizeof lines[0], "SAGABUS_KAFKA_BOOTSTRAP=%s", sb_test_kafka());
    (void)snprintf(lines[1], sizeof lines[1], "SAGABUS_KAFKA_PREFIX=%s", f->prefix);
    (void)snprintf(lines[2], sizeof lines[2], "SAGABUS_PG_URI=%s", f->relay.uri);
    sb_test_spawn(&process, argv, environment, NULL);
    assert_true(sb_test_wait(&process, 60000));
    char *output = sb_test_output(&process);
    for (size_t i = 0; texts[i]; i++)
        if ((strstr(output, texts[i] + (texts[i][0] == '!')) != NULL) == (texts[i][0] == '!'))
            fail_msg("not \"%s\": %s", texts[i], output);
    if (process.exit_code != code)
        fail_msg("exit %d instead of %d: %s", process.exit_code, code, output);
    free(output);
    sb_test_process_end(&process);
}

#define DOCTOR(f, code, ...) assert_doctor(f, code, (const char *const[]){__VA_ARGS__, NULL})

static void make_topic(fixture_t *f, const char *name)
{
    char topic[SB_TEST_PREFIX + 32];
    int created = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    (void)snprintf(topic, sizeof topic, "%s%s", f->prefix, name);
    assert_ok(sb_topic_list_add(&list, topic, 3, &err), &err);
    assert_ok(sb_topics_apply(f->relay.config, &list, 30000, &created, &err), &err);
    sb_topic_list_fini(&list);
}

/* What was sent after the loss has lower events before it, or a new consumer would miss them. */
static void a_lost_topic_is_filled_again_from_the_store(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 3000);
    sb_test_relay_append(&f->relay, "stock.moved", 50);
    sb_test_relay_start(&f->relay);
    await_saved(f);
    DOCTOR(f, 0, "what was sent is in the events topics (2)", "which events were sent to");
    sb_test_kafka_control("wipe");
    DOCTOR(f, 1, "events up to seq 3000 were sent to it", "sagabus replay --to-topic order\"",
           "events up to seq 3050 were sent to it", "mend kafka.bootstrap");
    sb_test_relay_append(&f->relay, "order.created", 100);
    await_saved(f);
    DOCTOR(f, 1, "order.events begins with seq 305", "sagabus replay --to-topic order --recreate",
           "events up to seq 3050 were sent to it", "which events were sent to");

    sb_relay_rebuild_state_t refused = fill_again(f, false);
    assert_contains(refused.error, "has records: --recreate");
    sb_relay_rebuild_state_t done = fill_again(f, true);
    assert_string_equal(done.error, "");
    assert_int_equal(done.sent, 3100);
    make_topic(f, "stock.events");
    DOCTOR(f, 1, "!order.events ", "stock.events never had a record", "sagabus replay --to-topic stock");
    sb_test_relay_append(&f->relay, "order.created", 20);
    sb_test_relay_wait(&f->relay, 30000);
    assert_int_equal(sb_test_relay_check(&f->relay, f->topic, 3, "order.created", 3120), 3120);
}

static void goes_on_after_the_brokers_data_was_wiped(void **state)
{
    fixture_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_kafka_control("wipe");
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 90000);
}

static void ended(rd_kafka_queue_t *queue)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 60000);
    assert_non_null(event);
    assert_int_equal(rd_kafka_event_error(event), RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_event_destroy(event);
}

/* As retention would: partitions 0 to 2 begin at their end. */
static void remove_heads(fixture_t *f, rd_kafka_t *handle, rd_kafka_queue_t *queue)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(3);
    for (int32_t p = 0; p < 3; p++)
        rd_kafka_topic_partition_list_add(list, f->topic, p)->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_DeleteRecords_t *removed = rd_kafka_DeleteRecords_new(list);
    rd_kafka_DeleteRecords(handle, &removed, 1, NULL, queue);
    ended(queue);
    rd_kafka_DeleteRecords_destroy(removed);
    rd_kafka_topic_partition_list_destroy(list);
}

static void grow(fixture_t *f, rd_kafka_t *handle, rd_kafka_queue_t *queue, size_t count)
{
    char text[256];
    rd_kafka_NewPartitions_t *more = rd_kafka_NewPartitions_new(f->topic, count, text, sizeof text);
    assert_non_null(more);
    rd_kafka_CreatePartitions(handle, &more, 1, NULL, queue);
    ended(queue);
    rd_kafka_NewPartitions_destroy(more);
}

/* Its new partitions begin at offset 0 in the middle of the chain, its old ones have no record left. */
static void a_topic_that_grew_or_lost_its_head_is_none_that_was_wiped(void **state)
{
    fixture_t *f = *state;
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    (void)rd_kafka_conf_set(conf, "bootstrap.servers", sb_test_kafka(), NULL, 0);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    assert_non_null(handle);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    sb_test_bus_set(f->relay.config, "topics.accept_partitions", "true");
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 60000);
    sb_test_relay_stop(&f->relay);
    grow(f, handle, queue, 6);
    DOCTOR(f, 0, "what was sent is in the events topics (1)");
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 60000);
    DOCTOR(f, 0, "what was sent is in the events topics (1)");
    remove_heads(f, handle, queue);
    DOCTOR(f, 0, "what was sent is in the events topics (1)");
    rd_kafka_queue_destroy(queue);
    rd_kafka_destroy(handle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_every_event_once_and_makes_its_topic, setup, teardown),
        cmocka_unit_test_setup_teardown(loses_nothing_when_the_broker_is_killed, setup, teardown),
        cmocka_unit_test_setup_teardown(loses_nothing_when_the_broker_stands_still, setup, teardown),
        cmocka_unit_test_setup_teardown(repeats_at_most_when_it_is_killed_itself, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_is_handed_over_when_it_is_stopped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_queue_that_comes_after_a_takeover_is_dropped_as_repeats, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_lost_topic_is_filled_again_from_the_store, setup, teardown),
        cmocka_unit_test_setup_teardown(a_topic_that_grew_or_lost_its_head_is_none_that_was_wiped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(goes_on_after_the_brokers_data_was_wiped, setup, teardown),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
