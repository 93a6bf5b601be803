/* Several appends in one statement.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/store/append.h"
#include "events/store/store.h"
#include "events_sql.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 12

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_store_t *store;
    sb_append_t append[BATCH_MAX];
    sb_event_t event[BATCH_MAX][3];
    char key[BATCH_MAX][32];
    size_t count;
    sb_append_result_t result[BATCH_MAX];
    sb_append_answer_t answer[BATCH_MAX];
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    sb_test_catalog_fresh(fixture.uri, &fixture.pg, &fixture.catalog);
    assert_ok(sb_store_new(&fixture.store, fixture.pg, fixture.catalog, &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_catalog_free(&f->catalog);
    sb_pg_close(&f->pg);
    return 0;
}

static sb_event_t confirmed(void)
{
    return (sb_event_t){.type = SB_SLICE("order.confirmed"),
                        .data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"c-1\"}")};
}

/* Adds an append of count events to the batch in hand. */
static sb_append_t *add(fixture_t *f, const char *key, sb_expect_t expect, int version, size_t count)
{
    assert_true(f->count < BATCH_MAX && count <= 3);
    size_t at = f->count++;
    for (size_t i = 0; i < count; i++)
        f->event[at][i] = confirmed();
    (void)snprintf(f->key[at], sizeof f->key[at], "%s", key);
    f->append[at] = (sb_append_t){.category = SB_SLICE("order"),
                                  .key = sb_slice(f->key[at]),
                                  .expect = expect,
                                  .expected_version = version,
                                  .events = f->event[at],
                                  .count = count};
    return &f->append[at];
}

static sb_code_t run(fixture_t *f, const sb_uuid_t *command)
{
    sb_error_clear(&f->err);
    sb_code_t code = sb_store_append_many(f->store, f->append, f->count, command, f->result, &f->err);
    f->count = 0;
    return code;
}

/* Each on its own, as the appends of many callers go. */
static sb_code_t run_apart(fixture_t *f, sb_pg_t *pg, const sb_append_lane_t *lane)
{
    sb_encoded_t encoded[BATCH_MAX];
    sb_append_batch_t batch;
    sb_append_rules_t rules = {.catalog = f->catalog};
    memset(encoded, 0, sizeof encoded);
    sb_append_batch_init(&batch);
    for (size_t i = 0; i < f->count; i++) {
        assert_ok(sb_append_encode(&encoded[i], &rules, &f->append[i], NULL, &f->err), &f->err);
        sb_append_batch_add(&batch, &encoded[i]);
    }
    sb_error_clear(&f->err);
    sb_code_t code = sb_append_batch_run(pg, &batch, false, lane, f->answer, &f->err);
    for (size_t i = 0; i < f->count; i++)
        sb_encoded_fini(&encoded[i]);
    sb_append_batch_fini(&batch);
    f->count = 0;
    return code;
}

static void assert_result(const sb_append_result_t *result, sb_append_outcome_t outcome, int version)
{
    assert_int_equal(result->outcome, outcome);
    assert_int_equal(result->version, version);
    assert_true(outcome == SB_APPENDED || outcome == SB_APPEND_REPEATED ? result->first_seq > 0
                                                                        : result->first_seq == 0);
}

static int64_t events(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event");
}

static int64_t streams(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream");
}

/* What readers rely on: versions without holes, seq rising with them, the row of the stream in step. */
static void assert_sound(fixture_t *f)
{
    assert_int_equal(
        sb_test_pg_int(f->pg,
                       "SELECT count(*) FROM (SELECT version, row_number() OVER w AS nth, seq, lag(seq) "
                       "OVER w AS before FROM sagabus.event WINDOW w AS (PARTITION BY stream_no ORDER "
                       "BY version)) x WHERE version <> nth OR seq <= before"),
        0);
    assert_int_equal(
        sb_test_pg_int(f->pg,
                       "SELECT count(*) FROM sagabus.stream s LEFT JOIN (SELECT stream_no, max(version) "
                       "v, min(seq) a, max(seq) b FROM sagabus.event GROUP BY 1) e USING (stream_no) "
                       "WHERE (s.version, s.first_seq, s.last_seq) IS DISTINCT FROM (e.v, e.a, e.b)"),
        0);
}

/* ---- all or none ---- */

static void several_streams_in_one_call(void **state)
{
    fixture_t *f = *state;
    add(f, "b", SB_EXPECT_ANY, 0, 2);
    add(f, "a", SB_EXPECT_NONE, 0, 1);
    add(f, "c", SB_EXPECT_EXACT, 0, 3);
    assert_ok(run(f, NULL), &f->err);
    assert_result(&f->result[0], SB_APPENDED, 2);
    assert_result(&f->result[1], SB_APPENDED, 1);
    assert_result(&f->result[2], SB_APPENDED, 3);
    assert_int_equal(f->result[0].last_seq, f->result[0].first_seq + 1);
    assert_int_equal(f->result[1].first_seq, f->result[0].last_seq + 1);
    assert_int_equal(f->result[2].last_seq, f->result[1].last_seq + 3);
    add(f, "c", SB_EXPECT_EXACT, 3, 1);
    add(f, "b", SB_EXPECT_EXISTS, 0, 1);
    assert_ok(run(f, NULL), &f->err);
    assert_result(&f->result[0], SB_APPENDED, 4);
    assert_result(&f->result[1], SB_APPENDED, 3);
    assert_sound(f);
}

static void a_conflict_of_one_undoes_all(void **state)
{
    fixture_t *f = *state;
    add(f, "old", SB_EXPECT_ANY, 0, 3);
    assert_ok(run(f, NULL), &f->err);
    int64_t drawn = sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq");
    add(f, "new", SB_EXPECT_NONE, 0, 1);
    add(f, "old", SB_EXPECT_EXACT, 2, 1);
    add(f, "none", SB_EXPECT_EXISTS, 0, 1);
    add(f, "old", SB_EXPECT_ANY, 0, 1);
    assert_ok(run(f, NULL), &f->err);
    assert_result(&f->result[0], SB_APPEND_NOT_DONE, 0);
    assert_result(&f->result[1], SB_APPEND_CONFLICT, 3);
    assert_result(&f->result[2], SB_APPEND_CONFLICT, 0);
    assert_result(&f->result[3], SB_APPEND_NOT_DONE, 3);
    assert_int_equal(events(f), 3);
    assert_int_equal(streams(f), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq"), drawn);
}

static void one_stream_twice_is_appended_to_in_order(void **state)
{
    fixture_t *f = *state;
    add(f, "s", SB_EXPECT_NONE, 0, 2);
    add(f, "other", SB_EXPECT_ANY, 0, 1);
    add(f, "s", SB_EXPECT_EXACT, 2, 1);
    add(f, "s", SB_EXPECT_EXISTS, 0, 1);
    assert_ok(run(f, NULL), &f->err);
    assert_result(&f->result[0], SB_APPENDED, 2);
    assert_result(&f->result[2], SB_APPENDED, 3);
    assert_result(&f->result[3], SB_APPENDED, 4);
    assert_sound(f);
    add(f, "s", SB_EXPECT_EXACT, 4, 1);
    add(f, "s", SB_EXPECT_EXACT, 4, 1);
    assert_ok(run(f, NULL), &f->err);
    assert_result(&f->result[0], SB_APPEND_NOT_DONE, 4);
    assert_result(&f->result[1], SB_APPEND_CONFLICT, 5); /* what the first would have left */
    assert_int_equal(events(f), 5);
}

static void a_repeated_call_gives_the_first_answers(void **state)
{
    fixture_t *f = *state;
    sb_uuid_t command = sb_uuid_v7();
    sb_append_result_t first[2];
    for (int i = 0; i < 2; i++) {
        add(f, "a", SB_EXPECT_NONE, 0, 2);
        add(f, "b", SB_EXPECT_NONE, 0, 1);
        assert_ok(run(f, &command), &f->err);
        assert_result(&f->result[0], i ? SB_APPEND_REPEATED : SB_APPENDED, 2);
        assert_result(&f->result[1], i ? SB_APPEND_REPEATED : SB_APPENDED, 1);
        if (i == 0)
            memcpy(first, f->result, sizeof first);
        assert_int_equal(f->result[1].last_seq, first[1].last_seq);
        assert_int_equal(f->result[0].first_seq, first[0].first_seq);
    }
    add(f, "b", SB_EXPECT_NONE, 0, 1);
    add(f, "a", SB_EXPECT_NONE, 0, 2);
    assert_code(SB_MISMATCH, run(f, &command), &f->err);
    add(f, "a", SB_EXPECT_NONE, 0, 2);
    add(f, "b", SB_EXPECT_NONE, 0, 1);
    add(f, "c", SB_EXPECT_NONE, 0, 1);
    assert_code(SB_MISMATCH, run(f, &command), &f->err);
    assert_string_equal(f->err.pointer, "/command_id");
    assert_int_equal(events(f), 3);
    assert_int_equal(streams(f), 2);
}

static void what_is_wrong_is_refused_with_its_place(void **state)
{
    fixture_t *f = *state;
    add(f, "a", SB_EXPECT_ANY, 0, 1);
    add(f, "b", SB_EXPECT_ANY, 0, 2);
    f->event[1][1].data = SB_SLICE("{}");
    assert_code(SB_INVALID, run(f, NULL), &f->err);
    assert_contains(f->err.pointer, "/appends/1/events/1/data");
    add(f, "a", SB_EXPECT_ANY, 0, 1)->command_id = sb_uuid_v7();
    assert_code(SB_INVALID, run(f, NULL), &f->err);
    assert_code(SB_INVALID, run(f, NULL), &f->err);
    assert_int_equal(streams(f), 0);
}

/* ---- each on its own ---- */

static void a_conflict_leaves_the_others_alone(void **state)
{
    fixture_t *f = *state;
    sb_uuid_t command = sb_uuid_v7();
    add(f, "a", SB_EXPECT_ANY, 0, 2);
    add(f, "b", SB_EXPECT_EXISTS, 0, 1);
    add(f, "a", SB_EXPECT_EXACT, 1, 3);
    add(f, "a", SB_EXPECT_EXACT, 2, 1)->command_id = command;
    add(f, "c", SB_EXPECT_NONE, 0, 1);
    assert_ok(run_apart(f, f->pg, NULL), &f->err);
    assert_result(&f->answer[0].result, SB_APPENDED, 2);
    assert_result(&f->answer[1].result, SB_APPEND_CONFLICT, 0);
    assert_result(&f->answer[2].result, SB_APPEND_CONFLICT, 2);
    assert_result(&f->answer[3].result, SB_APPENDED, 3);
    assert_result(&f->answer[4].result, SB_APPENDED, 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq"), 4);
    assert_int_equal(streams(f), 2);

    add(f, "a", SB_EXPECT_EXACT, 2, 1)->command_id = command; /* again */
    add(f, "d", SB_EXPECT_ANY, 0, 1)->command_id =
        command; /* another request, of a stream that is not there */
    f->append[1].command_id.byte[15] ^= 1;
    add(f, "a", SB_EXPECT_EXACT, 3, 1);
    assert_ok(run_apart(f, f->pg, NULL), &f->err);
    assert_result(&f->answer[0].result, SB_APPEND_REPEATED, 3);
    assert_result(&f->answer[1].result, SB_APPENDED, 1);
    assert_result(&f->answer[2].result, SB_APPENDED, 4);
    add(f, "e", SB_EXPECT_ANY, 0, 1)->command_id = command;
    add(f, "a", SB_EXPECT_ANY, 0, 1);
    assert_ok(run_apart(f, f->pg, NULL), &f->err);
    assert_int_equal(f->answer[0].code, SB_MISMATCH);
    assert_result(&f->answer[1].result, SB_APPENDED, 5);
    assert_int_equal(streams(f), 3);
    assert_sound(f);
}

/* Random batches beside the same in memory. */

#define MODEL_STREAMS  4
#define MODEL_COMMANDS 6

typedef struct model {
    int version[MODEL_STREAMS];
    sb_uuid_t command[MODEL_COMMANDS];
    int done[MODEL_COMMANDS]; /* the version it left; 0: not carried out */
} model_t;

static bool fits(sb_expect_t expect, int expected, int version)
{
    switch (expect) {
    case SB_EXPECT_NONE:
        return version == 0;
    case SB_EXPECT_EXISTS:
        return version > 0;
    case SB_EXPECT_EXACT:
        return version == expected;
    default:
        return true;
    }
}

static void check_random_batch(fixture_t *f, model_t *model, unsigned *seed)
{
    int stream[BATCH_MAX], command[BATCH_MAX];
    size_t count = 1 + (size_t)rand_r(seed) % BATCH_MAX;
    unsigned used = 0;
    for (size_t i = 0; i < count; i++) {
        char key[32];
        stream[i] = rand_r(seed) % MODEL_STREAMS;
        int k = rand_r(seed) % 3 ? MODEL_COMMANDS : rand_r(seed) % MODEL_COMMANDS;
        command[i] = k < MODEL_COMMANDS && !(used & 1u << k) ? k : -1;
        int version = model->version[stream[i]] + rand_r(seed) % 4 - 1;
        (void)snprintf(key, sizeof key, "m-%d", stream[i]);
        sb_expect_t expect = (sb_expect_t)(rand_r(seed) % 4);
        size_t events_of = 1 + (size_t)rand_r(seed) % 3;
        if (command[i] >= 0) { /* a command is always the same request */
            used |= 1u << k;
            stream[i] = k % MODEL_STREAMS;
            (void)snprintf(key, sizeof key, "m-%d", stream[i]);
            expect = SB_EXPECT_ANY;
            events_of = 1 + (size_t)k % 3;
        }
        sb_append_t *append = add(f, key, expect, version < 0 ? 0 : version, events_of);
        if (command[i] >= 0)
            append->command_id = model->command[k];
    }
    sb_append_t append[BATCH_MAX];
    memcpy(append, f->append, sizeof append);
    assert_ok(run_apart(f, f->pg, NULL), &f->err);
    for (size_t i = 0; i < count; i++) {
        int *version = &model->version[stream[i]];
        const sb_append_result_t *result = &f->answer[i].result;
        if (command[i] >= 0 && model->done[command[i]]) {
            assert_result(result, SB_APPEND_REPEATED, model->done[command[i]]);
        } else if (!fits(append[i].expect, append[i].expected_version, *version)) {
            assert_result(result, SB_APPEND_CONFLICT, *version);
        } else {
            *version += (int)append[i].count;
            assert_result(result, SB_APPENDED, *version);
            assert_int_equal(result->last_seq - result->first_seq, append[i].count - 1);
            if (command[i] >= 0)
                model->done[command[i]] = *version;
        }
    }
}

static void random_batches_agree_with_a_model(void **state)
{
    fixture_t *f = *state;
    unsigned seed = (unsigned)sb_mono_us();
    print_message("seed %u\n", seed);
    for (int round = 0; round < 12; round++) {
        model_t model = {.done = {0}};
        for (int i = 0; i < MODEL_COMMANDS; i++)
            model.command[i] = sb_uuid_v7();
        for (int i = 0; i < 15; i++)
            check_random_batch(f, &model, &seed);
        assert_sound(f);
        sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET key = 'old-' || stream_no");
    }
}

/* ---- several writers ---- */

#define CROSSERS 4
#define CROSSES  40

typedef struct crosser {
    pthread_t thread;
    const char *uri;
    int number;
    int failures;
    sb_error_t err;
} crosser_t;

/* Several streams, some new, each time in another order: unsorted, they would wait for each other in a ring.
 */
static void *cross(void *context)
{
    crosser_t *crosser = context;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = crosser->uri};
    unsigned seed = (unsigned)crosser->number;
    if (sb_store_open(&store, &config, &crosser->err) != SB_OK) {
        crosser->failures++;
        return NULL;
    }
    for (int round = 0; round < CROSSES; round++) {
        sb_append_t append[8];
        sb_append_result_t result[8];
        char key[8][32];
        sb_event_t event = confirmed();
        for (int i = 0; i < 8; i++) {
            (void)snprintf(key[i], sizeof key[i], i % 2 ? "x-%d" : "x-%d-%d", rand_r(&seed) % 6, round);
            append[i] =
                (sb_append_t){SB_SLICE("order"), sb_slice(key[i]), SB_EXPECT_ANY, 0, SB_UUID_NIL, &event, 1};
        }
        if (sb_store_append_many(store, append, 8, NULL, result, &crosser->err) != SB_OK)
            crosser->failures++;
    }
    sb_store_close(&store);
    return NULL;
}

static void batches_that_cross_do_not_deadlock(void **state)
{
    fixture_t *f = *state;
    crosser_t crosser[CROSSERS];
    for (int i = 0; i < CROSSERS; i++) {
        crosser[i] = (crosser_t){.uri = f->uri, .number = i};
        assert_int_equal(pthread_create(&crosser[i].thread, NULL, cross, &crosser[i]), 0);
    }
    for (int i = 0; i < CROSSERS; i++) {
        assert_int_equal(pthread_join(crosser[i].thread, NULL), 0);
        if (crosser[i].failures)
            fail_msg("%d failures, at last: %s", crosser[i].failures, crosser[i].err.message);
    }
    assert_int_equal(events(f), CROSSERS * CROSSES * 8);
    assert_sound(f);
}

/* The wrong variant: streams locked in the order in which they were named. */
static void lock_as_named(fixture_t *f)
{
    sb_test_pg_script(
        f->pg,
        "DO $do$ DECLARE d text := pg_get_functiondef('sagabus.event_append_many'::regproc); BEGIN "
        "IF position('GROUP BY 1, 2 ORDER BY 1, 2' IN d) = 0 THEN RAISE EXCEPTION 'what sorts the streams "
        "is not there any more'; END IF; EXECUTE replace(d, 'GROUP BY 1, 2 ORDER BY 1, 2', 'GROUP BY 1, 2 "
        "ORDER BY 3'); END $do$");
}

static void wait_for_locks(fixture_t *f, int waiting);
static void lock_stream(sb_pg_t *pg, const char *key);

typedef struct batch {
    pthread_t thread;
    sb_pg_t *pg;
    const char *keys; /* of three streams */
    sb_code_t code;
    sb_error_t err;
} batch_t;

static void *run_batch(void *context)
{
    batch_t *batch = context;
    char sql[1024];
    (void)snprintf(
        sql, sizeof sql,
        "SET deadlock_timeout = '20ms'; SELECT * FROM sagabus.event_append_many(NULL, 0, false, "
        "ARRAY['order', 'order', 'order'], ARRAY[%s], ARRAY[0, 0, 0], ARRAY[0, 0, 0], '{}', '{}', "
        "ARRAY[1, 1, 1], ARRAY[1, 2, 3], ARRAY[1, 2, 3], ARRAY[1, 1, 1], ARRAY[gen_random_uuid(), "
        "gen_random_uuid(), gen_random_uuid()], ARRAY[1, 1, 1], '{}', '{}', ARRAY['{}'::bytea, '{}', "
        "'{}'])",
        batch->keys);
    batch->code = sb_pg_script(batch->pg, sql, &batch->err);
    return NULL;
}

/* One waits in its middle for a third party, the other comes the other way round: how many are ended as a
 * deadlock. */
static int deadlocks_of_two_that_cross(fixture_t *f)
{
    sb_pg_t *third = sb_test_pg_open(f->uri);
    batch_t batch[] = {{.keys = "'a', 'm', 'z'"}, {.keys = "'z', 'n', 'a'"}};
    int deadlocks = 0;
    lock_stream(third, "m");
    for (int i = 0; i < 2; i++) {
        batch[i].pg = sb_test_pg_open(f->uri);
        assert_int_equal(pthread_create(&batch[i].thread, NULL, run_batch, &batch[i]), 0);
        wait_for_locks(f, i + 1);
    }
    sb_test_pg_script(third, "COMMIT");
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(batch[i].thread, NULL), 0);
        bool deadlock = batch[i].code != SB_OK && strcmp(batch[i].err.origin, "pg:40P01") == 0;
        if (!deadlock)
            assert_ok(batch[i].code, &batch[i].err);
        deadlocks += deadlock;
        sb_pg_close(&batch[i].pg);
    }
    sb_pg_close(&third);
    return deadlocks;
}

static void streams_that_are_not_sorted_are_caught(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg,
                      "INSERT INTO sagabus.stream (category, key) SELECT 'order', k FROM unnest(ARRAY['a', "
                      "'m', 'n', 'z']) k");
    assert_int_equal(deadlocks_of_two_that_cross(f), 0);
    assert_int_equal(events(f), 6);
    lock_as_named(f);
    assert_int_equal(deadlocks_of_two_that_cross(f), 1);
}

/* ---- a stream that comes while the batch waits ---- */

static void wait_for_locks(fixture_t *f, int waiting)
{
    int64_t until = sb_mono_us() + 20000000;
    while (sb_test_pg_int(f->pg,
                          "SELECT count(*) FROM pg_locks WHERE NOT granted AND pid IN (SELECT pid FROM "
                          "pg_stat_activity WHERE datname = current_database() AND query LIKE "
                          "'%event_append_many%' AND pid <> pg_backend_pid())") < waiting)
        assert_true(sb_mono_us() < until);
}

static void lock_stream(sb_pg_t *pg, const char *key)
{
    char sql[128];
    (void)snprintf(sql, sizeof sql, "BEGIN; SELECT 1 FROM sagabus.stream WHERE key = '%s' FOR UPDATE", key);
    sb_test_pg_script(pg, sql);
}

typedef struct late {
    fixture_t *f;
    sb_pg_t *pg;
    sb_code_t code;
} late_t;

static void *run_late(void *context)
{
    late_t *late = context;
    late->code = run_apart(late->f, late->pg, NULL);
    return NULL;
}

/* It was not there to be locked with the others; without its lock, two would write the same version of it. */
static void a_stream_made_meanwhile_is_locked_too(void **state)
{
    fixture_t *f = *state;
    late_t late = {f, sb_test_pg_open(f->uri), SB_INTERNAL};
    sb_pg_t *first = sb_test_pg_open(f->uri), *second = sb_test_pg_open(f->uri);
    pthread_t thread;
    sb_append_t *append = add(f, "a", SB_EXPECT_ANY, 0, 1);
    sb_append_result_t result;
    assert_ok(sb_store_append(f->store, append, &result, &f->err), &f->err);
    f->count = 0;
    lock_stream(first, "a");

    add(f, "a", SB_EXPECT_EXISTS, 0, 1);
    add(f, "b", SB_EXPECT_EXISTS, 0, 1);
    assert_int_equal(pthread_create(&thread, NULL, run_late, &late), 0);
    wait_for_locks(f, 1);
    sb_event_t event = confirmed();
    sb_append_t other = {SB_SLICE("order"), SB_SLICE("b"), SB_EXPECT_ANY, 0, SB_UUID_NIL, &event, 1};
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_store_append(f->store, &other, &result, &err), &err);
    lock_stream(second, "b");
    sb_test_pg_script(first, "COMMIT");
    wait_for_locks(f, 1); /* for b, now */
    assert_int_equal(events(f), 2);
    sb_store_t *store = NULL;
    assert_ok(sb_store_new(&store, second, f->catalog, &err), &err);
    assert_ok(sb_store_append(store, &other, &result, &err), &err);
    sb_store_close(&store);
    sb_test_pg_script(second, "COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);

    assert_ok(late.code, &f->err);
    assert_result(&f->answer[0].result, SB_APPENDED, 2);
    assert_result(&f->answer[1].result, SB_APPENDED, 3);
    assert_sound(f);
    sb_pg_close(&late.pg);
    sb_pg_close(&first);
    sb_pg_close(&second);
}

/* ---- plans ---- */

/* A connection makes its plans once, perhaps while there is no stream at all. */
static void the_streams_are_never_scanned(void **state)
{
    fixture_t *f = *state;
    for (int round = 0; round < 3; round++) {
        sb_test_pg_script(f->pg, "BEGIN");
        add(f, "a", SB_EXPECT_ANY, 0, 1);
        add(f, "b", SB_EXPECT_EXISTS, 0, 1);
        add(f, "c", SB_EXPECT_ANY, 0, 1);
        assert_ok(run_apart(f, f->pg, NULL), &f->err);
        assert_int_equal(sb_test_pg_int(f->pg, "SELECT coalesce(sum(seq_scan), 0)::bigint FROM "
                                               "pg_stat_xact_user_tables WHERE relname = 'stream'"),
                         0);
        sb_test_pg_script(f->pg, "COMMIT");
    }
}

/* ---- lanes ---- */

static void lane_params(sb_pg_params_t *params, const sb_append_lane_t *lane)
{
    *params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(params, &lane->id);
    sb_pg_add_int8(params, lane->number);
}

static sb_append_lane_t open_lane(fixture_t *f)
{
    sb_append_lane_t lane = {.id = sb_uuid_v7(), .number = 1};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, &lane.id);
    assert_ok(sb_pg_query(f->pg, sb_sql_append_lane_open, &params, NULL, &f->err), &f->err);
    return lane;
}

static void a_batch_that_is_given_up_never_happens(void **state)
{
    fixture_t *f = *state;
    sb_append_lane_t lane = open_lane(f);
    sb_pg_params_t params;
    sb_pg_result_t *rows = NULL;

    add(f, "a", SB_EXPECT_ANY, 0, 2);
    add(f, "b", SB_EXPECT_EXISTS, 0, 1);
    assert_ok(run_apart(f, f->pg, &lane), &f->err);
    lane_params(&params, &lane);
    assert_ok(sb_pg_query(f->pg, sb_sql_append_lane_give_up, &params, &rows, &f->err), &f->err);
    assert_int_equal(sb_pg_rows(rows), 0); /* it has happened */
    sb_pg_result_free(rows);
    sb_append_answer_t again[2];
    assert_ok(sb_pg_query(f->pg, sb_sql_append_lane_answers, &params, &rows, &f->err), &f->err);
    assert_ok(sb_append_read_answers(rows, 2, again, &f->err), &f->err);
    sb_pg_result_free(rows);
    assert_memory_equal(&again[0].result, &f->answer[0].result, sizeof again[0].result);
    assert_int_equal(again[1].result.outcome, SB_APPEND_CONFLICT);

    lane.number = 2;
    lane_params(&params, &lane);
    assert_ok(sb_pg_query(f->pg, sb_sql_append_lane_give_up, &params, &rows, &f->err), &f->err);
    assert_int_equal(sb_pg_rows(rows), 1);
    sb_pg_result_free(rows);
    add(f, "a", SB_EXPECT_ANY, 0, 1); /* which arrives late */
    assert_code(SB_CONFLICT, run_apart(f, f->pg, &lane), &f->err);
    assert_string_equal(f->err.origin, "pg:SB002");
    assert_int_equal(events(f), 2);
}

/* Whoever asks has no answer of the commit: that of the question is one, of a commit behind it in the log. */
static void what_was_asked_for_is_on_disk(void **state)
{
    fixture_t *f = *state;
    sb_append_lane_t lane = open_lane(f);
    sb_pg_params_t params;
    sb_pg_result_t *rows = NULL;
    add(f, "a", SB_EXPECT_ANY, 0, 2);
    assert_ok(run_apart(f, f->pg, &lane), &f->err);
    sb_test_pg_script(
        f->pg, "CREATE TABLE public.seen (waits text);"
               "CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
               "INSERT INTO public.seen VALUES (current_setting('synchronous_commit')); "
               "RETURN NULL; END $$;"
               "CREATE CONSTRAINT TRIGGER see AFTER UPDATE ON sagabus.append_lane DEFERRABLE INITIALLY "
               "DEFERRED FOR EACH ROW EXECUTE FUNCTION public.see();"
               "SET synchronous_commit = off");
    lane_params(&params, &lane);
    assert_ok(sb_pg_query(f->pg, sb_sql_append_lane_answers, &params, &rows, &f->err), &f->err);
    sb_append_answer_t answer;
    assert_ok(sb_append_read_answers(rows, 1, &answer, &f->err), &f->err);
    sb_pg_result_free(rows);
    assert_int_equal(answer.result.outcome, SB_APPENDED);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.seen WHERE waits = 'on'"), 1);
    sb_test_pg_script(f->pg, "RESET synchronous_commit");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(several_streams_in_one_call),
        CASE(a_conflict_of_one_undoes_all),
        CASE(one_stream_twice_is_appended_to_in_order),
        CASE(a_repeated_call_gives_the_first_answers),
        CASE(what_is_wrong_is_refused_with_its_place),
        CASE(a_conflict_leaves_the_others_alone),
        CASE(random_batches_agree_with_a_model),
        CASE(batches_that_cross_do_not_deadlock),
        CASE(streams_that_are_not_sorted_are_caught),
        CASE(a_stream_made_meanwhile_is_locked_too),
        CASE(the_streams_are_never_scanned),
        CASE(a_batch_that_is_given_up_never_happens),
        CASE(what_was_asked_for_is_on_disk),
    };
    return cmocka_run_group_tests_name("append", tests, sb_test_pg_start, sb_test_pg_stop);
}
