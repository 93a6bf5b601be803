/* git_files - the files of a directory as a git revision has them, for as long as they are looked at.
 *
 * Asks the git program of the PATH, in the repository that the directory lies in, and changes nothing there:
 * no index, no working tree.
 *
 * Thread: the caller's, which waits for git.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_GIT_FILES_H
#define SB_CLI_GIT_FILES_H

#include "sagabus/error.h"

#include <stdbool.h>

#define SB_GIT_SCHEME "git:"

typedef struct sb_git_files {
    char place[64]; /* a temporary directory */
    char dir[80];   /* in it, the files */
} sb_git_files_t;

/* Whether the text names a revision: git:REV or git:REV:PATH. */
bool sb_git_is(const char *text);

/* Puts the files of a revision under files->dir, which sb_git_files_close takes away, also after an error.
 * Without a path they are those of dir itself, which lies in the repository; a path begins at the
 * repository's root. SB_UNSUPPORTED: there is no git to run. SB_NOT_FOUND: git has no such revision or path,
 * or dir is in no repository; the message is git's. */
SB_MUST_CHECK sb_code_t sb_git_files_open(sb_git_files_t *files, const char *text, const char *dir,
                                          sb_error_t *err);
void sb_git_files_close(sb_git_files_t *files);

#endif
