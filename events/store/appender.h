/* appender (inner side) - how our own rooms get at the appender of include/sagabus/appender.h.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_APPENDER_H
#define SB_EVENTS_APPENDER_H

#include "events/catalog.h"
#include "sagabus/appender.h"

/* Over a catalog that outlives it; borrowed. Connects when there is something to append. */
SB_MUST_CHECK sb_code_t sb_appender_new(sb_appender_t **out, const sb_appender_config_t *config,
                                        sb_catalog_t *catalog, sb_error_t *err);

/* sb_appender_submit that never blocks: a type the catalog does not have is refused, and *unknown set; load
 * the catalog and try again. */
SB_MUST_CHECK sb_code_t sb_appender_try(sb_appender_t *appender, const sb_append_t *append,
                                        sb_append_fn on_done, void *context, bool *unknown, sb_error_t *err);

/* Takes nothing more (SB_STOPPED), answers what it has, ends the threads; close it afterwards. Owner only,
 * the others may still try. */
void sb_appender_stop(sb_appender_t *appender);

#endif
