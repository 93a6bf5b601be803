/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/asyncapi.h"

#include "bus/topic.h"
#include "events/saga_types.h"
#include "sagabus/event.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define KAFKA_BINDING "0.5.0"
#define NAME_MAX_LEN  (SB_TYPE_MAX + 16)

struct sb_asyncapi {
    char prefix[SB_TOPIC_MAX];
    int64_t partitions;
    json_t *channels;
    json_t *operations;
    json_t *messages;
    json_t *schemas;
    json_t *servers;
    bool failed; /* out of memory somewhere; told by write */
};

/* ---- building JSON: a failure is remembered ---- */

static void set(sb_asyncapi_t *a, json_t *object, const char *name, json_t *value)
{
    if (!object || !value || json_object_set_new(object, name, value) != 0)
        a->failed = true;
}

static void add(sb_asyncapi_t *a, json_t *array, json_t *value)
{
    if (!array || !value || json_array_append_new(array, value) != 0)
        a->failed = true;
}

static json_t *ref(const char *path, const char *name)
{
    return json_pack("{s:s++}", "$ref", "#/", path, name);
}

static json_t *text_schema(const char *description, const char *constant)
{
    json_t *schema = json_pack("{s:s, s:s}", "type", "string", "description", description);
    if (schema && constant && json_object_set_new(schema, "const", json_string(constant)) != 0) {
        json_decref(schema);
        return NULL;
    }
    return schema;
}

typedef struct header_row {
    const char *name;
    const char *meaning;
    bool always;
} header_row_t;

static json_t *header_schema(sb_asyncapi_t *a, const header_row_t *rows)
{
    json_t *schema = json_pack("{s:s}", "type", "object");
    json_t *properties = json_object();
    json_t *required = json_array();
    for (; rows->name; rows++) {
        set(a, properties, rows->name, text_schema(rows->meaning, NULL));
        if (rows->always)
            add(a, required, json_string(rows->name));
    }
    set(a, schema, "properties", properties);
    set(a, schema, "required", required);
    return schema;
}

static const header_row_t event_headers[] = {
    {"ce_specversion", "CloudEvents version: 1.0", true},
    {"ce_id", "With ce_source the name of the event for ever: the same pair is the same event", true},
    {"ce_source", "Who published it", true},
    {"ce_type", "The type", true},
    {"ce_subject", "Key of the stream", true},
    {"ce_time", "RFC 3339", true},
    {"ce_dataschema", "Type and version as written; a reader upcasts", true},
    {"ce_correlationid", "As given", false},
    {"ce_causationid", "As given", false},
    {"ce_partitionkey", "When it is not the subject", false},
    {"traceparent", "W3C trace context", false},
    {"content-type", "application/json", true},
    {"sb-pos", "incarnation.epoch.seq.prev: drop repeats and notice gaps by it", true},
    {NULL, NULL, false}};

static const header_row_t command_headers[] = {
    {"ce_specversion", "CloudEvents version: 1.0", true},
    {"ce_id", "The command id: the same in every repeat, the key of your idempotence", true},
    {"ce_type", "<participant>.<action>", true},
    {"ce_source", "Who sends it", true},
    {"content-type", "application/json", true},
    {"ce_correlationid", "As the saga was started with", false},
    {"traceparent", "W3C trace context, as the saga was started with", false},
    {"ce_expirytime", "Forward commands: do not start after it", false},
    {"ce_sagaid", "The saga", true},
    {"ce_sagastep", "The step", true},
    {"ce_sagadirection", "forward, or compensate: an undo", true},
    {"ce_sagaround", "Rises when an operator opens a closed step again", true},
    {"ce_sagaattempt", "Which try this is; never part of an identity", true},
    {"ce_sagareplyto", "Topic of the reply", true},
    {"ce_sagareplypart", "Partition of the reply", true},
    {"ce_sagaforwardid", "An undo: the forward command's id", false},
    {"ce_sagaforward", "An undo: completed or unknown", false},
    {NULL, NULL, false}};

static const header_row_t reply_headers[] = {
    {"ce_specversion", "CloudEvents version: 1.0", true},
    {"ce_id", "A new id", true},
    {"ce_type", "The command's, with .reply behind it", true},
    {"ce_source", "The participant", true},
    {"ce_causationid", "The command's id", true},
    {"ce_sagaid", "Echoed, as every header that begins with ce_saga", true},
    {"ce_sagastep", "Echoed", true},
    {"ce_sagadirection", "Echoed", true},
    {"ce_sagaround", "Echoed", true},
    {"ce_sagaattempt", "Echoed", true},
    {"ce_sagaoutcome", "success, failure, error or pending", true},
    {"ce_sagaerror", "What went wrong, for people", false},
    {NULL, NULL, false}};

/* ---- schemas of others inside this document ---- */

/* References within a schema start at its own root, which here is somewhere else. */
static void move_references(sb_asyncapi_t *a, json_t *value, const char *root)
{
    const char *name;
    size_t i;
    json_t *member;
    const char *target = json_string_value(json_object_get(value, "$ref"));
    if (target && target[0] == '#')
        set(a, value, "$ref", json_sprintf("%s%s", root, target + 1));
    json_object_foreach(value, name, member) move_references(a, member, root);
    json_array_foreach(value, i, member) move_references(a, member, root);
}

/* The parsers of AsyncAPI know draft 7 by name; what 2020-12 has beyond it they pass. */
static void add_schema(sb_asyncapi_t *a, const char *name, const json_t *schema)
{
    char root[NAME_MAX_LEN + 32];
    json_t *copy = json_is_object(schema) ? json_deep_copy(schema) : json_object();
    (void)snprintf(root, sizeof root, "#/components/schemas/%s", name);
    (void)json_object_del(copy, "$schema");
    (void)json_object_del(copy, "$id");
    move_references(a, copy, root);
    set(a, a->schemas, name, copy);
}

/* ---- channels, operations, messages ---- */

/* The channel of this name, made when it is not there. */
static json_t *channel(sb_asyncapi_t *a, const char *name, const char *title, const char *description,
                       int64_t partitions)
{
    json_t *made = json_object_get(a->channels, name);
    if (made)
        return made;
    made = json_pack("{s:s++, s:s, s:s, s:{}, s:{s:{s:s++, s:s}}}", "address", a->prefix, name, "", "title",
                     title, "description", description, "messages", "bindings", "kafka", "topic", a->prefix,
                     name, "", "bindingVersion", KAFKA_BINDING);
    json_t *kafka = json_object_get(json_object_get(made, "bindings"), "kafka");
    if (partitions > 0)
        set(a, kafka, "partitions", json_integer(partitions));
    set(a, a->channels, name, made);
    return json_object_get(a->channels, name);
}

static void add_operation(sb_asyncapi_t *a, const char *verb, const char *action, const char *topic,
                          const char *summary)
{
    char name[SB_TOPIC_MAX + 32];
    (void)snprintf(name, sizeof name, "%s.%s", verb, topic);
    if (!json_object_get(a->operations, name))
        set(a, a->operations, name,
            json_pack("{s:s, s:s, s:o}", "action", action, "summary", summary, "channel",
                      ref("channels/", topic)));
}

static void add_message(sb_asyncapi_t *a, json_t *to, const char *name, json_t *message)
{
    set(a, a->messages, name, message);
    set(a, json_object_get(to, "messages"), name, ref("components/messages/", name));
}

static json_t *message(const char *name, const char *title, json_t *headers, json_t *payload, const char *key)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:{s:{s:{s:s, s:s}, s:s}}}", "name", name, "title", title,
                     "contentType", "application/json", "headers", headers, "payload", payload, "bindings",
                     "kafka", "key", "type", "string", "description", key, "bindingVersion", KAFKA_BINDING);
}

/* The common headers, and the type that this message has. */
static json_t *typed_headers(const char *schema, const char *type)
{
    return json_pack("{s:[o, {s:s, s:{s:{s:s, s:s}}}]}", "allOf", ref("components/schemas/", schema), "type",
                     "object", "properties", "ce_type", "type", "string", "const", type);
}

/* ---- events ---- */

sb_code_t sb_asyncapi_add_event(sb_asyncapi_t *a, const json_t *file, sb_error_t *err)
{
    char name[NAME_MAX_LEN], topic[SB_TOPIC_MAX];
    const char *type = json_string_value(json_object_get(file, "type"));
    const char *title = json_string_value(json_object_get(file, "title"));
    const char *description = json_string_value(json_object_get(file, "description"));
    int version = (int)json_integer_value(json_object_get(file, "version"));
    if (!type || !sb_event_type_ok(sb_slice(type)) || version < 1)
        return sb_fail(err, SB_INVALID, "AsyncAPI: an event's file needs type and version");
    sb_slice_t category = sb_event_category(sb_slice(type));
    if (sb_slice_is(category, "saga") && !sb_saga_type_is_public(sb_slice(type)))
        return SB_OK;
    (void)snprintf(name, sizeof name, "%s.v%d", type, version);
    (void)snprintf(topic, sizeof topic, "%.*s.events", SB_SLICE_ARG(category));
    add_schema(a, name, json_object_get(file, "schema"));
    json_t *made = message(name, title ? title : type, typed_headers("eventHeaders", type),
                           ref("components/schemas/", name), "The partition key, else the subject");
    if (description)
        set(a, made, "description", json_string(description));
    set(a, made, "correlationId", json_pack("{s:s}", "location", "$message.header#/ce_correlationid"));
    json_t *to = channel(a, topic, topic, "Events of one category, in the order of the store", a->partitions);
    add_message(a, to, name, made);
    add_operation(a, "publish", "send", topic, "Events that are committed to the store, sent by the relay");
    return SB_OK;
}

/* ---- sagas ---- */

static void add_reply_channel(sb_asyncapi_t *a)
{
    json_t *to = channel(a, "saga.replies", "Replies of participants",
                         "To the partition that the command names, with the saga's id as key", 0);
    if (json_object_get(a->messages, "saga.reply"))
        return;
    json_t *payload = json_pack("{s:s}", "description", "The step's result, at most 512 KiB");
    add_message(a, to, "saga.reply",
                message("saga.reply", "A participant's answer", ref("components/schemas/", "replyHeaders"),
                        payload, "The saga's id"));
    add_operation(a, "receive", "receive", "saga.replies", "Answers to commands");
}

/* The operation that sends a participant's commands names where the answer goes. */
static void add_commands_operation(sb_asyncapi_t *a, const char *topic)
{
    char name[SB_TOPIC_MAX + 32];
    (void)snprintf(name, sizeof name, "command.%s", topic);
    if (json_object_get(a->operations, name))
        return;
    add_operation(a, "command", "send", topic, "Commands of sagas, keyed by saga, at least once");
    set(a, json_object_get(a->operations, name), "reply",
        json_pack("{s:{s:s}, s:o}", "address", "location", "$message.header#/ce_sagareplyto", "channel",
                  ref("channels/", "saga.replies")));
}

static void add_command(sb_asyncapi_t *a, const char *participant, const char *action, const char *title,
                        const char *direction)
{
    char topic[SB_TOPIC_MAX], type[NAME_MAX_LEN], heading[512];
    if (!action)
        return;
    (void)snprintf(topic, sizeof topic, "cmd.%s", participant);
    (void)snprintf(type, sizeof type, "%s.%s", participant, action);
    (void)snprintf(heading, sizeof heading, "%s%s", title ? title : type, direction);
    json_t *to = channel(a, topic, topic, "Commands for one participant, keyed by saga", a->partitions);
    json_t *payload = json_pack("{s:s, s:s}", "type", "object", "description", "The step's input");
    add_message(a, to, type,
                message(type, heading, typed_headers("commandHeaders", type), payload, "The saga's id"));
    add_commands_operation(a, topic);
}

sb_code_t sb_asyncapi_add_saga(sb_asyncapi_t *a, const json_t *file, sb_error_t *err)
{
    size_t i;
    json_t *step;
    const json_t *steps = json_object_get(file, "steps");
    if (!json_is_array(steps))
        return sb_fail(err, SB_INVALID, "AsyncAPI: a saga's file needs steps");
    add_reply_channel(a);
    json_array_foreach(steps, i, step)
    {
        const char *participant = json_string_value(json_object_get(step, "participant"));
        const char *title = json_string_value(json_object_get(step, "title"));
        if (!participant)
            continue;
        add_command(a, participant, json_string_value(json_object_get(step, "action")), title, "");
        add_command(a, participant, json_string_value(json_object_get(step, "compensation")), title,
                    ": the undo");
    }
    return SB_OK;
}

/* ---- the whole ---- */

static void add_servers(sb_asyncapi_t *a, const sb_config_t *config)
{
    const char *protocol = sb_config_get(config, "kafka.security.protocol");
    bool secure = protocol[0] && strcasecmp(protocol, "plaintext") != 0;
    const char *at = sb_config_get(config, "kafka.bootstrap");
    for (int n = 1; *at; n++) {
        char name[32], host[256];
        size_t length = strcspn(at, ", ");
        (void)snprintf(name, sizeof name, n == 1 ? "kafka" : "kafka%d", n);
        (void)snprintf(host, sizeof host, "%.*s", (int)length, at);
        if (length > 0)
            set(a, a->servers, name,
                json_pack("{s:s, s:s}", "host", host, "protocol", secure ? "kafka-secure" : "kafka"));
        at += length;
        at += strspn(at, ", ");
    }
}

sb_code_t sb_asyncapi_new(sb_asyncapi_t **out, const sb_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_asyncapi_t *a = calloc(1, sizeof *a);
    if (!a)
        return sb_fail(err, SB_NO_MEMORY, "AsyncAPI: out of memory");
    (void)snprintf(a->prefix, sizeof a->prefix, "%s", sb_config_get(config, "kafka.prefix"));
    sb_code_t code = sb_config_get_int(config, "topics.partitions", 1, 10000, &a->partitions, err);
    a->channels = json_object();
    a->operations = json_object();
    a->messages = json_object();
    a->schemas = json_object();
    a->servers = json_object();
    add_servers(a, config);
    set(a, a->schemas, "eventHeaders", header_schema(a, event_headers));
    set(a, a->schemas, "commandHeaders", header_schema(a, command_headers));
    set(a, a->schemas, "replyHeaders", header_schema(a, reply_headers));
    if (code == SB_OK)
        *out = a;
    else
        sb_asyncapi_free(&a);
    return code;
}

static int write_chunk(const char *chunk, size_t length, void *context)
{
    sb_buf_add(context, chunk, length);
    return sb_buf_failed(context) ? -1 : 0;
}

sb_code_t sb_asyncapi_write(sb_asyncapi_t *a, sb_buf_t *out, sb_error_t *err)
{
    char version[32], hash[SB_HASH_TEXT];
    sb_hash_t digest;
    json_t *document =
        json_pack("{s:s, s:s, s:{s:s, s:s}, s:O, s:O, s:O, s:{s:O, s:O}}", "asyncapi", "3.0.0",
                  "defaultContentType", "application/json", "info", "title", "sagabus", "description",
                  "Events, commands and replies of one installation. Records are CloudEvents 1.0 in binary "
                  "mode: the payload is the value, attributes are headers.",
                  "servers", a->servers, "channels", a->channels, "operations", a->operations, "components",
                  "messages", a->messages, "schemas", a->schemas);
    if (a->failed || !document) {
        json_decref(document);
        return sb_fail(err, SB_NO_MEMORY, "AsyncAPI: out of memory");
    }
    sb_code_t code = sb_json_hash(document, &digest, err);
    if (code == SB_OK) {
        (void)snprintf(version, sizeof version, "%.12s", sb_hash_format(&digest, hash));
        set(a, json_object_get(document, "info"), "version", json_string(version));
        if (json_dump_callback(document, write_chunk, out, JSON_INDENT(2) | JSON_SORT_KEYS) != 0 || a->failed)
            code = sb_fail(err, SB_NO_MEMORY, "AsyncAPI: out of memory");
        sb_buf_add_char(out, '\n');
    }
    json_decref(document);
    return code;
}

void sb_asyncapi_free(sb_asyncapi_t **asyncapi)
{
    sb_asyncapi_t *a = *asyncapi;
    if (!a)
        return;
    json_decref(a->channels);
    json_decref(a->operations);
    json_decref(a->messages);
    json_decref(a->schemas);
    json_decref(a->servers);
    free(a);
    *asyncapi = NULL;
}
