/* Runs a compiled schema on bytes: the scanner hands out slices of them, nothing is built. The first fault
 * ends the run; inside anyOf, oneOf, not, if and contains a fault is an answer, so it is not written down.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "events/schema/schema_internal.h"
#include "sagabus/id.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct segment {
    const sb_scan_value_t *name; /* NULL: an index */
    size_t index;
} segment_t;

/* Which members or items of a value the schemas in place have looked at, those that hold: a schema that does
 * not hold has looked at nothing. Kept only for schemas with unevaluatedProperties or unevaluatedItems in
 * them. */
typedef struct track {
    uint64_t few[4];
    uint64_t *bits; /* few, or allocated */
    size_t count;
} track_t;

typedef struct run {
    sb_error_t *err;
    int quiet; /* above 0: a fault is only an answer */
    bool no_memory;
    int depth;
    segment_t path[SB_SCAN_DEPTH_MAX + 2];
    sb_buf_t scratch; /* of the string looked at */
} run_t;

/* track: where the caller wants to know what was looked at; NULL: it does not. */
static bool check(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track);

static bool fault(run_t *run, const char *format, ...) SB_PRINTF(2, 3);
static bool fault(run_t *run, const char *format, ...)
{
    if (run->quiet > 0 || !run->err)
        return false;
    sb_buf_t pointer = SB_BUF_INIT;
    for (int i = 0; i < run->depth; i++) {
        if (run->path[i].name)
            sb_json_pointer_add(&pointer, sb_scan_string(run->path[i].name, &run->scratch));
        else
            sb_json_pointer_add_index(&pointer, run->path[i].index);
    }
    va_list args;
    va_start(args, format);
    (void)sb_vfail(run->err, SB_INVALID, format, args);
    va_end(args);
    (void)snprintf(run->err->pointer, sizeof run->err->pointer, "%s", sb_buf_text(&pointer));
    sb_buf_fini(&pointer);
    return false;
}

static void down(run_t *run, const sb_scan_value_t *name, size_t index)
{
    run->path[run->depth++] = (segment_t){name, index};
}

static void up(run_t *run)
{
    run->depth--;
}

/* The value of a string, valid until the next call. */
static sb_slice_t string_of(run_t *run, const sb_scan_value_t *value)
{
    sb_buf_reset(&run->scratch);
    sb_slice_t text = sb_scan_string(value, &run->scratch);
    run->no_memory |= sb_buf_failed(&run->scratch);
    return text;
}

/* ---- what was looked at ---- */

static size_t count_parts(const sb_scan_value_t *value)
{
    sb_scan_value_t name, part;
    size_t count = 0;
    for (size_t at = 0; sb_scan_next_valid(value->text, &at, &name, &part);)
        count++;
    return count;
}

static bool track_begin(run_t *run, track_t *track, const sb_scan_value_t *value)
{
    track->count = count_parts(value);
    track->bits = track->few;
    memset(track->few, 0, sizeof track->few);
    if (track->count > sizeof track->few * 8)
        track->bits = calloc((track->count + 63) / 64, sizeof *track->bits);
    run->no_memory |= track->bits == NULL;
    return track->bits != NULL;
}

static void track_end(track_t *track)
{
    if (track->bits != track->few)
        free(track->bits);
}

static void mark(track_t *track, size_t index)
{
    if (track)
        track->bits[index / 64] |= UINT64_C(1) << (index % 64);
}

static bool is_marked(const track_t *track, size_t index)
{
    return track->bits[index / 64] >> (index % 64) & 1;
}

static void mark_all_of(track_t *track, const track_t *other)
{
    for (size_t i = 0; track && i < (other->count + 63) / 64; i++)
        track->bits[i] |= other->bits[i];
}

/* ---- any type ---- */

static unsigned type_of(const sb_scan_value_t *value)
{
    switch (value->kind) {
    case SB_SCAN_NULL:
        return SCHEMA_NULL;
    case SB_SCAN_FALSE:
    case SB_SCAN_TRUE:
        return SCHEMA_BOOLEAN;
    case SB_SCAN_NUMBER:
        return SCHEMA_NUMBER;
    case SB_SCAN_STRING:
        return SCHEMA_STRING;
    case SB_SCAN_ARRAY:
        return SCHEMA_ARRAY;
    case SB_SCAN_OBJECT:
        return SCHEMA_OBJECT;
    default:
        return 0;
    }
}

static bool check_type(run_t *run, const schema_node_t *node, const sb_scan_value_t *value)
{
    static const char *const names[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    unsigned type = type_of(value);
    if (!node->types || node->types & type)
        return true;
    if (type == SCHEMA_NUMBER && node->types & SCHEMA_INTEGER) {
        sb_decimal_t number = sb_decimal(value->text);
        if (sb_decimal_is_integer(&number))
            return true;
    }
    char wanted[80] = "";
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        size_t used = strlen(wanted);
        if (node->types & (1u << i))
            (void)snprintf(wanted + used, sizeof wanted - used, "%s%s", used ? " or " : "", names[i]);
    }
    unsigned is = 0;
    while (is < 6 && !(type & (1u << is)))
        is++;
    return fault(run, "must be of type %s, is of type %s", wanted, names[is]);
}

static bool is_one_of(run_t *run, const schema_values_t *values, const sb_scan_value_t *value)
{
    bool plain = value->kind == SB_SCAN_STRING && !value->escaped;
    sb_hash_t digest;
    if (!plain && !schema_digest(value, &digest))
        run->no_memory = true;
    for (int i = 0; i < values->count; i++) {
        const schema_value_t *want = &values->at[i];
        sb_slice_t text = {want->text, want->length};
        if (plain ? sb_slice_equal(text, value->text)
                  : memcmp(want->digest.byte, digest.byte, sizeof digest.byte) == 0)
            return true;
    }
    return false;
}

static bool check_values(run_t *run, const schema_node_t *node, const sb_scan_value_t *value)
{
    if (node->constant.set && !is_one_of(run, &node->constant, value))
        return fault(run, "must be %.100s", node->constant.at[0].text);
    if (node->enumeration.set && !is_one_of(run, &node->enumeration, value))
        return fault(run, "must be one of the %d values the schema lists", node->enumeration.count);
    return true;
}

/* ---- numbers ---- */

static bool check_number(run_t *run, const schema_node_t *node, const sb_scan_value_t *value)
{
    sb_decimal_t number = sb_decimal(value->text);
    if (node->minimum.text && sb_decimal_compare(&number, &node->minimum.value) < 0)
        return fault(run, "must be at least %s", node->minimum.text);
    if (node->maximum.text && sb_decimal_compare(&number, &node->maximum.value) > 0)
        return fault(run, "must be at most %s", node->maximum.text);
    if (node->exclusive_minimum.text && sb_decimal_compare(&number, &node->exclusive_minimum.value) <= 0)
        return fault(run, "must be above %s", node->exclusive_minimum.text);
    if (node->exclusive_maximum.text && sb_decimal_compare(&number, &node->exclusive_maximum.value) >= 0)
        return fault(run, "must be below %s", node->exclusive_maximum.text);
    if (node->multiple_of.text && !sb_decimal_is_multiple(&number, &node->multiple_of.value))
        return fault(run, "must be a multiple of %s", node->multiple_of.text);
    return true;
}

/* ---- strings ---- */

static int64_t code_points(sb_slice_t text)
{
    int64_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += ((uint8_t)text.ptr[i] & 0xc0) != 0x80;
    return count;
}

static int digits_at(sb_slice_t text, size_t at, size_t count)
{
    int value = 0;
    for (size_t i = at; i < at + count; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return -1;
        value = value * 10 + (text.ptr[i] - '0');
    }
    return value;
}

/* Whether text begins with a day of the calendar: 2024-02-29, not 2023-02-29. */
static bool begins_with_date(sb_slice_t text)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (text.len < 10 || text.ptr[4] != '-' || text.ptr[7] != '-')
        return false;
    int year = digits_at(text, 0, 4);
    int month = digits_at(text, 5, 2);
    int day = digits_at(text, 8, 2);
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return year >= 0 && month >= 1 && month <= 12 && day >= 1 &&
           day <= days[month - 1] + (month == 2 && leap);
}

/* A leap second is the last one of a day, UTC: 23:59:60Z, 22:59:60-01:00. moment is of the second after it.
 */
static bool leap_second_ok(sb_slice_t text, int64_t moment)
{
    bool sixtieth = text.len >= 19 && text.ptr[17] == '6';
    return !sixtieth || moment / 1000000 % 86400 == 0;
}

static bool check_format(run_t *run, schema_format_t format, sb_slice_t text)
{
    sb_uuid_t id;
    int64_t moment;
    switch (format) {
    case FORMAT_DATE_TIME:
        return (begins_with_date(text) && sb_time_parse(text, &moment) && leap_second_ok(text, moment)) ||
               fault(run, "must be a date-time (2026-11-21T05:19:35Z)");
    case FORMAT_DATE:
        return (text.len == 10 && begins_with_date(text)) || fault(run, "must be a date (2026-11-21)");
    case FORMAT_UUID:
        return sb_uuid_parse(text.ptr, text.len, &id) || fault(run, "must be a UUID");
    case FORMAT_NONE:
        break;
    }
    return true;
}

static bool check_string(run_t *run, const schema_node_t *node, const sb_scan_value_t *value)
{
    if (node->min_length < 0 && node->max_length < 0 && !node->pattern && node->format == FORMAT_NONE)
        return true;
    sb_slice_t text = string_of(run, value);
    int64_t length = code_points(text);
    if (length < node->min_length)
        return fault(run, "must have at least %" PRId64 " characters", node->min_length);
    if (node->max_length >= 0 && length > node->max_length)
        return fault(run, "must have at most %" PRId64 " characters", node->max_length);
    if (node->pattern && !sb_pattern_matches(node->pattern, text))
        return fault(run, "does not match the pattern of the schema");
    return check_format(run, node->format, text);
}

/* ---- arrays ---- */

static int compare_hash(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(sb_hash_t));
}

/* By sorted digests: the array comes from outside, and comparing each with each would let it take minutes. */
static bool check_unique(run_t *run, const sb_scan_value_t *value, int64_t count)
{
    sb_hash_t *digests = malloc((size_t)(count ? count : 1) * sizeof *digests);
    if (!digests) {
        run->no_memory = true;
        return false;
    }
    sb_scan_value_t name, item;
    int64_t filled = 0;
    for (size_t at = 0; filled < count && sb_scan_next_valid(value->text, &at, &name, &item); filled++)
        if (!schema_digest(&item, &digests[filled]))
            run->no_memory = true;
    qsort(digests, (size_t)filled, sizeof *digests, compare_hash);
    bool unique = true;
    for (int64_t i = 1; i < filled && unique; i++)
        unique = compare_hash(&digests[i - 1], &digests[i]) != 0;
    free(digests);
    return unique || fault(run, "must not have an item twice");
}

static const schema_node_t *item_schema(const schema_node_t *node, int64_t index)
{
    return index < node->prefix_items.count ? node->prefix_items.at[index] : node->items;
}

static bool accepts(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    run->quiet++;
    bool ok = check(run, node, value, track);
    run->quiet--;
    return ok;
}

static bool check_contains(run_t *run, const schema_node_t *node, int64_t matching)
{
    int64_t min = node->min_contains < 0 ? 1 : node->min_contains;
    if (matching < min)
        return fault(run, "must contain at least %" PRId64 " items of a kind, has %" PRId64, min, matching);
    if (node->max_contains >= 0 && matching > node->max_contains)
        return fault(run, "must contain at most %" PRId64 " items of a kind, has %" PRId64,
                     node->max_contains, matching);
    return true;
}

static bool check_array(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    sb_scan_value_t name, item;
    int64_t count = 0;
    int64_t matching = 0;
    for (size_t at = 0; sb_scan_next_valid(value->text, &at, &name, &item); count++) {
        const schema_node_t *of_item = item_schema(node, count);
        down(run, NULL, (size_t)count);
        bool ok = !of_item || check(run, of_item, &item, NULL);
        bool contained = ok && node->contains && accepts(run, node->contains, &item, NULL);
        matching += contained;
        if (of_item || contained)
            mark(track, (size_t)count);
        up(run);
        if (!ok)
            return false;
    }
    if (count < node->min_items)
        return fault(run, "must have at least %" PRId64 " items", node->min_items);
    if (node->max_items >= 0 && count > node->max_items)
        return fault(run, "must have at most %" PRId64 " items", node->max_items);
    if (node->contains && !check_contains(run, node, matching))
        return false;
    return !node->unique_items || check_unique(run, value, count);
}

/* ---- objects ---- */

typedef struct seen {
    uint64_t bits[SB_SCHEMA_NAMES_MAX / 64];
} seen_t;

static bool is_seen(const seen_t *seen, int i)
{
    return seen->bits[i / 64] >> (i % 64) & 1;
}

static bool check_member_name(run_t *run, const schema_node_t *node, const sb_scan_value_t *name)
{
    return !node->property_names || accepts(run, node->property_names, name, NULL) ||
           fault(run, "the name of this member is not allowed");
}

/* Whether pattern i takes the name. The name is unescaped anew, because checking a value uses the scratch. */
static bool pattern_takes(run_t *run, const schema_node_t *node, int i, const sb_scan_value_t *name)
{
    return sb_pattern_matches(node->patterns[i].pattern, string_of(run, name));
}

static bool check_member(run_t *run, const schema_node_t *node, const sb_scan_value_t *name,
                         const sb_scan_value_t *value, seen_t *seen, bool *looked_at)
{
    int found = schema_find_name(node, string_of(run, name));
    if (found >= 0) {
        /* One reader takes the first of two, another the last: refused, as far as the schema knows the name.
         */
        if (is_seen(seen, found))
            return fault(run, "is there twice");
        seen->bits[found / 64] |= UINT64_C(1) << (found % 64);
    }
    if (!check_member_name(run, node, name))
        return false;
    const schema_node_t *of_value = found >= 0 ? node->names[found].node : NULL;
    bool evaluated = of_value != NULL;
    if (of_value && !check(run, of_value, value, NULL))
        return false;
    for (int i = 0; i < node->pattern_count; i++) {
        if (!pattern_takes(run, node, i, name))
            continue;
        evaluated = true;
        if (!check(run, node->patterns[i].node, value, NULL))
            return false;
    }
    *looked_at = evaluated || node->additional;
    if (evaluated || !node->additional)
        return true;
    return node->additional->never ? fault(run, "is not a member the schema knows")
                                   : check(run, node->additional, value, NULL);
}

static bool check_missing(run_t *run, const schema_name_t *name, const char *why)
{
    sb_buf_t quoted = SB_BUF_INIT;
    sb_slice_t text = {name->text, name->length};
    sb_buf_add_json(&quoted, text);
    sb_scan_value_t value = schema_scan_value(sb_buf_slice(&quoted));
    down(run, &value, 0);
    (void)fault(run, "is missing%s", why);
    up(run);
    sb_buf_fini(&quoted);
    return false;
}

static bool check_names(run_t *run, const schema_node_t *node, const seen_t *seen)
{
    for (int i = 0; i < node->name_count; i++) {
        const schema_name_t *name = &node->names[i];
        if (!is_seen(seen, i)) {
            if (name->required)
                return check_missing(run, name, "");
            continue;
        }
        for (char **need = name->needs; need && *need; need++) {
            int other = schema_find_name(node, sb_slice(*need));
            if (!is_seen(seen, other))
                return check_missing(run, &node->names[other], ", another member needs it");
        }
    }
    return true;
}

static bool check_object(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    seen_t seen = {{0}};
    sb_scan_value_t name, member;
    int64_t count = 0;
    for (size_t at = 0; sb_scan_next_valid(value->text, &at, &name, &member); count++) {
        bool looked_at = false;
        down(run, &name, 0);
        bool ok = check_member(run, node, &name, &member, &seen, &looked_at);
        up(run);
        if (!ok)
            return false;
        if (looked_at)
            mark(track, (size_t)count);
    }
    if (!check_names(run, node, &seen))
        return false;
    for (int i = 0; i < node->name_count; i++)
        if (node->names[i].dependent && is_seen(&seen, i) &&
            !check(run, node->names[i].dependent, value, track))
            return false;
    if (count < node->min_properties)
        return fault(run, "must have at least %" PRId64 " members", node->min_properties);
    if (node->max_properties >= 0 && count > node->max_properties)
        return fault(run, "must have at most %" PRId64 " members", node->max_properties);
    return true;
}

/* ---- combinations ---- */

static int count_accepting(run_t *run, const schema_nodes_t *list, int enough, const sb_scan_value_t *value,
                           track_t *track)
{
    int accepting = 0;
    for (int i = 0; i < list->count && accepting < enough; i++)
        accepting += accepts(run, list->at[i], value, track);
    return accepting;
}

static bool check_condition(run_t *run, const schema_node_t *node, const sb_scan_value_t *value,
                            track_t *track)
{
    const schema_node_t *next = accepts(run, node->if_, value, track) ? node->then : node->else_;
    return !next || check(run, next, value, track);
}

static bool check_combinations(run_t *run, const schema_node_t *node, const sb_scan_value_t *value,
                               track_t *track)
{
    for (int i = 0; i < node->all_of.count; i++)
        if (!check(run, node->all_of.at[i], value, track))
            return false;
    /* one is enough, unless it matters what the others have looked at */
    int enough = track ? INT_MAX : 1;
    if (node->any_of.count && count_accepting(run, &node->any_of, enough, value, track) == 0)
        return fault(run, "matches none of the schema's alternatives");
    if (node->one_of.count) {
        int accepting = count_accepting(run, &node->one_of, 2, value, track);
        if (accepting != 1)
            return fault(run, "must match exactly one of the schema's alternatives, matches %s",
                         accepting ? "several" : "none");
    }
    if (node->not_ && accepts(run, node->not_, value, NULL))
        return fault(run, "matches what the schema excludes");
    return !node->if_ || check_condition(run, node, value, track);
}

/* The members or items that nothing in place has looked at. */
static bool check_unevaluated(run_t *run, const schema_node_t *node, const sb_scan_value_t *value,
                              track_t *track)
{
    bool object = value->kind == SB_SCAN_OBJECT;
    const schema_node_t *of_rest = object ? node->unevaluated_properties : node->unevaluated_items;
    sb_scan_value_t name, part;
    size_t index = 0;
    for (size_t at = 0; of_rest && sb_scan_next_valid(value->text, &at, &name, &part); index++) {
        if (is_marked(track, index))
            continue;
        down(run, object ? &name : NULL, index);
        bool ok = of_rest->never ? fault(run, "is not %s the schema knows", object ? "a member" : "an item")
                                 : check(run, of_rest, &part, NULL);
        up(run);
        if (!ok)
            return false;
        mark(track, index);
    }
    return true;
}

static bool check_rules(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    if (node->ref && !check(run, node->ref, value, track))
        return false;
    if (!check_type(run, node, value) || !check_values(run, node, value))
        return false;
    bool ok = true;
    if (value->kind == SB_SCAN_NUMBER)
        ok = check_number(run, node, value);
    else if (value->kind == SB_SCAN_STRING)
        ok = check_string(run, node, value);
    else if (value->kind == SB_SCAN_ARRAY)
        ok = check_array(run, node, value, track);
    else if (value->kind == SB_SCAN_OBJECT)
        ok = check_object(run, node, value, track);
    return ok && check_combinations(run, node, value, track);
}

/* A schema in place sees what those below it have looked at, and not what those beside it have: so each has a
 * track of its own, which counts for its caller when it holds. */
static bool check_tracked(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    track_t own;
    if (!track_begin(run, &own, value))
        return false;
    bool ok = check_rules(run, node, value, &own) && check_unevaluated(run, node, value, &own);
    if (ok)
        mark_all_of(track, &own);
    track_end(&own);
    return ok;
}

static bool check(run_t *run, const schema_node_t *node, const sb_scan_value_t *value, track_t *track)
{
    if (node->never)
        return fault(run, "nothing is allowed here");
    bool asks = track || node->unevaluated_properties || node->unevaluated_items;
    bool container = value->kind == SB_SCAN_OBJECT || value->kind == SB_SCAN_ARRAY;
    return asks && container ? check_tracked(run, node, value, track) : check_rules(run, node, value, NULL);
}

static sb_slice_t trim(sb_slice_t text)
{
    while (text.len && strchr(" \t\r\n", text.ptr[0])) {
        text.ptr++;
        text.len--;
    }
    while (text.len && strchr(" \t\r\n", text.ptr[text.len - 1]))
        text.len--;
    return text;
}

sb_code_t sb_schema_validate(const sb_schema_t *schema, sb_slice_t instance, sb_error_t *err)
{
    size_t bad_at = 0;
    if (!sb_scan_valid(instance, &bad_at))
        return sb_fail(err, SB_INVALID, "not JSON, or nested deeper than %d: at byte %zu", SB_SCAN_DEPTH_MAX,
                       bad_at);
    sb_scan_value_t value = schema_scan_value(trim(instance));
    run_t run; /* its path is a kilobyte that is not read before it is written */
    run.err = err;
    run.quiet = 0;
    run.no_memory = false;
    run.depth = 0;
    run.scratch = (sb_buf_t)SB_BUF_INIT;
    bool ok = check(&run, schema->root, &value, NULL);
    sb_buf_fini(&run.scratch);
    if (run.no_memory)
        return sb_fail(err, SB_NO_MEMORY, "validate an event: out of memory");
    return ok ? SB_OK : SB_INVALID;
}
