/* SPDX-License-Identifier: Apache-2.0 */
#include "base/thread.h"

#include <stdio.h>

#define NAME_MAX_BYTES 15 /* of the kernel; longer ones are refused */

bool sb_thread_start(pthread_t *out, const char *name, void *(*run)(void *), void *context)
{
    char full[NAME_MAX_BYTES + 1];
    if (pthread_create(out, NULL, run, context) != 0)
        return false;
    (void)snprintf(full, sizeof full, "sb:%s", name);
    (void)pthread_setname_np(*out, full); /* it may have ended already */
    return true;
}
