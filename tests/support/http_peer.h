/* http_peer - an HTTP server of a test, played by a function of it: it answers, takes its time, breaks off or
 * says nothing. Kept connections, a thread each.
 *
 * Thread: start and stop from the test's; the function runs on the connections' threads, several at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_SUPPORT_HTTP_PEER_H
#define SB_TESTS_SUPPORT_HTTP_PEER_H

#include "base/buf.h"

typedef struct sb_peer sb_peer_t;

typedef struct sb_peer_request {
    char method[8];
    char path[256];
    sb_slice_t head; /* header lines */
    sb_slice_t body;
    int number;     /* of all requests of the peer, from 1 */
    int connection; /* likewise */
} sb_peer_request_t;

/* The value of a header, any case of letters; absent when it is not there. */
sb_slice_t sb_peer_header(const sb_peer_request_t *request, const char *name);

typedef enum sb_peer_how {
    SB_PEER_ANSWER,
    SB_PEER_HANG_UP, /* closes the connection, no answer */
    SB_PEER_HALF,    /* closes it in the middle of the body */
    SB_PEER_SILENT   /* keeps it and says nothing */
} sb_peer_how_t;

typedef struct sb_peer_answer {
    sb_peer_how_t how;
    int status;        /* 200 */
    char headers[512]; /* "Name: value\r\n" … */
    sb_buf_t body;     /* the peer frees it */
    int delay_ms;      /* before it; a stop ends the wait, and then nothing is answered */
    bool close;        /* the connection after the answer, without having said so */
} sb_peer_answer_t;

typedef void (*sb_peer_fn)(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer);

/* port 0: any. Fails the test when it cannot listen. */
sb_peer_t *sb_peer_start(int port, sb_peer_fn play, void *context);
/* Closes all connections at once, answered or not. NULL is fine; sets NULL. */
void sb_peer_stop(sb_peer_t **peer);

int sb_peer_port(const sb_peer_t *peer);
int sb_peer_requests(sb_peer_t *peer);
int sb_peer_connections(sb_peer_t *peer);  /* accepted so far */
int sb_peer_most_at_once(sb_peer_t *peer); /* requests in hand */

#endif
