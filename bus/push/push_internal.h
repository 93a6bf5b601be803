/* What push's files share: push.c elects owners and runs the loop, push_slot.c moves one subscription,
 * push_redrive.c sends its dead letters again, push_flight.c is its way to the endpoint, push_state.c its way
 * to PostgreSQL. Each calls only those that come after it here.
 *
 * Thread: push's own, but for the landing of flights on the HTTP client's thread, which the lock guards.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_INTERNAL_H
#define SB_BUS_PUSH_INTERNAL_H

#include "base/http_multi.h"
#include "base/lease.h"
#include "base/limits.h"
#include "bus/dead_letter.h"
#include "bus/push/push.h"
#include "bus/push/push_request.h"
#include "bus/push/push_window.h"
#include "bus/topic.h"
#include "events/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

#define SB_PUSH_SLOTS_MAX 64

/* A request under way, and then how it ended. */
typedef struct sb_push_flight {
    sb_push_t *push;
    struct sb_push_slot *slot;
    uint64_t serial; /* of the slot's life; another one: the slot was closed meanwhile */
    int64_t no;      /* of the entry; 0: of the dead letter in hand */
    bool probing;    /* the breaker was not closed */
    sb_breaker_ticket_t ticket;
    sb_push_verdict_t verdict;
    bool cancelled;
    int retry_after_s;
    char error[200];
    struct sb_push_flight *next;
} sb_push_flight_t;

/* The dead letter that is being sent again. */
typedef struct sb_push_again {
    bool active; /* it is on its way */
    int64_t no;
    char topic[SB_TOPIC_MAX];
    char *key; /* of a held key; NULL: a dead letter of its own */
    size_t key_length;
    int64_t pace_us;
} sb_push_again_t;

/* The dead letter that was sent again last and got no answer. */
typedef struct sb_push_silence {
    int64_t no; /* 0: none */
    uint32_t tries;
    int64_t tried_us;
    int64_t due_us; /* nothing is sent again before */
} sb_push_silence_t;

typedef struct sb_push_slot {
    char name[SB_PUSH_NAME_MAX + 1];
    sb_lease_t lease; /* epoch 0: not owned */
    bool open;        /* what follows is there */
    uint64_t serial;
    sb_push_definition_t *definition;
    sb_push_endpoint_t endpoint;
    sb_push_window_t window;
    sb_breaker_t breaker;
    sb_rate_t rate;
    int64_t incarnation;
    int64_t read_to;
    bool domain_only;
    int flying; /* of this life */
    int aloft;  /* of those before, too: it is not opened again over them */
    sb_push_again_t again;
    sb_push_silence_t silence;
    int64_t again_us;  /* no dead letter that has a rate is sent again before */
    int64_t beside_us; /* when it is looked again for one that has none, beside those */
    int64_t probed_no; /* the entry that was the last probe */
    int64_t well_us;   /* when the endpoint last took or refused an event */

    bool paused;
    bool any_held;         /* keys are held back */
    bool any_due;          /* dead letters are to be sent again */
    bool lost;             /* its lease has another epoch */
    bool outdated;         /* a newer version is registered: reopen when nothing is under way */
    int64_t hold_until_us; /* the endpoint asked to wait */
    uint32_t throttled;    /* how often in a row */

    char problem[256];
    bool problem_changed;
    int64_t delivered, failures, dead; /* since the last save */
    int64_t saved_seq;
    int64_t saved_us;
    int64_t try_us;    /* a slot that failed: not before */
    uint32_t troubles; /* how often it failed in a row */
} sb_push_slot_t;

struct sb_push {
    sb_push_config_t config;
    int64_t overdue_ms;
    sb_signal_t wake;
    atomic_bool stopping;
    sb_pg_t *pg;
    sb_store_t *store;
    sb_http_multi_t *http;
    sb_push_request_t request; /* the one being made */
    sb_push_slot_t *slot[SB_PUSH_SLOTS_MAX];
    int slot_count;
    int registered;
    uint64_t serials;
    int64_t safe_seq;
    int64_t refresh_us;
    int64_t purge_us;
    int64_t tell_us; /* of those that are too many: not before */
    bool too_many;

    pthread_mutex_t lock; /* of landed and stats */
    sb_push_flight_t *landed;
    sb_push_stats_t stats;
    int64_t delivered, failures, dead_letters, redriven; /* since start */
};

/* ---- push_slot.c ---- */

/* Compiles the newest definition and begins at the lease's cursor. */
SB_MUST_CHECK sb_code_t sb_push_slot_open(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err);
/* Requests under way land in nothing. */
void sb_push_slot_close(sb_push_slot_t *slot);
void sb_push_slot_say(sb_push_slot_t *slot, const char *problem);

/* Writes down what is decided, reads on, and sends what may be sent. *due_us: when there is more to do. */
SB_MUST_CHECK sb_code_t sb_push_slot_move(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us,
                                          sb_error_t *err);
/* Moves the position over what is decided, now: before the slot is closed or handed over. */
SB_MUST_CHECK sb_code_t sb_push_slot_settle(sb_push_t *push, sb_push_slot_t *slot, bool now, sb_error_t *err);
/* A flight of this slot's life has landed. */
SB_MUST_CHECK sb_code_t sb_push_slot_landed(sb_push_t *push, sb_push_slot_t *slot,
                                            const sb_push_flight_t *flight, sb_error_t *err);

/* ---- push_redrive.c ---- */

/* Sends the next dead letter that is due, unless one is on its way. */
SB_MUST_CHECK sb_code_t sb_push_redrive(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us,
                                        sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_push_redrive_landed(sb_push_t *push, sb_push_slot_t *slot,
                                               const sb_push_flight_t *flight, sb_error_t *err);
void sb_push_redrive_forget(sb_push_slot_t *slot);

/* ---- push_flight.c ---- */

/* Random bits for jitter. */
uint64_t sb_push_random(void);
static inline void sb_push_sooner(int64_t *due_us, int64_t at_us)
{
    if (at_us < *due_us)
        *due_us = at_us;
}

/* Sends the event unless a limit is reached: *sent. *due_us goes down to when it may be. */
SB_MUST_CHECK sb_code_t sb_push_send(sb_push_t *push, sb_push_slot_t *slot, const sb_event_t *event,
                                     int64_t no, bool *sent, int64_t *due_us, sb_error_t *err);

/* Whether a failure is a try of the event: not when the endpoint is away, which says nothing about the event.
 * tried_us: of its failure before this one. */
bool sb_push_counts(const sb_push_slot_t *slot, const sb_push_flight_t *flight, int64_t tried_us);
uint32_t sb_push_pause_ms(const sb_push_slot_t *slot, uint32_t tries);

/* ---- push_state.c: each is one transaction that the lease guards ---- */

/* The first owner of a subscription gives it its first position. */
SB_MUST_CHECK sb_code_t sb_push_begin(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err);
/* Moves the position to cursor and writes down the first count entries of the window that are dead. */
SB_MUST_CHECK sb_code_t sb_push_save(sb_push_t *push, sb_push_slot_t *slot, int64_t cursor, int count,
                                     bool any_dead, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_push_pause_gone(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err);
/* Which keys of entries from first on are held back: their entries become dead. */
SB_MUST_CHECK sb_code_t sb_push_block_held(sb_push_t *push, sb_push_slot_t *slot, int64_t first,
                                           sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_push_letter_handled(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_push_letter_failed(sb_push_t *push, sb_push_slot_t *slot, const char *error,
                                              sb_error_t *err);
SB_MUST_CHECK sb_code_t sb_push_key_free(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err);

#endif
