/* trace - draws what happened to a saga: a line a step on a common axis of time, the undos beneath.
 *
 * Pure: JSON of GET /v1/sagas/{id} in, text out.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_CLI_TRACE_H
#define SB_CLI_TRACE_H

#include "base/json.h"

typedef struct sb_trace_style {
    int width; /* of the terminal; at least 60 is used */
    bool utf8;
    bool color;
    int64_t now_us; /* where open steps end */
} sb_trace_style_t;

void sb_trace_draw(const json_t *saga, const sb_trace_style_t *style, sb_buf_t *out);

/* "4.2 ms", "123 ms", "1.84 s", "2 m 05 s", "1 h 05 m"; returns text. */
#define SB_TRACE_SPAN_TEXT 24
char *sb_trace_span(int64_t us, char text[SB_TRACE_SPAN_TEXT]);

#endif
