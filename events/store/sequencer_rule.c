/* The run, and rule V5.
 *
 * The run: safe[k] >= n, if events safe[k-1] + 1 to n are all to be seen by one snapshot. Each number is
 * drawn once, and an event never goes away again: where every number has its event, nothing is left to
 * appear. That needs no word about who is at work, and so an event waits only for those that were drawn
 * before it. A commit is in the log before its rows are to be seen, and safe comes after it there: once safe
 * is on disk, so are they. A part of the run whose events are known to be on disk is published without
 * waiting for that (docs/adr/0008).
 *
 * But the run ends at a number that has no event, and whether that is still to come or was rolled back, the
 * table does not say. (Time does not say it either.) What gets over it is rule V5.
 *
 * Every appender takes RowExclusiveLock on the event table before it draws its first sequence number, and
 * keeps it until its commit is visible. So whoever may still make an event appear is in pg_locks. Tick k
 * reads (1) drawn[k], the last number drawn, and THEN (2) holders[k], the transactions that hold that lock,
 * in this database. A transaction first seen in holders[k] took the lock after look k-1, hence after
 * drawn[k-1] was read, so all its numbers are above drawn[k-1]: that is its low, and it keeps it. Then
 *   safe[k] = max(safe[k-1], min(drawn[k], lowest low of holders[k])).
 * A transaction that is gone from pg_locks is already visible or rolled back (its entry in the array of
 * running transactions is cleared before its locks are), so a snapshot taken after safe[k] is published sees
 * all up to it.
 *
 * At the start and after every reconnect all lows are forgotten and drawn[-1] = the persisted safe: a holder
 * of then may have drawn anything above what was published, and nothing below (it would have held the lock
 * when that was published).
 *
 * Between two looks the run may take safe above a holder's low: that one's numbers up to safe have their
 * events, or were rolled back. How seldom one looks does not matter to the proof: an old low is a low one.
 *
 * A tick with drawn[k] = safe[k-1] need not look at the holders. Who draws later draws above drawn[k]; and
 * who had drawn up to safe and not yet committed would have kept safe below its number.
 *
 * What does not count: the holes that rollbacks leave, clocks, xmin (a foreign or a read-only transaction
 * holds it back), the order of transaction ids.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/sequencer_rule.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sb_rule_init(sb_sequencer_rule_t *rule)
{
    memset(rule, 0, sizeof *rule);
}

void sb_rule_fini(sb_sequencer_rule_t *rule)
{
    free(rule->holders);
    memset(rule, 0, sizeof *rule);
}

void sb_rule_start(sb_sequencer_rule_t *rule, int64_t safe)
{
    rule->safe = safe;
    rule->previous = safe;
    rule->count = 0;
}

static int64_t low_of(const sb_sequencer_rule_t *rule, uint64_t transaction)
{
    for (int i = 0; i < rule->count; i++)
        if (rule->holders[i].transaction == transaction)
            return rule->holders[i].low;
    return rule->previous;
}

void sb_rule_run(sb_sequencer_rule_t *rule, int64_t run)
{
    if (run > rule->safe)
        rule->safe = run;
}

sb_code_t sb_rule_tick(sb_sequencer_rule_t *rule, int64_t drawn, const sb_holder_t *holders, int count,
                       sb_error_t *err)
{
    sb_holder_t *now = malloc((size_t)(count + 1) * sizeof *now);
    if (!now)
        return sb_fail(err, SB_NO_MEMORY, "sequencer: out of memory");
    int64_t safe = drawn;
    for (int i = 0; i < count; i++) {
        now[i] = holders[i];
        now[i].low = low_of(rule, holders[i].transaction);
        if (now[i].low < safe)
            safe = now[i].low;
    }
    free(rule->holders);
    rule->holders = now;
    rule->count = count;
    rule->previous = drawn;
    if (safe > rule->safe)
        rule->safe = safe;
    return SB_OK;
}

void sb_rule_rest(sb_sequencer_rule_t *rule, int64_t drawn)
{
    rule->previous = drawn;
    rule->count = 0;
}

const sb_holder_t *sb_rule_blocker(const sb_sequencer_rule_t *rule)
{
    const sb_holder_t *lowest = NULL;
    for (int i = 0; i < rule->count; i++)
        if (rule->holders[i].low < rule->previous && (!lowest || rule->holders[i].low < lowest->low))
            lowest = &rule->holders[i];
    return lowest;
}

bool sb_holder_parse(const char *text, uint64_t *transaction)
{
    int backend;
    unsigned local;
    if (sscanf(text, "%d/%u", &backend, &local) != 2)
        return false;
    *transaction = (uint64_t)(uint32_t)backend << 32 | local;
    return true;
}

char *sb_holder_format(uint64_t transaction, char text[SB_HOLDER_TEXT])
{
    (void)snprintf(text, SB_HOLDER_TEXT, "%d/%u", (int)(int32_t)(uint32_t)(transaction >> 32),
                   (unsigned)transaction);
    return text;
}
