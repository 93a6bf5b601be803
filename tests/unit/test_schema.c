/* SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/schema.h"
#include "tests/fuzz/schema_oracle.h"
#include "tests/support/assert.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static sb_schema_t *compile(const char *text)
{
    json_t *source = NULL;
    sb_schema_t *schema = NULL;
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(sb_json_parse(&source, sb_slice(text), text, &err), &err);
    assert_ok(sb_schema_compile(&schema, source, &err), &err);
    json_decref(source); /* nothing of it is needed any more */
    return schema;
}

typedef struct row {
    const char *schema;
    const char *instance;
    const char *pointer; /* of the fault; NULL: valid */
} row_t;

#define OK NULL
#define ITEM                                                                                                 \
    "{\"type\":\"object\",\"required\":[\"sku\",\"n\"],\"properties\":{\"sku\":{\"type\":\"string\","        \
    "\"minLength\":1},\"n\":{\"type\":\"integer\",\"minimum\":1}}}"

static const row_t rows[] = {
    {"true", "{}", OK},
    {"false", "{}", ""},
    {"{}", "1", OK},
    {"{}", "{\"a\":}", ""},
    {"{}", " [1] ", OK},
    {"{\"type\":\"integer\"}", "1", OK},
    {"{\"type\":\"integer\"}", "1.0", OK},
    {"{\"type\":\"integer\"}", "1.5", ""},
    {"{\"type\":[\"string\",\"null\"]}", "null", OK},
    {"{\"type\":[\"string\",\"null\"]}", "1", ""},
    {"{\"type\":\"boolean\"}", "0", ""},
    {"{\"const\":1}", "1.0", OK},
    {"{\"const\":1}", "true", ""},
    {"{\"const\":{\"a\":[1,\"x\"],\"b\":null}}", "{\"b\":null,\"a\":[1.0,\"\\u0078\"]}", OK},
    {"{\"const\":{\"a\":1}}", "{\"a\":1,\"b\":1}", ""},
    {"{\"const\":0.1}", "0.1", OK},
    {"{\"enum\":[\"a\",\"\\u00e9\"]}", "\"\\u00e9\"", OK},
    {"{\"enum\":[\"a\",\"b\"]}", "\"c\"", ""},
    {"{\"enum\":[]}", "1", ""},
    {"{\"enum\":[[0]]}", "[false]", ""},
    {"{\"minimum\":1.1}", "1.1", OK},
    {"{\"minimum\":1.1}", "1.0999999999999999999", ""},
    {"{\"maximum\":9007199254740992}", "9007199254740993", ""},
    {"{\"exclusiveMinimum\":0}", "0", ""},
    {"{\"exclusiveMaximum\":0}", "-1e-400", OK},
    {"{\"multipleOf\":0.01}", "19.99", OK},
    {"{\"multipleOf\":0.01}", "19.999", ""},
    {"{\"minLength\":2}", "\"\\ud83d\\udc32\"", ""},
    {"{\"maxLength\":1}", "\"\xf0\x9f\x90\xb2\"", OK},
    {"{\"maxLength\":2.0}", "\"abc\"", ""},
    {"{\"pattern\":\"^a*$\"}", "\"aaa\"", OK},
    {"{\"pattern\":\"^a*$\"}", "\"aab\"", ""},
    {"{\"pattern\":\"^a*$\"}", "7", OK},
    {"{\"format\":\"date-time\"}", "\"2026-11-21T05:19:35Z\"", OK},
    {"{\"format\":\"date-time\"}", "\"2026-13-21T05:19:35Z\"", ""},
    {"{\"format\":\"date\"}", "\"2024-02-29\"", OK},
    {"{\"format\":\"date\"}", "\"2023-02-29\"", ""},
    {"{\"format\":\"uuid\"}", "\"2eb8aa08-aa98-11ea-b4aa-73b441d16380\"", OK},
    {"{\"format\":\"uuid\"}", "\"2eb8aa08\"", ""},
    {"{\"format\":\"email\"}", "\"says nothing\"", OK},
    {"{\"items\":{\"type\":\"integer\"}}", "[1,2,\"x\"]", "/2"},
    {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", "[1,\"a\"]", OK},
    {"{\"prefixItems\":[{\"type\":\"integer\"},{\"type\":\"string\"}],\"items\":false}", "[1,\"a\",2]", "/2"},
    {"{\"prefixItems\":[{\"type\":\"integer\"}]}", "[\"a\"]", "/0"},
    {"{\"minItems\":1}", "[]", ""},
    {"{\"maxItems\":1}", "[1,2]", ""},
    {"{\"uniqueItems\":true}", "[1,2,1.0]", ""},
    {"{\"uniqueItems\":true}", "[{\"a\":1,\"b\":2},{\"b\":2,\"a\":1}]", ""},
    {"{\"uniqueItems\":true}", "[1,true,\"1\",[1],{\"a\":1},null,false,0]", OK},
    {"{\"uniqueItems\":false}", "[1,1]", OK},
    {"{\"contains\":{\"minimum\":5}}", "[1,6]", OK},
    {"{\"contains\":{\"minimum\":5}}", "[1,2]", ""},
    {"{\"contains\":{\"minimum\":5},\"minContains\":0}", "[]", OK},
    {"{\"contains\":{\"minimum\":5},\"maxContains\":1}", "[6,7]", ""},
    {"{\"required\":[\"a\"]}", "{\"b\":1}", "/a"},
    {"{\"required\":[\"a/b~\"]}", "{}", "/a~1b~0"},
    {"{\"required\":[\"a\"]}", "[]", OK},
    {"{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"a\":1}", "/a"},
    {"{\"properties\":{\"a\":{\"type\":\"string\"}}}", "{\"\\u0061\":1}", "/a"},
    {"{\"properties\":{\"a\":{}}}", "{\"a\":1,\"a\":2}", "/a"},
    {"{\"properties\":{\"a\":{}},\"additionalProperties\":false}", "{\"a\":1,\"b\":2}", "/b"},
    {"{\"properties\":{\"a\":{}},\"additionalProperties\":{\"type\":\"integer\"}}", "{\"a\":\"\",\"b\":\"\"}",
     "/b"},
    {"{\"patternProperties\":{\"^x-\":{\"type\":\"integer\"}},\"additionalProperties\":false}",
     "{\"x-a\":1,\"x-b\":\"\"}", "/x-b"},
    {"{\"patternProperties\":{\"^x-\":{}},\"additionalProperties\":false}", "{\"x-a\":1,\"y\":2}", "/y"},
    {"{\"propertyNames\":{\"maxLength\":2}}", "{\"ab\":1,\"abc\":1}", "/abc"},
    {"{\"minProperties\":1}", "{}", ""},
    {"{\"maxProperties\":1}", "{\"a\":1,\"b\":2}", ""},
    {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"a\":1}", "/b"},
    {"{\"dependentRequired\":{\"a\":[\"b\"]}}", "{\"c\":1}", OK},
    {"{\"dependentSchemas\":{\"a\":{\"minProperties\":2}}}", "{\"a\":1}", ""},
    {"{\"allOf\":[{\"minimum\":1},{\"maximum\":3}]}", "4", ""},
    {"{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":3}]}", "2", ""},
    {"{\"anyOf\":[{\"type\":\"string\"},{\"minimum\":3}]}", "3", OK},
    {"{\"oneOf\":[{\"minimum\":1},{\"minimum\":3}]}", "3", ""},
    {"{\"oneOf\":[{\"minimum\":1},{\"minimum\":3}]}", "2", OK},
    {"{\"not\":{\"type\":\"integer\"}}", "1", ""},
    {"{\"if\":{\"minimum\":10},\"then\":{\"multipleOf\":10},\"else\":{\"multipleOf\":2}}", "15", ""},
    {"{\"if\":{\"minimum\":10},\"then\":{\"multipleOf\":10},\"else\":{\"multipleOf\":2}}", "4", OK},
    {"{\"if\":{\"minimum\":10},\"else\":{\"multipleOf\":2}}", "3", ""},
    {"{\"then\":false}", "3", OK},
    {"{\"$defs\":{\"i\":" ITEM "},\"properties\":{\"items\":{\"items\":{\"$ref\":\"#/$defs/i\"}}}}",
     "{\"items\":[{\"sku\":\"a\",\"n\":1},{\"sku\":\"a\",\"n\":0}]}", "/items/1/n"},
    {"{\"$defs\":{\"i\":" ITEM "},\"items\":{\"$ref\":\"#/$defs/i\"}}", "[{\"sku\":\"a\"}]", "/0/n"},
    {"{\"properties\":{\"next\":{\"$ref\":\"#\"}},\"additionalProperties\":false}",
     "{\"next\":{\"next\":{\"x\":1}}}", "/next/next/x"},
    {"{\"allOf\":[{\"properties\":{\"a\":{}}}],\"unevaluatedProperties\":false}", "{\"a\":1,\"b\":2}", "/b"},
    {"{\"prefixItems\":[{}],\"unevaluatedItems\":{\"type\":\"null\"}}", "[1,null,2]", "/2"},
    {"{\"$ref\":\"#n\",\"$defs\":{\"a\":{\"items\":{\"$anchor\":\"n\",\"type\":\"integer\"}}}}", "\"\"", ""},
    {"{\"$id\":\"http://a/b\",\"$ref\":\"http://a/b#/$defs/a\",\"$defs\":{\"a\":{\"type\":\"integer\"}}}",
     "\"\"", ""},
    {"{\"$ref\":\"#/$defs/a%25b\",\"$defs\":{\"a%b\":{\"type\":\"integer\"}}}", "\"\"", ""},
};

static void faults_are_found_where_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sb_schema_t *schema = compile(rows[i].schema);
        sb_error_t err = SB_ERROR_INIT;
        sb_code_t code = sb_schema_validate(schema, sb_slice(rows[i].instance), &err);
        sb_code_t want = rows[i].pointer ? SB_INVALID : SB_OK;
        if (code != want || (rows[i].pointer && strcmp(err.pointer, rows[i].pointer) != 0))
            fail_msg("%s\n on %s: %s at \"%s\", %s", rows[i].schema, rows[i].instance, sb_code_name(code),
                     err.pointer, err.message);
        assert_int_equal(sb_schema_validate(schema, sb_slice(rows[i].instance), NULL), want);
        sb_schema_free(&schema);
    }
}

typedef struct bad {
    const char *schema;
    sb_code_t code;
    const char *pointer;
} bad_t;

static const bad_t bad[] = {
    {"1", SB_INVALID, ""},
    {"{\"typ\":\"string\"}", SB_UNSUPPORTED, "/typ"},
    {"{\"properties\":{\"a\":{\"$dynamicRef\":false}}}", SB_UNSUPPORTED, "/properties/a/$dynamicRef"},
    {"{\"type\":\"strin\"}", SB_INVALID, "/type"},
    {"{\"type\":[]}", SB_INVALID, "/type"},
    {"{\"minLength\":-1}", SB_INVALID, "/minLength"},
    {"{\"minLength\":1.5}", SB_INVALID, "/minLength"},
    {"{\"minimum\":\"1\"}", SB_INVALID, "/minimum"},
    {"{\"multipleOf\":0}", SB_INVALID, "/multipleOf"},
    {"{\"required\":[1]}", SB_INVALID, "/required"},
    {"{\"pattern\":\"(?=x)\"}", SB_UNSUPPORTED, "/pattern"},
    {"{\"pattern\":\"(\"}", SB_INVALID, "/pattern"},
    {"{\"items\":[{}]}", SB_INVALID, "/items"},
    {"{\"allOf\":[]}", SB_INVALID, "/allOf"},
    {"{\"allOf\":[{},{\"x\":1}]}", SB_UNSUPPORTED, "/allOf/1/x"},
    {"{\"$ref\":\"#/$defs/no\"}", SB_INVALID, "/$ref"},
    {"{\"$ref\":\"#no\"}", SB_INVALID, "/$ref"},
    {"{\"$ref\":\"#n\",\"enum\":[{\"$anchor\":\"n\"}]}", SB_INVALID, "/$ref"},
    {"{\"$anchor\":\"#n\"}", SB_INVALID, "/$anchor"},
    {"{\"$defs\":{\"a\":{\"$anchor\":\"n\"},\"b\":{\"$anchor\":\"n\"}}}", SB_INVALID, "/$defs/b/$anchor"},
    {"{\"$id\":\"http://a/b\",\"$ref\":\"http://a/bc#\"}", SB_UNSUPPORTED, "/$ref"},
    {"{\"$ref\":\"other.json\"}", SB_UNSUPPORTED, "/$ref"},
    {"{\"$ref\":\"#\"}", SB_INVALID, ""},
    {"{\"allOf\":[{\"$ref\":\"#/$defs/a\"}],\"$defs\":{\"a\":{\"not\":{\"$ref\":\"#\"}}}}", SB_INVALID, ""},
    {"{\"$schema\":\"http://json-schema.org/draft-07/schema#\"}", SB_UNSUPPORTED, "/$schema"},
    {"{\"properties\":{\"a\":{\"$id\":\"x\"}}}", SB_UNSUPPORTED, "/properties/a/$id"},
    {"{\"$defs\":{\"unused\":{\"type\":7}}}", SB_INVALID, "/$defs/unused/type"},
    {"{\"uniqueItems\":1}", SB_INVALID, "/uniqueItems"},
};

static void unknown_rules_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        json_t *source = NULL;
        sb_schema_t *schema = NULL;
        sb_error_t err = SB_ERROR_INIT;
        assert_ok(sb_json_parse(&source, sb_slice(bad[i].schema), "schema", &err), &err);
        assert_code(bad[i].code, sb_schema_compile(&schema, source, &err), &err);
        assert_string_equal(err.pointer, bad[i].pointer);
        assert_null(schema);
        json_decref(source);
    }
}

static void says_what_it_describes(void **state)
{
    (void)state;
    sb_schema_t *schema =
        compile("{\"properties\":{\"a\":{\"$ref\":\"#/$defs/x\"},\"s/t\":{}},\"$defs\":{\"x\":{"
                "\"properties\":{\"b\":{\"type\":\"string\"}}}},\"required\":[\"only\"]}");
    assert_true(sb_schema_has(schema, SB_SLICE("")));
    assert_true(sb_schema_has(schema, SB_SLICE("/a/b")));
    assert_true(sb_schema_has(schema, SB_SLICE("/s~1t")));
    assert_false(sb_schema_has(schema, SB_SLICE("/a/c")));
    assert_false(sb_schema_has(schema, SB_SLICE("/only")));
    assert_false(sb_schema_has(schema, SB_SLICE("a")));
    sb_schema_free(&schema);
}

/* A hostile array must not cost each-with-each comparisons. */
static void many_items_are_told_apart_quickly(void **state)
{
    (void)state;
    sb_schema_t *schema = compile("{\"uniqueItems\":true}");
    sb_buf_t text = SB_BUF_INIT;
    for (int i = 0; i < 100000; i++)
        sb_buf_printf(&text, "%c%d", i ? ',' : '[', i);
    sb_buf_add_char(&text, ']');
    int64_t start = sb_test_cpu_ms();
    assert_int_equal(sb_schema_validate(schema, sb_buf_slice(&text), NULL), SB_OK);
    assert_true(sb_test_cpu_ms() - start < 10000);
    sb_buf_fini(&text);
    sb_schema_free(&schema);
}

/* ---- an oracle: the same rules told once more, over jansson's tree ---- */

static bool allows(const json_t *schema, const json_t *value);

static bool type_is(const char *type, const json_t *value)
{
    return (strcmp(type, "integer") == 0 && json_is_integer(value)) ||
           (strcmp(type, "number") == 0 && json_is_number(value)) ||
           (strcmp(type, "string") == 0 && json_is_string(value)) ||
           (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
           (strcmp(type, "object") == 0 && json_is_object(value)) ||
           (strcmp(type, "array") == 0 && json_is_array(value)) ||
           (strcmp(type, "null") == 0 && json_is_null(value));
}

static bool rule_allows(const json_t *schema, const char *rule, const json_t *arg, const json_t *value)
{
    size_t count = 0;
    size_t i;
    json_t *item;
    if (strcmp(rule, "type") == 0)
        return type_is(json_string_value(arg), value);
    if (strcmp(rule, "const") == 0)
        return json_equal(arg, value);
    if (strcmp(rule, "minimum") == 0)
        return !json_is_number(value) || json_number_value(value) >= json_number_value(arg);
    if (strcmp(rule, "maxLength") == 0)
        return !json_is_string(value) || json_string_length(value) <= (size_t)json_integer_value(arg);
    if (strcmp(rule, "minItems") == 0)
        return !json_is_array(value) || json_array_size(value) >= (size_t)json_integer_value(arg);
    if (strcmp(rule, "required") == 0) {
        json_array_foreach(arg, i, item) if (json_is_object(value) &&
                                             !json_object_get(value, json_string_value(item))) return false;
        return true;
    }
    if (strcmp(rule, "items") == 0) {
        json_array_foreach(value, i, item) if (!allows(arg, item)) return false;
        return true;
    }
    if (strcmp(rule, "uniqueItems") == 0) {
        for (i = 0; json_is_array(value) && i < json_array_size(value); i++)
            for (size_t k = 0; k < i; k++)
                if (json_equal(json_array_get(value, i), json_array_get(value, k)))
                    return false;
        return true;
    }
    if (strcmp(rule, "properties") == 0 || strcmp(rule, "additionalProperties") == 0) {
        bool named = rule[0] == 'p';
        const json_t *properties = json_object_get(schema, "properties");
        const char *name;
        json_object_foreach((json_t *)(uintptr_t)value, name, item)
        {
            const json_t *of = json_object_get(properties, name);
            if (named ? of && !allows(of, item) : !of && !allows(arg, item))
                return false;
        }
        return true;
    }
    if (strcmp(rule, "not") == 0)
        return !allows(arg, value);
    json_array_foreach(arg, i, item) count += allows(item, value);
    return strcmp(rule, "allOf") == 0   ? count == json_array_size(arg)
           : strcmp(rule, "anyOf") == 0 ? count > 0
                                        : count == 1;
}

static bool allows(const json_t *schema, const json_t *value)
{
    if (json_is_boolean(schema))
        return json_is_true(schema);
    const char *rule;
    json_t *arg;
    json_object_foreach((json_t *)(uintptr_t)schema, rule,
                        arg) if (!rule_allows(schema, rule, arg, value)) return false;
    return true;
}

/* The same numbers in each run. */
static unsigned random_state;

static int random_number(void)
{
    return rand_r(&random_state);
}

static json_t *random_value(int depth)
{
    static const char *const texts[] = {"", "a", "b", "ab", "abc", "\xc3\xa9"};
    int kind = random_number() % (depth > 0 ? 7 : 5);
    json_t *value = kind == 5 ? json_object() : json_array();
    switch (kind) {
    case 0:
    case 1:
        json_decref(value);
        return json_integer(random_number() % 5 - 1);
    case 2:
        json_decref(value);
        return json_string(texts[random_number() % 5]);
    case 3:
        json_decref(value);
        return random_number() % 2 ? json_true() : json_null();
    case 4:
        json_decref(value);
        return json_real(0.5 + random_number() % 3);
    case 5:
        for (int i = random_number() % 4; i > 0; i--)
            (void)json_object_set_new(value, texts[1 + random_number() % 5], random_value(depth - 1));
        return value;
    default:
        for (int i = random_number() % 4; i > 0; i--)
            (void)json_array_append_new(value, random_value(depth - 1));
        return value;
    }
}

static json_t *random_schema(int depth)
{
    static const char *const types[] = {"integer", "number", "string", "boolean", "object", "array", "null"};
    static const char *const names[] = {"a", "b", "ab"};
    json_t *schema = json_object();
    for (int i = 1 + random_number() % 2; i > 0; i--) {
        int rule = random_number() % (depth > 0 ? 13 : 6);
        json_t *list = json_array();
        for (int k = 1 + random_number() % 2; k > 0 && rule >= 10; k--)
            (void)json_array_append_new(list, random_schema(depth - 1));
        static const char *const combinations[] = {"allOf", "anyOf", "oneOf"};
        if (rule == 0)
            (void)json_object_set_new(schema, "type", json_string(types[random_number() % 7]));
        else if (rule == 1)
            (void)json_object_set_new(schema, "const", random_value(1));
        else if (rule == 2)
            (void)json_object_set_new(schema, "minimum", json_integer(random_number() % 4));
        else if (rule == 3)
            (void)json_object_set_new(schema, "maxLength", json_integer(random_number() % 3));
        else if (rule == 4)
            (void)json_object_set_new(schema, "minItems", json_integer(random_number() % 3));
        else if (rule == 5)
            (void)json_object_set_new(schema, "required", json_pack("[s]", names[random_number() % 3]));
        else if (rule == 6)
            (void)json_object_set_new(schema, "uniqueItems", json_true());
        else if (rule == 7)
            (void)json_object_set_new(schema, random_number() % 2 ? "items" : "not",
                                      random_schema(depth - 1));
        else if (rule == 8)
            (void)json_object_set_new(
                schema, "properties",
                json_pack("{s:o,s:o}", "a", random_schema(depth - 1), "ab", random_schema(depth - 1)));
        else if (rule == 9)
            (void)json_object_set_new(schema, "additionalProperties",
                                      random_number() % 3 ? random_schema(depth - 1) : json_false());
        else
            (void)json_object_set(schema, combinations[rule - 10], list);
        json_decref(list);
    }
    return schema;
}

static void agrees_with_an_oracle_on_jansson(void **state)
{
    (void)state;
    int valid = 0;
    const char *given = getenv("SB_TEST_SEED");
    random_state = (unsigned)(given ? strtoul(given, NULL, 10) : (unsigned long)sb_test_mono_ms());
    print_message("seed %u (SB_TEST_SEED)\n", random_state);
    for (int i = 0; i < 20000; i++) {
        json_t *source = random_schema(3);
        json_t *value = random_value(3);
        sb_schema_t *schema = NULL;
        sb_error_t err = SB_ERROR_INIT;
        sb_buf_t text = SB_BUF_INIT;
        assert_ok(sb_schema_compile(&schema, source, &err), &err);
        sb_json_dump(value, &text);
        bool want = allows(source, value);
        valid += want;
        sb_code_t code = sb_schema_validate(schema, sb_buf_slice(&text), &err);
        if ((code == SB_OK) != want) {
            char *of_schema = json_dumps(source, 0);
            fail_msg("%s on %s: %s", of_schema, sb_buf_text(&text), err.message);
        }
        if (code != SB_OK)
            assert_true(sb_json_pointer_ok(sb_slice(err.pointer)));
        sb_buf_fini(&text);
        sb_schema_free(&schema);
        json_decref(value);
        json_decref(source);
    }
    assert_in_range(valid, 2000, 18000); /* both answers were asked for often */
}

static void every_kept_input_agrees(void **state)
{
    (void)state;
    int verdicts[3] = {0};
    DIR *dir = opendir(SB_TEST_CORPUS);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        char text[65536];
        int verdict = -1;
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", SB_TEST_CORPUS, entry->d_name);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t length = fread(text, 1, sizeof text, file);
        (void)fclose(file);
        const char *end = memchr(text, '\n', length);
        size_t first = end ? (size_t)(end - text) : length;
        sb_slice_t rest = {text + first + 1, end ? length - first - 1 : 0};
        const char *fault = sb_schema_differs((sb_slice_t){text, first}, rest, &verdict);
        if (fault)
            fail_msg("%s: %s", entry->d_name, fault);
        verdicts[verdict + 1]++;
    }
    (void)closedir(dir);
    assert_true(verdicts[0] >= 2 && verdicts[1] >= 1 && verdicts[2] >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_are_found_where_they_are),
        cmocka_unit_test(unknown_rules_are_refused),
        cmocka_unit_test(says_what_it_describes),
        cmocka_unit_test(many_items_are_told_apart_quickly),
        cmocka_unit_test(agrees_with_an_oracle_on_jansson),
        cmocka_unit_test(every_kept_input_agrees),
    };
    return cmocka_run_group_tests_name("schema", tests, NULL, NULL);
}
