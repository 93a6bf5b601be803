/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/recover.h"

#include "base/log.h"
#include "base/scan.h"
#include "saga_sql.h"

/* ---- sagas ---- */

/* SB_NOT_FOUND: no such definition, also not after the catalog was read again. */
static sb_code_t find_plan(sb_orchestrator_t *o, const sb_hash_t *hash, const sb_plan_t **plan,
                           sb_error_t *err)
{
    sb_code_t code = sb_plans_by_hash(&o->plans, hash, plan, NULL);
    if (code != SB_NOT_FOUND)
        return code == SB_OK ? SB_OK : sb_plans_by_hash(&o->plans, hash, plan, err);
    sb_code_t ignored = sb_catalog_load(o->catalog, o->pg, NULL);
    (void)ignored; /* it loads what it can; the look-up says whether that was enough */
    return sb_plans_by_hash(&o->plans, hash, plan, err);
}

static void log_stuck(const sb_open_saga_t *saga, const sb_error_t *err)
{
    char text[SB_UUID_TEXT];
    sb_log_error(SB_LOG_ERROR, "SAGA-STUCK", err, "a saga cannot be driven|saga=%s",
                 sb_uuid_format(&saga->id, text));
}

/* From a row of recover_sagas. The caller owns *out; its plan is NULL when nobody registered its definition.
 */
static sb_code_t make_saga(sb_orchestrator_t *o, const sb_pg_result_t *rows, int row, sb_open_saga_t **out,
                           sb_error_t *err)
{
    sb_hash_t hash = {{0}};
    sb_slice_t bytes = sb_pg_get_slice(rows, row, 3);
    if (bytes.len == sizeof hash.byte)
        memcpy(hash.byte, bytes.ptr, sizeof hash.byte);
    sb_open_saga_head_t head = {.no = sb_pg_get_int(rows, row, 0),
                                .id = sb_pg_get_uuid(rows, row, 1),
                                .key = sb_pg_get_slice(rows, row, 2),
                                .correlation_id = sb_pg_get_slice(rows, row, 4),
                                .traceparent = sb_pg_get_slice(rows, row, 5),
                                .input = sb_pg_get_slice(rows, row, 6)};
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = find_plan(o, &hash, &head.plan, &why);
    if (!sb_pg_is_open(o->pg))
        return sb_fail(err, SB_UNAVAILABLE, "%s", why.message);
    sb_open_saga_t *saga = sb_open_saga_new(&head);
    if (!saga || !sb_open_sagas_reserve(&o->sagas, 1) || !sb_timers_reserve(&o->timers, o->sagas.count + 1)) {
        sb_open_saga_free(saga);
        return sb_fail(err, SB_NO_MEMORY, "load open sagas: out of memory");
    }
    if (code != SB_OK)
        log_stuck(saga, &why);
    *out = saga;
    return SB_OK;
}

/* Among those of its shard in memory. */
static void take_in(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga)
{
    saga->slow = sb_saga_counter(saga->no) < shard->low;
    sb_orchestrator_add_saga(o, shard, saga);
}

static sb_code_t load_saga(sb_orchestrator_t *o, sb_shard_t *shard, const sb_pg_result_t *rows, int row,
                           sb_error_t *err)
{
    sb_open_saga_t *saga = NULL;
    sb_code_t code = make_saga(o, rows, row, &saga, err);
    if (code != SB_OK || !saga)
        return code;
    saga->row_doubtful = sb_pg_get_bool(rows, row, 7);
    take_in(o, shard, saga);
    return SB_OK;
}

/* ---- events ---- */

/* As the decision did (remember_given in decide.c). */
static bool fold_given(sb_open_saga_t *saga, const sb_saga_event_t *event)
{
    if (event->kind == SB_SAGA_EV_REWINDING)
        return sb_open_saga_set_given_next(saga, event->input.ptr ? event->input : SB_SLICE(""));
    sb_slice_t input = event->input;
    if (event->kind == SB_SAGA_EV_REWOUND && saga->given)
        input = saga->given->next;
    return input.len == 0 || event->step < 0 ||
           sb_open_saga_set_given(saga, event->step, event->direction, input);
}

/* From a row of recover_events, onto the state folded so far. */
static sb_code_t fold_event(sb_orchestrator_t *o, sb_open_saga_t *saga, sb_saga_state_t *state,
                            const sb_pg_result_t *rows, int row, sb_error_t *err)
{
    const sb_definition_t *definition = saga->plan->definition;
    const sb_event_type_t *type = sb_catalog_type_no(o->catalog, (int)sb_pg_get_int(rows, row, 2));
    if (!type)
        return sb_fail(err, SB_CORRUPT, "an event of an unknown type");
    if (sb_pg_get_int(rows, row, 1) != state->version + 1)
        return sb_fail(err, SB_CORRUPT, "event %d is missing", state->version + 1);
    sb_saga_event_t event;
    sb_buf_reset(&o->batch.scratch);
    sb_code_t code = sb_saga_event_read(definition, sb_slice(type->name), sb_pg_get_time(rows, row, 3),
                                        sb_pg_get_slice(rows, row, 4), &o->batch.scratch, &event, err);
    if (code == SB_OK)
        code = sb_machine_evolve(definition, state, &event, err);
    if (code != SB_OK)
        return code;
    bool fits = true;
    if (event.result.ptr && event.step >= 0 &&
        (event.kind == SB_SAGA_EV_STEP_COMPLETED || event.kind == SB_SAGA_EV_STEP_SKIPPED))
        fits = sb_open_saga_set_result(saga, event.step, event.result);
    for (int i = event.step; event.kind == SB_SAGA_EV_REWOUND && i < definition->step_count; i++)
        fits = sb_open_saga_set_result(saga, i, SB_SLICE_NONE) && fits;
    fits = fold_given(saga, &event) && fits;
    if (event.error.len > 0 && event.kind != SB_SAGA_EV_ANOMALY)
        fits = sb_open_saga_set_error(saga, event.error) && fits;
    return fits ? SB_OK : sb_fail(err, SB_NO_MEMORY, "load open sagas: out of memory");
}

static sb_code_t read_events(sb_orchestrator_t *o, const sb_pg_array_t *numbers, sb_pg_result_t **rows,
                             sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (sb_pg_array_failed(numbers))
        return sb_fail(err, SB_NO_MEMORY, "load events of sagas: out of memory");
    sb_pg_add_array(&params, numbers);
    return sb_pg_query(o->pg, sb_sql_recover_events, &params, rows, err);
}

/* What happened later than now did so before the database's clock was set back: what is left of its waits
 * counts from now, or a try would go out hours late. */
static void forget_future(sb_orchestrator_t *o, sb_saga_state_t *state, int64_t newest_us)
{
    int64_t ahead_us = newest_us - sb_orchestrator_now(o);
    if (ahead_us > 0)
        sb_saga_state_shift(state, -ahead_us);
}

/* An event that happened hours before the one that it follows did so after the clock was set back: what the
 * others left goes with it, as it did in memory then. */
static void follow_back(sb_saga_state_t *state, int64_t newest_us, int64_t next_us)
{
    if (newest_us - next_us > SB_CLOCK_JUMP_US)
        sb_saga_state_shift(state, next_us - newest_us);
}

/* Folds the rows of one saga, from row at on; returns the first row of the next one. */
static int fold_saga(sb_orchestrator_t *o, sb_open_saga_t *saga, const sb_pg_result_t *rows, int at,
                     sb_saga_state_t *state, sb_code_t *code, sb_error_t *err)
{
    int64_t newest_us = 0;
    sb_saga_state_init(state);
    *code = SB_OK;
    for (; at < sb_pg_rows(rows) && sb_pg_get_int(rows, at, 0) == saga->no; at++) {
        int64_t next_us = sb_pg_get_time(rows, at, 3);
        follow_back(state, newest_us, next_us);
        newest_us = next_us;
        if (*code == SB_OK && saga->plan)
            *code = fold_event(o, saga, state, rows, at, err);
    }
    forget_future(o, state, newest_us);
    if (*code == SB_OK && saga->plan && (state->version == 0 || sb_saga_is_over(state)))
        *code = sb_fail(err, SB_CORRUPT,
                        state->version == 0 ? "it has no events" : "its events end, its row does not");
    return at;
}

/* Its commands are sent again, at the capped rate, which also starts its clocks. */
static void open_again(sb_orchestrator_t *o, sb_open_saga_t *saga, const sb_saga_state_t *state)
{
    sb_open_saga_set_state(saga, state);
    o->stats.attention += state->attention;
    sb_resend_add(&o->resend, saga);
}

/* Reads the events of the page's sagas, which are the newest ones of the shard's list from first on. */
static sb_code_t fold_page(sb_orchestrator_t *o, sb_open_saga_t *first, sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    for (const sb_open_saga_t *saga = first; saga; saga = saga->newer)
        sb_pg_array_add_int8(&numbers, saga->no);
    sb_code_t code = read_events(o, &numbers, &rows, err);
    sb_pg_array_fini(&numbers);
    int at = 0;
    for (sb_open_saga_t *saga = first; code == SB_OK && saga; saga = saga->newer) {
        sb_saga_state_t state;
        sb_error_t why = SB_ERROR_INIT;
        sb_code_t folded;
        at = fold_saga(o, saga, rows, at, &state, &folded, &why);
        if (folded == SB_NO_MEMORY)
            code = sb_fail(err, SB_NO_MEMORY, "%s", why.message);
        else if (folded != SB_OK)
            log_stuck(saga, &why);
        if (folded != SB_OK || !saga->plan)
            saga->stuck = true;
        else
            open_again(o, saga, &state);
    }
    sb_pg_result_free(rows);
    return code;
}

/* ---- a shard ---- */

static sb_code_t load_rows(sb_orchestrator_t *o, sb_shard_t *shard, const char *sql,
                           const sb_pg_params_t *params, int *count, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_open_saga_t *last = shard->sagas.newest;
    sb_code_t code = sb_pg_query(o->pg, sql, params, &rows, err);
    *count = code == SB_OK ? sb_pg_rows(rows) : 0;
    for (int row = 0; row < *count && code == SB_OK; row++)
        code = load_saga(o, shard, rows, row, err);
    sb_pg_result_free(rows);
    if (code == SB_OK && *count > 0)
        code = fold_page(o, last ? last->newer : shard->sagas.oldest, err);
    return code;
}

/* The numbers of the slow sagas, from the lease row. */
static void read_slow(const sb_shard_t *shard, sb_pg_array_t *numbers)
{
    sb_scan_value_t list, name, value;
    size_t at = 0;
    int64_t counter;
    if (!sb_scan_field(sb_buf_slice(&shard->lease.detail), "slow", &list) || list.kind != SB_SCAN_ARRAY)
        return;
    while (sb_scan_next(list.text, &at, &name, &value))
        if (sb_scan_int64(&value, &counter) && counter < shard->low)
            sb_pg_array_add_int8(numbers, sb_saga_number(shard->number, counter));
}

/* They are older than all others, so they come first in the shard's list. */
static sb_code_t load_slow(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    int count;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    read_slow(shard, &numbers);
    sb_pg_add_array(&params, &numbers);
    sb_code_t code = SB_OK;
    if (sb_pg_array_failed(&numbers))
        code = sb_fail(err, SB_NO_MEMORY, "load open sagas: out of memory");
    else if (numbers.count > 0)
        code = load_rows(o, shard, sb_sql_recover_slow, &params, &count, err);
    sb_pg_array_fini(&numbers);
    return code;
}

static sb_code_t load_page(sb_orchestrator_t *o, sb_shard_t *shard, int64_t from, int *count, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_int8(&params, sb_saga_number(shard->number, from));
    sb_pg_add_int8(&params, sb_saga_number(shard->number + 1, 0));
    return load_rows(o, shard, sb_sql_recover_sagas, &params, count, err);
}

static sb_code_t mark_stuck(sb_orchestrator_t *o, const sb_shard_t *shard, sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_params_t guard;
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    for (const sb_open_saga_t *saga = shard->sagas.oldest; saga; saga = saga->newer)
        if (saga->stuck)
            sb_pg_array_add_int8(&numbers, saga->no);
    sb_code_t code = SB_OK;
    if (numbers.count > 0) {
        sb_pg_batch_t batch = {.count = 0};
        sb_lease_guard(&shard->lease, NULL, &guard);
        sb_pg_add_array(&params, &numbers);
        sb_pg_batch_add(&batch, sb_sql_lease_advance, &guard);
        sb_pg_batch_add(&batch, sb_sql_saga_stuck, &params);
        code = sb_pg_batch_run(o->pg, &batch, NULL, NULL, err);
        o->stats.attention += numbers.count;
    }
    sb_pg_array_fini(&numbers);
    return code;
}

sb_code_t sb_recover(sb_orchestrator_t *o, sb_shard_t *shard, sb_error_t *err)
{
    int64_t from = shard->low;
    int count = 0;
    sb_code_t code = load_slow(o, shard, err);
    do {
        if (code == SB_OK)
            code = load_page(o, shard, from, &count, err);
        if (code != SB_OK)
            return code;
        if (count > 0)
            from = sb_saga_counter(shard->sagas.newest->no) + 1;
    } while (count > 0);
    return mark_stuck(o, shard, err);
}

/* ---- some that are over ---- */

#define OVER_A_LOOK 64

/* What it did is of no use any more: only where its steps stand. */
static void drop_results(sb_open_saga_t *saga)
{
    for (int i = 0; i < saga->plan->definition->step_count; i++)
        (void)sb_open_saga_set_result(saga, i, SB_SLICE_NONE);
}

/* Folds the rows of one saga, from row at on; returns the first row of the next one. */
static int fold_over(sb_orchestrator_t *o, sb_open_saga_t *saga, const sb_pg_result_t *rows, int at,
                     sb_saga_state_t *state, sb_code_t *code)
{
    sb_error_t why = SB_ERROR_INIT;
    sb_saga_state_init(state);
    *code = saga->plan ? SB_OK : SB_NOT_FOUND;
    for (; at < sb_pg_rows(rows) && sb_pg_get_int(rows, at, 0) == saga->no; at++)
        if (*code == SB_OK)
            *code = fold_event(o, saga, state, rows, at, &why);
    if (*code == SB_OK && !sb_saga_is_over(state))
        *code = SB_CORRUPT; /* its first events are no longer kept */
    return at;
}

/* It holds neither the low-water mark nor a place in the lease row: there is nothing to do for it. */
static void bring_in(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga,
                     const sb_saga_state_t *state)
{
    drop_results(saga);
    sb_open_saga_set_state(saga, state);
    o->stats.attention += state->attention;
    take_in(o, shard, saga);
}

static sb_code_t load_over(sb_orchestrator_t *o, sb_shard_t *shard, const sb_pg_result_t *sagas,
                           sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_result_t *events = NULL;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    for (int row = 0; row < sb_pg_rows(sagas); row++)
        sb_pg_array_add_int8(&numbers, sb_pg_get_int(sagas, row, 0));
    sb_code_t code = read_events(o, &numbers, &events, err);
    sb_pg_array_fini(&numbers);
    for (int row = 0, at = 0; code == SB_OK && row < sb_pg_rows(sagas); row++) {
        sb_open_saga_t *saga = NULL;
        sb_saga_state_t state;
        sb_code_t folded;
        code = make_saga(o, sagas, row, &saga, err);
        if (code != SB_OK || !saga)
            break;
        at = fold_over(o, saga, events, at, &state, &folded);
        if (folded == SB_OK)
            bring_in(o, shard, saga, &state);
        else
            sb_open_saga_free(saga);
    }
    sb_pg_result_free(events);
    return code;
}

sb_code_t sb_recover_over(sb_orchestrator_t *o, sb_shard_t *shard, const int64_t *numbers, size_t count,
                          sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (size_t first = 0; code == SB_OK && first < count; first += OVER_A_LOOK) {
        sb_pg_array_t look;
        sb_pg_params_t params = SB_PG_PARAMS_INIT;
        sb_pg_result_t *rows = NULL;
        sb_pg_array_init(&look, SB_PG_INT8);
        for (size_t i = first; i < count && i < first + OVER_A_LOOK; i++)
            if (!sb_open_sagas_find(&o->sagas, numbers[i]))
                sb_pg_array_add_int8(&look, numbers[i]);
        sb_pg_add_array(&params, &look);
        if (sb_pg_array_failed(&look))
            code = sb_fail(err, SB_NO_MEMORY, "look at sagas that are over: out of memory");
        else if (look.count > 0)
            code = sb_pg_query(o->pg, sb_sql_recover_over, &params, &rows, err);
        if (code == SB_OK && rows)
            code = load_over(o, shard, rows, err);
        sb_pg_result_free(rows);
        sb_pg_array_fini(&look);
    }
    return code;
}

/* ---- one that has ended, and is to be undone ---- */

static sb_code_t fold_ended(sb_orchestrator_t *o, sb_open_saga_t *saga, sb_saga_state_t *state,
                            sb_error_t *err)
{
    sb_pg_array_t numbers;
    sb_pg_result_t *rows = NULL;
    sb_pg_array_init(&numbers, SB_PG_INT8);
    sb_pg_array_add_int8(&numbers, saga->no);
    sb_saga_state_init(state);
    sb_code_t code = read_events(o, &numbers, &rows, err);
    for (int row = 0; code == SB_OK && row < sb_pg_rows(rows); row++)
        code = fold_event(o, saga, state, rows, row, err);
    sb_pg_result_free(rows);
    sb_pg_array_fini(&numbers);
    return code;
}

/* It takes its place among the open ones: below the low-water mark those are named in the lease row. */
static void bring_back(sb_orchestrator_t *o, sb_shard_t *shard, sb_open_saga_t *saga,
                       const sb_saga_state_t *state)
{
    sb_open_saga_set_state(saga, state);
    take_in(o, shard, saga);
    shard->slow_changed = shard->slow_changed || saga->slow;
}

sb_code_t sb_recover_ended(sb_orchestrator_t *o, sb_shard_t *shard, int64_t no, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_open_saga_t *saga = NULL;
    sb_saga_state_t state;
    sb_error_t why = SB_ERROR_INIT;
    sb_pg_add_int8(&params, no);
    sb_code_t code = sb_pg_query(o->pg, sb_sql_recover_ended, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 1)
        code = make_saga(o, rows, 0, &saga, err);
    sb_pg_result_free(rows);
    if (code != SB_OK || !saga)
        return code;
    code = saga->plan ? fold_ended(o, saga, &state, &why) : SB_NOT_FOUND;
    if (code == SB_OK && state.status == SB_SAGA_COMPLETED) {
        bring_back(o, shard, saga, &state);
        return SB_OK;
    }
    if (code != SB_OK && saga->plan)
        log_stuck(saga, &why);
    sb_open_saga_free(saga);
    return sb_pg_is_open(o->pg) ? SB_OK : sb_fail(err, SB_UNAVAILABLE, "%s", why.message);
}

void sb_recover_forget_ended(sb_orchestrator_t *o, sb_shard_t *shard, int64_t no)
{
    sb_open_saga_t *saga = sb_open_sagas_find(&o->sagas, no);
    sb_saga_state_t state;
    if (!saga || saga->stuck)
        return;
    sb_open_saga_get_state(saga, &state);
    if (!sb_saga_is_over(&state))
        return;
    o->stats.attention -= state.attention;
    sb_orchestrator_remove_saga(o, shard, saga);
    sb_open_saga_free(saga);
}
