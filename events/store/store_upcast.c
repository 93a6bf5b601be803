/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store_internal.h"

sb_code_t sb_store_upcast(sb_store_t *store, const char *type, int version, sb_upcast_fn fn, void *context,
                          sb_error_t *err)
{
    const sb_event_type_t *next = sb_catalog_type(store->catalog, sb_slice(type), version + 1);
    if (next && (!next->upcast || !sb_upcast_is_hook(next->upcast)))
        return sb_fail(
            err, SB_INVALID,
            "upcast of %s version %d: the file of version %d says how; it needs \"x-upcast\": \"hook\"", type,
            version, version + 1);
    return sb_upcaster_hook(store->upcaster, type, version, fn, context, err);
}
