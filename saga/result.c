/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/result.h"

sb_slice_t sb_saga_result(const sb_definition_t *definition, const sb_saga_state_t *state, sb_slice_t input,
                          const sb_slice_t *results, sb_buf_t *scratch)
{
    sb_buf_reset(scratch);
    if (state->status != SB_SAGA_COMPLETED)
        return SB_SLICE_NONE;
    if (definition->result) {
        sb_code_t code = sb_template_render(definition->result, true, input, results, scratch, NULL);
        return code == SB_OK && !sb_buf_failed(scratch) ? sb_buf_slice(scratch) : SB_SLICE_NONE;
    }
    for (int i = definition->step_count - 1; i >= 0; i--) {
        sb_step_status_t status = state->step[i].status;
        if ((status == SB_STEP_COMPLETED || status == SB_STEP_SKIPPED) && results[i].ptr)
            return results[i];
    }
    return SB_SLICE_NONE;
}
