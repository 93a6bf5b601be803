/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/crash_actors.h"

#include "base/log.h"
#include "events/store/appender.h"
#include "events/store/sequencer.h"
#include "events/store/store.h"
#include "tests/support/assert.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- logs ---- */

static int open_log(const char *dir, const char *kind, int number, int flags)
{
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s-%d", dir, kind, number);
    return open(path, flags | O_CLOEXEC, 0600);
}

static void put(int log, const void *record, size_t size)
{
    if (write(log, record, size) != (ssize_t)size)
        _exit(3);
}

void *crash_read_log(const char *dir, const char *kind, int number, size_t record_size, size_t *count)
{
    struct stat status = {.st_size = 0};
    int log = open_log(dir, kind, number, O_RDONLY | O_CREAT); /* it may have been killed before it began */
    *count = 0;
    if (log < 0 || fstat(log, &status) != 0)
        fail_msg("no log of %s %d", kind, number);
    size_t size = (size_t)status.st_size;
    char *records = malloc(size + 1);
    assert_non_null(records);
    assert_int_equal(read(log, records, size), size);
    (void)close(log);
    *count = size / record_size;
    return records;
}

/* ---- writers ---- */

typedef struct writer {
    const crash_actor_t *actor;
    int number;
    int log;
    unsigned random;
    sb_store_t *store;
    sb_pg_t *pg; /* of a lax writer, whose store borrows it */
    sb_catalog_t *catalog;
    sb_appender_t *appender;     /* shared; NULL: a store of its own */
    int versions[CRASH_STREAMS]; /* as it believes them to be */
    sb_progress_t *progress;     /* a teller's: of the sequencer beside it; NULL: no teller */
    _Atomic bool *done;          /* a teller's */
} writer_t;

static int below(writer_t *writer, int limit)
{
    return rand_r(&writer->random) % limit;
}

static sb_code_t open_writer(writer_t *writer)
{
    if (writer->appender)
        return SB_OK;
    if (!writer->actor->lax) {
        sb_store_config_t config = {.pg_uri = writer->actor->uri, .application_name = "crash writer"};
        return writer->store ? SB_OK : sb_store_open(&writer->store, &config, NULL);
    }
    sb_code_t code = SB_OK;
    sb_pg_config_t config = {.uri = writer->actor->uri, .application_name = "crash writer"};
    if (!writer->pg)
        code = sb_pg_open(&writer->pg, &config, NULL);
    else if (!sb_pg_is_open(writer->pg))
        code = sb_pg_reopen(writer->pg, NULL);
    if (code == SB_OK && !writer->store) {
        code = writer->catalog ? SB_OK : sb_catalog_new(&writer->catalog, NULL);
        if (code == SB_OK)
            code = sb_catalog_load(writer->catalog, writer->pg, NULL);
        if (code == SB_OK)
            code = sb_store_new(&writer->store, writer->pg, writer->catalog, NULL);
    }
    return code;
}

/* Its answer means nothing for the disk: the commit does not wait for it. */
static sb_code_t append_lax(writer_t *writer, const sb_append_t *append, sb_append_result_t *result)
{
    sb_code_t code = sb_pg_begin(writer->pg, NULL);
    if (code == SB_OK)
        code = sb_store_append(writer->store, append, result, NULL);
    if (code == SB_OK)
        code = sb_pg_script(writer->pg, "SET LOCAL synchronous_commit = off", NULL);
    if (code == SB_OK)
        return sb_pg_commit(writer->pg, NULL);
    sb_pg_rollback(writer->pg);
    return code == SB_UNKNOWN_OUTCOME ? SB_UNAVAILABLE : code; /* nothing was to be committed yet */
}

static void try_once(writer_t *writer, const sb_append_t *append, crash_attempt_t *attempt)
{
    attempt->epoch_before = atomic_load(&writer->actor->shared->epoch);
    uint64_t era = writer->progress ? sb_progress_era(writer->progress) : 0;
    attempt->code = open_writer(writer);
    if (attempt->code == SB_UNKNOWN_OUTCOME)
        attempt->code = SB_UNAVAILABLE; /* reads only */
    if (attempt->code == SB_OK && writer->appender)
        attempt->code = sb_appender_append(writer->appender, append, &attempt->result, NULL);
    else if (attempt->code == SB_OK)
        attempt->code = writer->actor->lax ? append_lax(writer, append, &attempt->result)
                                           : sb_store_append(writer->store, append, &attempt->result, NULL);
    if (attempt->code == SB_OK && writer->progress)
        sb_progress_appended(writer->progress, era, &attempt->result, append->count);
    attempt->unknown |= attempt->code == SB_UNKNOWN_OUTCOME;
    attempt->epoch_after = atomic_load(&writer->actor->shared->epoch);
}

static void choose(writer_t *writer, crash_attempt_t *attempt)
{
    attempt->writer = writer->number;
    attempt->attempt++;
    attempt->stream = below(writer, CRASH_STREAMS);
    attempt->count = 1 + below(writer, 4);
    int kind = below(writer, 10);
    attempt->expect = kind < 6 ? SB_EXPECT_EXACT : kind < 9 ? SB_EXPECT_ANY : SB_EXPECT_EXISTS;
    attempt->expected_version = writer->versions[attempt->stream];
    attempt->lax = writer->actor->lax;
    attempt->has_command = !attempt->lax && below(writer, 2);
    attempt->done = false;
    attempt->unknown = false;
}

static void write_one(writer_t *writer, crash_attempt_t *attempt)
{
    char key[16];
    char bodies[4][96];
    sb_event_t events[4];
    choose(writer, attempt);
    (void)snprintf(key, sizeof key, "s-%d", attempt->stream);
    for (int i = 0; i < attempt->count; i++) {
        (void)snprintf(bodies[i], sizeof bodies[i], "{\"order_id\":\"%d/%d\",\"tracking\":\"%d/%d\"}",
                       attempt->writer, attempt->attempt, i + 1, attempt->count);
        events[i] = (sb_event_t){.type = SB_SLICE("order.shipped"), .data = sb_slice(bodies[i])};
    }
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = sb_slice(key),
                          .expect = attempt->expect,
                          .expected_version = attempt->expected_version,
                          .events = events,
                          .count = (size_t)attempt->count};
    if (attempt->has_command)
        append.command_id = sb_uuid_v7();
    put(writer->log, attempt, sizeof *attempt);
    do {
        try_once(writer, &append, attempt);
        if (attempt->code != SB_OK)
            sb_test_sleep_ms(20);
    } while (attempt->code != SB_OK && attempt->has_command &&
             !atomic_load(&writer->actor->shared->stop_writing));
    attempt->done = true;
    put(writer->log, attempt, sizeof *attempt);
    if (attempt->code == SB_OK)
        writer->versions[attempt->stream] = attempt->result.version;
}

static bool is_held(const writer_t *writer)
{
    const crash_shared_t *shared = writer->actor->shared;
    return writer->progress ? !writer->actor->lies && atomic_load(&shared->hold_tellers)
                            : atomic_load(&shared->hold_writers);
}

static void *run_thread(void *context)
{
    writer_t *writer = context;
    crash_attempt_t attempt = {.attempt = 0};
    writer->random = (unsigned)writer->number * 7919u;
    writer->log = open_log(writer->actor->dir, "writer", writer->number, O_WRONLY | O_APPEND | O_CREAT);
    while (!atomic_load(&writer->actor->shared->stop_writing)) {
        if (is_held(writer)) {
            sb_test_sleep_ms(1);
            continue;
        }
        write_one(writer, &attempt);
        if (below(writer, 4) == 0)
            sb_test_sleep_ms(below(writer, 4));
    }
    if (writer->done)
        atomic_store(writer->done, true);
    return NULL;
}

static int run_combined(const crash_actor_t *actor)
{
    sb_appender_t *appender = NULL;
    sb_appender_config_t config = {.pg_uri = actor->uri, .application_name = "crash writer"};
    writer_t writers[CRASH_THREADS];
    pthread_t threads[CRASH_THREADS];
    while (sb_appender_open(&appender, &config, NULL) != SB_OK)
        sb_test_sleep_ms(20);
    for (int i = 0; i < CRASH_THREADS; i++) {
        writers[i] = (writer_t){.actor = actor, .number = actor->number + i, .appender = appender};
        if (pthread_create(&threads[i], NULL, run_thread, &writers[i]) != 0)
            return 2;
    }
    for (int i = 0; i < CRASH_THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    sb_appender_close(&appender);
    return 0;
}

static int run_writer(void *context)
{
    const crash_actor_t *actor = context;
    writer_t writer = {.actor = actor, .number = actor->number};
    if (actor->combined)
        return run_combined(actor);
    (void)run_thread(&writer);
    return 0;
}

void crash_start_writer(crash_actor_t *actor)
{
    sb_test_fork(&actor->process, run_writer, actor);
}

/* ---- readers ---- */

typedef struct reader {
    const crash_actor_t *actor;
    int log;
    sb_store_t *store;
    sb_pg_t *pg;
    int64_t at;
} reader_t;

bool crash_read_body(sb_slice_t data, crash_given_t *out)
{
    char text[128];
    (void)snprintf(text, sizeof text, "%.*s", SB_SLICE_ARG(data));
    return sscanf(text, "{\"order_id\":\"%d/%d\",\"tracking\":\"%d/%d\"}", &out->writer, &out->attempt,
                  &out->nth, &out->count) == 4;
}

static sb_code_t keep(void *context, const sb_event_t *event, sb_error_t *err)
{
    reader_t *reader = context;
    crash_given_t given = {
        .seq = event->seq, .stream_no = event->stream_no, .version = event->stream_version};
    if (!crash_read_body(event->data, &given))
        return sb_fail(err, SB_CORRUPT, "not a body of ours");
    put(reader->log, &given, sizeof given);
    reader->at = event->seq;
    return SB_OK;
}

static sb_code_t read_safe(reader_t *reader)
{
    sb_store_config_t config = {.pg_uri = reader->actor->uri, .application_name = "crash reader"};
    sb_read_all_t all = {.after_seq = reader->at, .limit = 2000};
    sb_code_t code = reader->store ? SB_OK : sb_store_open(&reader->store, &config, NULL);
    return code == SB_OK ? sb_store_read_all(reader->store, &all, keep, reader, NULL, NULL) : code;
}

/* The wrong reader, for the test to have teeth. */
static sb_code_t read_carelessly(reader_t *reader)
{
    sb_pg_config_t config = {.uri = reader->actor->uri, .application_name = "careless reader"};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_code_t code = SB_OK;
    if (!reader->pg)
        code = sb_pg_open(&reader->pg, &config, NULL);
    else if (!sb_pg_is_open(reader->pg))
        code = sb_pg_reopen(reader->pg, NULL);
    sb_pg_add_int8(&params, reader->at);
    if (code == SB_OK)
        code = sb_pg_query(reader->pg,
                           "SELECT seq, stream_no, version, data FROM sagabus.event WHERE seq > $1::bigint "
                           "ORDER BY seq LIMIT 2000",
                           &params, &rows, NULL);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        sb_event_t event = {.seq = sb_pg_get_int(rows, i, 0),
                            .stream_no = sb_pg_get_int(rows, i, 1),
                            .stream_version = (int)sb_pg_get_int(rows, i, 2),
                            .data = sb_pg_get_slice(rows, i, 3)};
        code = keep(reader, &event, NULL);
    }
    sb_pg_result_free(rows);
    return code;
}

static int run_reader(void *context)
{
    reader_t reader = {.actor = context};
    bool last = false;
    reader.log = open_log(reader.actor->dir, "reader", reader.actor->number, O_WRONLY | O_APPEND | O_CREAT);
    while (!last) {
        bool stop = atomic_load(&reader.actor->shared->stop_reading);
        int64_t before = reader.at;
        sb_code_t code = reader.actor->careless ? read_carelessly(&reader) : read_safe(&reader);
        last = stop && code == SB_OK && reader.at == before;
        sb_test_sleep_ms(code == SB_OK ? 1 : 20);
    }
    return 0;
}

void crash_start_reader(crash_actor_t *actor)
{
    sb_test_fork(&actor->process, run_reader, actor);
}

/* ---- the sequencer ---- */

static int run_sequencer(void *context)
{
    crash_actor_t *actor = context;
    char owner[32];
    sb_sequencer_t *sequencer = NULL;
    sb_progress_t progress;
    writer_t tellers[CRASH_TELLERS];
    pthread_t thread;
    sb_log_set_level(SB_LOG_ERROR); /* it stands still at each accident, and would say so many times */
    sb_progress_init(&progress);
    actor->lax = actor->lies;
    (void)snprintf(owner, sizeof owner, "crash-%d", (int)getpid());
    sb_sequencer_config_t config = {
        .pg_uri = actor->uri, .owner = owner, .progress = &progress, .overdue_ms = 500, .seal_ms = 200};
    if (sb_sequencer_open(&sequencer, &config, NULL) != SB_OK)
        return 1;
    /* Until the process is killed. One liar: of numbers that two drew by turns nothing is told. */
    for (int i = 0; i < (actor->lies ? 1 : CRASH_TELLERS); i++) {
        tellers[i] = (writer_t){.actor = actor,
                                .number = actor->number + i,
                                .progress = &progress,
                                .done = &actor->shared->teller_done[actor->slot][i]};
        if (pthread_create(&thread, NULL, run_thread, &tellers[i]) != 0)
            return 1;
    }
    sb_sequencer_run(sequencer);
    return 0;
}

void crash_start_sequencer(crash_actor_t *actor)
{
    for (int i = 0; i < CRASH_TELLERS; i++)
        atomic_store(&actor->shared->teller_done[actor->slot][i], actor->lies && i > 0);
    sb_test_fork(&actor->process, run_sequencer, actor);
}
