/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/mock/relay_world.h"

#include "bus/position.h"
#include "bus/relay/relay_admin.h"
#include "bus/relay/relay_page.h"
#include "events/saga_number.h"
#include "tests/support/assert.h"
#include "tests/support/recent.h"
#include "tests/support/tally.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void sends_every_event_once_and_in_order(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 2500);
    sb_test_relay_append(&f->relay, "stock.moved", 100);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_append(&f->relay, "order.created", 50);
    sb_test_relay_wait(&f->relay, 5000);
    assert_int_equal(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 2550), 2550);
    assert_int_equal(sb_test_relay_check(&f->relay, "stock.events", 1, "stock.moved", 100), 100);

    sb_relay_stats_t stats;
    sb_relay_stats(f->relay.relay, &stats);
    assert_true(stats.leader);
    assert_int_equal(stats.sent, 2650);
    assert_int_equal(stats.lag_events, 0);
    assert_int_equal(stats.resends, 0);
    assert_string_equal(stats.error, "");
}

static void goes_on_where_it_stopped(void **state)
{
    sb_relay_world_t *f = *state;
    for (int i = 0; i < 3; i++) {
        sb_test_relay_append(&f->relay, "order.created", 100);
        sb_test_relay_start(&f->relay);
        sb_test_relay_wait(&f->relay, 20000);
        sb_test_relay_stop(&f->relay);
    }
    assert_int_equal(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 300), 300);
}

/* Somebody moved the cursor over events: the chain of positions has no gap for it, the counts say it. */
static void a_cursor_that_was_moved_is_found_by_its_range(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 200);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    assert_int_equal(sb_test_tally_ranges(f->relay.pg), 0);
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_pg_script(f->relay.pg, "UPDATE sagabus.lease SET cursor = cursor + 30 WHERE role = 'relay'");
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    assert_int_equal(sb_test_tally_ranges(f->relay.pg), 1);
    assert_int_equal(sb_test_pg_int(f->relay.pg, "SELECT events - taken FROM sagabus.tally_gap WHERE role = "
                                                 "'relay' AND from_seq <= 201 AND to_seq >= 230"),
                     30);
}

/* A release that makes one more type of saga events public: what it counts is held against its own list. */
static void a_type_that_became_public_is_no_gap(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 200);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    sb_test_pg_script(
        f->relay.pg,
        "UPDATE sagabus.tally_reader SET saga = array_remove(saga, 'saga.started') WHERE role = 'relay';"
        "INSERT INTO sagabus.event_type (name, version) VALUES ('saga.started', 1) ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 7, n, t.type_no, 2, "
        "gen_random_uuid(), '{}' FROM generate_series(1, 5) n, sagabus.event_type t WHERE t.name = "
        "'saga.started'");
    sb_test_relay_publish(&f->relay);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    assert_int_equal(sb_test_tally_ranges(f->relay.pg), 0);
    sb_test_pg_script(f->relay.pg, "UPDATE sagabus.lease SET cursor = cursor - 2 WHERE role = 'relay'");
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    assert_int_equal(sb_test_tally_ranges(f->relay.pg), 1);
}

static void sends_again_after_a_failed_report(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_bus_one_at_a_time(f->relay.config);
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 20000);
    /* An error that the producer does not survive, in the midst of a backlog. */
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                                      RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    sb_test_relay_append(&f->relay, "order.created", 5000);
    sb_test_relay_wait(&f->relay, 30000);
    sb_relay_stats_t stats;
    sb_relay_stats(f->relay.relay, &stats);
    assert_true(stats.resends > 0);
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 5100) >= 5100);
}

static void keeps_order_over_errors_that_librdkafka_mends(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_bus_one_at_a_time(f->relay.config);
    rd_kafka_mock_push_request_errors(
        f->mock.cluster, SB_TEST_PRODUCE, 4, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    sb_test_relay_append(&f->relay, "order.created", 3000);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 3000) >= 3000);
}

static void set_leaders(const sb_relay_world_t *f, int first)
{
    for (int32_t p = 0; p < 3; p++) {
        int32_t broker = first < 0 ? -1 : 1 + (first + p) % 3;
        assert_int_equal(rd_kafka_mock_partition_set_leader(f->mock.cluster, "order.events", p, broker), 0);
    }
}

/* A partition whose leader is away keeps its own events, and none of the others'. */
static void a_partition_without_a_leader_holds_no_other_up(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 30);
    sb_test_relay_append(&f->relay, "stock.moved", 1);
    sb_test_relay_wait(&f->relay, 20000);
    set_leaders(f, -1);
    sb_test_relay_append(&f->relay, "order.created", 30);
    for (int i = 0; i < 20; i++) { /* fewer than the relay would read as a page of their own */
        sb_test_relay_append(&f->relay, "stock.moved", 1);
        sb_test_sleep_ms(10);
    }
    sb_relay_stats_t stats;
    int64_t until = sb_test_mono_ms() + sb_test_patience(30000);
    do {
        sb_test_sleep_ms(20);
        sb_relay_stats(f->relay.relay, &stats);
    } while (stats.sent < 51 && sb_test_mono_ms() < until);
    assert_int_equal(stats.sent, 51);
    set_leaders(f, 0);
    sb_test_relay_wait(&f->relay, 30000);
    assert_int_equal(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 60), 60);
    assert_int_equal(sb_test_relay_check(&f->relay, "stock.events", 1, "stock.moved", 21), 21);
}

/* Leaders move under one event's answer, and the next event meets a leader that is none any more; it has the
 * client ask where all of them are. One at a time: behind a batch that is refused librdkafka may send the
 * next one to the new leader before it repeats the first. A broker that knows the producer refuses that by
 * its sequence numbers; the mock does not look at them, and the first then comes after the next one. */
static void move_leaders_under_an_event(sb_relay_world_t *f, int first, int absent_ms)
{
    sb_test_relay_append(&f->relay, "order.created", 1);
    sb_test_sleep_ms(20); /* on its way */
    if (absent_ms > 0) {
        set_leaders(f, -1);
        sb_test_sleep_ms(absent_ms);
    }
    set_leaders(f, first);
    sb_test_relay_wait(&f->relay, 30000);
    sb_test_relay_append(&f->relay, "order.created", 1);
    sb_test_relay_wait(&f->relay, 30000);
}

/* While they move, for a moment there is none. */
static void keeps_order_while_leaders_move(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    for (int i = 0; i < 6; i++) {
        move_leaders_under_an_event(f, i, i % 2 == 1 ? 50 : 0);
        sb_test_relay_append(&f->relay, "order.created", 300);
        sb_test_relay_wait(&f->relay, 30000);
    }
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 1912) >= 1912);
}

/* Nothing is sent twice because an answer takes its time; and a leader that moves meanwhile breaks no order.
 */
static void a_slow_network_repeats_nothing(void **state)
{
    sb_relay_world_t *f = *state;
    sb_relay_stats_t stats;
    for (int32_t broker = 1; broker <= 3; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, broker, 250), 0);
    sb_test_relay_append(&f->relay, "order.created", 500);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 30000);
    sb_relay_stats(f->relay.relay, &stats);
    assert_int_equal(stats.resends, 0);
    assert_int_equal(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 500), 500);
    for (int i = 1; i < 4; i++)
        move_leaders_under_an_event(f, i, 0);
    sb_test_relay_append(&f->relay, "order.created", 300);
    sb_test_relay_wait(&f->relay, 30000);
    for (int32_t broker = 1; broker <= 3; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, broker, 0), 0);
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 806) >= 806);
}

/* It looks at the end of every partition before it sends anything, in as many answers as one of them takes.
 */
static void a_very_slow_network_is_waited_for(void **state)
{
    sb_relay_world_t *f = *state;
    sb_relay_stats_t stats;
    for (int32_t broker = 1; broker <= 3; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, broker, 900), 0);
    sb_test_relay_append(&f->relay, "order.created", 50);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 60000);
    sb_relay_stats(f->relay.relay, &stats);
    assert_int_equal(stats.resends, 0);
    for (int32_t broker = 1; broker <= 3; broker++)
        assert_int_equal(rd_kafka_mock_broker_set_rtt(f->mock.cluster, broker, 0), 0);
    assert_int_equal(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 50), 50);
}

/* Of each kind one, in the midst of work: mended by librdkafka, ended with the producer, fatal to it. */
static void no_error_code_breaks_the_chain(void **state)
{
    sb_relay_world_t *f = *state;
    static const rd_kafka_resp_err_t errors[] = {RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
                                                 RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                                                 RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                                                 RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                                 RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
                                                 RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
                                                 RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
                                                 RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                                                 RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
                                                 RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
                                                 RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
                                                 RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
                                                 RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT,
                                                 RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS};
    int count = (int)(sizeof errors / sizeof errors[0]);
    sb_relay_stats_t stats;
    sb_test_bus_one_at_a_time(f->relay.config);
    sb_test_relay_append(&f->relay, "order.created", 50);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    for (int i = 0; i < count; i++) {
        rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 1, errors[i]);
        sb_test_relay_append(&f->relay, "order.created", 60);
        sb_test_relay_wait(&f->relay, 30000);
    }
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 50 + 60 * count) >=
                (size_t)(50 + 60 * count));
    sb_relay_stats(f->relay.relay, &stats);
    assert_true(stats.resends > 0);
    assert_int_equal(stats.withheld, 0);
}

static void waits_for_a_broker_that_is_away(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_test_relay_wait(&f->relay, 20000);
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    sb_test_relay_append(&f->relay, "order.created", 100);
    sb_relay_stats_t stats;
    for (int i = 0; i < 1000; i++) {
        sb_relay_stats(f->relay.relay, &stats);
        if (stats.error[0])
            break;
        sb_test_sleep_ms(10);
    }
    assert_contains(stats.error, "Kafka");
    assert_int_equal(stats.lag_events, 100);
    assert_true(stats.oldest_age_ms > 1000);
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    sb_test_relay_wait(&f->relay, 20000);
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 200) >= 200);
    sb_relay_stats(f->relay.relay, &stats);
    assert_string_equal(stats.error, "");
}

static bool has_error(const sb_test_relay_t *relay)
{
    sb_relay_stats_t stats;
    sb_relay_stats(relay->relay, &stats);
    return stats.error[0] != '\0';
}

/* Or a trouble of the first second would show in /readyz until somebody appends an event. */
static void a_trouble_that_passed_is_not_told_while_nothing_is_to_be_sent(void **state)
{
    sb_relay_world_t *f = *state;
    (void)rd_kafka_mock_broker_set_down(f->mock.cluster, 1);
    sb_test_relay_start(&f->relay);
    assert_soon(has_error(&f->relay), 20000);
    (void)rd_kafka_mock_broker_set_up(f->mock.cluster, 1);
    assert_soon(!has_error(&f->relay), 20000);
}

static void withholds_what_is_too_large_in_its_place(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_bus_set(f->relay.config, "kafka.message.max.bytes", "10000");
    sb_test_relay_append(&f->relay, "stock.moved", 20);
    sb_test_pg_script(
        f->relay.pg,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT stream_no, "
        "version + 1, (SELECT type_no FROM sagabus.event_type WHERE name = 'stock.moved'), 1, "
        "gen_random_uuid(), convert_to('\"' || repeat('x', 20000) || '\"', 'UTF8') FROM sagabus.stream "
        "WHERE category = 'stock' AND key = 'k-0'; UPDATE sagabus.stream SET version = version + 1 WHERE "
        "category = 'stock' AND key = 'k-0'");
    sb_test_relay_append(&f->relay, "stock.moved", 20);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    assert_int_equal(sb_test_relay_check(&f->relay, "stock.events", 1, "stock.moved", 40), 41);
    sb_relay_world_read(f, "stock.events", 0, 41);
    assert_string_equal(f->got.item[20].type, "sagabus.withheld");
    assert_contains(f->got.item[20].value, "\"type\":\"stock.moved\",\"bytes\":20002");
    assert_string_equal(f->got.item[20].key, "k-0");
    sb_relay_stats_t stats;
    sb_relay_stats(f->relay.relay, &stats);
    assert_int_equal(stats.withheld, 1);
    sb_test_relay_stop(&f->relay); /* and it is written down */
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    assert_ok(sb_relay_withheld(f->relay.pg, 10, &rows, &err), &err);
    assert_int_equal(sb_pg_rows(rows), 1);
    assert_string_equal(sb_pg_get_text(rows, 0, 2), "stock.moved");
    assert_string_equal(sb_pg_get_text(rows, 0, 3), "stock.events");
    assert_int_equal(sb_pg_get_int(rows, 0, 5), 20002);
    sb_pg_result_free(rows);
}

static void withholds_alone_what_the_broker_refuses_in_a_batch(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_bus_one_at_a_time(f->relay.config);
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "stock.moved", 5);
    sb_test_relay_wait(&f->relay, 20000);
    /* A batch is refused, then the first of its events alone; the rest is sent as it is. */
    rd_kafka_mock_push_request_errors(f->mock.cluster, SB_TEST_PRODUCE, 2,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    sb_test_relay_append(&f->relay, "stock.moved", 10);
    sb_test_relay_wait(&f->relay, 20000);
    assert_true(sb_test_relay_check(&f->relay, "stock.events", 1, "stock.moved", 14) >= 15);
    sb_relay_stats_t stats;
    sb_relay_stats(f->relay.relay, &stats);
    assert_int_equal(stats.withheld, 1);
}

static void sends_the_public_events_of_sagas_under_the_sagas_id(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_pg_script(
        f->relay.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('saga.started', 1), ('saga.step.dispatched', "
        "1), "
        "('saga.completed', 1) ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, "
        "shard, status, "
        "input) VALUES (7, '01890a5d-ac96-774b-bcce-b302099a8057', now(), 'order', 'o-1', '', '', 3, 0, 2, "
        "'{}');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 7, n, t.type_no, 2, "
        "gen_random_uuid(), '{}' FROM (VALUES (1, 'saga.started'), (2, 'saga.step.dispatched'), (3, "
        "'saga.completed')) "
        "v (n, name) JOIN sagabus.event_type t ON t.name = v.name AND t.version = 1 ORDER BY n");
    sb_test_relay_publish(&f->relay);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_relay_world_read(f, "saga.events", 0, 2);
    assert_int_equal(f->got.count, 2);
    assert_string_equal(f->got.item[0].type, "saga.started");
    assert_string_equal(f->got.item[1].type, "saga.completed");
    assert_string_equal(f->got.item[0].key, "01890a5d-ac96-774b-bcce-b302099a8057");
}

/* 8 and 8200 share a place in what the relay remembers. The row of 20000 is gone, but its first event says
 * its id. What 9 says of itself is another's. */
static void a_sagas_key_is_its_id_wherever_that_is_known_from(void **state)
{
    sb_relay_world_t *f = *state;
    char sql[2048], id[SB_UUID_TEXT], own[SB_UUID_TEXT];
    sb_uuid_t gone = sb_saga_id(20000, 1700000000000);
    static const char *const keys[] = {"01890a5d-ac96-874b-8000-000000000008", NULL, "9"};
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('saga.started', 1), ('saga.completed', 1) "
        "ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, "
        "shard, status, input) SELECT n, ('01890a5d-ac96-874b-8000-' || lpad(n::text, 12, '0'))::uuid, "
        "now(), 'order', n, '', '', 2, 0, 2, '{}' FROM unnest(ARRAY[8, 8200]) n;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT n, v, t.type_no, 2, "
        "gen_random_uuid(), CASE WHEN v = 1 AND n IN (9, 20000) THEN convert_to('{\"saga_id\":\"%s\"}', "
        "'UTF8') ELSE '{}' END FROM generate_series(1, 2) v, unnest(ARRAY[8, 8200, 20000, 9]) n JOIN "
        "sagabus.event_type t ON true WHERE t.name = CASE v WHEN 1 THEN 'saga.started' ELSE 'saga.completed' "
        "END AND t.version = 1 ORDER BY v, n",
        sb_uuid_format(&gone, id));
    sb_test_pg_script(f->relay.pg, sql);
    sb_test_relay_publish(&f->relay);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 60000);
    sb_relay_world_read(f, "saga.events", 0, 8);
    (void)snprintf(own, sizeof own, "01890a5d-ac96-874b-8000-000000008200");
    for (int i = 0; i < 8; i += 4) { /* in order of number */
        assert_string_equal(f->got.item[i].key, keys[0]);
        assert_string_equal(f->got.item[i + 1].key, keys[2]);
        assert_string_equal(f->got.item[i + 2].key, own);
    }
    assert_string_equal(f->got.item[3].key, id);
    assert_string_equal(f->got.item[7].key, id);
}

/* Everything up to the last event, in ranges of at most step; returns how many pages. */
static int walk(const sb_test_relay_t *relay, sb_progress_t *progress, int64_t step, sb_buf_t *out)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_page_t page;
    sb_event_t event;
    int pages = 0;
    sb_relay_page_init(&page);
    for (int64_t at = 0; at < relay->last; at = page.end, pages++) {
        int64_t to = relay->last - at > step ? at + step : relay->last;
        assert_ok(sb_relay_page_load(&page, relay->pg, progress, at, to, &err), &err);
        assert_true(page.end > at && page.end <= to);
        for (; sb_relay_page_has_row(&page); sb_relay_page_next(&page)) {
            char id[SB_UUID_TEXT];
            assert_ok(sb_relay_page_event(&page, relay->pg, &event, &err), &err);
            assert_true(event.seq > at && event.seq <= page.end);
            sb_buf_printf(out, "%lld %s %.*s.%d %.*s %lld %lld.%d [%.*s %.*s] %zu %.*s\n",
                          (long long)event.seq, sb_uuid_format(&event.id, id), SB_SLICE_ARG(event.type),
                          event.schema_version, SB_SLICE_ARG(event.subject), (long long)event.time_us,
                          (long long)event.stream_no, event.stream_version, SB_SLICE_ARG(event.source),
                          SB_SLICE_ARG(event.partition_key), event.data.len,
                          event.data.len < 10 ? (int)event.data.len : 10, event.data.ptr);
        }
    }
    sb_relay_page_fini(&page);
    return pages;
}

static void reads_a_large_range_as_it_reads_small_ones(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 700);
    sb_test_pg_script(
        f->relay.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('saga.started', 1), ('saga.step.dispatched', "
        "1) "
        "ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) SELECT s.stream_no, "
        "s.version + n, t.type_no, 1, gen_random_uuid(), CASE WHEN n % 3 = 0 THEN convert_to("
        "'{\"source\":\"/a \\\"b\\\"\",\"partitionkey\":\"p\"}', 'UTF8') END, "
        "convert_to('\"' || repeat('x', n * 40) || '\"', 'UTF8') FROM generate_series(1, 600) n, "
        "sagabus.stream s, "
        "sagabus.event_type t WHERE s.category = 'order' AND s.key = 'k-0' AND t.name = 'order.created' "
        "ORDER BY n;"
        "UPDATE sagabus.stream SET version = version + 600 WHERE category = 'order' AND key = 'k-0';"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 7, n, t.type_no, 2, "
        "gen_random_uuid(), '{}' FROM generate_series(1, 50) n JOIN sagabus.event_type t ON t.name = "
        "CASE WHEN n % 2 = 0 THEN 'saga.started' ELSE 'saga.step.dispatched' END ORDER BY n");
    sb_test_relay_append(&f->relay, "stock.moved", 300);
    sb_buf_t large = SB_BUF_INIT;
    sb_buf_t small = SB_BUF_INIT;
    int pages = walk(&f->relay, NULL, INT64_MAX, &large);
    assert_true(pages > 1 && pages < 8); /* the large bodies do not fit into one */
    assert_true(walk(&f->relay, NULL, 100, &small) > 15);
    assert_string_equal(sb_buf_text(&large), sb_buf_text(&small));
    assert_contains(sb_buf_text(&large), " saga.started.1 7 ");
    assert_contains(sb_buf_text(&large), " [/a \"b\" p] ");
    size_t lines = 0;
    for (const char *at = sb_buf_text(&large); (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 700 + 600 + 25 + 300);
    sb_progress_t progress;
    sb_buf_t kept = SB_BUF_INIT, parts = SB_BUF_INIT;
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    sb_test_recent_keep(f->relay.pg, &progress, 150, 160);
    sb_test_recent_keep(f->relay.pg, &progress, 401, 1200);
    (void)walk(&f->relay, &progress, INT64_MAX, &parts);
    assert_string_equal(sb_buf_text(&parts), sb_buf_text(&small));
    sb_test_recent_keep(f->relay.pg, &progress, 1, f->relay.last);
    sb_test_pg_script(f->relay.pg, "SET session_replication_role = replica; DELETE FROM sagabus.event; "
                                   "RESET session_replication_role"); /* nobody asks for it */
    (void)walk(&f->relay, &progress, INT64_MAX, &kept);
    assert_string_equal(sb_buf_text(&kept), sb_buf_text(&small));
    sb_progress_fini(&progress);
    sb_buf_fini(&parts);
    sb_buf_fini(&kept);
    sb_buf_fini(&large);
    sb_buf_fini(&small);
}

/* Readers bring events to the newest version; the bus does not. */
static void carries_the_version_as_written(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_pg_script(f->relay.pg,
                      "INSERT INTO sagabus.event_type (name, version) VALUES ('stock.moved', 2);"
                      "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', "
                      "'stock.moved', 2, sha256('2'), '{\"type\":\"stock.moved\",\"version\":2,\"schema\":{},"
                      "\"x-upcast\":[{\"rename\":{\"from\":\"/n\",\"to\":\"/pieces\"}}]}')");
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "stock.moved", 1);
    sb_test_relay_wait(&f->relay, 20000);
    sb_relay_world_read(f, "stock.events", 0, 1);
    assert_string_equal(f->got.item[0].schema, "stock.moved.v1");
    assert_string_equal(f->got.item[0].value, "{\"n\":0}");
}

static void carries_a_type_that_came_later(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_pg_script(f->relay.pg,
                      "INSERT INTO sagabus.event_type (name, version) VALUES ('stock.counted', 1)");
    sb_test_relay_append(&f->relay, "stock.counted", 10);
    sb_test_relay_wait(&f->relay, 20000);
    assert_int_equal(sb_test_relay_check(&f->relay, "stock.events", 1, "stock.counted", 10), 10);
}

static void refuses_a_changed_partition_count_unless_told(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    sb_test_pg_script(f->relay.pg,
                      "UPDATE sagabus.lease SET detail = jsonb_set(detail, '{topics,order.events}', "
                      "'[0,0]') WHERE role = 'relay'");
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "order.events has 3 partitions, events were spread over 2"),
                10000);
    sb_test_relay_stop(&f->relay);
    sb_test_bus_set(f->relay.config, "topics.accept_partitions", "true");
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
}

static void a_second_relay_takes_over_and_repeats_at_most(void **state)
{
    sb_relay_world_t *f = *state;
    sb_test_relay_t second = f->relay;
    sb_relay_stats_t stats;
    sb_test_relay_append(&f->relay, "order.created", 500);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    second.relay = NULL;
    sb_progress_init(&second.progress);
    sb_test_relay_start(&second);
    sb_test_sleep_ms(700);
    sb_relay_stats(second.relay, &stats);
    assert_false(stats.leader);
    assert_string_equal(stats.error, "");
    /* The owner loses its connection: the other one goes on. */
    sb_test_pg_script(f->relay.pg,
                      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                      "'sagabus relay' AND pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory')");
    sb_test_relay_append(&f->relay, "order.created", 500);
    second.last = f->relay.last;
    for (int i = 0; i < 1000; i++) {
        sb_relay_stats_t first;
        sb_relay_stats(second.relay, &stats);
        sb_relay_stats(f->relay.relay, &first);
        if ((stats.leader && stats.cursor >= second.last) || (first.leader && first.cursor >= second.last))
            break;
        sb_test_sleep_ms(10);
    }
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 1000) >= 1000);
    sb_test_relay_stop(&second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sends_every_event_once_and_in_order, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(goes_on_where_it_stopped, sb_relay_world_up, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_cursor_that_was_moved_is_found_by_its_range, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_type_that_became_public_is_no_gap, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(sends_again_after_a_failed_report, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(keeps_order_over_errors_that_librdkafka_mends, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_partition_without_a_leader_holds_no_other_up,
                                        sb_relay_world_up_three, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(keeps_order_while_leaders_move, sb_relay_world_up_three,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_slow_network_repeats_nothing, sb_relay_world_up_three,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_very_slow_network_is_waited_for, sb_relay_world_up_three,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(no_error_code_breaks_the_chain, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(waits_for_a_broker_that_is_away, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_trouble_that_passed_is_not_told_while_nothing_is_to_be_sent,
                                        sb_relay_world_up, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(withholds_what_is_too_large_in_its_place, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(withholds_alone_what_the_broker_refuses_in_a_batch, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_sagas_key_is_its_id_wherever_that_is_known_from, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(sends_the_public_events_of_sagas_under_the_sagas_id,
                                        sb_relay_world_up, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(reads_a_large_range_as_it_reads_small_ones, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(carries_the_version_as_written, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(carries_a_type_that_came_later, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(refuses_a_changed_partition_count_unless_told, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_second_relay_takes_over_and_repeats_at_most, sb_relay_world_up,
                                        sb_relay_world_down),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
