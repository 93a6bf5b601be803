/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/e2e/stack.h"

#include "tests/support/assert.h"
#include "tests/support/port.h"

#include <curl/curl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TAIL_MAX 6000 /* bytes of a process's output that a failing test shows */

static const char *const names[SB_STACK_PARTICIPANTS] = {"customers", "inventory", "payment", "orders",
                                                         "notifications"};

/* ---- processes ---- */

int sb_stack_sagabus(const sb_stack_t *stack, const char *const *arguments)
{
    const char *argv[24] = {stack->sagabus};
    for (int i = 0; arguments[i] && i < 22; i++)
        argv[i + 1] = arguments[i];
    sb_test_process_t process = {0};
    sb_test_spawn(&process, argv, stack->environment, NULL);
    if (!sb_test_wait(&process, 60000))
        fail_msg("sagabus %s did not end", arguments[0]);
    int code = process.exit_code;
    if (code != 0) {
        char *output = sb_test_output(&process);
        print_message("sagabus %s: exit %d\n%s\n", arguments[0], code, output);
        free(output);
    }
    sb_test_process_end(&process);
    return code;
}

int sb_stack_ask(const sb_stack_t *stack, const char *const *arguments, bool with_errors, char **text)
{
    const char *argv[28] = {"sh", "-c", with_errors ? "exec \"$0\" \"$@\"" : "exec \"$0\" \"$@\" 2>/dev/null",
                            stack->sagabus};
    for (int i = 0; arguments[i] && i < 22; i++)
        argv[i + 4] = arguments[i];
    sb_test_process_t process = {0};
    sb_test_spawn(&process, argv, stack->environment, NULL);
    if (!sb_test_wait(&process, 60000))
        fail_msg("sagabus %s did not end", arguments[0]);
    int code = process.exit_code;
    *text = sb_test_output(&process);
    sb_test_process_end(&process);
    return code;
}

static void set_environment(sb_stack_t *stack)
{
    (void)snprintf(stack->env_pg, sizeof stack->env_pg, "SAGABUS_PG=%s", stack->uri);
    (void)snprintf(stack->env_bootstrap, sizeof stack->env_bootstrap, "SAGABUS_KAFKA_BOOTSTRAP=%s",
                   sb_test_kafka());
    (void)snprintf(stack->env_prefix, sizeof stack->env_prefix, "SAGABUS_KAFKA_PREFIX=%s", stack->prefix);
    (void)snprintf(stack->env_listen, sizeof stack->env_listen, "SAGABUS_HTTP_LISTEN=127.0.0.1:%d",
                   stack->port);
    (void)snprintf(stack->env_server, sizeof stack->env_server, "SAGABUS_SERVER_URL=%s", stack->url);
    static const char schemas[] = "SAGABUS_SCHEMAS_DIR=" SB_SOURCE_DIR "/schemas";
    /* The least that Kafka takes: a killed member's commands wait for as long. */
    static const char session[] = "SAGABUS_KAFKA_SESSION_TIMEOUT_MS=6000";
    const char *list[] = {stack->env_pg,     stack->env_bootstrap,
                          stack->env_prefix, stack->env_listen,
                          stack->env_server, schemas,
                          session,           NULL};
    memcpy(stack->environment, list, sizeof list);
}

void sb_stack_use(sb_stack_t *stack, const char *sagabus, const char *participants)
{
    stack->sagabus = sagabus ? sagabus : SB_SAGABUS;
    stack->participants = participants ? participants : SB_PARTICIPANTS;
}

static void migrate(sb_stack_t *stack)
{
    const char *const all[] = {"migrate", NULL};
    assert_int_equal(sb_stack_sagabus(stack, all), 0);
}

static void set_up_example(sb_stack_t *stack)
{
    const char *const setup[] = {stack->participants, "setup", NULL};
    sb_test_process_t process = {0};
    sb_test_spawn(&process, setup, stack->environment, NULL);
    assert_true(sb_test_wait(&process, 60000));
    assert_int_equal(process.exit_code, 0);
    sb_test_process_end(&process);
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++) {
        const char *const client[] = {"migrate", "--only", "client", "--schema", names[i], NULL};
        assert_int_equal(sb_stack_sagabus(stack, client), 0);
    }
    const char *const schemas[] = {"schema", "apply", NULL};
    assert_int_equal(sb_stack_sagabus(stack, schemas), 0);
    const char *const topics[] = {"topics", "apply", NULL};
    assert_int_equal(sb_stack_sagabus(stack, topics), 0);
}

void sb_stack_set_up(sb_stack_t *stack)
{
    migrate(stack);
    set_up_example(stack);
}

static void init(sb_stack_t *stack, const char *sagabus, const char *participants)
{
    memset(stack, 0, sizeof *stack);
    sb_stack_use(stack, sagabus, participants);
    (void)sb_test_kafka_prefix(stack->prefix);
    stack->port = sb_test_port();
    (void)snprintf(stack->url, sizeof stack->url, "http://127.0.0.1:%d", stack->port);
}

void sb_stack_prepare(sb_stack_t *stack)
{
    init(stack, NULL, NULL);
    (void)sb_test_pg_fresh(stack->uri);
    set_environment(stack);
    set_up_example(stack);
    stack->pg = sb_test_pg_open(stack->uri);
}

void sb_stack_prepare_by(sb_stack_t *stack, const char *sagabus, const char *participants, int shards)
{
    char sql[80];
    init(stack, sagabus, participants);
    (void)sb_test_pg_empty(stack->uri);
    set_environment(stack);
    migrate(stack);
    stack->pg = sb_test_pg_open(stack->uri);
    (void)snprintf(sql, sizeof sql, "UPDATE sagabus.store SET shard_count = %d", shards);
    sb_test_pg_script(stack->pg, sql);
    set_up_example(stack);
}

void sb_stack_start_serve(sb_stack_t *stack)
{
    const char *const argv[] = {stack->sagabus, "serve", NULL};
    sb_test_spawn(&stack->serve, argv, stack->environment, NULL);
}

void sb_stack_kill_serve(sb_stack_t *stack)
{
    sb_test_signal(&stack->serve, SIGKILL);
    assert_true(sb_test_wait(&stack->serve, 60000));
    sb_test_process_end(&stack->serve);
}

void sb_stack_set(sb_stack_t *stack, const char *pair)
{
    size_t i = 0;
    while (stack->environment[i])
        i++;
    assert_true(i + 1 < sizeof stack->environment / sizeof stack->environment[0]);
    stack->environment[i] = pair;
}

void sb_stack_second_serve(const sb_stack_t *stack, sb_test_process_t *process, char url[64])
{
    char listen[64];
    int port = sb_test_port();
    const char *environment[12];
    memcpy(environment, stack->environment, sizeof environment);
    (void)snprintf(listen, sizeof listen, "SAGABUS_HTTP_LISTEN=127.0.0.1:%d", port);
    environment[3] = listen;
    (void)snprintf(url, 64, "http://127.0.0.1:%d", port);
    const char *const argv[] = {stack->sagabus, "serve", NULL};
    sb_test_spawn(process, argv, environment, NULL);
}

static void start_participant(sb_stack_t *stack, int i)
{
    const char *const argv[] = {stack->participants, names[i], NULL};
    sb_test_spawn(&stack->participant[i], argv, stack->environment, NULL);
}

void sb_stack_start_participants(sb_stack_t *stack)
{
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++)
        if (!stack->elsewhere[i])
            start_participant(stack, i);
}

static void restart_participant(sb_stack_t *stack, int i, int signal)
{
    sb_test_signal(&stack->participant[i], signal);
    assert_true(sb_test_wait(&stack->participant[i], 60000));
    sb_test_process_end(&stack->participant[i]);
    start_participant(stack, i);
}

void sb_stack_kill_participant(sb_stack_t *stack, int i)
{
    restart_participant(stack, i, SIGKILL);
}

void sb_stack_replace_participant(sb_stack_t *stack, int i)
{
    restart_participant(stack, i, SIGTERM);
}

bool sb_stack_is_missing(const sb_stack_t *stack, const char *check)
{
    char line[64];
    (void)snprintf(line, sizeof line, "[-] %s: ", check);
    sb_http_answer_t answer = sb_http("GET", stack->url, "/readyz", NULL, NULL);
    bool missing = answer.status == 503 && answer.text && strstr(answer.text, line);
    sb_http_free(&answer);
    return missing;
}

void sb_stack_look_again(sb_stack_t *stack)
{
    sb_pg_close(&stack->pg);
    stack->pg = sb_test_pg_open(stack->uri);
}

/* cmocka's printing cuts a long text short. */
static void print_tail(const char *who, const sb_test_process_t *process)
{
    char *output = sb_test_output(process);
    size_t length = output ? strlen(output) : 0;
    size_t most = getenv("SB_TEST_TALK") ? SIZE_MAX : TAIL_MAX;
    (void)fprintf(stderr, "--- the end of what %s said:\n%s\n", who,
                  length > most ? output + length - most : (output ? output : ""));
    free(output);
}

static void print_tails(const sb_stack_t *stack)
{
    print_tail("serve", &stack->serve);
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++)
        print_tail(names[i], &stack->participant[i]);
}

static bool is_ready(const sb_stack_t *stack)
{
    sb_http_answer_t answer = sb_http("GET", stack->url, "/readyz", NULL, NULL);
    bool ready = answer.status == 200;
    sb_http_free(&answer);
    return ready;
}

void sb_stack_await_ready(sb_stack_t *stack, int64_t expected_ms)
{
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (!is_ready(stack)) {
        if (sb_test_mono_ms() > until) {
            sb_http_answer_t answer = sb_http("GET", stack->url, "/readyz?verbose", NULL, NULL);
            print_message("readyz: %d %s\n", answer.status, answer.text ? answer.text : "");
            print_tails(stack);
            sb_http_free(&answer);
            fail_msg("serve was not ready within %d ms", (int)sb_test_patience(expected_ms));
        }
        sb_test_sleep_ms(50);
    }
}

void sb_stack_start(sb_stack_t *stack)
{
    sb_stack_prepare(stack);
    sb_stack_start_participants(stack);
    sb_stack_start_serve(stack);
    sb_stack_await_ready(stack, 20000);
}

void sb_stack_end(sb_stack_t *stack)
{
    if (getenv("SB_TEST_TALK"))
        print_tails(stack);
    if (stack->serve.pid)
        sb_test_signal(&stack->serve, SIGTERM);
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++)
        if (stack->participant[i].pid)
            sb_test_signal(&stack->participant[i], SIGTERM);
    if (stack->serve.pid && !sb_test_wait(&stack->serve, 60000))
        print_message("serve did not end within 20 s of SIGTERM\n");
    sb_test_process_end(&stack->serve);
    for (int i = 0; i < SB_STACK_PARTICIPANTS; i++) {
        if (stack->participant[i].pid)
            (void)sb_test_wait(&stack->participant[i], 60000);
        sb_test_process_end(&stack->participant[i]);
    }
    sb_pg_close(&stack->pg);
}

/* ---- HTTP ---- */

typedef struct growing {
    char *text;
    size_t len;
} growing_t;

static size_t on_bytes(char *data, size_t size, size_t count, void *context)
{
    growing_t *g = context;
    char *grown = realloc(g->text, g->len + size * count + 1);
    if (!grown)
        return 0;
    memcpy(grown + g->len, data, size * count);
    g->len += size * count;
    grown[g->len] = '\0';
    g->text = grown;
    return size * count;
}

sb_http_answer_t sb_http(const char *method, const char *url, const char *path, const char *body,
                         const char *header)
{
    return sb_http_within(60000, method, url, path, body, header);
}

sb_http_answer_t sb_http_within(long patience_ms, const char *method, const char *url, const char *path,
                                const char *body, const char *header)
{
    sb_http_answer_t answer = {0, NULL, NULL};
    growing_t got = {NULL, 0};
    char whole[1024];
    long status = 0;
    (void)snprintf(whole, sizeof whole, "%s%s", url, path);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = header ? curl_slist_append(headers, header) : headers;
    (void)curl_easy_setopt(curl, CURLOPT_URL, whole);
    (void)curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_bytes);
    (void)curl_easy_setopt(curl, CURLOPT_WRITEDATA, &got);
    (void)curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, patience_ms);
    (void)curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (body)
        (void)curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    if (curl_easy_perform(curl) == CURLE_OK)
        (void)curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    answer.status = (int)status;
    answer.text = got.text;
    answer.body = got.text ? json_loads(got.text, 0, NULL) : NULL;
    return answer;
}

void sb_http_free(sb_http_answer_t *answer)
{
    json_decref(answer->body);
    free(answer->text);
    *answer = (sb_http_answer_t){0, NULL, NULL};
}

/* ---- orders ---- */

char *sb_order_input(const char *order_id, const char *customer_id, const char *sku, int quantity, int amount)
{
    json_t *input = json_pack("{s:s, s:s, s:i, s:s, s:[{s:s, s:i, s:i}]}", "order_id", order_id,
                              "customer_id", customer_id, "amount", amount, "currency", "EUR", "items", "sku",
                              sku, "quantity", quantity, "price", amount);
    char *text = json_dumps(input, JSON_COMPACT);
    json_decref(input);
    assert_non_null(text);
    return text;
}

sb_http_answer_t sb_order_start(const sb_stack_t *stack, const char *order_id, const char *customer_id,
                                const char *sku, int amount, const char *wait)
{
    char path[64];
    char body[1024];
    char *input = sb_order_input(order_id, customer_id, sku, 1, amount);
    (void)snprintf(path, sizeof path, "/v1/sagas%s%s", wait ? "?wait=" : "", wait ? wait : "");
    (void)snprintf(body, sizeof body, "{\"type\":\"order\",\"key\":\"%s\",\"input\":%s}", order_id, input);
    free(input);
    return sb_http("POST", stack->url, path, body, NULL);
}

/* ---- what must hold ---- */

int64_t sb_stack_open_sagas(sb_stack_t *stack)
{
    return sb_test_pg_int(stack->pg, "SELECT count(*) FROM sagabus.saga WHERE status NOT IN (2, 4)");
}

static void print_rows(sb_stack_t *stack, const char *sql)
{
    sb_error_t err = SB_ERROR_INIT;
    sb_pg_result_t *found = NULL;
    if (sb_pg_query(stack->pg, sql, NULL, &found, &err) != SB_OK)
        (void)fprintf(stderr, "%s\n", err.message);
    for (int i = 0; found && i < sb_pg_rows(found); i++)
        (void)fprintf(stderr, "%s\n", sb_pg_get_text(found, i, 0));
    sb_pg_result_free(found);
}

static const char open_sagas[] =
    "SELECT format('%s no %s: status %s attention %s step %s wake_at %s error %s, last of %s: %s %s %s', "
    "s.key, s.no, s.status, s.attention, s.step, s.wake_at, s.error, e.version, t.name, e.at, "
    "convert_from(e.data, 'UTF8')) FROM sagabus.saga s CROSS JOIN LATERAL (SELECT * FROM sagabus.event "
    "WHERE class = 2 AND stream_no = s.no ORDER BY version DESC LIMIT 1) e JOIN sagabus.event_type t USING "
    "(type_no) WHERE s.status NOT IN (2, 4) ORDER BY s.no LIMIT 10";
static const char leases[] =
    "SELECT format('lease %s: epoch %s owner %s cursor %s low %s next %s, beat %s ago, taken %s ago, %s', "
    "role, epoch, owner, cursor, low, next, clock_timestamp() - beat, clock_timestamp() - taken_at, detail) "
    "FROM sagabus.lease ORDER BY role";

void sb_stack_print_open(sb_stack_t *stack)
{
    sb_http_answer_t ready = sb_http("GET", stack->url, "/readyz?verbose", NULL, NULL);
    (void)fprintf(stderr, "--- readyz: %d %s\n--- open: %lld\n", ready.status, ready.text ? ready.text : "",
                  (long long)sb_stack_open_sagas(stack));
    sb_http_free(&ready);
    print_rows(stack, "SELECT format('now %s', clock_timestamp())");
    print_rows(stack, open_sagas);
    print_rows(stack, leases);
    sb_test_kafka_report(stack->prefix);
    print_tails(stack);
}

void sb_stack_await_ended(sb_stack_t *stack, int64_t expected_ms)
{
    int64_t until = sb_test_mono_ms() + sb_test_patience(expected_ms);
    while (sb_stack_open_sagas(stack) != 0) {
        if (sb_test_mono_ms() > until) {
            int64_t open = sb_stack_open_sagas(stack);
            sb_stack_print_open(stack);
            fail_msg("%lld sagas did not end within %d ms", (long long)open,
                     (int)sb_test_patience(expected_ms));
        }
        sb_test_sleep_ms(20);
    }
}

static void make_effect_view(sb_stack_t *stack)
{
    sb_test_pg_script(stack->pg,
                      "CREATE OR REPLACE TEMP VIEW effects AS "
                      "SELECT * FROM customers.effect UNION ALL SELECT * FROM inventory.effect "
                      "UNION ALL SELECT * FROM payment.effect UNION ALL SELECT * FROM orders.effect "
                      "UNION ALL SELECT * FROM notifications.effect");
}

typedef struct rule {
    const char *says;
    const char *breaches; /* counts them */
} rule_t;

static const rule_t rules[] = {
    {"a step's effect happens at most once a direction",
     "SELECT count(*) FROM (SELECT 1 FROM effects GROUP BY saga_id, step, direction HAVING count(*) > 1) x"},
    {"no forward effect comes after its compensation",
     "SELECT count(*) FROM effects f JOIN effects c USING (saga_id, step) "
     "WHERE f.direction = 'forward' AND c.direction = 'compensate' AND f.at > c.at"},
    {"a compensation undoes an effect that was there",
     "SELECT count(*) FROM effects c WHERE direction = 'compensate' AND NOT EXISTS (SELECT 1 FROM effects f "
     "WHERE f.saga_id = c.saga_id AND f.step = c.step AND f.direction = 'forward')"},
    {"a completed saga has all five effects and no compensation",
     "SELECT count(*) FROM sagabus.saga s WHERE status = 2 AND (SELECT count(*) FILTER (WHERE direction = "
     "'forward') * 10 "
     "+ count(*) FILTER (WHERE direction = 'compensate') FROM effects e WHERE e.saga_id = s.id) <> 50"},
    {"a compensated saga has every effect undone that can be (validate_customer has none)",
     "SELECT count(*) FROM sagabus.saga s JOIN effects f ON f.saga_id = s.id AND f.direction = 'forward' "
     "WHERE s.status = 4 AND f.step <> 'validate_customer' AND NOT EXISTS (SELECT 1 FROM effects c "
     "WHERE c.saga_id = f.saga_id AND c.step = f.step AND c.direction = 'compensate')"},
    {"compensation runs in reverse order",
     "SELECT count(*) FROM effects f1 JOIN effects f2 USING (saga_id) JOIN effects c1 ON c1.saga_id = "
     "f1.saga_id "
     "AND c1.step = f1.step AND c1.direction = 'compensate' JOIN effects c2 ON c2.saga_id = f2.saga_id "
     "AND c2.step = f2.step AND c2.direction = 'compensate' WHERE f1.direction = 'forward' AND f2.direction "
     "= 'forward' "
     "AND f1.at < f2.at AND c1.at < c2.at"},
    {"money is conserved", "SELECT abs((SELECT sum(balance) FROM payment.account) + (SELECT "
                           "coalesce(sum(amount), 0) FROM payment.payment "
                           "WHERE NOT refunded) - 300000500)::bigint"},
    {"stock is conserved",
     "SELECT abs((SELECT sum(available + reserved) FROM inventory.stock) - 200001)::bigint"},
    {"what is reserved belongs to completed orders",
     "SELECT abs((SELECT sum(reserved) FROM inventory.stock) - (SELECT coalesce(sum(quantity), 0) FROM "
     "inventory.reservation))::bigint"},
    {"payments that stand belong to completed sagas, one each",
     "SELECT abs((SELECT count(*) FROM payment.payment WHERE NOT refunded) - (SELECT count(*) FROM "
     "sagabus.saga WHERE "
     "status = 2))"},
    {"versions of a saga's stream have no holes",
     "SELECT count(*) FROM (SELECT 1 FROM sagabus.event WHERE class = 2 GROUP BY stream_no "
     "HAVING max(version) <> count(*) OR min(version) <> 1) x"},
};

void sb_stack_check_conserved(sb_stack_t *stack)
{
    make_effect_view(stack);
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        int64_t breaches = sb_test_pg_int(stack->pg, rules[i].breaches);
        if (breaches != 0)
            fail_msg("broken: %s (%lld)", rules[i].says, (long long)breaches);
    }
}
