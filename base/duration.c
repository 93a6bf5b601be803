/* SPDX-License-Identifier: Apache-2.0 */
#include "base/duration.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

int64_t sb_duration_ms(const char *text, int64_t max_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    char *unit;
    if (*text < '0' || *text > '9')
        return -1;
    int64_t number = strtoll(text, &unit, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].unit) == 0)
            return number <= max_ms / units[i].ms ? number * units[i].ms : max_ms + 1;
    }
    return -1;
}
