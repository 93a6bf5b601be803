/* SPDX-License-Identifier: Apache-2.0 */
#include "base/migrate.h"
#include "migrations/list.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <stdio.h>

static const sb_migration_t first[] = {{"0001_one", "CREATE TABLE one (a int); CREATE TABLE two (a int)"},
                                       {NULL, NULL}};
static const sb_migration_t second[] = {{"0001_one", "CREATE TABLE one (a int); CREATE TABLE two (a int)"},
                                        {"0002_two", "ALTER TABLE one ADD b int"},
                                        {NULL, NULL}};

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    fixture.pg = sb_test_pg_open(sb_test_pg_empty(fixture.uri));
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_pg_close(&f->pg);
    return 0;
}

static void applies_what_is_missing_once(void **state)
{
    fixture_t *f = *state;
    sb_migrate_report_t report;
    assert_ok(sb_migrate(f->pg, "o\"dd", first, &report, &f->err), &f->err);
    assert_int_equal(report.applied, 1);
    assert_int_equal(report.version, 1);
    assert_ok(sb_migrate(f->pg, "o\"dd", second, &report, &f->err), &f->err);
    assert_int_equal(report.applied, 1);
    assert_int_equal(report.version, 2);
    assert_ok(sb_migrate(f->pg, "o\"dd", second, &report, &f->err), &f->err);
    assert_int_equal(report.applied, 0);
    assert_int_equal(report.version, 2);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM \"o\"\"dd\".migration"), 2);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(b) FROM \"o\"\"dd\".one"), 0);
}

static void check_tells_behind_from_ahead(void **state)
{
    fixture_t *f = *state;
    assert_code(SB_UNAVAILABLE, sb_migrate_check(f->pg, "s", first, &f->err), &f->err);
    assert_contains(f->err.message, "is at no migration, this binary needs 0001_one");
    assert_ok(sb_migrate(f->pg, "s", first, NULL, &f->err), &f->err);
    assert_ok(sb_migrate_check(f->pg, "s", first, &f->err), &f->err);
    assert_code(SB_UNAVAILABLE, sb_migrate_check(f->pg, "s", second, &f->err), &f->err);
    assert_contains(f->err.message, "is at 0001_one, this binary needs 0002_two");
}

/* The release before runs on beside the one that migrated, and one may go back to it: unless a migration says
 * that it takes away what that release uses. */
static void a_later_schema_fits_unless_it_says_otherwise(void **state)
{
    fixture_t *f = *state;
    static const sb_migration_t fitting[] = {
        {"0001_one", "CREATE TABLE one (a int); CREATE TABLE two (a int)"},
        {"0002_two", "ALTER TABLE one ADD b int"},
        {"0003_drop_needs_0002", "DROP TABLE two"},
        {NULL, NULL}};
    sb_migrate_report_t report;
    assert_ok(sb_migrate(f->pg, "s", second, NULL, &f->err), &f->err);
    assert_ok(sb_migrate_check(f->pg, "s", first, &f->err), &f->err);
    assert_ok(sb_migrate(f->pg, "s", first, &report, &f->err), &f->err);
    assert_int_equal(report.applied, 0);
    assert_int_equal(report.version, 2);
    assert_ok(sb_migrate(f->pg, "s", fitting, NULL, &f->err), &f->err);
    assert_ok(sb_migrate_check(f->pg, "s", second, &f->err), &f->err);
    assert_code(SB_UNSUPPORTED, sb_migrate_check(f->pg, "s", first, &f->err), &f->err);
    assert_contains(f->err.message, "0003_drop_needs_0002");
    assert_contains(f->err.message, "knows only up to 0001_one");
    assert_code(SB_UNSUPPORTED, sb_migrate(f->pg, "s", first, NULL, &f->err), &f->err);
}

static void refuses_another_text_under_the_same_name(void **state)
{
    fixture_t *f = *state;
    static const sb_migration_t other[] = {{"0001_one", "CREATE TABLE three (a int)"}, {NULL, NULL}};
    static const sb_migration_t renamed[] = {{"0001_uno", "SELECT 1"}, {NULL, NULL}};
    assert_ok(sb_migrate(f->pg, "s", first, NULL, &f->err), &f->err);
    assert_code(SB_MISMATCH, sb_migrate(f->pg, "s", other, NULL, &f->err), &f->err);
    assert_code(SB_MISMATCH, sb_migrate(f->pg, "s", renamed, NULL, &f->err), &f->err);
    assert_code(SB_MISMATCH, sb_migrate_check(f->pg, "s", other, &f->err), &f->err);
}

static void a_failing_migration_leaves_nothing(void **state)
{
    fixture_t *f = *state;
    static const sb_migration_t failing[] = {
        {"0001_one", "CREATE TABLE one (a int); CREATE TABLE two (a int)"},
        {"0002_bad", "CREATE TABLE three (a int); SELECT 1/0"},
        {NULL, NULL}};
    assert_code(SB_INVALID, sb_migrate(f->pg, "s", failing, NULL, &f->err), &f->err);
    assert_contains(f->err.message, "0002_bad");
    assert_string_equal(f->err.origin, "pg:22012");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM s.migration"), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(to_regclass('s.three'))"), 0);
    assert_ok(sb_migrate(f->pg, "s", second, NULL, &f->err), &f->err);
}

static int migrate_in_a_child(void *context)
{
    const char *uri = context;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri};
    sb_code_t code = sb_pg_open(&pg, &config, NULL);
    if (code == SB_OK)
        code = sb_migrate(pg, SB_SCHEMA, sb_migrations, NULL, NULL);
    sb_pg_close(&pg);
    return (int)code;
}

static void runners_that_start_together_share_the_work(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t child[3];
    for (int i = 0; i < 3; i++)
        sb_test_fork(&child[i], migrate_in_a_child, f->uri);
    for (int i = 0; i < 3; i++) {
        assert_true(sb_test_wait(&child[i], 60000));
        assert_int_equal(child[i].exit_code, 0);
        sb_test_process_end(&child[i]);
    }
    assert_ok(sb_migrate_check(f->pg, SB_SCHEMA, sb_migrations, &f->err), &f->err);
}

static void the_client_schema_can_live_beside_others(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_migrate(f->pg, "svc_a", sb_client_migrations, NULL, &f->err), &f->err);
    assert_ok(sb_migrate(f->pg, "svc_b", sb_client_migrations, NULL, &f->err), &f->err);
    assert_ok(sb_migrate(f->pg, SB_SCHEMA, sb_migrations, NULL, &f->err), &f->err);
    assert_ok(sb_migrate_check(f->pg, "svc_a", sb_client_migrations, &f->err), &f->err);
}

static void a_plain_user_of_the_schema_may_check(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_migrate(f->pg, "s", first, NULL, &f->err), &f->err);
    sb_test_pg_script(f->pg,
                      "DROP ROLE IF EXISTS reader; CREATE ROLE reader; GRANT USAGE ON SCHEMA s TO reader;"
                      "GRANT SELECT, INSERT ON s.migration TO reader; SET ROLE reader");
    assert_ok(sb_migrate_check(f->pg, "s", first, &f->err), &f->err);
    assert_ok(sb_migrate(f->pg, "s", first, NULL, &f->err), &f->err); /* nothing to do: no rights needed */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(applies_what_is_missing_once, setup, teardown),
        cmocka_unit_test_setup_teardown(check_tells_behind_from_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(a_later_schema_fits_unless_it_says_otherwise, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_another_text_under_the_same_name, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failing_migration_leaves_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(runners_that_start_together_share_the_work, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_schema_can_live_beside_others, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plain_user_of_the_schema_may_check, setup, teardown),
    };
    return cmocka_run_group_tests_name("migrate", tests, sb_test_pg_start, sb_test_pg_stop);
}
