/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_sagas.h"

#include "base/scan.h"
#include "bus_sql.h"
#include "events/saga_number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define SLOTS 8192u /* those at work at once have counters that lie close together */

typedef enum place { FREE, ASKED, KNOWN, ABSENT } place_t;

struct sb_relay_saga {
    int64_t no;
    sb_uuid_t id; /* KNOWN */
    place_t place;
};

static struct sb_relay_saga *slot_of(const sb_relay_sagas_t *sagas, int64_t no)
{
    return &sagas->slot[((uint64_t)sb_saga_counter(no) + (uint64_t)sb_saga_shard(no) * 1031) % SLOTS];
}

void sb_relay_sagas_fini(sb_relay_sagas_t *sagas)
{
    free(sagas->slot);
    sb_pg_array_fini(&sagas->missing);
    *sagas = (sb_relay_sagas_t){.slot = NULL};
}

sb_code_t sb_relay_sagas_begin(sb_relay_sagas_t *sagas, sb_error_t *err)
{
    if (!sagas->slot) {
        sagas->slot = calloc(SLOTS, sizeof *sagas->slot);
        if (!sagas->slot)
            return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
        sb_pg_array_init(&sagas->missing, SB_PG_INT8);
    }
    sb_pg_array_reset(&sagas->missing);
    return SB_OK;
}

void sb_relay_sagas_note(sb_relay_sagas_t *sagas, int64_t no, sb_slice_t body)
{
    sb_scan_value_t value;
    sb_uuid_t id;
    int64_t number = 0;
    if (!body.ptr || !sb_scan_field(body, "saga_id", &value) || value.kind != SB_SCAN_STRING ||
        value.text.len != SB_UUID_TEXT + 1) /* in quotes */
        return;
    if (sb_uuid_parse(value.text.ptr + 1, value.text.len - 2, &id) && sb_saga_number_of(&id, &number) &&
        number == no)
        *slot_of(sagas, no) = (struct sb_relay_saga){no, id, KNOWN};
}

void sb_relay_sagas_need(sb_relay_sagas_t *sagas, int64_t no)
{
    struct sb_relay_saga *slot = slot_of(sagas, no);
    if (slot->place != FREE && slot->no == no)
        return;
    *slot = (struct sb_relay_saga){.no = no, .place = ASKED};
    sb_pg_array_add_int8(&sagas->missing, no);
}

sb_code_t sb_relay_sagas_load(sb_relay_sagas_t *sagas, sb_pg_t *pg, sb_error_t *err)
{
    if (sagas->missing.count == 0 && !sb_pg_array_failed(&sagas->missing))
        return SB_OK;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_array(&params, &sagas->missing);
    sb_code_t code = sb_pg_query(pg, sb_sql_relay_saga_ids, &params, &rows, err);
    for (int i = 0; code == SB_OK && i < sb_pg_rows(rows); i++) {
        struct sb_relay_saga saga = {.no = sb_pg_get_int(rows, i, 0), .place = ABSENT};
        if (!sb_pg_is_null(rows, i, 1))
            saga = (struct sb_relay_saga){saga.no, sb_pg_get_uuid(rows, i, 1), KNOWN};
        *slot_of(sagas, saga.no) = saga;
    }
    sb_pg_result_free(rows);
    if (code != SB_OK) /* what was only asked for must not pass for an answer */
        memset(sagas->slot, 0, SLOTS * sizeof *sagas->slot);
    return code;
}

sb_code_t sb_relay_sagas_get(sb_relay_sagas_t *sagas, sb_pg_t *pg, int64_t no, char out[SB_UUID_TEXT],
                             sb_error_t *err)
{
    const struct sb_relay_saga *slot = slot_of(sagas, no);
    sb_code_t code = SB_OK;
    if (slot->no != no || slot->place == FREE || slot->place == ASKED) {
        sb_pg_array_reset(&sagas->missing);
        sb_pg_array_add_int8(&sagas->missing, no);
        code = sb_relay_sagas_load(sagas, pg, err);
    }
    if (code == SB_OK && slot->place == KNOWN)
        (void)sb_uuid_format(&slot->id, out);
    else
        (void)snprintf(out, SB_UUID_TEXT, "%" PRId64, no);
    return code;
}
