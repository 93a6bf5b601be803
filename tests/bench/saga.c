/* saga - sagas of three steps that do nothing, by HTTP clients that wait for their end: beside the same rows
 * and messages without thought (saga_bare.c), and beside others that run the same three steps (peers/). And
 * what ten thousand open ones cost: memory, and the time until a killed `serve` is back.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bench.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/scan.h"
#include "tests/bench/clients.h"
#include "tests/bench/machine.h"
#include "tests/bench/saga_bare.h"
#include "tests/bench/saga_budget.h"

#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUND_S     4.0
#define WARM_S      8.0
#define COLD_S      20.0 /* the first time */
#define BARE_WARM_S 1.0  /* at a time */
#define READY_MS    30000
#define STOP_MS     10000
#define OPEN_SAGAS  10000
#define MANY_SAGAS  100000
#define OPEN_MS     60000 /* for each 10,000 of them */
#define END_MS      90000 /* likewise */

/* ---- ours ---- */

enum { CPU_SERVE, CPU_PARTICIPANTS, CPU_PG, CPU_KAFKA, CPUS }; /* of a reference: itself in place of serve */

/* What sagas took in the rounds, by process. */
typedef struct spent {
    pid_t serve, participants;
    double before[CPUS], cpu[CPUS]; /* seconds */
    double sagas;
} spent_t;

typedef struct ours {
    saga_world_t world;
    sb_test_process_t serve;
    int clients;
    double seconds;
    int64_t started, ended;
    spent_t spent;
} ours_t;

static const char *server_url(void)
{
    const char *url = getenv("SAGABUS_SERVER_URL");
    if (!url || !getenv("SAGABUS_HTTP_LISTEN"))
        bench_die("SAGABUS_SERVER_URL and SAGABUS_HTTP_LISTEN are not set; run me by ./dev bench");
    return url;
}

/* Whether it answers well. The answer is *owned*. */
static bool ask(const char *method, const char *address, const char *body, sb_http_answer_t *answer)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_http_client_t *client = NULL;
    sb_http_client_config_t config = {.connect_ms = 1000};
    sb_http_call_t call = {.method = method, .url = address, .timeout_ms = 10000};
    if (body)
        call.body = sb_slice(body);
    bench_ok(sb_http_client_new(&client, &config, &err), &err, "make an HTTP client");
    bool ok = sb_http_client_send(client, &call, answer, &err) == SB_OK && answer->status >= 200 &&
              answer->status < 300;
    sb_http_client_free(&client);
    return ok;
}

static bool answers(const char *method, const char *address, const char *body)
{
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    bool ok = ask(method, address, body, &answer);
    sb_http_answer_fini(&answer);
    return ok;
}

/* Until it answers well; how long that took. */
static double await(const char *address, sb_test_process_t *process, int64_t timeout_ms)
{
    int64_t from_us = sb_mono_us();
    while (!answers("GET", address, NULL)) {
        if (sb_mono_us() - from_us > timeout_ms * 1000 || sb_test_wait(process, 0))
            bench_die("%s does not answer\n%s", address, sb_test_output(process));
        sb_sleep_ms(5);
    }
    return (double)(sb_mono_us() - from_us) / 1e6;
}

static double start_serve(ours_t *ours)
{
    char ready[128];
    const char *const argv[] = {ours->world.place.env->binary, "serve", NULL};
    sb_test_spawn(&ours->serve, argv, saga_world_environment(&ours->world), NULL);
    (void)snprintf(ready, sizeof ready, "%s/readyz", server_url());
    return await(ready, &ours->serve, READY_MS);
}

static void end_process(sb_test_process_t *process, int signal)
{
    if (!process->pid)
        return;
    sb_test_signal(process, signal);
    (void)sb_test_wait(process, STOP_MS);
    sb_test_process_end(process);
}

static void ours_open(ours_t *ours, const bench_env_t *env, const char *name, const char *mode)
{
    *ours = (ours_t){.seconds = ROUND_S * env->scale};
    saga_world_open(&ours->world, env, name, mode);
    saga_world_start_participants(&ours->world);
    (void)start_serve(ours);
}

static void ours_close(ours_t *ours)
{
    end_process(&ours->serve, SIGTERM);
    saga_world_close(&ours->world);
}

static void write_start(void *context, int64_t number, sb_buf_t *out)
{
    const ours_t *ours = context;
    int64_t n = ours->started + number;
    sb_buf_printf(out, "{\"type\":\"three\",\"key\":\"o-%lld\",\"input\":", (long long)n);
    saga_input(out, n);
    sb_buf_add_char(out, '}');
}

static void check_status(int64_t number, int status, sb_slice_t body)
{
    sb_scan_value_t value;
    const char *want = saga_is_refused(number) ? "\"compensated\"" : "\"completed\"";
    if (status < 200 || status > 201 || !sb_scan_field(body, "status", &value) ||
        !sb_slice_is(value.text, want))
        bench_die("saga %lld: %s is wanted, the answer is %d %.*s", (long long)number, want, status,
                  SB_SLICE_ARG(body));
}

static void check_end(void *context, int64_t number, int status, sb_slice_t body)
{
    ours_t *ours = context;
    check_status(ours->started + number, status, body);
    ours->ended++;
}

static void ours_load(ours_t *ours, int clients, double seconds, clients_result_t *result)
{
    int64_t before = ours->ended;
    clients_config_t config = {.url = server_url(),
                               .path = "/v1/sagas?wait=30s",
                               .clients = clients,
                               .seconds = seconds,
                               .write_body = write_start,
                               .check = check_end,
                               .context = ours};
    clients_run(&config, result);
    ours->started += ours->ended - before;
}

static void read_cpu(const spent_t *spent, double cpu[CPUS])
{
    cpu[CPU_SERVE] = machine_cpu_s(spent->serve);
    cpu[CPU_PARTICIPANTS] = machine_cpu_s(spent->participants);
    cpu[CPU_PG] = saga_pg_cpu_s();
    cpu[CPU_KAFKA] = saga_kafka_cpu_s();
}

static void spent_begin(spent_t *spent, pid_t serve, pid_t participants)
{
    spent->serve = serve;
    spent->participants = participants;
    read_cpu(spent, spent->before);
}

static void spent_end(spent_t *spent, double sagas)
{
    double now[CPUS];
    read_cpu(spent, now);
    for (int i = 0; i < CPUS; i++)
        spent->cpu[i] += now[i] - spent->before[i];
    spent->sagas += sagas;
}

/* The orchestrator's transactions so far, and the starts, replies and timers in them. */
typedef struct batches {
    double count, items;
} batches_t;

static double metric(const char *text, const char *name)
{
    char line[128];
    (void)snprintf(line, sizeof line, "\n%s ", name);
    const char *at = strstr(text, line);
    if (!at)
        bench_die("/metrics has no %s", name);
    return strtod(at + strlen(line), NULL);
}

static batches_t read_batches(void)
{
    char address[128];
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    (void)snprintf(address, sizeof address, "%s/metrics", server_url());
    if (!ask("GET", address, NULL, &answer))
        bench_die("%s does not answer", address);
    batches_t batches = {metric(sb_buf_text(&answer.body), "sagabus_saga_batches_total"),
                         metric(sb_buf_text(&answer.body), "sagabus_saga_batch_items_total")};
    sb_http_answer_fini(&answer);
    return batches;
}

static void ours_round(ours_t *ours, double *values)
{
    clients_result_t result;
    int64_t ended = ours->ended;
    batches_t batches = read_batches();
    spent_begin(&ours->spent, ours->serve.pid, ours->world.participants.pid);
    ours_load(ours, ours->clients, ours->seconds, &result);
    spent_end(&ours->spent, (double)(ours->ended - ended));
    batches_t since = read_batches();
    values[SAGA_ITEMS] = (since.items - batches.items) / (since.count - batches.count);
    values[SAGA_RATE] = result.rate;
    values[SAGA_P50] = result.p50_ms;
    values[SAGA_P99] = result.p99_ms;
}

/* Never less than that: a broker that has just started costs several times as much, and its compiler has a
 * quarter of two processors for as long; each round would be quicker than the other side's before it. */
static void ours_warm(ours_t *ours)
{
    static bool warmed;
    clients_result_t ignored;
    ours_load(ours, 1, 0.2, &ignored);
    ours_load(ours, 64, warmed ? WARM_S / 2 : COLD_S, &ignored);
    warmed = true;
}

static void add_cpu(spent_t *spent, const char *bench, const bench_measure_t measures[CPUS],
                    bench_results_t *results)
{
    for (int i = 0; i < CPUS; i++)
        bench_add(results, bench, &measures[i], spent->cpu[i] * 1e6 / spent->sagas);
    *spent = (spent_t){.sagas = 0};
}

static const bench_measure_t our_cpu[CPUS] = {{"processor time a saga: serve", "us", NULL, 0, true},
                                              {"processor time a saga: participants", "us", NULL, 0, true},
                                              {"processor time a saga: PostgreSQL", "us", NULL, 0, true},
                                              {"processor time a saga: Kafka", "us", NULL, 0, true}};
static const bench_measure_t bare_cpu[CPUS] = {
    {"processor time, the reference: itself", "us", NULL, 0, true},
    {"processor time, the reference: participants", "us", NULL, 0, true},
    {"processor time, the reference: PostgreSQL", "us", NULL, 0, true},
    {"processor time, the reference: Kafka", "us", NULL, 0, true}};

static const bench_measure_t other_cpu[CPUS] = {
    {"processor time, the other build: serve", "us", NULL, 0, true},
    {"processor time, the other build: participants", "us", NULL, 0, true},
    {"processor time, the other build: PostgreSQL", "us", NULL, 0, true},
    {"processor time, the other build: Kafka", "us", NULL, 0, true}};

/* ---- beside the bare cost ---- */

typedef struct both {
    ours_t ours;
    saga_bare_t *bare;
    spent_t bare_spent;
} both_t;

static void run_ours(void *context, int round, double *values)
{
    both_t *both = context;
    (void)round;
    ours_round(&both->ours, values);
}

static void run_bare(void *context, int round, double *values)
{
    both_t *both = context;
    (void)round;
    spent_begin(&both->bare_spent, getpid(), saga_bare_participants(both->bare));
    saga_bare_load(both->bare, both->ours.clients, both->ours.seconds, values);
    spent_end(&both->bare_spent, values[SAGA_RATE] * both->ours.seconds);
}

/* Until it has as many sagas as ours has by now: tables of the same size. */
static void warm_bare(both_t *both)
{
    double sagas = 0;
    while (sagas < (double)both->ours.ended) {
        double values[BENCH_VALUES_MAX];
        saga_bare_load(both->bare, 64, BARE_WARM_S, values);
        sagas += values[SAGA_RATE] * BARE_WARM_S;
    }
}

static const char bare_is[] = "the same rows, commands and replies, raw, no logic, no HTTP";
static const char all_is[] = "the same rows and messages, public events, too, raw";
static const char apart_is[] = "the same by three services: a loop and a commit of each";

/* One way to carry out the steps, and what it stands beside. */
typedef struct bare_side {
    const char *name, *mode, *bare_mode;
    const char *bench[2];
    bench_measure_t measure[5];
    bool public_too; /* the reference sends the records of public events, as ours does in each row */
} bare_side_t;

#define BARE_MEASURES(reference, goal)                                                                       \
    {                                                                                                        \
        {"sagas, clients that wait", "sagas/s", reference, goal, false},                                     \
            {"from request to answer, p50", "ms", reference, 0, true},                                       \
            {"from request to answer, p99", "ms", reference, 0, true},                                       \
            {"starts and replies a transaction", "", reference, 0, false},                                   \
        {                                                                                                    \
            .name = NULL                                                                                     \
        }                                                                                                    \
    }

static const bare_side_t bare_sides[] = {
    {"noop",
     "noop",
     "noop",
     {"saga noop, 64 clients", "saga noop, 256 clients"},
     BARE_MEASURES(bare_is, 0.7),
     false},
    {"noop_public",
     "noop",
     "noop",
     {"saga noop, all messages, 64 clients", "saga noop, all messages, 256 clients"},
     BARE_MEASURES(all_is, 0.7),
     true},
    {"barrier",
     "barrier",
     "bare",
     {"saga barrier, 64 clients", "saga barrier, 256 clients"},
     BARE_MEASURES(bare_is, 0.7),
     false},
    {"barrier_public",
     "barrier",
     "bare",
     {"saga barrier, all messages, 64 clients", "saga barrier, all messages, 256 clients"},
     BARE_MEASURES(all_is, 0.7),
     true},
    {"apart", /* as no service can share another's commit */
     "services",
     "apart",
     {"saga barrier, services apart, 64 clients", "saga barrier, services apart, 256 clients"},
     BARE_MEASURES(apart_is, 0),
     false},
};

static void compare_with_bare(const bench_env_t *env, const bare_side_t *side, bench_results_t *results)
{
    static const bench_measure_t memory = {"resident memory of serve, at the end", "MB", NULL, 0, true};
    static const int clients[] = {64, 256};
    char bare_name[32];
    both_t both = {.bare = NULL};
    (void)snprintf(bare_name, sizeof bare_name, "bare_%s", side->name);
    ours_open(&both.ours, env, side->name, side->mode);
    both.bare = saga_bare_open(env, bare_name, side->bare_mode, side->public_too);
    ours_warm(&both.ours);
    warm_bare(&both);
    for (int i = 0; i < 2; i++) {
        both.ours.clients = clients[i];
        const bench_pair_t pair = {side->bench[i], side->measure, run_ours, run_bare, &both};
        bench_compare(env, &pair, results);
        add_cpu(&both.ours.spent, side->bench[i], our_cpu, results);
        add_cpu(&both.bare_spent, side->bench[i], bare_cpu, results);
        bench_add(results, side->bench[i], &memory, machine_resident_mb(both.ours.serve.pid));
    }
    saga_bare_close(&both.bare);
    ours_close(&both.ours);
}

/* ---- beside another build ---- */

#define SETTLE_S 1.0 /* of a process that has just started */

/* Each side has a world of its own; one `serve` at a time, they have one address. */
static void run_build(ours_t *side, int which, double *values)
{
    clients_result_t ignored;
    ours_t *ours = &side[which];
    end_process(&side[!which].serve, SIGTERM);
    if (!ours->serve.pid)
        (void)start_serve(ours);
    ours_load(ours, ours->clients, SETTLE_S, &ignored);
    ours_round(ours, values);
}

static void run_this_build(void *context, int round, double *values)
{
    (void)round;
    run_build(context, 0, values);
}

static void run_other_build(void *context, int round, double *values)
{
    (void)round;
    run_build(context, 1, values);
}

static void compare_builds(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = BARE_MEASURES("the other build", 0);
    static const char *const bench[] = {"saga noop, two builds, 64 clients",
                                        "saga noop, two builds, 256 clients"};
    static const int clients[] = {64, 256};
    ours_t sides[2]; /* this build, the other one */
    clients_result_t ignored;
    bench_env_t other = *env;
    other.binary = getenv("SB_BENCH_OTHER");
    if (!other.binary)
        bench_die("SB_BENCH_OTHER is not set: the path of the sagabus to stand beside");
    for (int side = 0; side < 2; side++) {
        ours_open(&sides[side], side ? &other : env, side ? "other_build" : "this_build", "noop");
        ours_load(&sides[side], 64, COLD_S / 2, &ignored); /* the same rows in either */
        end_process(&sides[side].serve, SIGTERM);
    }
    for (int i = 0; i < 2; i++) {
        sides[0].clients = sides[1].clients = clients[i];
        const bench_pair_t pair = {bench[i], measures, run_this_build, run_other_build, sides};
        bench_compare(env, &pair, results);
        for (int side = 0; side < 2; side++)
            add_cpu(&sides[side].spent, bench[i], side ? other_cpu : our_cpu, results);
    }
    for (int side = 0; side < 2; side++)
        ours_close(&sides[side]);
}

/* ---- beside others ---- */

typedef struct peer {
    const char *name;
    const char *path;
    sb_test_process_t server, service;
    char url[64];
    char folder[64]; /* its data; "": none */
    char database[64];
} peer_t;

typedef struct match {
    ours_t *ours;
    peer_t *peer;
} match_t;

static void write_peer(void *context, int64_t number, sb_buf_t *out)
{
    (void)context;
    saga_input(out, number);
}

static void check_peer(void *context, int64_t number, int status, sb_slice_t body)
{
    (void)context;
    check_status(number, status, body);
}

static void peer_load(const peer_t *peer, int clients, double seconds, double *values)
{
    clients_result_t result;
    clients_config_t config = {.url = peer->url,
                               .path = peer->path,
                               .clients = clients,
                               .seconds = seconds,
                               .write_body = write_peer,
                               .check = check_peer};
    clients_run(&config, &result);
    values[SAGA_RATE] = result.rate;
    values[SAGA_P50] = result.p50_ms;
    values[SAGA_P99] = result.p99_ms;
}

static const char *peers_folder(void)
{
    const char *modules = getenv("SB_BENCH_PEERS");
    return modules && modules[0] ? modules : NULL;
}

static int some_port(int which)
{
    return 21000 + (int)getpid() % 3000 * 3 + which;
}

static void spawn_node(sb_test_process_t *process, const char *script, int port, const char *pair)
{
    char path[512], port_pair[32];
    (void)snprintf(path, sizeof path, "%s/../%s", peers_folder(), script);
    (void)snprintf(port_pair, sizeof port_pair, "PORT=%d", port);
    const char *const argv[] = {"node", path, NULL};
    const char *const environment[] = {port_pair, pair ? pair : "X=", NULL};
    sb_test_spawn(process, argv, environment, NULL);
    if (!sb_test_output_has(process, "takes sagas now", READY_MS))
        bench_die("%s does not start\n%s", script, sb_test_output(process));
}

static void open_restate(peer_t *peer)
{
    char binary[512], admin[64], body[96], text[5][96];
    *peer = (peer_t){.name = "Restate", .path = "/three/run", .folder = "/tmp/sagabus-restate-XXXXXX"};
    if (!mkdtemp(peer->folder))
        bench_die("no folder for Restate");
    int ingress = some_port(0), control = some_port(1), service = some_port(2);
    (void)snprintf(binary, sizeof binary, "%s/@restatedev/restate-server-linux-x64/bin/restate-server",
                   peers_folder());
    (void)snprintf(text[0], sizeof text[0], "RESTATE_INGRESS__BIND_ADDRESS=127.0.0.1:%d", ingress);
    (void)snprintf(text[1], sizeof text[1], "RESTATE_ADMIN__BIND_ADDRESS=127.0.0.1:%d", control);
    (void)snprintf(text[2], sizeof text[2], "RESTATE_BIND_ADDRESS=127.0.0.1:%d", service + 9000);
    (void)snprintf(text[3], sizeof text[3], "RESTATE_BASE_DIR=%s", peer->folder);
    const char *const argv[] = {binary, NULL};
    const char *const environment[] = {text[0],          text[1],          text[2], text[3],
                                       "DO_NOT_TRACK=1", "RUST_LOG=error", NULL};
    spawn_node(&peer->service, "restate.mjs", service, NULL);
    sb_test_spawn(&peer->server, argv, environment, NULL);
    (void)snprintf(admin, sizeof admin, "http://127.0.0.1:%d/health", control);
    (void)await(admin, &peer->server, READY_MS);
    (void)snprintf(admin, sizeof admin, "http://127.0.0.1:%d/deployments", control);
    (void)snprintf(body, sizeof body, "{\"uri\":\"http://127.0.0.1:%d\",\"force\":true}", service);
    int64_t until_us = sb_mono_us() + READY_MS * 1000;
    while (!answers("POST", admin, body)) {
        if (sb_mono_us() > until_us)
            bench_die("Restate does not take the service\n%s", sb_test_output(&peer->server));
        sb_sleep_ms(200);
    }
    (void)snprintf(peer->url, sizeof peer->url, "http://127.0.0.1:%d", ingress);
}

static void make_database(const bench_env_t *env, const char *verb, const char *name, const char *how)
{
    char sql[128];
    PGconn *conn = PQconnectdb(env->pg_uri);
    (void)snprintf(sql, sizeof sql, "%s DATABASE %s%s", verb, name, how);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        bench_die("%s: %s", sql, PQerrorMessage(conn));
    PQclear(result);
    PQfinish(conn);
}

static void open_dbos(peer_t *peer, const bench_env_t *env)
{
    char pair[512];
    int port = some_port(0);
    *peer = (peer_t){.name = "DBOS", .path = "/"};
    (void)snprintf(peer->database, sizeof peer->database, "bench_%d_dbos", (int)getpid());
    make_database(env, "CREATE", peer->database, "");
    const char *slash = strrchr(env->pg_uri, '/'); /* the URI of ./dev ends with the database's name */
    (void)snprintf(pair, sizeof pair, "DATABASE_URL=%.*s/%s", (int)(slash - env->pg_uri), env->pg_uri,
                   peer->database);
    spawn_node(&peer->service, "dbos.mjs", port, pair);
    (void)snprintf(peer->url, sizeof peer->url, "http://127.0.0.1:%d", port);
}

static void close_peer(peer_t *peer, const bench_env_t *env)
{
    end_process(&peer->server, SIGTERM);
    end_process(&peer->service, SIGKILL);
    if (peer->folder[0])
        sb_test_remove_tree(peer->folder);
    if (peer->database[0])
        make_database(env, "DROP", peer->database, " WITH (FORCE)");
}

static void run_match(void *context, int round, double *values)
{
    const match_t *match = context;
    (void)round;
    ours_round(match->ours, values);
}

static void run_peer(void *context, int round, double *values)
{
    const match_t *match = context;
    (void)round;
    peer_load(match->peer, match->ours->clients, match->ours->seconds, values);
}

/* Over HTTP at any number of clients 5 times as fast, over Kafka at 256 clients 10 times. */
static void play(const bench_env_t *env, ours_t *ours, peer_t *peer, int clients, bench_results_t *results)
{
    static bench_measure_t measures[8][4];
    static char bench[8][64];
    static int count;
    bool restate = strcmp(peer->name, "Restate") == 0, http = ours->world.port != 0;
    bench_measure_t *m = measures[count];
    char *name = bench[count++];
    match_t match = {ours, peer};
    double goal = http ? 5 : clients == 256 ? 10 : 0;
    m[0] = (bench_measure_t){"sagas, clients that wait", "sagas/s", peer->name, goal, false};
    m[1] = (bench_measure_t){"from request to answer, p50", "ms", peer->name,
                             restate && clients == 64 ? 0.2 : 0, true};
    m[2] = (bench_measure_t){"from request to answer, p99", "ms", peer->name, 0, true};
    (void)snprintf(name, sizeof bench[0], "saga over %s beside %s, %d clients", http ? "HTTP" : "Kafka",
                   peer->name, clients);
    ours->clients = clients;
    const bench_pair_t pair = {name, m, run_match, run_peer, &match};
    bench_compare(env, &pair, results);
    ours->spent = (spent_t){.sagas = 0};
}

static void compare_with_peers(const bench_env_t *env, bench_results_t *results)
{
    double ignored[BENCH_VALUES_MAX];
    static peer_t peers[2];
    static const char *const place[2][2] = {{"peers_1k", "peers_1h"}, {"peers_2k", "peers_2h"}};
    ours_t ours[2]; /* over Kafka, over HTTP */
    if (!peers_folder()) {
        bench_say("saga: SKIPPED beside Restate and DBOS: node or their packages are not to be had here");
        return;
    }
    for (int i = 0; i < 2; i++) {
        if (!bench_wants(env, "peers") && !bench_wants(env, i ? "dbos" : "restate"))
            continue;
        if (i == 0)
            open_restate(&peers[i]);
        else
            open_dbos(&peers[i], env);
        peer_load(&peers[i], 64, WARM_S, ignored);
        for (int way = 0; way < 2; way++) { /* one `serve` at a time: they have one address */
            ours_open(&ours[way], env, place[i][way], way ? "http" : "noop");
            ours_warm(&ours[way]);
            play(env, &ours[way], &peers[i], 64, results);
            play(env, &ours[way], &peers[i], 256, results);
            ours_close(&ours[way]);
        }
        close_peer(&peers[i], env);
    }
}

/* ---- over HTTP, and what one costs ---- */

static void measure_http(const bench_env_t *env, bench_results_t *results)
{
    static const bench_measure_t measures[] = {{"sagas, clients that wait", "sagas/s", NULL, 0, false},
                                               {"from request to answer, p50", "ms", NULL, 0, true},
                                               {"from request to answer, p99", "ms", NULL, 0, true}};
    static const char *const bench[] = {"saga over HTTP, 64 clients", "saga over HTTP, 256 clients"};
    double values[BENCH_VALUES_MAX];
    ours_t ours;
    ours_open(&ours, env, "http", "http");
    ours_warm(&ours);
    for (int i = 0; i < 2; i++) {
        ours.clients = i ? 256 : 64;
        ours_round(&ours, values);
        for (int m = 0; m < 3; m++)
            bench_add(results, bench[i], &measures[m], values[m]);
        add_cpu(&ours.spent, bench[i], our_cpu, results);
    }
    ours_close(&ours);
}

static void spend(ours_t *ours, const char *bench, const char *plot, bench_results_t *results)
{
    budget_t from, to;
    budget_watch_t watch;
    clients_result_t ignored;
    budget_counts(&ours->world, &from);
    int64_t ended = ours->ended;
    budget_watch(&watch, &ours->world, ours->serve.pid, ours->seconds);
    budget_cpu(&ours->world, ours->serve.pid, &from);
    ours_load(ours, ours->clients, ours->seconds, &ignored);
    budget_cpu(&ours->world, ours->serve.pid, &to);
    budget_counts(&ours->world, &to);
    budget_watched(&watch, &to);
    budget_report(bench, &from, &to, ours->ended - ended, plot, results);
}

/* The plot is of 64 clients. */
static void measure_budget(const bench_env_t *env, bench_results_t *results)
{
    ours_t ours;
    ours_open(&ours, env, "budget", "noop");
    ours_warm(&ours);
    ours.clients = 64;
    spend(&ours, "one saga of three empty steps, 64 clients", env->plot, results);
    ours.clients = 256;
    spend(&ours, "one saga of three empty steps, 256 clients", NULL, results);
    ours_close(&ours);
}

/* ---- ten thousand open ones, and a hundred thousand ---- */

static void write_open(void *context, int64_t number, sb_buf_t *out)
{
    write_start(context, number, out);
}

static void check_open(void *context, int64_t number, int status, sb_slice_t body)
{
    ours_t *ours = context;
    if (status != 201)
        bench_die("start %lld: %d %.*s", (long long)number, status, SB_SLICE_ARG(body));
    ours->ended++;
}

static int64_t count_open(ours_t *ours)
{
    return place_int(&ours->world.place, "SELECT count(*) FROM sagabus.saga WHERE status IN (1, 3)");
}

static void start_many(ours_t *ours, int64_t sagas)
{
    int64_t limit_ms = OPEN_MS * (sagas / OPEN_SAGAS), until_us = sb_mono_us() + limit_ms * 1000;
    while (ours->ended < sagas) {
        clients_result_t ignored;
        int64_t before = ours->ended;
        clients_config_t config = {.url = server_url(),
                                   .path = "/v1/sagas",
                                   .clients = 64,
                                   .seconds = 0.25,
                                   .write_body = write_open,
                                   .check = check_open,
                                   .context = ours};
        clients_run(&config, &ignored);
        ours->started += ours->ended - before;
        if (sb_mono_us() > until_us)
            bench_die("only %lld sagas started within %lld ms", (long long)ours->ended, (long long)limit_ms);
    }
}

static void measure_recovery(const bench_env_t *env, const char *bench, int64_t sagas,
                             bench_results_t *results)
{
    static const bench_measure_t empty = {"resident memory of serve with no open saga", "MB", NULL, 0, true};
    static const bench_measure_t opened = {"open sagas", "", NULL, 0, false};
    static const bench_measure_t memory = {"resident memory of serve with them (goal 60 with 10,000)", "MB",
                                           NULL, 0, true};
    static const bench_measure_t each = {"of it, an open saga", "bytes", NULL, 0, true};
    static const bench_measure_t ready = {"from start after SIGKILL to /readyz 200 (goal 2)", "s", NULL, 0,
                                          true};
    static const bench_measure_t after = {"resident memory after the takeover", "MB", NULL, 0, true};
    static const bench_measure_t all = {"until all of them had ended", "s", NULL, 0, true};
    ours_t ours = {.seconds = 1};
    saga_world_open(&ours.world, env, "recovery", "noop");
    (void)start_serve(&ours);
    double before_mb = machine_resident_mb(ours.serve.pid);
    bench_add(results, bench, &empty, before_mb);
    start_many(&ours, sagas); /* nobody takes their commands yet */
    double open = (double)count_open(&ours), with_mb = machine_resident_mb(ours.serve.pid);
    bench_add(results, bench, &opened, open);
    bench_add(results, bench, &memory, with_mb);
    bench_add(results, bench, &each, (with_mb - before_mb) * 1e6 / open);
    end_process(&ours.serve, SIGKILL);
    bench_add(results, bench, &ready, start_serve(&ours));
    bench_add(results, bench, &after, machine_resident_mb(ours.serve.pid));
    saga_world_start_participants(&ours.world);
    int64_t from_us = sb_mono_us();
    while (count_open(&ours) > 0) {
        if (sb_mono_us() - from_us > END_MS * 1000 * (sagas / OPEN_SAGAS))
            bench_die("%lld sagas are open after %d ms for each %d", (long long)count_open(&ours), END_MS,
                      OPEN_SAGAS);
        sb_sleep_ms(50);
    }
    bench_add(results, bench, &all, (double)(sb_mono_us() - from_us) / 1e6);
    ours_close(&ours);
}

void bench_saga(const bench_env_t *env, bench_results_t *results)
{
    for (size_t i = 0; i < sizeof bare_sides / sizeof bare_sides[0]; i++)
        if (bench_wants(env, bare_sides[i].name))
            compare_with_bare(env, &bare_sides[i], results);
    if (env->only && bench_wants(env, "builds"))
        compare_builds(env, results);
    if (bench_wants(env, "peers") || bench_wants(env, "restate") || bench_wants(env, "dbos"))
        compare_with_peers(env, results);
    if (bench_wants(env, "http"))
        measure_http(env, results);
    if (bench_wants(env, "budget"))
        measure_budget(env, results);
    if (bench_wants(env, "recovery"))
        measure_recovery(env, "saga recovery", OPEN_SAGAS, results);
    if (env->only && bench_wants(env, "many")) /* minutes */
        measure_recovery(env, "saga recovery, many", MANY_SAGAS, results);
}
