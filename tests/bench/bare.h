/* bare - an orchestrator that does not think: the rows and messages of sagas by raw libpq and librdkafka, one
 * transaction and one round trip a batch of what is there. There is no state to recover, no template, no
 * timer, no validation, no HTTP; no log is read to relay it and no view is folded. So it is a floor, not a
 * rival.
 *
 * What its sagas do is said by a script.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_TESTS_BENCH_BARE_H
#define SB_TESTS_BENCH_BARE_H

#include "tests/bench/place.h"

#define BARE_STEPS_MAX 8
#define BARE_MOVES_MAX 10

typedef struct bare_move {
    int step;
    bool undo;
} bare_move_t;

typedef struct bare_saga {
    int64_t no, number, from_us;
    sb_uuid_t id;
    char id_text[SB_UUID_TEXT], key[48], correlation[SB_UUID_TEXT];
    char noted[SB_UUID_TEXT]; /* the script's own */
    bool refused, open;
    int at; /* the move that is out */
    int version;
} bare_saga_t;

/* Static. A refused saga is refused at the last step and undone. */
typedef struct bare_script {
    const char *type; /* of the sagas */
    int steps;
    const char *const *step;               /* names */
    const char *const *participant;        /* who does each */
    const char *const (*action)[2];        /* types of the command and of its undo */
    const bare_move_t *all_well, *refused; /* the ways */
    int all_well_moves, refused_moves;
    const char *refusal;  /* what the last step says */
    bool undo_has_result; /* and it is kept */
    bool (*is_refused)(int64_t number);
    void (*input)(sb_buf_t *out, const bare_saga_t *saga);
    /* The body of a command; id is the command's. */
    void (*body)(sb_buf_t *out, bare_saga_t *saga, const bare_move_t *move, const char *id);
} bare_script_t;

/* The values of a round; the last is the mean count of starts and replies in a transaction. */
enum { BARE_RATE, BARE_P50, BARE_P99, BARE_ITEMS };

typedef struct bare bare_t;

/* place is *borrowed*: a migrated database and its topics. No more than at_once_max sagas run at a time.
 * public_too: the records of public events are sent, too, to one partition, by the thread that writes them.
 */
bare_t *bare_open(const bare_script_t *script, place_t *place, int at_once_max, bool public_too);
void bare_close(bare_t **bare);

/* Runs so many at once for so long, then lets them end. */
void bare_load(bare_t *bare, int at_once, double seconds, double *values);

#endif
