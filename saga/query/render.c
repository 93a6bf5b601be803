/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/query/render.h"

#include "base/clock.h"

#include <inttypes.h>

static void begin(sb_buf_t *out, const char *name)
{
    char last = out->len > 0 ? out->ptr[out->len - 1] : '{';
    if (last != '{' && last != '[')
        sb_buf_add_char(out, ',');
    if (!name)
        return;
    sb_buf_add_json(out, sb_slice(name));
    sb_buf_add_char(out, ':');
}

void sb_render_open(sb_buf_t *out, const char *name, char bracket)
{
    begin(out, name);
    sb_buf_add_char(out, bracket);
}

void sb_render_close(sb_buf_t *out, char bracket)
{
    sb_buf_add_char(out, bracket);
}

void sb_render_raw(sb_buf_t *out, const char *name, sb_slice_t json)
{
    begin(out, name);
    sb_buf_add_slice(out, json.ptr ? json : SB_SLICE("null"));
}

void sb_render_text(sb_buf_t *out, const char *name, sb_slice_t text)
{
    begin(out, name);
    if (text.ptr)
        sb_buf_add_json(out, text);
    else
        sb_buf_add_text(out, "null");
}

void sb_render_int(sb_buf_t *out, const char *name, int64_t value)
{
    begin(out, name);
    sb_buf_printf(out, "%" PRId64, value);
}

void sb_render_direction(sb_buf_t *out, sb_direction_t direction)
{
    sb_render_text(out, "direction", direction == SB_FORWARD ? SB_SLICE("forward") : SB_SLICE("compensate"));
}

void sb_render_bool(sb_buf_t *out, const char *name, bool value)
{
    sb_render_raw(out, name, value ? SB_SLICE("true") : SB_SLICE("false"));
}

void sb_render_uuid(sb_buf_t *out, const char *name, const sb_uuid_t *id)
{
    char text[SB_UUID_TEXT];
    sb_render_text(out, name, sb_slice(sb_uuid_format(id, text)));
}

void sb_render_time(sb_buf_t *out, const char *name, int64_t wall_us)
{
    char text[SB_TIME_TEXT];
    sb_render_text(out, name, wall_us ? sb_slice(sb_time_format(wall_us, text)) : SB_SLICE_NONE);
}
