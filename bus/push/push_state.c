/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_internal.h"

#include "bus_sql.h"

#include <stdio.h>

/* Opens a transaction of the lease. */
static sb_code_t guard(sb_push_t *push, const sb_push_slot_t *slot, const int64_t *cursor, sb_error_t *err)
{
    sb_pg_params_t params;
    sb_lease_move_t move = {.cursor = cursor};
    sb_lease_guard(&slot->lease, &move, &params);
    sb_code_t code = sb_pg_begin(push->pg, err);
    return code == SB_OK ? sb_pg_query(push->pg, sb_sql_lease_advance, &params, NULL, err) : code;
}

static sb_code_t finish(sb_push_t *push, sb_code_t code, sb_error_t *err)
{
    if (code == SB_OK)
        return sb_pg_commit(push->pg, err);
    sb_pg_rollback(push->pg);
    return code;
}

/* ---- the position ---- */

sb_code_t sb_push_begin(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_pg_params_t name = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_text(&name, slot->name);
    sb_code_t code = sb_pg_query(push->pg, sb_sql_push_known, &name, &rows, err);
    if (code != SB_OK)
        return code;
    bool known = sb_pg_get_bool(rows, 0, 0);
    slot->incarnation = sb_pg_get_int(rows, 0, 1);
    int64_t first = slot->definition->from_start ? 0 : sb_pg_get_int(rows, 0, 2);
    sb_pg_result_free(rows);
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, slot->name);
    sb_pg_add_int4(&params, slot->definition->version);
    code = guard(push, slot, known ? NULL : &first, err);
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_push_begin, &params, NULL, err);
    code = finish(push, code, err);
    if (code == SB_OK && !known)
        slot->lease.cursor = first;
    return code;
}

static void add_result(const sb_push_slot_t *slot, sb_pg_params_t *params)
{
    sb_pg_add_text(params, slot->name);
    sb_pg_add_text(params, slot->problem);
    sb_pg_add_int8(params, slot->delivered);
    sb_pg_add_int8(params, slot->failures);
    sb_pg_add_int8(params, slot->dead);
}

static sb_code_t add_letter(sb_push_t *push, const sb_push_slot_t *slot, const sb_push_entry_t *entry,
                            sb_error_t *err)
{
    sb_topic_t topic;
    sb_message_headers_t headers;
    char id[SB_UUID_TEXT];
    sb_position_t position = {slot->incarnation, 0, entry->event.seq, 0};
    sb_code_t code = sb_topic_events(topic, sb_config_get(push->config.config, "kafka.prefix"),
                                     sb_event_category(entry->event.type), err);
    if (code != SB_OK)
        return code;
    sb_message_encode(&entry->event, &position, &headers);
    sb_message_t record = {.topic = topic,
                           .partition = 0,
                           .offset = -1,
                           .time_ms = entry->event.time_us / 1000,
                           .key = entry->key,
                           .value = entry->event.data,
                           .header_count = headers.count};
    memcpy(record.headers, headers.header, headers.count * sizeof headers.header[0]);
    sb_dead_record_t letter = {.subscription = slot->name,
                               .record = &record,
                               .incarnation = slot->incarnation,
                               .seq = entry->event.seq,
                               .id = sb_slice(sb_uuid_format(&entry->event.id, id)),
                               .source = entry->event.source,
                               .type = entry->event.type,
                               .reason = entry->reason,
                               .error = entry->error,
                               .attempts = (int)entry->tries,
                               .first_failed_us = entry->failed_us,
                               .held = slot->window.order == SB_PUSH_BY_KEY};
    return sb_dead_letter_add(push->pg, &letter, err);
}

static sb_code_t save_durably(sb_push_t *push, const sb_push_slot_t *slot, int64_t cursor, int count,
                              sb_error_t *err)
{
    sb_pg_params_t result = SB_PG_PARAMS_INIT;
    add_result(slot, &result);
    sb_code_t code = guard(push, slot, &cursor, err);
    for (int i = 0; code == SB_OK && i < count; i++) {
        const sb_push_entry_t *entry = sb_push_window_at(&slot->window, i);
        if (entry->state == SB_PUSH_DEAD)
            code = add_letter(push, slot, entry, err);
    }
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_push_save, &result, NULL, err);
    return finish(push, code, err);
}

static sb_code_t save_lazily(sb_push_t *push, const sb_push_slot_t *slot, int64_t cursor, sb_error_t *err)
{
    static const sb_pg_params_t none = SB_PG_PARAMS_INIT;
    sb_pg_params_t lease;
    sb_pg_params_t result = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_lease_move_t move = {.cursor = &cursor};
    sb_lease_guard(&slot->lease, &move, &lease);
    add_result(slot, &result);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &lease);
    sb_pg_batch_add(&batch, sb_sql_commit_lazily, &none);
    sb_pg_batch_add(&batch, sb_sql_push_save, &result);
    return sb_pg_batch_run(push->pg, &batch, NULL, NULL, err);
}

sb_code_t sb_push_save(sb_push_t *push, sb_push_slot_t *slot, int64_t cursor, int count, bool any_dead,
                       sb_error_t *err)
{
    sb_code_t code =
        any_dead ? save_durably(push, slot, cursor, count, err) : save_lazily(push, slot, cursor, err);
    if (code != SB_OK)
        return code;
    slot->any_held |= any_dead && slot->window.order == SB_PUSH_BY_KEY;
    slot->saved_seq = cursor;
    slot->saved_us = sb_mono_us();
    slot->delivered = slot->failures = slot->dead = 0;
    slot->problem_changed = false;
    return SB_OK;
}

sb_code_t sb_push_pause_gone(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, slot->name);
    sb_pg_add_text(&params, "the endpoint");
    sb_pg_add_text(&params, "it answered 410: it wants no more events");
    sb_code_t code = guard(push, slot, NULL, err);
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_push_pause, &params, NULL, err);
    return finish(push, code, err);
}

/* ---- held keys ---- */

static void block_key(sb_push_slot_t *slot, int64_t first, sb_slice_t topic, const char *prefix,
                      sb_slice_t key)
{
    for (int64_t no = first; no < slot->window.next; no++) {
        sb_topic_t of;
        sb_push_entry_t *entry = sb_push_window_entry(&slot->window, no);
        if (entry && sb_slice_equal(entry->key, key) &&
            sb_topic_events(of, prefix, sb_event_category(entry->event.type), NULL) == SB_OK &&
            sb_slice_is(topic, of))
            sb_push_window_block(entry);
    }
}

sb_code_t sb_push_block_held(sb_push_t *push, sb_push_slot_t *slot, int64_t first, sb_error_t *err)
{
    const char *prefix = sb_config_get(push->config.config, "kafka.prefix");
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_t topics, keys;
    sb_code_t code = SB_OK;
    sb_pg_array_init(&topics, SB_PG_TEXT);
    sb_pg_array_init(&keys, SB_PG_BYTEA);
    for (int64_t no = first; code == SB_OK && no < slot->window.next; no++) {
        sb_topic_t topic;
        const sb_push_entry_t *entry = sb_push_window_entry(&slot->window, no);
        code = sb_topic_events(topic, prefix, sb_event_category(entry->event.type), err);
        sb_pg_array_add_slice(&topics, sb_slice(topic));
        sb_pg_array_add_slice(&keys, entry->key);
    }
    sb_pg_add_text(&params, slot->name);
    sb_pg_add_array(&params, &topics);
    sb_pg_add_array(&params, &keys);
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_sub_held_keys, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++)
        block_key(slot, first, sb_pg_get_slice(rows, i, 0), prefix, sb_pg_get_slice(rows, i, 1));
    sb_pg_result_free(rows);
    sb_pg_array_fini(&topics);
    sb_pg_array_fini(&keys);
    return code;
}

/* ---- a dead letter that was sent again ---- */

sb_code_t sb_push_letter_handled(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = guard(push, slot, NULL, err);
    if (code == SB_OK)
        code = sb_dead_letter_handled(push->pg, slot->again.no, err);
    return finish(push, code, err);
}

static void add_key(const sb_push_slot_t *slot, sb_pg_params_t *params)
{
    sb_pg_add_text(params, slot->name);
    sb_pg_add_text(params, slot->again.topic);
    sb_pg_add_bytea(params, (sb_slice_t){slot->again.key, slot->again.key_length});
}

sb_code_t sb_push_letter_failed(sb_push_t *push, sb_push_slot_t *slot, const char *error, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_code_t code = guard(push, slot, NULL, err);
    if (code == SB_OK && slot->again.key) {
        add_key(slot, &params);
        code = sb_pg_query(push->pg, sb_sql_sub_release_failed, &params, NULL, err);
    }
    if (code == SB_OK)
        code = sb_dead_letter_failed(push->pg, slot->again.no, error, 0, err);
    return finish(push, code, err);
}

/* The quarantine's row is locked first: whoever discards dead letters does so, too. */
sb_code_t sb_push_key_free(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, slot->name);
    sb_pg_add_bytea(&params, (sb_slice_t){slot->again.key, slot->again.key_length});
    sb_code_t code = guard(push, slot, NULL, err);
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_dlq_lock_keys, &params, NULL, err);
    if (code == SB_OK)
        code = sb_pg_query(push->pg, sb_sql_dlq_free_keys, &params, NULL, err);
    return finish(push, code, err);
}
