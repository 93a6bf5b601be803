/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/store/sequencer.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

typedef struct runner {
    sb_sequencer_t *sequencer;
    sb_progress_t progress;
    pthread_t thread;
} runner_t;

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_pg_t *other;
    runner_t runner;
    runner_t second;
    int64_t commands_kept_ms;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void *run(void *context)
{
    runner_t *runner = context;
    sb_sequencer_run(runner->sequencer);
    return NULL;
}

static void start(fixture_t *f, runner_t *runner, const char *owner)
{
    sb_progress_init(&runner->progress);
    sb_sequencer_config_t config = {.pg_uri = f->uri,
                                    .owner = owner,
                                    .progress = &runner->progress,
                                    .overdue_ms = 1000,
                                    .commands_kept_ms = f->commands_kept_ms};
    assert_ok(sb_sequencer_open(&runner->sequencer, &config, &f->err), &f->err);
    assert_int_equal(pthread_create(&runner->thread, NULL, run, runner), 0);
}

static void stop(runner_t *runner)
{
    if (!runner->sequencer)
        return;
    sb_sequencer_stop(runner->sequencer);
    assert_int_equal(pthread_join(runner->thread, NULL), 0);
    sb_sequencer_close(&runner->sequencer);
    assert_null(runner->progress.poke);
}

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.uri));
    fixture.other = sb_test_pg_open(fixture.uri);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    stop(&f->runner);
    stop(&f->second);
    sb_pg_close(&f->other);
    sb_pg_close(&f->pg);
    return 0;
}

static int64_t safe_seq(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'");
}

static sb_sequencer_stats_t stats(const runner_t *runner)
{
    sb_sequencer_stats_t out;
    sb_sequencer_stats(runner->sequencer, &out);
    return out;
}

/* Inserts as every appender must: through the parent. The stream's number does not matter here. */
#define INSERT                                                                                               \
    "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) "                              \
    "SELECT nextval('public.stream_nos'), 1, 1, 1, gen_random_uuid(), '{}'"

static void make_stream_nos(fixture_t *f)
{
    sb_test_pg_script(f->pg, "CREATE SEQUENCE public.stream_nos");
}

static void it_follows_what_is_committed(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 3000);
    assert_int_equal(safe_seq(f), 0);
    for (int i = 1; i <= 20; i++) {
        sb_test_pg_script(f->pg, INSERT);
        sb_progress_poke(&f->runner.progress);
        assert_soon(safe_seq(f) == i, 2000);
        assert_soon(atomic_load(&f->runner.progress.safe_seq) == i, 1000);
    }
    assert_int_equal(stats(&f->runner).lag_events, 0);
    assert_int_equal(stats(&f->runner).safe_seq, 20);
}

static void a_long_transaction_holds_it_back_and_nothing_is_skipped(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->other, "SET application_name = 'the slow one'; BEGIN; " INSERT); /* draws 1 */
    for (int i = 0; i < 30; i++)
        sb_test_pg_script(f->pg, INSERT);
    assert_soon(stats(&f->runner).lag_ms > 100, 3000);
    assert_int_equal(safe_seq(f), 0);
    assert_soon(stats(&f->runner).blocker_pid == sb_pg_backend_pid(f->other), 3000);
    assert_string_equal(stats(&f->runner).blocker_name, "the slow one");
    assert_soon(stats(&f->runner).lag_events == 31, 3000);
    sb_test_pg_script(f->other, "COMMIT");
    assert_soon(safe_seq(f) == 31, 3000);
    assert_soon(stats(&f->runner).lag_ms == 0 && stats(&f->runner).blocker_pid == 0, 3000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE seq <= 31"), 31);
}

static void a_rollback_leaves_a_hole_and_holds_nobody_up(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->other, "BEGIN; " INSERT);
    sb_test_pg_script(f->pg, INSERT);
    sb_test_pg_script(f->other, "ROLLBACK");
    assert_soon(safe_seq(f) == 2, 3000);
}

/* What xmin would wait for: a writer elsewhere in the cluster, a writer of other tables, an old snapshot. */
static void strangers_do_not_hold_it_back(void **state)
{
    fixture_t *f = *state;
    char uri[SB_TEST_URI];
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_pg_t *foreign = sb_test_pg_open(sb_test_pg_fresh(uri)); /* has an event table too */
    sb_test_pg_script(foreign,
                      "SET idle_in_transaction_session_timeout = 0; CREATE SEQUENCE public.stream_nos; "
                      "BEGIN; " INSERT);
    sb_pg_t *writer = sb_test_pg_open(f->uri);
    sb_test_pg_script(
        writer, "BEGIN; CREATE TABLE public.elsewhere (a int); INSERT INTO public.elsewhere VALUES (1)");
    sb_test_pg_script(f->other, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM sagabus.event");
    for (int i = 1; i <= 5; i++) {
        sb_test_pg_script(f->pg, INSERT);
        assert_soon(safe_seq(f) == i, 2000);
    }
    sb_pg_close(&writer);
    sb_pg_close(&foreign);
}

/* Its lock has no backend, and another name after a restart of the server. */
static void a_prepared_transaction_holds_it_back_over_a_restart(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(f->pg, "ALTER SYSTEM SET max_prepared_transactions = 5");
    sb_test_pg_stop_immediate();
    sb_test_pg_restart();
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_ok(sb_pg_reopen(f->other, &f->err), &f->err);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->other, "BEGIN; " INSERT);
    int64_t drawn = sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq");
    sb_test_pg_script(f->other, "PREPARE TRANSACTION 'forgotten'");
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(stats(&f->runner).blocker_name[0] == '(', 3000);
    assert_true(safe_seq(f) < drawn);
    sb_test_pg_stop_immediate();
    sb_test_pg_restart();
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_soon(stats(&f->runner).leader, 8000);
    assert_soon(stats(&f->runner).blocker_name[0] == '(', 3000);
    sb_test_pg_script(f->pg, INSERT);
    sb_test_sleep_ms(200);
    assert_true(safe_seq(f) < drawn);
    sb_test_pg_script(f->pg, "ALTER SYSTEM RESET max_prepared_transactions");
    sb_test_pg_script(f->pg, "COMMIT PREPARED 'forgotten'");
    assert_soon(safe_seq(f) == sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq"), 3000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);
}

/* A transaction counts from its first event on, however old its id is. */
static void an_early_transaction_id_does_not_count(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->pg, "CREATE TABLE public.noise (a int)");
    sb_test_pg_script(f->other,
                      "BEGIN; INSERT INTO public.noise VALUES (1)"); /* has its id, and no event yet */
    sb_test_pg_script(f->pg, INSERT);                                /* 1, of a later transaction */
    assert_soon(safe_seq(f) == 1, 3000);
    sb_test_pg_script(f->other, INSERT); /* 2 */
    sb_test_pg_script(f->pg, INSERT);    /* 3 */
    assert_soon(stats(&f->runner).lag_ms > 100, 3000);
    assert_int_equal(safe_seq(f), 1);
    sb_test_pg_script(f->other, "COMMIT");
    assert_soon(safe_seq(f) == 3, 3000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);
}

/* What is rolled back to a savepoint is dead at once; what comes after it in the same transaction is not. */
static void a_savepoint_that_is_rolled_back_holds_nobody_up(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->other, "BEGIN; SAVEPOINT here; " INSERT); /* 1 */
    sb_test_pg_script(f->pg, INSERT);                              /* 2 */
    assert_soon(stats(&f->runner).lag_ms > 100, 3000);
    assert_int_equal(safe_seq(f), 0);
    sb_test_pg_script(f->other, "ROLLBACK TO here");
    assert_soon(safe_seq(f) == 2, 3000);
    sb_test_pg_script(f->other, "SAVEPOINT again; " INSERT "; RELEASE again"); /* 3 */
    sb_test_pg_script(f->pg, INSERT);                                          /* 4 */
    assert_soon(stats(&f->runner).lag_ms > 100, 3000);
    assert_int_equal(safe_seq(f), 2);
    sb_test_pg_script(f->other, "COMMIT");
    assert_soon(safe_seq(f) == 4, 3000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);
}

/* Copied without its sequence (logical replication does so), a store would have new events below what every
 * reader has passed. */
static void a_sequence_that_was_set_back_is_not_led(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(f->pg, INSERT ";" INSERT ";" INSERT);
    start(f, &f->runner, "one");
    assert_soon(safe_seq(f) == 3 && stats(&f->runner).leader, 3000);
    sb_test_pg_script(f->pg, "SELECT setval('sagabus.event_seq', 1)");
    assert_soon(!stats(&f->runner).leader, 3000);
    sb_test_pg_script(f->pg, "SELECT setval('sagabus.event_seq', 3)");
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == 4, 8000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE seq <= 4"), 4);
}

/* The tick's plans are made when the sequencer begins, mostly on a small table, and a small table is scanned.
 * Kept while it grows, such a plan is a tenth of a second a tick. */
static void a_tick_is_planned_for_a_table_that_grows(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(f->pg, INSERT " FROM generate_series(1, 20); ANALYZE sagabus.event");
    for (int i = 0; i < 2; i++) /* on the small table, and then by the same plan */
        sb_test_pg_script(f->other, i == 0 ? "SET plan_cache_mode = force_generic_plan; SELECT FROM "
                                             "sagabus.sequencer_tick(0, 0, 20, '{}', '{}', true, 20)"
                                           : INSERT " FROM generate_series(1, 500)");
    sb_test_pg_script(f->other, "UPDATE sagabus.lease SET epoch = 7 WHERE role = 'sequencer'; BEGIN");
    assert_int_equal(sb_test_pg_int(f->other, "SELECT run FROM sagabus.sequencer_tick(7, 20, 20, '{}', '{}', "
                                              "true, 20)"),
                     276);
#define SCANS(of) "SELECT sum(" of ") FROM pg_stat_xact_user_tables WHERE relname ~ '^event_domain_[0-9]+$'"
    assert_true(sb_test_pg_int(f->other, SCANS("idx_scan")) > 0);
    assert_int_equal(sb_test_pg_int(f->other, SCANS("seq_scan")), 0);
    sb_test_pg_script(f->other, "ROLLBACK");
}

/* ---- appenders that do not wait for the disk ---- */

typedef struct careless {
    pthread_t thread;
    char *uri;
    _Atomic int written;
} careless_t;

static void *write_carelessly(void *context)
{
    careless_t *c = context;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = c->uri};
    if (sb_pg_open(&pg, &config, NULL) == SB_OK &&
        sb_pg_script(pg, "SET synchronous_commit = off", NULL) == SB_OK)
        while (sb_pg_script(pg, INSERT, NULL) == SB_OK) /* until the server is gone */
            c->written++;
    sb_pg_close(&pg);
    return NULL;
}

/* A word for all events up to a number: their numbers and ids, in order. */
static int64_t digest_up_to(fixture_t *f, int64_t seq)
{
    char sql[256];
    (void)snprintf(sql, sizeof sql,
                   "CREATE OR REPLACE FUNCTION pg_temp.digest() RETURNS bigint LANGUAGE sql AS $$ SELECT "
                   "hashtextextended(coalesce(string_agg(seq || ' ' || id, ',' ORDER BY seq), ''), 0) FROM "
                   "sagabus.event "
                   "WHERE seq <= %lld $$",
                   (long long)seq);
    sb_test_pg_script(f->pg, sql);
    return sb_test_pg_int(f->pg, "SELECT pg_temp.digest()");
}

/* They may lose what they wrote when the machine goes down, and their numbers are then drawn again; but
 * nothing that was published is lost, or another event afterwards. */
static void what_was_published_is_on_disk(void **state)
{
    fixture_t *f = *state;
    careless_t careless[3] = {{.uri = f->uri}, {.uri = f->uri}, {.uri = f->uri}};
    make_stream_nos(f);
    start(f, &f->runner, "one");
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&careless[i].thread, NULL, write_carelessly, &careless[i]), 0);
    assert_soon(atomic_load(&f->runner.progress.safe_seq) > 500, 90000);
    int64_t safe = atomic_load(&f->runner.progress.safe_seq);
    int64_t digest = digest_up_to(f, safe);
    sb_test_pg_kill_all();
    int64_t last_heard = atomic_load(&f->runner.progress.safe_seq);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(careless[i].thread, NULL), 0);
    sb_test_pg_restart();
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    assert_ok(sb_pg_reopen(f->other, &f->err), &f->err);
    int64_t kept = sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event");
    print_message("%d committed without waiting, %lld kept; published were %lld\n",
                  careless[0].written + careless[1].written + careless[2].written, (long long)kept,
                  (long long)last_heard);
    assert_true(safe_seq(f) >= last_heard);
    assert_true(sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq") >=
                last_heard); /* none is drawn again */
    assert_true(digest_up_to(f, safe) == digest);
    for (int i = 0; i < 20; i++)
        sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq"), 90000);
    assert_true(digest_up_to(f, safe) == digest);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), kept + 20);
}

/* Said before it happens, for the sequencer may be quicker than the test. */
static void tell(fixture_t *f, int64_t first, int64_t last)
{
    sb_append_result_t result = {.outcome = SB_APPENDED, .first_seq = first, .last_seq = last};
    sb_progress_appended(&f->runner.progress, sb_progress_era(&f->runner.progress), &result,
                         (size_t)(last - first) + 1);
}

/* public.seen has each commit that moves safe_seq, and whether it waits for the disk. */
static void start_and_note_commits(fixture_t *f)
{
    make_stream_nos(f);
    sb_test_pg_script(
        f->pg, "CREATE TABLE public.seen (cursor bigint, waits text);"
               "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               "INSERT INTO public.seen VALUES (NEW.cursor, current_setting('synchronous_commit')); "
               "RETURN NULL; END $$;"
               "CREATE CONSTRAINT TRIGGER see AFTER UPDATE ON sagabus.lease DEFERRABLE INITIALLY "
               "DEFERRED FOR EACH ROW WHEN (NEW.role = 'sequencer' AND NEW.cursor > OLD.cursor) EXECUTE "
               "FUNCTION public.see()");
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 30000);
}

static void only_what_is_known_to_be_on_disk_is_published_before_it_is_there(void **state)
{
    fixture_t *f = *state;
    start_and_note_commits(f);
    tell(f, 3, 5);
    tell(f, 1, 2);
    for (int i = 1; i <= 5; i++) {
        sb_test_pg_script(f->pg, INSERT);
        assert_soon(safe_seq(f) == i, 30000);
    }
    sb_test_pg_script(f->pg, INSERT); /* 6: nobody says so */
    assert_soon(safe_seq(f) == 6, 30000);
    tell(f, 8, 8);
    sb_test_pg_script(f->pg,
                      "BEGIN; " INSERT ";" INSERT "; COMMIT"); /* 7: neither, below one that is known */
    assert_soon(safe_seq(f) == 8, 30000);
    tell(f, 9, 9);
    sb_test_pg_script(f->pg, "BEGIN; " INSERT "; ROLLBACK"); /* 9: no event, whatever was said */
    assert_soon(safe_seq(f) == 9, 30000);
    assert_true(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'off'") > 0);
    /* One of the five may wait, too: when it is committed between the two looks of a tick. */
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'off' AND cursor > 5"), 0);
}

#define LONG_RUN 9000

/* The longest way that safe_seq went at once without waiting for the disk. */
static int64_t longest_way(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT max(cursor - low) FROM (SELECT cursor, waits, "
                                 "lag(cursor, 1, 0::bigint) OVER (ORDER BY cursor) AS low FROM public.seen) "
                                 "s WHERE waits = 'off'");
}

/* Far more than a tick follows one by one; counted, not believed. A leader that was slow to renew its lease
 * has forgotten what it was told, so it is told again. */
static void a_long_run_that_is_known_to_be_on_disk_is_published_at_once(void **state)
{
    fixture_t *f = *state;
    start_and_note_commits(f);
    sb_test_pg_script(f->pg, INSERT " FROM generate_series(1, 3000)");
    assert_soon(safe_seq(f) == 3000, 30000);
    tell(f, 3001, 3000 + LONG_RUN); /* ahead of the events: no word makes one be there */
    sb_test_sleep_ms(100);
    assert_int_equal(safe_seq(f), 3000);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'off'"), 0);
    int64_t safe = 3000;
    for (int tries = 0; tries < 10 && longest_way(f) < LONG_RUN / 3; tries++) {
        tell(f, safe + 1, safe + LONG_RUN);
        sb_test_pg_script(f->pg, INSERT " FROM generate_series(1, 9000)");
        sb_progress_poke(&f->runner.progress);
        safe += LONG_RUN;
        assert_soon(safe_seq(f) == safe, 30000);
    }
    assert_true(longest_way(f) >= LONG_RUN / 3);
}

#define BATCH   20
#define BATCHES 300

/* At the pace of many events; each tenth batch is of another process. */
static void among_many_events_none_is_published_before_it_is_known_to_be_on_disk(void **state)
{
    fixture_t *f = *state;
    start_and_note_commits(f);
    for (int i = 1; i <= BATCHES; i++) {
        if (i % 10 != 0)
            tell(f, (i - 1) * BATCH + 1, i * BATCH);
        sb_test_pg_script(f->pg, INSERT " FROM generate_series(1, 20)");
        if (i == 1)
            assert_soon(safe_seq(f) == BATCH, 30000);
    }
    assert_soon(safe_seq(f) == BATCHES * BATCH, 30000);
    print_message("%lld commits, %lld of them did not wait\n",
                  (long long)sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen"),
                  (long long)sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'off'"));
    assert_true(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'off'") > 0);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM (SELECT lag(cursor, 1, 0::bigint) OVER (ORDER BY cursor) "
                              "AS low, cursor, waits FROM public.seen) s, generate_series(10, 300, 10) b "
                              "WHERE waits = 'off' AND low < b * 20 AND cursor > (b - 1) * 20"),
        0);
}

#define WAITS_FOR_A_STANDBY                                                                                  \
    " FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'sagabus sequencer'"

/* Its backend has heard of the standby once it waits for it; events of which nobody says anything tell. */
static bool waits_for_a_standby(fixture_t *f, int *events)
{
    if (sb_test_pg_int(f->pg, "SELECT count(*)" WAITS_FOR_A_STANDBY) > 0)
        return true;
    sb_test_pg_script(f->pg, INSERT);
    ++*events;
    return false;
}

static bool is_safe_without_standby(fixture_t *f, int events)
{
    sb_test_pg_script(f->pg, "SELECT pg_cancel_backend(pid)" WAITS_FOR_A_STANDBY);
    return safe_seq(f) == events && stats(&f->runner).safe_seq == events;
}

/* A standby that must have the events has them not yet when this server's disk has. */
static void with_a_synchronous_standby_it_waits_for_that(void **state)
{
    fixture_t *f = *state;
    int events = 0;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 30000);
    sb_test_pg_script(f->pg, "SET synchronous_commit = local");
    sb_test_pg_script(f->pg, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    sb_test_pg_script(f->pg, "SELECT pg_reload_conf()");
    assert_soon(waits_for_a_standby(f, &events), 30000);
    assert_soon(is_safe_without_standby(f, events), 30000);
    tell(f, events + 1, events + 1);
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*)" WAITS_FOR_A_STANDBY) > 0, 30000);
    assert_int_equal(safe_seq(f), events);
    sb_test_pg_script(f->pg, "ALTER SYSTEM RESET synchronous_standby_names");
    sb_test_pg_script(f->pg, "SELECT pg_reload_conf()");
    assert_soon(safe_seq(f) == events + 1, 30000);
}

/* What was given to readers is there after a crash, and so safe_seq comes back to it. */
static void a_crash_that_takes_it_back_leaves_its_events(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(f->pg, "ALTER SYSTEM SET wal_writer_delay = '10s'");
    sb_test_pg_script(f->pg, "SELECT pg_reload_conf()");
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 30000);
    tell(f, 1, 40);
    for (int i = 0; i < 40; i++)
        sb_test_pg_script(f->pg, INSERT);
    assert_soon(atomic_load(&f->runner.progress.safe_seq) == 40, 30000);
    sb_test_pg_script(f->pg, "SET synchronous_commit = off"); /* or the digest's commit brings all there */
    int64_t digest = digest_up_to(f, 40);
    sb_test_pg_kill_all(); /* first: a sequencer that ends gives its lease back, and that commit waits */
    stop(&f->runner);
    sb_test_pg_restart();
    assert_ok(sb_pg_reopen(f->pg, &f->err), &f->err);
    print_message("published 40, on disk %lld\n", (long long)safe_seq(f));
    sb_test_pg_script(f->pg, INSERT);
    assert_true(sb_test_pg_int(f->pg, "SELECT max(seq) FROM sagabus.event") > 40);
    start(f, &f->runner, "one again");
    assert_soon(safe_seq(f) == sb_test_pg_int(f->pg, "SELECT max(seq) FROM sagabus.event"), 30000);
    assert_true(digest_up_to(f, 40) == digest);
    sb_test_pg_script(f->pg, "ALTER SYSTEM RESET wal_writer_delay");
    sb_test_pg_script(f->pg, "SELECT pg_reload_conf()");
}

static void a_restart_goes_on_where_it_was(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == 1, 3000);
    stop(&f->runner);
    sb_test_pg_script(f->other, "BEGIN; " INSERT); /* 2: drawn while nobody watched */
    sb_test_pg_script(f->pg, INSERT);              /* 3 */
    assert_int_equal(safe_seq(f), 1);
    start(f, &f->runner, "one again");
    assert_soon(atomic_load(&f->runner.progress.safe_seq) == 1, 3000); /* known before it moves */
    sb_test_sleep_ms(200);
    assert_int_equal(safe_seq(f), 1);
    sb_test_pg_script(f->other, "COMMIT");
    assert_soon(safe_seq(f) == 3, 3000);
}

static void another_one_takes_over(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 3000);
    start(f, &f->second, "two");
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == 1, 3000);
    assert_false(stats(&f->second).leader);
    stop(&f->runner);
    assert_soon(stats(&f->second).leader, 3000);
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == 2, 3000);
}

static void a_leader_whose_connection_is_ended_comes_back(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    start(f, &f->runner, "one");
    for (int i = 1; i <= 5; i++) {
        assert_soon(stats(&f->runner).leader, 5000);
        sb_test_pg_script(f->other, "BEGIN; " INSERT);
        sb_test_pg_script(f->pg, INSERT);
        sb_test_pg_script(f->pg,
                          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                          "'sagabus sequencer' AND datname = current_database()");
        sb_test_sleep_ms(150);
        assert_int_equal(safe_seq(f), 2 * (i - 1)); /* the new connection knows no lows and stays */
        sb_test_pg_script(f->other, "COMMIT");
        assert_soon(safe_seq(f) == 2 * i, 5000);
    }
}

/* ---- a leader that is stopped in its tracks ---- */

static int run_in_child(void *context)
{
    fixture_t *f = context;
    sb_sequencer_t *sequencer = NULL;
    sb_sequencer_config_t config = {.pg_uri = f->uri, .owner = "frozen", .overdue_ms = 1000};
    if (sb_sequencer_open(&sequencer, &config, NULL) != SB_OK)
        return 1;
    sb_sequencer_run(sequencer);
    return 0;
}

static void a_frozen_leader_is_replaced_and_writes_nothing_more(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t child = {0};
    make_stream_nos(f);
    sb_test_fork(&child, run_in_child, f);
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(safe_seq(f) == 1, 5000);
    sb_test_signal(&child, SIGSTOP);
    start(f, &f->second, "two");
    sb_test_pg_script(f->other, "BEGIN; " INSERT); /* 2, seen by the new one only */
    sb_test_pg_script(f->pg, INSERT);
    assert_soon(stats(&f->second).leader, 10000);
    int64_t epoch = sb_test_pg_int(f->pg, "SELECT epoch FROM sagabus.lease WHERE role = 'sequencer'");
    sb_test_signal(&child, SIGCONT);
    sb_test_sleep_ms(400);
    assert_int_equal(safe_seq(f), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT epoch FROM sagabus.lease WHERE role = 'sequencer'"),
                     epoch);
    sb_test_pg_script(f->other, "COMMIT");
    assert_soon(safe_seq(f) == 3, 3000);
    sb_test_process_end(&child);
}

/* ---- what it does beside ---- */

static void partitions_are_made_and_old_commands_forgotten(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(
        f->pg, "SELECT setval('sagabus.event_seq', 19999990);"
               "INSERT INTO sagabus.append_command (command_id, at, stream_no, version, first_seq, "
               "last_seq, event_count) SELECT gen_random_uuid(), now() - n * interval '1 hour', 1, 1, 1, "
               "1, 1 FROM generate_series(0, 2499) n");
    start(f, &f->runner, "one");
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.append_command") == 168, 8000);
    for (int i = 0; i < 20; i++)
        sb_test_pg_script(f->pg, INSERT); /* over the edge of the first partition */
    assert_soon(safe_seq(f) == 20000010, 3000);
    assert_true(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_domain_40000000") > 0);
    stop(&f->runner);
    f->commands_kept_ms = 24 * 3600 * 1000;
    start(f, &f->runner, "one");
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.append_command") == 24, 8000);
}

/* A partition must not be waited for by appenders, nor wait for them. */
static void a_partition_is_made_beside_an_open_append(void **state)
{
    fixture_t *f = *state;
    make_stream_nos(f);
    sb_test_pg_script(f->other, "BEGIN; " INSERT);
    sb_test_pg_script(f->pg, "SET lock_timeout = '20s'");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_partitions_ahead(60000000)"), 6);
    sb_test_pg_script(f->other, INSERT);
    sb_test_pg_script(f->other, "COMMIT");
}

static int64_t wal_bytes(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint");
}

/* The server has its own to write now and then (it vacuums), and that counts as well. */
static bool costs_nothing_for_two_seconds(fixture_t *f)
{
    int64_t written = wal_bytes(f);
    int64_t before = sb_test_cpu_ms();
    sb_test_sleep_ms(2000);
    int64_t spent = sb_test_cpu_ms() - before;
    written = wal_bytes(f) - written;
    print_message("idle: %lld ms of CPU, %lld bytes of WAL in 2 s\n", (long long)spent, (long long)written);
    return spent < 20 && written < 50000; /* 1 % of a core */
}

static void idle_costs_next_to_nothing_and_writes_only_beats(void **state)
{
    fixture_t *f = *state;
    start(f, &f->runner, "one");
    assert_soon(stats(&f->runner).leader, 3000);
    sb_test_sleep_ms(500);
    int64_t epoch =
        sb_test_pg_int(f->pg, "SELECT (extract(epoch FROM beat) * 1000)::bigint FROM sagabus.lease WHERE "
                              "role = 'sequencer'");
    bool idle = false;
    for (int i = 0; i < 10 && !idle; i++)
        idle = costs_nothing_for_two_seconds(f);
    assert_true(idle);
    assert_true(sb_test_pg_int(
                    f->pg, "SELECT (extract(epoch FROM beat) * 1000)::bigint FROM sagabus.lease WHERE role "
                           "= 'sequencer'") > epoch);
}

static void it_waits_for_a_server_that_is_not_there(void **state)
{
    fixture_t *f = *state;
    sb_sequencer_t *sequencer = NULL;
    sb_sequencer_config_t config = {.pg_uri = "postgresql://127.0.0.1:1/none", .owner = "one"};
    assert_ok(sb_sequencer_open(&sequencer, &config, &f->err), &f->err);
    f->runner.sequencer = sequencer;
    sb_progress_init(&f->runner.progress);
    assert_int_equal(pthread_create(&f->runner.thread, NULL, run, &f->runner), 0);
    sb_test_sleep_ms(300);
    assert_false(stats(&f->runner).leader);
    int64_t start_ms = sb_test_mono_ms();
    stop(&f->runner);
    assert_true(sb_test_mono_ms() - start_ms < 30000);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(it_follows_what_is_committed),
        CASE(a_long_transaction_holds_it_back_and_nothing_is_skipped),
        CASE(a_rollback_leaves_a_hole_and_holds_nobody_up),
        CASE(strangers_do_not_hold_it_back),
        CASE(an_early_transaction_id_does_not_count),
        CASE(a_savepoint_that_is_rolled_back_holds_nobody_up),
        CASE(a_sequence_that_was_set_back_is_not_led),
        CASE(a_tick_is_planned_for_a_table_that_grows),
        CASE(a_restart_goes_on_where_it_was),
        CASE(another_one_takes_over),
        CASE(a_leader_whose_connection_is_ended_comes_back),
        CASE(a_frozen_leader_is_replaced_and_writes_nothing_more),
        CASE(partitions_are_made_and_old_commands_forgotten),
        CASE(a_partition_is_made_beside_an_open_append),
        CASE(idle_costs_next_to_nothing_and_writes_only_beats),
        CASE(it_waits_for_a_server_that_is_not_there),
        CASE(what_was_published_is_on_disk),
        CASE(only_what_is_known_to_be_on_disk_is_published_before_it_is_there),
        CASE(among_many_events_none_is_published_before_it_is_known_to_be_on_disk),
        CASE(a_long_run_that_is_known_to_be_on_disk_is_published_at_once),
        CASE(with_a_synchronous_standby_it_waits_for_that),
        CASE(a_crash_that_takes_it_back_leaves_its_events),
        CASE(a_prepared_transaction_holds_it_back_over_a_restart),
    };
    return cmocka_run_group_tests_name("sequencer", tests, sb_test_pg_start, sb_test_pg_stop);
}
