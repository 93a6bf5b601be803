/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/graph.h"
#include "tests/support/assert.h"

static const char trip[] =
    "{\"saga\": \"trip\", \"version\": 1, \"steps\": ["
    "{\"name\": \"hotel\", \"title\": \"Book \\\"a\\\" hotel\", \"participant\": \"h\", \"action\": \"book\","
    " \"compensation\": \"cancel\", \"parallel\": \"book\", \"fallback\": {\"hotel\": null}},"
    "{\"name\": \"car\", \"participant\": \"c\", \"action\": \"book\", \"compensation\": \"cancel\","
    " \"parallel\": \"book\","
    " \"when\": {\"pointer\": \"$.input/car\", \"operator\": \"==\", \"value\": true}},"
    "{\"name\": \"pay\", \"participant\": \"p\", \"action\": \"charge\", \"pivot\": true},"
    "{\"name\": \"mail\", \"participant\": \"m\", \"action\": \"send\", \"forward_only\": true}]}";

static const char expected[] = "flowchart TD\n"
                               "    start([started])\n"
                               "    subgraph g0[\"side by side\"]\n"
                               "        s0[\"Book #quot;a#quot; hotel<br>h.book<br>or its fallback\"]\n"
                               "        s1[\"car<br>c.book\"]\n"
                               "    end\n"
                               "    s2{{\"pay<br>p.charge<br>point of no return\"}}\n"
                               "    s3[\"mail<br>m.send\"]\n"
                               "    done([completed])\n"
                               "    start --> s0\n"
                               "    start -->|when| s1\n"
                               "    s0 --> s2\n"
                               "    s1 --> s2\n"
                               "    s2 --> s3\n"
                               "    s3 --> done\n"
                               "    u1([\"c.cancel\"]):::undo\n"
                               "    s1 -. undo .-> u1\n"
                               "    u0([\"h.cancel\"]):::undo\n"
                               "    s0 -. undo .-> u0\n"
                               "    u1 -.-> u0\n"
                               "    u0 -.-> undone\n"
                               "    undone([compensated]):::undo\n"
                               "    classDef undo stroke-dasharray: 4 3\n";

static void groups_conditions_pivot_and_undos_are_drawn(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_definition_t *definition = NULL;
    sb_buf_t text = SB_BUF_INIT;
    json_t *body = NULL;
    assert_ok(sb_json_parse(&body, SB_SLICE(trip), "the trip", &err), &err);
    assert_ok(sb_definition_compile(&definition, body, &err), &err);
    sb_definition_graph(definition, &text);
    assert_string_equal(sb_buf_text(&text), expected);
    sb_buf_fini(&text);
    sb_definition_free(&definition);
    json_decref(body);
}

static void a_step_that_is_a_saga_has_two_walls(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    sb_definition_t *definition = NULL;
    sb_buf_t text = SB_BUF_INIT;
    json_t *body = NULL;
    assert_ok(sb_json_parse(&body,
                            SB_SLICE("{\"saga\": \"order\", \"version\": 1, \"steps\": ["
                                     "{\"name\": \"pay\", \"saga\": \"payment\"}]}"),
                            "the order", &err),
              &err);
    assert_ok(sb_definition_compile(&definition, body, &err), &err);
    sb_definition_graph(definition, &text);
    assert_contains(sb_buf_text(&text), "s0[[\"pay<br>saga payment\"]]\n");
    assert_contains(sb_buf_text(&text), "u0([\"undo payment\"]):::undo\n");
    sb_buf_fini(&text);
    sb_definition_free(&definition);
    json_decref(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(groups_conditions_pivot_and_undos_are_drawn),
                                       cmocka_unit_test(a_step_that_is_a_saga_has_two_walls)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
