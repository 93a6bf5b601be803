/* SPDX-License-Identifier: Apache-2.0 */
#include "base/config.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct fixture {
    sb_config_t *config;
    sb_error_t err;
    char path[64];
} fixture_t;

static fixture_t fixture;

static int setup(void **state)
{
    fixture = (fixture_t){.path = "/tmp/sagabus-config-XXXXXX"};
    int fd = mkstemp(fixture.path);
    if (fd < 0)
        return -1;
    (void)close(fd);
    assert_ok(sb_config_new(&fixture.config, &fixture.err), &fixture.err);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    fixture_t *f = *state;
    sb_config_free(&f->config);
    sb_config_free(&f->config);
    (void)unlink(f->path);
    return 0;
}

static sb_code_t load(fixture_t *f, const char *text)
{
    FILE *file = fopen(f->path, "we");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
    return sb_config_load_file(f->config, f->path, &f->err);
}

static void every_default_is_valid(void **state)
{
    fixture_t *f = *state;
    for (const sb_config_row_t *row = sb_config_table; row->name; row++) {
        int64_t number;
        bool truth;
        const char *d = row->default_value;
        assert_string_equal(sb_config_get(f->config, row->name), d);
        assert_string_equal(sb_config_source(f->config, row->name), "default");
        assert_true(row->meaning[0] != '\0');
        if (d[0] >= '0' && d[0] <= '9' && !strchr(d, '.'))
            assert_ok(sb_config_get_int(f->config, row->name, 0, INT64_MAX, &number, &f->err), &f->err);
        if (strcmp(d, "true") == 0 || strcmp(d, "false") == 0)
            assert_ok(sb_config_get_bool(f->config, row->name, &truth, &f->err), &f->err);
        for (const sb_config_row_t *other = sb_config_table; other < row; other++)
            assert_string_not_equal(other->name, row->name);
    }
}

static void the_stronger_source_wins_in_any_order(void **state)
{
    fixture_t *f = *state;
    assert_ok(sb_config_set(f->config, "log.level", "error", &f->err), &f->err);
    (void)setenv("SAGABUS_LOG_LEVEL", "warn", 1);
    (void)setenv("SAGABUS_HTTP_LISTEN", "127.0.0.1:2", 1);
    assert_ok(sb_config_load_environment(f->config, &f->err), &f->err);
    assert_ok(load(f, "# comment\n\n log.level = debug \nhttp.listen=127.0.0.1:1\nkafka.prefix=a=b#c\n"),
              &f->err);
    (void)unsetenv("SAGABUS_LOG_LEVEL");
    (void)unsetenv("SAGABUS_HTTP_LISTEN");
    assert_string_equal(sb_config_get(f->config, "log.level"), "error");
    assert_string_equal(sb_config_get(f->config, "http.listen"), "127.0.0.1:2");
    assert_string_equal(sb_config_get(f->config, "kafka.prefix"), "a=b#c");
    assert_string_equal(sb_config_source(f->config, "log.level"), "command line");
    assert_string_equal(sb_config_source(f->config, "http.listen"), "environment SAGABUS_HTTP_LISTEN");
    assert_contains(sb_config_source(f->config, "kafka.prefix"), ":5");
}

static void aliases_are_known(void **state)
{
    fixture_t *f = *state;
    (void)setenv("SAGABUS_PG", "dbname=short", 1);
    (void)setenv("SAGABUS_KAFKA_BOOTSTRAP", "k:1", 1);
    (void)setenv("SAGABUS_KAFKA_SASL_PASSWORD", "p", 1);
    assert_ok(sb_config_load_environment(f->config, &f->err), &f->err);
    assert_string_equal(sb_config_get(f->config, "pg.uri"), "dbname=short");
    assert_string_equal(sb_config_get(f->config, "kafka.bootstrap"), "k:1");
    assert_string_equal(sb_config_get(f->config, "kafka.sasl.password"), "p");
    (void)setenv("SAGABUS_PG_URI", "dbname=long", 1);
    assert_ok(sb_config_load_environment(f->config, &f->err), &f->err);
    assert_string_equal(sb_config_get(f->config, "pg.uri"), "dbname=long");
    (void)unsetenv("SAGABUS_PG");
    (void)unsetenv("SAGABUS_PG_URI");
    (void)unsetenv("SAGABUS_KAFKA_BOOTSTRAP");
    (void)unsetenv("SAGABUS_KAFKA_SASL_PASSWORD");
}

static void a_typing_error_is_answered_with_the_near_name(void **state)
{
    fixture_t *f = *state;
    assert_code(SB_INVALID, load(f, "log.level=info\nhttp.lisen=1\n"), &f->err);
    assert_contains(f->err.message, ":2");
    assert_contains(f->err.message, "did you mean http.listen?");
    assert_code(SB_INVALID, sb_config_set(f->config, "unheard.of.thing", "1", &f->err), &f->err);
    assert_null(strstr(f->err.message, "did you mean"));
    assert_code(SB_INVALID, sb_config_set(f->config, "participant.", "1", &f->err), &f->err);
    assert_code(SB_INVALID, sb_config_set(f->config, "participant.pay.ulr", "1", &f->err), &f->err);
    assert_contains(f->err.message, "did you mean participant.pay.url?");
    static const char *const bad[] = {"participant.url",   "participant..url",    "participant.Pay.url",
                                      "participant.9.url", "participant.a.b.url", "participant.a.url.x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_code(SB_INVALID, sb_config_set(f->config, bad[i], "1", &f->err), &f->err);
    assert_code(SB_INVALID, load(f, "just words\n"), &f->err);
    (void)unlink(f->path);
    assert_code(SB_NOT_FOUND, sb_config_load_file(f->config, f->path, &f->err), &f->err);
}

static void participants_have_settings_of_their_own(void **state)
{
    fixture_t *f = *state;
    int64_t number = 0;
    for (const sb_config_row_t *row = sb_config_participant_table; row->name; row++) {
        char name[128];
        (void)snprintf(name, sizeof name, "participant.a-b_1.%s", row->name);
        assert_string_equal(sb_config_get(f->config, name), row->default_value);
        if (row->default_value[0])
            assert_ok(sb_config_get_int(f->config, name, 0, INT64_MAX, &number, &f->err), &f->err);
        assert_true(sb_config_is_secret(name) == row->secret);
    }
    (void)setenv("SAGABUS_PARTICIPANT_PAYMENT_URL", "http://p", 1);
    (void)setenv("SAGABUS_PARTICIPANT_PAY_DESK_BREAKER_RECOVERY_MS", "5s", 1);
    (void)setenv("SAGABUS_PARTICIPANT_PAY_SECRET", "s", 1);
    assert_ok(sb_config_load_environment(f->config, &f->err), &f->err);
    assert_string_equal(sb_config_get(f->config, "participant.payment.url"), "http://p");
    assert_string_equal(sb_config_get(f->config, "participant.pay.secret"), "s");
    assert_string_equal(sb_config_source(f->config, "participant.pay.secret"),
                        "environment SAGABUS_PARTICIPANT_PAY_SECRET");
    assert_ok(
        sb_config_get_int(f->config, "participant.pay_desk.breaker.recovery_ms", 0, 9999, &number, &f->err),
        &f->err);
    assert_int_equal(number, 5000);
    assert_ok(load(f, "participant.payment.url=http://q\nparticipant.payment.rate=7\n"), &f->err);
    assert_string_equal(sb_config_get(f->config, "participant.payment.url"), "http://p");
    assert_string_equal(sb_config_get(f->config, "participant.payment.rate"), "7");
    (void)setenv("SAGABUS_PARTICIPANT_PAY_SECRETS", "s", 1);
    assert_code(SB_INVALID, sb_config_load_environment(f->config, &f->err), &f->err);
    (void)unsetenv("SAGABUS_PARTICIPANT_PAYMENT_URL");
    (void)unsetenv("SAGABUS_PARTICIPANT_PAY_DESK_BREAKER_RECOVERY_MS");
    (void)unsetenv("SAGABUS_PARTICIPANT_PAY_SECRET");
    (void)unsetenv("SAGABUS_PARTICIPANT_PAY_SECRETS");
}

static sb_code_t note(void *context, const char *name, const char *value, sb_error_t *err)
{
    (void)err;
    sb_buf_printf(context, "%s=%s;", name, value);
    return strcmp(value, "stop") == 0 ? sb_fail(err, SB_STOPPED, "stop") : SB_OK;
}

static void free_names_are_visited(void **state)
{
    fixture_t *f = *state;
    sb_buf_t seen = SB_BUF_INIT;
    assert_ok(load(f, "kafka.bootstrap=b:1\nkafka.prefix=p.\nkafka.linger.ms=5\nkafka.linger.ms=6\n"
                      "participant.pay.url=http://x\nkafka.acks=all\n"),
              &f->err);
    assert_ok(sb_config_each_kafka(f->config, note, &seen, &f->err), &f->err);
    assert_string_equal(sb_buf_text(&seen), "linger.ms=6;acks=all;");
    sb_buf_reset(&seen);
    assert_ok(sb_config_each(f->config, "participant.", note, &seen, &f->err), &f->err);
    assert_string_equal(sb_buf_text(&seen), "pay.url=http://x;");
    assert_string_equal(sb_config_get(f->config, "kafka.not.given"), "");
    assert_ok(sb_config_set(f->config, "kafka.linger.ms", "stop", &f->err), &f->err);
    assert_code(SB_STOPPED, sb_config_each_kafka(f->config, note, &seen, &f->err), &f->err);
    sb_buf_fini(&seen);
}

static void numbers_have_units_and_bounds(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *name;
        const char *value;
        int64_t want; /* -1: refused */
    } cases[] = {
        {"lease.overdue_ms", "250", 250},
        {"lease.overdue_ms", "250ms", 250},
        {"lease.overdue_ms", "2s", 2000},
        {"lease.overdue_ms", "3m", 180000},
        {"lease.overdue_ms", "1h", 3600000},
        {"lease.overdue_ms", "1d", -1},
        {"lease.overdue_ms", "1 s", -1},
        {"lease.overdue_ms", "", -1},
        {"lease.overdue_ms", " 1", -1},
        {"lease.overdue_ms", "9223372036854775807s", -1},
        {"http.body_max_bytes", "2k", 2048},
        {"http.body_max_bytes", "1M", 1048576},
        {"http.body_max_bytes", "1s", -1},
        {"saga.open_max", "12", 12},
        {"saga.open_max", "12k", -1},
        {"saga.open_max", "-1", -1},
        {"saga.open_max", "99999999999999999999", -1},
        {"saga.open_max", "0x10", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = -1;
        assert_ok(sb_config_set(f->config, cases[i].name, cases[i].value, &f->err), &f->err);
        sb_code_t code = sb_config_get_int(f->config, cases[i].name, 0, INT64_MAX, &value, &f->err);
        if (value != cases[i].want || code != (cases[i].want < 0 ? SB_INVALID : SB_OK))
            fail_msg("%s=%s gave %lld", cases[i].name, cases[i].value, (long long)value);
    }
    int64_t value;
    assert_ok(sb_config_set(f->config, "saga.open_max", "50", &f->err), &f->err);
    assert_code(SB_INVALID, sb_config_get_int(f->config, "saga.open_max", 1, 10, &value, &f->err), &f->err);
    assert_contains(f->err.message, "saga.open_max = \"50\" (command line): expected 1 to 10");
    bool truth;
    assert_code(SB_INVALID, sb_config_get_bool(f->config, "saga.open_max", &truth, &f->err), &f->err);
    assert_ok(sb_config_set(f->config, "topics.manage", "OFF", &f->err), &f->err);
    assert_ok(sb_config_get_bool(f->config, "topics.manage", &truth, &f->err), &f->err);
    assert_false(truth);
}

static void a_file_with_secrets_must_be_private(void **state)
{
    fixture_t *f = *state;
    static const char *const secrets[] = {"kafka.sasl.password=x\n", "pg.uri=postgresql://u:p@h/d\n",
                                          "pg.uri=password=x\n"};
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        (void)chmod(f->path, 0644);
        assert_code(SB_DENIED, load(f, secrets[i]), &f->err);
        (void)chmod(f->path, 0640);
        assert_ok(load(f, secrets[i]), &f->err);
    }
    (void)chmod(f->path, 0644);
    assert_ok(load(f, "pg.uri=postgresql://u@h:5432/d\nkafka.sasl.username=u\n"), &f->err);
    assert_true(sb_config_is_secret("kafka.ssl.key.password"));
    assert_true(sb_config_is_secret("pg.uri"));
    assert_false(sb_config_is_secret("http.listen"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_default_is_valid),
        CASE(the_stronger_source_wins_in_any_order),
        CASE(aliases_are_known),
        CASE(a_typing_error_is_answered_with_the_near_name),
        CASE(participants_have_settings_of_their_own),
        CASE(free_names_are_visited),
        CASE(numbers_have_units_and_bounds),
        CASE(a_file_with_secrets_must_be_private),
    };
    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
