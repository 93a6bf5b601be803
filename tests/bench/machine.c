/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/machine.h"

#include "base/clock.h"
#include "tests/bench/bench.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOOK_MS 1000

machine_mark_t machine_mark(void)
{
    unsigned long long t[8] = {0};
    machine_mark_t mark = {0, 0, 0};
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return mark;
    int got = fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0], &t[1], &t[2], &t[3], &t[4],
                     &t[5], &t[6], &t[7]);
    (void)fclose(file);
    for (int i = 0; i < got; i++)
        mark.all += t[i];
    mark.idle = t[3] + t[4];
    mark.steal = t[7];
    return mark;
}

machine_share_t machine_since(const machine_mark_t *mark)
{
    machine_mark_t now = machine_mark();
    double all = (double)(now.all - mark->all);
    if (all <= 0)
        return (machine_share_t){0, 0};
    return (machine_share_t){1 - (double)(now.idle - mark->idle) / all,
                             (double)(now.steal - mark->steal) / all};
}

static void read_model(char model[128])
{
    char line[256];
    (void)snprintf(model, 128, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "re");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) != 0 || !colon)
            continue;
        (void)snprintf(model, 128, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
        break;
    }
    if (file)
        (void)fclose(file);
}

void machine_say(void)
{
    char model[128];
    read_model(model);
    machine_mark_t mark = machine_mark();
    sb_sleep_ms(LOOK_MS);
    machine_share_t share = machine_since(&mark);
    bench_say("%ld processors (%s), %.0f GB; before the run %.0f %% busy, %.0f %% taken by the hypervisor",
              sysconf(_SC_NPROCESSORS_ONLN), model,
              (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 1e9, share.busy * 100,
              share.steal * 100);
}

double machine_resident_mb(pid_t pid)
{
    char path[64], line[256];
    long kb = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "VmRSS: %ld", &kb) == 1)
            break;
    if (file)
        (void)fclose(file);
    return (double)kb * 1024 / 1e6;
}

double machine_cpu_s(pid_t pid)
{
    char path[64], line[1024];
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    const char *rest = fgets(line, sizeof line, file) ? strrchr(line, ')') : NULL;
    (void)fclose(file);
    if (!rest || sscanf(rest, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        return 0;
    return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}
