/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/clients.h"

#include "tests/e2e/stack.h"
#include "tests/support/assert.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS     10
#define PATIENCE_MS 3000
#define HOT         10 /* accounts that most sagas go for */

typedef struct client {
    chaos_clients_t *all;
    int number;
    unsigned seed;
    pthread_t thread;
} client_t;

struct chaos_clients {
    const chaos_world_t *world;
    int sagas;
    int pause_ms;
    atomic_int next, accepted, busy;
    atomic_bool may_end; /* after that many sagas */
    atomic_bool stopping;
    int64_t until_ms;
    pthread_mutex_t lock; /* of record */
    chaos_record_t record;
    client_t client[CLIENTS];
};

static void note(chaos_clients_t *all, chaos_call_t *call)
{
    call->at_ms = sb_test_mono_ms();
    (void)pthread_mutex_lock(&all->lock);
    chaos_add_call(&all->record, call);
    (void)pthread_mutex_unlock(&all->lock);
}

static chaos_verdict_t verdict_of(int http)
{
    if (http >= 200 && http < 300)
        return CHAOS_OK;
    return http == 0 || http == 429 || http >= 500 ? CHAOS_UNKNOWN : CHAOS_REFUSED;
}

static const char *text_of(const json_t *body, const char *name)
{
    const char *text = json_string_value(json_object_get(body, name));
    return text ? text : "";
}

static chaos_verdict_t ask(chaos_clients_t *all, chaos_call_t *call, const char *url, const char *method,
                           const char *path, const char *body)
{
    call->verdict = CHAOS_INVOKED;
    note(all, call);
    sb_http_answer_t answer = sb_http_within(PATIENCE_MS, method, url, path, body, NULL);
    call->http = answer.status;
    call->verdict = verdict_of(answer.status);
    if (call->verdict == CHAOS_OK && call->op != CHAOS_CANCEL) {
        (void)snprintf(call->id, sizeof call->id, "%s", text_of(answer.body, "id"));
        (void)snprintf(call->status, sizeof call->status, "%s", text_of(answer.body, "status"));
    }
    if (call->verdict == CHAOS_OK && call->op == CHAOS_START && !call->id[0])
        call->verdict = CHAOS_UNKNOWN; /* cut short */
    note(all, call);
    sb_http_free(&answer);
    return call->verdict;
}

/* ---- what a saga is asked to do follows from its number ---- */

static const char *refusal_of(int i, const chaos_type_t *type)
{
    if (i % 7 == 3)
        return type->step[type->step_count - 1].forward_only ? "settle"
                                                             : type->step[type->step_count - 1].name;
    if (i % 23 == 5)
        return type->step[1].name;
    return "none";
}

static void write_start(char *out, size_t size, int i, bool other)
{
    const chaos_type_t *type = &chaos_type[i % CHAOS_TYPES];
    int from = i % 5 ? i * 7 % HOT : i * 13 % 100, to = i % 5 ? i * 3 % HOT : i * 11 % 100;
    (void)snprintf(out, size,
                   "{\"type\":\"%s\",\"key\":\"%s-%d\",\"input\":{\"account\":\"a%d\",\"to\":\"a%d\",\"sku\":"
                   "\"a%d\",\"amount\":%d,\"one\":1,\"refuse\":\"%s\"}}",
                   type->name, type->name, i, from, to, i % HOT, 1 + i % 50 + (other ? 1 : 0),
                   refusal_of(i, type));
}

static const char *url_of(client_t *client, int turn)
{
    return client->all->world->url[(client->number + turn) % CHAOS_SERVES];
}

static bool chance(client_t *client, int percent)
{
    return rand_r(&client->seed) % 100 < percent;
}

static void ask_other_input(client_t *client, chaos_call_t call, int i)
{
    char body[512];
    write_start(body, sizeof body, i, true);
    call.op = CHAOS_OTHER_INPUT;
    (void)ask(client->all, &call, url_of(client, 0), "POST", "/v1/sagas", body);
}

static void look(client_t *client, chaos_call_t call)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/sagas/%s?history=false", call.id);
    call.op = CHAOS_LOOK;
    if (ask(client->all, &call, url_of(client, rand_r(&client->seed) % 2), "GET", path, NULL) ==
        CHAOS_REFUSED) { /* an accepted saga that is not found */
        call.op = CHAOS_START;
        call.verdict = CHAOS_REFUSED;
        note(client->all, &call);
    }
}

static void cancel(client_t *client, chaos_call_t call)
{
    char path[96];
    (void)snprintf(path, sizeof path, "/v1/sagas/%s/cancel", call.id);
    sb_test_sleep_ms(rand_r(&client->seed) % 600);
    call.op = CHAOS_CANCEL;
    (void)ask(client->all, &call, url_of(client, 0), "POST", path, "{\"reason\":\"chaos\"}");
}

/* True: accepted. */
static bool start(client_t *client, int i, chaos_call_t *call)
{
    chaos_clients_t *all = client->all;
    char body[512];
    const char *path = chance(client, 20) ? "/v1/sagas?wait=2s" : "/v1/sagas";
    write_start(body, sizeof body, i, false);
    *call = (chaos_call_t){.op = CHAOS_START};
    (void)snprintf(call->key, sizeof call->key, "%s-%d", chaos_type[i % CHAOS_TYPES].name, i);
    for (int turn = 0; ask(all, call, url_of(client, turn), "POST", path, body) != CHAOS_OK; turn++) {
        if (call->verdict == CHAOS_REFUSED ||
            (atomic_load(&all->stopping) && sb_test_mono_ms() > all->until_ms))
            return false;
        sb_test_sleep_ms(20 + rand_r(&client->seed) % 50);
    }
    return true;
}

static void play(client_t *client, int i)
{
    chaos_call_t call;
    if (!start(client, i, &call))
        return;
    atomic_fetch_add(&client->all->accepted, 1);
    if (chance(client, 6))
        cancel(client, call);
    if (chance(client, 4))
        ask_other_input(client, call, i);
    if (chance(client, 10)) /* the same again: its answer may have been the one that was lost */
        (void)start(client, i, &call);
    if (chance(client, 30) && call.id[0])
        look(client, call);
}

/* Two turns of ten are for the same saga, by two clients as a rule. */
static int number_of(int turn)
{
    return turn % 10 == 9 ? turn - 1 : turn;
}

static void *run(void *context)
{
    client_t *client = context;
    chaos_clients_t *all = client->all;
    while (!atomic_load(&all->stopping)) {
        int turn = atomic_fetch_add(&all->next, 1);
        if (turn >= all->sagas && atomic_load(&all->may_end))
            break;
        play(client, number_of(turn));
        if (all->pause_ms > 0)
            sb_test_sleep_ms(rand_r(&client->seed) % (2 * all->pause_ms));
    }
    atomic_fetch_sub(&all->busy, 1);
    return NULL;
}

chaos_clients_t *chaos_clients_start(const chaos_world_t *world, int sagas, int seconds)
{
    chaos_clients_t *all = calloc(1, sizeof *all);
    assert_non_null(all);
    all->world = world;
    all->sagas = sagas + sagas / 9; /* a tenth of the turns are repeats */
    all->pause_ms = (int)((int64_t)seconds * 1000 * CLIENTS / all->sagas / 2);
    atomic_init(&all->busy, CLIENTS);
    (void)pthread_mutex_init(&all->lock, NULL);
    for (int i = 0; i < CLIENTS; i++) {
        client_t *client = &all->client[i];
        *client = (client_t){.all = all, .number = i, .seed = world->seed * 31 + (unsigned)i};
        assert_int_equal(pthread_create(&client->thread, NULL, run, client), 0);
    }
    return all;
}

int chaos_clients_accepted(chaos_clients_t *clients)
{
    return atomic_load(&clients->accepted);
}

void chaos_clients_let_end(chaos_clients_t *clients)
{
    atomic_store(&clients->may_end, true);
}

bool chaos_clients_are_done(chaos_clients_t *clients)
{
    return atomic_load(&clients->busy) == 0;
}

void chaos_clients_stop(chaos_clients_t **clients, int64_t timeout_ms, chaos_record_t *record)
{
    chaos_clients_t *all = *clients;
    if (!all)
        return;
    all->until_ms = sb_test_mono_ms() + timeout_ms;
    atomic_store(&all->stopping, true);
    for (int i = 0; i < CLIENTS; i++)
        (void)pthread_join(all->client[i].thread, NULL);
    for (size_t i = 0; i < all->record.calls; i++)
        chaos_add_call(record, &all->record.call[i]);
    chaos_record_free(&all->record);
    (void)pthread_mutex_destroy(&all->lock);
    free(all);
    *clients = NULL;
}
