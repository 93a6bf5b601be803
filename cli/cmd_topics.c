/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/registry.h"
#include "saga/topology.h"

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
