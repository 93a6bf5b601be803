/* Random sequences of calls to the store beside a model of it in memory: what each call answers, and what
 * every read gives back, must be what the model says. A sequence that fails is made shorter while it still
 * fails, and printed.
 *
 * Some seconds; SB_TEST_LONG=1: some minutes. SB_TEST_SEED repeats a run.
 *
 * SPDX-License-Identifier: Apache-2.0 */
#include "events/store/store.h"
#include "tests/support/assert.h"
#include "tests/support/pg_server.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define OPS      120 /* of a sequence */
#define STREAMS  8
#define SLOTS    4 /* command ids of a sequence */
#define PARTS    5 /* appends in one call */
#define WHY_SIZE 400

/* Keys are bytes: none of these is another one. The last is as long as a key may be. */
static const char *const keys[STREAMS] = {
    "a", "A", "\xc3\xa4", "a\xcc\x88", "\xe6\x97\xa5\xe6\x9c\xac/ %'\"\\", "\xf0\x9f\xa6\x80", " ", NULL};

static const char *const types[] = {"order.noted", "order.marked"};

/* ---- what is done: everything about an operation follows from its seed ---- */

typedef enum kind { APPEND, APPEND_MANY, READ_STREAM, READ_ALL, REFUSED, KINDS } kind_t;

typedef enum refusal {
    NO_EVENTS,
    TOO_MANY_EVENTS,
    TOO_LARGE_BODY,
    NO_BODY,
    NO_JSON,
    NO_KEY,
    LONG_KEY,
    KEY_WITH_NUL,
    KEY_NOT_UTF8,
    UNKNOWN_TYPE,
    OTHER_CATEGORY,
    REFUSALS
} refusal_t;

typedef struct op {
    unsigned seed;
    kind_t kind;
    refusal_t refusal;
    int stream;
    sb_expect_t expect;
    int delta; /* of the expected version to the actual one */
    int count;
    size_t size; /* of the first body; the others are small */
    int slot;    /* of the command id; -1: none */
    bool same;   /* under a used command id: the same request again */
    int parts;   /* of an append of many */
    int from, limit;
    bool backward;
    int type; /* that is wanted; -1: all */
} op_t;

static op_t make_op(unsigned seed)
{
    unsigned r = seed;
    op_t op = {.seed = seed, .slot = -1, .type = -1};
    int kind = rand_r(&r) % 20;
    op.kind = kind < 8    ? APPEND
              : kind < 11 ? APPEND_MANY
              : kind < 15 ? READ_STREAM
              : kind < 18 ? READ_ALL
                          : REFUSED;
    op.refusal = (refusal_t)(rand_r(&r) % REFUSALS);
    op.stream = rand_r(&r) % STREAMS;
    op.expect = (sb_expect_t)(rand_r(&r) % 4);
    op.delta = rand_r(&r) % 3 ? 0 : rand_r(&r) % 5 - 2;
    int many = rand_r(&r) % 20;
    op.count = 1 + (many < 12 ? 0 : many < 19 ? rand_r(&r) % 12 : rand_r(&r) % 1000);
    int large = rand_r(&r) % 30;
    op.size = large < 20 ? 0 : (size_t)(large < 29 ? rand_r(&r) % 5000 : rand_r(&r) % 800000);
    if (rand_r(&r) % 4 == 0)
        op.slot = rand_r(&r) % SLOTS;
    op.same = rand_r(&r) % 2;
    op.parts = op.kind == APPEND_MANY ? 1 + rand_r(&r) % PARTS : 1;
    op.from = rand_r(&r) % 40;
    op.limit = rand_r(&r) % 4 ? 1 + rand_r(&r) % 30 : 100000;
    op.backward = rand_r(&r) % 2;
    if (rand_r(&r) % 2)
        op.type = rand_r(&r) % 2;
    return op;
}

/* One append of many: as if it were an operation of its own, mostly to fit. */
static op_t make_part(const op_t *op, int part)
{
    op_t of = make_op(op->seed * 31u + (unsigned)part);
    of.kind = APPEND;
    of.slot = -1;
    of.size = of.size > 5000 ? 0 : of.size;
    if (op->seed % 3) {
        of.expect = SB_EXPECT_ANY;
        of.delta = 0;
    }
    return of;
}

static void print_op(size_t at, const op_t *op)
{
    static const char *const kinds[] = {"append", "append many", "read stream", "read all", "refused"};
    static const char *const expects[] = {"any", "none", "exists", "exact"};
    print_message("%4zu %s seed=%u stream=%d", at, kinds[op->kind], op->seed, op->stream);
    if (op->kind == APPEND || op->kind == APPEND_MANY)
        print_message(" parts=%d expect=%s delta=%d count=%d size=%zu slot=%d same=%d", op->parts,
                      expects[op->expect], op->delta, op->count, op->size, op->slot, op->same);
    else if (op->kind == REFUSED)
        print_message(" refusal=%d", (int)op->refusal);
    else
        print_message(" from=%d limit=%d backward=%d type=%d", op->from, op->limit, op->backward, op->type);
    print_message("\n");
}

/* ---- the model ---- */

typedef struct kept {
    int64_t seq;
    int stream, version, type;
    uint64_t hash; /* of the body */
    size_t length;
} kept_t;

typedef struct request {
    op_t op;
    int expected_version[PARTS];
} request_t;

typedef struct model {
    sb_pg_t *pg;
    sb_store_t *store;
    bool wrong; /* the planted fault: it takes "exists" for "any" */
    int run;    /* part of each key: a run has streams of its own */
    int64_t first_seq;
    kept_t *kept; /* in order of seq */
    size_t count, cap;
    int version[STREAMS];
    struct {
        bool used;
        sb_uuid_t id;
        request_t request;
        sb_append_result_t result[PARTS];
    } slot[SLOTS];
    char *why;
} model_t;

static bool differ(model_t *m, const char *format, ...) SB_PRINTF(2, 3);

static bool differ(model_t *m, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)vsnprintf(m->why, WHY_SIZE, format, args);
    va_end(args);
    return false;
}

static uint64_t hash_of(const char *bytes, size_t length)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 0x100000001b3u;
    return hash;
}

static sb_slice_t key_of(const model_t *m, int stream, char room[SB_KEY_MAX + 1])
{
    int length = snprintf(room, SB_KEY_MAX + 1, "%d-%s", m->run, keys[stream] ? keys[stream] : "");
    while (!keys[stream] && length < (int)SB_KEY_MAX)
        room[length++] = 'k';
    return (sb_slice_t){room, (size_t)length};
}

/* ---- appends ---- */

typedef struct bodies {
    sb_event_t *events;
    char **texts;
    int *types;
    size_t count;
} bodies_t;

/* Text of all lengths of UTF-8, escapes, and zero bytes of content. */
static char *make_body(unsigned *random, size_t size)
{
    static const char *const pieces[] = {"x",   "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x90\x99",
                                         "\\n", "\\u0000",  "\\\""};
    char *text = malloc(size + 64);
    assert_non_null(text);
    if (rand_r(random) % 8 == 0 && size == 0)
        return memcpy(text, "{}", 3);
    size_t at = (size_t)sprintf(text, "{ \"n\":%d,\"t\":\"", rand_r(random));
    while (at < size) {
        const char *piece = pieces[rand_r(random) % 7];
        memcpy(text + at, piece, strlen(piece));
        at += strlen(piece);
    }
    memcpy(text + at, "\"}", 3);
    return text;
}

static void make_bodies(const op_t *op, bodies_t *out)
{
    unsigned random = op->seed ^ 0x5bd1e995u;
    out->count = (size_t)op->count;
    out->events = calloc(out->count, sizeof *out->events);
    out->texts = calloc(out->count, sizeof *out->texts);
    out->types = calloc(out->count, sizeof *out->types);
    assert_true(out->events && out->texts && out->types);
    for (size_t i = 0; i < out->count; i++) {
        out->texts[i] = make_body(&random, i == 0 ? op->size : 0);
        out->types[i] = rand_r(&random) % 2;
        out->events[i] =
            (sb_event_t){.type = sb_slice(types[out->types[i]]), .data = sb_slice(out->texts[i])};
    }
}

static void free_bodies(bodies_t *bodies)
{
    for (size_t i = 0; i < bodies->count; i++)
        free(bodies->texts[i]);
    free(bodies->events);
    free(bodies->texts);
    free(bodies->types);
}

static bool fits(const model_t *m, const op_t *op, int expected_version, int version)
{
    switch (op->expect) {
    case SB_EXPECT_NONE:
        return version == 0;
    case SB_EXPECT_EXISTS:
        return version > 0 || m->wrong;
    case SB_EXPECT_EXACT:
        return version == expected_version;
    case SB_EXPECT_ANY:
    default:
        return true;
    }
}

static void keep(model_t *m, int stream, const bodies_t *bodies, int64_t first_seq)
{
    for (size_t i = 0; i < bodies->count; i++) {
        if (m->count == m->cap) {
            m->cap = m->cap * 2 + 256;
            m->kept = realloc(m->kept, m->cap * sizeof *m->kept);
            assert_non_null(m->kept);
        }
        m->kept[m->count++] = (kept_t){.seq = first_seq + (int64_t)i,
                                       .stream = stream,
                                       .version = ++m->version[stream],
                                       .type = bodies->types[i],
                                       .hash = hash_of(bodies->texts[i], strlen(bodies->texts[i])),
                                       .length = strlen(bodies->texts[i])};
    }
}

static bool same_result(const sb_append_result_t *a, const sb_append_result_t *b)
{
    return a->version == b->version && a->first_seq == b->first_seq && a->last_seq == b->last_seq;
}

static bool check_appended(model_t *m, const request_t *request, const bodies_t *bodies,
                           const sb_append_result_t *result)
{
    int64_t before = m->count ? m->kept[m->count - 1].seq : m->first_seq;
    int now = m->version[request->op.stream];
    if (!fits(m, &request->op, request->expected_version[0], now)) {
        if (result->outcome != SB_APPEND_CONFLICT || result->version != now || result->first_seq != 0)
            return differ(m, "outcome %d, version %d; the model: a conflict at %d", (int)result->outcome,
                          result->version, now);
        return true;
    }
    if (result->outcome != SB_APPENDED || result->version != now + request->op.count)
        return differ(m, "outcome %d, version %d; the model: appended, %d", (int)result->outcome,
                      result->version, now + request->op.count);
    if (result->first_seq <= before || result->last_seq - result->first_seq != request->op.count - 1)
        return differ(m, "seq %" PRId64 " to %" PRId64 " after %" PRId64, result->first_seq, result->last_seq,
                      before);
    keep(m, request->op.stream, bodies, result->first_seq);
    return true;
}

/* Under a used command id the same request again; one of another kind is always another one. */
static bool is_again(const model_t *m, const op_t *op)
{
    return op->slot >= 0 && m->slot[op->slot].used && op->same &&
           m->slot[op->slot].request.op.kind == op->kind;
}

/* Which request goes out: a new one, or that of its command id again. */
static request_t make_request(const model_t *m, const op_t *op)
{
    if (is_again(m, op))
        return m->slot[op->slot].request;
    request_t request = {.op = *op};
    for (int i = 0; i < op->parts; i++) {
        op_t part = op->kind == APPEND_MANY ? make_part(op, i) : *op;
        int version = m->version[part.stream] + part.delta;
        request.expected_version[i] = version < 0 ? 0 : version;
    }
    return request;
}

static bool run_append(model_t *m, const op_t *op)
{
    char room[SB_KEY_MAX + 1];
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    bodies_t bodies;
    request_t request = make_request(m, op);
    bool known = op->slot >= 0 && m->slot[op->slot].used;
    make_bodies(&request.op, &bodies);
    sb_append_t append = {.category = SB_SLICE("order"),
                          .key = key_of(m, request.op.stream, room),
                          .expect = request.op.expect,
                          .expected_version = request.expected_version[0],
                          .events = bodies.events,
                          .count = bodies.count};
    if (op->slot >= 0)
        append.command_id = m->slot[op->slot].id;
    sb_code_t code = sb_store_append(m->store, &append, &result, &err);
    bool ok = true;
    if (known && !is_again(m, op))
        ok = code == SB_MISMATCH || differ(m, "a command id for two requests gave %s", sb_code_name(code));
    else if (code != SB_OK)
        ok = differ(m, "%s: %s", sb_code_name(code), err.message);
    else if (known)
        ok = (result.outcome == SB_APPEND_REPEATED && same_result(&result, &m->slot[op->slot].result[0])) ||
             differ(m, "the same command again gave outcome %d, version %d", (int)result.outcome,
                    result.version);
    else
        ok = check_appended(m, &request, &bodies, &result);
    if (ok && op->slot >= 0 && !known && result.outcome == SB_APPENDED) {
        m->slot[op->slot].used = true;
        m->slot[op->slot].request = request;
        m->slot[op->slot].result[0] = result;
    }
    free_bodies(&bodies);
    return ok;
}

/* ---- many in one call ---- */

typedef struct many {
    op_t part[PARTS];
    bodies_t bodies[PARTS];
    sb_append_t append[PARTS];
    char room[PARTS][SB_KEY_MAX + 1];
    sb_append_result_t result[PARTS];
} many_t;

static void make_many(const model_t *m, const request_t *request, many_t *many)
{
    for (int i = 0; i < request->op.parts; i++) {
        many->part[i] = make_part(&request->op, i);
        make_bodies(&many->part[i], &many->bodies[i]);
        many->append[i] = (sb_append_t){.category = SB_SLICE("order"),
                                        .key = key_of(m, many->part[i].stream, many->room[i]),
                                        .expect = many->part[i].expect,
                                        .expected_version = request->expected_version[i],
                                        .events = many->bodies[i].events,
                                        .count = many->bodies[i].count};
    }
}

/* The first that does not fit, each meeting what the ones before leave; -1: all fit. */
static int first_conflict(const model_t *m, const request_t *request, const many_t *many,
                          int versions[STREAMS])
{
    memcpy(versions, m->version, sizeof m->version);
    for (int i = 0; i < request->op.parts; i++) {
        int *version = &versions[many->part[i].stream];
        if (!fits(m, &many->part[i], request->expected_version[i], *version))
            return i;
        *version += many->part[i].count;
    }
    return -1;
}

static bool check_conflict(model_t *m, const request_t *request, const many_t *many, int first)
{
    for (int i = 0; i < request->op.parts; i++) {
        sb_append_outcome_t outcome = many->result[i].outcome;
        bool fine = i < first    ? outcome == SB_APPEND_NOT_DONE
                    : i == first ? outcome == SB_APPEND_CONFLICT
                                 : outcome == SB_APPEND_NOT_DONE || outcome == SB_APPEND_CONFLICT;
        if (!fine)
            return differ(m, "of many, %d has outcome %d; the model: the first conflict is %d", i,
                          (int)outcome, first);
    }
    return true;
}

/* In order of seq, as everything that is kept. */
static void keep_many(model_t *m, const request_t *request, many_t *many)
{
    for (int done = 0; done < request->op.parts; done++) {
        int next = -1;
        for (int i = 0; i < request->op.parts; i++)
            if (many->bodies[i].count > 0 &&
                (next < 0 || many->result[i].first_seq < many->result[next].first_seq))
                next = i;
        keep(m, many->part[next].stream, &many->bodies[next], many->result[next].first_seq);
        free_bodies(&many->bodies[next]);
        many->bodies[next] = (bodies_t){.count = 0};
    }
}

static bool check_many(model_t *m, const request_t *request, many_t *many)
{
    int versions[STREAMS];
    int64_t before = m->count ? m->kept[m->count - 1].seq : m->first_seq;
    int first = first_conflict(m, request, many, versions);
    if (first >= 0)
        return check_conflict(m, request, many, first);
    memcpy(versions, m->version, sizeof versions);
    for (int i = 0; i < request->op.parts; i++) {
        const sb_append_result_t *result = &many->result[i];
        int now = versions[many->part[i].stream] += many->part[i].count;
        if (result->outcome != SB_APPENDED || result->version != now)
            return differ(m, "of many, %d has outcome %d, version %d; the model: appended, %d", i,
                          (int)result->outcome, result->version, now);
        if (result->first_seq <= before || result->last_seq - result->first_seq != many->part[i].count - 1)
            return differ(m, "of many, %d has seq %" PRId64 " to %" PRId64, i, result->first_seq,
                          result->last_seq);
    }
    keep_many(m, request, many);
    return true;
}

static bool is_first_answer(model_t *m, const op_t *op, const many_t *many)
{
    for (int i = 0; i < m->slot[op->slot].request.op.parts; i++)
        if (many->result[i].outcome != SB_APPEND_REPEATED ||
            !same_result(&many->result[i], &m->slot[op->slot].result[i]))
            return differ(m, "the same command again gave, for %d of many, outcome %d, version %d", i,
                          (int)many->result[i].outcome, many->result[i].version);
    return true;
}

static bool run_many(model_t *m, const op_t *op)
{
    sb_error_t err = SB_ERROR_INIT;
    many_t *many = calloc(1, sizeof *many);
    assert_non_null(many);
    request_t request = make_request(m, op);
    bool known = op->slot >= 0 && m->slot[op->slot].used;
    make_many(m, &request, many);
    sb_code_t code = sb_store_append_many(m->store, many->append, (size_t)request.op.parts,
                                          op->slot >= 0 ? &m->slot[op->slot].id : NULL, many->result, &err);
    bool ok = true;
    if (known && !is_again(m, op))
        ok = code == SB_MISMATCH || differ(m, "a command id for two requests gave %s", sb_code_name(code));
    else if (code != SB_OK)
        ok = differ(m, "%s: %s", sb_code_name(code), err.message);
    else
        ok = known ? is_first_answer(m, op, many) : check_many(m, &request, many);
    if (ok && op->slot >= 0 && !known && many->result[0].outcome == SB_APPENDED) {
        m->slot[op->slot].used = true;
        m->slot[op->slot].request = request;
        memcpy(m->slot[op->slot].result, many->result, sizeof many->result);
    }
    for (int i = 0; i < request.op.parts; i++)
        free_bodies(&many->bodies[i]);
    free(many);
    return ok;
}

/* ---- what is refused changes nothing: the reads will tell ---- */

static bool run_refused(model_t *m, const op_t *op)
{
    char room[SB_KEY_MAX + 2];
    sb_error_t err = SB_ERROR_INIT;
    sb_append_result_t result;
    size_t count = op->refusal == NO_EVENTS         ? 0
                   : op->refusal == TOO_MANY_EVENTS ? SB_APPEND_EVENTS_MAX + 1
                                                    : 2;
    sb_event_t *events = calloc(count + 1, sizeof *events);
    char *large = calloc(1, SB_EVENT_BYTES_MAX + 2);
    assert_true(events && large);
    for (size_t i = 0; i < count; i++)
        events[i] = (sb_event_t){.type = SB_SLICE("order.noted"), .data = SB_SLICE("{}")};
    sb_append_t append = {
        .category = SB_SLICE("order"), .key = key_of(m, op->stream, room), .events = events, .count = count};
    sb_code_t want = SB_INVALID;
    memset(room + append.key.len, 'k', sizeof room - append.key.len);
    switch (op->refusal) {
    case TOO_MANY_EVENTS:
        want = SB_TOO_LARGE;
        break;
    case TOO_LARGE_BODY: /* the second one: the first must not go in */
        want = SB_TOO_LARGE;
        memset(large, ' ', SB_EVENT_BYTES_MAX);
        memcpy(large, "{}", 2);
        events[1].data = (sb_slice_t){large, SB_EVENT_BYTES_MAX};
        break;
    case NO_BODY:
        events[1].data = SB_SLICE("");
        break;
    case NO_JSON:
        events[1].data = SB_SLICE("{\"a\":}");
        break;
    case NO_KEY:
        append.key.len = 0;
        break;
    case LONG_KEY:
        append.key.len = SB_KEY_MAX + 1;
        break;
    case KEY_WITH_NUL:
        append.key = (sb_slice_t){"a\0b", 3};
        break;
    case KEY_NOT_UTF8:
        append.key = SB_SLICE("\xc3(");
        break;
    case UNKNOWN_TYPE:
        events[1].type = SB_SLICE("order.unheard_of");
        break;
    case OTHER_CATEGORY:
        events[1].type = SB_SLICE("stock.noted");
        break;
    case NO_EVENTS:
    case REFUSALS:
    default:
        break;
    }
    sb_code_t code = sb_store_append(m->store, &append, &result, &err);
    free(events);
    free(large);
    return code == want ||
           differ(m, "refusal %d gave %s: %s", (int)op->refusal, sb_code_name(code), err.message);
}

/* ---- reads ---- */

typedef struct expected {
    model_t *m;
    const kept_t **kept; /* in the order in which they must come */
    size_t count;
    size_t got;
} expected_t;

static sb_code_t compare(void *context, const sb_event_t *event, sb_error_t *err)
{
    expected_t *expected = context;
    char room[SB_KEY_MAX + 1];
    if (expected->got == expected->count) {
        (void)differ(expected->m, "more than %zu events, seq %" PRId64, expected->count, event->seq);
        return sb_fail(err, SB_STOPPED, "stop");
    }
    const kept_t *want = expected->kept[expected->got++];
    if (event->seq == want->seq && event->stream_version == want->version &&
        sb_slice_is(event->type, types[want->type]) && event->data.len == want->length &&
        hash_of(event->data.ptr, event->data.len) == want->hash &&
        sb_slice_equal(event->subject, key_of(expected->m, want->stream, room)))
        return SB_OK;
    (void)differ(expected->m,
                 "event %zu: seq %" PRId64 " version %d, %zu bytes; the model: seq %" PRId64
                 " version %d, %zu bytes",
                 expected->got - 1, event->seq, event->stream_version, event->data.len, want->seq,
                 want->version, want->length);
    return sb_fail(err, SB_STOPPED, "stop");
}

static bool check_read(expected_t *expected, sb_code_t code, const sb_error_t *err)
{
    if (code == SB_OK && expected->got < expected->count)
        return differ(expected->m, "%zu events; the model: %zu", expected->got, expected->count);
    if (code != SB_OK && code != SB_STOPPED)
        return differ(expected->m, "%s: %s", sb_code_name(code), err->message);
    return code == SB_OK;
}

static bool run_read_stream(model_t *m, const op_t *op)
{
    char room[SB_KEY_MAX + 1];
    sb_error_t err = SB_ERROR_INIT;
    expected_t expected = {.m = m, .kept = malloc((m->count + 1) * sizeof(const kept_t *))};
    assert_non_null(expected.kept);
    int from = op->from == 0 && op->backward ? m->version[op->stream] : op->from;
    for (size_t i = 0; i < m->count; i++) {
        const kept_t *one = &m->kept[op->backward ? m->count - 1 - i : i];
        if (one->stream == op->stream && (op->backward ? one->version <= from : one->version >= from) &&
            expected.count < (size_t)op->limit)
            expected.kept[expected.count++] = one;
    }
    sb_code_t code = sb_store_read_stream(m->store, SB_SLICE("order"), key_of(m, op->stream, room), op->from,
                                          op->backward, op->limit, compare, &expected, &err);
    bool ok = m->version[op->stream] == 0
                  ? code == SB_NOT_FOUND || differ(m, "a stream without events gave %s", sb_code_name(code))
                  : check_read(&expected, code, &err);
    free(expected.kept);
    return ok;
}

static bool run_read_all(model_t *m, const op_t *op)
{
    sb_error_t err = SB_ERROR_INIT;
    int64_t after = m->count ? m->kept[(size_t)op->from % m->count].seq - 1 : m->first_seq;
    sb_slice_t type = sb_slice(op->type < 0 ? "" : types[op->type]);
    sb_read_all_t all = {.after_seq = after, .limit = op->limit, .category = SB_SLICE("order")};
    expected_t expected = {.m = m, .kept = malloc((m->count + 1) * sizeof(const kept_t *))};
    assert_non_null(expected.kept);
    if (op->type >= 0) {
        all.types = &type;
        all.type_count = 1;
    }
    for (size_t i = 0; i < m->count; i++)
        if (m->kept[i].seq > after && (op->type < 0 || m->kept[i].type == op->type) &&
            expected.count < (size_t)op->limit)
            expected.kept[expected.count++] = &m->kept[i];
    sb_test_pg_script(m->pg, "UPDATE sagabus.lease SET cursor = (SELECT last_value FROM sagabus.event_seq) "
                             "WHERE role = 'sequencer'");
    int64_t last = 0;
    sb_code_t code = sb_store_read_all(m->store, &all, compare, &expected, &last, &err);
    bool ok = check_read(&expected, code, &err);
    if (ok && expected.count > 0 && last < expected.kept[expected.count - 1]->seq)
        ok = differ(m, "the read got to %" PRId64 ", but gave %" PRId64, last,
                    expected.kept[expected.count - 1]->seq);
    free(expected.kept);
    return ok;
}

/* ---- sequences ---- */

static struct {
    char uri[SB_TEST_URI];
    sb_pg_t *pg;
    sb_catalog_t *catalog;
    sb_store_t *store;
    int runs;
} world;

static bool run_op(model_t *m, const op_t *op)
{
    switch (op->kind) {
    case APPEND:
        return run_append(m, op);
    case APPEND_MANY:
        return run_many(m, op);
    case READ_STREAM:
        return run_read_stream(m, op);
    case READ_ALL:
        return run_read_all(m, op);
    case REFUSED:
    case KINDS:
    default:
        return run_refused(m, op);
    }
}

/* Runs them on streams of their own. Returns the index of the one that differs, count when none does. */
static size_t run_sequence(const op_t *ops, size_t count, bool wrong, char why[WHY_SIZE])
{
    model_t m = {.pg = world.pg, .store = world.store, .wrong = wrong, .run = world.runs++, .why = why};
    size_t at = 0;
    m.first_seq = sb_test_pg_int(world.pg, "SELECT coalesce(max(seq), 0) FROM sagabus.event");
    for (int i = 0; i < SLOTS; i++)
        m.slot[i].id = sb_uuid_v7();
    while (at < count && run_op(&m, &ops[at]))
        at++;
    free(m.kept);
    return at;
}

/* Leaves out what the failure does not need: halves, then quarters, … then single operations. */
static size_t shrink(op_t *ops, size_t count, bool wrong, char why[WHY_SIZE])
{
    op_t fewer[OPS];
    char ignored[WHY_SIZE];
    for (size_t step = count / 2; step > 0; step /= 2) {
        for (size_t at = 0; at + step <= count;) {
            memcpy(fewer, ops, at * sizeof *ops);
            memcpy(fewer + at, ops + at + step, (count - at - step) * sizeof *ops);
            size_t failed = run_sequence(fewer, count - step, wrong, ignored);
            if (failed == count - step) {
                at += step;
                continue;
            }
            count = failed + 1;
            memcpy(ops, fewer, count * sizeof *ops);
            memcpy(why, ignored, WHY_SIZE);
        }
    }
    return count;
}

static size_t find_fault(unsigned seed, bool wrong, op_t ops[OPS], char why[WHY_SIZE])
{
    unsigned random = seed;
    for (int i = 0; i < OPS; i++)
        ops[i] = make_op((unsigned)rand_r(&random));
    size_t failed = run_sequence(ops, OPS, wrong, why);
    return failed == OPS ? 0 : shrink(ops, failed + 1, wrong, why);
}

/* ---- the tests ---- */

static int setup(void **state)
{
    (void)state;
    sb_error_t err = SB_ERROR_INIT;
    world.pg = sb_test_pg_open(sb_test_pg_fresh(world.uri));
    sb_test_pg_script(
        world.pg,
        "INSERT INTO sagabus.event_type (name, version) VALUES ('order.noted', 1), ('order.marked', 1);"
        "INSERT INTO sagabus.artifact (kind, name, version, hash, body) SELECT 'event', n, 1, "
        "sha256(b::bytea), "
        "b::bytea FROM (SELECT n, '{\"schema\":{\"type\":\"object\"},\"type\":\"' || n || "
        "'\",\"version\":1}' AS b "
        "FROM (VALUES ('order.noted'), ('order.marked')) x (n)) y");
    assert_ok(sb_catalog_new(&world.catalog, &err), &err);
    assert_ok(sb_catalog_load(world.catalog, world.pg, &err), &err);
    assert_ok(sb_store_new(&world.store, world.pg, world.catalog, &err), &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sb_store_close(&world.store);
    sb_catalog_free(&world.catalog);
    sb_pg_close(&world.pg);
    return 0;
}

static unsigned first_seed(void)
{
    const char *text = getenv("SB_TEST_SEED");
    unsigned value = text ? (unsigned)strtoul(text, NULL, 10) : (unsigned)time(NULL);
    print_message("SB_TEST_SEED=%u\n", value);
    return value;
}

static int sequences(void)
{
    const char *text = getenv("SB_TEST_LONG");
    return text && text[0] && strcmp(text, "0") != 0 ? 200 : 6;
}

static void the_store_is_as_the_model_says(void **state)
{
    (void)state;
    unsigned seed = first_seed();
    op_t ops[OPS];
    char why[WHY_SIZE] = "";
    for (int i = 0; i < sequences(); i++) {
        size_t count = find_fault(seed + (unsigned)i, false, ops, why);
        for (size_t at = 0; at < count; at++)
            print_op(at, &ops[at]);
        if (count > 0)
            fail_msg("SB_TEST_SEED=%u: the last of these: %s", seed + (unsigned)i, why);
    }
}

static void a_planted_fault_is_found_and_made_small(void **state)
{
    (void)state;
    op_t ops[OPS];
    char why[WHY_SIZE] = "";
    size_t count = 0;
    for (unsigned seed = 1; seed < 20 && count == 0; seed++)
        count = find_fault(seed, true, ops, why);
    assert_int_equal(count, 1);
    assert_int_equal(ops[0].expect, SB_EXPECT_EXISTS);
    assert_contains(why, "outcome 1");
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_store_is_as_the_model_says),
        CASE(a_planted_fault_is_found_and_made_small),
    };
    return cmocka_run_group_tests_name("store_model", tests, sb_test_pg_start, sb_test_pg_stop);
}
