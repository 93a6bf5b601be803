/* The answer of an append is lost on the way; whoever asks again with the same command id gets exactly one
 * set of events, and the first answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "sagabus/store.h"
#include "tests/support/assert.h"
#include "tests/support/proxy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    char direct_uri[SB_TEST_URI];
    char uri[SB_TEST_URI]; /* by way of the proxy */
    sb_pg_t *pg;
    sb_test_proxy_t *proxy;
    sb_store_t *store; /* by way of the proxy */
    sb_append_result_t result;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void apply_schemas(sb_pg_t *pg)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(sb_catalog_apply(catalog, pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &err), &err);
    sb_catalog_free(&catalog);
}

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.direct_uri));
    apply_schemas(fixture.pg);
    sb_test_proxy_open(&fixture.proxy);
    sb_store_config_t config = {.pg_uri = sb_test_proxy_uri(fixture.proxy, fixture.direct_uri, fixture.uri)};
    assert_ok(sb_store_open(&fixture.store, &config, &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_pg_close(&f->pg);
    sb_test_proxy_close(&f->proxy);
    return 0;
}

#define BODY  "{\"order_id\":\"o-1\",\"customer_id\":\"c-1\"}"
#define COUNT 3

typedef struct request {
    sb_event_t events[COUNT];
    sb_append_t append;
} request_t;

static void fill(request_t *request, const char *key, sb_expect_t expect, int version)
{
    for (int i = 0; i < COUNT; i++)
        request->events[i] = (sb_event_t){.type = SB_SLICE("order.confirmed"), .data = SB_SLICE(BODY)};
    request->append = (sb_append_t){.category = SB_SLICE("order"),
                                    .key = sb_slice(key),
                                    .expect = expect,
                                    .expected_version = version,
                                    .command_id = sb_uuid_v7(),
                                    .events = request->events,
                                    .count = COUNT};
}

static int64_t events_of(fixture_t *f, const char *key)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&params, key);
    assert_ok(sb_pg_query(f->pg,
                          "SELECT count(*) FROM sagabus.event JOIN sagabus.stream s USING (stream_no) WHERE "
                          "s.key = $1::text",
                          &params, &rows, &f->err),
              &f->err);
    int64_t count = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return count;
}

/* Sends a request whose commit meets the act, then again. */
static void lose_and_ask_again(fixture_t *f, const char *key, sb_expect_t expect, int version,
                               const sb_proxy_rule_t *rule)
{
    request_t request;
    int hits = sb_test_proxy_hits(f->proxy);
    int64_t before = events_of(f, key);
    fill(&request, key, expect, version);
    sb_test_proxy_rule(f->proxy, rule);
    sb_error_clear(&f->err);
    assert_code(SB_UNKNOWN_OUTCOME, sb_store_append(f->store, &request.append, &f->result, &f->err), &f->err);
    assert_contains(f->err.message, key);
    assert_int_equal(sb_test_proxy_hits(f->proxy), hits + 1);

    sb_error_clear(&f->err);
    assert_ok(sb_store_append(f->store, &request.append, &f->result, &f->err), &f->err);
    if (rule->act == SB_PROXY_CUT_ANSWERED)
        assert_int_equal(f->result.outcome, SB_APPEND_REPEATED);
    if (rule->act == SB_PROXY_CUT_BEFORE)
        assert_int_equal(f->result.outcome, SB_APPENDED);
    assert_int_not_equal(f->result.outcome, SB_APPEND_CONFLICT);
    assert_int_equal(f->result.version, version + COUNT);
    assert_int_equal(f->result.last_seq - f->result.first_seq, COUNT - 1);
    assert_int_equal(events_of(f, key), before + COUNT);

    sb_append_result_t again;
    assert_ok(sb_store_append(f->store, &request.append, &again, &f->err), &f->err);
    assert_int_equal(again.outcome, SB_APPEND_REPEATED);
    assert_int_equal(again.first_seq, f->result.first_seq);
    assert_int_equal(events_of(f, key), before + COUNT);
}

static void asking_again_gives_one_set_of_events(void **state)
{
    fixture_t *f = *state;
    static const sb_proxy_act_t acts[] = {SB_PROXY_CUT_ANSWERED, SB_PROXY_CUT_BEFORE, SB_PROXY_CUT_AFTER};
    for (int i = 0; i < 6; i++) {
        char key[16];
        sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = acts[i / 2], .reset = i % 2 != 0};
        (void)snprintf(key, sizeof key, "lost-%d", i);
        lose_and_ask_again(f, key, SB_EXPECT_NONE, 0, &rule);
        lose_and_ask_again(f, key, SB_EXPECT_EXACT, COUNT, &rule);
        lose_and_ask_again(f, key, SB_EXPECT_ANY, 2 * COUNT, &rule);
        lose_and_ask_again(f, key, SB_EXPECT_EXISTS, 3 * COUNT, &rule);
    }
}

/* The wrong variant: without a command id the same trouble writes twice. */
static void without_a_command_id_the_answer_is_not_known(void **state)
{
    fixture_t *f = *state;
    request_t request;
    sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = SB_PROXY_CUT_ANSWERED};
    fill(&request, "twice", SB_EXPECT_ANY, 0);
    request.append.command_id = (sb_uuid_t)SB_UUID_NIL;
    sb_test_proxy_rule(f->proxy, &rule);
    assert_code(SB_UNKNOWN_OUTCOME, sb_store_append(f->store, &request.append, &f->result, &f->err), &f->err);
    sb_error_clear(&f->err);
    assert_ok(sb_store_append(f->store, &request.append, &f->result, &f->err), &f->err);
    assert_int_equal(f->result.outcome, SB_APPENDED);
    assert_int_equal(events_of(f, "twice"), 2 * COUNT);
}

/* Several streams in one call: all of it once, or nothing. */
static void many_streams_in_one_call(void **state)
{
    fixture_t *f = *state;
    static const sb_proxy_act_t acts[] = {SB_PROXY_CUT_ANSWERED, SB_PROXY_CUT_BEFORE, SB_PROXY_CUT_AFTER};
    for (int i = 0; i < 3; i++) {
        request_t requests[2];
        sb_append_t appends[2];
        sb_append_result_t results[2];
        sb_uuid_t id = sb_uuid_v7();
        sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = acts[i]};
        fill(&requests[0], "left", SB_EXPECT_EXACT, i * COUNT);
        fill(&requests[1], "right", SB_EXPECT_ANY, 0);
        for (int n = 0; n < 2; n++) {
            appends[n] = requests[n].append;
            appends[n].command_id = (sb_uuid_t)SB_UUID_NIL;
        }
        sb_test_proxy_rule(f->proxy, &rule);
        sb_error_clear(&f->err);
        assert_code(SB_UNKNOWN_OUTCOME, sb_store_append_many(f->store, appends, 2, &id, results, &f->err),
                    &f->err);
        assert_soon(events_of(f, "left") == events_of(f, "right"), 10000);
        for (int again = 0; again < 2; again++) {
            sb_error_clear(&f->err);
            assert_ok(sb_store_append_many(f->store, appends, 2, &id, results, &f->err), &f->err);
            for (int n = 0; n < 2; n++)
                assert_int_equal(results[n].version, (i + 1) * COUNT);
        }
        assert_int_equal(results[0].outcome, SB_APPEND_REPEATED);
        assert_int_equal(results[1].outcome, SB_APPEND_REPEATED);
        assert_int_equal(events_of(f, "left"), (i + 1) * COUNT);
        assert_int_equal(events_of(f, "right"), (i + 1) * COUNT);
    }
}

typedef struct sender {
    pthread_t thread;
    fixture_t *f;
    const request_t *request;
    sb_code_t code;
    sb_append_result_t result;
} sender_t;

static void *send_once(void *context)
{
    sender_t *sender = context;
    sender->code = sb_store_append(sender->f->store, &sender->request->append, &sender->result, NULL);
    return NULL;
}

/* The network breaks while the server still works on the first request: it goes on, and the second one must
 * wait for it. */
static void asking_again_while_the_first_still_runs(void **state)
{
    fixture_t *f = *state;
    request_t request;
    sender_t sender = {.f = f, .request = &request};
    sb_pg_t *blocker = sb_test_pg_open(f->direct_uri);
    for (int round = 0; round < 2; round++) { /* a stream that is there, and one that is not yet */
        const char *key = round ? "new" : "old";
        fill(&request, "old", SB_EXPECT_ANY, 0);
        request.append.key = sb_slice(key);
        sb_test_pg_script(blocker,
                          round ? "BEGIN; INSERT INTO sagabus.stream (category, key) VALUES ('order', 'new')"
                                : "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'old');"
                                  "BEGIN; UPDATE sagabus.stream SET version = version");
        assert_int_equal(pthread_create(&sender.thread, NULL, send_once, &sender), 0);
        assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1, 10000);
        sb_test_proxy_cut(f->proxy);
        assert_int_equal(pthread_join(sender.thread, NULL), 0);
        assert_int_equal(sender.code, SB_UNKNOWN_OUTCOME);
        assert_int_equal(pthread_create(&sender.thread, NULL, send_once, &sender), 0);
        assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 2, 10000);
        sb_test_pg_script(blocker, round ? "ROLLBACK" : "COMMIT");
        assert_int_equal(pthread_join(sender.thread, NULL), 0);
        assert_int_equal(sender.code, SB_OK);
        assert_int_not_equal(sender.result.outcome, SB_APPEND_CONFLICT);
        assert_int_equal(sender.result.version, COUNT);
        assert_soon(events_of(f, key) == COUNT, 10000);
        assert_int_equal(events_of(f, key), COUNT);
    }
    sb_pg_close(&blocker);
}

/* ---- many writers over a bad network ---- */

#define WRITERS  4
#define COMMANDS 15

typedef struct writer {
    pthread_t thread;
    const char *uri;
    int number;
    int unknown;
    bool failed;
} writer_t;

static sb_code_t append_until_told(sb_store_t **store, writer_t *writer, const sb_append_t *append)
{
    sb_store_config_t config = {.pg_uri = writer->uri};
    sb_append_result_t result = {.outcome = SB_APPEND_CONFLICT};
    sb_code_t code = SB_UNAVAILABLE;
    for (int attempt = 0; attempt < 200; attempt++) {
        code = *store ? SB_OK : sb_store_open(store, &config, NULL);
        if (code == SB_OK)
            code = sb_store_append(*store, append, &result, NULL);
        if (code == SB_OK)
            return result.outcome == SB_APPEND_CONFLICT ? SB_CONFLICT : SB_OK;
        writer->unknown += code == SB_UNKNOWN_OUTCOME;
    }
    return code;
}

static void *write_all(void *context)
{
    writer_t *writer = context;
    sb_store_t *store = NULL;
    for (int i = 0; i < COMMANDS && !writer->failed; i++) {
        request_t request;
        char key[16];
        (void)snprintf(key, sizeof key, "bad-%d", i % 3); /* hot: all writers meet there */
        fill(&request, key, SB_EXPECT_ANY, 0);
        writer->failed = append_until_told(&store, writer, &request.append) != SB_OK;
    }
    sb_store_close(&store);
    return NULL;
}

static void every_command_is_carried_out_once_over_a_bad_network(void **state)
{
    fixture_t *f = *state;
    writer_t writers[WRITERS];
    static const sb_proxy_act_t acts[] = {SB_PROXY_CUT_ANSWERED, SB_PROXY_CUT_AFTER, SB_PROXY_CUT_BEFORE};
    int unknown = 0;
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer_t){.uri = f->uri, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_all, &writers[i]), 0);
    }
    for (int i = 0; i < 12; i++) { /* the writers send far more commits than these 12 rules take */
        sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT,
                                .containing = NULL,
                                .act = acts[i % 3],
                                .skip = i % 4,
                                .reset = i % 2 != 0};
        int hits = sb_test_proxy_hits(f->proxy);
        sb_test_proxy_rule(f->proxy, &rule);
        for (int turn = 0; turn < 50 && sb_test_proxy_hits(f->proxy) == hits; turn++)
            sb_test_sleep_ms(10);
    }
    sb_test_proxy_rule(f->proxy, NULL);
    for (int i = 0; i < WRITERS; i++) {
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
        assert_false(writers[i].failed);
        unknown += writers[i].unknown;
    }
    assert_true(unknown > 0);
    print_message("%d answers were lost\n", unknown);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), WRITERS * COMMANDS * COUNT);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.append_command"),
                     WRITERS * COMMANDS);
    assert_int_equal(sb_test_pg_int(f->pg,
                                    "SELECT count(*) FROM sagabus.append_command c WHERE event_count <> "
                                    "(SELECT count(*) FROM sagabus.event e WHERE e.stream_no = c.stream_no "
                                    "AND e.seq BETWEEN c.first_seq AND c.last_seq)"),
                     0);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(asking_again_gives_one_set_of_events),
        CASE(many_streams_in_one_call),
        CASE(without_a_command_id_the_answer_is_not_known),
        CASE(asking_again_while_the_first_still_runs),
        CASE(every_command_is_carried_out_once_over_a_bad_network),
    };
    return cmocka_run_group_tests_name("append_unknown", tests, sb_test_pg_start, sb_test_pg_stop);
}
