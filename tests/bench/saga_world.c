/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/saga_world.h"

#include "tests/bench/machine.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SETUP_MS  30000
#define STOP_MS   10000
#define HTTP_PORT 30500 /* and 3,000 more, by our pid: others' tests and the peers' servers are below */

const char *const saga_participant[SAGA_STEPS] = {"step_a", "step_b", "step_c"};

bool saga_is_refused(int64_t number)
{
    return number % SAGA_REFUSE_EACH == SAGA_REFUSE_EACH - 1;
}

/* Some 200 bytes, which every command carries. */
void saga_input(sb_buf_t *out, int64_t number)
{
    sb_buf_printf(
        out,
        "{\"refuse\":%s,\"order_id\":\"o-%lld\",\"customer_id\":\"edsger\",\"amount\":1999,\"currency\":"
        "\"EUR\",\"note\":\"as much text as an order with two or three lines would have, no more\"}",
        saga_is_refused(number) ? "true" : "false", (long long)number);
}

/* Event types of the checkout, and the saga of this benchmark. Once a run. */
static const char *schemas(void)
{
    static char dir[64];
    char path[160];
    if (dir[0])
        return dir;
    (void)snprintf(dir, sizeof dir, "/tmp/sagabus-bench-XXXXXX");
    if (!mkdtemp(dir))
        bench_die("no folder for schemas");
    (void)snprintf(path, sizeof path, "%s/events", dir);
    if (symlink(SB_SOURCE_DIR "/schemas/events", path) != 0)
        bench_die("no folder for schemas");
    (void)snprintf(path, sizeof path, "%s/sagas", dir);
    if (symlink(SB_SOURCE_DIR "/tests/bench/sagas", path) != 0)
        bench_die("no folder for schemas");
    return dir;
}

const char *const *saga_world_environment(const saga_world_t *world)
{
    static char text[10][640];
    static const char *list[11];
    int count = 6;
    (void)snprintf(text[0], sizeof text[0], "SAGABUS_PG=%s", place_uri(&world->place));
    (void)snprintf(text[1], sizeof text[1], "SAGABUS_KAFKA_BOOTSTRAP=%s", world->place.env->kafka_bootstrap);
    (void)snprintf(text[2], sizeof text[2], "SAGABUS_KAFKA_PREFIX=%s", world->place.prefix);
    (void)snprintf(text[3], sizeof text[3], "SAGABUS_SCHEMAS_DIR=%s", schemas());
    (void)snprintf(text[4], sizeof text[4], "SAGABUS_LOG_LEVEL=warn");
    (void)snprintf(text[5], sizeof text[5], "SAGABUS_SAGA_OPEN_MAX=200000");
    if (world->port) {
        (void)snprintf(text[count++], sizeof text[0], "SB_BENCH_HTTP_PORT=%d", world->port);
        for (int i = 0; i < SAGA_STEPS; i++)
            (void)snprintf(text[count++], sizeof text[0],
                           "SAGABUS_PARTICIPANT_STEP_%c_URL=http://127.0.0.1:%d/", 'A' + i, world->port);
    }
    for (int i = 0; i < count; i++)
        list[i] = text[i];
    list[count] = NULL;
    return list;
}

static void make_topics(saga_world_t *world)
{
    const char *const argv[] = {world->place.env->binary, "topics", "apply", NULL};
    sb_test_process_t process;
    sb_test_spawn(&process, argv, saga_world_environment(world), NULL);
    if (!sb_test_wait(&process, SETUP_MS) || process.exit_code != 0)
        bench_die("topics apply failed: %s", sb_test_output(&process));
    sb_test_process_end(&process);
}

void saga_world_open(saga_world_t *world, const bench_env_t *env, const char *name, const char *mode)
{
    *world = (saga_world_t){.mode = mode};
    if (strcmp(mode, "http") == 0)
        world->port = HTTP_PORT + (int)getpid() % 3000;
    (void)setenv("SAGABUS_SCHEMAS_DIR", schemas(), 1);
    place_open(&world->place, env, name);
    place_add_client(&world->place, "service");
    make_topics(world);
}

void saga_world_start_participants(saga_world_t *world)
{
    const char *const argv[] = {"/proc/self/exe", "--participants", world->mode, NULL};
    sb_test_spawn(&world->participants, argv, saga_world_environment(world), NULL);
}

void saga_world_close(saga_world_t *world)
{
    if (world->participants.pid) {
        sb_test_signal(&world->participants, SIGTERM);
        (void)sb_test_wait(&world->participants, STOP_MS);
        sb_test_process_end(&world->participants);
    }
    place_close(&world->place);
}

/* ---- processor time of the servers ---- */

static pid_t recorded(const char *file)
{
    char path[512];
    int pid = 0;
    const char *dir = getenv("SB_STACK_DIR");
    (void)snprintf(path, sizeof path, "%s/%s", dir ? dir : ".", file);
    FILE *in = fopen(path, "re");
    if (in && fscanf(in, "%d", &pid) != 1)
        pid = 0;
    if (in)
        (void)fclose(in);
    return (pid_t)pid;
}

static pid_t parent_of(int pid)
{
    char path[64], line[512];
    int parent = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    const char *rest = file && fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    if (rest)
        (void)sscanf(rest, ") %*c %d", &parent);
    if (file)
        (void)fclose(file);
    return (pid_t)parent;
}

double saga_pg_cpu_s(void)
{
    pid_t postmaster = recorded("pg.pid");
    double sum = machine_cpu_s(postmaster);
    DIR *proc = opendir("/proc");
    for (const struct dirent *entry; proc && (entry = readdir(proc));) {
        int pid = atoi(entry->d_name);
        if (pid > 0 && parent_of(pid) == postmaster)
            sum += machine_cpu_s(pid);
    }
    if (proc)
        (void)closedir(proc);
    return sum;
}

double saga_kafka_cpu_s(void)
{
    return machine_cpu_s(recorded("broker.pid"));
}
