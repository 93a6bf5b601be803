/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "saga/topology.h"

#include <stdio.h>
#include <string.h>

#define TIMEOUT_MS 15000

static const char *state_of(const sb_topic_want_t *topic)
{
    if (topic->found == 0)
        return "missing";
    return topic->found == topic->partitions ? "ok" : "other partition count";
}

static sb_code_t print_topics(sb_cli_t *cli, const sb_topic_list_t *list, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"TOPIC", "/topic"},
                                          {"PARTITIONS", "/partitions"},
                                          {"FOUND", "/found"},
                                          {"STATE", "/state"},
                                          {NULL, NULL}};
    json_t *items = json_array();
    for (size_t i = 0; i < list->count; i++)
        (void)json_array_append_new(items,
                                    json_pack("{s:s, s:i, s:i, s:s}", "topic", list->item[i].name,
                                              "partitions", (int)list->item[i].partitions, "found",
                                              (int)list->item[i].found, "state", state_of(&list->item[i])));
    bool whole = json_array_size(items) == list->count;
    if (whole)
        sb_output_items(&cli->out, items, columns);
    json_decref(items);
    return whole ? SB_OK : sb_fail(err, SB_NO_MEMORY, "out of memory");
}

static sb_code_t wanted(const sb_cli_t *cli, sb_topic_list_t *list, sb_error_t *err)
{
    sb_registry_t registry;
    sb_code_t code = sb_registry_open(&registry, cli, err);
    if (code == SB_OK)
        code = sb_topology(cli->config, registry.pg, registry.catalog, list, err);
    sb_registry_close(&registry);
    return code;
}

sb_code_t sb_cmd_topics_plan(sb_cli_t *cli, sb_error_t *err)
{
    sb_topic_list_t list = {NULL, 0, 0};
    sb_code_t code = wanted(cli, &list, err);
    if (code == SB_OK)
        code = sb_topics_inspect(cli->config, &list, TIMEOUT_MS, err);
    if (code == SB_OK)
        code = print_topics(cli, &list, err);
    sb_topic_list_fini(&list);
    return code;
}

sb_code_t sb_cmd_topics_apply(sb_cli_t *cli, sb_error_t *err)
{
    sb_topic_list_t list = {NULL, 0, 0};
    int created = 0;
    sb_code_t code = wanted(cli, &list, err);
    if (code == SB_OK)
        code = sb_topics_apply(cli->config, &list, TIMEOUT_MS, &created, err);
    if (code == SB_OK && cli->out.format != SB_OUTPUT_TABLE)
        code = print_topics(cli, &list, err);
    if (code == SB_OK)
        sb_cli_note(cli, "%d topic%s created, %zu in all", created, created == 1 ? "" : "s", list.count);
    sb_topic_list_fini(&list);
    return code;
}

/* ---- rights ---- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static bool add_right(json_t *items, const char *who, const char *resource, const char *name,
                      const char *operations)
{
    return json_array_append_new(items, json_pack("{s:s, s:s, s:s, s:s}", "who", who, "resource", resource,
                                                  "name", name, "operations", operations)) == 0;
}

/* The rights on one topic: the server's, and those of the other side. prefix is kafka.prefix. */
static bool add_topic(json_t *items, const char *name, const char *prefix, bool manage)
{
    static const char commands[] = "cmd.";
    const char *bare = name + strlen(prefix);
    char who[SB_TOPIC_MAX + 32];
    if (strncmp(bare, commands, sizeof commands - 1) == 0) {
        const char *participant = bare + sizeof commands - 1;
        char group[SB_TOPIC_MAX * 2];
        (void)snprintf(who, sizeof who, "participant %s", participant);
        (void)snprintf(group, sizeof group, "%s%s", prefix, participant);
        return add_right(items, "serve", "topic", name,
                         manage ? "Create, Describe, Write" : "Describe, Write") &&
               add_right(items, who, "topic", name, "Describe, Read") &&
               add_right(items, who, "group", group, "Describe, Read");
    }
    if (ends_with(bare, ".replies"))
        return add_right(items, "serve", "topic", name,
                         manage ? "Create, Describe, Read, Write" : "Describe, Read, Write") &&
               add_right(items, "participants", "topic", name, "Describe, Write");
    if (ends_with(bare, ".direct"))
        return add_right(items, "direct publishers", "topic", name, "Describe, Write") &&
               add_right(items, "subscribers", "topic", name, "Describe, Read") &&
               (!manage || add_right(items, "serve", "topic", name, "Create, Describe"));
    return add_right(items, "serve", "topic", name,
                     manage ? "Create, Delete, Describe, DescribeConfigs, Read, Write"
                            : "Describe, DescribeConfigs, Read, Write") &&
           add_right(items, "subscribers", "topic", name, "Describe, Read");
}

sb_code_t sb_cmd_topics_acls(sb_cli_t *cli, sb_error_t *err)
{
    static const sb_column_t columns[] = {{"WHO", "/who"},
                                          {"RESOURCE", "/resource"},
                                          {"NAME", "/name"},
                                          {"OPERATIONS", "/operations"},
                                          {NULL, NULL}};
    bool manage = true;
    bool whole = true;
    sb_topic_list_t list = {NULL, 0, 0};
    json_t *items = json_array();
    sb_code_t code = sb_config_get_bool(cli->config, "topics.manage", &manage, err);
    if (code == SB_OK)
        code = wanted(cli, &list, err);
    for (size_t i = 0; i < list.count && whole && code == SB_OK; i++)
        whole = add_topic(items, list.item[i].name, sb_config_get(cli->config, "kafka.prefix"), manage);
    /* Before Kafka 2.8 an idempotent producer needs a right on the cluster. */
    whole = whole && add_right(items, "serve, participants", "cluster", "kafka-cluster", "IdempotentWrite");
    if (code == SB_OK && !whole)
        code = sb_fail(err, SB_NO_MEMORY, "out of memory");
    if (code == SB_OK)
        sb_output_items(&cli->out, items, columns);
    json_decref(items);
    sb_topic_list_fini(&list);
    return code;
}
