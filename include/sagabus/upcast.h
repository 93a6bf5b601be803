/* upcast - how an event of an old schema version becomes one of the newest, where the schema file cannot say
 * it.
 *
 * A version of an event type declares in its schema file how an event of the version before it becomes its
 * own
 * (`x-upcast`, docs/json-schema.md): renaming, moving, dropping members and giving them values needs no code.
 * Where that is not enough the file says `"x-upcast": "hook"`, and every program that reads such events
 * registers a function for the step. A step without its function stops the read and names it; nothing is
 * passed over.
 *
 * A store handle brings every event it reads to the newest version it knows. event.schema_version is then
 * that version, event.written_version the one it was appended in. What is stored, and what Kafka carries,
 * stays as it was written.
 *
 * Thread: of the handle.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SAGABUS_UPCAST_H
#define SAGABUS_UPCAST_H

#include "sagabus/store.h"

#define SB_UPCAST_HOOKS_MAX 256

typedef struct sb_upcast_out sb_upcast_out_t;

/* Writes the body of the next version to out, by one or more calls of sb_upcast_write. event is of the
 * version the function was registered for and borrowed for the call. It must be pure: the same event gives
 * the same bytes, with no clock and no I/O, because the event is read again and again and a view folds it
 * twice. What it writes is checked against the schema of the next version (SB_INVALID). Not SB_OK ends the
 * read; the error gets the event's name in front. Not called for the body null, which an erased event has. */
typedef sb_code_t (*sb_upcast_fn)(void *context, const sb_event_t *event, sb_upcast_out_t *out,
                                  sb_error_t *err);

SB_API void sb_upcast_write(sb_upcast_out_t *out, const void *bytes, size_t length);

/* Registers the step from (type, version) to version + 1 on this handle; the type need not be registered yet.
 * context outlives the handle. SB_INVALID: the schema file declares that step already, or the type is
 * malformed. SB_CONFLICT: the step has its function. SB_TOO_LARGE: more than SB_UPCAST_HOOKS_MAX. */
SB_API SB_MUST_CHECK sb_code_t sb_store_upcast(sb_store_t *store, const char *type, int version,
                                               sb_upcast_fn fn, void *context, sb_error_t *err);

#endif
