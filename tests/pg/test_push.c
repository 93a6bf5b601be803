/* Push against a real HTTP server on the loopback, which answers as the test wants it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push.h"

#include "bus/push/push_admin.h"
#include "bus/push/push_definition.h"
#include "bus/subscriber/dlq.h"
#include "events/store/erase.h"
#include "tests/support/assert.h"
#include "tests/support/http_peer.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"
#include "tests/support/proxy.h"
#include "tests/support/store.h"

#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECRET     "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr"
#define OLD_SECRET "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDC2FVsBQIhrsc"
#define HOOKS_MAX  4000
#define RULES_MAX  8
#define WAIT_MS    20000

typedef struct hook {
    char id[64], key[32], type[64], webhook_id[64], time[32], signature[256], content[64], trace[64];
    char body[400];
    int64_t seq;
    int64_t at_ms, end_ms; /* of the request and of its answer */
    int status;
} hook_t;

typedef struct rule {
    char key[32]; /* "*": every one */
    int status;
    int times; /* -1: always */
    char headers[64];
    int delay_ms;
} rule_t;

typedef struct fixture {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_config_t *config;
    sb_peer_t *peer;
    char dir[64];
    pthread_mutex_t lock;
    hook_t *hook;
    int hooks;
    rule_t rule[RULES_MAX];
    sb_progress_t progress;
} fixture_t;

typedef struct runner {
    sb_push_t *push;
    pthread_t thread;
} runner_t;

static fixture_t fixture;

/* ---- the endpoint ---- */

static void keep(char *out, size_t cap, sb_slice_t text)
{
    (void)snprintf(out, cap, "%.*s", SB_SLICE_ARG(text));
}

static rule_t *rule_for(fixture_t *f, const char *key)
{
    for (int i = 0; i < RULES_MAX; i++) {
        rule_t *rule = &f->rule[i];
        if (rule->status && rule->times != 0 &&
            (strcmp(rule->key, "*") == 0 || strcmp(rule->key, key) == 0)) {
            rule->times -= rule->times > 0;
            return rule;
        }
    }
    return NULL;
}

static void note(hook_t *hook, const sb_peer_request_t *request)
{
    keep(hook->id, sizeof hook->id, sb_peer_header(request, "ce-id"));
    keep(hook->key, sizeof hook->key, sb_peer_header(request, "ce-subject"));
    keep(hook->type, sizeof hook->type, sb_peer_header(request, "ce-type"));
    keep(hook->webhook_id, sizeof hook->webhook_id, sb_peer_header(request, "webhook-id"));
    keep(hook->time, sizeof hook->time, sb_peer_header(request, "webhook-timestamp"));
    keep(hook->signature, sizeof hook->signature, sb_peer_header(request, "webhook-signature"));
    keep(hook->content, sizeof hook->content, sb_peer_header(request, "content-type"));
    keep(hook->trace, sizeof hook->trace, sb_peer_header(request, "traceparent"));
    keep(hook->body, sizeof hook->body, request->body);
    sb_slice_t seq = sb_peer_header(request, "ce-sequence");
    hook->seq = seq.ptr ? strtoll(seq.ptr, NULL, 10) : 0;
    hook->at_ms = sb_test_mono_ms();
}

static void play(void *context, const sb_peer_request_t *request, sb_peer_answer_t *answer)
{
    fixture_t *f = context;
    (void)pthread_mutex_lock(&f->lock);
    hook_t *hook = f->hooks < HOOKS_MAX ? &f->hook[f->hooks++] : &f->hook[HOOKS_MAX - 1];
    note(hook, request);
    const rule_t *rule = rule_for(f, hook->key);
    answer->status = rule ? rule->status : 204;
    answer->delay_ms = rule ? rule->delay_ms : 0;
    if (rule)
        (void)snprintf(answer->headers, sizeof answer->headers, "%s", rule->headers);
    hook->status = answer->status;
    hook->end_ms = sb_test_mono_ms() + answer->delay_ms;
    (void)pthread_mutex_unlock(&f->lock);
}

static void set_rule(fixture_t *f, int i, const char *key, int status, int times, const char *headers,
                     int delay_ms)
{
    (void)pthread_mutex_lock(&f->lock);
    f->rule[i] = (rule_t){.status = status, .times = times, .delay_ms = delay_ms};
    (void)snprintf(f->rule[i].key, sizeof f->rule[i].key, "%s", key);
    (void)snprintf(f->rule[i].headers, sizeof f->rule[i].headers, "%s", headers);
    (void)pthread_mutex_unlock(&f->lock);
}

static void no_rules(fixture_t *f)
{
    (void)pthread_mutex_lock(&f->lock);
    memset(f->rule, 0, sizeof f->rule);
    (void)pthread_mutex_unlock(&f->lock);
}

/* Requests of a key (NULL: any) with a status (0: any). */
static int hooks(fixture_t *f, const char *key, int status)
{
    int n = 0;
    (void)pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->hooks; i++)
        n += (!key || strcmp(f->hook[i].key, key) == 0) && (!status || f->hook[i].status == status);
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

/* ---- the store ---- */

static void define_more(fixture_t *f, const char *name, const char *text)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/subscriptions/%s.json", f->dir, name);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void apply(fixture_t *f)
{
    static const sb_artifact_check_fn checks[SB_ARTIFACT_KINDS] = {[SB_ARTIFACT_SUBSCRIPTION] =
                                                                       sb_push_check};
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    assert_ok(sb_catalog_apply(f->catalog, f->pg, f->dir, checks, &report, &err), &err);
}

static void define(fixture_t *f, const char *name, const char *text)
{
    define_more(f, name, text);
    apply(f);
}

/* The subscription of most tests; more are members that follow. Quick, so that the tests are. */
#define HOOK(more)                                                                                           \
    "{\"subscription\":\"hook\",\"version\":1,\"types\":[\"order.*\",\"saga.completed\"],"                   \
    "\"endpoint\":\"shop\",\"path\":\"/hook\",\"from\":\"start\",\"timeout\":\"5s\"" more "}"
#define RETRY   ",\"retry\":{\"attempts\":3,\"delay\":20,\"max\":40}"
#define PATIENT ",\"breaker\":{\"failures\":1000}"

static void append(fixture_t *f, const char *key, int count)
{
    char sql[1400];
    (void)snprintf(
        sql, sizeof sql,
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', '%s') ON CONFLICT DO NOTHING;"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, meta, data) "
        "SELECT s.stream_no, s.version + i, y.type_no, 1, gen_random_uuid(), "
        "'{\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\"}', "
        "convert_to('{\"order_id\":\"%s\",\"reason\":\"n' || i || ' \\u00e9\"}', 'UTF8') "
        "FROM generate_series(1, %d) i, sagabus.stream s, sagabus.event_type y "
        "WHERE s.category = 'order' AND s.key = '%s' AND y.name = 'order.cancelled' AND y.version = 1 ORDER "
        "BY i;"
        "UPDATE sagabus.stream SET version = version + %d WHERE category = 'order' AND key = '%s';"
        "UPDATE sagabus.lease SET cursor = (SELECT max(seq) FROM sagabus.event) WHERE role = 'sequencer'",
        key, key, count, key, count, key);
    sb_test_pg_script(f->pg, sql);
    sb_progress_publish_safe(
        &f->progress, sb_test_pg_int(f->pg, "SELECT cursor FROM sagabus.lease WHERE role = 'sequencer'"));
}

/* Everything is decided, and PostgreSQL knows. */
static bool settled(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.lease p, sagabus.lease s WHERE p.role = "
                                 "'push:hook' AND s.role = 'sequencer' AND p.cursor = s.cursor") == 1;
}

static int64_t letters(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.dead_letter WHERE ended IS NULL");
}

static int64_t held_keys(fixture_t *f)
{
    return sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.quarantine");
}

static bool is_state(fixture_t *f, const char *state)
{
    json_t *list = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_push_list(f->pg, "hook", &list, &err), &err);
    const char *is = json_string_value(json_object_get(json_array_get(list, 0), "state"));
    bool same = strcmp(is, state) == 0;
    json_decref(list);
    return same;
}

static void redrive_at(fixture_t *f, const char *key, int64_t pace_us)
{
    int64_t keys = 0, rows = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_dlq_filter_t filter = {.subscription = "hook", .key = key};
    sb_test_pg_script(f->pg, "SET search_path = sagabus");
    assert_ok(sb_dlq_redrive(f->pg, &filter, pace_us, &keys, &rows, &err), &err);
    assert_true(keys + rows > 0);
}

static void redrive(fixture_t *f, const char *key)
{
    redrive_at(f, key, 0);
}

/* ---- runners ---- */

static void *run(void *push)
{
    sb_push_run(push);
    return NULL;
}

static sb_push_t *open_push_over(fixture_t *f, const char *uri, const char *owner, sb_progress_t *progress)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_push_t *push = NULL;
    sb_push_config_t config = {.config = f->config,
                               .pg_uri = uri,
                               .owner = owner,
                               .catalog = f->catalog,
                               .progress = progress,
                               .idle_ms = 20,
                               .refresh_ms = 50};
    assert_ok(sb_push_open(&push, &config, &err), &err);
    return push;
}

static sb_push_t *open_push(fixture_t *f, const char *owner, sb_progress_t *progress)
{
    return open_push_over(f, f->uri, owner, progress);
}

static void start_over(fixture_t *f, runner_t *r, const char *uri, const char *owner)
{
    r->push = open_push_over(f, uri, owner, NULL);
    assert_int_equal(pthread_create(&r->thread, NULL, run, r->push), 0);
}

static void start(fixture_t *f, runner_t *r, const char *owner)
{
    start_over(f, r, f->uri, owner);
}

static void stop(runner_t *r)
{
    if (!r->push)
        return;
    sb_push_stop(r->push);
    (void)pthread_join(r->thread, NULL);
    sb_push_close(&r->push);
}

static sb_push_stats_t stats_of(const runner_t *r)
{
    sb_push_stats_t stats;
    sb_push_stats(r->push, &stats);
    return stats;
}

static runner_t first, second;

static int setup(void **state)
{
    fixture_t *f = &fixture;
    char url[64];
    char path[96];
    memset(f, 0, sizeof *f);
    first.push = second.push = NULL;
    (void)pthread_mutex_init(&f->lock, NULL);
    f->hook = calloc(HOOKS_MAX, sizeof *f->hook);
    assert_non_null(f->hook);
    sb_progress_init(&f->progress);
    sb_test_catalog_fresh(f->uri, &f->pg, &f->catalog);
    f->peer = sb_peer_start(0, play, f);
    f->config = sb_test_bus_config("127.0.0.1:1", NULL);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d/", sb_peer_port(f->peer));
    sb_test_bus_set(f->config, "push.shop.url", url);
    sb_test_bus_set(f->config, "push.shop.secret", SECRET);
    (void)strcpy(f->dir, "/tmp/sb_push_XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(path, sizeof path, "%s/subscriptions", f->dir);
    assert_int_equal(mkdir(path, 0700), 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    stop(&first);
    stop(&second);
    sb_peer_stop(&f->peer);
    sb_test_remove_tree(f->dir);
    sb_config_free(&f->config);
    sb_catalog_free(&f->catalog);
    sb_pg_close(&f->pg);
    free(f->hook);
    (void)pthread_mutex_destroy(&f->lock);
    return 0;
}

/* ---- what arrives ---- */

/* Each request of a key begins after the one before it was answered, and seq rises but for repeats. */
static void assert_order(fixture_t *f, const char *key)
{
    const hook_t *before = NULL;
    (void)pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->hooks; i++) {
        const hook_t *hook = &f->hook[i];
        if (strcmp(hook->key, key) != 0)
            continue;
        assert_true(!before || hook->seq >= before->seq);
        assert_true(!before || hook->at_ms >= before->end_ms);
        before = hook;
    }
    (void)pthread_mutex_unlock(&f->lock);
}

static void delivers_each_key_in_order(void **state)
{
    fixture_t *f = *state;
    char key[16];
    define(f, "hook", HOOK(",\"at_once\":6"));
    for (int i = 0; i < 5; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        append(f, key, 12);
    }
    set_rule(f, 0, "*", 202, -1, "", 3);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    append(f, "k1", 3);
    assert_soon(hooks(f, NULL, 0) == 63 && settled(f), WAIT_MS);
    for (int i = 0; i < 5; i++) {
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_order(f, key);
        assert_int_equal(hooks(f, key, 0), i == 1 ? 15 : 12);
    }
    int most = sb_peer_most_at_once(f->peer);
    assert_true(most > 1 && most <= 5);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT delivered FROM sagabus.push WHERE name = 'hook'"), 63);
    const hook_t *hook = &f->hook[0];
    assert_string_equal(hook->type, "order.cancelled");
    assert_string_equal(hook->content, "application/json");
    assert_string_equal(hook->id, hook->webhook_id);
    assert_string_equal(hook->trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    assert_contains(hook->body, "\"reason\":\"n1 \\u00e9\"");
}

/* By Python's hmac, as the convention's own libraries have it. */
static void a_signature_is_what_others_make_of_it(void **state)
{
    fixture_t *f = *state;
    static const char check[] =
        "import base64,hashlib,hmac,sys\n"
        "i,t,s,body,*secrets=sys.argv[1:]\n"
        "want=['v1,'+base64.b64encode(hmac.new(base64.b64decode(k[6:]),(i+'.'+t+'.'+body).encode(),"
        "hashlib.sha256).digest()).decode() for k in secrets]\n"
        "sys.exit(0 if s.split(' ')==want else 1)\n";
    sb_test_bus_set(f->config, "push.shop.secret", SECRET " " OLD_SECRET);
    define(f, "hook", HOOK(",\"mode\":\"structured\""));
    append(f, "k1", 1);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    const hook_t *hook = &f->hook[0];
    const char *const argv[] = {"python3",       "-c",       check,  hook->webhook_id, hook->time,
                                hook->signature, hook->body, SECRET, OLD_SECRET,       NULL};
    assert_int_equal(sb_test_run(argv, WAIT_MS), 0);
    assert_string_equal(hook->content, "application/cloudevents+json; charset=UTF-8");
    json_t *event = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&event, sb_slice(hook->body), "body", &err), &err);
    assert_string_equal(json_string_value(json_object_get(event, "id")), hook->webhook_id);
    assert_string_equal(json_string_value(json_object_get(event, "subject")), "k1");
    assert_string_equal(json_string_value(sb_json_at(event, SB_SLICE("/data/order_id"))), "k1");
    assert_non_null(json_object_get(event, "sequence"));
    json_decref(event);
}

static void old_versions_arrive_as_the_newest(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(",\"signature\":\"none\""));
    sb_test_pg_script(
        f->pg,
        "INSERT INTO sagabus.stream (category, key) VALUES ('order', 'u');"
        "INSERT INTO sagabus.event (stream_no, version, type_no, class, id, data) SELECT s.stream_no, 1, "
        "y.type_no, 1, gen_random_uuid(), convert_to('{\"order_id\":\"u\",\"carrier\":\"dhl\"}', 'UTF8') "
        "FROM "
        "sagabus.stream s, sagabus.event_type y WHERE s.key = 'u' AND y.name = 'order.shipped' AND y.version "
        "= 1");
    append(f, "k1", 1);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    const hook_t *hook = &f->hook[strcmp(f->hook[0].key, "u") == 0 ? 0 : 1]; /* keys go side by side */
    assert_string_equal(hook->type, "order.shipped");
    assert_contains(hook->body, "parcel");
    assert_string_equal(hook->signature, "");
}

/* ---- what fails ---- */

static void a_key_that_fails_is_held_and_the_others_flow(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY PATIENT));
    set_rule(f, 0, "bad", 500, -1, "", 0);
    set_rule(f, 1, "odd", 422, -1, "", 0);
    append(f, "good", 2);
    append(f, "bad", 3);
    append(f, "odd", 2);
    append(f, "good", 2);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, "good", 204), 4);
    assert_int_equal(hooks(f, "bad", 0), 3); /* the first one, three times */
    assert_int_equal(hooks(f, "odd", 0), 1);
    assert_int_equal(letters(f), 5);
    assert_int_equal(held_keys(f), 2);
    assert_int_equal(sb_test_pg_int(f->pg,
                                    "SELECT count(*) FROM sagabus.dead_letter WHERE (reason, attempts, "
                                    "held) IN (('failed', 3, true), ('rejected', 1, true)) AND "
                                    "event_id IS NOT NULL AND seq > 0"),
                     2);
    append(f, "bad", 1); /* waits behind the others, and is not tried */
    append(f, "good", 1);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(letters(f), 6);
    assert_int_equal(hooks(f, "bad", 0), 3);
    assert_int_equal(hooks(f, "good", 204), 5);

    /* In vain: it stays held. Then they are taken, in order, and the key flows. */
    redrive(f, "bad");
    assert_soon(
        hooks(f, "bad", 500) == 4 &&
            sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.quarantine WHERE due_at IS NOT NULL") == 0,
        WAIT_MS);
    no_rules(f);
    redrive(f, "bad");
    assert_soon(held_keys(f) == 1, WAIT_MS);
    append(f, "bad", 1);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, "bad", 204), 5);
    assert_order(f, "bad");
    assert_int_equal(letters(f), 2);
    assert_true(stats_of(&first).redriven == 4);
    /* The last one was held by its reason: an operator takes the others away. */
    int64_t rows = 0, keys = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_dlq_filter_t filter = {.subscription = "hook", .key = "odd"};
    assert_ok(sb_dlq_discard(f->pg, &filter, "no such order", &rows, &keys, &err), &err);
    assert_int_equal(rows, 2);
    assert_int_equal(held_keys(f), 0);
    append(f, "odd", 1);
    assert_soon(settled(f) && hooks(f, "odd", 204) == 1, WAIT_MS);
}

/* All that k1 and k2 have is dead letters, and would be taken now. */
static void hold_two_keys(fixture_t *f)
{
    define(f, "hook", HOOK(PATIENT));
    set_rule(f, 0, "*", 422, -1, "", 0);
    append(f, "k1", 4);
    append(f, "k2", 4);
    start(f, &first, "a");
    assert_soon(letters(f) == 8, WAIT_MS);
    no_rules(f);
}

static void what_is_redriven_at_a_rate_keeps_it_and_its_order(void **state)
{
    fixture_t *f = *state;
    hold_two_keys(f);
    redrive_at(f, NULL, 50000);
    sb_test_pg_script(f->pg, "UPDATE sagabus.quarantine SET due_at = due_at - interval '1 hour'");
    assert_soon(letters(f) == 0 && held_keys(f) == 0, WAIT_MS);
    assert_order(f, "k1");
    assert_order(f, "k2");
    assert_int_equal(hooks(f, NULL, 204), 8);
    int64_t before_ms = 0;
    for (int i = 0; i < f->hooks; i++) {
        if (f->hook[i].status != 204)
            continue;
        assert_true(f->hook[i].at_ms - before_ms >= 50);
        before_ms = f->hook[i].at_ms;
    }
}

/* One of k1 goes at once, the next one in some minutes. */
static void what_has_no_rate_goes_before_what_waits_for_its_own(void **state)
{
    fixture_t *f = *state;
    hold_two_keys(f);
    redrive_at(f, "k1", 200000000);
    sb_test_pg_script(f->pg,
                      "UPDATE sagabus.quarantine SET due_at = due_at - interval '1 hour' WHERE pace_us > 0");
    assert_soon(letters(f) == 7, WAIT_MS);
    redrive(f, "k2");
    assert_soon(letters(f) == 3 && held_keys(f) == 1, WAIT_MS);
    assert_order(f, "k2");
    assert_int_equal(hooks(f, "k1", 204), 1);
}

/* A dead letter is a copy: it goes with the event, and what is sent in the end is what the store has now. */
static void a_dead_letter_of_an_erased_event_has_no_body(void **state)
{
    fixture_t *f = *state;
    sb_erase_t erase = {.reason = "asked for"};
    sb_erase_report_t report;
    sb_error_t err = SB_ERROR_INIT;
    static const char copies[] =
        "SELECT count(*) FROM sagabus.dead_letter WHERE value <> 'null' OR error ~ 'answered'";
    define(f, "hook", HOOK(RETRY PATIENT));
    set_rule(f, 0, "bad", 500, -1, "", 0);
    append(f, "bad", 2);
    start(f, &first, "a");
    assert_soon(settled(f) && letters(f) == 2, WAIT_MS);
    sb_test_pg_script(f->pg, "CREATE TABLE copy AS SELECT * FROM sagabus.dead_letter");
    assert_int_equal(sb_test_pg_int(f->pg, copies), 2);
    assert_ok(sb_erase_parse("order/bad", &erase, &err), &err);
    erase.dry_run = true;
    assert_ok(sb_erase_run(f->pg, &erase, &report, &err), &err);
    assert_int_equal(report.dead_letters, 2);
    assert_int_equal(sb_test_pg_int(f->pg, copies), 2);
    erase.dry_run = false;
    assert_ok(sb_erase_run(f->pg, &erase, &report, &err), &err);
    assert_int_equal(report.dead_letters, 2);
    assert_int_equal(sb_test_pg_int(f->pg, copies), 0);
    /* A subscription that had read it writes its dead letter after that. */
    sb_test_pg_script(f->pg, "DELETE FROM sagabus.dead_letter; INSERT INTO sagabus.dead_letter OVERRIDING "
                             "SYSTEM VALUE SELECT * FROM copy; DROP TABLE copy");
    assert_int_equal(sb_test_pg_int(f->pg, copies), 0);
    no_rules(f);
    redrive(f, "bad");
    assert_soon(held_keys(f) == 0 && letters(f) == 0, WAIT_MS);
    assert_int_equal(hooks(f, "bad", 204), 2);
    assert_string_equal(f->hook[f->hooks - 1].body, "null");
}

static void without_order_an_event_fails_alone(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY PATIENT ",\"order\":\"none\""));
    set_rule(f, 0, "bad", 500, 3, "", 0);
    append(f, "bad", 1);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    append(f, "bad", 1);
    assert_soon(settled(f) && hooks(f, "bad", 204) == 1, WAIT_MS);
    assert_int_equal(letters(f), 1);
    assert_int_equal(held_keys(f), 0);
    redrive(f, NULL);
    assert_soon(letters(f) == 0, WAIT_MS);
    assert_int_equal(hooks(f, "bad", 204), 2);
}

static void one_by_one_an_event_that_fails_stops_all(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY PATIENT ",\"order\":\"partition\""));
    set_rule(f, 0, "bad", 422, -1, "", 0);
    append(f, "good", 1);
    append(f, "bad", 1);
    append(f, "good", 1);
    start(f, &first, "a");
    assert_soon(hooks(f, "bad", 0) > 5, WAIT_MS);
    assert_soon(is_state(f, "stuck"), WAIT_MS);
    assert_int_equal(hooks(f, "good", 0), 1);
    assert_int_equal(letters(f), 0);
    no_rules(f);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, "good", 0), 2);
    assert_soon(is_state(f, "running"), WAIT_MS);
}

static void gone_pauses_and_resumes_with_the_same_event(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    define(f, "hook", HOOK(RETRY));
    set_rule(f, 0, "*", 410, -1, "", 0);
    append(f, "k1", 3);
    start(f, &first, "a");
    assert_soon(is_state(f, "paused"), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 0), 1);
    sb_test_sleep_ms(150);
    assert_int_equal(hooks(f, NULL, 0), 1);
    no_rules(f);
    assert_ok(sb_push_resume(f->pg, "hook", -1, &err), &err);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 3);
    assert_string_equal(f->hook[0].id, f->hook[1].id);
    assert_int_equal(letters(f), 0);

    /* An operator's pause, and another place. */
    assert_ok(sb_push_pause(f->pg, "hook", "someone", "a test", &err), &err);
    assert_soon(stats_of(&first).paused == 1, WAIT_MS);
    append(f, "k1", 1);
    sb_test_sleep_ms(150);
    assert_int_equal(hooks(f, NULL, 204), 3);
    assert_ok(sb_push_resume(f->pg, "hook", 0, &err), &err);
    assert_soon(settled(f) && hooks(f, NULL, 204) == 7, WAIT_MS);
    assert_code(SB_NOT_FOUND, sb_push_resume(f->pg, "nope", -1, &err), &err);
}

static void an_endpoint_that_asks_to_wait_is_waited_for(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY));
    set_rule(f, 0, "*", 429, 1, "Retry-After: 1\r\n", 0);
    append(f, "k1", 2);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 2);
    assert_true(f->hook[1].at_ms - f->hook[0].end_ms >= 950);
    assert_string_equal(f->hook[0].id, f->hook[1].id);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT failures FROM sagabus.push WHERE name = 'hook'"), 0);
}

/* Now, says the endpoint, and says so again: it is not asked without a pause. */
static void an_endpoint_that_asks_to_wait_no_time_is_not_flooded(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(""));
    set_rule(f, 0, "*", 429, -1, "Retry-After: 0\r\n", 0);
    append(f, "k1", 1);
    start(f, &first, "a");
    assert_soon(hooks(f, NULL, 0) > 0, WAIT_MS);
    sb_test_sleep_ms(300);
    assert_true(hooks(f, NULL, 0) <= 5);
    no_rules(f);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(letters(f), 0);
}

/* Away for longer than all tries take: the breaker keeps the events from becoming dead letters. */
static void an_endpoint_that_is_away_makes_no_dead_letters(void **state)
{
    fixture_t *f = *state;
    define(f, "hook",
           HOOK(",\"retry\":{\"attempts\":4,\"delay\":20,\"max\":20},"
                "\"breaker\":{\"failures\":3,\"successes\":1,\"open\":60}"));
    set_rule(f, 0, "*", 503, -1, "", 0);
    append(f, "k1", 2);
    append(f, "k2", 2);
    start(f, &first, "a");
    assert_soon(stats_of(&first).breakers_open == 1, WAIT_MS);
    int before = hooks(f, NULL, 0);
    int64_t since = sb_test_mono_ms();
    assert_soon(hooks(f, NULL, 0) >= before + 8, WAIT_MS); /* a probe a round: more than all tries of both */
    assert_true(sb_test_mono_ms() - since >= 8 * 50);
    assert_soon(is_state(f, "stuck"), WAIT_MS);
    assert_int_equal(letters(f), 0);
    no_rules(f);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 4);
    assert_soon(is_state(f, "running"), WAIT_MS);
}

/* Nothing else is there to send: the try that opens the breaker would be the event's last one. */
static void an_endpoint_that_is_away_in_quiet_times_makes_none_either(void **state)
{
    fixture_t *f = *state;
    define(f, "hook",
           HOOK(",\"retry\":{\"attempts\":3,\"delay\":20,\"max\":20},"
                "\"breaker\":{\"failures\":3,\"successes\":1,\"open\":60}"));
    set_rule(f, 0, "*", 503, -1, "", 0);
    append(f, "k1", 2);
    start(f, &first, "a");
    assert_soon(hooks(f, NULL, 0) >= 6, WAIT_MS);
    assert_int_equal(letters(f), 0);
    no_rules(f);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 2);
}

/* The oldest event is one that the endpoint never answers: it must not be the only probe, for ever. */
static void probes_are_of_every_key_in_turn(void **state)
{
    fixture_t *f = *state;
    define(f, "hook",
           HOOK(",\"retry\":{\"attempts\":4,\"delay\":5,\"max\":5},"
                "\"breaker\":{\"failures\":2,\"successes\":2,\"open\":60}"));
    set_rule(f, 0, "*", 503, -1, "", 0);
    append(f, "bad", 1);
    start(f, &first, "a");
    assert_soon(stats_of(&first).breakers_open == 1, WAIT_MS);
    append(f, "good", 2);
    set_rule(f, 0, "bad", 503, -1, "", 0);
    assert_soon(hooks(f, "good", 204) == 2, WAIT_MS);
    /* The others are taken between its tries: it is the event, and not the endpoint. */
    for (int i = 0; i < 200 && letters(f) == 0; i++) {
        append(f, "good", 1);
        sb_test_sleep_ms(60);
    }
    assert_int_equal(letters(f), 1);
    assert_soon(settled(f), WAIT_MS);
}

static void a_redrive_without_an_answer_ends_and_holds_nobody_up(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY PATIENT));
    set_rule(f, 0, "bad", 503, -1, "", 0);
    append(f, "bad", 1);
    start(f, &first, "a");
    assert_soon(settled(f) && letters(f) == 1, WAIT_MS);
    redrive(f, "bad");
    assert_soon(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.quarantine WHERE due_at IS NOT NULL") ==
                    0,
                WAIT_MS);
    assert_int_equal(hooks(f, "bad", 0), 6); /* as often as an event */
    stop(&first);

    /* With the breaker open it had every probe. */
    define(f, "hook",
           "{\"subscription\":\"hook\",\"version\":2,\"types\":[\"order.*\"],\"endpoint\":\"shop\","
           "\"retry\":{\"attempts\":9,\"delay\":5,\"max\":5},"
           "\"breaker\":{\"failures\":1,\"open\":60}}");
    redrive(f, "bad");
    start(f, &first, "b");
    assert_soon(stats_of(&first).breakers_open == 1, WAIT_MS);
    append(f, "good", 3);
    assert_soon(hooks(f, "good", 204) == 3, WAIT_MS);
}

/* ---- crashes and owners ---- */

static int child(void *context)
{
    fixture_t *f = context;
    sb_error_t err = SB_ERROR_INIT;
    if (sb_catalog_new(&f->catalog, &err) != SB_OK)
        return 1;
    sb_push_run(open_push(f, "child", NULL));
    return 0;
}

static int distinct_ids(fixture_t *f, int status)
{
    int n = 0;
    (void)pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->hooks; i++) {
        int k = 0;
        while (k < i && (strcmp(f->hook[k].id, f->hook[i].id) != 0 || f->hook[k].status != status))
            k++;
        n += k == i && f->hook[i].status == status;
    }
    (void)pthread_mutex_unlock(&f->lock);
    return n;
}

static void a_killed_daemon_repeats_under_the_same_id_and_leaves_nothing_out(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(",\"at_once\":4"));
    for (int i = 0; i < 4; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        append(f, key, 25);
    }
    set_rule(f, 0, "*", 200, -1, "", 4);
    for (int round = 1; round <= 4; round++) {
        sb_test_process_t process = {0};
        int before = hooks(f, NULL, 0);
        sb_test_fork(&process, child, f);
        assert_soon(hooks(f, NULL, 0) > before + 5, WAIT_MS);
        sb_test_signal(&process, SIGKILL); /* requests are under way, and answered ones not saved */
        assert_true(sb_test_wait(&process, 60000));
        sb_test_process_end(&process);
    }
    start(f, &first, "b");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(distinct_ids(f, 200), 100);
    assert_true(hooks(f, NULL, 0) > 100);
    assert_int_equal(letters(f), 0);
}

static void a_second_instance_takes_over(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY));
    append(f, "k1", 5);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    start(f, &second, "b");
    append(f, "k1", 5);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(stats_of(&second).owned, 0);
    assert_int_equal(stats_of(&first).owned, 1);
    /* In order: nothing is repeated. */
    stop(&first);
    assert_soon(stats_of(&second).owned == 1, WAIT_MS);
    append(f, "k1", 5);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 0), 15);
    /* Its epoch is taken away while requests are under way: their answers are nothing to it. */
    set_rule(f, 0, "*", 200, -1, "", 200);
    append(f, "k2", 1);
    assert_soon(hooks(f, "k2", 0) == 1, WAIT_MS);
    sb_test_pg_script(f->pg, "UPDATE sagabus.lease SET epoch = epoch + 1 WHERE role = 'push:hook'");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(distinct_ids(f, 200) + distinct_ids(f, 204), 16);
}

/* After an error of the database, its requests still being under way. */
/* Whatever is repeated: an event comes for the first time when the one before it of its key was taken.
 * Returns how many requests began while another one of the same event was under way. */
static int assert_first_deliveries_in_order(fixture_t *f, const char *key)
{
    int overlaps = 0;
    int64_t newest = 0, taken_ms = 0;
    (void)pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->hooks; i++) {
        const hook_t *hook = &f->hook[i];
        if (strcmp(hook->key, key) != 0)
            continue;
        if (hook->seq > newest) {
            assert_true(hook->at_ms >= taken_ms);
            newest = hook->seq;
            taken_ms = hook->end_ms;
        } else if (hook->seq == newest) {
            overlaps += hook->at_ms < taken_ms;
            taken_ms = hook->end_ms < taken_ms ? hook->end_ms : taken_ms;
        }
    }
    (void)pthread_mutex_unlock(&f->lock);
    return overlaps;
}

/* The owner loses its connection, not its life: what it has sent stays under way beside the new owner's. */
static void owners_that_lose_their_connection_repeat_and_keep_the_order_of_keys(void **state)
{
    fixture_t *f = *state;
    sb_test_proxy_t *way[2] = {NULL, NULL};
    runner_t *const runner[2] = {&first, &second};
    char uri[2][SB_TEST_URI];
    int overlaps = 0, events = 0;
    for (int i = 0; i < 2; i++)
        sb_test_proxy_open(&way[i]);
    define(f, "hook", HOOK(PATIENT));
    set_rule(f, 0, "*", 200, -1, "", 150);
    start_over(f, &first, sb_test_proxy_uri(way[0], f->uri, uri[0]), "a");
    start_over(f, &second, sb_test_proxy_uri(way[1], f->uri, uri[1]), "b");
    int64_t until_ms = sb_test_mono_ms() + 3 * WAIT_MS;
    for (int round = 0; round < 6 || (overlaps == 0 && sb_test_mono_ms() < until_ms); round++) {
        if (round >= 6) /* a slow machine takes over later: what is sent stays under way for longer */
            set_rule(f, 0, "*", 200, -1, "", 150 * (round - 4));
        append(f, "k1", 5);
        append(f, "k2", 5);
        events += 10;
        assert_soon(stats_of(&first).owned + stats_of(&second).owned == 1, 3 * WAIT_MS);
        int owner = stats_of(&first).owned == 1 ? 0 : 1;
        int before = hooks(f, NULL, 0);
        assert_soon(hooks(f, NULL, 0) > before + 2 || settled(f), WAIT_MS);
        sb_test_proxy_refuse(way[owner], true);
        sb_test_proxy_cut(way[owner]);
        assert_soon(stats_of(runner[1 - owner]).owned == 1, 3 * WAIT_MS);
        sb_test_proxy_refuse(way[owner], false);
        overlaps = assert_first_deliveries_in_order(f, "k1") + assert_first_deliveries_in_order(f, "k2");
    }
    assert_soon(settled(f), 3 * WAIT_MS);
    assert_true(overlaps > 0);
    (void)assert_first_deliveries_in_order(f, "k1");
    (void)assert_first_deliveries_in_order(f, "k2");
    assert_int_equal(distinct_ids(f, 200), events);
    assert_int_equal(letters(f), 0);
    stop(&first);
    stop(&second);
    for (int i = 0; i < 2; i++)
        sb_test_proxy_close(&way[i]);
}

static void a_slot_opened_again_waits_for_its_old_requests(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(""));
    append(f, "k0", 1);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    set_rule(f, 0, "slow", 200, 1, "", 2500);
    set_rule(f, 1, "quick", 200, 1, "", 500);
    sb_test_pg_script(
        f->pg,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN IF nextval('public.refusals') = 1 THEN RAISE 'not now'; END IF; RETURN NEW; END$$;"
        "CREATE SEQUENCE public.refusals; CREATE TRIGGER refuse BEFORE UPDATE ON sagabus.push FOR EACH ROW "
        "WHEN (NEW.delivered > OLD.delivered) EXECUTE FUNCTION refuse()");
    append(f, "quick", 1);
    append(f, "slow", 1);
    assert_soon(hooks(f, "quick", 0) == 2, WAIT_MS); /* again: it was not saved */
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, "slow", 0), 2);
    assert_order(f, "slow");
    assert_soon(stats_of(&first).in_flight == 0, WAIT_MS); /* told a moment after the commit */
}

/* As an operator may have made it. */
static void a_dead_letter_that_is_no_event_holds_nobody_up(void **state)
{
    fixture_t *f = *state;
    define(f, "hook", HOOK(RETRY PATIENT));
    set_rule(f, 0, "*", 422, 2, "", 0);
    append(f, "k1", 1);
    append(f, "k2", 1);
    start(f, &first, "a");
    assert_soon(settled(f) && letters(f) == 2, WAIT_MS);
    sb_test_pg_script(f->pg, "UPDATE sagabus.dead_letter SET header_names = '{}', header_values = '{}', "
                             "value = 'x' WHERE key = 'k1'");
    redrive(f, "k1");
    redrive(f, "k2");
    append(f, "k3", 1);
    assert_soon(settled(f) && hooks(f, "k2", 204) == 1 && hooks(f, "k3", 204) == 1, WAIT_MS);
    assert_soon(held_keys(f) == 1 && letters(f) == 1, WAIT_MS);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT count(*) FROM sagabus.quarantine WHERE due_at IS NULL"),
                     1);
    assert_int_equal(sb_test_pg_int(f->pg, "SELECT attempts FROM sagabus.dead_letter WHERE ended IS NULL"),
                     2);
    assert_int_equal(stats_of(&first).stuck, 0);
}

/* ---- what is registered ---- */

static void a_new_version_goes_on_and_a_new_subscription_begins_now(void **state)
{
    fixture_t *f = *state;
    append(f, "k1", 2);
    define(f, "hook", "{\"subscription\":\"hook\",\"types\":[\"order.*\"],\"endpoint\":\"nowhere\"}");
    start(f, &first, "a");
    assert_soon(stats_of(&first).stuck == 1, WAIT_MS); /* no setting says where it is */
    define(f, "hook",
           "{\"subscription\":\"hook\",\"version\":2,\"types\":[\"order.*\"],\"endpoint\":\"shop\"}");
    assert_soon(is_state(f, "running"), WAIT_MS);
    append(f, "k1", 1);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 0), 1);
    define(f, "hook",
           "{\"subscription\":\"hook\",\"version\":3,\"types\":[\"payment.*\"],\"endpoint\":\"shop\"}");
    assert_soon(sb_test_pg_int(f->pg, "SELECT version FROM sagabus.push WHERE name = 'hook'") == 3, WAIT_MS);
    append(f, "k1", 1);
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 0), 1);
}

/* Not when a server first finds the time to deliver it: what was published before that is not lost. */
static void now_is_when_it_was_applied(void **state)
{
    fixture_t *f = *state;
    append(f, "k1", 2);
    define(f, "hook", "{\"subscription\":\"hook\",\"types\":[\"order.*\"],\"endpoint\":\"shop\"}");
    append(f, "k1", 1);
    define(f, "hook",
           "{\"subscription\":\"hook\",\"version\":2,\"types\":[\"order.*\"],\"endpoint\":\"shop\"}");
    append(f, "k1", 2);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 3);
}

static void one_that_has_not_begun_begins_where_an_operator_says(void **state)
{
    fixture_t *f = *state;
    sb_error_t err = SB_ERROR_INIT;
    append(f, "k1", 3);
    define(f, "hook", HOOK(""));
    assert_code(SB_NOT_FOUND, sb_push_pause(f->pg, "hook", "someone", "a test", &err), &err);
    assert_ok(
        sb_push_resume(f->pg, "hook", sb_test_pg_int(f->pg, "SELECT max(seq) - 1 FROM sagabus.event"), &err),
        &err);
    start(f, &first, "a");
    assert_soon(settled(f), WAIT_MS);
    assert_int_equal(hooks(f, NULL, 204), 1);
    assert_code(SB_NOT_FOUND, sb_push_resume(f->pg, "nope", 1, &err), &err);
}

/* What is said a second time, and a third, within the minutes of a test, is said each second. */
/* Not as one that no server has seen yet. */
static void one_whose_endpoint_is_not_given_says_so(void **state)
{
    fixture_t *f = *state;
    json_t *list = NULL;
    sb_error_t err = SB_ERROR_INIT;
    define(f, "hook", "{\"subscription\":\"hook\",\"types\":[\"order.*\"],\"endpoint\":\"nowhere\"}");
    append(f, "k1", 1);
    start(f, &first, "a");
    assert_soon(is_state(f, "stuck"), WAIT_MS);
    assert_ok(sb_push_list(f->pg, "hook", &list, &err), &err);
    assert_contains(json_string_value(json_object_get(json_array_get(list, 0), "problem")),
                    "push.nowhere.url");
    json_decref(list);
}

static void too_many_are_named_once(void **state)
{
    fixture_t *f = *state;
    char name[16], text[200], said[65536];
    char path[] = "/tmp/sb_push_log_XXXXXX";
    for (int i = 0; i < 66; i++) {
        (void)snprintf(name, sizeof name, "hook%02d", i);
        (void)snprintf(text, sizeof text,
                       "{\"subscription\":\"%s\",\"types\":[\"order.*\"],\"endpoint\":\"shop\"}", name);
        define_more(f, name, text);
    }
    apply(f);
    int fd = mkstemp(path), terminal = dup(STDERR_FILENO);
    assert_true(fd >= 0 && terminal >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    start(f, &first, "a");
    int64_t until_ms = sb_test_mono_ms() + WAIT_MS;
    while (stats_of(&first).owned < 64 && sb_test_mono_ms() < until_ms)
        sb_test_sleep_ms(10);
    int64_t owned = stats_of(&first).owned;
    /* Looks at the registry that certainly came: each brings one more of these. */
    for (int i = 0; i < 4; i++) {
        (void)snprintf(text, sizeof text,
                       "{\"subscription\":\"hook00\",\"version\":%d,\"types\":[\"order.*\"],"
                       "\"endpoint\":\"shop\"}",
                       i + 2);
        define(f, "hook00", text);
        while (sb_test_pg_int(f->pg, "SELECT max(version) FROM sagabus.push") < i + 2 &&
               sb_test_mono_ms() < until_ms)
            sb_test_sleep_ms(10);
    }
    stop(&first);
    (void)dup2(terminal, STDERR_FILENO);
    (void)close(terminal);
    ssize_t n = pread(fd, said, sizeof said - 1, 0);
    (void)close(fd);
    (void)unlink(path);
    assert_true(n > 0);
    said[n] = '\0';
    int lines = 0;
    for (const char *at = said; (at = strstr(at, "PUSH-TOO-MANY")); at++)
        lines++;
    assert_int_equal(owned, 64);
    assert_int_equal(lines, 2);
    assert_contains(said, "hook64");
    assert_contains(said, "hook65");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(delivers_each_key_in_order),
        CASE(a_signature_is_what_others_make_of_it),
        CASE(old_versions_arrive_as_the_newest),
        CASE(a_key_that_fails_is_held_and_the_others_flow),
        CASE(what_is_redriven_at_a_rate_keeps_it_and_its_order),
        CASE(what_has_no_rate_goes_before_what_waits_for_its_own),
        CASE(a_dead_letter_of_an_erased_event_has_no_body),
        CASE(without_order_an_event_fails_alone),
        CASE(one_by_one_an_event_that_fails_stops_all),
        CASE(gone_pauses_and_resumes_with_the_same_event),
        CASE(an_endpoint_that_asks_to_wait_is_waited_for),
        CASE(an_endpoint_that_asks_to_wait_no_time_is_not_flooded),
        CASE(an_endpoint_that_is_away_makes_no_dead_letters),
        CASE(an_endpoint_that_is_away_in_quiet_times_makes_none_either),
        CASE(probes_are_of_every_key_in_turn),
        CASE(a_redrive_without_an_answer_ends_and_holds_nobody_up),
        CASE(a_killed_daemon_repeats_under_the_same_id_and_leaves_nothing_out),
        CASE(a_second_instance_takes_over),
        CASE(owners_that_lose_their_connection_repeat_and_keep_the_order_of_keys),
        CASE(a_slot_opened_again_waits_for_its_old_requests),
        CASE(a_dead_letter_that_is_no_event_holds_nobody_up),
        CASE(a_new_version_goes_on_and_a_new_subscription_begins_now),
        CASE(now_is_when_it_was_applied),
        CASE(one_that_has_not_begun_begins_where_an_operator_says),
        CASE(one_whose_endpoint_is_not_given_says_so),
        CASE(too_many_are_named_once),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests(tests, sb_test_pg_start, sb_test_pg_stop);
}
