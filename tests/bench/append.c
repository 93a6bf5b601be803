/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/append.h"

#include "sagabus/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS 1000 /* streams a writer */

void append_body(char out[APPEND_BODY + 1], int64_t number)
{
    int at = snprintf(out, APPEND_BODY + 1,
                      "{\"order_id\":\"o-%lld\",\"customer_id\":\"c-%lld\",\"amount\":1999,\"currency\":"
                      "\"EUR\",\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":1999}],\"note\":\"",
                      (long long)number, (long long)(number % 1000));
    memset(out + at, 'x', (size_t)(APPEND_BODY - at));
    memcpy(out + APPEND_BODY - 2, "\"}", 3);
}

void append_key(char out[64], const char *side, const writer_t *writer, int batch)
{
    (void)snprintf(out, 64, "%s-%d-%d-%lld", side, writer->round, writer->number,
                   (long long)(writer->count / batch % KEYS));
}

typedef struct side {
    const append_t *append;
    sb_store_t *store;
    char body[APPEND_BATCH_MAX][APPEND_BODY + 1];
    sb_event_t event[APPEND_BATCH_MAX];
} side_t;

static void *open_store(writer_t *writer)
{
    sb_error_t err = SB_ERROR_INIT;
    side_t *side = calloc(1, sizeof *side);
    if (!side)
        bench_die("out of memory");
    side->append = writer->context;
    sb_store_config_t config = {.pg_uri = place_uri(side->append->place), .application_name = "bench"};
    bench_ok(sb_store_open(&side->store, &config, &err), &err, "open the store");
    for (int i = 0; i < APPEND_BATCH_MAX; i++)
        side->event[i] = (sb_event_t){
            .type = SB_SLICE("order.created"), .schema_version = 1, .data = {side->body[i], APPEND_BODY}};
    return side;
}

static void step(writer_t *writer, void *opened)
{
    side_t *side = opened;
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    char key[64];
    int batch = side->append->batch;
    append_key(key, "s", writer, batch);
    for (int i = 0; i < batch; i++)
        append_body(side->body[i], writer->count + i);
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = sb_slice(key),
                          .expect = SB_EXPECT_ANY,
                          .events = side->event,
                          .count = (size_t)batch};
    bench_ok(sb_store_append(side->store, &append, &result, &err), &err, "append");
    writer->count += batch;
}

static void close_store(void *opened)
{
    side_t *side = opened;
    sb_store_close(&side->store);
    free(side);
}

void append_store(void *context, int round, double *values)
{
    static const writer_ops_t ops = {open_store, step, close_store};
    const append_t *append = context;
    values[0] = writers_run(&ops, append->writers, round, append, append->seconds);
}
