/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/faults.h"

#include "tests/support/assert.h"
#include "tests/support/kafka.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HIT_MS          1200 /* a rule of a proxy is waited for this long */
#define OPEN_MS         5000 /* and an open saga */
#define SAGAS_WHOLE     10000
#define AGAIN_MAX       4 /* times the plan's length: what did not come about is tried again at the end */
#define LATER_MAX       16
#define SAGAS_ALL_KINDS 1000 /* from so many on no kind of fault is left out */

typedef enum broker { BROKER_UP, BROKER_DEAD, BROKER_PAUSED, BROKER_STARTING } broker_t;

typedef struct later { /* to be let go on */
    int64_t due_ms;
    sb_test_process_t *process;
    pid_t pid;
} later_t;

struct chaos_faults {
    chaos_world_t *world;
    unsigned seed;
    chaos_fault_t *plan;
    int count, next, count_max;
    chaos_tally_t tally[CHAOS_FAULTS];
    later_t later[LATER_MAX];
    int laters;
    broker_t broker;
    int64_t broker_due_ms;
    const char *broker_verb; /* that brings it back */
    bool wiped;
    sb_test_process_t broker_run;
};

static const struct {
    const char *class, *text;
    int count;
} names[CHAOS_FAULTS] = {
#define CHAOS_ROW(name, class, text, count) {class, text, count},
    CHAOS_FAULT_MAP(CHAOS_ROW)
#undef CHAOS_ROW
};

static int below(chaos_faults_t *f, int count)
{
    return rand_r(&f->seed) % count;
}

static int64_t in_ms(chaos_faults_t *f, int least, int most)
{
    return sb_test_mono_ms() + least + below(f, most - least);
}

/* What takes long is not all in a short run: one crash of PostgreSQL and one of the broker, by the seed. */
static bool is_passed_over(const chaos_faults_t *f, chaos_fault_t fault)
{
    if (fault >= CHAOS_F_PG_POSTMASTER && fault <= CHAOS_F_PG_IMMEDIATE)
        return f->world->seed % 3 != (unsigned)(fault - CHAOS_F_PG_POSTMASTER);
    if (fault >= CHAOS_F_BROKER_KILL && fault <= CHAOS_F_BROKER_WIPE)
        return f->world->seed / 3 % 3 != (unsigned)(fault - CHAOS_F_BROKER_KILL);
    return false;
}

chaos_faults_t *chaos_faults_new(chaos_world_t *world, int sagas)
{
    chaos_faults_t *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *f = (chaos_faults_t){.world = world, .seed = world->seed};
    for (int i = 0; i < CHAOS_FAULTS; i++) {
        int count = (int)((int64_t)names[i].count * sagas / SAGAS_WHOLE);
        f->tally[i].planned = count > 0                                                        ? count
                              : sagas < SAGAS_ALL_KINDS && is_passed_over(f, (chaos_fault_t)i) ? 0
                                                                                               : 1;
        f->count += f->tally[i].planned;
    }
    f->count_max = f->count * AGAIN_MAX;
    f->plan = calloc((size_t)f->count_max, sizeof *f->plan);
    assert_non_null(f->plan);
    int at = 0;
    for (int i = 0; i < CHAOS_FAULTS; i++)
        for (int n = 0; n < f->tally[i].planned; n++)
            f->plan[at++] = (chaos_fault_t)i;
    for (int i = f->count - 1; i > 0; i--) {
        int other = below(f, i + 1);
        chaos_fault_t kept = f->plan[i];
        f->plan[i] = f->plan[other];
        f->plan[other] = kept;
    }
    return f;
}

void chaos_faults_free(chaos_faults_t **faults)
{
    if (!*faults)
        return;
    sb_test_process_end(&(*faults)->broker_run);
    free((*faults)->plan);
    free(*faults);
    *faults = NULL;
}

int chaos_faults_left(const chaos_faults_t *faults)
{
    return faults->count - faults->next;
}

/* ---- later ---- */

static void let_go(later_t *later)
{
    if (later->process && later->process->pid == later->pid)
        sb_test_signal(later->process, SIGCONT);
    else if (!later->process)
        (void)kill(later->pid, SIGCONT);
}

static void stop_for(chaos_faults_t *f, sb_test_process_t *process, pid_t pid, int64_t due_ms)
{
    if (f->laters == LATER_MAX)
        return;
    f->later[f->laters++] = (later_t){due_ms, process, pid};
    (void)kill(pid, SIGSTOP);
}

static void start_broker_again(chaos_faults_t *f)
{
    const char *const argv[] = {getenv("SB_TEST_KAFKA_CTL"), f->broker_verb, NULL};
    sb_test_spawn(&f->broker_run, argv, NULL, NULL);
    f->broker = BROKER_STARTING;
}

static void tend_broker(chaos_faults_t *f)
{
    if ((f->broker == BROKER_DEAD || f->broker == BROKER_PAUSED) && sb_test_mono_ms() >= f->broker_due_ms)
        start_broker_again(f);
    if (f->broker != BROKER_STARTING || !sb_test_wait(&f->broker_run, 0))
        return;
    if (f->broker_run.exit_code != 0)
        fail_msg("the broker did not come back: %s", sb_test_output(&f->broker_run));
    sb_test_process_end(&f->broker_run);
    f->broker = BROKER_UP;
    if (f->wiped)
        chaos_make_topics(f->world);
    f->wiped = false;
}

static void count(chaos_faults_t *f, chaos_fault_t fault, int64_t open)
{
    chaos_tally_t *tally = &f->tally[fault];
    tally->done++;
    tally->hit += open > 0;
    tally->open_most = open > tally->open_most ? open : tally->open_most;
}

void chaos_faults_tend(chaos_faults_t *f)
{
    for (int i = f->laters; i-- > 0;) {
        if (sb_test_mono_ms() < f->later[i].due_ms)
            continue;
        let_go(&f->later[i]);
        f->later[i] = f->later[--f->laters];
    }
    tend_broker(f);
    int died[CHAOS_SERVICES] = {0};
    chaos_revive(f->world, died);
    for (int i = 0; i < CHAOS_SERVICES; i++)
        for (; died[i] > 0; died[i]--)
            count(f, i == CHAOS_HTTP ? CHAOS_F_HTTP_CRASH : CHAOS_F_SERVICE_CRASH,
                  chaos_open_sagas(f->world));
}

/* ---- the faults: each returns whether it came about ---- */

static bool end_now(sb_test_process_t *process)
{
    if (!process->pid)
        return false;
    chaos_end_process(process, SIGKILL);
    return true;
}

static bool kill_serve(chaos_faults_t *f, int i)
{
    bool was = end_now(&f->world->serve[i]);
    chaos_start_serve(f->world, i);
    return was;
}

static bool await_hit(sb_test_proxy_t *road, int before)
{
    int64_t until = sb_test_mono_ms() + HIT_MS;
    while (sb_test_proxy_hits(road) == before && sb_test_mono_ms() < until)
        sb_test_sleep_ms(1);
    return sb_test_proxy_hits(road) != before;
}

/* The guard of a shard's transaction names the shard; what follows it up to the Sync is one batch. */
static bool on_batch(chaos_faults_t *f, int i, sb_proxy_act_t act, int delay_ms)
{
    sb_test_proxy_t *road = f->world->road[i];
    sb_proxy_rule_t rule = {.at = SB_PROXY_MESSAGE,
                            .type = 'B',
                            .containing = "saga:",
                            .act = act,
                            .skip = below(f, 3),
                            .delay_ms = delay_ms,
                            .reset = below(f, 2)};
    int before = sb_test_proxy_hits(road);
    sb_test_proxy_rule(road, &rule);
    bool hit = await_hit(road, before);
    sb_test_proxy_rule(road, NULL);
    return hit;
}

static bool kill_in_commit(chaos_faults_t *f, int i)
{
    return on_batch(f, i, SB_PROXY_DELAY, 100) && kill_serve(f, i);
}

static bool kill_after_commit(chaos_faults_t *f, int i)
{
    if (!on_batch(f, i, SB_PROXY_CUT_ANSWERED, 0))
        return false;
    return kill_serve(f, i);
}

static bool stop_serve(chaos_faults_t *f, int i)
{
    sb_test_process_t *serve = &f->world->serve[i];
    if (serve->pid)
        stop_for(f, serve, serve->pid, below(f, 4) ? in_ms(f, 2500, 5000) : in_ms(f, 100, 1500));
    return serve->pid != 0;
}

static bool stop_service(chaos_faults_t *f)
{
    sb_test_process_t *service = &f->world->service[below(f, CHAOS_SERVICES)];
    if (service->pid)
        stop_for(f, service, service->pid, in_ms(f, 100, 3500));
    return service->pid != 0;
}

static bool crash_postgres(chaos_faults_t *f, void (*how)(void))
{
    while (f->laters > 0) { /* a stopped backend would keep the server from starting */
        let_go(&f->later[f->laters - 1]);
        f->laters--;
    }
    how();
    sb_test_sleep_ms(below(f, 400));
    chaos_forget_connections(f->world);
    sb_test_pg_restart();
    return true;
}

static bool stop_backend(chaos_faults_t *f)
{
    int64_t pid = chaos_look(f->world, "SELECT pid FROM pg_stat_activity WHERE application_name = "
                                       "'sagabus-saga' ORDER BY random() LIMIT 1");
    if (pid > 0)
        stop_for(f, NULL, (pid_t)pid, in_ms(f, 500, 4000));
    return pid > 0;
}

static bool terminate_backends(chaos_faults_t *f)
{
    return chaos_look(f->world, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE "
                                "pid <> pg_backend_pid() AND backend_type = 'client backend'") > 0;
}

static bool lose_service_commit(chaos_faults_t *f)
{
    sb_test_proxy_t *road = f->world->service_road;
    sb_proxy_rule_t rule = {.at = SB_PROXY_COMMIT, .act = SB_PROXY_CUT_ANSWERED, .skip = below(f, 4)};
    int before = sb_test_proxy_hits(road);
    sb_test_proxy_rule(road, &rule);
    bool hit = await_hit(road, before);
    sb_test_proxy_rule(road, NULL);
    return hit;
}

/* The broker is away for a while, and the run goes on. */
static bool take_broker(chaos_faults_t *f, chaos_fault_t fault)
{
    if (f->broker != BROKER_UP) { /* one after the other */
        int64_t until = sb_test_mono_ms() + 60000;
        while (f->broker != BROKER_UP && sb_test_mono_ms() < until) {
            chaos_faults_tend(f);
            sb_test_sleep_ms(20);
        }
    }
    if (fault == CHAOS_F_BROKER_WIPE) {
        f->broker_verb = "wipe";
        f->wiped = true;
        start_broker_again(f);
        return true;
    }
    bool pause = fault == CHAOS_F_BROKER_PAUSE;
    sb_test_kafka_control(pause ? "pause" : "kill");
    f->broker = pause ? BROKER_PAUSED : BROKER_DEAD;
    f->broker_verb = pause ? "resume" : "start";
    f->broker_due_ms = in_ms(f, 300, pause ? 5000 : 3000);
    return true;
}

static bool kill_service(chaos_faults_t *f)
{
    int i = below(f, CHAOS_SERVICES);
    bool was = end_now(&f->world->service[i]);
    chaos_start_service(f->world, i);
    return was;
}

/* It dies at its next effect, which a service that is stopped or has nothing to do never comes to. */
static bool crash_service(chaos_faults_t *f, chaos_fault_t fault)
{
    const chaos_tally_t *tally = &f->tally[fault];
    int before = tally->done, i = below(f, CHAOS_SERVICES - 1);
    int64_t until = sb_test_mono_ms() + HIT_MS;
    i = fault == CHAOS_F_HTTP_CRASH ? CHAOS_HTTP : i < CHAOS_HTTP ? i : i + 1;
    sb_test_process_t *service = &f->world->service[i];
    if (service->pid)
        sb_test_signal(service, SIGUSR1);
    while (tally->done == before && sb_test_mono_ms() < until) {
        sb_test_sleep_ms(5);
        chaos_faults_tend(f);
    }
    return tally->done != before;
}

static bool commit_fault(chaos_faults_t *f, chaos_fault_t fault)
{
    int i = below(f, CHAOS_SERVES);
    switch (fault) {
    case CHAOS_F_KILL_SERVE:
        return kill_serve(f, i);
    case CHAOS_F_KILL_IN_COMMIT:
        return kill_in_commit(f, i) || kill_in_commit(f, 1 - i);
    case CHAOS_F_KILL_AFTER_COMMIT:
        return kill_after_commit(f, i) || kill_after_commit(f, 1 - i);
    case CHAOS_F_STOP_SERVE:
        return stop_serve(f, i);
    case CHAOS_F_STOP_SERVICE:
        return stop_service(f);
    case CHAOS_F_PG_POSTMASTER:
        return crash_postgres(f, sb_test_pg_kill_postmaster);
    case CHAOS_F_PG_ALL:
        return crash_postgres(f, sb_test_pg_kill_all);
    case CHAOS_F_PG_IMMEDIATE:
        return crash_postgres(f, sb_test_pg_stop_immediate);
    case CHAOS_F_PG_STOP_BACKEND:
        return stop_backend(f);
    case CHAOS_F_PG_TERMINATE:
        return terminate_backends(f);
    case CHAOS_F_LOSE_COMMIT:
        return on_batch(f, i, SB_PROXY_CUT_ANSWERED, 0) || on_batch(f, 1 - i, SB_PROXY_CUT_ANSWERED, 0);
    case CHAOS_F_LOSE_SERVICE_COMMIT:
        return lose_service_commit(f);
    case CHAOS_F_BROKER_KILL:
    case CHAOS_F_BROKER_PAUSE:
    case CHAOS_F_BROKER_WIPE:
        return take_broker(f, fault);
    case CHAOS_F_SERVICE_CRASH:
    case CHAOS_F_HTTP_CRASH:
        return crash_service(f, fault);
    case CHAOS_F_SERVICE_KILL:
        return kill_service(f);
    case CHAOS_FAULTS:
        break;
    }
    return false;
}

/* A fault that meets nobody proves nothing; clients go on starting sagas while faults are left. */
static int64_t await_open_sagas(chaos_faults_t *f)
{
    int64_t until = sb_test_mono_ms() + OPEN_MS;
    int64_t open = chaos_open_sagas(f->world);
    while (open <= 0 && sb_test_mono_ms() < until) {
        sb_test_sleep_ms(5);
        chaos_faults_tend(f);
        open = chaos_open_sagas(f->world);
    }
    return open;
}

void chaos_faults_next(chaos_faults_t *f)
{
    chaos_fault_t fault = f->plan[f->next++];
    int64_t open = await_open_sagas(f);
    bool came_about = commit_fault(f, fault);
    if (came_about && fault != CHAOS_F_SERVICE_CRASH && fault != CHAOS_F_HTTP_CRASH) /* those are counted
                                                                                        when they die */
        count(f, fault, open);
    else if (!came_about && f->count < f->count_max)
        f->plan[f->count++] = fault;
}

void chaos_faults_heal(chaos_faults_t *f)
{
    int64_t until = sb_test_mono_ms() + 60000;
    for (int i = 0; i < f->laters; i++)
        f->later[i].due_ms = 0;
    f->broker_due_ms = 0;
    do {
        chaos_faults_tend(f);
        sb_test_sleep_ms(10);
    } while ((f->broker != BROKER_UP || f->laters > 0) && sb_test_mono_ms() < until);
}

const chaos_tally_t *chaos_faults_tally(const chaos_faults_t *faults, chaos_fault_t fault)
{
    return &faults->tally[fault];
}

void chaos_faults_print(const chaos_faults_t *faults)
{
    for (int i = 0; i < CHAOS_FAULTS; i++) {
        const chaos_tally_t *t = &faults->tally[i];
        print_message("  %-3s %-50s %4d of %4d, %4d with sagas open (at most %lld)\n", names[i].class,
                      names[i].text, t->done, t->planned, t->hit, (long long)t->open_most);
    }
}
