/* saga_play - participants and brokers played in memory, behind the orchestrator's bus seam.
 *
 * A command is answered where it is sent: the played participant keeps a barrier (a ledger by command id), so
 * a repeated command gives the first answer, an undo that comes before its forward command voids it, and what
 * breaks the rules is counted. Replies are a log a shard. All of it lies in shared memory, so that it
 * outlives an orchestrator that was forked and killed.
 *
 * Thread: a bus belongs to its orchestrator; the stage is locked.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_PG_SAGA_PLAY_H
#define SB_TESTS_PG_SAGA_PLAY_H

#include "saga/dispatch/command_bus.h"
#include "saga/machine.h"

#include <pthread.h>

#define SB_PLAY_SHARDS  4
#define SB_PLAY_REPLIES 60000
#define SB_PLAY_LEDGER  65536

typedef struct sb_play_command {
    sb_uuid_t id;
    sb_uuid_t saga_id;
    sb_uuid_t forward_id;
    char type[64]; /* "b.do" */
    char step[32];
    bool undo;
    bool forward_completed;
    int round;
    int attempt;
    char value[256];
} sb_play_command_t;

/* What the participant answers to a command that it sees for the first time. */
typedef sb_outcome_t (*sb_play_fn)(const sb_play_command_t *command);

typedef struct sb_play_reply {
    sb_play_command_t command;
    sb_outcome_t outcome;
    int64_t visible_us; /* monotonic */
} sb_play_reply_t;

typedef struct sb_play_entry {
    sb_uuid_t id; /* nil: free */
    bool done;    /* its effect happened (forward) or was undone (undo) */
    bool voided;  /* forward: its undo came first */
    sb_outcome_t outcome;
    int64_t order; /* of the effect among all */
} sb_play_entry_t;

typedef struct sb_play {
    pthread_mutex_t lock;
    sb_play_fn outcome;
    int drop_per_mille; /* of commands, and of replies */
    int twice_per_mille;
    int64_t delay_us; /* of replies, up to */
    char cluster[32];
    int64_t base[SB_PLAY_SHARDS]; /* offset of reply[…][0] */
    int count[SB_PLAY_SHARDS];
    sb_play_reply_t reply[SB_PLAY_SHARDS][SB_PLAY_REPLIES];
    sb_play_entry_t ledger[SB_PLAY_LEDGER];
    int64_t commands, effects, undone;
    int64_t breaches; /* of the rules: an effect after its undo, an undo of what did not happen */
    bool deaf;        /* nothing is answered */
    bool away;        /* the brokers are: commands are taken by nobody, and it is known */
    uint64_t random;
} sb_play_t;

/* In shared memory; freed by sb_play_free. */
sb_play_t *sb_play_new(sb_play_fn outcome);
void sb_play_free(sb_play_t **play);

/* The brokers lose all they have, and come back as another cluster. */
void sb_play_wipe(sb_play_t *play, const char *cluster);

/* Whether the forward effect of a saga's step stands now. */
bool sb_play_stands(sb_play_t *play, const sb_uuid_t *saga_id, const char *step);
/* Order of the undo's effect among all; 0: not undone. */
int64_t sb_play_undone_at(sb_play_t *play, const sb_uuid_t *saga_id, const char *step);

/* A connection of one orchestrator to it. */
extern const sb_command_bus_t sb_play_operations;
void *sb_play_bus_new(sb_play_t *play);
void sb_play_bus_free(void **bus);

#endif
