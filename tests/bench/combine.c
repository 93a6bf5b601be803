/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/combine.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "tests/bench/clients.h"
#include "tests/bench/raw.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READY_MS 30000
#define STOP_MS  10000
#define KEYS     1000

/* ---- through the appender ---- */

static void *open_nothing(writer_t *writer)
{
    (void)writer;
    return NULL;
}

static void close_nothing(void *opened)
{
    (void)opened;
}

static void append_one(writer_t *writer, void *opened)
{
    (void)opened;
    const combine_t *combine = writer->context;
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    char key[64], body[APPEND_BODY + 1];
    append_key(key, "c", writer, 1);
    append_body(body, writer->count);
    sb_event_t event = {.type = SB_SLICE("order.created"), .schema_version = 1, .data = {body, APPEND_BODY}};
    sb_append_t append = {.category = SB_SLICE("order"), .key = sb_slice(key), .events = &event, .count = 1};
    bench_ok(sb_appender_append(combine->appender, &append, &result, &err), &err, "append");
    writer->count++;
}

void combine_appender(void *context, int round, double *values)
{
    static const writer_ops_t ops = {open_nothing, append_one, close_nothing};
    combine_t *combine = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_appender_stats_t stats;
    sb_appender_config_t config = {.pg_uri = place_uri(combine->place), .connections = combine->connections};
    bench_ok(sb_appender_open(&combine->appender, &config, &err), &err, "open an appender");
    values[0] = writers_run(&ops, COMBINE_CALLERS, round, combine, combine->seconds);
    sb_appender_stats(combine->appender, &stats);
    combine->rows = (double)stats.appends / (double)stats.batches;
    sb_appender_close(&combine->appender);
}

/* ---- raw libpq, with as many rows a commit ---- */

static const char stream_sql[] =
    "INSERT INTO sagabus.stream AS s (category, key, version) SELECT 'order', u.key, 1 FROM "
    "unnest($1::text[]) AS u (key) ORDER BY u.key "
    "ON CONFLICT (category, key) DO UPDATE SET version = s.version + 1";
static const char event_sql[] = "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) "
                                "SELECT s.stream_no, s.version, $2::int, 1, u.id, u.data FROM "
                                "unnest($1::text[], $3::uuid[], $4::bytea[]) "
                                "WITH ORDINALITY AS u (key, id, data, nth) JOIN sagabus.stream s ON "
                                "s.category = 'order' AND s.key = u.key "
                                "ORDER BY u.nth";

typedef struct side {
    PGconn *conn;
    int type_no, rows;
    sb_pg_array_t keys, ids, bodies;
} side_t;

static void *open_raw(writer_t *writer)
{
    const combine_t *combine = writer->context;
    side_t *side = calloc(1, sizeof *side);
    if (!side)
        bench_die("out of memory");
    side->type_no = sb_catalog_type(combine->place->catalog, SB_SLICE("order.created"), 1)->type_no;
    side->rows = (int)(combine->rows + 0.5);
    side->conn = raw_connect(place_uri(combine->place), NULL);
    raw_prepare(side->conn, "stream", stream_sql);
    raw_prepare(side->conn, "event", event_sql);
    raw_start_pipeline(side->conn);
    sb_pg_array_init(&side->keys, SB_PG_TEXT);
    sb_pg_array_init(&side->ids, SB_PG_UUID);
    sb_pg_array_init(&side->bodies, SB_PG_BYTEA);
    return side;
}

static void commit_rows(writer_t *writer, void *opened)
{
    side_t *side = opened;
    sb_pg_params_t stream = SB_PG_PARAMS_INIT, event = SB_PG_PARAMS_INIT;
    sb_pg_array_reset(&side->keys);
    sb_pg_array_reset(&side->ids);
    sb_pg_array_reset(&side->bodies);
    for (int i = 0; i < side->rows; i++) {
        sb_uuid_t id = sb_uuid_v7();
        char key[64], body[APPEND_BODY + 1];
        int64_t turn = writer->count / side->rows;
        (void)snprintf(key, sizeof key, "p-%d-%d-%d-%lld", writer->round, writer->number, i,
                       (long long)(turn % KEYS));
        append_body(body, writer->count + i);
        sb_pg_array_add_slice(&side->keys, sb_slice(key));
        sb_pg_array_add_uuid(&side->ids, &id);
        sb_pg_array_add_slice(&side->bodies, (sb_slice_t){body, APPEND_BODY});
    }
    sb_pg_add_array(&stream, &side->keys);
    sb_pg_add_array(&event, &side->keys);
    sb_pg_add_int4(&event, side->type_no);
    sb_pg_add_array(&event, &side->ids);
    sb_pg_add_array(&event, &side->bodies);
    raw_send(side->conn, "stream", &stream);
    raw_send(side->conn, "event", &event);
    raw_sync(side->conn, 2);
    writer->count += side->rows;
}

static void close_raw(void *opened)
{
    side_t *side = opened;
    sb_pg_array_fini(&side->keys);
    sb_pg_array_fini(&side->ids);
    sb_pg_array_fini(&side->bodies);
    PQfinish(side->conn);
    free(side);
}

void combine_raw(void *context, int round, double *values)
{
    static const writer_ops_t ops = {open_raw, commit_rows, close_raw};
    combine_t *combine = context;
    if (combine->rows < 1) { /* the first turn is ours to know how many rows a commit had */
        double ignored[BENCH_VALUES_MAX];
        combine_appender(combine, 1000 + round, ignored);
    }
    values[0] = writers_run(&ops, combine->connections, round, combine, combine->seconds);
}

/* ---- message-db ---- */

static void run_file(PGconn *conn, const char *folder, const char *name)
{
    char path[1024];
    static char text[65536];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    if (!file || length == 0 || length == sizeof text - 1)
        bench_die("message-db: cannot read %s", path);
    (void)fclose(file);
    text[length] = '\0';
    PGresult *result = PQexec(conn, text);
    if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
        bench_die("message-db: %s: %s", name, PQerrorMessage(conn));
    PQclear(result);
}

static PGconn *message_db(const combine_t *combine)
{
    PGconn *conn = PQconnectdb(place_uri(combine->place));
    PGresult *result =
        PQexec(conn, "SET search_path = message_store, public; SET client_min_messages = error");
    if (PQresultStatus(result) != PGRES_COMMAND_OK)
        bench_die("message-db: %s", PQerrorMessage(conn));
    PQclear(result);
    return conn;
}

void combine_install_message_db(const combine_t *combine)
{
    static const char *const files[] = {"schema/message-store.sql",
                                        "extensions/pgcrypto.sql",
                                        "tables/messages.sql",
                                        "types/message.sql",
                                        "functions/message-store-version.sql",
                                        "functions/hash-64.sql",
                                        "functions/category.sql",
                                        "functions/stream-version.sql",
                                        "functions/id.sql",
                                        "functions/cardinal-id.sql",
                                        "functions/acquire-lock.sql",
                                        "functions/write-message.sql",
                                        "indexes/messages-id.sql",
                                        "indexes/messages-stream.sql",
                                        "indexes/messages-category.sql"};
    PGconn *conn = message_db(combine);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        run_file(conn, combine->message_db, files[i]);
    PQfinish(conn);
}

static void *open_message_db(writer_t *writer)
{
    PGconn *conn = message_db(writer->context);
    raw_prepare(conn, "write", "SELECT write_message($1, $2, 'order.created', $3::jsonb)");
    return conn;
}

static void write_message(writer_t *writer, void *opened)
{
    char id[SB_UUID_TEXT], key[64], stream[80], body[APPEND_BODY + 1];
    sb_uuid_t uuid = sb_uuid_v7();
    append_key(key, "m", writer, 1);
    (void)snprintf(stream, sizeof stream, "order-%s", key);
    append_body(body, writer->count);
    const char *values[] = {sb_uuid_format(&uuid, id), stream, body};
    PGresult *result = PQexecPrepared(opened, "write", 3, values, NULL, NULL, 0);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        bench_die("message-db: %s", PQerrorMessage(opened));
    PQclear(result);
    writer->count++;
}

static void close_message_db(void *opened)
{
    PQfinish(opened);
}

static double message_db_rate(const combine_t *combine, int clients, int round, double seconds)
{
    static const writer_ops_t ops = {open_message_db, write_message, close_message_db};
    return writers_run(&ops, clients, round, combine, seconds);
}

void combine_message_db(void *context, int round, double *values)
{
    static const int counts[] = {1, 2, 4, 8};
    combine_t *combine = context;
    double best = 0;
    int best_count = 0;
    for (int i = 0; combine->clients == 0 && i < 4; i++) {
        double rate = message_db_rate(combine, counts[i], 1000 + i, combine->seconds);
        bench_say("message-db with %d clients: %.0f events/s", counts[i], rate);
        if (rate > best) {
            best = rate;
            best_count = counts[i];
        }
    }
    if (combine->clients == 0)
        combine->clients = best_count;
    values[0] = message_db_rate(combine, combine->clients, round, combine->seconds);
}

/* ---- over HTTP ---- */

static const char *server_url(void)
{
    const char *url = getenv("SAGABUS_SERVER_URL");
    if (!url || !getenv("SAGABUS_HTTP_LISTEN"))
        bench_die("SAGABUS_SERVER_URL and SAGABUS_HTTP_LISTEN are not set; run me by ./dev bench");
    return url;
}

static bool is_ready(sb_http_client_t *client)
{
    char url[128];
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    (void)snprintf(url, sizeof url, "%s/readyz", server_url());
    sb_http_call_t call = {.method = "GET", .url = url, .timeout_ms = 2000};
    bool ready = sb_http_client_send(client, &call, &answer, NULL) == SB_OK && answer.status == 200;
    sb_http_answer_fini(&answer);
    return ready;
}

void combine_serve(combine_t *combine)
{
    char text[5][640];
    sb_error_t err = SB_ERROR_INIT;
    sb_http_client_t *client = NULL;
    sb_http_client_config_t config = {.connect_ms = 1000};
    const char *const argv[] = {combine->place->env->binary, "serve", NULL};
    (void)snprintf(text[0], sizeof text[0], "SAGABUS_PG=%s", place_uri(combine->place));
    (void)snprintf(text[1], sizeof text[1], "SAGABUS_KAFKA_BOOTSTRAP=%s",
                   combine->place->env->kafka_bootstrap);
    (void)snprintf(text[2], sizeof text[2], "SAGABUS_KAFKA_PREFIX=%s", combine->place->prefix);
    (void)snprintf(text[3], sizeof text[3], "SAGABUS_SCHEMAS_DIR=%s", place_schemas());
    (void)snprintf(text[4], sizeof text[4], "SAGABUS_LOG_LEVEL=warn");
    const char *const list[] = {text[0], text[1], text[2], text[3], text[4], NULL};
    sb_test_spawn(&combine->serve, argv, list, NULL);
    bench_ok(sb_http_client_new(&client, &config, &err), &err, "make an HTTP client");
    int64_t until_us = sb_mono_us() + READY_MS * 1000;
    while (!is_ready(client)) {
        if (sb_mono_us() > until_us || sb_test_wait(&combine->serve, 0))
            bench_die("sagabus serve is not ready");
        sb_sleep_ms(50);
    }
    sb_http_client_free(&client);
}

void combine_stop(combine_t *combine)
{
    sb_test_signal(&combine->serve, SIGTERM);
    (void)sb_test_wait(&combine->serve, STOP_MS);
    sb_test_process_end(&combine->serve);
}

typedef struct http_round {
    int round;
} http_round_t;

static void write_event(void *context, int64_t number, sb_buf_t *out)
{
    const http_round_t *round = context;
    char body[APPEND_BODY + 1];
    append_body(body, number);
    sb_buf_printf(out, "{\"type\":\"order.created\",\"subject\":\"h-%d-%lld\",\"data\":%s}", round->round,
                  (long long)(number % ((int64_t)COMBINE_CALLERS * KEYS)), body);
}

static void check_created(void *context, int64_t number, int status, sb_slice_t body)
{
    (void)context;
    if (status != 201)
        bench_die("POST /v1/events %lld: %d %.*s", (long long)number, status, SB_SLICE_ARG(body));
}

void combine_http(void *context, int round, double *values)
{
    const combine_t *combine = context;
    http_round_t state = {round};
    clients_result_t result;
    clients_config_t config = {.url = server_url(),
                               .path = "/v1/events",
                               .clients = COMBINE_CALLERS,
                               .seconds = combine->seconds,
                               .write_body = write_event,
                               .check = check_created,
                               .context = &state};
    clients_run(&config, &result);
    values[0] = result.rate;
}
