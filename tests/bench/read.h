/* read - what a reader of the store gets: how fast history goes by, and how soon what is new is seen.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_READ_H
#define SB_TESTS_BENCH_READ_H

#include "tests/bench/place.h"

/* ---- history ---- */

typedef struct history {
    place_t *place;
    int64_t events;
    struct sb_store *store;
} history_t;

/* Fills the place with so many events of 200 bytes, of streams with 25 events each. */
void history_open(history_t *history, place_t *place, int64_t events);
void history_close(history_t *history);

/* Rounds: events a second of a read of all; and by COPY of the same columns, each row discarded: with the
 * streams' keys, as a reader gets them, and without. */
void history_read(void *context, int round, double *values);
void history_copy(void *context, int round, double *values);
void history_copy_bare(void *context, int round, double *values);

/* p50 in microseconds of whole reads of a stream; and of the same rows by libpq, the stream's number known.
 */
void history_streams(void *context, int round, double *values);
void history_streams_raw(void *context, int round, double *values);

/* ---- news ---- */

/* In milliseconds, but for the rate. */
typedef struct news_figures {
    double read_p99, read_p50, append_p99, probe_p99, probe_p50, rate;
} news_figures_t;

typedef struct news {
    place_t *place;
    double seconds;
    int rate;               /* events a second, of all writers together */
    int probed;             /* rounds with a probe that were run */
    news_figures_t figures; /* of the last of them */
} news_t;

#define NEWS_WRITERS 8

/* Rounds: p99 and p50 in milliseconds from the start of an append until a reader in another thread has the
 * event in hand, p99 of the append alone, and the rate that was reached; and of a single row and its commit,
 * at the same rate of as many writers. */
void news_store(void *context, int number, double *values);
void news_commit(void *context, int number, double *values);

/* p99 and p50 of the same way to the reader; and of a single row, its commit and the round trip, which one
 * connection probes all the while beside it, in the same round: what a commit costs on a machine that does
 * this. */
void news_probed(void *context, int number, double *values);
void news_probe(void *context, int number, double *values);

#endif
