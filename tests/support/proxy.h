/* proxy - a network that breaks on request: TCP from a client, on the way to the test's PostgreSQL.
 *
 * It reads the client's messages (type and length), so that it acts on "the COMMIT", not on a count of bytes.
 * A rule names a message and what becomes of it; commands act on all connections at once. Every connection
 * that is opened through it is a new one to the server.
 *
 * Thread: a thread of its own; the functions may be called from any other. Fork before you open one.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_PROXY_H
#define SB_TESTS_SUPPORT_PROXY_H

#include "tests/support/pg_server.h"

typedef struct sb_test_proxy sb_test_proxy_t;

/* Which message of the client. */
typedef enum sb_proxy_at {
    SB_PROXY_COMMIT, /* what ends a transaction: the text COMMIT or END; outside BEGIN … COMMIT any statement
                        sent as text (but BEGIN, SET, SHOW), and the Sync after statements that were executed
                      */
    SB_PROXY_MESSAGE /* any message of rule.type */
} sb_proxy_at_t;

/* What becomes of it. A cut closes both sides. */
typedef enum sb_proxy_act {
    SB_PROXY_CUT_BEFORE,   /* it never reaches the server: surely not carried out */
    SB_PROXY_CUT_AFTER,    /* it is sent on, and both sides are closed at once: carried out or not */
    SB_PROXY_CUT_ANSWERED, /* it is sent on, its answer is awaited and kept back: surely carried out */
    SB_PROXY_DELAY,        /* it is sent on after delay_ms */
    SB_PROXY_DROP          /* from it on nothing passes on this connection, either way: a cable pulled out */
} sb_proxy_act_t;

typedef struct sb_proxy_rule {
    sb_proxy_at_t at;
    char type;              /* with SB_PROXY_MESSAGE: 'Q', 'P', 'B', 'E', 'S' …; 0: any */
    const char *containing; /* only messages that contain this text; NULL: all. Copied */
    sb_proxy_act_t act;
    int skip;  /* let so many matching messages pass first */
    int times; /* then act so many times; 0: once */
    int delay_ms;
    bool reset; /* a cut resets the client's connection (RST) instead of ending it (FIN) */
} sb_proxy_rule_t;

/* Listens on a free port of 127.0.0.1, in front of the private server (skips the program with another's). */
void sb_test_proxy_open(sb_test_proxy_t **out);
void sb_test_proxy_close(sb_test_proxy_t **proxy); /* NULL is fine; sets NULL */

/* The URI of a database (as sb_test_pg_fresh gave it) by way of the proxy. */
char *sb_test_proxy_uri(const sb_test_proxy_t *proxy, const char *database_uri, char uri[SB_TEST_URI]);

/* Puts a rule in force in place of the one before; NULL: none. Messages on their way may still pass. */
void sb_test_proxy_rule(sb_test_proxy_t *proxy, const sb_proxy_rule_t *rule);
/* How often rules have acted, of all rules so far. */
int sb_test_proxy_hits(sb_test_proxy_t *proxy);

/* These three are in force when they return. */
void sb_test_proxy_cut(sb_test_proxy_t *proxy); /* all connections, now */
/* While set, nothing passes on any connection, and new ones are taken but hear nothing; what was held back
 * goes on afterwards. */
void sb_test_proxy_stall(sb_test_proxy_t *proxy, bool stall);
/* While set, new connections are closed at once. */
void sb_test_proxy_refuse(sb_test_proxy_t *proxy, bool refuse);

#endif
