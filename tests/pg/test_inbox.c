/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/dlq.h"
#include "bus/subscriber/inbox.h"
#include "bus/subscriber/subscriber_internal.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <pthread.h>

#define SUB   "mail"
#define TOPIC "order.events"

static char uri[SB_TEST_URI];
static sb_pg_t *pg;

static int setup(void **state)
{
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

/* Handles it above the position, as one of several lanes does. */
static void handle_above(int64_t epoch, const char *id, int64_t incarnation, int64_t seq)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_part_t part = {.topic = TOPIC, .partition = 0, .epoch = epoch};
    sb_inbox_item_t item = {.source = SB_SLICE("/test"),
                            .id = sb_slice(id),
                            .topic = TOPIC,
                            .incarnation = incarnation,
                            .seq = seq};
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
    handle_above(claim(&old), "e-5", 1, 5);
    sb_inbox_save_t late = save_of(old.epoch, 5, 6);
    assert_int_equal(claim(&newer), old.epoch + 1);
    assert_int_equal(newer.top.seq, 5);
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

/* A restored store counts on from an earlier number: a row of its new life is not passed by a position of the
 * old one, however high that is. */
static void rows_of_another_life_of_the_store_stay_until_their_own_position_passes(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    int64_t epoch = claim(&claimed);
    handle_above(epoch, "old", 1, 150);
    handle_above(epoch, "new", 2, 121);
    assert_int_not_equal(claim(&claimed), epoch);
    assert_int_equal(claimed.top.incarnation, 2);
    assert_int_equal(claimed.top.seq, 121);
    sb_inbox_save_t old = save_of(claimed.epoch, 150, 10);
    assert_ok(sb_inbox_save(pg, SUB, &old, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM inbox"), 1);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM inbox WHERE id = 'new'"), 1);
    sb_inbox_save_t own = save_of(claimed.epoch, 121, 11);
    own.mark.incarnation = 2;
    assert_ok(sb_inbox_save(pg, SUB, &own, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM inbox"), 0);
}

static sb_pg_t *another(const char *name)
{
    sb_pg_t *other = NULL;
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_config_t config = {.uri = uri,
                             .application_name = name,
                             .search_path = SB_TEST_CLIENT_SCHEMA,
                             .statement_timeout_ms = 2500, /* of all, those that must not end by it, too */
                             .idle_in_transaction_ms = 600000};
    assert_ok(sb_pg_open(&other, &config, &err), &err);
    return other;
}

/* As one does that was stopped with SIGSTOP between its handler and its commit. */
static void a_member_that_stands_still_in_a_transaction_does_not_keep_its_partition(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    int64_t ended = 0;
    sb_pg_t *still = another("shop/host/1");
    sb_pg_t *busy = another("shop/host/2");
    assert_ok(sb_inbox_claim(still, SUB, TOPIC, 0, "shop/host/1", "cluster", &claimed, &err), &err);
    sb_inbox_part_t part = {.topic = TOPIC, .partition = 0, .epoch = claimed.epoch};
    sb_inbox_batch_t batch = {.parts = &part, .part_count = 1};
    sb_inbox_save_t late = save_of(claimed.epoch, 5, 6);
    assert_ok(sb_inbox_begin(still, SUB, &batch, &err), &err);
    assert_int_equal(sb_inbox_claim(busy, SUB, TOPIC, 0, "shop/host/2", "cluster", &claimed, &err),
                     SB_TIMEOUT);
    assert_ok(sb_inbox_end_idle(busy, SUB, TOPIC, 0, "shop/host/2", 600000, &ended, &err), &err);
    assert_int_equal(ended, 0); /* it may be slow only */
    assert_ok(sb_inbox_end_idle(busy, SUB, TOPIC, 0, "shop/host/1", 0, &ended, &err), &err);
    assert_int_equal(ended, 0); /* nobody ends his own */
    assert_ok(sb_inbox_end_idle(busy, SUB, TOPIC, 0, "shop/host/2", 10, &ended, &err), &err);
    assert_int_equal(ended, 1);
    assert_soon(sb_inbox_claim(busy, SUB, TOPIC, 0, "shop/host/2", "cluster", &claimed, &err) == SB_OK,
                10000);
    assert_true(sb_inbox_commit(still, SUB, &late, 1, &err) != SB_OK);
    assert_int_equal(sb_test_pg_int(pg, "SELECT seq FROM position"), 0);
    sb_pg_close(&still);
    sb_pg_close(&busy);
}

static void stand_still(sb_pg_t *member, const char *owner, int32_t partition, int64_t *epoch)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    if (!*epoch) {
        assert_ok(sb_inbox_claim(member, SUB, TOPIC, partition, owner, "cluster", &claimed, &err), &err);
        *epoch = claimed.epoch;
    }
    sb_inbox_part_t part = {.topic = TOPIC, .partition = partition, .epoch = *epoch};
    sb_inbox_batch_t batch = {.parts = &part, .part_count = 1};
    assert_ok(sb_inbox_begin(member, SUB, &batch, &err), &err);
    assert_true(part.held);
}

static void end_those_of(sb_pg_t *taker, int32_t partition, int64_t expected, int64_t left)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t ended = 0;
    assert_ok(sb_inbox_end_idle(taker, SUB, TOPIC, partition, "shop/host/2", 0, &ended, &err), &err);
    assert_int_equal(ended, expected);
    assert_soon(sb_test_pg_int(pg, "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                                   "'shop/host/1'") == left,
                10000);
}

/* Some lanes of the member before are slow in partitions that it keeps; one only reads. */
static void only_who_holds_the_partition_is_ended(void **state)
{
    (void)state;
    static const char before[] = "shop/host/1";
    int64_t zero = 0, one = 0;
    sb_pg_t *lane[5];
    for (int i = 0; i < 5; i++)
        lane[i] = another(before);
    sb_pg_t *taker = another("shop/host/2");
    stand_still(lane[0], before, 0, &zero);
    stand_still(lane[1], before, 1, &one);
    sb_test_pg_script(lane[2], "BEGIN; SELECT seq FROM position");
    end_those_of(taker, 0, 1, 4);
    /* Two that hold it together. */
    stand_still(lane[3], before, 0, &zero);
    stand_still(lane[4], before, 0, &zero);
    end_those_of(taker, 0, 2, 2);
    /* One that has moved the position in it; and nobody. */
    sb_test_pg_script(lane[1], "UPDATE position SET seq = 7 WHERE partition = 1");
    end_those_of(taker, 0, 0, 2);
    end_those_of(taker, 1, 1, 1);
    assert_int_equal(sb_test_pg_int(lane[2], "SELECT 1"), 1);
    for (int i = 0; i < 5; i++)
        sb_pg_close(&lane[i]);
    sb_pg_close(&taker);
}

static sb_code_t handle_nothing(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries,
                                size_t count, sb_error_t *err)
{
    (void)context, (void)conn, (void)deliveries, (void)count, (void)err;
    return SB_OK;
}

/* Same group, host and process number, as a container that was started again has them: transactions that the
 * one before left standing are still another member's. */
static void a_member_is_never_taken_for_the_one_before(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    const char *types[] = {"order.*"};
    sb_subscription_t subscription = {
        .name = SUB, .types = types, .type_count = 1, .on_events = handle_nothing};
    sb_subscriber_config_t config = {.group = SUB,
                                     .pg_uri = uri,
                                     .schema = "service",
                                     .subscriptions = &subscription,
                                     .subscription_count = 1};
    sb_subscriber_t *one;
    sb_subscriber_t *other;
    assert_ok(sb_subscriber_open(&one, &config, &err), &err);
    assert_ok(sb_subscriber_open(&other, &config, &err), &err);
    assert_string_not_equal(one->owner, other->owner);
    assert_true(strlen(one->owner) + 1 < sizeof one->owner);
    sb_subscriber_close(&one);
    sb_subscriber_close(&other);
}

/* Whoever takes over before the first record of the new topic is handled has a position: at its beginning. */
static void a_topic_made_anew_is_not_begun_as_if_there_were_no_position(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    sb_inbox_save_t before = save_of(claim(&claimed), 0, 5000);
    before.mark.incarnation = 0;
    assert_ok(sb_inbox_save(pg, SUB, &before, 1, &err), &err);
    assert_ok(sb_inbox_begin_again(pg, SUB, TOPIC, 0, claimed.epoch, &err), &err);
    assert_int_not_equal(claim(&claimed), before.epoch);
    assert_int_equal(claimed.mark.next_offset, 0);
    sb_inbox_save_t first = save_of(claimed.epoch, 0, 1);
    first.mark.incarnation = 0;
    assert_ok(sb_inbox_save(pg, SUB, &first, 1, &err), &err);
    assert_int_equal(sb_test_pg_int(pg, "SELECT next_offset FROM position"), 1);
}

/* On other brokers an offset says nothing; and what had one does not begin at their end. */
static void on_other_brokers_an_offset_is_the_beginning(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_inbox_claim_t claimed;
    sb_inbox_save_t before = save_of(claim(&claimed), 0, 5000);
    assert_int_equal(claimed.mark.next_offset, -1);
    before.mark.incarnation = 0;
    assert_ok(sb_inbox_save(pg, SUB, &before, 1, &err), &err);
    for (int i = 0; i < 2; i++) { /* the first one died before it had read anything */
        assert_ok(sb_inbox_claim(pg, SUB, TOPIC, 0, "me", "others", &claimed, &err), &err);
        assert_int_equal(claimed.other_cluster, i == 0);
        assert_int_equal(claimed.mark.next_offset, 0);
    }
    sb_inbox_save_t known = save_of(claimed.epoch, 7, 1);
    assert_ok(sb_inbox_save(pg, SUB, &known, 1, &err), &err);
    assert_ok(sb_inbox_claim(pg, SUB, TOPIC, 0, "me", "cluster", &claimed, &err), &err);
    assert_int_equal(claimed.mark.seq, 7);
    assert_int_equal(claimed.mark.next_offset, -1);
}

/* ---- releasing keys ---- */

#define HOLD(key)                                                                                            \
    "INSERT INTO quarantine (subscription, topic, key) VALUES ('" SUB "', '" TOPIC "', '" key "');"
#define BURY(key)                                                                                            \
    "INSERT INTO dead_letter (subscription, topic, partition, record_offset, key, reason, held) "            \
    "VALUES ('" SUB "', '" TOPIC "', 0, 0, '" key "', 'failed', true);"
#define LOCK(key) "SELECT FROM quarantine WHERE key = '" key "' FOR UPDATE;"

static void *discard_all(void *context)
{
    sb_code_t *code = context;
    sb_dlq_filter_t filter = {.subscription = SUB};
    int64_t rows;
    int64_t keys;
    sb_error_t why = SB_ERROR_INIT;
    sb_pg_t *own = sb_test_pg_open(uri);
    sb_test_pg_script(own, "SET search_path = " SB_TEST_CLIENT_SCHEMA);
    *code = sb_dlq_discard(own, &filter, "test", &rows, &keys, &why);
    sb_pg_close(&own);
    return NULL;
}

/* Since when a statement waits for a lock; 0: none does. */
static int64_t waits_since(void)
{
    return sb_test_pg_int(pg,
                          "SELECT coalesce(max(extract(epoch FROM query_start) * 1000000), 0)::bigint FROM "
                          "pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()");
}

/* A key that is held back while a discard waits for another one is not in its lock; a member that adds behind
 * it just then must not find it freed. */
static void a_key_that_came_in_the_midst_of_a_discard_is_not_freed_under_its_member(void **state)
{
    (void)state;
    pthread_t thread;
    sb_code_t code = SB_INTERNAL;
    sb_pg_t *first = sb_test_pg_open(uri);
    sb_pg_t *member = sb_test_pg_open(uri);
    sb_test_pg_script(first, "SET search_path = " SB_TEST_CLIENT_SCHEMA);
    sb_test_pg_script(member, "SET search_path = " SB_TEST_CLIENT_SCHEMA);
    sb_test_pg_script(pg, HOLD("a") BURY("a"));
    sb_test_pg_script(first, "BEGIN;" LOCK("a"));
    assert_int_equal(pthread_create(&thread, NULL, discard_all, &code), 0);
    assert_soon(waits_since() > 0, 20000); /* for key a */
    int64_t since = waits_since();
    sb_test_pg_script(pg, HOLD("b") BURY("b"));
    sb_test_pg_script(member, "BEGIN;" LOCK("b") BURY("b"));
    sb_test_pg_script(first, "COMMIT");
    assert_soon(waits_since() > since, 20000); /* for key b */
    sb_test_pg_script(member, "COMMIT");
    (void)pthread_join(thread, NULL);
    assert_int_equal(code, SB_OK);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM quarantine WHERE key = 'a'"), 0);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM dead_letter WHERE held AND ended IS NULL"), 1);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM quarantine WHERE key = 'b'"), 1);
    sb_pg_close(&first);
    sb_pg_close(&member);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_member_that_lost_the_partition_deletes_no_row),
        CASE(a_position_never_goes_back),
        CASE(rows_of_another_life_of_the_store_stay_until_their_own_position_passes),
        CASE(a_member_that_stands_still_in_a_transaction_does_not_keep_its_partition),
        CASE(only_who_holds_the_partition_is_ended),
        CASE(a_member_is_never_taken_for_the_one_before),
        CASE(a_topic_made_anew_is_not_begun_as_if_there_were_no_position),
        CASE(on_other_brokers_an_offset_is_the_beginning),
        CASE(a_key_that_came_in_the_midst_of_a_discard_is_not_freed_under_its_member),
    };
    return cmocka_run_group_tests_name("inbox", tests, sb_test_pg_start, sb_test_pg_stop);
}
