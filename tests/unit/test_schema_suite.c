/* The cases of the JSON Schema project for draft 2020-12, as Debian packages them. Each is passed, or its
 * schema is refused when it is compiled because of a keyword that docs/json-schema.md says is not supported.
 * A wrong verdict fails the test, always; a smaller share of cases passed than the page says fails it too.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"
#include "events/schema/schema.h"
#include "tests/support/assert.h"
#include "tests/support/skip.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SUITE   "/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance/tests/draft2020-12"
#define PACKAGE "libtest-json-schema-acceptance-perl"

typedef struct tally {
    const char *name; /* as the page has it */
    int passed, refused, wrong;
    bool quiet; /* of formats: those that the page does not list are for people, and let everything pass */
    int open;   /* that a format for people lets pass */
} tally_t;

typedef struct refusal {
    char keyword[64];
    int cases;
} refusal_t;

static refusal_t refusals[100];
static int refusal_count;
static char *page;
static char directory[400];

static char *read_whole(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat is = {0};
    if (!file || fstat(fileno(file), &is) != 0)
        fail_msg("%s: %s", path, strerror(errno));
    char *text = calloc(1, (size_t)is.st_size + 1);
    assert_non_null(text);
    assert_int_equal(fread(text, 1, (size_t)is.st_size, file), is.st_size);
    (void)fclose(file);
    return text;
}

/* The keyword at the end of the pointer of a refusal. */
static void count_refusal(const sb_error_t *err, int cases)
{
    const char *slash = strrchr(err->pointer, '/');
    const char *keyword = slash ? slash + 1 : "(root)";
    int i = 0;
    while (i < refusal_count && strcmp(refusals[i].keyword, keyword) != 0)
        i++;
    if (i == refusal_count) {
        assert_true(refusal_count < 100);
        (void)snprintf(refusals[refusal_count++].keyword, sizeof refusals[0].keyword, "%s", keyword);
    }
    refusals[i].cases += cases;
}

static bool is_checked(const char *file)
{
    return strcmp(file, "date-time.json") == 0 || strcmp(file, "date.json") == 0 ||
           strcmp(file, "uuid.json") == 0;
}

static void run_cases(tally_t *tally, const char *file, const char *group, const sb_schema_t *schema,
                      sb_slice_t tests)
{
    sb_scan_value_t name, test;
    for (size_t at = 0; sb_scan_next(tests, &at, &name, &test);) {
        sb_scan_value_t data = {0}, valid = {0}, what = {SB_SCAN_INVALID, {"", 0}, false};
        sb_error_t err = SB_ERROR_INIT;
        assert_true(sb_scan_field(test.text, "data", &data) && sb_scan_field(test.text, "valid", &valid));
        (void)sb_scan_field(test.text, "description", &what);
        sb_code_t code = sb_schema_validate(schema, data.text, &err);
        assert_true(code == SB_OK || code == SB_INVALID);
        if ((code == SB_OK) == (valid.kind == SB_SCAN_TRUE)) {
            tally->passed++;
            continue;
        }
        if (tally->quiet && !is_checked(file)) {
            tally->open++;
            continue;
        }
        tally->wrong++;
        print_message("WRONG %s, %s, %.*s: %.*s is %s %s\n", file, group, SB_SLICE_ARG(what.text),
                      SB_SLICE_ARG(data.text),
                      code == SB_OK ? "valid for us" : "invalid for us:", err.message);
    }
}

static int count_items(sb_slice_t array)
{
    sb_scan_value_t name, item;
    int count = 0;
    for (size_t at = 0; sb_scan_next(array, &at, &name, &item);)
        count++;
    return count;
}

static void run_group(tally_t *tally, const char *file, sb_slice_t group)
{
    sb_scan_value_t schema_text = {0}, tests = {0}, description = {0};
    sb_error_t err = SB_ERROR_INIT;
    sb_schema_t *schema = NULL;
    sb_buf_t title = SB_BUF_INIT;
    assert_true(sb_scan_field(group, "schema", &schema_text) && sb_scan_field(group, "tests", &tests) &&
                sb_scan_field(group, "description", &description));
    sb_buf_add_slice(&title, description.text);
    json_t *source =
        json_loadb(schema_text.text.ptr, schema_text.text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    sb_code_t code = source ? sb_schema_compile(&schema, source, &err)
                            : sb_fail_at(&err, SB_UNSUPPORTED, "/(numbers beyond a double)", "jansson");
    if (code == SB_OK) {
        run_cases(tally, file, sb_buf_text(&title), schema, tests.text);
    } else {
        if (code != SB_UNSUPPORTED) {
            tally->wrong += count_items(tests.text);
            print_message("WRONG %s, %s: refused as no schema: %s\n", file, sb_buf_text(&title), err.message);
        }
        if (getenv("SB_TEST_VERBOSE"))
            print_message("refused: %s, %s: %s\n", file, sb_buf_text(&title), err.message);
        tally->refused += code == SB_UNSUPPORTED ? count_items(tests.text) : 0;
        count_refusal(&err, count_items(tests.text));
    }
    sb_schema_free(&schema);
    json_decref(source);
    sb_buf_fini(&title);
}

static void run_file(tally_t *tally, const char *path, const char *file)
{
    sb_scan_value_t name, group;
    char *text = read_whole(path);
    size_t at = 0;
    while (sb_scan_next(sb_slice(text), &at, &name, &group))
        run_group(tally, file, group.text);
    assert_true(at != SIZE_MAX);
    free(text);
}

static int is_json(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0;
}

/* The share that the page promises: "| name | passed of all | share % |". */
static double promised(const char *name)
{
    char row[64];
    (void)snprintf(row, sizeof row, "\n| %s |", name);
    const char *at = strstr(page, row);
    const char *share = at ? strchr(at + strlen(row), '|') : NULL;
    if (!share)
        fail_msg("docs/json-schema.md has no row for %s", name);
    return share ? strtod(share + 1, NULL) : 0;
}

static void run_folder(tally_t *tally, const char *folder)
{
    struct dirent **list = NULL;
    (void)snprintf(directory, sizeof directory, "%s/%s", SUITE, folder);
    int count = scandir(directory, &list, is_json, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[sizeof directory + 300];
        (void)snprintf(path, sizeof path, "%s/%s", directory, list[i]->d_name);
        run_file(tally, path, list[i]->d_name);
        free(list[i]);
    }
    free(list);
    int all = tally->passed + tally->refused + tally->wrong + tally->open;
    double share = 100.0 * tally->passed / all;
    print_message("%s: %d of %d cases passed (%.1f %%), %d refused, %d let pass, %d wrong\n", tally->name,
                  tally->passed, all, share, tally->refused, tally->open, tally->wrong);
    assert_int_equal(tally->wrong, 0);
    if (share + 0.05 < promised(tally->name))
        fail_msg("%s: %.1f %% passed, docs/json-schema.md says %.1f %%", tally->name, share,
                 promised(tally->name));
}

static void required_cases(void **state)
{
    (void)state;
    tally_t tally = {.name = "required"};
    run_folder(&tally, ".");
}

static void optional_cases(void **state)
{
    (void)state;
    tally_t tally = {.name = "optional"};
    run_folder(&tally, "optional");
}

static void format_cases(void **state)
{
    (void)state;
    tally_t tally = {.name = "optional/format", .quiet = true};
    run_folder(&tally, "optional/format");
}

/* What is refused is named as not supported, or no keyword that the page lists. */
static void refusals_are_documented(void **state)
{
    (void)state;
    const char *named = strstr(page, "Not supported: ");
    assert_non_null(named);
    size_t length = (size_t)(strstr(named, "\n\n") - named);
    for (int i = 0; i < refusal_count; i++) {
        char quoted[sizeof refusals[i].keyword + 2];
        (void)snprintf(quoted, sizeof quoted, "`%s`", refusals[i].keyword);
        print_message("%4d cases refused for %s\n", refusals[i].cases, refusals[i].keyword);
        if (strstr(page, quoted) && !memmem(named, length, quoted, strlen(quoted)))
            fail_msg("docs/json-schema.md lists %s as a keyword that holds", quoted);
    }
    assert_true(refusal_count > 0);
}

int main(void)
{
    struct stat is = {0};
    if (stat(SUITE, &is) != 0)
        sb_test_skip("schema-suite", "%s is not there: apt-get install %s", SUITE, PACKAGE);
    page = read_whole(SB_TEST_PAGE);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(required_cases),
        cmocka_unit_test(optional_cases),
        cmocka_unit_test(format_cases),
        cmocka_unit_test(refusals_are_documented),
    };
    int failed = cmocka_run_group_tests_name("schema_suite", tests, NULL, NULL);
    free(page);
    return failed;
}
