/* Dead letters that an operator wants sent again: one at a time, the ones of a held key in their order, and
 * the key is free when none is left. Each that is taken is written down before the next one goes.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "base/clock.h"
#include "base/log.h"
#include "bus/push/push_internal.h"
#include "bus_sql.h"

#include <stdio.h>
#include <stdlib.h>

void sb_push_redrive_forget(sb_push_slot_t *slot)
{
    free(slot->again.key);
    slot->again = (sb_push_again_t){.active = false};
}

/* ---- which one ---- */

/* Keeps on with the key in hand; else the key that is due first. at_once: only what has no rate. */
static sb_code_t find_key(sb_push_t *push, sb_push_slot_t *slot, bool at_once, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    if (slot->again.key)
        return SB_OK;
    sb_pg_add_text(&params, slot->name);
    sb_pg_add_bool(&params, at_once);
    sb_code_t code = sb_pg_query(push->pg, sb_sql_sub_release_next, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0) {
        sb_slice_t topic = sb_pg_get_slice(rows, 0, 0);
        sb_slice_t key = sb_pg_get_slice(rows, 0, 1);
        (void)snprintf(slot->again.topic, sizeof slot->again.topic, "%.*s", SB_SLICE_ARG(topic));
        slot->again.pace_us = sb_pg_get_int(rows, 0, 2);
        slot->again.key = malloc(key.len + 1);
        if (slot->again.key) {
            memcpy(slot->again.key, key.ptr, key.len);
            slot->again.key_length = key.len;
        } else {
            code = sb_fail(err, SB_NO_MEMORY, "push: out of memory");
        }
    }
    sb_pg_result_free(rows);
    return code;
}

/* Rows of the next dead letter: of the key, or of its own. */
static sb_code_t find_letter(sb_push_t *push, sb_push_slot_t *slot, bool at_once, sb_pg_result_t **rows,
                             sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_add_text(&params, slot->name);
    if (!slot->again.key) {
        sb_pg_add_bool(&params, at_once);
        return sb_pg_query(push->pg, sb_sql_sub_dead_due, &params, rows, err);
    }
    sb_pg_add_text(&params, slot->again.topic);
    sb_pg_add_bytea(&params, (sb_slice_t){slot->again.key, slot->again.key_length});
    sb_pg_add_int8(&params, slot->again.no);
    return sb_pg_query(push->pg, sb_sql_push_letter, &params, rows, err);
}

/* Events of the key that are dead and not yet written down come first. */
static bool more_to_come(const sb_push_slot_t *slot, const char *prefix)
{
    sb_slice_t topic = sb_slice(slot->again.topic);
    size_t ahead = strlen(prefix);
    if (topic.len > ahead)
        topic = (sb_slice_t){topic.ptr + ahead, topic.len - ahead};
    const char *dot = topic.len ? memchr(topic.ptr, '.', topic.len) : NULL;
    if (dot)
        topic.len = (size_t)(dot - topic.ptr);
    return sb_push_window_holds(&slot->window, topic, (sb_slice_t){slot->again.key, slot->again.key_length});
}

static sb_code_t end_key(sb_push_t *push, sb_push_slot_t *slot, sb_error_t *err)
{
    if (more_to_come(slot, sb_config_get(push->config.config, "kafka.prefix")))
        return SB_OK;
    sb_code_t code = sb_push_key_free(push, slot, err);
    if (code == SB_OK)
        sb_log(SB_LOG_INFO, "PUSH-RELEASED", "a key is free again|subscription=%s", slot->name);
    sb_push_redrive_forget(slot);
    return code;
}

/* ---- sending it ---- */

/* One that is no event, as it was edited or came: it waits for an operator again, and says why; nothing else
 * waits for it. */
static sb_code_t give_back(sb_push_t *push, sb_push_slot_t *slot, int64_t no, int64_t *due_us,
                           sb_error_t *err)
{
    char why[sizeof err->message];
    (void)snprintf(why, sizeof why, "%s", err->message);
    sb_error_clear(err);
    sb_log(SB_LOG_WARN, "PUSH-UNREADABLE", "a dead letter cannot be sent: %s|subscription=%s no=%lld", why,
           slot->name, (long long)no);
    slot->again.no = no;
    sb_code_t code = sb_push_letter_failed(push, slot, why, err);
    sb_push_redrive_forget(slot);
    *due_us = 0;
    return code;
}

static sb_code_t send_letter(sb_push_t *push, sb_push_slot_t *slot, const sb_pg_result_t *rows,
                             int64_t *due_us, sb_error_t *err)
{
    sb_event_t event;
    sb_message_info_t info;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_dead_letter_row_t *row = malloc(sizeof *row);
    if (!row)
        return sb_fail(err, SB_NO_MEMORY, "push: out of memory");
    sb_dead_letter_read(rows, 0, row);
    bool sent = false;
    sb_code_t code = sb_message_decode(&row->record, &scratch, &event, &info, err);
    if (code == SB_OK) {
        event.seq = info.has_position ? info.position.seq : 0;
        code = sb_push_send(push, slot, &event, 0, &sent, due_us, err);
    }
    if (code == SB_INVALID || code == SB_UNSUPPORTED)
        code = give_back(push, slot, row->no, due_us, err);
    if (sent) {
        slot->again.active = true;
        slot->again.no = row->no;
        if (!slot->again.key) {
            (void)snprintf(slot->again.topic, sizeof slot->again.topic, "%s", row->topic);
            slot->again.pace_us = sb_pg_get_int(rows, 0, SB_DEAD_LETTER_PACE);
        }
    }
    sb_buf_fini(&scratch);
    free(row);
    return code;
}

/* Until when nothing may go; at_once: then only what has no rate. */
static int64_t not_before_us(const sb_push_slot_t *slot, int64_t now_us, bool *at_once)
{
    *at_once = slot->again_us > now_us;
    if (slot->silence.due_us > now_us)
        return slot->silence.due_us;
    if (!*at_once)
        return 0;
    if (slot->again.key)
        return slot->again.pace_us > 0 ? slot->again_us : 0;
    return slot->beside_us < slot->again_us ? slot->beside_us : slot->again_us;
}

static void found_nothing(sb_push_slot_t *slot, bool at_once, int64_t *due_us)
{
    if (!at_once) {
        slot->any_due = false;
        return;
    }
    slot->beside_us = sb_mono_us() + SB_REDRIVE_BESIDE_US;
    sb_push_sooner(due_us, slot->beside_us < slot->again_us ? slot->beside_us : slot->again_us);
}

sb_code_t sb_push_redrive(sb_push_t *push, sb_push_slot_t *slot, int64_t *due_us, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    bool at_once = false;
    if (slot->again.active || (!slot->any_due && !slot->again.key) ||
        slot->flying >= (int)slot->definition->at_once)
        return SB_OK;
    int64_t now_us = sb_mono_us();
    int64_t from_us = not_before_us(slot, now_us, &at_once);
    if (from_us > now_us) {
        sb_push_sooner(due_us, from_us);
        return SB_OK;
    }
    sb_code_t code = find_key(push, slot, at_once, err);
    if (code == SB_OK)
        code = find_letter(push, slot, at_once, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows) > 0)
        code = send_letter(push, slot, rows, due_us, err);
    else if (code == SB_OK && slot->again.key)
        code = end_key(push, slot, err);
    else if (code == SB_OK)
        found_nothing(slot, at_once, due_us);
    sb_pg_result_free(rows);
    return code;
}

/* ---- what came of it ---- */

/* No answer: it stays due, and goes again as an event does. True: it was the last try. */
static bool was_silent(sb_push_slot_t *slot, const sb_push_flight_t *flight)
{
    sb_push_silence_t *silence = &slot->silence;
    if (silence->no != slot->again.no)
        *silence = (sb_push_silence_t){.no = slot->again.no};
    bool counts = sb_push_counts(slot, flight, silence->tried_us);
    silence->tries += counts;
    silence->tried_us = sb_mono_us();
    silence->due_us = silence->tried_us + (int64_t)sb_push_pause_ms(slot, silence->tries) * 1000;
    return counts && !sb_retry_allowed(&slot->definition->retry, silence->tries);
}

sb_code_t sb_push_redrive_landed(sb_push_t *push, sb_push_slot_t *slot, const sb_push_flight_t *flight,
                                 sb_error_t *err)
{
    sb_code_t code = SB_OK;
    slot->again.active = false;
    if (slot->again.pace_us > 0)
        slot->again_us = sb_mono_us() + slot->again.pace_us;
    if (flight->cancelled || flight->verdict == SB_PUSH_WAIT || flight->verdict == SB_PUSH_GONE ||
        (flight->verdict == SB_PUSH_SILENT && !was_silent(slot, flight))) {
        sb_push_redrive_forget(slot); /* it is still due, and says nothing about the event */
    } else if (flight->verdict == SB_PUSH_DONE) {
        push->redriven++;
        slot->delivered++;
        push->delivered++;
        code = sb_push_letter_handled(push, slot, err);
        if (!slot->again.key || slot->again.pace_us > 0) /* until its time comes others may go */
            sb_push_redrive_forget(slot);
    } else {
        slot->failures++;
        push->failures++;
        slot->silence = (sb_push_silence_t){.no = 0};
        code = sb_push_letter_failed(push, slot, flight->error, err);
        sb_push_redrive_forget(slot);
    }
    return code;
}
