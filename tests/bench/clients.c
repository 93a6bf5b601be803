/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/clients.h"

#include "base/clock.h"
#include "tests/bench/bench.h"
#include "tests/bench/latency.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define QUIET_MS 35000 /* nothing at all for so long: something hangs */

#define EVENTS_MAX 64

typedef struct client {
    int fd;
    int64_t number; /* of the request that waits for its answer; -1: none */
    int64_t from_us;
    sb_buf_t in;
} client_t;

typedef struct crowd {
    const clients_config_t *config;
    int epoll;
    client_t client[CLIENTS_MAX];
    struct sockaddr_in address;
    sb_buf_t body, request;
    int64_t next;
    int64_t until_us;
    int open;
    latency_t latency;
} crowd_t;

static void parse_url(crowd_t *crowd)
{
    char host[64];
    int port = 0;
    if (sscanf(crowd->config->url, "http://%63[0-9.]:%d", host, &port) != 2)
        bench_die("%s is not an address of this machine", crowd->config->url);
    crowd->address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &crowd->address.sin_addr) != 1)
        bench_die("%s is not an address of this machine", crowd->config->url);
}

static void connect_one(crowd_t *crowd, int index)
{
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&crowd->address, sizeof crowd->address) != 0)
        bench_die("connect to %s: %s", crowd->config->url, strerror(errno));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    struct epoll_event wanted = {.events = EPOLLIN, .data = {.u32 = (uint32_t)index}};
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
        bench_die("epoll_ctl: %s", strerror(errno));
    crowd->client[index] = (client_t){.fd = fd, .number = -1, .in = SB_BUF_INIT};
}

static void send_next(crowd_t *crowd, int index)
{
    client_t *client = &crowd->client[index];
    client->number = crowd->next++;
    sb_buf_reset(&crowd->body);
    sb_buf_reset(&crowd->request);
    crowd->config->write_body(crowd->config->context, client->number, &crowd->body);
    sb_buf_printf(&crowd->request,
                  "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                  "Content-Length: %zu\r\n\r\n",
                  crowd->config->path, crowd->body.len);
    sb_buf_add_slice(&crowd->request, sb_buf_slice(&crowd->body));
    client->from_us = sb_mono_us();
    /* A request is far smaller than a socket's buffer, which is empty now. */
    ssize_t sent = send(client->fd, crowd->request.ptr, crowd->request.len, MSG_NOSIGNAL);
    if (sent != (ssize_t)crowd->request.len)
        bench_die("send a request: %s", sent < 0 ? strerror(errno) : "only a part was taken");
    crowd->open++;
}

/* The length of head and body; 0 while they are not all there. */
static size_t whole_answer(const sb_buf_t *in, size_t *head, int *status)
{
    const char *end = strstr(sb_buf_text(in), "\r\n\r\n");
    if (!end)
        return 0;
    *head = (size_t)(end + 4 - in->ptr);
    const char *length = strcasestr(in->ptr, "\r\ncontent-length:");
    if (sscanf(in->ptr, "HTTP/1.1 %d", status) != 1 || !length || length > end)
        bench_die("not an answer with a length: %.200s", in->ptr);
    size_t all = *head + strtoul(length + 17, NULL, 10);
    return in->len >= all ? all : 0;
}

static void take_answer(crowd_t *crowd, int index)
{
    client_t *client = &crowd->client[index];
    size_t head = 0;
    int status = 0;
    size_t all = whole_answer(&client->in, &head, &status);
    if (all == 0)
        return;
    int64_t now_us = sb_mono_us();
    sb_slice_t body = {client->in.ptr + head, all - head};
    crowd->config->check(crowd->config->context, client->number, status, body);
    if (now_us <= crowd->until_us)
        latency_add(&crowd->latency, now_us - client->from_us);
    sb_buf_reset(&client->in);
    crowd->open--;
    if (now_us < crowd->until_us)
        send_next(crowd, index);
}

static void receive(crowd_t *crowd, int index)
{
    char *room = sb_buf_reserve(&crowd->client[index].in, 4096);
    ssize_t got = room ? recv(crowd->client[index].fd, room, 4096, 0) : -1;
    if (got <= 0)
        bench_die("the server closed a connection that waits: %s", got < 0 ? strerror(errno) : "end");
    crowd->client[index].in.len += (size_t)got;
    crowd->client[index].in.ptr[crowd->client[index].in.len] = '\0';
    take_answer(crowd, index);
}

static void close_all(crowd_t *crowd)
{
    for (int i = 0; i < crowd->config->clients; i++) {
        (void)close(crowd->client[i].fd);
        sb_buf_fini(&crowd->client[i].in);
    }
    (void)close(crowd->epoll);
    sb_buf_fini(&crowd->body);
    sb_buf_fini(&crowd->request);
    latency_fini(&crowd->latency);
}

void clients_run(const clients_config_t *config, clients_result_t *out)
{
    static crowd_t crowd;
    crowd = (crowd_t){.config = config};
    parse_url(&crowd);
    crowd.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (crowd.epoll < 0)
        bench_die("epoll_create1: %s", strerror(errno));
    for (int i = 0; i < config->clients; i++)
        connect_one(&crowd, i);
    crowd.until_us = sb_mono_us() + (int64_t)(config->seconds * 1e6);
    for (int i = 0; i < config->clients; i++)
        send_next(&crowd, i);
    while (crowd.open > 0) {
        struct epoll_event event[EVENTS_MAX];
        int count = epoll_wait(crowd.epoll, event, EVENTS_MAX, QUIET_MS);
        if (count == 0)
            bench_die("%d requests were not answered within %d ms", crowd.open, QUIET_MS);
        for (int i = 0; i < count; i++)
            receive(&crowd, (int)event[i].data.u32);
    }
    out->rate = (double)crowd.latency.count / config->seconds;
    out->p50_ms = latency_percentile_ms(&crowd.latency, 50);
    out->p99_ms = latency_percentile_ms(&crowd.latency, 99);
    close_all(&crowd);
}
