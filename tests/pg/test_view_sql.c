/* Views that are declared by SQL: the same projector, replay, switch, rollback and comparison as those by
 * rules, over random histories with versions mixed and poison in them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/view_world.h"

#include <stdlib.h>

#define SPENT                                                                                                \
    "{\"name\":\"spent\",\"key\":{\"column\":\"customer_id\",\"type\":\"text\"},\"columns\":[{\"name\":"     \
    "\"orders\",\"type\":\"int8\"},{\"name\":\"amount\",\"type\":\"int8\",\"index\":true},{\"name\":"        \
    "\"last_at\",\"type\":\"timestamptz\"}]}"
#define PARCELS                                                                                              \
    "{\"name\":\"parcels\",\"key\":{\"column\":\"stream\",\"type\":\"text\"},\"columns\":[{\"name\":"        \
    "\"carrier\",\"type\":\"text\"},{\"name\":\"body\",\"type\":\"jsonb\"},{\"name\":\"place\",\"type\":"    \
    "\"int4\"}]}"
#define ADD_SPENT                                                                                            \
    "\"INSERT INTO {spent} AS t (customer_id, orders, amount, last_at) SELECT data ->> 'customer_id', "      \
    "count(*), sum((data ->> 'amount')::bigint)::bigint, max(time) FROM events WHERE type = "                \
    "'order.created' GROUP BY 1 ON CONFLICT (customer_id) DO UPDATE SET orders = t.orders + "                \
    "excluded.orders, amount = t.amount + excluded.amount, last_at = greatest(t.last_at, "                   \
    "excluded.last_at)\""
#define PUT_PARCELS                                                                                          \
    "\"with newest AS (SELECT DISTINCT ON (stream) stream, data, version FROM events WHERE type = "          \
    "'order.shipped' /* ; $ '{nope}' */ ORDER BY stream, seq DESC) INSERT INTO {parcels} AS t (stream, "     \
    "carrier, body, place) SELECT stream, data #>> '{parcel,carrier}', data, version FROM newest ON "        \
    "CONFLICT (stream) DO UPDATE SET carrier = excluded.carrier, body = excluded.body, place = "             \
    "excluded.place\""
/* The same, by the statement that does both. */
#define MERGE_PARCELS                                                                                        \
    "\"MERGE INTO {parcels} AS t USING (SELECT DISTINCT ON (stream) stream, data, version FROM events "      \
    "WHERE "                                                                                                 \
    "type = 'order.shipped' ORDER BY stream, seq DESC) AS e ON t.stream = e.stream WHEN MATCHED THEN "       \
    "UPDATE "                                                                                                \
    "SET carrier = e.data #>> '{parcel,carrier}', body = e.data, place = e.version WHEN NOT MATCHED THEN "   \
    "INSERT (stream, carrier, body, place) VALUES (e.stream, e.data #>> '{parcel,carrier}', e.data, "        \
    "e.version)\""
#define BY_SQL(version, statements)                                                                          \
    "{\"view\":\"spent\",\"version\":" version ",\"events\":[\"order.created\",\"order.shipped\"],"          \
    "\"tables\":[" SPENT "," PARCELS "],\"sql\":[" statements "]}"

static void open_world_of(sb_world_t *world, const char *body)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(world);
    assert_ok(sb_world_apply(world, "spent", body, &err), &err);
}

static void open_world(sb_world_t *world)
{
    open_world_of(world, BY_SQL("1", ADD_SPENT "," PUT_PARCELS));
}

static void verify(sb_world_t *world, sb_replay_report_t *report)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_config_t config = {
        .pg_uri = world->uri, .catalog = world->catalog, .view = "spent", .mode = SB_REPLAY_VERIFY};
    assert_ok(sb_replay_run(&config, report, &err), &err);
    assert_true(report->comparison.done && report->comparison.live_rows > 0);
}

static int64_t faults(const sb_replay_report_t *report)
{
    return report->comparison.missing + report->comparison.extra + report->comparison.differing;
}

static void compare_once(const char *body, int seed, int pieces, int count, int keys, int poison,
                         uint32_t batch)
{
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    open_world_of(&world, body);
    for (int piece = 0; piece < pieces; piece++) {
        sb_world_append(&world, seed * 100 + piece, count, keys, poison);
        sb_world_project(&world, batch);
    }
    assert_true(sb_world_int(&world, "SELECT count(*) FROM sagabus_view.parcels WHERE carrier LIKE 'p-%%'") >
                1); /* of both versions: the older one has it elsewhere */
    int64_t parked = sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'spent'");
    assert_int_equal(parked > 0, poison > 0);
    verify(&world, &report);
    assert_int_equal(faults(&report), 0);
    assert_int_equal(report.parked, parked);
    assert_ok(sb_world_replay(world.uri, "spent", 0, NULL, NULL, &report, &err), &err);
    assert_int_equal(report.generation, 2);
    assert_int_equal(report.parked, parked);
    assert_true(report.live && report.events > 0 && report.rows > 0);
    sb_world_assert_alike(&world, "spent", 1, 2);
    sb_world_assert_alike(&world, "spent", 1, 0);
    sb_world_append(&world, seed * 100 + 50, count, keys, poison); /* and on, and back */
    sb_world_project(&world, batch);
    char *live = sb_world_rows(&world, "spent", 0);
    sb_replay_config_t config = {.pg_uri = world.uri, .catalog = world.catalog, .view = "spent"};
    assert_ok(sb_view_rollback(&config, 0, &report, &err), &err);
    assert_int_equal(report.generation, 1);
    char *after = sb_world_rows(&world, "spent", 0);
    sb_world_assert_same(live, after, "rolled back");
    free(live);
    free(after);
    sb_world_close(&world);
}

static void replay_equals_live_for_random_histories(void **state)
{
    (void)state;
    static const char put[] = BY_SQL("1", ADD_SPENT "," PUT_PARCELS);
    static const char merge[] = BY_SQL("1", ADD_SPENT "," MERGE_PARCELS);
    compare_once(put, 1, 1, 1500, 40, 0, 1000);
    compare_once(put, 2, 2, 120, 25, 3, 1);
    compare_once(merge, 3, 2, 700, 200, 29, 37);
}

static sb_code_t see_stream(void *context, const sb_view_parked_info_t *parked, sb_error_t *err)
{
    int *seen = context;
    (void)err;
    assert_string_equal(parked->key, "order/bad"); /* people know it by its name */
    assert_string_equal(parked->event_type, "order.created");
    assert_contains(parked->error, "invalid input syntax");
    ++*seen;
    return SB_OK;
}

static void poison_parks_its_stream_only(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    open_world(&world);
    sb_world_append(&world, 7, 200, 20, 0);
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'bad'), ('order', 'good');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, at, data) SELECT s.stream_no, "
        "v.n, "
        "t.type_no, 1, gen_random_uuid(), now(), convert_to(format('{\"customer_id\":\"%s\",\"amount\":%s}', "
        "v.key, v.amount), 'UTF8') FROM (VALUES (1, 'bad', 1, '1'), (2, 'good', 1, '10'), (3, 'bad', 2, "
        "'\"x\"'), (4, 'bad', 3, '100'), (5, 'good', 2, '20')) v (i, key, n, amount) JOIN sagabus.stream s "
        "USING "
        "(key) JOIN sagabus.event_type t ON t.name = 'order.created' ORDER BY v.i");
    sb_world_project(&world, 1000);
    assert_int_equal(sb_world_int(&world, "SELECT amount FROM sagabus_view.spent WHERE customer_id = 'bad'"),
                     1);
    assert_int_equal(sb_world_int(&world, "SELECT amount FROM sagabus_view.spent WHERE customer_id = 'good'"),
                     30);
    assert_int_equal(
        sb_world_int(&world,
                     "SELECT count(*) FROM sagabus.view_parked p JOIN sagabus.stream s ON "
                     "s.stream_no::text = p.key AND s.key = 'bad' WHERE view = 'spent' AND error LIKE "
                     "'%%invalid input syntax for type bigint%%'"),
        1);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'spent'"),
                     1);
    sb_view_reader_t *reader = NULL;
    sb_error_t err = SB_ERROR_INIT;
    int64_t next = 0;
    int seen = 0;
    assert_ok(sb_view_reader_new(&reader, world.pg, world.catalog, &err), &err);
    assert_ok(sb_view_parked(reader, SB_SLICE("spent"), 0, 10, see_stream, &seen, &next, &err), &err);
    assert_int_equal(seen, 1);
    sb_view_reader_free(&reader);
    /* what is not the event's fault parks nothing: the view stands until it is mended */
    sb_test_pg_script(world.pg, "ALTER TABLE sagabus_view.parcels_g1 RENAME carrier TO gone");
    sb_world_append(&world, 8, 100, 20, 0);
    sb_world_start(&world, &p, "test", 100);
    assert_soon(sb_world_int(&world,
                             "SELECT count(*) FROM sagabus.lease WHERE role = 'view:spent' AND detail "
                             "->> 'state' = 'failed' AND detail ->> 'problem' LIKE '%%carrier%%'") == 1,
                30000);
    sb_test_pg_script(world.pg, "ALTER TABLE sagabus_view.parcels_g1 RENAME gone TO carrier");
    assert_soon(sb_world_is_at(&world, "spent", sb_world_safe(&world)), 30000);
    sb_world_stop(&p);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus.view_parked WHERE view = 'spent'"),
                     1);
    sb_world_close(&world);
}

static void verify_names_what_is_not_as_its_events_make_it(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    open_world(&world);
    sb_world_append(&world, 9, 600, 40, 0);
    sb_world_project(&world, 100);
    sb_test_pg_script(world.pg,
                      "UPDATE sagabus_view.spent_g1 SET amount = amount + 1 WHERE customer_id = 'c-1';"
                      "DELETE FROM sagabus_view.parcels_g1 WHERE stream = (SELECT min(stream) FROM "
                      "sagabus_view.parcels_g1)");
    verify(&world, &report);
    assert_int_equal(report.comparison.differing, 1);
    assert_int_equal(report.comparison.missing, 1);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE relname LIKE 'spent_g%%' AND "
                                          "relkind = 'r'"),
                     1); /* nothing stays of the fold */
    /* as of an event, beside the live one; and all views in one go */
    sb_replay_config_t config = {
        .pg_uri = world.uri, .catalog = world.catalog, .view = "spent", .until_seq = 300};
    assert_ok(sb_replay_run(&config, &report, &err), &err);
    assert_false(report.live);
    assert_int_equal(report.seq, 300);
    assert_int_equal(sb_world_int(&world, "SELECT sum(orders) FROM sagabus_view.spent_g2"),
                     sb_world_int(&world,
                                  "SELECT count(*) FROM sagabus.event JOIN sagabus.event_type t USING "
                                  "(type_no) WHERE seq <= 300 AND t.name = 'order.created'"));
    config = (sb_replay_config_t){.pg_uri = world.uri, .catalog = world.catalog, .memory_bytes = 64 << 10};
    assert_ok(sb_replay_run(&config, &report, &err), &err);
    assert_true(report.passes > 1);
    config = (sb_replay_config_t){.pg_uri = world.uri, .catalog = world.catalog, .mode = SB_REPLAY_DRY};
    assert_ok(sb_replay_run(&config, &report, &err), &err);
    verify(&world, &report);
    assert_int_equal(faults(&report), 0);
    sb_world_close(&world);
}

static void a_killed_projector_leaves_rows_and_checkpoint_together(void **state)
{
    (void)state;
    sb_world_t world;
    open_world(&world);
    sb_world_project(&world, 100);
    for (int round = 0; round < 4; round++) {
        sb_world_append(&world, 100 + round, 300, 60, 0);
        sb_world_kill_projector(&world, "spent", round * 9);
        assert_int_equal(
            sb_test_pg_int(world.pg,
                           "SELECT (SELECT sum(orders) FROM sagabus_view.spent) - (SELECT count(*) FROM "
                           "sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE t.name = "
                           "'order.created' AND e.seq <= (SELECT cursor FROM sagabus.lease WHERE role = "
                           "'view:spent'))"),
            0);
    }
    sb_world_close(&world);
}

static void a_crash_at_each_stage_of_a_replay_leaves_the_live_view(void **state)
{
    (void)state;
    /* its rows come while it catches up: all of them are there when the switch begins */
    static const sb_world_end_t ends[] = {
        {SB_REPLAY_READ, 1, 0}, {SB_REPLAY_LOAD, 1, 0}, {SB_REPLAY_CATCH_UP, 1, 0}, {SB_REPLAY_SWITCH, 1, 0}};
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    open_world(&world);
    sb_world_append(&world, 21, 2500, 30, 50); /* more than are left for the switch */
    sb_world_project(&world, 1000);
    char *live = sb_world_rows(&world, "spent", 0);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        sb_world_kill_replay(&world, "spent", &ends[i]);
        char *after = sb_world_rows(&world, "spent", 0);
        sb_world_assert_same(live, after, sb_replay_phase_name(ends[i].phase));
        free(after);
        assert_int_equal(sb_world_int(&world, "SELECT next FROM sagabus.lease WHERE role = 'view:spent'"), 1);
        assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE relname = 'spent_g2'"),
                         ends[i].phase > SB_REPLAY_LOAD);
    }
    assert_soon(sb_world_replay(world.uri, "spent", 0, NULL, NULL, &report, &err) == SB_OK, 30000);
    assert_int_equal(report.generation, 2);
    char *after = sb_world_rows(&world, "spent", 0);
    sb_world_assert_same(live, after, "the replay after them");
    free(live);
    free(after);
    sb_world_close(&world);
}

static void what_postgresql_refuses_is_not_registered(void **state)
{
    (void)state;
    static const struct {
        const char *body, *says;
    } wrong[] = {
        {BY_SQL("1", ADD_SPENT ",\"INSERT INTO {parcels} (stream, nope) SELECT stream, 1 FROM events\""),
         "column \"nope\""},
        {BY_SQL("1",
                ADD_SPENT ",\"INSERT INTO {parcels} (stream, place) SELECT stream, stream FROM events\""),
         "is of type integer"},
        {BY_SQL("1", ADD_SPENT ",\"INSERT INTO {parcels} (stream) SELECT stream FROM events ON CONFLICT "
                               "(carrier) DO NOTHING\""),
         "no unique or exclusion constraint"},
        {BY_SQL("1", ADD_SPENT ",\"UPDATE {parcels} SET place = 1 FORM events\""), "syntax error"}};
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sb_error_t why = SB_ERROR_INIT;
        assert_code(SB_INVALID, sb_world_apply(&world, "spent", wrong[i].body, &why), &why);
        assert_contains(why.message, wrong[i].says);
        assert_contains(why.message, "spent.json");
        assert_contains(why.message, "statement 2");
        assert_string_equal(why.pointer, "/sql");
    }
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM sagabus.artifact WHERE name = 'spent'"), 0);
    assert_ok(sb_world_apply(&world, "spent", BY_SQL("1", ADD_SPENT "," PUT_PARCELS), &err), &err);
    assert_int_equal(sb_world_int(&world, "SELECT count(*) FROM pg_class WHERE relname LIKE 'spent_g%%'"), 0);
    /* the text is a part of what a version is */
    assert_code(SB_MISMATCH, sb_world_apply(&world, "spent", BY_SQL("1", PUT_PARCELS "," ADD_SPENT), &err),
                &err);
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replay_equals_live_for_random_histories),
        cmocka_unit_test(poison_parks_its_stream_only),
        cmocka_unit_test(verify_names_what_is_not_as_its_events_make_it),
        cmocka_unit_test(a_killed_projector_leaves_rows_and_checkpoint_together),
        cmocka_unit_test(a_crash_at_each_stage_of_a_replay_leaves_the_live_view),
        cmocka_unit_test(what_postgresql_refuses_is_not_registered),
    };
    return cmocka_run_group_tests(tests, sb_test_pg_start_hasty, sb_test_pg_stop);
}
