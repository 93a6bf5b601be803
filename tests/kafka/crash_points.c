/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/kafka/crash_points.h"

#include "bus/subscriber/subscriber_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sb_test_crash_point(const char *point, const char *when)
{
    static atomic_int passed;
    char here[64];
    const char *wanted = getenv("MEMBER_CRASH");
    int n = snprintf(here, sizeof here, "%s:%s:", point, when);
    if (!wanted || strncmp(wanted, here, (size_t)n) != 0)
        return;
    if (atomic_fetch_add(&passed, 1) + 1 == atoi(wanted + n))
        (void)raise(SIGKILL);
}

/* A function that an event passes, with the name of its point. */
#define PASSED(point, name, parameters, arguments)                                                           \
    sb_code_t __real_##name parameters;                                                                      \
    sb_code_t __wrap_##name parameters;                                                                      \
    sb_code_t __wrap_##name parameters                                                                       \
    {                                                                                                        \
        sb_test_crash_point(point, "before");                                                                \
        sb_code_t code = __real_##name arguments;                                                            \
        sb_test_crash_point(point, "after");                                                                 \
        return code;                                                                                         \
    }

PASSED("claim", sb_inbox_claim,
       (sb_pg_t * pg, const char *subscription, const char *topic, int32_t partition, const char *owner,
        const char *cluster_id, sb_inbox_claim_t *out, sb_error_t *err),
       (pg, subscription, topic, partition, owner, cluster_id, out, err))
PASSED("begin", sb_inbox_begin,
       (sb_pg_t * pg, const char *subscription, const sb_inbox_batch_t *batch, sb_error_t *err),
       (pg, subscription, batch, err))
PASSED("bury", sb_dead_letter_add, (sb_pg_t * pg, const sb_dead_record_t *record, sb_error_t *err),
       (pg, record, err))
PASSED("commit", sb_inbox_commit,
       (sb_pg_t * pg, const char *subscription, const sb_inbox_save_t *saves, size_t count, sb_error_t *err),
       (pg, subscription, saves, count, err))
PASSED("save", sb_inbox_save,
       (sb_pg_t * pg, const char *subscription, const sb_inbox_save_t *saves, size_t count, sb_error_t *err),
       (pg, subscription, saves, count, err))
PASSED("offsets", sb_consumer_commit_at,
       (sb_consumer_t * consumer, const sb_consumer_place_t *places, size_t count, bool wait,
        sb_error_t *err),
       (consumer, places, count, wait, err))

/* A record came; it is not dealt out yet. */
sb_code_t __real_sb_consumer_next(sb_consumer_t *consumer, int timeout_ms, rd_kafka_message_t **out,
                                  sb_error_t *err);
sb_code_t __wrap_sb_consumer_next(sb_consumer_t *consumer, int timeout_ms, rd_kafka_message_t **out,
                                  sb_error_t *err);
sb_code_t __wrap_sb_consumer_next(sb_consumer_t *consumer, int timeout_ms, rd_kafka_message_t **out,
                                  sb_error_t *err)
{
    sb_code_t code = __real_sb_consumer_next(consumer, timeout_ms, out, err);
    if (code == SB_OK && *out)
        sb_test_crash_point("fetch", "after");
    return code;
}

/* A lane gets its list. */
sb_code_t __real_sb_queue_push(sb_queue_t *queue, void *item);
sb_code_t __wrap_sb_queue_push(sb_queue_t *queue, void *item);
sb_code_t __wrap_sb_queue_push(sb_queue_t *queue, void *item)
{
    sb_test_crash_point("deal", "before");
    sb_code_t code = __real_sb_queue_push(queue, item);
    sb_test_crash_point("deal", "after");
    return code;
}

/* The mark moves. */
void __real_sb_slot_done(sb_sub_t *sub, sb_entry_t *const *entries, size_t count);
void __wrap_sb_slot_done(sb_sub_t *sub, sb_entry_t *const *entries, size_t count);
void __wrap_sb_slot_done(sb_sub_t *sub, sb_entry_t *const *entries, size_t count)
{
    sb_test_crash_point("done", "before");
    __real_sb_slot_done(sub, entries, count);
    sb_test_crash_point("done", "after");
}
