/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/topology.h"

#include "saga_sql.h"

typedef struct gathering {
    sb_topic_list_t *list;
    const char *prefix;
    int32_t partitions;
} gathering_t;

static bool has(const sb_topic_list_t *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->item[i].name, name) == 0)
            return true;
    return false;
}

static sb_code_t add(gathering_t *g, const char *name, int32_t partitions, sb_error_t *err)
{
    return has(g->list, name) ? SB_OK : sb_topic_list_add(g->list, name, partitions, err);
}

static sb_code_t on_event_type(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    gathering_t *g = context;
    sb_topic_t topic;
    sb_code_t code = sb_topic_events(topic, g->prefix, sb_event_category(sb_slice(artifact->name)), err);
    return code == SB_OK ? add(g, topic, g->partitions, err) : code;
}

static sb_code_t on_saga(void *context, const sb_artifact_t *artifact, sb_error_t *err)
{
    gathering_t *g = context;
    size_t i;
    json_t *step;
    json_array_foreach(json_object_get(artifact->body, "steps"), i, step)
    {
        const char *participant = json_string_value(json_object_get(step, "participant"));
        if (!participant)
            continue;
        sb_topic_t topic;
        sb_code_t code = sb_topic_commands(topic, g->prefix, sb_slice(participant), err);
        if (code == SB_OK)
            code = add(g, topic, g->partitions, err);
        if (code != SB_OK)
            return code;
    }
    return SB_OK;
}

/* The categories of publish.direct. */
static sb_code_t add_direct(gathering_t *g, const char *categories, sb_error_t *err)
{
    for (const char *at = categories; *at;) {
        size_t n = strcspn(at, ", ");
        sb_topic_t topic;
        sb_code_t code = n ? sb_topic_direct(topic, g->prefix, (sb_slice_t){at, n}, err) : SB_OK;
        if (code == SB_OK && n)
            code = add(g, topic, g->partitions, err);
        if (code != SB_OK)
            return code;
        at += n + (at[n] != '\0');
    }
    return SB_OK;
}

static sb_code_t shard_count(sb_pg_t *pg, int32_t *out, sb_error_t *err)
{
    sb_pg_result_t *result = NULL;
    sb_code_t code = sb_pg_query(pg, sb_sql_topology_shards, NULL, &result, err);
    if (code == SB_OK && sb_pg_rows(result) != 1)
        code = sb_fail(err, SB_CORRUPT, "sagabus.store has no row; was the database migrated?");
    if (code == SB_OK)
        *out = (int32_t)sb_pg_get_int(result, 0, 0);
    sb_pg_result_free(result);
    return code;
}

sb_code_t sb_topology(const sb_config_t *config, sb_pg_t *pg, const sb_catalog_t *catalog,
                      sb_topic_list_t *list, sb_error_t *err)
{
    int64_t partitions = 1;
    int32_t shards = 1;
    sb_topic_t replies;
    gathering_t g = {.list = list, .prefix = sb_config_get(config, "kafka.prefix")};
    sb_code_t code = sb_config_get_int(config, "topics.partitions", 1, 10000, &partitions, err);
    g.partitions = (int32_t)partitions;
    if (code == SB_OK)
        code = sb_catalog_each(catalog, SB_ARTIFACT_EVENT, on_event_type, &g, err);
    if (code == SB_OK)
        code = sb_catalog_each(catalog, SB_ARTIFACT_SAGA, on_saga, &g, err);
    if (code == SB_OK)
        code = add_direct(&g, sb_config_get(config, "publish.direct"), err);
    if (code == SB_OK)
        code = shard_count(pg, &shards, err);
    if (code == SB_OK)
        code = sb_topic_replies(replies, g.prefix, err);
    return code == SB_OK ? add(&g, replies, shards, err) : code;
}
