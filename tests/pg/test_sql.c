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

static void every_statement_fits_the_schema(void **state)
{
    (void)state;
    char uri[SB_TEST_URI];
    sb_pg_t *pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    int failures = 0;
    sb_test_pg_script(pg, "SET search_path = sagabus, " SB_TEST_CLIENT_SCHEMA);
#define SB_ROW(room)                                                                                         \
    {                                                                                                        \
        statement_t list[512] = {{NULL, NULL}};                                                              \
        for (int i = 0; i < 511 && sb_##room##_sql_all[i].name; i++)                                         \
            list[i] = (statement_t){sb_##room##_sql_all[i].name, sb_##room##_sql_all[i].text};               \
        failures += prepare_all(pg, #room, list);                                                            \
    }
    SB_SQL_ROOMS(SB_ROW)
#undef SB_ROW
    sb_pg_close(&pg);
    assert_int_equal(failures, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_statement_fits_the_schema)};
    return cmocka_run_group_tests_name("sql", tests, sb_test_pg_start, sb_test_pg_stop);
}
