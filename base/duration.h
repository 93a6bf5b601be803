/* duration - a time as people write it in files: "200ms", "10s", "5m", "1h", "7d".
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_DURATION_H
#define SB_BASE_DURATION_H

#include <stdint.h>

/* In milliseconds; -1: not such a text. What is longer than max_ms is max_ms + 1. */
int64_t sb_duration_ms(const char *text, int64_t max_ms);

#endif
