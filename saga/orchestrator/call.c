/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/call.h"

#include "base/clock.h"

#include <stdlib.h>

static sb_call_t *new_call(sb_call_kind_t kind, size_t text_bytes, sb_saga_answer_fn on_answer, void *context)
{
    size_t bytes = sizeof(sb_call_t) + text_bytes;
    sb_call_t *call = calloc(1, bytes);
    if (!call)
        return NULL;
    call->kind = kind;
    call->bytes = bytes;
    call->on_answer = on_answer;
    call->context = context;
    call->queued_us = sb_mono_us();
    return call;
}

/* Moves a borrowed slice into the call's own text. */
static void keep(sb_slice_t *slice, char **at)
{
    if (!slice->ptr)
        return;
    memcpy(*at, slice->ptr, slice->len);
    slice->ptr = *at;
    *at += slice->len;
}

sb_call_t *sb_call_new_start(const sb_saga_start_t *start, sb_saga_answer_fn on_answer, void *context)
{
    size_t bytes = start->type.len + start->key.len + start->input.len + start->correlation_id.len +
                   start->traceparent.len;
    sb_call_t *call = new_call(SB_CALL_START, bytes, on_answer, context);
    if (!call)
        return NULL;
    char *at = (char *)(call + 1);
    call->start = *start;
    keep(&call->start.type, &at);
    keep(&call->start.key, &at);
    keep(&call->start.input, &at);
    keep(&call->start.correlation_id, &at);
    keep(&call->start.traceparent, &at);
    return call;
}

sb_call_t *sb_call_new_verb(const sb_saga_verb_t *verb, sb_saga_answer_fn on_answer, void *context)
{
    size_t bytes = verb->step.len + verb->result.len + verb->input.len + verb->by.len + verb->reason.len;
    sb_call_t *call = new_call(SB_CALL_VERB, bytes, on_answer, context);
    if (!call)
        return NULL;
    char *at = (char *)(call + 1);
    call->id = verb->id;
    call->verb = *verb;
    keep(&call->verb.step, &at);
    keep(&call->verb.result, &at);
    keep(&call->verb.input, &at);
    keep(&call->verb.by, &at);
    keep(&call->verb.reason, &at);
    return call;
}

sb_call_t *sb_call_new_look(const sb_uuid_t *id)
{
    sb_call_t *call = new_call(SB_CALL_LOOK, 0, NULL, NULL);
    if (call)
        call->id = *id;
    return call;
}

void sb_call_answer(sb_call_t *call, const sb_saga_answer_t *answer)
{
    if (call->on_answer)
        call->on_answer(call->context, answer);
    free(call);
}

void sb_call_fail(sb_call_t *call, sb_code_t code, const sb_error_t *err)
{
    sb_error_t local = SB_ERROR_INIT;
    if (!err) {
        (void)sb_fail(&local, code, "%s", sb_code_text(code));
        err = &local;
    }
    sb_saga_answer_t answer = {.code = code, .err = err, .id = call->id};
    sb_call_answer(call, &answer);
}

bool sb_call_tried(const sb_call_t *call, int64_t number)
{
    for (int i = 0; i < call->tried_count; i++)
        if (call->tried[i] == number)
            return true;
    return false;
}

/* ---- queue ---- */

void sb_call_queue_init(sb_call_queue_t *queue, sb_signal_t *signal)
{
    *queue = (sb_call_queue_t){.signal = signal};
    (void)pthread_mutex_init(&queue->lock, NULL);
}

void sb_call_queue_fini(sb_call_queue_t *queue)
{
    for (sb_call_t *call; (call = sb_call_take(queue));)
        sb_call_fail(call, SB_STOPPED, NULL);
    (void)pthread_mutex_destroy(&queue->lock);
}

sb_code_t sb_call_push(sb_call_queue_t *queue, sb_call_t *call, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    (void)pthread_mutex_lock(&queue->lock);
    bool wakes = !queue->head && !call->start.more;
    if (queue->closed) {
        code = SB_STOPPED;
    } else if (queue->count >= SB_CALL_QUEUE_MAX || queue->bytes + call->bytes > SB_CALL_QUEUE_BYTES_MAX) {
        code = SB_BUSY;
    } else {
        if (queue->tail)
            queue->tail->next = call;
        else
            queue->head = call;
        queue->tail = call;
        queue->count++;
        queue->bytes += call->bytes;
    }
    (void)pthread_mutex_unlock(&queue->lock);
    if (code == SB_STOPPED)
        return sb_fail(err, code, "the orchestrator is stopping");
    if (code == SB_BUSY)
        return sb_fail(err, code, "too many calls wait for the orchestrator");
    if (wakes)
        sb_signal_raise(queue->signal);
    return SB_OK;
}

sb_call_t *sb_call_take(sb_call_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    sb_call_t *call = queue->head;
    if (call) {
        queue->head = call->next;
        if (!queue->head)
            queue->tail = NULL;
        queue->count--;
        queue->bytes -= call->bytes;
        call->next = NULL;
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return call;
}

void sb_call_put_back(sb_call_queue_t *queue, sb_call_t *call)
{
    (void)pthread_mutex_lock(&queue->lock);
    call->next = queue->head;
    queue->head = call;
    if (!queue->tail)
        queue->tail = call;
    queue->count++;
    queue->bytes += call->bytes;
    (void)pthread_mutex_unlock(&queue->lock);
}

void sb_call_queue_close(sb_call_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    (void)pthread_mutex_unlock(&queue->lock);
}
