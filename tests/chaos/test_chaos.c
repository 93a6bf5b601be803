/* Money and stock move between four services by sagas while processes are killed and stopped, PostgreSQL and
 * Kafka crash, answers get lost, messages get lost, doubled and late, and clients start twice and cancel.
 * When all is back every saga must end, and the checker must find nothing (docs/chaos.md).
 *
 * Some thirty seconds; SB_CHAOS_SAGAS says how many sagas, and the faults and the time grow with them.
 * SB_TEST_SEED repeats a run's plan.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/check.h"
#include "tests/chaos/clients.h"
#include "tests/chaos/faults.h"
#include "tests/support/assert.h"
#include "tests/support/kafka.h"
#include "tests/support/skip.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define SAGAS_SHORT        200
#define MS_PER_FAULT       1100
#define MS_PER_FAULT_SHORT 400 /* of a run that is short */
#define READY_MS           60000
#define ENDED_MS           60000 /* I15 */
#define BOOKS_EVERY_MS     1000

static chaos_world_t world;
static chaos_faults_t *faults;
static chaos_clients_t *clients;
static chaos_record_t record;
static chaos_findings_t findings;
static int sagas;
static bool failed = true;

static int number(const char *name, int otherwise)
{
    const char *given = getenv(name);
    return given && given[0] ? (int)strtol(given, NULL, 10) : otherwise;
}

static int set_up(void **state)
{
    if (!sb_test_kafka_has_control())
        sb_test_skip("kafka", "the broker cannot be controlled: SB_TEST_KAFKA_CTL is not set");
    (void)sb_test_pg_start(state);
    unsigned seed = (unsigned)number("SB_TEST_SEED", (int)time(NULL));
    sagas = number("SB_CHAOS_SAGAS", SAGAS_SHORT);
    print_message("%d sagas, seed %u (SB_TEST_SEED repeats its plan)\n", sagas, seed);
    chaos_world_open(&world, seed);
    faults = chaos_faults_new(&world, sagas);
    return 0;
}

static int tear_down(void **state)
{
    chaos_clients_stop(&clients, 0, &record);
    if (faults)
        chaos_faults_heal(faults);
    chaos_world_close(&world, failed);
    chaos_faults_free(&faults);
    chaos_record_free(&record);
    return sb_test_pg_stop(state);
}

static void tend_for(int64_t ms)
{
    static int64_t books_ms;
    int64_t until = sb_test_mono_ms() + ms;
    do {
        chaos_faults_tend(faults);
        if (sb_test_mono_ms() >= books_ms) {
            chaos_read_books(&world, &record);
            books_ms = sb_test_mono_ms() + BOOKS_EVERY_MS;
        }
        sb_test_sleep_ms(5);
    } while (sb_test_mono_ms() < until);
}

static void break_things(void)
{
    int all = chaos_faults_left(faults);
    int each_ms = sagas > SAGAS_SHORT ? MS_PER_FAULT : MS_PER_FAULT_SHORT;
    int seconds = all * each_ms / 1000;
    clients = chaos_clients_start(&world, sagas, seconds);
    int64_t from = sb_test_mono_ms();
    while (chaos_clients_accepted(clients) < 10 && sb_test_mono_ms() - from < READY_MS)
        tend_for(20);
    if (chaos_clients_accepted(clients) < 10)
        fail_msg("no saga was accepted within %d ms", READY_MS);
    from = sb_test_mono_ms();
    for (int done = 1; chaos_faults_left(faults) > 0; done++) {
        chaos_faults_next(faults);
        int64_t ahead = from + (int64_t)done * each_ms - sb_test_mono_ms();
        tend_for(ahead > 100 ? ahead : 100);
        if (done % 50 == 0)
            print_message("%d of %d faults, %d sagas accepted, %lld open, %lld s\n", done, all,
                          chaos_clients_accepted(clients), (long long)chaos_open_sagas(&world),
                          (long long)(sb_test_mono_ms() - from) / 1000);
    }
    chaos_clients_let_end(clients);
    while (!chaos_clients_are_done(clients) && sb_test_mono_ms() - from < 2000LL * seconds + READY_MS)
        tend_for(50);
}

/* All is back; everything must end. */
static void heal(void)
{
    chaos_faults_heal(faults);
    chaos_clients_stop(&clients, READY_MS, &record);
    int64_t from = sb_test_mono_ms();
    while (chaos_open_sagas(&world) != 0 && sb_test_mono_ms() - from < ENDED_MS)
        tend_for(50);
    int64_t open = chaos_open_sagas(&world);
    print_message("%lld sagas are open %lld ms after the last client had its answer\n", (long long)open,
                  (long long)(sb_test_mono_ms() - from));
    if (open != 0)
        chaos_print_open(&world);
    record.settled = true;
}

static int64_t count(const char *sql)
{
    int64_t value = chaos_look(&world, sql);
    assert_true(value >= 0);
    return value;
}

static int64_t voided_commands(void)
{
    int64_t sum = 0;
    for (int i = 0; i < CHAOS_SERVICES; i++)
        sum += sb_test_pg_int(world.books[i], "SELECT count(*) FROM barrier WHERE outcome = 'voided'");
    return sum;
}

static void need(const char *what, int64_t have, int64_t least)
{
    print_message("  %-72s %6lld (least %lld)\n", what, (long long)have, (long long)least);
    if (have < least)
        fail_msg("this run proves nothing: %s %lld, %lld is the least", what, (long long)have,
                 (long long)least);
}

/* Calls of the service over HTTP need no broker, so a short run has them, too. One that died had a call in
 * hand. */
static void check_calls(int whole, bool is_long)
{
    chaos_end_process(&world.service[CHAOS_HTTP], SIGTERM);
    int taken = atomic_load(&world.calls->taken), cut = taken - atomic_load(&world.calls->answered);
    int died = chaos_faults_tally(faults, CHAOS_F_HTTP_CRASH)->done;
    need("calls over HTTP", taken, whole / 2);
    need("of them cut in the middle", cut, is_long && sagas / 100 > died ? sagas / 100 : died);
    need("of them not taken: come again", atomic_load(&world.calls->refused), sagas / 500);
    need("of them answered by the barrier alone", atomic_load(&world.calls->known),
         is_long ? sagas / 500 : 0);
}

/* A run in which nothing happened would pass as well. */
static void check_that_it_was_real(void)
{
    int whole = (int)record.sagas;
    chaos_end_process(&world.router, SIGTERM);
    chaos_faults_print(faults);
    for (int i = 0; i < CHAOS_FAULTS; i++) {
        const chaos_tally_t *tally = chaos_faults_tally(faults, (chaos_fault_t)i);
        if (tally->hit * 2 < tally->planned)
            fail_msg("this run proves nothing: a fault was planned %d times and hit %d times", tally->planned,
                     tally->hit);
    }
    need("sagas", whole, sagas * 8 / 10);
    /* A short run may be over before a loaded machine's services are back in their groups after a broker's
     * death: then no saga comes far. */
    bool is_long = sagas > SAGAS_SHORT;
    need("sagas that were steps of others",
         count("SELECT count(*) FROM sagabus.saga WHERE key LIKE 'saga:%'"), is_long ? sagas / 100 : 0);
    need("of them undone after their end",
         count("SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) JOIN "
               "sagabus.saga s "
               "ON s.no = e.stream_no WHERE e.class = 2 AND t.name = 'saga.completed' AND s.status = 4"),
         sagas / 1000);
    need("compensated", findings.compensated, whole * 15 / 100);
    need("completed", findings.completed, is_long ? whole * 2 / 100 : 0);
    need("cancels answered", findings.cancelled_calls, sagas / 100);
    need("another input under a known key, refused", findings.refused_other, sagas / 100);
    need("steps whose outcome stayed unknown",
         count("SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE e.class "
               "= 2 "
               "AND t.name = 'saga.step.failed' AND convert_from(e.data, 'UTF8')::jsonb @> '{\"unknown\": "
               "true}'"),
         sagas / 100);
    need("tries that were repeated",
         count("SELECT count(*) FROM sagabus.event e JOIN sagabus.event_type t USING (type_no) WHERE e.class "
               "= 2 "
               "AND t.name = 'saga.step.retried'"),
         sagas / 50);
    need("undos that came before (or without) their command", voided_commands(), sagas / 500);
    need("commands that came after their undo, and did nothing", chaos_router_count(&world, " voided "),
         sagas / 2500);
    need("messages lost on the bad road", chaos_router_count(&world, " lost "), sagas / 50);
    need("messages doubled", chaos_router_count(&world, " twice "), sagas / 20);
    need("messages late", chaos_router_count(&world, " late "), sagas / 50);
    check_calls(whole, is_long);
    need("changes of a shard's owner",
         count("SELECT sum(epoch)::bigint FROM sagabus.lease WHERE role LIKE 'saga:%'"),
         chaos_faults_tally(faults, CHAOS_F_KILL_SERVE)->done / 2);
    /* The taker ends the backend of one that stands still before it takes its lease; what gets past that
     * meets the epoch. */
    need("owners that stood still and were replaced",
         chaos_count_said(&world, "LEASE-OVERDUE") + chaos_count_said(&world, "SAGA-FENCED"), sagas / 1000);
}

static void nothing_is_lost_doubled_or_left_half_done(void **state)
{
    (void)state;
    break_things();
    heal();
    chaos_read_all(&world, &record);
    chaos_check(&record, &findings);
    print_message("%zu sagas, %zu events, %zu effects, %zu calls, %zu looks at the books\n", record.sagas,
                  record.events, record.effects, record.calls, record.books_count);
    for (int i = 0; i < CHAOS_BREACHES; i++)
        print_message("  %-12s %s: %s%s\n", chaos_breach_name((chaos_breach_t)i),
                      chaos_breach_promise((chaos_breach_t)i), findings.count[i] ? "BROKEN: " : "kept",
                      findings.count[i] ? findings.first[i] : "");
    if (findings.total > 0)
        fail_msg("%d breaches", findings.total);
    check_that_it_was_real();
    failed = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_lost_doubled_or_left_half_done)};
    return cmocka_run_group_tests_name("chaos", tests, set_up, tear_down);
}
