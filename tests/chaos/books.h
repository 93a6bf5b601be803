/* books - what a service of the chaos test does when a command asks for it: its books are one table of
 * accounts, and an amount is taken, given, held, settled or noted there (service.sql).
 *
 * It misbehaves by chance (SB_CHAOS_SEED): says "error" now and then, is slow now and then.
 *
 * Thread: any; a connection belongs to one thread at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_BOOKS_H
#define SB_TESTS_CHAOS_BOOKS_H

#include <sagabus/participant.h>

void chaos_books_seed(void);

/* By chance, of this thread. */
int chaos_books_below(int count);
bool chaos_books_chance(int per_mille);

/* Carries the command out in the open transaction of the connection and says how it went. */
void chaos_books_handle(struct pg_conn *conn, const sb_command_t *command, sb_reply_t *reply);
/* Now and then takes longer than a step's timeout. */
void chaos_books_dawdle(void);

#endif
