/* sagabus-devbroker - a Kafka to try things with: librdkafka's mock cluster in a process of its own.
 *
 * It is a helper process because the mock aborts on what it does not expect, and because several members must
 * reach one broker. It keeps everything in memory and is another cluster, at another port, at every start.
 *
 * Thread: main waits for signals and standard input; the mock serves its clients from its own thread.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define EXIT_USAGE           2
#define TOPIC_PARTITIONS_MAX 1000

typedef struct options {
    const char *ready_file;
    const char *topics;
    bool watch_stdin;
} options_t;

static const char usage_text[] =
    "usage: sagabus-devbroker --ready-file FILE [--topics NAME:PARTITIONS,...] [--watch-stdin]\n"
    "\n"
    "A broker for trying sagabus without Apache Kafka. Writes its address (127.0.0.1:PORT) to FILE when it\n"
    "is ready. Ends on SIGTERM or SIGINT, and with --watch-stdin when standard input closes.\n";

static const char banner_text[] =
    "sagabus dev broker at %s (librdkafka's mock cluster, not Apache Kafka)\n"
    "  - in memory: everything is lost when it ends\n"
    "  - keeps about 5 MiB per partition (some 16,000 small events) and drops the oldest, read or not\n"
    "  - loopback only; no TLS, SASL or ACLs; no exactly-once; no compaction; no admin requests\n"
    "  - a rebalance of a consumer group takes seconds\n"
    "  - its numbers are not Kafka's numbers: do not benchmark on it\n";

static int complain(const char *what, const char *detail)
{
    (void)fprintf(stderr, "sagabus-devbroker: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    return EXIT_FAILURE;
}

static void quiet(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    if (level <= 3) /* errors and worse; clients that come and go are no news */
        (void)fprintf(stderr, "sagabus-devbroker: %s %s\n", facility, text);
}

/* Returns 0, or an exit code; *done says that there is nothing left to do. */
static int parse(int argc, char **argv, options_t *options, bool *done)
{
    static const struct option known[] = {{"ready-file", required_argument, NULL, 'r'},
                                          {"topics", required_argument, NULL, 't'},
                                          {"watch-stdin", no_argument, NULL, 'w'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (c) {
        case 'r':
            options->ready_file = optarg;
            break;
        case 't':
            options->topics = optarg;
            break;
        case 'w':
            options->watch_stdin = true;
            break;
        case 'h':
            (void)fputs(usage_text, stdout);
            *done = true;
            return EXIT_SUCCESS;
        default:
            (void)fputs(usage_text, stderr);
            return EXIT_USAGE;
        }
    }
    if (!options->ready_file || optind != argc) {
        (void)fputs(usage_text, stderr);
        return EXIT_USAGE;
    }
    return EXIT_SUCCESS;
}

/* The mock makes its cluster id from an address in the heap, and clients tell a replaced cluster by that id.
 * Where address randomization is off two starts would look like the same cluster, so the heap is shifted. */
static void *shift_heap(void)
{
    uint16_t random = 0;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        random = (uint16_t)getpid();
    return malloc((size_t)random * 16 + 16);
}

static bool make_topic(rd_kafka_mock_cluster_t *cluster, char *word)
{
    char *colon = strrchr(word, ':');
    long partitions = 1;
    if (colon) {
        char *end = NULL;
        *colon = '\0';
        partitions = strtol(colon + 1, &end, 10);
        if (end == colon + 1 || *end || partitions < 1 || partitions > TOPIC_PARTITIONS_MAX) {
            *colon = ':';
            return false;
        }
    }
    return word[0] && rd_kafka_mock_topic_create(cluster, word, (int)partitions, 1) == 0;
}

static int make_topics(rd_kafka_mock_cluster_t *cluster, const char *list)
{
    char *copy = strdup(list ? list : "");
    if (!copy)
        return complain("out of memory", NULL);
    int code = EXIT_SUCCESS;
    char *rest = copy;
    for (char *word; code == EXIT_SUCCESS && (word = strtok_r(rest, ",", &rest));)
        if (!make_topic(cluster, word))
            code = complain("--topics wants NAME:PARTITIONS, each name once; cannot make", word);
    free(copy);
    return code;
}

/* Whoever waits for the file sees all of it or none of it. */
static int write_ready_file(const char *path, const char *address)
{
    char temporary[4096];
    if (snprintf(temporary, sizeof temporary, "%s.%ld", path, (long)getpid()) >= (int)sizeof temporary)
        return complain("the name of the ready file is too long", NULL);
    FILE *file = fopen(temporary, "we");
    if (!file)
        return complain(temporary, strerror(errno));
    bool ok = fprintf(file, "%s\n", address) > 0;
    ok = fclose(file) == 0 && ok && rename(temporary, path) == 0;
    if (ok)
        return EXIT_SUCCESS;
    int code = complain(path, strerror(errno));
    (void)unlink(temporary);
    return code;
}

static void wait_for_the_end(int signals, bool watch_stdin)
{
    struct pollfd wait[2] = {{.fd = signals, .events = POLLIN},
                             {.fd = watch_stdin ? STDIN_FILENO : -1, .events = POLLIN}};
    for (;;) {
        if (poll(wait, 2, -1) < 0 && errno != EINTR)
            return;
        if (wait[0].revents)
            return;
        char ignored[256];
        if (wait[1].revents && read(STDIN_FILENO, ignored, sizeof ignored) <= 0)
            return;
    }
}

static int serve(const options_t *options, int signals)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_set_log_cb(conf, quiet);
    rd_kafka_t *handle = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (!handle) {
        rd_kafka_conf_destroy(conf);
        return complain("librdkafka", text);
    }
    rd_kafka_mock_cluster_t *cluster = rd_kafka_mock_cluster_new(handle, 1);
    int code = cluster ? make_topics(cluster, options->topics) : complain("cannot start the cluster", NULL);
    if (code == EXIT_SUCCESS) {
        const char *address = rd_kafka_mock_cluster_bootstraps(cluster);
        (void)printf(banner_text, address);
        (void)fflush(stdout);
        code = write_ready_file(options->ready_file, address);
    }
    if (code == EXIT_SUCCESS) {
        wait_for_the_end(signals, options->watch_stdin);
        (void)unlink(options->ready_file);
    }
    if (cluster)
        rd_kafka_mock_cluster_destroy(cluster);
    rd_kafka_destroy(handle);
    return code;
}

int main(int argc, char **argv)
{
    options_t options = {NULL, NULL, false};
    bool done = false;
    int code = parse(argc, argv, &options, &done);
    if (code != EXIT_SUCCESS || done)
        return code;

    /* Blocked before librdkafka starts its threads, which inherit it: the signals come to the descriptor. */
    sigset_t ends;
    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    int signals = signalfd(-1, &ends, SFD_CLOEXEC);
    if (signals < 0)
        return complain("signalfd", strerror(errno));

    void *shift = shift_heap();
    code = serve(&options, signals);
    free(shift);
    (void)close(signals);
    return code;
}
