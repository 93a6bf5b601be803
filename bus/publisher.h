/* publisher - the inner door of include/sagabus/publisher.h: with settings that were read already.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUBLISHER_H
#define SB_BUS_PUBLISHER_H

#include "base/config.h"
#include "sagabus/publisher.h"

/* As sb_publisher_open, but every Kafka setting comes from settings, which is borrowed and outlives *out;
 * config's bootstrap and prefix are not looked at. */
SB_MUST_CHECK sb_code_t sb_publisher_new(sb_publisher_t **out, const sb_config_t *settings,
                                         const sb_publisher_config_t *config, sb_error_t *err);

#endif
