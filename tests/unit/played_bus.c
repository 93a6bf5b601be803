/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/played_bus.h"

#include "saga/contract.h"
#include "tests/support/assert.h"

#include <stdio.h>
#include <string.h>

sb_slice_t header_of(const sb_header_t *headers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(headers[i].name, name) == 0)
            return headers[i].value;
    return SB_SLICE_NONE;
}

void keep_text(char *out, size_t cap, sb_slice_t text)
{
    (void)snprintf(out, cap, "%.*s", SB_SLICE_ARG(text));
}

static sb_code_t below_send(void *context, const sb_record_t *record, sb_error_t *err)
{
    below_t *below = context;
    if (below->full)
        return sb_fail(err, SB_BUSY, "full");
    if (below->too_large && record->tag == (uint64_t)below->too_large)
        return sb_fail(err, SB_TOO_LARGE, "too large");
    assert_true(below->sent < SEEN_MAX);
    int i = below->sent++;
    (void)snprintf(below->record[i].topic, 64, "%s", record->topic);
    below->record[i].partition = record->partition;
    const sb_header_t *h = record->headers;
    size_t n = record->header_count;
    keep_text(below->record[i].id, SB_UUID_TEXT, header_of(h, n, SB_H_ID));
    keep_text(below->record[i].outcome, 16, header_of(h, n, SB_H_OUTCOME));
    keep_text(below->record[i].expiry, SB_TIME_TEXT, header_of(h, n, SB_H_EXPIRY));
    return SB_OK;
}

static sb_code_t below_start(void *bus, sb_producer_failed_fn on_failed, void *context, sb_error_t *err)
{
    (void)bus;
    (void)on_failed;
    (void)context;
    (void)err;
    return SB_OK;
}

static void below_nothing(void *bus)
{
    (void)bus;
}

static sb_code_t below_assign(void *bus, int shard, int64_t offset, const char *cluster, sb_error_t *err)
{
    (void)bus;
    (void)shard;
    (void)offset;
    (void)cluster;
    (void)err;
    return SB_OK;
}

static void below_unassign(void *bus, int shard)
{
    (void)bus;
    (void)shard;
}

static sb_code_t below_poll(void *context, int max, sb_message_fn on_message, void *argument, int *count,
                            bool *reset, sb_error_t *err)
{
    below_t *below = context;
    (void)max;
    (void)reset;
    if (below->reply.header_count == 0)
        return SB_OK;
    sb_code_t code = on_message(argument, &below->reply, err);
    below->reply.header_count = 0;
    *count = 1;
    return code;
}

static int below_fd(void *bus)
{
    (void)bus;
    return -1;
}

static const char *below_cluster(void *bus)
{
    (void)bus;
    return "c";
}

static bool below_connected(void *bus)
{
    (void)bus;
    return true;
}

static sb_code_t below_flush(void *bus, int timeout_ms, sb_error_t *err)
{
    (void)bus;
    (void)timeout_ms;
    (void)err;
    return SB_OK;
}

const sb_command_bus_t below_operations = {.start = below_start,
                                           .stop = below_nothing,
                                           .assign = below_assign,
                                           .unassign = below_unassign,
                                           .poll = below_poll,
                                           .wake_fd = below_fd,
                                           .cluster = below_cluster,
                                           .connected = below_connected,
                                           .send = below_send,
                                           .serve = below_nothing,
                                           .flush = below_flush};
