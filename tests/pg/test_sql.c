/* Every embedded statement is PREPAREd against the migrated schema, so that a renamed column breaks the
 * build's tests and not a rare path in production.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include "sql_rooms.h"

#include <stdio.h>

typedef struct statement {
    const char *name;
    const char *text;
} statement_t;

static int prepare_all(sb_pg_t *pg, const char *room, const statement_t *statements)
{
    int failures = 0;
    for (int i = 0; statements[i].name; i++) {
        sb_buf_t sql = SB_BUF_INIT;
        sb_error_t err = SB_ERROR_INIT;
        sb_buf_printf(&sql, "PREPARE s_%s_%s AS %s", room, statements[i].name, statements[i].text);
        if (sb_pg_script(pg, sb_buf_text(&sql), &err) != SB_OK) {
            print_error("%s/sql/%s.sql: %s (%s)\n", room, statements[i].name, err.message, err.origin);
            failures++;
        }
        sb_buf_fini(&sql);
    }
    return failures;
}

static int prepare_rooms(sb_pg_t *pg)
{
    int failures = 0;
#define SB_ROW(room)                                                                                         \
    {                                                                                                        \
        statement_t list[512] = {{NULL, NULL}};                                                              \
        for (int i = 0; i < 511 && sb_##room##_sql_all[i].name; i++)                                         \
            list[i] = (statement_t){sb_##room##_sql_all[i].name, sb_##room##_sql_all[i].text};               \
        failures += prepare_all(pg, #room, list);                                                            \
    }
    SB_SQL_ROOMS(SB_ROW)
#undef SB_ROW
    return failures;
}

static void every_statement_fits_the_schema(void **state)
{
    (void)state;
    char uri[SB_TEST_URI];
    sb_pg_t *pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    sb_test_pg_script(pg, "SET search_path = sagabus, " SB_TEST_CLIENT_SCHEMA);
    int failures = prepare_rooms(pg);
    sb_pg_close(&pg);
    assert_int_equal(failures, 0);
}

/* What only the owner runs, when it migrates, detaches, or lets a restored store go on. */
#define OF_THE_OWNER                                                                                         \
    "'s_events_access_add', 's_events_access_grant', 's_events_access_remove', 's_base_migrate_record', "    \
    "'s_bus_store_fork', 's_events_detach_note', 's_events_detach_done', 's_events_event_erase'"

/* EXPLAIN looks at every right that the statement needs, and carries nothing out. */
static int explain_all(sb_pg_t *pg)
{
    static const char sql[] =
        "SELECT name, 'EXPLAIN EXECUTE ' || name || CASE cardinality(parameter_types) WHEN 0 THEN '' "
        "ELSE '(' || array_to_string(array_fill('NULL'::text, ARRAY[cardinality(parameter_types)]), "
        "',') || ')' END FROM pg_prepared_statements WHERE name LIKE 's!_%' ESCAPE '!' AND name NOT "
        "IN (" OF_THE_OWNER ") ORDER BY name";
    sb_pg_result_t *rows = NULL;
    sb_error_t err = SB_ERROR_INIT;
    int failures = 0;
    assert_ok(sb_pg_query(pg, sql, NULL, &rows, &err), &err);
    assert_true(sb_pg_rows(rows) > 50);
    for (int i = 0; i < sb_pg_rows(rows); i++) {
        sb_error_clear(&err);
        if (sb_pg_script(pg, sb_pg_get_text(rows, i, 1), &err) != SB_OK) {
            print_error("%s: %s (%s)\n", sb_pg_get_text(rows, i, 0), err.message, err.origin);
            failures++;
        }
    }
    sb_pg_result_free(rows);
    return failures;
}

static void the_engine_role_may_run_every_statement(void **state)
{
    (void)state;
    char uri[SB_TEST_URI];
    sb_pg_t *pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    sb_test_pg_script(pg,
                      "DO $$ BEGIN CREATE ROLE sql_engine; EXCEPTION WHEN duplicate_object THEN NULL; END $$;"
                      "SELECT sagabus.access_add('sql_engine', 'engine'); SELECT sagabus.access_grant();"
                      "GRANT USAGE ON SCHEMA " SB_TEST_CLIENT_SCHEMA " TO sql_engine;"
                      "GRANT ALL ON ALL TABLES IN SCHEMA " SB_TEST_CLIENT_SCHEMA " TO sql_engine;"
                      "GRANT ALL ON ALL SEQUENCES IN SCHEMA " SB_TEST_CLIENT_SCHEMA " TO sql_engine;"
                      "SET ROLE sql_engine; SET search_path = sagabus, " SB_TEST_CLIENT_SCHEMA);
    int failures = prepare_rooms(pg) + explain_all(pg);
    sb_pg_close(&pg);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_statement_fits_the_schema),
                                       cmocka_unit_test(the_engine_role_may_run_every_statement)};
    return cmocka_run_group_tests_name("sql", tests, sb_test_pg_start, sb_test_pg_stop);
}
