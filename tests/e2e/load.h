/* load - clients that place orders without pause while a test breaks things, and remember what they were
 * told.
 *
 * An order that gets no answer, or is told to come again (503, 429), is asked again under the same key at
 * once or later, as docs/api.md says. An order that was answered 200 or 201 is accepted: from then on it must
 * exist, under the id that was answered, and end.
 *
 * Thread: the main thread; the clients are threads of their own and never fail the test by themselves.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_E2E_LOAD_H
#define SB_TESTS_E2E_LOAD_H

#include "tests/e2e/stack.h"

#include <pthread.h>
#include <stdatomic.h>

#define SB_LOAD_ORDERS_MAX 20000
#define SB_LOAD_CLIENTS    4

typedef struct sb_load_order {
    char id[40];     /* of its saga; "" until it is accepted */
    bool changed;    /* another id was answered for the same key */
    int64_t told_ms; /* when it was accepted, monotonic */
} sb_load_order_t;

typedef struct sb_load_client {
    struct sb_load *load;
    int number;
    pthread_t thread;
} sb_load_client_t;

typedef struct sb_load {
    const char *name;   /* order ids are NAME-0, NAME-1 … */
    const char *url[2]; /* servers; the second may be NULL. Each has half of the clients, which go to the
                         * other one when theirs is away */
    int pause_ms;       /* of a client, between two orders */
    atomic_int next;    /* order to place next */
    atomic_int accepted;
    atomic_int not_answered; /* how often a client got no answer, or had to come again */
    atomic_bool stopping;
    atomic_bool gave_up; /* some order was not accepted until the time was over */
    int64_t until_ms;
    char fault[256]; /* the first answer that no client should ever see; under lock */
    pthread_mutex_t lock;
    sb_load_client_t client[SB_LOAD_CLIENTS];
    sb_load_order_t order[SB_LOAD_ORDERS_MAX];
} sb_load_t;

/* name and urls are borrowed until the check. Free with sb_load_free. */
sb_load_t *sb_load_start(const char *name, const char *url, const char *other_url, int pause_ms);
/* Waits until count more orders than now are accepted; fails the test after
 * sb_test_patience(expected_ms). */
void sb_load_await(sb_load_t *load, int count, int64_t expected_ms);
/* Places no new orders; those without an answer are asked again until there is one, or the time is over. */
void sb_load_stop(sb_load_t *load, int64_t expected_ms);
/* Every order placed is one saga under the id that was answered; all ended within the time, and stock and
 * money are conserved. Fails the test with what is broken. After sb_load_stop. */
void sb_load_check(sb_load_t *load, sb_stack_t *stack, int64_t expected_ms);
void sb_load_free(sb_load_t **load); /* stops it too; NULL is fine */

#endif
