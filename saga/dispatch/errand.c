/* SPDX-License-Identifier: Apache-2.0 */
#include "saga/dispatch/errand.h"

#include "base/clock.h"
#include "saga/contract.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the text ---- */

static size_t text_bytes(const sb_record_t *record)
{
    size_t bytes = record->header_count * sizeof(sb_header_t) + record->key.len + record->value.len + 1;
    for (size_t i = 0; i < record->header_count; i++)
        bytes += strlen(record->headers[i].name) + 1 + record->headers[i].value.len;
    return bytes;
}

static sb_slice_t keep(char **at, sb_slice_t from)
{
    sb_slice_t kept = {*at, from.len};
    if (!from.ptr)
        return SB_SLICE_NONE;
    memcpy(*at, from.ptr, from.len);
    *at += from.len;
    return kept;
}

static sb_code_t take_text(sb_errand_t *errand, const sb_record_t *record, sb_error_t *err)
{
    size_t bytes = text_bytes(record);
    char *text = malloc(bytes);
    if (!text)
        return sb_fail(err, SB_NO_MEMORY, "keep a command: out of memory");
    free(errand->text);
    errand->text = text;
    errand->bytes = bytes;
    errand->header = (sb_header_t *)(void *)text;
    errand->header_count = record->header_count;
    char *at = text + record->header_count * sizeof(sb_header_t);
    for (size_t i = 0; i < record->header_count; i++) {
        const char *name = record->headers[i].name;
        errand->header[i].name = keep(&at, (sb_slice_t){name, strlen(name) + 1}).ptr;
        errand->header[i].value = keep(&at, record->headers[i].value);
    }
    errand->key = keep(&at, record->key);
    errand->value = keep(&at, record->value);
    return SB_OK;
}

sb_slice_t sb_errand_header(const sb_errand_t *errand, const char *name)
{
    for (size_t i = 0; errand->text && i < errand->header_count; i++)
        if (strcmp(errand->header[i].name, name) == 0)
            return errand->header[i].value;
    return SB_SLICE_NONE;
}

static int small_number(sb_slice_t text)
{
    int value = 0;
    for (size_t i = 0; text.ptr && i < text.len && i < 6; i++)
        value = value * 10 + (text.ptr[i] - '0');
    return value;
}

sb_code_t sb_errand_renew(sb_errand_t *errand, const sb_record_t *record, int64_t now_us, sb_error_t *err)
{
    sb_code_t code = take_text(errand, record, err);
    if (code != SB_OK)
        return code;
    errand->came_us = errand->clock_us = now_us;
    errand->patience_us = record->patience_us;
    errand->expiry_us = 0;
    sb_slice_t expiry = sb_errand_header(errand, SB_H_EXPIRY);
    if (expiry.ptr)
        (void)sb_time_parse(expiry, &errand->expiry_us);
    errand->repeat = errand->repeat || small_number(sb_errand_header(errand, SB_H_ATTEMPT)) > 1;
    return SB_OK;
}

sb_code_t sb_errand_new(sb_errand_t **out, const sb_record_t *record, int64_t now_us, sb_error_t *err)
{
    *out = NULL;
    sb_errand_t *errand = calloc(1, sizeof *errand);
    if (!errand)
        return sb_fail(err, SB_NO_MEMORY, "keep a command: out of memory");
    sb_code_t code = sb_errand_renew(errand, record, now_us, err);
    sb_slice_t id = sb_errand_header(errand, SB_H_ID);
    if (code == SB_OK && (!id.ptr || !sb_uuid_parse(id.ptr, id.len, &errand->id)))
        code = sb_fail(err, SB_INVALID, "a command without an id");
    if (code != SB_OK) {
        sb_errand_free(errand);
        return code;
    }
    errand->tag = record->tag;
    errand->since_us = now_us;
    errand->shard = small_number(sb_errand_header(errand, SB_H_REPLY_PART));
    errand->round = (uint16_t)small_number(sb_errand_header(errand, SB_H_ROUND));
    errand->undo = sb_slice_is(sb_errand_header(errand, SB_H_DIRECTION), "compensate");
    *out = errand;
    return SB_OK;
}

void sb_errand_free(sb_errand_t *errand)
{
    free(errand->text);
    free(errand);
}

void sb_errand_forget_text(sb_errand_t *errand)
{
    free(errand->text);
    errand->text = NULL;
    errand->header = NULL;
    errand->header_count = 0;
    errand->key = errand->value = SB_SLICE_NONE;
    errand->bytes = 0;
}

void sb_errand_restart_clock(sb_errand_t *errand, int64_t now_us)
{
    errand->clock_us = now_us;
}

sb_slice_t sb_errand_expiry(const sb_errand_t *errand, char text[SB_TIME_TEXT])
{
    if (errand->expiry_us == 0)
        return SB_SLICE_NONE;
    return sb_slice(sb_time_format(errand->expiry_us + errand->clock_us - errand->came_us, text));
}

/* ---- lists ---- */

void sb_errand_leave(sb_errand_t *errand)
{
    sb_errand_list_t *list = errand->list;
    if (!list)
        return;
    if (errand->prev)
        errand->prev->next = errand->next;
    else
        list->first = errand->next;
    if (errand->next)
        errand->next->prev = errand->prev;
    else
        list->last = errand->prev;
    list->count--;
    errand->list = NULL;
    errand->next = errand->prev = NULL;
}

void sb_errand_append(sb_errand_list_t *list, sb_errand_t *errand)
{
    sb_errand_leave(errand);
    errand->list = list;
    errand->prev = list->last;
    if (list->last)
        list->last->next = errand;
    else
        list->first = errand;
    list->last = errand;
    list->count++;
}

void sb_errand_prepend(sb_errand_list_t *list, sb_errand_t *errand)
{
    sb_errand_leave(errand);
    errand->list = list;
    errand->next = list->first;
    if (list->first)
        list->first->prev = errand;
    else
        list->last = errand;
    list->first = errand;
    list->count++;
}

/* ---- table ---- */

/* Ids are hashes by themselves. */
static size_t bucket_of(const sb_uuid_t *id)
{
    uint32_t n;
    memcpy(&n, id, sizeof n);
    return n % SB_ERRAND_BUCKETS;
}

void sb_errands_add(sb_errands_t *errands, sb_errand_t *errand)
{
    sb_errand_t **bucket = &errands->bucket[bucket_of(&errand->id)];
    errand->hash_next = *bucket;
    *bucket = errand;
    errands->count++;
}

void sb_errands_remove(sb_errands_t *errands, sb_errand_t *errand)
{
    sb_errand_t **at = &errands->bucket[bucket_of(&errand->id)];
    while (*at != errand)
        at = &(*at)->hash_next;
    *at = errand->hash_next;
    errands->count--;
}

sb_errand_t *sb_errands_find(const sb_errands_t *errands, const sb_uuid_t *id)
{
    sb_errand_t *errand = errands->bucket[bucket_of(id)];
    while (errand && !sb_uuid_equal(&errand->id, id))
        errand = errand->hash_next;
    return errand;
}

/* ---- the reply ---- */

static void add(sb_errand_message_t *out, const char *name, sb_slice_t value)
{
    if (value.ptr && out->count < SB_HEADERS_MAX)
        out->header[out->count++] = (sb_header_t){name, value};
}

void sb_errand_answer(const sb_errand_t *errand, const sb_errand_reply_t *reply, const char *participant,
                      sb_errand_message_t *out)
{
    static const char *const outcomes[] = {[SB_OUTCOME_SUCCESS] = "success",
                                           [SB_OUTCOME_FAILURE] = "failure",
                                           [SB_OUTCOME_ERROR] = "error",
                                           [SB_OUTCOME_PENDING] = "pending"};
    sb_uuid_t id = sb_uuid_v7();
    out->count = 0;
    for (size_t i = 0; i < errand->header_count; i++)
        if (strncmp(errand->header[i].name, SB_H_SAGA_PREFIX, sizeof SB_H_SAGA_PREFIX - 1) == 0)
            add(out, errand->header[i].name, errand->header[i].value);
    (void)snprintf(out->type, sizeof out->type, "%.*s.reply",
                   SB_SLICE_ARG(sb_errand_header(errand, SB_H_TYPE)));
    (void)snprintf(out->source, sizeof out->source, "/sagabus/participants/%s", participant);
    add(out, SB_H_SPECVERSION, SB_SLICE("1.0"));
    add(out, SB_H_ID, sb_slice(sb_uuid_format(&id, out->id)));
    add(out, SB_H_TYPE, sb_slice(out->type));
    add(out, SB_H_SOURCE, sb_slice(out->source));
    add(out, SB_H_CAUSATION, sb_slice(sb_uuid_format(&errand->id, out->causation)));
    add(out, SB_H_OUTCOME, sb_slice(outcomes[reply->outcome]));
    add(out, SB_H_ERROR, reply->error);
    add(out, SB_H_ERROR_CLASS, sb_slice(sb_error_class_name(reply->error_class)));
    if (reply->attention)
        add(out, SB_H_ATTENTION, SB_SLICE("true"));
}
