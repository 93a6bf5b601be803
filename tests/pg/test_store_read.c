/* Reading the store: the long way and the short one give the same, nothing is left out or held in memory, and
 * what is not there is said to be gone or missing.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/saga_number.h"
#include "events/store/keeper.h"
#include "events/store/store_internal.h"
#include "events_sql.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_store_t *store;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.pg = NULL};
    sb_test_catalog_fresh(fixture.uri, &fixture.pg, &fixture.catalog);
    assert_ok(sb_store_new(&fixture.store, fixture.pg, fixture.catalog, &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_catalog_free(&f->catalog);
    sb_pg_close(&f->pg);
    return 0;
}

/* Events as a busy store has them: of many streams, of three types, some with attributes. The statements
 * write what sb_store_append writes, and are quicker. */
static void fill(fixture_t *f, int streams, int events)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_printf(
        &sql,
        "INSERT INTO sagabus.stream (category, key, version, first_seq, last_seq) "
        "SELECT 'order', 'o-' || g, %d / %d + 1, 1, %d FROM generate_series(0, %d - 1) g;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) SELECT s.stream_no, "
        "g / %d + 1, t.type_no, 1, gen_random_uuid(), CASE WHEN g %% 3 = 0 THEN "
        "convert_to('{\"correlationid\":\"c' || g || '\"}', 'UTF8') END, "
        "convert_to('{\"n\":' || g || '}', 'UTF8') FROM generate_series(0, %d - 1) g "
        "JOIN sagabus.stream s ON s.key = 'o-' || g %% %d JOIN sagabus.event_type t ON t.name = "
        "(ARRAY['order.created', 'order.confirmed', 'order.cancelled'])[g %% 7 %% 3 + 1] ORDER BY g",
        events, streams, events, streams, streams, events, streams);
    sb_test_pg_script(f->pg, sb_buf_text(&sql));
    sb_buf_fini(&sql);
}

/* The sequencer's work, as far as reading needs it. */
static void publish_all(fixture_t *f)
{
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET cursor = (SELECT last_value FROM sagabus.event_seq) "
                             "WHERE role = 'sequencer'");
}

typedef struct seen {
    int count;
    int stop_at;
    int64_t last_seq;
    bool ordered;
    uint64_t sum; /* of everything that was read, in its order */
    sb_buf_t text;
    sb_buf_t line;
} seen_t;

#define SEEN_INIT                                                                                            \
    {                                                                                                        \
        .ordered = true, .text = SB_BUF_INIT, .line = SB_BUF_INIT                                            \
    }

static void free_seen(seen_t *seen)
{
    sb_buf_fini(&seen->text);
    sb_buf_fini(&seen->line);
}

static sb_code_t see(void *context, const sb_event_t *event, sb_error_t *err)
{
    seen_t *seen = context;
    char id[SB_UUID_TEXT];
    seen->ordered &= event->seq > seen->last_seq;
    seen->last_seq = event->seq;
    seen->count++;
    sb_buf_reset(&seen->line);
    sb_buf_printf(&seen->line, "%" PRId64 " %.*s %s %.*s/%d %" PRId64 " %.*s %.*s %d", event->seq,
                  SB_SLICE_ARG(event->type), sb_uuid_format(&event->id, id), SB_SLICE_ARG(event->subject),
                  event->stream_version, event->time_us, SB_SLICE_ARG(event->correlation_id),
                  SB_SLICE_ARG(event->data), (int)event->event_class);
    for (size_t i = 0; i < seen->line.len; i++)
        seen->sum = (seen->sum ^ (uint8_t)seen->line.ptr[i]) * UINT64_C(1099511628211);
    if (seen->text.len < 4096)
        sb_buf_printf(&seen->text, "%.*s@%.*s/%d ", SB_SLICE_ARG(event->type), SB_SLICE_ARG(event->subject),
                      event->stream_version);
    return seen->count == seen->stop_at ? sb_fail(err, SB_STOPPED, "enough") : SB_OK;
}

/* ---- what is wanted ---- */

static void a_pattern_takes_what_it_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *type;
        bool matches;
    } cases[] = {
        {"order.created", "order.created", true},
        {"order.created", "order.create", false},
        {"order.created", "order.created2", false},
        {"order.*", "order.created", true},
        {"order.*", "order.item.added", true},
        {"order.*", "orders.created", false},
        {"*.created", "order.created", true},
        {"*.created", "order.created.late", false},
        {"*", "order.created", true},
        {"", "order.created", false},
        {"*.a*b.*c", "x.aab.abc", true},
        {"*.a*b.*c", "x.aab.abd", false},
        {"order.*.*", "order.created", false},
        {"**", "a.b", true},
        {"order.cr?ated", "order.created", false},
        {"order", "order.created", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (sb_event_type_matches(sb_slice(cases[i].pattern), sb_slice(cases[i].type)) != cases[i].matches)
            fail_msg("%s and %s", cases[i].pattern, cases[i].type);
}

/* ---- all ---- */

/* The same range, a hundred events a call. */
static void read_in_small_pages(fixture_t *f, sb_read_all_t read, seen_t *seen)
{
    int64_t last = read.after_seq;
    read.limit = 100;
    do {
        read.after_seq = last;
        assert_ok(sb_store_read_all(f->store, &read, see, seen, &last, &f->err), &f->err);
    } while (last > read.after_seq);
}

static void assert_both_ways_alike(fixture_t *f, sb_read_all_t read, int count)
{
    seen_t few = SEEN_INIT, many = SEEN_INIT;
    int64_t last = 0;
    read.limit = INT32_MAX;
    assert_ok(sb_store_read_all(f->store, &read, see, &many, &last, &f->err), &f->err);
    read_in_small_pages(f, read, &few);
    assert_int_equal(many.count, count);
    assert_int_equal(few.count, count);
    assert_true(few.sum == many.sum);
    assert_true(few.ordered && many.ordered);
    int64_t safe = 0;
    assert_ok(sb_store_safe_seq(f->store, &safe, &f->err), &f->err);
    assert_int_equal(last, read.to_seq && read.to_seq < safe ? read.to_seq : safe);
    assert_null(strstr(sb_buf_text(&many.text), "@/")); /* each has a key */
    free_seen(&few);
    free_seen(&many);
}

static void the_long_way_and_the_short_one_give_the_same(void **state)
{
    fixture_t *f = *state;
    fill(f, 700, 21000);
    sb_test_pg_script(
        f->pg, /* saga 7, whose number is a stream's, too, and 8, which is no longer there */
        "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, "
        "request_hash, version, shard, status, input) VALUES (7, gen_random_uuid(), now(), "
        "'order', 'o', '', '', 25, 0, 1, '{}');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) "
        "SELECT 7 + g % 2, g / 2 + 1, type_no, 2, gen_random_uuid(), '{\"saga_type\":\"order\"}' "
        "FROM sagabus.event_type, generate_series(0, 49) g WHERE name = 'saga.started'");
    publish_all(f);
    sb_slice_t types[] = {SB_SLICE("order.created"), SB_SLICE("no.such")};
    sb_slice_t pattern[] = {SB_SLICE("order.c*ed")};
    sb_slice_t sagas[] = {SB_SLICE("saga.*")};
    assert_both_ways_alike(f, (sb_read_all_t){.after_seq = 0}, 21050);
    assert_both_ways_alike(f, (sb_read_all_t){.domain_only = true}, 21000);
    assert_both_ways_alike(f, (sb_read_all_t){.after_seq = 1000, .to_seq = 20000}, 19000);
    assert_both_ways_alike(f, (sb_read_all_t){.types = types, .type_count = 2}, 9000);
    assert_both_ways_alike(f, (sb_read_all_t){.types = pattern, .type_count = 1}, 21000);
    assert_both_ways_alike(f, (sb_read_all_t){.types = sagas, .type_count = 1}, 50);
    assert_both_ways_alike(f, (sb_read_all_t){.types = types + 1, .type_count = 1}, 0);
    assert_both_ways_alike(f, (sb_read_all_t){.category = SB_SLICE("order")}, 21000);
}

static void a_reader_may_stop_anywhere(void **state)
{
    fixture_t *f = *state;
    fill(f, 50, 5000);
    publish_all(f);
    static const int stops[] = {1, 2, 499, 500, 501, 2600, 5000};
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        seen_t seen = SEEN_INIT;
        int64_t last = 0;
        seen.stop_at = stops[i];
        sb_read_all_t read = {.limit = INT32_MAX};
        sb_error_clear(&f->err);
        assert_code(SB_STOPPED, sb_store_read_all(f->store, &read, see, &seen, &last, &f->err), &f->err);
        assert_string_equal(f->err.message, "enough");
        assert_int_equal(seen.count, stops[i]);
        assert_int_equal(last, seen.last_seq - 1); /* the refused one is still to come */
        assert_int_equal(sb_test_pg_int(f->pg, "SELECT 1"), 1);
        free_seen(&seen);
    }
    seen_t seen = SEEN_INIT;
    sb_read_all_t read = {.limit = 3333};
    int64_t last = 0;
    assert_ok(sb_store_read_all(f->store, &read, see, &seen, &last, &f->err), &f->err);
    assert_int_equal(seen.count, 3333);
    assert_int_equal(last, 3333);
    free_seen(&seen);
}

static int64_t resident_max_kb(void)
{
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return usage.ru_maxrss;
}

/* Small events, that make a reader bold, and then 85 MB of large ones. */
static void large_events_are_not_held_all_at_once(void **state)
{
    fixture_t *f = *state;
    fill(f, 10, 2000);
    sb_test_pg_script(
        f->pg,
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 1, g + 1000, "
        "(SELECT type_no FROM sagabus.event_type WHERE name = 'order.created'), 1, gen_random_uuid(), "
        "convert_to('{\"n\":\"' || repeat('x', 850000) || '\"}', 'UTF8') FROM generate_series(1, 100) g");
    publish_all(f);
    int64_t before = resident_max_kb();
    seen_t seen = SEEN_INIT;
    sb_read_all_t read = {.limit = INT32_MAX};
    assert_ok(sb_store_read_all(f->store, &read, see, &seen, NULL, &f->err), &f->err);
    assert_int_equal(seen.count, 2100);
    assert_true(seen.ordered);
    free_seen(&seen);
#if !defined(__SANITIZE_ADDRESS__)
    if (resident_max_kb() - before >= 60 * 1024)
        fail_msg("%" PRId64 " kB more than before", resident_max_kb() - before);
#else
    (void)before;
#endif
}

static sb_code_t dawdle(void *context, const sb_event_t *event, sb_error_t *err)
{
    seen_t *seen = context;
    if (event->seq % 100 == 0)
        sb_test_sleep_ms(1);
    return see(seen, event, err);
}

static void a_budget_ends_a_read_early_and_loses_nothing(void **state)
{
    fixture_t *f = *state;
    fill(f, 100, 20000);
    publish_all(f);
    seen_t seen = SEEN_INIT;
    sb_read_all_t read = {.limit = INT32_MAX, .budget_ms = 5};
    int64_t last = 0;
    int calls = 0;
    for (; last < 20000; calls++) {
        read.after_seq = last;
        assert_ok(sb_store_read_all(f->store, &read, dawdle, &seen, &last, &f->err), &f->err);
        assert_true(last > read.after_seq);
    }
    assert_true(calls > 1);
    assert_int_equal(seen.count, 20000);
    assert_true(seen.ordered);
    free_seen(&seen);
}

static void keys_are_right_when_there_are_more_than_are_kept(void **state)
{
    fixture_t *f = *state;
    sb_store_keys_t keys = {.slot = NULL};
    sb_test_pg_script(f->pg, "INSERT INTO sagabus.stream (category, key) SELECT 'order', 'key-' || g || "
                             "repeat('x', 60) FROM generate_series(1, 150000) g");
    for (int64_t from = 1, round = 0; round<40; round++, from = from> 140000 ? 1 : from + 8192) {
        assert_ok(sb_store_keys_begin(&keys, 8193, &f->err), &f->err);
        for (int64_t no = from; no < from + 8192; no++)
            sb_store_keys_need(&keys, no);
        sb_store_keys_need(&keys, 1000000);
        assert_ok(sb_store_keys_load(&keys, f->pg, &f->err), &f->err);
        for (int64_t no = from; no < from + 8192; no++) {
            char want[32];
            int length = snprintf(want, sizeof want, "key-%" PRId64 "x", no);
            sb_slice_t have = sb_store_keys_get(&keys, no);
            assert_int_equal(have.ptr != NULL, no <= 150000);
            assert_true(!have.ptr || strncmp(have.ptr, want, (size_t)length) == 0);
        }
        assert_null(sb_store_keys_get(&keys, 1000000).ptr);
        assert_true(keys.count <= 131072 && keys.text.len < 10u << 20);
    }
    sb_store_keys_fini(&keys);
}

/* ---- a stream ---- */

static sb_code_t read_stream(fixture_t *f, const char *category, const char *key, int from, bool backward,
                             seen_t *seen)
{
    sb_error_clear(&f->err);
    return sb_store_read_stream(f->store, sb_slice(category), sb_slice(key), from, backward, 1000000, see,
                                seen, &f->err);
}

/* Takes versions away as a detached range does; only the number of the first one kept may come later. */
static void forget(const char *uri, int before, bool tell)
{
    sb_buf_t sql = SB_BUF_INIT;
    sb_pg_t *pg = sb_test_pg_open(uri);
    sb_buf_printf(&sql,
                  "BEGIN; SET LOCAL session_replication_role = replica; "
                  "DELETE FROM sagabus.event WHERE stream_no = 1 AND version < %d; COMMIT;",
                  before);
    if (tell)
        sb_buf_printf(&sql, "UPDATE sagabus.stream SET first_version = %d WHERE stream_no = 1", before);
    sb_test_pg_script(pg, sb_buf_text(&sql));
    sb_buf_fini(&sql);
    sb_pg_close(&pg);
}

typedef struct forgetter {
    seen_t seen;
    const char *uri;
    int at, before;
    bool tell;
} forgetter_t;

static sb_code_t see_and_forget(void *context, const sb_event_t *event, sb_error_t *err)
{
    forgetter_t *forgetter = context;
    if (event->stream_version == forgetter->at)
        forget(forgetter->uri, forgetter->before, forgetter->tell);
    return see(&forgetter->seen, event, err);
}

static void a_hole_in_a_stream_is_never_passed_over(void **state)
{
    fixture_t *f = *state;
    fill(f, 1, 1500);
    sb_slice_t order = SB_SLICE("order"), key = SB_SLICE("o-0");
    sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET version = 1500");
    forgetter_t forgetter = {.seen = SEEN_INIT, .uri = f->uri, .at = 50, .before = 801, .tell = true};
    assert_code(
        SB_GONE,
        sb_store_read_stream(f->store, order, key, 1, false, 9999, see_and_forget, &forgetter, &f->err),
        &f->err);
    assert_int_equal(forgetter.seen.count, 100); /* what was in hand */
    assert_contains(f->err.message, "version 101 is no longer kept, the first one is 801");

    sb_stream_info_t info;
    assert_ok(sb_store_stream(f->store, order, key, &info, &f->err), &f->err);
    assert_int_equal(info.version, 1500);
    assert_int_equal(info.first_version, 801);
    seen_t seen = SEEN_INIT;
    assert_code(SB_GONE, read_stream(f, "order", "o-0", 800, false, &seen), &f->err);
    assert_int_equal(seen.count, 0);
    assert_ok(read_stream(f, "order", "o-0", 0, true, &seen), &f->err);
    assert_int_equal(seen.count, 700);
    free_seen(&seen);

    forgetter.at = 850; /* and once more, but nobody wrote down that they went */
    forgetter.before = 1301;
    forgetter.tell = false;
    sb_error_clear(&f->err);
    assert_code(
        SB_CORRUPT,
        sb_store_read_stream(f->store, order, key, 801, false, 9999, see_and_forget, &forgetter, &f->err),
        &f->err);
    assert_contains(f->err.message, "version 901 is missing");
    free_seen(&forgetter.seen);
}

static void a_saga_is_a_stream_too(void **state)
{
    fixture_t *f = *state;
    char id_text[SB_UUID_TEXT];
    int64_t no = sb_saga_number(3, 77);
    sb_uuid_t id = sb_saga_id(no, 1763702375123);
    sb_buf_t sql = SB_BUF_INIT;
    sb_buf_printf(&sql,
                  "INSERT INTO sagabus.saga (no, id, started_at, type, key, definition_hash, request_hash, "
                  "version, shard, status, input) VALUES (%" PRId64
                  ", '%s', now(), 'order', 'o', '', '', 3, 3, 1, '{}');"
                  "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT %" PRId64
                  ", g, type_no, 2, gen_random_uuid(), '{\"saga_type\":\"order\"}' FROM sagabus.event_type, "
                  "generate_series(1, 3) g WHERE name = 'saga.started'",
                  no, sb_uuid_format(&id, id_text), no);
    sb_test_pg_script(f->pg, sb_buf_text(&sql));
    sb_buf_fini(&sql);
    seen_t seen = SEEN_INIT;
    assert_ok(read_stream(f, "saga", id_text, 1, false, &seen), &f->err);
    assert_int_equal(seen.count, 3);
    assert_true(seen.ordered);
    assert_contains(sb_buf_text(&seen.text), id_text);
    assert_contains(sb_buf_text(&seen.text), "/3");
    seen.count = 0;
    assert_ok(read_stream(f, "saga", id_text, 2, true, &seen), &f->err);
    assert_int_equal(seen.count, 2);
    publish_all(f);
    for (int backward = 0; backward < 2; backward++) { /* as the key of its events on Kafka */
        sb_read_all_t read = {.limit = 10, .backward = backward};
        char want[96];
        (void)snprintf(want, sizeof want, "saga.started@%s/%d ", id_text, backward ? 3 : 1);
        sb_buf_reset(&seen.text);
        assert_ok(sb_store_read_all(f->store, &read, see, &seen, NULL, &f->err), &f->err);
        assert_memory_equal(sb_buf_text(&seen.text), want, strlen(want));
    }
    sb_stream_info_t info;
    assert_ok(sb_store_stream(f->store, SB_SLICE("saga"), sb_slice(id_text), &info, &f->err), &f->err);
    assert_int_equal(info.version, 3);

    id = sb_saga_id(no, 1763702375124); /* the same number, but it is nobody's id */
    assert_code(SB_NOT_FOUND, read_stream(f, "saga", sb_uuid_format(&id, id_text), 1, false, &seen), &f->err);
    assert_code(SB_NOT_FOUND, read_stream(f, "saga", "o-1", 1, false, &seen), &f->err);
    assert_code(SB_NOT_FOUND, read_stream(f, "saga", "0190163d-8694-739b-aea5-966c26f8ad91", 1, false, &seen),
                &f->err);
    free_seen(&seen);
}

/* ---- times ---- */

static int64_t since(fixture_t *f, const char *text)
{
    int64_t time_us = 0, seq = 0;
    assert_true(sb_time_parse(sb_slice(text), &time_us));
    assert_ok(sb_store_seq_since(f->store, time_us, &seq, &f->err), &f->err);
    return seq;
}

static void a_time_leads_to_the_first_event_that_is_not_older(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(since(f, "2026-11-20T10:00:00Z"), 1); /* of an empty store: what comes first */
    fill(f, 10, 1000);
    sb_test_pg_script(f->pg,
                      "BEGIN; SET LOCAL session_replication_role = replica; UPDATE sagabus.event SET at = "
                      "timestamptz '2026-11-20T10:00:00Z' + seq * interval '1 second'; COMMIT");
    assert_int_equal(since(f, "2026-11-20T10:00:00Z"), 1); /* nothing is safe to read yet */
    publish_all(f);
    assert_int_equal(since(f, "2026-11-20T10:00:00Z"), 1);
    assert_int_equal(since(f, "2026-11-20T10:00:01Z"), 1);
    assert_int_equal(since(f, "2026-11-20T10:00:01.000001Z"), 2);
    assert_int_equal(since(f, "2026-11-20T12:08:20+02:00"), 500);
    assert_int_equal(since(f, "2026-11-20T10:16:40Z"), 1000);
    assert_int_equal(since(f, "2026-11-20T10:16:40.1Z"), 1001);
    /* Clients gave two events times of their own, one from the past and one from the future: no search by
     * halves finds the second. */
    sb_test_pg_script(f->pg,
                      "BEGIN; SET LOCAL session_replication_role = replica; UPDATE sagabus.event SET at = "
                      "'2020-01-01' WHERE seq = 501; UPDATE sagabus.event SET at = '2026-11-20T10:10:00Z' "
                      "WHERE seq = 7; COMMIT");
    assert_int_equal(since(f, "2026-11-20T10:08:21Z"), 7);
    assert_int_equal(since(f, "2026-11-20T10:10:01Z"), 601);
    assert_int_equal(since(f, "2019-01-01T00:00:00Z"), 1);
}

static void *keep(void *context)
{
    sb_keeper_run(context);
    return NULL;
}

/* Seals say up to where everything is older; what they say of a time must not depend on the order of times.
 */
static void seals_shorten_the_search_for_a_time(void **state)
{
    fixture_t *f = *state;
    fill(f, 100, 20000);
    sb_test_pg_script(
        f->pg, "BEGIN; SET LOCAL session_replication_role = replica; UPDATE sagabus.event SET at = "
               "timestamptz '2026-11-20T10:00:00Z' + seq * interval '1 second'; UPDATE sagabus.event SET "
               "at = '2026-11-20T13:00:00Z' WHERE seq = 6000; COMMIT");
    publish_all(f);
    sb_keeper_t *keeper = NULL;
    pthread_t thread;
    sb_keeper_config_t config = {.pg_uri = f->uri, .owner = "test", .seal_ms = 1};
    assert_ok(sb_keeper_open(&keeper, &config, &f->err), &f->err);
    assert_int_equal(pthread_create(&thread, NULL, keep, keeper), 0);
    assert_soon(sb_keeper_sealed(keeper) == 20000, 60000);
    sb_keeper_stop(keeper);
    assert_int_equal(pthread_join(thread, NULL), 0);
    sb_keeper_close(&keeper);
    assert_true(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event_seal") > 4);
    assert_int_equal(sb_test_pg_int(f->pg,
                                    "SELECT count(*) FROM (SELECT newest_at < lag(newest_at) OVER (ORDER "
                                    "BY to_seq) AS fell FROM sagabus.event_seal) s WHERE fell"),
                     0);
    assert_int_equal(since(f, "2026-11-20T10:00:05Z"), 5);
    assert_int_equal(since(f, "2026-11-20T11:40:00Z"), 6000);
    assert_int_equal(since(f, "2026-11-20T12:59:00Z"), 6000);
    assert_int_equal(since(f, "2026-11-20T13:00:01Z"), 10801);
    assert_int_equal(since(f, "2026-11-20T15:33:20Z"), 20000);
    assert_int_equal(since(f, "2026-11-20T15:33:21Z"), 20001);
    assert_true(sb_test_pg_int(f->pg, "SELECT max(to_seq) FROM sagabus.event_seal WHERE newest_at < "
                                      "'2026-11-20T15:33:20Z'") > 12000);
}

/* ---- where it lies ---- */

static void a_read_touches_only_the_partitions_it_needs(void **state)
{
    fixture_t *f = *state;
    char plan[8192];
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_partitions_ahead(50000000)"), 4);
    static const char *const of_streams[] = {sb_sql_stream_read, sb_sql_stream_read_back};
    for (int i = 0; i < 2; i++) {
        sb_test_explain(f->pg, of_streams[i], "21000000, 39000000, 2, 1, 9, 10, NULL, 1", plan, sizeof plan);
        assert_contains(plan, "event_domain_40000000");
        assert_null(strstr(plan, "event_domain_20000000"));
        assert_null(strstr(plan, "event_domain_60000000"));
        assert_null(strstr(plan, "event_saga"));
        assert_null(strstr(plan, "Seq Scan"));
        sb_test_explain(f->pg, of_streams[i], "1, 9223372036854775807, 2, 1, 9, 10, NULL, 2", plan,
                        sizeof plan);
        assert_contains(plan, "event_saga_20000000");
        assert_contains(plan, "event_saga_60000000");
        assert_null(strstr(plan, "event_domain"));
        assert_null(strstr(plan, "Seq Scan"));
    }
    sb_test_explain(f->pg, sb_sql_event_since, "now(), 20000000, 20200000", plan, sizeof plan);
    assert_contains(plan, "event_domain_40000000");
    assert_null(strstr(plan, "event_domain_20000000"));
    assert_null(strstr(plan, "->  Sort"));
    assert_null(strstr(plan, "Seq Scan"));
}

/* ---- backward ---- */

typedef struct descent {
    int64_t last, count;
    int stop_after; /* 0: never */
} descent_t;

static sb_code_t descend(void *context, const sb_event_t *event, sb_error_t *err)
{
    descent_t *d = context;
    assert_true(event->seq < d->last);
    d->last = event->seq;
    d->count++;
    return d->stop_after && d->count == d->stop_after ? sb_fail(err, SB_STOPPED, "enough") : SB_OK;
}

static int64_t read_down(fixture_t *f, int64_t to, int limit, const char *type, bool domain_only,
                         int64_t *lowest)
{
    sb_slice_t types[] = {sb_slice(type)};
    sb_read_all_t read = {.to_seq = to,
                          .backward = true,
                          .limit = limit,
                          .types = type ? types : NULL,
                          .type_count = type != NULL,
                          .domain_only = domain_only};
    descent_t d = {.last = INT64_MAX};
    assert_ok(sb_store_read_all(f->store, &read, descend, &d, lowest, &f->err), &f->err);
    return d.count;
}

static void all_is_read_backward_too(void **state)
{
    fixture_t *f = *state;
    int64_t lowest = 0;
    descent_t d = {.last = INT64_MAX, .stop_after = 3};
    sb_read_all_t read = {.backward = true, .limit = 100};
    fill(f, 10, 1000);
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET cursor = 990 WHERE role = 'sequencer'");
    assert_int_equal(read_down(f, 0, 5000, NULL, false, &lowest), 990); /* not above what is safe */
    assert_int_equal(lowest, 1);
    assert_int_equal(read_down(f, 0, 70, NULL, true, &lowest), 70);
    assert_int_equal(lowest, 990 - 70 + 1);
    assert_int_equal(read_down(f, lowest - 1, 5000, NULL, false, &lowest), 990 - 70);
    /* pages of a filter are as many as those of a read upwards */
    int64_t of_type =
        sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING "
                              "(type_no) WHERE t.name = 'order.created' AND e.seq <= 990");
    assert_true(of_type > 100);
    assert_int_equal(read_down(f, 0, 5000, "order.created", true, &lowest), of_type);
    assert_int_equal(lowest, 1);
    assert_int_equal(read_down(f, 0, 5000, "no.such", false, &lowest), 0);
    assert_int_equal(lowest, 1);
    assert_code(SB_STOPPED, sb_store_read_all(f->store, &read, descend, &d, &lowest, &f->err), &f->err);
    /* down to where the store begins, and not a hole below */
    sb_test_pg_script(f->pg,
                      "INSERT INTO sagabus.event_detached (class, from_seq, to_seq, leaf) VALUES (1, 0, "
                      "500, 'x')");
    assert_int_equal(read_down(f, 0, 5000, NULL, true, &lowest), 490);
    assert_int_equal(lowest, 501);
    read = (sb_read_all_t){.backward = true, .limit = 10, .to_seq = 500};
    assert_code(SB_GONE, sb_store_read_all(f->store, &read, descend, &d, NULL, &f->err), &f->err);
    assert_contains(f->err.message, "ends at 501");
}

/* ---- a stream of large bodies ---- */

static sb_code_t count_one(void *context, const sb_event_t *event, sb_error_t *err)
{
    (void)event;
    (void)err;
    ++*(int *)context;
    return SB_OK;
}

/* What a page brings at once, whatever the number of events that is asked for. */
static void a_page_of_a_stream_is_bounded_by_its_bytes(void **state)
{
    fixture_t *f = *state;
    static const char *const statements[] = {sb_sql_stream_read, sb_sql_stream_read_back};
    sb_test_pg_script(
        f->pg,
        "SELECT sagabus.event_append('order', 'large', 0, 0, NULL, NULL, ARRAY(SELECT gen_random_uuid() FROM "
        "generate_series(1, 40)), ARRAY(SELECT t.type_no FROM sagabus.event_type t, generate_series(1, 40) "
        "WHERE t.name = 'order.confirmed' AND t.version = 1), '{}', '{}', ARRAY(SELECT "
        "convert_to('{\"order_id\":\"' || repeat('x', 880000) || '\"}', 'UTF8') FROM generate_series(1, "
        "40)))");
    for (int i = 0; i < 2; i++) {
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_result_t *rows = NULL;
        size_t bytes = 0;
        sb_pg_add_int8(&params, 1);
        sb_pg_add_int8(&params, 1000);
        sb_pg_add_int8(&params, sb_test_pg_int(f->pg, "SELECT max(stream_no) FROM sagabus.stream"));
        sb_pg_add_int4(&params, 1);
        sb_pg_add_int4(&params, 40);
        sb_pg_add_int4(&params, 500);
        sb_pg_add_text(&params, "large");
        sb_pg_add_int2(&params, 1);
        assert_ok(sb_pg_query(f->pg, statements[i], &params, &rows, &f->err), &f->err);
        for (int row = 0; row < sb_pg_rows(rows); row++)
            bytes += sb_pg_get_slice(rows, row, 8).len;
        assert_in_range(bytes, 7u << 20, (8u << 20) + 900000);
        assert_int_equal(sb_pg_get_int(rows, 0, 10), 40); /* none of them is missing */
        sb_pg_result_free(rows);
    }
    for (int backward = 0; backward < 2; backward++) {
        int count = 0;
        assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("large"), 0, backward, 1000,
                                       count_one, &count, &f->err),
                  &f->err);
        assert_int_equal(count, 40);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_takes_what_it_names),
        CASE(the_long_way_and_the_short_one_give_the_same),
        CASE(a_reader_may_stop_anywhere),
        CASE(large_events_are_not_held_all_at_once),
        CASE(a_budget_ends_a_read_early_and_loses_nothing),
        CASE(keys_are_right_when_there_are_more_than_are_kept),
        CASE(all_is_read_backward_too),
        CASE(a_page_of_a_stream_is_bounded_by_its_bytes),
        CASE(a_hole_in_a_stream_is_never_passed_over),
        CASE(a_saga_is_a_stream_too),
        CASE(a_time_leads_to_the_first_event_that_is_not_older),
        CASE(seals_shorten_the_search_for_a_time),
        CASE(a_read_touches_only_the_partitions_it_needs),
    };
    return cmocka_run_group_tests_name("store_read", tests, sb_test_pg_start, sb_test_pg_stop);
}
