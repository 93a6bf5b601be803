/* `sagabus subscribe --exec` and `sagabus dlq` as processes, on a real broker and a real database.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/consumer.h"
#include "bus/message.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/process.h"
#include "tests/support/subscriber.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARTITIONS 2

static char prefix[SB_TEST_PREFIX];
static char folder[64];
static sb_topic_t copies_topic;
static char lines[4][SB_TEST_URI + 64];
static sb_test_world_t world;
static sb_test_process_t command;

static int setup(void **state)
{
    int count = 0;
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {NULL, 0, 0};
    (void)state;
    memset(&command, 0, sizeof command);
    sb_test_world_open(&world, sb_test_kafka(), sb_test_kafka_prefix(prefix), PARTITIONS);
    (void)snprintf(copies_topic, sizeof copies_topic, "%smail.dlq", prefix);
    assert_ok(sb_topic_list_add(&list, world.topic, PARTITIONS, &err), &err);
    assert_ok(sb_topics_apply(world.config, &list, 20000, &count, &err), &err);
    sb_topic_list_fini(&list);
    (void)snprintf(folder, sizeof folder, "/tmp/sagabus-exec-XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(lines[0], sizeof lines[0], "SAGABUS_KAFKA_BOOTSTRAP=%s", world.bootstrap);
    (void)snprintf(lines[1], sizeof lines[1], "SAGABUS_KAFKA_PREFIX=%s", prefix);
    (void)snprintf(lines[2], sizeof lines[2], "SAGABUS_PG_URI=%s", world.uri);
    (void)snprintf(lines[3], sizeof lines[3], "FOLDER=%s", folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sb_test_process_end(&command);
    sb_test_world_close(&world);
    sb_test_remove_tree(folder);
    return 0;
}

static void start(const char *const *argv)
{
    const char *environment[] = {lines[0], lines[1], lines[2], lines[3], NULL};
    sb_test_spawn(&command, argv, environment, NULL);
}

static void stop(void)
{
    sb_test_signal(&command, SIGTERM);
    assert_true(sb_test_wait(&command, 120000));
    sb_test_process_end(&command);
}

/* Runs a command to its end and returns its exit code; what it says must contain the text. */
static int ask(const char *const *argv, const char *text)
{
    sb_test_process_t process = {.pid = 0};
    const char *environment[] = {lines[0], lines[1], lines[2], lines[3], NULL};
    sb_test_spawn(&process, argv, environment, NULL);
    assert_true(sb_test_wait(&process, 120000));
    char *output = sb_test_output(&process);
    if (text)
        assert_contains(output, text);
    free(output);
    int code = process.exit_code;
    sb_test_process_end(&process);
    return code;
}

/* How many lines the handlers wrote. */
static int count_lines(const char *name)
{
    char path[128];
    int count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "r");
    for (int c; file && (c = fgetc(file)) != EOF;)
        count += c == '\n';
    if (file)
        (void)fclose(file);
    return count;
}

/* k-1 is never to be handled, the first event of k-2 only at the second try; k-3 takes too long once. */
static const char script[] = "cat > $FOLDER/in.$CE_ID; "
                             "case $KAFKA_KEY in "
                             "k-1) exit 65 ;; "
                             "k-2) [ $SB_ATTEMPT -gt 1 ] || { echo x >> $FOLDER/again; exit 75; } ;; "
                             "k-3) [ -e $FOLDER/slow ] || { touch $FOLDER/slow; sleep 60; } ;; "
                             "esac; "
                             "echo $CE_ID $CE_TYPE $CE_SOURCE $KAFKA_PARTITION >> $FOLDER/done";

static long first_copy;

/* The record as it was, with why in our headers and in Spring's. */
static sb_code_t check_copy(void *context, const sb_message_t *message, sb_error_t *err)
{
    uint64_t *seen = context; /* by offset: a copy may come twice */
    (void)err;
    sb_slice_t text = sb_message_header(message, "dlq-offset");
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%.*s", SB_SLICE_ARG(text));
    long offset = strtol(digits, NULL, 10);
    assert_true(text.len > 0);
    assert_in_range(offset, 0, 63);
    assert_true(sb_slice_is(message->key, "k-1"));
    assert_true(sb_slice_is(sb_message_header(message, "ce_type"), "order.created"));
    assert_true(sb_slice_is(sb_message_header(message, "dlq-topic"), world.topic));
    assert_true(sb_slice_is(sb_message_header(message, "dlq-error"),
                            *seen == 0 || offset == first_copy ? "rejected" : "blocked"));
    assert_true(sb_slice_is(sb_message_header(message, "kafka_dlt-original-topic"), world.topic));
    assert_int_equal(sb_message_header(message, "kafka_dlt-original-offset").len, 8);
    if (*seen == 0)
        first_copy = offset;
    *seen |= UINT64_C(1) << offset;
    return SB_OK;
}

static void check_copies(int expected)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_consumer_t *consumer = NULL;
    const char *topic = copies_topic;
    uint64_t seen = 0;
    int count = 0;
    assert_ok(sb_consumer_open(&consumer, world.config, "copies", &topic, 1, &err), &err);
    for (int64_t until = sb_test_mono_ms() + 60000;
         __builtin_popcountll(seen) < expected && sb_test_mono_ms() < until;)
        assert_ok(sb_consumer_poll(consumer, expected, 200, check_copy, &seen, &count, &err), &err);
    assert_int_equal(__builtin_popcountll(seen), expected);
    sb_consumer_close(&consumer, 5000);
}

static void a_commands_exit_code_says_what_becomes_of_an_event(void **state)
{
    (void)state;
    const char *const subscribe[] = {SB_SAGABUS,
                                     "subscribe",
                                     "order.*",
                                     "--group",
                                     "mail",
                                     "--exec",
                                     script,
                                     "--state",
                                     SB_TEST_CLIENT_SCHEMA,
                                     "--timeout",
                                     "2s",
                                     "--lanes",
                                     "4",
                                     "--dead-letter-topic",
                                     "mail.dlq",
                                     NULL};
    const char *const events_again[] = {SB_SAGABUS,
                                        "subscribe",
                                        "order.*",
                                        "--group",
                                        "mail",
                                        "--state",
                                        SB_TEST_CLIENT_SCHEMA,
                                        "--dead-letter-topic",
                                        "order.events",
                                        NULL};
    const char *const not_ours[] = {SB_SAGABUS,
                                    "subscribe",
                                    "order.*",
                                    "--group",
                                    "mail",
                                    "--state",
                                    SB_TEST_CLIENT_SCHEMA,
                                    "--dead-letter-topic",
                                    "mail.dlq",
                                    "--topics-manage",
                                    "false",
                                    NULL};
    const char *const list[] = {SB_SAGABUS, "dlq",   "list", "--state", SB_TEST_CLIENT_SCHEMA,
                                "-o",       "jsonl", NULL};
    const char *const show[] = {SB_SAGABUS, "dlq",  "show", "1", "--state", SB_TEST_CLIENT_SCHEMA,
                                "-o",       "json", NULL};
    const char *const discard[] = {
        SB_SAGABUS, "dlq", "discard",  "mail",         "--state", SB_TEST_CLIENT_SCHEMA,
        "--no",     "1",   "--reason", "a test order", NULL};
    const char *const redrive[] = {SB_SAGABUS, "dlq", "redrive", "mail", "--state", SB_TEST_CLIENT_SCHEMA,
                                   "--rate",   "300", NULL};
    world.keys = 5;
    assert_int_equal(ask(events_again, "take copies for events"), 1);
    assert_int_equal(ask(not_ours, "topics.manage is false"), 5);
    start(subscribe);
    sb_test_world_send(&world, 20);
    assert_soon(count_lines("done") == 16, 40000);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE held") == 4, 20000);
    assert_int_equal(count_lines("again"), 4);
    stop();
    check_copies(4);

    assert_int_equal(ask(list, "\"count\":1"), 0);
    assert_int_equal(ask(show, "\"reason\": \"rejected\""), 0);
    assert_int_equal(ask(show, "\"n\": 1"), 0);
    assert_int_equal(ask(discard, NULL), 0);
    assert_int_equal(ask(discard, NULL), 5);
    assert_int_equal(ask(redrive, NULL), 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT pace_us FROM quarantine"), 3334);

    /* Another handler, which takes them all. */
    const char *const mended[] = {SB_SAGABUS,
                                  "subscribe",
                                  "order.*",
                                  "--group",
                                  "mail",
                                  "--exec",
                                  "echo $CE_ID >> $FOLDER/mended",
                                  "--state",
                                  SB_TEST_CLIENT_SCHEMA,
                                  NULL};
    start(mended);
    assert_soon(count_lines("mended") == 3, 40000);
    sb_test_world_send(&world, 5);
    assert_soon(count_lines("mended") == 8, 20000);
    stop();
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM quarantine"), 0);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended = 'discarded'"),
                     1);
    assert_int_equal(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended = 'handled'"), 3);
}

static void an_edited_dead_letter_is_handled_with_its_new_body(void **state)
{
    (void)state;
    const char *const picky[] = {SB_SAGABUS,
                                 "subscribe",
                                 "order.*",
                                 "--group",
                                 "mail",
                                 "--exec",
                                 "grep -q '\"n\":100' || exit 65; cat >> $FOLDER/done",
                                 "--state",
                                 SB_TEST_CLIENT_SCHEMA,
                                 NULL};
    const char *const redrive[] = {
        SB_SAGABUS, "dlq", "redrive", "mail",        "--state", SB_TEST_CLIENT_SCHEMA,
        "--no",     "1",   "--edit",  "{\"n\":100}", NULL};
    world.keys = 1;
    start(picky);
    sb_test_world_send(&world, 1);
    assert_soon(sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE held") == 1, 40000);
    assert_int_equal(ask(redrive, NULL), 0);
    assert_soon(
        sb_test_pg_int(world.pg, "SELECT count(*) FROM dead_letter WHERE ended = 'handled' AND edited") == 1,
        20000);
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_commands_exit_code_says_what_becomes_of_an_event, setup, teardown),
        cmocka_unit_test_setup_teardown(an_edited_dead_letter_is_handled_with_its_new_body, setup, teardown),
    };
    return cmocka_run_group_tests_name("subscribe_command", tests, sb_test_pg_start, sb_test_pg_stop);
}
