/* The orchestrator over Kafka and PostgreSQL, whole: commands through the producer, participants that answer
 * by the contract, replies through the reader. Runs on librdkafka's mock cluster; with SB_TEST_REAL_KAFKA on
 * a real broker.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "bus/topics.h"
#include "saga/orchestrator/orchestrator.h"
#include "saga/participant/command.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/mock.h"
#include "tests/support/pg_server.h"
#include "tests/support/process.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char pair[] = "{\"saga\": \"pair\", \"version\": 1, \"steps\": ["
                           "{\"name\": \"first\", \"participant\": \"a\", \"action\": \"do\", "
                           "\"compensation\": \"undo\", \"timeout\": \"5s\","
                           " \"input\": {\"n\": \"$.input/n\"}},"
                           "{\"name\": \"second\", \"participant\": \"b\", \"action\": \"do\", "
                           "\"compensation\": \"undo\", \"timeout\": \"5s\","
                           " \"input\": {\"n\": \"$.input/n\", \"first\": \"$.steps/first/result/done\"}}]}";

typedef struct world {
    char uri[SB_TEST_URI];
    char dir[64];
    char prefix[SB_TEST_PREFIX];
    sb_test_mock_t mock;
    sb_config_t *config;
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_orchestrator_t *orchestrator;
    pthread_t loop, players;
    atomic_bool stop;
    _Atomic int commands, undos;
    sb_producer_t *producer; /* the players' */
} world_t;

/* ---- participants: b refuses odd numbers ---- */

static sb_code_t on_command(void *context, const sb_message_t *message, sb_error_t *err)
{
    world_t *world = context;
    sb_command_in_t in;
    bool answerable;
    sb_reply_out_t out = {.partition = 0};
    sb_header_t headers[SB_HEADERS_MAX];
    sb_record_t record;
    sb_code_t code = sb_command_read(message, &in, &answerable, err);
    if (code != SB_OK)
        return code;
    world->commands++;
    world->undos += in.command.compensate;
    const char *n = memmem(in.command.input.ptr, in.command.input.len, "\"n\":", 4);
    bool odd = n && (n[4] - '0') % 2 == 1;
    bool refuse = sb_slice_is(in.command.type, "b.do") && odd;
    code = sb_reply_make(&out, message, &in, "/played", refuse ? SB_REPLY_FAILURE : SB_REPLY_SUCCESS,
                         SB_SLICE("{\"done\": true}"), refuse ? SB_SLICE("odd") : SB_SLICE_NONE, err);
    if (code == SB_OK) {
        sb_reply_record(&out, headers, &record);
        code = sb_producer_send(world->producer, &record, err);
    }
    sb_reply_out_fini(&out);
    return code;
}

static void *play(void *context)
{
    world_t *world = context;
    sb_reader_t *reader = NULL;
    sb_topic_t topic;
    int count;
    bool reset;
    bool ready = sb_reader_open(&reader, world->config, "players", NULL) == SB_OK &&
                 sb_producer_open(&world->producer, world->config, "players", NULL, NULL, NULL) == SB_OK;
    for (int i = 0; i < 2 && ready; i++)
        ready = sb_topic_commands(topic, world->prefix, sb_slice(i ? "b" : "a"), NULL) == SB_OK &&
                sb_reader_assign(reader, topic, 0, -1, "", NULL) == SB_OK;
    while (ready && !world->stop) {
        sb_code_t ignored = sb_reader_poll(reader, 100, 100, on_command, world, &count, &reset, NULL);
        (void)ignored;
        sb_producer_poll(world->producer, 0);
    }
    sb_producer_close(&world->producer);
    sb_reader_close(&reader);
    return NULL;
}

/* ---- the stage ---- */

static void register_pair(world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    char path[96];
    sb_apply_report_t report;
    const sb_artifact_check_fn check[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_SAGA] = sb_definition_check};
    (void)snprintf(world->dir, sizeof world->dir, "/tmp/sagabus-pair-XXXXXX");
    assert_non_null(mkdtemp(world->dir));
    (void)snprintf(path, sizeof path, "%s/sagas", world->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/sagas/pair.json", world->dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(pair, file);
    (void)fclose(file);
    assert_ok(sb_catalog_new(&world->catalog, &err), &err);
    assert_ok(sb_catalog_apply(world->catalog, world->pg, world->dir, check, &report, &err), &err);
}

static const char *open_broker(world_t *world)
{
#ifdef SB_TEST_REAL_KAFKA
    (void)sb_test_kafka_prefix(world->prefix);
    return sb_test_kafka();
#else
    (void)snprintf(world->prefix, sizeof world->prefix, "t.");
    sb_test_mock_open(&world->mock, 1);
    return world->mock.bootstrap;
#endif
}

static void make_topics(world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {.item = NULL};
    sb_topic_t topic;
    assert_ok(sb_topic_replies(topic, world->prefix, &err), &err);
    assert_ok(sb_topic_list_add(&list, topic, 1, &err), &err);
    for (int i = 0; i < 2; i++) {
        assert_ok(sb_topic_commands(topic, world->prefix, sb_slice(i ? "b" : "a"), &err), &err);
        assert_ok(sb_topic_list_add(&list, topic, 1, &err), &err);
    }
#ifdef SB_TEST_REAL_KAFKA
    int created;
    assert_ok(sb_topics_apply(world->config, &list, 30000, &created, &err), &err);
#else
    for (size_t i = 0; i < list.count; i++)
        sb_test_mock_topic(&world->mock, list.item[i].name, 1);
#endif
    sb_topic_list_fini(&list);
}

static void *run(void *context)
{
    sb_orchestrator_run(context);
    return NULL;
}

static int64_t shards_of(world_t *world)
{
    sb_orchestrator_stats_t stats;
    sb_orchestrator_stats(world->orchestrator, &stats);
    return stats.shards;
}

static void start_orchestrator(world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_orchestrator_config_t config = {
        .config = world->config, .pg_uri = world->uri, .owner = "test", .catalog = world->catalog};
    assert_ok(sb_orchestrator_open(&world->orchestrator, &config, &err), &err);
    assert_int_equal(pthread_create(&world->loop, NULL, run, world->orchestrator), 0);
    assert_soon(shards_of(world) == 1, 20000);
}

static void stop_orchestrator(world_t *world)
{
    sb_orchestrator_stop(world->orchestrator);
    assert_int_equal(pthread_join(world->loop, NULL), 0);
    sb_orchestrator_close(&world->orchestrator);
}

static int set_up(void **state)
{
    world_t *world = calloc(1, sizeof *world);
    assert_non_null(world);
    const char *bootstrap = open_broker(world);
    world->config = sb_test_bus_config(bootstrap, world->prefix);
    (void)sb_test_pg_fresh(world->uri);
    world->pg = sb_test_pg_open(world->uri);
    register_pair(world);
    make_topics(world);
    *state = world;
    return 0;
}

static int tear_down(void **state)
{
    world_t *world = *state;
    sb_test_remove_tree(world->dir);
    sb_pg_close(&world->pg);
    sb_catalog_free(&world->catalog);
    sb_config_free(&world->config);
    sb_test_mock_close(&world->mock);
    free(world);
    return 0;
}

static void on_answer(void *context, const sb_saga_answer_t *answer)
{
    _Atomic int *started = context;
    if (answer->code == SB_OK)
        ++*started;
}

static void start_sagas(world_t *world, int count, _Atomic int *started)
{
    sb_error_t err = SB_ERROR_INIT;
    for (int i = 0; i < count; i++) {
        char input[32];
        (void)snprintf(input, sizeof input, "{\"n\": %d}", i % 10);
        sb_saga_start_t start = {
            .type = SB_SLICE("pair"), .input = sb_slice(input), .correlation_id = SB_SLICE("c-1")};
        assert_ok(sb_orchestrator_start(world->orchestrator, &start, on_answer, started, &err), &err);
    }
}

static int64_t count_open(world_t *world)
{
    return sb_test_pg_int(world->pg, "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NULL");
}

static void sagas_run_from_start_to_end_over_kafka(void **state)
{
    world_t *world = *state;
    _Atomic int started = 0;
    start_orchestrator(world);
    assert_int_equal(pthread_create(&world->players, NULL, play, world), 0);
    start_sagas(world, 200, &started);
    assert_soon(started == 200, 20000);
    assert_soon(count_open(world) == 0, 60000);
    assert_int_equal(sb_test_pg_int(world->pg, "SELECT count(*) FROM sagabus.saga WHERE status = 2"), 100);
    assert_int_equal(sb_test_pg_int(world->pg,
                                    "SELECT count(*) FROM sagabus.saga WHERE status = 4 AND error = 'odd' "
                                    "AND step = 'second' AND participant = 'b'"),
                     100);
    assert_true(world->undos >= 100);
    stop_orchestrator(world);
    world->stop = true;
    assert_int_equal(pthread_join(world->players, NULL), 0);
}

/* Replies that came while nobody listened are read from the stored offset. */
static void a_new_orchestrator_goes_on_where_the_old_one_stopped(void **state)
{
    world_t *world = *state;
    _Atomic int started = 0;
    start_orchestrator(world);
    start_sagas(world, 20, &started);
    assert_soon(started == 20, 20000);
    stop_orchestrator(world);
    assert_int_equal(count_open(world), 20);
    assert_int_equal(pthread_create(&world->players, NULL, play, world), 0);
    assert_soon(world->commands >= 20, 20000);
    start_orchestrator(world);
    assert_soon(count_open(world) == 0, 60000);
    stop_orchestrator(world);
    world->stop = true;
    assert_int_equal(pthread_join(world->players, NULL), 0);
    assert_true(sb_test_pg_int(world->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'saga:0'") > 0);
    assert_int_equal(sb_test_pg_int(world->pg, "SELECT count(*) FROM sagabus.lease WHERE role = 'saga:0' AND "
                                               "detail ? 'cluster'"),
                     1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sagas_run_from_start_to_end_over_kafka, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_orchestrator_goes_on_where_the_old_one_stopped, set_up,
                                        tear_down),
    };
    sb_log_set_level(SB_LOG_OFF);
#ifdef SB_TEST_REAL_KAFKA
    (void)sb_test_kafka(); /* skips before a server is started */
#endif
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
