/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/subscribe_exec.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define VARIABLES_MAX 64
#define WAIT_MS_MAX   20
#define AFTER_TERM_MS 2000

extern char **environ;

/* ---- the environment ---- */

typedef struct variables {
    char **list; /* ours first, then what we were given */
    size_t count;
    bool failed;
} variables_t;

/* A value stops at a NUL: the environment has no other way. */
static void put(variables_t *v, const char *name, sb_slice_t value)
{
    char *text = NULL;
    if (!value.ptr || v->count == VARIABLES_MAX)
        return;
    if (asprintf(&text, "%s=%.*s", name, SB_SLICE_ARG(value)) < 0)
        v->failed = true;
    else
        v->list[v->count++] = text;
}

static void put_number(variables_t *v, const char *name, int64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRId64, value);
    put(v, name, sb_slice(text));
}

static bool is_known(const char *name)
{
    static const char *const known[] = {"ce_id", "ce_type", "ce_source", "ce_subject", "ce_time"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(name, known[i]) == 0)
            return true;
    return false;
}

static void put_header(variables_t *v, const sb_header_t *header)
{
    char name[80];
    size_t n = 0;
    if (strncmp(header->name, "ce_", 3) != 0 || is_known(header->name))
        return;
    for (; header->name[n] && n < sizeof name - 1; n++)
        name[n] = (char)toupper((unsigned char)header->name[n]);
    name[n] = '\0';
    put(v, name, header->value);
}

static void fill(variables_t *v, const sb_delivery_t *d)
{
    char time[SB_TIME_TEXT];
    put(v, "CE_ID", d->id);
    put(v, "CE_TYPE", d->event.type);
    put(v, "CE_SOURCE", d->event.source);
    put(v, "CE_SUBJECT", d->event.subject);
    put(v, "CE_TIME", sb_slice(sb_time_format(d->event.time_us, time)));
    put(v, "TRACEPARENT", d->event.traceparent);
    put(v, "KAFKA_TOPIC", sb_slice(d->topic));
    put_number(v, "KAFKA_PARTITION", d->partition);
    put_number(v, "KAFKA_OFFSET", d->offset);
    put(v, "KAFKA_KEY", d->key);
    put_number(v, "SB_ATTEMPT", d->attempt);
    for (size_t i = 0; i < d->header_count; i++)
        put_header(v, &d->headers[i]);
}

static sb_code_t make_variables(variables_t *v, const sb_delivery_t *delivery, sb_error_t *err)
{
    size_t given = 0;
    while (environ[given])
        given++;
    *v = (variables_t){.list = calloc(VARIABLES_MAX + given + 1, sizeof(char *))};
    if (!v->list)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    fill(v, delivery);
    memcpy(v->list + v->count, environ, given * sizeof(char *));
    return v->failed ? sb_fail(err, SB_NO_MEMORY, "out of memory") : SB_OK;
}

static void free_variables(variables_t *v)
{
    for (size_t i = 0; v->list && i < v->count; i++)
        free(v->list[i]);
    free(v->list);
}

/* ---- the command ---- */

/* The event as a file that is gone with its descriptor: a command need not read it all. */
static int input_of(sb_slice_t line)
{
    int fd = memfd_create("event", MFD_CLOEXEC);
    for (size_t at = 0; fd >= 0 && at < line.len;) {
        ssize_t n = write(fd, line.ptr + at, line.len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            (void)close(fd);
            return -1;
        }
        at += (size_t)n;
    }
    if (fd >= 0)
        (void)lseek(fd, 0, SEEK_SET);
    return fd;
}

static int start(const char *command, int input, char **environment, pid_t *pid)
{
    char shell[] = "sh", option[] = "-c";
    char *argv[] = {shell, option, (char *)(uintptr_t)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t normal;
    (void)sigemptyset(&none);
    (void)sigemptyset(&normal);
    (void)sigaddset(&normal, SIGPIPE);
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    (void)posix_spawnattr_init(&attributes);
    (void)posix_spawnattr_setflags(&attributes,
                                   POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setsigmask(&attributes, &none);
    (void)posix_spawnattr_setsigdefault(&attributes, &normal);
    int error = posix_spawnp(pid, "sh", &actions, &attributes, argv, environment);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return error;
}

/* False: it did not end in time. */
static bool await(pid_t pid, int64_t until_us, int *status)
{
    for (int64_t wait_ms = 1;; wait_ms = wait_ms < WAIT_MS_MAX ? wait_ms * 2 : WAIT_MS_MAX) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid || (ended < 0 && errno != EINTR))
            return true;
        if (sb_mono_us() >= until_us)
            return false;
        sb_sleep_ms(wait_ms);
    }
}

static sb_code_t judge(int status, const char *command, sb_error_t *err)
{
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return SB_OK;
    if (WIFEXITED(status) && WEXITSTATUS(status) == SB_EXEC_REJECT)
        return sb_fail(err, SB_INVALID, "%s says that the event will never be handled (exit %d)", command,
                       SB_EXEC_REJECT);
    if (WIFEXITED(status))
        return sb_fail(err, SB_UNAVAILABLE, "%s ended with %d", command, WEXITSTATUS(status));
    return sb_fail(err, SB_UNAVAILABLE, "%s was ended by signal %d", command, WTERMSIG(status));
}

static sb_code_t run(const char *command, int input, char **environment, int64_t timeout_ms, sb_error_t *err)
{
    pid_t pid = 0;
    int status = 0;
    int error = start(command, input, environment, &pid);
    if (error != 0)
        return sb_fail(err, SB_UNAVAILABLE, "cannot start %s: %s", command, strerror(error));
    if (await(pid, sb_mono_us() + timeout_ms * 1000, &status))
        return judge(status, command, err);
    (void)kill(-pid, SIGTERM);
    if (!await(pid, sb_mono_us() + AFTER_TERM_MS * 1000, &status)) {
        (void)kill(-pid, SIGKILL);
        (void)waitpid(pid, &status, 0);
    }
    return sb_fail(err, SB_TIMEOUT, "%s took longer than %lld ms and was ended", command,
                   (long long)timeout_ms);
}

sb_code_t sb_subscribe_exec(const char *command, sb_slice_t line, const sb_delivery_t *delivery,
                            int64_t timeout_ms, sb_error_t *err)
{
    variables_t variables = {NULL, 0, false};
    int input = input_of(line);
    sb_code_t code = input < 0 ? sb_fail(err, SB_UNAVAILABLE, "no memory for the event: %s", strerror(errno))
                               : make_variables(&variables, delivery, err);
    if (code == SB_OK)
        code = run(command, input, variables.list, timeout_ms, err);
    free_variables(&variables);
    if (input >= 0)
        (void)close(input);
    return code;
}
