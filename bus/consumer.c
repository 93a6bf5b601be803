/* A rebalance is not acted on inside librdkafka's callback: it is put by, the batch ends, and the next poll
 * acts on it. So the caller can commit the batch before its partitions go, which would be repeated otherwise.
 * (The group waits for us as long as it would for a slow handler.) What is left is a cooperative member that
 * keeps its partitions while the group agrees on a new generation: a commit in that moment is refused, and
 * librdkafka before 2.10.0 then takes the assignment for lost (#4908), so its last batch comes again.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/consumer_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "bus/group.h"
#include "bus/prefetch.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_MAX            250
#define SEEK_MS              5000
#define AGAIN_US             1000000
#define LOOK_US              2000000  /* after an assignment */
#define LOOK_LATE_US         10000000 /* past librdkafka's own look at the topics */
#define LOOK_US_MAX          60000000
#define LOOK_MS              5000 /* patience; an answer waits behind a fetch that waits for messages */
#define CLOSE_SERVE_MS       50
#define DESTROY_S            2
#define VERSION_SAFE_DESTROY 0x02030000

/* How far we are in one assigned partition. */
typedef struct progress {
    char *topic;
    int32_t partition;
    int64_t committed; /* the next offset as last committed, or the first one handed over */
    int64_t next;      /* after the last one handed over */
    int64_t marked;    /* next, at the mark */
} progress_t;

struct sb_consumer {
    rd_kafka_t *handle;
    sb_prefetch_t prefetch;
    char group[GROUP_MAX];
    progress_t *progress;
    size_t progress_count;
    size_t progress_last;        /* index of the last hit: messages come in runs */
    rd_kafka_message_t *refused; /* on_message failed on it: comes first in the next poll */
    rd_kafka_message_t **taken;  /* by sb_consumer_take: still in the caller's hands */
    int taken_count, taken_cap;
    bool taking;                                /* what is handed over is kept in taken */
    rd_kafka_topic_partition_list_t *rebalance; /* put by */
    rd_kafka_resp_err_t rebalance_kind;
    sb_consumer_hooks_t hooks;
    bool hooked;
    bool held;            /* what is assigned is paused */
    int64_t again_us;     /* when to assign again what has not begun; 0: never */
    int64_t look_us;      /* when to look whether the group reads all of our topics; 0: never */
    int64_t look_wait_us; /* until the look after a join that was for that */
    int orphaned;         /* looks in a row that found partitions nobody reads */
    int whole;            /* looks since the last assignment that found none */
    bool rewind;          /* a rewind is owed: nothing is handed over before */
    bool was_assigned;    /* ever */
    sb_error_t kept_out;  /* said by the brokers before that; told by the next poll */
    bool committing;      /* without waiting for it */
    rd_kafka_resp_err_t commit_error;
    bool closing;
};

/* ---- progress ---- */

static progress_t *find_progress(sb_consumer_t *consumer, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < consumer->progress_count; i++) {
        size_t at = (consumer->progress_last + i) % consumer->progress_count;
        progress_t *p = &consumer->progress[at];
        if (p->partition == partition && strcmp(p->topic, topic) == 0) {
            consumer->progress_last = at;
            return p;
        }
    }
    return NULL;
}

static progress_t *add_progress(sb_consumer_t *consumer, const char *topic, int32_t partition, int64_t first)
{
    progress_t *grown = realloc(consumer->progress, (consumer->progress_count + 1) * sizeof *grown);
    char *name = strdup(topic);
    if (grown)
        consumer->progress = grown;
    if (!grown || !name) {
        free(name);
        return NULL;
    }
    progress_t *p = &consumer->progress[consumer->progress_count++];
    *p = (progress_t){name, partition, first, first, first};
    return p;
}

static void drop_progress(sb_consumer_t *consumer, const char *topic, int32_t partition)
{
    progress_t *p = find_progress(consumer, topic, partition);
    if (!p)
        return;
    free(p->topic);
    *p = consumer->progress[--consumer->progress_count];
    consumer->progress_last = 0;
}

static bool has_uncommitted(const sb_consumer_t *consumer)
{
    for (size_t i = 0; i < consumer->progress_count; i++)
        if (consumer->progress[i].next > consumer->progress[i].committed)
            return true;
    return false;
}

static void drop_refused(sb_consumer_t *consumer)
{
    if (consumer->refused)
        rd_kafka_message_destroy(consumer->refused);
    consumer->refused = NULL;
}

static void drop_taken(sb_consumer_t *consumer)
{
    for (int i = 0; i < consumer->taken_count; i++)
        rd_kafka_message_destroy(consumer->taken[i]);
    consumer->taken_count = 0;
}

/* ---- rebalance ---- */

static void apply_assignment(sb_consumer_t *consumer, rd_kafka_resp_err_t kind,
                             const rd_kafka_topic_partition_list_t *list)
{
    rd_kafka_t *handle = consumer->handle;
    bool cooperative = strcmp(rd_kafka_rebalance_protocol(handle), "COOPERATIVE") == 0;
    bool assign = kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    rd_kafka_error_t *error = NULL;
    if (cooperative)
        error =
            assign ? rd_kafka_incremental_assign(handle, list) : rd_kafka_incremental_unassign(handle, list);
    else if (rd_kafka_assign(handle, assign ? list : NULL) != RD_KAFKA_RESP_ERR_NO_ERROR)
        sb_log(SB_LOG_ERROR, "CONSUMER-ASSIGN", "librdkafka refused the assignment|handle=%s",
               rd_kafka_name(handle));
    if (!error)
        return;
    sb_log(SB_LOG_ERROR, "CONSUMER-ASSIGN", "%s|handle=%s", rd_kafka_error_string(error),
           rd_kafka_name(handle));
    rd_kafka_error_destroy(error);
}

static void forget_progress(sb_consumer_t *consumer, const rd_kafka_topic_partition_list_t *list)
{
    /* An assignment, too, begins without progress: the first message says where the partition stands. */
    for (int i = 0; i < list->cnt; i++)
        drop_progress(consumer, list->elems[i].topic, list->elems[i].partition);
    if (consumer->refused &&
        rd_kafka_topic_partition_list_find(list, rd_kafka_topic_name(consumer->refused->rkt),
                                           consumer->refused->partition))
        drop_refused(consumer);
}

/* Tells the owner; an assignment gets its offsets from it. */
static sb_code_t tell_owner(sb_consumer_t *consumer, rd_kafka_topic_partition_list_t *list, bool assign,
                            bool lost, sb_error_t *err)
{
    if (!consumer->hooked || list->cnt == 0 || (assign && consumer->closing))
        return SB_OK;
    sb_consumer_place_t *places = calloc((size_t)list->cnt, sizeof *places);
    if (!places)
        return sb_fail(err, SB_NO_MEMORY, "rebalance: out of memory");
    for (int i = 0; i < list->cnt; i++)
        places[i] =
            (sb_consumer_place_t){list->elems[i].topic, list->elems[i].partition, RD_KAFKA_OFFSET_INVALID};
    sb_code_t code = SB_OK;
    if (assign)
        code = consumer->hooks.on_assigned(consumer->hooks.context, places, (size_t)list->cnt, err);
    else
        consumer->hooks.on_revoked(consumer->hooks.context, places, (size_t)list->cnt, lost);
    for (int i = 0; assign && code == SB_OK && i < list->cnt; i++) {
        list->elems[i].offset = places[i].offset;
        if (places[i].offset != RD_KAFKA_OFFSET_INVALID) /* begun: its offset is not asked of the group */
            (void)add_progress(consumer, places[i].topic, places[i].partition, places[i].offset);
    }
    free(places);
    return code;
}

/* What was put by stays so when the owner cannot say where to begin; asked again with the next poll. */
static sb_code_t act_on_rebalance(sb_consumer_t *consumer, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = consumer->rebalance;
    if (!list)
        return SB_OK;
    bool assign = consumer->rebalance_kind == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    bool lost = rd_kafka_assignment_lost(consumer->handle) != 0;
    forget_progress(consumer, list);
    sb_code_t code = tell_owner(consumer, list, assign, lost, err);
    if (code != SB_OK)
        return code;
    sb_log(SB_LOG_INFO, "CONSUMER-REBALANCE", "%s|partitions=%d handle=%s",
           assign ? "assigned" : (lost ? "lost" : "revoked"), list->cnt, rd_kafka_name(consumer->handle));
    /* Their pause outlives the assignment: given back later, they would never be read. */
    if (!assign && consumer->held)
        (void)rd_kafka_resume_partitions(consumer->handle, list);
    apply_assignment(consumer, consumer->rebalance_kind, list);
    if (assign && consumer->held)
        (void)rd_kafka_pause_partitions(consumer->handle, list);
    consumer->was_assigned = consumer->was_assigned || assign;
    consumer->whole = 0;
    consumer->look_us = sb_mono_us() + consumer->look_wait_us;
    consumer->rebalance = NULL;
    rd_kafka_topic_partition_list_destroy(list); /* one that is kept makes rd_kafka_destroy hang */
    return SB_OK;
}

static void act_whatever_happens(sb_consumer_t *consumer)
{
    if (act_on_rebalance(consumer, NULL) == SB_OK)
        return;
    consumer->hooked = false; /* the group does not wait for us: begin at its offsets */
    (void)act_on_rebalance(consumer, NULL);
    consumer->hooked = true;
}

static void on_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t kind, rd_kafka_topic_partition_list_t *list,
                         void *opaque)
{
    (void)handle;
    sb_consumer_t *consumer = opaque;
    act_whatever_happens(consumer); /* librdkafka sends one at a time; were there two, order matters */
    consumer->rebalance_kind = kind;
    consumer->rebalance = rd_kafka_topic_partition_list_copy(list);
    if (consumer->closing)
        act_whatever_happens(consumer);
}

/* What is assigned, with where we stand. Those that have not begun have no offset: it is asked of the group.
 */
static rd_kafka_topic_partition_list_t *assigned(sb_consumer_t *consumer, bool only_not_begun)
{
    rd_kafka_topic_partition_list_t *all = NULL;
    if (rd_kafka_assignment(consumer->handle, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return NULL;
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(all->cnt);
    for (int i = 0; i < all->cnt; i++) {
        const progress_t *p = find_progress(consumer, all->elems[i].topic, all->elems[i].partition);
        if (p && only_not_begun)
            continue;
        rd_kafka_topic_partition_list_add(list, all->elems[i].topic, all->elems[i].partition)->offset =
            p ? p->next : RD_KAFKA_OFFSET_INVALID;
    }
    rd_kafka_topic_partition_list_destroy(all);
    return list;
}

/* When the group's coordinator refuses to tell a committed offset (it has just moved or started, say),
 * librdkafka reports that and never asks again (#5586): the partition stays ours and is never read. It asks
 * when it is assigned anew. */
static void assign_again(sb_consumer_t *consumer)
{
    if (!consumer->again_us || sb_mono_us() < consumer->again_us)
        return;
    consumer->again_us = 0;
    bool cooperative = strcmp(rd_kafka_rebalance_protocol(consumer->handle), "COOPERATIVE") == 0;
    rd_kafka_topic_partition_list_t *not_begun = assigned(consumer, true);
    if (not_begun && not_begun->cnt > 0) {
        rd_kafka_topic_partition_list_t *all = cooperative ? not_begun : assigned(consumer, false);
        sb_log(SB_LOG_INFO, "CONSUMER-AGAIN", "asks for its offsets again|partitions=%d handle=%s",
               not_begun->cnt, rd_kafka_name(consumer->handle));
        if (cooperative)
            apply_assignment(consumer, RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS, not_begun);
        if (all)
            apply_assignment(consumer, RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS, all);
        if (all && all != not_begun)
            rd_kafka_topic_partition_list_destroy(all);
    }
    if (not_begun)
        rd_kafka_topic_partition_list_destroy(not_begun);
}

/* ---- partitions that nobody reads ---- */

/* Joins the group anew, which makes its leader look at the topics again. */
static void join_again(sb_consumer_t *consumer, const sb_group_view_t *view)
{
    rd_kafka_topic_partition_list_t *topics = NULL;
    if (rd_kafka_subscription(consumer->handle, &topics) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    sb_log(SB_LOG_WARN, "CONSUMER-REJOIN",
           "nobody in the group reads some partitions, joining it anew|group=%s unread=%d of=%d handle=%s",
           consumer->group, view->orphans, view->partitions, rd_kafka_name(consumer->handle));
    rd_kafka_resp_err_t error = rd_kafka_unsubscribe(consumer->handle);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR)
        error = rd_kafka_subscribe(consumer->handle, topics);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        sb_log(SB_LOG_ERROR, "CONSUMER-REJOIN", "%s|handle=%s", rd_kafka_err2str(error),
               rd_kafka_name(consumer->handle));
    rd_kafka_topic_partition_list_destroy(topics);
}

/* Twice in a row, for a cooperative rebalance has a moment in which a partition is nobody's. */
static void on_look(sb_consumer_t *consumer, const sb_group_view_t *view)
{
    bool lacks = view->orphans > 0 || view->absent > 0;
    consumer->orphaned = view->orphans > 0 && view->settled ? consumer->orphaned + 1 : 0;
    consumer->whole += view->settled && !lacks;
    consumer->look_us = sb_mono_us() + LOOK_US;
    if (consumer->orphaned > 1) {
        consumer->orphaned = 0;
        join_again(consumer, view);
        if (consumer->look_wait_us < LOOK_US_MAX)
            consumer->look_wait_us *= 2;
        consumer->look_us = sb_mono_us() + consumer->look_wait_us;
    } else if (consumer->whole == 1) {
        consumer->look_wait_us = LOOK_US;
        consumer->look_us = sb_mono_us() + LOOK_LATE_US;
    } else if (consumer->whole > 1) {
        consumer->look_us = 0;
    }
}

bool sb_consumer_must_look(const sb_consumer_t *consumer)
{
    return consumer->look_us && sb_mono_us() >= consumer->look_us;
}

/* Only between batches, as a new assignment begins at the last commit. */
static void look_for_orphans(sb_consumer_t *consumer)
{
    sb_group_view_t view;
    sb_error_t err = SB_ERROR_INIT;
    if (!sb_consumer_must_look(consumer) || consumer->refused || consumer->rebalance ||
        has_uncommitted(consumer))
        return;
    sb_code_t code = sb_group_look(consumer->handle, consumer->group, LOOK_MS, &view, &err);
    if (code == SB_OK) {
        on_look(consumer, &view);
        return;
    }
    sb_log_error(SB_LOG_DEBUG, "CONSUMER-LOOK", &err, "cannot see what the group reads");
    consumer->orphaned = 0;
    consumer->look_us = err.retryable ? sb_mono_us() + LOOK_LATE_US : 0;
}

/* ---- opening ---- */

static sb_code_t subscribe(sb_consumer_t *consumer, const char *const *topics, size_t count, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_topic_partition_list_add(list, topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t error = rd_kafka_subscribe(consumer->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "subscribe");
}

/* Runs in poll. Who was let in before is told in the log only: it may be a broker's moment. */
static void on_error(rd_kafka_t *handle, int code, const char *reason, void *opaque)
{
    sb_consumer_t *consumer = opaque;
    sb_kafka_log_error(handle, code, reason);
    if (!consumer->was_assigned && sb_kafka_keeps_out(code, reason))
        sb_kafka_kept_out(&consumer->kept_out, code, reason);
}

static sb_code_t open_handle(sb_consumer_t *consumer, const sb_config_t *config, const char *group,
                             sb_error_t *err)
{
    char text[256];
    rd_kafka_conf_t *conf = NULL;
    sb_code_t code = sb_kafka_conf(&conf, config, SB_KAFKA_GROUP, NULL, err);
    if (code != SB_OK)
        return code;
    int n = snprintf(consumer->group, sizeof consumer->group, "%s%s", sb_config_get(config, "kafka.prefix"),
                     group);
    const char *instance = consumer->hooks.instance_id;
    if (n >= (int)sizeof consumer->group ||
        rd_kafka_conf_set(conf, "group.id", consumer->group, text, sizeof text) ||
        (instance && rd_kafka_conf_set(conf, "group.instance.id", instance, text, sizeof text))) {
        rd_kafka_conf_destroy(conf);
        return sb_fail(err, SB_INVALID, "consumer group %.200s: not a name that Kafka takes", group);
    }
    rd_kafka_conf_set_opaque(conf, consumer);
    rd_kafka_conf_set_rebalance_cb(conf, on_rebalance);
    rd_kafka_conf_set_error_cb(conf, on_error);
    code = sb_kafka_open(&consumer->handle, RD_KAFKA_CONSUMER, conf, err);
    if (code != SB_OK)
        return code;
    (void)rd_kafka_poll_set_consumer(consumer->handle);
    sb_prefetch_init(&consumer->prefetch, consumer->handle);
    return SB_OK;
}

sb_code_t sb_consumer_open_hooked(sb_consumer_t **out, const sb_config_t *config, const char *group,
                                  const char *const *topics, size_t topic_count,
                                  const sb_consumer_hooks_t *hooks, sb_error_t *err)
{
    *out = NULL;
    sb_consumer_t *consumer = calloc(1, sizeof *consumer);
    if (!consumer)
        return sb_fail(err, SB_NO_MEMORY, "consumer: out of memory");
    consumer->look_wait_us = LOOK_US;
    if (hooks) {
        consumer->hooks = *hooks;
        consumer->hooked = true;
    }
    sb_code_t code = open_handle(consumer, config, group, err);
    if (code == SB_OK)
        code = subscribe(consumer, topics, topic_count, err);
    if (code == SB_OK)
        *out = consumer;
    else
        sb_consumer_close(&consumer, 0);
    return code;
}

sb_code_t sb_consumer_open(sb_consumer_t **out, const sb_config_t *config, const char *group,
                           const char *const *topics, size_t topic_count, sb_error_t *err)
{
    return sb_consumer_open_hooked(out, config, group, topics, topic_count, NULL, err);
}

/* ---- messages ---- */

static sb_code_t told_if_kept_out(sb_consumer_t *consumer, sb_error_t *err)
{
    sb_code_t code = consumer->kept_out.code;
    if (code != SB_OK && err)
        *err = consumer->kept_out;
    sb_error_clear(&consumer->kept_out);
    return code;
}

/* What is no message: errors that librdkafka mends by itself are logged, others end the poll. */
static sb_code_t on_message_error(sb_consumer_t *consumer, const rd_kafka_message_t *message, sb_error_t *err)
{
    sb_code_t code = sb_kafka_fail(err, message->err, "consume%s%s", message->rkt ? " " : "",
                                   message->rkt ? rd_kafka_topic_name(message->rkt) : "");
    if (code == SB_DENIED || message->err == RD_KAFKA_RESP_ERR__FATAL)
        return code;
    sb_log(SB_LOG_WARN, "CONSUMER-ERROR", "%s|code=%d topic=%s", rd_kafka_message_errstr(message),
           (int)message->err, message->rkt ? rd_kafka_topic_name(message->rkt) : "");
    if (!message->rkt) /* of the group */
        consumer->again_us = sb_mono_us() + AGAIN_US;
    if (err)
        sb_error_clear(err);
    return SB_OK;
}

/* Consumes from, keeping it when the handler refuses it. */
static sb_code_t hand_over(sb_consumer_t *consumer, rd_kafka_message_t *from, sb_message_fn on_message,
                           void *context, int *count, sb_error_t *err)
{
    const char *topic = rd_kafka_topic_name(from->rkt);
    progress_t *p = find_progress(consumer, topic, from->partition);
    if (!p)
        p = add_progress(consumer, topic, from->partition, from->offset);
    sb_message_t message;
    sb_kafka_message(from, &message);
    sb_code_t code = p ? on_message(context, &message, err)
                       : sb_fail(err, SB_NO_MEMORY, "consume %s: out of memory", topic);
    if (code != SB_OK) {
        consumer->refused = from;
        return code;
    }
    p->next = from->offset + 1;
    ++*count;
    if (consumer->taking)
        consumer->taken[consumer->taken_count++] = from;
    else
        rd_kafka_message_destroy(from);
    return SB_OK;
}

/* The next one, or an error; NULL: none in time. */
static rd_kafka_message_t *poll_message(sb_consumer_t *consumer, int timeout_ms)
{
    sb_prefetch_t *prefetch = &consumer->prefetch;
    rd_kafka_topic_partition_list_t *all = NULL;
    rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, timeout_ms);
    if (message && message->err == RD_KAFKA_RESP_ERR_NO_ERROR)
        sb_prefetch_read(prefetch, message);
    if (sb_prefetch_is_due(prefetch, !message) &&
        rd_kafka_assignment(consumer->handle, &all) == RD_KAFKA_RESP_ERR_NO_ERROR) {
        sb_prefetch_ask(consumer->handle, all);
        rd_kafka_topic_partition_list_destroy(all);
    }
    return message;
}

sb_code_t sb_consumer_poll(sb_consumer_t *consumer, int max, int timeout_ms, sb_message_fn on_message,
                           void *context, int *count, sb_error_t *err)
{
    *count = 0;
    drop_taken(consumer);
    sb_code_t code = act_on_rebalance(consumer, err);
    assign_again(consumer);
    look_for_orphans(consumer);
    if (code == SB_OK && consumer->rewind)
        code = sb_consumer_rewind(consumer, err);
    if (code == SB_OK && consumer->refused) {
        rd_kafka_message_t *again = consumer->refused;
        consumer->refused = NULL;
        code = hand_over(consumer, again, on_message, context, count, err);
    }
    while (code == SB_OK && *count < max) {
        rd_kafka_message_t *message = poll_message(consumer, *count > 0 ? 0 : timeout_ms);
        if (!message)
            break;
        if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
            code = on_message_error(consumer, message, err);
            rd_kafka_message_destroy(message);
        } else {
            code = hand_over(consumer, message, on_message, context, count, err);
        }
        if (consumer->rebalance) /* the caller commits first */
            break;
    }
    if (*count == 0 && code == SB_OK && !has_uncommitted(consumer))
        code = act_on_rebalance(consumer, err); /* else with the next poll: the caller commits first */
    return code == SB_OK ? told_if_kept_out(consumer, err) : code;
}

static sb_code_t put_message(void *context, const sb_message_t *message, sb_error_t *err)
{
    sb_message_t **next = context;
    (void)err;
    *(*next)++ = *message;
    return SB_OK;
}

sb_code_t sb_consumer_take(sb_consumer_t *consumer, int max, int timeout_ms, sb_message_t *messages,
                           int *count, sb_error_t *err)
{
    drop_taken(consumer);
    *count = 0;
    if (consumer->taken_cap < max) {
        rd_kafka_message_t **grown = realloc(consumer->taken, (size_t)max * sizeof(rd_kafka_message_t *));
        if (!grown)
            return sb_fail(err, SB_NO_MEMORY, "consume: out of memory");
        consumer->taken = grown;
        consumer->taken_cap = max;
    }
    consumer->taking = true;
    sb_code_t code = sb_consumer_poll(consumer, max, timeout_ms, put_message, &messages, count, err);
    consumer->taking = false;
    return code;
}

sb_code_t sb_consumer_next(sb_consumer_t *consumer, int timeout_ms, rd_kafka_message_t **out, sb_error_t *err)
{
    *out = NULL;
    sb_code_t code = act_on_rebalance(consumer, err);
    if (code != SB_OK)
        return code;
    assign_again(consumer);
    if (timeout_ms > 0) /* not before each of those that wait */
        look_for_orphans(consumer);
    rd_kafka_message_t *message = poll_message(consumer, timeout_ms);
    if (!message) {
        code = act_on_rebalance(consumer, err);
        return code == SB_OK ? told_if_kept_out(consumer, err) : code;
    }
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *out = message;
        return SB_OK;
    }
    code = on_message_error(consumer, message, err);
    rd_kafka_message_destroy(message);
    return code;
}

rd_kafka_t *sb_consumer_handle(sb_consumer_t *consumer)
{
    return consumer->handle;
}

bool sb_consumer_has_rebalance(const sb_consumer_t *consumer)
{
    return consumer->rebalance != NULL;
}

sb_code_t sb_consumer_seek(sb_consumer_t *consumer, const char *topic, int32_t partition, int64_t offset,
                           sb_error_t *err)
{
    rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer->handle, topic, NULL);
    if (!handle)
        return sb_kafka_fail(err, rd_kafka_last_error(), "topic %s", topic);
    rd_kafka_resp_err_t error = rd_kafka_seek(handle, partition, offset, SEEK_MS);
    rd_kafka_topic_destroy(handle);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "seek in %s", topic);
}

void sb_consumer_hold(sb_consumer_t *consumer, bool held)
{
    rd_kafka_topic_partition_list_t *all = NULL;
    if (held == consumer->held || rd_kafka_assignment(consumer->handle, &all) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    /* Never what is not paused: resuming it may take it back before 2.4.0 (#4636). */
    if (held)
        (void)rd_kafka_pause_partitions(consumer->handle, all);
    else
        (void)rd_kafka_resume_partitions(consumer->handle, all);
    consumer->held = held;
    rd_kafka_topic_partition_list_destroy(all);
}

sb_code_t sb_consumer_commit_at(sb_consumer_t *consumer, const sb_consumer_place_t *places, size_t count,
                                bool wait, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        if (places[i].offset >= 0)
            rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition)->offset =
                places[i].offset;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        error = rd_kafka_commit(consumer->handle, list, !wait);
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "commit offsets");
}

/* ---- commit and rewind ---- */

static rd_kafka_topic_partition_list_t *uncommitted(const sb_consumer_t *consumer)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->progress_count);
    for (size_t i = 0; i < consumer->progress_count; i++) {
        const progress_t *p = &consumer->progress[i];
        if (p->next > p->committed)
            rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->next;
    }
    return list;
}

sb_code_t sb_consumer_commit(sb_consumer_t *consumer, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = uncommitted(consumer);
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0)
        error = rd_kafka_commit(consumer->handle, list, 0);
    for (int i = 0; i < list->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        error = list->elems[i].err;
    for (int i = 0; i < list->cnt; i++) {
        progress_t *p = find_progress(consumer, list->elems[i].topic, list->elems[i].partition);
        if (error == RD_KAFKA_RESP_ERR_NO_ERROR && p)
            p->committed = p->next;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "commit offsets");
}

void sb_consumer_mark(sb_consumer_t *consumer)
{
    for (size_t i = 0; i < consumer->progress_count; i++)
        consumer->progress[i].marked = consumer->progress[i].next;
}

/* In a poll. A rewind meanwhile does not matter: what is committed is done with. */
static void on_committed(rd_kafka_t *handle, rd_kafka_resp_err_t error,
                         rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
    (void)handle;
    sb_consumer_t *consumer = opaque;
    for (int i = 0; offsets && i < offsets->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++)
        error = offsets->elems[i].err;
    for (int i = 0; offsets && i < offsets->cnt && error == RD_KAFKA_RESP_ERR_NO_ERROR; i++) {
        progress_t *p = find_progress(consumer, offsets->elems[i].topic, offsets->elems[i].partition);
        if (p && p->committed < offsets->elems[i].offset)
            p->committed = offsets->elems[i].offset;
    }
    consumer->commit_error = error;
    consumer->committing = false;
}

sb_code_t sb_consumer_commit_mark(sb_consumer_t *consumer, sb_error_t *err)
{
    if (consumer->committing)
        return sb_fail(err, SB_BUSY, "commit offsets: a commit is under way");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)consumer->progress_count);
    for (size_t i = 0; i < consumer->progress_count; i++) {
        const progress_t *p = &consumer->progress[i];
        if (p->marked > p->committed)
            rd_kafka_topic_partition_list_add(list, p->topic, p->partition)->offset = p->marked;
    }
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    if (list->cnt > 0) {
        rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(consumer->handle);
        error = rd_kafka_commit_queue(consumer->handle, list, queue, on_committed, consumer);
        rd_kafka_queue_destroy(queue);
        consumer->committing = error == RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    consumer->commit_error = error;
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "commit offsets");
}

bool sb_consumer_is_committing(const sb_consumer_t *consumer)
{
    return consumer->committing;
}

sb_code_t sb_consumer_committed(const sb_consumer_t *consumer, sb_error_t *err)
{
    rd_kafka_resp_err_t error = consumer->commit_error;
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "commit offsets");
}

static bool refused_in(const sb_consumer_t *consumer, const progress_t *p)
{
    return consumer->refused && consumer->refused->partition == p->partition &&
           strcmp(rd_kafka_topic_name(consumer->refused->rkt), p->topic) == 0;
}

static rd_kafka_resp_err_t seek_back(sb_consumer_t *consumer, const progress_t *p)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(consumer->handle, p->topic, NULL);
    if (!topic)
        return rd_kafka_last_error();
    /* One by one: rd_kafka_seek_partitions of 2.0.2 waits a thousandth of its time-out. */
    rd_kafka_resp_err_t error = rd_kafka_seek(topic, p->partition, p->committed, SEEK_MS);
    rd_kafka_topic_destroy(topic);
    return error;
}

sb_code_t sb_consumer_rewind(sb_consumer_t *consumer, sb_error_t *err)
{
    consumer->rewind = true;
    drop_taken(consumer);
    for (size_t i = 0; i < consumer->progress_count; i++) {
        progress_t *p = &consumer->progress[i];
        if (p->next == p->committed && !refused_in(consumer, p))
            continue;
        rd_kafka_resp_err_t error = seek_back(consumer, p);
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
            return sb_kafka_fail(err, error, "rewind %s %d", p->topic, p->partition);
        p->next = p->committed;
    }
    drop_refused(consumer);
    consumer->rewind = false;
    return SB_OK;
}

/* ---- closing ---- */

/* Before 2.3.0 (#4381) librdkafka aborts when a cooperative member is destroyed between joining and its first
 * assignment. So a member that has an id but never saw an assignment polls on for a while. */
static bool destroy_is_safe(const sb_consumer_t *consumer)
{
    if (consumer->was_assigned || rd_kafka_version() >= VERSION_SAFE_DESTROY)
        return true;
    char *member = rd_kafka_memberid(consumer->handle);
    bool joined = member && member[0];
    if (member)
        rd_kafka_mem_free(consumer->handle, member);
    return !joined;
}

static void wait_until_safe(sb_consumer_t *consumer, int64_t until_us)
{
    while (!destroy_is_safe(consumer) && sb_mono_us() < until_us) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, CLOSE_SERVE_MS);
        if (message)
            rd_kafka_message_destroy(message);
    }
}

/* Gives the partitions back first, and only then closes: an assignment that arrives while librdkafka before
 * 2.4.0 closes is one that it waits for without end (#4527). */
static void give_back(sb_consumer_t *consumer, int64_t until_us)
{
    rd_kafka_resp_err_t ignored = rd_kafka_unsubscribe(consumer->handle);
    (void)ignored;
    for (bool quiet = false; !quiet && sb_mono_us() < until_us;) {
        rd_kafka_topic_partition_list_t *list = NULL;
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, CLOSE_SERVE_MS);
        if (rd_kafka_assignment(consumer->handle, &list) == RD_KAFKA_RESP_ERR_NO_ERROR)
            quiet = list->cnt == 0 && !message;
        if (list)
            rd_kafka_topic_partition_list_destroy(list);
        if (message)
            rd_kafka_message_destroy(message);
    }
}

/* Leaves the group in order, unless that takes longer than it may. */
static bool leave(sb_consumer_t *consumer, int64_t until_us)
{
    give_back(consumer, until_us);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer->handle);
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(consumer->handle, queue);
    bool closing = !error;
    if (error)
        rd_kafka_error_destroy(error);
    while (closing && !rd_kafka_consumer_closed(consumer->handle) && sb_mono_us() < until_us) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CLOSE_SERVE_MS);
        /* Not by the callback here: this queue hands it out as an event. */
        if (event && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE)
            on_rebalance(consumer->handle, rd_kafka_event_error(event),
                         rd_kafka_event_topic_partition_list(event), consumer);
        if (event)
            rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return rd_kafka_consumer_closed(consumer->handle) != 0;
}

static void free_consumer(sb_consumer_t *consumer)
{
    for (size_t i = 0; i < consumer->progress_count; i++)
        free(consumer->progress[i].topic);
    free(consumer->progress);
    free(consumer->taken);
    free(consumer);
}

static void *destroy(void *context)
{
    sb_consumer_t *consumer = context;
    bool left = rd_kafka_consumer_closed(consumer->handle) != 0;
    rd_kafka_destroy_flags(consumer->handle, left ? 0 : RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    free_consumer(consumer);
    return NULL;
}

/* rd_kafka_destroy knows no time-out and has hung for more reasons than one, so it runs in a thread that can
 * be left behind with its consumer. */
static void destroy_in_time(sb_consumer_t *consumer)
{
    pthread_t thread;
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += DESTROY_S;
    if (!sb_thread_start(&thread, "consumer end", destroy, consumer)) {
        (void)destroy(consumer);
        return;
    }
    if (pthread_timedjoin_np(thread, NULL, &until) == 0)
        return;
    sb_log(SB_LOG_WARN, "CONSUMER-LEAK", "librdkafka does not end a consumer; it is left behind|version=%s",
           rd_kafka_version_str());
    (void)pthread_detach(thread);
}

void sb_consumer_close(sb_consumer_t **consumer, int timeout_ms)
{
    sb_consumer_t *c = *consumer;
    if (!c)
        return;
    *consumer = NULL;
    if (!c->handle) {
        free_consumer(c);
        return;
    }
    int64_t until = sb_mono_us() + (int64_t)timeout_ms * 1000;
    c->closing = true;
    act_whatever_happens(c);
    drop_refused(c);
    drop_taken(c);
    wait_until_safe(c, until);
    if (!destroy_is_safe(c)) { /* the callback keeps pointing at c, so c stays too */
        sb_log(SB_LOG_WARN, "CONSUMER-LEAK",
               "this librdkafka cannot end a member without an assignment; it is left behind|version=%s",
               rd_kafka_version_str());
        return;
    }
    if (!leave(c, until))
        sb_log(SB_LOG_WARN, "CONSUMER-CLOSE", "the group was not left in time|handle=%s",
               rd_kafka_name(c->handle));
    destroy_in_time(c);
}
