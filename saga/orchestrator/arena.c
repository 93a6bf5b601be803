/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/orchestrator/arena.h"

#include <stdlib.h>

#define BLOCK_BYTES (64u << 10)
#define ALIGNMENT   16u

struct sb_arena_block {
    sb_arena_block_t *older;
    size_t cap;
    size_t used;
    _Alignas(ALIGNMENT) char bytes[];
};

static sb_arena_block_t *new_block(sb_arena_t *arena, size_t size)
{
    size_t cap =
        arena->block && arena->block->cap < SB_ARENA_KEEP_BYTES ? 2 * arena->block->cap : BLOCK_BYTES;
    if (cap < size)
        cap = size;
    sb_arena_block_t *block = malloc(sizeof *block + cap);
    if (!block)
        return NULL;
    block->cap = cap;
    block->used = 0;
    block->older = arena->block;
    arena->block = block;
    return block;
}

void *sb_arena_alloc(sb_arena_t *arena, size_t size)
{
    size = (size + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    sb_arena_block_t *block = arena->block;
    if (!block || block->cap - block->used < size)
        block = new_block(arena, size);
    if (!block)
        return NULL;
    void *memory = block->bytes + block->used;
    block->used += size;
    return memset(memory, 0, size);
}

sb_slice_t sb_arena_copy(sb_arena_t *arena, sb_slice_t bytes)
{
    if (!bytes.ptr)
        return SB_SLICE_NONE;
    char *copy = sb_arena_alloc(arena, bytes.len + 1);
    if (!copy)
        return SB_SLICE_NONE;
    memcpy(copy, bytes.ptr, bytes.len);
    return (sb_slice_t){copy, bytes.len};
}

/* Keeps the newest block that is not too large; with steady work that is one block, doubled until it holds
 * a whole turn. */
void sb_arena_reset(sb_arena_t *arena)
{
    sb_arena_block_t *keep = NULL;
    while (arena->block) {
        sb_arena_block_t *block = arena->block;
        arena->block = block->older;
        if (!keep && block->cap <= SB_ARENA_KEEP_BYTES)
            keep = block;
        else
            free(block);
    }
    if (keep) {
        keep->older = NULL;
        keep->used = 0;
    }
    arena->block = keep;
}

void sb_arena_fini(sb_arena_t *arena)
{
    while (arena->block) {
        sb_arena_block_t *older = arena->block->older;
        free(arena->block);
        arena->block = older;
    }
}
