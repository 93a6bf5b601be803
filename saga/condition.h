/* condition - a step's `when`: {"pointer": "$.input/amount", "operator": ">=", "value": 1000}.
 *
 * Operators: == != < <= > >= with a number, text, true, false or null; in with a list of them; exists and
 * absent with no value. A condition always has an answer: values of two kinds are different and in no order,
 * so with an absent value only != and absent hold. Integers are compared as integers.
 *
 * Thread: a compiled condition is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_CONDITION_H
#define SB_SAGA_CONDITION_H

#include "saga/reference.h"

#include <jansson.h>

typedef struct sb_condition sb_condition_t;

/* As sb_template_compile. */
SB_MUST_CHECK sb_code_t sb_condition_compile(sb_condition_t **out, const json_t *body,
                                             const sb_scope_t *scope, const char *at, sb_error_t *err);
void sb_condition_free(sb_condition_t **condition);

/* SB_NO_MEMORY is the only failure. */
SB_MUST_CHECK sb_code_t sb_condition_holds(const sb_condition_t *condition, sb_slice_t input,
                                           const sb_slice_t *results, bool *holds, sb_error_t *err);

#endif
