/* errand - a command on its way to a participant that is protected: it waits for its turn, or is out and its
 * answer is waited for.
 *
 * There is one a command id: a repeat renews it. An errand is in the table, and in one list.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ERRAND_H
#define SB_SAGA_ERRAND_H

#include "base/breaker.h"
#include "base/clock.h"
#include "bus/producer.h"
#include "saga/error_class.h"
#include "saga/machine.h"

typedef struct sb_errand_list {
    struct sb_errand *first;
    struct sb_errand *last;
    uint32_t count;
} sb_errand_list_t;

typedef struct sb_errand {
    struct sb_errand *next, *prev;
    sb_errand_list_t *list;
    struct sb_errand *hash_next;
    struct sb_participant *participant;

    sb_uuid_t id; /* of the command */
    uint64_t tag; /* the saga's number */
    int32_t shard;
    uint16_t round;
    bool undo;

    /* The command as it came last; in one allocation, NULL: not kept any more. */
    char *text;
    sb_header_t *header;
    size_t header_count;
    sb_slice_t key;
    sb_slice_t value;
    size_t bytes;

    /* Monotonic microseconds. */
    int64_t came_us;     /* in this form */
    int64_t since_us;    /* waits since: for wait_ms */
    int64_t patience_us; /* how long the machine waits for an answer from clock_us on; 0: not said */
    int64_t clock_us;
    int64_t not_before_us;
    int64_t working_us; /* since when it says that it is working; 0: it does not */
    int64_t out_us;
    int64_t expiry_us; /* wall: ce_expirytime as it came; 0: none */

    bool repeat;     /* not the command's first try */
    bool placed;     /* has a place of the bulkhead */
    uint32_t misses; /* connections in a row that were not to be had */
    uint64_t call;   /* number of the HTTP call that is out; 0: none */
    uint64_t call_id;
    sb_breaker_ticket_t ticket;
} sb_errand_t;

/* Reads what it needs from the record's headers. SB_INVALID: it is not a command. NULL in *out: not SB_OK. */
SB_MUST_CHECK sb_code_t sb_errand_new(sb_errand_t **out, const sb_record_t *record, int64_t now_us,
                                      sb_error_t *err);
void sb_errand_free(sb_errand_t *errand); /* out of list and table by then */

/* Takes over what a repeat of the same command says. SB_NO_MEMORY: nothing changed. */
SB_MUST_CHECK sb_code_t sb_errand_renew(sb_errand_t *errand, const sb_record_t *record, int64_t now_us,
                                        sb_error_t *err);
void sb_errand_forget_text(sb_errand_t *errand);

/* The machine's clock of the try was started anew. */
void sb_errand_restart_clock(sb_errand_t *errand, int64_t now_us);
/* ce_expirytime as it holds now, absent when the command has none. */
sb_slice_t sb_errand_expiry(const sb_errand_t *errand, char text[SB_TIME_TEXT]);
sb_slice_t sb_errand_header(const sb_errand_t *errand, const char *name);

/* ---- lists ---- */

void sb_errand_append(sb_errand_list_t *list, sb_errand_t *errand); /* leaves the one that it is in */
void sb_errand_prepend(sb_errand_list_t *list, sb_errand_t *errand);
void sb_errand_leave(sb_errand_t *errand);

/* ---- table ---- */

#define SB_ERRAND_BUCKETS 4096

typedef struct sb_errands {
    sb_errand_t *bucket[SB_ERRAND_BUCKETS];
    size_t count;
    size_t bytes;
} sb_errands_t;

void sb_errands_add(sb_errands_t *errands, sb_errand_t *errand);
void sb_errands_remove(sb_errands_t *errands, sb_errand_t *errand);
sb_errand_t *sb_errands_find(const sb_errands_t *errands, const sb_uuid_t *id);

/* ---- the reply to it ---- */

typedef struct sb_errand_reply {
    sb_outcome_t outcome;
    sb_error_class_t error_class;
    bool attention;
    sb_slice_t result;
    sb_slice_t error;
} sb_errand_reply_t;

typedef struct sb_errand_message {
    sb_header_t header[SB_HEADERS_MAX];
    size_t count;
    char id[SB_UUID_TEXT];
    char causation[SB_UUID_TEXT];
    char type[160];
    char source[96];
} sb_errand_message_t;

/* The headers of a reply as a participant would write it; borrowed from the errand, the reply and out. */
void sb_errand_answer(const sb_errand_t *errand, const sb_errand_reply_t *reply, const char *participant,
                      sb_errand_message_t *out);

#endif
