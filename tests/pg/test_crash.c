/* The store under accidents: writers, readers and two sequencers in processes of their own, the sequencers
 * with writers beside them that tell what is on disk, while backends, the postmaster, the whole server,
 * sequencers and writers are killed at random moments. In the end the table is judged by what the writers
 * were told and the readers were given.
 *
 * The test must be able to find what it looks for: a reader that does not keep to safe_seq, a safe_seq that
 * does not wait for the disk, and a writer that tells of what is not on disk must all be caught.
 *
 * Some ten seconds; SB_TEST_LONG=1: hundreds of accidents, a larger number: so many. SB_TEST_SEED repeats a
 * run's choices, though not the scheduler's. A kill is not a power cut: what the kernel was given stays.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "events/store/verify.h"
#include "tests/pg/crash_check.h"
#include "tests/support/assert.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define WRITERS    4 /* that wait for the disk; the first is an appender with several threads */
#define LAX        2 /* that do not */
#define SEQUENCERS CRASH_SLOTS

enum { CAREFUL, CARELESS, READERS };

typedef enum accident {
    END_SESSIONS,    /* of writers, readers and sequencers, by the server */
    KILL_BACKEND,    /* the server starts itself again */
    KILL_POSTMASTER, /* the backends notice by themselves */
    KILL_SERVER,     /* all at once */
    KILL_SEQUENCER,  /* another takes over */
    STOP_SEQUENCER,  /* it comes back when another has taken over */
    KILL_WRITER,     /* in the middle of an append */
    KILL_LAX,        /* the server, while only those write that do not wait for the disk */
    KILL_LAX_UNSAFE, /* the same, and nothing has become safe meanwhile */
    ACCIDENTS
} accident_t;

typedef struct world {
    char uri[SB_TEST_URI];
    char dir[64];
    crash_shared_t *shared;
    sb_pg_t *pg;
    unsigned random;
    crash_actor_t writers[WRITERS + LAX];
    crash_actor_t sequencers[SEQUENCERS];
    crash_actor_t readers[READERS];
    int writer_logs;
    int sequencer_count;
    bool lies;
    crash_history_t history;
} world_t;

static world_t world;

/* ---- setting up ---- */

static void apply_schemas(sb_pg_t *pg)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    assert_ok(sb_catalog_new(&catalog, &err), &err);
    assert_ok(sb_catalog_apply(catalog, pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &err), &err);
    sb_catalog_free(&catalog);
}

static void start_writer(world_t *w, int i)
{
    w->writers[i] = (crash_actor_t){.uri = w->uri,
                                    .dir = w->dir,
                                    .shared = w->shared,
                                    .number = w->writer_logs,
                                    .combined = i == 0,
                                    .lax = i >= WRITERS};
    w->writer_logs += i == 0 ? CRASH_THREADS : 1;
    crash_start_writer(&w->writers[i]);
}

static void start_sequencer(world_t *w, int i)
{
    w->sequencers[i] = (crash_actor_t){.uri = w->uri,
                                       .dir = w->dir,
                                       .shared = w->shared,
                                       .number = w->writer_logs,
                                       .slot = i,
                                       .lies = w->lies};
    w->writer_logs += CRASH_TELLERS;
    crash_start_sequencer(&w->sequencers[i]);
}

static unsigned seed(void)
{
    const char *text = getenv("SB_TEST_SEED");
    unsigned value = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("SB_TEST_SEED=%u\n", value);
    return value;
}

static int setup(void **state)
{
    world_t *w = &world;
    *w = (world_t){.random = seed(), .sequencer_count = SEQUENCERS};
    w->pg = sb_test_pg_open(sb_test_pg_fresh(w->uri));
    apply_schemas(w->pg);
    /* What nobody waits for stays in memory for long, so that a crash loses it. */
    sb_test_pg_script(w->pg, "ALTER SYSTEM SET wal_writer_delay = '10s'");
    sb_test_pg_script(w->pg, "SELECT pg_reload_conf()");
    (void)snprintf(w->dir, sizeof w->dir, "/tmp/sagabus-crash-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    w->shared = mmap(NULL, sizeof *w->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(w->shared != MAP_FAILED);
    *state = w;
    return 0;
}

static void start_all(world_t *w)
{
    for (int i = 0; i < WRITERS + LAX; i++)
        start_writer(w, i);
    for (int i = 0; i < w->sequencer_count; i++)
        start_sequencer(w, i);
    for (int i = 0; i < READERS; i++) {
        w->readers[i] = (crash_actor_t){
            .uri = w->uri, .dir = w->dir, .shared = w->shared, .number = i, .careless = i == CARELESS};
        crash_start_reader(&w->readers[i]);
    }
}

static int teardown(void **state)
{
    world_t *w = *state;
    for (int i = 0; i < WRITERS + LAX; i++)
        sb_test_process_end(&w->writers[i].process);
    for (int i = 0; i < w->sequencer_count; i++)
        sb_test_process_end(&w->sequencers[i].process);
    for (int i = 0; i < READERS; i++)
        sb_test_process_end(&w->readers[i].process);
    sb_pg_close(&w->pg);
    sb_test_remove_tree(w->dir);
    (void)munmap(w->shared, sizeof *w->shared);
    return 0;
}

/* ---- accidents ---- */

static int below(world_t *w, int limit)
{
    return rand_r(&w->random) % limit;
}

static void signal_all(crash_actor_t *actors, int count, int number)
{
    for (int i = 0; i < count; i++)
        sb_test_signal(&actors[i].process, number);
}

static bool answers(world_t *w)
{
    return sb_pg_reopen(w->pg, NULL) == SB_OK;
}

/* The server is back. Nobody may make anything safe before it is noted what the crash has left. */
static void note_crash(world_t *w)
{
    assert_soon(answers(w), 60000);
    crash_take_mark(&w->history, w->pg);
}

static void end_sessions(world_t *w)
{
    sb_test_pg_script(w->pg,
                      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
                      "current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend' "
                      "AND random() < 0.6");
}

static void kill_backend(world_t *w)
{
    int64_t pid =
        sb_test_pg_int(w->pg, "SELECT coalesce((SELECT pid FROM pg_stat_activity WHERE datname = "
                              "current_database() AND pid <> pg_backend_pid() AND application_name = "
                              "'crash writer' ORDER BY random() LIMIT 1), 0)");
    if (!sb_test_pg_kill_backend(pid))
        return;
    (void)atomic_fetch_add(&w->shared->epoch, 1);
    note_crash(w);
}

static void kill_server(world_t *w, void (*how)(void))
{
    how();
    (void)atomic_fetch_add(&w->shared->epoch, 1);
    sb_test_pg_restart();
    note_crash(w);
}

/* Nobody may wait for the disk meanwhile: that would bring to disk what the others have written, too. Of
 * those who are stopped in the middle some hold a number, which holds back safe_seq; where only a liar goes
 * on they are asked to pause instead. */
static void kill_lax(world_t *w, bool unsafe)
{
    atomic_store(&w->shared->hold_tellers, true);
    if (w->lies) {
        atomic_store(&w->shared->hold_writers, true);
        sb_test_sleep_ms(20);
    } else {
        signal_all(w->writers, WRITERS, SIGSTOP);
    }
    if (unsafe)
        signal_all(w->sequencers, w->sequencer_count, SIGSTOP);
    sb_test_sleep_ms(40 + below(w, 60));
    sb_test_pg_kill_all();
    signal_all(w->sequencers, w->sequencer_count, SIGSTOP);
    (void)atomic_fetch_add(&w->shared->epoch, 1);
    sb_test_pg_restart();
    note_crash(w);
    atomic_store(&w->shared->hold_writers, false);
    atomic_store(&w->shared->hold_tellers, false);
}

static void happen(world_t *w, accident_t accident)
{
    int i = below(w, SEQUENCERS);
    bool crash = accident == KILL_BACKEND || accident == KILL_POSTMASTER || accident == KILL_SERVER;
    if (crash) /* a moment is as good as any other for its statement on the server */
        signal_all(w->sequencers, w->sequencer_count, SIGSTOP);
    if (accident == END_SESSIONS)
        end_sessions(w);
    else if (accident == KILL_BACKEND)
        kill_backend(w);
    else if (accident == KILL_POSTMASTER)
        kill_server(w, sb_test_pg_kill_postmaster);
    else if (accident == KILL_SERVER)
        kill_server(w, sb_test_pg_kill_all);
    else if (accident == KILL_LAX || accident == KILL_LAX_UNSAFE)
        kill_lax(w, accident == KILL_LAX_UNSAFE);
    if (accident == KILL_SEQUENCER) {
        sb_test_process_end(&w->sequencers[i].process);
        start_sequencer(w, i);
    } else if (accident == STOP_SEQUENCER) {
        sb_test_signal(&w->sequencers[i].process, SIGSTOP);
        sb_test_sleep_ms(below(w, 900));
    } else if (accident == KILL_WRITER) {
        i = below(w, WRITERS + LAX);
        sb_test_process_end(&w->writers[i].process);
        start_writer(w, i);
    }
    signal_all(w->sequencers, w->sequencer_count, SIGCONT);
    signal_all(w->writers, WRITERS, SIGCONT);
}

/* Each kind once in a random order, then again. */
static void have_accidents(world_t *w, int count)
{
    accident_t order[ACCIDENTS] = {END_SESSIONS};
    for (int n = 0; n < count; n++) {
        if (n % ACCIDENTS == 0)
            for (int i = 0; i < ACCIDENTS; i++) {
                int at = below(w, i + 1);
                order[i] = order[at];
                order[at] = (accident_t)i;
            }
        sb_test_sleep_ms(20 + below(w, 180));
        happen(w, order[n % ACCIDENTS]);
    }
}

/* ---- the end ---- */

static bool tellers_are_done(world_t *w)
{
    bool all = true;
    for (int i = 0; i < w->sequencer_count; i++)
        for (int k = 0; k < CRASH_TELLERS; k++)
            all = all && atomic_load(&w->shared->teller_done[i][k]);
    return all;
}

static int64_t settle(world_t *w)
{
    atomic_store(&w->shared->stop_writing, true);
    assert_soon(tellers_are_done(w), 60000);
    for (int i = 0; i < WRITERS + LAX; i++)
        assert_true(sb_test_wait(&w->writers[i].process, 60000));
    assert_soon(answers(w), 60000);
    assert_soon(sb_test_pg_int(w->pg,
                               "SELECT (l.cursor >= (SELECT coalesce(max(seq), 0) FROM sagabus.event))::int "
                               "FROM sagabus.lease l WHERE role = 'sequencer'") == 1,
                60000);
    atomic_store(&w->shared->stop_reading, true);
    for (int i = 0; i < READERS; i++) {
        assert_true(sb_test_wait(&w->readers[i].process, 60000));
        assert_int_equal(w->readers[i].process.exit_code, 0);
    }
    return sb_test_pg_int(w->pg, "SELECT coalesce(max(seq), 0) FROM sagabus.event");
}

static void print_reading(const char *who, const crash_reading_t *r)
{
    print_message("%s reader: given %zu, skipped %zu, gone again %zu, repeated %zu, out of order %zu\n", who,
                  r->given, r->skipped, r->phantom, r->repeated, r->disordered);
}

static size_t faults_of(const crash_reading_t *r)
{
    return r->skipped + r->phantom + r->repeated + r->disordered;
}

static void assert_sealed_history_holds(world_t *w)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_verify_config_t config = {.pg = w->pg};
    sb_verify_report_t report;
    assert_soon(sb_test_pg_int(w->pg, "SELECT (count(*) > 0)::int FROM sagabus.event_seal") == 1, 20000);
    assert_ok(sb_verify_run(&config, &report, &err), &err);
    if (report.fault != SB_FAULT_NONE)
        fail_msg("event verify: %s", report.fault_text);
}

static int accidents(void)
{
    const char *text = getenv("SB_TEST_LONG");
    int count = text ? (int)strtol(text, NULL, 10) : 0;
    return count > 1 ? count : count == 1 ? 400 : ACCIDENTS;
}

static void what_was_acknowledged_stays_and_what_was_given_too(void **state)
{
    world_t *w = *state;
    crash_faults_t faults;
    crash_writes_t writes;
    crash_reading_t careful, careless;
    start_all(w);
    have_accidents(w, accidents());
    int64_t last = settle(w);
    crash_check_writes(w->pg, w->dir, w->writer_logs, &w->history, &faults, &writes);
    print_message(
        "%d crashes; %d appends acknowledged (%d when asked again), %d conflicts, %d refused, %d not "
        "known; of the lax ones %d vanished\n",
        w->history.count, writes.acked, writes.repeated, writes.conflicts, writes.refused, writes.unknown,
        writes.vanished);
    crash_check_reading(w->pg, w->dir, CAREFUL, last, &careful);
    crash_check_reading(w->pg, w->dir, CARELESS, last, &careless);
    print_reading("careful", &careful);
    print_reading("careless", &careless);

    int64_t by_appender = sb_test_pg_int(
        w->pg,
        "SELECT count(*) FROM sagabus.event WHERE convert_from(data, 'UTF8') ~ '^.\"order_id\":\"[0-3]/'");
    print_message("%lld events by the first appender\n", (long long)by_appender);
    assert_true(writes.acked > 100);
    assert_int_equal(faults.lost, 0);
    assert_int_equal(faults.half, 0);
    assert_int_equal(faults.refused, 0);
    assert_int_equal(faults.twice, 0);
    assert_int_equal(faults.streams, 0);
    assert_int_equal(faults.prefixes, 0);
    assert_int_equal(faults_of(&careful), 0);
    assert_sealed_history_holds(w);
    assert_true(faults_of(&careless) > 0); /* or this test is blind */
}

static int64_t safe_seq(world_t *w)
{
    return sb_test_pg_int(w->pg,
                          "SELECT coalesce(max(cursor), 0) FROM sagabus.lease WHERE role = 'sequencer'");
}

/* Until readers have been given what a crash took back: most often by the second. Says by which. A crash
 * before a sequencer leads again would prove nothing. */
static void crash_until_caught(world_t *w)
{
    crash_faults_t faults;
    crash_writes_t writes;
    crash_reading_t careful;
    start_all(w);
    for (int i = 0; i < 60; i++) {
        int64_t before = safe_seq(w);
        assert_soon(safe_seq(w) >= before + 20, 60000);
        kill_lax(w, false);
        signal_all(w->sequencers, w->sequencer_count, SIGCONT);
        signal_all(w->writers, WRITERS, SIGCONT);
        crash_check_reading(w->pg, w->dir, CAREFUL, INT64_MAX, &careful);
        if (careful.phantom > 0) {
            print_message("caught by crash %d\n", i + 1);
            break;
        }
    }
    assert_true(settle(w) > 0);
    crash_check_writes(w->pg, w->dir, w->writer_logs, &w->history, &faults, &writes);
    crash_check_reading(w->pg, w->dir, CAREFUL, INT64_MAX, &careful);
    print_reading("careful", &careful);
    assert_true(careful.phantom > 0);
    assert_int_equal(faults.lost + faults.half + faults.refused + faults.twice + faults.streams, 0);
}

/* A safe_seq that is told before it is on disk lets readers see what a crash takes back. */
static void a_safe_seq_that_does_not_wait_for_the_disk_is_caught(void **state)
{
    world_t *w = *state;
    sb_test_pg_script(w->pg,
                      "CREATE FUNCTION public.no_wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM "
                      "set_config('synchronous_commit', 'off', true); RETURN NEW; END $$;"
                      "CREATE TRIGGER no_wait BEFORE UPDATE ON sagabus.lease FOR EACH ROW EXECUTE FUNCTION "
                      "public.no_wait()");
    crash_until_caught(w);
}

/* The sequencer does not wait for what it was told is on disk. */
static void a_writer_that_tells_of_what_is_not_on_disk_is_caught(void **state)
{
    world_t *w = *state;
    w->lies = true;
    w->sequencer_count = 1;
    crash_until_caught(w);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(what_was_acknowledged_stays_and_what_was_given_too),
        CASE(a_safe_seq_that_does_not_wait_for_the_disk_is_caught),
        CASE(a_writer_that_tells_of_what_is_not_on_disk_is_caught),
    };
    return cmocka_run_group_tests_name("crash", tests, sb_test_pg_start, sb_test_pg_stop);
}
