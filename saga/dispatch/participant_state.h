/* participant_state - what is told about a participant: in the API, in metrics.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_PARTICIPANT_STATE_H
#define SB_SAGA_PARTICIPANT_STATE_H

#include <stdbool.h>
#include <stdint.h>

#define SB_PARTICIPANTS_MAX     64 /* that an instance keeps a state of */
#define SB_PARTICIPANT_NAME_MAX 64

/* How it stands with a participant, as this instance sees it; counts since it started. */
typedef struct sb_participant_state {
    char name[SB_PARTICIPANT_NAME_MAX + 1];
    bool http;           /* else on Kafka */
    bool counted;        /* false: on Kafka and without limits: nobody knows waiting, out and repeats */
    char url[200];       /* without what could be secret in it; "" on Kafka */
    const char *breaker; /* "closed", "open", "half-open"; NULL: it has none */
    uint64_t breaker_opened;
    int64_t retry_in_ms;        /* nothing goes out before, by breaker or Retry-After; 0: it may */
    int64_t held_until_us;      /* wall: the same; 0: it may */
    const char *held_by;        /* "breaker" or "retry_after", whichever holds longer; NULL: nothing */
    uint32_t waiting;           /* commands that wait for their turn, or to ask again */
    uint32_t out;               /* that are out */
    uint32_t concurrency, rate; /* 0: no limit */
    uint64_t sent, repeats;
    uint64_t succeeded, refused, errors, pending; /* answers */
    uint64_t gave_up;                             /* waited for longer than wait_ms */
    int64_t answer_us;                            /* smoothed time of an HTTP answer; 0: none yet */
    int64_t error_us;                             /* wall: when the last error came; 0: none */
    char error[160];
} sb_participant_state_t;

#endif
