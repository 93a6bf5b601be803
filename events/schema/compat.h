/* compat - whether a version of an event type can follow the one before it.
 *
 * The operations of x-upcast are carried out on the old schema; what comes out must say no less than the new
 * schema asks for. A member that is gone, newly required, of another type or within narrower limits is a
 * fault, with the place in the new file and how to mend it. What cannot be compared (a changed anyOf, a
 * changed pattern) is a fault too: only what is certain passes. A new optional member is no fault, even
 * though an old body may hold anything under its name where the old schema let other members in. "x-upcast":
 * "hook" is not looked behind.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_COMPAT_H
#define SB_EVENTS_COMPAT_H

#include "base/json.h"

/* pointer is from the root of the new file. */
typedef void (*sb_compat_fn)(void *context, const char *pointer, const char *message);

/* before and after are the files' bodies, each checked by itself. Calls on_fault for each fault. */
SB_MUST_CHECK sb_code_t sb_compat_check(const json_t *before, const json_t *after, sb_compat_fn on_fault,
                                        void *context, sb_error_t *err);

#endif
