/* result - what a completed saga answers: its definition's `result` filled in, or the result of the last step
 * that has one.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_RESULT_H
#define SB_SAGA_RESULT_H

#include "saga/machine.h"

/* JSON text; absent when the saga is not completed or has none. results[i] is step i's. Borrowed from
 * results, or from scratch, which is emptied here. */
sb_slice_t sb_saga_result(const sb_definition_t *definition, const sb_saga_state_t *state, sb_slice_t input,
                          const sb_slice_t *results, sb_buf_t *scratch);

#endif
