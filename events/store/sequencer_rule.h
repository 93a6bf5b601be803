/* sequencer_rule - from what is there, what was drawn and who may still commit, up to where nothing will
 * appear any more.
 *
 * This is rule V5 and the run before it; sequencer_rule.c states and proves both. It is pure: the sequencer
 * feeds it, tests feed it too.
 *
 * Thread: the owner's.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#ifndef SB_EVENTS_SEQUENCER_RULE_H
#define SB_EVENTS_SEQUENCER_RULE_H

#include "sagabus/error.h"

#include <stdint.h>

/* A transaction that holds the insert lock on the event table. */
typedef struct sb_holder {
    uint64_t transaction; /* its virtual transaction id */
    int pid;              /* 0: a prepared transaction */
    int64_t low;          /* all its events lie above; filled by the rule */
} sb_holder_t;

typedef struct sb_sequencer_rule {
    int64_t safe;     /* the result */
    int64_t previous; /* what the last look was given as drawn */
    sb_holder_t *holders;
    int count;
} sb_sequencer_rule_t;

void sb_rule_init(sb_sequencer_rule_t *rule);
void sb_rule_fini(sb_sequencer_rule_t *rule);

/* Forgets all holders: at the start and after every reconnect. safe: as it was persisted. */
void sb_rule_start(sb_sequencer_rule_t *rule, int64_t safe);

/* The events from safe on, up to this one, are all there: none is missing between them. */
void sb_rule_run(sb_sequencer_rule_t *rule, int64_t run);

/* A look at the holders. drawn was read BEFORE they were. SB_NO_MEMORY leaves everything as it was. */
SB_MUST_CHECK sb_code_t sb_rule_tick(sb_sequencer_rule_t *rule, int64_t drawn, const sb_holder_t *holders,
                                     int count, sb_error_t *err);

/* A tick that found drawn == rule->safe: there is no holder to know of. */
void sb_rule_rest(sb_sequencer_rule_t *rule, int64_t drawn);

/* The holder that keeps safe back; NULL when none does. */
const sb_holder_t *sb_rule_blocker(const sb_sequencer_rule_t *rule);

/* "3/1234" as pg_locks writes it; -1/… for a prepared transaction after a restart. */
bool sb_holder_parse(const char *text, uint64_t *transaction);
#define SB_HOLDER_TEXT 32
char *sb_holder_format(uint64_t transaction, char text[SB_HOLDER_TEXT]); /* the reverse; returns text */

#endif
