/* The command line as documented in docs/cli.md, against a whole installation: exit codes, JSON that is JSON,
 * files that are refused with their reason, and a doctor that finds what ails.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARGUMENTS_MAX 12
#define ORDER(id, customer)                                                                                  \
    "{\"order_id\":\"" id "\",\"customer_id\":\"" customer "\",\"amount\":900,\"currency\":\"EUR\","         \
    "\"items\":[{\"sku\":\"book\",\"quantity\":1,\"price\":900}]}"
#define SHIPPED(id)                                                                                          \
    ("{\"order_id\":\"" id                                                                                   \
     "\",\"customer_id\":\"ada\"}") /* in parentheses: one literal, no comma is missing */

static sb_stack_t stack;

/* The broker answers a change before it says so itself. */
static bool setting_is(const char *topic, const char *name, const char *want)
{
    char value[32];
    sb_test_kafka_topic_setting(topic, name, value, sizeof value);
    return strcmp(value, want) == 0;
}

static int set_up(void **state)
{
    char topic[SB_TEST_PREFIX + 32];
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    (void)snprintf(topic, sizeof topic, "%snotification.events", stack.prefix);
    sb_test_kafka_set_topic(topic, "max.message.bytes", "10240");
    assert_soon(setting_is(topic, "max.message.bytes", "10240"), 30000);
    sb_stack_start_participants(&stack);
    sb_stack_start_serve(&stack);
    sb_stack_await_ready(&stack, 60000);
    return 0;
}

static int tear_down(void **state)
{
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

static void assert_exit(int code, const char *const *arguments)
{
    char *text;
    int got = sb_stack_ask(&stack, arguments, true, &text);
    if (got != code)
        fail_msg("sagabus %s %s: exit %d instead of %d: %s", arguments[0], arguments[1] ? arguments[1] : "",
                 got, code, text);
    free(text);
}

static void assert_says(int code, const char *const *arguments, const char *part)
{
    char *text;
    int got = sb_stack_ask(&stack, arguments, true, &text);
    if (got != code || !strstr(text, part))
        fail_msg("sagabus %s: exit %d instead of %d, or not \"%s\": %s", arguments[0], got, code, part, text);
    free(text);
}

typedef struct outcome {
    int code;
    const char *arguments[ARGUMENTS_MAX];
} outcome_t;

static void exit_codes_are_the_documented_ones(void **state)
{
    (void)state;
    static const outcome_t outcomes[] = {
        {0, {"version"}},
        {0, {"saga", "start", "order", "--key", "c-1", "--input", ORDER("c-1", "ada"), "--wait"}},
        {0, {"saga", "start", "order", "--key", "c-1", "--input", ORDER("c-1", "ada")}},
        {0,
         {"event", "append", "order.shipped", "--key", "c-9", "--expect", "none", "--data", SHIPPED("c-9")}},
        {1, {"event", "append", "order.shipped", "--key", "c-9", "--data", "{\"order_id\":7}"}},
        {0, {"schema", "check"}},
        {0, {"schema", "check", "--registered"}},
        {1, {"schema", "apply", SB_VECTORS "/refused/event_syntax"}},
        {1, {"schema", "check", SB_VECTORS "/refused/event_syntax"}},
        {2, {"no-such-command"}},
        {2, {"saga", "start"}},
        {2, {"saga", "list", "--no-such-option"}},
        {2, {"event", "append", "order.shipped", "--key"}},
        {3, {"saga", "list", "--server", "http://127.0.0.1:1"}},
        {3, {"migrate", "--pg", "host=127.0.0.1 port=1"}},
        {3, {"topics", "plan", "--kafka", "127.0.0.1:1"}},
        {5, {"saga", "show", "order/nobody"}},
        {5, {"replay", "no_such_view"}},
        {5, {"schema", "check", "/no/such/directory"}},
        {5, {"schema", "check", SB_VECTORS "/refused"}}, /* has no events/, views/, sagas/ */
        {1, {"schema", "asyncapi", "--file", "/no/such/directory/file"}},
        {5, {"event", "append", "--file", "no/such/file"}},
        {5, {"event", "append", "order.shipped", "--key", "c-9", "--data", "@no/such/file"}},
        {1, {"event", "append", "--file", "/"}}, /* a directory is no file */
        {1, {"event", "append", "order.shipped", "--key", "c-9", "--data", "@/"}},
        {1, {"definition", "graph", "/"}},
        {1, {"version", "--config", "/"}},
        {1, {"event", "append", "--pg", "host=127.0.0.1 port=1", "--file", (SB_SCHEMAS "/../README.md")}},
        {0, {"definition", "graph", "order", "--version", "1"}},
        {5, {"definition", "graph", "order", "--version", "99"}},
        {5, {"definition", "graph", "no/such.json"}},
        {5, {"view", "show", "no_such_view"}},
        {5, {"view", "show", "order_summary", "nobody"}},
        {6,
         {"event", "append", "order.shipped", "--key", "c-9", "--expect", "none", "--data", SHIPPED("c-9")}},
        {6, {"event", "append", "order.shipped", "--key", "c-9", "--expect", "7", "--data", SHIPPED("c-9")}},
        {6, {"saga", "start", "order", "--key", "c-1", "--input", ORDER("c-1", "alan")}},
        {7, {"saga", "start", "order", "--key", "c-2", "--input", ORDER("c-2", "mallory"), "--wait"}},
    };
    for (size_t i = 0; i < sizeof outcomes / sizeof outcomes[0]; i++)
        assert_exit(outcomes[i].code, outcomes[i].arguments);
}

static bool is_refused(const char *const *arguments, const char *part)
{
    char *text;
    bool refused = sb_stack_ask(&stack, arguments, true, &text) == 1 && strstr(text, part);
    free(text);
    return refused;
}

/* The server asks the brokers what each topic takes: what is more is refused at once, and nothing of it is
 * kept. A topic with another limit takes it. Brokers that have just been asked are asked again after a
 * minute. */
static void what_a_topic_does_not_take_is_refused_when_it_is_appended(void **state)
{
    (void)state;
    char data[8192];
    static const char why[] = "larger than 6144 bytes with its attributes, which is what its topic takes";
    static const char count[] = "SELECT coalesce(max(version), 0) FROM sagabus.stream WHERE key = 'big'";
    const char *const big[] = {"event", "append", "notification.sent", "--key", "big", "--data", data, NULL};
    const char *const other[] = {"event", "append", "customer.validated", "--key", "big", "--data",
                                 data,    NULL};
    (void)snprintf(data, sizeof data,
                   "{\"order_id\":\"big\",\"customer_id\":\"ada\",\"channel\":\"email\",\"template\":\"t\","
                   "\"text\":\"%06500d\"}",
                   0);
    assert_soon(is_refused(big, why), 60000);
    int64_t before = sb_test_pg_int(stack.pg, count);
    assert_says(1, big, why);
    assert_int_equal(sb_test_pg_int(stack.pg, count), before);
    assert_exit(0, other);
    (void)snprintf(data, sizeof data,
                   "{\"order_id\":\"big\",\"customer_id\":\"ada\",\"channel\":\"email\",\"template\":\"t\","
                   "\"text\":\"%05000d\"}",
                   0);
    assert_exit(0, big);
}

static void a_wait_that_is_too_short_ends_with_eight(void **state)
{
    (void)state;
    sb_test_signal(&stack.participant[0], SIGSTOP);
    const char *const start[] = {
        "saga",   "start",     "order", "--key", "c-slow", "--input", ORDER("c-slow", "ada"),
        "--wait", "--timeout", "1s",    NULL};
    assert_exit(8, start);
    static const outcome_t acts[] = {
        {0, {"saga", "pause", "order/c-slow", "--reason", "a look at it"}},
        {6, {"saga", "pause", "order/c-slow", "--reason", "a look at it"}},
        {6, {"saga", "pause", "order/c-slow", "--reason", "a look at it", "--dry-run"}},
        {6, {"saga", "migrate", "order/c-slow", "--to", "9", "--reason", "r", "--dry-run"}},
        {1, {"saga", "rewind", "order/c-slow", "--reason", "without a step"}},
        {1, {"saga", "cancel", "--reason", "but which?"}},
        {1, {"saga", "cancel", "order/c-slow"}},
        {1, {"saga", "cancel", "order/c-slow", "--attention", "--reason", "one, or those?"}},
        {1, {"saga", "pause", "order/c-slow", "--step", "charge_payment", "--reason", "one, or those?"}},
        {0, {"saga", "resume", "--status", "started", "--reason", "seen", "--dry-run"}},
        {6, {"saga", "cancel", "order/c-1", "--reason", "too late"}},
        {0, {"saga", "list", "--paused", "--type", "order"}},
        {0, {"saga", "resume", "--paused", "--type", "order", "--reason", "seen", "--dry-run"}},
        {0, {"saga", "resume", "--paused", "--type", "order", "--reason", "seen"}},
        {0, {"audit", "list", "--saga", "order/c-slow"}},
    };
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++)
        assert_exit(acts[i].code, acts[i].arguments);
    const char *const at_step[] = {"saga", "list", "--step", "validate_customer", NULL};
    assert_says(0, at_step, "a saga that only waits for an answer or its next try is not found by its step");
    sb_test_signal(&stack.participant[0], SIGCONT);
}

typedef struct impatient {
    sb_http_answer_t answer;
    atomic_bool answered;
} impatient_t;

static void *start_impatiently(void *context)
{
    impatient_t *client = context;
    client->answer = sb_order_start(&stack, "c-late", "ada", "book", 900, "50ms");
    atomic_store(&client->answered, true);
    return NULL;
}

/* Patience that ends while the start's commit waits: there is nothing to tell before the commit, and then it
 * is told at once. Whoever asks again waits for the same saga. */
static void a_start_that_takes_longer_than_the_patience_is_told_when_it_is_committed(void **state)
{
    (void)state;
    pthread_t thread;
    impatient_t client = {.answered = false};
    sb_test_pg_script(stack.pg, "BEGIN");
    sb_test_pg_script(stack.pg, "LOCK TABLE sagabus.saga IN EXCLUSIVE MODE");
    assert_int_equal(pthread_create(&thread, NULL, start_impatiently, &client), 0);
    assert_soon(sb_test_pg_int(stack.pg, "SELECT count(*) FROM pg_locks WHERE relation = "
                                         "'sagabus.saga'::regclass AND NOT granted") > 0,
                60000);
    sb_test_sleep_ms(200);
    assert_false(atomic_load(&client.answered));
    sb_test_pg_script(stack.pg, "COMMIT");
    (void)pthread_join(thread, NULL);
    assert_int_equal(client.answer.status, 202);
    assert_contains(client.answer.text, "\"started\"");
    sb_http_free(&client.answer);
    sb_http_answer_t again = sb_order_start(&stack, "c-late", "ada", "book", 900, "30s");
    assert_int_equal(again.status, 200);
    assert_contains(again.text, "\"completed\"");
    assert_contains(again.text, "\"repeated\":true");
    sb_http_free(&again);
}

static void every_listing_is_json_when_it_is_asked_for(void **state)
{
    (void)state;
    static const char *const listings[][ARGUMENTS_MAX] = {
        {"saga", "list"},
        {"saga", "list", "--status", "compensated"},
        {"saga", "show", "order/c-1"},
        {"schema", "list"},
        {"topics", "plan"},
        {"topics", "acls"},
        {"topics", "withheld"},
        {"view", "list"},
        {"view", "show", "order_summary"},
        {"event", "read"},
        {"event", "read", "order/c-9"},
        {"key", "list"},
        {"doctor"},
        {"version"},
        {"saga", "trace", "order/c-1"},
    };
    for (size_t i = 0; i < sizeof listings / sizeof listings[0]; i++) {
        const char *arguments[ARGUMENTS_MAX + 3] = {NULL};
        char *text;
        int n = 0;
        for (; listings[i][n]; n++)
            arguments[n] = listings[i][n];
        arguments[n] = "-o";
        arguments[n + 1] = "json";
        assert_int_equal(sb_stack_ask(&stack, arguments, false, &text), 0);
        json_t *parsed = json_loads(text, 0, NULL);
        if (!parsed)
            fail_msg("sagabus %s %s -o json is no JSON: %s", arguments[0], arguments[1], text);
        json_decref(parsed);
        free(text);
    }
}

static void a_trace_shows_what_was_undone_newest_first(void **state)
{
    (void)state;
    const char *const start[] = {"saga",   "start", "order", "--key", "c-3", "--input", ORDER("c-3", "alan"),
                                 "--wait", NULL};
    const char *const trace[] = {"saga", "trace", "order/c-3", NULL};
    static const char *const steps[] = {"create_order", "charge_payment", "reserve_inventory"};
    char *text;
    assert_exit(7, start);
    assert_int_equal(sb_stack_ask(&stack, trace, false, &text), 0);
    assert_null(strchr(text, '\033')); /* no colour where there is no terminal */
    const char *at = strstr(text, "send_confirmation");
    assert_non_null(at);
    for (size_t i = 0; at && i < sizeof steps / sizeof steps[0]; i++) {
        const char *next = strstr(at, steps[i]);
        if (!next)
            fail_msg("the undo of %s does not come next in\n%s", steps[i], text);
        at = next;
    }
    free(text);
}

static void what_is_published_is_read_by_a_group_once(void **state)
{
    (void)state;
    const char *const publish[] = {"publish", "order.shipped", "--key",          "c-pub", "--id",
                                   "pub-1",   "--data",        SHIPPED("c-pub"), NULL};
    const char *const subscribe[] = {"subscribe", "order.shipped", "--group", "readers", "--limit", "2",
                                     NULL};
    const char *const rebuild[] = {"subscribe",    "order.shipped", "--group", "rebuild",
                                   "--from-store", "--limit",       "2",       NULL};
    char *text;
    assert_exit(0, publish);
    assert_exit(0, publish); /* the same id again: it is there already */
    assert_int_equal(sb_stack_ask(&stack, subscribe, false, &text), 0); /* c-9, then this one */
    assert_contains(text, "c-pub");
    free(text);
    assert_int_equal(sb_stack_ask(&stack, rebuild, false, &text), 0);
    assert_contains(text, "c-pub");
    assert_contains(text, "\"offset\":-1"); /* not from Kafka */
    free(text);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT version FROM sagabus.stream WHERE key = 'c-pub'"), 1);
}

static void a_file_that_is_wrong_is_refused_with_file_pointer_and_reason(void **state)
{
    (void)state;
    static const struct {
        const char *directory, *file, *pointer, *reason;
    } refused[] = {
        {"event_syntax", "events/bad.syntax.v1.json", "line 1, column", "expected"},
        {"event_keyword", "events/bad.keyword.v1.json", "/schema/properties/amount/minimum",
         "must be a number"},
        {"saga_reference", "sagas/lost.json", "/steps/0/input/id", "does not come before"},
        {"saga_undoable", "sagas/stuck.json", "/steps/0", "cannot be undone"},
        {"view_operator", "views/odd.json", "/tables/0/on/order.created/multiply", "is none of"},
    };
    int64_t before = sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.artifact");
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        char directory[512];
        (void)snprintf(directory, sizeof directory, SB_VECTORS "/refused/%s", refused[i].directory);
        const char *const apply[] = {"schema", "apply", directory, NULL};
        assert_says(1, apply, refused[i].file);
        assert_says(1, apply, refused[i].pointer);
        assert_says(1, apply, refused[i].reason);
    }
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.artifact"), before);
}

static void the_doctor_names_a_stuck_appender_and_an_absent_broker(void **state)
{
    (void)state;
    sb_pg_t *stuck = sb_test_pg_open(stack.uri);
    sb_error_t err = SB_ERROR_INIT;
    sb_test_pg_script(stuck,
                      "SET application_name = 'forgetful'; SET idle_in_transaction_session_timeout = 0");
    assert_ok(sb_pg_begin(stuck, &err), &err);
    sb_test_pg_script(stuck, "LOCK TABLE sagabus.event IN ROW EXCLUSIVE MODE"); /* as an INSERT does */
    (void)sb_test_pg_int(stuck, "SELECT nextval('sagabus.event_seq')");
    const char *const doctor[] = {"doctor", NULL};
    const char *const away[] = {"doctor", "--only", "kafka", "--kafka", "127.0.0.1:1", NULL};
    const char *const scram[] = {
        "doctor", "--only", "kafka", "--kafka", "127.0.0.1:1", "-X", "kafka.sasl.mechanism=SCRAM-SHA-256",
        NULL};
    char *text = NULL;
    bool named = false;
    int64_t until = sb_test_mono_ms() + sb_test_patience(20000);
    while (!named && sb_test_mono_ms() < until) {
        free(text);
        (void)sb_stack_ask(&stack, doctor, true, &text);
        named = strstr(text, "forgetful") != NULL;
        sb_test_sleep_ms(500);
    }
    sb_pg_close(&stuck);
    if (!named)
        fail_msg("the doctor does not name who holds safe_seq back: %s", text);
    free(text);
    assert_says(1, away, "kafka");
    assert_says(1, scram, "librdkafka");
}

/* What is registered and the files it came from are the same document. */
static void asyncapi_is_that_of_the_files(void **state)
{
    (void)state;
    static const char *const registered[] = {"schema", "asyncapi", NULL};
    static const char *const files[] = {"schema", "asyncapi", SB_SCHEMAS, NULL};
    char *one = NULL, *other = NULL;
    assert_int_equal(sb_stack_ask(&stack, registered, false, &one), 0);
    assert_int_equal(sb_stack_ask(&stack, files, false, &other), 0);
    assert_true(strlen(one) > 10000);
    assert_string_equal(one, other);
    free(one);
    free(other);
}

/* Past the store: the event is on its own topic, which `publish.direct` has made. */
static void publish_direct_reaches_its_topic(void **state)
{
    (void)state;
    static const char *const make[] = {"topics", "apply", "--publish-direct", "click", NULL};
    static const char *const publish[] = {
        "publish",      "click.seen",    "--direct",
        "--key",        "u-1",           "--data",
        "{\"page\":1}", "--traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "-o",           "jsonl",         NULL};
    static const char *const missing[] = {"publish", "other.seen", "--direct",  "--key", "u-1",
                                          "--data",  "{}",         "--timeout", "45s",   NULL};
    static const char *const relayed[] = {
        "publish", "order.created", "--direct",     "--key", "o-1", "--data",
        "{}",      "--topic",       "order.events", NULL};
    char *text = NULL;
    assert_exit(0, make);
    assert_int_equal(sb_stack_ask(&stack, publish, false, &text), 0);
    assert_contains(text, "click.direct");
    assert_contains(text, "\"offset\":0");
    free(text);
    assert_says(5, missing, "publish.direct");
    assert_says(1, relayed, "not for direct events");
    for (int direct = 0; direct < 2; direct++) {
        const char *const traced[] = {"publish",
                                      "order.created",
                                      "--traceparent",
                                      "mine",
                                      "--key",
                                      "o-1",
                                      "--data",
                                      "{}",
                                      direct ? "--direct" : NULL,
                                      NULL};
        assert_says(1, traced, "expected W3C trace context");
    }
}

/* The relay of the running server does it; a topic that is whole is not touched unless told. */
static void a_topic_is_filled_again_when_it_may_be_deleted(void **state)
{
    (void)state;
    static const char *const careful[] = {"replay", "--to-topic", "order", NULL};
    static const char *const sure[] = {"replay", "--to-topic", "order", "--recreate", "-o", "json", NULL};
    static const char *const fork[] = {"store", "fork", NULL};
    static const char *const acls[] = {"topics", "acls", "--topics-manage", "false", "-o", "jsonl", NULL};
    char *text = NULL;
    assert_says(6, careful, "has records: --recreate");
    assert_int_equal(sb_stack_ask(&stack, sure, false, &text), 0);
    assert_contains(text, "\"category\": \"order\"");
    free(text);
    assert_says(1, fork, "--confirm");
    assert_int_equal(sb_stack_ask(&stack, acls, false, &text), 0);
    assert_contains(text, "\"participant payment\"");
    assert_null(strstr(text, "Create"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_codes_are_the_documented_ones),
        cmocka_unit_test(what_a_topic_does_not_take_is_refused_when_it_is_appended),
        cmocka_unit_test(a_wait_that_is_too_short_ends_with_eight),
        cmocka_unit_test(a_start_that_takes_longer_than_the_patience_is_told_when_it_is_committed),
        cmocka_unit_test(every_listing_is_json_when_it_is_asked_for),
        cmocka_unit_test(a_trace_shows_what_was_undone_newest_first),
        cmocka_unit_test(what_is_published_is_read_by_a_group_once),
        cmocka_unit_test(a_file_that_is_wrong_is_refused_with_file_pointer_and_reason),
        cmocka_unit_test(asyncapi_is_that_of_the_files),
        cmocka_unit_test(publish_direct_reaches_its_topic),
        cmocka_unit_test(a_topic_is_filled_again_when_it_may_be_deleted),
        cmocka_unit_test(the_doctor_names_a_stuck_appender_and_an_absent_broker),
    };
    cmocka_set_test_filter(getenv("SB_TEST_CASE")); /* NULL: all */
    return cmocka_run_group_tests_name("cli", tests, set_up, tear_down);
}
