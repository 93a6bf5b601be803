/* buf - a growing byte buffer that remembers that it failed.
 *
 * Writers append without checking each call; the owner asks once, with sb_buf_failed. After a failure every
 * append is a no-op. The content is always followed by a NUL that is not counted, so text can be read as C.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_BASE_BUF_H
#define SB_BASE_BUF_H

#include "sagabus/error.h"
#include "sagabus/slice.h"

#include <stdint.h>

typedef struct sb_buf {
    char *ptr;
    size_t len;
    size_t cap;
    bool failed;
} sb_buf_t;

#define SB_BUF_INIT                                                                                          \
    {                                                                                                        \
        NULL, 0, 0, false                                                                                    \
    }

void sb_buf_fini(sb_buf_t *buf);
void sb_buf_reset(sb_buf_t *buf); /* empties, keeps the memory, forgets a failure */
bool sb_buf_failed(const sb_buf_t *buf);

void sb_buf_add(sb_buf_t *buf, const void *data, size_t length);
void sb_buf_add_char(sb_buf_t *buf, char c);
void sb_buf_add_text(sb_buf_t *buf, const char *text);
void sb_buf_add_slice(sb_buf_t *buf, sb_slice_t slice);
void sb_buf_printf(sb_buf_t *buf, const char *format, ...) SB_PRINTF(2, 3);

/* Appends the text as a JSON string with its quotes; control characters are escaped, UTF-8 passes as it is.
 */
void sb_buf_add_json(sb_buf_t *buf, sb_slice_t text);

/* Big-endian integers, as PostgreSQL's binary formats want them. */
void sb_buf_add_be16(sb_buf_t *buf, uint16_t value);
void sb_buf_add_be32(sb_buf_t *buf, uint32_t value);
void sb_buf_add_be64(sb_buf_t *buf, uint64_t value);

/* Makes room for length more bytes and returns where they go, or NULL; the caller then adds to len. */
char *sb_buf_reserve(sb_buf_t *buf, size_t length);

static inline sb_slice_t sb_buf_slice(const sb_buf_t *buf)
{
    sb_slice_t s = {buf->ptr ? buf->ptr : "", buf->len};
    return s;
}

/* The content as C text; never NULL. */
static inline const char *sb_buf_text(const sb_buf_t *buf)
{
    return buf->ptr ? buf->ptr : "";
}

#endif
