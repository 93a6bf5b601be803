/* participants_stage - the participants' module between a played bus and a real HTTP server on the loopback.
 *
 * A test sets what it needs (set, set_url), opens the stage, sends commands and takes turns until it has seen
 * what it waits for.
 *
 * Thread: the test's; the server answers from its own, by the _Atomic fields.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_PARTICIPANTS_STAGE_H
#define SB_TESTS_UNIT_PARTICIPANTS_STAGE_H

#include "tests/support/assert.h"
#include "tests/support/http_peer.h"
#include "tests/unit/played_bus.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct stage {
    sb_config_t *config;
    sb_participants_t *participants;
    below_t below;
    sb_peer_t *peer;
    sb_error_t err;

    /* What the orchestrator above was told. */
    int replies, pending;
    struct {
        char id[SB_UUID_TEXT];
        char outcome[16];
        char error[200];
        char class[24];
        char result[64];
        char attempt[8];
        bool attention;
    } reply[SEEN_MAX];
    sb_wanted_t wanted;

    /* How the server answers: by the number of the request, and what it saw. */
    pthread_mutex_t lock;
    int seen;
    struct {
        int64_t at_us;
        char id[SB_UUID_TEXT];
        bool undo;
    } request[SEEN_MAX];
    _Atomic int status; /* of the answers */
    _Atomic int delay_ms;
    _Atomic int how;
    _Atomic int retry_after_s; /* -1: none */
} stage_t;

int set_up(void **state);
int tear_down(void **state);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

void set(stage_t *s, const char *name, const char *value);
void set_url(stage_t *s); /* of the participant pay: over HTTP */
/* Settings are set before. */
void open_stage(stage_t *s);
/* What the module asks of the orchestrator, and how the server answers: for a test that opens these itself.
 */
sb_wanted_t wanted(void *context, uint64_t tag, sb_slice_t step, bool undo, uint16_t round);
void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer);

sb_code_t command(stage_t *s, const char *participant, int n, bool undo, int attempt, int64_t patience_ms);
void send_ok(stage_t *s, int n, bool undo, int attempt, int64_t patience_ms); /* to pay */
/* The bus hands over a reply to the i-th record that was sent on it. */
void reply_to(stage_t *s, int i, const char *outcome);
/* So many calls fail, one after the other: the breaker is open. */
void fail_until_open(stage_t *s, int failures);

/* A turn of the orchestrator: sleep until woken, then collect. */
void turn(stage_t *s);
void turn_for(stage_t *s, int64_t ms);
#define turn_until(stage, condition, expected_ms)                                                            \
    do {                                                                                                     \
        int64_t until_ = sb_test_mono_ms() + sb_test_patience(expected_ms);                                  \
        while (!(condition) && sb_test_mono_ms() < until_)                                                   \
            turn(stage);                                                                                     \
        if (!(condition))                                                                                    \
            fail_msg("not within %d ms: %s", (int)(expected_ms), #condition);                                \
    } while (0)

sb_participant_state_t state_of(stage_t *s, const char *name);
int seen(stage_t *s); /* requests of the server */

#endif
