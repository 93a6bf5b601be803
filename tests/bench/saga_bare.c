/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/saga_bare.h"

#include "tests/bench/bare.h"

#include <stdlib.h>

#define AT_ONCE_MAX 256

struct saga_bare {
    saga_world_t world;
    bare_t *bare;
};

/* ---- the script ---- */

static const char *const step[] = {"a", "b", "c"};
static const char *const action[][2] = {
    {"step_a.do", "step_a.undo"}, {"step_b.do", "step_b.undo"}, {"step_c.do", "step_c.undo"}};
static const bare_move_t all_well[] = {{0, false}, {1, false}, {2, false}};
static const bare_move_t refused[] = {{0, false}, {1, false}, {2, false}, {1, true}, {0, true}};

static void write_input(sb_buf_t *out, const bare_saga_t *saga)
{
    saga_input(out, saga->number);
}

static void write_body(sb_buf_t *out, bare_saga_t *saga, const bare_move_t *move, const char *id)
{
    (void)move;
    (void)id;
    saga_input(out, saga->number);
}

static const bare_script_t script = {.type = "three",
                                     .steps = SAGA_STEPS,
                                     .step = step,
                                     .participant = saga_participant,
                                     .action = action,
                                     .all_well = all_well,
                                     .all_well_moves = (int)(sizeof all_well / sizeof all_well[0]),
                                     .refused = refused,
                                     .refused_moves = (int)(sizeof refused / sizeof refused[0]),
                                     .refusal = "refused, as asked for",
                                     .is_refused = saga_is_refused,
                                     .input = write_input,
                                     .body = write_body};

/* ---- rounds ---- */

void saga_bare_load(saga_bare_t *bare, int at_once, double seconds, double *values)
{
    bare_load(bare->bare, at_once, seconds, values);
}

pid_t saga_bare_participants(const saga_bare_t *bare)
{
    return bare->world.participants.pid;
}

place_t *saga_bare_place(saga_bare_t *bare)
{
    return &bare->world.place;
}

saga_bare_t *saga_bare_open(const bench_env_t *env, const char *name, const char *mode, bool public_too)
{
    saga_bare_t *bare = calloc(1, sizeof *bare);
    if (!bare)
        bench_die("out of memory");
    saga_world_open(&bare->world, env, name, mode);
    bare->bare = bare_open(&script, &bare->world.place, AT_ONCE_MAX, public_too);
    saga_world_start_participants(&bare->world);
    return bare;
}

void saga_bare_close(saga_bare_t **bare)
{
    saga_bare_t *b = *bare;
    bare_close(&b->bare);
    saga_world_close(&b->world);
    free(b);
    *bare = NULL;
}
