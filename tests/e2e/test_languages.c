/* Participants and subscribers in other languages, which use nothing but the contract: payment in Node and
 * notifications in Python answer as they must whatever order commands come in, take part in order sagas over
 * kills, and what they publish and read is neither lost nor doubled.
 *
 * SB_TEST_PYTHON_PATH and SB_TEST_NODE_PATH are where their packages are (./dev test fetches them).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/reader.h"
#include "bus/topics.h"
#include "saga/contract.h"
#include "tests/e2e/stack.h"
#include "tests/support/assert.h"
#include "tests/support/mock.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAYMENT       2
#define NOTIFICATIONS 4
#define SAGAS         24
#define TRACE         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
#define REPLY_PART    1

static sb_stack_t stack;
static sb_test_process_t audit[2];
static char env_python[512], env_node[512];
static const char *environment[16];
static sb_config_t *config;
static sb_producer_t *producer;
static sb_reader_t *reader;
static sb_topic_t reply_topic;

/* ---- processes ---- */

static void start_payment(void)
{
    static const char *const argv[] = {"node", SB_EXAMPLES "/node/payment.js", NULL};
    sb_test_spawn(&stack.participant[PAYMENT], argv, environment, NULL);
}

static void start_notifications(void)
{
    static const char *const argv[] = {"python3", SB_EXAMPLES "/python/notifications.py", NULL};
    sb_test_spawn(&stack.participant[NOTIFICATIONS], argv, environment, NULL);
}

static void start_audit(int i)
{
    static const char *const argv[2][3] = {{"python3", SB_EXAMPLES "/python/audit.py", NULL},
                                           {"node", SB_EXAMPLES "/node/audit.js", NULL}};
    sb_test_spawn(&audit[i], argv[i], environment, NULL);
}

static void kill_process(sb_test_process_t *process)
{
    sb_test_signal(process, SIGKILL);
    assert_true(sb_test_wait(process, 60000));
    sb_test_process_end(process);
}

/* A process that could not go on ends, with what it has to say, and is started again, as its service manager
 * would. */
static void revive(sb_test_process_t *process, const char *name, void (*start)(void))
{
    if (!sb_test_wait(process, 0))
        return;
    char *output = sb_test_output(process);
    print_message("%s ended with %d and is started again: %s\n", name, process->exit_code, output);
    free(output);
    sb_test_process_end(process);
    start();
}

static void start_audit_python(void)
{
    start_audit(0);
}

static void start_audit_node(void)
{
    start_audit(1);
}

static bool revive_all(void)
{
    revive(&stack.participant[PAYMENT], "payment", start_payment);
    revive(&stack.participant[NOTIFICATIONS], "notifications", start_notifications);
    revive(&audit[0], "audit.py", start_audit_python);
    revive(&audit[1], "audit.js", start_audit_node);
    return true;
}

static void print_output(const sb_test_process_t *process)
{
    char *output = sb_test_output(process);
    print_message("%s\n", output);
    free(output);
}

static void set_environment(void)
{
    const char *python = getenv("SB_TEST_PYTHON_PATH"), *node = getenv("SB_TEST_NODE_PATH");
    if (!python || !python[0])
        sb_test_skip("python", "no confluent-kafka and psycopg: SB_TEST_PYTHON_PATH is not set");
    if (!node || !node[0])
        sb_test_skip("node", "no kafkajs and pg: SB_TEST_NODE_PATH is not set");
    (void)snprintf(env_python, sizeof env_python, "PYTHONPATH=%s", python);
    (void)snprintf(env_node, sizeof env_node, "NODE_PATH=%s", node);
}

static void open_bus(void)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    int created = 0;
    config = sb_test_bus_config(sb_test_kafka(), stack.prefix);
    (void)snprintf(reply_topic, sizeof reply_topic, "%sconformance.replies", stack.prefix);
    assert_ok(sb_topic_list_add(&list, reply_topic, 2, &err), &err);
    assert_ok(sb_topics_apply(config, &list, 20000, &created, &err), &err);
    sb_topic_list_fini(&list);
    assert_ok(sb_producer_open(&producer, config, "test", NULL, NULL, &err), &err);
    assert_ok(sb_reader_open(&reader, config, "test", &err), &err);
    assert_ok(sb_reader_assign(reader, reply_topic, REPLY_PART, -1, "", &err), &err);
}

static int set_up(void **state)
{
    set_environment();
    (void)sb_test_pg_start(state);
    sb_stack_prepare(&stack);
    size_t n = 0;
    for (; stack.environment[n]; n++)
        environment[n] = stack.environment[n];
    environment[n++] = env_python;
    environment[n++] = env_node;
    environment[n++] = "PYTHONDONTWRITEBYTECODE=1";
    environment[n] = NULL;
    stack.elsewhere[PAYMENT] = stack.elsewhere[NOTIFICATIONS] = true;
    start_payment();
    start_notifications();
    start_audit_python();
    start_audit_node();
    sb_stack_start_participants(&stack);
    sb_stack_start_serve(&stack);
    open_bus();
    sb_stack_await_ready(&stack, 30000);
    return 0;
}

static int tear_down(void **state)
{
    sb_reader_close(&reader);
    sb_producer_close(&producer);
    sb_config_free(&config);
    sb_test_process_end(&audit[0]);
    sb_test_process_end(&audit[1]);
    sb_stack_end(&stack);
    return sb_test_pg_stop(state);
}

/* ---- commands by hand ---- */

typedef struct command {
    const char *participant;
    const char *action;
    const char *input;
    const char *id;
    const char *saga;
    const char *step;
    const char *forward; /* an undo: "completed" or "unknown" */
    const char *forward_id;
} command_t;

typedef struct reply {
    const char
        *to; /* the command's id; one that was taken again after a kill or a rebalance is answered twice */
    char outcome[32];
    char value[512];
    char error[256];
    char future[32];
    char trace[64];
    char key[64];
    int count;
} reply_t;

static void copy(char *to, size_t size, sb_slice_t from)
{
    (void)snprintf(to, size, "%.*s", SB_SLICE_ARG(from));
}

static sb_code_t take_reply(void *context, const sb_message_t *message, sb_error_t *err)
{
    reply_t *reply = context;
    (void)err;
    if (!sb_slice_is(sb_message_header(message, SB_H_CAUSATION), reply->to))
        return SB_OK;
    reply->count++;
    copy(reply->outcome, sizeof reply->outcome, sb_message_header(message, SB_H_OUTCOME));
    copy(reply->error, sizeof reply->error, sb_message_header(message, SB_H_ERROR));
    copy(reply->future, sizeof reply->future, sb_message_header(message, "ce_sagafuture"));
    copy(reply->trace, sizeof reply->trace, sb_message_header(message, SB_H_TRACEPARENT));
    copy(reply->key, sizeof reply->key, message->key);
    copy(reply->value, sizeof reply->value, message->value);
    return SB_OK;
}

static void send_command(const command_t *c)
{
    char topic[128], type[128];
    sb_error_t err = SB_ERROR_INIT;
    (void)snprintf(topic, sizeof topic, "%scmd.%s", stack.prefix, c->participant);
    (void)snprintf(type, sizeof type, "%s.%s", c->participant, c->action);
    sb_header_t headers[] = {{SB_H_SPECVERSION, SB_SLICE("1.0")},
                             {SB_H_ID, sb_slice(c->id)},
                             {SB_H_TYPE, sb_slice(type)},
                             {SB_H_SOURCE, SB_SLICE("/sagabus")},
                             {SB_H_CONTENT, SB_SLICE("application/json")},
                             {SB_H_TRACEPARENT, SB_SLICE(TRACE)},
                             {SB_H_SAGA_ID, sb_slice(c->saga)},
                             {SB_H_SAGA_STEP, sb_slice(c->step)},
                             {SB_H_DIRECTION, c->forward ? SB_SLICE("compensate") : SB_SLICE("forward")},
                             {SB_H_ROUND, SB_SLICE("1")},
                             {SB_H_ATTEMPT, SB_SLICE("1")},
                             {SB_H_REPLY_TO, sb_slice(reply_topic)},
                             {SB_H_REPLY_PART, SB_SLICE("1")},
                             {"ce_sagafuture", SB_SLICE("unheard of")},
                             {SB_H_FORWARD, sb_slice(c->forward)},
                             {SB_H_FORWARD_ID, sb_slice(c->forward_id)}};
    size_t count = sizeof headers / sizeof headers[0] - (c->forward ? 0 : 2);
    sb_record_t record = {.topic = topic,
                          .partition = -1,
                          .key = sb_slice(c->saga),
                          .value = sb_slice(c->input),
                          .headers = headers,
                          .header_count = count};
    assert_ok(sb_producer_send(producer, &record, &err), &err);
    assert_ok(sb_producer_flush(producer, 60000, &err), &err);
}

/* Sends it and waits for the reply, whose outcome must be this. */
static reply_t ask(const command_t *c, const char *outcome)
{
    reply_t reply = {.to = c->id};
    sb_error_t err = SB_ERROR_INIT;
    int64_t until = sb_test_mono_ms() + sb_test_patience(30000);
    send_command(c);
    while (reply.count == 0 && sb_test_mono_ms() < until) {
        int count = 0;
        bool reset = false;
        assert_ok(sb_reader_poll(reader, 1, 100, take_reply, &reply, &count, &reset, &err), &err);
    }
    if (reply.count == 0)
        fail_msg("no reply to %s.%s", c->participant, c->action);
    if (strcmp(reply.outcome, outcome) != 0)
        fail_msg("%s.%s: %s (%s), expected %s", c->participant, c->action, reply.outcome, reply.error,
                 outcome);
    assert_string_equal(reply.key, c->saga);
    assert_string_equal(reply.future, "unheard of"); /* every ce_saga… header is echoed, known or not */
    assert_string_equal(reply.trace, TRACE);
    return reply;
}

/* ---- the four orders ---- */

typedef struct subject {
    const char *participant, *action, *undo, *input, *refused;
    const char *effects; /* counts those of its sagas */
    const char *saga[4];
} subject_t;

static const subject_t subjects[2] = {
    {"payment",
     "charge",
     "refund",
     "{\"order_id\":\"c-1\",\"customer_id\":\"ada\",\"amount\":700,\"currency\":\"EUR\"}",
     "{\"order_id\":\"c-2\",\"customer_id\":\"grace\",\"amount\":99999999,\"currency\":\"EUR\"}",
     "SELECT count(*) FROM payment.effect WHERE saga_id::text LIKE '00000000-0000-7000-8001-%'",
     {"00000000-0000-7000-8001-00000000000a", "00000000-0000-7000-8001-00000000000b",
      "00000000-0000-7000-8001-00000000000c", "00000000-0000-7000-8001-00000000000d"}},
    {"notifications",
     "send_confirmation",
     "send_cancellation",
     "{\"order_id\":\"c-1\",\"customer_id\":\"ada\"}",
     "{\"order_id\":\"c-2\",\"customer_id\":\"alan\"}",
     "SELECT count(*) FROM notifications.effect WHERE saga_id::text LIKE '00000000-0000-7000-8002-%'",
     {"00000000-0000-7000-8002-00000000000a", "00000000-0000-7000-8002-00000000000b",
      "00000000-0000-7000-8002-00000000000c", "00000000-0000-7000-8002-00000000000d"}}};

static command_t forward(const subject_t *s, const char *saga, const char *id)
{
    return (command_t){.participant = s->participant,
                       .action = s->action,
                       .input = s->input,
                       .id = id,
                       .saga = saga,
                       .step = s->participant};
}

static command_t undo_of(const subject_t *s, const command_t *c, const char *id, const char *how)
{
    command_t undo = *c;
    undo.action = s->undo;
    undo.id = id;
    undo.forward = how;
    undo.forward_id = c->id;
    return undo;
}

static void the_four_orders(const subject_t *s)
{
    /* 1 and 2: done once, undone once, each repeat told the same. */
    command_t a = forward(s, s->saga[0], "00000000-0000-5000-8000-0000000000a1");
    command_t undo_a = undo_of(s, &a, "00000000-0000-5000-8000-0000000000a2", "completed");
    reply_t first = ask(&a, "success");
    reply_t again = ask(&a, "success");
    assert_string_equal(first.value, again.value);
    assert_int_equal(sb_test_pg_int(stack.pg, s->effects), 1);
    (void)ask(&undo_a, "success");
    (void)ask(&undo_a, "success");
    assert_int_equal(sb_test_pg_int(stack.pg, s->effects), 2);

    /* 3 and 4: the undo first, then the command that is too late. */
    command_t b = forward(s, s->saga[1], "00000000-0000-5000-8000-0000000000b1");
    command_t undo_b = undo_of(s, &b, "00000000-0000-5000-8000-0000000000b2", "unknown");
    (void)ask(&undo_b, "success");
    (void)ask(&b, "failure");
    (void)ask(&b, "failure");
    assert_int_equal(sb_test_pg_int(stack.pg, s->effects), 2);

    /* An undo of what was told to have succeeded and is not known: an error, which leaves nothing behind. */
    command_t c = forward(s, s->saga[2], "00000000-0000-5000-8000-0000000000c1");
    command_t undo_c = undo_of(s, &c, "00000000-0000-5000-8000-0000000000c2", "completed");
    (void)ask(&undo_c, "error");
    (void)ask(&c, "success");
    (void)ask(&undo_c, "success");
    assert_int_equal(sb_test_pg_int(stack.pg, s->effects), 4);

    /* A refusal is kept, and has nothing to undo. */
    command_t d = forward(s, s->saga[3], "00000000-0000-5000-8000-0000000000d1");
    d.input = s->refused;
    command_t undo_d = undo_of(s, &d, "00000000-0000-5000-8000-0000000000d2", "unknown");
    reply_t refused = ask(&d, "failure");
    reply_t refused_again = ask(&d, "failure");
    assert_true(refused.error[0] != '\0');
    assert_string_equal(refused.error, refused_again.error);
    (void)ask(&undo_d, "success");
    assert_int_equal(sb_test_pg_int(stack.pg, s->effects), 4);
}

static void node_answers_in_every_order(void **state)
{
    (void)state;
    the_four_orders(&subjects[0]);
}

static void python_answers_in_every_order(void **state)
{
    (void)state;
    the_four_orders(&subjects[1]);
}

/* ---- in sagas ---- */

static void start_order(int i, const char *header)
{
    static const char *const customers[] = {"ada", "grace", "edsger", "alan"};
    char body[512], order[32];
    (void)snprintf(order, sizeof order, "lang-%d", i);
    char *input = sb_order_input(order, customers[i % 4], i % 2 ? "book" : "lamp", 1, 1000 + i);
    (void)snprintf(body, sizeof body, "{\"type\":\"order\",\"key\":\"%s\",\"input\":%s}", order, input);
    free(input);
    sb_http_answer_t answer = sb_http("POST", stack.url, "/v1/sagas", body, header);
    if (answer.status != 201)
        fail_msg("start %s: %d %s", order, answer.status, answer.text ? answer.text : "");
    sb_http_free(&answer);
}

static void sagas_end_over_kills_of_both(void **state)
{
    (void)state;
    start_order(0, "traceparent: " TRACE);
    for (int i = 1; i < SAGAS; i++)
        start_order(i, NULL);
    assert_soon(sb_test_pg_int(stack.pg, "SELECT count(*) FROM payment.effect") > 6, 30000);
    kill_process(&stack.participant[PAYMENT]);
    kill_process(&stack.participant[NOTIFICATIONS]);
    kill_process(&audit[0]);
    kill_process(&audit[1]);
    start_payment();
    start_notifications();
    start_audit_python();
    start_audit_node();
    int64_t until = sb_test_mono_ms() + sb_test_patience(90000);
    while (sb_stack_open_sagas(&stack) > 0 && sb_test_mono_ms() < until && revive_all())
        sb_test_sleep_ms(50);
    if (sb_stack_open_sagas(&stack) > 0)
        sb_stack_print_open(&stack);
    assert_int_equal(sb_stack_open_sagas(&stack), 0);
    sb_stack_check_conserved(&stack);
    /* grace has 500 and cannot pay, alan cannot be reached. */
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM sagabus.saga WHERE status = 2"),
                     SAGAS / 2);
}

#define EVENTS_OF(type)                                                                                      \
    "(SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE t.name = '" type  \
    "')"

static void what_they_publish_is_there_once(void **state)
{
    (void)state;
    assert_int_equal(sb_test_pg_int(stack.pg,
                                    "SELECT " EVENTS_OF("payment.charged") " - (SELECT count(*) FROM "
                                                                           "payment.payment)"),
                     0);
    assert_int_equal(
        sb_test_pg_int(stack.pg, "SELECT " EVENTS_OF("payment.refunded") " - (SELECT count(*) FROM "
                                                                         "payment.payment WHERE refunded)"),
        0);
    assert_int_equal(sb_test_pg_int(stack.pg,
                                    "SELECT " EVENTS_OF("notification.sent") " - (SELECT count(*) FROM "
                                                                             "notifications.outbox)"),
                     0);
    /* The trace of the request is on the events of all three languages. */
    assert_int_equal(
        sb_test_pg_int(stack.pg,
                       "SELECT count(DISTINCT t.name) FROM sagabus.event e JOIN "
                       "sagabus.event_type t USING (type_no) WHERE convert_from(e.data, "
                       "'UTF8') LIKE '%lang-0\"%' AND t.name IN ('payment.charged', "
                       "'notification.sent', 'order.created') AND convert_from(e.meta, 'UTF8') LIKE '%" TRACE
                       "%'"),
        3);
}

#define MISSED(schema)                                                                                       \
    "SELECT count(*) FROM (SELECT e.id::text FROM sagabus.event e JOIN sagabus.event_type t USING "          \
    "(type_no) "                                                                                             \
    "WHERE t.name LIKE 'order.%' EXCEPT SELECT event_id FROM " schema ".seen) x"
#define DOUBLED(schema) "SELECT count(*) - count(DISTINCT event_id) FROM " schema ".seen"

static void subscribers_see_each_event_once(void **state)
{
    (void)state;
    int64_t until = sb_test_mono_ms() + sb_test_patience(60000);
    while ((sb_test_pg_int(stack.pg, MISSED("audit_python")) > 0 ||
            sb_test_pg_int(stack.pg, MISSED("audit_node")) > 0) &&
           sb_test_mono_ms() < until && revive_all())
        sb_test_sleep_ms(50);
    if (sb_test_mono_ms() >= until)
        for (int i = 0; i < 2; i++)
            print_output(&audit[i]);
    assert_int_equal(sb_test_pg_int(stack.pg, MISSED("audit_python")), 0);
    assert_int_equal(sb_test_pg_int(stack.pg, MISSED("audit_node")), 0);
    assert_int_equal(sb_test_pg_int(stack.pg, DOUBLED("audit_python")), 0);
    assert_int_equal(sb_test_pg_int(stack.pg, DOUBLED("audit_node")), 0);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_python.trouble"), 0);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_node.trouble"), 0);
    assert_true(sb_test_pg_int(stack.pg,
                               "SELECT count(*) FROM audit_python.seen WHERE traceparent = '" TRACE "'") > 0);
}

static void send_at(int64_t seq, int64_t prev, const char *id)
{
    char topic[128], position[96];
    sb_error_t err = SB_ERROR_INIT;
    int64_t incarnation = sb_test_pg_int(stack.pg, "SELECT incarnation FROM audit_node.reader_position");
    (void)snprintf(topic, sizeof topic, "%sorder.events", stack.prefix);
    (void)snprintf(position, sizeof position, "%lld.1.%lld.%lld", (long long)incarnation, (long long)seq,
                   (long long)prev);
    sb_header_t headers[] = {{"ce_specversion", SB_SLICE("1.0")},
                             {"ce_id", sb_slice(id)},
                             {"ce_type", SB_SLICE("order.created")},
                             {"ce_source", SB_SLICE("/test")},
                             {"sb-pos", sb_slice(position)}};
    sb_record_t record = {.topic = topic,
                          .partition = 0,
                          .key = SB_SLICE("k"),
                          .value = SB_SLICE("{}"),
                          .headers = headers,
                          .header_count = 5};
    assert_ok(sb_producer_send(producer, &record, &err), &err);
    assert_ok(sb_producer_flush(producer, 60000, &err), &err);
}

static void subscribers_drop_repeats_and_report_gaps(void **state)
{
    (void)state;
    int64_t seq = sb_test_pg_int(stack.pg, "SELECT seq FROM audit_node.reader_position");
    int64_t seen = sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_node.seen");
    send_at(seq, seq - 1, "repeat");
    send_at(seq + 1000, seq + 500, "after-a-gap");
    assert_soon(revive_all() && sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_python.trouble") == 1,
                30000);
    assert_soon(revive_all() && sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_node.trouble") == 1,
                30000);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_node.seen"), seen + 1);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT count(*) FROM audit_python.seen"), seen + 1);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT before_seq - after_seq FROM audit_python.trouble"),
                     500);
    assert_int_equal(sb_test_pg_int(stack.pg, "SELECT before_seq - after_seq FROM audit_node.trouble"), 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(node_answers_in_every_order),
        cmocka_unit_test(python_answers_in_every_order),
        cmocka_unit_test(sagas_end_over_kills_of_both),
        cmocka_unit_test(what_they_publish_is_there_once),
        cmocka_unit_test(subscribers_see_each_event_once),
        cmocka_unit_test(subscribers_drop_repeats_and_report_gaps),
    };
    return cmocka_run_group_tests_name("languages", tests, set_up, tear_down);
}
