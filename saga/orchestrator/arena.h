/* arena - memory that is given back all at once: what one turn of the orchestrator copies and renders.
 *
 * Blocks are kept for the next turn up to SB_ARENA_KEEP_BYTES, so that a quiet instance does not hold the
 * memory of its busiest turn.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_SAGA_ARENA_H
#define SB_SAGA_ARENA_H

#include "sagabus/slice.h"

#include <stdint.h>

#define SB_ARENA_KEEP_BYTES (4u << 20)

typedef struct sb_arena_block sb_arena_block_t;

typedef struct sb_arena {
    sb_arena_block_t *block; /* the one being filled; older ones hang behind it */
} sb_arena_t;

#define SB_ARENA_INIT                                                                                        \
    {                                                                                                        \
        NULL                                                                                                 \
    }

/* Zeroed memory, aligned for any type; NULL when there is none. */
void *sb_arena_alloc(sb_arena_t *arena, size_t size);

/* A copy of the bytes; absent stays absent. SB_SLICE_NONE when there is no memory. */
sb_slice_t sb_arena_copy(sb_arena_t *arena, sb_slice_t bytes);

void sb_arena_reset(sb_arena_t *arena);
void sb_arena_fini(sb_arena_t *arena);

#endif
