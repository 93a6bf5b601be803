/* machine - what else goes on here while we measure.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_MACHINE_H
#define SB_TESTS_BENCH_MACHINE_H

#include <stdint.h>
#include <sys/types.h>

/* Processor time so far, in ticks over all processors. */
typedef struct machine_mark {
    uint64_t all, idle, steal;
} machine_mark_t;

typedef struct machine_share { /* 0 to 1 */
    double busy;
    double steal; /* time that the hypervisor gave to others */
} machine_share_t;

machine_mark_t machine_mark(void);
machine_share_t machine_since(const machine_mark_t *mark);

/* Says on stderr what machine this is and how busy it is before anything is measured. */
void machine_say(void);

/* Resident memory of a process, in MB; 0 when it is gone. */
double machine_resident_mb(pid_t pid);
/* Processor time that a process has used, with its threads, in seconds. */
double machine_cpu_s(pid_t pid);

#endif
