/* push_replay - sends events of the history to a URL once more, one after another.
 *
 * The request is that of a push subscription (push_request.h) with the header `sb-replay: true`, by which the
 * receiver knows to leave its side effects out. Nothing is sent behind an event that was not taken, so what
 * the receiver has is a beginning of what it is to get. An event whose answer was lost is sent again: repeats
 * have the same id.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_REPLAY_H
#define SB_BUS_PUSH_REPLAY_H

#include "sagabus/event.h"

typedef struct sb_push_replay sb_push_replay_t;

typedef struct sb_push_replay_config {
    const char *url;
    const char *secret_file; /* as push.<endpoint>.secret_file; NULL: unsigned */
    const char *ca_file;     /* NULL or "": the system's certificates */
    bool structured;
    uint32_t timeout_ms;               /* of one request; 0: 10000 */
    uint32_t tries;                    /* of an event, while the answer says nothing about it; 0: 5 */
    bool (*is_stopped)(void *context); /* asked while it waits; NULL: never */
    void *context;
} sb_push_replay_config_t;

/* Opens no connection yet. SB_INVALID: the URL or the secret; SB_NOT_FOUND, SB_DENIED: the secret's file. */
SB_MUST_CHECK sb_code_t sb_push_replay_open(sb_push_replay_t **out, const sb_push_replay_config_t *config,
                                            sb_error_t *err);
void sb_push_replay_close(sb_push_replay_t **replay); /* NULL is fine; sets NULL */

/* Whether requests can be read on their way: http to a host that is not this machine. */
bool sb_push_replay_is_open(const sb_push_replay_t *replay);

/* Sends one event and waits until it is taken; 429 and 503 with Retry-After are waited for and count as no
 * try. SB_CONFLICT: the endpoint refuses it (a status that says so, or another one in all tries).
 * SB_UNAVAILABLE: it did not answer in all tries. SB_STOPPED. The messages name the event. Blocks. */
SB_MUST_CHECK sb_code_t sb_push_replay_send(sb_push_replay_t *replay, const sb_event_t *event,
                                            sb_error_t *err);

#endif
