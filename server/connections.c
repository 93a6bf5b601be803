/* SPDX-License-Identifier: Apache-2.0 */
#include "server/connections.h"

#include "base/clock.h"
#include "base/log.h"

#include <dirent.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define OTHER_FILES 512   /* databases, brokers, participants, timers */
#define FULL_FOR_US 50000 /* so that a crowd at the door does not have us count all the time */

/* ---- counting ---- */

static bool is_client(int fd, int port)
{
    struct sockaddr_in6 address = {0}; /* its port lies where that of sockaddr_in does */
    socklen_t length = sizeof address;
    int listens = 0;
    socklen_t size = sizeof listens;
    if (getsockname(fd, (struct sockaddr *)&address, &length) != 0 ||
        (address.sin6_family != AF_INET && address.sin6_family != AF_INET6) ||
        ntohs(address.sin6_port) != port)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0 && !listens;
}

int sb_connections_count(const sb_connections_t *connections)
{
    DIR *open_files = opendir("/proc/self/fd");
    int count = 0;
    if (!open_files)
        return 0;
    for (const struct dirent *entry; (entry = readdir(open_files)) != NULL;)
        count += entry->d_name[0] != '.' && is_client(atoi(entry->d_name), connections->port);
    (void)closedir(open_files);
    return count;
}

/* The one that is just coming is counted, too. */
static bool is_full(sb_connections_t *c)
{
    if (c->port == 0 || --c->room > 0)
        return false;
    int64_t now = sb_mono_us();
    if (now < c->full_until)
        return true;
    int count = sb_connections_count(c);
    c->room = c->max - count + 1;
    if (count <= c->max)
        return false;
    c->full_until = now + FULL_FOR_US;
    return true;
}

/* ---- refusing ---- */

/* evhttp reads the end and closes it. */
static void hang_up(evutil_socket_t ignored, short events, void *context)
{
    (void)ignored;
    (void)events;
    struct bufferevent *client = context;
    if (bufferevent_getfd(client) >= 0)
        (void)shutdown(bufferevent_getfd(client), SHUT_RDWR);
    (void)bufferevent_decref(client);
}

#define BODY                                                                                                 \
    "{\"type\":\"https://sagabus.dev/problems/busy\",\"title\":\"busy\",\"status\":503,\"code\":\"busy\","   \
    "\"detail\":\"too many connections are open (http.connections_max)\"}\n"

static void tell_and_hang_up(evutil_socket_t ignored, short events, void *context)
{
    char answer[512];
    int length = snprintf(answer, sizeof answer,
                          "HTTP/1.1 503 Problem\r\nContent-Type: application/problem+json\r\nRetry-After: "
                          "1\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                          sizeof BODY - 1, BODY);
    (void)send(bufferevent_getfd(context), answer, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL);
    hang_up(ignored, events, context);
}

/* The descriptor is put in after this returns, and before the loop calls anything else. */
static struct bufferevent *make_client(struct event_base *base, void *context)
{
    sb_connections_t *c = context;
    bool full = is_full(c);
    struct bufferevent *client = c->make ? c->make(base, c->make_context)
                                 : full  ? bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE)
                                         : NULL;
    if (!full)
        return client;
    atomic_fetch_add(&c->refused, 1);
    if (client) {
        bufferevent_incref(client);
        if (event_base_once(base, -1, EV_TIMEOUT, c->make ? hang_up : tell_and_hang_up, client, NULL) != 0)
            (void)bufferevent_decref(client);
    }
    return client;
}

/* ---- opening ---- */

/* Where the process may not have as many files, accept() itself would fail, again and again. */
static int allow_files(int connections)
{
    struct rlimit files;
    rlim_t wanted = (rlim_t)connections + OTHER_FILES;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur == RLIM_INFINITY || files.rlim_cur >= wanted)
        return connections;
    files.rlim_cur = files.rlim_max == RLIM_INFINITY || files.rlim_max >= wanted ? wanted : files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur >= wanted)
        return connections;
    int fits = files.rlim_cur > 2 * OTHER_FILES ? (int)files.rlim_cur - OTHER_FILES : (int)files.rlim_cur / 2;
    sb_log(SB_LOG_WARN, "HTTP-FILES",
           "fewer connections than http.connections_max: the process may not have as many open files "
           "(ulimit -Hn)|files=%lld connections=%d",
           (long long)files.rlim_cur, fits);
    return fits;
}

sb_code_t sb_connections_open(sb_connections_t *connections, struct evhttp *server, const sb_config_t *config,
                              sb_error_t *err)
{
    int64_t max = 0;
    sb_code_t code = sb_config_get_int(config, "http.connections_max", 1, 1000000, &max, err);
    if (code != SB_OK)
        return code;
    connections->max = allow_files((int)max);
    connections->room = connections->max;
    evhttp_set_bevcb(server, make_client, connections);
    return SB_OK;
}
