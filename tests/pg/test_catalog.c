/* SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "events/view/view.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SCHEMAS SB_TEST_SOURCE_DIR "/schemas"

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    char dir[64];
    sb_apply_report_t report;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void make_folder(fixture_t *f, const char *name)
{
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static int setup(void **state)
{
    fixture = (fixture_t){.dir = "/tmp/sb-catalog-XXXXXX"};
    fixture.pg = sb_test_pg_open(sb_test_pg_fresh(fixture.uri));
    assert_ok(sb_catalog_new(&fixture.catalog, &fixture.err), &fixture.err);
    assert_non_null(mkdtemp(fixture.dir));
    make_folder(&fixture, "events");
    make_folder(&fixture, "views");
    make_folder(&fixture, "sagas");
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_catalog_free(&f->catalog);
    sb_pg_close(&f->pg);
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

static sb_code_t apply(fixture_t *f, const sb_artifact_check_fn *check)
{
    sb_error_clear(&f->err);
    return sb_catalog_apply(f->catalog, f->pg, f->dir, check, &f->report, &f->err);
}

static int64_t registered(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.artifact");
}

#define TYPE(name, version, schema)                                                                          \
    "{\"type\":\"" name "\",\"version\":" version ",\"title\":\"t\",\"schema\":" schema "}"

static void the_projects_files_are_registered_once(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_catalog_apply(f->catalog, f->pg, SCHEMAS, NULL, &f->report, &f->err), &f->err);
    assert_true(f->report.added >= 25);
    assert_int_equal(f->report.unchanged, 0);
    int added = f->report.added;
    assert_ok(sb_catalog_apply(f->catalog, f->pg, SCHEMAS, NULL, &f->report, &f->err), &f->err);
    assert_int_equal(f->report.added, 0);
    assert_int_equal(f->report.unchanged, added);

    const sb_event_type_t *type = sb_catalog_type(f->catalog, SB_SLICE("order.created"), 0);
    assert_non_null(type);
    assert_int_equal(type->version, 1);
    assert_ptr_equal(sb_catalog_type_no(f->catalog, type->type_no), type);
    assert_true(sb_schema_has(type->schema, SB_SLICE("/customer_id")));
    assert_null(sb_catalog_type(f->catalog, SB_SLICE("order.created"), 2));
    assert_null(sb_catalog_type(f->catalog, SB_SLICE("order.create"), 0));
    assert_null(sb_catalog_type_no(f->catalog, 0));
    assert_null(sb_catalog_type_no(f->catalog, 100000));
}

static void saga_types_are_in_every_store(void **state)
{
    fixture_t *f = *state;
    assert_ok(apply(f, NULL), &f->err);
    assert_non_null(sb_catalog_type(f->catalog, SB_SLICE("saga.started"), 1));
    assert_non_null(sb_catalog_type(f->catalog, SB_SLICE("saga.step.retried"), 0));
    assert_int_equal(f->report.added, registered(f));
}

static sb_code_t collect(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    (void)err;
    sb_buf_t *list = context;
    if (strncmp(artifact->name, "saga.", 5) != 0)
        sb_buf_printf(list, "%s/%d ", artifact->name, artifact->version);
    return SB_OK;
}

static void versions_stand_beside_each_other(void **state)
{
    fixture_t *f = *state;
    for (int version = 1; version <= 10; version++) {
        char name[64], text[200];
        (void)snprintf(name, sizeof name, "events/a.x.v%d.json", version);
        (void)snprintf(text, sizeof text, "{\"type\":\"a.x\",\"version\":%d,\"schema\":{}}", version);
        put_file(f, name, text);
    }
    put_file(f, "events/a.x-y.v1.json", TYPE("a.x-y", "1", "{}"));
    put_file(f, "events/README.txt", "no JSON, not ours");
    assert_ok(apply(f, NULL), &f->err);
    assert_int_equal(sb_catalog_type(f->catalog, SB_SLICE("a.x"), 0)->version, 10);
    assert_int_equal(sb_catalog_type(f->catalog, SB_SLICE("a.x"), 2)->version, 2);
    sb_buf_t list = SB_BUF_INIT;
    assert_ok(sb_catalog_each(f->catalog, SB_ARTIFACT_EVENT, collect, &list, &f->err), &f->err);
    assert_string_equal(sb_buf_text(&list),
                        "a.x/1 a.x/2 a.x/3 a.x/4 a.x/5 a.x/6 a.x/7 a.x/8 a.x/9 a.x/10 a.x-y/1 ");
    sb_buf_fini(&list);

    const sb_artifact_t *artifact = sb_catalog_artifact(f->catalog, SB_ARTIFACT_EVENT, SB_SLICE("a.x"), 2);
    assert_ptr_equal(sb_catalog_by_hash(f->catalog, SB_ARTIFACT_EVENT, &artifact->hash), artifact);
    assert_null(sb_catalog_by_hash(f->catalog, SB_ARTIFACT_VIEW, &artifact->hash));
}

static void an_edited_version_is_refused_and_nothing_is_registered(void **state)
{
    fixture_t *f = *state;
    put_file(f, "events/b.x.v1.json", TYPE("b.x", "1", "{\"minimum\":1}"));
    assert_ok(apply(f, NULL), &f->err);
    int64_t before = registered(f);
    /* White space and the order of members are not content. */
    put_file(f, "events/b.x.v1.json",
             "{\"schema\": {\"minimum\":1},\n\"title\":\"t\",\"version\":1,\"type\":\"b.x\"}");
    assert_ok(apply(f, NULL), &f->err);
    put_file(f, "events/b.x.v1.json", TYPE("b.x", "1", "{\"minimum\":2}"));
    put_file(f, "events/a.new.v1.json", TYPE("a.new", "1", "{}"));
    assert_code(SB_MISMATCH, apply(f, NULL), &f->err);
    assert_contains(f->err.message, "b.x.v1.json");
    assert_contains(f->err.message, "make it version 2");
    assert_int_equal(registered(f), before);
    assert_null(sb_catalog_type(f->catalog, SB_SLICE("a.new"), 0));
}

typedef struct bad {
    const char *file;
    const char *text;
    const char *pointer;
    const char *says;
} bad_t;

static const bad_t bad[] = {
    {"events/a.x.v1.json", "{\"type\":", "", "line 1"},
    {"events/a.x.v1.json", "[]", "", "object"},
    {"events/a.x.v2.json", TYPE("a.x", "1", "{}"), "/type", "a.x.v1.json"},
    {"events/A.x.v1.json", TYPE("A.x", "1", "{}"), "/type", "labels"},
    {"events/a.v1.json", TYPE("a", "1", "{}"), "/type", "labels"},
    {"events/a.x.v0.json", TYPE("a.x", "0", "{}"), "/version", "from 1"},
    {"events/a.x.v1.json", "{\"type\":\"a.x\",\"version\":1}", "/schema", "missing"},
    {"events/a.x.v1.json", "{\"type\":\"a.x\",\"version\":1,\"schema\":{},\"upcst\":1}", "/upcst",
     "not known"},
    {"events/a.x.v1.json", TYPE("a.x", "1", "{\"properties\":{\"n\":{\"minimun\":1}}}"),
     "/schema/properties/n/minimun", "not supported"},
    {"views/v.json", "{}", "/view", "is missing"},
    {"views/v.json", "{\"view\":7}", "/view", "must be a name"},
    {"sagas/s.json", "{\"saga\":\"other\"}", "/saga", "other.json"},
};

static void a_malformed_file_is_named_with_the_place(void **state)
{
    fixture_t *f = *state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char path[128];
        put_file(f, bad[i].file, bad[i].text);
        sb_code_t code = apply(f, NULL);
        if (code != SB_INVALID && code != SB_UNSUPPORTED)
            fail_msg("%s was taken: %s", bad[i].text, f->err.message);
        assert_string_equal(f->err.pointer, bad[i].pointer);
        assert_contains(f->err.message, bad[i].file);
        assert_contains(f->err.message, bad[i].says);
        (void)snprintf(path, sizeof path, "%s/%s", f->dir, bad[i].file);
        assert_int_equal(remove(path), 0);
    }
    assert_int_equal(registered(f), 0);
    (void)snprintf(f->dir + strlen(f->dir), 4, "/no");
    assert_code(SB_NOT_FOUND, apply(f, NULL), &f->err);
    f->dir[strlen(f->dir) - 3] = '\0';
}

static sb_code_t check_view(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err)
{
    const char *type = json_string_value(json_object_get(body, "of"));
    if (!sb_catalog_type(catalog, sb_slice(type), 0))
        return sb_fail_at(err, SB_INVALID, "/of", "no such event type");
    return SB_OK;
}

static void a_view_is_checked_against_the_types_beside_it(void **state)
{
    fixture_t *f = *state;
    const sb_artifact_check_fn check[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = check_view};
    put_file(f, "events/a.x.v1.json", TYPE("a.x", "1", "{}"));
    put_file(f, "views/v.json", "{\"view\":\"v\",\"of\":\"a.y\"}");
    assert_code(SB_INVALID, apply(f, check), &f->err);
    assert_string_equal(f->err.pointer, "/of");
    assert_contains(f->err.message, "views/v.json");
    assert_int_equal(registered(f), 0);
    assert_null(sb_catalog_type(f->catalog, SB_SLICE("a.x"), 0)); /* it was rolled back */

    put_file(f, "views/v.json", "{\"view\":\"v\",\"of\":\"a.x\",\"version\":3}");
    assert_ok(apply(f, check), &f->err);
    const sb_artifact_t *view = sb_catalog_artifact(f->catalog, SB_ARTIFACT_VIEW, SB_SLICE("v"), 0);
    assert_non_null(view);
    assert_int_equal(view->version, 3);
    assert_string_equal(json_string_value(json_object_get(view->body, "of")), "a.x");
}

static void another_instance_learns_of_it_by_loading(void **state)
{
    fixture_t *f = *state;
    sb_catalog_t *other = NULL;
    sb_pg_t *pg = sb_test_pg_open(f->uri);
    assert_ok(sb_catalog_new(&other, &f->err), &f->err);
    assert_ok(sb_catalog_load(other, pg, &f->err), &f->err);
    assert_null(sb_catalog_type(other, SB_SLICE("a.x"), 0));
    put_file(f, "events/a.x.v1.json", TYPE("a.x", "1", "{\"type\":\"integer\"}"));
    assert_ok(apply(f, NULL), &f->err);
    assert_ok(sb_catalog_load(other, pg, &f->err), &f->err);
    const sb_event_type_t *type = sb_catalog_type(other, SB_SLICE("a.x"), 1);
    assert_non_null(type);
    assert_code(SB_INVALID, sb_schema_validate(type->schema, SB_SLICE("\"\""), &f->err), &f->err);
    assert_ok(sb_catalog_load(other, pg, &f->err), &f->err);
    assert_ptr_equal(sb_catalog_type(other, SB_SLICE("a.x"), 1), type); /* what was handed out stays */
    sb_catalog_free(&other);
    sb_pg_close(&pg);
}

static void a_version_that_breaks_the_one_before_is_refused(void **state)
{
    fixture_t *f = *state;
    put_file(f, "events/a.x.v1.json",
             TYPE("a.x", "1", "{\"properties\":{\"amount\":{\"type\":\"integer\"}}}"));
    assert_ok(apply(f, NULL), &f->err);
    int64_t before = registered(f);
    put_file(f, "events/a.x.v2.json",
             TYPE("a.x", "2", "{\"properties\":{\"cents\":{\"type\":\"integer\"}}}"));
    assert_code(SB_INVALID, apply(f, NULL), &f->err);
    assert_string_equal(f->err.pointer, "/schema/properties");
    assert_contains(f->err.message, "a.x.v2.json, at /schema/properties: /amount: is gone; say in x-upcast");
    assert_int_equal(registered(f), before);
    put_file(f, "events/a.x.v2.json",
             "{\"type\":\"a.x\",\"version\":2,\"schema\":{\"properties\":{\"cents\":{\"type\":\"integer\"}}},"
             "\"x-upcast\":[{\"rename\":{\"from\":\"/amount\",\"to\":\"/cents\"}}]}");
    assert_ok(apply(f, NULL), &f->err);
    put_file(f, "events/a.x.v4.json", TYPE("a.x", "4", "{}"));
    assert_code(SB_INVALID, apply(f, NULL), &f->err);
    assert_contains(f->err.message, "versions have no gaps, make it version 3");
}

static void a_view_that_loses_a_field_is_named(void **state)
{
    fixture_t *f = *state;
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};
    put_file(f, "events/a.x.v1.json",
             TYPE("a.x", "1", "{\"properties\":{\"amount\":{\"type\":\"integer\"}}}"));
    put_file(f, "views/sums.json",
             "{\"view\":\"sums\",\"version\":1,\"tables\":[{\"name\":\"sums\",\"key\":{\"column\":\"k\","
             "\"type\":\"text\","
             "\"from\":\"$subject\"},\"columns\":[{\"name\":\"n\",\"type\":\"int8\",\"default\":0}],\"on\":{"
             "\"a.x\":{"
             "\"add\":{\"n\":\"/amount\"}}}}]}");
    assert_ok(apply(f, checks), &f->err);
    assert_ok(apply(f, checks), &f->err);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/views/sums.json", f->dir);
    assert_int_equal(remove(path), 0); /* it is someone else's */
    put_file(f, "events/a.x.v2.json",
             "{\"type\":\"a.x\",\"version\":2,\"schema\":{\"properties\":{\"cents\":{\"type\":\"integer\"}}},"
             "\"x-upcast\":[{\"rename\":{\"from\":\"/amount\",\"to\":\"/cents\"}}]}");
    assert_code(SB_INVALID, apply(f, checks), &f->err);
    assert_contains(f->err.message, "view sums version 1, which is registered");
    assert_contains(f->err.message, "a.x version 2, its newest, has no field /amount");
}

/* In a rolling deploy: the newer release has registered a version without the field that this one's view
 * reads, and this one starts once more. */
static void what_is_registered_is_not_refused_again(void **state)
{
    fixture_t *f = *state;
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_VIEW] = sb_view_check};
    put_file(f, "events/a.x.v1.json",
             TYPE("a.x", "1", "{\"properties\":{\"amount\":{\"type\":\"integer\"}}}"));
    put_file(f, "views/sums.json",
             "{\"view\":\"sums\",\"version\":1,\"tables\":[{\"name\":\"sums\",\"key\":{\"column\":\"k\","
             "\"type\":\"text\","
             "\"from\":\"$subject\"},\"columns\":[{\"name\":\"n\",\"type\":\"int8\",\"default\":0}],\"on\":{"
             "\"a.x\":{"
             "\"add\":{\"n\":\"/amount\"}}}}]}");
    assert_ok(apply(f, checks), &f->err);
    sb_test_pg_script(
        f->pg, "INSERT INTO sagabus.event_type (name, version) VALUES ('a.x', 2);"
               "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', 'a.x', "
               "2, sha256('2'), '{\"type\":\"a.x\",\"version\":2,\"schema\":{},\"x-upcast\":[{\"drop\":{"
               "\"at\":\"/amount\"}}]}')");
    assert_ok(apply(f, checks), &f->err);
    assert_int_equal(f->report.added, 0);
    /* but what is new is asked */
    put_file(f, "views/more.json",
             "{\"view\":\"more\",\"version\":1,\"tables\":[{\"name\":\"more\",\"key\":{\"column\":\"k\","
             "\"type\":\"text\","
             "\"from\":\"$subject\"},\"columns\":[{\"name\":\"n\",\"type\":\"int8\",\"default\":0}],\"on\":{"
             "\"a.x\":{"
             "\"add\":{\"n\":\"/amount\"}}}}]}");
    assert_code(SB_INVALID, apply(f, checks), &f->err);
    assert_contains(f->err.message, "more.json");
}

/* A newer release registered what this one cannot read. */
static void one_unreadable_entry_keeps_no_other_away(void **state)
{
    fixture_t *f = *state;
    put_file(f, "events/a.x.v1.json", TYPE("a.x", "1", "{}"));
    put_file(f, "events/z.x.v1.json", TYPE("z.x", "1", "{}"));
    assert_ok(apply(f, NULL), &f->err);
    sb_test_pg_script(
        f->pg, "INSERT INTO sagabus.artifact (kind, name, version, hash, body) VALUES ('event', 'b.x', "
               "1, sha256('1'), '{\"schema\":{\"newKeyword\":1}}')");
    sb_catalog_t *other = NULL;
    assert_ok(sb_catalog_new(&other, &f->err), &f->err);
    assert_ok(sb_catalog_load(other, f->pg, &f->err), &f->err);
    assert_code(SB_UNSUPPORTED, sb_catalog_complain(other, &f->err), &f->err);
    assert_contains(f->err.message,
                    "event type b.x version 1 is registered, but this release cannot read it");
    assert_contains(f->err.message, "this keyword is not supported");
    assert_ok(sb_catalog_load(other, f->pg, &f->err), &f->err); /* nothing is added twice */
    assert_code(SB_UNSUPPORTED, sb_catalog_complain(other, &f->err), &f->err);
    assert_non_null(sb_catalog_type(other, SB_SLICE("a.x"), 1));
    assert_non_null(sb_catalog_type(other, SB_SLICE("z.x"), 1));
    assert_null(sb_catalog_type(other, SB_SLICE("b.x"), 1));
    sb_catalog_free(&other);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_projects_files_are_registered_once),
        CASE(saga_types_are_in_every_store),
        CASE(versions_stand_beside_each_other),
        CASE(an_edited_version_is_refused_and_nothing_is_registered),
        CASE(a_malformed_file_is_named_with_the_place),
        CASE(a_view_is_checked_against_the_types_beside_it),
        CASE(another_instance_learns_of_it_by_loading),
        CASE(a_version_that_breaks_the_one_before_is_refused),
        CASE(a_view_that_loses_a_field_is_named),
        CASE(what_is_registered_is_not_refused_again),
        CASE(one_unreadable_entry_keeps_no_other_away),
    };
    return cmocka_run_group_tests_name("catalog", tests, sb_test_pg_start, sb_test_pg_stop);
}
