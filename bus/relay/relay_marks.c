/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/relay/relay_marks.h"

#include "base/scan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PARTITIONS_MAX 100000

static void free_mark(sb_relay_mark_t *mark)
{
    free(mark->acked);
    free(mark->sent);
    free(mark);
}

void sb_relay_marks_fini(sb_relay_marks_t *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        free_mark(marks->item[i]);
    free(marks->item);
    *marks = (sb_relay_marks_t){.item = NULL};
}

sb_relay_mark_t *sb_relay_marks_find(const sb_relay_marks_t *marks, const char *topic)
{
    for (size_t i = 0; i < marks->count; i++)
        if (strcmp(marks->item[i]->topic, topic) == 0)
            return marks->item[i];
    return NULL;
}

sb_code_t sb_relay_marks_add(sb_relay_marks_t *marks, const char *topic, int32_t count, sb_relay_mark_t **out,
                             sb_error_t *err)
{
    sb_relay_mark_t **grown = realloc(marks->item, (marks->count + 1) * sizeof(sb_relay_mark_t *));
    sb_relay_mark_t *mark = calloc(1, sizeof *mark);
    if (grown)
        marks->item = grown;
    if (mark) {
        (void)snprintf(mark->topic, sizeof mark->topic, "%s", topic);
        mark->count = count;
        mark->acked = calloc((size_t)count, sizeof *mark->acked);
        mark->sent = calloc((size_t)count, sizeof *mark->sent);
    }
    if (!grown || !mark || !mark->acked || !mark->sent) {
        if (mark)
            free_mark(mark);
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    }
    marks->item[marks->count++] = mark;
    *out = mark;
    return SB_OK;
}

sb_code_t sb_relay_mark_spread(sb_relay_mark_t *mark, int32_t count, sb_error_t *err)
{
    int64_t newest = 0;
    for (int32_t p = 0; p < mark->count; p++)
        newest = mark->acked[p] > newest ? mark->acked[p] : newest;
    int64_t *acked = calloc((size_t)count, sizeof *acked);
    int64_t *sent = calloc((size_t)count, sizeof *sent);
    if (!acked || !sent) {
        free(acked);
        free(sent);
        return sb_fail(err, SB_NO_MEMORY, "relay: out of memory");
    }
    for (int32_t p = 0; p < count; p++)
        acked[p] = sent[p] = newest;
    free(mark->acked);
    free(mark->sent);
    mark->acked = acked;
    mark->sent = sent;
    mark->count = count;
    return SB_OK;
}

void sb_relay_marks_rewind(sb_relay_marks_t *marks)
{
    for (size_t i = 0; i < marks->count; i++)
        memcpy(marks->item[i]->sent, marks->item[i]->acked,
               (size_t)marks->item[i]->count * sizeof *marks->item[i]->sent);
}

/* ---- as JSON ---- */

void sb_relay_marks_write(const sb_relay_marks_t *marks, sb_buf_t *out)
{
    sb_buf_add_text(out, "{\"cluster\":");
    sb_buf_add_json(out, sb_slice(marks->cluster_id));
    sb_buf_printf(out, ",\"forked\":%" PRId64 ",\"topics\":{", marks->forked);
    for (size_t i = 0; i < marks->count; i++) {
        const sb_relay_mark_t *mark = marks->item[i];
        if (i > 0)
            sb_buf_add_char(out, ',');
        sb_buf_add_json(out, sb_slice(mark->topic));
        for (int32_t p = 0; p < mark->count; p++)
            sb_buf_printf(out, "%s%" PRId64, p == 0 ? ":[" : ",", mark->acked[p]);
        sb_buf_add_char(out, ']');
    }
    sb_buf_add_text(out, "}}");
}

static sb_code_t corrupt(sb_error_t *err, const char *what)
{
    return sb_fail(err, SB_CORRUPT, "the relay's lease row: %s is not what a relay writes", what);
}

static sb_code_t parse_mark(sb_relay_marks_t *marks, sb_slice_t name, sb_slice_t list, sb_error_t *err)
{
    sb_topic_t topic;
    sb_scan_value_t value;
    sb_relay_mark_t *mark = NULL;
    int32_t count = 0;
    if (name.len >= sizeof topic)
        return corrupt(err, "a topic name");
    (void)snprintf(topic, sizeof topic, "%.*s", SB_SLICE_ARG(name));
    for (size_t at = 0; count < PARTITIONS_MAX && sb_scan_next(list, &at, NULL, &value);)
        count++;
    if (count == 0)
        return corrupt(err, topic);
    sb_code_t code = sb_relay_marks_add(marks, topic, count, &mark, err);
    size_t at = 0;
    for (int32_t p = 0; p < count && code == SB_OK && mark; p++)
        if (!sb_scan_next(list, &at, NULL, &value) || !sb_scan_int64(&value, &mark->acked[p]))
            code = corrupt(err, topic);
    return code;
}

static sb_code_t parse_topics(sb_relay_marks_t *marks, sb_slice_t topics, sb_error_t *err)
{
    sb_scan_value_t name;
    sb_scan_value_t list;
    sb_code_t code = SB_OK;
    /* Topic names need no escapes, so the name is the text within the quotes. */
    for (size_t at = 0; code == SB_OK && sb_scan_next(topics, &at, &name, &list);)
        code = parse_mark(marks, (sb_slice_t){name.text.ptr + 1, name.text.len - 2}, list.text, err);
    return code;
}

sb_code_t sb_relay_marks_parse(sb_relay_marks_t *marks, sb_slice_t detail, sb_error_t *err)
{
    sb_scan_value_t value;
    sb_buf_t scratch = SB_BUF_INIT;
    sb_code_t code = SB_OK;
    sb_relay_marks_fini(marks);
    if (detail.len > 0 && !sb_scan_valid(detail, NULL))
        return corrupt(err, "its detail");
    if (sb_scan_field(detail, "cluster", &value))
        (void)snprintf(marks->cluster_id, sizeof marks->cluster_id, "%.*s",
                       SB_SLICE_ARG(sb_scan_string(&value, &scratch)));
    if (sb_scan_field(detail, "forked", &value) && !sb_scan_int64(&value, &marks->forked))
        code = corrupt(err, "forked");
    if (code == SB_OK && sb_scan_field(detail, "topics", &value))
        code = parse_topics(marks, value.text, err);
    sb_relay_marks_rewind(marks);
    sb_buf_fini(&scratch);
    return code;
}
