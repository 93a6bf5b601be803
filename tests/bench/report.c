/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/report.h"

#include "base/buf.h"

#include <stdio.h>

/* ---- table ---- */

static char *number(char text[24], double value)
{
    (void)snprintf(text, 24, value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
    return text;
}

static char *goal(char text[24], const bench_measure_t *m)
{
    if (m->goal > 0)
        (void)snprintf(text, 24, "%s %.2f", m->less_is_better ? "<=" : ">=", m->goal);
    else
        (void)snprintf(text, 24, "-");
    return text;
}

static void row(const bench_result_t *r)
{
    char value[24], reference[24], spread[24], wanted[24];
    const bench_measure_t *m = r->measure;
    printf("%-8s  %-38s  %9s  %-9s", r->bench, m->name, number(value, r->value), m->unit);
    if (!m->reference) {
        printf("\n");
        return;
    }
    (void)snprintf(spread, sizeof spread, "%.2f-%.2f", r->ratio_low, r->ratio_high);
    printf("  %9s  %5.2f  %-10s  %-7s  %-5s  %s\n", number(reference, r->reference_value), r->ratio, spread,
           goal(wanted, m),
           m->goal <= 0     ? "-"
           : bench_holds(r) ? "yes"
                            : "NO",
           m->reference);
}

void report_table(const bench_results_t *results)
{
    printf("%-8s  %-38s  %9s  %-9s  %9s  %5s  %-10s  %-7s  %-5s  %s\n", "bench", "measure", "value", "unit",
           "beside", "ratio", "rounds", "goal", "holds", "the reference is");
    for (int i = 0; i < results->count; i++)
        row(&results->item[i]);
}

/* ---- JSON ---- */

static void name(sb_buf_t *out, const char *text)
{
    sb_buf_add_text(out, out->ptr[out->len - 1] == '{' ? "\"" : ",\"");
    sb_buf_add_text(out, text);
    sb_buf_add_text(out, "\":");
}

static void add_text(sb_buf_t *out, const char *member, const char *text)
{
    name(out, member);
    if (text)
        sb_buf_add_json(out, sb_slice(text));
    else
        sb_buf_add_text(out, "null");
}

static void add_number(sb_buf_t *out, const char *member, bool known, double value)
{
    name(out, member);
    if (known)
        sb_buf_printf(out, value < 1000 ? "%.4g" : "%.0f", value);
    else
        sb_buf_add_text(out, "null");
}

static void add_result(sb_buf_t *out, const bench_result_t *r)
{
    const bench_measure_t *m = r->measure;
    sb_buf_add_text(out, "{");
    add_text(out, "bench", r->bench);
    add_text(out, "measure", m->name);
    add_number(out, "value", true, r->value);
    add_text(out, "unit", m->unit);
    add_text(out, "reference", m->reference);
    add_number(out, "reference_value", m->reference, r->reference_value);
    add_number(out, "ratio", m->reference, r->ratio);
    add_number(out, "goal", m->goal > 0, m->goal);
    name(out, "holds");
    sb_buf_add_text(out, m->goal <= 0 ? "null" : bench_holds(r) ? "true" : "false");
    sb_buf_add_text(out, "}");
}

void report_json(const bench_results_t *results)
{
    sb_buf_t out = SB_BUF_INIT;
    sb_buf_add_text(&out, "[");
    for (int i = 0; i < results->count; i++) {
        sb_buf_add_text(&out, i ? ",\n " : "\n ");
        add_result(&out, &results->item[i]);
    }
    sb_buf_add_text(&out, "\n]\n");
    (void)fputs(sb_buf_text(&out), stdout);
    sb_buf_fini(&out);
}
