/* crash_check - what must be true after any accident (docs/guarantees.md), judged from the table, the
 * writers' logs and the readers' logs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_PG_CRASH_CHECK_H
#define SB_TESTS_PG_CRASH_CHECK_H

#include "tests/pg/crash_actors.h"
#include "tests/support/pg_server.h"

#define CRASH_MARKS_MAX 1024

/* What was safe when the server came back from a crash. */
typedef struct crash_mark {
    int64_t safe_seq;
    int64_t count, sum; /* of the events after the mark before, up to safe_seq */
} crash_mark_t;

typedef struct crash_history {
    crash_mark_t mark[CRASH_MARKS_MAX]; /* by epoch that ended there */
    int count;
} crash_history_t;

/* Reads safe_seq and what lies below it; safe_seq must not have gone back. */
void crash_take_mark(crash_history_t *history, sb_pg_t *pg);

typedef struct crash_faults {
    int lost;     /* an acknowledged append is not there, or not as it was told */
    int half;     /* a part of an append is there */
    int refused;  /* an append that was refused is there */
    int twice;    /* an append is there more often than once */
    int streams;  /* versions with a hole or out of order, or the stream's row says otherwise */
    int prefixes; /* what lay below a safe_seq has changed */
} crash_faults_t;

typedef struct crash_writes {
    int acked, repeated, conflicts, refused, unknown, vanished; /* for the reader of the test's output */
} crash_writes_t;

/* The writers' side; each fault is printed. */
void crash_check_writes(sb_pg_t *pg, const char *dir, int writers, const crash_history_t *history,
                        crash_faults_t *faults, crash_writes_t *writes);

typedef struct crash_reading {
    size_t given, skipped, phantom, repeated, disordered;
} crash_reading_t;

/* What a reader was given, beside the table up to to_seq. */
void crash_check_reading(sb_pg_t *pg, const char *dir, int reader, int64_t to_seq, crash_reading_t *out);

#endif
