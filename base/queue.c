/* SPDX-License-Identifier: Apache-2.0 */
#include "base/queue.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

struct sb_queue {
    pthread_mutex_t lock; /* guards all below but signal and capacity */
    sb_signal_t *signal;
    size_t capacity;
    size_t first;
    size_t count;
    bool closed;
    void *items[];
};

sb_code_t sb_queue_new(sb_queue_t **out, size_t capacity, sb_signal_t *signal, sb_error_t *err)
{
    assert(capacity > 0);
    *out = NULL;
    sb_queue_t *queue = calloc(1, sizeof *queue + capacity * sizeof queue->items[0]);
    if (!queue)
        return sb_fail(err, SB_NO_MEMORY, "queue of %zu: out of memory", capacity);
    if (pthread_mutex_init(&queue->lock, NULL) != 0) {
        free(queue);
        return sb_fail(err, SB_NO_MEMORY, "queue of %zu: no mutex", capacity);
    }
    queue->capacity = capacity;
    queue->signal = signal;
    *out = queue;
    return SB_OK;
}

void sb_queue_free(sb_queue_t **queue)
{
    if (!*queue)
        return;
    (void)pthread_mutex_destroy(&(*queue)->lock);
    free(*queue);
    *queue = NULL;
}

sb_code_t sb_queue_push(sb_queue_t *queue, void *item)
{
    assert(item);
    sb_code_t code = SB_OK;
    bool was_empty = false;
    (void)pthread_mutex_lock(&queue->lock);
    if (queue->closed) {
        code = SB_STOPPED;
    } else if (queue->count == queue->capacity) {
        code = SB_BUSY;
    } else {
        was_empty = queue->count == 0;
        queue->items[(queue->first + queue->count++) % queue->capacity] = item;
    }
    (void)pthread_mutex_unlock(&queue->lock);
    if (was_empty) /* a full one was signalled by whoever came first */
        sb_signal_raise(queue->signal);
    return code;
}

size_t sb_queue_pop_many(sb_queue_t *queue, void **items, size_t max)
{
    (void)pthread_mutex_lock(&queue->lock);
    size_t taken = queue->count < max ? queue->count : max;
    for (size_t i = 0; i < taken; i++)
        items[i] = queue->items[(queue->first + i) % queue->capacity];
    queue->first = (queue->first + taken) % queue->capacity;
    queue->count -= taken;
    bool left = queue->count > 0;
    (void)pthread_mutex_unlock(&queue->lock);
    if (left)
        sb_signal_raise(queue->signal);
    return taken;
}

void *sb_queue_pop(sb_queue_t *queue)
{
    void *item = NULL;
    (void)sb_queue_pop_many(queue, &item, 1);
    return item;
}

void sb_queue_close(sb_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->closed = true;
    (void)pthread_mutex_unlock(&queue->lock);
    sb_signal_raise(queue->signal);
}

bool sb_queue_is_closed(sb_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    bool closed = queue->closed;
    (void)pthread_mutex_unlock(&queue->lock);
    return closed;
}

size_t sb_queue_count(sb_queue_t *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    size_t count = queue->count;
    (void)pthread_mutex_unlock(&queue->lock);
    return count;
}
