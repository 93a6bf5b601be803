/* bench NAME [--json] [--only PART] [--rounds N] [--scale X]: run by ./dev bench, which brings the servers.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/bench.h"

#include "base/log.h"
#include "tests/bench/machine.h"
#include "tests/bench/report.h"
#include "tests/bench/saga_world.h"
#include "tests/bench/subscribe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS    5
#define SCALE_MAX 20
#define LIMIT_S   400 /* of everything that is done once */
#define ROUND_S   90  /* of a round of everything, on a slow machine */

static const struct {
    const char *name;
    bench_fn run;
} benches[] = {{"smoke", bench_smoke}, {"append", bench_append},       {"relay", bench_relay},
               {"read", bench_read},   {"replay", bench_replay},       {"publish", bench_publish},
               {"saga", bench_saga},   {"subscribe", bench_subscribe}, {NULL, NULL}};

_Noreturn void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fputs("bench: ", stderr);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void bench_ok(sb_code_t code, const sb_error_t *err, const char *doing)
{
    if (code != SB_OK)
        bench_die("%s: %s: %s", doing, sb_code_name(code), err ? err->message : "");
}

void bench_say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

/* ---- rounds ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

typedef double rounds_t[BENCH_ROUNDS_MAX][BENCH_VALUES_MAX];

static void say_round(const bench_pair_t *pair, int round, const double *ours, const double *theirs)
{
    for (int i = 0; pair->measure[i].name; i++) {
        const bench_measure_t *m = &pair->measure[i];
        if (m->reference)
            bench_say("%s, %s: round %d: %.1f beside %.1f %s", pair->bench, m->name, round + 1, ours[i],
                      theirs[i], m->unit);
        else
            bench_say("%s, %s: round %d: %.1f %s", pair->bench, m->name, round + 1, ours[i], m->unit);
    }
}

static void run_rounds(const bench_pair_t *pair, int count, rounds_t ours, rounds_t theirs)
{
    for (int round = 0; round < count; round++) {
        for (int turn = 0; turn < 2; turn++) {
            if ((turn + round) % 2)
                pair->run(pair->context, round, ours[round]);
            else
                pair->run_reference(pair->context, round, theirs[round]);
        }
        say_round(pair, round, ours[round], theirs[round]);
    }
}

static bench_result_t summary(const bench_pair_t *pair, int index, int count, rounds_t ours, rounds_t theirs)
{
    double value[BENCH_ROUNDS_MAX], reference[BENCH_ROUNDS_MAX], ratio[BENCH_ROUNDS_MAX];
    bench_result_t result = {.bench = pair->bench, .measure = &pair->measure[index]};
    for (int i = 0; i < count; i++) {
        value[i] = ours[i][index];
        reference[i] = theirs[i][index];
        ratio[i] = reference[i] > 0 ? value[i] / reference[i] : 0;
    }
    result.value = median(value, count);
    if (!result.measure->reference)
        return result;
    result.reference_value = median(reference, count);
    result.ratio = median(ratio, count);
    result.ratio_low = ratio[0];
    result.ratio_high = ratio[count - 1];
    return result;
}

static void add(bench_results_t *results, bench_result_t result)
{
    if (results->count == BENCH_RESULTS_MAX)
        bench_die("more results than BENCH_RESULTS_MAX");
    results->item[results->count++] = result;
}

void bench_compare(const bench_env_t *env, const bench_pair_t *pair, bench_results_t *results)
{
    static rounds_t ours, theirs;
    memset(ours, 0, sizeof ours);
    memset(theirs, 0, sizeof theirs);
    machine_mark_t mark = machine_mark();
    run_rounds(pair, env->rounds, ours, theirs);
    bench_say("%s: the hypervisor took %.0f %% of the time meanwhile", pair->bench,
              machine_since(&mark).steal * 100);
    for (int i = 0; pair->measure[i].name; i++)
        add(results, summary(pair, i, env->rounds, ours, theirs));
}

void bench_add(bench_results_t *results, const char *bench, const bench_measure_t *measure, double value)
{
    add(results, (bench_result_t){.bench = bench, .measure = measure, .value = value});
}

bool bench_holds(const bench_result_t *result)
{
    const bench_measure_t *m = result->measure;
    if (m->goal <= 0)
        return true;
    return m->less_is_better ? result->ratio <= m->goal : result->ratio >= m->goal;
}

bool bench_wants(const bench_env_t *env, const char *part)
{
    return !env->only || strcmp(env->only, part) == 0;
}

/* ---- command line ---- */

static const char *required(const char *name)
{
    const char *value = getenv(name);
    if (!value || !value[0])
        bench_die("%s is not set; run me by ./dev bench", name);
    return value;
}

_Noreturn static void usage(void)
{
    (void)fprintf(stderr,
                  "usage: bench NAME [--json] [--only PART] [--rounds N] [--scale X] [--plot FILE]\n"
                  "  --only PART of smoke: append, publish or order; of relay: backlog or delivery; of read: "
                  "history or news; of replay: rebuild, memory or live; of saga: noop, noop_public, barrier, "
                  "barrier_public, apart, http, peers, restate, dbos, "
                  "budget, recovery or many (100,000 open sagas; only when it is asked for)\n"
                  "  --rounds N  rounds of each side, 1 to %d (default %d)\n"
                  "  --scale X   length of each round: 1 as documented, 0.2 for a quick look\n"
                  "  --plot FILE the budget of a saga as SVG\n"
                  "  NAME        one of:",
                  BENCH_ROUNDS_MAX, ROUNDS);
    for (int b = 0; benches[b].name; b++)
        (void)fprintf(stderr, " %s", benches[b].name);
    (void)fputc('\n', stderr);
    exit(2);
}

typedef struct options {
    bench_fn run;
    bool json;
} options_t;

static bench_fn find(const char *name)
{
    for (int b = 0; benches[b].name; b++)
        if (strcmp(name, benches[b].name) == 0)
            return benches[b].run;
    usage();
}

static options_t parse(int argc, char **argv, bench_env_t *env)
{
    options_t options = {NULL, false};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            options.json = true;
        else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc)
            env->only = argv[++i];
        else if (strcmp(argv[i], "--plot") == 0 && i + 1 < argc)
            env->plot = argv[++i];
        else if (strcmp(argv[i], "--rounds") == 0 && i + 1 < argc)
            env->rounds = atoi(argv[++i]);
        else if (strcmp(argv[i], "--scale") == 0 && i + 1 < argc)
            env->scale = atof(argv[++i]);
        else
            options.run = find(argv[i]);
    }
    if (!options.run || env->rounds < 1 || env->rounds > BENCH_ROUNDS_MAX || !(env->scale > 0) ||
        env->scale > SCALE_MAX)
        usage();
    return options;
}

/* However something hangs, the run ends: SIGALRM ends us, and the kernel our children. */
static void limit_time(const bench_env_t *env)
{
    double stretch = env->scale > 1 ? env->scale : 1;
    (void)alarm((unsigned)(LIMIT_S + env->rounds * ROUND_S * stretch));
}

int main(int argc, char **argv)
{
    static bench_results_t results;
    bench_env_t env = {.rounds = ROUNDS, .scale = 1};
    if (argc == 3 && strcmp(argv[1], "--participants") == 0) /* ours, for `bench saga` */
        return saga_participants_run(argv[2]);
    options_t options = parse(argc, argv, &env);
    env.pg_uri = required("SAGABUS_PG");
    env.kafka_bootstrap = required("SAGABUS_KAFKA_BOOTSTRAP");
    env.binary = required("SAGABUS_BIN");
    env.build_dir = required("SB_BUILD_DIR");
    limit_time(&env);
    sb_log_set_level(SB_LOG_WARN);
    machine_say();
    options.run(&env, &results);
    if (results.count == 0)
        usage();
    if (options.json)
        report_json(&results);
    else
        report_table(&results);
    return 0;
}
