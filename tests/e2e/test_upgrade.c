/* The release before and this one on one database, over sagas that are open all the time, as a rolling
 * upgrade goes: the old one migrates and drives, the new one migrates beside it and takes a shard, takes
 * over, is gone back from and killed, and takes over again. The participants, built with the old library at
 * first, follow.
 *
 * SB_TEST_OLD is the folder of the old build; `./dev test` and `./dev upgrade` make it (tests/e2e/release).
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
#define PAYMENT  2 /* of the stack's participants */
#define OPEN     12

static sb_stack_t stack; /* its own serve is the new release */
static char old_sagabus[256], old_participants[256];
static sb_test_process_t old;
static char old_url[64], old_listen[96];
static sb_load_t *load;

/* The first column of a query about what an instance drives: its leases say host:pid:random. */
static void ask(const char *sql, const char *about, sb_pg_result_t **found)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, about);
    assert_ok(sb_pg_query(stack.pg, sql, &params, found, &err), &err);
    assert_int_equal(sb_pg_rows(*found), 1);
}

static int64_t count_of(const char *sql, const sb_test_process_t *process)
{
    char like[64];
    sb_pg_result_t *found = NULL;
    (void)snprintf(like, sizeof like, "%%:%d:%%", (int)process->pid);
    ask(sql, like, &found);
    int64_t count = sb_pg_get_int(found, 0, 0);
    sb_pg_result_free(found);
    return count;
}

static int64_t shards_of(const sb_test_process_t *process)
{
    return count_of("SELECT count(*) FROM sagabus.lease WHERE role LIKE 'saga:%' AND owner LIKE $1", process);
}

static int64_t open_of(const sb_test_process_t *process)
{
    return count_of("SELECT count(*) FROM sagabus.saga s JOIN sagabus.lease l ON l.role = 'saga:' || s.shard "
                    "WHERE s.status NOT IN (2, 4) AND l.owner LIKE $1",
                    process);
}

/* On the same port every time: clients know it. */
static void start_old(void)
{
    if (!old_url[0]) {
        sb_stack_second_serve(&stack, &old, old_url);
        (void)snprintf(old_listen, sizeof old_listen, "SAGABUS_HTTP_LISTEN=%s", old_url + strlen("http://"));
        return;
    }
    const char *environment[sizeof stack.environment / sizeof stack.environment[0]];
    const char *const argv[] = {old_sagabus, "serve", NULL};
    memcpy(environment, stack.environment, sizeof environment);
    environment[3] = old_listen;
    sb_test_spawn(&old, argv, environment, NULL);
}

static void end(sb_test_process_t *process, int signal)
{
    sb_test_signal(process, signal);
    assert_true(sb_test_wait(process, 60000));
    sb_test_process_end(process);
}

/* Nobody is paid from here on: what is started stays open, and its driver goes away with it open. */
static void hold_sagas_open(const sb_test_process_t *driver)
{
    sb_test_signal(&stack.participant[PAYMENT], SIGSTOP);
    assert_soon(open_of(driver) >= OPEN, READY_MS);
}

static void let_sagas_go(void)
{
    sb_test_signal(&stack.participant[PAYMENT], SIGCONT);
    sb_load_await(load, 30, READY_MS);
}

static void await_shards(int olds, int news)
{
    assert_soon(shards_of(&old) == olds && shards_of(&stack.serve) == news, READY_MS);
}

/* ---- before and after ---- */

static bool has_old(void)
{
    const char *folder = getenv("SB_TEST_OLD");
    (void)snprintf(old_sagabus, sizeof old_sagabus, "%s/cli/sagabus", folder ? folder : "");
    (void)snprintf(old_participants, sizeof old_participants, "%s/examples/sagabus-order-participants",
                   folder ? folder : "");
    return folder && access(old_sagabus, X_OK) == 0 && access(old_participants, X_OK) == 0;
}

static int set_up(void **state)
{
    if (!has_old())
        sb_test_skip("upgrade",
                     "no build of the release before (tests/e2e/release): ./dev test makes one where git "
                     "has its commit");
    (void)sb_test_pg_start(state);
    sb_stack_prepare_by(&stack, old_sagabus, old_participants, 2);
    sb_stack_set(&stack, "SAGABUS_LEASE_OVERDUE_MS=2s");
    sb_stack_start_participants(&stack);
    start_old();
    await_shards(1, 0);
    return 0;
}

static int tear_down(void **state)
{
    sb_load_free(&load);
    sb_test_signal(&stack.participant[PAYMENT], SIGCONT);
    if (old.pid)
        end(&old, SIGTERM);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

/* ---- the play ---- */

/* Through an instance of one release, the newest saga that one of the other drives. */
static void cancel_newest_of(const sb_test_process_t *driver, const char *url, char id[40])
{
    char like[64], path[96];
    sb_pg_result_t *found = NULL;
    (void)snprintf(like, sizeof like, "%%:%d:%%", (int)driver->pid);
    ask("SELECT s.id::text FROM sagabus.saga s JOIN sagabus.lease l ON l.role = 'saga:' || s.shard "
        "WHERE s.status = 1 AND l.owner LIKE $1 ORDER BY s.no DESC LIMIT 1",
        like, &found);
    (void)snprintf(id, 40, "%s", sb_pg_get_text(found, 0, 0));
    sb_pg_result_free(found);
    (void)snprintf(path, sizeof path, "/v1/sagas/%s/cancel", id);
    sb_http_answer_t answer = sb_http("POST", url, path, "{\"reason\": \"not wanted any more\"}", NULL);
    assert_int_equal(answer.status, 202);
    sb_http_free(&answer);
}

static bool is_compensated(const char *id)
{
    sb_pg_result_t *found = NULL;
    ask("SELECT status FROM sagabus.saga WHERE id = $1::text::uuid", id, &found);
    bool is = sb_pg_get_int(found, 0, 0) == 4;
    sb_pg_result_free(found);
    return is;
}

static void verbs_reach_the_other_release(void)
{
    char of_old[40], of_new[40];
    hold_sagas_open(&old);
    assert_soon(open_of(&stack.serve) >= OPEN, READY_MS);
    cancel_newest_of(&old, stack.url, of_old);
    cancel_newest_of(&stack.serve, old_url, of_new);
    let_sagas_go();
    assert_soon(is_compensated(of_old) && is_compensated(of_new), READY_MS);
}

static void the_releases_drive_the_same_sagas_and_shards(void **state)
{
    (void)state;
    load = sb_load_start("upgrade", old_url, stack.url, 60);
    sb_load_await(load, 30, READY_MS);
    sb_stack_use(&stack, NULL, old_participants); /* the new one migrates while the old one runs */
    sb_stack_set_up(&stack);
    sb_stack_start_serve(&stack);
    await_shards(1, 1);
    sb_load_await(load, 30, READY_MS);
    verbs_reach_the_other_release();

    hold_sagas_open(&old);
    end(&old, SIGTERM); /* as a rolling upgrade does */
    await_shards(0, 2);
    let_sagas_go();

    start_old(); /* gone back: what the new one has begun is an old one's to end */
    await_shards(1, 1);
    hold_sagas_open(&stack.serve);
    sb_stack_kill_serve(&stack);
    await_shards(2, 0);
    let_sagas_go();

    sb_stack_use(&stack, NULL, NULL); /* the services follow, one after the other */
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++) {
        sb_stack_replace_participant(&stack, i);
        sb_load_await(load, 5, READY_MS);
    }
    sb_stack_start_serve(&stack);
    await_shards(1, 1);
    hold_sagas_open(&old);
    end(&old, SIGKILL);
    await_shards(0, 2);
    let_sagas_go();
    sb_load_stop(load, 20000);
    sb_load_check(load, &stack, 60000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_releases_drive_the_same_sagas_and_shards)};
    return cmocka_run_group_tests_name("upgrade", tests, set_up, tear_down);
}
