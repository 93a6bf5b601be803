/* near - which known word someone probably meant.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_NEAR_H
#define SB_BASE_NEAR_H

#include <stddef.h>

/* Levenshtein's distance; words of more than 48 bytes are simply far (SIZE_MAX). */
size_t sb_near_distance(const char *a, const char *b);

/* The best candidate so far: start with {NULL, limit}, offer each word, read `word` (NULL: none is within
 * limit - 1 changes). */
typedef struct sb_near {
    const char *word;
    size_t distance;
} sb_near_t;

void sb_near_offer(sb_near_t *near_word, const char *meant, const char *candidate);

#endif
