/* Durable publishing by the public call: one event, idempotent by its id.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "sagabus/publisher.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_store_t *store;
    sb_append_result_t result;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.uri));
    assert_ok(sb_catalog_new(&catalog, &fixture.err), &fixture.err);
    assert_ok(
        sb_catalog_apply(catalog, fixture.pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &fixture.err),
        &fixture.err);
    sb_catalog_free(&catalog);
    sb_store_config_t config = {.pg_uri = fixture.uri, .source = "/shop"};
    assert_ok(sb_store_open(&fixture.store, &config, &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_pg_close(&f->pg);
    return 0;
}

static sb_event_t confirmed(const char *order)
{
    return (sb_event_t){.type = SB_SLICE("order.confirmed"),
                        .subject = sb_slice(order),
                        .traceparent = SB_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                        .data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"c-1\"}")};
}

static void an_event_with_an_id_is_there_once(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = confirmed("o-1");
    event.id = sb_uuid_v7();
    assert_ok(sb_publish(f->store, &event, &f->result, &f->err), &f->err);
    assert_int_equal(f->result.outcome, SB_APPENDED);
    assert_int_equal(f->result.version, 1);
    int64_t seq = f->result.first_seq;
    assert_ok(sb_publish(f->store, &event, &f->result, &f->err), &f->err);
    assert_int_equal(f->result.outcome, SB_APPEND_REPEATED);
    assert_int_equal(f->result.first_seq, seq);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE class = 1"), 1);

    event.data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"c-2\"}");
    assert_code(SB_MISMATCH, sb_publish(f->store, &event, &f->result, &f->err), &f->err);
}

static void one_without_an_id_is_another_each_time(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = confirmed("o-2");
    for (int version = 1; version <= 2; version++) {
        assert_ok(sb_publish(f->store, &event, &f->result, &f->err), &f->err);
        assert_int_equal(f->result.outcome, SB_APPENDED);
        assert_int_equal(f->result.version, version);
    }
}

static void what_the_schema_refuses_is_not_published(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = confirmed("o-3");
    event.data = SB_SLICE("{\"order_id\":\"o-3\"}");
    assert_code(SB_INVALID, sb_publish(f->store, &event, &f->result, &f->err), &f->err);
    assert_contains(f->err.pointer, "customer_id");
    event = confirmed("o-3");
    event.type = SB_SLICE("order.unheard_of");
    assert_true(sb_publish(f->store, &event, &f->result, &f->err) != SB_OK);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE class = 1"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_event_with_an_id_is_there_once, setup, teardown),
        cmocka_unit_test_setup_teardown(one_without_an_id_is_another_each_time, setup, teardown),
        cmocka_unit_test_setup_teardown(what_the_schema_refuses_is_not_published, setup, teardown),
    };
    return cmocka_run_group_tests_name("publish", tests, sb_test_pg_start, sb_test_pg_stop);
}
