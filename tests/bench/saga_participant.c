/* `bench --participants MODE`: the three participants of `bench saga` in a process of their own, which do
 * nothing.
 *
 *   noop     raw librdkafka: takes what is there and answers it
 *   bare     the same, with one barrier row a command, a batch of rows a statement and a transaction
 *   apart    the same as three services: a thread, a consumer, a producer and a connection for each
 *   barrier  the participant library, one that is all three participants
 *   services the same as three services: a participant and a thread for each
 *   http     over HTTP, a thread a kept connection
 *
 * A forward command of step c whose input says so is refused.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/topic.h"
#include "saga/contract.h"
#include "sagabus/participant.h"
#include "tests/bench/bare_participant.h"
#include "tests/bench/saga_world.h"
#include "tests/support/http_peer.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS 100
#define RESULT  "{\"ok\":true,\"reference\":\"as much as a service answers as a rule\"}"
#define REFUSAL "refused, as asked for"

static volatile sig_atomic_t stopping;
static sb_participant_t *participant[SAGA_STEPS];

static void on_stop(int number)
{
    (void)number;
    stopping = 1;
    for (int i = 0; i < SAGA_STEPS; i++)
        if (participant[i])
            sb_participant_stop(participant[i]);
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (!value)
        bench_die("%s is not set", name);
    return value;
}

static bool wants_refusal(const char *body, size_t length)
{
    static const char says[] = "\"refuse\":true";
    return memmem(body, length, says, sizeof says - 1) != NULL;
}

/* ---- raw ---- */

typedef struct raw {
    rd_kafka_t *consumer, *producer;
    rd_kafka_topic_t *replies;
    PGconn *conn; /* NULL: no barrier */
    sb_pg_array_t id, saga, step, direction, outcome;
} raw_t;

static const char barrier_sql[] =
    "INSERT INTO service.barrier (command_id, saga_id, step, direction, outcome, reply) SELECT u.id, u.saga, "
    "u.step, "
    "u.direction, u.outcome, '" RESULT "'::bytea FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], "
    "$5::text[]) AS u (id, saga, step, direction, outcome) ON CONFLICT DO NOTHING";

/* With the commands of these steps. */
static void open_raw(raw_t *raw, bool barrier, int first, int count)
{
    sb_topic_t topic;
    const char *bootstrap = setting("SAGABUS_KAFKA_BOOTSTRAP"), *prefix = setting("SAGABUS_KAFKA_PREFIX");
    *raw = (raw_t){.producer = raw_producer(bootstrap, "0.2")};
    bench_ok(sb_topic_replies(topic, prefix, NULL), NULL, "name a topic");
    raw->replies = rd_kafka_topic_new(raw->producer, topic, NULL);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);
    for (int i = first; i < first + count; i++) {
        bench_ok(sb_topic_commands(topic, prefix, sb_slice(saga_participant[i]), NULL), NULL, "name a topic");
        if (i == first)
            raw->consumer = raw_consumer(bootstrap, topic);
        rd_kafka_topic_partition_list_add(list, topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    if (rd_kafka_assign(raw->consumer, list) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("assign failed");
    rd_kafka_topic_partition_list_destroy(list);
    if (!barrier)
        return;
    raw->conn = raw_connect(setting("SAGABUS_PG"), NULL);
    raw_prepare(raw->conn, "barrier", barrier_sql);
    raw_start_pipeline(raw->conn);
    sb_pg_array_init(&raw->id, SB_PG_UUID);
    sb_pg_array_init(&raw->saga, SB_PG_UUID);
    sb_pg_array_init(&raw->step, SB_PG_TEXT);
    sb_pg_array_init(&raw->direction, SB_PG_TEXT);
    sb_pg_array_init(&raw->outcome, SB_PG_TEXT);
}

typedef struct command {
    char id[SB_UUID_TEXT], saga[SB_UUID_TEXT], type[80], direction[16], step[8];
    bool refused;
} command_t;

static void read_command(const rd_kafka_message_t *message, command_t *out)
{
    bare_find_header(message, SB_H_ID, out->id, sizeof out->id);
    bare_find_header(message, SB_H_SAGA_ID, out->saga, sizeof out->saga);
    bare_find_header(message, SB_H_TYPE, out->type, sizeof out->type);
    bare_find_header(message, SB_H_DIRECTION, out->direction, sizeof out->direction);
    bare_find_header(message, SB_H_SAGA_STEP, out->step, sizeof out->step);
    out->refused = strcmp(out->step, "c") == 0 && strcmp(out->direction, "forward") == 0 &&
                   wants_refusal(message->payload, message->len);
}

static void add_uuid(sb_pg_array_t *array, const char *text)
{
    sb_uuid_t id = SB_UUID_NIL;
    (void)sb_uuid_parse(text, strlen(text), &id);
    sb_pg_array_add_uuid(array, &id);
}

static void write_rows(raw_t *raw, const command_t *command, int count)
{
    sb_pg_array_t *column[] = {&raw->id, &raw->saga, &raw->step, &raw->direction, &raw->outcome};
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    for (int i = 0; i < count; i++) {
        add_uuid(&raw->id, command[i].id);
        add_uuid(&raw->saga, command[i].saga);
        sb_pg_array_add_slice(&raw->step, sb_slice(command[i].step));
        sb_pg_array_add_slice(&raw->direction, sb_slice(command[i].direction));
        sb_pg_array_add_slice(&raw->outcome, sb_slice(command[i].refused ? "failure" : "success"));
    }
    for (int i = 0; i < 5; i++)
        sb_pg_add_array(&params, column[i]);
    raw_send(raw->conn, "barrier", &params);
    raw_sync(raw->conn, 1);
    for (int i = 0; i < 5; i++)
        sb_pg_array_reset(column[i]);
}

static void echo(const rd_kafka_message_t *message, rd_kafka_headers_t *out)
{
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *value;
    size_t length;
    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (size_t i = 0; rd_kafka_header_get_all(headers, i, &name, &value, &length) == 0; i++)
        if (strncmp(name, SB_H_SAGA_PREFIX, strlen(SB_H_SAGA_PREFIX)) == 0)
            (void)rd_kafka_header_add(out, name, -1, value, (ssize_t)length);
}

static void answer(raw_t *raw, const rd_kafka_message_t *message, const command_t *command)
{
    char id[SB_UUID_TEXT], type[96];
    sb_uuid_t own = sb_uuid_v7();
    rd_kafka_headers_t *headers = rd_kafka_headers_new(16);
    (void)snprintf(type, sizeof type, "%s.reply", command->type);
    bare_header(headers, SB_H_SPECVERSION, "1.0");
    bare_header(headers, SB_H_ID, sb_uuid_format(&own, id));
    bare_header(headers, SB_H_TYPE, type);
    bare_header(headers, SB_H_SOURCE, "/participants/bench");
    bare_header(headers, SB_H_CAUSATION, command->id);
    echo(message, headers);
    bare_header(headers, SB_H_OUTCOME, command->refused ? "failure" : "success");
    if (command->refused)
        bare_header(headers, SB_H_ERROR, REFUSAL);
    bare_send(raw->producer, raw->replies, command->saga, RESULT, headers);
}

static void carry_on(raw_t *raw)
{
    rd_kafka_message_t *message[BARE_BATCH_MAX];
    command_t command[BARE_BATCH_MAX];
    while (!stopping) {
        int count = bare_take(raw->consumer, message, BARE_BATCH_MAX, POLL_MS);
        for (int i = 0; i < count; i++)
            read_command(message[i], &command[i]);
        if (count > 0 && raw->conn)
            write_rows(raw, command, count);
        for (int i = 0; i < count; i++) {
            answer(raw, message[i], &command[i]);
            rd_kafka_message_destroy(message[i]);
        }
        (void)rd_kafka_poll(raw->producer, 0);
    }
}

static int run_raw(bool barrier)
{
    raw_t raw;
    open_raw(&raw, barrier, 0, SAGA_STEPS);
    carry_on(&raw);
    return 0;
}

static void *run_step(void *context)
{
    raw_t raw;
    open_raw(&raw, true, *(const int *)context, 1);
    carry_on(&raw);
    return NULL;
}

static int run_apart(void)
{
    static int number[SAGA_STEPS];
    pthread_t thread[SAGA_STEPS];
    for (int i = 0; i < SAGA_STEPS; i++) {
        number[i] = i;
        if (pthread_create(&thread[i], NULL, run_step, &number[i]) != 0)
            bench_die("no thread");
    }
    for (int i = 0; i < SAGA_STEPS; i++)
        (void)pthread_join(thread[i], NULL);
    return 0;
}

/* ---- the library ---- */

static void on_command(void *context, struct pg_conn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    bool may_refuse = sb_slice_is(command->step, "c") && !command->compensate;
    (void)context;
    (void)conn;
    if (may_refuse && wants_refusal(command->input.ptr, command->input.len)) {
        reply->outcome = SB_REPLY_FAILURE;
        (void)snprintf(reply->error, sizeof reply->error, REFUSAL);
        return;
    }
    reply->outcome = SB_REPLY_SUCCESS;
    reply->result = strdup(RESULT);
}

static void *run_one(void *context)
{
    sb_participant_run(context);
    return NULL;
}

/* Each with as many of the steps as it is given: one with all of them, or as many with one. */
static void open_library(int first, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    const char *also[SAGA_STEPS] = {NULL};
    for (int i = 1; i < count; i++)
        also[i - 1] = saga_participant[first + i];
    sb_participant_config_t config = {.name = saga_participant[first],
                                      .pg_uri = setting("SAGABUS_PG"),
                                      .schema = "service",
                                      .on_command = on_command,
                                      .also = also};
    bench_ok(sb_participant_open(&participant[first], &config, &err), &err, "open a participant");
}

static int run_library(void)
{
    open_library(0, SAGA_STEPS);
    sb_participant_run(participant[0]);
    sb_participant_close(&participant[0]);
    return 0;
}

static int run_services(void)
{
    pthread_t thread[SAGA_STEPS];
    for (int i = 0; i < SAGA_STEPS; i++) {
        open_library(i, 1);
        if (pthread_create(&thread[i], NULL, run_one, participant[i]) != 0)
            bench_die("no thread");
    }
    for (int i = 0; i < SAGA_STEPS; i++)
        (void)pthread_join(thread[i], NULL);
    for (int i = 0; i < SAGA_STEPS; i++)
        sb_participant_close(&participant[i]);
    return 0;
}

/* ---- over HTTP ---- */

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *out)
{
    (void)context;
    bool may_refuse = sb_slice_is(sb_peer_header(request, "ce-sagastep"), "c") &&
                      sb_slice_is(sb_peer_header(request, "ce-sagadirection"), "forward");
    if (may_refuse && wants_refusal(request->body.ptr, request->body.len)) {
        out->status = 409;
        (void)snprintf(out->headers, sizeof out->headers, "ce-sagaoutcome: failure\r\nce-sagaerror: %s\r\n",
                       "refused,%20as%20asked%20for");
        return;
    }
    (void)snprintf(out->headers, sizeof out->headers, "Content-Type: application/json\r\n");
    sb_buf_add_text(&out->body, RESULT);
}

static int run_http(void)
{
    sb_peer_t *peer = sb_peer_start(atoi(setting("SB_BENCH_HTTP_PORT")), play, NULL);
    while (!stopping)
        (void)pause();
    sb_peer_stop(&peer);
    return 0;
}

int saga_participants_run(const char *mode)
{
    struct sigaction stop = {.sa_handler = on_stop};
    (void)sigaction(SIGTERM, &stop, NULL);
    if (strcmp(mode, "barrier") == 0)
        return run_library();
    if (strcmp(mode, "services") == 0)
        return run_services();
    if (strcmp(mode, "apart") == 0)
        return run_apart();
    if (strcmp(mode, "http") == 0)
        return run_http();
    return run_raw(strcmp(mode, "bare") == 0);
}
