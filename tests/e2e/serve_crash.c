/* The sagabus binary with an orchestrator that kills itself at a named point. The functions that a saga
 * passes on its way are wrapped by the linker (--wrap, see CMakeLists.txt), so what runs is what is shipped,
 * and what is shipped knows of no such points. SERVE_CRASH=<point>:<before|after>:<n> is SIGKILL at the nth
 * passage.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/batch.h"
#include "saga/orchestrator/columns.h"
#include "saga/orchestrator/order.h"
#include "saga/orchestrator/recover.h"
#include "saga/orchestrator/shard.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void pass(const char *point, const char *when)
{
    static int passed; /* by the orchestrator's thread alone */
    char here[64];
    const char *wanted = getenv("SERVE_CRASH");
    int n = snprintf(here, sizeof here, "%s:%s:", point, when);
    if (!wanted || strncmp(wanted, here, (size_t)n) != 0)
        return;
    if (++passed == atoi(wanted + n))
        (void)raise(SIGKILL);
}

/* A function that a saga passes, with the name of its point; counted where the condition holds. */
#define PASSED(point, condition, name, parameters, arguments)                                                \
    __typeof__(name) __real_##name, __wrap_##name;                                                           \
    sb_code_t __wrap_##name parameters                                                                       \
    {                                                                                                        \
        bool counts = (condition);                                                                           \
        if (counts)                                                                                          \
            pass(point, "before");                                                                           \
        sb_code_t code = __real_##name arguments;                                                            \
        if (counts)                                                                                          \
            pass(point, "after");                                                                            \
        return code;                                                                                         \
    }

/* Items are in hand, of replies, calls and timers: nothing of them is decided; all of it is committed and
 * sent. */
PASSED("batch", shard->items.count > 0, sb_batch_run,
       (sb_orchestrator_t * o, sb_shard_t *shard, sb_error_t *err), (o, shard, err))
/* Decided, and on its way to PostgreSQL; committed, and nobody was answered, nothing was sent. */
PASSED("persist", columns != NULL, sb_columns_run,
       (sb_columns_t * columns, sb_pg_t *pg, const sb_lease_t *lease, const sb_lease_move_t *move,
        void (*on_sent)(void *context), void *context, sb_columns_written_t *written, sb_error_t *err),
       (columns, pg, lease, move, on_sent, context, written, err))
/* A command of several is not sent yet, or is. */
PASSED("send", order != NULL, sb_order_send,
       (sb_orchestrator_t * o, const sb_open_saga_t *saga, const sb_saga_order_t *order,
        const sb_order_head_t *head, sb_slice_t body, sb_error_t *err),
       (o, saga, order, head, body, err))
/* The lease is taken and nobody knows what is open; all is folded, and no command was sent again. */
PASSED("lease", strncmp(lease->role, "saga:", 5) == 0, sb_lease_acquire,
       (sb_lease_t * lease, sb_pg_t *pg, const char *owner, int64_t overdue_ms, sb_error_t *err),
       (lease, pg, owner, overdue_ms, err))
PASSED("recover", shard != NULL, sb_recover, (sb_orchestrator_t * o, sb_shard_t *shard, sb_error_t *err),
       (o, shard, err))

/* A handover: commands are out, the lease is still ours; it is given back. */
__typeof__(sb_lease_release) __real_sb_lease_release, __wrap_sb_lease_release;
void __wrap_sb_lease_release(sb_lease_t *lease, sb_pg_t *pg)
{
    bool counts = strncmp(lease->role, "saga:", 5) == 0 && lease->epoch > 0;
    if (counts)
        pass("release", "before");
    __real_sb_lease_release(lease, pg);
    if (counts)
        pass("release", "after");
}

/* What is sent again at a capped rate after a takeover. */
__typeof__(sb_order_resend_some) __real_sb_order_resend_some, __wrap_sb_order_resend_some;
void __wrap_sb_order_resend_some(sb_orchestrator_t *o)
{
    bool counts = o->resend.first != NULL;
    __real_sb_order_resend_some(o);
    if (counts)
        pass("resend", "after");
}
