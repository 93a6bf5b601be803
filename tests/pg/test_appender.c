/* The combiner of appends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/catalog.h"
#include "sagabus/appender.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/proxy.h"
#include "tests/support/store.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_appender_t *appender;
    sb_append_result_t result;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    sb_test_catalog_fresh(fixture.uri, &fixture.pg, &fixture.catalog);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_appender_close(&f->appender);
    sb_catalog_free(&f->catalog);
    sb_pg_close(&f->pg);
    return 0;
}

static void open_appender(fixture_t *f, const char *uri, int connections, size_t queue_max)
{
    sb_appender_config_t config = {.pg_uri = uri, .connections = connections, .queue_max = queue_max};
    assert_ok(sb_appender_open(&f->appender, &config, &f->err), &f->err);
}

static sb_event_t confirmed(void)
{
    return (sb_event_t){.type = SB_SLICE("order.confirmed"),
                        .data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"c-1\"}")};
}

static sb_append_t append_of(const char *key, sb_expect_t expect, int version, const sb_event_t *event)
{
    return (sb_append_t){.category = SB_SLICE("order"),
                         .key = sb_slice(key),
                         .expect = expect,
                         .expected_version = version,
                         .events = event,
                         .count = 1};
}

static sb_code_t append(fixture_t *f, const char *key, sb_expect_t expect, int version)
{
    sb_event_t event = confirmed();
    sb_append_t one = append_of(key, expect, version, &event);
    sb_error_clear(&f->err);
    return sb_appender_append(f->appender, &one, &f->result, &f->err);
}

/* What callbacks said, by the number of the append. */
#define NOTES_MAX 600

typedef struct note {
    struct notes *notes;
    atomic_int calls;
    sb_code_t code;
    sb_append_result_t result;
} note_t;

typedef struct notes {
    note_t note[NOTES_MAX];
    atomic_int done;
} notes_t;

static notes_t notes;

static void on_done(void *context, sb_code_t code, const sb_append_result_t *result, const sb_error_t *err)
{
    note_t *note = context;
    if ((code == SB_OK) != (err == NULL))
        abort();
    note->code = code;
    note->result = *result;
    (void)atomic_fetch_add(&note->calls, 1);
    (void)atomic_fetch_add(&note->notes->done, 1);
}

static void clear_notes(void)
{
    memset(&notes, 0, sizeof notes);
    for (int i = 0; i < NOTES_MAX; i++)
        notes.note[i].notes = &notes;
}

static sb_code_t submit(fixture_t *f, int number, const sb_append_t *one)
{
    return sb_appender_submit(f->appender, one, on_done, &notes.note[number], &f->err);
}

static int64_t events(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event");
}

static void assert_sound(fixture_t *f)
{
    assert_int_equal(
        sb_test_pg_int(f->pg,
                       "SELECT count(*) FROM (SELECT version, row_number() OVER w AS nth, seq, lag(seq) "
                       "OVER w AS before FROM sagabus.event WINDOW w AS (PARTITION BY stream_no ORDER "
                       "BY version)) x WHERE version <> nth OR seq <= before"),
        0);
}

/* Keeps the appender's connection waiting for a stream, so that a queue builds up behind it. */
static sb_pg_t *block(fixture_t *f)
{
    sb_event_t event = confirmed();
    sb_append_t one = append_of("blocked", SB_EXPECT_ANY, 0, &event);
    sb_pg_t *blocker = sb_test_pg_open(f->uri);
    sb_test_pg_script(blocker, "BEGIN; SELECT * FROM sagabus.stream WHERE key = 'blocked' FOR UPDATE");
    assert_ok(submit(f, NOTES_MAX - 1, &one), &f->err);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, 5000);
    return blocker;
}

static void unblock(sb_pg_t **blocker)
{
    sb_test_pg_script(*blocker, "COMMIT");
    sb_pg_close(blocker);
}

/* ---- answers ---- */

static void each_append_has_its_own_answer(void **state)
{
    fixture_t *f = *state;
    clear_notes();
    open_appender(f, f->uri, 1, 0);
    assert_ok(append(f, "blocked", SB_EXPECT_NONE, 0), &f->err);
    assert_int_equal(f->result.outcome, SB_APPENDED);
    sb_pg_t *blocker = block(f);
    sb_event_t event = confirmed();
    sb_uuid_t command = sb_uuid_v7();
    sb_append_t list[] = {
        append_of("a", SB_EXPECT_NONE, 0, &event),  append_of("a", SB_EXPECT_NONE, 0, &event),
        append_of("b", SB_EXPECT_EXACT, 0, &event), append_of("a", SB_EXPECT_EXACT, 1, &event),
        append_of("c", SB_EXPECT_ANY, 0, &event),   append_of("c", SB_EXPECT_ANY, 0, &event),
        append_of("d", SB_EXPECT_ANY, 0, &event)};
    list[4].command_id = list[5].command_id = list[6].command_id = command; /* the last is another request */
    for (int i = 0; i < 7; i++)
        assert_ok(submit(f, i, &list[i]), &f->err);
    unblock(&blocker);
    assert_soon(atomic_load(&notes.done) == 8, 10000);
    static const struct {
        sb_code_t code;
        sb_append_outcome_t outcome;
        int version;
    } want[] = {{SB_OK, SB_APPENDED, 1},      {SB_OK, SB_APPEND_CONFLICT, 1}, {SB_OK, SB_APPENDED, 1},
                {SB_OK, SB_APPENDED, 2},      {SB_OK, SB_APPENDED, 1},        {SB_OK, SB_APPEND_REPEATED, 1},
                {SB_MISMATCH, SB_APPENDED, 0}};
    for (int i = 0; i < 7; i++) {
        assert_int_equal(notes.note[i].calls, 1);
        assert_int_equal(notes.note[i].code, want[i].code);
        assert_int_equal(notes.note[i].result.outcome, want[i].outcome);
        assert_int_equal(notes.note[i].result.version, want[i].version);
    }
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream WHERE key = 'd'"), 0);
    sb_append_t wrong = append_of("a", SB_EXPECT_ANY, 0, &event);
    event.data = SB_SLICE("{}");
    assert_code(SB_INVALID, submit(f, 0, &wrong), &f->err); /* at once, and without a callback */
    assert_sound(f);
    sb_appender_close(&f->appender);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.append_lane"), 0);
}

static void what_waits_goes_in_together_and_in_order(void **state)
{
    fixture_t *f = *state;
    clear_notes();
    open_appender(f, f->uri, 1, 0);
    assert_ok(append(f, "blocked", SB_EXPECT_NONE, 0), &f->err);
    sb_pg_t *blocker = block(f);
    sb_event_t event = confirmed();
    for (int i = 0; i < 300; i++) { /* each only right after the one before it */
        sb_append_t one = append_of("chain", SB_EXPECT_EXACT, i, &event);
        assert_ok(submit(f, i, &one), &f->err);
    }
    unblock(&blocker);
    assert_soon(atomic_load(&notes.done) == 301, 10000);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(notes.note[i].result.outcome, SB_APPENDED);
        assert_int_equal(notes.note[i].result.version, i + 1);
    }
    sb_appender_stats_t stats;
    sb_appender_stats(f->appender, &stats);
    assert_int_equal(stats.appends, 302);
    assert_true(stats.batches <= 2 + 300 / 128 + 1);
    assert_sound(f);
}

static void a_full_queue_is_busy_and_closing_answers_all(void **state)
{
    fixture_t *f = *state;
    clear_notes();
    open_appender(f, f->uri, 1, 2);
    assert_ok(append(f, "blocked", SB_EXPECT_NONE, 0), &f->err);
    sb_pg_t *blocker = block(f);
    sb_event_t event = confirmed();
    sb_append_t one = append_of("x", SB_EXPECT_ANY, 0, &event);
    assert_ok(submit(f, 0, &one), &f->err);
    assert_ok(submit(f, 1, &one), &f->err);
    assert_code(SB_BUSY, submit(f, 2, &one), &f->err);
    unblock(&blocker);
    sb_appender_close(&f->appender);
    assert_int_equal(notes.note[0].calls, 1);
    assert_int_equal(notes.note[1].code, SB_OK);
    assert_int_equal(notes.note[2].calls, 0);
    assert_int_equal(events(f), 4);
}

/* ---- what the database refuses ---- */

static void a_refused_event_is_found_by_halves(void **state)
{
    fixture_t *f = *state;
    clear_notes();
    open_appender(f, f->uri, 1, 0);
    sb_test_pg_script(f->pg,
                      "CREATE FUNCTION public.taste() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF "
                      "position('poison'::bytea IN NEW.data) > 0 THEN RAISE EXCEPTION 'not this one'; END "
                      "IF; RETURN NEW; END $$; CREATE TRIGGER taste BEFORE INSERT ON sagabus.event FOR "
                      "EACH ROW EXECUTE FUNCTION public.taste()");
    assert_ok(append(f, "blocked", SB_EXPECT_NONE, 0), &f->err);
    sb_pg_t *blocker = block(f);
    for (int i = 0; i < 100; i++) {
        sb_event_t event = confirmed();
        char key[16];
        (void)snprintf(key, sizeof key, "p-%d", i % 10);
        if (i % 33 == 7)
            event.data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"poison\"}");
        sb_append_t one = append_of(key, SB_EXPECT_ANY, 0, &event);
        assert_ok(submit(f, i, &one), &f->err);
    }
    unblock(&blocker);
    assert_soon(atomic_load(&notes.done) == 101, 20000);
    for (int i = 0; i < 100; i++)
        assert_int_equal(notes.note[i].code, i % 33 == 7 ? SB_INTERNAL : SB_OK);
    assert_int_equal(events(f), 2 + 97);
    assert_sound(f);
}

static void a_type_that_comes_later_is_looked_up(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg,
                      "CREATE TABLE public.kept AS SELECT * FROM sagabus.artifact WHERE name = "
                      "'order.confirmed'; DELETE FROM sagabus.artifact WHERE name = 'order.confirmed'");
    open_appender(f, f->uri, 2, 0);
    assert_code(SB_INVALID, append(f, "a", SB_EXPECT_ANY, 0), &f->err);
    assert_string_equal(f->err.pointer, "/events/0/type");
    sb_test_pg_script(f->pg, "INSERT INTO sagabus.artifact SELECT * FROM public.kept");
    assert_ok(append(f, "a", SB_EXPECT_ANY, 0), &f->err);
}

/* ---- many callers ---- */

#define CALLERS  12
#define HOT      3
#define VERSIONS 40

typedef struct caller {
    pthread_t thread;
    fixture_t *f;
    atomic_int *wins; /* HOT * VERSIONS */
    int failures;
} caller_t;

/* Everyone tries every version of every hot stream, as soon as it can be. */
static void *contend(void *context)
{
    caller_t *caller = context;
    sb_event_t event = confirmed();
    for (int version = 0; version < VERSIONS; version++) {
        for (int stream = 0; stream < HOT; stream++) {
            char key[16];
            sb_append_result_t result;
            (void)snprintf(key, sizeof key, "hot-%d", stream);
            sb_append_t one = append_of(key, SB_EXPECT_EXACT, version, &event);
            sb_code_t code = sb_appender_append(caller->f->appender, &one, &result, NULL);
            bool won = code == SB_OK && result.outcome == SB_APPENDED;
            if (won)
                (void)atomic_fetch_add(&caller->wins[stream * VERSIONS + version], 1);
            /* a conflict names a version that was there */
            caller->failures += code != SB_OK || (!won && result.version <= version);
        }
    }
    return NULL;
}

static void of_many_callers_one_wins_each_version(void **state)
{
    fixture_t *f = *state;
    for (int connections = 1; connections <= 4; connections += 3) {
        static atomic_int wins[HOT * VERSIONS];
        caller_t callers[CALLERS];
        memset(wins, 0, sizeof wins);
        open_appender(f, f->uri, connections, 0);
        for (int i = 0; i < CALLERS; i++) {
            callers[i] = (caller_t){.f = f, .wins = wins};
            assert_int_equal(pthread_create(&callers[i].thread, NULL, contend, &callers[i]), 0);
        }
        for (int i = 0; i < CALLERS; i++) {
            assert_int_equal(pthread_join(callers[i].thread, NULL), 0);
            assert_int_equal(callers[i].failures, 0);
        }
        for (int i = 0; i < HOT * VERSIONS; i++)
            assert_int_equal(wins[i], 1);
        sb_appender_stats_t stats;
        sb_appender_stats(f->appender, &stats);
        print_message("%d connections: %d appends, %d transactions\n", connections, (int)stats.appends,
                      (int)stats.batches);
        assert_true(stats.batches < stats.appends);
        sb_appender_close(&f->appender);
        assert_sound(f);
        sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET key = 'old-' || stream_no");
    }
    assert_int_equal(events(f), 2 * HOT * VERSIONS);
}

/* ---- a bad network ---- */

#define SENDERS 6
#define SENDS   60

typedef struct sender {
    pthread_t thread;
    fixture_t *f;
    int number;
    int appended, refused, unknown;
} sender_t;

static void *send_all(void *context)
{
    sender_t *sender = context;
    sb_event_t event = confirmed();
    for (int i = 0; i < SENDS; i++) {
        char key[24];
        sb_append_result_t result;
        (void)snprintf(key, sizeof key, i % 2 ? "bad-%d" : "bad-%d-%d", i % 3, sender->number);
        sb_append_t one = append_of(key, SB_EXPECT_ANY, 0, &event);
        sb_code_t code = sb_appender_append(sender->f->appender, &one, &result, NULL);
        sender->appended += code == SB_OK && result.outcome == SB_APPENDED;
        sender->refused += code == SB_UNAVAILABLE;
        sender->unknown += code == SB_UNKNOWN_OUTCOME;
    }
    return NULL;
}

/* No append has a command id, and still each answer is true. */
static void nobody_is_told_wrong_over_a_bad_network(void **state)
{
    fixture_t *f = *state;
    sb_test_proxy_t *proxy = NULL;
    char uri[SB_TEST_URI];
    sender_t senders[SENDERS];
    int appended = 0, refused = 0, unknown = 0;
    static const sb_proxy_act_t acts[] = {SB_PROXY_CUT_ANSWERED, SB_PROXY_CUT_AFTER, SB_PROXY_CUT_BEFORE};
    sb_test_proxy_open(&proxy);
    open_appender(f, sb_test_proxy_uri(proxy, f->uri, uri), 2, 0);
    for (int i = 0; i < SENDERS; i++) {
        senders[i] = (sender_t){.f = f, .number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (int i = 0; i < 24; i++) {
        sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT,
                                .act = acts[i % 3],
                                .skip = i % 4,
                                .times = 1 + i % 2,
                                .reset = i % 5 == 0};
        int hits = sb_test_proxy_hits(proxy);
        sb_test_proxy_rule(proxy, &rule);
        for (int turn = 0; turn < 30 && sb_test_proxy_hits(proxy) == hits; turn++)
            sb_test_sleep_ms(5);
    }
    sb_test_proxy_rule(proxy, NULL);
    for (int i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(senders[i].thread, NULL), 0);
        appended += senders[i].appended;
        refused += senders[i].refused;
        unknown += senders[i].unknown;
    }
    sb_appender_stats_t stats;
    sb_appender_stats(f->appender, &stats);
    print_message("%d commits were asked for, %d appends refused\n", (int)stats.asked, refused);
    sb_appender_close(&f->appender);
    sb_test_proxy_close(&proxy);
    assert_true(stats.asked > 0);
    assert_int_equal(unknown, 0);
    assert_int_equal(appended + refused, SENDERS * SENDS);
    assert_int_equal(events(f), appended);
    assert_sound(f);
}

/* A connection that breaks before anything was sent by it says nothing of a batch: least of all that the one
 * before it, of which nobody knew in time, was this one. */
static void an_older_batch_does_not_answer_for_a_newer_one(void **state)
{
    fixture_t *f = *state;
    sb_test_proxy_t *proxy = NULL;
    char uri[SB_TEST_URI];
    sb_test_proxy_open(&proxy);
    sb_appender_config_t config = {.pg_uri = sb_test_proxy_uri(proxy, f->uri, uri), .resolve_ms = 200};
    assert_ok(sb_appender_open(&f->appender, &config, &f->err), &f->err);
    assert_ok(append(f, "blocked", SB_EXPECT_ANY, 0), &f->err);
    clear_notes();
    sb_pg_t *blocker = block(f);

    sb_proxy_rule_t rule = {
        .at = SB_PROXY_MESSAGE, .type = 'Q', .containing = "lock_timeout", .act = SB_PROXY_CUT_BEFORE};
    rule.times = 1000000;
    sb_test_proxy_rule(proxy, &rule);
    sb_test_proxy_cut(proxy);
    unblock(&blocker); /* soon: it does not wait for long */
    assert_soon(atomic_load(&notes.done) == 1, 20000);
    assert_int_equal(notes.note[NOTES_MAX - 1].code, SB_UNKNOWN_OUTCOME);
    assert_soon(events(f) == 2, 20000); /* it has happened */

    rule.times = 1;
    sb_test_proxy_rule(proxy, &rule);
    assert_code(SB_UNAVAILABLE, append(f, "b", SB_EXPECT_ANY, 0), &f->err);
    assert_ok(append(f, "b", SB_EXPECT_ANY, 0), &f->err);
    assert_int_equal(f->result.version, 1);
    assert_int_equal(events(f), 3);
    sb_appender_close(&f->appender);
    sb_test_proxy_close(&proxy);
}

/* A batch is given up while the server still works on it, and its members are told so; then it could go on.
 * How many more events there are than callers were told of. */
static int64_t events_nobody_was_told_of(fixture_t *f)
{
    sb_test_proxy_t *proxy = NULL;
    char uri[SB_TEST_URI];
    int64_t before;
    sb_test_proxy_open(&proxy);
    open_appender(f, sb_test_proxy_uri(proxy, f->uri, uri), 1, 0);
    assert_ok(append(f, "blocked", SB_EXPECT_ANY, 0), &f->err);
    before = events(f);
    clear_notes();
    sb_pg_t *blocker = block(f);
    sb_test_proxy_cut(proxy);
    /* of batch 2 it is known that it has not happened and never will */
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.append_lane WHERE number >= 2") == 1,
                20000);
    unblock(&blocker);
    assert_soon(atomic_load(&notes.done) == 1, 20000);
    assert_soon(sb_test_pg_int(f->pg,
                               "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE "
                               "'%event_append_many%' AND pid <> pg_backend_pid()") == 0,
                20000);
    sb_appender_close(&f->appender);
    sb_test_proxy_close(&proxy);
    return events(f) - before - (notes.note[NOTES_MAX - 1].code == SB_OK);
}

static void a_commit_that_is_not_fenced_is_caught(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(events_nobody_was_told_of(f), 0);
    sb_test_pg_script(
        f->pg, "DO $do$ DECLARE d text := pg_get_functiondef('sagabus.event_append_many'::regproc); BEGIN "
               "IF position('AND l.number = p_number - 1' IN d) = 0 THEN RAISE EXCEPTION 'the fence is not "
               "there any "
               "more'; END IF; EXECUTE replace(d, 'AND l.number = p_number - 1', ''); END $do$");
    assert_int_equal(events_nobody_was_told_of(f), 1);
}

/* A server that is read-only, or full, says so at once, each time: whoever asks again does so with a pause.
 */
static void a_server_that_cannot_now_is_asked_again_after_a_pause(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->pg, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', "
               "current_database()); END $$");
    open_appender(f, f->uri, 1, 0);
    int64_t start_us = sb_mono_us();
    assert_code(SB_UNAVAILABLE, append(f, "o-1", SB_EXPECT_ANY, 0), &f->err);
    assert_string_equal(f->err.origin, "pg:25006");
    assert_true(sb_mono_us() - start_us >= 140000);
    /* After the last try there is nothing to pause for; a busy machine may need several goes to show it. */
    int64_t quickest_us = INT64_MAX;
    for (int i = 0; i < 20 && quickest_us >= 300000; i++) {
        start_us = sb_mono_us();
        assert_code(SB_UNAVAILABLE, append(f, "o-1", SB_EXPECT_ANY, 0), &f->err);
        int64_t took_us = sb_mono_us() - start_us;
        quickest_us = took_us < quickest_us ? took_us : quickest_us;
    }
    assert_true(quickest_us < 300000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_append_has_its_own_answer),
        CASE(what_waits_goes_in_together_and_in_order),
        CASE(a_full_queue_is_busy_and_closing_answers_all),
        CASE(a_refused_event_is_found_by_halves),
        CASE(a_type_that_comes_later_is_looked_up),
        CASE(of_many_callers_one_wins_each_version),
        CASE(nobody_is_told_wrong_over_a_bad_network),
        CASE(an_older_batch_does_not_answer_for_a_newer_one),
        CASE(a_commit_that_is_not_fenced_is_caught),
        CASE(a_server_that_cannot_now_is_asked_again_after_a_pause),
    };
    return cmocka_run_group_tests_name("appender", tests, sb_test_pg_start, sb_test_pg_stop);
}
