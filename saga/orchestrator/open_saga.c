/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/open_saga.h"

#include "base/buf.h"
#include "events/store/store.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>

/* ---- one saga ---- */

static size_t state_bytes(int steps)
{
    return offsetof(sb_saga_state_t, step) + (size_t)steps * sizeof(sb_step_state_t);
}

/* Results and, behind them, the state. */
static sb_slice_t *new_room(int steps, unsigned char **state)
{
    size_t results = ((size_t)steps + 1) * sizeof(sb_slice_t);
    unsigned char *room = calloc(1, results + state_bytes(steps));
    *state = room ? room + results : NULL;
    return (sb_slice_t *)(void *)room;
}

static sb_slice_t keep(char **at, sb_slice_t from)
{
    if (!from.ptr)
        return SB_SLICE_NONE;
    sb_slice_t kept = {*at, from.len};
    memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return kept;
}

sb_open_saga_t *sb_open_saga_new(const sb_open_saga_head_t *head)
{
    sb_buf_t meta = SB_BUF_INIT;
    sb_event_t event = {.correlation_id = head->correlation_id, .traceparent = head->traceparent};
    sb_event_meta(&event, &meta); /* of each of its events: worked out once a saga */
    int steps = head->plan ? head->plan->definition->step_count : 0;
    unsigned char *state_at = NULL;
    sb_open_saga_t *saga = calloc(1, sizeof *saga);
    size_t text_bytes =
        head->key.len + head->correlation_id.len + head->traceparent.len + head->input.len + meta.len;
    char *text = malloc(text_bytes + 1);
    sb_slice_t *result = new_room(steps, &state_at);
    if (!saga || !text || !result || sb_buf_failed(&meta)) {
        free(saga);
        free(text);
        free(result);
        sb_buf_fini(&meta);
        return NULL;
    }
    saga->no = head->no;
    saga->id = head->id;
    saga->plan = head->plan;
    saga->steps = steps;
    saga->result = result;
    saga->state = state_at;
    saga->text = text;
    char *at = text;
    saga->key = keep(&at, head->key);
    saga->correlation_id = keep(&at, head->correlation_id);
    saga->traceparent = keep(&at, head->traceparent);
    saga->input = keep(&at, head->input);
    if (meta.len > 0)
        saga->meta = keep(&at, sb_buf_slice(&meta));
    sb_buf_fini(&meta);
    sb_saga_state_t state;
    sb_saga_state_init(&state);
    sb_open_saga_set_state(saga, &state);
    return saga;
}

void sb_open_saga_free(sb_open_saga_t *saga)
{
    if (!saga)
        return;
    for (int i = 0; i < saga->steps; i++)
        free((char *)(uintptr_t)saga->result[i].ptr);
    for (int i = 0; saga->given && i < SB_STEPS_MAX; i++)
        for (int direction = 0; direction < 2; direction++)
            free((char *)(uintptr_t)saga->given->input[i][direction].ptr);
    if (saga->given)
        free((char *)(uintptr_t)saga->given->next.ptr);
    free(saga->given);
    free(saga->result);
    free(saga->error);
    free(saga->text);
    free(saga);
}

bool sb_open_saga_set_plan(sb_open_saga_t *saga, const sb_plan_t *plan)
{
    unsigned char *state_at = NULL;
    int steps = plan->definition->step_count;
    sb_slice_t *result = new_room(steps, &state_at);
    if (!result)
        return false;
    for (int i = 0; i < saga->steps; i++) {
        if (i < steps)
            result[i] = saga->result[i];
        else
            free((char *)(uintptr_t)saga->result[i].ptr);
    }
    memcpy(state_at, saga->state, state_bytes(saga->steps < steps ? saga->steps : steps));
    free(saga->result);
    saga->result = result;
    saga->state = state_at;
    saga->steps = steps;
    saga->plan = plan;
    return true;
}

void sb_open_saga_get_state(const sb_open_saga_t *saga, sb_saga_state_t *out)
{
    sb_saga_state_init(out);
    memcpy(out, saga->state, state_bytes(saga->steps));
}

void sb_open_saga_set_state(sb_open_saga_t *saga, const sb_saga_state_t *state)
{
    memcpy(saga->state, state, state_bytes(saga->steps));
}

void sb_open_saga_shift(sb_open_saga_t *saga, int64_t by_us)
{
    sb_saga_state_t state;
    sb_open_saga_get_state(saga, &state);
    sb_saga_state_shift(&state, by_us);
    sb_open_saga_set_state(saga, &state);
}

static bool replace(sb_slice_t *old, sb_slice_t json)
{
    char *copy = NULL;
    if (json.ptr) {
        copy = malloc(json.len + 1);
        if (!copy)
            return false;
        memcpy(copy, json.ptr, json.len);
        copy[json.len] = '\0';
    }
    free((char *)(uintptr_t)old->ptr);
    *old = (sb_slice_t){copy, json.ptr ? json.len : 0};
    return true;
}

bool sb_open_saga_set_result(sb_open_saga_t *saga, int step, sb_slice_t json)
{
    return replace(&saga->result[step], json);
}

bool sb_open_saga_set_given(sb_open_saga_t *saga, int step, sb_direction_t direction, sb_slice_t json)
{
    if (!saga->given)
        saga->given = calloc(1, sizeof *saga->given);
    return saga->given && replace(&saga->given->input[step][direction], json);
}

bool sb_open_saga_set_given_next(sb_open_saga_t *saga, sb_slice_t json)
{
    if (!saga->given)
        saga->given = calloc(1, sizeof *saga->given);
    return saga->given && replace(&saga->given->next, json);
}

bool sb_open_saga_set_error(sb_open_saga_t *saga, sb_slice_t text)
{
    char *copy = strndup(text.ptr ? text.ptr : "", text.len);
    if (!copy)
        return false;
    free(saga->error);
    saga->error = copy;
    return true;
}

/* ---- table ---- */

void sb_open_sagas_fini(sb_open_sagas_t *sagas)
{
    assert(sagas->count == 0);
    free(sagas->bucket);
    *sagas = (sb_open_sagas_t){.bucket = NULL};
}

/* Numbers of a shard are dense, so their low bits spread; the shard is mixed in from above. */
static size_t bucket_of(const sb_open_sagas_t *sagas, int64_t no)
{
    uint64_t n = (uint64_t)no;
    return (size_t)(n ^ (n >> 48) * 0x9e3779b1u) & (sagas->bucket_count - 1);
}

bool sb_open_sagas_reserve(sb_open_sagas_t *sagas, size_t count)
{
    if (sagas->bucket_count >= sagas->count + count)
        return true;
    sb_open_sagas_t grown = {.bucket_count = sagas->bucket_count ? sagas->bucket_count : 256};
    while (grown.bucket_count < sagas->count + count)
        grown.bucket_count *= 2;
    grown.bucket = calloc(grown.bucket_count, sizeof(sb_open_saga_t *));
    if (!grown.bucket)
        return sagas->bucket_count > 0; /* longer chains, nothing worse */
    for (size_t i = 0; i < sagas->bucket_count; i++) {
        for (sb_open_saga_t *saga = sagas->bucket[i], *next; saga; saga = next) {
            next = saga->hash_next;
            sb_open_sagas_add(&grown, saga);
        }
    }
    free(sagas->bucket);
    *sagas = grown;
    return true;
}

void sb_open_sagas_add(sb_open_sagas_t *sagas, sb_open_saga_t *saga)
{
    size_t i = bucket_of(sagas, saga->no);
    saga->hash_next = sagas->bucket[i];
    sagas->bucket[i] = saga;
    sagas->count++;
}

void sb_open_sagas_remove(sb_open_sagas_t *sagas, sb_open_saga_t *saga)
{
    sb_open_saga_t **at = &sagas->bucket[bucket_of(sagas, saga->no)];
    while (*at != saga)
        at = &(*at)->hash_next;
    *at = saga->hash_next;
    sagas->count--;
}

void sb_open_sagas_shift(const sb_open_sagas_t *sagas, int64_t by_us)
{
    for (size_t i = 0; i < sagas->bucket_count; i++)
        for (sb_open_saga_t *saga = sagas->bucket[i]; saga; saga = saga->hash_next)
            sb_open_saga_shift(saga, by_us);
}

sb_open_saga_t *sb_open_sagas_find(const sb_open_sagas_t *sagas, int64_t no)
{
    if (sagas->bucket_count == 0)
        return NULL;
    sb_open_saga_t *saga = sagas->bucket[bucket_of(sagas, no)];
    while (saga && saga->no != no)
        saga = saga->hash_next;
    return saga;
}

/* ---- lists ---- */

void sb_saga_list_add(sb_saga_list_t *list, sb_open_saga_t *saga)
{
    sb_open_saga_t *older = list->newest;
    while (older && older->no > saga->no)
        older = older->older;
    saga->older = older;
    saga->newer = older ? older->newer : list->oldest;
    if (saga->newer)
        saga->newer->older = saga;
    else
        list->newest = saga;
    if (older)
        older->newer = saga;
    else
        list->oldest = saga;
}

void sb_saga_list_remove(sb_saga_list_t *list, sb_open_saga_t *saga)
{
    if (saga->older)
        saga->older->newer = saga->newer;
    else
        list->oldest = saga->newer;
    if (saga->newer)
        saga->newer->older = saga->older;
    else
        list->newest = saga->older;
}

void sb_resend_add(sb_resend_list_t *list, sb_open_saga_t *saga)
{
    if (saga->resend)
        return;
    saga->resend = true;
    saga->resend_prev = list->last;
    saga->resend_next = NULL;
    if (list->last)
        list->last->resend_next = saga;
    else
        list->first = saga;
    list->last = saga;
    list->count++;
}

void sb_resend_remove(sb_resend_list_t *list, sb_open_saga_t *saga)
{
    if (!saga->resend)
        return;
    saga->resend = false;
    if (saga->resend_prev)
        saga->resend_prev->resend_next = saga->resend_next;
    else
        list->first = saga->resend_next;
    if (saga->resend_next)
        saga->resend_next->resend_prev = saga->resend_prev;
    else
        list->last = saga->resend_prev;
    list->count--;
}
