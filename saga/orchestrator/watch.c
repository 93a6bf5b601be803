/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/watch.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BUCKETS 1024u

typedef struct watch {
    struct watch *next;
    sb_uuid_t id;
    sb_saga_answer_fn on_answer;
    void *context;
} watch_t;

struct sb_watches {
    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t done;  /* a callback returned */
    watch_t *bucket[BUCKETS];
    size_t list_at;
    const watch_t *firing; /* its callback runs now, on this thread: */
    pthread_t firing_thread;
    _Atomic size_t count; /* read without the lock */
};

/* The last bytes of a saga's id are its number, which spreads well. */
static size_t bucket_of(const sb_uuid_t *id)
{
    return ((size_t)id->byte[14] << 8 | id->byte[15]) % BUCKETS;
}

sb_code_t sb_watches_new(sb_watches_t **out, sb_error_t *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return sb_fail(err, SB_NO_MEMORY, "watch sagas: out of memory");
    (void)pthread_mutex_init(&(*out)->lock, NULL);
    (void)pthread_cond_init(&(*out)->done, NULL);
    return SB_OK;
}

void sb_watches_free(sb_watches_t **watches)
{
    if (!*watches)
        return;
    sb_watches_fire_all(*watches, SB_STOPPED, NULL);
    (void)pthread_cond_destroy(&(*watches)->done);
    (void)pthread_mutex_destroy(&(*watches)->lock);
    free(*watches);
    *watches = NULL;
}

sb_code_t sb_watches_add(sb_watches_t *watches, const sb_uuid_t *id, sb_saga_answer_fn on_answer,
                         void *context, sb_error_t *err)
{
    watch_t *watch = malloc(sizeof *watch);
    if (!watch)
        return sb_fail(err, SB_NO_MEMORY, "watch a saga: out of memory");
    *watch = (watch_t){.id = *id, .on_answer = on_answer, .context = context};
    (void)pthread_mutex_lock(&watches->lock);
    watch->next = watches->bucket[bucket_of(id)];
    watches->bucket[bucket_of(id)] = watch;
    watches->count++;
    (void)pthread_mutex_unlock(&watches->lock);
    return SB_OK;
}

/* Takes the first match out of its bucket. Lock: held. */
static watch_t *unlink_match(sb_watches_t *watches, const sb_uuid_t *id, const void *context, bool any)
{
    for (watch_t **at = &watches->bucket[bucket_of(id)]; *at; at = &(*at)->next) {
        watch_t *watch = *at;
        if (sb_uuid_equal(&watch->id, id) && (any || watch->context == context)) {
            *at = watch->next;
            watches->count--;
            return watch;
        }
    }
    return NULL;
}

bool sb_watches_remove(sb_watches_t *watches, const sb_uuid_t *id, void *context)
{
    bool removed = false;
    (void)pthread_mutex_lock(&watches->lock);
    for (watch_t *watch; (watch = unlink_match(watches, id, context, false)); removed = true)
        free(watch);
    while (watches->firing && watches->firing->context == context &&
           sb_uuid_equal(&watches->firing->id, id) && !pthread_equal(watches->firing_thread, pthread_self()))
        (void)pthread_cond_wait(&watches->done, &watches->lock);
    (void)pthread_mutex_unlock(&watches->lock);
    return removed;
}

/* Calls back without the lock and frees the watch. Lock: held at entry and return. */
static void fire(sb_watches_t *watches, watch_t *watch, const sb_saga_answer_t *answer)
{
    watches->firing = watch;
    watches->firing_thread = pthread_self();
    (void)pthread_mutex_unlock(&watches->lock);
    watch->on_answer(watch->context, answer);
    (void)pthread_mutex_lock(&watches->lock);
    watches->firing = NULL;
    (void)pthread_cond_broadcast(&watches->done);
    free(watch);
}

void sb_watches_fire(sb_watches_t *watches, const sb_saga_answer_t *answer)
{
    if (watches->count == 0)
        return;
    (void)pthread_mutex_lock(&watches->lock);
    for (watch_t *watch; (watch = unlink_match(watches, &answer->id, NULL, true));)
        fire(watches, watch, answer);
    (void)pthread_mutex_unlock(&watches->lock);
}

void sb_watches_fire_all(sb_watches_t *watches, sb_code_t code, const sb_error_t *err)
{
    sb_error_t local = SB_ERROR_INIT;
    if (!err) {
        (void)sb_fail(&local, code, "%s", sb_code_text(code));
        err = &local;
    }
    (void)pthread_mutex_lock(&watches->lock);
    for (size_t i = 0; i < BUCKETS; i++) {
        while (watches->bucket[i]) {
            watch_t *watch = watches->bucket[i];
            watches->bucket[i] = watch->next;
            watches->count--;
            sb_saga_answer_t answer = {.code = code, .err = err, .id = watch->id};
            fire(watches, watch, &answer);
        }
    }
    (void)pthread_mutex_unlock(&watches->lock);
}

size_t sb_watches_count(const sb_watches_t *watches)
{
    return watches->count;
}

size_t sb_watches_list(sb_watches_t *watches, sb_uuid_t *ids, size_t max)
{
    size_t n = 0;
    (void)pthread_mutex_lock(&watches->lock);
    for (size_t round = 0; round < BUCKETS && n < max; round++) {
        for (const watch_t *watch = watches->bucket[watches->list_at]; watch && n < max; watch = watch->next)
            ids[n++] = watch->id;
        watches->list_at = (watches->list_at + 1) % BUCKETS;
    }
    (void)pthread_mutex_unlock(&watches->lock);
    return n;
}
