/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bare_participant.h"

#include "bus/topic.h"
#include "saga/contract.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS 100

/* ---- Kafka ---- */

int bare_take(rd_kafka_t *consumer, rd_kafka_message_t **messages, int max, int timeout_ms)
{
    int count = 0;
    while (count < max) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, count ? 0 : timeout_ms);
        if (!message)
            break;
        if (message->err)
            bench_die("raw librdkafka: %s", rd_kafka_message_errstr(message));
        messages[count++] = message;
    }
    return count;
}

void bare_header(rd_kafka_headers_t *headers, const char *name, const char *value)
{
    (void)rd_kafka_header_add(headers, name, -1, value, (ssize_t)strlen(value));
}

void bare_find_header(const rd_kafka_message_t *message, const char *name, char *out, size_t size)
{
    rd_kafka_headers_t *headers = NULL;
    const void *value = NULL;
    size_t length = 0;
    out[0] = '\0';
    if (rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        rd_kafka_header_get_last(headers, name, &value, &length) == RD_KAFKA_RESP_ERR_NO_ERROR)
        (void)snprintf(out, size, "%.*s", (int)length, (const char *)value);
}

void bare_send(rd_kafka_t *producer, rd_kafka_topic_t *topic, const char *key, const char *body,
               rd_kafka_headers_t *headers)
{
    for (;;) {
        rd_kafka_resp_err_t error =
            rd_kafka_producev(producer, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(0),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, strlen(key)),
                              RD_KAFKA_V_VALUE((void *)(uintptr_t)body, strlen(body)),
                              RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        if (error != RD_KAFKA_RESP_ERR__QUEUE_FULL)
            bench_die("raw librdkafka: %s", rd_kafka_err2str(error));
        (void)rd_kafka_poll(producer, 1);
    }
}

/* ---- what each of them writes ---- */

typedef struct service {
    const char *category;
    const char *forward_event[2];
    const char *undo_event;
    const char *forward_sql; /* $1 order ids, $2 command ids; NULL: writes nothing of its own */
    const char *undo_sql;    /* $1 order ids, $2 forward command ids */
    bool wants_ids;          /* $2 is there */
} service_t;

static const service_t services[ORDER_PARTICIPANTS] = {
    {"customer", {"customer.validated", NULL}, NULL, NULL, NULL, false},
    {"inventory",
     {"inventory.reserved", NULL},
     "inventory.released",
     "WITH r AS (INSERT INTO reservation (sku, quantity, order_id) SELECT 'book', 1, o FROM "
     "unnest($1::text[]) o) "
     "UPDATE stock SET available = available - cardinality($1::text[]), "
     "reserved = reserved + cardinality($1::text[]) WHERE sku = 'book'",
     "WITH r AS (DELETE FROM reservation WHERE order_id = ANY ($1::text[])) "
     "UPDATE stock SET available = available + cardinality($1::text[]), "
     "reserved = reserved - cardinality($1::text[]) WHERE sku = 'book'",
     false},
    {"payment",
     {"payment.charged", NULL},
     "payment.refunded",
     "WITH p AS (INSERT INTO payment (customer_id, amount, payment_id, order_id, currency) "
     "SELECT 'edsger', 1999, u.id, u.o, 'EUR' FROM unnest($1::text[], $2::uuid[]) AS u (o, id)) "
     "UPDATE account SET balance = balance - 1999 * cardinality($1::text[]) WHERE customer_id = 'edsger'",
     "WITH p AS (UPDATE payment SET refunded = true WHERE payment_id = ANY ($2::uuid[])) "
     "UPDATE account SET balance = balance + 1999 * cardinality($1::text[]) WHERE customer_id = 'edsger'",
     true},
    {"order",
     {"order.created", "order.confirmed"},
     "order.cancelled",
     "INSERT INTO orders (order_id, customer_id, amount, currency) SELECT o, 'edsger', 1999, 'EUR' "
     "FROM unnest($1::text[]) o",
     "UPDATE orders SET status = 'cancelled' WHERE order_id = ANY ($1::text[])",
     false},
    {"notification",
     {"notification.sent", NULL},
     "notification.sent",
     "INSERT INTO outbox (order_id, customer_id, template) SELECT o, 'edsger', 'confirmation' "
     "FROM unnest($1::text[]) o",
     "INSERT INTO outbox (order_id, customer_id, template) SELECT o, 'edsger', 'cancellation' "
     "FROM unnest($1::text[]) o",
     false},
};

static const char barrier_sql[] =
    "INSERT INTO barrier (command_id, saga_id, step, direction, outcome, reply, error) "
    "SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bytea[], "
    "$7::text[]) "
    "ON CONFLICT (command_id) DO NOTHING";
static const char effect_sql[] = "INSERT INTO effect (command_id, saga_id, step, direction) "
                                 "SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[])";
static const char stream_sql[] =
    "INSERT INTO sagabus.stream AS s (category, key, version) "
    "SELECT $1::text, u.key, u.more FROM unnest($2::text[], $3::int[]) AS u (key, more) "
    "ON CONFLICT (category, key) DO UPDATE SET version = s.version + excluded.version";
static const char event_sql[] =
    "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) "
    "SELECT s.stream_no, s.version - u.back, u.type_no, 1, u.id, u.meta, u.data "
    "FROM unnest($2::text[], $3::int[], $4::int[], $5::uuid[], $6::bytea[], $7::bytea[]) "
    "AS u (key, back, type_no, id, meta, data) JOIN sagabus.stream s ON s.category = $1::text AND s.key = "
    "u.key";

enum { B_COMMAND, B_SAGA, B_STEP, B_DIRECTION, B_OUTCOME, B_REPLY, B_ERROR, B_COLUMNS };
enum { F_COMMAND, F_SAGA, F_STEP, F_DIRECTION, F_COLUMNS };
enum { O_ORDER, O_ID, O_COLUMNS }; /* of forward and undo statements */
enum { S_KEY, S_MORE, S_COLUMNS };
enum { E_KEY, E_BACK, E_TYPE, E_ID, E_META, E_DATA, E_COLUMNS };

static const uint32_t barrier_types[] = {SB_PG_UUID, SB_PG_UUID,  SB_PG_TEXT, SB_PG_TEXT,
                                         SB_PG_TEXT, SB_PG_BYTEA, SB_PG_TEXT};
static const uint32_t effect_types[] = {SB_PG_UUID, SB_PG_UUID, SB_PG_TEXT, SB_PG_TEXT};
static const uint32_t own_types[] = {SB_PG_TEXT, SB_PG_UUID};
static const uint32_t stream_types[] = {SB_PG_TEXT, SB_PG_INT4};
static const uint32_t event_types[] = {SB_PG_TEXT, SB_PG_INT4,  SB_PG_INT4,
                                       SB_PG_UUID, SB_PG_BYTEA, SB_PG_BYTEA};

struct bare_participant {
    place_t *place;
    const service_t *service;
    const char *name;
    int forward_type[2], undo_type;
    pthread_t thread;
    atomic_bool stopping;
    PGconn *conn;
    rd_kafka_t *consumer, *producer;
    rd_kafka_topic_t *replies;
    sb_pg_array_t barrier[B_COLUMNS], effect[F_COLUMNS], forward[O_COLUMNS], undo[O_COLUMNS];
    sb_pg_array_t stream[S_COLUMNS], event[E_COLUMNS];
};

/* ---- rows ---- */

typedef struct command {
    char id[SB_UUID_TEXT], saga[SB_UUID_TEXT], forward_id[SB_UUID_TEXT];
    char step[64], direction[16], type[64], correlation[64], order_id[64];
    bool undo, refused;
} command_t;

static void read_command(const rd_kafka_message_t *message, command_t *out)
{
    bare_find_header(message, SB_H_ID, out->id, sizeof out->id);
    bare_find_header(message, SB_H_TYPE, out->type, sizeof out->type);
    bare_find_header(message, SB_H_CORRELATION, out->correlation, sizeof out->correlation);
    bare_find_header(message, SB_H_SAGA_ID, out->saga, sizeof out->saga);
    bare_find_header(message, SB_H_SAGA_STEP, out->step, sizeof out->step);
    bare_find_header(message, SB_H_DIRECTION, out->direction, sizeof out->direction);
    bare_find_header(message, SB_H_FORWARD_ID, out->forward_id, sizeof out->forward_id);
    char body[1024];
    (void)snprintf(body, sizeof body, "%.*s", (int)message->len, (const char *)message->payload);
    const char *order = strstr(body, "\"order_id\":\"");
    if (!order || sscanf(order + 12, "%63[^\"]", out->order_id) != 1)
        bench_die("raw participant: not a command: %s", body);
    out->undo = strcmp(out->direction, "compensate") == 0;
    out->refused = !out->undo && strcmp(out->step, "send_confirmation") == 0 && strstr(body, "\"alan\"");
}

static void add_uuid(sb_pg_array_t *array, const char *text)
{
    sb_uuid_t id = SB_UUID_NIL;
    (void)sb_uuid_parse(text, strlen(text), &id);
    sb_pg_array_add_uuid(array, &id);
}

static void add_text(sb_pg_array_t *array, const char *text)
{
    sb_pg_array_add_slice(array, sb_slice(text));
}

/* Bodies as long as the example's own. */
static void write_event(const command_t *command, const char *type, char out[256])
{
    if (strcmp(type, "order.created") == 0)
        (void)snprintf(
            out, 256,
            "{\"amount\":1999,\"currency\":\"EUR\",\"customer_id\":\"edsger\",\"items\":[{\"price\":1999,"
            "\"quantity\":1,\"sku\":\"book\"}],\"order_id\":\"%s\"}",
            command->order_id);
    else if (strncmp(type, "payment.", 8) == 0)
        (void)snprintf(out, 256,
                       "{\"amount\":1999,\"currency\":\"EUR\",\"customer_id\":\"edsger\",\"order_id\":\"%s\","
                       "\"payment_id\":\"%s\"}",
                       command->order_id, command->id);
    else if (strncmp(type, "inventory.", 10) == 0)
        (void)snprintf(out, 256, "{\"items\":[{\"quantity\":1,\"sku\":\"book\"}],\"order_id\":\"%s\"}",
                       command->order_id);
    else if (strcmp(type, "order.cancelled") == 0)
        (void)snprintf(out, 256,
                       "{\"customer_id\":\"edsger\",\"order_id\":\"%s\",\"reason\":\"the order could not be "
                       "completed\"}",
                       command->order_id);
    else if (strcmp(type, "notification.sent") == 0)
        (void)snprintf(out, 256,
                       "{\"channel\":\"email\",\"customer_id\":\"edsger\",\"order_id\":\"%s\",\"template\":"
                       "\"confirmation\"}",
                       command->order_id);
    else
        (void)snprintf(out, 256, "{\"customer_id\":\"edsger\",\"order_id\":\"%s\"}", command->order_id);
}

static void add_event(bare_participant_t *p, const command_t *command, const char *type, int type_no,
                      int back)
{
    char data[256], meta[128];
    sb_uuid_t id = sb_uuid_v7();
    write_event(command, type, data);
    (void)snprintf(meta, sizeof meta, "{\"correlationid\":\"%s\"}", command->correlation);
    add_text(&p->event[E_KEY], command->order_id);
    sb_pg_array_add_int4(&p->event[E_BACK], back);
    sb_pg_array_add_int4(&p->event[E_TYPE], type_no);
    sb_pg_array_add_uuid(&p->event[E_ID], &id);
    add_text(&p->event[E_META], meta);
    add_text(&p->event[E_DATA], data);
}

static void add_events(bare_participant_t *p, const command_t *command)
{
    const char *const *types = p->service->forward_event;
    int count = !command->undo && types[1] ? 2 : 1;
    add_text(&p->stream[S_KEY], command->order_id);
    sb_pg_array_add_int4(&p->stream[S_MORE], count);
    if (command->undo)
        add_event(p, command, p->service->undo_event, p->undo_type, 0);
    for (int i = 0; i < count && !command->undo; i++)
        add_event(p, command, types[i], p->forward_type[i], count - 1 - i);
}

static void write_result(const bare_participant_t *p, const command_t *command, char out[128])
{
    (void)snprintf(out, 128, "{}");
    if (command->undo || command->refused)
        return;
    if (strcmp(p->service->category, "inventory") == 0)
        (void)snprintf(out, 128, "{\"reservation\":\"%s\"}", command->order_id);
    else if (strcmp(p->service->category, "payment") == 0)
        (void)snprintf(out, 128, "{\"payment_id\":\"%s\"}", command->id);
    else if (strcmp(p->service->category, "order") == 0)
        (void)snprintf(out, 128, "{\"order_id\":\"%s\"}", command->order_id);
}

#define REFUSAL "customer alan has no address that takes mail"

static void add_rows(bare_participant_t *p, const command_t *command, const char *result)
{
    add_uuid(&p->barrier[B_COMMAND], command->id);
    add_uuid(&p->barrier[B_SAGA], command->saga);
    add_text(&p->barrier[B_STEP], command->step);
    add_text(&p->barrier[B_DIRECTION], command->direction);
    add_text(&p->barrier[B_OUTCOME], command->refused ? "failure" : "success");
    add_text(&p->barrier[B_REPLY], result);
    add_text(&p->barrier[B_ERROR], command->refused ? REFUSAL : "");
    if (command->refused)
        return;
    add_uuid(&p->effect[F_COMMAND], command->id);
    add_uuid(&p->effect[F_SAGA], command->saga);
    add_text(&p->effect[F_STEP], command->step);
    add_text(&p->effect[F_DIRECTION], command->direction);
    add_text(command->undo ? &p->undo[O_ORDER] : &p->forward[O_ORDER], command->order_id);
    add_uuid(command->undo ? &p->undo[O_ID] : &p->forward[O_ID],
             command->undo ? command->forward_id : command->id);
    add_events(p, command);
}

static void send_statement(bare_participant_t *p, const char *name, sb_pg_array_t *columns, int count,
                           const char *first, int *sent)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (columns[0].count == 0)
        return;
    if (first)
        sb_pg_add_text(&params, first);
    for (int i = 0; i < count; i++)
        sb_pg_add_array(&params, &columns[i]);
    raw_send(p->conn, name, &params);
    (*sent)++;
}

static void reset(sb_pg_array_t *columns, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_reset(&columns[i]);
}

/* One transaction for the whole batch. */
static void write_rows(bare_participant_t *p)
{
    int sent = 0;
    int own = p->service->wants_ids ? O_COLUMNS : 1;
    send_statement(p, "barrier", p->barrier, B_COLUMNS, NULL, &sent);
    if (p->service->forward_sql)
        send_statement(p, "forward", p->forward, own, NULL, &sent);
    if (p->service->undo_sql)
        send_statement(p, "undo", p->undo, own, NULL, &sent);
    send_statement(p, "stream", p->stream, S_COLUMNS, p->service->category, &sent);
    send_statement(p, "event", p->event, E_COLUMNS, p->service->category, &sent);
    send_statement(p, "effect", p->effect, F_COLUMNS, NULL, &sent);
    raw_sync(p->conn, sent);
    reset(p->barrier, B_COLUMNS);
    reset(p->effect, F_COLUMNS);
    reset(p->forward, O_COLUMNS);
    reset(p->undo, O_COLUMNS);
    reset(p->stream, S_COLUMNS);
    reset(p->event, E_COLUMNS);
}

/* ---- replies ---- */

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

static void send_reply(bare_participant_t *p, const rd_kafka_message_t *message, const command_t *command,
                       const char *result)
{
    char id[SB_UUID_TEXT], type[80], source[80];
    sb_uuid_t own = sb_uuid_v7();
    rd_kafka_headers_t *headers = rd_kafka_headers_new(16);
    (void)snprintf(type, sizeof type, "%s.reply", command->type);
    (void)snprintf(source, sizeof source, "/participants/%s", p->name);
    bare_header(headers, SB_H_SPECVERSION, "1.0");
    bare_header(headers, SB_H_ID, sb_uuid_format(&own, id));
    bare_header(headers, SB_H_TYPE, type);
    bare_header(headers, SB_H_SOURCE, source);
    bare_header(headers, SB_H_CAUSATION, command->id);
    bare_header(headers, SB_H_CORRELATION, command->correlation);
    echo(message, headers);
    bare_header(headers, SB_H_OUTCOME, command->refused ? "failure" : "success");
    if (command->refused)
        bare_header(headers, SB_H_ERROR, REFUSAL);
    bare_send(p->producer, p->replies, command->saga, result, headers);
}

/* ---- the thread ---- */

static void one_batch(bare_participant_t *p)
{
    rd_kafka_message_t *message[BARE_BATCH_MAX];
    command_t command[BARE_BATCH_MAX];
    char result[BARE_BATCH_MAX][128];
    int count = bare_take(p->consumer, message, BARE_BATCH_MAX, POLL_MS);
    if (count == 0)
        return;
    for (int i = 0; i < count; i++) {
        read_command(message[i], &command[i]);
        write_result(p, &command[i], result[i]);
        add_rows(p, &command[i], result[i]);
    }
    write_rows(p);
    for (int i = 0; i < count; i++) {
        send_reply(p, message[i], &command[i], result[i]);
        rd_kafka_message_destroy(message[i]);
    }
    (void)rd_kafka_poll(p->producer, 0);
}

static void *run(void *context)
{
    bare_participant_t *p = context;
    while (!atomic_load(&p->stopping))
        one_batch(p);
    return NULL;
}

static void init_columns(sb_pg_array_t *columns, const uint32_t *types, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_init(&columns[i], types[i]);
}

static void prepare(bare_participant_t *p)
{
    p->conn = raw_connect(place_uri(p->place), p->name);
    raw_prepare(p->conn, "barrier", barrier_sql);
    raw_prepare(p->conn, "effect", effect_sql);
    raw_prepare(p->conn, "stream", stream_sql);
    raw_prepare(p->conn, "event", event_sql);
    if (p->service->forward_sql)
        raw_prepare(p->conn, "forward", p->service->forward_sql);
    if (p->service->undo_sql)
        raw_prepare(p->conn, "undo", p->service->undo_sql);
    raw_start_pipeline(p->conn);
    init_columns(p->barrier, barrier_types, B_COLUMNS);
    init_columns(p->effect, effect_types, F_COLUMNS);
    init_columns(p->forward, own_types, O_COLUMNS);
    init_columns(p->undo, own_types, O_COLUMNS);
    init_columns(p->stream, stream_types, S_COLUMNS);
    init_columns(p->event, event_types, E_COLUMNS);
}

static int type_no(const bare_participant_t *p, const char *name)
{
    return name ? sb_catalog_type(p->place->catalog, sb_slice(name), 0)->type_no : 0;
}

bare_participant_t *bare_participant_start(place_t *place, int index)
{
    sb_topic_t commands, replies;
    sb_error_t err = SB_ERROR_INIT;
    bare_participant_t *p = calloc(1, sizeof *p);
    if (!p)
        bench_die("out of memory");
    p->place = place;
    p->service = &services[index];
    p->name = order_participant[index];
    p->forward_type[0] = type_no(p, p->service->forward_event[0]);
    p->forward_type[1] = type_no(p, p->service->forward_event[1]);
    p->undo_type = type_no(p, p->service->undo_event);
    atomic_init(&p->stopping, false);
    bench_ok(sb_topic_commands(commands, place->prefix, sb_slice(p->name), &err), &err, "name a topic");
    bench_ok(sb_topic_replies(replies, place->prefix, &err), &err, "name a topic");
    prepare(p);
    p->consumer = raw_consumer(place->env->kafka_bootstrap, commands);
    p->producer = raw_producer(place->env->kafka_bootstrap, "0.2");
    p->replies = rd_kafka_topic_new(p->producer, replies, NULL);
    if (pthread_create(&p->thread, NULL, run, p) != 0)
        bench_die("no thread for a participant");
    return p;
}

static void fini_columns(sb_pg_array_t *columns, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_fini(&columns[i]);
}

void bare_participant_stop(bare_participant_t **participant)
{
    bare_participant_t *p = *participant;
    atomic_store(&p->stopping, true);
    (void)pthread_join(p->thread, NULL);
    rd_kafka_topic_destroy(p->replies);
    rd_kafka_destroy(p->producer);
    rd_kafka_consumer_close(p->consumer);
    rd_kafka_destroy(p->consumer);
    PQfinish(p->conn);
    fini_columns(p->barrier, B_COLUMNS);
    fini_columns(p->effect, F_COLUMNS);
    fini_columns(p->forward, O_COLUMNS);
    fini_columns(p->undo, O_COLUMNS);
    fini_columns(p->stream, S_COLUMNS);
    fini_columns(p->event, E_COLUMNS);
    free(p);
    *participant = NULL;
}
