/* order - commands on their way out: rendered when decided, sent after the commit.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ORDER_H
#define SB_SAGA_ORDER_H

#include "saga/orchestrator/orchestrator_internal.h"

/* Writes the body of an order's command: what an operator gave (`given`, newer than the saga's, may be NULL),
 * else the step's input template filled in. SB_INVALID: a forward command lacks a value. */
SB_MUST_CHECK sb_code_t sb_order_render(const sb_open_saga_t *saga, const sb_slice_t *results,
                                        const sb_given_t *given, const sb_saga_order_t *order, sb_buf_t *out,
                                        sb_error_t *err);

/* The headers of an order's command, in the arena, for sb_order_send: they need not wait for the commit. They
 * borrow from the saga. NULL: it has none (its step is a saga), or there is no memory; then they are made
 * when it is sent. */
sb_order_head_t *sb_order_head(const sb_orchestrator_t *o, const sb_open_saga_t *saga,
                               const sb_saga_order_t *order, sb_arena_t *arena);

/* Hands one command to the bus, or to whoever does steps that are sagas. head: of this very order, or NULL.
 */
SB_MUST_CHECK sb_code_t sb_order_send(sb_orchestrator_t *o, const sb_open_saga_t *saga,
                                      const sb_saga_order_t *order, const sb_order_head_t *head,
                                      sb_slice_t body, sb_error_t *err);

/* Sends again what is open of the sagas on the resend list, at the capped rate. */
void sb_order_resend_some(sb_orchestrator_t *o);

#endif
