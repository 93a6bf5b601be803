/* What a saga's trace looks like, to the character: a person has to see at a glance what happened.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/trace.h"
#include "tests/support/assert.h"

#include "base/clock.h"

#include <stdlib.h>

static char *drawn(const char *json, bool utf8, bool color, int width, const char *now)
{
    sb_buf_t out = SB_BUF_INIT;
    json_t *saga = json_loads(json, 0, NULL);
    sb_trace_style_t style = {.width = width, .utf8 = utf8, .color = color};
    assert_non_null(saga);
    assert_true(sb_time_parse(sb_slice(now), &style.now_us));
    sb_trace_draw(saga, &style, &out);
    assert_false(sb_buf_failed(&out));
    json_decref(saga);
    char *text = strdup(sb_buf_text(&out));
    sb_buf_fini(&out);
    return text;
}

static void assert_drawn(const char *json, bool utf8, const char *now, const char *want)
{
    char *have = drawn(json, utf8, false, 80, now);
    if (strcmp(have, want) != 0)
        print_error("---- have\n%s---- want\n%s----\n", have, want);
    assert_string_equal(have, want);
    free(have);
}

#define UNDONE                                                                                               \
    "{\"id\":\"0193-1\",\"type\":\"order\",\"key\":\"o-2\",\"status\":\"compensated\",\"paused\":false,"     \
    "\"attention\":false,\"definition\":{\"name\":\"order\",\"version\":1},"                                 \
    "\"started_at\":\"2026-11-21T05:00:00.000000Z\",\"ended_at\":\"2026-11-21T05:00:01.000000Z\","           \
    "\"error\":\"charge_payment: card declined\",\"steps\":["                                                \
    "{\"name\":\"validate_customer\",\"participant\":\"customers\",\"status\":\"completed\",\"attempts\":1," \
    "\"started_at\":\"2026-11-21T05:00:00.000000Z\",\"ended_at\":\"2026-11-21T05:00:00.100000Z\","           \
    "\"compensation\":null},"                                                                                \
    "{\"name\":\"reserve_inventory\",\"participant\":\"inventory\",\"status\":\"compensated\","              \
    "\"attempts\":2,\"started_at\":\"2026-11-21T05:00:00.100000Z\","                                         \
    "\"ended_at\":\"2026-11-21T05:00:00.400000Z\",\"compensation\":{\"status\":\"compensated\","             \
    "\"attempts\":1,\"started_at\":\"2026-11-21T05:00:00.800000Z\","                                         \
    "\"ended_at\":\"2026-11-21T05:00:01.000000Z\"}},"                                                        \
    "{\"name\":\"charge_payment\",\"participant\":\"payment\",\"status\":\"failed\",\"attempts\":1,"         \
    "\"started_at\":\"2026-11-21T05:00:00.400000Z\",\"ended_at\":\"2026-11-21T05:00:00.600000Z\","           \
    "\"error\":\"card declined\",\"compensation\":null},"                                                    \
    "{\"name\":\"create_order\",\"participant\":\"orders\",\"status\":\"pending\",\"attempts\":0,"           \
    "\"started_at\":null,\"ended_at\":null,\"compensation\":null}],"                                         \
    "\"history\":[{\"at\":\"2026-11-21T05:00:00.250000Z\",\"type\":\"saga.step.retried\","                   \
    "\"step\":\"reserve_inventory\"}]}"

static void an_undone_saga_shows_its_undos_beneath(void **state)
{
    (void)state;
    assert_drawn(UNDONE, false, "2026-11-21T06:00:00Z",
                 "order o-2  compensated after 1.00 s\n"
                 "0193-1  order v1  2026-11-21T05:00:00.000000Z\n"
                 "\n"
                 "                                                0                        1.00 s\n"
                 " 1 validate_customer  + done            100 ms  ===\n"
                 " 2 reserve_inventory  + done, 2 tries   300 ms     ====x====\n"
                 " 3 charge_payment     x refused         200 ms              ======\n"
                 "   payment: card declined\n"
                 " 4 create_order       . never ran\n"
                 "undo, newest step first\n"
                 " 2 reserve_inventory  < undone          200 ms                          =======\n"
                 "\n"
                 "why: charge_payment: card declined\n");
}

static void with_unicode_it_has_bars_and_signs(void **state)
{
    (void)state;
    assert_drawn(UNDONE, true, "2026-11-21T06:00:00Z",
                 "order o-2  compensated after 1.00 s\n"
                 "0193-1  order v1  2026-11-21T05:00:00.000000Z\n"
                 "\n"
                 "                                                0                        1.00 s\n"
                 " 1 validate_customer  ✔ done            100 ms  ███\n"
                 " 2 reserve_inventory  ✔ done, 2 tries   300 ms     ████╳████\n"
                 " 3 charge_payment     ✘ refused         200 ms              ██████\n"
                 "   payment: card declined\n"
                 " 4 create_order       · never ran\n"
                 "undo, newest step first\n"
                 " 2 reserve_inventory  ↶ undone          200 ms                          ███████\n"
                 "\n"
                 "why: charge_payment: card declined\n");
}

#define TRIED_AGAIN                                                                                          \
    "{\"id\":\"0193-3\",\"type\":\"order\",\"key\":\"o-4\",\"status\":\"compensated\",\"paused\":false,"     \
    "\"attention\":false,\"definition\":{\"name\":\"order\",\"version\":1},"                                 \
    "\"started_at\":\"2026-11-21T05:00:00.000000Z\",\"ended_at\":\"2026-11-21T05:00:01.000000Z\",\"steps\":" \
    "["                                                                                                      \
    "{\"name\":\"first\",\"participant\":\"one\",\"status\":\"completed\",\"attempts\":2,"                   \
    "\"started_at\":\"2026-11-21T05:00:00.000000Z\",\"ended_at\":\"2026-11-21T05:00:00.200000Z\","           \
    "\"error\":\"no answer in time\",\"anomaly\":{\"reason\":\"refusal after success\"},"                    \
    "\"compensation\":null},"                                                                                \
    "{\"name\":\"second\",\"participant\":\"two\",\"status\":\"compensated\",\"attempts\":1,"                \
    "\"started_at\":\"2026-11-21T05:00:00.200000Z\",\"ended_at\":\"2026-11-21T05:00:00.400000Z\","           \
    "\"error\":\"no answer in time\",\"unknown\":true,\"compensation\":{\"status\":\"compensated\","         \
    "\"attempts\":1,\"started_at\":\"2026-11-21T05:00:00.400000Z\","                                         \
    "\"ended_at\":\"2026-11-21T05:00:00.600000Z\",\"error\":null}},"                                         \
    "{\"name\":\"third\",\"participant\":\"three\",\"status\":\"compensated\",\"attempts\":1,"               \
    "\"started_at\":\"2026-11-21T05:00:00.200000Z\",\"ended_at\":\"2026-11-21T05:00:00.400000Z\","           \
    "\"error\":\"closed\",\"compensation\":{\"status\":\"compensated\","                                     \
    "\"attempts\":2,\"started_at\":\"2026-11-21T05:00:00.600000Z\","                                         \
    "\"ended_at\":\"2026-11-21T05:00:01.000000Z\",\"error\":\"closed\"}}]}"

/* One that answered at its second try is done, whatever the first came to; so is one whose undo had to be
 * tried again. */
static void what_was_tried_again_is_done_and_what_never_answered_is_not(void **state)
{
    (void)state;
    assert_drawn(TRIED_AGAIN, false, "2026-11-21T06:00:00Z",
                 "order o-4  compensated after 1.00 s\n"
                 "0193-3  order v1  2026-11-21T05:00:00.000000Z\n"
                 "\n"
                 "                                       0                                 1.00 s\n"
                 " 1 first   + done, 2 tries     200 ms  ========\n"
                 "   one: no answer in time\n"
                 "   contradicted: refusal after success\n"
                 " 2 second  ? no answer         200 ms          ========\n"
                 "   two: no answer in time\n"
                 " 3 third   + done              200 ms          ========\n"
                 "undo, newest step first\n"
                 " 2 second  < undone            200 ms                  ========\n"
                 " 3 third   < undone, 2 tries   400 ms                          ================\n"
                 "   three: closed\n");
}

#define RUNNING                                                                                              \
    "{\"id\":\"0193-2\",\"type\":\"order\",\"key\":\"o-3\",\"status\":\"started\",\"paused\":true,"          \
    "\"attention\":true,\"definition\":{\"name\":\"order\",\"version\":1},"                                  \
    "\"started_at\":\"2026-11-21T05:00:00.000000Z\",\"ended_at\":null,\"steps\":["                           \
    "{\"name\":\"a_step_with_a_name_far_too_long_for_its_column\",\"participant\":\"x\","                    \
    "\"status\":\"dispatched\",\"attempts\":1,\"started_at\":\"2026-11-21T05:00:00.000000Z\","               \
    "\"ended_at\":null,\"compensation\":null}]}"

static void a_running_step_ends_in_an_arrow(void **state)
{
    (void)state;
    assert_drawn(RUNNING, false, "2026-11-21T05:02:05Z",
                 "order o-3  running for 2 m 05 s, paused, needs an operator\n"
                 "0193-2  order v1  2026-11-21T05:00:00.000000Z\n"
                 "\n"
                 "                                              0                        2 m 05 s\n"
                 " 1 a_step_with_a_name_f~  > running 2 m 05 s  ================================>\n");
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    (void)state;
    for (int width = 60; width <= 200; width += 7) {
        char *text = drawn(UNDONE, true, false, width, "2026-11-21T06:00:00Z");
        int columns = 0;
        for (const char *c = text; *c; c++) {
            columns = *c == '\n' ? 0 : columns + (((unsigned char)*c & 0xC0) != 0x80);
            assert_true(columns <= width);
        }
        free(text);
    }
}

static void colour_changes_nothing_but_colour(void **state)
{
    (void)state;
    char *plain = drawn(UNDONE, true, false, 80, "2026-11-21T06:00:00Z");
    char *painted = drawn(UNDONE, true, true, 80, "2026-11-21T06:00:00Z");
    char *to = painted;
    assert_non_null(strstr(painted, "\033[31m"));
    for (const char *from = painted; *from; from++) {
        if (*from == '\033')
            from = strchr(from, 'm');
        else
            *to++ = *from;
    }
    *to = '\0';
    assert_string_equal(painted, plain);
    free(painted);
    free(plain);
}

/* The server may be older, newer, or not ours: whatever comes is drawn, nothing is trusted. */
static void odd_documents_are_drawn_too(void **state)
{
    (void)state;
    static const char backwards[] =
        "{\"started_at\":\"2026-11-21T05:00:00Z\",\"ended_at\":\"2026-11-21T04:00:00Z\",\"status\":"
        "\"failed\","
        "\"steps\":[{\"started_at\":\"2020-01-01T00:00:00Z\",\"ended_at\":\"2030-01-01T00:00:00Z\"}]}";
    const char *const odd[] = {
        "{}", "{\"steps\":[{}]}",
        "{\"steps\":[1,null,{\"name\":5,\"status\":\"from the future\",\"error\":{\"message\":\"m\"}}]}",
        "{\"type\":\"\\u001b[2J\",\"key\":\"a\\nb\",\"status\":\"failed\",\"error\":\"\\u001b]0;x\\u0007\"}",
        backwards};
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char *text = drawn(odd[i], true, false, 80, "2026-11-21T06:00:00Z");
        for (const char *c = text; *c; c++)
            assert_true((unsigned char)*c >= 0x20 || *c == '\n');
        free(text);
    }
}

static void spans_read_well(void **state)
{
    (void)state;
    char text[SB_TRACE_SPAN_TEXT];
    assert_string_equal(sb_trace_span(0, text), "0.0 ms");
    assert_string_equal(sb_trace_span(4210, text), "4.2 ms");
    assert_string_equal(sb_trace_span(123400, text), "123 ms");
    assert_string_equal(sb_trace_span(999400, text), "999 ms");
    assert_string_equal(sb_trace_span(1840000, text), "1.84 s");
    assert_string_equal(sb_trace_span(125000000, text), "2 m 05 s");
    assert_string_equal(sb_trace_span(3900000000LL, text), "1 h 05 m");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_undone_saga_shows_its_undos_beneath),
        cmocka_unit_test(with_unicode_it_has_bars_and_signs),
        cmocka_unit_test(what_was_tried_again_is_done_and_what_never_answered_is_not),
        cmocka_unit_test(a_running_step_ends_in_an_arrow),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
        cmocka_unit_test(colour_changes_nothing_but_colour),
        cmocka_unit_test(odd_documents_are_drawn_too),
        cmocka_unit_test(spans_read_well),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
