/* Runs a pattern over a text: all ways to match advance together, one code point at a time, and each
 * instruction is in the set at most once, so no text makes it slower than length × size of the pattern.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/pattern_internal.h"

uint32_t sb_pattern_code_point(const char **at, const char *end)
{
    uint8_t lead = (uint8_t) * (*at)++;
    int more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : lead >= 0xc0 ? 1 : 0;
    if (more == 0 || end - *at < more)
        return lead;
    uint32_t c = lead & (0x3fu >> more);
    for (; more > 0; more--)
        c = c << 6 | ((uint8_t) * (*at)++ & 0x3fu);
    return c;
}

bool sb_pattern_is_word(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

typedef struct place {
    bool start, end;
    bool word_before, word_after;
} place_t;

/* A sparse set: emptied by count = 0, membership without clearing the arrays. */
typedef struct threads {
    int count;
    uint16_t step[SB_PATTERN_SIZE_MAX];
    uint16_t where[SB_PATTERN_SIZE_MAX];
} threads_t;

static bool insert(threads_t *set, int step)
{
    uint16_t at = set->where[step];
    if (at < set->count && set->step[at] == step)
        return false;
    set->where[step] = (uint16_t)set->count;
    set->step[set->count++] = (uint16_t)step;
    return true;
}

static bool passes(pattern_op_t op, const place_t *place)
{
    switch (op) {
    case PATTERN_START:
        return place->start;
    case PATTERN_END:
        return place->end;
    case PATTERN_WORD_EDGE:
        return place->word_before != place->word_after;
    case PATTERN_NO_WORD_EDGE:
        return place->word_before == place->word_after;
    default:
        return false;
    }
}

/* Adds a thread and all it reaches without consuming; true when that is the match. */
static bool add(const sb_pattern_t *pattern, threads_t *set, int first, const place_t *place)
{
    /* What is inserted is worked off in order, so the set is its own queue. */
    int at = set->count;
    insert(set, first);
    for (; at < set->count; at++) {
        int i = set->step[at];
        const pattern_step_t *step = &pattern->step[i];
        switch (step->op) {
        case PATTERN_MATCH:
            return true;
        case PATTERN_SPLIT:
            insert(set, i + step->x);
            insert(set, i + step->y);
            break;
        case PATTERN_JUMP:
            insert(set, i + step->x);
            break;
        case PATTERN_CHAR:
        case PATTERN_ANY:
        case PATTERN_CLASS:
            break;
        default:
            if (passes(step->op, place))
                insert(set, i + 1);
        }
    }
    return false;
}

static bool takes(const sb_pattern_t *pattern, const pattern_step_t *step, uint32_t c)
{
    if (step->op == PATTERN_CHAR)
        return step->value == c;
    if (step->op == PATTERN_ANY)
        return c != '\n' && c != '\r' && c != 0x2028 && c != 0x2029;
    if (step->op != PATTERN_CLASS)
        return false;
    for (int i = 0; i < step->y; i++) {
        const pattern_range_t *range = &pattern->range[step->x + i];
        if (c >= range->low && c <= range->high)
            return !step->negated;
    }
    return step->negated;
}

static bool word_at(const char *at, const char *end)
{
    return at < end && sb_pattern_is_word((uint8_t)*at);
}

bool sb_pattern_matches(const sb_pattern_t *pattern, sb_slice_t text)
{
    threads_t sets[2] = {{0}};
    threads_t *now = &sets[0];
    threads_t *next = &sets[1];
    const char *at = text.ptr;
    const char *end = text.ptr + text.len;
    place_t place = {true, text.len == 0, false, word_at(at, end)};
    for (;;) {
        if (add(pattern, now, 0, &place))
            return true;
        if (at == end)
            return false;
        uint32_t c = sb_pattern_code_point(&at, end);
        place = (place_t){false, at == end, sb_pattern_is_word(c), word_at(at, end)};
        next->count = 0;
        for (int i = 0; i < now->count; i++) {
            int step = now->step[i];
            if (takes(pattern, &pattern->step[step], c) && add(pattern, next, step + 1, &place))
                return true;
        }
        threads_t *swap = now;
        now = next;
        next = swap;
    }
}
