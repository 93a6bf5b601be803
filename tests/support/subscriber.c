/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/subscriber.h"

#include "bus/message.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/mock.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A record that was not delivered would look like one that a subscriber does not get. */
static void note_undelivered(void *context, uint64_t tag, const sb_error_t *err)
{
    sb_test_world_t *world = context;
    (void)tag;
    world->undelivered++;
    print_message("a record was not delivered: %s\n", err->message);
}

static void open_producer(sb_test_world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_producer_open(&world->producer, world->config, "test", note_undelivered, world, &err), &err);
}

void sb_test_world_open(sb_test_world_t *world, const char *bootstrap, const char *prefix, int32_t partitions)
{
    *world = (sb_test_world_t){.bootstrap = bootstrap,
                               .prefix = prefix,
                               .partitions = partitions,
                               .positions = true,
                               .incarnation = 1,
                               .type = "order.created",
                               .keys = 10};
    world->pg = sb_test_pg_open(sb_test_pg_fresh(world->uri));
    sb_test_pg_script(
        world->pg, "CREATE TABLE service.effect (no bigint GENERATED ALWAYS AS IDENTITY, subscription text,"
                   " id text, key text, n bigint, attempt int, redriven boolean, version int, at timestamptz "
                   "DEFAULT clock_timestamp());"
                   "SET search_path = service");
    world->config = sb_test_bus_config(bootstrap, prefix);
    sb_test_bus_set(world->config, "kafka.session.timeout.ms", "6000");
    sb_test_bus_set(world->config, "kafka.heartbeat.interval.ms", "500");
    (void)snprintf(world->topic, sizeof world->topic, "%sorder.events", prefix);
    open_producer(world);
}

void sb_test_world_renew_producer(sb_test_world_t *world)
{
    sb_producer_close(&world->producer);
    open_producer(world);
}

void sb_test_world_close(sb_test_world_t *world)
{
    sb_producer_close(&world->producer);
    sb_pg_close(&world->pg);
    sb_config_free(&world->config);
}

/* ---- sending ---- */

static void send_record(sb_test_world_t *world, const sb_record_t *record)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code;
    while ((code = sb_producer_send(world->producer, record, &err)) == SB_BUSY)
        sb_producer_poll(world->producer, 10);
    assert_ok(code, &err);
}

void sb_test_world_send_one(sb_test_world_t *world, const char *key, const char *id, int64_t n,
                            const sb_position_t *position)
{
    char body[64];
    char text[SB_POSITION_TEXT];
    sb_header_t headers[] = {{"ce_specversion", SB_SLICE("1.0")}, {"ce_id", sb_slice(id)},
                             {"ce_type", sb_slice(world->type)},  {"ce_source", SB_SLICE("/test")},
                             {"ce_subject", sb_slice(key)},       {"sb-pos", SB_SLICE_NONE}};
    if (position)
        headers[5].value = (sb_slice_t){text, sb_position_format(position, text)};
    (void)snprintf(body, sizeof body, "{\"n\":%" PRId64 "}", n);
    sb_record_t record = {.topic = world->topic,
                          .partition = sb_topic_partition(sb_slice(key), world->partitions),
                          .key = sb_slice(key),
                          .value = sb_slice(body),
                          .headers = headers,
                          .header_count = position ? 6 : 5};
    send_record(world, &record);
}

void sb_test_world_send(sb_test_world_t *world, int count)
{
    for (int i = 0; i < count; i++) {
        char key[32];
        char id[32];
        int64_t n = world->next++;
        (void)snprintf(key, sizeof key, "k-%" PRId64, n % world->keys);
        (void)snprintf(id, sizeof id, "e-%" PRId64, n);
        int32_t partition = sb_topic_partition(sb_slice(key), world->partitions);
        sb_position_t position = {world->incarnation, 1, n + 1, world->prev[partition]};
        world->prev[partition] = n + 1;
        sb_test_world_send_one(world, key, id, n, world->positions ? &position : NULL);
    }
    sb_test_world_flush(world);
}

void sb_test_world_send_bytes(sb_test_world_t *world, const char *key, const char *bytes)
{
    sb_record_t record = {.topic = world->topic,
                          .partition = sb_topic_partition(sb_slice(key), world->partitions),
                          .key = sb_slice(key),
                          .value = sb_slice(bytes)};
    send_record(world, &record);
}

void sb_test_world_flush(sb_test_world_t *world)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_producer_flush(world->producer, (int)sb_test_patience(60000), &err), &err);
    assert_int_equal(world->undelivered, 0);
}

/* ---- handling ---- */

static bool fails(sb_test_handler_t *handler, const sb_delivery_t *deliveries, size_t count)
{
    bool hit = handler->fail_key == NULL;
    for (size_t i = 0; i < count && !hit; i++)
        hit = sb_slice_is(deliveries[i].key, handler->fail_key);
    if (!hit || atomic_load(&handler->fail_calls) == 0)
        return false;
    if (atomic_load(&handler->fail_calls) > 0)
        atomic_fetch_sub(&handler->fail_calls, 1);
    return true;
}

static sb_code_t insert(PGconn *conn, const char *name, const sb_delivery_t *deliveries, size_t count,
                        sb_error_t *err)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_add_text(
        &sql, "INSERT INTO service.effect (subscription, id, key, n, attempt, redriven, version) VALUES ");
    for (size_t i = 0; i < count; i++) {
        const sb_delivery_t *d = &deliveries[i];
        sb_buf_printf(&sql, "%s('%s','%.*s','%.*s',('%.*s'::jsonb->>'n')::bigint,%d,%s,%d)", i ? "," : "",
                      name, SB_SLICE_ARG(d->id), SB_SLICE_ARG(d->key), SB_SLICE_ARG(d->event.data),
                      d->attempt, d->redriven ? "true" : "false", d->event.schema_version);
    }
    PGresult *result = PQexec(conn, sb_buf_text(&sql));
    bool ok = PQresultStatus(result) == PGRES_COMMAND_OK;
    sb_code_t code = ok ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "effect: %s", PQerrorMessage(conn));
    PQclear(result);
    sb_buf_fini(&sql);
    return code;
}

sb_code_t sb_test_handle(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                         sb_error_t *err)
{
    sb_test_handler_t *handler = context;
    atomic_fetch_add(&handler->calls, 1);
    if (atomic_load(&handler->slow_ms) > 0)
        sb_test_sleep_ms(atomic_load(&handler->slow_ms));
    if (conn) {
        sb_code_t code = insert(conn, handler->name, deliveries, count, err);
        if (code != SB_OK)
            return code;
    }
    if (!fails(handler, deliveries, count))
        return SB_OK;
    if (atomic_load(&handler->break_statement)) {
        PQclear(PQexec(conn, "SELECT 1/0"));
        return SB_OK;
    }
    return sb_fail(err, (sb_code_t)atomic_load(&handler->fail_code), "order %" PRId64 " cannot be handled",
                   deliveries[0].offset);
}

/* ---- running ---- */

static void *run(void *context)
{
    sb_test_subscriber_t *t = context;
    t->code = sb_subscriber_run(t->subscriber, &t->err);
    return NULL;
}

void sb_test_subscriber_start(sb_test_subscriber_t *t, const sb_test_world_t *world,
                              const sb_subscriber_config_t *config)
{
    *t = (sb_test_subscriber_t){.running = true};
    assert_ok(sb_subscriber_new(&t->subscriber, world->config, config, &t->err), &t->err);
    assert_int_equal(pthread_create(&t->thread, NULL, run, t), 0);
}

void sb_test_subscriber_stop(sb_test_subscriber_t *t)
{
    if (!t->running)
        return;
    sb_subscriber_stop(t->subscriber);
    (void)pthread_join(t->thread, NULL);
    sb_subscriber_close(&t->subscriber);
    t->running = false;
    assert_ok(t->code, &t->err);
}

/* ---- looking ---- */

static int64_t ask(const sb_test_world_t *world, const char *sql, const char *subscription, int64_t count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, subscription);
    sb_pg_add_int8(&params, count);
    assert_ok(sb_pg_query(world->pg, sql, &params, &rows, &err), &err);
    int64_t value = sb_pg_get_int(rows, 0, 0);
    sb_pg_result_free(rows);
    return value;
}

int64_t sb_test_effects(const sb_test_world_t *world, const char *subscription)
{
    static const char sql[] = "SELECT count(*) FROM effect WHERE subscription = $1 AND $2::bigint = 0";
    return ask(world, sql, subscription, 0);
}

int64_t sb_test_wrong_effects(const sb_test_world_t *world, const char *subscription, int64_t count)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM generate_series(0, $2 - 1) g"
        "        WHERE NOT EXISTS (SELECT FROM effect e WHERE e.subscription = $1 AND e.id = 'e-' || g))"
        "     + (SELECT count(*) - count(DISTINCT id) FROM effect WHERE subscription = $1)"
        "     + (SELECT count(*) FROM (SELECT n, lag(n) OVER (PARTITION BY key ORDER BY no) AS before"
        "        FROM effect WHERE subscription = $1) o WHERE before >= n)";
    return ask(world, sql, subscription, count);
}

void sb_test_check_effects(const sb_test_world_t *world, const char *subscription, int64_t count)
{
    assert_int_equal(sb_test_effects(world, subscription), count);
    assert_int_equal(sb_test_wrong_effects(world, subscription, count), 0);
}
