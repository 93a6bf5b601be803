/* SPDX-License-Identifier: Apache-2.0 */
#include "sagabus/aggregate.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/retry.h"
#include "events/store/store_internal.h"
#include "events_sql.h"

#include <limits.h>
#include <stdlib.h>

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "aggregate: out of memory");
}

/* ---- decisions ---- */

struct sb_decision {
    sb_event_t *events;
    char **texts; /* what each event's slices point into */
    size_t count;
    size_t cap;
    sb_code_t code; /* of the first failure to add */
};

/* Every slice of an event that an append looks at. */
static const size_t slices[] = {
    offsetof(sb_event_t, type),           offsetof(sb_event_t, source),
    offsetof(sb_event_t, correlation_id), offsetof(sb_event_t, causation_id),
    offsetof(sb_event_t, traceparent),    offsetof(sb_event_t, partition_key),
    offsetof(sb_event_t, data),
};

#define SLICES (sizeof slices / sizeof slices[0])

static sb_slice_t *slice_of(sb_event_t *event, size_t index)
{
    return (sb_slice_t *)(void *)((char *)event + slices[index]);
}

/* Copies the texts behind the event's slices into one block and turns the slices to it; NULL: no memory. */
static char *copy_texts(sb_event_t *event)
{
    size_t length = 1;
    for (size_t i = 0; i < SLICES; i++)
        length += slice_of(event, i)->len;
    char *texts = malloc(length);
    char *at = texts;
    for (size_t i = 0; texts && i < SLICES; i++) {
        sb_slice_t *slice = slice_of(event, i);
        if (!slice->ptr)
            continue;
        memcpy(at, slice->ptr, slice->len);
        slice->ptr = at;
        at += slice->len;
    }
    return texts;
}

static bool make_room(sb_decision_t *decision)
{
    if (decision->count < decision->cap)
        return true;
    size_t cap = decision->cap ? decision->cap * 2 : 8;
    sb_event_t *events = realloc(decision->events, cap * sizeof *events);
    if (events)
        decision->events = events;
    char **texts = realloc(decision->texts, cap * sizeof *texts);
    if (texts)
        decision->texts = texts;
    if (events && texts)
        decision->cap = cap;
    return events && texts;
}

void sb_decision_add(sb_decision_t *decision, const sb_event_t *event)
{
    if (decision->code != SB_OK)
        return;
    if (decision->count == SB_APPEND_EVENTS_MAX) {
        decision->code = SB_TOO_LARGE;
        return;
    }
    sb_event_t copy = *event;
    char *texts = make_room(decision) ? copy_texts(&copy) : NULL;
    if (!texts) {
        decision->code = SB_NO_MEMORY;
        return;
    }
    decision->events[decision->count] = copy;
    decision->texts[decision->count] = texts;
    decision->count++;
}

static void decision_reset(sb_decision_t *decision)
{
    for (size_t i = 0; i < decision->count; i++)
        free(decision->texts[i]);
    decision->count = 0;
    decision->code = SB_OK;
}

static void decision_fini(sb_decision_t *decision)
{
    decision_reset(decision);
    free(decision->events);
    free(decision->texts);
}

/* ---- one aggregate ---- */

struct sb_aggregate {
    const sb_aggregate_type_t *type;
    void *state;
    bool made; /* init was called: fini has something to do */
    int version;
    int snapshot_version; /* of the newest snapshot we know of */
    int64_t stream_no;    /* known from version 1 on */
    int erasures;         /* of its events, when it was loaded */
};

static const char *name_of(const sb_aggregate_type_t *type)
{
    return type->name ? type->name : type->category;
}

static void unmake(sb_aggregate_t *aggregate)
{
    if (aggregate->made && aggregate->type->fini)
        aggregate->type->fini(aggregate->state);
    aggregate->made = false;
    memset(aggregate->state, 0, aggregate->type->state_size);
    aggregate->version = 0;
}

static sb_code_t make(sb_aggregate_t *aggregate, sb_error_t *err)
{
    aggregate->made = true;
    return aggregate->type->init ? aggregate->type->init(aggregate->state, err) : SB_OK;
}

static sb_code_t aggregate_new(sb_aggregate_t **out, const sb_aggregate_type_t *type, sb_error_t *err)
{
    sb_aggregate_t *aggregate = calloc(1, sizeof *aggregate);
    *out = NULL;
    if (!aggregate)
        return no_memory(err);
    aggregate->type = type;
    aggregate->state = calloc(1, type->state_size ? type->state_size : 1);
    sb_code_t code = aggregate->state ? make(aggregate, err) : no_memory(err);
    if (code != SB_OK)
        sb_aggregate_free(&aggregate);
    *out = aggregate;
    return code;
}

void sb_aggregate_free(sb_aggregate_t **aggregate)
{
    sb_aggregate_t *a = *aggregate;
    if (!a)
        return;
    if (a->state)
        unmake(a);
    free(a->state);
    free(a);
    *aggregate = NULL;
}

const void *sb_aggregate_state(const sb_aggregate_t *aggregate)
{
    return aggregate->state;
}

int sb_aggregate_version(const sb_aggregate_t *aggregate)
{
    return aggregate->version;
}

/* ---- loading ---- */

/* What one statement tells: the stream, a snapshot of it, and what became of a command. */
static sb_code_t find(sb_store_t *store, const sb_aggregate_type_t *type, sb_slice_t key, int version,
                      const sb_uuid_t *command_id, sb_pg_result_t **rows, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, type->category);
    sb_pg_add_slice(&params, key);
    sb_pg_add_text(&params, name_of(type));
    sb_pg_add_int4(&params, type->form);
    sb_pg_add_int4(&params, version ? version : INT_MAX);
    sb_pg_add_uuid(&params, command_id);
    sb_code_t code = sb_store_ready(store, err);
    return code == SB_OK ? sb_pg_query(store->pg, sb_sql_aggregate_find, &params, rows, err) : code;
}

enum {
    STREAM_NO,
    STREAM_VERSION,
    SNAPSHOT_VERSION,
    SNAPSHOT_STATE,
    COMMAND_VERSION,
    COMMAND_FIRST,
    COMMAND_LAST,
    COMMAND_HASH,
    ERASURES
};

/* A snapshot that cannot be used is as good as none: the events are there. */
static sb_code_t restore(sb_aggregate_t *aggregate, const sb_pg_result_t *rows, sb_error_t *err)
{
    const sb_aggregate_type_t *type = aggregate->type;
    sb_error_t why = SB_ERROR_INIT;
    aggregate->stream_no = sb_pg_get_int(rows, 0, STREAM_NO);
    aggregate->erasures = (int)sb_pg_get_int(rows, 0, ERASURES);
    if (!type->form || sb_pg_is_null(rows, 0, SNAPSHOT_VERSION))
        return SB_OK;
    aggregate->snapshot_version = (int)sb_pg_get_int(rows, 0, SNAPSHOT_VERSION);
    sb_code_t code = aggregate->snapshot_version > sb_pg_get_int(rows, 0, STREAM_VERSION)
                         ? sb_fail(&why, SB_CORRUPT, "it is newer than the stream")
                         : type->restore(aggregate->state, sb_pg_get_slice(rows, 0, SNAPSHOT_STATE), &why);
    if (code == SB_OK) {
        aggregate->version = aggregate->snapshot_version;
        return SB_OK;
    }
    if (code == SB_NO_MEMORY)
        return no_memory(err);
    sb_log(SB_LOG_WARN, "AGG-SNAPSHOT", "aggregate %s form %d: the snapshot of stream %lld is ignored: %s",
           name_of(type), type->form, (long long)aggregate->stream_no, why.message);
    unmake(aggregate);
    return make(aggregate, err);
}

static sb_code_t fold(void *context, const sb_event_t *event, sb_error_t *err)
{
    sb_aggregate_t *aggregate = context;
    if (event->stream_version != aggregate->version + 1)
        return sb_fail(err, SB_CORRUPT, "event %lld: version %d follows on %d", (long long)event->seq,
                       event->stream_version, aggregate->version);
    sb_code_t code = aggregate->type->evolve(aggregate->state, event, err);
    if (code == SB_OK) {
        aggregate->version = event->stream_version;
        aggregate->stream_no = event->stream_no;
    }
    return code;
}

/* Folds the events after what the state has, up to a version (0: all). */
static sb_code_t fold_tail(sb_aggregate_t *aggregate, sb_store_t *store, sb_slice_t key, int version,
                           sb_error_t *err)
{
    int limit = version ? version - aggregate->version : INT_MAX;
    if (limit <= 0)
        return SB_OK;
    sb_code_t code = sb_store_read_stream(store, sb_slice(aggregate->type->category), key,
                                          aggregate->version + 1, false, limit, fold, aggregate, err);
    return code == SB_OK
               ? SB_OK
               : sb_context(err, code, "load %s %.*s", aggregate->type->category, SB_SLICE_ARG(key));
}

static sb_code_t load(sb_aggregate_t **out, sb_store_t *store, const sb_aggregate_type_t *type,
                      sb_slice_t key, int version, const sb_pg_result_t *rows, sb_error_t *err)
{
    sb_aggregate_t *aggregate = NULL;
    sb_code_t code = aggregate_new(&aggregate, type, err);
    if (aggregate && !sb_pg_is_null(rows, 0, STREAM_NO)) {
        code = restore(aggregate, rows, err);
        if (code == SB_OK && aggregate->version < sb_pg_get_int(rows, 0, STREAM_VERSION))
            code = fold_tail(aggregate, store, key, version, err);
    }
    if (code != SB_OK)
        sb_aggregate_free(&aggregate);
    *out = aggregate;
    return code;
}

sb_code_t sb_aggregate_load(sb_aggregate_t **out, sb_store_t *store, const sb_aggregate_type_t *type,
                            sb_slice_t key, int version, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    *out = NULL;
    if (version < 0)
        return sb_fail(err, SB_INVALID, "load %s: a version is at least 0", type->category);
    sb_code_t code = find(store, type, key, version, NULL, &rows, err);
    if (code == SB_OK)
        code = load(out, store, type, key, version, rows, err);
    sb_pg_result_free(rows);
    return code;
}

/* ---- snapshots ---- */

static sb_code_t put_snapshot(const sb_aggregate_t *aggregate, sb_store_t *store, sb_slice_t bytes,
                              sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, aggregate->stream_no);
    sb_pg_add_text(&params, name_of(aggregate->type));
    sb_pg_add_int4(&params, aggregate->type->form);
    sb_pg_add_int4(&params, aggregate->version);
    sb_pg_add_bytea(&params, bytes);
    sb_pg_add_int4(&params, aggregate->erasures);
    sb_code_t code = sb_store_ready(store, err);
    return code == SB_OK ? sb_pg_query(store->pg, sb_sql_snapshot_put, &params, NULL, err) : code;
}

sb_code_t sb_aggregate_snapshot(const sb_aggregate_t *aggregate, sb_store_t *store, sb_error_t *err)
{
    char *bytes = NULL;
    size_t length = 0;
    if (aggregate->type->form <= 0 || !aggregate->type->save || !aggregate->type->restore)
        return sb_fail(err, SB_UNSUPPORTED, "aggregate %s keeps no snapshots", name_of(aggregate->type));
    if (aggregate->version == 0)
        return SB_OK; /* nothing that a load would not make by itself */
    sb_code_t code = aggregate->type->save(aggregate->state, &bytes, &length, err);
    if (code == SB_OK && length > SB_SNAPSHOT_BYTES_MAX)
        code = sb_fail(err, SB_TOO_LARGE, "aggregate %s: a snapshot of %zu bytes, the limit is %u",
                       name_of(aggregate->type), length, SB_SNAPSHOT_BYTES_MAX);
    if (code == SB_OK)
        code = put_snapshot(aggregate, store, (sb_slice_t){bytes ? bytes : "", length}, err);
    free(bytes);
    return code;
}

/* ---- commands ---- */

/* What a command id stands for: the stream and the command, not the events, which a later state may decide
 * otherwise. */
static sb_code_t hash_command(sb_store_t *store, const sb_aggregate_type_t *type, const sb_execute_t *execute,
                              sb_hash_t *out, sb_error_t *err)
{
    const sb_slice_t parts[] = {sb_slice("aggregate"), sb_slice(name_of(type)), sb_slice(type->category),
                                execute->key, execute->request};
    sb_buf_reset(&store->request);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        sb_buf_add_be32(&store->request, parts[i].ptr ? (uint32_t)parts[i].len : UINT32_MAX);
        sb_buf_add_slice(&store->request, parts[i]);
    }
    if (sb_buf_failed(&store->request))
        return no_memory(err);
    sb_hash_bytes(sb_buf_slice(&store->request), out);
    return SB_OK;
}

/* Whether the command was carried out before; then its first answer is the result. */
static sb_code_t find_command(const sb_pg_result_t *rows, const sb_execute_t *execute, const sb_hash_t *hash,
                              bool *found, sb_execute_result_t *result, sb_error_t *err)
{
    *found = !sb_pg_is_null(rows, 0, COMMAND_VERSION);
    if (!*found)
        return SB_OK;
    char id[SB_UUID_TEXT];
    sb_slice_t mine = {(const char *)hash->byte, sizeof hash->byte};
    if (!sb_slice_equal(sb_pg_get_slice(rows, 0, COMMAND_HASH), mine))
        return sb_fail_at(err, SB_MISMATCH, "/command_id", "command %s was another request",
                          sb_uuid_format(&execute->command_id, id));
    *result = (sb_execute_result_t){.outcome = SB_EXECUTED_BEFORE,
                                    .version = (int)sb_pg_get_int(rows, 0, COMMAND_VERSION),
                                    .first_seq = sb_pg_get_int(rows, 0, COMMAND_FIRST),
                                    .last_seq = sb_pg_get_int(rows, 0, COMMAND_LAST)};
    return SB_OK;
}

static sb_code_t decide(const sb_aggregate_t *aggregate, const sb_execute_t *execute, sb_decision_t *decision,
                        sb_error_t *err)
{
    decision_reset(decision);
    sb_code_t code = aggregate->type->decide(aggregate->state, execute->command, decision, err);
    if (code != SB_OK)
        return code;
    if (decision->code == SB_TOO_LARGE)
        return sb_fail(err, SB_TOO_LARGE, "%s %.*s: a command decided more than %d events",
                       aggregate->type->category, SB_SLICE_ARG(execute->key), SB_APPEND_EVENTS_MAX);
    if (decision->code != SB_OK)
        return no_memory(err);
    for (size_t i = 0; i < decision->count; i++) {
        sb_event_t *event = &decision->events[i];
        if (!event->correlation_id.ptr)
            event->correlation_id = execute->correlation_id;
        if (!event->causation_id.ptr)
            event->causation_id = execute->causation_id;
        if (!event->traceparent.ptr)
            event->traceparent = execute->traceparent;
    }
    return SB_OK;
}

static sb_code_t append(const sb_aggregate_t *aggregate, sb_store_t *store, const sb_execute_t *execute,
                        const sb_hash_t *hash, const sb_decision_t *decision, sb_append_result_t *result,
                        sb_error_t *err)
{
    sb_append_t request = {.category = sb_slice(aggregate->type->category),
                           .key = execute->key,
                           .expect = SB_EXPECT_EXACT,
                           .expected_version = aggregate->version,
                           .command_id = execute->command_id,
                           .events = decision->events,
                           .count = decision->count};
    return sb_store_append_as(store, &request, hash, result, err);
}

#define TRIES_DEFAULT 10

static void wait_before(uint32_t try)
{
    static const sb_retry_policy_t policy = {SB_RETRY_EXPONENTIAL, 0, 4, 250, true};
    sb_sleep_ms(sb_retry_delay_ms(&policy, try, (uint64_t)sb_mono_us() * 0x9e3779b97f4a7c15u));
}

/* Decides and appends until nobody else was first. */
static sb_code_t decide_and_append(sb_aggregate_t *aggregate, sb_store_t *store, const sb_execute_t *execute,
                                   const sb_hash_t *hash, sb_decision_t *decision,
                                   sb_execute_result_t *result, sb_error_t *err)
{
    uint32_t tries_max = execute->tries_max ? execute->tries_max : TRIES_DEFAULT;
    for (;;) {
        sb_append_result_t appended = {.version = aggregate->version};
        result->tries++;
        sb_code_t code = decide(aggregate, execute, decision, err);
        if (code == SB_OK && decision->count > 0)
            code = append(aggregate, store, execute, hash, decision, &appended, err);
        if (code != SB_OK)
            return code;
        if (appended.outcome != SB_APPEND_CONFLICT) {
            result->outcome = decision->count == 0                     ? SB_EXECUTED_NOTHING
                              : appended.outcome == SB_APPEND_REPEATED ? SB_EXECUTED_BEFORE
                                                                       : SB_EXECUTED;
            result->version = appended.version;
            result->first_seq = appended.first_seq;
            result->last_seq = appended.last_seq;
            return SB_OK;
        }
        if (result->tries >= tries_max)
            return sb_fail(err, SB_CONFLICT, "%s %.*s: in %u tries another writer was first every time",
                           aggregate->type->category, SB_SLICE_ARG(execute->key), result->tries);
        wait_before(result->tries);
        code = fold_tail(aggregate, store, execute->key, 0, err);
        if (code != SB_OK)
            return code;
    }
}

/* The command is carried out; a snapshot that fails is written the next time. */
static void snapshot_when_due(sb_aggregate_t *aggregate, sb_store_t *store, const sb_execute_t *execute,
                              int version)
{
    const sb_aggregate_type_t *type = aggregate->type;
    uint32_t every = type->snapshot_every ? type->snapshot_every : 100;
    sb_error_t why = SB_ERROR_INIT;
    if (type->form <= 0 || version < aggregate->snapshot_version ||
        (uint32_t)(version - aggregate->snapshot_version) < every)
        return;
    sb_code_t code = SB_OK;
    if (aggregate->version < version)
        code = fold_tail(aggregate, store, execute->key, version, &why);
    if (code == SB_OK)
        code = sb_aggregate_snapshot(aggregate, store, &why);
    if (code != SB_OK)
        sb_log(SB_LOG_WARN, "AGG-SNAPSHOT",
               "aggregate %s: no snapshot of stream %lld, the next command tries again|code=%s origin=%s",
               name_of(type), (long long)aggregate->stream_no, sb_code_name(code), why.origin);
}

sb_code_t sb_aggregate_execute(sb_store_t *store, const sb_aggregate_type_t *type,
                               const sb_execute_t *execute, sb_execute_result_t *result, sb_error_t *err)
{
    *result = (sb_execute_result_t){.outcome = SB_EXECUTED};
    bool has_command = !sb_uuid_is_nil(&execute->command_id);
    bool done = false;
    sb_hash_t hash = {{0}};
    sb_pg_result_t *rows = NULL;
    sb_aggregate_t *aggregate = NULL;
    sb_decision_t decision = {.count = 0};
    sb_code_t code = has_command ? hash_command(store, type, execute, &hash, err) : SB_OK;
    if (code == SB_OK)
        code = find(store, type, execute->key, 0, has_command ? &execute->command_id : NULL, &rows, err);
    if (code == SB_OK)
        code = find_command(rows, execute, &hash, &done, result, err);
    if (code == SB_OK && !done)
        code = load(&aggregate, store, type, execute->key, 0, rows, err);
    if (code == SB_OK && aggregate) {
        code =
            decide_and_append(aggregate, store, execute, has_command ? &hash : NULL, &decision, result, err);
        if (code == SB_OK && result->outcome != SB_EXECUTED_BEFORE)
            snapshot_when_due(aggregate, store, execute, result->version);
    }
    sb_pg_result_free(rows);
    sb_aggregate_free(&aggregate);
    decision_fini(&decision);
    return code;
}
