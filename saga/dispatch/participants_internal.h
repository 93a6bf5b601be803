/* What the files of the participants' module share: its whole state.
 *
 * participants.c is the bus over the bus and the register; gate.c decides whose turn it is; http_call.c is a
 * call over HTTP and its answer.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_PARTICIPANTS_INTERNAL_H
#define SB_SAGA_PARTICIPANTS_INTERNAL_H

#include "base/breaker.h"
#include "base/limits.h"
#include "bus/topic.h"
#include "events/saga_number.h"
#include "saga/dispatch/errand.h"
#include "saga/dispatch/http_exchange.h"
#include "saga/dispatch/participant_settings.h"
#include "saga/dispatch/participants.h"

#include <pthread.h>

typedef struct sb_participant {
    char name[SB_PARTICIPANT_NAME_MAX + 1];
    sb_topic_t topic;
    sb_participant_settings_t settings;
    bool http;
    bool guarded; /* has errands: over HTTP, or with limits */
    sb_breaker_t breaker;
    sb_bulkhead_t bulkhead;
    sb_rate_t rate;
    sb_retry_budget_t budget;
    int64_t pause_us;          /* nothing goes before: Retry-After */
    sb_errand_list_t ready[2]; /* undos, the others */
    sb_errand_list_t later;    /* not before their time */
    sb_errand_list_t out;
    size_t bytes; /* of all its errands */
    sb_participant_state_t state;
} participant_t;

/* An HTTP answer on its way from the client's thread. */
typedef struct landed {
    struct landed *next;
    sb_participants_t *owner;
    sb_uuid_t id;
    uint64_t call;
    sb_code_t code;
    sb_http_verdict_t verdict;
    int64_t elapsed_us;
    sb_slice_t body;
    char *text;
} landed_t;

struct sb_participants {
    const sb_config_t *config;
    const sb_command_bus_t *inner;
    void *bus;
    sb_wanted_fn wanted;
    void *wanted_context;
    const char *prefix;
    sb_topic_t reply_topic;
    participant_t *participant[SB_PARTICIPANTS_MAX];
    int count;
    int guarded; /* how many of them */
    int http;
    sb_errands_t errands;
    bool held[SB_SHARDS_MAX]; /* shards whose replies are read here */
    uint64_t calls;
    sb_http_multi_t *client;
    sb_http_request_t request;
    int64_t tick_us, publish_us, armed_us;
    int epoll_fd, timer_fd, inner_fd;
    sb_signal_t landing;
    landed_t *landed; /* taken off the list, not handled yet */

    pthread_mutex_t lock; /* guards all that follows */
    landed_t *first_landed, *last_landed;
    sb_participant_state_t published[SB_PARTICIPANTS_MAX];
    int published_count;
};

/* Where replies go while the orchestrator polls. */
typedef struct sink {
    sb_message_fn on_message;
    void *context;
    int *count;
    int max;
} sink_t;

/* ---- participants.c ---- */

/* By the type of a command or reply: "payment.charge.reply". NULL: not met yet. */
participant_t *sb_participant_by_type(sb_participants_t *p, sb_slice_t type);
void sb_participant_note_error(participant_t *one, sb_slice_t text);
void sb_participant_count_outcome(participant_t *one, sb_outcome_t outcome, sb_slice_t error);

/* ---- gate.c ---- */

/* Forgets an errand; a call that is out for it is cancelled. */
void sb_gate_drop(sb_participants_t *p, sb_errand_t *errand);
void sb_gate_leave_place(sb_errand_t *errand);
void sb_gate_make_ready(sb_errand_t *errand, bool first);
void sb_gate_make_later(sb_errand_t *errand, int64_t not_before_us);
/* Whether its shard is held here: the machine that waits for it is ours. */
bool sb_gate_is_here(const sb_participants_t *p, const sb_errand_t *errand);
/* Replies to it. Not SB_OK: try again later. */
SB_MUST_CHECK sb_code_t sb_gate_answer(sb_participants_t *p, const sb_errand_t *errand,
                                       const sb_errand_reply_t *reply, const sink_t *sink);
/* A command of a guarded participant comes in. */
SB_MUST_CHECK sb_code_t sb_gate_take(sb_participants_t *p, participant_t *one, const sb_record_t *record,
                                     sb_error_t *err);
/* A reply over Kafka frees the place of its command. */
void sb_gate_note_reply(sb_participants_t *p, const sb_message_t *message);
/* Looks after what waits, and sends what may go. */
void sb_gate_tick(sb_participants_t *p, const sink_t *sink);
/* Sets the timer to when something is due next. */
void sb_gate_arm(sb_participants_t *p);

/* ---- http_call.c ---- */

SB_MUST_CHECK sb_code_t sb_participant_call(sb_participants_t *p, sb_errand_t *errand, int64_t now,
                                            sb_error_t *err);
/* Takes the answers that came off the client's list. */
void sb_participant_take_landed(sb_participants_t *p);
/* … and makes of them what they mean. */
void sb_participant_land_all(sb_participants_t *p, const sink_t *sink);
void sb_participant_free_landed(landed_t *landed);

#endif
