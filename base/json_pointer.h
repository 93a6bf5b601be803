/* json_pointer - RFC 6901 pointers as text: checked, and built up on the way down into a value.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_JSON_POINTER_H
#define SB_BASE_JSON_POINTER_H

#include "base/buf.h"

/* Whether text is a well-formed JSON Pointer. */
bool sb_json_pointer_ok(sb_slice_t text);
/* The array index that a token names: 0, or digits without a leading zero. False for "-", which names what is
 * not there. */
bool sb_json_pointer_index(sb_slice_t token, size_t *out);

/* Appends "/token", escaped. */
void sb_json_pointer_add(sb_buf_t *pointer, sb_slice_t token);
void sb_json_pointer_add_index(sb_buf_t *pointer, size_t index);

/* The same on the way down; what they return leads back up. */
size_t sb_json_pointer_enter(sb_buf_t *pointer, sb_slice_t token);
size_t sb_json_pointer_enter_index(sb_buf_t *pointer, size_t index);
void sb_json_pointer_leave(sb_buf_t *pointer, size_t mark);

#endif
