/* Many appenders at once (several streams a transaction, pauses, savepoints, rollbacks, early transaction
 * ids, hot and new streams), a writer in another database of the cluster, and beside the sequencer readers
 * that follow rules which look right and are wrong. In the end what each was given is compared with what is
 * in the table. The wrong rules must be caught within a minute, or this test has no teeth; the sequencer,
 * whose connection is ended again and again, must give everything, once, in order of each stream.
 *
 * Ten seconds; SB_TEST_LONG=1: ten minutes. SB_TEST_SEED repeats a run's random choices, though not the
 * scheduler's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/sequencer.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define APPENDERS   12
#define HOT_STREAMS 40
#define CAUGHT_MS   60000
#define ROUNDS_MAX  5 /* of the short form: V3 goes wrong rarely */

static char uri[SB_TEST_URI];
static char foreign_uri[SB_TEST_URI];
static int64_t start_ms;
static _Atomic bool appending;
static _Atomic bool reading;

static sb_pg_t *connect_as(const char *name)
{
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = uri, .application_name = name};
    return sb_pg_open(&pg, &config, NULL) == SB_OK ? pg : NULL;
}

/* ---- appenders ---- */

typedef struct appender {
    pthread_t thread;
    unsigned seed;
    int number;
    int commits, failures;
} appender_t;

static int random_below(appender_t *appender, int limit)
{
    return rand_r(&appender->seed) % limit;
}

static void add_pause(appender_t *appender, sb_buf_t *sql)
{
    int kind = random_below(appender, 40);
    if (kind == 0)
        sb_buf_add_text(sql, "SELECT pg_sleep(0.03);");
    else if (kind < 14)
        sb_buf_printf(sql, "SELECT pg_sleep(0.00%d);", random_below(appender, 6));
}

static void add_append(appender_t *appender, sb_buf_t *sql)
{
    char key[32];
    int count = 1 + random_below(appender, 3);
    if (random_below(appender, 8) == 0)
        (void)snprintf(key, sizeof key, "new-%d-%u", appender->number, appender->seed);
    else
        (void)snprintf(key, sizeof key, "hot-%d", random_below(appender, HOT_STREAMS));
    sb_buf_printf(
        sql,
        "SELECT sagabus.event_append('order', '%s', 0, 0, NULL, NULL, ARRAY(SELECT gen_random_uuid() FROM "
        "generate_series(1, %d)), array_fill(1, ARRAY[%d]), array_fill(NULL::timestamptz, ARRAY[%d]), "
        "array_fill(NULL::bytea, ARRAY[%d]), array_fill('{}'::bytea, ARRAY[%d]));",
        key, count, count, count, count, count);
}

static bool write_transaction(appender_t *appender, sb_buf_t *sql)
{
    sb_buf_reset(sql);
    sb_buf_add_text(sql, "BEGIN;");
    if (random_below(appender, 3) == 0) { /* a transaction id long before the first event */
        sb_buf_add_text(sql, "INSERT INTO public.noise VALUES (1);");
        add_pause(appender, sql);
    }
    for (int i = 1 + random_below(appender, 3); i > 0; i--) {
        bool undone = random_below(appender, 10) == 0;
        sb_buf_add_text(sql, undone ? "SAVEPOINT here;" : "");
        add_append(appender, sql);
        add_pause(appender, sql);
        sb_buf_add_text(sql, undone ? "ROLLBACK TO here;" : "");
    }
    bool commit = random_below(appender, 10) > 0;
    sb_buf_add_text(sql, commit ? "COMMIT" : "ROLLBACK");
    return commit;
}

static void *run_appender(void *context)
{
    appender_t *appender = context;
    sb_buf_t sql = SB_BUF_INIT;
    sb_pg_t *pg = connect_as("stress appender");
    if (pg && sb_pg_script(pg, "SET deadlock_timeout = '20ms'", NULL) != SB_OK)
        sb_pg_close(&pg);
    while (pg && atomic_load(&appending)) {
        bool commit = write_transaction(appender, &sql);
        if (sb_pg_script(pg, sb_buf_text(&sql), NULL) != SB_OK) { /* a deadlock: two streams in two orders */
            appender->failures++;
            sb_pg_rollback(pg);
        } else {
            appender->commits += commit;
        }
    }
    sb_pg_close(&pg);
    sb_buf_fini(&sql);
    return NULL;
}

/* Transactions elsewhere in the cluster: to a rule that looks at transaction ids they look like appenders. */
static void *run_foreigner(void *context)
{
    appender_t *foreigner = context;
    sb_buf_t sql = SB_BUF_INIT;
    sb_pg_t *pg = NULL;
    sb_pg_config_t config = {.uri = foreign_uri, .application_name = "stress foreigner"};
    if (sb_pg_open(&pg, &config, NULL) != SB_OK ||
        sb_pg_script(pg, "CREATE TABLE noise (a int)", NULL) != SB_OK)
        foreigner->failures++;
    while (pg && foreigner->failures == 0 && atomic_load(&appending)) {
        sb_buf_reset(&sql);
        sb_buf_printf(&sql,
                      "BEGIN; INSERT INTO noise VALUES (1); SELECT pg_sleep(0.0%02d); COMMIT; SELECT "
                      "pg_sleep(0.0%02d)",
                      random_below(foreigner, 40), random_below(foreigner, 60));
        foreigner->failures += sb_pg_script(pg, sb_buf_text(&sql), NULL) != SB_OK;
        foreigner->commits++;
    }
    sb_pg_close(&pg);
    sb_buf_fini(&sql);
    return NULL;
}

/* ---- readers ---- */

typedef struct given {
    int64_t seq, stream_no;
    int version;
    int at_ms; /* since the start */
} given_t;

typedef struct reader {
    const char *name;
    bool (*poll)(struct reader *reader);
    pthread_t thread;
    sb_pg_t *pg;
    int64_t seq, transaction; /* the position */
    given_t *given;
    size_t count, cap;
} reader_t;

static void keep(reader_t *reader, const sb_pg_result_t *rows)
{
    int at_ms = (int)(sb_test_mono_ms() - start_ms);
    for (int i = 0; i < sb_pg_rows(rows); i++) {
        if (reader->count == reader->cap) {
            reader->cap = reader->cap * 2 + 1024;
            reader->given = realloc(reader->given, reader->cap * sizeof *reader->given);
            assert_non_null(reader->given);
        }
        reader->given[reader->count++] = (given_t){sb_pg_get_int(rows, i, 0), sb_pg_get_int(rows, i, 1),
                                                   (int)sb_pg_get_int(rows, i, 2), at_ms};
    }
}

/* Runs a statement with the position (and to) as its parameters, keeps the rows, moves on. */
static bool take(reader_t *reader, const char *sql, const int64_t *second)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, reader->seq);
    if (second)
        sb_pg_add_int8(&params, *second);
    if (sb_pg_query(reader->pg, sql, &params, &rows, NULL) != SB_OK)
        return false;
    int count = sb_pg_rows(rows);
    keep(reader, rows);
    if (count > 0) {
        reader->seq = sb_pg_get_int(rows, count - 1, 0);
        reader->transaction = sb_pg_get_int(rows, count - 1, 3);
    }
    sb_pg_result_free(rows);
    return true;
}

static int64_t number(reader_t *reader, const char *sql)
{
    sb_pg_result_t *rows = NULL;
    int64_t value = -1;
    if (sb_pg_query(reader->pg, sql, NULL, &rows, NULL) == SB_OK && sb_pg_rows(rows) == 1)
        value = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return value;
}

#define COLUMNS "SELECT seq, stream_no, version, tx::text::bigint FROM sagabus.event "

/* V0: everything above the last one seen. */
static bool poll_v0(reader_t *reader)
{
    return take(reader, COLUMNS "WHERE seq > $1::bigint ORDER BY seq", NULL);
}

/* V1: the same, of transactions older than all that run. */
static bool poll_v1(reader_t *reader)
{
    return take(
        reader,
        COLUMNS "WHERE seq > $1::bigint AND tx < pg_snapshot_xmin(pg_current_snapshot()) ORDER BY seq", NULL);
}

/* V2: in order of transaction ids. */
static bool poll_v2(reader_t *reader)
{
    return take(reader,
                COLUMNS "WHERE (tx, seq) > ($2::bigint::text::xid8, $1::bigint) AND tx < "
                        "pg_snapshot_xmin(pg_current_snapshot()) ORDER BY tx, seq",
                &reader->transaction);
}

#define LAST "SELECT last_value FROM sagabus.event_seq"

/* V3: what was drawn, once every transaction is over that was running then, as far as xmax tells. */
static bool poll_v3(reader_t *reader)
{
    int64_t last = number(reader, LAST);
    int64_t xmax = number(reader, "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint");
    int64_t xmin = 0;
    while (last >= 0 && xmin >= 0 && xmin < xmax && atomic_load(&reading))
        xmin = number(reader, "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint");
    if (!atomic_load(&reading))
        last = number(reader, LAST);
    return last >= 0 &&
           take(reader, COLUMNS "WHERE seq > $1::bigint AND seq <= $2::bigint ORDER BY seq", &last);
}

/* A run that is not held to begin where the reader is: a hole in front is taken for a rollback. */
static bool poll_run(reader_t *reader)
{
    return take(
        reader,
        "SELECT seq, stream_no, version, tx FROM (SELECT seq, stream_no, version, tx::text::bigint AS tx, "
        "row_number() OVER (ORDER BY seq) AS nth, min(seq) OVER () AS first FROM (SELECT * FROM "
        "sagabus.event WHERE seq > $1::bigint ORDER BY seq LIMIT 100) e) n WHERE seq = first + nth - 1 "
        "ORDER BY seq",
        NULL);
}

/* The sequencer's: the run from where it is, and V5. */
static bool poll_v5(reader_t *reader)
{
    int64_t safe = number(reader, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'");
    return safe >= 0 &&
           take(reader, COLUMNS "WHERE seq > $1::bigint AND seq <= $2::bigint ORDER BY seq", &safe);
}

static void *run_reader(void *context)
{
    reader_t *reader = context;
    reader->pg = connect_as(reader->name);
    while (reader->pg && atomic_load(&reading) && reader->poll(reader))
        sb_test_sleep_ms(1);
    if (reader->pg) /* nobody writes any more: what is given now may be anything the rule still gives */
        (void)reader->poll(reader);
    sb_pg_close(&reader->pg);
    return NULL;
}

/* ---- what came of it ---- */

typedef struct verdict {
    size_t skipped, repeated, disordered;
    int skipped_ms, disordered_ms; /* when that was first plain to see; -1: never */
} verdict_t;

static int by_seq(const void *a, const void *b)
{
    const given_t *left = a;
    const given_t *right = b;
    return (left->seq > right->seq) - (left->seq < right->seq);
}

static void count_disordered(const reader_t *reader, int64_t stream_max, verdict_t *verdict)
{
    int *versions = calloc((size_t)stream_max + 1, sizeof *versions);
    assert_non_null(versions);
    for (size_t i = 0; i < reader->count; i++) {
        int *last = &versions[reader->given[i].stream_no];
        if (reader->given[i].version < *last && verdict->disordered++ == 0)
            verdict->disordered_ms = reader->given[i].at_ms;
        *last = reader->given[i].version;
    }
    free(versions);
}

/* An event that was not given was skipped when one above it was. */
static void count_skipped(const reader_t *reader, size_t at, verdict_t *verdict)
{
    int at_ms = at < reader->count ? reader->given[at].at_ms : (int)(sb_test_mono_ms() - start_ms);
    if (verdict->skipped++ == 0 || at_ms < verdict->skipped_ms)
        verdict->skipped_ms = at_ms;
}

static verdict_t judge(reader_t *reader, const given_t *table, size_t count, int64_t stream_max)
{
    verdict_t verdict = {0, 0, 0, -1, -1};
    count_disordered(reader, stream_max, &verdict);
    qsort(reader->given, reader->count, sizeof *reader->given, by_seq);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t start = at;
        while (at < reader->count && reader->given[at].seq == table[i].seq)
            at++;
        if (at == start)
            count_skipped(reader, at, &verdict);
        verdict.repeated += at > start + 1;
    }
    assert_int_equal(at, reader->count); /* nothing was given that is not in the table */
    print_message(
        "%-4s given %zu of %zu, skipped %zu (first seen after %d ms), repeated %zu, out of order %zu "
        "(%d ms)\n",
        reader->name, reader->count, count, verdict.skipped, verdict.skipped_ms, verdict.repeated,
        verdict.disordered, verdict.disordered_ms);
    return verdict;
}

/* ---- sequencers, and who disturbs them ---- */

typedef struct runner {
    pthread_t thread;
    sb_sequencer_t *sequencer;
} runner_t;

static void *run_sequencer(void *context)
{
    sb_sequencer_run(((runner_t *)context)->sequencer);
    return NULL;
}

static void start_sequencer(runner_t *runner, const char *owner)
{
    sb_sequencer_config_t config = {.pg_uri = uri, .owner = owner, .overdue_ms = 2000};
    assert_int_equal(sb_sequencer_open(&runner->sequencer, &config, NULL), SB_OK);
    assert_int_equal(pthread_create(&runner->thread, NULL, run_sequencer, runner), 0);
}

static void stop_sequencer(runner_t *runner)
{
    sb_sequencer_stop(runner->sequencer);
    assert_int_equal(pthread_join(runner->thread, NULL), 0);
    sb_sequencer_close(&runner->sequencer);
}

static void disturb(sb_pg_t *pg, int64_t duration_ms)
{
    int64_t until = sb_test_mono_ms() + duration_ms;
    while (sb_test_mono_ms() < until) {
        sb_test_sleep_ms(700);
        sb_test_pg_script(pg,
                          "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
                          "'sagabus sequencer' AND datname = current_database()");
    }
}

/* ---- the whole ---- */

static void prepare(sb_pg_t *pg)
{
    /* The wrong rules need the transaction's id beside the event. */
    sb_test_pg_script(pg, "CREATE TABLE public.noise (a int);"
                          "ALTER TABLE sagabus.event ADD tx xid8 NOT NULL DEFAULT pg_current_xact_id();"
                          "CREATE INDEX ON sagabus.event (tx, seq)");
}

static given_t *read_table(sb_pg_t *pg, size_t *count, int64_t *stream_max)
{
    reader_t all = {.name = "all", .pg = pg, .poll = poll_v0};
    assert_true(poll_v0(&all));
    *count = all.count;
    for (size_t i = 0; i < all.count; i++)
        if (all.given[i].stream_no > *stream_max)
            *stream_max = all.given[i].stream_no;
    return all.given;
}

static int64_t duration(void)
{
    const char *text = getenv("SB_TEST_LONG");
    return text && text[0] && strcmp(text, "0") != 0 ? 600000 : 10000;
}

static unsigned seed(void)
{
    const char *text = getenv("SB_TEST_SEED");
    unsigned value = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("SB_TEST_SEED=%u\n", value);
    return value;
}

typedef enum rule { V0, V1, V2, V3, RUN, V5, RULES } rule_t;

static void start_all(reader_t *readers, appender_t *appenders, appender_t *foreigner, unsigned first_seed)
{
    start_ms = sb_test_mono_ms();
    atomic_store(&appending, true);
    atomic_store(&reading, true);
    for (int i = 0; i < RULES; i++)
        assert_int_equal(pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]), 0);
    for (int i = 0; i < APPENDERS; i++) {
        appenders[i] = (appender_t){.seed = first_seed + (unsigned)i, .number = i};
        assert_int_equal(pthread_create(&appenders[i].thread, NULL, run_appender, &appenders[i]), 0);
    }
    *foreigner = (appender_t){.seed = first_seed + APPENDERS};
    assert_int_equal(pthread_create(&foreigner->thread, NULL, run_foreigner, foreigner), 0);
}

static void end_appenders(appender_t *appenders, appender_t *foreigner)
{
    int commits = 0;
    int failures = 0;
    atomic_store(&appending, false);
    for (int i = 0; i < APPENDERS; i++) {
        assert_int_equal(pthread_join(appenders[i].thread, NULL), 0);
        commits += appenders[i].commits;
        failures += appenders[i].failures;
    }
    assert_int_equal(pthread_join(foreigner->thread, NULL), 0);
    assert_int_equal(foreigner->failures, 0);
    print_message("%d commits, %d failed transactions, %d in another database\n", commits, failures,
                  foreigner->commits);
}

static void end_readers(reader_t *readers, sb_pg_t *pg)
{
    assert_soon(
        sb_test_pg_int(pg, "SELECT (l.cursor = s.last_value)::int FROM sagabus.lease l, sagabus.event_seq s "
                           "WHERE l.role = 'sequencer'") == 1,
        10000);
    atomic_store(&reading, false);
    for (int i = 0; i < RULES; i++)
        assert_int_equal(pthread_join(readers[i].thread, NULL), 0);
}

static void run_round(unsigned first_seed, verdict_t verdicts[RULES])
{
    sb_pg_t *pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    reader_t readers[RULES] = {{.name = "V0", .poll = poll_v0},   {.name = "V1", .poll = poll_v1},
                               {.name = "V2", .poll = poll_v2},   {.name = "V3", .poll = poll_v3},
                               {.name = "run", .poll = poll_run}, {.name = "V5", .poll = poll_v5}};
    appender_t appenders[APPENDERS];
    appender_t foreigner;
    runner_t sequencers[2];
    prepare(pg);
    (void)sb_test_pg_empty(foreign_uri);
    start_sequencer(&sequencers[0], "one");
    start_sequencer(&sequencers[1], "two");
    start_all(readers, appenders, &foreigner, first_seed);
    disturb(pg, duration());
    end_appenders(appenders, &foreigner);
    end_readers(readers, pg);
    stop_sequencer(&sequencers[0]);
    stop_sequencer(&sequencers[1]);

    size_t count = 0;
    int64_t stream_max = 0;
    given_t *table = read_table(pg, &count, &stream_max);
    for (int i = 0; i < RULES; i++) {
        verdicts[i] = judge(&readers[i], table, count, stream_max);
        free(readers[i].given);
    }
    free(table);
    sb_pg_close(&pg);
    assert_true(count > 500);
}

static bool in_time(int at_ms)
{
    return at_ms >= 0 && at_ms <= CAUGHT_MS;
}

static void nothing_is_skipped_and_wrong_rules_are_caught(void **state)
{
    (void)state;
    unsigned first_seed = seed();
    bool caught[RULES] = {false};
    int rounds = duration() > CAUGHT_MS ? 1 : ROUNDS_MAX;
    for (int i = 0; i < rounds && !(caught[V0] && caught[V1] && caught[V2] && caught[V3] && caught[RUN]);
         i++) {
        verdict_t verdicts[RULES];
        run_round(first_seed + (unsigned)i * 100, verdicts);
        caught[V0] |= in_time(verdicts[V0].skipped_ms);
        caught[V1] |= in_time(verdicts[V1].skipped_ms);
        caught[V2] |= in_time(verdicts[V2].disordered_ms);
        caught[V3] |= in_time(verdicts[V3].skipped_ms) || in_time(verdicts[V3].disordered_ms);
        caught[RUN] |= in_time(verdicts[RUN].skipped_ms);
        assert_int_equal(verdicts[V5].skipped, 0);
        assert_int_equal(verdicts[V5].repeated, 0);
        assert_int_equal(verdicts[V5].disordered, 0);
    }
    assert_true(caught[V0]);
    assert_true(caught[V1]);
    assert_true(caught[V2]);
    assert_true(caught[V3]);
    assert_true(caught[RUN]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_skipped_and_wrong_rules_are_caught)};
    return cmocka_run_group_tests_name("sequencer_stress", tests, sb_test_pg_start, sb_test_pg_stop);
}
