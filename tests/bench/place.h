/* place - a database of its own and names of its own on Kafka, for one part of a benchmark.
 *
 * The database bench_<pid>_<name> is new, migrated, and knows the schemas of the checkout. It is dropped at
 * the end; if the program dies before, it goes with the private server of ./dev bench.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_PLACE_H
#define SB_TESTS_BENCH_PLACE_H

#include "base/config.h"
#include "events/catalog.h"
#include "tests/bench/bench.h"

typedef struct place {
    const bench_env_t *env;
    char database[64];
    char prefix[64]; /* of topics and groups: "bench.<pid>.<name>." */
    sb_buf_t uri;    /* of the database, as keywords */
    sb_config_t *config;
    sb_catalog_t *catalog;
    sb_pg_t *pg; /* for preparing and looking, never for what is measured */
} place_t;

void place_open(place_t *place, const bench_env_t *env, const char *name);
void place_close(place_t *place);

const char *place_uri(const place_t *place);

/* Where schemas/ is. */
const char *place_schemas(void);

/* Migrates a participant's schema. */
void place_add_client(place_t *place, const char *schema);

/* Runs statements. */
void place_script(place_t *place, const char *sql);
/* The first column of the first row; sql is static text. */
int64_t place_int(place_t *place, const char *sql);

/* Makes a topic of one partition, as sagabus would. */
void place_make_topic(place_t *place, const char *topic);
#endif
