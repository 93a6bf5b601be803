/* crash_actors - the processes of the crash loop: writers, readers and a sequencer, each its own process,
 * each with a log that outlives it.
 *
 * A log is a file of whole records, appended by one write each: what a process was told survives its death,
 * as what a client was told would.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_PG_CRASH_ACTORS_H
#define SB_TESTS_PG_CRASH_ACTORS_H

#include "sagabus/store.h"
#include "tests/support/process.h"

#include <stdatomic.h>

#define CRASH_STREAMS 6
#define CRASH_THREADS 4
#define CRASH_TELLERS 2 /* writers in the process of a sequencer, which tell it what is on disk */
#define CRASH_SLOTS   2 /* of such processes */

/* What the test tells its processes, in memory they share. */
typedef struct crash_shared {
    _Atomic int epoch; /* how often the server has crashed */
    _Atomic bool stop_writing, stop_reading;
    _Atomic bool hold_writers, hold_tellers; /* after the append at work; of tellers those that do not lie */
    _Atomic bool teller_done[CRASH_SLOTS][CRASH_TELLERS];
} crash_shared_t;

typedef struct crash_actor {
    sb_test_process_t process;
    const char *uri;
    const char *dir; /* of the logs */
    crash_shared_t *shared;
    int number;    /* of the log; a writer that is started again gets a new one */
    bool lax;      /* a writer: commits with synchronous_commit=off */
    bool combined; /* a writer: CRASH_THREADS threads share an appender, each with a log of its own */
    bool careless; /* a reader: takes whatever it sees, not only what is safe */
    int slot;      /* a sequencer: of its tellers */
    bool lies;     /* its tellers do not wait for the disk, and say that they did */
} crash_actor_t;

/* One per try to append; written before it (done false) and after it. */
typedef struct crash_attempt {
    int writer, attempt;
    int stream;
    int count;
    sb_expect_t expect;
    int expected_version;
    bool lax, has_command;
    bool done;
    bool unknown;   /* an answer was lost on the way to this one */
    sb_code_t code; /* of the last answer */
    sb_append_result_t result;
    int epoch_before, epoch_after; /* of the last try */
} crash_attempt_t;

typedef struct crash_given {
    int64_t seq, stream_no;
    int version;
    int writer, attempt, nth, count; /* as the body says */
} crash_given_t;

void crash_start_writer(crash_actor_t *actor);
void crash_start_reader(crash_actor_t *actor);
void crash_start_sequencer(crash_actor_t *actor); /* number: its first teller's log */

/* Reads what the body of a writer's event says. */
bool crash_read_body(sb_slice_t data, crash_given_t *out);

/* All records of a log, owned by the caller. kind: "writer" or "reader". */
void *crash_read_log(const char *dir, const char *kind, int number, size_t record_size, size_t *count);

#endif
