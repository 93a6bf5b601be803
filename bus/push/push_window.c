/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/push/push_window.h"

#include "bus/message.h"

#include <stdlib.h>

static sb_push_entry_t *slot_of(const sb_push_window_t *window, int64_t no)
{
    return &window->ring[no % SB_PUSH_WINDOW_EVENTS];
}

sb_code_t sb_push_window_init(sb_push_window_t *window, sb_push_order_t order, sb_error_t *err)
{
    *window = (sb_push_window_t){.order = order, .head = 1, .next = 1};
    window->ring = calloc(SB_PUSH_WINDOW_EVENTS, sizeof *window->ring);
    return window->ring ? SB_OK : sb_fail(err, SB_NO_MEMORY, "push: out of memory");
}

void sb_push_window_fini(sb_push_window_t *window)
{
    for (int64_t no = window->head; window->ring && no < window->next; no++)
        free(slot_of(window, no)->memory);
    free(window->ring);
    *window = (sb_push_window_t){.ring = NULL};
}

int sb_push_window_room(const sb_push_window_t *window)
{
    int64_t held = window->next - window->head;
    if (held > 0 && window->bytes >= SB_PUSH_WINDOW_BYTES)
        return 0;
    return (int)(SB_PUSH_WINDOW_EVENTS - held);
}

/* ---- adding ---- */

static size_t copied(const sb_event_t *event)
{
    return event->type.len + event->source.len + event->subject.len + event->correlation_id.len +
           event->causation_id.len + event->traceparent.len + event->partition_key.len + event->data.len + 1;
}

static void move_in(sb_slice_t *slice, char **at)
{
    if (!slice->ptr)
        return;
    if (slice->len)
        memcpy(*at, slice->ptr, slice->len);
    slice->ptr = *at;
    *at += slice->len;
}

static bool copy_event(sb_push_entry_t *entry, const sb_event_t *event)
{
    sb_slice_t *const all[] = {&entry->event.type,          &entry->event.source,
                               &entry->event.subject,       &entry->event.correlation_id,
                               &entry->event.causation_id,  &entry->event.traceparent,
                               &entry->event.partition_key, &entry->event.data};
    char *at = malloc(copied(event));
    entry->memory = at;
    if (!at)
        return false;
    entry->event = *event;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        move_in(all[i], &at);
    entry->key = sb_message_key(&entry->event);
    return true;
}

static bool same_key(const sb_push_entry_t *a, const sb_push_entry_t *b)
{
    return sb_slice_equal(a->key, b->key) &&
           sb_slice_equal(sb_event_category(a->event.type), sb_event_category(b->event.type));
}

/* The newest that it must wait for. */
static int64_t find_behind(const sb_push_window_t *window, const sb_push_entry_t *entry)
{
    if (window->order == SB_PUSH_ANY_ORDER)
        return 0;
    for (int64_t no = entry->no - 1; no >= window->head; no--)
        if (window->order == SB_PUSH_ONE_BY_ONE || same_key(slot_of(window, no), entry))
            return no;
    return 0;
}

void sb_push_window_block(sb_push_entry_t *entry)
{
    entry->state = SB_PUSH_DEAD;
    entry->reason = "blocked";
    (void)strcpy(entry->error, "an event of its key before it could not be delivered");
}

sb_code_t sb_push_window_add(sb_push_window_t *window, const sb_event_t *event, sb_error_t *err)
{
    sb_push_entry_t *entry = slot_of(window, window->next);
    *entry = (sb_push_entry_t){.no = window->next};
    if (!copy_event(entry, event))
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    entry->behind = find_behind(window, entry);
    const sb_push_entry_t *before = sb_push_window_entry(window, entry->behind);
    if (before && before->state == SB_PUSH_DEAD && window->order == SB_PUSH_BY_KEY)
        sb_push_window_block(entry);
    window->next++;
    window->bytes += copied(event);
    return SB_OK;
}

/* At once, because the dead one may leave before those behind it are looked at. */
void sb_push_window_bury(sb_push_window_t *window, sb_push_entry_t *entry, const char *reason)
{
    entry->state = SB_PUSH_DEAD;
    entry->reason = reason;
    for (int64_t no = entry->no + 1; window->order == SB_PUSH_BY_KEY && no < window->next; no++)
        if (same_key(slot_of(window, no), entry))
            sb_push_window_block(slot_of(window, no));
}

/* ---- looking ---- */

sb_push_entry_t *sb_push_window_entry(sb_push_window_t *window, int64_t no)
{
    return no >= window->head && no < window->next ? slot_of(window, no) : NULL;
}

static sb_push_entry_t *find_ready(sb_push_window_t *window, int64_t from, int64_t to, int64_t now_us,
                                   int64_t *due_us)
{
    for (int64_t no = from; no < to; no++) {
        sb_push_entry_t *entry = slot_of(window, no);
        if (entry->state != SB_PUSH_WAITING)
            continue;
        const sb_push_entry_t *before = sb_push_window_entry(window, entry->behind);
        if (before && before->state != SB_PUSH_DELIVERED && before->state != SB_PUSH_DEAD)
            continue;
        if (entry->due_us <= now_us)
            return entry;
        if (entry->due_us < *due_us)
            *due_us = entry->due_us;
    }
    return NULL;
}

sb_push_entry_t *sb_push_window_ready_after(sb_push_window_t *window, int64_t no, int64_t now_us,
                                            int64_t *due_us)
{
    int64_t from = no < window->head ? window->head : no + 1;
    *due_us = INT64_MAX;
    sb_push_entry_t *entry = find_ready(window, from, window->next, now_us, due_us);
    return entry ? entry : find_ready(window, window->head, from, now_us, due_us);
}

sb_push_entry_t *sb_push_window_ready(sb_push_window_t *window, int64_t now_us, int64_t *due_us)
{
    return sb_push_window_ready_after(window, 0, now_us, due_us);
}

int sb_push_window_decided(const sb_push_window_t *window, int *dead)
{
    int64_t no = window->head;
    *dead = 0;
    for (; no < window->next; no++) {
        sb_push_state_t state = slot_of(window, no)->state;
        if (state != SB_PUSH_DELIVERED && state != SB_PUSH_DEAD)
            break;
        *dead += state == SB_PUSH_DEAD;
    }
    return (int)(no - window->head);
}

const sb_push_entry_t *sb_push_window_at(const sb_push_window_t *window, int i)
{
    return slot_of(window, window->head + i);
}

void sb_push_window_drop(sb_push_window_t *window, int count)
{
    for (; count > 0; count--, window->head++) {
        sb_push_entry_t *entry = slot_of(window, window->head);
        window->bytes -= copied(&entry->event);
        free(entry->memory);
        entry->memory = NULL;
    }
}

int64_t sb_push_window_head_seq(const sb_push_window_t *window)
{
    return window->head < window->next ? slot_of(window, window->head)->event.seq : 0;
}

bool sb_push_window_holds(const sb_push_window_t *window, sb_slice_t category, sb_slice_t key)
{
    for (int64_t no = window->head; no < window->next; no++) {
        const sb_push_entry_t *entry = slot_of(window, no);
        if (entry->state == SB_PUSH_DEAD && sb_slice_equal(entry->key, key) &&
            sb_slice_equal(sb_event_category(entry->event.type), category))
            return true;
    }
    return false;
}
