/* A lane is a connection with a thread and a queue; a stream's appends all go by one lane, which keeps their
 * order and keeps batches of one process from waiting for each other's streams.
 *
 * What became of a commit: the answers of a lane's last batch are kept in its row of append_lane, written in
 * the transaction of the batch. Whoever lost the connection moves the row's number on; when that succeeds,
 * the batch has not committed and cannot any more. The other ways were an id for every append in
 * append_command, a row each where this is one a batch, and pg_xact_status, which needs the transaction's
 * number before the commit, so a round trip more, and cannot stop a batch that is still on its way.
 *
 * The members of a batch are answered while PostgreSQL is at work on the next one: to wake them takes as long
 * as to append a good part of a batch.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/appender.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/queue.h"
#include "base/retry.h"
#include "base/thread.h"
#include "events/store/append.h"
#include "events_sql.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>

#define LANES_MAX  64
#define TRIES_MAX  4
#define QUEUE_MAX  4096
#define BATCH_MAX  128
#define BATCH_TOP  1000 /* beyond it nothing is gained */
#define BATCH_SIZE (1u << 20)
#define RESOLVE_MS 30000
#define PAUSE_MS   20 /* between questions to a database that does not answer, or cannot now */

/* An append in hand, or with load set a wish to have the catalog loaded. */
typedef struct member {
    sb_encoded_t encoded;
    bool load;
    sb_append_fn fn;
    void *context;
} member_t;

typedef struct lane {
    sb_appender_t *appender;
    pthread_t thread;
    bool started;
    sb_signal_t signal;
    sb_queue_t *queue;
    sb_pg_t *pg;
    sb_append_lane_t row; /* number: of the last batch that committed */
    bool has_row;
    member_t **member; /* taken from the queue, in order: room for batch_max */
    size_t member_count;
    sb_append_batch_t batch;
    sb_append_answer_t *answer;
    member_t **done; /* of the batch before, not told yet: room for batch_max */
    sb_append_answer_t *done_answer;
    size_t done_count;
} lane_t;

struct sb_appender {
    sb_catalog_t *catalog;
    bool owns_catalog;
    char *pg_uri, *name, *source;
    size_t event_bytes_max, batch_max, batch_bytes_max;
    uint32_t resolve_ms;
    atomic_uint_fast64_t appends, batches, splits, asked, unknown;
    int lane_count;
    lane_t lane[];
};

static sb_code_t no_memory(sb_error_t *err)
{
    return sb_fail(err, SB_NO_MEMORY, "appender: out of memory");
}

static void free_member(member_t *member)
{
    sb_encoded_fini(&member->encoded);
    free(member);
}

static void answer_one(lane_t *lane, member_t *member, sb_code_t code, const sb_append_result_t *result,
                       const sb_error_t *err)
{
    static const sb_append_result_t none = {SB_APPENDED, 0, 0, 0};
    if (!member->load)
        (void)atomic_fetch_add(&lane->appender->appends, 1);
    if (code == SB_UNKNOWN_OUTCOME)
        (void)atomic_fetch_add(&lane->appender->unknown, 1);
    member->fn(member->context, code, code == SB_OK && result ? result : &none, code == SB_OK ? NULL : err);
    free_member(member);
}

/* ---- the connection ---- */

static void drop_connection(lane_t *lane)
{
    sb_pg_close(&lane->pg);
}

static sb_code_t connect_lane(lane_t *lane, sb_error_t *err)
{
    if (sb_pg_is_open(lane->pg))
        return SB_OK;
    drop_connection(lane);
    sb_pg_config_t config = {.uri = lane->appender->pg_uri, .application_name = lane->appender->name};
    sb_code_t code = sb_pg_open(&lane->pg, &config, err);
    /* A stream that someone else keeps locked must not hold up all others for long. */
    if (code != SB_OK)
        return code;
    code = sb_pg_script(lane->pg, "SET lock_timeout = '2s'", err);
    if (code != SB_OK)
        drop_connection(lane);
    if (code == SB_UNKNOWN_OUTCOME) /* of a setting: no batch was sent, there is nothing to ask for */
        code = sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    return code;
}

static void lane_params(const lane_t *lane, sb_pg_params_t *params)
{
    *params = (sb_pg_params_t)SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(params, &lane->row.id);
    sb_pg_add_int8(params, lane->row.number + 1);
}

static sb_code_t make_row(lane_t *lane, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    if (lane->has_row)
        return SB_OK;
    lane->row = (sb_append_lane_t){.id = sb_uuid_v7()};
    sb_pg_add_uuid(&params, &lane->row.id);
    sb_code_t code = sb_pg_query(lane->pg, sb_sql_append_lane_open, &params, NULL, err);
    lane->has_row = code == SB_OK;
    if (code == SB_UNKNOWN_OUTCOME) /* one that may be there is not used: the next try makes another */
        code = sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    return code;
}

static void close_row(lane_t *lane)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_uuid(&params, &lane->row.id);
    if (lane->has_row && sb_pg_is_open(lane->pg) &&
        sb_pg_query(lane->pg, sb_sql_append_lane_close, &params, NULL, NULL) != SB_OK)
        sb_log(SB_LOG_DEBUG, "APPEND-LANE", "a lane is left to the upkeep");
}

/* ---- a commit whose answer was lost ---- */

/* SB_OK: it has happened and the answers are there. SB_CONFLICT: it has not, and never will. Else: not known
 * yet. */
static sb_code_t ask_once(lane_t *lane, int count, sb_error_t *err)
{
    sb_pg_params_t params;
    sb_pg_result_t *rows = NULL;
    sb_code_t code = connect_lane(lane, err);
    if (code != SB_OK)
        return code;
    lane_params(lane, &params);
    code = sb_pg_query(lane->pg, sb_sql_append_lane_give_up, &params, &rows, err);
    bool given_up = code == SB_OK && sb_pg_rows(rows) == 1;
    sb_pg_result_free(rows);
    if (given_up) {
        lane->row.number++;
        return SB_CONFLICT;
    }
    rows = NULL;
    if (code == SB_OK)
        code = sb_pg_query(lane->pg, sb_sql_append_lane_answers, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) == 0) { /* given up before, by a question whose answer was lost */
        sb_pg_result_free(rows);
        lane->row.number++;
        return SB_CONFLICT;
    }
    if (code == SB_OK)
        code = sb_append_read_answers(rows, count, lane->answer, err);
    sb_pg_result_free(rows);
    if (code == SB_OK)
        lane->row.number++;
    return code;
}

static sb_code_t ask(lane_t *lane, int count, sb_error_t *err)
{
    sb_error_t why = SB_ERROR_INIT;
    int64_t until = sb_mono_us() + (int64_t)lane->appender->resolve_ms * 1000;
    (void)atomic_fetch_add(&lane->appender->asked, 1);
    for (;;) {
        sb_code_t code = ask_once(lane, count, &why);
        if (code == SB_OK || code == SB_CONFLICT)
            return code;
        if (code == SB_CORRUPT || sb_mono_us() >= until)
            break;
        sb_sleep_ms(PAUSE_MS);
    }
    lane->has_row = false; /* its batch may be on its way still: the next one has another row */
    return sb_fail(
        err, SB_UNKNOWN_OUTCOME,
        "append: the connection broke during the commit and what became of it could not be asked: %s",
        why.message);
}

/* ---- answers ---- */

static void tell_done(void *context)
{
    lane_t *lane = context;
    for (size_t i = 0; i < lane->done_count; i++) {
        const sb_append_answer_t *answer = &lane->done_answer[i];
        sb_error_t err = SB_ERROR_INIT;
        char id[SB_UUID_TEXT];
        if (answer->code != SB_OK)
            (void)sb_fail_at(&err, answer->code, "/command_id", "append: command %s was another request",
                             sb_uuid_format(&lane->done[i]->encoded.command_id, id));
        answer_one(lane, lane->done[i], answer->code, &answer->result, &err);
    }
    lane->done_count = 0;
}

/* The answers of a batch that committed, to be told later. */
static void keep_done(lane_t *lane, member_t **member, size_t count)
{
    tell_done(lane); /* there are none: a batch that was sent told them */
    (void)atomic_fetch_add(&lane->appender->batches, 1);
    for (size_t i = 0; i < count; i++) {
        lane->done[i] = member[i];
        lane->done_answer[i] = lane->answer[i];
    }
    lane->done_count = count;
}

/* ---- sending ---- */

static sb_code_t send_once(lane_t *lane, member_t **member, size_t count, sb_error_t *err)
{
    if (!sb_pg_is_open(lane->pg) || !lane->has_row)
        tell_done(lane); /* that takes its time */
    sb_code_t code = connect_lane(lane, err);
    if (code == SB_OK)
        code = make_row(lane, err);
    if (code != SB_OK)
        return code;
    sb_append_batch_reset(&lane->batch);
    for (size_t i = 0; i < count; i++)
        sb_append_batch_add(&lane->batch, &member[i]->encoded);
    sb_append_lane_t next = {lane->row.id, lane->row.number + 1, tell_done, lane};
    code = sb_append_batch_run(lane->pg, &lane->batch, false, &next, lane->answer, err);
    if (code == SB_OK)
        lane->row.number++;
    return code;
}

static bool is_of_the_row(const sb_error_t *err)
{
    return strcmp(err->origin, "pg:SB002") == 0;
}

/* Sends until it is known what became of it. What did not commit is sent again where that may help. */
static sb_code_t send_batch(lane_t *lane, member_t **member, size_t count, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int tries = 0; tries < TRIES_MAX; tries++) {
        bool was_open = sb_pg_is_open(lane->pg);
        sb_error_clear(err);
        code = send_once(lane, member, count, err);
        bool no_row = code == SB_CONFLICT && is_of_the_row(err); /* cleared away, or not as we think it is */
        if (code == SB_UNKNOWN_OUTCOME || no_row) {
            code = ask(lane, (int)count, err);
            if (code != SB_CONFLICT)
                return code;
            code = sb_fail(err, SB_UNAVAILABLE, "append: the connection broke each time");
            lane->has_row = lane->has_row && !no_row;
            continue;
        }
        /* Worth another try: a deadlock with someone's own transaction, a server that cannot now, and a
         * connection that was ended while it was idle. */
        bool deadlock = code == SB_BUSY && strcmp(err->origin, "pg:55P03") != 0;
        bool away = code == SB_UNAVAILABLE && was_open;
        if (!deadlock && !away)
            return code;
        bool last = tries + 1 == TRIES_MAX;
        if (away && !last && sb_pg_is_open(lane->pg)) /* no room, or read-only: that takes its time */
            sb_sleep_ms(PAUSE_MS << tries);
    }
    return code;
}

/* Whether the fault may be that of one append. */
static bool may_be_of_one(sb_code_t code)
{
    switch (code) {
    case SB_UNAVAILABLE:
    case SB_UNKNOWN_OUTCOME:
    case SB_TIMEOUT:
    case SB_DENIED:
    case SB_NOT_FOUND:
    case SB_NO_MEMORY:
        return false;
    default:
        return true;
    }
}

static void run(lane_t *lane, member_t **member, size_t count)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = send_batch(lane, member, count, &err);
    if (code != SB_OK)
        tell_done(lane); /* unless it was sent, and did */
    if (code == SB_OK) {
        keep_done(lane, member, count);
    } else if (count > 1 && may_be_of_one(code)) {
        (void)atomic_fetch_add(&lane->appender->splits, 1);
        run(lane, member, count / 2);
        run(lane, member + count / 2, count - count / 2);
    } else {
        for (size_t i = 0; i < count; i++)
            answer_one(lane, member[i], code, NULL, &err);
    }
}

/* ---- what makes up a batch ---- */

static bool has_command(const member_t *const *member, size_t count, const sb_uuid_t *command)
{
    if (sb_uuid_is_nil(command))
        return false;
    for (size_t i = 0; i < count; i++)
        if (sb_uuid_equal(&member[i]->encoded.command_id, command))
            return true;
    return false;
}

/* As many of the oldest as fit together. */
static size_t cut(const lane_t *lane)
{
    const member_t *const *member = (const member_t *const *)lane->member;
    size_t bytes = 0, events = 0, count = 0;
    while (count < lane->member_count) {
        const sb_encoded_t *next = &member[count]->encoded;
        if (member[count]->load)
            break;
        bytes += next->bytes.len;
        events += next->count;
        if (count > 0 && (bytes > lane->appender->batch_bytes_max || events > SB_APPEND_EVENTS_MAX ||
                          has_command(member, count, &next->command_id)))
            break;
        count++;
    }
    return count;
}

static void load_catalog(lane_t *lane, member_t *member)
{
    sb_error_t err = SB_ERROR_INIT;
    tell_done(lane);
    sb_code_t code = connect_lane(lane, &err);
    if (code == SB_OK)
        code = sb_catalog_load(lane->appender->catalog, lane->pg, &err);
    answer_one(lane, member, code, NULL, &err);
}

static void take_members(lane_t *lane)
{
    lane->member_count += sb_queue_pop_many(lane->queue, (void **)lane->member + lane->member_count,
                                            lane->appender->batch_max - lane->member_count);
}

static void *work(void *context)
{
    lane_t *lane = context;
    for (;;) {
        take_members(lane);
        if (lane->member_count <=
            lane->done_count / 2) { /* those who wait for an answer bring the next ones */
            tell_done(lane);
            take_members(lane);
        }
        if (lane->member_count == 0) {
            if (sb_queue_is_closed(lane->queue) && sb_queue_count(lane->queue) == 0)
                break;
            (void)sb_signal_wait(&lane->signal, 1000);
            continue;
        }
        size_t count = cut(lane);
        if (count > 0)
            run(lane, lane->member, count);
        else
            load_catalog(lane, lane->member[count++]);
        lane->member_count -= count;
        memmove(lane->member, lane->member + count, lane->member_count * sizeof(member_t *));
    }
    close_row(lane);
    drop_connection(lane);
    return NULL;
}

/* ---- open and close ---- */

static sb_code_t open_lane(sb_appender_t *appender, lane_t *lane, size_t queue_max, sb_error_t *err)
{
    lane->appender = appender;
    sb_append_batch_init(&lane->batch);
    lane->member = calloc(appender->batch_max, sizeof(member_t *));
    lane->answer = calloc(appender->batch_max, sizeof *lane->answer);
    lane->done = calloc(appender->batch_max, sizeof(member_t *));
    lane->done_answer = calloc(appender->batch_max, sizeof *lane->done_answer);
    bool made = lane->member && lane->answer && lane->done && lane->done_answer;
    sb_code_t code = made ? sb_signal_init(&lane->signal, err) : no_memory(err);
    if (code == SB_OK)
        code = sb_queue_new(&lane->queue, queue_max, &lane->signal, err);
    return code;
}

static sb_code_t start_lane(lane_t *lane, sb_error_t *err)
{
    if (!sb_thread_start(&lane->thread, "appender", work, lane))
        return sb_fail(err, SB_UNAVAILABLE, "appender: cannot start a thread");
    lane->started = true;
    return SB_OK;
}

static void close_lane(lane_t *lane)
{
    drop_connection(lane); /* of one whose thread did not start */
    sb_queue_free(&lane->queue);
    sb_signal_fini(&lane->signal);
    sb_append_batch_fini(&lane->batch);
    free(lane->member);
    free(lane->answer);
    free(lane->done);
    free(lane->done_answer);
}

static size_t or_else(size_t value, size_t fallback)
{
    return value ? value : fallback;
}

static sb_code_t copy_texts(sb_appender_t *appender, const sb_appender_config_t *config, sb_error_t *err)
{
    appender->pg_uri = strdup(config->pg_uri);
    appender->name = strdup(config->application_name ? config->application_name : "sagabus-appender");
    appender->source = config->source ? strdup(config->source) : NULL;
    return appender->pg_uri && appender->name && (appender->source || !config->source) ? SB_OK
                                                                                       : no_memory(err);
}

/* Everything but the threads. */
static sb_code_t make(sb_appender_t **out, const sb_appender_config_t *config, sb_error_t *err)
{
    int lanes = config->connections ? config->connections : 1;
    *out = NULL;
    if (lanes < 0 || lanes > LANES_MAX)
        return sb_fail(err, SB_INVALID, "appender: %d connections, wanted are 1 to %d", lanes, LANES_MAX);
    sb_appender_t *appender = calloc(1, sizeof *appender + (size_t)lanes * sizeof(lane_t));
    if (!appender)
        return no_memory(err);
    appender->event_bytes_max = config->event_bytes_max;
    appender->batch_max = or_else(config->batch_max, BATCH_MAX);
    if (appender->batch_max > BATCH_TOP)
        appender->batch_max = BATCH_TOP;
    appender->batch_bytes_max = or_else(config->batch_bytes_max, BATCH_SIZE);
    appender->resolve_ms = config->resolve_ms ? config->resolve_ms : RESOLVE_MS;
    for (int i = 0; i < lanes; i++)
        appender->lane[i].signal.fd = -1;
    sb_code_t code = copy_texts(appender, config, err);
    while (code == SB_OK && appender->lane_count < lanes) {
        lane_t *lane = &appender->lane[appender->lane_count++];
        code = open_lane(appender, lane, or_else(config->queue_max, QUEUE_MAX), err);
    }
    if (code != SB_OK)
        sb_appender_close(&appender);
    *out = appender;
    return code;
}

static sb_code_t start(sb_appender_t **out, sb_appender_t *appender, sb_error_t *err)
{
    sb_code_t code = SB_OK;
    for (int i = 0; i < appender->lane_count && code == SB_OK; i++)
        code = start_lane(&appender->lane[i], err);
    if (code != SB_OK)
        sb_appender_close(&appender);
    *out = appender;
    return code;
}

sb_code_t sb_appender_new(sb_appender_t **out, const sb_appender_config_t *config, sb_catalog_t *catalog,
                          sb_error_t *err)
{
    sb_appender_t *appender = NULL;
    *out = NULL;
    sb_code_t code = make(&appender, config, err);
    if (!appender)
        return code;
    appender->catalog = catalog;
    return start(out, appender, err);
}

sb_code_t sb_appender_open(sb_appender_t **out, const sb_appender_config_t *config, sb_error_t *err)
{
    sb_appender_t *appender = NULL;
    *out = NULL;
    sb_code_t code = make(&appender, config, err);
    if (!appender)
        return code;
    lane_t *first = &appender->lane[0];
    appender->owns_catalog = true;
    code = sb_catalog_new(&appender->catalog, err);
    if (code == SB_OK)
        code = connect_lane(first, err);
    if (code == SB_OK)
        code = sb_catalog_load(appender->catalog, first->pg, err);
    if (code != SB_OK) {
        sb_appender_close(&appender);
        return code;
    }
    return start(out, appender, err);
}

void sb_appender_stop(sb_appender_t *appender)
{
    for (int i = 0; i < appender->lane_count; i++)
        if (appender->lane[i].started)
            sb_queue_close(appender->lane[i].queue); /* all at once, then one after the other */
    for (int i = 0; i < appender->lane_count; i++) {
        lane_t *lane = &appender->lane[i];
        if (lane->started)
            (void)pthread_join(lane->thread, NULL);
        lane->started = false;
    }
}

void sb_appender_close(sb_appender_t **appender)
{
    sb_appender_t *a = *appender;
    if (!a)
        return;
    sb_appender_stop(a);
    for (int i = 0; i < a->lane_count; i++)
        close_lane(&a->lane[i]);
    if (a->owns_catalog)
        sb_catalog_free(&a->catalog);
    free(a->pg_uri);
    free(a->name);
    free(a->source);
    free(a);
    *appender = NULL;
}

void sb_appender_stats(const sb_appender_t *appender, sb_appender_stats_t *out)
{
    *out = (sb_appender_stats_t){.appends = atomic_load(&appender->appends),
                                 .batches = atomic_load(&appender->batches),
                                 .splits = atomic_load(&appender->splits),
                                 .asked = atomic_load(&appender->asked),
                                 .unknown = atomic_load(&appender->unknown)};
    for (int i = 0; i < appender->lane_count; i++)
        out->waiting += sb_queue_count(appender->lane[i].queue);
}

/* ---- submitting ---- */

/* FNV-1a: the same stream, the same lane. */
static lane_t *lane_of(sb_appender_t *appender, const sb_encoded_t *encoded)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < encoded->category_len + encoded->key_len; i++)
        hash = (hash ^ (uint8_t)encoded->bytes.ptr[i]) * 16777619u;
    return &appender->lane[hash % (uint32_t)appender->lane_count];
}

static sb_code_t push(lane_t *lane, member_t *member, sb_error_t *err)
{
    sb_code_t code = sb_queue_push(lane->queue, member);
    if (code == SB_OK)
        return SB_OK;
    free_member(member);
    return sb_fail(err, code, code == SB_BUSY ? "append: too many appends wait already" : "append: stopping");
}

sb_code_t sb_appender_try(sb_appender_t *appender, const sb_append_t *append, sb_append_fn on_done,
                          void *context, bool *unknown, sb_error_t *err)
{
    sb_append_rules_t rules = {appender->catalog, NULL, appender->source, appender->event_bytes_max};
    *unknown = false;
    member_t *member = calloc(1, sizeof *member);
    if (!member)
        return no_memory(err);
    member->fn = on_done;
    member->context = context;
    sb_code_t code = sb_append_encode(&member->encoded, &rules, append, unknown, err);
    if (code != SB_OK) {
        free_member(member);
        return code;
    }
    return push(lane_of(appender, &member->encoded), member, err);
}

/* ---- waiting ---- */

/* A semaphore, not a condition: whoever is woken needs no lock that the lane still holds, and goes on at
 * once. It may be gone as soon as it is posted. */
typedef struct waiter {
    sem_t done;
    sb_code_t code;
    sb_append_result_t result;
    sb_error_t err;
} waiter_t;

static void on_answer(void *context, sb_code_t code, const sb_append_result_t *result, const sb_error_t *err)
{
    waiter_t *waiter = context;
    waiter->code = code;
    waiter->result = *result;
    if (err)
        waiter->err = *err;
    (void)sem_post(&waiter->done);
}

static void init_waiter(waiter_t *waiter)
{
    *waiter = (waiter_t){.err = SB_ERROR_INIT};
    (void)sem_init(&waiter->done, 0, 0);
}

static sb_code_t await(waiter_t *waiter, sb_error_t *err)
{
    while (sem_wait(&waiter->done) != 0)
        continue; /* a signal of the program's came */
    if (waiter->code != SB_OK && err)
        *err = waiter->err;
    return waiter->code;
}

static void fini_waiter(waiter_t *waiter)
{
    (void)sem_destroy(&waiter->done);
}

static bool is_callback(const sb_appender_t *appender)
{
    for (int i = 0; i < appender->lane_count; i++)
        if (pthread_equal(appender->lane[i].thread, pthread_self()))
            return true;
    return false;
}

/* From a callback it would wait for itself: there, only what is loaded is known. */
static sb_code_t refresh_catalog(sb_appender_t *appender)
{
    waiter_t waiter;
    if (is_callback(appender))
        return SB_BUSY;
    member_t *member = calloc(1, sizeof *member);
    if (!member)
        return SB_NO_MEMORY;
    init_waiter(&waiter);
    member->load = true;
    member->fn = on_answer;
    member->context = &waiter;
    sb_code_t code = push(&appender->lane[0], member, NULL);
    if (code == SB_OK)
        code = await(&waiter, NULL);
    fini_waiter(&waiter);
    return code;
}

sb_code_t sb_appender_submit(sb_appender_t *appender, const sb_append_t *append, sb_append_fn on_done,
                             void *context, sb_error_t *err)
{
    bool unknown = false;
    sb_code_t code = sb_appender_try(appender, append, on_done, context, &unknown, err);
    if (unknown && refresh_catalog(appender) == SB_OK)
        code = sb_appender_try(appender, append, on_done, context, &unknown, err);
    return code;
}

sb_code_t sb_appender_append(sb_appender_t *appender, const sb_append_t *append, sb_append_result_t *result,
                             sb_error_t *err)
{
    waiter_t waiter;
    init_waiter(&waiter);
    sb_code_t code = sb_appender_submit(appender, append, on_answer, &waiter, err);
    if (code == SB_OK)
        code = await(&waiter, err);
    *result = waiter.result;
    fini_waiter(&waiter);
    return code;
}
