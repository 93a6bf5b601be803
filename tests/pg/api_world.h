/* api_world - a whole daemon over loopback, with a PostgreSQL of the test's own and no Kafka at all, and a
 * client that talks to it byte for byte: what the tests of the HTTP API share.
 *
 * Whatever cannot be done fails the test.
 *
 * Thread: the test's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_API_WORLD_H
#define SB_TESTS_API_WORLD_H

#include "base/config.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <jansson.h>

/* ---- a daemon ---- */

typedef struct daemon_under_test {
    sb_test_process_t process;
    sb_config_t *config;
    const char *output; /* file of its standard error; NULL: ours */
    char uri[SB_TEST_URI];
    int port;
} daemon_under_test_t;

/* The one that the cases of a program share: group setup and teardown. */
extern daemon_under_test_t shared;
int start_shared(void **state);
int stop_shared(void **state);

/* Settings of a daemon over the database of d->uri, which set may change; start begins it. */
void prepare(daemon_under_test_t *d);
void set(daemon_under_test_t *d, const char *name, const char *value);
void start(daemon_under_test_t *d);
void stop(daemon_under_test_t *d); /* SIGTERM; it must end with 0 */

/* ---- talking to it ---- */

typedef struct answer {
    int status;
    char *text; /* head and body */
    const char *body;
} answer_t;

void drop(answer_t *answer);

int connect_to(int port); /* -1: refused */
int send_bytes(int port, const char *bytes, size_t length);
/* Reads to the end and closes. */
answer_t receive(int fd);
answer_t exchange(int port, const char *bytes, size_t length);
/* A GET whose answer is for later. */
int send_get(const daemon_under_test_t *d, const char *path);
/* headers: lines that end in CRLF, NULL for none; body may be NULL. */
answer_t ask(const daemon_under_test_t *d, const char *method, const char *path, const char *headers,
             const char *body);
/* An event stream; behind: Last-Event-ID, -1 for none. */
int open_stream(const daemon_under_test_t *d, const char *path, int64_t behind);
/* Reads on until the text has come that often; the connection stays open. */
void read_until(int fd, sb_buf_t *seen, const char *text, int times);

/* ---- what it says ---- */

json_t *json_of(const answer_t *answer); /* a new reference */
const char *text_at(const json_t *value, const char *pointer);
int64_t int_at(const json_t *value, const char *pointer);
/* Whether a GET answers with the status. */
bool answers(const daemon_under_test_t *d, const char *path, const char *headers, int status);
bool readyz_has(const daemon_under_test_t *d, const char *text);
/* The request must be refused with a whole RFC 9457 document of this status, code and pointer. */
void assert_problem(answer_t answer, int status, const char *code, const char *pointer);
/* 200, and a page of so many items. */
void assert_count(answer_t answer, size_t items);

/* ---- events ---- */

#define ORDER(id)                                                                                            \
    "{\"order_id\":\"" id "\",\"customer_id\":\"c-1\",\"amount\":1500,\"currency\":\"EUR\","                 \
    "\"items\":[{\"sku\":\"s-1\",\"quantity\":1,\"price\":1500}]}"

void append_order(const daemon_under_test_t *d, const char *key);
bool all_events_have(const char *text); /* of the shared daemon */
/* Up to where its store is safe to read. */
int64_t newest(const daemon_under_test_t *d);

#endif
