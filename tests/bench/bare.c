/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bare.h"

#include "base/clock.h"
#include "bus/position.h"
#include "bus/topic.h"
#include "events/saga_number.h"
#include "events/saga_types.h"
#include "saga/contract.h"
#include "saga/machine.h"
#include "tests/bench/bare_participant.h"
#include "tests/bench/latency.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POLL_MS  100
#define QUIET_MS 30000
#define WINDOW                                                                                               \
    256 /* sagas are found by number modulo so many times those at once; far more than are in flight */
#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* ---- statements ---- */

static const char lease_sql[] = "UPDATE sagabus.lease SET cursor = $1::bigint, low = $2::bigint, next = "
                                "$3::bigint, beat = clock_timestamp() "
                                "WHERE role = 'saga:0' AND epoch = 1";
static const char saga_sql[] =
    "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, version, shard, "
    "status, correlation, input) SELECT * FROM unnest($1::bigint[], $2::uuid[], $3::timestamptz[], "
    "$4::text[], "
    "$5::text[], $6::bytea[], $7::bytea[], $8::int[], $9::smallint[], $10::smallint[], $11::text[], "
    "$12::bytea[]) "
    "ON CONFLICT (type, key) DO NOTHING";
static const char event_sql[] =
    "INSERT INTO sagabus.event (stream_no, at, version, type_no, class, id, meta, data) "
    "SELECT u.stream_no, u.at, u.version, u.type_no, 2, u.id, u.meta, u.data FROM unnest($1::bigint[], "
    "$2::timestamptz[], $3::int[], $4::int[], $5::uuid[], $6::bytea[], $7::bytea[]) "
    "AS u (stream_no, at, version, type_no, id, meta, data)";
static const char end_sql[] =
    "UPDATE sagabus.saga s SET ended_at = u.ended_at, version = u.version, status = u.status, step = u.step, "
    "error = u.error, result = u.result FROM unnest($1::bigint[], $2::timestamptz[], $3::int[], "
    "$4::smallint[], "
    "$5::text[], $6::text[], $7::bytea[]) AS u (no, ended_at, version, status, step, error, result) "
    "WHERE s.no = u.no";

enum {
    S_NO,
    S_ID,
    S_STARTED,
    S_TYPE,
    S_KEY,
    S_DEFINITION,
    S_REQUEST,
    S_VERSION,
    S_SHARD,
    S_STATUS,
    S_CORRELATION,
    S_INPUT,
    S_COLUMNS
};
enum { E_STREAM, E_AT, E_VERSION, E_TYPE, E_ID, E_META, E_DATA, E_COLUMNS };
enum { U_NO, U_ENDED, U_VERSION, U_STATUS, U_STEP, U_ERROR, U_RESULT, U_COLUMNS };

static const uint32_t saga_types[] = {SB_PG_INT8, SB_PG_UUID,  SB_PG_TIMESTAMPTZ, SB_PG_TEXT,
                                      SB_PG_TEXT, SB_PG_BYTEA, SB_PG_BYTEA,       SB_PG_INT4,
                                      SB_PG_INT2, SB_PG_INT2,  SB_PG_TEXT,        SB_PG_BYTEA};
static const uint32_t event_types[] = {SB_PG_INT8, SB_PG_TIMESTAMPTZ, SB_PG_INT4, SB_PG_INT4,
                                       SB_PG_UUID, SB_PG_BYTEA,       SB_PG_BYTEA};
static const uint32_t end_types[] = {SB_PG_INT8, SB_PG_TIMESTAMPTZ, SB_PG_INT4, SB_PG_INT2,
                                     SB_PG_TEXT, SB_PG_TEXT,        SB_PG_BYTEA};

/* A public event's record, which goes out after the commit. */
typedef struct told {
    char key[SB_UUID_TEXT], data[512];
    rd_kafka_headers_t *headers;
} told_t;

struct bare {
    const bare_script_t *script;
    place_t *place;
    PGconn *conn;
    rd_kafka_t *consumer, *producer;
    rd_kafka_topic_t *commands[BARE_STEPS_MAX];
    rd_kafka_topic_t *events; /* NULL: public events stay in the table */
    told_t *told;
    int told_count;
    sb_topic_t reply_topic;
    sb_pg_array_t row[S_COLUMNS], event[E_COLUMNS], end[U_COLUMNS];
    bare_saga_t *saga; /* window of them */
    int64_t window;
    bare_saga_t **out; /* whose next command goes out after the commit */
    int out_count;
    int64_t next; /* number of the next saga */
    int64_t offset;
    int open;
    int64_t batches, items; /* transactions in the time of this load; starts and replies in them */
    int64_t until_us;
    latency_t latency;
};

/* ---- rows ---- */

static void add_text(sb_pg_array_t *array, const char *text)
{
    sb_pg_array_add_slice(array, sb_slice(text));
}

/* With the headers that the relay gives it, a position of the usual length among them. */
static void tell_later(bare_t *bare, const bare_saga_t *saga, const char *type, const sb_uuid_t *id,
                       const char *data)
{
    char text[SB_UUID_TEXT], time[SB_TIME_TEXT], schema[64];
    told_t *told = &bare->told[bare->told_count++];
    rd_kafka_headers_t *headers = rd_kafka_headers_new(10);
    (void)snprintf(schema, sizeof schema, "%s.v1", type);
    bare_header(headers, SB_H_SPECVERSION, "1.0");
    bare_header(headers, SB_H_ID, sb_uuid_format(id, text));
    bare_header(headers, SB_H_TYPE, type);
    bare_header(headers, SB_H_SOURCE, "/sagabus");
    bare_header(headers, "ce_subject", saga->id_text);
    bare_header(headers, SB_H_TIME, sb_time_format(sb_wall_us(), time));
    bare_header(headers, "ce_dataschema", schema);
    bare_header(headers, SB_H_CORRELATION, saga->correlation);
    bare_header(headers, SB_H_CONTENT, "application/json");
    bare_header(headers, SB_POSITION_HEADER, "1.1000000.1000000");
    told->headers = headers;
    (void)snprintf(told->key, sizeof told->key, "%s", saga->id_text);
    (void)snprintf(told->data, sizeof told->data, "%s", data);
}

static void tell(bare_t *bare)
{
    for (int i = 0; i < bare->told_count; i++)
        bare_send(bare->producer, bare->events, bare->told[i].key, bare->told[i].data, bare->told[i].headers);
    bare->told_count = 0;
}

static void add_event(bare_t *bare, bare_saga_t *saga, const char *type, const char *data)
{
    char meta[128];
    sb_uuid_t id = sb_uuid_v7();
    if (bare->events && sb_saga_type_is_public(sb_slice(type)))
        tell_later(bare, saga, type, &id, data);
    const sb_event_type_t *known = sb_catalog_type(bare->place->catalog, sb_slice(type), 0);
    if (!known)
        bench_die("no event type %s", type);
    (void)snprintf(meta, sizeof meta, "{\"correlationid\":\"%s\"}", saga->correlation);
    sb_pg_array_add_int8(&bare->event[E_STREAM], saga->no);
    sb_pg_array_add_time(&bare->event[E_AT], sb_wall_us());
    sb_pg_array_add_int4(&bare->event[E_VERSION], ++saga->version);
    sb_pg_array_add_int4(&bare->event[E_TYPE], known->type_no);
    sb_pg_array_add_uuid(&bare->event[E_ID], &id);
    add_text(&bare->event[E_META], meta);
    add_text(&bare->event[E_DATA], data);
}

static void add_start(bare_t *bare, bare_saga_t *saga)
{
    char data[512];
    sb_buf_t input = SB_BUF_INIT;
    sb_slice_t hash = {HASH, 32};
    bare->script->input(&input, saga);
    sb_pg_array_add_int8(&bare->row[S_NO], saga->no);
    sb_pg_array_add_uuid(&bare->row[S_ID], &saga->id);
    sb_pg_array_add_time(&bare->row[S_STARTED], sb_wall_us());
    add_text(&bare->row[S_TYPE], bare->script->type);
    add_text(&bare->row[S_KEY], saga->key);
    sb_pg_array_add_slice(&bare->row[S_DEFINITION], hash);
    sb_pg_array_add_slice(&bare->row[S_REQUEST], hash);
    sb_pg_array_add_int4(&bare->row[S_VERSION], 1);
    sb_pg_array_add_int2(&bare->row[S_SHARD], 0);
    sb_pg_array_add_int2(&bare->row[S_STATUS], SB_SAGA_STARTED);
    add_text(&bare->row[S_CORRELATION], saga->correlation);
    sb_pg_array_add_slice(&bare->row[S_INPUT], sb_buf_slice(&input));
    (void)snprintf(data, sizeof data,
                   "{\"saga_id\":\"%s\",\"saga_type\":\"%s\",\"key\":\"%s\",\"definition\":\"" HASH
                   "\",\"machine\":1}",
                   saga->id_text, bare->script->type, saga->key);
    add_event(bare, saga, "saga.started", data);
    sb_buf_fini(&input);
}

static void add_end(bare_t *bare, bare_saga_t *saga, const char *result)
{
    char data[256];
    (void)snprintf(data, sizeof data, "{\"saga_id\":\"%s\",\"saga_type\":\"%s\",\"key\":\"%s\"}",
                   saga->id_text, bare->script->type, saga->key);
    add_event(bare, saga, saga->refused ? "saga.compensated" : "saga.completed", data);
    sb_pg_array_add_int8(&bare->end[U_NO], saga->no);
    sb_pg_array_add_time(&bare->end[U_ENDED], sb_wall_us());
    sb_pg_array_add_int4(&bare->end[U_VERSION], saga->version);
    sb_pg_array_add_int2(&bare->end[U_STATUS], saga->refused ? SB_SAGA_COMPENSATED : SB_SAGA_COMPLETED);
    if (saga->refused) {
        add_text(&bare->end[U_STEP], bare->script->step[bare->script->steps - 1]);
        add_text(&bare->end[U_ERROR], bare->script->refusal);
        sb_pg_array_add_null(&bare->end[U_RESULT]);
    } else {
        sb_pg_array_add_null(&bare->end[U_STEP]);
        sb_pg_array_add_null(&bare->end[U_ERROR]);
        add_text(&bare->end[U_RESULT], result);
    }
}

/* What a reply to the move that is out leaves in the log. */
static void add_step(bare_t *bare, bare_saga_t *saga, const bare_move_t *move, const char *result)
{
    char data[512];
    const char *step = bare->script->step[move->step];
    if (move->undo) {
        bool has = bare->script->undo_has_result;
        (void)snprintf(data, sizeof data, "{\"step\":\"%s\",\"direction\":\"compensate\"%s%s}", step,
                       has ? ",\"result\":" : "", has ? result : "");
        add_event(bare, saga, "saga.step.compensated", data);
    } else if (saga->refused && move->step == bare->script->steps - 1) {
        (void)snprintf(data, sizeof data, "{\"step\":\"%s\",\"error\":\"%s\"}", step, bare->script->refusal);
        add_event(bare, saga, "saga.step.failed", data);
    } else {
        (void)snprintf(data, sizeof data, "{\"step\":\"%s\",\"result\":%s}", step, result);
        add_event(bare, saga, "saga.step.completed", data);
    }
}

static void reset(sb_pg_array_t *columns, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_reset(&columns[i]);
}

static void send_statement(bare_t *bare, const char *name, const sb_pg_array_t *columns, int count, int *sent)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (columns[0].count == 0)
        return;
    for (int i = 0; i < count; i++)
        sb_pg_add_array(&params, &columns[i]);
    raw_send(bare->conn, name, &params);
    (*sent)++;
}

/* One transaction for the whole batch, the lease first. */
static void write_rows(bare_t *bare)
{
    int sent = 1;
    sb_pg_params_t lease = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&lease, bare->offset);
    sb_pg_add_int8(&lease, bare->next - bare->open);
    sb_pg_add_int8(&lease, bare->next);
    raw_send(bare->conn, "lease", &lease);
    send_statement(bare, "saga", bare->row, S_COLUMNS, &sent);
    send_statement(bare, "event", bare->event, E_COLUMNS, &sent);
    send_statement(bare, "end", bare->end, U_COLUMNS, &sent);
    raw_sync(bare->conn, sent);
    reset(bare->row, S_COLUMNS);
    reset(bare->event, E_COLUMNS);
    reset(bare->end, U_COLUMNS);
}

/* ---- commands ---- */

static const bare_move_t *move_of(const bare_t *bare, const bare_saga_t *saga)
{
    return saga->refused ? &bare->script->refused[saga->at] : &bare->script->all_well[saga->at];
}

static void send_command(bare_t *bare, bare_saga_t *saga)
{
    const bare_move_t *move = move_of(bare, saga);
    char id[SB_UUID_TEXT], forward[SB_UUID_TEXT], expiry[SB_TIME_TEXT];
    const char *step = bare->script->step[move->step];
    sb_buf_t body = SB_BUF_INIT;
    rd_kafka_headers_t *headers = rd_kafka_headers_new(16);
    sb_uuid_t command = sb_saga_command_id(&saga->id, step, move->undo ? SB_COMPENSATE : SB_FORWARD, 1);
    bare->script->body(&body, saga, move, sb_uuid_format(&command, id));
    bare_header(headers, SB_H_SPECVERSION, "1.0");
    bare_header(headers, SB_H_ID, id);
    bare_header(headers, SB_H_TYPE, bare->script->action[move->step][move->undo]);
    bare_header(headers, SB_H_SOURCE, "/sagabus");
    bare_header(headers, SB_H_CONTENT, "application/json");
    bare_header(headers, SB_H_CORRELATION, saga->correlation);
    if (!move->undo)
        bare_header(headers, SB_H_EXPIRY, sb_time_format(sb_wall_us() + 10000000, expiry));
    bare_header(headers, SB_H_SAGA_ID, saga->id_text);
    bare_header(headers, SB_H_SAGA_STEP, step);
    bare_header(headers, SB_H_DIRECTION, move->undo ? "compensate" : "forward");
    bare_header(headers, SB_H_ROUND, "1");
    bare_header(headers, SB_H_ATTEMPT, "1");
    bare_header(headers, SB_H_REPLY_TO, bare->reply_topic);
    bare_header(headers, SB_H_REPLY_PART, "0");
    if (move->undo) {
        command = sb_saga_command_id(&saga->id, step, SB_FORWARD, 1);
        bare_header(headers, SB_H_FORWARD_ID, sb_uuid_format(&command, forward));
        bare_header(headers, SB_H_FORWARD, "completed");
    }
    bare_send(bare->producer, bare->commands[move->step], saga->id_text, sb_buf_text(&body), headers);
    sb_buf_fini(&body);
}

/* ---- the loop ---- */

static void start_saga(bare_t *bare)
{
    int64_t number = bare->next++;
    bare_saga_t *saga = &bare->saga[number % bare->window];
    if (saga->open)
        bench_die("a saga has been open for %lld others", (long long)bare->window);
    sb_uuid_t correlation = sb_uuid_v7();
    *saga = (bare_saga_t){
        .no = sb_saga_number(0, number), .number = number, .from_us = sb_mono_us(), .open = true};
    saga->id = sb_saga_id(saga->no, sb_wall_us() / 1000);
    (void)sb_uuid_format(&saga->id, saga->id_text);
    (void)sb_uuid_format(&correlation, saga->correlation);
    (void)snprintf(saga->key, sizeof saga->key, "o-%lld", (long long)number);
    saga->refused = bare->script->is_refused(number);
    add_start(bare, saga);
    bare->out[bare->out_count++] = saga;
    bare->open++;
}

static bare_saga_t *find_saga(bare_t *bare, const rd_kafka_message_t *message)
{
    sb_uuid_t id;
    int64_t number = 0;
    if (!sb_uuid_parse(message->key, message->key_len, &id) || !sb_saga_number_of(&id, &number))
        bench_die("a reply without a saga");
    bare_saga_t *saga = &bare->saga[sb_saga_counter(number) % bare->window];
    if (!saga->open || saga->no != number)
        bench_die("a reply to a saga that is over");
    return saga;
}

static void take_reply(bare_t *bare, const rd_kafka_message_t *message, bare_saga_t **ended, int *ended_count)
{
    char result[256];
    bare_saga_t *saga = find_saga(bare, message);
    (void)snprintf(result, sizeof result, "%.*s", (int)message->len, (const char *)message->payload);
    add_step(bare, saga, move_of(bare, saga), result);
    bare->offset = message->offset + 1;
    int moves = saga->refused ? bare->script->refused_moves : bare->script->all_well_moves;
    if (++saga->at < moves) {
        bare->out[bare->out_count++] = saga;
        return;
    }
    add_end(bare, saga, result);
    ended[(*ended_count)++] = saga;
}

static void one_batch(bare_t *bare, int starts)
{
    rd_kafka_message_t *message[BARE_BATCH_MAX];
    bare_saga_t *ended[BARE_BATCH_MAX];
    int ended_count = 0;
    for (int i = 0; i < starts; i++)
        start_saga(bare);
    int count = bare_take(bare->consumer, message, BARE_BATCH_MAX, starts ? 0 : POLL_MS);
    for (int i = 0; i < count; i++) {
        take_reply(bare, message[i], ended, &ended_count);
        rd_kafka_message_destroy(message[i]);
    }
    if (count + starts == 0)
        return;
    write_rows(bare);
    int64_t now_us = sb_mono_us();
    if (now_us <= bare->until_us) {
        bare->batches++;
        bare->items += count + starts;
    }
    for (int i = 0; i < bare->out_count; i++)
        send_command(bare, bare->out[i]);
    bare->out_count = 0;
    tell(bare);
    for (int i = 0; i < ended_count; i++) {
        ended[i]->open = false;
        bare->open--;
        if (now_us <= bare->until_us)
            latency_add(&bare->latency, now_us - ended[i]->from_us);
    }
    (void)rd_kafka_poll(bare->producer, 0);
}

void bare_load(bare_t *bare, int at_once, double seconds, double *values)
{
    int64_t from_us = sb_mono_us();
    bare->until_us = from_us + (int64_t)(seconds * 1e6);
    bare->latency.count = 0;
    bare->batches = bare->items = 0;
    for (;;) {
        int64_t now_us = sb_mono_us();
        bool more = now_us < bare->until_us;
        if (!more && bare->open == 0)
            break;
        if (now_us > bare->until_us + QUIET_MS * 1000)
            bench_die("%d sagas of the reference did not end", bare->open);
        one_batch(bare, more ? at_once - bare->open : 0);
    }
    values[BARE_ITEMS] = bare->batches ? (double)bare->items / (double)bare->batches : 0;
    values[BARE_RATE] = (double)bare->latency.count / seconds;
    values[BARE_P50] = latency_percentile_ms(&bare->latency, 50);
    values[BARE_P99] = latency_percentile_ms(&bare->latency, 99);
}

/* ---- open and close ---- */

static void init_columns(sb_pg_array_t *columns, const uint32_t *types, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_init(&columns[i], types[i]);
}

static void fini_columns(sb_pg_array_t *columns, int count)
{
    for (int i = 0; i < count; i++)
        sb_pg_array_fini(&columns[i]);
}

static void connect_all(bare_t *bare)
{
    sb_error_t err = SB_ERROR_INIT;
    const char *bootstrap = bare->place->env->kafka_bootstrap;
    bench_ok(sb_topic_replies(bare->reply_topic, bare->place->prefix, &err), &err, "name a topic");
    bare->conn = raw_connect(place_uri(bare->place), NULL);
    raw_prepare(bare->conn, "lease", lease_sql);
    raw_prepare(bare->conn, "saga", saga_sql);
    raw_prepare(bare->conn, "event", event_sql);
    raw_prepare(bare->conn, "end", end_sql);
    raw_start_pipeline(bare->conn);
    bare->consumer = raw_consumer(bootstrap, bare->reply_topic);
    bare->producer = raw_producer(bootstrap, "0.2");
    for (int i = 0; i < bare->script->steps; i++) {
        sb_topic_t topic;
        bench_ok(sb_topic_commands(topic, bare->place->prefix, sb_slice(bare->script->participant[i]), &err),
                 &err, "name a topic");
        bare->commands[i] = rd_kafka_topic_new(bare->producer, topic, NULL);
    }
}

static void open_events(bare_t *bare)
{
    sb_topic_t topic;
    sb_error_t err = SB_ERROR_INIT;
    bench_ok(sb_topic_events(topic, bare->place->prefix, SB_SLICE("saga"), &err), &err, "name a topic");
    bare->events = rd_kafka_topic_new(bare->producer, topic, NULL);
}

bare_t *bare_open(const bare_script_t *script, place_t *place, int at_once_max, bool public_too)
{
    bare_t *bare = calloc(1, sizeof *bare);
    if (!bare)
        bench_die("out of memory");
    bare->script = script;
    bare->place = place;
    bare->next = 1;
    bare->window = (int64_t)at_once_max * WINDOW;
    bare->saga = calloc((size_t)bare->window, sizeof *bare->saga);
    bare->out = calloc((size_t)at_once_max + BARE_BATCH_MAX, sizeof(bare_saga_t *));
    bare->told = calloc(2 * ((size_t)at_once_max + BARE_BATCH_MAX), sizeof *bare->told);
    if (!bare->saga || !bare->out || !bare->told)
        bench_die("out of memory");
    place_script(place, "INSERT INTO sagabus.lease (role, epoch) VALUES ('saga:0', 1)");
    init_columns(bare->row, saga_types, S_COLUMNS);
    init_columns(bare->event, event_types, E_COLUMNS);
    init_columns(bare->end, end_types, U_COLUMNS);
    connect_all(bare);
    if (public_too)
        open_events(bare);
    return bare;
}

void bare_close(bare_t **bare)
{
    bare_t *b = *bare;
    for (int i = 0; i < b->script->steps; i++)
        rd_kafka_topic_destroy(b->commands[i]);
    if (b->events)
        rd_kafka_topic_destroy(b->events);
    rd_kafka_destroy(b->producer);
    rd_kafka_consumer_close(b->consumer);
    rd_kafka_destroy(b->consumer);
    PQfinish(b->conn);
    fini_columns(b->row, S_COLUMNS);
    fini_columns(b->event, E_COLUMNS);
    fini_columns(b->end, U_COLUMNS);
    latency_fini(&b->latency);
    free(b->saga);
    free(b->out);
    free(b->told);
    free(b);
    *bare = NULL;
}
