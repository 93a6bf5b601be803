/* subscribe: events as JSON lines, or given to a command one by one, as a member of a consumer group.
 *
 * Without --state offsets are committed after the lines are written out (or the command has taken them), so
 * an interruption repeats some, and loses none. With it positions and dead letters are kept in a service's
 * schema.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/scan.h"
#include "base/thread.h"
#include "bus/subscriber/subscriber.h"
#include "bus/topic.h"
#include "bus/topics.h"
#include "cli/commands.h"
#include "cli/subscribe_exec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <strings.h>

#define LOOK_MS     50
#define EXEC_MS     60000
#define EXEC_SLACK  10000
#define MAX_EXEC_MS 86400000
#define BATCH_LINES 256
#define TELL_US     3000000
#define TOPICS_MS   10000

typedef struct subscription {
    sb_cli_t *cli;
    const char *command; /* --exec; NULL: standard output */
    int64_t timeout_ms;
    int64_t limit;
    atomic_llong handled;
    pthread_mutex_t out; /* lines of several lanes */
    sb_subscriber_t *subscriber;
    atomic_bool ended;
    sb_code_t code;
    sb_error_t err;
} subscription_t;

/* ---- one event as a line ---- */

static void add_text(sb_buf_t *line, const char *name, size_t name_length, sb_slice_t value)
{
    if (line->len > 1)
        sb_buf_add_char(line, ',');
    sb_buf_add_json(line, (sb_slice_t){name, name_length});
    sb_buf_add_char(line, ':');
    sb_buf_add_json(line, value);
}

/* Line breaks in JSON stand between tokens only: in strings it has them escaped. */
static void end_line(sb_buf_t *line)
{
    for (size_t i = 0; !sb_buf_failed(line) && i < line->len; i++)
        if (line->ptr[i] == '\n' || line->ptr[i] == '\r')
            line->ptr[i] = ' ';
    sb_buf_add_char(line, '\n');
}

static bool is_structured(const sb_delivery_t *d)
{
    static const char structured[] = "application/cloudevents";
    sb_slice_t type = sb_delivery_header(d, "content-type");
    return type.len >= sizeof structured - 1 && strncasecmp(type.ptr, structured, sizeof structured - 1) == 0;
}

static void add_place(const sb_delivery_t *d, sb_buf_t *line)
{
    if (line->len > 1)
        sb_buf_add_char(line, ',');
    sb_buf_printf(line, "\"kafka\":{\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,\"key\":", d->topic,
                  (int)d->partition, (long long)d->offset);
    if (d->key.ptr)
        sb_buf_add_json(line, d->key);
    else
        sb_buf_add_text(line, "null");
    sb_buf_add_char(line, '}');
}

/* The event as structured CloudEvents JSON, and where it stood in Kafka. */
static void write_line(const sb_delivery_t *d, sb_buf_t *line)
{
    sb_buf_add_char(line, '{');
    for (size_t i = 0; i < d->header_count; i++)
        if (strncmp(d->headers[i].name, "ce_", 3) == 0)
            add_text(line, d->headers[i].name + 3, strlen(d->headers[i].name) - 3, d->headers[i].value);
    sb_slice_t trace = sb_delivery_header(d, "traceparent");
    sb_slice_t position = sb_delivery_header(d, "sb-pos");
    if (trace.ptr)
        add_text(line, "traceparent", 11, trace);
    if (position.ptr)
        add_text(line, "sbpos", 5, position);
    add_place(d, line);
    sb_buf_add_text(line, ",\"data\":");
    if (!d->value.ptr)
        sb_buf_add_text(line, "null");
    else if (sb_scan_valid(d->value, NULL))
        sb_buf_add_slice(line, d->value);
    else
        sb_buf_add_json(line, d->value);
    sb_buf_add_char(line, '}');
}

static void make_line(const sb_delivery_t *d, sb_buf_t *line)
{
    sb_buf_reset(line);
    if (is_structured(d)) /* is such a line already */
        sb_buf_add_slice(line, d->value);
    else
        write_line(d, line);
    end_line(line);
}

/* ---- handling ---- */

static sb_code_t print(subscription_t *s, const sb_delivery_t *deliveries, size_t count, sb_error_t *err)
{
    sb_buf_t line = SB_BUF_INIT;
    bool failed = false;
    (void)pthread_mutex_lock(&s->out);
    for (size_t i = 0; i < count && !failed; i++) {
        make_line(&deliveries[i], &line);
        failed = sb_buf_failed(&line);
        if (!failed)
            sb_output_text(&s->cli->out, sb_buf_slice(&line));
    }
    bool closed = fflush(s->cli->out.to) != 0;
    (void)pthread_mutex_unlock(&s->out);
    sb_buf_fini(&line);
    if (failed)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    return closed ? sb_fail(err, SB_UNAVAILABLE, "standard output is closed") : SB_OK;
}

static sb_code_t execute(subscription_t *s, const sb_delivery_t *delivery, sb_error_t *err)
{
    sb_buf_t line = SB_BUF_INIT;
    make_line(delivery, &line);
    sb_code_t code = sb_buf_failed(&line)
                         ? sb_fail(err, SB_NO_MEMORY, "out of memory")
                         : sb_subscribe_exec(s->command, sb_buf_slice(&line), delivery, s->timeout_ms, err);
    sb_buf_fini(&line);
    return code;
}

static void end(subscription_t *s, sb_code_t code, const sb_error_t *err)
{
    if (code != SB_OK && s->code == SB_OK) {
        s->code = code;
        s->err = *err;
    }
    sb_subscriber_stop(s->subscriber);
}

/* What the command has refused is behind us, too; what is no event is no line. */
static bool has_room(subscription_t *s, size_t count)
{
    sb_subscription_stats_t stats = {.dead_letters = 0};
    if (s->command)
        sb_subscriber_stats(s->subscriber, 0, &stats);
    return s->limit - atomic_load(&s->handled) - stats.dead_letters >= (int64_t)count;
}

/* With a limit, one at a time: what is beyond it must stay for the next one. */
static sb_code_t on_events(void *context, struct pg_conn *conn, const sb_delivery_t *deliveries, size_t count,
                           sb_error_t *err)
{
    subscription_t *s = context;
    sb_code_t code = SB_OK;
    (void)conn;
    if (!has_room(s, count))
        return sb_fail(err, SB_STOPPED, "the limit is reached");
    if (s->command) {
        for (size_t i = 0; code == SB_OK && i < count; i++)
            code = execute(s, &deliveries[i], err);
    } else {
        code = print(s, deliveries, count, err);
        if (code != SB_OK) { /* of the output, not of the events: none of them is given up for it */
            end(s, code, err);
            code = sb_fail(err, SB_STOPPED, "nobody reads the output");
        }
    }
    if (code == SB_OK)
        atomic_fetch_add(&s->handled, (int64_t)count);
    if (!has_room(s, 1))
        end(s, SB_OK, NULL);
    return code;
}

/* ---- what is asked for ---- */

static sb_code_t read_from(const sb_cli_t *cli, sb_subscription_t *out, sb_error_t *err)
{
    const char *from = sb_cli_option(cli, "from");
    bool store = sb_cli_option(cli, "from-store") != NULL;
    if (from && strcmp(from, "now") == 0 && !store) {
        out->from = SB_FROM_NOW;
    } else if (from && strcmp(from, "beginning") != 0) {
        sb_code_t code = sb_cli_option_int(cli, "from", 0, INT64_MAX, 0, &out->from_seq, err);
        if (code != SB_OK)
            return sb_fail(err, SB_INVALID, "--from %s: expected beginning, now or a sequence number", from);
        out->from = SB_FROM_SEQ;
    }
    if (store)
        out->from = SB_FROM_STORE;
    return SB_OK;
}

static sb_code_t read_order(const sb_cli_t *cli, sb_subscription_t *out, sb_error_t *err)
{
    const char *order = sb_cli_option(cli, "order");
    if (!order || strcmp(order, "key") == 0)
        out->order = SB_ORDER_KEY;
    else if (strcmp(order, "none") == 0)
        out->order = SB_ORDER_NONE;
    else if (strcmp(order, "partition") == 0)
        out->order = SB_ORDER_PARTITION;
    else
        return sb_fail(err, SB_INVALID, "--order %s: expected key, none or partition", order);
    return SB_OK;
}

static sb_code_t read_options(subscription_t *s, sb_subscription_t *out, sb_error_t *err)
{
    const sb_cli_t *cli = s->cli;
    int64_t lanes = 1;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, INT64_MAX, INT64_MAX, &s->limit, err);
    if (code == SB_OK)
        code = sb_cli_option_ms(cli, "timeout", EXEC_MS, &s->timeout_ms, err);
    if (code == SB_OK && (s->timeout_ms < 1 || s->timeout_ms > MAX_EXEC_MS))
        code = sb_fail(err, SB_INVALID, "--timeout: expected 1ms to 24h");
    if (code == SB_OK)
        code = sb_cli_option_int(cli, "lanes", 1, SB_LANES_MAX, 1, &lanes, err);
    if (code == SB_OK)
        code = read_from(cli, out, err);
    if (code == SB_OK)
        code = read_order(cli, out, err);
    atomic_init(&s->handled, 0);
    out->lanes = s->limit == INT64_MAX ? (unsigned)lanes : 1;
    out->batch_max = s->limit == INT64_MAX && !s->command ? BATCH_LINES : 1;
    out->stuck_after_ms = (unsigned)(s->timeout_ms + EXEC_SLACK);
    return code;
}

/* ---- the topic of copies ---- */

/* As other topics that are not there it is made, where topics.manage allows it. */
static sb_code_t make_topic(const sb_cli_t *cli, sb_topic_list_t *list, sb_error_t *err)
{
    bool manage = true;
    int created = 0;
    sb_code_t code = sb_config_get_bool(cli->config, "topics.manage", &manage, err);
    if (code == SB_OK && !manage)
        return sb_fail(err, SB_NOT_FOUND,
                       "topic %s is not there, and topics.manage is false: what becomes a dead letter would "
                       "wait for its copy, and all behind it",
                       list->item[0].name);
    return code == SB_OK ? sb_topics_apply(cli->config, list, TOPICS_MS, &created, err) : code;
}

/* A copy that cannot be made holds its event up: a topic that was mistyped is said now. */
static sb_code_t prepare_copies(const sb_cli_t *cli, const char *name, sb_topic_t topic, sb_error_t *err)
{
    sb_slice_t category;
    sb_topic_list_t list = {NULL, 0, 0};
    sb_error_t away = SB_ERROR_INIT;
    int64_t partitions = 1;
    const char *prefix = sb_config_get(cli->config, "kafka.prefix");
    if (!name[0])
        return sb_fail(err, SB_INVALID, "--dead-letter-topic needs a name");
    sb_code_t code = sb_topic_named(topic, prefix, name, err);
    if (code == SB_OK && sb_topic_is_events(topic, prefix, &category))
        code = sb_fail(err, SB_INVALID,
                       "--dead-letter-topic %s: its subscribers would take copies for events", name);
    if (code == SB_OK)
        code = sb_config_get_int(cli->config, "topics.partitions", 1, INT32_MAX, &partitions, err);
    if (code == SB_OK)
        code = sb_topic_list_add(&list, topic, (int32_t)partitions, err);
    if (code == SB_OK && sb_topics_inspect(cli->config, &list, TOPICS_MS, &away) == SB_OK &&
        list.item[0].found == 0) /* brokers that are away are waited for */
        code = make_topic(cli, &list, err);
    sb_topic_list_fini(&list);
    return code;
}

/* ---- running ---- */

static void *run(void *context)
{
    subscription_t *s = context;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = sb_subscriber_run(s->subscriber, &err);
    if (code != SB_OK)
        end(s, code, &err);
    atomic_store(&s->ended, true);
    return NULL;
}

static bool is_listed(const sb_topic_list_t *list, const char *topic)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i].name, topic) == 0)
            return true;
    return false;
}

/* Whoever mistyped a type would wait for ever and see nothing. */
static void tell_what_is_waited_for(const subscription_t *s)
{
    const sb_cli_t *cli = s->cli;
    const char *prefix = sb_config_get(cli->config, "kafka.prefix");
    sb_topic_list_t list = {NULL, 0, 0};
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = SB_OK;
    for (int i = 0; i < cli->argument_count && code == SB_OK; i++) {
        sb_topic_t topic;
        sb_slice_t category = sb_event_category(sb_slice(cli->argument[i]));
        if (category.len > 0 && sb_topic_events(topic, prefix, category, NULL) == SB_OK && /* not of "*.a" */
            !is_listed(&list, topic))
            code = sb_topic_list_add(&list, topic, 1, &err);
    }
    if (code == SB_OK && list.count > 0)
        code = sb_topics_inspect(cli->config, &list, TOPICS_MS, &err);
    if (code != SB_OK)
        sb_cli_note(cli, "waiting: %s", err.message);
    for (size_t i = 0; code == SB_OK && i < list.count; i++)
        sb_cli_note(cli, "waiting for events of %s%s", list.item[i].name,
                    list.item[i].found ? "" : ", which is not there yet (sagabus topics plan)");
    sb_topic_list_fini(&list);
}

static sb_code_t run_until_interrupted(subscription_t *s, sb_error_t *err)
{
    int64_t tell_us = sb_mono_us() + TELL_US;
    pthread_t thread;
    if (!sb_thread_start(&thread, "subscribe", run, s))
        return sb_fail(err, SB_NO_MEMORY, "no thread");
    while (!atomic_load(&s->ended) && !sb_cli_interrupted()) {
        sb_sleep_ms(LOOK_MS);
        if (!has_room(s, 1))
            break;
        if (sb_mono_us() < tell_us)
            continue;
        tell_us = INT64_MAX;
        if (atomic_load(&s->handled) == 0)
            tell_what_is_waited_for(s);
    }
    sb_subscriber_stop(s->subscriber);
    (void)pthread_join(thread, NULL);
    if (s->code != SB_OK && err)
        *err = s->err;
    return s->code;
}

sb_code_t sb_cmd_subscribe(sb_cli_t *cli, sb_error_t *err)
{
    const char *group = sb_cli_option(cli, "group");
    const char *state = sb_cli_option(cli, "state");
    const char *copies = sb_cli_option(cli, "dead-letter-topic");
    sb_topic_t topic;
    const char *pg_uri = sb_config_get(cli->config, "pg.uri");
    subscription_t s = {.cli = cli, .command = sb_cli_option(cli, "exec")};
    sb_subscription_t subscription = {.name = group,
                                      .types = cli->argument,
                                      .type_count = (size_t)cli->argument_count,
                                      .on_events = on_events,
                                      .context = &s};
    if (!group || !group[0])
        return sb_fail(err, SB_INVALID, "subscribe needs --group NAME: where it continues the next time");
    sb_code_t code = read_options(&s, &subscription, err);
    if (code == SB_OK && copies && !state)
        code = sb_fail(err, SB_INVALID, "--dead-letter-topic goes with --state: dead letters are kept there");
    if (code == SB_OK && copies)
        code = prepare_copies(cli, copies, topic, err);
    if (code != SB_OK)
        return code;
    subscription.dead_letter_topic = copies ? topic : NULL;
    sb_subscriber_config_t config = {.group = group,
                                     .pg_uri = state ? pg_uri : NULL,
                                     .schema = state,
                                     .store_uri = sb_cli_option(cli, "from-store") ? pg_uri : NULL,
                                     .subscriptions = &subscription,
                                     .subscription_count = 1};
    code = sb_subscriber_new(&s.subscriber, cli->config, &config, err);
    if (code != SB_OK)
        return code;
    (void)pthread_mutex_init(&s.out, NULL);
    atomic_init(&s.ended, false);
    sb_cli_catch_interrupt();
    code = run_until_interrupted(&s, err);
    sb_subscriber_close(&s.subscriber);
    (void)pthread_mutex_destroy(&s.out);
    if (code == SB_OK && sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    return code;
}
