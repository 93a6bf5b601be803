/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/oom.h"

#include "base/lease.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <stdio.h>

static char uri[SB_TEST_URI];
static char statements[150][32]; /* static text, and enough for the cache to grow */

static sb_code_t connection_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri, .search_path = "sagabus"};
    sb_code_t code = sb_pg_open(&pg, &config, err);
    for (int i = 0; code == SB_OK && i < 150; i++) {
        code = sb_pg_query(pg, statements[i], NULL, NULL, err);
        if (code == SB_NO_MEMORY) { /* the connection is as good as before */
            sb_error_t again = SB_ERROR_INIT;
            assert_ok(sb_pg_query(pg, statements[i], NULL, NULL, &again), &again);
        }
    }
    sb_pg_close(&pg);
    return code;
}

static sb_code_t lease_body(void *context, sb_error_t *err)
{
    sb_pg_t *pg = context;
    sb_lease_t lease;
    sb_lease_init(&lease, "relay");
    sb_code_t code = sb_lease_acquire(&lease, pg, "test", 60000, err);
    if (code == SB_OK)
        assert_string_equal(sb_buf_text(&lease.detail), "{}");
    else
        assert_int_equal(lease.epoch, 0);
    sb_lease_release(&lease, pg);
    sb_lease_fini(&lease);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
    return code;
}

static void a_connection(void **state)
{
    (void)state;
    (void)sb_test_pg_fresh(uri);
    for (int i = 0; i < 150; i++)
        (void)snprintf(statements[i], sizeof statements[i], "SELECT %d", i);
    assert_true(sb_test_oom_sweep(connection_body, NULL) >= 6);
}

static void a_lease(void **state)
{
    (void)state;
    (void)sb_test_pg_fresh(uri);
    sb_pg_t *pg = sb_test_pg_open(uri);
    assert_int_equal(sb_test_pg_int(pg, "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"), 0);
    (void)sb_test_oom_sweep(lease_body, pg);
    sb_pg_close(&pg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_connection), cmocka_unit_test(a_lease)};
    return cmocka_run_group_tests_name("oom", tests, sb_test_pg_start, sb_test_pg_stop);
}
