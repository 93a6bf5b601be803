/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/git_files.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define INDEX "GIT_INDEX_FILE="

extern char **environ;

bool sb_git_is(const char *text)
{
    return strncmp(text, SB_GIT_SCHEME, strlen(SB_GIT_SCHEME)) == 0;
}

/* ---- running git ---- */

static bool is_of(const char *variable, const char *name)
{
    return strncmp(variable, name, strlen(name)) == 0;
}

/* environ with an index of our own in the place of one that a hook may have set; the array is the caller's.
 * Without a hook's GIT_DIR, too: with it, and no GIT_WORK_TREE, git takes the directory it is started in for
 * the root. */
static char **with_index(char *index)
{
    size_t count = 0, kept = 0;
    bool finds = !getenv("GIT_WORK_TREE");
    while (environ[count])
        count++;
    char **all = calloc(count + 2, sizeof *all);
    for (size_t i = 0; all && i < count; i++)
        if (!is_of(environ[i], INDEX) && !(finds && is_of(environ[i], "GIT_DIR=")))
            all[kept++] = environ[i];
    if (all)
        all[kept] = index;
    return all;
}

static bool read_all(int fd, sb_buf_t *out)
{
    for (;;) {
        char *room = sb_buf_reserve(out, 4096);
        ssize_t n = room ? read(fd, room, 4096) : -1;
        if (n < 0 && room && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0;
        out->len += (size_t)n;
        out->ptr[out->len] = '\0';
    }
}

/* What git says on either stream comes in said: its messages are few lines. */
static sb_code_t spawn_git(const char *const *argv, char **environment, int out, pid_t *pid, sb_error_t *err)
{
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&actions, out, STDERR_FILENO);
    int error = posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environment);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error == 0 ? SB_OK
                      : sb_fail(err, SB_UNSUPPORTED,
                                "git: %s: comparing with a revision needs the git program; without "
                                "it give a directory of the files that were released",
                                strerror(error));
}

static sb_code_t git(const char *const *argv, char **environment, sb_buf_t *said, sb_error_t *err)
{
    int ends[2];
    int status = -1;
    pid_t pid = -1;
    sb_buf_reset(said);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return sb_fail(err, SB_UNAVAILABLE, "git: %s", strerror(errno));
    sb_code_t code = spawn_git(argv, environment, ends[1], &pid, err);
    (void)close(ends[1]);
    bool whole = code == SB_OK && read_all(ends[0], said);
    (void)close(ends[0]);
    if (code != SB_OK)
        return code;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (sb_buf_failed(said) || !whole)
        return sb_fail(err, SB_NO_MEMORY, "git: out of memory");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return SB_OK;
    const char *text = said->len > 0 ? sb_buf_text(said) : "it failed without a word";
    return sb_fail(err, SB_NOT_FOUND, "git: %.*s", (int)strcspn(text, "\n"), text);
}

/* ---- the files ---- */

/* The repository's root, and where dir lies below it ("" or ended by a slash): two lines, owned by said. */
static sb_code_t find_root(const char *dir, char **environment, sb_buf_t *said, const char **root,
                           const char **below, sb_error_t *err)
{
    const char *const argv[] = {"git", "-C", dir, "rev-parse", "--show-toplevel", "--show-prefix", NULL};
    sb_code_t code = git(argv, environment, said, err);
    char *end = code == SB_OK ? strchr(said->ptr, '\n') : NULL;
    if (code != SB_OK || !end)
        return code != SB_OK ? code : sb_fail(err, SB_NOT_FOUND, "git: %s is in no working tree", dir);
    *end = '\0';
    *root = said->ptr;
    *below = end + 1;
    end[1 + strcspn(end + 1, "\n")] = '\0';
    return SB_OK;
}

/* By an index of our own, so that nothing of the repository is touched. */
static sb_code_t fill(const sb_git_files_t *files, const char *root, const char *tree, char **environment,
                      sb_error_t *err)
{
    char prefix[sizeof files->dir + 16];
    (void)snprintf(prefix, sizeof prefix, "--prefix=%s/", files->dir);
    const char *const take[] = {"git", "-C", root, "read-tree", tree, NULL};
    const char *const write[] = {"git", "-C", root, "checkout-index", "--all", prefix, NULL};
    sb_buf_t said = SB_BUF_INIT;
    sb_code_t code = git(take, environment, &said, err);
    if (code == SB_OK)
        code = git(write, environment, &said, err);
    sb_buf_fini(&said);
    return code;
}

static sb_code_t make_place(sb_git_files_t *files, sb_error_t *err)
{
    const char *root = getenv("TMPDIR");
    *files = (sb_git_files_t){.place = ""};
    int length =
        snprintf(files->place, sizeof files->place, "%s/sagabus-XXXXXX", root && root[0] ? root : "/tmp");
    if (length >= (int)sizeof files->place)
        (void)snprintf(files->place, sizeof files->place, "/tmp/sagabus-XXXXXX");
    if (!mkdtemp(files->place)) {
        sb_code_t code = sb_fail(err, SB_UNAVAILABLE, "make %s: %s", files->place, strerror(errno));
        files->place[0] = '\0';
        return code;
    }
    (void)snprintf(files->dir, sizeof files->dir, "%s/files", files->place);
    return SB_OK;
}

sb_code_t sb_git_files_open(sb_git_files_t *files, const char *text, const char *dir, sb_error_t *err)
{
    const char *revision = text + strlen(SB_GIT_SCHEME);
    const char *root = "", *below = "";
    char index[sizeof files->place + sizeof INDEX + 8];
    sb_buf_t said = SB_BUF_INIT, tree = SB_BUF_INIT;
    sb_code_t code = make_place(files, err);
    (void)snprintf(index, sizeof index, INDEX "%s/index", files->place);
    char **environment = with_index(index);
    if (code == SB_OK && !environment)
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code == SB_OK && (!revision[0] || revision[0] == '-' || revision[0] == ':'))
        code = sb_fail(err, SB_INVALID, "expected git:REV or git:REV:PATH, as git:main or git:v1.2:schemas");
    if (code == SB_OK)
        code = find_root(dir, environment, &said, &root, &below, err);
    if (code == SB_OK) {
        sb_buf_add_text(&tree, revision);
        if (!strchr(revision, ':'))
            sb_buf_printf(&tree, ":%s", below);
        code = sb_buf_failed(&tree) ? sb_fail(err, SB_NO_MEMORY, "out of memory")
                                    : fill(files, root, sb_buf_text(&tree), environment, err);
    }
    sb_buf_fini(&said);
    sb_buf_fini(&tree);
    free(environment);
    return code == SB_OK ? SB_OK : sb_context(err, code, "--against %s", text);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *at)
{
    (void)info;
    (void)kind;
    (void)at;
    return remove(path);
}

void sb_git_files_close(sb_git_files_t *files)
{
    if (files->place[0])
        (void)nftw(files->place, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    files->place[0] = '\0';
}
