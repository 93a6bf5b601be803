/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/append.h"

#include "base/scan.h"
#include "events/store/store.h"

#include <stdio.h>
#include <stdlib.h>

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "append: out of memory");
}

/* ---- what may be appended ---- */

static sb_code_t check_append(const sb_append_t *append, sb_error_t *err)
{
    if (append->count == 0)
        return sb_fail_at(err, SB_INVALID, "/events", "append: no events");
    if (append->count > SB_APPEND_EVENTS_MAX)
        return sb_fail_at(err, SB_TOO_LARGE, "/events", "append: %zu events, the limit is %d", append->count,
                          SB_APPEND_EVENTS_MAX);
    if (sb_slice_is(append->category, SB_SAGA_CATEGORY))
        return sb_fail_at(err, SB_DENIED, "/category", "append: category saga is written by sagas only");
    if (append->key.len == 0 || append->key.len > SB_KEY_MAX || !sb_utf8_ok(append->key))
        return sb_fail_at(err, SB_INVALID, "/key", "append: a stream's key has 1 to %u bytes of UTF-8",
                          SB_KEY_MAX);
    if (append->expect == SB_EXPECT_EXACT && append->expected_version < 0)
        return sb_fail_at(err, SB_INVALID, "/expected_version", "append: a version is at least 0");
    return SB_OK;
}

static sb_code_t fail_event(sb_error_t *err, sb_code_t code, size_t index, const char *member,
                            const char *message)
{
    char pointer[48];
    (void)snprintf(pointer, sizeof pointer, "/events/%zu%s", index, member);
    return sb_fail_at(err, code, pointer, "append, %s: %s", pointer, message);
}

/* Another instance may have registered it. */
static const sb_event_type_t *find_type(const sb_append_rules_t *rules, const sb_event_t *event, bool *loaded)
{
    const sb_event_type_t *type = sb_catalog_type(rules->catalog, event->type, event->schema_version);
    if (type || *loaded || !rules->pg)
        return type;
    *loaded = true;
    if (sb_catalog_load(rules->catalog, rules->pg, NULL) != SB_OK)
        return NULL;
    return sb_catalog_type(rules->catalog, event->type, event->schema_version);
}

static sb_code_t check_data(const sb_event_type_t *type, size_t index, sb_slice_t data, sb_error_t *err)
{
    sb_error_t why; /* written by a fault only: clearing it costs as much as a small event */
    sb_code_t code = sb_schema_validate(type->schema, data, &why);
    if (code == SB_OK)
        return SB_OK;
    char pointer[sizeof why.pointer + 40];
    (void)snprintf(pointer, sizeof pointer, "/events/%zu/data%s", index, why.pointer);
    return sb_fail_at(err, code, pointer, "append of %s version %d, %s: %s", type->name, type->version,
                      pointer, why.message);
}

/* ---- the request under a command id ---- */

static void put_slice(sb_buf_t *out, sb_slice_t text)
{
    sb_buf_add_be32(out, text.ptr ? (uint32_t)text.len : UINT32_MAX);
    sb_buf_add_slice(out, text);
}

/* Over what the caller asked for, not over what was made of it: ids and times that were left open differ from
 * call to call. What says in which context it was asked (correlation, causation, trace) is not part of it: a
 * client that asks again does so in another request, with another trace. */
sb_code_t sb_append_hash(const sb_append_t *append, sb_hash_t *out, sb_error_t *err)
{
    sb_buf_t request = SB_BUF_INIT;
    put_slice(&request, append->category);
    put_slice(&request, append->key);
    sb_buf_add_be32(&request, (uint32_t)append->expect);
    sb_buf_add_be32(&request, append->expect == SB_EXPECT_EXACT ? (uint32_t)append->expected_version : 0);
    for (size_t i = 0; i < append->count; i++) {
        const sb_event_t *event = &append->events[i];
        sb_buf_add(&request, event->id.byte, sizeof event->id.byte);
        put_slice(&request, event->type);
        sb_buf_add_be32(&request, (uint32_t)event->schema_version);
        sb_buf_add_be64(&request, (uint64_t)event->time_us);
        put_slice(&request, event->source);
        put_slice(&request, event->partition_key);
        put_slice(&request, event->data);
    }
    bool failed = sb_buf_failed(&request);
    if (!failed)
        sb_hash_bytes(sb_buf_slice(&request), out);
    sb_buf_fini(&request);
    return failed ? no_memory(err) : SB_OK;
}

/* ---- encoding ---- */

/* An event: id, type number, time (0: the server's clock at the insert, so that one clock writes all), then
 * attributes and body, each with its length in front. */
#define EVENT_HEAD (16 + 4 + 8 + 4)

static void set_be32(char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (char)(value >> (24 - 8 * i));
}

static void add_meta(const sb_append_rules_t *rules, const sb_event_t *event, sb_buf_t *out)
{
    sb_event_t named = *event;
    if (!named.source.ptr)
        named.source = sb_slice(rules->source);
    sb_event_meta(&named, out);
}

static sb_code_t add_event(sb_encoded_t *out, const sb_append_rules_t *rules, const sb_append_t *append,
                           size_t index, bool *loaded, bool *unknown, sb_error_t *err)
{
    const sb_event_t *event = &append->events[index];
    size_t limit = rules->event_bytes_max ? rules->event_bytes_max : SB_EVENT_BYTES_MAX;
    size_t of_topic = sb_catalog_event_bytes_max(rules->catalog, append->category);
    if (of_topic > 0 && of_topic < limit)
        limit = of_topic;
    if (!sb_event_type_ok(event->type) || !sb_slice_equal(sb_event_category(event->type), append->category))
        return fail_event(err, SB_INVALID, index, "/type",
                          "must be labels of a-z, 0-9, _ and -, the first one the stream's category");
    const sb_event_type_t *type = find_type(rules, event, loaded);
    if (!type) {
        char text[SB_TYPE_MAX + 64];
        *unknown = true;
        (void)snprintf(text, sizeof text, "%.*s%s is not registered (sagabus schema apply)",
                       SB_SLICE_ARG(event->type), event->schema_version ? " of this version" : "");
        return fail_event(err, SB_INVALID, index, "/type", text);
    }
    sb_uuid_t id = sb_uuid_is_nil(&event->id) ? sb_uuid_v7() : event->id;
    sb_buf_add(&out->bytes, id.byte, sizeof id.byte);
    sb_buf_add_be32(&out->bytes, (uint32_t)type->type_no);
    sb_buf_add_be64(&out->bytes, (uint64_t)event->time_us);
    sb_buf_add_be32(&out->bytes, 0);
    size_t meta_at = out->bytes.len;
    add_meta(rules, event, &out->bytes);
    if (sb_buf_failed(&out->bytes))
        return no_memory(err);
    sb_slice_t meta = {out->bytes.ptr + meta_at, out->bytes.len - meta_at};
    set_be32(out->bytes.ptr + meta_at - 4, (uint32_t)meta.len);
    if (meta.len && !sb_scan_valid(meta, NULL))
        return fail_event(err, SB_INVALID, index, "", "its attributes must be UTF-8");
    if (event->data.len + meta.len + event->type.len + append->key.len > limit) {
        char message[128];
        (void)snprintf(message, sizeof message, "larger than %zu bytes with its attributes%s", limit,
                       limit == of_topic ? ", which is what its topic takes (max.message.bytes)" : "");
        return fail_event(err, SB_TOO_LARGE, index, "", message);
    }
    sb_code_t code = check_data(type, index, event->data, err);
    if (code != SB_OK)
        return code;
    sb_buf_add_be32(&out->bytes, (uint32_t)event->data.len);
    sb_buf_add_slice(&out->bytes, event->data);
    if (out->bytes.len > SB_APPEND_BYTES_MAX)
        return fail_event(err, SB_TOO_LARGE, index, "", "the append is larger than 64 MiB");
    return SB_OK;
}

sb_code_t sb_append_encode(sb_encoded_t *out, const sb_append_rules_t *rules, const sb_append_t *append,
                           bool *unknown, sb_error_t *err)
{
    bool loaded = false, ignored = false;
    unknown = unknown ? unknown : &ignored;
    *unknown = false;
    sb_buf_reset(&out->bytes);
    sb_code_t code = check_append(append, err);
    if (code != SB_OK)
        return code;
    out->expect = append->expect;
    out->expected_version = append->expected_version;
    out->command_id = append->command_id;
    out->count = append->count;
    out->category_len = append->category.len;
    out->key_len = append->key.len;
    sb_buf_add_slice(&out->bytes, append->category);
    sb_buf_add_slice(&out->bytes, append->key);
    for (size_t i = 0; i < append->count && code == SB_OK; i++)
        code = add_event(out, rules, append, i, &loaded, unknown, err);
    if (code == SB_OK && sb_buf_failed(&out->bytes))
        code = no_memory(err);
    if (code == SB_OK && !sb_uuid_is_nil(&append->command_id))
        code = sb_append_hash(append, &out->hash, err);
    return code;
}

void sb_encoded_fini(sb_encoded_t *encoded)
{
    sb_buf_fini(&encoded->bytes);
}
