/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/world.h"

#include "chaos_sql.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/port.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATIENCE_MS 60000
#define PAIR_MAX    (SB_TEST_URI + 64)
#define PAIRS_MAX   12

/* A minute is what a saga has to end when all is back: a breaker that opened must have looked by then. */
#define BREAKER_RECOVERY "500ms"

static const char bad_road_services[] = "wallet_b,ship";

static bool is_far(int service)
{
    return strstr(bad_road_services, chaos_service[service]) != NULL;
}

/* ---- processes ---- */

typedef struct settings {
    char pair[PAIRS_MAX][PAIR_MAX];
    const char *list[PAIRS_MAX + 1];
    int count;
} settings_t;

static void set(settings_t *settings, const char *name, const char *value)
{
    assert_true(settings->count < PAIRS_MAX);
    (void)snprintf(settings->pair[settings->count], PAIR_MAX, "%s=%s", name, value);
    settings->list[settings->count] = settings->pair[settings->count];
    settings->count++;
}

static void settings_for(const chaos_world_t *world, settings_t *out, const char *uri, const char *prefix)
{
    char schemas[96], seed[16];
    *out = (settings_t){.count = 0};
    (void)snprintf(schemas, sizeof schemas, "%s/schemas", world->dir);
    (void)snprintf(seed, sizeof seed, "%u", world->seed);
    set(out, "SAGABUS_PG", uri);
    set(out, "SAGABUS_KAFKA_BOOTSTRAP", sb_test_kafka());
    set(out, "SAGABUS_KAFKA_PREFIX", prefix);
    set(out, "SAGABUS_KAFKA_SESSION_TIMEOUT_MS", "6000");
    set(out, "SAGABUS_SCHEMAS_DIR", schemas);
    set(out, "SB_CHAOS_SEED", seed);
}

static const char *said_by(const chaos_world_t *world, const char *who, int i, char out[96])
{
    (void)snprintf(out, 96, "%s/%s.%d", world->dir, who, i);
    return out;
}

static const char *calls_file(const chaos_world_t *world, char out[96])
{
    (void)snprintf(out, 96, "%s/calls", world->dir);
    return out;
}

static void run(const chaos_world_t *world, const char *prefix, const char *const *argv)
{
    settings_t settings;
    sb_test_process_t process;
    settings_for(world, &settings, world->uri, prefix);
    sb_test_spawn(&process, argv, settings.list, NULL);
    if (!sb_test_wait(&process, PATIENCE_MS) || process.exit_code != 0) {
        char *output = sb_test_output(&process);
        fail_msg("%s %s: exit %d\n%s", argv[1], argv[2], process.exit_code, output);
    }
    sb_test_process_end(&process);
}

void chaos_make_topics(chaos_world_t *world)
{
    const char *const argv[] = {SB_SAGABUS, "topics", "apply", NULL};
    run(world, world->prefix, argv);
    run(world, world->far_prefix, argv);
}

void chaos_start_serve(chaos_world_t *world, int i)
{
    char uri[SB_TEST_URI], listen[64], url[64], output[96];
    const char *const argv[] = {SB_SAGABUS, "serve", NULL};
    settings_t settings;
    settings_for(world, &settings, sb_test_proxy_uri(world->road[i], world->uri, uri), world->prefix);
    (void)snprintf(listen, sizeof listen, "127.0.0.1:%d", world->port[i]);
    set(&settings, "SAGABUS_HTTP_LISTEN", listen);
    set(&settings, "SAGABUS_LEASE_OVERDUE_MS", "2s");
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", world->http_port);
    set(&settings, "SAGABUS_PARTICIPANT_STOCK_URL", url);
    set(&settings, "SAGABUS_PARTICIPANT_STOCK_BREAKER_RECOVERY_MS", BREAKER_RECOVERY);
    sb_test_spawn(&world->serve[i], argv, settings.list, said_by(world, "serve", i, output));
}

void chaos_start_service(chaos_world_t *world, int i)
{
    char uri[SB_TEST_URI], output[96], path[96], port[16];
    const char *const argv[] = {i == CHAOS_HTTP ? SB_CHAOS_HTTP_SERVICE : SB_CHAOS_SERVICE, chaos_service[i],
                                NULL};
    settings_t settings;
    settings_for(world, &settings, sb_test_proxy_uri(world->service_road, world->service_uri[i], uri),
                 is_far(i) ? world->far_prefix : world->prefix);
    (void)snprintf(port, sizeof port, "%d", world->http_port);
    set(&settings, "SB_CHAOS_PORT", port);
    set(&settings, "SB_CHAOS_CALLS", calls_file(world, path));
    sb_test_spawn(&world->service[i], argv, settings.list, said_by(world, "service", i, output));
}

void chaos_start_router(chaos_world_t *world)
{
    char output[96];
    const char *const argv[] = {SB_CHAOS_ROUTER, NULL};
    settings_t settings;
    settings_for(world, &settings, "", world->prefix);
    set(&settings, "SB_CHAOS_NEAR", world->prefix);
    set(&settings, "SB_CHAOS_FAR", world->far_prefix);
    set(&settings, "SB_CHAOS_SERVICES", bad_road_services);
    sb_test_spawn(&world->router, argv, settings.list, said_by(world, "router", 0, output));
}

/* What it said stays: only the process ends. */
void chaos_end_process(sb_test_process_t *process, int signal)
{
    if (!process->pid)
        return;
    sb_test_signal(process, signal);
    sb_test_signal(process, SIGCONT);
    if (!sb_test_wait(process, PATIENCE_MS)) {
        sb_test_signal(process, SIGKILL);
        assert_true(sb_test_wait(process, PATIENCE_MS));
        print_message("a process did not end within %d ms of signal %d\n", PATIENCE_MS, signal);
    }
}

void chaos_revive(chaos_world_t *world, int died[CHAOS_SERVICES])
{
    for (int i = 0; i < CHAOS_SERVES; i++)
        if (sb_test_wait(&world->serve[i], 0))
            chaos_start_serve(world, i);
    for (int i = 0; i < CHAOS_SERVICES; i++)
        if (sb_test_wait(&world->service[i], 0)) {
            died[i] += world->service[i].exit_code == 128 + SIGALRM;
            chaos_start_service(world, i);
        }
    if (sb_test_wait(&world->router, 0))
        chaos_start_router(world);
}

/* ---- making and closing it ---- */

static void make_directories(chaos_world_t *world)
{
    char path[160];
    (void)snprintf(world->dir, sizeof world->dir, "/tmp/sagabus-chaos-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(path, sizeof path, "%s/schemas", world->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/schemas/events", world->dir);
    assert_int_equal(symlink(SB_SOURCE_DIR "/schemas/events", path), 0);
    (void)snprintf(path, sizeof path, "%s/schemas/sagas", world->dir);
    assert_int_equal(symlink(SB_SOURCE_DIR "/tests/chaos/sagas", path), 0);
}

static void make_databases(chaos_world_t *world)
{
    (void)sb_test_pg_fresh(world->uri);
    sb_pg_t *pg = sb_test_pg_open(world->uri);
    sb_test_pg_script(pg, "UPDATE sagabus.store SET shard_count = 2");
    sb_test_pg_script(pg, sb_sql_fence);
    sb_pg_close(&pg);
    for (int i = 0; i < CHAOS_SERVICES; i++) {
        (void)sb_test_pg_fresh(world->service_uri[i]);
        pg = sb_test_pg_open(world->service_uri[i]);
        sb_test_pg_script(pg, "SET search_path = " SB_TEST_CLIENT_SCHEMA);
        sb_test_pg_script(pg, sb_sql_service);
        world->opening[i] = sb_test_pg_int(pg, "SELECT sum(balance + hold)::bigint FROM account");
        sb_pg_close(&pg);
    }
}

void chaos_world_open(chaos_world_t *world, unsigned seed)
{
    static const char *const schemas[] = {SB_SAGABUS, "schema", "apply", NULL};
    char path[96];
    *world = (chaos_world_t){.seed = seed};
    make_directories(world);
    (void)sb_test_kafka_prefix(world->prefix);
    (void)snprintf(world->far_prefix, sizeof world->far_prefix, "%sfar.", world->prefix);
    make_databases(world);
    run(world, world->prefix, schemas);
    chaos_make_topics(world);
    sb_test_proxy_open(&world->service_road);
    world->http_port = sb_test_port();
    world->calls = chaos_calls_map(calls_file(world, path));
    assert_non_null(world->calls);
    for (int i = 0; i < CHAOS_SERVES; i++) {
        sb_test_proxy_open(&world->road[i]);
        world->port[i] = sb_test_port();
        (void)snprintf(world->url[i], sizeof world->url[i], "http://127.0.0.1:%d", world->port[i]);
    }
    for (int i = 0; i < CHAOS_SERVICES; i++)
        chaos_start_service(world, i);
    chaos_start_router(world);
    for (int i = 0; i < CHAOS_SERVES; i++)
        chaos_start_serve(world, i);
}

void chaos_world_close(chaos_world_t *world, bool keep_output)
{
    for (int i = 0; i < CHAOS_SERVES; i++)
        chaos_end_process(&world->serve[i], SIGTERM);
    for (int i = 0; i < CHAOS_SERVICES; i++)
        chaos_end_process(&world->service[i], SIGTERM);
    chaos_end_process(&world->router, SIGTERM);
    chaos_forget_connections(world);
    for (int i = 0; i < CHAOS_SERVES; i++)
        sb_test_proxy_close(&world->road[i]);
    sb_test_proxy_close(&world->service_road);
    chaos_calls_unmap(world->calls);
    if (keep_output)
        print_message("what the processes said is in %s\n", world->dir);
    else if (world->dir[0])
        sb_test_remove_tree(world->dir);
}

/* ---- looking ---- */

static sb_pg_t *connection(sb_pg_t **pg, const char *uri)
{
    sb_pg_config_t config = {.uri = uri, .application_name = "chaos", .search_path = SB_TEST_CLIENT_SCHEMA};
    if (*pg && !sb_pg_is_open(*pg))
        sb_pg_close(pg);
    if (!*pg && sb_pg_open(pg, &config, NULL) != SB_OK)
        *pg = NULL;
    return *pg;
}

void chaos_forget_connections(chaos_world_t *world)
{
    sb_pg_close(&world->look);
    for (int i = 0; i < CHAOS_SERVICES; i++)
        sb_pg_close(&world->books[i]);
}

int64_t chaos_look(chaos_world_t *world, const char *sql)
{
    sb_pg_result_t *found = NULL;
    sb_pg_t *pg = connection(&world->look, world->uri);
    int64_t value = -1;
    if (pg && sb_pg_query(pg, sql, NULL, &found, NULL) == SB_OK && sb_pg_rows(found) > 0)
        value = sb_pg_get_int(found, 0, 0);
    sb_pg_result_free(found);
    return value;
}

int64_t chaos_open_sagas(chaos_world_t *world)
{
    return chaos_look(world, "SELECT count(*) FROM sagabus.saga WHERE status IN (1, 3)");
}

static void print_rows(sb_pg_t *pg, const char *sql, const sb_pg_params_t *params)
{
    sb_pg_result_t *found = NULL;
    sb_error_t err = SB_ERROR_INIT;
    if (!pg || sb_pg_query(pg, sql, params, &found, &err) != SB_OK)
        (void)fprintf(stderr, "%s\n", err.message);
    for (int row = 0; found && row < sb_pg_rows(found); row++)
        (void)fprintf(stderr, "  %s\n", sb_pg_get_text(found, row, 0));
    sb_pg_result_free(found);
}

static const char open_events[] =
    "SELECT format('%s %s %s v%s at %s %s', s.key, s.id, t.name, e.version, e.at, convert_from(e.data, "
    "'UTF8')) FROM "
    "(SELECT * FROM sagabus.saga WHERE status IN (1, 3) ORDER BY no LIMIT 5) s JOIN sagabus.event e ON "
    "e.class = 2 AND "
    "e.stream_no = s.no JOIN sagabus.event_type t USING (type_no) ORDER BY s.no, e.version";
static const char open_rows[] =
    "SELECT format('%s no %s status %s attention %s paused %s step %s wake_at %s error %s', key, no, status, "
    "attention, paused, step, wake_at, error) FROM sagabus.saga WHERE status IN (1, 3) ORDER BY no LIMIT 20";
static const char leases[] =
    "SELECT format('lease %s: epoch %s owner %s cursor %s low %s, beat %s ago, %s', role, epoch, "
    "owner, cursor, low, clock_timestamp() - beat, detail) FROM sagabus.lease ORDER BY role";
static const char barrier_rows[] = "SELECT format('%s %s %s %s %s %s', at, saga_id, step, direction, "
                                   "outcome, error) FROM barrier WHERE saga_id = "
                                   "ANY ($1::text::uuid[]) ORDER BY at";

void chaos_print_open(chaos_world_t *world)
{
    sb_pg_t *pg = connection(&world->look, world->uri);
    sb_pg_result_t *ids = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    print_rows(pg, "SELECT format('now %s', clock_timestamp())", NULL);
    print_rows(pg, open_rows, NULL);
    print_rows(pg, open_events, NULL);
    print_rows(pg, leases, NULL);
    if (pg &&
        sb_pg_query(pg, "SELECT array_agg(id)::text FROM sagabus.saga WHERE status IN (1, 3)", NULL, &ids,
                    NULL) == SB_OK &&
        sb_pg_get_text(ids, 0, 0)) {
        sb_pg_add_text(&params, sb_pg_get_text(ids, 0, 0));
        for (int i = 0; i < CHAOS_SERVICES; i++) {
            (void)fprintf(stderr, "barrier of %s\n", chaos_service[i]);
            print_rows(connection(&world->books[i], world->service_uri[i]), barrier_rows, &params);
        }
    }
    sb_pg_result_free(ids);
    for (int i = 0; i < CHAOS_SERVES; i++) {
        sb_http_answer_t ready = sb_http_within(5000, "GET", world->url[i], "/readyz?verbose", NULL, NULL);
        (void)fprintf(stderr, "serve %d: readyz %d\n%s\n", i, ready.status, ready.text ? ready.text : "");
        sb_http_free(&ready);
    }
    sb_test_kafka_report(world->prefix);
    sb_test_kafka_report(world->far_prefix);
}

static int64_t count_in(const char *path, const char *text, const char **number, char *buffer, size_t size)
{
    FILE *file = fopen(path, "r");
    int64_t count = 0;
    while (file && fgets(buffer, (int)size, file)) {
        const char *at = strstr(buffer, text);
        count += at != NULL;
        if (at && number) {
            *number = at + strlen(text);
            break;
        }
    }
    if (file)
        (void)fclose(file);
    return count;
}

int chaos_count_said(const chaos_world_t *world, const char *text)
{
    char path[96], line[4096];
    int64_t count = 0;
    for (int i = 0; i < CHAOS_SERVES; i++)
        count += count_in(said_by(world, "serve", i, path), text, NULL, line, sizeof line);
    return (int)count;
}

int64_t chaos_router_count(const chaos_world_t *world, const char *word)
{
    char path[96], line[4096];
    const char *number = NULL;
    (void)count_in(said_by(world, "router", 0, path), word, &number, line, sizeof line);
    return number ? strtoll(number, NULL, 10) : 0;
}

void chaos_read_books(chaos_world_t *world, chaos_record_t *record)
{
    static const char both[] = "SELECT (SELECT sum(balance + hold) FROM account)::bigint, "
                               "(SELECT coalesce(sum(delta), 0) FROM effect)::bigint";
    for (int i = 0; i < CHAOS_SERVICES; i++) {
        sb_pg_result_t *found = NULL;
        sb_pg_t *pg = connection(&world->books[i], world->service_uri[i]);
        chaos_books_t books = {.service = i, .opening = world->opening[i]};
        if (pg && sb_pg_query(pg, both, NULL, &found, NULL) == SB_OK) {
            books.held = sb_pg_get_int(found, 0, 0);
            books.logged = sb_pg_get_int(found, 0, 1);
            chaos_add_books(record, &books);
        }
        sb_pg_result_free(found);
    }
}

/* ---- reading all ---- */

static sb_pg_result_t *ask(sb_pg_t *pg, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *found = NULL;
    assert_non_null(pg);
    assert_ok(sb_pg_query(pg, sql, NULL, &found, &err), &err);
    return found;
}

static void copy(char *out, size_t size, const sb_pg_result_t *found, int row, int column)
{
    (void)snprintf(out, size, "%s", sb_pg_get_text(found, row, column));
}

static void read_sagas(sb_pg_t *pg, chaos_record_t *record)
{
    sb_pg_result_t *found =
        ask(pg, "SELECT id::text, left(key, 39), type, status, attention, no, "
                "CASE WHEN key LIKE 'saga:%' THEN substring(key FROM 6 FOR 36) ELSE '' END "
                "FROM sagabus.saga");
    for (int row = 0; row < sb_pg_rows(found); row++) {
        chaos_saga_t saga = {.status = (int)sb_pg_get_int(found, row, 3),
                             .attention = sb_pg_get_bool(found, row, 4),
                             .no = sb_pg_get_int(found, row, 5)};
        copy(saga.id, sizeof saga.id, found, row, 0);
        copy(saga.key, sizeof saga.key, found, row, 1);
        copy(saga.type, sizeof saga.type, found, row, 2);
        copy(saga.parent, sizeof saga.parent, found, row, 6);
        chaos_add_saga(record, &saga);
    }
    sb_pg_result_free(found);
}

static void read_events(sb_pg_t *pg, chaos_record_t *record)
{
    sb_pg_result_t *found =
        ask(pg, "SELECT e.stream_no, e.version, coalesce((SELECT max(f.epoch) FROM chaos.fence f "
                "WHERE f.xid = e.xmin::text::bigint), 0), t.name, e.seq FROM sagabus.event e "
                "JOIN sagabus.event_type t USING (type_no) WHERE e.class = 2");
    for (int row = 0; row < sb_pg_rows(found); row++) {
        chaos_event_t event = {.no = sb_pg_get_int(found, row, 0),
                               .version = (int)sb_pg_get_int(found, row, 1),
                               .epoch = sb_pg_get_int(found, row, 2),
                               .seq = sb_pg_get_int(found, row, 4)};
        copy(event.type, sizeof event.type, found, row, 3);
        chaos_add_event(record, &event);
    }
    sb_pg_result_free(found);
}

static void read_effects(sb_pg_t *pg, int service, chaos_record_t *record)
{
    sb_pg_result_t *found = ask(pg, "SELECT saga_id::text, step, compensate, at, delta FROM effect");
    for (int row = 0; row < sb_pg_rows(found); row++) {
        chaos_effect_t effect = {.service = service,
                                 .compensate = sb_pg_get_bool(found, row, 2),
                                 .at_us = sb_pg_get_time(found, row, 3),
                                 .delta = sb_pg_get_int(found, row, 4)};
        copy(effect.id, sizeof effect.id, found, row, 0);
        copy(effect.step, sizeof effect.step, found, row, 1);
        chaos_add_effect(record, &effect);
    }
    sb_pg_result_free(found);
}

void chaos_read_all(chaos_world_t *world, chaos_record_t *record)
{
    sb_pg_t *pg = connection(&world->look, world->uri);
    read_sagas(pg, record);
    read_events(pg, record);
    for (int i = 0; i < CHAOS_SERVICES; i++)
        read_effects(connection(&world->books[i], world->service_uri[i]), i, record);
    chaos_give_effects_to_parents(record);
    chaos_read_books(world, record);
}
