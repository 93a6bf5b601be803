/* nesting - what must hold between definitions of which one is a step of another.
 *
 * The saga that a step names is registered; none contains itself, however far down; they are nested at most
 * SB_NESTING_MAX deep; and whatever may have to be undone can be: a saga with a pivot can be the pivot of
 * another, or come after it, and nothing else. The newest versions count, as a step starts the newest.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_NESTING_H
#define SB_SAGA_NESTING_H

#include "saga/definition.h"

#define SB_NESTING_MAX 5 /* sagas below the outermost */

/* SB_INVALID with err->pointer at the step's `saga` and the reason. */
SB_MUST_CHECK sb_code_t sb_nesting_check(const sb_definition_t *definition, const sb_catalog_t *catalog,
                                         sb_error_t *err);

/* Only whether it contains itself, or one below it does, as far down as the catalog has them: of a file that
 * is looked at alone. */
SB_MUST_CHECK sb_code_t sb_nesting_circle(const sb_definition_t *definition, const sb_catalog_t *catalog,
                                          sb_error_t *err);

#endif
