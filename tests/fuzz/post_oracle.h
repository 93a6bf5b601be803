/* post_oracle - what must hold of any body of POST /v1/events.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_FUZZ_POST_ORACLE_H
#define SB_TESTS_FUZZ_POST_ORACLE_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

/* Reads text as a body and compares with what jansson reads: what is accepted has its members, nothing that
 * jansson refuses is accepted, an error points at the fault, and the same body gives the same command id.
 * NULL when all holds, else what does not. *code (may be NULL) is what reading gave. */
const char *sb_post_fault(sb_slice_t text, sb_code_t *code);

#endif
