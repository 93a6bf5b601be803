/* A port that the system chose, and that was let go for the server that is to have it, may be given to
 * another before that has started: rarely, but there are many starts in a run. So it is one that the system
 * does not give out by itself, and a socket without a file holds its number among the tests of this machine.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/port.h"

#include "tests/support/assert.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LOWEST  10000 /* ./dev takes its own above 20000, the system from 32768 on */
#define HIGHEST 19999
#define TRIES   2000

/* Until the process ends. False: another test has it. */
static bool claim(int port)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX}; /* an abstract one: its first byte is 0 */
    int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "sagabus-test-port-%d", port);
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    if (bind(fd, (struct sockaddr *)&name,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) == 0)
        return true;
    (void)close(fd);
    return false;
}

static bool is_free(int port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool got = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        (void)close(fd);
    return got;
}

int sb_test_port(void)
{
    for (int i = 0; i < TRIES; i++) {
        uint32_t random = 0;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            break;
        int port = LOWEST + (int)(random % (HIGHEST - LOWEST + 1));
        if (is_free(port) && claim(port))
            return port;
    }
    fail_msg("no port is free");
    return 0;
}
