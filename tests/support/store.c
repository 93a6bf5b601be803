/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/store.h"

#include "tests/support/assert.h"

#include <stdio.h>

void sb_test_catalog_fresh(char uri[SB_TEST_URI], sb_pg_t **pg, sb_catalog_t **catalog)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_apply_report_t report;
    *pg = sb_test_pg_open(sb_test_pg_fresh(uri));
    assert_ok(sb_catalog_new(catalog, &err), &err);
    assert_ok(sb_catalog_apply(*catalog, *pg, SB_TEST_SOURCE_DIR "/schemas", NULL, &report, &err), &err);
}

void sb_test_explain(sb_pg_t *pg, const char *sql, const char *arguments, char *plan, size_t size)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_buf_t text = SB_BUF_INIT;
    sb_buf_printf(
        &text,
        "CREATE OR REPLACE FUNCTION public.plan() RETURNS text LANGUAGE plpgsql AS $$ DECLARE line text; "
        "lines text := ''; BEGIN FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE s "
        "(%s)' LOOP lines := lines || line || chr(10); END LOOP; RETURN lines; END $$",
        arguments);
    sb_test_pg_script(pg, sb_buf_text(&text));
    sb_buf_fini(&text);
    sb_pg_result_t *rows = NULL;
    assert_ok(sb_pg_reopen(pg, &err), &err); /* nothing prepared, nothing set */
    sb_buf_printf(&text,
                  "SET enable_seqscan = off; SET enable_bitmapscan = off; SET plan_cache_mode = "
                  "force_generic_plan; PREPARE s AS %s",
                  sql);
    sb_test_pg_script(pg, sb_buf_text(&text));
    sb_buf_fini(&text);
    assert_ok(sb_pg_query(pg, "SELECT public.plan()", NULL, &rows, &err), &err);
    (void)snprintf(plan, size, "%s", sb_pg_get_text(rows, 0, 0));
    sb_pg_result_free(rows);
}
