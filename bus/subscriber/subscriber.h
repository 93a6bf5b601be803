/* subscriber (inner side) - a subscriber over settings that are there already, for our own programs.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_SUBSCRIBER_H
#define SB_BUS_SUBSCRIBER_H

#include "base/config.h"
#include "sagabus/store.h"
#include "sagabus/subscriber.h"

/* As sb_subscriber_open, with settings instead of kafka_bootstrap and kafka_prefix; borrowed. NULL: of its
 * own. */
SB_MUST_CHECK sb_code_t sb_subscriber_new(sb_subscriber_t **out, const sb_config_t *settings,
                                          const sb_subscriber_config_t *config, sb_error_t *err);

/* Whether a glob pattern fits a type. */
bool sb_subscriber_fits(const char *pattern, sb_slice_t type);

#endif
