/* SPDX-License-Identifier: Apache-2.0 */
#include "events/catalog.h"
#include "events/store/erase.h"
#include "examples/order/order_aggregate.h"
#include "tests/support/assert.h"
#include "tests/support/process.h"
#include "tests/support/proxy.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_store_t *store;
    sb_store_t *other; /* another writer */
    sb_execute_result_t result;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static sb_store_t *open_store(const char *uri)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = uri};
    assert_ok(sb_store_open(&store, &config, &err), &err);
    return store;
}

static int setup(void **state)
{
    fixture_t *f = &fixture;
    *f = (fixture_t){.pg = NULL};
    sb_catalog_t *catalog = NULL;
    sb_apply_report_t report;
    f->pg = sb_test_pg_open(sb_test_pg_fresh(f->uri));
    assert_ok(sb_catalog_new(&catalog, &f->err), &f->err);
    assert_ok(sb_catalog_apply(catalog, f->pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &f->err),
              &f->err);
    sb_catalog_free(&catalog);
    f->store = open_store(f->uri);
    f->other = open_store(f->uri);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_store_close(&f->store);
    sb_store_close(&f->other);
    sb_pg_close(&f->pg);
    return 0;
}

/* ---- an aggregate that shows everything: an order-dependent hash of what it was given ---- */

typedef struct trail {
    uint64_t hash;
    int count;
    char *last; /* owned: the body of the last event */
} trail_t;

typedef struct walk {
    int limit;         /* refuses at so many events; 0: none */
    int events;        /* to add */
    const char *text;  /* tracking of each; NULL: "t" */
    fixture_t *f;      /* another writer appends while we decide, so many times */
    int intrusions;    /* left */
    int decided;       /* times */
    sb_event_t *as_is; /* added as it is, when set */
} walk_t;

#define BODY(tracking) "{\"order_id\":\"x\",\"tracking\":\"" tracking "\"}"

static uint64_t mix(uint64_t hash, const void *bytes, size_t length)
{
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash;
}

static sb_code_t trail_init(void *state, sb_error_t *err)
{
    (void)err;
    ((trail_t *)state)->hash = 0xcbf29ce484222325u;
    return SB_OK;
}

static void trail_fini(void *state)
{
    free(((trail_t *)state)->last);
}

static sb_code_t trail_evolve(void *state, const sb_event_t *event, sb_error_t *err)
{
    trail_t *trail = state;
    char *last = strndup(event->data.ptr, event->data.len);
    if (!last)
        return sb_fail(err, SB_NO_MEMORY, "trail: out of memory");
    free(trail->last);
    trail->last = last;
    trail->hash = mix(trail->hash, event->type.ptr, event->type.len);
    trail->hash = mix(trail->hash, event->data.ptr, event->data.len);
    trail->hash = mix(trail->hash, &event->stream_version, sizeof event->stream_version);
    trail->hash = mix(trail->hash, &event->seq, sizeof event->seq);
    trail->hash = mix(trail->hash, &event->time_us, sizeof event->time_us);
    trail->count++;
    return SB_OK;
}

static void append_as_other(fixture_t *f, const char *key)
{
    sb_event_t event = {.type = SB_SLICE("order.shipped"), .data = SB_SLICE(BODY("other"))};
    sb_append_t append = {.category = SB_SLICE("order"), .key = sb_slice(key), .events = &event, .count = 1};
    sb_append_result_t result;
    assert_ok(sb_store_append(f->other, &append, &result, &f->err), &f->err);
}

static sb_code_t trail_decide(const void *state, const void *command, sb_decision_t *decision,
                              sb_error_t *err)
{
    const trail_t *trail = state;
    walk_t *walk = (walk_t *)(uintptr_t)command;
    walk->decided++;
    if (walk->intrusions > 0) {
        walk->intrusions--;
        append_as_other(walk->f, "x");
    }
    if (walk->limit && trail->count >= walk->limit)
        return sb_fail(err, SB_DENIED, "the trail has %d events", trail->count);
    char body[128];
    (void)snprintf(body, sizeof body, "{\"order_id\":\"x\",\"tracking\":\"%s\"}",
                   walk->text ? walk->text : "t");
    for (int i = 0; i < walk->events; i++) {
        char type[16] = "order.shipped"; /* on the stack: it must be copied */
        sb_event_t event = {.type = sb_slice(type), .data = sb_slice(body)};
        sb_decision_add(decision, walk->as_is ? walk->as_is : &event);
        memset(type, '!', sizeof type);
    }
    memset(body, '!', sizeof body);
    return SB_OK;
}

static sb_code_t trail_save(const void *state, char **bytes, size_t *length, sb_error_t *err)
{
    const trail_t *trail = state;
    int n = asprintf(bytes, "%llu %d %s", (unsigned long long)trail->hash, trail->count,
                     trail->last ? trail->last : "");
    if (n < 0) {
        *bytes = NULL;
        return sb_fail(err, SB_NO_MEMORY, "trail: out of memory");
    }
    *length = (size_t)n;
    return SB_OK;
}

static sb_code_t trail_restore(void *state, sb_slice_t bytes, sb_error_t *err)
{
    trail_t *trail = state;
    char *text = strndup(bytes.ptr, bytes.len);
    unsigned long long hash = 0;
    int at = 0;
    bool fits = text && sscanf(text, "%llu %d %n", &hash, &trail->count, &at) == 2;
    trail->hash = hash;
    trail->last = fits ? strdup(text + at) : NULL;
    free(text);
    return fits ? SB_OK : sb_fail(err, SB_CORRUPT, "not the bytes of a trail");
}

#define TRAIL(form_, every_)                                                                                 \
    {                                                                                                        \
        .category = "order", .name = "trail", .state_size = sizeof(trail_t), .init = trail_init,             \
        .fini = trail_fini, .evolve = trail_evolve, .decide = trail_decide, .form = (form_),                 \
        .snapshot_every = (every_), .save = trail_save, .restore = trail_restore                             \
    }

static const sb_aggregate_type_t plain = TRAIL(0, 0);
static const sb_aggregate_type_t by_ten = TRAIL(1, 10);
static const sb_aggregate_type_t second_form = TRAIL(2, 10);
static const sb_aggregate_type_t never_due = TRAIL(1, 1000000);

static sb_code_t run_walk(fixture_t *f, const sb_aggregate_type_t *type, const char *key, walk_t *walk)
{
    sb_execute_t execute = {.key = sb_slice(key), .command = walk};
    sb_error_clear(&f->err);
    return sb_aggregate_execute(f->store, type, &execute, &f->result, &f->err);
}

static void walk_on(fixture_t *f, const sb_aggregate_type_t *type, int events)
{
    walk_t walk = {.events = events};
    assert_ok(run_walk(f, type, "x", &walk), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED);
}

/* The state's bytes, owned, and the version. */
static char *state_at(fixture_t *f, const sb_aggregate_type_t *type, int version, int *got)
{
    sb_aggregate_t *aggregate = NULL;
    char *bytes = NULL;
    size_t length = 0;
    sb_error_clear(&f->err);
    assert_ok(sb_aggregate_load(&aggregate, f->store, type, SB_SLICE("x"), version, &f->err), &f->err);
    assert_ok(type->save(sb_aggregate_state(aggregate), &bytes, &length, &f->err), &f->err);
    if (got)
        *got = sb_aggregate_version(aggregate);
    sb_aggregate_free(&aggregate);
    return bytes;
}

static void assert_same_state(fixture_t *f, const sb_aggregate_type_t *type, const char *want)
{
    char *have = state_at(f, type, 0, NULL);
    assert_string_equal(have, want);
    free(have);
}

static int64_t snapshots(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.snapshot");
}

static int64_t snapshot_version(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT coalesce(max(version), 0) FROM sagabus.snapshot WHERE form = 1");
}

/* ---- the order ---- */

static sb_code_t order_do(fixture_t *f, order_verb_t verb, const char *order_id)
{
    json_t *order = json_pack("{s:s, s:i, s:s, s:[{s:s, s:i, s:i}]}", "customer_id", "c-1", "amount", 500,
                              "currency", "EUR", "items", "sku", "book", "quantity", 1, "price", 500);
    order_command_t command = {
        .verb = verb, .order_id = order_id, .order = order, .carrier = "post", .reason = "changed my mind"};
    sb_execute_t execute = {.key = sb_slice(order_id), .command = &command};
    sb_error_clear(&f->err);
    sb_code_t code = sb_aggregate_execute(f->store, &order_aggregate, &execute, &f->result, &f->err);
    json_decref(order);
    return code;
}

static order_status_t status_of(fixture_t *f, const char *order_id)
{
    sb_aggregate_t *aggregate = NULL;
    assert_ok(sb_aggregate_load(&aggregate, f->store, &order_aggregate, sb_slice(order_id), 0, &f->err),
              &f->err);
    order_status_t status = ((const order_state_t *)sb_aggregate_state(aggregate))->status;
    sb_aggregate_free(&aggregate);
    return status;
}

static void assert_refused(fixture_t *f, order_verb_t verb, const char *order_id, const char *why)
{
    int64_t before = sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event");
    order_status_t status = status_of(f, order_id);
    assert_code(SB_DENIED, order_do(f, verb, order_id), &f->err);
    assert_contains(f->err.message, why);
    assert_int_equal(status_of(f, order_id), status);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), before);
}

static void assert_done(fixture_t *f, order_verb_t verb, const char *order_id, int version)
{
    assert_ok(order_do(f, verb, order_id), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED);
    assert_int_equal(f->result.version, version);
    assert_true(f->result.first_seq > 0 && f->result.first_seq == f->result.last_seq);
}

static void an_order_lives_by_its_rules(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(status_of(f, "o-1"), ORDER_NONE);
    assert_refused(f, ORDER_CONFIRM, "o-1", "order o-1 is not there: it cannot be confirmed");
    assert_refused(f, ORDER_CANCEL, "o-1", "not there");
    assert_done(f, ORDER_CREATE, "o-1", 1);
    assert_refused(f, ORDER_CREATE, "o-1", "is pending: it cannot be created");
    assert_refused(f, ORDER_SHIP, "o-1", "is pending: it cannot be shipped");
    assert_done(f, ORDER_CONFIRM, "o-1", 2);
    assert_ok(order_do(f, ORDER_CONFIRM, "o-1"), &f->err); /* it is so already */
    assert_int_equal(f->result.outcome, SB_EXECUTED_NOTHING);
    assert_int_equal(f->result.version, 2);
    assert_done(f, ORDER_SHIP, "o-1", 3);
    assert_refused(f, ORDER_CANCEL, "o-1", "order o-1 is shipped: it cannot be cancelled");
    assert_refused(f, ORDER_CONFIRM, "o-1", "is shipped: it cannot be confirmed");
    assert_done(f, ORDER_DELIVER, "o-1", 4);
    assert_refused(f, ORDER_CANCEL, "o-1", "is delivered");

    assert_done(f, ORDER_CREATE, "o-2", 1);
    assert_done(f, ORDER_CANCEL, "o-2", 2);
    assert_refused(f, ORDER_CONFIRM, "o-2", "is cancelled: it cannot be confirmed");
    assert_done(f, ORDER_CREATE, "o-3", 1);
    assert_done(f, ORDER_CONFIRM, "o-3", 2);
    assert_done(f, ORDER_CANCEL, "o-3", 3);

    /* What it knows comes back from a snapshot too. */
    sb_aggregate_t *order = NULL;
    assert_ok(sb_aggregate_load(&order, f->store, &order_aggregate, SB_SLICE("o-1"), 0, &f->err), &f->err);
    assert_ok(sb_aggregate_snapshot(order, f->store, &f->err), &f->err);
    sb_aggregate_free(&order);
    assert_ok(sb_aggregate_load(&order, f->store, &order_aggregate, SB_SLICE("o-1"), 0, &f->err), &f->err);
    const order_state_t *known = sb_aggregate_state(order);
    assert_int_equal(known->status, ORDER_DELIVERED);
    assert_string_equal(known->customer_id, "c-1");
    assert_int_equal(known->amount, 500);
    assert_string_equal(known->carrier, "post");
    sb_aggregate_free(&order);
}

/* Written by an older release, with the carrier where version 1 of the schema had it. */
static void an_old_event_is_evolved_as_the_newest_version(void **state)
{
    fixture_t *f = *state;
    sb_event_t old = {.type = SB_SLICE("order.shipped"),
                      .schema_version = 1,
                      .data = SB_SLICE("{\"order_id\":\"o-4\",\"carrier\":\"snail\"}")};
    sb_append_t append = {.category = SB_SLICE("order"), .key = SB_SLICE("o-4"), .events = &old, .count = 1};
    sb_append_result_t result;
    sb_aggregate_t *order = NULL;
    assert_done(f, ORDER_CREATE, "o-4", 1);
    assert_done(f, ORDER_CONFIRM, "o-4", 2);
    assert_ok(sb_store_append(f->other, &append, &result, &f->err), &f->err);
    assert_ok(sb_aggregate_load(&order, f->store, &order_aggregate, SB_SLICE("o-4"), 0, &f->err), &f->err);
    const order_state_t *known = sb_aggregate_state(order);
    assert_int_equal(known->status, ORDER_SHIPPED);
    assert_string_equal(known->carrier, "snail");
    sb_aggregate_free(&order);
    assert_refused(f, ORDER_CANCEL, "o-4", "is shipped");
}

/* The program, over the shared library. */
static int desk(fixture_t *f, const char *id, const char *const *words, const char *says)
{
    const char *argv[8] = {SB_TEST_DESK, "o-5"};
    char uri[SB_TEST_URI + 16];
    char command[64];
    const char *environment[] = {uri, id ? command : NULL, NULL};
    sb_test_process_t process;
    for (int i = 0; words[i] && i < 5; i++)
        argv[2 + i] = words[i];
    (void)snprintf(uri, sizeof uri, "SAGABUS_PG=%s", f->uri);
    (void)snprintf(command, sizeof command, "SAGABUS_COMMAND_ID=%s", id ? id : "");
    sb_test_spawn(&process, argv, environment, NULL);
    assert_true(sb_test_wait(&process, 60000));
    char *output = sb_test_output(&process);
    assert_contains(output, says);
    free(output);
    sb_test_process_end(&process);
    return process.exit_code;
}

static void the_order_desk_says_what_became_of_a_command(void **state)
{
    fixture_t *f = *state;
    const char *const create[] = {"create", "ada", "500", "EUR", "book", NULL};
    const char *const confirm[] = {"confirm", NULL};
    const char *const ship[] = {"ship", "post", NULL};
    const char *const cancel[] = {"cancel", "changed my mind", NULL};
    const char *const show[] = {"show", NULL};
    const char *const wrong[] = {"eat", NULL};
    const char *id = "01890a5d-ac96-774b-bcce-b302099a8057";
    assert_int_equal(desk(f, id, create, "o-5: done (version 1)"), 0);
    assert_int_equal(desk(f, id, create, "o-5: done before (version 1)"), 0);
    assert_int_equal(desk(f, NULL, create, "order o-5 is pending: it cannot be created"), 1);
    assert_int_equal(desk(f, NULL, confirm, "o-5: done (version 2)"), 0);
    assert_int_equal(desk(f, NULL, confirm, "o-5: nothing to do (version 2)"), 0);
    assert_int_equal(desk(f, NULL, ship, "o-5: done (version 3)"), 0);
    assert_int_equal(desk(f, NULL, cancel, "order o-5 is shipped: it cannot be cancelled"), 1);
    assert_int_equal(desk(f, NULL, show, "o-5 is shipped (version 3)"), 0);
    assert_int_equal(desk(f, NULL, wrong, "sagabus-order-desk ORDER create"), 2);
}

/* ---- deciding ---- */

static void who_was_too_late_decides_again(void **state)
{
    fixture_t *f = *state;
    walk_t walk = {.events = 2, .f = f, .intrusions = 2};
    assert_ok(run_walk(f, &plain, "x", &walk), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED);
    assert_int_equal(f->result.tries, 3);
    assert_int_equal(f->result.version, 4);

    /* On the newer state it is refused: the first decision never counts. */
    walk = (walk_t){.events = 1, .limit = 5, .f = f, .intrusions = 1};
    assert_code(SB_DENIED, run_walk(f, &plain, "x", &walk), &f->err);
    assert_int_equal(walk.decided, 2);
    assert_string_equal(f->err.message, "the trail has 5 events");

    walk = (walk_t){.events = 1, .f = f, .intrusions = 100};
    sb_execute_t execute = {.key = SB_SLICE("x"), .command = &walk, .tries_max = 3};
    assert_code(SB_CONFLICT, sb_aggregate_execute(f->store, &plain, &execute, &f->result, &f->err), &f->err);
    assert_int_equal(walk.decided, 3);
    assert_contains(f->err.message, "order x: in 3 tries another writer was first every time");
    assert_int_equal(sb_test_pg_int(f->pg,
                                    "SELECT count(*) FROM sagabus.event WHERE convert_from(data, 'UTF8') "
                                    "LIKE '%\"t\"%'"),
                     2);
}

typedef struct worker {
    pthread_t thread;
    const char *uri;
    int done, refused;
    sb_code_t code;
} worker_t;

#define WORKERS 4
#define LIMIT   60

static void *work(void *context)
{
    worker_t *worker = context;
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = worker->uri};
    worker->code = sb_store_open(&store, &config, NULL);
    while (worker->code == SB_OK) {
        walk_t walk = {.events = 1, .limit = LIMIT};
        sb_execute_t execute = {.key = SB_SLICE("x"), .command = &walk, .tries_max = 1000};
        sb_execute_result_t result;
        worker->code = sb_aggregate_execute(store, &by_ten, &execute, &result, NULL);
        worker->done += worker->code == SB_OK;
    }
    sb_store_close(&store);
    return NULL;
}

/* A rule about the whole state ("at most 60") holds whoever decides at the same time. */
static void a_rule_holds_with_many_writers(void **state)
{
    fixture_t *f = *state;
    worker_t workers[WORKERS];
    int done = 0;
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (worker_t){.uri = f->uri};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
        assert_int_equal(workers[i].code, SB_DENIED);
        done += workers[i].done;
    }
    assert_int_equal(done, LIMIT);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), LIMIT);
    char *folded = state_at(f, &plain, 0, NULL);
    assert_same_state(f, &by_ten, folded);
    free(folded);
}

static sb_code_t keep_slices(void *context, const sb_event_t *event, sb_error_t *err)
{
    char *out = context;
    (void)err;
    (void)snprintf(out + strlen(out), 200, "%.*s %.*s %.*s %.*s;", SB_SLICE_ARG(event->correlation_id),
                   SB_SLICE_ARG(event->causation_id), SB_SLICE_ARG(event->source),
                   SB_SLICE_ARG(event->partition_key));
    return SB_OK;
}

static void what_was_decided_goes_in_with_its_attributes(void **state)
{
    fixture_t *f = *state;
    char got[600] = "";
    sb_event_t event = {.type = SB_SLICE("order.shipped"),
                        .data = SB_SLICE(BODY("a")),
                        .correlation_id = SB_SLICE("own"),
                        .source = SB_SLICE("/here"),
                        .partition_key = SB_SLICE("p")};
    walk_t walks[] = {{.events = 1, .as_is = &event}, {.events = 1}};
    for (int i = 0; i < 2; i++) {
        sb_execute_t execute = {.key = SB_SLICE("x"),
                                .command = &walks[i],
                                .correlation_id = SB_SLICE("given"),
                                .causation_id = SB_SLICE("cause")};
        assert_ok(sb_aggregate_execute(f->store, &plain, &execute, &f->result, &f->err), &f->err);
    }
    assert_ok(sb_store_read_stream(f->store, SB_SLICE("order"), SB_SLICE("x"), 1, false, 10, keep_slices, got,
                                   &f->err),
              &f->err);
    assert_string_equal(got, "own cause /here p;given cause /sagabus ;");

    walk_t nothing = {.events = 0};
    assert_ok(run_walk(f, &plain, "nobody", &nothing), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED_NOTHING);
    assert_int_equal(f->result.version, 0);
    walk_t too_many = {.events = SB_APPEND_EVENTS_MAX + 1};
    assert_code(SB_TOO_LARGE, run_walk(f, &plain, "nobody", &too_many), &f->err);
    event.data = SB_SLICE("{}");
    walk_t invalid = {.events = 1, .as_is = &event};
    assert_code(SB_INVALID, run_walk(f, &plain, "nobody", &invalid), &f->err);
    assert_string_equal(f->err.pointer, "/events/0/data/order_id");
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.stream"), 1);
}

/* ---- the same command again ---- */

static sb_code_t run_command(fixture_t *f, const char *key, sb_uuid_t id, const char *request, walk_t *walk)
{
    sb_execute_t execute = {
        .key = sb_slice(key), .command = walk, .command_id = id, .request = sb_slice(request)};
    sb_error_clear(&f->err);
    return sb_aggregate_execute(f->store, &by_ten, &execute, &f->result, &f->err);
}

static void a_command_is_carried_out_once(void **state)
{
    fixture_t *f = *state;
    sb_uuid_t id = sb_uuid_v7();
    walk_t walk = {.events = 2, .limit = 1};
    assert_ok(run_command(f, "x", id, "two", &walk), &f->err);
    sb_execute_result_t first = f->result;
    assert_int_equal(first.outcome, SB_EXECUTED);
    append_as_other(f, "x");

    /* By now it would be refused, but it was carried out. */
    assert_ok(run_command(f, "x", id, "two", &walk), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED_BEFORE);
    assert_int_equal(f->result.version, 2);
    assert_int_equal(f->result.first_seq, first.first_seq);
    assert_int_equal(f->result.last_seq, first.last_seq);
    assert_int_equal(walk.decided, 1);

    assert_code(SB_MISMATCH, run_command(f, "x", id, "three", &walk), &f->err);
    assert_string_equal(f->err.pointer, "/command_id");
    assert_code(SB_MISMATCH, run_command(f, "y", id, "two", &walk), &f->err);
    assert_code(SB_MISMATCH, run_command(f, "x", id, NULL, &walk), &f->err);
    assert_int_equal(walk.decided, 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);

    /* A refusal is not remembered. */
    id = sb_uuid_v7();
    assert_code(SB_DENIED, run_command(f, "x", id, "two", &walk), &f->err);
    walk.limit = 0;
    assert_ok(run_command(f, "x", id, "two", &walk), &f->err);
    assert_int_equal(f->result.outcome, SB_EXECUTED);
}

static void *command_once(void *context)
{
    fixture_t *f = context;
    static const sb_uuid_t id = {{7}};
    sb_store_t *store = NULL;
    sb_store_config_t config = {.pg_uri = f->uri};
    walk_t walk = {.events = 3, .limit = 1};
    sb_execute_t execute = {.key = SB_SLICE("x"), .command = &walk, .command_id = id};
    sb_execute_result_t result = {.version = 0};
    if (sb_store_open(&store, &config, NULL) == SB_OK &&
        sb_aggregate_execute(store, &by_ten, &execute, &result, NULL) != SB_OK)
        result.version = -1;
    sb_store_close(&store);
    return (void *)(intptr_t)result.version;
}

static void a_command_sent_many_times_at_once_is_carried_out_once(void **state)
{
    fixture_t *f = *state;
    pthread_t threads[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, command_once, f), 0);
    for (int i = 0; i < WORKERS; i++) {
        void *version = NULL;
        assert_int_equal(pthread_join(threads[i], &version), 0);
        assert_int_equal((intptr_t)version, 3);
    }
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 3);
}

static void a_command_whose_answer_is_lost_is_carried_out_once(void **state)
{
    fixture_t *f = *state;
    char uri[SB_TEST_URI];
    sb_test_proxy_t *proxy = NULL;
    static const sb_proxy_act_t acts[] = {SB_PROXY_CUT_ANSWERED, SB_PROXY_CUT_BEFORE, SB_PROXY_CUT_AFTER};
    sb_test_proxy_open(&proxy);
    sb_store_t *store = open_store(sb_test_proxy_uri(proxy, f->uri, uri));
    for (int i = 0; i < 3; i++) {
        /* A snapshot serves each load whole: one statement, then the append. */
        sb_proxy_rule_t rule = {.act = acts[i], .skip = 1};
        walk_t walk = {.events = 10, .limit = 10 * i + 1};
        sb_execute_t execute = {.key = SB_SLICE("x"), .command = &walk, .command_id = sb_uuid_v7()};
        sb_test_proxy_rule(proxy, &rule);
        assert_code(SB_UNKNOWN_OUTCOME, sb_aggregate_execute(store, &by_ten, &execute, &f->result, &f->err),
                    &f->err);
        sb_error_clear(&f->err);
        assert_ok(sb_aggregate_execute(store, &by_ten, &execute, &f->result, &f->err), &f->err);
        assert_int_equal(f->result.version, 10 * (i + 1));
        assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.event"), 10 * (i + 1));
        walk_t nothing = {.events = 0};
        sb_execute_t again = {.key = SB_SLICE("x"), .command = &nothing};
        assert_ok(sb_aggregate_execute(store, &by_ten, &again, &f->result, &f->err), &f->err);
        assert_int_equal(snapshot_version(f), 10 * (i + 1));
    }
    sb_store_close(&store);
    sb_test_proxy_close(&proxy);
}

/* ---- snapshots ---- */

static void a_snapshot_is_kept_every_so_many_events(void **state)
{
    fixture_t *f = *state;
    walk_on(f, &plain, 25);
    assert_int_equal(snapshots(f), 0);
    walk_on(f, &by_ten, 1);
    assert_int_equal(snapshot_version(f), 26);
    for (int i = 0; i < 9; i++)
        walk_on(f, &by_ten, 1);
    assert_int_equal(snapshot_version(f), 26);
    walk_on(f, &by_ten, 1);
    assert_int_equal(snapshot_version(f), 36);
    walk_on(f, &by_ten, 300);
    assert_int_equal(snapshot_version(f), 336);
    assert_int_equal(snapshots(f), 1);
    char *folded = state_at(f, &plain, 0, NULL);
    assert_same_state(f, &by_ten, folded);
    free(folded);
}

/* The events are hidden: only a load that needs no more than the snapshot and what comes after can work. */
static void a_load_reads_only_what_comes_after(void **state)
{
    fixture_t *f = *state;
    walk_on(f, &by_ten, 30);
    walk_on(f, &by_ten, 5);
    char *folded = state_at(f, &plain, 0, NULL);
    sb_test_pg_script(f->pg, "UPDATE sagabus.stream SET first_version = 31");
    assert_same_state(f, &by_ten, folded);
    free(folded);
    sb_aggregate_t *aggregate = NULL;
    assert_code(SB_GONE, sb_aggregate_load(&aggregate, f->store, &plain, SB_SLICE("x"), 0, &f->err), &f->err);
    assert_contains(f->err.message, "load order x");
    assert_null(aggregate);
    walk_on(f, &by_ten, 1);
    walk_t walk = {.events = 1};
    assert_code(SB_GONE, run_walk(f, &second_form, "x", &walk), &f->err);
}

static void a_snapshot_of_another_form_is_ignored(void **state)
{
    fixture_t *f = *state;
    walk_on(f, &by_ten, 20);
    sb_test_pg_script(f->pg, "UPDATE sagabus.snapshot SET state = 'lies'");
    char *folded = state_at(f, &plain, 0, NULL);
    assert_same_state(f, &second_form, folded);
    assert_same_state(f, &by_ten, folded); /* and one that cannot be read is as good as none */
    free(folded);

    /* Both forms side by side, as while a new release is rolled out; the old one goes when nobody writes it.
     */
    walk_on(f, &second_form, 1);
    assert_int_equal(snapshots(f), 2);
    assert_int_equal(snapshot_version(f), 20);
    sb_test_pg_script(f->pg, "UPDATE sagabus.snapshot SET at = at - interval '8 days' WHERE form = 1");
    walk_on(f, &second_form, 10);
    assert_int_equal(snapshots(f), 1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT version FROM sagabus.snapshot WHERE form = 2"), 31);
}

static void an_older_snapshot_never_replaces_a_newer_one(void **state)
{
    fixture_t *f = *state;
    sb_aggregate_t *old = NULL;
    walk_on(f, &never_due, 3);
    assert_ok(sb_aggregate_load(&old, f->store, &never_due, SB_SLICE("x"), 0, &f->err), &f->err);
    walk_on(f, &by_ten, 9);
    assert_int_equal(snapshot_version(f), 12);
    assert_ok(sb_aggregate_snapshot(old, f->store, &f->err), &f->err);
    assert_int_equal(snapshot_version(f), 12);
    sb_aggregate_free(&old);
    assert_ok(sb_aggregate_load(&old, f->store, &plain, SB_SLICE("x"), 0, &f->err), &f->err);
    assert_code(SB_UNSUPPORTED, sb_aggregate_snapshot(old, f->store, &f->err), &f->err);
    sb_aggregate_free(&old);

    /* One that claims more than the stream has (a table put back from elsewhere) does not count. */
    char *folded = state_at(f, &plain, 0, NULL);
    sb_test_pg_script(f->pg, "UPDATE sagabus.snapshot SET version = 99, state = '1 99 '");
    assert_same_state(f, &by_ten, folded);
    free(folded);
    walk_on(f, &by_ten, 1);
    assert_int_equal(f->result.version, 13);
}

static void a_snapshot_that_fails_does_not_undo_the_command(void **state)
{
    fixture_t *f = *state;
    sb_test_pg_script(f->pg, "ALTER TABLE sagabus.snapshot ADD CHECK (version <> 12)");
    walk_on(f, &by_ten, 12);
    assert_int_equal(f->result.version, 12);
    assert_int_equal(snapshots(f), 0);
    walk_on(f, &by_ten, 1);
    assert_int_equal(snapshot_version(f), 13);
}

static void the_state_of_any_version_can_be_had(void **state)
{
    fixture_t *f = *state;
    char *at[13];
    for (int i = 0; i <= 12; i++) {
        int got = -1;
        at[i] = state_at(f, &plain, 0, &got);
        assert_int_equal(got, i);
        walk_on(f, &by_ten, 1);
    }
    assert_int_equal(snapshots(f), 1);
    for (int i = 1; i <= 12; i++) {
        int got = -1;
        char *have = state_at(f, &by_ten, i, &got);
        assert_int_equal(got, i);
        assert_string_equal(have, at[i]);
        free(have);
    }
    for (int i = 0; i <= 12; i++)
        free(at[i]);
}

/* ---- erasing ---- */

static void erase_stream(sb_pg_t *pg, const char *stream, int64_t snapshots)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_erase_t erase = {.reason = "asked for"};
    sb_erase_report_t report;
    assert_ok(sb_erase_parse(stream, &erase, &err), &err);
    assert_ok(sb_erase_run(pg, &erase, &report, &err), &err);
    assert_int_equal(report.snapshots, snapshots);
}

typedef struct keeping {
    sb_aggregate_t *aggregate;
    sb_store_t *store;
} keeping_t;

static void *keep_snapshot(void *context)
{
    const keeping_t *keeping = context;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_aggregate_snapshot(keeping->aggregate, keeping->store, &err), &err);
    return NULL;
}

/* Whoever loaded a state before has the bodies in it: it is not written down again, neither after the erasure
 * nor while it is being committed. */
static void no_snapshot_outlives_an_erasure(void **state)
{
    fixture_t *f = *state;
    pthread_t thread;
    keeping_t keeping = {.store = f->other};
    walk_on(f, &by_ten, 12);
    assert_int_equal(snapshots(f), 1);
    assert_ok(sb_aggregate_load(&keeping.aggregate, f->other, &never_due, SB_SLICE("x"), 0, &f->err),
              &f->err);
    erase_stream(f->pg, "order/x", 1);
    assert_int_equal(snapshots(f), 0);
    (void)keep_snapshot(&keeping);
    assert_int_equal(snapshots(f), 0);
    sb_aggregate_free(&keeping.aggregate);

    walk_on(f, &by_ten, 10);
    assert_int_equal(snapshot_version(f), 22); /* of what is left */
    assert_ok(sb_aggregate_load(&keeping.aggregate, f->other, &never_due, SB_SLICE("x"), 0, &f->err),
              &f->err);
    sb_test_pg_script(f->pg, "BEGIN");
    erase_stream(f->pg, "order/x", 1);
    assert_int_equal(pthread_create(&thread, NULL, keep_snapshot, &keeping), 0);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = "
                                      "'sagabus.snapshot'::regclass") > 0,
                30000);
    sb_test_pg_script(f->pg, "COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(snapshots(f), 0);
    sb_aggregate_free(&keeping.aggregate);

    assert_done(f, ORDER_CREATE, "o-1", 1);
    erase_stream(f->pg, "order/o-1", 0);
    assert_int_equal(status_of(f, "o-1"), ORDER_PENDING); /* an aggregate takes a body that is null */
}

static void *erase_beside(void *uri)
{
    sb_pg_t *pg = sb_test_pg_open(uri);
    erase_stream(pg, "order/x", 1);
    sb_pg_close(&pg);
    return NULL;
}

/* An append that is still open holds up who erases from its stream, and nobody else. */
static void an_erasure_that_waits_does_not_stop_snapshots(void **state)
{
    fixture_t *f = *state;
    pthread_t thread;
    walk_on(f, &by_ten, 12);
    sb_test_pg_script(f->pg,
                      "BEGIN; SELECT FROM sagabus.stream WHERE category = 'order' AND key = 'x' FOR UPDATE");
    assert_int_equal(pthread_create(&thread, NULL, erase_beside, f->uri), 0);
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = "
                                      "'transactionid'") > 0,
                30000);
    int64_t stopped =
        sb_test_pg_int(f->pg, "SELECT count(*) FROM pg_locks WHERE granted AND relation = "
                              "'sagabus.snapshot'::regclass AND mode = 'ShareRowExclusiveLock'");
    sb_test_pg_script(f->pg, "COMMIT");
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(stopped, 0);
    assert_int_equal(snapshots(f), 0);
}

static unsigned seed(void)
{
    const char *text = getenv("SB_TEST_SEED");
    unsigned value = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("SB_TEST_SEED=%u\n", value);
    return value;
}

/* fold(snapshot + tail) == fold(all), for every cut of random streams. */
static void every_cut_gives_the_same_state(void **state)
{
    fixture_t *f = *state;
    unsigned random = seed();
    for (int round = 0; round < 2; round++) {
        int count = 0;
        while (count < 40) {
            char text[32];
            walk_t walk = {.events = 1 + rand_r(&random) % 6, .text = text};
            (void)snprintf(text, sizeof text, "%d \\u00fc\u00e9", rand_r(&random));
            assert_ok(run_walk(f, &plain, "x", &walk), &f->err);
            count = f->result.version;
        }
        char *folded = state_at(f, &plain, 0, NULL);
        for (int cut = 0; cut <= count; cut++) {
            sb_aggregate_t *aggregate = NULL;
            sb_test_pg_script(f->pg, "DELETE FROM sagabus.snapshot");
            assert_ok(sb_aggregate_load(&aggregate, f->store, &never_due, SB_SLICE("x"), cut, &f->err),
                      &f->err);
            assert_int_equal(sb_aggregate_version(aggregate), cut ? cut : count);
            assert_ok(sb_aggregate_snapshot(aggregate, f->store, &f->err), &f->err);
            sb_aggregate_free(&aggregate);
            assert_int_equal(snapshot_version(f), cut ? cut : count);
            assert_same_state(f, &never_due, folded);
        }
        free(folded);
        sb_test_pg_script(
            f->pg, "UPDATE sagabus.stream SET key = 'before-' || stream_no; DELETE FROM sagabus.snapshot");
    }
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_order_lives_by_its_rules),
        CASE(the_order_desk_says_what_became_of_a_command),
        CASE(an_old_event_is_evolved_as_the_newest_version),
        CASE(who_was_too_late_decides_again),
        CASE(a_rule_holds_with_many_writers),
        CASE(what_was_decided_goes_in_with_its_attributes),
        CASE(a_command_is_carried_out_once),
        CASE(a_command_sent_many_times_at_once_is_carried_out_once),
        CASE(a_command_whose_answer_is_lost_is_carried_out_once),
        CASE(a_snapshot_is_kept_every_so_many_events),
        CASE(a_load_reads_only_what_comes_after),
        CASE(a_snapshot_of_another_form_is_ignored),
        CASE(an_older_snapshot_never_replaces_a_newer_one),
        CASE(a_snapshot_that_fails_does_not_undo_the_command),
        CASE(the_state_of_any_version_can_be_had),
        CASE(no_snapshot_outlives_an_erasure),
        CASE(an_erasure_that_waits_does_not_stop_snapshots),
        CASE(every_cut_gives_the_same_state),
    };
    return cmocka_run_group_tests_name("aggregate", tests, sb_test_pg_start, sb_test_pg_stop);
}
