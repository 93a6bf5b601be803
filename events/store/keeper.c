/* A seal is read, hashed and written in three steps, and only the last is a transaction: the guard of the
 * lease and the row of the seal. It is read in slices with a rest after each, so that appenders and readers
 * never wait for a whole seal's work. The range begins where the last seal ended and ends at the last event
 * that was read, at the end of its block, or at the safe sequence number, below which nothing will appear any
 * more. What this process wrote is sealed as it was written, and not read back: what becomes of it meanwhile
 * the verifier finds, as it would after the seal.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/keeper.h"

#include "base/clock.h"
#include "base/lease.h"
#include "base/log.h"
#include "base/retry.h"
#include "base/signal.h"
#include "events/store/seal.h"
#include "events/tally.h"
#include "events_sql.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>

#define PARTITIONS_AHEAD   INT64_C(20000000) /* one whole range to spare */
#define UPKEEP_MS          30000
#define UPKEEP_AGAIN_MS    1000 /* when there is more to delete */
#define COMMANDS_PER_BATCH 1000
#define COMMANDS_KEPT_MS   (INT64_C(7) * 86400 * 1000)
#define SEAL_MS            10000
#define LOOK_MS            250        /* at safe_seq, while there is not enough for a seal */
#define SLICE_EVENTS       1024       /* read and hashed at a time: some milliseconds */
#define SLICE_BYTES        (1u << 20) /* of what this process has at hand */
#define REST_TIMES         4          /* what a slice took */
#define REST_MIN_MS        20         /* after a seal */
#define REST_MAX_MS        1000
#define TALLY_MS           5000

struct sb_keeper {
    char *uri;
    char *owner;
    uint32_t overdue_ms;
    int64_t commands_kept_ms;
    int64_t seal_us; /* negative: no seals */
    sb_signal_t wake;
    _Atomic bool stopping;
    _Atomic int64_t sealed;           /* the lease's cursor, for others */
    _Atomic int64_t ranges, complete; /* likewise, of the tallies */
    int64_t tally_ms, tally_us;       /* the pace; next due */
    sb_pg_t *pg;
    sb_lease_t lease;
    int64_t beat_us, upkeep_us; /* last written; next due */
    sb_progress_t *progress;    /* borrowed; NULL: none */
    /* sealing */
    sb_hasher_t *hasher;
    bool broken;        /* the seals do not end where the lease says: not gone on with */
    int64_t looked;     /* nothing lies between the lease's cursor and here */
    int64_t waiting_us; /* since when there is something to seal; 0: there is nothing */
    sb_seal_t seal;     /* under construction; hash: of the last one */
    sb_seal_tree_t tree;
    sb_buf_t marks;
    sb_buf_t recent; /* packed rows of a slice */
    int64_t newest_us;
    int64_t last, block_end; /* seq of the last leaf; of the block's end */
    bool full, cut;          /* the block ended; it ends before all was read */
    int64_t slice_us;        /* what the last slice took */
};

/* ---- open, stop, close ---- */

sb_code_t sb_keeper_open(sb_keeper_t **out, const sb_keeper_config_t *config, sb_error_t *err)
{
    *out = NULL;
    sb_keeper_t *keeper = calloc(1, sizeof *keeper);
    if (!keeper)
        return sb_fail(err, SB_NO_MEMORY, "keeper: out of memory");
    keeper->wake.fd = -1;
    keeper->marks = keeper->recent = (sb_buf_t)SB_BUF_INIT;
    keeper->progress = config->progress;
    sb_lease_init(&keeper->lease, "keeper");
    keeper->uri = strdup(config->pg_uri);
    keeper->owner = strdup(config->owner);
    keeper->overdue_ms = config->overdue_ms ? config->overdue_ms : 10000;
    keeper->commands_kept_ms = config->commands_kept_ms ? config->commands_kept_ms : COMMANDS_KEPT_MS;
    keeper->tally_ms = config->tally_ms ? config->tally_ms : TALLY_MS;
    keeper->seal_us = (config->seal_ms ? config->seal_ms : SEAL_MS) * 1000;
    sb_code_t code = sb_signal_init(&keeper->wake, err);
    if (code == SB_OK)
        code = sb_hasher_new(&keeper->hasher, err);
    if (code == SB_OK && (!keeper->uri || !keeper->owner))
        code = sb_fail(err, SB_NO_MEMORY, "keeper: out of memory");
    if (code != SB_OK) {
        sb_keeper_close(&keeper);
        return code;
    }
    *out = keeper;
    return SB_OK;
}

void sb_keeper_stop(sb_keeper_t *keeper)
{
    atomic_store(&keeper->stopping, true);
    sb_signal_raise(&keeper->wake);
}

void sb_keeper_close(sb_keeper_t **keeper)
{
    sb_keeper_t *k = *keeper;
    if (!k)
        return;
    sb_lease_fini(&k->lease);
    sb_pg_close(&k->pg);
    sb_hasher_free(&k->hasher);
    sb_buf_fini(&k->marks);
    sb_buf_fini(&k->recent);
    if (k->wake.fd >= 0)
        sb_signal_fini(&k->wake);
    free(k->owner);
    free(k->uri);
    free(k);
    *keeper = NULL;
}

int64_t sb_keeper_sealed(const sb_keeper_t *keeper)
{
    return atomic_load(&keeper->sealed);
}

void sb_keeper_tally(const sb_keeper_t *keeper, int64_t *ranges, int64_t *complete)
{
    *ranges = atomic_load(&keeper->ranges);
    *complete = atomic_load(&keeper->complete);
}

static bool is_stopping(sb_keeper_t *keeper)
{
    return atomic_load(&keeper->stopping);
}

static void add_guard(const sb_keeper_t *keeper, sb_pg_params_t *params, const int64_t *cursor)
{
    sb_pg_add_text(params, keeper->lease.role);
    sb_pg_add_int8(params, keeper->lease.epoch);
    if (cursor)
        sb_pg_add_int8(params, *cursor);
    else
        sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_null(params, SB_PG_INT8);
    sb_pg_add_null(params, SB_PG_TEXT);
}

/* ---- upkeep ---- */

/* Guarded as all writes of the role; a partition or a row less is made or deleted next time. */
static sb_code_t run_upkeep(sb_keeper_t *keeper, int64_t *deleted, sb_error_t *err)
{
    sb_pg_params_t guard = SB_PG_PARAMS_INIT;
    sb_pg_params_t ahead = SB_PG_PARAMS_INIT;
    sb_pg_params_t commands = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *results[3];
    add_guard(keeper, &guard, NULL);
    sb_pg_add_int8(&ahead, PARTITIONS_AHEAD);
    sb_pg_add_int4(&commands, COMMANDS_PER_BATCH);
    sb_pg_add_int8(&commands, keeper->commands_kept_ms);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &guard);
    sb_pg_batch_add(&batch, sb_sql_upkeep_partitions, &ahead);
    sb_pg_batch_add(&batch, sb_sql_upkeep_commands, &commands);
    sb_code_t code = sb_pg_batch_run(keeper->pg, &batch, results, NULL, err);
    if (code != SB_OK)
        return code;
    *deleted = sb_pg_affected(results[2]);
    for (int i = 0; i < 3; i++)
        sb_pg_result_free(results[i]);
    return SB_OK;
}

static sb_code_t upkeep(sb_keeper_t *keeper, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    int64_t deleted = 0;
    if (now < keeper->upkeep_us)
        return SB_OK;
    keeper->upkeep_us = now + UPKEEP_MS * INT64_C(1000);
    sb_code_t code = run_upkeep(keeper, &deleted, err);
    if (deleted == COMMANDS_PER_BATCH)
        keeper->upkeep_us = now + UPKEEP_AGAIN_MS * INT64_C(1000);
    if (code == SB_OK || code == SB_FENCED || !sb_pg_is_open(keeper->pg))
        return code;
    sb_log_error(SB_LOG_WARN, "KEEPER-UPKEEP", err, "upkeep of the event table is tried again later");
    sb_error_clear(err);
    return SB_OK;
}

static sb_code_t beat(sb_keeper_t *keeper, sb_error_t *err)
{
    int64_t now = sb_mono_us();
    if (now - keeper->beat_us < (int64_t)keeper->overdue_ms * 1000 / 4)
        return SB_OK;
    keeper->beat_us = now;
    return sb_lease_beat(&keeper->lease, keeper->pg, err);
}

/* ---- what readers have taken in ---- */

static sb_code_t compare_tallies(sb_keeper_t *keeper, sb_error_t *err)
{
    sb_tally_found_t found;
    int64_t start_us = sb_mono_us();
    if (start_us < keeper->tally_us)
        return SB_OK;
    sb_code_t code = sb_tally_check(keeper->pg, &keeper->lease, &found, err);
    int64_t spent_us = sb_mono_us() - start_us;
    bool soon = code == SB_OK && found.more;
    keeper->tally_us = sb_mono_us() + (soon ? spent_us * REST_TIMES : keeper->tally_ms * 1000);
    if (code == SB_OK) {
        if (found.ranges > atomic_load(&keeper->ranges))
            sb_log(SB_LOG_ERROR, "TALLY-GAP",
                   "the relay or a view has not taken in what the store has: run `sagabus store "
                   "gaps`|ranges=%" PRId64,
                   found.ranges);
        atomic_store(&keeper->ranges, found.ranges);
        atomic_store(&keeper->complete, found.complete > 0 ? found.complete : 0);
        return SB_OK;
    }
    if (code == SB_FENCED || !sb_pg_is_open(keeper->pg))
        return code;
    sb_log_error(SB_LOG_WARN, "KEEPER-TALLY", err, "counts of readers are compared again later");
    sb_error_clear(err);
    return SB_OK;
}

/* ---- a seal ---- */

static sb_code_t add_leaf(void *context, const sb_seal_row_t *row, sb_error_t *err)
{
    sb_keeper_t *keeper = context;
    sb_hash_t leaf;
    uint8_t mark[SB_SEAL_MARK];
    if (keeper->tree.leaves == 0)
        keeper->block_end = (row->seq + SB_SEAL_BLOCK - 1) / SB_SEAL_BLOCK * SB_SEAL_BLOCK;
    if (row->seq > keeper->block_end) {
        keeper->full = true;
        return SB_OK;
    }
    sb_code_t code = sb_seal_leaf(keeper->hasher, row, keeper->seal.from, &leaf, mark, err);
    if (code == SB_OK)
        code = sb_seal_tree_add(keeper->hasher, &keeper->tree, &leaf, err);
    sb_buf_add(&keeper->marks, mark, sizeof mark);
    keeper->last = row->seq;
    keeper->newest_us = row->time_us > keeper->newest_us ? row->time_us : keeper->newest_us;
    return code;
}

static int64_t end_of_range(const sb_keeper_t *keeper, int64_t safe)
{
    if (keeper->tree.leaves == SB_SEAL_EVENTS_MAX || keeper->cut)
        return keeper->last;
    return keeper->full || safe > keeper->block_end ? keeper->block_end : safe;
}

/* Waits out the time; a stop ends it. */
static void rest(sb_keeper_t *keeper, int64_t wait_ms)
{
    if (!is_stopping(keeper))
        (void)sb_signal_wait(&keeper->wake, wait_ms);
}

/* *done: there is no more up to safe, or not in this block. */
static sb_code_t read_slice(sb_keeper_t *keeper, int64_t after, int64_t safe, uint32_t wanted, bool *done,
                            sb_error_t *err)
{
    uint32_t before = keeper->tree.leaves;
    int64_t to = safe - after < wanted ? safe : after + wanted;
    sb_buf_reset(&keeper->recent);
    int64_t end = sb_progress_recent(keeper->progress, after, to, SLICE_BYTES, &keeper->recent);
    if (end > after && sb_hasher_knows(keeper->hasher, sb_buf_slice(&keeper->recent))) {
        sb_code_t code = sb_seal_packed(keeper->hasher, sb_buf_slice(&keeper->recent), add_leaf, keeper, err);
        *done = end == safe || keeper->full;
        return code;
    }
    sb_code_t code =
        sb_seal_rows(keeper->pg, keeper->hasher, after, safe, (int)wanted, add_leaf, keeper, err);
    *done = keeper->tree.leaves - before < wanted;
    return code;
}

/* A stop ends a seal early. */
static sb_code_t read_slices(sb_keeper_t *keeper, int64_t safe, sb_error_t *err)
{
    int64_t after = keeper->seal.from == 1 ? -1 : keeper->looked;
    for (;;) {
        bool done = false;
        uint32_t room = SB_SEAL_EVENTS_MAX - keeper->tree.leaves;
        int64_t start_us = sb_mono_us();
        sb_code_t code =
            read_slice(keeper, after, safe, room < SLICE_EVENTS ? room : SLICE_EVENTS, &done, err);
        keeper->slice_us = sb_mono_us() - start_us;
        if (code != SB_OK || done || keeper->tree.leaves == SB_SEAL_EVENTS_MAX)
            return code;
        after = keeper->last;
        int64_t rest_ms = keeper->slice_us * REST_TIMES / 1000 + 1;
        rest(keeper, rest_ms < REST_MAX_MS ? rest_ms : REST_MAX_MS);
        keeper->cut = is_stopping(keeper);
        code = keeper->cut ? SB_OK : beat(keeper, err);
        if (keeper->cut || code != SB_OK)
            return code;
    }
}

/* Reads and hashes; leaves without a leaf when there is nothing up to safe. */
static sb_code_t build_seal(sb_keeper_t *keeper, int64_t safe, sb_error_t *err)
{
    sb_seal_t *seal = &keeper->seal;
    seal->from = keeper->lease.cursor + 1;
    keeper->tree.leaves = 0;
    keeper->newest_us = INT64_MIN;
    keeper->full = keeper->cut = false;
    sb_buf_reset(&keeper->marks);
    sb_code_t code = read_slices(keeper, safe, err);
    if (code != SB_OK || keeper->tree.leaves == 0)
        return code;
    if (sb_buf_failed(&keeper->marks))
        return sb_fail(err, SB_NO_MEMORY, "keeper: out of memory");
    seal->to = end_of_range(keeper, safe);
    seal->leaves = (int)keeper->tree.leaves;
    seal->prev = seal->hash;
    code = sb_seal_tree_root(keeper->hasher, &keeper->tree, &seal->root, err);
    return code == SB_OK ? sb_seal_hash(keeper->hasher, seal, sb_buf_slice(&keeper->marks), err) : code;
}

static void add_hash(sb_pg_params_t *params, const sb_hash_t *hash)
{
    sb_pg_add_bytea(params, (sb_slice_t){(const char *)hash->byte, sizeof hash->byte});
}

static sb_code_t write_seal(sb_keeper_t *keeper, sb_error_t *err)
{
    const sb_seal_t *seal = &keeper->seal;
    sb_pg_params_t guard = SB_PG_PARAMS_INIT;
    sb_pg_params_t row = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    add_guard(keeper, &guard, &seal->to);
    sb_pg_add_int8(&row, seal->from);
    sb_pg_add_int8(&row, seal->to);
    sb_pg_add_int4(&row, seal->leaves);
    add_hash(&row, &seal->root);
    add_hash(&row, &seal->prev);
    add_hash(&row, &seal->hash);
    sb_pg_add_bytea(&row, sb_buf_slice(&keeper->marks));
    sb_pg_add_time(&row, keeper->newest_us);
    sb_pg_batch_add(&batch, sb_sql_lease_advance, &guard);
    sb_pg_batch_add(&batch, sb_sql_seal_add, &row);
    sb_code_t code = sb_pg_batch_run(keeper->pg, &batch, NULL, NULL, err);
    if (code != SB_OK)
        return code;
    keeper->lease.cursor = seal->to;
    keeper->looked = seal->to;
    keeper->beat_us = sb_mono_us();
    atomic_store(&keeper->sealed, seal->to);
    return SB_OK;
}

static sb_code_t read_safe(sb_keeper_t *keeper, int64_t *safe, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(keeper->pg, sb_sql_safe_seq, NULL, &rows, err);
    if (code == SB_OK)
        *safe = sb_pg_rows(rows) ? sb_pg_get_int(rows, 0, 0) : 0;
    sb_pg_result_free(rows);
    return code;
}

/* One seal at most; *wait_ms: until the next look. */
static sb_code_t seal_some(sb_keeper_t *keeper, int64_t *wait_ms, sb_error_t *err)
{
    int64_t safe = 0;
    *wait_ms = LOOK_MS;
    if (keeper->seal_us < 0 || keeper->broken)
        return SB_OK;
    sb_code_t code = read_safe(keeper, &safe, err);
    int64_t start_us = sb_mono_us();
    if (code != SB_OK || safe <= keeper->looked) {
        keeper->waiting_us = 0;
        return code;
    }
    if (keeper->waiting_us == 0)
        keeper->waiting_us = start_us;
    if (safe - keeper->looked < SB_SEAL_EVENTS_MAX && start_us - keeper->waiting_us < keeper->seal_us)
        return SB_OK;
    code = build_seal(keeper, safe, err);
    if (code != SB_OK)
        return code;
    keeper->waiting_us = 0;
    if (keeper->tree.leaves == 0) {
        keeper->looked = safe;
        return SB_OK;
    }
    code = write_seal(keeper, err);
    *wait_ms = keeper->slice_us * REST_TIMES / 1000;
    if (*wait_ms < REST_MIN_MS)
        *wait_ms = REST_MIN_MS;
    return code;
}

/* ---- the loop ---- */

/* The chain goes on from its last link, or not at all: a seal over what was tampered with would hide it. */
static sb_code_t find_end(sb_keeper_t *keeper, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(keeper->pg, sb_sql_seal_last, NULL, &rows, err);
    if (code != SB_OK)
        return code;
    sb_hasher_forget_types(keeper->hasher);
    bool any = sb_pg_rows(rows) > 0;
    int64_t to = any ? sb_pg_get_int(rows, 0, 0) : 0;
    sb_slice_t hash = any ? sb_pg_get_slice(rows, 0, 1) : SB_SLICE_NONE;
    memset(&keeper->seal, 0, sizeof keeper->seal);
    keeper->broken = to != keeper->lease.cursor || (any && hash.len != sizeof keeper->seal.hash.byte);
    if (any && !keeper->broken)
        memcpy(keeper->seal.hash.byte, hash.ptr, hash.len);
    sb_pg_result_free(rows);
    if (keeper->broken)
        sb_log(SB_LOG_ERROR, "SEAL-BROKEN",
               "the seals do not end where sealing ended: none is added; run `sagabus event verify`|"
               "last_seal=%" PRId64 " sealed=%" PRId64,
               to, keeper->lease.cursor);
    keeper->looked = keeper->lease.cursor;
    keeper->waiting_us = 0;
    return SB_OK;
}

static sb_code_t take_over(sb_keeper_t *keeper, sb_error_t *err)
{
    sb_pg_config_t config = {.uri = keeper->uri, .application_name = "sagabus keeper"};
    sb_code_t code = SB_OK;
    if (!sb_pg_is_open(keeper->pg)) {
        sb_pg_close(&keeper->pg);
        code = sb_pg_open(&keeper->pg, &config, err);
        if (code == SB_OK)
            code = sb_pg_query(keeper->pg, sb_sql_seal_settings, NULL, NULL, err);
    }
    if (code == SB_OK)
        code = sb_lease_acquire(&keeper->lease, keeper->pg, keeper->owner, keeper->overdue_ms, err);
    if (code == SB_OK)
        code = find_end(keeper, err);
    if (code != SB_OK)
        return code;
    keeper->beat_us = sb_mono_us();
    keeper->upkeep_us = 0;
    keeper->tally_us = 0;
    atomic_store(&keeper->sealed, keeper->lease.cursor);
    return SB_OK;
}

static sb_code_t lead(sb_keeper_t *keeper, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    while (code == SB_OK && !is_stopping(keeper)) {
        int64_t wait_ms = LOOK_MS;
        code = upkeep(keeper, err);
        if (code == SB_OK)
            code = beat(keeper, err);
        if (code == SB_OK)
            code = compare_tallies(keeper, err);
        if (code == SB_OK)
            code = seal_some(keeper, &wait_ms, err);
        if (code == SB_OK)
            rest(keeper, wait_ms < REST_MAX_MS ? wait_ms : REST_MAX_MS);
    }
    return code;
}

void sb_keeper_run(sb_keeper_t *keeper)
{
    static const sb_retry_policy_t policy = {SB_RETRY_EXPONENTIAL, 0, 250, 5000, true};
    uint32_t failures = 0;
    while (!is_stopping(keeper)) {
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = take_over(keeper, &err);
        if (code == SB_OK) {
            failures = 0;
            code = lead(keeper, &err);
            atomic_store(&keeper->sealed, 0);
            atomic_store(&keeper->ranges, 0);
            atomic_store(&keeper->complete, 0);
        }
        if (code == SB_OK)
            break;
        if (code == SB_BUSY) {
            rest(keeper, keeper->overdue_ms / 4 < 1000 ? keeper->overdue_ms / 4 + 1 : 1000);
            continue;
        }
        failures++;
        sb_log_error(SB_LOG_WARN, "KEEPER-STEP-DOWN", &err,
                     "seals and upkeep stand still and are tried again");
        sb_pg_close(&keeper->pg);
        keeper->lease.epoch = 0;
        rest(keeper,
             sb_retry_delay_ms(&policy, failures, (uint64_t)sb_mono_us() * UINT64_C(0x9e3779b97f4a7c15)));
    }
    if (keeper->pg)
        sb_lease_release(&keeper->lease, keeper->pg);
    sb_pg_close(&keeper->pg);
}
