/* plans - compiled saga definitions, found by name for new sagas and by hash for running ones.
 *
 * A plan is a definition and what the orchestrator works out of it once: command topics and types. Plans are
 * compiled at their first use and kept: there are few, and open sagas point at them.
 *
 * Thread: the orchestrator's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_PLANS_H
#define SB_SAGA_PLANS_H

#include "bus/topic.h"
#include "saga/machine.h"

typedef struct sb_plan_step {
    sb_topic_t topic;      /* <prefix>cmd.<participant> */
    char *command_type[2]; /* by direction: "<participant>.<action>", "<participant>.<compensation>" */
} sb_plan_step_t;

typedef struct sb_plan {
    struct sb_plan *next;
    sb_definition_t *definition;
    bool has_when;
    sb_plan_step_t step[];
} sb_plan_t;

typedef struct sb_plans {
    sb_plan_t *first;
    const sb_catalog_t *catalog; /* borrowed */
    const char *prefix;          /* of topics; borrowed */
} sb_plans_t;

void sb_plans_init(sb_plans_t *plans, const sb_catalog_t *catalog, const char *prefix);
void sb_plans_fini(sb_plans_t *plans);

/* The newest definition of a saga type. SB_NOT_FOUND names the known ones. */
SB_MUST_CHECK sb_code_t sb_plans_newest(sb_plans_t *plans, sb_slice_t type, const sb_plan_t **out,
                                        sb_error_t *err);
/* That version of it; 0: the newest. */
SB_MUST_CHECK sb_code_t sb_plans_version(sb_plans_t *plans, sb_slice_t type, int version,
                                         const sb_plan_t **out, sb_error_t *err);
/* SB_NOT_FOUND: nobody registered it; a saga is never driven by another definition than its own. */
SB_MUST_CHECK sb_code_t sb_plans_by_hash(sb_plans_t *plans, const sb_hash_t *hash, const sb_plan_t **out,
                                         sb_error_t *err);

#endif
