/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/dead_letter_headers.h"

#include <stdio.h>
#include <string.h>

static void put(sb_dead_letter_headers_t *out, const char *name, sb_slice_t value)
{
    if (value.ptr && out->count < SB_DEAD_LETTER_HEADERS_MAX)
        out->header[out->count++] = (sb_header_t){name, value};
}

static bool is_ours(const char *name, sb_dead_letter_style_t style)
{
    return ((style & SB_DEAD_LETTER_OWN) && strncmp(name, "dlq-", 4) == 0) ||
           ((style & SB_DEAD_LETTER_SPRING) && strncmp(name, "kafka_dlt-", 10) == 0);
}

static sb_slice_t big_endian(uint64_t value, char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (char)(uint8_t)(value >> (8 * (bytes - 1 - i)));
    return (sb_slice_t){at, bytes};
}

static sb_slice_t number(long long value, char *text, size_t size)
{
    int n = snprintf(text, size, "%lld", value);
    return (sb_slice_t){text, n > 0 ? (size_t)n : 0};
}

/* At most SB_DEAD_LETTER_REASON_MAX bytes, never ending within a character of UTF-8. */
static sb_slice_t short_reason(sb_slice_t reason)
{
    if (reason.len <= SB_DEAD_LETTER_REASON_MAX)
        return reason;
    size_t n = SB_DEAD_LETTER_REASON_MAX;
    while (n > 0 && ((uint8_t)reason.ptr[n] & 0xC0) == 0x80)
        n--;
    return (sb_slice_t){reason.ptr, n};
}

static void put_own(const sb_message_t *message, const sb_dead_letter_t *letter,
                    sb_dead_letter_headers_t *out)
{
    put(out, SB_DLQ_TOPIC, sb_slice(message->topic));
    put(out, SB_DLQ_PARTITION, number(message->partition, out->partition, sizeof out->partition));
    put(out, SB_DLQ_OFFSET, number(message->offset, out->offset, sizeof out->offset));
    if (message->time_ms > 0)
        put(out, SB_DLQ_TIMESTAMP, sb_slice(sb_time_format(message->time_ms * 1000, out->time)));
    put(out, SB_DLQ_GROUP, letter->group);
    put(out, SB_DLQ_ATTEMPTS, number(letter->attempts, out->attempts, sizeof out->attempts));
    put(out, SB_DLQ_ERROR, letter->error);
    put(out, SB_DLQ_REASON, short_reason(letter->reason));
    if (letter->first_failed_us > 0)
        put(out, SB_DLQ_FIRST_FAILED_AT,
            sb_slice(sb_time_format(letter->first_failed_us, out->first_failed)));
}

static void put_spring(const sb_message_t *message, const sb_dead_letter_t *letter,
                       sb_dead_letter_headers_t *out)
{
    put(out, SB_SPRING_DLT_TOPIC, sb_slice(message->topic));
    put(out, SB_SPRING_DLT_PARTITION, big_endian((uint32_t)message->partition, out->partition_be, 4));
    put(out, SB_SPRING_DLT_OFFSET, big_endian((uint64_t)message->offset, out->offset_be, 8));
    put(out, SB_SPRING_DLT_TIMESTAMP, big_endian((uint64_t)message->time_ms, out->time_be, 8));
    put(out, SB_SPRING_DLT_TIMESTAMP_TYPE,
        message->time_ms > 0 ? SB_SLICE("CreateTime") : SB_SLICE("NoTimestampType"));
    put(out, SB_SPRING_DLT_GROUP, letter->group);
    put(out, SB_SPRING_DLT_ERROR, letter->error);
    put(out, SB_SPRING_DLT_REASON, short_reason(letter->reason));
}

void sb_dead_letter_headers(const sb_message_t *message, const sb_dead_letter_t *letter,
                            sb_dead_letter_style_t style, sb_dead_letter_headers_t *out)
{
    out->count = 0;
    for (size_t i = 0; i < message->header_count; i++)
        if (!is_ours(message->headers[i].name, style)) /* also one without a value */
            out->header[out->count++] = message->headers[i];
    if (style & SB_DEAD_LETTER_OWN)
        put_own(message, letter, out);
    if (style & SB_DEAD_LETTER_SPRING)
        put_spring(message, letter, out);
}

bool sb_dead_letter_style_parse(const char *text, sb_dead_letter_style_t *out)
{
    static const char *const names[] = {
        [SB_DEAD_LETTER_OWN] = "sagabus", [SB_DEAD_LETTER_SPRING] = "spring", [SB_DEAD_LETTER_BOTH] = "both"};
    for (int i = SB_DEAD_LETTER_OWN; i <= SB_DEAD_LETTER_BOTH; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (sb_dead_letter_style_t)i;
            return true;
        }
    }
    return false;
}
