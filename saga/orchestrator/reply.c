/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/reply.h"

#include "base/scan.h"
#include "events/saga_number.h"
#include "saga/contract.h"

static bool read_uuid(sb_slice_t text, sb_uuid_t *out)
{
    return text.ptr && sb_uuid_parse(text.ptr, text.len, out);
}

/* A small number in decimal digits. */
static bool read_u16(sb_slice_t text, uint16_t *out)
{
    unsigned value = 0;
    if (text.len == 0 || text.len > 5)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        value = value * 10 + (unsigned)(text.ptr[i] - '0');
    }
    if (value > UINT16_MAX)
        return false;
    *out = (uint16_t)value;
    return true;
}

static bool read_direction(sb_slice_t text, sb_direction_t *out)
{
    *out = sb_slice_is(text, "compensate") ? SB_COMPENSATE : SB_FORWARD;
    return *out == SB_COMPENSATE || sb_slice_is(text, "forward");
}

static bool read_outcome(sb_slice_t text, sb_outcome_t *out)
{
    static const char *const names[] = {[SB_OUTCOME_SUCCESS] = "success",
                                        [SB_OUTCOME_FAILURE] = "failure",
                                        [SB_OUTCOME_ERROR] = "error",
                                        [SB_OUTCOME_PENDING] = "pending"};
    for (int i = 0; i < 4; i++) {
        if (sb_slice_is(text, names[i])) {
            *out = (sb_outcome_t)i;
            return true;
        }
    }
    return false;
}

/* A success whose result cannot be kept counts as "could not say": the effect may be there, so the step is
 * tried again and in the end undone, never taken for done without its result. */
static void read_result(const sb_message_t *message, sb_saga_input_t *input)
{
    if (input->outcome != SB_OUTCOME_SUCCESS || message->value.len == 0)
        return;
    if (message->value.len > SB_REPLY_RESULT_MAX) {
        input->outcome = SB_OUTCOME_ERROR;
        input->error = SB_SLICE("the reply's body is larger than 512 KiB");
    } else if (!sb_scan_valid(message->value, NULL)) {
        input->outcome = SB_OUTCOME_ERROR;
        input->error = SB_SLICE("the reply's body is not JSON");
    } else {
        input->result = message->value;
    }
}

sb_code_t sb_reply_read(const sb_message_t *message, sb_reply_in_t *out, sb_error_t *err)
{
    *out = (sb_reply_in_t){.input = {.kind = SB_SAGA_IN_REPLY, .step = -1}};
    out->step = sb_message_header(message, SB_H_SAGA_STEP);
    if (!read_uuid(sb_message_header(message, SB_H_SAGA_ID), &out->saga_id) ||
        !sb_saga_number_of(&out->saga_id, &out->no))
        return sb_fail(err, SB_INVALID, "reply: header " SB_H_SAGA_ID " is missing or not a saga's id");
    if (!out->step.ptr ||
        !read_direction(sb_message_header(message, SB_H_DIRECTION), &out->input.direction) ||
        !read_u16(sb_message_header(message, SB_H_ROUND), &out->input.round))
        return sb_fail(err, SB_INVALID, "reply: the ce_saga… headers of the command were not echoed");
    if (!read_outcome(sb_message_header(message, SB_H_OUTCOME), &out->input.outcome))
        return sb_fail(err, SB_INVALID,
                       "reply: header " SB_H_OUTCOME " is not success, failure, error or pending");
    (void)read_u16(sb_message_header(message, SB_H_ATTEMPT), &out->input.attempt);
    sb_slice_t causation = sb_message_header(message, SB_H_CAUSATION);
    if (causation.ptr && !read_uuid(causation, &out->causation_id))
        return sb_fail(err, SB_INVALID, "reply: header " SB_H_CAUSATION " is not a UUID");
    out->input.error = sb_message_header(message, SB_H_ERROR);
    out->input.error_class = sb_error_class_of(sb_message_header(message, SB_H_ERROR_CLASS));
    out->input.attention = sb_slice_is(sb_message_header(message, SB_H_ATTENTION), "true");
    read_result(message, &out->input);
    return SB_OK;
}

sb_code_t sb_reply_match(sb_reply_in_t *reply, const sb_open_saga_t *saga, sb_error_t *err)
{
    if (!sb_uuid_equal(&saga->id, &reply->saga_id))
        return sb_fail(err, SB_INVALID, "reply: another saga has this number");
    const sb_definition_t *definition = saga->plan->definition;
    reply->input.step = sb_definition_step(definition, reply->step);
    if (reply->input.step < 0)
        return sb_fail(err, SB_INVALID, "reply: saga %s has no step %.*s", definition->name,
                       SB_SLICE_ARG(reply->step));
    if (sb_uuid_is_nil(&reply->causation_id))
        return SB_OK; /* saga, step, direction and round say as much */
    sb_uuid_t command = sb_saga_command_id(&saga->id, definition->step[reply->input.step].name,
                                           reply->input.direction, reply->input.round);
    if (!sb_uuid_equal(&command, &reply->causation_id))
        return sb_fail(err, SB_INVALID, "reply: " SB_H_CAUSATION " is not the id of the command it names");
    return SB_OK;
}
