/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/inbox.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#define SUB   "mail"
#define TOPIC "order.events"

static sb_pg_t *pg;

static int setup(void **state)
{
    char uri[SB_TEST_URI];
    (void)state;
    pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    sb_test_pg_script(pg, "SET search_path = " SB_TEST_CLIENT_SCHEMA);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sb_pg_close(&pg);
    return 0;
}

static int64_t claim(sb_inbox_claim_t *out)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_inbox_claim(pg, SUB, TOPIC, 0, "me", "cluster", out, &err), &err);
    return out->epoch;
}

static sb_inbox_save_t save_of(int64_t epoch, int64_t seq, int64_t next_offset)
{
    return (sb_inbox_save_t){
        .topic = TOPIC, .partition = 0, .epoch = epoch, .mark = {1, seq, next_offset}, .pass = true};
}

/* Handles seq 5 above the position, as one of several lanes does. */
static void handle_above(int64_t epoch)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_part_t part = {.topic = TOPIC, .partition = 0, .epoch = epoch};
    sb_inbox_item_t item = {SB_SLICE("/test"), SB_SLICE("e-5"), TOPIC, 0, 5, false};
    sb_inbox_batch_t batch = {.parts = &part, .part_count = 1, .items = &item, .item_count = 1};
    assert_ok(sb_inbox_begin(pg, SUB, &batch, &err), &err);
    assert_true(part.held && item.is_new);
    assert_ok(sb_inbox_commit(pg, SUB, NULL, 0, &err), &err);
}

static void a_member_that_lost_the_partition_deletes_no_row(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t old;
    sb_inbox_claim_t newer;
    handle_above(claim(&old));
    sb_inbox_save_t late = save_of(old.epoch, 5, 6);
    assert_int_equal(claim(&newer), old.epoch + 1);
    assert_int_equal(newer.inbox_seq, 5);
    assert_ok(sb_inbox_save(pg, SUB, &late, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM inbox"), 1);
    assert_int_equal(sb_test_pg_int(pg, "SELECT seq FROM position"), 0);
    sb_inbox_save_t own = save_of(newer.epoch, 5, 6);
    assert_ok(sb_inbox_save(pg, SUB, &own, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM inbox"), 0);
    assert_int_equal(sb_test_pg_int(pg, "SELECT seq FROM position"), 5);
}

/* Of a commit whose answer was lost the member knows nothing, and saves where it stood before. */
static void a_position_never_goes_back(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    sb_inbox_save_t done = save_of(claim(&claimed), 10, 11);
    sb_inbox_save_t before = save_of(claimed.epoch, 5, 6);
    assert_ok(sb_inbox_save(pg, SUB, &done, 1, &err), &err);
    assert_ok(sb_inbox_save(pg, SUB, &before, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT seq FROM position"), 10);
    before.mark = (sb_inbox_mark_t){2, 3, 1}; /* another life of the store is further */
    assert_ok(sb_inbox_save(pg, SUB, &before, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT incarnation * 100 + seq FROM position"), 203);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_member_that_lost_the_partition_deletes_no_row),
        CASE(a_position_never_goes_back),
    };
    return cmocka_run_group_tests_name("inbox", tests, sb_test_pg_start, sb_test_pg_stop);
}
