/* Through SASL_SSL, with settings alone: topics, publisher, group and reader; and who is not let in is told
 * why, at once, by each of them. SB_TEST_KAFKA_SASL is the address of that listener, SB_TEST_KAFKA_CA the
 * file of its CA.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/publisher.h"
#include "bus/topic.h"
#include "bus/topics.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/messages.h"
#include "tests/support/mock.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"

#include <librdkafka/rdkafka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SOON_MS 60000 /* a loaded machine; without the mend it is 120 s or never */

typedef struct fixture {
    char prefix[SB_TEST_PREFIX];
    sb_topic_t topic;
    sb_config_t *config;
    sb_publisher_t *publisher;
    sb_consumer_t *consumer;
    sb_reader_t *reader;
    sb_test_messages_t got;
    sb_error_t err;
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    const char *address = getenv("SB_TEST_KAFKA_SASL"), *ca = getenv("SB_TEST_KAFKA_CA");
    if (!address || !address[0] || !ca)
        sb_test_skip("kafka", "no SASL_SSL listener: SB_TEST_KAFKA_SASL and SB_TEST_KAFKA_CA are not set");
    fixture = (fixture_t){.config = NULL};
    fixture.config = sb_test_bus_config(address, sb_test_kafka_prefix(fixture.prefix));
    sb_test_bus_set(fixture.config, "kafka.security.protocol", "SASL_SSL");
    sb_test_bus_set(fixture.config, "kafka.sasl.mechanism", "PLAIN");
    sb_test_bus_set(fixture.config, "kafka.sasl.username", "alice");
    sb_test_bus_set(fixture.config, "kafka.sasl.password", "alice-secret");
    sb_test_bus_set(fixture.config, "kafka.ssl.ca.location", ca);
    (void)snprintf(fixture.topic, sizeof fixture.topic, "%sclick.direct", fixture.prefix);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_publisher_close(&f->publisher);
    sb_consumer_close(&f->consumer, 5000);
    sb_reader_close(&f->reader);
    sb_test_messages_free(&f->got);
    sb_config_free(&f->config);
    return 0;
}

static sb_code_t make_topic(fixture_t *f)
{
    sb_topic_list_t list = {NULL, 0, 0};
    int created = 0;
    assert_ok(sb_topic_list_add(&list, f->topic, 1, &f->err), &f->err);
    sb_code_t code = sb_topics_apply(f->config, &list, SOON_MS, &created, &f->err);
    sb_topic_list_fini(&list);
    return code;
}

static sb_code_t publish(fixture_t *f, int count)
{
    sb_publisher_config_t config = {.source = "/clicks"};
    sb_event_t event = {
        .type = SB_SLICE("click.seen"), .subject = SB_SLICE("u-1"), .data = SB_SLICE("{\"page\":\"/\"}")};
    sb_code_t code = sb_publisher_new(&f->publisher, f->config, &config, &f->err);
    for (int i = 0; code == SB_OK && i < count; i++)
        code = sb_publisher_send(f->publisher, &event, NULL, 0, &f->err);
    return code == SB_OK ? sb_publisher_flush(f->publisher, 60000, &f->err) : code;
}

static void go_there_and_back(fixture_t *f)
{
    const char *topic = f->topic;
    assert_ok(make_topic(f), &f->err);
    assert_ok(publish(f, 100), &f->err);
    assert_ok(sb_consumer_open(&f->consumer, f->config, "audit", &topic, 1, &f->err), &f->err);
    sb_test_consume(f->consumer, &f->got, 100, 30000);
    assert_int_equal(f->got.count, 100);
    assert_string_equal(f->got.item[99].type, "click.seen");
    assert_ok(sb_consumer_commit(f->consumer, &f->err), &f->err);
    sb_test_messages_clear(&f->got);
    assert_ok(sb_reader_open(&f->reader, f->config, "test", &f->err), &f->err);
    assert_ok(sb_reader_assign(f->reader, f->topic, 0, -1, "", &f->err), &f->err);
    sb_test_read(f->reader, &f->got, 100, 30000);
    assert_int_equal(f->got.count, 100);
}

static void events_go_there_and_back(void **state)
{
    go_there_and_back(*state);
}

/* Each part says SB_DENIED, what the brokers said, and soon. */
static void assert_kept_out(fixture_t *f, const char *because)
{
    const char *topic = f->topic;
    int64_t from = sb_test_mono_ms();
    assert_code(SB_DENIED, make_topic(f), &f->err);
    assert_contains(f->err.message, because);
    assert_true(sb_test_mono_ms() - from < SOON_MS);
    from = sb_test_mono_ms();
    assert_code(SB_DENIED, publish(f, 1), &f->err);
    assert_contains(f->err.message, because);
    assert_false(f->err.retryable);
    assert_true(sb_test_mono_ms() - from < SOON_MS);
    from = sb_test_mono_ms();
    sb_publisher_close(&f->publisher);
    assert_true(sb_test_mono_ms() - from < SOON_MS);

    from = sb_test_mono_ms();
    sb_code_t code = sb_consumer_open(&f->consumer, f->config, "audit", &topic, 1, &f->err);
    while (code == SB_OK && sb_test_mono_ms() - from < SOON_MS) {
        int count = 0;
        code = sb_consumer_poll(f->consumer, 1, 100, sb_test_collect, &f->got, &count, &f->err);
    }
    assert_code(SB_DENIED, code, &f->err);
    assert_contains(f->err.message, because);
}

static void a_wrong_password_is_told_at_once(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.sasl.password", "not-the-secret");
    assert_kept_out(f, "uthentication failed");
    assert_null(strstr(f->err.message, "not-the-secret"));
}

/* With a librdkafka that cannot, Kafka refuses what is right, too, and what mends it is told. */
static void a_scram_user_is_let_in_or_told_why(void **state)
{
    fixture_t *f = *state;
    sb_test_bus_set(f->config, "kafka.sasl.mechanism", "SCRAM-SHA-256");
    if (rd_kafka_version() < 0x020601ff) {
        assert_kept_out(f, "take a newer one, or PLAIN");
        assert_contains(f->err.message, "uthentication failed");
        assert_null(strstr(f->err.message, "alice-secret"));
        return;
    }
    go_there_and_back(f);
    (void)teardown(state);
    (void)setup(state);
    sb_test_bus_set(f->config, "kafka.sasl.mechanism", "SCRAM-SHA-512");
    go_there_and_back(f);
}

static void a_certificate_of_another_ca_is_told_at_once(void **state)
{
    fixture_t *f = *state;
    char other[] = "/tmp/sagabus-ca-XXXXXX", command[512];
    int fd = mkstemp(other);
    assert_true(fd >= 0);
    (void)snprintf(
        command, sizeof command,
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=other "
        "-keyout /dev/null -out %s 2>/dev/null",
        other);
    const char *const argv[] = {"sh", "-c", command, NULL};
    assert_int_equal(sb_test_run(argv, 30000), 0);
    sb_test_bus_set(f->config, "kafka.ssl.ca.location", other);
    assert_kept_out(f, "certificate verify failed");
    (void)remove(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(events_go_there_and_back, setup, teardown),
        cmocka_unit_test_setup_teardown(a_scram_user_is_let_in_or_told_why, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_password_is_told_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_certificate_of_another_ca_is_told_at_once, setup, teardown),
    };
    return cmocka_run_group_tests_name("sasl", tests, NULL, NULL);
}
