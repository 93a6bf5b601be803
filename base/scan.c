/* One walker serves all: it validates a value from its first byte to its last, with a bit per open level in
 * place of recursion. Strings, which are most of the bytes of a body, are passed eight bytes at a time.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/scan.h"

#include "base/hex.h"
#include "base/json_pointer.h"

#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>

_Static_assert(SB_SCAN_DEPTH_MAX <= 64, "a bit per level");

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

/* ---- strings ---- */

#define EACH(byte) (0x0101010101010101u * (uint64_t)(byte))

/* Passes plain characters: neither quote, backslash, control nor beyond ASCII. The bit tricks may mark a byte
 * too much, but never below the first true one, which is the only one asked for. */
static const char *skip_plain(const char *at, const char *end)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    while (end - at >= 8) {
        uint64_t x;
        memcpy(&x, at, sizeof x);
        uint64_t quote = x ^ EACH('"');
        uint64_t slash = x ^ EACH('\\');
        uint64_t marks =
            (((x - EACH(0x20)) & ~x) | ((quote - EACH(1)) & ~quote) | ((slash - EACH(1)) & ~slash) | x) &
            EACH(0x80);
        if (marks)
            return at + __builtin_ctzll(marks) / 8;
        at += 8;
    }
#endif
    while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x80 && *at != '"' && *at != '\\')
        at++;
    return at;
}

/* Length of the UTF-8 sequence at a byte beyond ASCII; 0 when it is malformed, overlong or a surrogate. */
static size_t utf8_length(const char *at, const char *end)
{
    const uint8_t *b = (const uint8_t *)at;
    size_t left = (size_t)(end - at);
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t length;
    if (b[0] >= 0xc2 && b[0] <= 0xdf) {
        length = 2;
    } else if (b[0] >= 0xe0 && b[0] <= 0xef) {
        length = 3;
        low = b[0] == 0xe0 ? 0xa0 : 0x80;
        high = b[0] == 0xed ? 0x9f : 0xbf;
    } else if (b[0] >= 0xf0 && b[0] <= 0xf4) {
        length = 4;
        low = b[0] == 0xf0 ? 0x90 : 0x80;
        high = b[0] == 0xf4 ? 0x8f : 0xbf;
    } else {
        return 0;
    }
    if (left < length || b[1] < low || b[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((b[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

size_t sb_utf8_length(const char *text, size_t left)
{
    if (left == 0)
        return 0;
    return (unsigned char)*text < 0x80 ? 1 : utf8_length(text, text + left);
}

/* Whether the eight bytes are ASCII without a zero: most text is, and is passed over quickly. */
static bool is_plain(const char *at)
{
    static const uint64_t highs = UINT64_C(0x8080808080808080);
    static const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t bytes;
    memcpy(&bytes, at, sizeof bytes);
    return ((bytes | (bytes - ones)) & highs) == 0;
}

bool sb_utf8_ok(sb_slice_t text)
{
    size_t at = 0;
    while (text.len - at >= sizeof(uint64_t) && is_plain(text.ptr + at))
        at += sizeof(uint64_t);
    for (size_t n = 1; n > 0 && at < text.len; at += n)
        n = text.ptr[at] ? sb_utf8_length(text.ptr + at, text.len - at) : 0;
    return at == text.len;
}

/* The four hex digits at `at`, or -1. */
static int32_t hex4(const char *at, const char *end)
{
    int32_t value = 0;
    if (end - at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        int digit = sb_hex_value(at[i]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* The character of the escape at a backslash, and its length; -1 when it is malformed or half of a surrogate
 * pair, which has no UTF-8. */
static int32_t read_escape(const char *at, const char *end, size_t *length)
{
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    if (end - at < 2)
        return -1;
    *length = 2;
    if (at[1] != 'u') {
        const char *found = at[1] ? strchr(names, at[1]) : NULL;
        return found ? values[found - names] : -1;
    }
    int32_t unit = hex4(at + 2, end);
    *length = 6;
    if (unit < 0xd800 || unit > 0xdfff)
        return unit;
    if (unit > 0xdbff || end - at < 12 || at[6] != '\\' || at[7] != 'u')
        return -1;
    int32_t low = hex4(at + 8, end);
    *length = 12;
    return low < 0xdc00 || low > 0xdfff ? -1 : 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
}

/* ---- the walk ---- */

typedef struct walk {
    const char *at; /* at a fault: the offending byte */
    const char *end;
    uint64_t objects; /* bit n: level n is an object, else an array */
    int depth;
    bool escaped; /* the last string */
} walk_t;

static bool walk_string(walk_t *walk)
{
    walk->escaped = false;
    walk->at++;
    for (;;) {
        walk->at = skip_plain(walk->at, walk->end);
        if (walk->at == walk->end)
            return false;
        size_t length = 0;
        if (*walk->at == '"') {
            walk->at++;
            return true;
        }
        if (*walk->at == '\\') {
            walk->escaped = true;
            if (read_escape(walk->at, walk->end, &length) < 0)
                return false;
        } else if ((unsigned char)*walk->at < 0x20 || (length = utf8_length(walk->at, walk->end)) == 0) {
            return false;
        }
        walk->at += length;
    }
}

static bool walk_digits(walk_t *walk)
{
    const char *from = walk->at;
    while (walk->at < walk->end && *walk->at >= '0' && *walk->at <= '9')
        walk->at++;
    return walk->at > from;
}

static bool next_is(const walk_t *walk, char c)
{
    return walk->at < walk->end && *walk->at == c;
}

static bool walk_number(walk_t *walk)
{
    if (next_is(walk, '-'))
        walk->at++;
    if (next_is(walk, '0'))
        walk->at++;
    else if (!walk_digits(walk))
        return false;
    if (next_is(walk, '.')) {
        walk->at++;
        if (!walk_digits(walk))
            return false;
    }
    if (next_is(walk, 'e') || next_is(walk, 'E')) {
        walk->at++;
        if (next_is(walk, '+') || next_is(walk, '-'))
            walk->at++;
        if (!walk_digits(walk))
            return false;
    }
    return true;
}

static bool walk_word(walk_t *walk, const char *word)
{
    for (; *word; word++, walk->at++)
        if (!next_is(walk, *word))
            return false;
    return true;
}

static sb_scan_kind_t kind_at(const char *at, const char *end)
{
    if (at >= end)
        return SB_SCAN_INVALID;
    switch (*at) {
    case '{':
        return SB_SCAN_OBJECT;
    case '[':
        return SB_SCAN_ARRAY;
    case '"':
        return SB_SCAN_STRING;
    case 't':
        return SB_SCAN_TRUE;
    case 'f':
        return SB_SCAN_FALSE;
    case 'n':
        return SB_SCAN_NULL;
    default:
        return *at == '-' || (*at >= '0' && *at <= '9') ? SB_SCAN_NUMBER : SB_SCAN_INVALID;
    }
}

static bool walk_scalar(walk_t *walk, sb_scan_kind_t kind)
{
    switch (kind) {
    case SB_SCAN_STRING:
        return walk_string(walk);
    case SB_SCAN_NUMBER:
        return walk_number(walk);
    case SB_SCAN_TRUE:
        return walk_word(walk, "true");
    case SB_SCAN_FALSE:
        return walk_word(walk, "false");
    case SB_SCAN_NULL:
        return walk_word(walk, "null");
    case SB_SCAN_INVALID:
    case SB_SCAN_ARRAY:
    case SB_SCAN_OBJECT:
        break;
    }
    return false;
}

static bool in_object(const walk_t *walk)
{
    return walk->objects >> (walk->depth - 1) & 1;
}

static bool enter(walk_t *walk, bool object)
{
    if (walk->depth == SB_SCAN_DEPTH_MAX)
        return false;
    uint64_t bit = 1ull << walk->depth++;
    walk->objects = object ? walk->objects | bit : walk->objects & ~bit;
    walk->at++;
    return true;
}

/* A member's name and its colon. */
static bool walk_name(walk_t *walk)
{
    if (!next_is(walk, '"') || !walk_string(walk))
        return false;
    walk->at = skip_space(walk->at, walk->end);
    if (!next_is(walk, ':'))
        return false;
    walk->at++;
    return true;
}

typedef enum expect { EXPECT_VALUE, EXPECT_FIRST_ITEM, EXPECT_FIRST_NAME, EXPECT_NAME, EXPECT_MORE } expect_t;

/* One token; *expect says what may come here and then what may come next. */
static bool walk_token(walk_t *walk, expect_t *expect)
{
    char c = *walk->at;
    bool closes = walk->depth > 0 && c == (in_object(walk) ? '}' : ']') && *expect != EXPECT_VALUE &&
                  *expect != EXPECT_NAME;
    if (closes) {
        walk->depth--;
        walk->at++;
        *expect = EXPECT_MORE;
        return true;
    }
    if (*expect == EXPECT_MORE) {
        *expect = in_object(walk) ? EXPECT_NAME : EXPECT_VALUE;
        return walk_word(walk, ",");
    }
    if (*expect == EXPECT_NAME || *expect == EXPECT_FIRST_NAME) {
        *expect = EXPECT_VALUE;
        return walk_name(walk);
    }
    sb_scan_kind_t kind = kind_at(walk->at, walk->end);
    if (kind == SB_SCAN_OBJECT || kind == SB_SCAN_ARRAY) {
        *expect = kind == SB_SCAN_OBJECT ? EXPECT_FIRST_NAME : EXPECT_FIRST_ITEM;
        return enter(walk, kind == SB_SCAN_OBJECT);
    }
    *expect = EXPECT_MORE;
    return walk_scalar(walk, kind);
}

/* Passes one value, white space before it included. */
static bool walk_value(walk_t *walk)
{
    expect_t expect = EXPECT_VALUE;
    do {
        walk->at = skip_space(walk->at, walk->end);
        if (walk->at == walk->end || !walk_token(walk, &expect))
            return false;
    } while (walk->depth > 0);
    return true;
}

/* Reads one value at *at and moves past it. */
static bool take_value(const char **at, const char *end, sb_scan_value_t *out)
{
    const char *from = skip_space(*at, end);
    walk_t walk = {.at = from, .end = end};
    if (!walk_value(&walk))
        return false;
    out->kind = kind_at(from, end);
    out->text = (sb_slice_t){from, (size_t)(walk.at - from)};
    out->escaped = out->kind == SB_SCAN_STRING && walk.escaped;
    *at = walk.at;
    return true;
}

/* ---- passing what is known to be valid ---- */

/* Past a string, from its first quote on; end when it has no other. */
static const char *pass_string(const char *at, const char *end, bool *escaped)
{
    *escaped = false;
    for (at++; at < end; at++) {
        at = skip_plain(at, end);
        if (at == end || *at == '"')
            return at == end ? end : at + 1;
        if (*at == '\\') {
            *escaped = true;
            at++;
        }
    }
    return end;
}

static const char *pass_container(const char *at, const char *end)
{
    bool escaped = false;
    for (int depth = 0; at < end;) {
        char c = *at;
        if (c == '"') {
            at = pass_string(at, end, &escaped);
            continue;
        }
        at++;
        if (c == '{' || c == '[')
            depth++;
        else if ((c == '}' || c == ']') && --depth == 0)
            return at;
    }
    return end;
}

static const char *pass_plain_scalar(const char *at, const char *end)
{
    while (at < end && *at != ',' && *at != '}' && *at != ']' && (unsigned char)*at > ' ')
        at++;
    return at;
}

/* take_value without a second look at what it passes. */
static bool pass_value(const char **at, const char *end, sb_scan_value_t *out)
{
    const char *from = skip_space(*at, end);
    out->kind = kind_at(from, end);
    out->escaped = false;
    if (out->kind == SB_SCAN_INVALID)
        return false;
    if (out->kind == SB_SCAN_STRING)
        *at = pass_string(from, end, &out->escaped);
    else if (out->kind == SB_SCAN_OBJECT || out->kind == SB_SCAN_ARRAY)
        *at = pass_container(from, end);
    else
        *at = pass_plain_scalar(from, end);
    out->text = (sb_slice_t){from, (size_t)(*at - from)};
    return true;
}

bool sb_scan_valid(sb_slice_t text, size_t *bad_at)
{
    if (!text.ptr)
        text = SB_SLICE("");
    walk_t walk = {.at = text.ptr, .end = text.ptr + text.len};
    bool valid = walk_value(&walk);
    if (valid) {
        walk.at = skip_space(walk.at, walk.end);
        valid = walk.at == walk.end;
    }
    if (!valid && bad_at)
        *bad_at = (size_t)(walk.at - text.ptr);
    return valid;
}

/* ---- members and items ---- */

typedef bool (*take_fn)(const char **at, const char *end, sb_scan_value_t *out);

static inline bool next_part(take_fn take, sb_slice_t container, size_t *at, sb_scan_value_t *name,
                             sb_scan_value_t *value)
{
    if (!container.ptr || *at >= container.len) {
        *at = SIZE_MAX;
        return false;
    }
    const char *end = container.ptr + container.len;
    const char *open = skip_space(container.ptr, end);
    const char *here = *at ? container.ptr + *at : open;
    sb_scan_kind_t kind = kind_at(open, end);
    bool first = *at == 0;
    bool fault = kind != SB_SCAN_OBJECT && kind != SB_SCAN_ARRAY;
    if (!fault && first)
        here++;
    here = skip_space(here, end);
    if (!fault && here < end && *here == (kind == SB_SCAN_OBJECT ? '}' : ']')) {
        *at = (size_t)(here - container.ptr); /* stays at the end, so that another call says the same */
        return false;
    }
    if (!fault && !first)
        fault = here == end || *here++ != ',';
    if (!fault && kind == SB_SCAN_OBJECT) {
        fault = !take(&here, end, name) || name->kind != SB_SCAN_STRING;
        here = fault ? here : skip_space(here, end);
        fault = fault || here == end || *here++ != ':';
    }
    fault = fault || !take(&here, end, value);
    *at = fault ? SIZE_MAX : (size_t)(here - container.ptr);
    return !fault;
}

bool sb_scan_next(sb_slice_t container, size_t *at, sb_scan_value_t *name, sb_scan_value_t *value)
{
    return next_part(take_value, container, at, name, value);
}

bool sb_scan_next_valid(sb_slice_t container, size_t *at, sb_scan_value_t *name, sb_scan_value_t *value)
{
    return next_part(pass_value, container, at, name, value);
}

/* ---- values ---- */

/* One character of a string's inside, as UTF-8; the text is known to be valid. */
static size_t decode(const char **at, const char *end, char out[4])
{
    if (**at != '\\') {
        out[0] = *(*at)++;
        return 1;
    }
    size_t length = 0;
    int32_t c = read_escape(*at, end, &length);
    *at += length;
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xc0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xe0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3f));
        out[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3f));
    out[2] = (char)(0x80 | (c >> 6 & 0x3f));
    out[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static sb_slice_t inside(const sb_scan_value_t *string)
{
    return (sb_slice_t){string->text.ptr + 1, string->text.len - 2};
}

sb_slice_t sb_scan_string(const sb_scan_value_t *value, sb_buf_t *scratch)
{
    if (value->kind != SB_SCAN_STRING)
        return SB_SLICE_NONE;
    sb_slice_t text = inside(value);
    if (!value->escaped)
        return text;
    const char *end = text.ptr + text.len;
    sb_buf_reset(scratch);
    for (const char *at = text.ptr; at < end;) {
        char c[4];
        size_t length = decode(&at, end, c);
        sb_buf_add(scratch, c, length);
    }
    return sb_buf_failed(scratch) ? SB_SLICE_NONE : sb_buf_slice(scratch);
}

/* One byte of a pointer's token, ~0 and ~1 replaced. */
static char next_of_token(sb_slice_t token, size_t *at)
{
    char c = token.ptr[(*at)++];
    if (c != '~' || *at == token.len)
        return c;
    return token.ptr[(*at)++] == '1' ? '/' : '~';
}

/* Whether a member's name is the token of a pointer, both unescaped on the way. */
static bool name_is_token(const sb_scan_value_t *name, sb_slice_t token)
{
    sb_slice_t text = inside(name);
    if (!name->escaped && !memchr(token.ptr, '~', token.len))
        return sb_slice_equal(text, token);
    const char *end = text.ptr + text.len;
    size_t used = 0;
    for (const char *at = text.ptr; at < end;) {
        char c[4];
        size_t length = decode(&at, end, c);
        for (size_t i = 0; i < length; i++)
            if (used == token.len || next_of_token(token, &used) != c[i])
                return false;
    }
    return used == token.len;
}

static bool name_is(const sb_scan_value_t *name, sb_slice_t want)
{
    sb_slice_t text = inside(name);
    if (!name->escaped)
        return sb_slice_equal(text, want);
    const char *end = text.ptr + text.len;
    size_t used = 0;
    for (const char *at = text.ptr; at < end;) {
        char c[4];
        size_t length = decode(&at, end, c);
        if (want.len - used < length || memcmp(want.ptr + used, c, length) != 0)
            return false;
        used += length;
    }
    return used == want.len;
}

bool sb_scan_field(sb_slice_t object, const char *name, sb_scan_value_t *out)
{
    sb_slice_t want = sb_slice(name);
    sb_scan_value_t have = {SB_SCAN_INVALID, {NULL, 0}, false};
    size_t at = 0;
    if (!object.ptr ||
        kind_at(skip_space(object.ptr, object.ptr + object.len), object.ptr + object.len) != SB_SCAN_OBJECT)
        return false;
    while (sb_scan_next(object, &at, &have, out))
        if (name_is(&have, want))
            return true;
    return false;
}

/* The member or item of *value that the token names becomes *value. */
static bool descend(sb_scan_value_t *value, sb_slice_t token)
{
    sb_slice_t container = value->text;
    sb_scan_kind_t kind = value->kind;
    sb_scan_value_t name = {SB_SCAN_INVALID, {NULL, 0}, false};
    size_t at = 0;
    size_t index = 0;
    if (kind != SB_SCAN_OBJECT && (kind != SB_SCAN_ARRAY || !sb_json_pointer_index(token, &index)))
        return false;
    while (sb_scan_next(container, &at, &name, value))
        if (kind == SB_SCAN_OBJECT ? name_is_token(&name, token) : index-- == 0)
            return true;
    return false;
}

bool sb_scan_at(sb_slice_t text, sb_slice_t pointer, sb_scan_value_t *out)
{
    if (!text.ptr || !sb_json_pointer_ok(pointer))
        return false;
    const char *start = text.ptr;
    const char *end = text.ptr + text.len;
    if (!take_value(&start, end, out) || skip_space(start, end) != end)
        return false;
    size_t from = 0;
    while (from < pointer.len) {
        size_t stop = ++from;
        while (stop < pointer.len && pointer.ptr[stop] != '/')
            stop++;
        if (!descend(out, (sb_slice_t){pointer.ptr + from, stop - from}))
            return false;
        from = stop;
    }
    return true;
}

bool sb_scan_int64(const sb_scan_value_t *value, int64_t *out)
{
    if (value->kind != SB_SCAN_NUMBER)
        return false;
    bool negative = value->text.ptr[0] == '-';
    int64_t number = 0;
    for (size_t i = negative ? 1 : 0; i < value->text.len; i++) {
        char c = value->text.ptr[i];
        if (c < '0' || c > '9')
            return false;
        int64_t digit = negative ? '0' - c : c - '0'; /* built downwards, so that the smallest fits */
        if (__builtin_mul_overflow(number, (int64_t)10, &number) ||
            __builtin_add_overflow(number, digit, &number))
            return false;
    }
    *out = number;
    return true;
}

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* strtod takes its decimal point from the locale of the program that links us. */
static double parse_double(const char *text)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_c_locale);
    return c_locale ? strtod_l(text, NULL, c_locale) : strtod(text, NULL);
}

bool sb_scan_double(const sb_scan_value_t *value, double *out)
{
    if (value->kind != SB_SCAN_NUMBER)
        return false;
    char small[64];
    char *text = value->text.len < sizeof small ? small : malloc(value->text.len + 1);
    if (!text)
        return false;
    memcpy(text, value->text.ptr, value->text.len);
    text[value->text.len] = '\0';
    double number = parse_double(text);
    if (text != small)
        free(text);
    if (!isfinite(number))
        return false;
    *out = number;
    return true;
}
