/* tail - requests that wait for news of the store, and take no worker while they do.
 *
 * A worker that found nothing parks its request here. When the safe sequence number moves, the request goes
 * to the workers again; when its time is over, or the server stops, its last answer goes out. The number
 * comes from the sequencer of this process; where another one leads, it is asked for, as long as someone
 * waits.
 *
 * At most half of the workers have requests from here at once, so followers do not keep others waiting.
 *
 * Thread: one of its own; park and seen from any; open, stop and close from the daemon's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_TAIL_H
#define SB_SERVER_TAIL_H

#include "base/signal.h"
#include "server/request.h"

struct sb_engine;

typedef struct sb_tail sb_tail_t;

/* engine outlives it; its workers are there before the first park. */
SB_MUST_CHECK sb_code_t sb_tail_open(sb_tail_t **out, struct sb_engine *engine, int workers, sb_error_t *err);
/* Answers everyone who waits; who is parked from now on is answered at once. Joins the thread. */
void sb_tail_stop(sb_tail_t *tail);
void sb_tail_close(sb_tail_t **tail);

/* To be raised when the safe sequence number moves. */
sb_signal_t *sb_tail_signal(sb_tail_t *tail);

/* Asked before the store is: what is safe beyond it wakes who is parked with it. */
int64_t sb_tail_seen(const sb_tail_t *tail);

/* A worker is done with a request that came from here. */
void sb_tail_returned(sb_tail_t *tail);

/* The request's stream stands still for a while: what it asked for failed. */
void sb_stream_hold(sb_request_t *request);
/* It ends: the last piece is an event "error" with the problem's document. */
void sb_stream_give_up(sb_request_t *request, const sb_error_t *err);

/* Takes the request; request->wait says until when and what it has seen. */
void sb_tail_park(sb_tail_t *tail, sb_request_t *request);

#endif
