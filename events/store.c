/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store_internal.h"

#include "base/json.h"
#include "base/scan.h"
#include "events_sql.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- open and close ---- */

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "event store: out of memory");
}

sb_code_t sb_store_new(sb_store_t **out, sb_pg_t *pg, sb_catalog_t *catalog, sb_error_t *err)
{
    *out = NULL;
    sb_store_t *store = calloc(1, sizeof *store);
    if (!store)
        return no_memory(err);
    store->pg = pg;
    store->catalog = catalog;
    sb_pg_array_init(&store->ids, SB_PG_UUID);
    sb_pg_array_init(&store->types, SB_PG_INT4);
    sb_pg_array_init(&store->times, SB_PG_TIMESTAMPTZ);
    sb_pg_array_init(&store->metas, SB_PG_BYTEA);
    sb_pg_array_init(&store->datas, SB_PG_BYTEA);
    sb_code_t code = sb_upcaster_new(&store->upcaster, err);
    if (code != SB_OK)
        sb_store_close(&store);
    *out = store;
    return code;
}

sb_code_t sb_store_open(sb_store_t **out, const sb_store_config_t *config, sb_error_t *err)
{
    sb_pg_config_t of_pg = {.uri = config->pg_uri,
                            .application_name =
                                config->application_name ? config->application_name : "sagabus-client"};
    sb_store_t *store = NULL;
    *out = NULL;
    sb_code_t code = sb_store_new(&store, NULL, NULL, err);
    if (!store)
        return code;
    store->owned = true;
    if (config->source) {
        store->source = strdup(config->source);
        code = store->source ? SB_OK : no_memory(err);
    }
    if (code == SB_OK)
        code = sb_pg_open(&store->pg, &of_pg, err);
    if (code == SB_OK)
        code = sb_catalog_new(&store->catalog, err);
    if (code == SB_OK)
        code = sb_catalog_load(store->catalog, store->pg, err);
    if (code != SB_OK) {
        sb_store_close(&store);
        return code;
    }
    *out = store;
    return SB_OK;
}

void sb_store_close(sb_store_t **store)
{
    sb_store_t *s = *store;
    if (!s)
        return;
    sb_pg_array_fini(&s->ids);
    sb_pg_array_fini(&s->types);
    sb_pg_array_fini(&s->times);
    sb_pg_array_fini(&s->metas);
    sb_pg_array_fini(&s->datas);
    sb_buf_fini(&s->request);
    sb_buf_fini(&s->scratch);
    sb_store_keys_fini(&s->keys);
    sb_upcaster_free(&s->upcaster);
    if (s->owned) {
        sb_catalog_free(&s->catalog);
        sb_pg_close(&s->pg);
    }
    free(s->source);
    free(s);
    *store = NULL;
}

sb_code_t sb_store_ready(sb_store_t *store, sb_error_t *err)
{
    return store->owned && !sb_pg_is_open(store->pg) ? sb_pg_reopen(store->pg, err) : SB_OK;
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
    if (append->key.len == 0 || append->key.len > SB_KEY_MAX ||
        memchr(append->key.ptr, '\0', append->key.len))
        return sb_fail_at(err, SB_INVALID, "/key", "append: a stream's key has 1 to %u bytes of text",
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

static const sb_event_type_t *find_type(sb_store_t *store, const sb_event_t *event, bool *loaded,
                                        sb_error_t *err)
{
    const sb_event_type_t *type = sb_catalog_type(store->catalog, event->type, event->schema_version);
    if (type || *loaded)
        return type;
    /* Another instance may have registered it. */
    *loaded = true;
    if (sb_catalog_load(store->catalog, store->pg, err) != SB_OK)
        sb_error_clear(err);
    return sb_catalog_type(store->catalog, event->type, event->schema_version);
}

static sb_code_t check_data(const sb_event_type_t *type, size_t index, sb_slice_t data, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = sb_schema_validate(type->schema, data, &why);
    if (code == SB_OK)
        return SB_OK;
    char pointer[sizeof why.pointer + 40];
    (void)snprintf(pointer, sizeof pointer, "/events/%zu/data%s", index, why.pointer);
    return sb_fail_at(err, code, pointer, "append of %s version %d, %s: %s", type->name, type->version,
                      pointer, why.message);
}

static void write_meta(const sb_store_t *store, const sb_event_t *event, sb_buf_t *out)
{
    sb_event_t named = *event;
    if (!named.source.ptr)
        named.source = sb_slice(store->source);
    sb_buf_reset(out);
    sb_event_meta(&named, out);
}

static sb_code_t add_event(sb_store_t *store, const sb_append_t *append, size_t index, bool *loaded,
                           sb_error_t *err)
{
    const sb_event_t *event = &append->events[index];
    if (!sb_event_type_ok(event->type) || !sb_slice_equal(sb_event_category(event->type), append->category))
        return fail_event(err, SB_INVALID, index, "/type",
                          "must be labels of a-z, 0-9, _ and -, the first one the stream's category");
    const sb_event_type_t *type = find_type(store, event, loaded, err);
    if (!type)
        return fail_event(err, SB_INVALID, index, "/type",
                          "this type and version is not registered (sagabus schema apply)");
    sb_buf_t *meta = &store->scratch;
    write_meta(store, event, meta);
    if (sb_buf_failed(meta)) /* the next event's reset would forget it, and this one lose its attributes */
        return no_memory(err);
    if (meta->len && !sb_scan_valid(sb_buf_slice(meta), NULL))
        return fail_event(err, SB_INVALID, index, "", "its attributes must be UTF-8");
    if (event->data.len + meta->len + event->type.len + append->key.len > SB_EVENT_BYTES_MAX)
        return fail_event(err, SB_TOO_LARGE, index, "", "larger than 900000 bytes with its attributes");
    sb_code_t code = check_data(type, index, event->data, err);
    if (code != SB_OK)
        return code;
    sb_uuid_t id = sb_uuid_is_nil(&event->id) ? sb_uuid_v7() : event->id;
    sb_pg_array_add_uuid(&store->ids, &id);
    sb_pg_array_add_int4(&store->types, type->type_no);
    if (event->time_us)
        sb_pg_array_add_time(&store->times, event->time_us);
    else
        sb_pg_array_add_null(&store->times); /* the server's clock, so that one clock writes all */
    sb_pg_array_add_slice(&store->metas, meta->len ? sb_buf_slice(meta) : SB_SLICE_NONE);
    sb_pg_array_add_slice(&store->datas, event->data);
    if (store->datas.buf.len > SB_APPEND_BYTES_MAX)
        return fail_event(err, SB_TOO_LARGE, index, "", "the append is larger than 64 MiB");
    return SB_OK;
}

static sb_code_t add_events(sb_store_t *store, const sb_append_t *append, sb_error_t *err)
{
    bool loaded = false;
    sb_pg_array_reset(&store->ids);
    sb_pg_array_reset(&store->types);
    sb_pg_array_reset(&store->times);
    sb_pg_array_reset(&store->metas);
    sb_pg_array_reset(&store->datas);
    for (size_t i = 0; i < append->count; i++) {
        sb_code_t code = add_event(store, append, i, &loaded, err);
        if (code != SB_OK)
            return code;
    }
    if (sb_pg_array_failed(&store->ids) || sb_pg_array_failed(&store->types) ||
        sb_pg_array_failed(&store->times) || sb_pg_array_failed(&store->metas) ||
        sb_pg_array_failed(&store->datas))
        return no_memory(err);
    return SB_OK;
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
static void hash_request(sb_store_t *store, const sb_append_t *append, sb_hash_t *out)
{
    sb_buf_t *request = &store->request;
    sb_buf_reset(request);
    put_slice(request, append->category);
    put_slice(request, append->key);
    sb_buf_add_be32(request, (uint32_t)append->expect);
    sb_buf_add_be32(request, append->expect == SB_EXPECT_EXACT ? (uint32_t)append->expected_version : 0);
    for (size_t i = 0; i < append->count; i++) {
        const sb_event_t *event = &append->events[i];
        sb_buf_add(request, event->id.byte, sizeof event->id.byte);
        put_slice(request, event->type);
        sb_buf_add_be32(request, (uint32_t)event->schema_version);
        sb_buf_add_be64(request, (uint64_t)event->time_us);
        put_slice(request, event->source);
        put_slice(request, event->partition_key);
        put_slice(request, event->data);
    }
    sb_hash_bytes(sb_buf_slice(request), out);
}

/* ---- append ---- */

/* The outcomes of sagabus.event_append; the first three are sb_append_outcome_t's. */
enum { OUTCOME_OTHER_REQUEST = 3 };
_Static_assert(SB_APPENDED == 0 && SB_APPEND_CONFLICT == 1 && SB_APPEND_REPEATED == 2, "as in 0001_core.sql");
_Static_assert(SB_EXPECT_ANY == 0 && SB_EXPECT_NONE == 1 && SB_EXPECT_EXISTS == 2 && SB_EXPECT_EXACT == 3,
               "as in 0001_core.sql");

static void fill_params(const sb_store_t *store, const sb_append_t *append, const sb_hash_t *hash,
                        sb_pg_params_t *params)
{
    sb_slice_t hash_bytes = {(const char *)hash->byte, sizeof hash->byte};
    bool has_command = !sb_uuid_is_nil(&append->command_id);
    sb_pg_add_slice(params, append->category);
    sb_pg_add_slice(params, append->key);
    sb_pg_add_int4(params, (int32_t)append->expect);
    sb_pg_add_int4(params, append->expected_version);
    sb_pg_add_uuid(params, has_command ? &append->command_id : NULL);
    sb_pg_add_bytea(params, has_command ? hash_bytes : SB_SLICE_NONE);
    sb_pg_add_array(params, &store->ids);
    sb_pg_add_array(params, &store->types);
    sb_pg_add_array(params, &store->times);
    sb_pg_add_array(params, &store->metas);
    sb_pg_add_array(params, &store->datas);
}

static sb_code_t read_answer(const sb_pg_result_t *rows, const sb_append_t *append,
                             sb_append_result_t *result, sb_error_t *err)
{
    char id[SB_UUID_TEXT];
    int64_t outcome = sb_pg_get_int(rows, 0, 0);
    if (outcome == OUTCOME_OTHER_REQUEST)
        return sb_fail_at(err, SB_MISMATCH, "/command_id", "append: command %s was another request",
                          sb_uuid_format(&append->command_id, id));
    result->outcome = (sb_append_outcome_t)outcome;
    result->version = (int)sb_pg_get_int(rows, 0, 1);
    result->first_seq = sb_pg_get_int(rows, 0, 2);
    result->last_seq = sb_pg_get_int(rows, 0, 3);
    return SB_OK;
}

sb_code_t sb_store_append(sb_store_t *store, const sb_append_t *append, sb_append_result_t *result,
                          sb_error_t *err)
{
    return sb_store_append_as(store, append, NULL, result, err);
}

sb_code_t sb_store_append_as(sb_store_t *store, const sb_append_t *append, const sb_hash_t *request,
                             sb_append_result_t *result, sb_error_t *err)
{
    *result = (sb_append_result_t){SB_APPENDED, 0, 0, 0};
    sb_code_t code = check_append(append, err);
    if (code == SB_OK)
        code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = add_events(store, append, err);
    if (code != SB_OK)
        return code;
    sb_hash_t hash = {{0}};
    if (request) {
        hash = *request;
    } else if (!sb_uuid_is_nil(&append->command_id)) {
        hash_request(store, append, &hash);
        if (sb_buf_failed(&store->request))
            return no_memory(err);
    }
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    fill_params(store, append, &hash, &params);
    code = sb_pg_query(store->pg, sb_sql_event_append, &params, &rows, err);
    if (code != SB_OK)
        return sb_context(err, code, "append to %.*s %.*s", SB_SLICE_ARG(append->category),
                          SB_SLICE_ARG(append->key));
    code = read_answer(rows, append, result, err);
    sb_pg_result_free(rows);
    return code;
}
