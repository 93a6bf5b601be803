/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/append.h"
#include "tests/bench/raw.h"

#include <stdlib.h>

/* The rows of an append, by the shortest way that keeps its promises: the stream's row is locked before seq
 * is drawn, versions have no holes. */
static const char stream_sql[] =
    "INSERT INTO sagabus.stream AS s (category, key, version) VALUES ('order', $1::text, $2::int) "
    "ON CONFLICT (category, key) DO UPDATE SET version = s.version + $2::int";
static const char event_sql[] =
    "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) "
    "SELECT s.stream_no, s.version - $2::int + u.nth::int, $3::int, 1, u.id, u.data FROM sagabus.stream s, "
    "unnest($4::uuid[], $5::bytea[]) WITH ORDINALITY AS u (id, data, nth) "
    "WHERE s.category = 'order' AND s.key = $1::text ORDER BY u.nth";

typedef struct side {
    const append_t *append;
    PGconn *conn;
    int type_no;
    sb_pg_array_t ids, bodies;
    char body[APPEND_BATCH_MAX][APPEND_BODY + 1];
} side_t;

static void *open_raw(writer_t *writer)
{
    side_t *side = calloc(1, sizeof *side);
    if (!side)
        bench_die("out of memory");
    side->append = writer->context;
    side->type_no = sb_catalog_type(side->append->place->catalog, SB_SLICE("order.created"), 1)->type_no;
    side->conn = raw_connect(place_uri(side->append->place), NULL);
    raw_prepare(side->conn, "stream", stream_sql);
    raw_prepare(side->conn, "event", event_sql);
    raw_start_pipeline(side->conn);
    sb_pg_array_init(&side->ids, SB_PG_UUID);
    sb_pg_array_init(&side->bodies, SB_PG_BYTEA);
    return side;
}

static void send_rows(side_t *side, const char *key)
{
    sb_pg_params_t stream = SB_PG_PARAMS_INIT, event = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&stream, key);
    sb_pg_add_int4(&stream, side->append->batch);
    sb_pg_add_text(&event, key);
    sb_pg_add_int4(&event, side->append->batch);
    sb_pg_add_int4(&event, side->type_no);
    sb_pg_add_array(&event, &side->ids);
    sb_pg_add_array(&event, &side->bodies);
    raw_send(side->conn, "stream", &stream);
    raw_send(side->conn, "event", &event);
    raw_sync(side->conn, 2);
}

static void step(writer_t *writer, void *opened)
{
    side_t *side = opened;
    char key[64];
    append_key(key, "r", writer, side->append->batch);
    sb_pg_array_reset(&side->ids);
    sb_pg_array_reset(&side->bodies);
    for (int i = 0; i < side->append->batch; i++) {
        sb_uuid_t id = sb_uuid_v7();
        append_body(side->body[i], writer->count + i);
        sb_pg_array_add_uuid(&side->ids, &id);
        sb_pg_array_add_slice(&side->bodies, (sb_slice_t){side->body[i], APPEND_BODY});
    }
    send_rows(side, key);
    writer->count += side->append->batch;
}

static void close_raw(void *opened)
{
    side_t *side = opened;
    sb_pg_array_fini(&side->ids);
    sb_pg_array_fini(&side->bodies);
    PQfinish(side->conn);
    free(side);
}

void append_raw(void *context, int round, double *values)
{
    static const writer_ops_t ops = {open_raw, step, close_raw};
    const append_t *append = context;
    values[0] = writers_run(&ops, append->writers, round, append, append->seconds);
}
