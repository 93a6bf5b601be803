/* sagabus-chaos-service NAME: one service of the chaos test, over the public participant library.
 *
 * After SIGUSR1 it dies within some milliseconds of its next effect, before or after the commit as it
 * happens.
 *
 * Settings: SAGABUS_PG, SAGABUS_KAFKA_BOOTSTRAP, SAGABUS_KAFKA_PREFIX.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "tests/chaos/books.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>

static sb_participant_t *running;
static volatile sig_atomic_t must_die;

static void on_stop(int number)
{
    (void)number;
    sb_participant_stop(running);
}

static void on_die(int number)
{
    (void)number;
    must_die = 1;
}

/* SIGALRM without a handler ends the process on the spot. */
static void die_soon(void)
{
    struct itimerval timer = {.it_value.tv_usec = 1 + chaos_books_below(8000)};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

static void on_command(void *context, struct pg_conn *conn, const sb_command_t *command, sb_reply_t *reply)
{
    (void)context;
    chaos_books_handle(conn, command, reply);
    if (must_die)
        die_soon();
    else
        chaos_books_dawdle();
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    chaos_books_seed();
    sb_participant_config_t config = {.name = argv[1],
                                      .pg_uri = getenv("SAGABUS_PG"),
                                      .schema = "service",
                                      .kafka_bootstrap = getenv("SAGABUS_KAFKA_BOOTSTRAP"),
                                      .kafka_prefix = getenv("SAGABUS_KAFKA_PREFIX"),
                                      .on_command = on_command};
    sb_error_t err = SB_ERROR_INIT;
    if (sb_participant_open(&running, &config, &err) != SB_OK) {
        (void)fprintf(stderr, "%s: %s\n", argv[1], err.message);
        return 1;
    }
    struct sigaction stop = {.sa_handler = on_stop}, die = {.sa_handler = on_die, .sa_flags = SA_RESTART};
    (void)sigaction(SIGTERM, &stop, NULL);
    (void)sigaction(SIGUSR1, &die, NULL);
    sb_participant_run(running);
    sb_participant_close(&running);
    return 0;
}
