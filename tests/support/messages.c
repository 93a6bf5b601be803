/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/messages.h"

#include "bus/position.h"
#include "tests/support/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void copy(char *to, size_t size, sb_slice_t from)
{
    (void)snprintf(to, size, "%.*s", SB_SLICE_ARG(from));
}

sb_code_t sb_test_collect(void *context, const sb_message_t *message, sb_error_t *err)
{
    sb_test_messages_t *messages = context;
    if (messages->refuse_at > 0 && messages->refuse_at == messages->count) {
        messages->refuse_at = 0;
        return sb_fail(err, SB_UNAVAILABLE, "refused by the test");
    }
    if (messages->count == messages->cap) {
        messages->cap = messages->cap ? messages->cap * 2 : 64;
        messages->item = realloc(messages->item, messages->cap * sizeof *messages->item);
        assert_non_null(messages->item);
    }
    sb_test_message_t *to = &messages->item[messages->count++];
    (void)snprintf(to->topic, sizeof to->topic, "%s", message->topic);
    to->partition = message->partition;
    to->offset = message->offset;
    to->tombstone = !message->value.ptr;
    copy(to->key, sizeof to->key, message->key);
    copy(to->value, sizeof to->value, message->value);
    copy(to->position, sizeof to->position, sb_message_header(message, "sb-pos"));
    copy(to->type, sizeof to->type, sb_message_header(message, "ce_type"));
    copy(to->schema, sizeof to->schema, sb_message_header(message, "ce_dataschema"));
    return SB_OK;
}

void sb_test_messages_clear(sb_test_messages_t *messages)
{
    messages->count = 0;
    messages->reset = false;
}

void sb_test_messages_free(sb_test_messages_t *messages)
{
    free(messages->item);
    *messages = (sb_test_messages_t){.item = NULL};
}

void sb_test_read(sb_reader_t *reader, sb_test_messages_t *messages, size_t count, int expected_ms)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (messages->count < count && sb_test_mono_ms() < until) {
        int n = 0;
        bool reset = false;
        assert_ok(sb_reader_poll(reader, 100, 100, sb_test_collect, messages, &n, &reset, &err), &err);
        messages->reset = messages->reset || reset;
    }
    if (messages->count < count)
        fail_msg("%zu of %zu messages within %d ms", messages->count, count,
                 (int)sb_test_patience(expected_ms));
}

void sb_test_consume(sb_consumer_t *consumer, sb_test_messages_t *messages, size_t count, int expected_ms)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (messages->count < count && sb_test_mono_ms() < until) {
        int n = 0;
        assert_ok(sb_consumer_poll(consumer, 100, 100, sb_test_collect, messages, &n, &err), &err);
    }
    if (messages->count < count)
        fail_msg("%zu of %zu messages within %d ms", messages->count, count,
                 (int)sb_test_patience(expected_ms));
}

void sb_test_produce(const sb_config_t *config, const char *topic, int32_t partition, int from, int count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_producer_t *producer = NULL;
    assert_ok(sb_producer_open(&producer, config, "test", NULL, NULL, &err), &err);
    for (int i = from; i < from + count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        sb_record_t record = {
            .topic = topic, .partition = partition, .key = sb_slice(text), .value = sb_slice(text)};
        assert_ok(sb_producer_send(producer, &record, &err), &err);
    }
    assert_ok(sb_producer_flush(producer, 60000, &err), &err);
    sb_producer_close(&producer);
}

void sb_test_check_chain(const sb_test_messages_t *got, int partition)
{
    int64_t at = 0, before = -1; /* the offset before */
    for (size_t i = 0; i < got->count; i++) {
        const sb_test_message_t *m = &got->item[i];
        sb_position_t p;
        if (m->partition != partition)
            continue;
        if (!sb_position_parse(sb_slice(m->position), &p))
            fail_msg("offset %" PRId64 " has position \"%s\"", m->offset, m->position);
        sb_position_order_t order = sb_position_compare(&p, p.incarnation, at);
        if (order == SB_POSITION_GAP || (order == SB_POSITION_NEXT && p.prev != at))
            fail_msg("partition %d offset %" PRId64 ": position %s comes after %" PRId64
                     ", behind offset %" PRId64,
                     partition, m->offset, m->position, at, before);
        if (order == SB_POSITION_NEXT)
            at = p.seq;
        before = m->offset;
    }
}
