/* SPDX-License-Identifier: Apache-2.0 */
#include "base/near.h"

#include <stdint.h>
#include <string.h>

#define WORD_MAX 48

size_t sb_near_distance(const char *a, const char *b)
{
    size_t row[WORD_MAX + 1];
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len > WORD_MAX || b_len > WORD_MAX)
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t above = row[j];
            size_t best = corner + (a[i - 1] == b[j - 1] ? 0 : 1);
            if (above + 1 < best)
                best = above + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
            corner = above;
        }
    }
    return row[b_len];
}

void sb_near_offer(sb_near_t *near_word, const char *meant, const char *candidate)
{
    size_t d = sb_near_distance(meant, candidate);
    if (d < near_word->distance) {
        near_word->distance = d;
        near_word->word = candidate;
    }
}
