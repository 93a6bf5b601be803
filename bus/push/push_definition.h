/* push_definition - a push subscription's file (schemas/subscriptions/<name>.json), compiled: which events go
 * to which endpoint, in what order, and what happens when it does not take them.
 *
 * The file names an endpoint, and the settings say where that is and what its requests are signed with
 * (bus/push/push_endpoint.h): a file that is registered can send nothing to a host that the operator did not
 * name, and holds no secret. schemas/subscription.schema.json describes the file.
 *
 * Thread: a compiled definition is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BUS_PUSH_DEFINITION_H
#define SB_BUS_PUSH_DEFINITION_H

#include "base/breaker.h"
#include "base/retry.h"
#include "events/catalog.h"

#define SB_PUSH_NAME_MAX       50
#define SB_PUSH_TYPES_MAX      64
#define SB_PUSH_AT_ONCE_MAX    256
#define SB_PUSH_RATE_MAX       100000
#define SB_PUSH_TIMEOUT_MS_MAX 300000

typedef enum sb_push_order {
    SB_PUSH_BY_KEY, /* an event waits for the one before it of its key */
    SB_PUSH_ANY_ORDER,
    SB_PUSH_ONE_BY_ONE /* each waits for the one before it; one that fails stops the subscription */
} sb_push_order_t;

typedef struct sb_push_definition {
    const char *name;
    const char *title; /* NULL: none */
    int version;
    const char *endpoint;               /* the settings push.<endpoint>.* */
    const char *path;                   /* behind the endpoint's URL; "" or begins with a slash */
    sb_slice_t type[SB_PUSH_TYPES_MAX]; /* patterns */
    size_t type_count;
    sb_push_order_t order;
    bool structured;
    bool from_start;
    bool sign;
    uint32_t at_once; /* requests under way */
    uint32_t rate;    /* a second; 0: no limit */
    uint32_t timeout_ms;
    sb_retry_policy_t retry;
    sb_breaker_config_t breaker;
    json_t *body; /* a reference of its own; names and patterns point into it */
} sb_push_definition_t;

/* Compiles and checks. The caller owns *out. SB_INVALID with err->pointer at the fault and the reason. */
SB_MUST_CHECK sb_code_t sb_push_definition_new(sb_push_definition_t **out, const json_t *body,
                                               sb_error_t *err);
void sb_push_definition_free(sb_push_definition_t **definition);

/* The check of the catalog's kind SB_ARTIFACT_SUBSCRIPTION: the definition itself, and that each of its
 * patterns names a registered event type that leaves the store. */
sb_code_t sb_push_check(const json_t *body, const sb_catalog_t *catalog, sb_error_t *err);

/* Whether the subscription gets events of this type: one of its patterns names it, and it is none of the
 * types that stay in the store. */
bool sb_push_wants(const sb_push_definition_t *definition, sb_slice_t type);

#endif
