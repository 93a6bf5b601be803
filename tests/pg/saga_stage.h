/* saga_stage - where the orchestrator is tried: a fresh database with the saga "trip" registered, a played
 * world, and any number of orchestrators over both.
 *
 * Thread: the main thread, but for the callbacks.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_PG_SAGA_STAGE_H
#define SB_TESTS_PG_SAGA_STAGE_H

#include "events/saga_number.h"
#include "saga/orchestrator/orchestrator.h"
#include "tests/pg/saga_play.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

typedef struct stage stage_t;

typedef struct engine {
    stage_t *stage;
    sb_orchestrator_t *orchestrator;
    sb_catalog_t *catalog;
    void *bus;
    pthread_t thread;
} engine_t;

#define STAGE_ENGINES_MAX 8

struct stage {
    char uri[SB_TEST_URI];
    char dir[64];
    sb_config_t *config;
    sb_pg_t *pg;
    sb_play_t *play;
    sb_progress_t *progress;             /* borrowed: of the next ones that are opened; may be NULL */
    engine_t running[STAGE_ENGINES_MAX]; /* copies, for stage_tear_down after a case that failed */
};

typedef struct call {
    pthread_mutex_t lock;
    pthread_cond_t answered;
    int answers;
    sb_code_t code;
    sb_uuid_t id;
    sb_saga_status_t status;
    bool repeated;
    char message[256];
} call_t;

#define CALL_INIT                                                                                            \
    {                                                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .answered = PTHREAD_COND_INITIALIZER                              \
    }

/* Fit cmocka's setup and teardown; *state is the stage. */
int stage_set_up(void **state);
int stage_tear_down(void **state);

/* Registers a saga beside "trip", or another version of one; before the orchestrators start. */
void stage_register(stage_t *stage, const char *name, const char *definition);

int64_t stage_count_open(stage_t *stage);
/* What must hold whatever happened: there are count sagas, each over, each with events that fold to its row,
 * and with the effects of the end it came to; no rule of the participants was broken. */
void stage_check(stage_t *stage, int64_t count);

/* An answer to a step's first command, by whoever may have been told to give it; without an order. On the
 * partition of shard 0, whichever the saga's is. */
void stage_say(stage_t *stage, const sb_uuid_t *saga_id, const char *step, sb_outcome_t outcome);
/* Until all answers are decided: they are taken in their order. */
void stage_await_replies(stage_t *stage);

/* ---- an orchestrator ---- */

void engine_open(stage_t *stage, engine_t *engine, const char *owner);
void engine_close(engine_t *engine);
void *engine_run(void *context); /* for pthread_create */
/* Opens it and runs it in a thread of its own. */
void engine_start(stage_t *stage, engine_t *engine, const char *owner);
/* The same, with a shard, among participants that would do all but hear nothing yet: what it starts stays
 * open. */
void engine_start_deaf(stage_t *stage, engine_t *engine);
/* Two of them, each with one of two shards. */
void engine_start_two(stage_t *stage, engine_t engine[2]);
void engine_stop(engine_t *engine);
sb_orchestrator_stats_t engine_stats(const engine_t *engine);
void engine_await_shard(const engine_t *engine);

/* ---- calls that wait for their answer ---- */

void call_on_answer(void *context, const sb_saga_answer_t *answer);
void call_await(call_t *call);
/* Queues the start of a trip; key NULL: none. */
sb_code_t engine_push_start(const engine_t *engine, const char *key, const char *input, call_t *call);
/* Starts a trip and waits for the commit. */
sb_uuid_t engine_start_saga(const engine_t *engine, const char *key);
/* The same of a saga of any type. */
sb_uuid_t engine_start_type(const engine_t *engine, const char *type, const char *key, const char *input);
sb_saga_status_t engine_await_end(const engine_t *engine, const sb_uuid_t *id);
/* An operator's act; the code that came back. */
sb_code_t engine_act(const engine_t *engine, const sb_uuid_t *id, sb_saga_input_kind_t kind, const char *step,
                     const char *result);

/* The same with all that a verb may have. */
sb_code_t engine_command(const engine_t *engine, const sb_saga_verb_t *verb);

/* ---- outcomes ---- */

sb_outcome_t play_all_well(const sb_play_command_t *command);
/* One saga in four fails at a step that its id chooses; errors come and go by attempt. */
sb_outcome_t play_mixed(const sb_play_command_t *command);

#endif
