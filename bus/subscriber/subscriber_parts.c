/* The partitions that are ours: where each subscription begins in them, how far it is (saved as a position,
 * or as the group's offset), and what becomes of it when they go, when their topic is made anew, and when
 * another member claimed them meanwhile. All of it is the fetching thread's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/subscriber_internal.h"

#include "base/clock.h"
#include "base/log.h"
#include "bus/topic.h"

#include <stdlib.h>

#define CLUSTER_MS   5000
#define STATEMENT_MS 5000
#define RECLAIM_US   1000000
#define RECLAIMS_MAX 5        /* doublings */
#define KEPT_US      60000000 /* a claim that lasts so long was no quarrel */

/* ---- partitions ---- */

sb_part_t *sb_part_find(sb_subscriber_t *s, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < s->part_count; i++) {
        size_t at = (s->part_last + i) % s->part_count;
        if (s->parts[at].partition == partition && strcmp(s->parts[at].topic, topic) == 0) {
            s->part_last = at;
            return &s->parts[at];
        }
    }
    return NULL;
}

static sb_part_t *add_part(sb_subscriber_t *s, const char *topic, int32_t partition)
{
    sb_part_t *grown = realloc(s->parts, (s->part_count + 1) * sizeof *grown);
    if (grown)
        s->parts = grown;
    char *name = strdup(topic);
    if (!grown || !name) {
        free(name);
        return NULL;
    }
    sb_part_t *part = &s->parts[s->part_count++];
    *part = (sb_part_t){.topic = name, .partition = partition, .next_offset = -1, .committed = -1};
    return part;
}

static void drop_part(sb_subscriber_t *s, sb_part_t *part)
{
    while (part->slots) {
        sb_slot_t *slot = part->slots;
        part->slots = slot->next;
        sb_slot_unref(slot);
    }
    free(part->topic);
    *part = s->parts[--s->part_count];
    s->part_last = 0;
}

/* ---- assignment ---- */

/* Topics that are named <prefix><category>.events are only for those who may want a type of the category. */
static bool wants_topic(const sb_subscriber_t *s, const sb_sub_t *sub, const char *topic)
{
    sb_slice_t category;
    if (s->topics_given || !sb_topic_is_events(topic, sb_config_get(s->config, "kafka.prefix"), &category))
        return true;
    for (size_t i = 0; i < sub->config.type_count; i++) {
        char label[256];
        (void)snprintf(label, sizeof label, "%.*s", (int)strcspn(sub->config.types[i], "."),
                       sub->config.types[i]);
        if (sb_subscriber_fits(label, category))
            return true;
    }
    return false;
}

static sb_code_t ensure_pg(sb_subscriber_t *s, sb_error_t *err)
{
    if (s->pg)
        return sb_pg_is_open(s->pg) ? SB_OK : sb_pg_reopen(s->pg, err);
    sb_pg_config_t config = {.uri = s->pg_uri,
                             .application_name = s->owner,
                             .search_path = s->schema,
                             .statement_timeout_ms = STATEMENT_MS};
    return sb_pg_open(&s->pg, &config, err);
}

static sb_code_t know_cluster(sb_subscriber_t *s, sb_error_t *err)
{
    char *id = rd_kafka_clusterid(sb_consumer_handle(s->consumer), CLUSTER_MS);
    if (!id)
        return sb_fail(err, SB_UNAVAILABLE, "Kafka does not say its cluster's id");
    (void)snprintf(s->cluster_id, sizeof s->cluster_id, "%s", id);
    rd_kafka_mem_free(sb_consumer_handle(s->consumer), id);
    return SB_OK;
}

/* At the end, which is told by the last record that is there: the seq of "now" holds in a topic that is made
 * anew and on other brokers, its offset does not. */
static sb_code_t begin_now(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    int64_t low, end;
    rd_kafka_resp_err_t error =
        sb_kafka_ends(sb_consumer_handle(s->consumer), slot->topic, slot->partition, CLUSTER_MS, &low, &end);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR)
        return sb_kafka_fail(err, error, "end of %s", slot->topic);
    slot->at.next_offset = end > low ? end - 1 : end;
    slot->begins_at = end;
    slot->low.next_offset = end; /* saved soon: a restart must not begin later */
    return SB_OK;
}

static void note_cluster(const sb_slot_t *slot)
{
    sb_sub_t *sub = slot->sub;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-CLUSTER",
           "other brokers than the position knew: reading from their beginning|subscription=%s topic=%s "
           "partition=%d seq=%lld",
           sub->config.name, slot->topic, (int)slot->partition, (long long)slot->at.seq);
    (void)pthread_mutex_lock(&sub->lock);
    sub->stats.clusters++;
    (void)pthread_mutex_unlock(&sub->lock);
}

/* A member that was stopped in the midst of a transaction holds its partitions. One that works on in a slow
 * handler has had the time to drain, and loses that transaction. */
static void end_idle(sb_subscriber_t *s, const sb_slot_t *slot)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t ended = 0;
    sb_code_t code = sb_inbox_end_idle(s->pg, slot->sub->config.name, slot->topic, slot->partition, s->owner,
                                       s->drain_ms, &ended, &err);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-HELD-UP", &err,
                     "the member before is waited for|topic=%s partition=%d", slot->topic,
                     (int)slot->partition);
    else if (ended > 0)
        sb_log(SB_LOG_WARN, "SUBSCRIBER-HELD-UP",
               "ended transactions of the member before, which stood still|subscription=%s topic=%s "
               "partition=%d "
               "transactions=%lld",
               slot->sub->config.name, slot->topic, (int)slot->partition, (long long)ended);
}

static sb_code_t claim(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    sb_inbox_claim_t claimed;
    sb_code_t code = ensure_pg(s, err);
    if (code == SB_OK)
        code = sb_inbox_claim(s->pg, slot->sub->config.name, slot->topic, slot->partition, s->owner,
                              s->cluster_id, &claimed, err);
    if (code == SB_TIMEOUT && sb_pg_is_open(s->pg))
        end_idle(s, slot);
    if (code == SB_UNKNOWN_OUTCOME) /* the next claim raises the epoch once more */
        return sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    if (code != SB_OK)
        return code;
    slot->epoch = claimed.epoch;
    slot->claimed_us = sb_mono_us();
    slot->at = slot->low = slot->saved = claimed.mark;
    slot->top = claimed.top;
    if (claimed.holds_keys)
        atomic_store(&slot->sub->holds_keys, true);
    if (claimed.other_cluster)
        note_cluster(slot);
    return SB_OK;
}

/* Where a subscription without a position begins. */
static sb_code_t begin_fresh(sb_subscriber_t *s, sb_slot_t *slot, sb_error_t *err)
{
    const sb_subscription_t *config = &slot->sub->config;
    if (config->from == SB_FROM_NOW)
        return begin_now(s, slot, err);
    if (config->from == SB_FROM_STORE) {
        slot->filling = true;
        slot->fill_after = config->from_seq;
    }
    return SB_OK;
}

/* Reading the store broke off before the first record of Kafka: it goes on, for Kafka may hold nothing that
 * would show what is missing. */
static void resume_store(sb_slot_t *slot)
{
    const sb_subscription_t *config = &slot->sub->config;
    if (config->from != SB_FROM_STORE || slot->at.incarnation == 0 || slot->at.next_offset >= 0)
        return;
    slot->filling = true;
    slot->fill_after = slot->at.seq > config->from_seq ? slot->at.seq : config->from_seq;
}

static sb_code_t place_slot(sb_subscriber_t *s, sb_slot_t *slot, int64_t committed, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    if (s->pg_uri)
        code = claim(s, slot, err);
    else
        slot->at.next_offset = slot->low.next_offset = committed;
    if (code == SB_OK && slot->at.next_offset < 0 && slot->at.incarnation == 0)
        code = begin_fresh(s, slot, err);
    if (code == SB_OK)
        resume_store(slot);
    return code;
}

static sb_code_t add_slot(sb_subscriber_t *s, sb_part_t *part, sb_sub_t *sub, int64_t committed,
                          sb_error_t *err)
{
    sb_slot_t *slot = sb_slot_new(sub, part->topic, part->partition);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    slot->next = part->slots;
    part->slots = slot;
    return place_slot(s, slot, committed, err);
}

static int64_t start_of(const sb_part_t *part)
{
    int64_t offset = SB_OFFSET_NOWHERE;
    for (const sb_slot_t *slot = part->slots; slot; slot = slot->next)
        if (slot->at.next_offset < offset)
            offset = slot->at.next_offset;
    return offset;
}

static sb_code_t add_slots(sb_subscriber_t *s, sb_consumer_place_t *place, int64_t committed, sb_error_t *err)
{
    sb_part_t *part = sb_part_find(s, place->topic, place->partition);
    if (part)
        drop_part(s, part);
    part = add_part(s, place->topic, place->partition);
    if (!part)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    sb_code_t code = SB_OK;
    for (size_t i = 0; code == SB_OK && i < s->sub_count; i++)
        if (wants_topic(s, &s->subs[i], place->topic))
            code = add_slot(s, part, &s->subs[i], committed, err);
    part->next_offset = start_of(part);
    if (part->next_offset == SB_OFFSET_NOWHERE)
        place->offset = RD_KAFKA_OFFSET_END; /* for none of them */
    else
        place->offset = part->next_offset >= 0 ? part->next_offset : RD_KAFKA_OFFSET_BEGINNING;
    return code;
}

/* Without a database the group's offsets are the positions. */
static sb_code_t committed_offsets(sb_subscriber_t *s, const sb_consumer_place_t *places, size_t count,
                                   int64_t *out, sb_error_t *err)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count; i++)
        (void)rd_kafka_topic_partition_list_add(list, places[i].topic, places[i].partition);
    rd_kafka_resp_err_t error = rd_kafka_committed(sb_consumer_handle(s->consumer), list, CLUSTER_MS);
    for (size_t i = 0; error == RD_KAFKA_RESP_ERR_NO_ERROR && i < count; i++) {
        error = list->elems[i].err;
        out[i] = list->elems[i].offset >= 0 ? list->elems[i].offset : -1;
    }
    rd_kafka_topic_partition_list_destroy(list);
    return error == RD_KAFKA_RESP_ERR_NO_ERROR ? SB_OK : sb_kafka_fail(err, error, "committed offsets");
}

sb_code_t sb_parts_on_assigned(void *context, sb_consumer_place_t *places, size_t count, sb_error_t *err)
{
    sb_subscriber_t *s = context;
    sb_deal_hand_out(s); /* a slot that is dropped lives as long as its entries, once they are dealt out */
    int64_t *committed = calloc(count, sizeof *committed);
    if (!committed)
        return sb_fail(err, SB_NO_MEMORY, "assignment: out of memory");
    sb_code_t code = know_cluster(s, err);
    if (code == SB_OK && !s->pg_uri)
        code = committed_offsets(s, places, count, committed, err);
    for (size_t i = 0; code == SB_OK && i < count; i++)
        code = add_slots(s, &places[i], committed[i], err);
    free(committed);
    return code;
}

/* ---- positions and offsets ---- */

static bool same_mark(const sb_inbox_mark_t *a, const sb_inbox_mark_t *b)
{
    return a->incarnation == b->incarnation && a->seq == b->seq && a->next_offset == b->next_offset;
}

/* Takes the slot's mark for saving; false when there is nothing to save, or a lane is at it. */
static bool take_mark(sb_slot_t *slot, sb_inbox_save_t *out)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    bool take = !slot->saving && !same_mark(&slot->low, &slot->saved);
    if (take) {
        slot->saving = true;
        *out = (sb_inbox_save_t){.topic = slot->topic,
                                 .partition = slot->partition,
                                 .epoch = slot->epoch,
                                 .mark = slot->low,
                                 .pass = slot->top.seq > 0};
    }
    (void)pthread_mutex_unlock(&sub->lock);
    return take;
}

static void put_mark(sb_slot_t *slot, const sb_inbox_save_t *save, bool saved)
{
    sb_sub_t *sub = slot->sub;
    (void)pthread_mutex_lock(&sub->lock);
    slot->saving = false;
    if (saved)
        sb_slot_saved(slot, &save->mark);
    (void)pthread_mutex_unlock(&sub->lock);
}

/* False: the database cannot be reached. */
static bool save_slot(sb_subscriber_t *s, sb_slot_t *slot)
{
    sb_inbox_save_t save;
    sb_error_t err = SB_ERROR_INIT;
    if (!s->pg_uri || !take_mark(slot, &save))
        return true;
    sb_code_t code = ensure_pg(s, &err);
    if (code == SB_OK)
        code = sb_inbox_save(s->pg, slot->sub->config.name, &save, 1, &err);
    put_mark(slot, &save, code == SB_OK);
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-SAVE", &err, "a position is saved later|subscription=%s",
                     slot->sub->config.name);
    return code == SB_OK;
}

/* What all its subscriptions are done with; without a slot there is nothing to say. */
static int64_t low_offset(const sb_part_t *part)
{
    int64_t low = SB_OFFSET_NOWHERE;
    for (sb_slot_t *slot = part->slots; slot; slot = slot->next) {
        (void)pthread_mutex_lock(&slot->sub->lock);
        if (slot->low.next_offset < low)
            low = slot->low.next_offset;
        (void)pthread_mutex_unlock(&slot->sub->lock);
    }
    return low == SB_OFFSET_NOWHERE ? -1 : low;
}

static void commit_offsets(sb_subscriber_t *s, bool wait)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_consumer_place_t *places = calloc(s->part_count ? s->part_count : 1, sizeof *places);
    if (!places)
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        int64_t offset = low_offset(&s->parts[i]);
        places[i] = (sb_consumer_place_t){s->parts[i].topic, s->parts[i].partition,
                                          offset > s->parts[i].committed ? offset : -1};
    }
    sb_code_t code = sb_consumer_commit_at(s->consumer, places, s->part_count, wait, &err);
    for (size_t i = 0; code == SB_OK && i < s->part_count; i++)
        if (places[i].offset >= 0)
            s->parts[i].committed = places[i].offset;
    if (code != SB_OK)
        sb_log_error(SB_LOG_INFO, "SUBSCRIBER-COMMIT", &err, "offsets are committed later");
    free(places);
}

void sb_parts_on_revoked(void *context, const sb_consumer_place_t *places, size_t count, bool lost)
{
    sb_subscriber_t *s = context;
    int64_t until_us = sb_mono_us() + (int64_t)s->drain_ms * 1000;
    bool reachable = true;
    sb_deal_hand_out(s); /* as above: the rebalance may come in the midst of a round */
    for (size_t i = 0; i < count; i++) {
        sb_part_t *part = sb_part_find(s, places[i].topic, places[i].partition);
        for (sb_slot_t *slot = part ? part->slots : NULL; slot; slot = slot->next) {
            if (!sb_slot_drain(slot, lost ? 0 : until_us))
                sb_log(SB_LOG_WARN, "SUBSCRIBER-DRAIN",
                       "a handler is still at work in a partition that goes|subscription=%s topic=%s "
                       "partition=%d lost=%d",
                       slot->sub->config.name, slot->topic, (int)slot->partition, (int)lost);
            else
                reachable = reachable && save_slot(s, slot);
        }
    }
    if (!lost)
        commit_offsets(s, true);
    for (size_t i = 0; i < count; i++) {
        sb_part_t *part = sb_part_find(s, places[i].topic, places[i].partition);
        if (part)
            drop_part(s, part);
    }
}

/* ---- topics that were made anew ---- */

static sb_code_t begin_again(sb_subscriber_t *s, sb_part_t *part, sb_slot_t *slot, sb_error_t *err)
{
    sb_code_t code = s->pg_uri ? ensure_pg(s, err) : SB_OK;
    if (code == SB_OK && s->pg_uri)
        code = sb_inbox_begin_again(s->pg, slot->sub->config.name, slot->topic, slot->partition, slot->epoch,
                                    err);
    if (code != SB_OK)
        return code;
    sb_slot_begin_again(slot);
    slot->anew = false;
    slot->behind = true;
    part->committed = -1;
    return SB_OK;
}

void sb_parts_begin_again(sb_subscriber_t *s)
{
    static const sb_retry_policy_t patience = {SB_RETRY_EXPONENTIAL, 0, 500, 10000, false};
    sb_error_t err = SB_ERROR_INIT;
    if (sb_mono_us() < s->begin_again_us)
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        for (sb_slot_t *slot = s->parts[i].slots; slot; slot = slot->next) {
            if (!slot->anew || !sb_slot_is_idle(slot))
                continue;
            sb_code_t code = begin_again(s, &s->parts[i], slot, &err);
            s->begin_failures = code == SB_OK ? 0 : s->begin_failures + 1;
            if (code == SB_OK)
                continue;
            uint32_t pause_ms = sb_retry_delay_ms(&patience, s->begin_failures, 0);
            s->begin_again_us = sb_mono_us() + (int64_t)pause_ms * 1000;
            sb_log_error(SB_LOG_INFO, "SUBSCRIBER-OFFSET", &err,
                         "the topic is read from its beginning in %u ms", pause_ms);
            return;
        }
    }
}

/* ---- partitions that somebody else claimed meanwhile ---- */

/* Claims a partition again that is ours in the group, though a newer epoch was found: a member that stood
 * still has acted on an assignment that was over. Each time later than before, should two insist. */
static sb_code_t reclaim(sb_subscriber_t *s, sb_slot_t **link, sb_error_t *err)
{
    sb_slot_t *gone = *link;
    sb_slot_t *slot = sb_slot_new(gone->sub, gone->topic, gone->partition);
    if (!slot)
        return sb_fail(err, SB_NO_MEMORY, "claim: out of memory");
    sb_code_t code = place_slot(s, slot, -1, err);
    if (code != SB_OK) {
        sb_slot_unref(slot);
        return code;
    }
    slot->losses = slot->claimed_us - gone->claimed_us > KEPT_US ? 0 : gone->losses + 1;
    slot->behind = true;
    slot->next = gone->next;
    *link = slot;
    sb_log(SB_LOG_WARN, "SUBSCRIBER-RECLAIM",
           "another member had claimed a partition that is ours|subscription=%s topic=%s partition=%d "
           "epoch=%lld",
           slot->sub->config.name, slot->topic, (int)slot->partition, (long long)slot->epoch);
    sb_slot_unref(gone);
    return SB_OK;
}

static bool is_due(sb_slot_t *slot)
{
    int64_t now_us = sb_mono_us();
    int doublings = slot->losses < RECLAIMS_MAX ? slot->losses : RECLAIMS_MAX;
    if (!slot->reclaim_us)
        slot->reclaim_us = slot->losses ? now_us + ((int64_t)RECLAIM_US << doublings) : now_us;
    return now_us >= slot->reclaim_us;
}

static void reclaim_all(sb_subscriber_t *s)
{
    sb_error_t err = SB_ERROR_INIT;
    if (sb_consumer_has_rebalance(s->consumer) || rd_kafka_assignment_lost(sb_consumer_handle(s->consumer)))
        return;
    for (size_t i = 0; i < s->part_count; i++) {
        for (sb_slot_t **link = &s->parts[i].slots; *link; link = &(*link)->next) {
            if (!atomic_load(&(*link)->gone) || !is_due(*link))
                continue;
            sb_code_t code = reclaim(s, link, &err);
            if (code == SB_OK)
                continue;
            sb_log_error(SB_LOG_INFO, "SUBSCRIBER-RECLAIM", &err, "a partition is claimed again later");
            return;
        }
    }
}

/* ---- now and then ---- */

void sb_parts_upkeep(sb_subscriber_t *s)
{
    bool reachable = true;
    for (size_t i = 0; i < s->part_count; i++)
        for (sb_slot_t *slot = s->parts[i].slots; slot && reachable; slot = slot->next)
            reachable = save_slot(s, slot);
    commit_offsets(s, false);
    reclaim_all(s);
}

void sb_parts_end(sb_subscriber_t *s)
{
    while (s->part_count > 0)
        drop_part(s, &s->parts[s->part_count - 1]);
    free(s->parts);
    s->parts = NULL;
}
