/* Direct publishing: librdkafka's queue is the only one, its reports are handed on by poll. What is added to
 * a raw producer is the envelope, the checks, and words for what goes wrong: librdkafka tries for ever to get
 * in where it is not let in, so what the brokers said is kept and told by flush at once.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/publisher.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "bus/kafka.h"
#include "bus/message.h"
#include "bus/topic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOPICS_MAX      64 /* handles kept; past it the newest makes room */
#define CLOSE_SERVE_MS  100
#define CLOSE_SERVE_MAX 50
#define FLUSH_STEP_MS   50
#define NAME_MAX_BYTES  256

typedef struct route {
    char name[SB_TOPIC_MAX + 1]; /* a category, or "/" and the name given */
    rd_kafka_topic_t *topic;
} route_t;

struct sb_publisher {
    const sb_config_t *settings;
    sb_config_t *owned; /* settings, when they are ours */
    char client_id[NAME_MAX_BYTES];
    char source[NAME_MAX_BYTES];
    bool structured;
    sb_published_fn on_published;
    void *context;
    rd_kafka_t *handle; /* NULL after a fatal error, until a new one could be made */
    route_t route[TOPICS_MAX];
    size_t route_count;
    size_t route_last;
    sb_buf_t value; /* of structured mode */
    size_t pending;
    sb_error_t failure; /* the first since the last flush */
    sb_error_t refused; /* the brokers do not let us in; cleared by an acknowledgement */
};

/* ---- reports ---- */

static void note_failure(sb_publisher_t *publisher, const sb_error_t *err)
{
    if (publisher->failure.code == SB_OK)
        publisher->failure = *err;
}

static void on_report(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)handle;
    sb_publisher_t *publisher = opaque;
    sb_error_t err = SB_ERROR_INIT;
    rd_kafka_resp_err_t error = sb_kafka_report(message);
    publisher->pending--;
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        publisher->refused.code = SB_OK;
    } else {
        sb_code_t code = sb_kafka_fail(&err, error, "publish to %s", rd_kafka_topic_name(message->rkt));
        if (code == SB_TIMEOUT && publisher->refused.code != SB_OK)
            err = publisher->refused;
        note_failure(publisher, &err);
    }
    if (!publisher->on_published)
        return;
    sb_published_t published = {.tag = (uint64_t)(uintptr_t)message->_private,
                                .err = err.code == SB_OK ? NULL : &err,
                                .topic = rd_kafka_topic_name(message->rkt),
                                .partition = message->partition,
                                .offset = message->offset};
    publisher->on_published(publisher->context, &published);
}

/* Runs in poll. All but a fatal error and being kept out mend themselves. */
static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    sb_publisher_t *publisher = opaque;
    sb_kafka_log_error(handle, code, reason);
    if (sb_kafka_keeps_out(code, reason))
        sb_kafka_kept_out(&publisher->refused, code, reason);
}

/* ---- the handle ---- */

static sb_code_t open_handle(sb_publisher_t *publisher, sb_error_t *err)
{
    rd_kafka_conf_t *conf = NULL;
    char text[256];
    sb_code_t code = sb_kafka_conf(&conf, publisher->settings, SB_KAFKA_PRODUCER, publisher->client_id, err);
    if (code != SB_OK)
        return code;
    /* Each is reported: that is how pending is known, and when a refusal is over. */
    if (rd_kafka_conf_set(conf, "delivery.report.only.error", "false", text, sizeof text) !=
        RD_KAFKA_CONF_OK) {
        rd_kafka_conf_destroy(conf);
        return sb_fail(err, SB_INTERNAL, "publisher: %s", text);
    }
    rd_kafka_conf_set_opaque(conf, publisher);
    rd_kafka_conf_set_dr_msg_cb(conf, on_report);
    rd_kafka_conf_set_error_cb(conf, on_error);
    return sb_kafka_open(&publisher->handle, RD_KAFKA_PRODUCER, conf, err);
}

/* Takes back what is not delivered: each such event is reported. */
static void close_handle(sb_publisher_t *publisher)
{
    if (!publisher->handle)
        return;
    rd_kafka_resp_err_t ignored =
        rd_kafka_purge(publisher->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)ignored;
    for (int i = 0; i < CLOSE_SERVE_MAX && rd_kafka_outq_len(publisher->handle) > 0; i++)
        (void)rd_kafka_poll(publisher->handle, CLOSE_SERVE_MS);
    for (size_t i = 0; i < publisher->route_count; i++)
        rd_kafka_topic_destroy(publisher->route[i].topic);
    publisher->route_count = 0;
    rd_kafka_destroy(publisher->handle);
    publisher->handle = NULL;
}

/* An idempotent producer stops for good when the broker's and its own count of a partition do not fit. */
static void replace_if_fatal(sb_publisher_t *publisher)
{
    char text[256];
    if (publisher->handle) {
        rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(publisher->handle, text, sizeof text);
        if (fatal == RD_KAFKA_RESP_ERR_NO_ERROR)
            return;
        sb_log(SB_LOG_ERROR, "PUBLISHER-FATAL", "the producer is replaced|code=%d error=\"%s\"", (int)fatal,
               text);
        close_handle(publisher);
    }
    sb_error_t err = SB_ERROR_INIT;
    if (open_handle(publisher, &err) != SB_OK)
        sb_log_error(SB_LOG_ERROR, "PUBLISHER-FATAL", &err, "no new producer");
}

sb_code_t sb_publisher_new(sb_publisher_t **out, const sb_config_t *settings,
                           const sb_publisher_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_publisher_t *publisher = calloc(1, sizeof *publisher);
    if (!publisher)
        return sb_fail(err, SB_NO_MEMORY, "publisher: out of memory");
    publisher->settings = settings;
    publisher->structured = config->structured;
    publisher->on_published = config->on_published;
    publisher->context = config->context;
    (void)snprintf(publisher->client_id, sizeof publisher->client_id, "%s",
                   config->client_id ? config->client_id : "sagabus-publisher");
    (void)snprintf(publisher->source, sizeof publisher->source, "%s",
                   config->source ? config->source : "/sagabus");
    sb_code_t code = open_handle(publisher, err);
    if (code == SB_OK)
        *out = publisher;
    else
        free(publisher);
    return code;
}

sb_code_t sb_publisher_open(sb_publisher_t **out, const sb_publisher_config_t *config, sb_error_t *err)
{
    sb_config_t *settings = NULL;
    *out = NULL;
    sb_code_t code = sb_config_new(&settings, err);
    if (code == SB_OK)
        code = sb_config_load_environment(settings, err);
    if (code == SB_OK && config->kafka_bootstrap)
        code = sb_config_set(settings, "kafka.bootstrap", config->kafka_bootstrap, err);
    if (code == SB_OK && config->kafka_prefix)
        code = sb_config_set(settings, "kafka.prefix", config->kafka_prefix, err);
    if (code == SB_OK)
        code = sb_publisher_new(out, settings, config, err);
    if (*out)
        (*out)->owned = settings;
    else
        sb_config_free(&settings);
    return code;
}

/* ---- which topic ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A record among the relay's would have no position, and break the chain that readers find gaps by. */
static sb_code_t name_topic(const sb_publisher_t *publisher, sb_slice_t category, const char *given,
                            sb_topic_t out, sb_error_t *err)
{
    const char *prefix = sb_config_get(publisher->settings, "kafka.prefix");
    if (!given)
        return sb_topic_direct(out, prefix, category, err);
    if (ends_with(given, ".events") || strncmp(given, "cmd.", 4) == 0 || strcmp(given, "saga.replies") == 0)
        return sb_fail(err, SB_INVALID,
                       "topic %s is not for direct events: what the relay and the sagas send there has "
                       "positions and ids that readers rely on; take a name of its own, as %.*s.direct",
                       given, SB_SLICE_ARG(category));
    return sb_topic_named(out, prefix, given, err);
}

static bool is_route(const route_t *route, sb_slice_t category, const char *given)
{
    return given ? route->name[0] == '/' && strcmp(route->name + 1, given) == 0
                 : sb_slice_is(category, route->name);
}

static sb_code_t find_topic(sb_publisher_t *publisher, sb_slice_t category, const char *given,
                            rd_kafka_topic_t **out, sb_error_t *err)
{
    sb_topic_t name;
    for (size_t i = 0; i < publisher->route_count; i++) {
        size_t at = (publisher->route_last + i) % publisher->route_count;
        if (!is_route(&publisher->route[at], category, given))
            continue;
        publisher->route_last = at;
        *out = publisher->route[at].topic;
        return SB_OK;
    }
    sb_code_t code = name_topic(publisher, category, given, name, err);
    if (code != SB_OK)
        return code;
    if (publisher->route_count == TOPICS_MAX)
        rd_kafka_topic_destroy(publisher->route[--publisher->route_count].topic);
    *out = rd_kafka_topic_new(publisher->handle, name, NULL);
    if (!*out)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", name);
    route_t *route = &publisher->route[publisher->route_count];
    if (given)
        (void)snprintf(route->name, sizeof route->name, "/%s", given);
    else
        (void)snprintf(route->name, sizeof route->name, "%.*s", SB_SLICE_ARG(category));
    route->topic = *out;
    publisher->route_last = publisher->route_count++;
    return SB_OK;
}

/* ---- sending ---- */

static sb_code_t check(const sb_event_t *event, sb_error_t *err)
{
    size_t bad_at = 0;
    if (!sb_event_type_ok(event->type))
        return sb_fail_at(err, SB_INVALID, "/type", "publish: '%.*s' is no event type such as order.created",
                          SB_SLICE_ARG(event->type));
    if (event->data.ptr && !sb_scan_valid(event->data, &bad_at))
        return sb_fail_at(err, SB_INVALID, "/data", "publish %.*s: the body is not JSON: byte %zu",
                          SB_SLICE_ARG(event->type), bad_at);
    size_t size = event->data.len + event->subject.len + event->source.len + event->correlation_id.len +
                  event->causation_id.len + event->traceparent.len + event->partition_key.len;
    if (size > SB_EVENT_BYTES_MAX)
        return sb_fail(err, SB_TOO_LARGE, "publish %.*s: %zu bytes, at most %u", SB_SLICE_ARG(event->type),
                       size, SB_EVENT_BYTES_MAX);
    return SB_OK;
}

static sb_code_t produce(sb_publisher_t *publisher, rd_kafka_topic_t *topic, sb_slice_t key, sb_slice_t value,
                         const sb_message_headers_t *message, uint64_t tag, sb_error_t *err)
{
    rd_kafka_headers_t *headers = NULL;
    sb_code_t code = sb_kafka_headers(&headers, message->header, message->count, err);
    if (code != SB_OK)
        return code;
    rd_kafka_resp_err_t error = rd_kafka_producev(
        publisher->handle, RD_KAFKA_V_RKT(topic), RD_KAFKA_V_PARTITION(RD_KAFKA_PARTITION_UA),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key.ptr, key.len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)value.ptr, value.len), RD_KAFKA_V_OPAQUE((void *)(uintptr_t)tag),
        RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_END);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
        publisher->pending++;
        return SB_OK;
    }
    if (headers) /* consumed on success only */
        rd_kafka_headers_destroy(headers);
    return sb_kafka_fail(err, error, "publish to %s", rd_kafka_topic_name(topic));
}

sb_code_t sb_publisher_send(sb_publisher_t *publisher, const sb_event_t *event, const char *topic,
                            uint64_t tag, sb_error_t *err)
{
    sb_message_headers_t headers;
    rd_kafka_topic_t *to = NULL;
    sb_event_t whole = *event;
    sb_code_t code = check(event, err);
    if (code != SB_OK)
        return code;
    if (!publisher->handle)
        return sb_fail(err, SB_UNAVAILABLE,
                       "publish: no Kafka handle since a fatal error; poll makes a new one");
    code = find_topic(publisher, sb_event_category(event->type), topic, &to, err);
    if (code != SB_OK)
        return code;
    if (sb_uuid_is_nil(&whole.id))
        whole.id = sb_uuid_v7();
    if (whole.time_us == 0)
        whole.time_us = sb_wall_us();
    if (!whole.source.ptr)
        whole.source = sb_slice(publisher->source);
    if (!publisher->structured) {
        sb_message_encode(&whole, NULL, &headers);
        return produce(publisher, to, sb_message_key(&whole), whole.data, &headers, tag, err);
    }
    code = sb_message_encode_structured(&whole, NULL, &publisher->value, &headers, err);
    if (code != SB_OK)
        return code;
    return produce(publisher, to, sb_message_key(&whole), sb_buf_slice(&publisher->value), &headers, tag,
                   err);
}

void sb_publisher_poll(sb_publisher_t *publisher, int timeout_ms)
{
    if (publisher->handle)
        (void)rd_kafka_poll(publisher->handle, timeout_ms);
    replace_if_fatal(publisher);
}

size_t sb_publisher_pending(const sb_publisher_t *publisher)
{
    return publisher->pending;
}

sb_code_t sb_publisher_flush(sb_publisher_t *publisher, int timeout_ms, sb_error_t *err)
{
    int64_t until_us = sb_mono_us() + (int64_t)timeout_ms * 1000;
    while (publisher->pending > 0 && publisher->refused.code == SB_OK && sb_mono_us() < until_us) {
        if (publisher->handle) /* flush sends without linger, and serves the reports */
            (void)rd_kafka_flush(publisher->handle, FLUSH_STEP_MS);
        replace_if_fatal(publisher);
    }
    const sb_error_t *why = publisher->pending > 0 && publisher->refused.code != SB_OK ? &publisher->refused
                            : publisher->failure.code != SB_OK                         ? &publisher->failure
                                                                                       : NULL;
    if (!why && publisher->pending > 0)
        return sb_fail(err, SB_TIMEOUT, "publish: %zu events are not acknowledged after %d ms",
                       publisher->pending, timeout_ms);
    sb_code_t code = why ? why->code : SB_OK;
    if (why && err)
        *err = *why;
    sb_error_clear(&publisher->failure);
    return code;
}

void sb_publisher_close(sb_publisher_t **publisher)
{
    sb_publisher_t *p = *publisher;
    if (!p)
        return;
    close_handle(p);
    sb_buf_fini(&p->value);
    sb_config_free(&p->owned);
    free(p);
    *publisher = NULL;
}

/* ---- durable ---- */

sb_code_t sb_publish(sb_store_t *store, const sb_event_t *event, sb_append_result_t *result, sb_error_t *err)
{
    sb_append_t append = {.category = sb_event_category(event->type),
                          .key = event->subject,
                          .expect = SB_EXPECT_ANY,
                          .command_id = event->id,
                          .events = event,
                          .count = 1};
    return sb_store_append(store, &append, result, err);
}
