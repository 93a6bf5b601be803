/* The check of a directory of files, without a database.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "events/view/view.h"
#include "saga/definition.h"
#include "tests/support/assert.h"
#include "tests/support/process.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct fixture {
    char dir[64], released[64];
    sb_buf_t faults; /* "code file-name pointer: message\n" */
    int files;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static void make_dirs(char *dir)
{
    static const char *const kinds[] = {"events", "views", "sagas"};
    assert_non_null(mkdtemp(dir));
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        (void)snprintf(path, sizeof path, "%s/%s", dir, kinds[i]);
        assert_int_equal(mkdir(path, 0700), 0);
    }
}

static int setup(void **state)
{
    fixture = (fixture_t){.dir = "/tmp/sb-check-XXXXXX", .released = "/tmp/sb-released-XXXXXX"};
    make_dirs(fixture.dir);
    make_dirs(fixture.released);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_buf_fini(&f->faults);
    sb_test_remove_tree(f->dir);
    sb_test_remove_tree(f->released);
    return 0;
}

static void put_file(const char *dir, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void note(void *context, sb_code_t code, const char *file, const char *pointer, const char *message)
{
    fixture_t *f = context;
    const char *slash = strrchr(file, '/');
    sb_buf_printf(&f->faults, "%s %s %s: %s\n", sb_code_name(code), slash ? slash + 1 : file, pointer,
                  message);
}

static sb_code_t check(fixture_t *f, const char *against, const char *dir)
{
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {
        [SB_ARTIFACT_SAGA] = sb_definition_check, [SB_ARTIFACT_VIEW] = sb_view_check};
    sb_catalog_t *catalog = NULL;
    sb_buf_reset(&f->faults);
    sb_error_clear(&f->err);
    assert_ok(sb_catalog_new(&catalog, &f->err), &f->err);
    sb_code_t code = sb_catalog_check(catalog, against, dir, checks, note, f, &f->files, &f->err);
    sb_catalog_free(&catalog);
    return code;
}

static void assert_fault(const fixture_t *f, const char *text)
{
    assert_contains(sb_buf_text(&f->faults), text);
}

#define V1 "{\"type\":\"a.x\",\"version\":1,\"schema\":{\"properties\":{\"amount\":{\"type\":\"integer\"}}}}"
#define V2(upcast)                                                                                           \
    "{\"type\":\"a.x\",\"version\":2,\"schema\":{\"required\":[\"cents\"],\"properties\":{\"cents\":{"       \
    "\"type\":\"integer\"}}}" upcast "}"
#define UPCAST                                                                                               \
    ",\"x-upcast\":[{\"default\":{\"at\":\"/amount\",\"value\":0}},{\"rename\":{\"from\":\"/"                \
    "amount\",\"to\":\"/cents\"}}]"

static void the_projects_files_have_no_fault(void **state)
{
    fixture_t *f = *state;
    assert_ok(check(f, NULL, SB_TEST_SCHEMAS), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
    assert_true(f->files >= 30);
    assert_ok(check(f, NULL, SB_TEST_SCHEMAS "/../examples/nested"), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
    assert_int_equal(f->files, 2);
    assert_ok(check(f, SB_TEST_SCHEMAS, SB_TEST_SCHEMAS), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
    assert_code(SB_NOT_FOUND, check(f, NULL, "/no/such/directory"), &f->err);
    assert_code(SB_NOT_FOUND, check(f, "/no/such/directory", SB_TEST_SCHEMAS), &f->err);
}

static void every_fault_is_named(void **state)
{
    fixture_t *f = *state;
    put_file(f->dir, "events/a.x.v1.json", V1);
    put_file(f->dir, "events/a.x.v2.json", V2(""));
    put_file(f->dir, "events/b.y.v1.json", "{\"type\":\"b.y\",\"version\":1,\"schema\":{\"magic\":1}}");
    put_file(f->dir, "events/c.z.v1.json", "{\"type\":\"c.z\",");
    put_file(f->dir, "events/d.w.v1.json", "{\"type\":\"d.w\",\"version\":1,\"schema\":{},\"x-upcast\":[]}");
    put_file(f->dir, "events/e.v.v2.json", "{\"type\":\"e.v\",\"version\":2,\"schema\":{},\"x-upcast\":[]}");
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_fault(f, "invalid a.x.v2.json /schema/properties: /amount: is gone");
    assert_fault(f, "invalid a.x.v2.json /schema/required: /cents: is required");
    assert_fault(f, "unsupported b.y.v1.json /schema/magic: ");
    assert_fault(f, "invalid c.z.v1.json : ");
    assert_fault(f, "invalid d.w.v1.json /x-upcast: ");
    assert_fault(f, "invalid e.v.v2.json /x-upcast: the version before it is not known");
    put_file(f->dir, "sagas/nameless.json", "{\"version\":1,\"steps\":[]}");
    put_file(f->dir, "sagas/timeless.json", "{\"saga\":\"timeless\",\"steps\":[]}");
    put_file(f->dir, "sagas/number.json", "{\"saga\":7,\"version\":1,\"steps\":[]}");
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_fault(f, "nameless.json, at /saga: is missing");
    assert_fault(f, "version is missing");
    assert_fault(f, "number.json, at /saga: must be a name");
    put_file(f->dir, "events/a.x.v2.json", V2(UPCAST));
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_null(strstr(sb_buf_text(&f->faults), "a.x."));
}

#define SAGA(name, version, steps) "{\"saga\":\"" name "\",\"version\":" version ",\"steps\":[" steps "]}"
#define OWN(more)                  "{\"name\":\"own\",\"participant\":\"p\",\"action\":\"do\"" more "}"
#define CHILD(name)                "{\"name\":\"c\",\"saga\":\"" name "\"}"
#define UNDO                       ",\"compensation\":\"undo\""

/* Also of those that are there already, whose file nobody touched. */
static void sagas_fit_those_they_are_steps_of(void **state)
{
    fixture_t *f = *state;
    put_file(f->dir, "sagas/a.json", SAGA("a", "1", OWN(UNDO) "," CHILD("b")));
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_fault(f, "invalid a.json /steps/1/saga: no saga b is registered, or among the files");
    put_file(f->dir, "sagas/b.json", SAGA("b", "1", OWN(UNDO) "," CHILD("c")));
    put_file(f->dir, "sagas/c.json", SAGA("c", "1", OWN(UNDO)));
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), ""); /* a names b, which is read after it */

    put_file(f->released, "sagas/a.json", SAGA("a", "1", OWN(UNDO) "," CHILD("b")));
    put_file(f->released, "sagas/b.json", SAGA("b", "1", OWN(UNDO)));
    put_file(f->dir, "sagas/b.json", SAGA("b", "2", OWN(",\"pivot\":true")));
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(f,
                 "invalid a.json /steps/1/saga: saga b cannot be undone once its pivot own is done, so step "
                 "c could not");
    put_file(f->dir, "sagas/b.json", SAGA("b", "2", CHILD("a")));
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(f, "/steps/1/saga: a saga cannot be a step of itself: a -> b -> a");
    assert_fault(f, "/steps/0/saga: a saga cannot be a step of itself: b -> a -> b");
    put_file(f->dir, "sagas/b.json", SAGA("b", "2", OWN(UNDO) "," CHILD("b")));
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(f, "invalid b.json /steps/1/saga: a saga cannot be a step of itself: b -> b");
}

/* What is registered was checked by the rules of its day: neither another saga nor an event type asks again.
 */
static void a_text_like_a_reference_is_refused_where_it_is_new(void **state)
{
    fixture_t *f = *state;
    put_file(f->dir, "sagas/a.json", SAGA("a", "1", OWN(UNDO ",\"input\":{\"x\":\"$input/x\"}")));
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_fault(f, "invalid a.json /steps/0/input/x: $input/x is no reference");
    put_file(f->released, "sagas/a.json", SAGA("a", "1", OWN(UNDO ",\"input\":{\"x\":\"$input/x\"}")));
    put_file(f->dir, "sagas/b.json", SAGA("b", "1", CHILD("a")));
    put_file(f->dir, "events/a.x.v1.json", V1);
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
}

static void sagas_are_nested_only_so_deep(void **state)
{
    fixture_t *f = *state;
    static const char names[] = "gfedcba";
    put_file(f->dir, "sagas/g.json", SAGA("g", "1", OWN(UNDO)));
    for (int i = 1; i < 7; i++) {
        char path[40], body[200];
        (void)snprintf(path, sizeof path, "sagas/%c.json", names[i]);
        (void)snprintf(body, sizeof body,
                       "{\"saga\":\"%c\",\"version\":1,\"steps\":[{\"name\":\"c\",\"saga\":\"%c\"}]}",
                       names[i], names[i - 1]);
        put_file(f->dir, path, body);
        assert_ok(check(f, NULL, f->dir), &f->err);
        if (i < 6)
            assert_string_equal(sb_buf_text(&f->faults), "");
    }
    assert_fault(f,
                 "invalid a.json /steps/0/saga: sagas can be nested 5 deep at most: a -> b -> c -> d -> e -> "
                 "f -> g");
}

static void what_was_released_is_not_edited(void **state)
{
    fixture_t *f = *state;
    put_file(f->released, "events/a.x.v1.json", V1);
    put_file(
        f->dir, "events/a.x.v1.json",
        "{\"type\":\"a.x\",\"version\":1,\"schema\":{\"properties\":{\"amount\":{\"type\":\"string\"}}}}");
    assert_ok(check(f, NULL, f->dir), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(
        f, "mismatch a.x.v1.json : a.x version 1 is registered with other content; a version is never edited "
           "once registered, make it version 2");
    /* white space and the order of members are not content */
    put_file(
        f->dir, "events/a.x.v1.json",
        "{\"version\": 1, \"schema\":{\"properties\":{\"amount\":{\"type\":\"integer\"}}},\"type\":\"a.x\"}");
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
}

/* The new version is compared with the released one also when the old file is no longer in the directory. */
static void a_new_version_follows_the_released_one(void **state)
{
    fixture_t *f = *state;
    put_file(f->released, "events/a.x.v1.json", V1);
    put_file(f->dir, "events/a.x.v2.json", V2(""));
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(f, "/amount: is gone");
    put_file(f->dir, "events/a.x.v2.json", V2(UPCAST));
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_string_equal(sb_buf_text(&f->faults), "");
    put_file(f->dir, "events/a.x.v4.json", "{\"type\":\"a.x\",\"version\":4,\"schema\":{}}");
    assert_ok(check(f, f->released, f->dir), &f->err);
    assert_fault(f, "invalid a.x.v4.json /version: the version before it is 2");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(the_projects_files_have_no_fault),
        CASE(every_fault_is_named),
        CASE(sagas_fit_those_they_are_steps_of),
        CASE(sagas_are_nested_only_so_deep),
        CASE(a_text_like_a_reference_is_refused_where_it_is_new),
        CASE(what_was_released_is_not_edited),
        CASE(a_new_version_follows_the_released_one),
    };
    return cmocka_run_group_tests_name("catalog_check", tests, NULL, NULL);
}
