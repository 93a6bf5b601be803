/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "base/scan.h"
#include "events/schema/upcast.h"
#include "tests/fuzz/upcast_oracle.h"
#include "tests/support/assert.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static void assert_agrees(sb_slice_t declaration, sb_slice_t body, sb_buf_t *out)
{
    char *copy = malloc(body.len ? body.len : 1); /* exact, for AddressSanitizer */
    assert_non_null(copy);
    memcpy(copy, body.ptr, body.len);
    const char *fault = sb_upcast_differs(declaration, (sb_slice_t){copy, body.len}, out);
    free(copy);
    if (fault)
        fail_msg("%s: %.*s on %.*s", fault, SB_SLICE_ARG(declaration), SB_SLICE_ARG(body));
}

static void what_the_operations_do(void **state)
{
    (void)state;
    static const struct {
        const char *declaration, *body, *want;
    } cases[] = {
        /* what is untouched keeps its bytes, its place and the white space around it */
        {"[]", " {\"a\" : 1.50 } \n", " {\"a\" : 1.50 } \n"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/b\"}}]", "{ \"x\":1e2 ,\n \"a\" : 0.10,\"y\":\"\\u0041\" }",
         "{ \"x\":1e2 ,\n \"b\" : 0.10,\"y\":\"\\u0041\" }"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/b\"}}]", "{\"c\":1}", "{\"c\":1}"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/b\"}}]", "{\"b\":1,\"a\":2}", "{\"b\":2}"},
        {"[{\"rename\":{\"from\":\"/o/a\",\"to\":\"/o/b\"}}]", "{\"o\":{\"a\":12345678901234567890123}}",
         "{\"o\":{\"b\":12345678901234567890123}}"},
        /* names are compared by value, and written as JSON wants them */
        {"[{\"rename\":{\"from\":\"/a~1b~0\",\"to\":\"/q\\\"\"}}]", "{\"\\u0061/b~\":1}", "{\"q\\\"\":1}"},
        /* a member there is not a default's concern, not even null */
        {"[{\"default\":{\"at\":\"/a\",\"value\":0.1}}]", "{}", "{\"a\":0.1}"},
        {"[{\"default\":{\"at\":\"/a\",\"value\":{\"b\":[true]}}}]", "{ \"c\":1 }",
         "{ \"c\":1 ,\"a\":{\"b\":[true]}}"},
        {"[{\"default\":{\"at\":\"/a\",\"value\":1}}]", "{\"a\":null}", "{\"a\":null}"},
        {"[{\"default\":{\"at\":\"/o/a\",\"value\":1}}]", "{\"o\":{ },\"p\":2}", "{\"o\":{\"a\":1},\"p\":2}"},
        {"[{\"default\":{\"at\":\"/o/a\",\"value\":1}}]", "{\"p\":2}", "{\"p\":2}"},
        {"[{\"default\":{\"at\":\"/o/a\",\"value\":1}}]", "{\"o\":[ ]}", "{\"o\":[ ]}"},
        {"[{\"const\":{\"at\":\"/a\",\"value\":\"x\"}}]", "{\"a\" : {\"b\":1} ,\"c\":2}",
         "{\"a\" : \"x\" ,\"c\":2}"},
        {"[{\"const\":{\"at\":\"/a\",\"value\":null}}]", "{}", "{\"a\":null}"},
        {"[{\"drop\":{\"at\":\"/a\"}}]", "{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2}"},
        {"[{\"drop\":{\"at\":\"/o/a\"}}]", "{\"o\":{\"a\":1}}", "{\"o\":{}}"},
        /* between objects: those on the way are made when there is something to move */
        {"[{\"move\":{\"from\":\"/street\",\"to\":\"/address/street\"}}]", "{\"street\":\"s\",\"n\":1}",
         "{\"n\":1,\"address\":{\"street\":\"s\"}}"},
        {"[{\"move\":{\"from\":\"/street\",\"to\":\"/address/street\"}}]", "{\"n\":1}", "{\"n\":1}"},
        {"[{\"move\":{\"from\":\"/a/b/c\",\"to\":\"/c\"}}]", "{\"a\":{\"b\":{\"c\":[1, 2]}}}",
         "{\"a\":{\"b\":{}},\"c\":[1, 2]}"},
        {"[{\"move\":{\"from\":\"/a/b\",\"to\":\"/a\"}}]", "{\"a\":{\"b\":{\"c\":1},\"d\":2}}",
         "{\"a\":{\"c\":1}}"},
        {"[{\"move\":{\"from\":\"/a\",\"to\":\"/b/c\"}}]", "{\"a\":1,\"b\":\"no object\"}",
         "{\"a\":1,\"b\":\"no object\"}"},
        /* one after the other: what the first has made the second finds */
        {"[{\"move\":{\"from\":\"/a\",\"to\":\"/t/a\"}},{\"rename\":{\"from\":\"/t/a\",\"to\":\"/t/b\"}},"
         "{\"default\":{\"at\":\"/t/c\",\"value\":[]}},{\"drop\":{\"at\":\"/x\"}}]",
         "{\"x\":1,\"a\":{\"k\":1}}", "{\"t\":{\"b\":{\"k\":1},\"c\":[]}}"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/t\"}},{\"rename\":{\"from\":\"/b\",\"to\":\"/a\"}},"
         "{\"rename\":{\"from\":\"/t\",\"to\":\"/b\"}}]",
         "{\"a\":1,\"b\":2}", "{\"b\":1,\"a\":2}"},
        {"[{\"const\":{\"at\":\"/o\",\"value\":{}}},{\"const\":{\"at\":\"/o/a\",\"value\":7}}]", "{}",
         "{\"o\":{\"a\":7}}"},
        {"[{\"drop\":{\"at\":\"/a\"}}]", "[{\"a\":1}]", "[{\"a\":1}]"},
        {"[{\"drop\":{\"at\":\"/\"}}]", "{\"\":1,\"a\":2}", "{\"a\":2}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sb_buf_t out = SB_BUF_INIT;
        assert_agrees(sb_slice(cases[i].declaration), sb_slice(cases[i].body), &out);
        assert_string_equal(sb_buf_text(&out), cases[i].want);
        sb_buf_fini(&out);
    }
}

static void what_is_no_declaration(void **state)
{
    (void)state;
    static const struct {
        const char *declaration, *pointer;
    } cases[] = {
        {"{}", ""},
        {"\"hoook\"", ""},
        {"[1]", "/0"},
        {"[{}]", "/0"},
        {"[{\"drop\":{\"at\":\"/a\"},\"const\":{\"at\":\"/a\",\"value\":1}}]", "/0"},
        {"[{\"drop\":{\"at\":\"/a\"}},{\"explode\":{\"at\":\"/a\"}}]", "/1"},
        {"[{\"drop\":\"/a\"}]", "/0/drop"},
        {"[{\"drop\":{}}]", "/0/drop/at"},
        {"[{\"drop\":{\"at\":\"\"}}]", "/0/drop/at"},
        {"[{\"drop\":{\"at\":\"a\"}}]", "/0/drop/at"},
        {"[{\"drop\":{\"at\":\"/a~2\"}}]", "/0/drop/at"},
        {"[{\"drop\":{\"at\":\"/a\",\"value\":1}}]", "/0/drop/value"},
        {"[{\"default\":{\"at\":\"/a\"}}]", "/0/default/value"},
        {"[{\"default\":{\"at\":\"/a\",\"value\":0.12345678901234567}}]", "/0/default/value"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/o/b\"}}]", "/0/rename/to"},
        {"[{\"rename\":{\"from\":\"/a\",\"to\":\"/a\"}}]", "/0/rename/to"},
        {"[{\"move\":{\"from\":\"/a\",\"to\":\"/a/b\"}}]", "/0/move/to"},
        {"[{\"move\":{\"to\":\"/a/b\"}}]", "/0/move/from"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sb_error_t err = SB_ERROR_INIT;
        json_t *declaration = json_loads(cases[i].declaration, JSON_DECODE_ANY, NULL);
        sb_upcast_t *upcast = NULL;
        assert_true(sb_upcast_compile(&upcast, declaration, &err) != SB_OK);
        assert_null(upcast);
        if (strcmp(err.pointer, cases[i].pointer) != 0)
            fail_msg("%s: at %s, wanted %s", cases[i].declaration, err.pointer, cases[i].pointer);
        assert_true(strlen(err.message) > 5);
        json_decref(declaration);
    }
}

/* A value that would come to lie deeper than a reader follows stays where it is. */
static void a_move_does_not_nest_too_deep(void **state)
{
    (void)state;
    for (int depth = SB_SCAN_DEPTH_MAX - 4; depth < SB_SCAN_DEPTH_MAX; depth++) {
        sb_buf_t body = SB_BUF_INIT;
        sb_buf_t out = SB_BUF_INIT;
        sb_buf_add_text(&body, "{\"a\":");
        for (int i = 0; i < depth; i++)
            sb_buf_add_char(&body, '[');
        for (int i = 0; i < depth; i++)
            sb_buf_add_char(&body, ']');
        sb_buf_add_char(&body, '}');
        assert_agrees(SB_SLICE("[{\"move\":{\"from\":\"/a\",\"to\":\"/b/c/d\"}}]"), sb_buf_slice(&body),
                      &out);
        bool moved = strstr(sb_buf_text(&out), "\"d\"") != NULL;
        assert_int_equal(moved, depth + 3 <= SB_SCAN_DEPTH_MAX);
        sb_buf_fini(&body);
        sb_buf_fini(&out);
    }
}

/* ---- at random ---- */

static uint64_t seed;

static int below(int limit)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (int)((seed >> 33) % (uint64_t)limit);
}

static const char *const names[] = {"a", "b", "c", "\\u0061", "a/b", "", "long name", "\\\"", "d~"};
static const char *const tokens[] = {"a", "b", "c", "a", "a~1b", "", "long name", "\\\"", "d~0"};
#define NAMES ((int)(sizeof names / sizeof *names))

static void random_space(sb_buf_t *out)
{
    static const char *const spaces[] = {"", "", "", " ", "\n  ", "\t"};
    sb_buf_add_text(out, spaces[below(6)]);
}

static void random_value(sb_buf_t *out, int depth)
{
    static const char *const scalars[] = {"null", "true",     "false", "0",       "-0.0",   "1.50",
                                          "1e2",  "\"text\"", "\"\"",  "\"\\n\"", "123456", "-7E+1"};
    int kind = depth > 3 ? 0 : below(5);
    int count = below(4);
    random_space(out);
    if (kind >= 3) {
        bool used[NAMES] = {false};
        used[3] = true; /* is "a", spelled otherwise: mostly not both */
        sb_buf_add_char(out, '{');
        for (int i = 0, written = 0; i < count + 2; i++) {
            int name = below(NAMES);
            if (used[name])
                continue;
            used[name] = true;
            sb_buf_add_text(out, written++ ? "," : "");
            random_space(out);
            sb_buf_printf(out, "\"%s\"", name == 0 && below(4) == 0 ? names[3] : names[name]);
            random_space(out);
            sb_buf_add_char(out, ':');
            random_value(out, depth + 1);
        }
        random_space(out);
        sb_buf_add_char(out, '}');
    } else if (kind == 2) {
        sb_buf_add_char(out, '[');
        for (int i = 0; i < count; i++) {
            sb_buf_add_text(out, i ? "," : "");
            random_value(out, depth + 1);
        }
        sb_buf_add_char(out, ']');
    } else {
        sb_buf_add_text(out, scalars[below(12)]);
    }
    random_space(out);
}

static void random_pointer(sb_buf_t *out)
{
    for (int depth = 1 + below(3); depth > 0; depth--)
        sb_buf_printf(out, "/%s", tokens[below(NAMES)]);
}

static void random_declaration(sb_buf_t *out)
{
    static const char *const kinds[] = {"rename", "move", "drop", "default", "const"};
    int count = below(6);
    sb_buf_add_char(out, '[');
    for (int i = 0; i < count; i++) {
        int kind = below(5);
        sb_buf_t from = SB_BUF_INIT;
        random_pointer(&from);
        sb_buf_printf(out, "%s{\"%s\":{\"%s\":\"%s\"", i ? "," : "", kinds[kind], kind < 2 ? "from" : "at",
                      sb_buf_text(&from));
        if (kind == 0) {
            const char *last = strrchr(sb_buf_text(&from), '/');
            sb_buf_printf(out, ",\"to\":\"%.*s/%s\"", (int)(last - sb_buf_text(&from)), sb_buf_text(&from),
                          tokens[below(NAMES)]);
        } else if (kind == 1) {
            sb_buf_add_text(out, ",\"to\":\"");
            random_pointer(out);
            sb_buf_add_char(out, '"');
        } else if (kind > 2) {
            sb_buf_add_text(out, ",\"value\":");
            sb_buf_add_text(out, below(2) ? "1" : "{\"a\":{},\"b\":[true]}");
        }
        sb_buf_add_text(out, "}}");
        sb_buf_fini(&from);
    }
    sb_buf_add_char(out, ']');
}

static void bytes_and_tree_agree_at_random(void **state)
{
    (void)state;
    const char *given = getenv("SB_TEST_SEED");
    uint64_t start = given ? strtoull(given, NULL, 10) : (uint64_t)sb_test_mono_ms();
    int rounds = getenv("SB_TEST_LONG") ? 1000000 : 20000;
    int changed = 0;
    print_message("seed %llu (SB_TEST_SEED)\n", (unsigned long long)start);
    seed = start;
    for (int i = 0; i < rounds; i++) {
        sb_buf_t declaration = SB_BUF_INIT;
        sb_buf_t body = SB_BUF_INIT;
        sb_buf_t out = SB_BUF_INIT;
        random_declaration(&declaration);
        random_value(&body, 0);
        assert_agrees(sb_buf_slice(&declaration), sb_buf_slice(&body), &out);
        changed += out.len > 0 && !sb_slice_equal(sb_buf_slice(&out), sb_buf_slice(&body));
        sb_buf_fini(&declaration);
        sb_buf_fini(&body);
        sb_buf_fini(&out);
    }
    assert_true(changed > rounds / 20); /* the draw is worth something */
}

static void every_kept_input_agrees(void **state)
{
    (void)state;
    int count = 0;
    DIR *dir = opendir(SB_TEST_CORPUS);
    assert_non_null(dir);
    for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[512];
        char text[65536];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(path, sizeof path, "%s/%s", SB_TEST_CORPUS, entry->d_name);
        FILE *file = fopen(path, "rb");
        assert_non_null(file);
        size_t length = fread(text, 1, sizeof text, file);
        (void)fclose(file);
        const char *end = memchr(text, '\n', length);
        if (!end)
            continue;
        size_t first = (size_t)(end - text);
        assert_agrees((sb_slice_t){text, first}, (sb_slice_t){end + 1, length - first - 1}, NULL);
        count++;
    }
    (void)closedir(dir);
    assert_true(count >= 8);
}

/* ---- C functions ---- */

static sb_code_t halve(void *context, const sb_event_t *event, sb_upcast_out_t *out, sb_error_t *err)
{
    sb_scan_value_t value;
    int64_t cents = 0;
    int *calls = context;
    ++*calls;
    assert_int_equal(event->schema_version, 2);
    if (!sb_scan_field(event->data, "cents", &value) || !sb_scan_int64(&value, &cents))
        return sb_fail(err, SB_INVALID, "there are no cents");
    char text[64];
    int length = snprintf(text, sizeof text, "{\"half\":%lld}", (long long)(cents / 2));
    sb_upcast_write(out, text, (size_t)length);
    return SB_OK;
}

typedef struct play {
    sb_upcast_t *rename, *hook, *last;
    sb_schema_t *schema;
    sb_upcast_chain_t *chain;
    sb_upcaster_t *upcaster;
    sb_error_t err;
} play_t;

static sb_upcast_t *compile(const char *text)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_upcast_t *upcast = NULL;
    json_t *declaration = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_ok(sb_upcast_compile(&upcast, declaration, &err), &err);
    json_decref(declaration);
    return upcast;
}

/* v1 {amount} -> v2 {cents} -> v3 {half}, by a function -> v4 {half, unit} */
static int begin(void **state)
{
    static play_t play;
    play = (play_t){.rename = compile("[{\"rename\":{\"from\":\"/amount\",\"to\":\"/cents\"}}]"),
                    .hook = compile("\"hook\""),
                    .last = compile("[{\"default\":{\"at\":\"/unit\",\"value\":\"cent\"}}]")};
    json_t *schema =
        json_loads("{\"required\":[\"half\"],\"properties\":{\"half\":{\"maximum\":50}}}", 0, NULL);
    assert_ok(sb_schema_compile(&play.schema, schema, &play.err), &play.err);
    json_decref(schema);
    play.chain = calloc(1, sizeof *play.chain + 3 * sizeof play.chain->step[0]);
    assert_non_null(play.chain);
    *play.chain = (sb_upcast_chain_t){.type = "a.paid", .from = 1, .to = 4, .count = 3};
    play.chain->step[0] = (sb_upcast_step_t){2, play.rename, NULL};
    play.chain->step[1] = (sb_upcast_step_t){3, play.hook, play.schema};
    play.chain->step[2] = (sb_upcast_step_t){4, play.last, NULL};
    assert_ok(sb_upcaster_new(&play.upcaster, &play.err), &play.err);
    *state = &play;
    return 0;
}

static int end(void **state)
{
    play_t *play = *state;
    sb_upcaster_free(&play->upcaster);
    free(play->chain);
    sb_schema_free(&play->schema);
    sb_upcast_free(&play->rename);
    sb_upcast_free(&play->hook);
    sb_upcast_free(&play->last);
    return 0;
}

static void a_function_takes_its_step(void **state)
{
    play_t *play = *state;
    int calls = 0;
    sb_event_t event = {
        .type = SB_SLICE("a.paid"), .schema_version = 1, .seq = 9, .data = SB_SLICE("{\"amount\":84}")};
    assert_code(SB_UNSUPPORTED, sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
    assert_contains(play->err.message, "event 9 (a.paid version 1)");
    assert_contains(play->err.message, "version 2 becomes version 3 by a C function");
    assert_slice(event.data, "{\"amount\":84}");
    assert_ok(sb_upcaster_hook(play->upcaster, "a.paid", 2, halve, &calls, &play->err), &play->err);
    assert_code(SB_CONFLICT, sb_upcaster_hook(play->upcaster, "a.paid", 2, halve, &calls, &play->err),
                &play->err);
    assert_code(SB_INVALID, sb_upcaster_hook(play->upcaster, "paid", 2, halve, &calls, &play->err),
                &play->err);
    for (int round = 1; round < 4; round++) {
        event.data = SB_SLICE("{\"amount\":84}");
        event.schema_version = 1;
        assert_ok(sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
        assert_slice(event.data, "{\"half\":42,\"unit\":\"cent\"}");
        assert_int_equal(event.schema_version, 4);
        assert_int_equal(event.written_version, 1);
        assert_int_equal(calls, round);
    }
    /* an erased event is read on as such, or its stream could never be read again */
    event.data = SB_SLICE("null");
    event.schema_version = 1;
    assert_ok(sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
    assert_slice(event.data, "null");
    assert_int_equal(event.schema_version, 4);
    assert_int_equal(calls, 3);
}

static void a_function_that_fails_is_named_with_the_event(void **state)
{
    play_t *play = *state;
    int calls = 0;
    assert_ok(sb_upcaster_hook(play->upcaster, "a.paid", 2, halve, &calls, &play->err), &play->err);
    sb_event_t event = {.type = SB_SLICE("a.paid"), .schema_version = 1, .seq = 9, .data = SB_SLICE("{}")};
    assert_code(SB_INVALID, sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
    assert_contains(play->err.message,
                    "event 9 (a.paid version 1): its function to version 3: there are no cents");
    /* and what it writes must be of the version it says it is */
    event.data = SB_SLICE("{\"amount\":102}");
    assert_code(SB_INVALID, sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
    assert_contains(play->err.message, "must be at most 50");
}

static void a_hole_is_named(void **state)
{
    play_t *play = *state;
    sb_event_t event = {.type = SB_SLICE("a.paid"), .schema_version = 1, .seq = 9, .data = SB_SLICE("{}")};
    play->chain->missing = 3;
    play->chain->count = 1;
    assert_code(SB_UNSUPPORTED, sb_upcaster_run(play->upcaster, play->chain, &event, &play->err), &play->err);
    assert_contains(play->err.message,
                    "a.paid: version 1 cannot become version 4, version 3 is not known here");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_operations_do),
        cmocka_unit_test(what_is_no_declaration),
        cmocka_unit_test(a_move_does_not_nest_too_deep),
        cmocka_unit_test(bytes_and_tree_agree_at_random),
        cmocka_unit_test(every_kept_input_agrees),
        CASE(a_function_takes_its_step),
        CASE(a_function_that_fails_is_named_with_the_event),
        CASE(a_hole_is_named),
    };
    return cmocka_run_group_tests_name("upcast", tests, NULL, NULL);
}
