/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/replay.h"

#include "base/clock.h"
#include "tests/bench/raw.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define EVENTS      2000000
#define STREAMS     100000
#define LIVE_EVENTS 200000
#define LAG_S       10.0
#define LAG_RATE    5000

/* ---- history ---- */

int64_t story_stream(const story_t *story, int64_t number)
{
    return 1 + number * 7919 % story->streams;
}

const char *story_type(int64_t number)
{
    return number % 5 == 3 ? "order.confirmed" : number % 5 == 4 ? "order.cancelled" : "order.created";
}

int64_t story_amount(int64_t number)
{
    return number % 100000;
}

static void add_view(place_t *place, const char *name, const char *key, const char *type)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_printf(
        &sql,
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'view', '%s', 1, sha256(b), b "
        "FROM (SELECT convert_to('{\"view\":\"%s\",\"version\":1,\"tables\":[{\"name\":\"%s\",\"key\":{"
        "\"column\":\"id\",\"type\":\"%s\",\"from\":\"%s\"},\"columns\":[{\"name\":\"customer_id\",\"type\":"
        "\"text\"},{\"name\":\"amount\",\"type\":\"int8\",\"default\":0},{\"name\":\"orders\",\"type\":"
        "\"int8\",\"default\":0},{\"name\":\"last_at\",\"type\":\"timestamptz\"}],\"on\":{\"order.created\":{"
        "\"set\":{\"customer_id\":\"/customer_id\"},\"add\":{\"amount\":\"/amount\"},\"count\":[\"orders\"],"
        "\"max\":{\"last_at\":\"$time\"}},\"order.confirmed\":{\"add\":{\"amount\":\"/amount\"}},"
        "\"order.cancelled\":{\"sub\":{\"amount\":\"/amount\"}}}}]}', 'UTF8') AS b) x",
        name, name, name, type, key);
    place_script(place, sb_buf_text(&sql));
    sb_buf_fini(&sql);
}

void story_write(story_t *story, place_t *place, int64_t events, int64_t streams)
{
    sb_buf_t sql = SB_BUF_INIT;
    *story = (story_t){place, events, streams < events ? streams : events};
    bench_say("replay: writing %lld events of %lld streams", (long long)events, (long long)story->streams);
    sb_buf_printf(
        &sql,
        "INSERT INTO sagabus.stream (category, key) SELECT 'order', 'o-' || g FROM generate_series(1, "
        "%" PRId64 ") g;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT s, 1 + g / %" PRId64
        ", t.no[1 + g %% 5], 1, gen_random_uuid(), convert_to(rpad('{\"order_id\":\"o-' || s || "
        "'\",\"customer_id\":\"c-' || s %% 1000 || '\",\"amount\":' || g %% 100000 || ',\"currency\":\"EUR\","
        "\"reason\":\"changed\",\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":1999}],\"note\":\"', "
        "198, 'x') || '\"}', 'UTF8') FROM (SELECT g, 1 + g * 7919 %% %" PRId64
        " AS s FROM generate_series(0::bigint, %" PRId64 ") g) e, (SELECT ARRAY(SELECT (SELECT type_no FROM "
        "sagabus.event_type WHERE name = n AND version = 1) FROM unnest(ARRAY['order.created',"
        "'order.created','order.created','order.confirmed','order.cancelled']) n) AS no) t;"
        "UPDATE sagabus.lease SET cursor = (SELECT last_value FROM sagabus.event_seq) WHERE role = "
        "'sequencer'",
        story->streams, story->streams, story->streams, events - 1);
    place_script(place, sb_buf_text(&sql));
    place_script(place, "VACUUM ANALYZE sagabus.event");
    place_script(place, "VACUUM ANALYZE sagabus.stream");
    sb_buf_fini(&sql);
}

/* ---- rebuild ---- */

typedef struct rebuild {
    story_t *story;
    const char *view;
} rebuild_t;

static void run_rebuild(void *context, int round, double *values)
{
    const rebuild_t *rebuild = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_replay_report_t report;
    sb_catalog_t *catalog = NULL;
    (void)round;
    bench_ok(sb_catalog_new(&catalog, &err), &err, "make a catalog");
    sb_replay_config_t config = {.pg_uri = place_uri(rebuild->story->place),
                                 .owner = "bench",
                                 .catalog = catalog,
                                 .view = rebuild->view};
    int64_t start_us = sb_mono_us();
    bench_ok(sb_replay_run(&config, &report, &err), &err, "replay");
    values[0] = (double)report.events * 1e6 / (double)(sb_mono_us() - start_us);
    bench_say("replay of %s: %.2f s, of it %.2f s reading; %lld rows", rebuild->view, report.seconds,
              report.read_seconds, (long long)report.rows);
    if (report.events != rebuild->story->events)
        bench_die("replayed %lld events of %lld", (long long)report.events,
                  (long long)rebuild->story->events);
    sb_catalog_free(&catalog);
}

/* The same SELECT in one statement, discarded. */
static void run_copy(void *context, int round, double *values)
{
    const rebuild_t *rebuild = context;
    bool subject = strcmp(rebuild->view, STORY_STREAM) == 0;
    PGconn *conn = PQconnectdb(place_uri(rebuild->story->place));
    char *row = NULL;
    int64_t rows = 0; /* the file's header comes with the first one, its trailer alone */
    (void)round;
    PQclear(PQexec(conn, "SET statement_timeout = 0"));
    int64_t start_us = sb_mono_us();
    PGresult *result = PQexec(
        conn, subject ? "COPY (SELECT e.seq, e.at, e.type_no, s.key, e.data FROM sagabus.event e JOIN "
                        "sagabus.stream s ON s.stream_no = e.stream_no WHERE e.class = 1 AND e.type_no = "
                        "ANY (ARRAY(SELECT type_no FROM sagabus.event_type WHERE name LIKE 'order.%')) "
                        "ORDER BY e.seq) TO STDOUT (FORMAT BINARY)"
                      : "COPY (SELECT e.seq, e.at, e.type_no, e.data FROM sagabus.event e WHERE e.class = "
                        "1 AND e.type_no = ANY (ARRAY(SELECT type_no FROM sagabus.event_type WHERE name "
                        "LIKE 'order.%')) ORDER BY e.seq) TO STDOUT (FORMAT BINARY)");
    if (PQresultStatus(result) != PGRES_COPY_OUT)
        bench_die("COPY: %s", PQerrorMessage(conn));
    PQclear(result);
    for (; PQgetCopyData(conn, &row, 0) > 0; rows++)
        PQfreemem(row);
    while ((result = PQgetResult(conn)) != NULL)
        PQclear(result);
    values[0] = (double)(rows - 1) * 1e6 / (double)(sb_mono_us() - start_us);
    if (rows - 1 != rebuild->story->events)
        bench_die("copied %lld rows of %lld", (long long)rows - 1, (long long)rebuild->story->events);
    PQfinish(conn);
}

/* ---- memory ---- */

/* Peak memory in MB of `sagabus replay VIEW`, and its time. */
static double peak_mb(const place_t *place, const char *view, double *seconds)
{
    struct rusage usage;
    int status = 0;
    int64_t start_us = sb_mono_us();
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("SAGABUS_PG", place_uri(place), 1);
        execl(place->env->binary, place->env->binary, "replay", view, "--quiet", (char *)NULL);
        _exit(127);
    }
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0)
        bench_die("sagabus replay %s: status %d", view, status);
    *seconds = (double)(sb_mono_us() - start_us) / 1e6;
    return (double)usage.ru_maxrss * 1024 / 1e6;
}

static void measure_memory(const story_t *story, bench_results_t *results)
{
    static const bench_measure_t few = {"peak memory of a rebuild, 100,000 keys", "MB", NULL, 0, true};
    static const bench_measure_t many = {"peak memory of a rebuild, a key an event", "MB", NULL, 0, true};
    static const bench_measure_t rate = {"rate of a rebuild, a key an event", "events/s", NULL, 0, false};
    double seconds = 0;
    bench_add(results, "replay", &few, peak_mb(story->place, STORY_VIEW, &seconds));
    bench_add(results, "replay", &many, peak_mb(story->place, STORY_MANY, &seconds));
    bench_add(results, "replay", &rate, (double)story->events / seconds);
}

/* ---- the benchmark ---- */

static void compare_rebuilds(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t by_field[] = {{"whole rebuild, key from the body", "events/s",
                                                "COPY BINARY of the same SELECT, discarded", 0.8, false},
                                               {.name = NULL}};
    static const bench_measure_t by_stream[] = {{"whole rebuild, key of the stream", "events/s",
                                                 "COPY BINARY of the same SELECT, discarded", 0.8, false},
                                                {.name = NULL}};
    place_t place;
    story_t story;
    double warm[BENCH_VALUES_MAX];
    place_open(&place, env, "replay");
    add_view(&place, STORY_VIEW, "/order_id", "text");
    add_view(&place, STORY_MANY, "$seq", "int8");
    story_write(&story, &place, (int64_t)(EVENTS * env->scale), STREAMS);
    rebuild_t rebuilds[] = {{&story, STORY_VIEW}, {&story, STORY_STREAM}};
    const bench_pair_t pairs[] = {{"replay", by_field, run_rebuild, run_copy, &rebuilds[0]},
                                  {"replay", by_stream, run_rebuild, run_copy, &rebuilds[1]}};
    if (bench_wants(env, "rebuild")) {
        run_copy(&rebuilds[0], 0, warm);
        bench_compare(env, &pairs[0], results);
        bench_compare(env, &pairs[1], results);
    }
    if (bench_wants(env, "memory"))
        measure_memory(&story, results);
    place_close(&place);
}

static void compare_live(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {
        {"live projector, a backlog", "events/s", "the same upserts of the same rows by libpq", 0.5, false},
        {.name = NULL}};
    static const bench_measure_t p99 = {"live lag at 5,000 events/s, p99 (goal 250)", "ms", NULL, 0, true};
    static const bench_measure_t p50 = {"the same, p50", "ms", NULL, 0, true};
    static const bench_measure_t rate = {"rate that was reached", "events/s", NULL, 0, false};
    place_t place;
    double lag[3];
    live_t live = {.seconds = LAG_S * env->scale, .rate = LAG_RATE};
    place_open(&place, env, "live");
    place_script(&place, "DELETE FROM sagabus.artifact WHERE kind = 'view' AND name <> '" STORY_STREAM "'");
    story_write(&live.story, &place, (int64_t)(LIVE_EVENTS * env->scale), STREAMS);
    const bench_pair_t pair = {"replay", measures, live_project, live_upsert, &live};
    bench_compare(env, &pair, results);
    live_lag(&live, lag);
    bench_add(results, "replay", &p99, lag[0]);
    bench_add(results, "replay", &p50, lag[1]);
    bench_add(results, "replay", &rate, lag[2]);
    place_close(&place);
}

void bench_replay(const bench_env_t *env, bench_results_t *results)
{
    if (bench_wants(env, "rebuild") || bench_wants(env, "memory"))
        compare_rebuilds(env, results);
    if (bench_wants(env, "live"))
        compare_live(env, results);
}
