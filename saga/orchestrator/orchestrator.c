/* The handle of the orchestrator: opening, its doors, the clock and the memory that its parts share. The loop
 * is orchestrator_loop.c.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/orchestrator.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "saga/child_key.h"
#include "saga/orchestrator/orchestrator_internal.h"

#include <stdlib.h>
#include <sys/random.h>

#define INPUT_MAX (SB_EVENT_BYTES_MAX - 4096)

/* ---- opening ---- */

static sb_code_t read_settings(sb_orchestrator_t *o, sb_error_t *err)
{
    const sb_config_t *config = o->config;
    int64_t home = -1;
    sb_code_t code = sb_config_get_int(config, "saga.open_max", 1, 1000000, &o->open_max, err);
    if (code == SB_OK)
        code = sb_config_get_int(config, "lease.overdue_ms", 500, 600000, &o->overdue_ms, err);
    if (code == SB_OK)
        code = sb_config_get_int(config, "saga.resend_per_second", 1, 1000000, &o->resend_per_second, err);
    if (code == SB_OK && strcmp(sb_config_get(config, "saga.home_shard"), "auto") != 0)
        code = sb_config_get_int(config, "saga.home_shard", 0, SB_SHARDS_MAX - 1, &home, err);
    o->home_wanted = (int)home;
    return code == SB_OK ? sb_topic_replies(o->reply_topic, sb_config_get(config, "kafka.prefix"), err)
                         : code;
}

/* What has waited for its turn may have been decided about meanwhile. */
static sb_wanted_t wants_command(void *context, uint64_t tag, sb_slice_t step, bool undo, uint16_t round)
{
    const sb_orchestrator_t *o = context;
    const sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, (int64_t)tag);
    int index = saga && saga->plan ? sb_definition_step(saga->plan->definition, step) : -1;
    sb_saga_state_t state;
    if (index < 0)
        return SB_UNWANTED;
    sb_open_saga_get_state(saga, &state);
    if (state.step[index].status != (undo ? SB_STEP_COMPENSATING : SB_STEP_DISPATCHED) ||
        state.step[index].round != round)
        return SB_UNWANTED;
    return state.paused ? SB_WANTED_LATER : SB_WANTED;
}

sb_code_t sb_orchestrator_open_over(sb_orchestrator_t **out, const sb_orchestrator_config_t *config,
                                    const sb_command_bus_t *operations, void *bus, sb_error_t *err)
{
    *out = NULL;
    sb_orchestrator_t *o = calloc(1, sizeof *o);
    if (!o)
        return sb_fail(err, SB_NO_MEMORY, "orchestrator: out of memory");
    o->config = config->config;
    o->catalog = config->catalog;
    o->progress = config->progress;
    o->on_told = config->on_told;
    o->told_context = config->told_context;
    (void)pthread_mutex_init(&o->stats_lock, NULL);
    sb_call_queue_init(&o->calls, &o->wake);
    sb_plans_init(&o->plans, o->catalog, sb_config_get(o->config, "kafka.prefix"));
    if (getrandom(&o->random, sizeof o->random, 0) != (ssize_t)sizeof o->random)
        o->random = (uint64_t)sb_mono_us(); /* for jitter, not for secrets */
    o->pg_uri = strdup(config->pg_uri);
    o->owner = strdup(config->owner);
    sb_code_t code =
        o->pg_uri && o->owner ? SB_OK : sb_fail(err, SB_NO_MEMORY, "orchestrator: out of memory");
    o->wake.fd = -1;
    if (code == SB_OK)
        code = sb_signal_init(&o->wake, err);
    if (code == SB_OK)
        code = sb_watches_new(&o->watches, err);
    if (code == SB_OK)
        code = sb_batch_init(&o->batch, err);
    if (code == SB_OK)
        code = read_settings(o, err);
    if (code == SB_OK)
        code = sb_participants_new(&o->participants, o->config, operations, bus, wants_command, o, err);
    o->bus_operations = &sb_participants_operations;
    o->bus = o->participants;
    *out = o;
    if (code != SB_OK)
        sb_orchestrator_close(out);
    return code;
}

sb_code_t sb_orchestrator_open(sb_orchestrator_t **out, const sb_orchestrator_config_t *config,
                               sb_error_t *err)
{
    void *bus = NULL;
    *out = NULL;
    sb_code_t code = sb_kafka_bus_new(&bus, config->config, config->owner, err);
    if (code == SB_OK)
        code = sb_orchestrator_open_over(out, config, &sb_kafka_bus_operations, bus, err);
    if (code == SB_OK && *out)
        (*out)->own_bus = bus;
    else
        sb_kafka_bus_free(&bus);
    return code;
}

void sb_orchestrator_close(sb_orchestrator_t **orchestrator)
{
    sb_orchestrator_t *o = *orchestrator;
    if (!o)
        return;
    sb_call_queue_fini(&o->calls);
    sb_watches_free(&o->watches);
    sb_participants_free(&o->participants);
    sb_kafka_bus_free(&o->own_bus);
    sb_batch_fini(&o->batch);
    sb_arena_fini(&o->turn);
    sb_timers_fini(&o->timers);
    sb_open_sagas_fini(&o->sagas);
    sb_plans_fini(&o->plans);
    sb_signal_fini(&o->wake);
    (void)pthread_mutex_destroy(&o->stats_lock);
    free(o->pg_uri);
    free(o->owner);
    free(o);
    *orchestrator = NULL;
}

/* ---- doors, any thread ---- */

static sb_code_t check_start(const sb_saga_start_t *start, sb_error_t *err)
{
    size_t bad_at = 0;
    if (start->input.len > INPUT_MAX)
        return sb_fail_at(err, SB_TOO_LARGE, "/input", "the input has %zu bytes, at most %u are taken",
                          start->input.len, (unsigned)INPUT_MAX);
    if (!start->input.ptr || !sb_scan_valid(start->input, &bad_at))
        return sb_fail_at(err, SB_INVALID, "/input", "the input is not JSON, see byte %zu", bad_at);
    if (start->input.ptr[strspn(start->input.ptr, " \t\r\n")] != '{')
        return sb_fail_at(err, SB_INVALID, "/input", "the input must be a JSON object");
    if (start->key.ptr && (start->key.len == 0 || start->key.len > SB_KEY_MAX || !sb_utf8_ok(start->key)))
        return sb_fail_at(err, SB_INVALID, "/key", "a key is 1 to %u bytes of UTF-8 without NUL", SB_KEY_MAX);
    if (start->key.ptr && sb_slice_starts(start->key, SB_CHILD_KEY_PREFIX))
        return sb_fail_at(err, SB_INVALID, "/key",
                          "keys that begin with " SB_CHILD_KEY_PREFIX
                          " belong to sagas that are steps of others");
    if (start->correlation_id.len > SB_KEY_MAX || !sb_utf8_ok(start->correlation_id))
        return sb_fail_at(err, SB_INVALID, "/correlation_id", "a correlation id is at most %u bytes of UTF-8",
                          SB_KEY_MAX);
    if (start->traceparent.len > SB_KEY_MAX || !sb_utf8_ok(start->traceparent))
        return sb_fail_at(err, SB_INVALID, "/traceparent", "a traceparent is at most %u bytes", SB_KEY_MAX);
    return SB_OK;
}

sb_code_t sb_orchestrator_start(sb_orchestrator_t *o, const sb_saga_start_t *start,
                                sb_saga_answer_fn on_answer, void *context, sb_error_t *err)
{
    sb_code_t code = check_start(start, err);
    if (code != SB_OK)
        return code;
    if (o->stopping)
        return sb_fail(err, SB_STOPPED, "the orchestrator is stopping");
    if (!o->has_home)
        return sb_fail(err, SB_UNAVAILABLE, "this instance has no saga shard now");
    if (o->open_count + o->waiting_starts >= o->open_max)
        return sb_fail(err, SB_BUSY, "%lld sagas are open (saga.open_max)", (long long)o->open_max);
    sb_call_t *call = sb_call_new_start(start, on_answer, context);
    if (!call)
        return sb_fail(err, SB_NO_MEMORY, "start a saga: out of memory");
    sb_hash_bytes(start->input, &call->request_hash);
    o->waiting_starts++;
    code = sb_call_push(&o->calls, call, err);
    if (code != SB_OK) {
        o->waiting_starts--;
        free(call);
    }
    return code;
}

void sb_orchestrator_wake(sb_orchestrator_t *o)
{
    sb_signal_raise(&o->wake);
}

sb_code_t sb_orchestrator_command(sb_orchestrator_t *o, const sb_saga_verb_t *verb,
                                  sb_saga_answer_fn on_answer, void *context, sb_error_t *err)
{
    int64_t no;
    if (!sb_saga_number_of(&verb->id, &no))
        return sb_fail(err, SB_NOT_FOUND, "no such saga");
    if (!o->owned[sb_saga_shard(no)])
        return sb_fail(err, SB_FENCED, "another instance owns the saga");
    if (verb->kind == SB_SAGA_IN_START || verb->kind == SB_SAGA_IN_REPLY || verb->kind == SB_SAGA_IN_TIMER)
        return sb_fail(err, SB_INVALID, "not an operator's verb");
    if (verb->result.ptr && !sb_scan_valid(verb->result, NULL))
        return sb_fail_at(err, SB_INVALID, "/result", "the result is not JSON");
    if (!sb_utf8_ok(verb->by) || !sb_utf8_ok(verb->reason) || !sb_utf8_ok(verb->step))
        return sb_fail(err, SB_INVALID, "the text is not UTF-8");
    sb_call_t *call = sb_call_new_verb(verb, on_answer, context);
    if (!call)
        return sb_fail(err, SB_NO_MEMORY, "act on a saga: out of memory");
    sb_code_t code = sb_call_push(&o->calls, call, err);
    if (code != SB_OK)
        free(call);
    return code;
}

sb_code_t sb_orchestrator_watch(sb_orchestrator_t *o, const sb_uuid_t *id, sb_saga_answer_fn on_answer,
                                void *context, sb_error_t *err)
{
    int64_t no;
    if (!sb_saga_number_of(id, &no))
        return sb_fail(err, SB_NOT_FOUND, "no such saga");
    sb_call_t *call = sb_call_new_look(id);
    if (!call)
        return sb_fail(err, SB_NO_MEMORY, "watch a saga: out of memory");
    sb_code_t code = sb_watches_add(o->watches, id, on_answer, context, err);
    if (code == SB_OK) {
        code = sb_call_push(&o->calls, call, err);
        if (code == SB_OK)
            return SB_OK;
        /* A stop may have fired it in between: then the callback has it, and no error may be told as well. */
        if (!sb_watches_remove(o->watches, id, context))
            code = SB_OK;
    }
    free(call);
    return code;
}

sb_code_t sb_orchestrator_watch_here(sb_orchestrator_t *o, const sb_uuid_t *id, sb_saga_answer_fn on_answer,
                                     void *context, sb_error_t *err)
{
    int64_t no;
    const sb_open_saga_t *saga = sb_saga_number_of(id, &no) ? sb_open_sagas_find(&o->sagas, no) : NULL;
    if (saga && sb_uuid_equal(&saga->id, id)) /* its end comes by this thread, so later */
        return sb_watches_add(o->watches, id, on_answer, context, err);
    return sb_orchestrator_watch(o, id, on_answer, context, err);
}

void sb_orchestrator_unwatch(sb_orchestrator_t *o, const sb_uuid_t *id, void *context)
{
    (void)sb_watches_remove(o->watches, id, context);
}

void sb_orchestrator_stop(sb_orchestrator_t *o)
{
    o->stopping = true;
    sb_signal_raise(&o->wake);
}

void sb_orchestrator_stats(const sb_orchestrator_t *orchestrator, sb_orchestrator_stats_t *out)
{
    sb_orchestrator_t *o = (sb_orchestrator_t *)(uintptr_t)orchestrator;
    (void)pthread_mutex_lock(&o->stats_lock);
    *out = o->published;
    (void)pthread_mutex_unlock(&o->stats_lock);
    out->open = o->open_count;
}

size_t sb_orchestrator_participants(const sb_orchestrator_t *orchestrator, sb_participant_state_t *out,
                                    size_t max)
{
    return sb_participants_list(orchestrator->participants, out, max);
}

/* ---- clock and memory ---- */

/* It never goes back by less than a jump, so a saga's events are in order of time. */
int64_t sb_orchestrator_now(sb_orchestrator_t *o)
{
    int64_t now = sb_mono_us() + o->offset_us;
    if (now > o->now_us)
        o->now_us = now;
    return o->now_us;
}

void sb_orchestrator_freeze_timers(sb_orchestrator_t *o, int64_t for_us)
{
    int64_t until = sb_mono_us() + for_us;
    if (until > o->timers_frozen_us)
        o->timers_frozen_us = until;
}

void sb_orchestrator_set_clock(sb_orchestrator_t *o, int64_t pg_us, int64_t mono_us)
{
    int64_t offset = pg_us - mono_us;
    int64_t moved = offset - o->offset_us;
    bool was_set = o->offset_us != 0 && (moved > SB_CLOCK_JUMP_US || moved < -SB_CLOCK_JUMP_US);
    o->jump_us = was_set ? moved : 0; /* 0 also when it was set to and fro */
    if (!was_set)
        o->offset_us = offset;
}

void sb_orchestrator_follow_clock(sb_orchestrator_t *o)
{
    if (o->jump_us == 0)
        return;
    sb_log(SB_LOG_ERROR, "SAGA-CLOCK",
           "the database's clock was set, the timers of open sagas move with it|by_ms=%lld sagas=%zu",
           (long long)(o->jump_us / 1000), o->sagas.count);
    sb_open_sagas_shift(&o->sagas, o->jump_us);
    sb_timers_shift(&o->timers, o->jump_us);
    o->offset_us += o->jump_us;
    o->jump_us = o->now_us = 0;
}

void sb_orchestrator_add_saga(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga)
{
    sb_open_sagas_add(&o->sagas, saga);
    sb_shard_add(shard, saga);
    o->open_count = (int64_t)o->sagas.count;
}

void sb_orchestrator_remove_saga(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga)
{
    sb_timers_set(&o->timers, saga, 0);
    sb_resend_remove(&o->resend, saga);
    sb_children_forget(o, saga);
    sb_shard_remove(shard, saga);
    sb_open_sagas_remove(&o->sagas, saga);
    o->open_count = (int64_t)o->sagas.count;
}
