/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/pg/saga_play.h"

#include "base/clock.h"
#include "saga/contract.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

typedef struct play_bus {
    sb_play_t *play;
    int timer;
    bool assigned[SB_PLAY_SHARDS];
    int64_t next[SB_PLAY_SHARDS];
    char cluster[SB_PLAY_SHARDS][32];
    bool reset;
} play_bus_t;

/* A killed process may have held it. */
static void lock(sb_play_t *play)
{
    if (pthread_mutex_lock(&play->lock) == EOWNERDEAD)
        (void)pthread_mutex_consistent(&play->lock);
}

static void unlock(sb_play_t *play)
{
    (void)pthread_mutex_unlock(&play->lock);
}

sb_play_t *sb_play_new(sb_play_fn outcome)
{
    sb_play_t *play =
        mmap(NULL, sizeof *play, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (play == MAP_FAILED)
        abort();
    pthread_mutexattr_t attr;
    (void)pthread_mutexattr_init(&attr);
    (void)pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
    (void)pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
    (void)pthread_mutex_init(&play->lock, &attr);
    play->outcome = outcome;
    play->random = 42;
    (void)snprintf(play->cluster, sizeof play->cluster, "played");
    return play;
}

void sb_play_free(sb_play_t **play)
{
    if (*play)
        (void)munmap(*play, sizeof **play);
    *play = NULL;
}

void sb_play_wipe(sb_play_t *play, const char *cluster)
{
    lock(play);
    for (int i = 0; i < SB_PLAY_SHARDS; i++)
        play->count[i] = 0;
    (void)snprintf(play->cluster, sizeof play->cluster, "%s", cluster);
    unlock(play);
}

static int per_mille(sb_play_t *play)
{
    play->random = play->random * 6364136223846793005u + 1442695040888963407u;
    return (int)((play->random >> 33) % 1000);
}

/* ---- the barrier ---- */

static sb_play_entry_t *entry_of(sb_play_t *play, const sb_uuid_t *id)
{
    size_t at = 0;
    for (int i = 0; i < 8; i++)
        at = at << 8 | id->byte[i];
    for (at %= SB_PLAY_LEDGER; !sb_uuid_is_nil(&play->ledger[at].id); at = (at + 1) % SB_PLAY_LEDGER)
        if (sb_uuid_equal(&play->ledger[at].id, id))
            break;
    return &play->ledger[at];
}

static sb_outcome_t play_forward(sb_play_t *play, const sb_play_command_t *command)
{
    sb_play_entry_t *entry = entry_of(play, &command->id);
    if (entry->voided)
        return SB_OUTCOME_FAILURE;
    if (!sb_uuid_is_nil(&entry->id))
        return entry->outcome;
    sb_outcome_t outcome = play->outcome(command);
    if (outcome == SB_OUTCOME_ERROR || outcome == SB_OUTCOME_PENDING)
        return outcome; /* nothing is kept */
    entry->id = command->id;
    entry->outcome = outcome;
    entry->done = outcome == SB_OUTCOME_SUCCESS;
    if (entry->done)
        entry->order = ++play->effects + play->undone;
    return outcome;
}

static sb_outcome_t play_undo(sb_play_t *play, const sb_play_command_t *command)
{
    sb_play_entry_t *entry = entry_of(play, &command->id);
    if (!sb_uuid_is_nil(&entry->id))
        return entry->outcome;
    if (play->outcome(command) != SB_OUTCOME_SUCCESS)
        return SB_OUTCOME_ERROR;
    sb_play_entry_t *forward = entry_of(play, &command->forward_id);
    if (sb_uuid_is_nil(&forward->id)) {
        play->breaches += command->forward_completed;
        forward->id = command->forward_id;
        forward->voided = true;
    } else if (forward->done) {
        entry->done = true;
    }
    entry->id = command->id;
    entry->outcome = SB_OUTCOME_SUCCESS;
    entry->order = play->effects + ++play->undone;
    return SB_OUTCOME_SUCCESS;
}

static bool is_undone(sb_play_t *play, const sb_uuid_t *saga_id, const char *step)
{
    sb_uuid_t id = sb_saga_command_id(saga_id, step, SB_COMPENSATE, 1);
    return entry_of(play, &id)->done;
}

bool sb_play_stands(sb_play_t *play, const sb_uuid_t *saga_id, const char *step)
{
    sb_uuid_t id = sb_saga_command_id(saga_id, step, SB_FORWARD, 1);
    lock(play);
    bool stands = entry_of(play, &id)->done && !is_undone(play, saga_id, step);
    unlock(play);
    return stands;
}

int64_t sb_play_undone_at(sb_play_t *play, const sb_uuid_t *saga_id, const char *step)
{
    sb_uuid_t id = sb_saga_command_id(saga_id, step, SB_COMPENSATE, 1);
    lock(play);
    int64_t order = entry_of(play, &id)->order;
    unlock(play);
    return order;
}

/* ---- commands ---- */

static sb_slice_t header(const sb_record_t *record, const char *name)
{
    for (size_t i = 0; i < record->header_count; i++)
        if (strcmp(record->headers[i].name, name) == 0)
            return record->headers[i].value;
    return SB_SLICE_NONE;
}

static int header_int(const sb_record_t *record, const char *name)
{
    sb_slice_t text = header(record, name);
    int value = 0;
    for (size_t i = 0; i < text.len; i++)
        value = value * 10 + (text.ptr[i] - '0');
    return value;
}

static void header_uuid(const sb_record_t *record, const char *name, sb_uuid_t *out)
{
    sb_slice_t text = header(record, name);
    if (text.ptr && !sb_uuid_parse(text.ptr, text.len, out))
        abort();
}

static void header_text(const sb_record_t *record, const char *name, char *out, size_t cap)
{
    (void)snprintf(out, cap, "%.*s", SB_SLICE_ARG(header(record, name)));
}

static void read_command(const sb_record_t *record, sb_play_command_t *out)
{
    *out = (sb_play_command_t){.undo = sb_slice_is(header(record, SB_H_DIRECTION), "compensate"),
                               .forward_completed = sb_slice_is(header(record, SB_H_FORWARD), "completed"),
                               .round = header_int(record, SB_H_ROUND),
                               .attempt = header_int(record, SB_H_ATTEMPT)};
    header_uuid(record, SB_H_ID, &out->id);
    header_uuid(record, SB_H_SAGA_ID, &out->saga_id);
    header_uuid(record, SB_H_FORWARD_ID, &out->forward_id);
    header_text(record, SB_H_TYPE, out->type, sizeof out->type);
    header_text(record, SB_H_SAGA_STEP, out->step, sizeof out->step);
    (void)snprintf(out->value, sizeof out->value, "%.*s", SB_SLICE_ARG(record->value));
}

static void arm(play_bus_t *bus)
{
    sb_play_t *play = bus->play;
    int64_t first = INT64_MAX;
    for (int i = 0; i < SB_PLAY_SHARDS; i++) {
        int64_t at = bus->next[i] - play->base[i];
        if (bus->assigned[i] && at >= 0 && at < play->count[i] && play->reply[i][at].visible_us < first)
            first = play->reply[i][at].visible_us;
    }
    struct itimerspec spec = {.it_interval = {0, 0}, .it_value = {0, 0}};
    if (first != INT64_MAX) {
        spec.it_value.tv_sec = first / 1000000;
        spec.it_value.tv_nsec = first % 1000000 * 1000 + 1;
    }
    (void)timerfd_settime(bus->timer, TFD_TIMER_ABSTIME, &spec, NULL);
}

static void answer(sb_play_t *play, int shard, const sb_play_command_t *command, sb_outcome_t outcome)
{
    if (per_mille(play) < play->drop_per_mille)
        return;
    int times = per_mille(play) < play->twice_per_mille ? 2 : 1;
    while (times-- > 0) {
        if (play->count[shard] == SB_PLAY_REPLIES)
            abort();
        int64_t delay = play->delay_us ? per_mille(play) * play->delay_us / 1000 : 0;
        play->reply[shard][play->count[shard]++] = (sb_play_reply_t){*command, outcome, sb_mono_us() + delay};
    }
}

static const char *const outcomes[] = {"success", "failure", "error", "pending"};

/* A reply that came to another shard's partition, and is handed on. */
static void take_forwarded(sb_play_t *play, const sb_record_t *record)
{
    sb_play_reply_t reply = {.outcome = SB_OUTCOME_SUCCESS};
    read_command(record, &reply.command);
    header_uuid(record, SB_H_CAUSATION, &reply.command.id);
    while (!sb_slice_is(header(record, SB_H_OUTCOME), outcomes[reply.outcome]))
        reply.outcome++;
    play->reply[record->partition][play->count[record->partition]++] = reply;
}

static sb_code_t play_send(void *context, const sb_record_t *record, sb_error_t *err)
{
    (void)err;
    play_bus_t *bus = context;
    sb_play_t *play = bus->play;
    sb_play_command_t command;
    read_command(record, &command);
    int shard = header_int(record, SB_H_REPLY_PART);
    if (record->partition >= 0) {
        lock(play);
        take_forwarded(play, record);
        arm(bus);
        unlock(play);
        return SB_OK;
    }
    lock(play);
    play->commands++;
    if (!play->deaf && !play->away && per_mille(play) >= play->drop_per_mille) {
        sb_outcome_t outcome = command.undo ? play_undo(play, &command) : play_forward(play, &command);
        answer(play, shard, &command, outcome);
        arm(bus);
    }
    unlock(play);
    return SB_OK;
}

/* ---- replies ---- */

typedef struct texts {
    char saga[SB_UUID_TEXT], causation[SB_UUID_TEXT], round[8], attempt[8], value[64];
} texts_t;

static void fill_message(sb_message_t *message, const sb_play_reply_t *reply, texts_t *texts)
{
    const sb_play_command_t *command = &reply->command;
    (void)snprintf(texts->round, sizeof texts->round, "%d", command->round);
    (void)snprintf(texts->attempt, sizeof texts->attempt, "%d", command->attempt);
    (void)snprintf(texts->value, sizeof texts->value, "{\"by\": \"%s\"}", command->step);
    const sb_header_t headers[] = {
        {SB_H_SAGA_ID, sb_slice(sb_uuid_format(&command->saga_id, texts->saga))},
        {SB_H_SAGA_STEP, sb_slice(command->step)},
        {SB_H_DIRECTION, sb_slice(command->undo ? "compensate" : "forward")},
        {SB_H_ROUND, sb_slice(texts->round)},
        {SB_H_ATTEMPT, sb_slice(texts->attempt)},
        {SB_H_CAUSATION, sb_slice(sb_uuid_format(&command->id, texts->causation))},
        {SB_H_OUTCOME, sb_slice(outcomes[reply->outcome])},
        {SB_H_ERROR, reply->outcome == SB_OUTCOME_SUCCESS ? SB_SLICE_NONE : SB_SLICE("played refusal 42")},
    };
    message->header_count = sizeof headers / sizeof headers[0];
    memcpy(message->headers, headers, sizeof headers);
    message->key = sb_slice(texts->saga);
    message->value = sb_slice(texts->value);
}

/* The next reply of a shard that is visible; false: none. */
static bool take(play_bus_t *bus, int shard, sb_play_reply_t *out)
{
    sb_play_t *play = bus->play;
    lock(play);
    int64_t at = bus->next[shard] - play->base[shard];
    bool there = at >= 0 && at < play->count[shard] && play->reply[shard][at].visible_us <= sb_mono_us();
    if (there)
        *out = play->reply[shard][at];
    unlock(play);
    return there;
}

static void follow_cluster(play_bus_t *bus, int shard)
{
    if (strcmp(bus->cluster[shard], bus->play->cluster) == 0)
        return;
    bus->reset |= bus->cluster[shard][0] != '\0' || bus->next[shard] > 0;
    bus->next[shard] = bus->play->base[shard];
    (void)snprintf(bus->cluster[shard], sizeof bus->cluster[shard], "%s", bus->play->cluster);
}

static sb_code_t play_poll(void *context, int max, sb_message_fn on_message, void *argument, int *count,
                           bool *reset, sb_error_t *err)
{
    play_bus_t *bus = context;
    uint64_t expirations;
    ssize_t ignored = read(bus->timer, &expirations, sizeof expirations);
    (void)ignored;
    sb_code_t code = SB_OK;
    *count = 0;
    for (int shard = 0; shard < SB_PLAY_SHARDS; shard++) {
        sb_play_reply_t reply;
        if (!bus->assigned[shard])
            continue;
        follow_cluster(bus, shard);
        while (*count < max && code == SB_OK && take(bus, shard, &reply)) {
            texts_t texts;
            sb_message_t message = {.topic = "saga.replies", .partition = shard, .offset = bus->next[shard]};
            fill_message(&message, &reply, &texts);
            code = on_message(argument, &message, err);
            bus->next[shard] += code == SB_OK;
            *count += code == SB_OK;
        }
    }
    lock(bus->play);
    arm(bus);
    unlock(bus->play);
    *reset = bus->reset;
    bus->reset = false;
    return code;
}

static sb_code_t play_assign(void *context, int shard, int64_t offset, const char *cluster, sb_error_t *err)
{
    (void)err;
    play_bus_t *bus = context;
    assert(shard < SB_PLAY_SHARDS);
    bus->assigned[shard] = true;
    bus->next[shard] = offset;
    (void)snprintf(bus->cluster[shard], sizeof bus->cluster[shard], "%s", cluster);
    return SB_OK;
}

static void play_unassign(void *context, int shard)
{
    play_bus_t *bus = context;
    bus->assigned[shard] = false;
}

static sb_code_t play_start(void *bus, sb_producer_failed_fn on_failed, void *context, sb_error_t *err)
{
    (void)bus;
    (void)on_failed;
    (void)context;
    (void)err;
    return SB_OK;
}

static void play_nothing(void *bus)
{
    (void)bus;
}

static int play_wake_fd(void *bus)
{
    return ((play_bus_t *)bus)->timer;
}

static const char *play_cluster(void *bus)
{
    return ((play_bus_t *)bus)->play->cluster;
}

static bool play_connected(void *bus)
{
    return !((play_bus_t *)bus)->play->away;
}

static sb_code_t play_flush(void *bus, int timeout_ms, sb_error_t *err)
{
    (void)bus;
    (void)timeout_ms;
    (void)err;
    return SB_OK;
}

const sb_command_bus_t sb_play_operations = {
    .start = play_start,
    .stop = play_nothing,
    .assign = play_assign,
    .unassign = play_unassign,
    .poll = play_poll,
    .wake_fd = play_wake_fd,
    .cluster = play_cluster,
    .connected = play_connected,
    .send = play_send,
    .serve = play_nothing,
    .flush = play_flush,
};

void *sb_play_bus_new(sb_play_t *play)
{
    play_bus_t *bus = calloc(1, sizeof *bus);
    if (!bus)
        abort();
    bus->play = play;
    bus->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    return bus;
}

void sb_play_bus_free(void **bus)
{
    play_bus_t *b = *bus;
    if (!b)
        return;
    (void)close(b->timer);
    free(b);
    *bus = NULL;
}
