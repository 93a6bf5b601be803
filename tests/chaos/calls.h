/* calls - what a service over HTTP counts of its calls, in a file that both it and the test have mapped: it
 * outlives the service's SIGKILL.
 *
 * Thread: any.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_CHAOS_CALLS_H
#define SB_TESTS_CHAOS_CALLS_H

#include <stdatomic.h>

typedef struct chaos_calls {
    atomic_int taken; /* calls whose request had come */
    atomic_int
        answered; /* … and whose answer was given out; the rest were cut in the middle, or are in hand */
    atomic_int refused; /* of the answered: not taken, "come again" */
    atomic_int known;   /* of the answered: by the barrier alone, the command had been here */
} chaos_calls_t;

/* NULL: it cannot be had. */
chaos_calls_t *chaos_calls_map(const char *path);
void chaos_calls_unmap(chaos_calls_t *calls); /* NULL is fine */

#endif
