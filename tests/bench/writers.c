/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/writers.h"

#include "base/clock.h"
#include "tests/bench/bench.h"

#include <pthread.h>

typedef struct crew {
    const writer_ops_t *ops;
    pthread_barrier_t connected;
    int64_t length_us;
} crew_t;

typedef struct thread {
    pthread_t id;
    crew_t *crew;
    writer_t writer;
} thread_t;

static void *work(void *context)
{
    thread_t *thread = context;
    writer_t *writer = &thread->writer;
    const writer_ops_t *ops = thread->crew->ops;
    void *opened = ops->open(writer);
    (void)pthread_barrier_wait(&thread->crew->connected);
    writer->until_us = sb_mono_us() + thread->crew->length_us;
    while (sb_mono_us() < writer->until_us)
        ops->step(writer, opened);
    (void)pthread_barrier_wait(&thread->crew->connected); /* nobody closes while others are measured */
    ops->close(opened);
    return NULL;
}

double writers_run(const writer_ops_t *ops, int writers, int round, const void *context, double seconds)
{
    crew_t crew = {.ops = ops, .length_us = (int64_t)(seconds * 1e6)};
    thread_t thread[WRITERS_MAX];
    int64_t count = 0;
    (void)pthread_barrier_init(&crew.connected, NULL, (unsigned)writers + 1);
    for (int i = 0; i < writers; i++) {
        thread[i] = (thread_t){.crew = &crew, .writer = {.number = i, .round = round, .context = context}};
        if (pthread_create(&thread[i].id, NULL, work, &thread[i]) != 0)
            bench_die("no thread for writer %d", i);
    }
    (void)pthread_barrier_wait(&crew.connected);
    int64_t from_us = sb_mono_us();
    (void)pthread_barrier_wait(&crew.connected);
    int64_t to_us = sb_mono_us();
    for (int i = 0; i < writers; i++) {
        (void)pthread_join(thread[i].id, NULL);
        count += thread[i].writer.count;
    }
    (void)pthread_barrier_destroy(&crew.connected);
    return (double)count * 1e6 / (double)(to_us - from_us);
}
