/* SPDX-License-Identifier: Apache-2.0 */
#include "base/json.h"
#include "events/view/view_fold.h"
#include "tests/support/assert.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MIB ((size_t)1 << 20)

typedef struct folding {
    sb_view_definition_t *view;
    sb_view_fold_t *fold;
    int64_t seq;
    int64_t stream;
} folding_t;

static const char definition[] =
    "{\"view\":\"v\",\"version\":1,\"tables\":[{\"name\":\"t\","
    "\"key\":{\"column\":\"id\",\"type\":\"text\",\"from\":\"/id\"},\"columns\":["
    "{\"name\":\"n\",\"type\":\"int8\",\"default\":0},{\"name\":\"s\",\"type\":\"text\"},"
    "{\"name\":\"low\",\"type\":\"int8\"},{\"name\":\"high\",\"type\":\"text\"},{\"name\":\"at\",\"type\":"
    "\"timestamptz\"},"
    "{\"name\":\"j\",\"type\":\"jsonb\"},{\"name\":\"small\",\"type\":\"int4\"},{\"name\":\"b\",\"type\":"
    "\"bool\"}],"
    "\"on\":{"
    "\"x.add\":{\"add\":{\"n\":\"/n\"},\"min\":{\"low\":\"/n\"},\"max\":{\"high\":\"/"
    "s\"},\"set\":{\"at\":\"$time\"}},"
    "\"x.sub\":{\"sub\":{\"n\":\"/n\"}},"
    "\"x.set\":{\"set\":{\"s\":\"/s\",\"j\":\"/deep/j\",\"b\":\"/b\",\"small\":\"/small\"}},"
    "\"x.count\":[{\"when\":{\"pointer\":\"/n\",\"operator\":\">=\",\"value\":10},\"count\":[\"n\"]},"
    "{\"when\":{\"pointer\":\"/s\",\"operator\":\"exists\"},\"set\":{\"s\":{\"const\":\"seen\"}}}],"
    "\"x.gone\":{\"delete\":true},"
    "\"x.both\":[{\"key\":\"/from\",\"sub\":{\"n\":\"/n\"}},{\"key\":\"/to\",\"add\":{\"n\":\"/n\"}}]}}]}";

static void open_fold_of(folding_t *f, const char *text, size_t bytes_max)
{
    sb_error_t err = SB_ERROR_INIT;
    json_t *body = NULL;
    *f = (folding_t){NULL, NULL, 0, 1};
    assert_ok(sb_json_parse(&body, sb_slice(text), "view", &err), &err);
    assert_ok(sb_view_definition_new(&f->view, body, &err), &err);
    assert_ok(sb_view_fold_new(&f->fold, f->view, bytes_max, &err), &err);
    json_decref(body);
}

static void open_fold(folding_t *f, size_t bytes_max)
{
    open_fold_of(f, definition, bytes_max);
}

static void close_fold(folding_t *f)
{
    sb_view_fold_free(&f->fold);
    sb_view_definition_free(&f->view);
}

static sb_code_t try_apply(folding_t *f, const char *type, const char *data, sb_error_t *err)
{
    sb_view_input_t input = {.event = sb_view_definition_event(f->view, sb_slice(type)),
                             .seq = ++f->seq,
                             .time_us = f->seq * 1000000,
                             .stream = f->stream,
                             .data = sb_slice(data)};
    assert_true(input.event >= 0);
    return sb_view_fold_apply(f->fold, &input, err);
}

static void apply(folding_t *f, const char *type, const char *data)
{
    sb_error_t err = SB_ERROR_INIT;
    assert_ok(try_apply(f, type, data, &err), &err);
}

/* The row of a key as JSON values joined by blanks; "-" when there is none. */
static const char *row_text(const folding_t *f, const char *key, sb_buf_t *out)
{
    const sb_view_rows_t *rows = sb_view_fold_rows(f->fold, 0);
    sb_view_value_t value = {false, 0, sb_slice(key)};
    const sb_view_row_t *row = sb_view_rows_find(rows, &value);
    sb_buf_reset(out);
    if (!row || !row->present)
        return "-";
    for (int i = 1; i < rows->table->column_count; i++) {
        value = sb_view_rows_value(rows, row, i);
        sb_buf_add_text(out, i > 1 ? " " : "");
        sb_view_value_json(rows->table->column[i].type, &value, out);
    }
    return sb_buf_text(out);
}

static void assert_row(const folding_t *f, const char *key, const char *want)
{
    sb_buf_t text = SB_BUF_INIT;
    assert_string_equal(row_text(f, key, &text), want);
    sb_buf_fini(&text);
}

static void assert_parked(const folding_t *f, size_t i, const char *key, int64_t seq, const char *error)
{
    assert_true(i < sb_view_fold_parked_count(f->fold));
    const sb_view_parked_t *parked = sb_view_fold_parked(f->fold, i);
    if (key)
        assert_string_equal(parked->key, key);
    else
        assert_null(parked->key);
    assert_int_equal(parked->seq, seq);
    assert_contains(parked->error, error);
}

static void each_operation_does_what_it_says(void **state)
{
    (void)state;
    folding_t f;
    open_fold(&f, MIB);
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":5,\"s\":\"m\"}");
    assert_row(&f, "a", "5 null 5 \"m\" \"1970-01-01T00:00:01.000000Z\" null null null");
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":-7,\"s\":\"k\"}");
    assert_row(&f, "a", "-2 null -7 \"m\" \"1970-01-01T00:00:02.000000Z\" null null null");
    apply(&f, "x.sub", "{\"n\":8,\"id\":\"a\"}");
    apply(&f, "x.set",
          "{\"deep\":{\"j\":[1, 2]},\"id\":\"a\",\"b\":true,\"small\":-2147483648,\"s\":\"\\u00e9\\n\"}");
    assert_row(&f, "a",
               "-10 \"\xc3\xa9\\n\" -7 \"m\" \"1970-01-01T00:00:02.000000Z\" [1, 2] -2147483648 true");
    apply(&f, "x.gone", "{\"id\":\"a\"}");
    assert_row(&f, "a", "-");
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":1}"); /* a new row: nothing of the old one comes back */
    assert_row(&f, "a", "1 null 1 null \"1970-01-01T00:00:06.000000Z\" null null null");
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    close_fold(&f);
}

static void an_absent_field_changes_nothing_and_null_is_null(void **state)
{
    (void)state;
    folding_t f;
    open_fold(&f, MIB);
    apply(&f, "x.set", "{\"id\":\"a\",\"s\":\"x\",\"b\":false}");
    apply(&f, "x.set", "{\"id\":\"a\",\"b\":null}");
    assert_row(&f, "a", "0 \"x\" null null null null null null");
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":null}");
    assert_row(&f, "a", "0 \"x\" null null \"1970-01-01T00:00:03.000000Z\" null null null");
    apply(&f, "x.add", "{\"n\":1}");             /* no key: not about this table */
    apply(&f, "x.add", "{\"id\":null,\"n\":1}"); /* nor this */
    assert_int_equal(sb_view_fold_rows(f.fold, 0)->count, 1);
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    close_fold(&f);
}

static void conditions_choose_rules(void **state)
{
    (void)state;
    folding_t f;
    open_fold(&f, MIB);
    apply(&f, "x.count", "{\"id\":\"a\",\"n\":9}");
    assert_row(&f, "a", "-");
    apply(&f, "x.count", "{\"id\":\"a\",\"n\":10}");
    apply(&f, "x.count", "{\"id\":\"a\",\"n\":\"10\",\"s\":\"y\"}"); /* another kind is not above */
    assert_row(&f, "a", "1 \"seen\" null null null null null null");
    apply(&f, "x.both", "{\"from\":\"p\",\"to\":\"q\",\"n\":4}");
    assert_row(&f, "p", "-4 null null null null null null null");
    assert_row(&f, "q", "4 null null null null null null null");
    close_fold(&f);
}

static void poison_parks_its_key_and_nothing_else(void **state)
{
    (void)state;
    folding_t f;
    open_fold(&f, MIB);
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":9223372036854775807,\"s\":\"z\"}");
    apply(&f, "x.add",
          "{\"id\":\"a\",\"n\":1,\"s\":\"zz\"}"); /* overflows: the rule as a whole does not happen */
    apply(&f, "x.set", "{\"id\":\"a\",\"s\":\"later\"}");
    assert_row(
        &f, "a",
        "9223372036854775807 null 9223372036854775807 \"z\" \"1970-01-01T00:00:01.000000Z\" null null null");
    assert_parked(&f, 0, "a", 2, "n overflows");
    apply(&f, "x.add", "{\"id\":\"b\",\"n\":1.5}");
    assert_parked(&f, 1, "b", 4, "not an integer");
    assert_row(&f, "b", "-");
    apply(&f, "x.add", "{\"id\":7,\"n\":1}");
    assert_parked(&f, 2, NULL, 5, "/id is not a string");
    apply(&f, "x.set", "{\"id\":\"c\",\"s\":\"a\\u0000b\"}");
    assert_parked(&f, 3, "c", 6, "\\u0000");
    apply(&f, "x.set", "{\"id\":\"d\",\"deep\":{\"j\":\"\\ud800\"}}");
    assert_parked(&f, 4, NULL, 7, "not JSON"); /* which no append lets in */
    apply(&f, "x.set",
          "{\"id\":\"e\",\"deep\":{\"j\":\"\\\\u0000 \\ud83d\\ude00\"}}"); /* neither NUL nor half */
    apply(&f, "x.set", "{\"id\":\"f\",\"deep\":{\"j\":1e99999}}");
    assert_parked(&f, 5, "f", 9, "number");
    apply(&f, "x.set", "{\"id\":\"g\",\"small\":2147483648}");
    assert_parked(&f, 6, "g", 10, "32 bits");
    apply(&f, "x.add", "{\"id\":\"ok\",\"n\":1}");
    assert_row(&f, "ok", "1 null 1 null \"1970-01-01T00:00:11.000000Z\" null null null");
    assert_int_equal(sb_view_fold_parked_count(f.fold), 7);
    sb_view_fold_reset(f.fold);
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    apply(&f, "x.add", "{\"id\":\"a\",\"n\":-1}"); /* still parked in the next batch */
    assert_row(&f, "a", "-");
    close_fold(&f);
}

static void a_body_that_is_no_object_is_survived(void **state)
{
    (void)state;
    static const char *const bodies[] = {"[1,2]",          "\"text\"", "12", "{\"id\":\"a\",",
                                         "{\"id\" \"a\"}", "",         "nul"};
    folding_t f;
    open_fold(&f, MIB);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        apply(&f, "x.set", bodies[i]);
    assert_int_equal(sb_view_fold_rows(f.fold, 0)->count, 0);
    close_fold(&f);
}

static void a_key_that_is_too_long_is_parked(void **state)
{
    (void)state;
    folding_t f;
    char body[SB_VIEW_KEY_BYTES_MAX + 64];
    open_fold(&f, MIB);
    (void)snprintf(body, sizeof body, "{\"id\":\"%0*d\",\"n\":1}", SB_VIEW_KEY_BYTES_MAX, 0);
    apply(&f, "x.add", body);
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    (void)snprintf(body, sizeof body, "{\"id\":\"%0*d\",\"n\":1}", SB_VIEW_KEY_BYTES_MAX + 1, 0);
    apply(&f, "x.add", body);
    assert_parked(&f, 0, NULL, 2, "too long");
    close_fold(&f);
}

static void memory_is_bounded(void **state)
{
    (void)state;
    folding_t f;
    sb_error_t err = SB_ERROR_INIT;
    sb_code_t code = SB_OK;
    open_fold(&f, MIB);
    for (int i = 0; i < 100000 && code == SB_OK; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"id\":\"key-%d\",\"n\":1}", i);
        code = try_apply(&f, "x.add", body, &err);
    }
    assert_code(SB_TOO_LARGE, code, &err);
    assert_contains(err.message, "1 MiB");
    assert_true(sb_view_fold_rows(f.fold, 0)->count > 1000);
    close_fold(&f);
}

/* Many keys, growing and shrinking texts, against what plain arithmetic says. */
static void many_rows_keep_their_values(void **state)
{
    (void)state;
    enum { KEYS = 20000, ROUNDS = 3 };
    folding_t f;
    open_fold(&f, 64 * MIB);
    for (int round = 1; round <= ROUNDS; round++)
        for (int i = 0; i < KEYS; i++) {
            char body[256];
            (void)snprintf(body, sizeof body, "{\"id\":\"key-%d\",\"n\":%d,\"s\":\"%0*d\"}", i, i,
                           (i * round) % 90 + 1, round);
            apply(&f, round == 2 ? "x.set" : "x.add", body);
        }
    const sb_view_rows_t *rows = sb_view_fold_rows(f.fold, 0);
    assert_int_equal(rows->count, KEYS);
    for (int i = 0; i < KEYS; i++) {
        const sb_view_row_t *row = sb_view_rows_at(rows, (size_t)i);
        char want[128];
        (void)snprintf(want, sizeof want, "key-%d", i);
        assert_slice(sb_view_rows_value(rows, row, 0).bytes, want);
        assert_int_equal(sb_view_rows_value(rows, row, 1).integer, 2 * i);
        (void)snprintf(want, sizeof want, "%0*d", (i * 2) % 90 + 1, 2);
        assert_slice(sb_view_rows_value(rows, row, 2).bytes, want);
    }
    close_fold(&f);
}

/* ---- decimals, dates, arrays, joined keys, the carry ---- */

static const char richer[] =
    "{\"view\":\"r\",\"version\":1,\"carry\":{\"columns\":[{\"name\":\"d\",\"type\":\"numeric(6,2)\"},{"
    "\"name\":"
    "\"who\",\"type\":\"text\"}],\"on\":{\"x.add\":{\"set\":{\"who\":\"/who\"},\"add\":{\"d\":\"/d\"}},"
    "\"x.gone\":{\"delete\":true}}},\"tables\":[{\"name\":\"t\",\"key\":{\"column\":\"id\",\"type\":\"text\","
    "\"from\":{\"join\":[\"/a\",\"/"
    "b\"]}},\"columns\":[{\"name\":\"d\",\"type\":\"numeric(6,2)\",\"default\":\"0.1\"},"
    "{\"name\":\"day\",\"type\":\"date\"},{\"name\":\"list\",\"type\":\"jsonb\",\"items\":2},{\"name\":"
    "\"before\","
    "\"type\":\"numeric(6,2)\"},{\"name\":\"high\",\"type\":\"numeric(6,2)\"}],\"on\":{\"x.add\":{\"add\":{"
    "\"d\":\"/d\"},"
    "\"max\":{\"high\":\"/d\"},\"set\":{\"day\":{\"date\":\"/at\",\"zone\":\"Europe/"
    "Berlin\"},\"before\":{\"carry\":\"d\"}},"
    "\"append\":{\"list\":\"/"
    "d\"}},\"x.who\":{\"key\":{\"carry\":\"who\"},\"when\":{\"carry\":\"who\",\"operator\":\"!=\","
    "\"value\":\"nobody\"},\"sub\":{\"d\":{\"carry\":\"d\"}}},\"x.gone\":{\"key\":\"/"
    "a\",\"delete\":true}}}]}";

static void decimals_are_exact_and_overflow_is_noticed(void **state)
{
    (void)state;
    folding_t f;
    open_fold_of(&f, richer, MIB);
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1,\"d\":0.2,\"at\":\"2026-03-28T23:30:00Z\"}");
    assert_row(&f, "k/1", "\"0.30\" \"2026-03-29\" [0.2] null \"0.20\"");
    apply(&f, "x.add",
          "{\"a\":\"k\",\"b\":1,\"d\":\"-10.05\",\"at\":\"2026-03-29T22:30:00Z\"}"); /* summer time */
    assert_row(&f, "k/1", "\"-9.75\" \"2026-03-30\" [0.2, \"-10.05\"] \"0.20\" \"0.20\"");
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1,\"d\":1e1}");
    assert_row(&f, "k/1", "\"0.25\" \"2026-03-30\" [\"-10.05\", 1e1] \"-9.85\" \"10.00\"");
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1,\"d\":9999.99}"); /* six digits: 9999.99 is the most */
    assert_parked(&f, 0, "k/1", 4, "d overflows");
    assert_parked(&f, 1, "1", 4, "d overflows"); /* the sum in the carry, too */
    f.stream = 2;
    apply(&f, "x.add", "{\"a\":\"m\",\"b\":true,\"d\":0.001}");
    assert_parked(&f, 2, "m/true", 5, "more decimals");
    f.stream = 3;
    apply(&f, "x.add", "{\"a\":\"a/b\",\"b\":\"~\",\"d\":0}");
    assert_row(&f, "a~1b/~0", "\"0.10\" null [0] null \"0.00\"");
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1.5,\"d\":0}");
    assert_parked(&f, 4, NULL, 7, "no text, integer");
    close_fold(&f);
}

/* Filters and cursors: whatever a column can hold, with its point anywhere. */
static void a_numeric_is_taken_as_it_is_typed(void **state)
{
    (void)state;
    static const char *const taken[] = {"0",
                                        "-12.50",
                                        "1e5",
                                        "12345678901234567890123.45",
                                        "0.00000000000000000000000000000000000001",
                                        "-99999999999999999999999999999999999999"};
    static const char *const refused[] = {"",
                                          "1,5",
                                          "x",
                                          "1.",
                                          "999999999999999999999999999999999999999",
                                          "0.000000000000000000000000000000000000001"};
    sb_view_value_t value;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!sb_view_value_parse(SB_VIEW_NUMERIC, sb_slice(taken[i]), &value))
            fail_msg("%s is refused", taken[i]);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (sb_view_value_parse(SB_VIEW_NUMERIC, sb_slice(refused[i]), &value))
            fail_msg("%s is taken", refused[i]);
}

static void the_carry_is_what_earlier_events_left(void **state)
{
    (void)state;
    folding_t f;
    open_fold_of(&f, richer, MIB);
    apply(&f, "x.who", "{}"); /* nobody was named yet: about no row */
    assert_int_equal(sb_view_fold_rows(f.fold, 0)->count, 0);
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1,\"d\":5,\"who\":\"ann\"}");
    apply(&f, "x.who", "{}");
    assert_row(&f, "ann", "\"-4.90\" null null null null");
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":1,\"d\":0,\"who\":\"nobody\"}");
    apply(&f, "x.who", "{}"); /* the condition does not hold */
    assert_row(&f, "nobody", "-");
    apply(&f, "x.gone", "{\"a\":\"k\"}");
    apply(&f, "x.add", "{\"a\":\"k\",\"b\":2,\"d\":1}");
    assert_row(&f, "k/2", "\"1.10\" null [1] null \"1.00\""); /* forgotten with the carry's row */
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    apply(&f, "x.add", "{\"a\":\"z\",\"b\":1,\"d\":1,\"who\":7}"); /* the carry is parked, the row is not */
    assert_parked(&f, 0, "1", 8, "who is not a string");
    assert_row(&f, "z/1", "\"1.10\" null [1] \"1.00\" \"1.00\"");
    apply(&f, "x.add", "{\"a\":\"z\",\"b\":1,\"d\":1}"); /* what is computed from it is */
    assert_parked(&f, 1, "z/1", 9, "carry, which is parked");
    apply(&f, "x.who", "{}");
    assert_parked(&f, 2, NULL, 10, "carry, which is parked");
    close_fold(&f);
}

/* ---- C functions ---- */

static const char by_c[] =
    "{\"view\":\"v\",\"version\":1,\"fold\":\"c:f\",\"carry\":{\"columns\":[{\"name\":\"id\",\"type\":"
    "\"text\"}],\"on\":{\"x.add\":{\"set\":{\"id\":\"/id\"}}}},\"tables\":[{\"name\":\"t\","
    "\"key\":{\"column\":\"id\",\"type\":\"text\",\"from\":\"/id\"},\"columns\":["
    "{\"name\":\"n\",\"type\":\"int8\",\"default\":5},{\"name\":\"small\",\"type\":\"int4\"},{\"name\":\"s\","
    "\"type\":\"text\"},{\"name\":\"m\",\"type\":\"numeric(6,2)\"},{\"name\":\"j\",\"type\":\"jsonb\"},{"
    "\"name\":\"at\",\"type\":\"timestamptz\"},{\"name\":\"d\",\"type\":\"date\"},{\"name\":\"b\",\"type\":"
    "\"bool\"}],\"on\":{\"x.add\":{},\"x.late\":{\"key\":{\"carry\":\"id\"}}}}]}";

/* What the function is to do with the next event, and what it saw. */
typedef struct script {
    sb_code_t (*act)(sb_fold_row_t *row, sb_error_t *err);
    int calls;
    int64_t n;
    bool existed;
} script_t;

static sb_code_t play(void *context, const sb_event_t *event, sb_fold_row_t *row, sb_error_t *err)
{
    script_t *script = context;
    script->calls++;
    script->existed = sb_fold_exists(row);
    script->n = sb_fold_int(row, "n");
    assert_string_equal(sb_fold_table(row), "t");
    assert_true(sb_slice_starts(event->type, "x."));
    assert_int_equal(event->schema_version, 3);
    assert_true(sb_slice_is(event->subject, "sub"));
    assert_true(event->seq > 0 && event->time_us == event->seq * 1000000);
    return script->act(row, err);
}

static sb_code_t add_one(sb_fold_row_t *row, sb_error_t *err)
{
    (void)err;
    sb_fold_set_int(row, "n", sb_fold_int(row, "n") + 1);
    return SB_OK;
}

static sb_code_t set_all(sb_fold_row_t *row, sb_error_t *err)
{
    char own[] = "text";
    (void)err;
    sb_fold_set_int(row, "small", -7);
    sb_fold_set_text(row, "s", sb_slice(own));
    memset(own, '?', 4); /* it was copied */
    sb_fold_set_text(row, "m", SB_SLICE("12.5"));
    sb_fold_set_text(row, "j", SB_SLICE(" {\"b\": [1]} "));
    sb_fold_set_int(row, "at", 1000000);
    sb_fold_set_int(row, "d", 0);
    sb_fold_set_int(row, "b", 7);
    sb_fold_set_null(row, "n");
    return SB_OK;
}

static sb_code_t nothing(sb_fold_row_t *row, sb_error_t *err)
{
    (void)row;
    (void)err;
    return SB_OK;
}

static sb_code_t erase(sb_fold_row_t *row, sb_error_t *err)
{
    (void)err;
    sb_fold_set_int(row, "n", 99);
    sb_fold_delete(row);
    return SB_OK;
}

static sb_code_t refuse(sb_fold_row_t *row, sb_error_t *err)
{
    sb_fold_set_int(row, "n", 99);
    return sb_fail(err, SB_INVALID, "no %s today", "thanks");
}

/* The words without the code, as some write them. */
static sb_code_t say_only(sb_fold_row_t *row, sb_error_t *err)
{
    sb_fold_set_int(row, "n", 99);
    (void)snprintf(err->message, sizeof err->message, "only words");
    return SB_CONFLICT;
}

static sb_code_t cut_words(sb_fold_row_t *row, sb_error_t *err)
{
    sb_fold_set_int(row, "n", 99);
    return sb_fail(err, SB_INVALID, "cut in \"M\xC3\" and \xE2\x82");
}

static sb_code_t unknown_code(sb_fold_row_t *row, sb_error_t *err)
{
    (void)err;
    sb_fold_delete(row);
    return (sb_code_t)4711;
}

static void open_by_c(folding_t *f, script_t *script)
{
    open_fold_of(f, by_c, MIB);
    *script = (script_t){.act = add_one};
    f->view->call = play;
    f->view->call_context = script;
}

static sb_code_t try_call(folding_t *f, const char *type, const char *data, sb_error_t *err)
{
    sb_view_input_t input = {.event = sb_view_definition_event(f->view, sb_slice(type)),
                             .version = 3,
                             .seq = ++f->seq,
                             .time_us = f->seq * 1000000,
                             .stream = f->stream,
                             .subject = SB_SLICE("sub"),
                             .data = sb_slice(data)};
    return sb_view_fold_apply(f->fold, &input, err);
}

static void act(folding_t *f, script_t *script, sb_code_t (*fn)(sb_fold_row_t *row, sb_error_t *err),
                const char *id)
{
    char data[64];
    sb_error_t err = SB_ERROR_INIT;
    script->act = fn;
    (void)snprintf(data, sizeof data, "{\"id\":\"%s\"}", id);
    assert_ok(try_call(f, "x.add", data, &err), &err);
}

static void a_c_function_says_what_becomes_of_a_row(void **state)
{
    (void)state;
    folding_t f;
    script_t script;
    sb_error_t err = SB_ERROR_INIT;
    open_by_c(&f, &script);
    act(&f, &script, nothing, "a");
    assert_row(&f, "a", "-"); /* what sets nothing makes no row */
    act(&f, &script, add_one, "a");
    assert_false(script.existed);
    assert_int_equal(script.n, 5); /* the default */
    assert_row(&f, "a", "6 null null null null null null null");
    act(&f, &script, set_all, "a");
    assert_true(script.existed);
    assert_row(&f, "a",
               "null -7 \"text\" \"12.50\" {\"b\": [1]} \"1970-01-01T00:00:01.000000Z\" \"1970-01-01\" true");
    act(&f, &script, nothing, "a");
    assert_row(&f, "a",
               "null -7 \"text\" \"12.50\" {\"b\": [1]} \"1970-01-01T00:00:01.000000Z\" \"1970-01-01\" true");
    act(&f, &script, erase, "a");
    assert_row(&f, "a", "-");
    act(&f, &script, add_one, "a"); /* a new row */
    assert_row(&f, "a", "6 null null null null null null null");
    /* the key of an event that does not say it, by what an earlier one left */
    script.calls = 0;
    assert_ok(try_call(&f, "x.late", "{}", &err), &err);
    assert_int_equal(script.calls, 1);
    assert_row(&f, "a", "7 null null null null null null null");
    f.stream = 2;
    assert_ok(try_call(&f, "x.late", "{}", &err), &err);
    assert_int_equal(script.calls, 1); /* it has no key */
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    close_fold(&f);
}

#define MISFIT(name, call)                                                                                   \
    static sb_code_t name(sb_fold_row_t *row, sb_error_t *err)                                               \
    {                                                                                                        \
        (void)err;                                                                                           \
        sb_fold_set_int(row, "n", 1);                                                                        \
        call;                                                                                                \
        return SB_OK;                                                                                        \
    }
MISFIT(wide, sb_fold_set_int(row, "small", INT64_C(1) << 31))
MISFIT(late, sb_fold_set_int(row, "at", INT64_MAX))
MISFIT(early, sb_fold_set_int(row, "d", -719163))
MISFIT(precise, sb_fold_set_text(row, "m", SB_SLICE("1.234")))
MISFIT(wordy, sb_fold_set_text(row, "m", SB_SLICE("many")))
MISFIT(broken, sb_fold_set_text(row, "j", SB_SLICE("{\"a\":")))
MISFIT(nul, sb_fold_set_text(row, "s", ((sb_slice_t){"a\0b", 3})))
MISFIT(bytes, sb_fold_set_text(row, "s", SB_SLICE("\xff")))
MISFIT(no_column, sb_fold_set_int(row, "nope", 1))
MISFIT(wrong_kind, sb_fold_set_int(row, "s", 1))
MISFIT(the_key, sb_fold_set_text(row, "id", SB_SLICE("b")))
MISFIT(read_jsonb, (void)sb_fold_text(row, "j"))

static void what_a_c_function_cannot_do_parks_the_key_or_stops_the_view(void **state)
{
    (void)state;
    const struct {
        sb_code_t (*act)(sb_fold_row_t *row, sb_error_t *err);
        const char *says;
    } parks[] = {{refuse, "no thanks today"},
                 {wide, "small is not an integer of 32 bits"},
                 {late, "at is outside the years"},
                 {early, "d is outside the years"},
                 {precise, "m "},
                 {wordy, "m "},
                 {broken, "j is not JSON"},
                 {nul, "s is not UTF-8"},
                 {bytes, "s is not UTF-8"},
                 {say_only, "only words"},
                 {cut_words, "cut in \"M?\" and ?"},
                 {unknown_code, sb_code_text(SB_INTERNAL)}},
      stops[] = {{no_column, "\"nope\" of table t, which it does not have"},
                 {wrong_kind, "\"s\" of table t, which is of a text"},
                 {the_key, "is the key"},
                 {read_jsonb, "which is not read"}};
    folding_t f;
    script_t script;
    open_by_c(&f, &script);
    act(&f, &script, add_one, "a");
    for (size_t i = 0; i < sizeof parks / sizeof *parks; i++) {
        char id[8];
        (void)snprintf(id, sizeof id, "k%zu", i);
        act(&f, &script, add_one, id);
        act(&f, &script, parks[i].act, id);
        assert_parked(&f, i, id, f.seq, parks[i].says);
        script.calls = 0;
        act(&f, &script, add_one, id);
        assert_int_equal(script.calls, 0); /* passed over, and as it was */
        assert_row(&f, id, "6 null null null null null null null");
    }
    for (size_t i = 0; i < sizeof stops / sizeof *stops; i++) {
        sb_error_t err = SB_ERROR_INIT;
        script.act = stops[i].act;
        assert_code(SB_UNSUPPORTED, try_call(&f, "x.add", "{\"id\":\"a\"}", &err), &err);
        assert_contains(err.message, stops[i].says);
    }
    assert_row(&f, "a", "6 null null null null null null null");
    sb_error_t err = SB_ERROR_INIT;
    f.view->call = NULL;
    assert_code(SB_UNSUPPORTED, try_call(&f, "x.add", "{\"id\":\"a\"}", &err), &err);
    close_fold(&f);
}

/* ---- the limit ---- */

/* One count of keys and of events without one, whatever the batches, the parts and the restarts. */
static void so_many_are_parked_and_no_more(void **state)
{
    (void)state;
    static const sb_view_part_t whole = {0, 0};
    char data[64];
    folding_t f;
    sb_error_t err = SB_ERROR_INIT;
    for (int way = 0; way < 3; way++) {
        int before = way == 0 ? 0 : 4000;
        open_fold(&f, 16 * MIB);
        for (int i = 0; way == 1 && i < before; i++) { /* what the database says */
            (void)snprintf(data, sizeof data, "old-%d", i);
            assert_ok(sb_view_fold_park_key(f.fold, 0, i % 2 ? sb_slice(data) : SB_SLICE_NONE, &err), &err);
        }
        if (way == 2)
            sb_view_fold_begin(f.fold, &whole, (size_t)before);
        for (int i = before; i < SB_VIEW_PARKED_MAX; i++) {
            (void)snprintf(data, sizeof data, i % 3 ? "{\"id\":\"key-%d\",\"n\":\"\"}" : "{\"id\":%d}", i);
            apply(&f, "x.add", data);
            if (way < 2 && i % 100 == 0)
                sb_view_fold_reset(f.fold);
        }
        apply(&f, "x.add", "{\"id\":\"key-4001\",\"n\":\"\"}"); /* is parked already */
        assert_code(SB_TOO_LARGE,
                    try_apply(&f, "x.add", way ? "{\"id\":7}" : "{\"id\":\"z\",\"n\":\"\"}", &err), &err);
        assert_contains(err.message, "more than 10000");
        sb_error_clear(&err);
        close_fold(&f);
    }
}

/* ---- room ---- */

/* A replay drops what is deleted: streams that come and go take no more room than those that are open. */
static void what_is_deleted_gives_its_room_back(void **state)
{
    (void)state;
    folding_t f;
    char data[160];
    size_t after_first = 0;
    open_fold(&f, MIB);
    for (int i = 0; i < 20000; i++) {
        (void)snprintf(data, sizeof data, "{\"id\":\"key-%d\",\"n\":%d,\"s\":\"%0*d\"}", i, i, 40 + i % 50,
                       i);
        apply(&f, "x.add", data);
        if (i >= 100) {
            (void)snprintf(data, sizeof data, "{\"id\":\"key-%d\"}", i - 100);
            apply(&f, "x.gone", data);
        }
        if (i == 1000)
            after_first = sb_view_fold_rows(f.fold, 0)->bytes;
    }
    assert_true(sb_view_fold_rows(f.fold, 0)->bytes <= after_first * 2);
    assert_int_equal(sb_view_fold_rows(f.fold, 0)->used, 100);
    for (int i = 19900; i < 20000; i++) { /* and every one that is there is found */
        char key[32];
        (void)snprintf(key, sizeof key, "key-%d", i);
        sb_view_value_t value = {false, 0, sb_slice(key)};
        const sb_view_row_t *row = sb_view_rows_find(sb_view_fold_rows(f.fold, 0), &value);
        assert_true(row && row->present);
        assert_int_equal(sb_view_rows_value(sb_view_fold_rows(f.fold, 0), row, 1).integer, i);
    }
    close_fold(&f);
}

/* ---- indexes ---- */

static void what_no_index_takes_parks_its_key(void **state)
{
    (void)state;
    static const char indexed[] =
        "{\"view\":\"v\",\"version\":1,\"tables\":[{\"name\":\"t\",\"key\":{\"column\":\"id\",\"type\":"
        "\"text\",\"from\":\"/id\"},\"columns\":[{\"name\":\"s\",\"type\":\"text\",\"index\":true},{\"name\":"
        "\"u\",\"type\":\"text\"}],\"on\":{\"x.set\":{\"set\":{\"s\":\"/s\",\"u\":\"/u\"}}}}]}";
    char data[3000];
    folding_t f;
    open_fold_of(&f, indexed, MIB);
    (void)snprintf(data, sizeof data, "{\"id\":\"a\",\"s\":\"%01024d\",\"u\":\"%01025d\"}", 7, 7);
    apply(&f, "x.set", data);
    assert_int_equal(sb_view_fold_parked_count(f.fold), 0);
    (void)snprintf(data, sizeof data, "{\"id\":\"a\",\"s\":\"%01025d\",\"u\":\"\"}", 8);
    apply(&f, "x.set", data);
    assert_parked(&f, 0, "a", 2, "s is too long for a column with an index");
    close_fold(&f);
}

/* ---- dates ---- */

static void a_date_outside_the_years_that_are_written_parks_its_key(void **state)
{
    (void)state;
    static const char dates[] =
        "{\"view\":\"v\",\"version\":1,\"tables\":[{\"name\":\"t\",\"key\":{\"column\":\"id\",\"type\":"
        "\"text\",\"from\":\"/id\"},\"columns\":[{\"name\":\"d\",\"type\":\"date\"},{\"name\":\"at\","
        "\"type\":\"timestamptz\"}],\"on\":{\"x.day\":{\"set\":{\"d\":{\"date\":\"/at\",\"zone\":"
        "\"Asia/Tokyo\"}}},\"x.at\":{\"set\":{\"at\":\"/at\"}},\"x.now\":{\"set\":{\"at\":\"$time\"}}}}]}";
    folding_t f;
    sb_error_t err = SB_ERROR_INIT;
    open_fold_of(&f, dates, MIB);
    apply(&f, "x.day", "{\"id\":\"a\",\"at\":\"9999-12-31T14:59:59Z\"}");
    assert_row(&f, "a", "\"9999-12-31\" null");
    apply(&f, "x.day", "{\"id\":\"a\",\"at\":\"9999-12-31T15:00:00Z\"}"); /* the day after, there */
    assert_parked(&f, 0, "a", 2, "d is outside the years 1 to 9999");
    apply(&f, "x.at", "{\"id\":\"b\",\"at\":\"9999-12-31T23:59:59.999999Z\"}");
    assert_row(&f, "b", "null \"9999-12-31T23:59:59.999999Z\"");
    apply(&f, "x.at", "{\"id\":\"b\",\"at\":\"9999-12-31T23:59:59-00:01\"}");
    assert_parked(&f, 1, "b", 4, "at is outside the years 1 to 9999");
    apply(&f, "x.at", "{\"id\":\"c\",\"at\":\"0000-12-31T23:59:59Z\"}");
    assert_parked(&f, 2, "c", 5, "at is outside the years 1 to 9999");
    apply(&f, "x.at", "{\"id\":\"d\",\"at\":\"0001-01-01T00:00:00Z\"}");
    assert_row(&f, "d", "null \"0001-01-01T00:00:00.000000Z\"");
    sb_view_input_t far = {.event = sb_view_definition_event(f.view, SB_SLICE("x.now")),
                           .seq = 9,
                           .time_us = INT64_MAX,
                           .data = SB_SLICE("{\"id\":\"e\"}")};
    assert_ok(sb_view_fold_apply(f.fold, &far, &err), &err);
    assert_parked(&f, 3, "e", 9, "at is outside the years 1 to 9999");
    close_fold(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_c_function_says_what_becomes_of_a_row),
        cmocka_unit_test(what_a_c_function_cannot_do_parks_the_key_or_stops_the_view),
        cmocka_unit_test(so_many_are_parked_and_no_more),
        cmocka_unit_test(what_is_deleted_gives_its_room_back),
        cmocka_unit_test(what_no_index_takes_parks_its_key),
        cmocka_unit_test(a_date_outside_the_years_that_are_written_parks_its_key),
        cmocka_unit_test(each_operation_does_what_it_says),
        cmocka_unit_test(an_absent_field_changes_nothing_and_null_is_null),
        cmocka_unit_test(conditions_choose_rules),
        cmocka_unit_test(poison_parks_its_key_and_nothing_else),
        cmocka_unit_test(a_body_that_is_no_object_is_survived),
        cmocka_unit_test(a_key_that_is_too_long_is_parked),
        cmocka_unit_test(memory_is_bounded),
        cmocka_unit_test(many_rows_keep_their_values),
        cmocka_unit_test(decimals_are_exact_and_overflow_is_noticed),
        cmocka_unit_test(a_numeric_is_taken_as_it_is_typed),
        cmocka_unit_test(the_carry_is_what_earlier_events_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
