/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/dead_letter_headers.h"
#include "tests/support/assert.h"

#include <string.h>

static sb_message_t sample(void)
{
    return (sb_message_t){.topic = "order.events",
                          .partition = 258,
                          .offset = 0x0102030405,
                          .time_ms = 1700000000123,
                          .key = SB_SLICE("o-1"),
                          .value = SB_SLICE("{}"),
                          .headers = {{"ce_id", SB_SLICE("1")}, {"empty", {NULL, 0}}},
                          .header_count = 2};
}

static const sb_dead_letter_t letter = {.group = {"audit", 5},
                                        .attempts = 7,
                                        .error = {"invalid", 7},
                                        .reason = {"no such customer", 16},
                                        .first_failed_us = 1700000001000000};

static sb_slice_t value_of(const sb_dead_letter_headers_t *headers, const char *name)
{
    sb_slice_t value = SB_SLICE_NONE;
    int found = 0;
    for (size_t i = 0; i < headers->count; i++) {
        if (strcmp(headers->header[i].name, name) != 0)
            continue;
        value = headers->header[i].value;
        found++;
    }
    assert_true(found <= 1);
    return value;
}

static void ours_are_text_beside_the_records_own(void **state)
{
    (void)state;
    sb_message_t message = sample();
    sb_dead_letter_headers_t headers;
    sb_dead_letter_headers(&message, &letter, SB_DEAD_LETTER_OWN, &headers);
    assert_int_equal(headers.count, 2 + 9);
    assert_slice(value_of(&headers, "ce_id"), "1");
    assert_string_equal(headers.header[1].name, "empty");
    assert_slice(value_of(&headers, "dlq-topic"), "order.events");
    assert_slice(value_of(&headers, "dlq-partition"), "258");
    assert_slice(value_of(&headers, "dlq-offset"), "4328719365");
    assert_slice(value_of(&headers, "dlq-timestamp"), "2023-11-14T22:13:20.123000Z");
    assert_slice(value_of(&headers, "dlq-group"), "audit");
    assert_slice(value_of(&headers, "dlq-attempts"), "7");
    assert_slice(value_of(&headers, "dlq-error"), "invalid");
    assert_slice(value_of(&headers, "dlq-reason"), "no such customer");
    assert_slice(value_of(&headers, "dlq-first-failed-at"), "2023-11-14T22:13:21.000000Z");
}

/* Spring reads partition, offset and timestamp with ByteBuffer.getInt and getLong. */
static void springs_numbers_are_big_endian(void **state)
{
    (void)state;
    sb_message_t message = sample();
    sb_dead_letter_headers_t headers;
    sb_dead_letter_headers(&message, &letter, SB_DEAD_LETTER_SPRING, &headers);
    assert_int_equal(headers.count, 2 + 8);
    sb_slice_t partition = value_of(&headers, "kafka_dlt-original-partition");
    sb_slice_t offset = value_of(&headers, "kafka_dlt-original-offset");
    sb_slice_t time = value_of(&headers, "kafka_dlt-original-timestamp");
    assert_int_equal(partition.len, 4);
    assert_memory_equal(partition.ptr, "\0\0\1\2", 4);
    assert_int_equal(offset.len, 8);
    assert_memory_equal(offset.ptr, "\0\0\0\1\2\3\4\5", 8);
    assert_int_equal(time.len, 8);
    assert_memory_equal(time.ptr, "\0\0\x01\x8b\xcf\xe5\x68\x7b", 8);
    assert_slice(value_of(&headers, "kafka_dlt-original-topic"), "order.events");
    assert_slice(value_of(&headers, "kafka_dlt-original-timestamp-type"), "CreateTime");
    assert_slice(value_of(&headers, "kafka_dlt-original-consumer-group"), "audit");
    assert_slice(value_of(&headers, "kafka_dlt-exception-fqcn"), "invalid");
    assert_slice(value_of(&headers, "kafka_dlt-exception-message"), "no such customer");
}

static void a_second_failure_replaces_the_first(void **state)
{
    (void)state;
    sb_message_t message = sample();
    sb_dead_letter_headers_t headers;
    message.headers[message.header_count++] = (sb_header_t){"dlq-topic", SB_SLICE("older")};
    message.headers[message.header_count++] = (sb_header_t){"kafka_dlt-original-topic", SB_SLICE("older")};
    sb_dead_letter_headers(&message, &letter, SB_DEAD_LETTER_BOTH, &headers);
    assert_int_equal(headers.count, 2 + 9 + 8);
    assert_slice(value_of(&headers, "dlq-topic"), "order.events");
    assert_slice(value_of(&headers, "kafka_dlt-original-topic"), "order.events");
}

static void a_full_record_and_a_long_reason_fit(void **state)
{
    (void)state;
    static char reason[4000];
    sb_message_t message = sample();
    sb_dead_letter_t long_letter = letter;
    sb_dead_letter_headers_t headers;
    memset(reason, 'x', sizeof reason);
    memcpy(reason + SB_DEAD_LETTER_REASON_MAX - 1, "\xe2\x82\xac", 3); /* would be cut in two */
    long_letter.reason = (sb_slice_t){reason, sizeof reason};
    while (message.header_count < SB_HEADERS_MAX)
        message.headers[message.header_count++] = (sb_header_t){"h", SB_SLICE("v")};
    sb_dead_letter_headers(&message, &long_letter, SB_DEAD_LETTER_BOTH, &headers);
    assert_int_equal(headers.count, SB_DEAD_LETTER_HEADERS_MAX);
    assert_true(SB_DEAD_LETTER_HEADERS_MAX <= SB_HEADERS_OUT_MAX);
    assert_int_equal(value_of(&headers, "dlq-reason").len, SB_DEAD_LETTER_REASON_MAX - 1);
}

static void styles_have_names(void **state)
{
    (void)state;
    sb_dead_letter_style_t style = SB_DEAD_LETTER_OWN;
    assert_true(sb_dead_letter_style_parse("spring", &style));
    assert_int_equal(style, SB_DEAD_LETTER_SPRING);
    assert_true(sb_dead_letter_style_parse("both", &style));
    assert_false(sb_dead_letter_style_parse("connect", &style));
    assert_int_equal(style, SB_DEAD_LETTER_BOTH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ours_are_text_beside_the_records_own),
        cmocka_unit_test(springs_numbers_are_big_endian),
        cmocka_unit_test(a_second_failure_replaces_the_first),
        cmocka_unit_test(a_full_record_and_a_long_reason_fit),
        cmocka_unit_test(styles_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
