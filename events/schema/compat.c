/* Two walks: the operations over the old schema (what do the bodies look like after them?), and the new
 * schema beside the result.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/compat.h"

#include "events/decimal.h"
#include "events/schema/schema_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 64

typedef struct check {
    const json_t *before; /* the root that references of the old schema are from */
    const json_t *after;
    int version;     /* of the new file */
    sb_buf_t place;  /* in the new file */
    sb_buf_t member; /* in the body */
    int depth;
    const json_t *open[DEPTH_MAX][2]; /* pairs that are being compared */
    bool no_memory;
    sb_compat_fn on_fault;
    void *context;
} check_t;

static void fault(check_t *check, const char *format, ...) SB_PRINTF(2, 3);
static void fault(check_t *check, const char *format, ...)
{
    char text[400];
    char message[512];
    va_list args;
    va_start(args, format);
    // NOLINTNEXTLINE(clang-analyzer-valist.Uninitialized): va_start is the line above
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(message, sizeof message, "%s%s%s", sb_buf_text(&check->member),
                   check->member.len ? ": " : "", text);
    check->on_fault(check->context, sb_buf_text(&check->place), message);
}

static size_t enter(sb_buf_t *pointer, const char *token)
{
    size_t mark = pointer->len;
    sb_json_pointer_add(pointer, sb_slice(token));
    return mark;
}

static void leave(sb_buf_t *pointer, size_t mark)
{
    pointer->len = mark;
    if (pointer->ptr)
        pointer->ptr[mark] = '\0';
}

/* ---- schemas ---- */

static const json_t *get(const json_t *schema, const char *keyword)
{
    return json_object_get(schema, keyword);
}

static bool is_annotation(const char *keyword)
{
    static const char *const names[] = {
        "title",    "description", "default",  "examples",        "deprecated",
        "readOnly", "writeOnly",   "$comment", "contentEncoding", "contentMediaType",
        "$defs",    "$schema",     "$id",      "$anchor",         "contentSchema"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], keyword) == 0)
            return true;
    return false;
}

/* Whether it lets everything pass. */
static bool is_open(const json_t *schema)
{
    const char *keyword;
    json_t *value;
    if (!json_is_object(schema))
        return !schema || json_is_true(schema);
    json_object_foreach((json_t *)(uintptr_t)schema, keyword, value)
    {
        if (!is_annotation(keyword))
            return false;
    }
    return true;
}

/* The schema without a reference at its top: what it refers to, and what stands beside it. NULL: they say
 * different things about the same. Owned by the caller. */
static json_t *resolve(const json_t *root, const json_t *schema)
{
    json_t *made =
        json_copy((json_t *)(uintptr_t)schema); /* shallow: what is below is known by its address */
    for (int i = 0; i < DEPTH_MAX && json_is_object(made); i++) {
        const char *reference = json_string_value(get(made, "$ref"));
        if (!reference)
            return made;
        const json_t *target = schema_refers_to(root, reference);
        const char *keyword;
        json_t *value;
        bool clash = false;
        if (json_object_del(made, "$ref") != 0)
            break;
        if (!json_is_object(target)) {
            json_decref(made);
            return json_copy((json_t *)(uintptr_t)target);
        }
        json_object_foreach((json_t *)(uintptr_t)target, keyword, value)
        {
            clash = clash || (!is_annotation(keyword) && get(made, keyword));
        }
        if (clash)
            break;
        if (json_object_update_missing(made, (json_t *)(uintptr_t)target) != 0)
            break;
    }
    if (!json_is_object(made))
        return made;
    json_decref(made);
    return NULL;
}

static bool lists(const json_t *array, const char *name)
{
    size_t index;
    json_t *value;
    json_array_foreach(array, index, value)
    {
        if (json_is_string(value) && strcmp(json_string_value(value), name) == 0)
            return true;
    }
    return false;
}

/* ---- the operations, on the old schema ---- */

/* A tree of its own, in which the objects on the way of a pointer may be changed. */
typedef struct shape {
    json_t *root;
    const json_t *references; /* what "#" is */
} shape_t;

typedef struct place {
    json_t *schema; /* of the object that holds the member; borrowed */
    char name[256];
    bool certain; /* that object is always there */
} place_t;

static bool take_name(const char **at, char *name, size_t size)
{
    size_t used = 0;
    for ((*at)++; **at && **at != '/'; (*at)++) {
        char c = **at;
        if (c == '~')
            c = *++*at == '1' ? '/' : '~';
        if (used + 1 == size)
            return false;
        name[used++] = c;
    }
    name[used] = '\0';
    return true;
}

static json_t *child_of(json_t *schema, const char *name)
{
    return json_object_get(json_object_get(schema, "properties"), name);
}

/* Gives the member of the object's schema, set to its own copy without a reference. */
static json_t *open_child(const shape_t *shape, json_t *schema, const char *name)
{
    json_t *child = child_of(schema, name);
    json_t *plain = child ? resolve(shape->references, child) : NULL;
    json_t *copy = plain ? json_deep_copy(plain) : NULL;
    json_decref(plain);
    if (!copy || json_object_set_new(json_object_get(schema, "properties"), name, copy) != 0)
        return NULL;
    return copy;
}

static bool set_required(json_t *schema, const char *name, bool required)
{
    json_t *list = json_object_get(schema, "required");
    if (required == lists(list, name))
        return true;
    if (required && !list) {
        list = json_array();
        if (json_object_set_new(schema, "required", list) != 0)
            return false;
    }
    if (required)
        return json_array_append_new(list, json_string(name)) == 0;
    for (size_t i = json_array_size(list); i-- > 0;)
        if (strcmp(json_string_value(json_array_get(list, i)), name) == 0)
            (void)json_array_remove(list, i);
    return true;
}

static bool set_child(json_t *schema, const char *name, json_t *consumed)
{
    json_t *properties = json_object_get(schema, "properties");
    if (!properties) {
        properties = json_object();
        if (json_object_set_new(schema, "properties", properties) != 0) {
            json_decref(consumed);
            return false;
        }
    }
    return json_object_set_new(properties, name, consumed) == 0;
}

/* The object that holds the pointer's last member. make: what is missing on the way is an object; certain
 * then says whether it is always made. */
static bool find_place(const shape_t *shape, const char *pointer, bool make, bool certain, place_t *out)
{
    json_t *schema = shape->root;
    out->certain = true;
    for (const char *at = pointer;;) {
        if (!json_is_object(schema) || !take_name(&at, out->name, sizeof out->name))
            return false;
        out->schema = schema;
        if (*at == '\0')
            return true;
        if (make && !child_of(schema, out->name) &&
            !set_child(
                schema, out->name,
                json_pack("{s:s,s:{},s:b}", "type", "object", "properties", "additionalProperties", 0)))
            return false;
        if (make && certain && !set_required(schema, out->name, true))
            return false;
        out->certain = out->certain && lists(get(schema, "required"), out->name);
        schema = open_child(shape, schema, out->name);
    }
}

/* Whether a pointer names a member that the schema describes. */
static bool describes(const json_t *root, const char *pointer)
{
    sb_schema_t *compiled = NULL;
    bool found =
        sb_schema_compile(&compiled, root, NULL) == SB_OK && sb_schema_has(compiled, sb_slice(pointer));
    sb_schema_free(&compiled);
    return found;
}

/* Whether a later operation takes the member up again. */
static bool is_taken_up(const json_t *operations, size_t after, const char *pointer)
{
    for (size_t i = after + 1; i < json_array_size(operations); i++) {
        json_t *operation = json_array_get(operations, i);
        const json_t *body = json_object_iter_value(json_object_iter(operation));
        const char *from =
            json_string_value(json_object_get(body, json_object_get(body, "from") ? "from" : "at"));
        if (from && strncmp(from, pointer, strlen(pointer)) == 0)
            return true;
    }
    return false;
}

static void refuse_op(check_t *check, size_t index, const char *name, const char *member, const char *why)
{
    size_t mark = check->place.len;
    sb_buf_printf(&check->place, "/x-upcast/%zu/%s/%s", index, name, member);
    fault(check, "%s", why);
    leave(&check->place, mark);
}

static void check_target(check_t *check, const json_t *operations, size_t index, const char *name,
                         const char *member, const char *pointer)
{
    if (!describes(check->after, pointer) && !is_taken_up(operations, index, pointer))
        refuse_op(check, index, name, member, "this version's schema has no such member");
}

static void run_move(check_t *check, const shape_t *shape, const json_t *operations, size_t index,
                     const char *name, const json_t *body)
{
    const char *from = json_string_value(json_object_get(body, "from"));
    const char *to = json_string_value(json_object_get(body, "to"));
    place_t source, target;
    json_t *value =
        find_place(shape, from, false, false, &source) ? child_of(source.schema, source.name) : NULL;
    if (!value) {
        refuse_op(check, index, name, "from", "the version before has no such member");
        return;
    }
    check_target(check, operations, index, name, "to", to);
    bool certain = source.certain && lists(get(source.schema, "required"), source.name);
    json_incref(value);
    (void)json_object_del(json_object_get(source.schema, "properties"), source.name);
    bool ok = set_required(source.schema, source.name, false) &&
              find_place(shape, to, true, certain, &target) &&
              set_child(target.schema, target.name, json_incref(value)) &&
              set_required(target.schema, target.name, certain);
    json_decref(value);
    if (!ok)
        refuse_op(check, index, name, "to", "does not lead through objects");
}

static void run_set(check_t *check, const shape_t *shape, const json_t *operations, size_t index,
                    const char *name, const json_t *body)
{
    const char *at = json_string_value(json_object_get(body, "at"));
    json_t *value = json_object_get(body, "value");
    place_t place;
    check_target(check, operations, index, name, "at", at);
    if (!find_place(shape, at, false, false, &place)) {
        refuse_op(check, index, name, "at", "the version before has no such object");
        return;
    }
    json_t *old = child_of(place.schema, place.name);
    json_t *made = old && name[0] == 'd' ? json_pack("{s:[O,{s:O}]}", "anyOf", old, "const", value)
                                         : json_pack("{s:O}", "const", value);
    check->no_memory |=
        !made || !set_child(place.schema, place.name, made) || !set_required(place.schema, place.name, true);
}

static void run_drop(check_t *check, const shape_t *shape, size_t index, const json_t *body)
{
    place_t place;
    if (!find_place(shape, json_string_value(json_object_get(body, "at")), false, false, &place) ||
        !child_of(place.schema, place.name)) {
        refuse_op(check, index, "drop", "at", "the version before has no such member");
        return;
    }
    (void)json_object_del(json_object_get(place.schema, "properties"), place.name);
    check->no_memory |= !set_required(place.schema, place.name, false);
}

static void run_operations(check_t *check, const shape_t *shape, const json_t *operations)
{
    for (size_t i = 0; i < json_array_size(operations); i++) {
        json_t *operation = json_array_get(operations, i);
        const char *name = json_object_iter_key(json_object_iter(operation));
        const json_t *body = json_object_get(operation, name);
        if (strcmp(name, "rename") == 0 || strcmp(name, "move") == 0)
            run_move(check, shape, operations, i, name, body);
        else if (strcmp(name, "drop") == 0)
            run_drop(check, shape, i, body);
        else
            run_set(check, shape, operations, i, name, body);
    }
}

/* ---- the new schema beside the old one ---- */

static void compare(check_t *check, const json_t *after, const json_t *before);

/* One keyword further down in both, at a place of the new file. */
static void compare_at(check_t *check, const char *keyword, const char *name, const char *member,
                       const json_t *after, const json_t *before)
{
    size_t place = enter(&check->place, keyword);
    size_t at = check->member.len;
    if (name)
        (void)enter(&check->place, name);
    (void)enter(&check->member, member);
    compare(check, after, before);
    leave(&check->member, at);
    leave(&check->place, place);
}

static void fault_at(check_t *check, const char *keyword, const char *why)
{
    size_t place = enter(&check->place, keyword);
    fault(check, "%s", why);
    leave(&check->place, place);
}

/* ---- types and values ---- */

static bool has_type(const json_t *schema, const char *type)
{
    const json_t *own = get(schema, "type");
    if (!own)
        return true;
    if (json_is_string(own))
        return strcmp(json_string_value(own), type) == 0;
    return lists(own, type);
}

static bool types_fit(check_t *check, const json_t *after, const json_t *before)
{
    static const char *const types[] = {"null", "boolean", "integer", "number", "string", "array", "object"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        bool was = has_type(before, types[i]);
        bool is =
            has_type(after, types[i]) || (strcmp(types[i], "integer") == 0 && has_type(after, "number"));
        if (was && !is) {
            char why[200];
            (void)snprintf(why, sizeof why,
                           "version %d allows type %s here; drop the old member and give the new one a "
                           "default or const, "
                           "or say \"x-upcast\": \"hook\"",
                           check->version - 1, types[i]);
            fault_at(check, "type", why);
            return false;
        }
    }
    return true;
}

static bool is_among(const json_t *list, const json_t *value)
{
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item)
    {
        if (json_equal(item, value))
            return true;
    }
    return false;
}

/* Whether the new schema takes the value; references are not followed, and then it is not certain. */
static bool takes(const json_t *after, const json_t *value)
{
    sb_schema_t *compiled = NULL;
    char *text = json_dumps(value, JSON_ENCODE_ANY);
    bool ok = text && sb_schema_compile(&compiled, after, NULL) == SB_OK &&
              sb_schema_validate(compiled, sb_slice(text), NULL) == SB_OK;
    sb_schema_free(&compiled);
    free(text);
    return ok;
}

/* The old member can be some values only: each is asked for. */
static void values_fit(check_t *check, const json_t *after, const json_t *values)
{
    size_t index;
    json_t *value;
    json_array_foreach(values, index, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        if (!takes(after, value))
            fault(check, "%.80s, which version %d has here, is not allowed any more", text ? text : "a value",
                  check->version - 1);
        free(text);
    }
}

/* ---- limits ---- */

static int order_of(const json_t *a, const json_t *b)
{
    char *text_a = schema_text_of(a, NULL);
    char *text_b = schema_text_of(b, NULL);
    sb_decimal_t x = sb_decimal(sb_slice(text_a ? text_a : "0"));
    sb_decimal_t y = sb_decimal(sb_slice(text_b ? text_b : "0"));
    int order = sb_decimal_compare(&x, &y);
    free(text_a);
    free(text_b);
    return order;
}

typedef struct limit_row {
    const char *keyword;
    const char *type;  /* that it is about */
    int sign;          /* 1: the new one must not be above the old one; -1: not below */
    const char *other; /* that sets the same limit, itself excluded or included */
    bool excludes;
} limit_row_t;

static const limit_row_t limits[] = {
    {"minimum", "number", 1, "exclusiveMinimum", false},
    {"exclusiveMinimum", "number", 1, "minimum", true},
    {"maximum", "number", -1, "exclusiveMaximum", false},
    {"exclusiveMaximum", "number", -1, "maximum", true},
    {"minLength", "string", 1, NULL, false},
    {"maxLength", "string", -1, NULL, false},
    {"minItems", "array", 1, NULL, false},
    {"maxItems", "array", -1, NULL, false},
    {"minProperties", "object", 1, NULL, false},
    {"maxProperties", "object", -1, NULL, false},
};

static bool limit_holds(const limit_row_t *row, const json_t *wanted, const json_t *before)
{
    const json_t *own = get(before, row->keyword);
    const json_t *other = row->other ? get(before, row->other) : NULL;
    if (own && order_of(own, wanted) * row->sign >= 0)
        return true;
    /* minimum 1 follows from exclusiveMinimum 1; exclusiveMinimum 1 from minimum 2 only */
    return other && order_of(other, wanted) * row->sign >= (row->excludes ? 1 : 0);
}

static void limits_fit(check_t *check, const json_t *after, const json_t *before)
{
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        const json_t *wanted = get(after, limits[i].keyword);
        bool concerned = has_type(before, limits[i].type) ||
                         (strcmp(limits[i].type, "number") == 0 && has_type(before, "integer"));
        if (wanted && concerned && !limit_holds(&limits[i], wanted, before))
            fault_at(check, limits[i].keyword,
                     "this limit is narrower than in the version before: keep the old one, or say "
                     "\"x-upcast\": \"hook\"");
    }
}

/* Rules that are the same or gone; what they mean beside each other cannot be told. */
static void rules_fit(check_t *check, const json_t *after, const json_t *before)
{
    static const char *const rules[] = {"pattern",
                                        "multipleOf",
                                        "contains",
                                        "minContains",
                                        "maxContains",
                                        "propertyNames",
                                        "patternProperties",
                                        "dependentRequired",
                                        "dependentSchemas",
                                        "not",
                                        "oneOf",
                                        "if",
                                        "then",
                                        "else",
                                        "unevaluatedProperties",
                                        "unevaluatedItems",
                                        "const",
                                        "enum"};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (get(after, rules[i]) && !json_equal(get(after, rules[i]), get(before, rules[i])))
            fault_at(check, rules[i],
                     "is another rule than in the version before; old bodies may break it: keep it, or say "
                     "\"x-upcast\": "
                     "\"hook\"");
    if (json_is_true(get(after, "uniqueItems")) && !json_is_true(get(before, "uniqueItems")))
        fault_at(check, "uniqueItems", "the version before let an item in twice");
    const char *format = json_string_value(get(after, "format"));
    bool checked = format && (strcmp(format, "date-time") == 0 || strcmp(format, "date") == 0 ||
                              strcmp(format, "uuid") == 0);
    if (checked && !json_equal(get(after, "format"), get(before, "format")))
        fault_at(check, "format", "the version before did not have this format");
}

/* Whether one fits beside the other, without a word about it. */
static void no_word(void *context, const char *pointer, const char *message)
{
    (void)pointer;
    (void)message;
    ++*(int *)context;
}

static bool fits(check_t *check, const json_t *after, const json_t *before)
{
    sb_compat_fn on_fault = check->on_fault;
    void *context = check->context;
    int faults = 0;
    check->on_fault = no_word;
    check->context = &faults;
    compare(check, after, before);
    check->on_fault = on_fault;
    check->context = context;
    return faults == 0;
}

static bool fits_one_of(check_t *check, const json_t *alternatives, const json_t *before)
{
    size_t index;
    json_t *alternative;
    json_array_foreach(alternatives, index, alternative)
    {
        if (fits(check, alternative, before))
            return true;
    }
    return false;
}

static void combinations_fit(check_t *check, const json_t *after, const json_t *before)
{
    size_t index;
    json_t *item;
    json_array_foreach(get(after, "allOf"), index, item)
    {
        bool kept = is_among(get(before, "allOf"), item);
        if (!kept && !fits(check, item, before))
            fault_at(check, "allOf", "asks for more than the version before does");
    }
    if (get(after, "anyOf") && !json_equal(get(after, "anyOf"), get(before, "anyOf")) &&
        !fits_one_of(check, get(after, "anyOf"), before))
        fault_at(check, "anyOf", "the version before fits none of these for certain");
}

/* ---- objects and arrays ---- */

/* Whether a schema may say something about a member elsewhere than in its own properties. */
static bool says_elsewhere(const json_t *root, const json_t *schema, const char *name, int depth)
{
    static const char *const parts[] = {"allOf", "anyOf", "oneOf", "dependentSchemas",
                                        "then",  "else",  "$ref"};
    const char *key;
    size_t index;
    json_t *item;
    bool found = depth == DEPTH_MAX || json_object_size(get(schema, "patternProperties")) > 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts && !found; i++) {
        const json_t *part = get(schema, parts[i]);
        const json_t *one = json_is_string(part) ? schema_refers_to(root, json_string_value(part))
                            : parts[i][0] == 't' || parts[i][0] == 'e' ? part
                                                                       : NULL;
        if (one)
            found = get(get(one, "properties"), name) || says_elsewhere(root, one, name, depth + 1);
        json_array_foreach(part, index, item)
        {
            found =
                found || get(get(item, "properties"), name) || says_elsewhere(root, item, name, depth + 1);
        }
        if (!one)
            json_object_foreach((json_t *)(uintptr_t)part, key, item)
            {
                found = found || get(get(item, "properties"), name) ||
                        says_elsewhere(root, item, name, depth + 1);
            }
    }
    return found;
}

static void members_fit(check_t *check, const json_t *after, const json_t *before)
{
    const json_t *old = get(before, "properties");
    const json_t *new = get(after, "properties");
    const json_t *others = get(before, "additionalProperties");
    const json_t *rest = get(after, "additionalProperties");
    const json_t *patterns = get(before, "patternProperties");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t) new, name, value)
    {
        const json_t *was = get(old, name);
        if (!was && says_elsewhere(check->before, before, name, 0))
            was = json_true(); /* which is not looked for */
        if (!was && json_is_object(others))
            was = others;
        if (was)
            compare_at(check, "properties", name, name, value, was);
    }
    json_object_foreach((json_t *)(uintptr_t)old, name, value)
    {
        if ((new || !is_open(rest)) && !json_is_false(value) && !get(new, name)) {
            size_t at = enter(&check->member, name);
            fault_at(check, "properties",
                     "is gone; say in x-upcast what becomes of it: rename, move or drop");
            leave(&check->member, at);
        }
    }
    size_t index;
    json_array_foreach(get(after, "required"), index, value)
    {
        if (lists(get(before, "required"), json_string_value(value)))
            continue;
        size_t at = enter(&check->member, json_string_value(value));
        fault_at(check, "required",
                 "is required, and may be missing in the version before: give it a default or const in "
                 "x-upcast, or "
                 "leave it optional");
        leave(&check->member, at);
    }
    bool patterned = json_object_size(patterns) > 0 && !json_equal(get(after, "patternProperties"), patterns);
    if (is_open(rest) || (json_is_false(others) && !patterned))
        return;
    if (!patterned && json_is_object(rest) && json_is_object(others))
        compare_at(check, "additionalProperties", NULL, "*", rest, others);
    else
        fault_at(check, "additionalProperties", "the version before let other members in");
}

static void items_fit(check_t *check, const json_t *after, const json_t *before)
{
    const json_t *old = get(before, "prefixItems");
    const json_t *new = get(after, "prefixItems");
    const json_t *rest = get(after, "items");
    size_t count = json_array_size(old) > json_array_size(new) ? json_array_size(old) : json_array_size(new);
    for (size_t i = 0; i < count; i++) {
        char index[24];
        (void)snprintf(index, sizeof index, "%zu", i);
        const json_t *was = i < json_array_size(old) ? json_array_get(old, i) : get(before, "items");
        bool own = i < json_array_size(new);
        const json_t *is = own ? json_array_get(new, i) : rest;
        if (is)
            compare_at(check, own ? "prefixItems" : "items", own ? index : NULL, index, is,
                       was ? was : json_true());
    }
    if (rest)
        compare_at(check, "items", NULL, "*", rest,
                   get(before, "items") ? get(before, "items") : json_true());
}

/* ---- the whole ---- */

static void compare_plain(check_t *check, const json_t *after, const json_t *before)
{
    if (get(before, "const") || get(before, "enum")) {
        json_t *one = get(before, "const") ? json_pack("[O]", get(before, "const")) : NULL;
        if (!json_equal(after, before) || one) /* the same list may have other rules beside it */
            values_fit(check, after, one ? one : get(before, "enum"));
        json_decref(one);
        return;
    }
    if (get(before, "anyOf") && !json_equal(get(after, "anyOf"), get(before, "anyOf"))) {
        size_t index; /* whichever of them it was */
        json_t *item;
        json_array_foreach(get(before, "anyOf"), index, item) compare(check, after, item);
        return;
    }
    if (!types_fit(check, after, before))
        return;
    limits_fit(check, after, before);
    rules_fit(check, after, before);
    combinations_fit(check, after, before);
    if (has_type(before, "object"))
        members_fit(check, after, before);
    if (has_type(before, "array"))
        items_fit(check, after, before);
}

static bool is_being_compared(const check_t *check, const json_t *after, const json_t *before)
{
    for (int i = 0; i < check->depth; i++)
        if (check->open[i][0] == after && check->open[i][1] == before)
            return true;
    return false;
}

/* What a reference leads to is asked for first, so that a schema that refers to itself is compared once. */
static const json_t *behind(const json_t *root, const json_t *schema)
{
    const char *reference = json_object_size(schema) == 1 ? json_string_value(get(schema, "$ref")) : NULL;
    const json_t *target = reference ? schema_refers_to(root, reference) : NULL;
    return target ? target : schema;
}

static void compare(check_t *check, const json_t *after, const json_t *before)
{
    after = behind(check->after, after);
    before = behind(check->before, before);
    if (is_open(after) || json_is_false(before) || is_being_compared(check, after, before))
        return;
    if (json_is_false(after)) {
        fault(check, "nothing is allowed here any more");
        return;
    }
    json_t *plain_after = resolve(check->after, after);
    json_t *plain_before = json_is_true(before) ? json_object() : resolve(check->before, before);
    if (check->depth == DEPTH_MAX || !plain_after || !plain_before) {
        fault(check, "cannot be compared with the version before: say \"x-upcast\": \"hook\"");
    } else {
        check->open[check->depth][0] = after;
        check->open[check->depth++][1] = before;
        compare_plain(check, plain_after, plain_before);
        check->depth--;
    }
    json_decref(plain_after);
    json_decref(plain_before);
}

sb_code_t sb_compat_check(const json_t *before, const json_t *after, sb_compat_fn on_fault, void *context,
                          sb_error_t *err)
{
    const json_t *operations = json_object_get(after, "x-upcast");
    if (json_is_string(operations))
        return SB_OK;
    check_t check = {.before = json_object_get(before, "schema"),
                     .after = json_object_get(after, "schema"),
                     .version = (int)json_integer_value(json_object_get(after, "version")),
                     .on_fault = on_fault,
                     .context = context};
    json_t *top = resolve(check.before, check.before);
    shape_t shape = {top ? json_deep_copy(top) : NULL, check.before};
    json_decref(top);
    if (!shape.root)
        return sb_fail(err, SB_NO_MEMORY,
                       "compare versions: out of memory, or its root refers to another schema");
    run_operations(&check, &shape, operations);
    (void)enter(&check.place, "schema");
    compare(&check, check.after, shape.root);
    bool failed = check.no_memory || sb_buf_failed(&check.place) || sb_buf_failed(&check.member);
    sb_buf_fini(&check.place);
    sb_buf_fini(&check.member);
    json_decref(shape.root);
    return failed ? sb_fail(err, SB_NO_MEMORY, "compare versions: out of memory") : SB_OK;
}
