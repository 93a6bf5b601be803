/* played_bus - a bus without brokers: it remembers what was sent, and hands over the reply it is told to.
 *
 * Thread: the test's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_UNIT_PLAYED_BUS_H
#define SB_TESTS_UNIT_PLAYED_BUS_H

#include "base/clock.h"
#include "saga/dispatch/participants.h"

#define SEEN_MAX 4000

typedef struct below {
    int sent;
    struct {
        char topic[64];
        int partition;
        char id[SB_UUID_TEXT];
        char outcome[16];
        char expiry[SB_TIME_TEXT];
    } record[SEEN_MAX];
    sb_message_t reply; /* header_count 0: none */
    bool full;
    int too_large; /* the command of this number is; 0: none */
} below_t;

extern const sb_command_bus_t below_operations; /* their context is a below_t */

/* Absent: there is none. */
sb_slice_t header_of(const sb_header_t *headers, size_t count, const char *name);
void keep_text(char *out, size_t cap, sb_slice_t text);

#endif
