/* publish --direct: to Kafka only, past the store. (publish without it is an append over HTTP, cmd_event.c.)
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/publisher.h"
#include "cli/commands.h"

#include <stdio.h>

typedef struct outcome {
    char topic[256];
    int32_t partition;
    int64_t offset;
} outcome_t;

static void on_published(void *context, const sb_published_t *published)
{
    outcome_t *outcome = context;
    outcome->partition = published->partition;
    outcome->offset = published->offset;
    (void)snprintf(outcome->topic, sizeof outcome->topic, "%s", published->topic);
}

static sb_code_t read_event(const sb_cli_t *cli, sb_buf_t *data, sb_event_t *event, sb_error_t *err)
{
    const char *id = sb_cli_option(cli, "id");
    const char *body = sb_cli_option(cli, "data");
    *event = (sb_event_t){.type = sb_slice(cli->argument[0]),
                          .subject = sb_slice(sb_cli_option(cli, "key")),
                          .traceparent = sb_slice(sb_cli_option(cli, "traceparent"))};
    if (!body)
        return sb_fail(err, SB_INVALID, "publish needs --data JSON, @FILE or @-");
    if (id && !sb_uuid_parse(id, strlen(id), &event->id))
        return sb_fail(err, SB_INVALID, "--id %s: with --direct an id is a UUID", id);
    if (!id)
        event->id = sb_uuid_v7();
    sb_code_t code = sb_cli_check_trace(cli, err);
    if (code == SB_OK)
        code = sb_cli_content(body, data, err);
    event->data = sb_buf_slice(data);
    return code;
}

static void print_outcome(sb_cli_t *cli, const sb_event_t *event, const outcome_t *outcome)
{
    char id[SB_UUID_TEXT];
    json_t *answer =
        json_pack("{s:s, s:s, s:i, s:I}", "id", sb_uuid_format(&event->id, id), "topic", outcome->topic,
                  "partition", (int)outcome->partition, "offset", (json_int_t)outcome->offset);
    sb_output_object(&cli->out, answer);
    json_decref(answer);
}

sb_code_t sb_cmd_publish_direct(sb_cli_t *cli, sb_error_t *err)
{
    sb_event_t event;
    sb_buf_t data = SB_BUF_INIT;
    sb_publisher_t *publisher = NULL;
    int64_t timeout_ms = 0;
    outcome_t outcome = {.partition = -1, .offset = -1};
    sb_publisher_config_t config = {.client_id = "sagabus-cli",
                                    .source = sb_cli_option(cli, "source"),
                                    .structured = sb_cli_option(cli, "structured") != NULL,
                                    .on_published = on_published,
                                    .context = &outcome};
    sb_code_t code = sb_cli_option_ms(cli, "timeout", 30000, &timeout_ms, err);
    if (code == SB_OK)
        code = read_event(cli, &data, &event, err);
    if (code == SB_OK)
        code = sb_publisher_new(&publisher, cli->config, &config, err);
    if (code == SB_OK)
        code = sb_publisher_send(publisher, &event, sb_cli_option(cli, "topic"), 0, err);
    if (code == SB_OK)
        code = sb_publisher_flush(publisher, timeout_ms < INT32_MAX ? (int)timeout_ms : INT32_MAX, err);
    if (code == SB_NOT_FOUND)
        code = sb_context(err, code, "publish.direct names the categories whose topic `topics apply` makes");
    if (code == SB_OK)
        print_outcome(cli, &event, &outcome);
    sb_publisher_close(&publisher);
    sb_buf_fini(&data);
    return code;
}
