/* watch - who waits for the end of which saga.
 *
 * Callbacks run without the lock. sb_watches_remove waits for a callback that is running for the same
 * context, so that the context may die after it; called from inside that callback it does not wait.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_WATCH_H
#define SB_SAGA_WATCH_H

#include "saga/orchestrator/orchestrator.h"

typedef struct sb_watches sb_watches_t;

SB_MUST_CHECK sb_code_t sb_watches_new(sb_watches_t **out, sb_error_t *err);
void sb_watches_free(sb_watches_t **watches);

SB_MUST_CHECK sb_code_t sb_watches_add(sb_watches_t *watches, const sb_uuid_t *id,
                                       sb_saga_answer_fn on_answer, void *context, sb_error_t *err);
/* False: there was none, it has fired. */
bool sb_watches_remove(sb_watches_t *watches, const sb_uuid_t *id, void *context);

/* Answers everyone who waits for answer->id and forgets them. */
void sb_watches_fire(sb_watches_t *watches, const sb_saga_answer_t *answer);
/* Answers everyone there is. */
void sb_watches_fire_all(sb_watches_t *watches, sb_code_t code, const sb_error_t *err);

size_t sb_watches_count(const sb_watches_t *watches);

/* Up to max of the ids that are waited for; each round begins where the last one ended. */
size_t sb_watches_list(sb_watches_t *watches, sb_uuid_t *ids, size_t max);

#endif
