/* replay - views: how fast one is rebuilt from its history, how much memory that takes, and how one keeps up.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_REPLAY_H
#define SB_TESTS_BENCH_REPLAY_H

#include "events/view/view.h"
#include "tests/bench/place.h"

#define STORY_VIEW   "bench_by_field" /* key from the body: nothing is read beside the events */
#define STORY_STREAM "order_summary"  /* key of the stream */
#define STORY_MANY   "bench_by_event" /* a row an event: more keys than fit into memory */

/* A history of orders: bodies of 200 bytes; each event of another stream than the one before it. */
typedef struct story {
    place_t *place;
    int64_t events;
    int64_t streams;
} story_t;

void story_write(story_t *story, place_t *place, int64_t events, int64_t streams);
/* The type and the amount of an event by its number from 0, as story_write made them. */
int64_t story_stream(const story_t *story, int64_t number);
const char *story_type(int64_t number);
int64_t story_amount(int64_t number);

/* ---- live, in replay_live.c ---- */

typedef struct live {
    story_t story;
    double seconds; /* of a round at a given rate */
    int rate;
} live_t;

#define LIVE_WRITERS 4

/* Rounds: events a second of a projector from the beginning of a history to its end, and of the same upserts
 * of the same rows by libpq. */
void live_project(void *context, int round, double *values);
void live_upsert(void *context, int round, double *values);

/* p99 and p50 in milliseconds from the return of an append until the view shows its events, and the rate that
 * was reached. */
void live_lag(live_t *live, double values[3]);

#endif
