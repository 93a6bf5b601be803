/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "events/view/view_zone.h"
#include "tests/pg/view_world.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static sb_view_reader_t *open_reader(sb_world_t *world)
{
    sb_view_reader_t *reader = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_view_reader_new(&reader, world->pg, world->catalog, &err), &err);
    return reader;
}

static json_t *read_page(sb_view_reader_t *reader, const sb_view_query_t *query)
{
    sb_buf_t out = SB_BUF_INIT;
    json_t *page = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_view_read(reader, query, &out, NULL, &err), &err);
    assert_ok(sb_json_parse(&page, sb_buf_slice(&out), "a page", &err), &err);
    sb_buf_fini(&out);
    return page;
}

static void pages_follow_the_key_to_the_end(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    sb_world_append(&world, 1, 900, 100, 0);
    sb_world_project(&world, 100);
    sb_view_reader_t *reader = open_reader(&world);
    int64_t want = sb_test_pg_int(world.pg, "SELECT count(*) FROM sagabus_view.order_summary");
    int64_t seen = 0;
    char last[64] = "";
    char cursor[64] = "";
    bool more = true;
    while (more) {
        sb_view_query_t query = {.view = SB_SLICE("order_summary"), .limit = 7};
        query.cursor = cursor[0] ? sb_slice(cursor) : SB_SLICE_NONE;
        json_t *page = read_page(reader, &query);
        const json_t *items = json_object_get(page, "items");
        for (size_t i = 0; i < json_array_size(items); i++) {
            const char *key = json_string_value(json_object_get(json_array_get(items, i), "order_id"));
            assert_true(strcmp(key, last) > 0);
            (void)snprintf(last, sizeof last, "%s", key);
            seen++;
        }
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        more = next != NULL;
        (void)snprintf(cursor, sizeof cursor, "%s", more ? next : "");
        assert_int_equal(json_integer_value(json_object_get(page, "generation")), 1);
        assert_int_equal(json_integer_value(json_object_get(page, "seq")), sb_world_safe(&world));
        json_decref(page);
    }
    assert_int_equal(seen, want);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

static void filters_use_indexed_columns_only(void **state)
{
    (void)state;
    sb_world_t world;
    sb_buf_t out = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    sb_world_append(&world, 2, 400, 60, 0);
    sb_world_project(&world, 100);
    sb_view_reader_t *reader = open_reader(&world);
    sb_view_filter_t filter = {SB_SLICE("customer_id"), SB_VIEW_IS, SB_SLICE("c-3")};
    sb_view_query_t query = {
        .view = SB_SLICE("order_summary"), .filters = &filter, .filter_count = 1, .limit = 500};
    json_t *page = read_page(reader, &query);
    const json_t *items = json_object_get(page, "items");
    assert_int_equal(
        json_array_size(items),
        sb_test_pg_int(world.pg,
                       "SELECT count(*) FROM sagabus_view.order_summary WHERE customer_id = 'c-3'"));
    assert_true(json_array_size(items) > 0);
    json_decref(page);
    filter.column = SB_SLICE("status");
    assert_code(SB_INVALID, sb_view_read(reader, &query, &out, NULL, &err), &err);
    assert_contains(err.message, "no index");
    filter.column = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL, NULL), SB_INVALID);
    query.filter_count = 0;
    query.limit = 0;
    assert_int_equal(sb_view_read(reader, &query, &out, NULL, NULL), SB_INVALID);
    query.limit = 10;
    query.view = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL, NULL), SB_NOT_FOUND);
    query.view = SB_SLICE("order_summary");
    query.table = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL, NULL), SB_NOT_FOUND);
    sb_buf_fini(&out);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

static void a_row_is_read_by_its_key(void **state)
{
    (void)state;
    sb_world_t world;
    sb_buf_t out = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'o/1');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, at, data) SELECT s.stream_no, "
        "1, t.type_no, 1, gen_random_uuid(), '2026-11-21T05:19:35.5Z', "
        "'{\"customer_id\":\"c\",\"amount\":1500,\"currency\":\"EUR\"}' FROM sagabus.stream s, "
        "sagabus.event_type t WHERE t.name = 'order.created'");
    sb_world_project(&world, 100);
    sb_view_query_t query = {.view = SB_SLICE("order_summary")};
    sb_view_reader_t *reader = open_reader(&world);
    assert_ok(sb_view_read_key(reader, &query, SB_SLICE("o/1"), &out, NULL, &err), &err);
    assert_string_equal(sb_buf_text(&out),
                        "{\"order_id\":\"o/1\",\"customer_id\":\"c\",\"status\":\"pending\",\"amount\":1500,"
                        "\"currency\":\"EUR\",\"cancel_reason\":null,\"created_at\":\"2026-"
                        "11-21T05:19:35.500000Z\","
                        "\"updated_at\":\"2026-11-21T05:19:35.500000Z\",\"carrier\":null}");
    assert_int_equal(sb_view_read_key(reader, &query, SB_SLICE("o/2"), &out, NULL, NULL), SB_NOT_FOUND);
    sb_buf_fini(&out);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

/* ---- order, ranges, fields ---- */

/* Every page of a query, keys only, as one text. */
static char *walk(sb_view_reader_t *reader, sb_view_query_t query)
{
    char cursor[200] = "";
    sb_buf_t keys = SB_BUF_INIT;
    for (bool more = true; more;) {
        query.cursor = cursor[0] ? sb_slice(cursor) : SB_SLICE_NONE;
        json_t *page = read_page(reader, &query);
        const json_t *items = json_object_get(page, "items");
        for (size_t i = 0; i < json_array_size(items); i++)
            sb_buf_printf(&keys, "%s,",
                          json_string_value(json_object_get(json_array_get(items, i), "order_id")));
        const char *next = json_string_value(json_object_get(page, "next_cursor"));
        more = next != NULL;
        (void)snprintf(cursor, sizeof cursor, "%s", more ? next : "");
        json_decref(page);
    }
    char *text = strdup(sb_buf_text(&keys));
    sb_buf_fini(&keys);
    assert_non_null(text);
    return text;
}

static void assert_walk(sb_view_reader_t *reader, sb_pg_t *pg, const sb_view_query_t *query, const char *sql)
{
    sb_pg_result_t *result = NULL;
    sb_pg_params_t none = SB_PG_PARAMS_INIT;
    sb_error_t err = SB_ERROR_INIT;
    char *have = walk(reader, *query);
    assert_ok(sb_pg_query_once(pg, sql, &none, &result, &err), &err);
    assert_string_equal(have, sb_pg_get_text(result, 0, 0));
    sb_pg_result_free(result);
    free(have);
}

#define KEYS(order)                                                                                          \
    "SELECT string_agg(order_id || ',', '' ORDER BY " order ") FROM sagabus_view.order_summary"

static void pages_follow_any_index_both_ways(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    sb_world_append(&world, 8, 300, 60, 0); /* some orders have no order.created, so no customer */
    sb_world_project(&world, 100);
    sb_view_reader_t *reader = open_reader(&world);
    assert_true(sb_test_pg_int(world.pg,
                               "SELECT count(*) FROM sagabus_view.order_summary WHERE customer_id IS NULL") >
                2);
    static const int limits[] = {1, 3, 50, 500};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        sb_view_query_t query = {.view = SB_SLICE("order_summary"), .limit = limits[i]};
        query.sort = SB_SLICE("customer_id");
        assert_walk(reader, world.pg, &query, KEYS("customer_id, order_id"));
        query.sort = SB_SLICE("-customer_id");
        assert_walk(reader, world.pg, &query, KEYS("customer_id DESC, order_id DESC"));
        query.sort = SB_SLICE("-order_id");
        assert_walk(reader, world.pg, &query, KEYS("order_id DESC"));
        sb_view_filter_t range[] = {{SB_SLICE("customer_id"), SB_VIEW_FROM, SB_SLICE("c-11")},
                                    {SB_SLICE("order_id"), SB_VIEW_BELOW, SB_SLICE("o-4")}};
        query.filters = range;
        query.filter_count = 2;
        query.sort = SB_SLICE("-customer_id");
        assert_walk(
            reader, world.pg, &query,
            KEYS("customer_id DESC, order_id DESC") " WHERE customer_id >= 'c-11' AND order_id < 'o-4'");
    }
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

static void a_page_shows_what_was_asked_for(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t out = SB_BUF_INIT;
    sb_hash_t first;
    sb_hash_t second;
    sb_world_open(&world);
    sb_world_append(&world, 9, 100, 20, 0);
    sb_world_project(&world, 100);
    sb_view_reader_t *reader = open_reader(&world);
    sb_view_query_t query = {.view = SB_SLICE("order_summary"),
                             .limit = 2,
                             .fields = SB_SLICE("status,order_id"),
                             .link = SB_SLICE("/v1/views/order_summary?limit=2")};
    json_t *page = read_page(reader, &query);
    const json_t *row = json_array_get(json_object_get(page, "items"), 0);
    assert_int_equal(json_object_size(row), 2);
    assert_non_null(json_object_get(row, "status"));
    const json_t *links = json_object_get(page, "links");
    assert_string_equal(json_string_value(json_object_get(links, "self")), "/v1/views/order_summary?limit=2");
    assert_string_equal(json_string_value(json_object_get(links, "next")),
                        "/v1/views/order_summary?limit=2&cursor=o-10");
    json_decref(page);
    query.after_seq = sb_world_safe(&world);
    assert_ok(sb_view_read(reader, &query, &out, &first, &err), &err);
    query.after_seq++;
    assert_code(SB_TIMEOUT, sb_view_read(reader, &query, &out, NULL, &err), &err);
    query.after_seq = 0;
    sb_test_pg_script(world.pg,
                      "UPDATE sagabus.lease SET cursor = cursor + 5 WHERE role = 'view:order_summary'");
    assert_ok(sb_view_read(reader, &query, &out, &second, &err), &err);
    assert_memory_equal(first.byte, second.byte, sizeof first.byte); /* of the rows, not of the place */
    sb_test_pg_script(world.pg, "UPDATE sagabus_view.order_summary_g1 SET status = 'odd'");
    assert_ok(sb_view_read(reader, &query, &out, &second, &err), &err);
    assert_memory_not_equal(first.byte, second.byte, sizeof first.byte);
    static const struct {
        const char *sort, *fields, *cursor, *part;
    } wrong[] = {{"amount", NULL, NULL, "no index"},
                 {"amount", NULL, NULL, "those with one: order_id, customer_id"},
                 {"nope", NULL, NULL, "no column"},
                 {NULL, "status,nope", NULL, "no column \"nope\"; it has order_id, customer_id, status"},
                 {NULL, "", NULL, "no column"},
                 {"customer_id", NULL, "o-1", "cursor"},
                 {"customer_id", NULL, "[1]", "cursor"},
                 {"customer_id", NULL, "[\"x\",null]", "cursor"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sb_view_query_t bad = {.view = SB_SLICE("order_summary"),
                               .limit = 2,
                               .sort = sb_slice(wrong[i].sort),
                               .fields = sb_slice(wrong[i].fields),
                               .cursor = sb_slice(wrong[i].cursor)};
        sb_error_clear(&err);
        assert_code(SB_INVALID, sb_view_read(reader, &bad, &out, NULL, &err), &err);
        assert_contains(err.message, wrong[i].part);
    }
    sb_buf_fini(&out);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

/* ---- parked ---- */

static sb_code_t count_parked(void *context, const sb_view_parked_info_t *parked, sb_error_t *err)
{
    (void)err;
    assert_true(parked->seq > 0 && parked->error[0] && parked->at_us > 0);
    ++*(int *)context;
    return SB_OK;
}

/* The carry is kept by the number of the stream, which nobody knows. */
static sb_code_t count_carried(void *context, const sb_view_parked_info_t *parked, sb_error_t *err)
{
    (void)err;
    if (strcmp(parked->table, "customer_orders_carry") == 0) {
        assert_memory_equal(parked->key, "order/o-", 8);
        ++*(int *)context;
    }
    return SB_OK;
}

static void a_parked_key_is_listed_and_its_row_says_so(void **state)
{
    (void)state;
    sb_world_t world;
    sb_error_t err = SB_ERROR_INIT;
    int64_t next = 0;
    int count = 0;
    sb_world_open(&world);
    sb_world_append(&world, 5, 300, 20, 40);
    sb_world_project(&world, 100);
    sb_view_reader_t *reader = open_reader(&world);
    do
        assert_ok(
            sb_view_parked(reader, SB_SLICE("order_summary"), next, 2, count_parked, &count, &next, &err),
            &err);
    while (next);
    assert_int_equal(count, sb_test_pg_int(world.pg, "SELECT count(*) FROM sagabus.view_parked WHERE view = "
                                                     "'order_summary'"));
    assert_true(count > 2);
    assert_int_equal(
        sb_test_pg_int(world.pg,
                       "SELECT count(*) FROM sagabus_view.order_summary v FULL JOIN sagabus.view_parked p "
                       "ON p.view = 'order_summary' AND p.key = v.order_id WHERE p.view IS DISTINCT FROM "
                       "'customer_orders' AND p.view IS DISTINCT FROM 'payments_daily' AND v.order_id IS NOT "
                       "NULL AND v.dirty IS DISTINCT FROM (p.key IS NOT NULL)"),
        0);
    count = 0;
    assert_ok(sb_view_parked(reader, SB_SLICE("customer_orders"), 0, 500, count_carried, &count, &next, &err),
              &err);
    assert_true(count > 0);
    sb_view_query_t query = {.view = SB_SLICE("order_summary"), .limit = 500};
    json_t *page = read_page(reader, &query);
    int64_t dirty = 0;
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(page, "items"), i, row) dirty +=
        json_is_true(json_object_get(row, "dirty"));
    assert_int_equal(dirty,
                     sb_test_pg_int(world.pg, "SELECT count(*) FROM sagabus_view.order_summary WHERE dirty"));
    assert_true(dirty > 0);
    json_decref(page);
    assert_code(SB_NOT_FOUND, sb_view_parked(reader, SB_SLICE("no"), 0, 2, count_parked, &count, &next, &err),
                &err);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

/* ---- list ---- */

typedef struct seen {
    int count;
    sb_view_info_t info; /* of the last one; texts below */
    char state[32];
    char owner[32];
} seen_t;

static sb_code_t see(void *context, const sb_view_info_t *info, sb_error_t *err)
{
    seen_t *seen = context;
    (void)err;
    seen->count++;
    seen->info = *info;
    (void)snprintf(seen->state, sizeof seen->state, "%s", info->state);
    (void)snprintf(seen->owner, sizeof seen->owner, "%s", info->owner);
    return SB_OK;
}

static void the_list_says_how_each_view_stands(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_projector_t p;
    sb_error_t err = SB_ERROR_INIT;
    seen_t seen = {0};
    sb_world_open(&world);
    sb_view_reader_t *reader = open_reader(&world);
    assert_ok(sb_view_list(reader, SB_SLICE_NONE, see, &seen, &err), &err);
    assert_int_equal(seen.count, SB_WORLD_VIEWS);
    assert_string_equal(seen.state, "new");
    assert_int_equal(seen.info.newest_version, 1);
    sb_world_append(&world, 5, 200, 20, 50);
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "owner-1", 100);
    assert_soon(sb_world_is_at(&world, "order_summary", safe), 10000);
    assert_ok(sb_view_list(reader, SB_SLICE("order_summary"), see, &seen, &err), &err);
    assert_int_equal(seen.count, SB_WORLD_VIEWS + 1);
    assert_string_equal(seen.state, "live");
    assert_string_equal(seen.owner, "owner-1");
    assert_int_equal(seen.info.generation, 1);
    assert_int_equal(seen.info.seq, safe);
    assert_int_equal(seen.info.lag_events, 0);
    assert_int_equal(seen.info.lag_ms, 0);
    assert_true(seen.info.parked > 0);
    sb_world_stop(&p);
    sb_world_append(&world, 6, 30, 20, 0);
    assert_ok(sb_view_list(reader, SB_SLICE("order_summary"), see, &seen, &err), &err);
    assert_string_equal(seen.state, "ownerless");
    assert_true(seen.info.lag_events >= 30);
    assert_true(seen.info.lag_ms > 0);
    assert_false(seen.info.outdated);
    sb_test_pg_script(
        world.pg, "INSERT INTO sagabus.event_type (name, version) VALUES ('order.confirmed', 2);"
                  "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'event', "
                  "'order.confirmed', 2, sha256(b), "
                  "b FROM (SELECT "
                  "convert_to('{\"schema\":{\"type\":\"object\"},\"type\":\"order.confirmed\",\"version\":2,"
                  "\"x-upcast\":[{\"drop\":{\"at\":\"/customer_id\"}}]}', 'UTF8') AS b) x");
    assert_ok(sb_view_list(reader, SB_SLICE("order_summary"), see, &seen, &err), &err);
    assert_true(seen.info.outdated); /* rows of before follow version 1 */
    assert_ok(sb_view_list(reader, SB_SLICE("payments_daily"), see, &seen, &err), &err);
    assert_false(seen.info.outdated);
    assert_int_equal(sb_view_list(reader, SB_SLICE("nope"), see, &seen, NULL), SB_NOT_FOUND);
    sb_view_reader_free(&reader);
    sb_world_close(&world);
}

/* ---- the check against the catalog ---- */

static void assert_refused(const sb_catalog_t *catalog, const char *text, const char *pointer,
                           const char *part)
{
    json_t *body = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&body, sb_slice(text), "view", &err), &err);
    assert_code(SB_INVALID, sb_view_check(body, catalog, &err), &err);
    assert_string_equal(err.pointer, pointer);
    assert_contains(err.message, part);
    json_decref(body);
}

#define VIEW(table, on)                                                                                      \
    "{\"view\":\"v\",\"version\":1,\"tables\":[{\"name\":\"" table "\",\"key\":{\"column\":\"id\",\"type\":" \
    "\"text\",\"from\":\"/order_id\"},\"columns\":[{\"name\":\"n\",\"type\":\"int8\"}],\"on\":" on "}]}"

static void a_view_is_checked_against_the_schemas(void **state)
{
    (void)state;
    sb_world_t world;
    sb_world_open(&world);
    assert_refused(world.catalog, VIEW("t", "{\"order.creatd\":{\"count\":[\"n\"]}}"),
                   "/tables/0/on/order.creatd", "no event type order.creatd");
    assert_refused(world.catalog, VIEW("t", "{\"order.created\":{\"add\":{\"n\":\"/amout\"}}}"),
                   "/tables/0/on/order.created/add/n",
                   "order.created version 1, its newest, has no field /amout");
    assert_refused(world.catalog, VIEW("t", "{\"order.created\":{\"add\":{\"n\":\"/currency\"}}}"),
                   "/tables/0/on/order.created/add/n",
                   "/currency of order.created version 1 is string, here it is read as int8");
    assert_refused(world.catalog,
                   VIEW("t", "{\"order.created\":{\"count\":[\"n\"],\"when\":{\"pointer\":\"/amount\","
                             "\"operator\":\"==\",\"value\":\"5\"}}}"),
                   "/tables/0/on/order.created/when", "is integer, here it is read as text");
    /* version 1 has it, but its events are brought to version 2 */
    assert_refused(world.catalog, VIEW("t", "{\"order.shipped\":{\"set\":{\"n\":\"/carrier\"}}}"),
                   "/tables/0/on/order.shipped/set/n",
                   "order.shipped version 2, its newest, has no field /carrier");
    assert_refused(world.catalog, VIEW("order_summary", "{\"order.created\":{\"add\":{\"n\":\"/amount\"}}}"),
                   "/tables/0/name", "is view order_summary's");
    sb_world_close(&world);
}

/* ---- values beside PostgreSQL's own ---- */

/* What PostgreSQL says the offset is, against ours, at the edges and at random times. */
static void assert_zone(sb_pg_t *pg, const sb_view_zone_t *zone, int random_times)
{
    static const char ask[] =
        "SELECT count(*), min(u.at) FROM unnest($2::bigint[], $3::int[], $4::int[]) AS u (at, shift, day) "
        "CROSS JOIN LATERAL (SELECT to_timestamp(u.at) AT TIME ZONE $1::text AS local) l "
        "WHERE extract(epoch FROM l.local) - u.at <> u.shift OR l.local::date - date '1970-01-01' <> u.day";
    sb_pg_array_t at;
    sb_pg_array_t shift;
    sb_pg_array_t day;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *result = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_array_init(&at, SB_PG_INT8);
    sb_pg_array_init(&shift, SB_PG_INT4);
    sb_pg_array_init(&day, SB_PG_INT4);
    uint64_t random = 88172645463325252u;
    for (int i = 0; i < zone->count * 3 + random_times; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        int64_t seconds = (int64_t)(random % 25000000000u) - INT64_C(4000000000); /* the years 1843 to 2635 */
        if (i < zone->count * 3)
            seconds = zone->at[i / 3] + i % 3 - 1;
        if (i < 3)
            continue; /* the beginning of time */
        sb_pg_array_add_int8(&at, seconds);
        sb_pg_array_add_int4(&shift, sb_view_zone_offset(zone, seconds));
        sb_pg_array_add_int4(&day, (int32_t)sb_view_zone_day(zone, seconds * 1000000 + 999999));
    }
    sb_pg_add_text(&params, zone->name);
    sb_pg_add_array(&params, &at);
    sb_pg_add_array(&params, &shift);
    sb_pg_add_array(&params, &day);
    assert_ok(sb_pg_query(pg, ask, &params, &result, &err), &err);
    if (sb_pg_get_int(result, 0, 0) != 0)
        fail_msg("%s: %" PRId64 " of %d differ, the first at %" PRId64, zone->name,
                 sb_pg_get_int(result, 0, 0), at.count, sb_pg_get_int(result, 0, 1));
    sb_pg_result_free(result);
    sb_pg_array_fini(&at);
    sb_pg_array_fini(&shift);
    sb_pg_array_fini(&day);
}

/* North, south, at midnight and a minute past it, by half an hour, on other calendars, a day that never was.
 */
static void time_zones_are_postgresqls(void **state)
{
    (void)state;
    static const char some[] =
        "SELECT unnest(ARRAY['UTC', 'Europe/Berlin', 'Europe/Dublin', 'America/New_York', "
        "'America/St_Johns', "
        "'America/Sao_Paulo', 'America/Santiago', 'Australia/Lord_Howe', 'Asia/Kathmandu', 'Asia/Tehran', "
        "'Africa/Casablanca', 'Africa/Cairo', 'Asia/Gaza', 'Pacific/Apia', 'Pacific/Kiritimati', "
        "'America/Nuuk', "
        "'Antarctica/Troll', 'Asia/Pyongyang', 'Etc/GMT+12', 'Africa/Monrovia', 'Antarctica/Casey'])";
    static const char all[] =
        "SELECT name FROM pg_timezone_names WHERE name !~ '^(posix|right|posixrules|local)' "
        "AND upper(name) NOT IN (SELECT abbrev FROM pg_timezone_abbrevs) AND name <> 'Factory' "
        "ORDER BY name"; /* an abbreviation (CET) is a fixed offset to AT TIME ZONE */
    sb_world_t world;
    sb_pg_result_t *names = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_world_open(&world);
    assert_ok(sb_pg_query(world.pg, getenv("SB_TEST_LONG") ? all : some, NULL, &names, &err), &err);
    assert_true(sb_pg_rows(names) > 15);
    for (int i = 0; i < sb_pg_rows(names); i++) {
        sb_view_zone_t zone;
        assert_ok(sb_view_zone_load(&zone, sb_pg_get_text(names, i, 0), &err), &err);
        assert_zone(world.pg, &zone, 500);
        sb_view_zone_fini(&zone);
    }
    sb_pg_result_free(names);
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_follow_the_key_to_the_end),
        cmocka_unit_test(filters_use_indexed_columns_only),
        cmocka_unit_test(a_row_is_read_by_its_key),
        cmocka_unit_test(pages_follow_any_index_both_ways),
        cmocka_unit_test(a_page_shows_what_was_asked_for),
        cmocka_unit_test(a_parked_key_is_listed_and_its_row_says_so),
        cmocka_unit_test(the_list_says_how_each_view_stands),
        cmocka_unit_test(a_view_is_checked_against_the_schemas),
        cmocka_unit_test(time_zones_are_postgresqls),
    };
    return cmocka_run_group_tests(tests, sb_test_pg_start_hasty, sb_test_pg_stop);
}
