/* SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/store/store.h"
#include "events_sql.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"
#include "tests/support/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_store_t *store;
    sb_append_result_t result;
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

#define CONFIRMED "{\"order_id\":\"o-1\",\"customer_id\":\"c-1\"}"

static sb_event_t confirmed(void)
{
    return (sb_event_t){.type = SB_SLICE("order.confirmed"), .data = SB_SLICE(CONFIRMED)};
}

static sb_code_t append_n(fixture_t *f, const char *key, sb_expect_t expect, int version, size_t count)
{
    sb_event_t *events = calloc(count, sizeof *events);
    assert_non_null(events);
    for (size_t i = 0; i < count; i++)
        events[i] = confirmed();
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = sb_slice(key),
                          .expect = expect,
                          .expected_version = version,
                          .events = events,
                          .count = count};
    sb_error_clear(&f->err);
    sb_code_t code = sb_store_append(f->store, &append, &f->result, &f->err);
    free(events);
    return code;
}

static void assert_appended(fixture_t *f, const char *key, sb_expect_t expect, int version, int now)
{
    assert_ok(append_n(f, key, expect, version, 1), &f->err);
    assert_int_equal(f->result.outcome, SB_APPENDED);
    assert_int_equal(f->result.version, now);
    assert_true(f->result.first_seq > 0 && f->result.last_seq == f->result.first_seq);
}

static void assert_conflict(fixture_t *f, const char *key, sb_expect_t expect, int version, int now)
{
    int64_t before = sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq");
    assert_ok(append_n(f, key, expect, version, 1), &f->err);
    assert_int_equal(f->result.outcome, SB_APPEND_CONFLICT);
    assert_int_equal(f->result.version, now);
    assert_int_equal(f->result.first_seq, 0);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT last_value FROM sagabus.event_seq"), before);
}

/* The sequencer's work, as far as reading needs it. */
static void publish_all(fixture_t *f)
{
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET cursor = (SELECT last_value FROM sagabus.event_seq) "
                             "WHERE role = 'sequencer'");
}

static void every_expectation_is_kept(void **state)
{
    fixture_t *f = *state;
    assert_conflict(f, "a", SB_EXPECT_EXISTS, 0, 0);
    assert_conflict(f, "a", SB_EXPECT_EXACT, 1, 0);
    assert_appended(f, "a", SB_EXPECT_EXACT, 0, 1);
    assert_conflict(f, "a", SB_EXPECT_NONE, 0, 1);
    assert_conflict(f, "a", SB_EXPECT_EXACT, 0, 1);
    assert_conflict(f, "a", SB_EXPECT_EXACT, 2, 1);
    assert_appended(f, "a", SB_EXPECT_EXACT, 1, 2);
    assert_appended(f, "a", SB_EXPECT_ANY, 0, 3);
    assert_appended(f, "a", SB_EXPECT_EXISTS, 0, 4);
    assert_appended(f, "b", SB_EXPECT_NONE, 0, 1);
    assert_appended(f, "c", SB_EXPECT_ANY, 0, 1);
    /* A refused append of a stream that is not there leaves none behind. */
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream"), 3);
}

/* The same numbers in each run. */
static unsigned random_state;

static int random_number(void)
{
    return rand_r(&random_state);
}

/* Random appends beside a model of the versions. */
static void a_model_agrees(void **state)
{
    fixture_t *f = *state;
    int versions[6] = {0};
    random_state = 11;
    for (int i = 0; i < 400; i++) {
        int stream = random_number() % 6;
        char key[8];
        (void)snprintf(key, sizeof key, "m-%d", stream);
        sb_expect_t expect = (sb_expect_t)(random_number() % 4);
        int version = random_number() % 3 ? versions[stream] : random_number() % 20;
        size_t count = (size_t)(1 + random_number() % 5);
        bool fits = expect == SB_EXPECT_ANY || (expect == SB_EXPECT_NONE && versions[stream] == 0) ||
                    (expect == SB_EXPECT_EXISTS && versions[stream] > 0) ||
                    (expect == SB_EXPECT_EXACT && versions[stream] == version);
        assert_ok(append_n(f, key, expect, version, count), &f->err);
        assert_int_equal(f->result.outcome, fits ? SB_APPENDED : SB_APPEND_CONFLICT);
        versions[stream] += fits ? (int)count : 0;
        assert_int_equal(f->result.version, versions[stream]);
        if (fits)
            assert_int_equal(f->result.last_seq - f->result.first_seq, count - 1);
    }
    /* Versions without holes, seq rising with them, and the stream's row tells the range. */
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM (SELECT e.version, row_number() OVER w AS nth, e.seq, "
                              "lag(e.seq) OVER w AS before FROM sagabus.event e WINDOW w AS (PARTITION "
                              "BY stream_no ORDER BY e.version)) x WHERE version <> nth OR seq <= before"),
        0);
    assert_int_equal(
        sb_test_pg_int(
            f->pg,
            "SELECT count(*) FROM sagabus.stream s JOIN (SELECT stream_no, max(version) v, min(seq) a, "
            "max(seq) b FROM sagabus.event GROUP BY 1) e USING (stream_no) WHERE (s.version, "
            "s.first_seq, s.last_seq) IS DISTINCT FROM (e.v, e.a, e.b)"),
        0);
}

/* ---- two writers ---- */

typedef struct writer {
    pthread_t thread;
    const char *uri;
    sb_expect_t expect;
    int wins;
    int conflicts;
} writer_t;

#define RACE_ROUNDS 60

static void *race(void *context)
{
    writer_t *writer = context;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = writer->uri};
    if (sb_store_open(&store, &config, NULL) != SB_OK)
        return NULL;
    for (int round = 0; round < RACE_ROUNDS; round++) {
        char key[16];
        (void)snprintf(key, sizeof key, "race-%d", writer->expect == SB_EXPECT_NONE ? round : 0);
        sb_event_t event = confirmed();
        sb_append_t append = {.category = SB_SLICE("order"),
                              .key = sb_slice(key),
                              .expect = writer->expect,
                              .expected_version = round,
                              .events = &event,
                              .count = 1};
        sb_append_result_t result;
        /* With an exact version each waits until the other's round is over. */
        do {
            if (sb_store_append(store, &append, &result, NULL) != SB_OK)
                goto done;
        } while (writer->expect == SB_EXPECT_EXACT && result.outcome == SB_APPEND_CONFLICT &&
                 result.version < round);
        writer->wins += result.outcome == SB_APPENDED;
        writer->conflicts += result.outcome == SB_APPEND_CONFLICT;
    }
done:
    sb_store_close(&store);
    return NULL;
}

static void of_several_writers_exactly_one_wins(void **state)
{
    fixture_t *f = *state;
    static const sb_expect_t expects[] = {SB_EXPECT_NONE, SB_EXPECT_EXACT};
    for (size_t e = 0; e < 2; e++) {
        writer_t writers[4];
        int wins = 0;
        int conflicts = 0;
        for (int i = 0; i < 4; i++) {
            writers[i] = (writer_t){.uri = f->uri, .expect = expects[e]};
            assert_int_equal(pthread_create(&writers[i].thread, NULL, race, &writers[i]), 0);
        }
        for (int i = 0; i < 4; i++) {
            assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
            wins += writers[i].wins;
            conflicts += writers[i].conflicts;
        }
        assert_int_equal(wins, RACE_ROUNDS);
        assert_int_equal(conflicts, 3 * RACE_ROUNDS);
        sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET key = 'old-' || key");
    }
}

/* ---- commands ---- */

static void a_repeated_command_gives_the_first_answer(void **state)
{
    fixture_t *f = *state;
    sb_event_t events[2] = {confirmed(), confirmed()};
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("cmd"),
                          .expect = SB_EXPECT_NONE,
                          .command_id = sb_uuid_v7(),
                          .events = events,
                          .count = 2};
    sb_append_result_t first, again;
    assert_ok(sb_store_append(f->store, &append, &first, &f->err), &f->err);
    assert_int_equal(first.outcome, SB_APPENDED);
    assert_appended(f, "cmd", SB_EXPECT_EXACT, 2, 3);
    assert_ok(sb_store_append(f->store, &append, &again, &f->err), &f->err);
    assert_int_equal(again.outcome, SB_APPEND_REPEATED);
    assert_int_equal(again.version, 2);
    assert_int_equal(again.first_seq, first.first_seq);
    assert_int_equal(again.last_seq, first.last_seq);

    append.count = 1;
    assert_code(SB_MISMATCH, sb_store_append(f->store, &append, &again, &f->err), &f->err);
    append.count = 2;
    events[1].data = SB_SLICE("{\"order_id\":\"o-1\",\"customer_id\":\"c-2\"}");
    assert_code(SB_MISMATCH, sb_store_append(f->store, &append, &again, &f->err), &f->err);
    events[1] = confirmed();
    append.key = SB_SLICE("elsewhere");
    assert_code(SB_MISMATCH, sb_store_append(f->store, &append, &again, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream"), 1);
    assert_string_equal(f->err.pointer, "/command_id");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);

    /* A conflict is not remembered: the same command may come again when the stream fits. */
    append.command_id = sb_uuid_v7();
    append.key = SB_SLICE("later");
    append.expect = SB_EXPECT_EXISTS;
    assert_ok(sb_store_append(f->store, &append, &again, &f->err), &f->err);
    assert_int_equal(again.outcome, SB_APPEND_CONFLICT);
    assert_appended(f, "later", SB_EXPECT_ANY, 0, 1);
    assert_ok(sb_store_append(f->store, &append, &again, &f->err), &f->err);
    assert_int_equal(again.outcome, SB_APPENDED);
}

typedef struct repeater {
    pthread_t thread;
    const char *uri;
    sb_uuid_t command;
    sb_append_outcome_t outcome;
    int64_t first_seq;
} repeater_t;

static void *repeat(void *context)
{
    repeater_t *repeater = context;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = repeater->uri};
    sb_event_t event = confirmed();
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("same"),
                          .expect = SB_EXPECT_ANY,
                          .command_id = repeater->command,
                          .events = &event,
                          .count = 1};
    sb_append_result_t result = {.outcome = SB_APPEND_CONFLICT};
    if (sb_store_open(&store, &config, NULL) == SB_OK &&
        sb_store_append(store, &append, &result, NULL) == SB_OK)
        repeater->first_seq = result.first_seq;
    repeater->outcome = result.outcome;
    sb_store_close(&store);
    return NULL;
}

static void a_command_sent_twice_at_once_is_carried_out_once(void **state)
{
    fixture_t *f = *state;
    for (int round = 0; round < 10; round++) {
        repeater_t two[2];
        sb_uuid_t command = sb_uuid_v7();
        for (int i = 0; i < 2; i++) {
            two[i] = (repeater_t){.uri = f->uri, .command = command};
            assert_int_equal(pthread_create(&two[i].thread, NULL, repeat, &two[i]), 0);
        }
        for (int i = 0; i < 2; i++)
            assert_int_equal(pthread_join(two[i].thread, NULL), 0);
        assert_true((two[0].outcome == SB_APPENDED && two[1].outcome == SB_APPEND_REPEATED) ||
                    (two[1].outcome == SB_APPENDED && two[0].outcome == SB_APPEND_REPEATED));
        assert_int_equal(two[0].first_seq, two[1].first_seq);
    }
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 10);
}

/* ---- what is refused ---- */

static sb_code_t append_one(fixture_t *f, const char *category, const char *key, const sb_event_t *event)
{
    sb_append_t append = {.category = sb_slice(category),
                          .key = sb_slice(key),
                          .expect = SB_EXPECT_ANY,
                          .events = event,
                          .count = 1};
    sb_error_clear(&f->err);
    return sb_store_append(f->store, &append, &f->result, &f->err);
}

static void an_invalid_event_is_refused_with_its_place(void **state)
{
    fixture_t *f = *state;
    sb_event_t events[4] = {confirmed(), confirmed(), confirmed(), confirmed()};
    events[3] =
        (sb_event_t){.type = SB_SLICE("order.created"),
                     .data = SB_SLICE("{\"order_id\":\"o\",\"customer_id\":\"c\",\"amount\":1.5,\"currency\":"
                                      "\"EUR\",\"items\":[{\"sku\":\"s\",\"quantity\":1,\"price\":1}]}")};
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("k"),
                          .expect = SB_EXPECT_ANY,
                          .events = events,
                          .count = 4};
    assert_code(SB_INVALID, sb_store_append(f->store, &append, &f->result, &f->err), &f->err);
    assert_string_equal(f->err.pointer, "/events/3/data/amount");
    assert_contains(f->err.message, "order.created version 1");

    sb_event_t event = confirmed();
    event.type = SB_SLICE("order.unheard");
    assert_code(SB_INVALID, append_one(f, "order", "k", &event), &f->err);
    assert_string_equal(f->err.pointer, "/events/0/type");
    event.type = SB_SLICE("payment.charged");
    assert_code(SB_INVALID, append_one(f, "order", "k", &event), &f->err);
    assert_string_equal(f->err.pointer, "/events/0/type");
    event = confirmed();
    event.schema_version = 2;
    assert_code(SB_INVALID, append_one(f, "order", "k", &event), &f->err);
    event = confirmed();
    event.data = SB_SLICE(CONFIRMED "x");
    assert_code(SB_INVALID, append_one(f, "order", "k", &event), &f->err);
    assert_string_equal(f->err.pointer, "/events/0/data");
    event = confirmed();
    event.traceparent = SB_SLICE("\xff");
    assert_code(SB_INVALID, append_one(f, "order", "k", &event), &f->err);
    event = confirmed();
    assert_code(SB_INVALID, append_one(f, "order", "", &event), &f->err);
    assert_code(SB_INVALID, append_one(f, "order", "\xff\xfe", &event), &f->err);
    event.type = SB_SLICE("saga.started");
    assert_code(SB_DENIED, append_one(f, "saga", "k", &event), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 0);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream"), 0);
    assert_appended(f, "k", SB_EXPECT_NONE, 0, 1); /* the connection is as good as before */
}

/* What Kafka's topic of a category takes holds for that category. */
static void what_a_topic_does_not_take_is_refused(void **state)
{
    fixture_t *f = *state;
    char data[4096];
    int length =
        snprintf(data, sizeof data, "{\"order_id\":\"o\",\"customer_id\":\"c\",\"note\":\"%03000d\"}", 0);
    sb_event_t event = {.type = SB_SLICE("order.confirmed"), .data = {data, (size_t)length}};
    assert_ok(sb_catalog_limit(f->catalog, SB_SLICE("order"), 2000, &f->err), &f->err);
    assert_ok(sb_catalog_limit(f->catalog, SB_SLICE("payment"), 100, &f->err), &f->err);
    assert_code(SB_TOO_LARGE, append_one(f, "order", "big", &event), &f->err);
    assert_contains(f->err.message, "larger than 2000 bytes");
    assert_contains(f->err.message, "what its topic takes (max.message.bytes)");
    assert_ok(sb_catalog_limit(f->catalog, SB_SLICE("order"), 4000, &f->err), &f->err); /* it was raised */
    assert_ok(append_one(f, "order", "big", &event), &f->err);
    assert_ok(sb_catalog_limit(f->catalog, SB_SLICE("order"), 0, &f->err), &f->err);
    assert_ok(append_one(f, "order", "big", &event), &f->err);
}

static void what_is_too_large_is_refused(void **state)
{
    fixture_t *f = *state;
    sb_buf_t body = SB_BUF_INIT;
    sb_buf_add_text(&body, "{\"order_id\":\"o-1\",\"customer_id\":\"c-1\",\"note\":\"");
    while (body.len < 890000)
        sb_buf_add_text(&body, "0123456789abcdef");
    sb_buf_add_text(&body, "\"}");
    sb_event_t event = confirmed();
    event.data = sb_buf_slice(&body);
    assert_ok(append_one(f, "order", "big", &event), &f->err);
    body.len -= 2;
    while (body.len < 900001)
        sb_buf_add_char(&body, 'x');
    sb_buf_add_text(&body, "\"}");
    event.data = sb_buf_slice(&body);
    assert_code(SB_TOO_LARGE, append_one(f, "order", "big", &event), &f->err);
    assert_string_equal(f->err.pointer, "/events/0");
    sb_buf_fini(&body);
    assert_code(SB_TOO_LARGE, append_n(f, "many", SB_EXPECT_ANY, 0, SB_APPEND_EVENTS_MAX + 1), &f->err);
    sb_append_t none = {.category = SB_SLICE("order"), .key = SB_SLICE("k")};
    assert_code(SB_INVALID, sb_store_append(f->store, &none, &f->result, &f->err), &f->err);
}

/* ---- reading ---- */

typedef struct seen {
    int count;
    int first_version, last_version;
    int64_t last_seq;
    bool ordered;
    int stop_at;
    sb_buf_t text;
} seen_t;

static sb_code_t see(void *context, const sb_event_t *event, sb_error_t *err)
{
    seen_t *seen = context;
    if (seen->count == 0)
        seen->first_version = event->stream_version;
    else if (event->seq <= seen->last_seq)
        seen->ordered = false;
    seen->last_version = event->stream_version;
    seen->last_seq = event->seq;
    seen->count++;
    sb_buf_printf(&seen->text, "%.*s@%.*s/%d ", SB_SLICE_ARG(event->type), SB_SLICE_ARG(event->subject),
                  event->stream_version);
    return seen->count == seen->stop_at ? sb_fail(err, SB_STOPPED, "enough") : SB_OK;
}

#define SEEN_INIT                                                                                            \
    {                                                                                                        \
        .ordered = true, .text = SB_BUF_INIT                                                                 \
    }

static void ten_thousand_events_go_in_and_come_back(void **state)
{
    fixture_t *f = *state;
    assert_ok(append_n(f, "long", SB_EXPECT_NONE, 0, 10000), &f->err);
    assert_int_equal(f->result.version, 10000);
    assert_int_equal(f->result.last_seq - f->result.first_seq, 9999);
    seen_t seen = SEEN_INIT;
    assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("long"), 1, false, 20000, see, &seen,
                                   &f->err),
              &f->err);
    assert_int_equal(seen.count, 10000);
    assert_int_equal(seen.last_version, 10000);
    assert_true(seen.ordered);
    sb_buf_fini(&seen.text);
}

static void a_stream_is_read_from_any_version_both_ways(void **state)
{
    fixture_t *f = *state;
    sb_slice_t order = SB_SLICE("order");
    for (int i = 0; i < 4; i++) {
        assert_ok(append_n(f, "s", SB_EXPECT_ANY, 0, 400), &f->err);
        assert_ok(append_n(f, "other", SB_EXPECT_ANY, 0, 3), &f->err);
    }
    static const struct {
        int from;
        bool backward;
        int limit, count, first, last;
    } reads[] = {{1, false, 5000, 1600, 1, 1600},   {0, false, 3, 3, 1, 3},
                 {1599, false, 9, 2, 1599, 1600},   {1601, false, 9, 0, 0, 0},
                 {700, false, 700, 700, 700, 1399}, {0, true, 5, 5, 1600, 1596},
                 {0, true, 5000, 1600, 1600, 1},    {3, true, 9, 3, 3, 1},
                 {9999, true, 1, 1, 1600, 1600}};
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        seen_t seen = SEEN_INIT;
        assert_ok(sb_store_read_stream(f->store, order, SB_SLICE("s"), reads[i].from, reads[i].backward,
                                       reads[i].limit, see, &seen, &f->err),
                  &f->err);
        assert_int_equal(seen.count, reads[i].count);
        assert_int_equal(seen.first_version, reads[i].first);
        assert_int_equal(seen.last_version, reads[i].last);
        sb_buf_fini(&seen.text);
    }
    seen_t seen = SEEN_INIT;
    assert_code(SB_NOT_FOUND,
                sb_store_read_stream(f->store, order, SB_SLICE("no"), 1, false, 1, see, &seen, &f->err),
                &f->err);
    sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET first_version = 11 WHERE key = 's'");
    assert_code(SB_GONE,
                sb_store_read_stream(f->store, order, SB_SLICE("s"), 10, false, 1, see, &seen, &f->err),
                &f->err);
    assert_contains(f->err.message, "the first one is 11");
    assert_ok(sb_store_read_stream(f->store, order, SB_SLICE("s"), 11, false, 1, see, &seen, &f->err),
              &f->err);
    assert_int_equal(seen.first_version, 11);
    seen.stop_at = 3;
    assert_code(SB_STOPPED,
                sb_store_read_stream(f->store, order, SB_SLICE("s"), 11, false, 99, see, &seen, &f->err),
                &f->err);
    assert_int_equal(seen.count, 3);
    sb_buf_fini(&seen.text);
}

static sb_code_t keep(void *context, const sb_event_t *event, sb_error_t *err)
{
    sb_buf_t *out = context;
    char id[SB_UUID_TEXT];
    (void)err;
    sb_buf_printf(out, "%s %.*s v%d %.*s %.*s %" PRId64 " %.*s %.*s %.*s %.*s %.*s",
                  sb_uuid_format(&event->id, id), SB_SLICE_ARG(event->type), event->schema_version,
                  SB_SLICE_ARG(event->source), SB_SLICE_ARG(event->subject), event->time_us,
                  SB_SLICE_ARG(event->correlation_id), SB_SLICE_ARG(event->causation_id),
                  SB_SLICE_ARG(event->traceparent), SB_SLICE_ARG(event->partition_key),
                  SB_SLICE_ARG(event->data));
    return SB_OK;
}

static void attributes_come_back_as_they_were_given(void **state)
{
    fixture_t *f = *state;
    sb_event_t event = confirmed();
    assert_true(sb_uuid_parse("0190163d-8694-739b-aea5-966c26f8ad91", 36, &event.id));
    event.source = SB_SLICE("/shop/\"eu\"");
    event.time_us = 1763702375123456;
    event.correlation_id = SB_SLICE("c\\1\n");
    event.causation_id = SB_SLICE("caus\xc3\xa9");
    event.traceparent = SB_SLICE("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    event.partition_key = SB_SLICE("p\t1");
    event.data = SB_SLICE(" { \"order_id\":\"o-1\",\"customer_id\":\"c-1\" } "); /* kept as given */
    assert_ok(append_one(f, "order", "k\xc3\xa4", &event), &f->err);
    sb_buf_t text = SB_BUF_INIT;
    assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("k\xc3\xa4"), 1, false, 1, keep,
                                   &text, &f->err),
              &f->err);
    assert_string_equal(sb_buf_text(&text),
                        "0190163d-8694-739b-aea5-966c26f8ad91 order.confirmed v1 /shop/\"eu\" k\xc3\xa4 "
                        "1763702375123456 c\\1\n caus\xc3\xa9 "
                        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 p\t1 "
                        " { \"order_id\":\"o-1\",\"customer_id\":\"c-1\" } ");
    sb_buf_fini(&text);
    int64_t before = sb_wall_us();
    assert_appended(f, "plain", SB_EXPECT_NONE, 0, 1);
    sb_buf_reset(&text);
    assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("plain"), 1, false, 1, keep, &text,
                                   &f->err),
              &f->err);
    assert_contains(sb_buf_text(&text), " order.confirmed v1 /sagabus plain ");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event WHERE meta IS NULL"), 1);
    assert_true(sb_test_pg_int(f->pg,
                               "SELECT (extract(epoch FROM max(at)) * 1000000)::bigint FROM sagabus.event "
                               "WHERE meta IS NULL") > before - 60000000);
    sb_buf_fini(&text);
}

static int read_all(fixture_t *f, const sb_read_all_t *read, int64_t *last, char *text, size_t size)
{
    seen_t seen = SEEN_INIT;
    assert_ok(sb_store_read_all(f->store, read, see, &seen, last, &f->err), &f->err);
    assert_true(seen.ordered);
    if (text)
        (void)snprintf(text, size, "%s", sb_buf_text(&seen.text));
    sb_buf_fini(&seen.text);
    return seen.count;
}

static void all_is_read_up_to_the_safe_number_only(void **state)
{
    fixture_t *f = *state;
    int64_t last = -1;
    int64_t safe = -1;
    sb_read_all_t read = {.limit = 5000};
    assert_ok(append_n(f, "a", SB_EXPECT_ANY, 0, 700), &f->err);
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 0);
    assert_int_equal(last, 0);
    publish_all(f);
    assert_ok(append_n(f, "b", SB_EXPECT_ANY, 0, 5), &f->err);
    assert_ok(sb_store_safe_seq(f->store, &safe, &f->err), &f->err);
    assert_int_equal(safe, 700);
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 700);
    assert_int_equal(last, safe);
    read.to_seq = 100000; /* nobody reads beyond safe */
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 700);
    read.to_seq = 600;
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 600);
    read.limit = 550;
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 550);
    assert_int_equal(last, 550);
    read.after_seq = last;
    assert_int_equal(read_all(f, &read, &last, NULL, 0), 50);
    assert_int_equal(last, 600);
}

static void filters_take_what_they_name(void **state)
{
    fixture_t *f = *state;
    char text[512];
    int64_t last = 0;
    sb_event_t customer = {.type = SB_SLICE("customer.validated"), .data = SB_SLICE(CONFIRMED)};
    assert_appended(f, "a", SB_EXPECT_ANY, 0, 1);
    assert_ok(append_one(f, "customer", "c-1", &customer), &f->err);
    sb_event_t cancelled = {.type = SB_SLICE("order.cancelled"),
                            .data = SB_SLICE("{\"order_id\":\"o\",\"customer_id\":\"c\",\"reason\":\"\"}")};
    assert_ok(append_one(f, "order", "a", &cancelled), &f->err);
    sb_test_pg_script(f->pg,
                      "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT 7, 1, "
                      "type_no, 2, gen_random_uuid(), '{\"saga_type\":\"order\"}' FROM sagabus.event_type "
                      "WHERE name = 'saga.started'");
    publish_all(f);
    sb_read_all_t read = {.limit = 100};
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 4);
    assert_string_equal(text,
                        "order.confirmed@a/1 customer.validated@c-1/1 order.cancelled@a/2 saga.started@7/1 ");
    read.domain_only = true;
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 3);
    assert_int_equal(last, 4);
    read.category = SB_SLICE("order");
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 2);
    sb_slice_t types[] = {SB_SLICE("order.cancelled"), SB_SLICE("customer.validated")};
    read.types = types;
    read.type_count = 2;
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 1);
    assert_string_equal(text, "order.cancelled@a/2 ");
    read.category = SB_SLICE_NONE;
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 2);
    types[0] = types[1] = SB_SLICE("no.such");
    assert_int_equal(read_all(f, &read, &last, text, sizeof text), 0);
    assert_int_equal(last, 4);
}

/* Who calls the function itself and gives a body too many is told: none is dropped in silence. */
static void a_body_too_many_is_refused(void **state)
{
    fixture_t *f = *state;
    static const char sql[] =
        "SELECT sagabus.event_append('order', 'o-1', 0, 0, NULL, NULL, ARRAY(SELECT gen_random_uuid() FROM "
        "generate_series(1, %d)), ARRAY[1, 1], NULL, NULL, array_fill('{}'::bytea, ARRAY[%d]))";
    char text[sizeof sql];
    for (int events = 1; events <= 2; events++) {
        (void)snprintf(text, sizeof text, sql, events, events + 1);
        assert_code(SB_CONFLICT, sb_pg_script(f->pg, text, &f->err), &f->err);
        assert_string_equal(f->err.origin, "pg:23502");
    }
    (void)snprintf(text, sizeof text, sql, 2, 2);
    assert_ok(sb_pg_script(f->pg, text, &f->err), &f->err);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 2);
}

/* ---- where it lies ---- */

/* A read of one stream opens the partitions it lives in, not all of them. */
static void a_stream_read_leaves_other_partitions_alone(void **state)
{
    fixture_t *f = *state;
    assert_appended(f, "young", SB_EXPECT_ANY, 0, 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_partitions_ahead(50000000)"), 4);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_partitions_ahead(50000000)"), 0);
    sb_test_pg_script(f->pg, "SELECT setval('sagabus.event_seq', 45000000)");
    assert_appended(f, "old", SB_EXPECT_ANY, 0, 1);
    assert_int_equal(f->result.first_seq, 45000001);
    assert_appended(f, "old", SB_EXPECT_ANY, 0, 2);
    assert_appended(f, "young", SB_EXPECT_ANY, 0, 2);
    seen_t seen = SEEN_INIT;
    assert_ok(
        sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("old"), 1, false, 9, see, &seen, &f->err),
        &f->err);
    assert_int_equal(seen.count, 2);
    assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("young"), 1, false, 9, see, &seen,
                                   &f->err),
              &f->err);
    assert_int_equal(seen.count, 4);
    sb_buf_fini(&seen.text);
}

static void pages_come_from_the_indexes_of_the_partitions_they_need(void **state)
{
    fixture_t *f = *state;
    char plan[8192];
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT sagabus.event_partitions_ahead(50000000)"), 4);
    sb_test_explain(f->pg, sb_sql_stream_read, "45000001, 45000002, 2, 1, 9, 10, NULL, 1", plan, sizeof plan);
    assert_contains(plan, "event_domain_60000000");
    assert_null(strstr(plan, "event_domain_20000000"));
    assert_null(strstr(plan, "event_saga"));
    assert_null(strstr(plan, "Seq Scan"));
    sb_test_explain(f->pg, sb_sql_event_read, "45000001, 45000900, 500, false, NULL, false", plan,
                    sizeof plan);
    assert_contains(plan, "event_domain_60000000");
    assert_contains(plan, "event_saga_60000000");
    assert_null(strstr(plan, "event_domain_20000000"));
    assert_null(strstr(plan, "->  Sort")); /* merged, not sorted */
    assert_null(strstr(plan, "Seq Scan"));
}

static void history_cannot_be_changed(void **state)
{
    fixture_t *f = *state;
    assert_appended(f, "a", SB_EXPECT_ANY, 0, 1);
    static const char *const acts[] = {
        "UPDATE sagabus.event SET data = '{}'", "DELETE FROM sagabus.event", "TRUNCATE sagabus.event",
        "UPDATE sagabus.event_domain SET data = '{}'", "DELETE FROM sagabus.event_domain_20000000"};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        sb_error_clear(&f->err);
        assert_code(SB_DENIED, sb_pg_script(f->pg, acts[i], &f->err), &f->err);
    }
}

/* The lock that the sequencer watches must be held before the first number is drawn, in whatever way the
 * insert was planned; otherwise a number could be below safe_seq and appear later. A default that looks at
 * pg_locks says so. */
static void the_event_table_is_locked_before_a_number_is_drawn(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->pg,
        "CREATE TABLE public.witness (locked int);"
        "CREATE FUNCTION public.draw() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN "
        "INSERT INTO public.witness SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype "
        "= "
        "'relation' AND relation = 'sagabus.event'::regclass AND mode = 'RowExclusiveLock' AND granted; "
        "RETURN nextval('sagabus.event_seq'); END $$;"
        "ALTER TABLE sagabus.event ALTER seq SET DEFAULT public.draw();"
        "DO $$ BEGIN EXECUTE replace(pg_get_functiondef('sagabus.event_append'::regproc), "
        "'nextval(''sagabus.event_seq'')', 'public.draw()'); "
        "EXECUTE replace(pg_get_functiondef('sagabus.event_append_many'::regproc), "
        "'nextval(''sagabus.event_seq'')', 'public.draw()'); END $$");
    static const char insert[] =
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) VALUES "
        "($1::bigint, 1, 1, 1, gen_random_uuid(), '{}')";
    static const char *const modes[] = {"SET plan_cache_mode = force_generic_plan",
                                        "SET plan_cache_mode = force_custom_plan"};
    int64_t stream = 1000;
    for (int mode = 0; mode < 2; mode++) {
        sb_test_pg_script(f->pg, modes[mode]);
        for (int i = 0; i < 8; i++) {
            sb_pg_params_t params = SB_PG_PARAMS_INIT;
            sb_pg_add_int8(&params, stream++);
            assert_ok(sb_pg_query(f->pg, insert, &params, NULL, &f->err), &f->err);
            assert_ok(append_n(f, "w", SB_EXPECT_ANY, 0, 3), &f->err);
            sb_event_t event = confirmed();
            sb_append_t two[2] = {
                {SB_SLICE("order"), SB_SLICE("w"), SB_EXPECT_ANY, 0, SB_UUID_NIL, &event, 1},
                {SB_SLICE("order"), SB_SLICE("x"), SB_EXPECT_ANY, 0, SB_UUID_NIL, &event, 1}};
            sb_append_result_t results[2];
            assert_ok(sb_store_append_many(f->store, two, 2, NULL, results, &f->err), &f->err);
        }
    }
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.witness"), 2 * 8 * 6);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM public.witness WHERE locked <> 1"), 0);
}

/* An appender that waits for a stream must not hold the lock that holds safe_seq back. */
static void who_waits_for_a_stream_does_not_hold_the_event_lock(void **state)
{
    fixture_t *f = *state;
    assert_appended(f, "race-0", SB_EXPECT_ANY, 0, 1);
    sb_pg_t *other = sb_test_pg_open(f->uri);
    sb_test_pg_script(other, "BEGIN; SELECT * FROM sagabus.stream WHERE key = 'race-0' FOR UPDATE");
    pthread_t thread;
    writer_t writer = {.uri = f->uri, .expect = SB_EXPECT_ANY};
    assert_int_equal(pthread_create(&thread, NULL, race, &writer), 0);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted") > 0, 5000);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE mode = 'RowExclusiveLock' AND relation = "
                              "'sagabus.event'::regclass"),
        0);
    sb_test_pg_script(other, "COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(writer.wins, RACE_ROUNDS);
    sb_pg_close(&other);
}

/* ---- the public form ---- */

static void the_public_store_opens_reads_and_comes_back(void **state)
{
    fixture_t *f = *state;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = f->uri, .application_name = "shop", .source = "/shop"};
    assert_ok(sb_store_open(&store, &config, &f->err), &f->err);
    assert_int_equal(
        sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop'"), 1);
    sb_event_t event = confirmed();
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = SB_SLICE("p"),
                          .expect = SB_EXPECT_NONE,
                          .events = &event,
                          .count = 1};
    assert_ok(sb_store_append(store, &append, &f->result, &f->err), &f->err);
    sb_test_pg_script(
        f->pg, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'shop'");
    append.expect = SB_EXPECT_EXISTS;
    sb_code_t code = SB_UNAVAILABLE;
    for (int i = 0; i < 50 && code != SB_OK; i++) { /* the first may find the connection broken */
        code = sb_store_append(store, &append, &f->result, &f->err);
        sb_test_sleep_ms(10);
    }
    assert_ok(code, &f->err);
    sb_buf_t text = SB_BUF_INIT;
    assert_ok(
        sb_store_read_stream(store, SB_SLICE("order"), SB_SLICE("p"), 1, false, 1, keep, &text, &f->err),
        &f->err);
    assert_contains(sb_buf_text(&text), " /shop p ");
    sb_buf_fini(&text);
    sb_store_close(&store);
    assert_null(store);
    sb_store_close(&store);
    config.pg_uri = "postgresql://127.0.0.1:1/x";
    assert_code(SB_UNAVAILABLE, sb_store_open(&store, &config, &f->err), &f->err);
    assert_null(store);
}

/* An answer says that it is on disk, even where the role's default says otherwise. */
static void an_append_is_durable_whatever_the_default(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(
        f->pg, "SET synchronous_commit = off;"
               "CREATE TABLE public.seen (setting text);"
               "CREATE FUNCTION public.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO "
               "public.seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;"
               "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON sagabus.event_domain_20000000 "
               "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.note()");
    assert_appended(f, "a", SB_EXPECT_ANY, 0, 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT (setting = 'on')::int FROM public.seen"), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT (current_setting('synchronous_commit') = 'off')::int"), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(every_expectation_is_kept),
        CASE(a_model_agrees),
        CASE(of_several_writers_exactly_one_wins),
        CASE(a_repeated_command_gives_the_first_answer),
        CASE(a_command_sent_twice_at_once_is_carried_out_once),
        CASE(an_invalid_event_is_refused_with_its_place),
        CASE(what_is_too_large_is_refused),
        CASE(what_a_topic_does_not_take_is_refused),
        CASE(ten_thousand_events_go_in_and_come_back),
        CASE(a_stream_is_read_from_any_version_both_ways),
        CASE(attributes_come_back_as_they_were_given),
        CASE(all_is_read_up_to_the_safe_number_only),
        CASE(filters_take_what_they_name),
        CASE(a_body_too_many_is_refused),
        CASE(a_stream_read_leaves_other_partitions_alone),
        CASE(pages_come_from_the_indexes_of_the_partitions_they_need),
        CASE(history_cannot_be_changed),
        CASE(the_event_table_is_locked_before_a_number_is_drawn),
        CASE(who_waits_for_a_stream_does_not_hold_the_event_lock),
        CASE(the_public_store_opens_reads_and_comes_back),
        CASE(an_append_is_durable_whatever_the_default),
    };
    return cmocka_run_group_tests_name("store", tests, sb_test_pg_start, sb_test_pg_stop);
}
