/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/message.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char id_text[] = "01890a5d-ac96-774b-bcce-b302099a8057";

static sb_event_t sample(void)
{
    sb_event_t event = {.type = SB_SLICE("order.created"),
                        .schema_version = 2,
                        .source = SB_SLICE("/shop"),
                        .subject = SB_SLICE("o-1"),
                        .time_us = 1700000000123456,
                        .correlation_id = SB_SLICE("c-1"),
                        .causation_id = SB_SLICE("k-1"),
                        .traceparent = SB_SLICE("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                        .partition_key = SB_SLICE("customer-7"),
                        .data = SB_SLICE("{\"total\":1}")};
    assert_true(sb_uuid_parse(id_text, 36, &event.id));
    return event;
}

/* A message whose content ends at the last byte of its memory, so that reading past it is seen. */
static sb_message_t message_of(const sb_message_headers_t *headers, sb_slice_t key, sb_slice_t value)
{
    sb_message_t message = {
        .topic = "order.events", .partition = 1, .offset = 9, .time_ms = 1500, .key = key, .value = value};
    for (size_t i = 0; headers && i < headers->count; i++)
        message.headers[message.header_count++] = headers->header[i];
    return message;
}

static void comes_back_as_it_went(void **state)
{
    (void)state;
    sb_event_t event = sample();
    sb_event_t back;
    sb_position_t position = {3, 7, 1000, 990};
    sb_message_headers_t headers;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_encode(&event, &position, &headers);
    sb_message_t message = message_of(&headers, sb_message_key(&event), event.data);
    assert_slice(message.key, "customer-7");
    assert_slice(sb_message_header(&message, "ce_id"), id_text);
    assert_slice(sb_message_header(&message, "ce_dataschema"), "order.created.v2");
    assert_slice(sb_message_header(&message, "ce_time"), "2023-11-14T22:13:20.123456Z");
    assert_slice(sb_message_header(&message, "sb-pos"), "3.7.1000.990");
    assert_slice(sb_message_header(&message, "content-type"), "application/json");

    assert_ok(sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_true(sb_uuid_equal(&event.id, &back.id));
    assert_true(sb_slice_equal(event.type, back.type));
    assert_int_equal(back.schema_version, 2);
    assert_true(sb_slice_equal(event.source, back.source));
    assert_true(sb_slice_equal(event.subject, back.subject));
    assert_true(event.time_us == back.time_us);
    assert_true(sb_slice_equal(event.correlation_id, back.correlation_id));
    assert_true(sb_slice_equal(event.causation_id, back.causation_id));
    assert_true(sb_slice_equal(event.traceparent, back.traceparent));
    assert_true(sb_slice_equal(event.partition_key, back.partition_key));
    assert_true(sb_slice_equal(event.data, back.data));
    assert_true(info.has_position && info.position.prev == 990);
    assert_false(info.structured);
    sb_buf_fini(&scratch);
}

static void writes_only_what_is_there(void **state)
{
    (void)state;
    sb_event_t event = {.type = SB_SLICE("order.created"), .subject = SB_SLICE("o-1")};
    event.partition_key = SB_SLICE("o-1");
    sb_message_headers_t headers;
    sb_message_encode(&event, NULL, &headers);
    assert_int_equal(headers.count, 7);
    sb_message_t message = message_of(&headers, SB_SLICE_NONE, SB_SLICE_NONE);
    assert_null(sb_message_header(&message, "ce_partitionkey").ptr);
    assert_null(sb_message_header(&message, "sb-pos").ptr);
    assert_slice(sb_message_header(&message, "ce_source"), "/sagabus");
}

static void names_the_schema_by_type_and_version(void **state)
{
    (void)state;
    static char type[SB_TYPE_MAX];
    memset(type, 'a', sizeof type);
    type[1] = '.';
    sb_event_t event = {.type = {type, sizeof type}, .schema_version = INT32_MAX};
    sb_message_headers_t headers;
    sb_message_encode(&event, NULL, &headers);
    sb_message_t message = message_of(&headers, SB_SLICE_NONE, SB_SLICE_NONE);
    sb_slice_t schema = sb_message_header(&message, "ce_dataschema");
    assert_int_equal(schema.len, SB_TYPE_MAX + strlen(".v2147483647"));
    assert_memory_equal(schema.ptr + SB_TYPE_MAX, ".v2147483647", 12);
    event = (sb_event_t){.type = SB_SLICE("a.b"), .schema_version = 10};
    sb_message_encode(&event, NULL, &headers);
    message = message_of(&headers, SB_SLICE_NONE, SB_SLICE_NONE);
    assert_slice(sb_message_header(&message, "ce_dataschema"), "a.b.v10");
}

static void reads_structured_mode(void **state)
{
    (void)state;
    sb_message_headers_t headers = {
        .header = {{"content-type", SB_SLICE("Application/CloudEvents+json; charset=UTF-8")}}, .count = 1};
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_t message = message_of(
        &headers, SB_SLICE("k"),
        SB_SLICE(
            "{\"specversion\":\"1.0\",\"id\":\"a\\u0031\",\"source\":\"/\\u00e4\",\"type\":\"order.paid\","
            "\"subject\":\"o\\n1\",\"time\":\"2023-11-14T22:13:20Z\",\"dataschema\":\"https://x/"
            "order.paid.v12\","
            "\"data\": {\"a\": [1, 2]} }"));
    assert_ok(sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    assert_true(info.structured);
    assert_slice(info.id, "a1");
    assert_slice(event.source, "/\xc3\xa4");
    assert_slice(event.subject, "o\n1");
    assert_slice(event.data, "{\"a\": [1, 2]}");
    assert_int_equal(event.schema_version, 12);
    assert_true(event.time_us == 1700000000000000);
    assert_false(sb_uuid_is_nil(&event.id));

    message.value = SB_SLICE("{\"id\":");
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    message.value = SB_SLICE_NONE;
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    message.value = SB_SLICE("[{\"id\":\"1\",\"type\":\"a.b\"}]");
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    sb_buf_fini(&scratch);
}

static void reads_data_in_base64(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *data; /* NULL: refused */
    } cases[] = {{"", ""},        {"Zg==", "f"},        {"Zm8=", "fo"},
                 {"Zm9v", "foo"}, {"Zm9vYg==", "foob"}, {"eyJhIjoxfQ==", "{\"a\":1}"},
                 {"Zg=", NULL},   {"Z", NULL},          {"Zm9*", NULL},
                 {"====", NULL}};
    sb_message_headers_t headers = {.header = {{"content-type", SB_SLICE("application/cloudevents+json")}},
                                    .count = 1};
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128];
        int n = snprintf(text, sizeof text, "{\"id\":\"1\",\"type\":\"a.b\",\"data_base64\":\"%s\"}",
                         cases[i].text);
        sb_message_t message = message_of(&headers, SB_SLICE("k"), (sb_slice_t){text, (size_t)n});
        sb_code_t code = sb_message_decode(&message, &scratch, &event, &info, &err);
        if (cases[i].data)
            assert_ok(code, &err);
        else
            assert_code(SB_INVALID, code, &err);
        if (cases[i].data)
            assert_slice(event.data, cases[i].data);
    }
    sb_buf_fini(&scratch);
}

static void writes_structured_mode_and_reads_it_back(void **state)
{
    (void)state;
    sb_event_t event = sample();
    event.subject = SB_SLICE("o \"1\"");
    sb_event_t back;
    sb_position_t position = {3, 7, 1000, 990};
    sb_message_headers_t headers;
    sb_message_info_t info;
    sb_buf_t value = SB_BUF_INIT;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_message_encode_structured(&event, &position, &value, &headers, &err), &err);
    sb_message_t message = message_of(&headers, sb_message_key(&event), sb_buf_slice(&value));
    assert_slice(sb_message_header(&message, "content-type"), "application/cloudevents+json; charset=UTF-8");
    assert_slice(sb_message_header(&message, "sb-pos"), "3.7.1000.990");
    assert_null(sb_message_header(&message, "ce_id").ptr);
    assert_slice(
        sb_buf_slice(&value),
        "{\"specversion\":\"1.0\",\"id\":\"01890a5d-ac96-774b-bcce-b302099a8057\",\"type\":\"order."
        "created\",\"source\":\"/shop\",\"subject\":\"o \\\"1\\\"\",\"time\":\"2023-11-14T22:13:"
        "20.123456Z\",\"dataschema\":\"order.created.v2\",\"correlationid\":\"c-1\",\"causationid\":"
        "\"k-1\",\"partitionkey\":\"customer-7\",\"traceparent\":\"00-0af7651916cd43dd8448eb211c80319c-"
        "b7ad6b7169203331-01\",\"datacontenttype\":\"application/json\",\"data\":{\"total\":1}}");

    assert_ok(sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_true(info.structured && info.has_position);
    assert_true(sb_uuid_equal(&event.id, &back.id));
    assert_true(sb_slice_equal(event.type, back.type) && sb_slice_equal(event.subject, back.subject));
    assert_true(sb_slice_equal(event.source, back.source) && sb_slice_equal(event.data, back.data));
    assert_true(sb_slice_equal(event.correlation_id, back.correlation_id));
    assert_true(sb_slice_equal(event.causation_id, back.causation_id));
    assert_true(sb_slice_equal(event.partition_key, back.partition_key));
    assert_true(sb_slice_equal(event.traceparent, back.traceparent));
    assert_true(event.time_us == back.time_us && back.schema_version == 2);

    /* A tombstone's event says so by having no data. */
    event.data = SB_SLICE_NONE;
    assert_ok(sb_message_encode_structured(&event, NULL, &value, &headers, &err), &err);
    message = message_of(&headers, sb_message_key(&event), sb_buf_slice(&value));
    assert_ok(sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_null(back.data.ptr);
    assert_false(info.has_position);
    sb_buf_fini(&value);
    sb_buf_fini(&scratch);
}

/* The Kafka binding: what makes a record structured, and what may come in the headers. */
static void tells_the_modes_apart_as_the_binding_says(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        sb_code_t code;
        bool structured;
    } cases[] = {{"application/json", SB_OK, false},
                 {"application/json; charset=utf-8", SB_OK, false},
                 {"text/plain", SB_OK, false},
                 {"application/vnd.cloudevents+json", SB_OK, false},
                 {"application/cloudevents+json", SB_OK, true},
                 {"APPLICATION/CLOUDEVENTS+JSON; charset=UTF-8", SB_OK, true},
                 {"application/cloudevents", SB_OK, true},
                 {"application/cloudevents+avro", SB_UNSUPPORTED, false},
                 {"application/cloudevents+jsonx", SB_UNSUPPORTED, false},
                 {"application/cloudevents-batch+json", SB_UNSUPPORTED, false}};
    static const char value[] =
        "{\"specversion\":\"1.0\",\"id\":\"2\",\"source\":\"/s\",\"type\":\"a.inner\"}";
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sb_message_headers_t headers = {.header = {{"ce_specversion", SB_SLICE("1.0")},
                                                   {"ce_id", SB_SLICE("1")},
                                                   {"ce_source", SB_SLICE("/\xe2\x82\xac%20")},
                                                   {"ce_type", SB_SLICE("a.outer")},
                                                   {"content-type", sb_slice(cases[i].content)}},
                                        .count = 5};
        sb_message_t message = message_of(&headers, SB_SLICE("k"), SB_SLICE(value));
        assert_code(cases[i].code, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
        if (cases[i].code != SB_OK) {
            assert_contains(err.message, cases[i].content);
            continue;
        }
        assert_int_equal(info.structured, cases[i].structured);
        assert_slice(event.type, cases[i].structured ? "a.inner" : "a.outer");
        if (!cases[i].structured) { /* header values are UTF-8 as it is: nothing is percent-decoded */
            assert_slice(event.source, "/\xe2\x82\xac%20");
            assert_slice(info.content_type, cases[i].content);
            assert_slice(event.data, value);
        }
    }
    sb_buf_fini(&scratch);
}

static void refuses_another_version_of_cloudevents_by_name(void **state)
{
    (void)state;
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_headers_t headers = {.header = {{"ce_specversion", SB_SLICE("0.3")},
                                               {"ce_id", SB_SLICE("1")},
                                               {"ce_type", SB_SLICE("a.b")}},
                                    .count = 3};
    sb_message_t message = message_of(&headers, SB_SLICE("k"), SB_SLICE("{}"));
    assert_code(SB_UNSUPPORTED, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    assert_contains(err.message, "specversion 0.3");
    message.headers[0].value = SB_SLICE("1.0.2");
    assert_ok(sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    headers = (sb_message_headers_t){.header = {{"content-type", SB_SLICE("application/cloudevents+json")}},
                                     .count = 1};
    message = message_of(&headers, SB_SLICE("k"),
                         SB_SLICE("{\"specversion\":\"2.0\",\"id\":\"1\",\"type\":\"a.b\"}"));
    assert_code(SB_UNSUPPORTED, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    sb_buf_fini(&scratch);
}

static void reads_what_debezium_writes(void **state)
{
    (void)state;
    sb_message_headers_t headers = {
        .header = {{"id", SB_SLICE("77")}, {"eventType", SB_SLICE("OrderCreated")}}, .count = 2};
    sb_event_t event;
    sb_event_t again;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_t message = message_of(&headers, SB_SLICE("o-9"), SB_SLICE("{}"));
    assert_ok(sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    assert_slice(event.type, "OrderCreated");
    assert_slice(event.subject, "o-9");
    assert_slice(event.source, "order.events");
    assert_int_equal(event.schema_version, 0);
    assert_true(event.time_us == 1500000);
    /* An id that is no UUID gives the same UUID each time, and another one for another source. */
    assert_ok(sb_message_decode(&message, &scratch, &again, &info, &err), &err);
    assert_true(sb_uuid_equal(&event.id, &again.id));
    message.topic = "other.events";
    assert_ok(sb_message_decode(&message, &scratch, &again, &info, &err), &err);
    assert_false(sb_uuid_equal(&event.id, &again.id));
    sb_buf_fini(&scratch);
}

static void leaves_out_confluents_frame_and_keeps_a_tombstone(void **state)
{
    (void)state;
    sb_event_t event = sample();
    sb_event_t back;
    sb_message_headers_t headers;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_encode(&event, NULL, &headers);
    sb_message_t message = message_of(&headers, SB_SLICE("k"), SB_SLICE("\0\0\0\1\2{}"));
    assert_ok(sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_true(info.framed);
    assert_int_equal(info.frame_schema, 258);
    assert_slice(back.data, "{}");
    /* Avro behind the frame: no handler could make anything of it. */
    message.value = SB_SLICE("\0\0\0\1\2\x06"
                             "foo");
    assert_code(SB_UNSUPPORTED, sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_contains(err.message, "schema id 258");
    message.value = SB_SLICE("\0\0\0\1\2");
    assert_code(SB_UNSUPPORTED, sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    message.value = SB_SLICE_NONE;
    assert_ok(sb_message_decode(&message, &scratch, &back, &info, &err), &err);
    assert_null(back.data.ptr);
    assert_false(info.framed);
    sb_buf_fini(&scratch);
}

static void says_what_is_missing(void **state)
{
    (void)state;
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_error_t err = SB_ERROR_INIT;
    sb_message_headers_t headers = {.header = {{"ce_type", SB_SLICE("a.b")}}, .count = 1};
    sb_message_t message = message_of(&headers, SB_SLICE("k"), SB_SLICE("{}"));
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    assert_contains(err.message, "order.events 1@9");
    assert_contains(err.message, "no id");
    message.headers[0] = (sb_header_t){"ce_id", SB_SLICE("1")};
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    assert_contains(err.message, "no type");
    message.headers[0] = (sb_header_t){"ce_id", SB_SLICE_NONE};
    assert_code(SB_INVALID, sb_message_decode(&message, &scratch, &event, &info, &err), &err);
    sb_buf_fini(&scratch);
}

static void a_glance_tells_type_and_position(void **state)
{
    (void)state;
    sb_slice_t type;
    sb_message_info_t info;
    sb_message_headers_t headers = {.header = {{"other", SB_SLICE("x")},
                                               {"eventType", SB_SLICE("c.d")},
                                               {"ce_type", SB_SLICE("e.f")},
                                               {"sb-pos", SB_SLICE("1.2.3.4")},
                                               {"ce_type", SB_SLICE("a.b")}},
                                    .count = 5};
    sb_message_t message = message_of(&headers, SB_SLICE_NONE, SB_SLICE_NONE);
    for (int round = 0; round < 2; round++) {
        assert_true(sb_message_glance(&message, &type, &info));
        assert_slice(type, "a.b"); /* the last one counts, and an outbox's is the second choice */
        assert_true(info.has_position && info.position.seq == 3 && info.position.prev == 4);
        assert_int_equal(sb_message_is_known_name(message.headers[3].name), round);
        sb_message_know_names(message.headers, message.header_count);
        assert_string_equal(message.headers[0].name, "other");
        assert_string_equal(message.headers[1].name, "eventType");
    }
    message.header_count = 2;
    assert_true(sb_message_glance(&message, &type, &info));
    assert_slice(type, "c.d");
    assert_false(info.has_position);
    message.headers[1] = (sb_header_t){"content-type", SB_SLICE("application/cloudevents+json")};
    assert_false(sb_message_glance(&message, &type, &info));
}

static void positions_are_parsed_strictly(void **state)
{
    (void)state;
    char text[SB_POSITION_TEXT];
    sb_position_t p = {INT64_MAX, INT64_MAX, INT64_MAX, INT64_MAX};
    sb_position_t back = {0, 0, 0, 0};
    size_t n = sb_position_format(&p, text);
    assert_true(n < sizeof text && text[n] == '\0');
    assert_true(sb_position_parse((sb_slice_t){text, n}, &back));
    assert_memory_equal(&p, &back, sizeof p);
    const char *const bad[] = {"",         "1.2.3",    "1.2.3.4.5", "1.2.3.",  ".2.3.4",
                               "1.2.3.4 ", "1.2.-3.4", "1..3.4",    "a.2.3.4", "1.2.3.9223372036854775808"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sb_position_parse(sb_slice(bad[i]), &back));
    assert_false(sb_position_parse(SB_SLICE_NONE, &back));
}

static void positions_tell_repeats_and_gaps(void **state)
{
    (void)state;
    sb_position_t record = {2, 5, 100, 90};
    assert_int_equal(sb_position_compare(&record, 2, 90), SB_POSITION_NEXT);
    assert_int_equal(sb_position_compare(&record, 2, 95), SB_POSITION_NEXT);
    assert_int_equal(sb_position_compare(&record, 2, 89), SB_POSITION_GAP);
    assert_int_equal(sb_position_compare(&record, 2, 100), SB_POSITION_REPEAT);
    assert_int_equal(sb_position_compare(&record, 2, 200), SB_POSITION_REPEAT);
    assert_int_equal(sb_position_compare(&record, 1, 200), SB_POSITION_NEXT);
    assert_int_equal(sb_position_compare(&record, 3, 0), SB_POSITION_REPEAT);
}

static void a_trace_context_is_checked_as_the_standard_has_it(void **state)
{
    (void)state;
    static const char *const good[] = {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                       "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-ff",
                                       "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                                       "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes"};
    static const char *const bad[] = {"",
                                      "00",
                                      "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                                      "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
                                      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ",
                                      "00-0af7651916cd43dd8448eb211c80319c.b7ad6b7169203331-01",
                                      "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                      "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00.x"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(sb_traceparent_ok(sb_slice(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(sb_traceparent_ok(sb_slice(bad[i])));
    assert_false(sb_traceparent_ok(SB_SLICE_NONE));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_back_as_it_went),
        cmocka_unit_test(writes_only_what_is_there),
        cmocka_unit_test(names_the_schema_by_type_and_version),
        cmocka_unit_test(reads_structured_mode),
        cmocka_unit_test(reads_data_in_base64),
        cmocka_unit_test(writes_structured_mode_and_reads_it_back),
        cmocka_unit_test(tells_the_modes_apart_as_the_binding_says),
        cmocka_unit_test(refuses_another_version_of_cloudevents_by_name),
        cmocka_unit_test(reads_what_debezium_writes),
        cmocka_unit_test(leaves_out_confluents_frame_and_keeps_a_tombstone),
        cmocka_unit_test(says_what_is_missing),
        cmocka_unit_test(a_glance_tells_type_and_position),
        cmocka_unit_test(positions_are_parsed_strictly),
        cmocka_unit_test(a_trace_context_is_checked_as_the_standard_has_it),
        cmocka_unit_test(positions_tell_repeats_and_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
