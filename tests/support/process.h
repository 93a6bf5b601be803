/* process - children of a test: started with arguments and environment, watched, and never left behind.
 *
 * A child is killed by the kernel when the test dies. Its output (stdout and stderr) goes to a file.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_PROCESS_H
#define SB_TESTS_SUPPORT_PROCESS_H

#include "sagabus/error.h"

#include <stdint.h>
#include <sys/types.h>

typedef struct sb_test_process {
    pid_t pid;        /* 0: not running and reaped */
    int exit_code;    /* after the end; 128 + signal when it was killed */
    char output[256]; /* path of the file; "" for a fork */
} sb_test_process_t;

/* Starts argv (looked up in PATH), with "NAME=value" pairs of environment (ended by NULL; NULL: none) added
 * to ours. output NULL: a file of its own in the temporary directory, removed by sb_test_process_end. Fails
 * the test when it cannot be started. */
void sb_test_spawn(sb_test_process_t *process, const char *const *argv, const char *const *environment,
                   const char *output);

/* Runs body in a fork of the test; its return value is the exit code. The child must open its own
 * connections. */
void sb_test_fork(sb_test_process_t *process, int (*body)(void *context), void *context);

/* Sends a signal (SIGSTOP, SIGCONT, SIGTERM, SIGKILL). */
void sb_test_signal(const sb_test_process_t *process, int signal);

/* Waits for the end; false on time-out. */
bool sb_test_wait(sb_test_process_t *process, int64_t timeout_ms);

/* Whether the output contains the text within the time. */
bool sb_test_output_has(const sb_test_process_t *process, const char *text, int64_t timeout_ms);
/* The output so far, NUL-ended, owned by the caller (free). */
char *sb_test_output(const sb_test_process_t *process);

/* Kills it when it still runs, reaps it, removes its own output file. Fine on a zeroed struct and twice. */
void sb_test_process_end(sb_test_process_t *process);

/* Runs to the end and returns the exit code; -1 on time-out. The output goes where ours goes. */
int sb_test_run(const char *const *argv, int64_t timeout_ms);

/* Fails the test when it still has children. */
void sb_test_assert_no_children(void);

/* Removes a directory of the test with all that is in it. */
void sb_test_remove_tree(const char *path);

#endif
