/* scan_oracle - what the field scanner says of some bytes must be what jansson says of them.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_FUZZ_SCAN_ORACLE_H
#define SB_TESTS_FUZZ_SCAN_ORACLE_H

#include "sagabus/slice.h"

/* NULL when both agree (or jansson has a limit of its own there), else what differs. *valid (may be NULL)
 * gets the scanner's verdict. */
const char *sb_scan_differs(sb_slice_t text, bool *valid);

#endif
