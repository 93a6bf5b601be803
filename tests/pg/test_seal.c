/* History that can be proven: what a superuser does behind our back is found, and named.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/keeper.h"
#include "events/store/verify.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/recent.h"

#include <pthread.h>
#include <stdio.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_progress_t *progress; /* NULL: the keeper hears of nobody */
    sb_keeper_t *keeper;
    pthread_t thread;
    bool keeping;
    sb_verify_report_t report;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void *run(void *context)
{
    sb_keeper_run(context);
    return NULL;
}

static void keep(fixture_t *f, const char *owner)
{
    sb_keeper_config_t config = {
        .pg_uri = f->uri, .owner = owner, .seal_ms = 1, .overdue_ms = 1000, .progress = f->progress};
    assert_ok(sb_keeper_open(&f->keeper, &config, &f->err), &f->err);
    assert_int_equal(pthread_create(&f->thread, NULL, run, f->keeper), 0);
    f->keeping = true;
}

static void stop_keeping(fixture_t *f)
{
    if (f->keeping) {
        sb_keeper_stop(f->keeper);
        assert_int_equal(pthread_join(f->thread, NULL), 0);
        sb_keeper_close(&f->keeper);
        f->keeping = false;
    }
}

/* Events of both classes with bodies of their own, and safe_seq as a sequencer would have left it. */
static void append(fixture_t *f, int from, int to)
{
    char sql[1024];
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) SELECT CASE WHEN n "
        "%% 5 "
        "= 0 THEN 7 ELSE 1 END, n, 1, CASE WHEN n %% 5 = 0 THEN 2 ELSE 1 END, gen_random_uuid(), CASE WHEN n "
        "%% 3 = 0 THEN '{\"source\":\"/shop\"}'::bytea END, convert_to('{\"n\":' || n || '}', 'UTF8') FROM "
        "generate_series(%d, %d) n ORDER BY n; UPDATE sagabus.lease SET cursor = (SELECT last_value FROM "
        "sagabus.event_seq) WHERE role = 'sequencer'",
        from, to);
    sb_test_pg_script(f->pg, sql);
}

static int64_t sealed(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT coalesce(max(to_seq), 0) FROM sagabus.event_seal");
}

static void seal_up(fixture_t *f, int64_t to)
{
    keep(f, "one");
    assert_soon(sealed(f) == to, 10000);
    stop_keeping(f);
}

static const sb_verify_report_t *verify(fixture_t *f, int64_t from, int64_t to, const sb_hash_t *root)
{
    sb_verify_config_t config = {.pg = f->pg, .from = from, .to = to, .root = root};
    assert_ok(sb_verify_run(&config, &f->report, &f->err), &f->err);
    return &f->report;
}

static void assert_fault(fixture_t *f, sb_fault_t kind, int64_t seq, const char *text)
{
    verify(f, 0, 0, NULL);
    if (f->report.fault != kind || f->report.fault_seq != seq)
        fail_msg("%s at %lld: %s", sb_fault_name(f->report.fault), (long long)f->report.fault_seq,
                 f->report.fault_text);
    assert_contains(f->report.fault_text, text);
}

#define UNDER_THE_TRIGGERS "SET session_replication_role = replica; "

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.uri));
    sb_test_pg_script(fixture.pg,
                      "INSERT INTO sagabus.event_type (name, version) VALUES ('order.created', 1);"
                      "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'o-1')");
    append(&fixture, 1, 300);
    seal_up(&fixture, 300);
    append(&fixture, 301, 600);
    seal_up(&fixture, 600);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    stop_keeping(f);
    sb_pg_close(&f->pg);
    return 0;
}

static void what_was_not_touched_is_intact(void **state)
{
    fixture_t *f = *state;
    append(f, 601, 700); /* not sealed yet */
    verify(f, 0, 0, NULL);
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.events, 600);
    assert_int_equal(f->report.seals, 2);
    assert_int_equal(f->report.sealed_to, 600);
    assert_int_equal(f->report.safe_seq, 700);
    verify(f, 400, 0, NULL);
    assert_int_equal(f->report.events, 300);
    verify(f, 0, 300, NULL);
    assert_int_equal(f->report.events, 300);
    assert_int_equal(f->report.head_seq, 300);
    sb_hash_t kept = f->report.head;
    verify(f, 0, 0, &kept);
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.root_seq, 300);
    kept.byte[5] ^= 1;
    verify(f, 0, 0, &kept);
    assert_int_equal(f->report.fault, SB_FAULT_ROOT);
}

static void every_column_that_was_altered_is_named(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *column, *value, *text;
    } cases[] = {
        {"data", "'{\"n\":43}'::bytea",
         "event 42 (stream order/o-1, number 1, version 42, type order.created) was altered: data"},
        {"meta", "NULL", "altered: meta"},
        {"version", "100042", "altered: version"},
        {"at", "at + interval '1 us'", "altered: time, id"},
        {"id", "gen_random_uuid()", "altered: time, id"},
        {"stream_no", "2", "altered: stream"},
        {"type_no", "2", "altered: type"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char sql[512];
        (void)snprintf(sql, sizeof sql,
                       "CREATE TEMP TABLE IF NOT EXISTS kept AS SELECT * FROM sagabus.event WHERE seq = "
                       "42;" UNDER_THE_TRIGGERS "UPDATE sagabus.event SET %s = %s WHERE seq = 42",
                       cases[i].column, cases[i].value);
        sb_test_pg_script(f->pg, sql);
        assert_fault(f, SB_FAULT_ALTERED, 42, cases[i].text);
        sb_test_pg_script(
            f->pg, "DELETE FROM sagabus.event WHERE seq = 42; INSERT INTO sagabus.event SELECT * FROM kept;"
                   "RESET session_replication_role");
        verify(f, 0, 0, NULL);
        assert_int_equal(f->report.fault, SB_FAULT_NONE);
    }
    sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET key = 'o-2'");
    assert_fault(f, SB_FAULT_ALTERED, 1, "the name of stream or type");
}

/* The keeper reads a type's name once: with whatever seal a type came, it is in it, and in those that follow.
 */
static void types_that_come_later_are_sealed_by_their_names(void **state)
{
    fixture_t *f = *state;
    keep(f, "one");
    for (int type = 2; type <= 70; type++) {
        char sql[512];
        (void)snprintf(
            sql, sizeof sql,
            "INSERT INTO sagabus.event_type (name, version) VALUES ('order.t%d', %d); INSERT INTO "
            "sagabus.event (stream_no, version, type_no, class, id, data) SELECT 1, %d + n, 1 + n %% %d, 1, "
            "gen_random_uuid(), '{}' FROM generate_series(1, %d) n ORDER BY n; UPDATE sagabus.lease SET "
            "cursor "
            "= (SELECT last_value FROM sagabus.event_seq) WHERE role = 'sequencer'",
            type, type, 1000 * type, type, type == 70 ? 600 : type);
        sb_test_pg_script(f->pg, sql);
        if (type % 16 == 0) { /* some together, some alone */
            int64_t last = sb_test_pg_int(f->pg, "SELECT max(seq) FROM sagabus.event");
            assert_soon(sealed(f) == last, 30000);
        }
    }
    int64_t last = sb_test_pg_int(f->pg, "SELECT max(seq) FROM sagabus.event");
    assert_soon(sealed(f) == last, 30000);
    stop_keeping(f);
    assert_int_equal(verify(f, 0, 0, NULL)->fault, SB_FAULT_NONE);
    int64_t seq = sb_test_pg_int(f->pg, "SELECT min(seq) FROM sagabus.event WHERE type_no = 9");
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS
                      "UPDATE sagabus.event_type SET name = 'order.forged' WHERE type_no = 9");
    verify(f, 0, 0, NULL);
    assert_int_not_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.fault_seq, seq);
}

static void a_row_that_went_and_one_that_came_are_named(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS "DELETE FROM sagabus.event WHERE seq = 600");
    assert_fault(f, SB_FAULT_MISSING, 600,
                 "event 600 (stream saga 7, number 7, version 600, type order.created) is missing");
    sb_test_pg_script(f->pg, "DELETE FROM sagabus.event WHERE seq IN (301, 302)");
    assert_fault(f, SB_FAULT_MISSING, 301, "order/o-1");
    sb_test_pg_script(f->pg,
                      "INSERT INTO sagabus.event (seq, stream_no, version, type_no, class, id, data) VALUES "
                      "(299, 9, 1, 1, 2, gen_random_uuid(), '{}')"); /* the same number in the other class */
    assert_fault(f, SB_FAULT_ADDED, 299, "was added");
    sb_test_pg_script(f->pg,
                      "INSERT INTO sagabus.event (seq, stream_no, version, type_no, class, id, data) VALUES "
                      "(0, 9, 2, 1, 1, gen_random_uuid(), '{}')"); /* before all others */
    assert_fault(f, SB_FAULT_ADDED, 0, "was added");
}

static void swapped_bodies_are_named(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS
                      "UPDATE sagabus.event e SET data = o.data FROM sagabus.event o WHERE "
                      "(e.seq, o.seq) IN ((17, 401), (401, 17))");
    assert_fault(f, SB_FAULT_ALTERED, 17, "altered: data");
    verify(f, 301, 0, NULL);
    assert_int_equal(f->report.fault_seq, 401);
}

static void a_seal_that_was_touched_is_named(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS "CREATE TEMP TABLE kept AS SELECT * FROM sagabus.event_seal");
    sb_test_pg_script(f->pg, "UPDATE sagabus.event_seal SET root = sha256('x') WHERE to_seq = 300");
    assert_fault(f, SB_FAULT_SEAL, 300, "the seal of 1 to 300 was altered");
    sb_test_pg_script(f->pg, "DELETE FROM sagabus.event_seal WHERE to_seq = 300");
    assert_fault(f, SB_FAULT_SEAL, 600, "the seals of 1 to 300 are missing");
    sb_test_pg_script(
        f->pg, "DELETE FROM sagabus.event_seal; INSERT INTO sagabus.event_seal SELECT * FROM kept WHERE "
               "to_seq = 300");
    assert_fault(f, SB_FAULT_SEAL, 600, "the seals of 301 to 600 are missing");
    /* nothing is sealed over it either */
    append(f, 601, 610);
    keep(f, "two");
    sb_test_sleep_ms(600);
    assert_int_equal(sealed(f), 300);
}

/* Event and seal rewritten together: the next seal does not follow any more. */
static void a_rewritten_seal_does_not_fit_the_next(void **state)
{
    fixture_t *f = *state;
    sb_hash_t kept;
    verify(f, 0, 0, NULL);
    kept = f->report.head;
    sb_test_pg_script(
        f->pg, UNDER_THE_TRIGGERS
        "UPDATE sagabus.event SET data = '{\"n\":0}' WHERE seq = 17; CREATE TEMP TABLE kept AS SELECT * FROM "
        "sagabus.event_seal WHERE to_seq = 600; DELETE FROM sagabus.event_seal; UPDATE sagabus.lease SET "
        "cursor = 0 WHERE role = 'keeper'; UPDATE sagabus.lease SET cursor = 300 WHERE role = 'sequencer'");
    seal_up(f, 300);
    sb_test_pg_script(
        f->pg,
        "INSERT INTO sagabus.event_seal SELECT * FROM kept; UPDATE sagabus.lease SET cursor = 600 WHERE "
        "role IN ('keeper', 'sequencer')");
    assert_fault(f, SB_FAULT_SEAL, 600, "does not follow the one before");
    /* all of it rewritten: only who kept a hash elsewhere can tell */
    sb_test_pg_script(
        f->pg, "DELETE FROM sagabus.event_seal; UPDATE sagabus.lease SET cursor = 0 WHERE role = 'keeper'");
    seal_up(f, 600);
    verify(f, 0, 0, NULL);
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    verify(f, 0, 0, &kept);
    assert_int_equal(f->report.fault, SB_FAULT_ROOT);
}

static void an_erased_body_still_verifies(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT sagabus.event_erase(ARRAY[33], 'asked for by the person')::int"), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_erase(ARRAY[33], 'again')::int"), 0);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE seq = 33 AND data = 'null' AND meta "
                              "IS NULL"),
        1);
    verify(f, 0, 0, NULL);
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.erased, 1);
    /* the hashes that stand for it are held to the seal as the body was */
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS "UPDATE sagabus.event_erased SET data_hash = sha256('x')");
    assert_fault(f, SB_FAULT_ALTERED, 33, "altered: data");
}

static void changes_are_refused(void **state)
{
    fixture_t *f = *state;
    static const char *const statements[] = {
        "UPDATE sagabus.event SET data = '{}' WHERE seq = 5",
        "UPDATE sagabus.event SET data = 'null', meta = NULL WHERE seq = 5", /* no hash is kept of it */
        "DELETE FROM sagabus.event WHERE seq = 5",
        "DELETE FROM sagabus.event_domain_20000000 WHERE seq = 6",
        "TRUNCATE sagabus.event",
        "TRUNCATE sagabus.event_domain",
        "TRUNCATE sagabus.event_saga",
        "TRUNCATE sagabus.event_domain_20000000",
        "UPDATE sagabus.event_seal SET leaves = leaves",
        "DELETE FROM sagabus.event_seal",
        "TRUNCATE sagabus.event_seal",
        "DELETE FROM sagabus.event_erased; DELETE FROM sagabus.event_seal",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        sb_error_t err = SB_ERROR_INIT;
        assert_code(SB_DENIED, sb_pg_script(f->pg, statements[i], &err), &err);
        assert_contains(err.message, "history is append-only");
    }
}

/* A seal is bounded, and its events lie in one block, as a partition does. */
static void a_backlog_is_sealed_in_pieces(void **state)
{
    fixture_t *f = *state;
    append(f, 601, 10000);
    sb_test_pg_script(f->pg, "SELECT setval('sagabus.event_seq', 999990)");
    append(f, 10001, 10020);
    seal_up(f, 1000010);
    verify(f, 0, 0, NULL);
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.events, 10020);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_seal WHERE leaves > 4096"), 0);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_seal WHERE to_seq = 1000000"),
                     1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT leaves FROM sagabus.event_seal WHERE to_seq = 1000010"),
                     10);
}

/* Events of sagas, which this process has written if it says so. */
static void append_saga(fixture_t *f, int from, int to)
{
    char sql[512];
    (void)snprintf(sql, sizeof sql,
                   "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 9, n, 1, "
                   "2, gen_random_uuid(), convert_to('{\"n\":' || n || '}', 'UTF8') FROM generate_series(%d, "
                   "%d) n ORDER BY n",
                   from, to);
    sb_test_pg_script(f->pg, sql);
    if (f->progress)
        sb_test_recent_keep(f->pg, f->progress, from, to);
}

static void make_safe(fixture_t *f, int64_t seq)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "UPDATE sagabus.lease SET cursor = %lld WHERE role = 'sequencer'",
                   (long long)seq);
    sb_test_pg_script(f->pg, sql);
}

/* What this process wrote is sealed as it was written: also what became of it before its seal is found. Of
 * 1501 to 3000 a part has given way to others, and is read from the store. */
static void what_this_process_wrote_is_sealed_as_it_was(void **state)
{
    fixture_t *f = *state;
    sb_progress_t progress;
    sb_progress_init(&progress);
    sb_progress_era_begin(&progress);
    f->progress = &progress;
    keep(f, "one");
    append_saga(f, 601, 650); /* of a type that the keeper has not seen yet: it reads the store */
    make_safe(f, 650);
    assert_soon(sealed(f) == 650, 10000);
    append_saga(f, 651, 1500);
    f->progress = NULL;
    append_saga(f, 1501, 3000);
    f->progress = &progress;
    sb_test_recent_keep(f->pg, &progress, 1501, 1800);
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS "UPDATE sagabus.event SET data = '{}' WHERE seq = 700; "
                                                "RESET session_replication_role");
    append(f, 3001, 3100);
    append_saga(f, 3101, 8000);
    make_safe(f, 8000);
    assert_soon(sealed(f) == 8000, 20000);
    stop_keeping(f);
    f->progress = NULL;
    sb_progress_fini(&progress);
    assert_fault(f, SB_FAULT_ALTERED, 700, "data");
    sb_test_pg_script(f->pg, UNDER_THE_TRIGGERS
                      "UPDATE sagabus.event SET data = convert_to('{\"n\":700}', 'UTF8') WHERE seq = 700");
    verify(f, 0, 0, NULL); /* all else agrees, from memory or not */
    assert_int_equal(f->report.fault, SB_FAULT_NONE);
    assert_int_equal(f->report.events, 8000);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_seal s WHERE newest_at IS DISTINCT FROM "
                              "(SELECT max(at) FROM sagabus.event WHERE seq <= s.to_seq)"),
        0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(what_was_not_touched_is_intact),
        CASE(every_column_that_was_altered_is_named),
        CASE(types_that_come_later_are_sealed_by_their_names),
        CASE(a_row_that_went_and_one_that_came_are_named),
        CASE(swapped_bodies_are_named),
        CASE(a_seal_that_was_touched_is_named),
        CASE(a_rewritten_seal_does_not_fit_the_next),
        CASE(an_erased_body_still_verifies),
        CASE(changes_are_refused),
        CASE(a_backlog_is_sealed_in_pieces),
        CASE(what_this_process_wrote_is_sealed_as_it_was),
    };
    return cmocka_run_group_tests_name("seal", tests, sb_test_pg_start, sb_test_pg_stop);
}
