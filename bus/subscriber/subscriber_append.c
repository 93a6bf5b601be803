/* Events that a handler appends in its own transaction. A handler knows its connection, not its lane; the
 * lane in whose call a thread is finds its way here by the thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"
#include "events/store/store.h"

static _Thread_local sb_lane_t *in_call;

void sb_sub_append_enter(sb_lane_t *lane)
{
    in_call = lane;
}

void sb_sub_append_leave(void)
{
    in_call = NULL;
}

void sb_sub_append_close(sb_lane_t *lane)
{
    sb_store_close(&lane->store);
    sb_catalog_free(&lane->catalog);
}

static sb_code_t ensure_store(sb_lane_t *lane, sb_error_t *err)
{
    if (lane->store)
        return SB_OK;
    sb_code_t code = lane->catalog ? SB_OK : sb_catalog_new(&lane->catalog, err);
    if (code == SB_OK)
        code = sb_catalog_load(lane->catalog, lane->pg, err);
    if (code == SB_OK)
        code = sb_store_new(&lane->store, lane->pg, lane->catalog, err);
    return code;
}

sb_code_t sb_subscriber_append(const sb_append_t *append, sb_append_result_t *result, sb_error_t *err)
{
    if (!in_call || !in_call->pg)
        return sb_fail(
            err, SB_INVALID,
            "subscriber: append is for handlers of a subscriber with a database, on their own thread");
    sb_code_t code = ensure_store(in_call, err);
    return code == SB_OK ? sb_store_append(in_call->store, append, result, err) : code;
}
