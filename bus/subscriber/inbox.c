/* SPDX-License-Identifier: Apache-2.0 */
#include "bus/subscriber/inbox.h"

#include "bus_sql.h"

static const char begin[] = "BEGIN ISOLATION LEVEL READ COMMITTED";
static const char commit[] = "COMMIT";

/* ---- claim ---- */

static void add_place(sb_pg_params_t *params, const char *subscription, const char *topic, int32_t partition)
{
    sb_pg_add_text(params, subscription);
    sb_pg_add_text(params, topic);
    sb_pg_add_int4(params, partition);
}

static void read_claim(const sb_pg_result_t *claimed, const sb_pg_result_t *known, sb_inbox_claim_t *out)
{
    *out = (sb_inbox_claim_t){
        .epoch = sb_pg_get_int(claimed, 0, 0),
        .mark = {sb_pg_get_int(claimed, 0, 1), sb_pg_get_int(claimed, 0, 2), sb_pg_get_int(claimed, 0, 3)},
        .other_cluster = sb_pg_get_bool(claimed, 0, 4),
        .top = {sb_pg_get_int(known, 0, 0), sb_pg_get_int(known, 0, 1)},
        .holds_keys = sb_pg_get_bool(known, 0, 2)};
}

sb_code_t sb_inbox_claim(sb_pg_t *pg, const char *subscription, const char *topic, int32_t partition,
                         const char *owner, const char *cluster_id, sb_inbox_claim_t *out, sb_error_t *err)
{
    sb_pg_params_t place = SB_PG_PARAMS_INIT;
    sb_pg_params_t taker = SB_PG_PARAMS_INIT;
    sb_pg_batch_t batch = {.count = 0};
    sb_pg_result_t *result[4];
    add_place(&place, subscription, topic, partition);
    add_place(&taker, subscription, topic, partition);
    sb_pg_add_text(&taker, owner);
    sb_pg_add_text(&taker, cluster_id);
    sb_pg_batch_add(&batch, sb_sql_sub_claim_add, &place);
    sb_pg_batch_add(&batch, sb_sql_sub_claim_lock, &place);
    sb_pg_batch_add(&batch, sb_sql_sub_claim, &taker);
    sb_pg_batch_add(&batch, sb_sql_sub_claim_known, &place);
    sb_code_t code = sb_pg_batch_run(pg, &batch, result, NULL, err);
    if (code != SB_OK)
        return sb_context(err, code, "claim %s %d for %s", topic, partition, subscription);
    read_claim(result[2], result[3], out);
    for (int i = 0; i < batch.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

sb_code_t sb_inbox_end_idle(sb_pg_t *pg, const char *subscription, const char *topic, int32_t partition,
                            const char *owner, int64_t idle_ms, int64_t *ended, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    add_place(&params, subscription, topic, partition);
    sb_pg_add_text(&params, owner);
    sb_pg_add_int8(&params, idle_ms);
    sb_code_t code = sb_pg_query(pg, sb_sql_sub_claim_end_idle, &params, &rows, err);
    *ended = code == SB_OK ? sb_pg_rows(rows) : 0;
    sb_pg_result_free(rows);
    return code;
}

sb_code_t sb_inbox_begin_again(sb_pg_t *pg, const char *subscription, const char *topic, int32_t partition,
                               int64_t epoch, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    add_place(&params, subscription, topic, partition);
    sb_pg_add_int8(&params, epoch);
    return sb_pg_query(pg, sb_sql_sub_begin_again, &params, NULL, err);
}

/* ---- begin ---- */

/* The arrays of a batch's three questions. */
typedef struct question {
    sb_pg_array_t topics, partitions, epochs;
    sb_pg_array_t key_topics, keys;
    sb_pg_array_t sources, ids, item_topics, item_partitions, incarnations, seqs, numbers;
    sb_pg_params_t hold, held, inbox, which;
} question_t;

static void init_arrays(question_t *q)
{
    sb_pg_array_init(&q->topics, SB_PG_TEXT);
    sb_pg_array_init(&q->partitions, SB_PG_INT4);
    sb_pg_array_init(&q->epochs, SB_PG_INT8);
    sb_pg_array_init(&q->key_topics, SB_PG_TEXT);
    sb_pg_array_init(&q->keys, SB_PG_BYTEA);
    sb_pg_array_init(&q->sources, SB_PG_TEXT);
    sb_pg_array_init(&q->ids, SB_PG_TEXT);
    sb_pg_array_init(&q->item_topics, SB_PG_TEXT);
    sb_pg_array_init(&q->item_partitions, SB_PG_INT4);
    sb_pg_array_init(&q->incarnations, SB_PG_INT8);
    sb_pg_array_init(&q->seqs, SB_PG_INT8);
    sb_pg_array_init(&q->numbers, SB_PG_INT4);
}

static void fini_arrays(question_t *q)
{
    sb_pg_array_t *all[] = {
        &q->topics, &q->partitions,  &q->epochs,          &q->key_topics,   &q->keys, &q->sources,
        &q->ids,    &q->item_topics, &q->item_partitions, &q->incarnations, &q->seqs, &q->numbers};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sb_pg_array_fini(all[i]);
}

static void fill_question(question_t *q, const char *subscription, const sb_inbox_batch_t *batch)
{
    for (size_t i = 0; i < batch->part_count; i++) {
        sb_pg_array_add_slice(&q->topics, sb_slice(batch->parts[i].topic));
        sb_pg_array_add_int4(&q->partitions, batch->parts[i].partition);
        sb_pg_array_add_int8(&q->epochs, batch->parts[i].epoch);
    }
    for (size_t i = 0; i < batch->key_count; i++) {
        sb_pg_array_add_slice(&q->key_topics, sb_slice(batch->keys[i].topic));
        sb_pg_array_add_slice(&q->keys, batch->keys[i].key);
    }
    for (size_t i = 0; i < batch->item_count; i++) {
        const sb_inbox_item_t *item = &batch->items[i];
        sb_pg_array_add_slice(&q->sources, item->source);
        sb_pg_array_add_slice(&q->ids, item->id);
        sb_pg_array_add_slice(&q->item_topics, sb_slice(item->topic));
        sb_pg_array_add_int4(&q->item_partitions, item->partition);
        sb_pg_array_add_int8(&q->incarnations, item->incarnation);
        sb_pg_array_add_int8(&q->seqs, item->seq);
        sb_pg_array_add_int4(&q->numbers, (int32_t)i);
    }
    sb_pg_add_text(&q->hold, subscription);
    sb_pg_add_array(&q->hold, &q->topics);
    sb_pg_add_array(&q->hold, &q->partitions);
    sb_pg_add_array(&q->hold, &q->epochs);
    sb_pg_add_text(&q->held, subscription);
    sb_pg_add_array(&q->held, &q->key_topics);
    sb_pg_add_array(&q->held, &q->keys);
    sb_pg_params_t *both[] = {&q->inbox, &q->which};
    for (size_t i = 0; i < 2; i++) {
        sb_pg_add_text(both[i], subscription);
        sb_pg_add_array(both[i], &q->sources);
        sb_pg_add_array(both[i], &q->ids);
        sb_pg_add_array(both[i], &q->item_topics);
        sb_pg_add_array(both[i], &q->item_partitions);
        sb_pg_add_array(both[i], &q->incarnations);
        sb_pg_add_array(both[i], &q->seqs);
    }
    sb_pg_add_array(&q->which, &q->numbers);
}

static void read_parts(const sb_inbox_batch_t *batch, const sb_pg_result_t *rows)
{
    for (size_t i = 0; i < batch->part_count; i++)
        batch->parts[i].held = false;
    for (int r = 0; r < sb_pg_rows(rows); r++) {
        sb_inbox_part_t *part = &batch->parts[sb_pg_get_int(rows, r, 0) - 1];
        part->held = true;
        part->stored = (sb_inbox_mark_t){sb_pg_get_int(rows, r, 1), sb_pg_get_int(rows, r, 2),
                                         sb_pg_get_int(rows, r, 3)};
    }
}

static void read_keys(const sb_inbox_batch_t *batch, const sb_pg_result_t *rows)
{
    for (size_t i = 0; i < batch->key_count; i++) {
        sb_inbox_key_t *key = &batch->keys[i];
        key->held = false;
        for (int r = 0; r < sb_pg_rows(rows) && !key->held; r++)
            key->held = sb_slice_is(sb_pg_get_slice(rows, r, 0), key->topic) &&
                        sb_slice_equal(sb_pg_get_slice(rows, r, 1), key->key);
    }
}

static void read_items(const sb_inbox_batch_t *batch, const sb_pg_result_t *rows)
{
    for (size_t i = 0; i < batch->item_count; i++)
        batch->items[i].is_new = false;
    for (int r = 0; r < sb_pg_rows(rows); r++)
        batch->items[sb_pg_get_int(rows, r, 0)].is_new = true;
}

/* *all_new: asks whether all items are new, which is quicker than which of them; false: ask again. */
static sb_code_t ask(sb_pg_t *pg, const question_t *q, const sb_inbox_batch_t *batch, bool *all_new,
                     sb_error_t *err)
{
    sb_pg_batch_t statements = {.count = 0};
    sb_pg_result_t *result[4];
    sb_pg_batch_add(&statements, begin, NULL);
    sb_pg_batch_add(&statements, sb_sql_sub_hold, &q->hold);
    int keys_at = batch->key_count ? statements.count : -1;
    if (batch->key_count)
        sb_pg_batch_add(&statements, sb_sql_sub_held_keys, &q->held);
    int items_at = batch->item_count ? statements.count : -1;
    if (batch->item_count)
        sb_pg_batch_add(&statements, *all_new ? sb_sql_sub_inbox_all : sb_sql_sub_inbox,
                        *all_new ? &q->inbox : &q->which);
    sb_code_t code = sb_pg_batch_run(pg, &statements, result, NULL, err);
    if (code != SB_OK)
        return code;
    read_parts(batch, result[1]);
    if (keys_at > 0)
        read_keys(batch, result[keys_at]);
    if (items_at > 0 && !*all_new)
        read_items(batch, result[items_at]);
    if (*all_new && items_at > 0)
        *all_new = sb_pg_affected(result[items_at]) == (int64_t)batch->item_count;
    for (size_t i = 0; *all_new && i < batch->item_count; i++)
        batch->items[i].is_new = true;
    for (int i = 0; i < statements.count; i++)
        sb_pg_result_free(result[i]);
    return SB_OK;
}

sb_code_t sb_inbox_begin(sb_pg_t *pg, const char *subscription, const sb_inbox_batch_t *batch,
                         sb_error_t *err)
{
    question_t q = {.hold = SB_PG_PARAMS_INIT,
                    .held = SB_PG_PARAMS_INIT,
                    .inbox = SB_PG_PARAMS_INIT,
                    .which = SB_PG_PARAMS_INIT};
    bool all_new = true;
    init_arrays(&q);
    fill_question(&q, subscription, batch);
    sb_code_t code = ask(pg, &q, batch, &all_new, err);
    if (code == SB_OK && !all_new) {
        sb_pg_rollback(pg);
        code = ask(pg, &q, batch, &all_new, err);
    }
    if (code == SB_UNKNOWN_OUTCOME) /* nothing was to be committed */
        code = sb_fail(err, SB_UNAVAILABLE, "PostgreSQL: the connection broke");
    fini_arrays(&q);
    return code;
}

/* ---- positions ---- */

typedef struct marks {
    sb_pg_array_t topics, partitions, epochs, incarnations, seqs, offsets;
    sb_pg_array_t pass_topics, pass_partitions, pass_incarnations, pass_seqs, pass_epochs;
    sb_pg_params_t save, pass;
    bool any_pass;
} marks_t;

static void fill_marks(marks_t *m, const char *subscription, const sb_inbox_save_t *saves, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        sb_pg_array_add_slice(&m->topics, sb_slice(saves[i].topic));
        sb_pg_array_add_int4(&m->partitions, saves[i].partition);
        sb_pg_array_add_int8(&m->epochs, saves[i].epoch);
        sb_pg_array_add_int8(&m->incarnations, saves[i].mark.incarnation);
        sb_pg_array_add_int8(&m->seqs, saves[i].mark.seq);
        sb_pg_array_add_int8(&m->offsets, saves[i].mark.next_offset);
        if (!saves[i].pass)
            continue;
        m->any_pass = true;
        sb_pg_array_add_slice(&m->pass_topics, sb_slice(saves[i].topic));
        sb_pg_array_add_int4(&m->pass_partitions, saves[i].partition);
        sb_pg_array_add_int8(&m->pass_incarnations, saves[i].mark.incarnation);
        sb_pg_array_add_int8(&m->pass_seqs, saves[i].mark.seq);
        sb_pg_array_add_int8(&m->pass_epochs, saves[i].epoch);
    }
    sb_pg_add_text(&m->save, subscription);
    sb_pg_add_array(&m->save, &m->topics);
    sb_pg_add_array(&m->save, &m->partitions);
    sb_pg_add_array(&m->save, &m->epochs);
    sb_pg_add_array(&m->save, &m->incarnations);
    sb_pg_add_array(&m->save, &m->seqs);
    sb_pg_add_array(&m->save, &m->offsets);
    sb_pg_add_text(&m->pass, subscription);
    sb_pg_add_array(&m->pass, &m->pass_topics);
    sb_pg_add_array(&m->pass, &m->pass_partitions);
    sb_pg_add_array(&m->pass, &m->pass_incarnations);
    sb_pg_add_array(&m->pass, &m->pass_seqs);
    sb_pg_add_array(&m->pass, &m->pass_epochs);
}

static void init_marks(marks_t *m)
{
    *m = (marks_t){.save = SB_PG_PARAMS_INIT, .pass = SB_PG_PARAMS_INIT};
    sb_pg_array_init(&m->topics, SB_PG_TEXT);
    sb_pg_array_init(&m->partitions, SB_PG_INT4);
    sb_pg_array_init(&m->epochs, SB_PG_INT8);
    sb_pg_array_init(&m->incarnations, SB_PG_INT8);
    sb_pg_array_init(&m->seqs, SB_PG_INT8);
    sb_pg_array_init(&m->offsets, SB_PG_INT8);
    sb_pg_array_init(&m->pass_topics, SB_PG_TEXT);
    sb_pg_array_init(&m->pass_partitions, SB_PG_INT4);
    sb_pg_array_init(&m->pass_incarnations, SB_PG_INT8);
    sb_pg_array_init(&m->pass_seqs, SB_PG_INT8);
    sb_pg_array_init(&m->pass_epochs, SB_PG_INT8);
}

static void fini_marks(marks_t *m)
{
    sb_pg_array_t *all[] = {
        &m->topics,     &m->partitions,  &m->epochs,          &m->incarnations,      &m->seqs,
        &m->offsets,    &m->pass_topics, &m->pass_partitions, &m->pass_incarnations, &m->pass_seqs,
        &m->pass_epochs};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        sb_pg_array_fini(all[i]);
}

/* in_transaction: ends the open one, whose rows sb_inbox_begin has locked, so all of them must be there. */
static sb_code_t move_marks(sb_pg_t *pg, const marks_t *m, size_t count, bool in_transaction, sb_error_t *err)
{
    sb_pg_batch_t statements = {.count = 0};
    sb_pg_result_t *result[3] = {NULL, NULL, NULL};
    if (count > 0)
        sb_pg_batch_add(&statements, sb_sql_sub_save, &m->save);
    if (m->any_pass)
        sb_pg_batch_add(&statements, sb_sql_sub_inbox_pass, &m->pass);
    if (in_transaction)
        sb_pg_batch_add(&statements, commit, NULL);
    sb_code_t code = sb_pg_batch_run(pg, &statements, result, NULL, err);
    for (int i = 0; i < statements.count; i++)
        sb_pg_result_free(result[i]);
    return code;
}

static sb_code_t save(sb_pg_t *pg, const char *subscription, const sb_inbox_save_t *saves, size_t count,
                      bool in_transaction, sb_error_t *err)
{
    marks_t marks;
    init_marks(&marks);
    fill_marks(&marks, subscription, saves, count);
    sb_code_t code = move_marks(pg, &marks, count, in_transaction, err);
    fini_marks(&marks);
    return code;
}

sb_code_t sb_inbox_commit(sb_pg_t *pg, const char *subscription, const sb_inbox_save_t *saves, size_t count,
                          sb_error_t *err)
{
    return save(pg, subscription, saves, count, true, err);
}

sb_code_t sb_inbox_save(sb_pg_t *pg, const char *subscription, const sb_inbox_save_t *saves, size_t count,
                        sb_error_t *err)
{
    return count ? save(pg, subscription, saves, count, false, err) : SB_OK;
}

sb_code_t sb_inbox_purge(sb_pg_t *pg, sb_error_t *err)
{
    return sb_pg_query(pg, sb_sql_sub_inbox_purge, NULL, NULL, err);
}
