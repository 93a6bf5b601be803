/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "tests/pg/view_world.h"

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
    assert_ok(sb_view_read(reader, query, &out, &err), &err);
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
    sb_view_filter_t filter = {SB_SLICE("customer_id"), SB_SLICE("c-3")};
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
    assert_code(SB_INVALID, sb_view_read(reader, &query, &out, &err), &err);
    assert_contains(err.message, "no index");
    filter.column = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL), SB_INVALID);
    query.filter_count = 0;
    query.limit = 0;
    assert_int_equal(sb_view_read(reader, &query, &out, NULL), SB_INVALID);
    query.limit = 10;
    query.view = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL), SB_NOT_FOUND);
    query.view = SB_SLICE("order_summary");
    query.table = SB_SLICE("nope");
    assert_int_equal(sb_view_read(reader, &query, &out, NULL), SB_NOT_FOUND);
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
    sb_view_reader_t *reader = open_reader(&world);
    assert_ok(sb_view_read_key(reader, SB_SLICE("order_summary"), SB_SLICE_NONE, SB_SLICE("o/1"), &out, &err),
              &err);
    assert_string_equal(sb_buf_text(&out),
                        "{\"order_id\":\"o/1\",\"customer_id\":\"c\",\"status\":\"pending\",\"amount\":1500,"
                        "\"currency\":\"EUR\",\"cancel_reason\":null,\"created_at\":\"2026-"
                        "11-21T05:19:35.500000Z\","
                        "\"updated_at\":\"2026-11-21T05:19:35.500000Z\",\"carrier\":null}");
    assert_int_equal(
        sb_view_read_key(reader, SB_SLICE("order_summary"), SB_SLICE_NONE, SB_SLICE("o/2"), &out, NULL),
        SB_NOT_FOUND);
    sb_buf_fini(&out);
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
    assert_int_equal(seen.count, 2);
    assert_string_equal(seen.state, "new");
    assert_int_equal(seen.info.newest_version, 1);
    sb_world_append(&world, 5, 200, 20, 50);
    int64_t safe = sb_world_safe(&world);
    sb_world_start(&world, &p, "owner-1", 100);
    assert_soon(sb_world_is_at(&world, "order_summary", safe), 10000);
    assert_ok(sb_view_list(reader, SB_SLICE("order_summary"), see, &seen, &err), &err);
    assert_int_equal(seen.count, 3);
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
                   "/tables/0/on/order.created", "order.created version 1, its newest, has no field /amout");
    /* version 1 has it, but its events are brought to version 2 */
    assert_refused(world.catalog, VIEW("t", "{\"order.shipped\":{\"set\":{\"n\":\"/carrier\"}}}"),
                   "/tables/0/on/order.shipped",
                   "order.shipped version 2, its newest, has no field /carrier");
    assert_refused(world.catalog, VIEW("order_summary", "{\"order.created\":{\"add\":{\"n\":\"/amount\"}}}"),
                   "/tables/0/name", "is view order_summary's");
    sb_world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_follow_the_key_to_the_end),
        cmocka_unit_test(filters_use_indexed_columns_only),
        cmocka_unit_test(a_row_is_read_by_its_key),
        cmocka_unit_test(the_list_says_how_each_view_stands),
        cmocka_unit_test(a_view_is_checked_against_the_schemas),
    };
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
