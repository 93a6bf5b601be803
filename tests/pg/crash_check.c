/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/crash_check.h"

#include "tests/support/assert.h"

#include <inttypes.h>
#include <stdlib.h>

/* ---- what was safe stays as it was ---- */

static crash_mark_t read_range(sb_pg_t *pg, int64_t after, int64_t to)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, after);
    sb_pg_add_int8(&params, to);
    assert_ok(
        sb_pg_query(pg,
                    "SELECT count(*), coalesce(sum(hashtextextended(format('%s %s %s %s %s', seq, stream_no, "
                    "version, id, encode(data, 'hex')), 0) % 1000000007), 0)::bigint FROM sagabus.event "
                    "WHERE seq > $1::bigint AND seq <= $2::bigint",
                    &params, &rows, &err),
        &err);
    crash_mark_t mark = {to, sb_pg_get_int(rows, 0, 0), sb_pg_get_int(rows, 0, 1)};
    sb_pg_result_free(rows);
    return mark;
}

static int64_t safe_before(const crash_history_t *history, int epoch)
{
    return epoch > 0 ? history->mark[epoch - 1].safe_seq : 0;
}

void crash_take_mark(crash_history_t *history, sb_pg_t *pg)
{
    int64_t before = safe_before(history, history->count);
    int64_t safe = sb_test_pg_int(pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'");
    assert_true(safe >= before);
    assert_true(history->count < CRASH_MARKS_MAX);
    history->mark[history->count++] = read_range(pg, before, safe);
}

static int changed_prefixes(sb_pg_t *pg, const crash_history_t *history)
{
    int faults = 0;
    for (int i = 0; i < history->count; i++) {
        const crash_mark_t *was = &history->mark[i];
        crash_mark_t is = read_range(pg, safe_before(history, i), was->safe_seq);
        if (is.count == was->count && is.sum == was->sum)
            continue;
        print_message("below safe_seq %" PRId64 " there were %" PRId64 " events, now %" PRId64
                      ", or others\n",
                      was->safe_seq, was->count, is.count);
        faults++;
    }
    return faults;
}

/* ---- what each append left ---- */

typedef struct found {
    crash_attempt_t attempt; /* the newest record of it */
    int events;              /* in the table */
    int first_version, last_version;
    int64_t first_seq, last_seq;
    bool disordered;
} found_t;

typedef struct writer_log {
    found_t *of; /* by attempt, from 1 */
    int count;
} writer_log_t;

static void read_writer(const char *dir, int number, writer_log_t *log)
{
    size_t count = 0;
    crash_attempt_t *records = crash_read_log(dir, "writer", number, sizeof *records, &count);
    log->of = calloc(count + 1, sizeof *log->of);
    assert_non_null(log->of);
    for (size_t i = 0; i < count; i++) { /* twice each; in order */
        int attempt = records[i].attempt;
        assert_in_range(attempt, 1, count);
        log->of[attempt].attempt = records[i];
        log->count = attempt;
    }
    free(records);
}

static void note_event(writer_log_t *logs, int writers, const crash_given_t *event, int stream)
{
    assert_in_range(event->writer, 0, writers - 1);
    assert_in_range(event->attempt, 1, logs[event->writer].count); /* nobody asked for it otherwise */
    found_t *found = &logs[event->writer].of[event->attempt];
    if (found->events == 0) {
        found->first_version = event->version;
        found->first_seq = event->seq;
    } else if (event->version != found->last_version + 1 || event->seq <= found->last_seq) {
        found->disordered = true;
    }
    found->disordered |= event->nth != found->events + 1 || event->count != found->attempt.count ||
                         stream != found->attempt.stream;
    found->events++;
    found->last_version = event->version;
    found->last_seq = event->seq;
}

static void read_events(sb_pg_t *pg, writer_log_t *logs, int writers)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    assert_ok(sb_pg_query(pg,
                          "SELECT e.seq, e.stream_no, e.version, e.data, substring(s.key FROM 3)::int FROM "
                          "sagabus.event e JOIN sagabus.stream s USING (stream_no) ORDER BY e.seq",
                          NULL, &rows, &err),
              &err);
    for (int i = 0; i < sb_pg_rows(rows); i++) {
        crash_given_t event = {.seq = sb_pg_get_int(rows, i, 0), .version = (int)sb_pg_get_int(rows, i, 2)};
        assert_true(crash_read_body(sb_pg_get_slice(rows, i, 3), &event));
        note_event(logs, writers, &event, (int)sb_pg_get_int(rows, i, 4));
    }
    sb_pg_result_free(rows);
}

static void complain(int *fault, const char *what, const found_t *found)
{
    const crash_attempt_t *a = &found->attempt;
    if (++*fault > 5)
        return;
    print_message("%s: writer %d attempt %d%s on s-%d: %d of %d events, versions %d to %d, seq %" PRId64
                  " to %" PRId64 "; told %s, outcome %d, version %d, seq %" PRId64 " to %" PRId64
                  ", epoch %d to %d\n",
                  what, a->writer, a->attempt, a->lax ? " (lax)" : "", a->stream, found->events, a->count,
                  found->first_version, found->last_version, found->first_seq, found->last_seq,
                  a->done ? sb_code_name(a->code) : "nothing", (int)a->result.outcome, a->result.version,
                  a->result.first_seq, a->result.last_seq, a->epoch_before, a->epoch_after);
}

static bool is_as_told(const found_t *found)
{
    const crash_attempt_t *a = &found->attempt;
    return found->events == a->count && found->last_version == a->result.version &&
           found->first_seq == a->result.first_seq && found->last_seq == a->result.last_seq &&
           (a->expect != SB_EXPECT_EXACT || found->first_version == a->expected_version + 1);
}

/* An acknowledged append without a wait for the disk may vanish in a crash, but not from below what was safe.
 */
static bool may_have_vanished(const found_t *found, const crash_history_t *history)
{
    const crash_attempt_t *a = &found->attempt;
    if (!a->lax || found->events > 0 || a->epoch_before >= history->count)
        return false;
    return a->epoch_before != a->epoch_after || a->result.last_seq > history->mark[a->epoch_before].safe_seq;
}

static void judge(const found_t *found, const crash_history_t *history, crash_faults_t *faults,
                  crash_writes_t *writes)
{
    const crash_attempt_t *a = &found->attempt;
    if (found->events > a->count)
        complain(&faults->twice, "twice", found);
    else if (found->events > 0 && (found->events < a->count || found->disordered))
        complain(&faults->half, "half", found);
    if (!a->done) {
        writes->unknown++;
        return;
    }
    bool appended = a->code == SB_OK && a->result.outcome != SB_APPEND_CONFLICT;
    bool conflict = a->code == SB_OK && a->result.outcome == SB_APPEND_CONFLICT;
    writes->acked += appended;
    writes->repeated += appended && a->result.outcome == SB_APPEND_REPEATED;
    writes->conflicts += conflict;
    if (appended && !is_as_told(found)) {
        if (may_have_vanished(found, history))
            writes->vanished++;
        else
            complain(&faults->lost, "lost", found);
    }
    if (a->code != SB_OK) {
        writes->unknown += a->unknown;
        writes->refused += !a->unknown;
    }
    if (found->events > 0 && (conflict || (a->code != SB_OK && !a->unknown)))
        complain(&faults->refused, "refused", found);
}

void crash_check_writes(sb_pg_t *pg, const char *dir, int writers, const crash_history_t *history,
                        crash_faults_t *faults, crash_writes_t *writes)
{
    writer_log_t *logs = calloc((size_t)writers, sizeof *logs);
    assert_non_null(logs);
    *faults = (crash_faults_t){0};
    *writes = (crash_writes_t){0};
    for (int i = 0; i < writers; i++)
        read_writer(dir, i, &logs[i]);
    read_events(pg, logs, writers);
    for (int i = 0; i < writers; i++) {
        for (int attempt = 1; attempt <= logs[i].count; attempt++)
            judge(&logs[i].of[attempt], history, faults, writes);
        free(logs[i].of);
    }
    free(logs);
    faults->prefixes = changed_prefixes(pg, history);
    faults->streams = (int)sb_test_pg_int(pg, "SELECT count(*) FROM (SELECT version, row_number() OVER w AS "
                                              "nth, seq, lag(seq) OVER w AS before FROM "
                                              "sagabus.event WINDOW w AS (PARTITION BY stream_no ORDER BY "
                                              "version)) x WHERE version <> nth OR seq <= "
                                              "before");
    faults->streams += (int)sb_test_pg_int(pg, "SELECT count(*) FROM sagabus.stream s LEFT JOIN (SELECT "
                                               "stream_no, max(version) v, min(seq) a, max(seq) b "
                                               "FROM sagabus.event GROUP BY 1) e USING (stream_no) WHERE "
                                               "(s.version, s.first_seq, s.last_seq) IS DISTINCT "
                                               "FROM (coalesce(e.v, 0), coalesce(e.a, 0), coalesce(e.b, 0))");
}

/* ---- what a reader was given ---- */

static int by_seq(const void *a, const void *b)
{
    const crash_given_t *left = a;
    const crash_given_t *right = b;
    return (left->seq > right->seq) - (left->seq < right->seq);
}

static bool same(const crash_given_t *a, const crash_given_t *b)
{
    return a->seq == b->seq && a->stream_no == b->stream_no && a->version == b->version &&
           a->writer == b->writer && a->attempt == b->attempt && a->nth == b->nth;
}

static crash_given_t *read_table(sb_pg_t *pg, int64_t to_seq, size_t *count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, to_seq);
    assert_ok(
        sb_pg_query(pg,
                    "SELECT seq, stream_no, version, data FROM sagabus.event WHERE seq <= $1::bigint ORDER "
                    "BY seq",
                    &params, &rows, &err),
        &err);
    *count = (size_t)sb_pg_rows(rows);
    crash_given_t *table = calloc(*count + 1, sizeof *table);
    assert_non_null(table);
    for (size_t i = 0; i < *count; i++) {
        int row = (int)i;
        table[i] = (crash_given_t){.seq = sb_pg_get_int(rows, row, 0),
                                   .stream_no = sb_pg_get_int(rows, row, 1),
                                   .version = (int)sb_pg_get_int(rows, row, 2)};
        assert_true(crash_read_body(sb_pg_get_slice(rows, row, 3), &table[i]));
    }
    sb_pg_result_free(rows);
    return table;
}

void crash_check_reading(sb_pg_t *pg, const char *dir, int reader, int64_t to_seq, crash_reading_t *out)
{
    size_t count = 0;
    crash_given_t *given = crash_read_log(dir, "reader", reader, sizeof *given, &out->given);
    crash_given_t *table = read_table(pg, to_seq, &count);
    *out = (crash_reading_t){.given = out->given};
    for (size_t i = 1; i < out->given; i++)
        out->disordered += given[i].seq <= given[i - 1].seq;
    qsort(given, out->given, sizeof *given, by_seq);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        bool met = false;
        for (; at < out->given && given[at].seq <= table[i].seq; at++) {
            bool is = same(&given[at], &table[i]);
            out->phantom += !is; /* given, and not there any more: or another one is in its place */
            out->repeated += is && met;
            met |= is;
        }
        out->skipped += !met;
    }
    out->phantom += out->given - at;
    free(given);
    free(table);
}
