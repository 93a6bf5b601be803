/* raw - libpq and librdkafka with nothing between: what the references are made of.
 *
 * Thread: a connection or handle belongs to one thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_RAW_H
#define SB_TESTS_BENCH_RAW_H

#include "base/pg.h"

#include <libpq-fe.h>
#include <librdkafka/rdkafka.h>

/* ---- PostgreSQL: prepared statements in a pipeline ---- */

PGconn *raw_connect(const char *uri, const char *search_path); /* search_path NULL: the role's */
/* Types come from the statement's casts. Before the pipeline only. */
void raw_prepare(PGconn *conn, const char *name, const char *sql);
void raw_start_pipeline(PGconn *conn);
/* Sends one; binary both ways. */
void raw_send(PGconn *conn, const char *name, const sb_pg_params_t *params);
/* Ends the transaction and takes the answers of the count statements sent before it. */
void raw_sync(PGconn *conn, int count);

/* ---- Kafka ---- */

/* An idempotent producer with the settings of sagabus's own for this use: "0.5" of the relay, "0.2" of
 * others. */
rd_kafka_t *raw_producer(const char *bootstrap, const char *linger_ms);
/* The same, with a report for every record. */
rd_kafka_t *raw_reporting_producer(const char *bootstrap, const char *linger_ms);
/* A consumer of partition 0 of a topic, from its beginning, with the settings of sagabus's readers. */
rd_kafka_t *raw_consumer(const char *bootstrap, const char *topic);

#endif
