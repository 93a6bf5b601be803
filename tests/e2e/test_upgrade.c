/* The release before and this one on one database, over sagas that are open all the time: the old one drives,
 * the new one takes over from it, and the old one takes over again what the new one has begun.
 *
 * SB_TEST_OLD is the binary of the release before; `./dev upgrade` builds it. The database is migrated by
 * this release, as an upgrade does it first. An old one that refuses the schema skips the test and says why:
 * before the first release migrations are still amended.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/load.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READY_MS 30000

static sb_stack_t stack; /* its own serve is the new release */
static sb_test_process_t old;
static char old_url[64];
static sb_load_t *load;

static const char *old_binary(void)
{
    const char *path = getenv("SB_TEST_OLD");
    return path && path[0] ? path : NULL;
}

static bool is_driven_by(const sb_test_process_t *process)
{
    char like[64];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *found = NULL;
    (void)snprintf(like, sizeof like, "%%:%d:%%", (int)process->pid); /* host:pid:random */
    sb_pg_add_text(&params, like);
    assert_ok(sb_pg_query(stack.pg, "SELECT 1 FROM sagabus.lease WHERE role = 'saga:0' AND owner LIKE $1",
                          &params, &found, NULL),
              NULL);
    bool is = sb_pg_rows(found) == 1;
    sb_pg_result_free(found);
    return is;
}

/* The new release's own port is one above what the stack chose for the first. */
static void start_old(void)
{
    static char listen[64];
    const char *environment[12];
    const char *const argv[] = {old_binary(), "serve", NULL};
    memcpy(environment, stack.environment, sizeof environment);
    if (!old_url[0]) {
        sb_test_process_t probe = {.pid = 0};
        sb_stack_second_serve(&stack, &probe, old_url); /* for a free port */
        sb_test_signal(&probe, SIGKILL);
        (void)sb_test_wait(&probe, 60000);
        sb_test_process_end(&probe);
    }
    (void)snprintf(listen, sizeof listen, "SAGABUS_HTTP_LISTEN=%s", old_url + strlen("http://"));
    environment[3] = listen;
    sb_test_spawn(&old, argv, environment, NULL);
}

static void end(sb_test_process_t *process, int signal)
{
    sb_test_signal(process, signal);
    assert_true(sb_test_wait(process, 60000));
    sb_test_process_end(process);
}

static void skip_if_refused(void)
{
    char *said = sb_test_output(&old);
    char *why = said ? strstr(said, "schema") : NULL;
    print_message("%.600s\n", said ? said : "");
    free(said);
    if (why)
        sb_test_skip("upgrade", "the release before does not take this schema, see above");
    fail_msg("the release before does not run");
}

static int set_up(void **state)
{
    if (!old_binary() || access(old_binary(), X_OK) != 0)
        sb_test_skip("upgrade", "no build of the release before: ./dev upgrade makes one and runs this test");
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    sb_stack_set(&stack, "SAGABUS_LEASE_OVERDUE_MS=2s");
    sb_stack_start_participants(&stack);
    start_old();
    int64_t until = sb_test_mono_ms() + READY_MS;
    while (!is_driven_by(&old)) {
        if (sb_test_wait(&old, 0) || sb_test_mono_ms() > until)
            skip_if_refused();
        sb_test_sleep_ms(20);
    }
    return 0;
}

static int tear_down(void **state)
{
    sb_load_free(&load);
    if (old.pid)
        end(&old, SIGTERM);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static void both_releases_drive_the_same_sagas(void **state)
{
    (void)state;
    load = sb_load_start("upgrade", old_url, stack.url, 5);
    sb_stack_start_serve(&stack);
    sb_load_await(load, 60, READY_MS);
    end(&old, SIGTERM); /* as a rolling upgrade does */
    assert_soon(is_driven_by(&stack.serve), READY_MS);
    sb_load_await(load, 60, READY_MS);
    start_old(); /* and back: what the new one has begun is an old one's to end */
    sb_load_await(load, 30, READY_MS);
    sb_stack_kill_serve(&stack);
    assert_soon(is_driven_by(&old), READY_MS);
    sb_load_await(load, 60, READY_MS);
    sb_stack_start_serve(&stack);
    end(&old, SIGKILL);
    assert_soon(is_driven_by(&stack.serve), READY_MS);
    sb_load_await(load, 60, READY_MS);
    sb_load_stop(load, 20000);
    sb_load_check(load, &stack, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(both_releases_drive_the_same_sagas)};
    return cmocka_run_group_tests_name("upgrade", tests, set_up, tear_down);
}
