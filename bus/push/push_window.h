/* push_window - the events of a subscription that were read and are not done: a bounded ring, in order of
 * seq.
 *
 * It says which event may be sent now, by the order that was asked for, and up to where everything is
 * decided. What is decided leaves from the head only, so the place of the head is a position: a successor
 * that begins there misses nothing, and gets again at most what is in here. An event that became a dead
 * letter stays until it is the head, so that it is written down in the transaction that passes it: never
 * twice.
 *
 * Pure: time is handed in, monotonic microseconds. Inner to push. Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_WINDOW_H
#define SB_BUS_PUSH_WINDOW_H

#include "bus/push/push_definition.h"

#define SB_PUSH_WINDOW_EVENTS 512
#define SB_PUSH_WINDOW_BYTES  (8u << 20) /* of bodies; one event at least */

typedef enum sb_push_state {
    SB_PUSH_WAITING,
    SB_PUSH_FLYING,
    SB_PUSH_DELIVERED,
    SB_PUSH_DEAD /* to be written down as a dead letter */
} sb_push_state_t;

typedef struct sb_push_entry {
    int64_t no;       /* in the window: 1, 2, 3 … */
    int64_t behind;   /* no of the one it waits for; 0: none */
    sb_event_t event; /* its slices are the entry's */
    sb_slice_t key;   /* borrowed from event */
    sb_push_state_t state;
    uint32_t tries;     /* that count */
    int64_t due_us;     /* not sent before */
    int64_t tried_us;   /* of the last failure; 0: none */
    int64_t failed_us;  /* wall time of the first failure; 0: none */
    const char *reason; /* of a dead one: failed, rejected, blocked */
    char error[200];    /* of the last failure */
    void *memory;
} sb_push_entry_t;

typedef struct sb_push_window {
    sb_push_order_t order;
    sb_push_entry_t *ring; /* SB_PUSH_WINDOW_EVENTS of them */
    int64_t head;          /* no of the oldest */
    int64_t next;          /* no of the next one to be added */
    size_t bytes;
} sb_push_window_t;

SB_MUST_CHECK sb_code_t sb_push_window_init(sb_push_window_t *window, sb_push_order_t order, sb_error_t *err);
void sb_push_window_fini(sb_push_window_t *window);

/* How many events it takes now; 0 when their bytes are too many. */
int sb_push_window_room(const sb_push_window_t *window);
/* Copies the event in; it is newer than all before it. There must be room. */
SB_MUST_CHECK sb_code_t sb_push_window_add(sb_push_window_t *window, const sb_event_t *event,
                                           sb_error_t *err);
/* It is not to be delivered: reason and entry->error say why. By key, those of its key behind it are blocked.
 */
void sb_push_window_bury(sb_push_window_t *window, sb_push_entry_t *entry, const char *reason);
/* It is not to be delivered: its key is held back. */
void sb_push_window_block(sb_push_entry_t *entry);

/* NULL: it has left. */
sb_push_entry_t *sb_push_window_entry(sb_push_window_t *window, int64_t no);

/* The oldest that may be sent now, NULL when there is none: then *due_us is when one may be, INT64_MAX: when
 * something else happens first. */
sb_push_entry_t *sb_push_window_ready(sb_push_window_t *window, int64_t now_us, int64_t *due_us);

/* The same, but those after number no come first: of a few that may go, each has its turn. */
sb_push_entry_t *sb_push_window_ready_after(sb_push_window_t *window, int64_t no, int64_t now_us,
                                            int64_t *due_us);

/* How many from the head on are delivered or dead; *dead: how many of them are dead. */
int sb_push_window_decided(const sb_push_window_t *window, int *dead);
/* The decided ones, from 0. */
const sb_push_entry_t *sb_push_window_at(const sb_push_window_t *window, int i);
/* Forgets the first count of them. */
void sb_push_window_drop(sb_push_window_t *window, int count);

/* seq of the head; 0: the window is empty. */
int64_t sb_push_window_head_seq(const sb_push_window_t *window);
/* Whether an event of this key of this category is in it and dead. */
bool sb_push_window_holds(const sb_push_window_t *window, sb_slice_t category, sb_slice_t key);

#endif
