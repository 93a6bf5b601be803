/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

static atomic_int threshold = SB_LOG_INFO;

static const char *const names[] = {"debug", "info", "warn", "error", "off"};

void sb_log_set_level(sb_log_level_t level)
{
    atomic_store(&threshold, (int)level);
}

bool sb_log_parse_level(const char *text, sb_log_level_t *out)
{
    for (int i = 0; i <= SB_LOG_OFF; i++) {
        if (strcasecmp(text, names[i]) == 0) {
            *out = (sb_log_level_t)i;
            return true;
        }
    }
    return false;
}

bool sb_log_enabled(sb_log_level_t level)
{
    return (int)level >= atomic_load_explicit(&threshold, memory_order_relaxed);
}

/* Appends text as a quoted logfmt value; what could break the line is replaced. */
static void put_quoted(char *line, size_t cap, size_t *at, const char *text, size_t length)
{
    if (*at + 1 < cap)
        line[(*at)++] = '"';
    for (size_t i = 0; i < length && *at + 2 < cap; i++) {
        unsigned char c = (unsigned char)text[i];
        line[(*at)++] = c == '"' ? '\'' : (c < 0x20 ? ' ' : (char)c);
    }
    if (*at + 1 < cap)
        line[(*at)++] = '"';
}

static void write_line(sb_log_level_t level, const char *id, const char *body, const sb_error_t *err)
{
    char line[2048];
    char time_text[SB_TIME_TEXT];
    int head =
        snprintf(line, sizeof line, "ts=%s level=%s id=%s msg=", sb_time_format(sb_wall_us(), time_text),
                 names[level], id);
    size_t at = (size_t)head;
    const char *bar = strchr(body, '|');
    put_quoted(line, sizeof line, &at, body, bar ? (size_t)(bar - body) : strlen(body));
    if (bar && at + 2 < sizeof line) {
        int n = snprintf(line + at, sizeof line - at, " %s", bar + 1);
        size_t end = at + (size_t)n < sizeof line ? at + (size_t)n : sizeof line - 1;
        for (; at < end; at++) /* a value from outside must not begin a line of its own */
            if ((unsigned char)line[at] < 0x20)
                line[at] = ' ';
    }
    if (err && at + 40 < sizeof line) {
        int n = snprintf(line + at, sizeof line - at, " code=%s%s%s error=", sb_code_name(err->code),
                         err->origin[0] ? " origin=" : "", err->origin);
        at = at + (size_t)n < sizeof line ? at + (size_t)n : sizeof line - 1;
        put_quoted(line, sizeof line, &at, err->message, strlen(err->message));
    }
    if (at >= sizeof line)
        at = sizeof line - 1;
    line[at++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, at);
    (void)ignored;
}

void sb_log(sb_log_level_t level, const char *id, const char *format, ...)
{
    if (!sb_log_enabled(level))
        return;
    char body[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(body, sizeof body, format, args);
    va_end(args);
    write_line(level, id, body, NULL);
}

void sb_log_error(sb_log_level_t level, const char *id, const sb_error_t *err, const char *format, ...)
{
    if (!sb_log_enabled(level))
        return;
    char body[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(body, sizeof body, format, args);
    va_end(args);
    write_line(level, id, body, err);
}
