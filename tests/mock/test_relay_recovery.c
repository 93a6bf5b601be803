/* SPDX-License-Identifier: Apache-2.0 */
/* The relay after an accident: a store or topics that came back other than they were. */
#include "tests/mock/relay_world.h"

#include "bus/position.h"
#include "bus/relay/relay_admin.h"
#include "tests/support/assert.h"
#include "tests/support/tally.h"

#include <stdio.h>
#include <stdlib.h>

static void set_back(sb_relay_world_t *f, int count)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql,
                   "UPDATE sagabus.lease SET cursor = cursor - %d WHERE role IN ('sequencer', 'relay')",
                   count);
    sb_test_pg_script(f->relay.pg, sql);
    f->relay.progress.safe_seq = 0;
}

static void send_thirty(sb_relay_world_t *f)
{
    sb_test_relay_append(&f->relay, "order.created", 30);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
}

/* What the sequencer published of events on disk was not on disk itself. */
static void goes_on_when_a_crash_took_the_safe_number_back(void **state)
{
    sb_relay_world_t *f = *state;
    send_thirty(f);
    set_back(f, 3);
    sb_test_relay_start(&f->relay);
    sb_test_sleep_ms(500);                                /* for it to have looked at Kafka before */
    sb_test_relay_append(&f->relay, "order.created", 10); /* makes all safe, as a sequencer does */
    sb_test_relay_wait(&f->relay, 20000);
    assert_false(sb_relay_world_error_has(f, "this store has not"));
}

static void stands_still_when_kafka_knows_more_than_the_store(void **state)
{
    sb_relay_world_t *f = *state;
    send_thirty(f);

    /* The database comes back as it was before the last event but one, whose number another had drawn. */
    set_back(f, 3);
    sb_test_pg_script(f->relay.pg, "ALTER TABLE sagabus.event DISABLE TRIGGER ALL; DELETE FROM sagabus.event "
                                   "WHERE seq = (SELECT max(seq) - 1 FROM sagabus.event)");
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "this store has not"), 15000);
    /* It stays so when the store has grown past that place. */
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_stop(&f->relay);
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "this store has not"), 15000);
    /* Until an operator says that this store goes on. */
    sb_test_pg_script(f->relay.pg, "UPDATE sagabus.store SET incarnation = incarnation + 1");
    sb_test_relay_wait(&f->relay, 20000);
}

static void notices_another_event_in_the_same_place(void **state)
{
    sb_relay_world_t *f = *state;
    send_thirty(f);
    sb_test_pg_script(f->relay.pg,
                      "ALTER TABLE sagabus.event DISABLE TRIGGER ALL; UPDATE sagabus.event SET id = "
                      "gen_random_uuid()");
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "this store has not"), 15000);
}

static sb_position_t position_of(const sb_relay_world_t *f, size_t i)
{
    sb_position_t at;
    assert_true(sb_position_parse(sb_slice(f->got.item[i].position), &at));
    return at;
}

/* The newest ten events are only in Kafka, and the sequence, which came back from the log, has left their
 * numbers behind: what the store appended since is above all that Kafka has. */
static void lose_ten_and_jump(sb_relay_world_t *f)
{
    set_back(f, 10);
    sb_test_pg_script(f->relay.pg, "ALTER TABLE sagabus.event DISABLE TRIGGER ALL; DELETE FROM sagabus.event "
                                   "WHERE seq > (SELECT max(seq) - 10 FROM sagabus.event);"
                                   "SELECT setval('sagabus.event_seq', last_value + 25) FROM "
                                   "sagabus.event_seq");
}

static void a_store_that_has_jumped_past_what_it_lost_stands_still(void **state)
{
    sb_relay_world_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_stats_t stats;
    int64_t incarnation = 0;
    sb_test_relay_append(&f->relay, "stock.moved", 30);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    int64_t lost = f->relay.last;
    lose_ten_and_jump(f);
    /* What it no longer keeps lies below, or is the sagas'. */
    sb_test_pg_script(f->relay.pg,
                      "DELETE FROM sagabus.event WHERE seq < (SELECT max(seq) FROM sagabus.event) - 5;"
                      "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) SELECT 1, 0, "
                      "max(seq) - 6, 'x' FROM sagabus.event;"
                      "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) VALUES (2, 0, "
                      "1000000, 'y')");
    sb_test_relay_append(&f->relay, "stock.moved", 20);
    assert_true(f->relay.last - 20 > lost);
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "sagabus store fork --confirm"), 30000);
    sb_relay_stats(f->relay.relay, &stats);
    assert_int_equal(stats.sent, 0);
    assert_ok(sb_relay_fork(f->relay.pg, &incarnation, &err), &err);
    sb_test_relay_wait(&f->relay, 30000);
    sb_relay_world_read(f, "stock.events", 0, 50);
    for (size_t i = 30; i < 50; i++)
        assert_int_equal(position_of(f, i).incarnation, 2);
}

/* Five public events of sagas behind the others. */
static void append_saga_events(sb_relay_world_t *f)
{
    sb_test_pg_script(
        f->relay.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('saga.started', 1) ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, "
        "shard, status, input) VALUES (7, '01890a5d-ac96-774b-bcce-b302099a8057', now(), 'order', 'o-1', "
        "'', '', 5, 0, 2, '{}');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 7, n, t.type_no, 2, "
        "gen_random_uuid(), '{}' FROM generate_series(1, 5) n, sagabus.event_type t WHERE t.name = "
        "'saga.started'");
    sb_test_relay_publish(&f->relay);
}

/* The last events of Kafka's partitions, of either class, are no longer kept: that is no fork. */
static void events_that_were_detached_prove_nothing(void **state)
{
    sb_relay_world_t *f = *state;
    append_saga_events(f);
    send_thirty(f);
    sb_test_pg_script(
        f->relay.pg,
        "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) SELECT c, 0, max(seq), "
        "'x' || c FROM sagabus.event, generate_series(1, 2) c GROUP BY c;"
        "ALTER TABLE sagabus.event DISABLE TRIGGER ALL; DELETE FROM sagabus.event");
    sb_test_relay_start(&f->relay); /* of a store that keeps nothing */
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_wait(&f->relay, 30000);
    assert_false(sb_relay_world_error_has(f, "this store has not"));
}

static void look_again(sb_test_relay_t *relay, void (*act)(void))
{
    sb_pg_close(&relay->pg);
    act();
    relay->pg = sb_test_pg_open(relay->uri);
}

/* The data directory comes back from a copy: its sequence numbers are given out again. */
static void a_restored_database_goes_on_when_it_is_told_and_under_a_new_incarnation(void **state)
{
    sb_relay_world_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    int64_t incarnation = 0;
    sb_test_relay_append(&f->relay, "stock.moved", 30);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    look_again(&f->relay, sb_test_pg_copy_data);
    sb_test_relay_append(&f->relay, "stock.moved", 20); /* lost soon */
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    int64_t lost = f->relay.last;
    look_again(&f->relay, sb_test_pg_put_back_data);
    sb_progress_init(&f->relay.progress);
    sb_test_relay_append(&f->relay, "stock.moved", 25); /* in their places */
    assert_true(f->relay.last >= lost);
    sb_test_relay_start(&f->relay);
    assert_soon(sb_relay_world_error_has(f, "sagabus store fork --confirm"), 15000);
    assert_ok(sb_relay_fork(f->relay.pg, &incarnation, &err), &err);
    assert_int_equal(incarnation, 2);
    sb_test_relay_wait(&f->relay, 20000);
    sb_relay_world_read(f, "stock.events", 0, 75);
    int64_t before = position_of(f, 29).seq; /* the new ones follow the last that both stores had */
    for (size_t i = 50; i < 75; i++) {
        sb_position_t at = position_of(f, i);
        assert_int_equal(at.incarnation, 2);
        assert_int_equal(at.prev, before);
        assert_int_equal(sb_position_compare(&at, 1, lost), SB_POSITION_NEXT);
        before = at.seq;
    }
}

/* The topic is empty and the relay is past its events, as after Kafka lost them. */
static void a_filling_that_is_stopped_goes_on_where_it_was(void **state)
{
    sb_relay_world_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    sb_relay_rebuild_state_t look = {.ended = false};
    /* Few enough that the mock, which keeps 5 MiB a partition, has them all when each try begins anew; and
     * each has longer by half, so that on a slow machine, too, the last few send most of what is sent. */
    int64_t time_ms = 40;
    sb_test_relay_append(&f->relay, "order.created", 3000);
    sb_test_pg_script(f->relay.pg, "UPDATE sagabus.lease r SET cursor = s.cursor FROM sagabus.lease s WHERE "
                                   "r.role = 'relay' AND s.role = 'sequencer'");
    assert_ok(sb_relay_rebuild_request(f->relay.pg, "order", false, "test", &no, &err), &err);
    for (; !look.ended && time_ms < 60000; time_ms += time_ms / 2) {
        sb_test_relay_start(&f->relay);
        sb_test_sleep_ms(time_ms);
        sb_test_relay_stop(&f->relay);
        assert_ok(sb_relay_rebuild_look(f->relay.pg, no, &look, &err), &err);
    }
    assert_true(look.ended);
    assert_string_equal(look.error, "");
    sb_test_relay_start(&f->relay);
    sb_test_relay_append(&f->relay, "order.created", 10);
    sb_test_relay_wait(&f->relay, 20000);
    assert_true(sb_test_relay_check(&f->relay, "order.events", 3, "order.created", 3010) >= 3010);
}

/* Or a successor would send from before the place up to which the topic is filled: again, out of order, and
 * events of other topics in between would never be counted. */
static void the_cursor_is_saved_before_a_topic_is_filled(void **state)
{
    sb_relay_world_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    sb_test_pg_script(
        f->relay.pg, "CREATE TABLE behind (upto bigint, cursor bigint); "
                     "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                     "INSERT INTO public.behind SELECT NEW.upto_seq, l.cursor FROM sagabus.lease l WHERE "
                     "l.role = 'relay' AND l.cursor < NEW.upto_seq; RETURN NULL; END $$; "
                     "CREATE TRIGGER see AFTER UPDATE ON sagabus.relay_rebuild FOR EACH ROW EXECUTE FUNCTION "
                     "see();");
    sb_test_relay_start(&f->relay);
    for (int i = 0; i < 5; i++) {
        int64_t no = 0;
        sb_relay_rebuild_state_t look = {.ended = false};
        assert_ok(sb_relay_rebuild_request(f->relay.pg, "order", false, "test", &no, &err), &err);
        for (int k = 0; !look.ended && k < 2000; k++) { /* it begins between two saves */
            sb_test_relay_append(&f->relay, "stock.moved", 3);
            assert_ok(sb_relay_rebuild_look(f->relay.pg, no, &look, &err), &err);
            sb_test_sleep_ms(7);
        }
        assert_true(look.ended);
        assert_string_equal(look.error, "");
    }
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_stop(&f->relay);
    assert_int_equal(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM behind"), 0);
    assert_int_equal(sb_test_tally_ranges(f->relay.pg), 0);
}

/* How a transaction commits is seen by a trigger that runs at its end. */
static const char watch_commits[] =
    "CREATE TABLE seen (what text, epoch bigint, sync text); "
    "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "INSERT INTO public.seen VALUES (TG_TABLE_NAME, nullif(to_jsonb(NEW) ->> 'epoch', '')::bigint, "
    "current_setting('synchronous_commit')); RETURN NULL; END $$; "
    "CREATE CONSTRAINT TRIGGER see AFTER UPDATE ON sagabus.lease DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW WHEN (NEW.role = 'relay') EXECUTE FUNCTION see(); "
    "CREATE CONSTRAINT TRIGGER see AFTER UPDATE ON sagabus.relay_rebuild DEFERRABLE INITIALLY DEFERRED "
    "FOR EACH ROW EXECUTE FUNCTION see();";

/* A crash of PostgreSQL may take back the cursor, but not an epoch, nor that a topic was emptied. */
static void only_the_cursor_is_saved_without_waiting_for_the_disk(void **state)
{
    sb_relay_world_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    sb_relay_rebuild_state_t look = {.ended = false};
    sb_test_relay_append(&f->relay, "stock.moved", 20);
    sb_test_pg_script(f->relay.pg, watch_commits);
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    assert_soon(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM seen WHERE sync = 'off'") > 0, 10000);
    assert_ok(sb_relay_rebuild_request(f->relay.pg, "order", false, "test", &no, &err), &err);
    assert_soon(sb_relay_rebuild_look(f->relay.pg, no, &look, &err) == SB_OK && look.ended, 20000);
    /* Its connection stays, and takes the lease again: another had it meanwhile. */
    sb_test_pg_script(f->relay.pg, "UPDATE sagabus.lease SET epoch = epoch + 1, beat = beat - "
                                   "interval '1 hour', owner = 'other' WHERE role = 'relay'");
    assert_soon(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM sagabus.lease WHERE role = 'relay' AND "
                                            "owner = 'test' AND epoch = 3") == 1,
                20000);
    sb_test_relay_stop(&f->relay);
    assert_true(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM seen WHERE what = 'relay_rebuild'") >= 2);
    assert_int_equal(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM seen WHERE what = 'relay_rebuild' "
                                                 "AND sync = 'off'"),
                     0);
    assert_int_equal(sb_test_pg_int(f->relay.pg, "SELECT count(*) FROM (SELECT DISTINCT ON (epoch) sync FROM "
                                                 "seen WHERE what = 'lease' ORDER BY epoch, ctid) first "
                                                 "WHERE sync = 'off'"),
                     0);
}

/* Two stores share the brokers, one of them without a prefix: "theirs.order.events" is not its topic. */
static void another_installation_under_a_prefix_is_none_of_its_business(void **state)
{
    sb_relay_world_t *f = *state;
    static sb_test_relay_t other;
    sb_test_mock_topic(&f->mock, "theirs.order.events", 1);
    sb_test_mock_topic(&f->mock, "theirs.stock.events", 1);
    sb_test_relay_setup(&other, f->mock.bootstrap, "theirs.");
    sb_test_relay_append(&other, "order.created", 30);
    sb_test_relay_start(&other);
    sb_test_relay_wait(&other, 20000);
    sb_test_relay_stop(&other);
    sb_test_relay_append(&f->relay, "order.created", 3); /* behind the other's sequence numbers */
    sb_test_relay_start(&f->relay);
    sb_test_relay_wait(&f->relay, 20000);
    sb_test_relay_teardown(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(goes_on_when_a_crash_took_the_safe_number_back, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(stands_still_when_kafka_knows_more_than_the_store, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(notices_another_event_in_the_same_place, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_store_that_has_jumped_past_what_it_lost_stands_still,
                                        sb_relay_world_up, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(events_that_were_detached_prove_nothing, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(
            a_restored_database_goes_on_when_it_is_told_and_under_a_new_incarnation, sb_relay_world_up,
            sb_relay_world_down),
        cmocka_unit_test_setup_teardown(a_filling_that_is_stopped_goes_on_where_it_was, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(the_cursor_is_saved_before_a_topic_is_filled, sb_relay_world_up,
                                        sb_relay_world_down),
        cmocka_unit_test_setup_teardown(only_the_cursor_is_saved_without_waiting_for_the_disk,
                                        sb_relay_world_up, sb_relay_world_down),
        cmocka_unit_test_setup_teardown(another_installation_under_a_prefix_is_none_of_its_business,
                                        sb_relay_world_up, sb_relay_world_down),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
