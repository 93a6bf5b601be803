/* engine - the parts of a running sagabus and what the API's handlers need of them.
 *
 * Thread: open, start, stop and close from the daemon's thread; the stats of the parts from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_ENGINE_H
#define SB_SERVER_ENGINE_H

#include "bus/push/push.h"
#include "bus/relay/relay.h"
#include "events/store/appender.h"
#include "events/store/sequencer.h"
#include "events/view/view.h"
#include "saga/orchestrator/orchestrator.h"
#include "server/http.h"
#include "server/keys.h"

#include <pthread.h>
#include <stdatomic.h>

struct sb_workers;
struct sb_tail;

/* One line of /readyz. */
typedef struct sb_check {
    const char *name;
    bool ok;
    char why[160]; /* "" when ok */
} sb_check_t;

#define SB_CHECKS_MAX 8

/* What a record has beside the event: the names of its headers, ids, the position. */
#define SB_RECORD_HEAD 4096

typedef struct sb_engine {
    const sb_config_t *config;
    const char *pg_uri;
    char owner[96]; /* host:pid:random, for lease rows */
    int64_t started_us;
    sb_catalog_t *catalog;
    sb_progress_t progress;
    sb_keys_t *keys;
    sb_http_t *http;
    struct sb_workers *workers;
    sb_appender_t *appender; /* of POST /v1/events */
    size_t event_bytes_max;  /* what a record of Kafka can hold; 0: whatever the store takes */
    struct sb_tail *tail;
    sb_sequencer_t *sequencer;
    sb_relay_t *relay;
    sb_projector_t *projector;
    sb_push_t *push;
    sb_orchestrator_t *orchestrator;
    pthread_t thread[5];
    int thread_count;
    atomic_bool running; /* the parts are there: handlers may use them */
    atomic_bool draining;

    pthread_mutex_t lock; /* of the checks */
    sb_check_t check[SB_CHECKS_MAX];
    int check_count;
} sb_engine_t;

SB_MUST_CHECK sb_code_t sb_engine_init(sb_engine_t *engine, const sb_config_t *config, sb_error_t *err);
void sb_engine_fini(sb_engine_t *engine);

/* Opens engine->appender, which connects when there is something to append; close it after the workers. */
SB_MUST_CHECK sb_code_t sb_engine_open_appender(sb_engine_t *engine, sb_error_t *err);

/* Opens the parts and starts a thread for each; all or none, so it may be tried again. */
SB_MUST_CHECK sb_code_t sb_engine_start(sb_engine_t *engine, sb_error_t *err);
/* Stops them in the order orchestrator, push, projector, relay, sequencer and joins each. */
void sb_engine_stop(sb_engine_t *engine);

/* Sets the line of a check; the monitor's. why NULL: ok. A change is logged, and a check that fails at first.
 */
void sb_engine_set_check(sb_engine_t *engine, const char *name, const char *why);
/* Not ready until the first look at it, which is nothing to log. */
void sb_engine_expect_check(sb_engine_t *engine, const char *name);
/* Copies the checks; true when all are ok and the engine is running and not draining. */
bool sb_engine_is_ready(sb_engine_t *engine, sb_check_t out[SB_CHECKS_MAX], int *count);

#endif
