/* `sagabus serve` before there is anything to serve from.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdlib.h>

/* Its log is what an operator looks at first, and it may wait for hours. */
static void says_that_it_waits_for_postgresql(void **state)
{
    (void)state;
    const char *binary = getenv("SAGABUS_BIN");
    if (!binary)
        sb_test_skip("binary", "SAGABUS_BIN is not set; `./dev test` sets it");
    const char *const argv[] = {
        binary, "serve", "--listen", "127.0.0.1:0", "--pg", "postgresql://127.0.0.1:1/none", NULL};
    sb_test_process_t serve = {0};
    sb_test_spawn(&serve, argv, NULL, NULL);
    assert_true(sb_test_output_has(&serve, "id=READY-CHECK", 60000));
    assert_true(sb_test_output_has(&serve, "postgres: connect to PostgreSQL", 60000));
    sb_test_signal(&serve, SIGTERM);
    assert_true(sb_test_wait(&serve, 60000));
    assert_int_equal(serve.exit_code, 0);
    sb_test_process_end(&serve);
}

/* Who has set nothing yet is told what to set. */
static void says_where_the_address_of_postgresql_comes_from(void **state)
{
    (void)state;
    const char *binary = getenv("SAGABUS_BIN");
    if (!binary)
        sb_test_skip("binary", "SAGABUS_BIN is not set; `./dev test` sets it");
    const char *const environment[] = {"SAGABUS_PG", "SAGABUS_PG_URI", "PGPORT=1",
                                       NULL}; /* unset, unset, nobody's */
    const char *const nothing[] = {binary, "--config", "/dev/null", "migrate", NULL};
    const char *const given[] = {binary, "migrate", "--pg", "postgresql://127.0.0.1:1/none", NULL};
    sb_test_process_t migrate = {0};
    sb_test_spawn(&migrate, nothing, environment, NULL);
    assert_true(sb_test_wait(&migrate, 60000));
    assert_int_equal(migrate.exit_code, 3);
    assert_true(sb_test_output_has(&migrate, "--pg URI or SAGABUS_PG", 0));
    sb_test_process_end(&migrate);
    sb_test_spawn(&migrate, given, NULL, NULL);
    assert_true(sb_test_wait(&migrate, 60000));
    assert_int_equal(migrate.exit_code, 3);
    assert_true(sb_test_output_has(&migrate, "sagabus: connect to PostgreSQL", 0));
    sb_test_process_end(&migrate);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(says_that_it_waits_for_postgresql),
                                       cmocka_unit_test(says_where_the_address_of_postgresql_comes_from)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
