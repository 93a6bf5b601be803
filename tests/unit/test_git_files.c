/* `sagabus schema check --against git:REV`: in a repository of its own, with the git of the PATH.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/assert.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define V1     "{\"type\":\"a.x\",\"version\":1,\"schema\":{\"properties\":{\"n\":{\"type\":\"integer\"}}}}"
#define EDITED "{\"type\":\"a.x\",\"version\":1,\"schema\":{\"properties\":{\"n\":{\"type\":\"string\"}}}}"

static char repository[64], outside[64];
static const char *binary;

static void git(const char *a, const char *b, const char *c, const char *d)
{
    const char *const argv[] = {
        "git", "-C", repository, "-c", "user.name=t", "-c", "user.email=t@example.org", a, b, c, d, NULL};
    assert_int_equal(sb_test_run(argv, 60000), 0);
}

static void put(const char *root, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void make(const char *root, const char *name)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

/* Version 1 is released under a tag, and in a directory of another name; it is edited in the working tree. */
static int setup(void **state)
{
    (void)state;
    static const char *const asked[] = {"git", "--version", NULL};
    binary = getenv("SAGABUS_BIN");
    if (!binary)
        sb_test_skip("binary", "SAGABUS_BIN is not set; `./dev test` sets it");
    if (sb_test_run(asked, 60000) != 0)
        sb_test_skip("git", "there is no git");
    strcpy(repository, "/tmp/sb-git-XXXXXX");
    strcpy(outside, "/tmp/sb-nogit-XXXXXX");
    assert_non_null(mkdtemp(repository));
    assert_non_null(mkdtemp(outside));
    git("init", "-q", ".", NULL);
    make(repository, "schemas");
    make(repository, "schemas/events");
    put(repository, "schemas/events/a.x.v1.json", V1);
    git("add", ".", NULL, NULL);
    git("commit", "-q", "-m", "v1");
    git("tag", "v1", NULL, NULL);
    git("mv", "schemas", "files", NULL);
    git("commit", "-q", "-m", "moved");
    git("mv", "files", "schemas", NULL);
    git("commit", "-q", "-m", "back");
    put(repository, "schemas/events/a.x.v1.json", EDITED);
    make(outside, "events");
    put(outside, "events/a.x.v1.json", V1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sb_test_remove_tree(repository);
    sb_test_remove_tree(outside);
    return 0;
}

/* What schema check of dir ends with; it must say this. */
static void assert_check(int code, const char *says, const char *root, const char *dir, const char *against,
                         const char *environment)
{
    char path[160];
    const char *const more[] = {environment, NULL};
    sb_test_process_t process = {0};
    (void)snprintf(path, sizeof path, "%s%s", root, dir);
    const char *const argv[] = {binary, "schema", "check", path, "--against", against, NULL};
    sb_test_spawn(&process, argv, environment ? more : NULL, NULL);
    assert_true(sb_test_wait(&process, 60000));
    char *said = sb_test_output(&process);
    if (process.exit_code != code)
        print_error("%s\n", said);
    assert_int_equal(process.exit_code, code);
    assert_contains(said, says);
    free(said);
    sb_test_process_end(&process);
}

static void files_are_compared_with_a_revision(void **state)
{
    (void)state;
    static const char edited[] = "make it version 2";
    assert_check(1, edited, repository, "/schemas", "git:v1", NULL);
    assert_check(1, edited, repository, "/schemas", "git:HEAD", NULL);
    assert_check(1, edited, repository, "/schemas", "git:HEAD~1:files", NULL);
    assert_check(5, "nothing to compare with", outside, "", repository, NULL);
}

static void what_git_does_not_have_is_said(void **state)
{
    (void)state;
    assert_check(5, "git:v2", repository, "/schemas", "git:v2", NULL);
    assert_check(5, "HEAD~1:schemas", repository, "/schemas", "git:HEAD~1", NULL);
    assert_check(5, "nothing to compare with: git:v1: has no file", repository, "/schemas", "git:v1:", NULL);
    assert_check(5, "not a git repository", outside, "", "git:HEAD", NULL);
    assert_check(1, "expected git:REV or git:REV:PATH", repository, "/schemas", "git:", NULL);
    assert_check(1, "expected git:REV or git:REV:PATH", repository, "/schemas", "git:--help", NULL);
    assert_check(5, "a git revision is written git:v1", repository, "/schemas", "v1", NULL);
    assert_check(1, "needs the git program", repository, "/schemas", "git:v1", "PATH=/nowhere");
}

/* In a linked working tree, and wherever git was told of one, a hook has the repository in its environment;
 * git would then take the directory of the files for the root. */
static void a_hook_s_repository_is_not_taken_for_its_root(void **state)
{
    (void)state;
    char hooked[160];
    (void)snprintf(hooked, sizeof hooked, "GIT_DIR=%s/.git", repository);
    assert_check(1, "make it version 2", repository, "/schemas", "git:v1", hooked);
    assert_check(5, "not a git repository", outside, "", "git:HEAD", hooked);
}

/* A hook has the index of the commit that is being made in its environment. */
static void nothing_of_the_repository_is_touched(void **state)
{
    (void)state;
    char index[160];
    const char *const status[] = {"git", "-C", repository, "status", "--porcelain", NULL};
    (void)snprintf(index, sizeof index, "GIT_INDEX_FILE=%s/.git/index", repository);
    put(repository, "schemas/events/a.x.v1.json", V1);
    assert_check(0, "1 files, no fault", repository, "/schemas", "git:v1", index);
    sb_test_process_t process = {0};
    sb_test_spawn(&process, status, NULL, NULL);
    assert_true(sb_test_wait(&process, 60000));
    char *said = sb_test_output(&process);
    assert_string_equal(said, "");
    free(said);
    sb_test_process_end(&process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_compared_with_a_revision),
        cmocka_unit_test(what_git_does_not_have_is_said),
        cmocka_unit_test(a_hook_s_repository_is_not_taken_for_its_root),
        cmocka_unit_test(nothing_of_the_repository_is_touched),
    };
    return cmocka_run_group_tests_name("git_files", tests, setup, teardown);
}
