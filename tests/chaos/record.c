/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WALLET_A, WALLET_B, STOCK, SHIP };

const char *const chaos_service[CHAOS_SERVICES] = {"wallet_a", "wallet_b", "stock", "ship"};

const chaos_type_t chaos_type[CHAOS_TYPES] = {
    {.name = "transfer",
     .step_count = 5,
     .step = {{.name = "look", .service = WALLET_B, .order = 0, .no_effect = true},
              {.name = "hold", .service = WALLET_A, .order = 1},
              {.name = "announce", .service = SHIP, .order = 2},
              {.name = "settle", .service = WALLET_A, .order = 3, .pivot = true},
              {.name = "credit", .service = WALLET_B, .order = 4, .forward_only = true}}},
    {.name = "purchase",
     .step_count = 4,
     .takes_stock = true,
     .step = {{.name = "reserve", .service = STOCK, .order = 0},
              {.name = "charge", .service = WALLET_A, .order = 1},
              {.name = "pay", .service = WALLET_B, .order = 2},
              {.name = "book", .service = SHIP, .order = 3}}},
    {.name = "bundle",
     .step_count = 4,
     .takes_stock = true,
     .step = {{.name = "reserve", .service = STOCK, .order = 0},
              {.name = "charge", .service = WALLET_A, .order = 0},
              {.name = "pay", .service = WALLET_B, .order = 0},
              {.name = "book", .service = SHIP, .order = 1}}},
    {.name = "combo",
     .step_count = 4,
     .takes_stock = true,
     .step = {{.name = "reserve", .service = STOCK, .order = 0},
              {.name = "charge", .service = WALLET_A, .order = 1}, /* these two are a saga */
              {.name = "pay", .service = WALLET_B, .order = 2},
              {.name = "book", .service = SHIP, .order = 3}}},
};

const chaos_type_t *chaos_type_named(const char *name)
{
    for (int i = 0; i < CHAOS_TYPES; i++)
        if (strcmp(chaos_type[i].name, name) == 0)
            return &chaos_type[i];
    return NULL;
}

int chaos_step_named(const chaos_type_t *type, const char *name)
{
    for (int i = 0; i < type->step_count; i++)
        if (strcmp(type->step[i].name, name) == 0)
            return i;
    return -1;
}

/* Room for one more: the counts are powers of two apart. */
static void *room(void *list, size_t count, size_t size)
{
    if (count & (count - 1))
        return list;
    void *grown = realloc(list, (count ? count * 2 : 1) * size);
    if (!grown)
        abort();
    return grown;
}

void chaos_add_call(chaos_record_t *record, const chaos_call_t *call)
{
    record->call = room(record->call, record->calls, sizeof *call);
    record->call[record->calls++] = *call;
}

void chaos_add_saga(chaos_record_t *record, const chaos_saga_t *saga)
{
    record->saga = room(record->saga, record->sagas, sizeof *saga);
    record->saga[record->sagas++] = *saga;
}

void chaos_add_event(chaos_record_t *record, const chaos_event_t *event)
{
    record->event = room(record->event, record->events, sizeof *event);
    record->event[record->events++] = *event;
}

void chaos_add_effect(chaos_record_t *record, const chaos_effect_t *effect)
{
    record->effect = room(record->effect, record->effects, sizeof *effect);
    record->effect[record->effects++] = *effect;
}

void chaos_add_books(chaos_record_t *record, const chaos_books_t *books)
{
    record->books = room(record->books, record->books_count, sizeof *books);
    record->books[record->books_count++] = *books;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const chaos_saga_t *)a)->id, ((const chaos_saga_t *)b)->id);
}

void chaos_give_effects_to_parents(chaos_record_t *record)
{
    if (record->sagas > 0)
        qsort(record->saga, record->sagas, sizeof *record->saga, by_id);
    for (size_t i = 0; i < record->effects && record->sagas > 0; i++) {
        chaos_saga_t wanted = {.no = 0};
        (void)snprintf(wanted.id, sizeof wanted.id, "%s", record->effect[i].id);
        const chaos_saga_t *saga = bsearch(&wanted, record->saga, record->sagas, sizeof wanted, by_id);
        if (saga && saga->parent[0])
            (void)snprintf(record->effect[i].id, sizeof record->effect[i].id, "%s", saga->parent);
    }
}

void chaos_record_free(chaos_record_t *record)
{
    free(record->call);
    free(record->saga);
    free(record->event);
    free(record->effect);
    free(record->books);
    *record = (chaos_record_t){.call = NULL};
}
