/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "bus/consumer.h"
#include "bus/message.h"
#include "bus/relay/relay_admin.h"
#include "bus/subscriber/dlq.h"
#include "bus/topics.h"
#include "events/saga_number.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"
#include "tests/support/relay.h"
#include "tests/support/subscriber.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS 4

static const char *const created[] = {"order.created"};
static char prefix[SB_TEST_PREFIX];
static sb_test_world_t world;
static sb_test_handler_t mail, stock;
static sb_test_subscriber_t running;
static sb_subscription_t subscriptions[2];
static sb_subscriber_config_t config;

static void make_topic(void)
{
    int count = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    assert_ok(sb_topic_list_add(&list, world.topic, world.partitions, &err), &err);
    assert_ok(sb_topics_apply(world.config, &list, 20000, &count, &err), &err);
    sb_topic_list_fini(&list);
}

static int setup(void **state)
{
    (void)state;
    sb_test_world_open(&world, sb_test_kafka(), sb_test_kafka_prefix(prefix), PARTITIONS);
    make_topic();
    memset(&mail, 0, sizeof mail);
    memset(&stock, 0, sizeof stock);
    mail.name = "mail";
    stock.name = "stock";
    atomic_init(&mail.fail_code, SB_UNAVAILABLE);
    atomic_init(&stock.fail_code, SB_UNAVAILABLE);
    subscriptions[0] = (sb_subscription_t){.name = "mail",
                                           .types = created,
                                           .type_count = 1,
                                           .on_events = sb_test_handle,
                                           .context = &mail,
                                           .retry_delay_ms = 20,
                                           .retry_delay_max_ms = 100,
                                           .attempts_max = 3};
    subscriptions[1] = subscriptions[0];
    subscriptions[1].name = "stock";
    subscriptions[1].context = &stock;
    config = (sb_subscriber_config_t){.group = "shop",
                                      .pg_uri = world.uri,
                                      .schema = SB_TEST_CLIENT_SCHEMA,
                                      .subscriptions = subscriptions,
                                      .subscription_count = 1};
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sb_test_subscriber_stop(&running);
    sb_test_world_close(&world);
    return 0;
}

static void start(void)
{
    sb_test_subscriber_start(&running, &world, &config);
}

static sb_subscription_stats_t stats(size_t index)
{
    sb_subscription_stats_t out;
    sb_subscriber_stats(running.subscriber, index, &out);
    return out;
}

/* What there is and who waits for what, when something does not come. */
static void print_state(void)
{
    static const char sql[] =
        "SELECT 'effects of ' || key || ': ' || count(*) FROM effect GROUP BY key UNION ALL "
        "SELECT 'dead letter ' || no || ', ' || reason || ', due ' || coalesce(due_at::text, 'never') FROM "
        "dead_letter UNION ALL "
        "SELECT 'backend ' || pid || ', ' || coalesce(state, '') || ', waits for ' || coalesce(wait_event, "
        "'') "
        "|| ': ' || query FROM pg_stat_activity WHERE datname = current_database() UNION ALL "
        "SELECT 'position of ' || partition || ': seq ' || seq || ', offset ' || next_offset || ', epoch ' "
        "|| "
        "epoch FROM position";
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    sb_subscription_stats_t now = stats(0);
    print_message("handled %lld, repeats %lld, waiting %lld, gaps %lld, failures %lld, dead letters %lld\n",
                  (long long)now.handled, (long long)now.repeats, (long long)now.waiting, (long long)now.gaps,
                  (long long)now.failures, (long long)now.dead_letters);
    if (sb_pg_query(world.pg, sql, NULL, &rows, &err) == SB_OK)
        for (int i = 0; i < sb_pg_rows(rows); i++)
            print_message("%s\n", sb_pg_get_text(rows, i, 0));
    sb_pg_result_free(rows);
    sb_test_kafka_report(prefix);
}

static void await_effects(const char *name, int64_t count)
{
    int64_t until = sb_test_mono_ms() + sb_test_patience(60000);
    while (sb_test_effects(&world, name) < count) {
        if (sb_test_mono_ms() > until) {
            print_state();
            fail_msg("%s has not %" PRId64 " effects", name, count);
        }
        sb_test_sleep_ms(10);
    }
}

/* ---- positions ---- */

static void goes_on_where_it_was_over_restarts_while_events_flow(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= 4; lanes += 3) {
        subscriptions[0].lanes = (unsigned)lanes;
        for (int round = 0; round < 2; round++) {
            start();
            sb_test_world_send(&world, 500);
            await_effects("mail", world.next - 250); /* in the midst of it */
            sb_test_subscriber_stop(&running);
        }
        start();
        await_effects("mail", world.next);
        sb_test_subscriber_stop(&running);
        sb_test_check_effects(&world, "mail", world.next);
    }
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM inbox"), 0);
}

static void a_repeat_is_dropped_and_a_gap_is_reported(void **state)
{
    (void)state;
    const sb_position_t first = {1, 1, 10, 0}, second = {1, 1, 12, 10}, late = {1, 2, 20, 17};
    start();
    sb_test_world_send_one(&world, "k", "e-0", 0, &first);
    sb_test_world_send_one(&world, "k", "e-0", 0, &first);
    sb_test_world_send_one(&world, "k", "e-1", 1, &second);
    sb_test_world_send_one(&world, "k", "e-0", 0, &first);
    sb_test_world_send_one(&world, "k", "e-2", 2, &late);
    sb_test_world_flush(&world);
    await_effects("mail", 3);
    assert_soon(stats(0).repeats == 2, 30000);
    assert_int_equal(stats(0).gaps, 1);
    assert_int_equal(stats(0).gaps_filled, 0);
    sb_test_check_effects(&world, "mail", 3);
}

/* As when the topic was lost and made anew: what it holds now has lower offsets than were seen before. */
static void begin_at_lower_offsets(void)
{
    start();
    sb_test_world_send(&world, 200);
    await_effects("mail", 200);
    sb_test_subscriber_stop(&running);
    sb_test_pg_script(world.pg, "UPDATE position SET next_offset = next_offset + 100000");
    sb_test_world_send(&world, 200);
    start();
    await_effects("mail", 400);
    sb_test_world_send(&world, 200);
    await_effects("mail", 600);
    sb_test_check_effects(&world, "mail", 600);
    assert_int_equal(stats(0).gaps, 0);
}

static void a_topic_whose_offsets_begin_lower_is_read_by_positions(void **state)
{
    (void)state;
    begin_at_lower_offsets();
}

static void a_topic_without_positions_whose_offsets_begin_lower_is_read_from_its_beginning(void **state)
{
    (void)state;
    world.positions = false;
    begin_at_lower_offsets();
    assert_int_equal(stats(0).repeats, 200);
    sb_test_subscriber_stop(&running);
    start();
    sb_test_world_send(&world, 10); /* and goes on from there, not from the beginning once more */
    await_effects("mail", 610);
    assert_int_equal(stats(0).repeats, 0);
    sb_test_check_effects(&world, "mail", 610);
}

static void topics_without_positions_are_kept_apart_by_source_and_id(void **state)
{
    (void)state;
    world.positions = false;
    start();
    sb_test_world_send(&world, 100);
    world.next = 50;
    sb_test_world_send(&world, 100); /* half of them again */
    await_effects("mail", 150);
    assert_soon(stats(0).repeats == 50, 30000);
    sb_test_subscriber_stop(&running);
    start();
    world.next = 149;
    sb_test_world_send(&world, 2);
    await_effects("mail", 151);
    assert_int_equal(sb_test_wrong_effects(&world, "mail", 151), 0);
}

static void begins_now_and_does_not_begin_later_after_a_restart(void **state)
{
    (void)state;
    subscriptions[0].from = SB_FROM_NOW;
    sb_test_world_send(&world, 20);
    start();
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM position WHERE next_offset >= 0") ==
                    PARTITIONS,
                30000);
    sb_test_subscriber_stop(&running);
    sb_test_world_send(&world, 20);
    start();
    await_effects("mail", 20);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT min(n) FROM effect"), 20);
}

static void stop_when_it_knows_where_now_is(const char *that)
{
    char sql[120];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM position WHERE %s", that);
    start();
    assert_soon(sb_test_pg_int(world.pg, sql) == PARTITIONS, 30000);
    sb_test_subscriber_stop(&running);
}

/* Offsets of before say nothing then, and nothing was handled that would tell what is history. */
static void what_began_now_gets_no_history_of_a_topic_made_anew(void **state)
{
    (void)state;
    subscriptions[0].from = SB_FROM_NOW;
    sb_test_world_send(&world, 20);
    stop_when_it_knows_where_now_is("incarnation = 1 AND seq > 0");
    sb_test_pg_script(world.pg, "UPDATE position SET next_offset = next_offset + 100000");
    sb_test_world_send(&world, 20);
    start();
    await_effects("mail", 20);
    sb_test_world_send(&world, 20);
    await_effects("mail", 40);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT min(n) FROM effect"), 20);
    assert_int_equal(stats(0).gaps, 0);
}

static void what_began_now_misses_nothing_on_other_brokers(void **state)
{
    (void)state;
    subscriptions[0].from = SB_FROM_NOW;
    sb_test_world_send(&world, 20);
    stop_when_it_knows_where_now_is("incarnation = 1 AND seq > 0");
    sb_test_pg_script(world.pg, "UPDATE position SET cluster_id = 'other'");
    sb_test_world_send(&world, 20);
    start();
    await_effects("mail", 20);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT min(n) FROM effect"), 20);
    assert_int_equal(stats(0).clusters, PARTITIONS);
    assert_int_equal(stats(0).gaps, 0);
}

static void what_began_now_with_nothing_misses_nothing_on_other_brokers(void **state)
{
    (void)state;
    subscriptions[0].from = SB_FROM_NOW;
    stop_when_it_knows_where_now_is("next_offset = 0");
    sb_test_pg_script(world.pg, "UPDATE position SET cluster_id = 'other'");
    sb_test_world_send(&world, 20);
    start();
    await_effects("mail", 20);
    sb_test_check_effects(&world, "mail", 20);
}

/* What it has now may have been there before "now": nothing tells, so nothing of it is left out. */
static void what_began_now_with_nothing_is_given_all_of_a_topic_made_anew(void **state)
{
    (void)state;
    subscriptions[0].from = SB_FROM_NOW;
    stop_when_it_knows_where_now_is("next_offset = 0");
    sb_test_pg_script(world.pg,
                      "UPDATE position SET next_offset = 100000"); /* all had been deleted by its age */
    sb_test_world_send(&world, 20);
    start();
    await_effects("mail", 20);
    sb_test_world_send(&world, 20);
    await_effects("mail", 40);
    sb_test_check_effects(&world, "mail", 40);
    assert_int_equal(stats(0).gaps, 0);
}

/* Each try later than the one before: it is made by the thread that fetches for all. */
static void what_cannot_begin_again_pauses_between_its_tries(void **state)
{
    (void)state;
    world.positions = false;
    start();
    sb_test_world_send(&world, 40);
    await_effects("mail", 40);
    sb_test_subscriber_stop(&running);
    sb_test_pg_script(world.pg,
                      "UPDATE position SET next_offset = next_offset + 100000;"
                      "CREATE SEQUENCE tries; CREATE SEQUENCE first_ms; CREATE SEQUENCE third_ms;"
                      "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                      "$$DECLARE n bigint := nextval('tries'); "
                      "ms bigint := extract(epoch FROM clock_timestamp()) * 1000; "
                      "BEGIN IF n = 1 THEN PERFORM setval('first_ms', ms); END IF; "
                      "IF n = 3 THEN PERFORM setval('third_ms', ms); END IF; RAISE 'not now'; END$$;"
                      "CREATE TRIGGER refuse BEFORE UPDATE ON position FOR EACH ROW "
                      "WHEN (NEW.next_offset = 0) EXECUTE FUNCTION refuse()");
    sb_test_world_send(&world, 40);
    start();
    assert_soon(sb_test_pg_int(world.pg, "SELECT last_value FROM tries") > 3, 30000);
    assert_true(sb_test_pg_int(world.pg, "SELECT t.last_value - f.last_value FROM third_ms t, first_ms f") >=
                1400);
    sb_test_pg_script(world.pg, "DROP TRIGGER refuse ON position");
    await_effects("mail", 80);
    assert_int_equal(sb_test_wrong_effects(&world, "mail", 80), 0);
}

static void without_a_database_it_goes_on_at_the_groups_offsets(void **state)
{
    (void)state;
    config.pg_uri = NULL;
    sb_test_world_send(&world, 100);
    start();
    assert_soon(stats(0).handled == 100, 30000);
    sb_test_subscriber_stop(&running);
    start();
    sb_test_world_send(&world, 10);
    assert_soon(stats(0).handled == 10, 30000);
    assert_int_equal(stats(0).repeats, 0);
}

/* Its queue is full again and again, and the brokers are asked in between. */
static void a_prefetch_that_is_always_full_is_read_to_its_end(void **state)
{
    (void)state;
    sb_test_bus_set(world.config, "kafka.queued.max.messages.kbytes", "64");
    sb_test_bus_set(world.config, "kafka.fetch.message.max.bytes", "16384");
    config.pg_uri = NULL;
    sb_test_world_send(&world, 30000);
    start();
    assert_soon(stats(0).handled == 30000, 60000);
    assert_int_equal(stats(0).gaps, 0);
}

static sb_code_t note_copy(void *context, const sb_message_t *message, sb_error_t *err)
{
    int *bare = context;
    (void)err;
    assert_true(sb_slice_is(sb_message_header(message, "dlq-topic"), world.topic));
    assert_int_equal(message->value.len, 0);
    ++*bare;
    return SB_OK;
}

/* Its headers make a copy larger than the record. Once our own bound refuses it, once the brokers'. */
static void one_too_large_to_be_copied_holds_nothing_up(void **state)
{
    static const int sizes[] = {999900, 1048200};
    sb_topic_t copies;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_consumer_t *consumer = NULL;
    int count = 0, bare = 0;
    (void)state;
    (void)snprintf(copies, sizeof copies, "%scopies", prefix);
    subscriptions[0].dead_letter_topic = copies;
    assert_ok(sb_topic_list_add(&list, copies, 1, &err), &err);
    assert_ok(sb_topics_apply(world.config, &list, 20000, &count, &err), &err);
    sb_topic_list_fini(&list);
    for (int i = 0; i < 2; i++) {
        char *bytes = malloc((size_t)sizes[i] + 1);
        uint32_t random = 1;
        assert_non_null(bytes);
        for (int at = 0; at < sizes[i]; at++) /* nothing that becomes smaller */
            bytes[at] = (char)('!' + (random = random * 1664525 + 1013904223) / 65536 % 90);
        bytes[sizes[i]] = '\0';
        sb_test_world_send_bytes(&world, "k-0", bytes);
        sb_test_world_flush(&world); /* in a batch of its own */
        sb_test_world_send(&world, 10);
        start();
        await_effects("mail", world.next);
        assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter"), i + 1);
        sb_test_subscriber_stop(&running);
        sb_test_bus_set(world.config, "kafka.message.max.bytes", "2000000");
        sb_test_world_renew_producer(&world);
        free(bytes);
    }
    const char *name = copies;
    assert_ok(sb_consumer_open(&consumer, world.config, "copies", &name, 1, &err), &err);
    for (int64_t until = sb_test_mono_ms() + 60000; bare < 2 && sb_test_mono_ms() < until;)
        assert_ok(sb_consumer_poll(consumer, 2, 200, note_copy, &bare, &count, &err), &err);
    assert_int_equal(bare, 2);
    sb_consumer_close(&consumer, 5000);
}

/* librdkafka before 2.2 is woken by a question whose answer comes behind a fetch that waits for news: nobody
 * may wait for it. (One partition: with more, one may be left out of a fetch that waits.) */
static void the_end_of_a_backlog_is_no_wait(void **state)
{
    const char *const topics[] = {world.topic};
    (void)state;
    world.partitions = 1;
    (void)snprintf(world.topic, sizeof world.topic, "%sorder.one", world.prefix);
    make_topic();
    sb_test_bus_set(world.config, "kafka.socket.timeout.ms", "200000");
    sb_test_bus_set(world.config, "kafka.fetch.wait.max.ms", "180000");
    sb_test_bus_set(world.config, "kafka.queued.max.messages.kbytes", "1024");
    config.topics = topics;
    config.topic_count = 1;
    config.pg_uri = NULL;
    sb_test_world_send(&world, 30000);
    start();
    assert_soon(stats(0).handled == 30000, 40000);
    sb_sleep_ms(500);
    int64_t from_us = sb_mono_us();
    sb_test_subscriber_stop(&running);
    assert_true(sb_mono_us() - from_us < 30000000);
}

/* The store's events, as the relay test makes them, in the world's own database. */
static void append(sb_test_relay_t *store, int count)
{
    store->pg = world.pg;
    sb_test_relay_append(store, "order.shipped", count);
}

static void register_types(void)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    sb_catalog_t *catalog = NULL;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(sb_catalog_apply(catalog, world.pg, SB_TEST_SCHEMAS, NULL, &report, &err), &err);
    sb_catalog_free(&catalog);
}

static int64_t distinct_effects(void)
{
    return sb_test_pg_int(world.pg, "SELECT count(DISTINCT id) FROM effect");
}

static void reads_the_store_first_and_hands_over_to_kafka_by_seq(void **state)
{
    (void)state;
    sb_test_relay_t store = {.config = world.config};
    sb_progress_init(&store.progress);
    memcpy(store.uri, world.uri, sizeof store.uri);
    static const char *const shipped[] = {"order.shipped"};
    subscriptions[0].types = shipped;
    subscriptions[0].from = SB_FROM_STORE;
    config.store_uri = world.uri;
    register_types();
    append(&store, 1200);
    atomic_store(&mail.slow_ms, 100);
    subscriptions[0].batch_max = 100;
    start();
    await_effects("mail", 200); /* Kafka has none of them */
    sb_test_subscriber_stop(&running);
    assert_true(sb_test_effects(&world, "mail") < 1200);
    atomic_store(&mail.slow_ms, 0);
    start(); /* nor anything that would show that the rest is missing */
    await_effects("mail", 1200);
    sb_test_relay_start(&store);
    append(&store, 300);
    sb_test_relay_wait(&store, 30000);
    await_effects("mail", 1500);
    assert_soon(stats(0).repeats == 1200, 20000);
    assert_int_equal(sb_test_effects(&world, "mail"), 1500);
    assert_int_equal(distinct_effects(), 1500);
    assert_int_equal(sb_test_pg_int(world.pg,
                                    "SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY key ORDER BY "
                                    "no) AS before FROM effect WHERE no <= 1200) o WHERE before >= n"),
                     0);
    assert_int_equal(stats(0).gaps, 0);
    /* Version 1 is what the store and Kafka have. */
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM effect WHERE version = 2"), 1500);

    /* What is lost on the way is seen by the next one, and read from the store. */
    sb_test_relay_stop(&store);
    append(&store, 50);
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    assert_ok(sb_pg_query(world.pg,
                          "SELECT e.seq, s.key, e.id::text FROM sagabus.event e JOIN sagabus.stream s USING "
                          "(stream_no) ORDER BY seq DESC LIMIT 1",
                          NULL, &rows, &err),
              &err);
    sb_position_t last = {1, 1, sb_pg_get_int(rows, 0, 0), sb_pg_get_int(rows, 0, 0) - 1};
    char key[32];
    char id[SB_UUID_TEXT];
    (void)snprintf(key, sizeof key, "%s", sb_pg_get_text(rows, 0, 1));
    (void)snprintf(id, sizeof id, "%s", sb_pg_get_text(rows, 0, 2));
    sb_pg_result_free(rows);
    world.type = "order.shipped";
    sb_test_world_send_one(&world, key, id, 49, &last);
    sb_test_world_flush(&world);
    int32_t partition = sb_topic_partition(sb_slice(key), PARTITIONS);
    int64_t expected = 1500;
    for (int i = 0; i < 10; i++) { /* the other keys of its partition come with it */
        char other[32];
        (void)snprintf(other, sizeof other, "k-%d", i);
        expected += sb_topic_partition(sb_slice(other), PARTITIONS) == partition ? 5 : 0;
    }
    await_effects("mail", expected);
    assert_soon(stats(0).gaps_filled == 1, 30000);
    assert_int_equal(stats(0).gaps, 1);
    assert_int_equal(sb_test_effects(&world, "mail"), expected);
    assert_int_equal(distinct_effects(), expected);

    /* Of a store that was restored since, the same numbers are other events: they are no filling. */
    append(&store, 50);
    sb_test_pg_script(world.pg, "UPDATE sagabus.store SET incarnation = 2");
    last.prev = last.seq + 40;
    last.seq += 1000;
    sb_test_world_send_one(&world, key, "e-of-the-first-life", 50, &last);
    sb_test_world_flush(&world);
    await_effects("mail", expected + 1);
    assert_int_equal(stats(0).gaps, 2);
    assert_int_equal(stats(0).gaps_filled, 1);
    assert_int_equal(sb_test_effects(&world, "mail"), expected + 1);
}

/* Of those between, one for each event of the store that is of the partition. */
static int64_t events_of(int32_t partition, int64_t after, int64_t to)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    int64_t count = 0;
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    assert_ok(sb_pg_query(world.pg,
                          "SELECT s.key FROM sagabus.event e JOIN sagabus.stream s USING (stream_no) "
                          "WHERE e.seq > $1 AND e.seq <= $2",
                          &params, &rows, &err),
              &err);
    for (int i = 0; i < sb_pg_rows(rows); i++)
        count += sb_topic_partition(sb_pg_get_slice(rows, i, 0), PARTITIONS) == partition;
    sb_pg_result_free(rows);
    return count;
}

/* As a standby is; also when the gap is the first thing that a subscription sees. */
static void a_gap_waits_for_a_store_that_is_behind(void **state)
{
    (void)state;
    static const char *const shipped[] = {"order.shipped"};
    const sb_position_t first = {1, 1, 60, 40};
    sb_test_relay_t store = {.config = world.config};
    subscriptions[0].types = shipped;
    subscriptions[0].from = SB_FROM_SEQ;
    subscriptions[0].from_seq = 5;
    config.store_uri = world.uri;
    register_types();
    world.type = "order.shipped";
    sb_test_world_send_one(&world, "k-1", "e-first", 0, &first);
    sb_test_world_flush(&world);
    start();
    assert_soon(stats(0).gaps >= 1, 60000);
    sb_test_sleep_ms(2000); /* it asks the store meanwhile */
    assert_int_equal(stats(0).gaps_filled, 0);
    append(&store, 50);
    int64_t between = events_of(sb_topic_partition(SB_SLICE("k-1"), PARTITIONS), 5, 40);
    assert_true(between > 0);
    await_effects("mail", between + 1);
    assert_soon(stats(0).gaps_filled == 1, 30000);
    assert_int_equal(stats(0).gaps, 1);
    assert_int_equal(sb_test_effects(&world, "mail"), between + 1);
    assert_int_equal(distinct_effects(), between + 1);
}

/* Their key is the saga's id, which their rows do not say: it leads to the partition. */
static void a_gap_among_the_events_of_sagas_is_filled(void **state)
{
    (void)state;
    static const char *const completed[] = {"saga.completed"};
    sb_buf_t sql = SB_BUF_INIT;
    char id[SB_UUID_TEXT];
    int32_t partition = -1;
    int64_t there = 0;
    subscriptions[0].types = completed;
    subscriptions[0].from = SB_FROM_SEQ;
    subscriptions[0].from_seq = 1;
    config.store_uri = world.uri;
    (void)snprintf(world.topic, sizeof world.topic, "%ssaga.events", prefix);
    make_topic();
    register_types();
    for (int no = 17; no > 1; no--) {
        sb_uuid_t saga = sb_saga_id(no, 1763702375123);
        (void)sb_uuid_format(&saga, id);
        if (no == 17) /* the one that Kafka has */
            partition = sb_topic_partition(sb_slice(id), PARTITIONS);
        there += sb_topic_partition(sb_slice(id), PARTITIONS) == partition;
        sb_buf_printf(
            &sql,
            "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, "
            "request_hash, version, shard, status, input) VALUES (%d, '%s', now(), 'order', 'o-%d', "
            "'', '', 1, 0, 2, '{}');"
            "INSERT INTO sagabus.event (seq, stream_no, version, type_no, class, id, data) SELECT %d, "
            "%d, 1, type_no, 2, gen_random_uuid(), '{\"n\":1}' FROM sagabus.event_type WHERE name = "
            "'saga.completed';",
            no, id, no, no, no);
    }
    sb_buf_add_text(&sql, "UPDATE sagabus.lease SET cursor = 17 WHERE role = 'sequencer'");
    sb_test_pg_script(world.pg, sb_buf_text(&sql));
    sb_buf_fini(&sql);
    assert_true(there > 2);
    const sb_position_t position = {1, 1, 18, 17};
    sb_uuid_t last = sb_saga_id(17, 1763702375123);
    world.type = "saga.completed";
    sb_test_world_send_one(&world, sb_uuid_format(&last, id), "e-18", 1, &position);
    sb_test_world_flush(&world);
    start();
    assert_soon(stats(0).gaps_filled == 1, 60000);
    await_effects("mail", there + 1);
    assert_int_equal(sb_test_pg_int(world.pg,
                                    "SELECT count(*) FROM effect JOIN sagabus.saga s ON s.id::text = "
                                    "effect.key"),
                     there + 1);
    assert_int_equal(sb_test_effects(&world, "mail"), there + 1);
}

/* What a store_uri that leads to several standbys tells: who is asked how far it is has all, who is read from
 * then has nothing yet. */
static const char several_standbys[] =
    "CREATE SEQUENCE public.was_read; ALTER TABLE sagabus.lease RENAME TO lease_of_the_primary;"
    "CREATE VIEW sagabus.lease AS SELECT role, epoch, CASE WHEN role = 'sequencer' AND current_query() "
    "LIKE '%event_detached%' THEN nextval('public.was_read') * 0 ELSE cursor END AS cursor "
    "FROM sagabus.lease_of_the_primary";
static const char was_read[] = "SELECT is_called::int FROM public.was_read";
static const char all_are_there[] =
    "DROP VIEW sagabus.lease; ALTER TABLE sagabus.lease_of_the_primary RENAME TO lease";

/* It would be taken for read to its end, and Kafka's records of it for repeats. */
static void a_store_that_is_read_first_may_be_several_standbys(void **state)
{
    (void)state;
    static const char *const shipped[] = {"order.shipped"};
    sb_test_relay_t store = {.config = world.config};
    subscriptions[0].types = shipped;
    subscriptions[0].from = SB_FROM_STORE;
    config.store_uri = world.uri;
    register_types();
    append(&store, 60);
    sb_test_pg_script(world.pg, several_standbys);
    start();
    assert_soon(sb_test_pg_int(world.pg, was_read) > 0, 60000);
    assert_int_equal(sb_test_effects(&world, "mail"), 0);
    sb_test_pg_script(world.pg, all_are_there);
    await_effects("mail", 60); /* of Kafka there is nothing */
    assert_int_equal(distinct_effects(), 60);
}

static void fill_again(void)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    sb_relay_rebuild_state_t state = {.ended = false};
    assert_ok(sb_relay_rebuild_request(world.pg, "order", true, "test", &no, &err), &err);
    int64_t until_ms = sb_test_mono_ms() + 90000;
    while (!state.ended && sb_test_mono_ms() < until_ms) {
        assert_ok(sb_relay_rebuild_look(world.pg, no, &state, &err), &err);
        sb_test_sleep_ms(20);
    }
    assert_true(state.ended);
    assert_string_equal(state.error, "");
    assert_int_equal(state.sent, 300);
}

static void assert_once_and_in_order(int64_t count)
{
    assert_int_equal(sb_test_effects(&world, "mail"), count);
    assert_int_equal(distinct_effects(), count);
    assert_int_equal(sb_test_pg_int(world.pg,
                                    "SELECT count(*) FROM effect e JOIN sagabus.event v ON v.id::text = e.id "
                                    "JOIN effect f USING (key) JOIN sagabus.event w ON w.id::text = f.id "
                                    "WHERE e.no < f.no AND v.seq >= w.seq"),
                     0);
}

/* They come back empty and as other brokers, under a member that runs on; the relay goes on there, and fills
 * the topic again from the store. */
static void wiped_brokers_are_noticed_and_nothing_is_handled_twice(void **state)
{
    (void)state;
    static const char *const shipped[] = {"order.shipped"};
    sb_test_relay_t store = {.config = world.config};
    sb_progress_init(&store.progress);
    memcpy(store.uri, world.uri, sizeof store.uri);
    sb_test_bus_set(world.config, "topics.partitions", "4");
    subscriptions[0].types = shipped;
    register_types();
    append(&store, 200);
    sb_test_relay_start(&store);
    start();
    await_effects("mail", 200);
    sb_test_kafka_control("wipe");
    append(&store, 100);
    sb_test_relay_wait(&store, 90000);
    fill_again();
    await_effects("mail", 300);
    int64_t noticed = stats(0).clusters;
    sb_test_subscriber_stop(&running);
    start();
    append(&store, 20);
    await_effects("mail", 320);
    assert_once_and_in_order(320);
    assert_int_equal(noticed + stats(0).clusters, PARTITIONS);
    assert_int_equal(stats(0).gaps, 0);
    sb_test_relay_stop(&store);
}

static bool stands_still(const sb_test_relay_t *store)
{
    sb_relay_stats_t now;
    sb_relay_stats(store->relay, &now);
    return strstr(now.error, "sagabus store fork --confirm") != NULL;
}

static int fork_store(const char *uri, const char *confirm)
{
    const char *const argv[] = {SB_SAGABUS, "store", "fork", "--pg", uri, confirm, NULL};
    return sb_test_run(argv, 60000);
}

static void now_as_text(char text[64])
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    assert_ok(sb_pg_query(world.pg, "SELECT clock_timestamp()::text", NULL, &rows, &err), &err);
    (void)snprintf(text, 64, "%s", sb_pg_get_text(rows, 0, 0));
    sb_pg_result_free(rows);
}

/* The store goes on from a backup and its archived WAL, as it was at a time; Kafka, and the service with its
 * database, know what came after. What the store appends then under the old numbers is neither lost nor taken
 * for a repeat. */
static void a_store_that_was_restored_to_a_time_goes_on_when_it_is_told(void **state)
{
    (void)state;
    static const char *const shipped[] = {"order.shipped"};
    char until[64];
    sb_test_relay_t store = {.config = world.config};
    sb_progress_init(&store.progress);
    sb_pg_close(&world.pg);
    sb_test_pg_back_up();
    world.pg = sb_test_pg_open(world.uri);
    sb_test_pg_script(world.pg, "SET search_path = service");
    memcpy(store.uri, world.uri, sizeof store.uri);
    sb_test_bus_set(world.config, "topics.partitions", "4");
    subscriptions[0].types = shipped;
    register_types();
    append(&store, 100);
    sb_test_relay_start(&store);
    start();
    await_effects("mail", 100);
    sb_test_relay_wait(&store, 30000);
    assert_soon(sb_test_pg_int(world.pg,
                               "SELECT r.cursor - s.cursor FROM sagabus.lease r, sagabus.lease s WHERE "
                               "r.role = 'relay' AND s.role = 'sequencer'") == 0,
                30000);
    now_as_text(until);
    append(&store, 40); /* lost soon */
    await_effects("mail", 140);
    sb_test_relay_stop(&store);

    store.pg = sb_test_pg_open(sb_test_pg_restore(world.uri, until, store.uri));
    assert_int_equal(sb_test_pg_int(store.pg, "SELECT count(*) FROM sagabus.event"), 100);
    sb_progress_init(&store.progress);
    sb_test_relay_publish(&store);
    /* It appends before anybody looks into Kafka; as a rule above all lost numbers, for the log lets a
     * sequence come back ahead of where it was. */
    sb_test_relay_append(&store, "order.shipped", 30);
    sb_test_relay_start(&store);
    assert_soon(stands_still(&store), 30000);
    assert_int_equal(fork_store(store.uri, NULL), 1);
    sb_test_sleep_ms(300);
    assert_true(stands_still(&store));
    assert_int_equal(sb_test_effects(&world, "mail"), 140);
    assert_int_equal(fork_store(store.uri, "--confirm"), 0);
    assert_int_equal(sb_test_pg_int(store.pg, "SELECT incarnation FROM sagabus.store"), 2);
    sb_test_relay_wait(&store, 30000);
    await_effects("mail", 170);
    sb_test_relay_append(&store, "order.shipped", 30);
    await_effects("mail", 200);
    assert_int_equal(sb_test_effects(&world, "mail"), 200);
    assert_int_equal(distinct_effects(), 200);
    assert_int_equal(stats(0).gaps, 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT min(incarnation) FROM position WHERE incarnation > 0"),
                     2);
    sb_test_relay_stop(&store);
    sb_pg_close(&store.pg);
    sb_test_pg_forget_backup();
}

/* ---- failures ---- */

static void a_key_that_fails_is_held_back_and_released_in_order(void **state)
{
    (void)state;
    mail.fail_key = "k-3";
    atomic_store(&mail.fail_calls, -1);
    start();
    sb_test_world_send(&world, 100);
    await_effects("mail", 90);
    assert_soon(stats(0).dead_letters == 10, 20000);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine"), 1);
    assert_int_equal(
        sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE held AND ended IS NULL"), 10);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE reason = 'blocked'"),
                     9);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT attempts FROM dead_letter WHERE reason = 'failed'"), 3);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE fingerprint = "
                                              "'order # cannot be handled'"),
                     1);

    /* Asked too early it stays as it is. */
    sb_test_pg_script(world.pg, "UPDATE quarantine SET due_at = now()");
    assert_soon(sb_test_pg_int(world.pg, "SELECT max(attempts) FROM dead_letter") == 4, 20000);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM effect WHERE key = 'k-3'"), 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine WHERE due_at IS NULL"), 1);

    atomic_store(&mail.fail_calls, 0);
    sb_test_world_send(&world, 100);
    sb_test_pg_script(world.pg, "UPDATE quarantine SET due_at = now()");
    await_effects("mail", 200);
    sb_test_world_send(&world, 100);
    await_effects("mail", 300);
    sb_test_check_effects(&world, "mail", 300);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine"), 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended IS NULL"), 0);
}

/* Each event that is sent becomes a dead letter. */
static void fail_all(int count)
{
    atomic_store(&mail.fail_calls, -1);
    start();
    sb_test_world_send(&world, count);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended IS NULL") == count,
                40000);
}

/* All that was sent is a dead letter now, to be handed over at a pace, and has been due for long. */
static void fail_all_and_redrive_at(int64_t pace_us)
{
    int64_t keys = 0, rows = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_dlq_filter_t all = {.subscription = "mail"};
    fail_all(50);
    sb_test_subscriber_stop(&running);
    assert_ok(sb_dlq_redrive(world.pg, &all, pace_us, &keys, &rows, &err), &err);
    sb_test_pg_script(world.pg, "UPDATE quarantine SET due_at = due_at - interval '1 hour';"
                                "UPDATE dead_letter SET due_at = due_at - interval '1 hour'");
    atomic_store(&mail.fail_calls, 0);
    start();
}

/* What is left would be due at once: nobody was there when its time came. */
static void what_is_redriven_at_a_rate_keeps_it_and_its_order(void **state)
{
    (void)state;
    subscriptions[0].attempts_max = 1;
    fail_all_and_redrive_at(20000);
    await_effects("mail", 50);
    sb_test_check_effects(&world, "mail", 50);
    /* A key comes as a whole, five of them; the next one when five at that pace would be over. */
    assert_int_equal(
        sb_test_pg_int(world.pg, "SELECT count(*) FROM (SELECT at, lag(at, 5) OVER (ORDER BY no) AS before "
                                 "FROM effect) e WHERE at - before < interval '100 ms'"),
        0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine"), 0);

    sb_test_subscriber_stop(&running);
    subscriptions[0].order = SB_ORDER_NONE;
    fail_all_and_redrive_at(20000);
    await_effects("mail", 100);
    assert_int_equal(sb_test_pg_int(world.pg,
                                    "SELECT count(*) FROM (SELECT at, lag(at) OVER (ORDER BY no) AS before "
                                    "FROM effect WHERE n >= 50) e WHERE at - before < interval '20 ms'"),
                     0);
}

/* Three members that are all behind: each payment leaves the time of its price to the next one, whoever pays.
 */
static void a_rate_of_redriving_holds_for_all_members_together(void **state)
{
    (void)state;
    sb_test_subscriber_t others[2];
    memset(others, 0, sizeof others);
    sb_test_pg_script(
        world.pg,
        "CREATE TABLE payment (no serial, at timestamptz DEFAULT clock_timestamp(), free_at timestamptz);"
        "CREATE FUNCTION pay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO payment (free_at) VALUES (NEW.free_at); RETURN NULL; END $$;"
        "CREATE TRIGGER pay AFTER INSERT OR UPDATE ON redrive_budget FOR EACH ROW EXECUTE FUNCTION pay()");
    subscriptions[0].attempts_max = 1;
    subscriptions[0].order = SB_ORDER_NONE;
    fail_all_and_redrive_at(30000);
    sb_test_subscriber_start(&others[0], &world, &config);
    sb_test_subscriber_start(&others[1], &world, &config);
    await_effects("mail", 50);
    for (int i = 0; i < 2; i++)
        sb_test_subscriber_stop(&others[i]);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(DISTINCT n) FROM effect"), 50);
    assert_int_equal(sb_test_effects(&world, "mail"), 50);
    assert_true(sb_test_pg_int(world.pg, "SELECT count(*) FROM payment") >= 50);
    assert_int_equal(
        sb_test_pg_int(world.pg, "SELECT count(*) FROM (SELECT free_at, lag(free_at) OVER (ORDER BY no) AS "
                                 "before FROM payment) p WHERE free_at - before < interval '30 ms'"),
        0);
}

/* The price of a long key is minutes, in which who wants the next one at once need not wait. */
static void what_is_wanted_at_once_does_not_wait_for_a_rate_that_was(void **state)
{
    (void)state;
    int64_t keys = 0, rows = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_dlq_filter_t all = {.subscription = "mail"};
    subscriptions[0].attempts_max = 1;
    world.keys = 2;
    fail_all(100);
    atomic_store(&mail.fail_calls, 0);
    assert_ok(sb_dlq_redrive(world.pg, &all, 10000000, &keys, &rows, &err), &err);
    await_effects("mail", 50);
    assert_int_equal(sb_test_effects(&world, "mail"), 50);
    assert_ok(sb_dlq_redrive(world.pg, &all, 0, &keys, &rows, &err), &err);
    await_effects("mail", 100);
    sb_test_check_effects(&world, "mail", 100);
}

/* Three keys of ten: one goes at a rate at once, the next one would have to wait for minutes. */
static void what_has_no_rate_goes_before_what_waits_for_its_own(void **state)
{
    (void)state;
    int64_t keys = 0, rows = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_dlq_filter_t one = {.subscription = "mail"};
    subscriptions[0].attempts_max = 1;
    world.keys = 3;
    fail_all(30);
    sb_test_subscriber_stop(&running);
    atomic_store(&mail.fail_calls, 0);
    for (int i = 0; i < 3; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k-%d", i);
        one.key = key;
        assert_ok(sb_dlq_redrive(world.pg, &one, i < 2 ? 100000000 : 0, &keys, &rows, &err), &err);
        assert_int_equal(keys, 1);
    }
    sb_test_pg_script(world.pg,
                      "UPDATE quarantine SET due_at = due_at - interval '1 hour' WHERE pace_us > 0");
    start();
    await_effects("mail", 20); /* the one that was paid for, and the one that has no rate */
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(DISTINCT key) FROM effect"), 2);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM effect WHERE key = 'k-2'"), 10);
}

static void what_fails_a_few_times_keeps_its_order_and_is_no_dead_letter(void **state)
{
    (void)state;
    for (int lanes = 1; lanes <= 3; lanes += 2) {
        subscriptions[0].lanes = (unsigned)lanes;
        mail.fail_key = "k-4";
        subscriptions[0].attempts_max = 50;
        atomic_store(&mail.fail_calls, 8);
        atomic_store(&mail.break_statement, lanes == 3);
        start();
        sb_test_world_send(&world, 200);
        await_effects("mail", world.next);
        assert_true(stats(0).failures > 0);
        assert_int_equal(stats(0).dead_letters, 0);
        sb_test_subscriber_stop(&running);
        sb_test_check_effects(&world, "mail", world.next);
    }
}

static void send_what_is_no_event(void)
{
    sb_test_world_send(&world, 5);
    sb_test_world_send_bytes(&world, "k-1", "\xff\xfe no event");
    sb_test_world_send_one(&world, "k-1", "", -7, NULL); /* of a type that is wanted, and without an id */
    sb_test_world_send(&world, 5);
}

static void await_undecodable(const char *name, int64_t count)
{
    char sql[300];
    (void)snprintf(sql, sizeof sql,
                   "SELECT least(count(*) FILTER (WHERE value = '\\xfffe206e6f206576656e74'), "
                   "count(*) FILTER (WHERE value = convert_to('{\"n\":-7}', 'UTF8'))) FROM dead_letter "
                   "WHERE subscription = '%s' AND reason = 'undecodable' AND NOT held",
                   name);
    assert_soon(sb_test_pg_int(world.pg, sql) == count, 60000);
}

/* Found by the lane that alone has the record, and by the thread that fetches when several share it. */
static void what_is_no_event_is_a_dead_letter_with_its_bytes(void **state)
{
    (void)state;
    start();
    send_what_is_no_event();
    await_effects("mail", 10);
    await_undecodable("mail", 1);
    sb_test_check_effects(&world, "mail", 10);
    sb_test_subscriber_stop(&running);
    config.subscription_count = 2;
    start();
    send_what_is_no_event();
    await_effects("mail", 20);
    await_effects("stock", 20);
    await_undecodable("mail", 2);
    await_undecodable("stock", 2);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter"), 8);
    sb_test_check_effects(&world, "mail", 20);
    sb_test_check_effects(&world, "stock", 20);
}

static void an_event_without_order_is_tried_again_from_its_row(void **state)
{
    (void)state;
    subscriptions[0].order = SB_ORDER_NONE;
    mail.fail_key = "k-2";
    atomic_store(&mail.fail_calls, 12);
    subscriptions[0].attempts_max = 20;
    start();
    sb_test_world_send(&world, 100);
    await_effects("mail", 100);
    assert_true(stats(0).dead_letters > 0);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended IS NULL") == 0, 20000);
    assert_int_equal(sb_test_effects(&world, "mail"), 100);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(DISTINCT id) FROM effect"), 100);
}

static void a_partition_in_order_stops_and_says_so(void **state)
{
    (void)state;
    subscriptions[0].order = SB_ORDER_PARTITION;
    mail.fail_key = "k-2";
    atomic_store(&mail.fail_calls, -1);
    start();
    sb_test_world_send(&world, 100);
    assert_soon(stats(0).stopped == 1, 30000);
    assert_int_equal(stats(0).dead_letters, 0);
    int64_t others = sb_test_effects(&world, "mail");
    assert_true(others < 100);
    atomic_store(&mail.fail_calls, 0);
    await_effects("mail", 100);
    assert_soon(stats(0).stopped == 0, 30000);
    sb_test_check_effects(&world, "mail", 100);
}

/* ---- side by side ---- */

static void a_subscription_that_is_stuck_holds_up_no_other(void **state)
{
    (void)state;
    config.subscription_count = 2;
    config.queue_max = 100;
    subscriptions[0].stuck_after_ms = 300;
    subscriptions[0].batch_max = 10;
    atomic_store(&mail.slow_ms, 1500);
    start();
    for (int i = 0; i < 10; i++)
        sb_test_world_send(&world, 300);
    assert_soon(stats(0).stuck == 1, 20000);
    await_effects("stock", 3000);
    assert_true(sb_test_effects(&world, "mail") < 1000);
    assert_true(stats(0).waiting <= 100 + 512);
    atomic_store(&mail.slow_ms, 0);
    await_effects("mail", 3000);
    sb_test_check_effects(&world, "mail", 3000);
    sb_test_check_effects(&world, "stock", 3000);
}

static void a_new_member_shares_the_work_and_what_is_claimed_beside_the_group_is_claimed_back(void **state)
{
    (void)state;
    sb_test_subscriber_t second;
    start();
    sb_test_world_send(&world, 200);
    await_effects("mail", 200);
    sb_test_subscriber_start(&second, &world, &config);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM position WHERE epoch = 2") >= PARTITIONS / 2,
                40000);
    sb_test_world_send(&world, 200);
    await_effects("mail", 400);
    /* Somebody takes all partitions over without the group, as one does that was stopped for long and acts on
     * an old assignment: both are fenced, and both find out that they are the owners still. */
    sb_test_pg_script(world.pg, "UPDATE position SET epoch = epoch + 10");
    sb_test_world_send(&world, 200);
    assert_soon(stats(0).fenced > 0, 20000);
    await_effects("mail", 600);
    sb_test_pg_script(world.pg, "UPDATE position SET epoch = epoch + 10");
    sb_test_world_send(&world, 200);
    await_effects("mail", 800);
    sb_test_subscriber_stop(&second);
    sb_test_check_effects(&world, "mail", 800);
}

static atomic_bool held;   /* the handler does not come back */
static atomic_int at_hand; /* calls that are held, or were */

static sb_code_t hold(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                      sb_error_t *err)
{
    int64_t until_us = sb_mono_us() + 120000000;
    atomic_fetch_add(&at_hand, 1);
    while (atomic_load(&held) && sb_mono_us() < until_us)
        sb_test_sleep_ms(5);
    return sb_test_handle(context, conn, deliveries, count, err);
}

/* A member whose handler has all partitions in hand, one in each lane, and a second one that is to get half
 * of them. */
static void start_two(sb_test_subscriber_t *second, sb_handler_fn first_does, sb_handler_fn second_does,
                      unsigned drain_ms)
{
    subscriptions[0].order = SB_ORDER_PARTITION;
    subscriptions[0].lanes = PARTITIONS;
    atomic_store(&held, true);
    atomic_store(&at_hand, 0);
    config.drain_ms = drain_ms;
    subscriptions[0].on_events = first_does;
    sb_test_world_send(&world, 200);
    start();
    assert_soon(atomic_load(&at_hand) == PARTITIONS, 60000);
    subscriptions[0].on_events = second_does;
    subscriptions[0].context = &stock;
    stock.name = "mail";
    sb_test_subscriber_start(second, &world, &config);
}

static void partitions_that_go_wait_for_a_handler_no_longer_than_they_may(void **state)
{
    (void)state;
    sb_test_subscriber_t second;
    start_two(&second, hold, sb_test_handle, 200);
    assert_soon(atomic_load(&stock.calls) > 0, 60000); /* while the first one's handler is at it */
    assert_int_equal(atomic_load(&mail.calls), 0);
    atomic_store(&held, false);
    await_effects("mail", 200);
    sb_test_subscriber_stop(&second);
    sb_test_check_effects(&world, "mail", 200);
}

static atomic_int seen[400]; /* by number: so often an event was handed over */

static sb_code_t see(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                     sb_error_t *err)
{
    sb_code_t code = context == &mail ? hold(context, conn, deliveries, count, err)
                                      : sb_test_handle(context, conn, deliveries, count, err);
    for (size_t i = 0; i < count; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "%.*s", SB_SLICE_ARG(deliveries[i].id));
        atomic_fetch_add(&seen[strtoul(id + 2, NULL, 10) % 400], 1);
    }
    return code;
}

static int missing(int count)
{
    int none = 0;
    for (int i = 0; i < count; i++)
        none += atomic_load(&seen[i]) == 0;
    return none;
}

/* Without a database: there the open transaction of a handler keeps a second member out, whatever the first
 * one waits for. */
static void partitions_that_go_wait_for_a_handler_that_is_at_work(void **state)
{
    (void)state;
    sb_test_subscriber_t second;
    for (int i = 0; i < 400; i++)
        atomic_store(&seen[i], 0);
    config.pg_uri = NULL;
    start_two(&second, see, see, 600000);
    sb_test_sleep_ms(5000); /* more than the group takes to give half of them to a second one */
    assert_int_equal(atomic_load(&stock.calls), 0);
    assert_int_equal(missing(200), 200);
    atomic_store(&held, false);
    assert_soon(missing(200) == 0, 60000);
    sb_test_world_send(&world, 200);
    assert_soon(missing(400) == 0, 60000);
    assert_true(atomic_load(&stock.calls) > 0);
    assert_int_equal(stats(0).failures, 0);
    sb_test_subscriber_stop(&second);
}

static void the_database_may_go_and_come_back(void **state)
{
    (void)state;
    start();
    sb_test_world_send(&world, 500);
    await_effects("mail", 100);
    for (int i = 0; i < 3; i++) {
        sb_test_pg_script(world.pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                                    "WHERE application_name LIKE 'shop/%'");
        sb_test_world_send(&world, 500);
    }
    await_effects("mail", 2000);
    sb_test_check_effects(&world, "mail", 2000);
    assert_int_equal(stats(0).dead_letters, 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_store_that_was_restored_to_a_time_goes_on_when_it_is_told), /* while there are few databases */
        CASE(goes_on_where_it_was_over_restarts_while_events_flow),
        CASE(a_repeat_is_dropped_and_a_gap_is_reported),
        CASE(a_topic_whose_offsets_begin_lower_is_read_by_positions),
        CASE(a_topic_without_positions_whose_offsets_begin_lower_is_read_from_its_beginning),
        CASE(topics_without_positions_are_kept_apart_by_source_and_id),
        CASE(begins_now_and_does_not_begin_later_after_a_restart),
        CASE(what_began_now_gets_no_history_of_a_topic_made_anew),
        CASE(what_began_now_misses_nothing_on_other_brokers),
        CASE(what_began_now_with_nothing_misses_nothing_on_other_brokers),
        CASE(what_began_now_with_nothing_is_given_all_of_a_topic_made_anew),
        CASE(what_cannot_begin_again_pauses_between_its_tries),
        CASE(a_prefetch_that_is_always_full_is_read_to_its_end),
        CASE(one_too_large_to_be_copied_holds_nothing_up),
        CASE(the_end_of_a_backlog_is_no_wait),
        CASE(without_a_database_it_goes_on_at_the_groups_offsets),
        CASE(reads_the_store_first_and_hands_over_to_kafka_by_seq),
        CASE(a_gap_waits_for_a_store_that_is_behind),
        CASE(a_gap_among_the_events_of_sagas_is_filled),
        CASE(a_store_that_is_read_first_may_be_several_standbys),
        CASE(a_key_that_fails_is_held_back_and_released_in_order),
        CASE(what_is_redriven_at_a_rate_keeps_it_and_its_order),
        CASE(a_rate_of_redriving_holds_for_all_members_together),
        CASE(what_is_wanted_at_once_does_not_wait_for_a_rate_that_was),
        CASE(what_has_no_rate_goes_before_what_waits_for_its_own),
        CASE(what_fails_a_few_times_keeps_its_order_and_is_no_dead_letter),
        CASE(what_is_no_event_is_a_dead_letter_with_its_bytes),
        CASE(an_event_without_order_is_tried_again_from_its_row),
        CASE(a_partition_in_order_stops_and_says_so),
        CASE(a_subscription_that_is_stuck_holds_up_no_other),
        CASE(a_new_member_shares_the_work_and_what_is_claimed_beside_the_group_is_claimed_back),
        CASE(partitions_that_go_wait_for_a_handler_no_longer_than_they_may),
        CASE(partitions_that_go_wait_for_a_handler_that_is_at_work),
        CASE(the_database_may_go_and_come_back),
        CASE(wiped_brokers_are_noticed_and_nothing_is_handled_twice),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("subscriber", tests, sb_test_pg_start, sb_test_pg_stop);
}
