/* upcast (inner side) - brings a body from the version it was written in to the newest one, on its bytes.
 *
 * The declared operations are total: on any body that is JSON they end with a body. What is not there is not
 * moved; where there is no object nothing is set; what stood at the target of a rename or a move is replaced;
 * a move that would nest deeper than SB_SCAN_DEPTH_MAX, or through something that is no object, leaves the
 * value where it was. Members that no operation names keep their bytes and their order, white space included;
 * numbers are never read.
 *
 * The catalog compiles the operations of each version once and joins them to chains (sb_catalog_type_no). A
 * chain is read-only and may be shared; an upcaster has the memory of a run and the C functions of a handle.
 *
 * Thread: an upcaster belongs to one thread at a time; the rest is read-only.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_UPCAST_H
#define SB_EVENTS_UPCAST_H

#include "events/schema/schema.h"
#include "sagabus/upcast.h"

#define SB_UPCAST_OPS_MAX 1000

typedef struct sb_upcast sb_upcast_t; /* what one version declares */

/* Compiles the value of x-upcast: an array of operations, or "hook". SB_INVALID or SB_UNSUPPORTED with
 * err->pointer in the declaration. Whether the members exist is sb_compat_check's to say. */
SB_MUST_CHECK sb_code_t sb_upcast_compile(sb_upcast_t **out, const json_t *declaration, sb_error_t *err);
void sb_upcast_free(sb_upcast_t **upcast);
bool sb_upcast_is_hook(const sb_upcast_t *upcast);

/* One version's part of a chain. */
typedef struct sb_upcast_step {
    int version;               /* that it leads to */
    const sb_upcast_t *upcast; /* NULL: the body stays as it is */
    const sb_schema_t *schema; /* of that version; checks what a C function wrote */
} sb_upcast_step_t;

typedef struct sb_upcast_chain {
    const char *type;
    int from, to;
    int missing; /* a version between them that is not known or not readable here; 0: none */
    int count;
    sb_upcast_step_t step[];
} sb_upcast_chain_t;

typedef struct sb_upcaster sb_upcaster_t;

SB_MUST_CHECK sb_code_t sb_upcaster_new(sb_upcaster_t **out, sb_error_t *err);
void sb_upcaster_free(sb_upcaster_t **upcaster);
SB_MUST_CHECK sb_code_t sb_upcaster_hook(sb_upcaster_t *upcaster, const char *type, int version,
                                         sb_upcast_fn fn, void *context, sb_error_t *err);

/* It has the functions of another too, which outlives it and gets no more. NULL: of none. */
void sb_upcaster_lean(sb_upcaster_t *upcaster, const sb_upcaster_t *on);

/* Brings event->data along the chain (NULL: it is the newest already, nothing is done); sets data,
 * schema_version and written_version. data is then borrowed from what it was or from the upcaster, until its
 * next run. SB_UNSUPPORTED: a step is missing, or its C function is. The error names event, type and
 * versions. */
SB_MUST_CHECK sb_code_t sb_upcaster_run(sb_upcaster_t *upcaster, const sb_upcast_chain_t *chain,
                                        sb_event_t *event, sb_error_t *err);

/* Whether the chain can be run with the upcaster's functions (NULL: none); else the error of sb_upcaster_run.
 */
SB_MUST_CHECK sb_code_t sb_upcaster_ready(const sb_upcaster_t *upcaster, const sb_upcast_chain_t *chain,
                                          sb_error_t *err);

#endif
