/* One thread and poll(). What comes from the client is kept until a message is whole, then judged and put
 * into the buffer for the server; what comes from the server is split into messages only to know when an
 * answer is over and whether a transaction is open. No buffer is bounded but by what a test sends.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/support/proxy.h"

#include "base/signal.h"
#include "tests/support/assert.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 128
#define CHUNK           65536
#define TEXT_MAX        128

/* Requests in place of a startup message that the server would answer with one byte. */
#define REQUEST_SSL    80877103u
#define REQUEST_GSS    80877104u
#define REQUEST_CANCEL 80877102u

typedef struct side {
    int fd;       /* -1: none */
    sb_buf_t in;  /* read from it, not judged yet */
    sb_buf_t out; /* to be written to it */
    bool ended;   /* it has closed its side */
} side_t;

typedef struct connection {
    side_t client, server;
    bool started;        /* the startup message has gone by */
    bool in_transaction; /* as the server said last */
    bool executed;       /* statements were executed since the last Sync */
    bool silent;         /* nothing passes any more */
    bool cut_answered;   /* cut when the answer under way is over */
    bool reset;
    int64_t hold_until; /* nothing from the client is judged before */
} connection_t;

struct sb_test_proxy {
    pthread_t thread;
    sb_signal_t signal;
    int listener;
    int port;
    struct sockaddr_un server;
    pthread_mutex_t lock; /* of all below but the connections, which are the thread's */
    pthread_cond_t obeyed_changed;
    bool stop, cut, stall, refuse;
    unsigned ordered, obeyed; /* orders given, and in force */
    bool has_rule;
    sb_proxy_rule_t rule;
    char containing[TEXT_MAX];
    int seen;  /* messages that matched the rule in force */
    int acted; /* of the rule in force */
    int hits;
    connection_t *connections[CONNECTIONS_MAX];
};

/* ---- sockets ---- */

static int listen_anywhere(int *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        fail_msg("proxy: listen: %s", strerror(errno));
    *port = ntohs(address.sin_port);
    return fd;
}

/* A server that is away refuses at once. */
static int connect_to(const struct sockaddr_un *server)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)server, sizeof *server) != 0) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static void close_side(side_t *side, bool reset)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    if (side->fd >= 0 && reset)
        (void)setsockopt(side->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    if (side->fd >= 0)
        (void)close(side->fd);
    side->fd = -1;
    sb_buf_fini(&side->in);
    sb_buf_fini(&side->out);
}

/* The server's side always ends in order: a reset would make it forget what it has not read yet. */
static void drop_connection(connection_t **connection, bool reset)
{
    close_side(&(*connection)->client, reset);
    close_side(&(*connection)->server, false);
    free(*connection);
    *connection = NULL;
}

static void accept_one(sb_test_proxy_t *proxy, bool refuse)
{
    int on = 1;
    int fd = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
    int slot = 0;
    if (fd < 0)
        return;
    while (slot < CONNECTIONS_MAX && proxy->connections[slot])
        slot++;
    int server = refuse || slot == CONNECTIONS_MAX ? -1 : connect_to(&proxy->server);
    connection_t *connection = server < 0 ? NULL : calloc(1, sizeof *connection);
    if (!connection) {
        (void)close(fd);
        if (server >= 0)
            (void)close(server);
        return;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connection->client.fd = fd;
    connection->server.fd = server;
    proxy->connections[slot] = connection;
}

/* Reads what there is. */
static void fill(side_t *side)
{
    char *to = sb_buf_reserve(&side->in, CHUNK);
    ssize_t got = to ? recv(side->fd, to, CHUNK, MSG_DONTWAIT) : -1;
    if (got > 0)
        side->in.len += (size_t)got;
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        side->ended = true;
}

static void take_off(sb_buf_t *buf, size_t count)
{
    memmove(buf->ptr, buf->ptr + count, buf->len - count);
    buf->len -= count;
}

/* Writes what goes without waiting. */
static void drain(side_t *side)
{
    size_t done = 0;
    while (done < side->out.len) {
        ssize_t put = send(side->fd, side->out.ptr + done, side->out.len - done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put <= 0) {
            side->ended |= put < 0 && errno != EAGAIN && errno != EINTR;
            break;
        }
        done += (size_t)put;
    }
    if (done)
        take_off(&side->out, done);
}

/* Before a cut: what was to reach the server does. */
static void drain_whole(side_t *side)
{
    struct pollfd one = {.fd = side->fd, .events = POLLOUT};
    for (int turn = 0; turn < 1000 && side->out.len && !side->ended; turn++) {
        drain(side);
        if (side->out.len)
            (void)poll(&one, 1, 10);
    }
}

/* ---- messages ---- */

static uint32_t read_be32(const char *at)
{
    const unsigned char *byte = (const unsigned char *)at;
    return (uint32_t)byte[0] << 24 | (uint32_t)byte[1] << 16 | (uint32_t)byte[2] << 8 | byte[3];
}

/* The length of the first message of buf with its type byte, 0 while it is not whole. */
static size_t whole_message(const sb_buf_t *buf)
{
    if (buf->len < 5)
        return 0;
    size_t length = 1 + (size_t)read_be32(buf->ptr + 1);
    return length <= buf->len ? length : 0;
}

static bool has_word(sb_slice_t text, const char *word)
{
    size_t n = strlen(word);
    return text.len >= n && strncasecmp(text.ptr, word, n) == 0;
}

static bool ends_transaction(const connection_t *connection, char type, sb_slice_t body)
{
    if (type == 'S')
        return !connection->in_transaction && connection->executed;
    if (type != 'Q')
        return false;
    if (connection->in_transaction)
        return has_word(body, "COMMIT") || has_word(body, "END");
    return !has_word(body, "BEGIN") && !has_word(body, "START") && !has_word(body, "SET") &&
           !has_word(body, "SHOW");
}

/* Whether the rule in force acts on this message; counts it. */
static bool rule_acts(sb_test_proxy_t *proxy, const connection_t *connection, char type, sb_slice_t body,
                      sb_proxy_rule_t *rule)
{
    bool acts = false;
    (void)pthread_mutex_lock(&proxy->lock);
    *rule = proxy->rule;
    if (proxy->has_rule && !connection->cut_answered) {
        bool matches = rule->at == SB_PROXY_COMMIT ? ends_transaction(connection, type, body)
                                                   : rule->type == 0 || rule->type == type;
        if (matches && proxy->containing[0])
            matches = memmem(body.ptr, body.len, proxy->containing, strlen(proxy->containing)) != NULL;
        if (matches && proxy->seen++ >= rule->skip && proxy->acted < (rule->times ? rule->times : 1)) {
            acts = true;
            proxy->acted++;
            proxy->hits++;
        }
    }
    (void)pthread_mutex_unlock(&proxy->lock);
    return acts;
}

static void pass(connection_t *connection, size_t length)
{
    sb_buf_add(&connection->server.out, connection->client.in.ptr, length);
    take_off(&connection->client.in, length);
}

/* False: the connection is to be dropped. */
static bool judge(sb_test_proxy_t *proxy, connection_t *connection, size_t length)
{
    char type = connection->client.in.ptr[0];
    sb_slice_t body = {connection->client.in.ptr + 5, length - 5};
    sb_proxy_rule_t rule;
    bool acts = rule_acts(proxy, connection, type, body, &rule);
    if (type == 'E')
        connection->executed = true;
    if (type == 'S')
        connection->executed = false;
    connection->reset = acts && rule.reset;
    if (!acts) {
        pass(connection, length);
        return true;
    }
    switch (rule.act) {
    case SB_PROXY_CUT_BEFORE:
        return false;
    case SB_PROXY_CUT_AFTER:
        pass(connection, length);
        drain_whole(&connection->server);
        return false;
    case SB_PROXY_CUT_ANSWERED:
        pass(connection, length);
        connection->cut_answered = true;
        return true;
    case SB_PROXY_DELAY:
        connection->hold_until = sb_test_mono_ms() + rule.delay_ms;
        return true;
    case SB_PROXY_DROP:
    default:
        connection->silent = true;
        return true;
    }
}

/* The startup message has no type; requests for encryption are refused here, as the server does. */
static bool start(connection_t *connection)
{
    sb_buf_t *in = &connection->client.in;
    if (in->len < 8)
        return false;
    size_t length = read_be32(in->ptr);
    uint32_t code = read_be32(in->ptr + 4);
    if (in->len < length)
        return false;
    if (code == REQUEST_SSL || code == REQUEST_GSS) {
        take_off(in, length);
        sb_buf_add_char(&connection->client.out, 'N');
        return true;
    }
    connection->started = code != REQUEST_CANCEL;
    pass(connection, length);
    return true;
}

static bool from_client(sb_test_proxy_t *proxy, connection_t *connection)
{
    while (!connection->silent && sb_test_mono_ms() >= connection->hold_until) {
        if (!connection->started) {
            if (!start(connection))
                return true;
            continue;
        }
        size_t length = whole_message(&connection->client.in);
        if (length == 0)
            return true;
        if (connection->hold_until) { /* the one that was held back is not judged again */
            connection->hold_until = 0;
            pass(connection, length);
        } else if (!judge(proxy, connection, length)) {
            return false;
        }
    }
    return true;
}

/* False: the answer that was to be kept back is over. */
static bool from_server(connection_t *connection)
{
    size_t length;
    while (!connection->silent && (length = whole_message(&connection->server.in)) > 0) {
        sb_buf_t *in = &connection->server.in;
        bool ready = in->ptr[0] == 'Z';
        if (ready)
            connection->in_transaction = in->ptr[5] != 'I';
        if (!connection->cut_answered)
            sb_buf_add(&connection->client.out, in->ptr, length);
        take_off(in, length);
        if (ready && connection->cut_answered)
            return false;
    }
    return true;
}

/* ---- the thread ---- */

typedef struct orders {
    bool stop, cut, stall, refuse;
    unsigned number;
} orders_t;

static orders_t read_orders(sb_test_proxy_t *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    orders_t orders = {proxy->stop, proxy->cut, proxy->stall, proxy->refuse, proxy->ordered};
    proxy->cut = false;
    (void)pthread_mutex_unlock(&proxy->lock);
    return orders;
}

static void obeyed(sb_test_proxy_t *proxy, const orders_t *orders)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->obeyed = orders->number;
    (void)pthread_cond_broadcast(&proxy->obeyed_changed);
    (void)pthread_mutex_unlock(&proxy->lock);
}

static bool serve(sb_test_proxy_t *proxy, connection_t *connection, short client, short server)
{
    if (client & (POLLIN | POLLHUP | POLLERR))
        fill(&connection->client);
    if (server & (POLLIN | POLLHUP | POLLERR))
        fill(&connection->server);
    if (!from_client(proxy, connection) || !from_server(connection))
        return false;
    drain(&connection->server);
    drain(&connection->client);
    if (connection->silent) /* the server does not hear that the client has gone */
        return !connection->server.ended;
    return !connection->client.ended && !(connection->server.ended && connection->client.out.len == 0);
}

/* poll() passes over a negative descriptor; one that has ended would wake it again and again. */
static struct pollfd watch(const side_t *side, bool quiet)
{
    return (struct pollfd){.fd = quiet || side->ended ? -1 : side->fd,
                           .events = (short)(POLLIN | (side->out.len ? POLLOUT : 0))};
}

static void turn(sb_test_proxy_t *proxy, const orders_t *orders)
{
    struct pollfd fds[2 + 2 * CONNECTIONS_MAX];
    int slot_of[CONNECTIONS_MAX];
    nfds_t count = 2;
    int timeout_ms = -1;
    fds[0] = (struct pollfd){.fd = proxy->signal.fd, .events = POLLIN};
    fds[1] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
    for (int i = 0; i < CONNECTIONS_MAX; i++) {
        connection_t *connection = proxy->connections[i];
        if (!connection)
            continue;
        slot_of[(count - 2) / 2] = i;
        /* a held message waits; what comes after it may be read, what goes back may pass */
        if (connection->hold_until)
            timeout_ms = 5;
        fds[count++] = watch(&connection->client, orders->stall);
        fds[count++] = watch(&connection->server, orders->stall);
    }
    if (poll(fds, count, timeout_ms) < 0)
        return;
    for (nfds_t i = 2; !orders->stall && i < count; i += 2) {
        connection_t **connection = &proxy->connections[slot_of[(i - 2) / 2]];
        if (!serve(proxy, *connection, fds[i].revents, fds[i + 1].revents))
            drop_connection(connection, (*connection)->reset);
    }
    if (fds[1].revents & POLLIN)
        accept_one(proxy, orders->refuse);
    if (fds[0].revents & POLLIN)
        sb_signal_clear(&proxy->signal);
}

static void *run(void *context)
{
    sb_test_proxy_t *proxy = context;
    for (;;) {
        orders_t orders = read_orders(proxy);
        for (int i = 0; (orders.cut || orders.stop) && i < CONNECTIONS_MAX; i++)
            if (proxy->connections[i])
                drop_connection(&proxy->connections[i], false);
        obeyed(proxy, &orders);
        if (orders.stop)
            return NULL;
        turn(proxy, &orders);
    }
}

/* ---- the test's side ---- */

void sb_test_proxy_open(sb_test_proxy_t **out)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_test_proxy_t *proxy = calloc(1, sizeof *proxy);
    assert_non_null(proxy);
    sb_test_pg_socket(&proxy->server);
    proxy->listener = listen_anywhere(&proxy->port);
    assert_ok(sb_signal_init(&proxy->signal, &err), &err);
    assert_int_equal(pthread_mutex_init(&proxy->lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&proxy->obeyed_changed, NULL), 0);
    assert_int_equal(pthread_create(&proxy->thread, NULL, run, proxy), 0);
    *out = proxy;
}

/* Returns when the order is in force: nothing passes any more that came under the one before. */
static void order(sb_test_proxy_t *proxy, bool *which, bool value)
{
    (void)pthread_mutex_lock(&proxy->lock);
    *which = value;
    unsigned number = ++proxy->ordered;
    sb_signal_raise(&proxy->signal);
    while (proxy->obeyed < number)
        (void)pthread_cond_wait(&proxy->obeyed_changed, &proxy->lock);
    (void)pthread_mutex_unlock(&proxy->lock);
}

void sb_test_proxy_close(sb_test_proxy_t **proxy)
{
    sb_test_proxy_t *p = *proxy;
    if (!p)
        return;
    order(p, &p->stop, true);
    (void)pthread_join(p->thread, NULL);
    (void)close(p->listener);
    sb_signal_fini(&p->signal);
    (void)pthread_cond_destroy(&p->obeyed_changed);
    (void)pthread_mutex_destroy(&p->lock);
    free(p);
    *proxy = NULL;
}

char *sb_test_proxy_uri(const sb_test_proxy_t *proxy, const char *database_uri, char uri[SB_TEST_URI])
{
    /* of two settings of one name libpq takes the last */
    int length =
        snprintf(uri, SB_TEST_URI, "%s host=127.0.0.1 port=%d gssencmode=disable", database_uri, proxy->port);
    assert_in_range(length, 1, SB_TEST_URI - 1);
    return uri;
}

void sb_test_proxy_rule(sb_test_proxy_t *proxy, const sb_proxy_rule_t *rule)
{
    (void)pthread_mutex_lock(&proxy->lock);
    proxy->has_rule = rule != NULL;
    proxy->rule = rule ? *rule : (sb_proxy_rule_t){.times = 0};
    proxy->rule.containing = NULL;
    (void)snprintf(proxy->containing, sizeof proxy->containing, "%s",
                   rule && rule->containing ? rule->containing : "");
    proxy->seen = 0;
    proxy->acted = 0;
    (void)pthread_mutex_unlock(&proxy->lock);
}

int sb_test_proxy_hits(sb_test_proxy_t *proxy)
{
    (void)pthread_mutex_lock(&proxy->lock);
    int hits = proxy->hits;
    (void)pthread_mutex_unlock(&proxy->lock);
    return hits;
}

void sb_test_proxy_cut(sb_test_proxy_t *proxy)
{
    order(proxy, &proxy->cut, true);
}

void sb_test_proxy_stall(sb_test_proxy_t *proxy, bool stall)
{
    order(proxy, &proxy->stall, stall);
}

void sb_test_proxy_refuse(sb_test_proxy_t *proxy, bool refuse)
{
    order(proxy, &proxy->refuse, refuse);
}
