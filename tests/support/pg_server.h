/* pg_server - a private PostgreSQL for one test program, and a fresh, migrated database for each test.
 *
 * The first call that needs it starts it: initdb runs once a build and is copied afterwards; as root the
 * server runs as user postgres (or nobody), which is why it lives in /dev/shm, where there is plenty of
 * memory, or else in /tmp. It listens on a unix socket in its own directory, with fsync on. It ends
 * with the program, also when that crashes; what a crashed one left there the next one removes.
 *
 * SB_TEST_PG_URI names a server to use instead (with the right to create databases); what kills or stops the
 * server skips then. SB_TEST_PG_BIN is the directory of initdb and postgres. Not there: the program skips.
 *
 * Thread: the main thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_PG_SERVER_H
#define SB_TESTS_SUPPORT_PG_SERVER_H

#include "base/pg.h"

#include <sys/un.h>

#define SB_TEST_URI 512

/* The schema of the second migration list in a fresh database, as a service would have it. */
#define SB_TEST_CLIENT_SCHEMA "service"

/* Starts the server unless it runs; never needed, only to say when. Fits cmocka's group setup and teardown.
 */
int sb_test_pg_start(void **state);
int sb_test_pg_stop(void **state);
/* In place of sb_test_pg_start, for a program whose server does not crash and which is not about what a disk
 * holds: commits do not wait for the disk. A process that is killed loses nothing by it. */
int sb_test_pg_start_hasty(void **state);

/* A new database, migrated (schemas sagabus and SB_TEST_CLIENT_SCHEMA), by way of a template: some 100 ms. */
char *sb_test_pg_fresh(char uri[SB_TEST_URI]);
/* A new database with nothing in it. */
char *sb_test_pg_empty(char uri[SB_TEST_URI]);

/* A connection as a superuser; the test fails when there is none. Closed by sb_pg_close. */
sb_pg_t *sb_test_pg_open(const char *uri);
/* Runs statements, or fails the test. */
void sb_test_pg_script(sb_pg_t *pg, const char *sql);
/* The first column of the first row as an integer, or fails the test. */
int64_t sb_test_pg_int(sb_pg_t *pg, const char *sql);

/* ---- accidents ---- */

/* These three return when nothing is left of the old server: what it was to tell anybody it has told. */
void sb_test_pg_kill_postmaster(void); /* SIGKILL: its backends live on until they notice */
void sb_test_pg_kill_all(void); /* SIGKILL to every process of the server: a power cut without the disk */
/* SIGKILL to one backend: the server ends the others, and starts itself again. False: it is gone already. */
bool sb_test_pg_kill_backend(int64_t pid);
void sb_test_pg_stop_immediate(void); /* SIGQUIT and wait */
void sb_test_pg_restart(void);        /* after any of them: the same socket, the same data */
/* The data directory as a backup would have it, of a server that is stopped first and started again after. */
void sb_test_pg_copy_data(void);
void sb_test_pg_put_back_data(void);             /* what has changed since then is gone */
void sb_test_pg_socket(struct sockaddr_un *out); /* where it listens */

/* ---- a restore to a point in time ---- */

/* A base backup of the server, which is started again for it, as one that archives its WAL from then on. */
void sb_test_pg_back_up(void);
/* A second server, beside the first one, out of the backup and the archive: as that one was at the time, a
 * text that PostgreSQL takes as timestamptz; something must have been committed since. out: the URI there of
 * the database that uri names. */
char *sb_test_pg_restore(const char *uri, const char *until, char out[SB_TEST_URI]);
/* Ends the second server, and the archiving; the end of the first one does so, too. */
void sb_test_pg_forget_backup(void);

#endif
