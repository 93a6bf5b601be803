/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/saga_budget.h"

#include "base/clock.h"
#include "tests/bench/machine.h"
#include "tests/bench/raw.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATS_MS   11000 /* an idle backend says what it did after ten seconds */
#define KAFKA_MS   10000
#define PERF_MS    20000
#define TICKS_S    ((double)sysconf(_SC_CLK_TCK))
#define BAR_WIDTH  640.0
#define ROW_HEIGHT 22

static const bench_measure_t counts[BUDGET_COUNTS] = {
    [BUDGET_EVENTS] = {"events in the store", "a saga", NULL, 0, true},
    [BUDGET_INSERTS] = {"rows inserted, all tables", "a saga", NULL, 0, true},
    [BUDGET_UPDATES] = {"rows updated, all tables", "a saga", NULL, 0, true},
    [BUDGET_WAL] = {"WAL", "bytes a saga", NULL, 0, true},
    [BUDGET_COMMITS] = {"commits, all connections", "a saga", NULL, 0, true},
    [BUDGET_COMMANDS] = {"Kafka records: commands", "a saga", NULL, 0, true},
    [BUDGET_REPLIES] = {"Kafka records: replies", "a saga", NULL, 0, true},
    [BUDGET_RECORDS] = {"Kafka records: public events", "a saga", NULL, 0, true},
    [BUDGET_REQUESTS_SERVE] = {"Kafka requests of serve", "a saga", NULL, 0, true},
    [BUDGET_REQUESTS_PARTICIPANTS] = {"Kafka requests of the participants", "a saga", NULL, 0, true},
    [BUDGET_CALLS_SERVE] = {"system calls of serve", "a saga", NULL, 0, true},
    [BUDGET_CALLS_PARTICIPANTS] = {"system calls of the participants", "a saga", NULL, 0, true}};

static const bench_measure_t parts[BUDGET_PARTS] = {
    [BUDGET_SERVE] = {"serve, but for librdkafka", "us a saga", NULL, 0, true},
    [BUDGET_SERVE_KAFKA] = {"serve, librdkafka", "us a saga", NULL, 0, true},
    [BUDGET_PG_SAGA] = {"PostgreSQL for the orchestrator", "us a saga", NULL, 0, true},
    [BUDGET_PG_SEQUENCER] = {"PostgreSQL for the sequencer", "us a saga", NULL, 0, true},
    [BUDGET_PG_RELAY] = {"PostgreSQL for the relay", "us a saga", NULL, 0, true},
    [BUDGET_PG_REST] = {"PostgreSQL, the rest", "us a saga", NULL, 0, true},
    [BUDGET_BROKER] = {"Kafka", "us a saga", NULL, 0, true},
    [BUDGET_PARTICIPANTS] = {"participants", "us a saga", NULL, 0, true},
    [BUDGET_CLIENTS] = {"HTTP clients", "us a saga", NULL, 0, true}};

/* ---- processor time ---- */

/* Of the threads whose name begins so. */
static double threads_s(pid_t pid, const char *prefix)
{
    char path[320], line[1024];
    double sum = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *tasks = opendir(path);
    for (const struct dirent *entry; tasks && (entry = readdir(tasks));) {
        unsigned long user = 0, system = 0;
        (void)snprintf(path, sizeof path, "/proc/%d/task/%.20s/stat", (int)pid, entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        const char *name = file && fgets(line, sizeof line, file) ? strchr(line, '(') : NULL;
        const char *rest = name ? strrchr(line, ')') : NULL;
        if (rest && strncmp(name + 1, prefix, strlen(prefix)) == 0 &&
            sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) == 2)
            sum += (double)(user + system) / TICKS_S;
        if (file)
            (void)fclose(file);
    }
    if (tasks)
        (void)closedir(tasks);
    return sum;
}

static PGresult *ask(const saga_world_t *world, const char *sql)
{
    PGconn *conn = raw_connect(place_uri(&world->place), NULL);
    PGresult *result = PQexec(conn, sql);
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        bench_die("%s: %s", sql, PQerrorMessage(conn));
    PQfinish(conn);
    return result;
}

void budget_cpu(const saga_world_t *world, pid_t serve, budget_t *out)
{
    PGresult *backends = ask(world, "SELECT pid, application_name FROM pg_stat_activity");
    double *cpu = out->cpu_s;
    memset(cpu, 0, sizeof out->cpu_s);
    cpu[BUDGET_PG_REST] = saga_pg_cpu_s();
    for (int i = 0; i < PQntuples(backends); i++) {
        const char *name = PQgetvalue(backends, i, 1);
        int part = strcmp(name, "sagabus-saga") == 0        ? BUDGET_PG_SAGA
                   : strcmp(name, "sagabus sequencer") == 0 ? BUDGET_PG_SEQUENCER
                   : strcmp(name, "sagabus relay") == 0     ? BUDGET_PG_RELAY
                                                            : -1;
        double used = part < 0 ? 0 : machine_cpu_s((pid_t)atoi(PQgetvalue(backends, i, 0)));
        if (part >= 0)
            cpu[part] += used;
        cpu[BUDGET_PG_REST] -= used;
    }
    PQclear(backends);
    cpu[BUDGET_SERVE_KAFKA] = threads_s(serve, "rdk:");
    cpu[BUDGET_SERVE] = machine_cpu_s(serve) - cpu[BUDGET_SERVE_KAFKA];
    cpu[BUDGET_PARTICIPANTS] = machine_cpu_s(world->participants.pid);
    cpu[BUDGET_BROKER] = saga_kafka_cpu_s();
    cpu[BUDGET_CLIENTS] = machine_cpu_s(getpid());
}

/* ---- rows, bytes and records ---- */

static void count_records(const saga_world_t *world, double *count)
{
    const struct rd_kafka_metadata *all = NULL;
    const char *prefix = world->place.prefix;
    rd_kafka_t *handle = raw_producer(world->place.env->kafka_bootstrap, "0");
    if (rd_kafka_metadata(handle, 1, NULL, &all, KAFKA_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        bench_die("the brokers do not say which topics there are");
    for (int i = 0; i < all->topic_cnt; i++) {
        const char *topic = all->topics[i].topic;
        if (strncmp(topic, prefix, strlen(prefix)) != 0)
            continue;
        const char *name = topic + strlen(prefix);
        int kind = strncmp(name, "cmd.", 4) == 0 ? BUDGET_COMMANDS
                   : strstr(name, ".events")     ? BUDGET_RECORDS
                                                 : BUDGET_REPLIES;
        for (int p = 0; p < all->topics[i].partition_cnt; p++) {
            int64_t low = 0, high = 0;
            if (rd_kafka_query_watermark_offsets(handle, topic, p, &low, &high, KAFKA_MS) !=
                RD_KAFKA_RESP_ERR_NO_ERROR)
                bench_die("the brokers do not say how long %s is", topic);
            count[kind] += (double)high;
        }
    }
    rd_kafka_metadata_destroy(all);
    rd_kafka_destroy(handle);
}

void budget_counts(const saga_world_t *world, budget_t *out)
{
    static const int kind[] = {BUDGET_EVENTS, BUDGET_INSERTS, BUDGET_UPDATES, BUDGET_WAL, BUDGET_COMMITS};
    memset(out->count, 0, sizeof out->count);
    sb_sleep_ms(STATS_MS);
    PGresult *row = ask(world, "SELECT (SELECT count(*) FROM sagabus.event), sum(n_tup_ins), sum(n_tup_upd), "
                               "pg_current_wal_lsn() - '0/0', (SELECT xact_commit FROM pg_stat_database "
                               "WHERE datname = current_database()) FROM pg_stat_user_tables");
    for (int i = 0; i < 5; i++)
        out->count[kind[i]] = atof(PQgetvalue(row, 0, i));
    PQclear(row);
    count_records(world, out->count);
}

/* ---- system calls ---- */

static void start_perf(sb_test_process_t *perf, pid_t pid, double seconds)
{
    char target[16], time[16];
    (void)snprintf(target, sizeof target, "%d", (int)pid);
    (void)snprintf(time, sizeof time, "%.2f", seconds);
    const char *const argv[] = {
        "perf", "stat",  "-x,", "-e", "raw_syscalls:sys_enter,syscalls:sys_enter_sendmsg", "-p", target,
        "--",   "sleep", time,  NULL};
    sb_test_spawn(perf, argv, NULL, NULL);
}

void budget_watch(budget_watch_t *watch, const saga_world_t *world, pid_t serve, double seconds)
{
    *watch = (budget_watch_t){.serve.pid = 0};
    if (access("/usr/bin/perf", X_OK) != 0)
        return;
    start_perf(&watch->serve, serve, seconds);
    start_perf(&watch->participants, world->participants.pid, seconds);
}

static void read_perf(sb_test_process_t *perf, double *calls, double *requests)
{
    *calls = *requests = 0;
    if (!perf->pid)
        return;
    (void)sb_test_wait(perf, PERF_MS);
    char *text = sb_test_output(perf);
    for (char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strstr(line, "raw_syscalls:sys_enter") && strstr(line, "raw_syscalls") < strchrnul(line, '\n'))
            *calls = atof(line);
        else if (strstr(line, "sys_enter_sendmsg") &&
                 strstr(line, "sys_enter_sendmsg") < strchrnul(line, '\n'))
            *requests = atof(line);
    }
    free(text);
    sb_test_process_end(perf);
}

void budget_watched(budget_watch_t *watch, budget_t *out)
{
    read_perf(&watch->serve, &out->count[BUDGET_CALLS_SERVE], &out->count[BUDGET_REQUESTS_SERVE]);
    read_perf(&watch->participants, &out->count[BUDGET_CALLS_PARTICIPANTS],
              &out->count[BUDGET_REQUESTS_PARTICIPANTS]);
    if (out->count[BUDGET_CALLS_SERVE] <= 0)
        bench_say("saga budget: no system calls and no Kafka requests, perf may not look at them here");
}

/* ---- the report ---- */

static void draw(const char *path, const char *title, const double us[BUDGET_PARTS])
{
    static const char *const colour[BUDGET_PARTS] = {"#1b6ca8", "#6fb1dc", "#2c7a4b", "#5fae7c", "#9ad0ae",
                                                     "#cfe8d8", "#c0762c", "#8a5fa8", "#999999"};
    double all = 0, x = 10;
    FILE *out = fopen(path, "we");
    if (!out)
        bench_die("cannot write %s", path);
    for (int i = 0; i < BUDGET_PARTS; i++)
        all += us[i];
    (void)fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 660 %d\" font-family=\"sans-serif\" "
        "font-size=\"13\">\n<title>%s</title>\n<rect width=\"660\" height=\"%d\" fill=\"#ffffff\"/>\n"
        "<text x=\"10\" y=\"20\" font-size=\"14\">%s: %.0f us of processor time</text>\n",
        80 + ROW_HEIGHT * BUDGET_PARTS, title, 80 + ROW_HEIGHT * BUDGET_PARTS, title, all);
    for (int i = 0; i < BUDGET_PARTS; i++) {
        double width = all > 0 ? us[i] / all * BAR_WIDTH : 0;
        int y = 88 + ROW_HEIGHT * i;
        (void)fprintf(out, "<rect x=\"%.1f\" y=\"32\" width=\"%.1f\" height=\"30\" fill=\"%s\"/>\n", x, width,
                      colour[i]);
        (void)fprintf(out,
                      "<rect x=\"10\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"30\" "
                      "y=\"%d\">%s</text><text x=\"400\" y=\"%d\" text-anchor=\"end\">%.0f us</text><text "
                      "x=\"460\" y=\"%d\" text-anchor=\"end\">%.0f %%</text>\n",
                      y - 11, colour[i], y, parts[i].name, y, us[i], y, all > 0 ? us[i] / all * 100 : 0);
        x += width;
    }
    (void)fprintf(out, "</svg>\n");
    if (fclose(out) != 0)
        bench_die("cannot write %s", path);
}

void budget_report(const char *bench, const budget_t *from, const budget_t *to, int64_t sagas,
                   const char *plot, bench_results_t *results)
{
    double us[BUDGET_PARTS];
    for (int i = 0; i < BUDGET_COUNTS; i++)
        if (i < BUDGET_REQUESTS_SERVE || to->count[i] > 0)
            bench_add(results, bench, &counts[i], (to->count[i] - from->count[i]) / (double)sagas);
    for (int i = 0; i < BUDGET_PARTS; i++) {
        us[i] = (to->cpu_s[i] - from->cpu_s[i]) * 1e6 / (double)sagas;
        us[i] = us[i] > 0 ? us[i] : 0;
        bench_add(results, bench, &parts[i], us[i]);
    }
    if (plot)
        draw(plot, bench, us);
}
