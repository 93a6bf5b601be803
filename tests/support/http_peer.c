/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/http_peer.h"

#include "tests/support/assert.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHUNK 65536

struct sb_peer {
    int listener;
    int port;
    int stop_fd; /* readable from the stop on */
    sb_peer_fn play;
    void *context;
    pthread_t thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t ended;
    int threads;
    int requests, connections, in_hand, most_at_once;
};

typedef struct connection {
    sb_peer_t *peer;
    int fd;
    int number;
    sb_buf_t in;
} connection_t;

sb_slice_t sb_peer_header(const sb_peer_request_t *request, const char *name)
{
    size_t n = strlen(name);
    const char *end = request->head.ptr + request->head.len;
    for (const char *line = request->head.ptr; line < end;) {
        const char *stop = memchr(line, '\r', (size_t)(end - line));
        if (!stop)
            break;
        if ((size_t)(stop - line) > n && strncasecmp(line, name, n) == 0 && line[n] == ':') {
            const char *value = line + n + 1;
            while (value < stop && *value == ' ')
                value++;
            return (sb_slice_t){value, (size_t)(stop - value)};
        }
        line = stop + 2;
    }
    return SB_SLICE_NONE;
}

/* ---- a connection ---- */

/* False: the other side closed, or the peer stops. */
static bool more(connection_t *c)
{
    struct pollfd fd[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->peer->stop_fd, .events = POLLIN}};
    if (poll(fd, 2, -1) < 0 || fd[1].revents)
        return false;
    char *to = sb_buf_reserve(&c->in, CHUNK);
    ssize_t got = to ? recv(c->fd, to, CHUNK, 0) : -1;
    if (got <= 0)
        return false;
    c->in.len += (size_t)got;
    return true;
}

static bool read_request(connection_t *c, sb_peer_request_t *request, size_t *used)
{
    char *head_end = NULL;
    while (!(head_end = c->in.len ? memmem(c->in.ptr, c->in.len, "\r\n\r\n", 4) : NULL))
        if (!more(c))
            return false;
    size_t head_length = (size_t)(head_end - c->in.ptr) + 4;
    (void)sscanf(c->in.ptr, "%7s %255s", request->method, request->path);
    const char *lines = (const char *)memchr(c->in.ptr, '\n', head_length) + 1;
    request->head = (sb_slice_t){lines, head_length - 2 - (size_t)(lines - c->in.ptr)};
    sb_slice_t length = sb_peer_header(request, "Content-Length");
    size_t body_length = length.ptr ? strtoul(length.ptr, NULL, 10) : 0;
    while (c->in.len < head_length + body_length)
        if (!more(c))
            return false;
    lines = (const char *)memchr(c->in.ptr, '\n', head_length) + 1; /* the buffer may have moved */
    request->head.ptr = lines;
    request->body = (sb_slice_t){c->in.ptr + head_length, body_length};
    *used = head_length + body_length;
    return true;
}

static bool pause_for(connection_t *c, int ms)
{
    struct pollfd fd = {.fd = c->peer->stop_fd, .events = POLLIN};
    return ms == 0 || poll(&fd, 1, ms) == 0;
}

static bool write_all(int fd, sb_slice_t bytes)
{
    while (bytes.len > 0) {
        ssize_t put = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        bytes.ptr += put;
        bytes.len -= (size_t)put;
    }
    return true;
}

/* False: the connection ends. */
static bool answer(connection_t *c, sb_peer_answer_t *answer)
{
    if (!pause_for(c, answer->delay_ms) || answer->how == SB_PEER_HANG_UP)
        return false;
    if (answer->how == SB_PEER_SILENT)
        return pause_for(c, -1);
    sb_buf_t out = SB_BUF_INIT;
    int status = answer->status ? answer->status : 200;
    sb_buf_printf(&out, "HTTP/1.1 %d X\r\n%s", status, answer->headers);
    if (status != 204)
        sb_buf_printf(&out, "Content-Length: %zu\r\n", answer->body.len);
    sb_buf_add_text(&out, "\r\n");
    sb_slice_t body = sb_buf_slice(&answer->body);
    if (answer->how == SB_PEER_HALF)
        body.len /= 2;
    sb_buf_add_slice(&out, body);
    bool sent = write_all(c->fd, sb_buf_slice(&out));
    sb_buf_fini(&out);
    return sent && answer->how == SB_PEER_ANSWER && !answer->close;
}

static bool serve_one(connection_t *c)
{
    sb_peer_t *peer = c->peer;
    sb_peer_request_t request = {.connection = c->number};
    sb_peer_answer_t reply = {.how = SB_PEER_ANSWER};
    size_t used = 0;
    if (!read_request(c, &request, &used))
        return false;
    (void)pthread_mutex_lock(&peer->lock);
    request.number = ++peer->requests;
    if (++peer->in_hand > peer->most_at_once)
        peer->most_at_once = peer->in_hand;
    (void)pthread_mutex_unlock(&peer->lock);
    peer->play(peer->context, &request, &reply);
    bool go_on = answer(c, &reply);
    (void)pthread_mutex_lock(&peer->lock);
    peer->in_hand--;
    (void)pthread_mutex_unlock(&peer->lock);
    sb_buf_fini(&reply.body);
    memmove(c->in.ptr, c->in.ptr + used, c->in.len - used);
    c->in.len -= used;
    return go_on;
}

static void *serve(void *context)
{
    connection_t *c = context;
    sb_peer_t *peer = c->peer;
    while (serve_one(c))
        ;
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    struct pollfd stop = {.fd = peer->stop_fd, .events = POLLIN};
    if (poll(&stop, 1, 0) > 0) /* as a killed server's kernel does */
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    (void)close(c->fd);
    sb_buf_fini(&c->in);
    free(c);
    (void)pthread_mutex_lock(&peer->lock);
    peer->threads--;
    (void)pthread_cond_signal(&peer->ended);
    (void)pthread_mutex_unlock(&peer->lock);
    return NULL;
}

/* ---- the peer ---- */

static void take(sb_peer_t *peer, int fd)
{
    int on = 1;
    pthread_t thread;
    connection_t *c = calloc(1, sizeof *c);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)pthread_mutex_lock(&peer->lock);
    if (c)
        *c = (connection_t){.peer = peer, .fd = fd, .number = ++peer->connections};
    peer->threads++;
    (void)pthread_mutex_unlock(&peer->lock);
    if (c && pthread_create(&thread, NULL, serve, c) == 0) {
        (void)pthread_detach(thread);
        return;
    }
    (void)close(fd);
    free(c);
    (void)pthread_mutex_lock(&peer->lock);
    peer->threads--;
    (void)pthread_mutex_unlock(&peer->lock);
}

static void *listen_on(void *context)
{
    sb_peer_t *peer = context;
    struct pollfd fd[2] = {{.fd = peer->listener, .events = POLLIN}, {.fd = peer->stop_fd, .events = POLLIN}};
    while (poll(fd, 2, -1) > 0 && !fd[1].revents) {
        int one = accept4(peer->listener, NULL, NULL, SOCK_CLOEXEC);
        if (one >= 0)
            take(peer, one);
    }
    return NULL;
}

sb_peer_t *sb_peer_start(int port, sb_peer_fn play, void *context)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    socklen_t length = sizeof address;
    int on = 1;
    sb_peer_t *peer = calloc(1, sizeof *peer);
    assert_non_null(peer);
    peer->play = play;
    peer->context = context;
    peer->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    peer->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)setsockopt(peer->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(peer->listener, (struct sockaddr *)&address, length) != 0 || listen(peer->listener, 512) != 0 ||
        getsockname(peer->listener, (struct sockaddr *)&address, &length) != 0)
        fail_msg("peer: listen: %s", strerror(errno));
    peer->port = ntohs(address.sin_port);
    (void)pthread_mutex_init(&peer->lock, NULL);
    (void)pthread_cond_init(&peer->ended, NULL);
    assert_int_equal(pthread_create(&peer->thread, NULL, listen_on, peer), 0);
    return peer;
}

static void wait_for_threads(sb_peer_t *peer)
{
    (void)pthread_join(peer->thread, NULL);
    (void)pthread_mutex_lock(&peer->lock);
    while (peer->threads > 0)
        (void)pthread_cond_wait(&peer->ended, &peer->lock);
    (void)pthread_mutex_unlock(&peer->lock);
}

void sb_peer_stop(sb_peer_t **peer)
{
    if (!*peer)
        return;
    (void)eventfd_write((*peer)->stop_fd, 1);
    wait_for_threads(*peer);
    (void)close((*peer)->listener);
    (void)close((*peer)->stop_fd);
    (void)pthread_mutex_destroy(&(*peer)->lock);
    (void)pthread_cond_destroy(&(*peer)->ended);
    free(*peer);
    *peer = NULL;
}

int sb_peer_port(const sb_peer_t *peer)
{
    return peer->port;
}

static int read_count(sb_peer_t *peer, const int *count)
{
    (void)pthread_mutex_lock(&peer->lock);
    int value = *count;
    (void)pthread_mutex_unlock(&peer->lock);
    return value;
}

int sb_peer_requests(sb_peer_t *peer)
{
    return read_count(peer, &peer->requests);
}

int sb_peer_connections(sb_peer_t *peer)
{
    return read_count(peer, &peer->connections);
}

int sb_peer_most_at_once(sb_peer_t *peer)
{
    return read_count(peer, &peer->most_at_once);
}
