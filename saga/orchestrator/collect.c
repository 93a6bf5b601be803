/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/collect.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "saga/orchestrator/recover.h"
#include "saga/orchestrator/reply.h"
#include "saga_sql.h"

#include <limits.h>
#include <stdio.h>

/* A call that finds neither database nor shard for so long is answered. */
#define PATIENCE_US 10000000

#define ERROR_TEXT_MAX 500

/* Answers that waited in Kafka are read within this time after the brokers came back. */
#define GRACE_US   2000000
#define ABSENCE_US 1000000

/* ---- text that will be stored ---- */

/* What others call an error may be any bytes: a copy that can be stored. */
static sb_slice_t clean_text(sb_arena_t *arena, sb_slice_t text)
{
    if (text.len > ERROR_TEXT_MAX)
        text.len = ERROR_TEXT_MAX;
    sb_slice_t copy = sb_arena_copy(arena, text);
    for (size_t i = 0, n; i < copy.len; i += n) {
        n = copy.ptr[i] ? sb_utf8_length(copy.ptr + i, copy.len - i) : 0;
        if (n == 0) {
            ((char *)(uintptr_t)copy.ptr)[i] = '?';
            n = 1;
        }
    }
    return copy;
}

static size_t items_waiting(const sb_orchestrator_t *o)
{
    size_t n = 0;
    for (int i = 0; i < o->shards_held; i++)
        n += o->shard[i]->items.count;
    return n;
}

/* ---- calls ---- */

void sb_collect_fail(sb_orchestrator_t *o, sb_call_t *call, sb_code_t code, const sb_error_t *err)
{
    if (call->kind == SB_CALL_START)
        o->waiting_starts--;
    sb_call_fail(call, code, err);
}

/* Another instance may know a saga type that we have not heard of yet. */
static sb_code_t find_plan(sb_orchestrator_t *o, sb_slice_t type, const sb_plan_t **plan, sb_error_t *err)
{
    int64_t mono = sb_mono_us();
    sb_code_t code = sb_plans_newest(&o->plans, type, plan, err);
    if (code != SB_NOT_FOUND || mono < o->catalog_us)
        return code;
    o->catalog_us = mono + 1000000;
    sb_error_t ignored = SB_ERROR_INIT;
    if (sb_catalog_load(o->catalog, o->pg, &ignored) != SB_OK)
        return code;
    sb_error_clear(err);
    return sb_plans_newest(&o->plans, type, plan, err);
}

/* What a command must have from the input is asked for now, not when the saga is half done. */
static sb_code_t check_input(const sb_plan_t *plan, sb_slice_t input, sb_error_t *err)
{
    sb_code_t code = sb_definition_accepts(plan->definition, input, err);
    if (code != SB_OK) {
        char pointer[sizeof err->pointer];
        (void)snprintf(pointer, sizeof pointer, "/input%.*s", (int)sizeof pointer - 8, err->pointer);
        memcpy(err->pointer, pointer, sizeof pointer);
    }
    return code;
}

static void collect_start(sb_orchestrator_t *o, sb_call_t *call)
{
    sb_error_t err = SB_ERROR_INIT;
    const sb_plan_t *plan = NULL;
    sb_code_t code = find_plan(o, call->start.type, &plan, &err);
    if (code == SB_OK && !call->voided)
        code = check_input(plan, call->start.input, &err);
    sb_item_t *item = code == SB_OK ? sb_item_list_add(&o->home->items) : NULL;
    if (code == SB_OK && !item)
        code = sb_fail(&err, SB_NO_MEMORY, "start a saga: out of memory");
    if (!item) {
        sb_collect_fail(o, call, code, &err);
        return;
    }
    item->kind = SB_ITEM_START;
    item->call = call;
    item->plan = plan;
}

/* Why a saga that is not in memory cannot be acted on. */
static void refuse_verb(sb_orchestrator_t *o, sb_call_t *call, int64_t no)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_array_t numbers;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    sb_pg_array_add_int8(&numbers, no);
    sb_pg_add_array(&params, &numbers);
    sb_code_t code = sb_pg_query(o->pg, sb_sql_saga_status, &params, &rows, &err);
    bool there = false;
    if (code == SB_OK && sb_pg_rows(rows) == 1) {
        sb_uuid_t id = sb_pg_get_uuid(rows, 0, 1);
        there = sb_uuid_equal(&id, &call->id);
    }
    if (code == SB_OK && there)
        code = sb_fail(&err, SB_CONFLICT, "the saga is over");
    else if (code == SB_OK)
        code = sb_fail(&err, SB_NOT_FOUND, "no such saga");
    sb_pg_result_free(rows);
    sb_pg_array_fini(&numbers);
    sb_collect_fail(o, call, code, &err);
}

static void collect_verb(sb_orchestrator_t *o, sb_call_t *call)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t no = 0;
    bool ours = sb_saga_number_of(&call->id, &no);
    sb_shard_t *shard = ours ? sb_shard_find(o, sb_saga_shard(no)) : NULL;
    const sb_open_saga_t *saga = ours ? sb_open_sagas_find(&o->sagas, no) : NULL;
    if (!shard) {
        sb_collect_fail(o, call, sb_fail(&err, SB_FENCED, "another instance owns the saga"), &err);
        return;
    }
    if (!saga || !sb_uuid_equal(&saga->id, &call->id)) {
        refuse_verb(o, call, no);
        return;
    }
    sb_item_t *item = sb_item_list_add(&shard->items);
    if (!item) {
        sb_collect_fail(o, call, sb_fail(&err, SB_NO_MEMORY, "act on a saga: out of memory"), &err);
        return;
    }
    item->kind = SB_ITEM_VERB;
    item->call = call;
    item->no = no;
    item->step_name = call->verb.step;
    item->input.kind = call->verb.kind;
    item->input.result = call->verb.result;
    item->input.input = call->verb.input;
    item->input.pause = call->verb.pause;
    item->version = call->verb.version;
    item->input.by = call->verb.by;
    item->input.reason = call->verb.reason;
}

void sb_collect_calls(sb_orchestrator_t *o)
{
    size_t bytes = 0;
    sb_call_t *call;
    for (size_t n = 0; n < SB_TURN_ITEMS_MAX && bytes < SB_TURN_BYTES_MAX && (call = sb_call_take(&o->calls));
         n++) {
        bytes += call->bytes;
        if (call->kind == SB_CALL_START && !o->home) {
            sb_call_put_back(&o->calls, call);
            return;
        }
        if (call->kind == SB_CALL_START) {
            collect_start(o, call);
        } else if (call->kind == SB_CALL_VERB) {
            collect_verb(o, call);
        } else {
            o->watch_us = 0; /* look at once */
            sb_call_answer(call, NULL);
        }
    }
}

void sb_collect_expire(sb_orchestrator_t *o)
{
    for (sb_call_t *call; (call = sb_call_take(&o->calls));) {
        sb_error_t err = SB_ERROR_INIT;
        if (sb_mono_us() - call->queued_us < PATIENCE_US) {
            sb_call_put_back(&o->calls, call);
            return;
        }
        sb_code_t code =
            call->tried_count > 0
                ? sb_fail(&err, SB_UNKNOWN_OUTCOME,
                          "the connection broke during the commit; ask again with the same key")
                : sb_fail(&err, SB_UNAVAILABLE, "%s",
                          o->stats.error[0] ? o->stats.error : "this instance has no saga shard");
        sb_collect_fail(o, call, code, &err);
    }
}

/* ---- replies ---- */

/* A participant that ignored ce_sagareplypart: the reply goes to the shard that waits for it, before our
 * offset moves past it. */
static sb_code_t forward(sb_orchestrator_t *o, const sb_message_t *message, int shard, sb_error_t *err)
{
    sb_record_t record = {.topic = o->reply_topic,
                          .partition = shard,
                          .key = message->key,
                          .value = message->value,
                          .headers = message->headers,
                          .header_count = message->header_count};
    sb_code_t code = o->bus_operations->send(o->bus, &record, err);
    if (code == SB_OK)
        code = o->bus_operations->flush(o->bus, 1000, err);
    sb_log(SB_LOG_WARN, "SAGA-MISROUTED", "a reply came to another shard's partition|from=%d to=%d ok=%d",
           (int)message->partition, shard, code == SB_OK);
    return code;
}

static sb_code_t add_reply(sb_orchestrator_t *o, sb_shard_t *shard, const sb_message_t *message,
                           const sb_reply_in_t *reply, sb_error_t *err)
{
    sb_item_t *item = sb_item_list_add(&shard->items);
    if (!item)
        return sb_fail(err, SB_NO_MEMORY, "take a reply: out of memory");
    item->kind = SB_ITEM_REPLY;
    item->no = reply->no;
    item->offset = message->offset;
    item->input = reply->input;
    item->input.result = sb_arena_copy(&o->turn, reply->input.result);
    item->input.error = clean_text(&o->turn, reply->input.error);
    if (reply->input.result.ptr && !item->input.result.ptr) {
        shard->items.count--;
        return sb_fail(err, SB_NO_MEMORY, "take a reply: out of memory");
    }
    return SB_OK;
}

static void ignore(sb_orchestrator_t *o, const sb_message_t *message, const sb_error_t *why)
{
    o->stats.ignored++;
    sb_log_error(SB_LOG_WARN, "SAGA-REPLY", why, "a reply was ignored|partition=%d offset=%lld",
                 (int)message->partition, (long long)message->offset);
}

/* ---- late replies ----
 *
 * A saga that is over has left memory, but an answer that says otherwise than its end rests on (a success
 * after the undo, say) must not pass in silence: where a participant has no barrier it is an effect that
 * nobody undoes. So the sagas of definite answers are read again, all of a turn together, and the machine
 * judges them as it does for open ones. Repeats are judged too, and leave no trace. */

typedef struct sb_late_reply {
    struct sb_late_reply *next;
    size_t item; /* of the shard's items */
    bool judged; /* its item names the step */
    sb_reply_in_t reply;
} sb_late_reply_t;

static bool may_be_late(const sb_shard_t *shard, const sb_reply_in_t *reply)
{
    bool definite = reply->input.outcome == SB_OUTCOME_SUCCESS || reply->input.outcome == SB_OUTCOME_FAILURE;
    return definite && sb_saga_shard(reply->no) == shard->number && sb_saga_counter(reply->no) < shard->next;
}

/* Its item is in its place among the others, and means nothing until the saga is there. */
static sb_code_t add_late(sb_orchestrator_t *o, sb_shard_t *shard, const sb_message_t *message,
                          const sb_reply_in_t *reply, sb_error_t *err)
{
    sb_late_reply_t *late = sb_arena_alloc(&o->turn, sizeof *late);
    sb_slice_t step = sb_arena_copy(&o->turn, reply->step);
    if (!late || !step.ptr)
        return sb_fail(err, SB_NO_MEMORY, "take a reply: out of memory");
    sb_code_t code = add_reply(o, shard, message, reply, err);
    if (code != SB_OK)
        return code;
    *late = (sb_late_reply_t){.next = shard->late, .item = shard->items.count - 1, .reply = *reply};
    late->reply.step = step;
    shard->late = late;
    return SB_OK;
}

static void judge_late(sb_orchestrator_t *o, sb_shard_t *shard, sb_late_reply_t *late)
{
    sb_error_t why = SB_ERROR_INIT;
    const sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, late->reply.no);
    late->judged = true;
    if (!saga || saga->stuck || sb_reply_match(&late->reply, saga, &why) != SB_OK)
        o->stats.ignored++; /* it never was, or is no longer kept */
    else
        shard->items.item[late->item].input.step = late->reply.input.step;
}

static sb_code_t read_late(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    if (!shard->late)
        return SB_OK;
    size_t count = 0;
    int64_t *numbers = sb_arena_alloc(&o->turn, shard->items.count * sizeof *numbers);
    if (!numbers)
        return sb_fail(err, SB_NO_MEMORY, "take late replies: out of memory");
    for (const sb_late_reply_t *late = shard->late; late; late = late->next)
        if (!late->judged)
            numbers[count++] = late->reply.no;
    sb_code_t code = sb_recover_over(o, shard, numbers, count, err);
    for (sb_late_reply_t *late = shard->late; late; late = late->next)
        if (!late->judged)
            judge_late(o, shard, late);
    return code;
}

void sb_collect_forget_late(sb_orchestrator_t *o, sb_shard_t *shard)
{
    for (const sb_late_reply_t *late = shard->late; late; late = late->next)
        sb_recover_forget_ended(o, shard, late->reply.no);
    shard->late = NULL;
}

/* ---- what comes in ---- */

/* Not SB_OK: the reply is read again later. */
static sb_code_t on_reply(void *context, const sb_message_t *message, sb_error_t *err)
{
    sb_orchestrator_t *o = context;
    sb_error_t why = SB_ERROR_INIT;
    sb_reply_in_t reply;
    sb_shard_t *shard = sb_shard_find(o, message->partition);
    if (!shard)
        return SB_OK;
    if (sb_reply_read(message, &reply, &why) != SB_OK) {
        ignore(o, message, &why);
    } else if (sb_saga_shard(reply.no) != shard->number && sb_saga_shard(reply.no) < o->shard_count) {
        sb_code_t code = forward(o, message, sb_saga_shard(reply.no), err);
        if (code != SB_OK)
            return code;
    } else {
        const sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, reply.no);
        if (!saga && may_be_late(shard, &reply)) {
            sb_code_t code = add_late(o, shard, message, &reply, err);
            if (code != SB_OK)
                return code;
        } else if (!saga || saga->stuck) {
            o->stats.ignored++; /* it was never ours, or cannot be driven */
        } else if (sb_reply_match(&reply, saga, &why) != SB_OK) {
            ignore(o, message, &why);
        } else {
            sb_code_t code = add_reply(o, shard, message, &reply, err);
            if (code != SB_OK)
                return code;
        }
    }
    if (message->offset >= 0) /* not one over HTTP */
        shard->read_to = message->offset + 1;
    return SB_OK;
}

/* The brokers forgot what they had: everything that is out is sent again. Other brokers' replies are read
 * from their beginning, so an old offset must not be kept under the new brokers' id. */
static void resend_all(sb_orchestrator_t *o)
{
    const char *cluster = o->bus_operations->cluster(o->bus);
    for (int i = 0; i < o->shards_held; i++) {
        if (strcmp(o->shard[i]->cluster, cluster) != 0)
            o->shard[i]->read_to = 0;
        for (sb_open_saga_t *saga = o->shard[i]->sagas.oldest; saga; saga = saga->newer)
            if (!saga->stuck)
                sb_resend_add(&o->resend, saga);
    }
    sb_log(SB_LOG_WARN, "SAGA-RESEND", "the brokers lost what was sent, open commands go out again|sagas=%zu",
           o->resend.count);
}

/* While the brokers are away nobody can answer, and when they come back the answers come first: no try ends
 * by such time. An error that passes at once (one broker of several, say) is no absence. */
static void note_bus(sb_orchestrator_t *o, bool connected)
{
    int64_t mono = sb_mono_us();
    if (!connected && o->stats.kafka_ok)
        o->bus_away_us = mono;
    if (connected && !o->stats.kafka_ok && mono - o->bus_away_us > ABSENCE_US)
        sb_orchestrator_freeze_timers(o, GRACE_US);
    o->stats.kafka_ok = connected;
}

sb_code_t sb_collect_replies(sb_orchestrator_t *o, sb_shard_t **failed, sb_error_t *failure)
{
    size_t waiting = items_waiting(o);
    if (waiting >= SB_TURN_ITEMS_MAX || !o->bus_started)
        return SB_OK;
    sb_error_t err = SB_ERROR_INIT;
    int count = 0;
    bool reset = false;
    sb_code_t code = o->bus_operations->poll(o->bus, (int)(SB_TURN_ITEMS_MAX - waiting), on_reply, o, &count,
                                             &reset, &err);
    note_bus(o, code == SB_OK && o->bus_operations->connected(o->bus));
    if (code != SB_OK)
        sb_log_error(SB_LOG_WARN, "SAGA-REPLIES", &err, "replies cannot be read now");
    if (reset)
        resend_all(o);
    for (int i = 0; i < o->shards_held; i++) {
        sb_error_t why = SB_ERROR_INIT;
        code = read_late(o, o->shard[i], &why);
        if (code != SB_OK && why.retryable) { /* they are read again, by who has the shard then */
            *failed = o->shard[i];
            *failure = why;
            return code;
        }
        if (code != SB_OK)
            sb_log_error(SB_LOG_WARN, "SAGA-LATE", &why, "late replies were not looked at|shard=%d",
                         o->shard[i]->number);
    }
    return SB_OK;
}

/* ---- timers ---- */

void sb_collect_timers(sb_orchestrator_t *o)
{
    int64_t now = sb_orchestrator_now(o);
    if (!o->stats.kafka_ok || sb_mono_us() < o->timers_frozen_us)
        return;
    for (sb_open_saga_t *saga; (saga = sb_timers_first(&o->timers)) && saga->wake_us <= now;) {
        sb_shard_t *shard = sb_shard_find(o, sb_saga_shard(saga->no));
        sb_item_t *item = items_waiting(o) < SB_TURN_ITEMS_MAX ? sb_item_list_add(&shard->items) : NULL;
        if (!item)
            return;
        sb_timers_set(&o->timers, saga, 0);
        item->kind = SB_ITEM_TIMER;
        item->no = saga->no;
        item->input.kind = SB_SAGA_IN_TIMER;
    }
}

/* ---- verbs from the table ---- */

static void read_body(sb_orchestrator_t *o, sb_slice_t body, sb_item_t *item)
{
    sb_scan_value_t value;
    sb_buf_t scratch = SB_BUF_INIT;
    if (sb_scan_field(body, "step", &value) && value.kind == SB_SCAN_STRING)
        item->step_name = sb_arena_copy(&o->turn, sb_scan_string(&value, &scratch));
    if (sb_scan_field(body, "result", &value) && value.kind != SB_SCAN_NULL)
        item->input.result = sb_arena_copy(&o->turn, value.text);
    if (sb_scan_field(body, "input", &value) && value.kind != SB_SCAN_NULL)
        item->input.input = sb_arena_copy(&o->turn, value.text);
    item->input.pause = sb_scan_field(body, "pause", &value) && value.kind == SB_SCAN_TRUE;
    int64_t version = 0;
    if (sb_scan_field(body, "version", &value) && sb_scan_int64(&value, &version) && version >= 0 &&
        version <= INT_MAX)
        item->version = (int)version;
    sb_buf_fini(&scratch);
}

#define COMMANDS_A_LOOK 200 /* a look shares its turn with replies and starts */

sb_code_t sb_collect_commands(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    if (shard->items.count > 0) /* of a turn that was cut short: these verbs may be among them */
        return SB_OK;
    sb_pg_add_int2(&params, (int16_t)shard->number);
    sb_pg_add_int8(&params, COMMANDS_A_LOOK);
    sb_code_t code = sb_pg_query(o->pg, sb_sql_saga_command_open, &params, &rows, err);
    shard->more_commands = code == SB_OK && sb_pg_rows(rows) == COMMANDS_A_LOOK;
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++) {
        sb_item_t *item = sb_item_list_add(&shard->items);
        if (!item)
            break;
        item->kind = SB_ITEM_VERB;
        item->command_no = sb_pg_get_int(rows, row, 0);
        item->no = sb_pg_get_int(rows, row, 1);
        item->unknown_verb = !sb_saga_verb_of(sb_pg_get_slice(rows, row, 2), &item->input.kind);
        read_body(o, sb_pg_get_slice(rows, row, 3), item);
        item->input.by = sb_arena_copy(&o->turn, sb_pg_get_slice(rows, row, 4));
        item->input.reason = sb_arena_copy(&o->turn, sb_pg_get_slice(rows, row, 5));
    }
    sb_pg_result_free(rows);
    for (size_t i = 0; code == SB_OK && i < shard->items.count; i++) {
        const sb_item_t *item = &shard->items.item[i];
        if (item->input.kind == SB_SAGA_IN_UNDO && !sb_open_sagas_find(&o->sagas, item->no))
            code = sb_recover_ended(o, shard, item->no, err);
    }
    return code;
}

/* ---- watches ---- */

#define WATCHES_A_ROUND 1000

static void fire(sb_orchestrator_t *o, const sb_uuid_t *id, sb_code_t code, sb_saga_status_t status)
{
    sb_error_t err = SB_ERROR_INIT;
    if (code != SB_OK)
        (void)sb_fail(&err, code, "no such saga");
    sb_saga_answer_t answer = {.code = code, .err = &err, .id = *id, .status = status};
    sb_watches_fire(o->watches, &answer);
}

/* rows are in the order of the numbers asked for, those that are not there left out. */
static void answer_watches(sb_orchestrator_t *o, const sb_uuid_t *ids, const int64_t *numbers, size_t count,
                           const sb_pg_result_t *rows)
{
    int row = 0;
    for (size_t i = 0; i < count; i++) {
        if (row >= sb_pg_rows(rows) || sb_pg_get_int(rows, row, 0) != numbers[i]) {
            fire(o, &ids[i], SB_NOT_FOUND, SB_SAGA_NONE);
            continue;
        }
        sb_uuid_t id = sb_pg_get_uuid(rows, row, 1);
        if (!sb_uuid_equal(&id, &ids[i]))
            fire(o, &ids[i], SB_NOT_FOUND, SB_SAGA_NONE);
        else if (sb_pg_get_bool(rows, row, 3))
            fire(o, &ids[i], SB_OK, (sb_saga_status_t)sb_pg_get_int(rows, row, 2));
        row++;
    }
}

sb_code_t sb_collect_watches(sb_orchestrator_t *o, sb_error_t *err)
{
    size_t count = 0;
    if (sb_watches_count(o->watches) == 0)
        return SB_OK;
    sb_uuid_t *ids = sb_arena_alloc(&o->turn, WATCHES_A_ROUND * sizeof *ids);
    int64_t *numbers = sb_arena_alloc(&o->turn, WATCHES_A_ROUND * sizeof *numbers);
    if (!ids || !numbers)
        return sb_fail(err, SB_NO_MEMORY, "look sagas up: out of memory");
    size_t listed = sb_watches_list(o->watches, ids, WATCHES_A_ROUND);
    sb_pg_array_t array;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_init(&array, SB_PG_INT8);
    for (size_t i = 0; i < listed; i++) {
        int64_t no;
        if (!sb_saga_number_of(&ids[i], &no) || sb_open_sagas_find(&o->sagas, no))
            continue;
        ids[count] = ids[i];
        numbers[count++] = no;
        sb_pg_array_add_int8(&array, no);
    }
    sb_pg_add_array(&params, &array);
    sb_code_t code = count > 0 ? sb_pg_query(o->pg, sb_sql_saga_status, &params, &rows, err) : SB_OK;
    if (code == SB_OK && count > 0)
        answer_watches(o, ids, numbers, count, rows);
    sb_pg_result_free(rows);
    sb_pg_array_fini(&array);
    return code;
}
