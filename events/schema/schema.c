/* Compiles a JSON Schema. One table has a row for each keyword and says how it is read; a keyword without a
 * row is refused, because a rule that is skipped in silence is a rule that everyone believes to hold.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/schema_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define NODES_MAX 10000

typedef struct compiler {
    sb_schema_t *schema;
    const json_t *root;
    sb_buf_t pointer; /* where we are in the schema */
    sb_code_t code;
    sb_error_t *err;
} compiler_t;

static bool fail(compiler_t *c, sb_code_t code, const char *why)
{
    if (c->code == SB_OK)
        c->code = sb_fail_at(c->err, code, sb_buf_text(&c->pointer), "JSON Schema, at %s: %s",
                             c->pointer.len ? c->pointer.ptr : "the root", why);
    return false;
}

static bool no_memory(compiler_t *c)
{
    return fail(c, SB_NO_MEMORY, "out of memory");
}

static schema_node_t *compile_node(compiler_t *c, const json_t *source);

static bool compile_to(compiler_t *c, const json_t *source, schema_node_t **out)
{
    *out = compile_node(c, source);
    return *out != NULL;
}

/* ---- readers of a keyword's value ---- */

static bool read_types(compiler_t *c, const json_t *value, schema_node_t *node)
{
    static const struct {
        const char *name;
        unsigned bit;
    } types[] = {{"null", SCHEMA_NULL},     {"boolean", SCHEMA_BOOLEAN}, {"integer", SCHEMA_INTEGER},
                 {"number", SCHEMA_NUMBER}, {"string", SCHEMA_STRING},   {"array", SCHEMA_ARRAY},
                 {"object", SCHEMA_OBJECT}};
    size_t count = json_is_array(value) ? json_array_size(value) : 1;
    for (size_t i = 0; i < count; i++) {
        const json_t *item = json_is_array(value) ? json_array_get(value, i) : value;
        unsigned bit = 0;
        for (size_t k = 0; json_is_string(item) && k < sizeof types / sizeof *types; k++)
            if (strcmp(json_string_value(item), types[k].name) == 0)
                bit = types[k].bit;
        if (!bit)
            return fail(c, SB_INVALID, "not a type");
        node->types |= bit;
    }
    return node->types != 0 || fail(c, SB_INVALID, "no type");
}

char *schema_text_of(const json_t *value, bool *exact)
{
    bool ignored;
    exact = exact ? exact : &ignored;
    for (size_t digits = 15; digits < 18; digits++) {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(digits));
        json_t *again = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
        bool same = again && json_equal(value, again);
        bool failed = !again;
        json_decref(again);
        *exact = digits == 15;
        if (same)
            return text;
        free(text);
        if (failed)
            return NULL;
    }
    return NULL;
}

static bool read_value(compiler_t *c, const json_t *source, schema_value_t *out)
{
    out->text = schema_text_of(source, NULL);
    if (!out->text)
        return no_memory(c);
    out->length = strlen(out->text);
    sb_scan_value_t value = schema_scan_value(sb_slice(out->text));
    return schema_digest(&value, &out->digest) || no_memory(c);
}

static bool read_values(compiler_t *c, const json_t *source, bool list, schema_values_t *out)
{
    if (list && !json_is_array(source))
        return fail(c, SB_INVALID, "must be an array");
    size_t count = list ? json_array_size(source) : 1;
    out->set = true;
    out->at = calloc(count ? count : 1, sizeof *out->at);
    if (!out->at)
        return no_memory(c);
    out->count = (int)count;
    for (size_t i = 0; i < count; i++)
        if (!read_value(c, list ? json_array_get(source, i) : source, &out->at[i]))
            return false;
    return true;
}

static bool read_enum(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return read_values(c, value, true, &node->enumeration);
}

static bool read_const(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return read_values(c, value, false, &node->constant);
}

static bool read_limit(compiler_t *c, const json_t *value, schema_limit_t *limit)
{
    if (!json_is_number(value))
        return fail(c, SB_INVALID, "must be a number");
    limit->text = schema_text_of(value, NULL);
    if (!limit->text)
        return no_memory(c);
    limit->value = sb_decimal(sb_slice(limit->text));
    return true;
}

static bool read_multiple_of(compiler_t *c, const json_t *value, schema_node_t *node)
{
    if (!read_limit(c, value, &node->multiple_of))
        return false;
    const sb_decimal_t *divisor = &node->multiple_of.value;
    if (divisor->count == 0 || divisor->negative)
        return fail(c, SB_INVALID, "must be above 0");
    return divisor->count <= SB_DECIMAL_DIVISOR_DIGITS || fail(c, SB_UNSUPPORTED, "has too many digits");
}

static bool read_count(compiler_t *c, const json_t *value, int64_t *count)
{
    double number = json_number_value(value);
    if (!json_is_number(value) || number < 0 || number > 1e15 || number != (double)(int64_t)number)
        return fail(c, SB_INVALID, "must be an integer of at least 0");
    *count = (int64_t)number;
    return true;
}

static bool read_bool(compiler_t *c, const json_t *value, bool *out)
{
    *out = json_is_true(value);
    return json_is_boolean(value) || fail(c, SB_INVALID, "must be true or false");
}

static bool read_pattern_text(compiler_t *c, const char *text, sb_pattern_t **out)
{
    sb_error_t why = SB_ERROR_INIT;
    sb_code_t code = sb_pattern_compile(out, sb_slice(text), &why);
    return code == SB_OK || fail(c, code, why.message);
}

static bool read_pattern(compiler_t *c, const json_t *value, schema_node_t *node)
{
    if (!json_is_string(value))
        return fail(c, SB_INVALID, "must be a string");
    return read_pattern_text(c, json_string_value(value), &node->pattern);
}

static bool read_format(compiler_t *c, const json_t *value, schema_node_t *node)
{
    const char *name = json_string_value(value);
    if (!name)
        return fail(c, SB_INVALID, "must be a string");
    if (strcmp(name, "date-time") == 0)
        node->format = FORMAT_DATE_TIME;
    else if (strcmp(name, "date") == 0)
        node->format = FORMAT_DATE;
    else if (strcmp(name, "uuid") == 0)
        node->format = FORMAT_UUID;
    return true; /* the others say something to people only */
}

static bool read_list(compiler_t *c, const json_t *value, schema_nodes_t *list)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count == 0)
        return fail(c, SB_INVALID, "must be an array of schemas");
    list->at = calloc(count, sizeof(schema_node_t *));
    if (!list->at)
        return no_memory(c);
    list->count = (int)count;
    for (size_t i = 0; i < count; i++) {
        size_t mark = sb_json_pointer_enter_index(&c->pointer, i);
        if (!compile_to(c, json_array_get(value, i), &list->at[i]))
            return false;
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return true;
}

/* ---- keywords about member names ---- */

static int compare_name(const char *a, size_t a_length, const char *b, size_t b_length)
{
    if (a_length != b_length)
        return a_length < b_length ? -1 : 1;
    return memcmp(a, b, a_length);
}

int schema_find_name(const schema_node_t *node, sb_slice_t name)
{
    int low = 0;
    int high = node->name_count;
    while (low < high) {
        int middle = low + (high - low) / 2;
        const schema_name_t *at = &node->names[middle];
        int order = compare_name(name.ptr, name.len, at->text, at->length);
        if (order == 0)
            return middle;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return -1;
}

/* The entry of a name, made in its sorted place when it is new. */
static schema_name_t *mention(compiler_t *c, schema_node_t *node, const char *text)
{
    int found = schema_find_name(node, sb_slice(text));
    if (found >= 0)
        return &node->names[found];
    if (node->name_count == SB_SCHEMA_NAMES_MAX) {
        (void)fail(c, SB_UNSUPPORTED, "too many member names");
        return NULL;
    }
    schema_name_t *names = realloc(node->names, (size_t)(node->name_count + 1) * sizeof *names);
    if (names)
        node->names = names;
    char *copy = names ? strdup(text) : NULL;
    if (!copy) {
        (void)no_memory(c);
        return NULL;
    }
    size_t length = strlen(copy);
    int at = node->name_count;
    for (; at > 0 && compare_name(copy, length, names[at - 1].text, names[at - 1].length) < 0; at--)
        names[at] = names[at - 1];
    names[at] = (schema_name_t){.text = copy, .length = length};
    node->name_count++;
    return &names[at];
}

static bool read_required(compiler_t *c, const json_t *value, schema_node_t *node)
{
    if (!json_is_array(value))
        return fail(c, SB_INVALID, "must be an array of names");
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *text = json_string_value(json_array_get(value, i));
        schema_name_t *name = text ? mention(c, node, text) : NULL;
        if (!name)
            return fail(c, SB_INVALID, "must be an array of names");
        name->required = true;
    }
    return true;
}

typedef bool (*member_fn)(compiler_t *c, const char *name, const json_t *value, schema_node_t *node);

static bool each_member(compiler_t *c, const json_t *object, schema_node_t *node, member_fn read)
{
    if (!json_is_object(object))
        return fail(c, SB_INVALID, "must be an object");
    for (void *at = json_object_iter((json_t *)(uintptr_t)object); at;
         at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        size_t mark = sb_json_pointer_enter(&c->pointer, sb_slice(json_object_iter_key(at)));
        if (!read(c, json_object_iter_key(at), json_object_iter_value(at), node))
            return false;
        sb_json_pointer_leave(&c->pointer, mark);
    }
    return true;
}

static bool read_property(compiler_t *c, const char *text, const json_t *value, schema_node_t *node)
{
    schema_node_t *of_value = compile_node(c, value);
    schema_name_t *name = of_value ? mention(c, node, text) : NULL;
    if (name)
        name->node = of_value;
    return name != NULL;
}

static bool read_properties(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return each_member(c, value, node, read_property);
}

static bool read_dependent_schema(compiler_t *c, const char *text, const json_t *value, schema_node_t *node)
{
    schema_node_t *of_value = compile_node(c, value);
    schema_name_t *name = of_value ? mention(c, node, text) : NULL;
    if (name)
        name->dependent = of_value;
    return name != NULL;
}

static bool read_dependent_schemas(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return each_member(c, value, node, read_dependent_schema);
}

static bool read_needs(compiler_t *c, const char *text, const json_t *value, schema_node_t *node)
{
    size_t count = json_array_size(value);
    if (!json_is_array(value))
        return fail(c, SB_INVALID, "must be an array of names");
    for (size_t i = 0; i < count; i++) {
        const char *needed = json_string_value(json_array_get(value, i));
        if (!needed || !mention(c, node, needed))
            return fail(c, SB_INVALID, "must be an array of names");
    }
    schema_name_t *name = mention(c, node, text);
    if (!name)
        return false;
    name->needs = calloc(count + 1, sizeof *name->needs);
    if (!name->needs)
        return no_memory(c);
    for (size_t i = 0; i < count; i++) {
        name->needs[i] = strdup(json_string_value(json_array_get(value, i)));
        if (!name->needs[i])
            return no_memory(c);
    }
    return true;
}

static bool read_dependent_required(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return each_member(c, value, node, read_needs);
}

static bool read_pattern_member(compiler_t *c, const char *text, const json_t *value, schema_node_t *node)
{
    schema_pattern_member_t *member = &node->patterns[node->pattern_count];
    if (!read_pattern_text(c, text, &member->pattern))
        return false;
    node->pattern_count++;
    return compile_to(c, value, &member->node);
}

static bool read_pattern_properties(compiler_t *c, const json_t *value, schema_node_t *node)
{
    size_t count = json_object_size(value);
    node->patterns = calloc(count ? count : 1, sizeof *node->patterns);
    if (!node->patterns)
        return no_memory(c);
    return each_member(c, value, node, read_pattern_member);
}

/* ---- references ---- */

static bool read_definition(compiler_t *c, const char *name, const json_t *value, schema_node_t *node)
{
    (void)name;
    (void)node;
    return compile_node(c, value) != NULL; /* so that a fault shows even in one that nobody refers to */
}

static bool read_definitions(compiler_t *c, const json_t *value, schema_node_t *node)
{
    return each_member(c, value, node, read_definition);
}

static bool unescape_uri(sb_slice_t text, sb_buf_t *out)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned byte;
        if (text.ptr[i] != '%') {
            sb_buf_add_char(out, text.ptr[i]);
        } else if (i + 2 < text.len && sscanf(text.ptr + i + 1, "%2x", &byte) == 1) {
            sb_buf_add_char(out, (char)byte);
            i += 2;
        } else {
            return false;
        }
    }
    return !sb_buf_failed(out);
}

static const json_t *find_anchor(const json_t *schema, const char *name);

/* "#…" of a reference that stays within the schema, with or without the schema's own name before it; NULL: it
 * leaves. */
static const char *own_fragment(const json_t *root, const char *reference)
{
    const char *id = json_string_value(json_object_get(root, "$id"));
    size_t length = id ? strcspn(id, "#") : 0;
    if (length && strncmp(reference, id, length) == 0) {
        if (reference[length] == '\0')
            return "#";
        if (reference[length] == '#')
            return reference + length;
    }
    return reference[0] == '#' ? reference : NULL;
}

const json_t *schema_refers_to(const json_t *root, const char *reference)
{
    const char *own = own_fragment(root, reference);
    sb_buf_t fragment = SB_BUF_INIT;
    const json_t *target = NULL;
    if (own && unescape_uri(sb_slice(own + 1), &fragment)) {
        if (fragment.len == 0 || fragment.ptr[0] == '/')
            target = sb_json_pointer_ok(sb_buf_slice(&fragment)) ? sb_json_at(root, sb_buf_slice(&fragment))
                                                                 : NULL;
        else
            target = find_anchor(root, sb_buf_text(&fragment));
    }
    sb_buf_fini(&fragment);
    return target;
}

static bool read_ref(compiler_t *c, const json_t *value, schema_node_t *node)
{
    const char *text = json_string_value(value);
    const json_t *target = text ? schema_refers_to(c->root, text) : NULL;
    if (target)
        return compile_to(c, target, &node->ref);
    return text && own_fragment(c->root, text)
               ? fail(c, SB_INVALID, "refers to nothing")
               : fail(c, SB_UNSUPPORTED,
                      "only references within the schema (#/$defs/…, #anchor) are supported");
}

static bool read_anchor(compiler_t *c, const json_t *value, schema_node_t *node)
{
    const char *name = json_string_value(value);
    if (!name || !name[0] ||
        strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") != strlen(name))
        return fail(c, SB_INVALID, "must be a name of A-Z, a-z, 0-9, _, - and .");
    return find_anchor(c->root, name) == node->source ||
           fail(c, SB_INVALID, "another schema has this anchor");
}

static bool read_dialect(compiler_t *c, const json_t *value, schema_node_t *node)
{
    (void)node;
    const char *text = json_string_value(value);
    return (text && strcmp(text, "https://json-schema.org/draft/2020-12/schema") == 0) ||
           fail(c, SB_UNSUPPORTED, "only https://json-schema.org/draft/2020-12/schema is supported");
}

/* At the root it names the schema; further down it would change what references mean. */
static bool read_id(compiler_t *c, const json_t *value, schema_node_t *node)
{
    if (!json_is_string(value))
        return fail(c, SB_INVALID, "must be a string");
    return node->source == c->root || fail(c, SB_UNSUPPORTED, "supported at the root only");
}

/* ---- the table ---- */

typedef enum shape { ANNOTATION, READ, COUNT, LIMIT, FLAG, SCHEMA, SCHEMAS } shape_t;

typedef struct keyword {
    const char *name;
    shape_t shape;
    size_t offset; /* in schema_node_t */
    bool (*read)(compiler_t *c, const json_t *value, schema_node_t *node);
} keyword_t;

#define AT(member) offsetof(schema_node_t, member)

static const keyword_t keywords[] = {
    {"type", READ, 0, read_types},
    {"enum", READ, 0, read_enum},
    {"const", READ, 0, read_const},
    {"minimum", LIMIT, AT(minimum), NULL},
    {"maximum", LIMIT, AT(maximum), NULL},
    {"exclusiveMinimum", LIMIT, AT(exclusive_minimum), NULL},
    {"exclusiveMaximum", LIMIT, AT(exclusive_maximum), NULL},
    {"multipleOf", READ, 0, read_multiple_of},
    {"minLength", COUNT, AT(min_length), NULL},
    {"maxLength", COUNT, AT(max_length), NULL},
    {"pattern", READ, 0, read_pattern},
    {"format", READ, 0, read_format},
    {"prefixItems", SCHEMAS, AT(prefix_items), NULL},
    {"items", SCHEMA, AT(items), NULL},
    {"contains", SCHEMA, AT(contains), NULL},
    {"minContains", COUNT, AT(min_contains), NULL},
    {"maxContains", COUNT, AT(max_contains), NULL},
    {"minItems", COUNT, AT(min_items), NULL},
    {"maxItems", COUNT, AT(max_items), NULL},
    {"uniqueItems", FLAG, AT(unique_items), NULL},
    {"required", READ, 0, read_required},
    {"properties", READ, 0, read_properties},
    {"patternProperties", READ, 0, read_pattern_properties},
    {"additionalProperties", SCHEMA, AT(additional), NULL},
    {"propertyNames", SCHEMA, AT(property_names), NULL},
    {"dependentRequired", READ, 0, read_dependent_required},
    {"dependentSchemas", READ, 0, read_dependent_schemas},
    {"minProperties", COUNT, AT(min_properties), NULL},
    {"maxProperties", COUNT, AT(max_properties), NULL},
    {"unevaluatedProperties", SCHEMA, AT(unevaluated_properties), NULL},
    {"unevaluatedItems", SCHEMA, AT(unevaluated_items), NULL},
    {"allOf", SCHEMAS, AT(all_of), NULL},
    {"anyOf", SCHEMAS, AT(any_of), NULL},
    {"oneOf", SCHEMAS, AT(one_of), NULL},
    {"not", SCHEMA, AT(not_), NULL},
    {"if", SCHEMA, AT(if_), NULL},
    {"then", SCHEMA, AT(then), NULL},
    {"else", SCHEMA, AT(else_), NULL},
    {"$ref", READ, 0, read_ref},
    {"$anchor", READ, 0, read_anchor},
    {"$defs", READ, 0, read_definitions},
    {"$schema", READ, 0, read_dialect},
    {"$id", READ, 0, read_id},
    {"$comment", ANNOTATION, 0, NULL},
    {"title", ANNOTATION, 0, NULL},
    {"description", ANNOTATION, 0, NULL},
    {"default", ANNOTATION, 0, NULL},
    {"examples", ANNOTATION, 0, NULL},
    {"deprecated", ANNOTATION, 0, NULL},
    {"readOnly", ANNOTATION, 0, NULL},
    {"writeOnly", ANNOTATION, 0, NULL},
    {"contentEncoding", ANNOTATION, 0, NULL},
    {"contentMediaType", ANNOTATION, 0, NULL},
    {"contentSchema", ANNOTATION, 0, NULL},
};

static const keyword_t *find_keyword(const char *name)
{
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].name, name) == 0)
            return &keywords[i];
    return NULL;
}

/* Whether the keyword's value is an object whose members are schemas. */
static bool has_schemas_by_name(const keyword_t *keyword)
{
    return keyword->read == read_properties || keyword->read == read_pattern_properties ||
           keyword->read == read_dependent_schemas || keyword->read == read_definitions;
}

static const json_t *find_anchor_in_all(const json_t *container, const char *name)
{
    const json_t *found = NULL;
    const char *key;
    size_t index;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)container, key, value)
    {
        if (!found)
            found = find_anchor(value, name);
    }
    json_array_foreach(container, index, value)
    {
        if (!found)
            found = find_anchor(value, name);
    }
    return found;
}

/* The first schema with the anchor, looked for only where schemas are: a value in `enum` is none. */
static const json_t *find_anchor(const json_t *schema, const char *name)
{
    const char *own = json_string_value(json_object_get(schema, "$anchor"));
    if (!own) /* is one too, and refused where it stands */
        own = json_string_value(json_object_get(schema, "$dynamicAnchor"));
    const json_t *found = own && strcmp(own, name) == 0 ? schema : NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)schema, key, value)
    {
        const keyword_t *keyword = found ? NULL : find_keyword(key);
        if (keyword && keyword->shape == SCHEMA)
            found = find_anchor(value, name);
        else if (keyword && (keyword->shape == SCHEMAS || has_schemas_by_name(keyword)))
            found = find_anchor_in_all(value, name);
    }
    return found;
}

static bool read_keyword(compiler_t *c, const char *name, const json_t *value, schema_node_t *node)
{
    const keyword_t *keyword = find_keyword(name);
    if (!keyword)
        return fail(c, SB_UNSUPPORTED, "this keyword is not supported (docs/json-schema.md lists them)");
    void *member = (char *)node + keyword->offset;
    switch (keyword->shape) {
    case ANNOTATION:
        return true;
    case READ:
        return keyword->read(c, value, node);
    case COUNT:
        return read_count(c, value, member);
    case LIMIT:
        return read_limit(c, value, member);
    case FLAG:
        return read_bool(c, value, member);
    case SCHEMA:
        return compile_to(c, value, member);
    case SCHEMAS:
        return read_list(c, value, member);
    }
    return false;
}

static schema_node_t *new_node(compiler_t *c, const json_t *source)
{
    schema_nodes_t *nodes = &c->schema->nodes;
    if (nodes->count == NODES_MAX) {
        (void)fail(c, SB_UNSUPPORTED, "the schema is too large");
        return NULL;
    }
    schema_node_t **at = realloc(nodes->at, (size_t)(nodes->count + 1) * sizeof(schema_node_t *));
    if (at)
        nodes->at = at;
    schema_node_t *node = at ? calloc(1, sizeof *node) : NULL;
    if (!node) {
        (void)no_memory(c);
        return NULL;
    }
    node->source = source;
    node->min_length = node->max_length = node->min_items = node->max_items = -1;
    node->min_contains = node->max_contains = node->min_properties = node->max_properties = -1;
    nodes->at[nodes->count++] = node;
    return node;
}

static schema_node_t *compile_node(compiler_t *c, const json_t *source)
{
    if (!json_is_object(source) && !json_is_boolean(source)) {
        (void)fail(c, SB_INVALID, "a schema must be an object, true or false");
        return NULL;
    }
    /* Known already: a reference, maybe to what is being compiled just now. jansson's true and false are one
     * object each, so those are made anew. */
    for (int i = 0; json_is_object(source) && i < c->schema->nodes.count; i++)
        if (c->schema->nodes.at[i]->source == source)
            return c->schema->nodes.at[i];
    schema_node_t *node = new_node(c, source);
    if (!node)
        return NULL;
    node->never = json_is_false(source);
    if (json_is_object(source) && !each_member(c, source, node, read_keyword))
        return NULL;
    return node;
}

/* ---- schemas that would never come to an end ---- */

static bool loops(schema_node_t *node);

static bool list_loops(const schema_nodes_t *list)
{
    for (int i = 0; i < list->count; i++)
        if (loops(list->at[i]))
            return true;
    return false;
}

/* Whether a schema applies itself to the same value again: by references and combinations only, because
 * members and items go down in the instance, which ends. */
static bool loops(schema_node_t *node)
{
    enum { FRESH, OPEN, DONE };
    if (!node || node->mark == DONE)
        return false;
    if (node->mark == OPEN)
        return true;
    node->mark = OPEN;
    bool found = loops(node->ref) || loops(node->not_) || loops(node->if_) || loops(node->then) ||
                 loops(node->else_) || list_loops(&node->all_of) || list_loops(&node->any_of) ||
                 list_loops(&node->one_of);
    for (int i = 0; i < node->name_count && !found; i++)
        found = loops(node->names[i].dependent);
    node->mark = DONE;
    return found;
}

sb_code_t sb_schema_compile(sb_schema_t **out, const json_t *schema, sb_error_t *err)
{
    *out = NULL;
    sb_schema_t *made = calloc(1, sizeof *made);
    if (!made)
        return sb_fail(err, SB_NO_MEMORY, "compile a JSON Schema: out of memory");
    compiler_t c = {made, schema, SB_BUF_INIT, SB_OK, err};
    made->root = compile_node(&c, schema);
    for (int i = 0; c.code == SB_OK && i < made->nodes.count; i++)
        if (loops(made->nodes.at[i]))
            (void)fail(&c, SB_INVALID, "a schema refers to itself without going down in the value");
    for (int i = 0; i < made->nodes.count; i++)
        made->nodes.at[i]->source = NULL;
    sb_buf_fini(&c.pointer);
    if (c.code != SB_OK) {
        sb_schema_free(&made);
        return c.code;
    }
    *out = made;
    return SB_OK;
}

/* ---- the end ---- */

static void free_values(schema_values_t *values)
{
    for (int i = 0; i < values->count; i++)
        free(values->at[i].text);
    free(values->at);
}

static void free_names(schema_node_t *node)
{
    for (int i = 0; i < node->name_count; i++) {
        for (char **need = node->names[i].needs; need && *need; need++)
            free(*need);
        free(node->names[i].needs);
        free(node->names[i].text);
    }
    free(node->names);
}

static void free_node(schema_node_t *node)
{
    free_values(&node->enumeration);
    free_values(&node->constant);
    free(node->minimum.text);
    free(node->maximum.text);
    free(node->exclusive_minimum.text);
    free(node->exclusive_maximum.text);
    free(node->multiple_of.text);
    sb_pattern_free(&node->pattern);
    free_names(node);
    for (int i = 0; i < node->pattern_count; i++)
        sb_pattern_free(&node->patterns[i].pattern);
    free(node->patterns);
    free(node->prefix_items.at);
    free(node->all_of.at);
    free(node->any_of.at);
    free(node->one_of.at);
    free(node);
}

void sb_schema_free(sb_schema_t **schema)
{
    if (!*schema)
        return;
    for (int i = 0; i < (*schema)->nodes.count; i++)
        free_node((*schema)->nodes.at[i]);
    free((*schema)->nodes.at);
    free(*schema);
    *schema = NULL;
}

/* ---- what a schema describes ---- */

/* The node that describes the member at a pointer, through properties and $ref; NULL: none. */
static const schema_node_t *describes(const schema_node_t *node, sb_slice_t rest)
{
    if (!node || rest.len == 0)
        return node;
    const char *slash = memchr(rest.ptr + 1, '/', rest.len - 1);
    size_t length = slash ? (size_t)(slash - rest.ptr) : rest.len;
    sb_slice_t token = {rest.ptr + 1, length - 1};
    sb_slice_t after = {rest.ptr + length, rest.len - length};
    sb_buf_t name = SB_BUF_INIT;
    for (size_t i = 0; i < token.len; i++) {
        bool escape = token.ptr[i] == '~' && i + 1 < token.len;
        sb_buf_add_char(&name, !escape ? token.ptr[i] : token.ptr[i + 1] == '1' ? '/' : '~');
        i += escape;
    }
    int found = schema_find_name(node, sb_buf_slice(&name));
    sb_buf_fini(&name);
    const schema_node_t *member = found >= 0 ? describes(node->names[found].node, after) : NULL;
    return member || !node->ref ? member : describes(node->ref, rest);
}

bool sb_schema_has(const sb_schema_t *schema, sb_slice_t pointer)
{
    return sb_json_pointer_ok(pointer) && describes(schema->root, pointer) != NULL;
}

unsigned sb_schema_types(const sb_schema_t *schema, sb_slice_t pointer)
{
    const schema_node_t *node = sb_json_pointer_ok(pointer) ? describes(schema->root, pointer) : NULL;
    while (node && node->types == 0 && node->ref)
        node = node->ref;
    return node ? node->types : 0;
}
