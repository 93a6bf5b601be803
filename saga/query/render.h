/* render - JSON objects written member by member, for what people and the API read about sagas.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_RENDER_H
#define SB_SAGA_RENDER_H

#include "base/buf.h"
#include "saga/machine.h"
#include "sagabus/id.h"

/* Opens and closes an object or an array; name NULL: an item of an array, or the whole. */
void sb_render_open(sb_buf_t *out, const char *name, char bracket);
void sb_render_close(sb_buf_t *out, char bracket);

/* Members; what is absent is written as null. */
void sb_render_text(sb_buf_t *out, const char *name, sb_slice_t text);
void sb_render_raw(sb_buf_t *out, const char *name, sb_slice_t json);
void sb_render_int(sb_buf_t *out, const char *name, int64_t value);
void sb_render_bool(sb_buf_t *out, const char *name, bool value);
void sb_render_uuid(sb_buf_t *out, const char *name, const sb_uuid_t *id);
void sb_render_direction(sb_buf_t *out, sb_direction_t direction);     /* as "direction" */
void sb_render_time(sb_buf_t *out, const char *name, int64_t wall_us); /* 0: null */

#endif
