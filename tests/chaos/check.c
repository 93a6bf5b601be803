/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/check.h"

#include "saga/machine.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct check {
    chaos_record_t *record;
    chaos_findings_t *out;
} check_t;

static void found(const check_t *check, chaos_breach_t breach, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void found(const check_t *check, chaos_breach_t breach, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (check->out->count[breach]++ == 0)
        // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is two lines above
        (void)vsnprintf(check->out->first[breach], sizeof check->out->first[breach], format, args);
    check->out->total++;
    va_end(args);
}

/* ---- lists in order ---- */

static int by_key(const void *a, const void *b)
{
    return strcmp(((const chaos_saga_t *)a)->key, ((const chaos_saga_t *)b)->key);
}

static int by_key_and_time(const void *a, const void *b)
{
    const chaos_call_t *x = a, *y = b;
    int order = strcmp(x->key, y->key);
    return order ? order : (x->at_ms > y->at_ms) - (x->at_ms < y->at_ms);
}

static int by_number(const void *a, const void *b)
{
    const chaos_event_t *x = a, *y = b;
    return x->no != y->no ? (x->no > y->no) - (x->no < y->no) : x->version - y->version;
}

static int by_saga_and_time(const void *a, const void *b)
{
    const chaos_effect_t *x = a, *y = b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x->at_us > y->at_us) - (x->at_us < y->at_us);
}

static const chaos_saga_t *saga_of_key(const check_t *check, const char *key)
{
    chaos_saga_t wanted = {.no = 0};
    (void)snprintf(wanted.key, sizeof wanted.key, "%s", key);
    if (check->record->sagas == 0)
        return NULL;
    return bsearch(&wanted, check->record->saga, check->record->sagas, sizeof wanted, by_key);
}

/* The part of a sorted list that is of one saga. */
typedef struct range {
    size_t from, end;
} range_t;

static range_t events_of(const check_t *check, int64_t no)
{
    const chaos_event_t *event = check->record->event;
    size_t low = 0, high = check->record->events;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (event[middle].no < no)
            low = middle + 1;
        else
            high = middle;
    }
    range_t range = {low, low};
    while (range.end < check->record->events && event[range.end].no == no)
        range.end++;
    return range;
}

static range_t effects_of(const check_t *check, const char *id)
{
    const chaos_effect_t *effect = check->record->effect;
    size_t low = 0, high = check->record->effects;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(effect[middle].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    range_t range = {low, low};
    while (range.end < check->record->effects && strcmp(effect[range.end].id, id) == 0)
        range.end++;
    return range;
}

/* ---- what clients were told: I2, I3, I12, I13 ---- */

static bool is_end(const char *status)
{
    return strcmp(status, "completed") == 0 || strcmp(status, "compensated") == 0 ||
           strcmp(status, "failed") == 0;
}

/* The calls of one key. */
static void check_key(const check_t *check, size_t from, size_t end)
{
    const chaos_call_t *call = &check->record->call[from], *accepted = NULL, *ended = NULL;
    const chaos_saga_t *saga = saga_of_key(check, call->key);
    for (size_t i = from; i < end; i++, call++) {
        if (call->op == CHAOS_START && call->verdict == CHAOS_OK) {
            if (accepted && strcmp(accepted->id, call->id) != 0)
                found(check, CHAOS_KEY, "%s was answered as %s and as %s", call->key, accepted->id, call->id);
            accepted = accepted ? accepted : call;
        }
        if (call->op == CHAOS_START && call->verdict == CHAOS_REFUSED)
            found(check, CHAOS_KEY, "the start of %s was refused with %d", call->key, call->http);
        if (call->op == CHAOS_OTHER_INPUT && call->verdict == CHAOS_OK)
            found(check, CHAOS_KEY, "another input under %s was answered with %d", call->key, call->http);
        check->out->refused_other += call->op == CHAOS_OTHER_INPUT && call->verdict == CHAOS_REFUSED;
        check->out->cancelled_calls += call->op == CHAOS_CANCEL && call->verdict == CHAOS_OK;
        if (call->verdict != CHAOS_OK || !is_end(call->status))
            continue;
        if (ended && strcmp(ended->status, call->status) != 0)
            found(check, CHAOS_END, "%s was seen %s and then %s", call->key, ended->status, call->status);
        ended = ended ? ended : call;
    }
    if (accepted && !saga)
        found(check, CHAOS_LOST, "%s was accepted as %s and is not there", accepted->key, accepted->id);
    else if (accepted && strcmp(accepted->id, saga->id) != 0)
        found(check, CHAOS_LOST, "%s was accepted as %s and is there as %s", accepted->key, accepted->id,
              saga->id);
    if (ended && saga && strcmp(ended->status, sb_saga_status_name((sb_saga_status_t)saga->status)) != 0)
        found(check, CHAOS_END, "%s was seen %s and is %s", ended->key, ended->status,
              sb_saga_status_name((sb_saga_status_t)saga->status));
}

static void check_calls(const check_t *check)
{
    const chaos_record_t *record = check->record;
    for (size_t from = 0, end; from < record->calls; from = end) {
        for (end = from + 1; end < record->calls && !strcmp(record->call[end].key, record->call[from].key);)
            end++;
        check_key(check, from, end);
    }
}

static bool was_asked_for(const check_t *check, const char *key)
{
    size_t low = 0, high = check->record->calls;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (strcmp(check->record->call[middle].key, key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < check->record->calls && strcmp(check->record->call[low].key, key) == 0; low++)
        if (check->record->call[low].op == CHAOS_START)
            return true;
    return false;
}

/* ---- one saga ---- */

typedef struct tally {
    int forward, undone;
    int64_t forward_us, undone_us; /* when each was last done */
} tally_t;

static bool count_effects(const check_t *check, const chaos_saga_t *saga, const chaos_type_t *type,
                          tally_t tally[CHAOS_STEPS])
{
    range_t range = effects_of(check, saga->id);
    memset(tally, 0, CHAOS_STEPS * sizeof *tally);
    for (size_t i = range.from; i < range.end; i++) {
        const chaos_effect_t *effect = &check->record->effect[i];
        int step = chaos_step_named(type, effect->step);
        if (step < 0) {
            found(check, CHAOS_PHANTOM, "%s has an effect of a step %s", saga->key, effect->step);
            return false;
        }
        tally_t *t = &tally[step];
        if (effect->compensate) {
            t->undone++;
            t->undone_us = effect->at_us;
        } else {
            t->forward++;
            t->forward_us = effect->at_us;
        }
    }
    return true;
}

static void check_whole(const check_t *check, const chaos_saga_t *saga, const chaos_type_t *type,
                        const tally_t *tally)
{
    for (int i = 0; i < type->step_count; i++) {
        const tally_t *t = &tally[i];
        const char *step = type->step[i].name;
        if (t->forward > 1 || t->undone > 1)
            found(check, CHAOS_TWICE, "%s, step %s: done %d times, undone %d times", saga->key, step,
                  t->forward, t->undone);
        if (t->undone > 0 && t->forward == 0)
            found(check, CHAOS_HANGING, "%s, step %s: undone and never done", saga->key, step);
        if (t->undone > 0 && t->forward > 0 && t->forward_us > t->undone_us)
            found(check, CHAOS_HANGING, "%s, step %s: done after it was undone", saga->key, step);
        int wanted = type->step[i].no_effect ? 0 : 1;
        if (saga->status == SB_SAGA_COMPLETED && (t->forward != wanted || t->undone != 0))
            found(check, CHAOS_HALF, "%s completed, step %s: done %d times, undone %d times", saga->key, step,
                  t->forward, t->undone);
        if (saga->status == SB_SAGA_COMPENSATED && t->forward != t->undone)
            found(check, CHAOS_HALF, "%s compensated, step %s: done %d times, undone %d times", saga->key,
                  step, t->forward, t->undone);
    }
}

static void check_pivot(const check_t *check, const chaos_saga_t *saga, const chaos_type_t *type,
                        const tally_t *tally)
{
    bool past = false, undone = false;
    for (int i = 0; i < type->step_count; i++) {
        past = past || (type->step[i].pivot && tally[i].forward > 0);
        undone = undone || tally[i].undone > 0;
    }
    if (past && (undone || saga->status == SB_SAGA_COMPENSATED || saga->status == SB_SAGA_COMPENSATING))
        found(check, CHAOS_PIVOT, "%s is past its pivot and %s", saga->key,
              undone ? "something was undone" : "turned back");
}

static void check_order(const check_t *check, const chaos_saga_t *saga, const chaos_type_t *type,
                        const tally_t *tally)
{
    for (int i = 0; i < type->step_count; i++)
        for (int j = i + 1; j < type->step_count; j++) {
            if (tally[i].undone == 0 || tally[j].undone == 0 || type->step[i].order == type->step[j].order)
                continue;
            if (tally[i].undone_us < tally[j].undone_us)
                found(check, CHAOS_ORDER, "%s: %s was undone before %s", saga->key, type->step[i].name,
                      type->step[j].name);
        }
    for (int i = 0; i < type->step_count; i++) /* forward too: a step waits for those before it */
        for (int j = i + 1; j < type->step_count; j++) {
            if (tally[i].forward == 0 || tally[j].forward == 0 || type->step[i].order == type->step[j].order)
                continue;
            if (tally[i].forward_us > tally[j].forward_us)
                found(check, CHAOS_ORDER, "%s: %s was done before %s", saga->key, type->step[j].name,
                      type->step[i].name);
        }
}

static int end_of(const char *type)
{
    return strcmp(type, "saga.completed") == 0     ? SB_SAGA_COMPLETED
           : strcmp(type, "saga.compensated") == 0 ? SB_SAGA_COMPENSATED
           : strcmp(type, "saga.failed") == 0      ? SB_SAGA_FAILED
                                                   : 0;
}

static void check_history(const check_t *check, const chaos_saga_t *saga)
{
    range_t range = events_of(check, saga->no);
    int end = 0;
    int64_t epoch = 0;
    for (size_t i = range.from; i < range.end; i++) {
        const chaos_event_t *event = &check->record->event[i];
        if (event->version != (int)(i - range.from) + 1)
            found(check, CHAOS_FENCE, "%s: event %zu has version %d", saga->key, i - range.from + 1,
                  event->version);
        if (event->epoch == 0)
            found(check, CHAOS_FENCE, "%s: no owner of its shard wrote event %d", saga->key, event->version);
        if (event->epoch < epoch)
            found(check, CHAOS_FENCE, "%s: event %d of epoch %lld after one of %lld", saga->key,
                  event->version, (long long)event->epoch, (long long)epoch);
        epoch = event->epoch > epoch ? event->epoch : epoch;
        int ends = end_of(event->type);
        if (saga->parent[0] && end == SB_SAGA_COMPLETED && strcmp(event->type, "saga.compensating") == 0)
            end = 0; /* undone by the one it is a step of */
        if (end && (ends || strcmp(event->type, "saga.anomaly") != 0))
            found(check, CHAOS_END, "%s: %s after its end", saga->key, event->type);
        end = ends ? ends : end;
    }
    if (range.from == range.end || strcmp(check->record->event[range.from].type, "saga.started") != 0)
        found(check, CHAOS_PHANTOM, "%s does not begin with saga.started", saga->key);
    if (end && end != saga->status)
        found(check, CHAOS_END, "%s: its events end %s, its row says %s", saga->key,
              sb_saga_status_name((sb_saga_status_t)end),
              sb_saga_status_name((sb_saga_status_t)saga->status));
    if (!end && check->record->settled)
        found(check, CHAOS_OPEN, "%s is %s%s when all is back", saga->key,
              sb_saga_status_name((sb_saga_status_t)saga->status), saga->attention ? " with attention" : "");
}

/* Its place among all events; 0: it has not ended. */
static int64_t last_end_of(const check_t *check, const chaos_saga_t *saga)
{
    int64_t seq = 0;
    range_t range = events_of(check, saga->no);
    for (size_t i = range.from; i < range.end; i++)
        if (end_of(check->record->event[i].type) && check->record->event[i].seq > seq)
            seq = check->record->event[i].seq;
    return seq;
}

/* A parent ends when it knows its child's end, and a completed child that is undone ends once more before it.
 */
static void check_before_parent(const check_t *check, const chaos_saga_t *saga, const chaos_saga_t *parent)
{
    int64_t own = last_end_of(check, saga), parents = last_end_of(check, parent);
    if (parents > 0 && (own == 0 || own > parents))
        found(check, CHAOS_CHILD, "%s ended, and its step %s %s", parent->key, saga->id,
              own == 0 ? "did not" : "ended after it");
}

/* A saga that is a step of another came to what that one came to. Its effects are looked at as that one's. */
static void check_child(const check_t *check, const chaos_saga_t *saga)
{
    const chaos_saga_t *parent = NULL;
    for (size_t i = 0; i < check->record->sagas; i++) {
        const chaos_saga_t *other = &check->record->saga[i];
        if (strcmp(other->id, saga->parent) == 0)
            parent = other;
        if (other != saga && strcmp(other->parent, saga->parent) == 0)
            found(check, CHAOS_CHILD, "step %s of saga %s was started as %s as well", saga->id, saga->parent,
                  other->id);
    }
    if (parent)
        check_before_parent(check, saga, parent);
    if (!parent)
        found(check, CHAOS_PHANTOM, "%s is a step of saga %s, which is not there", saga->id, saga->parent);
    else if (saga->status != parent->status)
        found(check, CHAOS_HALF, "%s is %s, and its step %s is %s", parent->key,
              sb_saga_status_name((sb_saga_status_t)parent->status), saga->id,
              sb_saga_status_name((sb_saga_status_t)saga->status));
    check_history(check, saga);
}

static void check_saga(const check_t *check, const chaos_saga_t *saga)
{
    if (saga->parent[0]) {
        check_child(check, saga);
        return;
    }
    const chaos_type_t *type = chaos_type_named(saga->type);
    tally_t tally[CHAOS_STEPS];
    check->out->completed += saga->status == SB_SAGA_COMPLETED;
    check->out->compensated += saga->status == SB_SAGA_COMPENSATED;
    if (!type || !was_asked_for(check, saga->key)) {
        found(check, CHAOS_PHANTOM, "nobody asked for saga %s of type %s", saga->key, saga->type);
        return;
    }
    check_history(check, saga);
    if (!count_effects(check, saga, type, tally))
        return;
    check_whole(check, saga, type, tally);
    check_pivot(check, saga, type, tally);
    check_order(check, saga, type, tally);
}

/* ---- effects of nobody, and the books ---- */

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void check_orphans(const check_t *check)
{
    const chaos_record_t *record = check->record;
    const char **id = calloc(record->sagas + 1, sizeof *id);
    if (!id)
        abort();
    for (size_t i = 0; i < record->sagas; i++)
        id[i] = record->saga[i].id;
    qsort(id, record->sagas, sizeof *id, by_id);
    for (size_t i = 0; i < record->effects; i++) {
        const char *wanted = record->effect[i].id;
        if (!bsearch(&wanted, id, record->sagas, sizeof *id, by_id))
            found(check, CHAOS_PHANTOM, "an effect of %s is of no saga: %s", record->effect[i].step, wanted);
    }
    free(id);
}

static void check_books(const check_t *check)
{
    const chaos_record_t *record = check->record;
    const chaos_books_t *last[CHAOS_SERVICES] = {NULL};
    for (size_t i = 0; i < record->books_count; i++) {
        const chaos_books_t *books = &record->books[i];
        if (books->held != books->opening + books->logged)
            found(check, CHAOS_MONEY, "%s holds %lld; it opened with %lld and its effects are %lld",
                  chaos_service[books->service], (long long)books->held, (long long)books->opening,
                  (long long)books->logged);
        last[books->service] = books;
    }
    if (!record->settled || !last[0] || !last[1] || !last[2])
        return;
    int64_t before = last[0]->opening + last[1]->opening, after = last[0]->held + last[1]->held;
    if (before != after)
        found(check, CHAOS_MONEY, "the wallets opened with %lld together and hold %lld", (long long)before,
              (long long)after);
    int64_t taken = 0;
    for (size_t i = 0; i < record->sagas; i++) {
        const chaos_type_t *type = chaos_type_named(record->saga[i].type);
        taken += type && type->takes_stock && record->saga[i].status == SB_SAGA_COMPLETED;
    }
    if (last[2]->held != last[2]->opening - taken)
        found(check, CHAOS_MONEY, "stock was %lld, %lld completed sagas took one each, and %lld is left",
              (long long)last[2]->opening, (long long)taken, (long long)last[2]->held);
}

void chaos_check(chaos_record_t *record, chaos_findings_t *out)
{
    check_t check = {record, out};
    memset(out, 0, sizeof *out);
    if (record->calls)
        qsort(record->call, record->calls, sizeof *record->call, by_key_and_time);
    if (record->sagas)
        qsort(record->saga, record->sagas, sizeof *record->saga, by_key);
    if (record->events)
        qsort(record->event, record->events, sizeof *record->event, by_number);
    if (record->effects)
        qsort(record->effect, record->effects, sizeof *record->effect, by_saga_and_time);
    check_calls(&check);
    for (size_t i = 0; i < record->sagas; i++)
        check_saga(&check, &record->saga[i]);
    check_orphans(&check);
    check_books(&check);
}

const char *chaos_breach_name(chaos_breach_t breach)
{
    static const char *const names[] = {
#define CHAOS_ROW(name, text, promise) text,
        CHAOS_BREACH_MAP(CHAOS_ROW)
#undef CHAOS_ROW
    };
    return names[breach];
}

const char *chaos_breach_promise(chaos_breach_t breach)
{
    static const char *const promises[] = {
#define CHAOS_ROW(name, text, promise) promise,
        CHAOS_BREACH_MAP(CHAOS_ROW)
#undef CHAOS_ROW
    };
    return promises[breach];
}
