/* migrate - whether a saga that runs may go on by another version of its definition.
 *
 * It may when what was executed is the same in both: then the events it has fold to the same state by either,
 * and the rest is the new version's. Inputs, times and retries may differ, for they are no part of the fold;
 * but the saga's own input must have what the steps that are still to run need of it.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_MIGRATE_H
#define SB_SAGA_MIGRATE_H

#include "saga/machine.h"

/* input: the saga's. SB_CONFLICT names the first step that differs, and in what, or that lacks something of
 * the input. */
SB_MUST_CHECK sb_code_t sb_saga_may_migrate(const sb_definition_t *from, const sb_definition_t *to,
                                            const sb_saga_state_t *state, sb_slice_t input, sb_error_t *err);

#endif
