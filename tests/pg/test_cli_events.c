/* Events by the command line: files of them, and following what comes, through the binary.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"
#include "tests/support/pg_server.h"
#include "tests/support/port.h"
#include "tests/support/process.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARGUMENTS 20

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    char file[64];
    char env_pg[SB_TEST_URI + 32], env_listen[64], env_server[64];
    const char *environment[6];
    sb_error_t err;
} fixture_t;

static const char schemas[] = "SAGABUS_SCHEMAS_DIR=" SB_TEST_SOURCE_DIR "/schemas";

static fixture_t fixture;

static int setup(void **state)
{
    fixture_t *f = &fixture;
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    int port = sb_test_port();
    *f = (fixture_t){.pg = NULL};
    f->pg = sb_test_pg_open(sb_test_pg_fresh(f->uri));
    assert_ok(sb_catalog_new(&catalog, &f->err), &f->err);
    assert_ok(sb_catalog_apply(catalog, f->pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &f->err),
              &f->err);
    sb_catalog_free(&catalog);
    (void)snprintf(f->env_pg, sizeof f->env_pg, "SAGABUS_PG_URI=%s", f->uri);
    (void)snprintf(f->env_listen, sizeof f->env_listen, "SAGABUS_HTTP_LISTEN=127.0.0.1:%d", port);
    (void)snprintf(f->env_server, sizeof f->env_server, "SAGABUS_SERVER_URL=http://127.0.0.1:%d", port);
    const char *environment[] = {
        f->env_pg, f->env_listen, f->env_server, "SAGABUS_KAFKA_BOOTSTRAP=127.0.0.1:1", schemas, NULL};
    memcpy(f->environment, environment, sizeof environment);
    (void)snprintf(f->file, sizeof f->file, "/tmp/sagabus-events-%d.jsonl", (int)getpid());
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    (void)unlink(f->file);
    sb_pg_close(&f->pg);
    return 0;
}

/* Starts sagabus with these words (ended by NULL). */
static void spawn(fixture_t *f, sb_test_process_t *process, const char *const *words)
{
    const char *argv[ARGUMENTS + 2] = {SB_SAGABUS};
    for (int i = 0; words[i]; i++)
        argv[i + 1] = words[i];
    sb_test_spawn(process, argv, f->environment, NULL);
}

static int run(fixture_t *f, char **said, const char *const *words)
{
    sb_test_process_t process;
    spawn(f, &process, words);
    assert_true(sb_test_wait(&process, 60000));
    *said = sb_test_output(&process);
    sb_test_process_end(&process);
    return process.exit_code;
}

/* Runs it to its end; it must end with this code and say this. */
static void assert_says(fixture_t *f, int exit_code, const char *text, const char *const *words)
{
    char *said = NULL;
    int code = run(f, &said, words);
    if (code != exit_code)
        print_error("ended with %d and said:\n%s\n", code, said);
    assert_int_equal(code, exit_code);
    assert_contains(said, text);
    free(said);
}

#define SAYS(f, exit_code, text, ...)                                                                        \
    assert_says(f, exit_code, text, (const char *const[]){__VA_ARGS__, NULL})

static int64_t events(const fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event");
}

/* ---- a file ---- */

static void write_lines(const fixture_t *f, const char *mode, int from, int to)
{
    FILE *file = fopen(f->file, mode);
    assert_non_null(file);
    for (int i = from; i < to; i++)
        (void)fprintf(
            file,
            "{\"type\": \"order.confirmed\", \"subject\": \"o-%d\", \"data\": {\"order_id\": \"o\", "
            "\"customer_id\": \"c-%d\"}}\n",
            i % 7, i);
    assert_int_equal(fclose(file), 0);
}

static void add_line(const fixture_t *f, const char *line)
{
    FILE *file = fopen(f->file, "a");
    assert_non_null(file);
    (void)fprintf(file, "%s\n", line);
    assert_int_equal(fclose(file), 0);
}

static void a_file_is_appended_once_in_its_order(void **state)
{
    fixture_t *f = *state;
    write_lines(f, "w", 0, 1200);
    add_line(f, ""); /* nothing */
    add_line(f,
             "{\"specversion\":\"1.0\",\"id\":\"0190163d-8694-739b-aea5-966c26f8ad91\",\"type\":\"order."
             "confirmed\","
             "\"source\":\"/old\",\"subject\":\"k\\u00e4\",\"time\":\"2020-01-02T03:04:05Z\",\"dataschema\":"
             "\"order.confirmed.v1\",\"correlationid\":\"co\",\"seq\":7,\"version\":3,\"data\":"
             "{\"order_id\":\"o\",\"customer_id\":\"c\"}}");
    SAYS(f, 0, "1201", "event", "append", "--file", f->file, "--dry-run");
    assert_int_equal(events(f), 0);
    SAYS(f, 0, "\"appended\":1201", "event", "append", "--file", f->file, "-o", "jsonl");
    assert_int_equal(events(f), 1201);
    SAYS(f, 0, "\"repeated\":1201", "event", "append", "--file", f->file, "-o", "jsonl");
    assert_int_equal(events(f), 1201);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM (SELECT seq, row_number() OVER (ORDER BY seq) - 1 n, "
                              "convert_from(data, 'UTF8')::json->>'customer_id' c FROM sagabus.event) e "
                              "WHERE c = 'c-' || n"),
        1200);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event e JOIN sagabus.stream s USING (stream_no) "
                              "WHERE key = E'k\\u00e4' AND e.version = 1 AND at = '2020-01-02T03:04:05Z' "
                              "AND id = '0190163d-8694-739b-aea5-966c26f8ad91'"),
        1);
    /* The file as another batch is appended again; one that has grown is not taken for another one. */
    SAYS(f, 0, "\"appended\":1201", "event", "append", "--file", f->file, "--batch-id", "once more", "-o",
         "jsonl");
    write_lines(f, "a", 0, 1);
    SAYS(f, 6, "lines 1001 to 1203 were appended before with other content", "event", "append", "--file",
         f->file);
    assert_int_equal(events(f), 2402);
}

static void a_run_that_was_killed_is_continued(void **state)
{
    fixture_t *f = *state;
    write_lines(f, "w", 0, 3000);
    for (int kill = 1; kill <= 3; kill++) {
        sb_test_process_t process;
        int64_t before = events(f);
        spawn(f, &process,
              (const char *const[]){"event", "append", "--file", f->file, "--chunk", "10", NULL});
        assert_soon(events(f) > before || process.pid == 0, 20000);
        sb_test_signal(&process, kill == 3 ? SIGINT : SIGKILL);
        assert_true(sb_test_wait(&process, 60000));
        assert_true(process.exit_code == (kill == 3 ? 130 : 128 + SIGKILL) || process.exit_code == 0);
        sb_test_process_end(&process);
    }
    SAYS(f, 0, "\"batch\"", "event", "append", "--file", f->file, "--chunk", "10", "-o", "jsonl");
    assert_int_equal(events(f), 3000);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(DISTINCT convert_from(data, 'UTF8')) FROM sagabus.event"), 3000);
}

static void a_bad_line_is_named(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *line, *says;
    } cases[] = {
        {"{\"type\":\"order.confirmed\",\"subject\":\"o\",\"data\":{\"order_id\":7,\"customer_id\":\"c\"}}",
         ":41: /data/order_id"},
        {"{\"type\":\"order.confirmed\",\"subject\":\"o\"}", ":41: /data: is missing"},
        {"{\"type\":\"order.confirmed\",\"data\":{}}", ":41: /subject: is missing"},
        {"{\"type\":\"no.such\",\"subject\":\"o\",\"data\":{}}", ":41: /type"},
        {"{\"type\":\"order.confirmed\",\"subject\":\"o\",\"data\":{}", ":41: not JSON"},
        {"{\"type\":\"order.confirmed\",\"subject\":\"o\",\"dat\":{}}", "member \"dat\" is not known"},
        {"{\"type\":\"order.confirmed\",\"subject\":\"o\",\"time\":\"noon\",\"data\":{}}", ":41: /time"},
        {"[1]", ":41: an event is a JSON object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_lines(f, "w", 0, 40);
        add_line(f, cases[i].line);
        SAYS(f, 1, cases[i].says, "event", "append", "--file", f->file, "--dry-run");
    }
    assert_int_equal(events(f), 0);
    SAYS(f, 1, "40 events before line 41 are appended", "event", "append", "--file", f->file, "--chunk",
         "20");
    assert_int_equal(events(f), 40);
    write_lines(f, "w", 0, 45); /* mended */
    SAYS(f, 0, "\"appended\":5,\"", "event", "append", "--file", f->file, "--chunk", "20", "-o", "jsonl");
    assert_int_equal(events(f), 45);
    SAYS(f, 5, "No such file", "event", "append", "--file", "/no/such/file");
    SAYS(f, 1, "goes with --file", "event", "append", "order.confirmed", "--dry-run");
    SAYS(f, 1, "give one of them", "event", "append", "order.confirmed", "--file", f->file);
}

/* ---- following ---- */

static void start_serve(fixture_t *f, sb_test_process_t *serve)
{
    spawn(f, serve, (const char *const[]){"serve", NULL});
    char *said = NULL;
    for (int i = 0; i < 200; i++) {
        int code = run(f, &said, (const char *const[]){"event", "read", NULL});
        free(said);
        if (code == 0)
            return;
        sb_test_sleep_ms(50);
    }
    fail_msg("serve does not answer");
}

static void stop_serve(sb_test_process_t *serve)
{
    sb_test_signal(serve, SIGTERM);
    assert_true(sb_test_wait(serve, 60000));
    sb_test_process_end(serve);
}

static int lines_of(const sb_test_process_t *process, const char *with)
{
    char *text = sb_test_output(process);
    int count = 0;
    for (const char *at = text; (at = strstr(at, with)) != NULL; at++)
        count++;
    free(text);
    return count;
}

/* Every event once, in order: the last number of each line is its place. */
static void assert_each_once(const sb_test_process_t *process, int count)
{
    char *text = sb_test_output(process);
    const char *at = text;
    for (int i = 0; i < count; i++) {
        char want[32];
        (void)snprintf(want, sizeof want, "\"c-%d\"", i);
        at = strstr(at, "\"customer_id\"");
        assert_non_null(at);
        const char *here = strstr(at, want);
        if (!here || here - at > 20)
            fail_msg("%s is not next, but %.40s", want, at);
        at += 5;
    }
    assert_null(strstr(at, "\"customer_id\""));
    free(text);
}

static void a_follower_misses_nothing_and_ends_cleanly(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t serve, all, stream, other;
    write_lines(f, "w", 0, 700);
    SAYS(f, 0, "700", "event", "append", "--file", f->file);
    start_serve(f, &serve);
    spawn(f, &all,
          (const char *const[]){"event", "read", "--all", "--follow", "--types", "order.con*", NULL});
    spawn(f, &stream, (const char *const[]){"event", "read", "order/o-1", "--follow", NULL});
    spawn(f, &other, (const char *const[]){"event", "read", "--follow", "--types", "payment.*", NULL});
    assert_soon(lines_of(&all, "\"c-699\"") == 1, 20000);
    assert_soon(lines_of(&stream, "\"o-1\"") == 100, 20000);

    stop_serve(&serve); /* they wait for it */
    write_lines(f, "w", 700, 1400);
    SAYS(f, 0, "700", "event", "append", "--file", f->file);
    start_serve(f, &serve);
    assert_soon(lines_of(&all, "\"c-1399\"") == 1, 20000);
    write_lines(f, "w", 1400, 1410);
    SAYS(f, 0, "10", "event", "append", "--file", f->file, "--chunk", "1");
    assert_soon(lines_of(&all, "\"c-1409\"") == 1, 20000);
    assert_soon(lines_of(&stream, "\"subject\":\"o-1\"") == 1410 / 7 + 1, 20000);

    sb_test_process_t *const followers[] = {&all, &stream, &other};
    for (int i = 0; i < 3; i++)
        sb_test_signal(followers[i], SIGINT);
    for (int i = 0; i < 3; i++) {
        assert_true(sb_test_wait(followers[i], 60000));
        assert_int_equal(followers[i]->exit_code, 130);
    }
    assert_each_once(&all, 1410);
    assert_int_equal(lines_of(&other, "\"subject\""), 0);
    for (int i = 0; i < 3; i++)
        sb_test_process_end(followers[i]);
    SAYS(f, 0, "\"c-1409\"", "event", "read", "--since", "2020-01-01T00:00:00Z", "-n", "2000", "-o", "jsonl");
    SAYS(f, 0, "[]", "event", "read", "--since", "2999-01-01T00:00:00Z", "-o", "json");
    SAYS(f, 1, "--since yesterday", "event", "read", "--since", "yesterday");
    SAYS(f, 1, "goes with one stream", "event", "read", "--from", "2");
    SAYS(f, 1, "goes with all events", "event", "read", "order/o-1", "--since", "2999-01-01T00:00:00Z");
    sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET first_version = 3 WHERE key = 'o-1'");
    SAYS(f, 5, "the first one is 3", "event", "read", "order/o-1", "--from", "2");
    stop_serve(&serve);
}

/* seq of each line, or 0 behind the last one. */
static int64_t seq_of_line(const char *text, int line)
{
    for (; text && line > 0; line--)
        text = strchr(text, '\n') ? strchr(text, '\n') + 1 : NULL;
    const char *seq = text ? strstr(text, "\"seq\":") : NULL;
    return seq ? strtoll(seq + 6, NULL, 10) : 0;
}

static void assert_seqs(fixture_t *f, int64_t first, int count, const char *const *words)
{
    char *said = NULL;
    assert_int_equal(run(f, &said, words), 0);
    for (int i = 0; i < count; i++)
        assert_int_equal(seq_of_line(said, i), first - i);
    assert_int_equal(seq_of_line(said, count), 0);
    free(said);
}

#define BACKWARD "event", "read", "--all", "--backward", "-o", "jsonl"

/* Newest first over several pages; and where the early events were detached, who asks for them is told where
 * the store begins, whether it waits for more or not, instead of being shown the rest as if it were all. */
static void what_is_gone_is_said_and_the_rest_is_read(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t serve, follower;
    write_lines(f, "w", 0, 1210);
    SAYS(f, 0, "1210", "event", "append", "--file", f->file);
    start_serve(f, &serve);
    assert_soon(sb_test_pg_int(f->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'") == 1210,
                30000);
    assert_seqs(f, 1210, 1210, (const char *const[]){BACKWARD, "-n", "5000", NULL});
    assert_seqs(f, 1210, 3, (const char *const[]){BACKWARD, "-n", "3", NULL});
    assert_seqs(f, 6, 6, (const char *const[]){BACKWARD, "--before", "7", NULL});

    sb_test_pg_script(f->pg,
                      "SET session_replication_role = replica; DELETE FROM sagabus.event WHERE seq <= 700;"
                      "RESET session_replication_role; UPDATE sagabus.stream SET first_version = 101;"
                      "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf, done_at) VALUES "
                      "(1, 0, 700, 'x', now())");
    SAYS(f, 5, "events up to 700 are no longer kept: read after 700", "event", "read", "--all", "--follow");
    SAYS(f, 5, "events up to 700 are no longer kept: read after 700", "event", "read", "--all");
    SAYS(f, 5, "the first one is 101", "event", "read", "order/o-1", "--follow");
    SAYS(f, 5, "events up to 700 are no longer kept", BACKWARD, "-n", "5000");
    SAYS(f, 5, "\"seq\":701,", BACKWARD, "-n", "5000"); /* after what there is */
    assert_seqs(f, 1210, 510, (const char *const[]){BACKWARD, "-n", "510", NULL});
    spawn(f, &follower,
          (const char *const[]){"event", "read", "order/o-1", "--follow", "--from", "101", NULL});
    assert_soon(lines_of(&follower, "\"subject\":\"o-1\"") == 1210 / 7 + 1 - 100, 30000);
    sb_test_signal(&follower, SIGINT);
    assert_true(sb_test_wait(&follower, 30000));
    assert_int_equal(follower.exit_code, 130);
    sb_test_process_end(&follower);
    stop_serve(&serve);
}

/* ---- history once more ---- */

#define SECRET     "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
#define POSTED_MAX 400

typedef struct endpoint {
    pthread_mutex_t lock;
    int posted; /* and taken */
    char customer[POSTED_MAX][16];
    int refuse_at, status, times; /* the so many-th is not taken, this often */
    int marked, signed_;
} endpoint_t;

static void take(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    endpoint_t *e = context;
    (void)pthread_mutex_lock(&e->lock);
    e->marked += sb_slice_is(sb_peer_header(request, "sb-replay"), "true");
    e->signed_ += sb_peer_header(request, "webhook-signature").len > 0;
    answer->status = 204;
    if (e->posted == e->refuse_at && e->times > 0) {
        e->times--;
        answer->status = e->status;
        if (e->status == 429)
            (void)snprintf(answer->headers, sizeof answer->headers, "Retry-After: 0\r\n");
    } else if (e->posted < POSTED_MAX) {
        char body[256];
        (void)snprintf(body, sizeof body, "%.*s", SB_SLICE_ARG(request->body));
        const char *at = strstr(body, "\"c-");
        (void)sscanf(at ? at : "\"none", "\"%15[^\"]", e->customer[e->posted++]);
    }
    (void)pthread_mutex_unlock(&e->lock);
}

static void make_safe(const fixture_t *f)
{
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET cursor = (SELECT max(seq) FROM sagabus.event) "
                             "WHERE role = 'sequencer'");
}

static void write_secret(const char *path)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fprintf(file, "%s\n", SECRET);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void history_goes_to_a_url_in_order_and_stops_where_it_is_refused(void **state)
{
    fixture_t *f = *state;
    endpoint_t e = {.lock = PTHREAD_MUTEX_INITIALIZER, .refuse_at = 20, .status = 422, .times = 1};
    char url[64], place[96], secret[96], says[96];
    write_lines(f, "w", 0, 60);
    SAYS(f, 0, "60", "event", "append", "--file", f->file);
    make_safe(f);
    sb_peer_t *peer = sb_peer_start(0, take, &e);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/events", sb_peer_port(peer));
    (void)snprintf(place, sizeof place, "%s.place", f->file);
    (void)snprintf(secret, sizeof secret, "%s.secret", f->file);
    write_secret(secret);

    /* The 21st is refused: nothing behind it goes out, and the same command goes on with it. */
    int64_t refused = sb_test_pg_int(f->pg, "SELECT seq FROM sagabus.event ORDER BY seq OFFSET 20 LIMIT 1");
    (void)snprintf(says, sizeof says, "seq %lld, order.confirmed of o-6: the endpoint answered 422",
                   (long long)refused);
    SAYS(f, 6, says, "replay", "--to", url, "--position", place, "--secret-file", secret);
    assert_int_equal(e.posted, 20);
    assert_int_equal(sb_peer_requests(peer), 21);
    SAYS(f, 6, "the place of another replay", "replay", "--to", url, "--position", place, "--types",
         "order.*");
    /* Asked to wait, it waits, and counts no try; an answer that says nothing about the event is tried again.
     */
    e.refuse_at = 30;
    e.status = 429;
    e.times = 2;
    SAYS(f, 0, "\"events\":40", "replay", "--to", url, "--position", place, "--secret-file", secret,
         "--tries", "1", "-o", "jsonl");
    assert_int_equal(e.posted, 60);
    SAYS(f, 0, "\"events\":0", "replay", "--to", url, "--position", place, "-o", "jsonl");
    for (int i = 0; i < 60; i++) {
        char want[16];
        (void)snprintf(want, sizeof want, "c-%d", i);
        assert_string_equal(e.customer[i], want);
    }
    assert_int_equal(e.marked, 63);
    assert_int_equal(e.signed_, 63);

    /* One stream of it, in a range, slowly. */
    e.posted = 0;
    e.refuse_at = 2;
    e.status = 500;
    e.times = 1;
    SAYS(f, 0, "\"events\":9", "replay", "--to", url, "--stream", "order/o-3", "--after", "0", "--until",
         "2999-01-01T00:00:00Z", "--types", "order.con*", "--rate", "100", "-o", "jsonl", "--tries", "2");
    assert_int_equal(e.posted, 9);
    assert_string_equal(e.customer[8], "c-59");
    sb_peer_stop(&peer);
    SAYS(f, 3, "0 events were sent, up to seq 0; --after 0 goes on", "replay", "--to", url, "--tries", "1");
    (void)unlink(place);
    (void)unlink(secret);
}

/* What replay writes, append reads: the same events in another store, or here under another batch. */
static void history_as_lines_is_what_was_appended(void **state)
{
    fixture_t *f = *state;
    char to[128], place[96], *said = NULL;
    write_lines(f, "w", 0, 50);
    SAYS(f, 0, "50", "event", "append", "--file", f->file);
    make_safe(f);
    (void)snprintf(to, sizeof to, "jsonl:%s", f->file);
    (void)snprintf(place, sizeof place, "%s.place", f->file);
    SAYS(f, 0, "50 events sent", "replay", "--to", to, "--position", place);
    write_lines(f, "a", 3, 4); /* what a run that was killed had written behind its place */
    char more[96];
    (void)snprintf(more, sizeof more, "%s.more", f->file);
    FILE *file = fopen(more, "w");
    assert_non_null(file);
    (void)fprintf(file, "{\"type\": \"order.confirmed\", \"subject\": \"o-9\", \"data\": {\"order_id\": "
                        "\"o\", \"customer_id\": \"c-50\"}}\n");
    assert_int_equal(fclose(file), 0);
    SAYS(f, 0, "1", "event", "append", "--file", more);
    make_safe(f);
    SAYS(f, 0, "1 events sent", "replay", "--to", to, "--position", place);
    SAYS(f, 0, "\"appended\":51", "event", "append", "--file", f->file, "-o", "jsonl");
    assert_int_equal(
        sb_test_pg_int(f->pg,
                       "SELECT count(*) FROM sagabus.event a JOIN sagabus.event b ON a.id = b.id AND "
                       "a.data = b.data AND a.at = b.at AND a.stream_no = b.stream_no AND a.seq < b.seq"),
        51);
    assert_int_equal(run(f, &said, (const char *const[]){"replay", "--to", "jsonl", "--until", "51", NULL}),
                     0);
    assert_contains(said, "\"customer_id\": \"c-49\"");
    free(said);
    SAYS(f, 1, "goes with --to", "replay", "order_summary", "--rate", "3");
    SAYS(f, 1, "expected a URL", "replay", "--to", "order");
    SAYS(f, 1, "--until noon", "replay", "--to", "jsonl", "--until", "noon");
    SAYS(f, 5, "no event is older", "replay", "--to", "jsonl", "--until", "2001-01-01T00:00:00Z");
    (void)unlink(place);
    (void)unlink(more);
}

/* ---- erasing ---- */

static void erasing_is_asked_for_twice(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->pg,
        "SELECT sagabus.event_append('order', 'o-1', 0, 0, NULL, NULL, ARRAY[gen_random_uuid()], "
        "ARRAY[(SELECT type_no FROM sagabus.event_type WHERE name = 'order.confirmed' LIMIT 1)], '{}', "
        "'{}', ARRAY['{\"order_id\":\"o\",\"customer_id\":\"c\"}'::bytea])");
    SAYS(f, 1, "--reason", "event", "erase", "order/o-1", "--confirm");
    SAYS(f, 0, "nothing was done: --confirm erases them", "event", "erase", "order/o-1", "--reason", "asked");
    SAYS(f, 0, "\"erased\":1", "event", "erase", "order/o-1", "--reason", "asked", "-o", "jsonl");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE data <> 'null'"), 1);
    SAYS(f, 0, "docs/guarantees.md", "event", "erase", "1", "--reason", "asked", "--confirm");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE data = 'null'"), 1);
    SAYS(f, 0, "\"erased\":0,\"erased_before\":1", "event", "erase", "order/o-1", "--reason", "asked",
         "--confirm", "-o", "jsonl");
    SAYS(f, 1, "expected an event's sequence number, or a stream", "event", "erase", "o-1", "--reason", "x");
    SAYS(f, 5, "there is no event 77", "event", "erase", "77", "--reason", "x");
}

/* ---- did every event arrive ---- */

static void a_range_that_was_passed_over_is_told_until_it_is_accepted(void **state)
{
    fixture_t *f = *state;
    sb_test_process_t serve;
    static const char looked[] =
        "SELECT count(*) FROM sagabus.tally_reader WHERE role = 'view:order_summary' AND looked_seq = 30";
    static const char moved[] =
        "SELECT count(*) FROM sagabus.lease WHERE role = 'view:order_summary' AND cursor >= 60";
    write_lines(f, "w", 0, 30);
    SAYS(f, 0, "30", "event", "append", "--file", f->file);
    start_serve(f, &serve);
    assert_soon(sb_test_pg_int(f->pg, looked) == 1, 30000); /* the server's keeper compares */
    stop_serve(&serve);
    SAYS(f, 0, "[]", "store", "gaps", "-o", "json");
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET cursor = 45 WHERE role = 'view:order_summary'");
    write_lines(f, "w", 30, 60);
    SAYS(f, 0, "30", "event", "append", "--file", f->file);
    start_serve(f, &serve);
    assert_soon(sb_test_pg_int(f->pg, moved) == 1, 30000);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.tally_gap WHERE to_seq = 60") == 1,
                30000);
    stop_serve(&serve);
    SAYS(f, 0, "\"events\":60,", "store", "gaps", "-o", "jsonl");
    SAYS(f, 0, "\"taken\":45", "store", "gaps", "-o", "jsonl");
    SAYS(f, 1, "view:order_summary took in 45 events of seq 1 to 60, the store has 60", "doctor", "--only",
         "postgres");
    SAYS(f, 1, "needs a --reason", "store", "gaps", "--accept");
    SAYS(f, 0, "0 ranges are accepted", "store", "gaps", "relay", "--accept", "--reason", "another");
    SAYS(f, 0, "1 ranges are accepted", "store", "gaps", "--accept", "--reason", "a test moved it");
    SAYS(f, 0, "a test moved it", "store", "gaps");
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.tally_gap WHERE accepted_at IS NULL"), 0);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(a_file_is_appended_once_in_its_order),
        CASE(a_run_that_was_killed_is_continued),
        CASE(a_bad_line_is_named),
        CASE(a_follower_misses_nothing_and_ends_cleanly),
        CASE(what_is_gone_is_said_and_the_rest_is_read),
        CASE(history_goes_to_a_url_in_order_and_stops_where_it_is_refused),
        CASE(history_as_lines_is_what_was_appended),
        CASE(erasing_is_asked_for_twice),
        CASE(a_range_that_was_passed_over_is_told_until_it_is_accepted),
    };
    return cmocka_run_group_tests_name("cli_events", tests, sb_test_pg_start, sb_test_pg_stop);
}
