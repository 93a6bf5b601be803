/* base64 - bytes as text (RFC 4648, the standard alphabet) and back.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_BASE64_H
#define SB_BASE_BASE64_H

#include "base/buf.h"

/* Appends the text, padded. */
void sb_base64_encode(sb_buf_t *out, sb_slice_t bytes);

/* Appends the bytes. False: it is not base64, or out failed. Padding must be whole. */
bool sb_base64_decode(sb_buf_t *out, sb_slice_t text);

#endif
