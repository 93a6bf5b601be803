/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/relay.h"

#include "bus/position.h"
#include "tests/support/assert.h"
#include "tests/support/mock.h"
#include "tests/support/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sb_test_relay_setup(sb_test_relay_t *t, const char *bootstrap, const char *prefix)
{
    *t = (sb_test_relay_t){.pg = NULL};
    sb_progress_init(&t->progress);
    t->pg = sb_test_pg_open(sb_test_pg_fresh(t->uri));
    t->config = sb_test_bus_config(bootstrap, prefix);
    sb_test_pg_script(t->pg, "INSERT INTO sagabus.event_type (name, version) VALUES ('order.created', 1), "
                             "('stock.moved', 1) ON CONFLICT DO NOTHING");
}

void sb_test_relay_teardown(sb_test_relay_t *t)
{
    sb_test_relay_stop(t);
    sb_pg_close(&t->pg);
    sb_config_free(&t->config);
}

void sb_test_relay_publish(sb_test_relay_t *t)
{
    sb_test_pg_script(t->pg,
                      "UPDATE sagabus.lease SET cursor = (SELECT coalesce(max(seq), 0) FROM sagabus.event) "
                      "WHERE role = 'sequencer'");
    t->last = sb_test_pg_int(t->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'");
    sb_progress_publish_safe(&t->progress, t->last);
}

void sb_test_relay_append(sb_test_relay_t *t, const char *type, int count)
{
    char sql[1024];
    int category = (int)strcspn(type, ".");
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO sagabus.stream (category, key) SELECT '%.*s', 'k-' || i FROM generate_series(0, 9) i "
        "ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) "
        "SELECT s.stream_no, s.version + 1 + i / 10, y.type_no, 1, gen_random_uuid(), "
        "'{\"correlationid\":\"c-1\"}', convert_to('{\"n\":' || i || '}', 'UTF8') "
        "FROM generate_series(0, %d) i JOIN sagabus.stream s ON s.category = '%.*s' AND s.key = 'k-' || i %% "
        "10 "
        "JOIN sagabus.event_type y ON y.name = '%s' AND y.version = 1 ORDER BY i;"
        "UPDATE sagabus.stream SET version = version + %d WHERE category = '%.*s'",
        category, type, count - 1, category, type, type, count, category, type);
    sb_test_pg_script(t->pg, sql);
    sb_test_relay_publish(t);
}

static void *run(void *relay)
{
    sb_relay_run(relay);
    return NULL;
}

void sb_test_relay_start(sb_test_relay_t *t)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_relay_config_t config = {
        .config = t->config, .pg_uri = t->uri, .owner = "test", .progress = &t->progress};
    assert_ok(sb_relay_open(&t->relay, &config, &err), &err);
    assert_int_equal(pthread_create(&t->thread, NULL, run, t->relay), 0);
}

void sb_test_relay_stop(sb_test_relay_t *t)
{
    if (!t->relay)
        return;
    sb_relay_stop(t->relay);
    (void)pthread_join(t->thread, NULL);
    t->progress.listener_count = 0; /* the relay's own signal goes with it */
    sb_relay_close(&t->relay);
}

void sb_test_relay_wait(sb_test_relay_t *t, int expected_ms)
{
    sb_relay_stats_t stats = {.leader = false};
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (stats.cursor < t->last && sb_test_mono_ms() < until) {
        sb_test_sleep_ms(10);
        sb_relay_stats(t->relay, &stats);
    }
    if (stats.cursor < t->last)
        fail_msg("cursor %" PRId64 " of %" PRId64 " within %d ms: %s", stats.cursor, t->last,
                 (int)sb_test_patience(expected_ms), stats.error);
}

/* ---- the check ---- */

static int by_number(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static bool has_all(const sb_test_messages_t *got, const char *type, int count, int64_t *seqs)
{
    size_t n = 0;
    for (size_t i = 0; i < got->count; i++) {
        sb_position_t p;
        if (strcmp(got->item[i].type, type) == 0 && sb_position_parse(sb_slice(got->item[i].position), &p))
            seqs[n++] = p.seq;
    }
    qsort(seqs, n, sizeof *seqs, by_number);
    int different = 0;
    for (size_t i = 0; i < n; i++)
        different += i == 0 || seqs[i] != seqs[i - 1];
    return different >= count;
}

size_t sb_test_relay_check(sb_test_relay_t *t, const char *topic, int partitions, const char *type, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_reader_t *reader = NULL;
    sb_test_messages_t got = {.item = NULL};
    int64_t *seqs = NULL;
    int64_t until = sb_test_mono_ms() + 240000;
    bool all = false;
    assert_ok(sb_reader_open(&reader, t->config, "check", &err), &err);
    for (int p = 0; p < partitions; p++)
        assert_ok(sb_reader_assign(reader, topic, p, -1, "", &err), &err);
    for (int quiet = 0; quiet < 3 && sb_test_mono_ms() < until;) {
        int n = 0;
        bool reset = false;
        assert_ok(sb_reader_poll(reader, 10000, 100, sb_test_collect, &got, &n, &reset, &err), &err);
        if (n == 0 || !all) {
            seqs = realloc(seqs, (got.count + 1) * sizeof *seqs);
            assert_non_null(seqs);
            all = has_all(&got, type, count, seqs);
        }
        quiet = n == 0 && all ? quiet + 1 : 0; /* repeats may still come */
    }
    for (int p = 0; p < partitions; p++) /* first: it says where something is missing */
        sb_test_check_chain(&got, p);
    if (!all)
        fail_msg("%s: not all of %d events are there, %zu records", topic, count, got.count);
    size_t records = got.count;
    assert_int_equal(sb_test_tally_ranges(t->pg), 0);
    free(seqs);
    sb_test_messages_free(&got);
    sb_reader_close(&reader);
    return records;
}
