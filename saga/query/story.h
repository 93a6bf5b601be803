/* story - one saga as its events tell it: the fold, and what the fold passes through. For whoever writes
 * about it (show.c, explain.c).
 *
 * Thread: the connection's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_STORY_H
#define SB_SAGA_STORY_H

#include "base/pg.h"
#include "events/catalog.h"
#include "saga/machine.h"

/* What a reader wants to know of one direction of a step. */
typedef struct sb_story_leg {
    int64_t started_us;
    int64_t ended_us;
    int attempts;
    sb_slice_t error; /* the newest; absent: none */
} sb_story_leg_t;

/* An answer that cannot be true together with what is recorded. */
typedef struct sb_story_anomaly {
    int64_t at_us; /* 0: there was none */
    sb_direction_t direction;
    sb_slice_t reason;
    sb_slice_t error; /* what the participant said with it */
} sb_story_anomaly_t;

/* What became of the whole saga, and who wanted it; by and reason: absent when nobody did. */
typedef struct sb_story_act {
    int64_t at_us; /* 0: it did not */
    sb_slice_t by;
    sb_slice_t reason;
} sb_story_act_t;

typedef struct sb_story_step {
    sb_story_leg_t leg[2]; /* by direction */
    sb_slice_t result;
    sb_slice_t error;
    sb_uuid_t child; /* of a step that is a saga: the one of its newest round; nil: none yet */
} sb_story_step_t;

typedef struct sb_story {
    sb_uuid_t id;
    sb_slice_t type, key, input, correlation_id;
    sb_hash_t definition_hash;
    int64_t started_us;
    int64_t ended_us; /* 0: it is not over */
    sb_definition_t *definition;
    sb_saga_state_t state;
    sb_story_step_t step[SB_STEPS_MAX];
    sb_story_anomaly_t anomaly[SB_STEPS_MAX]; /* by step */
    sb_story_act_t turned, paused, closed;    /* the newest of each */
    sb_slice_t error;                         /* the newest; absent: none */
    int error_step;                           /* -1: of the whole saga */
    int64_t error_us;

    /* What the slices point into. */
    sb_pg_result_t *row;
    sb_pg_result_t *events;
    sb_catalog_t *catalog;
    sb_buf_t texts; /* unescaped errors */
    sb_buf_t scratch;
} sb_story_t;

/* Reads and folds. The caller owns *out. SB_NOT_FOUND; SB_CORRUPT: its events do not fold. */
SB_MUST_CHECK sb_code_t sb_story_read(sb_story_t **out, sb_pg_t *pg, sb_catalog_t *catalog,
                                      const sb_uuid_t *id, sb_error_t *err);
void sb_story_free(sb_story_t **story);

/* The events one by one, from 0; slices are good until the next call. */
int sb_story_event_count(const sb_story_t *story);
SB_MUST_CHECK sb_code_t sb_story_event(sb_story_t *story, int index, sb_saga_event_t *event, int *version,
                                       sb_error_t *err);

#endif
