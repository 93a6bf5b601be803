/* schema_oracle - a schema's verdict is about values, not about how they are written.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_FUZZ_SCHEMA_ORACLE_H
#define SB_TESTS_FUZZ_SCHEMA_ORACLE_H

#include "sagabus/slice.h"

/* Compiles the schema, validates the instance as it is and as jansson writes it anew (members sorted, escapes
 * undone), also against the schema as one of an allOf, behind a reference, and negated twice. NULL when all
 * say the same (or there is nothing to ask), else what differs. *verdict (may be NULL): 1 valid, 0 invalid,
 * -1 nothing to ask. */
const char *sb_schema_differs(sb_slice_t schema, sb_slice_t instance, int *verdict);

#endif
