/* SPDX-License-Identifier: Apache-2.0 */
#include "events/schema/compat.h"
#include "tests/support/assert.h"

#include <stdio.h>

typedef struct found {
    int count;
    char pointer[200];
    char message[512];
} found_t;

static void note(void *context, const char *pointer, const char *message)
{
    found_t *found = context;
    if (found->count++ == 0) {
        (void)snprintf(found->pointer, sizeof found->pointer, "%s", pointer);
        (void)snprintf(found->message, sizeof found->message, "%s", message);
    }
}

/* Version 1 has the schema before, version 2 the schema after and the operations. */
static void compare(const char *before, const char *after, const char *operations, found_t *found)
{
    char text[4096];
    sb_error_t err = SB_ERROR_INIT;
    json_t *one = NULL;
    json_t *two = NULL;
    *found = (found_t){.count = 0};
    (void)snprintf(text, sizeof text, "{\"type\":\"a.b\",\"version\":1,\"schema\":%s}", before);
    assert_ok(sb_json_parse(&one, sb_slice(text), text, &err), &err);
    (void)snprintf(text, sizeof text, "{\"type\":\"a.b\",\"version\":2,\"schema\":%s,\"x-upcast\":%s}", after,
                   operations);
    assert_ok(sb_json_parse(&two, sb_slice(text), text, &err), &err);
    assert_ok(sb_compat_check(one, two, note, found, &err), &err);
    json_decref(one);
    json_decref(two);
}

#define P(members)        "{\"type\":\"object\",\"properties\":{" members "}}"
#define R(names, members) "{\"type\":\"object\",\"required\":[" names "],\"properties\":{" members "}}"
#define INT               "{\"type\":\"integer\"}"
#define STR               "{\"type\":\"string\"}"
#define A                 "\"a\":" INT
#define NONE              "[]"

static void what_may_follow(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {P(A), P(A), NONE},
        {P(A), P(A ",\"b\":" STR), NONE}, /* a new optional member */
        {P(A), P("\"a\":{\"type\":\"number\"}"), NONE},
        {P(A), P("\"a\":{\"type\":[\"integer\",\"null\"]}"), NONE},
        {P(A), "{}", NONE},
        {P(A), P("\"a\":true"), NONE},
        {R("\"a\"", A), P(A), NONE}, /* not required any more */
        {"{\"minimum\":5,\"maxLength\":3,\"pattern\":\"x\"}", "{\"minimum\":4.5,\"maxLength\":4}", NONE},
        {"{\"exclusiveMinimum\":1}", "{\"minimum\":1}", NONE},
        {"{\"minimum\":1.5}", "{\"exclusiveMinimum\":1}", NONE},
        {"{\"enum\":[1,2]}", "{\"type\":\"integer\",\"enum\":[1,2,3]}", NONE},
        {"{\"const\":7}", "{\"minimum\":7,\"type\":\"number\"}", NONE},
        {"{\"type\":\"string\"}", "{\"type\":[\"string\",\"array\"],\"minItems\":1}", NONE},
        {"{\"additionalProperties\":false}", "{\"additionalProperties\":" INT "}", NONE},
        {"{\"items\":" INT "}", "{\"items\":{\"type\":\"number\"}}", NONE},
        {"{\"prefixItems\":[" INT "],\"items\":" STR "}", "{\"items\":{\"type\":[\"string\",\"integer\"]}}",
         NONE},
        {"{\"$ref\":\"#/$defs/i\",\"$defs\":{\"i\":" INT "}}", INT, NONE},
        {"{\"$ref\":\"#/$defs/an%20i\",\"$defs\":{\"an i\":" INT "}}", INT, NONE},
        {"{\"$id\":\"urn:i\",\"$ref\":\"urn:i#i\",\"$defs\":{\"i\":{\"$anchor\":\"i\",\"type\":\"integer\"}}"
         "}",
         INT, NONE},
        {P("\"n\":{\"$ref\":\"#\"}," A), P("\"n\":{\"$ref\":\"#\"}," A ",\"b\":" STR), NONE},
        {"{\"anyOf\":[" INT "," STR "]}", "{\"anyOf\":[" STR "," INT ",{\"type\":\"null\"}]}", NONE},
        {STR, "{\"allOf\":[{\"type\":[\"string\",\"null\"]}]}", NONE},
        {"{\"allOf\":[" P(A) "]}", "{\"allOf\":[" P(A) "],\"properties\":{\"b\":" STR "}}", NONE},
        /* with operations */
        {R("\"a\"", A), R("\"b\"", "\"b\":" INT), "[{\"rename\":{\"from\":\"/a\",\"to\":\"/b\"}}]"},
        {P(A), P("\"c\":" INT), "[{\"drop\":{\"at\":\"/a\"}}]"},
        {P(A), R("\"b\"", A ",\"b\":" STR), "[{\"default\":{\"at\":\"/b\",\"value\":\"EUR\"}}]"},
        {P(A), R("\"a\"", A), "[{\"default\":{\"at\":\"/a\",\"value\":0}}]"},
        {P(A), R("\"a\"", "\"a\":" STR), "[{\"const\":{\"at\":\"/a\",\"value\":\"x\"}}]"},
        {P("\"o\":" R("\"a\"", A)), P("\"o\":" R("\"a\",\"b\"", A ",\"b\":" INT)),
         "[{\"default\":{\"at\":\"/o/b\",\"value\":1}}]"},
        {R("\"a\"", A), R("\"o\"", "\"o\":" R("\"a\"", A)), "[{\"move\":{\"from\":\"/a\",\"to\":\"/o/a\"}}]"},
        {P(A ",\"b\":" STR), P("\"o\":" P(A ",\"b\":" STR)),
         "[{\"move\":{\"from\":\"/a\",\"to\":\"/o/a\"}},{\"move\":{\"from\":\"/b\",\"to\":\"/o/b\"}}]"},
        {"{\"type\":\"object\",\"properties\":{\"o\":{\"$ref\":\"#/$defs/o\"}},\"$defs\":{\"o\":" P(A) "}}",
         P("\"o\":" P("\"b\":" INT)), "[{\"rename\":{\"from\":\"/o/a\",\"to\":\"/o/b\"}}]"},
        {P(A ",\"b\":" STR), P("\"a\":" STR ",\"b\":" INT),
         "[{\"rename\":{\"from\":\"/a\",\"to\":\"/t\"}},{\"rename\":{\"from\":\"/b\",\"to\":\"/"
         "a\"}},{\"rename\":{\"from\":"
         "\"/t\",\"to\":\"/b\"}}]"},
        {P(A), STR, "\"hook\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        found_t found;
        compare(cases[i][0], cases[i][1], cases[i][2], &found);
        if (found.count)
            fail_msg("%s, then %s: %s %s", cases[i][0], cases[i][1], found.pointer, found.message);
    }
}

static void what_may_not(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after, *operations, *pointer, *message;
    } cases[] = {
        {P(A), P("\"b\":" INT), NONE, "/schema/properties", "/a: is gone"},
        {P(A), R("\"b\"", A ",\"b\":" INT), NONE, "/schema/required", "/b: is required"},
        {P(A), R("\"a\"", A), NONE, "/schema/required", "/a: is required"},
        {P(A), P("\"a\":" STR), NONE, "/schema/properties/a/type", "/a: version 1 allows type integer"},
        {P("\"a\":{\"type\":\"number\"}"), P(A), NONE, "/schema/properties/a/type", "allows type number"},
        {P("\"a\":true"), P(A), NONE, "/schema/properties/a/type", "allows type null"},
        {P("\"a\":{\"maximum\":10}"), P("\"a\":{\"maximum\":9.5}"), NONE, "/schema/properties/a/maximum",
         "narrower"},
        {"{\"minimum\":1}", "{\"exclusiveMinimum\":1}", NONE, "/schema/exclusiveMinimum", "narrower"},
        {"{\"maximum\":12345678901234567}", "{\"maximum\":12345678901234566}", NONE, "/schema/maximum",
         "narrower"},
        {STR, "{\"type\":\"string\",\"minLength\":1}", NONE, "/schema/minLength", "narrower"},
        {STR, "{\"type\":\"string\",\"pattern\":\"^x\"}", NONE, "/schema/pattern", "another rule"},
        {STR, "{\"type\":\"string\",\"format\":\"date\"}", NONE, "/schema/format", "format"},
        {"{\"enum\":[1,2,3]}", "{\"enum\":[1,3]}", NONE, "/schema",
         "2, which version 1 has here, is not allowed"},
        {INT, "{\"type\":\"integer\",\"enum\":[1]}", NONE, "/schema/enum", "another rule"},
        {P(A), "{\"properties\":{" A "},\"type\":\"object\",\"additionalProperties\":false}", NONE,
         "/schema/additionalProperties", "let other members in"},
        {"{\"items\":{\"type\":\"number\"}}", "{\"items\":" INT "}", NONE, "/schema/items/type",
         "/*: version 1"},
        {"{\"type\":\"array\"}", "{\"type\":\"array\",\"uniqueItems\":true}", NONE, "/schema/uniqueItems",
         "twice"},
        {"{\"anyOf\":[" INT "," STR "]}", INT, NONE, "/schema/type", "allows type string"},
        {P(A), "{\"type\":\"object\",\"properties\":{" A "},\"unevaluatedProperties\":false}", NONE,
         "/schema/unevaluatedProperties", "another rule"},
        {STR, "{\"allOf\":[{\"minLength\":2}]}", NONE, "/schema/allOf", "asks for more"},
        {P("\"o\":" P(A)), P("\"o\":" R("\"a\"", A)), NONE, "/schema/properties/o/required",
         "/o/a: is required"},
        /* what the old version says elsewhere than in its properties, or the new one beside the same list */
        {"{\"enum\":[\"a\",\"bb\"]}", "{\"enum\":[\"a\",\"bb\"],\"minLength\":2}", NONE, "/schema",
         "\"a\", which version 1 has here"},
        {"{\"patternProperties\":{\"^x\":{}},\"additionalProperties\":false}",
         "{\"additionalProperties\":false}", NONE, "/schema/additionalProperties", "let other members in"},
        {"{\"patternProperties\":{\"^a\":" INT "},\"additionalProperties\":false}",
         "{\"properties\":{\"a\":" STR "}}", NONE, "/schema/properties/a/type", "/a: version 1 allows"},
        {"{\"properties\":{" A "},\"additionalProperties\":false}", "{\"additionalProperties\":false}", NONE,
         "/schema/properties", "/a: is gone"},
        {"{\"allOf\":[{\"properties\":{" A "}}]}", "{\"properties\":{\"a\":" STR "}}", NONE,
         "/schema/properties/a/type", "/a: version 1 allows"},
        {P(A), P("\"a\":false"), NONE, "/schema/properties/a", "nothing is allowed"},
        /* operations that do not say what they should */
        {P(A), P(A ",\"b\":" INT), "[{\"rename\":{\"from\":\"/x\",\"to\":\"/b\"}}]",
         "/x-upcast/0/rename/from", "the version before has no such member"},
        {P(A), P("\"b\":" INT), "[{\"rename\":{\"from\":\"/a\",\"to\":\"/c\"}}]", "/x-upcast/0/rename/to",
         "this version's schema has no such member"},
        {P(A), P("\"b\":" INT), "[{\"drop\":{\"at\":\"/a\"}},{\"drop\":{\"at\":\"/a\"}}]",
         "/x-upcast/1/drop/at", "has no such member"},
        {P(A), P(A), "[{\"default\":{\"at\":\"/b\",\"value\":1}}]", "/x-upcast/0/default/at",
         "has no such member"},
        {P(A), P(A ",\"o\":" P(A)), "[{\"default\":{\"at\":\"/o/a\",\"value\":1}}]", "/x-upcast/0/default/at",
         "has no such object"},
        {P(A), R("\"b\"", A ",\"b\":" INT), "[{\"default\":{\"at\":\"/b\",\"value\":\"x\"}}]",
         "/schema/properties/b", "\"x\", which version 1 has here, is not allowed"},
        {P(A), R("\"o\"", "\"o\":" P(A)), "[{\"move\":{\"from\":\"/a\",\"to\":\"/o/a\"}}]",
         "/schema/required", "/o: is required"},
        {P("\"o\":" P(A)), R("\"b\"", "\"b\":" INT ",\"o\":{}"),
         "[{\"move\":{\"from\":\"/o/a\",\"to\":\"/b\"}}]", "/schema/required", "/b: is required"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        found_t found;
        compare(cases[i].before, cases[i].after, cases[i].operations, &found);
        if (found.count == 0)
            fail_msg("%s, then %s: no fault", cases[i].before, cases[i].after);
        if (strcmp(found.pointer, cases[i].pointer) != 0 || !strstr(found.message, cases[i].message))
            fail_msg("%s, then %s: %s %s", cases[i].before, cases[i].after, found.pointer, found.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_may_follow),
        cmocka_unit_test(what_may_not),
    };
    return cmocka_run_group_tests_name("compat", tests, NULL, NULL);
}
