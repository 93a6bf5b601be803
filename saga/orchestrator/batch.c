/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/batch.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/scan.h"
#include "saga/orchestrator/columns.h"
#include "saga/orchestrator/decide.h"
#include "saga/orchestrator/order.h"
#include "saga/orchestrator/recover.h"
#include "saga_sql.h"

#include <stdlib.h>

/* A trouble of the database that passes (a deadlock, a time-out) is met by running again this often. */
#define TRIES_MAX 3

/* ---- items ---- */

sb_item_t *sb_item_list_add(sb_item_list_t *list)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 64;
        sb_item_t *item = realloc(list->item, cap * sizeof *item);
        if (!item)
            return NULL;
        list->item = item;
        list->cap = cap;
    }
    sb_item_t *item = &list->item[list->count++];
    *item = (sb_item_t){.offset = -1, .input = {.step = -1}};
    return item;
}

void sb_item_list_fini(sb_item_list_t *list)
{
    free(list->item);
    *list = (sb_item_list_t){.item = NULL};
}

sb_code_t sb_batch_init(sb_batch_t *batch, sb_error_t *err)
{
    *batch = (sb_batch_t){.arena = SB_ARENA_INIT, .scratch = SB_BUF_INIT};
    return sb_columns_new(&batch->columns, err);
}

void sb_batch_fini(sb_batch_t *batch)
{
    sb_columns_free(&batch->columns);
    sb_arena_fini(&batch->arena);
    sb_buf_fini(&batch->scratch);
}

/* ---- a run: begin, decide, commit, settle ---- */

typedef struct run {
    sb_shard_t *shard;
    size_t first;
    size_t count;
    bool last; /* the run that ends the shard's turn: the reply offset moves past what was ignored too */
} run_t;

static void begin(sb_orchestrator_t *o, const sb_shard_t *shard)
{
    sb_batch_t *batch = &o->batch;
    sb_arena_reset(&batch->arena);
    sb_columns_reset(batch->columns);
    batch->touch = batch->last_touch = NULL;
    batch->fresh_count = 0;
    batch->anomalies = batch->retries = 0;
    batch->next = shard->next;
    batch->now_us = sb_orchestrator_now(o);
}

/* Forgets what was decided; the items stay. */
static void discard(sb_orchestrator_t *o)
{
    for (sb_touch_t *touch = o->batch.touch, *next; touch; touch = next) {
        next = touch->next;
        touch->saga->touch = NULL;
        if (touch->old_plan)
            touch->saga->plan = touch->old_plan;
        if (touch->fresh)
            sb_open_saga_free(touch->saga);
    }
    o->batch.touch = o->batch.last_touch = NULL;
}

/* What the record says came of a verb; why: NULL or text. Text that cannot be stored must not keep it open.
 */
static void close_command(sb_orchestrator_t *o, const sb_item_t *item, sb_code_t code, const char *why)
{
    if (item->command_no == 0)
        return;
    char outcome[600];
    (void)snprintf(outcome, sizeof outcome, "%s%s%s", sb_code_name(code), why ? ": " : "", why ? why : "");
    sb_columns_add_close(o->batch.columns, item->command_no,
                         sb_utf8_ok(sb_slice(outcome)) ? outcome : sb_code_name(code));
}

static sb_code_t decide_all(sb_orchestrator_t *o, const run_t *run, sb_error_t *err)
{
    for (size_t i = run->first; i < run->first + run->count; i++) {
        sb_item_t *item = &run->shard->items.item[i];
        sb_code_t code = sb_decide(o, run->shard, item, err);
        if (code != SB_OK)
            return code;
        close_command(o, item, item->code, item->refusal);
    }
    sb_decide_rows(o);
    /* What the commit makes true must find room in memory afterwards. */
    size_t count = o->batch.fresh_count;
    if (!sb_open_sagas_reserve(&o->sagas, count) || !sb_timers_reserve(&o->timers, o->sagas.count + count))
        return sb_fail(err, SB_NO_MEMORY, "decide about sagas: out of memory");
    return SB_OK;
}

/* How far the replies are decided when this run commits. */
static int64_t cursor_after(const run_t *run)
{
    if (run->last)
        return run->shard->read_to;
    int64_t cursor = run->shard->cursor;
    for (size_t i = run->first; i < run->first + run->count; i++)
        if (run->shard->items.item[i].offset >= 0)
            cursor = run->shard->items.item[i].offset + 1;
    return cursor;
}

/* The brokers that the cursor belongs to. */
static const char *cluster_now(const sb_orchestrator_t *o, const sb_shard_t *shard)
{
    const char *cluster = o->bus_started ? o->bus_operations->cluster(o->bus) : "";
    return cluster[0] ? cluster : shard->cluster;
}

/* The rest of the lease row, when it is not what it should be; NULL: it is. */
static sb_code_t new_detail(sb_orchestrator_t *o, const sb_shard_t *shard, const char **out, sb_error_t *err)
{
    sb_buf_t *detail = &o->batch.scratch;
    *out = NULL;
    if (!shard->slow_changed && strcmp(cluster_now(o, shard), shard->cluster) == 0)
        return SB_OK;
    sb_buf_reset(detail);
    sb_shard_write_detail(shard, cluster_now(o, shard), detail);
    if (sb_buf_failed(detail))
        return sb_fail(err, SB_NO_MEMORY, "commit sagas: out of memory");
    *out = sb_buf_text(detail);
    return SB_OK;
}

/* While PostgreSQL works at the commit: of the commands that wait for it, what does not depend on it. */
static void make_heads(void *context)
{
    sb_orchestrator_t *o = context;
    for (sb_touch_t *touch = o->batch.touch; touch; touch = touch->next)
        for (sb_touch_order_t *out = touch->order; out; out = out->next)
            out->head = sb_order_head(o, touch->saga, &out->order, &o->batch.arena);
}

/* The commit is answered: its events are on disk. */
static void tell_sequencer(const sb_orchestrator_t *o, uint64_t era, const sb_columns_written_t *written)
{
    sb_append_result_t result = {
        .outcome = SB_APPENDED, .first_seq = written->first_seq, .last_seq = written->last_seq};
    if (written->events == 0)
        return;
    if (written->packed.ptr)
        sb_progress_keep(o->progress, era, &result, written->events, written->packed);
    sb_progress_appended(o->progress, era, &result, written->events);
}

static sb_code_t commit(sb_orchestrator_t *o, const run_t *run, sb_pg_result_t **inserted, sb_error_t *err)
{
    sb_shard_t *shard = run->shard;
    int64_t cursor = cursor_after(run);
    int64_t low = sb_shard_low(shard);
    int64_t next = o->batch.next;
    const char *detail = NULL;
    sb_code_t code = new_detail(o, shard, &detail, err);
    if (code != SB_OK)
        return code;
    sb_lease_move_t move = {.cursor = cursor == shard->cursor ? NULL : &cursor,
                            .low = low == shard->low ? NULL : &low,
                            .next = next == shard->next ? NULL : &next,
                            .detail = sb_slice(detail)};
    const char *cluster = cluster_now(o, shard);
    int64_t before_us = sb_mono_us();
    uint64_t era = sb_progress_era(o->progress);
    sb_columns_written_t written;
    code = sb_columns_run(o->batch.columns, o->pg, &shard->lease, &move, make_heads, o, &written, err);
    if (code != SB_OK)
        return code;
    tell_sequencer(o, era, &written);
    *inserted = written.inserted;
    sb_orchestrator_set_clock(o, written.pg_us, sb_mono_us());
    shard->guard_us = before_us;
    shard->cursor = cursor;
    shard->low = low;
    shard->next = next;
    if (detail) {
        (void)snprintf(shard->cluster, sizeof shard->cluster, "%.*s", SB_CLUSTER_MAX - 1, cluster);
        shard->slow_changed = false;
    }
    o->stats.batches += run->count > 0;
    o->stats.batch_items += (int64_t)run->count;
    o->stats.anomalies += o->batch.anomalies;
    o->stats.retries += o->batch.retries;
    return SB_OK;
}

/* ---- after the commit ---- */

/* Marks the fresh sagas whose key was there already. */
static void find_lost(sb_orchestrator_t *o, const sb_pg_result_t *inserted)
{
    if (!inserted || (size_t)sb_pg_rows(inserted) == o->batch.fresh_count)
        return;
    for (sb_touch_t *touch = o->batch.touch; touch; touch = touch->next)
        touch->lost = touch->fresh;
    int row = 0; /* rows come in the order the sagas went in */
    for (sb_touch_t *touch = o->batch.touch; touch && row < sb_pg_rows(inserted); touch = touch->next) {
        if (touch->fresh && touch->saga->no == sb_pg_get_int(inserted, row, 0)) {
            touch->lost = false;
            row++;
        }
    }
}

/* A later decision of the same run may have made an order void. */
static bool is_current(const sb_saga_state_t *state, const sb_saga_order_t *order)
{
    const sb_step_state_t *step = &state->step[order->step];
    sb_step_status_t status = order->direction == SB_FORWARD ? SB_STEP_DISPATCHED : SB_STEP_COMPENSATING;
    return step->status == status && step->round == order->round && step->attempt == order->attempt;
}

static void send_orders(sb_orchestrator_t *o, const sb_shard_t *shard, sb_touch_t *touch)
{
    for (const sb_touch_order_t *out = touch->order; out; out = out->next) {
        if (!is_current(&touch->state, &out->order))
            continue;
        if (!sb_shard_is_fresh(o, shard) ||
            sb_order_send(o, touch->saga, &out->order, out->head, out->body, NULL) != SB_OK) {
            sb_resend_add(&o->resend, touch->saga);
            return;
        }
    }
}

static void tell_watchers(sb_orchestrator_t *o, const sb_touch_t *touch)
{
    sb_error_t none = SB_ERROR_INIT;
    sb_saga_answer_t answer = {
        .code = SB_OK, .err = &none, .id = touch->saga->id, .status = touch->state.status};
    sb_watches_fire(o->watches, &answer);
}

static void count_end(sb_orchestrator_t *o, sb_saga_status_t status)
{
    o->stats.completed += status == SB_SAGA_COMPLETED;
    o->stats.compensated += status == SB_SAGA_COMPENSATED;
}

/* Moves the saga in memory to what is committed now. False: no memory; what is in memory cannot be counted on
 * any more. */
static bool move(sb_touch_t *touch)
{
    sb_open_saga_t *saga = touch->saga;
    bool fits = true;
    if (touch->old_plan && !sb_open_saga_set_plan(saga, saga->plan)) {
        saga->plan = touch->old_plan;
        return false;
    }
    sb_open_saga_set_state(saga, &touch->state);
    saga->row_doubtful = false;
    for (int i = 0; i < saga->plan->definition->step_count; i++)
        if (touch->result_changed & 1u << i)
            fits = sb_open_saga_set_result(saga, i, touch->result[i]) && fits;
    for (int i = 0; touch->given && i < saga->plan->definition->step_count; i++)
        for (int direction = 0; direction < 2; direction++)
            if (touch->given->input[i][direction].ptr)
                fits = sb_open_saga_set_given(saga, i, (sb_direction_t)direction,
                                              touch->given->input[i][direction]) &&
                       fits;
    if (touch->given && touch->given->next.ptr)
        fits = sb_open_saga_set_given_next(saga, touch->given->next) && fits;
    if (touch->error.ptr && touch->error.ptr != saga->error)
        fits = sb_open_saga_set_error(saga, touch->error) && fits;
    return fits;
}

static bool settle_touch(sb_orchestrator_t *o, sb_shard_t *shard, sb_touch_t *touch)
{
    sb_open_saga_t *saga = touch->saga;
    saga->touch = NULL;
    if (touch->fresh && !touch->lost) {
        o->stats.started++;
        sb_orchestrator_add_saga(o, shard, saga);
    }
    if (touch->lost) {
        touch->saga = NULL;
        sb_open_saga_free(saga);
        return true;
    }
    sb_saga_state_t before;
    sb_open_saga_get_state(saga, &before);
    o->stats.attention += touch->state.attention - before.attention;
    if (sb_saga_is_over(&touch->state)) {
        o->stats.attention -= touch->state.attention;
        if (!sb_saga_is_over(&before)) /* else it was brought back to be undone, and refused it */
            count_end(o, touch->state.status);
        tell_watchers(o, touch);
        sb_children_ended(o, saga);
        sb_orchestrator_remove_saga(o, shard, saga);
        sb_open_saga_free(saga);
        touch->saga = NULL;
        return true;
    }
    bool fits = move(touch);
    sb_timers_set(&o->timers, saga, touch->wake_us);
    send_orders(o, shard, touch);
    if (saga->child && touch->state.status != before.status)
        sb_children_turned(o, saga);
    return fits;
}

static void finish(sb_orchestrator_t *o, sb_item_t *item, const sb_saga_answer_t *answer)
{
    item->done = true;
    if (!item->call)
        return;
    if (item->call->kind == SB_CALL_START)
        o->waiting_starts--;
    sb_call_answer(item->call, answer);
    item->call = NULL;
}

static void finish_failed(sb_orchestrator_t *o, sb_item_t *item, sb_code_t code, const sb_error_t *err)
{
    sb_uuid_t nil = SB_UUID_NIL;
    sb_saga_answer_t answer = {.code = code, .err = err, .id = item->call ? item->call->id : nil};
    finish(o, item, &answer);
}

static void answer_item(sb_orchestrator_t *o, sb_item_t *item)
{
    sb_error_t err = SB_ERROR_INIT;
    if (item->code != SB_OK) {
        (void)sb_fail(&err, item->code, "%s", item->refusal ? item->refusal : sb_code_text(item->code));
        finish_failed(o, item, item->code, &err);
        return;
    }
    sb_saga_answer_t answer = {.code = SB_OK, .err = &err};
    if (item->touch) {
        answer.id = item->touch->id;
        answer.status = item->touch->state.status;
    }
    finish(o, item, &answer);
}

/* ---- starts whose key was there already ---- */

/* The canonical text of some JSON; empty: it cannot be read. */
static void canonical(sb_slice_t text, sb_buf_t *out)
{
    json_t *value = NULL;
    sb_buf_reset(out);
    if (sb_json_parse(&value, text, "the input", NULL) == SB_OK)
        sb_json_dump(value, out);
    json_decref(value);
}

/* Whether a start asks for what the saga of its key was started with: the same bytes, which a hash says, or
 * other bytes of the same value (spaces, the order of members). */
static bool same_request(const sb_call_t *call, const sb_pg_result_t *found, int row)
{
    sb_slice_t hash = sb_pg_get_slice(found, row, 4);
    if (hash.len == SB_HASH_BYTES && memcmp(hash.ptr, call->request_hash.byte, SB_HASH_BYTES) == 0)
        return true;
    sb_buf_t asked = SB_BUF_INIT, first = SB_BUF_INIT;
    canonical(call->start.input, &asked);
    canonical(sb_pg_get_slice(found, row, 5), &first);
    bool same = asked.len > 0 && sb_slice_equal(sb_buf_slice(&asked), sb_buf_slice(&first));
    sb_buf_fini(&asked);
    sb_buf_fini(&first);
    return same;
}

static void answer_repeated(sb_orchestrator_t *o, sb_item_t *item, const sb_pg_result_t *found, int row)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_saga_answer_t answer = {.code = SB_OK,
                               .err = &err,
                               .id = sb_pg_get_uuid(found, row, 2),
                               .status = (sb_saga_status_t)sb_pg_get_int(found, row, 3),
                               .repeated = !sb_call_tried(item->call, sb_pg_get_int(found, row, 1))};
    if (!same_request(item->call, found, row))
        answer.code =
            sb_fail(&err, SB_MISMATCH, "a saga of type %.*s with key %.*s was started with another input",
                    SB_SLICE_ARG(item->call->start.type), SB_SLICE_ARG(item->call->start.key));
    finish(o, item, &answer);
}

/* Answers them with the first saga. The connection may break here: then they are left undone, and asked for
 * again as starts. */
static sb_code_t answer_lost(sb_orchestrator_t *o, const run_t *run, sb_error_t *err)
{
    sb_pg_array_t types, keys;
    sb_pg_array_init(&types, SB_PG_TEXT);
    sb_pg_array_init(&keys, SB_PG_TEXT);
    sb_item_t **asked = sb_arena_alloc(&o->batch.arena, run->count * sizeof(sb_item_t *));
    int count = 0;
    for (size_t i = run->first; asked && i < run->first + run->count; i++) {
        sb_item_t *item = &run->shard->items.item[i];
        if (item->done || item->kind != SB_ITEM_START)
            continue;
        sb_pg_array_add_slice(&types, item->call->start.type);
        sb_pg_array_add_slice(&keys, item->call->start.key.ptr ? item->call->start.key
                                                               : sb_slice(item->call->own_key));
        asked[count++] = item;
    }
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_array(&params, &types);
    sb_pg_add_array(&params, &keys);
    sb_pg_result_t *found = NULL;
    sb_code_t code = asked ? SB_OK : sb_fail(err, SB_NO_MEMORY, "look sagas up: out of memory");
    if (code == SB_OK && count > 0)
        code = sb_pg_query(o->pg, sb_sql_saga_started, &params, &found, err);
    for (int row = 0; code == SB_OK && found && row < sb_pg_rows(found); row++)
        answer_repeated(o, asked[sb_pg_get_int(found, row, 0) - 1], found, row);
    sb_pg_result_free(found);
    sb_pg_array_fini(&types);
    sb_pg_array_fini(&keys);
    return code;
}

static sb_code_t settle(sb_orchestrator_t *o, const run_t *run, const sb_pg_result_t *inserted,
                        sb_error_t *err)
{
    bool fits = true;
    bool some_lost = false;
    find_lost(o, inserted);
    for (sb_touch_t *touch = o->batch.touch; touch; touch = touch->next)
        fits = settle_touch(o, run->shard, touch) && fits;
    o->batch.touch = o->batch.last_touch = NULL;
    o->bus_operations->serve(o->bus);
    for (size_t i = run->first; i < run->first + run->count; i++) {
        sb_item_t *item = &run->shard->items.item[i];
        if (item->kind == SB_ITEM_START && item->touch->lost)
            some_lost = true;
        else
            answer_item(o, item);
    }
    sb_code_t code = some_lost ? answer_lost(o, run, err) : SB_OK;
    return code == SB_OK && !fits ? sb_fail(err, SB_NO_MEMORY, "keep sagas in memory: out of memory") : code;
}

/* ---- failures ---- */

/* The rows may be there all the same: whoever asks again must know its own. */
static void mark_tried(const run_t *run)
{
    for (size_t i = run->first; i < run->first + run->count; i++) {
        sb_item_t *item = &run->shard->items.item[i];
        if (item->kind != SB_ITEM_START || item->done || !item->touch)
            continue;
        sb_call_t *call = item->call;
        call->tried[call->tried_count % SB_CALL_TRIES_MAX] = item->no;
        if (call->tried_count < SB_CALL_TRIES_MAX)
            call->tried_count++;
        if (!call->start.key.ptr)
            (void)snprintf(call->own_key, sizeof call->own_key, "%.*s", SB_SLICE_ARG(item->touch->saga->key));
    }
}

static bool passes(sb_code_t code)
{
    return code == SB_BUSY || code == SB_TIMEOUT || code == SB_UNAVAILABLE || code == SB_NO_MEMORY;
}

/* A verb of the record that the database refuses is closed with what it said: it would be read again every
 * second for ever, and nobody would learn why nothing comes of it. Not SB_OK: it is still open. */
static sb_code_t close_refused(sb_orchestrator_t *o, const run_t *run, const sb_error_t *why, sb_error_t *err)
{
    char text[560];
    sb_pg_result_t *inserted = NULL;
    (void)snprintf(text, sizeof text, "the database refused it: %s", why->message);
    begin(o, run->shard);
    close_command(o, &run->shard->items.item[run->first], why->code, text);
    sb_code_t code = commit(o, run, &inserted, err);
    sb_pg_result_free(inserted);
    return code;
}

/* The database refuses what this item wants to write. A reply is passed over (its command is sent again when
 * its time is over), a timer comes back later. */
static sb_code_t refuse_item(sb_orchestrator_t *o, const run_t *run, const sb_error_t *why, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    sb_item_t *item = &run->shard->items.item[run->first];
    sb_log_error(SB_LOG_ERROR, "SAGA-REFUSED", why, "the database refused a decision|saga_no=%lld kind=%d",
                 (long long)item->no, (int)item->kind);
    if (item->kind == SB_ITEM_TIMER) {
        sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, item->no);
        if (saga)
            sb_timers_set(&o->timers, saga, sb_orchestrator_now(o) + 30 * 1000000LL);
    }
    if (item->input.kind == SB_SAGA_IN_UNDO)
        sb_recover_forget_ended(o, run->shard, item->no);
    if (item->command_no)
        code = close_refused(o, run, why, err);
    if (code == SB_OK)
        finish_failed(o, item, why->code, why);
    return code;
}

static sb_code_t run_once(sb_orchestrator_t *o, const run_t *run, sb_error_t *err)
{
    sb_pg_result_t *inserted = NULL;
    begin(o, run->shard);
    sb_code_t code = decide_all(o, run, err);
    if (code == SB_OK)
        code = commit(o, run, &inserted, err);
    if (code == SB_OK) {
        code = settle(o, run, inserted, err);
        sb_pg_result_free(inserted);
        return code == SB_OK ? SB_OK : sb_context(err, SB_UNKNOWN_OUTCOME, "after a commit");
    }
    if (!sb_pg_is_open(o->pg)) {
        mark_tried(run);
        code = SB_UNKNOWN_OUTCOME;
    }
    discard(o);
    return code;
}

static bool is_final(sb_code_t code)
{
    return code == SB_OK || code == SB_FENCED || code == SB_UNKNOWN_OUTCOME;
}

/* An operator's verb is asked for once: it is tried again whatever the trouble is, before it is closed. */
static bool tries_again(const run_t *run, sb_code_t code)
{
    bool verb = run->count == 1 && run->shard->items.item[run->first].command_no != 0;
    return passes(code) || (verb && !is_final(code));
}

/* What an earlier half ended has left memory. The answers to it are judged all the same, as in one run. */
static sb_code_t read_ended(sb_orchestrator_t *o, const run_t *run, sb_error_t *err)
{
    size_t count = 0;
    sb_arena_reset(&o->batch.arena);
    int64_t *numbers = sb_arena_alloc(&o->batch.arena, run->count * sizeof *numbers);
    if (!numbers)
        return sb_fail(err, SB_NO_MEMORY, "split a batch: out of memory");
    for (size_t i = run->first; i < run->first + run->count; i++)
        if (run->shard->items.item[i].kind == SB_ITEM_REPLY)
            numbers[count++] = run->shard->items.item[i].no;
    return sb_recover_over(o, run->shard, numbers, count, err);
}

/* Those that nothing was decided about. */
static void forget_ended(sb_orchestrator_t *o, const run_t *run)
{
    for (size_t i = run->first; i < run->first + run->count; i++)
        if (run->shard->items.item[i].kind == SB_ITEM_REPLY)
            sb_recover_forget_ended(o, run->shard, run->shard->items.item[i].no);
}

static sb_code_t run_range(sb_orchestrator_t *o, const run_t *run, sb_error_t *err)
{
    sb_code_t code = run_once(o, run, err);
    for (int tries = 1; tries_again(run, code) && tries < TRIES_MAX; tries++) {
        sb_error_clear(err);
        sb_sleep_ms(5 << tries);
        code = run_once(o, run, err);
    }
    if (is_final(code) || passes(code))
        return code;
    if (run->count <= 1) {
        sb_error_t why = *err;
        return run->count == 1 ? refuse_item(o, run, &why, err) : code;
    }
    sb_error_clear(err);
    run_t half = {.shard = run->shard, .first = run->first, .count = run->count / 2, .last = false};
    code = run_range(o, &half, err);
    if (code != SB_OK)
        return code;
    half = (run_t){run->shard, run->first + half.count, run->count - half.count, run->last};
    code = read_ended(o, &half, err);
    if (code == SB_OK)
        code = run_range(o, &half, err);
    if (code == SB_OK)
        forget_ended(o, &half);
    return code;
}

sb_code_t sb_batch_run(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    run_t run = {.shard = shard, .first = 0, .count = shard->items.count, .last = true};
    sb_code_t code = run_range(o, &run, err);
    if (code == SB_OK)
        shard->items.count = 0;
    return code;
}
