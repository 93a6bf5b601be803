/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/output.h"

#include <langinfo.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_MAX 24
#define CELL_MAX    60  /* longer values are cut in a table, never in JSON */
#define LAST_MAX    240 /* in the last column, which pushes nothing aside */

static int terminal_width(int fd)
{
    const char *columns = getenv("COLUMNS");
    struct winsize size;
    int width = columns ? atoi(columns) : 0;
    if (width <= 0 && ioctl(fd, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    return width >= 40 && width <= 1000 ? width : 80;
}

void sb_output_init(sb_output_t *out, FILE *to)
{
    const char *no_color = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    int fd = fileno(to);
    *out = (sb_output_t){.to = to, .format = SB_OUTPUT_TABLE};
    out->color = isatty(fd) && !(no_color && no_color[0]) && !(term && strcmp(term, "dumb") == 0);
    out->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    out->width = terminal_width(fd);
}

sb_code_t sb_output_set_format(sb_output_t *out, const char *text, sb_error_t *err)
{
    static const char *const names[] = {"table", "json", "jsonl"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            out->format = (sb_output_format_t)i;
            return SB_OK;
        }
    }
    return sb_fail(err, SB_INVALID, "--output %s: expected table, json or jsonl", text);
}

sb_code_t sb_output_set_color(sb_output_t *out, const char *text, sb_error_t *err)
{
    if (strcmp(text, "always") == 0 || strcmp(text, "never") == 0)
        out->color = text[0] == 'a';
    else if (strcmp(text, "auto") != 0)
        return sb_fail(err, SB_INVALID, "--color %s: expected auto, always or never", text);
    return SB_OK;
}

int sb_output_columns(sb_slice_t text)
{
    int columns = 0;
    for (size_t i = 0; i < text.len; i++)
        columns += ((unsigned char)text.ptr[i] & 0xC0) != 0x80;
    return columns;
}

void sb_output_value(const json_t *value, sb_buf_t *out)
{
    if (!value || json_is_null(value))
        return;
    if (json_is_string(value))
        sb_buf_add_text(out, json_string_value(value));
    else
        sb_json_dump(value, out);
}

void sb_output_json(sb_output_t *out, const json_t *value)
{
    size_t flags = JSON_ENCODE_ANY | JSON_REAL_PRECISION(17);
    flags |= out->format == SB_OUTPUT_JSONL ? JSON_COMPACT : JSON_INDENT(2);
    (void)json_dumpf(value, out->to, flags);
    (void)fputc('\n', out->to);
}

void sb_output_text(sb_output_t *out, sb_slice_t text)
{
    (void)fwrite(text.ptr, 1, text.len, out->to);
}

/* ---- tables ---- */

/* A cell: what would break the row is replaced, what would fill the screen is cut. */
static void cell_text(const json_t *item, const sb_column_t *column, bool utf8, int max, sb_buf_t *out)
{
    sb_buf_reset(out);
    sb_output_value(sb_json_at(item, sb_slice(column->pointer)), out);
    for (size_t i = 0; i < out->len; i++)
        if ((unsigned char)out->ptr[i] < 0x20 || out->ptr[i] == 0x7f)
            out->ptr[i] = ' ';
    if (sb_output_columns(sb_buf_slice(out)) <= max)
        return;
    int columns = 0;
    size_t at = 0;
    while (at < out->len && columns < max - 1) {
        at++;
        while (at < out->len && ((unsigned char)out->ptr[at] & 0xC0) == 0x80)
            at++;
        columns++;
    }
    out->len = at;
    sb_buf_add_text(out, utf8 ? "…" : "~");
}

static void pad(FILE *to, int count)
{
    (void)fprintf(to, "%*s", count > 0 ? count : 0, "");
}

static void print_table(sb_output_t *out, const json_t *items, const sb_column_t *columns)
{
    int width[COLUMNS_MAX] = {0};
    bool number[COLUMNS_MAX] = {false};
    int count = 0;
    size_t i;
    json_t *item;
    sb_buf_t cell = SB_BUF_INIT;
    for (; count < COLUMNS_MAX && columns[count].title; count++) {
        width[count] = (int)strlen(columns[count].title);
        json_array_foreach(items, i, item)
        {
            cell_text(item, &columns[count], out->utf8, columns[count + 1].title ? CELL_MAX : LAST_MAX,
                      &cell);
            int wide = sb_output_columns(sb_buf_slice(&cell));
            if (wide > width[count])
                width[count] = wide;
            number[count] |= json_is_number(sb_json_at(item, sb_slice(columns[count].pointer)));
        }
    }
    for (int c = 0; c < count; c++) {
        bool last = c == count - 1;
        int room = width[c] - (int)strlen(columns[c].title);
        pad(out->to, number[c] ? room : 0);
        (void)fprintf(out->to, "%s%s%s", out->color ? "\033[1m" : "", columns[c].title,
                      out->color ? "\033[0m" : "");
        pad(out->to, (number[c] || last ? 0 : room) + (last ? 0 : 2));
    }
    (void)fputc('\n', out->to);
    json_array_foreach(items, i, item)
    {
        for (int c = 0; c < count; c++) {
            bool last = c == count - 1;
            cell_text(item, &columns[c], out->utf8, last ? LAST_MAX : CELL_MAX, &cell);
            int room = width[c] - sb_output_columns(sb_buf_slice(&cell));
            pad(out->to, number[c] ? room : 0);
            (void)fputs(sb_buf_text(&cell), out->to);
            pad(out->to, (number[c] || last ? 0 : room) + (last ? 0 : 2));
        }
        (void)fputc('\n', out->to);
    }
    sb_buf_fini(&cell);
}

void sb_output_items(sb_output_t *out, const json_t *items, const sb_column_t *columns)
{
    size_t i;
    json_t *item;
    if (out->format == SB_OUTPUT_TABLE)
        print_table(out, items, columns);
    else if (out->format == SB_OUTPUT_JSON)
        sb_output_json(out, items);
    else
        json_array_foreach(items, i, item) sb_output_json(out, item);
}

void sb_output_rows(sb_output_t *out, const json_t *items)
{
    sb_column_t columns[COLUMNS_MAX + 1] = {{NULL, NULL}};
    char pointer[COLUMNS_MAX][128];
    int count = 0;
    const char *name;
    json_t *value;
    json_object_foreach(json_array_get(items, 0), name, value)
    {
        if (count == COLUMNS_MAX)
            break;
        sb_buf_t text = SB_BUF_INIT;
        sb_json_pointer_add(&text, sb_slice(name));
        (void)snprintf(pointer[count], sizeof pointer[count], "%s", sb_buf_text(&text));
        sb_buf_fini(&text);
        columns[count] = (sb_column_t){name, pointer[count]};
        count++;
    }
    sb_output_items(out, items, columns);
}

void sb_output_object(sb_output_t *out, const json_t *object)
{
    if (out->format != SB_OUTPUT_TABLE) {
        sb_output_json(out, object);
        return;
    }
    int width = 0;
    const char *name;
    json_t *value;
    /* jansson has no iteration over a const object */
    json_t *open = (json_t *)(uintptr_t)object;
    json_object_foreach(open, name, value)
    {
        int wide = sb_output_columns(sb_slice(name));
        width = wide > width ? wide : width;
    }
    sb_buf_t text = SB_BUF_INIT;
    json_object_foreach(open, name, value)
    {
        sb_buf_reset(&text);
        sb_output_value(value, &text);
        (void)fprintf(out->to, "%s%s%s", out->color ? "\033[1m" : "", name, out->color ? "\033[0m" : "");
        pad(out->to, width - sb_output_columns(sb_slice(name)) + 2);
        (void)fprintf(out->to, "%s\n", sb_buf_text(&text));
    }
    sb_buf_fini(&text);
}
