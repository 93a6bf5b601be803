/* stack - a whole installation for one test: database, topics, `sagabus serve` and the five order
 * participants, as the processes a user would run.
 *
 * With SB_TEST_TALK set, sb_stack_end prints all that the processes said.
 *
 * Everything is ended by sb_stack_end, also when a test fails (the children die with the test).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_E2E_STACK_H
#define SB_TESTS_E2E_STACK_H

#include "tests/support/kafka.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <jansson.h>

#define SB_STACK_PARTICIPANTS 5

typedef struct sb_stack {
    const char *sagabus; /* what is started from now on: of this build, unless the test chose others */
    const char *participants;
    char uri[SB_TEST_URI];
    char prefix[SB_TEST_PREFIX];
    char url[64]; /* http://127.0.0.1:port */
    int port;
    char env_pg[SB_TEST_URI + 32];
    char env_bootstrap[128];
    char env_prefix[64];
    char env_listen[64];
    char env_server[96];
    const char *environment[12];
    sb_test_process_t serve;
    sb_test_process_t participant[SB_STACK_PARTICIPANTS];
    bool elsewhere[SB_STACK_PARTICIPANTS]; /* the test runs that one itself: set it after sb_stack_prepare */
    sb_pg_t *pg;                           /* for looking */
} sb_stack_t;

/* A migrated database with the example's tables, topics made, participants and serve running and ready. */
void sb_stack_start(sb_stack_t *stack);
void sb_stack_end(sb_stack_t *stack);

void sb_stack_prepare(sb_stack_t *stack); /* everything but the processes */
/* The same by the binaries of another release, which migrate an empty database. */
void sb_stack_prepare_by(sb_stack_t *stack, const char *sagabus, const char *participants, int shards);
/* What is started from now on is this binary, and these participants; borrowed. NULL: this build's. */
void sb_stack_use(sb_stack_t *stack, const char *sagabus, const char *participants);
void sb_stack_set_up(sb_stack_t *stack);      /* again: migrations, the example's tables, schemas, topics */
void sb_stack_start_serve(sb_stack_t *stack); /* returns at once */
void sb_stack_kill_serve(sb_stack_t *stack);  /* SIGKILL, and reaped */
void sb_stack_await_ready(sb_stack_t *stack, int64_t expected_ms); /* /readyz says 200 */
void sb_stack_start_participants(sb_stack_t *stack);
/* Another serve over the same database and topics, on another port; *url gets its address. */
void sb_stack_second_serve(const sb_stack_t *stack, sb_test_process_t *process, char url[64]);

/* Ends a participant as a rolling upgrade does and starts it from stack->participants. */
void sb_stack_replace_participant(sb_stack_t *stack, int i);

/* More of the environment of what is started from now on: "NAME=value", borrowed. */
void sb_stack_set(sb_stack_t *stack, const char *pair);
/* Whether /readyz names the check as not ok, with a reason. */
bool sb_stack_is_missing(const sb_stack_t *stack, const char *check);
/* Opens the connection for looking anew, after the database was away. */
void sb_stack_look_again(sb_stack_t *stack);
void sb_stack_kill_participant(sb_stack_t *stack, int i); /* SIGKILL, and started again */

/* Runs the sagabus command with the stack's environment to its end; returns the exit code. */
int sb_stack_sagabus(const sb_stack_t *stack, const char *const *arguments);

/* The same, for what it says: *text is its standard output, with its standard error if asked for; owned. */
int sb_stack_ask(const sb_stack_t *stack, const char *const *arguments, bool with_errors, char **text);

/* ---- HTTP ---- */

typedef struct sb_http_answer {
    int status;   /* 0: no connection */
    json_t *body; /* NULL when it is no JSON; owned */
    char *text;   /* owned */
} sb_http_answer_t;

/* method, url + path, JSON body or NULL, one more header ("Name: value") or NULL. */
sb_http_answer_t sb_http(const char *method, const char *url, const char *path, const char *body,
                         const char *header);
/* The same, from a client that hangs up after that long. */
sb_http_answer_t sb_http_within(long patience_ms, const char *method, const char *url, const char *path,
                                const char *body, const char *header);
void sb_http_free(sb_http_answer_t *answer);

/* ---- orders ---- */

/* The input of an order saga; owned by the caller (free). */
char *sb_order_input(const char *order_id, const char *customer_id, const char *sku, int quantity,
                     int amount);

/* Starts an order with its order id as key; wait NULL or "30s". The body of the answer is the saga. */
sb_http_answer_t sb_order_start(const sb_stack_t *stack, const char *order_id, const char *customer_id,
                                const char *sku, int amount, const char *wait);

/* ---- what must hold, read from the tables alone ---- */

/* Sagas that are neither completed nor compensated. */
int64_t sb_stack_open_sagas(sb_stack_t *stack);

/* Waits until there are none; else prints what explains it (sb_stack_print_open) and fails the test. */
void sb_stack_await_ended(sb_stack_t *stack, int64_t expected_ms);

/* Prints what they wait for, with the leases, Kafka's topics and groups and what the processes said last, for
 * the message of a test that fails. */
void sb_stack_print_open(sb_stack_t *stack);

/* No step's effect twice, none after its compensation, each compensated saga undone and each completed one
 * whole, stock and money conserved. Fails the test with the first breach. */
void sb_stack_check_conserved(sb_stack_t *stack);

#endif
