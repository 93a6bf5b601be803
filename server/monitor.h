/* monitor - the thread that brings the engine up and then watches it: schema, registry, topics, keys, and the
 * checks of /readyz, every second.
 *
 * Thread: run from one thread; stop from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_MONITOR_H
#define SB_SERVER_MONITOR_H

#include "server/engine.h"

typedef struct sb_monitor {
    sb_engine_t *engine;
    sb_signal_t signal;
    atomic_bool stopping;
    sb_code_t code; /* what ended it: SB_OK after stop, else what no waiting mends */
    sb_error_t err;
    void (*on_fatal)(void *context); /* called on its thread when it ends by itself */
    void *context;

    sb_pg_t *pg;
    int64_t topics_next_us, sizes_next_us; /* monotonic; when to look at the topics again */
    uint64_t catalog_revision;             /* whose chains were looked at */
    bool warned_open;                      /* beyond loopback without a key */
} sb_monitor_t;

SB_MUST_CHECK sb_code_t sb_monitor_init(sb_monitor_t *monitor, sb_engine_t *engine, sb_error_t *err);
void sb_monitor_fini(sb_monitor_t *monitor);
void sb_monitor_run(sb_monitor_t *monitor);
void sb_monitor_stop(sb_monitor_t *monitor);

#endif
