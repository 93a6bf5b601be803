/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/participant/command.h"

#include "base/clock.h"
#include "saga/contract.h"

#include <stdio.h>

static bool parse_int(sb_slice_t text, int *out)
{
    if (text.len == 0 || text.len > 9)
        return false;
    int value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (text.ptr[i] - '0');
    }
    *out = value;
    return true;
}

static bool header_uuid(const sb_message_t *message, const char *name, sb_uuid_t *out)
{
    sb_slice_t text = sb_message_header(message, name);
    return sb_uuid_parse(text.ptr, text.len, out);
}

static sb_slice_t after_dot(sb_slice_t type)
{
    const char *dot = type.len ? memchr(type.ptr, '.', type.len) : NULL;
    if (!dot)
        return type;
    sb_slice_t action = {dot + 1, type.len - (size_t)(dot + 1 - type.ptr)};
    return action;
}

sb_code_t sb_command_read(const sb_message_t *message, sb_command_in_t *out, bool *answerable,
                          sb_error_t *err)
{
    *out = (sb_command_in_t){.reply_partition = -1};
    sb_command_t *command = &out->command;
    out->reply_topic = sb_message_header(message, SB_H_REPLY_TO);
    int partition = -1;
    bool has_partition = parse_int(sb_message_header(message, SB_H_REPLY_PART), &partition);
    out->reply_partition = partition;
    command->type = sb_message_header(message, SB_H_TYPE);
    *answerable = out->reply_topic.len > 0 && has_partition && command->type.len > 0;
    if (!*answerable)
        return sb_fail(err, SB_INVALID, "a record without %s, %s or %s is not a command", SB_H_REPLY_TO,
                       SB_H_REPLY_PART, SB_H_TYPE);
    if (!header_uuid(message, SB_H_ID, &command->id))
        return sb_fail(err, SB_INVALID, "command: header %s is not a UUID", SB_H_ID);
    if (!header_uuid(message, SB_H_SAGA_ID, &command->saga_id))
        return sb_fail(err, SB_INVALID, "command: header %s is not a UUID", SB_H_SAGA_ID);
    command->action = after_dot(command->type);
    command->step = sb_message_header(message, SB_H_SAGA_STEP);
    command->compensate = sb_slice_is(sb_message_header(message, SB_H_DIRECTION), "compensate");
    command->correlation_id = sb_message_header(message, SB_H_CORRELATION);
    command->traceparent = sb_message_header(message, SB_H_TRACEPARENT);
    command->input = message->value.ptr ? message->value : SB_SLICE("{}");
    (void)parse_int(sb_message_header(message, SB_H_ATTEMPT), &command->attempt);
    if (!sb_time_parse(sb_message_header(message, SB_H_EXPIRY), &out->expiry_us))
        out->expiry_us = 0;
    if (command->step.len == 0)
        return sb_fail(err, SB_INVALID, "command: header %s is missing", SB_H_SAGA_STEP);
    if (command->compensate && !header_uuid(message, SB_H_FORWARD_ID, &command->forward_id))
        return sb_fail(err, SB_INVALID, "command: an undo without a UUID in %s", SB_H_FORWARD_ID);
    out->forward_completed = sb_slice_is(sb_message_header(message, SB_H_FORWARD), "completed");
    return SB_OK;
}

void sb_reply_out_fini(sb_reply_out_t *reply)
{
    sb_buf_fini(&reply->bytes);
}

/* Copies text with a NUL behind it and returns where it lies. */
static size_t put(sb_reply_out_t *reply, sb_slice_t text)
{
    size_t at = reply->bytes.len;
    sb_buf_add_slice(&reply->bytes, text);
    sb_buf_add_char(&reply->bytes, '\0');
    return at;
}

static void put_header(sb_reply_out_t *reply, const char *name, sb_slice_t value)
{
    if (!value.ptr || reply->header_count == SB_HEADERS_MAX)
        return;
    size_t i = reply->header_count++;
    reply->header[i].name_at = put(reply, sb_slice(name));
    reply->header[i].value_at = put(reply, value);
    reply->header[i].value_len = value.len;
}

static bool is_ours(const char *name) /* what the reply says itself, so not an echo */
{
    return strcmp(name, SB_H_OUTCOME) == 0 || strcmp(name, SB_H_ERROR) == 0;
}

static const char *outcome_name(sb_reply_outcome_t outcome)
{
    switch (outcome) {
    case SB_REPLY_SUCCESS:
        return "success";
    case SB_REPLY_FAILURE:
        return "failure";
    case SB_REPLY_ERROR:
        break;
    }
    return "error";
}

sb_code_t sb_reply_make(sb_reply_out_t *reply, const sb_message_t *command, const sb_command_in_t *in,
                        const char *source, sb_reply_outcome_t outcome, sb_slice_t result, sb_slice_t error,
                        sb_error_t *err)
{
    sb_buf_reset(&reply->bytes);
    reply->header_count = 0;
    reply->partition = in->reply_partition;
    reply->topic_at = put(reply, in->reply_topic);
    reply->key_at = put(reply, command->key);
    reply->key_len = command->key.len;

    char id[SB_UUID_TEXT];
    char type[SB_TYPE_MAX + 16];
    sb_uuid_t own_id = sb_uuid_v7();
    (void)snprintf(type, sizeof type, "%.*s.reply", SB_SLICE_ARG(in->command.type));
    put_header(reply, SB_H_SPECVERSION, SB_SLICE("1.0"));
    put_header(reply, SB_H_ID, sb_slice(sb_uuid_format(&own_id, id)));
    put_header(reply, SB_H_TYPE, sb_slice(type));
    put_header(reply, SB_H_SOURCE, sb_slice(source));
    put_header(reply, SB_H_CAUSATION, sb_message_header(command, SB_H_ID));
    put_header(reply, SB_H_CORRELATION, sb_message_header(command, SB_H_CORRELATION));
    put_header(reply, SB_H_TRACEPARENT, sb_message_header(command, SB_H_TRACEPARENT));
    for (size_t i = 0; i < command->header_count; i++) {
        const sb_header_t *header = &command->headers[i];
        if (strncmp(header->name, SB_H_SAGA_PREFIX, strlen(SB_H_SAGA_PREFIX)) == 0 && !is_ours(header->name))
            put_header(reply, header->name, header->value);
    }
    put_header(reply, SB_H_OUTCOME, sb_slice(outcome_name(outcome)));
    if (error.len > 0)
        put_header(reply, SB_H_ERROR, error);
    reply->value_at = put(reply, result.len > 0 ? result : SB_SLICE("{}"));
    reply->value_len = result.len > 0 ? result.len : 2;
    if (sb_buf_failed(&reply->bytes))
        return sb_fail(err, SB_NO_MEMORY, "make a reply: out of memory");
    return SB_OK;
}

void sb_reply_record(const sb_reply_out_t *reply, sb_header_t *headers, sb_record_t *out)
{
    const char *base = reply->bytes.ptr;
    for (size_t i = 0; i < reply->header_count; i++) {
        headers[i].name = base + reply->header[i].name_at;
        headers[i].value = (sb_slice_t){base + reply->header[i].value_at, reply->header[i].value_len};
    }
    *out = (sb_record_t){
        .topic = base + reply->topic_at,
        .partition = reply->partition,
        .key = {base + reply->key_at, reply->key_len},
        .value = {base + reply->value_at, reply->value_len},
        .headers = headers,
        .header_count = reply->header_count,
    };
}
