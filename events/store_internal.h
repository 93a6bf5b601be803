/* What store.c (opens, appends) and store_read.c share.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_STORE_INTERNAL_H
#define SB_EVENTS_STORE_INTERNAL_H

#include "events/store.h"

struct sb_store {
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    bool owned; /* pg and catalog are the store's own */
    char *source;
    sb_pg_array_t ids, types, times, metas, datas; /* of the append in hand */
    sb_buf_t request;                              /* what is hashed under a command id */
    sb_buf_t scratch;
};

/* A store that owns its connection opens it again after it broke; one that borrows it leaves that to the
 * connection's owner. */
SB_MUST_CHECK sb_code_t sb_store_ready(sb_store_t *store, sb_error_t *err);

#endif
