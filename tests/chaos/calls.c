/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/calls.h"

#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

chaos_calls_t *chaos_calls_map(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    void *at = MAP_FAILED;
    if (fd >= 0 && ftruncate(fd, sizeof(chaos_calls_t)) == 0)
        at = mmap(NULL, sizeof(chaos_calls_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0)
        (void)close(fd);
    return at == MAP_FAILED ? NULL : at;
}

void chaos_calls_unmap(chaos_calls_t *calls)
{
    if (calls)
        (void)munmap(calls, sizeof *calls);
}
