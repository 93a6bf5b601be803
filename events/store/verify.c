/* SPDX-License-Identifier: Apache-2.0 */
#include "events/store/verify.h"

#include "events_sql.h"

#include <inttypes.h>
#include <stdlib.h>

#define ROWS_MAX (SB_SEAL_EVENTS_MAX + 1) /* one more than any seal has: enough to find what was added */

typedef struct verifier {
    const sb_verify_config_t *config;
    sb_verify_report_t *report;
    sb_pg_t *pg;
    sb_hasher_t *hasher;
    int64_t detached[2]; /* nothing is expected up to here, of the domain's and the sagas' events */
    sb_hash_t prev;      /* of the seal before */
    int64_t prev_to;
    bool has_prev;
    /* of the seal in hand */
    int64_t from;
    sb_seal_tree_t tree;
    sb_buf_t marks; /* of the events as they are now */
    sb_buf_t kept;  /* as they were sealed, without those that were detached */
    bool partly;    /* some of them were */
    int64_t erased;
} verifier_t;

const char *sb_fault_name(sb_fault_t fault)
{
    static const char *const names[] = {"none", "altered", "missing", "added", "seal", "root"};
    return names[fault];
}

/* ---- faults ---- */

static void fault(verifier_t *v, sb_fault_t kind, int64_t seq, const char *format, ...) SB_PRINTF(4, 5);

static void fault(verifier_t *v, sb_fault_t kind, int64_t seq, const char *format, ...)
{
    va_list args;
    v->report->fault = kind;
    v->report->fault_seq = seq;
    va_start(args, format);
    (void)vsnprintf(v->report->fault_text, sizeof v->report->fault_text, format, args);
    va_end(args);
}

static sb_code_t fault_of_event(verifier_t *v, sb_fault_t kind, const sb_seal_mark_t *mark, const char *what,
                                sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, mark->stream_no);
    sb_pg_add_int4(&params, mark->event_class);
    sb_pg_add_int4(&params, mark->type_no);
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_names, &params, &rows, err);
    if (code != SB_OK)
        return code;
    const char *stream = sb_pg_get_text(rows, 0, 0);
    const char *type = sb_pg_get_text(rows, 0, 1);
    (void)snprintf(v->report->fault_stream, sizeof v->report->fault_stream, "%s", stream ? stream : "");
    v->report->fault_stream_no = mark->stream_no;
    v->report->fault_version = mark->version;
    fault(v, kind, mark->seq, "event %" PRId64 " (stream %s, number %" PRId64 ", version %d, type %s) %s",
          mark->seq, stream ? stream : "unknown", mark->stream_no, mark->version, type ? type : "unknown",
          what);
    sb_pg_result_free(rows);
    return SB_OK;
}

/* What differs between the mark that was sealed and the row as it is. */
static void describe(const sb_seal_mark_t *sealed, const sb_seal_mark_t *now, char text[128])
{
    static const char *const names[] = {
        "stream", "version", "class", "type", "time, id, or the name of stream or type", "meta", "data"};
    bool differs[] = {sealed->stream_no != now->stream_no,
                      sealed->version != now->version,
                      sealed->event_class != now->event_class,
                      sealed->type_no != now->type_no,
                      memcmp(sealed->rest, now->rest, sizeof now->rest) != 0,
                      memcmp(sealed->meta, now->meta, sizeof now->meta) != 0,
                      memcmp(sealed->data, now->data, sizeof now->data) != 0};
    /* another stream or type has another name: that is said once */
    differs[4] = differs[4] && !differs[0] && !differs[2] && !differs[3];
    size_t used = (size_t)snprintf(text, 128, "was altered:");
    for (size_t i = 0, count = 0; i < sizeof names / sizeof names[0] && used < 128; i++)
        if (differs[i])
            used += (size_t)snprintf(text + used, 128 - used, "%s %s", count++ ? "," : "", names[i]);
}

/* The first difference between the events as sealed and as they are, by their marks. None leaves no fault. */
static sb_code_t find_difference(verifier_t *v, const sb_seal_t *seal, sb_slice_t sealed, sb_error_t *err)
{
    size_t sealed_count = sealed.len / SB_SEAL_MARK;
    size_t count = v->marks.len / SB_SEAL_MARK;
    for (size_t i = 0, j = 0; i < sealed_count || j < count; i++, j++) {
        const uint8_t *was = (const uint8_t *)sealed.ptr + i * SB_SEAL_MARK;
        const uint8_t *is = (const uint8_t *)v->marks.ptr + j * SB_SEAL_MARK;
        sb_seal_mark_t before =
            i < sealed_count ? sb_seal_mark_read(was, seal->from) : (sb_seal_mark_t){.seq = INT64_MAX};
        sb_seal_mark_t now =
            j < count ? sb_seal_mark_read(is, seal->from) : (sb_seal_mark_t){.seq = INT64_MAX};
        char text[128];
        if (before.seq < now.seq)
            return fault_of_event(v, SB_FAULT_MISSING, &before, "is missing", err);
        if (now.seq < before.seq)
            return fault_of_event(v, SB_FAULT_ADDED, &now, "was added after the range was sealed", err);
        if (memcmp(was, is, SB_SEAL_MARK) == 0)
            continue;
        describe(&before, &now, text);
        return fault_of_event(v, SB_FAULT_ALTERED, &now, text, err);
    }
    return SB_OK;
}

/* ---- one seal ---- */

static sb_code_t add_row(void *context, const sb_seal_row_t *row, sb_error_t *err)
{
    verifier_t *v = context;
    if (v->partly && row->seq <= v->detached[row->event_class == 2])
        return SB_OK; /* noted as gone, and still in its place until the command is ended */
    sb_hash_t leaf;
    uint8_t mark[SB_SEAL_MARK];
    sb_code_t code = sb_seal_leaf(v->hasher, row, v->from, &leaf, mark, err);
    if (code == SB_OK)
        code = sb_seal_tree_add(v->hasher, &v->tree, &leaf, err);
    sb_buf_add(&v->marks, mark, sizeof mark);
    v->erased += row->erased;
    return code;
}

static sb_code_t read_events(verifier_t *v, const sb_seal_t *seal, sb_error_t *err)
{
    v->from = seal->from;
    v->tree.leaves = 0;
    v->erased = 0;
    sb_buf_reset(&v->marks);
    sb_code_t code = sb_seal_rows(v->pg, v->hasher, seal->from == 1 ? -1 : seal->from - 1, seal->to, ROWS_MAX,
                                  add_row, v, err);
    if (code == SB_OK && sb_buf_failed(&v->marks))
        code = sb_fail(err, SB_NO_MEMORY, "verify: out of memory");
    return code;
}

/* All of a seal's events are here: they must give its root. The marks only find what does not. */
static sb_code_t check_whole(verifier_t *v, const sb_seal_t *seal, sb_slice_t marks, sb_error_t *err)
{
    sb_hash_t root;
    sb_code_t code = read_events(v, seal, err);
    if (code == SB_OK)
        code = sb_seal_tree_root(v->hasher, &v->tree, &root, err);
    if (code != SB_OK ||
        ((int)v->tree.leaves == seal->leaves && memcmp(root.byte, seal->root.byte, sizeof root.byte) == 0))
        return code;
    code = find_difference(v, seal, marks, err);
    if (code == SB_OK && v->report->fault == SB_FAULT_NONE)
        fault(v, SB_FAULT_SEAL, seal->to,
              "the seal of %" PRId64 " to %" PRId64 " was altered: its events are as its marks "
              "say, and do not give its root",
              seal->from, seal->to);
    return code;
}

/* The marks of those that were not detached, to v->kept; false: all were kept. */
static bool leave_out_detached(verifier_t *v, const sb_seal_t *seal, sb_slice_t marks)
{
    sb_buf_reset(&v->kept);
    for (size_t at = 0; at + SB_SEAL_MARK <= marks.len; at += SB_SEAL_MARK) {
        sb_seal_mark_t mark = sb_seal_mark_read((const uint8_t *)marks.ptr + at, seal->from);
        if (mark.seq > v->detached[mark.event_class == 2])
            sb_buf_add(&v->kept, marks.ptr + at, SB_SEAL_MARK);
    }
    return v->kept.len < marks.len;
}

/* Some of its events were taken away, or all: what is left of the other class is held to its marks. */
static sb_code_t check_rest(verifier_t *v, const sb_seal_t *seal, sb_error_t *err)
{
    if (sb_buf_failed(&v->kept))
        return sb_fail(err, SB_NO_MEMORY, "verify: out of memory");
    sb_code_t code = read_events(v, seal, err);
    return code == SB_OK ? find_difference(v, seal, sb_buf_slice(&v->kept), err) : code;
}

static bool check_chain(verifier_t *v, const sb_seal_t *seal, const sb_hash_t *computed)
{
    if (memcmp(computed->byte, seal->hash.byte, sizeof computed->byte) != 0)
        fault(v, SB_FAULT_SEAL, seal->to,
              "the seal of %" PRId64 " to %" PRId64 " was altered: it does not give its own hash", seal->from,
              seal->to);
    else if (v->has_prev && seal->from != v->prev_to + 1)
        fault(v, SB_FAULT_SEAL, seal->to, "the seals of %" PRId64 " to %" PRId64 " are missing",
              v->prev_to + 1, seal->from - 1);
    else if (v->has_prev && memcmp(v->prev.byte, seal->prev.byte, sizeof v->prev.byte) != 0)
        fault(v, SB_FAULT_SEAL, seal->to,
              "the seal of %" PRId64 " to %" PRId64
              " does not follow the one before: one of the two was rewritten",
              seal->from, seal->to);
    return v->report->fault == SB_FAULT_NONE;
}

static void copy_hash(sb_hash_t *out, sb_slice_t bytes)
{
    memset(out, 0, sizeof *out);
    if (bytes.len == sizeof out->byte)
        memcpy(out->byte, bytes.ptr, bytes.len);
}

static sb_code_t read_detached(verifier_t *v, bool *changed, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_detached, NULL, &rows, err);
    for (int i = 0; code == SB_OK && i < 2; i++) {
        *changed |= v->detached[i] != sb_pg_get_int(rows, 0, i);
        v->detached[i] = sb_pg_get_int(rows, 0, i);
    }
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t check_events(verifier_t *v, const sb_seal_t *seal, sb_slice_t marks, sb_error_t *err)
{
    bool again = true;
    sb_code_t code = SB_OK;
    while (code == SB_OK && again) {
        v->partly = leave_out_detached(v, seal, marks);
        again = false;
        code = v->partly ? check_rest(v, seal, err) : check_whole(v, seal, marks, err);
        if (code == SB_OK && v->report->fault != SB_FAULT_NONE)
            code = read_detached(v, &again, err); /* taken away meanwhile, perhaps */
        if (again)
            v->report->fault = SB_FAULT_NONE;
    }
    if (code != SB_OK || v->report->fault != SB_FAULT_NONE)
        return code;
    if (v->kept.len < marks.len) {
        v->report->detached_seals++;
        v->report->detached_to = seal->to;
    }
    v->report->events += v->tree.leaves;
    v->report->erased += v->erased;
    return SB_OK;
}

static sb_code_t check_seal(verifier_t *v, const sb_pg_result_t *rows, int row, sb_error_t *err)
{
    sb_seal_t seal = {.from = sb_pg_get_int(rows, row, 0),
                      .to = sb_pg_get_int(rows, row, 1),
                      .leaves = (int)sb_pg_get_int(rows, row, 2)};
    sb_hash_t stored;
    sb_slice_t marks = sb_pg_get_slice(rows, row, 6);
    copy_hash(&seal.root, sb_pg_get_slice(rows, row, 3));
    copy_hash(&seal.prev, sb_pg_get_slice(rows, row, 4));
    copy_hash(&stored, sb_pg_get_slice(rows, row, 5));
    sb_code_t code = sb_seal_hash(v->hasher, &seal, marks, err);
    sb_hash_t computed = seal.hash;
    seal.hash = stored;
    if (code != SB_OK || !check_chain(v, &seal, &computed))
        return code;
    code = check_events(v, &seal, marks, err);
    if (code != SB_OK || v->report->fault != SB_FAULT_NONE)
        return code;
    v->prev = seal.hash;
    v->prev_to = seal.to;
    v->has_prev = true;
    v->report->seals++;
    v->report->head = seal.hash;
    v->report->head_seq = seal.to;
    return SB_OK;
}

/* ---- the whole ---- */

/* What the first seal must follow: the one before it, or nothing when it is the first there ever was. */
static sb_code_t find_start(verifier_t *v, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    v->has_prev = true;
    sb_pg_add_int8(&params, v->config->from);
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_before, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows)) {
        v->prev_to = sb_pg_get_int(rows, 0, 0);
        copy_hash(&v->prev, sb_pg_get_slice(rows, 0, 1));
    }
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t check_page(verifier_t *v, int64_t to, int *count, sb_error_t *err)
{
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_int8(&params, v->prev_to);
    sb_pg_add_int8(&params, to);
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_seals, &params, &rows, err);
    *count = code == SB_OK ? sb_pg_rows(rows) : 0;
    for (int i = 0; i < *count && code == SB_OK && v->report->fault == SB_FAULT_NONE; i++)
        code = check_seal(v, rows, i, err);
    sb_pg_result_free(rows);
    sb_verify_progress_t progress = {v->prev_to, to < v->report->sealed_to ? to : v->report->sealed_to,
                                     v->report->events};
    return code == SB_OK && v->config->on_progress
               ? v->config->on_progress(v->config->context, &progress, err)
               : code;
}

static sb_code_t read_state(verifier_t *v, int64_t *said, sb_error_t *err)
{
    sb_pg_result_t *rows = NULL;
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_state, NULL, &rows, err);
    if (code == SB_OK) {
        *said = sb_pg_get_int(rows, 0, 0);
        v->report->sealed_to = sb_pg_is_null(rows, 0, 1) ? 0 : sb_pg_get_int(rows, 0, 1);
        v->report->safe_seq = sb_pg_get_int(rows, 0, 2);
    }
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t check_root(verifier_t *v, sb_error_t *err)
{
    char text[SB_HASH_TEXT];
    sb_pg_params_t params = SB_PG_PARAMS_INIT;
    sb_pg_result_t *rows = NULL;
    sb_pg_add_bytea(&params, (sb_slice_t){(const char *)v->config->root->byte, sizeof v->config->root->byte});
    sb_code_t code = sb_pg_query(v->pg, sb_sql_verify_root, &params, &rows, err);
    if (code == SB_OK && sb_pg_rows(rows))
        v->report->root_seq = sb_pg_get_int(rows, 0, 0);
    else if (code == SB_OK && v->report->fault == SB_FAULT_NONE)
        fault(v, SB_FAULT_ROOT, 0,
              "no seal has the hash %s: the seals were rewritten since it was kept, or it is "
              "another store's",
              sb_hash_format(v->config->root, text));
    sb_pg_result_free(rows);
    return code;
}

static sb_code_t verify(verifier_t *v, sb_error_t *err)
{
    int64_t to = v->config->to ? v->config->to : INT64_MAX;
    int64_t said = 0;
    int count = 1;
    bool changed = false;
    sb_code_t code = sb_pg_query(v->pg, sb_sql_seal_settings, NULL, NULL, err);
    if (code == SB_OK)
        code = read_state(v, &said, err);
    if (code == SB_OK)
        code = read_detached(v, &changed, err);
    if (code == SB_OK)
        code = find_start(v, err);
    while (code == SB_OK && count > 0 && v->report->fault == SB_FAULT_NONE)
        code = check_page(v, to, &count, err);
    if (code == SB_OK && v->report->fault == SB_FAULT_NONE && to >= said && v->prev_to < said)
        fault(v, SB_FAULT_SEAL, said, "the seals of %" PRId64 " to %" PRId64 " are missing", v->prev_to + 1,
              said);
    return code == SB_OK && v->config->root ? check_root(v, err) : code;
}

sb_code_t sb_verify_run(const sb_verify_config_t *config, sb_verify_report_t *report, sb_error_t *err)
{
    verifier_t v = {
        .config = config, .report = report, .pg = config->pg, .marks = SB_BUF_INIT, .kept = SB_BUF_INIT};
    memset(report, 0, sizeof *report);
    sb_code_t code = sb_hasher_new(&v.hasher, err);
    if (code == SB_OK)
        code = verify(&v, err);
    sb_buf_fini(&v.marks);
    sb_buf_fini(&v.kept);
    sb_hasher_free(&v.hasher);
    return code;
}
