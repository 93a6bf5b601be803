/* Compiles a regular expression by recursive descent; each rule leaves its instructions at the end of the
 * program, and quantifiers wrap or repeat the run they find there.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/pattern_internal.h"

#include "base/hex.h"

#include <stdlib.h>

#define GROUP_DEPTH_MAX 50
#define LAST_CODE_POINT 0x10ffffu

typedef struct compiler {
    sb_pattern_t *pattern;
    sb_slice_t text;
    const char *at;
    const char *end;
    int depth;
    sb_code_t code;
    sb_error_t *err;
} compiler_t;

static bool fail(compiler_t *c, sb_code_t code, const char *why)
{
    if (c->code == SB_OK)
        c->code = sb_fail(c->err, code, "pattern %.*s: %s at offset %zu", SB_SLICE_ARG(c->text), why,
                          (size_t)(c->at - c->text.ptr));
    return false;
}

/* ---- the program ---- */

static bool emit(compiler_t *c, pattern_step_t step)
{
    if (c->pattern->size == SB_PATTERN_SIZE_MAX)
        return fail(c, SB_UNSUPPORTED, "too large");
    c->pattern->step[c->pattern->size++] = step;
    return true;
}

/* Puts a step in front of the run that begins at start. */
static bool emit_before(compiler_t *c, int start, pattern_step_t step)
{
    if (!emit(c, step))
        return false;
    pattern_step_t *run = c->pattern->step + start;
    memmove(run + 1, run, (size_t)(c->pattern->size - 1 - start) * sizeof *run);
    *run = step;
    return true;
}

static bool emit_copy(compiler_t *c, int start, int length)
{
    for (int i = 0; i < length; i++)
        if (!emit(c, c->pattern->step[start + i]))
            return false;
    return true;
}

static bool add_range(compiler_t *c, uint32_t low, uint32_t high)
{
    if (low > high)
        return fail(c, SB_INVALID, "a range is out of order");
    if (c->pattern->range_count == SB_PATTERN_RANGES_MAX)
        return fail(c, SB_UNSUPPORTED, "too many ranges");
    c->pattern->range[c->pattern->range_count++] = (pattern_range_t){low, high};
    return true;
}

/* ---- reading ---- */

static bool accept(compiler_t *c, char want)
{
    if (c->at == c->end || *c->at != want)
        return false;
    c->at++;
    return true;
}

static bool accept_text(compiler_t *c, const char *want)
{
    size_t n = strlen(want);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, want, n) != 0)
        return false;
    c->at += n;
    return true;
}

static bool read_hex(compiler_t *c, int digits_min, int digits_max, uint32_t *out)
{
    uint32_t value = 0;
    int digits = 0;
    while (digits < digits_max && c->at < c->end && sb_hex_value(*c->at) >= 0) {
        value = value << 4 | (uint32_t)sb_hex_value(*c->at++);
        digits++;
    }
    *out = value;
    if (digits < digits_min || value > LAST_CODE_POINT)
        return fail(c, SB_INVALID, "not a code point");
    return true;
}

static bool read_unicode_escape(compiler_t *c, uint32_t *out)
{
    if (accept(c, '{')) {
        if (!read_hex(c, 1, 6, out))
            return false;
        return accept(c, '}') || fail(c, SB_INVALID, "\\u{ is not closed");
    }
    if (!read_hex(c, 4, 4, out))
        return false;
    uint32_t low;
    if (*out >= 0xd800 && *out < 0xdc00 && accept_text(c, "\\u")) {
        if (!read_hex(c, 4, 4, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(c, SB_INVALID, "half of a surrogate pair");
        *out = 0x10000 + ((*out - 0xd800) << 10) + (low - 0xdc00);
    }
    return true;
}

/* An escape that stands for one code point; the backslash is read. */
static bool read_escaped_char(compiler_t *c, bool in_class, uint32_t *out)
{
    static const char letters[] = "nrtfv";
    static const char values[] = "\n\r\t\f\v";
    if (c->at == c->end)
        return fail(c, SB_INVALID, "ends with a backslash");
    char e = *c->at++;
    const char *letter = memchr(letters, e, sizeof letters - 1);
    *out = letter ? (uint8_t)values[letter - letters] : (uint8_t)e;
    if (letter)
        return true;
    if (e == 'x')
        return read_hex(c, 2, 2, out);
    if (e == 'u')
        return read_unicode_escape(c, out);
    if (e == '0' && (c->at == c->end || *c->at < '0' || *c->at > '9')) {
        *out = 0;
        return true;
    }
    if (e == 'c' && c->at < c->end && sb_pattern_is_word((uint8_t)*c->at) && (*c->at | 0x20) >= 'a') {
        *out = (uint8_t)*c->at++ & 0x1fu;
        return true;
    }
    if (in_class && e == 'b') {
        *out = '\b';
        return true;
    }
    if (strchr("^$\\.*+?()[]{}|/", e) || (in_class && e == '-'))
        return true;
    c->at--;
    return fail(c, SB_UNSUPPORTED, "an escape that is not supported (back reference, \\p, …)");
}

/* ---- classes ---- */

static const pattern_range_t digit_ranges[] = {{'0', '9'}};
static const pattern_range_t word_ranges[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
static const pattern_range_t space_ranges[] = {
    {'\t', '\r'},     {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
    {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};

static bool add_named(compiler_t *c, const pattern_range_t *ranges, size_t count, bool opposite)
{
    uint32_t from = 0;
    for (size_t i = 0; i < count; i++) {
        if (!opposite) {
            if (!add_range(c, ranges[i].low, ranges[i].high))
                return false;
            continue;
        }
        if (ranges[i].low > from && !add_range(c, from, ranges[i].low - 1))
            return false;
        from = ranges[i].high + 1;
    }
    return !opposite || add_range(c, from, LAST_CODE_POINT);
}

/* Adds the class of \d \w \s \D \W \S when that is what follows the backslash. */
static bool accept_named_class(compiler_t *c)
{
    char e = c->at < c->end ? *c->at : '\0';
    bool opposite = e >= 'A' && e <= 'Z';
    switch (e | 0x20) {
    case 'd':
        c->at++;
        return add_named(c, digit_ranges, sizeof digit_ranges / sizeof *digit_ranges, opposite);
    case 'w':
        c->at++;
        return add_named(c, word_ranges, sizeof word_ranges / sizeof *word_ranges, opposite);
    case 's':
        c->at++;
        return add_named(c, space_ranges, sizeof space_ranges / sizeof *space_ranges, opposite);
    default:
        return false;
    }
}

static bool read_class_char(compiler_t *c, uint32_t *out)
{
    if (accept(c, '\\'))
        return read_escaped_char(c, true, out);
    *out = sb_pattern_code_point(&c->at, c->end);
    return true;
}

static bool read_class_item(compiler_t *c)
{
    if (c->at + 1 < c->end && c->at[0] == '\\') {
        c->at++;
        if (accept_named_class(c) || c->code != SB_OK)
            return c->code == SB_OK;
        c->at--;
    }
    uint32_t low, high;
    if (!read_class_char(c, &low))
        return false;
    high = low;
    if (c->end - c->at >= 2 && c->at[0] == '-' && c->at[1] != ']') {
        c->at++;
        if (!read_class_char(c, &high))
            return false;
    }
    return add_range(c, low, high);
}

/* After the opening bracket. */
static bool read_class(compiler_t *c)
{
    pattern_step_t step = {.op = PATTERN_CLASS, .x = c->pattern->range_count};
    step.negated = accept(c, '^');
    while (!accept(c, ']')) {
        if (c->at == c->end)
            return fail(c, SB_INVALID, "[ is not closed");
        if (!read_class_item(c))
            return false;
    }
    step.y = c->pattern->range_count - step.x;
    return emit(c, step);
}

/* ---- atoms, quantifiers, alternatives ---- */

static bool read_alternatives(compiler_t *c);

static bool read_group(compiler_t *c)
{
    if (accept(c, '?') && !accept(c, ':'))
        return fail(c, SB_UNSUPPORTED, "look-around and named groups are not supported");
    if (++c->depth > GROUP_DEPTH_MAX)
        return fail(c, SB_UNSUPPORTED, "groups are nested too deep");
    if (!read_alternatives(c))
        return false;
    c->depth--;
    return accept(c, ')') || fail(c, SB_INVALID, "( is not closed");
}

static bool read_escape(compiler_t *c)
{
    if (accept(c, 'b'))
        return emit(c, (pattern_step_t){.op = PATTERN_WORD_EDGE});
    if (accept(c, 'B'))
        return emit(c, (pattern_step_t){.op = PATTERN_NO_WORD_EDGE});
    pattern_step_t class_step = {.op = PATTERN_CLASS, .x = c->pattern->range_count};
    if (accept_named_class(c)) {
        class_step.y = c->pattern->range_count - class_step.x;
        return emit(c, class_step);
    }
    pattern_step_t step = {.op = PATTERN_CHAR};
    return c->code == SB_OK && read_escaped_char(c, false, &step.value) && emit(c, step);
}

static bool read_atom(compiler_t *c)
{
    if (accept(c, '('))
        return read_group(c);
    if (accept(c, '['))
        return read_class(c);
    if (accept(c, '\\'))
        return read_escape(c);
    if (accept(c, '.'))
        return emit(c, (pattern_step_t){.op = PATTERN_ANY});
    if (accept(c, '^'))
        return emit(c, (pattern_step_t){.op = PATTERN_START});
    if (accept(c, '$'))
        return emit(c, (pattern_step_t){.op = PATTERN_END});
    if (strchr("*+?{}]", *c->at))
        return fail(c, SB_INVALID, "a character that must be escaped");
    pattern_step_t step = {.op = PATTERN_CHAR};
    step.value = sb_pattern_code_point(&c->at, c->end);
    return emit(c, step);
}

static bool read_count(compiler_t *c, int *out)
{
    int value = 0;
    const char *start = c->at;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (value <= SB_PATTERN_SIZE_MAX)
            value = value * 10 + (*c->at - '0');
    *out = value;
    return c->at > start;
}

/* *max -1: without end. False with code SB_OK: no quantifier here. */
static bool read_quantifier(compiler_t *c, int *min, int *max)
{
    *min = 0;
    *max = -1;
    if (accept(c, '*'))
        return true;
    if (accept(c, '+')) {
        *min = 1;
        return true;
    }
    if (accept(c, '?')) {
        *max = 1;
        return true;
    }
    if (!accept(c, '{'))
        return false;
    if (!read_count(c, min))
        return fail(c, SB_INVALID, "{ without a count");
    *max = *min;
    if (accept(c, ',') && !read_count(c, max))
        *max = -1;
    if (!accept(c, '}') || (*max >= 0 && *max < *min))
        return fail(c, SB_INVALID, "not a count");
    return true;
}

/* Repeats the run from start to the end of the program. */
static bool repeat(compiler_t *c, int start, int min, int max)
{
    int length = c->pattern->size - start;
    int ranges = max < 0 ? min + 1 : max; /* how many copies are needed */
    if (ranges == 0) {
        c->pattern->size = start;
        return true;
    }
    /* The copies are made first, then the optional ones are wrapped from the last to the first. */
    for (int i = 1; i < ranges; i++)
        if (!emit_copy(c, start, length))
            return false;
    for (int i = ranges - 1; i >= min; i--) {
        int run = start + i * length;
        bool forever = max < 0;
        pattern_step_t split = {.op = PATTERN_SPLIT, .x = 1, .y = length + (forever ? 2 : 1)};
        if (forever && !emit(c, (pattern_step_t){.op = PATTERN_JUMP, .x = -(length + 1)}))
            return false;
        if (!emit_before(c, run, split))
            return false;
    }
    return true;
}

static bool read_sequence(compiler_t *c)
{
    while (c->at < c->end && *c->at != '|' && *c->at != ')') {
        int start = c->pattern->size;
        int min, max;
        if (!read_atom(c))
            return false;
        if (read_quantifier(c, &min, &max)) {
            (void)accept(c, '?'); /* lazy: the same texts match */
            if (!repeat(c, start, min, max))
                return false;
        }
        if (c->code != SB_OK)
            return false;
    }
    return true;
}

static bool read_alternatives(compiler_t *c)
{
    int start = c->pattern->size;
    if (!read_sequence(c))
        return false;
    if (!accept(c, '|'))
        return true;
    int left = c->pattern->size - start;
    if (!emit_before(c, start, (pattern_step_t){.op = PATTERN_SPLIT, .x = 1, .y = left + 2}))
        return false;
    int jump = c->pattern->size;
    if (!emit(c, (pattern_step_t){.op = PATTERN_JUMP}) || !read_alternatives(c))
        return false;
    c->pattern->step[jump].x = c->pattern->size - jump;
    return true;
}

static bool compile(compiler_t *c)
{
    if (!read_alternatives(c))
        return false;
    if (c->at < c->end)
        return fail(c, SB_INVALID, ") without (");
    return emit(c, (pattern_step_t){.op = PATTERN_MATCH});
}

sb_code_t sb_pattern_compile(sb_pattern_t **out, sb_slice_t text, sb_error_t *err)
{
    *out = NULL;
    sb_pattern_t *pattern = calloc(1, sizeof *pattern);
    if (pattern) {
        pattern->step = calloc(SB_PATTERN_SIZE_MAX, sizeof *pattern->step);
        pattern->range = calloc(SB_PATTERN_RANGES_MAX, sizeof *pattern->range);
    }
    if (!pattern || !pattern->step || !pattern->range) {
        sb_pattern_free(&pattern);
        return sb_fail(err, SB_NO_MEMORY, "compile a pattern: out of memory");
    }
    compiler_t c = {pattern, text, text.ptr, text.ptr + text.len, 0, SB_OK, err};
    if (!compile(&c)) {
        sb_pattern_free(&pattern);
        return c.code;
    }
    pattern_step_t *step = realloc(pattern->step, (size_t)pattern->size * sizeof *step);
    if (step)
        pattern->step = step;
    *out = pattern;
    return SB_OK;
}

void sb_pattern_free(sb_pattern_t **pattern)
{
    if (!*pattern)
        return;
    free((*pattern)->step);
    free((*pattern)->range);
    free(*pattern);
    *pattern = NULL;
}
