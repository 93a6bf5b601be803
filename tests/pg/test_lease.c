/* SPDX-License-Identifier: Apache-2.0 */
#include "base/lease.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define OVERDUE_MS 300

static const char insert_sql[] = "INSERT INTO written VALUES ($1)";
static const char count_sql[] = "SELECT count(*) FROM written";

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *a;
    sb_pg_t *b;
    sb_lease_t la;
    sb_lease_t lb;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.a = NULL};
    fixture.a = sb_test_pg_open(sb_test_pg_fresh(fixture.uri));
    fixture.b = sb_test_pg_open(fixture.uri);
    sb_test_pg_script(fixture.a, "CREATE TABLE written (n int8)");
    sb_lease_init(&fixture.la, "relay");
    sb_lease_init(&fixture.lb, "relay");
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_lease_fini(&f->la);
    sb_lease_fini(&f->lb);
    sb_pg_close(&f->a);
    sb_pg_close(&f->b);
    return 0;
}

static void fill_advance(sb_pg_params_t *params, const sb_lease_t *lease, int64_t cursor, const char *detail)
{
    *params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_text(params, lease->role);
    sb_pg_add_int8(params, lease->epoch);
    sb_pg_add_int8(params, cursor);
    sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_text(params, detail);
}

/* What a role does: the guard first, then its writes, one transaction. */
static sb_code_t write_guarded(sb_pg_t *pg, const sb_lease_t *lease, int64_t cursor, int *failed_at,
                               sb_error_t *err)
{
    sb_pg_params_t advance;
    sb_pg_params_t insert = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    fill_advance(&advance, lease, cursor, NULL);
    sb_pg_add_int8(&insert, cursor);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &advance);
    sb_pg_batch_add(&batch, insert_sql, &insert);
    return sb_pg_batch_run(pg, &batch, NULL, failed_at, err);
}

static void exactly_one_of_two_holds(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_true(f->la.epoch > 0);
    assert_code(SB_BUSY, sb_lease_acquire(&f->lb, f->b, "b", 60000, &f->err), &f->err);
    assert_int_equal(f->lb.epoch, 0);
    assert_ok(sb_lease_beat(&f->la, f->a, &f->err), &f->err);
}

static void release_hands_over_at_once(void **state)
{
    fixture_t *f = *state;
    sb_pg_params_t advance;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    int64_t epoch = f->la.epoch;
    fill_advance(&advance, &f->la, 41, "{\"shard\": 7}");
    assert_ok(sb_pg_query(f->a, sb_sql_lease_advance, &advance, NULL, &f->err), &f->err);
    sb_lease_release(&f->la, f->a);
    assert_int_equal(f->la.epoch, 0);
    assert_ok(sb_lease_acquire(&f->lb, f->b, "b", 60000, &f->err), &f->err);
    assert_int_equal(f->lb.epoch, epoch + 1);
    assert_int_equal(f->lb.cursor, 41);
    assert_int_equal(f->lb.next, 1);
    assert_string_equal(sb_buf_text(&f->lb.detail), "{\"shard\": 7}");
    sb_lease_release(&f->lb, f->b);
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err); /* and back */
    sb_lease_release(&f->la, f->a);
    sb_lease_release(&f->la, f->a); /* twice is fine */
}

static void release_rolls_back_what_is_open(void **state)
{
    fixture_t *f = *state;
    sb_pg_params_t advance;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_ok(sb_pg_begin(f->a, &f->err), &f->err);
    fill_advance(&advance, &f->la, 9, NULL);
    assert_ok(sb_pg_query(f->a, sb_sql_lease_advance, &advance, NULL, &f->err), &f->err);
    sb_lease_release(&f->la, f->a);
    assert_ok(sb_lease_acquire(&f->lb, f->b, "b", 60000, &f->err), &f->err);
    assert_int_equal(f->lb.cursor, 0);
}

static void a_dead_connection_hands_over_at_once(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    sb_pg_close(&f->a);
    assert_within(sb_lease_acquire(&f->lb, f->b, "b", 60000, NULL) == SB_OK, 30000);
    assert_int_equal(f->lb.epoch, f->la.epoch + 1);
}

static void a_fenced_owner_writes_nothing(void **state)
{
    fixture_t *f = *state;
    int failed_at = 99;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_ok(write_guarded(f->a, &f->la, 1, NULL, &f->err), &f->err);
    sb_test_pg_script(f->b, "UPDATE sagabus.lease SET epoch = epoch + 1 WHERE role = 'relay'");
    assert_code(SB_FENCED, write_guarded(f->a, &f->la, 2, &failed_at, &f->err), &f->err);
    assert_int_equal(failed_at, 0);
    assert_false(f->err.retryable);
    assert_string_equal(f->err.origin, "pg:SB001");
    assert_code(SB_FENCED, sb_lease_beat(&f->la, f->a, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->b, count_sql), 1);
    assert_int_equal(sb_test_pg_int(f->b, "SELECT cursor FROM sagabus.lease WHERE role = 'relay'"), 1);
}

static int take_over_in_a_child(void *context)
{
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = context};
    sb_lease_t lease;
    sb_lease_init(&lease, "relay");
    if (sb_pg_open(&pg, &config, NULL) != SB_OK ||
        sb_lease_acquire(&lease, pg, "child", 60000, NULL) != SB_OK)
        return 99;
    int cursor = (int)lease.cursor;
    sb_lease_fini(&lease);
    sb_pg_close(&pg);
    return cursor;
}

/* The epoch, not the lock, is the fence: even with the session lock gone, the taker waits for the transaction
 * that has passed its guard, and reads what it wrote. */
static void takeover_waits_for_the_open_transaction(void **state)
{
    fixture_t *f = *state;
    sb_pg_params_t advance;
    sb_test_process_t child;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_ok(sb_pg_begin(f->a, &f->err), &f->err);
    fill_advance(&advance, &f->la, 42, NULL);
    assert_ok(sb_pg_query(f->a, sb_sql_lease_advance, &advance, NULL, &f->err), &f->err);
    sb_test_pg_script(f->a, "SELECT pg_advisory_unlock_all()");
    sb_test_fork(&child, take_over_in_a_child, f->uri);
    assert_false(sb_test_wait(&child, 400));
    assert_ok(sb_pg_commit(f->a, &f->err), &f->err);
    assert_true(sb_test_wait(&child, 60000));
    assert_int_equal(child.exit_code, 42);
    assert_code(SB_FENCED, write_guarded(f->a, &f->la, 43, NULL, &f->err), &f->err);
    sb_test_process_end(&child);
}

typedef struct stopped {
    const char *uri;
    int ready; /* written to when the transaction is open */
} stopped_t;

/* Opens a transaction that has passed its guard and written; its parent stops it there. Awake again, it must
 * not get anything in, neither that transaction nor a new one. */
static int hold_until_stopped(void *context)
{
    const stopped_t *stopped = context;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = stopped->uri, .idle_in_transaction_ms = 120000};
    sb_pg_params_t params;
    sb_lease_t lease;
    sb_lease_init(&lease, "relay");
    if (sb_pg_open(&pg, &config, NULL) != SB_OK ||
        sb_lease_acquire(&lease, pg, "child", 60000, NULL) != SB_OK)
        return 10;
    fill_advance(&params, &lease, 77, NULL);
    if (sb_pg_begin(pg, NULL) != SB_OK || sb_pg_query(pg, sb_sql_lease_advance, &params, NULL, NULL) != SB_OK)
        return 11;
    if (sb_pg_script(pg, "INSERT INTO written VALUES (77)", NULL) != SB_OK)
        return 12;
    if (write(stopped->ready, "x", 1) != 1 || raise(SIGSTOP) != 0)
        return 13;
    if (sb_pg_commit(pg, NULL) == SB_OK)
        return 14;
    if (sb_pg_reopen(pg, NULL) != SB_OK)
        return 15;
    int code = write_guarded(pg, &lease, 78, NULL, NULL) == SB_FENCED ? 0 : 16;
    if (code == 0 && sb_lease_acquire(&lease, pg, "child", 60000, NULL) != SB_BUSY)
        code = 17;
    sb_lease_fini(&lease);
    sb_pg_close(&pg);
    return code;
}

static void an_overdue_owner_is_ended_and_writes_nothing_later(void **state)
{
    fixture_t *f = *state;
    int pipe_ends[2];
    char c;
    assert_int_equal(pipe(pipe_ends), 0);
    stopped_t stopped = {f->uri, pipe_ends[1]};
    sb_test_process_t child;
    sb_test_fork(&child, hold_until_stopped, &stopped);
    assert_int_equal(read(pipe_ends[0], &c, 1), 1);
    assert_code(SB_BUSY, sb_lease_acquire(&f->lb, f->b, "b", 60000, &f->err), &f->err); /* not overdue yet */
    /* by the beat, not by idle_in_transaction_session_timeout */
    assert_within(sb_lease_acquire(&f->lb, f->b, "b", OVERDUE_MS, NULL) == SB_OK, 30000);
    assert_int_equal(f->lb.cursor, 0);
    assert_ok(write_guarded(f->b, &f->lb, 1, NULL, &f->err), &f->err);
    sb_test_signal(&child, SIGCONT);
    assert_true(sb_test_wait(&child, 60000));
    assert_int_equal(child.exit_code, 0);
    assert_int_equal(sb_test_pg_int(f->b, count_sql), 1);
    assert_ok(write_guarded(f->b, &f->lb, 2, NULL, &f->err), &f->err);
    sb_test_process_end(&child);
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
}

enum { PATIENCE_MS = 4000, BEATS = 10 };

/* For longer than it has without them. */
static void beats_keep_the_lease(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", PATIENCE_MS, &f->err), &f->err);
    for (int i = 0; i < BEATS; i++) {
        sb_test_sleep_ms(PATIENCE_MS / (BEATS - 2));
        assert_ok(sb_lease_beat(&f->la, f->a, &f->err), &f->err);
        assert_code(SB_BUSY, sb_lease_acquire(&f->lb, f->b, "b", PATIENCE_MS, &f->err), &f->err);
    }
}

/* The owner hangs, and the clock of the database's machine goes back an hour: its last beat lies ahead. */
static void an_owner_that_hangs_while_the_clock_goes_back_is_overdue(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", OVERDUE_MS, &f->err), &f->err);
    sb_test_pg_script(f->b, "UPDATE sagabus.lease SET beat = beat + interval '1 hour' WHERE role = 'relay'");
    assert_within(sb_lease_acquire(&f->lb, f->b, "b", OVERDUE_MS, NULL) == SB_OK, 30000);
    assert_int_equal(f->lb.epoch, f->la.epoch + 1);
    assert_false(sb_lease_beat(&f->la, f->a, NULL) == SB_OK); /* its backend was ended */
}

/* One that beats is left alone whatever its beats say: they change. */
static void an_owner_that_beats_while_the_clock_goes_back_keeps_the_lease(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", PATIENCE_MS, &f->err), &f->err);
    for (int i = 0; i < BEATS; i++) {
        sb_test_pg_script(f->a, "UPDATE sagabus.lease SET beat = clock_timestamp() + interval '1 hour' "
                                "WHERE role = 'relay'");
        assert_code(SB_BUSY, sb_lease_acquire(&f->lb, f->b, "b", PATIENCE_MS, &f->err), &f->err);
        sb_test_sleep_ms(PATIENCE_MS / (BEATS - 2));
    }
    assert_ok(sb_lease_beat(&f->la, f->a, &f->err), &f->err);
}

#define ROUNDS 25

/* Takes the lease again and again; each time moves the cursor on by three from where it was found. */
static int contend(void *context)
{
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = context};
    sb_lease_t lease;
    sb_lease_init(&lease, "relay");
    if (sb_pg_open(&pg, &config, NULL) != SB_OK)
        return 10;
    for (int round = 0; round < ROUNDS;) {
        sb_code_t code = sb_lease_acquire(&lease, pg, "child", 60000, NULL);
        if (code == SB_BUSY) {
            sb_test_sleep_ms(1);
            continue;
        }
        if (code != SB_OK)
            return 11;
        for (int i = 1; i <= 3; i++)
            if (write_guarded(pg, &lease, lease.cursor + i, NULL, NULL) != SB_OK)
                return 12;
        sb_lease_release(&lease, pg);
        round++;
    }
    sb_lease_fini(&lease);
    sb_pg_close(&pg);
    return 0;
}

static void contenders_never_overlap(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t child[3];
    for (int i = 0; i < 3; i++)
        sb_test_fork(&child[i], contend, f->uri);
    for (int i = 0; i < 3; i++) {
        assert_true(sb_test_wait(&child[i], 60000));
        assert_int_equal(child[i].exit_code, 0);
        sb_test_process_end(&child[i]);
    }
    assert_int_equal(sb_test_pg_int(f->a, count_sql), 3 * 3 * ROUNDS);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT count(DISTINCT n) FROM written"), 3 * 3 * ROUNDS);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT cursor FROM sagabus.lease WHERE role = 'relay'"),
                     3 * 3 * ROUNDS);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT epoch FROM sagabus.lease WHERE role = 'relay'"),
                     3 * ROUNDS);
}

static void a_new_role_needs_no_row(void **state)
{
    fixture_t *f = *state;
    sb_lease_init(&f->la, "view:orders");
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_int_equal(f->la.epoch, 1);
    assert_ok(write_guarded(f->a, &f->la, 1, NULL, &f->err), &f->err);
}

/* Two views whose names have the same 32-bit hash would share one lock: the second could never start, and
 * would end the first one's backend again and again. */
static void roles_whose_names_collide_do_not_meet(void **state)
{
    static const char find[] =
        "SELECT min(n), max(n) FROM (SELECT 'view:v' || g AS n, hashtext('view:v' || g) AS h "
        "FROM generate_series(1, 400000) g) s GROUP BY h HAVING count(*) > 1 LIMIT 1";
    fixture_t *f = *state;
    sb_pg_result_t *r = NULL;
    assert_ok(sb_pg_query(f->a, find, NULL, &r, &f->err), &f->err);
    assert_int_equal(sb_pg_rows(r), 1);
    sb_lease_init(&f->la, sb_pg_get_text(r, 0, 0));
    sb_lease_init(&f->lb, sb_pg_get_text(r, 0, 1));
    sb_pg_result_free(r);
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_ok(sb_lease_acquire(&f->lb, f->b, "b", 60000, &f->err), &f->err);
    assert_ok(sb_lease_beat(&f->la, f->a, &f->err), &f->err);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* An epoch that was told and then lost with the server would be told again, to another. The trigger runs when
 * the transaction commits. */
static void a_takeover_is_on_disk_before_it_is_told(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->b,
        "CREATE TABLE seen (setting text); CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END "
        "$$; CREATE CONSTRAINT TRIGGER see AFTER INSERT OR UPDATE ON sagabus.lease DEFERRABLE INITIALLY "
        "DEFERRED FOR EACH ROW EXECUTE FUNCTION see()");
    sb_test_pg_script(f->a, "SET synchronous_commit = off");
    assert_ok(sb_lease_acquire(&f->la, f->a, "a", 60000, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->b, "SELECT count(*) FROM seen WHERE setting = 'on'"), 1);
    assert_int_equal(sb_test_pg_int(f->b, "SELECT count(*) FROM seen WHERE setting <> 'on'"), 0);
    assert_int_equal(sb_test_pg_int(f->a, "SELECT (current_setting('synchronous_commit') = 'off')::int"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(exactly_one_of_two_holds),
        CASE(release_hands_over_at_once),
        CASE(release_rolls_back_what_is_open),
        CASE(a_dead_connection_hands_over_at_once),
        CASE(a_fenced_owner_writes_nothing),
        CASE(takeover_waits_for_the_open_transaction),
        CASE(an_overdue_owner_is_ended_and_writes_nothing_later),
        CASE(beats_keep_the_lease),
        CASE(an_owner_that_hangs_while_the_clock_goes_back_is_overdue),
        CASE(an_owner_that_beats_while_the_clock_goes_back_keeps_the_lease),
        CASE(contenders_never_overlap),
        CASE(a_new_role_needs_no_row),
        CASE(a_takeover_is_on_disk_before_it_is_told),
        CASE(roles_whose_names_collide_do_not_meet),
    };
    return cmocka_run_group_tests_name("lease", tests, sb_test_pg_start, sb_test_pg_stop);
}
