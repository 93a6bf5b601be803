/* signal - a wake-up between threads: any thread raises it, its owner waits for it with a time limit.
 *
 * Raises that come while nobody waits are remembered as one, and only the first of them is a system call. It
 * is an eventfd, so an owner that sits in poll() can wait for it beside its sockets. Who writes to fd without
 * raise (librdkafka does) wakes the owner as well.
 *
 * Thread: raise from any thread or a POSIX signal handler; wait and clear from the owner only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_SIGNAL_H
#define SB_BASE_SIGNAL_H

#include "sagabus/error.h"

#include <stdatomic.h>
#include <stdint.h>

typedef struct sb_signal {
    int fd;             /* an eventfd; poll() it for reading */
    atomic_bool raised; /* since it was last cleared */
} sb_signal_t;

SB_MUST_CHECK sb_code_t sb_signal_init(sb_signal_t *signal, sb_error_t *err);
void sb_signal_fini(sb_signal_t *signal);
void sb_signal_raise(sb_signal_t *signal); /* NULL is fine */
void sb_signal_clear(sb_signal_t *signal);

/* Waits up to timeout_ms for a raise and clears it; false on time-out. */
bool sb_signal_wait(sb_signal_t *signal, int64_t timeout_ms);
bool sb_signal_wait_us(sb_signal_t *signal, int64_t timeout_us);

#endif
