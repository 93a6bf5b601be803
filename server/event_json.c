/* SPDX-License-Identifier: Apache-2.0 */
#include "server/event_json.h"

#include "base/clock.h"

static void attribute(sb_buf_t *out, const char *name, sb_slice_t value)
{
    if (!value.ptr)
        return;
    sb_buf_printf(out, ",\"%s\":", name);
    sb_buf_add_json(out, value);
}

void sb_event_json(const sb_event_t *event, sb_buf_t *out)
{
    char id[SB_UUID_TEXT], time_text[SB_TIME_TEXT];
    sb_buf_printf(out, "{\"specversion\":\"1.0\",\"id\":\"%s\"", sb_uuid_format(&event->id, id));
    attribute(out, "type", event->type);
    attribute(out, "source", event->source.ptr ? event->source : SB_SLICE("/sagabus"));
    attribute(out, "subject", event->subject);
    sb_buf_printf(out, ",\"time\":\"%s\",\"dataschema\":\"%.*s.v%d\"",
                  sb_time_format(event->time_us, time_text), SB_SLICE_ARG(event->type),
                  event->schema_version);
    if (event->written_version && event->written_version != event->schema_version)
        sb_buf_printf(out, ",\"writtenschema\":\"%.*s.v%d\"", SB_SLICE_ARG(event->type),
                      event->written_version);
    attribute(out, "correlationid", event->correlation_id);
    attribute(out, "causationid", event->causation_id);
    attribute(out, "traceparent", event->traceparent);
    attribute(out, "partitionkey", event->partition_key);
    sb_buf_printf(out, ",\"seq\":%lld,\"version\":%d,\"data\":", (long long)event->seq,
                  event->stream_version);
    sb_buf_add_slice(out, event->data.ptr ? event->data : SB_SLICE("null"));
    sb_buf_add_char(out, '}');
}
