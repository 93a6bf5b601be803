/* topology - which topics an installation needs, worked out from what is registered: an events topic a
 * category, a command topic a participant, the reply topic with a partition a shard.
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_TOPOLOGY_H
#define SB_SAGA_TOPOLOGY_H

#include "bus/topics.h"
#include "events/catalog.h"

/* Adds to list, in order of name. */
SB_MUST_CHECK sb_code_t sb_topology(const sb_config_t *config, sb_pg_t *pg, const sb_catalog_t *catalog,
                                    sb_topic_list_t *list, sb_error_t *err);

#endif
