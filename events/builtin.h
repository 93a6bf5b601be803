/* builtin - the event types every store has: schemas/events/saga.*.json as text, ended by NULL.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_BUILTIN_H
#define SB_EVENTS_BUILTIN_H

extern const char *const sb_builtin_schemas[];

#endif
