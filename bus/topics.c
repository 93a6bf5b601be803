/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/topics.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/kafka.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS        3000 /* at first; then twice as long each time */
#define LOOK_AGAIN_MS 100  /* a topic that was just made takes a moment to show */
#define ASK_AGAIN_MS  20

void sb_topic_list_fini(sb_topic_list_t *list)
{
    free(list->item);
    *list = (sb_topic_list_t){NULL, 0, 0};
}

sb_code_t sb_topic_list_add(sb_topic_list_t *list, const char *name, int32_t partitions, sb_error_t *err)
{
    if (strlen(name) >= SB_TOPIC_MAX || partitions < 1)
        return sb_fail(err, SB_INVALID, "topic %.250s with %d partitions", name, partitions);
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 16;
        sb_topic_want_t *grown = realloc(list->item, cap * sizeof *grown);
        if (!grown)
            return sb_fail(err, SB_NO_MEMORY, "topic %s: out of memory", name);
        list->item = grown;
        list->cap = cap;
    }
    sb_topic_want_t *item = &list->item[list->count++];
    (void)snprintf(item->name, sizeof item->name, "%s", name);
    item->partitions = partitions;
    item->found = 0;
    return SB_OK;
}

/* What the brokers said when they did not let the handle in, and whether a connection to each of them failed.
 * A handle lives within one call here, and its error callback runs where rd_kafka_poll is called: on this
 * thread. */
static _Thread_local sb_error_t kept_out;
static _Thread_local bool all_down;

static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    (void)opaque;
    sb_kafka_log_error(handle, code, reason);
    all_down = all_down || code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN;
    if (sb_kafka_keeps_out(code, reason))
        sb_kafka_kept_out(&kept_out, code, reason);
}

static sb_code_t open_admin(rd_kafka_t **out, const sb_config_t *config, sb_error_t *err)
{
    rd_kafka_conf_t *conf = NULL;
    *out = NULL;
    sb_error_clear(&kept_out);
    all_down = false;
    sb_code_t code = sb_kafka_conf(&conf, config, SB_KAFKA_ADMIN, NULL, err);
    if (code != SB_OK)
        return code;
    rd_kafka_conf_set_error_cb(conf, on_error);
    return sb_kafka_open(out, RD_KAFKA_PRODUCER, conf, err);
}

static int left_ms(int64_t until_us)
{
    int64_t left = (until_us - sb_mono_us()) / 1000;
    return left < 1 ? 1 : left > INT_MAX ? INT_MAX : (int)left;
}

/* How long to ask now: an answer that takes longer than one slice is heard in a later one. */
static int next_slice_ms(int *ask_ms, int64_t until_us)
{
    int left = left_ms(until_us);
    int slice = left < *ask_ms ? left : *ask_ms;
    *ask_ms = *ask_ms < INT_MAX / 2 ? 2 * *ask_ms : *ask_ms;
    return slice;
}

/* librdkafka says "transport failure", too, when no connection is up by the end of the time it was given. */
static bool is_too_early(rd_kafka_resp_err_t error)
{
    return error == RD_KAFKA_RESP_ERR__TIMED_OUT || (error == RD_KAFKA_RESP_ERR__TRANSPORT && !all_down);
}

/* In turns with the error callback: who is not let in, or finds nobody there, learns it now, not when the
 * time is over. Brokers that are only slow have all of it. */
static sb_code_t ask_for_topics(rd_kafka_t *handle, const struct rd_kafka_metadata **out, int64_t until_us,
                                sb_error_t *err)
{
    rd_kafka_resp_err_t error;
    int ask_ms = ASK_MS;
    for (;;) {
        error = rd_kafka_metadata(handle, 1, NULL, out, next_slice_ms(&ask_ms, until_us));
        (void)rd_kafka_poll(handle, 0);
        if (!is_too_early(error) || kept_out.code != SB_OK || sb_mono_us() >= until_us)
            break;
        sb_sleep_ms(LOOK_AGAIN_MS); /* a connection that broke fails at once */
    }
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        return SB_OK;
    if (kept_out.code == SB_OK) {
        char brokers[96] = "";
        size_t size = sizeof brokers;
        (void)rd_kafka_conf_get(rd_kafka_conf(handle), "bootstrap.servers", brokers, &size);
        return sb_kafka_fail(err, error, "ask Kafka (%.*s) for its topics", (int)sizeof brokers - 1, brokers);
    }
    if (err)
        *err = kept_out;
    return kept_out.code;
}

static sb_code_t inspect(rd_kafka_t *handle, sb_topic_list_t *list, int64_t until_us, sb_error_t *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    sb_code_t code = ask_for_topics(handle, &metadata, until_us, err);
    if (code != SB_OK)
        return code;
    for (size_t i = 0; i < list->count; i++) {
        list->item[i].found = 0;
        for (int t = 0; t < metadata->topic_cnt; t++)
            if (strcmp(metadata->topics[t].topic, list->item[i].name) == 0)
                list->item[i].found = metadata->topics[t].partition_cnt;
    }
    rd_kafka_metadata_destroy(metadata);
    return SB_OK;
}

sb_code_t sb_topics_inspect(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms, sb_error_t *err)
{
    rd_kafka_t *handle = NULL;
    sb_code_t code = open_admin(&handle, config, err);
    if (code == SB_OK)
        code = inspect(handle, list, sb_mono_us() + (int64_t)timeout_ms * 1000, err);
    if (handle)
        rd_kafka_destroy(handle);
    return code;
}

/* ---- requests ---- */

/* One of the admin's: what goes out with it, and where its answer comes. */
typedef struct request {
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options;
    const char *what; /* for errors */
} request_t;

/* To be closed in any case. */
static sb_code_t open_request(request_t *request, rd_kafka_t *handle, rd_kafka_admin_op_t op,
                              int64_t until_us, const char *what, sb_error_t *err)
{
    char text[256];
    *request = (request_t){rd_kafka_queue_new(handle), rd_kafka_AdminOptions_new(handle, op), what};
    rd_kafka_resp_err_t error =
        rd_kafka_AdminOptions_set_request_timeout(request->options, left_ms(until_us), text, sizeof text);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR && op != RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS)
        error = rd_kafka_AdminOptions_set_operation_timeout(request->options, left_ms(until_us), text,
                                                            sizeof text);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "%s: %s", what, text);
}

/* Blocks until the request's time-out at most. What is said of each topic is in the answer. */
static sb_code_t await_answer(const request_t *request, rd_kafka_event_t **out, sb_error_t *err)
{
    *out = rd_kafka_queue_poll(request->queue, -1);
    if (!*out)
        return sb_fail(err, SB_INTERNAL, "%s: no answer", request->what);
    rd_kafka_resp_err_t error = rd_kafka_event_error(*out);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "%s", request->what);
}

static void close_request(request_t *request, rd_kafka_event_t *answer)
{
    if (answer)
        rd_kafka_event_destroy(answer);
    rd_kafka_AdminOptions_destroy(request->options);
    rd_kafka_queue_destroy(request->queue);
}

/* ---- what they take ---- */

static void take_size(const rd_kafka_ConfigResource_t *resource, sb_topic_list_t *list)
{
    size_t count = 0;
    if (rd_kafka_ConfigResource_error(resource) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++) {
        const char *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (!value || strcmp(rd_kafka_ConfigEntry_name(entries[i]), "max.message.bytes") != 0)
            continue;
        for (size_t t = 0; t < list->count; t++)
            if (strcmp(list->item[t].name, rd_kafka_ConfigResource_name(resource)) == 0)
                list->item[t].bytes_max = strtoll(value, NULL, 10);
    }
}

static void take_sizes(rd_kafka_event_t *event, sb_topic_list_t *list)
{
    size_t count = 0;
    const rd_kafka_ConfigResource_t **resources =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
    for (size_t i = 0; i < count; i++)
        take_size(resources[i], list);
}

static sb_code_t describe(rd_kafka_t *handle, rd_kafka_ConfigResource_t **resources, size_t count,
                          int64_t until_us, sb_topic_list_t *list, sb_error_t *err)
{
    rd_kafka_event_t *answer = NULL;
    request_t request;
    sb_code_t code = open_request(&request, handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, until_us,
                                  "ask for the settings of topics", err);
    if (code == SB_OK) {
        rd_kafka_DescribeConfigs(handle, resources, count, request.options, request.queue);
        code = await_answer(&request, &answer, err);
    }
    if (code == SB_OK)
        take_sizes(answer, list);
    close_request(&request, answer);
    return code;
}

static sb_code_t sizes(rd_kafka_t *handle, sb_topic_list_t *list, int64_t until_us, sb_error_t *err)
{
    rd_kafka_ConfigResource_t **resources = calloc(list->count + 1, sizeof(rd_kafka_ConfigResource_t *));
    if (!resources)
        return sb_fail(err, SB_NO_MEMORY, "ask for the settings of topics: out of memory");
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        list->item[i].bytes_max = 0;
        if (list->item[i].found > 0)
            resources[count++] = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, list->item[i].name);
    }
    sb_code_t code = count ? describe(handle, resources, count, until_us, list, err) : SB_OK;
    rd_kafka_ConfigResource_destroy_array(resources, count);
    free(resources);
    return code;
}

sb_code_t sb_topics_sizes(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms, sb_error_t *err)
{
    rd_kafka_t *handle = NULL;
    sb_code_t code = open_admin(&handle, config, err);
    if (code == SB_OK && !sb_kafka_is_dev_broker(handle, timeout_ms))
        code = sizes(handle, list, sb_mono_us() + (int64_t)timeout_ms * 1000, err);
    if (handle)
        rd_kafka_destroy(handle);
    return code;
}

/* ---- making them ---- */

static const sb_topic_want_t *first_missing(const sb_topic_list_t *list)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->item[i].found == 0)
            return &list->item[i];
    return NULL;
}

/* The mock makes a topic when it is asked about it, with 4 partitions. */
static sb_code_t make_on_dev_broker(rd_kafka_t *handle, const char *name, int64_t until_us, sb_error_t *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, name, NULL);
    if (!topic)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", name);
    rd_kafka_resp_err_t error = rd_kafka_metadata(handle, 0, topic, &metadata, left_ms(until_us));
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "make topic %s", name);
}

static sb_code_t make_all_on_dev_broker(rd_kafka_t *handle, const sb_topic_list_t *list, int64_t until_us,
                                        sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < list->count && code == SB_OK; i++)
        if (list->item[i].found == 0)
            code = make_on_dev_broker(handle, list->item[i].name, until_us, err);
    return code;
}

static sb_code_t check_created(rd_kafka_event_t *event, bool *again, sb_error_t *err)
{
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
        /* Another instance may have made it meanwhile: what counts is what is found afterwards. */
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR && error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            const char *says = rd_kafka_topic_result_error_string(results[i]);
            *again = sb_kafka_is_fenced(error, says);
            return sb_kafka_fail(err, error, "create topic %s%s%s%s", rd_kafka_topic_result_name(results[i]),
                                 says ? " (" : "", says ? says : "", says ? ")" : "");
        }
    }
    return SB_OK;
}

static sb_code_t create_once(rd_kafka_t *handle, rd_kafka_NewTopic_t **topics, size_t count, int64_t until_us,
                             bool *again, sb_error_t *err)
{
    *again = false;
    rd_kafka_event_t *answer = NULL;
    request_t request;
    sb_code_t code =
        open_request(&request, handle, RD_KAFKA_ADMIN_OP_CREATETOPICS, until_us, "create topics", err);
    if (code == SB_OK) {
        rd_kafka_CreateTopics(handle, topics, count, request.options, request.queue);
        code = await_answer(&request, &answer, err);
    }
    if (code == SB_OK)
        code = check_created(answer, again, err);
    close_request(&request, answer);
    return code;
}

static sb_code_t create(rd_kafka_t *handle, rd_kafka_NewTopic_t **topics, size_t count, int64_t until_us,
                        sb_error_t *err)
{
    bool again = false;
    sb_code_t code;
    while ((code = create_once(handle, topics, count, until_us, &again, err)) != SB_OK && again &&
           sb_mono_us() < until_us)
        sb_sleep_ms(LOOK_AGAIN_MS);
    return code;
}

/* What the settings want of a new topic; "" leaves it to the cluster. */
static sb_code_t configure(rd_kafka_NewTopic_t *topic, const char *name, const sb_config_t *config,
                           sb_error_t *err)
{
    static const char events[] = ".events";
    size_t n = strlen(name);
    bool is_events = n > sizeof events && strcmp(name + n - (sizeof events - 1), events) == 0;
    char retention[24] = "";
    int64_t retention_ms = 0;
    sb_code_t code = SB_OK;
    if (is_events && sb_config_get(config, "topics.retention_ms")[0]) {
        code = sb_config_get_int(config, "topics.retention_ms", -1, INT64_MAX, &retention_ms, err);
        (void)snprintf(retention, sizeof retention, "%lld", (long long)retention_ms);
    }
    const struct {
        const char *name;
        const char *value;
    } wanted[] = {{"min.insync.replicas", sb_config_get(config, "topics.min_insync_replicas")},
                  {"retention.ms", retention},
                  {"cleanup.policy", is_events ? sb_config_get(config, "topics.cleanup_policy") : ""}};
    for (size_t i = 0; code == SB_OK && i < sizeof wanted / sizeof wanted[0]; i++) {
        if (!wanted[i].value[0])
            continue;
        rd_kafka_resp_err_t error = rd_kafka_NewTopic_set_config(topic, wanted[i].name, wanted[i].value);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
            code = sb_kafka_fail(err, error, "topic %s: %s=%s", name, wanted[i].name, wanted[i].value);
    }
    return code;
}

static sb_code_t make_all(rd_kafka_t *handle, const sb_config_t *config, const sb_topic_list_t *list,
                          int64_t until_us, sb_error_t *err)
{
    int64_t replicas = 1;
    sb_code_t code = sb_config_get_int(config, "topics.replication", 1, 100, &replicas, err);
    if (code != SB_OK)
        return code;
    rd_kafka_NewTopic_t **topics = calloc(list->count + 1, sizeof(rd_kafka_NewTopic_t *));
    if (!topics)
        return sb_fail(err, SB_NO_MEMORY, "create topics: out of memory");
    size_t count = 0;
    char text[256];
    for (size_t i = 0; i < list->count && code == SB_OK; i++) {
        if (list->item[i].found > 0)
            continue;
        topics[count] = rd_kafka_NewTopic_new(list->item[i].name, list->item[i].partitions, (int)replicas,
                                              text, sizeof text);
        if (topics[count])
            code = configure(topics[count++], list->item[i].name, config, err);
        else
            code = sb_fail(err, SB_INVALID, "topic %s: %s", list->item[i].name, text);
    }
    if (code == SB_OK)
        code = create(handle, topics, count, until_us, err);
    rd_kafka_NewTopic_destroy_array(topics, count);
    free(topics);
    return code;
}

/* On the dev broker partition counts are what they are, here they must be ours. */
static sb_code_t compare(const sb_topic_list_t *list, bool dev_broker, sb_error_t *err)
{
    for (size_t i = 0; i < list->count; i++) {
        const sb_topic_want_t *item = &list->item[i];
        if (item->found == 0 || item->found == item->partitions)
            continue;
        if (!dev_broker)
            return sb_fail(
                err, SB_MISMATCH,
                "topic %s has %d partitions, wanted %d: a changed count would send keys elsewhere; "
                "set the wanted count to what is there, or move to a new topic",
                item->name, item->found, item->partitions);
        sb_log(SB_LOG_DEBUG, "TOPIC-ADOPTED",
               "the dev broker's partition count is taken|topic=%s found=%d wanted=%d", item->name,
               item->found, item->partitions);
    }
    return SB_OK;
}

static sb_code_t wait_for_all(rd_kafka_t *handle, sb_topic_list_t *list, int64_t until_us, sb_error_t *err)
{
    for (;;) {
        sb_code_t code = inspect(handle, list, until_us, err);
        const sb_topic_want_t *missing = first_missing(list);
        if (code != SB_OK || !missing)
            return code;
        if (sb_mono_us() >= until_us)
            return sb_fail(err, SB_TIMEOUT, "topic %s was created but does not show", missing->name);
        sb_sleep_ms(LOOK_AGAIN_MS);
    }
}

/* A new topic shows a moment before its partitions have leaders that take something. What is sent to one of
 * them then may be refused, and what comes right behind it taken: a broker knows nothing of this producer
 * there yet, so any sequence number is good, and librdkafka takes the refused record for delivered. */
static rd_kafka_resp_err_t ask_leaders(rd_kafka_t *handle, const rd_kafka_topic_partition_list_t *fresh,
                                       int timeout_ms)
{
    rd_kafka_topic_partition_list_t *ends = rd_kafka_topic_partition_list_copy(fresh);
    rd_kafka_resp_err_t error = rd_kafka_offsets_for_times(handle, ends, timeout_ms);
    for (int i = 0; i < ends->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        error = ends->elems[i].err;
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR && ends->elems[i].offset < 0) /* no answer came */
            error = RD_KAFKA_RESP_ERR__TIMED_OUT;
    }
    rd_kafka_topic_partition_list_destroy(ends);
    return error;
}

static sb_code_t wait_for_leaders(rd_kafka_t *handle, const rd_kafka_topic_partition_list_t *fresh,
                                  int64_t until_us, sb_error_t *err)
{
    int ask_ms = ASK_MS;
    for (;;) {
        rd_kafka_resp_err_t error = ask_leaders(handle, fresh, next_slice_ms(&ask_ms, until_us));
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR || sb_kafka_code(error) == SB_DENIED)
            return SB_OK; /* who may only make topics sends nothing to them */
        if (sb_mono_us() >= until_us)
            return sb_fail(err, SB_TIMEOUT, "topic %s was created but its leaders do not answer: %s",
                           fresh->elems[0].topic, rd_kafka_err2str(error));
        sb_sleep_ms(ASK_AGAIN_MS);
    }
}

static rd_kafka_topic_partition_list_t *partitions_to_be(const sb_topic_list_t *list)
{
    rd_kafka_topic_partition_list_t *fresh = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; i < list->count; i++)
        for (int32_t p = 0; list->item[i].found == 0 && p < list->item[i].partitions; p++)
            rd_kafka_topic_partition_list_add(fresh, list->item[i].name, p)->offset = RD_KAFKA_OFFSET_END;
    return fresh;
}

static sb_code_t apply(rd_kafka_t *handle, const sb_config_t *config, sb_topic_list_t *list, int64_t until_us,
                       int *created, sb_error_t *err)
{
    sb_code_t code = inspect(handle, list, until_us, err);
    if (code != SB_OK)
        return code;
    bool dev_broker = sb_kafka_is_dev_broker(handle, 0);
    code = compare(list, dev_broker, err);
    if (code != SB_OK || !first_missing(list))
        return code;
    int missing = 0;
    for (size_t i = 0; i < list->count; i++)
        missing += list->item[i].found == 0;
    rd_kafka_topic_partition_list_t *fresh = partitions_to_be(list);
    code = dev_broker ? make_all_on_dev_broker(handle, list, until_us, err)
                      : make_all(handle, config, list, until_us, err);
    if (code == SB_OK)
        code = wait_for_all(handle, list, until_us, err);
    if (code == SB_OK)
        code = compare(list, dev_broker, err);
    if (code == SB_OK && !dev_broker)
        code = wait_for_leaders(handle, fresh, until_us, err);
    if (code == SB_OK)
        *created = missing;
    rd_kafka_topic_partition_list_destroy(fresh);
    return code;
}

sb_code_t sb_topics_apply(const sb_config_t *config, sb_topic_list_t *list, int timeout_ms, int *created,
                          sb_error_t *err)
{
    rd_kafka_t *handle = NULL;
    *created = 0;
    sb_code_t code = open_admin(&handle, config, err);
    if (code == SB_OK)
        code = apply(handle, config, list, sb_mono_us() + (int64_t)timeout_ms * 1000, created, err);
    if (handle)
        rd_kafka_destroy(handle);
    return code;
}

/* ---- emptying one ---- */

static sb_code_t has_records(rd_kafka_t *handle, const sb_topic_want_t *topic, int64_t until_us, bool *has,
                             sb_error_t *err)
{
    *has = false;
    for (int32_t p = 0; p < topic->found && !*has; p++) {
        int64_t low = 0;
        int64_t high = 0;
        rd_kafka_resp_err_t error = sb_kafka_ends(handle, topic->name, p, left_ms(until_us), &low, &high);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
            return sb_kafka_fail(err, error, "ask for the end of %s %d", topic->name, p);
        *has = high > low;
    }
    return SB_OK;
}

static sb_code_t check_deleted(rd_kafka_event_t *event, sb_error_t *err)
{
    size_t count = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR && sb_kafka_code(error) != SB_NOT_FOUND)
            return sb_kafka_fail(err, error, "delete topic %s", rd_kafka_topic_result_name(results[i]));
    }
    return SB_OK;
}

static sb_code_t delete_topic(rd_kafka_t *handle, const char *name, int64_t until_us, sb_error_t *err)
{
    rd_kafka_event_t *answer = NULL;
    request_t request;
    sb_code_t code =
        open_request(&request, handle, RD_KAFKA_ADMIN_OP_DELETETOPICS, until_us, "delete a topic", err);
    if (code == SB_OK) {
        rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
        rd_kafka_DeleteTopics(handle, &topic, 1, request.options, request.queue);
        rd_kafka_DeleteTopic_destroy(topic);
        code = await_answer(&request, &answer, err);
    }
    if (code == SB_OK)
        code = check_deleted(answer, err);
    close_request(&request, answer);
    return code;
}

static sb_code_t wait_until_gone(rd_kafka_t *handle, sb_topic_list_t *list, int64_t until_us, sb_error_t *err)
{
    for (;;) {
        sb_code_t code = inspect(handle, list, until_us, err);
        if (code != SB_OK || list->item[0].found == 0)
            return code;
        if (sb_mono_us() >= until_us)
            return sb_fail(err, SB_TIMEOUT, "topic %s was deleted and is still there", list->item[0].name);
        sb_sleep_ms(LOOK_AGAIN_MS);
    }
}

static sb_code_t clear(rd_kafka_t *handle, const sb_config_t *config, sb_topic_list_t *list, bool recreate,
                       int64_t until_us, sb_error_t *err)
{
    sb_topic_want_t *topic = &list->item[0];
    bool manage = true;
    bool has = false;
    int created = 0;
    sb_code_t code = sb_config_get_bool(config, "topics.manage", &manage, err);
    if (code == SB_OK)
        code = inspect(handle, list, until_us, err);
    if (code == SB_OK && topic->found > 0)
        code = has_records(handle, topic, until_us, &has, err);
    if (code != SB_OK || (topic->found > 0 && !has))
        return code;
    if (!manage)
        return sb_fail(err, SB_CONFLICT, "topic %s %s, and topics.manage is false: make it anew, empty",
                       topic->name, has ? "has records" : "is not there");
    if (has && !recreate)
        return sb_fail(err, SB_CONFLICT, "topic %s has records: --recreate deletes and makes it again",
                       topic->name);
    if (has) {
        topic->partitions = topic->found;
        code = delete_topic(handle, topic->name, until_us, err);
        if (code == SB_OK)
            code = wait_until_gone(handle, list, until_us, err);
    }
    return code == SB_OK ? apply(handle, config, list, until_us, &created, err) : code;
}

sb_code_t sb_topics_clear(const sb_config_t *config, const char *name, int32_t partitions, bool recreate,
                          int timeout_ms, sb_error_t *err)
{
    rd_kafka_t *handle = NULL;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_code_t code = sb_topic_list_add(&list, name, partitions, err);
    if (code == SB_OK)
        code = open_admin(&handle, config, err);
    if (code == SB_OK && list.count == 1)
        code = clear(handle, config, &list, recreate, sb_mono_us() + (int64_t)timeout_ms * 1000, err);
    if (handle)
        rd_kafka_destroy(handle);
    sb_topic_list_fini(&list);
    return code;
}
