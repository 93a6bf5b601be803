/* subscribe: events of Kafka as JSON lines, as a member of a consumer group.
 *
 * Offsets are committed after the lines are written out (or the program has taken them), so an interruption
 * repeats some, and loses none.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"
#include "base/scan.h"
#include "bus/consumer.h"
#include "bus/message.h"
#include "bus/topic.h"
#include "cli/commands.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>

typedef struct subscription {
    sb_cli_t *cli;
    const char *program; /* --exec; NULL: standard output */
    int64_t left;
    sb_buf_t line;
    sb_buf_t scratch; /* of the message in hand */
} subscription_t;

/* ---- which topics ---- */

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

static bool is_wanted(const sb_cli_t *cli, sb_slice_t type)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s", SB_SLICE_ARG(type));
    for (int i = 0; i < cli->argument_count; i++)
        if (fnmatch(cli->argument[i], text, 0) == 0)
            return true;
    return false;
}

/* ---- one message ---- */

static void add_text(sb_buf_t *line, const char *name, size_t name_length, sb_slice_t value)
{
    if (line->len > 1)
        sb_buf_add_char(line, ',');
    sb_buf_add_json(line, (sb_slice_t){name, name_length});
    sb_buf_add_char(line, ':');
    sb_buf_add_json(line, value);
}

static bool is_attribute(const char *name)
{
    return strncmp(name, "ce_", 3) == 0;
}

/* Line breaks in JSON stand between tokens only: in strings it has them escaped. */
static void end_line(sb_buf_t *line)
{
    for (size_t i = 0; !sb_buf_failed(line) && i < line->len; i++)
        if (line->ptr[i] == '\n' || line->ptr[i] == '\r')
            line->ptr[i] = ' ';
    sb_buf_add_char(line, '\n');
}

/* The event as structured CloudEvents JSON, and where it stood in Kafka. */
static void write_line(const sb_message_t *message, sb_buf_t *line)
{
    sb_buf_add_char(line, '{');
    for (size_t i = 0; i < message->header_count; i++)
        if (is_attribute(message->headers[i].name))
            add_text(line, message->headers[i].name + 3, strlen(message->headers[i].name) - 3,
                     message->headers[i].value);
    sb_slice_t trace = sb_message_header(message, "traceparent");
    sb_slice_t position = sb_message_header(message, "sb-pos");
    if (trace.ptr)
        add_text(line, "traceparent", 11, trace);
    if (position.ptr)
        add_text(line, "sbpos", 5, position);
    if (line->len > 1)
        sb_buf_add_char(line, ',');
    sb_buf_printf(line,
                  "\"kafka\":{\"topic\":\"%s\",\"partition\":%d,\"offset\":%lld,\"key\":", message->topic,
                  (int)message->partition, (long long)message->offset);
    if (message->key.ptr)
        sb_buf_add_json(line, message->key);
    else
        sb_buf_add_text(line, "null");
    sb_buf_add_text(line, "},\"data\":");
    if (!message->value.ptr)
        sb_buf_add_text(line, "null");
    else if (sb_scan_valid(message->value, NULL))
        sb_buf_add_slice(line, message->value);
    else
        sb_buf_add_json(line, message->value);
    sb_buf_add_char(line, '}');
}

static sb_code_t run_program(const subscription_t *s, sb_error_t *err)
{
    FILE *pipe = popen(s->program, "w");
    if (!pipe)
        return sb_fail(err, SB_UNAVAILABLE, "cannot start %s", s->program);
    bool written = fwrite(s->line.ptr, 1, s->line.len, pipe) == s->line.len;
    int status = pclose(pipe);
    if (status != 0)
        return sb_fail(err, SB_INTERNAL, "%s ended with %d; its event will come again", s->program,
                       status > 255 ? status >> 8 : status);
    return written ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "%s did not read its event", s->program);
}

static sb_code_t on_message(void *context, const sb_message_t *message, sb_error_t *err)
{
    subscription_t *s = context;
    sb_event_t event;
    sb_message_info_t info;
    sb_error_t why = SB_ERROR_INIT;
    if (s->left == 0)
        return SB_OK;
    sb_code_t code = sb_message_decode(message, &s->scratch, &event, &info, &why);
    if (code == SB_NO_MEMORY)
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code != SB_OK)
        sb_log_error(SB_LOG_WARN, "SUBSCRIBE-SKIP", &why, "passed over what is no event");
    if (code != SB_OK || !is_wanted(s->cli, event.type))
        return SB_OK;
    sb_buf_reset(&s->line);
    if (info.structured) /* is such a line already */
        sb_buf_add_slice(&s->line, message->value);
    else
        write_line(message, &s->line);
    end_line(&s->line);
    if (sb_buf_failed(&s->line))
        return sb_fail(err, SB_NO_MEMORY, "out of memory");
    s->left--;
    if (s->program)
        return run_program(s, err);
    sb_output_text(&s->cli->out, sb_buf_slice(&s->line));
    return SB_OK;
}

/* ---- the loop ---- */

static sb_code_t consume(subscription_t *s, sb_consumer_t *consumer, sb_error_t *err)
{
    /* With a limit, one at a time: what was fetched beyond it must not be committed. */
    int batch = s->left == INT64_MAX && !s->program ? 256 : 1;
    while (s->left > 0 && !sb_cli_interrupted()) {
        int count = 0;
        sb_code_t code = sb_consumer_poll(consumer, batch, 250, on_message, s, &count, err);
        if (code != SB_OK)
            return code;
        if (count == 0)
            continue;
        if (fflush(s->cli->out.to) != 0)
            return sb_fail(err, SB_UNAVAILABLE, "standard output is closed");
        code = sb_consumer_commit(consumer, err);
        if (code == SB_UNAVAILABLE &&
            s->left > 0) /* in the midst of a rebalance: the next one takes it along */
            sb_error_clear(err);
        else if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

sb_code_t sb_cmd_subscribe(sb_cli_t *cli, sb_error_t *err)
{
    char *topics[SB_CLI_ARGUMENTS_MAX] = {NULL};
    size_t topic_count = 0;
    const char *group = sb_cli_option(cli, "group");
    const char *prefix = sb_config_get(cli->config, "kafka.prefix");
    subscription_t s = {
        .cli = cli, .program = sb_cli_option(cli, "exec"), .line = SB_BUF_INIT, .scratch = SB_BUF_INIT};
    sb_consumer_t *consumer = NULL;
    sb_code_t code = sb_cli_option_int(cli, "limit", 1, INT64_MAX, INT64_MAX, &s.left, err);
    if (code == SB_OK && (!group || !group[0]))
        code = sb_fail(err, SB_INVALID, "subscribe needs --group NAME: where it continues the next time");
    for (int i = 0; code == SB_OK && i < cli->argument_count; i++)
        code = topic_of(cli->argument[i], prefix, &topics[topic_count++], err);
    if (code == SB_OK) {
        sb_cli_catch_interrupt();
        code = sb_consumer_open(&consumer, cli->config, group, (const char *const *)topics, topic_count, err);
    }
    if (code == SB_OK)
        code = consume(&s, consumer, err);
    sb_consumer_close(&consumer, 5000);
    for (size_t i = 0; i < topic_count; i++)
        free(topics[i]);
    sb_buf_fini(&s.line);
    sb_buf_fini(&s.scratch);
    if (code == SB_OK && sb_cli_interrupted())
        cli->exit_code = SB_EXIT_INTERRUPTED;
    return code;
}
