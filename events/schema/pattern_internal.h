/* What pattern.c (compiles) and pattern_match.c (runs) share: a program for a set of threads in lock step.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_PATTERN_INTERNAL_H
#define SB_EVENTS_PATTERN_INTERNAL_H

#include "events/schema/pattern.h"

#include <stdint.h>

#define SB_PATTERN_SIZE_MAX   1024 /* instructions; counted quantifiers repeat theirs */
#define SB_PATTERN_RANGES_MAX 500

typedef enum pattern_op {
    PATTERN_CHAR, /* value: the code point */
    PATTERN_ANY,  /* but for the ends of lines */
    PATTERN_CLASS,
    PATTERN_SPLIT, /* to x and to y */
    PATTERN_JUMP,  /* to x */
    PATTERN_START,
    PATTERN_END,
    PATTERN_WORD_EDGE,
    PATTERN_NO_WORD_EDGE,
    PATTERN_MATCH
} pattern_op_t;

/* Jumps are relative, so that a run of instructions can be copied and moved. */
typedef struct pattern_step {
    pattern_op_t op;
    bool negated; /* PATTERN_CLASS */
    int x, y;     /* PATTERN_CLASS: ranges from x, y of them */
    uint32_t value;
} pattern_step_t;

typedef struct pattern_range {
    uint32_t low, high;
} pattern_range_t;

struct sb_pattern {
    int size;
    int range_count;
    pattern_step_t *step;
    pattern_range_t *range;
};

/* Reads one code point at *at (UTF-8, taken to be valid; a bad byte stands for itself). */
uint32_t sb_pattern_code_point(const char **at, const char *end);
bool sb_pattern_is_word(uint32_t c);

#endif
