/* thread - threads with a name, which top -H, perf and gdb show.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_THREAD_H
#define SB_BASE_THREAD_H

#include "sagabus/error.h"

#include <pthread.h>

/* Starts run(context) under "sb:" and the name, of which the kernel keeps 12 bytes. False: the system gives
 * no further thread. *out is to be joined or detached. */
SB_MUST_CHECK bool sb_thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *context);

#endif
