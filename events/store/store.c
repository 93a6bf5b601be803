/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_internal.h"

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
    sb_append_batch_init(&store->batch);
    sb_code_t code = sb_upcaster_new(&store->upcaster, err);
    if (code != SB_OK)
        sb_store_close(&store);
    *out = store;
    return code;
}

void sb_store_limit(sb_store_t *store, size_t event_bytes_max)
{
    store->event_bytes_max = event_bytes_max;
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
    store->event_bytes_max = config->event_bytes_max;
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
    sb_append_batch_fini(&s->batch);
    sb_encoded_fini(&s->encoded);
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

/* ---- append ---- */

static sb_append_rules_t rules_of(const sb_store_t *store)
{
    return (sb_append_rules_t){store->catalog, store->pg, store->source, store->event_bytes_max};
}

static sb_code_t fail_command(const sb_uuid_t *command, sb_error_t *err)
{
    char id[SB_UUID_TEXT];
    return sb_fail_at(err, SB_MISMATCH, "/command_id", "append: command %s was another request",
                      sb_uuid_format(command, id));
}

sb_code_t sb_store_append(sb_store_t *store, const sb_append_t *append, sb_append_result_t *result,
                          sb_error_t *err)
{
    return sb_store_append_as(store, append, NULL, result, err);
}

sb_code_t sb_store_append_as(sb_store_t *store, const sb_append_t *append, const sb_hash_t *request,
                             sb_append_result_t *result, sb_error_t *err)
{
    sb_append_rules_t rules = rules_of(store);
    sb_append_answer_t answer = {.code = SB_OK};
    *result = (sb_append_result_t){SB_APPENDED, 0, 0, 0};
    sb_code_t code = sb_store_ready(store, err);
    if (code == SB_OK)
        code = sb_append_encode(&store->encoded, &rules, append, NULL, err);
    if (code != SB_OK)
        return code;
    if (request)
        store->encoded.hash = *request;
    sb_append_batch_reset(&store->batch);
    sb_append_batch_add(&store->batch, &store->encoded);
    code = sb_append_batch_run(store->pg, &store->batch, true, NULL, &answer, err);
    if (code != SB_OK)
        return sb_context(err, code, "append to %.*s %.*s", SB_SLICE_ARG(append->category),
                          SB_SLICE_ARG(append->key));
    *result = answer.result;
    return answer.code == SB_OK ? SB_OK : fail_command(&append->command_id, err);
}

/* ---- several streams at once ---- */

typedef struct many {
    sb_encoded_t *encoded;
    sb_append_answer_t *answer;
} many_t;

static void free_many(many_t *many, size_t count)
{
    for (size_t i = 0; many->encoded && i < count; i++)
        sb_encoded_fini(&many->encoded[i]);
    free(many->encoded);
    free(many->answer);
}

/* "/events/3/data" of the second append is "/appends/1/events/3/data" of the call. */
static sb_code_t in_append(size_t index, sb_code_t code, sb_error_t *err)
{
    char pointer[sizeof err->pointer];
    if (!err)
        return code;
    (void)snprintf(pointer, sizeof pointer, "/appends/%zu%.100s", index, err->pointer);
    (void)snprintf(err->pointer, sizeof err->pointer, "%s", pointer);
    return sb_context(err, code, "append %zu", index);
}

static sb_code_t encode_many(sb_store_t *store, const sb_append_t *appends, size_t count, many_t *many,
                             sb_error_t *err)
{
    sb_append_rules_t rules = rules_of(store);
    size_t events = 0, bytes = 0;
    for (size_t i = 0; i < count; i++) {
        if (!sb_uuid_is_nil(&appends[i].command_id))
            return sb_fail_at(err, SB_INVALID, "/command_id", "append: give the command id to the call");
        sb_code_t code = sb_append_encode(&many->encoded[i], &rules, &appends[i], NULL, err);
        if (code != SB_OK)
            return in_append(i, code, err);
        events += many->encoded[i].count;
        bytes += many->encoded[i].bytes.len;
    }
    if (events > SB_APPEND_EVENTS_MAX || bytes > SB_APPEND_BYTES_MAX)
        return sb_fail_at(err, SB_TOO_LARGE, "/appends",
                          "append: %zu events of %zu bytes, the limits are %d "
                          "and %u",
                          events, bytes, SB_APPEND_EVENTS_MAX, SB_APPEND_BYTES_MAX);
    return SB_OK;
}

/* The command's own id goes with the first append, ids made from it with the others, and the hash of all
 * requests with each: so that all are found, or none. */
static sb_code_t set_commands(const sb_append_t *appends, size_t count, const sb_uuid_t *command,
                              many_t *many, sb_error_t *err)
{
    sb_buf_t all = SB_BUF_INIT;
    sb_hash_t hash = {{0}};
    sb_code_t code = SB_OK;
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        code = sb_append_hash(&appends[i], &hash, err);
        sb_buf_add(&all, hash.byte, sizeof hash.byte);
    }
    if (code == SB_OK && sb_buf_failed(&all))
        code = no_memory(err);
    if (code == SB_OK)
        sb_hash_bytes(sb_buf_slice(&all), &hash);
    for (size_t i = 0; i < count && code == SB_OK; i++) {
        char name[24];
        int length = snprintf(name, sizeof name, "append %zu", i);
        many->encoded[i].hash = hash;
        many->encoded[i].command_id = i == 0 ? *command : sb_uuid_v5(command, name, (size_t)length);
    }
    sb_buf_fini(&all);
    return code;
}

static sb_code_t run_many(sb_store_t *store, const sb_append_t *appends, size_t count,
                          const sb_uuid_t *command, many_t *many, sb_append_result_t *results,
                          sb_error_t *err)
{
    sb_code_t code = encode_many(store, appends, count, many, err);
    if (code == SB_OK && command)
        code = set_commands(appends, count, command, many, err);
    if (code != SB_OK)
        return code;
    sb_append_batch_reset(&store->batch);
    for (size_t i = 0; i < count; i++)
        sb_append_batch_add(&store->batch, &many->encoded[i]);
    code = sb_append_batch_run(store->pg, &store->batch, true, NULL, many->answer, err);
    if (code != SB_OK)
        return sb_context(err, code, "append to %zu streams", count);
    bool conflict = false;
    for (size_t i = 0; i < count; i++) {
        results[i] = many->answer[i].result;
        conflict = conflict || results[i].outcome == SB_APPEND_CONFLICT;
        if (command && many->answer[i].code != SB_OK)
            return fail_command(command, err);
    }
    /* Undone without a conflict: the command was carried out, and a part of it is forgotten by now. */
    return command && !conflict && results[0].outcome == SB_APPEND_NOT_DONE ? fail_command(command, err)
                                                                            : SB_OK;
}

sb_code_t sb_store_append_many(sb_store_t *store, const sb_append_t *appends, size_t count,
                               const sb_uuid_t *command_id, sb_append_result_t *results, sb_error_t *err)
{
    const sb_uuid_t *command = command_id && !sb_uuid_is_nil(command_id) ? command_id : NULL;
    if (count == 0 || count > SB_APPEND_EVENTS_MAX)
        return sb_fail_at(err, count ? SB_TOO_LARGE : SB_INVALID, "/appends",
                          "append: %zu appends, wanted are 1 to %d", count, SB_APPEND_EVENTS_MAX);
    sb_code_t code = sb_store_ready(store, err);
    if (code != SB_OK)
        return code;
    many_t many = {calloc(count, sizeof *many.encoded), calloc(count, sizeof *many.answer)};
    code = many.encoded && many.answer ? run_many(store, appends, count, command, &many, results, err)
                                       : no_memory(err);
    free_many(&many, count);
    return code;
}
