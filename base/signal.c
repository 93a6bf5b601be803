/* SPDX-License-Identifier: Apache-2.0 */
#include "base/signal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

sb_code_t sb_signal_init(sb_signal_t *signal, sb_error_t *err)
{
    signal->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    atomic_init(&signal->raised, false);
    if (signal->fd < 0)
        return sb_fail(err, SB_UNAVAILABLE, "eventfd: %s", strerror(errno));
    return SB_OK;
}

void sb_signal_fini(sb_signal_t *signal)
{
    if (signal->fd >= 0)
        (void)close(signal->fd);
    signal->fd = -1;
}

void sb_signal_raise(sb_signal_t *signal)
{
    if (!signal || atomic_exchange(&signal->raised, true))
        return;
    uint64_t one = 1;
    ssize_t ignored = write(signal->fd, &one, sizeof one); /* full = already raised */
    (void)ignored;
}

/* The descriptor first: a raise in between is then one too many, not one too few. What was done before a
 * raise that makes no call is seen after the exchange. */
void sb_signal_clear(sb_signal_t *signal)
{
    uint64_t count;
    ssize_t ignored = read(signal->fd, &count, sizeof count);
    (void)ignored;
    (void)atomic_exchange(&signal->raised, false);
}

/* NULL: as long as it takes. */
static bool wait_for(sb_signal_t *signal, const struct timespec *timeout)
{
    struct pollfd p = {.fd = signal->fd, .events = POLLIN};
    if (ppoll(&p, 1, timeout, NULL) <= 0)
        return false;
    sb_signal_clear(signal);
    return true;
}

bool sb_signal_wait_us(sb_signal_t *signal, int64_t timeout_us)
{
    struct timespec timeout = {timeout_us / 1000000, timeout_us % 1000000 * 1000};
    return wait_for(signal, &timeout);
}

bool sb_signal_wait(sb_signal_t *signal, int64_t timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000};
    return wait_for(signal, timeout_ms < 0 ? NULL : &timeout);
}
