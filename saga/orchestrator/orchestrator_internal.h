/* What the files of the orchestrator share: its whole state.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ORCHESTRATOR_INTERNAL_H
#define SB_SAGA_ORCHESTRATOR_INTERNAL_H

#include "events/saga_number.h"
#include "saga/dispatch/command_bus.h"
#include "saga/dispatch/participants.h"
#include "saga/orchestrator/arena.h"
#include "saga/orchestrator/batch.h"
#include "saga/orchestrator/call.h"
#include "saga/orchestrator/children.h"
#include "saga/orchestrator/shard.h"
#include "saga/orchestrator/timers.h"
#include "saga/orchestrator/watch.h"

#define SB_SHARDS_HELD_MAX 64

struct sb_orchestrator {
    /* Set by open, read-only afterwards. */
    const sb_config_t *config;
    char *pg_uri;
    char *owner;
    sb_catalog_t *catalog;
    sb_progress_t *progress;
    void (*on_told)(void *context);
    void *told_context;
    const sb_command_bus_t *bus_operations;
    void *bus;
    void *own_bus;                   /* the real one, when open made it */
    sb_participants_t *participants; /* between us and the bus: bus_operations and bus are its */
    int64_t open_max;
    int64_t overdue_ms;
    int64_t resend_per_second;
    int home_wanted; /* -1: auto */
    sb_topic_t reply_topic;

    /* The doors: any thread. */
    sb_signal_t wake;
    sb_call_queue_t calls;
    sb_watches_t *watches;
    atomic_bool stopping;
    atomic_bool has_home;
    _Atomic int64_t open_count;     /* sagas in memory */
    _Atomic int64_t waiting_starts; /* queued or being committed */
    atomic_bool owned[SB_SHARDS_MAX];
    pthread_mutex_t stats_lock; /* guards published */
    sb_orchestrator_stats_t published;

    /* The loop's own. */
    sb_pg_t *pg;
    bool bus_started;
    int shard_count; /* of the store; 0: not known yet */
    sb_shard_t *shard[SB_SHARDS_HELD_MAX];
    int shards_held;
    sb_shard_t *home; /* where new sagas go; NULL: none */
    bool waiting;     /* this connection says that it has no shard */
    int64_t yield_us; /* monotonic: until then only a first shard is taken, another instance waits for it */
    int type_no[SB_SAGA_EV_COUNT];
    sb_plans_t plans;
    sb_open_sagas_t sagas;
    sb_timers_t timers;
    sb_children_t children;
    sb_resend_list_t resend;
    double resend_tokens;
    int64_t resend_us; /* monotonic: when the tokens were last filled */
    sb_arena_t turn;   /* what the items of this turn point at */
    sb_batch_t batch;
    int64_t offset_us; /* PostgreSQL's clock minus the monotonic one, as of the last commit */
    int64_t jump_us;   /* it was set by so much; 0: no, or that has been followed */
    int64_t now_us;    /* the newest time handed out: it goes back only when the clock was set */
    uint64_t random;
    int64_t timers_frozen_us; /* monotonic: no timer fires before (the brokers were away) */
    int64_t bus_away_us;      /* monotonic: since when the brokers do not answer */
    int64_t tick_us;          /* monotonic: when free shards are looked for next */
    int64_t watch_us;         /* monotonic: when sagas of others are looked at next */
    int64_t catalog_us;       /* monotonic: when an unknown saga type is looked up again at the earliest */
    int64_t retry_us;         /* monotonic: nothing is tried before, after a failure */
    int failures;             /* in a row */
    sb_orchestrator_stats_t stats;
};

#define SB_CLOCK_JUMP_US 60000000 /* a clock that moves by more than this between two commits was set */

/* PostgreSQL's time now, as well as we know it. */
int64_t sb_orchestrator_now(sb_orchestrator_t *o);
/* Takes PostgreSQL's clock as read at a monotonic moment. One that was set is gone by from the next turn on.
 */
void sb_orchestrator_set_clock(sb_orchestrator_t *o, int64_t pg_us, int64_t mono_us);

/* Between turns: if PostgreSQL's clock was set, the times of all open sagas move with it. So no timer comes
 * hours late, nor all of them at once. */
void sb_orchestrator_follow_clock(sb_orchestrator_t *o);

/* No timer fires for so long from now. */
void sb_orchestrator_freeze_timers(sb_orchestrator_t *o, int64_t for_us);

/* A saga came into memory, or leaves it. Whether it is among those that want an operator (stats.attention) is
 * counted by whoever brings it, moves it or lets it go. */
void sb_orchestrator_add_saga(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga);
void sb_orchestrator_remove_saga(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga);

#endif
