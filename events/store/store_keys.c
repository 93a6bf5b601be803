/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_keys.h"

#include "events_sql.h"

#include <stdlib.h>

#define STREAMS_MAX 131072
#define TEXT_MAX    (8u << 20)
#define SLOTS_MIN   1024

struct sb_store_key {
    int64_t stream_no; /* 0: free */
    uint32_t at;       /* in text */
    uint32_t length;   /* ABSENT: not known, or no such stream */
};

#define ABSENT UINT32_MAX

void sb_store_keys_fini(sb_store_keys_t *keys)
{
    free(keys->slot);
    sb_buf_fini(&keys->text);
    sb_pg_array_fini(&keys->missing);
    *keys = (sb_store_keys_t){.slot = NULL};
}

static struct sb_store_key *find(const sb_store_keys_t *keys, int64_t stream_no)
{
    size_t mask = keys->slot_count - 1;
    size_t i = ((uint64_t)stream_no * UINT64_C(0x9e3779b97f4a7c15)) >> 20 & mask;
    while (keys->slot[i].stream_no != 0 && keys->slot[i].stream_no != stream_no)
        i = (i + 1) & mask;
    return &keys->slot[i];
}

/* At most half of the slots are taken. */
static bool make_room(sb_store_keys_t *keys, size_t streams)
{
    size_t wanted = keys->slot_count ? keys->slot_count : SLOTS_MIN;
    while (wanted < streams * 2)
        wanted *= 2;
    if (wanted == keys->slot_count)
        return true;
    sb_store_keys_t grown = *keys;
    grown.slot_count = wanted;
    grown.slot = calloc(wanted, sizeof *grown.slot);
    if (!grown.slot)
        return false;
    for (size_t i = 0; i < keys->slot_count; i++)
        if (keys->slot[i].stream_no)
            *find(&grown, keys->slot[i].stream_no) = keys->slot[i];
    free(keys->slot);
    *keys = grown;
    return true;
}

static void forget_all(sb_store_keys_t *keys)
{
    memset(keys->slot, 0, keys->slot_count * sizeof *keys->slot);
    keys->count = 0;
    sb_buf_reset(&keys->text);
}

sb_code_t sb_store_keys_begin(sb_store_keys_t *keys, size_t new_max, sb_error_t *err)
{
    if (keys->count > 0 && (keys->count + new_max > STREAMS_MAX || keys->text.len > TEXT_MAX))
        forget_all(keys);
    sb_pg_array_fini(&keys->missing);
    sb_pg_array_init(&keys->missing, SB_PG_INT8);
    return make_room(keys, keys->count + new_max)
               ? SB_OK
               : sb_fail(err, SB_NO_MEMORY, "read: out of memory for the keys of streams");
}

void sb_store_keys_need(sb_store_keys_t *keys, int64_t stream_no)
{
    struct sb_store_key *key = find(keys, stream_no);
    if (key->stream_no)
        return;
    *key = (struct sb_store_key){stream_no, 0, ABSENT};
    keys->count++;
    sb_pg_array_add_int8(&keys->missing, stream_no);
}

static void keep(sb_store_keys_t *keys, int64_t stream_no, sb_slice_t text)
{
    struct sb_store_key *key = find(keys, stream_no);
    key->at = (uint32_t)keys->text.len;
    key->length = (uint32_t)text.len;
    sb_buf_add_slice(&keys->text, text);
}

sb_code_t sb_store_keys_load(sb_store_keys_t *keys, sb_pg_t *pg, sb_error_t *err)
{
    if (keys->missing.count == 0 && !sb_pg_array_failed(&keys->missing))
        return SB_OK;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_array(&params, &keys->missing);
    sb_code_t code = sb_pg_query(pg, sb_sql_stream_keys, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++)
        keep(keys, sb_pg_get_int(rows, i, 0), sb_pg_get_slice(rows, i, 1));
    sb_pg_result_free(rows);
    if (code == SB_OK && sb_buf_failed(&keys->text))
        code = sb_fail(err, SB_NO_MEMORY, "read: out of memory for the keys of streams");
    if (code != SB_OK) /* what is half loaded must not pass for streams that do not exist */
        forget_all(keys);
    return code;
}

sb_slice_t sb_store_keys_get(const sb_store_keys_t *keys, int64_t stream_no)
{
    const struct sb_store_key *key = find(keys, stream_no);
    if (key->stream_no == 0 || key->length == ABSENT)
        return SB_SLICE_NONE;
    return (sb_slice_t){keys->text.ptr + key->at, key->length};
}
