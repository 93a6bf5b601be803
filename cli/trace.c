/* A saga's trace is three columns: what ran, how it ended and how long it took, and a bar from when to when.
 * A try that had to be repeated is a cross in its bar; what still runs ends in an arrow.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "cli/trace.h"

#include "base/clock.h"
#include "cli/output.h"

#include <stdio.h>
#include <stdlib.h>

#define LABEL_MAX 24
#define STATE_MAX 20
#define SPAN_MAX  8
#define BAR_MIN   12
#define LINES_MAX 64

typedef enum paint {
    PAINT_PLAIN,
    PAINT_BOLD,
    PAINT_DIM,
    PAINT_GREEN,
    PAINT_RED,
    PAINT_YELLOW,
    PAINT_CYAN
} paint_t;
typedef enum glyph {
    GLYPH_DONE,
    GLYPH_REFUSED,
    GLYPH_UNKNOWN,
    GLYPH_RUNNING,
    GLYPH_SKIPPED,
    GLYPH_NEVER,
    GLYPH_UNDONE,
    GLYPH_BLOCK,
    GLYPH_CROSS,
    GLYPH_ARROW,
    GLYPH_DOT,
    GLYPH_CUT
} glyph_t;

static const char *const glyphs[][2] = {
    [GLYPH_DONE] = {"+", "✔"},    [GLYPH_REFUSED] = {"x", "✘"}, [GLYPH_UNKNOWN] = {"?", "?"},
    [GLYPH_RUNNING] = {">", "▶"}, [GLYPH_SKIPPED] = {"-", "–"}, [GLYPH_NEVER] = {".", "·"},
    [GLYPH_UNDONE] = {"<", "↶"},  [GLYPH_BLOCK] = {"=", "█"},   [GLYPH_CROSS] = {"x", "╳"},
    [GLYPH_ARROW] = {">", "▶"},   [GLYPH_DOT] = {"|", "·"},     [GLYPH_CUT] = {"~", "…"},
};

/* What a line shows. Times are 0 when there is none. */
typedef struct line {
    int number; /* of the step, from 1 */
    const char *name;
    const char *participant;
    glyph_t glyph;
    paint_t paint;
    const char *state;
    int tries;
    int64_t from_us;
    int64_t to_us;
    bool open;
    const char *error;
    const char *anomaly; /* NULL or "": none */
    bool undo;
} line_t;

typedef struct drawing {
    const sb_trace_style_t *style;
    sb_buf_t *out;
    const json_t *saga;
    int64_t start_us;
    int64_t end_us;
    int label_width;
    int state_width;
    int bar_width;
} drawing_t;

char *sb_trace_span(int64_t us, char text[SB_TRACE_SPAN_TEXT])
{
    double ms = (double)us / 1000.0;
    long long s = us / 1000000;
    if (ms < 9.95)
        (void)snprintf(text, SB_TRACE_SPAN_TEXT, "%.1f ms", ms < 0 ? 0 : ms);
    else if (ms < 999.5)
        (void)snprintf(text, SB_TRACE_SPAN_TEXT, "%.0f ms", ms);
    else if (s < 60)
        (void)snprintf(text, SB_TRACE_SPAN_TEXT, "%.2f s", ms / 1000);
    else if (s < 3600)
        (void)snprintf(text, SB_TRACE_SPAN_TEXT, "%lld m %02lld s", s / 60, s % 60);
    else
        (void)snprintf(text, SB_TRACE_SPAN_TEXT, "%lld h %02lld m", s / 3600, s / 60 % 60);
    return text;
}

/* ---- reading the JSON ---- */

static const char *text_of(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

static int64_t time_of(const json_t *object, const char *name)
{
    int64_t us = 0;
    const char *text = json_string_value(json_object_get(object, name));
    return text && sb_time_parse(sb_slice(text), &us) ? us : 0;
}

/* An error is a text, or an object with a message. */
static const char *error_of(const json_t *object)
{
    const json_t *error = json_object_get(object, "error");
    const char *text = json_string_value(json_is_object(error) ? json_object_get(error, "message") : error);
    return text ? text : "";
}

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static bool is_over(const char *status)
{
    return is(status, "completed") || is(status, "compensated") || is(status, "failed");
}

typedef struct look {
    const char *status;
    glyph_t glyph;
    paint_t paint;
    const char *state;
} look_t;

static const look_t forward_looks[] = {
    {"completed", GLYPH_DONE, PAINT_GREEN, "done"},     {"failed", GLYPH_REFUSED, PAINT_RED, "refused"},
    {"unknown", GLYPH_UNKNOWN, PAINT_RED, "no answer"}, {"dispatched", GLYPH_RUNNING, PAINT_CYAN, "running"},
    {"skipped", GLYPH_SKIPPED, PAINT_DIM, "skipped"},   {"compensating", GLYPH_DONE, PAINT_GREEN, "done"},
    {"compensated", GLYPH_DONE, PAINT_GREEN, "done"},   {"pending", GLYPH_NEVER, PAINT_DIM, "not yet"},
};

static line_t forward_line(const json_t *step, int number, bool turned)
{
    const char *status = text_of(step, "status");
    line_t line = {.number = number,
                   .name = text_of(step, "name"),
                   .participant = text_of(step, "participant"),
                   .glyph = GLYPH_NEVER,
                   .paint = PAINT_PLAIN,
                   .state = status,
                   .tries = (int)json_integer_value(json_object_get(step, "attempts")),
                   .from_us = time_of(step, "started_at"),
                   .to_us = time_of(step, "ended_at"),
                   .error = error_of(step)};
    for (size_t i = 0; i < sizeof forward_looks / sizeof forward_looks[0]; i++) {
        if (is(status, forward_looks[i].status)) {
            line.glyph = forward_looks[i].glyph;
            line.paint = forward_looks[i].paint;
            line.state = forward_looks[i].state;
        }
    }
    bool unknown = json_is_true(json_object_get(step, "unknown"));
    if (line.glyph == GLYPH_DONE && unknown) {
        line.glyph = GLYPH_UNKNOWN;
        line.paint = PAINT_RED;
        line.state = "no answer";
    }
    if (is(status, "pending") && turned)
        line.state = "never ran";
    if (!unknown && is(line.error, error_of(json_object_get(step, "compensation"))))
        line.error = ""; /* it is the undo's */
    line.anomaly = text_of(json_object_get(step, "anomaly"), "reason");
    line.open = line.from_us && !line.to_us;
    return line;
}

static bool undo_line(const json_t *step, int number, line_t *line)
{
    const json_t *undo = json_object_get(step, "compensation");
    int64_t from = time_of(undo, "started_at");
    if (!json_is_object(undo) || !from)
        return false;
    bool done = is(text_of(undo, "status"), "compensated") || is(text_of(undo, "status"), "completed");
    bool skipped = is(text_of(undo, "status"), "skipped");
    *line = (line_t){.number = number,
                     .name = text_of(step, "name"),
                     .participant = text_of(step, "participant"),
                     .glyph = skipped ? GLYPH_SKIPPED : GLYPH_UNDONE,
                     .paint = PAINT_YELLOW,
                     .state = done ? "undone" : (skipped ? "skipped" : "undoing"),
                     .tries = (int)json_integer_value(json_object_get(undo, "attempts")),
                     .from_us = from,
                     .to_us = time_of(undo, "ended_at"),
                     .error = error_of(undo),
                     .undo = true};
    line->open = !line->to_us;
    return true;
}

static int by_start_then_newest(const void *a, const void *b)
{
    const line_t *x = a;
    const line_t *y = b;
    if (x->from_us != y->from_us)
        return x->from_us < y->from_us ? -1 : 1;
    return y->number - x->number;
}

/* ---- drawing ---- */

static const char *glyph(const drawing_t *d, glyph_t which)
{
    return glyphs[which][d->style->utf8 ? 1 : 0];
}

static void paint(const drawing_t *d, paint_t color)
{
    static const char *const codes[] = {"0", "1", "2", "32", "31", "33", "36"};
    if (d->style->color)
        sb_buf_printf(d->out, "\033[%sm", codes[color]);
}

static void spaces(sb_buf_t *out, int count)
{
    for (int i = 0; i < count; i++)
        sb_buf_add_char(out, ' ');
}

/* Adds text in exactly width places: cut, or filled on its right. Control characters never reach a terminal.
 */
static void put(const drawing_t *d, const char *text, int width)
{
    int columns = sb_output_columns(sb_slice(text));
    int room = columns > width ? width - 1 : width;
    int at = 0;
    for (const char *c = text; *c; c++) {
        bool begins = ((unsigned char)*c & 0xC0) != 0x80;
        if (begins && at == room)
            break;
        at += begins;
        sb_buf_add_char(d->out, (unsigned char)*c < 0x20 || *c == 0x7f ? ' ' : *c);
    }
    if (columns > width)
        sb_buf_add_text(d->out, glyph(d, GLYPH_CUT));
    else
        spaces(d->out, width - at);
}

static int column_of(const drawing_t *d, int64_t us)
{
    int64_t span = d->end_us - d->start_us;
    int64_t at = span > 0 ? (us - d->start_us) * d->bar_width / span : 0;
    if (at < 0)
        at = 0;
    return at >= d->bar_width ? d->bar_width - 1 : (int)at;
}

/* Marks the columns at which a try of the line ended and another was due. */
static void mark_tries(const drawing_t *d, const line_t *line, bool *cross)
{
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(d->saga, "history"), i, entry)
    {
        bool undo = is(text_of(entry, "direction"), "compensate");
        int64_t at = time_of(entry, "at");
        if (is(text_of(entry, "type"), "saga.step.retried") && is(text_of(entry, "step"), line->name) &&
            undo == line->undo && at)
            cross[column_of(d, at)] = true;
    }
}

static void draw_bar(const drawing_t *d, const line_t *line)
{
    bool cross[512] = {false};
    int64_t to = line->to_us ? line->to_us : d->end_us;
    int first = column_of(d, line->from_us);
    int last = column_of(d, to);
    /* A bar ends where the next begins: its end belongs to the follower unless it has nothing else. */
    if (last > first && !line->open && last < d->bar_width - 1)
        last--;
    mark_tries(d, line, cross);
    spaces(d->out, first);
    for (int c = first; c <= last; c++) {
        if (cross[c]) {
            paint(d, PAINT_RED);
            sb_buf_add_text(d->out, glyph(d, GLYPH_CROSS));
            paint(d, PAINT_PLAIN);
            continue;
        }
        paint(d, line->paint);
        sb_buf_add_text(d->out, glyph(d, line->open && c == last ? GLYPH_ARROW : GLYPH_BLOCK));
        paint(d, PAINT_PLAIN);
    }
}

static void trim_end(sb_buf_t *out)
{
    while (out->len && out->ptr[out->len - 1] == ' ')
        out->len--;
}

/* A line beneath the one it is about. */
static void draw_note(const drawing_t *d, const char *who, const char *what, paint_t color)
{
    char text[160];
    sb_buf_add_text(d->out, "   ");
    (void)snprintf(text, sizeof text, "%s: %s", who, what);
    paint(d, color);
    put(d, text, d->style->width > 60 ? d->style->width - 4 : 56);
    trim_end(d->out);
    paint(d, PAINT_PLAIN);
    sb_buf_add_char(d->out, '\n');
}

static void draw_line(const drawing_t *d, const line_t *line)
{
    char text[160];
    char span[SB_TRACE_SPAN_TEXT] = "";
    (void)snprintf(text, sizeof text, "%2d %s", line->number, line->name);
    put(d, text, d->label_width);
    sb_buf_add_text(d->out, "  ");
    if (line->tries > 1)
        (void)snprintf(text, sizeof text, "%s %s, %d tries", glyph(d, line->glyph), line->state, line->tries);
    else
        (void)snprintf(text, sizeof text, "%s %s", glyph(d, line->glyph), line->state);
    int columns = sb_output_columns(sb_slice(text));
    paint(d, line->paint);
    put(d, text, columns < d->state_width ? columns : d->state_width);
    paint(d, PAINT_PLAIN);
    spaces(d->out, d->state_width - columns);
    if (line->from_us)
        (void)sb_trace_span((line->to_us ? line->to_us : d->end_us) - line->from_us, span);
    spaces(d->out, SPAN_MAX - (int)strlen(span) + 1);
    sb_buf_add_text(d->out, span);
    sb_buf_add_text(d->out, "  ");
    if (line->from_us)
        draw_bar(d, line);
    trim_end(d->out);
    sb_buf_add_char(d->out, '\n');
    if (line->error[0])
        draw_note(d, line->participant, line->error, PAINT_DIM);
    if (line->anomaly && line->anomaly[0])
        draw_note(d, "contradicted", line->anomaly, PAINT_RED);
}

static void draw_head(const drawing_t *d)
{
    const char *status = text_of(d->saga, "status");
    char span[SB_TRACE_SPAN_TEXT];
    char line[256];
    paint_t color = is(status, "completed")                                   ? PAINT_GREEN
                    : is(status, "compensated") || is(status, "compensating") ? PAINT_YELLOW
                    : is(status, "failed")                                    ? PAINT_RED
                                                                              : PAINT_CYAN;
    paint(d, PAINT_BOLD);
    (void)snprintf(line, sizeof line, "%s %s", text_of(d->saga, "type"), text_of(d->saga, "key"));
    put(d, line, sb_output_columns(sb_slice(line)));
    paint(d, PAINT_PLAIN);
    sb_buf_add_text(d->out, "  ");
    paint(d, color);
    const char *shown = is(status, "started") ? "running" : status;
    put(d, shown, sb_output_columns(sb_slice(shown)));
    paint(d, PAINT_PLAIN);
    sb_buf_printf(d->out, " %s %s", is_over(status) ? "after" : "for",
                  sb_trace_span(d->end_us - d->start_us, span));
    if (json_is_true(json_object_get(d->saga, "paused")))
        sb_buf_add_text(d->out, ", paused");
    if (json_is_true(json_object_get(d->saga, "attention"))) {
        paint(d, PAINT_RED);
        sb_buf_add_text(d->out, ", needs an operator");
        paint(d, PAINT_PLAIN);
    }
    const json_t *definition = json_object_get(d->saga, "definition");
    paint(d, PAINT_DIM);
    (void)snprintf(line, sizeof line, "%s  %s v%d  %s", text_of(d->saga, "id"), text_of(definition, "name"),
                   (int)json_integer_value(json_object_get(definition, "version")),
                   text_of(d->saga, "started_at"));
    sb_buf_add_char(d->out, '\n');
    put(d, line, sb_output_columns(sb_slice(line)));
    sb_buf_add_text(d->out, "\n\n");
    paint(d, PAINT_PLAIN);
}

static void draw_axis(const drawing_t *d)
{
    char span[SB_TRACE_SPAN_TEXT];
    (void)sb_trace_span(d->end_us - d->start_us, span);
    int left = d->label_width + 2 + d->state_width + SPAN_MAX + 3;
    paint(d, PAINT_DIM);
    spaces(d->out, left);
    sb_buf_add_char(d->out, '0');
    spaces(d->out, d->bar_width - 1 - (int)strlen(span));
    sb_buf_printf(d->out, "%s\n", span);
    paint(d, PAINT_PLAIN);
}

/* Makes the columns and the axis hold these lines as well. */
static void include_lines(drawing_t *d, const line_t *lines, int count)
{
    for (int i = 0; i < count; i++) {
        int label = 3 + sb_output_columns(sb_slice(lines[i].name));
        int state = 2 + (int)strlen(lines[i].state) + (lines[i].tries > 1 ? 9 + (lines[i].tries > 9) : 0);
        d->label_width = label > d->label_width ? label : d->label_width;
        d->state_width = state > d->state_width ? state : d->state_width;
        if (lines[i].to_us > d->end_us)
            d->end_us = lines[i].to_us;
    }
}

static void lay_out(drawing_t *d)
{
    int width = d->style->width < 60 ? 60 : d->style->width;
    d->label_width = d->label_width > LABEL_MAX ? LABEL_MAX : d->label_width;
    d->state_width = d->state_width > STATE_MAX ? STATE_MAX : d->state_width;
    d->bar_width = width - d->label_width - d->state_width - SPAN_MAX - 6;
    if (d->bar_width < BAR_MIN)
        d->bar_width = BAR_MIN;
    if (d->bar_width > 200)
        d->bar_width = 200;
}

/* Where the axis ends when the saga has not: now for what runs. */
static int64_t end_of(const json_t *saga, const sb_trace_style_t *style, int64_t start_us)
{
    int64_t end = time_of(saga, "ended_at");
    if (!end && !is_over(text_of(saga, "status")))
        end = style->now_us;
    return end > start_us ? end : start_us;
}

void sb_trace_draw(const json_t *saga, const sb_trace_style_t *style, sb_buf_t *out)
{
    line_t lines[LINES_MAX];
    line_t undos[LINES_MAX];
    int count = 0;
    int undo_count = 0;
    size_t i;
    json_t *step;
    const char *status = text_of(saga, "status");
    bool turned = is(status, "compensating") || is_over(status);
    json_array_foreach(json_object_get(saga, "steps"), i, step)
    {
        if (count == LINES_MAX)
            break;
        lines[count++] = forward_line(step, (int)i + 1, turned);
        if (undo_line(step, (int)i + 1, &undos[undo_count]))
            undo_count++;
    }
    qsort(undos, (size_t)undo_count, sizeof undos[0], by_start_then_newest);
    drawing_t d = {.style = style,
                   .out = out,
                   .saga = saga,
                   .start_us = time_of(saga, "started_at"),
                   .label_width = 8,
                   .state_width = 8};
    d.end_us = end_of(saga, style, d.start_us);
    include_lines(&d, lines, count);
    include_lines(&d, undos, undo_count);
    lay_out(&d);
    draw_head(&d);
    draw_axis(&d);
    for (int n = 0; n < count; n++)
        draw_line(&d, &lines[n]);
    if (undo_count) {
        paint(&d, PAINT_DIM);
        sb_buf_add_text(out, "undo, newest step first\n");
        paint(&d, PAINT_PLAIN);
    }
    for (int n = 0; n < undo_count; n++)
        draw_line(&d, &undos[n]);
    const char *error = error_of(saga);
    if (error[0]) {
        sb_buf_add_text(out, "\nwhy: ");
        paint(&d, PAINT_RED);
        put(&d, error, sb_output_columns(sb_slice(error)));
        paint(&d, PAINT_PLAIN);
        sb_buf_add_char(out, '\n');
    }
}
