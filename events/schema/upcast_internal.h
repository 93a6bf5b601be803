/* What upcast.c (compiles) and upcast_run.c (runs) share: the operations.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_UPCAST_INTERNAL_H
#define SB_EVENTS_UPCAST_INTERNAL_H

#include "base/scan.h"
#include "events/schema/upcast.h"

typedef enum upcast_kind {
    UPCAST_RENAME,
    UPCAST_MOVE,
    UPCAST_DROP,
    UPCAST_DEFAULT,
    UPCAST_CONST
} upcast_kind_t;

/* A member's name on the way of a pointer. */
typedef struct upcast_token {
    sb_slice_t name;   /* unescaped */
    sb_slice_t quoted; /* as JSON writes it */
} upcast_token_t;

typedef struct upcast_path {
    upcast_token_t *token; /* at least one */
    int count;
    char *text; /* what the slices point into */
} upcast_path_t;

typedef struct upcast_op {
    upcast_kind_t kind;
    upcast_path_t at; /* from; at */
    upcast_path_t to; /* of rename and move */
    char *value;      /* JSON text of default and const */
} upcast_op_t;

struct sb_upcast {
    bool hook;
    upcast_op_t *op;
    int count;
};

#endif
