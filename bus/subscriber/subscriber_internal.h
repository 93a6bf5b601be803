/* subscriber (inner side) - what the parts of a subscriber share.
 *
 * subscriber.c opens and closes; subscriber_fetch.c is the thread in run, with subscriber_parts.c
 * for the partitions that are ours and subscriber_deal.c, which deals their records out;
 * subscriber_slot.c keeps, for each subscription and partition, which events are not done; subscriber_lane.c
 * is a lane's thread: it groups, tries again and gives up; subscriber_batch.c is one transaction; and
 * subscriber_redrive.c hands dead letters over again.
 *
 * Lock: sb_sub_t.lock guards what is marked so; nothing else is locked while it is held, and it is not held
 * over a query, a call of a handler or of librdkafka.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_SUBSCRIBER_INTERNAL_H
#define SB_BUS_SUBSCRIBER_INTERNAL_H

#include "base/queue.h"
#include "base/retry.h"
#include "bus/consumer_internal.h"
#include "bus/dead_letter.h"
#include "bus/message.h"
#include "bus/subscriber/inbox.h"
#include "bus/subscriber/subscriber.h"
#include "events/store/store.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct sb_sub sb_sub_t;
typedef struct sb_slot sb_slot_t;
typedef struct sb_entry sb_entry_t;
typedef struct sb_fetched sb_fetched_t;

/* An event on its way through one subscription. A passed-over one has no record and only moves the mark. */
struct sb_entry {
    sb_fetched_t *home;   /* whose memory it is in; NULL: its own */
    sb_entry_t *next;     /* in the list of whoever has it */
    sb_entry_t *follower; /* the next of its slot; lock */
    sb_fetched_t *fetched;
    sb_slot_t *slot;
    sb_inbox_mark_t mark; /* where the slot stands when it and all before are done */
    bool has_position;
    size_t bytes;
    bool done;                    /* lock */
    const struct sb_lane *holder; /* whose transaction it is in; NULL: none; lock */

    /* the lane's */
    int attempts;
    int64_t first_failed_us;
    const char *dead;    /* given up: the reason of the dead letter; NULL: not */
    int64_t dead_due_us; /* of the dead letter */
    char *error;         /* its last one */

    /* of the transaction it is in */
    bool covered; /* by the position that is saved with it */
    bool repeat;
    bool blocked; /* its key is in quarantine */
    char *body;   /* brought to the newest version; NULL: it is that as it came */
};

/* A record, shared by the subscriptions it is for. */
struct sb_fetched {
    atomic_int refs;            /* of the record */
    atomic_int memory;          /* the record, and the entry in it */
    sb_subscriber_t *pool;      /* where the memory goes back to; NULL: nowhere */
    sb_fetched_t *pooled;       /* the next there */
    rd_kafka_message_t *record; /* NULL: from the store, or read back */
    sb_message_t message;
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch;
    bool decoded; /* else of event and info only type and position are known */
    char *fault;  /* why it is no event; NULL: it is one, when decoded */
    char *copy;   /* what an event of the store borrows from */
    char *own;    /* what a small record was copied to; stays with the memory */
    size_t own_size;
    sb_entry_t entry; /* the first subscription's */
    bool entry_taken;
};

/* A subscription's place in an assigned partition. */
struct sb_slot {
    sb_sub_t *sub;
    char *topic;
    int32_t partition;
    int64_t epoch;
    sb_slot_t *next; /* of the partition; the fetching thread's */

    /* the fetching thread's */
    sb_inbox_mark_t at; /* dealt out up to here */
    bool behind;        /* it was full: the fetch must come back for it */
    int64_t begins_at;  /* from now: records below only tell where that is; 0: nothing */
    bool filling;       /* reads the store first: (fill_after, fill_to] */
    int64_t fill_after;
    int64_t fill_to; /* 0: everything that is safe when it is reached */
    bool fill_is_gap;
    int64_t fill_incarnation; /* of the gap */
    bool anew;                /* its topic was made anew: begins again when what is in hand is done */
    int64_t claimed_us;
    int64_t reclaim_us;     /* when to claim it again, as it is gone; 0: not noticed */
    int losses;             /* claims in a row that another member's followed soon */
    sb_entry_t *round_pass; /* of this round: moves the mark, can be moved on */

    /* lock */
    int refs;                /* entries not done, and one of the fetching thread */
    atomic_bool gone;        /* read without the lock, too */
    sb_slot_t *touched_next; /* of a list within one call */
    bool touched;
    sb_entry_t *oldest;
    sb_entry_t *newest;
    sb_inbox_mark_t low; /* everything up to here is done */
    sb_inbox_mark_t saved;
    int64_t saved_us;
    bool saving;
    int in_hand;        /* entries in a transaction */
    sb_inbox_top_t top; /* rows may be there up to it */
    bool stopped;       /* waits for an event that fails; order=partition */
};

/* A key whose event failed and is tried again: it, and those behind it, in order. */
typedef struct sb_waiting_key {
    sb_entry_t *first;
    sb_entry_t *last;
    int64_t due_us;
} sb_waiting_key_t;

#define SB_WAITING_KEYS 128
#define SB_ROUND_MAX    512 /* records a round of the fetching thread */

typedef struct sb_lane {
    sb_sub_t *sub;
    int number;
    pthread_t thread;
    bool started;
    sb_signal_t signal;
    sb_queue_t *queue;          /* lists of entries */
    atomic_llong busy_since_us; /* the handler's call in hand; 0: none */
    bool told_stuck;            /* the fetching thread's */
    int64_t call_us;            /* how long the last call took */

    /* the lane's own */
    sb_pg_t *pg;
    struct sb_catalog *catalog; /* made at the handler's first append */
    struct sb_store *store;
    sb_upcaster_t *upcaster;
    sb_producer_t *copies; /* of dead letters */
    sb_error_t copy_error;
    bool copy_failed;
    bool copies_bare;  /* one was too large as it is: the next try sends them without their values */
    sb_entry_t *first; /* taken and not begun */
    sb_entry_t *last;
    sb_waiting_key_t waiting[SB_WAITING_KEYS];
    size_t waiting_count;
    uint32_t outages;
    int64_t upkeep_us;
    int64_t beside_us; /* when it is looked again for what has no rate beside what waits for its own */
    int64_t purge_us;
    sb_entry_t **batch; /* batch_max */
    sb_delivery_t *deliveries;
    struct sb_sub_batch_room *room;
} sb_lane_t;

struct sb_sub {
    sb_subscriber_t *subscriber;
    sb_subscription_t config; /* with its own copies, and defaults filled in */
    size_t index;
    sb_retry_policy_t retry;
    sb_lane_t *lanes;
    sb_entry_t *outgoing_first[SB_LANES_MAX]; /* the fetching thread's: dealt out when the round ends */
    sb_entry_t *outgoing_last[SB_LANES_MAX];
    sb_entry_t *round[SB_ROUND_MAX]; /* all of the round, in order */
    size_t round_count;

    pthread_mutex_t lock;
    pthread_cond_t idle; /* a slot's in_hand fell to 0 */
    bool full;           /* the fetching thread's: no room, until half of it is free */
    int64_t full_since_us;
    int64_t waiting;               /* entries not done; lock */
    int64_t waiting_bytes;         /* lock */
    sb_subscription_stats_t stats; /* lock */
    atomic_bool holds_keys;        /* keys may be in quarantine: never taken back */
};

/* An assigned partition; the fetching thread's. */
typedef struct sb_part {
    char *topic;
    int32_t partition;
    int64_t next_offset; /* of the fetch; -1: unknown */
    int64_t committed;
    sb_slot_t *slots;
} sb_part_t;

struct sb_subscriber {
    const sb_config_t *config;
    sb_config_t *own_config; /* NULL: the settings are borrowed */
    char *group, *pg_uri, *schema, *store_uri, *instance_id;
    char owner[64]; /* who we are to the database: as long as an application_name may be */
    char **topics;
    size_t topic_count;
    bool topics_given; /* not made from the types */
    unsigned queue_max, drain_ms;
    sb_sub_t *subs;
    size_t sub_count;
    atomic_bool stopping;
    atomic_bool lanes_stop;

    sb_signal_t room;             /* the fetching thread's: a subscription has worked off what it waits for */
    atomic_llong room_below;      /* so few entries not done it waits for; 0: it does not */
    _Atomic(sb_fetched_t *) done; /* large records that nobody needs: the fetching thread destroys them */
    _Atomic(sb_fetched_t *) given_back; /* memory that nobody needs */

    /* the fetching thread's */
    sb_fetched_t *spare;
    sb_consumer_t *consumer;
    sb_pg_t *pg;
    sb_pg_t *store_pg;
    sb_catalog_t *catalog; /* of the store */
    sb_store_t *store;
    sb_part_t *parts;
    size_t part_count;
    size_t part_last;
    char cluster_id[64];
    int64_t catalog_us;    /* when to read what is new in the catalog */
    int64_t look_us;       /* next look at lanes and offsets */
    int64_t full_since_us; /* 0: there is room */
    int64_t store_again_us;
    int64_t begin_again_us; /* when to try again what failed */
    uint32_t begin_failures;
};

/* ---- subscriber_slot.c ---- */

/* One reference; NULL: no memory. pool: the subscriber, for its fetching thread; NULL for others. */
sb_fetched_t *sb_fetched_new(sb_subscriber_t *pool);
/* Takes record over: a small one is copied and destroyed at once, while its memory is at hand. */
void sb_fetched_take(sb_fetched_t *fetched, rd_kafka_message_t *record);
/* Destroys what nobody needs any more: by the thread that fetched it, whose memory it is, and before the
 * consumer is closed. */
void sb_fetched_reap(sb_subscriber_t *pool);
void sb_fetched_pool_free(sb_subscriber_t *pool);
/* An entry for it: in its own memory for the first one. NULL fetched: one that only moves a mark. */
sb_entry_t *sb_entry_new(sb_fetched_t *fetched);
void sb_fetched_drop(sb_fetched_t *fetched);
/* Finds type and position, which tell for whom a record is; decodes it when that takes as much. */
SB_MUST_CHECK sb_code_t sb_fetched_glance(sb_fetched_t *fetched, sb_error_t *err);
/* Decodes message, unless that is done; a fault is kept, not returned. By the fetching thread, or by the lane
 * that alone has the record. */
SB_MUST_CHECK sb_code_t sb_fetched_decode(sb_fetched_t *fetched, sb_error_t *err);
/* What the handler gets to see of it. */
void sb_fetched_delivery(const sb_fetched_t *fetched, sb_delivery_t *out);

sb_slot_t *sb_slot_new(sb_sub_t *sub, const char *topic, int32_t partition);
/* Takes note of a round's entries, in order. Those that are done already (not for the subscription, repeats)
 * only move the mark, and are taken over; the others count as waiting. */
void sb_slot_add_all(sb_sub_t *sub, sb_entry_t *const *round, size_t count);
/* Done: the mark moves when all before are done, too. Frees what is behind the mark. */
void sb_slot_done(sb_sub_t *sub, sb_entry_t *const *entries, size_t count);
/* Gives up an entry of a slot that is gone, or at the end: the mark never passes it. */
void sb_slot_forget(sb_entry_t *entry);
/* Into the lane's transaction: the lane is the holder of those whose slot is not gone. And out of it again,
 * not done. */
void sb_slot_enter(const sb_lane_t *lane, sb_entry_t *const *entries, size_t count);
void sb_slot_leave(sb_sub_t *sub, sb_entry_t *const *entries, size_t count);
/* Where the slot stands when what the lane holds is done; lock. */
sb_inbox_mark_t sb_slot_would_be(const sb_slot_t *slot, const sb_lane_t *lane);
/* The position was saved with this mark; lock. */
void sb_slot_saved(sb_slot_t *slot, const sb_inbox_mark_t *mark);
/* Nothing of it is dealt out and not done. */
bool sb_slot_is_idle(const sb_slot_t *slot);
/* Begins again at the beginning of the topic; idle. */
void sb_slot_begin_again(sb_slot_t *slot);
/* Marks the slot as gone and waits until nothing of it is in hand; false: not in time. */
bool sb_slot_drain(sb_slot_t *slot, int64_t until_us);
void sb_slot_unref(sb_slot_t *slot);
void sb_slot_gone(sb_slot_t *slot);

void sb_entry_free(sb_entry_t *entry);

/* ---- subscriber_fetch.c ---- */

SB_MUST_CHECK sb_code_t sb_subscriber_fetch(sb_subscriber_t *subscriber, sb_error_t *err);
void sb_subscriber_fetch_end(sb_subscriber_t *subscriber);

/* Connects to the store and reads its catalog, as far as that is not done. */
SB_MUST_CHECK sb_code_t sb_subscriber_store(sb_subscriber_t *subscriber, sb_error_t *err);
/* The next of what a slot must read of the store; it has room. */
SB_MUST_CHECK sb_code_t sb_subscriber_fill(sb_subscriber_t *subscriber, const sb_part_t *part,
                                           sb_slot_t *slot, sb_error_t *err);

/* ---- subscriber_parts.c ---- */

#define SB_OFFSET_NOWHERE INT64_MAX /* behind all that could be wanted */

sb_part_t *sb_part_find(sb_subscriber_t *subscriber, const char *topic,
                        int32_t partition); /* NULL: not ours */
/* The consumer's hooks; the context is the subscriber. */
SB_MUST_CHECK sb_code_t sb_parts_on_assigned(void *context, sb_consumer_place_t *places, size_t count,
                                             sb_error_t *err);
void sb_parts_on_revoked(void *context, const sb_consumer_place_t *places, size_t count, bool lost);
/* Reads topics that were made anew from their beginning, once nothing of them is in hand. */
void sb_parts_begin_again(sb_subscriber_t *subscriber);
/* Saves positions, commits offsets, and claims again what another member took. */
void sb_parts_upkeep(sb_subscriber_t *subscriber);
void sb_parts_end(sb_subscriber_t *subscriber); /* forgets them all */

/* ---- subscriber_deal.c ---- */

/* Deals a record out, once decoded; consumes it. */
SB_MUST_CHECK sb_code_t sb_deal_record(sb_subscriber_t *subscriber, rd_kafka_message_t *record,
                                       sb_error_t *err);
/* An entry for the slot: dealt out when the round ends. fetched NULL: only moves the mark. */
SB_MUST_CHECK sb_code_t sb_subscriber_deal(sb_slot_t *slot, sb_fetched_t *fetched, sb_inbox_mark_t mark,
                                           bool has_position, sb_error_t *err);
bool sb_sub_wants(const sb_sub_t *sub, sb_slice_t type);
/* Gives the lanes what the round has for them: one subscription's, and everybody's. */
void sb_deal_hand_out_one(sb_sub_t *sub);
void sb_deal_hand_out(sb_subscriber_t *subscriber);

/* ---- subscriber_lane.c ---- */

void *sb_lane_run(void *context);
SB_MUST_CHECK sb_code_t sb_lane_open_pg(sb_lane_t *lane, sb_error_t *err);

/* ---- subscriber_batch.c ---- */

struct sb_sub_batch_room *sb_sub_batch_room_new(size_t batch_max);
void sb_sub_batch_room_free(struct sb_sub_batch_room *room);
/* Takes entries through one transaction (or, without a database, one call). All of them have entered. On
 * SB_OK all are done. SB_FENCED: entries of partitions that are not ours any more; their slots are gone now.
 * *handler: the failure is the handler's. */
SB_MUST_CHECK sb_code_t sb_sub_batch_run(sb_lane_t *lane, sb_entry_t **entries, size_t count, bool *handler,
                                         sb_error_t *err);
/* Brings the event to the newest version that the store's catalog knows, when there is one: its body is then
 * borrowed from the lane until the next call. SB_UNSUPPORTED: it cannot be; SB_OK without a catalog. */
SB_MUST_CHECK sb_code_t sb_sub_batch_upcast(sb_lane_t *lane, sb_delivery_t *delivery, bool *changed,
                                            sb_error_t *err);
/* Calls the handler, watched. */
SB_MUST_CHECK sb_code_t sb_sub_batch_call(sb_lane_t *lane, const sb_delivery_t *deliveries, size_t count,
                                          sb_error_t *err);

/* ---- subscriber_redrive.c ---- */

/* Hands over a key or a dead letter that is due, if there is one: *found. *pause_us: nothing else meanwhile.
 */
SB_MUST_CHECK sb_code_t sb_redrive(sb_lane_t *lane, bool *found, int64_t *pause_us, sb_error_t *err);

/* ---- subscriber_append.c ---- */

/* Around a call of the handler: what the thread appends is the lane's. */
void sb_sub_append_enter(sb_lane_t *lane);
void sb_sub_append_leave(void);
/* Before the lane's connection is closed. */
void sb_sub_append_close(sb_lane_t *lane);

#endif
