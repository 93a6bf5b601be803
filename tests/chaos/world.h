/* world - the processes of a chaos run: two `serve`, four services in databases of their own, one of them
 * over HTTP and two behind the bad road, PostgreSQL behind a proxy for each, a real broker.
 *
 * Thread: the main thread; the addresses may be read from any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_WORLD_H
#define SB_TESTS_CHAOS_WORLD_H

#include "tests/chaos/calls.h"
#include "tests/chaos/record.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"
#include "tests/support/proxy.h"

#define CHAOS_SERVES 2
#define CHAOS_SHARDS 2
#define CHAOS_HTTP   2 /* the service that is over HTTP, in chaos_service */

typedef struct chaos_world {
    unsigned seed;
    char dir[64]; /* schemas, and what the processes say */
    char prefix[32], far_prefix[40];
    char uri[SB_TEST_URI];
    char service_uri[CHAOS_SERVICES][SB_TEST_URI];
    char url[CHAOS_SERVES][64];
    int port[CHAOS_SERVES], http_port;   /* http_port: of the service over HTTP */
    chaos_calls_t *calls;                /* what that one counts of its calls */
    sb_test_proxy_t *road[CHAOS_SERVES]; /* of each serve to PostgreSQL */
    sb_test_proxy_t *service_road;       /* of all services */
    sb_test_process_t serve[CHAOS_SERVES], service[CHAOS_SERVICES], router;
    sb_pg_t *look;                  /* to the store; NULL while PostgreSQL is away */
    sb_pg_t *books[CHAOS_SERVICES]; /* the same */
    int64_t opening[CHAOS_SERVICES];
} chaos_world_t;

void chaos_world_open(chaos_world_t *world, unsigned seed);
void chaos_world_close(chaos_world_t *world, bool keep_output);

void chaos_start_serve(chaos_world_t *world, int i);
void chaos_start_service(chaos_world_t *world, int i);
void chaos_start_router(chaos_world_t *world);
/* SIGKILL or SIGTERM, and the end of it. */
void chaos_end_process(sb_test_process_t *process, int signal);

/* Starts what has died, and counts the services that had died of their own accord. */
void chaos_revive(chaos_world_t *world, int died[CHAOS_SERVICES]);

/* Topics of both prefixes, after the broker lost them. */
void chaos_make_topics(chaos_world_t *world);

/* One number from the store; -1 while it is away. sql is static text. */
int64_t chaos_look(chaos_world_t *world, const char *sql);
int64_t chaos_open_sagas(chaos_world_t *world);
void chaos_forget_connections(chaos_world_t *world);

/* Prints what explains sagas that are open: their events, the barriers' rows, the leases, /readyz. */
void chaos_print_open(chaos_world_t *world);

/* How often a text stands in what both serves (or the router) said. */
int chaos_count_said(const chaos_world_t *world, const char *text);
int64_t chaos_router_count(const chaos_world_t *world, const char *word);

/* Adds the books of all services as they are now; those that cannot be asked now are left out. */
void chaos_read_books(chaos_world_t *world, chaos_record_t *record);
/* Adds sagas, events, effects; fails the test when they cannot be read. */
void chaos_read_all(chaos_world_t *world, chaos_record_t *record);

#endif
