/* Events of several versions in one store: what a reader gets, and what it does about a version it does not
 * know.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store.h"
#include "events/view/view.h"
#include "tests/pg/view_world.h"
#include "tests/support/process.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct fixture {
    sb_world_t world;
    sb_store_t *store;
    char dir[64];
    sb_buf_t read; /* "version>newest data\n" of each event */
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    char path[128];
    fixture = (fixture_t){.dir = "/tmp/sb-upcast-XXXXXX"};
    fixture.world.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.world.uri));
    assert_ok(sb_catalog_new(&fixture.world.catalog, &fixture.err), &fixture.err);
    assert_ok(sb_store_new(&fixture.store, fixture.world.pg, fixture.world.catalog, &fixture.err),
              &fixture.err);
    assert_non_null(mkdtemp(fixture.dir));
    (void)snprintf(path, sizeof path, "%s/events", fixture.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/views", fixture.dir);
    assert_int_equal(mkdir(path, 0700), 0);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_world_close(&f->world);
    sb_buf_fini(&f->read);
    sb_test_remove_tree(f->dir);
    return 0;
}

static void put_file(fixture_t *f, const char *name, const char *text)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void apply(fixture_t *f)
{
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};
    sb_apply_report_t report;
    assert_ok(sb_catalog_apply(f->world.catalog, f->world.pg, f->dir, checks, &report, &f->err), &f->err);
}

/* Three versions of a bill: {amount} in cents, {cents}, {cents, currency, by: {clerk}}. */
static void put_bills(fixture_t *f, int versions)
{
    put_file(f, "events/bill.paid.v1.json",
             "{\"type\":\"bill.paid\",\"version\":1,\"schema\":{\"required\":[\"amount\"],\"properties\":{"
             "\"amount\":{\"type\":\"integer\"},\"clerk\":{\"type\":\"string\"}}}}");
    if (versions > 1)
        put_file(f, "events/bill.paid.v2.json",
                 "{\"type\":\"bill.paid\",\"version\":2,\"schema\":{\"required\":[\"cents\"],\"properties\":{"
                 "\"cents\":{\"type\":\"integer\"},\"clerk\":{\"type\":\"string\"}}},"
                 "\"x-upcast\":[{\"rename\":{\"from\":\"/amount\",\"to\":\"/cents\"}}]}");
    if (versions > 2)
        put_file(f, "events/bill.paid.v3.json",
                 "{\"type\":\"bill.paid\",\"version\":3,\"schema\":{\"required\":[\"cents\",\"currency\"],"
                 "\"properties\":{\"cents\":{\"type\":\"integer\"},\"currency\":{\"type\":\"string\"},"
                 "\"by\":{\"type\":\"object\",\"properties\":{\"clerk\":{\"type\":\"string\"}}}}},"
                 "\"x-upcast\":[{\"default\":{\"at\":\"/currency\",\"value\":\"EUR\"}},"
                 "{\"move\":{\"from\":\"/clerk\",\"to\":\"/by/clerk\"}}]}");
    apply(f);
}

static sb_code_t append(fixture_t *f, const char *key, int version, const char *data)
{
    sb_event_t event = {.type = SB_SLICE("bill.paid"), .schema_version = version, .data = sb_slice(data)};
    sb_append_t request = {.category = SB_SLICE("bill"), .key = sb_slice(key), .events = &event, .count = 1};
    sb_append_result_t result;
    return sb_store_append(f->store, &request, &result, &f->err);
}

static void append_one_of_each(fixture_t *f)
{
    assert_ok(append(f, "b-1", 1, "{ \"amount\" : 1500,\"clerk\":\"ada\" }"), &f->err);
    assert_ok(append(f, "b-1", 2, "{\"cents\":12345678901234567890,\"clerk\":\"bob\"}"), &f->err);
    assert_ok(append(f, "b-1", 3, "{\"cents\":7 ,\"currency\":\"USD\"}"), &f->err);
    (void)sb_world_safe(&f->world);
}

static sb_code_t note(void *context, const sb_event_t *event, sb_error_t *err)
{
    fixture_t *f = context;
    (void)err;
    sb_buf_printf(&f->read, "%d>%d %.*s\n", event->written_version, event->schema_version,
                  SB_SLICE_ARG(event->data));
    return SB_OK;
}

static const char all[] =
    "1>3 { \"cents\" : 1500,\"currency\":\"EUR\",\"by\":{\"clerk\":\"ada\"}}\n"
    "2>3 {\"cents\":12345678901234567890,\"currency\":\"EUR\",\"by\":{\"clerk\":\"bob\"}}\n"
    "3>3 {\"cents\":7 ,\"currency\":\"USD\"}\n";

static void a_reader_gets_the_newest_version(void **state)
{
    fixture_t *f = *state;
    put_bills(f, 3);
    append_one_of_each(f);
    assert_ok(
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-1"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_string_equal(sb_buf_text(&f->read), all);
    sb_buf_reset(&f->read);
    sb_read_all_t read = {.limit = 10};
    assert_ok(sb_store_read_all(f->store, &read, note, f, NULL, &f->err), &f->err);
    assert_string_equal(sb_buf_text(&f->read), all);
    /* and what is stored is what was written */
    assert_int_equal(sb_test_pg_int(f->world.pg,
                                    "SELECT count(*) FROM sagabus.event WHERE version = 1 AND data = "
                                    "'{ \"amount\" : 1500,\"clerk\":\"ada\" }'"),
                     1);
}

/* A reader that has loaded before the second version was registered learns of it by an event. */
static void a_version_registered_later_is_learned(void **state)
{
    fixture_t *f = *state;
    sb_catalog_t *old = NULL;
    sb_store_t *reader = NULL;
    put_bills(f, 1);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    assert_ok(sb_catalog_new(&old, &f->err), &f->err);
    assert_ok(sb_catalog_load(old, f->world.pg, &f->err), &f->err);
    assert_ok(sb_store_new(&reader, f->world.pg, old, &f->err), &f->err);
    put_bills(f, 2);
    assert_ok(append(f, "b-1", 2, "{\"cents\":2}"), &f->err);
    assert_ok(
        sb_store_read_stream(reader, SB_SLICE("bill"), SB_SLICE("b-1"), 1, true, 0 + 10, note, f, &f->err),
        &f->err);
    assert_ok(sb_store_read_stream(reader, SB_SLICE("bill"), SB_SLICE("b-1"), 0, true, 10, note, f, &f->err),
              &f->err);
    assert_contains(sb_buf_text(&f->read), "2>2 {\"cents\":2}\n1>2 {\"cents\":1}\n");
    sb_store_close(&reader);
    sb_catalog_free(&old);
}

static const char magic[] = "INSERT INTO sagabus.event_type (name, version) VALUES ('bill.paid', 2);"
                            "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', "
                            "'bill.paid', 2, sha256('1'), "
                            "'{\"schema\":{\"magic\":1},\"type\":\"bill.paid\",\"version\":2}')";

/* A newer release registered a version with a keyword that this one does not know, and wrote an event of it.
 */
static void a_version_this_release_cannot_read_stops_the_read_by_name(void **state)
{
    fixture_t *f = *state;
    put_bills(f, 1);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    sb_test_pg_script(f->world.pg, magic);
    sb_test_pg_script(
        f->world.pg,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT stream_no, 2, "
        "type_no, 1, gen_random_uuid(), '{}' FROM sagabus.stream, sagabus.event_type t WHERE t.name = "
        "'bill.paid' AND t.version = 2; UPDATE sagabus.stream SET version = 2, last_seq = (SELECT "
        "max(seq) FROM sagabus.event)");
    assert_code(
        SB_UNSUPPORTED,
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-1"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_contains(f->err.message,
                    "event type bill.paid version 2 is registered, but this release cannot read it");
    assert_string_equal(sb_buf_text(&f->read), "1>1 {\"amount\":1}\n"); /* not past it */
    /* and this release goes on writing what it knows */
    assert_ok(append(f, "b-2", 0, "{\"amount\":3}"), &f->err);
}

/* v3 is readable, v2 between is not: old events wait, new ones do not. */
static void a_hole_in_the_chain_is_named(void **state)
{
    fixture_t *f = *state;
    put_bills(f, 1);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    sb_test_pg_script(f->world.pg, magic);
    sb_test_pg_script(
        f->world.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('bill.paid', 3);"
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', 'bill.paid', "
        "3, sha256('3'), '{\"schema\":{},\"type\":\"bill.paid\",\"version\":3}')");
    assert_ok(append(f, "b-2", 3, "{\"any\":1}"), &f->err);
    assert_ok(
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-2"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_code(
        SB_UNSUPPORTED,
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-1"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_contains(f->err.message,
                    "bill.paid: version 1 cannot become version 3, version 2 is not known here");
    assert_string_equal(sb_buf_text(&f->read), "3>3 {\"any\":1}\n");
    assert_code(SB_UNSUPPORTED, sb_catalog_complain(f->world.catalog, &f->err), &f->err);
}

static sb_code_t to_cents(void *context, const sb_event_t *event, sb_upcast_out_t *out, sb_error_t *err)
{
    (void)context;
    (void)err;
    assert_slice(event->subject, "b-1");
    sb_upcast_write(out, "{\"cents\":100}", 13);
    return SB_OK;
}

static void a_c_function_takes_the_step_of_a_handle(void **state)
{
    fixture_t *f = *state;
    put_bills(f, 1);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    put_file(f, "events/bill.paid.v2.json",
             "{\"type\":\"bill.paid\",\"version\":2,\"schema\":{\"required\":[\"cents\"],\"properties\":{"
             "\"cents\":{\"type\":\"integer\"}}},\"x-upcast\":\"hook\"}");
    apply(f);
    assert_code(
        SB_UNSUPPORTED,
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-1"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_contains(f->err.message, "is not registered here");
    assert_ok(sb_store_upcast(f->store, "bill.paid", 1, to_cents, NULL, &f->err), &f->err);
    assert_ok(
        sb_store_read_stream(f->store, SB_SLICE("bill"), SB_SLICE("b-1"), 1, false, 10, note, f, &f->err),
        &f->err);
    assert_string_equal(sb_buf_text(&f->read), "1>2 {\"cents\":100}\n");
    put_file(f, "events/bill.paid.v3.json",
             "{\"type\":\"bill.paid\",\"version\":3,\"schema\":{\"required\":[\"cents\"],\"properties\":{"
             "\"cents\":{\"type\":\"integer\"}}},\"x-upcast\":[]}");
    apply(f);
    assert_code(SB_INVALID, sb_store_upcast(f->store, "bill.paid", 2, to_cents, NULL, &f->err), &f->err);
}

/* ---- views ---- */

static const char tills[] =
    "{\"view\":\"tills\",\"version\":1,\"tables\":[{\"name\":\"tills\",\"key\":{\"column\":\"clerk\","
    "\"type\":\"text\","
    "\"from\":\"/by/"
    "clerk\"},\"columns\":[{\"name\":\"bills\",\"type\":\"int8\",\"default\":0},{\"name\":\"cents\","
    "\"type\":\"int8\",\"default\":0},{\"name\":\"currency\",\"type\":\"text\"}],\"on\":{\"bill.paid\":{"
    "\"count\":["
    "\"bills\"],\"add\":{\"cents\":\"/cents\"},\"set\":{\"currency\":\"/currency\"}}}}]}";

static bool tills_are_at(fixture_t *f, int64_t seq)
{
    return sb_world_is_at(&f->world, "tills", seq);
}

static void a_view_folds_the_newest_version_live_and_on_replay(void **state)
{
    fixture_t *f = *state;
    sb_world_projector_t p;
    sb_replay_report_t report;
    put_file(f, "views/tills.json", tills);
    put_bills(f, 3);
    for (int i = 0; i < 30; i++) {
        char data[100];
        int version = i % 3 + 1;
        (void)snprintf(data, sizeof data,
                       version == 1   ? "{\"amount\":%d,\"clerk\":\"c%d\"}"
                       : version == 2 ? "{\"clerk\":\"c%2$d\",\"cents\":%1$d}"
                                      : "{\"cents\":%d,\"currency\":\"EUR\",\"by\":{\"clerk\":\"c%d\"}}",
                       i, i % 4);
        assert_ok(append(f, "b-1", version, data), &f->err);
    }
    int64_t safe = sb_world_safe(&f->world);
    sb_world_start(&f->world, &p, "a", 7);
    assert_soon(tills_are_at(f, safe), 20000);
    sb_world_stop(&p);
    assert_int_equal(sb_world_int(&f->world, "SELECT sum(cents) FROM sagabus_view.tills"), 29 * 30 / 2);
    assert_int_equal(sb_world_int(&f->world,
                                  "SELECT count(*) FROM sagabus_view.tills WHERE currency = 'EUR' AND "
                                  "bills IN (7, 8)"),
                     4);
    char *live = sb_world_rows(&f->world, "tills", 0);
    assert_ok(sb_world_replay(f->world.uri, "tills", 4, NULL, NULL, &report, &f->err), &f->err);
    char *replayed = sb_world_rows(&f->world, "tills", 0);
    assert_int_equal(report.generation, 2);
    assert_string_equal(live, replayed);
    free(live);
    free(replayed);
    /* both know by the same mark what they were folded with, and it is not the definition's alone */
    assert_int_equal(
        sb_world_int(&f->world, "SELECT count(DISTINCT fingerprint) FROM sagabus.view_generation"), 1);
    assert_int_equal(sb_world_int(&f->world,
                                  "SELECT count(*) FROM sagabus.view_generation g JOIN sagabus.artifact a "
                                  "ON a.kind = 'view' AND a.hash = g.fingerprint"),
                     0);
}

static void a_view_waits_for_a_version_it_cannot_read_and_a_replay_refuses(void **state)
{
    fixture_t *f = *state;
    sb_world_projector_t p;
    sb_replay_report_t report;
    put_file(f, "views/tills.json", tills);
    put_bills(f, 3);
    append_one_of_each(f);
    int64_t before = sb_world_safe(&f->world);
    sb_test_pg_script(
        f->world.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('bill.paid', 4);"
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', 'bill.paid', 4, "
        "sha256('4'), '{\"schema\":{\"magic\":1},\"type\":\"bill.paid\",\"version\":4}');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT stream_no, 4, "
        "type_no, 1, gen_random_uuid(), '{}' FROM sagabus.stream, sagabus.event_type t WHERE t.name = "
        "'bill.paid' AND t.version = 4");
    (void)sb_world_safe(&f->world);
    sb_world_start(&f->world, &p, "a", 10);
    assert_soon(
        sb_world_int(&f->world,
                     "SELECT count(*) FROM sagabus.lease WHERE role = 'view:tills' AND cursor = %" PRId64
                     " AND detail ->> 'state' = 'waiting' AND detail ->> 'problem' LIKE '%%bill.paid version "
                     "4%%'",
                     before) == 1,
        20000);
    sb_world_stop(&p);
    assert_code(SB_UNSUPPORTED, sb_world_replay(f->world.uri, "tills", 0, NULL, NULL, &report, &f->err),
                &f->err);
    assert_contains(f->err.message, "bill.paid version 4");
}

static sb_code_t add_cents(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    (void)context;
    if (event->schema_version != 2 || !sb_slice_is(event->data, "{\"cents\":100}"))
        return sb_fail(err, SB_INVALID, "version %d", event->schema_version);
    sb_fold_set_int(row, "cents", sb_fold_int(row, "cents") + 100);
    return SB_OK;
}

static void *run_views(void *views)
{
    sb_views_run(views);
    return NULL;
}

/* Steps of upcasts are registered beside the folds. */
static void a_service_gives_its_views_their_functions(void **state)
{
    fixture_t *f = *state;
    sb_views_t *views = NULL;
    sb_replay_report_t report;
    pthread_t thread;
    put_file(
        f, "views/tills.json",
        "{\"view\":\"tills\",\"version\":1,\"fold\":\"c:tills\",\"tables\":[{\"name\":\"tills\",\"key\":{"
        "\"column\":\"k\",\"type\":\"text\",\"from\":\"$subject\"},\"columns\":[{\"name\":\"cents\",\"type\":"
        "\"int8\",\"default\":0}],\"on\":[\"bill.paid\"]}]}");
    put_bills(f, 1);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    put_file(f, "events/bill.paid.v2.json",
             "{\"type\":\"bill.paid\",\"version\":2,\"schema\":{\"required\":[\"cents\"],\"properties\":{"
             "\"cents\":{\"type\":\"integer\"}}},\"x-upcast\":\"hook\"}");
    apply(f);
    assert_ok(append(f, "b-1", 2, "{\"cents\":100}"), &f->err);
    int64_t safe = sb_world_safe(&f->world);
    const sb_views_config_t config = {.pg_uri = f->world.uri, .idle_ms = 10};
    const sb_views_replay_t replay = {.view = "tills"};
    assert_ok(sb_views_open(&views, &config, &f->err), &f->err);
    assert_ok(sb_views_fold(views, "tills", add_cents, NULL, &f->err), &f->err);
    assert_code(SB_UNSUPPORTED, sb_views_replay(views, &replay, &report, &f->err), &f->err);
    assert_contains(f->err.message, "is not registered here");
    sb_error_clear(&f->err);
    sb_views_close(&views);
    assert_ok(sb_views_open(&views, &config, &f->err), &f->err);
    assert_ok(sb_views_fold(views, "tills", add_cents, NULL, &f->err), &f->err);
    assert_ok(sb_views_upcast(views, "bill.paid", 1, to_cents, NULL, &f->err), &f->err);
    assert_code(SB_CONFLICT, sb_views_upcast(views, "bill.paid", 1, to_cents, NULL, &f->err), &f->err);
    sb_error_clear(&f->err);
    assert_int_equal(pthread_create(&thread, NULL, run_views, views), 0);
    assert_soon(tills_are_at(f, safe), 20000);
    assert_int_equal(sb_world_int(&f->world, "SELECT sum(cents) FROM sagabus_view.tills WHERE NOT dirty"),
                     200);
    assert_ok(sb_views_replay(views, &replay, &report, &f->err), &f->err);
    assert_int_equal(sb_world_int(&f->world, "SELECT sum(cents) FROM sagabus_view.tills WHERE NOT dirty"),
                     200);
    sb_views_stop(views);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sb_views_close(&views);
}

typedef struct meddler {
    fixture_t *f;
    bool done;
} meddler_t;

static sb_code_t register_meanwhile(void *context, const sb_replay_progress_t *progress, sb_error_t *err)
{
    meddler_t *meddler = context;
    (void)err;
    if (progress->phase == SB_REPLAY_LOAD && !meddler->done) {
        meddler->done = true;
        put_bills(meddler->f, 3);
    }
    return SB_OK;
}

/* Half of the rows would be of the old form. */
static void a_version_registered_during_a_replay_ends_it(void **state)
{
    fixture_t *f = *state;
    sb_replay_report_t report;
    meddler_t meddler = {f, false};
    put_file(f, "views/tills.json",
             "{\"view\":\"tills\",\"version\":1,\"tables\":[{\"name\":\"tills\",\"key\":{\"column\":\"k\","
             "\"type\":"
             "\"text\",\"from\":\"$subject\"},\"columns\":[{\"name\":\"cents\",\"type\":\"int8\",\"default\":"
             "0}],\"on\":{"
             "\"bill.paid\":{\"add\":{\"cents\":\"/cents\"}}}}]}");
    put_bills(f, 2);
    assert_ok(append(f, "b-1", 1, "{\"amount\":1}"), &f->err);
    (void)sb_world_safe(&f->world);
    assert_code(SB_CONFLICT,
                sb_world_replay(f->world.uri, "tills", 0, register_meanwhile, &meddler, &report, &f->err),
                &f->err);
    assert_contains(f->err.message, "start it again");
    assert_ok(sb_world_replay(f->world.uri, "tills", 0, NULL, NULL, &report, &f->err), &f->err);
    assert_int_equal(sb_world_int(&f->world, "SELECT sum(cents) FROM sagabus_view.tills"), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_reader_gets_the_newest_version),
        CASE(a_version_registered_later_is_learned),
        CASE(a_version_this_release_cannot_read_stops_the_read_by_name),
        CASE(a_hole_in_the_chain_is_named),
        CASE(a_c_function_takes_the_step_of_a_handle),
        CASE(a_view_folds_the_newest_version_live_and_on_replay),
        CASE(a_view_waits_for_a_version_it_cannot_read_and_a_replay_refuses),
        CASE(a_version_registered_during_a_replay_ends_it),
        CASE(a_service_gives_its_views_their_functions),
    };
    return cmocka_run_group_tests_name("upcast", tests, sb_test_pg_start, sb_test_pg_stop);
}
