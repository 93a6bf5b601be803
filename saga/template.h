/* template - a JSON value with references in it, compiled so that filling it in only copies bytes.
 *
 * Thread: a compiled template is read-only and may be shared.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_TEMPLATE_H
#define SB_SAGA_TEMPLATE_H

#include "saga/reference.h"

#include <jansson.h>

typedef struct sb_template sb_template_t;

/* Compiles. The caller owns *out; body is borrowed for the template's life. at is the JSON Pointer of body in
 * its file: SB_INVALID has err->pointer below it. */
SB_MUST_CHECK sb_code_t sb_template_compile(sb_template_t **out, const json_t *body, const sb_scope_t *scope,
                                            const char *at, sb_error_t *err);
/* SB_INVALID at the first text of body that only looks like a reference (sb_reference_near_miss). Apart from
 * compiling, which must go on with what was registered before this was asked. */
SB_MUST_CHECK sb_code_t sb_template_check(const json_t *body, const char *at, sb_error_t *err);
void sb_template_free(sb_template_t **template);

/* Appends the template filled in. lenient: what is absent gives null; else SB_INVALID names it, unless it is
 * optional. The text is well-formed when input and results are. */
SB_MUST_CHECK sb_code_t sb_template_render(const sb_template_t *template, bool lenient, sb_slice_t input,
                                           const sb_slice_t *results, sb_buf_t *out, sb_error_t *err);

/* SB_INVALID, err->pointer at the first value that the template must have from the input and that is not
 * there. */
SB_MUST_CHECK sb_code_t sb_template_accepts(const sb_template_t *template, sb_slice_t input, sb_error_t *err);

#endif
