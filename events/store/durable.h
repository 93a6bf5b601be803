/* durable - whether this PostgreSQL keeps what it has committed.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_DURABLE_H
#define SB_EVENTS_DURABLE_H

#include "base/pg.h"

/* SB_UNSUPPORTED: fsync or full_page_writes is off, so that a crash of the machine can lose or tear what was
 * answered with success; the message says which and how to mend it. allow_unsafe (store.allow_unsafe): a
 * warning in the log instead. */
SB_MUST_CHECK sb_code_t sb_durable_check(sb_pg_t *pg, bool allow_unsafe, sb_error_t *err);

#endif
