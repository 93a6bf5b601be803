/* event_json - a stored event in CloudEvents structured form, with seq and version; writtenschema when the
 * body was brought to a newer version than it was written in beside it.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SERVER_EVENT_JSON_H
#define SB_SERVER_EVENT_JSON_H

#include "base/buf.h"
#include "sagabus/event.h"

void sb_event_json(const sb_event_t *event, sb_buf_t *out);

#endif
