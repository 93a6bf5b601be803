/* message_oracle - what must hold of any record from Kafka that is read as an event.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_FUZZ_MESSAGE_ORACLE_H
#define SB_TESTS_FUZZ_MESSAGE_ORACLE_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

/* The input is lines "name: value" of headers (@key and @time stand for the record's own), an empty line, and
 * the value; no empty line: a tombstone. Decodes it, looks whether what came out lies in what went in,
 * compares structured mode with jansson, and writes and reads the event again both ways. NULL when all holds,
 * else what does not. *code (may be NULL) is what decoding gave. */
const char *sb_message_fault(sb_slice_t input, sb_code_t *code);

#endif
