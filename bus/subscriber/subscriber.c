/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "bus/subscriber/subscriber_internal.h"
#include "bus/topic.h"
#include "migrations/list.h"

#include <fnmatch.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_MAX   500
#define ATTEMPTS    5
#define DELAY_MS    100
#define DELAY_MAX   30000
#define STUCK_MS    60000
#define QUEUE_MAX   10000
#define DRAIN_MS    10000
#define OWNER_HOST  25
#define LIMIT_BATCH 10000
#define LIMIT_QUEUE 1000000

bool sb_subscriber_fits(const char *pattern, sb_slice_t type)
{
    char text[SB_TYPE_MAX * 2];
    if (type.len >= sizeof text)
        return false;
    if (!strpbrk(pattern, "*?[\\"))
        return sb_slice_is(type, pattern);
    memcpy(text, type.ptr, type.len);
    text[type.len] = '\0';
    return fnmatch(pattern, text, 0) == 0;
}

sb_slice_t sb_delivery_header(const sb_delivery_t *delivery, const char *name)
{
    for (size_t i = delivery->header_count; i-- > 0;)
        if (strcmp(delivery->headers[i].name, name) == 0)
            return delivery->headers[i].value;
    return SB_SLICE_NONE;
}

/* ---- what is asked for ---- */

static sb_code_t check_subscription(const sb_subscriber_config_t *config, size_t index, sb_error_t *err)
{
    const sb_subscription_t *sub = &config->subscriptions[index];
    if (!sub->name || !sub->name[0] || strlen(sub->name) > SB_KEY_MAX)
        return sb_fail(err, SB_INVALID, "subscription %zu: a name of 1 to %u bytes is needed", index,
                       SB_KEY_MAX);
    for (size_t i = 0; i < index; i++)
        if (strcmp(config->subscriptions[i].name, sub->name) == 0)
            return sb_fail(err, SB_INVALID, "subscription %s is there twice", sub->name);
    if (!sub->on_events)
        return sb_fail(err, SB_INVALID, "subscription %s: on_events must be set", sub->name);
    if (sub->type_count == 0 || sub->type_count > SB_PATTERNS_MAX || !sub->types)
        return sb_fail(err, SB_INVALID, "subscription %s: 1 to %d types are needed", sub->name,
                       SB_PATTERNS_MAX);
    if (sub->lanes > SB_LANES_MAX || sub->batch_max > LIMIT_BATCH)
        return sb_fail(err, SB_INVALID, "subscription %s: at most %d lanes and %d events a batch", sub->name,
                       SB_LANES_MAX, LIMIT_BATCH);
    if (sub->from == SB_FROM_STORE && !config->store_uri)
        return sb_fail(err, SB_INVALID, "subscription %s: SB_FROM_STORE needs store_uri", sub->name);
    return SB_OK;
}

static sb_code_t check(const sb_subscriber_config_t *config, sb_error_t *err)
{
    if (!config->group || !config->group[0])
        return sb_fail(err, SB_INVALID, "subscriber: a group is needed");
    if (config->subscription_count == 0 || config->subscription_count > SB_SUBSCRIPTIONS_MAX)
        return sb_fail(err, SB_INVALID, "subscriber %s: 1 to %d subscriptions are needed", config->group,
                       SB_SUBSCRIPTIONS_MAX);
    if (config->pg_uri && !config->schema)
        return sb_fail(err, SB_INVALID, "subscriber %s: schema must say where the client tables are",
                       config->group);
    if (config->queue_max > LIMIT_QUEUE)
        return sb_fail(err, SB_INVALID, "subscriber %s: queue_max is %d at most", config->group, LIMIT_QUEUE);
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < config->subscription_count; i++)
        code = check_subscription(config, i, err);
    return code;
}

/* ---- topics ---- */

/* Appends text so that a regular expression takes it as it is. */
static void add_literal(sb_buf_t *out, const char *text)
{
    for (; *text; text++) {
        if (strchr(".^$*+?()[]{}|\\", *text))
            sb_buf_add_char(out, '\\');
        sb_buf_add_char(out, *text);
    }
}

/* "order.*" is in the topic of order; "*.created" may be in any. */
static sb_code_t topic_of(const char *pattern, const char *prefix, char **out, sb_error_t *err)
{
    sb_buf_t name = SB_BUF_INIT;
    size_t n = strcspn(pattern, ".");
    sb_slice_t category = {pattern, n};
    sb_code_t code = SB_OK;
    *out = NULL;
    if (n == 0)
        return sb_fail(err, SB_INVALID, "%s: expected a type or a pattern such as order.*", pattern);
    if (memchr(pattern, '*', n) || memchr(pattern, '?', n) || memchr(pattern, '[', n)) {
        sb_buf_add_char(&name, '^');
        add_literal(&name, prefix);
        sb_buf_add_text(&name, "[a-z0-9_-]+\\.events$");
    } else {
        sb_topic_t topic;
        code = sb_topic_events(topic, prefix, category, err);
        if (code == SB_OK)
            sb_buf_add_text(&name, topic);
    }
    if (code == SB_OK && (sb_buf_failed(&name) || !(*out = strdup(sb_buf_text(&name)))))
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_buf_fini(&name);
    return code;
}

/* Consumes name. */
static sb_code_t add_topic(sb_subscriber_t *s, char *name, sb_error_t *err)
{
    if (!name)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < s->topic_count; i++) {
        if (strcmp(s->topics[i], name) == 0) {
            free(name);
            return SB_OK;
        }
    }
    char **grown = realloc(s->topics, (s->topic_count + 1) * sizeof *grown);
    if (!grown) {
        free(name);
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    }
    s->topics = grown;
    s->topics[s->topic_count++] = name;
    return SB_OK;
}

static sb_code_t add_topics(sb_subscriber_t *s, const sb_subscriber_config_t *config, sb_error_t *err)
{
    const char *prefix = sb_config_get(s->config, "kafka.prefix");
    sb_code_t code = SB_OK;
    s->topics_given = config->topic_count > 0;
    for (size_t i = 0; code == SB_OK && i < config->topic_count; i++) {
        code = add_topic(s, strdup(config->topics[i]), err);
    }
    if (config->topic_count > 0)
        return code;
    for (size_t i = 0; code == SB_OK && i < config->subscription_count; i++) {
        const sb_subscription_t *sub = &config->subscriptions[i];
        for (size_t t = 0; code == SB_OK && t < sub->type_count; t++) {
            char *name = NULL;
            code = topic_of(sub->types[t], prefix, &name, err);
            if (code == SB_OK)
                code = add_topic(s, name, err);
        }
    }
    return code;
}

/* ---- subscriptions ---- */

static unsigned or_default(unsigned value, unsigned instead)
{
    return value ? value : instead;
}

static sb_code_t copy_types(sb_subscription_t *out, const sb_subscription_t *from, sb_error_t *err)
{
    const char **types = calloc(from->type_count, sizeof *types);
    out->types = types;
    out->type_count = 0;
    for (size_t i = 0; types && i < from->type_count; i++, out->type_count++)
        if (!(types[i] = strdup(from->types[i])))
            break;
    return out->type_count == from->type_count ? SB_OK : sb_fail(err, SB_NO_MEMORY, "out of memory");
}

static sb_code_t copy_config(sb_sub_t *sub, const sb_subscription_t *from, sb_error_t *err)
{
    sb_subscription_t *c = &sub->config;
    *c = *from;
    c->lanes = or_default(from->lanes, 1);
    c->batch_max = or_default(from->batch_max, c->lanes == 1 ? BATCH_MAX : 1);
    c->attempts_max = or_default(from->attempts_max, ATTEMPTS);
    c->retry_delay_ms = or_default(from->retry_delay_ms, DELAY_MS);
    c->retry_delay_max_ms = or_default(from->retry_delay_max_ms, DELAY_MAX);
    c->stuck_after_ms = or_default(from->stuck_after_ms, STUCK_MS);
    c->name = strdup(from->name);
    c->dead_letter_topic = from->dead_letter_topic ? strdup(from->dead_letter_topic) : NULL;
    sub->retry = (sb_retry_policy_t){.shape = SB_RETRY_EXPONENTIAL,
                                     .attempts_max = c->attempts_max,
                                     .delay_ms = c->retry_delay_ms,
                                     .delay_max_ms = c->retry_delay_max_ms,
                                     .jitter = true};
    if (!c->name || (from->dead_letter_topic && !c->dead_letter_topic)) {
        c->type_count = 0;
        c->types = NULL;
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    }
    return copy_types(c, from, err);
}

static sb_code_t make_lane(sb_sub_t *sub, sb_lane_t *lane, int number, sb_error_t *err)
{
    *lane = (sb_lane_t){.sub = sub, .number = number, .signal = {-1}};
    atomic_init(&lane->busy_since_us, 0);
    sb_code_t code = sb_signal_init(&lane->signal, err);
    if (code == SB_OK)
        code = sb_queue_new(&lane->queue, sub->subscriber->queue_max + 4 * SB_ROUND_MAX, &lane->signal, err);
    if (code != SB_OK)
        return code;
    lane->batch = calloc(sub->config.batch_max, sizeof(sb_entry_t *)); // NOLINT(bugprone-sizeof-expression)
    lane->deliveries = calloc(sub->config.batch_max, sizeof *lane->deliveries);
    lane->room = sb_sub_batch_room_new(sub->config.batch_max);
    return lane->batch && lane->deliveries && lane->room ? SB_OK
                                                         : sb_fail(err, SB_NO_MEMORY, "out of memory");
}

static sb_code_t make_sub(sb_subscriber_t *s, sb_sub_t *sub, size_t index, const sb_subscription_t *from,
                          sb_error_t *err)
{
    sub->subscriber = s;
    sub->index = index;
    atomic_init(&sub->holds_keys, false);
    (void)pthread_mutex_init(&sub->lock, NULL);
    (void)pthread_cond_init(&sub->idle, NULL);
    sb_code_t code = copy_config(sub, from, err);
    if (code != SB_OK)
        return code;
    sub->lanes = calloc(sub->config.lanes, sizeof *sub->lanes);
    if (!sub->lanes) {
        sub->config.lanes = 0;
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    }
    for (unsigned i = 0; i < sub->config.lanes; i++)
        sub->lanes[i].signal.fd = -1;
    for (unsigned i = 0; code == SB_OK && i < sub->config.lanes; i++)
        code = make_lane(sub, &sub->lanes[i], (int)i, err);
    return code;
}

static void free_sub(sb_sub_t *sub)
{
    for (unsigned i = 0; sub->lanes && i < sub->config.lanes; i++) {
        sb_lane_t *lane = &sub->lanes[i];
        sb_producer_close(&lane->copies);
        sb_sub_append_close(lane);
        sb_upcaster_free(&lane->upcaster);
        sb_pg_close(&lane->pg);
        sb_queue_free(&lane->queue);
        sb_signal_fini(&lane->signal);
        free(lane->batch);
        free(lane->deliveries);
        sb_sub_batch_room_free(lane->room);
    }
    free(sub->lanes);
    for (size_t i = 0; i < sub->config.type_count; i++)
        free((char *)(uintptr_t)sub->config.types[i]);
    free((void *)(uintptr_t)sub->config.types);
    free((char *)(uintptr_t)sub->config.name);
    free((char *)(uintptr_t)sub->config.dead_letter_topic);
    (void)pthread_cond_destroy(&sub->idle);
    (void)pthread_mutex_destroy(&sub->lock);
}

/* ---- opening ---- */

static bool copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return !text || *out;
}

/* The settings are copied name by name where they were given, so that the caller's may go. */
static sb_code_t load_settings(sb_subscriber_t *s, const sb_subscriber_config_t *config, sb_error_t *err)
{
    sb_code_t code = sb_config_new(&s->own_config, err);
    if (code == SB_OK)
        code = sb_config_load_environment(s->own_config, err);
    if (code == SB_OK && config->kafka_bootstrap)
        code = sb_config_set(s->own_config, "kafka.bootstrap", config->kafka_bootstrap, err);
    if (code == SB_OK && config->kafka_prefix)
        code = sb_config_set(s->own_config, "kafka.prefix", config->kafka_prefix, err);
    s->config = s->own_config;
    return code;
}

static sb_code_t fill_subscriber(sb_subscriber_t *s, const sb_config_t *settings,
                                 const sb_subscriber_config_t *config, sb_error_t *err)
{
    char host[HOST_NAME_MAX + 1] = "";
    (void)gethostname(host, sizeof host - 1);
    /* The end of a host's name is what tells pods apart. */
    size_t skip = strlen(host) > OWNER_HOST ? strlen(host) - OWNER_HOST : 0;
    /* In containers all are process 1, and one that is made anew may have the name of the one before. */
    sb_uuid_t id = sb_uuid_v7();
    (void)snprintf(s->owner, sizeof s->owner, "%.16s/%.25s/%d/%02x%02x%02x", config->group, host + skip,
                   (int)getpid(), id.byte[11], id.byte[12], id.byte[13]);
    s->queue_max = or_default(config->queue_max, QUEUE_MAX);
    s->drain_ms = or_default(config->drain_ms, DRAIN_MS);
    s->config = settings;
    if (!copy_text(&s->group, config->group) || !copy_text(&s->pg_uri, config->pg_uri) ||
        !copy_text(&s->schema, config->schema) || !copy_text(&s->store_uri, config->store_uri) ||
        !copy_text(&s->instance_id, config->instance_id))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    sb_code_t code = settings ? SB_OK : load_settings(s, config, err);
    if (code == SB_OK)
        code = add_topics(s, config, err);
    s->subs = calloc(config->subscription_count, sizeof *s->subs);
    if (code == SB_OK && !s->subs)
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    for (size_t i = 0; code == SB_OK && s->subs && i < config->subscription_count; i++) {
        s->sub_count++;
        code = make_sub(s, &s->subs[i], i, &config->subscriptions[i], err);
    }
    return code;
}

sb_code_t sb_subscriber_new(sb_subscriber_t **out, const sb_config_t *settings,
                            const sb_subscriber_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_code_t code = check(config, err);
    if (code != SB_OK)
        return code;
    sb_subscriber_t *s = calloc(1, sizeof *s);
    if (!s)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    atomic_init(&s->stopping, false);
    atomic_init(&s->lanes_stop, false);
    atomic_init(&s->room_below, 0);
    s->room.fd = -1;
    code = sb_signal_init(&s->room, err);
    if (code == SB_OK)
        code = fill_subscriber(s, settings, config, err);
    if (code == SB_OK)
        *out = s;
    else
        sb_subscriber_close(&s);
    return code;
}

sb_code_t sb_subscriber_open(sb_subscriber_t **out, const sb_subscriber_config_t *config, sb_error_t *err)
{
    return sb_subscriber_new(out, NULL, config, err);
}

void sb_subscriber_close(sb_subscriber_t **subscriber)
{
    sb_subscriber_t *s = *subscriber;
    if (!s)
        return;
    for (size_t i = 0; i < s->sub_count; i++)
        free_sub(&s->subs[i]);
    sb_fetched_pool_free(s);
    sb_signal_fini(&s->room);
    free(s->subs);
    for (size_t i = 0; i < s->topic_count; i++)
        free(s->topics[i]);
    free(s->topics);
    sb_config_free(&s->own_config);
    free(s->group);
    free(s->pg_uri);
    free(s->schema);
    free(s->store_uri);
    free(s->instance_id);
    free(s);
    *subscriber = NULL;
}

/* ---- running ---- */

static sb_code_t start_lanes(sb_subscriber_t *s, sb_error_t *err)
{
    atomic_store(&s->lanes_stop, false);
    for (size_t i = 0; i < s->sub_count; i++) {
        sb_sub_t *sub = &s->subs[i];
        for (unsigned l = 0; l < sub->config.lanes; l++) {
            if (!sb_thread_start(&sub->lanes[l].thread, "lane", sb_lane_run, &sub->lanes[l]))
                return sb_fail(err, SB_NO_MEMORY, "subscription %s: no thread for lane %u", sub->config.name,
                               l);
            sub->lanes[l].started = true;
        }
    }
    return SB_OK;
}

static void stop_lanes(sb_subscriber_t *s)
{
    atomic_store(&s->lanes_stop, true);
    for (size_t i = 0; i < s->sub_count; i++)
        for (unsigned l = 0; l < s->subs[i].config.lanes; l++)
            sb_signal_raise(&s->subs[i].lanes[l].signal);
    for (size_t i = 0; i < s->sub_count; i++) {
        for (unsigned l = 0; l < s->subs[i].config.lanes; l++) {
            sb_lane_t *lane = &s->subs[i].lanes[l];
            if (lane->started)
                (void)pthread_join(lane->thread, NULL);
            lane->started = false;
        }
    }
}

/* Waits for the database to be there; refuses tables of another version. */
static sb_code_t check_tables(sb_subscriber_t *s, sb_error_t *err)
{
    static const sb_retry_policy_t policy = {
        .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 100, .delay_max_ms = 2000, .jitter = true};
    sb_pg_config_t config = {.uri = s->pg_uri, .application_name = s->owner, .search_path = s->schema};
    for (uint32_t attempt = 1; s->pg_uri && !atomic_load(&s->stopping); attempt++) {
        sb_pg_t *pg = NULL;
        sb_error_t why = SB_ERROR_INIT;
        sb_code_t code = sb_pg_open(&pg, &config, &why);
        bool reached = code == SB_OK;
        if (reached)
            code = sb_migrate_check(pg, s->schema, sb_client_migrations, &why);
        reached = reached && sb_pg_is_open(pg);
        sb_pg_close(&pg);
        if (code == SB_OK || reached || code == SB_DENIED) {
            if (err)
                *err = why;
            return code == SB_UNAVAILABLE ? sb_context(err, SB_UNSUPPORTED, "subscriber %s", s->group) : code;
        }
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-WAIT", &why, "waits for the database|group=%s", s->group);
        sb_sleep_ms(sb_retry_delay_ms(&policy, attempt, (uint64_t)sb_mono_us()));
    }
    return SB_OK;
}

/* Waits for the store: without its catalog, events would be handed over as they were written. */
static sb_code_t open_store(sb_subscriber_t *s, sb_error_t *err)
{
    static const sb_retry_policy_t policy = {
        .shape = SB_RETRY_EXPONENTIAL, .delay_ms = 100, .delay_max_ms = 2000, .jitter = true};
    for (uint32_t attempt = 1; s->store_uri && !atomic_load(&s->stopping); attempt++) {
        sb_error_t why = SB_ERROR_INIT;
        sb_code_t code = sb_subscriber_store(s, &why);
        if (code != SB_UNAVAILABLE && code != SB_TIMEOUT) {
            if (code != SB_OK && err)
                *err = why;
            return code;
        }
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-WAIT", &why, "waits for the store|group=%s", s->group);
        sb_sleep_ms(sb_retry_delay_ms(&policy, attempt, (uint64_t)sb_mono_us()));
    }
    return SB_OK;
}

sb_code_t sb_subscriber_run(sb_subscriber_t *s, sb_error_t *err)
{
    sb_code_t code = check_tables(s, err);
    if (code == SB_OK)
        code = open_store(s, err);
    if (code == SB_OK && !atomic_load(&s->stopping)) {
        code = start_lanes(s, err);
        if (code == SB_OK)
            code = sb_subscriber_fetch(s, err);
    }
    stop_lanes(s); /* they give back every record before the consumer goes */
    sb_subscriber_fetch_end(s);
    return code;
}

void sb_subscriber_stop(sb_subscriber_t *s)
{
    atomic_store(&s->stopping, true);
}

void sb_subscriber_stats(const sb_subscriber_t *s, size_t index, sb_subscription_stats_t *out)
{
    sb_sub_t *sub = &s->subs[index];
    (void)pthread_mutex_lock(&sub->lock);
    *out = sub->stats;
    out->waiting = sub->waiting;
    (void)pthread_mutex_unlock(&sub->lock);
}
