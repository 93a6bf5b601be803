/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/oom.h"

#include "base/lease.h"
#include "events/store/appender.h"
#include "events/store/store.h"
#include "sagabus/aggregate.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <stdio.h>
#include <stdlib.h>

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

/* ---- the event store ---- */

typedef struct world {
    sb_pg_t *pg; /* of the stores */
    sb_pg_t *watcher;
    sb_catalog_t *catalog;
    int64_t events; /* there must be so many */
} world_t;

/* One event type, so that a catalog is quickly loaded. */
static void open_world(world_t *w)
{
    sb_error_t err = SB_ERROR_INIT;
    w->pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    w->watcher = sb_test_pg_open(uri);
    w->events = 0;
    sb_test_pg_script(
        w->pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('order.noted', 1);"
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'event', 'order.noted', 1, "
        "sha256(b::bytea), b::bytea FROM (VALUES ('{\"schema\":{\"properties\":{\"n\":{\"type\":\"integer\"},"
        "\"text\":{\"pattern\":\"^[a-z ]+$\",\"type\":\"string\"}},\"required\":[\"n\"],\"type\":\"object\"},"
        "\"type\":\"order.noted\",\"version\":1}')) AS x (b)");
    assert_ok(sb_catalog_new(&w->catalog, &err), &err);
    assert_ok(sb_catalog_load(w->catalog, w->pg, &err), &err);
}

static void close_world(world_t *w)
{
    sb_catalog_free(&w->catalog);
    sb_pg_close(&w->watcher);
    sb_pg_close(&w->pg);
}

/* Nothing half done: the events are there exactly when the call said so, and the connection is as good as
 * before. */
static void assert_whole(world_t *w, sb_code_t code, int events)
{
    if (code == SB_OK)
        w->events += events;
    assert_int_equal(sb_test_pg_int(w->watcher, "SELECT count(*) FROM sagabus.event"), w->events);
    assert_int_equal(sb_test_pg_int(w->pg, "SELECT 1"), 1);
}

static sb_code_t open_body(void *context, sb_error_t *err)
{
    (void)context;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = uri, .source = "/oom"};
    sb_code_t code = sb_store_open(&store, &config, err);
    assert_int_equal(code == SB_OK, store != NULL);
    sb_store_close(&store);
    return code;
}

static const sb_event_t noted = {.type = SB_SLICE("order.noted"),
                                 .correlation_id = SB_SLICE("a \"quoted\" one"),
                                 .partition_key = SB_SLICE("p"),
                                 .data = SB_SLICE("{\"n\":1,\"text\":\"plain\"}")};

static sb_code_t append_body(void *context, sb_error_t *err)
{
    world_t *w = context;
    sb_store_t *store = NULL;
    sb_event_t events[40];
    for (int i = 0; i < 40; i++)
        events[i] = noted;
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("o-1"),
                          .command_id = sb_uuid_v7(),
                          .events = events,
                          .count = 40};
    sb_append_result_t result;
    sb_code_t code = sb_store_new(&store, w->pg, w->catalog, err);
    if (code == SB_OK)
        code = sb_store_append(store, &append, &result, err);
    assert_whole(w, code, 40);
    sb_store_close(&store);
    return code;
}

static sb_code_t append_many_body(void *context, sb_error_t *err)
{
    world_t *w = context;
    sb_store_t *store = NULL;
    sb_event_t events[9];
    sb_uuid_t command = sb_uuid_v7();
    sb_append_result_t results[3];
    sb_append_t appends[3];
    static const char *const keys[] = {"o-1", "o-2", "o-1"};
    for (int i = 0; i < 9; i++)
        events[i] = noted;
    for (int i = 0; i < 3; i++)
        appends[i] = (sb_append_t){
            .category = SB_SLICE("order"), .key = sb_slice(keys[i]), .events = events + 3 * i, .count = 3};
    sb_code_t code = sb_store_new(&store, w->pg, w->catalog, err);
    if (code == SB_OK)
        code = sb_store_append_many(store, appends, 3, &command, results, err);
    assert_whole(w, code, 9);
    sb_store_close(&store);
    return code;
}

/* Its threads allocate too, so which allocation fails varies from run to run. */
static sb_code_t appender_body(void *context, sb_error_t *err)
{
    world_t *w = context;
    sb_appender_t *appender = NULL;
    sb_appender_config_t config = {.pg_uri = uri};
    sb_append_result_t result;
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("o-3"),
                          .command_id = sb_uuid_v7(),
                          .events = &noted,
                          .count = 1};
    sb_code_t code = sb_appender_new(&appender, &config, w->catalog, err);
    assert_int_equal(code == SB_OK, appender != NULL);
    if (code == SB_OK)
        code = sb_appender_append(appender, &append, &result, err);
    sb_appender_close(&appender);
    assert_whole(w, code, 1);
    return code;
}

static sb_code_t count_event(void *context, const sb_event_t *event, sb_error_t *err)
{
    (void)err;
    assert_slice(event->correlation_id, "a \"quoted\" one");
    (*(int64_t *)context)++;
    return SB_OK;
}

static sb_code_t read_body(void *context, sb_error_t *err)
{
    world_t *w = context;
    sb_store_t *store = NULL;
    int64_t of_stream = 0;
    int64_t of_all = 0;
    sb_slice_t type = SB_SLICE("order.noted");
    sb_read_all_t all = {.limit = 10000, .category = SB_SLICE("order"), .types = &type, .type_count = 1};
    sb_code_t code = sb_store_new(&store, w->pg, w->catalog, err);
    if (code == SB_OK)
        code = sb_store_read_stream(store, SB_SLICE("order"), SB_SLICE("o-1"), 1, false, 10000, count_event,
                                    &of_stream, err);
    if (code == SB_OK)
        code = sb_store_read_all(store, &all, count_event, &of_all, NULL, err);
    if (code == SB_OK) {
        assert_true(of_stream > 0 && of_stream < w->events);
        assert_int_equal(of_all, w->events);
    }
    assert_whole(w, code, 0);
    sb_store_close(&store);
    return code;
}

/* ---- an aggregate ---- */

static sb_code_t note_evolve(void *state, const sb_event_t *event, sb_error_t *err)
{
    char **last = state;
    char *copy = malloc(event->data.len);
    if (!copy)
        return sb_fail(err, SB_NO_MEMORY, "note");
    memcpy(copy, event->data.ptr, event->data.len);
    free(*last);
    *last = copy;
    return SB_OK;
}

static void note_fini(void *state)
{
    free(*(char **)state);
}

static sb_code_t note_decide(const void *state, const void *command, sb_decision_t *decision, sb_error_t *err)
{
    (void)state;
    (void)command;
    (void)err;
    for (int i = 0; i < 9; i++)
        sb_decision_add(decision, &noted);
    return SB_OK;
}

static sb_code_t note_save(const void *state, char **bytes, size_t *length, sb_error_t *err)
{
    (void)state;
    *length = 1;
    *bytes = malloc(1);
    if (!*bytes)
        return sb_fail(err, SB_NO_MEMORY, "note");
    **bytes = '!';
    return SB_OK;
}

static sb_code_t note_restore(void *state, sb_slice_t bytes, sb_error_t *err)
{
    char **last = state;
    *last = malloc(bytes.len);
    return *last ? SB_OK : sb_fail(err, SB_NO_MEMORY, "note");
}

static const sb_aggregate_type_t note = {.category = "order",
                                         .state_size = sizeof(char *),
                                         .fini = note_fini,
                                         .evolve = note_evolve,
                                         .decide = note_decide,
                                         .form = 1,
                                         .snapshot_every = 12,
                                         .save = note_save,
                                         .restore = note_restore};

static sb_code_t aggregate_body(void *context, sb_error_t *err)
{
    world_t *w = context;
    sb_store_t *store = NULL;
    sb_aggregate_t *aggregate = NULL;
    sb_execute_t execute = {
        .key = SB_SLICE("a-1"), .command_id = sb_uuid_v7(), .request = SB_SLICE("note nine")};
    sb_execute_result_t result;
    sb_code_t code = sb_store_new(&store, w->pg, w->catalog, err);
    if (code == SB_OK)
        code = sb_aggregate_execute(store, &note, &execute, &result, err);
    assert_whole(w, code, 9);
    if (code == SB_NO_MEMORY && store) { /* asked again it is carried out once */
        sb_error_t again = SB_ERROR_INIT;
        assert_ok(sb_aggregate_execute(store, &note, &execute, &result, &again), &again);
        assert_int_equal(result.outcome, SB_EXECUTED);
        assert_whole(w, SB_OK, 9);
    }
    if (code == SB_OK)
        code = sb_aggregate_load(&aggregate, store, &note, SB_SLICE("a-1"), 0, err);
    assert_int_equal(code == SB_OK, aggregate != NULL);
    sb_aggregate_free(&aggregate);
    sb_store_close(&store);
    return code;
}

static void the_event_store(void **state)
{
    (void)state;
    world_t w;
    open_world(&w);
    sb_error_t err = SB_ERROR_INIT;
    print_message("open %d, ", sb_test_oom_sweep(open_body, NULL));
    assert_ok(append_body(&w, &err), &err);
    assert_ok(append_many_body(&w, &err), &err);
    sb_test_pg_script(w.pg, "UPDATE sagabus.lease SET cursor = 1000000 WHERE role = 'sequencer'");
    print_message("read %d, ", sb_test_oom_sweep(read_body, &w));
    print_message("append %d, ", sb_test_oom_sweep(append_body, &w));
    print_message("append many %d, ", sb_test_oom_sweep(append_many_body, &w));
    print_message("appender %d, ", sb_test_oom_sweep(appender_body, &w));
    print_message("aggregate %d allocations\n", sb_test_oom_sweep(aggregate_body, &w));
    assert_ok(read_body(&w, &err), &err); /* what went in meanwhile is whole too */
    close_world(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_connection), cmocka_unit_test(a_lease),
                                       cmocka_unit_test(the_event_store)};
    return cmocka_run_group_tests_name("oom", tests, sb_test_pg_start, sb_test_pg_stop);
}
