/* sagabus-chaos-router: a bad road between the orchestrators and some of the services. Commands come from the
 * topics of one prefix and go to those of another, replies go the way back; on it messages get lost, doubled,
 * late and out of order, by chance (SB_CHAOS_SEED). At its end it prints how many of each.
 *
 * Settings: SAGABUS_KAFKA_BOOTSTRAP, SB_CHAOS_NEAR and SB_CHAOS_FAR (prefixes), SB_CHAOS_SERVICES (names, by
 * comma).
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include <librdkafka/rdkafka.h>

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOST_PER_MILLE    20
#define TWICE_PER_MILLE   60
#define LATE_PER_MILLE    60
#define EARLY_PER_MILLE   20   /* held back shortly, so that others pass it */
#define LATE_MS           2500 /* at least; longer than a step's timeout */
#define GARBAGE_PER_MILLE 5
#define HELD_MAX          4096
#define TOPICS_MAX        16
#define TEXT_MAX          160

typedef struct held {
    rd_kafka_message_t *message;
    long long due_ms;
} held_t;

static volatile sig_atomic_t stopping;
static unsigned seed;
static rd_kafka_t *producer;
static char near_prefix[64], far_prefix[64];
static held_t held[HELD_MAX];
static int held_count;
static long long passed, lost, twice, late, overtaken, garbage, voided;

static void on_stop(int number)
{
    (void)number;
    stopping = 1;
}

static long long now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static bool chance(int per_mille)
{
    return rand_r(&seed) % 1000 < per_mille;
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char why[256];
    if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK) {
        (void)fprintf(stderr, "router: %s\n", why);
        exit(1);
    }
}

static rd_kafka_t *open_client(rd_kafka_type_t type)
{
    char why[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", getenv("SAGABUS_KAFKA_BOOTSTRAP"));
    set(conf, "log_level", "2");
    set(conf, "topic.metadata.refresh.interval.ms", "2000");
    if (type == RD_KAFKA_CONSUMER) {
        char group[96];
        (void)snprintf(group, sizeof group, "%srouter", near_prefix);
        set(conf, "group.id", group);
        set(conf, "auto.offset.reset", "earliest");
        set(conf, "allow.auto.create.topics", "false");
        set(conf, "session.timeout.ms", "6000");
    } else {
        set(conf, "linger.ms", "0");
        set(conf, "message.timeout.ms", "30000");
    }
    rd_kafka_t *client = rd_kafka_new(type, conf, why, sizeof why);
    if (!client) {
        (void)fprintf(stderr, "router: %s\n", why);
        exit(1);
    }
    return client;
}

/* Commands go from near to far; replies come back from far to near. */
static const char *other_side(const char *topic, char out[TEXT_MAX])
{
    size_t near_len = strlen(near_prefix), far_len = strlen(far_prefix);
    if (strncmp(topic, far_prefix, far_len) == 0)
        (void)snprintf(out, TEXT_MAX, "%s%s", near_prefix, topic + far_len);
    else
        (void)snprintf(out, TEXT_MAX, "%s%s", far_prefix, topic + near_len);
    return out;
}

/* A service answers where it is told to: on this side of the road. */
static void turn_reply_address(rd_kafka_headers_t *headers)
{
    static const char says[] = "voided: ";
    char there[TEXT_MAX], here[TEXT_MAX];
    const void *value = NULL;
    size_t length = 0;
    if (rd_kafka_header_get_last(headers, "ce_sagaerror", &value, &length) == RD_KAFKA_RESP_ERR_NO_ERROR)
        voided += length >= sizeof says - 1 && memcmp(value, says, sizeof says - 1) == 0;
    if (rd_kafka_header_get_last(headers, "ce_sagareplyto", &value, &length) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    (void)snprintf(here, sizeof here, "%.*s", (int)length, (const char *)value);
    (void)other_side(here, there);
    (void)rd_kafka_header_remove(headers, "ce_sagareplyto");
    (void)rd_kafka_header_add(headers, "ce_sagareplyto", -1, there, -1);
}

/* Replies keep the partition, which is the shard. */
static void send_on(const rd_kafka_message_t *message, const char *body, size_t length)
{
    char topic[TEXT_MAX];
    rd_kafka_headers_t *headers = NULL, *copy;
    const char *from = rd_kafka_topic_name(message->rkt);
    bool reply = strncmp(from, far_prefix, strlen(far_prefix)) == 0;
    copy = rd_kafka_message_headers(message, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR
               ? rd_kafka_headers_copy(headers)
               : rd_kafka_headers_new(1);
    turn_reply_address(copy);
    rd_kafka_resp_err_t error = rd_kafka_producev(
        producer, RD_KAFKA_V_TOPIC(other_side(from, topic)),
        RD_KAFKA_V_PARTITION(reply ? message->partition : RD_KAFKA_PARTITION_UA),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(message->key, message->key_len),
        RD_KAFKA_V_VALUE((void *)(uintptr_t)body, length), RD_KAFKA_V_HEADERS(copy), RD_KAFKA_V_END);
    if (error != RD_KAFKA_RESP_ERR_NO_ERROR) { /* lost too: that is what this road is for */
        rd_kafka_headers_destroy(copy);
        lost++;
    }
}

static void pass(const rd_kafka_message_t *message)
{
    send_on(message, message->payload, message->len);
    passed++;
}

static bool hold(rd_kafka_message_t *message, int for_ms)
{
    if (held_count == HELD_MAX)
        return false;
    held[held_count++] = (held_t){message, now_ms() + for_ms};
    return true;
}

static void let_go(bool all)
{
    long long now = now_ms();
    for (int i = held_count; i-- > 0;) {
        if (!all && held[i].due_ms > now)
            continue;
        pass(held[i].message);
        rd_kafka_message_destroy(held[i].message);
        held[i] = held[--held_count];
    }
}

/* One in three comes when its sender has done with it: a command after its undo, a reply after the end. */
static int how_late_ms(void)
{
    return LATE_MS + rand_r(&seed) % (chance(333) ? 12000 : 4000);
}

/* True: the message is kept. */
static bool treat(rd_kafka_message_t *message)
{
    if (chance(LOST_PER_MILLE)) {
        lost++;
        return false;
    }
    if (chance(GARBAGE_PER_MILLE)) {
        send_on(message, "{\"cut", 5);
        garbage++;
    }
    if (chance(TWICE_PER_MILLE)) {
        pass(message);
        twice++;
        if (hold(message, rand_r(&seed) % 2 ? 0 : LATE_MS + rand_r(&seed) % 4000))
            return true;
        return false;
    }
    if (chance(LATE_PER_MILLE) && hold(message, how_late_ms())) {
        late++;
        return true;
    }
    if (chance(EARLY_PER_MILLE) && hold(message, 20 + rand_r(&seed) % 200)) {
        overtaken++;
        return true;
    }
    pass(message);
    return false;
}

static void subscribe(rd_kafka_t *consumer)
{
    char topic[TEXT_MAX], names[256];
    rd_kafka_topic_partition_list_t *topics = rd_kafka_topic_partition_list_new(TOPICS_MAX);
    (void)snprintf(names, sizeof names, "%s", getenv("SB_CHAOS_SERVICES"));
    for (char *name = strtok(names, ","); name; name = strtok(NULL, ",")) {
        (void)snprintf(topic, sizeof topic, "%scmd.%s", near_prefix, name);
        (void)rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    }
    (void)snprintf(topic, sizeof topic, "%ssaga.replies", far_prefix);
    (void)rd_kafka_topic_partition_list_add(topics, topic, RD_KAFKA_PARTITION_UA);
    (void)rd_kafka_subscribe(consumer, topics);
    rd_kafka_topic_partition_list_destroy(topics);
}

int main(void)
{
    struct sigaction stop = {.sa_handler = on_stop};
    const char *given = getenv("SB_CHAOS_SEED");
    seed = given ? (unsigned)strtoul(given, NULL, 10) : 1;
    (void)snprintf(near_prefix, sizeof near_prefix, "%s", getenv("SB_CHAOS_NEAR"));
    (void)snprintf(far_prefix, sizeof far_prefix, "%s", getenv("SB_CHAOS_FAR"));
    (void)sigaction(SIGTERM, &stop, NULL);
    producer = open_client(RD_KAFKA_PRODUCER);
    rd_kafka_t *consumer = open_client(RD_KAFKA_CONSUMER);
    (void)rd_kafka_poll_set_consumer(consumer);
    subscribe(consumer);
    while (!stopping) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 5);
        if (message && (message->err || !treat(message)))
            rd_kafka_message_destroy(message);
        let_go(false);
        (void)rd_kafka_poll(producer, 0);
    }
    let_go(true);
    (void)rd_kafka_flush(producer, 2000);
    (void)printf(
        "router: passed %lld lost %lld twice %lld late %lld overtaken %lld garbage %lld voided %lld\n",
        passed, lost, twice, late, overtaken, garbage, voided);
    (void)fflush(stdout);
    _exit(0); /* its group is left to the brokers: closing may wait for one that is away */
}
