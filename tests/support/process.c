/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/process.h"

#include "tests/support/assert.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

/* In the child: dies with the test, even if the test was gone before we asked for it. */
static void die_with(pid_t parent)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
}

static void set_environment(const char *const *environment)
{
    for (int i = 0; environment && environment[i]; i++)
        (void)putenv((char *)(uintptr_t)environment[i]);
}

static pid_t start(const char *const *argv, const char *const *environment, const char *output)
{
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    die_with(parent);
    set_environment(environment);
    if (output) {
        int fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (fd < 0)
            _exit(127);
        (void)dup2(fd, STDOUT_FILENO);
        (void)dup2(fd, STDERR_FILENO);
        (void)close(fd);
    }
    (void)execvp(argv[0], (char *const *)(uintptr_t)argv);
    (void)fprintf(stderr, "%s: %s\n", argv[0], strerror(errno));
    (void)fflush(stderr);
    _exit(127);
}

void sb_test_spawn(sb_test_process_t *process, const char *const *argv, const char *const *environment,
                   const char *output)
{
    *process = (sb_test_process_t){.pid = 0};
    if (output) {
        (void)snprintf(process->output, sizeof process->output, "%s", output);
    } else {
        (void)snprintf(process->output, sizeof process->output, "/tmp/sagabus-out-XXXXXX");
        int fd = mkstemp(process->output);
        if (fd >= 0)
            (void)close(fd);
    }
    process->pid = start(argv, environment, process->output);
    if (process->pid < 0)
        fail_msg("start %s: %s", argv[0], strerror(errno));
}

void sb_test_fork(sb_test_process_t *process, int (*body)(void *context), void *context)
{
    *process = (sb_test_process_t){.pid = 0};
    pid_t parent = getpid();
    (void)fflush(NULL);
    process->pid = fork();
    if (process->pid < 0)
        fail_msg("fork: %s", strerror(errno));
    if (process->pid > 0)
        return;
    die_with(parent);
    _exit(body(context)); /* no leak check and no atexit of the test's own servers */
}

void sb_test_signal(const sb_test_process_t *process, int signal)
{
    if (process->pid > 0)
        (void)kill(process->pid, signal);
}

bool sb_test_wait(sb_test_process_t *process, int64_t timeout_ms)
{
    int64_t until = sb_test_mono_ms() + timeout_ms;
    while (process->pid > 0) {
        int status;
        pid_t got = waitpid(process->pid, &status, WNOHANG);
        if (got == process->pid) {
            process->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
            process->pid = 0;
        } else if (got < 0 && errno != EINTR) {
            process->exit_code = -1;
            process->pid = 0;
        } else if (sb_test_mono_ms() >= until) {
            return false;
        } else {
            sb_test_sleep_ms(5);
        }
    }
    return true;
}

char *sb_test_output(const sb_test_process_t *process)
{
    char *text = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&text, &length);
    FILE *in = fopen(process->output, "re");
    char chunk[4096];
    size_t got;
    while (in && out && (got = fread(chunk, 1, sizeof chunk, in)) > 0)
        (void)fwrite(chunk, 1, got, out);
    if (in)
        (void)fclose(in);
    if (out)
        (void)fclose(out);
    return text;
}

bool sb_test_output_has(const sb_test_process_t *process, const char *text, int64_t timeout_ms)
{
    int64_t until = sb_test_mono_ms() + timeout_ms;
    for (;;) {
        char *output = sb_test_output(process);
        bool found = output && strstr(output, text) != NULL;
        free(output);
        if (found || sb_test_mono_ms() >= until)
            return found;
        sb_test_sleep_ms(20);
    }
}

void sb_test_process_end(sb_test_process_t *process)
{
    if (process->pid > 0) {
        (void)kill(process->pid, SIGKILL);
        (void)sb_test_wait(process, 60000);
    }
    if (strncmp(process->output, "/tmp/sagabus-out-", 17) == 0)
        (void)unlink(process->output);
    process->output[0] = '\0';
}

int sb_test_run(const char *const *argv, int64_t timeout_ms)
{
    sb_test_process_t process = {.pid = start(argv, NULL, NULL)};
    if (process.pid < 0)
        return -1;
    bool ended = sb_test_wait(&process, timeout_ms);
    sb_test_process_end(&process);
    return ended ? process.exit_code : -1;
}

void sb_test_assert_no_children(void)
{
    siginfo_t info = {.si_pid = 0};
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0)
        fail_msg("the test has left a child behind%s", info.si_pid ? ", not reaped" : ", running");
}

static int remove_entry(const char *path, const struct stat *status, int type, struct FTW *at)
{
    (void)status;
    (void)type;
    (void)at;
    (void)remove(path);
    return 0;
}

void sb_test_remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
