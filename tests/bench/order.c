/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/order.h"

#include "base/clock.h"
#include "base/http_client.h"
#include "base/scan.h"
#include "saga/topology.h"
#include "tests/bench/clients.h"
#include "tests/bench/machine.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READY_MS   30000
#define SETUP_MS   30000
#define STOP_MS    10000
#define TOPIC_MS   20000
#define CATCHUP_MS 60000

const char *const order_participant[ORDER_PARTICIPANTS] = {"customers", "inventory", "payment", "orders",
                                                           "notifications"};

/* ---- a place for order sagas ---- */

/* The settings of the processes of a place. */
typedef struct environment {
    char text[5][640];
    const char *list[6];
} environment_t;

static void fill_environment(const place_t *place, environment_t *out)
{
    (void)snprintf(out->text[0], sizeof out->text[0], "SAGABUS_PG=%s", place_uri(place));
    (void)snprintf(out->text[1], sizeof out->text[1], "SAGABUS_KAFKA_BOOTSTRAP=%s",
                   place->env->kafka_bootstrap);
    (void)snprintf(out->text[2], sizeof out->text[2], "SAGABUS_KAFKA_PREFIX=%s", place->prefix);
    (void)snprintf(out->text[3], sizeof out->text[3], "SAGABUS_SCHEMAS_DIR=%s", place_schemas());
    (void)snprintf(out->text[4], sizeof out->text[4], "SAGABUS_LOG_LEVEL=warn");
    for (int i = 0; i < 5; i++)
        out->list[i] = out->text[i];
    out->list[5] = NULL;
}

static const char *participants_binary(const place_t *place, char out[512])
{
    (void)snprintf(out, 512, "%s/examples/sagabus-order-participants", place->env->build_dir);
    return out;
}

static _Noreturn void die_with_output(const sb_test_process_t *process, const char *what)
{
    char *output = sb_test_output(process);
    bench_die("%s\n%s", what, output ? output : "");
}

static void set_up_participants(place_t *place)
{
    environment_t environment;
    char binary[512];
    sb_test_process_t process;
    const char *const argv[] = {participants_binary(place, binary), "setup", NULL};
    fill_environment(place, &environment);
    sb_test_spawn(&process, argv, environment.list, NULL);
    if (!sb_test_wait(&process, SETUP_MS) || process.exit_code != 0)
        die_with_output(&process, "order-participants setup failed");
    sb_test_process_end(&process);
}

static void make_topics(place_t *place)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_topic_list_t list = {.item = NULL};
    int created = 0;
    bench_ok(sb_topology(place->config, place->pg, place->catalog, &list, &err), &err, "list the topics");
    bench_ok(sb_topics_apply(place->config, &list, TOPIC_MS, &created, &err), &err, "make the topics");
    sb_topic_list_fini(&list);
}

void order_prepare(place_t *place)
{
    set_up_participants(place);
    for (int i = 0; i < ORDER_PARTICIPANTS; i++)
        place_add_client(place, order_participant[i]);
    place_script(place, "UPDATE inventory.stock SET available = 1000000000;"
                        "UPDATE payment.account SET balance = 1000000000000");
    make_topics(place);
}

void order_input(sb_buf_t *out, const char *order_id, bool refused)
{
    sb_buf_printf(
        out,
        "{\"order_id\":\"%s\",\"customer_id\":\"%s\",\"amount\":1999,\"currency\":\"EUR\",\"items\":"
        "[{\"sku\":\"book\",\"quantity\":1,\"price\":1999}]}",
        order_id, refused ? "alan" : "edsger");
}

/* ---- what it cost ---- */

#define OF_EACH(column, from)                                                                                \
    "SELECT sum(" column ")::bigint FROM (SELECT * FROM customers." from                                     \
    " UNION ALL SELECT * FROM inventory." from " UNION ALL SELECT * FROM payment." from                      \
    " UNION ALL SELECT * FROM orders." from " UNION ALL SELECT * FROM notifications." from ") u"

void order_cost(place_t *place, order_cost_t *out)
{
    static const char bytes_of_sagas[] =
        "SELECT sum(length(data) + coalesce(length(meta), 0))::bigint FROM sagabus.event WHERE class = 2";
    static const char bytes_of_others[] =
        "SELECT sum(length(data) + coalesce(length(meta), 0))::bigint FROM sagabus.event WHERE class = 1";
    double sagas = (double)place_int(place, "SELECT count(*) FROM sagabus.saga WHERE ended_at IS NOT NULL");
    if (sagas < 1)
        bench_die("no saga has ended");
    out->saga_events = (double)place_int(place, "SELECT count(*) FROM sagabus.event WHERE class = 2") / sagas;
    out->other_events =
        (double)place_int(place, "SELECT count(*) FROM sagabus.event WHERE class = 1") / sagas;
    out->saga_event_bytes = (double)place_int(place, bytes_of_sagas) / sagas;
    out->other_event_bytes = (double)place_int(place, bytes_of_others) / sagas;
    out->barriers = (double)place_int(place, OF_EACH("1", "barrier")) / sagas;
    out->effects = (double)place_int(place, OF_EACH("1", "effect")) / sagas;
}

/* ---- processes ---- */

static void start_all(order_t *order)
{
    environment_t environment;
    char binary[512];
    const char *const serve[] = {order->place.env->binary, "serve", NULL};
    fill_environment(&order->place, &environment);
    (void)participants_binary(&order->place, binary);
    sb_test_spawn(&order->serve, serve, environment.list, NULL);
    for (int i = 0; i < ORDER_PARTICIPANTS; i++) {
        const char *const argv[] = {binary, order_participant[i], NULL};
        sb_test_spawn(&order->participant[i], argv, environment.list, NULL);
    }
}

static const char *server_url(void)
{
    const char *url = getenv("SAGABUS_SERVER_URL");
    if (!url || !getenv("SAGABUS_HTTP_LISTEN"))
        bench_die("SAGABUS_SERVER_URL and SAGABUS_HTTP_LISTEN are not set; run me by ./dev bench");
    return url;
}

static bool is_ready(sb_http_client_t *client)
{
    char url[128];
    sb_error_t err = SB_ERROR_INIT;
    sb_http_answer_t answer = SB_HTTP_ANSWER_INIT;
    (void)snprintf(url, sizeof url, "%s/readyz", server_url());
    sb_http_call_t call = {.method = "GET", .url = url, .timeout_ms = 2000};
    bool ready = sb_http_client_send(client, &call, &answer, &err) == SB_OK && answer.status == 200;
    sb_http_answer_fini(&answer);
    return ready;
}

static void await_ready(order_t *order)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_http_client_t *client = NULL;
    sb_http_client_config_t config = {.connect_ms = 1000};
    bench_ok(sb_http_client_new(&client, &config, &err), &err, "make an HTTP client");
    int64_t until_us = sb_mono_us() + READY_MS * 1000;
    while (!is_ready(client)) {
        if (sb_mono_us() > until_us || sb_test_wait(&order->serve, 0))
            die_with_output(&order->serve, "sagabus serve is not ready");
        sb_sleep_ms(50);
    }
    sb_http_client_free(&client);
}

void order_open(order_t *order, const bench_env_t *env, double seconds)
{
    *order = (order_t){.seconds = seconds};
    place_open(&order->place, env, "order");
    order_prepare(&order->place);
    start_all(order);
    await_ready(order);
}

void order_close(order_t *order)
{
    sb_test_signal(&order->serve, SIGTERM);
    for (int i = 0; i < ORDER_PARTICIPANTS; i++)
        sb_test_signal(&order->participant[i], SIGTERM);
    for (int i = 0; i < ORDER_PARTICIPANTS; i++) {
        (void)sb_test_wait(&order->participant[i], STOP_MS);
        sb_test_process_end(&order->participant[i]);
    }
    (void)sb_test_wait(&order->serve, STOP_MS);
    sb_test_process_end(&order->serve);
    place_close(&order->place);
}

/* ---- load ---- */

static bool is_refused(int64_t number)
{
    return number % ORDER_REFUSED_EACH == ORDER_REFUSED_EACH - 1;
}

static void write_start(void *context, int64_t number, sb_buf_t *out)
{
    const order_t *order = context;
    char id[32];
    (void)snprintf(id, sizeof id, "o-%lld", (long long)order->started + (long long)number);
    sb_buf_printf(out, "{\"type\":\"order\",\"key\":\"%s\",\"input\":", id);
    order_input(out, id, is_refused(number));
    sb_buf_add_char(out, '}');
}

static void check_end(void *context, int64_t number, int status, sb_slice_t body)
{
    order_t *order = context;
    sb_scan_value_t value;
    const char *want = is_refused(number) ? "\"compensated\"" : "\"completed\"";
    if (status < 200 || status > 201 || !sb_scan_field(body, "status", &value) ||
        !sb_slice_is(value.text, want))
        bench_die("order saga %lld: %s is wanted, the answer is %d %.*s", (long long)number, want, status,
                  SB_SLICE_ARG(body));
    order->ended++;
}

static void load(order_t *order, int clients, double seconds, clients_result_t *result)
{
    clients_config_t config = {.url = server_url(),
                               .path = "/v1/sagas?wait=30s",
                               .clients = clients,
                               .seconds = seconds,
                               .write_body = write_start,
                               .check = check_end,
                               .context = order};
    int64_t before = order->ended;
    clients_run(&config, result);
    order->started += order->ended - before;
}

void order_warm(order_t *order, double seconds)
{
    clients_result_t ignored;
    load(order, 1, 0.1, &ignored); /* until the participants are in their groups */
    load(order, ORDER_IN_FLIGHT, seconds, &ignored);
}

static double participants_cpu_s(const order_t *order)
{
    double sum = 0;
    for (int i = 0; i < ORDER_PARTICIPANTS; i++)
        sum += machine_cpu_s(order->participant[i].pid);
    return sum;
}

/* Relay and views go on until they have everything; what is measured next must not pay for that. */
static void await_quiet(order_t *order)
{
    static const char behind[] =
        "SELECT coalesce(max((SELECT max(seq) FROM sagabus.event) - cursor), 0) FROM sagabus.lease "
        "WHERE role = 'relay' OR role LIKE 'view:%'";
    int64_t from_us = sb_mono_us();
    int64_t first = place_int(&order->place, behind);
    while (place_int(&order->place, behind) > 0) {
        if (sb_mono_us() - from_us > CATCHUP_MS * 1000)
            bench_die("relay and views have not caught up after %d ms", CATCHUP_MS);
        sb_sleep_ms(20);
    }
    bench_say("order: relay and views were up to %lld events behind, for %.1f s more", (long long)first,
              (double)(sb_mono_us() - from_us) / 1e6);
}

void order_run(void *context, int round, double *values)
{
    order_t *order = context;
    clients_result_t result;
    (void)round;
    double serve_s = machine_cpu_s(order->serve.pid), services_s = participants_cpu_s(order);
    int64_t ended = order->ended;
    load(order, ORDER_IN_FLIGHT, order->seconds, &result);
    await_quiet(order);
    order->serve_s += machine_cpu_s(order->serve.pid) - serve_s;
    order->services_s += participants_cpu_s(order) - services_s;
    order->counted += order->ended - ended;
    values[ORDER_RATE] = result.rate;
    values[ORDER_P50] = result.p50_ms;
    values[ORDER_P99] = result.p99_ms;
}
