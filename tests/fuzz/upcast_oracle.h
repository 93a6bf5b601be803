/* upcast_oracle - what the operations of an upcast make of a body's bytes must be what they make of jansson's
 * tree.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_FUZZ_UPCAST_ORACLE_H
#define SB_TESTS_FUZZ_UPCAST_ORACLE_H

#include "base/buf.h"

/* NULL when both agree (or jansson cannot read one of the two), else what differs. *out (may be NULL) gets
 * the body that the operations made. */
const char *sb_upcast_differs(sb_slice_t declaration, sb_slice_t body, sb_buf_t *out);

#endif
